//! A batch of renames: the folders it has open, those it changed, and making them durable once at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::reserved::{self, ignore_unsupported};
use super::root::{changed, failure, open_folder, split};
use super::rung::PublishRung;
use super::{Local, stat};
use crate::client::Disposal;
use crate::entry::{Entry, Timestamp};
use crate::error::Result;

/// From how many files or folders on one sync of the file system is cheaper than one of each.
pub(super) const FEW: usize = 16;

/// How many folders a batch keeps open.
const OPEN_FOLDERS: usize = 8;

/// Operations that become durable together.
pub(super) struct Batch<'a> {
    pub(super) local: &'a Local,
    pub(super) root: Arc<OwnedFd>,
    pub(super) rung: PublishRung,
    open: Vec<(String, Arc<OwnedFd>)>,
    touched: BTreeSet<String>,
    /// Status change times, planned and after our own rename, of inodes that have several names: moving
    /// one name must not make the others look edited.
    moved: BTreeMap<u64, (Timestamp, Timestamp)>,
}

/// Where a version goes when it is replaced or removed.
pub(super) struct Aside {
    pub(super) path: String,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: String,
}

impl<'a> Batch<'a> {
    /// Begins a batch that renames; what an earlier process left half done is put right first.
    pub(super) fn new(local: &'a Local) -> Result<Self> {
        local.recover_once()?;
        let (root, rung) = (local.root.handle()?, local.rung()?);
        let (open, touched, moved) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Ok(Self { local, root, rung, open, touched, moved })
    }

