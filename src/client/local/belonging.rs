//! What belongs to a file besides its bytes: owner, group, permission bits, ACL and extended attributes.
//!
//! A version that replaces another one takes over all of it, so that nobody gains or loses a right by a sync; only the
//! right to execute follows the content. A new file has the bits it has at its origin, as far as the umask or the
//! default ACL of its folder lets it. What runs as root makes nothing that the owner of the tree cannot use.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::acl::{self, Acl};
use super::root::open_folder;
use super::{Local, stat};

/// Rights that a program has by being run; they never travel.
const NEVER: [&str; 3] = ["security.capability", "security.ima", "security.evm"];

/// The longest list of names and the longest value that Linux has.
const MOST_BYTES: usize = 64 * 1024;

/// What a version that is taken in is to have.
#[derive(Debug, Default)]
pub(super) struct Belonging {
    /// The bits a file is created with; the umask, or the default ACL of its folder, is the kernel's to apply.
    pub(super) created_with: u32,
    /// What is taken over from the version that is replaced.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    owner: (u32, u32),
    bits: u32,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Belonging {
    /// Returns what a new file has whose origin has these bits.
    pub(super) fn of_new(origin: Option<u32>) -> Self {
        Self { created_with: origin.map_or(0o666, |bits| bits & 0o777 | 0o600), kept: None }
    }

    /// Returns what the version has that replaces the file `name` in `folder`, whose stat is `old`.
    pub(super) fn of_replaced(folder: &OwnedFd, name: &str, old: &Stat, origin: Option<u32>) -> Self {
        let bits = with_executable(stat::permissions(old), origin.map(|bits| bits & 0o100 != 0));
        let kept = Kept { owner: stat::owner(old), bits, attributes: attributes(folder, name) };
        Self { created_with: 0o600, kept: Some(kept) }
    }
}

impl Local {
    /// Gives a whole temporary, made in `folder`, what it is to have. `created` are the bits that the kernel gave it.
    pub(super) fn give(
        &self,
        file: &OwnedFd,
        folder: &OwnedFd,
        created: u32,
        belonging: &Belonging,
    ) -> Result<(), Errno> {
        if !self.bits_stick() {
            return Ok(());
        }
        let Some(kept) = &belonging.kept else {
            self.share(file, folder);
            return rustix::fs::fchmod(file, mode(created | 0o600));
        };
        let mut bits = kept.bits;
        let mut attributes = kept.attributes.clone();
        if stat::owner(&rustix::fs::fstat(file)?) != kept.owner && !take_over(file, kept.owner) {
            // Without its group, the rights of that group would be another's. The bits of a file with an ACL are its mask.
            let acl = attributes.iter_mut().find(|(name, _)| name == acl::ACCESS.as_bytes());
            match acl.and_then(|(_, value)| Some((Acl::read(value)?, value))) {
                Some((acl, value)) => *value = acl.without_group().bytes(),
                None => bits = bits & !0o070 | (bits & 0o007) << 3,
            }
        }
        set_attributes(file, &attributes)?;
        rustix::fs::fchmod(file, mode(bits))
    }

    /// Gives what root has made in `folder` to whoever the folder belongs to.
    pub(super) fn share(&self, made: &OwnedFd, folder: &OwnedFd) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let Ok(root) = self.root.handle() else { return };
        let (Ok(root), Ok(folder)) = (rustix::fs::fstat(&*root), rustix::fs::fstat(folder)) else { return };
        let owner = if stat::owner(&folder).0 == 0 { stat::owner(&root) } else { stat::owner(&folder) };
        if owner.0 != 0 {
            // Where owners do not stick there are none to lock out.
            chown(made, Some(owner.0), Some(owner.1)).ok();
        }
    }

    /// Makes a folder in the trash as open as the folder `original` is, and its owner's.
    pub(super) fn open_as(&self, made: &OwnedFd, original: &str) {
        let Ok(root) = self.root.handle() else { return };
        let original = open_folder(&root, original).and_then(|folder| rustix::fs::fstat(&folder));
        // If either cannot be looked at it stays its owner's only.
        let (Ok(original), Ok(now)) = (original, rustix::fs::fstat(made)) else { return };
        if stat::owner(&now) != stat::owner(&original) {
            take_over(made, stat::owner(&original));
        }
        rustix::fs::fchmod(made, mode(stat::permissions(&original) | 0o700)).ok();
    }

