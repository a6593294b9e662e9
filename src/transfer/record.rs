//! What a run writes down in the state: before it does something, and after.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Transfer;
use crate::error::Result;
use crate::key::Key;
use crate::state::{Intent, RowChange};

/// Rows recorded between two flushes, at most; a power cut costs the work of one batch.
const ROWS_PER_FLUSH: usize = 500;

/// Time between two flushes, at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);

impl Transfer<'_> {
    /// Notes what is about to be done, durably: cut off after it, nobody else could tell what was done from what somebody did since.
    pub(super) async fn announce(&self, intents: Vec<(Key, Intent)>) -> Result<()> {
        if intents.is_empty() {
            return Ok(());
        }
        self.noting(self.state.announce(intents).await)?;
        self.flush().await
    }

    /// Records rows and flushes when it is time.
    pub(super) async fn record(&self, mut rows: Vec<RowChange>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.doubt_written(&mut rows);
        let count = rows.len();
        self.noting(self.state.record(rows).await)?;
        let unflushed = self.progress.unflushed.fetch_add(count, Ordering::Relaxed) + count;
        let waited = self.clock.monotonic().saturating_sub(*self.progress.last_flush.lock().await);
        if unflushed >= ROWS_PER_FLUSH || waited >= FLUSH_INTERVAL {
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn flush(&self) -> Result<()> {
        self.progress.unflushed.store(0, Ordering::Relaxed);
        *self.progress.last_flush.lock().await = self.clock.monotonic();
        self.noting(self.state.flush().await)
    }

    /// Notes whether the state has failed.
    fn noting(&self, result: Result<()>) -> Result<()> {
        self.progress.state_failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}
