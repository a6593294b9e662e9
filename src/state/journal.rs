//! Journal records: changes made since the rows were last folded into blocks, in the order they were made.
//!
//! A record is a version (unlike that of a block, so that neither passes for the other), a number of
//! changes, the changes, and a CRC32. A change is a key and a row, or a key and a zero for "no row".

use super::RowChange;
use super::block::{MAX, seal, unseal};
use super::row::{self, Damage, Read, Reader, put_bytes, put_varint};
use crate::key::Key;

const VERSION: u8 = 0x81;

/// What stands in the place of a row's kind if there is no row.
const NO_ROW: u8 = 0;

/// Version, number of changes (two bytes are enough below [`MAX`]) and CRC32.
const FRAME: usize = 1 + 2 + 4;

/// Returns records that hold `changes` in order, none larger than a block unless one change is.
pub(super) fn encode(changes: &[RowChange]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let (mut body, mut count) = (Vec::new(), 0_u64);
    let mut change_bytes = Vec::new();
    for (key, row) in changes {
        change_bytes.clear();
        put_bytes(&mut change_bytes, key.as_str().as_bytes());
        match row {
            Some(row) => row::encode(&mut change_bytes, row),
            None => change_bytes.push(NO_ROW),
        }
        if count > 0 && FRAME + body.len() + change_bytes.len() > MAX {
            records.push(close(&body, count));
            body.clear();
            count = 0;
        }
        body.extend_from_slice(&change_bytes);
        count += 1;
    }
    if count > 0 {
        records.push(close(&body, count));
    }
    records
}

fn close(body: &[u8], count: u64) -> Vec<u8> {
    let mut record = vec![VERSION];
    put_varint(&mut record, count);
    record.extend_from_slice(body);
    seal(record)
}

/// Returns the changes of a record.
pub(super) fn decode(record: &[u8]) -> Read<Vec<RowChange>> {
    let mut reader = Reader(unseal(record)?);
    if reader.byte()? != VERSION {
        return Err(Damage("it is of an unknown version"));
    }
    let count = reader.length()?;
    let mut changes = Vec::with_capacity(count.min(record.len() / 3));
    for _ in 0..count {
        let key = Key::of_object_bytes(reader.bytes()?).map_err(|_| Damage("a name in it is no key"))?;
        let row = if reader.0.first() == Some(&NO_ROW) {
            reader.byte()?;
            None
        } else {
            Some(row::decode(&mut reader)?)
        };
        changes.push((key, row));
    }
    reader.finish()?;
    if changes.is_empty() { Err(Damage("it has no changes")) } else { Ok(changes) }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{exact, key, row};
    use super::*;
    use proptest::prelude::*;

    fn shown(changes: &[RowChange]) -> Vec<String> {
        changes.iter().map(|(key, row)| format!("{key} {:?}", row.as_ref().map(exact))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn changes_read_back_in_order(
            changes in proptest::collection::vec((key(), proptest::option::of(row())), 0..200),
        ) {
            let records = encode(&changes);
            prop_assert!(records.iter().all(|record| record.len() <= MAX));
            let back: Vec<_> = records.iter().flat_map(|record| decode(record).unwrap()).collect();
            prop_assert_eq!(shown(&back), shown(&changes));
        }

        #[test]
        fn a_changed_byte_is_noticed(
            change in (key(), proptest::option::of(row())), at in any::<proptest::sample::Index>(), bits in 1_u8..,
        ) {
            let mut record = encode(&[change]).remove(0);
            let at = at.index(record.len());
            record[at] ^= bits;
            prop_assert!(decode(&record).is_err());
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&bytes));
            drop(decode(&seal([&[VERSION][..], &bytes].concat())));
        }
    }
}
