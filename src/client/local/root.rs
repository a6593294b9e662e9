//! The root of a local tree and everything that is opened beneath it.
//!
//! The path of the root is made canonical once; from then on the root is an open folder, and a folder
//! beneath it is opened so that no component can be a symbolic link, `..` or a mount: by the kernel
//! (`openat2`) where it can, else component by component. Files are opened, renamed and removed by name
//! in such a folder only, so that nothing a bucket or another user does can lead out of the root (I-41).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::stat;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RESERVED_FOLDER, escape};
use crate::root::RootIdentity;

/// How every folder is opened.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The root of a tree: its canonical path, and the open folder once it was needed.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    location: String,
    handle: Mutex<Option<Arc<OwnedFd>>>,
}

impl Root {
    /// Makes `path` canonical. What is missing at its end is kept as it is given.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let canonical = canonical(path)?;
        let Some(location) = canonical.to_str().map(str::to_owned) else {
            let shown = escape(canonical.as_os_str().as_encoded_bytes());
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("open the folder `{shown}`: its name is not UTF-8"),
            )
            .with_hint("choose a folder whose whole path is UTF-8"));
        };
        if location.split('/').any(|segment| segment == RESERVED_FOLDER) {
            let shown = escape(location.as_bytes());
            let message = format!(
                "open the folder `{shown}`: `{RESERVED_FOLDER}` is where this program keeps what is its own"
            );
            let hint = "sync the folder it is in; what you want back out of its trash can be copied";
            return Err(Error::new(ErrorKind::Invalid, message).with_hint(hint));
        }
        let root = Self { path: canonical, location, handle: Mutex::new(None) };
        root.identity()?;
        Ok(root)
    }

    /// Returns the canonical path.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Returns what is at the path now, whatever is held open.
    pub(super) fn identity(&self) -> Result<Option<RootIdentity>> {
        match rustix::fs::lstat(&self.path) {
            Ok(stat) if stat::kind(&stat) == FileType::Directory => Ok(Some(identity(&self.path, &stat))),
            Ok(_) => Err(Error::new(
                ErrorKind::Invalid,
                format!("open the folder `{}`: it is not a folder", self.shown()),
            )
            .with_hint("give the folder that holds the files")),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.failure("look at", error)),
        }
    }

    /// Returns the root, or the nearest folder above it that exists.
    pub(super) fn anchor(&self) -> Option<RootIdentity> {
        let found = self.path.ancestors().find_map(|path| rustix::fs::lstat(path).ok());
        found.map(|stat| stat::root_identity(&stat))
    }

    /// Returns the open root. It stays the same folder from the first call on.
    pub(super) fn handle(&self) -> Result<Arc<OwnedFd>> {
        let mut held = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*held {
            return Ok(Arc::clone(handle));
        }
        let opened = rustix::fs::openat(CWD, &self.path, FOLDER, Mode::empty());
        let handle = Arc::new(opened.map_err(|error| self.failure("open", error))?);
        *held = Some(Arc::clone(&handle));
        Ok(handle)
    }

    /// Creates the root and what is missing above it.
    pub(super) fn create(&self) -> Result<()> {
        std::fs::create_dir_all(&self.path)
            .map_err(|error| Error::io(format!("create the folder `{}`", self.shown()), error))?;
        // A handle opened before may be of a folder that was removed since.
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(parent) = self.path.parent()
            && let Ok(parent) = rustix::fs::openat(CWD, parent, FOLDER, Mode::empty())
        {
            // The folder may lie anywhere above; if it cannot be synced the next one that is will do.
            rustix::fs::fsync(parent).ok();
        }
        self.handle().map(drop)
    }

    fn failure(&self, doing: &str, error: Errno) -> Error {
        Error::io(format!("{doing} the folder `{}`", self.shown()), error.into())
    }

    fn shown(&self) -> String {
        escape(self.location.as_bytes())
    }
}

