//! Syncs with stores that take two names for one, or keep a name otherwise than it was given (B-62).
//!
//! Such a store can never have all that a folder has. What must hold: the folder stays as its user left it, no
//! version is lost, what cannot be there fails and is named in every run, and nothing else is held up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt};
use syncengine::embedded::{Disturb, Disturbance, Request};
use syncengine::{Report, SyncMode, Timestamp};

use crate::support::world::World;
use crate::support::{Root, Tree};

/// What a store takes for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folds {
    Case,
    Accents,
}

/// What such a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// The first spelling it was given.
    First,
    /// Its own spelling, whatever it was given.
    Own,
}

#[derive(Debug)]
struct Folding {
    folds: Folds,
    keeps: Keeps,
    ignores: bool,
    /// How many listings are answered; the others are refused.
    listings: AtomicU64,
    first: Mutex<BTreeMap<String, String>>,
}

impl Folding {
    fn fold(&self, key: &str) -> String {
        match self.folds {
            Folds::Case => key.to_lowercase(),
            Folds::Accents => key.replace("e\u{301}", "\u{e9}"),
        }
    }
}

impl Disturb for Folding {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        if request.operation == "ListObjectsV2"
            && self.listings.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
        {
            return Disturbance::Refuse(403, "AccessDenied".into());
        }
        let is_write = matches!(request.operation, "PutObject" | "CopyObject" | "CompleteMultipartUpload");
        if self.ignores && is_write { Disturbance::IgnoreIfNoneMatch } else { Disturbance::Pass }
    }

    fn spell(&self, key: String, writes: bool) -> String {
        let folded = self.fold(&key);
        if self.keeps == Keeps::Own {
            return folded;
        }
        let mut first = self.first.lock().unwrap();
        match first.get(&folded) {
            Some(spelled) => spelled.clone(),
            None if writes => {
                first.insert(folded, key.clone());
                key
            }
            None => key,
        }
    }
}

/// A world whose store takes names for others.
struct Folded {
    world: World,
    folding: Arc<Folding>,
}

impl std::ops::Deref for Folded {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

fn time(second: i64) -> Timestamp {
    Timestamp::new(1_600_000_000 + second, 0)
}

impl Folded {
    fn new(folds: Folds, keeps: Keeps, ignores: bool, mode: SyncMode) -> Self {
        let folding =
            Arc::new(Folding { folds, keeps, ignores, listings: u64::MAX.into(), first: Mutex::default() });
        let world = World::disturbed_at("tree/", Arc::clone(&folding) as Arc<dyn Disturb>);
        Self { world: world.in_mode(mode), folding }
    }

    fn story(&self, report: &Report) -> String {
        let Folding { folds, keeps, ignores, .. } = &*self.folding;
        let mode = self.world.mode;
        format!("{mode} {folds:?} {keeps:?} {ignores}: {:?} {:?}", report.counts, report.failures)
    }

