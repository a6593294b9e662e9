//! Emptying the trash of runs long past.
//!
//! Only files that a manifest lists and that are still what it says are unlinked, one by one, beneath the root and through
//! no link; folders are removed when they are empty.

use std::collections::BTreeSet;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::reserved::{self, Ours, TRASH};
use super::root::{failure, join, open_folder};
use super::{Local, names, stat};
use crate::client::{Expiry, Purged};
use crate::code::FailureCode;
use crate::error::{Error, Result};
use crate::key::escape;
use crate::trash::{ADOPTED, Kept, Listed, Manifest, Name, is_run, manifests};

/// Writes down what is about to be put into the trash.
pub(super) fn announce(local: &Local, manifests: &[(Name, Manifest)]) -> Result<()> {
    manifests.iter().try_for_each(|(name, manifest)| {
        let text = serde_json::json!(manifest).to_string();
        reserved::put_note(local, Ours::Manifests, &name.to_string(), &text)
    })
}

/// Removes the trash that is to go; returns of how many runs.
pub(super) fn purge_trash(local: &Local, expiry: &Expiry) -> Result<Purged> {
    let root = local.root.handle()?;
    let mut noted = reserved::notes(local, Ours::Manifests)?;
    if !noted.iter().any(|name| name == ADOPTED) {
        noted.extend(adopt(local, &root, &noted, expiry)?);
    }
    let (going, unbelieved) = expiry.choose(noted.iter().filter_map(|name| Name::parse(name)));
    let mut runs = 0;
    for (run, names) in going {
        let folder = join(TRASH, &run);
        let mut listed = Listed::default();
        for name in &names {
            let text = reserved::read_note(local, Ours::Manifests, &name.to_string())?;
            listed.read(text.as_deref());
        }
        let removed = empty(&root, &folder, &listed);
        removed.map_err(|error| failure("purge", &folder, error))?;
        for name in &names {
            reserved::remove_note(local, Ours::Manifests, &name.to_string())?;
        }
        runs += 1;
    }
    Ok(Purged { runs, unbelieved })
}

/// Gives the trash of releases that wrote no manifests some. Its age counts from now.
fn adopt(local: &Local, root: &OwnedFd, noted: &[String], expiry: &Expiry) -> Result<Vec<String>> {
    let runs = match open_folder(root, TRASH) {
        Ok(trash) => names::plain(&trash).map_err(|error| failure("list", TRASH, error))?,
        Err(Errno::NOENT) => Vec::new(),
        Err(error) => return Err(failure("open", TRASH, error)),
    };
    let known: BTreeSet<String> = noted.iter().filter_map(|name| Some(Name::parse(name)?.run)).collect();
    let mut adopted = Vec::new();
    for run in runs {
        if !is_run(&run) || known.contains(&run) || expiry.is_spared(&run) {
            continue;
        }
        let folder = join(TRASH, &run);
        let found = files(root, &folder).map_err(|error| failure("list", &folder, error))?;
        let kept = found.into_iter().map(|(name, stat)| of(name, &stat)).collect();
        let of_pair = (expiry.pair_id.as_str(), 0, run.as_str());
        let parts = manifests(of_pair, (expiry.now, expiry.keep), (0, kept));
        announce(local, &parts)?;
        adopted.extend(parts.into_iter().map(|(name, _)| name.to_string()));
    }
    reserved::put_note(local, Ours::Manifests, ADOPTED, "")?;
    Ok(adopted)
}

fn of(name: String, stat: &Stat) -> Kept {
    Kept { name, size: stat::size(stat), etag: None, modified: Some(stat::modified(stat)) }
}

