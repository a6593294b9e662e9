//! Evidence for renames: reads the files that may be renamed ones, and what renames that were cut off may have left.

use std::collections::{HashMap, VecDeque};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::READERS;
use crate::control::SyncController;
use crate::diff::{Change, Observed};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::examine::{Examined, Examiner, listed_hashes};
use crate::fingerprint::{ContentHash, HashForm};
use crate::key::Key;
use crate::plan::conflict_name::CopyCounts;
use crate::plan::{Item, rename};
use crate::report::Recorder;
use crate::side::{Side, Sides};

/// What was taken out of the items, because nobody could tell what belongs to what.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Paths that changed while they were looked at.
    pub(crate) moving: Vec<Key>,
    /// Whether something could not be read, which has been told.
    pub(crate) unreadable: bool,
    /// New names of announced renames that never took place: their rows must go before anything else is recorded.
    pub(crate) never_renamed: Vec<Key>,
}

/// Looks for renames among `items`: new files of the size of a vanished one are read, and so is what a rename in a store
/// may have left half done. If an edited file may have been renamed to one that cannot be read, both are taken out: as
/// two files that have nothing to do with each other they would end otherwise. Any other is no rename for now, and
/// copying it will say why it could not be read.
///
/// # Errors
/// Those that end a run.
pub(crate) async fn look(
    examiner: &Examiner,
    items: &mut Vec<Item>,
    copies: &CopyCounts,
    control: &SyncController,
    recorder: &Recorder,
) -> Result<Held> {
    let new = of_new_files(items);
    let mut unread = learn(examiner, items, new, control).await?;
    let halves = rename::wanted_contents(items);
    let halves = halves.into_iter().map(|(index, side)| (index, side, HashForm::Whole)).collect();
    unread.extend(learn(examiner, items, halves, control).await?);
    let mut out = held_by(items, copies, unread)?;
    let mut never_renamed = Vec::new();
    for index in rename::strangers(items) {
        if out.contains_key(&index) {
            continue;
        }
        never_renamed.push(items[index].key.clone());
        match examiner.examine(as_never_synced(&items[index])).await {
            Examined::Item(item) => items[index] = *item,
            Examined::Moving(_) => drop(out.insert(index, None)),
            Examined::Unreadable(_, error) if error.ends_the_run() => return Err(error),
            Examined::Unreadable(_, error) => drop(out.insert(index, Some(("read", error)))),
        }
    }
    Ok(Held { never_renamed, ..take_out(items, &out, recorder) })
}

/// Returns which new files to read: those of the size of a file that vanished, in the form of its hash.
fn of_new_files(items: &[Item]) -> VecDeque<(usize, Side, HashForm)> {
    let mut wanted = VecDeque::new();
    for side in Side::BOTH {
        let sizes = rename::wanted_hashes(items, side);
        for (index, item) in items.iter().enumerate() {
            if let Some(entry) = item.found.get(side)
                && rename::appeared(item, side)
                && let Some(form) = sizes.get(&entry.size)
            {
                wanted.push_back((index, side, *form));
            }
        }
    }
    wanted
}

/// A file that could not be read: the item, the side and why.
type Unread = (usize, Side, Error);

/// Reads files and notes their hashes.
async fn learn(
    examiner: &Examiner,
    items: &mut [Item],
    mut wanted: VecDeque<(usize, Side, HashForm)>,
    control: &SyncController,
) -> Result<Vec<Unread>> {
    let mut under_way = FuturesUnordered::new();
    let (mut learned, mut unread) = (Vec::new(), Vec::new());
    loop {
        control.checkpoint().await?;
        while under_way.len() < READERS
            && let Some((index, side, form)) = wanted.pop_front()
        {
            let item = &items[index];
            under_way.push(async move { (index, side, content(examiner, item, side, form).await) });
        }
        match under_way.next().await {
            None => break,
            Some((index, side, Ok(hash))) => learned.push((index, side, hash)),
            Some((index, side, Err(error))) => unread.push((index, side, error)),
        }
    }
    drop(under_way);
    for (index, side, hash) in learned {
        *items[index].hashes.get_mut(side) = hash;
    }
    Ok(unread)
}

async fn content(
    examiner: &Examiner,
    item: &Item,
    side: Side,
    form: HashForm,
) -> Result<Option<ContentHash>> {
    let Some(entry) = item.found.get(side) else { return Ok(None) };
    let listed = listed_hashes(entry).into_iter().find(|hash| hash.form() == form);
    match listed {
        Some(hash) => Ok(Some(hash)),
        None => Ok(examiner.hash(side, entry, &[form]).await?.first().copied()),
    }
}

/// What to take out, by index, and what to say of each: the action that fails and why, or nothing of one that moves.
type Out = HashMap<usize, Option<(&'static str, Error)>>;

/// Returns what could not be read with what may have been renamed to it.
fn held_by(items: &[Item], copies: &CopyCounts, unread: Vec<Unread>) -> Result<Out> {
    let mut out = Out::new();
    for (index, side, error) in unread {
        let others = rename::depend_on(items, copies, index, side);
        if others.is_empty() {
            continue;
        }
        if error.ends_the_run() {
            return Err(error);
        }
        let moves = matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound);
        for other in others {
            let (key, name) = (&items[index].key, &items[other].key);
            let message =
                format!("`{name}` may have been renamed, but `{key}` at the {side} could not be read");
            let hint = "neither was touched; run again when it can be read";
            let failed = || ("rename", Error::new(error.kind(), message).with_hint(hint));
            out.entry(other).or_insert_with(|| (!moves).then(failed));
        }
        out.insert(index, (!moves).then_some(("read", error)));
    }
    Ok(out)
}

/// Returns a path as it would be found without a row of the base.
fn as_never_synced(item: &Item) -> Change {
    let observed = |entry: &Option<Entry>| entry.clone().map_or(Observed::Absent, Observed::File);
    let sides = Sides::new(observed(&item.found.source), observed(&item.found.destination));
    Change { key: item.key.clone(), base: None, sides }
}

fn take_out(items: &mut Vec<Item>, out: &Out, recorder: &Recorder) -> Held {
    let mut held = Held::default();
    let mut index = 0;
    items.retain(|item| {
        index += 1;
        match out.get(&(index - 1)) {
            None => return true,
            Some(None) => held.moving.push(item.key.clone()),
            Some(Some((action, error))) => {
                held.unreadable = true;
                recorder.fail(item.key.as_str(), action, error);
            }
        }
        false
    });
    held
}
