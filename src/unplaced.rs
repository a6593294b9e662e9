//! `Unplaced`: the versions that a run found and could not give their place on the other side.
//!
//! A file that is missing under its old name may be one of these under a new one: renamed, and still being written,
//! unreadable, or with a name that the other side cannot have. Its old copy is then the only one there, and stays.

use std::collections::BTreeMap;

use crate::client::Unnamed;
use crate::entry::Entry;
use crate::examine::{listed_hashes, tells_versions_apart};
use crate::fingerprint::{ContentHash, Fingerprint};
use crate::key::Key;
use crate::side::{Side, Sides};
use crate::state::Agreed;
use crate::timestamp::Timestamp;

/// Versions without a place, of each side.
#[derive(Debug, Clone, Default)]
pub struct Unplaced {
    versions: Sides<Vec<Version>>,
    /// Whether one could not even be looked at, and so can be anything.
    unknown: Sides<bool>,
}

/// What is known of one: whatever is not known could be anything.
#[derive(Debug, Clone)]
pub struct Version {
    /// What is to be read to know more, unless it has no name that could be a key.
    pub entry: Option<Entry>,
    size: u64,
    /// 0 where there is none that lasts.
    inode: u64,
    modified: Option<Timestamp>,
    /// Of the content, in as many forms as are known.
    pub hashes: Vec<ContentHash>,
    /// Whether it was to be read for that and could not be.
    pub is_unread: bool,
}

impl Unplaced {
    /// Notes a version of `side`.
    pub fn add(&mut self, side: Side, entry: Entry) {
        let (inode, modified) = entry.fingerprint.number_and_time();
        let (size, hashes) = (entry.size, listed_hashes(&entry).into_iter().collect());
        let version = Version { entry: Some(entry), size, inode, modified, hashes, is_unread: false };
        self.versions.get_mut(side).push(version);
    }

    /// Returns the versions of `side`, so that they can be read.
    pub fn versions_mut(&mut self, side: Side) -> &mut [Version] {
        self.versions.get_mut(side)
    }

    /// Notes a version of `side` that has no name which could be a key.
    pub fn add_unnamed(&mut self, side: Side, unnamed: &Unnamed) {
        let Unnamed { size, inode } = *unnamed;
        // Nobody can read it by its name: any file of its size may be it, but for what is empty.
        let version =
            Version { entry: None, size, inode, modified: None, hashes: Vec::new(), is_unread: size > 0 };
        self.versions.get_mut(side).push(version);
    }

    /// Notes that something of `side` failed and could not be looked at.
    pub fn add_unknown(&mut self, side: Side) {
        *self.unknown.get_mut(side) = true;
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        let none = |side: Side| self.versions.get(side).is_empty() && !self.unknown.get(side);
        none(Side::Source) && none(Side::Destination)
    }

    /// Returns whether one on `side` may have the content of a file of the other side, of which the base knows nothing.
    fn has_content(&self, side: Side, entry: &Entry) -> bool {
        let hashes: Vec<ContentHash> = listed_hashes(entry).into_iter().collect();
        let is_alike = |version: &Version| version.size == entry.size && version.may_have(&hashes);
        *self.unknown.get(side) || self.versions.get(side).iter().any(is_alike)
    }

    /// Returns whether the file of a row, which is missing on `side`, may be one of them.
    fn has(&self, side: Side, row: &Agreed) -> bool {
        *self.unknown.get(side) || self.versions.get(side).iter().any(|version| version.may_be(side, row))
    }
}

/// Which files stay although the other side lacks them: each that may be one of the versions without a place.
#[derive(Debug, Clone, Default)]
pub struct Doubts {
    unplaced: Unplaced,
    rows: BTreeMap<Key, Agreed>,
}

impl Doubts {
    /// Returns the doubts about files of which the base knows `rows`.
    pub fn new(unplaced: Unplaced, rows: BTreeMap<Key, Agreed>) -> Self {
        Self { unplaced, rows }
    }

    /// Returns whether a file of the side `on` is to stay.
    pub fn hold(&self, on: Side, entry: &Entry) -> bool {
        let missing_on = on.other();
        let row = self.rows.get(&entry.key);
        // What was edited since may be anything.
        let is_known = row.is_some_and(|row| match (row.fingerprint(on), &entry.fingerprint) {
            (Fingerprint::File(was), Fingerprint::File(is)) => was.is_same(is),
            (was, is) => was == is,
        });
        row.is_some_and(|row| self.unplaced.has(missing_on, row))
            || !is_known && self.unplaced.has_content(missing_on, entry)
    }
}

