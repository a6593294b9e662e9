//! Bytes of one row: integers of variable length, and one [`BaseRow`] in as few bytes as it needs.
//!
//! What is read here may have been damaged or made up, so it is judged like remote input: a length is
//! checked before it is used, a tag that is not known is an error, and a name becomes a key only through
//! [`Key::parse`](crate::Key::parse). The version of the encoding stands in the block or journal record
//! around it. `docs/STATE_FORMAT.md` has the layout.

use std::fmt;

use super::{Agreed, BaseRow, Deed, Deleted, Intent, RowTail};
use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, ETag, FileStat, Fingerprint, Parts};
use crate::key::Key;
use crate::side::{Side, Sides};

/// What is wrong with some bytes of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage(pub(super) &'static str);

impl Damage {
    /// No damage: a newer program has written what this one must not do without.
    pub(super) const NEWER: Self =
        Self("a newer version of this program wrote it, in a way this one cannot read");
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Damage {}

/// The result of reading bytes of the state.
pub(super) type Read<T> = std::result::Result<T, Damage>;

/// First byte of a row. 0 is left to the journal, for "no row".
const TOMBSTONE: u8 = 1;
const AGREED: u8 = 2;
const DELETED: u8 = 3;
const BEGUN: u8 = 4;
/// Added to the first byte if a tail follows the row.
const WITH_TAIL: u8 = 0x80;

/// Bits 0 and 1 of the second byte of an agreed row: the form of the hash.
const HASH_NONE: u8 = 0;
const HASH_WHOLE: u8 = 1;
const HASH_PARTS: u8 = 2;

/// Bits 2 and 3 (source), 4 and 5 (destination): the form of the fingerprint.
const FRESH_FILE: u8 = 0;
const SETTLED_FILE: u8 = 1;
const ETAG: u8 = 2;
/// The ETag is the one the hash makes, as after most uploads, and takes no bytes.
const ETAG_OF_HASH: u8 = 3;

const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

/// Appends `value`, seven bits a byte, the lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that are yet to be read.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(Damage("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damage("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn varint(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Damage("a number is too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage("a number is too long"))
    }

    pub(super) fn length(&mut self) -> Read<usize> {
        usize::try_from(self.varint()?).map_err(|_| Damage("a length is too large"))
    }

    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn short(&mut self) -> Read<u32> {
        u32::try_from(self.varint()?).map_err(|_| Damage("a number is too large"))
    }

    fn signed(&mut self) -> Read<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Ends the reading: all bytes must have been read.
    pub(super) fn finish(self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage("bytes follow its end")) }
    }
}

/// Refuses a row that could be written but not be read again.
pub(super) fn check(key: &Key, row: &BaseRow) -> Result<()> {
    let is_time = |time: Timestamp| time.nanoseconds < NANOSECONDS_PER_SECOND;
    let (parts, stamps) = match row {
        BaseRow::Agreed(agreed) => {
            let are_times = |seen: &Fingerprint| match seen {
                Fingerprint::File(stat) => is_time(stat.modified) && is_time(stat.changed),
                Fingerprint::Object(_) => true,
            };
            let parts = agreed.hash.and_then(|hash| hash.parts);
            (parts, are_times(&agreed.seen.source) && are_times(&agreed.seen.destination))
        }
        BaseRow::Tombstone(_) | BaseRow::Begun(_) => return Ok(()),
        BaseRow::Deleted(deleted) => (None, is_time(deleted.stored)),
    };
    if stamps && parts.is_none_or(|parts| parts.count > 0 && parts.size > 0) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, format!("record {key:?}: its parts or times are impossible")))
}

/// Appends `row`.
pub(super) fn encode(out: &mut Vec<u8>, row: &BaseRow) {
    let tail = row.tail();
    let kind = match row {
        BaseRow::Agreed(_) => AGREED,
        BaseRow::Tombstone(_) => TOMBSTONE,
        BaseRow::Deleted(_) => DELETED,
        BaseRow::Begun(_) => BEGUN,
    };
    out.push(if tail.is_empty() { kind } else { kind | WITH_TAIL });
    match row {
        BaseRow::Agreed(agreed) => encode_agreed(out, agreed),
        BaseRow::Tombstone(_) | BaseRow::Begun(_) => {}
        BaseRow::Deleted(deleted) => encode_deleted(out, deleted),
    }
    if !tail.is_empty() {
        tail.encode(out);
    }
}

