//! The binary killed at random moments of random histories (F-01, F-03, I-16).
//!
//! Two worlds live through the same edits. In one every run ends undisturbed; in the other runs are killed
//! with SIGKILL at random moments, several in a row, until one is let through. Afterwards both worlds must
//! have the same trees, no temporary may be left, and a further run must do nothing. `SYNCENGINE_KILLS=n` sets
//! how many kills; `SYNCENGINE_SEED=n` runs one history.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use syncengine::{ConflictStrategy, InitialSyncPreference, SyncMode, Timestamp};

#[cfg(all(feature = "s3", feature = "embedded"))]
use crate::support::bucket::{AtRest, Bucket, Server};
#[cfg(all(feature = "s3", feature = "embedded"))]
use crate::support::endpoints;
use crate::support::{Folder, Random, Root, Tree, variable};

const NAMES: usize = 24;

/// One thing a user does on one side.
#[derive(Debug, Clone)]
enum Edit {
    Write { at_source: bool, name: String, content: Vec<u8>, second: i64 },
    Delete { at_source: bool, nth: usize },
    Rename { at_source: bool, nth: usize, to: String },
}

impl Edit {
    fn apply(&self, source: &dyn Root, destination: &dyn Root) {
        let side = |at_source: bool| if at_source { source } else { destination };
        match self {
            Self::Write { at_source, name, content, second } => {
                side(*at_source).write(name, content, Timestamp::new(*second, 0));
            }
            Self::Delete { at_source, nth } => {
                let side = side(*at_source);
                if let Some(name) = side.files().into_keys().nth(*nth) {
                    side.delete(&name);
                }
            }
            Self::Rename { at_source, nth, to } => {
                let side = side(*at_source);
                if let Some(name) = side.files().into_keys().nth(*nth) {
                    side.rename(&name, to);
                }
            }
        }
    }
}

fn name(random: &mut Random) -> String {
    let number = random.below(NAMES);
    match number % 3 {
        0 => format!("file-{number}.txt"),
        1 => format!("folder/file-{number}"),
        _ => format!("folder/deep/{number}/file"),
    }
}

fn edits(random: &mut Random, count: usize, sizes: &[usize]) -> Vec<Edit> {
    let mut all = Vec::new();
    for _ in 0..count {
        let at_source = random.below(2) == 0;
        all.push(match random.below(8) {
            0 => Edit::Delete { at_source, nth: random.below(NAMES) },
            1 => Edit::Rename {
                at_source,
                nth: random.below(NAMES),
                to: format!("renamed-{}", random.below(NAMES)),
            },
            _ => {
                let size = *random.pick(sizes);
                let mut content = random.next().to_string().into_bytes();
                content.resize(size.max(content.len()), b'x');
                let second = 1_600_000_000 + i64::try_from(random.below(1000)).unwrap();
                Edit::Write { at_source, name: name(random), content, second }
            }
        });
    }
    all
}

/// Two trees and a state directory.
struct Trees {
    root: tempfile::TempDir,
    source: Folder,
    destination: Place,
    arguments: Vec<String>,
    /// Whether the store damages an object when a PUT that is to replace it breaks off.
    damages: bool,
}

/// Where the destination is.
enum Place {
    Folder(Folder),
    /// In a store that the program serves to itself.
    #[cfg(all(feature = "s3", feature = "embedded"))]
    Bucket(AtRest),
    /// In a store that goes on when the program is killed.
    #[cfg(all(feature = "s3", feature = "embedded"))]
    Served(Bucket),
}

impl Place {
    fn tree(&self) -> &dyn Root {
        match self {
            Self::Folder(folder) => folder,
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Self::Bucket(bucket) => bucket,
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Self::Served(bucket) => bucket,
        }
    }

    /// The names of temporaries, unfinished uploads and questions to the store.
    fn leftovers(&self) -> Vec<String> {
        match self {
            Self::Folder(folder) => temporaries(&folder.0),
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Self::Bucket(bucket) => bucket.with(left_in),
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Self::Served(bucket) => left_in(bucket),
        }
    }
}

/// The names of unfinished uploads and questions.
#[cfg(all(feature = "s3", feature = "embedded"))]
fn left_in(bucket: &Bucket) -> Vec<String> {
    let probes = bucket.ours().into_iter().filter(|name| name.starts_with(PROBE));
    bucket.uploads().into_iter().chain(probes).collect()
}

/// What a run leaves of its questions to a store, if it is killed while it asks.
#[cfg(all(feature = "s3", feature = "embedded"))]
const PROBE: &str = ".syncengine/probe/";

