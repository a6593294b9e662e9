//! Names of a plan that a side may take for one: which to ask about, and what becomes of the actions.
//!
//! Of two names that a side cannot hold apart neither is touched. A name that only makes way for another spelling of
//! itself goes first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Copy, Plan, Reason, Work};
use crate::key::Key;
use crate::mode::Side;
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

/// Where the other side's folder is spelled anew, as `listed` is here, what is new in it goes with it: returns the name by
/// which `key` is copied to `side` then.
pub fn follow(plan: &mut Plan, side: Side, key: &Key, (asked, listed): (&Key, &Key)) -> Option<Key> {
    let above = format!("{}/", folded(listed.as_str()));
    let is_old = |old: &Key| !old.is_below(listed.as_str()) && folded(old.as_str()).starts_with(&above);
    let is_spelled_anew = |action: &Action| match &action.work {
        Work::Rename { on, entry, keep_old: false, .. } if *on == side.other() => {
            action.key.is_below(listed.as_str()) && is_old(&entry.key)
        }
        _ => false,
    };
    if !plan.actions.iter().any(is_spelled_anew) {
        return None;
    }
    let new = Key::parse(&format!("{listed}{}", key.as_str().strip_prefix(asked.as_str())?)).ok()?;
    let is_copy = |action: &Action| matches!(&action.work, Work::Copy(copy) if copy.to == side);
    let at = plan.actions.iter().position(|action| action.key == *key && is_copy(action))?;
    let free = plan.actions.binary_search_by(|action| action.key.cmp(&new)).err()?;
    plan.actions[at].key = new.clone();
    // Both places are counted before either moves.
    let action = plan.actions.remove(at);
    plan.actions.insert(if at < free { free - 1 } else { free }, action);
    Some(new)
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

/// Makes a deletion and a copy of a rename out of the folder whose name the file is to have.
fn part(plan: &mut Plan, side: Side, key: &Key, listed: &Key) {
    let is_meant = |action: &&mut Action| {
        action.key == *key
            && matches!(&action.work, Work::Rename { on, entry, edited: false, .. }
                if *on == side && entry.key.is_below(listed.as_str()) && !key.is_below(listed.as_str()))
            && folded(key.as_str()) == folded(listed.as_str())
    };
    let Some(action) = plan.actions.iter_mut().find(is_meant) else { return };
    let Work::Rename { entry, renamed, .. } = action.work.clone() else { return };
    action.work = Work::Copy(Copy { to: side, from: renamed, replaces: None, over_stranger: false });
    let (key, reason) = (entry.key.clone(), action.reason);
    let work = Work::Delete { on: side, entry, clears_way: true, copied_as: None };
    let at = plan.actions.partition_point(|action| action.key < key);
    plan.actions.insert(at, Action { key, work, reason, conflict: false });
}

/// Keeps the plan from touching names that a side cannot hold apart.
pub fn block(plan: &mut Plan, clashes: &BTreeSet<Clash>) {
    for Clash { side, one, other } in clashes {
        for (name, with) in [(one, other), (other, one)] {
            let mut is_told = false;
            for action in &mut plan.actions {
                let is_below = created(action, *side).is_some_and(|key| key.is_below(name.as_str()));
                if action.key == *name || is_below {
                    is_told = true;
                    action.work = Work::Clash { name: name.clone(), with: with.clone() };
                    (action.reason, action.conflict) = (Reason::NameClash(*side), false);
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
        Entry { key: key(name), size: 1, modified: None, fingerprint }
    }

    /// Writes a plan for the destination: `+a` makes, `=a` replaces, `-a` deletes, `a>b` renames.
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
                let delete = Work::Delete { on, entry: entry(name), clears_way: false, copied_as: None };
                (name, if word.starts_with('-') { delete } else { Work::Copy(copy) })
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
        ] {
            let mut plan = plan(words);
            let clash = Clash { side: Side::Destination, one: key(one), other: key(other) };
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
        for (elsewhere, words, new) in [
            ("d/b>D/b", "+d/e/z", Some("D/e/z")),
            ("d/b>D/b", "+d/e/z +D/e/z", None),
            ("d/b>x/b", "+d/e/z", None),
            ("", "+d/e/z", None),
        ] {
            let mut all = plan(words);
            let other = plan(elsewhere).actions.into_iter().map(|mut action| {
                if let Work::Rename { on, .. } = &mut action.work {
                    *on = Side::Source;
                }
                action
            });
            all.actions.extend(other);
            all.actions.sort_by(|a, b| a.key.cmp(&b.key));
            let followed = follow(&mut all, Side::Destination, &key("d/e/z"), (&key("d"), &key("D")));
            assert_eq!(followed, new.map(key), "{words}");
            let has = |name: &str| all.actions.iter().any(|action| action.key == key(name));
            assert_eq!((has("d/e/z"), has("D/e/z")), (new.is_none(), words.len() > 6 || new.is_some()));
            assert!(all.actions.is_sorted_by_key(|action| action.key.clone()), "{words}");
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
