//! Intents: what a replacement on the lowest rung writes down before the name goes missing for a moment.
//!
//! An intent names the path and where its old version is kept. Its writer holds a lock on it, which ends
//! with the process; an intent without a lock is of a dead process, and if the path is missing the old
//! version is put back by the next operation that changes anything. Until then a listing says that the path
//! is unknown: the missing name must not look like a deletion by the user.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;

use super::Local;
use super::read::read_to_end;
use super::reserved::{CREATE, PRIVATE, ignore_unsupported, make_folder, write_all};
use super::root::{failure, join, open_folder};
use super::rung::PublishRung;
use super::{names, reserved};
use crate::error::{Error, Result};
use crate::key::{Key, escape, is_reserved_name};

const INTENTS: &str = ".syncengine/intents";

/// What an intent begins with until it is whole.
const UNFINISHED: &str = "new-";

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    key: String,
    kept: String,
}

/// An intent that is written down. Dropping it leaves it to the next process.
pub(super) struct Written {
    folder: OwnedFd,
    name: String,
    _lock: OwnedFd,
}

impl Written {
    /// Removes the intent: what it was for is done, or did not begin.
    pub(super) fn done(self) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())
    }
}

impl Local {
    /// Writes down that `key` goes missing while its old version is at `kept`.
    pub(super) fn intend(&self, key: &str, kept: &str) -> Result<Written> {
        let folder = make_folder(self, INTENTS)?;
        let intent = Intent { key: key.to_owned(), kept: kept.to_owned() };
        let fail = |error| failure("write down the replacement of", key, error);
        let text = serde_json::to_vec(&intent).map_err(|_| fail(Errno::INVAL))?;
        let name = format!("{:016x}.json", self.entropy.next_u64());
        let lock = write_intent(self, &folder, &name, &text).map_err(fail)?;
        Ok(Written { folder, name, _lock: lock })
    }

    /// Puts right what a dead process left half done, if that was not done yet.
    pub(super) fn recover_once(&self) -> Result<()> {
        let mut recovered = self.recovered.lock().unwrap_or_else(PoisonError::into_inner);
        if !*recovered {
            self.recover()?;
            *recovered = true;
        }
        Ok(())
    }

    /// Puts right what a dead process left half done.
    pub(super) fn recover(&self) -> Result<()> {
        let root = self.root.handle()?;
        let Some((folder, names)) = open_intents(&root)? else { return Ok(()) };
        for name in &names {
            recover_one(&root, &folder, name).map_err(|error| self.unusable("recover", name, error))?;
        }
        Ok(())
    }

    /// Returns the names that may be missing only because a replacement was broken off, in order. Looking
    /// must not change anything, so nothing is recovered here.
    pub(super) fn pending(&self) -> Result<Vec<Key>> {
        let root = self.root.handle()?;
        let Some((folder, names)) = open_intents(&root)? else { return Ok(Vec::new()) };
        let mut keys = Vec::new();
        for name in &names {
            let read = open_intent(&folder, name).and_then(|file| read_to_end(&file));
            match read {
                Ok(text) => keys.extend(parse(&text).map(|(key, _)| key)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.unusable("read", name, error)),
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Returns the error for an intent that cannot be read, with what to do if it is none.
    fn unusable(&self, doing: &str, name: &str, error: Errno) -> Error {
        let path = join(INTENTS, name);
        let failed = failure(doing, &path, error);
        if !matches!(error, Errno::ISDIR | Errno::LOOP | Errno::NXIO) {
            return failed;
        }
        let location = self.root.location().trim_end_matches('/');
        let whole = escape(format!("{location}/{path}").as_bytes());
        failed.with_hint(format!("this program did not make it; remove `{whole}` and run again"))
    }
}

fn open_intents(root: &OwnedFd) -> Result<Option<(OwnedFd, Vec<String>)>> {
    match open_folder(root, INTENTS).and_then(|folder| Ok((names::plain(&folder)?, folder))) {
        Ok((mut names, folder)) => {
            names.retain(|name| !name.starts_with(UNFINISHED));
            Ok(Some((folder, names)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failure("list the folder", INTENTS, error)),
    }
}

fn open_intent(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

/// Returns what an intent names: the key, and where we keep its old version.
fn parse(text: &[u8]) -> Option<(Key, Key)> {
    let intent: Intent = serde_json::from_slice(text).ok()?;
    let (key, kept) = (Key::parse(&intent.key).ok()?, Key::parse(&intent.kept).ok()?);
    let is_ours =
        !key.is_reserved() && (kept.is_below(reserved::TRASH) || is_reserved_name(kept.file_name()));
    is_ours.then_some((key, kept))
}

fn write_intent(local: &Local, folder: &OwnedFd, name: &str, text: &[u8]) -> Result<OwnedFd, Errno> {
    let unfinished = format!("{UNFINISHED}{name}");
    let file = rustix::fs::openat(folder, &unfinished, CREATE, PRIVATE)?;
    local.open_to_all(&file, false);
    let written = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| write_all(&file, text))
        .and_then(|()| rustix::fs::fsync(&file))
        .and_then(|()| rustix::fs::renameat(folder, &unfinished, folder, name))
        .and_then(|()| rustix::fs::fsync(folder).or_else(ignore_unsupported));
    if let Err(error) = written {
        rustix::fs::unlinkat(folder, &unfinished, AtFlags::empty()).ok();
        return Err(error);
    }
    Ok(file)
}

fn recover_one(root: &OwnedFd, folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    let file = match open_intent(folder, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // Its writer lives and will end it.
        Err(Errno::WOULDBLOCK) => return Ok(()),
        Err(error) => return Err(error),
    }
    if let Some((key, kept)) = parse(&read_to_end(&file)?) {
        put_back(root, &key, &kept)?;
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty())
}

/// Gives the old version its name again, if nothing has it.
fn put_back(root: &OwnedFd, key: &Key, kept: &Key) -> Result<(), Errno> {
    let from = open_folder(root, kept.parent().unwrap_or(""));
    let to = open_folder(root, key.parent().unwrap_or(""));
    let (from, to) = match (from, to) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(Errno::NOENT), _) | (_, Err(Errno::NOENT)) => return Ok(()),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    match PublishRung::Rename.place(&from, kept.file_name(), &to, key.file_name()) {
        Ok(()) => rustix::fs::fsync(&to).or_else(ignore_unsupported),
        Err(Errno::NOENT | Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}
