//! Syncs with stores: the main job through the binary, and what a bad day does to requests.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use syncengine::embedded::{Disturb, Disturbance, Request};
use syncengine::{SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp};

use crate::support::bucket::{self, AtRest, Bucket, Embedded};
use crate::support::world::World;
use crate::support::{Folder, Root, set_modified};

const MIB: usize = 1024 * 1024;

/// Lets a fault befall the first requests of one kind.
#[derive(Debug)]
struct Fault {
    operation: &'static str,
    key: &'static str,
    times: u64,
    what: Disturbance,
    seen: AtomicU64,
}

impl Fault {
    fn new(operation: &'static str, key: &'static str, times: u64, what: Disturbance) -> Arc<Self> {
        Arc::new(Self { operation, key, times, what, seen: AtomicU64::new(0) })
    }
}

impl Fault {
    /// How many requests of its kind there were.
    fn hits(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Disturb for Fault {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        let key = request.key.unwrap_or_default();
        // Probes are asked apart.
        let hit = request.operation == self.operation && key.ends_with(self.key) && !key.contains("/probe/");
        if hit && self.seen.fetch_add(1, Ordering::Relaxed) < self.times {
            return self.what.clone();
        }
        Disturbance::Pass
    }
}

/// XML has no place for most of these; answers that tell them must be readable all the same.
#[tokio::test(flavor = "multi_thread")]
async fn control_characters_in_a_name_stop_nothing() {
    let world = World::disturbed(Fault::new("none", "", 0, Disturbance::Pass));
    let names: Vec<String> = (1..0x20_u8).map(|code| format!("a{}b", char::from(code))).collect();
    for name in &names {
        world.folder.write(name, name.as_bytes(), time(0));
    }
    world.folder.write("large\u{8}.bin", &vec![7; 17 * MIB], time(0));
    world.folder.write("plain", b"plain", time(0));
    for _ in 0..2 {
        let report = world.sync().await;
        assert!(report.is_success(), "{:?}", report.failures);
        assert!(world.folder.files() == world.bucket.files());
    }
    for name in names.iter().step_by(2) {
        world.folder.delete(name);
    }
    let report = world.sync().await;
    assert!(report.is_success(), "{:?}", report.failures);
    assert_eq!(report.counts.deleted_destination, 16);
    assert!(world.folder.files() == world.bucket.files());
}

/// Returns a world that a fault befalls.
fn befallen(fault: &Arc<Fault>) -> World {
    World::disturbed(Arc::clone(fault) as Arc<dyn Disturb>)
}

fn time(second: i64) -> Timestamp {
    Timestamp::new(1_600_000_000 + second, 123_456_789)
}

fn refused(status: u16, code: &str) -> Disturbance {
    Disturbance::Refuse(status, code.into())
}

/// F-19 to F-24: each fault befalls each kind of request of an upload, an edit, a deletion and a rename, and
/// the run ends as it does without it: no conflict, no failure, no version lost.
#[tokio::test(flavor = "multi_thread")]
async fn f19_f24_faults_that_pass_change_nothing() {
    let faults = [
        refused(500, "InternalError"),
        refused(503, "SlowDown"),
        refused(409, "ConditionalRequestConflict"),
        Disturbance::Cut,
        Disturbance::CutAfter,
        Disturbance::RefuseAfter(500, "InternalError".into()),
    ];
    let operations = [
        "PutObject",
        "CopyObject",
        "DeleteObject",
        "DeleteObjects",
        "ListObjectsV2",
        "GetObject",
        "HeadObject",
    ];
    let all = faults.iter().flat_map(|what| operations.map(|operation| (operation, what.clone())));
    let befell = futures::stream::iter(all).map(|(operation, what)| live_through(operation, what));
    let cases = befell.buffer_unordered(8).filter(|befell| std::future::ready(*befell)).count().await;
    println!("ci: passing faults of a store {cases} combinations");
    // `DeleteObjects` is one request for both deletions, `HeadObject` is asked after a doubt only.
    assert!(cases >= 36, "only {cases} of the faults befell anything");
}

/// Returns whether the fault befell anything.
async fn live_through(operation: &'static str, what: Disturbance) -> bool {
    let fault = Fault::new(operation, "", 2, what.clone());
    let world = befallen(&fault);
    for name in ["edited", "deleted", "renamed", "kept", "also deleted"] {
        world.folder.write(name, name.as_bytes(), time(0));
    }
    world.sync().await;
    world.folder.write("edited", b"edited again", time(9));
    world.folder.write("new", b"new", time(9));
    world.folder.delete("deleted");
    world.folder.delete("also deleted");
    world.folder.rename("renamed", "renamed now");
    world.bucket.put("from there", b"from there", Some(time(5)));
    let report = world.sync().await;
    let story = format!("{operation} {what:?}: {:?} {:?}", report.counts, report.failures);
    assert_eq!((report.counts.failed, report.counts.conflicts), (0, 0), "{story}");
    let (ours, theirs) = world.trees();
    assert_eq!(ours, theirs, "{story}");
    assert_eq!(ours.len(), 5, "{story}");
    assert_eq!(ours["edited"], b"edited again", "{story}");
    let again = world.sync().await;
    assert_eq!(again.counts.unchanged, 5, "{story}");
    fault.hits() > 0
}

/// F-28: a body that ends early is not a file.
#[tokio::test(flavor = "multi_thread")]
async fn f28_a_body_cut_short_is_asked_for_again() {
    for size in [100, 3 * MIB, 40 * MIB] {
        let fault = Fault::new("GetObject", "big", 1, Disturbance::Truncate(size as u64 / 3));
        let world = befallen(&fault).in_mode(SyncMode::DestinationToSource);
        let content: Vec<u8> = (0..=250).cycle().take(size).collect();
        world.bucket.put("big", &content, Some(time(1)));
        let report = world.sync().await;
        assert_eq!(report.counts.failed, 0, "{size}: {:?}", report.failures);
        assert!(world.folder.files()["big"] == content, "{size}");
        assert!(fault.hits() > 1, "{size}");
    }
}

/// F-43: a multipart upload of which anything fails for good leaves nothing, and one that passes goes through.
#[tokio::test(flavor = "multi_thread")]
async fn f43_a_multipart_upload_ends_whole_or_not_at_all() {
    let content: Vec<u8> = (0..=250).cycle().take(20 * MIB).collect();
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        for (what, times, succeeds) in [
            (refused(500, "InternalError"), 2, true),
            (Disturbance::CutAfter, 1, true),
            (refused(403, "AccessDenied"), u64::MAX, false),
        ] {
            let fault = Fault::new(operation, "big", times, what.clone());
            let world = befallen(&fault);
            world.folder.write("big", &content, time(1));
            let report = world.sync().await;
            let story = format!("{operation} {what:?} {:?}", report.failures);
            assert_eq!(report.counts.failed, u64::from(!succeeds), "{story}");
            // An upload whose id never reached us is aborted by the next run.
            world.sync().await;
            assert_eq!(world.bucket.files().contains_key("big"), succeeds, "{story}");
            assert!(world.bucket.uploads().is_empty(), "{story}: {:?}", world.bucket.uploads());
        }
    }
}

