//! A disk in memory that Linux mounts by FUSE, so that it can do what real disks do seldom: take two names
//! for one, spell names its own way, answer EIO, fail to make durable, lose power, hang, and list in pieces.
//!
//! The protocol is that of `linux/fuse.h`, version 7.31, as far as a folder needs it. Whoever mounts one runs in
//! a mount namespace of its own ([`in_own_mounts`]), so that nothing is left behind however the test ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Random, variable};

const ROOT: u64 = 1;

/// What a disk makes of a name.
pub(crate) type Rule = fn(&str) -> String;

/// What is in a file or a folder.
#[derive(Debug, Clone)]
enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<String, u64>),
}

#[derive(Debug, Clone)]
struct Node {
    content: Content,
    mode: u32,
    modified: (u64, u32),
    changed: (u64, u32),
    links: u32,
    /// User and group.
    owner: [u32; 2],
}

/// A change to names that is not durable yet: the folders it touches, and what the names become.
#[derive(Debug, Clone)]
struct Change {
    folders: BTreeSet<u64>,
    names: Vec<(u64, String, Option<u64>)>,
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Reading a file of this name fails from this offset on.
    pub(crate) unreadable: Option<(String, u64)>,
    /// Listing a folder of this name fails after its first entries.
    pub(crate) unlistable: Option<String>,
    /// Making a file durable fails this often; as with real kernels what was to be written is then forgotten, and
    /// the next try succeeds without it.
    pub(crate) failing_syncs: usize,
    /// Making a folder durable fails this often.
    pub(crate) failing_folder_syncs: usize,
    /// Requests for a file or folder of this name are never answered.
    pub(crate) silent: Option<String>,
    /// When a folder of this name is opened, something is moved: its path and its new one.
    pub(crate) moves: Option<(String, String, String)>,
    /// Every look at a name finds another inode number, as where the kernel has forgotten the file.
    pub(crate) forgets: bool,
    /// After this many more changes the power fails: every request ends in an error.
    pub(crate) power_for: Option<u64>,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// What each file holds after a power cut.
    durable_files: BTreeMap<u64, Node>,
    durable_folders: BTreeMap<u64, BTreeMap<String, u64>>,
    pending: Vec<Change>,
    /// Two names are one if this makes them equal.
    fold: Rule,
    /// How a name is stored.
    spell: Rule,
    pub(crate) faults: Faults,
    /// Changes so far.
    pub(crate) changes: u64,
    names: BTreeMap<u64, String>,
    /// Files whose last content the disk did not take.
    forgotten: BTreeSet<u64>,
    /// What is added to the numbers of files to make inode numbers.
    numbering: u64,
}

/// A disk and where it is mounted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    disk: Arc<Mutex<Disk>>,
    _folder: tempfile::TempDir,
}

/// Runs the named test again in a mount namespace of its own. Returns whether this process is the one in it;
/// `skip` says why there can be none.
pub(crate) fn in_own_mounts(test: &str, skip: fn(&str)) -> bool {
    const INSIDE: &str = "SYNCENGINE_TEST_IN_OWN_MOUNTS";
    if variable(INSIDE).is_some() {
        return true;
    }
    let flags: &[&str] = if rustix::process::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--user", "--map-root-user", "--mount"]
    };
    let tried = Command::new("unshare").args(flags).args(["sh", "-c", "exec 3<>/dev/fuse"]).output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        skip(&format!("{test} needs unshare and /dev/fuse: {tried:?}"));
        return false;
    }
    let binary = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(flags).arg(binary).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(command.status().unwrap().success(), "{test} in its own mount namespace");
    false
}

/// Names as they are.
pub(crate) fn plain(name: &str) -> String {
    name.to_owned()
}

/// Names of one spelling but for the case of letters.
pub(crate) fn case_folded(name: &str) -> String {
    name.to_lowercase()
}

/// As HFS+: accents apart from their letters. A few letters are enough for tests.
pub(crate) fn decomposed(name: &str) -> String {
    name.replace('é', "e\u{301}").replace('ü', "u\u{308}").replace('が', "か\u{3099}")
}

