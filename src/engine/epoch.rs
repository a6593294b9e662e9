//! How far each side has come: what its markers say of it, and the writing of new ones.
//!
//! A run that changes rows raises the pair's epoch twice: before its first effect, and after its last row. The state
//! records an epoch as *meant* before the markers are written and as *there* after. So whatever moment a side is put back
//! to, its highest marker is lower than what is known to have been there; and a run that was cut off is known by what was
//! meant and is not known to be there.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use md5::{Digest, Md5};

use super::past::Past;
use super::prepare::Prepared;
use super::{SyncEngine, SyncOptions, unreachable};
use crate::client::StorageClient;
use crate::code::NoticeCode;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::examine::Rollback;
use crate::guard::Notice;
use crate::marker::{self, Marker, MarkerText, Marks};
use crate::mode::{Side, Sides};
use crate::pair::SyncPair;
use crate::report::Recorder;
use crate::state::PairRecord;

/// How many pairs of a side are asked who they are. Ours: more than one bucket is synced with.
const MOST_PAIRS: usize = 64;

/// Returns the sides that a run of `pair` writes to. Only those carry markers.
pub(super) fn written(pair: &SyncPair) -> Sides<bool> {
    Sides::new(pair.allows_copy_to(Side::Source), pair.allows_copy_to(Side::Destination))
}

/// Reads the names of the markers on the `wanted` sides.
pub(super) async fn read_marks(prepared: &Prepared, wanted: Sides<bool>) -> Result<Sides<Marks>> {
    let mut marks = Sides::default();
    for side in Side::BOTH.into_iter().filter(|side| *wanted.get(*side)) {
        let names = prepared.listed.get(side).markers().await;
        let names = names
            .map_err(|error| unreachable(error, &format!("the markers of the {side} cannot be read")))?;
        *marks.get_mut(side) = Marks::new(names);
    }
    Ok(marks)
}

/// Returns which sides are taken to have gone back: by the record, or where the base is lost, by each other's markers. Tells
/// of a state that is older than the sides.
///
/// # Errors
/// A marker that could not be asked for.
pub(super) async fn rollback(
    (pair, options): (&SyncPair, &SyncOptions),
    record: Option<&PairRecord>,
    marks: &Sides<Marks>,
    prepared: &Prepared,
    recorder: &Recorder,
) -> Result<Rollback> {
    let mut rollback = Rollback { accepted: options.accept_rollback, ..Rollback::default() };
    if let Some(record) = record {
        let recovery = record.tail.recovery();
        rollback.on = went_back(record, marks, pair, prepared).await?;
        if recovery.is_unsure {
            let or = |side: Side| *rollback.on.get(side) || *recovery.sides.get(side);
            rollback.on = Sides::new(or(Side::Source), or(Side::Destination));
        }
        rollback.was_on = recovery.sides;
        rollback.voided = Arc::new(recovery.keys);
        if let Some(note) = state_is_older(record, marks) {
            recorder.emit(&Event::Noted(note));
        }
    } else if let Some(side) = marker::common(marks).and_then(|id| marker::older(marks, &id)) {
        // Without a base the markers are all there is to tell by.
        *rollback.on.get_mut(side) = *written(pair).get(side);
        rollback.is_total = rollback.is_any();
    }
    Ok(rollback)
}

/// Returns which of the sides that this run writes to went back in time, by their markers.
///
/// # Errors
/// A marker that could not be asked for.
async fn went_back(
    record: &PairRecord,
    marks: &Sides<Marks>,
    pair: &SyncPair,
    prepared: &Prepared,
) -> Result<Sides<bool>> {
    let there = record.tail.epochs().there;
    let mut back = Sides::new(false, false);
    for side in Side::BOTH.into_iter().filter(|side| *written(pair).get(*side)) {
        let known = *there.get(side);
        let shown = marks.get(side).highest(&record.pair_id).unwrap_or(0);
        if shown >= known {
            continue;
        }
        // A listing can be stale.
        let name = Marker::new(&record.pair_id, known).to_string();
        let found = prepared.listed.get(side).read_marker(&name).await;
        let found = found
            .map_err(|error| unreachable(error, &format!("the markers of the {side} cannot be read")))?;
        *back.get_mut(side) = found.is_none();
    }
    Ok(back)
}

/// Returns a note if a side has come further than the state knows of.
fn state_is_older(record: &PairRecord, marks: &Sides<Marks>) -> Option<Notice> {
    let known = record.tail.epochs().highest();
    let is_ahead = |side: &Side| marks.get(*side).highest(&record.pair_id).is_some_and(|epoch| epoch > known);
    let side = Side::BOTH.into_iter().find(is_ahead)?;
    let message = format!(
        "the {side} was synced since by a newer state than this one; what both sides had before still counts"
    );
    Some(Notice::new(NoticeCode::StateOlder, message, ""))
}

