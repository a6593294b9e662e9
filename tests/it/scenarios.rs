//! What a sync does, end to end: the real binary on real folders, scenario by scenario.
//!
//! A case is a list of steps, written in three small notations.
//!
//! What the user does, separated by `;`, `a` being the source and `b` the destination:
//! `a write NAME TEXT [SECONDS]`, `a empty NAME`, `a rm NAME`, `a mv FROM TO`, `a touch NAME SECONDS`, `a mkdir NAME`,
//! `a link NAME TARGET`, `a fifo NAME`, `a many FOLDER COUNT`, `a fewer FOLDER COUNT` (removes the first ones),
//! `a copyroot` (a copy takes the folder's place), `a newroot` (an empty folder does), `state lose` (the whole
//! state directory), `state empty` (the database only), `state damage`.
//!
//! What a tree must be afterwards: `NAME=TEXT`, and `FOLDER[FROM..TO]` for those of `many`. `=` is a tree that
//! the run left as it found it.
//!
//! What the run must say: `exit=N`, any count that is not 0, `bytes.KIND=N`, and `warns=`, `notes=` and
//! `refused=` with a code each; `trash.a=TEXT` is what it put into the trash. What is not said must not be there.
//!
//! The last run of a case is foreseen by a dry run, which must say the same and touch nothing; and it is
//! repeated, and must then find nothing to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::{Tree, read_tree, set_modified};

mod conflicts;
mod first_sync;
mod guards;
mod page;
mod renames;
mod state;
mod together;

/// One run: what the user did before it, its options, both trees after it, and what it says.
type Step = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// A name and the steps.
type Case = (&'static str, &'static [Step]);

/// Cases run at once: the program waits for the disk more than it computes.
const WORKERS: usize = 4;

/// Everything in a folder, its own `.syncengine` included: kind, bits, time and content.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

/// Returns everything below `root`. Links are not followed and pipes are not opened.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = if stat.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if stat.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if stat.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            found.insert(path, (stat.mode(), stat.mtime(), stat.mtime_nsec(), content));
        }
    }
    found
}

/// Does what a script says to the folders of a bench.
pub(crate) fn act(bench: &Bench, script: &str) {
    for command in script.split(';').map(str::trim).filter(|command| !command.is_empty()) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let root = bench.path(words[0]);
        let path = |at: usize| root.join(words[at]);
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        match words[1] {
            "write" => {
                fs::create_dir_all(path(2).parent().unwrap()).unwrap();
                fs::write(path(2), words[3]).unwrap();
                if words.len() > 4 {
                    set_time(&path(2), words[4]);
                }
            }
            "empty" if words.len() > 2 => fs::write(path(2), "").unwrap(),
            "rm" if path(2).is_dir() => fs::remove_dir_all(path(2)).unwrap(),
            "rm" => fs::remove_file(path(2)).unwrap(),
            "mv" => {
                fs::create_dir_all(path(3).parent().unwrap()).unwrap();
                fs::rename(path(2), path(3)).unwrap();
            }
            "touch" => set_time(&path(2), words[3]),
            "mkdir" => fs::create_dir_all(path(2)).unwrap(),
            "link" => symlink(words[3], path(2)).unwrap(),
            "fifo" => {
                rustix::fs::mknodat(rustix::fs::CWD, path(2), rustix::fs::FileType::Fifo, 0o644.into(), 0)
                    .unwrap();
            }
            "many" => {
                fs::create_dir_all(path(2)).unwrap();
                (0..number(3))
                    .for_each(|at| fs::write(path(2).join(format!("{at:03}")), text(words[2], at)).unwrap());
            }
            "fewer" => {
                (0..number(3)).for_each(|at| fs::remove_file(path(2).join(format!("{at:03}"))).unwrap());
            }
            "copyroot" => {
                let copy = bench.path("copy");
                copy_folder(&root, &copy);
                fs::rename(&root, bench.path("old")).unwrap();
                fs::rename(copy, &root).unwrap();
            }
            "newroot" => {
                fs::rename(&root, bench.path("old")).unwrap();
                fs::create_dir(&root).unwrap();
            }
            "lose" => fs::remove_dir_all(&root).unwrap(),
            "empty" => fs::remove_dir_all(database(bench)).unwrap(),
            "damage" => {
                let files =
                    snapshot(&database(bench)).into_iter().filter(|(_, (.., content))| !content.is_empty());
                for (path, (.., content)) in files {
                    fs::write(path, vec![0x5a; content.len()]).unwrap();
                }
            }
            other => panic!("no such thing: {other}"),
        }
    }
}

