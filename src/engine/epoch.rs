//! How far each side has come, by what its markers say of it.

use std::sync::Arc;

use super::prepare::Prepared;
use super::{SyncEngine, SyncOptions, unreachable};
use crate::code::NoticeCode;
use crate::error::Result;
use crate::event::Event;
use crate::fingerprint::md5_of;
use crate::marker::{self, CarriedRules, Marker, MarkerText, Marks};
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::plan::rollback::Rollback;
use crate::report::Recorder;
use crate::side::{Side, Sides};
use crate::state::PairRecord;

/// How many pairs of a side are asked who they are. Ours: more than one bucket is synced with.
const MOST_PAIRS: usize = 64;

/// Reads the names of the markers on the `wanted` sides.
pub(super) async fn read_marks(
    prepared: &Prepared,
    wanted: impl Iterator<Item = Side> + Send,
) -> Result<Sides<Marks>> {
    let mut marks = Sides::default();
    for side in wanted {
        let listed = prepared.listed.get(side).markers().await;
        let listed = listed
            .map_err(|error| unreachable(error, &format!("the markers of the {side} cannot be read")))?;
        *marks.get_mut(side) = Marks::new(listed);
    }
    Ok(marks)
}

/// Returns which sides are taken to have gone back: by the record, or where the base is lost, by each other's markers of
/// the pair that is `common` to them. Tells of a state that is older than the sides.
///
/// # Errors
/// A marker that could not be asked for.
pub(super) async fn rollback(
    (pair, options): (&SyncPair, &SyncOptions),
    (record, common, root_differs): (Option<&PairRecord>, Option<&str>, Sides<bool>),
    marks: &Sides<Marks>,
    prepared: &Prepared,
    recorder: &Recorder,
) -> Result<Rollback> {
    let mut rollback = Rollback { accepted: options.accept_rollback, ..Rollback::default() };
    if let Some(record) = record {
        let recovery = record.tail.recovery();
        rollback.on = went_back((record, root_differs), marks, pair, prepared).await?;
        rollback.exchanged = recovery.exchanged;
        // What the mode does not write is not judged.
        let was_on = |side: Side| *recovery.sides.get(side) && pair.allows_copy_to(side);
        rollback.was_on = Sides::new(was_on(Side::Source), was_on(Side::Destination));
        if recovery.is_unsure && (rollback.was_on.source || rollback.was_on.destination) {
            rollback.is_certain = true;
            let or = |side: Side| *rollback.on.get(side) || *rollback.was_on.get(side);
            rollback.on = Sides::new(or(Side::Source), or(Side::Destination));
        }
        rollback.is_open = record.tail.epochs().is_open();
        rollback.voided = Arc::new(recovery.keys);
        if let Some(note) = state_is_older(record, marks) {
            rollback.is_older = true;
            recorder.emit(&Event::Noted(note));
        }
    } else if let Some(side) = common.and_then(|id| marker::older(marks, id)) {
        // Without a base the markers are all there is to tell by.
        *rollback.on.get_mut(side) = pair.allows_copy_to(side);
        rollback.is_total = rollback.is_any();
    }
    Ok(rollback)
}

/// Returns the epoch of which a side is known to have carried the marker. Where none is known, as of an earlier release or
/// of a mode that does not write the side, a folder without a marker is another one if its root says so; and where its root
/// says so, one with the marker that was there before such a mode wrote the other side is behind that.
pub(super) fn known(record: &PairRecord, side: Side, root_differs: Sides<bool>) -> Option<u64> {
    let there = record.tail.epochs().there;
    if *root_differs.get(side) {
        return Some(there.source.max(there.destination));
    }
    Some(*there.get(side)).filter(|there| *there > 0)
}

/// Returns whether a side has a marker again that was removed from it: a backup was put back over it.
///
/// # Errors
/// A marker that could not be asked for.
async fn is_mixed(
    record: &PairRecord,
    side: Side,
    marks: &Sides<Marks>,
    prepared: &Prepared,
) -> Result<bool> {
    // Whatever runs that were cut off since have left is younger.
    let oldest = *record.tail.epochs().oldest.get(side);
    let old = marks.get(side).put_back(&record.pair_id).find(|marker| marker.epoch < oldest);
    let Some(old) = old else { return Ok(false) };
    // A listing can be stale.
    Ok(read(prepared, side, old).await?.is_some())
}

/// Returns which of the sides that this run writes to went back in time, by their markers.
///
/// # Errors
/// A marker that could not be asked for.
async fn went_back(
    (record, root_differs): (&PairRecord, Sides<bool>),
    marks: &Sides<Marks>,
    pair: &SyncPair,
    prepared: &Prepared,
) -> Result<Sides<bool>> {
    let mut back = Sides::new(false, false);
    for side in pair.written() {
        let is_unmarked = *record.tail.epochs().unmarked.get(side);
        if is_unmarked || is_mixed(record, side, marks, prepared).await? {
            *back.get_mut(side) = true;
            continue;
        }
        let Some(known) = known(record, side, root_differs) else { continue };
        let shown = marks.get(side).highest(&record.pair_id);
        if is_behind_the_other(record, side, marks) {
            *back.get_mut(side) = true;
            continue;
        }
        if *root_differs.get(side) && shown > Some(record.tail.epochs().highest()) {
            // A later state took this folder for the pair's; what this one remembers is about another.
            *back.get_mut(side) = true;
            continue;
        }
        if shown >= Some(known) {
            continue;
        }
        // A listing can be stale.
        let found = read(prepared, side, &Marker::new(&record.pair_id, known)).await?;
        *back.get_mut(side) = found.is_none();
    }
    Ok(back)
}

