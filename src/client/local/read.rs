//! Reading one version of a file: the bytes of that version or an error.
//!
//! The open file must be the version that was listed before its first byte is given and still be it after
//! its last (I-33), and have as many bytes as its size says (I-34). A small file is opened, checked, read
//! and checked again in one step.

use std::sync::PoisonError;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::root::{changed, failure, open_folder};
use super::{Local, hop, stat};
use crate::client::Body;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Rules;
use crate::key::Key;
use crate::key::escape;

/// The bytes of the first step, and of each later one.
const CHUNK_BYTES: usize = 256 * 1024;

/// No honest file of rules is longer.
const MAX_IGNORE_BYTES: u64 = 1024 * 1024;

/// Opening anything but a regular file must not wait for the other end of a pipe.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

/// A file that is being read, still that version as far as it was read.
struct Reader {
    entry: Entry,
    file: OwnedFd,
    offset: u64,
}

/// Opens `entry` and reads its beginning, or all of it.
pub(super) fn begin(local: &Local, entry: Entry) -> Result<Body> {
    let (file, stat) = open_version(local, &entry)?;
    let (size, modified) = (entry.size, Some(stat::modified(&stat)));
    let (mode, folder_modes) = if local.bits_mean_something() {
        (Some(stat::permissions(&stat)), folder_modes(local, &entry)?)
    } else {
        (None, Vec::new())
    };
    let (first, rest) = Reader { entry, file, offset: 0 }.next()?;
    let first = (!first.is_empty()).then_some(Ok(first));
    let rest = stream::try_unfold(rest, |reader| async move {
        match reader {
            None => Ok(None),
            Some(reader) => hop(move || reader.next()).await.map(Some),
        }
    });
    // The last step of a longer file may find that nothing is left.
    let rest = rest.try_filter(|chunk| std::future::ready(!chunk.is_empty()));
    let chunks = stream::iter(first).chain(rest).boxed();
    Ok(Body { size, modified, mode, folder_modes, proof: None, chunks })
}

/// Returns the permission bits for the folders of `to`, to which the file `from` goes: nobody comes to see it there who could
/// not where it was.
pub(super) fn modes_for(local: &Local, from: &Entry, to: &Key) -> Vec<u32> {
    if !local.bits_mean_something() {
        return Vec::new();
    }
    // Where the folders cannot be looked at the file cannot be moved either.
    let modes = folder_modes(local, from).unwrap_or_default();
    let count = to.ancestors().count();
    let least = modes.iter().fold(0o777, |least, mode| least & mode);
    if modes.len() == count { modes } else { vec![least; count] }
}

/// Returns the permission bits of the folders that a file is in, from the outermost on. Those of the last one are
/// kept: files are mostly read folder by folder.
pub(super) fn folder_modes(local: &Local, entry: &Entry) -> Result<Vec<u32>> {
    let Some(parent) = entry.key.parent() else { return Ok(Vec::new()) };
    let last = || local.folder_modes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, modes)) = last().as_ref().filter(|(folder, _)| folder == parent) {
        return Ok(modes.clone());
    }
    let root = local.root.handle()?;
    let modes = entry
        .key
        .ancestors()
        .map(|path| Ok(stat::permissions(&rustix::fs::fstat(open_folder(&root, path)?)?)));
    let modes: Vec<u32> = modes
        .collect::<Result<_, Errno>>()
        .map_err(|error| failure("look at the folder of", entry.key.as_str(), error))?;
    *last() = Some((parent.to_owned(), modes.clone()));
    Ok(modes)
}

