//! Runs that come to an end: nothing is tried in vain for ever, and what is quiet is left alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{failed, notices, sync, write};
use crate::local::skip;
use crate::support::bench::Bench;
use crate::support::fuse::{Disk, in_own_mounts, plain};
use crate::support::stick::Stick;

fn set_times(path: &Path, seconds_from_now: i64) {
    let times = format!("@{}", now() + seconds_from_now);
    let done = Command::new("touch").args(["-d", &times]).arg(path).status();
    assert!(done.unwrap().success());
}

#[expect(clippy::disallowed_methods, reason = "files carry the time")]
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// Returns how many bytes a run has read from files, as the kernel counts them, beyond what one that has nothing to do needs.
fn bytes_read(bench: &Bench, words: &[&str]) -> (u64, Value) {
    let trace = bench.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=read,pread64", "-o", trace.to_str().unwrap(), "--"]);
    let program = bench.command(words);
    command.arg(program.get_program()).args(program.get_args()).current_dir(bench.dir.path());
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    let lines = fs::read_to_string(trace).unwrap();
    let of_trees = lines.lines().filter(|line| line.contains("/quiet/"));
    let bytes = of_trees.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok());
    (bytes.sum(), report)
}

#[cfg(all(feature = "s3", feature = "embedded"))]
#[test]
fn a_key_as_long_as_a_store_takes_can_be_replaced_and_deleted() {
    let bench = Bench::new();
    let folder = vec!["d".repeat(240); 4].join("/");
    let names =
        [format!("{folder}/{}", "n".repeat(40)), format!("{folder}/{}", "é".repeat(29)), "short".to_owned()];
    let words = [
        "sync",
        "a",
        "embedded://vault",
        "--embedded-dir",
        "objects",
        "--state-dir",
        "state",
        "--allow-mass-delete",
    ];
    for content in ["one", "two, longer", "three"] {
        for name in &names {
            bench.write(&format!("a/{name}"), content);
        }
        let (code, report) = bench.json(&words);
        assert_eq!((code, failed(&report)), (0, Vec::new()), "{content}: {report}");
    }
    fs::remove_dir_all(bench.path("a").join("d".repeat(240))).unwrap();
    let (code, report) = bench.json(&words);
    assert_eq!((code, &report["counts"]["deleted_destination"]), (0, &2.into()), "{report}");
    assert_eq!(bench.json(&words).1["counts"]["unchanged"], 1);
}

#[test]
fn quiet_files_whose_inode_numbers_are_forgotten_are_quiet() {
    let test = "evidence::convergence::quiet_files_whose_inode_numbers_are_forgotten_are_quiet";
    if !in_own_mounts(test, skip) {
        return;
    }
    for mode in ["twoWay", "sourceToDestination", "destinationToSource"] {
        let (bench, disk) = (Bench::new(), Disk::new(plain, plain).mount());
        let (here, there) = (bench.path("a"), disk.folder("tree"));
        let files = (0..40).map(|number| format!("d{}/f{number}={number}", number % 4)).collect::<Vec<_>>();
        disk.disk().faults.forgets = true;
        write(if mode == "sourceToDestination" { &there } else { &here }, &files.join(" "));
        let sides = if mode == "sourceToDestination" { [&there, &here] } else { [&here, &there] };
        let way = if mode == "destinationToSource" { "twoWay" } else { mode };
        for run in 0..3 {
            let (code, report) = sync(&bench, sides[0], sides[1], &["--mode", way]);
            assert_eq!((code, failed(&report)), (0, Vec::new()), "{mode} {run}: {report}");
            let unchanged = if run == 0 { 0 } else { 40 };
            assert_eq!(report["counts"]["unchanged"], unchanged, "{mode} {run}: {report}");
        }
        // An edit is seen all the same.
        write(sides[0], "d0/f0=edited");
        let (code, report) = sync(&bench, sides[0], sides[1], &["--mode", way]);
        assert_eq!((code, &report["counts"]["uploaded"]), (0, &1.into()), "{mode}: {report}");
    }
}

#[test]
fn a_stick_that_was_taken_out_and_put_in_is_not_read_again() {
    if !in_own_mounts("evidence::convergence::a_stick_that_was_taken_out_and_put_in_is_not_read_again", skip)
    {
        return;
    }
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("strace shows what is read");
    }
    for kind in Stick::KINDS {
        let Some(mut stick) = Stick::new(kind, skip) else { continue };
        let bench = Bench::new();
        let there = stick.path.join("quiet");
        fs::create_dir(&there).unwrap();
        let content = "x".repeat(1000);
        write(&bench.path("a"), &format!("f={content} d/g={content} d/h={content}"));
        // A camera without a clock, and one that is ahead.
        set_times(&bench.path("a/f"), 400 * 24 * 3600);
        set_times(&bench.path("a/d/g"), -1_000_000_000);
        assert_eq!(sync(&bench, &bench.path("a"), &there, &[]).0, 0);
        // The stamps of this stick are whole seconds or two: until they prove something it is read.
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(sync(&bench, &bench.path("a"), &there, &[]).0, 0);
        stick.replug();
        let words = ["sync", "a", there.to_str().unwrap(), "--state-dir", "state", "--output", "json"];
        let (bytes, report) = bytes_read(&bench, &words);
        assert_eq!((bytes, &report["counts"]["unchanged"]), (0, &3.into()), "{kind}: {report}");
    }
}

