//! Names of a plan that a side may take for one: which to ask about, and what becomes of the actions.
//!
//! Of two names that a side cannot hold apart neither is touched. A name that only makes way for another spelling of
//! itself goes first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Copy, Plan, Reason, Work};
use crate::key::Key;
use crate::side::Side;
use crate::spelling::folded;

/// Two names that a side takes for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clash {
    /// The side.
    pub side: Side,
    /// One name: of a file, or of a folder that files are in.
    pub one: Key,
    /// The other.
    pub other: Key,
}

/// Returns the name that an action makes on `side`.
pub fn created(action: &Action, side: Side) -> Option<&Key> {
    match &action.work {
        Work::Copy(copy) if copy.to == side && copy.replaces.is_none() => Some(&action.key),
        Work::Rename { on, .. } if *on == side => Some(&action.key),
        _ => None,
    }
}

/// Returns the name that an action takes away from `side`.
fn removed(action: &Action, side: Side) -> Option<&Key> {
    match &action.work {
        Work::Delete { on, entry, .. } if *on == side => Some(&entry.key),
        Work::Rename { on, entry, keep_old: false, .. } if *on == side => Some(&entry.key),
        _ => None,
    }
}

/// Returns pairs of names, of files or of folders, that are both to be new on `side` and alike but for their spelling.
pub fn doubts(plan: &Plan, side: Side) -> Vec<(Key, Key)> {
    let mut seen: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut last = "";
    for key in plan.actions.iter().filter_map(|action| created(action, side)) {
        // Keys come in order, so that the folders of one were mostly seen with the one before.
        let paths = key.ancestors().filter(|path| !last.starts_with(&format!("{path}/")));
        for path in paths.chain([key.as_str()]) {
            let names = seen.entry(folded(path)).or_default();
            if !names.contains(&path) {
                names.push(path);
            }
        }
        last = key.as_str();
    }
    let mut pairs = Vec::new();
    for names in seen.into_values().filter(|names| names.len() > 1) {
        let keys: Vec<Key> = names.into_iter().filter_map(|name| Key::parse(name).ok()).collect();
        for (at, one) in keys.iter().enumerate() {
            // Where a folder differs what is in it differs too: asking about the folder says it all.
            let others = keys[at + 1..].iter().filter(|other| one.parent() == other.parent());
            pairs.extend(others.map(|other| (one.clone(), other.clone())));
        }
    }
    pairs
}

/// Returns the names at or below `listed` that leave `side`, or would in a plan that may take names away.
pub fn leaving(plan: &Plan, side: Side, listed: &Key) -> BTreeSet<Key> {
    let is_meant = |key: &&Key| *key == listed || key.is_below(listed.as_str());
    let leaves = |action| removed(action, side).or_else(|| respelled(action, side));
    plan.actions.iter().filter_map(leaves).filter(is_meant).cloned().collect()
}

/// Returns the old name of a rename that a backup would make by a copy, if only its spelling changes.
fn respelled(action: &Action, side: Side) -> Option<&Key> {
    match &action.work {
        Work::Rename { on, entry, .. } if *on == side => {
            (folded(entry.key.as_str()) == folded(action.key.as_str())).then_some(&entry.key)
        }
        _ => None,
    }
}

