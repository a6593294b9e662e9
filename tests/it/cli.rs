//! The command line, as its users and their scripts see it: the real binary in an empty environment.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::support::bench::{Bench, Ran};

/// The keys that every report has, as documented.
const REPORT_KEYS: &[&str] = &[
    "schema",
    "outcome",
    "dry_run",
    "source",
    "destination",
    "mode",
    "first_sync",
    "counts",
    "bytes",
    "requests",
    "elapsed_seconds",
    "peak_memory_bytes",
    "conditions",
    "refused_by",
    "warnings",
    "failures",
    "actions",
];

fn is_a_report(document: &Value) {
    for key in REPORT_KEYS {
        assert!(document.get(key).is_some(), "{key} is missing: {document}");
    }
    let keys = |of: &str| -> Vec<String> { document[of].as_object().unwrap().keys().cloned().collect() };
    for count in [
        "unchanged",
        "uploaded",
        "downloaded",
        "renamed_source",
        "renamed_destination",
        "deleted_source",
        "deleted_destination",
        "conflicts",
        "unresolved",
        "skipped",
        "failed",
    ] {
        assert!(document["counts"][count].is_u64(), "{count}: {document}");
    }
    assert_eq!(keys("bytes"), ["copied_server_side", "downloaded", "uploaded"]);
    assert_eq!(keys("requests"), ["copy", "delete", "get", "head", "list", "multipart", "put"]);
    assert_eq!(keys("conditions"), ["delete_if_match", "put_if_match", "put_if_none_match"]);
    assert_eq!(document["schema"], 1);
}

