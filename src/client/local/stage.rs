//! Taking in a new version: a temporary beside its target, whole and with its final times and permissions.
//!
//! The temporary is made exclusively under a name nobody can foresee, readable by its owner alone until it
//! is whole (I-36). It is removed again if anything fails or the future is dropped; folders made for it too.

use std::sync::Arc;

use futures::{TryStreamExt, join};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{Errno, retry_on_intr};

use super::belonging::{Belonging, mode};
use super::listed::{is_exact, is_listed};
use super::read::{check_unchanged, open_version};
use super::reserved::{self, CREATE, PRIVATE, write_all};
use super::root::{changed, failure, open_child, open_folder, split};
use super::spelling::{keep_reserved, taken, unmappable};
use super::{Local, hop, stat};
use crate::client::{Body, Held, Staged, Target};
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Permissions of a new folder before the umask, where nobody knows those of its origin.
const FOLDER_MODE: u32 = 0o777;

/// How many bytes the kernel is asked to copy at once.
const COPY_BYTES: usize = 64 * 1024 * 1024;

/// What a version is to be like.
#[derive(Debug, Clone, Default)]
struct Wanted {
    size: u64,
    modified: Option<Timestamp>,
    mode: Option<u32>,
    folder_modes: Vec<u32>,
}

/// A temporary that is removed when it is dropped before it is whole.
struct Temporary {
    local: Arc<Local>,
    target: Target,
    folder: OwnedFd,
    file: OwnedFd,
    name: String,
    wanted: Wanted,
    belonging: Belonging,
    /// The bits that the kernel gave it.
    created: u32,
    written: u64,
    is_whole: bool,
}

/// Takes in the version `body` for `target`.
pub(super) async fn stage(local: &Arc<Local>, target: Target, mut body: Body) -> Result<Staged> {
    let wanted = Wanted {
        size: body.size,
        modified: body.modified,
        mode: body.mode,
        folder_modes: std::mem::take(&mut body.folder_modes),
    };
    let mut chunk = body.chunks.try_next().await?.unwrap_or_default();
    let mut following = body.chunks.try_next().await?;
    let local = Arc::clone(local);
    if following.is_none() {
        return hop(move || {
            let mut temporary = Temporary::create(&local, target, wanted)?;
            temporary.write(&chunk)?;
            temporary.finish()
        })
        .await;
    }
    let mut temporary = hop(move || Temporary::create(&local, target, wanted)).await?;
    loop {
        let write = hop(move || temporary.write(&chunk).map(|()| temporary));
        let Some(next) = following else {
            temporary = write.await?;
            return hop(move || temporary.finish()).await;
        };
        // Both are awaited even if one fails, so that the temporary is gone when the error is returned.
        let (written, after) = join!(write, body.chunks.try_next());
        (temporary, following, chunk) = (written?, after?, next);
    }
}

