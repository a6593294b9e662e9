//! Credentials say whose they are: a profile that is named is used, alone, each side's its own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use syncengine::embedded::EmbeddedOptions;

use super::write;
use crate::support::bench::{Bench, Ran};
use crate::support::bucket::Embedded;
use crate::support::middle::{Meeting, between};

/// A store with keys of its own, and who has signed what was sent to it.
struct Account {
    endpoint: String,
    signed: Arc<Mutex<BTreeSet<String>>>,
    _store: Embedded,
    _dir: tempfile::TempDir,
}

impl Account {
    fn new(key: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions {
            access_key: key.into(),
            secret_key: format!("secret-of-{key}"),
            ..EmbeddedOptions::new(dir.path())
        };
        let store = Embedded::of(options);
        let signed = Arc::<Mutex<BTreeSet<String>>>::default();
        let seen = Arc::clone(&signed);
        let endpoint = between(
            &store.server.endpoint,
            Box::new(move |passing| {
                seen.lock().unwrap().extend(passing.signer());
                Meeting::Pass
            }),
        );
        Self { endpoint, signed, _store: store, _dir: dir }
    }

    /// Returns who has signed since this was last asked.
    fn signed(&self) -> Vec<String> {
        std::mem::take(&mut *self.signed.lock().unwrap()).into_iter().collect()
    }
}

/// Writes the shared files: profiles that have keys, and what else they say.
fn profiles(bench: &Bench, text: &str) {
    bench.write("home/.aws/config", text);
}

fn keys(profile: &str, key: &str) -> String {
    format!(
        "[profile {profile}]\nregion = eu-central-1\naws_access_key_id = {key}\naws_secret_access_key = secret-of-{key}\n"
    )
}

/// What lies around: keys and places that are good for nothing here.
fn surroundings(command: &mut Command) -> &mut Command {
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "us-west-1");
    command.env("AWS_ACCESS_KEY_ID", "stranger").env("AWS_SECRET_ACCESS_KEY", "canary")
}

fn run(bench: &Bench, words: &[&str]) -> Ran {
    let words = [words, &["--state-dir", "state", "--output", "json"]].concat();
    Ran::of(&surroundings(&mut bench.command(&words)).output().unwrap())
}

#[test]
fn a_named_profile_is_used_alone_and_each_side_has_its_own() {
    let (one, two) = (Account::new("one"), Account::new("two"));
    let bench = Bench::new();
    write(&bench.path("a"), "f=1");
    // The second one says where it is, too.
    let second = format!("{}endpoint_url = {}\n", keys("second", "two"), two.endpoint);
    profiles(&bench, &(keys("first", "one") + &second));
    let ran = run(
        &bench,
        &["sync", "a", "s3://vault", "--create", "--endpoint-url", &one.endpoint, "--profile", "first"],
    );
    assert_eq!((ran.code, one.signed()), (0, vec!["one".into()]), "{ran:?}");
    let ran = run(&bench, &["sync", "a", "s3://vault", "--create", "--profile", "second"]);
    assert_eq!((ran.code, two.signed()), (0, vec!["two".into()]), "{ran:?}");
    let between_both = [
        "sync",
        "s3://vault/x",
        "s3://vault/y",
        "--source-profile",
        "first",
        "--source-endpoint-url",
        &one.endpoint,
        "--destination-profile",
        "second",
    ];
    let ran = run(&bench, &between_both);
    assert_eq!(
        (ran.code, one.signed(), two.signed()),
        (0, vec!["one".into()], vec!["two".into()]),
        "{ran:?}"
    );
    // Its keys are not good here: those that lie around are not tried instead.
    let ran =
        run(&bench, &["sync", "a", "s3://vault", "--endpoint-url", &one.endpoint, "--profile", "second"]);
    assert_eq!((ran.code, one.signed()), (4, vec!["two".into()]), "{ran:?}");
    // What is said on the line wins over the profile.
    let ran =
        run(&bench, &["plan", "a", "s3://vault", "--endpoint-url", &one.endpoint, "--profile", "first"]);
    assert_eq!((ran.code, one.signed()), (0, vec!["one".into()]), "{ran:?}");
    // Without a profile it is what lies around.
    let ran = run(&bench, &["sync", "a", "s3://vault", "--endpoint-url", &one.endpoint]);
    assert_eq!((ran.code, one.signed()), (4, vec!["stranger".into()]), "{ran:?}");
}

