//! What the fuzz targets in `fuzz/` run, and what a test runs on every input that is kept there.
//!
//! A target takes any bytes, hands them to code that reads what comes from outside, and asserts what must hold
//! of any answer. Compiled for tests and under cargo-fuzz only. What is private is reached from beside it:
//! `src/state/fuzzing.rs`, `src/client/s3/fuzzing.rs` and `src/embedded/fuzzing.rs`.

use std::fmt::{Debug, Display};
use std::path::{Component, Path};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entry::{Entry, Timestamp};
use crate::error::Error;
use crate::filter::{Filter, Rules};
use crate::fingerprint::{ContentHash, ETag, Fingerprint};
use crate::guard::MaxDelete;
use crate::key::{Key, escape};
use crate::location::{Location, StoreOptions};
use crate::mode::{ComparisonMode, ConflictStrategy, InitialSyncPreference, SyncMode};
use crate::pair::SyncPair;
use crate::plan::conflict_name::{CopyCounts, MAX_COPIES, for_loser};
use crate::side::{Side, Sides};

pub(crate) mod complaint;
pub(crate) mod input;
mod plan;

#[cfg(feature = "s3")]
pub use crate::client::s3::fuzzing::{listing, metadata};
#[cfg(feature = "embedded")]
pub use crate::embedded::fuzzing::embedded_row;
pub use crate::state::fuzzing::state;
use complaint::refused;
use input::is_harmless;
pub(crate) use input::{Choices, SEPARATOR};
pub use plan::plan;

/// A target and its name, which is that of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of the library.
pub const TARGETS: &[Target] = &[
    ("key", key),
    ("filter", filter),
    ("settings", settings),
    ("plan", plan),
    ("state", state),
    #[cfg(feature = "s3")]
    ("listing", listing),
    #[cfg(feature = "s3")]
    ("metadata", metadata),
    #[cfg(feature = "embedded")]
    ("embedded_row", embedded_row),
];

/// How many paths an input of `filter` may ask about.
const ASKED_PATHS: usize = 32;

/// Reads names and asserts that keys and paths are one to one, and that copies of conflicts are counted.
///
/// # Panics
/// If something does not hold.
pub fn key(data: &[u8]) {
    let names = data.splitn(2, |byte| *byte == SEPARATOR);
    let keys: Vec<Key> = names.filter_map(read_key).collect();
    if let [a, b] = keys.as_slice() {
        let (left, right) = (Path::new(a.as_str()), Path::new(b.as_str()));
        assert_eq!(a.cmp(b), a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
        assert_eq!(a == b, left == right, "two keys of one path");
        assert_eq!(a.is_below(b.as_str()), a != b && left.starts_with(right));
    }
}

fn read_key(name: &[u8]) -> Option<Key> {
    assert!(is_harmless(&escape(name)), "{name:?}");
    let key = Key::from_bytes(name).ok()?;
    assert_eq!(key.as_str().as_bytes(), name, "a key is never repaired");
    assert!(is_harmless(&format!("{key}")) && is_harmless(&format!("{key:?}")));
    let segments: Vec<_> = Path::new(key.as_str())
        .components()
        .map(|component| match component {
            Component::Normal(segment) => segment.to_str().unwrap_or_default(),
            _ => "",
        })
        .collect();
    assert!(!segments.contains(&""), "it leaves its folder");
    assert_eq!(segments.join("/"), key.as_str());
    assert_eq!(key.ancestors().count() + 1, segments.len());
    assert!(key.ancestors().all(|folder| key.is_below(folder) && Key::parse(folder).is_ok()));
    assert_eq!(key.sibling(key.file_name()).as_ref(), Ok(&key));
    reads_back(&key);
    count_copies(&key);
    Some(key)
}

/// However long a name is, it gets only so many copies.
fn count_copies(key: &Key) {
    let fingerprint = Fingerprint::Object(ETag::new("x"));
    let modified =
        key.as_str().bytes().fold(0_i64, |time, byte| time.wrapping_mul(257).wrapping_add(byte.into()));
    let modified = Some(Timestamp::new(modified, 0));
    let version = Entry { key: key.clone(), size: 1, modified, stored: None, fingerprint };
    let versions = Sides::new(version.clone(), version);
    for loser in Side::BOTH {
        let mut copies = CopyCounts::default();
        let name = |number: usize, copies: &CopyCounts| {
            let [digit, ..] = number.to_le_bytes();
            let hash = Some(ContentHash { md5: [digit; 16], parts: None });
            for_loser(key, loser, &versions, &Sides::new(hash, hash), copies)
        };
        for number in 0..MAX_COPIES {
            let Some(copy) = name(number, &copies) else { return };
            assert!(copy.parent() == key.parent() && (key.is_reserved() || !copy.is_reserved()), "{copy:?}");
            assert!(
                copy.file_name().len() <= 255.max(key.file_name().len()) && copy != *key,
                "{copy:?} is no name of a file"
            );
            copies.see(&copy, Sides::new(true, false));
        }
        assert_eq!(name(MAX_COPIES, &copies), None, "copies of {key:?} are not counted");
    }
}

/// Reads rules and paths, and asserts that what lies in an excluded folder is excluded, and that the answer
/// for a path does not depend on what was asked before.
///
/// # Panics
/// If something does not hold.
pub fn filter(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == SEPARATOR).map(String::from_utf8_lossy);
    let mut rules = || parse_rules(&parts.next().unwrap_or_default());
    let (command_line, root, nested) = (rules(), rules(), rules());
    let mut keys: Vec<Key> = parts.take(ASKED_PATHS).filter_map(|name| Key::parse(&name).ok()).collect();
    keys.sort();
    let fresh = || {
        let mut filter = Filter::new(command_line.clone());
        filter.enter("", root.clone());
        filter.enter("a", nested.clone());
        filter
    };
    let mut walked = fresh();
    for key in &keys {
        let excluded = fresh().excludes(key);
        assert_eq!(walked.excludes(key), excluded, "{key:?} depends on what was asked before");
        let parents: Vec<bool> = key.ancestors().map(|folder| fresh().excludes_folder(folder)).collect();
        assert!(parents.is_sorted(), "{key:?} is in a folder of an excluded one that is not excluded");
        assert!(excluded || parents.last() != Some(&true), "{key:?} is in an excluded folder and is not");
        assert!(!excluded || !fresh().is_empty(), "{key:?} is excluded by nothing");
    }
}

