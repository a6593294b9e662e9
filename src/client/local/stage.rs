//! Taking in a new version: a temporary beside its target, whole and with its final times and permissions.
//!
//! The temporary is made exclusively under a name nobody can foresee, readable by its owner alone until it
//! is whole (I-36). It is removed again if anything fails or the future is dropped; folders made for it too.

use std::sync::Arc;

use futures::{TryStreamExt, join};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{Errno, retry_on_intr};

use super::read::{check_unchanged, open_version};
use super::reserved::{self, CREATE, PRIVATE, write_all};
use super::root::{changed, failure, open_child, open_folder, split};
use super::spelling::{is_exact, keep_reserved, taken};
use super::{Local, hop, stat};
use crate::client::{Body, Held, Staged, Target};
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Permissions of a new file and of a new folder before the umask.
const FILE_MODE: u32 = 0o666;
const FOLDER_MODE: u32 = 0o777;

/// How many bytes the kernel is asked to copy at once.
const COPY_BYTES: usize = 64 * 1024 * 1024;

/// What a version is to be like.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    size: u64,
    modified: Option<Timestamp>,
    executable: Option<bool>,
}

/// A temporary that is removed when it is dropped before it is whole.
struct Temporary {
    local: Arc<Local>,
    target: Target,
    folder: OwnedFd,
    file: OwnedFd,
    name: String,
    mode: u32,
    written: u64,
    is_whole: bool,
}

/// Takes in the version `body` for `target`.
pub(super) async fn stage(local: &Arc<Local>, target: Target, mut body: Body) -> Result<Staged> {
    let wanted = Wanted { size: body.size, modified: body.modified, executable: body.executable };
    let mut chunk = body.chunks.try_next().await?.unwrap_or_default();
    let mut following = body.chunks.try_next().await?;
    let local = Arc::clone(local);
    if following.is_none() {
        return hop(move || {
            let mut temporary = Temporary::create(&local, target, wanted)?;
            temporary.write(&chunk, wanted)?;
            temporary.finish(wanted)
        })
        .await;
    }
    let mut temporary = hop(move || Temporary::create(&local, target, wanted)).await?;
    loop {
        let write = hop(move || temporary.write(&chunk, wanted).map(|()| temporary));
        let Some(next) = following else {
            temporary = write.await?;
            return hop(move || temporary.finish(wanted)).await;
        };
        // Both are awaited even if one fails, so that the temporary is gone when the error is returned.
        let (written, after) = join!(write, body.chunks.try_next());
        (temporary, following, chunk) = (written?, after?, next);
    }
}

/// Copies the version `from`, which is beneath the same root, for `target`.
pub(super) fn copy(local: &Arc<Local>, from: &Entry, target: Target) -> Result<Staged> {
    let (source, stat) = open_version(local, from)?;
    let executable = Some(stat::permissions(&stat) & 0o100 != 0);
    let wanted = Wanted { size: from.size, modified: Some(stat::modified(&stat)), executable };
    let mut temporary = Temporary::create(local, target, wanted)?;
    temporary.written =
        copy_bytes(&source, &temporary.file).map_err(|error| failure("copy", from.key.as_str(), error))?;
    if temporary.written != from.size {
        return Err(changed(from.key.as_str(), "became shorter or longer while it was copied"));
    }
    check_unchanged(&source, from)?;
    temporary.finish(wanted)
}

/// Removes the temporary `path` and the folders made for it.
pub(super) fn drop_temporary(local: &Local, path: &str) {
    let (folder, name) = split(path);
    if reserved::tag(name).is_none() {
        return;
    }
    let Ok(root) = local.root.handle() else { return };
    if let Ok(handle) = open_folder(&root, folder) {
        // What cannot be removed now a later run finds by its tag.
        rustix::fs::unlinkat(&handle, name, AtFlags::empty()).ok();
    }
    remove_created(local, folder);
}

/// Removes empty folders that were made for staged files, from `folder` upwards.
pub(super) fn remove_created(local: &Local, mut folder: &str) {
    let Ok(root) = local.root.handle() else { return };
    let mut created = local.created();
    while created.contains(folder) {
        let (parent, name) = split(folder);
        let removed = open_folder(&root, parent)
            .and_then(|handle| rustix::fs::unlinkat(&handle, name, AtFlags::REMOVEDIR));
        if removed.is_err() {
            return;
        }
        created.remove(folder);
        folder = parent;
    }
}

