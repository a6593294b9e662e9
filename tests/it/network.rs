//! Whole runs between a folder and a store on a bad day: what the network or somebody on the way to the store
//! does to one kind of request, credentials that expire, conditions that are ignored, listings of yesterday.
//!
//! However such a run ends, no version is lost, nothing is removed without evidence, and the next run on a good
//! day brings both sides into agreement. What single requests make of bad answers is in `src/client/s3/tests.rs`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use syncengine::client::s3::{Ports, S3Client, Setup};
use syncengine::client::{Body, Disposal, Target};
use syncengine::clock::{Clock, SystemClock, SystemEntropy};
use syncengine::embedded::{Disturb, Disturbance, Request};
use syncengine::{
    Error, ErrorKind, Event, Key, Observer, Report, StorageClient, SyncController, SyncEngine, SyncMode,
    SyncOptions, SyncPair, Timestamp,
};

mod liars;

use crate::support::bucket::Bucket;
use crate::support::middle::{Meeting, between};
use crate::support::world::World;
use crate::support::{Root, Tree};

const MIB: usize = 1024 * 1024;

/// The size of files that go up in two parts.
const LARGE: usize = 6 * MIB;

/// A clock by which waits take a hundredth of their time.
#[derive(Debug)]
struct Brisk;

impl Clock for Brisk {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration / 100)
    }
}

fn time(second: i64) -> Timestamp {
    Timestamp::new(1_600_000_000 + second, 0)
}

/// Tells when something was done about a path.
#[derive(Debug)]
struct Waiting {
    path: &'static str,
    is_done: tokio::sync::watch::Sender<bool>,
}

impl Observer for Waiting {
    fn observe(&self, event: &Event) {
        if let Event::Done(line) = event
            && line.path.as_str() == self.path
        {
            self.is_done.send_replace(true);
        }
    }
}

impl World {
    /// Returns a client of the store at `endpoint`, wherever that is, with uploads in parts of 5 MiB.
    fn open(&self, endpoint: &str, clock: Arc<dyn Clock>) -> S3Client {
        let ports = Ports { clock, entropy: Arc::new(SystemEntropy), control: SyncController::new() };
        let setup = Setup {
            part_bytes: Some(5 * MIB as u64),
            multipart_threshold: Some(5 * MIB as u64),
            memory_dir: Some(self.bench.dir.path().join("stores")),
            ..Setup::new(ports)
        };
        let server = &self.bucket.server;
        let keys = (server.access_key.as_str(), server.secret_key.as_str());
        let dir = Path::new(&server.endpoint);
        S3Client::open_embedded(self.bucket.at.clone(), endpoint, keys, dir, Arc::new(()), setup)
    }

    /// Runs against the store at `endpoint`, which may be somebody who stands before it.
    async fn sync_at(&self, endpoint: &str) -> (Report, Option<ErrorKind>) {
        let clock: Arc<dyn Clock> = Arc::new(Brisk);
        let engine = SyncEngine::new(self.bench.dir.path().join("state"));
        let engine = engine.ports(Arc::clone(&clock), Arc::new(SystemEntropy));
        let client = self.open(endpoint, clock);
        let pair = SyncPair::with_clients(self.folder.client(), Arc::new(client)).mode(self.mode);
        let mut options = SyncOptions::new();
        options.allow_mass_delete = true;
        options.allow_empty_side = true;
        let (report, result) = engine.run(&pair, options).await;
        (report, result.err().map(|error| error.kind()))
    }

    async fn sync_briskly(&self) -> Report {
        let (report, error) = self.sync_at(&self.bucket.server.endpoint).await;
        assert_eq!(error, None, "{:?}", report.error);
        report
    }

    /// Runs until something was done about a path, and not on.
    async fn sync_until(&self, path: &'static str) {
        let (is_done, mut done) = tokio::sync::watch::channel(false);
        let clock: Arc<dyn Clock> = Arc::new(Brisk);
        let engine = SyncEngine::new(self.bench.dir.path().join("state"));
        let client = self.open(&self.bucket.server.endpoint, clock);
        let pair = SyncPair::with_clients(self.folder.client(), Arc::new(client)).mode(self.mode);
        let options = SyncOptions::new().observer(Arc::new(Waiting { path, is_done }));
        tokio::select! {
            biased;
            _ = done.wait_for(|is_done| *is_done) => {}
            (report, result) = engine.run(&pair, options) => panic!("{result:?} {report:?}"),
        }
    }

