//! Folders on disks that do what disks seldom do: each is served by the test itself (`support/fuse.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syncengine::client::local::{LocalClient, PublishRung};
use syncengine::client::{ListRequest, Listed, StorageClient};
use syncengine::{ErrorKind, Outcome, Report, SyncEngine, SyncMode, SyncOptions, SyncPair};

use crate::contract::{body, key, kind, read, target};
use crate::local::skip;
use crate::support::fuse::{
    Disk, Faults, Mounted, Rule, case_folded, decomposed, in_own_mounts, plain, trimmed,
};
use crate::support::read_tree;

mod power;

/// A folder of the usual kind on one side, a disk on the other, and a state.
struct Pair {
    usual: tempfile::TempDir,
    disk: Mounted,
    mode: SyncMode,
    /// Whether the disk is the source.
    reversed: bool,
}

impl Pair {
    fn new(disk: Disk, mode: SyncMode) -> Self {
        let usual = tempfile::tempdir().unwrap();
        fs::create_dir(usual.path().join("tree")).unwrap();
        let pair = Self { usual, disk: disk.mount(), mode, reversed: false };
        pair.disk.folder("tree");
        pair
    }

    fn usual(&self) -> std::path::PathBuf {
        self.usual.path().join("tree")
    }

    fn on_disk(&self) -> std::path::PathBuf {
        self.disk.path.join("tree")
    }

    fn sync(&self) -> Report {
        let (usual, disk) = (self.usual(), self.on_disk());
        let (source, destination) = if self.reversed { (disk, usual) } else { (usual, disk) };
        let pair = SyncPair::new(source.to_str().unwrap(), destination.to_str().unwrap()).mode(self.mode);
        sync(&pair, &self.usual.path().join("state"))
    }
}

fn sync(pair: &SyncPair, state: &Path) -> Report {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = SyncEngine::new(state);
    runtime.block_on(engine.sync_pair(pair, SyncOptions::new())).unwrap()
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn failed(report: &Report) -> Vec<&str> {
    report.failures.iter().map(|failure| failure.path.as_str()).collect()
}

async fn names(client: &LocalClient) -> Vec<String> {
    use futures::TryStreamExt;
    let items: Vec<Listed> = client.list(ListRequest::default()).try_collect().await.unwrap();
    items.iter().map(|item| item.position().into_owned()).collect()
}

/// Two names a disk takes for one, and what kind of disk that is.
const COLLISIONS: [(&str, &str, Rule); 8] = [
    ("File", "file", case_folded),
    ("A/x", "a/x", case_folded),
    ("A/x", "a/y", case_folded),
    ("d/e/Deep/x", "d/e/deep/x", case_folded),
    ("ÄÖ", "äö", case_folded),
    ("caf\u{e9}", "cafe\u{301}", decomposed),
    ("\u{304c}/x", "\u{304b}\u{3099}/x", decomposed),
    ("e\u{301}/x", "\u{e9}/y", decomposed),
];

/// Each pair of names on each rung of the publish ladder, made one after the other and in one batch.
#[test]
fn b12_b13_i43_of_two_names_that_are_one_here_the_second_is_refused() {
    if !in_own_mounts("disks::b12_b13_i43_of_two_names_that_are_one_here_the_second_is_refused", skip) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (first, second, fold) in COLLISIONS {
        for rung in [PublishRung::Exchange, PublishRung::HardLink, PublishRung::Rename] {
            for together in [false, true] {
                let what = format!("{first} {second} {rung:?} {together}");
                let disk = Disk::new(fold, plain).mount();
                let client = LocalClient::open(&disk.path).unwrap().with_publish_rung(rung);
                let (made, refused) = runtime.block_on(async {
                    let one = client.stage(target(first, None), body(b"one")).await.unwrap();
                    if !together {
                        let made = client.publish(vec![one]).await.remove(0);
                        let refused = async {
                            let other = client.stage(target(second, None), body(b"two")).await?;
                            client.publish(vec![other]).await.remove(0)
                        };
                        return (made.unwrap(), refused.await);
                    }
                    match client.stage(target(second, None), body(b"two")).await {
                        Err(error) => (client.publish(vec![one]).await.remove(0).unwrap(), Err(error)),
                        Ok(other) => {
                            let mut results = client.publish(vec![one, other]).await;
                            (results.remove(0).unwrap(), results.remove(0))
                        }
                    }
                });
                let error = refused.expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
                assert!(error.hint().unwrap().contains("rename one of them"), "{what}: {error:?}");
                runtime.block_on(async {
                    assert_eq!(read(&client, &made).await.unwrap(), b"one", "{what}");
                    assert!(client.head(&key(second)).await.unwrap().is_none(), "{what}");
                    assert!(client.head(&key(first)).await.unwrap().is_some(), "{what}");
                    assert_eq!(names(&client).await, [first], "{what}: no temporary, no other name");
                    // A name can be spelled anew where it is, but no file can be in a folder of another spelling.
                    let renamed = client.rename(&made, &key(second)).await;
                    if key(first).parent() == key(second).parent() {
                        let renamed = renamed.expect(&what);
                        assert_eq!(read(&client, &renamed).await.unwrap(), b"one", "{what}");
                        assert_eq!(names(&client).await, [second], "{what}");
                    } else {
                        assert_eq!(kind(renamed), Some(ErrorKind::Invalid), "{what}");
                        assert_eq!(names(&client).await, [first], "{what}");
                    }
                });
            }
        }
    }
    println!(
        "ci: names that are one on some disks: {} pairs on 3 rungs, one by one and together",
        COLLISIONS.len()
    );
}

/// However often and in whatever mode it is synced, both files stay where both can be.
#[test]
fn b12_b13_i43_a_collision_is_reported_in_every_run_and_loses_nothing() {
    if !in_own_mounts("disks::b12_b13_i43_a_collision_is_reported_in_every_run_and_loses_nothing", skip) {
        return;
    }
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::SourceBackup] {
        for (first, second, fold) in COLLISIONS {
            let what = format!("{mode} {first} {second}");
            let pair = Pair::new(Disk::new(fold, plain), mode);
            write(&pair.usual(), first, "one");
            write(&pair.usual(), second, "two");
            write(&pair.usual(), "other", "three");
            let before = read_tree(&pair.usual());
            for run in 0..3 {
                let report = pair.sync();
                assert_eq!(report.outcome, Outcome::Partial, "{what} {run}: {report:?}");
                let mut failed = failed(&report);
                failed.sort_unstable();
                assert_eq!(failed, [first.min(second), first.max(second)], "{what} {run}: both are named");
                for failure in &report.failures {
                    assert_eq!(failure.code.as_str(), "name-clash", "{what} {run}: {failure:?}");
                }
                assert_eq!(read_tree(&pair.usual()), before, "{what} {run}: the source is as it was");
                let there = read_tree(&pair.on_disk());
                assert_eq!(
                    there.into_keys().collect::<Vec<_>>(),
                    ["other"],
                    "{what} {run}: neither is touched"
                );
            }
        }
    }
}

