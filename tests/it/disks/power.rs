//! What is durable when: disks that fail to make it so, and disks that lose power (F-02, F-08, I-37).

#[cfg(feature = "cli")]
use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "cli")]
use std::fs;
#[cfg(feature = "cli")]
use std::process::Command;

#[cfg(feature = "cli")]
use serde_json::Value;
use syncengine::client::local::{LocalClient, PublishRung};
use syncengine::client::{Listed, StorageClient};
use syncengine::{Outcome, SyncMode};

use super::{Pair, failed, names, write};
use crate::contract::{body, kept, key, target};
use crate::local::skip;
use crate::support::fuse::{Disk, Faults, in_own_mounts, plain};
#[cfg(feature = "cli")]
use crate::support::variable;
use crate::support::{Random, read_tree};

/// Writes `count` files in one batch; returns how many failed.
async fn write_all(client: &LocalClient, count: usize, text: &'static [u8]) -> usize {
    let mut staged = Vec::new();
    for number in 0..count {
        staged.push(client.stage(target(&format!("d/{number}"), None), body(text)).await.unwrap());
    }
    client.publish(staged).await.iter().filter(|result| result.is_err()).count()
}

/// F-08: a batch of which one file cannot be made durable fails as a whole, nothing of it shows, and nobody
/// asks the disk again for what it has forgotten.
#[test]
fn f08_i37_what_cannot_be_made_durable_fails_its_batch_and_is_written_anew() {
    if !in_own_mounts(
        "disks::power::f08_i37_what_cannot_be_made_durable_fails_its_batch_and_is_written_anew",
        skip,
    ) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut tried = 0;
    for count in [1, 2, 16, 17, 40] {
        for rung in [PublishRung::Exchange, PublishRung::HardLink, PublishRung::Rename] {
            let what = format!("{count} {rung:?}");
            let disk = Disk::new(plain, plain).mount();
            let client = LocalClient::open(&disk.path).unwrap().with_publish_rung(rung);
            disk.disk().faults.failing_syncs = 1;
            assert_eq!(runtime.block_on(write_all(&client, count, b"first")), count, "{what}");
            let shown = runtime.block_on(names(&client));
            assert!(shown.is_empty(), "{what}: nothing shows, no temporary is left: {shown:?}");
            // Names are durable only with their folder: a failure there is one too.
            disk.disk().faults.failing_folder_syncs = 1;
            assert_eq!(runtime.block_on(write_all(&client, count, b"second")), count, "{what}");
            for name in runtime.block_on(names(&client)) {
                runtime.block_on(async {
                    match client.head(&key(&name)).await.unwrap() {
                        Some(Listed::File(entry)) => {
                            client.remove(vec![entry], &kept()).await.remove(0).unwrap();
                        }
                        other => panic!("{what} {name} is {other:?}"),
                    }
                });
            }
            assert_eq!(runtime.block_on(write_all(&client, count, b"third")), 0, "{what}");
            disk.disk().come_back(&mut Random::new(8));
            let files = read_tree(&disk.path);
            assert_eq!(files.len(), count, "{what}: what was published is durable");
            assert!(files.values().all(|content| content == b"third"), "{what}: {files:?}");
            tried += 1;
        }
    }
    println!("ci: failures to make durable: {tried} batches of up to 40 files, for contents and for folders");
}

/// F-08 with the whole engine: what failed is in no row, and the next run does it again.
#[test]
fn f08_a_run_on_a_disk_that_fails_records_nothing_and_the_next_one_makes_it_good() {
    if !in_own_mounts(
        "disks::power::f08_a_run_on_a_disk_that_fails_records_nothing_and_the_next_one_makes_it_good",
        skip,
    ) {
        return;
    }
    for (failing_syncs, failing_folder_syncs) in [(1, 0), (3, 0), (5, 0), (0, 1), (0, 3), (0, 5)] {
        let what = format!("{failing_syncs} {failing_folder_syncs}");
        let pair = Pair::new(Disk::new(plain, plain), SyncMode::TwoWay);
        for name in ["a", "d/b", "d/c"] {
            write(&pair.usual(), name, name);
        }
        pair.disk.disk().settle();
        pair.disk.disk().faults = Faults { failing_syncs, failing_folder_syncs, ..Faults::default() };
        let report = pair.sync();
        if report.outcome == Outcome::Synced {
            // It failed where trying again made it good: then what the run says it did is durable.
            pair.disk.disk().come_back(&mut Random::new(1));
            assert_eq!(read_tree(&pair.on_disk()), read_tree(&pair.usual()), "{what}");
        } else {
            assert_eq!(report.outcome, Outcome::Partial, "{what}: {report:?}");
            assert!(!failed(&report).is_empty(), "{what}: {report:?}");
        }
        pair.disk.disk().faults = Faults::default();
        let report = pair.sync();
        assert_eq!(
            (report.outcome, report.counts.deleted_source),
            (Outcome::Synced, 0),
            "{what}: {report:?}"
        );
        pair.disk.disk().come_back(&mut Random::new(1));
        assert_eq!(read_tree(&pair.on_disk()), read_tree(&pair.usual()), "{what}");
    }
}

