//! `status`: what changed on each side since the last sync. Changes nothing.

use serde::Serialize;

use super::run::{examiner, judge, limits, look, view};
use super::{SyncEngine, SyncOptions, rules};
use crate::error::Result;
use crate::key::Key;
use crate::mode::SyncMode;
use crate::pair::SyncPair;
use crate::plan::{Base, Item, Sight, Work};
use crate::report::{ErrorLine, Recorder, Report};
use crate::side::{Side, Sides};
use crate::state::Access;
use crate::transfer::blocked;

/// What changed since the last sync.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The version of this document.
    pub schema: u32,
    /// Where the source is.
    pub source: String,
    /// Where the destination is.
    pub destination: String,
    /// The mode.
    pub mode: SyncMode,
    /// Whether the pair was never synced.
    pub first_sync: bool,
    /// Seconds since 1970 of the end of the last complete run.
    pub last_sync_seconds: Option<i64>,
    /// What happened on each side.
    pub changes: Sides<SideChanges>,
    /// Conflicts that wait for the user.
    pub conflicts: Vec<Key>,
    /// How many paths a sync would work on.
    pub pending: u64,
    /// How many paths are unchanged.
    pub unchanged: u64,
    /// Paths that could not be judged.
    pub failures: Vec<crate::event::Failure>,
    /// What the user should know, refusals of the guards included.
    pub warnings: Vec<crate::notice::Notice>,
    /// Why the status could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorLine>,
}

/// What happened on one side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SideChanges {
    /// Files that were not there.
    pub added: Vec<Key>,
    /// Files with other content.
    pub changed: Vec<Key>,
    /// Files that are gone.
    pub deleted: Vec<Key>,
}

impl SyncEngine {
    /// Tells what changed on each side of `pair` since its last sync, and what a sync would have to do.
    ///
    /// # Errors
    /// As [`Self::sync_pair`], and [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    pub async fn status(&self, pair: &SyncPair, options: &SyncOptions) -> Result<StatusReport> {
        let result = Box::pin(self.tell_status(pair, options)).await;
        self.retire().await;
        result
    }

    async fn tell_status(&self, pair: &SyncPair, options: &SyncOptions) -> Result<StatusReport> {
        let mut prepared = self.prepare(pair, &options.looking()).await?;
        let turned;
        let pair = if self.is_known_turned_round(&prepared).await? {
            turned = pair.turned_round();
            prepared = self.prepare(&turned, &options.looking()).await?;
            &turned
        } else {
            pair
        };
        let locations = prepared.locations();
        let empty = Report::new(locations.source.clone(), locations.destination.clone(), pair.mode, true);
        let recorder = Recorder::new(empty, std::sync::Arc::clone(&options.observer));
        let past = self.recall(pair, options, &prepared, Access::ReadOnly, &recorder).await?;
        past.warn_clients(&prepared);
        let examiner = examiner(pair, &prepared, &past);
        let mut found = look(&examiner, &prepared, &past, options, &recorder).await?;
        rules::tell(&found, &recorder);
        let mut changes = Sides::new(SideChanges::default(), SideChanges::default());
        for side in Side::BOTH {
            let keeps = pair.mode.authority() == Some(side.other());
            found.items.iter().for_each(|item| changes.get_mut(side).see(item, side, keeps));
        }
        let (view, limits) = (view(pair, options, &past, &found), limits(pair, options));
        let (plan, judgement) = judge(pair, &prepared, &past, &mut found, (&view, &limits)).await?;
        let works = |work: &Work| {
            matches!(work, Work::Copy(_) | Work::Delete { .. } | Work::Rename { .. } | Work::KeepBoth { .. })
        };
        let same = |work: &Work| matches!(work, Work::Adopt { .. });
        let conflicts = plan.actions.iter().filter(|action| matches!(action.work, Work::Unresolved));
        // What a sync would fail.
        for action in plan.actions.iter().filter(|action| action.work.is_blocked()) {
            recorder.fail(action.key.as_str(), "sync", &blocked(action));
        }
        Ok(StatusReport {
            schema: crate::report::SCHEMA,
            source: locations.source,
            destination: locations.destination,
            mode: pair.mode,
            first_sync: past.first_sync,
            last_sync_seconds: past.record.last_sync_seconds,
            conflicts: conflicts.map(|action| action.key.clone()).collect(),
            pending: plan.actions.iter().filter(|action| works(&action.work)).count() as u64,
            changes,
            unchanged: found.unchanged
                + plan.actions.iter().filter(|action| same(&action.work)).count() as u64,
            failures: recorder.with(|report| report.failures.clone()),
            warnings: recorder.with(|report| {
                let told = report.warnings.iter().cloned();
                told.chain(judgement.refusals).chain(judgement.warnings).collect()
            }),
            error: None,
        })
    }
}

impl SideChanges {
    /// Notes what happened to `item` on `side`, which in a backup `keeps` what was deleted on the other.
    fn see(&mut self, item: &Item, side: Side, keeps: bool) {
        let list = match item.facts.sight(side) {
            Sight::New if keeps && item.facts.base == Base::Tombstone => return,
            Sight::New => &mut self.added,
            Sight::Changed => &mut self.changed,
            Sight::Absent if item.facts.base == Base::Agreed => &mut self.deleted,
            _ => return,
        };
        list.push(item.key.clone());
    }

    /// Returns whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.deleted.is_empty()
    }
}
