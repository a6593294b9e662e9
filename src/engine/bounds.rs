//! A run's beginning and end, as the record and the sides' markers keep them.
//!
//! A run that changes rows raises the pair's epoch twice: before its first effect, and after its last row. The state
//! records an epoch as *meant* before the markers are written and as *there* after. So whatever moment a side is put back
//! to, its highest marker is lower than what is known to have been there; and a run that was cut off is known by what was
//! meant and is not known to be there.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::past::Past;
use super::prepare::Prepared;
use super::{SyncEngine, SyncOptions, clock};
use crate::client::StorageClient;
use crate::code::NoticeCode;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::marker::Marker;
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::report::Recorder;
use crate::side::{Side, Sides};
use crate::state::{Epochs, FirstSync, Recovery};

/// What a run means for the epoch of its pair.
#[derive(Debug, Clone)]
pub(super) struct Raise {
    /// Whether it rises.
    pub(super) raises: bool,
    /// The paths at which a side that went back makes the base not count, until a run has settled them.
    pub(super) voided: Vec<String>,
    /// Whether there may be more of them.
    pub(super) is_unsure: bool,
}

/// Sees to it that no marker of a side which is not written counts any more if another folder is in its place: what the base
/// knows from now on is not about the one that carries the marker.
fn outdate(past: &mut Past, pair: &SyncPair) {
    let mut epochs = past.record.tail.epochs();
    let unwritten = Side::BOTH.into_iter().filter(|side| !pair.allows_copy_to(*side));
    for side in unwritten.filter(|side| *past.root_differs.get(*side)) {
        let there = *epochs.there.get(side);
        // One that never had a marker is known by that, too.
        if past.marks.get(side).highest(&past.record.pair_id) < Some(there) {
            let beyond = epochs.highest().saturating_add(1);
            (*epochs.there.get_mut(side), *epochs.meant.get_mut(side)) = (beyond, beyond);
        }
    }
    past.record.tail.set_epochs(epochs);
}

impl SyncEngine {
    /// Records that a run begins, before its first effect.
    pub(super) async fn begin(
        &self,
        past: &mut Past,
        (pair, options): (&SyncPair, &SyncOptions),
        prepared: &Prepared,
        Raise { raises, voided, is_unsure }: Raise,
        recorder: &Recorder,
    ) -> Result<()> {
        let tag = self.tag();
        past.tag = Some(tag);
        past.trash_run = Some(format!("{}-{tag:08x}", past.moment(self.clock.now()).compact()));
        past.record.run_tags.push(tag);
        if past.record.mode != pair.mode {
            past.record.mode = pair.mode;
        }
        if past.first_sync {
            let preference = options.initial_sync.or(pair.initial_sync).unwrap_or_default();
            past.record.first_sync = FirstSync::Begun(preference);
        }
        let parts = past.exchanged.source || past.exchanged.destination;
        if parts {
            self.part(past).await?;
        }
        outdate(past, pair);
        // A run that is cut off leaves a pair that knows its roots, too.
        past.record.roots = prepared.roots;
        let exchanged = past.rollback.exchanged;
        if !voided.is_empty() || is_unsure || exchanged.source || exchanged.destination {
            let mut recovery = past.record.tail.recovery();
            let or = |side: Side| *recovery.sides.get(side) || *past.rollback.on.get(side);
            recovery.sides = Sides::new(or(Side::Source), or(Side::Destination));
            recovery.keys.extend(voided);
            (recovery.is_unsure, recovery.exchanged) = (is_unsure, exchanged);
            past.record.tail.set_recovery(&recovery);
        }
        if !raises {
            return past.state.commit(past.record.clone()).await;
        }
        if !parts {
            return self.raise_epoch(past, pair, prepared, recorder, true).await;
        }
        // Until the markers of the new id are there nothing would tell if a side were put back.
        let known = past.record.tail.recovery();
        let sides = Sides::new(pair.allows_copy_to(Side::Source), pair.allows_copy_to(Side::Destination));
        past.record.tail.set_recovery(&Recovery { sides, is_unsure: true, ..known.clone() });
        self.raise_epoch(past, pair, prepared, recorder, true).await?;
        if !past.record.tail.epochs().is_known_on(pair.written()) {
            return Ok(());
        }
        past.record.tail.set_recovery(&known);
        past.state.commit(past.record.clone()).await
    }

    /// Gives the pair another id, since a folder is in the place of one that carries this id. What is remembered of that one
    /// waits for it.
    async fn part(&self, past: &mut Past) -> Result<()> {
        self.all_states().keep_waiting(past.state.as_ref(), past.lock.clone()).await?;
        past.record.pair_id = self.new_pair_id();
        past.record.tail.set_epochs(Epochs::default());
        Ok(())
    }

    /// Ends the epoch of a run that did not come to its end, if the sides can still be written to. Otherwise the next run
    /// does.
    pub(super) async fn break_off(
        &self,
        past: &mut Past,
        pair: &SyncPair,
        prepared: &Prepared,
        recorder: &Recorder,
    ) -> Result<()> {
        if past.started.is_none() {
            return past.state.flush().await;
        }
        self.raise_epoch(past, pair, prepared, recorder, false).await
    }

    fn tag(&self) -> u32 {
        u32::try_from(self.entropy.next_u64() >> 32).unwrap_or(0)
    }

