//! Edits that must not be lost, and decisions that must be the same in every run.

use std::fs;
use std::sync::Arc;

use syncengine::embedded::Disturbance;
use syncengine::{ComparisonMode, ConflictStrategy, Outcome, SyncMode, SyncOptions};

use super::{Meddled, Still, Watcher};

#[test]
fn h12_an_edit_made_while_the_first_upload_runs_is_not_overwritten() {
    let world = Meddled::new();
    world.act("a write f first");
    let file = world.bench.path("a/f");
    world.meddle(move |operation, _| {
        if operation == "PutObject" && fs::read(&file).unwrap() == b"first" {
            fs::write(&file, "edited meanwhile").unwrap();
        }
        Disturbance::Pass
    });
    world.sync();
    assert_eq!(world.bench.read("a/f"), "edited meanwhile");
    world.calm();
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.downloaded), (Outcome::Synced, 0));
    assert_eq!(world.folder()["f"], b"edited meanwhile");
    assert_eq!(world.folder(), crate::support::Root::files(&world.bucket));
}

#[test]
fn h13_two_names_that_are_swapped_keep_both_contents() {
    let world = Meddled::synced("a write f first; a write g second");
    world.act("a mv f t; a mv g f; a mv t g");
    assert_eq!(world.sync().outcome, Outcome::Synced);
    world.agrees("f=second g=first");
}

#[test]
fn h14_an_edit_with_an_older_time_is_an_edit() {
    let world = Meddled::synced("a write f first; b write g first");
    world.act("a write f other 1000; b write g other 1000");
    let report = world.sync();
    assert_eq!((report.counts.uploaded, report.counts.downloaded, report.counts.conflicts), (1, 1, 0));
    world.agrees("f=other g=other");
}

#[test]
fn h18_the_trash_keeps_two_versions_of_a_path_deleted_in_one_second() {
    let mut world = Meddled::new();
    // Every run begins at the same moment.
    world.clock = Arc::new(Still::default());
    for content in ["one", "two"] {
        world.act(&format!("a write f {content}; a write g {content}; a write keep 1"));
        world.sync();
        world.act("a rm f; b rm g");
        assert_eq!(world.sync().outcome, Outcome::Synced);
        world.agrees("keep=1");
    }
    let both = [b"one".to_vec(), b"two".to_vec()];
    assert_eq!(world.trash(), [both.to_vec(), both.to_vec()]);
}

#[test]
fn h20_a_losing_version_is_in_the_trash_of_its_side() {
    let world = Meddled::synced("a write up old1; a write down old2; a write met old3");
    world.act("a write up new1; b write down new2; a write met ours 1000; b write met theirs 2000");
    assert_eq!(world.sync().outcome, Outcome::Synced);
    world.agrees("down=new2 met=theirs up=new1");
    assert_eq!(world.trash(), [vec![b"old1".to_vec()], vec![b"old2".to_vec(), b"ours".to_vec()]]);
}

#[test]
fn h21_an_edit_of_the_same_size_is_uploaded_whatever_is_compared() {
    for mode in [SyncMode::SourceToDestination, SyncMode::SourceBackup] {
        for &compare in ComparisonMode::ALL {
            let world = Meddled::new();
            world.act("a write f first 1000; a write g second");
            world.with(|pair| pair.mode(mode).compare(compare));
            // Not even the time differs.
            world.act("a write f other 1000");
            let report = world.with(|pair| pair.mode(mode).compare(compare));
            assert_eq!(report.counts.uploaded, 1, "{mode} {compare}");
            world.agrees("f=other g=second");
        }
    }
}

#[test]
fn h22_a_dry_run_plans_what_the_run_then_does() {
    for &mode in SyncMode::ALL {
        let world = Meddled::synced("a write f first; a write g second; a write h third; a write i forth");
        world.act("a rm f; a write g edited; b write h edited; b rm i; a write new 1; b write there 2");
        let plan = world.run(|pair| pair.mode(mode), SyncOptions::new().dry_run(true)).unwrap();
        let planned = plan.actions.iter().map(|line| (line.path.to_string(), line.action.to_string()));
        let mut planned: Vec<_> = planned.collect();
        planned.sort();
        let watcher = Arc::new(Watcher::default());
        let options = SyncOptions::new().observer(Arc::<Watcher>::clone(&watcher));
        let report = world.run(|pair| pair.mode(mode), options).unwrap();
        assert_eq!(watcher.done(), planned, "{mode}");
        assert_eq!(report.counts, plan.counts, "{mode}");
        if mode == SyncMode::TwoWay {
            assert!(planned.contains(&("f".into(), "delete_destination".into())), "{planned:?}");
        }
    }
}