    /// Agrees on some files, and then edits, deletes, renames and adds on both sides.
    async fn make_work(&self, large: bool) {
        for name in ["edited", "edited there", "deleted", "also deleted", "deleted there", "renamed", "kept"]
        {
            self.folder.write(name, format!("old {name}").as_bytes(), time(0));
        }
        self.sync_briskly().await;
        self.folder.write("edited", b"new edited", time(9));
        self.bucket.put("edited there", b"new edited there", Some(time(9)));
        self.folder.delete("deleted");
        self.folder.delete("also deleted");
        self.bucket.remove("deleted there");
        self.folder.rename("renamed", "renamed now");
        self.folder.write("new", b"the new one", time(9));
        self.bucket.put("new there", b"the new one there", Some(time(9)));
        if large {
            self.folder.write("large", &vec![7; LARGE], time(9));
        }
    }

    fn contents(&self) -> BTreeSet<Vec<u8>> {
        let live = self.folder.files().into_values().chain(self.bucket.files().into_values());
        live.chain(self.folder.trash()).chain(Root::trash(&self.bucket)).collect()
    }

    /// Holds what a bad run left against what was there, and mends it on a good day.
    async fn nothing_is_lost(&self, story: &str, before: &BTreeSet<Vec<u8>>, large: bool) {
        let after = self.contents();
        let lost: Vec<_> = before.difference(&after).map(|bytes| String::from_utf8_lossy(bytes)).collect();
        assert!(lost.is_empty(), "{story}: lost {lost:?}");
        let here = self.folder.files();
        for name in ["edited", "edited there", "renamed now", "kept", "new"] {
            assert!(here.contains_key(name), "{story}: `{name}` is gone from the folder: {:?}", here.keys());
        }
        let there = self.bucket.files();
        for name in ["edited", "edited there", "kept", "new there"] {
            assert!(there.contains_key(name), "{story}: `{name}` is gone from the bucket");
        }
        let report = self.sync_briskly().await;
        assert_eq!(report.counts.failed, 0, "{story}: {:?}", report.failures);
        let (here, there) = (self.folder.files(), self.bucket.files());
        assert!(here == there, "{story}: {:?} and {:?}", here.keys(), there.keys());
        assert!(here == expected(large), "{story}: {:?}", here.keys());
        assert!(self.bucket.uploads().is_empty(), "{story}: {:?}", self.bucket.uploads());
    }
}

/// What both sides come to have.
fn expected(large: bool) -> Tree {
    let files = [
        ("edited", "new edited"),
        ("edited there", "new edited there"),
        ("kept", "old kept"),
        ("new", "the new one"),
        ("new there", "the new one there"),
        ("renamed now", "old renamed"),
    ];
    let mut tree: Tree =
        files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect();
    if large {
        tree.insert("large".into(), vec![7; LARGE]);
    }
    tree
}

/// Disturbs nothing.
#[derive(Debug)]
struct Calm;

impl Disturb for Calm {
    fn disturb(&self, _: &Request<'_>) -> Disturbance {
        Disturbance::Pass
    }
}

fn answer(kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{kind}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_f27_a_success_that_is_none_loses_nothing() {
    let html = answer("content-type: text/html\r\n", "<html><body>Sign in</body></html>");
    let nothing = answer("", "");
    let operations = [
        "ListObjectsV2",
        "HeadObject",
        "GetObject",
        "PutObject",
        "CopyObject",
        "DeleteObject",
        "DeleteObjects",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ];
    let rows = operations.into_iter().flat_map(|operation| {
        let (instead, behind) = (Meeting::Instead(html.clone()), Meeting::Behind(html.clone()));
        let rows = [("HTML instead", instead), ("HTML behind it", behind)];
        let rows = rows.into_iter().chain([("nothing instead", Meeting::Instead(nothing.clone()))]);
        rows.map(move |(what, meeting)| (operation, what, meeting))
    });
    let rows: Vec<_> = rows.collect();
    let count = rows.len();
    let lived = futures::stream::iter(rows).map(|(operation, what, meeting)| async move {
        let large = operation.contains("Upload");
        let world = World::disturbed(Arc::new(Calm));
        world.make_work(large).await;
        let before = world.contents();
        let met = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&met);
        let decide = move |passing: &crate::support::middle::Passing| {
            // Probes are asked apart.
            if passing.operation != operation || passing.path.contains("/probe/") {
                return Meeting::Pass;
            }
            count.fetch_add(1, Ordering::Relaxed);
            meeting.clone()
        };
        let endpoint = between(&world.bucket.server.endpoint, Box::new(decide));
        let (report, error) = world.sync_at(&endpoint).await;
        let story = format!("{operation}, {what}: {:?} {:?}", report.error, report.failures);
        if operation == "ListObjectsV2" {
            assert_eq!(error, Some(ErrorKind::Unavailable), "{story}");
        }
        world.nothing_is_lost(&story, &before, large).await;
        u64::from(met.load(Ordering::Relaxed) > 0)
    });
    let befell: u64 = lived.buffer_unordered(4).fold(0, |sum, one| async move { sum + one }).await;
    println!("ci: runs with successes that are none {befell} of {count}");
    assert!(befell >= 27, "only {befell} of {count} befell anything");
}

