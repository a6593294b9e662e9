//! `Store`: one bucket of a store, and the loop that sends a request until it is answered for good.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Connection;
use super::fault::Fault;
use super::ledger::Ledger;
use super::limiter::Limiter;
use super::limits::Limits;
use super::list::FirstPage;
use super::page::Seen;
use super::requests::RequestLog;
use crate::clock::{Clock, Entropy};
use crate::control::SyncController;
use crate::retry::Schedule;

/// Tries of one request, and how far apart: about a minute in all, which outlasts a restart of a server.
const SCHEDULE: Schedule =
    Schedule { attempts: 8, first: Duration::from_millis(200), longest: Duration::from_secs(20) };

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
    silence: Arc<Silence>,
    /// Room for objects that come here only to be compared, or written again under another name.
    passing: Arc<Semaphore>,
}

impl Store {
    /// Returns the bucket, with at most `requests` in flight, or as many as turn out best.
    pub(super) fn new(
        connection: Connection,
        bucket: String,
        log: RequestLog,
        ports: Ports,
        requests: Option<usize>,
    ) -> Self {
        let (listing, first_page) = (Arc::default(), Arc::default());
        let limiter = Arc::new(Limiter::new(requests));
        Self {
            connection,
            bucket,
            log,
            ports,
            listing,
            first_page,
            ledger: Arc::default(),
            limiter,
            silence: Arc::default(),
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
        let mut tries = 0;
        loop {
            match self.send_once(&request).await {
                Err(fault) if fault.is_passing() => self.wait(&mut tries, fault).await?,
                result => return result,
            }
        }
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

    /// Waits before another try; returns `fault` if there has been enough of them.
    pub(super) async fn wait(&self, tries: &mut u32, fault: Fault) -> Result<(), Fault> {
        *tries += 1;
        let Some(wait) = SCHEDULE.wait(*tries, self.ports.entropy.next_u64()) else { return Err(fault) };
        if self.silence.is_long(self.ports.clock.monotonic()) {
            return Err(fault);
        }
        tracing::debug!(?fault, wait_ms = wait.as_millis(), "trying again");
        tokio::select! {
            () = self.ports.clock.sleep(wait) => Ok(()),
            () = self.ports.control.cancelled() => Err(Fault::cancelled()),
        }
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

    fn is_long(&self, now: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| now.saturating_sub(since) > LONG_SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_not_waited_for_by_every_request() {
        let second = Duration::from_secs(1);
        let silence = Silence::default();
        assert!(!silence.is_long(second));
        silence.note(second, false);
        silence.note(second * 50, false);
        assert!(!silence.is_long(second + LONG_SILENCE));
        assert!(silence.is_long(second * 2 + LONG_SILENCE));
        silence.note(second * 80, true);
        assert!(!silence.is_long(second * 1000));
    }
}