impl Version {
    fn may_be(&self, side: Side, row: &Agreed) -> bool {
        let (inode, modified) = row.fingerprint(side).number_and_time();
        if self.inode != 0 && inode != 0 {
            // A disk that was put in again may have numbered it anew, and its time stays; of a copy, or one whose time somebody
            // set, only the content tells.
            let has_hash = row.hash.is_none_or(|hash| self.hashes.contains(&hash));
            let may_be_any = self.hashes.is_empty() && (self.is_unread || modified == self.modified);
            let is_alike = has_hash || may_be_any;
            // What a disk left of it has its time.
            let is_emptied =
                self.size == 0 && modified == self.modified && modified.is_some_and(tells_versions_apart);
            return self.inode == inode || is_emptied || (self.size == row.size && is_alike);
        }
        self.size == row.size && self.may_have(row.hash.as_slice())
    }

    /// Returns whether its content may have these hashes: hashes of other forms tell nothing.
    fn may_have(&self, hashes: &[ContentHash]) -> bool {
        let form = |hash: &ContentHash| hash.form();
        let mut alike =
            self.hashes.iter().filter(|hash| hashes.iter().map(form).any(|form| form == hash.form()));
        let Some(first) = alike.next() else { return true };
        hashes.contains(first) || alike.any(|hash| hashes.contains(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{ETag, FileStat, HashForm, Hasher};
    use crate::key::Key;

    fn hash(text: &str) -> ContentHash {
        let mut hasher = Hasher::new(HashForm::Whole);
        hasher.update(text.as_bytes());
        hasher.finish()
    }

    fn file(inode: u64) -> Fingerprint {
        let time = Timestamp::new(i64::try_from(inode).unwrap() / 10, 0);
        Fingerprint::File(FileStat { modified: time, changed: time, inode, settled: true })
    }

    fn entry(fingerprint: Fingerprint, size: u64) -> Entry {
        Entry { key: Key::parse("new").unwrap(), size, modified: None, stored: None, fingerprint }
    }

    #[test]
    fn a_missing_file_may_be_what_has_its_number_or_its_content() {
        let object = |text: &str| Fingerprint::Object(hash(text).etag());
        let opaque = || Fingerprint::Object(ETag::new("opaque-1"));
        let in_parts = || {
            let mut hasher = Hasher::new(HashForm::Parts(2));
            hasher.update(b"abd");
            Fingerprint::Object(hasher.finish().etag())
        };
        for (what, row, found, known, expected) in [
            ("same number", (file(7), 3, Some("abc")), (file(7), 9), None, true),
            ("other number", (file(7), 3, Some("abc")), (file(18), 3), None, false),
            ("other number, same time", (file(7), 3, Some("abc")), (file(8), 3), None, true),
            (
                "other number, same time, other content",
                (file(7), 3, Some("abc")),
                (file(8), 3),
                Some("x"),
                false,
            ),
            ("other number, same time, other size", (file(7), 3, Some("abc")), (file(8), 4), None, false),
            ("other number, same content", (file(7), 3, Some("abc")), (file(18), 3), Some("abc"), true),
            ("no number, same size", (file(0), 3, Some("abc")), (file(0), 3), None, true),
            ("no number, other size", (file(0), 3, Some("abc")), (file(0), 4), None, false),
            ("no number, other content", (file(0), 3, Some("abc")), (file(0), 3), Some("abd"), false),
            ("object of the content", (object("abc"), 3, Some("abc")), (object("abc"), 3), None, true),
            ("object of another", (object("abc"), 3, Some("abc")), (object("abd"), 3), None, false),
            ("object nobody can tell", (opaque(), 3, Some("abc")), (opaque(), 3), None, true),
            ("other number, row without a hash", (file(7), 3, None), (file(18), 3), Some("abd"), true),
            ("row without a hash", (object("abc"), 3, None), (object("abd"), 3), None, true),
            ("object in parts", (object("abc"), 3, Some("abc")), (in_parts(), 3), None, true),
        ] {
            let (seen, size, text) = row;
            let row = Agreed::new(size, text.map(hash), Sides::new(seen.clone(), seen));
            let mut unplaced = Unplaced::default();
            unplaced.add(Side::Source, entry(found.0, found.1));
            unplaced.versions_mut(Side::Source)[0].hashes.extend(known.map(hash));
            assert_eq!(unplaced.has(Side::Source, &row), expected, "{what}");
            assert!(!unplaced.has(Side::Destination, &row), "{what}");
            // Nobody could read it: only its size tells that it is another one.
            let version = &mut unplaced.versions_mut(Side::Source)[0];
            (version.hashes, version.is_unread) = (Vec::new(), true);
            let is_possible = size == found.1 || expected;
            assert_eq!(unplaced.has(Side::Source, &row), is_possible, "{what}, unread");
        }
    }
}
