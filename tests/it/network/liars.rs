//! Stores that say yes and have something else: other bytes than were sent, stumps of copies, nothing at all.
//!
//! A run against one either brings about what it reports or says what failed; in no case does a version go of which
//! nothing else is left, nor does a damaged one stay under its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use syncengine::code::{FailureCode, NoticeCode};
use syncengine::embedded::{Disturb, Disturbance, Request};
use syncengine::{Outcome, SyncMode};

use super::{Ignoring, LARGE, expected, time};
use crate::support::Root;
use crate::support::world::World;

/// Lies so many times in answers to one kind of request that is about files or trash. One that lies about what is read
/// honours no condition of copies: then what is renamed passes through the client.
#[derive(Debug)]
struct Liar {
    operation: &'static str,
    /// A part of the names that it lies about.
    about: &'static str,
    lie: Disturbance,
    left: AtomicU64,
    told: AtomicU64,
}

impl Disturb for Liar {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        let key = request.key.unwrap_or_default();
        if self.operation == "GetObject" && request.operation == "CopyObject" {
            return Disturbance::IgnoreIfNoneMatch;
        }
        let is_ours = key.contains(".syncengine/") && !key.contains(".syncengine/trash/");
        if request.operation != self.operation || is_ours || !key.contains(self.about) {
            return Disturbance::Pass;
        }
        let lies = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if lies.is_err() {
            return Disturbance::Pass;
        }
        self.told.fetch_add(1, Ordering::Relaxed);
        self.lie.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_something_else_than_it_says_loses_nothing() {
    let always = u64::MAX;
    for (operation, about, lie, times, is_mended) in [
        ("PutObject", "", Disturbance::Corrupt(2), 1, true),
        ("PutObject", "edited", Disturbance::Corrupt(2), always, false),
        ("PutObject", "new", Disturbance::Corrupt(2), always, false),
        ("PutObject", "", Disturbance::Pretend, 1, true),
        ("PutObject", "edited", Disturbance::Pretend, always, false),
        ("PutObject", "new", Disturbance::Pretend, always, false),
        ("UploadPart", "", Disturbance::Corrupt(9), 1, true),
        ("UploadPart", "", Disturbance::Corrupt(9), always, false),
        ("CopyObject", "", Disturbance::Stump(3), 1, true),
        ("CopyObject", "trash", Disturbance::Stump(3), always, false),
        ("CopyObject", "renamed", Disturbance::Stump(3), always, false),
        ("PutObject", "", Disturbance::Stump(0), 1, true),
        ("PutObject", "", Disturbance::Stump(0), always, false),
        ("UploadPart", "", Disturbance::Stump(0), 1, true),
        ("UploadPart", "", Disturbance::Stump(0), always, false),
        ("CopyObject", "", Disturbance::Pretend, 1, true),
        ("CopyObject", "trash", Disturbance::Pretend, always, false),
        ("CopyObject", "renamed", Disturbance::Pretend, always, false),
        ("GetObject", "renamed", Disturbance::Flip(2), 1, true),
        ("GetObject", "renamed", Disturbance::Flip(2), always, false),
    ] {
        let large = operation == "UploadPart";
        let story = format!("{operation} {about} {lie:?}, {times} times");
        let liar = Arc::new(Liar { operation, about, lie, left: AtomicU64::new(0), told: AtomicU64::new(0) });
        let world = World::disturbed(Arc::clone(&liar) as Arc<dyn Disturb>);
        world.make_work(large).await;
        let before = world.contents();
        liar.left.store(times, Ordering::Relaxed);
        let report = world.sync_briskly().await;
        liar.left.store(0, Ordering::Relaxed);
        assert!(liar.told.load(Ordering::Relaxed) > 0, "{story}: nothing was told");
        assert_eq!(report.outcome == Outcome::Synced, is_mended, "{story}: {:?}", report.failures);
        // Whatever has a name there is a whole version that somebody wrote, or the store has none of it and its path has failed.
        for (name, content) in world.bucket.files() {
            let has_failed =
                content.len() < LARGE && report.failures.iter().any(|failure| failure.path == name);
            let is_whole = has_failed || before.contains(&content) || content == vec![7; LARGE];
            assert!(is_whole, "{story}: `{name}` is {:?}", String::from_utf8_lossy(&content));
        }
        if is_mended {
            assert!(world.bucket.files() == expected(large), "{story}: {:?}", world.bucket.files().keys());
        }
        world.nothing_is_lost(&story, &before, large).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_in_the_place_of_a_copy_is_not_taken_for_it() {
    let rival = Arc::new(Ignoring::default());
    let world = World::disturbed(Arc::clone(&rival) as Arc<dyn Disturb>);
    world.folder.write("before", b"ours", time(0));
    world.sync_briskly().await;
    world.folder.rename("before", "after");
    // It comes when the store has copied, and the copy is looked at.
    *rival.rival.lock().unwrap() = Some((world.bucket.clone(), "after"));
    world.sync_briskly().await;
    assert!(rival.rival.lock().unwrap().is_none(), "nobody looked");
    for _ in 0..2 {
        let there = world.contents();
        assert!(there.contains(b"theirs".as_slice()), "the newcomer is lost");
        assert!(there.contains(b"ours".as_slice()), "what was renamed is lost");
        world.sync_briskly().await;
    }
    assert!(world.folder.files() == world.bucket.files());
}

/// Pretends to put or delete one name, as long as it is on.
#[derive(Debug)]
struct Pretender {
    operation: &'static str,
    key: &'static str,
    is_on: AtomicBool,
    told: AtomicU64,
}

impl Pretender {
    fn new(operation: &'static str, key: &'static str) -> Arc<Self> {
        Arc::new(Self { operation, key, is_on: AtomicBool::new(false), told: AtomicU64::new(0) })
    }
}

impl Disturb for Pretender {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        let is_meant = request.operation == self.operation && request.key == Some(self.key);
        if !is_meant || !self.is_on.load(Ordering::Relaxed) {
            return Disturbance::Pass;
        }
        self.told.fetch_add(1, Ordering::Relaxed);
        Disturbance::Pretend
    }
}

/// Returns a store that keeps nothing of `new`, and a world that has such a file since its first sync.
async fn without_new() -> (Arc<Pretender>, World) {
    let store = Pretender::new("PutObject", "new");
    let world = World::disturbed(Arc::clone(&store) as Arc<dyn Disturb>);
    world.folder.write("other", b"other", time(0));
    world.sync_briskly().await;
    world.folder.write("new", b"the only one", time(1));
    store.is_on.store(true, Ordering::Relaxed);
    (store, world)
}

/// 8.11: sent twice, and once more in the next run; then it waits for its user, and nobody deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_never_keeps_is_sent_three_times_and_stays_here() {
    let (store, world) = without_new().await;
    for told in [2, 3, 3, 3] {
        let report = world.sync_briskly().await;
        let failures: Vec<_> = report.failures.iter().map(|failure| (&*failure.path, failure.code)).collect();
        assert_eq!(failures, [("new", FailureCode::Vanished)], "{told}");
        assert_eq!(store.told.load(Ordering::Relaxed), told);
        assert!(world.folder.files().contains_key("new") && report.counts.deleted_source == 0);
    }
    store.is_on.store(false, Ordering::Relaxed);
    world.folder.write("new", b"the only one", time(2));
    assert_eq!(world.sync_briskly().await.outcome, Outcome::Synced);
    assert!(world.bucket.files() == world.folder.files());
    // What was once seen there its user can delete.
    world.bucket.remove("new");
    assert_eq!(world.sync_briskly().await.counts.deleted_source, 1);
}

/// 8.11: a run that was killed before it looked leaves nothing that the next one would delete.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_wrote_to_a_store_that_did_not_keep_it_is_sent_again() {
    let (store, world) = without_new().await;
    world.sync_until("new").await;
    assert!(store.told.load(Ordering::Relaxed) == 1 && !world.bucket.files().contains_key("new"));
    store.is_on.store(false, Ordering::Relaxed);
    let report = world.sync_briskly().await;
    assert_eq!((report.outcome, report.counts.deleted_source), (Outcome::Synced, 0));
    assert!(world.bucket.files() == world.folder.files() && world.folder.files().contains_key("new"));
}

