//! Reading a folder: its names in byte order, and those that cannot be keys.

use rustix::fd::OwnedFd;
#[cfg(not(target_os = "linux"))]
use rustix::fs::Dir;
#[cfg(target_os = "linux")]
use rustix::fs::RawDir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Local;
use crate::client::{Listed, Unnamed};
use crate::error::{Error, ErrorKind};
use crate::key::{Key, KeyError, MAX_KEY_BYTES, escape};

/// How many files below a name that cannot be a key are looked at. Ours: more than people rename by accident.
const MOST_UNNAMED: usize = 100_000;

/// How many folders deep.
const MOST_LEVELS: usize = 100;

/// A name in a folder, and the kind the file system gave for it (it may be unknown).
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) kind: FileType,
}

/// What is in a folder.
pub(super) struct Names {
    /// In byte order.
    pub(super) names: Vec<Name>,
    /// Names that cannot be keys, and why; also in byte order, so that two listings say the same.
    pub(super) strange: Vec<(Box<[u8]>, KeyError)>,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.strange.is_empty()
    }

    fn add(&mut self, folder: &str, name: &[u8], kind: FileType) {
        if name == b"." || name == b".." {
            return;
        }
        match std::str::from_utf8(name) {
            Ok(text) if folder.len() + 1 + text.len() <= MAX_KEY_BYTES => {
                self.names.push(Name { text: text.into(), kind });
            }
            Ok(_) => self.strange.push((name.into(), KeyError::TooLong)),
            Err(_) => self.strange.push((name.into(), KeyError::NotUtf8)),
        }
    }
}

fn unmappable(
    (folder, name): (&str, &[u8]),
    is_folder: bool,
    error: KeyError,
    files: Vec<Unnamed>,
) -> Listed {
    let position = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let shown = format!("{}{}", escape(position.as_bytes()), escape(name));
    let error = Error::new(ErrorKind::Invalid, format!("sync `{shown}`"))
        .with_hint("give it a name in UTF-8 that is not too long")
        .with_source(error);
    let name = format!("{position}{}", String::from_utf8_lossy(name));
    Listed::Unmappable { shown, name, is_folder, folder: position, error, files }
}

/// Reads all names in the open folder `handle`, which is `folder` beneath the root.
pub(super) fn read(handle: &OwnedFd, folder: &str, buffer: &mut Vec<u8>) -> Result<Names, Errno> {
    let mut read = Names { names: Vec::new(), strange: Vec::new() };
    each(handle, buffer, |name, kind| read.add(folder, name, kind))?;
    read.names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
    read.strange.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(read)
}

/// Tells of the names in an open folder that cannot be keys, with the files they are or that are in them: those may be
/// what is missing under an earlier name.
pub(super) fn tell_strange(
    local: &Local,
    handle: &OwnedFd,
    folder: &str,
    strange: Vec<(Box<[u8]>, KeyError)>,
) -> Vec<Listed> {
    let tell = |(name, error): (Box<[u8]>, KeyError)| {
        let mut files = Vec::new();
        gather(local, handle, &name, &mut files, 0);
        let stat = rustix::fs::statat(handle, &*name, AtFlags::SYMLINK_NOFOLLOW);
        let is_folder = stat.is_ok_and(|stat| super::stat::kind(&stat) == FileType::Directory);
        unmappable((folder, &name), is_folder, error, files)
    };
    strange.into_iter().map(tell).collect()
}

/// Collects the files at and below a name. What cannot be looked at is left out.
fn gather(local: &Local, parent: &OwnedFd, name: &[u8], files: &mut Vec<Unnamed>, depth: usize) {
    let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
    match super::stat::kind(&stat) {
        FileType::RegularFile if files.len() < MOST_UNNAMED => {
            let inode = if local.keeps_inodes() { stat.st_ino } else { 0 };
            files.push(Unnamed { size: u64::try_from(stat.st_size).unwrap_or(0), inode });
        }
        FileType::Directory if depth < MOST_LEVELS => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(handle) = rustix::fs::openat(parent, name, flags, Mode::empty()) else { return };
            let mut inside: Vec<Box<[u8]>> = Vec::new();
            let read = each(&handle, &mut Vec::new(), |name, _| {
                if name != b"." && name != b".." {
                    inside.push(name.into());
                }
            });
            if let Err(error) = read {
                tracing::debug!(%error, "a folder with a name that cannot be a key could not be read");
            }
            for name in &inside {
                gather(local, &handle, name, files, depth + 1);
            }
        }
        _ => {}
    }
}

#[cfg(target_os = "linux")]
fn each(handle: &OwnedFd, buffer: &mut Vec<u8>, mut with: impl FnMut(&[u8], FileType)) -> Result<(), Errno> {
    buffer.clear();
    buffer.reserve(32 * 1024);
    let mut entries = RawDir::new(handle, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        with(entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn each(handle: &OwnedFd, _: &mut Vec<u8>, mut with: impl FnMut(&[u8], FileType)) -> Result<(), Errno> {
    for entry in Dir::read_from(handle)? {
        let entry = entry?;
        with(entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(())
}

/// Returns the names of the entries of a folder of ours that can be keys.
pub(super) fn plain(handle: &OwnedFd) -> Result<Vec<String>, Errno> {
    let read = read(handle, "", &mut Vec::new())?;
    Ok(read
        .names
        .into_iter()
        .map(|name| name.text.into())
        .filter(|name: &String| Key::parse(name).is_ok())
        .collect())
}
