//! The files of large contents: `data/XX/ID`, written once, never changed.
//!
//! A file and its name are durable before a row refers to it. A file nobody refers to is removed when its
//! writer gives up, when the last row is gone, or after a kill at the next start. A file that is being read
//! is removed when its last reader has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure::Outcome;
use super::row::Place;
use crate::error::{Error, Result};

/// Folders of files, so that none gets too large. Named by the last two digits of what is in them.
const FOLDERS: u64 = 256;

/// The files below one folder, and the numbers that name all stored things.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    next_id: AtomicU64,
    in_use: Mutex<InUse>,
}

#[derive(Debug, Default)]
struct InUse {
    readers: BTreeMap<u64, usize>,
    /// No row refers to these any more.
    doomed: BTreeSet<u64>,
}

impl Blobs {
    /// Opens the folder, making it and its folders if they are missing.
    pub(super) fn open(dir: PathBuf, next_id: u64) -> Result<Self> {
        let failed = |error| Error::io(format!("make the folder `{}`", dir.display()), error);
        if !dir.join(folder_name(FOLDERS - 1)).is_dir() {
            for number in 0..FOLDERS {
                fs::create_dir_all(dir.join(folder_name(number))).map_err(failed)?;
            }
            sync_folder(&dir).map_err(failed)?;
        }
        Ok(Self { dir, next_id: AtomicU64::new(next_id), in_use: Mutex::default() })
    }

    /// Returns a number that nothing has yet.
    pub(super) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the first number that nothing has yet.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(folder_name(id)).join(format!("{id:016x}"))
    }

    /// Begins a file.
    pub(super) fn create(self: &Arc<Self>) -> io::Result<StagedFile> {
        let id = self.new_id();
        let file = File::options().write(true).create_new(true).open(self.path(id))?;
        Ok(StagedFile { id, file, blobs: Arc::clone(self), kept: false })
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, id: u64) -> io::Result<File> {
        File::open(self.path(id))
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        // Nothing panics while it holds the lock, and the maps would be usable even so.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads with `look` which files are wanted, and keeps them until the answer is dropped. No file is
    /// removed meanwhile, so what `look` finds referred to is there.
    pub(super) fn hold<T>(
        self: &Arc<Self>,
        look: impl FnOnce() -> Outcome<(T, Vec<Place>)>,
    ) -> Outcome<(T, Held)> {
        let mut in_use = self.lock();
        let (found, places) = look()?;
        let mut ids = Vec::new();
        for place in places {
            if let Place::File(id) = place {
                *in_use.readers.entry(id).or_default() += 1;
                ids.push(id);
            }
        }
        Ok((found, Held { ids, blobs: Arc::clone(self) }))
    }

    /// Removes files that no row refers to any more.
    pub(super) fn free(&self, ids: &[u64]) {
        for id in ids {
            let mut in_use = self.lock();
            if in_use.readers.contains_key(id) {
                in_use.doomed.insert(*id);
            } else {
                drop(in_use);
                self.remove(*id);
            }
        }
    }

    /// Removes what still waits for its readers. Returns whether all went well.
    pub(super) fn free_doomed(&self) -> bool {
        let doomed = std::mem::take(&mut self.lock().doomed);
        let removed = doomed.iter().filter(|id| self.remove(**id)).count();
        removed == doomed.len()
    }

    fn remove(&self, id: u64) -> bool {
        match fs::remove_file(self.path(id)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(id, %error, "a file without an object stays");
                error.kind() == io::ErrorKind::NotFound
            }
        }
    }

    /// Removes every file that `is_wanted` does not want. For the start after a kill.
    pub(super) fn sweep(&self, is_wanted: impl Fn(u64) -> Outcome<bool>) -> Outcome<u64> {
        let mut removed = 0;
        for number in 0..FOLDERS {
            for entry in fs::read_dir(self.dir.join(folder_name(number)))? {
                let name = entry?.file_name();
                let id = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
                let Some(id) = id else { continue };
                // A number must not come again while its file is there.
                self.next_id.fetch_max(id.saturating_add(1), Ordering::Relaxed);
                if !is_wanted(id)? {
                    fs::remove_file(self.path(id))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn folder_name(number: u64) -> String {
    format!("{:02x}", number % FOLDERS)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A file that no row refers to yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct StagedFile {
    id: u64,
    file: File,
    blobs: Arc<Blobs>,
    kept: bool,
}

impl StagedFile {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the file and its name durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        sync_folder(&self.blobs.dir.join(folder_name(self.id)))
    }

    /// Leaves the file to the row that now refers to it, and returns its number.
    pub(super) fn keep(mut self) -> u64 {
        self.kept = true;
        self.id
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.kept {
            self.blobs.remove(self.id);
        }
    }
}

/// Reads up to `most` bytes of a file from `offset`; fewer only at its end.
pub(super) fn read_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut filled = 0;
    while filled < most {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Files that are being read.
#[derive(Debug)]
pub(super) struct Held {
    ids: Vec<u64>,
    blobs: Arc<Blobs>,
}

impl Held {
    pub(super) fn open(&self, id: u64) -> io::Result<File> {
        self.blobs.read(id)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut last = Vec::new();
        {
            let mut in_use = self.blobs.lock();
            for id in &self.ids {
                if let Some(count) = in_use.readers.get_mut(id) {
                    *count -= 1;
                    if *count == 0 {
                        in_use.readers.remove(id);
                        if in_use.doomed.remove(id) {
                            last.push(*id);
                        }
                    }
                }
            }
        }
        for id in last {
            self.blobs.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }

    #[test]
    fn a_file_that_is_read_outlives_its_object_and_one_given_up_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(dir.path().join("data"), 1).unwrap());
        let mut file = blobs.create().unwrap();
        file.write(b"content").unwrap();
        file.sync().unwrap();
        let id = file.keep();
        let ((), held) = blobs.hold(|| Ok(((), vec![Place::File(id), Place::Inline(7)]))).unwrap();
        blobs.free(&[id]);
        let open = held.open(id).unwrap();
        assert_eq!(read_at(&open, 3, 100).unwrap(), b"tent");
        drop(held);
        assert!(blobs.read(id).is_err());
        drop(blobs.create().unwrap());
        assert_eq!(names(&dir.path().join("data")), 0);
        let kept = [blobs.create().unwrap().keep(), blobs.create().unwrap().keep()];
        assert_eq!(blobs.sweep(|id| Ok(id == kept[1])).unwrap(), 1);
        assert!(blobs.read(kept[0]).is_err() && blobs.read(kept[1]).is_ok());
    }
}
