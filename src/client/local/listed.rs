//! Which names a folder really has: it may answer to others, too.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::root::open_folder;
use super::{names, stat};
use crate::spelling::folded;

/// How long the kernel answers from memory where a program serves a file system, with room to spare: the library that most
/// such programs use says one second.
const STALE: Duration = Duration::from_millis(2500);

/// How often it is looked meanwhile.
const STALE_LOOKS: u32 = 25;

/// Returns whether what `folder` shows as `name` really has that name.
pub(super) fn is_exact(folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
    if is_doubtful(name) || has_another_case(folder, name)? { is_listed(folder, name) } else { Ok(true) }
}

/// Returns whether file systems are known to store `name` in another way.
pub(super) fn is_doubtful(name: &str) -> bool {
    !name.is_ascii() || name.ends_with(['.', ' '])
}

/// Returns a name with the case of its letters turned round.
pub(super) fn in_other_case(name: &str) -> String {
    let turn = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    name.chars().map(turn).collect()
}

/// Returns whether something answers to the name with the case of its letters turned round. Whether it is the same
/// file only the listing tells: file systems that fold case may well number a file by the name it is asked for.
fn has_another_case(folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
    let other = in_other_case(name);
    if other == name {
        return Ok(false);
    }
    match rustix::fs::statat(folder, &other, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn is_listed(folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
    Ok(list(folder)?.contains(name))
}

/// Returns whether two stats may be of one file that was asked for by two names, whatever number it has by each.
fn is_one(a: &Stat, b: &Stat) -> bool {
    stat::is_alike(a, b) && stat::changed(a) == stat::changed(b)
}

/// Returns the name of what `folder` shows when it is asked for `name`, which it does not list.
pub(super) fn taken_for(folder: &OwnedFd, name: &str) -> Result<Option<String>, Errno> {
    let wanted = folded(name);
    let names = list(folder)?;
    let look = |name: &str| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let asked = look(name)?;
    let alike = || names.iter().filter(|listed| folded(listed) == wanted);
    // It may fold case and not accents, and have both; or fold names in a way of its own: then numbers may tell.
    let same_stat = alike().find(|listed| look(listed).is_ok_and(|stat| is_one(&stat, &asked)));
    let same_file = || {
        let asked = stat::root_identity(&asked);
        names.iter().find(|listed| look(listed).is_ok_and(|stat| stat::root_identity(&stat) == asked))
    };
    let found = same_stat.or_else(|| alike().next()).or_else(same_file);
    Ok(found.map(ToString::to_string))
}

pub(super) fn list(folder: &OwnedFd) -> Result<BTreeSet<Box<str>>, Errno> {
    // By a handle of its own: where a listing has got to belongs to the handle.
    let read = names::read(&open_folder(folder, "")?, "", &mut Vec::new())?;
    Ok(read.names.into_iter().map(|name| name.text).collect())
}

/// Returns whether `error`, of giving a new name to what is `old` in `folder`, is about the new name: some file systems
/// answer to characters they do not know as if nothing was there.
pub(super) fn is_refused_name(error: Errno, folder: &OwnedFd, old: &str) -> bool {
    match error {
        Errno::INVAL | Errno::ILSEQ => true,
        Errno::NOENT => rustix::fs::statat(folder, old, AtFlags::SYMLINK_NOFOLLOW).is_ok(),
        _ => false,
    }
}

/// Returns whether nothing answers to `name` any more. The kernel may go on answering for a moment where a program
/// serves the file system; the listing does not, so that it is waited for only if that has no such name either.
pub(super) fn is_free(folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
    let wanted = folded(name);
    for pause in std::iter::repeat_n(STALE / STALE_LOOKS, usize::try_from(STALE_LOOKS).unwrap_or(1)) {
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(true),
            Err(error) => return Err(error),
            Ok(_) if list(folder)?.iter().any(|listed| folded(listed) == wanted) => return Ok(false),
            Ok(_) => std::thread::sleep(pause),
        }
    }
    Ok(false)
}
