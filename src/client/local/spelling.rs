//! Folders that take two names for one, or spell a name in their own way.
//!
//! Some fold the case of letters (FAT, exFAT, NTFS, APFS, ext4 where it is switched on), some take the two normal
//! forms of a letter with an accent for one or store always the same, some leave out dots at the end. There `File`
//! and `file`, two objects of a bucket, would be one file, and a name that comes back in another spelling looks
//! like a deletion and a new file. So a name counts only as it is listed: what is found under another spelling is
//! not that name, nothing is made beside it, and what was stored otherwise than it was written is taken back (I-43).
//!
//! Nothing is written to find that out. A folder that answers to a name and to the same name in the other case is listed
//! to see which of the two it has, whatever numbers it gives them; a name beyond ASCII is always looked for in the list.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::batch::Batch;
use super::batch::remove_ours;
use super::give_way::give_way;
use super::listed::is_free;
use super::listed::{in_other_case, is_doubtful, is_exact, is_listed, list, taken_for};
use super::reserved::make_folder;
use super::root::{failure, join, open_child, open_folder, split};
use super::{Local, stat};
use crate::client::Staged;
use crate::code::FailureCode;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, RESERVED_FOLDER, escape};

/// Returns the error for a name that something with another name, in `folder`, stands in the way of.
pub(super) fn taken(folder: &OwnedFd, path: &str) -> Error {
    let (above, name) = split(path);
    let other = taken_for(folder, name).ok().flatten().map(|listed| join(above, &listed));
    clash(path, other.as_deref())
}

fn clash(path: &str, other: Option<&str>) -> Error {
    let shown = escape(path.as_bytes());
    let beside = other.map_or("a name".to_owned(), |other| format!("`{}`", escape(other.as_bytes())));
    let message = format!("`{shown}` cannot be here beside {beside}, which the folder takes for the same");
    let error = Error::new(ErrorKind::Invalid, message).with_code(FailureCode::NameClash).with_hint(
        "names that differ only in case or accents need a folder that tells them apart; rename one of them",
    );
    match other {
        Some(other) => error.with_other(other),
        None => error,
    }
}

pub(super) fn respelled(path: &str) -> Error {
    let message = format!(
        "`{}` cannot be here: the folder stores another spelling of the name",
        escape(path.as_bytes())
    );
    Error::new(ErrorKind::Invalid, message)
        .with_code(FailureCode::UnmappableName)
        .with_hint("rename it on the other side to what this folder can hold")
}

/// Returns the error for a name that the folder cannot hold.
pub(super) fn unmappable(path: &str) -> Error {
    let message = format!("`{}` cannot be here: the folder takes no such name", escape(path.as_bytes()));
    Error::new(ErrorKind::Invalid, message)
        .with_code(FailureCode::UnmappableName)
        .with_hint("rename it on the other side to what this folder can hold")
}

impl Local {
    /// Returns whether what answers to `name` is there by this very name. Where a program serves the file system the
    /// kernel answers for a moment by what it remembers, and only the listing tells.
    pub(super) fn is_there(&self, folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
        if self.remembers_names() { is_listed(folder, name) } else { is_exact(folder, name) }
    }

    /// Returns whether what is made as `name` may be listed otherwise: by its characters, or where a program or another
    /// machine keeps the names, which may turn all letters into small ones.
    fn may_respell(&self, name: &str) -> bool {
        is_doubtful(name) || (self.remembers_names() && in_other_case(name) != name)
    }

    /// Checks that every folder `key` is in has the very name that the key gives it.
    pub(super) fn check_folders(&self, root: &OwnedFd, key: &Key) -> Result<()> {
        match self.misspelled(root, key) {
            Ok(None) => Ok(()),
            Ok(Some(path)) => {
                let above = open_folder(root, split(path).0);
                Err(above.map_or_else(|_| clash(path, None), |above| taken(&above, path)))
            }
            Err(error) => Err(failure("look at the folder of", key.as_str(), error)),
        }
    }