#[test]
fn a_profile_that_does_not_exist_is_exit_2_by_name_before_anything_is_sent() {
    let account = Account::new("one");
    let bench = Bench::new();
    write(&bench.path("a"), "f=1");
    profiles(&bench, &keys("backup", "one"));
    for words in [
        vec!["sync", "a", "s3://vault", "--create", "--profile", "bakcup"],
        vec!["plan", "a", "s3://vault", "--profile", "bakcup"],
        vec!["check", "a", "s3://vault", "--profile", "bakcup"],
        vec![
            "sync",
            "s3://vault/x",
            "s3://vault/y",
            "--source-profile",
            "backup",
            "--destination-profile",
            "bakcup",
        ],
    ] {
        let ran = run(&bench, &[&words[..], &["--endpoint-url", &account.endpoint]].concat());
        let error = &ran.document()["error"];
        assert_eq!((ran.code, account.signed()), (2, Vec::new()), "{words:?}: {ran:?}");
        assert!(error["message"].as_str().unwrap().contains("`bakcup`"), "{words:?}: {ran:?}");
        assert!(error["hint"].as_str().unwrap().contains("`backup`"), "the ones that exist: {ran:?}");
    }
    // The variable names one too.
    let words =
        ["sync", "a", "s3://vault", "--create", "--output", "json", "--endpoint-url", &account.endpoint];
    let mut command = bench.command(&words);
    let ran = Ran::of(&surroundings(&mut command).env("AWS_PROFILE", "bakcup").output().unwrap());
    assert_eq!((ran.code, account.signed()), (2, Vec::new()), "{ran:?}");
    assert!(ran.document()["error"]["message"].as_str().unwrap().contains("`bakcup`"), "{ran:?}");
}

/// A program that is asked for credentials: it takes a while, counts how often it was asked, and may fail.
fn process(bench: &Bench, text: &str) -> String {
    let path = bench.path("credentials.sh");
    fs::write(&path, format!("#!/bin/sh\necho asked >>'{}'\n{text}\n", bench.path("asked").display()))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("[profile slow]\nregion = us-east-1\ncredential_process = {}\n", path.display())
}

#[test]
fn a_program_that_asks_its_user_is_waited_for_and_asked_once() {
    let account = Account::new("one");
    let bench = Bench::new();
    write(&bench.path("a"), "f=1 g=2");
    let answer = r#"{"Version":1,"AccessKeyId":"one","SecretAccessKey":"secret-of-one"}"#;
    let slow = process(&bench, &format!("sleep 6; echo '{answer}'"));
    // Also where it is behind a profile that another one refers to.
    profiles(&bench, &slow);
    let ran = run(
        &bench,
        &["sync", "a", "s3://vault", "--create", "--endpoint-url", &account.endpoint, "--profile", "slow"],
    );
    assert_eq!((ran.code, account.signed()), (0, vec!["one".into()]), "{ran:?}");
    assert_eq!(bench.read("asked"), "asked\n");
}

#[test]
fn what_a_program_says_of_why_it_has_no_credentials_reaches_the_user() {
    let bench = Bench::new();
    write(&bench.path("a"), "f=1");
    profiles(&bench, &process(&bench, "echo 'the token has expired: run corp-login' >&2; exit 3"));
    let words = ["sync", "a", "s3://vault", "--endpoint-url", "http://127.0.0.1:9", "--profile", "slow"];
    let ran = run(&bench, &words);
    let message = ran.document()["error"]["message"].as_str().unwrap().to_owned();
    assert!(ran.code == 4 && message.contains("the token has expired: run corp-login"), "{ran:?}");
    assert!(message.contains("`slow`") && !ran.stdout.contains("canary"), "{ran:?}");
    let ran = Ran::of(&surroundings(&mut bench.command(&words)).output().unwrap());
    assert!(ran.stderr.contains("run corp-login") && ran.stderr.contains("caused by"), "{ran:?}");
}

/// A plan means the store and the account it was made with, wherever it is applied.
#[test]
fn a_saved_plan_remembers_what_the_surroundings_said() {
    let (one, two) = (Account::new("one"), Account::new("two"));
    let bench = Bench::new();
    write(&bench.path("a"), "f=1");
    profiles(&bench, &(keys("first", "one") + &keys("second", "two")));
    let with = |words: &[&str], endpoint: &str, profile: &str| {
        let mut command = bench.command(&[words, &["--state-dir", "state", "--output", "json"]].concat());
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ENDPOINT_URL_S3", endpoint).env("AWS_PROFILE", profile);
        Ran::of(&command.output().unwrap())
    };
    assert_eq!(with(&["sync", "a", "s3://vault", "--create"], &one.endpoint, "first").code, 0);
    write(&bench.path("a"), "g=2");
    let ran = with(&["plan", "a", "s3://vault", "--save", "plan.json"], &one.endpoint, "first");
    assert_eq!((ran.code, one.signed()), (0, vec!["one".into()]), "{ran:?}");
    let saved = bench.read("plan.json");
    assert!(!saved.contains("secret-of"), "{saved}");
    let ran = with(&["apply", "plan.json"], &two.endpoint, "second");
    assert_eq!((ran.code, one.signed(), two.signed()), (0, vec!["one".into()], Vec::new()), "{ran:?}");
}