/// Opens the file of `entry` and checks that it is that version.
pub(super) fn open_version(local: &Local, entry: &Entry) -> Result<(OwnedFd, Stat)> {
    let root = local.root.handle()?;
    let path = entry.key.as_str();
    let opened = open_folder(&root, entry.key.parent().unwrap_or(""))
        .and_then(|folder| rustix::fs::openat(&folder, entry.key.file_name(), READ, Mode::empty()));
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => {
            return Err(changed(path, "is no longer there, or no longer a file"));
        }
        Err(error) => return Err(failure("open", path, error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| failure("look at", path, error))?;
    if !stat::is_version(&stat, entry) {
        return Err(changed(path, "is no longer the version that was listed"));
    }
    Ok((file, stat))
}

/// Checks that an open file still is the version that was listed.
pub(super) fn check_unchanged(file: &OwnedFd, entry: &Entry) -> Result<()> {
    let stat = rustix::fs::fstat(file).map_err(|error| failure("look at", entry.key.as_str(), error))?;
    if stat::is_version(&stat, entry) {
        return Ok(());
    }
    Err(changed(entry.key.as_str(), "was changed while it was read"))
}

impl Reader {
    /// Reads the next chunk. Without a reader in the answer the file is at its end, checked and closed.
    fn next(mut self) -> Result<(Bytes, Option<Self>)> {
        let left = usize::try_from(self.entry.size - self.offset).unwrap_or(usize::MAX);
        let wanted = left.min(CHUNK_BYTES);
        let is_last = left == wanted;
        // At the end one byte more is asked for, to see that there is none.
        let mut bytes = Vec::with_capacity(wanted + usize::from(is_last));
        while bytes.len() < wanted + usize::from(is_last) {
            let count = retry_on_intr(|| rustix::io::read(&self.file, spare_capacity(&mut bytes)))
                .map_err(|error| failure("read", self.entry.key.as_str(), error))?;
            if count == 0 {
                break;
            }
        }
        if bytes.len() != wanted {
            return Err(changed(self.entry.key.as_str(), "became shorter or longer while it was read"));
        }
        self.offset += wanted as u64;
        if is_last {
            check_unchanged(&self.file, &self.entry)?;
            return Ok((bytes.into(), None));
        }
        Ok((bytes.into(), Some(self)))
    }
}

/// Reads the file of ignore rules `path` in `folder`. `None` if it is gone. Anything but a regular file is an
/// error: to go on without its rules would sync, or delete, what they excluded before.
pub(super) fn read_ignore_file(folder: &OwnedFd, path: &str) -> Result<Option<Rules>> {
    let fail = |error| failure("read the ignore rules", path, error);
    let name = path.rsplit('/').next().unwrap_or(path);
    let file = match rustix::fs::openat(folder, name, READ, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NXIO) => return Err(no_rules(path)),
        Err(error) => return Err(fail(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(fail)?;
    if stat::kind(&stat) != FileType::RegularFile {
        return Err(no_rules(path));
    }
    if stat::size(&stat) > MAX_IGNORE_BYTES {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("read the ignore rules `{path}`: longer than 1 MiB"),
        )
        .with_hint("shorten the file"));
    }
    let text = read_to_end(&file).map_err(fail)?;
    if text.contains(&0) {
        // As some editors save it, in UTF-16: no line of it would match anything.
        return Err(no_text(path));
    }
    let (rules, errors) = Rules::parse(&String::from_utf8_lossy(&text));
    for error in errors {
        tracing::warn!(path, ?error, "a rule is not used");
    }
    Ok(Some(rules))
}

fn no_text(path: &str) -> Error {
    let shown = escape(path.as_bytes());
    Error::new(ErrorKind::Invalid, format!("read the ignore rules `{shown}`: it is not text in UTF-8"))
        .with_hint("save it as UTF-8; without its rules nothing is synced")
}

fn no_rules(path: &str) -> Error {
    let shown = escape(path.as_bytes());
    Error::new(ErrorKind::Invalid, format!("read the ignore rules `{shown}`: it is not a regular file"))
        .with_hint("put a file of rules in its place, or remove it; without its rules nothing is synced")
}

/// Reads a small file of ours or of rules, at most a little more than [`MAX_IGNORE_BYTES`].
pub(super) fn read_to_end(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    while bytes.len() as u64 <= MAX_IGNORE_BYTES {
        bytes.reserve(16 * 1024);
        if retry_on_intr(|| rustix::io::read(file, spare_capacity(&mut bytes)))? == 0 {
            break;
        }
    }
    Ok(bytes)
}
