//! The trees of one sled database and what is read from them: the only file that opens sled.
//!
//! Three trees: `blocks` (first key of a block -> block), `journal` (number -> changes) and `meta` (one
//! value, the [`Head`]). Everything here blocks and must run on a thread that may. sled panics on some
//! damaged files and on some failures of the disk; a panic becomes an error of kind `Corrupt` and ends the
//! use of the database ([`Tables::with`]).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::block::{self, Row};
use super::failure;
use super::row::Damage;
use super::{BaseRow, PairRecord, journal};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::side::Sides;

/// The version of the layout of trees and head. Blocks and journal records have their own.
pub(super) const SCHEMA: u32 = 2;

/// Returns whether this program reads states of `schema`. A commit makes them of its own.
///
/// Schema 1 has no tails; all else is alike.
pub(super) fn is_readable(schema: u32) -> bool {
    matches!(schema, 1 | SCHEMA)
}

const HEAD: &[u8] = b"head";
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// How often a flush looks whether it can still succeed. Ours: longer than nearly every flush takes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Changes that are not in the blocks yet; `None` for "no row".
pub(super) type Overlay = BTreeMap<Key, Option<BaseRow>>;

/// What is known of the database as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) schema: u32,
    /// The pair's locations, from the first moment on.
    pub(super) locations: Sides<String>,
    /// How often the base was committed.
    pub(super) generation: u64,
    /// Rows in the blocks, or, while a fold is under way, in blocks and journal together.
    pub(super) rows: u64,
    /// Whether a fold was begun and not ended.
    pub(super) folding: bool,
    /// The number of the first journal record since the last fold.
    pub(super) journal_start: u64,
    pub(super) record: Option<PairRecord>,
}

impl Head {
    pub(super) fn fresh(locations: Sides<String>) -> Self {
        Self {
            schema: SCHEMA,
            locations,
            generation: 0,
            rows: 0,
            folding: false,
            journal_start: 0,
            record: None,
        }
    }
}

/// What goes wrong below.
#[derive(Debug)]
pub(super) enum Fault {
    Sled(sled::Error),
    Damage(Damage),
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl Fault {
    fn into_error(self, doing: String) -> Error {
        match self {
            Self::Sled(sled::Error::Io(error)) => failure(doing, told(error)),
            Self::Sled(error) => Error::new(ErrorKind::Corrupt, doing).with_source(error),
            Self::Damage(damage) if damage == Damage::NEWER => Error::new(ErrorKind::Unsupported, doing)
                .with_source(damage)
                .with_hint("use the newer version; nothing of the state was changed"),
            Self::Damage(damage) => Error::new(ErrorKind::Corrupt, doing).with_source(damage),
        }
    }
}

/// Returns the error of the system that sled passes on, once it has copied it, as text for programmers only.
fn told(error: std::io::Error) -> std::io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let text = error.to_string();
    let code = text.strip_prefix("Os { code: ").and_then(|rest| rest.split(',').next()?.parse().ok());
    code.map_or(error, std::io::Error::from_raw_os_error)
}

/// The open trees.
#[derive(Debug)]
pub(super) struct Trees {
    config: sled::Config,
    db: sled::Db,
    pub(super) blocks: sled::Tree,
    pub(super) journal: sled::Tree,
    meta: sled::Tree,
}

/// A database that no panic gets out of.
pub(super) struct Tables {
    path: PathBuf,
    trees: Option<Trees>,
    unusable: AtomicBool,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // Here a failing disk is noticed; when sled itself flushes it may not be.
        let _unwritten = self.flush();
        let trees = self.trees.take();
        // sled writes on drop and panics if it cannot. What matters was flushed before.
        let _ended = catch_unwind(AssertUnwindSafe(move || drop(trees)));
    }
}

/// Returns whether opening failed because sled's own lock on the file is still held.
pub(super) fn is_contended(error: &Error) -> bool {
    error.chain().contains("could not acquire lock")
}

impl Tables {
    /// Opens the database in `path`, or creates one.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let doing = || format!("open the state `{}`", path.display());
        let opened = catch_unwind(|| {
            let config = sled::Config::default().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            let db = config.open()?;
            let (blocks, journal) = (db.open_tree("blocks")?, db.open_tree("journal")?);
            let meta = db.open_tree("meta")?;
            Ok::<_, Fault>(Trees { config, db, blocks, journal, meta })
        });
        let trees = opened.map_err(|_| panicked(doing()))?.map_err(|fault| fault.into_error(doing()))?;
        Ok(Self { path: path.into(), trees: Some(trees), unusable: AtomicBool::new(false) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Uses the trees. After a panic they are not used again.
    pub(super) fn with<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Trees) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let doing = || format!("{doing} the state `{}`", self.path.display());
        let trees = match &self.trees {
            Some(trees) if !self.unusable.load(Ordering::Acquire) => trees,
            _ => return Err(panicked(doing())),
        };
        if let Ok(done) = catch_unwind(AssertUnwindSafe(|| work(trees))) {
            return done.map_err(|fault| fault.into_error(doing()));
        }
        self.unusable.store(true, Ordering::Release);
        Err(panicked(doing()))
    }

