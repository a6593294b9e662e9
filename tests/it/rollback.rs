//! Sides and states that are put back to an earlier moment, as a backup is: what was synced since must neither be
//! deleted nor overwritten for it. And files that a crash of the machine has emptied.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use syncengine::code::{FailureCode, NoticeCode};
use syncengine::event::{Event, Observer};
use syncengine::mode::AcceptRollback;
use syncengine::{
    ConflictStrategy, InitialSyncPreference, Outcome, Side, SyncController, SyncMode, SyncOptions, Timestamp,
};

use crate::support::scene::{Scene, codes, copy_into};
use crate::support::{Folder, Root, set_modified};

/// A pair that was synced, backed up, and used since: `old` is gone, `kept` edited, `new` added, `same` left alone.
async fn used_since(mode: SyncMode, by: &str) -> Scene {
    let mut scene = Scene::new(mode);
    for name in ["kept", "old", "same"] {
        scene.write(by, name, "1");
    }
    scene.sync().await;
    for (folder, backup) in [("a", "a-then"), ("b", "b-then"), ("state", "state-then")] {
        scene.copy(folder, backup);
    }
    scene.write(by, "kept", "2!");
    scene.write(by, "new", "1");
    Folder(scene.dir.path().join(by)).delete("old");
    scene.sync().await;
    scene
}

#[tokio::test]
async fn a_side_that_is_put_back_neither_deletes_nor_overwrites_what_came_since() {
    for side in ["a", "b"] {
        let scene = used_since(SyncMode::TwoWay, "a").await;
        scene.put_back(&format!("{side}-then"), side);
        let report = scene.sync().await;
        assert_eq!(codes(&report), [NoticeCode::RolledBack], "{report:?}");
        let both = "kept=2! kept*=1 new=1 old=1 same=1";
        assert_eq!((scene.shown("a"), scene.shown("b")), (both.into(), both.into()), "{side}");
        let again = scene.sync().await;
        assert_eq!((codes(&again), again.counts.unchanged), (vec![], 5), "{again:?}");
    }
}

/// As `rm -rf FOLDER/*` and `cp -a BACKUP/. FOLDER` do it: what is hidden stays.
#[tokio::test]
async fn a_backup_that_is_put_back_over_what_is_hidden_is_noticed() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceBackup] {
        for side in ["a", "b"] {
            let scene = used_since(mode, "a").await;
            let before = scene.path(side);
            for name in Folder(before.clone()).files().into_keys() {
                fs::remove_file(before.join(name)).unwrap();
            }
            copy_into(&scene.path(&format!("{side}-then")), &before);
            let report = scene.sync().await;
            assert_eq!(codes(&report), [NoticeCode::RolledBack], "{mode} {side}: {report:?}");
            let shown = (scene.shown("a"), scene.shown("b"));
            assert!(shown.0.contains("kept=2!") && shown.1.contains("kept=2!"), "{mode} {side}: {shown:?}");
            assert!(shown.0.contains("new=1") && shown.1.contains("new=1"), "{mode} {side}: {shown:?}");
            let again = scene.sync().await;
            assert_eq!(codes(&again), [], "{mode} {side}: {again:?}");
        }
    }
}

/// Ends a run once it has done something.
#[derive(Debug)]
struct Impatient(SyncController);

impl Observer for Impatient {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Done(_)) {
            self.0.cancel();
        }
    }
}

/// As before, after a run that was broken off: its markers are younger than those that the backup brings.
#[tokio::test]
async fn such_a_backup_is_noticed_after_a_run_that_was_broken_off_too() {
    let mut scene = used_since(SyncMode::TwoWay, "a").await;
    for number in 0..40 {
        scene.write("b", &format!("more-{number}"), "1");
    }
    let control = SyncController::new();
    let options = std::mem::replace(
        &mut scene.options,
        SyncOptions::new().controller(control.clone()).observer(Arc::new(Impatient(control))),
    );
    let broken = scene.run().await;
    assert_eq!(broken.outcome, Outcome::Cancelled, "{broken:?}");
    scene.options = options;
    copy_into(&scene.path("a-then"), &scene.path("a"));
    let report = scene.sync().await;
    assert!(codes(&report).contains(&NoticeCode::RolledBack), "{report:?}");
    for folder in ["a", "b"] {
        assert!(scene.shown(folder).contains("kept=2!"), "{folder}: {}", scene.shown(folder));
    }
}

