//! Versions in the store, against a model of them.

use std::collections::BTreeMap;

use super::super::listing::{PageQuery, Shown, VersionItem};
use super::super::version::{Named, Version, Versioning};
use super::*;

/// A version: what it is called, and its content; without content it marks a deletion.
type Known = (Version, Option<Vec<u8>>);

/// What a bucket must be: the versions of each key, the newest first.
#[derive(Debug)]
struct Model {
    versioning: Versioning,
    keys: BTreeMap<String, Vec<Known>>,
}

impl Model {
    fn write(&mut self, key: &str, version: Version, content: Option<Vec<u8>>) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        match self.versioning {
            Versioning::Never => versions.clear(),
            Versioning::Enabled => {}
            Versioning::Suspended => versions.retain(|(version, _)| !version.null),
        }
        if content.is_some() || self.versioning != Versioning::Never {
            versions.insert(0, (version, content));
        }
    }

    fn current(&self, key: &str) -> Option<&Vec<u8>> {
        self.keys.get(key)?.first()?.1.as_ref()
    }

    /// Returns what a listing of versions has: key, version, whether it is the latest, and whether it is content.
    fn listed(&self) -> Vec<(String, Version, bool, bool)> {
        let of_key = |(key, versions): (&String, &Vec<Known>)| {
            let shown = versions.iter().enumerate();
            let shown =
                shown.map(|(at, (version, content))| (key.clone(), *version, at == 0, content.is_some()));
            shown.collect::<Vec<_>>()
        };
        self.keys.iter().flat_map(of_key).collect()
    }
}

fn name_of(version: Version) -> Named {
    if version.null { Named::Null } else { Named::Number(version.number) }
}

async fn get_version(store: &Arc<Store>, key: &str, name: Option<Named>) -> Option<Vec<u8>> {
    use futures::TryStreamExt;
    let Opened { object, segments, .. } = store.open_object("box".into(), key.into(), name).await.ok()?;
    let pieces: Vec<Bytes> = segments.stream(0..object.size).try_collect().await.unwrap();
    Some(pieces.concat())
}

/// Reads the listing of versions in pages of `most`.
async fn listed(store: &Arc<Store>, most: usize) -> Vec<(String, Version, bool, bool)> {
    let (mut found, mut after, mut number) = (Vec::new(), String::new(), None);
    loop {
        let key = after.clone();
        let look = move |view: &index::View| {
            let bucket = view.bucket("box")?.id;
            view.versions(&PageQuery { bucket, prefix: "", delimiter: "", after: &key, most }, number)
        };
        let page = store.look(look).await.unwrap();
        for item in page.items {
            let VersionItem::Version(key, shown, latest) = item else { panic!("nothing is rolled up") };
            (after, number) = (key.clone(), Some(shown.version().number));
            found.push((key, shown.version(), latest, matches!(shown, Shown::Object(_))));
        }
        if !page.truncated {
            return found;
        }
    }
}

async fn check(store: &Arc<Store>, model: &Model, step: usize) {
    for most in [1, 3, 1000] {
        assert_eq!(listed(store, most).await, model.listed(), "step {step}, pages of {most}");
    }
    for (key, versions) in &model.keys {
        assert_eq!(get_version(store, key, None).await.as_ref(), model.current(key), "step {step}, {key}");
        for (version, content) in versions {
            let found = get_version(store, key, Some(name_of(*version))).await;
            assert_eq!(found, *content, "step {step}, {key}, {version:?}");
        }
    }
}

/// Deletes a version that there is, or an object, and holds the answer against what it must be.
async fn delete_some(store: &Arc<Store>, model: &mut Model, key: &str, name: Option<Version>) {
    let (of, conditions) = (key.to_owned(), DeleteConditions::default());
    let deleted = store.change(move |batch| match name {
        Some(version) => batch.delete_version("box", &of, name_of(version), &conditions),
        None => batch.delete_object("box", &of, &conditions),
    });
    let deleted = deleted.await.unwrap();
    let Some(version) = name else {
        let marker = model.versioning != Versioning::Never;
        assert_eq!(deleted.marker, marker);
        let null = deleted.version.as_deref() == Some("null");
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        // The number of a null version is in no answer.
        let newest = listed(store, 1000).await.into_iter().find(|found| found.0 == key);
        let version = newest.map_or(Version::ONLY, |found| found.1);
        assert!(
            !marker || null == version.null && (null || number(&deleted.version.unwrap()) == version.number)
        );
        return model.write(key, version, None);
    };
    let versions = model.keys.get_mut(key).unwrap();
    let at = versions.iter().position(|(known, _)| *known == version).unwrap();
    let (_, content) = versions.remove(at);
    assert_eq!(deleted, Deleted { version: Some(version.show()), marker: content.is_none() });
}

