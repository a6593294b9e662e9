//! Trying again: a pure schedule and the one loop that follows it.
//!
//! Only errors of kind [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) are worth another try, unless whoever met them has
//! tried already; each wait is drawn between zero and
//! a bound that doubles (full jitter), so that many clients do not come back at the same moment. Where there
//! are too few descriptors for the whole run, its operations stop waiting for more after a while.

use std::time::Duration;

use crate::clock::{Clock, Entropy};
use crate::control::SyncController;
use crate::error::Result;

/// How many operations in a row may wait in vain for a descriptor. Ours: as many as are under way at once.
const MOST_SHORTAGES: u32 = 16;

/// How long the requests of a file to a store may fail, unless somebody says otherwise. From the requirements.
pub const RETRY_BUDGET: Duration = Duration::from_mins(10);

/// How often and how long apart to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The bound of the first wait.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Default for Schedule {
    /// Five tries over at most about 3 seconds. No source, reasonable for local faults that pass.
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(200), longest: Duration::from_secs(20) }
    }
}

impl Schedule {
    /// Returns how long to wait before try number `next` (the second is 1), or `None` to give up.
    pub fn wait(&self, next: u32, random: u64) -> Option<Duration> {
        if next == 0 || next >= self.attempts {
            return None;
        }
        let bound =
            self.first.saturating_mul(1_u32.checked_shl(next - 1).unwrap_or(u32::MAX)).min(self.longest);
        let nanoseconds = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(random % nanoseconds.saturating_add(1)))
    }
}

/// Calls `attempt` until it succeeds, fails for good, or the schedule or the run ends.
///
/// # Errors
/// The last attempt's, or [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
pub async fn retry<T, F>(
    schedule: Schedule,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    control: &SyncController,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut tries = 0;
    loop {
        let error = match attempt().await {
            Err(error) if error.is_worth_a_try() => error,
            result => {
                if result.is_ok() {
                    control.note_shortage(false);
                }
                return result;
            }
        };
        tries += 1;
        let is_shortage = error.is_shortage();
        if is_shortage && control.shortages() >= MOST_SHORTAGES {
            return Err(error);
        }
        let Some(wait) = schedule.wait(tries, entropy.next_u64()) else {
            if is_shortage {
                control.note_shortage(true);
            }
            return Err(error);
        };
        tracing::debug!(error = error.chain(), wait_ms = wait.as_millis(), "trying again");
        tokio::select! {
            () = clock.sleep(wait) => {}
            () = control.cancelled() => return Err(crate::control::cancelled()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use super::*;
    use crate::clock::{SystemClock, SystemEntropy};
    use crate::error::{Error, ErrorKind};

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let schedule =
            Schedule { attempts: 6, first: Duration::from_millis(10), longest: Duration::from_millis(50) };
        let longest: Vec<_> = (1..6)
            .map(|n| {
                let bound = [10, 20, 40, 50, 50][n as usize - 1];
                assert_eq!(schedule.wait(n, 0), Some(Duration::ZERO));
                // The bound itself is drawn, one nanosecond more is not.
                let nanoseconds = bound * 1_000_000;
                assert_eq!(schedule.wait(n, nanoseconds), Some(Duration::from_millis(bound)));
                assert_eq!(schedule.wait(n, nanoseconds + 1), Some(Duration::ZERO));
                bound
            })
            .collect();
        assert_eq!(longest.len(), 5);
        assert_eq!(schedule.wait(6, 7), None);
        assert_eq!(schedule.wait(0, 7), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_passing_faults_are_tried_again() {
        for (kind, expected) in
            [(ErrorKind::Unavailable, 5), (ErrorKind::PermissionDenied, 1), (ErrorKind::Changed, 1)]
        {
            let calls = Cell::new(0);
            let result: Result<()> =
                retry(Schedule::default(), &SystemClock, &SystemEntropy, &SyncController::new(), || {
                    calls.set(calls.get() + 1);
                    ready(Err(Error::new(kind, "x")))
                })
                .await;
            assert_eq!((result.unwrap_err().kind(), calls.get()), (kind, expected));
        }
        assert!(!Error::new(ErrorKind::Unavailable, "x").tried().is_worth_a_try());
    }

    #[tokio::test(start_paused = true)]
    async fn f10_a_shortage_of_descriptors_that_stays_is_waited_for_a_few_times_only() {
        let control = SyncController::new();
        let calls = async |raw: Option<i32>| {
            let calls = Cell::new(0);
            let attempt = || {
                calls.set(calls.get() + 1);
                ready(raw.map_or(Ok(()), |raw| Err(Error::io("x", std::io::Error::from_raw_os_error(raw)))))
            };
            let result = retry(Schedule::default(), &SystemClock, &SystemEntropy, &control, attempt).await;
            (calls.get(), result.is_ok())
        };
        for at in 0..20 {
            assert_eq!(calls(Some(24)).await, (if at < 16 { 5 } else { 1 }, false), "{at}");
        }
        assert_eq!(calls(Some(110)).await, (5, false), "a timeout is another matter");
        assert_eq!(calls(None).await, (1, true));
        assert_eq!(calls(Some(23)).await, (5, false), "once there were some it waits again");
    }

    #[tokio::test]
    async fn a_cancelled_run_does_not_wait() {
        let control = SyncController::new();
        control.cancel();
        let schedule = Schedule { attempts: 2, first: Duration::MAX, longest: Duration::MAX };
        let result: Result<()> = retry(schedule, &SystemClock, &SystemEntropy, &control, || {
            ready(Err(Error::new(ErrorKind::Unavailable, "x")))
        })
        .await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
