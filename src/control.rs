//! Pausing, resuming and cancelling a run from outside.
//!
//! A [`SyncController`] belongs to the caller, who passes a clone to the run. Cancelling is for good: a
//! run given a cancelled controller ends as cancelled before it changes anything, so that a forgotten flag
//! can never look like success.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// Pauses, resumes and cancels the runs it is given to. Clones act on the same runs.
#[derive(Debug, Clone)]
pub struct SyncController {
    state: watch::Sender<State>,
    /// How many operations in a row waited in vain for a descriptor.
    in_vain: Arc<AtomicU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Cancelled,
}

impl Default for SyncController {
    fn default() -> Self {
        Self::new()
    }
}

impl SyncController {
    /// Returns a controller that lets runs run.
    pub fn new() -> Self {
        Self { state: watch::Sender::new(State::Running), in_vain: Arc::default() }
    }

    /// Lets runs begin nothing new until [`Self::resume`]. What is under way goes on to its next chunk.
    pub fn pause(&self) {
        self.change(State::Running, State::Paused);
    }

    /// Lets paused runs go on.
    pub fn resume(&self) {
        self.change(State::Paused, State::Running);
    }

    /// Ends runs: they take up nothing new, abort what is under way, record what is finished and report
    /// [`Outcome::Cancelled`](crate::Outcome). Paused runs end too.
    pub fn cancel(&self) {
        self.state.send_replace(State::Cancelled);
    }

    /// Returns whether [`Self::pause`] is in force.
    pub fn is_paused(&self) -> bool {
        *self.state.borrow() == State::Paused
    }

    /// Returns whether [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        *self.state.borrow() == State::Cancelled
    }

    /// Waits while paused.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] if the run is to end.
    pub async fn checkpoint(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        loop {
            let now = *state.borrow_and_update();
            match now {
                State::Running => return Ok(()),
                State::Cancelled => return Err(cancelled()),
                State::Paused => {
                    // The sender is `self`, so the channel cannot close under us.
                    if state.changed().await.is_err() {
                        return Err(cancelled());
                    }
                }
            }
        }
    }

    /// Waits until the run is cancelled; for ever, if nobody does.
    pub async fn cancelled(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| *state == State::Cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Notes how waiting for a descriptor ended.
    pub(crate) fn note_shortage(&self, in_vain: bool) {
        if in_vain {
            self.in_vain.fetch_add(1, Ordering::Relaxed);
        } else {
            self.in_vain.store(0, Ordering::Relaxed);
        }
    }

    /// Returns how many operations in a row waited in vain for a descriptor.
    pub(crate) fn shortages(&self) -> u32 {
        self.in_vain.load(Ordering::Relaxed)
    }

    fn change(&self, from: State, to: State) {
        self.state.send_if_modified(|state| {
            let applies = *state == from;
            if applies {
                *state = to;
            }
            applies
        });
    }
}

/// Returns the error of a cancelled run.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_paused_run_waits_and_a_cancelled_one_never_goes_on() {
        let controller = SyncController::new();
        assert!(controller.checkpoint().await.is_ok());
        controller.pause();
        assert!(controller.is_paused());
        let waiting = controller.clone();
        let (result, ()) = tokio::join!(async move { waiting.checkpoint().await }, async {
            tokio::task::yield_now().await;
            controller.resume();
        });
        assert!(result.is_ok());
        controller.pause();
        controller.cancel();
        controller.resume();
        controller.pause();
        assert!(controller.is_cancelled() && !controller.is_paused());
        assert_eq!(controller.checkpoint().await.unwrap_err().kind(), ErrorKind::Cancelled);
        controller.cancelled().await;
    }
}
