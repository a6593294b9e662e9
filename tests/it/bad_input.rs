//! What users, disks and file systems do wrong, end to end: one clear line, the documented exit code, and
//! nothing changed where nothing should be.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::scenarios::{act, codes, snapshot, sync, trash, tree};
use crate::support::bench::Bench;
use crate::support::{read_tree, variable};

#[cfg(all(feature = "s3", feature = "embedded"))]
mod answers;
mod limits;
mod obstacles;
mod stores;
#[cfg(all(feature = "s3", feature = "embedded"))]
mod tls;
pub(crate) mod unprivileged;

/// Returns the modification time of a file in seconds and nanoseconds.
fn modified(path: &Path) -> (i64, i64) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.mtime(), stat.mtime_nsec())
}

/// Says that a test cannot run here, which fails it where every test must run.
#[expect(clippy::print_stderr, reason = "the reader of a test run must know")]
pub(crate) fn skip(why: &str) {
    assert!(variable("SYNCENGINE_REQUIRE_ALL").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Returns the one document of a run that must have exited with `code`.
fn document(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Holds the failures of a report against a path and an exit code of 1: named, with a reason and a hint.
fn one_failure(report: &Value, path: &str) {
    assert_eq!(report["outcome"], "partial", "{report}");
    assert_eq!(report["counts"]["failed"], 1, "{report}");
    let failure = &report["failures"][0];
    assert_eq!(failure["path"].as_str().unwrap().trim_end_matches('/'), path, "{report}");
    let error = failure["error"].as_str().unwrap();
    assert!(!error.is_empty() && error.lines().count() == 1, "{report}");
    assert!(!failure["hint"].as_str().unwrap().is_empty(), "{report}");
}

#[test]
fn usage_and_roots_one_line_a_hint_and_nothing_changed() {
    let bench = Bench::new();
    act(&bench, "a write f first; b write g second");
    bench.write("file", "not a folder");
    let before = bench.snapshot();
    for (words, expected) in [
        // B-40
        ("a b --mode", "--mode"),
        ("a b --mode mirror", "twoWay"),
        ("a b --mode two.way", "twoWay"),
        // Roots
        ("a nowhere", "--create"),
        ("nowhere b --mode std --create", "spelling"),
        ("a nowhere --mode dts --create", "spelling"),
        ("nowhere nothing --create", "spelling"),
        ("file b", "not a folder"),
        ("a file", "not a folder"),
        // B-46
        ("a a", "apart"),
        ("a a/../a", "apart"),
        ("a a/", "apart"),
        ("a a/inner --create", "apart"),
        (". b", "apart"),
        // B-33
        ("a b --state-dir a", "--state-dir"),
        ("a b --state-dir a/deep/state", "--state-dir"),
        ("a b --state-dir .", "--state-dir"),
        ("/ b", "apart"),
        // B-41, B-42
        ("a b --max-delete 1.5", "100"),
        ("a b --max-delete 200%", "100%"),
        ("a b --max-delete 99999999999999999999999", "100"),
        ("a b --bwlimit 0", "--bwlimit"),
        ("a b --bwlimit 1X", "--bwlimit"),
        ("a b --memory 1K", "--memory"),
        // B-47
        ("a b --exclude [", "["),
        ("a b --include a[", "a["),
        ("a b --ignore-file file/x", "file/x"),
    ] {
        let words: Vec<_> = ["sync"].into_iter().chain(words.split(' ')).collect();
        let (code, report) = bench.json(&words);
        assert_eq!((code, &report["outcome"]), (2, &"failed".into()), "{words:?}: {report}");
        let error = &report["error"];
        let said = format!("{} {}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or(""));
        assert!(said.contains(expected), "{words:?} says {said:?}, not {expected:?}");
        assert_eq!(error["message"].as_str().unwrap().trim().lines().count(), 1, "{words:?}: {error}");
        assert!(!error["hint"].as_str().unwrap_or("").is_empty(), "{words:?}: {error}");
    }
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn b33_b34_a_root_is_one_pair_however_it_is_written() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    symlink("a", bench.path("link")).unwrap();
    assert_eq!(sync(&bench, "").0, 0);
    let absolute = bench.path("a");
    for name in ["a/", "./a", "b/../a", "link", absolute.to_str().unwrap()] {
        let (code, report) = bench.json(&["sync", name, "b", "--state-dir", "state"]);
        assert_eq!((code, &report["first_sync"]), (0, &false.into()), "{name}: {report}");
    }
    let (code, report) = bench.json(&["sync", "a", "link"]);
    assert_eq!((code, &report["outcome"]), (2, &"failed".into()), "the same folder by two names: {report}");
}

#[test]
fn b27_names_that_are_not_utf8_fail_and_the_rest_is_synced() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write d/x dx");
    for (folder, name) in [("a", b"bad\xff".as_slice()), ("a", b"\xc3\x28"), ("b", b"\xfe")] {
        fs::write(bench.path(folder).join(OsStr::from_bytes(name)), "bytes").unwrap();
    }
    fs::create_dir(bench.path("a").join(OsStr::from_bytes(b"dir\xff"))).unwrap();
    fs::write(bench.path("a").join(OsStr::from_bytes(b"dir\xff/in")), "bytes").unwrap();
    bench.write("a/line\nbreak", "odd but fine");
    bench.write(&format!("a/{}", "n".repeat(255)), "as long as names get");
    for mode in ["tw", "std", "std"] {
        let (code, report) = sync(&bench, &format!("--mode {mode}"));
        assert_eq!(
            (code, &report["outcome"], &report["counts"]["failed"]),
            (1, &"partial".into(), &4.into()),
            "{report}"
        );
        for failure in report["failures"].as_array().unwrap() {
            assert!(!failure["error"].as_str().unwrap().contains('\n'), "{failure}");
            assert!(!failure["hint"].as_str().unwrap().is_empty(), "{failure}");
        }
        for name in ["f", "d/x", "line\nbreak", &"n".repeat(255)] {
            assert_eq!(bench.read(&format!("a/{name}")), bench.read(&format!("b/{name}")), "{name}");
        }
        assert!(
            bench.path("b").join(OsStr::from_bytes(b"\xfe")).exists(),
            "a mirror does not delete what it cannot name"
        );
    }
    assert_eq!(trash(&bench, "b").len(), 0);
}

#[test]
fn b21_b23_links_and_pipes_are_not_synced_and_nothing_is_deleted_for_them() {
    for mode in ["tw", "std", "sb"] {
        let bench = Bench::new();
        act(&bench, "a write f first; a write g second; a write d/x dx; a write keep keep");
        assert_eq!(sync(&bench, &format!("--mode {mode}")).0, 0);
        fs::write(bench.path("outside"), "outside").unwrap();
        act(
            &bench,
            "a rm f; a link f ../outside; a rm g; a fifo g; a mv d away; a link d away; a link dangling nowhere; \
             a link loop loop; a link up ..; a fifo pipe",
        );
        act(&bench, "a rm away");
        let (code, report) = sync(&bench, &format!("--mode {mode}"));
        assert_eq!((code, &report["outcome"]), (1, &"partial".into()), "{mode}: {report}");
        // Those in the place of what is synced; the others are skipped by policy.
        let failed =
            report["failures"].as_array().unwrap().iter().map(|failure| failure["path"].as_str().unwrap());
        assert_eq!(failed.collect::<Vec<_>>(), ["d", "f", "g"], "{mode}: {report}");
        assert_eq!(report["counts"]["skipped"], 4, "{mode}: {report}");
        assert_eq!(codes(&report, "warnings"), ["skipped-special-files", "skipped-symlinks"], "{mode}");
        assert_eq!(
            read_tree(&bench.path("b")),
            tree("d/x=dx f=first g=second keep=keep"),
            "{mode}: {report}"
        );
        assert_eq!(bench.read("outside"), "outside");
        let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
        // An edit on the other side is not written through the link, nor over it.
        act(&bench, "b write f edited");
        let (code, _) = sync(&bench, &format!("--mode {mode}"));
        assert_eq!((code, bench.read("outside").as_str()), (1, "outside"), "{mode}");
        assert_eq!(snapshot(&bench.path("a")), before[0], "{mode}");
        assert_eq!(bench.read("b/f"), "edited", "{mode}");
    }
}

#[test]
fn b22_a_download_does_not_write_through_a_hard_link() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    fs::hard_link(bench.path("a/f"), bench.path("a/g")).unwrap();
    fs::hard_link(bench.path("a/f"), bench.path("outside")).unwrap();
    assert_eq!(sync(&bench, "").0, 0);
    act(&bench, "b write f edited");
    assert_eq!(sync(&bench, "").0, 0);
    assert_eq!(read_tree(&bench.path("a")), tree("f=edited g=first"));
    assert_eq!(bench.read("outside"), "first");
}

#[test]
fn b30_odd_times_are_carried_and_rewound_ones_are_noticed() {
    let bench = Bench::new();
    act(
        &bench,
        "a write future f 4102444800; a write y2038 y 2147483648.999999999; a write epoch e 0; a write f first 1000",
    );
    assert_eq!(sync(&bench, "").0, 0);
    for name in ["future", "y2038", "epoch", "f"] {
        assert_eq!(modified(&bench.path("a").join(name)), modified(&bench.path("b").join(name)), "{name}");
    }
    // The same size and time, other content.
    act(&bench, "a write f third 1000");
    let (code, report) = sync(&bench, "");
    assert_eq!((code, &report["counts"]["uploaded"]), (0, &1.into()), "{report}");
    // B-31: another inode, the same size and time.
    act(&bench, "a write t forth 1000; a mv t f");
    let (code, report) = sync(&bench, "");
    assert_eq!(
        (code, &report["counts"]["uploaded"], bench.read("b/f").as_str()),
        (0, &1.into(), "forth"),
        "{report}"
    );
}

#[test]
fn b53_temporaries_are_told_apart() {
    let bench = Bench::new();
    act(
        &bench,
        "a write f first; b write .syncengine-0123456789abcdef.tmp theirs; a write d/.syncengine-x mine",
    );
    let (code, report) = sync(&bench, "");
    assert_eq!((code, codes(&report, "warnings")), (0, vec!["foreign-temporaries".to_owned()]), "{report}");
    assert!(bench.has("b/.syncengine-0123456789abcdef.tmp") && bench.has("a/d/.syncengine-x"));
    assert!(!bench.has("b/d"), "reserved names are never synced");
}

#[test]
fn b54_the_marker_of_another_pair() {
    let bench = Bench::new();
    fs::create_dir(bench.path("c")).unwrap();
    act(&bench, "c write f first; c write g second");
    assert_eq!(bench.run(&["sync", "c", "b", "--state-dir", "state"]).code, 0);
    act(&bench, "a write h third");
    let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    let (code, report) = sync(&bench, "--initial-sync source-wins");
    assert_eq!((code, codes(&report, "refused_by")), (3, vec!["other-pair".to_owned()]), "{report}");
    assert_eq!([snapshot(&bench.path("a")), snapshot(&bench.path("b"))], before);
    let (code, report) = sync(&bench, "--initial-sync source-wins --allow-mass-delete");
    assert_eq!((code, &report["counts"]["deleted_destination"]), (0, &2.into()), "{report}");
    assert_eq!(read_tree(&bench.path("b")), tree("h=third"));
    // A second destination for the vault is no obstacle to restoring it.
    let bench = Bench::new();
    fs::create_dir(bench.path("c")).unwrap();
    act(&bench, "c write f first");
    assert_eq!(bench.run(&["sync", "c", "b", "--state-dir", "state"]).code, 0);
    act(&bench, "a write h third");
    assert_eq!(sync(&bench, "--initial-sync destination-wins").0, 0);
    assert_eq!(read_tree(&bench.path("a")), tree("f=first"));
}

#[test]
fn b54_a_copied_tree_carries_a_marker() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write g second");
    assert_eq!(sync(&bench, "").0, 0);
    // A copy of the source, marker included, is paired with the same destination.
    let copied = Command::new("cp").arg("-a").arg(bench.path("a")).arg(bench.path("c")).status().unwrap();
    assert!(copied.success());
    act(&bench, "c rm f");
    let (code, report) =
        bench.json(&["sync", "c", "b", "--state-dir", "state", "--initial-sync", "source-wins"]);
    assert_eq!((code, codes(&report, "refused_by")), (3, vec!["other-pair".to_owned()]), "{report}");
    assert_eq!(read_tree(&bench.path("b")), tree("f=first g=second"), "nothing is deleted on such evidence");
    let (code, report) = bench.json(&["sync", "c", "b", "--state-dir", "state"]);
    assert_eq!((code, codes(&report, "notes")), (0, vec!["root-copied".to_owned()]), "{report}");
    assert_eq!(read_tree(&bench.path("c")), tree("f=first g=second"), "what a copy lacks nobody has deleted");
}

#[test]
fn b28_sparse_files_are_copied_as_their_content() {
    let bench = Bench::new();
    let file = fs::File::create(bench.path("a/sparse")).unwrap();
    (&file).write_all(b"data").unwrap();
    file.set_len(3_000_000).unwrap();
    assert_eq!(sync(&bench, "").0, 0);
    assert_eq!(fs::read(bench.path("a/sparse")).unwrap(), fs::read(bench.path("b/sparse")).unwrap());
}

#[test]
fn b36_many_empty_folders_and_a_deep_one() {
    let bench = Bench::new();
    for at in 0..300 {
        fs::create_dir(bench.path(&format!("a/empty{at}"))).unwrap();
    }
    bench.write(&format!("a/{}f", "d/".repeat(300)), "deep");
    let (code, report) = sync(&bench, "");
    assert_eq!(
        (code, &report["counts"]["skipped"], &report["counts"]["uploaded"]),
        (0, &300.into(), &1.into())
    );
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1, "said once");
    assert_eq!(bench.read(&format!("b/{}f", "d/".repeat(300))), "deep");
}