fn parse_rules(text: &str) -> Rules {
    let (rules, errors) = Rules::parse(text);
    assert!(rules.len() + errors.len() <= text.split('\n').count());
    assert!(errors.iter().all(|error| is_harmless(&error.to_string())));
    rules
}

/// Reads what a user or a saved plan says: locations, limits, modes, and pairs as documents.
///
/// # Panics
/// If something does not hold.
pub fn settings(data: &[u8]) {
    document::<SyncPair>(data);
    document::<StoreOptions>(data);
    document::<Key>(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    location(text);
    word::<MaxDelete>(text);
    word::<SyncMode>(text);
    word::<ComparisonMode>(text);
    word::<ConflictStrategy>(text);
    word::<InitialSyncPreference>(text);
    #[cfg(feature = "s3")]
    crate::client::s3::fuzzing::endpoint(text);
    if let Ok(pair) = serde_json::from_slice::<SyncPair>(data) {
        for side in Side::BOTH {
            location(pair.location(side));
        }
        pair.compiled_rules()
            .map_or_else(|error| refused(&error), |rules| assert_eq!(rules.len(), pair.rules.len()));
    }
}

fn location(text: &str) {
    let (scheme, at) = match Location::parse(text) {
        Err(error) => return refused(&error),
        Ok(Location::Folder(folder)) => return assert_eq!(folder, text),
        Ok(Location::S3(at)) => ("s3", at),
        Ok(Location::Embedded(at)) => ("embedded", at),
    };
    let folder = at.prefix.strip_suffix('/');
    assert!(at.prefix.is_empty() || folder.is_some_and(|folder| Key::parse(folder).is_ok()), "{text}");
    let again = Location::parse(&format!("{scheme}://{at}"));
    assert!(matches!(again, Ok(Location::S3(again) | Location::Embedded(again)) if again == at), "{text}");
}

fn word<T: FromStr<Err = Error> + Display + PartialEq + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse::<T>().ok(), Some(value)),
        Err(error) => refused(&error),
    }
}

fn document<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        reads_back(&value);
    }
}

/// Asserts that a value comes back as it was written.
fn reads_back<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &T) {
    let back = serde_json::to_vec(value).and_then(|text| serde_json::from_slice::<T>(&text));
    assert!(back.as_ref().is_ok_and(|back| back == value), "{value:?} became {back:?}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn every_kept_input_is_judged_without_a_panic() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let (mut inputs, mut failed) = (0, Vec::new());
        for (name, target) in TARGETS {
            for entry in fs::read_dir(corpora.join(name)).unwrap() {
                let path = entry.unwrap().path();
                let data = fs::read(&path).unwrap();
                inputs += 1;
                if catch_unwind(|| target(&data)).is_err() {
                    failed.push(path);
                }
            }
        }
        println!("ci: fuzz corpora: {inputs} inputs over {} targets", TARGETS.len());
        assert!(inputs >= 10 * TARGETS.len() && failed.is_empty(), "{inputs} inputs, failed: {failed:?}");
    }
}
