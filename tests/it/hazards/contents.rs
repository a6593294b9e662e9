//! How contents are told apart: hashes, stores that have none, and what is read for it.

use std::fs;
use std::process::Command;

use syncengine::embedded::Disturbance;
use syncengine::{ComparisonMode, Outcome, SyncMode, Timestamp};

use super::Meddled;
use crate::bad_input::skip;
use crate::support::bench::Bench;
use crate::support::set_modified;

const MIB: usize = 1024 * 1024;

/// Writes an object whose ETag says nothing of its content, as no tool cuts parts like these; returns that.
fn put_without_hash(world: &Meddled, name: &str, fill: u8, second: i64) -> Vec<u8> {
    let parts = [vec![fill; 5 * MIB + 4321], vec![fill; 1234]];
    world.bucket.put_in_parts(name, &parts, Timestamp::new(second, 0));
    parts.concat()
}

/// Writes a file of such a size at the source; returns it.
fn write_same_size(world: &Meddled, name: &str, fill: u8, second: i64) -> Vec<u8> {
    let content = vec![fill; 5 * MIB + 4321 + 1234];
    let path = world.bench.path("a").join(name);
    fs::write(&path, &content).unwrap();
    set_modified(&path, Timestamp::new(second, 0));
    content
}

#[test]
fn h34_where_no_hash_is_known_the_times_are_compared() {
    for (here, there) in [(2000, 1000), (1000, 2000)] {
        let world = Meddled::new();
        let ours = write_same_size(&world, "f", b'a', here);
        let theirs = put_without_hash(&world, "f", b'b', there);
        let report = world.with(|pair| pair.compare(ComparisonMode::HashThenMtime));
        assert_eq!((report.outcome, report.counts.conflicts), (Outcome::Synced, 1));
        let winner = if here > there { ours } else { theirs };
        assert!(world.folder()["f"] == winner && world.bucket.get("f") == winner, "the newer one");
    }
}

#[test]
fn h35_a_file_of_which_the_store_knows_no_hash_can_be_downloaded() {
    for compare in [ComparisonMode::SizeOnly, ComparisonMode::HashThenMtime] {
        let world = Meddled::new();
        let content = put_without_hash(&world, "f", b'x', 1000);
        let report = world.with(|pair| pair.mode(SyncMode::DestinationToSource).compare(compare));
        assert_eq!((report.outcome, report.counts.downloaded), (Outcome::Synced, 1), "{compare}");
        assert!(world.folder()["f"] == content, "{compare}");
    }
}

#[test]
fn h36_a_version_tag_that_is_no_hash_makes_no_change() {
    let world = Meddled::new();
    put_without_hash(&world, "f", b'x', 1000);
    world.sync();
    for &compare in ComparisonMode::ALL {
        world.calm();
        let report = world.with(|pair| pair.compare(compare));
        assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Synced, 1), "{compare}");
        let moved = world.asked("GetObject") + world.asked("PutObject") + world.asked("CopyObject");
        assert_eq!(moved, 0, "{compare}");
    }
}

#[test]
fn h47_by_hash_alone_a_file_without_one_is_read_and_the_run_goes_on() {
    for (fill, conflicts) in [(b'x', 0), (b'y', 1)] {
        let world = Meddled::new();
        world.act("a write first 1; b write last 2");
        write_same_size(&world, "f", fill, 2000);
        put_without_hash(&world, "f", b'x', 1000);
        let hash_only = |world: &Meddled| world.with(|pair| pair.compare(ComparisonMode::HashOnly));
        let report = hash_only(&world);
        assert_eq!((report.outcome, report.counts.conflicts), (Outcome::Synced, conflicts));
        assert_eq!((report.counts.uploaded, report.counts.downloaded), (1 + conflicts, 1));
        assert_eq!(hash_only(&world).counts.unchanged, 3, "all of it was remembered");
    }
}

/// Makes a file of zeros that takes no room.
fn hollow(bench: &Bench, name: &str, mebibytes: usize, second: i64) {
    let size = u64::try_from(mebibytes * MIB).unwrap();
    fs::File::create(bench.path(name)).unwrap().set_len(size).unwrap();
    set_modified(&bench.path(name), Timestamp::new(second, 0));
}

#[test]
fn h48_large_files_are_hashed_piece_by_piece() {
    const MEBIBYTES: usize = 256;
    let bench = Bench::new();
    hollow(&bench, "a/f", MEBIBYTES, 1000);
    hollow(&bench, "b/f", MEBIBYTES, 2000);
    let (code, report) = bench.json(&["sync", "a", "b", "--state-dir", "state", "--compare", "hash-only"]);
    assert_eq!((code, &report["counts"]["unchanged"]), (0, &1.into()), "{report}");
    let peak = report["peak_memory_bytes"].as_u64().unwrap();
    if peak == 0 {
        return skip("the system does not tell how much memory a process used");
    }
    assert!(peak < u64::try_from(MEBIBYTES * MIB / 2).unwrap(), "{peak} bytes");
}