/// The state of a laptop is a year old, and one of the sides is from half a year ago: what was done since stays done.
#[tokio::test]
async fn a_state_from_before_a_side_was_put_back_neither_deletes_nor_overwrites() {
    for side in ["a", "b"] {
        let mut scene = Scene::new(SyncMode::TwoWay);
        for name in ["edited", "gone", "same"] {
            scene.write("a", name, "1");
        }
        scene.sync().await;
        scene.copy("state", "state-then");
        scene.delete("a", "gone");
        scene.write("a", "edited", "draft");
        scene.write("a", "again", "1");
        scene.sync().await;
        scene.copy(side, "side-then");
        // What was undone is what the old state knows.
        scene.write("a", "gone", "1");
        scene.write("a", "edited", "1");
        scene.sync().await;
        scene.put_back("side-then", side);
        scene.put_back("state-then", "state");
        let report = scene.sync().await;
        assert_eq!(codes(&report), [NoticeCode::RolledBack], "{side}: {report:?}");
        for folder in ["a", "b"] {
            let shown = scene.shown(folder);
            assert!(shown.contains("gone=1") && shown.contains("=draft"), "{side} {folder}: {shown}");
            assert!(shown.contains("edited=1") || shown.contains("edited*=1"), "{side} {folder}: {shown}");
        }
    }
}

/// Another state directory, or a state from a backup: it has not seen what was done, nor that it was taken back.
#[tokio::test]
async fn an_older_state_undoes_nothing_that_its_user_has_put_back() {
    for side in ["a", "b"] {
        let mut scene = Scene::new(SyncMode::TwoWay);
        scene.pair = scene.pair.clone().conflict(ConflictStrategy::KeepBoth);
        for name in ["edited", "gone", "same"] {
            scene.write(side, name, "1");
        }
        scene.sync().await;
        scene.copy("state", "state-then");
        scene.delete(side, "gone");
        scene.write(side, "edited", "draft");
        scene.sync().await;
        scene.write(side, "gone", "1");
        scene.write(side, "edited", "1");
        scene.put_back("state-then", "state");
        let report = scene.sync().await;
        for folder in ["a", "b"] {
            let shown = scene.shown(folder);
            assert!(shown.contains("gone=1"), "{side} {folder}: {shown} {report:?}");
            assert!(
                shown.contains("=draft") && shown.contains("edited=1"),
                "{side} {folder}: {shown} {report:?}"
            );
        }
    }
}

/// What is left to the user waits for him, in later runs too.
#[tokio::test]
async fn what_an_older_state_leaves_to_its_user_stays_with_him() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    scene.pair = scene.pair.clone().conflict(ConflictStrategy::Manual);
    for name in ["edited", "same"] {
        scene.write("a", name, "1");
    }
    scene.sync().await;
    scene.copy("state", "state-then");
    scene.write("a", "edited", "draft");
    scene.sync().await;
    scene.write("a", "edited", "1");
    scene.put_back("state-then", "state");
    for run in 0..3 {
        let report = scene.run().await;
        assert_eq!(report.counts.unresolved, 1, "{run}: {report:?}");
        assert_eq!(
            (scene.shown("a"), scene.shown("b")),
            ("edited=1 same=1".into(), "edited=draft same=1".into())
        );
    }
}

