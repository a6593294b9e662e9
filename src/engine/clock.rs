//! What the clock says of how old the trash is, and when it is not believed.
//!
//! A clock can be years ahead or behind for one run. So what is old must be so by two clocks, this run's and that of the
//! one before; and a name that says that a run was before the pair began, or is yet to be, counts from when it was
//! first seen.

use super::SyncEngine;
use super::past::Past;
use super::prepare::Prepared;
use crate::client::Expiry;
use crate::code::NoticeCode;
use crate::entry::Timestamp;
use crate::event::Event;
use crate::guard::Notice;
use crate::mode::Side;
use crate::pair::SyncPair;
use crate::report::Recorder;
use crate::state::PairRecord;

/// How long replaced and deleted versions stay in the trash at least, in seconds: 30 days.
const TRASH_SECONDS: i64 = 30 * 24 * 3600;

/// How far from a store's a clock may be, in seconds: a day, as time zones are mistaken for each other.
const SKEW_SECONDS: u64 = 24 * 3600;

/// Tells if the clock shows a time that cannot be: one before the last run, or far from what a store says. Returns whether it
/// does.
pub(super) fn check(now: Timestamp, past: &Past, prepared: &Prepared, recorder: &Recorder) -> bool {
    let shown = now.compact();
    let last = past.record.last_sync_seconds.filter(|last| now.seconds < *last);
    let store = Side::BOTH.into_iter().find_map(|side| {
        let time = prepared.clients.get(side).time()?;
        (time.seconds.abs_diff(now.seconds) > SKEW_SECONDS).then_some((side, time))
    });
    let what = match (last, store) {
        (_, Some((side, time))) => format!("the store of the {side} says {}", time.compact()),
        (Some(last), None) => format!("the last run ended at {}", Timestamp::new(last, 0).compact()),
        (None, None) => return false,
    };
    let message =
        format!("the clock of this machine shows {shown}, but {what}; no trash is removed for its age");
    let hint = "set the clock; times that files get until then are wrong too";
    recorder.emit(&Event::Warned(Notice::new(NoticeCode::ClockJumped, message, hint)));
    true
}

/// Says when the pair began, if nobody has.
pub(super) fn begin(now: Timestamp, record: &mut PairRecord) {
    if record.tail.began().is_none() {
        record.tail.set_began(record.last_sync_seconds.unwrap_or(now.seconds));
    }
}

impl SyncEngine {
    /// Removes old trash on a side, and what is more than the user wants to keep. Failing to costs room, nothing else.
    pub(super) async fn purge(
        &self,
        side: Side,
        pair: &SyncPair,
        prepared: &Prepared,
        past: &mut Past,
        recorder: &Recorder,
    ) {
        let now = self.clock.now();
        let mut seen = past.record.tail.first_seen();
        let began = past.record.tail.began().unwrap_or(now.seconds);
        let expiry = Expiry {
            before: before(now, past),
            believed: Some((Timestamp::new(began, 0), now)),
            first_seen: seen.get(side).clone(),
            most_bytes: pair.trash_max,
            spared: past.trash_run(),
        };
        match prepared.clients.get(side).purge_trash(expiry).await {
            Ok(purged) => {
                let here = seen.get_mut(side);
                let first = |run: String| {
                    let at = here.get(&run).copied().unwrap_or(now.seconds);
                    (run, at)
                };
                // A clock that is not believed says nothing of when something was seen.
                if !past.clock_jumped {
                    *seen.get_mut(side) = purged.unbelieved.into_iter().map(first).collect();
                    past.record.tail.set_first_seen(&seen);
                }
                tell(purged.runs, side, pair, recorder);
            }
            Err(error) => {
                let message = format!("old trash stays at the {side}: {}", error.chain());
                recorder.emit(&Event::Warned(Notice::new(NoticeCode::OldTrash, message, String::new())));
            }
        }
    }
}

/// Returns from when on trash is kept: 30 days before now, and before the end of the last run. Without a last run, or if the
/// clock is not believed, from ever.
fn before(now: Timestamp, past: &Past) -> Timestamp {
    match past.record.last_sync_seconds.filter(|_| !past.clock_jumped) {
        Some(last) => Timestamp::new(now.seconds.min(last).saturating_sub(TRASH_SECONDS), 0),
        None => Timestamp::default(),
    }
}

fn tell(runs: u64, side: Side, pair: &SyncPair, recorder: &Recorder) {
    if runs > 0 {
        let why = if pair.trash_max.is_some() { ", or too much for --trash-max" } else { "" };
        let message = format!(
            "the trash of {runs} earlier runs at the {side} was removed for good: older than 30 days{why}"
        );
        recorder.emit(&Event::Noted(Notice::new(NoticeCode::TrashPurged, message, String::new())));
    }
}