    /// Records that the run is complete.
    pub(super) async fn end(
        &self,
        mut past: Past,
        pair: &SyncPair,
        prepared: &Prepared,
        swept: bool,
        recorder: &Recorder,
    ) -> Result<()> {
        let record = &mut past.record;
        record.mode = pair.mode;
        record.first_sync = FirstSync::Spent;
        record.roots = prepared.roots;
        if swept {
            // A temporary of this run may have resisted its removal: its tag stays until a run has looked.
            record.run_tags.retain(|tag| Some(*tag) == past.tag);
        }
        clock::end(self.clock.now(), record);
        let mut recovery = record.tail.recovery();
        let failed =
            recorder.with(|report| report.failures.iter().map(|f| f.path.clone()).collect::<BTreeSet<_>>());
        recovery.keys.retain(|key| failed.contains(key) || past.waiting.contains(key));
        if recovery.keys.is_empty() && (!recovery.is_unsure || failed.is_empty()) {
            recovery = Recovery::default();
        }
        record.tail.set_recovery(&recovery);
        if past.started.is_none() && !past.is_new {
            return past.state.commit(past.record.clone()).await;
        }
        self.raise_epoch(&mut past, pair, prepared, recorder, false).await?;
        let mut epochs = past.record.tail.epochs();
        epochs.unmarked = Sides::default();
        let alone = remove_old_markers(&past, pair, prepared).await;
        for side in Side::BOTH.into_iter().filter(|side| *alone.get(*side)) {
            *epochs.oldest.get_mut(side) = *epochs.there.get(side);
        }
        past.record.tail.set_epochs(epochs);
        past.state.commit(past.record.clone()).await
    }

    /// Records that the sides are about to carry a new epoch, writes its markers, and records that they are there. What
    /// cannot be written is a warning: the next run tries again. If the run `goes_on`, another epoch is meant already.
    async fn raise_epoch(
        &self,
        past: &mut Past,
        pair: &SyncPair,
        prepared: &Prepared,
        recorder: &Recorder,
        goes_on: bool,
    ) -> Result<()> {
        let sides: Vec<Side> = pair.written().collect();
        let epoch = past.epoch().saturating_add(1);
        let mut epochs = past.record.tail.epochs();
        for side in &sides {
            *epochs.meant.get_mut(*side) = epoch;
        }
        past.record.tail.set_epochs(epochs);
        past.state.commit(past.record.clone()).await?;
        let mut carried = past.record.tail.rules().carried;
        let mut text = |side: Side| {
            let text = self.marker_text(pair, prepared, std::mem::take(carried.get_mut(side)));
            format!("{}\n", serde_json::json!(text))
        };
        let texts: Vec<String> = sides.iter().map(|side| text(*side)).collect();
        let name = Marker::new(&past.record.pair_id, epoch).to_string();
        let written = sides.iter().zip(&texts);
        let writes = written.map(|(side, text)| prepared.clients.get(*side).put_marker(&name, text));
        for (side, result) in sides.iter().zip(join_all(writes).await) {
            // One that has the marker of the beginning is known by that.
            let was_unmarked = goes_on || *epochs.unmarked.get(*side);
            *epochs.unmarked.get_mut(*side) = was_unmarked && result.is_err();
            match result {
                Ok(()) => *epochs.there.get_mut(*side) = epoch,
                Err(error) => past.warn_of_marker(*side, &error, recorder),
            }
        }
        if goes_on {
            // The state stays open until the run has ended: whoever finds it so writes the markers once more.
            for side in &sides {
                *epochs.meant.get_mut(*side) = epoch.saturating_add(1);
            }
            past.started = Some(epoch);
        }
        past.record.tail.set_epochs(epochs);
        past.record.marked = epochs.there.source > 0 && epochs.there.destination > 0;
        past.state.commit(past.record.clone()).await
    }
}

/// Removes the markers of earlier epochs from the sides that carry the newest. Those that stay do no harm: a backup
/// deletes nothing in a store, where it needs no right to. Returns on which sides none is left.
async fn remove_old_markers(past: &Past, pair: &SyncPair, prepared: &Prepared) -> Sides<bool> {
    let id = &past.record.pair_id;
    let there = past.record.tail.epochs().there;
    let mut removals = Vec::new();
    let may_remove = |side: &Side| pair.mode.allows_delete(*side) || prepared.clients.get(*side).is_folder();
    for side in pair.written().filter(may_remove) {
        let started = past.started.map(|epoch| Marker::new(id, epoch));
        let all: BTreeSet<Marker> = past.marks.get(side).of(id).cloned().chain(started).collect();
        let old = all.into_iter().filter(|marker| marker.epoch < *there.get(side));
        let client = prepared.clients.get(side).as_ref();
        removals.push(remove(side, client, old.map(|marker| marker.to_string()).collect()));
    }
    let mut alone = Sides::new(false, false);
    for (side, is_alone) in join_all(removals).await {
        *alone.get_mut(side) = is_alone;
    }
    alone
}

/// Removes markers; returns whether all are gone.
async fn remove(side: Side, client: &dyn StorageClient, names: Vec<String>) -> (Side, bool) {
    let mut is_alone = true;
    for name in names {
        if let Err(error) = client.remove_marker(&name).await {
            tracing::debug!(error = error.chain(), name, "an old marker stays");
            is_alone = false;
        }
    }
    (side, is_alone)
}

impl Past {
    /// Returns the highest epoch that anybody knows of, of any pair of the sides: so whoever came last is the highest.
    fn epoch(&self) -> u64 {
        let shown = Side::BOTH.into_iter().map(|side| self.marks.get(side).latest());
        shown.max().unwrap_or(0).max(self.record.tail.epochs().highest())
    }

    /// Tells, once a run, that a marker could not be written.
    fn warn_of_marker(&mut self, side: Side, error: &Error, recorder: &Recorder) {
        if std::mem::replace(&mut self.warned_of_marker, true) {
            return;
        }
        let message =
            format!("the marker of this pair could not be written at the {side}: {}", error.chain());
        let hint = "without it nobody can tell when the side is put back to an earlier state";
        recorder.emit(&Event::Warned(Notice::new(NoticeCode::NoMarker, message, hint)));
    }
}
