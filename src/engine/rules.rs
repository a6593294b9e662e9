//! Whose rules count, and for how long.
//!
//! The rules of a folder come with its listing. Those of a store are objects: they are remembered, and if the listing shows
//! others they are read, and both sides are surveyed once more. Rules that were in force stay known when they are
//! gone, and hold files back until the user accepts it (`held`).

use std::collections::BTreeMap;

use futures::StreamExt;

use super::past::Past;
use super::prepare::Prepared;
use super::{epoch, unreachable};
use crate::client::Listed;
use crate::code::NoticeCode;
use crate::diff::SeenRules;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::filter::layers::Book;
use crate::filter::{IGNORE_FILE, Rules};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::mode::SyncMode;
use crate::notice::Notice;
use crate::plan::{Action, Plan, Reason, Work};
use crate::report::Recorder;
use crate::side::{Side, Sides};
use crate::state::{BaseRow, RuleFile, RulesRecord};
use crate::survey::Survey;

mod held;

/// A file of rules is not longer.
const MOST_BYTES: u64 = 1024 * 1024;

/// How often the rules of a store may change while it is surveyed.
pub(super) const SURVEYS: usize = 4;

/// Returns the rules that are known of sides whose listings do not tell them.
pub(super) fn known(record: &RulesRecord) -> Sides<Book> {
    let book = |files: &BTreeMap<String, RuleFile>| {
        files.iter().map(|(key, file)| (folder_of(key), Rules::parse(&file.text).0)).collect()
    };
    Sides::new(book(&record.files.source), book(&record.files.destination))
}

/// Returns the rules that are gone and hold files of each side.
pub(super) fn held(record: &RulesRecord) -> Sides<Vec<Book>> {
    let book = |texts: &held::Texts| {
        texts.iter().map(|(folder, text)| (folder.clone(), Rules::parse(text).0)).collect()
    };
    let books = |side: Side| record.held.get(side).iter().map(book).collect();
    Sides::new(books(Side::Source), books(Side::Destination))
}

/// Returns the folder that a file of rules is in.
fn folder_of(key: &str) -> String {
    key.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned())
}

/// Reads the first file of rules that a side which is a store was met to have, and that is not known. Returns whether there
/// is one.
///
/// # Errors
/// As [`learn`].
pub(super) async fn learn_next(
    record: &mut RulesRecord,
    side: Side,
    met: &BTreeMap<Key, Entry>,
    prepared: &Prepared,
) -> Result<bool> {
    let files = record.files.get_mut(side);
    let is_new = |(key, entry): &(&Key, &Entry)| {
        files.get(key.as_str()).is_none_or(|file| file.version != version(entry))
    };
    let Some((key, entry)) = met.iter().find(is_new) else { return Ok(false) };
    let file = RuleFile { version: version(entry), text: read(side, entry, prepared).await? };
    files.insert(key.as_str().to_owned(), file);
    Ok(true)
}

/// Reads the rules of stores that are not those known. Returns whether there were any.
///
/// # Errors
/// Rules that could not be read: without them what they exclude would be synced.
pub(super) async fn learn(
    record: &mut RulesRecord,
    seen: &Sides<SeenRules>,
    prepared: &Prepared,
) -> Result<bool> {
    let mut has_changed = false;
    for side in Side::BOTH {
        if prepared.listed.get(side).is_folder() {
            continue;
        }
        let mut files = BTreeMap::new();
        let lost = still_there(record, side, &seen.get(side).files, prepared).await?;
        for (key, entry) in seen.get(side).files.iter().chain(&lost) {
            let version = version(entry);
            let old = record.files.get(side).get(key.as_str()).filter(|file| file.version == version);
            let file = match old {
                Some(file) => file.clone(),
                None => RuleFile { version, text: read(side, entry, prepared).await? },
            };
            files.insert(key.as_str().to_owned(), file);
        }
        has_changed |= files != *record.files.get(side);
        *record.files.get_mut(side) = files;
    }
    Ok(has_changed)
}

