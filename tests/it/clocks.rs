//! Clocks that are years ahead or behind for a run: the trash of a minute ago stays, and that of long ago still goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use syncengine::clock::{Clock, SystemClock, SystemEntropy};
use syncengine::code::NoticeCode;
use syncengine::state::Found;
use syncengine::{Key, MemoryClient, Report, SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp};

use crate::support::{Folder, Root, fresh_engine};

const DAY: i64 = 86_400;
const START: i64 = 1_700_000_000;

/// A clock that shows what a test says.
#[derive(Debug)]
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp::new(self.0.load(Ordering::Relaxed), 0)
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration)
    }
}

/// A source and a mirror of it, whose trash is looked at.
struct Scene {
    _dir: tempfile::TempDir,
    clock: Arc<Set>,
    source: Folder,
    mirror: Box<dyn Root>,
    engine: SyncEngine,
    pair: SyncPair,
    written: u32,
}

impl Scene {
    fn new(into_folder: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Folder::new(dir.path(), "source");
        let mirror: Box<dyn Root> = if into_folder {
            Box::new(Folder::new(dir.path(), "mirror"))
        } else {
            Box::new(Arc::new(MemoryClient::new("mirror")))
        };
        let clock = Arc::new(Set(AtomicI64::new(START)));
        let engine = fresh_engine(Found::Nothing);
        let engine = engine.ports(Arc::clone(&clock) as _, Arc::new(SystemEntropy));
        let pair =
            SyncPair::with_clients(source.client(), mirror.client()).mode(SyncMode::SourceToDestination);
        Self { _dir: dir, clock, source, mirror, engine, pair, written: 0 }
    }

    /// Replaces a file and syncs, so many days after the beginning by the clock.
    async fn replace(&mut self, days: i64) -> Report {
        self.clock.0.store(START + days * DAY, Ordering::Relaxed);
        self.written += 1;
        let text = format!("version {}", self.written);
        self.source.write("f", text.as_bytes(), Timestamp::new(START + i64::from(self.written), 0));
        self.engine.sync_pair(&self.pair, SyncOptions::new()).await.unwrap()
    }

    /// Returns the numbers of the versions in the trash.
    fn kept(&self) -> Vec<u32> {
        let texts = self.mirror.trash().into_iter().map(|text| String::from_utf8(text).unwrap());
        let mut kept: Vec<u32> =
            texts.filter_map(|text| text.strip_prefix("version ")?.parse().ok()).collect();
        kept.sort_unstable();
        kept
    }
}

fn has(report: &Report, code: NoticeCode) -> bool {
    report.warnings.iter().chain(&report.notes).any(|notice| notice.code == code)
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_one_run_empties_no_trash() {
    for into_folder in [true, false] {
        for wrong in [400, 40, -400, -19_000] {
            let mut scene = Scene::new(into_folder);
            for day in [0, 1, 2] {
                scene.replace(day).await;
            }
            let report = scene.replace(2 + wrong).await;
            assert_eq!(has(&report, NoticeCode::ClockJumped), wrong < 0, "{report:?}");
            assert_eq!(scene.kept(), [1, 2, 3], "{wrong}");
            let report = scene.replace(3).await;
            assert_eq!(has(&report, NoticeCode::ClockJumped), wrong > 0, "{report:?}");
            assert_eq!(scene.kept(), [1, 2, 3, 4], "{wrong}");
            // What is in it goes all the same, in its time.
            for day in [35, 70, 105, 140] {
                scene.replace(day).await;
            }
            assert_eq!(scene.kept(), [7, 8], "{wrong}");
        }
    }
}

/// The pair is older than the clock is wrong, so that the wrong time is one that could have been.
#[tokio::test]
async fn a_run_by_a_clock_that_is_behind_dates_its_trash_by_the_run_before() {
    for into_folder in [true, false] {
        let mut scene = Scene::new(into_folder);
        for day in [0, 730] {
            scene.replace(day).await;
        }
        scene.replace(731).await;
        let report = scene.replace(365).await;
        assert!(has(&report, NoticeCode::ClockJumped), "{report:?}");
        // It goes on, and nobody sets the clock.
        for day in [366, 367, 732, 733, 734] {
            scene.replace(day).await;
        }
        assert_eq!(scene.kept(), [1, 2, 3, 4, 5, 6, 7, 8]);
        scene.replace(765).await;
        scene.replace(766).await;
        assert_eq!(scene.kept(), [9, 10], "it goes in its time");
    }
}

/// It makes room, so it goes in a run that throws nothing away too.
#[tokio::test]
async fn what_has_expired_in_a_folder_goes_with_the_next_run() {
    let mut scene = Scene::new(true);
    for day in [0, 1, 40] {
        scene.replace(day).await;
    }
    assert_eq!(scene.kept(), [1, 2]);
    scene.clock.0.store(START + 80 * DAY, Ordering::Relaxed);
    scene.engine.sync_pair(&scene.pair, SyncOptions::new()).await.unwrap();
    assert_eq!(scene.kept(), [2]);
}

#[tokio::test]
async fn a_monthly_backup_still_purges() {
    for into_folder in [true, false] {
        let mut scene = Scene::new(into_folder);
        for month in 0..6 {
            scene.replace(31 * month).await;
        }
        assert_eq!(scene.kept(), [4, 5]);
    }
}

#[tokio::test]
async fn a_trash_of_a_time_that_cannot_be_counts_from_when_it_was_seen() {
    for dated in ["19700101T000000Z-0000000a", "20990101T000000Z-0000000a"] {
        let dir = tempfile::tempdir().unwrap();
        let mut scene = Scene::new(true);
        let store = Arc::new(MemoryClient::new("mirror"));
        for into_folder in [true, false] {
            if into_folder {
                let trash = dir.path().join("mirror/.syncengine/trash").join(dated);
                std::fs::create_dir_all(&trash).unwrap();
                std::fs::write(trash.join("f"), "version 99").unwrap();
                scene.mirror = Box::new(Folder(dir.path().join("mirror")));
            } else {
                scene = Scene::new(false);
                let name = format!(".syncengine/trash/{dated}/f");
                store.put(Key::parse(&name).unwrap(), "version 99", Timestamp::new(START, 0));
                scene.mirror = Box::new(Arc::clone(&store));
            }
            scene.pair = SyncPair::with_clients(scene.source.client(), scene.mirror.client())
                .mode(SyncMode::SourceToDestination);
            for day in [0, 1, 29] {
                scene.replace(day).await;
                assert!(scene.kept().contains(&99), "{dated} {day}");
            }
            for day in [40, 72] {
                scene.replace(day).await;
            }
            assert!(!scene.kept().contains(&99), "{dated} {into_folder}");
        }
    }
}
