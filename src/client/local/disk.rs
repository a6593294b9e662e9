//! What the file system of a root can be believed: whether inode numbers last, and whether permission bits stick.
//!
//! Told by the type of the file system where that says it; else learnt: bits are tried once on a temporary of ours,
//! and that inode numbers do not last is remembered by whoever saw them change ([`Disk::distrust_inodes`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::Errno;

use super::belonging::mode;
use super::reserved::{CREATE, PRIVATE, make_folder};
use super::{Local, stat};
use crate::entry::{Entry, Timestamp};
use crate::fingerprint::Fingerprint;
use crate::key::{Key, RESERVED_FOLDER};

/// What is known of the file system of a root.
#[derive(Debug, Default)]
pub(super) struct Disk {
    kind: OnceLock<Kind>,
    /// Whether permission bits were tried, and stuck.
    tried: OnceLock<bool>,
    distrusted: AtomicBool,
}

/// What the type of a file system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    keeps_inodes: bool,
    /// `None` if it depends on how it is mounted.
    keeps_bits: Option<bool>,
    /// What is taken for true where nothing may be tried.
    guess: bool,
}

impl Kind {
    const USUAL: Self = Self { keeps_inodes: true, keeps_bits: Some(true), guess: true };
    const FAT: Self = Self { keeps_inodes: false, keeps_bits: Some(false), guess: false };
}

impl Disk {
    /// Takes inode numbers for nothing from now on.
    pub(super) fn distrust_inodes(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
    }

    fn kind(&self, root: &OwnedFd) -> Kind {
        *self.kind.get_or_init(|| kind(root))
    }
}

impl Local {
    fn kind(&self) -> Kind {
        self.root.handle().map_or(Kind::USUAL, |root| self.disk.kind(&root))
    }

    /// Returns whether a file has the same inode number the next time it is looked at.
    pub(super) fn keeps_inodes(&self) -> bool {
        !self.disk.distrusted.load(Ordering::Relaxed) && self.kind().keeps_inodes
    }

    /// Returns whether the kernel may answer for names that are gone: on the file systems of programs and of networks.
    pub(super) fn remembers_names(&self) -> bool {
        !self.kind().keeps_inodes
    }

    /// Returns the entry of a regular file whose stat was read at `now` or later. It has inode 0 where inode numbers
    /// do not last.
    pub(super) fn entry(&self, key: Key, stat: &Stat, now: Timestamp) -> Entry {
        let mut entry = stat::entry(key, stat, now);
        if let Fingerprint::File(file) = &mut entry.fingerprint
            && !self.keeps_inodes()
        {
            file.inode = 0;
        }
        entry
    }

    /// As [`Self::entry`], of a file that this process has just given its name. In whole seconds an edit can have
    /// the stamps of that moment, however long ago it is now.
    pub(super) fn entry_of_ours(&self, key: Key, stat: &Stat, now: Timestamp) -> Entry {
        let mut entry = self.entry(key, stat, now);
        if let Fingerprint::File(file) = &mut entry.fingerprint {
            file.settled &= file.changed.nanoseconds != 0;
        }
        entry
    }

    /// Returns whether two stats are of one file with one content, as far as they tell.
    pub(super) fn is_same_file(&self, a: &Stat, b: &Stat) -> bool {
        stat::is_alike(a, b) && (stat::inode(a) == stat::inode(b) || !self.keeps_inodes())
    }

    /// Returns whether the permission bits of files here mean anything, without trying.
    pub(super) fn bits_mean_something(&self) -> bool {
        let kind = self.kind();
        kind.keeps_bits.or(self.disk.tried.get().copied()).unwrap_or(kind.guess)
    }

    /// Returns whether permission bits stick, trying it out where the type of the file system does not tell.
    pub(super) fn bits_stick(&self) -> bool {
        let kind = self.kind();
        kind.keeps_bits
            .unwrap_or_else(|| *self.disk.tried.get_or_init(|| self.try_bits().unwrap_or(kind.guess)))
    }

    fn try_bits(&self) -> Option<bool> {
        let folder = make_folder(self, RESERVED_FOLDER).ok()?;
        let name = format!("probe-{:016x}-m", self.entropy.next_u64());
        let tried = (|| {
            let file = rustix::fs::openat(&folder, &name, CREATE, PRIVATE)?;
            let mut kept = true;
            for bits in [Mode::RUSR | Mode::WUSR | Mode::XUSR, PRIVATE] {
                rustix::fs::fchmod(&file, bits).ok();
                kept &= mode(stat::permissions(&rustix::fs::fstat(&file)?)) == bits;
            }
            Ok::<_, Errno>(kept)
        })();
        // What cannot be removed has no content.
        rustix::fs::unlinkat(&folder, &name, AtFlags::empty()).ok();
        tried.ok()
    }
}

#[cfg(target_os = "linux")]
fn kind(root: &OwnedFd) -> Kind {
    // Types as `statfs` gives them, from `linux/magic.h` and, for NTFS, SMB2 and exFAT, the sources of the kernel.
    const FUSE: i128 = 0x6573_5546;
    const MSDOS: i128 = 0x4d44;
    const EXFAT: i128 = 0x2011_bab0;
    const NTFS: i128 = 0x5346_544e;
    const NTFS3: i128 = 0x7366_746e;
    const SMB: i128 = 0x517b;
    const CIFS: i128 = 0xff53_4d42;
    const SMB2: i128 = 0xfe53_4d42;
    let Ok(found) = rustix::fs::fstatfs(root) else { return Kind::USUAL };
    match i128::from(found.f_type) & 0xffff_ffff {
        MSDOS | EXFAT => Kind::FAT,
        NTFS => Kind { keeps_inodes: true, ..Kind::FAT },
        NTFS3 => Kind { keeps_bits: None, ..Kind::USUAL },
        SMB | CIFS | SMB2 => Kind { keeps_bits: None, ..Kind::FAT },
        // A program that serves it may forget which number it gave; one that serves a disk has no bits as a rule.
        FUSE => Kind { keeps_inodes: false, keeps_bits: None, guess: !is_block_device(root) },
        _ => Kind::USUAL,
    }
}

#[cfg(not(target_os = "linux"))]
fn kind(_: &OwnedFd) -> Kind {
    Kind::USUAL
}

/// Returns whether a file system of FUSE lies on a disk, as exFAT and NTFS do.
#[cfg(target_os = "linux")]
fn is_block_device(root: &OwnedFd) -> bool {
    let Ok(found) = rustix::fs::fstat(root) else { return false };
    let device = format!("{}:{}", rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut of_device = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(&device));
    of_device.any(|line| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("fuseblk ")))
}