fn encode_agreed(out: &mut Vec<u8>, agreed: &Agreed) {
    let hash_form = match agreed.hash {
        None => HASH_NONE,
        Some(ContentHash { parts: None, .. }) => HASH_WHOLE,
        Some(ContentHash { parts: Some(_), .. }) => HASH_PARTS,
    };
    let of_hash = agreed.hash.map(|hash| hash.etag());
    let form = |seen: &Fingerprint| match seen {
        Fingerprint::File(stat) if stat.settled => SETTLED_FILE,
        Fingerprint::File(_) => FRESH_FILE,
        Fingerprint::Object(etag) if Some(etag) == of_hash.as_ref() => ETAG_OF_HASH,
        Fingerprint::Object(_) => ETAG,
    };
    let forms = Sides::new(form(&agreed.seen.source), form(&agreed.seen.destination));
    out.push(hash_form | forms.source << 2 | forms.destination << 4);
    put_varint(out, agreed.size);
    if let Some(hash) = agreed.hash {
        out.extend_from_slice(&hash.md5);
        if let Some(parts) = hash.parts {
            put_varint(out, u64::from(parts.count));
            put_varint(out, parts.size);
        }
    }
    for (form, seen) in [(forms.source, &agreed.seen.source), (forms.destination, &agreed.seen.destination)] {
        match seen {
            Fingerprint::File(stat) => encode_stat(out, stat),
            Fingerprint::Object(etag) if form == ETAG => put_bytes(out, etag.as_str().as_bytes()),
            Fingerprint::Object(_) => {}
        }
    }
}

/// How the note of what a run was about to do begins.
const HAVE: u8 = 0;
const HAVE_FROM: u8 = 1;
const DELETE: u8 = 2;
const DELETE_STORED: u8 = 3;

/// Appends what a run is about to do.
pub(super) fn encode_intent(out: &mut Vec<u8>, intent: &Intent) {
    out.push(number_of(intent.on));
    out.extend_from_slice(&intent.run_tag.to_be_bytes());
    match &intent.deed {
        Deed::Have(then) => {
            out.push(HAVE);
            encode_agreed(out, then);
        }
        Deed::HaveFrom(then, from) => {
            out.push(HAVE_FROM);
            put_bytes(out, from.as_str().as_bytes());
            encode_agreed(out, then);
        }
        Deed::Delete(seen, stored) => {
            out.push(if stored.is_some() { DELETE_STORED } else { DELETE });
            if let Some(stored) = stored {
                put_signed(out, stored.seconds);
                put_varint(out, u64::from(stored.nanoseconds));
            }
            encode_agreed(out, &Agreed::new(0, None, Sides::new(seen.clone(), seen.clone())));
        }
    }
}

/// Reads what a run was about to do.
pub(super) fn decode_intent(reader: &mut Reader<'_>) -> Read<Intent> {
    let on = side_of(reader.byte()?)?;
    let tag = reader.take(4)?.try_into().map_err(|_| Damage("a tag has a wrong length"))?;
    let run_tag = u32::from_be_bytes(tag);
    let deed = match reader.byte()? {
        HAVE => Deed::Have(decode_agreed(reader)?),
        HAVE_FROM => {
            let from = Key::of_object_bytes(reader.bytes()?).map_err(|_| Damage("a name in it is no key"))?;
            Deed::HaveFrom(decode_agreed(reader)?, from)
        }
        DELETE => Deed::Delete(decode_agreed(reader)?.seen.source, None),
        DELETE_STORED => {
            let stored = Timestamp::new(reader.signed()?, decode_nanoseconds(reader)?);
            Deed::Delete(decode_agreed(reader)?.seen.source, Some(stored))
        }
        _ => return Err(Damage("what was to be done is unknown")),
    };
    Ok(Intent { on, run_tag, deed })
}