/// As FAT: no dots and spaces at the end.
pub(crate) fn trimmed(name: &str) -> String {
    name.trim_end_matches(['.', ' ']).to_owned()
}

impl Disk {
    pub(crate) fn new(fold: Rule, spell: Rule) -> Self {
        let root = Node {
            content: Content::Folder(BTreeMap::new()),
            mode: 0o040_755,
            modified: now(),
            changed: now(),
            links: 2,
            owner: [0, 0],
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            durable_files: BTreeMap::new(),
            durable_folders: BTreeMap::new(),
            pending: Vec::new(),
            fold,
            spell,
            faults: Faults::default(),
            changes: 0,
            names: BTreeMap::from([(ROOT, String::new())]),
            forgotten: BTreeSet::new(),
            numbering: 0,
        }
    }

    /// From now on two names are one if `fold` makes them equal.
    #[cfg(feature = "cli")]
    pub(crate) fn begin_to_fold(&mut self, fold: Rule) {
        self.fold = fold;
    }

    /// Mounts the disk on a new folder.
    pub(crate) fn mount(self) -> Mounted {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).unwrap();
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0", device.as_raw_fd());
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", &options, "test"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(mounted.status.success(), "{mounted:?}");
        let disk = Arc::new(Mutex::new(self));
        let served = Arc::clone(&disk);
        std::thread::spawn(move || serve(device, &served));
        Mounted { path, disk, _folder: folder }
    }

    fn entries(&mut self, folder: u64) -> Result<&mut BTreeMap<String, u64>, Errno> {
        match self.nodes.get_mut(&folder) {
            Some(Node { content: Content::Folder(entries), .. }) => Ok(entries),
            Some(_) => Err(Errno::NOTDIR),
            None => Err(Errno::STALE),
        }
    }

    /// Returns the stored name and the node that `name` means.
    fn find(&mut self, folder: u64, name: &str) -> Result<(String, u64), Errno> {
        let (fold, spell) = (self.fold, self.spell);
        let wanted = fold(&spell(name));
        let entries = self.entries(folder)?;
        let found = entries.iter().find(|(stored, _)| fold(stored) == wanted);
        found.map(|(stored, node)| (stored.clone(), *node)).ok_or(Errno::NOENT)
    }

    /// Changes names, for now and, later, durably.
    fn change(&mut self, names: Vec<(u64, String, Option<u64>)>) -> Result<(), Errno> {
        for (folder, name, node) in &names {
            let entries = self.entries(*folder)?;
            match node {
                Some(node) => drop(entries.insert(name.clone(), *node)),
                None => drop(entries.remove(name)),
            }
            if let Some(node) = node {
                self.names.insert(*node, name.clone());
            }
            if let Some(folder) = self.nodes.get_mut(folder) {
                (folder.modified, folder.changed) = (now(), now());
            }
        }
        let folders = names.iter().map(|(folder, ..)| *folder).collect();
        self.pending.push(Change { folders, names });
        Ok(())
    }

    /// Makes the names in a folder durable, and what they depend on.
    fn sync_folder(&mut self, folder: u64) {
        let mut wanted = BTreeSet::from([folder]);
        let mut taken: Vec<Change> = Vec::new();
        let mut kept = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            if change.folders.is_disjoint(&wanted) {
                kept.push(change);
            } else {
                wanted.extend(&change.folders);
                taken.push(change);
            }
        }
        self.pending = kept.into_iter().rev().collect();
        for change in taken.into_iter().rev() {
            self.make_durable(change);
        }
    }

    fn make_durable(&mut self, change: Change) {
        for (folder, name, node) in change.names {
            let entries = self.durable_folders.entry(folder).or_default();
            match node {
                Some(node) => drop(entries.insert(name, node)),
                None => drop(entries.remove(&name)),
            }
        }
    }

    /// Moves something, as another program would.
    fn move_now(&mut self, from: &str, to: &str) {
        let folder = |disk: &mut Self, path: &str| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut at = ROOT;
            for name in folder.split('/').filter(|name| !name.is_empty()) {
                at = disk.find(at, name).unwrap().1;
            }
            (at, name.to_owned())
        };
        let (from, to) = (folder(self, from), folder(self, to));
        self.rename((from.0, &from.1), (to.0, &to.1), 0).unwrap();
    }

    /// Gives every file another inode number, as when it is mounted again.
    pub(crate) fn renumber(&mut self) {
        self.numbering += 1_000_000;
    }

    /// Makes everything durable, as after a minute.
    pub(crate) fn settle(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.make_durable(change);
        }
        for (number, node) in &self.nodes {
            if matches!(node.content, Content::File(_)) {
                self.durable_files.insert(*number, node.clone());
            }
        }
    }

    /// Comes back after a power cut: of what was not made durable some changes of names are there, in their order, and
    /// no content.
    pub(crate) fn come_back(&mut self, random: &mut Random) {
        let kept = random.below(self.pending.len() + 1);
        for change in std::mem::take(&mut self.pending).into_iter().take(kept) {
            self.make_durable(change);
        }
        self.faults = Faults::default();
        let mut waiting = vec![ROOT];
        let mut nodes = BTreeMap::new();
        while let Some(number) = waiting.pop() {
            let Some(mut node) = self.nodes.get(&number).cloned() else { continue };
            match &mut node.content {
                Content::Folder(entries) => {
                    *entries = self.durable_folders.get(&number).cloned().unwrap_or_default();
                    waiting.extend(entries.values());
                }
                Content::File(bytes) => match self.durable_files.get(&number) {
                    Some(durable) => node = durable.clone(),
                    None => bytes.clear(),
                },
            }
            nodes.insert(number, node);
        }
        self.nodes = nodes;
    }

    /// Returns the contents of all files below a folder of the root, by path; what is ours is left out.
    #[cfg(feature = "cli")]
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![(ROOT, String::new())];
        while let Some((number, path)) = waiting.pop() {
            match self.nodes.get(&number).map(|node| &node.content) {
                Some(Content::Folder(entries)) => {
                    let inner = entries.iter().map(|(name, number)| (*number, format!("{path}/{name}")));
                    waiting.extend(inner);
                }
                Some(Content::File(bytes)) => {
                    if let Some(name) = path.strip_prefix(&format!("/{folder}/")) {
                        found.insert(name.to_owned(), bytes.clone());
                    }
                }
                None => {}
            }
        }
        found
    }

    fn add(&mut self, folder: u64, name: &str, content: Content, mode: u32) -> Result<u64, Errno> {
        if self.find(folder, name).is_ok() {
            return Err(Errno::EXIST);
        }
        let number = self.next;
        self.next += 1;
        let (modified, changed) = (now(), now());
        self.nodes.insert(number, Node { content, mode, modified, changed, links: 1, owner: [0, 0] });
        self.change(vec![(folder, (self.spell)(name), Some(number))])?;
        Ok(number)
    }

    fn rename(&mut self, from: (u64, &str), to: (u64, &str), flags: u32) -> Result<(), Errno> {
        const NOREPLACE: u32 = 1;
        const EXCHANGE: u32 = 2;
        let (old_name, node) = self.find(from.0, from.1)?;
        let target = self.find(to.0, to.1);
        let moved = |number: &u64, nodes: &mut BTreeMap<u64, Node>| {
            if let Some(node) = nodes.get_mut(number) {
                node.changed = now();
            }
        };
        moved(&node, &mut self.nodes);
        match (flags, target) {
            (EXCHANGE, Ok((new_name, other))) => {
                moved(&other, &mut self.nodes);
                self.change(vec![(from.0, old_name, Some(other)), (to.0, new_name, Some(node))])
            }
            (EXCHANGE, Err(error)) => Err(error),
            (NOREPLACE, Ok(_)) => Err(Errno::EXIST),
            (_, Ok((new_name, _))) => {
                self.change(vec![(from.0, old_name, None), (to.0, new_name, Some(node))])
            }
            (_, Err(_)) => {
                let new_name = (self.spell)(to.1);
                self.change(vec![(from.0, old_name, None), (to.0, new_name, Some(node))])
            }
        }
    }

    fn remove(&mut self, folder: u64, name: &str, wants_folder: bool) -> Result<(), Errno> {
        let (name, number) = self.find(folder, name)?;
        match &self.nodes.get(&number).ok_or(Errno::STALE)?.content {
            Content::Folder(_) if !wants_folder => return Err(Errno::ISDIR),
            Content::File(_) if wants_folder => return Err(Errno::NOTDIR),
            Content::Folder(entries) if !entries.is_empty() => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        self.change(vec![(folder, name, None)])
    }

    fn is_named(&self, number: u64, name: Option<&String>) -> bool {
        name.is_some() && self.names.get(&number) == name
    }
}

