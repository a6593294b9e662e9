//! Where the cases run: between folders, with stores, and between stores. Which cases a setting leaves out is
//! decided here and nowhere else.
//!
//! On the embedded server all cases of a setting share one server and one bucket, each with prefixes of its
//! own; a small set runs with the server in the program itself. `SYNCENGINE_TEST_ENDPOINTS` names further
//! stores (see `support/endpoints.rs`), over which all cases run too.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::place::{Place, Snapshot, commands, play};
use super::{Case, cases, run_case};
use crate::support::bench::{Bench, Ran};
#[cfg(feature = "embedded")]
use crate::support::bucket::{self, AtRest, Bucket, Server};
#[cfg(feature = "embedded")]
use crate::support::endpoints;

/// Cases run at once: the program waits for the disk more than it computes.
const WORKERS: usize = 4;

/// What a user can do to a folder only.
const OF_FOLDERS: &[&str] = &["link", "fifo", "mkdir", "copyroot", "newroot"];

/// What a side of a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    #[cfg(feature = "embedded")]
    Store,
}

/// Where the stores of a setting are.
#[derive(Debug)]
enum Stores {
    None,
    /// A bucket on a server that runs.
    #[cfg(feature = "embedded")]
    Served(Bucket),
    /// Buckets that the program serves to itself.
    #[cfg(feature = "embedded")]
    Embedded,
}

/// Where cases run.
#[derive(Debug)]
struct Setting {
    name: String,
    sides: [Kind; 2],
    stores: Stores,
}

/// The two sides of one case, and how the program reaches them.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) bench: Bench,
    sides: [Place; 2],
    /// Options that say where stores are.
    options: Vec<String>,
    variables: Vec<(&'static str, String)>,
    /// What an embedded server keeps, apart from what the bench is looked at for.
    objects: Option<tempfile::TempDir>,
}

impl Ground {
    /// Does what a script says.
    pub(super) fn act(&self, script: &str) {
        play(&self.bench, script, |side| match side {
            "a" => &self.sides[0],
            "b" => &self.sides[1],
            other => panic!("no such side: {other}"),
        });
    }

    /// Runs `sync` with these options; returns the exit code and the document.
    pub(super) fn sync(&self, options: &str) -> (i32, Value) {
        let locations = [self.sides[0].location(), self.sides[1].location()];
        let mut words =
            vec!["sync", &locations[0], &locations[1], "--state-dir", "state", "--output", "json"];
        words.extend(self.options.iter().map(String::as_str).chain(options.split_whitespace()));
        let mut command = self.bench.command(&words);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let ran = Ran::of(&command.envs(variables).output().unwrap());
        (ran.code, ran.document())
    }

    /// Returns everything on both sides.
    pub(super) fn look(&self) -> [Snapshot; 2] {
        [self.sides[0].snapshot(), self.sides[1].snapshot()]
    }

    pub(super) fn is_one_store(&self) -> bool {
        self.sides.iter().all(|side| !matches!(side, Place::Folder(_)))
    }

    pub(super) fn has_stores(&self) -> bool {
        self.sides.iter().any(|side| !matches!(side, Place::Folder(_)))
    }
}

/// What came of cases.
#[derive(Debug, Default)]
struct Tally {
    /// How many passed, a line for each setting.
    lines: Vec<String>,
    /// What is wrong; empty if nothing is.
    wrong: String,
}

impl Tally {
    fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.wrong += &other.wrong;
        self
    }
}

impl Setting {
    fn of_folders() -> Self {
        Self { name: "scenarios between folders".into(), sides: [Kind::Folder; 2], stores: Stores::None }
    }

