//! What users see and set: options, warnings, events, names, the state.

use std::fs;
use std::sync::Arc;

use serde_json::json;
use syncengine::{Outcome, SyncMode, SyncOptions, SyncPair};

use super::{Meddled, Still, Watcher, codes, one_by_one, wait};
use crate::scenarios::{act, codes as codes_of, database, snapshot, sync, tree};
use crate::support::bench::Bench;
use crate::support::bucket::{AtRest, Bucket};
use crate::support::{Root, read_tree};

/// Names that a program could take for nothing, for a number, or for something else than they are.
const ODD_NAMES: &[&str] = &[
    "0",
    "false",
    "null",
    "-1",
    "%2F",
    "a%20b",
    "a+b",
    "a&b",
    "name.",
    "~",
    "*",
    "e\u{301}",
    "\u{e9}",
    "#1",
    "q?x=1",
    "back\\slash",
    "'",
    "\"",
    "<",
    "d/0",
];

#[test]
fn h31_a_mirror_deletes_every_odd_name_and_no_other() {
    let world = Meddled::new();
    world.act("a write keep 1");
    for name in ODD_NAMES {
        world.bench.write(&format!("a/{name}"), name);
    }
    let mirror = || world.mode(SyncMode::SourceToDestination);
    assert_eq!(usize::try_from(mirror().counts.uploaded).unwrap(), ODD_NAMES.len() + 1);
    let report = mirror();
    assert_eq!((report.counts.uploaded, report.counts.deleted_destination), (0, 0), "{:?}", report.actions);
    assert_eq!(world.folder(), Root::files(&world.bucket));
    for (done, name) in ODD_NAMES.iter().enumerate() {
        fs::remove_file(world.bench.path("a").join(name)).unwrap();
        assert_eq!(mirror().counts.deleted_destination, 1, "{name}");
        assert_eq!(Root::files(&world.bucket).len(), ODD_NAMES.len() - done, "{name}");
    }
    world.agrees("keep=1");
}

#[test]
fn h32_an_option_that_does_not_apply_is_an_error() {
    let bench = Bench::new();
    act(&bench, "a write f first");
    let before = bench.snapshot();
    for words in [
        "--mode std --conflict manual",
        "--mode sb --initial-sync merge",
        "--mode tw --no-pull",
        "--region us-east-1",
        "--files-to-skip f",
        "--file-renames f=g",
    ] {
        let (code, report) = sync(&bench, words);
        assert_eq!((code, &report["outcome"]), (2, &"failed".into()), "{words}: {report}");
        assert!(!report["error"]["message"].as_str().unwrap().is_empty(), "{words}");
    }
    assert_eq!(bench.snapshot(), before);
    for key in ["files_to_skip", "file_renames"] {
        let pair = json!({"source": "a", "destination": "b", key: {"f": "g"}});
        assert!(serde_json::from_value::<SyncPair>(pair).is_err(), "{key}");
    }
}

#[test]
fn h33_every_setting_has_an_effect_or_is_not_taken() {
    for key in ["ignore_file_name", "local_trash_dir_name", "state_dir_name", "app_name"] {
        let pair = json!({"source": "a", "destination": "b", key: "own"});
        assert!(serde_json::from_value::<SyncPair>(pair).is_err(), "{key}");
    }
    let bench = Bench::new();
    act(&bench, "a write f first; a write x.log 1");
    bench.write("rules", "*.log\n");
    let words = "sync a embedded://vault/p --embedded-dir server --state-dir own --ignore-file rules \
        --trash-location embedded://bin/t";
    let words: Vec<_> = words.split_whitespace().collect();
    // Makes the bucket if it is not there.
    let look = |name: &str| {
        let bucket = AtRest { dir: bench.path("server"), name: name.into() };
        bucket.with(Bucket::objects)
    };
    look("bin");
    let synced = || {
        let (code, report) = bench.json(&words);
        assert_eq!(code, 0, "{report}");
    };
    synced();
    act(&bench, "a write f edited");
    synced();
    assert!(bench.has("own") && !bench.has("home/.local"), "the state is where it was to be");
    let (files, trash) = (look("vault"), look("bin"));
    assert!(files.contains_key("p/f") && !files.contains_key("p/x.log"), "{files:?}");
    assert!(!files.keys().any(|name| name.contains("/trash/")), "{files:?}");
    let kept: Vec<_> =
        trash.iter().filter(|(name, _)| name.starts_with("t/2")).map(|(_, bytes)| bytes).collect();
    assert_eq!(kept, [b"first"], "{trash:?}");
}

