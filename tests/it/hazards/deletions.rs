//! Files that must not be deleted because a state, a root, a rule or a location is not what it was.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use syncengine::embedded::Disturbance;
use syncengine::{ErrorKind, InitialSyncPreference, Outcome, SyncMode, SyncOptions, SyncPair};

use super::{Meddled, codes, sync};
use crate::bad_input::unprivileged::Unprivileged;
use crate::scenarios::{act, tree};
use crate::support::bucket::Embedded;
use crate::support::scene::Scene;
use crate::support::{Folder, Root, read_tree};

#[test]
fn h04_a_preference_acts_once_even_if_the_state_is_lost() {
    for loss in ["lose", "empty", "damage"] {
        let world = Meddled::new();
        let source_wins = |pair: SyncPair| pair.initial_sync(InitialSyncPreference::SourceWins);
        world.act("a write f first");
        world.with(source_wins);
        world.act(&format!("b write later 1; state {loss}"));
        let report = world.with(source_wins);
        assert_eq!(report.counts.deleted_destination, 0, "{loss}");
        assert_eq!(codes(&report.warnings), ["state-lost"], "{loss}");
        assert_eq!(codes(&report.notes), ["preference-spent"], "{loss}");
        world.agrees("f=first later=1");
    }
}

#[test]
fn h06_a_destination_that_is_not_there_deletes_nothing_at_the_source() {
    for mode in [SyncMode::DestinationToSource, SyncMode::DestinationBackup] {
        let world = Meddled::new();
        world.act("a write f first");
        let mut mistyped = world.bucket.clone();
        mistyped.at.name = "mistyped".into();
        let path = |name: &str| world.bench.path(name).to_str().unwrap().to_owned();
        let missing = [
            SyncPair::new(path("a"), path("mistyped")),
            SyncPair::with_clients(Folder(world.bench.path("a")).client(), Arc::new(mistyped.open(None))),
        ];
        for pair in missing {
            for create in [false, true] {
                let options = SyncOptions::new().create(create);
                let error = sync(&world.engine(), &pair.clone().mode(mode), options).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{pair:?}");
            }
        }
        assert_eq!(world.folder(), tree("f=first"));
    }
    // A prefix cannot be missing, only empty.
    let mut world = Meddled::new();
    world.act("a write f first; b write vault/f first");
    world.bucket = world.bucket.below("volt/");
    let report = world.mode(SyncMode::DestinationToSource);
    assert_eq!((report.outcome, codes(&report.refused_by)), (Outcome::Refused, vec!["empty-side"]));
    assert_eq!(world.folder(), tree("f=first"));
}

#[test]
fn h07_an_empty_source_does_not_empty_the_destination() {
    let mirror = |world: &Meddled| world.mode(SyncMode::SourceToDestination);
    let world = Meddled::new();
    world.act("b write f first; b write g second");
    assert_eq!(codes(&mirror(&world).refused_by), ["empty-side"], "at first");
    world.has("", "f=first g=second");
    let world = Meddled::synced("a write f first; a write g second");
    // What is seen where a disk was mounted.
    world.act("a newroot");
    assert_eq!(codes(&mirror(&world).refused_by), ["empty-side", "root-changed"]);
    world.has("", "f=first g=second");
    // The brake of a source that lost more than half.
    let world = Meddled::new();
    world.act("a many n 30");
    mirror(&world);
    world.act("a fewer n 29");
    assert_eq!(codes(&mirror(&world).refused_by), ["max-delete"]);
    world.has("n[29..30]", "n[0..30]");
}

#[test]
fn h08_below_a_source_folder_nobody_can_read_nothing_is_deleted() {
    for mode in ["std", "tw"] {
        let Some(as_nobody) = Unprivileged::new() else { return };
        let bench = &as_nobody.bench;
        act(bench, "a write closed/x 1; a write f first; a write g second");
        as_nobody.hand_over();
        assert_eq!(as_nobody.sync(&format!("--mode {mode}")).status.code(), Some(0));
        as_nobody.chmod("a/closed", 0o000);
        let output = as_nobody.sync(&format!("--mode {mode}"));
        as_nobody.chmod("a/closed", 0o755);
        assert_eq!(output.status.code(), Some(1), "{mode}: it is not passed over in silence");
        assert!(String::from_utf8_lossy(&output.stdout).contains("closed"), "{mode}: {output:?}");
        assert_eq!(read_tree(&bench.path("b")), tree("closed/x=1 f=first g=second"), "{mode}");
    }
}

#[test]
fn h09_what_is_ignored_at_the_destination_is_neither_fetched_nor_deleted() {
    let world = Meddled::new();
    world.act("a write f first; b write x.log theirs");
    for _ in 0..3 {
        assert_eq!(world.with(|pair| pair.exclude("*.log")).outcome, Outcome::Synced);
        world.has("f=first", "f=first x.log=theirs");
    }
}

#[test]
fn h10_what_is_newly_ignored_stays_on_both_sides() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        let world = Meddled::new();
        world.act("a write f first; a write x.log old");
        world.mode(mode);
        let excluding = |pair: SyncPair| pair.mode(mode).exclude("*.log");
        let report = world.with(excluding);
        assert_eq!(
            (report.outcome, codes(&report.notes)),
            (Outcome::Synced, vec!["filter-changed"]),
            "{mode}"
        );
        world.with(excluding);
        world.agrees("f=first x.log=old");
        // Nor is it deleted there when it is deleted here.
        world.act("a rm x.log");
        world.with(excluding);
        world.has("f=first", "f=first x.log=old");
    }
}