    /// Opens a folder, or returns it if it was opened lately.
    pub(super) fn open(&mut self, folder: &str) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(at) = self.open.iter().position(|(path, _)| path == folder) {
            // The latest is last.
            self.open[at..].rotate_left(1);
        } else {
            let handle = open_folder(&self.root, folder)?;
            self.keep_open(folder, handle);
        }
        self.open.last().map(|(_, handle)| Arc::clone(handle)).ok_or(Errno::NOENT)
    }

    /// Remembers an open folder.
    pub(super) fn keep_open(&mut self, folder: &str, handle: OwnedFd) {
        if self.open.len() == OPEN_FOLDERS {
            self.open.remove(0);
        }
        self.open.push((folder.to_owned(), Arc::new(handle)));
    }

    /// Opens the folder in which `entry` was. That it is gone means that the entry is.
    pub(super) fn open_parent(&mut self, entry: &Entry) -> Result<Arc<OwnedFd>> {
        let path = entry.key.as_str();
        match self.open(entry.key.parent().unwrap_or("")) {
            Err(Errno::NOENT | Errno::NOTDIR) => Err(changed(path, "is no longer there")),
            other => other.map_err(|error| failure("open the folder of", path, error)),
        }
    }

    /// Remembers that the content of a folder was changed.
    pub(super) fn touch(&mut self, folder: &str) {
        if !self.touched.contains(folder) {
            self.touched.insert(folder.to_owned());
        }
    }

    /// Checks that `entry` still is the version that was listed, and returns its stat.
    pub(super) fn check(&self, folder: &OwnedFd, entry: &Entry) -> Result<Stat> {
        let path = entry.key.as_str();
        let stat = match rustix::fs::statat(folder, entry.key.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(changed(path, "is no longer there")),
            Err(error) => return Err(failure("look at", path, error)),
        };
        let renamed_by_us = || {
            let times = self.moved.get(&stat::inode(&stat));
            times.is_some_and(|(planned, now)| *now == stat::changed(&stat) && is_planned(entry, *planned))
                && stat::is_moved_version(&stat, entry)
        };
        if stat::is_version(&stat, entry) || renamed_by_us() {
            return Ok(stat);
        }
        Err(changed(path, "is no longer the version that was listed"))
    }

    /// Checks that what was moved to `name` is `entry`, and not something newer that came in its place.
    pub(super) fn verify(&mut self, folder: &OwnedFd, name: &str, entry: &Entry) -> Result<()> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failure("look at", entry.key.as_str(), error))?;
        if !stat::is_moved_version(&stat, entry) {
            return Err(changed(entry.key.as_str(), "was changed just before it was to be moved"));
        }
        if let (true, crate::fingerprint::Fingerprint::File(file)) =
            (stat::has_other_names(&stat), &entry.fingerprint)
        {
            self.moved.insert(file.inode, (file.changed, stat::changed(&stat)));
        }
        Ok(())
    }

    /// Returns where `entry` goes under `disposal`: its place in the trash, or a name beside it.
    pub(super) fn aside(&mut self, entry: &Entry, disposal: &Disposal) -> Result<Aside> {
        let folder = entry.key.parent().unwrap_or("");
        let (path, name) = match disposal {
            Disposal::Trash { run } => (self.open_trash(run, folder)?, entry.key.file_name().to_owned()),
            Disposal::Discard => (folder.to_owned(), reserved::kept_name(self.local, entry.key.file_name())),
        };
        let folder = self.open(&path).map_err(|error| failure("open the folder", &path, error))?;
        Ok(Aside { path, folder, name })
    }

    /// Removes a version that was moved beside its place and verified, if it is not to be kept.
    pub(super) fn dispose(&mut self, aside: &Aside, disposal: &Disposal) -> Result<()> {
        self.touch(&aside.path);
        if matches!(disposal, Disposal::Trash { .. }) {
            return Ok(());
        }
        rustix::fs::unlinkat(&*aside.folder, &aside.name, AtFlags::empty())
            .map_err(|error| failure("remove", &aside.name, error))
    }

    /// Removes `folder` and the folders above it as long as they are empty.
    pub(super) fn prune(&mut self, mut folder: &str) {
        while !folder.is_empty() {
            let (parent, name) = split(folder);
            let Ok(handle) = self.open(parent) else { return };
            if rustix::fs::unlinkat(&*handle, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            self.open.retain(|(path, _)| path != folder);
            self.touched.remove(folder);
            self.local.created().remove(folder);
            self.touch(parent);
            folder = parent;
        }
    }

    /// Makes the changed folders durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        let mut folders = std::mem::take(&mut self.touched);
        let created = self.local.created().clone();
        for folder in folders.clone() {
            let mut path = folder.as_str();
            while created.contains(path) {
                path = split(path).0;
                folders.insert(path.to_owned());
            }
        }
        if folders.len() > FEW && sync_all(&self.root).map_err(|error| failure("sync", "", error))? {
            self.local.created().retain(|path| !folders.contains(path));
            return Ok(());
        }
        for folder in &folders {
            match self.open(folder).and_then(|handle| rustix::fs::fsync(&*handle).or_else(ignore_unsupported))
            {
                // Somebody removed it: there is nothing in it to keep.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(failure("sync the folder", folder, error)),
            }
        }
        self.local.created().retain(|path| !folders.contains(path));
        Ok(())
    }
}

/// Removes our copy, unless somebody changed it after all.
pub(super) fn remove_ours(local: &Local, folder: &OwnedFd, name: &str, ours: &Stat) {
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    if found.is_ok_and(|found| local.is_same_file(&found, ours)) {
        rustix::fs::unlinkat(folder, name, AtFlags::empty()).ok();
    }
}

fn is_planned(entry: &Entry, planned: Timestamp) -> bool {
    matches!(&entry.fingerprint, crate::fingerprint::Fingerprint::File(file) if file.changed == planned)
}

/// File systems of programs (`FUSE_SUPER_MAGIC`).
#[cfg(target_os = "linux")]
const FUSE: rustix::fs::FsWord = 0x6573_5546;

/// Makes the whole file system durable; `false` if the system cannot do that at once. Linux does not pass the
/// wish on to a program that serves a file system, and says that it was done.
#[cfg(target_os = "linux")]
pub(super) fn sync_all(root: &OwnedFd) -> Result<bool, Errno> {
    if rustix::fs::fstatfs(root)?.f_type == FUSE {
        return Ok(false);
    }
    rustix::fs::syncfs(root).map(|()| true)
}

/// Makes the whole file system durable; `false` if the system cannot do that at once.
#[cfg(not(target_os = "linux"))]
pub(super) fn sync_all(_: &OwnedFd) -> Result<bool, Errno> {
    Ok(false)
}
