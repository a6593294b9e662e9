//! In which order the actions of a plan are carried out.

use super::{Job, Transfer, blocked};
use crate::entry::Entry;
use crate::event::Line;
use crate::plan::{Action, Work};
use crate::side::{Side, Sides};
use crate::state::{Agreed, BaseRow, RowChange};
use crate::unplaced::Doubts;

/// A file to be deleted.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(super) on: Side,
    pub(crate) entry: Entry,
    /// See [`Work::Delete`].
    pub(super) copied_as: Option<Box<Entry>>,
    pub(super) line: Option<Line>,
}

/// A plan's actions by the phase they belong to.
#[derive(Debug, Default)]
pub(super) struct Phases {
    pub(super) first: Vec<Removal>,
    pub(super) renames: Vec<Action>,
    /// The old names of renames that were cut off.
    pub(super) halves: Vec<Removal>,
    pub(super) copies: Vec<Job>,
    pub(super) last: Vec<Removal>,
}

impl Phases {
    pub(super) fn sort(&mut self, action: Action, transfer: &Transfer<'_>, rows: &mut Vec<RowChange>) {
        let line = Line::of(&action);
        if action.work.is_blocked() {
            return transfer.recorder.fail(action.key.as_str(), "sync", &blocked(&action));
        }
        match action.work {
            Work::Copy(_) => self.copies.extend(transfer.job_of(action)),
            Work::Delete { on, entry, clears_way, copied_as } => {
                let phase = match copied_as {
                    Some(_) => &mut self.halves,
                    None if clears_way => &mut self.first,
                    None => &mut self.last,
                };
                phase.push(Removal { on, entry, copied_as, line });
            }
            Work::Rename { .. } | Work::KeepBoth { .. } => self.renames.push(action),
            Work::Adopt { versions, hash } => {
                let Sides { source, destination } = *versions;
                let size = source.size;
                // By their times alone files of two sizes can be equal, but a row has one size: on the
                // other side the next run would see an edit. Without a row they are compared again.
                if destination.size == size {
                    let seen = Sides::new(source.fingerprint, destination.fingerprint);
                    rows.push((action.key, Some(BaseRow::Agreed(Agreed::new(size, hash, seen)))));
                }
                transfer.done(line);
            }
            Work::Forget => rows.push((action.key, None)),
            Work::Entomb => {
                rows.push((action.key, Some(BaseRow::tombstone())));
                transfer.done(line);
            }
            Work::Unresolved | Work::LeaveAlone => transfer.done(line),
            // Told above.
            Work::Blocked | Work::Clash { .. } => {}
        }
    }
}

/// Returns what there are doubts about, and the rest.
pub(super) fn parted(removals: Vec<Removal>, doubts: &Doubts) -> (Vec<Removal>, Vec<Removal>) {
    removals.into_iter().partition(|removal| doubts.hold(removal.on, &removal.entry))
}
