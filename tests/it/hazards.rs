//! Faults that another sync engine was shown to have, one test each: what holds here instead.
//!
//! A test is named `hNN_` and what is right, where NN is the number of the fault. What cannot arise is argued in
//! `docs/SEMANTICS.md`. The last test counts: none is missing, and none is there twice.
//!
//! Most run the engine between a folder `a` and a bucket `b` of a server whose answers the test can spoil.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use syncengine::clock::{Clock, SystemClock, SystemEntropy};
use syncengine::embedded::{Disturb, Disturbance, Request};
use syncengine::{
    Event, LocalClient, Observer, Report, Result, SyncController, SyncEngine, SyncMode, SyncOptions,
    SyncPair, Timestamp,
};

use crate::scenarios::{act_with_bucket, tree};
use crate::support::bench::Ran;
use crate::support::world::World;
use crate::support::{Folder, Root, Tree, read_tree};

mod broken_off;
mod contents;
mod deletions;
mod edits;
mod surface;

/// What becomes of a request, by its operation and its key.
pub(crate) type Rule = Arc<dyn Fn(&str, &str) -> Disturbance + Send + Sync>;

/// Stands between the engine and the server. Requests about what is ours (probes, markers, trash) pass unseen.
#[derive(Default)]
pub(crate) struct Meddler {
    rule: Mutex<Option<Rule>>,
    seen: Mutex<Vec<String>>,
    /// Whether requests about what is ours are meddled with too.
    with_ours: AtomicBool,
}

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddler").finish_non_exhaustive()
    }
}

impl Disturb for Meddler {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        let key = request.key.unwrap_or_default();
        if key.contains(".syncengine") && !self.with_ours.load(Ordering::Relaxed) {
            return Disturbance::Pass;
        }
        self.seen.lock().unwrap().push(request.operation.to_owned());
        // Free while it is followed: a rule may wait for requests of its own.
        let rule = self.rule.lock().unwrap().clone();
        let follow = |rule: Rule| tokio::task::block_in_place(|| rule(request.operation, key));
        rule.map_or(Disturbance::Pass, follow)
    }
}