/// Lets copies of what is new in folders that are spelled anew on `side`, whole with all that is in them, go to the new names
/// at the other side.
pub fn follow(plan: &mut Plan, side: Side) {
    let spelled_anew: BTreeSet<(Key, Key)> =
        plan.actions.iter().filter_map(|action| respelled_folders(action, side)).flatten().collect();
    for at in 0..plan.actions.len() {
        let action = &plan.actions[at];
        let is_new = matches!(&action.work, Work::Copy(copy) if copy.to != side && copy.replaces.is_none()
            && copy.from.key == action.key);
        let above = |names: &&(Key, Key)| action.key.is_below(names.0.as_str());
        let deepest = spelled_anew.iter().filter(above).max_by_key(|(old, _)| old.as_str().len());
        let Some((old, new)) = deepest.filter(|_| is_new) else { continue };
        let renamed = action.key.as_str().strip_prefix(old.as_str()).map(|rest| format!("{new}{rest}"));
        let Some(renamed) = renamed.and_then(|name| Key::parse(&name).ok()) else { continue };
        if plan.actions.iter().all(|action| action.key != renamed) {
            plan.actions[at].key = renamed;
        }
    }
    plan.actions.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Returns the folders that a rename on `side` spells anew: their names before and after.
fn respelled_folders(action: &Action, side: Side) -> Option<Vec<(Key, Key)>> {
    let Work::Rename { on, entry, .. } = &action.work else { return None };
    let (old, new) = (entry.key.parent()?, action.key.parent()?);
    if *on != side || old == new || folded(old) != folded(new) {
        return None;
    }
    let pairs = entry.key.ancestors().zip(action.key.ancestors()).filter(|(old, new)| old != new);
    Some(pairs.filter_map(|(old, new)| Key::parse(old).ok().zip(Key::parse(new).ok())).collect())
}

/// Lets what leaves `listed` on `side` go before `key` is made there.
pub fn clear_way(plan: &mut Plan, side: Side, key: &Key, listed: &Key) {
    for action in &mut plan.actions {
        // A side that cannot have both names has the new one only.
        let is_respelled = respelled(action, side).is_some();
        match &mut action.work {
            Work::Delete { on, entry, clears_way, .. } if *on == side => {
                *clears_way |= entry.key == *listed || entry.key.is_below(listed.as_str());
            }
            Work::Rename { keep_old, .. } if is_respelled => *keep_old = false,
            _ => {}
        }
    }
    part(plan, side, key, listed);
}

/// Makes a deletion and a copy of a rename to a name whose place is still taken: by the folder that the file itself is in, or by
/// another file that may be waiting for the place of this one.
fn part(plan: &mut Plan, side: Side, key: &Key, listed: &Key) {
    let is_meant = |action: &&mut Action| {
        action.key == *key
            && folded(key.as_str()) == folded(listed.as_str())
            && matches!(&action.work, Work::Rename { on, entry, edited: false, .. }
                if *on == side && entry.key != *listed && !key.is_below(listed.as_str()))
    };
    let Some(action) = plan.actions.iter_mut().find(is_meant) else { return };
    let Work::Rename { entry, renamed, keep_old, .. } = action.work.clone() else { return };
    action.work = Work::Copy(Copy { to: side, from: renamed, replaces: None, over_stranger: false });
    if keep_old {
        return;
    }
    let (key, reason) = (entry.key.clone(), action.reason);
    let work = Work::Delete { on: side, entry, clears_way: true, copied_as: None };
    let at = plan.actions.partition_point(|action| action.key < key);
    plan.actions.insert(at, Action { key, work, reason, conflict: false });
}

/// Keeps the plan from touching names that a side cannot hold apart.
pub fn block(plan: &mut Plan, clashes: &BTreeSet<Clash>) {
    // Renames that were made a deletion and a copy: without the one the other must not be.
    let mut parted: Vec<(Side, u64, Reason)> = Vec::new();
    // What would have made room for something, which has none now.
    let mut stays: Vec<(Side, Action)> = Vec::new();
    for Clash { side, one, other } in clashes {
        for (name, with) in [(one, other), (other, one)] {
            let mut is_told = false;
            for action in &mut plan.actions {
                let is_below = created(action, *side).is_some_and(|key| key.is_below(name.as_str()));
                if action.key == *name || is_below {
                    is_told = true;
                    if let Work::Copy(copy) = &action.work {
                        parted.push((copy.to, copy.from.size, action.reason));
                    }
                    let room = match action.work {
                        Work::Delete { on, clears_way: true, .. } => Some(on),
                        _ => None,
                    };
                    action.work = Work::Clash { name: name.clone(), with: with.clone() };
                    (action.reason, action.conflict) = (Reason::NameClash(*side), false);
                    stays.extend(room.map(|on| (on, action.clone())));
                }
            }
            if !is_told {
                let work = Work::Clash { name: name.clone(), with: with.clone() };
                let action =
                    Action { key: name.clone(), work, reason: Reason::NameClash(*side), conflict: false };
                let at = plan.actions.partition_point(|action| action.key < *name);
                plan.actions.insert(at, action);
            }
        }
    }
    for (side, stuck) in stays {
        let is_against = |key: &Key| key.is_below(stuck.key.as_str()) || stuck.key.is_below(key.as_str());
        for action in plan.actions.iter_mut().filter(|action| created(action, side).is_some_and(is_against)) {
            (action.work, action.reason, action.conflict) = (stuck.work.clone(), stuck.reason, false);
        }
    }
    let is_old_name = |action: &Action| match &action.work {
        Work::Delete { on, entry, copied_as: None, .. } if matches!(action.reason, Reason::Renamed(_)) => {
            parted.contains(&(*on, entry.size, action.reason))
        }
        _ => false,
    };
    plan.actions.retain(|action| !is_old_name(action));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::fingerprint::{ETag, Fingerprint};

    fn key(name: &str) -> Key {
        Key::parse(name).unwrap()
    }

    fn entry(name: &str) -> Entry {
        let fingerprint = Fingerprint::Object(ETag::new("x"));
        Entry { key: key(name), size: 1, modified: None, stored: None, fingerprint }
    }

    /// Writes a plan for the destination: `+a` makes, `=a` replaces, `-a` deletes, `~a` too, to make room, `a>b` renames.
    fn plan(words: &str) -> Plan {
        let on = Side::Destination;
        let actions = words.split_whitespace().map(|word| {
            let (name, work) = if let Some((old, new)) = word.split_once('>') {
                let (entry, renamed) = (entry(old), entry(new));
                (new, Work::Rename { on, entry, renamed, hash: None, edited: false, keep_old: false })
            } else {
                let name = &word[1..];
                let replaces = word.starts_with('=').then(|| entry(name));
                let copy = Copy { to: on, from: entry(name), replaces, over_stranger: false };
                let clears_way = word.starts_with('~');
                let delete = Work::Delete { on, entry: entry(name), clears_way, copied_as: None };
                (name, if word.starts_with(['-', '~']) { delete } else { Work::Copy(copy) })
            };
            Action { key: key(name), work, reason: Reason::Unchanged, conflict: false }
        });
        let mut actions: Vec<_> = actions.collect();
        actions.sort_by(|a, b| a.key.cmp(&b.key));
        Plan { actions }
    }

    #[test]
    fn names_that_are_alike_are_asked_about_once() {
        for (words, expected) in [
            ("+a +b", ""),
            ("+FILE +file", "FILE file"),
            ("+A/x +a/y", "A a"),
            ("+A/x +A/y +a/x +a/y", "A a"),
            ("+d/A/x +d/a/y", "d/A d/a"),
            ("+D/a +d/A", "D d"),
            ("=FILE +file", ""),
            ("-FILE +file", ""),
            ("x>FILE +file", "FILE file"),
            ("+\u{e9} +e\u{301}", "e\u{301} \u{e9}"),
            ("+aa +Aa +AA", "AA Aa, AA aa, Aa aa"),
        ] {
            let found = doubts(&plan(words), Side::Destination);
            let found: Vec<_> = found.iter().map(|(one, other)| format!("{one} {other}")).collect();
            assert_eq!(found.join(", "), expected, "{words}");
            assert!(doubts(&plan(words), Side::Source).is_empty(), "{words}");
        }
    }

    #[test]
    fn of_names_that_clash_neither_is_touched() {
        for (words, one, other, expected) in [
            ("+FILE +file +other", "FILE", "file", "FILE! file! other"),
            ("+FILE =file", "FILE", "file", "FILE! file!"),
            ("+FILE", "FILE", "file", "FILE! file!"),
            ("+A/x +a/y =a/z", "A", "a", "A/x! a/y! a/z"),
            ("+A/x =a/z", "A", "a", "A/x! a! a/z"),
            // `|`: the other side takes the names for one.
            ("| ~a +a/x", "a", "A", "A! a! a/x!"),
            ("| ~a/x +a", "a/x", "a/X", "a! a/X! a/x!"),
            ("| -a +b", "a", "A", "A! a! b"),
        ] {
            let (side, words) = match words.strip_prefix("| ") {
                Some(words) => (Side::Source, words),
                None => (Side::Destination, words),
            };
            let mut plan = plan(words);
            let clash = Clash { side, one: key(one), other: key(other) };
            block(&mut plan, &BTreeSet::from([clash]));
            let told = plan.actions.iter().map(|action| match &action.work {
                Work::Clash { name, with } => {
                    let names = BTreeSet::from([name.as_str(), with.as_str()]);
                    assert_eq!(names, BTreeSet::from([one, other]), "{words}");
                    format!("{}!", action.key)
                }
                _ => action.key.to_string(),
            });
            assert_eq!(told.collect::<Vec<_>>().join(" "), expected, "{words}");
        }
    }

    #[test]
    fn what_is_new_in_a_folder_that_is_spelled_anew_goes_with_it() {
        for (here, elsewhere, after) in [
            ("d/b>D/b", "+d/e/z", "D/e/z"),
            ("d/b>D/b", "+d/e/z +D/e/z", "D/e/z d/e/z"),
            ("d/b>D/b", "=d/e/z", "d/e/z"),
            ("d/b>x/b", "+d/e/z", "d/e/z"),
            ("d/b>D/B", "+d/c", "D/c"),
            ("d/e/f>D/E/f", "+d/e/z +d/z +da/z", "D/E/z D/z da/z"),
            ("d/e/f>d/E/f", "+d/e/z +d/z", "d/E/z d/z"),
            ("", "+d/e/z", "d/e/z"),
        ] {
            let mut all = plan(here);
            all.actions.extend(plan(elsewhere).actions.into_iter().map(|mut action| {
                if let Work::Copy(copy) = &mut action.work {
                    copy.to = Side::Source;
                }
                action
            }));
            all.actions.sort_by(|a, b| a.key.cmp(&b.key));
            follow(&mut all, Side::Destination);
            let copied = all.actions.iter().filter(|action| matches!(action.work, Work::Copy(_)));
            let keys: Vec<_> = copied.map(|action| action.key.to_string()).collect();
            assert_eq!(keys.join(" "), after, "{here}: {elsewhere}");
            assert!(all.actions.is_sorted_by_key(|action| action.key.clone()), "{here}: {elsewhere}");
        }
    }

    #[test]
    fn what_leaves_makes_way() {
        let first = |plan: &Plan| {
            let first = |action: &&Action| matches!(action.work, Work::Delete { clears_way: true, .. });
            let keys = plan.actions.iter().filter(first).map(|action| action.key.to_string());
            keys.collect::<Vec<_>>().join(" ")
        };
        for (words, created, listed, leaves, goes_first) in [
            ("+README -readme -other", "README", "readme", "readme", "readme"),
            ("+docs/a -Docs/a -Docs/b/c -Docs2/a", "docs/a", "Docs", "Docs/a Docs/b/c", "Docs/a Docs/b/c"),
            ("Docs/a>docs/a", "docs/a", "Docs", "Docs/a", ""),
            ("readme>README", "README", "readme", "readme", ""),
            ("+README =readme", "README", "readme", "", ""),
            ("A/x>a", "a", "A", "A/x", "A/x"),
            ("File>FILE2 file2>FILE", "FILE2", "file2", "file2", "File"),
            ("File>other file2>FILE", "FILE", "File", "File", "file2"),
            ("Docs/a>docs/b", "docs/b", "Docs", "Docs/a", ""),
        ] {
            let mut plan = plan(words);
            let (created, listed) = (key(created), key(listed));
            let leaving = leaving(&plan, Side::Destination, &listed);
            let shown: Vec<_> = leaving.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), leaves, "{words}");
            clear_way(&mut plan, Side::Source, &created, &listed);
            assert_eq!(first(&plan), "", "{words}: of the other side");
            clear_way(&mut plan, Side::Destination, &created, &listed);
            assert_eq!(first(&plan), goes_first, "{words}");
            assert!(plan.actions.is_sorted_by_key(|action| action.key.clone()), "{words}");
        }
    }
}
