//! What rules that are gone still hold back, and of whom.
//!
//! Each side has a list of *books*: the rules of all folders as the other side had them together at some time, or as a run took
//! them away from the side itself. A file without a past that any of them excludes stays excluded. Only who uses a side frees its
//! files, line by line: what he removes from a file of rules goes from all books of his side, and what he adds to let
//! something in is added to them. Which of two texts a user had before him is known by what the run before meant to put
//! there.

use std::collections::{BTreeMap, BTreeSet};

use crate::marker::CarriedRules;
use crate::side::{Side, Sides};
use crate::state::RulesRecord;

/// How many books a side has. Two of the oldest become one that excludes what either does, so nothing is let in for want of room.
const MOST_BOOKS: usize = 16;

/// How many changes of rules a marker tells of. Ours: a marker is small, and other pairs run soon after.
const MOST_CARRIED: usize = 32;

/// The texts of the rules of a tree, by their folders.
pub(super) type Texts = BTreeMap<String, String>;

/// What a run has seen of rules, and what it means to do about them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The rules of both sides.
    pub(super) now: Sides<Texts>,
    /// The folders whose rules the run takes away or replaces.
    pub(super) taken: Sides<BTreeSet<String>>,
    /// Those in which there may be none for a moment.
    pub(super) gone: Sides<BTreeSet<String>>,
    /// All in which it changes something.
    pub(super) touched: Sides<BTreeSet<String>>,
    /// Whether a side's user can have changed them: not where a mirror puts them right, or not everything could be read.
    pub(super) may_change: Sides<bool>,
    /// Whether everything could be read.
    pub(super) is_whole: Sides<bool>,
    /// The folders whose rules a run of another pair has changed since.
    pub(super) carried: Sides<BTreeSet<String>>,
}

/// Returns the folders in which a side has other rules than the last run saw and meant to put there, with those and these.
pub(super) fn changed(
    record: &RulesRecord,
    seen: &Seen,
    side: Side,
) -> Vec<(String, Option<String>, Option<String>)> {
    if !record.is_known {
        return Vec::new();
    }
    let (now, last) = (seen.now.get(side), record.last.get(side));
    let changed = folders(now, last).filter_map(|folder| {
        let (none, text) = (vec![None], now.get(folder));
        let texts = last.get(folder).unwrap_or(&none);
        let is_known = texts.iter().any(|known| known.as_ref() == text);
        (!is_known).then(|| (folder.clone(), texts.last().cloned().flatten(), text.cloned()))
    });
    changed.collect()
}

/// Has rules that a run took from a side go on to hold its files. Returns whether they did not before.
pub(super) fn hold(record: &mut RulesRecord, side: Side, taken: &Texts) -> bool {
    let books = record.held.get_mut(side);
    let before = books.clone();
    add(books, book(taken));
    *books != before
}

/// Notes for the marker of a side that a run changes rules there.
pub(super) fn carry(
    record: &mut RulesRecord,
    side: Side,
    folder: &str,
    (before, after): (Option<&String>, Option<&String>),
) {
    let carried = record.carried.get_mut(side);
    let change = CarriedRules::new(folder, before, after);
    carried.retain(|known| *known != change);
    carried.push(change);
    let room = carried.len().saturating_sub(MOST_CARRIED);
    carried.drain(..room);
}

/// Remembers the rules that are in force. With `is_accepted` the user gives up all that are gone.
pub(super) fn remember(record: &mut RulesRecord, seen: &Seen, is_accepted: bool) {
    if is_accepted {
        record.held = Sides::default();
    }
    let is_fresh = is_accepted || !record.is_known;
    for side in Side::BOTH {
        let last = record.last.get(side);
        let was = |folder: &String| last.get(folder).and_then(|texts| texts.first()?.as_ref());
        let now = seen.now.get(side);
        if is_fresh || folders(now, last).any(|folder| now.get(folder) != was(folder)) {
            add(record.held.get_mut(side.other()), book(now));
        }
    }
    if !is_fresh {
        free_own(record, seen);
    }
    for side in Side::BOTH.into_iter().filter(|_| !is_accepted) {
        let (here, there) = (seen.now.get(side), seen.now.get(side.other()));
        let mut coming = seen.touched.get(side).iter().filter_map(|folder| there.get(folder));
        if coming.any(|text| rules(text).any(is_negated)) {
            // What it lets in the user of this side has not.
            add(record.held.get_mut(side), book(here));
        }
        for folder in seen.taken.get(side) {
            let text = seen.now.get(side).get_key_value(folder);
            let taken = text.into_iter().map(|(folder, text)| (folder.clone(), text.clone())).collect();
            add(record.held.get_mut(side), book(&taken));
        }
    }
    for side in Side::BOTH {
        note_last(record, seen, side);
    }
    record.is_known = true;
}

/// Frees of each side what its own user has let in since the last run. Once more it changes nothing.
pub(super) fn free_own(record: &mut RulesRecord, seen: &Seen) {
    for side in Side::BOTH.into_iter().filter(|side| record.is_known && *seen.may_change.get(*side)) {
        let (now, there) = (seen.now.get(side), seen.now.get(side.other()));
        let last = std::mem::take(record.last.get_mut(side));
        for folder in folders(now, &last) {
            // A text that both have a run has carried.
            let text = now.get(folder);
            let is_own = !seen.carried.get(side).contains(folder);
            if is_own && (text.is_none() || text != there.get(folder)) {
                free(record.held.get_mut(side), folder, last.get(folder), text);
            }
        }
        *record.last.get_mut(side) = last;
    }
}

