//! Whose rules count, and for how long.
//!
//! The rules of a folder come with its listing. Those of a store are objects: they are remembered, and if the listing shows
//! others they are read, and both sides are surveyed once more. Rules that were in force stay known when they are
//! gone, and hold files of the other side back until the user accepts it.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::past::Past;
use super::prepare::Prepared;
use super::unreachable;
use crate::code::NoticeCode;
use crate::diff::SeenRules;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::filter::layers::Book;
use crate::filter::{IGNORE_FILE, Rules};
use crate::fingerprint::Fingerprint;
use crate::guard::Notice;
use crate::key::Key;
use crate::mode::{Side, Sides, SyncMode};
use crate::plan::{Action, Plan, Work};
use crate::report::Recorder;
use crate::state::{RuleFile, RulesRecord};
use crate::survey::Survey;

/// A file of rules is not longer.
const MOST_BYTES: u64 = 1024 * 1024;

/// How many earlier texts of one file are remembered. Ours: a file of rules is edited a few times before anybody syncs.
const MOST_TEXTS: usize = 8;

/// How often the rules of a store may change while it is surveyed.
pub(super) const SURVEYS: usize = 4;

/// Returns the rules that are known of sides whose listings do not tell them.
pub(super) fn known(record: &RulesRecord) -> Sides<Book> {
    let book = |files: &BTreeMap<String, RuleFile>| {
        files.iter().map(|(key, file)| (folder_of(key), Rules::parse(&file.text).0)).collect()
    };
    Sides::new(book(&record.files.source), book(&record.files.destination))
}

/// Returns the rules that the sides had before, in as many layers as a file had texts.
pub(super) fn before(record: &RulesRecord) -> Sides<Vec<Book>> {
    let layers = |texts: &BTreeMap<String, Vec<String>>| {
        let most = texts.values().map(Vec::len).max().unwrap_or(0);
        let layer = |back: usize| {
            let of = |(folder, texts): (&String, &Vec<String>)| {
                let text = texts.len().checked_sub(back + 1).and_then(|at| texts.get(at)).or(texts.first())?;
                Some((folder.clone(), Rules::parse(text).0))
            };
            texts.iter().filter_map(of).collect()
        };
        (0..most).map(layer).collect()
    };
    Sides::new(layers(&record.before.source), layers(&record.before.destination))
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
        for (key, entry) in &seen.get(side).files {
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

/// Takes what the sides have now into what they had before; if the user has accepted what is gone, in its place. Where one
/// side has changed or deleted rules that the other still has as they were, this run carries that over: whoever
/// did it frees what is his, so what the other side had is forgotten.
///
/// A side of which not everything could be listed, or that a mirror puts right, has changed nothing: `may_change`.
///
/// Rules that the run itself takes from a side, in the folders `taken`, nobody of that side has given up. From then on they count
/// as rules that the other side had, and hold the files of the side they were taken from.
pub(super) fn remember(
    record: &mut RulesRecord,
    seen: &Sides<SeenRules>,
    is_accepted: bool,
    may_change: Sides<bool>,
    taken: &Sides<BTreeSet<String>>,
) {
    let now = |side: Side| -> BTreeMap<String, String> {
        let told =
            seen.get(side).rules.iter().map(|(folder, rules)| (folder.clone(), rules.text().to_owned()));
        let known = record.files.get(side).iter().map(|(key, file)| (folder_of(key), file.text.clone()));
        told.chain(known).collect()
    };
    let now = Sides::new(now(Side::Source), now(Side::Destination));
    if is_accepted {
        record.before = Sides::default();
    }
    let echoes = Side::BOTH.map(|side| {
        let other = side.other();
        let last = |folder: &String| record.before.get(other).get(folder).and_then(|texts| texts.last());
        let is_echo = |(folder, text): &(&String, &String)| {
            let is_changed = *may_change.get(other)
                && last(folder) == Some(*text)
                && now.get(other).get(*folder) != Some(*text);
            is_changed || taken.get(side).contains(*folder)
        };
        (side, now.get(side).iter().filter(is_echo).map(|(folder, _)| folder.clone()).collect::<Vec<_>>())
    });
    for (side, echoes) in echoes {
        let before = record.before.get_mut(side);
        before.retain(|folder, _| !echoes.contains(folder));
        for (folder, text) in now.get(side).iter().filter(|(folder, _)| !echoes.contains(folder)) {
            let texts = before.entry(folder.clone()).or_default();
            texts.retain(|old| old != text);
            texts.push(text.clone());
            let surplus = texts.len().saturating_sub(MOST_TEXTS);
            texts.drain(..surplus);
        }
    }
    for side in Side::BOTH.into_iter().filter(|_| !is_accepted) {
        for folder in taken.get(side) {
            let Some(text) = now.get(side).get(folder) else { continue };
            let texts = record.before.get_mut(side.other()).entry(folder.clone()).or_default();
            if !texts.contains(text) {
                texts.insert(0, text.clone());
            }
        }
    }
}

/// Returns the side from which an action takes a file of rules away, and the folder of that.
fn takes(action: &Action) -> Option<(Side, String)> {
    let (side, key) = match &action.work {
        Work::Delete { on, entry, .. } | Work::Rename { on, entry, keep_old: false, .. } => (*on, &entry.key),
        Work::Copy(copy) if copy.replaces.is_some() => (copy.to, &action.key),
        Work::KeepBoth { winner, .. } => (winner.other(), &action.key),
        _ => return None,
    };
    (key.file_name() == IGNORE_FILE).then(|| (side, folder_of(key.as_str())))
}

/// Takes out of a plan what would take rules away, and returns their names: rules that change while a run is on are left for the
/// next one, which remembers them first.
pub(super) fn leave_rules(plan: &mut Plan) -> Vec<Key> {
    let left = plan.actions.iter().filter(|action| takes(action).is_some()).map(|action| action.key.clone());
    let left = left.collect();
    plan.actions.retain(|action| takes(action).is_none());
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
            "{count} at the {side} {stay} excluded, although the rule that excluded them is gone at the {}: {}{}",
            side.other(),
            named.join(", "),
            if held.len() > named.len() { ", ..." } else { "" },
        );
        let hint = "--accept-rules syncs them from now on; or exclude them by a rule of the side they are on";
        recorder.emit(&Event::Warned(Notice::new(NoticeCode::RulesWidened, message, hint)));
    }
}

impl Past {
    /// Remembers the rules that are in force in this run.
    pub(super) fn remember_rules(&mut self, found: &Survey, plan: &Plan, mode: SyncMode, is_accepted: bool) {
        let counts = |side: Side| {
            let decides = !mode.is_mirror() || mode.authority() == Some(side);
            decides && !*found.unreadable.get(side)
        };
        let may_change = Sides::new(counts(Side::Source), counts(Side::Destination));
        let mut record = found.rules_record.clone();
        let mut taken: Sides<BTreeSet<String>> = Sides::default();
        for (side, folder) in plan.actions.iter().filter_map(takes) {
            taken.get_mut(side).insert(folder);
        }
        remember(&mut record, &found.rules, is_accepted, may_change, &taken);
        self.record.tail.set_rules(&record);
    }
}
