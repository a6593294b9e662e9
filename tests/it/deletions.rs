//! What holds deletions back, and what does not: a file that is missing may be one that got no place under a new name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use syncengine::code::NoticeCode;
use syncengine::state::Found;
use syncengine::{MemoryClient, Report, SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp};

use crate::support::{Folder, Root, fresh_engine};

const WHEN: Timestamp = Timestamp { seconds: 1_600_000_000, nanoseconds: 1 };

/// A name that a store can have and a folder cannot.
fn too_long() -> String {
    "x".repeat(300)
}

/// A store and a folder that receives from it.
struct Scene {
    dir: tempfile::TempDir,
    store: Arc<MemoryClient>,
    folder: Folder,
    engine: SyncEngine,
    pair: SyncPair,
}

impl Scene {
    fn new(mode: SyncMode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, folder) = (Arc::new(MemoryClient::new("store")), Folder::new(dir.path(), "folder"));
        let pair = SyncPair::with_clients(Root::client(&store), folder.client()).mode(mode);
        let engine = fresh_engine(Found::Nothing);
        Self { dir, store, folder, engine, pair }
    }

    /// Returns two folders and the pair of them.
    fn folders(&self, mode: SyncMode) -> (Folder, Folder, SyncPair) {
        let (from, to) = (Folder::new(self.dir.path(), "from"), Folder::new(self.dir.path(), "to"));
        let pair = SyncPair::with_clients(from.client(), to.client()).mode(mode);
        (from, to, pair)
    }

    async fn run(&self) -> Report {
        self.engine.sync_pair(&self.pair, SyncOptions::new()).await.unwrap()
    }

    fn put(&self, name: &str, text: &str) {
        Root::write(&self.store, name, text.as_bytes(), WHEN);
    }

    fn names(&self) -> Vec<String> {
        self.folder.files().into_keys().collect()
    }
}

fn is_held(report: &Report) -> bool {
    report.warnings.iter().any(|warning| warning.code == NoticeCode::DeletionsHeldBack)
}

#[tokio::test]
async fn a_name_that_a_side_cannot_have_holds_no_other_deletion_back() {
    for mode in [SyncMode::SourceToDestination, SyncMode::TwoWay] {
        let scene = Scene::new(mode);
        for name in ["gone", "same", &too_long()] {
            scene.put(name, name);
        }
        assert_eq!(scene.run().await.counts.failed, 1);
        Root::delete(&scene.store, "gone");
        let report = scene.run().await;
        assert_eq!((scene.names(), is_held(&report)), (vec!["same".to_owned()], false), "{mode} {report:?}");
    }
}

#[tokio::test]
async fn a_file_whose_new_name_fails_keeps_its_old_one_at_the_other_side() {
    for mode in [SyncMode::SourceToDestination, SyncMode::TwoWay] {
        for edited in [false, true] {
            let scene = Scene::new(mode);
            for name in ["gone", "moved", "same"] {
                scene.put(name, name);
            }
            scene.run().await;
            Root::delete(&scene.store, "gone");
            Root::rename(&scene.store, "moved", &too_long());
            if edited {
                // Nothing tells any more where it comes from.
                scene.put(&too_long(), "another content");
            }
            let report = scene.run().await;
            let expected: &[&str] = if edited { &["same"] } else { &["moved", "same"] };
            assert_eq!(scene.names(), expected, "{mode} {report:?}");
            // It goes when its new name has a place.
            if !edited {
                Root::rename(&scene.store, &too_long(), "short");
                scene.run().await;
                assert_eq!(scene.names(), ["same", "short"], "{mode}");
            }
        }
    }
}

/// Two folders; what is in the first is renamed to a name that no key can be.
#[tokio::test]
async fn a_folder_whose_new_name_fails_deletes_nothing_that_is_in_it() {
    for mode in [SyncMode::SourceToDestination, SyncMode::TwoWay] {
        let scene = Scene::new(mode);
        let (from, to, pair) = scene.folders(mode);
        for name in ["d/e/1", "d/2", "d/3", "gone", "same"] {
            from.write(name, name.as_bytes(), WHEN);
        }
        scene.engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let strange = from.0.join(Path::new(OsStr::from_bytes(b"d\xff")));
        fs::rename(from.0.join("d"), &strange).unwrap();
        from.delete("gone");
        let report = scene.engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let names: Vec<String> = to.files().into_keys().collect();
        assert_eq!(names, ["d/2", "d/3", "d/e/1", "same"], "{mode} {report:?}");
        assert!(is_held(&report) && report.counts.failed == 1, "{report:?}");
        fs::rename(&strange, from.0.join("moved")).unwrap();
        scene.engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let names: Vec<String> = to.files().into_keys().collect();
        assert_eq!(names, ["moved/2", "moved/3", "moved/e/1", "same"], "{mode}");
    }
}

/// A file gets a name that no key can be, and a folder gets its name.
#[tokio::test]
async fn a_file_whose_new_name_fails_makes_no_room_for_what_has_its_old_one() {
    for mode in [SyncMode::SourceToDestination, SyncMode::TwoWay] {
        let scene = Scene::new(mode);
        let (from, to, pair) = scene.folders(mode);
        from.write("a", b"the only copy of it", WHEN);
        from.write("other", b"goes", WHEN);
        scene.engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let strange = from.0.join(Path::new(OsStr::from_bytes(b"b\xff")));
        fs::rename(from.0.join("a"), &strange).unwrap();
        from.write("a/x", b"new", WHEN);
        from.delete("other");
        from.write("other/x", b"new too", WHEN);
        let report = scene.engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let names: Vec<String> = to.files().into_keys().collect();
        assert_eq!(names, ["a", "other/x"], "{mode} {report:?}");
        assert!(is_held(&report) && report.counts.failed == 2, "{report:?}");
        fs::rename(&strange, from.0.join("b")).unwrap();
        scene.engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let names: Vec<String> = to.files().into_keys().collect();
        assert_eq!(names, ["a/x", "b", "other/x"], "{mode}");
    }
}
