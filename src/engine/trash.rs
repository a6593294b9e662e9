//! What a run says before it puts anything into the trash, and what it removes from there for good.
//!
//! Nothing goes but what a manifest lists. What is old must be so by two clocks, this run's and that of the one before, or a
//! store's; and a name that says that a run was before the pair began, or is yet to be, counts from when it was first seen.

use super::SyncEngine;
use super::past::Past;
use super::prepare::Prepared;
use crate::code::NoticeCode;
use crate::entry::{Entry, Timestamp};
use crate::error::Error;
use crate::event::Event;
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::plan::Plan;
use crate::report::Recorder;
use crate::side::Side;
use crate::trash::{Expiry, KEEP_SECONDS, Kept, manifests};

/// No run of this program was earlier: 2026-01-01.
const FIRST_RUNS: Timestamp = Timestamp { seconds: 1_767_225_600, nanoseconds: 0 };

impl SyncEngine {
    /// Writes down what carrying out a plan will put into the trash. `number` is that of the next manifest. What cannot be
    /// written down stays in the trash for ever, which loses nothing.
    pub(super) async fn announce(
        &self,
        plan: &Plan,
        (pair, past, prepared): (&SyncPair, &Past, &Prepared),
        number: &mut u32,
        recorder: &Recorder,
    ) {
        let Some(run) = past.trash_run().filter(|_| pair.trash) else { return };
        for side in Side::BOTH {
            let gone = plan.actions.iter().filter_map(|action| action.work.discarded_on(side));
            let kept: Vec<Kept> = gone.map(|entry: &Entry| Kept::new(entry)).collect();
            if kept.is_empty() {
                continue;
            }
            let of = (past.record.pair_id.as_str(), past.started.unwrap_or_default(), run.as_str());
            let parts = manifests(of, (past.moment(self.clock.now()), keep(pair)), (*number, kept));
            *number += u32::try_from(parts.len()).unwrap_or(u32::MAX);
            if let Err(error) = prepared.clients.get(side).announce_trash(parts).await {
                let message = format!(
                    "what this run puts into the trash of the {side} will not be removed when it is old: {}",
                    error.chain()
                );
                recorder.emit(&Event::Warned(Notice::new(NoticeCode::OldTrash, message, hint(&error))));
            }
        }
    }

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
        // Without a past every run that can have been is believed.
        let began = past.record.tail.began().filter(|_| !past.is_new);
        let first = began.map_or(FIRST_RUNS.min(now), |began| Timestamp::new(began, 0));
        let client = prepared.clients.get(side);
        let expiry = Expiry {
            now,
            until: until(now, past, client.time()),
            keep: keep(pair),
            believed: Some((first, now)),
            first_seen: seen.get(side).clone(),
            most_bytes: pair.trash_max,
            spared: past.trash_run(),
            pair_id: past.record.pair_id.clone(),
        };
        match client.purge_trash(expiry).await {
            Ok(purged) => {
                let here = seen.get_mut(side);
                let first = |run: String| {
                    let at = here.get(&run).copied().unwrap_or(now.seconds);
                    (run, at)
                };
                // A clock that is not believed says nothing of when something was seen.
                if past.jump.is_none() {
                    *seen.get_mut(side) = purged.unbelieved.into_iter().map(first).collect();
                    past.record.tail.set_first_seen(&seen);
                }
                tell(purged.runs, side, pair, recorder);
            }
            Err(error) => {
                let message = format!("old trash stays at the {side}: {}", error.chain());
                recorder.emit(&Event::Warned(Notice::new(NoticeCode::OldTrash, message, hint(&error))));
            }
        }
    }
}

fn keep(pair: &SyncPair) -> i64 {
    pair.trash_keep.map_or(KEEP_SECONDS, |keep| i64::try_from(keep).unwrap_or(i64::MAX))
}

fn hint(error: &Error) -> String {
    error.hint().unwrap_or_default().to_owned()
}

/// Returns the moment by the earlier of two clocks: that of this run, and the one of the end of the last run, or of a store.
fn until(now: Timestamp, past: &Past, store: Option<Timestamp>) -> Option<Timestamp> {
    if past.jump.is_some() {
        return Some(Timestamp::default());
    }
    let last = past.record.last_sync_seconds.map(|last| Timestamp::new(last, 0));
    last.or(store).map(|other| other.min(now))
}

fn tell(runs: u64, side: Side, pair: &SyncPair, recorder: &Recorder) {
    if runs == 0 {
        return;
    }
    let why = if pair.trash_max.is_some() { ", or too much for --trash-max" } else { "" };
    let runs = if runs == 1 { "1 earlier run".into() } else { format!("{runs} earlier runs") };
    let message =
        format!("the trash of {runs} at the {side} was removed for good: older than it is kept{why}");
    recorder.emit(&Event::Noted(Notice::new(NoticeCode::TrashPurged, message, String::new())));
}
