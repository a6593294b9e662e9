//! Random histories over folders that are not as one would wish: names that are one though they differ, inode numbers
//! that do not last, files that belong to others.
//!
//! The judge knows no rule of the engine. It says what a user would say: nothing is lost; whoever changed one side only,
//! and changed it so that both sides can hold it, sees the other follow to the letter; where two names cannot both be,
//! both stay what they are and the message has both; a file belongs afterwards to whoever it belonged to before.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use syncengine::code::FailureCode;

use super::*;
use crate::local::skip;
use crate::support::fuse::{Disk, Mounted, Rule, case_folded, decomposed, in_own_mounts, plain};
use crate::support::read_tree;

const ODD_NAMES: [&str; 12] =
    ["a", "A", "b", "a/x", "A/x", "a/X", "d/b", "D/b", "d/B", "caf\u{e9}", "cafe\u{301}", "d/e/z"];

/// What is odd about a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inodes {
    Last,
    /// Every look finds others.
    Forgotten,
    /// Others after each run, as when a disk is mounted again.
    Renumbered,
}

/// A folder on a disk of its own.
struct Odd {
    folder: Folder,
    disk: Mounted,
    fold: Rule,
    inodes: Inodes,
    are_foreign: bool,
}

/// How often each oddity was drawn, in histories, and mattered, in runs.
#[derive(Debug, Default, Clone, Copy)]
struct Oddities {
    histories: u64,
    runs: u64,
    folding: u64,
    names_that_are_one: u64,
    spelled_anew: u64,
    clashes: u64,
    inodes_not_kept: u64,
    quiet_files_with_other_inodes: u64,
    foreign: u64,
    foreign_files_replaced: u64,
}

impl Odd {
    fn new(random: &mut Random) -> Self {
        let rules: [Rule; 4] = [plain, case_folded, case_folded, decomposed];
        let fold = *random.pick(&rules);
        let disk = Disk::new(fold, plain).mount();
        let folder = Folder(disk.folder("tree"));
        let inodes = *random.pick(&[Inodes::Last, Inodes::Forgotten, Inodes::Renumbered]);
        disk.disk().faults.forgets = inodes == Inodes::Forgotten;
        let are_foreign = rustix::process::geteuid().is_root() && random.below(2) == 0;
        Self { folder, disk, fold, inodes, are_foreign }
    }

    fn folds(&self) -> bool {
        (self.fold)("A\u{e9}") != "A\u{e9}"
    }

    /// The owner, group and bits of each file.
    fn belongings(&self) -> BTreeMap<String, (u32, u32, u32)> {
        let of = |name: String| {
            let stat = fs::metadata(self.folder.0.join(&name)).unwrap();
            (name, (stat.uid(), stat.gid(), stat.permissions().mode() & 0o7777))
        };
        self.folder.files().into_keys().map(of).collect()
    }

    /// Gives a file to somebody, as if that user had written it.
    fn give(&self, name: &str, content: &[u8]) {
        if self.are_foreign {
            let who =
                1000 + u32::try_from(content.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 3).unwrap();
            let path = self.folder.0.join(name);
            chown(&path, Some(who), Some(who + 100)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(if who == 1000 { 0o600 } else { 0o664 }))
                .unwrap();
        }
    }
}

impl Root for Arc<Odd> {
    fn client(&self) -> Arc<dyn syncengine::StorageClient> {
        self.folder.client()
    }

    fn write(&self, name: &str, content: &[u8], modified: Timestamp) {
        let is_new = !self.folder.0.join(name).is_file();
        self.folder.write(name, content, modified);
        if is_new {
            self.give(name, content);
        }
    }

    fn delete(&self, name: &str) {
        self.folder.delete(name);
    }

    fn rename(&self, from: &str, to: &str) {
        self.folder.rename(from, to);
    }

    fn touch(&self, name: &str, modified: Timestamp) {
        self.folder.touch(name, modified);
    }

    fn files(&self) -> Tree {
        self.folder.files()
    }

    fn trash(&self) -> Vec<Vec<u8>> {
        self.folder.trash()
    }
}

/// The disks, and which side each is; the trees as both were when they last agreed.
struct Odds {
    history: History,
    sides: [Option<Arc<Odd>>; 2],
    paths: [PathBuf; 2],
    agreed: Option<Tree>,
    found: Oddities,
}

/// What one side is before a run.
struct Before {
    trees: [Tree; 2],
    belongings: [BTreeMap<String, (u32, u32, u32)>; 2],
}

/// Changes the case of the letters of a name's last component.
fn other_case(name: &str) -> String {
    let (folder, last) = name.rsplit_once('/').map_or(("", name), |(folder, last)| (folder, last));
    let upper = last.to_uppercase();
    let other = if last == upper { last.to_lowercase() } else { upper };
    if folder.is_empty() { other } else { format!("{folder}/{other}") }
}

