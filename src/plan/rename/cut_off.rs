//! Renames of edited files that a run which was cut off has left in a store.
//!
//! A file is renamed here and was edited there. In a store the rename there is a copy and a deletion, in some folders a
//! link and a removal, and between the two both names have the edit. The row that announced the rename tells it from a
//! file that somebody copied.

use std::collections::{HashMap, HashSet};

use super::{appeared, vanished_edited};
use crate::key::Key;
use crate::plan::conflict_name::CopyCounts;
use crate::plan::decide::{Reason, Step};
use crate::plan::{Action, Item, Work};
use crate::side::Side;

/// Returns the old name of `item`, if that is the new name of a file that `side` has renamed, and shows an edit on the
/// other side.
fn followed_from(item: &Item, side: Side) -> Option<&str> {
    let old = item.base.as_ref()?.announced_on(side.other())?;
    let is_edit = item.facts.sight(side).is_present() && item.verdict.step == Step::Copy { to: side };
    is_edit.then_some(old)
}

/// Returns the old and the new names, as indices, of what may be left of renames by `side`.
fn pairs(items: &[Item], side: Side) -> Vec<(usize, usize)> {
    let new: HashMap<&str, usize> =
        items.iter().enumerate().filter_map(|(new, item)| Some((followed_from(item, side)?, new))).collect();
    let old = items.iter().enumerate().filter(|(_, item)| vanished_edited(item, side));
    old.filter_map(|(old, item)| Some((old, *new.get(item.key.as_str())?))).collect()
}

/// Returns the items whose content on a side would tell whether they are what is left of a rename.
pub fn wanted_contents(items: &[Item]) -> Vec<(usize, Side)> {
    let both = |side: Side| {
        let size = move |index: usize| items[index].found.get(side.other()).as_ref().map(|entry| entry.size);
        let of_a_size = pairs(items, side).into_iter().filter(move |(old, new)| size(*old) == size(*new));
        of_a_size.flat_map(|(old, new)| [old, new])
    };
    let mut wanted: Vec<_> =
        Side::BOTH.into_iter().flat_map(|side| both(side).map(move |index| (index, side.other()))).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Returns whether two items have one content on a side, as far as it was learned.
fn is_copy(items: &[Item], side: Side, (old, new): (usize, usize)) -> bool {
    let content = |index: usize| *items[index].hashes.get(side);
    content(old).is_some() && content(old) == content(new)
}

/// Returns the new names under which somebody else's file is: the rename was announced and the old name is still there,
/// with another content. Then the rename never took place.
pub fn strangers(items: &[Item]) -> Vec<usize> {
    let of_side = |side: Side| {
        let apart = move |pair: &(usize, usize)| !is_copy(items, side.other(), *pair);
        pairs(items, side).into_iter().filter(apart).map(|(_, new)| new)
    };
    Side::BOTH.into_iter().flat_map(of_side).collect()
}

/// Returns what the item `index`, whose content on `side` nobody could tell, may belong to: edited files that may
/// have been renamed to it, and the other name of what is left of a rename.
pub fn depend_on(items: &[Item], copies: &CopyCounts, index: usize, side: Side) -> Vec<usize> {
    let item = &items[index];
    let size = item.found.get(side).as_ref().map(|entry| entry.size);
    let may_be_new = appeared(item, side) && !copies.concern(&item.key);
    let may_be_old = |old: &Item| {
        may_be_new
            && vanished_edited(old, side)
            && !copies.concern(&old.key)
            && old.base.as_ref().map(|base| base.size) == size
    };
    let old = items.iter().enumerate().filter(|(_, old)| may_be_old(old)).map(|(old, _)| old);
    let left = pairs(items, side.other()).into_iter().filter_map(|(old, new)| match index {
        _ if index == old => Some(new),
        _ if index == new => Some(old),
        _ => None,
    });
    old.chain(left).collect()
}

/// Finishes the renames: takes the old names that still have what the new ones have out of `items` and returns their
/// deletions. The edit under the new name is carried over as any other.
pub(super) fn finish(items: &mut Vec<Item>) -> Vec<Action> {
    let mut actions = Vec::new();
    for side in Side::BOTH {
        let on = side.other();
        for (old, new) in pairs(items, side).into_iter().filter(|pair| is_copy(items, on, *pair)) {
            let entry = |index: usize| items[index].found.get(on).clone();
            if let (Some(entry), Some(copy)) = (entry(old), entry(new)) {
                let work = Work::Delete { on, entry, clears_way: false, copied_as: Some(Box::new(copy)) };
                let (key, reason) = (items[old].key.clone(), Reason::Renamed(side));
                actions.push(Action { key, work, reason, conflict: false });
            }
        }
    }
    let gone: HashSet<&Key> = actions.iter().map(|action| &action.key).collect();
    items.retain(|item| !gone.contains(&item.key));
    actions
}
