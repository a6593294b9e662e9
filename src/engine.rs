//! `SyncEngine`: wires list -> diff -> plan -> guard -> transfer -> state -> report.
//!
//! The engine decides nothing itself. It opens the state, looks at both trees, asks the planner and the
//! guards, and only then lets the transfer touch anything. It sees the world through ports (clients, state,
//! clock, randomness), so that all of it can run in a simulation.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::code::NoticeCode;
use crate::control::SyncController;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Observer, PlannedAction, Silent};
use crate::mode::{AcceptRollback, InitialSyncPreference};
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::report::{ErrorLine, Outcome, Recorder, Report};
use crate::state::{Found, Single, StateDir, StateStore, States};
use crate::transfer::Tuning;

mod bounds;
mod carry_out;
pub mod check;
mod clock;
mod epoch;
mod ground;
pub mod moving;
#[cfg(not(feature = "s3"))]
mod no_stores;
mod open;
mod order;
mod past;
mod prepare;
pub mod remembered;
mod rules;
mod run;
mod spelling;
pub mod status;
#[cfg(feature = "s3")]
mod stores;
mod tell;
mod trash;
mod which;

#[cfg(not(feature = "s3"))]
use no_stores as stores;

/// Keeps pairs of trees in agreement.
///
/// ```no_run
/// use syncengine::{InitialSyncPreference, SyncEngine, SyncMode, SyncOptions, SyncPair};
///
/// # async fn example() -> syncengine::Result<()> {
/// let engine = SyncEngine::new("/home/user/.local/state/syncengine");
/// let pair = SyncPair::new("/home/user/documents", "/backup/documents").mode(SyncMode::TwoWay);
/// let report = engine.sync_pair(&pair, SyncOptions::new()).await?;
/// println!("{} uploaded, {} downloaded", report.stats().uploads, report.stats().downloads);
///
/// // Restoring a vault: the destination decides.
/// let options = SyncOptions::new().initial_sync_preference(InitialSyncPreference::DestinationWins);
/// engine.sync_pair(&pair, options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SyncEngine {
    state_dir: PathBuf,
    scratch_dir: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// The states, if they are not those in the state directory.
    states: Option<Arc<dyn States>>,
    servers: Arc<stores::Servers>,
    /// What this machine is called.
    machine: String,
}

/// What one run is to do, apart from the pair's policy.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Plan only; nothing is written anywhere.
    pub dry_run: bool,
    /// Make a missing receiving folder or bucket.
    pub create: bool,
    /// Overrides the pair's first-sync preference.
    pub initial_sync: Option<InitialSyncPreference>,
    /// Passes the deletion guard.
    pub allow_mass_delete: bool,
    /// Passes the empty-side guard.
    pub allow_empty_side: bool,
    /// Passes the guard of first meetings.
    pub allow_unseen: bool,
    /// Passes the root guard.
    pub accept_root: bool,
    /// Lets files be synced that rules which are gone have excluded.
    pub accept_rules: bool,
    /// Passes the guard against files that became empty.
    pub allow_mass_empty: bool,
    /// Passes the guard against sides that went back to an earlier state, and says what becomes of them.
    pub accept_rollback: Option<AcceptRollback>,
    /// Refuse what a store cannot guard by a condition, path by path, instead of looking just before it is done.
    pub strict: bool,
    /// The plan that was reviewed: if the run's own plan differs in any action it is refused.
    pub expected: Option<Arc<[PlannedAction]>>,
    /// How much at once.
    pub tuning: Tuning,
    /// Receives the events.
    pub observer: Arc<dyn Observer>,
    /// Pauses and cancels the run.
    pub controller: SyncController,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SyncOptions {
    /// Returns the options of an ordinary run.
    pub fn new() -> Self {
        Self {
            dry_run: false,
            create: false,
            initial_sync: None,
            allow_mass_delete: false,
            allow_empty_side: false,
            allow_unseen: false,
            accept_root: false,
            accept_rules: false,
            allow_mass_empty: false,
            accept_rollback: None,
            strict: false,
            expected: None,
            tuning: Tuning::default(),
            observer: Arc::new(Silent),
            controller: SyncController::new(),
        }
    }

    /// Sets whether only to plan.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets whether to make a missing receiving folder or bucket.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets what a first two-way sync does with one-sided files. Without effect after the first sync.
    pub fn initial_sync_preference(mut self, preference: InitialSyncPreference) -> Self {
        self.initial_sync = Some(preference);
        self
    }

    /// Refuses the run, with code `plan-changed`, unless its plan is this one.
    pub fn expecting(mut self, plan: impl Into<Arc<[PlannedAction]>>) -> Self {
        self.expected = Some(plan.into());
        self
    }

    /// Sets who receives the events.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Sets who pauses and cancels the run.
    pub fn controller(mut self, controller: SyncController) -> Self {
        self.controller = controller;
        self
    }
}

