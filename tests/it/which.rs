//! Which pair is this: folders that were moved, copied, and exchanged for others.

use std::collections::BTreeSet;
use std::fs;

use syncengine::code::NoticeCode;
use syncengine::{
    InitialSyncPreference, Outcome, Report, Side, StoreOptions, SyncEngine, SyncMode, SyncOptions,
};

use crate::support::Root;
use crate::support::scene::{Scene, codes};

fn notes(report: &Report) -> Vec<NoticeCode> {
    report.notes.iter().map(|note| note.code).collect()
}

/// The side at which a user of this mode edits.
fn edited(mode: SyncMode) -> &'static str {
    if mode.authority() == Some(Side::Destination) { "b" } else { "a" }
}

/// A pair that was synced in this mode, with `gone` deleted since.
async fn with_deletion(mode: SyncMode) -> Scene {
    let mut scene = Scene::new(mode);
    for name in ["gone", "kept", "same"] {
        scene.write(edited(mode), name, "1");
    }
    scene.sync().await;
    scene.delete(edited(mode), "gone");
    scene
}

/// Deletions that are still to be carried over must not come back as files.
#[tokio::test]
async fn a_folder_that_is_moved_keeps_its_past() {
    for mode in SyncMode::ALL {
        for moved in ["a", "b", "ab"] {
            let mut scene = with_deletion(*mode).await;
            let at = |name: &str| if moved.contains(name) { format!("{name}-now") } else { name.into() };
            for folder in ["a", "b"].into_iter().filter(|folder| moved.contains(*folder)) {
                scene.move_to(folder, &at(folder));
            }
            scene.between(&at("a"), &at("b"));
            scene.options.dry_run = true;
            let foreseen = scene.run().await;
            scene.options.dry_run = false;
            let before = scene.shown(&at(edited(*mode)));
            let report = scene.sync().await;
            assert_eq!(notes(&foreseen), notes(&report), "{mode} {moved}");
            assert_eq!(scene.shown(&at(edited(*mode))), before, "{mode} {moved}: {report:?}");
            let moves = notes(&report).iter().filter(|code| **code == NoticeCode::PairMoved).count();
            assert_eq!((moves, codes(&report)), (moved.len(), vec![]), "{mode} {moved}: {report:?}");
            // From now on it is at home there.
            let again = scene.sync().await;
            assert_eq!((notes(&again), codes(&again)), (vec![], vec![]), "{mode} {moved}: {again:?}");
            if mode.is_mirror() || *mode == SyncMode::TwoWay {
                assert_eq!(scene.shown(&at("a")), scene.shown(&at("b")), "{mode} {moved}");
            }
        }
    }
}

/// What is deleted in one of two copies was not deleted in the other.
#[tokio::test]
async fn a_copy_of_a_folder_has_no_past_and_gets_one_of_its_own() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceBackup] {
        let mut scene = with_deletion(mode).await;
        scene.copy("b", "c");
        scene.sync().await;
        scene.between("a", "c");
        let report = scene.sync().await;
        assert_eq!(notes(&report), [NoticeCode::RootCopied], "{mode}: {report:?}");
        assert!(scene.shown("c").contains("gone=1"), "{mode}: {}", scene.shown("c"));
        // Each has its own past from now on.
        scene.write("a", "kept", "2!");
        for other in ["b", "c", "b", "c"] {
            scene.between("a", other);
            let report = scene.sync().await;
            assert_eq!((notes(&report), codes(&report)), (vec![], vec![]), "{mode} {other}: {report:?}");
            assert!(scene.shown(other).contains("kept=2!"), "{mode} {other}");
        }
        scene.delete("a", "same");
        for other in ["b", "c"] {
            scene.between("a", other);
            scene.sync().await;
            assert!(!scene.shown("a").contains("same"), "{mode} {other}");
        }
    }
}