impl Mounted {
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever still waits for an answer is released with the connection.
        drop(Command::new("umount").arg("-l").arg(&self.path as &Path).output());
    }
}

#[expect(clippy::disallowed_methods, reason = "files on a disk carry the time")]
fn now() -> (u64, u32) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_secs(), now.subsec_nanos())
}

/// Numbers out of a request.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// Returns the text that begins at `at` and ends before a NUL byte, and where the next one begins.
    fn text(&self, at: usize) -> (&'a str, usize) {
        let end = at + self.0[at..].iter().position(|byte| *byte == 0).unwrap();
        (std::str::from_utf8(&self.0[at..end]).unwrap(), end + 1)
    }
}

/// Answers until the disk is unmounted.
fn serve(mut device: File, disk: &Mutex<Disk>) {
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let count = match device.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => continue,
            // A request that was taken back before it was read.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => continue,
            Err(_) => return,
        };
        let request = Words(&buffer[..count]);
        let (operation, unique, node) = (request.u32(4), request.u64(8), request.u64(16));
        // FORGET and BATCH_FORGET want no answer.
        if matches!(operation, 2 | 42) {
            continue;
        }
        // INTERRUPT is about another request, which is answered now.
        let (unique, interrupted) = if operation == 36 { (request.u64(40), true) } else { (unique, false) };
        let answer = if interrupted {
            Err(Errno::INTR)
        } else {
            let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&mut disk, operation, node, &Words(&request.0[40..]))
        };
        let (error, body) = match answer {
            Ok(Some(body)) => (0, body),
            Ok(None) => continue,
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + body.len());
        reply.extend(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        // The caller may be gone.
        device.write_all(&reply).unwrap_or_default();
    }
}

