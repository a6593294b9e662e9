//! The uses that the README promises need no option that lets a guard pass.

use std::path::Path;

use syncengine::code::NoticeCode;
use syncengine::{
    InitialSyncPreference, Outcome, Report, SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp,
};

use crate::support::{Folder, Root};

const WHEN: Timestamp = Timestamp { seconds: 1_600_000_000, nanoseconds: 1 };

/// Two folders; each run may have a state of its own.
struct Scene {
    dir: tempfile::TempDir,
    source: Folder,
    destination: Folder,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, destination) =
            (Folder::new(dir.path(), "source"), Folder::new(dir.path(), "destination"));
        Self { dir, source, destination }
    }

    async fn sync(&self, mode: SyncMode, state: &str) -> Report {
        self.sync_as(mode, state, None).await
    }

    async fn sync_as(&self, mode: SyncMode, state: &str, winner: Option<InitialSyncPreference>) -> Report {
        let shown = |path: &Path| path.to_str().unwrap().to_owned();
        let pair = SyncPair::new(shown(&self.source.0), shown(&self.destination.0)).mode(mode);
        let options = SyncOptions { initial_sync: winner, ..SyncOptions::new() };
        let report = SyncEngine::new(self.dir.path().join(state)).sync_pair(&pair, options).await.unwrap();
        assert_eq!(report.outcome, Outcome::Synced, "{report:?}");
        report
    }
}

/// Every night another runner, which has no state, and a build of which every name has changed.
#[tokio::test]
async fn a_ci_job_without_state_mirrors_a_build_of_which_all_names_change() {
    for files in [1, 9, 40] {
        let scene = Scene::new();
        for night in 0..4 {
            scene.source.files().keys().for_each(|name| scene.source.delete(name));
            for number in 0..files {
                let text = format!("night {night}, file {number}");
                scene.source.write(&format!("app.{night}-{number}.js"), text.as_bytes(), WHEN);
            }
            scene.source.write("index.html", format!("night {night}").as_bytes(), WHEN);
            scene.sync(SyncMode::SourceToDestination, &format!("runner-{night}")).await;
            assert_eq!(scene.destination.files(), scene.source.files(), "{files} files, night {night}");
        }
    }
}

/// What is there already is from an earlier try, or from a copy by hand.
#[tokio::test]
async fn a_vault_is_restored_into_an_empty_and_into_a_half_full_folder() {
    for there in [0, 15, 30] {
        for mode in [SyncMode::TwoWay, SyncMode::DestinationToSource, SyncMode::DestinationBackup] {
            let scene = Scene::new();
            for number in 0..30 {
                let (name, text) = (format!("note-{number}"), format!("text {number}"));
                scene.destination.write(&name, text.as_bytes(), WHEN);
                if number < there {
                    scene.source.write(&name, text.as_bytes(), WHEN);
                }
            }
            let winner = (mode == SyncMode::TwoWay).then_some(InitialSyncPreference::DestinationWins);
            scene.sync_as(mode, "state", winner).await;
            assert_eq!(scene.source.files(), scene.destination.files(), "{mode} {there}");
            assert_eq!(scene.source.files().len(), 30);
        }
    }
}

/// The winner may lose a few files of the other side, and says where they are.
#[tokio::test]
async fn a_restoration_over_other_files_says_where_those_are() {
    let scene = Scene::new();
    scene.source.write("note", b"an old one", WHEN);
    scene.source.write("stray", b"of nobody", WHEN);
    scene.destination.write("note", b"text", WHEN);
    let report = scene.sync_as(SyncMode::TwoWay, "state", Some(InitialSyncPreference::DestinationWins)).await;
    let note = report.notes.iter().find(|note| note.code == NoticeCode::UnseenFiles).unwrap();
    assert!(note.message.starts_with("2 files") && note.message.contains(".syncengine/trash/"), "{note:?}");
    assert_eq!(scene.source.trash().len(), 2);
}

#[tokio::test]
async fn a_backup_of_one_file_goes_on_from_night_to_night() {
    let scene = Scene::new();
    for night in 0..4 {
        scene.source.write("db.dump", format!("night {night}").as_bytes(), WHEN);
        scene.sync(SyncMode::SourceBackup, "state").await;
        assert_eq!(scene.destination.files(), scene.source.files(), "{night}");
    }
}

/// Another program has made both sides equal; not a byte is to be copied again.
#[tokio::test]
async fn moving_over_from_another_tool_copies_nothing() {
    for mode in SyncMode::ALL {
        let scene = Scene::new();
        for number in 0..30 {
            let text = format!("text {number}");
            scene.source.write(&format!("f{number}"), text.as_bytes(), WHEN);
            // Some programs do not keep times.
            let when = Timestamp::new(WHEN.seconds + number % 3, 0);
            scene.destination.write(&format!("f{number}"), text.as_bytes(), when);
        }
        let report = scene.sync(*mode, "state").await;
        assert_eq!(
            (report.counts.unchanged, report.counts.uploaded + report.counts.downloaded),
            (30, 0),
            "{mode}"
        );
    }
}