/// F-25: a foreign write between listing and our write is neither lost nor overwritten, also where our write is the
/// end of an upload in parts, and whether the store refuses it or says that the two met.
#[tokio::test(flavor = "multi_thread")]
async fn f25_a_foreign_write_in_between_stays() {
    /// Somebody writes just before our write arrives.
    #[derive(Debug)]
    struct Race {
        operation: &'static str,
        meets: bool,
        rival: std::sync::Mutex<Option<Bucket>>,
    }
    impl Disturb for Race {
        fn disturb(&self, request: &Request<'_>) -> Disturbance {
            if request.operation == self.operation && request.key == Some("shared") {
                let rival = self.rival.lock().unwrap().take();
                if let Some(rival) = rival {
                    // What the request needs may be queued behind this very thread.
                    let put = move || rival.put("shared", b"theirs", Some(time(1)));
                    tokio::task::block_in_place(|| std::thread::spawn(put).join().unwrap());
                    if self.meets {
                        return refused(409, "ConditionalRequestConflict");
                    }
                }
            }
            Disturbance::Pass
        }
    }
    let rows = [("PutObject", 12), ("CompleteMultipartUpload", 17 * MIB)];
    let rows = rows.into_iter().flat_map(|row| [(row, false), (row, true)]);
    let rows = rows.flat_map(|(row, replaces)| [(row, replaces, false), (row, replaces, true)]);
    for ((operation, size), replaces, meets) in rows {
        let ours: Vec<u8> = (1..=250).cycle().take(size).collect();
        let race = Arc::new(Race { operation, meets, rival: std::sync::Mutex::new(None) });
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), "source");
        let embedded = Embedded::disturbed(Arc::clone(&race) as Arc<dyn Disturb>);
        let bucket = embedded.server.bucket("vault", "");
        let engine = SyncEngine::new(dir.path().join("state"));
        let pair = SyncPair::with_clients(folder.client(), Arc::new(bucket.open(None)));
        if replaces {
            folder.write("shared", b"before", time(0));
            engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        }
        folder.write("shared", &ours, time(7));
        *race.rival.lock().unwrap() = Some(bucket.clone());
        let report = engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let story = format!("{operation}, replaces {replaces}, meets {meets}: {:?}", report.failures);
        assert_eq!((report.counts.conflicts, report.counts.failed), (1, 0), "{story}");
        assert!(bucket.files()["shared"] == ours, "{story}");
        assert!(Root::trash(&bucket).contains(&b"theirs".to_vec()), "{story}: the newcomer is lost");
        assert!(bucket.uploads().is_empty(), "{story}: {:?}", bucket.uploads());
    }
}

