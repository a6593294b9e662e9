//! Pages of a table against a sorted map.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::btree_set;
use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase};

use super::*;
use crate::embedded::index::OBJECTS;
use crate::embedded::row::{Attributes, Body, Object, Place, Tag};
use crate::embedded::version::Version;

fn row(size: u64) -> Vec<u8> {
    let tag = Tag { md5: [7; 16], parts: 0 };
    let body = Body::One(Place::Empty);
    Object {
        version: Version::ONLY,
        modified: 1,
        size,
        tag,
        checksum: None,
        body,
        attributes: Attributes::default(),
    }
    .encode()
}

/// Returns a table of these keys in bucket 2, between two other buckets.
fn table(keys: &BTreeSet<String>) -> Database {
    let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(OBJECTS).unwrap();
        for (bucket, key) in [(1, "zz"), (3, ""), (3, "a/b")] {
            table.insert((bucket, key.as_bytes()), row(9).as_slice()).unwrap();
        }
        for key in keys {
            table.insert((2, key.as_bytes()), row(key.len() as u64).as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    database
}

/// Returns the names that a listing has, and whether each is of an object.
fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, after: &str) -> Vec<(String, bool)> {
    let mut names = BTreeMap::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix) && (after.is_empty() || key.as_str() > after))
    {
        let at = if delimiter.is_empty() { None } else { key[prefix.len()..].find(delimiter) };
        match at {
            // What a marker that is itself a rolled-up name stands for has been shown.
            Some(at) if key[..prefix.len() + at + delimiter.len()] == *after => {}
            Some(at) => drop(names.insert(key[..prefix.len() + at + delimiter.len()].to_owned(), false)),
            None => drop(names.insert(key.clone(), true)),
        }
    }
    names.into_iter().collect()
}

fn listed(
    database: &Database,
    prefix: &str,
    delimiter: &str,
    after: &str,
    most: usize,
) -> Vec<(String, bool)> {
    let table = database.begin_read().unwrap().open_table(OBJECTS).unwrap();
    let (mut names, mut after) = (Vec::new(), after.to_owned());
    loop {
        let query = PageQuery { bucket: 2, prefix, delimiter, after: &after, most };
        let page = page(&table, &query).unwrap();
        assert!(page.items.len() <= most);
        for item in &page.items {
            if let Item::Object(name, object) = item {
                assert_eq!(object.size, name.len() as u64);
            }
            names.push((item.name().to_owned(), matches!(item, Item::Object(..))));
        }
        if !page.truncated {
            return names;
        }
        assert_eq!(page.items.len(), most, "only a full page is cut");
        after = page.items.last().unwrap().name().to_owned();
    }
}

proptest! {
    #[test]
    fn pages_together_are_the_sorted_map(
        keys in btree_set("[ab/é\u{10ffff}-]{1,6}", 0..40),
        prefix in "[ab/é]{0,2}",
        delimiter in "(/|b|a/|é|){1}",
        after in "[ab/é-]{0,3}",
        most in 1..7_usize,
    ) {
        let database = table(&keys);
        let expected = expected(&keys, &prefix, &delimiter, &after);
        prop_assert_eq!(listed(&database, &prefix, &delimiter, &after, most), expected.clone());
        prop_assert_eq!(listed(&database, &prefix, &delimiter, &after, 1000), expected);
    }
}

#[test]
fn a_huge_prefix_is_stepped_over() {
    let keys = (0..5_000).map(|n| format!("deep/{n:05}")).chain(["deep0".into(), "a".into()]).collect();
    let database = table(&keys);
    let names = listed(&database, "", "/", "", 2);
    assert_eq!(names, [("a".into(), true), ("deep/".into(), false), ("deep0".into(), true)]);
}
