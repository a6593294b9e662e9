//! Carries a plan out.
//!
//! In this order: what makes room for other files, renames and what is left of earlier ones, copies, and last the
//! deletions. Copies flow through a bounded pipeline (`buffer_unordered`): each is read, hashed and staged on its own,
//! staged ones are published in batches, and a batch's rows are recorded once it is durable and visible. Every effect
//! is conditional on the version the plan was made for; what changed meanwhile is handed back to be planned
//! again. Before any effect the mode's rights are checked once more, apart from the planner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::Mutex;

use crate::client::{Disposal, Target, Written};
use crate::clock::{Clock, Entropy};
use crate::code::FailureCode;
use crate::control::SyncController;
use crate::diff::Observed;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Line};
use crate::examine::{Clients, look_again};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::mode::SyncMode;
use crate::plan::{Action, Plan, Reason, Work};
use crate::report::Recorder;
use crate::retry::RETRY_BUDGET;
use crate::side::{Side, Sides};
use crate::state::{Intent, RowChange, StateStore};
use crate::unplaced::Doubts;

mod body;
mod copy;
mod memory;
mod phases;
mod receipt;
mod record;
mod rename;
mod respell;
#[cfg(test)]
mod tests;

use body::Throttle;
pub(crate) use memory::Memory;
pub(crate) use phases::Removal;
use phases::{Phases, parted};
pub(crate) use receipt::vanished;

/// Files in one batch of removals, as in one of S3's multi-object deletes.
const REMOVALS_PER_BATCH: usize = 1000;

/// How much a run may do at once, and for how long in vain.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Files under way at once.
    pub transfers: usize,
    /// Bytes held in memory at once.
    pub memory_bytes: u64,
    /// Bytes copied in a second, at most.
    pub bytes_per_second: Option<u64>,
    /// Requests to a store in flight at once, at most; `None` finds out how many are best.
    pub requests: Option<usize>,
    /// The size of the parts of large uploads in bytes; `None` follows from the size of the file.
    pub part_bytes: Option<u64>,
    /// Files above this many bytes go up in parts; `None` is 16 MiB.
    pub multipart_threshold: Option<u64>,
    /// How long the requests of one file to a store may fail before it is given up, with the waits between them; and how long a
    /// run waits for a store of which nothing succeeds. The bytes of a file are sent five times at most.
    pub retry_budget: Duration,
}

impl Default for Tuning {
    /// 16 files and 256 MiB. No source: enough to keep disk and processor busy on the machines tried.
    fn default() -> Self {
        Self {
            transfers: 16,
            memory_bytes: 256 * 1024 * 1024,
            bytes_per_second: None,
            requests: None,
            part_bytes: None,
            multipart_threshold: None,
            retry_budget: RETRY_BUDGET,
        }
    }
}

/// Files under way at once where a side is a store and nobody says how many: requests wait for the network,
/// not for a disk, and the store's client sends no more than are good for it.
const STORE_TRANSFERS: usize = 128;

/// What a run may do to each side, checked at the moment of doing it.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// The mode.
    pub mode: SyncMode,
    /// Whether files may be copied to each side.
    pub copy: Sides<bool>,
}

impl Rights {
    fn allow_copy(self, to: Side) -> Result<()> {
        if *self.copy.get(to) { Ok(()) } else { Err(self.forbidden("copying", to)) }
    }

    fn allow_delete(self, on: Side) -> Result<()> {
        if self.mode.allows_delete(on) { Ok(()) } else { Err(self.forbidden("deleting", on)) }
    }

    fn forbidden(self, what: &str, side: Side) -> Error {
        let message = format!("the plan asks for {what} at the {side}, which {} does not allow", self.mode);
        Error::new(ErrorKind::Internal, message).with_hint("nothing was done; please report this")
    }
}

/// Everything a plan is carried out with.
#[derive(Debug)]
pub struct Transfer<'a> {
    /// The two sides.
    pub clients: &'a Clients,
    /// Where finished work is recorded.
    pub state: &'a Arc<dyn StateStore>,
    /// What the mode allows.
    pub rights: Rights,
    /// What becomes of replaced and deleted versions.
    pub disposal: Disposal,
    /// Names this run in temporaries.
    pub run_tag: u32,
    /// How much at once.
    pub tuning: Tuning,
    /// Pauses and ends the run.
    pub control: &'a SyncController,
    /// Time.
    pub clock: &'a Arc<dyn Clock>,
    /// Randomness.
    pub entropy: &'a Arc<dyn Entropy>,
    /// Takes the events.
    pub(crate) recorder: &'a Recorder,
    progress: Progress,
}