/// A world in whose requests a test can meddle.
pub(crate) struct Meddled {
    world: World,
    meddler: Arc<Meddler>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl std::ops::Deref for Meddled {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl std::ops::DerefMut for Meddled {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Meddled {
    pub(crate) fn new() -> Self {
        let meddler = Arc::new(Meddler::default());
        let world = World::disturbed(Arc::clone(&meddler) as Arc<dyn Disturb>);
        Self { world, meddler, clock: Arc::new(SystemClock) }
    }

    /// Returns a world that has done what a script says, and was synced.
    pub(crate) fn synced(script: &str) -> Self {
        let world = Self::new();
        world.act(script);
        world.sync();
        world
    }

    /// Does what a script says, in the notation of the scenarios.
    pub(crate) fn act(&self, script: &str) {
        act_with_bucket(&self.bench, &self.bucket, script);
    }

    /// Lets a rule decide what becomes of requests from now on.
    pub(crate) fn meddle(&self, rule: impl Fn(&str, &str) -> Disturbance + Send + Sync + 'static) {
        *self.meddler.rule.lock().unwrap() = Some(Arc::new(rule));
    }

    /// As [`Self::meddle`], requests about what is ours included.
    pub(crate) fn meddle_with_ours(&self, rule: impl Fn(&str, &str) -> Disturbance + Send + Sync + 'static) {
        self.meddler.with_ours.store(true, Ordering::Relaxed);
        self.meddle(rule);
    }

    /// Lets all requests pass again, and forgets those that were seen.
    pub(crate) fn calm(&self) {
        *self.meddler.rule.lock().unwrap() = None;
        self.meddler.with_ours.store(false, Ordering::Relaxed);
        self.meddler.seen.lock().unwrap().clear();
    }

    /// Returns how many requests of an operation there were, tries counted one by one.
    pub(crate) fn asked(&self, operation: &str) -> usize {
        self.meddler.seen.lock().unwrap().iter().filter(|seen| *seen == operation).count()
    }

    pub(crate) fn engine(&self) -> SyncEngine {
        SyncEngine::new(self.bench.path("state")).ports(Arc::clone(&self.clock), Arc::new(SystemEntropy))
    }

    /// Returns the two-way pair of the folder and the bucket, for one run that `control` ends.
    pub(crate) fn pair(&self, control: &SyncController) -> SyncPair {
        let memory = Some(self.bench.path("state/stores"));
        let bucket = self.bucket.open_for(control, Arc::clone(&self.clock), memory);
        SyncPair::with_clients(Arc::new(LocalClient::open(&self.bench.path("a")).unwrap()), Arc::new(bucket))
    }

    /// Runs once, with a policy and options.
    pub(crate) fn run(
        &self,
        policy: impl FnOnce(SyncPair) -> SyncPair,
        options: SyncOptions,
    ) -> Result<Report> {
        let pair = policy(self.pair(&options.controller));
        sync(&self.engine(), &pair, options)
    }

    /// Runs once, with a policy. The run itself must come to its end.
    pub(crate) fn with(&self, policy: impl FnOnce(SyncPair) -> SyncPair) -> Report {
        self.run(policy, SyncOptions::new()).unwrap()
    }

    pub(crate) fn mode(&self, mode: SyncMode) -> Report {
        self.with(|pair| pair.mode(mode))
    }

    pub(crate) fn sync(&self) -> Report {
        self.mode(SyncMode::TwoWay)
    }

    pub(crate) fn folder(&self) -> Tree {
        read_tree(&self.bench.path("a"))
    }

    /// Holds both trees against what they must be.
    pub(crate) fn has(&self, a: &str, b: &str) {
        assert_eq!((self.folder(), self.bucket.files()), (tree(a), tree(b)));
    }

    /// Holds both trees against the one they must be.
    pub(crate) fn agrees(&self, words: &str) {
        self.has(words, words);
    }

    /// Returns the trash of the bucket and that of the folder, sorted.
    pub(crate) fn trash(&self) -> [Vec<Vec<u8>>; 2] {
        [Root::trash(&self.bucket), Folder(self.bench.path("a")).trash()].map(|mut versions| {
            versions.sort();
            versions
        })
    }

    /// Runs the binary with these words, separated by spaces, and what it needs to reach the bucket.
    pub(crate) fn binary(&self, words: &str) -> Ran {
        let server = &self.bucket.server;
        let words: Vec<_> = words.split_whitespace().collect();
        let mut command = self.bench.command(&words);
        command.args(["--state-dir", "state", "--endpoint-url", &server.endpoint]);
        server.introduce(&mut command);
        Ran::of(&command.output().unwrap())
    }
}

/// Waits for what `begin` begins, on a thread and a runtime of its own.
pub(crate) fn wait<T: Send, F: Future<Output = T>>(begin: impl FnOnce() -> F + Send) -> T {
    let work = || tokio::runtime::Runtime::new().unwrap().block_on(begin());
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

pub(crate) fn sync(engine: &SyncEngine, pair: &SyncPair, options: SyncOptions) -> Result<Report> {
    wait(|| engine.sync_pair(pair, options))
}

/// Returns the codes of notices.
pub(crate) fn codes(notices: &[syncengine::notice::Notice]) -> Vec<&str> {
    notices.iter().map(|notice| notice.code.as_str()).collect()
}

pub(crate) fn refused(status: u16, code: &str) -> Disturbance {
    Disturbance::Refuse(status, code.into())
}

/// Returns options for one copy at a time.
pub(crate) fn one_by_one() -> SyncOptions {
    let mut options = SyncOptions::new();
    options.tuning.transfers = 1;
    options.tuning.requests = Some(1);
    options
}

/// A clock that moves only by what is slept, which takes no time.
#[derive(Debug, Default)]
pub(crate) struct Still(Arc<Mutex<Duration>>);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::new(1_700_000_000, 0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let slept = Arc::clone(&self.0);
        async move { *slept.lock().unwrap() += duration }.boxed()
    }
}

/// Keeps the events of a run, as documents.
#[derive(Debug, Default)]
struct Watcher(Mutex<Vec<serde_json::Value>>);

impl Observer for Watcher {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
}

impl Watcher {
    /// Returns the kinds of what was seen, in order.
    fn kinds(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        seen.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns what was done to which path, in order of the paths.
    fn done(&self) -> Vec<(String, String)> {
        let seen = self.0.lock().unwrap();
        let text = |event: &serde_json::Value, key: &str| event[key].as_str().unwrap().to_owned();
        let done = seen.iter().filter(|event| event["event"] == "done");
        let mut done: Vec<_> = done.map(|event| (text(event, "path"), text(event, "action"))).collect();
        done.sort();
        done
    }
}

/// Returns the numbers that stand behind `mark` at the beginnings of lines.
fn numbers<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = u32> + 'a {
    text.lines().filter_map(move |line| line.strip_prefix(mark)?.get(..2)?.parse().ok())
}

#[test]
fn every_fault_is_tested_or_argued_once() {
    let sources = [
        include_str!("hazards/broken_off.rs"),
        include_str!("hazards/contents.rs"),
        include_str!("hazards/deletions.rs"),
        include_str!("hazards/edits.rs"),
        include_str!("hazards/surface.rs"),
    ];
    let tested: Vec<u32> = sources.iter().flat_map(|source| numbers(source, "fn h")).collect();
    let argued: Vec<u32> = numbers(include_str!("../../docs/SEMANTICS.md"), "- H").collect();
    let all: BTreeSet<u32> = tested.iter().chain(&argued).copied().collect();
    assert_eq!(all, (1..=51).collect(), "tested {tested:?}, argued {argued:?}");
    assert_eq!(tested.len() + argued.len(), all.len(), "twice: tested {tested:?}, argued {argued:?}");
    println!("ci: hazards tested {}, argued {}", tested.len(), argued.len());
}
