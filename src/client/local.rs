//! A local folder as a tree of files.
//!
//! Everything is done beneath an open handle of the root and follows no symbolic link (`root`). Listing
//! is an ordered walk (`walk`); a version is read with checks before and after (`read`), taken in as a
//! temporary beside its target (`stage`), and made visible by the safest rename the file system has
//! (`publish`, `rung`), unless the folder takes its name for another one (`spelling`). What is replaced or removed goes to the trash by rename (`remove`).
//!
//! System calls block, so each operation runs on tokio's threads for blocking work, in as few steps as it can.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use super::{
    Body, Disposal, Expiry, Held, ListRequest, Listed, Purged, Respelled, Staged, StorageClient, Target,
};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::code::NoticeCode;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::marker::ListedMarker;
use crate::root::RootIdentity;
use crate::trash::{Manifest, Name};

use reserved::Ours;

mod acl;
mod batch;
mod belonging;
mod disk;
mod give_way;
mod intent;
mod listed;
mod names;
mod publish;
mod purge;
mod read;
mod remove;
mod reserved;
mod respell;
mod root;
mod rung;
mod spelling;
mod stage;
mod stat;
mod trash;
mod walk;

pub use rung::PublishRung;

/// How many batches of a listing wait for their reader.
const BATCHES_AHEAD: usize = 4;

/// A [`StorageClient`] for a local folder.
#[derive(Debug)]
pub struct LocalClient {
    local: Arc<Local>,
}

/// What the steps on blocking threads share.
#[derive(Debug)]
struct Local {
    root: root::Root,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// What its file system can be believed.
    disk: disk::Disk,
    rung: OnceLock<PublishRung>,
    /// Whether intents of a dead process were looked for.
    recovered: Mutex<bool>,
    /// Folders made for staged files and not yet durable.
    created: Mutex<BTreeSet<String>>,
    /// The folder that was read from last, and the permission bits of it and those above it.
    folder_modes: Mutex<Option<(String, Vec<u32>)>>,
    /// How large the trash was when there was no room left.
    trash_bytes: OnceLock<u64>,
    /// Folders that were found to have the very names they are asked for by.
    exact: Mutex<BTreeSet<String>>,
    /// Held by who removes empty folders that are spelled otherwise.
    clearing: Mutex<()>,
}

impl LocalClient {
    /// Opens the tree in the folder `path`, which need not exist yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the path is not UTF-8, is a file, or is a link that leads nowhere.
    pub fn open(path: &Path) -> Result<Self> {
        let local = Local {
            root: root::Root::new(path)?,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            disk: disk::Disk::default(),
            folder_modes: Mutex::new(None),
            trash_bytes: OnceLock::new(),
            rung: OnceLock::new(),
            recovered: Mutex::new(false),
            created: Mutex::new(BTreeSet::new()),
            exact: Mutex::new(BTreeSet::new()),
            clearing: Mutex::new(()),
        };
        Ok(Self { local: Arc::new(local) })
    }

    /// Tells the time by `clock`. To be called before the client is used.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.configured(|local| local.clock = clock)
    }

    /// Names temporaries by `entropy`. To be called before the client is used.
    pub fn with_entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        self.configured(|local| local.entropy = entropy)
    }

    /// Publishes by `rung` without asking what the file system can do. To be called before the client is used.
    pub fn with_publish_rung(self, rung: PublishRung) -> Self {
        self.configured(|local| local.rung = OnceLock::from(rung))
    }

    fn configured(mut self, change: impl FnOnce(&mut Local)) -> Self {
        // Nothing else holds it until the first operation.
        if let Some(local) = Arc::get_mut(&mut self.local) {
            change(local);
        }
        self
    }

    /// Runs one step on a thread for blocking work.
    async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let local = Arc::clone(&self.local);
        hop(move || work(&local)).await
    }
}

/// Returns the key if a file can have that name: those of objects between two stores never come here.
fn file_name(key: &Key) -> Result<&Key> {
    if key.is_path() { Ok(key) } else { Err(spelling::unmappable(key.as_str())) }
}

