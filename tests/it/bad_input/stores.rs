//! What users do wrong with locations in stores. No test here needs a server.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;
use syncengine::clock::{Clock, SystemClock};

use crate::support::bench::{Bench, Ran};

/// Runs with these variables, words separated by one space; returns the exit code and the one document.
fn json(bench: &Bench, words: &str, variables: &[(&str, &str)]) -> (i32, Value) {
    let words: Vec<_> = words.split(' ').chain(["--output", "json"]).collect();
    let mut command = bench.command(&words);
    let command = command.env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
    let ran = Ran::of(&command.output().unwrap());
    (ran.code, ran.document())
}

/// Credentials that are good for nothing, so that what is refused is refused for another reason.
const KEYS: &[(&str, &str)] =
    &[("AWS_ACCESS_KEY_ID", "canary-key"), ("AWS_SECRET_ACCESS_KEY", "canary-secret")];

/// Holds an error against what it must say, in one line and with a hint.
fn says(words: &str, document: &Value, expected: &str) {
    let error = &document["error"];
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default());
    assert!(!hint.is_empty() && message.lines().count() == 1, "{words}: {document}");
    let said = format!("{message} {hint}");
    assert!(said.contains(expected), "{words} says {said:?}, not {expected:?}");
    assert!(!said.contains("canary"), "a secret is shown: {said}");
}

#[test]
fn b43_b44_impossible_locations_and_endpoints_are_exit_2() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    bench.write("no-bundle.pem", "nothing");
    let before = bench.snapshot();
    for (words, expected) in [
        // B-43
        ("a s3://", "s3://bucket/prefix"),
        ("a s3:///x", "the name of the bucket"),
        ("a s3://b", "a bucket has"),
        ("a s3://bu_ck@et", "a bucket has"),
        ("a s3://bucket//x", "prefix"),
        ("a s3://bucket/x//y", "prefix"),
        ("a s3://bucket/../x", "prefix"),
        ("a s3://bucket/x/.syncengine", "reserved"),
        ("a s3://arn:aws:s3:::bucket", "ARNs"),
        ("a S3://bucket", "S3://"),
        ("http://host/bucket b", "the source"),
        ("s3://b b", "the source"),
        ("a embedded://b --embedded-dir e", "the destination"),
        // B-44
        ("a s3://bucket --endpoint-url s3.example.org", "http"),
        ("a s3://bucket --endpoint-url ftp://s3.example.org", "http"),
        ("a s3://bucket --endpoint-url http://s3.example.org", "--allow-http"),
        ("a s3://bucket --destination-endpoint-url http://192.0.2.1:9000", "--allow-http"),
        ("a s3://bucket --endpoint-url https://canary:canary@s3.example.org", "user name"),
        ("a s3://bucket --endpoint-url https://s3.example.org/path", "more than a host"),
        ("a s3://bucket --endpoint-url https://s3.example.org?query", "more than a host"),
        ("a s3://bucket --endpoint-url https://s3.example.org:0", "port"),
        ("a s3://bucket --endpoint-url=", "--endpoint-url"),
        ("a s3://bucket --ca-bundle no-bundle.pem", "no-bundle.pem"),
        ("a s3://bucket --ca-bundle nowhere.pem", "nowhere.pem"),
        ("a s3://bucket", "--region"),
        // B-46
        ("a embedded://bucket --embedded-dir a/e", "--embedded-dir"),
        ("a embedded://bucket --embedded-dir .", "--embedded-dir"),
        ("embedded://bucket a --embedded-dir a", "--embedded-dir"),
        ("embedded://bucket embedded://bucket/x --embedded-dir e", "apart"),
        ("embedded://bucket/x/ embedded://bucket/x --embedded-dir e", "apart"),
        ("embedded://one embedded://two --source-embedded-dir e --destination-embedded-dir e/e", "outside"),
        ("s3://bucket s3://bucket/x --endpoint-url https://s3.example.org", "apart"),
        ("s3://bucket/x s3://bucket/x/ --endpoint-url https://s3.example.org", "apart"),
        (
            "s3://bucket/x s3://bucket --source-endpoint-url https://s3.example.org/ \
             --destination-endpoint-url https://s3.example.org",
            "apart",
        ),
        (
            "a s3://bucket/x --trash-location s3://bucket --endpoint-url https://s3.example.org",
            "trash location",
        ),
        ("s3://bucket/x a --trash-location s3://bucket/x/y --endpoint-url https://s3.example.org", "outside"),
        // B-33
        ("a embedded://bucket --embedded-dir e --state-dir e/state", "--state-dir"),
        // B-49
        ("a b --region us-east-1", "no side is on s3://"),
        ("a embedded://bucket --region us-east-1", "no side is on s3://"),
        ("a s3://bucket --source-profile p", "the source is a folder"),
        ("a s3://bucket --trash-location s3://trash --trash off", "--trash off"),
        ("a s3://bucket --trash-location trash", "s3://bucket/prefix"),
    ] {
        for command in ["sync", "plan"] {
            let words = format!("{command} {words}");
            let (code, document) = json(&bench, &words, KEYS);
            assert_eq!((code, &document["outcome"]), (2, &"failed".into()), "{words}: {document}");
            says(&words, &document, expected);
        }
    }
    assert_eq!(bench.snapshot(), before);
}

