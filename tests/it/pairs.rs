//! Which pair is this: the same two sides, however they are given.

use crate::support::bench::Bench;
#[cfg(all(feature = "s3", feature = "embedded"))]
use crate::support::{bench::Ran, bucket::Bucket};

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

/// Syncs the folder `a` with a bucket, as the words and the environment say.
#[cfg(all(feature = "s3", feature = "embedded"))]
fn with_store(
    bench: &Bench,
    bucket: &Bucket,
    words: &[&str],
    environment: &[(&str, &str)],
) -> serde_json::Value {
    let location = format!("s3://{}", bucket.at);
    let fixed = ["sync", "a", &location, "--region", "us-east-1", "--output", "json"];
    let mut command = bench.command(&[&fixed, words].concat());
    bucket.server.introduce(&mut command);
    let ran = Ran::of(&command.envs(environment.iter().copied()).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.document()
}

#[cfg(all(feature = "s3", feature = "embedded"))]
fn note_codes(document: &serde_json::Value) -> Vec<&str> {
    let notices =
        document["notes"].as_array().unwrap().iter().chain(document["warnings"].as_array().unwrap());
    notices.map(|notice| notice["code"].as_str().unwrap()).collect()
}

/// However a store is named, a deletion that is still to be carried over does not come back as a file.
#[test]
#[cfg(all(feature = "s3", feature = "embedded"))]
fn a_store_is_the_same_however_its_endpoint_is_written() {
    let server = crate::support::bucket::embedded();
    let endpoint = server.endpoint.clone();
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
    let (named, slash) = (endpoint.replace("127.0.0.1", "LocalHost"), format!("{endpoint}/"));
    for mode in ["tw", "std"] {
        let (bench, bucket) = (Bench::new(), server.place("vault/"));
        let ways = [
            format!("--endpoint-url {endpoint}"),
            format!("--endpoint-url {named}"),
            format!("--endpoint-url {slash}"),
            format!("AWS_ENDPOINT_URL={named}"),
            format!("AWS_ENDPOINT_URL_S3={endpoint}"),
        ];
        for number in 0..ways.len() {
            bench.write(&format!("a/f{number}"), "text");
        }
        for (number, way) in ways.iter().enumerate() {
            let words: Vec<&str> = way.split(' ').filter(|word| !word.contains('=')).collect();
            let environment: Vec<_> = way.split_once('=').into_iter().collect();
            let document =
                with_store(&bench, &bucket, &[&words[..], &["--mode", mode]].concat(), &environment);
            assert_eq!(note_codes(&document), Vec::<&str>::new(), "{mode} {way}");
            assert_eq!(document["first_sync"], number == 0, "{mode} {way}");
            std::fs::remove_file(bench.path(&format!("a/f{number}"))).unwrap();
        }
        assert_eq!(bucket.file_names().len(), 1, "{mode}: all but the last deletion were carried over");
    }
}

/// A bucket that was copied is another one: what was deleted in the first since is not deleted in the second.
#[test]
#[cfg(all(feature = "s3", feature = "embedded"))]
fn a_second_bucket_has_a_past_of_its_own() {
    let server = crate::support::bucket::embedded();
    for mode in ["tw", "sb"] {
        let (bench, first, second) = (Bench::new(), server.place("one/"), server.place("two/"));
        let sync = |bucket: &Bucket| {
            with_store(&bench, bucket, &["--endpoint-url", &server.endpoint, "--mode", mode], &[])
        };
        for name in ["gone", "kept"] {
            bench.write(&format!("a/{name}"), name);
        }
        sync(&first);
        for (name, bytes) in first.objects() {
            second.put(&name, &bytes, None);
        }
        for name in first.ours() {
            second.put(&name, &first.get(&name), None);
        }
        std::fs::remove_file(bench.path("a/gone")).unwrap();
        sync(&first);
        let document = sync(&second);
        // It is older than the other side, too.
        assert_eq!(note_codes(&document), ["root-copied", "rolled-back"], "{mode}: {document}");
        assert!(second.file_names().contains(&"gone".into()), "{mode}: {:?}", second.file_names());
        for bucket in [&first, &second, &first, &second] {
            let document = sync(bucket);
            assert_eq!(note_codes(&document), Vec::<&str>::new(), "{mode}: {document}");
        }
    }
}

/// Markers cost a changing run four small requests, and any other none.
#[test]
#[cfg(all(feature = "s3", feature = "embedded"))]
fn markers_cost_a_changing_run_four_requests_and_any_other_none() {
    let server = crate::support::bucket::embedded();
    for (mode, deletions) in [("tw", 2), ("std", 2), ("sb", 0)] {
        let (bench, bucket) = (Bench::new(), server.place("vault/"));
        let sync = || with_store(&bench, &bucket, &["--endpoint-url", &server.endpoint, "--mode", mode], &[]);
        for number in 0..3 {
            bench.write(&format!("a/f{number}"), "text");
            sync();
            let unchanged = sync();
            let all = |document: &serde_json::Value, kind: &str| document["requests"][kind].as_u64().unwrap();
            let kinds = ["list", "head", "get", "put", "copy", "delete", "multipart"];
            // The second run after a change may settle what was too young to be sure of.
            let quiet = kinds.map(|kind| all(&unchanged, kind));
            assert_eq!(quiet[0], 1, "{mode}: {unchanged}");
            assert_eq!(quiet[3..], [0, 0, 0, 0], "{mode}: {unchanged}");
        }
        bench.write("a/new", "text");
        let changed = sync();
        let count = |kind: &str| changed["requests"][kind].as_u64().unwrap();
        assert_eq!((count("put"), count("delete")), (1 + 2, deletions), "{mode}: {changed}");
        assert_eq!((count("copy"), count("multipart")), (0, 0), "{mode}: {changed}");
    }
}

#[test]
fn what_is_remembered_is_moved_by_a_command() {
    let bench = Bench::new();
    for name in ["f1", "f2", "f3"] {
        bench.write(&format!("a/{name}"), name);
    }
    bench.run(&["sync", "a", "b"]);
    bench.write("c/f1", "f1");
    bench.write("c/f2", "f2");
    bench.write("c/f3", "f3");
    std::fs::remove_dir_all(bench.path("b")).unwrap();
    std::fs::remove_file(bench.path("a/f1")).unwrap();
    let unknown = bench.run(&["state", "move", "d", "c"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("nothing is remembered of `d`"), "{unknown:?}");
    let missing = bench.run(&["state", "move", "b", "missing"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    let nested = bench.run(&["state", "move", "b", "a"]);
    assert_eq!(nested.code, 2, "{nested:?}");
    let (code, document) = bench.json(&["state", "move", "b", "c"]);
    assert_eq!((code, document["pairs"].as_array().map(Vec::len)), (0, Some(1)), "{document}");
    let (code, document) = bench.json(&["sync", "a", "c"]);
    assert_eq!((code, document["first_sync"].as_bool()), (0, Some(false)), "{document}");
    assert!(!bench.has("c/f1") && !bench.has("a/f1") && bench.has("c/f2"), "{document}");
}
