//! The client of S3-compatible stores. Its files are the only ones that know the AWS SDK.
//!
//! A version is visible as soon as the store has all of it, so staging and publishing are one step here: what a
//! version replaces is in the trash before, and the write is conditional. Names are `<prefix><key>`; what is
//! ours is below `<prefix>.syncengine/`. In data-flow order: `connect` and `store` (sending one request),
//! `list`, `object` and `read`, `probe`, `stage` and `multipart`, `copy`, `remove`.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;

use super::{
    Body, Disposal, Expiry, Held, Kept, ListRequest, Listed, Origin, Purged, Respelled, Staged,
    StorageClient, Target, Written,
};
use crate::code::NoticeCode;
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, md5_of};
use crate::key::Key;
use crate::location::{Bucket, StoreOptions};
use crate::marker::{ListedMarker, MOST_BYTES};
use crate::retry::RETRY_BUDGET;
use crate::root::RootIdentity;
use crate::telemetry::{Conditions, Requests};
use crate::trash::{Manifest, Name};

mod budget;
mod capabilities;
mod connect;
mod copy;
mod dates;
mod document;
mod endpoint;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod habit;
mod ledger;
mod limiter;
mod limits;
mod list;
mod listing;
mod metadata;
mod multipart;
mod notes;
mod object;
mod order;
mod orphans;
mod page;
mod probe;
mod proof;
mod read;
mod receipt;
mod remove;
mod requests;
mod source;
mod spelling;
mod stage;
mod store;
mod strict;
mod trash;
mod versioning;
mod walk;

use capabilities::Capabilities;
use fault::Fault;
use habit::Habit;
use ledger::Ledger;
use limits::Limits;
use orphans::Unfinished;
use probe::Probe;
use requests::RequestLog;
use store::Store;
use trash::Announced;
use versioning::Versioning;

pub use store::Ports;

/// Where the markers of pairs are, below the prefix.
const PAIRS: &str = ".syncengine/pairs/";

/// How a client of a store works, apart from where the store is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Time, randomness, and who may end the run.
    pub ports: Ports,
    /// Requests in flight at once, at most; `None` finds out how many are best.
    pub requests: Option<usize>,
    /// The size of the parts of large uploads in bytes; `None` follows from the size of the file.
    pub part_bytes: Option<u64>,
    /// How many bytes of files may be held in memory at once: large parts go up one after another, if there is no room for more.
    pub memory_bytes: u64,
    /// Files above this many bytes go up in parts; `None` is 16 MiB.
    pub multipart_threshold: Option<u64>,
    /// How long the requests of a file may fail, with the waits between them, and how long a run may in which nothing else
    /// succeeds.
    pub retry_budget: Duration,
    /// Where replaced and deleted objects are kept, if not below the tree itself.
    pub trash: Option<Bucket>,
    /// Whether what the store cannot guard by a condition is refused, instead of looked at and then done.
    pub strict: bool,
    /// Whether the store may be asked what it does, with objects of our own, even if nothing else is written there.
    pub may_ask: bool,
    /// The folder in which is remembered what a store can do and which uploads are under way; without it
    /// nothing is remembered.
    pub memory_dir: Option<PathBuf>,
}

impl Setup {
    /// Returns a setup that finds out what is best, keeps the trash in the tree and remembers nothing.
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            requests: None,
            part_bytes: None,
            memory_bytes: u64::MAX,
            multipart_threshold: None,
            retry_budget: RETRY_BUDGET,
            trash: None,
            strict: false,
            may_ask: false,
            memory_dir: None,
        }
    }
}

