//! Random histories: users edit both sides, the engine runs, and after every run the promises must hold.
//!
//! There is no second engine here. The judges are I-01 (every version live before a run is live or in trash
//! after it), I-15 (a further run does nothing), I-19 (both sides agree) and the rights of the modes. A
//! failure names its seed; `SYNCENGINE_SEED=n` runs that one alone, `SYNCENGINE_HISTORIES=n` sets how many.

use std::collections::BTreeSet;
use std::sync::Arc;

use syncengine::state::Found;
use syncengine::{
    ConflictStrategy, Event, InitialSyncPreference, Key, MemoryClient, Observer, Outcome, Report, SyncEngine,
    SyncMode, SyncOptions, SyncPair, Timestamp,
};

use crate::support::{Folder, Random, Root, Tree, fresh_engine, variable};

#[cfg(target_os = "linux")]
mod odd;

const NAMES: [&str; 9] = ["a", "a-b", "a/x", "a/y.txt", "b", "b.txt", "d/a", "d/e/f", "z"];

struct History {
    random: Random,
    source: Box<dyn Root>,
    destination: Box<dyn Root>,
    engine: SyncEngine,
    pair: SyncPair,
    names: &'static [&'static str],
    written: u32,
    seed: u64,
    log: Vec<String>,
    counts: Kinds,
}

/// How often each kind of thing happened, so that a run can show it was not idle.
#[derive(Debug, Default, Clone, Copy)]
struct Kinds {
    runs: u64,
    transfers: u64,
    conflicts: u64,
    renames: u64,
    deletions: u64,
}

impl History {
    fn new(seed: u64, source: Box<dyn Root>, destination: Box<dyn Root>, engine: SyncEngine) -> Self {
        let mut random = Random::new(seed);
        let mode = *random.pick(SyncMode::ALL);
        let pair = SyncPair::with_clients(source.client(), destination.client())
            .mode(mode)
            .conflict(*random.pick(ConflictStrategy::ALL))
            .pull(random.below(4) > 0);
        let log = Vec::new();
        let (names, counts) = (&NAMES[..], Kinds::default());
        Self { random, source, destination, engine, pair, names, written: 0, seed, log, counts }
    }

    /// A user does something on one side.
    fn edit(&mut self) {
        let at_source = self.random.below(2) == 0;
        let side = if at_source { &self.source } else { &self.destination };
        let files: Vec<String> = side.files().into_keys().collect();
        let when = Timestamp::new(1_600_000_000 + i64::try_from(self.random.below(50)).unwrap(), 0);
        let name = (*self.random.pick(self.names)).to_owned();
        let what = self.random.below(12);
        let some = (!files.is_empty()).then(|| self.random.pick(&files).clone());
        self.written += 1;
        let happened = match (what, some) {
            (0..=3, _) | (_, None) => {
                // Equal sizes and, sometimes, equal contents; a clock that goes back.
                let number = if self.random.below(6) == 0 {
                    u32::try_from(self.random.below(4)).unwrap()
                } else {
                    self.written
                };
                let content = format!("content {number:05}");
                side.write(&name, content.as_bytes(), when);
                format!("write {name} {content:?} at {when}")
            }
            (4..=5, Some(file)) => {
                let content = format!("edit {:05} {}", self.written, "x".repeat(self.random.below(3)));
                side.write(&file, content.as_bytes(), when);
                format!("edit {file} {content:?} at {when}")
            }
            (6, Some(file)) => {
                side.touch(&file, when);
                format!("touch {file} at {when}")
            }
            (7..=8, Some(file)) => {
                side.delete(&file);
                format!("delete {file}")
            }
            (_, Some(file)) => {
                if file == name {
                    return;
                }
                side.rename(&file, &name);
                format!("rename {file} to {name}")
            }
        };
        self.log.push(format!("{}: {happened}", if at_source { "source" } else { "destination" }));
    }