fn encode_deleted(out: &mut Vec<u8>, deleted: &Deleted) {
    out.push(number_of(deleted.on));
    put_bytes(out, deleted.etag.as_str().as_bytes());
    put_signed(out, deleted.stored.seconds);
    put_varint(out, u64::from(deleted.stored.nanoseconds));
}

fn encode_stat(out: &mut Vec<u8>, stat: &FileStat) {
    put_signed(out, stat.modified.seconds);
    put_varint(out, u64::from(stat.modified.nanoseconds));
    // The two times are mostly close to each other.
    put_signed(out, stat.changed.seconds.wrapping_sub(stat.modified.seconds));
    put_varint(out, u64::from(stat.changed.nanoseconds));
    put_varint(out, stat.inode);
}

/// Reads a row.
pub(super) fn decode(reader: &mut Reader<'_>) -> Read<BaseRow> {
    let first = reader.byte()?;
    let mut row = match first & !WITH_TAIL {
        TOMBSTONE => BaseRow::tombstone(),
        AGREED => BaseRow::Agreed(decode_agreed(reader)?),
        DELETED => BaseRow::Deleted(decode_deleted(reader)?),
        BEGUN => BaseRow::Begun(RowTail::default()),
        _ => return Err(Damage("a row is of an unknown kind")),
    };
    if first & WITH_TAIL != 0 {
        *row.tail_mut() = RowTail::decode(reader)?;
    }
    Ok(row)
}

fn decode_agreed(reader: &mut Reader<'_>) -> Read<Agreed> {
    let forms = reader.byte()?;
    if forms >> 6 != 0 {
        return Err(Damage("a row has an unknown form"));
    }
    let size = reader.varint()?;
    let hash = match forms & 3 {
        HASH_NONE => None,
        HASH_WHOLE => Some(ContentHash { md5: decode_md5(reader)?, parts: None }),
        HASH_PARTS => {
            let md5 = decode_md5(reader)?;
            let parts = Parts { count: reader.short()?, size: reader.varint()? };
            if parts.count == 0 || parts.size == 0 {
                return Err(Damage("a hash has no parts"));
            }
            Some(ContentHash { md5, parts: Some(parts) })
        }
        _ => return Err(Damage("a hash has an unknown form")),
    };
    let source = decode_seen(reader, forms >> 2 & 3, hash)?;
    let destination = decode_seen(reader, forms >> 4 & 3, hash)?;
    Ok(Agreed::new(size, hash, Sides::new(source, destination)))
}

/// Returns the byte that stands for a side.
pub(super) fn number_of(side: Side) -> u8 {
    match side {
        Side::Source => 0,
        Side::Destination => 1,
    }
}

/// Returns the side that a byte stands for.
pub(super) fn side_of(number: u8) -> Read<Side> {
    let side = Side::BOTH.into_iter().find(|side| number_of(*side) == number);
    side.ok_or(Damage("a row is of an unknown side"))
}

fn decode_deleted(reader: &mut Reader<'_>) -> Read<Deleted> {
    let on = side_of(reader.byte()?)?;
    let etag = decode_etag(reader)?;
    let stored = Timestamp::new(reader.signed()?, decode_nanoseconds(reader)?);
    Ok(Deleted { on, etag, stored, tail: RowTail::default() })
}

fn decode_etag(reader: &mut Reader<'_>) -> Read<ETag> {
    let text = std::str::from_utf8(reader.bytes()?).map_err(|_| Damage("an ETag is not UTF-8"))?;
    // `ETag::new` takes one pair of quotes off; any other belongs to the text.
    Ok(ETag::new(&format!("\"{text}\"")))
}

fn decode_md5(reader: &mut Reader<'_>) -> Read<[u8; 16]> {
    reader.take(16)?.try_into().map_err(|_| Damage("a hash has a wrong length"))
}

fn decode_seen(reader: &mut Reader<'_>, form: u8, hash: Option<ContentHash>) -> Read<Fingerprint> {
    Ok(match form {
        ETAG => Fingerprint::Object(decode_etag(reader)?),
        ETAG_OF_HASH => {
            Fingerprint::Object(hash.ok_or(Damage("an ETag refers to a hash that is not there"))?.etag())
        }
        _ => Fingerprint::File(decode_stat(reader, form == SETTLED_FILE)?),
    })
}

