//! The ordered walk over a local tree.
//!
//! A folder is read whole and its names are visited in byte order, but what is *in* a folder `a` comes
//! where `a/` would, which is after siblings such as `a-b` and `a.txt`; what is said about `a` itself (that
//! it is empty, or cannot be read) comes where `a` is. So a folder is opened and read when its name is met,
//! and waits, if need be, for the siblings in between. The walk uses no recursion and few descriptors: a
//! folder far up is opened again by its path when the walk comes back to it, and what is left of it is
//! unknown if it is another folder by then.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::names::{self, Name};
use super::read::read_ignore_file;
use super::reserved;
use super::root::{changed, failure, join, open_child, open_folder, split};
use super::{Local, stat};
use crate::client::{ListRequest, Listed, SkipReason};
use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::IGNORE_FILE;
use crate::key::{Key, KeyError, RESERVED_FOLDER, escape, is_reserved_name};
use crate::root::RootIdentity;

/// How many items travel together.
const BATCH_ITEMS: usize = 512;

/// How many of the innermost folders are kept open.
const OPEN_FOLDERS: usize = 16;

/// What the walk sends. Without [`Message::End`] the listing is not complete.
pub(super) enum Message {
    Batch(Vec<Listed>),
    Failed(Error),
    End,
}

/// Why a walk ends early.
enum Halt {
    /// Nobody listens any more.
    Gone,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Walks the tree and sends what it finds.
pub(super) fn walk(local: &Local, request: ListRequest, sender: &mpsc::Sender<Message>) {
    let outcome = Walk::new(local, request, sender).and_then(|mut walk| walk.run());
    let last = match outcome {
        Ok(()) => Message::End,
        Err(Halt::Failed(error)) => Message::Failed(error),
        Err(Halt::Gone) => return,
    };
    // If nobody listens any more, nobody misses it.
    sender.blocking_send(last).ok();
}

/// A folder that was read and is not yet listed to its end.
struct Frame {
    folder: String,
    identity: RootIdentity,
    handle: Option<OwnedFd>,
    names: std::vec::IntoIter<Name>,
    strange: Vec<(Box<[u8]>, KeyError)>,
    has_rules: bool,
    /// Folders in this one whose content comes later; each is a prefix of the next.
    waiting: Vec<Self>,
}

struct Walk<'a> {
    local: &'a Local,
    root: Arc<OwnedFd>,
    device: u64,
    request: ListRequest,
    frames: Vec<Frame>,
    batch: Vec<Listed>,
    buffer: Vec<u8>,
    sender: &'a mpsc::Sender<Message>,
    /// What a dead process may have left without its name, the last first.
    pending: Vec<Key>,
    patience: Patience,
}

impl<'a> Walk<'a> {
    fn new(local: &'a Local, request: ListRequest, sender: &'a mpsc::Sender<Message>) -> Result<Self, Halt> {
        let root = local.root.handle()?;
        local.forget_exact("");
        local.forget_modes();
        let mut walk = Self {
            local,
            device: 0,
            request,
            frames: Vec::new(),
            batch: Vec::with_capacity(BATCH_ITEMS),
            buffer: Vec::with_capacity(32 * 1024),
            sender,
            root,
            pending: local.pending()?,
            patience: Patience::default(),
        };
        walk.pending.reverse();
        let unreadable = |error| failure("list the folder", local.root.location(), error);
        let handle = walk.patience.open(|| open_folder(&walk.root, "")).map_err(unreadable)?;
        walk.device = stat::root_identity(&rustix::fs::fstat(&handle).map_err(unreadable)?).device;
        let frame = walk.read_folder(String::new(), handle).map_err(unreadable)?;
        walk.enter(frame)?;
        Ok(walk)
    }

    fn run(&mut self) -> Result<(), Halt> {
        while let Some(frame) = self.frames.last_mut() {
            if let Some(child) = frame.take_due() {
                self.enter(child)?;
            } else if let Some(name) = frame.names.next() {
                self.visit(&name)?;
            } else {
                self.frames.pop();
            }
        }
        while let Some(key) = self.pending.pop() {
            self.batch.push(broken_off(key));
        }
        self.flush()
    }

