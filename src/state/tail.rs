//! Tagged fields behind a row or the pair's record: how what is remembered can grow without another schema.
//!
//! A program that does not know a tag below [`MUST_KNOW`] goes on without it, and keeps the field for as long as the row or
//! record is not replaced. From there on a field changes what the rest means: whoever does not know it must not
//! use the state at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Intent;
use super::row::{self, Damage, Read, Reader, number_of, put_bytes, put_varint, side_of};
use crate::marker::CarriedRules;
use crate::side::{Side, Sides};

/// The first tag that a program must know to read what it is behind.
pub const MUST_KNOW: u64 = 64;

/// The tags of the record that this program knows.
const SIDES_WITHOUT_INODES: u64 = 1;
const EPOCHS: u64 = 2;
const RECOVERY: u64 = 3;
const BEGAN: u64 = 4;
const FIRST_SEEN: u64 = 5;
const RULES: u64 = 6;
const AGREED_TIME: u64 = 7;

/// The tags of rows that this program knows.
const UNLISTED: u64 = 1;
const INTENT: u64 = 2;

/// How a row says that the store was seen not to have the file, and that it was sent again in vain.
const MISSING: u8 = 2;
const GIVEN_UP: u8 = 1;

/// That a store said it took a version, which no listing has shown since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// The side of the store.
    pub on: Side,
    /// Whether the store was seen not to have it.
    pub is_missing: bool,
    /// Whether it was sent again, in vain: it is not sent a third time.
    pub is_given_up: bool,
    /// The ETag of what the store may have in its place: what it was to replace, or what it made of it.
    pub instead: Option<String>,
}

/// Fields behind a row, in ascending order of their tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowTail(BTreeMap<u64, Box<[u8]>>);

impl RowTail {
    /// Returns whether there are none, as in most rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the tail with one more field.
    pub fn with(mut self, tag: u64, bytes: &[u8]) -> Self {
        self.0.insert(tag, bytes.into());
        self
    }

    /// Returns whether a store is yet to be seen to have the version of the row.
    pub fn unlisted(&self) -> Option<Unlisted> {
        let [on, missing, instead @ ..] = &**self.0.get(&UNLISTED)? else { return None };
        let instead = std::str::from_utf8(instead).ok().filter(|etag| !etag.is_empty());
        Some(Unlisted {
            on: side_of(*on).ok()?,
            is_missing: *missing > 0,
            is_given_up: *missing == GIVEN_UP,
            instead: instead.map(str::to_owned),
        })
    }

    /// Remembers whether a store is yet to be seen to have the version of the row.
    pub fn set_unlisted(&mut self, unlisted: Option<Unlisted>) {
        self.0.remove(&UNLISTED);
        if let Some(Unlisted { on, is_missing, is_given_up, instead }) = unlisted {
            let missing = if is_given_up { GIVEN_UP } else { MISSING * u8::from(is_missing) };
            let mut bytes = vec![number_of(on), missing];
            bytes.extend(instead.unwrap_or_default().into_bytes());
            self.0.insert(UNLISTED, bytes.into());
        }
    }

    /// Returns what a run was about to do.
    pub fn intent(&self) -> Option<Intent> {
        let mut reader = Reader(self.0.get(&INTENT)?);
        row::decode_intent(&mut reader).ok()
    }

    /// Remembers what a run is about to do.
    pub fn set_intent(&mut self, intent: Option<&Intent>) {
        self.0.remove(&INTENT);
        if let Some(intent) = intent {
            let mut bytes = Vec::new();
            row::encode_intent(&mut bytes, intent);
            self.0.insert(INTENT, bytes.into());
        }
    }

    /// Appends the fields.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for (tag, bytes) in &self.0 {
            put_varint(out, *tag);
            put_bytes(out, bytes);
        }
    }

    /// Reads what [`Self::encode`] has written.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Read<Self> {
        let count = reader.length()?;
        let mut fields = BTreeMap::new();
        for _ in 0..count {
            let tag = reader.varint()?;
            check(tag)?;
            if fields.last_key_value().is_some_and(|(last, _)| *last >= tag) {
                return Err(Damage("fields are out of order"));
            }
            fields.insert(tag, reader.bytes()?.into());
        }
        if fields.is_empty() { Err(Damage("a tail has no fields")) } else { Ok(Self(fields)) }
    }
}

/// What is still to be put right after a side went back to an earlier state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recovery {
    /// The sides that went back.
    pub sides: Sides<bool>,
    /// The paths at which the base does not count any more, and that no run has settled yet.
    pub keys: BTreeSet<String>,
    /// Whether there may be more of them, because not everything could be looked at.
    pub is_unsure: bool,
    /// The sides on which another folder is in the place of the one that the base knows, until a run has looked at
    /// everything there.
    pub exchanged: Sides<bool>,
}

