//! Renames in which only the spelling changes, where a folder takes both names for one.
//!
//! They go by way of a name of ours: once the old name is gone, the folder shows whether the new one was the same file or
//! another's. An intent written down before lets a later run put back what a kill leaves between the two steps.

use rustix::fd::OwnedFd;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::batch::{Aside, Batch};
use super::give_way::gives_way;
use super::listed::{in_other_case, is_free, is_listed, taken_for};
use super::reserved::anonymous_name;
use super::root::{changed, failure, join, open_folder, split};
use super::rung::PublishRung;
use super::spelling::{respelled, taken};
use super::{Local, stat};
use crate::client::Disposal;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;

impl Batch<'_> {
    /// Gives the file `from` the name `to`, which its folder takes for the one it has.
    pub(super) fn respell(&mut self, old: &OwnedFd, from: &Entry, new: &OwnedFd, to: &Key) -> Result<()> {
        let fail = |error| failure("rename to", to.as_str(), error);
        let aside = self.aside(from, &Disposal::Discard)?;
        let intent = self.local.intend(from.key.as_str(), &join(&aside.path, &aside.name))?;
        let outcome = self.set_aside_verified(old, from, &aside).and_then(|kept| {
            let back = |error| {
                // Unless something new has the name, the file gets it back.
                self.rung.place(&kept.folder, &kept.name, old, from.key.file_name()).ok();
                Err(error)
            };
            match place(&kept, new, to.file_name()) {
                Ok(()) => {}
                Err(Errno::EXIST) => return back(taken(new, to.as_str())),
                Err(error) => return back(fail(error)),
            }
            match is_listed(new, to.file_name()) {
                Ok(true) => Ok(()),
                other => {
                    PublishRung::Rename.place(new, to.file_name(), old, from.key.file_name()).ok();
                    Err(other.map_or_else(fail, |_| respelled(to.as_str())))
                }
            }
        });
        intent.done().map_err(fail)?;
        outcome
    }
}

fn place(kept: &Aside, folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    if !is_free(folder, name)? {
        return Err(Errno::EXIST);
    }
    rustix::fs::renameat(&*kept.folder, &kept.name, folder, name)
}

/// Gives the folder `from`, with all in it, the name `to`, which the folder above takes for the same.
pub(super) fn folder(local: &Local, from: &Key, to: &Key) -> Result<()> {
    let fail = |error| failure("give another spelling to the folder", from.as_str(), error);
    local.recover_once()?;
    let root = local.root.handle()?;
    let above = from.parent().unwrap_or("");
    if to.parent().unwrap_or("") != above {
        return Err(changed(from.as_str(), "is in another folder"));
    }
    let above_handle = open_folder(&root, above).map_err(fail)?;
    let (old, new) = (from.file_name(), to.file_name());
    let is_there = |name: &str| is_listed(&above_handle, name).map_err(fail);
    if !is_there(old)? || is_there(new)? {
        return Err(changed(from.as_str(), "is no longer spelled as it was"));
    }
    let aside = anonymous_name(local);
    let intent = local.intend(from.as_str(), &join(above, &aside))?;
    let renamed =
        rustix::fs::renameat(&above_handle, old, &above_handle, &aside).and_then(|()| {
            match is_free(&above_handle, new) {
                Ok(true) => rustix::fs::renameat(&above_handle, &aside, &above_handle, new),
                Ok(false) => Err(Errno::EXIST),
                Err(error) => Err(error),
            }
        });
    let spelled = renamed.and_then(|()| is_listed(&above_handle, new));
    let outcome = match spelled {
        Ok(true) => Ok(()),
        other => {
            let last = if other.is_ok() { new } else { &aside };
            PublishRung::Rename.place(&above_handle, last, &above_handle, old).ok();
            Err(match other {
                Err(Errno::EXIST) => taken(&above_handle, to.as_str()),
                Err(error) => fail(error),
                Ok(_) => respelled(to.as_str()),
            })
        }
    };
    local.forget_exact(from.as_str());
    intent.done().map_err(fail)?;
    rustix::fs::fsync(&above_handle).or_else(super::reserved::ignore_unsupported).map_err(fail)?;
    outcome
}

