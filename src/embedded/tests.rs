//! Tests of the store and the server in this process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream as Connection;

use bytes::Bytes;
use s3s::S3ErrorCode;
use s3s::dto::{ETagCondition, StreamingBlob};

use super::batch::{Completion, Deleted, NewObject, NewPart, Source};
use super::blobs::sync_folder;
use super::condition::{DeleteConditions, WriteConditions};
use super::ingest::{Expected, Received, receive};
use super::row::{Attributes, Object, Tag, Upload};
use super::store::Opened;
use super::*;

mod versions;

fn open(path: &Path) -> Arc<Store> {
    Arc::new(Store::open(Dir::open(path).unwrap(), Arc::new(SystemClock)).unwrap())
}

fn files(path: &Path) -> usize {
    let folders = fs::read_dir(path.join("data")).unwrap();
    folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

async fn received(store: &Arc<Store>, content: &[u8]) -> Received {
    let body = Bytes::copy_from_slice(content);
    let body = StreamingBlob::wrap(futures::stream::iter([Ok::<_, io::Error>(body)]));
    receive(store.blobs(), Some(body), Expected::default()).await.unwrap()
}

async fn put(
    store: &Arc<Store>,
    key: &str,
    content: &[u8],
    conditions: WriteConditions,
) -> s3s::S3Result<Object> {
    let received = received(store, content).await;
    let new = NewObject {
        content: received.content,
        size: received.size,
        tag: Tag { md5: received.md5, parts: 0 },
        checksum: None,
        attributes: Attributes::default(),
    };
    let key = key.to_owned();
    store.change(move |batch| batch.put_object("box", &key, &conditions, new)).await
}

async fn delete(store: &Arc<Store>, key: &str) {
    let key = key.to_owned();
    let conditions = DeleteConditions::default();
    let deleted = store.change(move |batch| batch.delete_object("box", &key, &conditions)).await.unwrap();
    assert_eq!(deleted, Deleted::default());
}

async fn copy(store: &Arc<Store>, from: &str, to: &str) -> Object {
    let object = store.open_object("box".into(), from.into(), None).await.unwrap().object;
    let (tag, modified) = (object.tag, object.modified);
    let source = Source { bucket: "box".into(), key: from.into(), version: None, tag, modified };
    let to = to.to_owned();
    let conditions = WriteConditions::default();
    store.change(move |batch| batch.copy_object(&source, ("box", &to), &conditions, None)).await.unwrap()
}

async fn get(store: &Arc<Store>, key: &str) -> Option<Vec<u8>> {
    use futures::TryStreamExt;
    let Opened { object, segments, .. } = store.open_object("box".into(), key.into(), None).await.ok()?;
    let pieces: Vec<Bytes> = segments.stream(0..object.size).try_collect().await.unwrap();
    Some(pieces.concat())
}

async fn make_bucket(store: &Arc<Store>) {
    store.change(|batch| batch.create_bucket("box")).await.unwrap();
}

/// A sequence of numbers that looks random and is the same each time.
fn dice(seed: &mut u64, sides: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % sides
}

#[tokio::test]
async fn whatever_happens_the_store_is_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make_bucket(&store).await;
    let (mut seed, mut model) = (7, BTreeMap::<String, Vec<u8>>::new());
    for step in 0..400 {
        let key = format!("k{}", dice(&mut seed, 12));
        match dice(&mut seed, 10) {
            0..5 => {
                let size =
                    [0, 1, 1_000, 65_536, 65_537, 700_000][usize::try_from(dice(&mut seed, 6)).unwrap()];
                let content = vec![u8::try_from(step % 251).unwrap(); size];
                put(&store, &key, &content, WriteConditions::default()).await.unwrap();
                model.insert(key, content);
            }
            5 | 6 => {
                delete(&store, &key).await;
                model.remove(&key);
            }
            7 | 8 => {
                let from = format!("k{}", dice(&mut seed, 12));
                if let Some(content) = model.get(&from).cloned() {
                    copy(&store, &from, &key).await;
                    model.insert(key, content);
                }
            }
            _ => {
                // Without closing, as after a kill; what was begun and not put is there as a file.
                let given_up = store.blobs().create().unwrap();
                assert!(given_up.keep() > 0);
                drop(store);
                store = open(dir.path());
            }
        }
        if step % 40 == 0 {
            for number in 0..12 {
                let key = format!("k{number}");
                assert_eq!(get(&store, &key).await, model.get(&key).cloned(), "step {step}, {key}");
            }
        }
    }
    for key in model.keys() {
        delete(&store, key).await;
    }
    store.change(|batch| batch.delete_bucket("box")).await.unwrap();
    drop(store);
    drop(open(dir.path()));
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test]
async fn of_eight_that_create_a_key_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    make_bucket(&store).await;
    for round in 0..10 {
        let key = format!("k{round}");
        let racers = (0..8_u8).map(|racer| {
            let conditions = WriteConditions { if_none_match: Some(ETagCondition::Any), if_match: None };
            let (store, key) = (&store, &key);
            async move { put(store, key, &vec![racer; 100_000], conditions).await }
        });
        let results = futures::future::join_all(racers).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(*error.code(), S3ErrorCode::PreconditionFailed);
        }
    }
    assert_eq!(files(dir.path()), 10, "what lost leaves nothing");
}

