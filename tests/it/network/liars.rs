//! Stores that say yes and have something else: other bytes than were sent, stumps of copies, nothing at all.
//!
//! A run against one either brings about what it reports or says what failed; in no case does a version go of which
//! nothing else is left, nor does a damaged one stay under its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use syncengine::Outcome;
use syncengine::embedded::{Disturb, Disturbance, Request};

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
