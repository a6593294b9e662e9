//! `Store`: one bucket of a store, and the loop that sends a request until it is answered for good.

use std::sync::Arc;

use super::connect::Connection;
use super::fault::Fault;
use super::limiter::Limiter;
use super::list::FirstPage;
use super::page::Seen;
use super::requests::RequestLog;
use crate::clock::{Clock, Entropy};
use crate::control::SyncController;
use crate::retry::Schedule;

/// Tries of one request, and how far apart: about a minute in all, which outlasts a restart of a server.
const SCHEDULE: Schedule = Schedule {
    attempts: 8,
    first: std::time::Duration::from_millis(200),
    longest: std::time::Duration::from_secs(20),
};

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
    limiter: Arc<Limiter>,
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
        Self { connection, bucket, log, ports, listing, first_page, limiter }
    }

    /// Returns the SDK's client.
    pub(super) fn sdk(&self) -> &aws_sdk_s3::Client {
        &self.connection.sdk
    }

    /// Returns another bucket of the same store.
    pub(super) fn in_bucket(&self, bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), ..self.clone() }
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
        match request().await {
            Err(fault) if fault.is_passing() => request().await,
            result => result,
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
        let result = request().await;
        drop(permit);
        let now = self.ports.clock.monotonic();
        match &result {
            Err(fault) if fault.is_throttling() => self.limiter.throttled(now),
            _ => self.limiter.answered(now),
        }
        result
    }

    /// Waits before another try; returns `fault` if there has been enough of them.
    pub(super) async fn wait(&self, tries: &mut u32, fault: Fault) -> Result<(), Fault> {
        *tries += 1;
        let Some(wait) = SCHEDULE.wait(*tries, self.ports.entropy.next_u64()) else { return Err(fault) };
        tracing::debug!(?fault, wait_ms = wait.as_millis(), "trying again");
        tokio::select! {
            () = self.ports.clock.sleep(wait) => Ok(()),
            () = self.ports.control.cancelled() => Err(Fault::cancelled()),
        }
    }
}