impl Odds {
    fn new(seed: u64, parent: &std::path::Path) -> Self {
        let mut random = Random::new(seed ^ 0x0dd);
        let which = random.below(3);
        let mut sides = [None, None];
        let mut paths = [PathBuf::new(), PathBuf::new()];
        let mut roots: Vec<Box<dyn Root>> = Vec::new();
        for (at, name) in ["source", "destination"].iter().enumerate() {
            if which == 2 || which == at {
                let odd = Arc::new(Odd::new(&mut random));
                paths[at].clone_from(&odd.folder.0);
                roots.push(Box::new(Arc::clone(&odd)));
                sides[at] = Some(odd);
            } else {
                let folder = Folder::new(parent, &format!("{seed}-{name}"));
                paths[at].clone_from(&folder.0);
                roots.push(Box::new(folder));
            }
        }
        let (destination, source) = (roots.pop().unwrap(), roots.pop().unwrap());
        let mut history = History::new(seed, source, destination, fresh_engine(Found::Nothing));
        history.names = &ODD_NAMES;
        for (at, side) in sides.iter().enumerate() {
            if let Some(odd) = side {
                let (folds, inodes, foreign) = (odd.folds(), odd.inodes, odd.are_foreign);
                history.log.push(format!("side {at}: folds {folds}, {inodes:?}, foreign {foreign}"));
            }
        }
        let odd = || sides.iter().flatten();
        let found = Oddities {
            histories: 1,
            folding: u64::from(odd().any(|odd| odd.folds())),
            inodes_not_kept: u64::from(odd().any(|odd| odd.inodes != Inodes::Last)),
            foreign: u64::from(odd().any(|odd| odd.are_foreign)),
            ..Oddities::default()
        };
        Self { history, sides, paths, agreed: None, found }
    }

    /// Spells a file or a folder of one side anew.
    fn respell(&mut self) {
        let at = self.history.random.below(2);
        let files: Vec<String> = read_tree(&self.paths[at]).into_keys().collect();
        if files.is_empty() {
            return;
        }
        let mut name = self.history.random.pick(&files).clone();
        if let Some((folder, _)) = name.clone().rsplit_once('/')
            && self.history.random.below(2) == 0
        {
            folder.clone_into(&mut name);
        }
        let (path, other) = (self.paths[at].join(&name), self.paths[at].join(other_case(&name)));
        let aside = self.paths[at].join("aside");
        fs::rename(&path, &aside).unwrap();
        if other.exists() {
            // It is another one.
            fs::rename(&aside, &path).unwrap();
            return;
        }
        fs::rename(&aside, &other).unwrap();
        self.history.log.push(format!("side {at}: {name} spelled {}", other_case(&name)));
    }

    /// Returns a name as the side with the strictest rule compares it.
    fn folded(&self, name: &str) -> String {
        self.sides.iter().flatten().fold(name.to_owned(), |name, odd| (odd.fold)(&name))
    }

