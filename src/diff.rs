//! The ordered merge join of the three trees: source, destination and base.
//!
//! Three streams in ascending byte order go in, one [`Found`] for each path that any of them has comes out,
//! in constant memory. Order is checked: a listing that is out of order is an error, never a deletion. What a
//! side cannot judge is [`Observed::Unknown`], with everything below it. Filter rules are applied to all three
//! streams here, so that an excluded path leaves the sync set and is never deleted.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::BoxStream;

use crate::client::{Listed, SkipReason};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::IGNORE_FILE;
use crate::filter::layers::{Book, Layers};
use crate::key::Key;
use crate::side::{Side, Sides};
use crate::state::BaseRow;

/// A row of the base with its key.
pub type Row = (Key, BaseRow);

/// What one side has under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// No file.
    Absent,
    /// Nobody can tell, or something that is not synced.
    Unknown,
    /// A file.
    File(Entry),
}

/// One path, as the three trees have it.
#[derive(Debug)]
pub struct Change {
    /// The path.
    pub key: Key,
    /// What the base remembers.
    pub base: Option<BaseRow>,
    /// What each side has.
    pub sides: Sides<Observed>,
}

/// What the join comes upon next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time; a box for each path costs more")]
pub enum Found {
    /// A path.
    Path(Change),
    /// A row of the base whose path the filter excludes now.
    Excluded(Key),
    /// A file that a rule which is gone still holds back.
    Held(Side, Key),
    /// Something a side listed that is not a file.
    Note(Side, Listed),
}

/// What a listing showed of a side's rules.
#[derive(Debug, Clone, Default)]
pub struct SeenRules {
    /// The files of rules.
    pub files: BTreeMap<Key, Entry>,
    /// What is in them, by their folders, where the listing tells it.
    pub rules: Book,
}

/// The join.
pub struct Diff<'a> {
    sides: Sides<Head<'a, Listed>>,
    base: Head<'a, Row>,
    /// What each side could not judge and later paths can still be below, outermost first.
    unknown: Sides<Vec<Key>>,
    layers: Layers,
    seen: Sides<SeenRules>,
}

impl<'a> Diff<'a> {
    /// Returns the join of the three streams.
    pub fn new(
        source: BoxStream<'a, Result<Listed>>,
        destination: BoxStream<'a, Result<Listed>>,
        base: BoxStream<'a, Result<Row>>,
        layers: Layers,
    ) -> Self {
        Self {
            sides: Sides::new(Head::new(source, "the source"), Head::new(destination, "the destination")),
            base: Head::new(base, "the base"),
            unknown: Sides::default(),
            layers,
            seen: Sides::default(),
        }
    }

    /// Returns the files of rules that were met so far.
    pub fn rule_files(&self, side: Side) -> &BTreeMap<Key, Entry> {
        &self.seen.get(side).files
    }

    /// Returns the rules that were met so far.
    pub fn seen_rules(&mut self) -> Sides<SeenRules> {
        std::mem::take(&mut self.seen)
    }

    /// Returns what comes next, or `None` after everything.
    ///
    /// # Errors
    /// Whatever a stream ends with, and [`ErrorKind::Corrupt`] if one is out of order.
    pub async fn next(&mut self) -> Result<Option<Found>> {
        loop {
            self.sides.source.fill().await?;
            self.sides.destination.fill().await?;
            self.base.fill().await?;
            let heads =
                [self.sides.source.position(), self.sides.destination.position(), self.base.position()];
            let Some(position) = heads.into_iter().flatten().min() else { return Ok(None) };
            let position = position.to_owned();
            self.layers.advance(&position);
            if let Some((side, note)) = self.take_note(&position) {
                if let Some(note) = self.absorb(side, note) {
                    return Ok(Some(Found::Note(side, note)));
                }
            } else if let Some(found) = self.take_path(&position) {
                return Ok(Some(found));
            }
        }
    }

    /// Takes something that is not a file from the heads at `position`, the source's first.
    fn take_note(&mut self, position: &str) -> Option<(Side, Listed)> {
        Side::BOTH.into_iter().find_map(|side| {
            let head = self.sides.get_mut(side);
            let is_note = head.position() == Some(position) && !matches!(head.item, Some(Listed::File(_)));
            is_note.then(|| head.item.take().map(|item| (side, item))).flatten()
        })
    }

    /// Lets a note take effect; returns it if the caller should know of it.
    fn absorb(&mut self, side: Side, note: Listed) -> Option<Listed> {
        match note {
            Listed::Rules(folder, rules) => {
                self.seen.get_mut(side).rules.insert(folder.clone(), rules.clone());
                self.layers.enter(side, &folder, rules);
                None
            }
            Listed::Skipped(key, why) => {
                let is_folder = matches!(why, SkipReason::EmptyFolder | SkipReason::OtherFileSystem);
                if why != SkipReason::EmptyFolder {
                    self.make_unknown(side, &key);
                }
                let excluded = if is_folder {
                    self.layers.excludes_folder(key.as_str())
                } else {
                    self.layers.excludes(&key)
                };
                (!excluded).then_some(Listed::Skipped(key, why))
            }
            Listed::Unknown(key, error) => {
                self.make_unknown(side, &key).then_some(Listed::Unknown(key, error))
            }
            Listed::Unmappable { ref name, is_folder, .. } if self.layers.excludes_name(name, is_folder) => {
                None
            }
            note => Some(note),
        }
    }