/// What is remembered of the rules of both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RulesRecord {
    /// The files of rules in stores, by their names.
    pub files: Sides<BTreeMap<String, RuleFile>>,
    /// The rules that hold files of each side although no rule may exclude them any more: by their folders, as they were together.
    pub held: Sides<Vec<BTreeMap<String, String>>>,
    /// The texts that a side's files of rules had when the last run looked, by their folders; behind each what that run meant to
    /// put in its place.
    pub last: Sides<BTreeMap<String, Vec<Option<String>>>>,
    /// Whether there was such a run.
    pub is_known: bool,
    /// What runs have done to the rules of each side, the latest last, for its marker.
    #[serde(skip_serializing_if = "is_default")]
    pub carried: Sides<Vec<CarriedRules>>,
}

fn is_default(carried: &Sides<Vec<CarriedRules>>) -> bool {
    carried.source.is_empty() && carried.destination.is_empty()
}

/// A file of rules in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFile {
    /// Its ETag.
    pub version: String,
    /// What is in it.
    pub text: String,
}

/// How far each side has come, by its marker. 0 is a side that never had one with an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Epochs {
    /// The epoch whose marker was about to be written.
    pub meant: Sides<u64>,
    /// The epoch whose marker is known to have been there.
    pub there: Sides<u64>,
    /// The epoch of the oldest marker there can be, since all older ones were removed: if one of those is there again, it came
    /// out of a backup. 0 where some may have stayed.
    pub oldest: Sides<u64>,
    /// The sides that a run has written to without a marker, as none could be written, and that came to no end: nothing would
    /// tell if they were put back to a moment before that run.
    pub unmarked: Sides<bool>,
}

impl Epochs {
    /// Returns whether a marker was about to be written and is not known to be there: a run was cut off.
    pub fn is_open(&self) -> bool {
        self.meant != self.there
    }

    /// Returns whether each of these sides is known to have had a marker.
    pub fn is_known_on(&self, mut sides: impl Iterator<Item = Side>) -> bool {
        sides.all(|side| *self.there.get(side) > 0)
    }

    /// Returns the highest epoch known.
    pub fn highest(&self) -> u64 {
        let Self { meant, there, .. } = self;
        [meant.source, meant.destination, there.source, there.destination].into_iter().max().unwrap_or(0)
    }
}

/// Fields of the pair's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordTail(BTreeMap<u64, serde_json::Value>);

impl RecordTail {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the tail with one more field.
    pub fn with(mut self, tag: u64, value: serde_json::Value) -> Self {
        self.0.insert(tag, value);
        self
    }

    /// Returns a field, or what it is where there is none.
    fn read<T: DeserializeOwned + Default>(&self, tag: u64) -> T {
        let known = self.0.get(&tag);
        known.and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
    }

    /// Sets a field; what is as where there is none takes no room.
    fn write<T: Serialize + Default + PartialEq>(&mut self, tag: u64, value: &T) {
        if *value == T::default() {
            self.0.remove(&tag);
        } else {
            self.0.insert(tag, serde_json::json!(value));
        }
    }

    /// Returns on which sides inode numbers were seen not to last, so that they prove nothing.
    pub fn without_inodes(&self) -> Sides<bool> {
        self.read(SIDES_WITHOUT_INODES)
    }

    /// Remembers on which sides inode numbers do not last.
    pub fn set_without_inodes(&mut self, sides: Sides<bool>) {
        self.write(SIDES_WITHOUT_INODES, &sides);
    }

    /// Returns how far each side has come.
    pub fn epochs(&self) -> Epochs {
        self.read(EPOCHS)
    }

    /// Remembers how far each side has come.
    pub fn set_epochs(&mut self, epochs: Epochs) {
        self.write(EPOCHS, &epochs);
    }

    /// Returns what is still to be put right after a side went back to an earlier state.
    pub fn recovery(&self) -> Recovery {
        self.read(RECOVERY)
    }

    /// Remembers what is still to be put right.
    pub fn set_recovery(&mut self, recovery: &Recovery) {
        self.write(RECOVERY, recovery);
    }

    /// Returns when the pair began, in seconds since 1970, by the clock of then.
    pub fn began(&self) -> Option<i64> {
        self.read(BEGAN)
    }

    /// Remembers when the pair began.
    pub fn set_began(&mut self, seconds: i64) {
        self.write(BEGAN, &Some(seconds));
    }

    /// Returns the latest moment that the clocks of two runs in a row have reached, in seconds since 1970.
    pub fn agreed_time(&self) -> Option<i64> {
        self.read(AGREED_TIME)
    }

    /// Remembers which moment the clocks of two runs in a row have reached, if it is later than what is known.
    pub fn agree_on_time(&mut self, seconds: i64) {
        self.write(AGREED_TIME, &self.agreed_time().max(Some(seconds)));
    }