/// Lets so many requests pass, and this befalls the rest.
#[derive(Debug)]
struct Ending(AtomicU64, Disturbance);

impl Ending {
    fn with(end: Disturbance) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(u64::MAX), end))
    }
}

impl Disturb for Ending {
    fn disturb(&self, _: &Request<'_>) -> Disturbance {
        let left =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1)));
        if left == Ok(0) { self.1.clone() } else { Disturbance::Pass }
    }
}

/// Returns whether the run was cut off, if its credentials expire after so many requests.
async fn expires_after(good: u64) -> bool {
    let expiring = Ending::with(Disturbance::Refuse(403, "ExpiredToken".into()));
    let world = World::disturbed(Arc::clone(&expiring) as Arc<dyn Disturb>);
    let large = good % 4 == 3;
    world.make_work(large).await;
    let before = world.contents();
    expiring.0.store(good, Ordering::SeqCst);
    let (report, error) = world.sync_at(&world.bucket.server.endpoint).await;
    expiring.0.store(u64::MAX, Ordering::SeqCst);
    let story = format!("after {good}: {:?} {:?}", report.error, report.failures);
    // Not a single path is to blame.
    assert_eq!(report.counts.failed, 0, "{story}");
    world.nothing_is_lost(&story, &before, large).await;
    let Some(error) = error else { return false };
    assert!(matches!(error, ErrorKind::Unauthenticated | ErrorKind::Unavailable), "{story}");
    assert!(report.error.unwrap().hint.contains("the credentials have expired"), "{story}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_credentials_that_expire_end_the_run_and_lose_nothing() {
    let mut cut_off = 0;
    for first in (0..).step_by(4) {
        let runs = futures::future::join_all((first..first + 4).map(expires_after)).await;
        let these = runs.iter().filter(|one| **one).count();
        cut_off += these;
        if these == 0 {
            break;
        }
    }
    println!("ci: moments at which credentials expire {cut_off}");
    assert!(cut_off > 12, "only {cut_off}");
}

/// A store that does not answer any more ends the run; what is left is not tried file by file.
#[tokio::test(flavor = "multi_thread")]
async fn f19_a_store_that_goes_away_ends_the_run_and_loses_nothing() {
    const FILES: usize = 300;
    for (downloads, end) in [
        (false, Disturbance::Cut),
        (true, Disturbance::Cut),
        (false, Disturbance::Refuse(503, "ServiceUnavailable".into())),
    ] {
        let ending = Ending::with(end.clone());
        let world = World::disturbed(Arc::clone(&ending) as Arc<dyn Disturb>);
        world.make_work(false).await;
        for number in 0..FILES {
            let (name, content) = (format!("many/{number}"), format!("content {number}"));
            if downloads {
                world.bucket.put(&name, content.as_bytes(), Some(time(9)));
            } else {
                world.folder.write(&name, content.as_bytes(), time(9));
            }
        }
        let before = world.contents();
        ending.0.store(40, Ordering::SeqCst);
        let (report, error) = world.sync_at(&world.bucket.server.endpoint).await;
        ending.0.store(u64::MAX, Ordering::SeqCst);
        let story = format!("{end:?}: {:?} {:?}", report.error, report.counts);
        assert_eq!(error, Some(ErrorKind::Unavailable), "{story}");
        assert!(report.counts.failed < 20 && report.error.is_some(), "{story}");
        let after = world.contents();
        assert!(before.is_subset(&after), "{story}");
        let report = world.sync_briskly().await;
        assert_eq!(report.counts.failed, 0, "{story}: {:?}", report.failures);
        assert!(world.folder.files() == world.bucket.files(), "{story}");
        assert_eq!(world.folder.files().len(), expected(false).len() + FILES, "{story}");
    }
    println!("ci: stores that go away 3");
}

/// A store that always refuses to copy one object.
#[derive(Debug)]
struct Stubborn;

impl Disturb for Stubborn {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        if request.operation == "CopyObject" && request.key == Some("many new/7") {
            return Disturbance::Refuse(500, "InternalError".into());
        }
        Disturbance::Pass
    }
}