#[test]
fn b29_a_file_that_grows_is_never_copied_torn() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    // Numbered lines: whatever state the file had is a prefix of the same sequence.
    let script = "i=0; while [ $i -lt 100000 ]; do echo line $i; i=$((i+1)); done >> a/log";
    let mut writer = Command::new("sh").args(["-c", script]).current_dir(bench.dir.path()).spawn().unwrap();
    while !bench.has("a/log") {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..4 {
        let (code, report) = sync(&bench, "");
        match code {
            0 => {}
            1 => {
                one_failure(&report, "log");
                assert!(
                    report["failures"][0]["error"].as_str().unwrap().contains("changed-during-sync"),
                    "{report}"
                );
            }
            other => panic!("exit {other}: {report}"),
        }
        assert_eq!(bench.read("b/f"), "first");
        if bench.has("b/log") {
            let (whole, copy) =
                (fs::read(bench.path("a/log")).unwrap(), fs::read(bench.path("b/log")).unwrap());
            assert!(whole.starts_with(&copy), "the copy is no state the file ever had");
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(sync(&bench, "").0, 0);
    assert_eq!(fs::read(bench.path("a/log")).unwrap(), fs::read(bench.path("b/log")).unwrap());
}

#[test]
fn b28_a_full_disk_fails_what_does_not_fit_and_the_next_run_goes_on() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    fs::write(bench.path("a/large"), vec![7; 3_000_000]).unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs b || exit 99; \
        \"$0\" sync a b --state-dir state --output json > full; echo $? > full.code; cp -a b seen; \
        mount -o remount,size=8m b; \
        \"$0\" sync a b --state-dir state --output json > then; echo $? > then.code; cp -a b done";
    let ran = Command::new("unshare")
        .args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_syncengine")])
        .current_dir(bench.dir.path())
        .output();
    if !ran.as_ref().is_ok_and(|output| output.status.success()) {
        return skip(&format!("a small file system cannot be mounted here: {ran:?}"));
    }
    let read = |name: &str| -> Value { serde_json::from_str(&bench.read(name)).unwrap() };
    let report = read("full");
    assert_eq!(bench.read("full.code").trim(), "1", "{report}");
    one_failure(&report, "large");
    assert!(report["failures"][0]["hint"].as_str().unwrap().contains("space"), "{report}");
    assert_eq!(read_tree(&bench.path("seen")), tree("f=first"), "no torn file, no temporary");
    assert_eq!(bench.read("then.code").trim(), "0", "{}", read("then"));
    assert_eq!(read_tree(&bench.path("done")), read_tree(&bench.path("a")));
}

/// Runs a sync with a file system of memory at a place that nobody else sees; exit code and report. Without the
/// right to mount it is skipped.
fn sync_with_a_mount(bench: &Bench, mount: &str, options: &str) -> Option<(i32, Value)> {
    let script = format!(
        "mount -t tmpfs {mount} || exit 99; \
         \"$0\" sync a b --state-dir state {options} --output json > report; echo $? > code"
    );
    let ran = Command::new("unshare")
        .args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_syncengine")])
        .current_dir(bench.dir.path())
        .output();
    if !ran.as_ref().is_ok_and(|output| output.status.success()) {
        skip(&format!("nothing can be mounted here: {ran:?}"));
        return None;
    }
    let report = serde_json::from_str(&bench.read("report")).unwrap();
    Some((bench.read("code").trim().parse().unwrap(), report))
}

#[test]
fn b32_another_file_system_below_a_root_is_a_boundary() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write m/x mx; a write g second");
    assert_eq!(sync(&bench, "--mode std").0, 0);
    let Some((code, report)) = sync_with_a_mount(&bench, "tmpfs a/m", "--mode std") else { return };
    assert_eq!(code, 0, "{report}");
    assert_eq!(codes(&report, "warnings"), ["skipped-mounts"], "{report}");
    assert_eq!(
        read_tree(&bench.path("b")),
        tree("f=first g=second m/x=mx"),
        "an empty mount deletes nothing"
    );
}

