//! Lives of a folder and a store over the real client: the requests of the SDK end in a model of S3 that lies, forgets to
//! answer, and has other users, who may act between any two requests.
//!
//! The judge knows what a user knows: what was written, what was replaced or deleted by whom, and what a run said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector, http_client_fn};
use futures::future::{BoxFuture, FutureExt};
use syncengine::client::s3::{Ports, S3Client, Setup};
use syncengine::clock::{Clock, Entropy};
use syncengine::code::FailureCode;
use syncengine::location::Bucket;
use syncengine::state::Found;
use syncengine::state::memory::MemoryState;
use syncengine::{
    ComparisonMode, ConflictStrategy, Outcome, Report, StorageClient, SyncController, SyncEngine,
    SyncOptions, SyncPair, Timestamp,
};

use crate::support::{Random, variable};

mod http;
mod judge;
mod store;
mod users;
mod world;

use world::{Weather, Weighing, World};

/// What must have happened in any 1,000 lives, and in fewer in proportion.
const IMPORTANT: &[(&str, u64)] = &[
    ("PUTs that did nothing", 15),
    ("PUTs of other bytes", 5),
    ("PUTs cut short", 5),
    ("copies that were not made", 5),
    ("copies of other bytes", 3),
    ("copies cut short", 3),
    ("parts that are not what was sent", 10),
    ("uploads that were not completed", 15),
    ("deletions that did nothing", 40),
    ("deeds in the store", 1000),
    ("deeds in the folder", 1000),
    ("lost answers", 200),
    ("refusals that pass", 200),
    ("stale listings", 500),
    ("kills", 150),
    ("runs that said synced", 2000),
    ("failures that were told", 5),
    ("deeds that nothing guards", 1),
    ("deeds while the machine waits", 20),
    ("PUTs that came late", 10),
    ("PUTs that came twice", 10),
    ("copies that came late", 3),
    ("copies that came twice", 3),
    ("deletions that came late", 3),
    ("deletions that came twice", 3),
    ("GETs of other bytes", 10),
    ("GETs cut short", 10),
    ("clocks years off", 100),
];

/// Seeds that once broke a promise, each by a fault that nothing else here finds.
const REGRESSIONS: &[u64] = &[180, 862, 912, 995, 20_562];

/// One of so many lives is lived again, to see whether one of its events mattered.
const WEIGHED_OF: u64 = 4;

/// The clock of the machine: that of the runtime, which passes while everybody waits. It can be years off.
#[derive(Debug)]
struct Paused {
    begun: tokio::time::Instant,
    seconds_off: AtomicI64,
}

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        let (passed, off) = (self.begun.elapsed(), self.seconds_off.load(Ordering::Relaxed));
        Timestamp::new(1_700_000_000 + off + i64::try_from(passed.as_secs()).unwrap(), passed.subsec_nanos())
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

#[derive(Debug)]
struct Seeded(std::sync::Mutex<Random>);

impl Entropy for Seeded {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap().next()
    }
}

/// A machine with its state.
struct Machine {
    world: World,
    state: Arc<MemoryState>,
    clock: Arc<Paused>,
    entropy: Arc<Seeded>,
    conflict: ConflictStrategy,
    compare: ComparisonMode,
    /// What is remembered of the store.
    memory: tempfile::TempDir,
}

