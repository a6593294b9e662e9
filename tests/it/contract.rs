//! The contract of `StorageClient`: one list of checks, held over every client there is.
//!
//! A client joins by a function that makes a [`Subject`]: the client, and a [`Backdoor`] through which a check
//! does what other programs do to the tree while a run is on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use syncengine::client::local::{LocalClient, PublishRung};
use syncengine::client::memory::MemoryClient;
use syncengine::client::{Body, Disposal, Held, ListRequest, Listed, Staged, StorageClient, Target};
use syncengine::{Entry, Error, ErrorKind, Key, Timestamp};

#[cfg(all(feature = "s3", feature = "embedded"))]
use crate::support::bucket::{self, Bucket};

pub(crate) const RUN: &str = "20260101T000000Z-0001";
const TAG: u32 = 0x00c0_ffee;

/// A client and what other programs can do to its tree.
pub(crate) struct Subject {
    pub(crate) client: Arc<dyn StorageClient>,
    backdoor: Box<dyn Backdoor>,
    /// Whether a version is visible as soon as it is staged, as in a store.
    shows_at_once: bool,
}

/// Access to a tree past its client.
trait Backdoor: Send + Sync {
    fn write(&self, name: &str, bytes: &[u8]);
    fn delete(&self, name: &str);
    /// Everything in the tree, ours too.
    fn all(&self) -> Vec<(String, Vec<u8>)>;
}

impl Backdoor for Arc<MemoryClient> {
    fn write(&self, name: &str, bytes: &[u8]) {
        self.put(key(name), bytes.to_vec(), Timestamp::new(1_700_000_000, 0));
    }

    fn delete(&self, name: &str) {
        assert!(self.remove_now(&key(name)));
    }

    fn all(&self) -> Vec<(String, Vec<u8>)> {
        let synced = self.tree().into_iter();
        let trash =
            self.trash().into_iter().map(|(name, bytes)| (format!(".syncengine/trash/{name}"), bytes));
        synced.chain(trash).map(|(name, bytes)| (name, bytes.to_vec())).collect()
    }
}

impl Backdoor for tempfile::TempDir {
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn delete(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }

    fn all(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        collect(self.path(), "", &mut found);
        found
    }
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push((name, fs::read(entry.path()).unwrap()));
        }
    }
}

pub(crate) fn memory() -> Subject {
    let client = Arc::new(MemoryClient::new("memory"));
    Subject {
        client: Arc::clone(&client) as Arc<dyn StorageClient>,
        backdoor: Box::new(client),
        shows_at_once: false,
    }
}

pub(crate) fn local(rung: Option<PublishRung>) -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let client = LocalClient::open(folder.path()).unwrap();
    let client = match rung {
        Some(rung) => client.with_publish_rung(rung),
        None => client,
    };
    Subject { client: Arc::new(client), backdoor: Box::new(folder), shows_at_once: false }
}

#[cfg(all(feature = "s3", feature = "embedded"))]
impl Backdoor for Bucket {
    fn write(&self, name: &str, bytes: &[u8]) {
        self.put(name, bytes, Some(Timestamp::new(1_700_000_000, 0)));
    }

    fn delete(&self, name: &str) {
        self.remove(name);
    }

    fn all(&self) -> Vec<(String, Vec<u8>)> {
        // What a probe of the store leaves for a moment is no part of the tree.
        self.objects().into_iter().collect()
    }
}

#[cfg(all(feature = "s3", feature = "embedded"))]
pub(crate) fn store(bucket: Bucket) -> Subject {
    let client = Arc::new(bucket.open(None));
    Subject { client, backdoor: Box::new(bucket), shows_at_once: true }
}

pub(crate) fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

pub(crate) fn kept() -> Disposal {
    Disposal::Trash { run: RUN.to_owned() }
}

pub(crate) fn target(name: &str, replaces: Option<Entry>) -> Target {
    Target { key: key(name), replaces, heir_of: None, disposal: kept(), run_tag: TAG }
}

pub(crate) fn body(bytes: &[u8]) -> Body {
    body_of(bytes.len() as u64, vec![Ok(Bytes::copy_from_slice(bytes))])
}

fn body_of(size: u64, chunks: Vec<Result<Bytes, Error>>) -> Body {
    let modified = Some(Timestamp::new(1_600_000_000, 123_456_789));
    Body {
        size,
        modified,
        mode: None,
        folder_modes: Vec::new(),
        proof: None,
        chunks: stream::iter(chunks).boxed(),
    }
}