    /// Makes a file or folder of ours belong to the owner of the root, and as open to others as the root is.
    pub(super) fn open_to_all(&self, ours: &OwnedFd, is_folder: bool) {
        let Ok(root_handle) = self.root.handle() else { return };
        let (Ok(root), Ok(now)) = (rustix::fs::fstat(&*root_handle), rustix::fs::fstat(ours)) else { return };
        if stat::owner(&now) != stat::owner(&root) {
            // Who may not give it away may yet give it the group.
            take_over(ours, stat::owner(&root));
        }
        if let Some(acl) = Acl::of(&*root_handle) {
            let owner = stat::owner(&root).0;
            let is_owners = rustix::fs::fstat(ours).is_ok_and(|ours| stat::owner(&ours).0 == owner);
            let acl = if is_owners { acl } else { acl.with_user(owner) };
            acl.give(ours, is_folder);
            return;
        }
        let root = stat::all_bits(&root);
        let wanted = if is_folder { root & 0o1077 | 0o700 } else { root & 0o066 | 0o600 };
        if stat::all_bits(&now) != wanted {
            rustix::fs::fchmod(ours, mode(wanted)).ok();
        }
    }
}

/// Adds the right to execute where there is the right to read, or takes it away, if the owner's differs.
fn with_executable(bits: u32, executable: Option<bool>) -> u32 {
    match executable {
        Some(true) if bits & 0o100 == 0 => bits | ((bits & 0o444) >> 2),
        Some(false) if bits & 0o100 != 0 => bits & !0o111,
        _ => bits,
    }
}

/// Gives a file its owner and group, or at least its group; returns whether it has the group now.
fn take_over(file: &OwnedFd, (owner, group): (u32, u32)) -> bool {
    chown(file, Some(owner), Some(group)).or_else(|_| chown(file, None, Some(group))).is_ok()
}

fn chown(file: &OwnedFd, owner: Option<u32>, group: Option<u32>) -> Result<(), Errno> {
    rustix::fs::fchown(file, owner.map(Uid::from_raw), group.map(Gid::from_raw))
}

/// Returns the extended attributes of a file, its ACL among them, as far as they can be read.
fn attributes(folder: &OwnedFd, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(folder, name, flags, Mode::empty()) else { return Vec::new() };
    let mut names = vec![0; MOST_BYTES];
    let Ok(length) = rustix::fs::flistxattr(&file, &mut *names) else { return Vec::new() };
    let mut found = Vec::new();
    let mut value = vec![0; MOST_BYTES];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if NEVER.iter().all(|never| never.as_bytes() != name)
            && let Ok(length) = rustix::fs::fgetxattr(&file, name, &mut *value)
        {
            found.push((name.to_vec(), value[..length].to_vec()));
        }
    }
    found
}

/// Sets extended attributes, and takes away an ACL that the folder has given and the old version did not have.
fn set_attributes(file: impl AsFd, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Errno> {
    if attributes.iter().all(|(name, _)| name != acl::ACCESS.as_bytes()) {
        match rustix::fs::fremovexattr(&file, acl::ACCESS) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) => {}
            // Those of the system itself are not everybody's to set; it sets them by its own rules.
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL) if is_systems(name) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_systems(name: &[u8]) -> bool {
    name != acl::ACCESS.as_bytes() && !name.starts_with(b"user.")
}

/// Returns bits as the system takes them.
pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits as rustix::fs::RawMode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_execute_follows_the_right_to_read() {
        for (bits, executable, expected) in [
            (0o644, Some(true), 0o755),
            (0o600, Some(true), 0o700),
            (0o640, Some(true), 0o750),
            (0o744, Some(true), 0o744),
            (0o755, Some(false), 0o644),
            (0o655, Some(false), 0o655),
            (0o755, None, 0o755),
        ] {
            assert_eq!(with_executable(bits, executable), expected, "{bits:o}");
        }
    }
}
