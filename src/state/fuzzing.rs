//! The fuzz target of the state: rows, blocks, journal records, and what stands beside them.

use super::layout::Sidecar;
use super::row::{Reader, check};
use super::{BaseRow, block, journal, row};
use crate::key::Key;

/// Reads bytes as everything that lies in a state, and asserts that what is read can be written and comes
/// back, to the last bit that equality leaves out.
///
/// # Panics
/// If something does not hold.
pub fn state(data: &[u8]) {
    if let Ok(read) = row::decode(&mut Reader(data)) {
        let mut out = Vec::new();
        row::encode(&mut out, &read);
        let mut reader = Reader(&out);
        let back = row::decode(&mut reader);
        assert_eq!(format!("{back:?}"), format!("Ok({read:?})"));
        assert_eq!(reader.finish(), Ok(()));
        can_be_written(&read);
    }
    for bytes in [data.to_vec(), block::seal(data.to_vec())] {
        read_block(&bytes);
        read_journal(&bytes);
    }
    if let Ok(read) = serde_json::from_slice::<Sidecar>(data) {
        let back = serde_json::to_vec(&read).and_then(|text| serde_json::from_slice::<Sidecar>(&text));
        assert_eq!(back.ok(), Some(read));
    }
}

/// What can be read would not be refused when it is recorded.
fn can_be_written(row: &BaseRow) {
    assert!(Key::parse("a").is_ok_and(|key| check(&key, row).is_ok()), "{row:?}");
}

fn read_block(bytes: &[u8]) {
    let Ok(rows) = block::decode(bytes) else { return };
    assert!(rows.is_sorted_by(|(a, _), (b, _)| a < b), "out of order");
    assert!(journal::decode(bytes).is_err(), "a block passes for a journal record");
    for (_, row) in &rows {
        can_be_written(row);
    }
    let mut back = Vec::new();
    for packed in block::pack(&rows) {
        let read = block::decode(&packed).unwrap_or_default();
        assert!(packed.len() <= block::MAX || read.len() == 1, "a block of {} bytes", packed.len());
        assert_eq!(
            block::first_name(&packed).ok(),
            read.first().map(|(key, _)| key.as_str().as_bytes()),
            "a block goes by another name"
        );
        back.extend(read);
    }
    assert_eq!(format!("{back:?}"), format!("{rows:?}"));
}

fn read_journal(bytes: &[u8]) {
    let Ok(changes) = journal::decode(bytes) else { return };
    let records = journal::encode(&changes);
    let back: Vec<_> =
        records.iter().flat_map(|record| journal::decode(record).unwrap_or_default()).collect();
    assert_eq!(format!("{back:?}"), format!("{changes:?}"));
}