/// What must be known across phases.
#[derive(Debug)]
struct Progress {
    unflushed: AtomicUsize,
    last_flush: Mutex<Duration>,
    failed: AtomicBool,
    /// Something could not be read.
    unread: AtomicBool,
    /// Something failed that should not be able to: a defect here, or of the system below.
    defect: AtomicBool,
    /// Nothing can be recorded any more.
    state_failed: AtomicBool,
    /// What was written to each side that is a store, and has not been looked for since.
    written: Sides<std::sync::Mutex<BTreeMap<Key, Written>>>,
    /// The sides that have no room left.
    full: Sides<AtomicBool>,
    memory: Memory,
    throttle: Option<Arc<Throttle>>,
}

/// What came of carrying out a plan.
#[derive(Debug, Default)]
pub struct Executed {
    /// Paths that were not what the plan was made for.
    pub moved: Vec<Key>,
    /// Deletions for the end of the run.
    pub(crate) deletions: Vec<Removal>,
    /// Deletions held back because something failed before.
    pub held_back: u64,
}

/// A copy on its way, and what to tell when it is done.
#[derive(Debug)]
struct Job {
    to: Side,
    from: Entry,
    target: Target,
    line: Option<Line>,
}

impl<'a> Transfer<'a> {
    /// Returns what carries out plans with these parts.
    #[expect(clippy::too_many_arguments, reason = "the parts are wired together in one place, the engine")]
    pub(crate) fn new(
        clients: &'a Clients,
        state: &'a Arc<dyn StateStore>,
        rights: Rights,
        disposal: Disposal,
        run_tag: u32,
        mut tuning: Tuning,
        control: &'a SyncController,
        ports: (&'a Arc<dyn Clock>, &'a Arc<dyn Entropy>),
        recorder: &'a Recorder,
    ) -> Self {
        if tuning.requests.is_none() && Side::BOTH.iter().any(|side| !clients.get(*side).is_folder()) {
            tuning.transfers = tuning.transfers.max(STORE_TRANSFERS);
        }
        let memory = Memory::new(tuning.memory_bytes);
        let throttle = tuning.bytes_per_second.map(|rate| Arc::new(Throttle::new(rate)));
        let progress = Progress {
            unflushed: AtomicUsize::new(0),
            last_flush: Mutex::new(ports.0.monotonic()),
            failed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            defect: AtomicBool::new(false),
            state_failed: AtomicBool::new(false),
            written: Sides::default(),
            full: Sides::default(),
            memory,
            throttle,
        };
        let (clock, entropy) = ports;
        Self {
            clients,
            state,
            rights,
            disposal,
            run_tag,
            tuning,
            control,
            clock,
            entropy,
            recorder,
            progress,
        }
    }

    /// Carries out `plan`, but for the deletions that make room for nothing: those come last. What there are `doubts` about
    /// does not make room either. `before_deleting` is awaited just before the first deletion and can forbid it.
    ///
    /// # Errors
    /// What stops a run altogether: the state cannot be written, a root is gone, credentials have expired, or
    /// [`ErrorKind::Cancelled`]. What was finished by then is recorded.
    pub async fn execute(
        &self,
        plan: Plan,
        doubts: &Doubts,
        before_deleting: BoxFuture<'_, Result<()>>,
    ) -> Result<Executed> {
        let mut executed = Executed::default();
        let mut phases = Phases::default();
        let mut rows = Vec::new();
        for action in plan.actions {
            phases.sort(action, self, &mut rows);
        }
        self.record(rows).await?;
        let (held, first) = parted(phases.first, doubts);
        executed.held_back += held.len() as u64;
        let mut in_the_way = self.remove(first, &mut executed).await?;
        in_the_way.extend(held.into_iter().map(|removal| removal.entry.key));
        let mut jobs = self.passable(phases.copies, &in_the_way);
        self.rename(phases.renames, &mut jobs, &mut executed).await?;
        if !phases.halves.is_empty() {
            self.flush().await?;
            before_deleting.await?;
            let stay = self.finish_renames(phases.halves, &mut jobs, &mut executed).await?;
            jobs = self.passable(jobs, &stay);
        }
        self.copy_all(jobs, &mut executed).await?;
        executed.deletions = phases.last;
        Ok(executed)
    }