    async fn run(&mut self) -> Report {
        let mut options = SyncOptions::new();
        options.allow_empty_side = true;
        options.allow_mass_delete = true;
        let report = self.engine.sync_pair(&self.pair, options).await.unwrap();
        self.log.push(format!("run {} {}: {:?}", self.pair.mode, self.pair.conflict, report.counts));
        report
    }

    fn explain(&self) -> String {
        format!(
            "seed {}\n{}\nsource {:?}\ndestination {:?}",
            self.seed,
            self.log.join("\n"),
            shown(&self.source.files()),
            shown(&self.destination.files())
        )
    }

    /// Edits, runs and judges.
    async fn step(&mut self) {
        for _ in 0..self.random.below(4) {
            self.edit();
        }
        let (source, destination) = (self.source.files(), self.destination.files());
        let report = self.run().await;
        self.judge(&source, &destination, &report);
        let (source, destination) = (self.source.files(), self.destination.files());
        let again = self.run().await;
        let counts = again.counts;
        let work = counts.uploaded
            + counts.downloaded
            + counts.deleted_source
            + counts.deleted_destination
            + counts.renamed_source
            + counts.renamed_destination;
        assert_eq!(work, 0, "I-15: a further run does nothing\n{}", self.explain());
        assert!(
            source == self.source.files() && destination == self.destination.files(),
            "{}",
            self.explain()
        );
    }

    fn judge(&mut self, source: &Tree, destination: &Tree, report: &Report) {
        let counts = report.counts;
        self.counts.runs += 1;
        self.counts.transfers += counts.uploaded + counts.downloaded;
        self.counts.conflicts += counts.conflicts;
        self.counts.renames += counts.renamed_source + counts.renamed_destination;
        self.counts.deletions += counts.deleted_source + counts.deleted_destination;
        let explain = || format!("{:?}\n{}", report.failures, self.explain());
        let (now_source, now_destination) = (self.source.files(), self.destination.files());
        assert_eq!(counts.failed, 0, "nothing fails\n{}", explain());
        let mut kept: BTreeSet<Vec<u8>> = self.source.trash().into_iter().collect();
        kept.extend(self.destination.trash());
        kept.extend(now_source.values().cloned());
        kept.extend(now_destination.values().cloned());
        for (name, content) in source.iter().chain(destination) {
            let shown = String::from_utf8_lossy(content);
            assert!(kept.contains(content), "I-01: {shown:?} of {name} is gone\n{}", explain());
        }
        let settled = report.outcome == Outcome::Synced;
        match self.pair.mode {
            SyncMode::TwoWay if settled => assert_eq!(now_source, now_destination, "I-19\n{}", explain()),
            SyncMode::TwoWay => assert!(counts.unresolved > 0, "{}", explain()),
            SyncMode::SourceToDestination => {
                assert_eq!(source, &now_source, "I-14: the source is not touched\n{}", explain());
                assert_eq!(now_source, now_destination, "{}", explain());
            }
            SyncMode::DestinationToSource => {
                assert_eq!(
                    destination,
                    &now_destination,
                    "I-14: the destination is not touched\n{}",
                    explain()
                );
                assert_eq!(now_source, now_destination, "{}", explain());
            }
            SyncMode::SourceBackup | SyncMode::DestinationBackup => {
                for (before, now) in [(source, &now_source), (destination, &now_destination)] {
                    assert!(
                        before.keys().all(|name| now.contains_key(name)),
                        "a backup deletes nothing\n{}",
                        explain()
                    );
                }
            }
        }
        if self.pair.mode == SyncMode::DestinationBackup {
            assert_eq!(destination, &now_destination, "I-14\n{}", explain());
        }
        if self.pair.mode == SyncMode::SourceBackup && !self.pair.pull {
            assert_eq!(source, &now_source, "I-14\n{}", explain());
        }
    }
}