/// Returns the body of the answer; `None` for silence.
#[expect(clippy::too_many_lines, reason = "one arm for each operation of the protocol")]
fn answer(disk: &mut Disk, operation: u32, number: u64, words: &Words<'_>) -> Result<Option<Vec<u8>>, Errno> {
    const CHANGES: [u32; 11] = [4, 8, 9, 10, 11, 12, 13, 16, 20, 35, 45];
    if CHANGES.contains(&operation) {
        disk.changes += 1;
        if let Some(left) = &mut disk.faults.power_for {
            *left = left.saturating_sub(1);
        }
    }
    if disk.faults.power_for == Some(0) && operation != 26 {
        return Err(Errno::IO);
    }
    if operation != 26 && disk.is_named(number, disk.faults.silent.as_ref()) {
        return Ok(None);
    }
    let done = || Ok(Some(Vec::new()));
    match operation {
        // INIT: 7.31, writes of 128 KiB, times in nanoseconds.
        26 => {
            let mut body = Vec::new();
            for word in [7_u32, 31, 0, 0, 0, 128 * 1024, 1] {
                body.extend(word.to_ne_bytes());
            }
            body.resize(64, 0);
            Ok(Some(body))
        }
        // LOOKUP
        1 => {
            let (_, found) = disk.find(number, words.text(0).0)?;
            disk.numbering += if disk.faults.forgets { 1_000_000 } else { 0 };
            entry(disk, found)
        }
        // GETATTR
        3 => attributes(disk, number),
        // SETATTR
        4 => set_attributes(disk, number, words),
        // MKNOD, MKDIR
        8 => {
            let made = disk.add(number, words.text(16).0, Content::File(Vec::new()), words.u32(0))?;
            entry(disk, made)
        }
        9 => {
            let mode = 0o040_000 | (words.u32(0) & 0o7777);
            let made = disk.add(number, words.text(8).0, Content::Folder(BTreeMap::new()), mode)?;
            entry(disk, made)
        }
        // UNLINK, RMDIR
        10 => disk.remove(number, words.text(0).0, false).and_then(|()| done()),
        11 => disk.remove(number, words.text(0).0, true).and_then(|()| done()),
        // RENAME, RENAME2
        12 | 45 => {
            let (names, flags) = if operation == 12 { (8, 0) } else { (16, words.u32(8)) };
            let (old, next) = words.text(names);
            let (new, _) = words.text(next);
            disk.rename((number, old), (words.u64(0), new), flags)?;
            done()
        }
        // LINK
        13 => {
            let (name, linked) = (words.text(8).0, words.u64(0));
            if disk.find(number, name).is_ok() {
                return Err(Errno::EXIST);
            }
            let node = disk.nodes.get_mut(&linked).ok_or(Errno::STALE)?;
            node.links += 1;
            disk.change(vec![(number, (disk.spell)(name), Some(linked))])?;
            entry(disk, linked)
        }
        // OPEN, OPENDIR: past the page cache.
        14 | 27 => {
            if operation == 27
                && let Some((_, from, to)) =
                    disk.faults.moves.take_if(|(name, ..)| disk.names.get(&number) == Some(name))
            {
                disk.move_now(&from, &to);
            }
            if operation == 14
                && words.u32(0) & 0o1000 != 0
                && let Some(Node { content: Content::File(bytes), .. }) = disk.nodes.get_mut(&number)
            {
                bytes.clear();
            }
            Ok(Some(opened()))
        }
        // READ
        15 => read(disk, number, words),
        // WRITE
        16 => write(disk, number, words),
        // STATFS
        17 => {
            let mut body = Vec::new();
            for word in [1_u64 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19] {
                body.extend(word.to_ne_bytes());
            }
            for word in [4096_u32, 255, 4096, 0] {
                body.extend(word.to_ne_bytes());
            }
            body.resize(80, 0);
            Ok(Some(body))
        }
        // RELEASE, RELEASEDIR, FLUSH, ACCESS
        18 | 29 | 25 | 34 => done(),
        // FSYNC
        20 => {
            if disk.faults.failing_syncs > 0 {
                disk.faults.failing_syncs -= 1;
                disk.forgotten.insert(number);
                return Err(Errno::IO);
            }
            let node = disk.nodes.get(&number).cloned().ok_or(Errno::STALE)?;
            if !disk.forgotten.contains(&number) {
                disk.durable_files.insert(number, node);
            }
            done()
        }
        // READDIR
        28 => list(disk, number, words),
        // FSYNCDIR
        30 => {
            if disk.faults.failing_folder_syncs > 0 {
                disk.faults.failing_folder_syncs -= 1;
                return Err(Errno::IO);
            }
            disk.sync_folder(number);
            done()
        }
        // CREATE
        35 => {
            let made = disk.add(number, words.text(16).0, Content::File(Vec::new()), words.u32(4))?;
            let Some(mut body) = entry(disk, made)? else { return Ok(None) };
            body.extend(opened());
            Ok(Some(body))
        }
        _ => Err(Errno::NOSYS),
    }
}