    /// Removes folders that have another spelling of the name of `key`, or of a folder it is in, if there are no files in them.
    /// Whoever then still cannot make something there is told why.
    pub(super) fn clear_way(&self, root: &OwnedFd, key: &Key) {
        // One at a time: what one has cleared and made anew is not in the way of the next.
        let clearing = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some(path)) = self.misspelled(root, key) {
            if clear(root, path) != Ok(true) {
                return;
            }
        }
        drop(clearing);
        if let Ok(folder) = open_folder(root, key.parent().unwrap_or(""))
            && let Ok(stat) = rustix::fs::statat(&folder, key.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            && stat::kind(&stat) == FileType::Directory
            && is_exact(&folder, key.file_name()) == Ok(false)
        {
            clear(root, key.as_str()).ok();
        }
    }

    /// As [`Self::check_folders`], just after some of them were made: those are what they were asked to be, or the
    /// folder spells names in its own way.
    pub(super) fn check_made(&self, root: &OwnedFd, key: &Key) -> Result<()> {
        match self.misspelled(root, key) {
            Ok(Some(path)) if self.created().contains(path) => Err(respelled(path)),
            _ => self.check_folders(root, key),
        }
    }

    /// Returns the first folder of `key` that exists under another name only.
    pub(super) fn misspelled<'k>(&self, root: &OwnedFd, key: &'k Key) -> Result<Option<&'k str>, Errno> {
        let known = || self.exact.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = None;
        for path in key.ancestors() {
            if known().contains(path) {
                opened = None;
                continue;
            }
            let (parent, name) = split(path);
            let folder = opened.take().map_or_else(|| open_folder(root, parent), Ok)?;
            if !is_exact(&folder, name)? {
                return Ok(Some(path));
            }
            opened = Some(open_child(&folder, name)?);
            known().insert(path.to_owned());
        }
        Ok(None)
    }
}

/// Removes what answers to `path` by another name, if it is a folder without files; returns whether the name is free now.
fn clear(root: &OwnedFd, path: &str) -> Result<bool, Errno> {
    let (above, name) = split(path);
    let above = open_folder(root, above)?;
    let Some(listed) = taken_for(&above, name)? else { return Ok(false) };
    Ok(listed == name || (give_way(&above, &listed) && is_free(&above, name)?))
}

/// Makes our own folder before another name that may be taken for its name.
pub(super) fn keep_reserved(local: &Local, key: &Key) -> Result<()> {
    let first = key.as_str().split('/').next().unwrap_or_default();
    if !first.is_ascii() || first.eq_ignore_ascii_case(RESERVED_FOLDER) {
        make_folder(local, RESERVED_FOLDER)?;
    }
    Ok(())
}

impl Batch<'_> {
    /// Takes back what was created and is now listed under another name than it was given.
    pub(super) fn check_spelling(&mut self, staged: &[Staged], placed: &mut [Result<Stat>]) {
        let mut doubtful: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, (one, placed)) in staged.iter().zip(&*placed).enumerate() {
            if placed.is_ok()
                && one.target.replaces.is_none()
                && self.local.may_respell(one.target.key.file_name())
            {
                doubtful.entry(one.target.key.parent().unwrap_or("")).or_default().push(at);
            }
        }
        for (path, members) in doubtful {
            let listed = self.open(path).and_then(|folder| Ok((list(&folder)?, folder)));
            for at in members {
                let key = &staged[at].target.key;
                let Ok(ours) = &placed[at] else { continue };
                let error = match &listed {
                    Ok((names, _)) if names.contains(key.file_name()) => continue,
                    Ok((_, folder)) => {
                        remove_ours(self.local, folder, key.file_name(), ours);
                        respelled(key.as_str())
                    }
                    Err(error) => failure("look at", &join(path, key.file_name()), *error),
                };
                placed[at] = Err(error);
            }
        }
    }

    /// Checks that a file that was renamed to `key` is listed so.
    pub(super) fn check_renamed(&self, folder: &OwnedFd, key: &Key) -> Result<()> {
        match self.local.may_respell(key.file_name()).then(|| is_listed(folder, key.file_name())) {
            None | Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(respelled(key.as_str())),
            Some(Err(error)) => Err(failure("look at", key.as_str(), error)),
        }
    }
}
