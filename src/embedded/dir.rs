//! The folder of a server: made, locked, and laid out.
//!
//! It is locked by the file `lock` in it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Exclusive, Refused};

const LOCK: &str = "lock";
const INDEX: &str = "index.redb";
const DATA: &str = "data";

/// A folder that this process alone uses, until it is dropped.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    _lock: Exclusive,
}

impl Dir {
    /// Opens and locks the folder, making it if it is missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Locked`] names the process that uses it. [`ErrorKind::Invalid`]: it holds other things.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("open the folder `{}`", path.display()), error);
        crate::ownership::create_private(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        refuse_foreign(&path)?;
        let lock = Exclusive::take(&path.join(LOCK)).map_err(|refused| told(refused, &path))?;
        Ok(Self { path, _lock: lock })
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
}

/// Refuses a folder of somebody else's files: ours has a lock from its first moment on.
fn refuse_foreign(path: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("look into the folder `{}`", path.display()), error);
    let mut first = fs::read_dir(path).map_err(failed)?;
    if path.join(LOCK).symlink_metadata().is_ok() || first.next().is_none() {
        return Ok(());
    }
    let message = format!("the folder `{}` holds other files", path.display());
    Err(Error::new(ErrorKind::Invalid, message).with_hint("name an empty folder, or one that is missing"))
}

fn told(refused: Refused, path: &Path) -> Error {
    let shown = path.display();
    match refused {
        Refused::InUse(holder) => {
            Error::new(ErrorKind::Locked, format!("the embedded store `{shown}` is in use by {holder}"))
                .with_hint("wait for it to end, or name another folder with --embedded-dir")
        }
        Refused::NoFile => Error::new(
            ErrorKind::Invalid,
            format!("lock the folder `{shown}`: its `{LOCK}` is not a regular file"),
        )
        .with_hint("this program did not make it; move it away, or name another folder"),
        Refused::Failed(error) => Error::io(format!("lock the folder `{shown}`"), error),
    }
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
