//! What is decided where a side was put back to an earlier state.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Strayed;
use super::decide::{Base, Facts, Policy, Reason, Sight, Step, Verdict, decide};
use crate::key::Key;
use crate::mode::{AcceptRollback, ConflictStrategy};
use crate::side::{Side, Sides};

/// Sides that were put back to an earlier state. Where one of them differs from the base the base proves nothing: what
/// the side lacks nobody deleted, and what it has instead nobody wrote since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollback {
    /// Which sides.
    pub on: Sides<bool>,
    /// Sides on which another folder is in the place of the one that the base knows: there the time and number of a file prove
    /// nothing.
    pub exchanged: Sides<bool>,
    /// Whether the base was lost, so that every path that differs is in doubt.
    pub is_total: bool,
    /// Whether the last run was cut off: what it did is not all in the base, and what the other side then lacks may be
    /// its work.
    pub is_open: bool,
    /// Whether the sides were synced since by a newer state.
    pub is_older: bool,
    /// Whether an earlier run has seen that a side went back, and could not look at everything.
    pub is_certain: bool,
    /// Sides that had gone back before an earlier run, and the paths which that run has not settled: the base has no rows of
    /// them any more.
    pub was_on: Sides<bool>,
    /// See `was_on`.
    pub voided: Arc<BTreeSet<String>>,
    /// What the user said about it.
    pub accepted: Option<AcceptRollback>,
}

impl Rollback {
    /// Returns whether a side went back.
    pub fn is_any(&self) -> bool {
        self.on.source || self.on.destination
    }

    /// Returns whether what the base does not know of a side may be what a run with a newer state did there.
    pub(crate) fn may_have_followed(&self, sight: Sight) -> bool {
        self.is_older && matches!(sight, Sight::Absent | Sight::Changed)
    }

    /// Returns whether another folder is in the place of one that the base knows.
    pub fn has_exchanged(&self) -> bool {
        self.exchanged.source || self.exchanged.destination
    }

    /// Returns the side that went back and differs from the base in what `sides` show, and how.
    pub(crate) fn strays(&self, key: &Key, base: Base, sights: Sides<Sight>) -> Option<(Side, Strayed)> {
        let present = |side: Side| sights.get(side).is_present();
        if base == Base::Tombstone || !Side::BOTH.into_iter().any(present) {
            return None;
        }
        if self.voided.contains(key.as_str()) {
            // A kill may have left its row where it was.
            let is_void = |side: &Side| {
                base == Base::None || matches!(sights.get(*side), Sight::Changed | Sight::Absent)
            };
            let side = Side::BOTH.into_iter().filter(|side| *self.was_on.get(*side)).find(is_void);
            if let Some(side) = side {
                return Some((side, Strayed::FromRow));
            }
        }
        Side::BOTH.into_iter().filter(|side| *self.on.get(*side)).find_map(|side| {
            let beyond = *sights.get(side.other());
            match (base, *sights.get(side)) {
                (Base::Agreed, Sight::Changed | Sight::Absent) => Some((side, Strayed::FromRow)),
                (Base::Agreed, _) if self.is_open && matches!(beyond, Sight::Changed | Sight::Absent) => {
                    Some((side, Strayed::FromRow))
                }
                (Base::None, Sight::New) => Some((side, Strayed::WithoutRow)),
                (Base::None, Sight::Absent) if self.is_total => Some((side, Strayed::WithoutRow)),
                _ => None,
            }
        })
    }

    /// Returns the choices that hold at such a path.
    fn policy(&self, policy: Policy) -> Policy {
        if let Some(winner) = self.accepted.and_then(AcceptRollback::winner) {
            return Policy { first_sync_winner: Some(winner), ..policy };
        }
        let conflict = match policy.conflict {
            ConflictStrategy::Manual => ConflictStrategy::Manual,
            _ => ConflictStrategy::KeepBoth,
        };
        Policy { conflict, first_sync_winner: None, ..policy }
    }

    /// Decides at a path at which `side` strays: nothing is deleted for want of what the side no longer has, and nothing
    /// overwritten by what it has again.
    pub(crate) fn decide(&self, side: Side, facts: Facts, policy: Policy) -> Verdict {
        let verdict = decide(facts, self.policy(policy));
        let winner = self.accepted.and_then(AcceptRollback::winner);
        let has_winner = winner.is_some();
        match (verdict.step, winner) {
            // In a backup the side that decides would win, whatever the user says.
            (Step::Copy { to }, Some(winner))
                if to == winner
                    && !policy.mode.is_mirror()
                    && facts.sight(to).is_present()
                    && policy.mode.allows_copy_to(winner.other(), policy.pull) =>
            {
                Verdict {
                    step: Step::Copy { to: winner.other() },
                    reason: Reason::WentBack(side),
                    conflict: true,
                }
            }
            // The side that decides in a backup is the one that went back.
            (Step::Copy { to }, _)
                if !has_winner
                    && !policy.mode.is_mirror()
                    && to == side.other()
                    && facts.sight(to).is_present()
                    && policy.mode.authority() == Some(side) =>
            {
                Verdict {
                    step: Step::KeepBoth { winner: to },
                    reason: Reason::WentBack(side),
                    conflict: true,
                }
            }
            (Step::Copy { .. }, _) if !verdict.conflict => {
                Verdict { reason: Reason::WentBack(side), ..verdict }
            }
            _ => verdict,
        }
    }
}
