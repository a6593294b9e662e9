//! Things of another kind in the place of what is synced, or of what is ours.

use std::fs;

use super::one_failure;
use crate::scenarios::{act, snapshot, sync};
use crate::support::bench::Bench;

/// Something that is not synced, as it is put in the place of a name.
const KINDS: [(&str, &str); 3] =
    [("link", "a symbolic link"), ("dangling", "a symbolic link"), ("fifo", "a special file")];

fn put(bench: &Bench, side: &str, kind: &str, name: &str) {
    act(
        bench,
        &match kind {
            "link" => format!("{side} link {name} ../outside"),
            "dangling" => format!("{side} link {name} nowhere"),
            _ => format!("{side} fifo {name}"),
        },
    );
}

/// What an obstacle in the place of `name` must come to: a failure everywhere, and nothing touched.
fn fails(bench: &Bench, options: &str, name: &str, what: &str) {
    let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    let (code, report) = sync(bench, options);
    assert_eq!(code, 1, "{report}");
    one_failure(&report, name);
    let error = report["failures"][0]["error"].as_str().unwrap();
    assert!(error.contains("name collision") && error.contains(what), "{report}");
    let now = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    let of_user = |all: &crate::scenarios::Snapshot| {
        let mut all = all.clone();
        all.retain(|path, _| !path.components().any(|part| part.as_os_str() == ".syncengine"));
        all
    };
    assert_eq!(now.each_ref().map(of_user), before.each_ref().map(of_user));
    let (code, plan) = sync(bench, &format!("{options} --dry-run"));
    assert_eq!((code, &plan["failures"], &plan["counts"]), (0, &report["failures"], &report["counts"]));
    let words = ["status", "a", "b", "--state-dir", "state"];
    let words: Vec<_> = words.into_iter().chain(options.split_whitespace()).collect();
    let (code, status) = bench.json(&words);
    assert_eq!((code, &status["failures"]), (1, &report["failures"]), "{status}");
    let shown = bench.run(&words).stdout;
    assert!(shown.contains("1 path cannot be synced"), "{shown}");
}

#[test]
fn what_is_not_synced_in_the_place_of_a_file_fails_and_hides_no_edit() {
    for (mode, kinds) in [("tw", KINDS.as_slice()), ("std", &KINDS[..1]), ("db", &KINDS[2..])] {
        let options = format!("--mode {mode}");
        for (kind, what) in kinds {
            for (side, other) in [("a", "b"), ("b", "a")] {
                let bench = Bench::new();
                bench.write("outside", "outside");
                act(&bench, "a write f first; a write d/x dx; a write keep keep; b write keep keep");
                act(&bench, "b write f first; b write d/x dx");
                assert_eq!(sync(&bench, &options).0, 0);
                // In the place of a file of the base, of the other side's edit, and of nothing.
                act(&bench, &format!("{side} rm f"));
                put(&bench, side, kind, "f");
                fails(&bench, &options, "f", what);
                act(&bench, &format!("{other} write f edited"));
                fails(&bench, &options, "f", what);
                act(&bench, &format!("{side} rm f; {side} write f first; {other} write f first"));
                act(&bench, &format!("{side} rm d"));
                put(&bench, side, kind, "d");
                sync(&bench, &options);
                fails(&bench, &options, "d", what);
                assert_eq!(bench.read("outside"), "outside");
            }
        }
    }
}

#[test]
fn what_is_not_synced_in_the_place_of_nothing_is_skipped() {
    for (kind, _) in KINDS {
        let bench = Bench::new();
        act(&bench, "a write f first; a write d/x dx; b write x/out.log log");
        put(&bench, "a", kind, "d/y");
        put(&bench, "a", kind, "d-x");
        // What is excluded is nothing that is synced.
        put(&bench, "a", kind, "x");
        let (code, report) = sync(&bench, "--exclude *.log");
        assert_eq!((code, &report["counts"]["skipped"]), (0, &3.into()), "{report}");
        let words = ["status", "a", "b", "--state-dir", "state", "--exclude", "*.log"];
        assert!(bench.run(&words).stdout.contains("nothing pending: 2 files"), "{kind}");
        assert_eq!(bench.run(&words).code, 0, "{kind}");
    }
}