/// A prefix of a bucket.
#[derive(Debug)]
pub struct S3Client {
    location: String,
    identity: String,
    former_identity: String,
    at: Bucket,
    store: Store,
    setup: Setup,
    probe: Probe,
    /// Held while a new object is made, where the store may take its name for that of another one.
    creating: tokio::sync::Mutex<()>,
    /// Whether the bucket keeps old versions.
    versioning: Versioning,
    /// Whether the answer to a write tells the ETag that listings show, although it is not made of the content.
    tells_etags: AtomicBool,
    /// What killed runs left of their uploads.
    unfinished: Unfinished,
    /// The names this run has used in the trash.
    trashed: Mutex<BTreeSet<String>>,
    /// Objects of this tree that this client deleted and that a delete marker hides.
    hidden: Mutex<BTreeSet<String>>,
    /// What was written down of that.
    announced: Announced,
    /// When the run before this one ended, by its clock, in seconds since 1970.
    last_run: AtomicI64,
    /// What was seen of what ETags are made of.
    habit: Arc<Habit>,
    /// Digests of the names and tokens of what was written.
    tokens: (Mutex<HashSet<u64>>, RandomState),
    /// The conditions that the store ignored when they were needed.
    unguarded: Mutex<BTreeSet<&'static str>>,
    /// Whatever must live as long as the client.
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl S3Client {
    /// Connects to a store. Nothing is sent to it yet; credentials are looked for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for options that cannot work, and [`ErrorKind::Unavailable`] if no credentials
    /// were found within 5 seconds.
    pub async fn open(at: Bucket, options: &StoreOptions, setup: Setup) -> Result<Self> {
        let log = RequestLog::default();
        let connection = connect::connect(options, log.clone(), Limits::default()).await?;
        let location = format!("s3://{at}");
        let (identity, former) = match &connection.endpoint {
            None => (location.clone(), location.clone()),
            Some(written) => {
                let endpoint = endpoint::canonical(written).await;
                (format!("s3+{endpoint}/{at}"), format!("s3+{}/{at}", written.trim_end_matches('/')))
            }
        };
        let store = Store::new(connection, at.name.clone(), log, &setup);
        Ok(Self { former_identity: former, ..Self::new(location, identity, at, store, setup, None) })
    }

    /// Checks what can be checked of `options` before anybody is asked anything.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a profile that does not exist.
    pub async fn check(options: &StoreOptions) -> Result<()> {
        connect::check(options).await
    }

    /// Connects to the server inside this process that keeps its objects in `dir` (canonical) and answers at
    /// `endpoint`. `keep` lives as long as the client.
    pub fn open_embedded(
        at: Bucket,
        endpoint: &str,
        keys: (&str, &str),
        dir: &Path,
        keep: Arc<dyn Any + Send + Sync>,
        setup: Setup,
    ) -> Self {
        let log = RequestLog::default();
        let connection = connect::connect_embedded(endpoint, keys, log.clone(), Limits::default());
        let location = format!("embedded://{at}");
        let identity = at.embedded_identity(dir);
        let store = Store::new(connection, at.name.clone(), log, &setup);
        Self::new(location, identity, at, store, setup, Some(keep))
    }

    /// Returns the client of a store that `http` stands for: no configuration is looked at, and nothing goes over a network but
    /// what `http` sends. For tests of whoever uses this crate, and ours.
    pub fn over(http: SharedHttpClient, at: Bucket, setup: Setup) -> Self {
        let log = RequestLog::default();
        let connection = connect::connect_over(http, log.clone());
        let location = format!("s3://{at}");
        let store = Store::new(connection, at.name.clone(), log, &setup);
        Self::new(location.clone(), location, at, store, setup, None)
    }

    fn new(
        location: String,
        identity: String,
        at: Bucket,
        store: Store,
        setup: Setup,
        keep: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        let memory = setup.memory_dir.as_ref().map(|dir| dir.join(bucket_name(&identity, &at)));
        Self {
            probe: Probe::new(
                memory.as_ref().map(|dir| dir.join("probe.json")),
                at.prefix.clone(),
                !location.starts_with("embedded://"),
            ),
            location,
            former_identity: identity.clone(),
            identity,
            at,
            store: store.with_ledger(Ledger::new(memory)),
            setup,
            creating: tokio::sync::Mutex::default(),
            versioning: Versioning::default(),
            tells_etags: AtomicBool::new(false),
            habit: Arc::default(),
            tokens: (Mutex::default(), RandomState::new()),
            unfinished: Unfinished::default(),
            trashed: Mutex::default(),
            hidden: Mutex::default(),
            announced: Announced::default(),
            last_run: AtomicI64::new(i64::MIN),
            unguarded: Mutex::default(),
            _keep: keep,
        }
    }

    /// Notes that this run needs a condition that the store ignores.
    fn miss(&self, condition: &'static str) {
        self.unguarded.lock().unwrap_or_else(PoisonError::into_inner).insert(condition);
    }

    fn object_key(&self, key: &Key) -> String {
        format!("{}{}", self.at.prefix, key.as_str())
    }

    fn threshold(&self) -> u64 {
        self.setup.multipart_threshold.unwrap_or(multipart::THRESHOLD)
    }

    /// Returns what the store can do, asking it if nobody has for a while.
    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        self.probe.capabilities(&self.store).await
    }

