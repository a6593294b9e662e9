//! Which pair is this: the same two sides, however they are given.

use crate::support::bench::Bench;

/// What was deleted would come back, and a mirror would go the other way.
#[test]
fn sides_given_the_other_way_round_are_refused_with_the_command_that_was_meant() {
    for (options, turned) in [
        ("", ""),
        ("--mode std", " --mode destinationToSource"),
        ("--mode dts", " --mode sourceToDestination"),
        ("--mode sb", " --mode destinationBackup"),
        ("--mode db", " --mode sourceBackup"),
        ("--conflict source-wins", " --conflict destination-wins"),
        ("--conflict keep-both", " --conflict keep-both"),
        ("--initial-sync destination-wins", " --initial-sync source-wins"),
    ] {
        let bench = Bench::new();
        for name in ["f1", "f2"] {
            bench.write(&format!("a/{name}"), name);
        }
        assert_eq!(bench.run(&["sync", "a", "b"]).code, 0);
        std::fs::remove_file(bench.path("a/f1")).unwrap();
        let before = bench.snapshot();
        let words: Vec<&str> = ["sync", "b", "a"].into_iter().chain(options.split_whitespace()).collect();
        let (code, document) = bench.json(&words);
        let error = &document["error"];
        let hint = error["hint"].as_str().unwrap_or_default();
        assert!(hint.ends_with(&format!("syncengine sync a b{turned}")), "{options}: {document}");
        assert_eq!(code, 2, "{options}");
        assert_eq!(bench.snapshot(), before, "{options}");
    }
}

#[test]
fn looking_takes_either_order() {
    let bench = Bench::new();
    for name in ["f1", "f2"] {
        bench.write(&format!("a/{name}"), name);
    }
    bench.run(&["sync", "a", "b"]);
    std::fs::remove_file(bench.path("a/f1")).unwrap();
    let (given, turned) = (bench.json(&["status", "a", "b"]), bench.json(&["status", "b", "a"]));
    assert_eq!((given.0, &given.1), (1, &turned.1));
    assert_eq!(given.1["changes"]["source"]["deleted"][0], "f1");
    for order in [["a", "b"], ["b", "a"]] {
        let checked = bench.run(&[&["check"], &order[..]].concat());
        assert_eq!(checked.code, 1, "{checked:?}");
    }
}
