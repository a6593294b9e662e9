//! `Report`: what a run did, as a fold over its events.
//!
//! The fields are the JSON document of the command line; keys may be added, never renamed. In a dry run
//! all numbers are what would be done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::client::SkipReason;
use crate::code::ActionCode;
use crate::event::{Event, Failure, Line, Observer};
use crate::location::StoreOptions;
use crate::mode::SyncMode;
use crate::notice::Notice;
use crate::side::Sides;
use crate::telemetry::{Conditions, Requests};

/// The version of the document.
pub const SCHEMA: u32 = 1;

/// How many paths a warning about skipped files names.
const NAMED_PATHS: usize = 10;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything is in agreement.
    Synced,
    /// A dry run, or a plan that was only asked for.
    Planned,
    /// Some paths failed, or conflicts wait for the user.
    Partial,
    /// A guard, or a lock held by another run: nothing was changed.
    Refused,
    /// The run could not be done at all.
    Failed,
    /// The caller cancelled; what was finished by then is done.
    Cancelled,
}

/// How many paths met which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Equal without work, those taken into the base included.
    pub unchanged: u64,
    /// Copied to the destination.
    pub uploaded: u64,
    /// Copied to the source.
    pub downloaded: u64,
    /// Renamed at the source.
    pub renamed_source: u64,
    /// Renamed at the destination.
    pub renamed_destination: u64,
    /// Deleted at the source.
    pub deleted_source: u64,
    /// Deleted at the destination.
    pub deleted_destination: u64,
    /// Conflicts met, the settled ones included.
    pub conflicts: u64,
    /// Conflicts left to the user.
    pub unresolved: u64,
    /// Not synced by policy: links, special files, empty folders.
    pub skipped: u64,
    /// Differences that the mode does not touch.
    pub left_alone: u64,
    /// Could not be synced or judged.
    pub failed: u64,
}

impl Counts {
    /// Returns how often a file was copied, renamed or deleted.
    pub fn changes(&self) -> u64 {
        let copied = self.uploaded + self.downloaded;
        let renamed = self.renamed_source + self.renamed_destination;
        copied + renamed + self.deleted_source + self.deleted_destination
    }
}

/// How many bytes went where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// To the destination.
    pub uploaded: u64,
    /// To the source.
    pub downloaded: u64,
    /// Within one side, without passing through this program.
    pub copied_server_side: u64,
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of this document.
    pub schema: u32,
    /// How the run ended.
    pub outcome: Outcome,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Where the source is.
    pub source: String,
    /// Where the destination is.
    pub destination: String,
    /// The mode.
    pub mode: SyncMode,
    /// Whether no base and no trace of one was found.
    pub first_sync: bool,
    /// How many paths met which end.
    pub counts: Counts,
    /// How many bytes went where.
    pub bytes: Bytes,
    /// How many requests were sent.
    pub requests: Requests,
    /// How long the run took, in seconds.
    pub elapsed_seconds: f64,
    /// The most memory the process used, in bytes; 0 if nobody measured.
    pub peak_memory_bytes: u64,
    /// Which conditions were in force.
    pub conditions: Conditions,
    /// Why nothing was changed.
    pub refused_by: Vec<Notice>,
    /// What the user should know.
    pub warnings: Vec<Notice>,
    /// What the user may like to know.
    pub notes: Vec<Notice>,
    /// Why the run could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorLine>,
    /// The paths that could not be synced.
    pub failures: Vec<Failure>,
    /// The whole plan in a dry run; conflicts, deletions and renames otherwise.
    pub actions: Vec<Line>,
    /// How the stores were reached, for whoever wants to reach the same ones again.
    #[serde(skip)]
    pub stores: Sides<Option<StoreOptions>>,
    #[serde(skip)]
    skipped: BTreeMap<SkipReason, Vec<String>>,
    #[serde(skip)]
    skipped_counts: BTreeMap<SkipReason, u64>,
}

/// The numbers of a run under the names of the reference page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Files copied to the destination.
    pub uploads: u64,
    /// Files copied to the source.
    pub downloads: u64,
    /// Files deleted at the source.
    pub deletes_source: u64,
    /// Files deleted at the destination.
    pub deletes_destination: u64,
    /// Files renamed at the source.
    pub renames_source: u64,
    /// Files renamed at the destination.
    pub renames_destination: u64,
    /// Files that needed no work or are not synced.
    pub skips: u64,
    /// Conflicts met.
    pub conflicts: u64,
    /// Files that failed.
    pub errors: u64,
}

impl Report {
    /// Returns the report of a run that has not begun.
    pub fn new(source: String, destination: String, mode: SyncMode, dry_run: bool) -> Self {
        Self {
            schema: SCHEMA,
            outcome: if dry_run { Outcome::Planned } else { Outcome::Synced },
            dry_run,
            source,
            destination,
            mode,
            first_sync: false,
            counts: Counts::default(),
            bytes: Bytes::default(),
            requests: Requests::default(),
            elapsed_seconds: 0.0,
            peak_memory_bytes: 0,
            conditions: Conditions::default(),
            refused_by: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            error: None,
            failures: Vec::new(),
            actions: Vec::new(),
            stores: Sides::default(),
            skipped: BTreeMap::new(),
            skipped_counts: BTreeMap::new(),
        }
    }