    /// Returns when runs whose names are not believed were first seen in the trash of each side.
    pub fn first_seen(&self) -> Sides<BTreeMap<String, i64>> {
        self.read(FIRST_SEEN)
    }

    /// Remembers when such runs were first seen.
    pub fn set_first_seen(&mut self, seen: &Sides<BTreeMap<String, i64>>) {
        self.write(FIRST_SEEN, seen);
    }

    /// Returns what is remembered of rules.
    pub fn rules(&self) -> RulesRecord {
        self.read(RULES)
    }

    /// Remembers the rules.
    pub fn set_rules(&mut self, rules: &RulesRecord) {
        self.write(RULES, rules);
    }

    /// Checks that this program may use the record.
    pub(super) fn check(&self) -> Read<()> {
        self.0.keys().try_for_each(|tag| check(*tag))
    }
}

/// This program knows no tag that must be known.
fn check(tag: u64) -> Read<()> {
    if tag < MUST_KNOW { Ok(()) } else { Err(Damage::NEWER) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Timestamp;
    use crate::fingerprint::{ETag, Fingerprint};
    use crate::key::Key;
    use crate::state::{Agreed, Deed};

    #[test]
    fn fields_that_nobody_knows_are_kept_and_those_that_must_be_known_refused() {
        let encoded = |tail: &RowTail| {
            let mut out = Vec::new();
            tail.encode(&mut out);
            out
        };
        let read = |bytes: &[u8]| RowTail::decode(&mut Reader(bytes));
        let kept = RowTail::default().with(63, b"x").with(2, b"");
        assert_eq!(read(&encoded(&kept)), Ok(kept));
        assert_eq!(read(&encoded(&RowTail::default().with(64, b"x"))), Err(Damage::NEWER));
        for (what, bytes) in [
            ("no fields", &[0][..]),
            ("out of order", &[2, 3, 0, 2, 0]),
            ("twice", &[2, 3, 0, 3, 0]),
            ("cut", &[1, 3, 9, 1]),
        ] {
            assert!(read(bytes).is_err_and(|damage| damage != Damage::NEWER), "{what}");
        }
    }

    #[test]
    fn a_row_remembers_what_no_listing_has_shown() {
        let mut tail = RowTail::default().with(63, b"x");
        let instead = || Some("etag".to_owned());
        for unlisted in Side::BOTH.into_iter().flat_map(|on| {
            [None, Some((false, false, None)), Some((true, false, instead())), Some((true, true, instead()))]
                .map(|told| {
                    told.map(|(is_missing, is_given_up, instead)| Unlisted {
                        on,
                        is_missing,
                        is_given_up,
                        instead,
                    })
                })
        }) {
            tail.set_unlisted(unlisted.clone());
            assert_eq!((tail.unlisted(), tail.is_empty()), (unlisted, false));
        }
        // What a later release may write there says nothing to this one.
        assert_eq!(RowTail::default().with(1, &[7, 0]).unlisted(), None);
    }

    #[test]
    fn a_row_remembers_what_a_run_is_about_to_do() {
        let seen = Sides::new(Fingerprint::Object(ETag::new("a")), Fingerprint::Object(ETag::new("b")));
        let then = Agreed::new(7, None, seen.clone());
        let stored = Some(Timestamp::new(-1, 7));
        for deed in [
            Deed::Have(then.clone()),
            Deed::HaveFrom(then, Key::of_object("old//name").unwrap()),
            Deed::Delete(seen.source.clone(), None),
            Deed::Delete(seen.destination, stored),
        ] {
            let intent = Intent { on: Side::Destination, run_tag: 0xfedc_ba98, deed };
            let mut tail = RowTail::default().with(63, b"x");
            tail.set_intent(Some(&intent));
            assert_eq!(tail.intent(), Some(intent));
            tail.set_intent(None);
            assert_eq!(tail, RowTail::default().with(63, b"x"));
        }
        assert_eq!(RowTail::default().with(2, &[1, 0, 0, 0, 0, 9]).intent(), None);
    }

    #[test]
    fn the_record_keeps_what_it_does_not_know() {
        let text = r#"{"5": {"a": [1]}, "63": null}"#;
        let mut tail: RecordTail = serde_json::from_str(text).unwrap();
        assert_eq!((tail.check(), tail.without_inodes()), (Ok(()), Sides::new(false, false)));
        tail.set_without_inodes(Sides::new(false, true));
        let back: RecordTail = serde_json::from_str(&serde_json::to_string(&tail).unwrap()).unwrap();
        assert_eq!((back.without_inodes(), back == tail), (Sides::new(false, true), true));
        assert_eq!(tail.with(64, 1.into()).check(), Err(Damage::NEWER));
    }
}