    /// Returns the folded paths of files and folders that are spelled in more than one way.
    fn ambiguous<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        let mut spelled: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
            for part in ends.map(|end| &name[..end]) {
                spelled.entry(self.folded(part)).or_default().insert(part.to_owned());
            }
        }
        spelled.into_iter().filter(|(_, spelled)| spelled.len() > 1).map(|(folded, _)| folded).collect()
    }

    fn before(&self) -> Before {
        let belongings = |at: usize| self.sides[at].as_ref().map(|odd| odd.belongings()).unwrap_or_default();
        Before {
            trees: [self.history.source.files(), self.history.destination.files()],
            belongings: [belongings(0), belongings(1)],
        }
    }

    /// Edits, runs and judges.
    async fn step(&mut self) {
        for _ in 0..self.history.random.below(4) {
            if self.history.random.below(3) == 0 { self.respell() } else { self.history.edit() }
        }
        for odd in self.sides.iter().flatten().filter(|odd| odd.inodes == Inodes::Renumbered) {
            odd.disk.disk().renumber();
        }
        let before = self.before();
        let report = self.history.run().await;
        let now = self.before();
        self.judge(&before, &now, &report);
        let again = self.history.run().await.counts;
        let work = again.uploaded + again.downloaded + again.deleted_source + again.deleted_destination;
        let work = work + again.renamed_source + again.renamed_destination;
        assert_eq!(work, 0, "I-15: a further run does nothing\n{}", self.history.explain());
        assert!(now.trees == self.before().trees, "{}", self.history.explain());
        // In a run that did not end in agreement some files may yet have been agreed on.
        self.agreed = (now.trees[0] == now.trees[1]).then(|| now.trees[0].clone());
    }

    fn judge(&mut self, before: &Before, now: &Before, report: &Report) {
        let story = format!("{:#?}\n{}", report.failures, self.history.explain());
        let story = format!("before {:?} {:?}\n{story}", shown(&before.trees[0]), shown(&before.trees[1]));
        self.found.runs += 1;
        self.judge_contents(before, now, &story);
        self.judge_names(before, now, report, &story);
        self.judge_belongings(before, now, &story);
    }

    fn judge_contents(&self, before: &Before, now: &Before, story: &str) {
        let mut kept: BTreeSet<Vec<u8>> = self.history.source.trash().into_iter().collect();
        kept.extend(self.history.destination.trash());
        kept.extend(now.trees.iter().flat_map(|tree| tree.values().cloned()));
        for (name, content) in before.trees.iter().flatten() {
            assert!(kept.contains(content), "I-01: {name} is gone\n{story}");
        }
    }

    fn judge_names(&mut self, before: &Before, now: &Before, report: &Report, story: &str) {
        let [source, destination] = &before.trees;
        let agreed = self.agreed.clone().unwrap_or_default();
        let both = source.keys().chain(destination.keys());
        let ambiguous = self.ambiguous(both.chain(agreed.keys()));
        self.found.names_that_are_one += u64::from(!ambiguous.is_empty());
        for failure in &report.failures {
            assert_eq!(failure.code, FailureCode::NameClash, "{story}");
            let is_one = |name: &str| {
                let folded = self.folded(name);
                ambiguous.iter().any(|one| folded == *one || folded.starts_with(&format!("{one}/")))
            };
            assert!(is_one(&failure.path), "{} is one name only\n{story}", failure.path);
            for (before, now) in before.trees.iter().zip(&now.trees) {
                let content = |tree: &Tree| tree.get(&failure.path).cloned();
                assert_eq!(content(before), content(now), "{} was touched\n{story}", failure.path);
            }
        }
        self.found.clashes += u64::from(!report.failures.is_empty());
        let is_backup =
            matches!(self.history.pair.mode, SyncMode::SourceBackup | SyncMode::DestinationBackup);
        if report.failures.is_empty() && report.outcome == Outcome::Synced && !is_backup {
            assert_eq!(now.trees[0], now.trees[1], "I-19\n{story}");
            self.found.spelled_anew += u64::from(!ambiguous.is_empty());
        }
        let winner = match self.history.pair.mode {
            SyncMode::TwoWay if self.agreed.as_ref() == Some(source) => Some(destination),
            SyncMode::TwoWay if self.agreed.as_ref() == Some(destination) => Some(source),
            SyncMode::SourceToDestination => Some(source),
            SyncMode::DestinationToSource => Some(destination),
            _ => None,
        };
        if let Some(winner) = winner
            && self.ambiguous(source.keys()).is_empty()
            && self.ambiguous(destination.keys()).is_empty()
        {
            assert!(report.failures.is_empty(), "one side only was changed\n{story}");
            assert!(now.trees.iter().all(|tree| tree == winner), "the other side follows\n{story}");
        }
    }

    fn judge_belongings(&mut self, before: &Before, now: &Before, story: &str) {
        for at in 0..2 {
            let Some(odd) = &self.sides[at] else { continue };
            let mut quiet = 0;
            for (name, belonged) in &before.belongings[at] {
                let Some(belongs) = now.belongings[at].get(name) else { continue };
                assert_eq!(belonged, belongs, "{name} of side {at} belongs to another\n{story}");
                let is_replaced = before.trees[at][name] != now.trees[at][name];
                self.found.foreign_files_replaced += u64::from(is_replaced && belonged.0 != 0);
                quiet += u64::from(!is_replaced);
            }
            if odd.inodes != Inodes::Last && self.found.runs > 1 {
                self.found.quiet_files_with_other_inodes += quiet;
            }
        }
    }
}

#[test]
fn histories_over_odd_folders() {
    if !in_own_mounts("histories::odd::histories_over_odd_folders", skip) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let parent = tempfile::tempdir().unwrap();
    let mut total = Oddities::default();
    for seed in seeds(200) {
        let mut odds = Odds::new(seed, parent.path());
        runtime.block_on(async {
            for _ in 0..5 {
                odds.step().await;
            }
        });
        add_odd(&mut total, odds.found);
    }
    println!("ci: random histories over odd folders {total:?}");
    if total.histories > 100 {
        let each = [total.names_that_are_one, total.spelled_anew, total.clashes];
        let others = [total.quiet_files_with_other_inodes, total.foreign_files_replaced];
        assert!(each.iter().chain(&others).all(|count| *count > 4), "{total:?}");
    }
}

fn add_odd(total: &mut Oddities, more: Oddities) {
    total.histories += more.histories;
    total.runs += more.runs;
    total.folding += more.folding;
    total.names_that_are_one += more.names_that_are_one;
    total.spelled_anew += more.spelled_anew;
    total.clashes += more.clashes;
    total.inodes_not_kept += more.inodes_not_kept;
    total.quiet_files_with_other_inodes += more.quiet_files_with_other_inodes;
    total.foreign += more.foreign;
    total.foreign_files_replaced += more.foreign_files_replaced;
}