fn decode_stat(reader: &mut Reader<'_>, settled: bool) -> Read<FileStat> {
    let modified = Timestamp { seconds: reader.signed()?, nanoseconds: decode_nanoseconds(reader)? };
    let seconds = modified.seconds.wrapping_add(reader.signed()?);
    let changed = Timestamp { seconds, nanoseconds: decode_nanoseconds(reader)? };
    Ok(FileStat { modified, changed, inode: reader.varint()?, settled })
}

fn decode_nanoseconds(reader: &mut Reader<'_>) -> Read<u32> {
    match reader.short()? {
        nanoseconds if nanoseconds < NANOSECONDS_PER_SECOND => Ok(nanoseconds),
        _ => Err(Damage("a time has too many nanoseconds")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::state) fn key() -> impl Strategy<Value = Key> {
        ("[a-c]{1,2}(/[a-z0-9é]{1,6}){0,3}").prop_map(|name| Key::parse(&name).unwrap())
    }

    fn stamp() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..NANOSECONDS_PER_SECOND)
            .prop_map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds })
    }

    fn seen() -> impl Strategy<Value = Fingerprint> {
        prop_oneof![
            (stamp(), stamp(), any::<u64>(), any::<bool>()).prop_map(
                |(modified, changed, inode, settled)| {
                    Fingerprint::File(FileStat { modified, changed, inode, settled })
                }
            ),
            "[\"a-f0-9é-]{0,40}".prop_map(|text| Fingerprint::Object(ETag::new(&format!("\"{text}\"")))),
        ]
    }

    fn tail() -> impl Strategy<Value = RowTail> {
        let field = (0..crate::state::MUST_KNOW, proptest::collection::vec(any::<u8>(), 0..9));
        let none = Just(RowTail::default());
        let some = proptest::collection::vec(field, 0..3).prop_map(|fields| {
            fields.iter().fold(RowTail::default(), |tail, (tag, bytes)| tail.with(*tag, bytes))
        });
        prop_oneof![3 => none, 1 => some]
    }

    pub(in crate::state) fn row() -> impl Strategy<Value = BaseRow> {
        let parts = proptest::option::of((1..u32::MAX, 1..u64::MAX));
        let hash = proptest::option::of((any::<[u8; 16]>(), parts));
        let agreed = (any::<u64>(), hash, seen(), seen(), any::<bool>(), tail()).prop_map(
            |(size, hash, source, destination, uploaded, tail)| {
                let hash = hash.map(|(md5, parts)| ContentHash {
                    md5,
                    parts: parts.map(|(count, size)| Parts { count, size }),
                });
                let destination = match hash {
                    Some(hash) if uploaded => Fingerprint::Object(hash.etag()),
                    _ => destination,
                };
                BaseRow::Agreed(Agreed { tail, ..Agreed::new(size, hash, Sides::new(source, destination)) })
            },
        );
        let deleted =
            (any::<bool>(), "[\"a-f0-9é-]{0,40}", stamp(), tail()).prop_map(|(first, etag, stored, tail)| {
                let on = if first { Side::Source } else { Side::Destination };
                BaseRow::Deleted(Deleted { on, etag: ETag::new(&format!("\"{etag}\"")), stored, tail })
            });
        let known = prop_oneof![1 => tail().prop_map(BaseRow::Tombstone), 1 => deleted, 8 => agreed];
        (known, 0..8).prop_map(|(row, how)| match (row, how) {
            (BaseRow::Agreed(then), 0) => {
                let deed = Deed::Have(then);
                BaseRow::with_intent(None, &Intent { on: Side::Source, deed, run_tag: 7 })
            }
            (BaseRow::Agreed(then), 1) => {
                let deed = Deed::HaveFrom(then, Key::parse("d/old").unwrap());
                BaseRow::with_intent(None, &Intent { on: Side::Destination, deed, run_tag: u32::MAX })
            }
            (BaseRow::Agreed(row), how @ 2..=3) => {
                let stored = (how == 3).then(|| Timestamp::new(-1, 7));
                let deed = Deed::Delete(row.seen.source.clone(), stored);
                let intent = Intent { on: Side::Destination, deed, run_tag: 8 };
                BaseRow::with_intent(Some(BaseRow::Agreed(row)), &intent)
            }
            (row, _) => row,
        })
    }

    /// Equality of fingerprints leaves out `settled`; the encoding must not.
    pub(in crate::state) fn exact(row: &BaseRow) -> String {
        format!("{row:?}")
    }

    #[test]
    fn numbers_keep_their_value_at_the_edges() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader(&out);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            assert_eq!(Reader(&out).signed(), Ok(value));
        }
        assert_eq!(Reader(&[0xff; 10]).varint(), Err(Damage("a number is too large")));
        assert_eq!(Reader(&[0x80; 9]).varint(), Err(Damage("it ends too early")));
    }

    #[test]
    fn impossible_values_are_refused() {
        let stat = |nanos: u64| {
            let mut out = vec![AGREED, 0, 5, 2];
            put_varint(&mut out, nanos);
            out.extend([0, 0, 7, 2, 0, 0, 0, 7]);
            out
        };
        assert!(decode(&mut Reader(&stat(999_999_999))).is_ok());
        let rows: &[(&str, Vec<u8>)] = &[
            ("empty", vec![]),
            ("kind", vec![0]),
            ("kind", vec![3]),
            ("form", vec![AGREED, 0x40, 0]),
            ("hash form", vec![AGREED, 3, 0]),
            ("hash too short", [&[AGREED, HASH_WHOLE, 0][..], &[7; 15]].concat()),
            ("no parts", [&[AGREED, HASH_PARTS, 0][..], &[7; 16], &[0, 9]].concat()),
            ("no part size", [&[AGREED, HASH_PARTS, 0][..], &[7; 16], &[9, 0]].concat()),
            ("etag of no hash", vec![AGREED, ETAG_OF_HASH << 2 | ETAG_OF_HASH << 4, 0]),
            ("etag not text", vec![AGREED, ETAG << 2 | ETAG << 4, 0, 1, 0xff, 0]),
            ("etag longer than the row", vec![AGREED, ETAG << 2 | ETAG << 4, 0, 99, b'a']),
            ("nanoseconds", stat(1_000_000_000)),
            ("nanoseconds", stat(u64::MAX)),
        ];
        for (what, bytes) in rows {
            assert!(decode(&mut Reader(bytes)).is_err(), "B-51 {what}");
        }
    }

    #[test]
    fn a_row_that_could_not_be_read_again_is_not_written() {
        let key = Key::parse("a").unwrap();
        let object = Fingerprint::Object(ETag::new("x"));
        let file = |nanoseconds| {
            let time = Timestamp { seconds: 0, nanoseconds };
            let stat = FileStat { modified: time, changed: time, inode: 1, settled: true };
            Fingerprint::File(stat)
        };
        let row = |parts, source| {
            let hash = Some(ContentHash { md5: [0; 16], parts });
            BaseRow::Agreed(Agreed::new(0, hash, Sides::new(source, object.clone())))
        };
        assert!(check(&key, &row(Some(Parts { count: 1, size: 1 }), file(0))).is_ok());
        assert!(check(&key, &row(Some(Parts { count: 0, size: 1 }), file(0))).is_err());
        assert!(check(&key, &row(None, file(NANOSECONDS_PER_SECOND))).is_err());
        assert!(check(&key, &BaseRow::tombstone()).is_ok());
    }

    proptest! {
        #[test]
        fn a_row_reads_back_exactly(row in row()) {
            let mut out = Vec::new();
            encode(&mut out, &row);
            let mut reader = Reader(&out);
            let back = decode(&mut reader).unwrap();
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert_eq!(exact(&back), exact(&row));
            for end in 0..out.len() {
                prop_assert!(decode(&mut Reader(&out[..end])).is_err(), "cut at {}", end);
            }
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(decode(&mut Reader(&bytes)));
            drop(decode(&mut Reader(&[&[AGREED][..], &bytes].concat())));
        }
    }
}
