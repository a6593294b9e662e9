//! What others see of a file while it comes to be: whole versions under its name, and nothing they can use beside it.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use syncengine::client::local::{LocalClient, PublishRung};
use syncengine::client::{Body, Listed, StorageClient};
use syncengine::clock::Entropy;
use syncengine::{Entry, ErrorKind, SyncEngine, SyncOptions, SyncPair, Timestamp};

use super::Tree;
use crate::contract::{body, key, kind, target};

/// Replaced together, so that a round takes as long as one file alone.
const NAMES: usize = 50;
const ROUNDS: usize = 40;
const SIZE: usize = 12_000;

/// I-02: whoever reads a name all the time gets a whole version whenever he gets one, on each rung of the ladder. On
/// the lowest the name is missing for a moment, which the run reports as `weak-publish`.
#[tokio::test(flavor = "multi_thread")]
async fn i02_a_reader_sees_whole_versions_only() {
    for rung in [PublishRung::Exchange, PublishRung::HardLink, PublishRung::Rename] {
        let on = Tree::new();
        let client = LocalClient::open(&on.path("")).unwrap().with_publish_rung(rung);
        let names: Vec<String> = (0..NAMES).map(|number| format!("d/{number}")).collect();
        let (reads, changes, missing) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        let watch = |name: &str| {
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                match fs::read(on.path(name)) {
                    Ok(content) => {
                        let first = content[0];
                        assert_eq!(content.len(), SIZE, "{rung:?} {name}: a part of a version");
                        assert!(
                            content.iter().all(|byte| *byte == first),
                            "{rung:?} {name}: two versions at once"
                        );
                        reads.fetch_add(1, Ordering::Relaxed);
                        changes.fetch_add(u64::from(last != first), Ordering::Relaxed);
                        last = first;
                    }
                    Err(error) if error.kind() == NotFound => {
                        missing.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => panic!("{name}: {error}"),
                }
                // The writer is to have a processor too.
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        };
        let mut entries: Vec<Option<Entry>> = vec![None; NAMES];
        let write = async |round: usize, entries: &mut Vec<Option<Entry>>| {
            let content = vec![b'A' + u8::try_from(round % 26).unwrap(); SIZE];
            let mut staged = Vec::new();
            for (name, old) in names.iter().zip(entries.iter_mut()) {
                staged.push(client.stage(target(name, old.take()), body(&content)).await.unwrap());
            }
            for (entry, result) in entries.iter_mut().zip(client.publish(staged).await) {
                *entry = Some(result.unwrap());
            }
        };
        write(0, &mut entries).await;
        std::thread::scope(|scope| {
            for name in &names[..2] {
                scope.spawn(|| watch(name));
            }
            // Whatever happens, the readers are to end.
            let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        for round in 1..=ROUNDS {
                            write(round, &mut entries).await;
                        }
                    });
                });
            }));
            stop.store(true, Ordering::Relaxed);
            written.unwrap();
        });
        let (reads, changes, missing) = (reads.into_inner(), changes.into_inner(), missing.into_inner());
        assert!(changes > 10, "{rung:?}: {reads} reads saw {changes} changes only");
        assert!(missing == 0 || rung == PublishRung::Rename, "{rung:?}: {missing} times there was no file");
        println!("ci: i02 {rung:?}: {} replacements, whole versions in every read", NAMES * ROUNDS);
    }
}

/// Numbers in the order given, the last again and again.
#[derive(Debug)]
struct Foreseen(Mutex<Vec<u64>>);

impl Entropy for Foreseen {
    fn next_u64(&self) -> u64 {
        let mut numbers = self.0.lock().unwrap();
        if numbers.len() > 1 { numbers.remove(0) } else { numbers[0] }
    }
}