impl Machine {
    fn client(&self) -> Arc<dyn StorageClient> {
        let connector = SharedHttpConnector::new(self.world.clone());
        let http: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
        let ports = Ports {
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&self.entropy) as _,
            control: SyncController::new(),
        };
        let memory_dir = Some(self.memory.path().to_owned());
        let setup = Setup { multipart_threshold: Some(64), memory_dir, may_ask: true, ..Setup::new(ports) };
        Arc::new(S3Client::over(http, Bucket { name: "vault".into(), prefix: "p/".into() }, setup))
    }

    /// Runs once; `None` if the machine died on the way.
    async fn run(&self) -> Option<(Report, syncengine::Result<()>)> {
        {
            let mut world = self.world.inner();
            world.effects = 0;
            world.tell(|| {
                format!("run, by a clock that is {} s off", self.clock.seconds_off.load(Ordering::Relaxed))
            });
        }
        let engine =
            SyncEngine::new("unused").ports(Arc::clone(&self.clock) as _, Arc::clone(&self.entropy) as _);
        let engine = engine.state(Arc::clone(&self.state) as _, Found::Nothing);
        let folder = Arc::clone(&self.world.inner().folder);
        let pair =
            SyncPair::with_clients(folder, self.client()).conflict(self.conflict).compare(self.compare);
        let mut options = SyncOptions::new();
        (options.allow_empty_side, options.allow_mass_delete) = (true, true);
        let run = Box::pin(engine.run(&pair, options));
        let death = async {
            while !self.world.inner().is_dead {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::select! {
            ended = run => {
                let mut world = self.world.inner();
                let (report, result) = &ended;
                if report.outcome == Outcome::Synced {
                    world.note("runs that said synced");
                }
                if !report.failures.is_empty() {
                    world.note("failures that were told");
                }
                world.tell(|| format!("ended {:?} {:?} {:?} {result:?}", report.outcome, report.counts, report.failures));
                Some(ended)
            }
            () = death => {
                let mut world = self.world.inner();
                world.note("kills");
                world.tell(|| "killed".into());
                None
            }
        };
        // What is done only after a whole later run nobody can wait for.
        self.world.inner().do_late(u64::MAX);
        ended
    }

    fn new(seed: u64, world: &World) -> Self {
        let mut inner = world.inner();
        let conflict = *inner.chance.pick(&[ConflictStrategy::NewestWins, ConflictStrategy::KeepBoth]);
        // A weaker comparison is the user's word for that other content is none.
        let compare = *inner.chance.pick(&[ComparisonMode::HashOnly, ComparisonMode::HashThenMtime]);
        inner.compares_by_time = compare == ComparisonMode::HashThenMtime;
        Self {
            world: world.clone(),
            state: Arc::new(MemoryState::new()),
            clock: Arc::new(Paused { begun: tokio::time::Instant::now(), seconds_off: AtomicI64::default() }),
            entropy: Arc::new(Seeded(std::sync::Mutex::new(Random::new(seed)))),
            conflict,
            compare,
            memory: tempfile::tempdir().unwrap(),
        }
    }

    /// Draws what users do before the next run, and what befalls it.
    fn draw(&self) {
        let mut world = self.world.inner();
        for _ in 0..world.chance.below(5) {
            world.act(None);
        }
        let chance = &mut world.chance;
        let weather = Weather {
            lies: *chance.pick(&[0, 50, 150]),
            users: *chance.pick(&[0, 0, 40]),
            lost: *chance.pick(&[0, 0, 30]),
            trouble: *chance.pick(&[0, 0, 30, 100]),
            stale: *chance.pick(&[0, 0, 100]),
        };
        let dies = chance.below(3) == 0;
        let later = 1 + u64::try_from(chance.below(60)).unwrap();
        let years = if chance.below(8) == 0 { *chance.pick(&[-3, -1, 1, 3]) } else { 0 };
        world.weather = weather;
        world.dies_at = dies.then_some(world.requests + later);
        world.is_dead = false;
        if years != 0 {
            world.note("clocks years off");
        }
        self.clock.seconds_off.store(years * 365 * 86_400, Ordering::Relaxed);
    }

    /// Lets everything come to rest, without lies and users.
    async fn rest(&self) {
        {
            let mut world = self.world.inner();
            (world.weather, world.dies_at, world.is_dead, world.store.earlier) =
                (Weather::default(), None, false, None);
        }
        for _ in 0..8 {
            let Some((report, _)) = self.run().await else { return };
            let mut world = self.world.inner();
            world.judge();
            if report.outcome == Outcome::Synced && world.effects == 0 {
                world.judge_peace();
                return;
            }
            if report.failures.is_empty() && report.counts.unresolved > 0 {
                world.settle();
            }
            // What the store did not keep is sent again when somebody changes it; a conflict is for the user.
            for failure in &report.failures {
                let waits = matches!(failure.code, FailureCode::Vanished | FailureCode::Corrupt);
                if waits {
                    world.edit(&failure.path);
                }
            }
        }
        let mut world = self.world.inner();
        world.broken.push("it does not come to rest in 8 runs".into());
    }
}

/// What a life came to.
struct Lived {
    kinds: BTreeMap<&'static str, u64>,
    broken: Vec<String>,
    log: Vec<String>,
    weighing: Weighing,
    /// What a user of both sides knows in the end, and was told before.
    known: String,
}

fn live(seed: u64, is_told: bool, weighing: Weighing) -> Lived {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed, is_told, weighing);
        let machine = Machine::new(seed, &world);
        if world.inner().store.is_opaque {
            // Before anything was written to it nobody knows what its ETags are.
            world.inner().write("first");
            machine.rest().await;
        }
        let mut known = String::new();
        let steps = 2 + world.inner().chance.below(3);
        for _ in 0..steps {
            machine.draw();
            let ended = machine.run().await;
            machine.clock.seconds_off.store(0, Ordering::Relaxed);
            world.inner().judge();
            if world.inner().weighing.has_come {
                let told = |(report, result): (Report, _)| {
                    let failures = report.failures.iter().map(|failure| failure.code);
                    format!(
                        "{:?} {:?} {:?} {result:?}",
                        report.outcome,
                        report.counts,
                        failures.collect::<Vec<_>>()
                    )
                };
                known = ended.map(told).unwrap_or_default();
                break;
            }
            if world.inner().chance.below(2) == 0 {
                machine.rest().await;
            }
            if !world.inner().broken.is_empty() {
                break;
            }
        }
        if world.inner().broken.is_empty() {
            machine.rest().await;
        }
        let mut inner = world.inner();
        known += &inner.known();
        Lived {
            kinds: std::mem::take(&mut inner.kinds),
            broken: std::mem::take(&mut inner.broken),
            log: inner.log.take().unwrap_or_default(),
            weighing: inner.weighing,
            known,
        }
    })
}

