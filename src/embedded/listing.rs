//! One page of a listing: keys in byte order, with what follows a delimiter rolled up.
//!
//! A rolled-up prefix is not read through: the scan goes on behind it. So a page costs as many steps as it
//! has items, whatever lies below them.

use std::ops::Bound;

use redb::ReadableTable;

use super::failure::Outcome;
use super::index::{Name, Row, text};
use super::row::Summary;

mod versions;

pub(super) use versions::{Shown, VersionItem, VersionsPage, page as versions};

/// What a page is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageQuery<'a> {
    pub(super) bucket: u64,
    pub(super) prefix: &'a str,
    /// Empty: nothing is rolled up.
    pub(super) delimiter: &'a str,
    /// The page begins behind this key or rolled-up prefix.
    pub(super) after: &'a str,
    /// The greatest number of items.
    pub(super) most: usize,
}

/// An item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Object(String, Summary),
    Prefix(String),
}

impl Item {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Object(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// In byte order of their names.
    pub(super) items: Vec<Item>,
    /// Whether more items follow the last one.
    pub(super) truncated: bool,
}

/// Reads a page.
pub(super) fn page(table: &impl ReadableTable<Name, Row>, query: &PageQuery<'_>) -> Outcome<Page> {
    let mut items: Vec<Item> = Vec::new();
    let mut from = first(query);
    let end = (query.bucket + 1, &[][..]);
    'seek: loop {
        let lower = match &from {
            Bound::Included(key) => Bound::Included((query.bucket, key.as_slice())),
            Bound::Excluded(key) => Bound::Excluded((query.bucket, key.as_slice())),
            Bound::Unbounded => Bound::Included((query.bucket, &[][..])),
        };
        for row in table.range::<(u64, &[u8])>((lower, Bound::Excluded(end)))? {
            let (name, row) = row?;
            let key = name.value().1;
            if !key.starts_with(query.prefix.as_bytes()) {
                break;
            }
            if items.len() == query.most {
                return Ok(Page { items, truncated: true });
            }
            if let Some(rolled) = rolled_up(key, query) {
                items.push(Item::Prefix(text(rolled)?));
                from = behind(rolled);
                continue 'seek;
            }
            items.push(Item::Object(text(key)?, Summary::decode(row.value())?));
        }
        return Ok(Page { items, truncated: false });
    }
}

/// Returns where a page begins.
fn first(query: &PageQuery<'_>) -> Bound<Vec<u8>> {
    let after = query.after.as_bytes();
    if query.after.is_empty() || after < query.prefix.as_bytes() {
        return Bound::Included(query.prefix.into());
    }
    match rolled_up(after, query) {
        // The last page ended with this prefix.
        Some(rolled) if rolled == after => behind(rolled),
        _ => Bound::Excluded(after.into()),
    }
}

/// Returns the beginning of `key` up to the first delimiter behind the prefix.
fn rolled_up<'k>(key: &'k [u8], query: &PageQuery<'_>) -> Option<&'k [u8]> {
    let delimiter = query.delimiter.as_bytes();
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.get(query.prefix.len()..)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    key.get(..query.prefix.len() + at + delimiter.len())
}

/// Returns the first name that does not begin with `prefix`, of those that are not before it.
fn behind(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Bound::Included(next);
        }
    }
    Bound::Unbounded
}

#[cfg(test)]
mod tests;