impl Trees {
    fn of_folders(arguments: &[String]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = Folder::new(root.path(), "source");
        let destination = Place::Folder(Folder::new(root.path(), "destination"));
        Self { root, source, destination, arguments: arguments.to_vec(), damages: false }
    }

    #[cfg(all(feature = "s3", feature = "embedded"))]
    fn with_a_bucket(arguments: &[String]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = Folder::new(root.path(), "source");
        let bucket = AtRest { dir: root.path().join("server"), name: "vault".into() };
        bucket.with(|_| ());
        Self {
            root,
            source,
            destination: Place::Bucket(bucket),
            arguments: arguments.to_vec(),
            damages: false,
        }
    }

    #[cfg(all(feature = "s3", feature = "embedded"))]
    fn with_a_server(server: &Server, arguments: &[String]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = Folder::new(root.path(), "source");
        let destination = Place::Served(server.place("of this/"));
        Self { root, source, destination, arguments: arguments.to_vec(), damages: false }
    }

    fn apply(&self, edits: &[Edit]) {
        match &self.destination {
            Place::Folder(folder) => edits.iter().for_each(|edit| edit.apply(&self.source, folder)),
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Place::Served(bucket) => edits.iter().for_each(|edit| edit.apply(&self.source, bucket)),
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Place::Bucket(bucket) => {
                bucket.with(|bucket| edits.iter().for_each(|edit| edit.apply(&self.source, bucket)));
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncengine"));
        command.env_clear().arg("sync").arg(&self.source.0).args(&self.arguments);
        match &self.destination {
            Place::Folder(folder) => command.arg(&folder.0),
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Place::Bucket(bucket) => {
                command.arg(format!("embedded://{}", bucket.name)).arg("--embedded-dir").arg(&bucket.dir);
                command.args(["--part-size", "5M", "--multipart-threshold", "5M"])
            }
            #[cfg(all(feature = "s3", feature = "embedded"))]
            Place::Served(Bucket { server, at, .. }) => {
                command.arg(format!("s3://{at}")).args(["--endpoint-url", &server.endpoint]);
                server.introduce(&mut command);
                command.args(["--part-size", "5M", "--multipart-threshold", "5M"])
            }
        };
        command.arg("--state-dir").arg(self.root.path().join("state"));
        command.args([
            "--allow-mass-delete",
            "--allow-empty-side",
            "--output",
            "json",
            "--progress",
            "never",
        ]);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Runs to the end; returns the report. `None` if the store has damaged an object because a PUT to it broke
    /// off, as LocalStack does: the run must say so, and nothing else may fail.
    fn run_after_kills(&self) -> Option<serde_json::Value> {
        let output = self.command().output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let failures = report["failures"].as_array().unwrap();
        if self.damages && !failures.is_empty() {
            let told = |failure: &serde_json::Value| {
                let error = failure["error"].as_str().unwrap();
                error.contains("the store made a copy of")
                    && self.source.files().contains_key(failure["path"].as_str().unwrap())
            };
            assert!(failures.iter().all(told) && output.status.code() == Some(1), "{report:#}");
            return None;
        }
        assert!(matches!(output.status.code(), Some(0 | 3)), "{:?} {report:#}", output.status);
        Some(report)
    }

    /// Runs to the end; returns the report.
    fn run(&self) -> serde_json::Value {
        let output = self.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{:?} {text} {errors}", output.status);
        serde_json::from_str(&text).unwrap()
    }

    /// Runs and kills after a while; returns whether the process was still running then.
    fn kill_after(&self, delay: Duration) -> bool {
        let mut child = self.command().spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        status.code().is_none()
    }

    fn trees(&self) -> (Tree, Tree) {
        (self.source.files(), self.destination.tree().files())
    }
}

fn temporaries(root: &Path) -> Vec<String> {
    crate::support::read_tree(root).into_keys().filter(|name| name.contains(".syncengine-")).collect()
}

/// Lives through one history in both worlds; returns how many kills hit a running process.
#[expect(clippy::disallowed_methods, reason = "the length of a run bounds the moment of its kill")]
fn live_through(seed: u64, sizes: &[usize], world: impl Fn(&[String]) -> Trees) -> u32 {
    let mut random = Random::new(seed);
    let mode = *random.pick(SyncMode::ALL);
    let mut arguments = vec!["--mode".to_owned(), mode.to_string()];
    if mode == SyncMode::TwoWay {
        let strategy = *random.pick(ConflictStrategy::ALL);
        let preference = *random.pick(InitialSyncPreference::ALL);
        arguments.extend(["--conflict".into(), strategy.to_string()]);
        arguments.extend(["--initial-sync".into(), preference.to_string()]);
    }
    let (calm, stormy) = (world(&arguments), world(&arguments));
    let mut kills = 0;
    for round in 0..3 {
        let count = 4 + random.below(40);
        let edits = edits(&mut random, count, sizes);
        calm.apply(&edits);
        stormy.apply(&edits);
        let started = Instant::now();
        let report = calm.run();
        let length = u64::try_from(started.elapsed().as_micros()).unwrap();
        for _ in 0..=random.below(3) {
            let delay = Duration::from_micros(random.next() % (length + length / 4));
            kills += u32::from(stormy.kill_after(delay));
        }
        let Some(recovered) = stormy.run_after_kills() else { return kills };
        let story =
            || format!("seed {seed} round {round} {arguments:?}\ncalm {report:#}\nstormy {recovered:#}");
        let ((calm_source, calm_destination), (source, destination)) = (calm.trees(), stormy.trees());
        for (place, calm, stormy) in
            [("source", &calm_source, &source), ("destination", &calm_destination, &destination)]
        {
            let only = |one: &Tree, other: &Tree| -> Vec<String> {
                one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
            };
            let (missing, extra) = (only(calm, stormy), only(stormy, calm));
            assert!(
                missing.is_empty() && extra.is_empty(),
                "the {place} lacks {missing:?} and has {extra:?}: {}",
                story()
            );
        }
        let equal = calm_source == source && calm_destination == destination;
        assert!(equal, "contents differ: {}", story());
        let left = [temporaries(&stormy.source.0), stormy.destination.leftovers()].concat();
        assert!(left.is_empty(), "left behind: {left:?} {}", story());
        let lost = recovered["warnings"].to_string().contains("state-lost");
        assert!(!lost, "a kill must not cost the state: {}", story());
        let again = stormy.run();
        for count in [
            "uploaded",
            "downloaded",
            "deleted_source",
            "deleted_destination",
            "renamed_source",
            "renamed_destination",
        ] {
            assert_eq!(again["counts"][count], 0, "a further run does nothing: {again:#} {}", story());
        }
    }
    kills
}

/// Lives through histories until enough kills have hit; returns how many did, and in how many histories.
fn kill_often(wanted: u32, sizes: &[usize], world: impl Fn(&[String]) -> Trees) -> (u32, u64) {
    if let Some(seed) = variable("SYNCENGINE_SEED") {
        return (live_through(seed.parse().unwrap(), sizes, world), 1);
    }
    let wanted: u32 = variable("SYNCENGINE_KILLS").map_or(wanted, |count| count.parse().unwrap());
    let (mut kills, mut histories) = (0, 0);
    while kills < wanted {
        kills += live_through(histories, sizes, &world);
        histories += 1;
    }
    (kills, histories)
}

#[test]
fn f01_a_kill_at_any_moment_costs_nothing() {
    let (kills, histories) = kill_often(200, &[0, 20, 4_000, 300_000], Trees::of_folders);
    println!("ci: kills between folders {kills} in {histories} histories of 3 runs each");
}

#[cfg(all(feature = "s3", feature = "embedded"))]
#[test]
fn f01_a_kill_at_any_moment_of_a_sync_with_a_bucket_costs_nothing() {
    let (kills, histories) = kill_often(200, &SIZES_IN_STORES, Trees::with_a_bucket);
    println!("ci: on embedded: {kills} kills in {histories} histories of 3 runs each");
}

/// Few go up in parts: each costs as much as all others together.
#[cfg(all(feature = "s3", feature = "embedded"))]
const SIZES_IN_STORES: [usize; 12] =
    [0, 20, 20, 20, 4_000, 4_000, 4_000, 4_000, 300_000, 300_000, 20, 6_000_000];

#[cfg(all(feature = "s3", feature = "embedded"))]
#[test]
fn f01_a_kill_costs_nothing_on_named_stores() {
    for (name, server) in endpoints::named_or_skipped(|line| println!("{line}")) {
        let damages = name == "localstack";
        let world = |arguments: &[String]| Trees { damages, ..Trees::with_a_server(&server, arguments) };
        let (kills, histories) = kill_often(20, &SIZES_IN_STORES, world);
        println!("ci: on {name}: {kills} kills in {histories} histories of 3 runs each");
    }
}