/// A mirror makes the receiver what the other side is, whatever the user says: so it says no to the opposite.
#[tokio::test]
async fn in_a_mirror_nobody_accepts_that_the_receiver_wins() {
    for (mode, receiver, accept) in [
        (SyncMode::SourceToDestination, "b", AcceptRollback::Destination),
        (SyncMode::DestinationToSource, "a", AcceptRollback::Source),
    ] {
        let mut scene = used_since(mode, if receiver == "b" { "a" } else { "b" }).await;
        scene.put_back(&format!("{receiver}-then"), receiver);
        let before = scene.shown(receiver);
        scene.options.accept_rollback = Some(accept);
        let report = scene.run().await;
        assert_eq!(
            (report.outcome, codes(&report)),
            (Outcome::Refused, vec![NoticeCode::RolledBack]),
            "{mode}"
        );
        assert_eq!(scene.shown(receiver), before, "{mode}");
    }
}

/// What the user says about it asks for nothing that the mode does not allow.
#[tokio::test]
async fn a_winner_in_a_backup_is_no_defect() {
    for (mode, side, accept) in [
        (SyncMode::DestinationBackup, "a", AcceptRollback::Source),
        (SyncMode::SourceBackup, "b", AcceptRollback::Destination),
    ] {
        for pull in [true, false] {
            let mut scene = used_since(mode, if side == "a" { "b" } else { "a" }).await;
            scene.pair = scene.pair.clone().pull(pull);
            scene.put_back(&format!("{side}-then"), side);
            scene.options.accept_rollback = Some(accept);
            let report = scene.sync().await;
            assert_eq!(report.counts.failed, 0, "{mode} {pull}: {report:?}");
        }
    }
}

#[tokio::test]
async fn whose_state_wins_the_user_can_say() {
    for (accept, expected) in [
        (AcceptRollback::Source, "kept=1 old=1 same=1"),
        (AcceptRollback::Destination, "kept=2! new=1 same=1"),
        (AcceptRollback::KeepBoth, "kept=2! kept*=1 new=1 old=1 same=1"),
    ] {
        let mut scene = used_since(SyncMode::TwoWay, "a").await;
        scene.put_back("a-then", "a");
        scene.options.accept_rollback = Some(accept);
        scene.sync().await;
        assert_eq!((scene.shown("a"), scene.shown("b")), (expected.into(), expected.into()), "{accept}");
    }
}

#[tokio::test]
async fn many_paths_wait_for_the_user() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    scene.write("a", "first", "1");
    scene.sync().await;
    scene.copy("a", "a-then");
    for number in 0..21 {
        scene.write("b", &format!("since-{number}"), "1");
    }
    scene.sync().await;
    scene.put_back("a-then", "a");
    let refused = scene.run().await;
    assert_eq!((refused.outcome, codes(&refused)), (Outcome::Refused, vec![NoticeCode::RolledBack]));
    assert_eq!((scene.shown("a").as_str(), scene.destination.files().len()), ("first=1", 22));
    scene.options.accept_rollback = Some(AcceptRollback::KeepBoth);
    scene.sync().await;
    assert_eq!(scene.source.files().len(), 22);
}

#[tokio::test]
async fn manual_stays_manual_and_is_not_forgotten() {
    let mut scene = used_since(SyncMode::TwoWay, "a").await;
    scene.pair = scene.pair.clone().conflict(ConflictStrategy::Manual);
    scene.put_back("a-then", "a");
    for _ in 0..3 {
        let report = scene.run().await;
        assert_eq!((report.outcome, report.counts.unresolved), (Outcome::Partial, 1), "{report:?}");
        assert_eq!(scene.shown("a"), "kept=1 new=1 old=1 same=1");
        assert_eq!(scene.shown("b"), "kept=2! new=1 old=1 same=1");
    }
}