/// What the disk would call otherwise does not come to be: its other name would look like a deletion and a new file.
#[test]
fn b13_i43_a_name_the_disk_spells_otherwise_is_taken_back() {
    if !in_own_mounts("disks::b13_i43_a_name_the_disk_spells_otherwise_is_taken_back", skip) {
        return;
    }
    let mut tried = 0;
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::SourceBackup] {
        for (name, spell) in [
            ("caf\u{e9}", decomposed as Rule),
            ("d/\u{e9}/x", decomposed),
            ("\u{304c}", decomposed),
            ("dot.", trimmed),
            ("folder./x", trimmed),
            ("space ", trimmed),
        ] {
            let what = format!("{mode} {name}");
            let pair = Pair::new(Disk::new(plain, spell), mode);
            write(&pair.usual(), name, "one");
            write(&pair.usual(), "fine", "two");
            let before = read_tree(&pair.usual());
            for run in 0..3 {
                let report = pair.sync();
                assert_eq!(failed(&report), [name], "{what} {run}: {report:?}");
                assert!(!report.failures[0].hint.is_empty(), "{what} {run}: {report:?}");
                assert_eq!(read_tree(&pair.usual()), before, "{what} {run}");
                assert_eq!(
                    read_tree(&pair.on_disk()).into_keys().collect::<Vec<_>>(),
                    ["fine"],
                    "{what} {run}"
                );
            }
            tried += 1;
        }
    }
    println!("ci: names a disk spells otherwise: {tried} runs of three");
}

