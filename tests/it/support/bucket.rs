//! A prefix of a bucket as one side of a pair, looked at and edited past its client.

use std::collections::BTreeMap;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::operation::delete_object::builders::DeleteObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, VersioningConfiguration,
};
use futures::{StreamExt, stream};
use syncengine::client::s3::{Ports, S3Client, Setup};
use syncengine::clock::{Clock, SystemClock, SystemEntropy};
use syncengine::embedded::{Disturb, EmbeddedOptions, EmbeddedServer};
use syncengine::location;
use syncengine::{
    Key, Report, StorageClient, SyncController, SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp,
};

use super::{Folder, Root, Tree};

/// Runs what tests do to a store while their own runtime waits.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Waits for a future on another thread, whatever the caller runs on.
pub(crate) fn block<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(future)).join().unwrap())
}

/// Requests of a test at once.
const AT_ONCE: usize = 8;

/// A store that tests may use.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// A prefix of a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) server: Server,
    pub(crate) at: location::Bucket,
    pub(crate) sdk: aws_sdk_s3::Client,
    /// Whether it was told to keep versions; then those that are not current are its trash.
    keeps_versions: bool,
}

impl Server {
    fn sdk(&self) -> aws_sdk_s3::Client {
        let keys = Credentials::new(&self.access_key, &self.secret_key, None, None, "tests");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(keys)
            // A machine that is busy with other tests is no reason to give up.
            .timeout_config(TimeoutConfig::disabled())
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Lets a command know the keys to this server.
    pub(crate) fn introduce(&self, command: &mut Command) {
        command.env("AWS_ACCESS_KEY_ID", &self.access_key).env("AWS_SECRET_ACCESS_KEY", &self.secret_key);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
    }

    /// Makes a bucket of this name and returns a prefix of it.
    pub(crate) fn bucket(&self, name: &str, prefix: &str) -> Bucket {
        let bucket = self.unmade(name, prefix);
        block(async {
            let is_there = || async { bucket.sdk.head_bucket().bucket(name).send().await.is_ok() };
            // Another test may make it at the same time.
            if !is_there().await
                && let Err(error) = bucket.sdk.create_bucket().bucket(name).send().await
            {
                assert!(is_there().await, "{error:?}");
            }
        });
        bucket
    }

    /// As [`Self::bucket`], of a bucket that somebody else makes.
    pub(crate) fn unmade(&self, name: &str, prefix: &str) -> Bucket {
        let sdk = self.sdk();
        let at = location::Bucket { name: name.to_owned(), prefix: prefix.to_owned() };
        Bucket { server: self.clone(), at, sdk, keeps_versions: false }
    }
}

impl Server {
    /// Returns a place nobody has used yet, in the one bucket of this process: some servers set much aside for
    /// each bucket.
    pub(crate) fn place(&self, prefix: &str) -> Bucket {
        static BUCKET: LazyLock<String> = LazyLock::new(fresh_name);
        self.bucket(&BUCKET, &format!("{}/{prefix}", fresh_name()))
    }
}

impl Bucket {
    /// Returns a client that remembers what it needs in `memory_dir`.
    pub(crate) fn open(&self, memory_dir: Option<PathBuf>) -> S3Client {
        self.open_for(&SyncController::new(), Arc::new(SystemClock), memory_dir)
    }

    /// As [`Self::open`], of a run that `control` ends and that goes by `clock`.
    pub(crate) fn open_for(
        &self,
        control: &SyncController,
        clock: Arc<dyn Clock>,
        memory_dir: Option<PathBuf>,
    ) -> S3Client {
        let ports = Ports { clock, entropy: Arc::new(SystemEntropy), control: control.clone() };
        let setup = Setup { memory_dir, ..Setup::new(ports) };
        let keys = (self.server.access_key.as_str(), self.server.secret_key.as_str());
        let dir = PathBuf::from(&self.server.endpoint);
        S3Client::open_embedded(self.at.clone(), &self.server.endpoint, keys, &dir, Arc::new(()), setup)
    }