    /// Makes what was written survive a kill of the process.
    pub(super) fn flush(&self) -> Result<()> {
        self.with("write", |trees| Ok(trees.flush()?))
    }

    /// Makes what was written survive a power cut. sled 0.34 alone does not: on Linux its flush leaves
    /// out the size of the file, and it never syncs a directory.
    pub(super) fn sync(&self) -> Result<()> {
        self.flush()?;
        let failed = |path: &Path, error| failure(format!("sync `{}`", path.display()), error);
        let entries = std::fs::read_dir(&self.path).map_err(|error| failed(&self.path, error))?;
        for entry in entries {
            let path = entry.map_err(|error| failed(&self.path, error))?.path();
            match File::open(&path).and_then(|file| file.sync_all()) {
                // sled replaces its snapshots whenever it likes.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| failed(&path, error))?,
            }
        }
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(|error| failed(&self.path, error))
    }

    /// Replaces the head.
    pub(super) fn put_head(&self, head: &Head) -> Result<()> {
        let json = serde_json::to_vec(head).map_err(|error| {
            let doing = format!("write the head of the state `{}`", self.path.display());
            Error::new(ErrorKind::Internal, doing).with_source(error)
        })?;
        self.with("write", |trees| Ok(trees.meta.insert(HEAD, block::seal(json)).map(drop)?))
    }

    /// Returns the head; `None` if the database was never used.
    pub(super) fn head(&self) -> Result<Option<Head>> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        self.with("read the head of", |trees| {
            let Some(sealed) = trees.meta.get(HEAD)? else {
                let used = !trees.blocks.is_empty() || !trees.journal.is_empty();
                return if used { Err(Damage("it has no head").into()) } else { Ok(None) };
            };
            let json = block::unseal(&sealed)?;
            // Another schema may have other fields.
            let version: Version = serde_json::from_slice(json).map_err(|_| Damage("it is unreadable"))?;
            if !is_readable(version.schema) {
                return Err(Damage("it is of another schema").into());
            }
            let head: Head = serde_json::from_slice(json).map_err(|_| Damage("it is unreadable"))?;
            head.record.as_ref().map_or(Ok(()), |record| record.tail.check())?;
            Ok(Some(head))
        })
    }

    /// Reads the whole journal: what it changes, and the number of the next record.
    pub(super) fn read_journal(&self, head: &Head) -> Result<(Overlay, u64)> {
        self.with("read the journal of", |trees| {
            let mut overlay = Overlay::new();
            let mut next = None;
            for item in &trees.journal {
                let (number, record) = item?;
                let number = number.as_ref().try_into().map_err(|_| Damage("a number is no number"))?;
                let number = u64::from_be_bytes(number);
                // While a fold is under way its oldest records may be gone.
                let expected = next.unwrap_or(if head.folding { number } else { head.journal_start });
                if number != expected || number < head.journal_start {
                    return Err(Damage("a journal record is missing").into());
                }
                next = Some(number.checked_add(1).ok_or(Damage("a number is too large"))?);
                overlay.extend(journal::decode(&record)?);
            }
            Ok((overlay, next.unwrap_or(head.journal_start)))
        })
    }

    /// Reads every block and compares their number of rows with the head's.
    pub(super) fn verify(&self, head: &Head, overlay: &Overlay) -> Result<()> {
        self.with("read", |trees| {
            let (mut in_blocks, mut last) = (0_u64, None);
            // Rows as they are after the fold: those of the blocks that do not change, and the new ones.
            let mut folded = overlay.values().filter(|row| row.is_some()).count() as u64;
            for item in &trees.blocks {
                let (name, block) = item?;
                let rows = block::decode(&block)?;
                if rows.first().is_none_or(|(key, _)| key.as_str().as_bytes() != name.as_ref()) {
                    return Err(Damage("a block is in the wrong place").into());
                }
                if rows.first().map(|(key, _)| key) <= last.as_ref() {
                    return Err(Damage("blocks overlap").into());
                }
                in_blocks += rows.len() as u64;
                folded += rows.iter().filter(|(key, _)| !overlay.contains_key(key)).count() as u64;
                last = rows.into_iter().next_back().map(|(key, _)| key);
            }
            let counted = if head.folding { folded } else { in_blocks };
            if counted == head.rows { Ok(()) } else { Err(Damage("rows are missing").into()) }
        })
    }
}