/// One rename that fails fails alone, while more are under way than may ask at once.
#[tokio::test(flavor = "multi_thread")]
async fn f19_one_of_many_renames_that_fails_fails_alone() {
    const FILES: usize = 300;
    let world = World::disturbed(Arc::new(Stubborn));
    for number in 0..FILES {
        world.folder.write(&format!("many/{number}"), format!("content {number}").as_bytes(), time(0));
    }
    world.sync_briskly().await;
    for number in 0..FILES {
        world.folder.rename(&format!("many/{number}"), &format!("many new/{number}"));
        // Edited on the other side too.
        world.bucket.put(&format!("many/{number}"), format!("edit {number}").as_bytes(), Some(time(9)));
    }
    let report = world.sync_briskly().await;
    assert_eq!(
        (report.counts.failed, report.counts.renamed_destination),
        (1, FILES as u64 - 1),
        "{:?}",
        report.failures
    );
    assert!(world.bucket.files().contains_key("many/7") && world.bucket.files().len() == FILES);
}

/// A store that deletes one object at a time.
#[derive(Debug)]
struct OneByOne(Arc<Ending>);

impl Disturb for OneByOne {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        if request.operation == "DeleteObjects" {
            return Disturbance::Refuse(501, "NotImplemented".into());
        }
        self.0.disturb(request)
    }
}

/// What was deleted before the store went away is recorded: who puts it back afterwards does not lose it.
#[tokio::test(flavor = "multi_thread")]
async fn f19_i23_deletions_before_a_store_goes_away_are_recorded() {
    const FILES: usize = 100;
    let ending = Ending::with(Disturbance::Cut);
    let world = World::disturbed(Arc::new(OneByOne(Arc::clone(&ending))));
    let write = |number: usize| {
        world.folder.write(&format!("many/{number}"), format!("content {number}").as_bytes(), time(0));
    };
    world.folder.write("kept", b"kept", time(0));
    (0..FILES).for_each(write);
    world.sync_briskly().await;
    (0..FILES).for_each(|number| world.folder.delete(&format!("many/{number}")));
    // Past the copies into the trash, which a page proves, and some of the deletions.
    ending.0.store(150, Ordering::SeqCst);
    let (report, error) = world.sync_at(&world.bucket.server.endpoint).await;
    ending.0.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(error, Some(ErrorKind::Unavailable), "{:?}", report.failures);
    let gone = FILES + 1 - world.bucket.files().len();
    assert!((10..FILES).contains(&gone), "{gone}");
    (0..FILES).for_each(write);
    let report = world.sync_briskly().await;
    let counts = report.counts;
    assert_eq!((counts.deleted_source, counts.uploaded), (0, gone as u64), "{counts:?}");
    assert!(world.folder.files().len() == FILES + 1 && world.folder.files() == world.bucket.files());
}

/// Lets one bit of what is read be another one, so many times.
#[derive(Debug)]
struct Flipping {
    at: u64,
    times: AtomicU64,
    hits: AtomicU64,
}

