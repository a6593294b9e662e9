//! Files against folders: `a` on one side, `a/b` on the other.
//!
//! A folder and a file cannot share a name, so whatever creates one must wait for the other to go. If all
//! that stands in the way is deleted by the same plan, those deletions come first. If not - both sides
//! changed, or the mode does not delete - nothing below the name is touched and the user must decide.

use std::collections::BTreeMap;

use super::decide::Reason;
use super::{Action, Work};
use crate::key::Key;
use crate::side::{Side, Sides};

/// A file whose name is a folder of another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// The file whose name is a folder of `below`.
    pub above: Key,
    /// The file below it.
    pub below: Key,
    /// On which sides `above` is a file now.
    pub above_on: Sides<bool>,
    /// On which sides `below` is a file now.
    pub below_on: Sides<bool>,
}

/// Notices collisions among keys that pass in ascending order.
#[derive(Debug, Default)]
pub struct Watch {
    /// Earlier keys that later ones can still begin with, outermost first.
    open: Vec<(Key, Sides<bool>)>,
    found: Vec<Collision>,
}

impl Watch {
    /// Looks at the next key and the sides that have it as a file.
    pub fn see(&mut self, key: &Key, on: Sides<bool>) {
        while self.open.last().is_some_and(|(earlier, _)| !key.as_str().starts_with(earlier.as_str())) {
            self.open.pop();
        }
        for (above, above_on) in self.open.iter().filter(|(above, _)| key.is_below(above.as_str())) {
            self.found.push(Collision {
                above: above.clone(),
                below: key.clone(),
                above_on: *above_on,
                below_on: on,
            });
        }
        self.open.push((key.clone(), on));
    }

    /// Returns what was noticed.
    pub fn finish(self) -> Vec<Collision> {
        self.found
    }
}

/// Puts deletions that make room first, and holds back what cannot be done. `actions` are in key order.
pub fn sort_out(actions: &mut Vec<Action>, collisions: &[Collision]) {
    for group in groups(collisions) {
        if let Some((key, side)) = same_side(&group) {
            hold(actions, &group, &Work::Blocked, Reason::NameCollision(side));
            report_blocked(actions, key, side);
            continue;
        }
        match room_needed(actions, &group) {
            Some(blockers) => {
                for at in blockers {
                    if let Work::Delete { clears_way, .. } = &mut actions[at].work {
                        *clears_way = true;
                    }
                }
            }
            None => hold(actions, &group, &Work::Unresolved, Reason::FileAgainstFolder),
        }
    }
}

/// Returns the collisions, grouped by the topmost name they are below.
fn groups(collisions: &[Collision]) -> Vec<Vec<&Collision>> {
    let names: BTreeMap<&str, &Key> = collisions.iter().map(|c| (c.above.as_str(), &c.above)).collect();
    let mut groups: BTreeMap<&Key, Vec<&Collision>> = BTreeMap::new();
    for collision in collisions {
        let top = collision.above.ancestors().find_map(|folder| names.get(folder).copied());
        groups.entry(top.unwrap_or(&collision.above)).or_default().push(collision);
    }
    groups.into_values().collect()
}

/// Returns a file that has a file below it on the same side, which only object stores can hold.
fn same_side<'a>(group: &[&'a Collision]) -> Option<(&'a Key, Side)> {
    group.iter().find_map(|c| {
        let side = Side::BOTH.into_iter().find(|side| *c.above_on.get(*side) && *c.below_on.get(*side))?;
        Some((&c.above, side))
    })
}

/// Returns the deletions that must come first, or `None` if something that stays is in the way.
fn room_needed(actions: &[Action], group: &[&Collision]) -> Option<Vec<usize>> {
    let mut blockers = Vec::new();
    for c in group {
        let ways = [(&c.above, &c.below, &c.below_on), (&c.below, &c.above, &c.above_on)];
        for (created, other, other_on) in ways {
            let Some(to) = find(actions, created).and_then(|at| creates_on(&actions[at])) else { continue };
            if !*other_on.get(to) {
                continue;
            }
            let at = find(actions, other)?;
            match &actions[at].work {
                Work::Delete { on, .. } if *on == to => blockers.push(at),
                _ => return None,
            }
        }
    }
    Some(blockers)
}

fn creates_on(action: &Action) -> Option<Side> {
    match &action.work {
        Work::Copy(copy) if copy.replaces.is_none() => Some(copy.to),
        _ => None,
    }
}

/// Replaces everything the group's actions would do to a tree.
fn hold(actions: &mut [Action], group: &[&Collision], work: &Work, reason: Reason) {
    for key in group.iter().flat_map(|c| [&c.above, &c.below]) {
        let Some(at) = find(actions, key) else { continue };
        let action = &mut actions[at];
        if matches!(action.work, Work::Copy(_) | Work::Delete { .. } | Work::KeepBoth { .. }) {
            action.work = work.clone();
            action.reason = reason;
            action.conflict = matches!(work, Work::Unresolved);
        }
    }
}

/// A collision on one side is reported even where nothing was going to be done.
fn report_blocked(actions: &mut Vec<Action>, key: &Key, side: Side) {
    let reason = Reason::NameCollision(side);
    match actions.binary_search_by(|action| action.key.cmp(key)) {
        Err(at) => {
            actions.insert(at, Action { key: key.clone(), work: Work::Blocked, reason, conflict: false });
        }
        // Remembered as equal it would be told by the next run only.
        Ok(at) if matches!(actions[at].work, Work::Adopt { .. }) => {
            (actions[at].work, actions[at].reason) = (Work::Blocked, reason);
        }
        Ok(_) => {}
    }
}

fn find(actions: &[Action], key: &Key) -> Option<usize> {
    actions.binary_search_by(|action| action.key.cmp(key)).ok()
}

#[cfg(test)]
mod tests;
