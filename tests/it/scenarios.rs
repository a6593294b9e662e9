//! What a sync does, end to end: the real binary on real folders and stores, scenario by scenario.
//!
//! The same cases run wherever the two sides may be; `settings.rs` says where.
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

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::{Tree, read_tree};

mod conflicts;
mod first_sync;
mod guards;
mod page;
mod place;
mod renames;
mod settings;
mod state;
mod together;

#[cfg(feature = "embedded")]
pub(crate) use place::act_with_bucket;
pub(crate) use place::{Snapshot, act, database, snapshot};
use place::{files, is_ours, text};
use settings::Ground;

/// One run: what the user did before it, its options, both trees after it, and what it says.
type Step = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// A name and the steps.
type Case = (&'static str, &'static [Step]);

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
fn compare(wrong: &mut Wrong, code: i32, report: &Value, says: &str, in_one_store: bool) {
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
    // A store that ignores a condition is told of, by whatever it is that needs the condition.
    let ignores = report["conditions"].as_object().unwrap().values().any(|honoured| honoured == false);
    for kind in report["bytes"].as_object().unwrap().keys() {
        let key = format!("bytes.{kind}");
        if !said(&key).is_empty() {
            // What passes from one side to the other within a store, the store copies, if it honours conditions of copies.
            let by_store = in_one_store && number(&key) > 0;
            let passes = ignores && report["bytes"]["copied_server_side"] == 0;
            let at = if by_store && !passes { "copied_server_side" } else { kind };
            wrong.same(at, report["bytes"][at].as_u64().unwrap(), number(&key));
        }
    }
    for (list, key) in [("warnings", "warns"), ("notes", "notes"), ("refused_by", "refused")] {
        let mut found = codes(report, list);
        found.retain(|code| !ignores || code != "weak-conditions");
        // In a bucket that keeps versions it is said where they are.
        found.retain(|code| code != "old-versions");
        wrong.same(list, found, said(key));
    }
    for notice in report["refused_by"].as_array().unwrap() {
        wrong.same("a hint", notice["hint"].as_str().unwrap_or_default().is_empty(), false);
        wrong.same("lines", notice["message"].as_str().unwrap().lines().count(), 1);
    }
}

/// Looks at what a run would do: it must change nothing anywhere and say what the run then does.
fn foresee(ground: &Ground, options: &str) -> (Value, bool) {
    let before = (ground.bench.snapshot(), ground.look());
    let (_, report) = ground.sync(&format!("{options} --dry-run"));
    (report, (ground.bench.snapshot(), ground.look()) == before)
}

fn run_step(ground: &Ground, (script, options, a, b, says): &Step, last: bool) -> String {
    ground.act(script);
    let foreseen = last.then(|| foresee(ground, options));
    let before = ground.look();
    let (code, report) = ground.sync(options);
    let after = ground.look();
    let mut wrong = Wrong::default();
    compare(&mut wrong, code, &report, says, ground.is_one_store());
    if let Some((plan, untouched)) = foreseen {
        wrong.same("a dry run touches nothing", untouched, true);
        wrong.same("codes of the dry run", codes(&plan, "refused_by"), codes(&report, "refused_by"));
        if codes(&report, "refused_by").is_empty() {
            wrong.same("counts of the dry run", &plan["counts"], &report["counts"]);
            wrong.same("bytes of the dry run", &plan["bytes"], &report["bytes"]);
        }
    }
    for (index, (side, expected)) in [("a", a), ("b", b)].into_iter().enumerate() {
        look_at(&mut wrong, side, [&before[index], &after[index]], expected, says);
    }
    if wrong.0.is_empty() {
        return String::new();
    }
    format!("  step `{script}` with `{options}`\n{}  report {report}\n", wrong.0)
}

/// Holds what is on a side after a run against what must be there, and what is new in its trash.
fn look_at(wrong: &mut Wrong, side: &str, [before, after]: [&Snapshot; 2], expected: &str, says: &str) {
    if expected == "=" {
        let (mut then, mut now) = (before.clone(), after.clone());
        if !says.contains("refused=") {
            // A marker and the trash are ours to write.
            now.retain(|path, _| !is_ours(path));
            then.retain(|path, _| !is_ours(path));
        }
        if now != then {
            wrong.same(&format!("{side}, left alone"), shown(&files(after)), "what it was".into());
        }
    } else {
        wrong.same(side, shown(&files(after)), shown(&tree(expected)));
    }
    let prefix = format!("trash.{side}=");
    let mut expected: Vec<_> =
        says.split_whitespace().filter_map(|word| word.strip_prefix(&prefix)).collect();
    let discarded = place::trash(before);
    let now = place::trash(after).into_iter();
    let new = now.filter(|(name, _)| !discarded.contains_key(name));
    let new = new.map(|(name, content)| (name, String::from_utf8_lossy(&content).into_owned()));
    // A bucket that keeps versions keeps the one that had the old name of what is renamed.
    let live = files(after);
    let is_renamed = |name: &str, text: &str| {
        let lives = || live.values().any(|content| content == text.as_bytes());
        name.starts_with("versions/") && !expected.contains(&text) && lives()
    };
    let new = new.filter(|(name, text)| !is_renamed(name, text));
    let mut new: Vec<_> = new.map(|(_, text)| text).collect();
    new.sort();
    if let ["*"] = expected.as_slice() {
        wrong.same("something in the trash", new.is_empty(), false);
    } else {
        expected.sort_unstable();
        wrong.same(&format!("trash of {side}"), new, expected.into_iter().map(str::to_owned).collect());
    }
}

/// Repeats the last run of a case.
fn run_again(ground: &Ground, options: &str) -> String {
    let before = ground.look();
    let (code, report) = ground.sync(options);
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
    for (kind, value) in report["requests"].as_object().unwrap() {
        // Stores are listed, and asked for the times of what is judged again; nothing else.
        let judged_again = waiting > 0 || options.contains("mtime-only");
        let asked = ground.has_stores() && (kind == "list" || kind == "head" && judged_again);
        if !asked {
            wrong.same(&format!("requests of the second run: {kind}"), value.as_u64().unwrap(), 0);
        }
    }
    wrong.same("nothing is touched by the second run", before == ground.look(), true);
    if wrong.0.is_empty() { String::new() } else { format!("{}  report {report}\n", wrong.0) }
}

fn run_case(ground: &Ground, (name, steps): &Case) -> String {
    let mut wrong = String::new();
    for (index, step) in steps.iter().enumerate() {
        wrong += &run_step(ground, step, index + 1 == steps.len());
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
        wrong += &run_again(ground, &options.join(" "));
    }
    if wrong.is_empty() { wrong } else { format!("{name}\n{wrong}") }
}

/// Returns every row of every table.
fn cases() -> Vec<Case> {
    let tables =
        [first_sync::CASES, conflicts::CASES, conflicts::LATER, guards::CASES, state::CASES, renames::CASES];
    page::cases().into_iter().chain(tables.into_iter().flatten().copied()).collect()
}
