//! Two runs at once.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{act, codes, snapshot, sync};
use crate::support::bench::Bench;
use crate::support::read_tree;

/// Starts a run that takes many seconds, and waits until it says that it copies.
fn slow(bench: &Bench) -> Child {
    std::fs::write(bench.path("a/large"), vec![b'x'; 4_000_000]).unwrap();
    let words = ["sync", "a", "b", "--state-dir", "state", "--bwlimit", "20K", "--progress", "always"];
    let mut child = bench.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("copied 0 of 1 file"), "{line}");
    child
}

fn end(mut child: Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_second_run_of_a_pair_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    let child = slow(&bench);
    act(&bench, "a write f first");
    // What is ours there the first run may still be writing.
    let files = || {
        let all = snapshot(&bench.path("a")).into_iter();
        all.filter(|(path, _)| !path.to_string_lossy().contains(".syncengine")).collect::<Vec<_>>()
    };
    let before = files();
    for options in ["", "--mode std", "--allow-mass-delete --allow-empty-side --accept-root"] {
        let (code, report) = sync(&bench, options);
        assert_eq!((code, codes(&report, "refused_by")), (3, vec!["locked".to_owned()]), "{report}");
        assert!(!report["refused_by"][0]["hint"].as_str().unwrap().is_empty(), "{report}");
    }
    assert!(files() == before, "something was changed");
    assert!(read_tree(&bench.path("b")).keys().all(|name| name.starts_with(".syncengine-")));
    end(child);
    assert_eq!(sync(&bench, "").0, 0, "the lock goes with its holder");
    assert_eq!(read_tree(&bench.path("a")), read_tree(&bench.path("b")));
}

#[test]
fn another_pair_runs_at_the_same_time() {
    let bench = Bench::new();
    let child = slow(&bench);
    std::fs::create_dir(bench.path("c")).unwrap();
    act(&bench, "c write f first");
    let (code, report) = bench.json(&["sync", "c", "d", "--create", "--state-dir", "state"]);
    assert_eq!((code, &report["counts"]["uploaded"]), (0, &1.into()), "{report}");
    assert_eq!(read_tree(&bench.path("d")), super::tree("f=first"));
    end(child);
}
