//! What the root of a tree was when it was last seen.

use serde::{Deserialize, Serialize};

/// What tells a root from another one at the same place; a hint, since disks are moved and restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootIdentity {
    /// Device number, 0 where there is none.
    pub device: u64,
    /// Inode number, 0 where there is none that lasts.
    pub inode: u64,
    /// What the file system calls itself, where that does not follow from the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<u64>,
}

impl RootIdentity {
    /// Returns whether both are the same folder: the device number may be another one after a restart of the machine.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_disk = match (self.file_system, other.file_system) {
            // Two disks have the same device number when each is the only one that is plugged in.
            (Some(one), Some(other)) => one == other,
            _ => self.device == other.device,
        };
        same_disk && self.inode == other.inode
    }

    /// As [`Self::is_same`], of what was seen at another time: an inode number that does not last is 0, and tells nothing.
    pub fn is_still(&self, then: &Self) -> bool {
        let lasting = self.inode != 0 && then.inode != 0;
        self.is_same(&if lasting { *then } else { Self { inode: self.inode, ..*then } })
    }

    /// Returns whether this folder, found under another name, is the one of then: its file system says which it is by
    /// more than the device, and the inode is the same.
    pub fn is_moved(&self, then: &Self) -> bool {
        self.inode != 0
            && self.inode == then.inode
            && self.file_system.is_some()
            && self.file_system == then.file_system
    }
}