/// The state knows which disk it was, and no deletion of one is taken for one of the other.
#[tokio::test]
async fn disks_that_are_exchanged_have_each_their_own_past() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceBackup, SyncMode::SourceToDestination] {
        for second in ["empty", "copy"] {
            let mut scene = Scene::new(mode);
            for number in 0..12 {
                scene.write("a", &format!("f{number}"), "1");
            }
            scene.sync().await;
            match second {
                "empty" => fs::create_dir(scene.path("disk2")).unwrap(),
                _ => scene.copy("b", "disk2"),
            }
            scene.write("a", "since", "1");
            scene.sync().await;
            scene.move_to("b", "disk1");
            scene.move_to("disk2", "b");
            if second == "empty" {
                let refused = scene.run().await;
                assert_eq!(refused.outcome, Outcome::Refused, "{mode}: an empty disk may be a missing one");
                assert_eq!(scene.shown("b"), "", "{mode}");
                scene.options.accept_root = true;
            }
            scene.sync().await;
            scene.options.accept_root = false;
            assert_eq!(scene.shown("a"), scene.shown("b"), "{mode} {second}");
            assert!(scene.shown("a").contains("f0=1") && scene.shown("a").contains("since=1"), "{mode}");
            let mut inside = 2;
            for round in 0..4 {
                scene.write("a", &format!("f{}", round + 5), &format!("2!{round}"));
                scene.delete("a", &format!("f{round}"));
                let expected = scene.shown("a");
                for _ in 0..2 {
                    let report = scene.sync().await;
                    assert_eq!(codes(&report), [], "{mode} {second} {round} {inside}: {report:?}");
                    assert_eq!(scene.shown("a"), expected, "{mode} {second} {round} {inside}: {report:?}");
                    if mode != SyncMode::SourceBackup {
                        assert_eq!(
                            scene.shown("b"),
                            expected,
                            "{mode} {second} {round} {inside}: {report:?}"
                        );
                    }
                    scene.move_to("b", &format!("disk{inside}"));
                    inside = 3 - inside;
                    scene.move_to(&format!("disk{inside}"), "b");
                }
            }
        }
    }
}

/// A folder that is restored on a new disk is another one, and what the old one had is remembered for it.
#[tokio::test]
async fn a_folder_that_is_put_back_on_another_disk_neither_deletes_nor_overwrites() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    for name in ["gone", "kept", "same", "too"] {
        scene.write("a", name, "1");
    }
    scene.sync().await;
    scene.copy("a", "a-then");
    scene.delete("b", "gone");
    scene.write("b", "kept", "2!");
    scene.write("a", "new", "1");
    scene.sync().await;
    scene.move_to("a", "a-lost");
    scene.copy("a-then", "a");
    let report = scene.sync().await;
    assert!(codes(&report).contains(&NoticeCode::RolledBack), "{report:?}");
    assert_eq!(scene.shown("b"), "gone=1 kept=2! kept*=1 new=1 same=1 too=1");
    assert_eq!(scene.shown("a"), scene.shown("b"));
    scene.delete("b", "gone");
    // If it was not lost after all, it goes on from where it was.
    scene.move_to("a", "a-restored");
    scene.move_to("a-lost", "a");
    let report = scene.sync().await;
    assert_eq!(
        (codes(&report), scene.shown("a")),
        (vec![], "kept=2! kept*=1 new=1 same=1 too=1".into()),
        "{report:?}"
    );
}

/// Who says that a copy takes the place of what it was copied from has its past count.
#[tokio::test]
async fn what_is_remembered_can_be_moved() {
    for (has_been_synced, expected) in [(false, 0), (true, 1)] {
        let mut scene = with_deletion(SyncMode::TwoWay).await;
        scene.copy("b", "c");
        let (old, new) = (scene.path("b"), scene.path("c"));
        fs::remove_dir_all(&old).unwrap();
        if has_been_synced {
            scene.between("a", "c");
            scene.sync().await;
            scene.delete("a", "gone");
        }
        let engine = SyncEngine::new(scene.path("state"));
        let (store, options) = (StoreOptions::default(), SyncOptions::new());
        let dir = scene.dir.path().to_owned();
        let moving = |old: &str| {
            let (engine, old, new) = (engine.clone(), dir.join(old), new.clone());
            let (store, options) = (store.clone(), options.clone());
            async move { engine.move_state(old.to_str().unwrap(), new.to_str().unwrap(), &store, &options).await }
        };
        assert!(moving("never").await.is_err());
        let moved = moving("b").await.unwrap();
        assert_eq!((moved.pairs.len(), moved.replaced), (1, expected));
        scene.between("a", "c");
        let report = scene.sync().await;
        assert_eq!((notes(&report), codes(&report)), (vec![], vec![NoticeCode::RootMoved]), "{report:?}");
        assert_eq!((scene.shown("a"), scene.shown("c")), ("kept=1 same=1".into(), "kept=1 same=1".into()));
        assert!(moving("b").await.is_err());
    }
}