#[test]
fn every_exit_code_comes_with_one_document() {
    let bench = Bench::new();
    bench.write("a/x", "one");
    let (code, report) = bench.json(&["sync", "a", "b"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"], &report["first_sync"]), (0, &"synced".into(), &true.into()));
    assert_eq!((&report["counts"]["uploaded"], &report["bytes"]["uploaded"]), (&1.into(), &3.into()));
    assert!(report["peak_memory_bytes"].as_u64().unwrap() > 0 || !cfg!(target_os = "linux"));

    let (code, report) = bench.json(&["sync", "a", "nowhere"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"]), (2, &"failed".into()));
    assert!(report["error"]["hint"].as_str().unwrap().contains("--create"));

    bench.write("a/x", "two, longer");
    bench.write("b/x", "three, longer still");
    let (code, report) = bench.json(&["sync", "a", "b", "--conflict", "manual"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"]), (3, &"partial".into()));
    assert_eq!(report["actions"][0]["path"], "x");

    fs::remove_file(bench.path("b/x")).unwrap();
    let (code, report) = bench.json(&["sync", "a", "b", "--mode", "dts"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"]), (3, &"refused".into()));
    assert_eq!(report["refused_by"][0]["code"], "empty-side");
    assert!(report["refused_by"][0]["hint"].as_str().unwrap().contains("--allow-empty-side"));
}

#[test]
fn a_path_that_fails_is_exit_1_and_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    bench.write("a/fine", "1");
    let bad = bench.path("a").join(OsStr::from_bytes(b"bad\xff"));
    fs::write(bad, "2").unwrap();
    let (code, report) = bench.json(&["sync", "a", "b"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"], &report["counts"]["failed"]), (1, &"partial".into(), &1.into()));
    let failure = report["failures"][0].as_object().unwrap();
    assert_eq!(failure.keys().collect::<Vec<_>>(), ["action", "code", "error", "hint", "path"]);
    assert!(bench.run(&["sync", "a", "b"]).stderr.contains("failed: "));
}

#[test]
fn a_state_that_cannot_be_written_is_exit_4() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    bench.write("file", "no folder");
    let (code, report) = bench.json(&["sync", "a", "b", "--state-dir", "file/below"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"]), (4, &"failed".into()), "{report}");
    assert!(!bench.has("b/x"));
}

#[test]
fn usage_errors_are_exit_2_say_why_and_change_nothing() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    bench.write("utf16", "\u{0}");
    fs::write(bench.path("utf16"), b"\xff\xfe*\0").unwrap();
    bench.write("badrules", "fine\n[z-\n");
    let before = bench.snapshot();
    let words: &[(&str, &str)] = &[
        ("sync a", "two locations"),
        ("sync", "two locations"),
        ("sync a b c", "unexpected argument"),
        ("sync a b --bogus", "--bogus"),
        ("wrong a b", "wrong"),
        // B-40
        ("sync a b --mode sideways", "sourceToDestination"),
        ("sync a b --mode=", "sourceToDestination"),
        ("sync a b --initial-sync newest", "destination-wins"),
        ("sync a b --conflict oldest", "keep-both"),
        ("sync a b --compare luck", "size-only"),
        ("sync a b --output xml", "jsonl"),
        ("sync a b --progress sometimes", "never"),
        ("sync a b --trash maybe", "on, off"),
        ("sync a b --trash-location s3://t", "S3"),
        // B-41
        ("sync a b --max-delete 101%", "101%"),
        ("sync a b --max-delete -1", "-1"),
        ("sync a b --max-delete NaN", "NaN"),
        ("sync a b --max-delete=", "percentage"),
        // B-42
        ("sync a b --transfers 0", "1 to 1024"),
        ("sync a b --transfers 1000000000", "1 to 1024"),
        ("sync a b --transfers many", "1 to 1024"),
        ("sync a b --memory 0", "--memory"),
        ("sync a b --memory -5", "-5"),
        ("sync a b --memory 99999999T", "--memory"),
        ("sync a b --bwlimit fast", "--bwlimit"),
        ("sync a b --part-size 8M", "--part-size"),
        // B-43
        ("sync http://bucket b", "http://"),
        ("check a s3://x", "s3://x"),
        ("state show a s3://bucket//b", "s3://bucket"),
        // B-46
        ("sync a a", "same"),
        ("sync a a/sub --create", "inside"),
        ("sync . a", "inside"),
        ("sync a b --state-dir a/state", "state"),
        // B-47
        ("sync a b --exclude [z-", "[z-"),
        ("sync a b --ignore-file nowhere", "nowhere"),
        ("sync a b --ignore-file utf16", "UTF-8"),
        ("sync a b --ignore-file badrules", "line 2"),
        // B-49
        ("sync a b --mode std --initial-sync merge", "--initial-sync"),
        ("sync a b --mode sb --conflict manual", "--conflict"),
        ("sync a b --no-pull", "--no-pull"),
        ("plan a b --mode dts --conflict manual", "--conflict"),
        ("sync a b -q -v", "contradict"),
        ("apply nowhere", "nowhere"),
        ("apply utf16", "utf16"),
        ("state", "state"),
    ];
    for (words, expected) in words {
        let words: Vec<_> = words.split(' ').filter(|word| !word.is_empty()).collect();
        let ran = bench.run(&words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{words:?}: {ran:?}");
        if !words.contains(&"--output") {
            let (code, document) = bench.json(&words);
            assert_eq!((code, &document["schema"], &document["outcome"]), (2, &1.into(), &"failed".into()));
            assert!(!document["error"]["message"].as_str().unwrap().is_empty(), "{words:?}");
        }
    }
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn b50_without_a_home_the_state_needs_a_place_and_check_does_not() {
    let bench = Bench::new();
    let run = |words: &[&str]| Ran::of(&bench.command(words).env_remove("HOME").output().unwrap());
    let ran = run(&["sync", "a", "b"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--state-dir"), "{ran:?}");
    assert_eq!(run(&["check", "a", "b"]).code, 0);
    assert_eq!(run(&["sync", "a", "b", "--state-dir", "home/state"]).code, 0);
    assert!(bench.has("home/state"));
    let elsewhere = bench.command(&["sync", "a", "b"]).env("XDG_STATE_HOME", bench.path("home/xdg")).output();
    assert!(elsewhere.unwrap().status.success() && bench.has("home/xdg/syncengine"));
}

#[test]
fn missing_roots_are_made_only_where_something_is_received_and_only_when_asked() {
    for (mode, missing, made) in [
        ("twoWay", "b", true),
        ("twoWay", "a", true),
        ("std", "b", true),
        ("std", "a", false),
        ("dts", "a", true),
        ("dts", "b", false),
        ("sb", "a", false),
        ("db", "b", false),
    ] {
        let bench = Bench::new();
        fs::remove_dir(bench.path(missing)).unwrap();
        bench.write(if missing == "a" { "b/x" } else { "a/x" }, "1");
        assert_eq!(bench.run(&["sync", "a", "b", "--mode", mode]).code, 2, "{mode} {missing}");
        assert!(!bench.has(missing));
        let ran = bench.run(&["sync", "a", "b", "--mode", mode, "--create"]);
        assert_eq!(
            (ran.code, bench.has(missing)),
            (if made { 0 } else { 2 }, made),
            "{mode} {missing} {ran:?}"
        );
    }
}

#[test]
fn dry_runs_write_nothing_anywhere() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    bench.write("b/y", "2");
    let fresh = bench.snapshot();
    let looks: &[&[&str]] = &[
        &["plan", "a", "b"],
        &["sync", "a", "b", "--dry-run"],
        &["status", "a", "b"],
        &["check", "a", "b"],
        &["state", "show", "a", "b"],
        &["plan", "a", "c", "--create"],
    ];
    for words in looks {
        bench.run(words);
    }
    assert_eq!(bench.snapshot(), fresh);
    assert_eq!(bench.run(&["sync", "a", "b"]).code, 0);
    bench.write("a/x", "changed");
    fs::remove_file(bench.path("b/y")).unwrap();
    let synced = bench.snapshot();
    for words in looks {
        bench.run(words);
    }
    assert_eq!(bench.snapshot(), synced);
    assert_eq!(fs::read_dir(bench.path("tmp")).unwrap().count(), 0, "scratch copies are removed");
}

#[test]
fn a_plan_lists_every_action_and_is_exit_0_unless_a_guard_refuses() {
    let bench = Bench::new();
    bench.write("a/dir/x", "123");
    bench.write("b/y\u{1b}[2J", "4");
    let ran = bench.run(&["plan", "a", "b"]);
    assert_eq!(ran.code, 0);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("upload    dir/x"), "{ran:?}");
    assert!(lines[0].ends_with("(3 B)  added at source"), "{ran:?}");
    assert!(lines[1].starts_with("download  y") && !ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert!(lines[2].contains("upload 1 file (3 B), download 1 file (1 B)"), "{ran:?}");
    let (code, report) = bench.json(&["plan", "a", "b"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"], &report["dry_run"]), (0, &"planned".into(), &true.into()));
    assert_eq!(report["actions"][0]["action"], "upload");
    let (code, report) = bench.json(&["plan", "a", "b", "--mode", "dts", "--max-delete", "0"]);
    assert_eq!((code, &report["refused_by"][0]["code"]), (3, &"max-delete".into()));
    assert_eq!(report["actions"].as_array().unwrap().len(), 2);
}

#[test]
fn a_saved_plan_is_applied_on_the_ground_it_was_made_for() {
    let bench = Bench::new();
    bench.write("a/x", "one");
    bench.write("a/skipped.o", "rule");
    let saved = ["plan", "a", "b", "--save", "p.json", "--exclude", "*.o"];
    assert_eq!(bench.run(&saved).code, 0);
    // The same size, other content.
    bench.write("a/x", "two");
    let (code, report) = bench.json(&["apply", "p.json"]);
    is_a_report(&report);
    assert_eq!((code, &report["outcome"]), (3, &"refused".into()));
    assert_eq!(report["refused_by"][0]["code"], "plan-changed");
    assert!(report["refused_by"][0]["message"].as_str().unwrap().contains("`x`"));
    assert!(!bench.has("b/x"));

    assert_eq!(bench.run(&saved).code, 0);
    bench.write("a/later", "new");
    assert_eq!(bench.run(&["apply", "p.json"]).code, 3);
    fs::remove_file(bench.path("a/later")).unwrap();
    // Old enough for its times to be trusted, which must not count as a change.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let ran = bench.run(&["apply", "p.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(bench.read("b/x"), "two");
    assert!(!bench.has("b/skipped.o"));
    assert_eq!(bench.run(&["apply", "p.json"]).code, 3, "it is done, so it is no longer to be done");

    let text = bench.read("p.json");
    for broken in
        ["", "{}", "[]", &text[..text.len() / 2], &text.replace("\"create\"", "\"allow_mass_delete\"")]
    {
        bench.write("p.json", broken);
        let ran = bench.run(&["apply", "p.json"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("p.json"), "{ran:?}");
    }
    assert_eq!(bench.run(&["plan", "a", "b", "--save", "a/p.json"]).code, 2);
    assert_eq!(bench.run(&["plan", "a", "b", "--save", "none/p.json"]).code, 2);
    fs::create_dir(bench.path("folder")).unwrap();
    assert_eq!(bench.run(&["plan", "a", "b", "--save", "folder"]).code, 2);
}

#[test]
fn a_saved_plan_is_applied_with_the_state_it_was_made_with() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    let state = ["--state-dir", "of mine"];
    assert_eq!(bench.run(&[&["sync", "a", "b"], &state[..]].concat()).code, 0);
    fs::remove_file(bench.path("a/x")).unwrap();
    bench.write("a/y", "2");
    assert_eq!(bench.run(&[&["plan", "a", "b", "--save", "p"], &state[..]].concat()).code, 0);
    // Without its base nobody knows that `x` was deleted.
    assert_eq!(bench.run(&["apply", "p", "--state-dir", "another"]).code, 3);
    assert_eq!(bench.run(&["apply", "p"]).code, 0);
    assert!(bench.has("b/y") && !bench.has("b/x"));
    // A name that no document can hold.
    let mut command = bench.command(&["plan", "a", "b", "--save", "q", "--state-dir"]);
    let ran = Ran::of(&command.arg(OsStr::from_bytes(b"st\xffate")).output().unwrap());
    assert!(ran.code == 2 && ran.stderr.contains("st\\xffate") && !bench.has("q"), "{ran:?}");
}

#[test]
fn flags_that_pass_guards_are_given_to_apply_itself() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    assert_eq!(
        bench
            .run(&["plan", "a", "b", "--mode", "dts", "--allow-empty-side", "--allow-unseen", "--save", "p"])
            .code,
        0
    );
    assert_eq!(bench.run(&["apply", "p"]).code, 3);
    assert!(bench.has("a/x"));
    assert_eq!(bench.run(&["apply", "p", "--allow-empty-side", "--allow-unseen"]).code, 0);
    assert!(!bench.has("a/x"));
}

#[test]
fn check_and_status_answer_by_their_exit_codes() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    assert_eq!(bench.run(&["check", "a", "b"]).code, 1);
    let (code, status) = bench.json(&["status", "a", "b"]);
    assert_eq!((code, &status["first_sync"], &status["pending"]), (1, &true.into(), &1.into()));
    assert_eq!(bench.run(&["sync", "a", "b"]).code, 0);
    let (code, check) = bench.json(&["check", "a", "b"]);
    assert_eq!((code, &check["equal"], &check["equal_files"]), (0, &true.into(), &1.into()));
    let (code, status) = bench.json(&["status", "a", "b"]);
    assert_eq!((code, &status["unchanged"]), (0, &1.into()));
    bench.write("a/x", "2");
    bench.write("b/x", "3");
    let waiting = bench.run(&["status", "a", "b", "--conflict", "manual"]);
    assert_eq!(waiting.code, 3);
    assert!(waiting.stdout.contains("nothing else pending: 0 files"), "{waiting:?}");
    assert!(waiting.stdout.contains("run once with --conflict keep-both"), "{waiting:?}");
    let (code, check) = bench.json(&["check", "a", "b"]);
    assert_eq!((code, &check["different"][0]), (1, &"x".into()));
    assert_eq!(bench.run(&["check", "a", "b", "--exclude", "x"]).code, 0);
    assert_eq!(bench.run(&["check", "a", "b", "--quick"]).code, 0, "same size, and no hash is listed");
    for command in ["check", "status"] {
        let (code, document) = bench.json(&[command, "a", "nowhere"]);
        assert_eq!((code, &document["schema"]), (2, &1.into()));
        assert!(document["error"]["message"].as_str().unwrap().contains("nowhere"));
    }
}

#[test]
fn what_a_backup_keeps_was_not_added() {
    let bench = Bench::new();
    bench.write("a/gone", "1");
    bench.write("a/kept", "1");
    let words = ["status", "a", "b", "--mode", "sb"];
    assert_eq!(bench.run(&["sync", "a", "b", "--mode", "sb"]).code, 0);
    fs::remove_file(bench.path("a/gone")).unwrap();
    assert_eq!(bench.json(&words).1["changes"]["source"]["deleted"], serde_json::json!(["gone"]));
    assert_eq!(bench.run(&["sync", "a", "b", "--mode", "sb"]).code, 0);
    assert!(bench.has("b/gone"));
    let (code, status) = bench.json(&words);
    let none = serde_json::json!({ "added": [], "changed": [], "deleted": [] });
    assert_eq!((code, &status["changes"]["destination"]), (0, &none), "{status:#}");
    // One that is new there was.
    bench.write("b/new", "1");
    bench.write("a/gone", "2");
    let (_, status) = bench.json(&words);
    assert_eq!(status["changes"]["destination"]["added"], serde_json::json!(["new"]), "{status:#}");
    assert_eq!(status["changes"]["source"]["added"], serde_json::json!(["gone"]), "{status:#}");
}

#[test]
fn filters_hold_in_the_order_given() {
    for (words, expected) in [
        (["--exclude", "*.log", "--include", "keep.log"], ["keep.log"].as_slice()),
        (["--include", "keep.log", "--exclude", "*.log"], &[]),
        (["--exclude", "*.log", "--ignore-file", "rules"], &["keep.log"]),
        (["--ignore-file", "rules", "--exclude", "*.log"], &[]),
    ] {
        let bench = Bench::new();
        bench.write("rules", "\u{feff}# these\r\n\r\n!keep.log\r\n");
        bench.write("a/keep.log", "1");
        bench.write("a/drop.log", "2");
        let (code, _) = bench.json(&[["sync", "a", "b"].as_slice(), &words].concat());
        assert_eq!(code, 0);
        let found: Vec<_> =
            ["drop.log", "keep.log"].into_iter().filter(|name| bench.has(&format!("b/{name}"))).collect();
        assert_eq!(found, expected, "{words:?}");
    }
}

#[test]
fn the_state_of_a_pair_can_be_seen_and_forgotten() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    let (code, state) = bench.json(&["state", "show", "a", "b"]);
    assert_eq!((code, &state["synced"], &state["rows"]), (0, &false.into(), &0.into()));
    assert!(bench.run(&["state", "show", "a", "b"]).stdout.contains("never synced"));
    assert_eq!(bench.run(&["sync", "a", "b"]).code, 0);
    let (_, state) = bench.json(&["state", "show", "a", "b"]);
    assert_eq!((&state["synced"], &state["rows"], &state["marked"]), (&true.into(), &1.into(), &true.into()));
    assert_eq!(state["pair_id"].as_str().unwrap().len(), 32);
    let (code, done) = bench.json(&["state", "forget", "a", "b"]);
    assert_eq!((code, &done["base_removed"], &done["markers_removed"]), (0, &true.into(), &2.into()));
    let (_, again) = bench.json(&["sync", "a", "b"]);
    assert_eq!((&again["first_sync"], &again["warnings"]), (&true.into(), &Value::Array(Vec::new())));
}

#[test]
fn json_lines_end_with_the_report() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    let ran = bench.run(&["sync", "a", "b", "--output", "jsonl"]);
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events.last(), Some(&"report"));
    assert!(events.contains(&"done") && events.contains(&"planned"), "{events:?}");
    is_a_report(lines.last().unwrap());
}

#[test]
fn the_summary_is_short_and_quiet_is_silent() {
    let bench = Bench::new();
    bench.write("a/x", "123");
    let ran = bench.run(&["sync", "a", "b"]);
    assert!(ran.stdout.starts_with("uploaded     1 file (3 B) to "), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let ran = bench.run(&["sync", "a", "b"]);
    assert!(ran.stdout.starts_with("in agreement: 1 file unchanged ("), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    let ran = bench.run(&["sync", "a", "b", "-q"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let modes = bench.run(&["modes"]).stdout;
    for name in ["TWO_WAY", "SOURCE_TO_DESTINATION", "Do you need bidirectional sync?", "destinationBackup"] {
        assert!(modes.contains(name), "{name}: {modes}");
    }
    assert_eq!(bench.json(&["modes"]).1["modes"].as_array().unwrap().len(), 5);
}

#[test]
fn b50_a_reader_that_goes_away_is_no_panic() {
    let bench = Bench::new();
    for number in 0..3000 {
        bench.write(&format!("a/some-long-enough-name-{number}"), "");
    }
    for words in [["plan", "a", "b"].as_slice(), &["sync", "a", "b", "--output", "jsonl"]] {
        let mut child = bench.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()), "{words:?}");
    }
    assert!(bench.has("b/some-long-enough-name-2999"));
}

/// Starts a run that takes many seconds, and waits until it says that it copies.
fn slow(bench: &Bench, words: &[&str]) -> Child {
    bench.write("a/large", &"x".repeat(4_000_000));
    let words = [words, &["--bwlimit", "20K", "--progress", "always"]].concat();
    let mut child = bench.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("copied 0 of 1 file"), "{line}");
    child
}

fn send(child: &Child, signal: &str) -> ExitStatus {
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap()
}

#[test]
fn signals_end_a_run_in_good_order() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let bench = Bench::new();
        let child = slow(&bench, &["sync", "a", "b", "--output", "json"]);
        assert!(send(&child, signal).success());
        let ran = Ran::of(&child.wait_with_output().unwrap());
        let report = ran.document();
        is_a_report(&report);
        assert_eq!((ran.code, &report["outcome"]), (code, &"cancelled".into()), "{ran:?}");
        assert!(!bench.has("b/large"));
        let left: Vec<_> = fs::read_dir(bench.path("b")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
        assert_eq!(bench.run(&["sync", "a", "b"]).code, 0, "the next run goes on");
        assert!(Path::new(&bench.path("b/large")).exists());
    }
}

#[test]
fn a_pair_in_use_is_refused_with_exit_3() {
    let bench = Bench::new();
    let child = slow(&bench, &["sync", "a", "b"]);
    for words in [["sync", "a", "b"].as_slice(), &["plan", "a", "b"]] {
        let (code, report) = bench.json(words);
        is_a_report(&report);
        assert_eq!((code, &report["outcome"]), (3, &"refused".into()), "{words:?}");
        assert_eq!(report["refused_by"][0]["code"], "locked");
    }
    assert_eq!(bench.json(&["state", "forget", "a", "b"]).0, 3);
    assert!(send(&child, "-TERM").success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
}