/// Returns what tells the folder at `path`, whose stat is `stat`, from others.
fn identity(path: &Path, stat: &rustix::fs::Stat) -> RootIdentity {
    let file_system = rustix::fs::statvfs(path).ok().map(|found| found.f_fsid);
    // Some file systems make it from the number of the device, in the form that Linux has for it inside.
    let (major, minor) =
        (u64::from(rustix::fs::major(stat.st_dev)), u64::from(rustix::fs::minor(stat.st_dev)));
    let of_device = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    let file_system = file_system.filter(|id| *id != 0 && *id != of_device);
    RootIdentity { file_system, ..stat::root_identity(stat) }
}

/// Resolves what exists of `path` and appends the rest, which then cannot contain `..`.
fn canonical(path: &Path) -> Result<PathBuf> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let mut existing =
        std::path::absolute(path).map_err(|error| Error::io(format!("open the folder `{shown}`"), error))?;
    let mut missing = Vec::new();
    loop {
        match std::fs::canonicalize(&existing) {
            Ok(mut canonical) => {
                canonical.extend(missing.iter().rev());
                return Ok(canonical);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let dangling = rustix::fs::lstat(&existing).is_ok();
                let (Some(name), false) = (existing.file_name().map(std::ffi::OsStr::to_owned), dangling)
                else {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("open the folder `{shown}`: it leads nowhere"),
                    )
                    .with_hint("correct the path, or the symbolic link in it"));
                };
                missing.push(name);
                existing.pop();
            }
            Err(error) => return Err(Error::io(format!("open the folder `{shown}`"), error)),
        }
    }
}

/// Opens the folder `folder` (`""` is the root itself) beneath `root`. `LOOP`: a component is a symbolic
/// link. `NOTDIR`: one is a file. `XDEV`: one is a mount.
pub(super) fn open_folder(root: &OwnedFd, folder: &str) -> Result<OwnedFd, Errno> {
    if folder.split('/').any(|name| matches!(name, "." | "..")) {
        return Err(Errno::INVAL);
    }
    if folder.is_empty() {
        return rustix::fs::openat(root, ".", FOLDER, Mode::empty());
    }
    #[cfg(target_os = "linux")]
    if let Some(answer) = by_kernel::open(root, folder) {
        return answer;
    }
    open_by_component(root, folder)
}

#[cfg(target_os = "linux")]
mod by_kernel {
    //! Resolution of a whole path by `openat2`.

    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fd::{AsFd, OwnedFd};
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;

    use super::FOLDER;

    /// The kernel takes paths below 4,096 bytes; longer ones are opened in pieces.
    const PIECE_BYTES: usize = 4000;

    /// Linux before 5.6 does not know the call and some sandboxes forbid it.
    static KNOWN: AtomicBool = AtomicBool::new(true);

    pub(super) fn open(root: &OwnedFd, folder: &str) -> Option<Result<OwnedFd, Errno>> {
        if !KNOWN.load(Ordering::Relaxed) {
            return None;
        }
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        // A link at the end is refused by `NO_SYMLINKS`, and told from a file only without `NOFOLLOW`.
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let mut opened: Option<OwnedFd> = None;
        let mut rest = folder;
        while !rest.is_empty() {
            let (piece, after) = split(rest)?;
            let from = opened.as_ref().map_or(root.as_fd(), AsFd::as_fd);
            match rustix::fs::openat2(from, piece, flags, Mode::empty(), resolve) {
                Ok(handle) => opened = Some(handle),
                Err(Errno::NOSYS | Errno::PERM) => {
                    KNOWN.store(false, Ordering::Relaxed);
                    return None;
                }
                Err(error) => return Some(Err(error)),
            }
            rest = after;
        }
        opened.map(Ok)
    }

    /// Cuts `path` at the last slash that leaves a piece short enough; `None` if one segment is too long.
    fn split(path: &str) -> Option<(&str, &str)> {
        if path.len() <= PIECE_BYTES {
            return Some((path, ""));
        }
        let cut = path.as_bytes()[..PIECE_BYTES].iter().rposition(|byte| *byte == b'/')?;
        Some((&path[..cut], &path[cut + 1..]))
    }
}

