//! Emptying the trash of runs long past.
//!
//! Only folders of `.syncengine/trash/` that are named like a run are entered, beneath the root and through no
//! link; files are unlinked one by one and folders removed when they are empty.

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::reserved::TRASH;
use super::root::{failure, join, open_folder};
use super::{Local, names};
use crate::entry::Timestamp;
use crate::error::Result;

/// Removes the trash of the runs that began before `before`; returns how many there were.
pub(super) fn purge_trash(local: &Local, before: Timestamp) -> Result<u64> {
    let root = local.root.handle()?;
    let runs = match open_folder(&root, TRASH) {
        Ok(trash) => names::plain(&trash).map_err(|error| failure("list", TRASH, error))?,
        Err(Errno::NOENT) => return Ok(0),
        Err(error) => return Err(failure("open", TRASH, error)),
    };
    let before = before.compact();
    let mut purged = 0;
    for run in runs.iter().filter(|run| names_a_run(run) && run.as_str() < before.as_str()) {
        let folder = join(TRASH, run);
        empty(&root, &folder).map_err(|error| failure("purge", &folder, error))?;
        purged += 1;
    }
    Ok(purged)
}

/// Runs name their trash `YYYYMMDDTHHMMSSZ-` and a tag.
fn names_a_run(name: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        16 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    name.len() > 17 && name.bytes().take(17).enumerate().all(shape)
}

/// Unlinks everything in a folder of ours, deepest first and without recursion, then the folder.
fn empty(root: &rustix::fd::OwnedFd, folder: &str) -> Result<(), Errno> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.last().cloned() {
        let handle = open_folder(root, &path)?;
        let inside = names::read(&handle, "", &mut Vec::new())?.names;
        let mut folders = Vec::new();
        for name in &inside {
            match rustix::fs::unlinkat(&handle, &*name.text, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) if name.kind != FileType::RegularFile => {
                    folders.push(join(&path, &name.text));
                }
                Err(error) => return Err(error),
            }
        }
        if folders.is_empty() {
            waiting.pop();
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            rustix::fs::unlinkat(open_folder(root, parent)?, name, AtFlags::REMOVEDIR)?;
        } else {
            waiting.extend(folders);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::client::local::LocalClient;

    #[test]
    fn only_the_trash_of_old_runs_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let trash = root.path().join(TRASH);
        let outside = root.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        for run in ["20250101T000000Z-0000000a", "20260101T000000Z-0000000b", "mine", "20250101T000000Z"] {
            fs::create_dir_all(trash.join(run).join("deep/er")).unwrap();
            fs::write(trash.join(run).join("deep/er/file"), "old").unwrap();
            fs::write(trash.join(run).join("file"), "old").unwrap();
            std::os::unix::fs::symlink(&outside, trash.join(run).join("deep/link")).unwrap();
        }
        let client = LocalClient::open(root.path()).unwrap();
        let before = Timestamp::new(1_748_736_000, 0); // 2025-06-01
        assert_eq!(purge_trash(&client.local, before).unwrap(), 1);
        let mut left: Vec<_> = fs::read_dir(&trash)
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["20250101T000000Z", "20260101T000000Z-0000000b", "mine"]);
        assert_eq!(fs::read(outside).unwrap(), b"kept");
        assert_eq!(purge_trash(&client.local, before).unwrap(), 0);
    }

    #[test]
    fn a_tree_without_trash_has_nothing_to_purge() {
        let root = tempfile::tempdir().unwrap();
        let client = LocalClient::open(root.path()).unwrap();
        assert_eq!(purge_trash(&client.local, Timestamp::new(i64::from(i32::MAX), 0)).unwrap(), 0);
    }
}