impl SyncEngine {
    /// Returns where the states of pairs are.
    fn all_states(&self) -> Arc<dyn States> {
        self.states.clone().unwrap_or_else(|| {
            Arc::new(StateDir {
                dir: self.state_dir.clone(),
                scratch: self.scratch_dir.clone(),
                clock: Arc::clone(&self.clock),
                entropy: Arc::clone(&self.entropy),
            })
        })
    }
}

impl SyncOptions {
    /// Returns these options for something that only looks.
    fn looking(&self) -> Self {
        Self { dry_run: true, create: false, ..self.clone() }
    }
}

impl SyncEngine {
    /// Returns an engine that keeps its bases in `state_dir`, which is made when it is first needed.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            scratch_dir: std::env::temp_dir(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            states: None,
            servers: Arc::default(),
            machine: crate::lock::machine(),
        }
    }

    /// Sets where dry runs copy a base to, so that they leave the state directory alone. Default: the
    /// system's folder for temporary files.
    pub fn scratch_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.scratch_dir = dir.into();
        self
    }

    /// Replaces clock and randomness.
    pub fn ports(mut self, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        self.clock = clock;
        self.entropy = entropy;
        self
    }

    /// Replaces the state on disk by `store`, of which `found` says what it is. Every run of this engine
    /// then uses it, whatever the pair; nothing locks it.
    pub fn state(self, store: Arc<dyn StateStore>, found: Found) -> Self {
        self.states(Arc::new(Single::new(store, found)))
    }

    /// Replaces all states on disk.
    pub fn states(mut self, states: Arc<dyn States>) -> Self {
        self.states = Some(states);
        self
    }

    /// Brings the two sides of `pair` into agreement, once.
    ///
    /// A run that a guard or a lock refused, that left conflicts or failed paths, or that was cancelled,
    /// is not an error: its report says so ([`Report::outcome`]).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] and [`ErrorKind::NotFound`] for a pair that cannot work as given,
    /// [`ErrorKind::Unsupported`] for a location this build knows nothing of; other kinds if a side could not
    /// be reached or listed or the state could not be read or written.
    ///
    /// # Cancellation
    /// Through the options' [`SyncController`]. Dropping the future instead leaves what a kill of the
    /// process would leave: temporaries, which the next run removes.
    pub async fn sync_pair(&self, pair: &SyncPair, options: SyncOptions) -> Result<Report> {
        let (report, result) = self.run(pair, options).await;
        result.map(|()| report)
    }

    /// As [`Self::sync_pair`], with a report even for a run that failed.
    pub async fn run(&self, pair: &SyncPair, options: SyncOptions) -> (Report, Result<()>) {
        let started = self.clock.monotonic();
        let empty = Report::new(pair.source.clone(), pair.destination.clone(), pair.mode, options.dry_run);
        let recorder = Recorder::new(empty, Arc::clone(&options.observer));
        let result = self.run_recorded(pair, &options, &recorder).await;
        self.retire().await;
        let result = match result {
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                recorder.with(|report| report.outcome = Outcome::Cancelled);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Locked => {
                let hint = error.hint().unwrap_or_default().to_owned();
                let notice = Notice::new(NoticeCode::Locked, error.chain(), hint);
                recorder.emit(&crate::event::Event::Refused(notice));
                Ok(())
            }
            Err(error) => {
                recorder.with(|report| {
                    report.outcome = Outcome::Failed;
                    report.error = Some(ErrorLine::of(&error));
                });
                Err(error)
            }
            Ok(()) => Ok(()),
        };
        let report = recorder.with(|report| {
            report.finish();
            report.elapsed_seconds = self.clock.monotonic().saturating_sub(started).as_secs_f64();
            report.clone()
        });
        (report, result)
    }
}

/// Returns `error` as a side that could not be reached or listed, whatever kind it is of.
fn unreachable(error: Error, what: &str) -> Error {
    if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Corrupt) {
        return error;
    }
    let hint = error.hint().unwrap_or("nothing was changed; run again when it can be read").to_owned();
    Error::new(ErrorKind::Unavailable, what).with_source(error).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if whoever runs a sync may do so on any thread of a runtime.
    #[test]
    fn a_run_can_be_spawned() {
        fn spawnable(future: impl Future + Send) {
            drop(future);
        }
        let (engine, pair, options) = (SyncEngine::new("state"), SyncPair::new("a", "b"), SyncOptions::new());
        spawnable(engine.sync_pair(&pair, options.clone()));
        spawnable(engine.check(&pair, false, &options));
        spawnable(engine.status(&pair, &options));
        spawnable(engine.state_of(&pair, &options));
    }
}
