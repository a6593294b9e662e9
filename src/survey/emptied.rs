//! Files that lost their content and then their name: looks at what appeared without a past for what vanished.

use std::collections::HashSet;

use crate::examine::tells_versions_apart;
use crate::plan::spare::spare;
use crate::plan::{Item, Policy, Sight, Step};
use crate::side::{Side, Sides};
use crate::timestamp::Timestamp;

/// Keeps new files from being carried over that are empty and have the very time of a file that vanished beside them: a disk
/// that lost its content, and somebody who renamed it or a folder above it. Returns how many there are on each side.
pub(super) fn spare_renamed(items: &mut Vec<Item>, policy: Policy) -> Sides<u64> {
    let mut count = Sides::default();
    for side in Side::BOTH {
        let vanished: HashSet<Timestamp> =
            items.iter().filter_map(|item| time_of_vanished(item, side)).collect();
        let mut emptied = HashSet::new();
        for item in items.iter_mut() {
            let Some(modified) = time_of_empty(item, side).filter(|modified| vanished.contains(modified))
            else {
                continue;
            };
            let mut damaged = Sides::new(false, false);
            *damaged.get_mut(side) = true;
            item.verdict = spare(item.verdict, item.facts, damaged, policy);
            emptied.insert(modified);
            *count.get_mut(side) += 1;
        }
        // What is remembered of them is all that tells them from other empty files.
        items.retain(|item| {
            !matches!(item.verdict.step, Step::Entomb | Step::Forget)
                || time_of_vanished(item, side).is_none_or(|modified| !emptied.contains(&modified))
        });
    }
    count
}

/// Returns the time of an empty file that is new on `side`.
fn time_of_empty(item: &Item, side: Side) -> Option<Timestamp> {
    let entry = item.found.get(side).as_ref()?;
    let is_empty = entry.size == 0 && item.facts.sight(side) == Sight::New;
    is_empty.then(|| entry.fingerprint.number_and_time().1).flatten()
}

/// Returns the time of a file that had content and is missing on `side`.
fn time_of_vanished(item: &Item, side: Side) -> Option<Timestamp> {
    let base = item.base.as_ref().filter(|base| base.size > 0 && item.facts.sight(side) == Sight::Absent)?;
    base.fingerprint(side).number_and_time().1.filter(|modified| tells_versions_apart(*modified))
}
