//! Words as people type them, and places that are not what they are called.

use std::fs;
use std::process::Command;

use super::{notices, shown, sync, write};
use crate::local::skip;
use crate::support::bench::Bench;
use crate::support::fuse::in_own_mounts;

#[test]
fn trees_in_each_other_are_told_by_what_they_are_and_not_by_their_names() {
    if !in_own_mounts(
        "evidence::traps::trees_in_each_other_are_told_by_what_they_are_and_not_by_their_names",
        skip,
    ) {
        return;
    }
    let bench = Bench::new();
    write(&bench.path("a"), "f=1 sub/g=2 sub/deep/h=3");
    let bind = |from: &str, to: &str| {
        fs::create_dir(bench.path(to)).unwrap();
        let done =
            Command::new("mount").arg("--bind").args([bench.path(from), bench.path(to)]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    bind("a", "same");
    bind("a/sub", "inner");
    bind("a/sub/deep", "deepest");
    let before = shown(&bench.path("a"));
    for (source, destination) in [
        ("a", "same"),
        ("same", "a"),
        ("a", "inner"),
        ("inner", "a"),
        ("deepest", "a"),
        ("a", "deepest"),
        ("inner", "deepest"),
        ("a", "inner/new"),
    ] {
        for mode in ["twoWay", "sourceToDestination", "destinationBackup"] {
            let options = ["--mode", mode, "--create"];
            let (code, report) = sync(&bench, &bench.path(source), &bench.path(destination), &options);
            // In a mode in which nothing is read where nothing is yet, it is missing.
            assert_eq!(code, 2, "{source} {destination} {mode}: {report}");
            assert_eq!(shown(&bench.path("a")), before, "{source} {destination} {mode}");
        }
        assert!(!bench.has("a/.syncengine/pairs"), "{source} {destination}");
        let words = ["check", source, destination, "--output", "json"];
        assert_eq!(bench.run(&words).code, 2, "check {source} {destination}");
    }
    // Beside each other is fine, whatever the mounts.
    write(&bench.path("b"), "x=1");
    assert_eq!(sync(&bench, &bench.path("inner"), &bench.path("b"), &[]).0, 0);
}

#[test]
fn what_was_mistyped_is_refused_with_what_was_meant() {
    let bench = Bench::new();
    write(&bench.path("a"), "build/x.o=1 s.c=2");
    let root = bench.path("a").canonicalize().unwrap();
    let whole = format!("{}/build", root.display());
    let relative = format!("./{}", "build");
    for (words, meant) in [
        (vec!["sync", "~/docs", "b"], "$HOME/docs"),
        (vec!["sync", "a", "~/out", "--create"], "$HOME/out"),
        (vec!["sync", "a", "~", "--create"], "$HOME"),
        (vec!["sync", "a", "b", "--state-dir", "~/state"], "$HOME/state"),
        (vec!["sync", "a", "b", "--ignore-file", "~/rules"], "$HOME/rules"),
        (vec!["plan", "a", "b", "--save", "~/plan"], "$HOME/plan"),
        (vec!["sync", "a", "s3:bucket/x"], "s3://bucket/x"),
        (vec!["sync", "a", "S3://bucket/x"], "s3://bucket/x"),
        (vec!["sync", "a", "embedded:vault"], "embedded://vault"),
        (vec!["sync", "a", "b", "--exclude", "./build"], "`/build`"),
        (vec!["sync", "a", "b", "--exclude", &relative], "`/build`"),
        (vec!["sync", "a", "b", "--exclude", &whole], "`/build`"),
        (vec!["sync", "a", "b", "--include", "./build/"], "`!/build/`"),
        (vec!["check", "a", "b", "--exclude", "./build"], "`/build`"),
        (vec!["status", "a", "b", "--exclude", "../build"], ".gitignore"),
        (vec!["sync", "a/.syncengine", "b", "--create"], "sync the folder it is in"),
        (vec!["sync", "a", "b/.syncengine/trash/x", "--create"], "sync the folder it is in"),
    ] {
        let words = [&words[..], &["--output", "json"]].concat();
        let ran = bench.run(&words);
        let hint = ran.document()["error"]["hint"].as_str().unwrap().to_owned();
        assert!(ran.code == 2 && hint.contains(meant), "{words:?}: {ran:?}");
        assert!(!bench.has("~") && shown(&bench.path("b")).is_empty(), "{words:?}");
    }
    // Folders that do have such names can be named.
    fs::create_dir(bench.path("~")).unwrap();
    write(&bench.path("~"), "x=1");
    assert_eq!(bench.run(&["sync", "./~", "b", "--state-dir", "state"]).code, 0);
    fs::write(bench.path("rules"), "./build\n").unwrap();
    let ran = bench.run(&["sync", "a", "b", "--ignore-file", "rules", "--state-dir", "state"]);
    assert!(ran.code == 2 && ran.stderr.contains("`/build`"), "{ran:?}");
}

#[test]
fn a_source_that_is_missing_is_not_offered_to_be_made() {
    let bench = Bench::new();
    for (words, offers) in [
        (["sync", "aa", "b", "twoWay"], false),
        (["sync", "a", "bb", "twoWay"], true),
        (["sync", "aa", "b", "destinationToSource"], false),
        (["sync", "aa", "b", "sourceToDestination"], false),
        (["sync", "a", "bb", "sourceToDestination"], true),
    ] {
        let ran = bench.run(&[words[0], words[1], words[2], "--mode", words[3], "--state-dir", "state"]);
        assert!(ran.code == 2 && ran.stderr.contains("does not exist"), "{words:?}: {ran:?}");
        assert_eq!(ran.stderr.contains("--create"), offers, "{words:?}: {ran:?}");
    }
}

#[test]
fn a_plan_beside_a_run_does_not_say_that_there_is_nothing_to_do() {
    let bench = Bench::new();
    write(&bench.path("a"), "f=1");
    assert_eq!(bench.run(&["sync", "a", "b", "--state-dir", "state"]).code, 0);
    write(&bench.path("a"), "g=2");
    // What a run that is going on holds.
    let lock = fs::read_dir(bench.path("state")).unwrap().map(|item| item.unwrap().path());
    let lock = lock.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "lock")).unwrap();
    let held = fs::File::options().write(true).open(lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = bench.run(&["plan", "a", "b", "--state-dir", "state"]);
    assert!(ran.code == 3 && !ran.stdout.contains("nothing to do"), "{ran:?}");
    assert!(ran.stdout.contains("no plan was made") && ran.stderr.contains("refused"), "{ran:?}");
    drop(held);
    let ran = bench.run(&["plan", "a", "b", "--state-dir", "state"]);
    assert!(ran.code == 0 && ran.stdout.contains("upload"), "{ran:?}");
}

/// A package of Python with many empty files, renamed: nothing of it is a deletion to ask about.
#[test]
fn empty_files_of_a_renamed_folder_do_not_count_as_deletions() {
    let bench = Bench::new();
    let empty: Vec<_> = (0..26).map(|number| format!("pkg/m{number}/__init__.py=")).collect();
    write(&bench.path("a"), &format!("{} pkg/code=1", empty.join(" ")));
    for mode in ["twoWay", "sourceToDestination"] {
        let sides = (bench.path("a"), bench.path("b"));
        assert_eq!(sync(&bench, &sides.0, &sides.1, &["--mode", mode, "--allow-mass-delete"]).0, 0);
        let (old, new) = if bench.has("a/pkg") { ("a/pkg", "a/package") } else { ("a/package", "a/pkg") };
        fs::rename(bench.path(old), bench.path(new)).unwrap();
        let (code, report) = sync(&bench, &sides.0, &sides.1, &["--mode", mode]);
        assert_eq!((code, shown(&sides.1)), (0, shown(&sides.0)), "{mode}: {report}");
    }
    // Without anything in their place they are.
    fs::remove_dir_all(bench.path("a/pkg")).unwrap();
    write(&bench.path("a"), "other=1");
    let (code, report) = sync(&bench, &bench.path("a"), &bench.path("b"), &["--mode", "sourceToDestination"]);
    assert!(code == 3 && notices(&report, "refused_by").contains_key("max-delete"), "{report}");
}
