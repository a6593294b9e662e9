//! ACLs as Linux keeps them in extended attributes: a version, and an entry for each who has rights.

use rustix::fd::AsFd;
use rustix::fs::XattrFlags;

/// The ACL of a file or folder.
pub(super) const ACCESS: &str = "system.posix_acl_access";

/// The ACL that what is made in a folder gets.
const DEFAULT: &str = "system.posix_acl_default";

/// The version of the form (`linux/posix_acl_xattr.h`).
const VERSION: [u8; 4] = [2, 0, 0, 0];

const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// What an entry without a name has for one.
const NOBODY: u32 = u32::MAX;

/// Entries in the order the system wants: by kind, then by user or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acl(Vec<Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    kind: u16,
    who: u32,
    rights: u16,
}

impl Acl {
    /// Returns the ACL of a file or folder, if it has one beyond its bits.
    pub(super) fn of(file: impl AsFd) -> Option<Self> {
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::fgetxattr(file, ACCESS, &mut *value).ok()?;
        Self::read(value.get(..length)?)
    }

    /// Reads an ACL; `None` if it is of another form.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let entries = bytes.strip_prefix(&VERSION)?.chunks(8).map(|entry| {
            let (kind, rest) = entry.split_first_chunk()?;
            let (rights, rest) = rest.split_first_chunk()?;
            Some(Entry {
                kind: u16::from_le_bytes(*kind),
                rights: u16::from_le_bytes(*rights),
                who: u32::from_le_bytes(rest.try_into().ok()?),
            })
        });
        entries.collect::<Option<_>>().map(Self)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for Entry { kind, who, rights } in &self.0 {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(who.to_le_bytes());
        }
        bytes
    }

    fn rights(&self, kind: u16) -> u16 {
        self.0.iter().find(|entry| entry.kind == kind).map_or(0, |entry| entry.rights)
    }

    /// Takes from the group what others do not have: it is another group now.
    pub(super) fn without_group(mut self) -> Self {
        let others = self.rights(OTHER);
        for entry in &mut self.0 {
            if entry.kind == GROUP {
                entry.rights &= others;
            }
        }
        self
    }

    /// Gives `user` the rights that the owner has, unless an entry names that user.
    pub(super) fn with_user(mut self, user: u32) -> Self {
        if self.0.iter().any(|entry| entry.kind == USER && entry.who == user) {
            return self;
        }
        let rights = self.rights(OWNER);
        self.0.push(Entry { kind: USER, who: user, rights });
        // Entries for users count as far as the mask lets them.
        let mask =
            self.rights(if self.0.iter().any(|entry| entry.kind == MASK) { MASK } else { GROUP }) | rights;
        self.0.retain(|entry| entry.kind != MASK);
        self.0.push(Entry { kind: MASK, who: NOBODY, rights: mask });
        self.0.sort_unstable();
        self
    }

    /// Gives it to a folder, and to what is made in it from then on, or to a file, which nobody is to execute. Where it is
    /// not kept, or the folder is another's, nothing is changed.
    pub(super) fn give(mut self, file: impl AsFd, is_folder: bool) {
        if is_folder {
            self.set(&file, DEFAULT);
        } else {
            self.0.iter_mut().for_each(|entry| entry.rights &= !1);
        }
        self.set(&file, ACCESS);
    }

    fn set(&self, file: impl AsFd, name: &str) {
        if let Err(error) = rustix::fs::fsetxattr(file, name, &self.bytes(), XattrFlags::empty()) {
            tracing::debug!(%error, name, "an ACL of the root could not be given to what is ours");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_reads_back_and_grows_in_order() {
        let entry = |kind, rights| Entry { kind, who: NOBODY, rights };
        let acl = Acl(vec![entry(OWNER, 7), entry(GROUP, 5), entry(OTHER, 0)]);
        assert_eq!(Acl::read(&acl.bytes()), Some(acl.clone()));
        let shared = acl.with_user(7).with_user(5);
        let shown: Vec<_> = shared.0.iter().map(|entry| (entry.kind, entry.rights)).collect();
        assert_eq!(shown, [(OWNER, 7), (USER, 7), (USER, 7), (GROUP, 5), (MASK, 7), (OTHER, 0)]);
        assert_eq!(shared.clone().with_user(5), shared);
        assert_eq!(shared.without_group().rights(GROUP), 0);
        for other in [&b""[..], b"\x02\0\0\0\x01", b"\x03\0\0\0"] {
            assert_eq!(Acl::read(other), None);
        }
    }
}