#[test]
fn b50_a_umask_that_takes_everything_does_not_lock_the_user_out() {
    let bench = Bench::new();
    act(&bench, "a write d/f first");
    fs::set_permissions(bench.path("a/d/f"), fs::Permissions::from_mode(0o666)).unwrap();
    for (umask, expected) in [("000", 0o666), ("022", 0o644), ("077", 0o600), ("777", 0o600), ("722", 0o644)]
    {
        let to = format!("to{umask}");
        let script = format!("umask {umask}; exec \"$0\" sync a {to} --create --state-dir state");
        let ran = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_syncengine")])
            .current_dir(bench.dir.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{umask}: {ran:?}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&bench.path(&to).join("d/f")), expected, "{umask}");
        assert_eq!(mode(&bench.path("state")), 0o700, "{umask}: what is ours is private");
        let (code, report) = bench.json(&["sync", "a", &to, "--state-dir", "state"]);
        assert_eq!((code, &report["counts"]["unchanged"]), (0, &1.into()), "{umask}: {report}");
    }
}

#[test]
fn b29_a_file_that_is_rewritten_is_never_copied_torn() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    // Each state is a run of one letter.
    let script =
        "while :; do for x in A B C; do head -c 2000000 /dev/zero | tr '\\0' $x > a/file; done; done";
    let mut writer = Command::new("sh").args(["-c", script]).current_dir(bench.dir.path()).spawn().unwrap();
    while !bench.has("a/file") {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..5 {
        let (code, report) = sync(&bench, "--mode std");
        assert!(matches!(code, 0 | 1), "{report}");
        let copy = fs::read(bench.path("b/file")).unwrap_or_default();
        let letter = copy.first().copied().unwrap_or(b'A');
        assert!(copy.iter().all(|byte| *byte == letter), "a copy of two states at once");
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn f11_a_root_that_is_replaced_during_the_run_loses_nothing() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write g second");
    assert_eq!(sync(&bench, "").0, 0);
    act(&bench, "a rm f");
    fs::write(bench.path("a/large"), vec![b'x'; 120_000]).unwrap();
    let words = "sync a b --state-dir state --bwlimit 40K --progress always --output json";
    let words: Vec<_> = words.split(' ').collect();
    let mut child = bench.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    act(&bench, "b newroot; b write f another");
    let report = document(&child.wait_with_output().unwrap(), 4);
    assert_eq!(report["outcome"], "failed");
    assert!(!report["error"]["hint"].as_str().unwrap().is_empty(), "{report}");
    assert_eq!(read_tree(&bench.path("b")), tree("f=another"), "{report}");
    assert_eq!(bench.read("old/f"), "first");
    assert_eq!(bench.read("old/g"), "second");
    let (code, report) = sync(&bench, "");
    assert_eq!((code, codes(&report, "refused_by")), (3, vec!["root-changed".to_owned()]), "{report}");
}

#[test]
fn where_the_trash_cannot_be_used_nothing_is_deleted_or_replaced() {
    for spoil in ["b write .syncengine/trash file", "b link .syncengine/trash ../../outside"] {
        let bench = Bench::new();
        act(&bench, "a write f first; a write g second; a write keep keep");
        fs::create_dir(bench.path("outside")).unwrap();
        assert_eq!(sync(&bench, "").0, 0);
        act(&bench, spoil);
        act(&bench, "a rm f; a write g edited; a write n new");
        let (code, report) = sync(&bench, "");
        assert_eq!((code, &report["counts"]["failed"]), (1, &2.into()), "{spoil}: {report}");
        for failure in report["failures"].as_array().unwrap() {
            let error = failure["error"].as_str().unwrap();
            assert!(error.contains("`.syncengine/trash` is not a folder"), "{spoil}: {failure}");
            assert!(failure["hint"].as_str().unwrap().contains("--trash off"), "{spoil}: {failure}");
        }
        assert_eq!(
            read_tree(&bench.path("b")),
            tree("f=first g=second keep=keep n=new"),
            "{spoil}: {report}"
        );
        assert_eq!(fs::read_dir(bench.path("outside")).unwrap().count(), 0, "{spoil}");
        let (code, report) = sync(&bench, "--trash off");
        assert_eq!(code, 0, "{spoil}: {report}");
        assert_eq!(read_tree(&bench.path("b")), tree("g=edited keep=keep n=new"), "{spoil}");
    }
}

#[test]
fn b48_force_is_not_taken_from_the_environment() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write g second");
    assert_eq!(sync(&bench, "").0, 0);
    act(&bench, "a rm f; a rm g");
    let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    let mut command = bench.command(&["sync", "a", "b", "--state-dir", "state", "--output", "json"]);
    for name in ["ALLOW_EMPTY_SIDE", "ALLOW_MASS_DELETE", "ACCEPT_ROOT", "FORCE"] {
        command.env(format!("SYNCENGINE_{name}"), "true");
    }
    let report = document(&command.output().unwrap(), 3);
    assert_eq!(codes(&report, "refused_by"), ["empty-side"]);
    assert_eq!([snapshot(&bench.path("a")), snapshot(&bench.path("b"))], before);
}