#[test]
fn h37_a_lopsided_first_sync_is_warned_about_before_anything_is_done() {
    let world = Meddled::new();
    world.act("a many n 40; b write only here");
    let plan = world.run(|pair| pair, SyncOptions::new().dry_run(true)).unwrap();
    assert_eq!(codes(&plan.warnings), ["lopsided-first-sync"]);
    let watcher = Arc::new(Watcher::default());
    let report =
        world.run(|pair| pair, SyncOptions::new().observer(Arc::<Watcher>::clone(&watcher))).unwrap();
    assert_eq!(codes(&report.warnings), ["lopsided-first-sync"]);
    let kinds = watcher.kinds();
    let first = |kind: &str| kinds.iter().position(|seen| seen == kind).unwrap();
    assert!(first("warned") < first("done"), "{kinds:?}");
    assert!(world.sync().warnings.is_empty(), "later runs are not first syncs");
}

#[test]
fn h38_every_mode_tells_what_it_does() {
    for &mode in SyncMode::ALL {
        let world = Meddled::synced("a write f first; a write g second");
        world.act("a write f edited; b write g edited");
        let watcher = Arc::new(Watcher::default());
        let options = SyncOptions::new().observer(Arc::<Watcher>::clone(&watcher));
        let report = world.run(|pair| pair.mode(mode), options).unwrap();
        let kinds = watcher.kinds();
        let at = |kind: &str| kinds.iter().position(|seen| seen == kind);
        let order = [at("compared"), at("planned"), at("moved"), at("done")];
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{mode}: {kinds:?}");
        let copies = report.counts.uploaded + report.counts.downloaded;
        assert_eq!((u64::try_from(watcher.done().len()).unwrap(), copies), (2, 2), "{mode}: {kinds:?}");
    }
}

#[test]
fn h40_no_name_of_a_store_leads_out_of_the_root() {
    let world = Meddled::new();
    let names = ["../escaped", "d/../../escaped", "/escaped", "d//escaped", "./escaped", "d/.."];
    world.act("b write fine 1");
    for name in names {
        world.bucket.put(name, b"escaped", None);
    }
    let outside = |world: &Meddled| {
        let everything = snapshot(world.bench.dir.path()).into_iter();
        let found = everything.filter(|(path, _)| path.to_string_lossy().contains("escaped"));
        found.map(|(path, _)| path).collect::<Vec<_>>()
    };
    for mode in [SyncMode::DestinationToSource, SyncMode::TwoWay] {
        let report = world.mode(mode);
        assert_eq!(report.outcome, Outcome::Partial, "{mode}");
        assert_eq!(
            usize::try_from(report.counts.failed).unwrap(),
            names.len(),
            "{mode}: {:?}",
            report.failures
        );
        assert_eq!(outside(&world), Vec::<std::path::PathBuf>::new(), "{mode}");
        assert_eq!(world.folder(), tree("fine=1"), "{mode}");
    }
    assert_eq!(
        world.bucket.names().iter().filter(|name| !name.starts_with(".sync")).count(),
        names.len() + 1
    );
}

#[test]
fn h41_no_download_goes_through_a_link() {
    for mode in [SyncMode::TwoWay, SyncMode::DestinationToSource] {
        let world = Meddled::new();
        fs::create_dir(world.bench.path("outside")).unwrap();
        world.act("a link d ../outside; b write d/x theirs; b write fine 1");
        let report = world.mode(mode);
        assert_eq!(report.outcome, Outcome::Partial, "{mode}");
        assert_eq!(world.bench.read("a/fine"), "1", "{mode}");
        assert_eq!(fs::read_dir(world.bench.path("outside")).unwrap().count(), 0, "{mode}");
        assert_eq!(world.bucket.get("d/x"), b"theirs", "{mode}");
    }
}

