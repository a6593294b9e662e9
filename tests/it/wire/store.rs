//! A store in memory, as S3 is documented, that can be told to lie.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncengine::fingerprint::{HashForm, Hasher};

/// What a store has under one name.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    /// When the store got it, in seconds.
    pub(super) at: i64,
    /// What was sent with it besides.
    pub(super) kept: Vec<(String, String)>,
}

/// An unfinished multipart upload.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) parts: BTreeMap<u32, Bytes>,
    pub(super) kept: Vec<(String, String)>,
    pub(super) at: i64,
}

/// What is wrong with what a store says it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// It did nothing.
    Nothing,
    /// It has other bytes, as many as were sent.
    Other,
    /// It has only the beginning.
    Stump,
    /// It does it a few requests later.
    Late,
    /// It does it once more a few requests later.
    Twice,
}

impl Lie {
    /// Returns whether nothing is done at once.
    pub(super) fn does_nothing(self) -> bool {
        matches!(self, Self::Nothing | Self::Late)
    }
}

/// The objects of a bucket.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) uploads: BTreeMap<String, Upload>,
    /// What listings show for a while.
    pub(super) earlier: Option<BTreeMap<String, Object>>,
    /// Whether ETags are made of nothing.
    pub(super) is_opaque: bool,
    /// Whether conditions are looked at.
    pub(super) has_conditions: bool,
    serial: u64,
}

impl Store {
    pub(super) fn new(is_opaque: bool, has_conditions: bool) -> Self {
        Self { is_opaque, has_conditions, ..Self::default() }
    }

    /// Returns a number that was not returned before.
    pub(super) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Writes an object and returns its ETag.
    pub(super) fn put(&mut self, key: &str, bytes: Bytes, at: i64, kept: Vec<(String, String)>) -> String {
        let etag = self.etag(&bytes, None);
        self.place(key, Object { bytes, etag: etag.clone(), at, kept });
        etag
    }

    pub(super) fn place(&mut self, key: &str, object: Object) {
        self.objects.insert(key.to_owned(), object);
    }

    /// Returns the ETag that an object of these bytes gets, uploaded whole or in one part.
    pub(super) fn etag(&mut self, bytes: &Bytes, part_bytes: Option<u64>) -> String {
        let number = self.next();
        if self.is_opaque {
            return format!("{number:032x}");
        }
        let mut hasher = Hasher::new(part_bytes.map_or(HashForm::Whole, HashForm::Parts));
        hasher.update(bytes);
        hasher.finish().etag().to_string()
    }

    /// Returns whether what is there is what a request wants there.
    pub(super) fn holds(&self, key: &str, if_none_match: Option<&str>, if_match: Option<&str>) -> bool {
        let there = self.objects.get(key);
        let is = |wanted: &str| there.is_some_and(|object| wanted.trim_matches('"') == object.etag);
        !self.has_conditions || (if_none_match.is_none() || there.is_none()) && if_match.is_none_or(is)
    }
}

/// Returns what a store has that lies about bytes it was sent.
pub(super) fn distorted(bytes: &Bytes, lie: Lie) -> Bytes {
    match lie {
        Lie::Other if !bytes.is_empty() => {
            let mut other = bytes.to_vec();
            other[0] ^= 0x20;
            other.into()
        }
        Lie::Stump => bytes.slice(..bytes.len() / 2),
        _ => bytes.clone(),
    }
}
