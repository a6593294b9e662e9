//! When the clock is not believed.
//!
//! A clock can be years ahead or behind for one run. So what is old must be so by two clocks, this run's and that of the
//! one before; see `trash.rs`.

use super::past::{Jump, Past};
use super::prepare::Prepared;
use crate::code::NoticeCode;
use crate::entry::Timestamp;
use crate::event::Event;
use crate::notice::Notice;
use crate::report::Recorder;
use crate::side::Side;
use crate::state::PairRecord;

/// How far from a store's a clock may be, in seconds: a day, as time zones are mistaken for each other.
const SKEW_SECONDS: u64 = 24 * 3600;

/// Tells if the clock shows a time that cannot be: one before the last run, or far from what a store says.
pub(super) fn check(now: Timestamp, past: &mut Past, prepared: &Prepared, recorder: &Recorder) {
    let shown = now.compact();
    let last = past.record.last_sync_seconds.filter(|last| now.seconds < *last);
    let store = Side::BOTH.into_iter().find_map(|side| {
        let time = prepared.clients.get(side).time()?;
        (time.seconds.abs_diff(now.seconds) > SKEW_SECONDS).then_some((side, time))
    });
    let what = match (last, store) {
        (_, Some((side, time))) => format!("the store of the {side} says {}", time.compact()),
        (Some(last), None) => format!("the last run ended at {}", Timestamp::new(last, 0).compact()),
        (None, None) => return,
    };
    past.jump = Some(Jump { store: store.map(|(_, time)| time) });
    let message =
        format!("the clock of this machine shows {shown}, but {what}; no trash is removed for its age");
    let hint = "set the clock; times that files get until then are wrong too";
    recorder.emit(&Event::Warned(Notice::new(NoticeCode::ClockJumped, message, hint)));
}

impl Past {
    /// Returns by which moment what this run throws away is dated: whatever the clock shows, no run is before the one that was
    /// before it, nor before what two runs in a row have agreed on, nor, if it is the first one, before what a store says.
    pub(super) fn moment(&self, now: Timestamp) -> Timestamp {
        let known = self.record.last_sync_seconds.max(self.record.tail.agreed_time());
        let known = known.map(|known| Timestamp::new(known, 0)).or(self.jump.and_then(|jump| jump.store));
        known.map_or(now, |known| known.max(now))
    }
}

/// Remembers when a run ended.
pub(super) fn end(now: Timestamp, record: &mut PairRecord) {
    if let Some(last) = record.last_sync_seconds {
        record.tail.agree_on_time(last.min(now.seconds));
    }
    record.last_sync_seconds = Some(now.seconds);
}