    /// Returns why a case says nothing here, if it does not.
    fn leaves_out(&self, (name, steps): &Case) -> Option<&'static str> {
        // Two stores hold a file and what is below it; `stores::between_two_stores_every_name_of_an_object_counts` plays that.
        if name.starts_with("b26:") && self.sides == [Kind::Store, Kind::Store] {
            return Some("a file in the place of a folder");
        }
        for words in steps.iter().flat_map(|step| commands(step.0)) {
            let side = match words[0] {
                "a" => 0,
                "b" => 1,
                _ => continue,
            };
            if self.sides[side] == Kind::Folder {
                continue;
            }
            if let Some(of_folders) = OF_FOLDERS.iter().find(|verb| **verb == words[1]) {
                return Some(of_folders);
            }
        }
        // Rules are read from the source, or from the destination if only that is a folder.
        let has_rules = |words: Vec<&str>| words.get(2).is_some_and(|name| name.contains(".syncignore"));
        let rules = steps.iter().flat_map(|step| commands(step.0)).any(has_rules);
        (rules && self.sides[0] != Kind::Folder).then_some("rules at the source")
    }

    /// Makes the two sides of the `number`th case.
    fn ground(&self, number: usize) -> Ground {
        let bench = Bench::new();
        let folders = ["a", "b"].map(|side| bench.path(side));
        let mut ground = Ground {
            bench,
            sides: folders.map(Place::Folder),
            options: Vec::new(),
            variables: Vec::new(),
            objects: None,
        };
        match &self.stores {
            Stores::None => {}
            #[cfg(feature = "embedded")]
            Stores::Served(bucket) => {
                for at in self.stores_at() {
                    ground.sides[at] = Place::Prefix(bucket.below(&format!("{number}/{}/", ["a", "b"][at])));
                }
                let Server { endpoint, access_key, secret_key } = bucket.server.clone();
                ground.options = vec!["--endpoint-url".into(), endpoint];
                ground.variables = vec![
                    ("AWS_ACCESS_KEY_ID", access_key),
                    ("AWS_SECRET_ACCESS_KEY", secret_key),
                    ("AWS_EC2_METADATA_DISABLED", "true".into()),
                ];
            }
            #[cfg(feature = "embedded")]
            Stores::Embedded => {
                let objects = tempfile::tempdir().unwrap();
                for at in self.stores_at() {
                    let name = ["side-a", "side-b"][at].to_owned();
                    let bucket = AtRest { dir: objects.path().to_owned(), name };
                    bucket.with(|_| ());
                    ground.sides[at] = Place::Embedded(bucket);
                }
                ground.options = vec!["--embedded-dir".into(), objects.path().to_str().unwrap().to_owned()];
                ground.objects = Some(objects);
            }
        }
        ground
    }

    #[cfg(feature = "embedded")]
    fn stores_at(&self) -> impl Iterator<Item = usize> {
        (0..2).filter(|at| self.sides[*at] == Kind::Store)
    }

    /// Runs cases.
    fn run(&self, cases: &[Case]) -> Tally {
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut failed, mut left_out, mut wrong) = (0, BTreeMap::new(), String::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(number) else { return (failed, left_out, wrong) };
                if let Some(why) = self.leaves_out(case) {
                    *left_out.entry(why).or_insert(0) += 1;
                    continue;
                }
                let run = AssertUnwindSafe(|| run_case(&self.ground(number), case));
                let found = catch_unwind(run).unwrap_or_else(|_| format!("{}\n  panicked\n", case.0));
                failed += usize::from(!found.is_empty());
                wrong += &found;
            }
        };
        let (mut failed, mut left_out, mut wrong) = (0, BTreeMap::new(), String::new());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                let (some, reasons, lines) = worker.join().unwrap();
                failed += some;
                for (why, count) in reasons {
                    *left_out.entry(why).or_insert(0) += count;
                }
                wrong += &lines;
            }
        });
        let left: usize = left_out.values().sum();
        let passed = cases.len() - left - failed;
        let reasons: Vec<_> = left_out.iter().map(|(why, count)| format!("{why} {count}")).collect();
        let reasons = if left == 0 { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let name = &self.name;
        let line =
            format!("ci: {name}: {passed} scenarios passed, {failed} failed, {left} left out{reasons}");
        Tally { lines: vec![line], wrong: if wrong.is_empty() { wrong } else { format!("{name}:\n{wrong}") } }
    }
}

