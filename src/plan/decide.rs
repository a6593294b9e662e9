//! The decision for one path: a pure table of what each side did, the mode and the user's choices.
//!
//! Nothing here knows keys, files or time. [`decide`] sees a path as [`Facts`] and answers with a
//! [`Verdict`]; `docs/SEMANTICS.md` shows the same table in words. Whatever the mode: nothing is decided from
//! something unknown, equal content is adopted without a transfer, and a deletion needs either a base
//! or a side with authority.

use std::fmt;

use crate::mode::{ConflictStrategy, SyncMode};
use crate::side::{Side, Sides};

/// What the base knows of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Base {
    /// Nothing: the path was never synced.
    None,
    /// Both sides once had the same content here.
    Agreed,
    /// A deletion that a backup mode did not carry over.
    Tombstone,
}

/// What one side shows, against the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sight {
    /// The version of the base.
    Same,
    /// The content of the base with another stat.
    Touched,
    /// Other content than the base's.
    Changed,
    /// A file, where the base knows none.
    New,
    /// No file.
    Absent,
    /// Nobody could tell.
    Unknown,
}

impl Sight {
    /// Returns whether there is a file.
    pub fn is_present(self) -> bool {
        matches!(self, Self::Same | Self::Touched | Self::Changed | Self::New)
    }

    /// Returns whether there is a version that the base does not know.
    pub fn is_edited(self) -> bool {
        matches!(self, Self::Changed | Self::New)
    }
}

/// All that a decision depends on, apart from the user's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// What the base knows.
    pub base: Base,
    /// What each side shows.
    pub source: Sight,
    /// See `source`.
    pub destination: Sight,
    /// Whether the two versions are the same. Looked at only when both sides are edited.
    pub equal: bool,
    /// The side with the later version, `None` for a tie or unusable times. Looked at only in a conflict.
    pub newer: Option<Side>,
}

impl Facts {
    /// Returns what `side` shows.
    pub fn sight(&self, side: Side) -> Sight {
        *Sides::new(self.source, self.destination).get(side)
    }
}

/// The user's choices, as far as one path is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The mode.
    pub mode: SyncMode,
    /// Whether a source backup fetches what was added or changed at the destination.
    pub pull: bool,
    /// The conflict strategy of a two-way pair.
    pub conflict: ConflictStrategy,
    /// The side that wins a proven first sync of a two-way pair, if the user named one.
    pub first_sync_winner: Option<Side>,
}

/// What to do with one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing: the sides agree, or nobody can tell.
    Nothing,
    /// Remember both sides as they are; their content is the same.
    Adopt,
    /// Forget the path; both sides have lost it.
    Forget,
    /// Remember that the side with authority deleted it.
    Entomb,
    /// Copy the other side's version to this side.
    Copy {
        /// The receiving side.
        to: Side,
    },
    /// Delete the version on this side.
    Delete {
        /// The losing side.
        on: Side,
    },
    /// Keep both versions on both sides, the loser under a conflict name.
    KeepBoth {
        /// The side whose version keeps the name.
        winner: Side,
    },
    /// Leave both versions; the user must decide.
    Unresolved,
    /// Leave a difference that this mode does not touch.
    LeaveAlone,
    /// Leave both as they are: what would be carried over looks damaged, or the other side did not keep it.
    Suspect,
}

/// A decision and why it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What to do.
    pub step: Step,
    /// Why.
    pub reason: Reason,
    /// Whether two versions met of which neither side had seen the other's.
    pub conflict: bool,
}

