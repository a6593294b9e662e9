//! How much memory a run needs (I-47): what the program tells of itself, over real trees of different sizes.
//!
//! A tree that is unchanged is never in memory; what remains of its size there is the cache of the base, which ends
//! to grow at some 80 MiB. What changed is in memory until it is done.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The sizes of the two trees. The difference is large enough to tell a hundred bytes a path from noise: the peak of one
/// run is up to 15 MiB from that of the next.
const FEW: u32 = 10_000;
const MANY: u32 = 80_000;

/// What a path that is unchanged may cost, in bytes: what it takes in the cache of the base, twice.
const UNCHANGED_BYTES: u64 = 200;

/// What a path with work to do may cost, in bytes: some 1,000 of a million, and more of these few, for the first 50,000
/// rows that are recorded stay in memory too. Ten runs of these trees took 1,600 to 1,900.
const CHANGED_BYTES: u64 = 2500;

fn make_tree(root: &Path, files: u32) {
    for number in 0..files {
        let folder = root.join(format!("folder{:03}", number / 1000));
        if number.is_multiple_of(1000) {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("a file of the usual length {number:06}")), number.to_string())
            .unwrap();
    }
}

/// Returns the peak of a command over two equal trees, in bytes.
fn peak(command: &str, dir: &Path, files: u32) -> u64 {
    let mut program = Command::new(env!("CARGO_BIN_EXE_syncengine"));
    program.arg(command).args([dir.join("source"), dir.join("destination")]).args(["--output", "json"]);
    program.args(["--mode", "sourceBackup", "--state-dir"]).arg(dir.join("state"));
    let output = program.output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(told["counts"]["unchanged"], files, "{command}: {told}");
    told["peak_memory_bytes"].as_u64().unwrap()
}

#[test]
fn i47_memory_does_not_grow_with_what_is_unchanged() {
    let steps = [("sync", CHANGED_BYTES), ("sync", UNCHANGED_BYTES), ("plan", UNCHANGED_BYTES)];
    let peaks = [FEW, MANY].map(|files| {
        let dir = tempfile::tempdir().unwrap();
        for side in ["source", "destination"] {
            make_tree(&dir.path().join(side), files);
        }
        steps.map(|(command, _)| peak(command, dir.path(), files))
    });
    for (at, (command, most)) in steps.into_iter().enumerate() {
        let (few, many) = (peaks[0][at], peaks[1][at]);
        let each = many.saturating_sub(few) / u64::from(MANY - FEW);
        println!("ci: memory: {command}: {} MiB for {FEW} files, {} MiB for {MANY}", few >> 20, many >> 20);
        assert!(few > 0 && each <= most, "{command} (step {at}): {each} bytes a path");
    }
}
