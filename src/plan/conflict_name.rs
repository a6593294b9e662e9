//! The name under which the loser of a conflict is kept.
//!
//! `report.txt` becomes `report.conflict-20260131T120000Z-source-0123abcd.txt`: the loser's time, its side
//! and the first 8 hexadecimal digits of its hash. The name follows from the version alone, so that a run
//! cut off and begun again chooses the same one.

use std::collections::{BTreeMap, HashMap};

use crate::entry::{Entry, Timestamp};
use crate::fingerprint::{ContentHash, Fingerprint};
use crate::key::Key;
use crate::side::{Side, Sides};

/// How many conflict copies one file may have before its conflicts are left to the user.
pub const MAX_COPIES: usize = 10;

/// Longest file name in bytes on the file systems in use.
const MAX_NAME_BYTES: usize = 255;

const MARK: &str = ".conflict-";

/// How long what is added to a name is at most: `.conflict-20260131T120000Z-destination-0123abcd`.
const ADDED_BYTES: usize = 47;

/// What stands behind a dot and is longer than this is no extension but a part of the name. Ours.
const MAX_EXTENSION_BYTES: usize = 32;

/// The first and the last second that are written with four digits for the year.
const YEARS: (i64, i64) = (-62_167_219_200, 253_402_300_799);

/// The size of a version, and its hash where its listing tells it.
type Version = (u64, Option<ContentHash>);

/// The conflict copies that the files of a pair have. Fed with every key of both trees.
#[derive(Debug, Default)]
pub struct CopyCounts {
    /// By the file that they are copies of.
    named: HashMap<String, BTreeMap<Key, Sides<bool>>>,
    /// What those have whose listing was seen: their size, and their hash where the listing tells it.
    versions: HashMap<Key, Sides<Option<Version>>>,
}

impl CopyCounts {
    /// Counts `key`, which is a file on the sides `on`, if it is the name of a conflict copy.
    pub fn see(&mut self, key: &Key, on: Sides<bool>) {
        if let Some(original) = original_of(key) {
            self.named.entry(original).or_default().insert(key.clone(), on);
        }
    }

    /// Notes which version a side has, if it is one of a conflict copy.
    pub fn see_version(&mut self, side: Side, entry: &Entry) {
        if original_of(&entry.key).is_some() {
            let hash = match &entry.fingerprint {
                Fingerprint::Object(etag) => etag.whole_md5(),
                Fingerprint::File(_) => None,
            };
            *self.versions.entry(entry.key.clone()).or_default().get_mut(side) = Some((entry.size, hash));
        }
    }

    fn of(&self, key: &Key) -> usize {
        let (folder, stem, extension) = split(key);
        self.named.get(&format!("{folder}{}{extension}", kept(stem, extension))).map_or(0, BTreeMap::len)
    }

    /// Returns whether `key` is the name of a conflict copy, or of a file that has one.
    pub fn concern(&self, key: &Key) -> bool {
        original_of(key).is_some() || self.of(key) > 0
    }

    /// Returns whether `side` has the version `loser`, of this hash, as conflict copy `name` already: a run that was cut off
    /// where a rename is a copy and a deletion leaves it under both names. That something has the name does not show it:
    /// a store may have made a stump, or somebody may have written there.
    pub fn has(&self, name: &Key, side: Side, loser: &Entry, hash: Option<ContentHash>) -> bool {
        let Some((size, copied)) = self.versions.get(name).and_then(|sides| *sides.get(side)) else {
            return false;
        };
        let is_other =
            copied.zip(hash.filter(|hash| hash.parts.is_none())).is_some_and(|(copied, hash)| copied != hash);
        size == loser.size && !is_other
    }

    /// Returns whether `side` has anything of this name.
    pub fn is_on(&self, name: &Key, side: Side) -> bool {
        self.find(name).is_some_and(|on| *on.get(side))
    }

    fn find(&self, name: &Key) -> Option<&Sides<bool>> {
        self.named.get(&original_of(name)?)?.get(name)
    }
}

/// Returns the name for the version of the `loser`, or `None` if the file has too many others already.
pub fn for_loser(
    key: &Key,
    loser: Side,
    versions: &Sides<Entry>,
    hashes: &Sides<Option<ContentHash>>,
    copies: &CopyCounts,
) -> Option<Key> {
    let seconds = versions.get(loser).modified.unwrap_or_default().seconds;
    let time = Timestamp::new(seconds.clamp(YEARS.0, YEARS.1), 0).compact();
    let hash = hashes.get(loser).map_or_else(|| "0".repeat(32), |hash| hash.hex());
    let (folder, stem, extension) = split(key);
    let tail = format!("{MARK}{time}-{loser}-{}{extension}", hash.get(..8).unwrap_or("00000000"));
    let name = Key::of_object(&format!("{folder}{}{tail}", kept(stem, extension))).ok()?;
    let is_full = copies.of(key) >= MAX_COPIES && copies.find(&name).is_none();
    (!is_full).then_some(name)
}