/// Remembers what a side has, and what the run means to put there.
fn note_last(record: &mut RulesRecord, seen: &Seen, side: Side) {
    let (now, there) = (seen.now.get(side), seen.now.get(side.other()));
    let last = record.last.get_mut(side);
    if *seen.is_whole.get(side) {
        last.clear();
    }
    for folder in now.keys().chain(seen.touched.get(side)) {
        let mut texts = vec![now.get(folder).cloned()];
        if seen.touched.get(side).contains(folder) && now.get(folder) != there.get(folder) {
            texts.push(there.get(folder).cloned());
        }
        if seen.gone.get(side).contains(folder) {
            texts.push(None);
        }
        last.insert(folder.clone(), texts);
    }
}

/// Notes that what a run meant to put into folders is there, so that whatever else is there later its user has put there.
pub(super) fn arrive(record: &mut RulesRecord, arrived: &Sides<BTreeMap<String, Option<String>>>) {
    for side in Side::BOTH {
        // Where it changed both sides neither tells what the other one has got.
        let there = arrived.get(side.other());
        let alone = arrived.get(side).iter().filter(|(folder, _)| !there.contains_key(*folder));
        let alone = alone.map(|(folder, text)| (folder.clone(), vec![text.clone()]));
        record.last.get_mut(side).extend(alone);
    }
}

fn folders<'a, T, U>(
    one: &'a BTreeMap<String, T>,
    other: &'a BTreeMap<String, U>,
) -> impl Iterator<Item = &'a String> {
    one.keys().chain(other.keys().filter(|folder| !one.contains_key(*folder)))
}

/// Returns the rules of a text, without what is none.
fn rules(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n');
    let lines = lines.map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

fn is_negated(line: &str) -> bool {
    line.starts_with('!')
}

/// Returns the rules of a tree, without what is none.
fn book(texts: &Texts) -> Texts {
    let texts =
        texts.iter().map(|(folder, text)| (folder.clone(), rules(text).collect::<Vec<_>>().join("\n")));
    texts.filter(|(_, text)| !text.is_empty()).collect()
}

/// Frees what the user of a side lets in by a change of rules there: of what he may have had before him, `last`, what is in all of
/// it is removed.
fn free(books: &mut [Texts], folder: &str, last: Option<&Vec<Option<String>>>, now: Option<&String>) {
    let none = [None];
    let last = last.map_or(&none[..], |texts| texts);
    if last.iter().any(|text| text.as_ref() == now) {
        return;
    }
    let of = |text: Option<&String>| -> BTreeSet<String> {
        text.into_iter().flat_map(|text| rules(text)).map(str::to_owned).collect()
    };
    let now_there = of(now);
    let before: Vec<BTreeSet<String>> = last.iter().map(|text| of(text.as_ref())).collect();
    let is_removed =
        |line: &&str| !now_there.contains(*line) && before.iter().all(|text| text.contains(*line));
    let let_in = now.into_iter().flat_map(|text| rules(text)).filter(|line| is_negated(line));
    let let_in: Vec<&str> = let_in.filter(|line| !before.iter().any(|text| text.contains(*line))).collect();
    for book in books {
        let text = book.remove(folder).unwrap_or_default();
        let kept = rules(&text).filter(|line| !is_removed(line));
        let mut lines: Vec<&str> = kept.collect();
        lines.extend(let_in.iter().copied().filter(|line| !rules(&text).any(|own| own == *line)));
        let text = lines.join("\n");
        if !text.is_empty() {
            book.insert(folder.to_owned(), text);
        }
    }
}

/// Adds a book to those that hold files of a side.
fn add(books: &mut Vec<Texts>, book: Texts) {
    if !excludes_something(&book) || books.iter().any(|other| covers(other, &book)) {
        return;
    }
    books.retain(|other| excludes_something(other) && !covers(&book, other));
    books.push(book);
    if books.len() > MOST_BOOKS {
        let (first, second) = (books.remove(0), books.remove(0));
        books.insert(0, union(&first, &second));
    }
}

fn excludes_something(book: &Texts) -> bool {
    book.values().flat_map(|text| rules(text)).any(|line| !is_negated(line))
}

/// Returns whether one book is sure to exclude what another does.
fn covers(one: &Texts, other: &Texts) -> bool {
    let lets_in = one.values().flat_map(|text| rules(text)).any(is_negated);
    let has =
        |folder: &String, line: &str| one.get(folder).is_some_and(|text| rules(text).any(|own| own == line));
    let has_all = |(folder, text): (&String, &String)| {
        rules(text).filter(|line| !is_negated(line)).all(|line| has(folder, line))
    };
    one == other || !lets_in && other.iter().all(has_all)
}

/// Returns a book that excludes what either of two does.
fn union(one: &Texts, other: &Texts) -> Texts {
    let mut both = Texts::new();
    for (folder, text) in one.iter().chain(other) {
        let lines = both.entry(folder.clone()).or_default();
        for line in rules(text).filter(|line| !is_negated(line)) {
            if rules(lines).any(|known| known == line) {
                continue;
            }
            if !lines.is_empty() {
                lines.push('\n');
            }
            lines.push_str(line);
        }
    }
    both
}