#[tokio::test]
async fn b60_whatever_happens_the_versions_are_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make_bucket(&store).await;
    let mut model = Model { versioning: Versioning::Never, keys: BTreeMap::new() };
    let mut seed = 11;
    let mut kinds = [0_usize; 8];
    for step in 0..600 {
        let key = format!("k{}", dice(&mut seed, 5));
        let what = if step % 60 == 30 { 7 } else { usize::try_from(dice(&mut seed, 7)).unwrap() };
        kinds[what] += 1;
        match what {
            0..3 => {
                let size = [0, 1, 1_000, 65_537, 200_000][usize::try_from(dice(&mut seed, 5)).unwrap()];
                let content = vec![u8::try_from(step % 251).unwrap(); size];
                let put = put(&store, &key, &content, WriteConditions::default()).await.unwrap();
                model.write(&key, put.version, Some(content));
            }
            3 => delete_some(&store, &mut model, &key, None).await,
            4 => {
                let versions = model.keys.get(&key).filter(|versions| !versions.is_empty());
                let version = versions.map(|versions| {
                    let at = usize::try_from(dice(&mut seed, versions.len() as u64)).unwrap();
                    versions[at].0
                });
                if let Some(version) = version {
                    delete_some(&store, &mut model, &key, Some(version)).await;
                }
            }
            5 => {
                let from = format!("k{}", dice(&mut seed, 5));
                if let Some(content) = model.current(&from).cloned() {
                    let copy = copy(&store, &from, &key).await;
                    model.write(&key, copy.version, Some(content));
                }
            }
            6 => {
                drop(store);
                store = open(dir.path());
            }
            _ => {
                let next = if step % 120 == 30 { Versioning::Enabled } else { Versioning::Suspended };
                store.change(move |batch| batch.put_versioning("box", next)).await.unwrap();
                model.versioning = next;
            }
        }
        model.keys.retain(|_, versions| !versions.is_empty());
        if step % 20 == 0 {
            check(&store, &model, step).await;
        }
    }
    check(&store, &model, 600).await;
    assert!(kinds.iter().all(|count| *count > 5), "{kinds:?}");
    let left: Vec<_> = model.listed().into_iter().map(|(key, version, ..)| (key, version)).collect();
    assert!(left.len() > 20, "{left:?}");
    let refused = store.change(|batch| batch.delete_bucket("box")).await.unwrap_err();
    assert_eq!(*refused.code(), S3ErrorCode::BucketNotEmpty);
    for (key, version) in left {
        delete_some(&store, &mut model, &key, Some(version)).await;
    }
    store.change(|batch| batch.delete_bucket("box")).await.unwrap();
    drop(store);
    drop(open(dir.path()));
    assert_eq!(files(dir.path()), 0);
}

/// An index in which no bucket was told to keep versions is the same as before there were any.
#[tokio::test]
async fn b60_an_index_is_of_the_first_form_until_a_bucket_keeps_versions() {
    let schema = |dir: &Path| {
        let database = redb::Database::open(Dir::open(dir).unwrap().index()).unwrap();
        let read = redb::ReadableDatabase::begin_read(&database).unwrap();
        read.open_table(index::META).unwrap().get("schema").unwrap().unwrap().value()
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    make_bucket(&store).await;
    put(&store, "k", b"one", WriteConditions::default()).await.unwrap();
    Arc::try_unwrap(store).unwrap().close().unwrap();
    assert_eq!(schema(dir.path()), 1);
    let store = open(dir.path());
    store.change(|batch| batch.put_versioning("box", Versioning::Enabled)).await.unwrap();
    put(&store, "k", b"two", WriteConditions::default()).await.unwrap();
    assert_eq!(get_version(&store, "k", Some(Named::Null)).await.unwrap(), b"one");
    Arc::try_unwrap(store).unwrap().close().unwrap();
    assert_eq!(schema(dir.path()), 2);
}
