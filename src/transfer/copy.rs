//! The copy pipeline: read, hash, stage - many at once - and publish in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{BoxFuture, ready};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::body::{Moved, Tap};
use super::{Executed, Job, Transfer, each, seen};
use crate::client::{Held, Staged, Target};
use crate::error::{ErrorKind, Result};
use crate::examine::listed_hashes;
use crate::fingerprint::{ContentHash, Fingerprint};
use crate::key::Key;
use crate::retry::{Schedule, retry};
use crate::side::{Side, Sides};
use crate::state::{Agreed, BaseRow, Intent};

/// Files made durable and visible together, at most. A kill or power cut costs the work of one batch.
const FILES_PER_BATCH: usize = 1000;

/// Bytes made durable and visible together, at most.
const BYTES_PER_BATCH: u64 = 256 * 1024 * 1024;

/// A staged copy, or why it could not be staged.
type Ready = (Job, Result<Copied>);

/// A staged copy.
#[derive(Debug)]
struct Copied {
    staged: Staged,
    /// Its content hash, where it is known.
    hash: Option<ContentHash>,
    /// Whether the store made the copy, without the bytes passing through here.
    within_store: bool,
}

#[derive(Debug, Default)]
struct Batch {
    items: Vec<(Job, Copied)>,
    bytes: u64,
}

impl Batch {
    fn add(&mut self, job: Job, copied: Copied) {
        self.bytes += copied.staged.size;
        self.items.push((job, copied));
    }