    /// Reads a folder without saying anything about it yet.
    fn read_folder(&mut self, folder: String, handle: OwnedFd) -> Result<Frame, Errno> {
        let identity = stat::root_identity(&rustix::fs::fstat(&handle)?);
        let read = names::read(&handle, &folder, &mut self.buffer)?;
        let has_rules = self.request.read_ignore_files
            && read.names.binary_search_by(|name| (*name.text).cmp(IGNORE_FILE)).is_ok();
        Ok(Frame {
            folder,
            identity,
            handle: Some(handle),
            names: read.names.into_iter(),
            strange: read.strange,
            has_rules,
            waiting: Vec::new(),
        })
    }

    /// Begins with what is in a folder.
    fn enter(&mut self, mut frame: Frame) -> Result<(), Halt> {
        if frame.has_rules {
            let path = join(&frame.folder, IGNORE_FILE);
            if let Some(rules) = read_ignore_file(frame.open(&self.root, &self.patience)?, &path)? {
                self.request.filter.enter(&frame.folder, rules.clone());
                self.emit(Listed::Rules(frame.folder.clone(), rules))?;
            }
        }
        let strange = std::mem::take(&mut frame.strange);
        if !strange.is_empty() {
            let folder = frame.folder.clone();
            let handle = frame.open(&self.root, &self.patience)?;
            for item in names::tell_strange(self.local, handle, &folder, strange) {
                self.emit(item)?;
            }
        }
        self.frames.push(frame);
        if let Some(far) = self.frames.len().checked_sub(OPEN_FOLDERS + 1) {
            self.frames[far].handle = None;
        }
        Ok(())
    }

    fn visit(&mut self, name: &Name) -> Result<(), Halt> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        if frame.folder.is_empty() && frame.is_ours(&name.text, &self.root) {
            return Ok(());
        }
        let path = join(&frame.folder, &name.text);
        let key = Key::parse(&path)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("list `{path}`")).with_source(error))?;
        let handle = match frame.open(&self.root, &self.patience) {
            Ok(handle) => handle,
            Err(error) => return self.emit(Listed::Unknown(key, error)),
        };
        let now = self.local.clock.now();
        if is_reserved_name(&name.text) {
            let is_of_dead =
                reserved::tag(&name.text).is_some_and(|tag| self.request.leftover_tags.contains(&tag));
            let ours = is_of_dead && is_regular(handle, &name.text) || is_forgotten(handle, &name.text, now);
            return self.emit(if ours { Listed::Leftover(key) } else { Listed::Foreign(key) });
        }
        let mut kind = name.kind;
        let mut seen = None;
        if matches!(kind, FileType::RegularFile | FileType::Unknown) {
            match rustix::fs::statat(handle, &*name.text, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => (kind, seen) = (stat::kind(&stat), Some(stat)),
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return self.emit(Listed::Unknown(key, failure("look at", &path, error))),
            }
        }
        match (kind, seen) {
            (FileType::RegularFile, Some(stat)) => self.emit(Listed::File(self.local.entry(key, &stat, now))),
            (FileType::Directory, _) => self.visit_folder(key),
            (FileType::Symlink, _) => self.emit(Listed::Skipped(key, SkipReason::Symlink)),
            _ => self.emit(Listed::Skipped(key, SkipReason::Special)),
        }
    }

    fn visit_folder(&mut self, key: Key) -> Result<(), Halt> {
        if self.request.filter.excludes_folder(key.as_str()) {
            return Ok(());
        }
        let Some(parent) = self.frames.last_mut() else { return Ok(()) };
        let handle = parent.open(&self.root, &self.patience)?;
        let opened = self.patience.open(|| open_child(handle, key.file_name()));
        let read = opened.and_then(|handle| self.read_folder(key.as_str().to_owned(), handle));
        let mut frame = match read {
            Ok(frame) => frame,
            Err(Errno::XDEV) => return self.emit(Listed::Skipped(key, SkipReason::OtherFileSystem)),
            // It was there when its parent was read. Where it has gone the walk may not come to see, so what was in
            // it is not known to be deleted (B-38).
            Err(Errno::NOENT) => {
                let error = changed(key.as_str(), "was moved or removed while the tree was listed");
                return self.emit(Listed::Unknown(key, error.with_hint("run again")));
            }
            Err(error) => {
                let error = failure("list the folder", key.as_str(), error);
                return self.emit(Listed::Unknown(key, error));
            }
        };
        if self.request.must_not_meet.is_some_and(|other| other.is_same(&frame.identity)) {
            return Err(Halt::Failed(nested(self.local, key.as_str())));
        }
        if !self.local.keeps_inodes() {
            frame.identity.inode = 0;
        }
        if frame.identity.device != self.device {
            return self.emit(Listed::Skipped(key, SkipReason::OtherFileSystem));
        }
        if frame.names.as_slice().is_empty() && frame.strange.is_empty() {
            return self.emit(Listed::Skipped(key, SkipReason::EmptyFolder));
        }
        let Some(parent) = self.frames.last_mut() else { return Ok(()) };
        if parent
            .names
            .as_slice()
            .first()
            .is_some_and(|next| comes_before_content(&next.text, key.file_name()))
        {
            frame.handle = None;
            parent.waiting.push(frame);
            return Ok(());
        }
        self.enter(frame)
    }

    fn emit(&mut self, item: Listed) -> Result<(), Halt> {
        while let Some(key) = self.pending.pop_if(|key| key.as_str() <= &*item.position()) {
            if key.as_str() != item.position() {
                self.batch.push(broken_off(key));
            }
        }
        self.batch.push(item);
        if self.batch.len() >= BATCH_ITEMS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Halt> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_ITEMS));
        self.sender.blocking_send(Message::Batch(batch)).map_err(|_| Halt::Gone)
    }
}