/// Opens `folder` one component after the other, none of which may be a link.
fn open_by_component(root: &OwnedFd, folder: &str) -> Result<OwnedFd, Errno> {
    let device = stat::root_identity(&rustix::fs::fstat(root)?).device;
    let mut opened: Option<OwnedFd> = None;
    for name in folder.split('/') {
        let next = open_child_by_name(opened.as_ref().unwrap_or(root), name)?;
        if stat::root_identity(&rustix::fs::fstat(&next)?).device != device {
            return Err(Errno::XDEV);
        }
        opened = Some(next);
    }
    opened.ok_or(Errno::INVAL)
}

/// Opens the folder `name` in `folder`, telling a link (`LOOP`) from a file (`NOTDIR`). Where the kernel can it
/// refuses a mount (`XDEV`) before it asks whatever is mounted there, which may never answer.
pub(super) fn open_child(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    if let Some(answer) = by_kernel::open(folder, name) {
        return answer;
    }
    open_child_by_name(folder, name)
}

fn open_child_by_name(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(folder, name, FOLDER, Mode::empty()) {
        Err(Errno::NOTDIR) => {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Err(if stat::kind(&stat) == FileType::Symlink { Errno::LOOP } else { Errno::NOTDIR })
        }
        other => other,
    }
}

/// Returns the error for a failure at `path`, relative to the root, while `doing` something.
pub(super) fn failure(doing: &str, path: &str, error: Errno) -> Error {
    // The root itself has no name here.
    let shown = if path.is_empty() { ".".into() } else { escape(path.as_bytes()) };
    let message = format!("{doing} `{shown}`");
    match error {
        Errno::LOOP => Error::new(ErrorKind::Invalid, message)
            .with_hint("a folder on the way is a symbolic link; links are not followed")
            .with_source(std::io::Error::from(error)),
        // A folder where a file was, or the reverse: not what was planned.
        Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY => {
            Error::new(ErrorKind::Changed, message).with_source(std::io::Error::from(error))
        }
        _ => Error::io(message, error.into()),
    }
}

/// Returns the error for a path that is not what was planned.
pub(super) fn changed(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::Changed, format!("`{}` {what}", escape(path.as_bytes())))
}

/// Joins a folder (`""` is the root) and a name.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Splits a path into its folder (`""` is the root) and its last segment.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let outer = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(outer.path().join("root/a/b")).unwrap();
        std::fs::create_dir(outer.path().join("outside")).unwrap();
        std::fs::write(outer.path().join("root/file"), "x").unwrap();
        std::os::unix::fs::symlink("../outside", outer.path().join("root/out")).unwrap();
        std::os::unix::fs::symlink("a", outer.path().join("root/in")).unwrap();
        let root = rustix::fs::openat(CWD, outer.path().join("root"), FOLDER, Mode::empty()).unwrap();
        (outer, root)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn i41_the_kernel_resolves_where_it_can() {
        let (_outer, root) = tree();
        let flags = OFlags::RDONLY.union(OFlags::DIRECTORY);
        let resolve = rustix::fs::ResolveFlags::BENEATH;
        let is_there = rustix::fs::openat2(&root, "a", flags, Mode::empty(), resolve).is_ok();
        let ways = [by_kernel::open(&root, "a/b").is_some(), by_kernel::open(&root, "out").is_some()];
        assert_eq!(ways, [is_there, is_there]);
        let outside = by_kernel::open(&root, "../outside").map(|opened| opened.map(drop));
        assert_eq!(outside, is_there.then_some(Err(Errno::XDEV)));
    }

    #[test]
    fn i41_both_ways_of_opening_refuse_links_and_agree() {
        let (_outer, root) = tree();
        for (folder, expected) in [
            ("a", Ok(())),
            ("a/b", Ok(())),
            ("out", Err(Errno::LOOP)),
            ("in", Err(Errno::LOOP)),
            ("in/b", Err(Errno::LOOP)),
            ("file", Err(Errno::NOTDIR)),
            ("file/x", Err(Errno::NOTDIR)),
            ("a/none", Err(Errno::NOENT)),
        ] {
            assert_eq!(open_by_component(&root, folder).map(drop), expected, "{folder} by component");
            assert_eq!(open_folder(&root, folder).map(drop), expected, "{folder}");
        }
    }
}