#[test]
fn h42_a_damaged_state_is_told_set_aside_and_never_a_silent_first_sync() {
    let damaged = |what: &str, old: &[u8]| match what {
        "of another shape" => br#"{"files": [1, 2, 3]}"#.to_vec(),
        "not UTF-8" => vec![0xff; old.len()],
        _ => old[..16.min(old.len())].to_vec(),
    };
    for what in ["of another shape", "not UTF-8", "cut off"] {
        let world = Meddled::synced("a write f first; a write g second");
        for (path, (.., content)) in snapshot(&database(&world.bench)) {
            if !content.is_empty() {
                fs::write(path, damaged(what, &content)).unwrap();
            }
        }
        world.act("a rm f");
        let report = world.sync();
        assert_eq!((report.outcome, report.first_sync), (Outcome::Synced, false), "{what}");
        assert_eq!(codes(&report.warnings), ["state-lost"], "{what}");
        let kept = fs::read_dir(world.bench.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
        let kept: Vec<_> = kept.map(|name| name.into_string().unwrap()).collect();
        assert!(kept.iter().any(|name| name.contains(".lost")), "{what}: {kept:?}");
        world.agrees("f=first g=second");
        assert!(world.sync().warnings.is_empty(), "{what}: later runs go on");
    }
}

/// Uploads files of 1,000 bytes each; returns how many seconds a run would have waited.
fn waited(files: usize, bytes_per_second: Option<u64>) -> u64 {
    let mut world = Meddled::new();
    let clock = Arc::new(Still::default());
    world.clock = Arc::<Still>::clone(&clock);
    for at in 0..files {
        world.bench.write(&format!("a/{at}"), &"x".repeat(1000));
    }
    let mut options = one_by_one();
    options.tuning.bytes_per_second = bytes_per_second;
    let report = world.run(|pair| pair, options).unwrap();
    assert_eq!(usize::try_from(report.counts.uploaded).unwrap(), files);
    let slept = clock.0.lock().unwrap();
    slept.as_secs()
}

#[test]
fn h45_what_is_waited_grows_with_the_bytes_and_only_if_asked_for() {
    assert_eq!(waited(40, None), 0);
    // The first file needs not wait.
    assert_eq!([waited(11, Some(1000)), waited(21, Some(1000)), waited(41, Some(1000))], [10, 20, 40]);
}

#[test]
fn h46_a_pair_that_is_written_can_be_read_in_every_spelling() {
    let pair = SyncPair::new("/a", "s3://vault/a").mode(SyncMode::SourceBackup).exclude("*.tmp").pull(false);
    let written = serde_json::to_string(&pair).unwrap();
    assert_eq!(serde_json::from_str::<SyncPair>(&written).unwrap(), pair);
    for (source, destination) in
        [("local", "remote"), ("source", "destination"), ("source_root", "destination_root")]
    {
        let json = json!({source: "/a", destination: "s3://vault/a", "mode": "localBackup", "rules": ["*.tmp"],
                          "pull": false});
        assert_eq!(serde_json::from_value::<SyncPair>(json).unwrap(), pair, "{source}");
    }
    // What one command saves another one loads.
    let bench = Bench::new();
    act(&bench, "a write f first");
    assert_eq!(bench.json(&["plan", "a", "b", "--mode", "sb", "--save", "plan"]).0, 0);
    let (code, report) = bench.json(&["apply", "plan"]);
    assert_eq!((code, codes_of(&report, "warnings")), (0, Vec::new()), "{report}");
    assert_eq!(read_tree(&bench.path("b")), tree("f=first"));
}

#[test]
fn h50_the_state_has_one_row_for_each_path() {
    let world = Meddled::synced("a many n 20; b many m 10");
    let rows = || {
        let options = SyncOptions::new();
        let (engine, pair) = (world.engine(), world.pair(&options.controller));
        wait(|| engine.state_of(&pair, &options)).unwrap().rows
    };
    assert_eq!(rows(), 30);
    world.act("a mv n/000 renamed; a write n/001 edited; b rm m/000");
    for &mode in SyncMode::ALL {
        world.mode(mode);
        assert_eq!(rows(), 29, "{mode}");
    }
}