/// A name of a bucket that folds to the folder of ours must not get at our notes.
#[test]
fn i43_no_name_reaches_our_own_folder_in_another_spelling() {
    if !in_own_mounts("disks::i43_no_name_reaches_our_own_folder_in_another_spelling", skip) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for name in [".SYNCENGINE/intents/1.json", ".Syncengine/trash/x", ".syncengine\u{200c}/x"] {
        let disk = Disk::new(|name| name.to_lowercase().replace('\u{200c}', ""), plain).mount();
        let client = LocalClient::open(&disk.path).unwrap();
        let staged = runtime.block_on(client.stage(target(name, None), body(b"{}")));
        assert_eq!(kind(staged), Some(ErrorKind::Invalid), "{name}");
        let inside = fs::read_dir(disk.path.join(".syncengine")).unwrap();
        let inside: Vec<_> = inside.map(|item| item.unwrap().file_name()).collect();
        assert_eq!(inside, [".gitignore"], "{name}");
    }
}

/// Whatever cannot be read is neither copied nor taken for deleted, in either direction.
#[test]
fn f07_a_file_that_cannot_be_read_to_its_end_is_not_copied_and_deletes_nothing() {
    if !in_own_mounts(
        "disks::f07_a_file_that_cannot_be_read_to_its_end_is_not_copied_and_deletes_nothing",
        skip,
    ) {
        return;
    }
    let mut tried = 0;
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::DestinationBackup] {
        // At once, in the first step, in a later one, at the last byte.
        for offset in [0, 1, 300_000, 599_999] {
            let what = format!("{mode} {offset}");
            let reversed = mode != SyncMode::DestinationBackup;
            let pair = Pair { reversed, ..Pair::new(Disk::new(plain, plain), mode) };
            write(&pair.on_disk(), "good", "fine");
            assert_eq!(pair.sync().outcome, Outcome::Synced, "{what}");
            fs::write(pair.on_disk().join("bad"), vec![7; 600_000]).unwrap();
            write(&pair.on_disk(), "later", "fine");
            pair.disk.disk().faults.unreadable = Some(("bad".into(), offset));
            let report = pair.sync();
            assert_eq!(failed(&report), ["bad"], "{what}: {report:?}");
            assert!(!report.failures[0].hint.is_empty(), "{what}: {report:?}");
            let there = read_tree(&pair.usual());
            assert_eq!(there.into_keys().collect::<Vec<_>>(), ["good", "later"], "{what}: no torn file");
            // Once it can be read it comes; when it cannot be again, the copy stays as it is.
            pair.disk.disk().faults.unreadable = None;
            assert_eq!(pair.sync().outcome, Outcome::Synced, "{what}");
            fs::write(pair.on_disk().join("bad"), vec![8; 600_000]).unwrap();
            pair.disk.disk().faults.unreadable = Some(("bad".into(), offset));
            assert_eq!(failed(&pair.sync()), ["bad"], "{what}");
            assert_eq!(fs::read(pair.usual().join("bad")).unwrap(), vec![7; 600_000], "{what}");
            assert_eq!(fs::metadata(pair.on_disk().join("bad")).unwrap().len(), 600_000, "{what}");
            tried += 1;
        }
    }
    println!("ci: files that end in EIO: {tried} pairs, 4 runs each");
}

/// B-32, F-07: a folder whose listing breaks off holds what it held, as far as anybody knows.
#[test]
fn b32_a_folder_that_answers_eio_is_unknown() {
    if !in_own_mounts("disks::b32_a_folder_that_answers_eio_is_unknown", skip) {
        return;
    }
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        let pair = Pair { reversed: true, ..Pair::new(Disk::new(plain, plain), mode) };
        for name in ["d/1", "d/2", "d/3", "d/4", "d/5", "d/deep/6", "e"] {
            write(&pair.on_disk(), name, name);
        }
        assert_eq!(pair.sync().outcome, Outcome::Synced);
        let before = read_tree(&pair.usual());
        pair.disk.disk().faults.unlistable = Some("d".into());
        write(&pair.on_disk(), "new", "new");
        let report = pair.sync();
        assert_eq!(failed(&report), ["d"], "{mode}: {report:?}");
        let mut expected = before.clone();
        expected.insert("new".into(), b"new".to_vec());
        assert_eq!(read_tree(&pair.usual()), expected, "{mode}: nothing is deleted for what was not seen");
        // The root itself: then there is nothing to go by, and the run ends.
        pair.disk.disk().faults.unlistable = Some("tree".into());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.sync()));
        assert!(ended.is_err(), "{mode}: a root that cannot be listed is an error");
        pair.disk.disk().faults.unlistable = None;
        assert_eq!(read_tree(&pair.usual()), expected, "{mode}");
        assert_eq!(pair.sync().outcome, Outcome::Synced, "{mode}");
    }
}