#[test]
fn b26_a_folder_with_nothing_but_what_is_not_synced_is_in_the_way() {
    for spoil in ["b write d/x.log theirs", "b mkdir d; b link d/l nowhere", "b mkdir d; b fifo d/p"] {
        for mode in ["tw", "std"] {
            let bench = Bench::new();
            act(&bench, "a write d flat; a write f first");
            act(&bench, spoil);
            let before = snapshot(&bench.path("b/d"));
            let (code, report) = sync(&bench, &format!("--mode {mode} --exclude *.log"));
            assert_eq!(code, 1, "{spoil}: {report}");
            one_failure(&report, "d");
            assert!(report["failures"][0]["error"].as_str().unwrap().contains("in the way"), "{report}");
            assert_eq!(snapshot(&bench.path("b/d")), before, "{spoil}");
            assert_eq!(bench.read("b/f"), "first");
        }
    }
}

#[test]
fn something_else_in_the_place_of_our_folder_ends_the_run() {
    for spoil in ["b write .syncengine mine", "b link .syncengine ../outside"] {
        let bench = Bench::new();
        fs::create_dir(bench.path("outside")).unwrap();
        act(&bench, "a write f first");
        act(&bench, spoil);
        let (code, report) = sync(&bench, "");
        assert_eq!((code, &report["outcome"]), (4, &"failed".into()), "{spoil}: {report}");
        assert!(report["error"]["message"].as_str().unwrap().contains("the destination"), "{report}");
        assert!(!report["error"]["hint"].as_str().unwrap().is_empty(), "{report}");
        assert!(!bench.has("b/f"), "{spoil}");
        assert_eq!(fs::read_dir(bench.path("outside")).unwrap().count(), 0, "{spoil}");
    }
}