    /// Returns what is known of what the store can do, without asking it.
    fn known_capabilities(&self) -> Option<Capabilities> {
        self.probe.known(self.store.ports.clock.now().seconds)
    }

    async fn head_key(&self, key: &Key) -> Result<Option<Listed>> {
        let (name, doing) = (self.object_key(key), || format!("look at `{key}`"));
        let found = async {
            let Some(object) = self.store.head(&name).await? else { return Ok(None) };
            if self.has_name(&name).await? {
                return Ok(Some(object.listed(key)));
            }
            // Another object, or one that listings hide: nobody can tell.
            Ok(Some(Listed::Unknown(key.clone(), Fault::taken().error(doing()))))
        };
        let found = found.await.map_err(|fault: Fault| fault.error(doing()))?;
        Ok(found.filter(|_| !key.is_reserved()))
    }

    async fn create_bucket(&self) -> Result<()> {
        let store = &self.store;
        let region = store.sdk().config().region().map(ToString::to_string);
        // AWS wants the region said unless it is the first one; other stores do not care.
        let elsewhere = region.filter(|region| region != "us-east-1" && store.connection.endpoint.is_none());
        let place = elsewhere.map(|region| {
            let constraint = BucketLocationConstraint::from(region.as_str());
            CreateBucketConfiguration::builder().location_constraint(constraint).build()
        });
        let created = store
            .send(|| async {
                let request = store.sdk().create_bucket().bucket(&store.bucket);
                Ok(request.set_create_bucket_configuration(place.clone()).send().await?)
            })
            .await;
        match created {
            Err(fault) if fault.code != "BucketAlreadyOwnedByYou" => {
                Err(fault.error(format!("make the bucket `{}`", self.at.name)))
            }
            _ => Ok(()),
        }
    }

    async fn sweep_all(&self, leftovers: Vec<Key>) -> Result<()> {
        self.take_stock().await;
        for key in leftovers {
            let key = self.object_key(&key);
            self.store.delete_ours(&key).await.map_err(|fault| fault.error(format!("delete `{key}`")))?;
        }
        Ok(())
    }

    fn marker_key(&self, name: &str) -> String {
        format!("{}{PAIRS}{name}", self.at.prefix)
    }
}

/// Returns a name for what is remembered of a bucket: it depends on the store and the bucket, not on the prefix.
fn bucket_name(identity: &str, at: &Bucket) -> String {
    let whole = at.to_string();
    let store = identity.strip_suffix(&whole).unwrap_or(identity);
    md5_of(&format!("{store}\n{}", at.name))
}

/// The SDK does not let a request be built that lacks something; ours lack nothing.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unbuildable(error: BuildError) -> Fault {
    Fault::new(ErrorKind::Internal, format!("build a request: {error}"))
}

