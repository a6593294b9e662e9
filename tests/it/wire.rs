//! Lives of a folder and a store over the real client: the requests of the SDK end in a model of S3 that lies, forgets to
//! answer, and has other users, who may act between any two requests.
//!
//! The judge knows what a user knows: what was written, what was replaced or deleted by whom, and what a run said.

use std::collections::BTreeMap;
use std::sync::Arc;
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
mod store;
mod world;

use world::{Weather, World};

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
    ("deeds that nothing guards", 10),
];

/// The clock of the machine: that of the runtime, which passes while everybody waits.
#[derive(Debug)]
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        let passed = self.0.elapsed();
        Timestamp::new(1_700_000_000 + i64::try_from(passed.as_secs()).unwrap(), passed.subsec_nanos())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
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
        let setup = Setup { multipart_threshold: Some(64), memory_dir, ..Setup::new(ports) };
        Arc::new(S3Client::over(http, Bucket { name: "vault".into(), prefix: "p/".into() }, setup))
    }

    /// Runs once; `None` if the machine died on the way.
    async fn run(&self) -> Option<(Report, syncengine::Result<()>)> {
        {
            let mut world = self.world.inner();
            (world.effects, world.lied, world.touched) = (0, 0, 0);
            world.tell(|| "run".into());
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
        tokio::select! {
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
        }
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
}

fn live(seed: u64, is_told: bool) -> Lived {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed, is_told);
        let (is_opaque, conflict) = {
            let mut inner = world.inner();
            let strategies = [ConflictStrategy::NewestWins, ConflictStrategy::KeepBoth];
            let conflict = *inner.chance.pick(&strategies);
            (inner.store.is_opaque, conflict)
        };
        let machine = Machine {
            world: world.clone(),
            state: Arc::new(MemoryState::new()),
            clock: Arc::new(Paused(tokio::time::Instant::now())),
            entropy: Arc::new(Seeded(std::sync::Mutex::new(Random::new(seed)))),
            conflict,
            compare: if is_opaque { ComparisonMode::HashOnly } else { ComparisonMode::default() },
            memory: tempfile::tempdir().unwrap(),
        };
        if is_opaque {
            // Before anything was written to it nobody knows what its ETags are.
            world.inner().write("first");
            machine.rest().await;
        }
        let steps = 2 + world.inner().chance.below(3);
        for _ in 0..steps {
            {
                let mut inner = world.inner();
                for _ in 0..inner.chance.below(5) {
                    inner.act();
                }
                let chance = &mut inner.chance;
                inner.weather = Weather {
                    lies: *chance.pick(&[0, 50, 150]),
                    users: *chance.pick(&[0, 0, 40]),
                    lost: *chance.pick(&[0, 0, 30]),
                    trouble: *chance.pick(&[0, 0, 30]),
                    stale: *chance.pick(&[0, 0, 100]),
                };
                let dies = inner.chance.below(3) == 0;
                let later = 1 + u64::try_from(inner.chance.below(60)).unwrap();
                inner.dies_at = dies.then_some(inner.requests + later);
                inner.is_dead = false;
            }
            machine.run().await;
            world.inner().judge();
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
        Lived {
            kinds: std::mem::take(&mut inner.kinds),
            broken: std::mem::take(&mut inner.broken),
            log: inner.log.take().unwrap_or_default(),
        }
    })
}

fn number(name: &str) -> Option<u64> {
    Some(variable(name)?.parse().unwrap())
}

#[test]
fn lives_over_the_real_client_break_no_promise() {
    let seeds = if let Some(seed) = number("SYNCENGINE_SEED") {
        seed..seed + 1
    } else {
        let first = number("SYNCENGINE_FIRST_SEED").unwrap_or(0);
        first..first + number("SYNCENGINE_SEEDS").unwrap_or(300)
    };
    let (mut kinds, mut failures) = (BTreeMap::<&str, u64>::new(), Vec::new());
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let lived = live(seed, false);
        for (kind, count) in lived.kinds {
            *kinds.entry(kind).or_default() += count;
        }
        if !lived.broken.is_empty() {
            let log = if number("SYNCENGINE_SEED").is_some() {
                live(seed, true).log.join("\n")
            } else {
                String::new()
            };
            failures.push(format!("{log}\nseed {seed}: {}", lived.broken.join("\n")));
        }
        if failures.len() > 20 {
            break;
        }
    }
    let told: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("ci: lives over the real client: {count} seeds, {}", told.join(", "));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for (kind, least) in IMPORTANT {
        let found = kinds.get(kind).copied().unwrap_or(0);
        assert!(count < 300 || found >= least * count / 1000, "only {found} {kind} in {count} lives");
    }
}
