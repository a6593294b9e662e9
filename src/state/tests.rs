//! The store on a real directory: against a model, killed, damaged, restored, locked, and only looked at.

mod damage;
mod model;
mod places;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};

use super::layout::Layout;
use super::memory::MemoryState;
use super::row::tests::exact;
use super::*;
use crate::clock::{Clock, SystemEntropy};
use crate::entry::Timestamp;
use crate::error::ErrorKind;
use std::sync::Arc;

/// A clock that stands, and waits a tenth of what it should.
#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::new(1_700_000_000, 0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration / 10).boxed()
    }
}

pub(super) fn locations() -> Sides<String> {
    Sides::new("/source".into(), "/destination".into())
}

fn of_locations() -> Wanted {
    Wanted { locations: locations(), found: None }
}

pub(super) fn pair_record() -> PairRecord {
    PairRecord {
        pair_id: "0123456789abcdef0123456789abcdef".into(),
        locations: locations(),
        mode: SyncMode::TwoWay,
        first_sync: FirstSync::Spent,
        marked: true,
        roots: Sides::new(Some(RootIdentity { device: 1, inode: 2, file_system: None }), None),
        run_tags: vec![7],
        last_sync_seconds: Some(1_700_000_000),
        tail: RecordTail::default(),
    }
}

/// A state directory, and a place for copies beside it.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::create_dir(world.scratch()).unwrap();
        world
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.0.path().join("scratch")
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::new(self.dir(), &locations())
    }

    pub(super) async fn try_open(&self, access: Access) -> Result<Opened> {
        let clock = Arc::new(Standing);
        open(self.dir(), of_locations(), access, self.scratch(), clock, Arc::new(SystemEntropy)).await
    }

    pub(super) async fn open(&self) -> Opened {
        self.try_open(Access::Write).await.unwrap()
    }

    /// Returns the world as it is if every process in it is killed now.
    pub(super) fn killed(&self) -> Self {
        let copy = Self::new();
        copy_tree(&self.dir(), &copy.dir());
        copy
    }

    /// Returns the names in the state directory that contain `part`.
    fn names(&self, part: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(part)).collect()
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns every file below `dir` with its modification time and content.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let Ok(entries) = fs::read_dir(dir) else { return all };
    for entry in entries {
        let path = entry.unwrap().path();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            all.extend(listing(&path));
            all.insert(path, (modified, Vec::new()));
        } else {
            let content = fs::read(&path).unwrap();
            all.insert(path, (modified, content));
        }
    }
    all
}

pub(super) type Model = BTreeMap<Key, BaseRow>;

pub(super) fn shown(model: &Model) -> Vec<String> {
    model.iter().map(|(key, row)| format!("{key} {}", exact(row))).collect()
}

pub(super) async fn scanned(store: &dyn StateStore) -> Vec<String> {
    store.scan().map_ok(|(key, row)| format!("{key} {}", exact(&row))).try_collect().await.unwrap()
}

pub(super) fn key(number: usize) -> Key {
    Key::parse(&format!("some/folder-{}/file-{number:05}", number / 100)).unwrap()
}

pub(super) fn agreed(number: usize) -> BaseRow {
    let time = Timestamp::new(1_700_000_000 + i64::try_from(number).unwrap(), 123_456_789);
    let md5 = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    let hash = ContentHash { md5, parts: None };
    let stat = crate::fingerprint::FileStat {
        modified: time,
        changed: time,
        inode: 1_000_000 + number as u64,
        settled: true,
    };
    let seen = Sides::new(Fingerprint::File(stat), Fingerprint::Object(hash.etag()));
    BaseRow::Agreed(Agreed::new(4096 + number as u64, Some(hash), seen))
}

pub(super) fn rows(numbers: impl IntoIterator<Item = usize>) -> Model {
    numbers.into_iter().map(|number| (key(number), agreed(number))).collect()
}

pub(super) fn puts(model: &Model) -> Vec<RowChange> {
    model.iter().map(|(key, row)| (key.clone(), Some(row.clone()))).collect()
}

pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

#[test]
fn records_of_many_callers_are_all_kept_and_survive_a_kill() {
    run(async {
        let world = Place::new();
        let opened = world.open().await;
        opened.store.commit(pair_record()).await.unwrap();
        let calls = (0..200).map(|number| opened.store.record(vec![(key(number), Some(agreed(number)))]));
        futures::future::try_join_all(calls).await.unwrap();
        let killed = world.killed();
        assert_eq!(scanned(killed.open().await.store.as_ref()).await, shown(&rows(0..200)));
    });
}