/// F-04: whoever cancels a run does not wait for a store that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_cancelled_run_does_not_wait_for_a_store_that_stalls() {
    #[derive(Debug)]
    struct Stalling(syncengine::SyncController, &'static str, &'static str);
    impl Disturb for Stalling {
        fn disturb(&self, request: &Request<'_>) -> Disturbance {
            if request.operation != self.1 || !request.key.is_some_and(|key| key.starts_with(self.2)) {
                return Disturbance::Pass;
            }
            self.0.cancel();
            Disturbance::Delay(std::time::Duration::from_hours(1))
        }
    }
    // A part of a file, and the marker, the last thing of a first run.
    for (operation, key) in [("UploadPart", "large"), ("PutObject", ".syncengine/pairs/")] {
        let controller = syncengine::SyncController::new();
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), "source");
        let embedded = Embedded::disturbed(Arc::new(Stalling(controller.clone(), operation, key)));
        let bucket = embedded.server.bucket("vault", "");
        folder.write("large", &vec![7; 20 * MIB], time(0));
        let engine = SyncEngine::new(dir.path().join("state"));
        let memory = Some(dir.path().join("stores"));
        let client = bucket.open_for(&controller, Arc::new(syncengine::clock::SystemClock), memory);
        let pair = SyncPair::with_clients(folder.client(), Arc::new(client));
        let mut options = SyncOptions::new();
        options.controller = controller;
        // A minute is far more than it takes, and less than the store would be waited for otherwise.
        let run = tokio::time::timeout(std::time::Duration::from_mins(1), engine.sync_pair(&pair, options));
        let report = run.await.expect("the run waits for the store").unwrap();
        assert_eq!(report.outcome, syncengine::Outcome::Cancelled, "{operation} {key}");
    }
}