/// 8.11: what comes back as it was is deleted again; what somebody wrote since is a new file.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_did_nothing_brings_no_file_back() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
        let store = Pretender::new("DeleteObject", "gone");
        let world = World::disturbed(Arc::clone(&store) as Arc<dyn Disturb>).in_mode(mode);
        for name in ["gone", "kept", "other"] {
            world.folder.write(name, name.as_bytes(), time(0));
        }
        world.sync_briskly().await;
        world.folder.delete("gone");
        store.is_on.store(true, Ordering::Relaxed);
        assert_eq!(world.sync_briskly().await.counts.deleted_destination, 1, "{mode}");
        assert!(world.bucket.files().contains_key("gone") && store.told.load(Ordering::Relaxed) > 0);
        for is_on in [true, false] {
            store.is_on.store(is_on, Ordering::Relaxed);
            let report = world.sync_briskly().await;
            let warned = report.warnings.iter().any(|warning| warning.code == NoticeCode::Reappeared);
            assert_eq!((report.counts.deleted_destination, warned), (1, true), "{mode}");
            assert!(!world.folder.files().contains_key("gone"), "{mode}");
        }
        let report = world.sync_briskly().await;
        assert!(report.counts.changes() == 0 && report.warnings.is_empty(), "{mode}: {:?}", report.warnings);
        // The same bytes, written by somebody since, are a new file.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        world.bucket.put("gone", b"gone", None);
        let report = world.sync_briskly().await;
        let is_there = world.folder.files().contains_key("gone");
        assert_eq!(is_there, mode == SyncMode::TwoWay, "{mode}");
        assert!(report.warnings.is_empty(), "{mode}: {:?}", report.warnings);
    }
}

