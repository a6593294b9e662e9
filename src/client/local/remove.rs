//! Renaming and removing versions, and sweeping leftovers.
//!
//! A version is removed by moving it to the trash and looking at what was moved: what was edited in
//! between is put back (I-07). Folders are removed only when there is no file in them.

use std::collections::BTreeSet;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::batch::Batch;
use super::give_way::give_way;
use super::listed::{is_exact, is_refused_name};
use super::root::{changed, failure, open_folder};
use super::rung::PublishRung;
use super::spelling::unmappable;
use super::{Local, read, reserved, stage, stat};
use crate::client::Disposal;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Removes versions. The results are in their order.
pub(super) fn remove(local: &Local, entries: &[Entry], disposal: &Disposal) -> Vec<Result<()>> {
    if entries.is_empty() {
        return Vec::new();
    }
    let results = Batch::new(local).and_then(|mut batch| {
        let results: Vec<_> = entries.iter().map(|entry| batch.remove_one(entry, disposal)).collect();
        // Deepest first, so that a folder is empty when its turn comes.
        let removed = results.iter().zip(entries).filter(|(result, _)| result.is_ok());
        let emptied: BTreeSet<&str> = removed.filter_map(|(_, entry)| entry.key.parent()).collect();
        emptied.iter().rev().for_each(|folder| batch.prune(folder));
        batch.sync()?;
        Ok(results)
    });
    results.unwrap_or_else(|error| entries.iter().map(|_| Err(error.again())).collect())
}

/// Gives the version `from` the name `to`.
pub(super) fn rename(local: &Local, from: &Entry, to: &Key) -> Result<Entry> {
    if to.is_reserved() {
        return Err(Error::new(ErrorKind::Invalid, format!("rename to `{to}`: the name is reserved")));
    }
    let mut batch = Batch::new(local)?;
    let ours = batch.rename(from, to).inspect_err(|_| {
        stage::remove_created(local, to.parent().unwrap_or(""));
    })?;
    if let Some(folder) = from.key.parent() {
        batch.prune(folder);
    }
    batch.sync()?;
    batch.look(&ours, to)
}

/// Removes temporaries of earlier runs; what has another name or is no file stays. What was taken from its place by a run
/// that was killed then goes to the trash: nobody may have seen it.
pub(super) fn sweep(local: &Local, leftovers: &[Key]) -> Result<()> {
    local.recover()?;
    reserved::mend_rights(local);
    let root = local.root.handle()?;
    let mut first_failure = rescue(local, leftovers).err();
    for key in leftovers.iter().filter(|key| reserved::tag(key.file_name()).is_some()) {
        let swept = open_folder(&root, key.parent().unwrap_or("")).and_then(|folder| {
            let stat = rustix::fs::statat(&folder, key.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            if stat::kind(&stat) != FileType::RegularFile {
                return Ok(());
            }
            rustix::fs::unlinkat(&folder, key.file_name(), AtFlags::empty())
        });
        match swept {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => {
                first_failure.get_or_insert_with(|| failure("remove", key.as_str(), error));
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

/// Gives files that were taken from their places their names in the trash of a run of its own.
fn rescue(local: &Local, leftovers: &[Key]) -> Result<()> {
    let is_kept = |key: &&Key| reserved::kept(key.file_name()).is_some();
    let all: Vec<&Key> = leftovers.iter().filter(is_kept).collect();
    if all.is_empty() {
        return Ok(());
    }
    let run = format!("{}-{:08x}", local.clock.now().compact(), local.entropy.next_u64() >> 32);
    let mut batch = Batch::new(local)?;
    for key in all {
        let fail = |error| failure("keep", key.as_str(), error);
        let Some(name) = reserved::kept(key.file_name()) else { continue };
        let folder = key.parent().unwrap_or("");
        let from = batch.open(folder).map_err(fail)?;
        let path = batch.open_trash(&run, folder)?;
        let to = batch.open(&path).map_err(fail)?;
        let rung = batch.rung;
        match rung.set_aside(&from, key.file_name(), &to, name) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(fail(error)),
        }
        batch.touch(folder);
        batch.touch(&path);
    }
    batch.sync()
}

impl Batch<'_> {
    fn remove_one(&mut self, entry: &Entry, disposal: &Disposal) -> Result<()> {
        let folder = self.open_parent(entry)?;
        self.check(&folder, entry)?;
        let aside = self.aside(entry, disposal)?;
        let kept = self.set_aside_verified(&folder, entry, &aside)?;
        self.touch(entry.key.parent().unwrap_or(""));
        self.dispose(&kept, disposal)
    }

    fn rename(&mut self, from: &Entry, to: &Key) -> Result<Stat> {
        let path = to.as_str();
        let old_folder = self.open_parent(from)?;
        self.check(&old_folder, from)?;
        let (old, new) = (from.key.file_name(), to.file_name());
        let new_folder = stage::make_parents(self.local, to, &read::modes_for(self.local, from, to))?;
        let place = || match self.rung {
            PublishRung::HardLink => {
                rustix::fs::linkat(&*old_folder, old, &new_folder, new, AtFlags::empty())
            }
            rung => rung.place(&old_folder, old, &new_folder, new),
        };
        let placed = match place() {
            Err(Errno::EXIST) if give_way(&new_folder, new) => place(),
            other => other,
        };
        match placed {
            Ok(()) => {}
            Err(Errno::EXIST) if is_exact(&new_folder, new) == Ok(false) => {
                self.respell(&old_folder, from, &new_folder, to)?;
                self.touch(from.key.parent().unwrap_or(""));
                self.touch(to.parent().unwrap_or(""));
                return rustix::fs::statat(&new_folder, new, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failure("look at", path, error));
            }
            Err(Errno::EXIST) => return Err(changed(path, "appeared meanwhile")),
            Err(error) if is_refused_name(error, &old_folder, old) => return Err(unmappable(path)),
            Err(Errno::NOENT) => return Err(changed(from.key.as_str(), "is no longer there")),
            Err(error) => return Err(failure("rename to", path, error)),
        }
        let verified = self.verify(&new_folder, new, from).and_then(|()| self.check_renamed(&new_folder, to));
        if self.rung == PublishRung::HardLink {
            self.end_link(&old_folder, from, &new_folder, new, verified)?;
        } else if let Err(error) = verified {
            // If something has the old name again, the newcomer keeps the new one.
            self.rung.place(&new_folder, new, &old_folder, old).ok();
            return Err(error);
        }
        self.touch(from.key.parent().unwrap_or(""));
        self.touch(to.parent().unwrap_or(""));
        rustix::fs::statat(&new_folder, new, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failure("look at", path, error))
    }

    /// Ends a rename by hard link: both names are there, and the old one goes if it still is that file.
    fn end_link(
        &mut self,
        old: &OwnedFd,
        from: &Entry,
        new: &OwnedFd,
        name: &str,
        linked: Result<()>,
    ) -> Result<()> {
        let ended = linked.and_then(|()| {
            let aside = self.aside(from, &Disposal::Discard)?;
            let kept = self.set_aside_verified(old, from, &aside)?;
            self.dispose(&kept, &Disposal::Discard)
        });
        if ended.is_err() {
            // The file still has its old name, or the one it was set aside by.
            rustix::fs::unlinkat(new, name, AtFlags::empty()).ok();
        }
        ended
    }
}
