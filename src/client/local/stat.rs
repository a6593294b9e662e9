//! What a stat says: kind, version, and whether the times in it prove anything yet.
//!
//! A file system stamps a change with the tick of a clock: two writes within one tick leave the same
//! stamps. A stamp younger than that is therefore not settled, and neither is one in the future.

use std::time::Duration;

use rustix::fs::{FileType, Stat};

use crate::client::RootIdentity;
use crate::entry::{Entry, Timestamp};
use crate::fingerprint::{FileStat, Fingerprint};
use crate::key::Key;

/// Ticks of stamps with nanoseconds are at most 10 ms long (a kernel with `HZ=100`).
pub(super) const FINE_TICK: Duration = Duration::from_millis(20);

/// Stamps in whole seconds are as coarse as 2 s (FAT).
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Returns the kind of file.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
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
    RootIdentity { device: unsigned(stat.st_dev), inode: inode(stat) }
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
    let file =
        FileStat { modified, changed, inode: inode(stat), settled: is_settled(modified, changed, now) };
    Entry { key, size: size(stat), modified: Some(modified), fingerprint: Fingerprint::File(file) }
}

/// Returns the entry of a file that this process has just given its name, as [`entry`] does. In whole seconds an edit
/// can have the stamps of that moment, however long ago it is now.
pub(super) fn entry_of_ours(key: Key, stat: &Stat, now: Timestamp) -> Entry {
    let mut entry = entry(key, stat, now);
    if let Fingerprint::File(file) = &mut entry.fingerprint {
        file.settled &= file.changed.nanoseconds != 0;
    }
    entry
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
            if file.inode == inode(stat) && file.modified == modified(stat))
}

/// Returns whether two stats are of one file with one content, as far as they tell.
pub(super) fn is_same_file(a: &Stat, b: &Stat) -> bool {
    (inode(a), size(a), modified(a), kind(a)) == (inode(b), size(b), modified(b), kind(b))
}

fn is_settled(modified: Timestamp, changed: Timestamp, now: Timestamp) -> bool {
    let tick = if changed.nanoseconds == 0 { COARSE_TICK } else { FINE_TICK };
    let newest = modified.max(changed);
    newest <= now && now.distance_nanoseconds(newest) >= tick.as_nanos()
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
    fn fresh_and_future_stamps_prove_nothing() {
        let at = Timestamp::new;
        let fine = at(100, 500_000_000);
        for (modified, changed, now, expected) in [
            (fine, fine, at(100, 519_999_999), false),
            (fine, fine, at(100, 520_000_000), true),
            (at(50, 0), fine, at(100, 519_999_999), false),
            (at(101, 0), fine, at(100, 900_000_000), false),
            (at(100, 0), at(100, 0), at(101, 999_999_999), false),
            (at(100, 0), at(100, 0), at(102, 0), true),
            (at(100, 0), at(100, 0), at(99, 0), false),
        ] {
            assert_eq!(is_settled(modified, changed, now), expected, "{modified:?} {changed:?} {now:?}");
        }
    }
}