impl Temporary {
    fn create(local: &Arc<Local>, target: Target, wanted: Wanted) -> Result<Self> {
        let path = target.key.as_str();
        if target.key.is_reserved() {
            return Err(Error::new(ErrorKind::Invalid, format!("write `{path}`: the name is reserved")));
        }
        let fail = |error| failure("create a temporary for", path, error);
        // A folder made here can be removed by another operation that failed, before anything is in it.
        for _ in 0..8 {
            let folder = make_parents(local, &target.key)?;
            let mode = allowed(local, &folder, &target, wanted.executable)?;
            let name = reserved::temporary_name(local, target.run_tag);
            let file = match rustix::fs::openat(&folder, &name, CREATE, PRIVATE) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::EXIST) => continue,
                Err(error) => {
                    drop(folder);
                    remove_created(local, target.key.parent().unwrap_or(""));
                    return Err(fail(error));
                }
            };
            let local = Arc::clone(local);
            return Ok(Self { local, target, folder, file, name, mode, written: 0, is_whole: false });
        }
        Err(fail(Errno::NOENT))
    }

    fn write(&mut self, chunk: &[u8], wanted: Wanted) -> Result<()> {
        self.written += chunk.len() as u64;
        if self.written > wanted.size {
            return Err(self.wrong_size(wanted));
        }
        write_all(&self.file, chunk).map_err(|error| failure("write", self.target.key.as_str(), error))
    }

    /// Gives the temporary its permissions and times. The times come last: writing changes them.
    fn finish(mut self, wanted: Wanted) -> Result<Staged> {
        if self.written != wanted.size {
            return Err(self.wrong_size(wanted));
        }
        let path = self.target.key.as_str();
        rustix::fs::fchmod(&self.file, mode(self.mode))
            .map_err(|error| failure("set the permissions of", path, error))?;
        if let Some(modified) = wanted.modified {
            let last_modification = timespec(modified.seconds, modified.nanoseconds);
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            rustix::fs::futimens(&self.file, &Timestamps { last_access, last_modification })
                .map_err(|error| failure("set the times of", path, error))?;
        }
        let key = self.target.key.sibling(&self.name);
        let key = key
            .map_err(|error| Error::new(ErrorKind::Invalid, format!("write `{path}`")).with_source(error))?;
        self.is_whole = true;
        let (target, size) = (self.target.clone(), self.written);
        Ok(Staged { target, size, hash: None, held: Held::Temporary(key) })
    }

    fn wrong_size(&self, wanted: Wanted) -> Error {
        let what = format!("came with another number of bytes than the {} announced", wanted.size);
        changed(self.target.key.as_str(), &what)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_whole {
            // What cannot be removed now a later run finds by its tag.
            rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty()).ok();
            remove_created(&self.local, self.target.key.parent().unwrap_or(""));
        }
    }
}

/// Opens the folder of `key`, making what is missing, and remembers what was made.
pub(super) fn make_parents(local: &Local, key: &Key) -> Result<OwnedFd> {
    let root = local.root.handle()?;
    let folder = key.parent().unwrap_or("");
    let fail = |error| failure("create the folder of", key.as_str(), error);
    keep_reserved(&root, key)?;
    match open_folder(&root, folder) {
        Err(Errno::NOENT) if !folder.is_empty() => {}
        other => {
            let opened = other.map_err(fail)?;
            return local.check_folders(&root, key).map(|()| opened);
        }
    }
    let mut opened = None;
    for path in key.ancestors() {
        let parent = opened.as_ref().unwrap_or(&*root);
        opened = Some(make_child(local, parent, path).map_err(fail)?);
    }
    local.check_folders(&root, key).inspect_err(|_| remove_created(local, folder))?;
    opened.ok_or_else(|| fail(Errno::NOENT))
}

fn make_child(local: &Local, parent: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let (_, name) = split(path);
    match open_child(parent, name) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    // Under the lock, so that whoever finds the folder also finds that it is not durable yet.
    let mut created = local.created();
    match rustix::fs::mkdirat(parent, name, mode(FOLDER_MODE)) {
        Ok(()) => drop(created.insert(path.to_owned())),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    drop(created);
    open_child(parent, name)
}

/// Looks early at what the version is to replace, and returns the permissions it is to have. Publishing
/// looks again.
fn allowed(local: &Local, folder: &OwnedFd, target: &Target, executable: Option<bool>) -> Result<u32> {
    let path = target.key.as_str();
    let found = rustix::fs::statat(folder, target.key.file_name(), AtFlags::SYMLINK_NOFOLLOW);
    match (found, &target.replaces) {
        (Ok(stat), Some(old)) if stat::is_moved_version(&stat, old) => {
            Ok(with_executable(stat::permissions(&stat), executable))
        }
        (Ok(_), Some(_)) => Err(changed(path, "is no longer the version that was listed")),
        (Err(Errno::NOENT), Some(_)) => Err(changed(path, "is no longer there")),
        // An empty folder gives way when the version is published.
        (Ok(stat), None) if stat::kind(&stat) != FileType::Directory => {
            let is_other = is_exact(folder, target.key.file_name()) == Ok(false);
            Err(if is_other { taken(path) } else { changed(path, "appeared meanwhile") })
        }
        (Ok(_) | Err(Errno::NOENT), None) => {
            Ok(with_executable(FILE_MODE & !local.umask, executable.filter(|executable| *executable)))
        }
        (Err(error), _) => Err(failure("look at", path, error)),
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

/// Copies all bytes, within the file system if it can. The offsets of both files move along, so that the
/// other way can take over at any point.
fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> Result<u64, Errno> {
    let mut copied = 0;
    #[cfg(target_os = "linux")]
    loop {
        match retry_on_intr(|| rustix::fs::copy_file_range(from, None, to, None, COPY_BYTES)) {
            // Some special file systems say 0 for everything; reading finds out.
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => break,
            Err(error) => return Err(error),
        }
    }
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = retry_on_intr(|| rustix::io::read(from, buffer.as_mut_slice()))?;
        if count == 0 {
            return Ok(copied);
        }
        write_all(to, &buffer[..count])?;
        copied += count as u64;
    }
}

/// Returns the process's umask.
pub(super) fn umask() -> u32 {
    let told = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    });
    told.unwrap_or_else(|| {
        // It cannot be read without setting it; the most careful value, for as short as can be.
        let mask = rustix::process::umask(mode(0o077));
        rustix::process::umask(mask);
        convert(mask.as_raw_mode())
    }) & 0o777
}

fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(convert(bits))
}

fn timespec(seconds: i64, nanoseconds: u32) -> Timespec {
    Timespec { tv_sec: convert(seconds), tv_nsec: convert(nanoseconds) }
}

/// The types of modes and times differ between systems; what we put in fits in all of them, but for
/// seconds beyond 2038 on the oldest.
fn convert<N: TryInto<M>, M: Default>(number: N) -> M {
    number.try_into().unwrap_or_default()
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

    #[test]
    fn the_umask_is_known() {
        assert!(umask() <= 0o777);
    }
}