fn opened() -> Vec<u8> {
    const DIRECT_IO: u32 = 1;
    let mut body = 0_u64.to_ne_bytes().to_vec();
    body.extend(DIRECT_IO.to_ne_bytes());
    body.extend(0_u32.to_ne_bytes());
    body
}

fn attribute_words(disk: &Disk, number: u64) -> Result<Vec<u8>, Errno> {
    let node = disk.nodes.get(&number).ok_or(Errno::STALE)?;
    let size = match &node.content {
        Content::File(bytes) => bytes.len() as u64,
        Content::Folder(_) => 4096,
    };
    let mut body = Vec::new();
    for word in
        [number + disk.numbering, size, size.div_ceil(512), node.modified.0, node.modified.0, node.changed.0]
    {
        body.extend(word.to_ne_bytes());
    }
    let [user, group] = node.owner;
    for word in [node.modified.1, node.modified.1, node.changed.1, node.mode, node.links, user, group] {
        body.extend(word.to_ne_bytes());
    }
    for word in [0, 4096, 0_u32] {
        body.extend(word.to_ne_bytes());
    }
    Ok(body)
}

/// Nothing is remembered by the kernel: every look asks again.
fn entry(disk: &Disk, number: u64) -> Result<Option<Vec<u8>>, Errno> {
    let mut body = number.to_ne_bytes().to_vec();
    body.resize(40, 0);
    body.extend(attribute_words(disk, number)?);
    Ok(Some(body))
}