/// Why a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing happened on either side.
    Unchanged,
    /// A side could not be judged.
    Unknown,
    /// A stat changed, the content did not.
    Touched,
    /// Both sides have the same content.
    EqualContent,
    /// Both sides deleted it.
    GoneOnBoth,
    /// It appeared on this side.
    Added(Side),
    /// It changed on this side.
    Changed(Side),
    /// It was deleted on this side.
    Deleted(Side),
    /// It is missing on this side, and the other one has authority.
    Restored(Side),
    /// This side has authority and does not have it.
    NotOnAuthority(Side),
    /// It changed on the other side, and this side has authority.
    Reverted(Side),
    /// It changed on both sides, and this side has authority.
    AuthorityWins(Side),
    /// The first sync gives this side authority.
    FirstSync(Side),
    /// It was edited on this side and deleted on the other: the edit survives.
    EditSurvives(Side),
    /// A conflict, settled by the strategy in favour of this side.
    Strategy(ConflictStrategy, Side),
    /// A conflict that the strategy leaves to the user.
    Manual,
    /// A conflict between versions of the same time, or without usable times.
    Tie,
    /// A backup mode does not carry deletions over.
    BackupKeeps(Side),
    /// The mode does not take over what this side did.
    NotTakenOver(Side),
    /// The file was renamed on this side.
    Renamed(Side),
    /// A file stands where the other side has a folder, and both changed.
    FileAgainstFolder,
    /// A file and a folder of the same name stand on the same side.
    NameCollision(Side),
    /// This side takes two names for one.
    NameClash(Side),
    /// The file already has as many conflict copies as allowed.
    TooManyCopies,
    /// The name that the loser of a conflict is to get is that of another file.
    CopyNameTaken,
    /// This side was put back to an earlier state, in which the file was not, or was another one.
    WentBack(Side),
    /// This side said that it took the version, and does not have it.
    Vanished(Side),
    /// The file is empty on this side and has the time it had before.
    SuspectEmpty(Side),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("unchanged"),
            Self::Unknown => f.write_str("could not be judged"),
            Self::Touched => f.write_str("touched, same content"),
            Self::EqualContent => f.write_str("same content on both sides"),
            Self::GoneOnBoth => f.write_str("deleted on both sides"),
            Self::Added(side) => write!(f, "added at {side}"),
            Self::Changed(side) => write!(f, "changed at {side}"),
            Self::Deleted(side) => write!(f, "deleted at {side}"),
            Self::Restored(side) => write!(f, "missing at {side}, copied again"),
            Self::NotOnAuthority(side) => write!(f, "not at {side}, which is mirrored"),
            Self::Reverted(side) => write!(f, "changed at {}, overwritten with {side}", side.other()),
            Self::AuthorityWins(side) => write!(f, "changed on both sides, {side} wins"),
            Self::FirstSync(side) => write!(f, "first sync, {side} wins"),
            Self::EditSurvives(side) => {
                write!(f, "changed at {side} and deleted at {}: the edit survives", side.other())
            }
            Self::Strategy(strategy, side) => write!(f, "conflict, {strategy}: {side}"),
            Self::Manual => f.write_str("changed on both sides, left for you to decide"),
            Self::Tie => f.write_str("changed on both sides at the same or an unknown time"),
            Self::BackupKeeps(side) => write!(f, "deleted at {side}, the backup keeps it"),
            Self::NotTakenOver(side) => write!(f, "only at {side}, this mode leaves it"),
            Self::Renamed(side) => write!(f, "renamed at {side}"),
            Self::FileAgainstFolder => f.write_str("a file on one side, a folder on the other"),
            Self::NameCollision(side) => write!(f, "a file and a folder of the same name at {side}"),
            Self::NameClash(side) => write!(f, "two names that the {side} takes for one"),
            Self::TooManyCopies => f.write_str("too many conflict copies of this file"),
            Self::CopyNameTaken => f.write_str("the name for its conflict copy is that of another file"),
            Self::WentBack(side) => write!(f, "{side} went back to an earlier state"),
            Self::Vanished(side) => write!(f, "the {side} said that it took it, and does not have it"),
            Self::SuspectEmpty(side) => {
                write!(f, "empty at {side}, with the modification time it had when it was not")
            }
        }
    }
}

/// Decides what to do with one path.
pub fn decide(facts: Facts, policy: Policy) -> Verdict {
    let (source, destination) = (facts.source, facts.destination);
    if source == Sight::Unknown || destination == Sight::Unknown {
        return settle(Step::Nothing, Reason::Unknown);
    }
    match (source.is_present(), destination.is_present()) {
        (true, true) => both_present(facts, policy),
        (true, false) => one_sided(Side::Source, facts, policy),
        (false, true) => one_sided(Side::Destination, facts, policy),
        (false, false) if facts.base == Base::None => settle(Step::Nothing, Reason::Unchanged),
        (false, false) => settle(Step::Forget, Reason::GoneOnBoth),
    }
}

fn both_present(facts: Facts, policy: Policy) -> Verdict {
    match (facts.source.is_edited(), facts.destination.is_edited()) {
        (false, false) if facts.source == Sight::Touched || facts.destination == Sight::Touched => {
            settle(Step::Adopt, Reason::Touched)
        }
        (false, false) => settle(Step::Nothing, Reason::Unchanged),
        (true, false) => one_edit(Side::Source, policy),
        (false, true) => one_edit(Side::Destination, policy),
        (true, true) if facts.equal => settle(Step::Adopt, Reason::EqualContent),
        (true, true) => clash(facts, policy),
    }
}