/// Who made a sync like this one last.
#[derive(Debug, Clone)]
pub(super) struct LastHere {
    pub(super) pair_id: String,
    pub(super) machine: String,
}

impl SyncEngine {
    /// Returns who has made this sync before from the same place in the same mode, by the markers of the receiving side: a
    /// machine without a state, as in CI, so meets what another one has made.
    pub(super) async fn last_here(
        &self,
        pair: &SyncPair,
        prepared: &Prepared,
        marks: &Sides<Marks>,
    ) -> Result<Option<LastHere>> {
        let Some(authority) = pair.mode.authority() else { return Ok(None) };
        let receiver = authority.other();
        let expected = self.marker_text(pair, prepared);
        let marks = marks.get(receiver);
        for pair_id in marks.pairs().into_iter().take(MOST_PAIRS) {
            let Some(epoch) = marks.highest(pair_id).filter(|epoch| *epoch > 0) else { continue };
            let name = Marker::new(pair_id, epoch).to_string();
            let text = prepared.listed.get(receiver).read_marker(&name).await;
            let text = text.map_err(|error| {
                unreachable(error, &format!("the markers of the {receiver} cannot be read"))
            })?;
            let found = text.and_then(|text| serde_json::from_str::<MarkerText>(&text).ok());
            if let Some(found) = found.filter(|found| found.is_like(&expected)) {
                return Ok(Some(LastHere { pair_id: pair_id.to_owned(), machine: found.machine }));
            }
        }
        Ok(None)
    }

    /// Records that the sides are about to carry a new epoch, writes its markers, and records that they are there. What
    /// cannot be written is a warning: the next run tries again. If the run `goes_on`, another epoch is meant already.
    pub(super) async fn raise_epoch(
        &self,
        past: &mut Past,
        pair: &SyncPair,
        prepared: &Prepared,
        recorder: &Recorder,
        goes_on: bool,
    ) -> Result<()> {
        let written = written(pair);
        let sides: Vec<Side> = Side::BOTH.into_iter().filter(|side| *written.get(*side)).collect();
        let epoch = past.epoch().saturating_add(1);
        let mut epochs = past.record.tail.epochs();
        for side in &sides {
            *epochs.meant.get_mut(*side) = epoch;
        }
        past.record.tail.set_epochs(epochs);
        past.state.commit(past.record.clone()).await?;
        let text = format!("{}\n", serde_json::json!(self.marker_text(pair, prepared)));
        let name = Marker::new(&past.record.pair_id, epoch).to_string();
        let writes = sides.iter().map(|side| prepared.clients.get(*side).put_marker(&name, &text));
        for (side, result) in sides.iter().zip(join_all(writes).await) {
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

    fn marker_text(&self, pair: &SyncPair, prepared: &Prepared) -> MarkerText {
        let authority = pair.mode.authority().map(|side| digest(prepared.clients.get(side).location()));
        MarkerText {
            schema: crate::report::SCHEMA,
            mode: pair.mode,
            pair: None,
            authority,
            machine: self.machine.clone(),
        }
    }
}

/// Returns a hash of a location, which tells where a side is to nobody who does not know it.
fn digest(location: &str) -> String {
    let digest: [u8; 16] = Md5::digest(location).into();
    format!("{:032x}", u128::from_be_bytes(digest))
}

/// Removes the markers of earlier epochs from the sides that carry the newest. Those that stay do no harm: a backup
/// deletes nothing in a store, where it needs no right to.
pub(super) async fn remove_old_markers(past: &Past, pair: &SyncPair, prepared: &Prepared) {
    let id = &past.record.pair_id;
    let there = past.record.tail.epochs().there;
    let mut removals = Vec::new();
    let may_remove = |side: &Side| {
        let client = prepared.clients.get(*side);
        *written(pair).get(*side) && (pair.mode.allows_delete(*side) || client.is_folder())
    };
    for side in Side::BOTH.into_iter().filter(may_remove) {
        let started = past.started.map(|epoch| Marker::new(id, epoch));
        let all: BTreeSet<Marker> = past.marks.get(side).of(id).cloned().chain(started).collect();
        let old = all.into_iter().filter(|marker| marker.epoch < *there.get(side));
        let client = prepared.clients.get(side).as_ref();
        removals.extend(old.map(|marker| remove(client, marker.to_string())));
    }
    join_all(removals).await;
}

async fn remove(client: &dyn StorageClient, name: String) {
    if let Err(error) = client.remove_marker(&name).await {
        tracing::debug!(error = error.chain(), name, "an old marker stays");
    }
}

impl Past {
    /// Returns the highest epoch that anybody knows of.
    fn epoch(&self) -> u64 {
        let shown =
            Side::BOTH.into_iter().filter_map(|side| self.marks.get(side).highest(&self.record.pair_id));
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