/// Holds one event of a life against the same life without it. Returns what it was, and whether it mattered.
fn weigh(seed: u64, events: u64) -> Option<(&'static str, bool)> {
    let event = 1 + Random::new(seed).next() % events.max(1);
    let [with, without] = [true, false]
        .map(|happens| live(seed, false, Weighing { at: Some((event, happens)), ..Weighing::default() }));
    Some((with.weighing.kind?, with.known != without.known))
}

fn number(name: &str) -> Option<u64> {
    Some(variable(name)?.parse().unwrap())
}

#[test]
fn lives_over_the_real_client_break_no_promise() {
    let seeds: Vec<u64> = if let Some(seed) = number("SYNCENGINE_SEED") {
        vec![seed]
    } else {
        let first = number("SYNCENGINE_FIRST_SEED").unwrap_or(0);
        REGRESSIONS.iter().copied().chain(first..first + number("SYNCENGINE_SEEDS").unwrap_or(300)).collect()
    };
    let (mut kinds, mut failures) = (BTreeMap::<&str, u64>::new(), Vec::new());
    let mut weighed = BTreeMap::<&str, (u64, u64)>::new();
    let count = seeds.len() as u64;
    for seed in seeds {
        let lived = live(seed, false, Weighing::default());
        if seed % WEIGHED_OF == 0
            && let Some((kind, mattered)) = weigh(seed, lived.weighing.events)
        {
            let (all, those) = weighed.entry(kind).or_default();
            (*all, *those) = (*all + 1, *those + u64::from(mattered));
        }
        for (kind, count) in lived.kinds {
            *kinds.entry(kind).or_default() += count;
        }
        if !lived.broken.is_empty() {
            let log = if number("SYNCENGINE_SEED").is_some() {
                live(seed, true, Weighing::default()).log.join("\n")
            } else {
                String::new()
            };
            failures.push(format!("{log}\nseed {seed}: {}", lived.broken.join("\n")));
        }
        if failures.len() > 20 {
            break;
        }
    }
    let told = kinds.iter().map(|(kind, count)| {
        let of = weighed.get(kind).map(|(all, those)| format!(" ({those} of {all} weighed mattered)"));
        format!("{count} {kind}{}", of.unwrap_or_default())
    });
    let told: Vec<String> = told.collect();
    println!("ci: lives over the real client: {count} seeds, {}", told.join(", "));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for (kind, least) in IMPORTANT {
        let found = kinds.get(kind).copied().unwrap_or(0);
        assert!(count < 300 || found >= least * count / 1000, "only {found} {kind} in {count} lives");
    }
}

/// However many files there are to send, a run ends once a store has taken none of them for as long as is spent on one, or does
/// not answer what it can do.
#[test]
fn a_run_in_which_a_store_takes_nothing_ends() {
    let refusals: [fn(&str) -> bool; 2] =
        [|name| !name.starts_with("p/.syncengine/"), |name| name.starts_with("p/.syncengine/probe/")];
    for refuses in refusals {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new(1, false, Weighing::default());
            let machine = Machine::new(1, &world);
            for number in 0..300 {
                world.inner().write(&format!("file {number}"));
            }
            world.inner().refuses = refuses;
            let (report, result) = machine.run().await.unwrap();
            let minutes = machine.clock.monotonic().as_secs() / 60;
            assert_eq!((report.counts.failed, result.is_ok()), (300, true), "{result:?}");
            assert!((1..30).contains(&minutes), "{minutes} minutes");
            world.inner().refuses = |_| false;
            let (report, _) = machine.run().await.unwrap();
            assert_eq!((report.counts.uploaded, report.outcome), (300, Outcome::Synced));
        });
    }
}
