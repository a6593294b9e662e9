//! The copy of a base that a run which only reads works on.
//!
//! Each copy is in a folder of its own, `syncengine-state-<16 hex>/`, with a file `lock` that is locked as long as
//! its run lives. A run that was killed cannot remove its copy, but the kernel frees the lock: whoever makes
//! the next copy in the same place removes those whose lock is free. Only folders of the same user are touched.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::layout::{create_private, is_stray};
use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "syncengine-state-";
const LOCK: &str = "lock";
const DATABASE: &str = "db";

/// How often a folder is made anew that another run took for one that a kill left. Ours: it takes bad luck.
const ATTEMPTS: u64 = 5;

/// A folder that is removed with everything in it in the end.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Copies the files of the database `from` to a new folder in `place`, except the unfinished snapshots sled
    /// would stumble over. What killed runs left there is removed first. The random `number` names the folder.
    pub(super) fn copy(from: &Path, place: &Path, number: u64) -> Result<Self> {
        sweep(place);
        let copy = Self::create(place, number).map_err(|error| unusable(place, error))?;
        copy_folder(from, &copy.database(), 0)?;
        Ok(copy)
    }

    /// Makes the folder and takes its lock.
    fn create(place: &Path, number: u64) -> io::Result<Self> {
        let mut attempt = 0;
        loop {
            let folder = place.join(name(number.wrapping_add(attempt)));
            DirBuilder::new().mode(0o700).create(&folder)?;
            attempt += 1;
            match lock(&folder.join(LOCK), true) {
                Ok(lock) => return Ok(Self { folder, _lock: lock }),
                // Somebody swept the folder before it was locked.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
                        && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns where the copied database is.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.join(DATABASE)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind the next copy removes: the lock is free from here on.
        let _left = fs::remove_dir_all(&self.folder);
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// Opens the file and locks it, if nobody else has.
fn lock(path: &Path, create: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(create)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Where nothing can be locked nothing is swept either.
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK) if create => {}
        other => other?,
    }
    // A sweeper may have had the lock, and removed the file, between the two steps.
    fs::symlink_metadata(path)?;
    Ok(file)
}

/// Removes the copies of killed runs. What cannot be removed is left to the system's own tidying.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten().filter(is_ours) {
        let folder = entry.path();
        match lock(&folder.join(LOCK), false) {
            Ok(_held) => drop(fs::remove_dir_all(&folder)),
            // Killed before it made the lock: there is nothing in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => drop(fs::remove_dir(&folder)),
            Err(_) => {}
        }
    }
}

fn is_ours(entry: &fs::DirEntry) -> bool {
    let is_name = |name: &OsStr| {
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    is_name(&entry.file_name())
        && entry
            .metadata()
            .is_ok_and(|stat| stat.is_dir() && stat.uid() == rustix::process::geteuid().as_raw())
}

/// Returns the error for a place where no copy can be made. It says nothing about the pair.
fn unusable(place: &Path, error: io::Error) -> Error {
    let doing = format!("make a copy of the state in the folder for temporary files `{}`", place.display());
    let is_full = error.kind() == io::ErrorKind::StorageFull;
    let kind = if is_full { ErrorKind::NoSpace } else { ErrorKind::Unavailable };
    Error::new(kind, doing)
        .with_source(error)
        .with_hint("set TMPDIR to a folder that exists, can be written and has room")
}

fn copy_folder(from: &Path, to: &Path, depth: u32) -> Result<()> {
    create_private(to)?;
    let failed = |error| Error::io(format!("copy `{}` for reading", from.display()), error);
    let entries = match fs::read_dir(from) {
        // Not a directory: damage, which the empty copy beside a side-car shows as well.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return copy_file(from, &to.join("db"));
        }
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let target = to.join(entry.file_name());
        if kind.is_file() && !is_stray(&entry.file_name()) {
            copy_file(&entry.path(), &target)?;
        } else if kind.is_dir() && depth == 0 {
            copy_folder(&entry.path(), &target, 1)?;
        }
    }
    Ok(())
}

/// Copies a file so that the copy can be written whatever the permissions of the original.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::copy(from, to).and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o600)));
    copied.map_err(|error| {
        let error = Error::io(format!("copy `{}` to `{}` for reading", from.display(), to.display()), error);
        match error.kind() {
            ErrorKind::NoSpace => {
                error.with_hint("free some space there, or set TMPDIR to a folder that has room")
            }
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_copy_removes_those_of_the_dead_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("state");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("conf"), "x").unwrap();
        fs::set_permissions(from.join("conf"), Permissions::from_mode(0o400)).unwrap();
        let place = dir.path().join("tmp");
        let at = |number| place.join(name(number));
        fs::create_dir(&place).unwrap();
        let living = Scratch::copy(&from, &place, 1).unwrap();
        let mode = fs::metadata(living.database().join("conf")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // As a kill leaves them: whole, and before the lock was made.
        fs::create_dir_all(at(2).join(DATABASE)).unwrap();
        fs::write(at(2).join(LOCK), "").unwrap();
        fs::create_dir(at(3)).unwrap();
        // Of others, or nothing of the kind.
        fs::create_dir_all(place.join("syncengine-state-mine/lock")).unwrap();
        fs::create_dir(at(4)).unwrap();
        fs::write(at(4).join("precious"), "x").unwrap();
        std::os::unix::fs::symlink(&from, at(5)).unwrap();
        fs::write(at(6), "x").unwrap();
        let next = Scratch::copy(&from, &place, 7).unwrap();
        let there: Vec<bool> = (1..=7).map(|number| fs::symlink_metadata(at(number)).is_ok()).collect();
        assert_eq!(there, [true, false, false, true, true, true, true]);
        assert!(place.join("syncengine-state-mine/lock").exists() && from.join("conf").exists());
        drop((living, next));
        assert!(!at(1).exists() && !at(7).exists());
    }

    #[test]
    fn a_place_that_is_not_there_is_no_fault_of_the_pair() {
        let dir = tempfile::tempdir().unwrap();
        let error = Scratch::copy(dir.path(), &dir.path().join("nowhere"), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.hint().is_some_and(|hint| hint.contains("TMPDIR")), "{error:?}");
    }
}