#[test]
fn a_pair_is_open_for_writing_once() {
    run(async {
        let world = Place::new();
        let Opened { store, lock, .. } = world.open().await;
        drop(lock);
        for refused in [world.try_open(Access::Write).await, world.try_open(Access::ReadOnly).await] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        }
        let forgotten = forget(world.dir(), of_locations(), Arc::new(Standing)).await;
        assert_eq!(forgotten.unwrap_err().kind(), ErrorKind::Locked);
        drop(store);
        assert!(world.open().await.lock.is_held());
        // Somebody who goes past our lock meets sled's.
        let past = tables::Tables::open(&world.layout().database()).unwrap();
        assert_eq!(world.try_open(Access::Write).await.unwrap_err().kind(), ErrorKind::Locked);
        drop(past);
        assert_eq!(world.open().await.found, Found::Nothing);
    });
}

#[test]
fn looking_writes_nothing() {
    run(async {
        let world = Place::new();
        let looked = world.try_open(Access::ReadOnly).await.unwrap();
        assert_eq!(looked.found, Found::Nothing);
        assert!(!world.dir().exists());

        let opened = world.open().await;
        opened.store.record(puts(&rows(0..500))).await.unwrap();
        opened.store.commit(pair_record()).await.unwrap();
        opened.store.record(puts(&rows(400..900))).await.unwrap();
        drop(opened);
        fs::write(world.layout().database().join("snap.FFFFFFFFFFFFFFFF.generating"), "x").unwrap();
        let before = listing(&world.dir());
        let looked = world.try_open(Access::ReadOnly).await.unwrap();
        assert_eq!(looked.found, Found::Intact);
        assert_eq!(scanned(looked.store.as_ref()).await, shown(&rows(0..900)));
        // A writer need not wait for somebody who only looks.
        assert!(!looked.lock.is_held());
        assert_eq!(
            looked.store.record(vec![(key(1), None)]).await.unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        assert!(looked.store.commit(pair_record()).await.is_err());
        looked.store.flush().await.unwrap();
        assert_eq!(fs::read_dir(world.scratch()).unwrap().count(), 1);
        drop(looked);
        assert_eq!(fs::read_dir(world.scratch()).unwrap().count(), 0);
        assert_eq!(listing(&world.dir()), before);

        fs::write(world.layout().database().join("db"), "garbage").unwrap();
        let before = listing(&world.dir());
        let looked = world.try_open(Access::ReadOnly).await.unwrap();
        assert!(matches!(looked.found, Found::Lost { .. }));
        assert!(scanned(looked.store.as_ref()).await.is_empty());
        drop(looked);
        assert_eq!((listing(&world.dir()), fs::read_dir(world.scratch()).unwrap().count()), (before, 0));
    });
}

#[test]
fn a_forgotten_pair_is_new_and_its_state_is_kept() {
    run(async {
        let world = Place::new();
        let forget = || forget(world.dir(), of_locations(), Arc::new(Standing));
        assert!(!forget().await.unwrap());
        assert!(!world.dir().exists());
        let opened = world.open().await;
        opened.store.commit(pair_record()).await.unwrap();
        drop(opened);
        assert!(forget().await.unwrap());
        assert_eq!(world.names(".forgotten-20231114T221320Z").len(), 2);
        assert_eq!(world.open().await.found, Found::Nothing);
    });
}

#[test]
fn the_state_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    run(async {
        let world = Place::new();
        world.open().await.store.commit(pair_record()).await.unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let layout = world.layout();
        assert_eq!((mode(world.dir()), mode(layout.database())), (0o700, 0o700));
        assert_eq!((mode(layout.sidecar()), mode(layout.lock())), (0o600, 0o600));
    });
}

#[test]
fn only_the_pair_that_was_opened_is_committed() {
    run(async {
        let world = Place::new();
        let opened = world.open().await;
        let other = PairRecord { locations: Sides::default(), ..pair_record() };
        assert_eq!(opened.store.commit(other).await.unwrap_err().kind(), ErrorKind::Internal);
        opened.store.commit(pair_record()).await.unwrap();
    });
}

#[test]
fn the_base_in_memory_behaves_the_same() {
    run(async {
        let memory = MemoryState::new();
        memory.record(puts(&rows(0..5))).await.unwrap();
        memory.record(vec![(key(2), None)]).await.unwrap();
        memory.commit(pair_record()).await.unwrap();
        memory.flush().await.unwrap();
        assert_eq!(scanned(&memory).await, shown(&rows([0, 1, 3, 4])));
        assert_eq!(memory.get(&key(2)).await.unwrap(), None);
        assert_eq!(memory.get(&key(3)).await.unwrap(), Some(agreed(3)));
        assert_eq!(memory.pair_record(), Some(pair_record()));
    });
}

#[test]
fn no_page_grows_into_a_file_of_its_own() {
    run(async {
        let world = Place::new();
        let opened = world.open().await;
        for round in 0..3 {
            let changed = rows((0..20_000).filter(|number| round == 0 || number % 3 == round));
            opened.store.record(puts(&changed)).await.unwrap();
            opened.store.commit(pair_record()).await.unwrap();
        }
        assert_eq!(fs::read_dir(world.layout().database().join("blobs")).unwrap().count(), 0);
        assert_eq!(scanned(opened.store.as_ref()).await.len(), 20_000);
    });
}