    /// Takes one event into account.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Listed { .. } | Event::Planned { .. } | Event::Moved { .. } => {}
            Event::Compared { unchanged, first_sync } => {
                self.counts.unchanged += unchanged;
                self.first_sync = *first_sync;
            }
            Event::Skipped { path, why, .. } => self.skip(path.to_string(), *why),
            Event::Done(line) => self.count(line),
            Event::Failed(failure) => {
                self.counts.failed += 1;
                self.failures.push(failure.clone());
            }
            Event::Warned(notice) => self.warnings.push(notice.clone()),
            Event::Noted(notice) => self.notes.push(notice.clone()),
            Event::Refused(notice) => self.refused_by.push(notice.clone()),
        }
    }

    fn skip(&mut self, path: String, why: SkipReason) {
        self.counts.skipped += 1;
        *self.skipped_counts.entry(why).or_default() += 1;
        let named = self.skipped.entry(why).or_default();
        if named.len() < NAMED_PATHS {
            named.push(path);
        }
    }

    fn count(&mut self, line: &Line) {
        let counts = &mut self.counts;
        match line.action {
            ActionCode::Adopt => counts.unchanged += 1,
            ActionCode::Skip => counts.left_alone += 1,
            ActionCode::DeleteSource => counts.deleted_source += 1,
            ActionCode::DeleteDestination => counts.deleted_destination += 1,
            ActionCode::RenameSource => counts.renamed_source += 1,
            ActionCode::RenameDestination => counts.renamed_destination += 1,
            _ => {}
        }
        let effects = line.effects;
        counts.uploaded += effects.uploaded.0;
        counts.downloaded += effects.downloaded.0;
        counts.conflicts += u64::from(line.conflict);
        counts.unresolved += u64::from(effects.unresolved);
        self.bytes.uploaded += effects.uploaded.1;
        self.bytes.downloaded += effects.downloaded.1;
        self.bytes.copied_server_side += effects.copied_within;
        let worth_telling = line.conflict
            || !matches!(
                line.action,
                ActionCode::Upload | ActionCode::Download | ActionCode::Adopt | ActionCode::Skip
            );
        if self.dry_run || worth_telling {
            self.actions.push(line.clone());
        }
    }

    /// Ends the report: adds what is told once at the end and derives the outcome.
    pub fn finish(&mut self) {
        for (why, count) in &self.skipped_counts {
            let (code, words) = why.describe();
            let paths = self.skipped.get(why).cloned().unwrap_or_default();
            let more = count.saturating_sub(paths.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("{words}: {count} skipped ({}{more})", paths.join(", "));
            self.warnings.push(Notice::new(code, message, String::new()));
        }
        self.skipped_counts.clear();
        if matches!(self.outcome, Outcome::Failed | Outcome::Cancelled) {
            return;
        }
        self.outcome = if !self.refused_by.is_empty() {
            Outcome::Refused
        } else if self.dry_run {
            Outcome::Planned
        } else if self.counts.failed > 0 || self.counts.unresolved > 0 {
            Outcome::Partial
        } else {
            Outcome::Synced
        };
    }

    /// Returns the numbers under the names of the reference page.
    pub fn stats(&self) -> SyncStats {
        let counts = self.counts;
        SyncStats {
            uploads: counts.uploaded,
            downloads: counts.downloaded,
            deletes_source: counts.deleted_source,
            deletes_destination: counts.deleted_destination,
            renames_source: counts.renamed_source,
            renames_destination: counts.renamed_destination,
            skips: counts.unchanged + counts.skipped + counts.left_alone,
            conflicts: counts.conflicts,
            errors: counts.failed,
        }
    }

    /// Returns whether both sides agree now: nothing failed, nothing waits, nothing was refused.
    pub fn is_success(&self) -> bool {
        matches!(self.outcome, Outcome::Synced | Outcome::Planned)
    }
}

/// Folds the events of a run into its report and passes them on to the observer.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    report: Arc<Mutex<Report>>,
    observer: Arc<dyn Observer>,
}

impl Recorder {
    pub(crate) fn new(report: Report, observer: Arc<dyn Observer>) -> Self {
        Self { report: Arc::new(Mutex::new(report)), observer }
    }

    pub(crate) fn emit(&self, event: &Event) {
        self.with(|report| report.apply(event));
        self.observer.observe(event);
    }

    pub(crate) fn fail(&self, path: impl Into<String>, action: &str, error: &crate::Error) {
        self.emit(&Event::Failed(Failure::new(path, action, error)));
    }

    /// Returns what `look` sees in the report.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Report) -> T) -> T {
        // A panic while the lock was held left a count at worst one short; the report is still true.
        look(&mut self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// Why a run could not be done, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorLine {
    /// What went wrong, with its causes.
    pub message: String,
    /// What the user can do next.
    pub hint: String,
}

impl ErrorLine {
    /// Returns the line for `error`.
    pub fn of(error: &crate::Error) -> Self {
        Self { message: error.chain(), hint: error.hint().unwrap_or_default().into() }
    }
}

#[cfg(test)]
mod tests;
