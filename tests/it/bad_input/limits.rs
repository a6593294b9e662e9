//! What the system does not give: room for the result, descriptors, large files, a folder for temporary files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{document, one_failure, skip, sync_with_a_mount};
use crate::scenarios::{act, codes, sync, tree};
use crate::support::bench::Bench;
use crate::support::read_tree;

#[expect(clippy::disallowed_methods, reason = "how long the real program takes is what is tested")]
fn now() -> Instant {
    Instant::now()
}

/// Runs a script in a bench, `$0` being the program.
fn shell(bench: &Bench, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_syncengine")]).current_dir(bench.dir.path());
    command.env("TMPDIR", bench.path("tmp")).env("HOME", bench.path("home")).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    if !Path::new("/dev/full").exists() {
        return skip("there is no /dev/full");
    }
    let bench = Bench::new();
    act(&bench, "a write f first");
    for (words, expected) in [
        ("sync a b --state-dir state", 1),
        ("sync a b --state-dir state --output json", 1),
        ("sync a b --state-dir state --output jsonl", 1),
        ("plan a b --state-dir state", 1),
        ("check a b", 1),
        ("modes", 1),
        ("--help", 1),
        ("sync a nowhere --output json", 2),
    ] {
        let output = shell(&bench, &format!("exec \"$0\" {words} > /dev/full"));
        assert_eq!(output.status.code(), Some(expected), "{words}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.matches("error: the result cannot be written").count(), 1, "{words}: {said}");
    }
    assert_eq!(bench.read("b/f"), "first", "what is done is done");
    let output = shell(&bench, "exec 3>&1; { \"$0\" modes; echo $? >&3; } | true");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "0", "a reader that went away");
}

#[test]
fn a_file_beyond_the_limit_of_file_sizes_fails_and_the_report_is_whole() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write z last");
    fs::write(bench.path("a/large"), vec![7; 12_000_000]).unwrap();
    // In blocks of 512 or 1,024 bytes.
    let output = shell(&bench, "ulimit -f 8192; exec \"$0\" sync a b --state-dir state --output json");
    let report = document(&output, 1);
    one_failure(&report, "large");
    assert!(report["failures"][0]["hint"].as_str().unwrap().contains("ulimit -f"), "{report}");
    assert_eq!(read_tree(&bench.path("b")), tree("f=first z=last"));
    assert_eq!(sync(&bench, "").0, 0);
}

#[test]
fn f10_too_few_descriptors_fail_within_seconds_and_with_a_hint() {
    let bench = Bench::new();
    for folder in 0..40 {
        act(&bench, &format!("a many d{folder:02}/e 25"));
    }
    for limit in 14..=20 {
        let began = now();
        let script = format!("ulimit -n {limit}; exec \"$0\" sync a b --state-dir state --output json");
        let output = shell(&bench, &script);
        assert!(began.elapsed() < Duration::from_secs(30), "{limit}: {:?}", began.elapsed());
        if output.stdout.is_empty() {
            continue; // Too few for the program to begin.
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 4)), "{limit}: {report}");
        let failures = report["failures"].as_array().unwrap().iter();
        for (message, hint) in failures
            .map(|failure| (&failure["error"], &failure["hint"]))
            .chain(report.get("error").map(|error| (&error["message"], &error["hint"])))
        {
            assert!(!message.as_str().unwrap().contains("``"), "the root has a name: {message}");
            if message.as_str().unwrap().contains("Too many open files") {
                assert!(hint.as_str().unwrap().contains("ulimit -n"), "{limit}: {message} {hint}");
            }
        }
    }
    let (code, report) = sync(&bench, "");
    assert_eq!((code, &report["counts"]["failed"]), (0, &0.into()), "{report}");
    assert_eq!(read_tree(&bench.path("b")), read_tree(&bench.path("a")));
}

