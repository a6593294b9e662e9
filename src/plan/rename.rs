//! Renames: a file that vanished on one side and one that appeared there with the same content.
//!
//! Pairs decisions that would delete under the old name and copy under the new one, so that the other side
//! renames too and no bytes move. Equal size and equal hash make a pair, nothing else does: an inode
//! may be used again. Among equals the same file name goes first, then byte order. Empty files are never
//! paired, and a path that stands in the way of another is left to the plain decisions. So are a conflict copy and a
//! name that has one, new or of an edited file: a `keep-both` that was cut off leaves them as a rename would.

use std::collections::{HashMap, HashSet};

use super::collide::Collision;
use super::conflict_name::CopyCounts;
use super::decide::{Base, Policy, Reason, Sight, Step};
use super::{Action, Item, Work};
use crate::fingerprint::{ContentHash, HashForm};
use crate::key::Key;
use crate::mode::SyncMode;
use crate::side::Side;

mod cut_off;

pub use cut_off::{depend_on, strangers, wanted_contents};

/// Returns the forms of hash that would tell whether a new file of a size is a renamed one: for each size
/// of a file that vanished on `side`, how the base hashed it.
pub fn wanted_hashes(items: &[Item], side: Side) -> HashMap<u64, HashForm> {
    items
        .iter()
        .filter(|item| vanished(item, side))
        .filter_map(|item| item.base.as_ref().and_then(|base| Some((base.size, base.hash?.form()))))
        .collect()
}

/// Returns whether `item` is a file that appeared on `side` only, as a renamed one would.
pub fn appeared(item: &Item, side: Side) -> bool {
    item.facts.base == Base::None
        && item.facts.sight(side) == Sight::New
        && item.facts.sight(side.other()) == Sight::Absent
        && item.verdict.step == Step::Copy { to: side.other() }
}

/// Returns whether `item` is a file that vanished on `side` while the other side has it, in a mode
/// that answers to that.
fn vanished(item: &Item, side: Side) -> bool {
    let Some(base) = &item.base else { return false };
    let other = side.other();
    let answers = match item.verdict.step {
        // A mirror overrules an edit of the old name: then the two paths have nothing to do with each other.
        Step::Delete { on } => on == other && item.facts.sight(other) != Sight::Changed,
        Step::Copy { to } => to == side && item.verdict.reason == Reason::EditSurvives(other),
        Step::Entomb => item.facts.sight(other) != Sight::Changed,
        _ => false,
    };
    answers
        && base.size > 0
        && base.hash.is_some()
        && item.facts.sight(side) == Sight::Absent
        && item.facts.sight(other).is_present()
}

/// Returns whether `item` is a file that vanished on `side` and was edited on the other.
fn vanished_edited(item: &Item, side: Side) -> bool {
    vanished(item, side) && item.facts.sight(side.other()) == Sight::Changed
}

/// Takes the items that make a rename out of `items` and returns one action for each pair.
pub fn pair(
    items: &mut Vec<Item>,
    policy: Policy,
    collisions: &[Collision],
    copies: &CopyCounts,
) -> Vec<Action> {
    let mut actions = cut_off::finish(items);
    let in_the_way: HashSet<&Key> = collisions.iter().flat_map(|c| [&c.above, &c.below]).collect();
    let mut gone = HashSet::new();
    for side in Side::BOTH {
        for (old, new) in pairs_on(items, side, &in_the_way, copies) {
            if let Some(action) = action(&items[old], &items[new], side, policy) {
                actions.push(action);
                gone.extend([old, new]);
            }
        }
    }
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    actions
}

type Group = (Vec<usize>, Vec<usize>);

/// Returns the indices of old and new items that belong together on `side`.
fn pairs_on(
    items: &[Item],
    side: Side,
    in_the_way: &HashSet<&Key>,
    copies: &CopyCounts,
) -> Vec<(usize, usize)> {
    let mut groups: HashMap<(u64, ContentHash), Group> = HashMap::new();
    for (index, item) in items.iter().enumerate().filter(|(_, item)| !in_the_way.contains(&item.key)) {
        if vanished(item, side) {
            // Edited on both sides, and one of the versions has its other name already.
            if vanished_edited(item, side) && copies.concern(&item.key) {
                continue;
            }
            if let Some((size, hash)) = item.base.as_ref().and_then(|base| Some((base.size, base.hash?))) {
                groups.entry((size, hash)).or_default().0.push(index);
            }
        } else if appeared(item, side)
            && !copies.concern(&item.key)
            && let (Some(entry), Some(hash)) = (item.found.get(side), item.hashes.get(side))
        {
            groups.entry((entry.size, *hash)).or_default().1.push(index);
        }
    }
    let mut pairs: Vec<_> = groups.into_values().flat_map(|group| match_up(items, group)).collect();
    pairs.sort_unstable();
    pairs
}

/// Pairs old and new names of one content: the same file name first, then in byte order.
fn match_up(items: &[Item], (old, mut new): Group) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut left = Vec::new();
    for old in old {
        let name = items[old].key.file_name();
        match new.iter().position(|new| items[*new].key.file_name() == name) {
            Some(at) => pairs.push((old, new.remove(at))),
            None => left.push(old),
        }
    }
    pairs.extend(left.into_iter().zip(new));
    pairs
}

fn action(old: &Item, new: &Item, side: Side, policy: Policy) -> Option<Action> {
    let on = side.other();
    let work = Work::Rename {
        on,
        entry: old.found.get(on).clone()?,
        renamed: new.found.get(side).clone()?,
        hash: old.base.as_ref()?.hash,
        edited: old.facts.sight(on) == Sight::Changed,
        keep_old: matches!(policy.mode, SyncMode::SourceBackup | SyncMode::DestinationBackup),
    };
    Some(Action { key: new.key.clone(), work, reason: Reason::Renamed(side), conflict: false })
}

#[cfg(test)]
mod tests;