#[test]
fn every_row_of_every_table() {
    let found = Setting::of_folders().run(&cases());
    println!("{}", found.lines.join("\n"));
    assert!(found.wrong.is_empty(), "{}", found.wrong);
}

/// What the two sides are, and that in words.
#[cfg(feature = "embedded")]
type Layout = ([Kind; 2], &'static str);

/// Runs cases in the settings of a server that differ in what the sides are.
#[cfg(feature = "embedded")]
fn run_on(name: &str, server: &Server, settings: &[(Layout, Vec<Case>)]) -> Tally {
    let bucket = server.place("");
    let mut found = Tally::default();
    for (at, ((sides, what), cases)) in settings.iter().enumerate() {
        let stores = Stores::Served(bucket.below(&format!("setting-{at}/")));
        let setting = Setting { name: format!("on {name}: {what}"), sides: *sides, stores };
        found = found.and(setting.run(cases));
    }
    found
}

#[cfg(feature = "embedded")]
const FROM_A_FOLDER: Layout = ([Kind::Folder, Kind::Store], "from a folder to a bucket");
#[cfg(feature = "embedded")]
const TO_A_FOLDER: Layout = ([Kind::Store, Kind::Folder], "from a bucket to a folder");
#[cfg(feature = "embedded")]
const BETWEEN_PREFIXES: Layout = ([Kind::Store, Kind::Store], "between two prefixes");

#[cfg(feature = "embedded")]
#[test]
fn every_row_of_every_table_with_stores() {
    let settings = [FROM_A_FOLDER, TO_A_FOLDER, BETWEEN_PREFIXES].map(|setting| (setting, cases()));
    let found = run_on("embedded", &bucket::embedded(), &settings);
    println!("{}", found.lines.join("\n"));
    assert!(found.wrong.is_empty(), "{}", found.wrong);
}

/// From a folder to a bucket; between two prefixes only the rows of the page, because that differs in the copies
/// alone.
#[cfg(feature = "embedded")]
#[test]
fn every_row_of_every_table_on_named_stores() {
    let settings = [(FROM_A_FOLDER, cases()), (BETWEEN_PREFIXES, super::page::cases())];
    let found = endpoints::named_or_skipped(|line| println!("{line}"))
        .iter()
        .map(|(name, server)| run_on(name, server, &settings))
        .fold(Tally::default(), Tally::and);
    println!("{}", found.lines.join("\n"));
    assert!(found.wrong.is_empty(), "{}", found.wrong);
}

/// In a bucket that keeps versions those are the trash: nothing is copied there. Every third row, because only the
/// trash differs.
#[cfg(feature = "embedded")]
#[test]
fn rows_of_every_table_in_a_bucket_that_keeps_versions() {
    let cases: Vec<_> = cases().into_iter().step_by(3).collect();
    let bucket = bucket::embedded().bucket(&bucket::fresh_name(), "").keeping_versions();
    let name = "on embedded, keeping versions: from a folder to a bucket".into();
    let stores = Stores::Served(bucket.clone());
    let found = Setting { name, sides: FROM_A_FOLDER.0, stores }.run(&cases);
    println!("{}", found.lines.join("\n"));
    assert!(found.wrong.is_empty(), "{}", found.wrong);
    assert!(!bucket.names().iter().any(|name| name.contains(".syncengine/trash/")), "copies");
}

/// One bucket for each store, and no prefix.
#[cfg(feature = "embedded")]
#[test]
fn rows_of_the_page_with_stores_that_the_program_serves_to_itself() {
    let cases: Vec<_> = super::page::cases().into_iter().step_by(5).collect();
    let mut found = Tally::default();
    for (sides, what) in [FROM_A_FOLDER, TO_A_FOLDER, BETWEEN_PREFIXES] {
        let name = format!("on embedded://: {}", what.replace("prefixes", "buckets"));
        found = found.and(Setting { name, sides, stores: Stores::Embedded }.run(&cases));
    }
    println!("{}", found.lines.join("\n"));
    assert!(found.wrong.is_empty(), "{}", found.wrong);
}
