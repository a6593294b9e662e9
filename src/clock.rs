//! Time and randomness as ports, so that a run can be repeated exactly in a simulation.
//!
//! This is the only file that reads the system's clocks and its random numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::entry::Timestamp;

/// Tells the time and waits.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time of day, which may jump.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed moment, which never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits. Dropping the future ends the wait.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Gives numbers nobody can foresee.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Returns the next number.
    fn next_u64(&self) -> u64;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => {
                Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
            }
            Err(before) => Timestamp::new(-i64::try_from(before.duration().as_secs()).unwrap_or(0) - 1, 0),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

/// Random numbers of the operating system.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        // Without a random source (it has not been seen to fail) names still differ within the process.
        static FALLBACK: AtomicU64 = AtomicU64::new(1);
        getrandom::u64().unwrap_or_else(|_| FALLBACK.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}