pub(crate) fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

impl Subject {
    pub(crate) async fn listed(&self) -> Vec<Listed> {
        let list = || self.client.list(ListRequest::default()).try_collect::<Vec<Listed>>();
        let items = match list().await {
            // The first listing of a store with another order ends so, and the next one is sorted.
            Err(error) if error.kind() == ErrorKind::Disordered => list().await,
            listed => listed,
        };
        let items = items.unwrap();
        for pair in items.windows(2) {
            let (a, b) = (pair[0].position(), pair[1].position());
            let may_be_equal = matches!(pair[0], Listed::Rules(..) | Listed::Unmappable { .. });
            assert!(a < b || (may_be_equal && a == b), "{a} does not come before {b}");
        }
        items
    }

    async fn names(&self) -> Vec<String> {
        self.listed().await.iter().map(|item| item.position().into_owned()).collect()
    }

    pub(crate) async fn entry(&self, name: &str) -> Entry {
        match self.client.head(&key(name)).await.unwrap() {
            // When a store got it no write tells.
            Some(Listed::File(entry)) => Entry { stored: None, ..entry },
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) async fn content(&self, name: &str) -> Vec<u8> {
        read(&*self.client, &self.entry(name).await).await.unwrap()
    }

    async fn write(&self, name: &str, replaces: Option<Entry>, bytes: &[u8]) -> Result<Entry, Error> {
        let staged = self.client.stage(target(name, replaces), body(bytes)).await?;
        self.client.publish(vec![staged]).await.remove(0)
    }

    /// Stages and publishes, and lets `others` do something as late as it can be noticed.
    async fn write_beside(
        &self,
        target: Target,
        bytes: &[u8],
        others: impl FnOnce(),
    ) -> Result<Entry, Error> {
        if self.shows_at_once {
            others();
            let staged = self.client.stage(target, body(bytes)).await?;
            return self.client.publish(vec![staged]).await.remove(0);
        }
        let staged = self.client.stage(target, body(bytes)).await?;
        others();
        self.client.publish(vec![staged]).await.remove(0)
    }

    async fn remove(&self, entry: Entry) -> Result<(), Error> {
        self.client.remove(vec![entry], &kept()).await.remove(0)
    }

    /// Content of the trash of this run, sorted.
    fn trash(&self) -> Vec<(String, Vec<u8>)> {
        let prefix = format!(".syncengine/trash/{RUN}/");
        let strip = |(name, bytes): (String, Vec<u8>)| Some((name.strip_prefix(&prefix)?.to_owned(), bytes));
        let mut trash: Vec<_> = self.backdoor.all().into_iter().filter_map(strip).collect();
        trash.sort();
        trash
    }

    /// Asserts what is in the tree apart from `.syncengine/`: no temporary either.
    #[track_caller]
    fn assert_tree(&self, expected: &[(&str, &str)]) {
        let mut found: Vec<_> = self.backdoor.all();
        found.retain(|(name, _)| !name.starts_with(".syncengine/"));
        found.sort();
        let shown: Vec<_> =
            found.iter().map(|(name, bytes)| (name.as_str(), std::str::from_utf8(bytes).unwrap())).collect();
        assert_eq!(shown, expected);
    }

    #[track_caller]
    fn assert_trash(&self, expected: &[(&str, &str)]) {
        let found = self.trash();
        let shown: Vec<_> =
            found.iter().map(|(name, bytes)| (name.as_str(), std::str::from_utf8(bytes).unwrap())).collect();
        assert_eq!(shown, expected);
    }
}

pub(crate) async fn read(client: &dyn StorageClient, entry: &Entry) -> Result<Vec<u8>, Error> {
    let body = client.read(entry).await?;
    let chunks: Vec<Bytes> = body.chunks.try_collect().await?;
    let bytes = chunks.concat();
    assert_eq!(bytes.len() as u64, body.size);
    Ok(bytes)
}

async fn order(on: Subject) {
    for name in
        ["a0", "a/b", "a.txt", "a-b/x", "a-b.c", "a/c/d", "b", "B", "é", "a\n", "a b/c", "-rf", "ab/c"]
    {
        on.backdoor.write(name, name.as_bytes());
    }
    let expected =
        ["-rf", "B", "a\n", "a b/c", "a-b.c", "a-b/x", "a.txt", "a/b", "a/c/d", "a0", "ab/c", "b", "é"];
    assert_eq!(on.names().await, expected);
}

async fn completeness(on: Subject) {
    let names: Vec<String> = (0..1500).map(|n| format!("{}/{}/{n}", n % 7, n % 31)).collect();
    for name in &names {
        on.backdoor.write(name, b"x");
    }
    let mut expected = names;
    expected.sort();
    assert_eq!(on.names().await, expected);
    // A listing that is dropped at once does no harm.
    drop(on.client.list(ListRequest::default()).next().await);
}

async fn empty_tree(on: Subject) {
    assert!(on.listed().await.is_empty());
    assert!(on.client.root().await.unwrap().is_some());
    assert!(on.client.head(&key("a")).await.unwrap().is_none());
    assert!(on.client.head(&key("a/b")).await.unwrap().is_none());
}

async fn create_and_read(on: Subject) {
    let entry = on.write("d/e/new", None, b"content").await.unwrap();
    assert_eq!((entry.size, entry.modified), (7, Some(Timestamp::new(1_600_000_000, 123_456_789))));
    assert_eq!(on.entry("d/e/new").await, entry);
    assert_eq!(on.content("d/e/new").await, b"content");
    let empty = on.write("empty", None, b"").await.unwrap();
    assert_eq!((empty.size, on.content("empty").await), (0, Vec::new()));
    on.assert_tree(&[("d/e/new", "content"), ("empty", "")]);
}

async fn large_bodies(on: Subject) {
    for size in [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1_000_003] {
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        let chunks = bytes.chunks(70_001).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let name = size.to_string();
        let staged = on.client.stage(target(&name, None), body_of(size as u64, chunks)).await.unwrap();
        assert_eq!(staged.size, size as u64);
        on.client.publish(vec![staged]).await.remove(0).unwrap();
        assert!(on.content(&name).await == bytes);
    }
}

async fn create_refuses_a_newcomer(on: Subject) {
    let result = on.write_beside(target("a", None), b"ours", || on.backdoor.write("a", b"theirs!")).await;
    assert_eq!(kind(result), Some(ErrorKind::Changed));
    on.assert_tree(&[("a", "theirs!")]);
    on.assert_trash(&[]);
}

async fn replace_keeps_the_old_version(on: Subject) {
    on.backdoor.write("d/a", b"one");
    let first = on.entry("d/a").await;
    let second = on.write("d/a", Some(first.clone()), b"two!").await.unwrap();
    assert_eq!(on.entry("d/a").await, second);
    on.assert_tree(&[("d/a", "two!")]);
    on.assert_trash(&[("d/a", "one")]);
    on.write("d/a", Some(second), b"three").await.unwrap();
    on.assert_trash(&[("d/a", "one"), ("d/a~1", "two!")]);
    // The version is long gone.
    assert_eq!(kind(on.write("d/a", Some(first), b"four!!").await), Some(ErrorKind::Changed));
    on.assert_tree(&[("d/a", "three")]);
}

async fn replace_refuses_what_changed(on: Subject) {
    for (name, edit) in [("edited", Some("edited by them")), ("gone", None)] {
        on.backdoor.write(name, b"one");
        let old = on.entry(name).await;
        let others = || match edit {
            Some(text) => on.backdoor.write(name, text.as_bytes()),
            None => on.backdoor.delete(name),
        };
        let result = on.write_beside(target(name, Some(old)), b"two", others).await;
        assert_eq!(kind(result), Some(ErrorKind::Changed), "{name}");
    }
    on.assert_tree(&[("edited", "edited by them")]);
    on.assert_trash(&[]);
}

async fn replace_for_good(on: Subject) {
    on.backdoor.write("a", b"one");
    let gone = Target { disposal: Disposal::Discard, ..target("a", Some(on.entry("a").await)) };
    let staged = on.client.stage(gone, body(b"two")).await.unwrap();
    on.client.publish(vec![staged]).await.remove(0).unwrap();
    on.assert_tree(&[("a", "two")]);
    on.assert_trash(&[]);
}

async fn publish_in_order_with_a_failure(on: Subject) {
    if on.shows_at_once {
        // Nothing can happen between staging and publishing.
        return;
    }
    let mut staged = Vec::new();
    for number in 0..40 {
        let name = format!("{}/{number}", number % 20);
        staged.push(on.client.stage(target(&name, None), body(name.as_bytes())).await.unwrap());
    }
    on.backdoor.write("3/23", b"newcomer");
    let results = on.client.publish(staged).await;
    assert_eq!(results.len(), 40);
    for (number, result) in results.into_iter().enumerate() {
        let name = format!("{}/{number}", number % 20);
        if number == 23 {
            assert_eq!(kind(result), Some(ErrorKind::Changed));
        } else {
            assert_eq!(result.unwrap(), on.entry(&name).await);
            assert_eq!(on.content(&name).await, name.as_bytes());
        }
    }
    assert_eq!(on.content("3/23").await, b"newcomer");
    assert_eq!(on.listed().await.len(), 40);
}

async fn nothing_staged_stays_behind(on: Subject) {
    let broken = || Err(Error::new(ErrorKind::Unavailable, "the network is down"));
    let bytes = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let bad = [
        ("too short", body_of(5, vec![bytes("1234")])),
        ("short in pieces", body_of(5, vec![bytes("12"), bytes("34")])),
        ("too long", body_of(5, vec![bytes("123456")])),
        ("long in pieces", body_of(5, vec![bytes("12345"), bytes("6")])),
        ("broken at once", body_of(5, vec![broken()])),
        ("broken at the end", body_of(5, vec![bytes("12345"), broken()])),
        ("broken on the way", body_of(9, vec![bytes("123"), bytes("456"), broken(), bytes("789")])),
        ("empty", body_of(5, vec![])),
    ];
    for (what, body) in bad {
        assert!(on.client.stage(target("d/e/f", None), body).await.is_err(), "{what}");
        assert!(on.backdoor.all().is_empty(), "{what}");
    }
    if on.shows_at_once {
        return;
    }
    let staged = on.client.stage(target("d/e/f", None), body(b"12345")).await.unwrap();
    assert!(on.listed().await.iter().all(|item| !matches!(item, Listed::File(_))));
    on.client.discard(staged).await;
    assert!(on.backdoor.all().is_empty());
    assert!(on.listed().await.is_empty());
}

async fn staged_elsewhere_is_refused(on: Subject) {
    on.backdoor.write("a", b"x");
    let entry = on.entry("a").await;
    let held =
        if on.shows_at_once { Held::Temporary(key("x"), entry.fingerprint) } else { Held::Published(entry) };
    let foreign = Staged { target: target("b", None), size: 1, hash: None, held };
    assert_eq!(kind(on.client.publish(vec![foreign]).await.remove(0)), Some(ErrorKind::Internal));
    assert_eq!(
        kind(on.client.stage(target("d/.syncengine-x", None), body(b"x")).await),
        Some(ErrorKind::Invalid)
    );
}

async fn copies(on: Subject) {
    on.backdoor.write("a", &vec![b'x'; 300_000]);
    let from = on.entry("a").await;
    let staged = on.client.copy(&from, target("d/b", None)).await.unwrap();
    let copy = on.client.publish(vec![staged]).await.remove(0).unwrap();
    assert_eq!((copy.size, copy.modified), (from.size, from.modified));
    assert!(on.content("d/b").await == on.content("a").await);
    on.backdoor.write("a", b"edited");
    assert_eq!(kind(on.client.copy(&from, target("c", None)).await), Some(ErrorKind::Changed));
    assert!(on.client.head(&key("c")).await.unwrap().is_none());
}

async fn renames(on: Subject) {
    on.backdoor.write("d/e/a", b"one");
    let from = on.entry("d/e/a").await;
    let to = on.client.rename(&from, &key("f/b")).await.unwrap();
    assert_eq!((to.size, to.modified), (from.size, from.modified));
    assert_eq!(on.entry("f/b").await, to);
    on.assert_tree(&[("f/b", "one")]);
    assert_eq!(on.names().await, ["f/b"], "the emptied folders are gone");
    assert_eq!(kind(on.client.rename(&from, &key("c")).await), Some(ErrorKind::Changed));
    on.backdoor.write("taken", b"theirs");
    assert_eq!(kind(on.client.rename(&to, &key("taken")).await), Some(ErrorKind::Changed));
    assert_eq!(kind(on.client.rename(&to, &key(".syncengine/x")).await), Some(ErrorKind::Invalid));
    on.backdoor.write("f/b", b"edited");
    assert_eq!(kind(on.client.rename(&to, &key("x/y")).await), Some(ErrorKind::Changed));
    on.assert_tree(&[("f/b", "edited"), ("taken", "theirs")]);
    assert_eq!(on.names().await, ["f/b", "taken"]);
    on.assert_trash(&[]);
}

async fn removals(on: Subject) {
    for name in ["d/e/a", "d/e/b", "d/edited", "gone"] {
        on.backdoor.write(name, name.as_bytes());
    }
    let mut entries = Vec::new();
    for name in ["d/e/a", "d/edited", "gone", "d/e/b"] {
        entries.push(on.entry(name).await);
    }
    on.backdoor.write("d/edited", b"newer");
    on.backdoor.delete("gone");
    let results = on.client.remove(entries.clone(), &kept()).await;
    let kinds: Vec<_> = results.into_iter().map(kind).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Changed), Some(ErrorKind::Changed), None]);
    on.assert_tree(&[("d/edited", "newer")]);
    on.assert_trash(&[("d/e/a", "d/e/a"), ("d/e/b", "d/e/b")]);
    assert_eq!(on.names().await, ["d/edited"], "the emptied folder is gone");
    let last = on.entry("d/edited").await;
    assert!(on.client.remove(vec![last], &Disposal::Discard).await.remove(0).is_ok());
    on.assert_tree(&[]);
    assert!(on.listed().await.is_empty());
    assert_eq!(on.trash().len(), 2);
}

