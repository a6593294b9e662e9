//! Emptying the trash of runs long past.
//!
//! Only folders of `.syncengine/trash/` that are named like a run are entered, beneath the root and through no
//! link; files are unlinked one by one and folders removed when they are empty.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::reserved::TRASH;
use super::root::{failure, join, open_folder};
use super::{Local, names, stat};
use crate::client::{Expiry, Purged};
use crate::code::FailureCode;
use crate::error::{Error, Result};
use crate::key::escape;

/// Removes the trash that is to go; returns of how many runs.
pub(super) fn purge_trash(local: &Local, expiry: &Expiry) -> Result<Purged> {
    let root = local.root.handle()?;
    let runs = match open_folder(&root, TRASH) {
        Ok(trash) => names::plain(&trash).map_err(|error| failure("list", TRASH, error))?,
        Err(Errno::NOENT) => return Ok(Purged::default()),
        Err(error) => return Err(failure("open", TRASH, error)),
    };
    // The oldest first: their names begin with the time.
    let mut runs: Vec<String> =
        runs.into_iter().filter(|run| names_a_run(run) && !expiry.is_spared(run)).collect();
    runs.sort_unstable();
    let (mut going, young): (Vec<String>, Vec<String>) =
        runs.into_iter().partition(|run| expiry.is_over(run));
    if let Some(most) = expiry.most_bytes {
        let sizes = young.iter().map(|run| size(&root, &join(TRASH, run)));
        let sizes =
            sizes.collect::<Result<Vec<_>, Errno>>().map_err(|error| failure("look at", TRASH, error))?;
        let mut left: u64 = sizes.iter().sum();
        for (run, size) in young.iter().zip(sizes) {
            if left <= most {
                break;
            }
            left -= size;
            going.push(run.clone());
        }
    }
    for run in &going {
        let folder = join(TRASH, run);
        empty(&root, &folder).map_err(|error| failure("purge", &folder, error))?;
    }
    let unbelieved = young.into_iter().filter(|run| !going.contains(run) && !expiry.believes(run)).collect();
    Ok(Purged { runs: going.len() as u64, unbelieved })
}

/// Returns how many bytes are in a folder of ours, without recursion.
fn size(root: &OwnedFd, folder: &str) -> Result<u64, Errno> {
    let mut waiting = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(path) = waiting.pop() {
        let handle = open_folder(root, &path)?;
        for name in names::read(&handle, "", &mut Vec::new())?.names {
            let stat = rustix::fs::statat(&handle, &*name.text, AtFlags::SYMLINK_NOFOLLOW)?;
            match stat::kind(&stat) {
                FileType::Directory => waiting.push(join(&path, &name.text)),
                _ => bytes += stat::size(&stat),
            }
        }
    }
    Ok(bytes)
}

impl Local {
    /// Says of an error for want of room what takes room and can be done without: the trash.
    pub(super) fn with_room(&self, error: Error) -> Error {
        if error.code() != FailureCode::NoSpace {
            return error;
        }
        let look = || self.root.handle().ok().and_then(|root| size(&root, TRASH).ok()).unwrap_or(0);
        let bytes = *self.trash_bytes.get_or_init(look);
        let location = self.root.location().trim_end_matches('/');
        let trash = escape(format!("{location}/{TRASH}").as_bytes());
        if bytes == 0 {
            return error
                .with_hint(format!("free some space on the disk of `{}`", escape(location.as_bytes())));
        }
        error.with_hint(format!(
            "the disk is full; the trash `{trash}` holds {} of it: remove what nobody needs there, or keep it small with \
             --trash-max SIZE",
            shown(bytes)
        ))
    }
}

/// Returns a number of bytes for people.
fn shown(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Runs name their trash `YYYYMMDDTHHMMSSZ-` and a tag.
fn names_a_run(name: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| match at {
        // Some file systems keep all names in small letters.
        8 => byte.eq_ignore_ascii_case(&b'T'),
        15 => byte.eq_ignore_ascii_case(&b'Z'),
        16 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    name.len() > 17 && name.bytes().take(17).enumerate().all(shape)
}

/// Unlinks everything in a folder of ours, deepest first and without recursion, then the folder.
fn empty(root: &OwnedFd, folder: &str) -> Result<(), Errno> {
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
    use crate::entry::Timestamp;

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
        let expiry = Expiry { before: Timestamp::new(1_748_736_000, 0), ..Expiry::default() }; // 2025-06-01
        assert_eq!(purge_trash(&client.local, &expiry).unwrap().runs, 1);
        let mut left: Vec<_> = fs::read_dir(&trash)
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["20250101T000000Z", "20260101T000000Z-0000000b", "mine"]);
        assert_eq!(fs::read(outside).unwrap(), b"kept");
        assert_eq!(purge_trash(&client.local, &expiry).unwrap().runs, 0);
    }

    #[test]
    fn the_oldest_trash_goes_until_the_rest_is_small_enough() {
        let root = tempfile::tempdir().unwrap();
        let trash = root.path().join(TRASH);
        let runs = ["20260101T000000Z-a", "20260102T000000Z-b", "20260103T000000Z-c", "20260104T000000Z-d"];
        for (most, spared, left) in
            [(400, None, 4), (399, None, 3), (150, None, 1), (0, None, 0), (0, Some(0), 1), (100, Some(3), 2)]
        {
            for run in runs {
                fs::create_dir_all(trash.join(run).join("d")).unwrap();
                fs::write(trash.join(run).join("d/f"), [0; 100]).unwrap();
            }
            let client = LocalClient::open(root.path()).unwrap();
            let spared = spared.map(|at: usize| runs[at].to_owned());
            let expiry = Expiry { most_bytes: Some(most), spared, ..Expiry::default() };
            assert_eq!(purge_trash(&client.local, &expiry).unwrap().runs, 4 - left as u64, "{expiry:?}");
            assert_eq!(fs::read_dir(&trash).unwrap().count(), left, "{expiry:?}");
        }
    }

    #[test]
    fn sizes_are_shown_as_people_say_them() {
        for (bytes, expected) in
            [(0, "0.0 KiB"), (1536, "1.5 KiB"), (6 << 20, "6.0 MiB"), (u64::MAX, "16383.9 PiB")]
        {
            assert_eq!(shown(bytes), expected);
        }
    }

    #[test]
    fn a_tree_without_trash_has_nothing_to_purge() {
        let root = tempfile::tempdir().unwrap();
        let client = LocalClient::open(root.path()).unwrap();
        let expiry = Expiry { before: Timestamp::new(i64::from(i32::MAX), 0), ..Expiry::default() };
        assert_eq!(purge_trash(&client.local, &expiry).unwrap().runs, 0);
    }
}