impl Trees {
    /// Flushes, and ends if that fails. sled 0.34 does not always: where its thread for writing fails while this
    /// one waits for it, nobody is told. Another flush finds the error and wakes whoever waits.
    fn flush(&self) -> std::result::Result<(), sled::Error> {
        let (flushed, waiting) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = move || {
                while waiting.recv_timeout(BETWEEN_LOOKS) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if self.config.global_error().is_err() {
                        let _the_same_error = self.db.flush();
                    }
                }
            };
            // Without a thread to be had nobody watches, as nearly never anybody must.
            let _watching = std::thread::Builder::new().spawn_scoped(scope, watch);
            let result = self.db.flush();
            drop(flushed);
            result.map(drop)
        })
    }

    /// Returns the block that holds `key` if any does: the last that begins at or before it.
    pub(super) fn block_for(&self, key: &str) -> std::result::Result<Option<Vec<Row>>, Fault> {
        match self.blocks.range(..=key.as_bytes()).next_back() {
            Some(item) => Ok(Some(block::decode(&item?.1)?)),
            None => Ok(None),
        }
    }

    /// Returns the row of `key` in the blocks.
    pub(super) fn get(&self, key: &Key) -> std::result::Result<Option<BaseRow>, Fault> {
        self.in_order().get(key)
    }

    /// Returns what reads rows one by one, and a block only once while they are in order.
    pub(super) fn in_order(&self) -> InOrder<'_> {
        InOrder { trees: self, name: None, rows: Vec::new() }
    }

    /// Returns the rows after `after` of up to `blocks` blocks, and whether there may be more.
    pub(super) fn rows_after(
        &self,
        after: Option<&Key>,
        blocks: usize,
    ) -> std::result::Result<(Vec<Row>, bool), Fault> {
        let mut rows = match after {
            Some(after) => self.block_for(after.as_str())?.unwrap_or_default(),
            None => Vec::new(),
        };
        let read = rows.last().map(|(key, _)| key.clone());
        if let Some(after) = after {
            rows.retain(|(key, _)| key > after);
        }
        let from = read.as_ref().or(after).map_or(&b""[..], |key| key.as_str().as_bytes());
        let mut rest = self.blocks.range(from..);
        for item in rest.by_ref().take(blocks) {
            // A block of one row begins where the one already read ends: with that very key.
            rows.extend(block::decode(&item?.1)?.into_iter().filter(|(key, _)| Some(key) > read.as_ref()));
        }
        Ok((rows, rest.next().is_some()))
    }
}

/// Rows that are asked for in the order of their keys.
#[derive(Debug)]
pub(super) struct InOrder<'a> {
    trees: &'a Trees,
    /// The block that was read last.
    name: Option<sled::IVec>,
    rows: Vec<Row>,
}

impl InOrder<'_> {
    /// Returns the row of `key`.
    pub(super) fn get(&mut self, key: &Key) -> std::result::Result<Option<BaseRow>, Fault> {
        let Some(block) = self.trees.blocks.range(..=key.as_str().as_bytes()).next_back() else {
            return Ok(None);
        };
        let (name, block) = block?;
        if self.name.as_ref() != Some(&name) {
            self.rows = block::decode(&block)?;
            self.name = Some(name);
        }
        let found = self.rows.binary_search_by(|(name, _)| name.cmp(key));
        Ok(found.ok().map(|at| self.rows[at].1.clone()))
    }
}

fn panicked(doing: String) -> Error {
    Error::new(ErrorKind::Corrupt, doing).with_source("the database library gave up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_ends_the_use() {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::open(&dir.path().join("db")).unwrap();
        let error = tables.with("read", |_| -> std::result::Result<(), Fault> { panic!("as sled does") });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(tables.flush().unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn an_error_sled_has_copied_reads_like_the_systems() {
        let full = || std::io::Error::from_raw_os_error(28);
        let fault = Fault::Sled(sled::Error::Io(full()).clone());
        let error = fault.into_error("write the state `x`".into());
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.chain(), format!("write the state `x`: {}", full()));
        assert!(error.hint().is_some_and(|hint| hint.contains("state directory")), "{error:?}");
    }

    #[test]
    fn the_lock_of_sled_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Tables::open(dir.path()).unwrap();
        assert!(is_contended(&Tables::open(dir.path()).unwrap_err()));
    }
}
