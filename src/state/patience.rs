//! Waiting for what another run or process still has: the lock of a pair, and its database.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};

use super::layout::Layout;
use super::lock::PairLock;
use super::sled_store::joined;
use super::tables::is_contended;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// A lock that is not free is tried again this often, at this distance.
const ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// Repeats `attempt` for about a second while its error is a `passing` one.
pub(super) async fn patiently<T>(
    clock: &dyn Clock,
    passing: fn(&Error) -> bool,
    attempt: impl Fn() -> JoinHandle<Result<T>>,
) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match joined(attempt()).await {
            Err(error) if passing(&error) => clock.sleep(BETWEEN_ATTEMPTS).await,
            done => return done,
        }
    }
    joined(attempt()).await
}

/// Says of sled's own lock what is said of ours.
pub(super) fn in_use(error: Error) -> Error {
    if !is_contended(&error) {
        return error;
    }
    Error::new(ErrorKind::Locked, error.to_string())
        .with_source(error)
        .with_hint("wait for the other process to end")
}

pub(super) fn is_locked(error: &Error) -> bool {
    error.kind() == ErrorKind::Locked
}

/// Takes the lock of a pair for a run that writes, making the state directory.
pub(super) async fn lock_for_writing(layout: &Layout, clock: &dyn Clock) -> Result<PairLock> {
    patiently(clock, is_locked, || {
        let layout = layout.clone();
        spawn_blocking(move || {
            layout.create_dir()?;
            PairLock::exclusive(&layout.lock())
        })
    })
    .await
}
