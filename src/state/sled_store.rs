//! [`SledStore`]: the base of one pair in a sled database.
//!
//! What is recorded goes into a journal, which is also held in memory and laid over the blocks when rows
//! are read; `fold.rs` moves it into the blocks. sled blocks its caller, so every use happens on
//! a thread that may wait. The store is opened by [`open()`](super::open()), which checks all of it;
//! `docs/STATE_FORMAT.md` describes what lies on disk.

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::task::JoinHandle;

use super::block::Row;
use super::layout::{Layout, Sidecar};
use super::lock::PairLock;
use super::tables::{Fault, Head, Overlay, SCHEMA, Tables};
use super::{BaseRow, Intent, PairRecord, RowChange, StateStore, fold, journal, row};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// The overlay is folded when it has more rows than this.
const MOST_UNFOLDED: usize = 50_000;

/// How many blocks a scan reads at a time; it reads one such piece ahead.
const BLOCKS_PER_READ: usize = 64;

/// How many journal records are written in one batch: at most about 400 KiB.
const RECORDS_PER_BATCH: usize = 64;

/// The base of one pair on disk.
#[derive(Debug)]
pub struct SledStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    working: RwLock<Working>,
    record: Mutex<Option<PairRecord>>,
    /// How many batches were applied, and how many of them a flush has covered.
    applied: AtomicU64,
    flushed: Mutex<u64>,
    layout: Layout,
    /// The generation the side-car asked for when a base was lost; the next one must exceed it.
    floor: u64,
    // Dropped after the database, in this order.
    tables: Tables,
    _home: Home,
}

/// What must outlive the database.
#[derive(Debug)]
pub(super) enum Home {
    /// The lock of the pair.
    Locked(#[expect(dead_code, reason = "held for its drop")] PairLock),
    /// The folder of a copy, removed in the end.
    Copy(#[expect(dead_code, reason = "held for its drop")] super::scratch::Scratch),
}

/// What changes while the store is open.
#[derive(Debug)]
struct Working {
    head: Head,
    overlay: Overlay,
    next_record: u64,
    /// Set when a fold or commit failed midway: what is on disk is valid, but nothing may be added to it.
    failed: bool,
}

impl SledStore {
    /// Takes over a database that was checked.
    pub(super) fn new(tables: Tables, checked: Checked, layout: Layout, floor: u64, home: Home) -> Self {
        let Checked { head, overlay, next_record } = checked;
        let inner = Inner {
            record: Mutex::new(head.record.clone()),
            working: RwLock::new(Working { head, overlay, next_record, failed: false }),
            applied: AtomicU64::new(0),
            flushed: Mutex::new(0),
            layout,
            floor,
            tables,
            _home: home,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs `work` on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        joined(spawn(&self.inner, work)).await
    }
}

/// A database whose every block was read.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) head: Head,
    pub(super) overlay: Overlay,
    pub(super) next_record: u64,
}

fn spawn<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    let inner = Arc::clone(inner);
    tokio::task::spawn_blocking(move || work(&inner))
}

/// Waits for a blocking task; one that panicked or was cut off by the end of the runtime is an error.
pub(super) async fn joined<T>(task: JoinHandle<Result<T>>) -> Result<T> {
    match task.await {
        Ok(done) => done,
        Err(error) => Err(Error::new(ErrorKind::Internal, "use the state").with_source(error)),
    }
}

impl Inner {
    fn working(&self) -> RwLockReadGuard<'_, Working> {
        self.working.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn working_mut(&self) -> Result<RwLockWriteGuard<'_, Working>> {
        let working = self.working.write().unwrap_or_else(PoisonError::into_inner);
        if !working.failed {
            return Ok(working);
        }
        let doing = format!("write the state `{}` after an earlier failure", self.tables.path().display());
        Err(Error::new(ErrorKind::Unavailable, doing).with_hint("run again"))
    }

