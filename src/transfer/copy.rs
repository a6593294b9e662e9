//! The copy pipeline: read, hash, stage - many at once - and publish in batches.

use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::body::Tap;
use super::{Executed, Job, Transfer, seen};
use crate::client::Staged;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, HashForm};
use crate::mode::{Side, Sides};
use crate::retry::{Schedule, retry};
use crate::state::{Agreed, BaseRow};

/// Files made durable and visible together, at most. A kill or power cut costs the work of one batch.
const FILES_PER_BATCH: usize = 1000;

/// Bytes made durable and visible together, at most.
const BYTES_PER_BATCH: u64 = 256 * 1024 * 1024;

/// Most of a file that is in memory at once.
const RESIDENT_BYTES: u64 = 2 * 1024 * 1024;

/// A staged copy, or why it could not be staged.
type Ready = (Job, Result<(Staged, ContentHash)>);

#[derive(Debug, Default)]
struct Batch {
    items: Vec<(Job, Staged, ContentHash)>,
    bytes: u64,
}

impl Transfer<'_> {
    /// Carries out all copies. Staging goes on while a batch is published.
    pub(super) async fn copy_all(&self, jobs: Vec<Job>, executed: &mut Executed) -> Result<()> {
        for job in &jobs {
            self.rights.allow_copy(job.to)?;
        }
        // A batch can pile up while the last one is made durable.
        let (sender, receiver) = mpsc::channel(FILES_PER_BATCH);
        let stage = async move {
            let mut ready = futures::stream::iter(jobs)
                .map(|job| self.stage(job))
                .buffer_unordered(self.tuning.transfers.max(1));
            while let Some(item) = ready.next().await {
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        };
        let ((), result) = futures::join!(stage, self.publish_all(receiver, executed));
        result
    }

    async fn publish_all(&self, mut ready: mpsc::Receiver<Ready>, executed: &mut Executed) -> Result<()> {
        let mut batches: Sides<Batch> = Sides::default();
        let mut end = Ok(());
        while let Some((job, result)) = ready.recv().await {
            match result {
                Ok((staged, hash)) => {
                    let side = job.to;
                    let batch = batches.get_mut(side);
                    batch.bytes += staged.size;
                    batch.items.push((job, staged, hash));
                    if batch.items.len() >= FILES_PER_BATCH || batch.bytes >= BYTES_PER_BATCH {
                        let full = std::mem::take(batch);
                        if let Err(error) = self.publish(side, full, executed).await {
                            end = Err(error);
                            break;
                        }
                    }
                }
                // After a cancel what is staged already is still published below.
                Err(error) => {
                    let action = job.line.as_ref().map_or("copy", |line| line.action);
                    if let Err(error) = self.take_error(&job.target.key, action, error, executed) {
                        end = Err(error);
                    }
                }
            }
        }
        let state_is_lost = end.as_ref().is_err_and(|error| error.kind() != ErrorKind::Cancelled);
        ready.close();
        while let Some((job, result)) = ready.recv().await {
            if let Ok((staged, _)) = result {
                self.clients.get(job.to).discard(staged).await;
            }
        }
        for side in Side::BOTH {
            let batch = std::mem::take(batches.get_mut(side));
            if state_is_lost {
                for (_, staged, _) in batch.items {
                    self.clients.get(side).discard(staged).await;
                }
            } else {
                self.publish(side, batch, executed).await?;
            }
        }
        end
    }

    /// Reads and stages one version. A panic on the way fails this path only.
    async fn stage(&self, job: Job) -> Ready {
        let attempt = async || {
            self.control.checkpoint().await?;
            let resident = job.from.size.clamp(1024, RESIDENT_BYTES.min(self.tuning.memory_bytes.max(1024)));
            let resident = u32::try_from(resident / 1024).unwrap_or(u32::MAX);
            let _permit = self.progress.memory.acquire_many(resident).await;
            let body = self.clients.get(job.to.other()).read(&job.from).await?;
            let tap = Tap::new(HashForm::Whole);
            let throttle = self.progress.throttle.as_ref();
            let body = tap.attach(body, self.control, throttle, self.clock, self.recorder);
            let staged = self.clients.get(job.to).stage(job.target.clone(), body).await?;
            Ok((staged, tap.hash()))
        };
        let staged =
            retry(Schedule::default(), self.clock.as_ref(), self.entropy.as_ref(), self.control, attempt);
        let result = std::panic::AssertUnwindSafe(staged).catch_unwind().await.unwrap_or_else(|_| {
            let doing = format!("copying `{}` ended in a defect of this program", job.target.key);
            Err(Error::new(ErrorKind::Internal, doing).with_hint("please report this"))
        });
        (job, result)
    }

    /// Makes a batch durable and visible, then records it.
    async fn publish(&self, side: Side, batch: Batch, executed: &mut Executed) -> Result<()> {
        if batch.items.is_empty() {
            return Ok(());
        }
        let mut jobs = Vec::with_capacity(batch.items.len());
        let mut staged = Vec::with_capacity(batch.items.len());
        for (job, version, hash) in batch.items {
            let hash = version.hash.unwrap_or(hash);
            jobs.push((job, hash));
            staged.push(version);
        }
        let results = self.clients.get(side).publish(staged).await;
        let mut rows = Vec::with_capacity(jobs.len());
        let mut lines = Vec::with_capacity(jobs.len());
        for ((job, hash), result) in jobs.into_iter().zip(results) {
            match result {
                Ok(entry) => {
                    let seen = seen(side, &entry, &job.from);
                    let row = Agreed { size: entry.size, hash: Some(hash), seen };
                    rows.push((job.target.key, Some(BaseRow::Agreed(row))));
                    lines.push(job.line);
                }
                Err(error) => {
                    let action = job.line.as_ref().map_or("copy", |line| line.action);
                    self.take_error(&job.target.key, action, error, executed)?;
                }
            }
        }
        self.record(rows).await?;
        self.done_all(lines);
        Ok(())
    }
}