/// Copies the version `from`, which is beneath the same root, for `target`.
pub(super) fn copy(local: &Arc<Local>, from: &Entry, target: Target) -> Result<Staged> {
    let (source, stat) = open_version(local, from)?;
    let mode = local.bits_mean_something().then(|| stat::permissions(&stat));
    let modified = Some(stat::modified(&stat));
    let folder_modes = super::read::modes_for(local, from, &target.key);
    let wanted = Wanted { size: from.size, modified, mode, folder_modes };
    let mut temporary = Temporary::create(local, target, wanted)?;
    temporary.written =
        copy_bytes(&source, &temporary.file).map_err(|error| failure("copy", from.key.as_str(), error))?;
    if temporary.written != from.size {
        return Err(changed(from.key.as_str(), "became shorter or longer while it was copied"));
    }
    check_unchanged(&source, from)?;
    temporary.finish()
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
            let folder = make_parents(local, &target.key, &wanted.folder_modes)?;
            let belonging = allowed(&folder, &target, wanted.mode)?;
            let belonging = inherited(local, &target, wanted.mode).unwrap_or(belonging);
            let name = reserved::temporary_name(local, target.run_tag);
            let (file, created) = match create_private(&folder, &name, belonging.created_with) {
                Ok(created) => created,
                Err(Errno::NOENT | Errno::EXIST) => continue,
                Err(error) => {
                    drop(folder);
                    remove_created(local, target.key.parent().unwrap_or(""));
                    return Err(local.with_room(fail(error)));
                }
            };
            let local = Arc::clone(local);
            let (written, is_whole) = (0, false);
            return Ok(Self {
                local,
                target,
                folder,
                file,
                name,
                wanted,
                belonging,
                created,
                written,
                is_whole,
            });
        }
        Err(fail(Errno::NOENT))
    }

    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.written += chunk.len() as u64;
        if self.written > self.wanted.size {
            return Err(self.wrong_size());
        }
        let fail = |error| self.local.with_room(failure("write", self.target.key.as_str(), error));
        write_all(&self.file, chunk).map_err(fail)
    }

    /// Gives the temporary what belongs to it, and its times. Those come last: all else changes them.
    fn finish(mut self) -> Result<Staged> {
        if self.written != self.wanted.size {
            return Err(self.wrong_size());
        }
        let path = self.target.key.as_str();
        self.local
            .give(&self.file, &self.folder, self.created, &self.belonging)
            .map_err(|error| failure("set the owner and the permissions of", path, error))?;
        if let Some(modified) = self.wanted.modified {
            let last_modification = timespec(modified.seconds, modified.nanoseconds);
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            rustix::fs::futimens(&self.file, &Timestamps { last_access, last_modification })
                .map_err(|error| failure("set the times of", path, error))?;
        }
        let key = self.target.key.sibling(&self.name);
        let key = key
            .map_err(|error| Error::new(ErrorKind::Invalid, format!("write `{path}`")).with_source(error))?;
        let stat = rustix::fs::fstat(&self.file).map_err(|error| failure("look at", key.as_str(), error))?;
        let shown = self.local.entry_of_ours(key.clone(), &stat, self.local.clock.now());
        self.is_whole = true;
        let (target, size) = (self.target.clone(), self.written);
        let held = Held::Temporary(key, shown.fingerprint);
        Ok(Staged { target, size, hash: None, held })
    }

    fn wrong_size(&self) -> Error {
        let what = format!("came with another number of bytes than the {} announced", self.wanted.size);
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

/// Creates a temporary that only its owner can read, and returns it with the bits that the kernel gave it for `mode`:
/// as the umask or the default ACL of the folder have it. Nothing is in it yet when it is closed to others.
fn create_private(folder: &OwnedFd, name: &str, bits: u32) -> Result<(OwnedFd, u32), Errno> {
    let file = rustix::fs::openat(folder, name, CREATE, mode(bits))?;
    let created = stat::permissions(&rustix::fs::fstat(&file)?);
    if created & 0o077 != 0 {
        // Where bits do not stick nobody is kept out.
        rustix::fs::fchmod(&file, PRIVATE).ok();
    }
    Ok((file, created))
}

/// Opens the folder of `key`, making what is missing, and remembers what was made. `modes` are the bits of its folders
/// at their origin, from the outermost on, if they are known.
pub(super) fn make_parents(local: &Local, key: &Key, modes: &[u32]) -> Result<OwnedFd> {
    let root = local.root.handle()?;
    let folder = key.parent().unwrap_or("");
    let fail = |error| failure("create the folder of", key.as_str(), error);
    keep_reserved(local, key)?;
    local.clear_way(&root, key);
    match open_folder(&root, folder) {
        Err(Errno::NOENT) if !folder.is_empty() => {}
        other => {
            let opened = other.map_err(fail)?;
            return local.check_folders(&root, key).map(|()| opened);
        }
    }
    let mut opened = None;
    for (depth, path) in key.ancestors().enumerate() {
        let parent = opened.as_ref().unwrap_or(&*root);
        let bits = modes.get(depth).map_or(FOLDER_MODE, |bits| bits & 0o777 | 0o700);
        opened = Some(make_child(local, parent, path, bits).map_err(|error| match error {
            Errno::INVAL | Errno::ILSEQ => unmappable(path),
            error => local.with_room(fail(error)),
        })?);
    }
    local.check_made(&root, key).inspect_err(|_| remove_created(local, folder))?;
    opened.ok_or_else(|| fail(Errno::NOENT))
}

fn make_child(local: &Local, parent: &OwnedFd, path: &str, bits: u32) -> Result<OwnedFd, Errno> {
    let (_, name) = split(path);
    match open_child(parent, name) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    // Under the lock, so that whoever finds the folder also finds that it is not durable yet.
    let mut created = local.created();
    let made = match rustix::fs::mkdirat(parent, name, mode(bits)) {
        Ok(()) => created.insert(path.to_owned()),
        Err(Errno::EXIST) => false,
        // The folder it was to be in is there: it is the name.
        Err(Errno::NOENT) if rustix::fs::fstat(parent)?.st_nlink > 0 => return Err(Errno::INVAL),
        Err(error) => return Err(error),
    };
    drop(created);
    let opened = open_child(parent, name)?;
    if made {
        local.share(&opened, parent);
    }
    Ok(opened)
}

/// Looks early at what the version is to replace, and returns what it is to have. Publishing looks again.
fn allowed(folder: &OwnedFd, target: &Target, mode: Option<u32>) -> Result<Belonging> {
    let (path, name) = (target.key.as_str(), target.key.file_name());
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    match (found, &target.replaces) {
        (Ok(stat), Some(old)) if stat::is_moved_version(&stat, old) => {
            Ok(Belonging::of_replaced(folder, name, &stat, mode))
        }
        (Ok(_), Some(_)) => Err(changed(path, "is no longer the version that was listed")),
        (Err(Errno::NOENT), Some(_)) => Err(changed(path, "is no longer there")),
        // An empty folder gives way when the version is published.
        (Ok(stat), None) if stat::kind(&stat) != FileType::Directory => {
            if is_exact(folder, name) == Ok(false) {
                return Err(taken(folder, path));
            }
            // What is not listed any more only seems to be there.
            match is_listed(folder, name) {
                Ok(false) => Ok(Belonging::of_new(mode)),
                _ => Err(changed(path, "appeared meanwhile")),
            }
        }
        (Ok(_) | Err(Errno::NOENT), None) => Ok(Belonging::of_new(mode)),
        (Err(error), _) => Err(failure("look at", path, error)),
    }
}

/// Returns what the version is to have of one that had its name until now, if there is one.
fn inherited(local: &Local, target: &Target, mode: Option<u32>) -> Option<Belonging> {
    let (from, root) = (&target.heir_of.as_ref()?.key, local.root.handle().ok()?);
    let folder = open_folder(&root, from.parent().unwrap_or("")).ok()?;
    let stat = rustix::fs::statat(&folder, from.file_name(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (stat::kind(&stat) == FileType::RegularFile)
        .then(|| Belonging::of_replaced(&folder, from.file_name(), &stat, mode))
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

fn timespec(seconds: i64, nanoseconds: u32) -> Timespec {
    Timespec { tv_sec: convert(seconds), tv_nsec: convert(nanoseconds) }
}

/// The types of modes and times differ between systems; what we put in fits in all of them, but for
/// seconds beyond 2038 on the oldest.
fn convert<N: TryInto<M>, M: Default>(number: N) -> M {
    number.try_into().unwrap_or_default()
}