async fn two_removals_of_one_path(on: Subject) {
    for text in ["one", "two!", "three"] {
        on.backdoor.write("d/a", text.as_bytes());
        on.remove(on.entry("d/a").await).await.unwrap();
    }
    on.assert_trash(&[("d/a", "one"), ("d/a~1", "two!"), ("d/a~2", "three")]);
}

async fn a_file_and_a_folder_of_one_name_in_the_trash(on: Subject) {
    on.backdoor.write("a", b"file");
    on.remove(on.entry("a").await).await.unwrap();
    on.backdoor.write("a/b", b"below");
    on.remove(on.entry("a/b").await).await.unwrap();
    on.backdoor.write("a", b"file again");
    on.remove(on.entry("a").await).await.unwrap();
    let mut texts: Vec<_> =
        on.trash().into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, ["below", "file", "file again"]);
}

async fn reading_the_wrong_version(on: Subject) {
    on.backdoor.write("a", b"one");
    let old = on.entry("a").await;
    on.backdoor.write("a", b"two!");
    assert_eq!(kind(read(&*on.client, &old).await), Some(ErrorKind::Changed));
    on.backdoor.delete("a");
    assert_eq!(kind(read(&*on.client, &old).await), Some(ErrorKind::Changed));
}

/// F-12, F-13: either the whole old version comes, or an error; never a mixture or a part.
async fn editing_while_it_is_read(on: Subject) {
    let old = vec![b'a'; 2_000_000];
    for edit in [vec![b'b'; 2_000_000], vec![b'c'; 100], vec![b'd'; 3_000_000]] {
        on.backdoor.write("a", &old);
        let mut body = on.client.read(&on.entry("a").await).await.unwrap();
        let mut got = body.chunks.next().await.unwrap().unwrap().to_vec();
        on.backdoor.write("a", &edit);
        let rest: Result<Vec<Bytes>, Error> = body.chunks.try_collect().await;
        match rest {
            Ok(rest) => {
                got.extend(rest.concat());
                assert!(got == old, "a mixture was read");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Changed),
        }
    }
}