/// The directory of the one database in the state directory of a bench.
pub(crate) fn database(bench: &Bench) -> PathBuf {
    let found = fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = found.filter(|path| path.is_dir() && path.extension().is_none()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn set_time(path: &Path, seconds: &str) {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let nanoseconds = format!("{fraction:0<9}").parse().unwrap();
    set_modified(path, syncengine::Timestamp::new(whole.parse().unwrap(), nanoseconds));
}

/// The content of a file of `many`: no two alike.
fn text(folder: &str, at: usize) -> String {
    format!("{folder}{at:03}")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Reads the notation of trees.
pub(crate) fn tree(words: &str) -> Tree {
    let mut tree = Tree::new();
    for word in words.split_whitespace() {
        if let Some((name, content)) = word.split_once('=') {
            tree.insert(name.into(), content.into());
        } else {
            let (folder, range) = word.trim_end_matches(']').split_once('[').unwrap();
            let (from, to) = range.split_once("..").unwrap();
            for at in from.parse::<usize>().unwrap()..to.parse().unwrap() {
                tree.insert(format!("{folder}/{at:03}"), text(folder, at).into_bytes());
            }
        }
    }
    tree
}

/// The contents of a side's trash by path.
pub(crate) fn trash(bench: &Bench, side: &str) -> Tree {
    let trash = bench.path(side).join(".syncengine/trash");
    if trash.exists() { read_tree(&trash) } else { Tree::new() }
}

/// Runs `sync a b` with these options; returns the exit code and the document.
pub(crate) fn sync(bench: &Bench, options: &str) -> (i32, Value) {
    let words = ["sync", "a", "b", "--state-dir", "state"].into_iter().chain(options.split_whitespace());
    bench.json(&words.collect::<Vec<_>>())
}

/// The codes of a list of notices, sorted.
pub(crate) fn codes(report: &Value, list: &str) -> Vec<String> {
    let notices = report[list].as_array().unwrap().iter();
    let mut codes: Vec<_> = notices.map(|notice| notice["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes
}

/// What is wrong, line by line; empty if nothing is.
#[derive(Default)]
struct Wrong(String);

impl Wrong {
    #[expect(clippy::needless_pass_by_value, reason = "most of the values are made for this")]
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            writeln!(self.0, "  {what}:\n    found    {found:?}\n    expected {expected:?}").unwrap();
        }
    }
}

fn shown(tree: &Tree) -> String {
    let words = tree.iter().map(|(name, content)| format!("{name}={}", String::from_utf8_lossy(content)));
    words.collect::<Vec<_>>().join(" ")
}

/// Holds a report against what it must say.
fn compare(wrong: &mut Wrong, code: i32, report: &Value, says: &str) {
    let said = |key: &str| -> Vec<String> {
        let prefix = format!("{key}=");
        let mut all: Vec<_> = says
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect();
        all.sort();
        all
    };
    let number = |key: &str| said(key).first().map_or(0, |text| text.parse::<u64>().unwrap());
    wrong.same("exit", u64::try_from(code).unwrap(), number("exit"));
    let outcome = match code {
        0 => "synced",
        3 if !said("refused").is_empty() => "refused",
        _ => "partial",
    };
    wrong.same("outcome", report["outcome"].as_str().unwrap(), outcome);
    if outcome != "refused" {
        for (count, value) in report["counts"].as_object().unwrap() {
            wrong.same(count, value.as_u64().unwrap(), number(count));
        }
    }
    for (kind, value) in report["bytes"].as_object().unwrap() {
        if !said(&format!("bytes.{kind}")).is_empty() {
            wrong.same(kind, value.as_u64().unwrap(), number(&format!("bytes.{kind}")));
        }
    }
    for (list, key) in [("warnings", "warns"), ("notes", "notes"), ("refused_by", "refused")] {
        wrong.same(list, codes(report, list), said(key));
    }
    for notice in report["refused_by"].as_array().unwrap() {
        wrong.same("a hint", notice["hint"].as_str().unwrap_or_default().is_empty(), false);
        wrong.same("lines", notice["message"].as_str().unwrap().lines().count(), 1);
    }
}

/// Looks at what a run would do: it must change nothing anywhere and say what the run then does.
fn foresee(bench: &Bench, options: &str) -> (Value, bool) {
    let before = bench.snapshot();
    let (_, report) = sync(bench, &format!("{options} --dry-run"));
    (report, bench.snapshot() == before)
}

fn run_step(bench: &Bench, (script, options, a, b, says): &Step, last: bool) -> String {
    act(bench, script);
    let foreseen = last.then(|| foresee(bench, options));
    let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    let discarded = [trash(bench, "a"), trash(bench, "b")];
    let (code, report) = sync(bench, options);
    let mut wrong = Wrong::default();
    compare(&mut wrong, code, &report, says);
    if let Some((plan, untouched)) = foreseen {
        wrong.same("a dry run touches nothing", untouched, true);
        wrong.same("codes of the dry run", codes(&plan, "refused_by"), codes(&report, "refused_by"));
        if codes(&report, "refused_by").is_empty() {
            wrong.same("counts of the dry run", &plan["counts"], &report["counts"]);
            wrong.same("bytes of the dry run", &plan["bytes"], &report["bytes"]);
        }
    }
    for (index, (side, expected)) in [("a", a), ("b", b)].into_iter().enumerate() {
        let files = read_tree(&bench.path(side));
        if *expected == "=" {
            let mut now = snapshot(&bench.path(side));
            let mut then = before[index].clone();
            if !says.contains("refused=") {
                // A marker and the trash are ours to write.
                let ours = |path: &PathBuf| path.starts_with(bench.path(side).join(".syncengine"));
                now.retain(|path, _| !ours(path));
                then.retain(|path, _| !ours(path));
            }
            if now != then {
                wrong.same(&format!("{side}, left alone"), shown(&files), "what it was".into());
            }
        } else {
            wrong.same(side, shown(&files), shown(&tree(expected)));
        }
        let prefix = format!("trash.{side}=");
        let mut expected: Vec<_> =
            says.split_whitespace().filter_map(|word| word.strip_prefix(&prefix)).collect();
        let now = trash(bench, side);
        let new = now.iter().filter(|(name, _)| !discarded[index].contains_key(*name));
        let mut new: Vec<_> = new.map(|(_, content)| String::from_utf8_lossy(content).into_owned()).collect();
        new.sort();
        if let ["*"] = expected.as_slice() {
            wrong.same("something in the trash", new.is_empty(), false);
        } else {
            expected.sort_unstable();
            wrong.same(&format!("trash of {side}"), new, expected.into_iter().map(str::to_owned).collect());
        }
    }
    if wrong.0.is_empty() {
        return String::new();
    }
    format!("  step `{script}` with `{options}`\n{}  report {report}\n", wrong.0)
}

/// Repeats the last run of a case.
fn run_again(bench: &Bench, options: &str) -> String {
    let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    let (code, report) = sync(bench, options);
    let mut wrong = Wrong::default();
    if !report["refused_by"].as_array().unwrap().is_empty() {
        return format!("  the second run is refused: {report}\n");
    }
    for (count, value) in report["counts"].as_object().unwrap() {
        let idle =
            matches!(count.as_str(), "unchanged" | "left_alone" | "skipped" | "conflicts" | "unresolved");
        if !idle {
            wrong.same(&format!("{count} of the second run"), value.as_u64().unwrap(), 0);
        }
    }
    let waiting = report["counts"]["unresolved"].as_u64().unwrap();
    wrong.same("conflicts of the second run", report["counts"]["conflicts"].as_u64().unwrap(), waiting);
    wrong.same("exit of the second run", code, if waiting > 0 { 3 } else { 0 });
    let after = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    wrong.same("nothing is touched by the second run", before == after, true);
    if wrong.0.is_empty() { String::new() } else { format!("{}  report {report}\n", wrong.0) }
}

fn run_case((name, steps): &Case) -> String {
    let bench = Bench::new();
    let mut wrong = String::new();
    for (index, step) in steps.iter().enumerate() {
        wrong += &run_step(&bench, step, index + 1 == steps.len());
        if !wrong.is_empty() {
            return format!("{name}\n{wrong}");
        }
    }
    if !steps[steps.len() - 1].4.contains("refused=") {
        // What is allowed is allowed for one run.
        let options = steps[steps.len() - 1].1;
        let options: Vec<_> = options
            .split_whitespace()
            .filter(|word| !word.starts_with("--allow-") && *word != "--accept-root")
            .collect();
        wrong += &run_again(&bench, &options.join(" "));
    }
    if wrong.is_empty() { wrong } else { format!("{name}\n{wrong}") }
}

#[test]
fn every_row_of_every_table() {
    let page: Vec<Case> = page::cases();
    let tables = [
        page.as_slice(),
        first_sync::CASES,
        conflicts::CASES,
        conflicts::LATER,
        guards::CASES,
        state::CASES,
        renames::CASES,
    ];
    let cases: Vec<&Case> = tables.into_iter().flatten().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = String::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong += &run_case(case);
        }
        wrong
    };
    let wrong: String = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    println!("ci: scenarios {}", cases.len());
    assert!(wrong.is_empty(), "{wrong}");
}
