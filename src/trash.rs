//! What is in the trash, and what of it may go: nothing is purged but what a manifest lists.
//!
//! Before a run puts anything into a trash it writes there what that will be, in manifests of at most [`MOST_ENTRIES`] files.
//! A purge removes files that a manifest lists and that are still what it says; then the manifest. How old they are, for how
//! long they are kept and how large they are is in the manifests' names, so that one listing tells what is to go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::fingerprint::Fingerprint;
use crate::timestamp::Timestamp;

/// Files in one manifest.
pub const MOST_ENTRIES: usize = 1000;

/// Where manifests are, below a root: beside the trash, so that listings jump over both.
pub const MANIFESTS: &str = ".syncengine/trash-manifests";

/// The name in [`MANIFESTS`] that says that the trash of releases without manifests was given some.
pub const ADOPTED: &str = "adopted";

/// No manifest is longer: names have at most 4,096 bytes, which JSON can write as six times as many.
pub const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// How long what is replaced and deleted is kept if nobody says so, in seconds: 30 days.
pub const KEEP_SECONDS: i64 = 30 * 24 * 3600;

/// Digits of a moment as it is in names: `YYYYMMDDTHHMMSSZ`.
const MOMENT_BYTES: usize = 16;

/// Times of files on two disks are the same if they differ by less, in nanoseconds: FAT has two seconds.
const TIME_STEP: u128 = 2_000_000_000;

/// What a run puts into a trash, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document.
    pub schema: u32,
    /// The id of the pair whose run it is.
    pub pair: String,
    /// How far the pair had come; see [`Marker`](crate::marker::Marker).
    pub epoch: u64,
    /// The run, which is the name of its folder in the trash.
    pub run: String,
    /// When it may go, in seconds since 1970, by the clock of the run.
    pub expires: i64,
    /// The files.
    pub entries: Vec<Kept>,
}

/// A file in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The name below the folder of the run, but for the numbers that keep two files of a name apart.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// The `ETag`, in a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was modified, in a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
}

impl Kept {
    /// Returns what a version will be in the trash.
    pub fn new(entry: &Entry) -> Self {
        let (etag, modified) = match &entry.fingerprint {
            Fingerprint::Object(etag) => (Some(etag.as_str().to_owned()), None),
            Fingerprint::File(stat) => (None, Some(stat.modified)),
        };
        Self { name: entry.key.as_str().to_owned(), size: entry.size, etag, modified }
    }

    /// Returns whether what is in the trash is what the manifest says.
    fn is(&self, found: &Self) -> bool {
        let is_same_time = match (self.modified, found.modified) {
            (Some(one), Some(other)) => one.distance_nanoseconds(other) < TIME_STEP,
            (one, other) => one == other,
        };
        self.size == found.size && self.etag == found.etag && is_same_time
    }
}

/// The files that manifests of a run list.
#[derive(Debug, Default)]
pub struct Listed(HashMap<String, Vec<Kept>>);

impl Listed {
    /// Adds what the text of a manifest lists. One that is gone or cannot be read lists nothing.
    pub fn read(&mut self, text: Option<&str>) {
        if let Some(manifest) = text.and_then(|text| serde_json::from_str(text).ok()) {
            self.add(manifest);
        }
    }

    fn add(&mut self, manifest: Manifest) {
        for kept in manifest.entries {
            self.0.entry(unnumbered(&kept.name)).or_default().push(kept);
        }
    }

    /// Returns whether a file in the trash is one of them.
    pub fn has(&self, found: &Kept) -> bool {
        self.0.get(&unnumbered(&found.name)).is_some_and(|kept| kept.iter().any(|kept| kept.is(found)))
    }
}

/// Returns a name without the numbers that keep names in the trash apart, such as `~1`.
fn unnumbered(name: &str) -> String {
    let plain = |segment: &str| match segment.rsplit_once('~') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            stem.to_owned()
        }
        _ => segment.to_owned(),
    };
    name.split('/').map(plain).collect::<Vec<_>>().join("/")
}

/// The name of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// From when its age counts: the run began, or the trash of an earlier release was seen first. `YYYYMMDDTHHMMSSZ`.
    pub since: String,
    /// For how many seconds it is kept.
    pub keep: i64,
    /// How large all is together, in bytes.
    pub bytes: u64,
    /// The run.
    pub run: String,
    /// The id of the pair.
    pub pair: String,
    /// Which part it is.
    pub number: u32,
}

impl Name {
    /// Reads a name; `None` if it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let parsed = Self {
            since: next()?.to_ascii_uppercase(),
            keep: next()?.parse().ok()?,
            bytes: next()?.parse().ok()?,
            run: next()?.to_owned(),
            pair: next()?.to_owned(),
            number: next()?.parse().ok()?,
        };
        let is_ours =
            next().is_none() && is_run(&parsed.run) && Timestamp::parse_compact(&parsed.since).is_some();
        is_ours.then_some(parsed)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, keep, bytes, run, pair, number } = self;
        write!(f, "{since}.{keep}.{bytes}.{run}.{pair}.{number}")
    }
}

