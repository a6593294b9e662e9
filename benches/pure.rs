//! Speed of the parts without input or output: `cargo bench`. Prints nanoseconds per item.
//!
//! Plain loops over fixed inputs, best of three, so that two runs on one machine can be compared. Not a test:
//! nothing here fails on a slow machine.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::hint::black_box;
use std::time::Duration;

use futures::{StreamExt, stream};
use syncengine::client::Listed;
use syncengine::diff::{Diff, Found};
use syncengine::filter::layers::Layers;
use syncengine::filter::{Filter, Rules};
use syncengine::fingerprint::{ETag, Fingerprint, HashForm, Hasher};
use syncengine::plan::{Base, Facts, Policy, Sight, decide::decide};
use syncengine::state::{Agreed, BaseRow};
use syncengine::{ConflictStrategy, Entry, Key, Result, Side, Sides, SyncMode, Timestamp};

const FACTS: u32 = 1_000_000;
const ENTRIES: u32 = 1_000_000;
const KEYS: u32 = 100_000;
const HASHED_MEBIBYTES: u32 = 64;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    decisions();
    diff()?;
    filter()?;
    hasher();
    Ok(())
}

/// Returns the shortest of a few rounds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn best(mut round: impl FnMut()) -> Duration {
    let one = || {
        let start = std::time::Instant::now();
        round();
        start.elapsed()
    };
    std::iter::repeat_with(one).take(ROUNDS).min().unwrap_or_default()
}

fn tell(what: &str, items: u32, time: Duration) {
    println!("{what:<40} {:>9.1} ns", time.as_secs_f64() * 1e9 / f64::from(items));
}

fn decisions() {
    let mut cases = Vec::new();
    let sights = [Sight::Same, Sight::Touched, Sight::Changed, Sight::New, Sight::Absent, Sight::Unknown];
    for mode in SyncMode::ALL {
        for source in sights {
            for destination in sights {
                for base in [Base::None, Base::Agreed, Base::Tombstone] {
                    let facts = Facts { base, source, destination, equal: false, newer: Some(Side::Source) };
                    let conflict = ConflictStrategy::NewestWins;
                    cases
                        .push((facts, Policy { mode: *mode, pull: true, conflict, first_sync_winner: None }));
                }
            }
        }
    }
    let time = best(|| {
        for (facts, policy) in cases.iter().cycle().take(FACTS as usize) {
            black_box(decide(black_box(*facts), *policy));
        }
    });
    tell("decide, per path", FACTS, time);
}

fn key(index: u32) -> Key {
    // Fixed width, so that the numbers are in the order of their bytes.
    let name = format!("folder-{:04}/file-{index:08}.dat", index / 1000);
    Key::parse(&name).unwrap_or_else(|error| unreachable!("{name}: {error}"))
}

fn entry(key: &Key) -> Entry {
    let fingerprint = Fingerprint::Object(ETag::new("900150983cd24fb0d6963f7d28e17f72"));
    Entry {
        key: key.clone(),
        size: 3,
        modified: Some(Timestamp::new(1_700_000_000, 0)),
        stored: None,
        fingerprint,
    }
}

fn diff() -> Result<()> {
    let entries: Vec<Entry> = (0..ENTRIES).map(|index| entry(&key(index))).collect();
    let list = || stream::iter(entries.iter().map(|entry| Ok(Listed::File(entry.clone())))).boxed();
    let row = |entry: &Entry| {
        let seen = Sides::new(entry.fingerprint.clone(), entry.fingerprint.clone());
        (entry.key.clone(), BaseRow::Agreed(Agreed::new(entry.size, None, seen)))
    };
    let mut result = Ok(());
    let time = best(|| {
        let base = stream::iter(entries.iter().map(|entry| Ok(row(entry)))).boxed();
        let mut diff = Diff::new(list(), list(), base, Layers::default());
        result = futures::executor::block_on(async {
            while let Some(found) = diff.next().await? {
                debug_assert!(matches!(found, Found::Path(_)));
                black_box(found);
            }
            Ok(())
        });
    });
    tell("diff of three equal trees, per path", ENTRIES, time);
    result
}

fn filter() -> Result<(), Box<dyn std::error::Error>> {
    let mut rules = Rules::default();
    for line in [
        "*.tmp",
        "*.swp",
        "*~",
        ".DS_Store",
        "target/",
        "node_modules/",
        "build/",
        "!build/keep/",
        "*.o",
        "*.pyc",
        "__pycache__/",
        "/dist",
        "logs/**/*.log",
        "*.bak",
        ".cache/",
        "doc/*.html",
        "!doc/index.html",
        "core",
        "a?c[0-9]",
        "**/generated/*",
    ] {
        rules.push(line)?;
    }
    let keys: Vec<Key> = (0..KEYS).map(key).collect();
    let time = best(|| {
        let mut filter = Filter::new(rules.clone());
        let excluded = keys.iter().filter(|key| filter.excludes(key)).count();
        black_box(excluded);
    });
    tell("filter with 20 rules, per key", KEYS, time);
    Ok(())
}

fn hasher() {
    let bytes = vec![0x5a_u8; HASHED_MEBIBYTES as usize * 1024 * 1024];
    for (what, form) in [("whole", HashForm::Whole), ("parts of 8 MiB", HashForm::Parts(8 * 1024 * 1024))] {
        let time = best(|| {
            let mut hasher = Hasher::new(form);
            bytes.chunks(256 * 1024).for_each(|chunk| hasher.update(chunk));
            black_box(hasher.finish());
        });
        let count = f64::from(HASHED_MEBIBYTES) * 1024.0 * 1024.0;
        let seconds = time.as_secs_f64();
        let (per_byte, rate) = (seconds * 1e9 / count, count / seconds / 1e6);
        println!("{:<40} {per_byte:>9.3} ns ({rate:.0} MB/s)", format!("hash, {what}, per byte"));
    }
}