#[test]
fn h15_a_nested_destination_that_is_not_there_is_never_its_parent() {
    let mut world = Meddled::new();
    world.act("a write f first; b write other theirs; b write deep/other theirs");
    let root = world.bucket.clone();
    world.bucket = root.below("deep/er/");
    let report = world.with(|pair| pair.initial_sync(InitialSyncPreference::SourceWins));
    assert_eq!((report.outcome, report.counts.deleted_destination), (Outcome::Synced, 0));
    world.agrees("f=first");
    assert_eq!(Root::files(&root), tree("deep/er/f=first deep/other=theirs other=theirs"));
}

#[test]
fn h16_another_bucket_or_another_server_is_another_pair() {
    let mut world = Meddled::synced("a write f first; a write g second");
    let first = world.bucket.clone();
    // The same names on another server.
    let folder = tempfile::tempdir().unwrap();
    let server = Embedded::start(folder.path());
    for bucket in [first.server.bucket("another", ""), server.server.bucket("vault", ""), first.below("p/")] {
        world.bucket = bucket;
        let report = world.sync();
        assert!(report.first_sync);
        assert_eq!((report.counts.deleted_source, report.counts.uploaded), (0, 2));
        world.agrees("f=first g=second");
    }
    world.bucket = first;
    assert!(!world.sync().first_sync, "the first pair is remembered");
}

#[test]
fn h17_a_file_that_became_a_link_is_not_deleted() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        let world = Meddled::synced("a write f first; a write g second");
        fs::write(world.bench.path("elsewhere"), "linked").unwrap();
        world.act("a rm f; a link f ../elsewhere");
        let report = world.mode(mode);
        assert_eq!((report.counts.failed, report.failures[0].path.as_str()), (1, "f"), "{mode}");
        assert_eq!(Root::files(&world.bucket), tree("f=first g=second"), "{mode}");
        assert_eq!(fs::read_link(world.bench.path("a/f")).unwrap().to_str(), Some("../elsewhere"), "{mode}");
    }
}

/// A deletion that did nothing leaves an old marker there; a backup that is put over a bucket brings one back.
#[test]
fn a_marker_that_the_store_kept_tells_of_no_backup() {
    for is_kept in [true, false] {
        let world = Meddled::synced("a write gone 1; a write kept 1; a write same 1");
        let then = world.bucket.objects();
        if is_kept {
            world.meddle_with_ours(|operation, key| match operation {
                "DeleteObject" if key.contains("/pairs/") => Disturbance::Pretend,
                _ => Disturbance::Pass,
            });
        }
        for (script, expected) in
            [("a write kept 2", "gone=1 kept=2 same=1"), ("a rm gone; b write kept 3", "kept=3 same=1")]
        {
            world.act(script);
            let report = world.sync();
            assert_eq!(codes(&report.warnings), [""; 0], "{report:?}");
            world.agrees(expected);
        }
        if !is_kept {
            for (name, bytes) in then {
                world.bucket.put(&name, &bytes, None);
            }
            let report = world.sync();
            assert_eq!(codes(&report.warnings), ["rolled-back"], "{report:?}");
        }
    }
}

/// A listing that is late lacks a file when its user deletes it here, and shows it in the next run.
#[test]
fn what_a_late_listing_lacks_when_it_is_deleted_here_does_not_come_back() {
    let world = Meddled::synced("a write f 1; a write g 2");
    world.bucket.remove("f");
    world.act("a rm f");
    let (bucket, is_back) = (world.bucket.clone(), Arc::new(AtomicBool::new(false)));
    let show = move |is_back: &AtomicBool| {
        if !is_back.swap(true, Ordering::Relaxed) {
            bucket.put("f", b"1", None);
        }
    };
    let (show_asked, seen) = (show.clone(), Arc::clone(&is_back));
    world.meddle(move |operation, key| {
        if (operation, key) == ("HeadObject", "f") {
            show_asked(&seen);
        }
        Disturbance::Pass
    });
    world.sync();
    world.calm();
    show(&is_back);
    world.sync();
    world.agrees("g=2");
}

/// A store keeps the time and the ETag of what is put back with it; a deletion that did nothing looks the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_put_back_does_not_lose_again_what_was_deleted_since() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceBackup] {
        let mut scene = Scene::new(mode);
        scene.pair.destination = "embedded://vault".into();
        scene.pair.destination_store.embedded_dir = Some(scene.path("store"));
        for name in ["gone", "same"] {
            scene.write("a", name, "1");
        }
        scene.sync().await;
        scene.copy("store", "store-then");
        scene.delete("a", "gone");
        scene.write("a", "new", "1");
        scene.sync().await;
        scene.put_back("store-then", "store");
        let report = scene.sync().await;
        let back = if mode == SyncMode::TwoWay { "gone=1 " } else { "" };
        assert_eq!(scene.shown("a"), format!("{back}new=1 same=1"), "{mode}: {report:?}");
        assert_eq!(report.counts.deleted_source + report.counts.deleted_destination, 0, "{mode}: {report:?}");
    }
}