impl Local {
    /// Returns the name under which what answers to `key`, or to a folder it is in, is listed, if that is another.
    pub(super) fn spelled(&self, key: &Key) -> Result<Option<crate::client::Respelled>> {
        let fail = |error| failure("look at", key.as_str(), error);
        let root = self.root.handle()?;
        let asked = match self.misspelled(&root, key) {
            Ok(Some(folder)) => folder,
            Ok(None) => {
                let folder = open_folder(&root, key.parent().unwrap_or("")).map_err(fail)?;
                match rustix::fs::statat(&folder, key.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) if !is_listed(&folder, key.file_name()).map_err(fail)? => key.as_str(),
                    Ok(_) | Err(Errno::NOENT) => return Ok(None),
                    Err(error) => return Err(fail(error)),
                }
            }
            // Nothing is there yet.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let (above, name) = split(asked);
        let above_handle = open_folder(&root, above).map_err(fail)?;
        let listed = taken_for(&above_handle, name).map_err(fail)?;
        let listed = listed.filter(|listed| !gives_way(&above_handle, listed));
        let listed = listed.and_then(|listed| Key::parse(&join(above, &listed)).ok());
        let asked = Key::parse(asked).ok();
        Ok(asked.zip(listed).map(|(asked, listed)| crate::client::Respelled { asked, listed }))
    }

    /// Forgets that the folder `folder`, and those in it, have the names they are asked for by: somebody may have spelled
    /// them anew.
    pub(super) fn forget_exact(&self, folder: &str) {
        let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut exact = self.exact.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        exact.retain(|path| path != folder && !path.starts_with(&below));
    }

    /// Returns whether names here may be taken for others: those of our own folder in another case, or of anything
    /// in the root. Accents are tried on a name of ours, if it may be written.
    pub(super) fn folds_names(&self, may_write: bool) -> Result<bool> {
        let fail = |error| failure("look at the names in", "", error);
        let root = match self.root.handle() {
            Ok(root) => root,
            // Nothing is there yet, and what will be made is like what is above.
            Err(_) if self.root.identity()?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        if may_write {
            super::reserved::make_folder(self, crate::key::RESERVED_FOLDER)?;
        }
        let names = super::names::read(&open_folder(&root, "").map_err(fail)?, "", &mut Vec::new());
        let names = names.map_err(fail)?.names;
        for name in &names {
            let other = in_other_case(&name.text);
            if other != *name.text && names.binary_search_by(|name| (*name.text).cmp(&other)).is_err() {
                let found = rustix::fs::statat(&*root, &other, AtFlags::SYMLINK_NOFOLLOW);
                if found.is_ok() || !may_write {
                    return Ok(found.is_ok());
                }
                break;
            }
        }
        let pair = |name: &str| Key::parse(name).map_err(|_| fail(Errno::INVAL));
        Ok(may_write && !self.tells_apart(&pair("\u{e9}")?, &pair("e\u{301}")?, true)?)
    }

    /// Returns whether both names can be here at once: tried on files of ours if that may be written.
    pub(super) fn tells_apart(&self, a: &Key, b: &Key, may_write: bool) -> Result<bool> {
        let mut segments = a.as_str().split('/').zip(b.as_str().split('/'));
        let Some((a, b)) = segments.find(|(a, b)| a != b) else { return Ok(true) };
        if !may_write {
            // Whoever folds the case may yet tell accents apart.
            return Ok(a.to_lowercase() != b.to_lowercase() || !self.folds_names(false)?);
        }
        let folder = super::reserved::make_folder(self, crate::key::RESERVED_FOLDER)?;
        let number = self.entropy.next_u64();
        let probe = |name: &str| {
            let mut start = name.len().saturating_sub(200);
            while !name.is_char_boundary(start) {
                start += 1;
            }
            format!("probe-{number:016x}-{}", &name[start..])
        };
        let (a, b) = (probe(a), probe(b));
        let fail = |error| failure("try a name in", crate::key::RESERVED_FOLDER, error);
        drop(
            rustix::fs::openat(&folder, &a, super::reserved::CREATE, super::reserved::PRIVATE)
                .map_err(fail)?,
        );
        let found = rustix::fs::statat(&folder, &b, AtFlags::SYMLINK_NOFOLLOW);
        rustix::fs::unlinkat(&folder, &a, AtFlags::empty()).map_err(fail)?;
        match found {
            Ok(found) => Ok(stat::kind(&found) != rustix::fs::FileType::RegularFile),
            Err(Errno::NOENT) => Ok(true),
            Err(error) => Err(fail(error)),
        }
    }
}