impl Frame {
    /// Returns whether `name`, of the root, is what is ours there: a folder that folds names finds it by any spelling.
    fn is_ours(&self, name: &str, root: &OwnedFd) -> bool {
        let is_another = || self.names.as_slice().iter().any(|name| &*name.text == RESERVED_FOLDER);
        name == RESERVED_FOLDER
            || name.eq_ignore_ascii_case(RESERVED_FOLDER)
                && !is_another()
                && rustix::fs::statat(root, RESERVED_FOLDER, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Returns the folder, opening it again if it was closed; an error if it is another one now.
    fn open(&mut self, root: &OwnedFd, patience: &Patience) -> Result<&OwnedFd> {
        if self.handle.is_none() {
            let opened = patience.open(|| {
                let handle = open_folder(root, &self.folder)?;
                let identity = stat::root_identity(&rustix::fs::fstat(&handle)?);
                Ok((handle, identity))
            });
            let (handle, identity) =
                opened.map_err(|error| failure("list the folder", &self.folder, error))?;
            if !identity.is_still(&self.identity) {
                return Err(changed(&self.folder, "was replaced while it was listed"));
            }
            self.handle = Some(handle);
        }
        self.handle.as_ref().ok_or_else(|| changed(&self.folder, "was closed while it was listed"))
    }

    /// Takes the waiting folder whose content comes before the next name, if there is one.
    fn take_due(&mut self) -> Option<Self> {
        let waiting = self.waiting.last()?;
        let (_, name) = split(&waiting.folder);
        match self.names.as_slice().first() {
            Some(next) if comes_before_content(&next.text, name) => None,
            _ => self.waiting.pop(),
        }
    }
}

/// Returns whether `name`, which sorts after `folder`, sorts before `folder/`.
fn comes_before_content(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).and_then(|rest| rest.bytes().next()).is_some_and(|byte| byte < b'/')
}

/// A path that is missing although nobody removed it.
fn broken_off(key: Key) -> Listed {
    let doing = format!("look at `{key}`: an earlier run was stopped while it replaced it");
    let error = Error::new(ErrorKind::Unavailable, doing)
        .with_hint("the next operation that changes this folder puts the file back; run again");
    Listed::Unknown(key, error)
}

/// The other tree lies in this one, whatever its path says: files would multiply with every run.
fn nested(local: &Local, path: &str) -> Error {
    let whole = format!("{}/{path}", local.root.location().trim_end_matches('/'));
    let message = format!("one tree is inside the other: `{}` is the root of both", escape(whole.as_bytes()));
    Error::new(ErrorKind::Invalid, message)
        .with_hint("name two folders that lie apart; a bind mount makes no copy")
        .ending_the_run()
}

fn is_regular(folder: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat::kind(&stat) == FileType::RegularFile)
}

/// Returns whether a file was taken from its place to be thrown away, by a process that did not come to do it. Nobody who
/// lives leaves one for so long.
fn is_forgotten(folder: &OwnedFd, name: &str, now: Timestamp) -> bool {
    const NANOSECONDS: u128 = 3_600 * 1_000_000_000;
    reserved::kept(name).is_some()
        && rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            let changed = stat::changed(&stat);
            let is_old = changed < now && changed.distance_nanoseconds(now) > NANOSECONDS;
            is_old && stat::kind(&stat) == FileType::RegularFile
        })
}

/// How often a listing waits in vain for a descriptor before it stops waiting. Ours: more than bad luck.
const WAITS_IN_VAIN: u32 = 3;