impl Local {
    /// Forgets the bits of folders: somebody may have changed them.
    fn forget_modes(&self) {
        *self.folder_modes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn created(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` on a thread for blocking work.
async fn hop<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Internal, "wait for the file system").with_source(error)),
    }
}

impl StorageClient for LocalClient {
    fn is_folder(&self) -> bool {
        true
    }

    fn location(&self) -> &str {
        self.local.root.location()
    }

    fn root(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        self.step(|local| {
            let found = local.root.identity()?;
            Ok(found.map(|root| RootIdentity {
                inode: if local.keeps_inodes() { root.inode } else { 0 },
                ..root
            }))
        })
        .boxed()
    }

    fn create_root(&self) -> BoxFuture<'_, Result<()>> {
        self.step(|local| local.root.create()).boxed()
    }

    fn list(&self, request: ListRequest) -> BoxStream<'_, Result<Listed>> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let start = async move {
            let local = Arc::clone(&self.local);
            // Not awaited: it ends when the receiver is dropped.
            drop(tokio::task::spawn_blocking(move || walk::walk(&local, request, &sender)));
            stream::unfold(Some(receiver), receive).flatten()
        };
        stream::once(start).flatten().boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Listed>>> {
        let key = key.clone();
        self.step(move |local| walk::head(local, file_name(&key)?)).boxed()
    }

    fn read<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Body>> {
        let entry = entry.clone();
        let step = move |local: &Local| {
            file_name(&entry.key)?;
            read::begin(local, entry)
        };
        self.step(step).boxed()
    }

    fn stage(&self, target: Target, body: Body) -> BoxFuture<'_, Result<Staged>> {
        async move {
            file_name(&target.key)?;
            stage::stage(&self.local, target, body).await
        }
        .boxed()
    }

    fn copy<'a>(&'a self, from: &'a Entry, target: Target) -> BoxFuture<'a, Result<Staged>> {
        let (local, from) = (Arc::clone(&self.local), from.clone());
        hop(move || {
            file_name(&target.key)?;
            stage::copy(&local, &from, target)
        })
        .boxed()
    }

    fn publish(&self, staged: Vec<Staged>) -> BoxFuture<'_, Vec<Result<Entry>>> {
        let count = staged.len();
        async move { each(count, self.step(move |local| Ok(publish::publish(local, &staged))).await) }.boxed()
    }

    fn discard(&self, staged: Staged) -> BoxFuture<'_, ()> {
        let dropped = self.step(move |local| {
            if let Held::Temporary(key, _) = &staged.held {
                stage::drop_temporary(local, key.as_str());
            }
            Ok(())
        });
        dropped.map(drop).boxed()
    }

    fn rename<'a>(&'a self, from: &'a Entry, to: &'a Key) -> BoxFuture<'a, Result<Entry>> {
        let (from, to) = (from.clone(), to.clone());
        self.step(move |local| remove::rename(local, &from, file_name(&to)?)).boxed()
    }

    fn remove<'a>(&'a self, entries: Vec<Entry>, disposal: &'a Disposal) -> BoxFuture<'a, Vec<Result<()>>> {
        let (count, disposal) = (entries.len(), disposal.clone());
        let removed = self.step(move |local| {
            entries.iter().try_for_each(|entry| file_name(&entry.key).map(drop))?;
            Ok(remove::remove(local, &entries, &disposal))
        });
        async move { each(count, removed.await) }.boxed()
    }

    fn sweep(&self, leftovers: Vec<Key>) -> BoxFuture<'_, Result<()>> {
        self.step(move |local| remove::sweep(local, &leftovers)).boxed()
    }

    fn announce_trash(&self, manifests: Vec<(Name, Manifest)>) -> BoxFuture<'_, Result<()>> {
        self.step(move |local| purge::announce(local, &manifests)).boxed()
    }

    fn purge_trash(&self, expiry: Expiry) -> BoxFuture<'_, Result<Purged>> {
        self.step(move |local| purge::purge_trash(local, &expiry)).boxed()
    }

    fn anchor(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        self.step(|local| Ok(local.root.anchor())).boxed()
    }

    fn distrust_inodes(&self) {
        self.local.disk.distrust_inodes();
    }

    fn folds_names(&self, may_write: bool) -> BoxFuture<'_, Result<bool>> {
        self.step(move |local| local.folds_names(may_write)).boxed()
    }

    fn tells_apart<'a>(&'a self, a: &'a Key, b: &'a Key, may_write: bool) -> BoxFuture<'a, Result<bool>> {
        let (a, b) = (a.clone(), b.clone());
        self.step(move |local| local.tells_apart(&a, &b, may_write)).boxed()
    }

    fn spelled<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Respelled>>> {
        let key = key.clone();
        self.step(move |local| local.spelled(file_name(&key)?)).boxed()
    }

    fn respell_folder<'a>(&'a self, from: &'a Key, to: &'a Key) -> BoxFuture<'a, Result<()>> {
        let (from, to) = (from.clone(), to.clone());
        self.step(move |local| respell::folder(local, &from, file_name(&to)?)).boxed()
    }

    fn markers(&self) -> BoxFuture<'_, Result<Vec<ListedMarker>>> {
        // The time of a file can be anything.
        let names = self.step(|local| reserved::notes(local, Ours::Markers));
        names.map_ok(|names| names.into_iter().map(ListedMarker::from).collect()).boxed()
    }

    fn read_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>>> {
        let name = name.to_owned();
        self.step(move |local| reserved::read_note(local, Ours::Markers, &name)).boxed()
    }

    fn put_marker<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<()>> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.step(move |local| reserved::put_note(local, Ours::Markers, &name, &text)).boxed()
    }

    fn remove_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        let name = name.to_owned();
        self.step(move |local| reserved::remove_note(local, Ours::Markers, &name)).boxed()
    }

    fn weaknesses(&self) -> Vec<(NoticeCode, String)> {
        let weakness = self.local.rung.get().and_then(|rung| rung.weakness());
        weakness.map(|sentence| (NoticeCode::WeakPublish, sentence.to_owned())).into_iter().collect()
    }
}

/// Passes on what a walk sends. A walk that stops without saying that it is at its end has failed.
async fn receive(
    receiver: Option<mpsc::Receiver<walk::Message>>,
) -> Option<(stream::Iter<std::vec::IntoIter<Result<Listed>>>, Option<mpsc::Receiver<walk::Message>>)> {
    let mut receiver = receiver?;
    let (items, receiver) = match receiver.recv().await {
        Some(walk::Message::Batch(items)) => (items.into_iter().map(Ok).collect(), Some(receiver)),
        Some(walk::Message::Failed(error)) => (vec![Err(error)], None),
        Some(walk::Message::End) => return None,
        None => (vec![Err(Error::new(ErrorKind::Internal, "list the tree: the walk broke off"))], None),
    };
    Some((stream::iter(items), receiver))
}

/// Returns the results of a batch, or the reason why there are none once for each of its members.
fn each<T>(count: usize, results: Result<Vec<Result<T>>>) -> Vec<Result<T>> {
    match results {
        Ok(results) => results,
        Err(error) => (0..count).map(|_| Err(error.again())).collect(),
    }
}
