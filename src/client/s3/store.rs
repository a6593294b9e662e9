//! `Store`: one bucket of a store, and the loop that sends a request until it is answered for good.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Setup;
use super::budget::{BUFFERED_BYTES, Budget, Progress};
use super::connect::Connection;
use super::fault::Fault;
use super::ledger::Ledger;
use super::limiter::Limiter;
use super::limits::{LEAST_UPLOAD_RATE, Limits};
use super::listing::{FirstPage, Seen};
use super::requests::RequestLog;
use crate::clock::{Clock, Entropy};
use crate::control::SyncController;
use crate::error::ErrorKind;
use crate::retry::Schedule;

/// Tries of one request, and how far apart: about a minute in all, which outlasts a restart of a server.
const SCHEDULE: Schedule =
    Schedule { attempts: 8, first: Duration::from_millis(200), longest: Duration::from_secs(20) };

/// Tries of a request that bears bytes of a file. They are as many as the budget of the file allows; a store that takes them and then
/// says that it is busy is left in peace for longer.
const CARRYING: Schedule =
    Schedule { attempts: 8, first: Duration::from_secs(1), longest: Duration::from_secs(20) };

/// Tries of a request that is refused because of the time it bears: clocks do not mend within a run.
const CLOCK_TRIES: u32 = 2;

/// MiB of objects that pass through here at once, as far as each is not larger. Ours: beside the memory that copies get.
const PASSING_MIB: usize = 64;

/// How long nobody must have been answered before requests stop waiting.
const LONG_SILENCE: Duration = Duration::from_mins(1);

/// How long a request under way is waited for once the run is cancelled. Whoever cancels waits that long.
const GRACE: Duration = Duration::from_secs(5);

/// What a store is driven by: time, randomness, and who may end the run.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Ends waiting.
    pub control: SyncController,
}

/// A bucket of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) bucket: String,
    pub(super) log: RequestLog,
    pub(super) ports: Ports,
    /// What listings have shown about it.
    pub(super) listing: Arc<Seen>,
    pub(super) first_page: Arc<FirstPage>,
    /// Which uploads are under way.
    pub(super) ledger: Arc<Ledger>,
    limiter: Arc<Limiter>,
    /// How long a file may fail, and the run.
    budget: Duration,
    silence: Arc<Silence>,
    /// How long nothing has succeeded but looking.
    failing: Arc<Silence>,
    /// Room for objects that come here only to be compared, or written again under another name.
    passing: Arc<Semaphore>,
}

impl Store {
    /// Returns the bucket, with as many requests in flight and as much time for what fails as `setup` says.
    pub(super) fn new(connection: Connection, bucket: String, log: RequestLog, setup: &Setup) -> Self {
        let (listing, first_page) = (Arc::default(), Arc::default());
        let limiter = Arc::new(Limiter::new(setup.requests));
        Self {
            connection,
            bucket,
            log,
            ports: setup.ports.clone(),
            listing,
            first_page,
            ledger: Arc::default(),
            limiter,
            budget: setup.retry_budget,
            silence: Arc::default(),
            failing: Arc::default(),
            passing: Arc::new(Semaphore::new(PASSING_MIB)),
        }
    }

    /// Notes uploads in `ledger`.
    pub(super) fn with_ledger(self, ledger: Ledger) -> Self {
        Self { ledger: Arc::new(ledger), ..self }
    }

    /// Waits for room for an object of this size that passes through here. The room is there again when it is dropped.
    pub(super) async fn room_for(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let wanted = usize::try_from(size.div_ceil(1024 * 1024)).unwrap_or(PASSING_MIB).clamp(1, PASSING_MIB);
        // It is never closed.
        Arc::clone(&self.passing).acquire_many_owned(u32::try_from(wanted).unwrap_or(1)).await.ok()
    }

    /// Returns the SDK's client.
    pub(super) fn sdk(&self) -> &aws_sdk_s3::Client {
        &self.connection.sdk
    }

    /// Returns how long the store may take, and how much it may answer.
    pub(super) fn limits(&self) -> &Limits {
        &self.connection.limits
    }

