//! What a user without privileges meets: files and folders that cannot be read or written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{document, one_failure, skip};
use crate::scenarios::{act, codes, snapshot, tree};
use crate::support::bench::Bench;
use crate::support::read_tree;

/// The user and group that own nothing.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A copy of the program that everybody can run, in a bench that belongs to nobody.
pub(crate) struct Unprivileged {
    pub(crate) bench: Bench,
}

impl Unprivileged {
    /// Returns `None`, having said so, if root cannot step down here.
    pub(crate) fn new() -> Option<Self> {
        let bench = Bench::new();
        if is_root() {
            let found = Command::new("setpriv").arg("--version").output();
            if !found.is_ok_and(|output| output.status.success()) {
                skip("root can read everything, and setpriv is not there to step down");
                return None;
            }
            fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            bench.copy_program();
        }
        Some(Self { bench })
    }

    /// Gives everything to the user the program will run as.
    pub(crate) fn hand_over(&self) {
        if is_root() {
            let owner = format!("{NOBODY}:{NOBODY}");
            let done = Command::new("chown").args(["-R", &owner]).arg(self.bench.dir.path()).status();
            assert!(done.unwrap().success());
        }
    }

    pub(crate) fn sync(&self, options: &str) -> Output {
        let words: Vec<_> = format!("sync a b --state-dir state --output json {options}")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if !is_root() {
            return self
                .bench
                .command(&words.iter().map(String::as_str).collect::<Vec<_>>())
                .output()
                .unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(self.bench.path("syncengine")).args(words).stdin(Stdio::null());
        command.env("HOME", self.bench.path("home")).env("TMPDIR", self.bench.path("tmp"));
        command.current_dir(self.bench.dir.path()).output().unwrap()
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn b24_i08_a_file_nobody_can_read_is_not_absent() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    let bench = &as_nobody.bench;
    act(bench, "a write f first; a write g second; a write keep keep");
    as_nobody.hand_over();
    document(&as_nobody.sync(""), 0);
    // Its content is asked for, because its stat has changed.
    as_nobody.chmod("a/f", 0o000);
    act(bench, "a write n new; b rm g; b rm f");
    as_nobody.hand_over();
    as_nobody.chmod("a/f", 0o000);
    let report = document(&as_nobody.sync(""), 1);
    one_failure(&report, "f");
    assert!(bench.has("a/f"), "it is not deleted because it is deleted there");
    assert_eq!(read_tree(&bench.path("b")), tree("keep=keep n=new"), "the rest is synced");
    assert!(!bench.has("a/g"));
    let before = [snapshot(&bench.path("a")), snapshot(&bench.path("b"))];
    one_failure(&document(&as_nobody.sync(""), 1), "f");
    assert_eq!([snapshot(&bench.path("a")), snapshot(&bench.path("b"))], before);
}

#[test]
fn f09_i08_below_a_folder_nobody_can_read_nothing_is_deleted() {
    for (mode, holds_back) in [("tw", false), ("std", true), ("sb", false)] {
        let Some(as_nobody) = Unprivileged::new() else { return };
        let bench = &as_nobody.bench;
        act(bench, "a write d/x dx; a write d/e/y dy; a write f first; a write g second");
        as_nobody.hand_over();
        document(&as_nobody.sync(&format!("--mode {mode}")), 0);
        act(bench, "a rm g; a write n new");
        as_nobody.hand_over();
        as_nobody.chmod("a/d", 0o000);
        let report = document(&as_nobody.sync(&format!("--mode {mode}")), 1);
        one_failure(&report, "d");
        let kept = if holds_back || mode == "sb" { " g=second" } else { "" };
        assert_eq!(
            read_tree(&bench.path("b")),
            tree(&format!("d/e/y=dy d/x=dx f=first n=new{kept}")),
            "{mode}: {report}"
        );
        assert_eq!(codes(&report, "warnings") == ["deletions-held-back"], holds_back, "{mode}: {report}");
        as_nobody.chmod("a/d", 0o755);
        let report = document(&as_nobody.sync(&format!("--mode {mode}")), 0);
        assert_eq!(report["counts"]["deleted_destination"], u64::from(holds_back), "{mode}: {report}");
        assert!(bench.has("b/d/x"), "{mode}");
    }
}

#[test]
fn a_root_nobody_can_read_ends_the_run() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    act(&as_nobody.bench, "a write f first; a write g second");
    as_nobody.hand_over();
    document(&as_nobody.sync(""), 0);
    as_nobody.chmod("a", 0o000);
    let before = snapshot(&as_nobody.bench.path("b"));
    let report = document(&as_nobody.sync(""), 4);
    assert_eq!(report["outcome"], "failed");
    assert!(!report["error"]["hint"].as_str().unwrap().is_empty(), "{report}");
    assert_eq!(snapshot(&as_nobody.bench.path("b")), before);
    as_nobody.chmod("a", 0o755);
    document(&as_nobody.sync(""), 0);
}

#[test]
fn b35_a_read_only_destination_folder_fails_what_goes_there() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    let bench = &as_nobody.bench;
    act(bench, "a write d/x dx; a write f first");
    as_nobody.hand_over();
    document(&as_nobody.sync(""), 0);
    act(bench, "a write d/y dy; a write g second");
    as_nobody.hand_over();
    as_nobody.chmod("b/d", 0o555);
    let report = document(&as_nobody.sync(""), 1);
    one_failure(&report, "d/y");
    assert_eq!(read_tree(&bench.path("b")), tree("d/x=dx f=first g=second"), "{report}");
    as_nobody.chmod("b/d", 0o755);
    document(&as_nobody.sync(""), 0);
    assert_eq!(read_tree(&bench.path("b")), read_tree(&bench.path("a")));
}