async fn marker_names(on: &Subject) -> BTreeSet<String> {
    on.client.markers().await.unwrap().into_iter().map(|marker| marker.name).collect()
}

async fn markers(on: Subject) {
    assert!(on.client.markers().await.unwrap().is_empty());
    on.client.put_marker("pair-2", "two").await.unwrap();
    on.client.put_marker("pair-1", "one").await.unwrap();
    on.client.put_marker("pair-1", "one again").await.unwrap();
    assert_eq!(marker_names(&on).await, ["pair-1", "pair-2"].map(str::to_owned).into());
    on.client.remove_marker("pair-1").await.unwrap();
    on.client.remove_marker("pair-1").await.unwrap();
    assert_eq!(marker_names(&on).await, ["pair-2".to_owned()].into());
    assert!(on.listed().await.is_empty());
}

async fn reserved_names_are_not_listed(on: Subject) {
    for name in [".syncengine/trash/r/x", ".syncengine/pairs/p", "a"] {
        on.backdoor.write(name, b"x");
    }
    assert_eq!(on.names().await, ["a"]);
    on.backdoor.write("d/.syncengine/x", b"x");
    on.backdoor.write("d/.syncengine-x", b"x");
    let files = |item: &Listed| matches!(item, Listed::File(entry) if entry.key.is_reserved());
    assert!(!on.listed().await.iter().any(files));
    assert!(on.client.head(&key("d/.syncengine/x")).await.unwrap().is_none());
}

