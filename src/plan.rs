//! The plan: what a run would do, as a value that can be printed, saved, judged and carried out.
//!
//! [`decide`](decide::decide) answers for one path; [`rename`] and [`collide`] then look at several paths together; [`Plan::new`] turns the answers into
//! [`Action`]s. All of it is pure. Memory grows with what changed, not with the trees.

use crate::code::ActionCode;
use crate::entry::Entry;
use crate::fingerprint::ContentHash;
use crate::key::Key;
use crate::side::{Side, Sides};
use crate::state::{Agreed, RowChange};

pub mod collide;
pub mod conflict_name;
pub mod decide;
pub mod rename;
pub mod rollback;
pub(crate) mod spare;
pub mod spelling;

pub use decide::{Base, Facts, Policy, Reason, Sight, Step, Verdict};

/// A path that is not simply unchanged: what was found, and what was decided about it.
#[derive(Debug, Clone)]
pub struct Item {
    /// The path.
    pub key: Key,
    /// The last version both sides had. Boxed, because a first run has none and as many paths as there are.
    pub base: Option<Box<Agreed>>,
    /// What each side has now.
    pub found: Sides<Option<Entry>>,
    /// Content hashes that had to be made, or came with the listing.
    pub hashes: Sides<Option<ContentHash>>,
    /// The facts the verdict rests on.
    pub facts: Facts,
    /// What was decided.
    pub verdict: Verdict,
    /// Whether the base does not count here because a side went back to an earlier state.
    pub strayed: Option<Strayed>,
    /// What the base is to remember from now on, where it only had what a run which was cut off was about to do.
    pub settled: Option<Box<RowChange>>,
}

/// How a path differs on a side that went back to an earlier state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strayed {
    /// The base has the path, and the side has not that version.
    FromRow,
    /// The base does not have the path, and the side does.
    WithoutRow,
}

/// One line of a plan.
#[derive(Debug, Clone)]
pub struct Action {
    /// The path it is about (the new name, for a rename).
    pub key: Key,
    /// What to do.
    pub work: Work,
    /// Why.
    pub reason: Reason,
    /// Whether it settles or leaves a conflict.
    pub conflict: bool,
}

/// What to do with one path, with the versions it was decided on.
#[derive(Debug, Clone)]
pub enum Work {
    /// Copy a version to the other side.
    Copy(Copy),
    /// Delete a version.
    Delete {
        /// The side that loses it.
        on: Side,
        /// The version.
        entry: Entry,
        /// Whether it makes room for a file or folder of the same name and so comes first.
        clears_way: bool,
        /// The version of another name on this side that has its content and is all that keeps it: if that has gone
        /// or changed meanwhile, it stays.
        copied_as: Option<Box<Entry>>,
    },
    /// Rename the version `entry` to the action's key, as the other side did.
    Rename {
        /// The side to rename on.
        on: Side,
        /// The version under its old name.
        entry: Entry,
        /// The renamed version on the other side.
        renamed: Entry,
        /// The content both had before.
        hash: Option<ContentHash>,
        /// Whether `entry` was also edited, so that its content goes to the other side afterwards.
        edited: bool,
        /// Keep the old name too, as a backup does.
        keep_old: bool,
    },
    /// Give the loser of a conflict another name on both sides, the winner keeps its own.
    KeepBoth {
        /// The side whose version keeps the name.
        winner: Side,
        /// Both versions.
        versions: Box<Sides<Entry>>,
        /// The loser's new name.
        aside: Key,
    },
    /// Remember both versions as equal.
    Adopt {
        /// Both versions.
        versions: Box<Sides<Entry>>,
        /// Their content hash, if anybody read it.
        hash: Option<ContentHash>,
    },
    /// Forget a path that is gone on both sides or no longer synced.
    Forget,
    /// Remember a deletion that is not carried over.
    Entomb,
    /// Nothing, until the user decides.
    Unresolved,
    /// Nothing, because the path cannot be synced as things are.
    Blocked,
    /// Nothing, because a side takes its name, or that of a folder it is in, for another one.
    Clash {
        /// The name of the file or the folder.
        name: Key,
        /// What it is taken for.
        with: Key,
    },
    /// Nothing, because the mode does not touch such a difference.
    LeaveAlone,
}

