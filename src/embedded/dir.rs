//! The folder of a server: made, locked, and laid out.
//!
//! The lock is `flock` on the file `lock`, so the kernel frees it when its holder dies, however it dies. The
//! file names the holder for the message; only the lock on it means something.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

const LOCK: &str = "lock";
const INDEX: &str = "index.redb";
const DATA: &str = "data";

/// A folder that this process alone uses, until it is dropped.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    lock: File,
}

impl Dir {
    /// Opens and locks the folder, making it if it is missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Locked`] names the process that uses it. [`ErrorKind::Invalid`]: it holds other things.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("open the folder `{}`", path.display()), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        refuse_foreign(&path)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        take(&lock, &path)?;
        let dir = Self { path, lock };
        dir.name_holder(&format!("{}\n", std::process::id())).map_err(failed)?;
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn index(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    fn name_holder(&self, holder: &str) -> std::io::Result<()> {
        let mut file = &self.lock;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(holder.as_bytes())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Only for the next message; after a kill a number stays behind, but the lock does not.
        self.name_holder("").unwrap_or_default();
        // Closing is not enough while a process that another thread forks still has the file.
        rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock).unwrap_or_default();
    }
}

/// Refuses a folder of somebody else's files: ours has a lock from its first moment on.
fn refuse_foreign(path: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("look into the folder `{}`", path.display()), error);
    let mut first = fs::read_dir(path).map_err(failed)?;
    if path.join(LOCK).exists() || first.next().is_none() {
        return Ok(());
    }
    let message = format!("the folder `{}` holds other files", path.display());
    Err(Error::new(ErrorKind::Invalid, message).with_hint("name an empty folder, or one that is missing"))
}

fn take(lock: &File, path: &Path) -> Result<()> {
    match rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(lock, path)),
        Err(error) => Err(Error::io(format!("lock the folder `{}`", path.display()), error.into())),
    }
}

fn in_use(lock: &File, path: &Path) -> Error {
    let mut text = String::new();
    // What cannot be read names nobody, and the message says so.
    lock.take(32).read_to_string(&mut text).unwrap_or_default();
    let holder = match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".into(),
    };
    Error::new(ErrorKind::Locked, format!("the embedded store `{}` is in use by {holder}", path.display()))
        .with_hint("wait for it to end, or name another folder with --embedded-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_server_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = Dir::open(&path).unwrap();
        let error = Dir::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())));
        // As in a process that is being forked.
        let _copy = first.lock.try_clone().unwrap();
        drop(first);
        assert!(Dir::open(&path).is_ok());
    }

    #[test]
    fn a_folder_of_other_files_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert_eq!(Dir::open(dir.path()).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