/// I-44: the most verbose output shows no secret.
#[cfg(feature = "cli")]
#[test]
fn i44_no_secret_is_shown() {
    use crate::support::bench::Bench;
    const CANARY: &str = "canary0secret0canary0secret0canary";
    let bench = Bench::new();
    bench.write("a/file", "content");
    let server = bucket::embedded();
    server.bucket("redaction", "");
    for (key, secret) in [(server.access_key.as_str(), CANARY), (CANARY, server.secret_key.as_str())] {
        let words = ["sync", "a", "s3://redaction", "-vvv", "--state-dir", "state", "--endpoint-url"];
        let mut command = bench.command(&[&words[..], &[server.endpoint.as_str()]].concat());
        command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("AWS_SESSION_TOKEN", CANARY).env("AWS_EC2_METADATA_DISABLED", "true");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(4), "wrong keys are exit 4");
        let shown =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(shown.contains("ListObjectsV2"), "requests are traced: {shown}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

/// I-44, B-45: neither in what a run says, at any level, nor in what it leaves on disk.
#[cfg(feature = "cli")]
#[test]
fn b45_i44_no_secret_gets_into_logs_plans_or_the_state() {
    use crate::support::bench::Bench;
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    for name in ["file", "large"] {
        bench.write(&format!("a/{name}"), "content");
    }
    fs::write(bench.path("a/large"), vec![1; 6 * MIB]).unwrap();
    let server = bucket::embedded();
    server.bucket("canaries", "");
    let mut said = String::new();
    let mut run = |words: &[&str], level: &str, log: &str| {
        let mut command = bench.command(words);
        command.args(["--state-dir", "state", level]).env("RUST_LOG", log);
        command.env("AWS_ACCESS_KEY_ID", &server.access_key).env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let output = command.output().unwrap();
        said += &String::from_utf8_lossy(&output.stdout);
        said += &String::from_utf8_lossy(&output.stderr);
        output.status.code()
    };
    let to = ["--endpoint-url", &server.endpoint];
    let plan =
        [&["plan", "a", "s3://canaries", "--save", "saved.plan", "--multipart-threshold", "5M"][..], &to]
            .concat();
    assert_eq!(run(&plan, "-vv", "trace"), Some(0));
    assert_eq!(run(&["apply", "saved.plan", "--output", "json"], "-vvv", "trace"), Some(0));
    let sync = [&["sync", "a", "s3://canaries", "--output", "jsonl"][..], &to].concat();
    assert_eq!(run(&sync, "-vvv", "trace,aws_sdk_s3=trace,aws_smithy_runtime=trace"), Some(0));
    let missing = [&["sync", "a", "s3://canaries-that-are-not-there", "--output", "json"][..], &to].concat();
    assert_eq!(run(&missing, "-vvv", "trace"), Some(2));
    assert!(said.contains("PutObject") && said.contains("UploadPart"), "requests are traced: {said}");
    // Signatures are no secrets, but whoever has one can repeat the request.
    for secret in [server.secret_key.as_str(), "Signature=", "X-Amz-Signature", "Authorization"] {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }
    for (path, (.., content)) in bench.snapshot() {
        let found = content.windows(server.secret_key.len()).any(|part| part == server.secret_key.as_bytes());
        assert!(!found, "{} has the secret key", path.display());
        let stat = fs::metadata(&path).unwrap();
        if path.starts_with(bench.path("state/stores")) || path.parent() == Some(&bench.path("state")) {
            let expected = if stat.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(stat.permissions().mode() & 0o777, expected, "{}", path.display());
        }
    }
    assert!(bench.has("state/stores"), "what the store can do is remembered");
}

/// B-10: S3 takes names of 1,024 bytes; a longer one fails before anything is sent for it.
#[tokio::test(flavor = "multi_thread")]
async fn b10_a_name_too_long_for_a_store_is_refused_before_any_request() {
    let fault = Fault::new("PutObject", "too-long", 0, Disturbance::Pass);
    let world = befallen(&fault);
    let folders = format!("{}/", "d".repeat(200)).repeat(4);
    let fits = format!("{folders}{}", "f".repeat(1024 - folders.len()));
    let beyond = format!("{folders}{}too-long", "f".repeat(1025 - folders.len() - 8));
    assert_eq!((fits.len(), beyond.len()), (1024, 1025));
    for name in [fits.as_str(), beyond.as_str(), "short"] {
        world.folder.write(name, b"content", Timestamp::new(1_700_000_000, 0));
    }
    for run in 0..2 {
        let report = world.sync().await;
        let failed: Vec<_> = report.failures.iter().map(|failure| failure.path.as_str()).collect();
        assert_eq!(failed, [beyond.as_str()], "{run}: {report:?}");
        assert!(report.failures[0].error.contains("1024"), "{run}: {report:?}");
    }
    assert_eq!(fault.hits(), 0, "nothing was sent for it");
    assert_eq!(world.bucket.files().into_keys().collect::<Vec<_>>(), [fits.as_str(), "short"]);
    assert!(world.folder.files().contains_key(&beyond), "it stays where it is");
}

#[cfg(feature = "cli")]
mod binary {
    use super::*;
    use crate::support::bench::Bench;

    fn words<'a>(rest: &[&'a str]) -> Vec<&'a str> {
        [rest, &["--embedded-dir", "server", "--state-dir", "state"]].concat()
    }

    fn moved(document: &serde_json::Value) -> [&serde_json::Value; 3] {
        ["uploaded", "downloaded", "copied_server_side"].map(|kind| &document["bytes"][kind])
    }

    /// The main job of the README: a real tree goes up, and the second run lists and does nothing else.
    #[test]
    fn a_tree_goes_up_and_a_second_run_only_lists() {
        let bench = Bench::new();
        for number in 0..1200 {
            bench.write(&format!("a/{}/{number}.txt", number % 13), &format!("content {number}"));
        }
        let big: Vec<u8> = (0..=250).cycle().take(20 * MIB).collect();
        fs::write(bench.path("a/big"), &big).unwrap();
        set_modified(&bench.path("a/big"), time(3));
        let (code, first) = bench.json(&words(&["sync", "a", "embedded://vault/copy"]));
        assert_eq!((code, &first["counts"]["uploaded"]), (0, &1201.into()), "{first:#}");
        let (code, second) = bench.json(&words(&["sync", "a", "embedded://vault/copy"]));
        assert_eq!((code, &second["counts"]["unchanged"]), (0, &1201.into()), "{second:#}");
        let requests = second["requests"].as_object().unwrap();
        for (kind, count) in requests {
            assert_eq!(count == &serde_json::Value::from(0), kind != "list", "{second:#}");
        }
        let rest = AtRest { dir: bench.path("server"), name: "vault".into() };
        rest.with(|bucket| {
            assert_eq!(bucket.metadata("copy/big")["mtime"], "1600000003.123456789");
            assert!(bucket.metadata("copy/3/3.txt").into_keys().eq(["mode", "mtime", "syncengine-write"]));
        });
        // And back again, to the nanosecond.
        let (code, down) =
            bench.json(&words(&["sync", "back", "embedded://vault/copy", "--mode", "dts", "--create"]));
        assert_eq!((code, &down["counts"]["downloaded"]), (0, &1201.into()), "{down:#}");
        assert!(fs::read(bench.path("back/big")).unwrap() == big);
        let stamp = |name: &str| fs::metadata(bench.path(name)).unwrap().modified().unwrap();
        for name in ["big", "3/3.txt", "12/12.txt"] {
            assert_eq!(stamp(&format!("a/{name}")), stamp(&format!("back/{name}")), "{name}");
        }
        let (code, _) = bench.json(&words(&["check", "a", "embedded://vault/copy"]));
        assert_eq!(code, 0);
    }

    /// What the store has is read; only a quick check believes its ETags.
    #[test]
    fn a_check_reads_what_a_quick_one_believes() {
        let bench = Bench::new();
        bench.write("a/large", &"content ".repeat(40_000));
        bench.write("a/small", "as it was");
        bench.json(&words(&["sync", "a", "embedded://vault"]));
        let check = |more: &[&str]| {
            let (code, found) = bench.json(&words(&[&["check", "a", "embedded://vault"], more].concat()));
            let failed = found["failures"].as_array().unwrap().iter().map(|failure| failure["path"].clone());
            (code, found["different"].clone(), failed.collect::<Vec<_>>(), found["failures"].to_string())
        };
        let none = serde_json::json!([]);
        for more in [&[] as &[&str], &["--quick"]] {
            assert_eq!(check(more), (0, none.clone(), vec![], "[]".into()), "{more:?}");
        }
        // The store's disk turns a bit of the large object.
        let blobs = |dir: &Path| -> Vec<_> {
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let blob = blobs(&bench.path("server/data")).iter().flat_map(|dir| blobs(dir)).next().unwrap();
        let mut bytes = fs::read(&blob).unwrap();
        bytes[1000] ^= 1;
        fs::write(&blob, bytes).unwrap();
        let (code, different, failed, why) = check(&[]);
        assert_eq!((code, different, failed), (1, none.clone(), vec!["large".into()]), "{why}");
        assert!(why.contains("at the destination") && why.contains("run again"), "{why}");
        assert_eq!(check(&["--quick"]).0, 0);
        // A file of the same size, and one that went up in parts.
        bench.write("a/small", "AS IT WAS");
        let parts = vec![7; 6 * MIB];
        fs::write(bench.path("a/parts"), &parts).unwrap();
        let in_parts = ["--part-size", "5M", "--multipart-threshold", "5M", "--exclude", "small"];
        let (code, report) =
            bench.json(&words(&[&["sync", "a", "embedded://vault"], &in_parts[..]].concat()));
        assert_eq!((code, report["requests"]["multipart"].as_u64() > Some(2)), (0, true), "{report:#}");
        assert_eq!(check(&["--quick"]), (1, serde_json::json!(["small"]), vec![], "[]".into()));
        assert_eq!(check(&[]).1, serde_json::json!(["small"]));
        fs::write(bench.path("a/parts"), [&parts[1..], b"x"].concat()).unwrap();
        assert_eq!(check(&["--quick"]).1, serde_json::json!(["parts", "small"]));
        // Between two places of a store.
        let places = ["embedded://vault", "embedded://other/copy"];
        let between = |words_of: &[&str]| bench.json(&words(&[words_of, &places[..]].concat()));
        assert_eq!(between(&["sync", "--create", "--exclude", "large"]).0, 0);
        assert_eq!(between(&["check", "--quick", "--exclude", "large"]).0, 0);
        bench.json(&words(&["sync", "a", "embedded://vault", "--exclude", "large"]));
        let (code, found) = between(&["check", "--quick", "--exclude", "large"]);
        // The other one went up as one this time: that tells nothing.
        assert_eq!((code, &found["different"]), (1, &serde_json::json!(["small"])), "{found:#}");
    }

    #[test]
    fn a_renamed_folder_moves_no_bytes() {
        let bench = Bench::new();
        for number in 0..300 {
            bench.write(&format!("a/old/{number}"), &format!("content {number}"));
        }
        bench.json(&words(&["sync", "a", "embedded://vault"]));
        fs::rename(bench.path("a/old"), bench.path("a/new")).unwrap();
        let (code, report) = bench.json(&words(&["sync", "a", "embedded://vault"]));
        assert_eq!((code, &report["counts"]["renamed_destination"]), (0, &300.into()), "{report:#}");
        assert_eq!(moved(&report)[..2], [0, 0], "{report:#}");
        assert_eq!(report["requests"]["get"], 0, "{report:#}");
    }

    #[test]
    fn between_two_prefixes_of_a_store_the_store_copies() {
        let bench = Bench::new();
        bench.write("a/x", "one");
        bench.write("a/d/y", "two two");
        bench.json(&words(&["sync", "a", "embedded://vault/one"]));
        let pair = ["sync", "embedded://vault/one", "embedded://vault/two", "--mode", "std"];
        let (code, report) = bench.json(&words(&pair));
        assert_eq!((code, &report["counts"]["uploaded"]), (0, &2.into()), "{report:#}");
        assert_eq!(moved(&report), [0, 0, 10], "{report:#}");
        let (_, again) = bench.json(&words(&pair));
        assert_eq!(again["counts"]["unchanged"], 2, "{again:#}");
    }

    /// I-21: nothing is made for a look.
    #[test]
    fn i21_a_dry_run_makes_no_server() {
        let bench = Bench::new();
        bench.write("a/x", "one");
        for command in [&["plan"][..], &["sync", "--dry-run"]] {
            let (code, plan) = bench.json(&words(&[command, &["a", "embedded://vault"]].concat()));
            assert_eq!((code, &plan["counts"]["uploaded"]), (0, &1.into()), "{plan:#}");
            assert!(!bench.has("server") && !bench.has("state"), "{command:?}");
        }
    }

    /// What cannot be kept is not replaced, and the user is told what is missing.
    #[test]
    fn a_trash_location_without_its_bucket_is_the_reason_given() {
        let bench = Bench::new();
        let sync = words(&["sync", "a", "embedded://vault", "--trash-location", "embedded://bin/x"]);
        bench.write("a/replaced", "old");
        bench.write("a/deleted", "old");
        bench.write("a/kept", "1");
        assert_eq!(bench.json(&sync).0, 0);
        bench.write("a/replaced", "new");
        fs::remove_file(bench.path("a/deleted")).unwrap();
        let (code, report) = bench.json(&sync);
        assert_eq!((code, &report["counts"]["failed"]), (1, &2.into()), "{report:#}");
        for failure in report["failures"].as_array().unwrap() {
            assert!(failure["error"].as_str().unwrap().contains("the bucket `bin`"), "{failure:#}");
            assert!(failure["hint"].as_str().unwrap().contains("--trash-location"), "{failure:#}");
        }
        let at_rest = |name: &str| AtRest { dir: bench.path("server"), name: name.into() };
        assert_eq!(at_rest("vault").files()["replaced"], b"old");
        at_rest("bin").with(|_| ());
        assert_eq!(bench.json(&sync).0, 0);
        assert_eq!(at_rest("vault").files().len(), 2);
    }

    /// One process at a time has an embedded directory; another one is told which.
    #[test]
    fn a_directory_in_use_is_exit_4_and_names_who_uses_it() {
        let bench = Bench::new();
        bench.write("a/x", "one");
        let held = Embedded::start(&bench.path("server"));
        let (code, report) = bench.json(&words(&["sync", "a", "embedded://vault"]));
        assert_eq!(code, 4, "{report:#}");
        let message = report["error"]["message"].as_str().unwrap();
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        held.stop();
        assert_eq!(bench.json(&words(&["sync", "a", "embedded://vault"])).0, 0);
    }
}