/// Only `edited` has a version the base does not know; the other side has the base's.
fn one_edit(edited: Side, policy: Policy) -> Verdict {
    let carry_over = settle(Step::Copy { to: edited.other() }, Reason::Changed(edited));
    let overwrite = settle(Step::Copy { to: edited }, Reason::Reverted(edited.other()));
    match policy.mode {
        SyncMode::TwoWay => carry_over,
        mode if mode.authority() == Some(edited) => carry_over,
        SyncMode::SourceBackup if policy.pull => carry_over,
        SyncMode::SourceBackup => settle(Step::LeaveAlone, Reason::NotTakenOver(edited)),
        _ => overwrite,
    }
}

/// Both sides have versions that the base does not know, and they differ.
fn clash(facts: Facts, policy: Policy) -> Verdict {
    if let Some(authority) = policy.mode.authority() {
        let copy = settle(Step::Copy { to: authority.other() }, Reason::AuthorityWins(authority));
        // A mirror cannot have conflicts: the other side's versions never count.
        return Verdict { conflict: !policy.mode.is_mirror(), ..copy };
    }
    if let (Some(winner), Base::None | Base::Tombstone) = (policy.first_sync_winner, facts.base) {
        return settle(Step::Copy { to: winner.other() }, Reason::FirstSync(winner));
    }
    let won_by = |side: Side| Verdict {
        step: Step::Copy { to: side.other() },
        reason: Reason::Strategy(policy.conflict, side),
        conflict: true,
    };
    match (policy.conflict, facts.newer) {
        (ConflictStrategy::SourceWins, _) => won_by(Side::Source),
        (ConflictStrategy::DestinationWins, _) => won_by(Side::Destination),
        (ConflictStrategy::NewestWins, Some(side)) => won_by(side),
        (ConflictStrategy::NewestWins, None) => unresolved(Reason::Tie),
        (ConflictStrategy::KeepBoth, newer) => {
            let winner = newer.unwrap_or(Side::Source);
            let reason = Reason::Strategy(policy.conflict, winner);
            Verdict { step: Step::KeepBoth { winner }, reason, conflict: true }
        }
        (ConflictStrategy::Manual, _) => unresolved(Reason::Manual),
    }
}

/// Only `holder` has the file.
fn one_sided(holder: Side, facts: Facts, policy: Policy) -> Verdict {
    let other = holder.other();
    let copy = Step::Copy { to: other };
    let has_authority = policy.mode.authority() == Some(holder);
    let is_mirror = policy.mode.is_mirror();
    match facts.base {
        Base::Agreed => match policy.mode {
            SyncMode::TwoWay if facts.sight(holder) == Sight::Changed => {
                Verdict { step: copy, reason: Reason::EditSurvives(holder), conflict: true }
            }
            SyncMode::TwoWay => settle(Step::Delete { on: holder }, Reason::Deleted(other)),
            _ if has_authority => settle(copy, Reason::Restored(other)),
            _ if is_mirror => settle(Step::Delete { on: holder }, Reason::Deleted(other)),
            _ => settle(Step::Entomb, Reason::BackupKeeps(other)),
        },
        Base::Tombstone if policy.mode.authority() == Some(other) && !is_mirror => {
            settle(Step::LeaveAlone, Reason::BackupKeeps(other))
        }
        Base::None | Base::Tombstone => match policy.mode {
            SyncMode::TwoWay => match policy.first_sync_winner {
                Some(winner) if winner == other => {
                    settle(Step::Delete { on: holder }, Reason::FirstSync(winner))
                }
                _ => settle(copy, Reason::Added(holder)),
            },
            _ if has_authority => settle(copy, Reason::Added(holder)),
            _ if is_mirror => settle(Step::Delete { on: holder }, Reason::NotOnAuthority(other)),
            SyncMode::SourceBackup if policy.pull => settle(copy, Reason::Added(holder)),
            _ => settle(Step::LeaveAlone, Reason::NotTakenOver(holder)),
        },
    }
}

fn settle(step: Step, reason: Reason) -> Verdict {
    Verdict { step, reason, conflict: false }
}

fn unresolved(reason: Reason) -> Verdict {
    Verdict { step: Step::Unresolved, reason, conflict: true }
}

#[cfg(test)]
mod tests;