    /// Syncs a folder with it once, whatever the guards would say; what is remembered of both is in `dir`.
    pub(crate) async fn sync_with(&self, folder: &Folder, mode: SyncMode, dir: &Path) -> Report {
        let engine = SyncEngine::new(dir.join("state"));
        let client = Arc::new(self.open(Some(dir.join("stores"))));
        let pair = SyncPair::with_clients(folder.client(), client).mode(mode);
        let mut options = SyncOptions::new();
        options.allow_mass_delete = true;
        options.allow_empty_side = true;
        engine.sync_pair(&pair, options).await.unwrap()
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.at.prefix)
    }

    /// Returns the bucket with versioning switched on.
    pub(crate) fn keeping_versions(self) -> Self {
        self.set_versioning(BucketVersioningStatus::Enabled);
        Self { keeps_versions: true, ..self }
    }

    /// Switches versioning on, or suspends it.
    pub(crate) fn set_versioning(&self, status: BucketVersioningStatus) {
        let configuration = VersioningConfiguration::builder().status(status).build();
        let put = self.sdk.put_bucket_versioning().bucket(&self.at.name);
        block(async { put.versioning_configuration(configuration).send().await.unwrap() });
    }

    /// Returns [`Self::past`] if the bucket was told to keep versions, and nothing otherwise.
    pub(crate) fn past_if_kept(&self) -> Vec<(String, String, Vec<u8>)> {
        if self.keeps_versions { self.past() } else { Vec::new() }
    }

    /// Returns the versions below the prefix that are not current, what is ours left out: their names and those
    /// of the versions, the newest of a name first, and their contents.
    pub(crate) fn past(&self) -> Vec<(String, String, Vec<u8>)> {
        let bucket = &self.at.name;
        block(async {
            let (mut found, mut key, mut version) = (Vec::new(), None, None);
            loop {
                let list = self.sdk.list_object_versions().bucket(bucket).prefix(&self.at.prefix);
                let list = list.set_key_marker(key).set_version_id_marker(version);
                let page = list.send().await.unwrap();
                for past in page.versions().iter().filter(|version| version.is_latest() != Some(true)) {
                    let (key, id) = (past.key().unwrap(), past.version_id().unwrap());
                    let name = key[self.at.prefix.len()..].to_owned();
                    if name.starts_with(".syncengine/") {
                        continue;
                    }
                    let get = self.sdk.get_object().bucket(bucket).key(key).version_id(id);
                    let bytes = get.send().await.unwrap().body.collect().await.unwrap().into_bytes();
                    found.push((name, id.to_owned(), bytes.to_vec()));
                }
                if page.is_truncated != Some(true) {
                    return found;
                }
                (key, version) = (page.next_key_marker, page.next_version_id_marker);
            }
        })
    }