impl Disturb for Flipping {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        if request.operation != "GetObject" {
            return Disturbance::Pass;
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        let left = self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Disturbance::Flip(self.at) } else { Disturbance::Pass }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_i35_bytes_that_are_not_those_of_the_version_are_never_shown() {
    let (first, last) = (0, |size: usize| size.min(8 * MIB) as u64 - 1);
    let mut cases = 0;
    for (size, at) in
        [(1, 0), (100, first), (100, last(100)), (3 * MIB, last(3 * MIB)), (20 * MIB, last(20 * MIB))]
    {
        for (times, replaces) in [(1, false), (1, true), (u64::MAX, false), (u64::MAX, true)] {
            let flipping = Arc::new(Flipping { at, times: AtomicU64::new(0), hits: AtomicU64::new(0) });
            let disturb = Arc::clone(&flipping) as Arc<dyn Disturb>;
            let world = World::disturbed(disturb).in_mode(SyncMode::DestinationToSource);
            if replaces {
                world.bucket.put("big", b"before", Some(time(0)));
                world.sync_briskly().await;
            }
            let content: Vec<u8> = (0..=250).cycle().take(size).collect();
            world.bucket.put("big", &content, Some(time(1)));
            flipping.times.store(times, Ordering::SeqCst);
            let report = world.sync_briskly().await;
            let shown = world.folder.files().remove("big");
            let story = format!("{size}, bit {at}, {times} times, replaces {replaces}");
            if times == 1 {
                assert_eq!(report.counts.failed, 0, "{story}: {:?}", report.failures);
                assert!(shown == Some(content), "{story}");
            } else {
                assert_eq!(report.counts.failed, 1, "{story}");
                assert!(
                    report.failures[0].error.contains("are not those of the version"),
                    "{story}: {:?}",
                    report.failures
                );
                assert_eq!(shown, replaces.then(|| b"before".to_vec()), "{story}");
            }
            assert!(flipping.hits.load(Ordering::SeqCst) > 1, "{story}: nothing was asked for again");
            cases += 1;
        }
    }
    println!("ci: flipped bits {cases}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f37_what_a_stale_listing_lacks_is_not_deleted() {
    fn without_kept(listing: String) -> String {
        let Some(at) = listing.find("<Key>kept</Key>") else { return listing };
        let begin = listing[..at].rfind("<Contents>").unwrap();
        let end = at + listing[at..].find("</Contents>").unwrap() + "</Contents>".len();
        let listing = format!("{}{}", &listing[..begin], &listing[end..]);
        let (before, rest) = listing.split_once("<KeyCount>").unwrap();
        let (count, after) = rest.split_once('<').unwrap();
        format!("{before}<KeyCount>{}<{after}", count.parse::<u32>().unwrap() - 1)
    }
    for mode in [SyncMode::TwoWay, SyncMode::DestinationToSource] {
        let world = World::disturbed(Arc::new(Calm)).in_mode(mode);
        for name in ["a", "kept", "z"] {
            world.bucket.put(name, name.as_bytes(), Some(time(1)));
        }
        world.sync_briskly().await;
        assert_eq!(world.folder.files().len(), 3, "{mode}");
        let listings = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&listings);
        let endpoint = between(
            &world.bucket.server.endpoint,
            Box::new(move |passing| {
                if passing.operation != "ListObjectsV2" {
                    return Meeting::Pass;
                }
                count.fetch_add(1, Ordering::Relaxed);
                Meeting::Changed(without_kept)
            }),
        );
        let (report, error) = world.sync_at(&endpoint).await;
        let story = format!("{mode}: {:?} {:?} {:?}", report.counts, report.error, report.failures);
        assert!(listings.load(Ordering::Relaxed) > 0, "{story}");
        assert_eq!((error, report.counts.failed, report.counts.deleted_source), (None, 0, 0), "{story}");
        // It was meant to go, and was looked at once more.
        assert!(report.requests.head > 0, "{story}");
        assert_eq!(world.folder.files().len(), 3, "{story}");
        assert_eq!(world.bucket.files().len(), 3, "{story}");
        assert_eq!(world.sync_briskly().await.counts.unchanged, 3, "{story}");
    }
}

/// A bucket that is encrypted with keys of its owner has ETags that look like hashes and are none: equal files are equal all the
/// same, and others are not.
#[tokio::test(flavor = "multi_thread")]
async fn etags_that_only_look_like_hashes_make_no_conflicts() {
    /// Turns each digit of what looks like an MD5 in quotation marks into the next one.
    fn veil(text: &str, quote: &str) -> String {
        let mut parts: Vec<String> = text.split(quote).map(str::to_owned).collect();
        let is_hash = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        for part in parts.iter_mut().filter(|part| is_hash(part)) {
            let next = |digit: char| char::from_digit((digit.to_digit(16).unwrap() + 1) % 16, 16).unwrap();
            *part = part.chars().map(next).collect();
        }
        parts.join(quote)
    }
    #[expect(clippy::needless_pass_by_value, reason = "it is what changes answers")]
    fn body(text: String) -> String {
        veil(&veil(&text, "&quot;"), "\"")
    }
    #[expect(clippy::needless_pass_by_value, reason = "it is what changes answers")]
    fn head(text: String) -> String {
        format!("{}\r\nx-amz-server-side-encryption: aws:kms", veil(&text, "\""))
    }
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::DestinationToSource] {
        let world = World::disturbed(Arc::new(Calm)).in_mode(mode);
        for number in 0..5 {
            let (name, text) = (format!("equal {number}"), format!("text {number}"));
            world.bucket.put(&name, text.as_bytes(), Some(time(number)));
            world.folder.write(&name, text.as_bytes(), time(number));
        }
        let decide = |passing: &crate::support::middle::Passing| match passing.operation {
            "ListObjectsV2" | "HeadObject" | "GetObject" => Meeting::Rewritten(head, body),
            _ => Meeting::Pass,
        };
        let endpoint = between(&world.bucket.server.endpoint, Box::new(decide));
        let (report, error) = world.sync_at(&endpoint).await;
        let story = format!("{mode}: {:?} {:?}", report.counts, report.failures);
        let done = report.counts.uploaded + report.counts.downloaded + report.counts.conflicts;
        assert_eq!((error, done, report.counts.failed), (None, 0, 0), "{story}");
        let markers = if mode.allows_upload() { 2 } else { 0 };
        let why = "one for what the ETag is, one for the time, and each marker is looked for";
        assert_eq!(report.requests.head, 10 + markers, "{story}: {why}");
    }
}