/// Nothing is told from a side that looks as it was left, whatever became of its marker.
#[tokio::test]
async fn a_side_without_its_marker_on_which_nothing_is_amiss_did_not_go_back() {
    for side in ["a", "b"] {
        let mut scene = used_since(SyncMode::TwoWay, "a").await;
        fs::remove_dir_all(scene.dir.path().join(side).join(".syncengine/pairs")).unwrap();
        scene.write(side, "newer", "1");
        let report = scene.sync().await;
        assert_eq!(codes(&report), [], "{report:?}");
        // From now on it has a marker again, and deletions count.
        Folder(scene.dir.path().join(side)).delete("newer");
        scene.sync().await;
        assert_eq!((scene.shown("a"), scene.shown("b")), ("kept=2! new=1 same=1".into(), scene.shown("a")));
    }
}

/// The source decides in a backup, but not by what it had before.
#[tokio::test]
async fn a_source_that_is_put_back_does_not_overwrite_its_backup() {
    let scene = used_since(SyncMode::SourceBackup, "a").await;
    scene.put_back("a-then", "a");
    let report = scene.sync().await;
    assert_eq!(codes(&report), [NoticeCode::RolledBack], "{report:?}");
    assert_eq!(scene.shown("b"), "kept=2! kept*=1 new=1 old=1 same=1");
    assert_eq!(scene.shown("a"), "kept=2! kept*=1 new=1 old=1 same=1");
}

#[tokio::test]
async fn a_mirror_that_is_put_back_is_mended() {
    let scene = used_since(SyncMode::SourceToDestination, "a").await;
    scene.put_back("b-then", "b");
    scene.sync().await;
    assert_eq!(scene.shown("b"), "kept=2! new=1 same=1");
}

/// An older base is still a common past.
#[tokio::test]
async fn a_state_that_is_put_back_is_told_and_does_no_harm() {
    let mut scene = used_since(SyncMode::TwoWay, "a").await;
    scene.write("b", "same", "2!");
    scene.copy("state-then", "state");
    let report = scene.sync().await;
    assert!(report.notes.iter().any(|note| note.code == NoticeCode::StateOlder), "{report:?}");
    let both = "kept=2! new=1 same=2!";
    assert_eq!((scene.shown("a"), scene.shown("b")), (both.into(), both.into()));
}

/// Everything of a machine comes from one backup, and the other side has gone on.
#[tokio::test]
async fn a_machine_that_is_put_back_as_a_whole_goes_on_from_there() {
    let scene = used_since(SyncMode::TwoWay, "a").await;
    scene.copy("state-then", "state");
    scene.put_back("a-then", "a");
    scene.sync().await;
    let both = "kept=2! new=1 same=1";
    assert_eq!((scene.shown("a"), scene.shown("b")), (both.into(), both.into()));
}

#[tokio::test]
async fn without_a_state_the_markers_tell_which_side_is_older() {
    for preference in InitialSyncPreference::ALL {
        let mut scene = used_since(SyncMode::TwoWay, "a").await;
        scene.put_back("a-then", "a");
        fs::remove_dir_all(scene.dir.path().join("state")).unwrap();
        scene.options.initial_sync = Some(*preference);
        let (before, report) = (scene.shown("a"), scene.run().await);
        if preference.winner().is_some() {
            assert_eq!(report.outcome, Outcome::Refused, "{report:?}");
            assert!(codes(&report).contains(&NoticeCode::PreferenceLate), "{report:?}");
            assert_eq!((scene.shown("a"), scene.shown("b")), (before, "kept=2! new=1 same=1".into()));
            scene.options.accept_rollback = Some(AcceptRollback::Destination);
            scene.sync().await;
            assert_eq!(scene.shown("a"), "kept=2! new=1 same=1");
        } else {
            assert!(codes(&report).contains(&NoticeCode::RolledBack), "{report:?}");
            assert_eq!(scene.shown("b"), "kept=2! kept*=1 new=1 old=1 same=1");
        }
    }
}

/// Equal markers tell that neither side is older, so the strategy in force settles what differs.
#[tokio::test]
async fn without_a_state_and_with_equal_markers_the_strategy_counts() {
    let mut scene = used_since(SyncMode::TwoWay, "a").await;
    scene.write("a", "kept", "3!!");
    fs::remove_dir_all(scene.dir.path().join("state")).unwrap();
    let report = scene.sync().await;
    assert_eq!(codes(&report), [NoticeCode::StateLost], "{report:?}");
    assert_eq!(scene.shown("b"), "kept=3!! new=1 same=1");
}