/// 8.11: what a store was told to replace and still has as it was nobody has put back.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_a_store_did_not_keep_is_sent_again_and_never_taken_back() {
    for mode in [SyncMode::TwoWay, SyncMode::SourceBackup, SyncMode::SourceToDestination] {
        for is_killed in [true, false] {
            let store = Pretender::new("PutObject", "new");
            let world = World::disturbed(Arc::clone(&store) as Arc<dyn Disturb>).in_mode(mode);
            world.folder.write("new", b"as it was", time(0));
            world.sync_briskly().await;
            world.folder.write("new", b"edited", time(1));
            store.is_on.store(true, Ordering::Relaxed);
            let case = format!("{mode} {is_killed}");
            if is_killed {
                world.sync_until("new").await;
                store.is_on.store(false, Ordering::Relaxed);
            } else {
                for told in [2, 3, 3, 3] {
                    let report = world.sync_briskly().await;
                    let codes: Vec<_> = report.failures.iter().map(|failure| failure.code).collect();
                    assert_eq!(
                        (codes, store.told.load(Ordering::Relaxed)),
                        (vec![FailureCode::Vanished], told),
                        "{case}"
                    );
                    assert_eq!(world.folder.files()["new"], b"edited", "{case}");
                }
                store.is_on.store(false, Ordering::Relaxed);
                world.folder.write("new", b"edited", time(2));
            }
            let report = world.sync_briskly().await;
            assert_eq!(report.outcome, Outcome::Synced, "{case}: {:?}", report.failures);
            assert_eq!(
                (&*world.folder.files()["new"], &*world.bucket.files()["new"]),
                (&b"edited"[..], &b"edited"[..]),
                "{case}"
            );
        }
    }
}

/// 8.11: of a version that nobody has seen there, and another one in its place, neither is the edit of the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_in_the_place_of_what_was_not_kept_is_a_conflict() {
    let (store, world) = without_new().await;
    world.sync_briskly().await;
    store.is_on.store(false, Ordering::Relaxed);
    world.bucket.put("new", b"of somebody else", Some(time(0)));
    let report = world.sync_briskly().await;
    assert_eq!(report.counts.conflicts, 1, "{:?}", report.counts);
    assert_eq!(world.folder.files()["new"], b"the only one");
}