/// A store that ignores one condition of one kind of request, and somebody who writes just before it is looked
/// at.
#[derive(Debug, Default)]
struct Ignoring {
    ignored: Mutex<Vec<(&'static str, Disturbance)>>,
    rival: Mutex<Option<(Bucket, &'static str)>>,
}

impl Disturb for Ignoring {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        if request.operation == "HeadObject" {
            // Others look meanwhile, and must not wait for the lock.
            let rival = self.rival.lock().unwrap().take_if(|(_, name)| request.key == Some(*name));
            if let Some((bucket, name)) = rival {
                // What the request needs may be queued behind this very thread.
                let put = move || bucket.put(name, b"theirs", Some(time(5)));
                tokio::task::block_in_place(|| std::thread::spawn(put).join().unwrap());
            }
        }
        let ignored = self.ignored.lock().unwrap();
        let found = ignored.iter().find(|(operation, _)| *operation == request.operation);
        found.map_or(Disturbance::Pass, |(_, what)| what.clone())
    }
}

fn is_weak(report: &Report) -> bool {
    report.warnings.iter().any(|warning| warning.code.as_str() == "weak-conditions")
}

/// A store by what it ignores: the conditions that a run then tells of as honoured, and the steps in which we must
/// look ourselves.
type Ignorant = (&'static str, Vec<(&'static str, Disturbance)>, [bool; 3], &'static [&'static str]);

