//! The lock of a pair: one run at a time.
//!
//! The lock is `flock` on `<pair>.lock`, so the kernel frees it when its holder dies, however it dies.
//! The file names the holder for the message and stays; only the lock on it means something.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::failure;
use crate::error::{Error, ErrorKind, Result};

/// Opening a pipe in the place of the lock must not wait for its other end.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Keeps other runs off the pair while it or the store lives. Empty for a run that only reads: that one
/// needs the lock no longer than it takes to copy the state.
#[derive(Debug, Clone, Default)]
pub struct PairLock(Option<Arc<Held>>);

impl PairLock {
    /// Returns whether other runs are kept off.
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the lock for a run that writes, creating the file.
    pub(super) fn exclusive(path: &Path) -> Result<Self> {
        let failed = |error| failure(format!("lock `{}`", path.display()), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NONBLOCK)
            .open(path)
            .map_err(failed)?;
        check(&file, path)?;
        take(&file, path, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        let held = Held { file };
        held.name_holder(&format!("{}\n", std::process::id())).map_err(failed)?;
        Ok(Self(Some(Arc::new(held))))
    }

    /// Takes the lock for reading, if its file exists. Writes nothing.
    pub(super) fn shared(path: &Path) -> Result<Option<Shared>> {
        match OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path) {
            Ok(file) => {
                check(&file, path)?;
                take(&file, path, rustix::fs::FlockOperation::NonBlockingLockShared)?;
                Ok(Some(Shared(file)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(format!("lock `{}`", path.display()), error)),
        }
    }
}

/// Keeps runs that write off the pair while it lives.
#[derive(Debug)]
pub(super) struct Shared(File);

impl Drop for Shared {
    fn drop(&mut self) {
        free(&self.0);
    }
}

/// Frees the lock. Closing is not enough while a process that another thread forks still has the file.
fn free(file: &File) {
    let _closed_anyway = rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock);
}

/// An open, locked file.
#[derive(Debug)]
struct Held {
    file: File,
}

impl Held {
    fn name_holder(&self, holder: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(holder.as_bytes())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Only for the next message; after a kill a number stays behind, but the lock does not.
        let _unnamed = self.name_holder("");
        free(&self.file);
    }
}

/// Refuses what is no file of ours.
fn check(file: &File, path: &Path) -> Result<()> {
    let is_file =
        file.metadata().map_err(|error| failure(format!("lock `{}`", path.display()), error))?.is_file();
    if is_file {
        return Ok(());
    }
    let doing = format!("lock `{}`: it is not a regular file", path.display());
    Err(Error::new(ErrorKind::Unavailable, doing)
        .with_hint("this program did not make it; move it away and run again"))
}

fn take(file: &File, path: &Path, operation: rustix::fs::FlockOperation) -> Result<()> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(file, path)),
        Err(error) => Err(failure(format!("lock `{}`", path.display()), error.into())),
    }
}

fn in_use(file: &File, path: &Path) -> Error {
    let mut text = String::new();
    let _unread = file.take(32).read_to_string(&mut text);
    let holder = match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".into(),
    };
    Error::new(ErrorKind::Locked, format!("the pair is in use by {holder} (lock `{}`)", path.display()))
        .with_hint("wait for it to end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_is_told_who_holds_the_pair() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pair.lock");
        assert!(PairLock::shared(&path).unwrap().is_none());
        assert!(!path.exists());
        let first = PairLock::exclusive(&path).unwrap();
        for refused in [PairLock::exclusive(&path).map(drop), PairLock::shared(&path).map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            assert!(error.to_string().contains(&format!("process {} ", std::process::id())));
            assert_eq!(error.hint(), Some("wait for it to end"));
        }
        let clone = first.clone();
        drop(first);
        assert!(PairLock::exclusive(&path).is_err());
        // As in a process that is being forked.
        let _copy = clone.0.as_ref().unwrap().file.try_clone().unwrap();
        drop(clone);
        let reader = PairLock::shared(&path).unwrap();
        assert!(PairLock::shared(&path).is_ok());
        let error = PairLock::exclusive(&path).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(reader);
        assert!(PairLock::exclusive(&path).is_ok());
    }

    #[test]
    fn what_is_no_file_is_no_lock_and_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0)
            .unwrap();
        for name in ["folder", "pipe"] {
            for result in [PairLock::exclusive(&at(name)).map(drop), PairLock::shared(&at(name)).map(drop)] {
                let error = result.unwrap_err();
                assert_ne!(error.kind(), ErrorKind::Invalid, "{name}");
                assert!(error.hint().is_some_and(|hint| hint.contains("move it away")), "{name}: {error:?}");
            }
        }
    }
}
