//! Which multipart uploads are under way, so that a later run can end those a kill left behind.
//!
//! Parts of an upload that nobody completes or aborts stay in the store, and are paid for, without showing in
//! any listing. So the wish to begin one is written down before the request is sent, its id as soon as there is
//! one, and its end. Each client has a file of its own, locked while it lives; a file whose lock is free is
//! that of a dead one. Uploads that are in no ledger are not ours and are never touched.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const ENDING: &str = "uploads";

/// One line of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// An upload is about to be asked for.
    Wanted {
        number: u64,
        #[serde(flatten)]
        wish: Wish,
    },
    /// The store gave it an id.
    Begun { number: u64, id: String },
    /// It was completed or aborted, or never came to be.
    Ended { number: u64 },
}

/// What an upload is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    /// Empty in notes of versions that did not write it: the bucket of the client.
    #[serde(default)]
    pub(super) bucket: String,
    pub(super) key: String,
    /// When it is asked for, in seconds since 1970 by our clock.
    pub(super) at: i64,
    /// `None` for what cannot be gone on with: copies and probes.
    #[serde(default)]
    pub(super) shape: Option<Shape>,
}

/// What an upload of a file is made of: only one of the same shape can be gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) size: u64,
    pub(super) part_bytes: u64,
    /// The modification time, as it is written beside the object.
    pub(super) modified: Option<String>,
}

/// An upload that a dead process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) wish: Wish,
    /// `None` if the process died before it knew.
    pub(super) id: Option<String>,
}

/// The ledger of this process for one bucket.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    dir: Option<PathBuf>,
    file: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    next: u64,
    open: usize,
}

/// The ledger of a dead process.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) orphans: Vec<Orphan>,
    path: PathBuf,
    /// Holds the lock, so that only one process cleans up.
    _file: File,
}

impl Ledger {
    /// Returns a ledger in `dir`; without one nothing is written down.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, file: Mutex::new(None) }
    }

    /// Returns whether a later run will read this.
    pub(super) fn is_kept(&self) -> bool {
        self.dir.is_some()
    }

    /// Notes that an upload is about to be asked for, and returns its number here. `name` makes the file's
    /// name if there is none yet.
    pub(super) fn want(&self, wish: Wish, name: impl FnOnce() -> u64) -> Result<u64> {
        let Some(dir) = &self.dir else { return Ok(0) };
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(Open::create(dir, name())?);
        }
        let Some(open) = slot.as_mut() else { return Ok(0) };
        open.next += 1;
        let number = open.next;
        open.write(&Line::Wanted { number, wish })?;
        open.open += 1;
        Ok(number)
    }

    /// Notes the id that the store gave.
    pub(super) fn begun(&self, number: u64, id: &str) -> Result<()> {
        self.write(&Line::Begun { number, id: id.to_owned() })
    }

    /// Notes that the upload is no more. The file goes when nothing is under way.
    pub(super) fn ended(&self, number: u64) {
        let written = self.write(&Line::Ended { number });
        if let Err(error) = written {
            // The next run asks the store and finds nothing to abort.
            tracing::debug!(error = error.chain(), "the end of an upload is not noted");
        }
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = slot.as_mut() {
            open.open = open.open.saturating_sub(1);
            if open.open == 0 {
                let path = open.path.clone();
                *slot = None;
                drop(std::fs::remove_file(path));
            }
        }
    }

    fn write(&self, line: &Line) -> Result<()> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_mut().map_or(Ok(()), |open| open.write(line))
    }

    /// Returns the ledgers of dead processes.
    pub(super) fn inherited(&self) -> Vec<Inherited> {
        let Some(entries) = self.dir.as_ref().and_then(|dir| std::fs::read_dir(dir).ok()) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let ledgers = paths.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
        ledgers.filter_map(|path| Inherited::take(&path)).collect()
    }
}

/// Makes a folder that only its owner may enter, if it is not there.
pub(super) fn make_private(dir: &Path) -> std::io::Result<()> {
    crate::ownership::create_private(dir)
}