    /// Makes `key` and everything below it unknown on a side; returns false if all of that is excluded.
    ///
    /// Rules can exclude a file and not the folder of that name, as `*` with `!*/` and `!*.txt` does, or the
    /// folder only. Which of the two stands there, or stood there, is not known.
    fn make_unknown(&mut self, side: Side, key: &Key) -> bool {
        if self.layers.excludes(key) && self.layers.excludes_folder(key.as_str()) {
            return false;
        }
        self.unknown.get_mut(side).push(key.clone());
        true
    }

    /// Takes all there is at `position`, where no note is left.
    fn take_path(&mut self, position: &str) -> Option<Found> {
        let source = self.sides.source.take_file(position);
        let destination = self.sides.destination.take_file(position);
        let row = if self.base.position() == Some(position) { self.base.item.take() } else { None };
        let key = match (&source, &destination, &row) {
            (Some(entry), ..) | (None, Some(entry), _) => entry.key.clone(),
            (None, None, Some((key, _))) => key.clone(),
            (None, None, None) => return None,
        };
        if key.file_name() == IGNORE_FILE {
            self.see_rules(&key, &Sides::new(source.as_ref(), destination.as_ref()));
        }
        if self.layers.excludes(&key) {
            return row.map(|(key, _)| Found::Excluded(key));
        }
        if row.as_ref().is_none_or(|(_, row)| matches!(row, BaseRow::Begun(_))) {
            let is_there = Sides::new(source.is_some(), destination.is_some());
            let held =
                Side::BOTH.into_iter().find(|side| *is_there.get(*side) && self.layers.holds(*side, &key));
            if let Some(side) = held {
                return Some(Found::Held(side, key));
            }
        }
        let sides = Sides::new(
            self.observe(Side::Source, &key, source),
            self.observe(Side::Destination, &key, destination),
        );
        Some(Found::Path(Change { key, base: row.map(|(_, row)| row), sides }))
    }

    fn see_rules(&mut self, key: &Key, found: &Sides<Option<&Entry>>) {
        for side in Side::BOTH {
            if let Some(entry) = found.get(side) {
                self.seen.get_mut(side).files.insert(key.clone(), (*entry).clone());
            }
        }
    }

    fn observe(&mut self, side: Side, key: &Key, entry: Option<Entry>) -> Observed {
        // Between `d` and what is in it come `d-x` and `d.txt`, so `d` stays until no key begins with it.
        let unknown = self.unknown.get_mut(side);
        while unknown.last().is_some_and(|top| !key.as_str().starts_with(top.as_str())) {
            unknown.pop();
        }
        match entry {
            Some(entry) => Observed::File(entry),
            None if unknown.iter().any(|top| key == top || key.is_below(top.as_str())) => Observed::Unknown,
            None => Observed::Absent,
        }
    }
}

impl std::fmt::Debug for Diff<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").field("unknown", &self.unknown).finish_non_exhaustive()
    }
}

/// A stream and its next item.
struct Head<'a, T> {
    stream: BoxStream<'a, Result<T>>,
    item: Option<T>,
    position: String,
    strictly_after: bool,
    ended: bool,
    whose: &'static str,
}

/// Where an item stands in the order of its stream.
trait Positioned {
    fn position(&self) -> std::borrow::Cow<'_, str>;
    /// Whether the next item must come strictly after this one.
    fn is_path(&self) -> bool;
}

impl Positioned for Listed {
    fn position(&self) -> std::borrow::Cow<'_, str> {
        self.position()
    }

    fn is_path(&self) -> bool {
        !matches!(self, Self::Rules(..) | Self::Unmappable { .. })
    }
}

impl Positioned for Row {
    fn position(&self) -> std::borrow::Cow<'_, str> {
        self.0.as_str().into()
    }

    fn is_path(&self) -> bool {
        true
    }
}

impl<'a, T: Positioned> Head<'a, T> {
    fn new(stream: BoxStream<'a, Result<T>>, whose: &'static str) -> Self {
        Self { stream, item: None, position: String::new(), strictly_after: false, ended: false, whose }
    }

    fn position(&self) -> Option<&str> {
        self.item.as_ref().map(|_| self.position.as_str())
    }

    /// Reads the next item if there is none, and checks that it comes after the last.
    async fn fill(&mut self) -> Result<()> {
        if self.item.is_some() || self.ended {
            return Ok(());
        }
        let Some(item) = self.stream.next().await.transpose()? else {
            self.ended = true;
            return Ok(());
        };
        let position = item.position();
        let order = position.as_ref().cmp(self.position.as_str());
        if order.is_lt() || (order.is_eq() && self.strictly_after) {
            let (whose, earlier, later) = (
                self.whose,
                crate::key::escape(self.position.as_bytes()),
                crate::key::escape(position.as_bytes()),
            );
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the listing of {whose} is out of order: `{later}` came after `{earlier}`"),
            )
            .with_hint("nothing was changed; run again, and report this if it stays"));
        }
        self.position.replace_range(.., &position);
        self.strictly_after = item.is_path();
        drop(position);
        self.item = Some(item);
        Ok(())
    }
}

impl Head<'_, Listed> {
    fn take_file(&mut self, position: &str) -> Option<Entry> {
        if self.position() != Some(position) {
            return None;
        }
        match self.item.take() {
            Some(Listed::File(entry)) => Some(entry),
            other => {
                self.item = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