/// Tries again a few times while the process or the system has no descriptor left: they come back when
/// other operations end. Where they never do, no listing of many folders waits for each of them.
#[derive(Debug, Default)]
struct Patience {
    in_vain: Cell<u32>,
}

impl Patience {
    fn open<T>(&self, mut open: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        let pauses: &[u64] = if self.in_vain.get() < WAITS_IN_VAIN { &[5, 20, 80, 300] } else { &[] };
        for pause in pauses {
            match open() {
                Err(Errno::MFILE | Errno::NFILE) => std::thread::sleep(Duration::from_millis(*pause)),
                other => {
                    self.in_vain.set(0);
                    return other;
                }
            }
        }
        let last = open();
        let in_vain = matches!(last, Err(Errno::MFILE | Errno::NFILE));
        self.in_vain.set(if in_vain { self.in_vain.get().saturating_add(1) } else { 0 });
        last
    }
}

/// Looks at one path as the walk would.
pub(super) fn head(local: &Local, key: &Key) -> Result<Option<Listed>> {
    if key.is_reserved() {
        return Ok(None);
    }
    let root = local.root.handle()?;
    let now = local.clock.now();
    let seen = open_folder(&root, key.parent().unwrap_or("")).and_then(|folder| {
        let stat = rustix::fs::statat(&folder, key.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        // What has another name than the one asked for is not it.
        let is_there = local.is_there(&folder, key.file_name())? && local.misspelled(&root, key)?.is_none();
        if is_there { Ok((folder, stat)) } else { Err(Errno::NOENT) }
    });
    let (folder, stat) = match seen {
        Ok(seen) => seen,
        // A name that is too long for the file system is not there either.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {
            let is_pending = local.pending()?.binary_search(key).is_ok();
            return Ok(is_pending.then(|| broken_off(key.clone())));
        }
        Err(error) => {
            return Ok(Some(Listed::Unknown(key.clone(), failure("look at", key.as_str(), error))));
        }
    };
    Ok(match stat::kind(&stat) {
        FileType::RegularFile => Some(Listed::File(local.entry(key.clone(), &stat, now))),
        FileType::Directory => head_of_folder(&root, &folder, key),
        FileType::Symlink => Some(Listed::Skipped(key.clone(), SkipReason::Symlink)),
        _ => Some(Listed::Skipped(key.clone(), SkipReason::Special)),
    })
}

/// A folder shows as such only if it is empty, another file system, or cannot be read.
fn head_of_folder(root: &OwnedFd, parent: &OwnedFd, key: &Key) -> Option<Listed> {
    let read = open_child(parent, key.file_name()).and_then(|folder| {
        let device = |handle| rustix::fs::fstat(handle).map(|stat| stat::root_identity(&stat).device);
        let crossed = device(&folder)? != device(root)?;
        Ok((crossed, names::read(&folder, key.as_str(), &mut Vec::with_capacity(32 * 1024))?))
    });
    match read {
        Ok((true, _)) | Err(Errno::XDEV) => Some(Listed::Skipped(key.clone(), SkipReason::OtherFileSystem)),
        Ok((false, read)) if read.is_empty() => Some(Listed::Skipped(key.clone(), SkipReason::EmptyFolder)),
        Ok(_) | Err(Errno::NOENT) => None,
        Err(error) => Some(Listed::Unknown(key.clone(), failure("list the folder", key.as_str(), error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_between_a_folder_and_its_content() {
        for (name, folder, expected) in [
            ("a-b", "a", true),
            ("a.txt", "a", true),
            ("a0", "a", false),
            ("b", "a", false),
            ("a\u{1}", "a", true),
        ] {
            assert_eq!(comes_before_content(name, folder), expected, "{name} {folder}");
        }
    }

    #[test]
    fn f10_a_shortage_that_stays_is_not_waited_for_in_every_folder() {
        let patience = Patience::default();
        let tries = |answer: fn() -> Result<(), Errno>| {
            let mut tries = 0;
            let end = patience.open(|| {
                tries += 1;
                answer()
            });
            (tries, end.is_ok())
        };
        for expected in [5, 5, 5, 1, 1] {
            assert_eq!(tries(|| Err(Errno::MFILE)), (expected, false));
        }
        assert_eq!(tries(|| Ok(())), (1, true));
        assert_eq!(tries(|| Err(Errno::NFILE)), (5, false), "once there were some it waits again");
    }
}