#[test]
fn a_file_from_the_future_is_read_once() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("strace shows what is read");
    }
    let bench = Bench::new();
    fs::create_dir(bench.path("a/quiet")).unwrap();
    write(&bench.path("a"), &format!("quiet/f={}", "x".repeat(1000)));
    set_times(&bench.path("a/quiet/f"), 400 * 24 * 3600);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let words = ["sync", "a", "b", "--state-dir", "state", "--output", "json"];
    assert!(bytes_read(&bench, &words).0 >= 1000, "the trace shows what is read");
    let (bytes, report) = bytes_read(&bench, &words);
    assert_eq!((bytes, &report["counts"]["unchanged"]), (0, &1.into()), "{report}");
}

/// A small disk of its own, in a mount namespace of its own.
fn small_disk(bench: &Bench) -> std::path::PathBuf {
    let path = bench.path("small");
    fs::create_dir(&path).unwrap();
    let done =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=9m", "small"]).arg(&path).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    fs::create_dir(path.join("tree")).unwrap();
    path.join("tree")
}

fn fill(path: &Path, byte: u8, mebibytes: usize) {
    fs::write(path, vec![byte; mebibytes << 20]).unwrap();
}

#[test]
fn a_disk_that_the_trash_has_filled_is_told_of_and_recovers() {
    if !in_own_mounts("evidence::convergence::a_disk_that_the_trash_has_filled_is_told_of_and_recovers", skip)
    {
        return;
    }
    let bench = Bench::new();
    let there = small_disk(&bench);
    let mut last = (0, Value::Null);
    for day in 1..7 {
        fill(&bench.path("a/db"), day, 2);
        last = sync(&bench, &bench.path("a"), &there, &[]);
    }
    let (code, report) = &last;
    let hint = report["failures"][0]["hint"].as_str().unwrap();
    assert_eq!(*code, 1, "{report}");
    assert_eq!(report["failures"][0]["code"], "no-space");
    let trash = there.join(".syncengine/trash");
    assert!(hint.contains(trash.to_str().unwrap()) && hint.contains("6.0 MiB"), "{hint}");
    assert!(hint.contains("--trash-max"), "{hint}");
    // With a bound the oldest goes first, at the beginning of a run.
    for day in 10..16 {
        fill(&bench.path("a/db"), day, 2);
        let (code, report) = sync(&bench, &bench.path("a"), &there, &["--trash-max", "3M"]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(fs::read(there.join("db")).unwrap()[0], day);
        assert!(fs::read_dir(&trash).unwrap().count() <= 2);
    }
}

#[test]
fn after_the_first_file_without_room_no_other_new_one_is_tried() {
    if !in_own_mounts(
        "evidence::convergence::after_the_first_file_without_room_no_other_new_one_is_tried",
        skip,
    ) {
        return;
    }
    let bench = Bench::new();
    let there = small_disk(&bench);
    write(&bench.path("a"), "edited=1");
    assert_eq!(sync(&bench, &bench.path("a"), &there, &[]).0, 0);
    write(&bench.path("a"), "edited=2");
    for number in 0..30 {
        fill(&bench.path(&format!("a/large{number:02}")), 7, 4);
    }
    let (code, report) = sync(&bench, &bench.path("a"), &there, &["--transfers", "2"]);
    let failed = failed(&report);
    assert!(code == 1 && failed.iter().all(|(_, code)| code == "no-space"), "{report}");
    let untried = report["failures"].as_array().unwrap().iter();
    let untried =
        untried.filter(|failure| failure["error"].as_str().unwrap().contains("was not tried")).count();
    assert!(untried >= 20, "{untried} of {}", failed.len());
    assert_eq!(fs::read_to_string(there.join("edited")).unwrap(), "2", "what replaces a file is tried");
    assert!(notices(&report, "warnings").is_empty(), "{report}");
}

/// With `--trash off` too: what is exchanged for a new version can be an edit that nobody has seen.
#[test]
fn what_comes_out_of_an_exchange_has_no_name_that_a_later_run_removes() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("strace kills at a system call");
    }
    let mut aside = 0;
    for call in 1..=8 {
        let bench = Bench::new();
        bench.write("b/d/f", "may be an edit");
        bench.write("a/d/f", "new, and longer than that");
        let words = "sync a b --mode sourceBackup --trash off --allow-unseen --state-dir state";
        let program = bench.command(&words.split(' ').collect::<Vec<_>>());
        let mut command = Command::new("strace");
        let inject = format!("inject=unlinkat:signal=SIGKILL:when={call}");
        command.args([
            "-f",
            "-o",
            bench.path("trace").to_str().unwrap(),
            "-e",
            "trace=unlinkat",
            "-e",
            &inject,
        ]);
        command.arg("--").arg(program.get_program()).args(program.get_args()).current_dir(bench.dir.path());
        command.output().unwrap();
        for item in fs::read_dir(bench.path("b/d")).unwrap() {
            let (name, path) =
                item.map(|item| (item.file_name().into_string().unwrap(), item.path())).unwrap();
            let is_old = fs::read(path).unwrap() == b"may be an edit";
            assert!(!(is_old && !name.contains(".kept-") && name != "f"), "killed at call {call}: `{name}`");
            aside += u32::from(is_old && name != "f");
        }
    }
    assert!(aside > 0, "no kill came just after the exchange");
}
