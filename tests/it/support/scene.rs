//! Two folders that are synced, and what becomes of folders: put back from a backup, copied, moved, exchanged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syncengine::code::NoticeCode;
use syncengine::{Outcome, Report, SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp};

use super::{Folder, Root};

/// Two folders, what is remembered of them, and backups of all three.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) source: Folder,
    pub(crate) destination: Folder,
    pub(crate) pair: SyncPair,
    pub(crate) options: SyncOptions,
    pub(crate) clock: i64,
}

impl Scene {
    pub(crate) fn new(mode: SyncMode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, destination) = (Folder::new(dir.path(), "a"), Folder::new(dir.path(), "b"));
        let pair = SyncPair::new(source.0.to_str().unwrap(), destination.0.to_str().unwrap()).mode(mode);
        Self { dir, source, destination, pair, options: SyncOptions::new(), clock: 1_600_000_000 }
    }

    pub(crate) async fn run(&self) -> Report {
        let engine = SyncEngine::new(self.path("state"));
        engine.sync_pair(&self.pair, self.options.clone()).await.unwrap()
    }

    pub(crate) async fn sync(&self) -> Report {
        let report = self.run().await;
        assert_eq!(report.outcome, Outcome::Synced, "{report:?}");
        report
    }

    pub(crate) fn write(&mut self, folder: &str, name: &str, text: &str) {
        self.clock += 60;
        Folder(self.path(folder)).write(name, text.as_bytes(), Timestamp::new(self.clock, 1));
    }

    /// Returns the path of a name beside the two folders.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn delete(&self, folder: &str, name: &str) {
        Folder(self.path(folder)).delete(name);
    }

    /// Moves a folder, which stays the same folder.
    pub(crate) fn move_to(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Syncs other folders from now on.
    pub(crate) fn between(&mut self, source: &str, destination: &str) {
        let name = |folder: &str| self.path(folder).to_str().unwrap().to_owned();
        (self.pair.source, self.pair.destination) = (name(source), name(destination));
    }

    /// Copies a folder as a backup does, with all it has, in the same place or elsewhere.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        copy_tree(&from, &to);
    }

    /// Puts what a backup has into a folder that stays the same folder.
    pub(crate) fn put_back(&self, backup: &str, folder: &str) {
        let (backup, folder) = (self.path(backup), self.path(folder));
        for item in fs::read_dir(&folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        copy_into(&backup, &folder);
    }

    /// Returns the contents of a folder, by name, conflict copies as `NAME*`.
    pub(crate) fn shown(&self, folder: &str) -> String {
        let tree = Folder(self.path(folder)).files();
        let shown = tree.into_iter().map(|(name, text)| {
            let name = name.split_once(".conflict-").map_or(name.clone(), |(stem, _)| format!("{stem}*"));
            format!("{name}={}", String::from_utf8(text).unwrap())
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn markers(&self, folder: &str) -> BTreeSet<String> {
        let pairs = self.path(folder).join(".syncengine/pairs");
        let Ok(names) = fs::read_dir(pairs) else { return BTreeSet::new() };
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    copy_into(from, to);
}

pub(crate) fn copy_into(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target: PathBuf = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_tree(&item.path(), &target);
        } else {
            fs::copy(item.path(), &target).unwrap();
            let modified = item.metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
        }
    }
}

/// Returns what a run warned of or was refused for.
pub(crate) fn codes(report: &Report) -> Vec<NoticeCode> {
    report.warnings.iter().chain(&report.refused_by).map(|notice| notice.code).collect()
}