/// Whoever syncs two folders with another state directory is told: what one deletes the other may bring back.
#[tokio::test]
async fn another_state_of_the_same_folders_is_told() {
    let mut scene = Scene::new(SyncMode::SourceToDestination);
    scene.write("a", "f", "1");
    scene.sync().await;
    scene.move_to("state", "state-1");
    scene.pair = scene.pair.clone().mode(SyncMode::TwoWay);
    scene.sync().await;
    scene.move_to("state", "state-2");
    scene.move_to("state-1", "state");
    let report = scene.sync().await;
    assert_eq!(codes(&report), [NoticeCode::OtherState], "{report:?}");
    // Not of another machine, whose folders only have the same names.
    rewrite_markers(&scene, "elsewhere");
    let report = scene.sync().await;
    assert_eq!(codes(&report), [], "{report:?}");
    assert_eq!(scene.source.files(), scene.destination.files());
}

/// Where no mode has written yet there is no marker that could tell, and the root does.
#[tokio::test]
async fn another_folder_deletes_nothing_where_the_mode_before_wrote_no_marker() {
    let mut scene = Scene::new(SyncMode::SourceToDestination);
    for name in ["only-there", "same", "too"] {
        scene.write("a", name, "1");
    }
    scene.sync().await;
    scene.move_to("a", "a-old");
    scene.write("a", "same", "1");
    scene.write("a", "too", "1");
    scene.pair = scene.pair.clone().mode(SyncMode::TwoWay);
    scene.options.accept_root = true;
    let report = scene.sync().await;
    assert_eq!(scene.shown("a"), "only-there=1 same=1 too=1", "{report:?}");
    assert_eq!(scene.shown("b"), scene.shown("a"), "{report:?}");
}

/// A state that is lost leaves markers. If another machine wrote them one side may be a copy of what it syncs.
#[tokio::test]
async fn only_an_id_that_this_machine_wrote_goes_on_without_its_state() {
    for (machine, expected) in [(None, 1), (Some("elsewhere"), 2)] {
        let mut scene = Scene::new(SyncMode::TwoWay);
        scene.write("a", "f", "1");
        scene.sync().await;
        if let Some(machine) = machine {
            rewrite_markers(&scene, machine);
        }
        scene.move_to("state", "state-lost");
        let report = scene.sync().await;
        assert_eq!(codes(&report), [NoticeCode::StateLost], "{report:?}");
        let ids: BTreeSet<String> =
            scene.markers("a").iter().filter_map(|name| Some(name.split_once('.')?.0.to_owned())).collect();
        assert_eq!(ids.len(), expected, "{machine:?}: {ids:?}");
    }
}

/// Makes all markers say that another machine wrote them.
fn rewrite_markers(scene: &Scene, machine: &str) {
    let markers = |folder: &str| fs::read_dir(scene.path(folder).join(".syncengine/pairs")).unwrap();
    for marker in markers("a").chain(markers("b")) {
        let path = marker.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["machine"] = machine.into();
        fs::write(path, document.to_string()).unwrap();
    }
}

/// A folder that has got the inode number of one that is gone is not that one, if it has other files.
#[tokio::test]
async fn another_folder_with_the_number_of_a_moved_one_is_asked_about() {
    let mut scene = Scene::new(SyncMode::SourceToDestination);
    for number in 0..6 {
        scene.write("a", &format!("f{number}"), "1");
    }
    scene.sync().await;
    // As if it were a new folder: the same number, another name, other files.
    scene.move_to("a", "a-next");
    for number in 0..6 {
        scene.delete("a-next", &format!("f{number}"));
        scene.write("a-next", &format!("g{number}"), "1");
    }
    scene.between("a-next", "b");
    let before = scene.shown("b");
    let refused = scene.run().await;
    assert_eq!((refused.outcome, codes(&refused)), (Outcome::Refused, vec![NoticeCode::RootChanged]));
    assert_eq!(scene.shown("b"), before);
}

/// A folder that is restored in another place is a copy, and an old one: it neither deletes nor overwrites.
#[tokio::test]
async fn an_old_copy_in_another_place_overwrites_nothing() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceBackup] {
        for preference in [None, Some(InitialSyncPreference::SourceWins)] {
            let mut scene = Scene::new(mode);
            for name in ["gone", "kept", "same", "too"] {
                scene.write("a", name, "1");
            }
            scene.sync().await;
            scene.copy("a", "a-then");
            scene.write("a", "kept", "2!");
            scene.write("a", "new", "1");
            scene.sync().await;
            fs::remove_dir_all(scene.path("a")).unwrap();
            scene.between("a-then", "b");
            scene.options.initial_sync = preference;
            let report = scene.run().await;
            if preference.is_some() && mode == SyncMode::TwoWay {
                assert!(codes(&report).contains(&NoticeCode::PreferenceLate), "{mode}: {report:?}");
            } else {
                assert!(codes(&report).contains(&NoticeCode::RolledBack), "{mode}: {report:?}");
            }
            assert!(scene.shown("b").contains("kept=2!") && scene.shown("b").contains("new=1"), "{mode}");
        }
    }
}