async fn head_agrees_with_list(on: Subject) {
    for name in ["a", "a-b", "d/e", "d/f/g"] {
        on.backdoor.write(name, name.as_bytes());
    }
    for item in on.listed().await {
        if let Listed::File(entry) = item {
            let looked = on.entry(entry.key.as_str()).await;
            // The listing of a store does not tell when a file was modified, but when the store got it.
            let modified = if on.shows_at_once { None } else { looked.modified };
            assert_eq!(Entry { modified, stored: entry.stored, ..looked }, entry);
        }
    }
    assert!(on.client.head(&key("d")).await.unwrap().is_none(), "a folder with something in it is no file");
    assert!(on.client.head(&key("a/below")).await.unwrap().is_none());
}

async fn rules_come_before_their_folder(on: Subject) {
    for name in [".syncignore", "a", "d/.syncignore", "d/-", "d-e"] {
        on.backdoor.write(name, b"");
    }
    if on.shows_at_once {
        // Only folders have rules.
        return;
    }
    let request = ListRequest { read_ignore_files: true, ..ListRequest::default() };
    let items: Vec<Listed> = on.client.list(request).try_collect().await.unwrap();
    let shown: Vec<String> = items
        .iter()
        .map(|item| match item {
            Listed::Rules(folder, _) => format!("rules of {folder:?}"),
            other => other.position().into_owned(),
        })
        .collect();
    let expected = ["rules of \"\"", ".syncignore", "a", "d-e", "rules of \"d\"", "d/-", "d/.syncignore"];
    assert_eq!(shown, expected);
}