/// Returns whether a name is that of a run: a moment and a tag of eight hexadecimal digits. Some file systems keep all names in
/// small letters.
pub fn is_run(name: &str) -> bool {
    let Some((moment, tag)) = name.split_once('-') else { return false };
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    Timestamp::parse_compact(&moment.to_ascii_uppercase()).is_some()
        && tag.len() == 8
        && tag.bytes().all(is_hex)
}

/// Returns manifests of these files, and their names.
pub fn manifests(
    (pair, epoch, run): (&str, u64, &str),
    (since, keep): (Timestamp, i64),
    (first, entries): (u32, Vec<Kept>),
) -> Vec<(Name, Manifest)> {
    let part = |(number, entries): (u32, &[Kept])| {
        let name = Name {
            since: since.compact(),
            keep,
            bytes: entries.iter().map(|kept| kept.size).sum(),
            run: run.to_owned(),
            pair: pair.to_owned(),
            number,
        };
        let manifest = Manifest {
            schema: 1,
            pair: pair.to_owned(),
            epoch,
            run: run.to_owned(),
            expires: since.seconds.saturating_add(keep),
            entries: entries.to_vec(),
        };
        (name, manifest)
    };
    (first..).zip(entries.chunks(MOST_ENTRIES)).map(part).collect()
}

/// What of the trash is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The moment by the clock of this run, from which the age of trash counts that is seen for the first time.
    pub now: Timestamp,
    /// The moment by the earlier of two clocks. Without another clock than this run's the youngest manifest is one.
    pub until: Option<Timestamp>,
    /// For how many seconds trash is kept that does not say so.
    pub keep: i64,
    /// Runs are believed what their names say of when they were, if it lies between these: no earlier run was, and no
    /// later one can have been. Without it all are believed.
    pub believed: Option<(Timestamp, Timestamp)>,
    /// When the others were seen first, which counts instead, in seconds since 1970.
    pub first_seen: BTreeMap<String, i64>,
    /// If what is left is larger than this many bytes, the oldest goes too.
    pub most_bytes: Option<u64>,
    /// The run whose trash stays.
    pub spared: Option<String>,
    /// The pair of the run. Elsewhere than below a root only its own trash goes.
    pub pair_id: String,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            now: Timestamp::default(),
            until: None,
            keep: KEEP_SECONDS,
            believed: None,
            first_seen: BTreeMap::new(),
            most_bytes: None,
            spared: None,
            pair_id: String::new(),
        }
    }
}

/// What became of the trash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Of how many runs it was removed.
    pub runs: u64,
    /// The runs that are left and whose names are not believed.
    pub unbelieved: BTreeSet<String>,
}

impl Expiry {
    /// Returns whether a moment in a name says when something was.
    pub fn believes(&self, since: &str) -> bool {
        let since = since.to_ascii_uppercase();
        self.believed.is_none_or(|(first, last)| {
            since.as_str() >= first.compact().as_str()
                && since.get(..MOMENT_BYTES) <= Some(last.compact().as_str())
        })
    }

    /// Returns whether the trash of a run without manifests is too old.
    pub fn is_over(&self, run: &str) -> bool {
        self.until.is_some_and(|until| self.has_passed(until, run, run, self.keep))
    }

    /// Returns whether it is the run whose trash stays.
    pub fn is_spared(&self, run: &str) -> bool {
        self.spared.as_ref().is_some_and(|spared| spared.eq_ignore_ascii_case(run))
    }

    fn has_passed(&self, until: Timestamp, since: &str, run: &str, keep: i64) -> bool {
        let before = Timestamp::new(until.seconds.saturating_sub(keep), 0);
        if self.believes(since) {
            return since.to_ascii_uppercase() < before.compact();
        }
        self.first_seen.get(run).is_some_and(|seen| *seen < before.seconds)
    }