fn attributes(disk: &Disk, number: u64) -> Result<Option<Vec<u8>>, Errno> {
    let mut body = vec![0; 16];
    body.extend(attribute_words(disk, number)?);
    Ok(Some(body))
}

fn set_attributes(disk: &mut Disk, number: u64, words: &Words<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let has = |bit: u32| words.u32(0) & (1 << bit) != 0;
    let node = disk.nodes.get_mut(&number).ok_or(Errno::STALE)?;
    if has(0) {
        node.mode = (node.mode & 0o170_000) | (words.u32(68) & 0o7777);
    }
    for (bit, at) in [(1, 76), (2, 80)] {
        if has(bit) {
            node.owner[bit as usize - 1] = words.u32(at);
        }
    }
    if has(3)
        && let Content::File(bytes) = &mut node.content
    {
        bytes.resize(usize::try_from(words.u64(16)).unwrap(), 0);
    }
    if has(5) {
        node.modified = if has(8) { now() } else { (words.u64(40), words.u32(60)) };
    }
    node.changed = now();
    attributes(disk, number)
}

fn read(disk: &Disk, number: u64, words: &Words<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let (from, count) = (words.u64(8), words.u32(16) as usize);
    if let Some((name, offset)) = &disk.faults.unreadable
        && disk.is_named(number, Some(name))
        && from + count as u64 > *offset
    {
        return Err(Errno::IO);
    }
    match disk.nodes.get(&number).map(|node| &node.content) {
        Some(Content::File(bytes)) => {
            let from = usize::try_from(from).unwrap().min(bytes.len());
            Ok(Some(bytes[from..(from + count).min(bytes.len())].to_vec()))
        }
        Some(Content::Folder(_)) => Err(Errno::ISDIR),
        None => Err(Errno::STALE),
    }
}

fn write(disk: &mut Disk, number: u64, words: &Words<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let (at, count) = (usize::try_from(words.u64(8)).unwrap(), words.u32(16));
    let data = &words.0[40..40 + count as usize];
    let node = disk.nodes.get_mut(&number).ok_or(Errno::STALE)?;
    let Content::File(bytes) = &mut node.content else { return Err(Errno::ISDIR) };
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
    disk.forgotten.remove(&number);
    (node.modified, node.changed) = (now(), now());
    let mut body = count.to_ne_bytes().to_vec();
    body.extend(0_u32.to_ne_bytes());
    Ok(Some(body))
}

fn list(disk: &mut Disk, number: u64, words: &Words<'_>) -> Result<Option<Vec<u8>>, Errno> {
    /// So that a listing takes several requests, and can fail in its middle.
    const AT_ONCE: usize = 3;
    let (from, room) = (usize::try_from(words.u64(8)).unwrap(), words.u32(16) as usize);
    if from > 0 && disk.is_named(number, disk.faults.unlistable.as_ref()) {
        return Err(Errno::IO);
    }
    let entries = disk.entries(number)?.clone();
    let mut body = Vec::new();
    for (at, (name, inner)) in entries.iter().enumerate().skip(from).take(AT_ONCE) {
        let is_folder = matches!(disk.nodes.get(inner), Some(Node { content: Content::Folder(_), .. }));
        let mut record = inner.to_ne_bytes().to_vec();
        record.extend((at as u64 + 1).to_ne_bytes());
        record.extend(u32::try_from(name.len()).unwrap().to_ne_bytes());
        record.extend(if is_folder { 4_u32 } else { 8 }.to_ne_bytes());
        record.extend(name.as_bytes());
        record.resize(record.len().next_multiple_of(8), 0);
        if body.len() + record.len() > room {
            break;
        }
        body.extend(record);
    }
    Ok(Some(body))
}