/// A version on its way to the other side.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The receiving side.
    pub to: Side,
    /// The version.
    pub from: Entry,
    /// The version it replaces.
    pub replaces: Option<Entry>,
    /// Whether the replaced version is one the base does not know.
    pub over_stranger: bool,
}

/// What a run would do, in the order of the keys.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The actions.
    pub actions: Vec<Action>,
}

impl Plan {
    /// Returns the plan for what was found: renames are paired, files and folders that stand in each other's
    /// way are sorted out, and losers of conflicts get their names.
    pub fn new(
        mut items: Vec<Item>,
        policy: Policy,
        collisions: &[collide::Collision],
        copies: &conflict_name::CopyCounts,
    ) -> Self {
        let mut actions = rename::pair(&mut items, policy, collisions, copies);
        actions.extend(items.into_iter().filter_map(|item| action(item, copies)));
        actions.sort_by(|a, b| a.key.cmp(&b.key));
        collide::sort_out(&mut actions, collisions);
        Self { actions }
    }
}

/// Turns the decision about one path into the work to do.
fn action(item: Item, copies: &conflict_name::CopyCounts) -> Option<Action> {
    let Item { key, base, found, hashes, facts, verdict, .. } = item;
    let Verdict { step, mut reason, conflict } = verdict;
    let Sides { source, destination } = found;
    let work = match (step, source, destination) {
        (Step::Nothing, ..) => return None,
        (Step::Forget, ..) => Work::Forget,
        (Step::Entomb, ..) => Work::Entomb,
        (Step::Unresolved, ..) => Work::Unresolved,
        (Step::Suspect, ..) => Work::Blocked,
        (Step::LeaveAlone, ..) => Work::LeaveAlone,
        (Step::Adopt, Some(source), Some(destination)) => {
            let agreed = facts.base == Base::Agreed && !facts.source.is_edited();
            let hash =
                if agreed { base.and_then(|base| base.hash) } else { hashes.source.or(hashes.destination) };
            Work::Adopt { versions: Box::new(Sides::new(source, destination)), hash }
        }
        (Step::Copy { to }, source, destination) => {
            let (from, replaces) = match to {
                Side::Destination => (source?, destination),
                Side::Source => (destination?, source),
            };
            let over_stranger = replaces.is_some() && facts.sight(to).is_edited();
            Work::Copy(Copy { to, from, replaces, over_stranger })
        }
        (Step::Delete { on }, source, destination) => {
            let entry = if on == Side::Source { source? } else { destination? };
            Work::Delete { on, entry, clears_way: false, copied_as: None }
        }
        (Step::KeepBoth { winner }, Some(source), Some(destination)) => {
            let versions = Box::new(Sides::new(source, destination));
            let aside = conflict_name::for_loser(&key, winner.other(), &versions, &hashes, copies);
            match aside {
                None => {
                    reason = Reason::TooManyCopies;
                    Work::Unresolved
                }
                // A run that was cut off has copied the loser there; what is left is to give the winner its name.
                Some(aside) if has_copy(copies, &aside, winner.other(), &versions, &hashes) => {
                    let Sides { source, destination } = *versions;
                    let (from, replaced) = match winner {
                        Side::Source => (source, destination),
                        Side::Destination => (destination, source),
                    };
                    Work::Copy(Copy {
                        to: winner.other(),
                        from,
                        replaces: Some(replaced),
                        over_stranger: false,
                    })
                }
                Some(aside) if copies.is_on(&aside, winner.other()) => {
                    reason = Reason::CopyNameTaken;
                    Work::Unresolved
                }
                Some(aside) => Work::KeepBoth { winner, versions, aside },
            }
        }
        (Step::Adopt | Step::KeepBoth { .. }, ..) => return None,
    };
    Some(Action { key, work, reason, conflict })
}

