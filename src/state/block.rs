//! Blocks: runs of rows in order, the values in which the base lies in the store.
//!
//! A block is a version, a number of rows, the rows in strictly ascending order of their keys (each key
//! without the bytes it shares with the one before it), and a CRC32 of all that. Blocks are small because
//! sled keeps up to 17 values of a tree in one page, and a page above 128 KiB becomes a file of its own that
//! sled 0.34 may never remove: measured, blocks of 16 KiB made hundreds of such files, blocks of at most
//! 6 KiB none.

use std::ops::Range;

use super::BaseRow;
use super::row::{self, Damage, Read, Reader, put_bytes, put_varint};
use crate::key::Key;

/// The version of the encoding of blocks, and of the rows in them.
const VERSION: u8 = 1;

/// A block is closed when the next row would take it beyond this many bytes of rows.
const AIM: usize = 4 * 1024;

/// No block of more than one row is longer than this.
pub(super) const MAX: usize = 6 * 1024;

/// A block shorter than this is merged with a neighbour.
pub(super) const MIN: usize = 2 * 1024;

/// Version, number of rows (two bytes are enough below [`MAX`]) and CRC32.
const FRAME: usize = 1 + 2 + 4;

const CRC_BYTES: usize = 4;

/// One row with its name.
pub(super) type Row = (Key, BaseRow);

/// Appends the CRC32 of what is there.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Returns what [`seal`] was given.
pub(super) fn unseal(bytes: &[u8]) -> Read<&[u8]> {
    let split = bytes.len().checked_sub(CRC_BYTES).ok_or(Damage("it is too short"))?;
    let (content, crc) = bytes.split_at(split);
    if crc32fast::hash(content).to_le_bytes() == crc { Ok(content) } else { Err(Damage("its CRC is wrong")) }
}

/// Returns the blocks that hold `rows`, which are in strictly ascending order.
pub(super) fn pack(rows: &[Row]) -> Vec<Vec<u8>> {
    cut(rows).into_iter().filter_map(|range| rows.get(range)).map(encode).collect()
}

/// Returns one block of `rows`, of whatever size.
fn encode(rows: &[Row]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, rows.len() as u64);
    let mut last: &[u8] = &[];
    for (key, row) in rows {
        let name = key.as_str().as_bytes();
        let (shared, own) = name.split_at(shared_prefix(last, name));
        put_varint(&mut out, shared.len() as u64);
        put_bytes(&mut out, own);
        row::encode(&mut out, row);
        last = name;
    }
    seal(out)
}

fn shared_prefix(last: &[u8], name: &[u8]) -> usize {
    last.iter().zip(name).take_while(|(a, b)| a == b).count()
}

/// Returns which rows share a block.
fn cut(rows: &[Row]) -> Vec<Range<usize>> {
    let mut ranges: Vec<(Range<usize>, usize)> = Vec::new();
    let mut last: &[u8] = &[];
    let mut scratch = Vec::new();
    for (index, (key, row)) in rows.iter().enumerate() {
        scratch.clear();
        row::encode(&mut scratch, row);
        let name = key.as_str().as_bytes();
        // Two lengths of at most three bytes (a key has at most 16 KiB), mostly of one.
        let cost = |shared: usize| scratch.len() + name.len() - shared + varint_length(shared, name.len());
        let joined = cost(shared_prefix(last, name));
        match ranges.last_mut() {
            Some((range, size)) if *size + joined <= AIM => {
                range.end = index + 1;
                *size += joined;
            }
            _ => ranges.push((index..index + 1, FRAME + cost(0))),
        }
        last = name;
    }
    merge_short_tail(&mut ranges);
    ranges.into_iter().map(|(range, _)| range).collect()
}

/// Returns an upper bound for the two lengths before a key.
fn varint_length(shared: usize, whole: usize) -> usize {
    let one = |value: usize| if value < 128 { 1 } else { 3 };
    one(shared) + one(whole - shared)
}

fn merge_short_tail(ranges: &mut Vec<(Range<usize>, usize)>) {
    if let [.., (before, size), (tail, tail_size)] = ranges.as_mut_slice()
        && *tail_size < MIN
        && *size + *tail_size <= MAX
    {
        before.end = tail.end;
        *size += *tail_size;
        ranges.pop();
    }
}

/// Returns the first key of a block just made, which names it in the store.
pub(super) fn first_name(block: &[u8]) -> Read<&[u8]> {
    let mut reader = Reader(block);
    reader.byte()?;
    let (_count, _shared) = (reader.length()?, reader.length()?);
    reader.bytes()
}