    /// Runs a few times, in which `failing` fail; the folder must stay as it is, and the objects be `wanted` of it.
    async fn runs(&self, failing: usize, wanted: impl Fn(&Tree, &Tree) -> bool) {
        let ours = self.folder.files();
        for run in 0..3 {
            let report = self.sync().await;
            let story = format!("run {run}: {}", self.story(&report));
            assert_eq!(self.folder.files(), ours, "{story}");
            assert_eq!(report.counts.failed, failing as u64, "{story}");
            assert!(report.failures.iter().all(|failure| !failure.hint.is_empty()), "{story}");
            let theirs = self.bucket.files();
            assert!(wanted(&ours, &theirs), "{story}: {theirs:?}");
            assert_eq!(self.folder.trash(), Vec::<Vec<u8>>::new(), "{story}");
        }
    }
}

/// Returns a name, and the same name in a spelling that the store takes for it.
fn two_of(folds: Folds) -> [&'static str; 2] {
    match folds {
        Folds::Case => ["dir/name", "dir/NAME"],
        Folds::Accents => ["dir/caf\u{e9}", "dir/cafe\u{301}"],
    }
}

/// Calls `each` with every such store and every mode that writes to it, several at once.
async fn with_each(each: impl AsyncFn(Folded)) -> usize {
    let mut worlds = Vec::new();
    for folds in [Folds::Case, Folds::Accents] {
        for keeps in [Keeps::First, Keeps::Own] {
            for ignores in [false, true] {
                let world = |mode| Folded::new(folds, keeps, ignores, mode);
                worlds.extend(
                    [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::SourceBackup].map(world),
                );
            }
        }
    }
    let each = &each;
    stream::iter(worlds).map(|world| async move { each(world).await }).buffer_unordered(8).count().await
}

/// Whether every object has the name and the content of a file, and all files but so many are there.
fn are_all_but(missing: usize) -> impl Fn(&Tree, &Tree) -> bool {
    move |ours, theirs| {
        theirs.len() + missing == ours.len()
            && theirs.iter().all(|(name, bytes)| ours.get(name) == Some(bytes))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b62_of_two_names_that_are_one_there_neither_is_touched() {
    let count = with_each(async |world: Folded| {
        let names = two_of(world.folding.folds);
        for (number, name) in names.iter().enumerate() {
            world.folder.write(name, format!("content {number}").as_bytes(), time(0));
        }
        world.folder.write("beside", b"beside", time(0));
        world.runs(2, are_all_but(2)).await;
        let report = world.sync().await;
        for failure in &report.failures {
            assert_eq!(failure.code.as_str(), "name-clash", "{failure:?}");
            assert!(names.iter().all(|name| failure.error.contains(name)), "{failure:?}");
        }
        // Without one of them the other goes up, and when it comes back the one that is there is not touched.
        let kept =
            if world.folding.keeps == Keeps::Own { world.folding.fold(names[0]) } else { names[0].into() };
        let (kept, other) = if kept == names[0] { (names[0], names[1]) } else { (names[1], names[0]) };
        world.folder.delete(other);
        world.runs(0, are_all_but(0)).await;
        world.folder.write(other, b"come back", time(9));
        world
            .runs(2, move |ours, theirs| theirs.len() + 1 == ours.len() && theirs.get(kept) == ours.get(kept))
            .await;
    })
    .await;
    println!("ci: stores that fold names {count} collisions");
}

#[tokio::test(flavor = "multi_thread")]
async fn b62_a_file_that_is_renamed_to_what_is_the_same_there_stays() {
    with_each(async |world: Folded| {
        let [mut before, mut after] = two_of(world.folding.folds);
        if world.folding.keeps == Keeps::Own {
            // The first name must be the one it keeps.
            if world.folding.fold(before) != before {
                std::mem::swap(&mut before, &mut after);
            }
        }
        world.folder.write(before, b"content", time(0));
        world.folder.write("beside", b"beside", time(0));
        world.runs(0, are_all_but(0)).await;
        world.folder.rename(before, after);
        // What was there keeps its name until somebody decides.
        world.runs(1, |_, theirs| theirs.get(before).is_some_and(|bytes| bytes == b"content")).await;
        // Renamed back, all is well.
        world.folder.rename(after, before);
        world.runs(0, are_all_but(0)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b62_a_name_that_the_store_keeps_otherwise_is_taken_back() {
    for (folds, name) in [(Folds::Case, "dir/NAME"), (Folds::Accents, "dir/cafe\u{301}")] {
        for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::SourceBackup] {
            let world = Folded::new(folds, Keeps::Own, false, mode);
            world.folder.write(name, b"content", time(0));
            world.folder.write("beside", b"beside", time(0));
            world.runs(1, are_all_but(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b62_an_object_of_which_nobody_can_tell_the_name_stays() {
    let world = Folded::new(Folds::Case, Keeps::First, false, SyncMode::TwoWay);
    world.folder.write("dir/edited", b"before", time(0));
    world.runs(0, are_all_but(0)).await;
    world.folder.write("dir/edited", b"after", time(9));
    world.folder.write("dir/new", b"new", time(9));
    // That of the tree, and no other: nobody can tell either whether the store keeps what was written.
    world.folding.listings.store(1, Relaxed);
    let report = world.sync().await;
    world.folding.listings.store(u64::MAX, Relaxed);
    assert_eq!(report.counts.failed, 2, "{}", world.story(&report));
    assert!(world.folder.files() == world.bucket.files(), "{}", world.story(&report));
    world.runs(0, are_all_but(0)).await;
}

/// Who renames an object there in case alone takes nothing away here.
#[tokio::test(flavor = "multi_thread")]
async fn b62_a_name_that_changes_its_case_there_deletes_nothing_here() {
    let world = Folded::new(Folds::Case, Keeps::First, false, SyncMode::TwoWay);
    world.folder.write("dir/name", b"content", time(0));
    world.folder.write("beside", b"beside", time(0));
    world.runs(0, are_all_but(0)).await;
    world.bucket.remove("dir/name");
    world.folding.first.lock().unwrap().clear();
    world.bucket.put("dir/NAME", b"another", Some(time(9)));
    for run in 0..3 {
        let report = world.sync().await;
        let ours = world.folder.files();
        assert!(ours.values().any(|bytes| bytes == b"content"), "run {run}: {}", world.story(&report));
        assert!(ours.values().any(|bytes| bytes == b"another"), "run {run}: {}", world.story(&report));
    }
}