fn shown(tree: &Tree) -> Vec<String> {
    tree.iter().map(|(name, content)| format!("{name}={}", String::from_utf8_lossy(content))).collect()
}

/// Edits and runs in one mode, then in another, and once with the state lost in between.
async fn live_through(mut history: History, steps: usize) -> Kinds {
    if history.pair.mode == SyncMode::TwoWay {
        let preference = *history.random.pick(InitialSyncPreference::ALL);
        history.pair = history.pair.initial_sync(preference);
    }
    for step in 0..steps {
        if step > 0 && history.random.below(8) == 0 {
            let mode = *history.random.pick(SyncMode::ALL);
            history.pair = history.pair.clone().mode(mode);
            history.log.push(format!("mode is now {mode}"));
        }
        if step > 0 && history.random.below(12) == 0 {
            history.engine = fresh_engine(Found::Lost { why: "a test".into() });
            history.log.push("state lost".into());
        }
        history.step().await;
    }
    history.counts
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    if let Some(seed) = variable("SYNCENGINE_SEED") {
        let seed: u64 = seed.parse().unwrap();
        return seed..seed + 1;
    }
    0..variable("SYNCENGINE_HISTORIES").map_or(default, |count| count.parse().unwrap())
}

fn add(total: &mut Kinds, kinds: Kinds) {
    total.runs += kinds.runs;
    total.transfers += kinds.transfers;
    total.conflicts += kinds.conflicts;
    total.renames += kinds.renames;
    total.deletions += kinds.deletions;
}

#[tokio::test]
async fn histories_over_memory() {
    let mut total = Kinds::default();
    let seeds = seeds(3000);
    for seed in seeds.clone() {
        let source = Box::new(Arc::new(MemoryClient::new("memory-source")));
        let destination = Box::new(Arc::new(MemoryClient::new("memory-destination")));
        let history = History::new(seed, source, destination, fresh_engine(Found::Nothing));
        add(&mut total, live_through(history, 6).await);
    }
    println!("ci: random histories over memory {} {total:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start > 100 {
        assert!(total.conflicts > 100 && total.renames > 50 && total.deletions > 100, "{total:?}");
    }
}

#[tokio::test]
async fn histories_over_folders() {
    let mut total = Kinds::default();
    let seeds = seeds(120);
    let parent = tempfile::tempdir().unwrap();
    for seed in seeds.clone() {
        let source = Box::new(Folder::new(parent.path(), &format!("{seed}-source")));
        let destination = Box::new(Folder::new(parent.path(), &format!("{seed}-destination")));
        let history = History::new(seed, source, destination, fresh_engine(Found::Nothing));
        add(&mut total, live_through(history, 5).await);
    }
    println!("ci: random histories over folders {} {total:?}", seeds.end - seeds.start);
}

#[tokio::test]
async fn histories_between_a_folder_and_memory() {
    let mut total = Kinds::default();
    let seeds = seeds(80);
    let parent = tempfile::tempdir().unwrap();
    for seed in seeds.clone() {
        let source = Box::new(Folder::new(parent.path(), &format!("{seed}-source")));
        let destination = Box::new(Arc::new(MemoryClient::new("memory-destination")));
        let history = History::new(seed, source, destination, fresh_engine(Found::Nothing));
        add(&mut total, live_through(history, 5).await);
    }
    println!("ci: random histories between folder and memory {} {total:?}", seeds.end - seeds.start);
}

