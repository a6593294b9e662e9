//! What a store is to copy by itself, and what keeps it from doing harm.

use super::fault::Fault;
use super::object::etag_of;
use crate::entry::Entry;
use crate::fingerprint::ETag;

/// One version of an object, to be copied.
#[derive(Debug, Clone)]
pub(super) struct CopySource {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) etag: ETag,
    pub(super) size: u64,
}

impl CopySource {
    /// Returns the version `entry` of the object `key`.
    pub(super) fn new(bucket: &str, key: String, entry: &Entry) -> Result<Self, Fault> {
        Ok(Self { bucket: bucket.to_owned(), key, etag: etag_of(entry)?, size: entry.size })
    }
}

/// What keeps a copy from replacing what nobody has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// The store refuses it if anything has the name.
    Condition,
    /// Nobody else uses the name.
    Name,
    /// Whoever asks for it has looked, and looks again before another try.
    Looks,
}

/// Returns a copy's source as the header wants it: percent-encoded, slashes kept.
pub(super) fn source(bucket: &str, key: &str) -> String {
    let mut encoded = format!("{bucket}/");
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
        }
    }
    encoded
}