#[test]
fn rules_that_are_no_file_end_the_run_before_it_deletes_what_they_excluded() {
    for spoil in [
        "a link .syncignore rules",
        "a link .syncignore nowhere",
        "a fifo .syncignore",
        "a mkdir .syncignore",
    ] {
        let bench = Bench::new();
        act(&bench, "a write .syncignore *.log; a write rules *.log; a write f first; a write x.log log");
        act(&bench, "b write x.log theirs; b write y.log theirs");
        assert_eq!(sync(&bench, "--mode std").0, 0);
        act(&bench, "a rm .syncignore");
        act(&bench, spoil);
        let before = snapshot(&bench.path("b"));
        for command in ["sync", "plan", "status", "check"] {
            let state = ["--state-dir", "state"];
            let mode: &[&str] = if command == "check" { &[] } else { &["--mode", "std"] };
            let (code, report) = bench.json(&[&[command, "a", "b"], state.as_slice(), mode].concat());
            assert_eq!(code, 4, "{spoil}, {command}: {report}");
            let error = &report["error"];
            assert!(
                error["message"].as_str().unwrap().contains("`.syncignore`: it is not a regular file"),
                "{report}"
            );
            assert!(error["hint"].as_str().unwrap().contains("put a file of rules in its place"), "{report}");
        }
        assert_eq!(snapshot(&bench.path("b")), before, "{spoil}");
    }
    // They count on either side.
    let bench = Bench::new();
    act(&bench, "a write f first; b link .syncignore nowhere");
    let (code, report) = sync(&bench, "");
    assert_eq!((code, bench.has("b/f")), (4, false), "{report}");
}

#[test]
fn junk_among_the_intents_is_named_with_its_whole_path() {
    let bench = Bench::new();
    act(&bench, "a write f first; b mkdir .syncengine/intents/junk");
    for command in ["sync", "plan"] {
        let (code, report) = bench.json(&[command, "a", "b", "--state-dir", "state"]);
        assert_eq!(code, 4, "{report}");
        let hint = report["error"]["hint"].as_str().unwrap();
        let junk = fs::canonicalize(bench.path("b/.syncengine/intents/junk")).unwrap();
        assert!(hint.contains(&format!("remove `{}`", junk.display())), "{report}");
    }
    fs::remove_dir(bench.path("b/.syncengine/intents/junk")).unwrap();
    assert_eq!(sync(&bench, "").0, 0);
}

#[test]
fn what_is_no_state_is_exit_4_with_a_hint() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    bench.write("file", "no folder");
    for command in ["sync", "plan", "status"] {
        for dir in ["file", "file/below"] {
            let (code, report) = bench.json(&[command, "a", "b", "--state-dir", dir]);
            assert_eq!(code, 4, "{command} {dir}: {report}");
            assert!(report["error"]["hint"].as_str().unwrap().contains("--state-dir"), "{report}");
        }
    }
    assert_eq!(sync(&bench, "").0, 0);
    let lock = fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let lock = lock.filter(|path| path.extension().is_some_and(|end| end == "lock")).last().unwrap();
    let name = format!("state/{}", lock.file_name().unwrap().to_str().unwrap());
    for kind in ["mkdir", "fifo"] {
        fs::remove_file(&lock).unwrap_or_else(|_| fs::remove_dir(&lock).unwrap());
        act(&bench, &format!(". {kind} {name}"));
        for command in ["sync", "plan"] {
            let (code, report) = bench.json(&[command, "a", "b", "--state-dir", "state"]);
            assert_eq!(code, 4, "{command} {kind}: {report}");
            assert!(report["error"]["hint"].as_str().unwrap().contains("move it away"), "{report}");
        }
    }
    let (code, report) = bench.json(&["apply", "nope.json"]);
    assert_eq!(code, 2, "{report}");
    assert!(report["error"]["hint"].as_str().unwrap().contains("--save"), "{report}");
    let (code, done) = bench.json(&["state", "forget", "a", "nowhere"]);
    assert_eq!((code, &done["warnings"]), (0, &serde_json::json!([])), "{done}");
}