#[test]
fn a_killed_plan_leaves_nothing_after_the_next_one() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    assert_eq!(sync(&bench, "").0, 0);
    // Held up while it reads, by a file that is read slowly.
    fs::File::create(bench.path("a/large")).unwrap().set_len(1 << 34).unwrap();
    fs::File::create(bench.path("b/large")).unwrap().set_len(1 << 34).unwrap();
    let copies = || {
        let names = fs::read_dir(bench.path("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("syncengine-state-")).count()
    };
    let plan =
        || bench.command(&["plan", "a", "b", "--state-dir", "state"]).stdout(Stdio::null()).spawn().unwrap();
    let wait = |count| {
        let began = now();
        while copies() != count {
            assert!(began.elapsed() < Duration::from_secs(30), "{} copies, not {count}", copies());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let (mut killed, mut living) = (plan(), plan());
    wait(2);
    std::thread::sleep(Duration::from_millis(200));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(copies(), 2, "a kill leaves its copy");
    let quick = ["a", "b", "--state-dir", "state", "--exclude", "large"];
    assert_eq!(bench.run(&[["plan"].as_slice(), &quick].concat()).code, 0);
    assert_eq!(copies(), 1, "the copy of a plan that goes on stays");
    living.kill().unwrap();
    living.wait().unwrap();
    assert_eq!(bench.run(&[["status"].as_slice(), &quick].concat()).code, 0);
    assert_eq!(copies(), 0);
}

#[test]
fn without_a_folder_for_temporary_files_nothing_can_be_looked_at() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    assert_eq!(sync(&bench, "").0, 0);
    bench.write("file", "no folder");
    for words in ["plan a b", "sync a b --dry-run", "status a b", "state show a b"] {
        for place in ["nowhere", "file"] {
            let words: Vec<_> =
                words.split(' ').chain("--state-dir state --output json".split(' ')).collect();
            let report =
                document(&bench.command(&words).env("TMPDIR", bench.path(place)).output().unwrap(), 4);
            assert!(report["error"]["hint"].as_str().unwrap().contains("TMPDIR"), "{words:?}: {report}");
        }
    }
}

#[test]
fn a_temporary_that_resists_is_known_until_it_is_gone() {
    let bench = Bench::new();
    act(&bench, "a write d/f first; b mkdir d");
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(bench.path("b/d")).output();
    if !chattr("+a").is_ok_and(|output| output.status.success()) {
        return skip("a folder cannot be made append-only here");
    }
    let temporaries = || {
        let names = fs::read_dir(bench.path("b/d")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with(".syncengine-")).count()
    };
    let (code, report) = sync(&bench, "");
    let left = temporaries();
    let again = sync(&bench, "");
    // Before anything can fail, so that the folder can be removed.
    assert!(chattr("-a").unwrap().status.success());
    assert_eq!((code, left > 0), (1, true), "{report}");
    assert_eq!(codes(&again.1, "warnings"), ["leftovers"], "{}", again.1);
    let (code, report) = sync(&bench, "");
    assert_eq!((code, codes(&report, "warnings"), temporaries()), (0, Vec::new(), 0), "{report}");
    assert_eq!(bench.read("b/d/f"), "first");
}

#[test]
fn a_full_disk_under_the_state_is_named_as_such() {
    let bench = Bench::new();
    for folder in 0..20 {
        act(&bench, &format!("a many d{folder:02} 200"));
    }
    fs::create_dir(bench.path("state")).unwrap();
    let Some((code, report)) = sync_with_a_mount(&bench, "-o size=700k tmpfs state", "") else { return };
    assert_eq!(code, 4, "{report}");
    let message = report["error"]["message"].as_str().unwrap();
    assert!(!message.contains("Os {"), "{report}");
    assert!(report["error"]["hint"].as_str().unwrap().contains("disk of the state directory"), "{report}");
}

#[test]
fn names_that_are_not_utf8_are_told_apart_by_their_side() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    for side in ["a", "b"] {
        fs::write(bench.path(side).join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x").unwrap();
        fs::set_permissions(bench.path(side), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (code, report) = sync(&bench, "");
    assert_eq!(code, 1, "{report}");
    for (failure, side) in report["failures"].as_array().unwrap().iter().zip(["source", "destination"]) {
        assert!(failure["error"].as_str().unwrap().contains(&format!("at the {side}")), "{report}");
    }
}
