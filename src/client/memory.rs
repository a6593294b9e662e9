//! A tree in memory: the reference implementation, behaving like an object store.
//!
//! Every condition is checked under the one lock under which it is acted on. The ETag of an object is the
//! MD5 of its bytes, so that two writes of the same content give the same version, as on S3. Trash and
//! markers are objects under reserved keys. The other methods than those of [`StorageClient`] look at the
//! tree and change it behind the back of a run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{Body, Disposal, Expiry, Held, ListRequest, Listed, Purged, Staged, StorageClient, Target};
use crate::clock::{Clock, SystemClock};
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{IGNORE_FILE, Rules};
use crate::fingerprint::{ETag, Fingerprint, HashForm, Hasher};
use crate::key::Key;
use crate::marker::ListedMarker;
use crate::root::RootIdentity;

const PAIRS: &str = ".syncengine/pairs/";
const TRASH: &str = ".syncengine/trash/";

/// In how large pieces a body comes.
const CHUNK_BYTES: usize = 256 * 1024;

/// A [`StorageClient`] whose tree is in memory.
#[derive(Debug)]
pub struct MemoryClient {
    location: String,
    identity: Option<String>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Object>,
    is_missing: bool,
    requests: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    etag: ETag,
    modified: Timestamp,
    /// The run that wrote it.
    written_by: Option<u32>,
}

impl MemoryClient {
    /// Returns an empty tree that calls itself `location`.
    pub fn new(location: &str) -> Self {
        let state = Mutex::new(State::default());
        Self { location: location.to_owned(), identity: None, clock: Arc::new(SystemClock), state }
    }

