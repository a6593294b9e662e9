//! What is ours in a tree: temporaries beside their targets, and `.syncengine/` with the trash, the markers
//! and the intents of unfinished renames.
//!
//! All of it belongs to the owner of the root and is as open to others as the root is, so that every account that may
//! use the folder may sync it. A link in the place of a folder of ours is refused.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::Local;
use super::root::{failure, join, open_child};
use super::{names, stat};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, RESERVED_FOLDER, RESERVED_PREFIX};
use crate::trash::MANIFESTS;

/// The folder of the markers.
const PAIRS: &str = ".syncengine/pairs";

/// What file systems take.
const MAX_NAME_BYTES: usize = 255;

/// Between the number in a name of [`kept_name`] and the name that the file had.
const KEPT: &str = ".kept-";

/// The folder of the trash.
pub(super) const TRASH: &str = ".syncengine/trash";

/// How a file of ours is made.
pub(super) const CREATE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Read and write for the owner.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Returns a new name for a temporary of the run with the tag `tag`.
pub(super) fn temporary_name(local: &Local, tag: u32) -> String {
    format!("{RESERVED_PREFIX}{tag:08x}{:08x}.tmp", local.entropy.next_u64() & 0xffff_ffff)
}

/// Returns a new name for a temporary that no later run may take for its own.
pub(super) fn anonymous_name(local: &Local) -> String {
    let random = local.entropy.next_u64();
    format!("{RESERVED_PREFIX}{random:016x}.kept")
}

/// Returns a new name for a file that is taken from its place to be thrown away, and may turn out to be another one. No sweep
/// takes it for a temporary; see [`kept`].
pub(super) fn kept_name(local: &Local, name: &str) -> String {
    let mut whole = format!("{RESERVED_PREFIX}{:016x}{KEPT}{name}", local.entropy.next_u64());
    whole.truncate(whole.floor_char_boundary(MAX_NAME_BYTES));
    whole
}