/// Returns the files of rules that are known and that a listing does not show, and that are there all the same: it may be late.
///
/// # Errors
/// A store that could not be asked.
async fn still_there(
    record: &RulesRecord,
    side: Side,
    listed: &BTreeMap<Key, Entry>,
    prepared: &Prepared,
) -> Result<BTreeMap<Key, Entry>> {
    let mut found = BTreeMap::new();
    let known = record.files.get(side).keys().filter_map(|key| Key::of_object(key).ok());
    for key in known.filter(|key| !listed.contains_key(key)) {
        let asked = prepared.listed.get(side).head(&key).await;
        let asked = asked.map_err(|error| {
            unreachable(error, &format!("the rules in `{key}` of the {side} cannot be asked for"))
        });
        if let Some(Listed::File(entry)) = asked? {
            found.insert(key, entry);
        }
    }
    Ok(found)
}

fn version(entry: &Entry) -> String {
    match &entry.fingerprint {
        Fingerprint::Object(etag) => etag.as_str().to_owned(),
        Fingerprint::File(_) => String::new(),
    }
}

/// Returns whether a folder has other rules than those that were read when it was listed: somebody wrote them just then.
///
/// # Errors
/// As [`learn`].
pub(super) async fn have_changed(seen: &Sides<SeenRules>, prepared: &Prepared) -> Result<bool> {
    for side in Side::BOTH.into_iter().filter(|side| prepared.listed.get(*side).is_folder()) {
        let SeenRules { files, rules } = seen.get(side);
        for entry in files.values() {
            let Some(rules) = rules.get(&folder_of(entry.key.as_str())) else { return Ok(true) };
            match text_of(side, entry, prepared).await {
                Ok(text) if text == rules.text() => {}
                Err(error) if error.kind() != ErrorKind::Changed => return Err(unread(side, entry, error)),
                _ => return Ok(true),
            }
        }
    }
    Ok(false)
}

/// Refuses rules that a crash of the machine has emptied: what they excluded would be synced.
///
/// # Errors
/// The first file of rules that is empty with the time it had when it was not.
pub(super) fn refuse_emptied(found: &Survey) -> Result<()> {
    let emptied = found.items.iter().find_map(|item| match item.verdict.reason {
        Reason::SuspectEmpty(side) if item.key.file_name() == IGNORE_FILE => Some((side, &item.key)),
        _ => None,
    });
    let Some((side, key)) = emptied else { return Ok(()) };
    let message =
        format!("`{key}` of the {side} is empty, with the modification time it had when it was not");
    let error = Error::new(ErrorKind::Invalid, message).with_hint(
        "a crash of the machine leaves files so; put the rules back, or `touch` the file if they are meant to be gone",
    );
    Err(unreachable(error, "rules cannot be believed, and without them nothing is synced"))
}

fn unread(side: Side, entry: &Entry, error: Error) -> Error {
    unreachable(error, &format!("the rules in `{}` of the {side} cannot be read", entry.key))
}

async fn read(side: Side, entry: &Entry, prepared: &Prepared) -> Result<String> {
    text_of(side, entry, prepared).await.map_err(|error| unread(side, entry, error))
}

