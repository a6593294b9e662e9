//! [`MemoryState`]: a base that lives as long as its process, for simulations and tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, ready};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};

use super::{BaseRow, PairRecord, RowChange, StateStore};
use crate::error::Result;
use crate::key::Key;

/// A base in memory.
#[derive(Debug, Default)]
pub struct MemoryState(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    rows: BTreeMap<Key, BaseRow>,
    record: Option<PairRecord>,
}

impl MemoryState {
    /// Returns an empty base that was never committed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a base with these rows, as a commit of `record` left them.
    pub fn with(rows: BTreeMap<Key, BaseRow>, record: PairRecord) -> Self {
        Self(Mutex::new(Content { rows, record: Some(record) }))
    }

    /// Returns all rows.
    pub fn rows(&self) -> BTreeMap<Key, BaseRow> {
        self.content().rows.clone()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryState {
    fn scan(&self) -> BoxStream<'_, Result<(Key, BaseRow)>> {
        stream::iter(self.rows().into_iter().map(Ok)).boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<BaseRow>>> {
        async move { Ok(self.content().rows.get(key).cloned()) }.boxed()
    }

    fn record(&self, changes: Vec<RowChange>) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut content = self.content();
            for (key, row) in changes {
                match row {
                    Some(row) => content.rows.insert(key, row),
                    None => content.rows.remove(&key),
                };
            }
            Ok(())
        }
        .boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn pair_record(&self) -> Option<PairRecord> {
        self.content().record.clone()
    }

    fn commit(&self, record: PairRecord) -> BoxFuture<'_, Result<()>> {
        async move {
            self.content().record = Some(record);
            Ok(())
        }
        .boxed()
    }
}