/// Returns the name that a file had before it got one of [`kept_name`]; `None` for every other name.
pub(super) fn kept(name: &str) -> Option<&str> {
    let (digits, name) = name.strip_prefix(RESERVED_PREFIX)?.split_once(KEPT)?;
    (digits.len() == 16 && digits.bytes().all(is_lower_hex) && !name.is_empty()).then_some(name)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Returns the tag of the run in the name of a temporary; `None` for every other name.
pub(super) fn tag(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(RESERVED_PREFIX)?.strip_suffix(".tmp")?;
    if digits.len() != 16 || !digits.bytes().all(is_lower_hex) {
        return None;
    }
    u32::from_str_radix(&digits[..8], 16).ok()
}

/// Returns `name` with `~number` at its end, cut so that a file system takes it. Number 0 adds nothing.
pub(super) fn numbered(name: &str, number: u32) -> String {
    if number == 0 {
        return name.to_owned();
    }
    let suffix = format!("~{number}");
    let mut end = name.len().min(MAX_NAME_BYTES - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

/// Opens the folder `path`, one of ours, creating what is missing.
pub(super) fn make_folder(local: &Local, path: &str) -> Result<OwnedFd> {
    let root = local.root.handle()?;
    let fail = |error| locked_out(failure("create the folder", path, error));
    let mut opened = None;
    for name in path.split('/') {
        let parent = opened.as_ref().unwrap_or(&*root);
        let next = make_child(local, parent, name).map_err(fail)?;
        opened = Some(next);
    }
    opened.ok_or_else(|| fail(Errno::INVAL))
}

/// Says what to do about a folder of ours that is closed to this account.
pub(super) fn locked_out(error: Error) -> Error {
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    error.with_hint(
        "`.syncengine` belongs to another account; a sync as that account, or as root, opens it to everybody who may use the folder",
    )
}

fn make_child(local: &Local, parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let opened = match open_child(parent, name) {
        Err(Errno::NOENT) => {
            match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                Ok(()) => rustix::fs::fsync(parent).or_else(ignore_unsupported).inspect_err(|_| {
                    // What is found there the next time counts as durable.
                    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).ok();
                })?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            open_child(parent, name)?
        }
        other => other?,
    };
    local.open_to_all(&opened, true);
    if name == RESERVED_FOLDER {
        keep_from_git(local, &opened);
    }
    Ok(opened)
}

/// Keeps what is ours out of the repositories of users. Without it a sync works as well.
fn keep_from_git(local: &Local, folder: &OwnedFd) {
    // Not made durable: nothing depends on it, and a disk that fails is to show where it matters.
    let made = rustix::fs::openat(folder, ".gitignore", CREATE, PRIVATE);
    if let Ok(file) = made {
        local.open_to_all(&file, false);
        if let Err(error) = write_all(&file, b"*\n") {
            tracing::debug!(%error, "`.syncengine/.gitignore` could not be written");
        }
    }
}

/// Opens to everybody who may use the root what an earlier run has closed, if it is ours to open.
pub(super) fn mend_rights(local: &Local) {
    let Ok(root) = local.root.handle() else { return };
    let mut waiting = vec![RESERVED_FOLDER.to_owned()];
    let Ok(folder) = open_child(&root, RESERVED_FOLDER) else { return };
    let rights = |stat: &rustix::fs::Stat| (stat::owner(stat), stat::all_bits(stat) & 0o077);
    match (rustix::fs::fstat(&folder), rustix::fs::fstat(&*root)) {
        (Ok(ours), Ok(root)) if rights(&ours) != rights(&root) => {}
        _ => return,
    }
    // What is in the trash of a run keeps the rights it has, folders included: private ones stay private.
    while let Some(path) = waiting.pop() {
        let Ok(folder) = super::root::open_folder(&root, &path) else { continue };
        local.open_to_all(&folder, true);
        let Ok(inside) = names::read(&folder, &path, &mut Vec::new()) else { continue };
        let folders = inside.names.into_iter().filter(|name| name.kind == rustix::fs::FileType::Directory);
        if super::root::split(&path).0 != TRASH {
            waiting.extend(folders.map(|name| join(&path, &name.text)));
        }
    }
}

/// Some file systems cannot sync a folder and say so; there is nothing else to do there.
pub(super) fn ignore_unsupported(error: Errno) -> Result<(), Errno> {
    if matches!(error, Errno::INVAL | Errno::NOTSUP) { Ok(()) } else { Err(error) }
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = retry_on_intr(|| rustix::io::write(file, bytes))?;
        if count == 0 {
            return Err(Errno::IO);
        }
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Writes a file of ours in `folder` so that it is there whole or not at all.
pub(super) fn put_file(local: &Local, folder: &OwnedFd, name: &str, text: &str) -> Result<OwnedFd, Errno> {
    let temporary = temporary_name(local, 0);
    let file = rustix::fs::openat(folder, &temporary, CREATE, PRIVATE)?;
    local.open_to_all(&file, false);
    let written = write_all(&file, text.as_bytes())
        .and_then(|()| rustix::fs::fsync(&file))
        .and_then(|()| rustix::fs::renameat(folder, &temporary, folder, name))
        .and_then(|()| rustix::fs::fsync(folder).or_else(ignore_unsupported));
    if let Err(error) = written {
        rustix::fs::unlinkat(folder, &temporary, AtFlags::empty()).ok();
        return Err(error);
    }
    Ok(file)
}

/// The folders of what is ours besides the trash itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ours {
    /// Which pairs the tree belongs to.
    Markers,
    /// What is in the trash.
    Manifests,
}

impl Ours {
    fn folder(self) -> &'static str {
        match self {
            Self::Markers => PAIRS,
            Self::Manifests => MANIFESTS,
        }
    }
}

/// Returns the names of notes of a kind.
pub(super) fn notes(local: &Local, kind: Ours) -> Result<Vec<String>> {
    let root = local.root.handle()?;
    let read = super::root::open_folder(&root, kind.folder()).and_then(|folder| names::plain(&folder));
    match read {
        Ok(ids) => Ok(ids.into_iter().filter(|id| !id.starts_with(RESERVED_PREFIX)).collect()),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(error @ Errno::NOTDIR) => Err(failure("list the folder", kind.folder(), error).with_hint(
            "`.syncengine` is where this program keeps what it needs to know; move away what has that name",
        )),
        Err(error) => Err(locked_out(failure("list the folder", kind.folder(), error))),
    }
}

/// Returns the text of a note, if it is there.
pub(super) fn read_note(local: &Local, kind: Ours, name: &str) -> Result<Option<String>> {
    check_id(name)?;
    let root = local.root.handle()?;
    let read = super::root::open_folder(&root, kind.folder()).and_then(|folder| {
        let file = rustix::fs::openat(
            &folder,
            name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        super::read::read_to_end(&file)
    });
    match read {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(locked_out(failure("read", &join(kind.folder(), name), error))),
    }
}

/// Writes a note, durably.
pub(super) fn put_note(local: &Local, kind: Ours, name: &str, text: &str) -> Result<()> {
    check_id(name)?;
    let folder = make_folder(local, kind.folder())?;
    put_file(local, &folder, name, text)
        .map(drop)
        .map_err(|error| failure("write", &join(kind.folder(), name), error))
}

/// Removes a note.
pub(super) fn remove_note(local: &Local, kind: Ours, name: &str) -> Result<()> {
    check_id(name)?;
    let root = local.root.handle()?;
    let removed = super::root::open_folder(&root, kind.folder()).and_then(|folder| {
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
        rustix::fs::fsync(&folder).or_else(ignore_unsupported)
    });
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failure("remove", &join(kind.folder(), name), error)),
    }
}

/// Ids and names of runs become names of files.
pub(super) fn check_id(id: &str) -> Result<()> {
    match Key::parse(id) {
        Ok(key) if key.parent().is_none() && !key.is_reserved() => Ok(()),
        _ => Err(Error::new(ErrorKind::Invalid, format!("`{id}` cannot be the name of a file of ours"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_temporaries_have_a_tag() {
        assert_eq!(tag(".syncengine-0000002a89abcdef.tmp"), Some(42));
        for other in [
            ".syncengine-0000002A89abcdef.tmp",
            ".syncengine-0000002a89abcde.tmp",
            ".syncengine-0000002a89abcdef0.tmp",
            ".syncengine-0000002a89abcdef.tm",
            ".syncengine-0000002a89abcdef.kept",
            "x.syncengine-0000002a89abcdef.tmp",
            ".syncengine-0000002a89abcdef.kept-x.tmp",
            ".syncengine",
            "",
        ] {
            assert_eq!(tag(other), None, "{other}");
        }
        assert_eq!(kept(".syncengine-0000002a89abcdef.kept-x.tmp"), Some("x.tmp"));
        for other in [
            ".syncengine-0000002a89abcdef.tmp",
            ".syncengine-0000002a89abcdef.kept",
            ".syncengine-0000002a89abcdef.kept-",
            ".syncengine-0000002a89abcde.kept-x",
            "x.kept-x",
        ] {
            assert_eq!(kept(other), None, "{other}");
        }
    }

    #[test]
    fn b27_numbered_names_fit_in_a_file_name() {
        assert_eq!(numbered("a", 0), "a");
        assert_eq!(numbered("a", 7), "a~7");
        let long = "é".repeat(127) + "x";
        assert_eq!(long.len(), 255);
        let name = numbered(&long, 12);
        assert!(name.len() <= 255 && name.ends_with("~12"), "{name}");
    }
}