/// As below; the destination keeps versions, and so may the source. Those that are not current are a trash.
#[cfg(all(feature = "s3", feature = "embedded"))]
#[tokio::test]
async fn histories_over_buckets_that_keep_versions() {
    use crate::support::bucket;
    let mut total = Kinds::default();
    let seeds = seeds(16);
    let parent = tempfile::tempdir().unwrap();
    let here = bucket::embedded();
    for seed in seeds.clone() {
        let destination = here.bucket(&bucket::fresh_name(), "destination/").keeping_versions();
        let source: Box<dyn Root> = match seed % 3 {
            0 => Box::new(Folder::new(parent.path(), &format!("{seed}-source"))),
            1 => Box::new(here.bucket(&destination.at.name, "source/").keeping_versions()),
            _ => Box::new(here.bucket(&bucket::fresh_name(), "")),
        };
        let looked_at = destination.clone();
        let history = History::new(seed, source, Box::new(destination), fresh_engine(Found::Nothing));
        add(&mut total, live_through(history, 4).await);
        let copied = looked_at.names().into_iter().any(|name| name.starts_with(".syncengine/trash/"));
        assert!(!copied, "seed {seed}: what the bucket keeps is copied besides");
    }
    println!("ci: random histories over buckets that keep versions {} {total:?}", seeds.end - seeds.start);
}

/// A folder and a bucket, two prefixes of one bucket, and two buckets of which one is at another address.
#[cfg(all(feature = "s3", feature = "embedded"))]
#[tokio::test]
async fn histories_over_buckets() {
    use crate::support::bucket::{self, Embedded};
    let mut total = Kinds::default();
    let seeds = seeds(36);
    let parent = tempfile::tempdir().unwrap();
    let here = bucket::embedded();
    let elsewhere = Embedded::start(&parent.path().join("elsewhere"));
    for seed in seeds.clone() {
        let destination = here.bucket(&bucket::fresh_name(), "destination/");
        let source: Box<dyn Root> = match seed % 3 {
            0 => Box::new(Folder::new(parent.path(), &format!("{seed}-source"))),
            1 => Box::new(here.bucket(&destination.at.name, "source/")),
            _ => Box::new(elsewhere.server.bucket(&bucket::fresh_name(), "")),
        };
        let history = History::new(seed, source, Box::new(destination), fresh_engine(Found::Nothing));
        add(&mut total, live_through(history, 4).await);
    }
    elsewhere.stop();
    println!("ci: random histories over buckets {} {total:?}", seeds.end - seeds.start);
}

/// Empties a tree as soon as a run has its plan.
#[derive(Debug)]
struct Vanishing(Arc<MemoryClient>);

impl Observer for Vanishing {
    fn observe(&self, event: &Event) {
        if let Event::Planned { .. } = event {
            for name in self.0.tree().into_keys() {
                self.0.remove_now(&Key::parse(&name).unwrap());
            }
        }
    }
}

/// I-10: what vanishes in the middle of a run counts as what was gone before it.
#[tokio::test]
async fn i10_a_tree_that_vanishes_during_a_run_deletes_nothing_at_the_other_side() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        let [source, destination] = ["a", "b"].map(|name| Arc::new(MemoryClient::new(name)));
        let engine = fresh_engine(Found::Nothing);
        let pair = SyncPair::with_clients(Arc::clone(&source) as _, Arc::clone(&destination) as _).mode(mode);
        let write = |content: &str| {
            for number in 0..40 {
                let key = Key::parse(&format!("file {number}")).unwrap();
                source.put(key, content.to_owned(), Timestamp::new(1, 0));
            }
        };
        write("as it was");
        engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        write("edited");
        let options = SyncOptions::new().observer(Arc::new(Vanishing(Arc::clone(&source))));
        let report = engine.sync_pair(&pair, options).await.unwrap();
        assert_eq!((report.counts.failed, report.counts.deleted_destination), (40, 0), "{mode}");
        assert_eq!(destination.tree().len(), 40, "{mode}");
        let report = engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        assert_eq!(report.outcome, Outcome::Refused, "{mode}");
        let mut options = SyncOptions::new();
        (options.allow_empty_side, options.allow_mass_delete) = (true, true);
        let report = engine.sync_pair(&pair, options).await.unwrap();
        assert_eq!(report.counts.deleted_destination, 40, "{mode}: the user's word counts");
    }
}