async fn text_of(side: Side, entry: &Entry, prepared: &Prepared) -> Result<String> {
    if entry.size > MOST_BYTES {
        let error = Error::new(ErrorKind::Invalid, format!("read `{}`: longer than 1 MiB", entry.key));
        return Err(error.with_hint("shorten the file"));
    }
    // Damaged on their way they would exclude something else.
    let mut body = prepared.listed.get(side).read(entry).await?.checked();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunks.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    if bytes.contains(&0) {
        let error = Error::new(ErrorKind::Invalid, format!("read `{}`: it is not text in UTF-8", entry.key));
        return Err(error.with_hint("save it as UTF-8; without its rules nothing is synced"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns what files of rules an action changes, on which side, and whether one goes or is replaced.
fn touches(action: &Action) -> Vec<(Side, Key, bool)> {
    let touched = match &action.work {
        Work::Delete { on, entry, .. } => vec![(*on, &entry.key, true)],
        Work::Rename { on, entry, keep_old, edited, .. } => {
            let old_and_new = [(*on, &entry.key, !keep_old), (*on, &action.key, false)];
            // What was edited there replaces what the other side has under the new name.
            old_and_new.into_iter().chain(edited.then_some((on.other(), &action.key, true))).collect()
        }
        Work::Copy(copy) => vec![(copy.to, &action.key, copy.replaces.is_some())],
        Work::KeepBoth { winner, .. } => vec![(winner.other(), &action.key, true)],
        _ => Vec::new(),
    };
    let rules = touched.into_iter().filter(|(_, key, _)| key.file_name() == IGNORE_FILE);
    rules.map(|(side, key, is_taken)| (side, key.clone(), is_taken)).collect()
}

fn takes(action: &Action) -> bool {
    touches(action).iter().any(|(_, _, is_taken)| *is_taken)
}

/// Takes out of a plan what would take rules away, and returns their names: rules that change while a run is on are left for the
/// next one, which remembers them first.
pub(super) fn leave_rules(plan: &mut Plan) -> Vec<Key> {
    let left = plan.actions.iter().filter(|action| takes(action)).map(|action| action.key.clone());
    let left = left.collect();
    plan.actions.retain(|action| !takes(action));
    left
}

/// Tells of files that rules which are gone still hold back.
pub(super) fn tell(found: &Survey, recorder: &Recorder) {
    for side in Side::BOTH {
        let held: &Vec<Key> = found.held.get(side);
        if held.is_empty() {
            continue;
        }
        let named: Vec<String> = held.iter().take(3).map(|key| format!("`{key}`")).collect();
        let (count, stay) = if held.len() == 1 {
            ("1 file".into(), "stays")
        } else {
            (format!("{} files", held.len()), "stay")
        };
        let message = format!(
            "{count} at the {side} {stay} excluded, although the rule that excluded them is gone: {}{}",
            named.join(", "),
            if held.len() > named.len() { ", ..." } else { "" },
        );
        let hint = "--accept-rules syncs them from now on; or exclude them by a rule of the side they are on";
        recorder.emit(&Event::Warned(Notice::new(NoticeCode::RulesWidened, message, hint)));
    }
}

/// Returns the rules that a survey has seen.
fn seen(found: &Survey, record: &RulesRecord, mode: SyncMode) -> held::Seen {
    let now = |side: Side| {
        let listed = &found.rules.get(side).rules;
        let told = listed.iter().map(|(folder, rules)| (folder.clone(), rules.text().to_owned()));
        let kept = record.files.get(side).iter().map(|(key, file)| (folder_of(key), file.text.clone()));
        told.chain(kept).collect()
    };
    let decides = |side: Side| !mode.is_mirror() || mode.authority() == Some(side);
    let is_whole = Sides::new(!found.unreadable.source, !found.unreadable.destination);
    held::Seen {
        now: Sides::new(now(Side::Source), now(Side::Destination)),
        may_change: Sides::new(
            is_whole.source && decides(Side::Source),
            is_whole.destination && decides(Side::Destination),
        ),
        is_whole,
        carried: found.carried.clone(),
        ..held::Seen::default()
    }
}

/// Finds the folders in which a run of another pair, and no user, has changed the rules of a folder that both pairs sync; the rules
/// that were there go on to hold its files. Returns whether they did not before.
///
/// # Errors
/// A marker that could not be read.
pub(super) async fn find_carried(
    record: &mut RulesRecord,
    found: &mut Survey,
    past: &Past,
    prepared: &Prepared,
    mode: SyncMode,
) -> Result<bool> {
    let mut holds_more = false;
    for side in Side::BOTH.into_iter().filter(|side| prepared.listed.get(*side).is_folder()) {
        let changed = held::changed(record, &seen(found, record, mode), side);
        if changed.is_empty() {
            continue;
        }
        let marks = past.marks.get(side);
        let carried = epoch::carried_by_others(marks, &past.record.pair_id, side, prepared).await?;
        for (folder, before, after) in changed {
            if carried.iter().any(|carried| carried.explains(&folder, before.as_ref(), after.as_ref())) {
                let taken = before.into_iter().map(|text| (folder.clone(), text)).collect();
                holds_more |= held::hold(record, side, &taken);
                found.carried.get_mut(side).insert(folder);
            }
        }
    }
    Ok(holds_more)
}

/// Frees what the user of a side has let in, if a survey has found something that is held back. Returns whether there was any.
pub(super) fn let_in(record: &mut RulesRecord, found: &Survey, mode: SyncMode) -> bool {
    if Side::BOTH.iter().all(|side| found.held.get(*side).is_empty()) {
        return false;
    }
    let before = record.held.clone();
    held::free_own(record, &seen(found, record, mode));
    record.held != before
}

/// A file of rules that a run means to change.
#[derive(Debug)]
pub(super) struct Meant {
    /// On which side.
    side: Side,
    key: Key,
    /// What the other side has of it.
    there: Option<Fingerprint>,
    /// And what is in that.
    text: Option<String>,
}

impl Past {
    /// Remembers the rules that are in force in this run. Returns those that it means to change.
    pub(super) fn remember_rules(
        &mut self,
        found: &Survey,
        plan: &Plan,
        mode: SyncMode,
        is_accepted: bool,
    ) -> Vec<Meant> {
        let mut record = found.rules_record.clone();
        let mut seen = seen(found, &record, mode);
        let touched = plan.actions.iter().flat_map(|action| {
            let is_copy = matches!(action.work, Work::Copy(_));
            touches(action).into_iter().map(move |touched| (touched, is_copy))
        });
        let mut meant = Vec::new();
        for ((side, key, is_taken), is_copy) in touched {
            let folder = folder_of(key.as_str());
            let there = found.rules.get(side.other()).files.get(&key).map(|entry| entry.fingerprint.clone());
            let text = there.as_ref().and_then(|_| seen.now.get(side.other()).get(&folder).cloned());
            held::carry(&mut record, side, &folder, (seen.now.get(side).get(&folder), text.as_ref()));
            meant.push(Meant { side, key, there, text });
            if is_taken {
                seen.taken.get_mut(side).insert(folder.clone());
            }
            if !is_copy {
                seen.gone.get_mut(side).insert(folder.clone());
            }
            seen.touched.get_mut(side).insert(folder);
        }
        held::remember(&mut record, &seen, is_accepted);
        self.record.tail.set_rules(&record);
        meant
    }

    /// Notes which of the rules that a run meant to put somewhere are there, by what it has recorded.
    ///
    /// # Errors
    /// A base that could not be read.
    pub(super) async fn note_arrived(&mut self, meant: Vec<Meant>) -> Result<()> {
        let mut arrived = Sides::<BTreeMap<String, Option<String>>>::default();
        let mut record = self.record.tail.rules();
        for Meant { side, key, there, text } in meant {
            let has_arrived = match (self.state.get(&key).await?, there) {
                (Some(BaseRow::Agreed(row)), Some(there)) => *row.fingerprint(side.other()) == there,
                (Some(BaseRow::Agreed(_)), None) | (_, Some(_)) => false,
                (_, None) => true,
            };
            if has_arrived {
                if text.is_none() {
                    // In a store nobody need look for it.
                    record.files.get_mut(side).remove(key.as_str());
                }
                arrived.get_mut(side).insert(folder_of(key.as_str()), text);
            }
        }
        if arrived != Sides::default() {
            held::arrive(&mut record, &arrived);
            self.record.tail.set_rules(&record);
        }
        Ok(())
    }
}
