//! A file that one process at a time has locked, and that names it.
//!
//! The lock is `flock`, so the kernel frees it when its holder dies, however it dies. The file names the holder
//! for a message and stays; only the lock on it means something. It is for its owner alone, and a link or
//! anything else that is no regular file is refused in its place, unopened as far as that can be.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// Opening a pipe must not wait for its other end, and a link leads to somebody else's file.
const FLAGS: i32 = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).bits().cast_signed();

/// Why a lock could not be taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Somebody has it: `process 7`, or `another process` if the file does not say.
    InUse(String),
    /// What is there is no regular file.
    NoFile,
    /// The file system says so.
    Failed(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            Self::NoFile
        } else {
            Self::Failed(error)
        }
    }
}

/// Returns what this machine is called.
pub(crate) fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A lock that keeps everybody else off while it lives.
#[derive(Debug)]
pub(crate) struct Exclusive(File);

/// A lock that keeps holders of [`Exclusive`] off while it lives.
#[derive(Debug)]
pub(crate) struct Shared(File);

impl Exclusive {
    /// Takes the lock, creating the file, and writes down who has it.
    pub(crate) fn take(path: &Path) -> Result<Self, Refused> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open(&mut options, path)?;
        lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let lock = Self(file);
        lock.name_holder(&format!("{}\n", std::process::id()))?;
        Ok(lock)
    }

    fn name_holder(&self, holder: &str) -> io::Result<()> {
        let mut file = &self.0;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(holder.as_bytes())
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // Only for the next message; after a kill a number stays behind, but the lock does not.
        let _unnamed = self.name_holder("");
        free(&self.0);
    }
}

impl Shared {
    /// Takes the lock, if its file exists. Writes nothing.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, Refused> {
        let file = match open(OpenOptions::new().read(true), path) {
            Ok(file) => file,
            Err(Refused::Failed(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        lock(&file, FlockOperation::NonBlockingLockShared)?;
        Ok(Some(Self(file)))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        free(&self.0);
    }
}

fn open(options: &mut OpenOptions, path: &Path) -> Result<File, Refused> {
    let file = options.custom_flags(FLAGS).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Refused::NoFile) }
}

fn lock(file: &File, operation: FlockOperation) -> Result<(), Refused> {
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(Refused::InUse(holder(file))),
        Err(error) => Err(Refused::Failed(error.into())),
    }
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    let _unread = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".into(),
    }
}

/// Frees the lock. Closing is not enough while a process that another thread forks still has the file.
fn free(file: &File) {
    let _closed_anyway = flock(file, FlockOperation::Unlock);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn whoever_comes_second_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(Shared::take(&path).unwrap().is_none());
        assert!(!path.exists());
        let first = Exclusive::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let me = format!("process {}", std::process::id());
        let holder =
            |refused| if let Refused::InUse(holder) = refused { holder } else { panic!("{refused:?}") };
        assert_eq!(holder(Exclusive::take(&path).unwrap_err()), me);
        assert_eq!(holder(Shared::take(&path).unwrap_err()), me);
        // As in a process that is being forked.
        let _copy = first.0.try_clone().unwrap();
        drop(first);
        let reader = Shared::take(&path).unwrap();
        assert!(Shared::take(&path).is_ok());
        assert_eq!(holder(Exclusive::take(&path).unwrap_err()), "another process");
        drop(reader);
        assert!(Exclusive::take(&path).is_ok());
    }

    #[test]
    fn what_is_no_file_is_no_lock_is_not_followed_and_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("of-others"), "keep").unwrap();
        symlink(at("of-others"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0)
            .unwrap();
        for name in ["folder", "pipe", "link", "dangling"] {
            if name != "folder" {
                assert!(matches!(Exclusive::take(&at(name)), Err(Refused::NoFile)), "{name}");
            }
            assert!(matches!(Shared::take(&at(name)), Err(Refused::NoFile)), "{name}");
        }
        assert_eq!(fs::read(at("of-others")).unwrap(), b"keep");
        assert!(!at("nowhere").exists());
    }
}