/// Returns the rows of a block.
pub(super) fn decode(block: &[u8]) -> Read<Vec<Row>> {
    let mut reader = Reader(unseal(block)?);
    if reader.byte()? != VERSION {
        return Err(Damage("it is of an unknown version"));
    }
    let count = reader.length()?;
    // A count that was made up must not reserve more than the block could hold.
    let mut rows: Vec<Row> = Vec::with_capacity(count.min(block.len() / 4));
    let mut name: Vec<u8> = Vec::new();
    for _ in 0..count {
        let shared = reader.length()?;
        if shared > name.len() {
            return Err(Damage("a key refers to bytes that are not there"));
        }
        name.truncate(shared);
        name.extend_from_slice(reader.bytes()?);
        let key = Key::of_object_bytes(&name).map_err(|_| Damage("a name in it is no key"))?;
        if rows.last().is_some_and(|(last, _)| *last >= key) {
            return Err(Damage("its rows are out of order"));
        }
        rows.push((key, row::decode(&mut reader)?));
    }
    reader.finish()?;
    if rows.is_empty() { Err(Damage("it has no rows")) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{exact, key, row};
    use super::*;
    use proptest::prelude::*;

    fn sorted(rows: Vec<Row>) -> Vec<Row> {
        rows.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect()
    }

    fn named(names: impl IntoIterator<Item = String>) -> Vec<Row> {
        names.into_iter().map(|name| (Key::parse(&name).unwrap(), BaseRow::tombstone())).collect()
    }

    fn shown(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|(key, row)| format!("{key} {}", exact(row))).collect()
    }

    #[test]
    fn blocks_have_the_intended_sizes() {
        let rows = named((0..5_000).map(|i| format!("some/folder/file-{i:06}")));
        let blocks = pack(&rows);
        assert!(blocks.len() > 2);
        for block in &blocks {
            assert!((MIN..=MAX).contains(&block.len()), "{}", block.len());
        }
        let back: Vec<Row> = blocks.iter().flat_map(|block| decode(block).unwrap()).collect();
        assert_eq!(back, rows);
        assert!(pack(&[]).is_empty());
    }

    #[test]
    fn a_row_too_large_for_a_block_gets_its_own() {
        let long = |first: char| format!("{first}/{}", "x".repeat(crate::key::MAX_KEY_BYTES - 2));
        let rows = named([long('a'), long('b'), long('c'), "d".into()]);
        let blocks = pack(&rows);
        assert_eq!(blocks.iter().map(|block| decode(block).unwrap().len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
        assert!(blocks.iter().all(|block| block.len() < 32 * 1024));
        // Long keys that share almost everything do fit together.
        let deep = "x".repeat(crate::key::MAX_KEY_BYTES - 8);
        let rows = named((0..100).map(|i| format!("{deep}/{i:03}")));
        assert_eq!(pack(&rows).iter().flat_map(|block| decode(block).unwrap()).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn blocks_that_contradict_themselves_are_refused() {
        let row = |shared: u8, name: &str| {
            [&[shared, u8::try_from(name.len()).unwrap()], name.as_bytes(), &[1]].concat()
        };
        let block =
            |version: u8, count: u8, rows: &[Vec<u8>]| seal([vec![version, count], rows.concat()].concat());
        assert_eq!(decode(&block(1, 2, &[row(0, "ab"), row(1, "c")])).unwrap().len(), 2);
        for (what, bytes) in [
            ("empty", vec![]),
            ("nothing but a CRC", seal(vec![])),
            ("version", block(2, 1, &[row(0, "a")])),
            ("no rows", block(1, 0, &[])),
            ("fewer rows", block(1, 2, &[row(0, "a")])),
            ("more rows", block(1, 1, &[row(0, "a"), row(0, "b")])),
            ("order", block(1, 2, &[row(0, "b"), row(0, "a")])),
            ("twice", block(1, 2, &[row(0, "b"), row(0, "b")])),
            ("key", block(1, 1, &[row(0, "a\0")])),
            ("key", block(1, 1, &[row(0, "")])),
            ("prefix", block(1, 2, &[row(0, "a"), row(2, "b")])),
            ("count", seal(vec![1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])),
        ] {
            assert!(decode(&bytes).is_err(), "B-51 {what}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn rows_read_back_exactly(rows in proptest::collection::vec((key(), row()), 1..200).prop_map(sorted)) {
            let blocks = pack(&rows);
            let mut back = Vec::new();
            for block in &blocks {
                let read = decode(block).unwrap();
                prop_assert!(block.len() <= MAX || read.len() == 1);
                back.extend(read);
            }
            prop_assert_eq!(shown(&back), shown(&rows));
        }

        #[test]
        fn a_changed_byte_is_noticed(
            rows in proptest::collection::vec((key(), row()), 1..20).prop_map(sorted),
            at in any::<proptest::sample::Index>(), bits in 1_u8..,
        ) {
            for mut block in pack(&rows) {
                let at = at.index(block.len());
                block[at] ^= bits;
                prop_assert!(decode(&block).is_err());
            }
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&bytes));
            drop(decode(&seal(bytes.clone())));
            drop(decode(&seal([&[VERSION][..], &bytes].concat())));
        }
    }
}