    /// Deletes, last of all. A mirror that could not list or read everything (`unreadable`, or found on the way) deletes
    /// nothing, nor does any run in which something panicked or failed for no reason known: what it knows may be
    /// wrong too. What there are `doubts` about stays in every mode. `before_deleting` is awaited before and can forbid it.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub(crate) async fn delete(
        &self,
        deletions: Vec<Removal>,
        unreadable: bool,
        doubts: &Doubts,
        before_deleting: BoxFuture<'_, Result<()>>,
    ) -> Result<Executed> {
        let mut executed = Executed::default();
        self.flush().await?;
        if self.rights.mode.is_mirror() && (unreadable || self.progress.unread.load(Ordering::Relaxed)) {
            executed.held_back = deletions.len() as u64;
            return Ok(executed);
        }
        let (held, certain) = parted(deletions, doubts);
        executed.held_back += held.len() as u64;
        before_deleting.await?;
        self.remove(certain, &mut executed).await?;
        Ok(executed)
    }

    /// Ends renames that were cut off. As long as one is not ended, the version under its new name is not copied either:
    /// then nothing would tell any more that the two names belong together. Returns the old names that stay.
    async fn finish_renames(
        &self,
        halves: Vec<Removal>,
        jobs: &mut Vec<Job>,
        executed: &mut Executed,
    ) -> Result<Vec<Key>> {
        let new: Vec<_> = halves
            .iter()
            .filter_map(|half| Some((half.entry.key.clone(), half.copied_as.as_ref()?.key.clone())))
            .collect();
        let stay = self.remove(halves, executed).await?;
        for (old, new) in new.iter().filter(|(old, _)| stay.contains(old)) {
            jobs.retain(|job| job.target.key != *new);
            if executed.moved.contains(old) {
                executed.moved.push(new.clone());
            }
        }
        Ok(stay)
    }

    fn target(&self, key: Key, replaces: Option<Entry>) -> Target {
        Target { key, replaces, heir_of: None, disposal: self.disposal.clone(), run_tag: self.run_tag }
    }

    /// Notes whether `side` has no room left.
    fn note_room<T>(&self, side: Side, result: &Result<T>) {
        let is_full = result.as_ref().is_err_and(|error| error.code() == FailureCode::NoSpace);
        self.progress.full.get(side).fetch_or(is_full, Ordering::Relaxed);
    }

    /// Refuses to make a new file where there was no room for another one. What replaces a file is tried: it may be
    /// smaller.
    fn check_room(&self, job: &Job) -> Result<()> {
        let side = job.to;
        if job.target.replaces.is_some() || !self.progress.full.get(side).load(Ordering::Relaxed) {
            return Ok(());
        }
        let doing = format!("write `{}`: the {side} has no room left, so it was not tried", job.target.key);
        Err(Error::new(ErrorKind::NoSpace, doing)
            .with_hint("the first file that failed for want of room says what takes it"))
    }

    /// See [`judged`].
    async fn judged<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) => Err(judged(self.clients, error).await),
            done => done,
        }
    }

    /// Reports a failed path, or hands it back to be planned again if it only changed.
    fn take_error(&self, key: &Key, action: &str, error: Error, executed: &mut Executed) -> Result<()> {
        match error.kind() {
            _ if error.ends_the_run() => return Err(error),
            ErrorKind::Changed | ErrorKind::NotFound => executed.moved.push(key.clone()),
            kind => {
                self.progress.failed.store(true, Ordering::Relaxed);
                self.progress.unread.fetch_or(error.unread().is_some(), Ordering::Relaxed);
                self.progress.defect.fetch_or(kind == ErrorKind::Internal, Ordering::Relaxed);
                self.recorder.fail(key.as_str(), action, &error);
                if let Some(other) = error.other() {
                    self.recorder.fail(other, action, &error);
                }
            }
        }
        Ok(())
    }

    /// Awaits `work` on `name`. A panic in it is an error of its own, so that it fails nothing else.
    async fn contain<T>(&self, doing: &str, name: &Key, work: impl Future<Output = Result<T>>) -> Result<T> {
        std::panic::AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
            self.progress.defect.store(true, Ordering::Relaxed);
            let doing = format!("{doing} `{name}` ended in a defect of this program");
            Err(Error::new(ErrorKind::Internal, doing).with_hint("please report this"))
        })
    }

    fn done(&self, line: Option<Line>) {
        if let Some(line) = line {
            self.recorder.emit(&Event::Done(line));
        }
    }

    /// Records what has been done, and tells it. What ends a run does not keep anything from being recorded.
    async fn finish(&self, rows: Vec<RowChange>, lines: Vec<Option<Line>>) -> Result<()> {
        self.record(rows).await?;
        for line in lines {
            self.done(line);
        }
        Ok(())
    }

    /// Returns the copies that nothing blocks. A bucket would take in the others too, and then have a name that is
    /// a file and a folder.
    fn passable(&self, jobs: Vec<Job>, in_the_way: &[Key]) -> Vec<Job> {
        let is_free = |job: &Job| {
            let target = &job.target.key;
            let blocker =
                in_the_way.iter().find(|key| key.is_below(target.as_str()) || target.is_below(key.as_str()));
            let Some(blocker) = blocker else { return true };
            let message = format!("`{target}` cannot be made while `{blocker}` is in its place");
            let error = Error::new(ErrorKind::Changed, message).with_hint("run again");
            self.progress.failed.store(true, Ordering::Relaxed);
            self.recorder.fail(
                target.as_str(),
                job.line.as_ref().map_or("copy", |line| line.action.as_str()),
                &error,
            );
            false
        };
        jobs.into_iter().filter(is_free).collect()
    }

    /// Removes versions in batches, each only if the other side still does not have the path. Returns those that
    /// stay.
    async fn remove(&self, removals: Vec<Removal>, executed: &mut Executed) -> Result<Vec<Key>> {
        let mut stay = Vec::new();
        for side in Side::BOTH {
            let mut here: Vec<&Removal> = removals.iter().filter(|removal| removal.on == side).collect();
            while !here.is_empty() {
                self.control.checkpoint().await?;
                self.rights.allow_delete(side)?;
                let later = here.split_off(here.len().min(REMOVALS_PER_BATCH));
                let batch = std::mem::replace(&mut here, later);
                stay.extend(self.remove_batch(side, batch, executed).await?);
            }
        }
        Ok(stay)
    }

    /// Returns whether the other side still does not have the path, and what keeps its content is still there.
    async fn may_still_go(&self, removal: &Removal) -> Result<bool> {
        let Removal { on, entry, copied_as, .. } = removal;
        if !matches!(look_again(self.clients, on.other(), &entry.key).await?, Observed::Absent) {
            return Ok(false);
        }
        let Some(copy) = copied_as else { return Ok(true) };
        let found = look_again(self.clients, *on, &copy.key).await?;
        Ok(matches!(found, Observed::File(now) if now.fingerprint == copy.fingerprint))
    }

    async fn remove_batch<'b>(
        &self,
        side: Side,
        batch: Vec<&'b Removal>,
        executed: &mut Executed,
    ) -> Result<Vec<Key>> {
        // The futures are made at once: made one by one in a stream they could not be shown to be `Send`.
        let look = |removal: &'b Removal| {
            let found = self.contain("looking at", &removal.entry.key, self.may_still_go(removal));
            async { self.judged(found.await).await }.boxed()
        };
        let looks = batch.iter().map(|removal| look(removal));
        let found: Vec<Result<bool>> =
            futures::stream::iter(looks.collect::<Vec<_>>()).buffered(self.tuning.transfers).collect().await;
        let (mut certain, mut stay) = (Vec::new(), Vec::new());
        for (removal, found) in batch.into_iter().zip(found) {
            let key = &removal.entry.key;
            if matches!(found, Ok(true)) {
                certain.push(removal);
                continue;
            }
            stay.push(key.clone());
            match found {
                Err(error) if error.ends_the_run() || error.kind() == ErrorKind::Internal => {
                    self.take_error(key, "delete", error, executed)?;
                }
                _ => executed.moved.push(key.clone()),
            }
        }
        let Some(first) = certain.first().map(|removal| &removal.entry.key) else { return Ok(stay) };
        if self.progress.defect.load(Ordering::Relaxed) {
            executed.held_back += certain.len() as u64;
            stay.extend(certain.into_iter().map(|removal| removal.entry.key.clone()));
            return Ok(stay);
        }
        let going = certain
            .iter()
            .map(|removal| (removal.entry.key.clone(), Intent::delete(side, &removal.entry, self.run_tag)));
        self.announce(going.collect()).await?;
        let entries = certain.iter().map(|removal| removal.entry.clone()).collect();
        let removed = async { Ok(self.clients.get(side).remove(entries, &self.disposal).await) };
        let results = each(certain.len(), self.contain("deleting", first, removed).await);
        let (mut rows, mut lines, mut end) = (Vec::new(), Vec::new(), Ok(()));
        for (removal, result) in certain.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    rows.push((removal.entry.key.clone(), self.receipt_of(side, &removal.entry)));
                    lines.push(removal.line.clone());
                }
                Err(error) => {
                    stay.push(removal.entry.key.clone());
                    if end.is_ok() {
                        let error = judged(self.clients, error).await;
                        end = self.take_error(&removal.entry.key, "delete", error, executed);
                    }
                }
            }
        }
        self.finish(rows, lines).await?;
        end.map(|()| stay)
    }

    fn job(&self, to: Side, from: Entry, replaces: Option<Entry>, reason: Reason) -> Option<Job> {
        let key = from.key.clone();
        let copy = crate::plan::Copy { to, from, replaces, over_stranger: false };
        let action = Action { key, work: Work::Copy(copy), reason, conflict: false };
        self.job_of(action)
    }

    fn job_of(&self, action: Action) -> Option<Job> {
        let line = Line::of(&action);
        let Work::Copy(copy) = action.work else { return None };
        let target = self.target(action.key, copy.replaces);
        Some(Job { to: copy.to, from: copy.from, target, line })
    }
}