/// B-32: what is mounted below the root is not even asked, so one that never answers holds nobody up.
#[test]
fn b32_a_mount_below_the_root_that_never_answers_is_not_asked() {
    if !in_own_mounts("disks::b32_a_mount_below_the_root_that_never_answers_is_not_asked", skip) {
        return;
    }
    let pair = Pair { reversed: true, ..Pair::new(Disk::new(plain, plain), SyncMode::SourceToDestination) };
    for name in ["a", "below/x", "z"] {
        write(&pair.on_disk(), name, name);
    }
    assert_eq!(pair.sync().outcome, Outcome::Synced);
    let silent = Disk::new(plain, plain).mount();
    silent.folder("inner");
    // A bind mount within one file system is a mount too: the listing and the reading of files agree on that.
    fs::create_dir(pair.on_disk().join("bound")).unwrap();
    let bind = |from: &Path, to: &str| {
        let mut command = std::process::Command::new("mount");
        assert!(command.arg("--bind").arg(from).arg(pair.on_disk().join(to)).status().unwrap().success());
    };
    bind(&pair.on_disk(), "bound");
    bind(&silent.path.join("inner"), "below");
    silent.disk().faults.silent = Some("inner".into());
    let report = pair.sync();
    let codes: BTreeMap<_, _> =
        report.warnings.iter().map(|warning| (warning.code.as_str(), &warning.message)).collect();
    assert!(
        codes["skipped-mounts"].contains("below") && codes["skipped-mounts"].contains("bound"),
        "{report:?}"
    );
    assert_eq!(report.outcome, Outcome::Synced, "{report:?}");
    assert_eq!(read_tree(&pair.usual()).into_keys().collect::<Vec<_>>(), ["a", "below/x", "z"]);
}

