//! Reading a folder: its names in byte order, and those that cannot be keys.

use rustix::fd::OwnedFd;
#[cfg(not(target_os = "linux"))]
use rustix::fs::Dir;
use rustix::fs::FileType;
#[cfg(target_os = "linux")]
use rustix::fs::RawDir;
use rustix::io::Errno;

use crate::client::Listed;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, KeyError, MAX_KEY_BYTES, escape};

/// A name in a folder, and the kind the file system gave for it (it may be unknown).
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) kind: FileType,
}

/// What is in a folder.
pub(super) struct Names {
    /// In byte order.
    pub(super) names: Vec<Name>,
    pub(super) unmappable: Vec<Listed>,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.unmappable.is_empty()
    }

    fn add(&mut self, folder: &str, name: &[u8], kind: FileType) {
        if name == b"." || name == b".." {
            return;
        }
        match std::str::from_utf8(name) {
            Ok(text) if folder.len() + 1 + text.len() <= MAX_KEY_BYTES => {
                self.names.push(Name { text: text.into(), kind });
            }
            Ok(_) => self.unmappable.push(unmappable(folder, name, KeyError::TooLong)),
            Err(_) => self.unmappable.push(unmappable(folder, name, KeyError::NotUtf8)),
        }
    }
}

fn unmappable(folder: &str, name: &[u8], error: KeyError) -> Listed {
    let position = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let shown = format!("{}{}", escape(position.as_bytes()), escape(name));
    let error = Error::new(ErrorKind::Invalid, format!("sync `{shown}`"))
        .with_hint("give it a shorter name in UTF-8")
        .with_source(error);
    Listed::Unmappable { shown, folder: position, error }
}

/// Reads all names in the open folder `handle`, which is `folder` beneath the root.
pub(super) fn read(handle: &OwnedFd, folder: &str, buffer: &mut Vec<u8>) -> Result<Names, Errno> {
    let mut read = Names { names: Vec::new(), unmappable: Vec::new() };
    each(handle, buffer, |name, kind| read.add(folder, name, kind))?;
    read.names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
    // Other orders than the file system's, so that two listings say the same.
    read.unmappable.sort_by_cached_key(|item| match item {
        Listed::Unmappable { shown, .. } => shown.clone(),
        _ => String::new(),
    });
    Ok(read)
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