#[test]
fn every_command_with_two_locations_takes_the_options_of_stores() {
    let bench = Bench::new();
    let http = "--endpoint-url http://s3.example.org";
    for command in ["sync", "plan", "check", "status", "state show", "state forget"] {
        let words = format!("{command} a s3://bucket {http}");
        let (code, document) = json(&bench, &words, KEYS);
        assert_eq!((code, &document["outcome"]), (2, &"failed".into()), "{words}: {document}");
        says(&words, &document, "--allow-http");
        let words = format!("{command} a b {http}");
        let (code, document) = json(&bench, &words, KEYS);
        assert_eq!(code, 2, "{words}: {document}");
        says(&words, &document, "has no effect");
    }
}

#[test]
fn variables_name_endpoints_too_and_are_held_to_the_same_rules() {
    let bench = Bench::new();
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let variables = [KEYS, &[(variable, "http://s3.example.org")]].concat();
        let (code, document) = json(&bench, "sync a s3://bucket", &variables);
        assert_eq!(code, 2, "{variable}: {document}");
        says(variable, &document, "--allow-http");
    }
}

#[test]
fn without_credentials_a_store_is_exit_4_within_5_seconds() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    for words in [
        "sync a s3://bucket --region eu-central-1",
        "plan s3://one1 s3://two2 --endpoint-url https://s3.example.org",
        "check a s3://bucket",
        "state show s3://bucket b",
    ] {
        let began = SystemClock.monotonic();
        let (code, document) = json(&bench, words, &[]);
        let took = SystemClock.monotonic().saturating_sub(began);
        assert_eq!((code, &document["outcome"]), (4, &"failed".into()), "{words}: {document}");
        says(words, &document, "AWS_ACCESS_KEY_ID");
        let side = if words.contains(" a ") { "the destination" } else { "the source" };
        says(words, &document, side);
        assert!(took < Duration::from_secs(5), "{words} took {took:?}");
    }
    assert_eq!(bench.json(&["check", "a", "b"]).0, 1, "nothing was synced");
}

#[test]
fn a_store_that_nobody_answers_for_is_exit_4() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    // Nobody listens any more once the listener is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = format!("sync a s3://bucket --endpoint-url http://{address}");
    let (code, document) = json(&bench, &words, KEYS);
    assert_eq!((code, &document["outcome"]), (4, &"failed".into()), "{document}");
    says(&words, &document, "");
}

#[test]
fn f48_a_name_that_nobody_has_and_a_peer_without_tls_are_exit_4() {
    // It ends with the process of the test.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"220 mail.example.org ESMTP\r\n"));
        }
    });
    std::thread::scope(|scope| {
        for endpoint in ["https://no-such-host.invalid", &plain] {
            scope.spawn(move || {
                let bench = Bench::new();
                bench.write("a/x", "1");
                let words = format!("sync a s3://bucket --endpoint-url {endpoint}");
                let (code, document) = json(&bench, &words, KEYS);
                assert_eq!((code, &document["outcome"]), (4, &"failed".into()), "{document}");
                says(&words, &document, "check the address and the network");
                assert_eq!(bench.read("a/x"), "1", "{words}");
            });
        }
    });
}

#[test]
fn looking_at_an_embedded_store_that_does_not_exist_makes_nothing() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    let before = bench.snapshot();
    for (words, code) in [
        ("plan a embedded://bucket --embedded-dir e", 0),
        ("sync a embedded://bucket --embedded-dir e --dry-run", 0),
        ("plan embedded://bucket a --mode dts --embedded-dir e", 0),
        ("plan embedded://bucket a --mode std --embedded-dir e", 2),
        ("plan a embedded://bucket", 0),
        ("status a embedded://bucket --embedded-dir e", 1),
        ("check a embedded://bucket --embedded-dir e", 1),
        ("state show a embedded://bucket --embedded-dir e", 0),
        ("state forget a embedded://bucket --embedded-dir e", 0),
    ] {
        let (found, document) = json(&bench, words, &[]);
        assert_eq!(found, code, "{words}: {document}");
        assert_eq!(bench.snapshot(), before, "{words}");
        if words.starts_with("plan a") {
            assert_eq!(document["destination"], "embedded://bucket", "{document}");
            assert_eq!(document["counts"]["uploaded"], 1, "{document}");
        }
    }
    let default = bench.command(&["plan", "a", "embedded://bucket"]).env_remove("HOME").output().unwrap();
    let ran = Ran::of(&default);
    assert!(ran.code == 2 && ran.stderr.contains("--embedded-dir"), "{ran:?}");
}

#[test]
fn a_saved_plan_carries_how_stores_are_reached_and_no_secret() {
    let bench = Bench::new();
    bench.write("a/x", "1");
    let words = "plan a embedded://bucket/x --embedded-dir e --trash-location embedded://trash --save p.json";
    let (code, document) = json(&bench, words, KEYS);
    assert_eq!(code, 0, "{document}");
    let saved = bench.read("p.json");
    let plan: Value = serde_json::from_str(&saved).unwrap();
    let pair = &plan["pair"];
    assert_eq!(pair["destination"], "embedded://bucket/x");
    let expected = bench.path("e").to_str().unwrap().to_owned();
    assert_eq!(pair["destination_store"]["embedded_dir"], expected.as_str(), "absolute: {saved}");
    assert_eq!(pair["trash_location"], "embedded://trash");
    assert!(pair.get("source_store").is_none() && !saved.contains("canary"), "{saved}");
    let (code, document) = json(&bench, "apply p.json --region us-east-1", &[]);
    assert_eq!(code, 2, "how a store is reached is in the plan: {document}");
}