    /// Writes an object, with a time of modification if one is given.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], modified: Option<Timestamp>) {
        let request = self.sdk.put_object().bucket(&self.at.name).key(self.name(name));
        let request = request.body(ByteStream::from(bytes.to_vec()));
        let request = match modified {
            Some(time) => request.metadata("mtime", format!("{}.{:09}", time.seconds, time.nanoseconds)),
            None => request,
        };
        block(async { request.send().await.unwrap() });
    }

    /// Writes an object in parts, of which the store makes an ETag that is no hash of the content.
    pub(crate) fn put_in_parts(&self, name: &str, parts: &[Vec<u8>], modified: Timestamp) {
        let (bucket, key) = (&self.at.name, self.name(name));
        let mtime = format!("{}.{:09}", modified.seconds, modified.nanoseconds);
        block(async {
            let begun = self.sdk.create_multipart_upload().bucket(bucket).key(&key).metadata("mtime", mtime);
            let upload = begun.send().await.unwrap().upload_id.unwrap();
            let mut sent = CompletedMultipartUpload::builder();
            for (number, part) in (1..).zip(parts) {
                let request = self.sdk.upload_part().bucket(bucket).key(&key).upload_id(&upload);
                let request = request.part_number(number).body(ByteStream::from(part.clone()));
                let tag = request.send().await.unwrap().e_tag;
                sent = sent.parts(CompletedPart::builder().part_number(number).set_e_tag(tag).build());
            }
            let end = self.sdk.complete_multipart_upload().bucket(bucket).key(&key).upload_id(&upload);
            end.multipart_upload(sent.build()).send().await.unwrap();
        });
    }

    /// Deletes an object.
    pub(crate) fn remove(&self, name: &str) {
        let request = self.sdk.delete_object().bucket(&self.at.name).key(self.name(name));
        block(async { request.send().await.unwrap() });
    }

    /// Returns the same bucket below a further prefix.
    pub(crate) fn below(&self, prefix: &str) -> Self {
        let at = location::Bucket { prefix: self.name(prefix), ..self.at.clone() };
        Self { at, ..self.clone() }
    }

    /// Writes many objects with one time.
    pub(crate) fn put_all(&self, files: Vec<(String, Vec<u8>)>, modified: Timestamp) {
        let mtime = format!("{}.{:09}", modified.seconds, modified.nanoseconds);
        let put = |(name, bytes): (String, Vec<u8>)| {
            let request = self.sdk.put_object().bucket(&self.at.name).key(self.name(&name));
            let request = request.metadata("mtime", &mtime).body(ByteStream::from(bytes));
            async { request.send().await.unwrap() }
        };
        block(stream::iter(files).map(put).buffer_unordered(AT_ONCE).for_each(|_| ready(())));
    }

    /// Deletes many objects.
    pub(crate) fn remove_all(&self, names: &[String]) {
        let requests = names
            .iter()
            .map(|name| self.sdk.delete_object().bucket(&self.at.name).key(self.name(name)))
            .collect::<Vec<_>>();
        let remove = |request: DeleteObjectFluentBuilder| async { request.send().await.unwrap() };
        block(stream::iter(requests).map(remove).buffer_unordered(AT_ONCE).for_each(|_| ready(())));
    }

    /// Returns the content of an object.
    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        let request = self.sdk.get_object().bucket(&self.at.name).key(self.name(name));
        block(async { request.send().await.unwrap().body.collect().await.unwrap().into_bytes().to_vec() })
    }

    /// Writes an object under another name too, with its metadata, and then deletes it.
    pub(crate) fn relocate(&self, from: &str, to: &str) {
        let metadata = self.metadata(from).into_iter().collect();
        let request = self.sdk.put_object().bucket(&self.at.name).key(self.name(to));
        let request = request.set_metadata(Some(metadata)).body(ByteStream::from(self.get(from)));
        block(async { request.send().await.unwrap() });
        self.remove(from);
    }

    /// Returns the names of what is below the prefix, ours too.
    pub(crate) fn names(&self) -> Vec<String> {
        block(self.list()).into_iter().map(|(name, _)| name).collect()
    }

    /// Returns everything below the prefix, ours too: when it was written, and its content.
    pub(crate) fn versions(&self) -> Vec<(String, Timestamp, Vec<u8>)> {
        let read = |(name, written): (String, Timestamp)| {
            let request = self.sdk.get_object().bucket(&self.at.name).key(self.name(&name));
            async move {
                let bytes = request.send().await.unwrap().body.collect().await.unwrap().into_bytes().to_vec();
                (name, written, bytes)
            }
        };
        block(async {
            let listed = self.list().await;
            stream::iter(listed).map(read).buffered(AT_ONCE).collect().await
        })
    }

    async fn list(&self) -> Vec<(String, Timestamp)> {
        let request = self.sdk.list_objects_v2().bucket(&self.at.name).prefix(&self.at.prefix);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.unwrap().contents.unwrap_or_default() {
                let written = object.last_modified.unwrap();
                let written = Timestamp::new(written.secs(), written.subsec_nanos());
                found.push((object.key.unwrap()[self.at.prefix.len()..].to_owned(), written));
            }
        }
        found
    }

    /// Returns everything below the prefix, ours too.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.versions().into_iter().map(|(name, _, bytes)| (name, bytes)).collect()
    }

    /// Returns the names of everything below the prefix that is no file of the tree.
    pub(crate) fn ours(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.starts_with(".syncengine")).collect()
    }

    /// Returns the names of the files of the tree.
    pub(crate) fn file_names(&self) -> Vec<String> {
        let reserved = |name: &String| Key::parse(name).is_ok_and(|key| key.is_reserved());
        self.names().into_iter().filter(|name| !reserved(name)).collect()
    }

    /// Returns the names of the unfinished uploads of the bucket.
    pub(crate) fn uploads(&self) -> Vec<String> {
        self.unfinished().into_iter().map(|(key, _)| key).collect()
    }

    /// Returns the ids of the unfinished uploads of the bucket.
    pub(crate) fn upload_ids(&self) -> Vec<String> {
        self.unfinished().into_iter().map(|(_, id)| id).collect()
    }

    /// Returns the unfinished uploads of the bucket: name and id.
    fn unfinished(&self) -> Vec<(String, String)> {
        let listed =
            block(async { self.sdk.list_multipart_uploads().bucket(&self.at.name).send().await.unwrap() });
        let uploads = listed.uploads.unwrap_or_default().into_iter();
        uploads.filter_map(|upload| upload.key.zip(upload.upload_id)).collect()
    }

    /// Begins an upload as somebody else would, with one part if there are bytes for it; returns its id.
    pub(crate) fn begin_upload(&self, name: &str, part: &[u8]) -> String {
        let request = self.sdk.create_multipart_upload().bucket(&self.at.name).key(self.name(name));
        let id = block(async { request.send().await.unwrap().upload_id.unwrap() });
        if !part.is_empty() {
            self.put_part(name, &id, 1, part.to_vec());
        }
        id
    }

    /// Sends a part to the one unfinished upload of an object.
    pub(crate) fn send_part(&self, name: &str, number: i32, bytes: Vec<u8>) {
        let key = self.name(name);
        let (_, id) = self.unfinished().into_iter().find(|(of, _)| *of == key).unwrap();
        self.put_part(name, &id, number, bytes);
    }

    fn put_part(&self, name: &str, id: &str, number: i32, bytes: Vec<u8>) {
        let request = self.sdk.upload_part().bucket(&self.at.name).key(self.name(name)).upload_id(id);
        let request = request.part_number(number).body(ByteStream::from(bytes));
        block(async { request.send().await.unwrap() });
    }

    /// Returns the numbers of the parts that the unfinished uploads of an object have.
    pub(crate) fn parts(&self, name: &str) -> Vec<i32> {
        let key = self.name(name);
        let mut numbers = Vec::new();
        for (_, id) in self.unfinished().into_iter().filter(|(of, _)| *of == key) {
            let request = self.sdk.list_parts().bucket(&self.at.name).key(&key).upload_id(id);
            let listed = block(async { request.send().await.unwrap() });
            numbers.extend(listed.parts.unwrap_or_default().into_iter().filter_map(|part| part.part_number));
        }
        numbers
    }

    /// Aborts the unfinished uploads of the bucket.
    pub(crate) fn abort_uploads(&self) {
        for (key, id) in self.unfinished() {
            let request = self.sdk.abort_multipart_upload().bucket(&self.at.name).key(key).upload_id(id);
            block(async { request.send().await.unwrap() });
        }
    }

    /// Returns the metadata of an object.
    pub(crate) fn metadata(&self, name: &str) -> BTreeMap<String, String> {
        let request = self.sdk.head_object().bucket(&self.at.name).key(self.name(name));
        let answer = block(async { request.send().await.unwrap() });
        answer.metadata.unwrap_or_default().into_iter().collect()
    }
}