    /// A store shows each file at once: then nothing is gained by waiting for more before it is recorded.
    fn is_visible(&self) -> bool {
        self.items.first().is_some_and(|(_, copied)| matches!(copied.staged.held, Held::Published(_)))
    }
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
            let mut ready = self.announced(jobs).buffer_unordered(self.tuning.transfers.max(1));
            loop {
                let item = tokio::select! {
                    biased;
                    () = sender.closed() => return None,
                    item = ready.next() => item?,
                };
                if let Err(unsent) = sender.send(item).await {
                    return Some(unsent.0);
                }
            }
        };
        let mut batches = Sides::default();
        let (late, end) = futures::join!(stage, self.publish_all(receiver, &mut batches, executed));
        if let Some((job, Ok(copied))) = late {
            batches.get_mut(job.to).add(job, copied);
        }
        let rest = self.publish_rest(batches, executed).await;
        end.and(rest)
    }

    /// Returns what stages the copies. Those into a store, which shows each file as soon as it has it, are noted before they begin;
    /// a folder shows nothing before it is published.
    fn announced(&self, jobs: Vec<Job>) -> BoxStream<'_, BoxFuture<'_, Ready>> {
        let mut jobs = jobs.into_iter().peekable();
        let windows = std::iter::from_fn(move || {
            jobs.peek()?;
            Some(jobs.by_ref().take(FILES_PER_BATCH).collect::<Vec<Job>>())
        });
        let stages = futures::stream::iter(windows).then(async |jobs| {
            let visible = jobs.iter().filter(|job| !self.clients.get(job.to).is_folder());
            let noted = self.announce(visible.map(|job| intent(job, None, None)).collect()).await;
            let stages = jobs.into_iter().map(|job| match &noted {
                Ok(()) => self.stage(job).boxed(),
                Err(error) => ready((job, Err(error.again().ending_the_run()))).boxed(),
            });
            futures::stream::iter(stages.collect::<Vec<_>>())
        });
        stages.flatten().boxed()
    }

    /// Publishes what comes until it ends, or what ends the run; what came last is left in `batches`.
    async fn publish_all(
        &self,
        mut ready: mpsc::Receiver<Ready>,
        batches: &mut Sides<Batch>,
        executed: &mut Executed,
    ) -> Result<()> {
        let mut end = Ok(());
        while let Some((job, result)) = ready.recv().await {
            let so_far = match result {
                Ok(copied) => {
                    let side = job.to;
                    let batch = batches.get_mut(side);
                    batch.add(job, copied);
                    let full = batch.items.len() >= FILES_PER_BATCH || batch.bytes >= BYTES_PER_BATCH;
                    if full || (batch.is_visible() && ready.is_empty()) {
                        self.publish(side, std::mem::take(batch), executed).await
                    } else {
                        Ok(())
                    }
                }
                Err(error) => {
                    let action = job.line.as_ref().map_or("copy", |line| line.action.as_str());
                    self.take_error(&job.target.key, action, error, executed)
                }
            };
            let Err(error) = so_far else { continue };
            // A cancel reaches each file by itself, and what is staged by then still comes. All else would make the
            // others fail too, each with requests of its own.
            let is_cancel = error.kind() == ErrorKind::Cancelled;
            end = end.and(Err(error));
            if !is_cancel {
                break;
            }
        }
        ready.close();
        while let Some((job, result)) = ready.recv().await {
            if let Ok(copied) = result {
                batches.get_mut(job.to).add(job, copied);
            }
        }
        end
    }

    /// Publishes what is staged when the run ends, whatever ends it: in a store it is visible already. Without a state
    /// nobody would know of it, so it is discarded.
    async fn publish_rest(&self, batches: Sides<Batch>, executed: &mut Executed) -> Result<()> {
        let Sides { source, destination } = batches;
        let mut end = Ok(());
        for (side, batch) in [(Side::Source, source), (Side::Destination, destination)] {
            if self.progress.state_failed.load(Ordering::Relaxed) {
                for (_, copied) in batch.items {
                    self.clients.get(side).discard(copied.staged).await;
                }
            } else {
                end = end.and(self.publish(side, batch, executed).await);
            }
        }
        end
    }

    /// Reads and stages one version. A panic on the way fails this path only.
    async fn stage(&self, job: Job) -> Ready {
        let told = Arc::default();
        let attempt = || async {
            self.control.checkpoint().await?;
            self.check_room(&job)?;
            match self.copy_in_store(&job).await? {
                Some(copied) => Ok(copied),
                None => self.copy_through(&job, &told).await,
            }
        };
        let staged =
            retry(Schedule::default(), self.clock.as_ref(), self.entropy.as_ref(), self.control, attempt);
        let result = self.contain("copying", &job.target.key, staged).await;
        self.note_room(job.to, &result);
        (job, self.judged(result).await)
    }

    /// Lets the store copy, if both sides are in one that can.
    async fn copy_in_store(&self, job: &Job) -> Result<Option<Copied>> {
        let (reader, writer) = (self.clients.get(job.to.other()), self.clients.get(job.to));
        let (Some(from), Some(to)) = (reader.origin(&job.from.key), writer.origin(&job.target.key)) else {
            return Ok(None);
        };
        if from.store != to.store {
            return Ok(None);
        }
        let staged = writer.copy_from(from, &job.from, job.target.clone()).await?;
        let hash = listed_hashes(&job.from).first().filter(|hash| hash.parts.is_none()).copied();
        Ok(staged.map(|staged| Copied { staged, hash, within_store: true }))
    }

    /// Reads a version from one side and stages it on the other.
    async fn copy_through(&self, job: &Job, told: &Arc<AtomicU64>) -> Result<Copied> {
        let (reader, writer) = (self.clients.get(job.to.other()), self.clients.get(job.to));
        let resident = reader.resident_bytes(job.from.size) + writer.resident_bytes(job.from.size);
        let _permit = self.progress.memory.take(resident).await;
        let from = job.to.other();
        let mut body = reader.read(&job.from).await.map_err(|error| error.at(from))?;
        body.chunks = body.chunks.map_err(move |error| error.at(from)).boxed();
        let proof = match body.proof {
            None => self.remembered(job).await?,
            proof => proof,
        };
        let tap = Tap::new(proof, !writer.hashes_what_it_stages());
        let throttle = self.progress.throttle.as_ref();
        let body = tap.attach(body, self.control, throttle, self.clock, Moved::new(self.recorder, told));
        let staged = writer.stage(job.target.clone(), body).await?;
        let hash = staged.hash.or_else(|| tap.hash());
        Ok(Copied { staged, hash, within_store: false })
    }

    /// Returns the hash that the base remembers of the version that is copied.
    async fn remembered(&self, job: &Job) -> Result<Option<ContentHash>> {
        if !matches!(job.from.fingerprint, Fingerprint::Object(_)) {
            return Ok(None);
        }
        let Some(BaseRow::Agreed(row)) = self.state.get(&job.from.key).await? else { return Ok(None) };
        let is_same = row.size == job.from.size && *row.fingerprint(job.to.other()) == job.from.fingerprint;
        // One that is only what the listing shows proves nothing: it may look like a hash and be none.
        let is_listed =
            |hash: &ContentHash| hash.parts.is_none() && listed_hashes(&job.from).first() == Some(hash);
        Ok(row.hash.filter(|hash| is_same && !is_listed(hash)))
    }

    /// Makes a batch durable and visible, then records it.
    async fn publish(&self, side: Side, batch: Batch, executed: &mut Executed) -> Result<()> {
        let mut jobs = Vec::with_capacity(batch.items.len());
        let mut staged = Vec::with_capacity(batch.items.len());
        for (mut job, copied) in batch.items {
            if let Some(line) = job.line.as_mut().filter(|_| copied.within_store) {
                line.effects.pass_within_store();
            }
            jobs.push((job, copied.hash));
            staged.push(copied.staged);
        }
        let Some(first) = jobs.first().map(|(job, _)| job.target.key.clone()) else { return Ok(()) };
        let client = self.clients.get(side);
        if client.is_folder() {
            let noted = jobs.iter().zip(&staged);
            let intents = noted.map(|((job, hash), staged)| intent(job, *hash, staged.held.shown()));
            if let Err(error) = self.announce(intents.collect()).await {
                for staged in staged {
                    client.discard(staged).await;
                }
                return Err(error);
            }
        }
        let published = async { Ok(client.publish(staged).await) };
        let results = each(jobs.len(), self.contain("publishing", &first, published).await);
        let (mut rows, mut lines, mut end) = (Vec::new(), Vec::new(), Ok(()));
        for ((job, hash), result) in jobs.into_iter().zip(results) {
            self.note_room(side, &result);
            match result {
                Ok(entry) => {
                    let seen = seen(side, &entry, &job.from);
                    let row = Agreed::new(entry.size, hash, seen);
                    // The same bytes with another time look as they did before.
                    let replaces = job.target.replaces.filter(|old| old.fingerprint != entry.fingerprint);
                    self.note_written(side, entry, replaces);
                    rows.push((job.target.key, Some(BaseRow::Agreed(row))));
                    lines.push(job.line);
                }
                Err(error) if end.is_ok() => {
                    let action = job.line.as_ref().map_or("copy", |line| line.action.as_str());
                    end = self.take_error(&job.target.key, action, error, executed);
                }
                Err(_) => {}
            }
        }
        self.finish(rows, lines).await?;
        end
    }
}

/// Returns what a copy is about to do.
fn intent(job: &Job, hash: Option<ContentHash>, as_shown: Option<&Fingerprint>) -> (Key, Intent) {
    let Target { key, run_tag, .. } = &job.target;
    (key.clone(), Intent::copy(job.to, &job.from, hash, as_shown, *run_tag))
}