/// Two trees and their state on one disk.
#[cfg(feature = "cli")]
struct OneDisk {
    disk: crate::support::fuse::Mounted,
}

#[cfg(feature = "cli")]
impl OneDisk {
    /// Runs the program, which ends with the power as any process does; `None` if it ended without a report.
    fn sync(&self) -> Option<Value> {
        let program = env!("CARGO_BIN_EXE_syncengine");
        let words = ["sync", "a", "b", "--state-dir", "state", "--output", "json"];
        let output = Command::new(program).args(words).current_dir(&self.disk.path).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Synced once, then edited on both sides, all of it long ago.
    fn new() -> Self {
        let world = Self { disk: Disk::new(plain, plain).mount() };
        let (source, destination) = (world.disk.folder("a"), world.disk.folder("b"));
        for number in 0..12 {
            write(&source, &format!("d{}/{number}", number % 3), &format!("old {number}"));
        }
        assert_eq!(world.sync().unwrap()["outcome"], "synced");
        for number in 0..4 {
            write(&source, &format!("d{}/{number}", number % 3), &format!("edited at source {number}"));
            write(&destination, &format!("new/{number}"), &format!("added at destination {number}"));
            let name = format!("d{}/{}", (number + 4) % 3, number + 4);
            write(&destination, &name, &format!("edited at destination {number}"));
        }
        fs::remove_file(source.join("d2/8")).unwrap();
        fs::remove_file(destination.join("d0/9")).unwrap();
        fs::rename(source.join("d1/10"), source.join("d1/renamed")).unwrap();
        world.disk.disk().settle();
        world
    }

    fn contents(&self, side: &str) -> BTreeMap<String, Vec<u8>> {
        let files = self.disk.disk().files(side);
        files.into_iter().filter(|(name, _)| !name.contains(".syncengine")).collect()
    }
}

/// F-02: both trees and the state on one disk, whose power fails after every so many changes of a run. Then no
/// file is torn, nothing is in the base that is not on the disk, and the next run ends where an undisturbed one does.
#[cfg(feature = "cli")]
#[test]
fn f02_i23_i37_a_power_cut_at_any_moment_costs_nothing() {
    if !in_own_mounts("disks::power::f02_i23_i37_a_power_cut_at_any_moment_costs_nothing", skip) {
        return;
    }
    let cuts: u64 = variable("SYNCENGINE_POWER_CUTS").map_or(40, |text| text.parse().unwrap());
    let undisturbed = OneDisk::new();
    let before = undisturbed.disk.disk().changes;
    undisturbed.sync().unwrap();
    let changes = undisturbed.disk.disk().changes - before;
    let expected = undisturbed.contents("a");
    assert_eq!(expected, undisturbed.contents("b"));
    let (mut within, mut lost_states) = (0, 0);
    for cut in 0..cuts {
        let world = OneDisk::new();
        let known: BTreeSet<Vec<u8>> =
            ["a", "b"].iter().flat_map(|side| world.contents(side).into_values()).collect();
        world.disk.disk().faults.power_for = Some(1 + cut * changes / cuts);
        let ended = world.sync();
        within += u64::from(ended.is_none_or(|report| report["outcome"] != "synced"));
        world.disk.disk().come_back(&mut Random::new(cut + 1));
        for side in ["a", "b"] {
            for (name, content) in world.contents(side) {
                assert!(known.contains(&content), "cut {cut}: {side}/{name} is torn: {content:?}");
            }
        }
        let report = world.sync().unwrap();
        let is_lost =
            report["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "state-lost");
        lost_states += u64::from(is_lost);
        assert_eq!(report["outcome"], "synced", "cut {cut}: {report}");
        let found = world.contents("a");
        assert_eq!(found, world.contents("b"), "cut {cut}");
        if is_lost {
            // Then deletions are forgotten, and nothing else.
            for (name, content) in &expected {
                assert_eq!(found.get(name), Some(content), "cut {cut}: {name} {report}");
            }
        } else {
            assert_eq!(found, expected, "cut {cut}: {report}");
        }
        let counts = &world.sync().unwrap()["counts"];
        for count in ["uploaded", "downloaded", "failed"] {
            assert_eq!(counts[count], 0, "cut {cut}: {counts}");
        }
    }
    println!("ci: power cuts: {cuts}, {within} of them within a run, {lost_states} cost the state");
    assert!(within * 2 > cuts, "only {within} of {cuts} cuts hit a run");
}