/// Hands the list of all checks to a macro.
macro_rules! with_checks {
    ($then:ident $($arguments:tt)*) => { $then! { $($arguments)*
        order completeness empty_tree create_and_read large_bodies create_refuses_a_newcomer
        replace_keeps_the_old_version replace_refuses_what_changed replace_for_good
        publish_in_order_with_a_failure nothing_staged_stays_behind staged_elsewhere_is_refused copies renames
        removals two_removals_of_one_path a_file_and_a_folder_of_one_name_in_the_trash
        reading_the_wrong_version editing_while_it_is_read markers reserved_names_are_not_listed
        head_agrees_with_list rules_come_before_their_folder
    } };
}

macro_rules! contract {
    ($($client:ident: $make:expr;)*) => { $(with_checks! { contract @one $client, $make, })* };
    (@one $client:ident, $make:expr, $($check:ident)*) => {
        mod $client {
            use super::*;
            $(#[tokio::test]
            async fn $check() {
                super::$check($make).await;
            })*
        }
    };
}

contract! {
    in_memory: memory();
    in_a_folder: local(None);
    in_a_folder_with_hard_links: local(Some(PublishRung::HardLink));
    in_a_folder_with_plain_renames: local(Some(PublishRung::Rename));
}

#[cfg(all(feature = "s3", feature = "embedded"))]
contract! {
    in_a_bucket: store(bucket::embedded().bucket(&bucket::fresh_name(), ""));
    in_a_prefix_of_a_bucket: store(bucket::embedded().place("a prefix/of ä/"));
}

/// A check by its name.
#[cfg(all(feature = "s3", feature = "embedded"))]
pub(crate) type Check = (&'static str, fn(Subject) -> futures::future::BoxFuture<'static, ()>);

#[cfg(all(feature = "s3", feature = "embedded"))]
macro_rules! table {
    ($($check:ident)*) => { &[$((stringify!($check), |on| Box::pin($check(on)))),*] };
}

/// All checks, for stores that are known only when the tests run.
#[cfg(all(feature = "s3", feature = "embedded"))]
pub(crate) const CHECKS: &[Check] = with_checks! { table };