#[tokio::test]
async fn parts_become_an_object_and_a_copy_of_it_shares_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    make_bucket(&store).await;
    let begun = Upload { initiated: 0, checksum: None, attributes: Attributes::default() };
    let id = store.change(move |batch| batch.create_upload("box", "big", &begun)).await.unwrap();
    let contents = [vec![1; 5 << 20], vec![2; 5 << 20], b"end".to_vec(), b"not wanted".to_vec()];
    let mut parts = Vec::new();
    for (number, content) in (1..).zip(&contents) {
        let part = received(&store, content).await;
        let tag = s3s::dto::ETag::Strong(Tag { md5: part.md5, parts: 0 }.show());
        let new = NewPart::new(number, part);
        store.change(move |batch| batch.put_part(("box", "big", id), new)).await.unwrap();
        parts.push((number, Some(tag), None));
    }
    parts.truncate(3);
    let completion = Completion {
        conditions: WriteConditions::default(),
        parts,
        checksum: Default::default(),
        form: None,
        size: None,
    };
    let object =
        store.change(move |batch| batch.complete_upload(("box", "big", id), &completion)).await.unwrap();
    assert!(object.tag.show().ends_with("-3"));
    assert_eq!(files(dir.path()), 2);
    copy(&store, "big", "copy").await;
    delete(&store, "big").await;
    assert_eq!(files(dir.path()), 2);
    assert_eq!(get(&store, "copy").await.unwrap(), contents[..3].concat());
    delete(&store, "copy").await;
    Arc::try_unwrap(store).unwrap().close().unwrap();
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test]
async fn only_after_a_kill_is_looked_for_what_was_left() {
    let dir = tempfile::tempdir().unwrap();
    Arc::try_unwrap(open(dir.path())).unwrap().close().unwrap();
    let stray = dir.path().join("data/ff/00000000000000ff");
    fs::write(&stray, "left").unwrap();
    sync_folder(dir.path()).unwrap();
    let store = open(dir.path());
    assert!(stray.exists(), "a clean start does not look");
    drop(store);
    drop(open(dir.path()));
    assert!(!stray.exists());
}

#[tokio::test]
async fn an_index_that_is_none_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("index.redb"), "no index").unwrap();
    let error = Store::open(Dir::open(dir.path()).unwrap(), Arc::new(SystemClock)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    assert!(error.hint().is_some_and(|hint| hint.contains("--embedded-dir")), "{error:?}");
}

#[tokio::test]
async fn a_folder_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Dir::open(dir.path()).unwrap();
    let database = redb::Database::create(folder.index()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(index::META).unwrap().insert("schema", 3).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(folder, Arc::new(SystemClock)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.chain().contains("later version"), "{}", error.chain());
}

#[tokio::test]
async fn a_folder_and_a_port_have_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = EmbeddedServer::start(EmbeddedOptions::new(dir.path())).await.unwrap();
    assert!(server.endpoint().starts_with("http://127.0.0.1:"));
    let error = EmbeddedServer::start(EmbeddedOptions::new(dir.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())));
    let other = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { port: server.port, ..EmbeddedOptions::new(other.path()) };
    assert!(
        !format!("{:?}", EmbeddedOptions { secret_key: "hush".into(), ..options.clone() }).contains("hush")
    );
    let error = EmbeddedServer::start(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    server.stop().await.unwrap();
    EmbeddedServer::start(EmbeddedOptions::new(dir.path())).await.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_sign_is_told_so_although_the_body_is_long() {
    let dir = tempfile::tempdir().unwrap();
    let server = EmbeddedServer::start(EmbeddedOptions::new(dir.path())).await.unwrap();
    let port = server.port;
    let asking = tokio::task::spawn_blocking(move || {
        let mut connection = Connection::connect(("127.0.0.1", port)).unwrap();
        let body = vec![0; 3 << 20];
        write!(connection, "PUT /box/k HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len())
            .unwrap();
        connection.write_all(&body).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asking.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("AccessDenied"), "{answer}");
    assert!(server.request_counts().is_empty());
    server.stop().await.unwrap();
}