    /// Chooses which manifests, by their names, are to go with all they list: by run, the oldest first.
    pub fn choose(
        &self,
        names: impl IntoIterator<Item = Name>,
    ) -> (BTreeMap<String, Vec<Name>>, BTreeSet<String>) {
        let mut names: Vec<Name> = names.into_iter().filter(|name| !self.is_spared(&name.run)).collect();
        names.sort();
        let shown = names.iter().filter(|name| self.believes(&name.since));
        let youngest = shown.filter_map(|name| Timestamp::parse_compact(&name.since)).max();
        let until = self.until.or(youngest).map(|until| until.min(self.now));
        let mut bytes: u64 = names.iter().map(|name| name.bytes).sum();
        let mut going: BTreeMap<String, Vec<Name>> = BTreeMap::new();
        let mut unbelieved = BTreeSet::new();
        for name in names {
            let is_over =
                until.is_some_and(|until| self.has_passed(until, &name.since, &name.run, name.keep));
            if is_over || self.most_bytes.is_some_and(|most| bytes > most) {
                bytes = bytes.saturating_sub(name.bytes);
                going.entry(name.run.clone()).or_default().push(name);
            } else if !self.believes(&name.since) {
                unbelieved.insert(name.run);
            }
        }
        (going, unbelieved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const START: i64 = 1_700_000_000;

    fn name(day: i64, keep_days: i64, bytes: u64, number: u32) -> Name {
        let since = Timestamp::new(START + day * DAY, 0).compact();
        let run = format!("{since}-0000000{day}");
        Name { since, keep: keep_days * DAY, bytes, run, pair: "p".into(), number }
    }

    #[test]
    fn a_name_says_what_is_needed_to_choose_it() {
        let one = name(3, 30, 12, 4);
        assert_eq!(Name::parse(&one.to_string()), Some(one.clone()));
        let text = one.to_string();
        for wrong in ["", "adopted", &text[1..], &format!("{text}.5"), &text.replace("-0000000", "-nightly")]
        {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_runs_are_called_like_one() {
        for (name, expected) in [
            ("20200101T000000Z-0123abcd", true),
            ("20200101t000000z-0123abcd", true),
            ("20200101T000000Z-nightly", false),
            ("20200101T000000Z-0123abc", false),
            ("20200101T000000Z-0123abcde", false),
            ("20201301T000000Z-0123abcd", false),
            ("2020-01-01", false),
        ] {
            assert_eq!(is_run(name), expected, "{name}");
        }
    }

    #[test]
    fn what_goes_is_old_by_two_clocks_or_too_much() {
        let at = |day: i64| Some(Timestamp::new(START + day * DAY, 0));
        let names = || [name(1, 30, 5, 0), name(2, 10, 5, 0), name(2, 10, 5, 1), name(5, 30, 5, 0)];
        for (what, until, most, expected) in [
            ("young", at(5), None, ""),
            ("the first clock decides", at(20), None, "2 2"),
            ("each as long as it says", at(33), None, "1 2 2"),
            ("no other clock: the youngest is one", None, None, ""),
            ("too much", at(5), Some(10), "1 2"),
            ("all too much", at(5), Some(0), "1 2 2 5"),
        ] {
            let now = Timestamp::new(START + 400 * DAY, 0);
            let expiry = Expiry { now, until, most_bytes: most, ..Expiry::default() };
            let (going, unbelieved) = expiry.choose(names());
            let days: Vec<String> = going.values().flatten().map(|name| name.run[24..].to_owned()).collect();
            assert_eq!((days.join(" ").as_str(), unbelieved.len()), (expected, 0), "{what}");
        }
    }

    #[test]
    fn a_file_that_is_not_what_the_manifest_says_is_not_listed() {
        let kept = |name: &str, size, modified: i64| Kept {
            name: name.into(),
            size,
            etag: None,
            modified: Some(Timestamp::new(modified, 0)),
        };
        let mut listed = Listed::default();
        for (_, manifest) in manifests(
            ("p", 7, "20200101T000000Z-0123abcd"),
            (Timestamp::new(START, 0), DAY),
            (0, vec![kept("d/f", 3, 10), kept("d/f~2.txt", 3, 10)]),
        ) {
            listed.add(manifest);
        }
        for (found, expected) in [
            (kept("d/f", 3, 10), true),
            (kept("d/f~1", 3, 10), true),
            (kept("d~4/f", 3, 11), true),
            (kept("d/f", 3, 12), false),
            (kept("d/f", 4, 10), false),
            (kept("d/g", 3, 10), false),
            (kept("d/f~2.txt", 3, 10), true),
            (kept("d/f~x", 3, 10), false),
            (Kept { etag: Some("e".into()), ..kept("d/f", 3, 10) }, false),
        ] {
            assert_eq!(listed.has(&found), expected, "{found:?}");
        }
    }

    #[test]
    fn manifests_have_a_thousand_files_at_most() {
        let kept = Kept { name: "f".into(), size: 2, etag: None, modified: None };
        let run = "20200101T000000Z-0123abcd";
        let all = manifests(("p", 1, run), (Timestamp::new(START, 0), DAY), (3, vec![kept; 2001]));
        let sizes: Vec<_> =
            all.iter().map(|(name, manifest)| (name.number, name.bytes, manifest.entries.len())).collect();
        assert_eq!(sizes, [(3, 2000, 1000), (4, 2000, 1000), (5, 2, 1)]);
    }
}