/// Names that only a folder forbids are ordinary between two stores, and a name may be that of an object and of what is below it.
#[tokio::test(flavor = "multi_thread")]
async fn between_two_stores_every_name_of_an_object_counts() {
    let names = ["a//b", "/lead", "./x", "x/../y", "d/", "servers", "servers/0", "servers/0/1", "plain"];
    let embedded = Embedded::disturbed(Fault::new("none", "", 0, Disturbance::Pass));
    let tree = |bucket: &Bucket| {
        let files = bucket.files().into_iter().filter(|(name, _)| !name.starts_with(".syncengine/"));
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    for (from, to) in [("", ""), ("of this/", "deep/er/")] {
        let (one, other) = (embedded.server.place(from), embedded.server.place(to));
        for name in names {
            one.put(name, name.as_bytes(), Some(time(0)));
        }
        let pair = SyncPair::with_clients(one.client(), other.client()).mode(SyncMode::TwoWay);
        let engine = crate::support::fresh_engine(syncengine::state::Found::Nothing);
        let sync = || async {
            let report = engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
            assert!(report.is_success(), "{:?}", report.failures);
            assert_eq!(tree(&one), tree(&other));
            report.counts
        };
        assert_eq!(sync().await.uploaded, names.len() as u64);
        assert_eq!(sync().await.unchanged, names.len() as u64);
        other.put("a//b", b"edited", Some(time(1)));
        one.remove("/lead");
        one.remove("servers");
        other.put("servers/0", b"edited there", Some(time(1)));
        one.put("a//c", b"of one", Some(time(2)));
        other.put("a//c", b"of the other", Some(time(3)));
        let counts = sync().await;
        let done = (counts.downloaded, counts.deleted_destination, counts.conflicts);
        assert_eq!(done, (3, 2, 1), "{counts:?}");
        let left = tree(&one);
        assert_eq!(left["a//b"], b"edited");
        assert_eq!(left["a//c"], b"of the other");
        assert!(!left.contains_key("/lead") && !left.contains_key("servers"), "{:?}", left.keys());
        for (bucket, old) in [(&other, "/lead"), (&other, "servers"), (&one, "a//b"), (&one, "of one")] {
            let mut kept =
                bucket.objects().into_iter().filter(|(name, _)| name.contains(".syncengine/trash/"));
            assert!(kept.any(|(_, content)| content == old.as_bytes()), "{old} is in the trash");
        }
        // Nothing of the kind reaches a folder.
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::new(folder.path(), "a");
        let pair = SyncPair::with_clients(one.client(), folder.client()).mode(SyncMode::SourceToDestination);
        let engine = crate::support::fresh_engine(syncengine::state::Found::Nothing);
        let report = engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let failed: Vec<&str> = report.failures.iter().map(|failure| failure.path.as_str()).collect();
        for name in ["a//b", "./x", "x/../y", "d/"] {
            assert!(failed.contains(&name), "{name} of {failed:?}");
        }
        assert_eq!(folder.files()["plain"], b"plain");
    }
}