/// Moving what is remembered of one folder moves that of both disks, and each goes on to have its own past.
#[tokio::test]
async fn what_waits_is_moved_too_and_goes_on_waiting() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    for number in 0..8 {
        scene.write("a", &format!("f{number}"), "1");
    }
    scene.sync().await;
    scene.copy("b", "disk2");
    scene.write("a", "since", "1");
    scene.sync().await;
    scene.move_to("b", "disk1");
    scene.move_to("disk2", "b");
    scene.sync().await;
    scene.copy("a", "new");
    let engine = SyncEngine::new(scene.path("state"));
    let (old, new) = (scene.path("a"), scene.path("new"));
    let (store, options) = (StoreOptions::default(), SyncOptions::new());
    let moved = engine.move_state(old.to_str().unwrap(), new.to_str().unwrap(), &store, &options).await;
    let moved = moved.unwrap();
    assert_eq!((moved.pairs.len(), moved.replaced), (2, 0), "{moved:?}");
    fs::remove_dir_all(&old).unwrap();
    scene.between("new", "b");
    scene.delete("new", "f0");
    for disk in ["disk2", "disk1"] {
        let report = scene.sync().await;
        assert!(!codes(&report).contains(&NoticeCode::RolledBack), "{disk}: {report:?}");
        assert_eq!(scene.shown("new"), scene.shown("b"), "{disk}");
        assert!(!scene.shown("b").contains("f0"), "{disk}: {}", scene.shown("b"));
        scene.move_to("b", if disk == "disk2" { "out2" } else { "out1" });
        if disk == "disk2" {
            scene.move_to("disk1", "b");
        }
    }
}

#[tokio::test]
async fn sides_that_were_moved_and_are_given_the_other_way_round_are_refused() {
    for mode in SyncMode::ALL {
        let mut scene = with_deletion(*mode).await;
        scene.move_to("a", "a-now");
        scene.between("b", "a-now");
        let before = (scene.shown("a-now"), scene.shown("b"));
        let engine = SyncEngine::new(scene.path("state"));
        let error = engine.sync_pair(&scene.pair, scene.options.clone()).await.unwrap_err();
        assert!(error.to_string().contains("other way round"), "{mode}: {error}");
        assert_eq!((scene.shown("a-now"), scene.shown("b")), before, "{mode}");
    }
}

/// What is forgotten is what the next run would have gone by.
#[tokio::test]
async fn the_state_of_the_disk_that_is_there_is_forgotten() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    for number in 0..6 {
        scene.write("a", &format!("f{number}"), "1");
    }
    scene.sync().await;
    scene.move_to("b", "disk1");
    fs::create_dir(scene.path("b")).unwrap();
    scene.options.accept_root = true;
    scene.sync().await;
    scene.options.accept_root = false;
    scene.move_to("b", "disk2");
    scene.move_to("disk1", "b");
    scene.delete("a", "f0");
    let engine = SyncEngine::new(scene.path("state"));
    let shown = engine.state_of(&scene.pair, &scene.options).await.unwrap();
    let id = shown.record.unwrap().pair_id;
    assert!(scene.markers("b").iter().any(|name| name.starts_with(&id)), "{id} {:?}", scene.markers("b"));
    let forgotten = engine.forget(&scene.pair, &scene.options).await.unwrap();
    assert!(forgotten.base_removed && forgotten.markers_removed == 2, "{forgotten:?}");
    // That of the other disk still counts.
    scene.move_to("b", "disk1");
    scene.move_to("disk2", "b");
    let report = scene.sync().await;
    assert_eq!((codes(&report), scene.shown("b").contains("f0")), (vec![], false), "{report:?}");
}

/// A copy is a pair of its own, and its destination somebody else's too.
#[tokio::test]
async fn a_copy_that_is_to_win_deletes_nothing_of_the_other_pair() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    for number in 0..6 {
        scene.write("a", &format!("f{number}"), "1");
    }
    scene.sync().await;
    scene.copy("a", "c");
    scene.write("b", "new", "1");
    scene.between("c", "b");
    scene.options.initial_sync = Some(InitialSyncPreference::SourceWins);
    let report = scene.run().await;
    assert_eq!(
        (report.outcome, codes(&report)),
        (Outcome::Refused, vec![NoticeCode::OtherPair]),
        "{report:?}"
    );
    assert!(scene.shown("b").contains("new=1"));
}