    /// Tells the tree from others with the same location.
    pub fn with_identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Stamps what comes without a time by `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the root missing until it is created.
    pub fn without_root(self) -> Self {
        self.state().is_missing = true;
        self
    }

    /// Writes an object as somebody else would.
    pub fn put(&self, key: Key, bytes: impl Into<Bytes>, modified: Timestamp) {
        self.state().objects.insert(key, Object::new(bytes.into(), modified));
    }

    /// Removes an object as somebody else would, without trash. Returns whether it was there.
    pub fn remove_now(&self, key: &Key) -> bool {
        self.state().objects.remove(key).is_some()
    }

    /// Returns the content of an object, reserved ones too.
    pub fn get(&self, key: &Key) -> Option<Bytes> {
        self.state().objects.get(key).map(|object| object.bytes.clone())
    }

    /// Returns the content of all synced objects by name.
    pub fn tree(&self) -> BTreeMap<String, Bytes> {
        let state = self.state();
        let synced = state.objects.iter().filter(|(key, _)| !key.is_reserved());
        synced.map(|(key, object)| (key.as_str().to_owned(), object.bytes.clone())).collect()
    }

    /// Returns what is in the trash, by its name below the trash, in order.
    pub fn trash(&self) -> Vec<(String, Bytes)> {
        let state = self.state();
        let kept = state.objects.iter().filter_map(|(key, object)| {
            key.as_str().strip_prefix(TRASH).map(|name| (name.to_owned(), object.bytes.clone()))
        });
        kept.collect()
    }

    /// Returns how often each operation was asked for, by the name of its method.
    pub fn requests(&self) -> BTreeMap<&'static str, u64> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and returns the state, if the root exists.
    fn request(&self, verb: &'static str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        *state.requests.entry(verb).or_default() += 1;
        if state.is_missing {
            return Err(Error::new(ErrorKind::NotFound, format!("open the tree `{}`", self.location)));
        }
        Ok(state)
    }

    fn list_now(&self, mut request: ListRequest) -> Result<Vec<Listed>> {
        let state = self.request("list")?;
        let mut listed: Vec<Listed> = Vec::new();
        if request.read_ignore_files {
            for (key, object) in state.objects.iter().filter(|(key, _)| key.file_name() == IGNORE_FILE) {
                let (rules, _) = Rules::parse(&String::from_utf8_lossy(&object.bytes));
                listed.push(Listed::Rules(key.parent().unwrap_or("").to_owned(), rules));
            }
        }
        let synced = state.objects.iter().filter(|(key, _)| !key.is_reserved());
        listed.extend(synced.map(|(key, object)| Listed::File(object.entry(key))));
        // Stable: the rules of a folder come before anything that stands where they do.
        listed.sort_by(|a, b| a.position().cmp(&b.position()));
        listed.retain(|item| match item {
            Listed::Rules(folder, rules) => {
                let excluded = folders_above(folder).any(|above| request.filter.excludes_folder(above));
                if !excluded {
                    request.filter.enter(folder, rules.clone());
                }
                !excluded
            }
            Listed::File(entry) => {
                !entry.key.ancestors().any(|folder| request.filter.excludes_folder(folder))
            }
            _ => true,
        });
        Ok(listed)
    }

    fn head_now(&self, key: &Key) -> Result<Option<Listed>> {
        let state = self.request("head")?;
        let found = state.objects.get(key).filter(|_| !key.is_reserved());
        Ok(found.map(|object| Listed::File(object.entry(key))))
    }

    fn read_now(&self, entry: &Entry) -> Result<Body> {
        let state = self.request("read")?;
        let object = state.expect(entry)?;
        let pieces: Vec<_> =
            (0..object.bytes.len()).step_by(CHUNK_BYTES).map(|start| object.piece(start)).map(Ok).collect();
        Ok(Body {
            size: object.bytes.len() as u64,
            modified: Some(object.modified),
            mode: None,
            folder_modes: Vec::new(),
            proof: None,
            chunks: stream::iter(pieces).boxed(),
        })
    }

    async fn stage_now(&self, target: Target, mut body: Body) -> Result<Staged> {
        drop(self.request("stage")?);
        check_name(&target.key)?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        let size = bytes.len() as u64;
        if size != body.size {
            return Err(changed(&target.key, "came with another number of bytes than announced"));
        }
        Ok(Staged { target, size, hash: None, held: Held::Memory(bytes.freeze(), body.modified) })
    }

    fn copy_now(&self, from: &Entry, target: Target) -> Result<Staged> {
        let state = self.request("copy")?;
        check_name(&target.key)?;
        let object = state.expect(from)?;
        let (size, hash) = (from.size, object.etag.whole_md5());
        Ok(Staged { target, size, hash, held: Held::Memory(object.bytes.clone(), Some(object.modified)) })
    }

    fn publish_now(&self, staged: Staged) -> Result<Entry> {
        let mut state = self.request("publish")?;
        let Held::Memory(bytes, modified) = staged.held else {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("publish `{}`: staged elsewhere", staged.target.key),
            ));
        };
        let Target { key, replaces, disposal, run_tag, .. } = staged.target;
        state.check(&key, replaces.as_ref())?;
        if replaces.is_some() {
            state.dispose(&key, &disposal)?;
        }
        let mut object = Object::new(bytes, modified.unwrap_or_else(|| self.clock.now()));
        object.written_by = Some(run_tag);
        let entry = object.entry(&key);
        state.objects.insert(key, object);
        Ok(entry)
    }

    fn rename_now(&self, from: &Entry, to: &Key) -> Result<Entry> {
        let mut state = self.request("rename")?;
        check_name(to)?;
        state.check(&from.key, Some(from))?;
        state.check(to, None)?;
        let object =
            state.objects.remove(&from.key).ok_or_else(|| changed(&from.key, "is no longer there"))?;
        let entry = object.entry(to);
        state.objects.insert(to.clone(), object);
        Ok(entry)
    }

    fn remove_one(&self, entry: &Entry, disposal: &Disposal) -> Result<()> {
        let mut state = self.request("remove")?;
        state.check(&entry.key, Some(entry))?;
        state.dispose(&entry.key, disposal)
    }
}

impl Object {
    fn new(bytes: Bytes, modified: Timestamp) -> Self {
        let mut hasher = Hasher::new(HashForm::Whole);
        hasher.update(&bytes);
        Self { etag: hasher.finish().etag(), bytes, modified, written_by: None }
    }

    fn entry(&self, key: &Key) -> Entry {
        Entry {
            key: key.clone(),
            size: self.bytes.len() as u64,
            modified: Some(self.modified),
            stored: None,
            fingerprint: Fingerprint::Object(self.etag.clone()),
        }
    }

    fn piece(&self, start: usize) -> Bytes {
        self.bytes.slice(start..self.bytes.len().min(start + CHUNK_BYTES))
    }
}

impl State {
    /// Returns the object if it is the version `entry`.
    fn expect(&self, entry: &Entry) -> Result<&Object> {
        let object = self.objects.get(&entry.key).ok_or_else(|| changed(&entry.key, "is no longer there"))?;
        if Fingerprint::Object(object.etag.clone()) != entry.fingerprint {
            return Err(changed(&entry.key, "is no longer the version that was listed"));
        }
        Ok(object)
    }

    /// Checks that at `key` there is the version `expected`, or nothing.
    fn check(&self, key: &Key, expected: Option<&Entry>) -> Result<()> {
        match expected {
            Some(entry) => self.expect(entry).map(drop),
            None if self.objects.contains_key(key) => Err(changed(key, "appeared meanwhile")),
            None => Ok(()),
        }
    }

    /// Takes an object away, into the trash under a free name if it is to be kept.
    fn dispose(&mut self, key: &Key, disposal: &Disposal) -> Result<()> {
        let object = self.objects.get(key).cloned().ok_or_else(|| changed(key, "is no longer there"))?;
        if let Disposal::Trash { run } = disposal {
            let mut name = reserved(&format!("{TRASH}{run}/{key}", key = key.as_str()))?;
            let mut number = 0;
            while self.objects.contains_key(&name) {
                number += 1;
                name = reserved(&format!("{TRASH}{run}/{key}~{number}", key = key.as_str()))?;
            }
            self.objects.insert(name, object);
        }
        self.objects.remove(key);
        Ok(())
    }
}

fn folders_above(folder: &str) -> impl Iterator<Item = &str> {
    let ends =
        folder.match_indices('/').map(|(end, _)| end).chain((!folder.is_empty()).then_some(folder.len()));
    ends.map(|end| &folder[..end])
}

fn changed(key: &Key, what: &str) -> Error {
    Error::new(ErrorKind::Changed, format!("`{key}` {what}"))
}

fn check_name(key: &Key) -> Result<()> {
    if key.is_reserved() {
        return Err(Error::new(ErrorKind::Invalid, format!("write `{key}`: the name is reserved")));
    }
    Ok(())
}

fn reserved(name: &str) -> Result<Key> {
    Key::parse(name)
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("write `{name}`")).with_source(error))
}

impl StorageClient for MemoryClient {
    fn location(&self) -> &str {
        &self.location
    }

    fn identity(&self) -> &str {
        self.identity.as_deref().unwrap_or(&self.location)
    }

    fn root(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        let root = (!self.state().is_missing).then(RootIdentity::default);
        async move { Ok(root) }.boxed()
    }

    fn create_root(&self) -> BoxFuture<'_, Result<()>> {
        async {
            self.state().is_missing = false;
            Ok(())
        }
        .boxed()
    }

    fn list(&self, request: ListRequest) -> BoxStream<'_, Result<Listed>> {
        let listed = async move {
            let (items, failure) = match self.list_now(request) {
                Ok(items) => (items, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            stream::iter(items.into_iter().map(Ok).chain(failure))
        };
        stream::once(listed).flatten().boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Listed>>> {
        async move { self.head_now(key) }.boxed()
    }

    fn read<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Body>> {
        async move { self.read_now(entry) }.boxed()
    }

    fn was_written_by<'a>(
        &'a self,
        entry: &'a Entry,
        run_tag: u32,
        modified: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool>> {
        async move {
            let state = self.request("head")?;
            let object = state.expect(entry)?;
            let is_then = modified.is_none_or(|modified| modified == object.modified);
            Ok(object.written_by == Some(run_tag) && is_then)
        }
        .boxed()
    }

    fn stage(&self, target: Target, body: Body) -> BoxFuture<'_, Result<Staged>> {
        self.stage_now(target, body).boxed()
    }

    fn copy<'a>(&'a self, from: &'a Entry, target: Target) -> BoxFuture<'a, Result<Staged>> {
        async move { self.copy_now(from, target) }.boxed()
    }

    fn publish(&self, staged: Vec<Staged>) -> BoxFuture<'_, Vec<Result<Entry>>> {
        async move { staged.into_iter().map(|one| self.publish_now(one)).collect() }.boxed()
    }

    fn discard(&self, staged: Staged) -> BoxFuture<'_, ()> {
        async move { drop(staged) }.boxed()
    }

    fn rename<'a>(&'a self, from: &'a Entry, to: &'a Key) -> BoxFuture<'a, Result<Entry>> {
        async move { self.rename_now(from, to) }.boxed()
    }

    fn remove<'a>(&'a self, entries: Vec<Entry>, disposal: &'a Disposal) -> BoxFuture<'a, Vec<Result<()>>> {
        async move { entries.iter().map(|entry| self.remove_one(entry, disposal)).collect() }.boxed()
    }

    fn sweep(&self, _: Vec<Key>) -> BoxFuture<'_, Result<()>> {
        // Nothing staged is ever left behind.
        async { Ok(()) }.boxed()
    }

    fn purge_trash(&self, expiry: Expiry) -> BoxFuture<'_, Result<Purged>> {
        async move {
            let mut purged = Purged::default();
            let mut gone = std::collections::BTreeSet::new();
            self.request("purge_trash")?.objects.retain(|key, _| {
                let name = key.as_str();
                let run = name.strip_prefix(TRASH).and_then(|rest| rest.split('/').next());
                let Some(run) = run else { return true };
                let is_over = !expiry.is_spared(run) && expiry.is_over(run);
                if is_over {
                    gone.insert(run.to_owned());
                } else if !expiry.believes(run) {
                    purged.unbelieved.insert(run.to_owned());
                }
                !is_over
            });
            purged.runs = gone.len() as u64;
            Ok(purged)
        }
        .boxed()
    }

    fn markers(&self) -> BoxFuture<'_, Result<Vec<ListedMarker>>> {
        async {
            let state = self.request("markers")?;
            let names = state.objects.keys().filter_map(|key| key.as_str().strip_prefix(PAIRS));
            Ok(names.map(|name| name.to_owned().into()).collect())
        }
        .boxed()
    }

    fn read_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>>> {
        async move {
            let state = self.request("read_marker")?;
            let object = state.objects.get(&reserved(&format!("{PAIRS}{name}"))?);
            Ok(object.map(|object| String::from_utf8_lossy(&object.bytes).into_owned()))
        }
        .boxed()
    }

    fn put_marker<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let object = Object::new(Bytes::copy_from_slice(text.as_bytes()), self.clock.now());
            self.request("put_marker")?.objects.insert(reserved(&format!("{PAIRS}{name}"))?, object);
            Ok(())
        }
        .boxed()
    }

    fn remove_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.request("remove_marker")?.objects.remove(&reserved(&format!("{PAIRS}{name}"))?);
            Ok(())
        }
        .boxed()
    }
}