/// Returns whether a side and the other one have both come further than the state knows of, and this one less far: every run
/// leaves both at one epoch, so it was put back to a time between.
fn is_behind_the_other(record: &PairRecord, side: Side, marks: &Sides<Marks>) -> bool {
    let shown = |side: Side| marks.get(side).highest(&record.pair_id);
    shown(side) > Some(record.tail.epochs().highest()) && shown(side) < shown(side.other())
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
        let expected = self.marker_text(pair, prepared, Vec::new());
        let marks = marks.get(receiver);
        for pair_id in marks.pairs().into_iter().take(MOST_PAIRS) {
            let Some(epoch) = marks.highest(pair_id).filter(|epoch| *epoch > 0) else { continue };
            let found = read_text(prepared, receiver, &Marker::new(pair_id, epoch)).await?;
            if let Some(found) = found.filter(|found| found.is_like(&expected)) {
                return Ok(Some(LastHere { pair_id: pair_id.to_owned(), machine: found.machine }));
            }
        }
        Ok(None)
    }

    /// Returns whether this machine wrote the markers of a pair for the sides as they are given: if not, they may be those of
    /// what a side is a copy of.
    pub(super) async fn has_marked(
        &self,
        pair_id: &str,
        marks: &Sides<Marks>,
        prepared: &Prepared,
    ) -> Result<bool> {
        let expected = Some(places(&prepared.identities()));
        for side in Side::BOTH {
            let Some(epoch) = marks.get(side).highest(pair_id) else { continue };
            if let Some(text) = read_text(prepared, side, &Marker::new(pair_id, epoch)).await? {
                return Ok(text.places == expected && text.machine == self.machine);
            }
        }
        Ok(false)
    }

    /// Tells if the same two sides were synced since with another state directory of this machine.
    pub(super) async fn tell_of_other_state(
        &self,
        record: &PairRecord,
        marks: &Sides<Marks>,
        prepared: &Prepared,
        recorder: &Recorder,
    ) -> Result<()> {
        if self.is_synced_elsewhere(record, marks, prepared).await? {
            let message = "these two sides were synced since with another state directory; what one of the two deletes the \
                           other may bring back";
            let hint = "use one state directory for them, with --state-dir";
            recorder.emit(&Event::Warned(Notice::new(NoticeCode::OtherState, message, hint)));
        }
        Ok(())
    }

    /// Only markers in folders are read: a bucket is shared with other machines, and each read there is a request.
    async fn is_synced_elsewhere(
        &self,
        record: &PairRecord,
        marks: &Sides<Marks>,
        prepared: &Prepared,
    ) -> Result<bool> {
        let expected = Some(places(&prepared.identities()));
        let newest = |side: Side| marks.get(side).highest(&record.pair_id).unwrap_or(0);
        let known = newest(Side::Source).max(newest(Side::Destination)).max(record.tail.epochs().highest());
        for side in Side::BOTH.into_iter().filter(|side| prepared.listed.get(*side).is_folder()) {
            let marks = marks.get(side);
            for pair_id in marks.pairs().into_iter().filter(|id| *id != record.pair_id).take(MOST_PAIRS) {
                let Some(epoch) = marks.highest(pair_id).filter(|epoch| *epoch > known) else { continue };
                let found = read_text(prepared, side, &Marker::new(pair_id, epoch)).await?;
                let is_ours = |text: &MarkerText| text.places == expected && text.machine == self.machine;
                if found.as_ref().is_some_and(is_ours) && !self.all_states().knows(pair_id.to_owned()).await?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns what a marker of this run says.
    pub(super) fn marker_text(
        &self,
        pair: &SyncPair,
        prepared: &Prepared,
        rules: Vec<CarriedRules>,
    ) -> MarkerText {
        let authority = pair.mode.authority().map(|side| md5_of(prepared.clients.get(side).location()));
        MarkerText {
            schema: crate::report::SCHEMA,
            mode: pair.mode,
            pair: None,
            authority,
            machine: self.machine.clone(),
            places: Some(places(&prepared.identities())),
            rules,
        }
    }
}

/// Returns what runs of other pairs have done to the rules of a side, as far as its markers tell.
///
/// # Errors
/// A marker that could not be read.
pub(super) async fn carried_by_others(
    marks: &Marks,
    pair_id: &str,
    side: Side,
    prepared: &Prepared,
) -> Result<Vec<CarriedRules>> {
    let mut carried = Vec::new();
    for other in marks.pairs().into_iter().filter(|other| *other != pair_id).take(MOST_PAIRS) {
        let Some(epoch) = marks.highest(other) else { continue };
        let text = read_text(prepared, side, &Marker::new(other, epoch)).await?;
        carried.extend(text.into_iter().flat_map(|text| text.rules));
    }
    Ok(carried)
}

/// Returns what is in a marker, if it is there.
async fn read(prepared: &Prepared, side: Side, marker: &Marker) -> Result<Option<String>> {
    let text = prepared.listed.get(side).read_marker(&marker.to_string()).await;
    text.map_err(|error| unreachable(error, &format!("the markers of the {side} cannot be read")))
}

/// Returns what is in a marker, if it is there and can be understood.
async fn read_text(prepared: &Prepared, side: Side, marker: &Marker) -> Result<Option<MarkerText>> {
    let text = read(prepared, side, marker).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Returns what stands for where both sides are.
fn places(identities: &Sides<String>) -> String {
    md5_of(&format!("{}\0{}", identities.source, identities.destination))
}
