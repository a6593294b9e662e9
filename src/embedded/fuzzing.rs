//! The fuzz target of the index of the embedded server: its rows.

use std::fmt::Debug;

use super::failure::{Failure, Outcome};
use super::row::{Object, Part, Summary, Upload, decode_manifest, encode_manifest};
use super::version::Marker;

/// Reads bytes as every kind of row, and asserts that what is read comes back, and that a listing shows of
/// an object what the object has.
///
/// # Panics
/// If something does not hold.
pub fn embedded_row(data: &[u8]) {
    let object = comes_back(data, Object::decode, Object::encode);
    comes_back(data, Upload::decode, Upload::encode);
    comes_back(data, Part::decode, Part::encode);
    let marker = |row: &[u8]| Marker::decode(row)?.ok_or(Failure::damaged("an object, and no marker"));
    comes_back(data, marker, |marker| marker.encode());
    comes_back(data, decode_manifest, |segments| encode_manifest(segments));
    let summary = Summary::decode(data).ok();
    if let Some(object) = object {
        let checksum = object.checksum.map(|checksum| (checksum.algorithm, checksum.form));
        let (version, modified, size, tag) = (object.version, object.modified, object.size, object.tag);
        assert_eq!(summary, Some(Summary { version, modified, size, tag, checksum }));
    }
}

fn comes_back<T: PartialEq + Debug>(
    data: &[u8],
    decode: fn(&[u8]) -> Outcome<T>,
    encode: fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(data).ok()?;
    let back = decode(&encode(&value));
    assert!(back.as_ref().is_ok_and(|back| *back == value), "{value:?} became {back:?}");
    Some(value)
}