fn ignorant_stores() -> Vec<Ignorant> {
    use Disturbance::{IgnoreIfMatch, IgnoreIfNoneMatch};
    vec![
        ("none", vec![], [true, true, true], &[]),
        ("PUT, create", vec![("PutObject", IgnoreIfNoneMatch)], [false, true, true], &["create"]),
        ("PUT, replace", vec![("PutObject", IgnoreIfMatch)], [true, false, true], &["replace"]),
        (
            "Complete, create",
            vec![("CompleteMultipartUpload", IgnoreIfNoneMatch)],
            [true, true, true],
            &["create large", "replace large"],
        ),
        (
            "Complete, replace",
            vec![("CompleteMultipartUpload", IgnoreIfMatch)],
            [true, true, true],
            &["replace large"],
        ),
        ("DELETE", vec![("DeleteObject", IgnoreIfMatch)], [true, true, false], &[]),
        ("DeleteObjects", vec![("DeleteObjects", IgnoreIfMatch)], [true, true, true], &[]),
        (
            "both deletions",
            vec![("DeleteObject", IgnoreIfMatch), ("DeleteObjects", IgnoreIfMatch)],
            [true, true, false],
            &["delete", "delete two", "rename"],
        ),
        // Then the bytes pass through here, under a condition.
        ("copies", vec![("CopyObject", IgnoreIfNoneMatch)], [true, true, true], &[]),
        (
            "copies and PUT, create",
            vec![("CopyObject", IgnoreIfNoneMatch), ("PutObject", IgnoreIfNoneMatch)],
            [false, true, true],
            &["create", "rename"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_a_condition_that_is_ignored_is_noticed_and_made_up_for() {
    let large = || vec![3; LARGE];
    let mut cases = 0;
    for (row, ignored, conditions, weak) in ignorant_stores() {
        let ignoring = Arc::new(Ignoring::default());
        *ignoring.ignored.lock().unwrap() = ignored;
        let world = World::disturbed(Arc::clone(&ignoring) as Arc<dyn Disturb>);
        for name in ["seen", "old", "gone", "gone too", "going", "before"] {
            world.bucket.put(name, name.as_bytes(), Some(time(0)));
        }
        world.bucket.put("old large", &vec![1; LARGE], Some(time(0)));
        world.sync_briskly().await;
        for step in ["create", "replace", "create large", "replace large", "delete", "delete two", "rename"] {
            // Somebody writes what we are about to write; where the store looks itself, it is it who sees it.
            let name = match step {
                "create" => "new",
                "replace" => "old",
                "create large" => "new large",
                "replace large" => "old large",
                "delete" => "going",
                "delete two" => "gone",
                // A rename deletes the old name.
                _ if weak.contains(&"delete") => "before",
                _ => "after",
            };
            match step {
                "create" | "replace" => world.folder.write(name, b"ours", time(9)),
                "create large" | "replace large" => world.folder.write(name, &large(), time(9)),
                "delete" => world.folder.delete("going"),
                "delete two" => {
                    world.folder.delete("gone");
                    world.folder.delete("gone too");
                }
                _ => world.folder.rename("before", "after"),
            }
            let must_look = weak.contains(&step);
            if must_look {
                *ignoring.rival.lock().unwrap() = Some((world.bucket.clone(), name));
            }
            let report = world.sync_briskly().await;
            let story = format!("{row}, {step}: {:?} {:?}", report.failures, report.warnings);
            assert_eq!(report.counts.failed, 0, "{story}");
            assert_eq!(is_weak(&report), must_look, "{story}");
            let told = [
                report.conditions.put_if_none_match,
                report.conditions.put_if_match,
                report.conditions.delete_if_match,
            ];
            assert_eq!(told, conditions.map(Some), "{story}");
            if must_look {
                assert!(ignoring.rival.lock().unwrap().is_none(), "{story}: nobody looked");
                let there = world.contents();
                assert!(there.contains(b"theirs".as_slice()), "{story}: the newcomer is lost");
            }
            world.sync_briskly().await;
            assert!(world.folder.files() == world.bucket.files(), "{story}");
            cases += 1;
        }
    }
    println!("ci: conditions ignored {cases} steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_i34_a_large_source_of_another_length_makes_no_object() {
    const SIZE: usize = 20 * MIB;
    let world = World::disturbed(Arc::new(Calm));
    let client = world.bucket.open(None);
    let piece = || Ok(Bytes::from(vec![1; MIB]));
    let broken = || Err(Error::new(ErrorKind::Unavailable, "the network is down"));
    let pieces = |count: usize| (0..count).map(|_| piece()).collect::<Vec<_>>();
    for (what, chunks) in [
        ("too short", pieces(19)),
        ("too short by a byte", [pieces(19), vec![Ok(Bytes::from(vec![1; MIB - 1]))]].concat_all()),
        ("too long", pieces(21)),
        ("too long by a byte", [pieces(20), vec![Ok(Bytes::from_static(b"x"))]].concat_all()),
        ("broken on the way", [pieces(12), vec![broken()], pieces(8)].concat_all()),
        ("broken at the end", [pieces(20), vec![broken()]].concat_all()),
        ("empty", vec![]),
    ] {
        let chunks = futures::stream::iter(chunks).boxed();
        let body = Body {
            size: SIZE as u64,
            modified: None,
            mode: None,
            folder_modes: Vec::new(),
            proof: None,
            chunks,
        };
        let key = Key::parse("large").unwrap();
        let target = Target { key, replaces: None, heir_of: None, disposal: Disposal::Discard, run_tag: 1 };
        assert!(client.stage(target, body).await.is_err(), "{what}");
        assert_eq!(world.bucket.names(), Vec::<String>::new(), "{what}");
        assert_eq!(world.bucket.uploads(), Vec::<String>::new(), "{what}");
    }
}

/// Joins lists of what cannot be copied.
trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}
