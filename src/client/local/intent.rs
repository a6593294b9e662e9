//! Intents: what a replacement on the lowest rung writes down before the name goes missing for a moment.
//!
//! An intent names the path and where its old version is kept. Its writer holds a lock on it, which ends
//! with the process; an intent without a lock is of a dead process, and if the path is missing the old
//! version is put back. Without that, the missing name would look like a deletion by the user.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;

use super::Local;
use super::read::read_to_end;
use super::reserved::{CREATE, PRIVATE, ignore_unsupported, make_folder, write_all};
use super::root::{failure, join, open_folder, split};
use super::rung::PublishRung;
use super::{names, reserved};
use crate::error::Result;

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
        let folder = make_folder(&*self.root.handle()?, INTENTS)?;
        let intent = Intent { key: key.to_owned(), kept: kept.to_owned() };
        let fail = |error| failure("write down the replacement of", key, error);
        let text = serde_json::to_vec(&intent).map_err(|_| fail(Errno::INVAL))?;
        let name = format!("{:016x}.json", self.entropy.next_u64());
        let lock = write_intent(&folder, &name, &text).map_err(fail)?;
        Ok(Written { folder, name, _lock: lock })
    }

    /// Puts right what a dead process left half done, once.
    pub(super) fn recover(&self) -> Result<()> {
        let mut recovered = self.recovered.lock().unwrap_or_else(PoisonError::into_inner);
        if *recovered {
            return Ok(());
        }
        let root = self.root.handle()?;
        let found = open_folder(&root, INTENTS).and_then(|folder| Ok((names::plain(&folder)?, folder)));
        let (names, folder) = match found {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                *recovered = true;
                return Ok(());
            }
            Err(error) => return Err(failure("list the folder", INTENTS, error)),
        };
        for name in names.iter().filter(|name| !name.starts_with(UNFINISHED)) {
            recover_one(&root, &folder, name)
                .map_err(|error| failure("recover", &join(INTENTS, name), error))?;
        }
        *recovered = true;
        Ok(())
    }
}

fn write_intent(folder: &OwnedFd, name: &str, text: &[u8]) -> Result<OwnedFd, Errno> {
    let unfinished = format!("{UNFINISHED}{name}");
    let file = rustix::fs::openat(folder, &unfinished, CREATE, PRIVATE)?;
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
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
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
    if let Ok(intent) = serde_json::from_slice::<Intent>(&read_to_end(&file)?) {
        put_back(root, &intent)?;
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty())
}

/// Gives the old version its name again, if nothing has it. Both paths are resolved beneath the root, and
/// the kept one must be where we keep things.
fn put_back(root: &OwnedFd, intent: &Intent) -> Result<(), Errno> {
    let ((kept_in, kept), (key_in, key)) = (split(&intent.kept), split(&intent.key));
    let is_ours = kept_in.starts_with(reserved::TRASH) || crate::key::is_reserved_name(kept);
    if !is_ours
        || crate::key::Key::parse(&intent.key).is_err()
        || crate::key::Key::parse(&intent.kept).is_err()
    {
        return Ok(());
    }
    let (from, to) = match (open_folder(root, kept_in), open_folder(root, key_in)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(Errno::NOENT), _) | (_, Err(Errno::NOENT)) => return Ok(()),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    match PublishRung::Rename.place(&from, kept, &to, key) {
        Ok(()) => rustix::fs::fsync(&to).or_else(ignore_unsupported),
        Err(Errno::NOENT | Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}
