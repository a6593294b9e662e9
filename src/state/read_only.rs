//! [`ReadOnly`]: a store that shows another one and refuses to change it.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use futures::stream::BoxStream;

use super::{BaseRow, PairRecord, RowChange, StateStore};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// A store for runs that change nothing.
#[derive(Debug)]
pub(super) struct ReadOnly<S>(pub(super) S);

fn refused<'a>() -> BoxFuture<'a, Result<()>> {
    ready(Err(Error::new(ErrorKind::Unsupported, "write the state, which was opened for reading only")))
        .boxed()
}

impl<S: StateStore> StateStore for ReadOnly<S> {
    fn scan(&self) -> BoxStream<'_, Result<(Key, BaseRow)>> {
        self.0.scan()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<BaseRow>>> {
        self.0.get(key)
    }

    fn record(&self, _changes: Vec<RowChange>) -> BoxFuture<'_, Result<()>> {
        refused()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn pair_record(&self) -> Option<PairRecord> {
        self.0.pair_record()
    }

    fn commit(&self, _record: PairRecord) -> BoxFuture<'_, Result<()>> {
        refused()
    }
}