impl StorageClient for S3Client {
    fn location(&self) -> &str {
        &self.location
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn former_identity(&self) -> &str {
        &self.former_identity
    }

    fn root(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        async move { Ok(self.bucket_exists().await?.then(RootIdentity::default)) }.boxed()
    }

    fn create_root(&self) -> BoxFuture<'_, Result<()>> {
        self.create_bucket().boxed()
    }

    fn list(&self, request: ListRequest) -> BoxStream<'_, Result<Listed>> {
        self.list_all(request.object_names)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Listed>>> {
        self.head_key(key).boxed()
    }

    fn was_written_by<'a>(
        &'a self,
        entry: &'a Entry,
        run_tag: u32,
        modified: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool>> {
        self.is_of_run(entry, run_tag, modified).boxed()
    }

    fn receipts<'a>(&'a self, written: &'a [Written]) -> BoxFuture<'a, Result<BTreeMap<Key, Kept>>> {
        self.ask_for(written).boxed()
    }

    fn read<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Body>> {
        self.read_object(entry).boxed()
    }

    fn stage(&self, target: Target, body: Body) -> BoxFuture<'_, Result<Staged>> {
        self.stage_object(target, body).boxed()
    }

    fn copy<'a>(&'a self, from: &'a Entry, target: Target) -> BoxFuture<'a, Result<Staged>> {
        self.copy_within(from, target).boxed()
    }

    fn origin(&self, key: &Key) -> Option<Origin> {
        let store = self.identity.strip_suffix(&self.at.to_string())?.to_owned();
        Some(Origin { store, bucket: self.at.name.clone(), key: self.object_key(key) })
    }

    fn copy_from<'a>(
        &'a self,
        origin: Origin,
        from: &'a Entry,
        target: Target,
    ) -> BoxFuture<'a, Result<Option<Staged>>> {
        self.copy_across(origin, from, target).boxed()
    }

    fn publish(&self, staged: Vec<Staged>) -> BoxFuture<'_, Vec<Result<Entry>>> {
        // It is visible already.
        let published = staged.into_iter().map(|staged| match staged.held {
            Held::Published(entry) => Ok(entry),
            Held::Temporary(..) | Held::Memory(..) => {
                let message = format!("publish `{}`: staged elsewhere", staged.target.key);
                Err(Error::new(ErrorKind::Internal, message))
            }
        });
        let published = published.collect();
        async move { published }.boxed()
    }

    fn discard(&self, staged: Staged) -> BoxFuture<'_, ()> {
        // What a store has shown is not taken back: the next run finds it equal and adopts it.
        async move { drop(staged) }.boxed()
    }

    fn rename<'a>(&'a self, from: &'a Entry, to: &'a Key) -> BoxFuture<'a, Result<Entry>> {
        self.rename_object(from, to).boxed()
    }

    fn remove<'a>(&'a self, entries: Vec<Entry>, disposal: &'a Disposal) -> BoxFuture<'a, Vec<Result<()>>> {
        self.remove_objects(entries, disposal).boxed()
    }

    fn has_hidden(&self, key: &Key) -> bool {
        self.take_hidden(key)
    }

    fn sweep(&self, leftovers: Vec<Key>) -> BoxFuture<'_, Result<()>> {
        self.sweep_all(leftovers).boxed()
    }

    fn settle(&self, is_written: bool) -> BoxFuture<'_, ()> {
        async move {
            self.remember_etags();
            if is_written {
                self.abort_unfinished().await;
                self.complete_manifests().await;
            }
        }
        .boxed()
    }

    fn time(&self) -> Option<Timestamp> {
        self.store.log.time()
    }

    fn note_last_run(&self, at: Timestamp) {
        self.last_run.store(at.seconds, Ordering::Relaxed);
    }

    fn copies_by_itself(&self) -> bool {
        self.known_capabilities().is_none_or(|can| can.copy_if_none_match || !can.put_if_none_match)
    }

    fn known_hash<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Option<ContentHash>>> {
        self.hash_of(entry).boxed()
    }

    fn purge_trash(&self, expiry: Expiry) -> BoxFuture<'_, Result<Purged>> {
        async move { self.purge(&expiry).await }.boxed()
    }

    fn announce_trash(&self, manifests: Vec<(Name, Manifest)>) -> BoxFuture<'_, Result<()>> {
        self.announce(manifests).boxed()
    }

    fn markers(&self) -> BoxFuture<'_, Result<Vec<ListedMarker>>> {
        self.list_markers().boxed()
    }

    fn read_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>>> {
        async move {
            let key = self.marker_key(name);
            let read = self.store.ours(&key, MOST_BYTES as u64).await;
            read.map_err(|fault| fault.error(format!("read `{key}`")))
        }
        .boxed()
    }

    fn put_marker<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let key = self.marker_key(name);
            self.store.put_and_look(&key, text).await.map_err(|fault| fault.error(format!("write `{key}`")))
        }
        .boxed()
    }

    fn remove_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let key = self.marker_key(name);
            self.store.delete_ours(&key).await.map_err(|fault| fault.error(format!("delete `{key}`")))
        }
        .boxed()
    }

    fn tells_apart<'a>(&'a self, _: &'a Key, _: &'a Key, may_write: bool) -> BoxFuture<'a, Result<bool>> {
        async move {
            // Asking takes objects of our own.
            let can = if may_write {
                Some(self.capabilities().await)
            } else {
                self.probe.answer.get().copied().map(Ok)
            };
            let can = can.transpose().map_err(|fault| fault.error(format!("look at `{}`", self.location)))?;
            Ok(can.is_none_or(|can| !can.folds_names))
        }
        .boxed()
    }

    fn folds_names(&self, _: bool) -> BoxFuture<'_, Result<bool>> {
        // Whoever has two names that may be one asks about those.
        async { Ok(true) }.boxed()
    }

    fn spelled<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Respelled>>> {
        async move { self.listed_as(key).await.map_err(|fault| fault.error(format!("look at `{key}`"))) }
            .boxed()
    }

    fn reached(&self) -> Option<StoreOptions> {
        Some(self.store.connection.reached.clone())
    }

    fn hashes_what_it_stages(&self) -> bool {
        true
    }

    fn resident_bytes(&self, size: u64) -> u64 {
        if size <= self.threshold() {
            return size.max(read::resident_bytes(size));
        }
        let part = multipart::part_bytes(size, self.setup.part_bytes);
        let parts = part.saturating_mul(multipart::parts_in_flight(part, self.setup.memory_bytes) as u64 + 1);
        size.min(parts.max(read::resident_bytes(size)))
    }

    fn requests(&self) -> Requests {
        self.store.log.counts()
    }

    fn conditions(&self) -> Conditions {
        self.probe.answer.get().map_or_else(Conditions::default, |can| Conditions {
            put_if_none_match: Some(can.put_if_none_match),
            put_if_match: Some(can.put_if_match),
            delete_if_match: Some(can.delete_if_match),
        })
    }

    fn remarks(&self) -> Vec<(NoticeCode, String)> {
        self.where_versions_are().into_iter().collect()
    }

    fn weaknesses(&self) -> Vec<(NoticeCode, String)> {
        let unguarded = self.unguarded.lock().unwrap_or_else(PoisonError::into_inner);
        if unguarded.is_empty() {
            return Vec::new();
        }
        let ignored = unguarded.iter().copied().collect::<Vec<_>>().join(", ");
        let message = format!(
            "the store of `{}` ignores {ignored}: it was looked at before each such write instead, which \
             leaves a moment in which another program's write could be missed",
            self.location,
        );
        vec![(NoticeCode::WeakConditions, message)]
    }
}

#[cfg(test)]
mod tests;