    fn get(&self, key: &Key) -> Result<Option<BaseRow>> {
        let working = self.working();
        match working.overlay.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.tables.with("read", |trees| trees.get(key)),
        }
    }

    /// Returns the next rows after `after`.
    fn read_on(&self, after: Option<&Key>) -> Result<Piece> {
        let working = self.working();
        let (rows, more) = self.tables.with("read", |trees| trees.rows_after(after, BLOCKS_PER_READ))?;
        let next = rows.last().filter(|_| more).map(|(last, _)| last.clone());
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let end = next.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let rows = merge(rows, working.overlay.range::<Key, _>((begin, end)));
        Ok(Piece { rows, next })
    }

    /// Notes intents behind the rows of their paths. In the order of the keys each block is read once.
    fn announce(&self, mut intents: Vec<(Key, Intent)>) -> Result<()> {
        intents.sort_by(|(one, _), (other, _)| one.cmp(other));
        let working = self.working();
        let rows = self.tables.with("read", |trees| {
            let mut blocks = trees.in_order();
            let noted = intents.into_iter().map(|(key, intent)| {
                let row = match working.overlay.get(&key) {
                    Some(row) => row.clone(),
                    None => blocks.get(&key)?,
                };
                Ok((key, Some(BaseRow::with_intent(row, &intent))))
            });
            noted.collect::<std::result::Result<Vec<RowChange>, Fault>>()
        })?;
        drop(working);
        self.append(&rows)
    }

    fn append(&self, changes: &[RowChange]) -> Result<()> {
        for (key, row) in changes {
            row.as_ref().map_or(Ok(()), |row| row::check(key, row))?;
        }
        let mut working = self.working_mut()?;
        let records = journal::encode(changes);
        for records in records.chunks(RECORDS_PER_BATCH) {
            let mut next = working.next_record;
            let written = self.tables.with("write", |trees| {
                let mut batch = sled::Batch::default();
                for record in records {
                    batch.insert(&next.to_be_bytes(), record.as_slice());
                    next += 1;
                }
                Ok(trees.journal.apply_batch(batch)?)
            });
            if written.is_err() {
                working.failed = true;
                return written;
            }
            working.next_record = next;
        }
        working.overlay.extend(changes.iter().cloned());
        if working.overlay.len() > MOST_UNFOLDED {
            self.fold(&mut working)?;
        }
        let batch = self.applied.fetch_add(1, Ordering::AcqRel) + 1;
        drop(working);
        self.flush_up_to(batch)
    }

    /// Flushes unless another thread's flush has covered `batch` meanwhile: many callers, one flush.
    fn flush_up_to(&self, batch: u64) -> Result<()> {
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if *flushed < batch {
            let covered = self.applied.load(Ordering::Acquire);
            self.tables.flush()?;
            *flushed = covered;
        }
        Ok(())
    }

    /// Moves the overlay into the blocks.
    fn fold(&self, working: &mut Working) -> Result<()> {
        // Until the end: what a failure leaves behind can be opened, but not be added to.
        working.failed = true;
        working.head = fold::fold(&self.tables, &working.head, &working.overlay, working.next_record)?;
        working.overlay.clear();
        working.failed = false;
        Ok(())
    }

    fn commit(&self, record: PairRecord) -> Result<()> {
        let mut working = self.working_mut()?;
        if record.locations != working.head.locations {
            let doing = format!("commit another pair to the state `{}`", self.tables.path().display());
            return Err(Error::new(ErrorKind::Internal, doing));
        }
        self.fold(&mut working)?;
        working.failed = true;
        let generation = working.head.generation.max(self.floor).saturating_add(1);
        let head = Head { schema: SCHEMA, generation, record: Some(record.clone()), ..working.head.clone() };
        self.tables.put_head(&head)?;
        self.tables.sync()?;
        self.layout.put_sidecar(&Sidecar::of(&record, generation))?;
        crate::ownership::give_back(&self.layout.dir);
        working.head = head;
        working.failed = false;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
        Ok(())
    }
}

/// A piece of a scan.
#[derive(Debug)]
struct Piece {
    rows: Vec<Row>,
    /// The key after which the next piece begins, if there is one.
    next: Option<Key>,
}

/// Lays `changes` over `rows`; both are in order.
fn merge<'a>(rows: Vec<Row>, changes: impl Iterator<Item = (&'a Key, &'a Option<BaseRow>)>) -> Vec<Row> {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return rows;
    }
    let mut merged = Vec::with_capacity(rows.len());
    let put = |key: &Key, row: &Option<BaseRow>, merged: &mut Vec<Row>| {
        merged.extend(row.clone().map(|row| (key.clone(), row)));
    };
    for row in rows {
        while let Some((key, change)) = changes.next_if(|(key, _)| **key < row.0) {
            put(key, change, &mut merged);
        }
        match changes.next_if(|(key, _)| **key == row.0) {
            Some((key, change)) => put(key, change, &mut merged),
            None => merged.push(row),
        }
    }
    for (key, change) in changes {
        put(key, change, &mut merged);
    }
    merged
}

/// Reads the first piece after `after` that has rows.
fn read_piece(inner: &Arc<Inner>, mut after: Option<Key>) -> JoinHandle<Result<Piece>> {
    spawn(inner, move |inner| {
        loop {
            let piece = inner.read_on(after.as_ref())?;
            // All rows of a piece can be deleted in the overlay.
            if !piece.rows.is_empty() || piece.next.is_none() {
                return Ok(piece);
            }
            after = piece.next;
        }
    })
}

/// What a scan has under way. A dropped scan lets the piece it reads ahead come to its end.
#[derive(Debug)]
enum Ahead {
    Start,
    Reading(JoinHandle<Result<Piece>>),
    End,
}

impl StateStore for SledStore {
    fn scan(&self) -> BoxStream<'_, Result<(Key, BaseRow)>> {
        // The next piece is read while the caller works on the last.
        let pieces = stream::try_unfold(Ahead::Start, move |ahead| async move {
            let piece = match ahead {
                Ahead::Start => joined(read_piece(&self.inner, None)).await?,
                Ahead::Reading(task) => joined(task).await?,
                Ahead::End => return Ok(None),
            };
            let ahead = match piece.next {
                Some(next) => Ahead::Reading(read_piece(&self.inner, Some(next))),
                None => Ahead::End,
            };
            Ok(Some((piece.rows, ahead)))
        });
        pieces.map_ok(|rows| stream::iter(rows.into_iter().map(Ok))).try_flatten().boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<BaseRow>>> {
        let key = key.clone();
        self.blocking(move |inner| inner.get(&key)).boxed()
    }

    fn record(&self, changes: Vec<RowChange>) -> BoxFuture<'_, Result<()>> {
        if changes.is_empty() {
            return futures::future::ready(Ok(())).boxed();
        }
        self.blocking(move |inner| inner.append(&changes)).boxed()
    }

    fn announce(&self, intents: Vec<(Key, Intent)>) -> BoxFuture<'_, Result<()>> {
        self.blocking(move |inner| inner.announce(intents)).boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.blocking(|inner| inner.tables.sync()).boxed()
    }

    fn pair_record(&self) -> Option<PairRecord> {
        self.inner.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn commit(&self, record: PairRecord) -> BoxFuture<'_, Result<()>> {
        self.blocking(move |inner| inner.commit(record)).boxed()
    }
}