/// Returns whether the loser of a conflict has its other name already.
fn has_copy(
    copies: &conflict_name::CopyCounts,
    name: &Key,
    loser: Side,
    versions: &Sides<Entry>,
    hashes: &Sides<Option<ContentHash>>,
) -> bool {
    copies.has(name, loser, versions.get(loser), *hashes.get(loser))
}

impl Work {
    /// Returns the versions it was decided on, as far as it would change or copy them.
    pub fn versions(&self) -> Vec<&Entry> {
        match self {
            Self::Copy(copy) => std::iter::once(&copy.from).chain(&copy.replaces).collect(),
            Self::Delete { entry, copied_as, .. } => {
                std::iter::once(entry).chain(copied_as.as_deref()).collect()
            }
            Self::Rename { entry, renamed, .. } => vec![entry, renamed],
            Self::KeepBoth { versions, .. } | Self::Adopt { versions, .. } => {
                vec![&versions.source, &versions.destination]
            }
            Self::Forget
            | Self::Entomb
            | Self::Unresolved
            | Self::Blocked
            | Self::Clash { .. }
            | Self::LeaveAlone => Vec::new(),
        }
    }
}

impl Work {
    /// Returns whether nothing can be done as things are.
    pub fn is_blocked(&self) -> bool {
        matches!(self, Self::Blocked | Self::Clash { .. })
    }

    /// Returns the version on `side` that is replaced or deleted, if one is.
    pub fn discarded_on(&self, side: Side) -> Option<&Entry> {
        match self {
            Self::Copy(copy) if copy.to == side => copy.replaces.as_ref(),
            Self::Delete { on, entry, .. } if *on == side => Some(entry),
            _ => None,
        }
    }
}

impl Action {
    /// Returns what plans and reports call the action; `None` for bookkeeping no user sees.
    pub fn code(&self) -> Option<ActionCode> {
        Some(match (&self.work, self.receiver()) {
            (Work::Copy(_), Some(Side::Source)) => ActionCode::Download,
            (Work::Copy(_), _) => ActionCode::Upload,
            (Work::Delete { .. }, Some(Side::Source)) => ActionCode::DeleteSource,
            (Work::Delete { .. }, _) => ActionCode::DeleteDestination,
            (Work::Rename { .. }, Some(Side::Source)) => ActionCode::RenameSource,
            (Work::Rename { .. }, _) => ActionCode::RenameDestination,
            (Work::KeepBoth { .. } | Work::Unresolved | Work::Blocked | Work::Clash { .. }, _) => {
                ActionCode::Conflict
            }
            (Work::Adopt { .. }, _) => ActionCode::Adopt,
            (Work::LeaveAlone | Work::Entomb, _) => ActionCode::Skip,
            (Work::Forget, _) => return None,
        })
    }

    /// Returns the side that is changed, if just one is.
    pub fn receiver(&self) -> Option<Side> {
        match &self.work {
            Work::Copy(copy) => Some(copy.to),
            Work::Delete { on, .. } | Work::Rename { on, .. } => Some(*on),
            _ => None,
        }
    }

    /// Returns how many bytes the action is about.
    pub fn size(&self) -> u64 {
        match &self.work {
            Work::Copy(copy) => copy.from.size,
            Work::Delete { entry, .. } => entry.size,
            Work::Rename { renamed, .. } => renamed.size,
            Work::KeepBoth { versions, winner, .. } => versions.get(*winner).size,
            Work::Adopt { versions, .. } => versions.source.size,
            _ => 0,
        }
    }

    /// Returns the name a renamed file had before.
    pub fn old_key(&self) -> Option<&Key> {
        match &self.work {
            Work::Rename { entry, .. } => Some(&entry.key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