#[test]
fn h24_a_path_in_conflict_keeps_the_version_both_sides_had() {
    let manual = |world: &Meddled| world.with(|pair| pair.conflict(ConflictStrategy::Manual));
    let world = Meddled::synced("a write f first; a write g second");
    world.act("a write f ours; b write f theirs");
    assert_eq!(manual(&world).counts.unresolved, 1);
    // The destination goes back to what both had, and the source gives the file up.
    world.act("b write f first; a rm f");
    let report = manual(&world);
    assert_eq!((report.counts.deleted_destination, report.counts.downloaded), (1, 0));
    world.agrees("g=second");
}

#[test]
fn h26_a_file_and_a_folder_of_one_name_are_reported_in_every_run() {
    for &strategy in ConflictStrategy::ALL {
        let world = Meddled::new();
        world.act("a write x file; a write f first; b write x/y inner");
        for run in 0..3 {
            let report = world.with(|pair| pair.conflict(strategy));
            assert_eq!(report.outcome, Outcome::Partial, "{strategy} {run}");
            // The file, and the file in the folder.
            assert_eq!((report.counts.conflicts, report.counts.unresolved), (2, 2), "{strategy} {run}");
            world.has("f=first x=file", "f=first x/y=inner");
        }
    }
}

#[test]
fn h27_a_rename_moves_no_bytes() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        let world = Meddled::new();
        world.act("a write old content; a write g second");
        world.mode(mode);
        world.calm();
        world.act("a mv old new");
        let report = world.mode(mode);
        assert_eq!((report.counts.renamed_destination, report.counts.uploaded), (1, 0), "{mode}");
        assert_eq!(report.counts.deleted_destination, 0, "{mode}");
        assert_eq!((world.asked("PutObject"), world.asked("CopyObject")), (0, 1), "{mode}: the store copies");
        world.agrees("g=second new=content");
    }
}

#[test]
fn h28_a_move_to_another_folder_is_made_with_its_whole_name() {
    let world = Meddled::synced("a write d/f content; a write g second; b write p/q other");
    world.act("a mv d/f e/deep/h; b mv p/q r/s/t");
    let report = world.sync();
    assert_eq!((report.counts.renamed_destination, report.counts.renamed_source), (1, 1));
    world.agrees("e/deep/h=content g=second r/s/t=other");
    assert_eq!(world.sync().counts.unchanged, 3, "nothing comes back");
    world.agrees("e/deep/h=content g=second r/s/t=other");
}

#[test]
fn h29_a_new_file_in_the_inode_of_a_deleted_one_is_no_rename() {
    for content in ["other", "longer"] {
        let world = Meddled::synced("a write f first; a write g second");
        // What is written into a file leaves its inode as it is.
        world.act(&format!("a mv f new; a write new {content}"));
        let report = world.sync();
        assert_eq!((report.counts.renamed_destination, report.counts.uploaded), (0, 1), "{content}");
        world.agrees(&format!("g=second new={content}"));
    }
}

#[test]
fn h39_a_folder_transfer_deletes_and_overwrites_as_its_mode_says() {
    for (mode, a) in [
        (SyncMode::DestinationToSource, "f=theirs g=second"),
        (SyncMode::DestinationBackup, "f=theirs g=second only=here"),
    ] {
        let world = Meddled::new();
        // The file here is the newer one.
        world.act("a write f mine 2000; a write only here; b write f theirs 1000; b write g second");
        let options = SyncOptions { allow_unseen: true, ..SyncOptions::new() };
        let report = world.run(|pair| pair.mode(mode), options).unwrap();
        assert_eq!(report.outcome, Outcome::Synced, "{mode}");
        world.has(a, "f=theirs g=second");
        assert!(world.trash()[1].contains(&b"mine".to_vec()), "{mode}");
    }
}