impl Root for Bucket {
    fn client(&self) -> Arc<dyn StorageClient> {
        Arc::new(self.open(None))
    }

    fn write(&self, name: &str, content: &[u8], modified: Timestamp) {
        let key = Key::parse(name).unwrap();
        for other in self.file_names().iter().map(|other| Key::parse(other).unwrap()) {
            if other.is_below(name) || key.is_below(other.as_str()) {
                self.remove(other.as_str());
            }
        }
        self.put(name, content, Some(modified));
    }

    fn delete(&self, name: &str) {
        self.remove(name);
    }

    fn rename(&self, from: &str, to: &str) {
        let content = self.get(from);
        self.remove(from);
        Root::write(self, to, &content, Timestamp::new(1_700_000_000, 0));
    }

    fn touch(&self, name: &str, modified: Timestamp) {
        let content = self.get(name);
        self.put(name, &content, Some(modified));
    }

    fn files(&self) -> Tree {
        let content = |name: String| (name.clone(), self.get(&name));
        self.file_names().into_iter().map(content).collect()
    }

    fn trash(&self) -> Vec<Vec<u8>> {
        let objects = self.objects().into_iter();
        let copies = objects.filter(|(name, _)| name.starts_with(".syncengine/trash/"));
        let past = self.past_if_kept().into_iter();
        copies.map(|(_, bytes)| bytes).chain(past.map(|(_, _, bytes)| bytes)).collect()
    }
}