/// Returns the files in a folder of ours by their paths in it, without recursion.
fn files(root: &OwnedFd, folder: &str) -> Result<Vec<(String, Stat)>, Errno> {
    let mut waiting = vec![String::new()];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        let handle = open_folder(root, &join(folder, &path))?;
        for name in names::read(&handle, "", &mut Vec::new())?.names {
            let stat = rustix::fs::statat(&handle, &*name.text, AtFlags::SYMLINK_NOFOLLOW)?;
            match stat::kind(&stat) {
                FileType::Directory => waiting.push(join(&path, &name.text)),
                FileType::RegularFile => found.push((join(&path, &name.text), stat)),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Unlinks what is listed in a folder of ours, then the folders that this leaves empty.
fn empty(root: &OwnedFd, folder: &str, listed: &Listed) -> Result<(), Errno> {
    let found = match files(root, folder) {
        // Somebody emptied it.
        Err(Errno::NOENT) => return Ok(()),
        found => found?,
    };
    let mut emptied = BTreeSet::from([folder.to_owned()]);
    for (name, stat) in found {
        let path = join(folder, &name);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
        if listed.has(&of(name, &stat)) {
            let file = path.rsplit('/').next().unwrap_or(&path);
            match rustix::fs::unlinkat(open_folder(root, &parent)?, file, AtFlags::empty()) {
                // Another pair of the folder purges it too.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        emptied.insert(parent);
    }
    let all =
        emptied.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]).chain([&**path]));
    let all: BTreeSet<&str> = all.filter(|path| path.starts_with(folder)).collect();
    // Deepest first. What is not empty stays.
    for path in all.into_iter().rev() {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match rustix::fs::unlinkat(open_folder(root, parent)?, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::client::local::LocalClient;
    use crate::entry::Timestamp;

    const DAY: i64 = 86_400;

    fn left(trash: &std::path::Path) -> Vec<String> {
        let names = fs::read_dir(trash).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Days after the beginning of 2026.
    fn on(day: i64) -> Timestamp {
        Timestamp::new(1_767_225_600 + day * DAY, 0)
    }

    /// Puts files into the trash of a run of that day, and writes down the `listed` ones.
    fn trash(
        client: &LocalClient,
        root: &std::path::Path,
        day: i64,
        files: &[&str],
        listed: usize,
    ) -> String {
        let run = format!("{}-0000000{day}", on(day).compact());
        let folder = root.join(TRASH).join(&run);
        for name in files {
            fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            fs::write(folder.join(name), [0; 100]).unwrap();
        }
        let handle = client.local.root.handle().unwrap();
        let found = super::files(&handle, &join(TRASH, &run)).unwrap();
        let is_listed = |(name, _): &(String, Stat)| files[..listed].contains(&name.as_str());
        let kept = found.into_iter().filter(is_listed).map(|(name, stat)| of(name, &stat)).collect();
        announce(&client.local, &manifests(("p", 1, &run), (on(day), 30 * DAY), (0, kept))).unwrap();
        run
    }

    fn at(day: i64) -> Expiry {
        Expiry { now: on(day), until: Some(on(day)), pair_id: "p".into(), ..Expiry::default() }
    }

    #[test]
    fn only_what_a_manifest_lists_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(TRASH);
        let client = LocalClient::open(root.path()).unwrap();
        let outside = root.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        let old = trash(&client, root.path(), 1, &["a", "d/b", "d/e/c", "d/mine"], 3);
        let gone = trash(&client, root.path(), 2, &["a", "d/b"], 2);
        let young = trash(&client, root.path(), 9, &["a"], 1);
        std::os::unix::fs::symlink(&outside, path.join(&old).join("link")).unwrap();
        // What looks like ours and is not.
        fs::create_dir_all(path.join("20200101T000000Z-nightly")).unwrap();
        // Edited since.
        fs::write(path.join(&old).join("a"), "edited").unwrap();
        assert_eq!(purge_trash(&client.local, &at(35)).unwrap().runs, 2);
        assert_eq!(left(&path), ["20200101T000000Z-nightly", &old, &young]);
        assert_eq!(left(&path.join(&old)), ["a", "d", "link"]);
        assert_eq!(left(&path.join(&old).join("d")), ["mine"]);
        assert!(!path.join(gone).exists());
        assert_eq!(fs::read(outside).unwrap(), b"kept");
        assert_eq!(purge_trash(&client.local, &at(35)).unwrap().runs, 0);
        assert_eq!(purge_trash(&client.local, &at(400)).unwrap().runs, 1);
        assert_eq!(left(&path.join(&old)), ["a", "d", "link"], "what no manifest lists stays for ever");
    }

    #[test]
    fn the_trash_of_releases_without_manifests_counts_from_when_it_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let client = LocalClient::open(root.path()).unwrap();
        let path = root.path().join(TRASH);
        for run in ["20200101T000000Z-0123abcd", "20200101T000000Z-nightly", "mine"] {
            fs::create_dir_all(path.join(run).join("d")).unwrap();
            fs::write(path.join(run).join("d/f"), "old").unwrap();
        }
        for (day, expected) in [(1, 3), (30, 3), (32, 2), (400, 2)] {
            purge_trash(&client.local, &at(day)).unwrap();
            assert_eq!(left(&path).len(), expected, "day {day}");
        }
        // Once is enough: what comes later has manifests of its own, or is none of ours.
        fs::create_dir_all(path.join("20200101T000000Z-0123abce")).unwrap();
        for day in [401, 500] {
            purge_trash(&client.local, &at(day)).unwrap();
        }
        assert_eq!(left(&path).len(), 3);
    }

    #[test]
    fn the_oldest_trash_goes_until_the_rest_is_small_enough() {
        for (most, spared, expected) in
            [(400, None, 4), (399, None, 3), (150, None, 1), (0, None, 0), (0, Some(1), 1), (100, Some(4), 2)]
        {
            let root = tempfile::tempdir().unwrap();
            let client = LocalClient::open(root.path()).unwrap();
            let runs: Vec<String> =
                (1..=4).map(|day| trash(&client, root.path(), day, &["d/f"], 1)).collect();
            let spared = spared.map(|at: usize| runs[at - 1].clone());
            let expiry = Expiry { most_bytes: Some(most), spared, ..at(5) };
            assert_eq!(purge_trash(&client.local, &expiry).unwrap().runs, 4 - expected as u64, "{expiry:?}");
            assert_eq!(left(&root.path().join(TRASH)).len(), expected, "{expiry:?}");
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
        assert_eq!(purge_trash(&client.local, &at(400)).unwrap().runs, 0);
    }
}
