//! The publish ladder: how safely the file system can rename.
//!
//! Each rung does the same three moves, the lower ones with a moment in which somebody else's write could
//! be missed: putting a file of ours where nothing is, moving a user's file to a place of ours, and moving
//! one name of a user to another. (Replacing is in `publish.rs`.) The rung of a tree is found out by trying
//! on two files of ours, at the first need.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::Local;
use super::reserved::{CREATE, PRIVATE, make_folder, numbered};
use super::root::failure;
use crate::error::Result;
use crate::key::RESERVED_FOLDER;

/// How a file system can replace a file, safest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRung {
    /// Two names are exchanged in one step, and a rename can refuse to replace.
    Exchange,
    /// A file can have two names for a moment.
    HardLink,
    /// Nothing but plain renames: for a moment the name is missing.
    Rename,
}

impl PublishRung {
    /// Returns what is less safe than it should be, as a sentence.
    pub(super) fn weakness(self) -> Option<&'static str> {
        match self {
            Self::Exchange => None,
            Self::HardLink => Some(
                "the file system cannot exchange two files: an edit made in the very moment a file is replaced may be lost",
            ),
            Self::Rename => Some(
                "the file system has neither exchange nor hard links: a file is missing for a moment while it is \
                 replaced, and an edit made in that moment may be lost",
            ),
        }
    }

    /// Gives a file of ours the name `name`, if nothing has it.
    pub(super) fn place(self, from: &OwnedFd, ours: &str, to: &OwnedFd, name: &str) -> Result<(), Errno> {
        match self {
            Self::Exchange => rustix::fs::renameat_with(from, ours, to, name, RenameFlags::NOREPLACE),
            Self::HardLink => {
                rustix::fs::linkat(from, ours, to, name, AtFlags::empty())?;
                rustix::fs::unlinkat(from, ours, AtFlags::empty())
            }
            Self::Rename => rename_if_free(from, ours, to, name),
        }
    }

    /// Moves a file to a free name in a folder of ours, as like `wanted` as can be, and returns that name.
    pub(super) fn set_aside(
        self,
        from: &OwnedFd,
        name: &str,
        to: &OwnedFd,
        wanted: &str,
    ) -> Result<String, Errno> {
        for number in 0..1000 {
            let free = numbered(wanted, number);
            let moved = match self {
                Self::Exchange => rustix::fs::renameat_with(from, name, to, &free, RenameFlags::NOREPLACE),
                // Only this process writes there, so that looking first is enough.
                Self::HardLink | Self::Rename => rename_if_free(from, name, to, &free),
            };
            match moved {
                Err(Errno::EXIST) => {}
                other => return other.map(|()| free),
            }
        }
        Err(Errno::EXIST)
    }
}

/// Renames, if a look says that nothing has the new name.
fn rename_if_free(from: &OwnedFd, old: &str, to: &OwnedFd, new: &str) -> Result<(), Errno> {
    match rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::renameat(from, old, to, new),
        Err(error) => Err(error),
    }
}

impl Local {
    /// Returns the rung of this tree, trying it out if that was not done yet.
    pub(super) fn rung(&self) -> Result<PublishRung> {
        if let Some(rung) = self.rung.get() {
            return Ok(*rung);
        }
        let folder = make_folder(self, RESERVED_FOLDER)?;
        let rung = self.probe(&folder).map_err(|error| failure("try a rename in", RESERVED_FOLDER, error))?;
        Ok(*self.rung.get_or_init(|| rung))
    }

    fn probe(&self, folder: &OwnedFd) -> Result<PublishRung, Errno> {
        let number = self.entropy.next_u64();
        let (a, b) = (format!("probe-{number:016x}-a"), format!("probe-{number:016x}-b"));
        let found = try_renames(folder, &a, &b);
        for name in [&a, &b] {
            // One of them may be gone already.
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).ok();
        }
        found
    }
}

fn try_renames(folder: &OwnedFd, a: &str, b: &str) -> Result<PublishRung, Errno> {
    for name in [a, b] {
        rustix::fs::openat(folder, name, CREATE, PRIVATE)?;
    }
    let exchanges = rustix::fs::renameat_with(folder, a, folder, b, RenameFlags::EXCHANGE).is_ok();
    // It must refuse, and for the right reason.
    let refuses =
        rustix::fs::renameat_with(folder, a, folder, b, RenameFlags::NOREPLACE) == Err(Errno::EXIST);
    if exchanges && refuses {
        return Ok(PublishRung::Exchange);
    }
    rustix::fs::unlinkat(folder, b, AtFlags::empty())?;
    let links = rustix::fs::linkat(folder, a, folder, b, AtFlags::empty()).is_ok();
    Ok(if links { PublishRung::HardLink } else { PublishRung::Rename })
}
