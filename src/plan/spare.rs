//! Files that a decision leaves as they are, for what they are: rules that are a side's own, what looks damaged, and what a store
//! did not keep.

use super::decide::{Base, Facts, Policy, Reason, Step, Verdict};
use crate::filter::IGNORE_FILE;
use crate::key::Key;
use crate::side::{Side, Sides};

/// Leaves rules alone that only the receiving side of a mirror has: they are its own.
pub(crate) fn keep_rules(key: &Key, verdict: Verdict, facts: Facts, policy: Policy) -> Verdict {
    match verdict.step {
        Step::Delete { on }
            if key.file_name() == IGNORE_FILE && policy.mode.is_mirror() && facts.base == Base::None =>
        {
            Verdict { step: Step::LeaveAlone, reason: Reason::NotTakenOver(on), conflict: false }
        }
        _ => verdict,
    }
}

/// What a store said it took and does not have nobody has deleted: it is sent once more, and then stays as it is until somebody
/// changes it.
pub(crate) fn keep_vanished(verdict: Verdict, on: Side, is_given_up: bool) -> Verdict {
    let step = match verdict.step {
        Step::Copy { to } if to == on && !is_given_up => verdict.step,
        Step::Copy { .. } | Step::Delete { .. } => Step::Suspect,
        _ => return verdict,
    };
    Verdict { step, reason: Reason::Vanished(on), conflict: false }
}

/// Keeps a damaged file from being carried over. A two-way sync repairs it from a version that was written since.
pub(crate) fn spare(verdict: Verdict, facts: Facts, damaged: Sides<bool>, policy: Policy) -> Verdict {
    let from = match verdict.step {
        Step::Copy { to } => to.other(),
        Step::KeepBoth { .. } | Step::Adopt | Step::Unresolved if damaged.destination => Side::Destination,
        Step::KeepBoth { .. } | Step::Adopt | Step::Unresolved => Side::Source,
        _ => return verdict,
    };
    let other = from.other();
    if !*damaged.get(from) {
        return verdict;
    }
    if facts.sight(other).is_edited() && !*damaged.get(other) && policy.mode.authority().is_none() {
        return Verdict { step: Step::Copy { to: from }, reason: Reason::Changed(other), conflict: false };
    }
    Verdict { step: Step::Suspect, reason: Reason::SuspectEmpty(from), conflict: false }
}