/// Splits a key into folder (with its slash), stem and extension (with its dot).
fn split(key: &Key) -> (&str, &str, &str) {
    let name = key.file_name();
    let folder = &key.as_str()[..key.as_str().len() - name.len()];
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_EXTENSION_BYTES => {
            (folder, &name[..dot], &name[dot..])
        }
        _ => (folder, name, ""),
    }
}

fn original_of(key: &Key) -> Option<String> {
    let (folder, _, _) = split(key);
    let name = key.file_name();
    // An extension may begin like a mark too.
    let mut marks = name.rmatch_indices(MARK);
    let (stem, extension) =
        marks.find_map(|(at, _)| Some((&name[..at], marked(&name[at + MARK.len()..])?)))?;
    Some(format!("{folder}{stem}{extension}"))
}

/// Returns the extension behind what a mark says: `20260131T120000Z-source-0123abcd`.
fn marked(rest: &str) -> Option<&str> {
    let mut fields = rest.splitn(3, '-');
    let (time, side, tail) = (fields.next()?, fields.next()?, fields.next()?);
    let (hash, extension) = tail.split_at_checked(8)?;
    let looks_ours = time.ends_with('Z')
        && time.len() >= 16
        && matches!(side, "source" | "destination")
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
        && (extension.is_empty() || extension.starts_with('.'));
    looks_ours.then_some(extension)
}

/// Returns what the name of a copy has of a stem. It follows from the name alone, not from the side or the time,
/// so that the copies of a long name are counted too.
fn kept<'a>(stem: &'a str, extension: &str) -> &'a str {
    fitting(stem, MAX_NAME_BYTES.saturating_sub(ADDED_BYTES + extension.len()))
}