    /// Returns another bucket of the same store.
    pub(super) fn in_bucket(&self, bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), first_page: Arc::default(), ..self.clone() }
    }

    /// Sends a request that may safely be sent again, until it succeeds or fails for good.
    pub(super) async fn send<T, F>(&self, request: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.send_within(&self.budget_of(0), request).await
    }

    /// As [`Self::send`], with the budget of a file.
    pub(super) async fn send_within<T, F>(&self, budget: &Budget, request: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let answer = Box::pin(self.ask(budget, request)).await?;
        self.note_success();
        Ok(answer)
    }

    /// As [`Self::send_within`], for a request that only looks: that it succeeds shows nothing of others.
    pub(super) async fn ask<T, F>(&self, budget: &Budget, request: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut tries = self.tries(budget);
        loop {
            match self.send_once(&request).await {
                Err(fault) if fault.is_passing() => self.wait(&mut tries, fault).await?,
                result => return result,
            }
        }
    }

    /// Returns the budget of a file of this size.
    pub(super) fn budget_of(&self, size: u64) -> Budget {
        Budget::new(self.budget, size)
    }

    /// Returns the tries of a request, of which none was made.
    pub(super) fn tries(&self, budget: &Budget) -> Tries {
        Tries { count: 0, began: self.ports.clock.monotonic(), budget: budget.clone() }
    }

    /// Notes that something was done that could have failed.
    pub(super) fn note_success(&self) {
        self.failing.note(self.ports.clock.monotonic(), true);
    }

    /// Sends a request that tidies up, once more if need be, although the run may be cancelled.
    pub(super) async fn send_even_if_cancelled<T, F>(&self, request: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        match self.unless_cancelled(request()).await {
            Err(fault) if fault.is_passing() => self.unless_cancelled(request()).await,
            result => result,
        }
    }

    /// Waits for an answer; a while only once the run is cancelled. What became of the request is then found out
    /// by the next run.
    async fn unless_cancelled<T>(&self, request: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        // Boxed, because every future of the client would hold it.
        let request = Box::pin(request);
        let patience = async {
            self.ports.control.cancelled().await;
            self.ports.clock.sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            result = request => result,
            () = patience => Err(Fault::cancelled()),
        }
    }

    /// Sends a request once, when it is its turn.
    pub(super) async fn send_once<T, F>(&self, request: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let permit = tokio::select! {
            permit = self.limiter.permit() => permit,
            () = self.ports.control.cancelled() => return Err(Fault::cancelled()),
        };
        let result = self.unless_cancelled(request()).await;
        drop(permit);
        let now = self.ports.clock.monotonic();
        match &result {
            Err(fault) if fault.is_throttling() => self.limiter.throttled(now),
            _ => self.limiter.answered(now),
        }
        self.silence.note(now, result.as_ref().err().is_none_or(Fault::is_answer));
        result
    }

    /// Waits for the answer to a request that sends a body, as long as the body goes on.
    pub(super) async fn unless_stuck<T, E: Into<Fault>>(
        &self,
        progress: &Progress,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        let stuck = async {
            let mut before = None;
            while before != Some(progress.taken()) {
                before = Some(progress.taken());
                let is_out = progress.taken() == progress.size;
                let buffered = if is_out { progress.size.min(BUFFERED_BYTES) } else { 0 };
                let patience = self.limits().beginning + Duration::from_secs(buffered / LEAST_UPLOAD_RATE);
                // By the clock of the other limits of a request, which are the SDK's.
                tokio::time::sleep(patience).await;
            }
        };
        // Boxed, because every future of the client would hold it.
        let request = Box::pin(request);
        tokio::select! {
            biased;
            answer = request => answer.map_err(Into::into),
            () = stuck => {
                let message = format!("the store took {} of {} bytes, and no more", progress.taken(), progress.size);
                Err(Fault::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Waits before another try; returns `fault` if there has been enough of them.
    pub(super) async fn wait(&self, tries: &mut Tries, fault: Fault) -> Result<(), Fault> {
        tries.count += 1;
        if fault.is_of_clocks() && tries.count >= CLOCK_TRIES {
            let here = self.ports.clock.now();
            let there = self.log.time().map_or_else(|| "not told".to_owned(), |time| time.to_string());
            let hint = format!(
                "the clock of this machine shows {here}, that of the store {there}: set the wrong one right"
            );
            return Err(fault.hinting(hint).tried());
        }
        let now = self.ports.clock.monotonic();
        self.failing.note(now, false);
        let schedule = if tries.budget.has_sent() { CARRYING } else { SCHEDULE };
        let Some(wait) = schedule.wait(tries.count, self.ports.entropy.next_u64()) else {
            return Err(fault.tried());
        };
        if self.silence.is_long(now, LONG_SILENCE) || tries.budget.is_sent_out() {
            return Err(fault.tried());
        }
        let is_spent = !tries.budget.spend(now.saturating_sub(tries.began).saturating_add(wait));
        if is_spent || self.failing.is_long(now, self.budget) {
            let most = tries.budget.most().as_secs();
            let hint = format!(
                "it failed for {most} s, which is what --retry-budget allows; nothing was lost, run again"
            );
            return Err(fault.hinting(hint).tried());
        }
        tracing::debug!(?fault, wait_ms = wait.as_millis(), "trying again");
        tokio::select! {
            () = self.ports.clock.sleep(wait) => {}
            () = self.ports.control.cancelled() => return Err(Fault::cancelled()),
        }
        tries.began = self.ports.clock.monotonic();
        Ok(())
    }
}

/// The tries of a request.
#[derive(Debug)]
pub(super) struct Tries {
    /// Those that failed.
    count: u32,
    /// When the one under way began.
    began: Duration,
    budget: Budget,
}

impl Tries {
    /// Returns whether one was made before.
    pub(super) fn is_again(&self) -> bool {
        self.count > 0
    }
}

/// How long a store has not answered anybody. When that is long nothing is gained by each request waiting in
/// its turn: a store that is gone would cost a minute for every file.
#[derive(Debug, Default)]
struct Silence(Mutex<Option<Duration>>);

impl Silence {
    /// Notes what became of a request at `now`.
    fn note(&self, now: Duration, answered: bool) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if answered { None } else { since.or(Some(now)) };
    }

    fn is_long(&self, now: Duration, limit: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| now.saturating_sub(since) > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_not_waited_for_by_every_request() {
        let second = Duration::from_secs(1);
        let silence = Silence::default();
        assert!(!silence.is_long(second, LONG_SILENCE));
        silence.note(second, false);
        silence.note(second * 50, false);
        assert!(!silence.is_long(second + LONG_SILENCE, LONG_SILENCE));
        assert!(silence.is_long(second * 2 + LONG_SILENCE, LONG_SILENCE));
        silence.note(second * 80, true);
        assert!(!silence.is_long(second * 1000, LONG_SILENCE));
    }
}
