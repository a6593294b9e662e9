//! Runs that are cut off while a store takes its time: by a kill, after which the next run goes on with an upload or
//! ends it, and by a signal.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use syncengine::embedded::{Disturb, Disturbance, Request};

use crate::support::bench::{Bench, Ran};
use crate::support::bucket::{Bucket, Embedded};

const MIB: usize = 1024 * 1024;

/// Parts of the file, of 5 MiB each but the last.
const PARTS: u64 = 6;

/// Parts that the store takes before it answers no more.
const TAKEN: u64 = 3;

/// Lets some parts of `large` through and holds the others until the run is killed. Can refuse to put parts together.
#[derive(Debug, Default)]
struct Gate(AtomicU64, AtomicBool);

impl Disturb for Gate {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        let is_part =
            request.operation == "UploadPart" && request.key.is_some_and(|key| key.ends_with("large"));
        if request.operation == "CompleteMultipartUpload" && self.1.load(Ordering::SeqCst) {
            return Disturbance::Refuse(503, "ServiceUnavailable".into());
        }
        let closed = |left: u64| left.checked_sub(1);
        match is_part.then(|| self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, closed)) {
            Some(Err(_)) => Disturbance::Delay(Duration::from_hours(1)),
            _ => Disturbance::Pass,
        }
    }
}

/// A folder with a large file, and a bucket in which a killed run has left half of it.
struct Halved {
    bench: Bench,
    gate: Arc<Gate>,
    bucket: Bucket,
    _embedded: Embedded,
}