#[tokio::test]
async fn each_written_side_carries_one_marker_and_a_run_that_changes_nothing_leaves_it() {
    for (mode, written) in [
        (SyncMode::TwoWay, [1, 1]),
        (SyncMode::SourceToDestination, [0, 1]),
        (SyncMode::DestinationToSource, [1, 0]),
        (SyncMode::SourceBackup, [1, 1]),
        (SyncMode::DestinationBackup, [1, 0]),
    ] {
        let mut scene = Scene::new(mode);
        for text in ["1", "2!", "3!!"] {
            scene.write(if mode.authority() == Some(Side::Destination) { "b" } else { "a" }, "f", text);
            scene.sync().await;
            let carried = [scene.markers("a"), scene.markers("b")];
            assert_eq!(carried.clone().map(|names| names.len()), written, "{mode} {carried:?}");
            scene.sync().await;
            assert_eq!([scene.markers("a"), scene.markers("b")], carried, "{mode}");
            if written == [1, 1] {
                assert_eq!(carried[0], carried[1], "{mode}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_without_a_trace_is_not_carried_over() {
    for (mode, repaired) in [
        (SyncMode::TwoWay, None),
        (SyncMode::SourceToDestination, Some("b")),
        (SyncMode::DestinationToSource, Some("a")),
        (SyncMode::SourceBackup, None),
        (SyncMode::DestinationBackup, Some("a")),
    ] {
        for damaged in ["a", "b"] {
            let mut scene = Scene::new(mode);
            scene.write("a", "f", "invoice");
            scene.write("b", "f", "invoice");
            scene.sync().await;
            let path = scene.dir.path().join(damaged).join("f");
            fs::write(&path, "").unwrap();
            set_modified(&path, Timestamp::new(scene.clock - if damaged == "a" { 60 } else { 0 }, 1));
            let report = scene.run().await;
            let other = if damaged == "a" { "b" } else { "a" };
            assert_eq!(scene.shown(other), "f=invoice", "{mode} {damaged}");
            if repaired == Some(damaged) {
                assert_eq!((report.outcome, scene.shown(damaged).as_str()), (Outcome::Synced, "f=invoice"));
            } else {
                let failures: Vec<_> = report.failures.iter().map(|failure| failure.code).collect();
                assert_eq!(failures, [FailureCode::SuspectEmpty], "{mode} {damaged}: {report:?}");
                // Whoever means it writes it.
                set_modified(&path, Timestamp::new(scene.clock + 60, 1));
                scene.sync().await;
                assert_eq!(scene.shown(other), "f=", "{mode} {damaged}");
            }
        }
    }
}

/// Renames a file that lost its content, or a folder above it, or copies it as a file manager does.
fn carry_off(at: &Path, how: &str) {
    fs::create_dir(at.join("e")).unwrap();
    match how {
        "the folder" => {
            fs::remove_dir(at.join("e")).unwrap();
            fs::rename(at.join("d"), at.join("e")).unwrap();
        }
        "the file" => fs::rename(at.join("d/f"), at.join("e/g")).unwrap(),
        _ => {
            let modified = fs::metadata(at.join("d/f")).unwrap().modified().unwrap();
            fs::write(at.join("e/f"), "").unwrap();
            fs::File::options().write(true).open(at.join("e/f")).unwrap().set_modified(modified).unwrap();
            fs::remove_file(at.join("d/f")).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_and_then_got_another_name_is_not_carried_over() {
    for mode in SyncMode::ALL.iter().copied() {
        for damaged in ["a", "b"] {
            for how in ["the folder", "the file", "a copy"] {
                let case = format!("{mode} {damaged} {how}");
                let mut scene = Scene::new(mode);
                scene.write("a", "d/f", "invoice");
                scene.write("b", "d/f", "invoice");
                scene.sync().await;
                let path = scene.path(damaged);
                let then = fs::metadata(path.join("d/f")).unwrap().modified().unwrap();
                fs::write(path.join("d/f"), "").unwrap();
                fs::File::options().write(true).open(path.join("d/f")).unwrap().set_modified(then).unwrap();
                carry_off(&path, how);
                let other = if damaged == "a" { "b" } else { "a" };
                // Where it is only a copy the first run gives it its content again, under the old name.
                let is_copy = mode.authority().is_some_and(|side| (side == Side::Source) != (damaged == "a"));
                for _ in 0..if is_copy { 1 } else { 2 } {
                    let report = scene.run().await;
                    assert_eq!(scene.shown(other), "d/f=invoice", "{case}: {report:?}");
                    let to = if damaged == "a" { Side::Destination } else { Side::Source };
                    let decides = scene.pair.allows_copy_to(to);
                    let failures: Vec<_> = report.failures.iter().map(|failure| failure.code).collect();
                    assert_eq!(
                        failures,
                        vec![FailureCode::SuspectEmpty; decides.into()],
                        "{case}: {report:?}"
                    );
                }
            }
        }
    }
}

/// A file system that keeps whole seconds gives an edit within the second the stamp of what was there before.
#[tokio::test]
async fn a_stamp_of_a_whole_second_proves_no_damage() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::SourceBackup] {
        let mut scene = Scene::new(mode);
        scene.write("a", "f", "draft");
        let path = scene.dir.path().join("a").join("f");
        let stamp = Timestamp::new(scene.clock - 60, 0);
        set_modified(&path, stamp);
        scene.sync().await;
        fs::write(&path, "").unwrap();
        set_modified(&path, stamp);
        scene.sync().await;
        assert_eq!(scene.shown("b"), "f=", "{mode}");
    }
}

#[tokio::test]
async fn an_edit_repairs_what_the_other_side_lost() {
    for conflict in ConflictStrategy::ALL {
        let mut scene = Scene::new(SyncMode::TwoWay);
        scene.pair = scene.pair.clone().conflict(*conflict);
        scene.write("a", "f", "invoice");
        let then = Timestamp::new(scene.clock, 1);
        scene.sync().await;
        scene.write("b", "f", "invoice, paid");
        fs::write(scene.source.0.join("f"), "").unwrap();
        set_modified(&scene.source.0.join("f"), then);
        scene.sync().await;
        assert_eq!(
            (scene.shown("a").as_str(), scene.shown("b").as_str()),
            ("f=invoice, paid", "f=invoice, paid")
        );
    }
}

#[tokio::test]
async fn many_emptied_files_stop_a_run() {
    let mut scene = Scene::new(SyncMode::TwoWay);
    for number in 0..30 {
        scene.write("a", &format!("f{number}"), "text");
    }
    scene.sync().await;
    for number in 0..21 {
        scene.write("a", &format!("f{number}"), "");
    }
    let refused = scene.run().await;
    assert_eq!((refused.outcome, codes(&refused)), (Outcome::Refused, vec![NoticeCode::MassEmpty]));
    // A folder that is renamed then makes them no others.
    scene.put_back("b", "a");
    for number in 0..30 {
        scene.write("a", &format!("d/f{number}"), "text");
        scene.delete("a", &format!("f{number}"));
    }
    scene.sync().await;
    for number in 0..21 {
        let path = scene.path(&format!("a/d/f{number}"));
        let then = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    }
    scene.move_to("a/d", "a/e");
    let refused = scene.run().await;
    assert!(codes(&refused).contains(&NoticeCode::MassEmpty), "{refused:?}");
    scene.options.allow_mass_empty = true;
    scene.options.allow_mass_delete = true;
    for number in 0..21 {
        scene.write("a", &format!("e/f{number}"), "");
    }
    scene.sync().await;
    assert_eq!(scene.destination.files().values().filter(|text| text.is_empty()).count(), 21);
}