#[test]
fn a_state_that_cannot_be_written_can_be_looked_at() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    let bench = &as_nobody.bench;
    act(bench, "a write f first");
    as_nobody.hand_over();
    document(&as_nobody.sync(""), 0);
    act(bench, "a write g second");
    as_nobody.hand_over();
    let chmod =
        |mode| Command::new("chmod").args(["-R", mode]).arg(bench.path("state")).status().unwrap().success();
    assert!(chmod("a-w"));
    let before = snapshot(&bench.path("state"));
    let plan = document(&as_nobody.sync("--dry-run"), 0);
    assert_eq!(plan["counts"]["uploaded"], 1, "{plan}");
    assert_eq!(plan["first_sync"], false, "{plan}");
    assert_eq!(snapshot(&bench.path("state")), before);
    assert_eq!(fs::read_dir(bench.path("tmp")).unwrap().count(), 0);
    let report = document(&as_nobody.sync(""), 4);
    assert!(report["error"]["message"].as_str().unwrap().contains("/state/"), "{report}");
    assert!(chmod("u+w"));
    document(&as_nobody.sync(""), 0);
}

/// As nobody, who is held by permissions: with this umask he could not even enter what he makes.
#[test]
fn b50_a_umask_of_777_locks_nobody_out_of_his_own() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    let bench = &as_nobody.bench;
    act(bench, "a write d/f first; a write g second");
    as_nobody.hand_over();
    let script =
        "umask 777; for run in 1 2; do \"$0\" sync a b --state-dir state --output json || exit; done";
    let program = if is_root() { bench.path("syncengine") } else { env!("CARGO_BIN_EXE_syncengine").into() };
    let mut command = if is_root() { Command::new("setpriv") } else { Command::new("env") };
    if is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    }
    command.args(["sh", "-c", script]).arg(program).stdin(Stdio::null());
    command.env("HOME", bench.path("home")).env("TMPDIR", bench.path("tmp"));
    let output = command.current_dir(bench.dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(read_tree(&bench.path("b")), tree("d/f=first g=second"));
    let inside = fs::metadata(bench.path("b/.syncengine")).unwrap().permissions().mode() & 0o777;
    let root = fs::metadata(bench.path("b")).unwrap().permissions().mode() & 0o777;
    assert_eq!(inside, root, "what is ours in a tree is as open as the tree");
    let mut folders = vec![bench.path("state"), bench.path("b/d")];
    while let Some(folder) = folders.pop() {
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{:?}", entry.path());
            }
        }
    }
}

#[test]
fn b35_a_read_only_destination_root() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    let bench = &as_nobody.bench;
    act(bench, "a write f first; a write g second");
    as_nobody.hand_over();
    as_nobody.chmod("b", 0o555);
    let output = as_nobody.sync("--mode std");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 4)), "{report}");
    let hint = if report["failures"][0].is_null() {
        &report["error"]["hint"]
    } else {
        &report["failures"][0]["hint"]
    };
    assert!(!hint.as_str().unwrap().is_empty(), "{report}");
    assert_eq!(read_tree(&bench.path("b")), tree(""));
    as_nobody.chmod("b", 0o755);
    document(&as_nobody.sync("--mode std"), 0);
    assert_eq!(read_tree(&bench.path("b")), tree("f=first g=second"));
}

#[test]
fn b24_a_file_nobody_can_read_at_the_destination_is_not_overwritten() {
    let Some(as_nobody) = Unprivileged::new() else { return };
    let bench = &as_nobody.bench;
    act(bench, "a write f ours 2000; b write f them 1000; a write g second");
    as_nobody.hand_over();
    as_nobody.chmod("b/f", 0o000);
    let report = document(&as_nobody.sync("--conflict source-wins"), 1);
    one_failure(&report, "f");
    assert_eq!(read_tree(&bench.path("b")), tree("f=them g=second"), "{report}");
}
