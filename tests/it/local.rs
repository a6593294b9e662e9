//! What only a local folder can do wrong: links, special files, permissions, odd names, deep trees.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use rustix::fs::{CWD, Mode, OFlags};
use syncengine::client::local::{LocalClient, PublishRung};
use syncengine::client::{Body, Disposal, ListRequest, Listed, SkipReason, StorageClient, Target};
use syncengine::clock::{Clock, SystemClock};
use syncengine::fingerprint::Fingerprint;
use syncengine::{Entry, Error, ErrorKind, Key, Timestamp};

use crate::contract::{body, kept, key, kind, read, target};

mod publishing;
mod races;

/// A root in a folder of its own, so that there is an outside.
struct Tree {
    outer: tempfile::TempDir,
    client: LocalClient,
}

impl Tree {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        // Also for the tests that give up their privileges.
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        fs::create_dir(outer.path().join("outside")).unwrap();
        let client = LocalClient::open(&outer.path().join("root")).unwrap();
        Self { outer, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join("root").join(name)
    }

    fn outside(&self) -> PathBuf {
        self.outer.path().join("outside")
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    async fn list(&self, request: ListRequest) -> Vec<Listed> {
        self.client.list(request).try_collect().await.unwrap()
    }

    /// Lists the tree in words.
    async fn shown(&self) -> Vec<String> {
        self.list(ListRequest::default()).await.iter().map(words).collect()
    }

    async fn entry(&self, name: &str) -> Entry {
        match self.client.head(&key(name)).await.unwrap() {
            Some(Listed::File(entry)) => entry,
            other => panic!("{name} is {other:?}"),
        }
    }

    async fn put(&self, target: Target, body: Body) -> Result<Entry, Error> {
        let staged = self.client.stage(target, body).await?;
        self.client.publish(vec![staged]).await.remove(0)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o7777
    }
}

fn words(item: &Listed) -> String {
    match item {
        Listed::File(entry) => format!("file {}", entry.key.as_str()),
        Listed::Skipped(key, reason) => format!("{reason:?} {}", key.as_str()),
        Listed::Unknown(key, error) => format!("unknown {} {:?}", key.as_str(), error.kind()),
        Listed::Unmappable { shown, folder, .. } => format!("unmappable {shown} in {folder:?}"),
        Listed::Rules(folder, _) => format!("rules {folder:?}"),
        Listed::Leftover(key) => format!("leftover {}", key.as_str()),
        Listed::Foreign(key) => format!("foreign {}", key.as_str()),
    }
}

/// Runs the named test again without the privileges of root, who can read everything. Returns whether
/// this process is the one without them.
fn unprivileged(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    // The binary may be where nobody else can reach it.
    let copy = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let binary = copy.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let status = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .args(["--exact", test, "--nocapture"])
        .current_dir("/")
        .status();
    match status {
        Ok(status) => assert!(status.success(), "{test} without privileges"),
        Err(error) => skip(&format!("{test} needs setpriv when it is run by root: {error}")),
    }
    false
}

/// Says that a test cannot run here, which fails it where every test must run.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "the reader of a test run must know")]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("SYNCENGINE_REQUIRE_ALL").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Says that the system refuses what a test needs, as containers do: nothing that could be installed.
#[cfg(all(feature = "cli", target_os = "linux"))]
#[expect(clippy::print_stderr, reason = "the reader of a test run must know")]
pub(crate) fn refused(why: &str) {
    eprintln!("skipped: {why}");
}

#[tokio::test]
async fn b21_links_are_shown_and_never_followed() {
    let on = Tree::new();
    on.write("real/file", "x");
    fs::write(on.outside().join("secret"), "secret").unwrap();
    symlink("real/file", on.path("to-file")).unwrap();
    symlink("real", on.path("to-folder")).unwrap();
    symlink("nowhere", on.path("dangling")).unwrap();
    symlink("loop", on.path("loop")).unwrap();
    symlink(".", on.path("real/up")).unwrap();
    symlink("../outside", on.path("out")).unwrap();
    let expected = [
        "Symlink dangling",
        "Symlink loop",
        "Symlink out",
        "file real/file",
        "Symlink real/up",
        "Symlink to-file",
        "Symlink to-folder",
    ];
    assert_eq!(on.shown().await, expected);
    assert!(matches!(
        on.client.head(&key("out")).await.unwrap(),
        Some(Listed::Skipped(_, SkipReason::Symlink))
    ));
    // What is below a link is unknown, not absent.
    assert!(matches!(on.client.head(&key("out/secret")).await.unwrap(), Some(Listed::Unknown(..))));
    assert_eq!(kind(on.put(target("out/new", None), body(b"x")).await), Some(ErrorKind::Invalid));
    assert_eq!(kind(on.put(target("dangling", None), body(b"x")).await), Some(ErrorKind::Changed));
    assert_eq!(fs::read_dir(on.outside()).unwrap().count(), 1);
}

#[tokio::test]
async fn f17_a_parent_swapped_for_a_link_is_refused() {
    let on = Tree::new();
    on.write("d/a", "one");
    on.write("d/b", "two");
    for name in ["a", "b"] {
        fs::write(on.outside().join(name), "untouched").unwrap();
    }
    let (a, b) = (on.entry("d/a").await, on.entry("d/b").await);
    let create = on.client.stage(target("d/new", None), body(b"x")).await.unwrap();
    let replace = on.client.stage(target("d/a", Some(a.clone())), body(b"x")).await.unwrap();
    fs::rename(on.path("d"), on.path("moved")).unwrap();
    symlink("../outside", on.path("d")).unwrap();

    assert!(on.client.publish(vec![create, replace]).await.iter().all(Result::is_err));
    assert!(read(&on.client, &a).await.is_err());
    assert!(on.client.rename(&a, &key("c")).await.is_err());
    assert!(on.client.rename(&on.entry("moved/a").await, &key("d/c")).await.is_err());
    assert!(on.client.remove(vec![b], &kept()).await[0].is_err());
    assert!(on.client.stage(target("d/x/y", None), body(b"x")).await.is_err());
    on.client.sweep(vec![key("d/.syncengine-0000000000000000.tmp")]).await.unwrap_err();

    let mut outside: Vec<_> =
        fs::read_dir(on.outside()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    outside.sort();
    assert_eq!(outside, [b"untouched", b"untouched"]);
}

#[tokio::test]
async fn b22_hard_links_are_two_files_and_writing_one_leaves_the_other() {
    for rung in [PublishRung::Exchange, PublishRung::HardLink, PublishRung::Rename] {
        let mut on = Tree::new();
        on.client = LocalClient::open(&on.path("")).unwrap().with_publish_rung(rung);
        on.write("a", "shared");
        fs::hard_link(on.path("a"), on.path("b")).unwrap();
        fs::hard_link(on.path("a"), on.path("c")).unwrap();
        assert_eq!(on.shown().await, ["file a", "file b", "file c"]);
        let entries = [on.entry("a").await, on.entry("b").await, on.entry("c").await];
        on.put(target("a", Some(entries[0].clone())), body(b"new")).await.unwrap();
        assert_eq!(fs::read_to_string(on.path("b")).unwrap(), "shared", "{rung:?}");
        // Moving one name changes the status change time of the others; they are still the versions listed.
        let entries = vec![on.entry("b").await, on.entry("c").await];
        let results = on.client.remove(entries, &kept()).await;
        assert!(results.iter().all(Result::is_ok), "{rung:?} {results:?}");
        assert_eq!(on.shown().await, ["file a"]);
    }
}

fn make_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn b23_special_files_are_skipped_and_never_opened() {
    let on = Tree::new();
    make_pipe(&on.path("pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(on.path("socket")).unwrap();
    assert_eq!(on.shown().await, ["Special pipe", "Special socket"]);
    on.write("a", "x");
    let entry = on.entry("a").await;
    fs::remove_file(on.path("a")).unwrap();
    make_pipe(&on.path("a"));
    assert_eq!(kind(on.client.read(&entry).await), Some(ErrorKind::Changed));
    assert_eq!(kind(on.put(target("a", Some(entry)), body(b"x")).await), Some(ErrorKind::Changed));
}

#[tokio::test]
async fn b24_b25_f09_what_cannot_be_read_is_unknown() {
    if !unprivileged("local::b24_b25_f09_what_cannot_be_read_is_unknown") {
        return;
    }
    let on = Tree::new();
    let permit =
        |name: &str, bits| fs::set_permissions(on.path(name), fs::Permissions::from_mode(bits)).unwrap();
    on.write("closed/a", "x");
    on.write("closed-b", "x");
    on.write("no-search/a", "x");
    on.write("no-write/a", "x");
    permit("closed", 0o000);
    permit("closed-b", 0o000);
    permit("no-search", 0o400);
    permit("no-write", 0o500);
    let expected = [
        "unknown closed PermissionDenied",
        "file closed-b",
        "unknown no-search/a PermissionDenied",
        "file no-write/a",
    ];
    let shown = on.shown().await;
    let (head, entry, file) =
        (on.client.head(&key("closed/a")).await, on.entry("no-write/a").await, on.entry("closed-b").await);
    let read = kind(on.client.read(&file).await);
    let removed = kind(on.client.remove(vec![entry.clone()], &kept()).await.remove(0));
    let replaced = kind(on.put(target("no-write/a", Some(entry)), body(b"x")).await);
    // Before anything can fail, so that the folder can be removed.
    permit("closed", 0o700);
    permit("no-search", 0o700);
    permit("no-write", 0o700);
    assert_eq!(shown, expected);
    assert!(matches!(head.unwrap(), Some(Listed::Unknown(..))));
    assert_eq!(
        (read, removed, replaced),
        (
            Some(ErrorKind::PermissionDenied),
            Some(ErrorKind::PermissionDenied),
            Some(ErrorKind::PermissionDenied)
        )
    );
    assert_eq!(fs::read_to_string(on.path("no-write/a")).unwrap(), "x");
    permit("", 0o000);
    let listed: Result<Vec<Listed>, Error> = on.client.list(ListRequest::default()).try_collect().await;
    permit("", 0o700);
    assert_eq!(kind(listed), Some(ErrorKind::PermissionDenied));
}

#[tokio::test]
async fn b27_names_that_are_no_keys_and_names_of_255_bytes() {
    let on = Tree::new();
    fs::create_dir(on.path("d")).unwrap();
    let raw = |bytes: &[u8]| on.path("d").join(std::ffi::OsStr::from_bytes(bytes));
    fs::write(raw(b"bad\xff"), "x").unwrap();
    fs::create_dir(raw(b"bad-folder\xfe")).unwrap();
    fs::write(raw(b"bad-folder\xfe").join("below"), "x").unwrap();
    let long = "é".repeat(127) + "x";
    on.write(&format!("d/{long}"), "one");
    on.write("d/\u{1}\n", "x");
    let expected = [
        "unmappable d/bad-folder\\xfe in \"d/\"".to_owned(),
        "unmappable d/bad\\xff in \"d/\"".to_owned(),
        "file d/\u{1}\n".to_owned(),
        format!("file d/{long}"),
    ];
    assert_eq!(on.shown().await, expected);
    // A folder with nothing but such a name is not empty.
    fs::create_dir(on.path("e")).unwrap();
    fs::write(on.path("e").join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    assert_eq!(on.shown().await.last().unwrap(), "unmappable e/\\xff in \"e/\"");
    assert!(on.client.head(&key("e")).await.unwrap().is_none());

    let name = format!("d/{long}");
    for text in ["two!", "three", "four!!"] {
        on.put(target(&name, Some(on.entry(&name).await)), body(text.as_bytes())).await.unwrap();
    }
    let trash = on.path(".syncengine/trash").join(crate::contract::RUN).join("d");
    assert_eq!(fs::read_dir(trash).unwrap().count(), 3);
    let too_long = key(&"a".repeat(256));
    assert!(on.client.head(&too_long).await.unwrap().is_none());
    assert_eq!(kind(on.put(target(too_long.as_str(), None), body(b"x")).await), Some(ErrorKind::Invalid));
}

#[tokio::test]
async fn b30_times_are_kept_to_the_nanosecond() {
    let on = Tree::new();
    for (name, seconds, nanoseconds) in [
        ("old", -86_400, 1),
        ("epoch", 0, 0),
        ("2038", 2_147_483_648, 999_999_999),
        ("late", 4_102_444_800, 5),
    ] {
        let time = Timestamp::new(seconds, nanoseconds);
        let entry = on.put(target(name, None), Body { modified: Some(time), ..body(b"x") }).await.unwrap();
        assert_eq!(entry.modified, Some(time), "{name}");
        let metadata = fs::metadata(on.path(name)).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (seconds, i64::from(nanoseconds)), "{name}");
        assert_eq!(on.client.read(&entry).await.unwrap().modified, Some(time), "{name}");
    }
}

#[tokio::test]
async fn b30_b31_edits_that_hide_are_found() {
    let on = Tree::new();
    on.write("rewound", "one");
    on.write("swapped", "one");
    let (rewound, swapped) = (on.entry("rewound").await, on.entry("swapped").await);
    std::thread::sleep(std::time::Duration::from_millis(25));
    let restore = |path: &Path, entry: &Entry| {
        let time = entry.modified.unwrap();
        let since = std::time::Duration::new(u64::try_from(time.seconds).unwrap(), time.nanoseconds);
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH + since)
            .unwrap();
    };
    on.write("rewound", "two");
    restore(&on.path("rewound"), &rewound);
    on.write("other", "two");
    restore(&on.path("other"), &swapped);
    fs::rename(on.path("other"), on.path("swapped")).unwrap();
    for entry in [rewound, swapped] {
        let name = entry.key.as_str().to_owned();
        assert_eq!(on.entry(&name).await.modified, entry.modified);
        assert_ne!(on.entry(&name).await, entry);
        assert_eq!(kind(read(&on.client, &entry).await), Some(ErrorKind::Changed), "{name}");
        assert_eq!(kind(on.client.remove(vec![entry], &kept()).await.remove(0)), Some(ErrorKind::Changed));
        assert_eq!(fs::read_to_string(on.path(&name)).unwrap(), "two");
    }
}

#[tokio::test]
async fn b36_a_tree_4000_folders_deep() {
    const DEPTH: usize = 4000;
    let on = Tree::new();
    let root = rustix::fs::openat(CWD, on.path(""), OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut folder = root.try_clone().unwrap();
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
        folder = rustix::fs::openat(&folder, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::openat(&folder, "e", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }
    let items = on.list(ListRequest::default()).await;
    assert_eq!(items.len(), DEPTH);
    assert!(items.iter().all(|item| matches!(item, Listed::File(_))));
    let deepest = "d/".repeat(DEPTH) + "e";
    let entry = on.entry(&deepest).await;
    on.put(target(&("d/".repeat(DEPTH) + "f"), None), body(b"x")).await.unwrap();
    on.client.remove(vec![entry], &kept()).await.remove(0).unwrap();
    assert!(on.client.head(&key(&deepest)).await.unwrap().is_none());
    remove_deep(&on.path(""));
}

/// `rm` can remove what the paths of the standard library cannot reach.
fn remove_deep(path: &Path) {
    assert!(std::process::Command::new("rm").arg("-rf").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn b36_20000_files_in_one_folder() {
    let on = Tree::new();
    fs::create_dir(on.path("d")).unwrap();
    for number in 0..20_000 {
        fs::write(on.path(&format!("d/{number}")), "").unwrap();
    }
    let mut expected: Vec<String> = (0..20_000).map(|number| format!("file d/{number}")).collect();
    expected.sort();
    assert_eq!(on.shown().await, expected);
}

#[tokio::test]
async fn i46_permissions() {
    let on = Tree::new();
    let with = |mode| Body { mode, ..body(b"x") };
    on.write("by-others", "x");
    let usual = on.mode("by-others");
    let masked = |bits| bits & (usual | (usual & 0o444) >> 2 | 0o111);
    for (name, mode, expected) in [
        ("plain", None, usual),
        ("open", Some(0o666), usual),
        ("tool", Some(0o755), masked(0o755)),
        ("private", Some(0o600), 0o600),
        ("read-only", Some(0o444), masked(0o644)),
        ("of-its-group", Some(0o640), masked(0o640)),
        ("without-owner", Some(0o077), masked(0o677)),
        ("set-id", Some(0o7755), masked(0o755)),
    ] {
        on.put(target(name, None), with(mode)).await.unwrap();
        assert_eq!(on.mode(name), expected, "{name}");
        assert_eq!(on.client.read(&on.entry(name).await).await.unwrap().mode, Some(expected), "{name}");
    }
    for (name, before, wanted, after) in [
        ("kept", 0o640, None, 0o640),
        ("more", 0o640, Some(0o755), 0o750),
        ("less", 0o755, Some(0o600), 0o644),
        ("same", 0o700, Some(0o755), 0o700),
        ("setuid", 0o6755, None, 0o755),
    ] {
        on.write(name, "one");
        fs::set_permissions(on.path(name), fs::Permissions::from_mode(before)).unwrap();
        on.put(target(name, Some(on.entry(name).await)), with(wanted)).await.unwrap();
        assert_eq!(on.mode(name), after, "{name}");
    }
    let staged = on.client.stage(target("held", None), body(b"x")).await.unwrap();
    on.client.discard(staged).await;
    // What is ours is as open to others as the root is.
    let root = on.mode("");
    assert_eq!((on.mode(".syncengine"), on.mode(".syncengine/trash")), (root, root));
    assert_eq!(fs::read_to_string(on.path(".syncengine/.gitignore")).unwrap(), "*\n");
}

#[tokio::test]
async fn b26_folders_where_a_file_is_to_be() {
    let on = Tree::new();
    fs::create_dir(on.path("empty")).unwrap();
    assert_eq!(on.shown().await, ["EmptyFolder empty"]);
    on.put(target("empty", None), body(b"x")).await.unwrap();
    // With more empty folders in it.
    fs::create_dir_all(on.path("nested/a/b")).unwrap();
    fs::create_dir_all(on.path("nested/c")).unwrap();
    let entry = on.put(target("nested", None), body(b"x")).await.unwrap();
    fs::create_dir_all(on.path("renamed/a")).unwrap();
    let entry = on.client.rename(&entry, &key("renamed")).await.unwrap();
    on.client.remove(vec![entry], &kept()).await.remove(0).unwrap();
    on.write("full/a", "x");
    assert_eq!(kind(on.put(target("full", None), body(b"x")).await), Some(ErrorKind::Invalid));
    assert_eq!(kind(on.put(target("empty/below", None), body(b"x")).await), Some(ErrorKind::Changed));
    assert_eq!(on.shown().await, ["file empty", "file full/a"]);
    let entry = on.entry("empty").await;
    fs::remove_file(on.path("empty")).unwrap();
    on.write("empty/a", "x");
    assert_eq!(
        kind(on.put(target("empty", Some(entry.clone())), body(b"x")).await),
        Some(ErrorKind::Changed)
    );
    assert_eq!(kind(on.client.remove(vec![entry], &kept()).await.remove(0)), Some(ErrorKind::Changed));
    assert_eq!(on.shown().await, ["file empty/a", "file full/a"]);
}

#[tokio::test]
async fn empty_folders_stand_where_their_name_does() {
    let on = Tree::new();
    for folder in ["a", "a-", "b", "c/d"] {
        fs::create_dir_all(on.path(folder)).unwrap();
    }
    for file in ["a-b", "a.txt", "b/x", "b-/y", "b-/z-/1", "b-/z-1"] {
        on.write(file, "x");
    }
    let expected = [
        "EmptyFolder a",
        "EmptyFolder a-",
        "file a-b",
        "file a.txt",
        "file b-/y",
        "file b-/z-/1",
        "file b-/z-1",
        "file b/x",
        "EmptyFolder c/d",
    ];
    let mut sorted = expected.map(|line| line.split_once(' ').unwrap().1);
    sorted.sort_unstable();
    assert_eq!(sorted.to_vec(), expected.map(|line| line.split_once(' ').unwrap().1).to_vec());
    assert_eq!(on.shown().await, expected);
    assert!(matches!(
        on.client.head(&key("a")).await.unwrap(),
        Some(Listed::Skipped(_, SkipReason::EmptyFolder))
    ));
}

#[tokio::test]
async fn leftovers_are_swept_only_with_a_known_tag() {
    let on = Tree::new();
    let staged = on.client.stage(Target { run_tag: 42, ..target("d/a", None) }, body(b"x")).await.unwrap();
    drop(staged);
    let ours = fs::read_dir(on.path("d")).unwrap().next().unwrap().unwrap().file_name();
    let ours = format!("d/{}", ours.to_str().unwrap());
    on.write("d/.syncengine-0000002b00000000.tmp", "of another run");
    on.write("d/.syncengine-other", "x");
    on.write("d/.syncengine/x", "x");
    fs::create_dir(on.path("d/.syncengine-0000002a00000000.tmp")).unwrap();
    let request = ListRequest { leftover_tags: vec![7, 42], ..ListRequest::default() };
    let items = on.list(request).await;
    let leftovers: Vec<Key> = items
        .iter()
        .filter_map(|item| if let Listed::Leftover(key) = item { Some(key.clone()) } else { None })
        .collect();
    assert_eq!(leftovers, [key(&ours)]);
    assert_eq!(items.iter().filter(|item| matches!(item, Listed::Foreign(_))).count(), 4);
    on.client.sweep(leftovers).await.unwrap();
    on.client
        .sweep(vec![key("d/.syncengine-other"), key("d/.syncengine-0000002a00000000.tmp")])
        .await
        .unwrap();
    assert_eq!(on.shown().await.len(), 4);
    assert!(!on.path(&ours).exists());
}

#[tokio::test]
async fn b33_b34_roots() {
    let outer = tempfile::tempdir().unwrap();
    let real = outer.path().canonicalize().unwrap().join("real");
    fs::create_dir(&real).unwrap();
    symlink("real", outer.path().join("link")).unwrap();
    symlink("nowhere", outer.path().join("dangling")).unwrap();
    fs::write(outer.path().join("file"), "x").unwrap();
    for name in ["real", "link", "real/", "real/../link/.", "./link"] {
        let client = LocalClient::open(&outer.path().join(name)).unwrap();
        assert_eq!(client.location(), real.to_str().unwrap(), "{name}");
    }
    for name in ["file", "dangling", "dangling/x"] {
        assert_eq!(kind(LocalClient::open(&outer.path().join(name))), Some(ErrorKind::Invalid), "{name}");
    }
    let bad = outer.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    assert_eq!(kind(LocalClient::open(&bad)), Some(ErrorKind::Invalid));

    let missing = LocalClient::open(&outer.path().join("link/new/root")).unwrap();
    assert_eq!(missing.location(), real.join("new/root").to_str().unwrap());
    assert_eq!(missing.root().await.unwrap(), None);
    let listed: Result<Vec<Listed>, Error> = missing.list(ListRequest::default()).try_collect().await;
    assert_eq!(kind(listed), Some(ErrorKind::NotFound));
    missing.create_root().await.unwrap();
    let first = missing.root().await.unwrap().unwrap();
    let listed: Vec<Listed> = missing.list(ListRequest::default()).try_collect().await.unwrap();
    assert!(listed.is_empty());
    // F-11: another folder in the place of the root shows.
    fs::rename(real.join("new/root"), real.join("new/old")).unwrap();
    assert_eq!(missing.root().await.unwrap(), None);
    fs::create_dir(real.join("new/root")).unwrap();
    assert_ne!(missing.root().await.unwrap(), Some(first));
}

#[tokio::test]
async fn what_a_killed_process_left_half_replaced_is_put_back() {
    let on = Tree::new();
    on.write(".syncengine/trash/r/d/a", "the only copy");
    fs::create_dir(on.path("d")).unwrap();
    on.write(".syncengine/intents/0.json", r#"{"key":"d/a","kept":".syncengine/trash/r/d/a"}"#);
    // Outside, through a name that is no key, and onto a file that is there: nothing happens.
    on.write("b", "newer");
    on.write(".syncengine/trash/r/b", "older");
    on.write(".syncengine/intents/1.json", r#"{"key":"b","kept":".syncengine/trash/r/b"}"#);
    on.write(".syncengine/intents/2.json", r#"{"key":"../outside/x","kept":".syncengine/trash/r/b"}"#);
    on.write(".syncengine/intents/3.json", r#"{"key":"c","kept":"b"}"#);
    on.write(".syncengine/intents/4.json", "no json");
    // Listing changes nothing, but does not take the file for deleted.
    assert_eq!(on.shown().await, ["file b", "EmptyFolder d", "unknown d/a Unavailable"]);
    assert!(matches!(on.client.head(&key("d/a")).await.unwrap(), Some(Listed::Unknown(..))));
    on.client.sweep(Vec::new()).await.unwrap();
    assert_eq!(on.shown().await, ["file b", "file d/a"]);
    // A folder that was to get another spelling, and was between its two names.
    on.write(".syncengine-0123456789abcdef.kept/x", "x");
    on.write(".syncengine/intents/5.json", r#"{"key":"Docs","kept":".syncengine-0123456789abcdef.kept"}"#);
    assert!(on.shown().await.contains(&"unknown Docs Unavailable".to_owned()));
    on.client.sweep(Vec::new()).await.unwrap();
    assert_eq!(on.shown().await, ["file Docs/x", "file b", "file d/a"]);
    assert_eq!(fs::read_to_string(on.path("d/a")).unwrap(), "the only copy");
    assert_eq!(fs::read_to_string(on.path("b")).unwrap(), "newer");
    assert_eq!(fs::read_dir(on.path(".syncengine/intents")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(on.outside()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_rung_is_found_out_and_the_weak_ones_are_reported() {
    let on = Tree::new();
    assert!(on.client.weaknesses().is_empty());
    on.put(target("a", None), body(b"x")).await.unwrap();
    assert!(on.client.weaknesses().is_empty(), "the file system of this test has the best rung");
    let left: Vec<_> =
        fs::read_dir(on.path(".syncengine")).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert_eq!(left, [".gitignore"], "nothing is left of the trial");
    for rung in [PublishRung::HardLink, PublishRung::Rename] {
        let client = LocalClient::open(&on.path("")).unwrap().with_publish_rung(rung);
        assert_eq!(client.weaknesses()[0].0.as_str(), "weak-publish");
    }
}

/// What a run took from its place to throw it away, and was killed, goes to the trash once nobody can be at it any more.
#[tokio::test]
async fn what_a_killed_run_was_throwing_away_is_kept() {
    /// Two hours ahead.
    #[derive(Debug)]
    struct Later;
    impl Clock for Later {
        fn now(&self) -> Timestamp {
            Timestamp::new(SystemClock.now().seconds + 7_200, 0)
        }
        fn monotonic(&self) -> std::time::Duration {
            SystemClock.monotonic()
        }
        fn sleep(&self, duration: std::time::Duration) -> futures::future::BoxFuture<'static, ()> {
            SystemClock.sleep(duration)
        }
    }
    let on = Tree::new();
    let name = "d/.syncengine-0123456789abcdef.kept-report.txt";
    on.write(name, "an edit");
    on.write("d/.syncengine-0123456789abcdef.kept", "none of ours");
    let is_leftover = |listed: &Listed| matches!(listed, Listed::Leftover(key) if key.as_str() == name);
    assert!(!on.list(ListRequest::default()).await.iter().any(is_leftover), "its run may live");
    let client = LocalClient::open(&on.path("")).unwrap().with_clock(std::sync::Arc::new(Later));
    let listed: Vec<Listed> = client.list(ListRequest::default()).try_collect().await.unwrap();
    let leftovers = listed.into_iter().filter_map(|listed| match listed {
        Listed::Leftover(key) => Some(key),
        _ => None,
    });
    client.sweep(leftovers.collect()).await.unwrap();
    let run = fs::read_dir(on.path(".syncengine/trash")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(run.join("d/report.txt")).unwrap(), b"an edit");
    assert_eq!(fs::read_dir(on.path("d")).unwrap().count(), 1);
}

#[tokio::test]
async fn fresh_stamps_are_not_settled() {
    let on = Tree::new();
    on.write("a", "x");
    let settled = |entry: Entry| matches!(entry.fingerprint, Fingerprint::File(file) if file.settled);
    let first = settled(on.entry("a").await);
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(settled(on.entry("a").await));
    // The first look may have come late on a busy machine, but not that late every time.
    assert!(!first || on.client.remove(vec![on.entry("a").await], &Disposal::Discard).await[0].is_ok());
}
