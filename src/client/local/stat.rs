//! What a stat says: kind, version, and whether the times in it prove anything yet.
//!
//! A file system stamps a change with the tick of a clock: two writes within one tick leave the same
//! stamps. A status change younger than that is therefore not settled.

use std::time::Duration;

use rustix::fs::{FileType, Stat};

use crate::entry::{Entry, Timestamp};
use crate::fingerprint::{FileStat, Fingerprint};
use crate::key::Key;
use crate::root::RootIdentity;

/// Ticks of stamps with nanoseconds are at most 10 ms long (a kernel with `HZ=100`).
pub(super) const FINE_TICK: Duration = Duration::from_millis(20);

/// How far clocks of two machines that serve one disk may differ. Ours: those that are kept right differ by seconds.
const WRONG_CLOCK: Duration = Duration::from_hours(24);

/// Stamps in whole seconds are as coarse as 2 s (FAT).
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Returns the kind of file.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns owner and group.
pub(super) fn owner(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

/// Returns all permission bits.
pub(super) fn all_bits(stat: &Stat) -> u32 {
    narrow(stat.st_mode) & 0o7777
}

/// Returns the permission bits, without setuid, setgid and sticky.
pub(super) fn permissions(stat: &Stat) -> u32 {
    narrow(stat.st_mode) & 0o777
}

/// Returns the length in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    unsigned(stat.st_size)
}

/// Returns the inode number.
pub(super) fn inode(stat: &Stat) -> u64 {
    unsigned(stat.st_ino)
}

/// Returns whether the file has another name somewhere.
pub(super) fn has_other_names(stat: &Stat) -> bool {
    unsigned(stat.st_nlink) > 1
}

/// Returns device and inode.
pub(super) fn root_identity(stat: &Stat) -> RootIdentity {
    RootIdentity { device: unsigned(stat.st_dev), inode: inode(stat), file_system: None }
}

/// Returns the modification time.
pub(super) fn modified(stat: &Stat) -> Timestamp {
    timestamp(stat.st_mtime, stat.st_mtime_nsec)
}

/// Returns the status change time.
pub(super) fn changed(stat: &Stat) -> Timestamp {
    timestamp(stat.st_ctime, stat.st_ctime_nsec)
}

/// Returns the entry of a regular file whose stat was read at `now` or later.
pub(super) fn entry(key: Key, stat: &Stat, now: Timestamp) -> Entry {
    let (modified, changed) = (modified(stat), changed(stat));
    let file = FileStat { modified, changed, inode: inode(stat), settled: is_settled(changed, now) };
    Entry {
        key,
        size: size(stat),
        modified: Some(modified),
        stored: None,
        fingerprint: Fingerprint::File(file),
    }
}

/// Returns whether the stat is of the very version `entry`.
pub(super) fn is_version(stat: &Stat, entry: &Entry) -> bool {
    is_moved_version(stat, entry)
        && matches!(&entry.fingerprint, Fingerprint::File(file) if file.changed == changed(stat))
}

/// Returns whether the stat is of the version `entry` after a rename, which changes the status change time.
pub(super) fn is_moved_version(stat: &Stat, entry: &Entry) -> bool {
    kind(stat) == FileType::RegularFile
        && size(stat) == entry.size
        && matches!(&entry.fingerprint, Fingerprint::File(file)
            if (file.inode == 0 || file.inode == inode(stat)) && file.modified == modified(stat))
}

/// Returns whether two stats show the same kind of file with the same size and time, whatever their inodes.
pub(super) fn is_alike(a: &Stat, b: &Stat) -> bool {
    (size(a), modified(a), kind(a)) == (size(b), modified(b), kind(b))
}

/// Only the status change time counts: every write moves it, and nobody can set it. Where it lies far in the future a
/// clock was wrong when it was made; a write today moves it as well.
fn is_settled(changed: Timestamp, now: Timestamp) -> bool {
    let tick = if changed.nanoseconds == 0 { COARSE_TICK } else { FINE_TICK };
    let least = if changed <= now { tick } else { WRONG_CLOCK };
    now.distance_nanoseconds(changed) >= least.as_nanos()
}

fn timestamp<S: TryInto<i64>, N: TryInto<u32>>(seconds: S, nanoseconds: N) -> Timestamp {
    Timestamp::new(seconds.try_into().unwrap_or(0), narrow(nanoseconds))
}

fn narrow<N: TryInto<u32>>(number: N) -> u32 {
    number.try_into().unwrap_or(0)
}

/// The types of a stat's fields differ between systems; none of the values is negative.
fn unsigned<N: TryInto<u64>>(number: N) -> u64 {
    number.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_stamps_and_those_of_a_clock_that_differs_prove_nothing() {
        let at = Timestamp::new;
        let fine = at(100, 500_000_000);
        for (changed, now, expected) in [
            (fine, at(100, 519_999_999), false),
            (fine, at(100, 520_000_000), true),
            (at(100, 0), at(101, 999_999_999), false),
            (at(100, 0), at(102, 0), true),
            (at(100, 0), at(99, 0), false),
            (at(86_500, 0), at(101, 0), false),
            (at(86_500, 0), at(100, 0), true),
        ] {
            assert_eq!(is_settled(changed, now), expected, "{changed:?} {now:?}");
        }
    }
}