/// B-32: a run that waits for a root that never answers can still be ended.
#[cfg(feature = "cli")]
#[test]
fn b32_a_run_that_waits_for_a_dead_disk_ends_with_its_signal() {
    if !in_own_mounts("disks::b32_a_run_that_waits_for_a_dead_disk_ends_with_its_signal", skip) {
        return;
    }
    let bench = crate::support::bench::Bench::new();
    for (folder, waits_in) in [("tree", "the walk"), ("inner", "a folder")] {
        let disk = Disk::new(plain, plain).mount();
        disk.folder("tree/inner");
        disk.disk().faults.silent = Some(folder.into());
        let tree = disk.path.join("tree");
        let mut child =
            bench.command(&["sync", tree.to_str().unwrap(), "b", "--state-dir", "state"]).spawn().unwrap();
        while !bench.has("state") && folder == "inner" {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "it waits in {waits_in}");
        let pid = child.id().to_string();
        // One signal ends the walk. What is not even opened yet ends with the call that waits, or with a second one.
        let expected: &[i32] = if folder == "inner" { &[130] } else { &[130, 4] };
        for _ in expected {
            // After the first there may be nobody left to take it.
            drop(std::process::Command::new("kill").args(["-INT", &pid]).output().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        let code = child.wait().unwrap().code().unwrap();
        assert!(expected.contains(&code), "in {waits_in}: {code}");
        assert_eq!(read_tree(&bench.path("b")), BTreeMap::new());
    }
}

/// What moves while the walk is in the folder `m`: from where to where, and whether that walk sees it, or that it is
/// on the move. A file that moves to where the walk was already is in no place it looks at.
const MOVES: [(&str, &str, bool); 7] = [
    ("tree/a/f", "tree/z/g", true),
    ("tree/a", "tree/zz", true),
    ("tree/m", "tree/y", true),
    ("tree/m/deep", "tree/z/deep", true),
    ("tree/z", "tree/zz", true),
    ("tree/z/f", "tree/a/g", false),
    ("tree/z", "tree/b", true),
];

/// B-38: whatever moves during a walk, no content is lost, what was seen in either place is not deleted, and the next
/// run puts everything right.
#[test]
fn b38_what_moves_during_the_walk_is_not_lost() {
    if !in_own_mounts("disks::b38_what_moves_during_the_walk_is_not_lost", skip) {
        return;
    }
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        for (from, to, is_seen) in MOVES {
            let what = format!("{mode}: {from} to {to}");
            let pair = Pair { reversed: true, ..Pair::new(Disk::new(plain, plain), mode) };
            for name in ["a/e", "a/f", "m/e", "m/deep/f", "z/e", "z/f", "zzz"] {
                write(&pair.on_disk(), name, name);
            }
            // Files this fresh are read, and then are known to have gone.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(pair.sync().outcome, Outcome::Synced, "{what}");
            let before = read_tree(&pair.usual());
            pair.disk.disk().faults.moves = Some(("m".into(), from.into(), to.into()));
            let report = pair.sync();
            assert!(pair.disk.disk().faults.moves.is_none(), "{what}: it has moved");
            let there = read_tree(&pair.usual());
            let is_renamed = report.counts.renamed_destination > 0;
            if is_seen && !is_renamed {
                assert_eq!(report.counts.deleted_destination, 0, "{what}: {report:?}");
            }
            let trash = pair.usual().join(".syncengine/trash");
            let kept = if trash.exists() { read_tree(&trash) } else { BTreeMap::new() };
            for content in before.values() {
                let is_there = there.values().chain(kept.values()).any(|found| found == content);
                assert!(is_there, "{what}: lost {content:?}: {report:?}");
            }
            let report = pair.sync();
            assert_eq!(report.outcome, Outcome::Synced, "{what}: {report:?}");
            assert_eq!(read_tree(&pair.usual()), read_tree(&pair.on_disk()), "{what}");
            assert_eq!(read_tree(&pair.usual()).len(), before.len(), "{what}");
        }
    }
    println!("ci: moves during a walk: {} in 2 modes", MOVES.len());
}

/// F-44: the disk of the state cannot be read or written. Nothing is deleted for that, and what cannot be read is
/// moved aside and told.
#[test]
fn f44_a_state_on_a_failing_disk_deletes_nothing_and_ends() {
    if !in_own_mounts("disks::f44_a_state_on_a_failing_disk_deletes_nothing_and_ends", skip) {
        return;
    }
    let unreadable =
        |name: &str, offset| Faults { unreadable: Some((name.into(), offset)), ..Faults::default() };
    let mut tried = 0;
    for (faults, is_readable) in [
        (unreadable("db", 0), false),
        (unreadable("db", 1), false),
        (unreadable("db", 100), false),
        (unreadable("conf", 0), false),
        (Faults { unlistable: Some("db".into()), ..Faults::default() }, true),
        (Faults { failing_syncs: 1, ..Faults::default() }, true),
        (Faults { failing_syncs: 1000, ..Faults::default() }, true),
        (Faults { failing_folder_syncs: 1, ..Faults::default() }, true),
        (Faults { failing_folder_syncs: 1000, ..Faults::default() }, true),
        (Faults { power_for: Some(1), ..Faults::default() }, true),
        (Faults { power_for: Some(20), ..Faults::default() }, true),
        (Faults { power_for: Some(60), ..Faults::default() }, true),
    ] {
        let what = format!("{faults:?}");
        let disk = Disk::new(plain, plain).mount();
        let trees = tempfile::tempdir().unwrap();
        let (a, b) = (trees.path().join("a"), trees.path().join("b"));
        for name in ["d/f", "g", "h"] {
            write(&a, name, name);
        }
        fs::create_dir(&b).unwrap();
        let pair = SyncPair::new(a.to_str().unwrap(), b.to_str().unwrap());
        let state = disk.path.join("state");
        assert_eq!(sync(&pair, &state).outcome, Outcome::Synced);
        fs::remove_file(a.join("g")).unwrap();
        write(&b, "new", "new");
        disk.disk().faults = faults;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ended = runtime.block_on(SyncEngine::new(&state).sync_pair(&pair, SyncOptions::new()));
        drop(runtime);
        assert_eq!(fs::read(a.join("h")).unwrap(), b"h", "{what}");
        assert_eq!(fs::read(b.join("d/f")).unwrap(), b"d/f", "{what}");
        match &ended {
            Ok(report) if !is_readable => {
                let codes: Vec<_> = report.warnings.iter().map(|warning| warning.code.as_str()).collect();
                assert_eq!(codes, ["state-lost"], "{what}: {report:?}");
                assert_eq!(report.counts.deleted_destination, 0, "{what}: {report:?}");
                assert!(b.join("g").exists(), "{what}");
            }
            Ok(_) => {}
            Err(error) => assert!(!error.chain().contains("Os {"), "{what}: {}", error.chain()),
        }
        tried += 1;
    }
    println!("ci: states on failing disks: {tried}");
}