impl Open {
    fn create(dir: &Path, name: u64) -> Result<Self> {
        let path = dir.join(format!("{name:016x}.{ENDING}"));
        let failed = |error| {
            Error::io(format!("note an upload in `{}`", path.display()), error)
                .with_hint("the state directory must be writable: see --state-dir")
        };
        make_private(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let file = options.append(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| failed(errno.into()))?;
        Ok(Self { file, path, next: 0, open: 0 })
    }

    /// Writes one line, at once: it must outlive a kill, not a power cut.
    fn write(&mut self, line: &Line) -> Result<()> {
        let failed = |error| Error::io(format!("note an upload in `{}`", self.path.display()), error);
        let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(failed)
    }
}

impl Inherited {
    fn take(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(Self { orphans: orphans(&text), path: path.to_owned(), _file: file })
    }

    /// Forgets the ledger: everything in it was dealt with.
    pub(super) fn settle(self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Returns the uploads that have no end. A line that a kill cut short says nothing.
fn orphans(text: &str) -> Vec<Orphan> {
    let mut open: BTreeMap<u64, Orphan> = BTreeMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Wanted { number, wish } => {
                open.insert(number, Orphan { wish, id: None });
            }
            Line::Begun { number, id } => {
                if let Some(orphan) = open.get_mut(&number) {
                    orphan.id = Some(id);
                }
            }
            Line::Ended { number } => {
                open.remove(&number);
            }
        }
    }
    open.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(key: &str, at: i64) -> Wish {
        Wish { key: key.into(), at, ..Wish::default() }
    }

    #[test]
    fn i39_what_a_dead_process_left_is_found_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("store");
        let ledger = Ledger::new(Some(dir.clone()));
        let first = ledger.want(wish("a", 5), || 1).unwrap();
        let second = ledger.want(wish("b", 6), || 2).unwrap();
        let third = ledger.want(wish("c", 7), || 3).unwrap();
        ledger.begun(first, "id-a").unwrap();
        ledger.begun(second, "id-b").unwrap();
        ledger.ended(second);
        assert!(ledger.inherited().is_empty(), "the process lives");
        assert_ne!(first, third);
        drop(ledger);
        let later = Ledger::new(Some(dir.clone()));
        let mut found = later.inherited();
        assert_eq!(found.len(), 1);
        let expected =
            [Orphan { wish: wish("a", 5), id: Some("id-a".into()) }, Orphan { wish: wish("c", 7), id: None }];
        assert_eq!(found[0].orphans, expected);
        assert!(later.inherited().is_empty(), "somebody is at it");
        found.remove(0).settle();
        assert!(later.inherited().is_empty());
    }

    #[test]
    fn what_an_upload_is_made_of_reads_back() {
        let shape = Shape { size: 1 << 40, part_bytes: 8, modified: Some("1.5".into()) };
        let wish = Wish { bucket: "b".into(), shape: Some(shape), ..wish("a", 5) };
        let text = serde_json::to_string(&Line::Wanted { number: 1, wish: wish.clone() }).unwrap();
        assert_eq!(orphans(&text), [Orphan { wish, id: None }]);
    }

    #[test]
    fn a_ledger_without_open_uploads_goes() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(Some(folder.path().to_owned()));
        for name in [1, 2] {
            let number = ledger.want(wish("a", 5), || name).unwrap();
            ledger.ended(number);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        let nowhere = Ledger::new(None);
        assert_eq!(nowhere.want(wish("a", 5), || 1).unwrap(), 0);
        nowhere.ended(0);
    }

    #[test]
    fn a_line_cut_short_says_nothing() {
        let text = "{\"wanted\":{\"number\":1,\"key\":\"a\",\"at\":5}}\n{\"begun\":{\"number\":1,\"id\":\"x";
        assert_eq!(orphans(text), [Orphan { wish: wish("a", 5), id: None }]);
        assert!(orphans("").is_empty() && orphans("x\n\n{}").is_empty());
    }
}