/// Returns a bucket name nobody has used yet, on servers that outlive this process neither.
pub(crate) fn fresh_name() -> String {
    static NEXT: Mutex<u32> = Mutex::new(0);
    static BEGAN: LazyLock<i64> = LazyLock::new(|| SystemClock.now().seconds);
    let mut next = NEXT.lock().unwrap();
    *next += 1;
    format!("test-{}-{}-{next}", *BEGAN, std::process::id())
}

/// A server inside this process, and the folder it keeps its objects in.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) server: Server,
    pub(crate) running: EmbeddedServer,
    _dir: Option<tempfile::TempDir>,
}

impl Embedded {
    /// Starts a server of `dir`, which other processes may have used before.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::with(EmbeddedOptions::new(dir), None)
    }

    /// Starts a server of a new folder that `disturb` disturbs.
    pub(crate) fn disturbed(disturb: Arc<dyn Disturb>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { disturb: Some(disturb), ..EmbeddedOptions::new(dir.path()) };
        Self::with(options, Some(dir))
    }

    /// Starts a server with these options.
    pub(crate) fn of(options: EmbeddedOptions) -> Self {
        Self::with(options, None)
    }

    fn with(options: EmbeddedOptions, dir: Option<tempfile::TempDir>) -> Self {
        let (access_key, secret_key) = (options.access_key.clone(), options.secret_key.clone());
        let running = block(async { EmbeddedServer::start(options).await.unwrap() });
        let server = Server { endpoint: running.endpoint(), access_key, secret_key };
        Self { server, running, _dir: dir }
    }

    pub(crate) fn stop(self) {
        block(async { self.running.stop().await.unwrap() });
    }
}

/// Returns the server that all tests of this process share.
pub(crate) fn embedded() -> Server {
    static SHARED: LazyLock<Embedded> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::new(dir.path());
        Embedded::with(options, Some(dir))
    });
    SHARED.server.clone()
}

/// A bucket that other processes serve to themselves: here it is served for the time of each look.
#[derive(Debug)]
pub(crate) struct AtRest {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
}

impl AtRest {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Bucket) -> T) -> T {
        let embedded = Embedded::start(&self.dir);
        let seen = look(&embedded.server.bucket(&self.name, ""));
        embedded.stop();
        seen
    }
}

impl Root for AtRest {
    fn client(&self) -> Arc<dyn StorageClient> {
        unreachable!("other processes have it")
    }

    fn write(&self, name: &str, content: &[u8], modified: Timestamp) {
        self.with(|bucket| Root::write(bucket, name, content, modified));
    }

    fn delete(&self, name: &str) {
        self.with(|bucket| bucket.remove(name));
    }

    fn rename(&self, from: &str, to: &str) {
        self.with(|bucket| Root::rename(bucket, from, to));
    }

    fn touch(&self, name: &str, modified: Timestamp) {
        self.with(|bucket| bucket.touch(name, modified));
    }

    fn files(&self) -> Tree {
        self.with(Root::files)
    }

    fn trash(&self) -> Vec<Vec<u8>> {
        self.with(Root::trash)
    }
}
