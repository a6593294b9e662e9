//! The lock of a pair: one run at a time, by the file `<pair>.lock`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::failure;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Exclusive, Refused, Shared};

/// Keeps other runs off the pair while it or the store lives. Empty for a run that only reads: that one
/// needs the lock no longer than it takes to copy the state.
#[derive(Debug, Clone, Default)]
pub struct PairLock(Option<Arc<Exclusive>>);

impl PairLock {
    /// Returns whether other runs are kept off.
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the lock for a run that writes, creating the file.
    pub(super) fn exclusive(path: &Path) -> Result<Self> {
        let lock = Exclusive::take(path).map_err(|refused| told(refused, path))?;
        Ok(Self(Some(Arc::new(lock))))
    }

    /// Takes the lock for reading, if its file exists. Writes nothing.
    pub(super) fn shared(path: &Path) -> Result<Option<Shared>> {
        Shared::take(path).map_err(|refused| told(refused, path))
    }
}

fn told(refused: Refused, path: &Path) -> Error {
    let shown = path.display();
    match refused {
        Refused::InUse(holder) => {
            Error::new(ErrorKind::Locked, format!("the pair is in use by {holder} (lock `{shown}`)"))
                .with_hint("wait for it to end")
        }
        Refused::NoFile => no_file(&format!("lock `{shown}`")),
        // A folder cannot be opened for writing.
        Refused::Failed(error) if error.kind() == io::ErrorKind::IsADirectory => {
            no_file(&format!("lock `{shown}`"))
        }
        Refused::Failed(error) => failure(format!("lock `{shown}`"), error),
    }
}

/// Returns the error for a path of ours where there is something else than a file.
pub(super) fn no_file(doing: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{doing}: it is not a regular file"))
        .with_hint("this program did not make it; move it away and run again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_is_told_who_holds_the_pair() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pair.lock");
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
        drop(clone);
        assert!(PairLock::exclusive(&path).is_ok());
    }

    #[test]
    fn what_is_no_file_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("elsewhere", at("link")).unwrap();
        for name in ["folder", "link"] {
            for result in [PairLock::exclusive(&at(name)).map(drop), PairLock::shared(&at(name)).map(drop)] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}");
                assert!(error.hint().is_some_and(|hint| hint.contains("move it away")), "{name}: {error:?}");
            }
        }
    }
}