impl Halved {
    fn new() -> Self {
        let (bench, gate) = (Bench::new(), Arc::new(Gate::default()));
        let embedded = Embedded::disturbed(Arc::clone(&gate) as Arc<dyn Disturb>);
        let bucket = embedded.server.bucket("vault", "of this/");
        let halved = Self { bench, gate, bucket, _embedded: embedded };
        std::fs::write(halved.large(), content(1)).unwrap();
        // The store is asked what it can do by a run of its own, so that requests are those of the upload.
        halved.gate.0.store(u64::MAX, Ordering::SeqCst);
        std::fs::write(halved.bench.path("a").join("small"), "small").unwrap();
        halved.sync(&["--exclude", "large"]);
        halved.gate.0.store(TAKEN, Ordering::SeqCst);
        let mut run = halved.command(&[]).spawn().unwrap();
        while halved.bucket.parts("large").len() < usize::try_from(TAKEN).unwrap() {
            assert!(run.try_wait().unwrap().is_none(), "the run ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        halved.gate.0.store(u64::MAX, Ordering::SeqCst);
        halved
    }

    fn large(&self) -> PathBuf {
        self.bench.path("a").join("large")
    }

    fn command(&self, options: &[&str]) -> Command {
        let to = format!("s3://{}", self.bucket.at);
        let words = [
            "sync",
            "a",
            &to,
            "--endpoint-url",
            &self.bucket.server.endpoint,
            "--mode",
            "sourceToDestination",
        ];
        let mut command = self.bench.command(&[&words[..], options].concat());
        command.args(["--part-size", "5M", "--multipart-threshold", "5M", "--output", "json"]);
        self.bucket.server.introduce(&mut command);
        command
    }

    /// Changes the lines of what the killed run has noted.
    fn edit_ledger(&self, change: impl Fn(&mut serde_json::Value)) {
        let mut edited = 0;
        for (path, (_, _, text)) in self.bench.snapshot() {
            if path.extension().is_some_and(|ending| ending == "uploads") {
                let text = String::from_utf8(text).unwrap();
                let lines = text.lines().map(|line| {
                    let mut line = serde_json::from_str(line).unwrap();
                    change(&mut line);
                    format!("{line}\n")
                });
                std::fs::write(path, lines.collect::<String>()).unwrap();
                edited += 1;
            }
        }
        assert_eq!(edited, 1, "the killed run has a ledger");
    }

    fn sync(&self, options: &[&str]) -> serde_json::Value {
        let ran = Ran::of(&self.command(options).output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.document()
    }
}

fn content(seed: u8) -> Vec<u8> {
    // Each MiB is another one.
    (0..26).flat_map(|number| (0..=u8::MAX).map(move |byte| byte ^ seed ^ number).cycle().take(MIB)).collect()
}

/// I-39: what a killed run has sent of a large file is not sent again if the file is the same; otherwise, and if
/// it is no longer wanted, the upload is ended. Somebody else's to the same name stays.
#[test]
fn i39_a_killed_upload_is_gone_on_with_or_ended() {
    type Meddle = fn(&Halved);
    let missing = PARTS - TAKEN;
    // What happens after the kill, how many requests of multipart uploads the next run sends, and why.
    let table: [(&str, Meddle, u64); 6] = [
        ("nothing: the missing parts and the end", |_| (), missing + 1),
        (
            "a part is no longer that of this file",
            |at| at.bucket.send_part("large", at.bucket.parts("large")[0], vec![7; 5 * MIB]),
            missing + 2,
        ),
        (
            "the file has other bytes and the same time",
            |at| {
                let modified = std::fs::metadata(at.large()).unwrap().modified().unwrap();
                std::fs::write(at.large(), content(2)).unwrap();
                std::fs::File::options()
                    .write(true)
                    .open(at.large())
                    .unwrap()
                    .set_modified(modified)
                    .unwrap();
            },
            PARTS + 1,
        ),
        // The upload carries a time, so it is of no use: one beginning, one end, one abort.
        (
            "the file was touched",
            |at| {
                let file = std::fs::File::options().write(true).open(at.large()).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000)).unwrap();
            },
            PARTS + 3,
        ),
        ("the file was deleted", |at| std::fs::remove_file(at.large()).unwrap(), 1),
        ("somebody ended the upload", |at| at.bucket.abort_uploads(), PARTS + 2),
    ];
    for (what, meddle, requests) in table {
        let halved = Halved::new();
        meddle(&halved);
        let foreign = halved.bucket.begin_upload("large", b"a part of somebody else's");
        let report = halved.sync(&[]);
        assert_eq!(report["requests"]["multipart"], requests, "{what}: {report:#}");
        assert_eq!(halved.bucket.upload_ids(), [foreign], "{what}");
        let there = halved.bucket.file_names().contains(&"large".to_owned());
        assert_eq!(there, halved.large().exists(), "{what}");
        if there {
            assert!(
                halved.bucket.get("large") == std::fs::read(halved.large()).unwrap(),
                "{what}: other bytes"
            );
        }
        let again = halved.sync(&[]);
        assert_eq!(
            (&again["counts"]["uploaded"], &again["requests"]["multipart"]),
            (&0.into(), &0.into()),
            "{what}"
        );
    }
}

/// I-39: what a store has of a file whose parts it could not put together is not sent again.
#[test]
fn i39_an_upload_that_could_not_be_completed_is_gone_on_with() {
    let halved = Halved::new();
    halved.gate.1.store(true, Ordering::SeqCst);
    let failed = Ran::of(&halved.command(&["--retry-budget", "1s"]).output().unwrap());
    assert_eq!(failed.code, 1, "{failed:?}");
    let report = failed.document();
    let failure = &report["failures"][0];
    assert_eq!((&failure["path"], &report["counts"]["failed"]), (&"large".into(), &1.into()), "{report:#}");
    assert!(failure["hint"].as_str().unwrap().contains("--retry-budget"), "{report:#}");
    assert_eq!(halved.bucket.upload_ids().len(), 1);
    halved.gate.1.store(false, Ordering::SeqCst);
    let report = halved.sync(&[]);
    assert_eq!(report["requests"]["multipart"], 1, "the end alone: {report:#}");
    assert!(halved.bucket.get("large") == std::fs::read(halved.large()).unwrap());
    assert!(halved.bucket.upload_ids().is_empty());
}

/// I-39: a run below another prefix leaves a killed upload to the runs it belongs to, but not for ever.
#[test]
fn i39_a_killed_upload_waits_a_week_for_its_own_run() {
    let halved = Halved::new();
    let other = halved.bucket.server.bucket("vault", "of that/");
    let to = format!("s3://{}", other.at);
    let elsewhere = || {
        let words =
            ["sync", "b", &to, "--endpoint-url", &other.server.endpoint, "--mode", "sourceToDestination"];
        let mut command = halved.bench.command(&words);
        other.server.introduce(&mut command);
        let ran = Ran::of(&command.output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    elsewhere();
    assert_eq!(halved.bucket.upload_ids().len(), 1, "left to its own run");
    // A week is 604,800 seconds.
    halved.edit_ledger(|line| {
        let at = line["wanted"]["at"].as_i64();
        if let Some(at) = at {
            line["wanted"]["at"] = (at - 604_900).into();
        }
    });
    elsewhere();
    assert!(halved.bucket.upload_ids().is_empty(), "nobody came for it");
}

/// I-39: of an upload whose id never came only the name is known: those of others have parts and stay. Those of a
/// probe, whose name is a random one, are all ours.
#[test]
fn i39_an_upload_without_a_known_id_is_ended_if_it_has_no_parts() {
    let halved = Halved::new();
    let foreign = halved.bucket.upload_ids();
    halved.bucket.begin_upload("large", b"");
    let probe = ".syncengine/probe/0123456789abcdef";
    halved.bucket.begin_upload(probe, b"probe");
    halved.bucket.put(probe, b"probe", None);
    halved.edit_ledger(|line| {
        if line.get("begun").is_some() {
            let key = format!("{}{probe}", halved.bucket.at.prefix);
            *line = serde_json::json!({"wanted": {"number": 9, "key": key, "at": 0, "bucket": "vault"}});
        }
    });
    let report = halved.sync(&[]);
    // Beside the upload itself two aborts.
    assert_eq!(report["requests"]["multipart"], PARTS + 4, "{report:#}");
    assert_eq!(halved.bucket.upload_ids(), foreign);
    assert!(!halved.bucket.names().contains(&probe.to_owned()), "{:?}", halved.bucket.names());
}

/// Holds the requests of one operation.
#[derive(Debug)]
struct Hold {
    operation: &'static str,
    reached: AtomicBool,
    released: AtomicBool,
}

impl Disturb for Hold {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        if request.operation != self.operation || self.released.load(Ordering::SeqCst) {
            return Disturbance::Pass;
        }
        self.reached.store(true, Ordering::SeqCst);
        Disturbance::Delay(Duration::from_hours(1))
    }
}

/// F-04: a signal ends a run while it lists, and in the middle of an upload in parts, which is aborted.
#[test]
fn f04_a_signal_ends_a_listing_and_an_upload_in_parts() {
    for (operation, signal, code) in [
        ("ListObjectsV2", Signal::TERM, 143),
        ("UploadPart", Signal::INT, 130),
        ("UploadPart", Signal::TERM, 143),
    ] {
        let (reached, released) = (AtomicBool::new(false), AtomicBool::new(true));
        let hold = Arc::new(Hold { operation, reached, released });
        let embedded = Embedded::disturbed(Arc::clone(&hold) as Arc<dyn Disturb>);
        let bucket = embedded.server.bucket("vault", "");
        let bench = Bench::new();
        let command = || {
            let words =
                ["sync", "a", "s3://vault", "--endpoint-url", &bucket.server.endpoint, "--output", "json"];
            let mut command = bench.command(&words);
            bucket.server.introduce(&mut command);
            command
        };
        // The store is asked what it can do by a run of its own: that sends a part too.
        bench.write("a/small", "small");
        assert_eq!(Ran::of(&command().output().unwrap()).code, 0);
        std::fs::write(bench.path("a/large"), vec![7; 17 * MIB]).unwrap();
        hold.released.store(false, Ordering::SeqCst);
        let mut run = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !hold.reached.load(Ordering::SeqCst) {
            assert!(run.try_wait().unwrap().is_none(), "{operation}: the run ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let ran = Ran::of(&run.wait_with_output().unwrap());
        assert_eq!(
            (ran.code, &ran.document()["outcome"]),
            (code, &"cancelled".into()),
            "{operation}: {ran:?}"
        );
        hold.released.store(true, Ordering::SeqCst);
        assert!(bucket.uploads().is_empty(), "{operation}");
        assert_eq!(bucket.file_names(), ["small"], "{operation}");
        assert_eq!(Ran::of(&command().output().unwrap()).code, 0, "{operation}");
        assert_eq!(bucket.get("large").len(), 17 * MIB, "{operation}");
    }
}