/// I-36: while it is written a temporary is for its owner alone, whatever it is to be, and nothing is written through
/// what somebody put in its place.
#[tokio::test]
async fn i36_a_temporary_is_private_and_made_where_nothing_is() {
    let on = Tree::new();
    on.write("d/open", "everybody may read and write this");
    fs::set_permissions(on.path("d/open"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let temporaries = || {
        let names = fs::read_dir(on.path("d"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(".syncengine-")).collect();
        names.sort();
        names
    };
    let mut seen = std::collections::BTreeSet::new();
    for replaces in [None, Some(on.entry("d/open").await)] {
        let name = if replaces.is_some() { "d/open" } else { "d/new" };
        let (mut sender, receiver) = futures::channel::mpsc::channel(0);
        let chunks = receiver.boxed();
        let coming = Body {
            size: 30,
            modified: None,
            mode: Some(0o755),
            folder_modes: Vec::new(),
            proof: None,
            chunks,
        };
        let staging = on.client.stage(target(name, replaces), coming);
        let watching = async {
            for number in 0..3 {
                sender.send(Ok(Bytes::from_static(b"0123456789"))).await.unwrap();
                if number == 2 {
                    // The third is taken when the first is written.
                    let found = temporaries();
                    let [temporary] = found.as_slice() else { panic!("{found:?}") };
                    let mode = fs::metadata(on.path("d").join(temporary)).unwrap().mode() & 0o7777;
                    assert_eq!(mode, 0o600, "{name}");
                    assert!(seen.insert(temporary.clone()), "a name is used once");
                }
            }
            drop(sender);
        };
        let (staged, ()) = futures::join!(staging, watching);
        on.client.discard(staged.unwrap()).await;
        assert!(temporaries().is_empty());
    }
    // Somebody foresaw the first names: a link to a file of his, a link to nowhere, a file.
    let name = |number: u64| on.path(&format!("d/.syncengine-00c0ffee{number:08x}.tmp"));
    fs::write(on.outside().join("victim"), "untouched").unwrap();
    symlink(on.outside().join("victim"), name(1)).unwrap();
    symlink(on.outside().join("made"), name(2)).unwrap();
    fs::write(name(3), "not ours").unwrap();
    let client = LocalClient::open(&on.path("")).unwrap();
    let client = client.with_entropy(Arc::new(Foreseen(Mutex::new(vec![1, 2, 3, 4]))));
    let staged = client.stage(target("d/new", None), body(b"ours")).await.unwrap();
    assert_eq!(fs::read(name(4)).unwrap(), b"ours");
    client.discard(staged).await;
    let client = LocalClient::open(&on.path("")).unwrap();
    let client = client.with_entropy(Arc::new(Foreseen(Mutex::new(vec![1]))));
    assert!(client.stage(target("d/new", None), body(b"ours")).await.is_err(), "it gives up in the end");
    assert_eq!(fs::read(on.outside().join("victim")).unwrap(), b"untouched");
    assert!(!on.outside().join("made").exists());
    assert_eq!(fs::read(name(3)).unwrap(), b"not ours");
}

/// B-10: a name the folder cannot hold fails with what to do, and the rest is synced.
#[tokio::test]
async fn b10_a_name_the_folder_cannot_hold_is_named_with_what_to_do() {
    let on = Tree::new();
    let source = Arc::new(syncengine::MemoryClient::new("source"));
    let longest = "n".repeat(255);
    for name in [format!("d/{longest}"), format!("d/{longest}n"), format!("{longest}n/below"), "fine".into()]
    {
        source.put(key(&name), name.clone(), Timestamp::new(1_600_000_000, 0));
    }
    let destination: Arc<dyn StorageClient> = Arc::new(LocalClient::open(&on.path("")).unwrap());
    let state = tempfile::tempdir().unwrap();
    let pair = SyncPair::with_clients(source, destination);
    for _ in 0..2 {
        let report = SyncEngine::new(state.path()).sync_pair(&pair, SyncOptions::new()).await.unwrap();
        let mut failed: Vec<_> = report.failures.iter().map(|failure| failure.path.as_str()).collect();
        failed.sort_unstable();
        assert_eq!(failed, [format!("d/{longest}n"), format!("{longest}n/below")], "{report:?}");
        for failure in &report.failures {
            assert!(failure.hint.contains("shorter name"), "{failure:?}");
        }
        assert_eq!(on.shown().await, [format!("file d/{longest}"), "file fine".into()]);
    }
    let beyond = on.client.stage(target(&format!("{longest}n"), None), body(b"x")).await;
    assert_eq!(kind(beyond), Some(ErrorKind::Invalid));
    assert!(matches!(on.client.head(&key(&format!("d/{longest}"))).await.unwrap(), Some(Listed::File(_))));
}