/// Returns how both sides show a version, `entry` on `side` and `counterpart` on the other.
fn seen(side: Side, entry: &Entry, counterpart: &Entry) -> Sides<Fingerprint> {
    let mut seen = Sides::new(counterpart.fingerprint.clone(), counterpart.fingerprint.clone());
    *seen.get_mut(side) = entry.fingerprint.clone();
    seen
}

/// Returns the results of a batch, or the reason why there are none once for each of its members.
fn each<T>(count: usize, results: Result<Vec<Result<T>>>) -> Vec<Result<T>> {
    results.unwrap_or_else(|error| (0..count).map(|_| Err(error.again())).collect())
}

/// Returns the error for a path that no sync can do anything about as things are.
pub(crate) fn blocked(action: &Action) -> Error {
    if matches!(action.reason, Reason::Vanished(_)) {
        return vanished(&action.key);
    }
    let hint = "rename one of them; nothing of that name was touched";
    let (message, code) = match &action.work {
        Work::Clash { name, with } => {
            (format!("`{name}` and `{with}`: {}", action.reason), FailureCode::NameClash)
        }
        _ if matches!(action.reason, Reason::SuspectEmpty(_)) => {
            let message = format!("`{}` is {}", action.key, action.reason);
            return Error::new(ErrorKind::Invalid, message)
                .with_code(FailureCode::SuspectEmpty)
                .with_hint("a crash of the machine leaves files so; put the content back, or `touch` the file if it is meant to be empty");
        }
        _ => (action.reason.to_string(), FailureCode::NameCollision),
    };
    Error::new(ErrorKind::Invalid, message).with_code(code).with_hint(hint)
}

/// Returns `error`, or if a store cannot be reached at all the error that ends the run: each of the other paths would
/// be tried in vain. To be awaited where requests under way go on meanwhile, for it waits for its turn among them.
pub(crate) async fn judged(clients: &Clients, error: Error) -> Error {
    if error.kind() != ErrorKind::Unavailable || error.is_shortage() {
        return error;
    }
    for side in Side::BOTH {
        let client = clients.get(side);
        if client.is_folder() {
            continue;
        }
        if let Err(error) = client.root().await
            && error.kind() == ErrorKind::Unavailable
        {
            let doing = format!("the {side} `{}` cannot be reached any more", client.location());
            let hint = "what is finished stays; run again when it answers";
            return Error::new(ErrorKind::Unavailable, doing)
                .with_source(error)
                .with_hint(hint)
                .ending_the_run();
        }
    }
    error
}
