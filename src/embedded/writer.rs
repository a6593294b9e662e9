//! The one thread that changes the index. It takes all changes that wait, makes them in one transaction,
//! commits once, and only then answers: so many small writes share one flush of the disk, and a condition is
//! judged against everything that came before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use redb::Database;
use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::blobs::Blobs;
use super::failure::{Failure, Outcome};
use super::index;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Changes that may wait; more make their senders wait. Ours: content waits with them, 64 KiB each at most.
const MAX_WAITING: usize = 256;

/// Tells what became of a change once its transaction has ended; a text says why that failed.
type Answer = Box<dyn FnOnce(std::result::Result<(), &str>) + Send>;

/// A change. An error spoils the whole transaction; a refusal is an answer like any other.
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Outcome<Answer> + Send>;

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    healthy: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(database: Arc<Database>, blobs: Arc<Blobs>, clock: Arc<dyn Clock>) -> Result<Self> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let healthy = Arc::new(AtomicBool::new(true));
        let mut work = Work { database, blobs, clock, healthy: Arc::clone(&healthy) };
        let thread = thread::Builder::new()
            .name("embedded-writer".into())
            .spawn(move || work.run(waiting))
            .map_err(|error| Error::io("start the thread that writes the index", error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), healthy })
    }

    /// Makes a change and returns when it is durable.
    ///
    /// # Cancellation
    ///
    /// A change whose caller has gone is made or not; what it holds is freed if it is not.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Batch<'_>) -> Outcome<T> + Send + 'static,
    ) -> S3Result<T> {
        let (sender, receiver) = oneshot::channel::<Outcome<T>>();
        let job: Job = Box::new(move |batch| match change(batch) {
            Err(Failure::Fault(fault)) => {
                let told = Failure::Fault(fault.to_string().into());
                unheard(sender.send(Err(told)));
                Err(Failure::Fault(fault))
            }
            outcome => Ok(Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => outcome,
                    Err(why) => Err(Failure::Fault(why.into())),
                };
                unheard(sender.send(outcome));
            })),
        });
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        Ok(receiver.await.map_err(|_| gone())??)
    }

    /// Ends the thread after everything that waits. Returns whether every commit went well.
    pub(super) fn end(&mut self) -> bool {
        self.jobs = None;
        let joined = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        joined && self.healthy.load(Ordering::Acquire)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Nobody waits for the answer any more: then nobody needs to know.
fn unheard<T>(sent: std::result::Result<(), T>) {
    drop(sent);
}

fn gone() -> S3Error {
    S3Error::with_message(S3ErrorCode::ServiceUnavailable, "The server is stopping.")
}

/// What the thread works with.
struct Work {
    database: Arc<Database>,
    blobs: Arc<Blobs>,
    clock: Arc<dyn Clock>,
    healthy: Arc<AtomicBool>,
}

impl Work {
    fn run(&mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(MAX_WAITING);
        while waiting.blocking_recv_many(&mut jobs, MAX_WAITING) > 0 {
            let mut answers = Vec::with_capacity(jobs.len());
            match self.commit(&mut jobs, &mut answers) {
                Ok(freed) => {
                    for answer in answers {
                        answer(Ok(()));
                    }
                    self.blobs.free(&freed);
                }
                Err(failure) => {
                    let why = failure.to_string();
                    tracing::error!(%why, "a commit failed");
                    // Whether it is on the disk nobody knows, so neither which files are wanted.
                    self.healthy.store(false, Ordering::Release);
                    for answer in answers {
                        answer(Err(&why));
                    }
                }
            }
            // Those behind one that failed: they go without an answer, which their senders see.
            jobs.clear();
        }
    }

    fn commit(&self, jobs: &mut Vec<Job>, answers: &mut Vec<Answer>) -> Outcome<Vec<u64>> {
        let transaction = index::begin(&self.database)?;
        let freed = {
            let mut batch = Batch::open(&transaction, &self.blobs, milliseconds(self.clock.as_ref()))?;
            for job in jobs.drain(..) {
                answers.push(job(&mut batch)?);
            }
            batch.close()?
        };
        transaction.commit()?;
        Ok(freed)
    }
}

/// Returns the time in milliseconds since 1970.
pub(super) fn milliseconds(clock: &dyn Clock) -> i64 {
    let now = clock.now();
    now.seconds.saturating_mul(1000).saturating_add(i64::from(now.nanoseconds / 1_000_000))
}