/// Runs a sync of `a` with a bucket and returns how many bytes it read, if the system tells.
fn bytes_read(bench: &Bench) -> Option<u64> {
    // The counts of a process take in those of the children it has waited for.
    let script = "\"$0\" sync a embedded://vault --embedded-dir server --state-dir state --quiet || exit 9; \
        cat /proc/$$/io";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_syncengine")]).current_dir(bench.dir.path());
    let output = command.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
    assert_ne!(output.status.code(), Some(9), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
}

#[test]
fn h49_an_unchanged_file_is_not_read_again() {
    const MEBIBYTES: usize = 32;
    let bench = Bench::new();
    hollow(&bench, "a/f", MEBIBYTES, 1000);
    let whole = u64::try_from(MEBIBYTES * MIB).unwrap();
    let Some(first) = bytes_read(&bench) else {
        return skip("the system does not tell how much a process reads");
    };
    assert!(first >= whole, "{first} bytes: the upload reads the file");
    // A file that was changed a moment before it was looked at is read once more.
    bytes_read(&bench).unwrap();
    let later = bytes_read(&bench).unwrap();
    assert!(later < whole / 4, "{later} bytes");
}

/// Nobody has written there, so nobody has asked what its ETags are made of: those that fit say it.
#[test]
fn two_damaged_downloads_among_good_ones_are_damaged() {
    let world = Meddled::new();
    world.act("b write a 1; b write b 2; b write c 3; b write d 4");
    world.meddle(|operation, key| match operation {
        "GetObject" if key.ends_with('a') || key.ends_with('b') => Disturbance::Flip(0),
        _ => Disturbance::Pass,
    });
    let report = world.mode(SyncMode::DestinationToSource);
    assert_eq!(report.counts.failed, 2, "{report:?}");
    world.calm();
    world.has("c=3 d=4", "a=1 b=2 c=3 d=4");
    world.mode(SyncMode::DestinationToSource);
    world.agrees("a=1 b=2 c=3 d=4");
}

/// What a store garbles on its first day, what it is asked included, shows nothing of its ETags.
#[test]
fn a_store_that_garbles_from_its_first_day_is_noticed() {
    let world = Meddled::new();
    world.act("a write f first");
    world.meddle_with_ours(|operation, _| match operation {
        "PutObject" => Disturbance::Corrupt(0),
        _ => Disturbance::Pass,
    });
    let report = world.sync();
    assert_eq!(report.counts.failed, 1, "{report:?}");
    world.calm();
    world.sync();
    world.agrees("f=first");
}

/// What ETags are made of is learnt from several files, and counts for one that comes alone.
#[test]
fn what_was_learnt_of_etags_is_not_forgotten_by_the_next_run() {
    let world = Meddled::new();
    world.act("b write a 1; b write b 2; b write c 3");
    // Bytes that come otherwise each time they are read have another ETag than that of their content.
    world.meddle(|operation, _| match operation {
        "GetObject" => Disturbance::Flip(0),
        _ => Disturbance::Pass,
    });
    for _ in 0..2 {
        world.mode(SyncMode::DestinationToSource);
    }
    world.act("b write d 4");
    let report = world.mode(SyncMode::DestinationToSource);
    assert_eq!((report.counts.downloaded, report.counts.failed), (1, 0), "{report:?}");
}

/// And that they are hashes: whatever comes otherwise later is damaged, however much of it.
#[test]
fn what_was_seen_to_be_a_hash_is_one_in_the_next_run_too() {
    let world = Meddled::new();
    world.act("b write a 1; b write b 2; b write c 3");
    let report = world.mode(SyncMode::DestinationToSource);
    assert_eq!((report.counts.downloaded, report.counts.failed), (3, 0), "{report:?}");
    world.act("b write a 11; b write b 12; b write c 13");
    world.meddle(|operation, _| match operation {
        "GetObject" => Disturbance::Flip(0),
        _ => Disturbance::Pass,
    });
    let report = world.mode(SyncMode::DestinationToSource);
    assert_eq!((report.counts.downloaded, report.counts.failed), (0, 3), "{report:?}");
    world.calm();
    world.has("a=1 b=2 c=3", "a=11 b=12 c=13");
    let report = world.mode(SyncMode::DestinationToSource);
    assert_eq!((report.counts.downloaded, report.counts.failed), (3, 0), "{report:?}");
}
