//! One page of a listing of versions: by key, the newest first, with the markers of deletions among them.

use std::ops::Bound;

use redb::ReadableTable;

use super::{PageQuery, behind, first, rolled_up};
use crate::embedded::failure::Outcome;
use crate::embedded::index::{Name, Row, VersionName, text};
use crate::embedded::row::Summary;
use crate::embedded::version::{Marker, Version};

/// What a listing shows of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) enum Shown {
    Object(Summary),
    Marker(Marker),
}

impl Shown {
    fn of(row: &[u8]) -> Outcome<Self> {
        match Marker::decode(row)? {
            Some(marker) => Ok(Self::Marker(marker)),
            None => Ok(Self::Object(Summary::decode(row)?)),
        }
    }

    pub(in crate::embedded) fn version(&self) -> Version {
        match self {
            Self::Object(object) => object.version,
            Self::Marker(marker) => marker.version,
        }
    }
}

/// An item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) enum VersionItem {
    /// A key, one of its versions, and whether that is the latest.
    Version(String, Shown, bool),
    Prefix(String),
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct VersionsPage {
    pub(in crate::embedded) items: Vec<VersionItem>,
    /// Whether more items follow the last one.
    pub(in crate::embedded) truncated: bool,
}

type Current<'k> = (u64, &'k [u8]);
type Past<'k> = (u64, &'k [u8], u64);

/// Where a scan of both tables goes on.
struct From {
    key: Bound<Vec<u8>>,
    /// The version of that key behind which it does.
    behind: Option<u64>,
}

/// Reads a page. It begins behind all versions of the key `query.after`, or behind that of this number.
pub(in crate::embedded) fn page(
    objects: &impl ReadableTable<Name, Row>,
    versions: &impl ReadableTable<VersionName, Row>,
    query: &PageQuery<'_>,
    after: Option<u64>,
) -> Outcome<VersionsPage> {
    let mut items: Vec<VersionItem> = Vec::new();
    let mut from = From { key: first(query), behind: after };
    'seek: loop {
        // The key of the last row, of which the next one is not the latest.
        let mut seen = match (&from.key, from.behind) {
            (Bound::Excluded(key), Some(_)) => Some(key.clone()),
            _ => None,
        };
        let (lower, lower_past) = bounds(&from, query.bucket);
        let end = Bound::Excluded((query.bucket + 1, &[][..]));
        let end_past = Bound::Excluded((query.bucket + 1, &[][..], 0));
        let mut current = objects.range::<Current<'_>>((lower, end))?;
        let mut past = versions.range::<Past<'_>>((lower_past, end_past))?;
        let (mut one, mut other) = (current.next().transpose()?, past.next().transpose()?);
        loop {
            let is_current = match (&one, &other) {
                // The current version comes before the others of its key.
                (Some(one), Some(other)) => one.0.value().1 <= other.0.value().1,
                (one, _) => one.is_some(),
            };
            let row = if is_current {
                let row = std::mem::replace(&mut one, current.next().transpose()?);
                row.map(|(name, row)| (name.value().1.to_vec(), row))
            } else {
                let row = std::mem::replace(&mut other, past.next().transpose()?);
                row.map(|(name, row)| (name.value().1.to_vec(), row))
            };
            let Some((key, row)) = row else { return Ok(VersionsPage { items, truncated: false }) };
            if !key.starts_with(query.prefix.as_bytes()) {
                return Ok(VersionsPage { items, truncated: false });
            }
            if items.len() == query.most {
                return Ok(VersionsPage { items, truncated: true });
            }
            if let Some(rolled) = rolled_up(&key, query) {
                items.push(VersionItem::Prefix(text(rolled)?));
                from = From { key: behind(rolled), behind: None };
                continue 'seek;
            }
            let is_latest = seen.as_ref() != Some(&key);
            items.push(VersionItem::Version(text(&key)?, Shown::of(row.value())?, is_latest));
            seen = Some(key);
        }
    }
}

/// Returns where the scans of the two tables begin.
fn bounds(from: &From, bucket: u64) -> (Bound<Current<'_>>, Bound<Past<'_>>) {
    match (&from.key, from.behind) {
        (Bound::Included(key), _) => (Bound::Included((bucket, key)), Bound::Included((bucket, key, 0))),
        (Bound::Excluded(key), Some(number)) => {
            (Bound::Excluded((bucket, key)), Bound::Excluded((bucket, key, !number)))
        }
        (Bound::Excluded(key), None) => {
            (Bound::Excluded((bucket, key)), Bound::Excluded((bucket, key, u64::MAX)))
        }
        (Bound::Unbounded, _) => (Bound::Included((bucket, &[])), Bound::Included((bucket, &[], 0))),
    }
}