/// Returns the part of `text` that fits in `room` bytes without cutting a character.
fn fitting(text: &str, room: usize) -> &str {
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{ETag, HashForm, Hasher};

    fn entry(key: &Key) -> Entry {
        let fingerprint = Fingerprint::Object(ETag::new("x"));
        Entry {
            key: key.clone(),
            size: 1,
            modified: Some(Timestamp::new(1_700_000_000, 5)),
            stored: None,
            fingerprint,
        }
    }

    fn named(name: &str, loser: Side, copies: &CopyCounts) -> Option<String> {
        let key = Key::parse(name).unwrap();
        let versions = Sides::new(entry(&key), entry(&key));
        let hash = Hasher::new(HashForm::Whole).finish();
        for_loser(&key, loser, &versions, &Sides::new(Some(hash), Some(hash)), copies).map(String::from)
    }

    #[test]
    fn the_name_tells_time_side_and_content_and_keeps_the_extension() {
        let none = CopyCounts::default();
        for (name, expected) in [
            ("a/report.txt", "a/report.conflict-20231114T221320Z-source-d41d8cd9.txt"),
            ("Makefile", "Makefile.conflict-20231114T221320Z-source-d41d8cd9"),
            ("a.b/.profile", "a.b/.profile.conflict-20231114T221320Z-source-d41d8cd9"),
            ("x.tar.gz", "x.tar.conflict-20231114T221320Z-source-d41d8cd9.gz"),
        ] {
            assert_eq!(named(name, Side::Source, &none).as_deref(), Some(expected));
        }
        assert!(named("a", Side::Destination, &none).unwrap().contains("-destination-"));
    }

    #[test]
    fn b27_a_long_name_is_cut_so_that_the_copy_still_is_a_file_name() {
        let name = format!("{}é.txt", "n".repeat(249));
        let copy = named(&name, Side::Destination, &CopyCounts::default()).unwrap();
        assert!(
            copy.len() <= MAX_NAME_BYTES
                && copy.len() >= MAX_NAME_BYTES - 1
                && copy.contains("-d41d8cd9.txt"),
            "{copy}"
        );
        let copy = named(&"é".repeat(127), Side::Source, &CopyCounts::default()).unwrap();
        assert!(copy.len() <= MAX_NAME_BYTES && copy.starts_with('é'));
    }

    #[test]
    fn a_file_gets_ten_copies_and_no_more() {
        let mut counts = CopyCounts::default();
        for i in 0..10 {
            assert!(named("d/a.txt", Side::Source, &counts).is_some(), "{i}");
            let copy = format!("d/a.conflict-20260101T00000{i}Z-source-0123456{i}.txt");
            counts.see(&Key::parse(&copy).unwrap(), Sides::new(true, false));
        }
        assert_eq!(named("d/a.txt", Side::Source, &counts), None);
        assert!(named("a.txt", Side::Source, &counts).is_some(), "another folder");
        assert!(named("d/b.txt", Side::Source, &counts).is_some(), "another file");
    }

    #[test]
    fn b27_copies_of_a_long_name_are_names_and_counted_whatever_their_time() {
        let long = "n".repeat(250);
        for name in [
            format!("{long}.txt"),
            format!(".{long}"),
            format!("a.{long}"),
            "é".repeat(127),
            "a.conflict-2".into(),
        ] {
            let key = Key::parse(&format!("d/{name}")).unwrap();
            for (loser, seconds) in
                [(Side::Source, 0), (Side::Destination, i64::MIN), (Side::Source, i64::MAX)]
            {
                let version = Entry { modified: Some(Timestamp::new(seconds, 0)), ..entry(&key) };
                let versions = Sides::new(version.clone(), version);
                let mut counts = CopyCounts::default();
                let copy = |digit: u8, counts: &CopyCounts| {
                    let hash = Some(ContentHash { md5: [digit; 16], parts: None });
                    for_loser(&key, loser, &versions, &Sides::new(hash, hash), counts)
                };
                for digit in 0..10 {
                    let name = copy(digit, &counts).unwrap();
                    assert!(name.file_name().len() <= MAX_NAME_BYTES, "{name}");
                    counts.see(&name, Sides::new(true, false));
                }
                assert_eq!(copy(10, &counts), None, "{key}");
            }
        }
    }

    #[test]
    fn a_copy_is_known_again_even_if_it_is_one_of_a_copy() {
        for name in ["d/a.txt", "a", "a.conflict-20260101T000000Z-source-01234567"] {
            let mut copies = CopyCounts::default();
            let copy = Key::parse(&named(name, Side::Destination, &copies).unwrap()).unwrap();
            let loser = entry(&Key::parse(name).unwrap());
            let has = |copies: &CopyCounts, side| copies.has(&copy, side, &loser, None);
            assert!(!has(&copies, Side::Destination), "{name}");
            copies.see(&copy, Sides::new(false, true));
            assert!(!has(&copies, Side::Destination), "{name}: nobody knows what is there");
            copies.see_version(Side::Destination, &entry(&copy));
            assert!(has(&copies, Side::Destination) && !has(&copies, Side::Source), "{name}");
        }
    }

    #[test]
    fn what_only_has_the_name_of_a_copy_is_none() {
        let copy = Key::parse("a.conflict-20260101T000000Z-source-01234567").unwrap();
        let loser = entry(&Key::parse("a").unwrap());
        let hash = |text: &[u8]| {
            let mut hasher = Hasher::new(HashForm::Whole);
            hasher.update(text);
            hasher.finish()
        };
        let shown = |size, text: &[u8]| {
            let fingerprint = Fingerprint::Object(hash(text).etag());
            Entry { size, fingerprint, ..entry(&copy) }
        };
        for (there, expected) in [
            (shown(1, b"a"), true),
            (shown(1, b"b"), false),
            (shown(0, b""), false),
            // An ETag that is no hash says nothing.
            (entry(&copy), true),
        ] {
            let mut copies = CopyCounts::default();
            copies.see_version(Side::Source, &there);
            assert_eq!(copies.has(&copy, Side::Source, &loser, Some(hash(b"a"))), expected, "{there:?}");
        }
    }

    #[test]
    fn names_that_only_look_alike_are_not_counted() {
        for name in [
            "a.conflict-.txt",
            "a.conflict-20260101T000000Z-source-0123.txt",
            "a.conflict-20260101T000000Z-elsewhere-01234567.txt",
            "a.conflict-20260101T000000-source-01234567.txt",
            "a.conflict-Z-source-01234567.txt",
            "a.conflict-20260101T000000Z-source-0123456x.txt",
            "a.conflict-20260101T000000Z-source-01234567txt",
            "a.txt",
        ] {
            assert_eq!(original_of(&Key::parse(name).unwrap()), None, "{name}");
        }
        let copy = Key::parse("d/a.conflict-20260101T000000Z-source-01234567").unwrap();
        assert_eq!(original_of(&copy).as_deref(), Some("d/a"));
    }
}
