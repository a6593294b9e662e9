//! Where files are: a bucket or a folder, as anybody can see it, and what is hidden in it.
//!
//! A place knows nothing of machines or calls. It keeps its own history: which contents it ever had, which
//! version each fingerprint stood for, and since when each name is taken.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use syncengine::entry::Entry;
use syncengine::fingerprint::{ContentHash, ETag, FileStat, Fingerprint, HashForm, Hasher};
use syncengine::{Key, Timestamp};

/// From this many bytes on an upload is in parts.
pub(crate) const LARGE: usize = 32;

/// The size of parts: larger than any content here, so that an upload in parts has one.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// What kind of place it is, and how it behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bucket {
        /// ETags are not made of the content.
        opaque: bool,
        ignores: Ignored,
    },
    Folder {
        /// The unit of its stamps, in nanoseconds.
        tick: u32,
        /// It takes names that differ only in the case of letters for one.
        folds: bool,
        inodes: Inodes,
    },
}

/// What inode numbers are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inodes {
    Last,
    /// They do not last, and the client knows it.
    Forgotten,
    /// They are others whenever the disk is put in again, and nobody knows it before.
    Renumbered,
}

/// Which conditions a store does not look at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ignored {
    pub(crate) create: bool,
    pub(crate) replace: bool,
    pub(crate) delete: bool,
}

/// One version.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) content: Bytes,
    pub(crate) modified: Timestamp,
    pub(crate) changed: Timestamp,
    pub(crate) inode: u64,
    pub(crate) etag: ETag,
    /// The run that wrote it, where that is kept.
    pub(crate) written_by: Option<u32>,
}

/// What a fingerprint says, as a key of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Print {
    Object(String),
    File(Timestamp, Timestamp, u64),
}

/// What a folder was before an operation that is not durable yet, and the names it is about.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    names: Vec<String>,
    files: BTreeMap<String, File>,
    trash: Vec<(String, Bytes)>,
}

/// What a backup of a place has.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    files: BTreeMap<String, File>,
    trash: Vec<(String, Bytes)>,
    markers: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// Which tree it is, wherever it is put: the number of its root.
    pub(crate) root: u64,
    pub(crate) files: BTreeMap<String, File>,
    /// The run that kept it, and the content.
    pub(crate) trash: Vec<(String, Bytes)>,
    /// Temporaries and the tag of the run that made them.
    pub(crate) temporaries: BTreeMap<String, (u32, Bytes)>,
    /// The times that temporaries are to have.
    pub(crate) times: BTreeMap<String, Timestamp>,
    pub(crate) markers: BTreeSet<String>,
    /// Backups of it, the latest last.
    pub(crate) moments: Vec<Moment>,
    /// The machines that have not come to rest with it since it was put back to an earlier moment.
    pub(crate) doubted_by: BTreeSet<usize>,
    /// Those of them that had left no marker there which could tell.
    pub(crate) unseen_by: BTreeSet<usize>,
    /// A folder that cannot be read for now.
    pub(crate) unreadable: Option<String>,
    /// What each name had before its latest change, and when that was: what a stale listing shows.
    pub(crate) before: BTreeMap<String, (u64, Option<File>)>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) free_inode: Option<u64>,
    /// What the engine has copied here to rename it.
    pub(crate) renamed: BTreeSet<Bytes>,
    /// The names that users took away here and gave to nothing else, since it was put back.
    pub(crate) taken_away: BTreeSet<String>,
    /// The names under which users wrote something here since it was put back.
    pub(crate) written_anew: BTreeSet<String>,
    /// Names that a run has given files here, and no user since.
    pub(crate) brought: BTreeSet<String>,
    /// Names that a machine has given objects here, and that no run of it which came to its end has seen listed since.
    pub(crate) unlisted: BTreeMap<String, (usize, ETag)>,
    /// Those of them that a run under way has seen listed.
    pub(crate) listed: BTreeMap<String, (usize, ETag)>,
    ever: BTreeSet<Bytes>,
    shown: BTreeMap<(String, Print), BTreeSet<Bytes>>,
    taken_since: BTreeMap<String, u64>,
    /// When names were last given up.
    left_at: BTreeMap<String, u64>,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            root: 0,
            files: BTreeMap::new(),
            trash: Vec::new(),
            temporaries: BTreeMap::new(),
            times: BTreeMap::new(),
            markers: BTreeSet::new(),
            moments: Vec::new(),
            doubted_by: BTreeSet::new(),
            unseen_by: BTreeSet::new(),
            unreadable: None,
            before: BTreeMap::new(),
            pending: Vec::new(),
            free_inode: None,
            renamed: BTreeSet::new(),
            taken_away: BTreeSet::new(),
            written_anew: BTreeSet::new(),
            brought: BTreeSet::new(),
            unlisted: BTreeMap::new(),
            listed: BTreeMap::new(),
            ever: BTreeSet::new(),
            shown: BTreeMap::new(),
            taken_since: BTreeMap::new(),
            left_at: BTreeMap::new(),
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder { .. })
    }

    pub(crate) fn folds(&self) -> bool {
        matches!(self.kind, Kind::Folder { folds: true, .. })
    }

    /// Returns `name` as it would be stored here: what is there in another spelling, file or folder, keeps that.
    pub(crate) fn spelling(&self, name: &str) -> String {
        let mut spelled = name.to_owned();
        if !self.folds() {
            return spelled;
        }
        for path in prefixes(name) {
            let mut all = self.files.keys().chain(self.temporaries.keys()).flat_map(|name| prefixes(name));
            if let Some(there) = all.find(|there| there.eq_ignore_ascii_case(path)) {
                spelled.replace_range(..path.len(), there);
            }
        }
        spelled
    }

    pub(crate) fn has(&self, content: &Bytes) -> bool {
        self.files.values().any(|file| file.content == content) || self.is_kept(content)
    }

    pub(crate) fn is_kept(&self, content: &Bytes) -> bool {
        self.trash.iter().any(|(_, kept)| kept == content)
    }

    /// Returns whether the place ever had this content.
    pub(crate) fn ever_had(&self, content: &Bytes) -> bool {
        self.ever.contains(content)
    }

    /// Returns whether a file of this name ever had this content here.
    pub(crate) fn ever_had_as(&self, name: &str, content: &Bytes) -> bool {
        let mut shown = self.shown.range((name.to_owned(), Print::Object(String::new()))..);
        shown
            .by_ref()
            .take_while(|((other, _), _)| other == name)
            .any(|(_, contents)| contents.contains(content))
    }

    /// Returns whether anything ever had a name that begins so.
    pub(crate) fn ever_named_from(&self, beginning: &str) -> bool {
        self.taken_since
            .range(beginning.to_owned()..)
            .next()
            .is_some_and(|(name, _)| name.starts_with(beginning))
    }

    /// Returns whether there was a moment since `tick` at which nothing had the name.
    pub(crate) fn was_free_since(&self, name: &str, tick: u64) -> bool {
        !self.files.contains_key(name) || self.taken_since.get(name).is_some_and(|since| *since >= tick)
    }

    /// Returns the contents that `fingerprint` stood for under a name.
    pub(crate) fn shown_as(&self, name: &str, fingerprint: &Fingerprint) -> Option<BTreeSet<Bytes>> {
        let wanted = print(fingerprint);
        let Print::File(modified, changed, 0) = wanted else {
            return self.shown.get(&(name.to_owned(), wanted)).cloned();
        };
        // Without a number it can be any that had these times.
        let first = (name.to_owned(), Print::File(modified, changed, 0));
        let last = (name.to_owned(), Print::File(modified, changed, u64::MAX));
        let found: BTreeSet<Bytes> =
            self.shown.range(first..=last).flat_map(|(_, contents)| contents.iter().cloned()).collect();
        (!found.is_empty()).then_some(found)
    }

    /// Returns `time` as this place stores it.
    pub(crate) fn stamp(&self, time: Timestamp) -> Timestamp {
        match self.kind {
            Kind::Bucket { .. } => time,
            Kind::Folder { tick, .. } => {
                let unit = i64::from(tick.div_ceil(1_000_000_000).max(1));
                let seconds = if tick >= 1_000_000_000 { time.seconds / unit * unit } else { time.seconds };
                let fraction = if tick >= 1_000_000_000 { 0 } else { time.nanoseconds };
                Timestamp::new(seconds, fraction)
            }
        }
    }

    /// Returns whether the file of a name is the one that was there before `tick`.
    pub(crate) fn had_before(&self, name: &str, tick: u64) -> bool {
        let is_old = |since: u64| since < tick;
        self.files.contains_key(name)
            && self.taken_since.get(name).is_some_and(|since| is_old(*since))
            && self.before.get(name).is_none_or(|(since, _)| is_old(*since))
    }

    pub(crate) fn set(&mut self, name: &str, file: File, tick: u64) {
        self.ever.insert(file.content.clone());
        let print = print(&self.entry(name, &file, file.changed).fingerprint);
        self.shown.entry((name.to_owned(), print)).or_default().insert(file.content.clone());
        let old = self.files.insert(name.to_owned(), file);
        if old.is_none() {
            self.taken_since.insert(name.to_owned(), tick);
        }
        self.before.insert(name.to_owned(), (tick, old));
    }

    pub(crate) fn take(&mut self, name: &str, tick: u64) -> Option<File> {
        let file = self.files.remove(name)?;
        self.free_inode = Some(file.inode);
        self.left_at.insert(name.to_owned(), tick);
        self.before.insert(name.to_owned(), (tick, Some(file.clone())));
        Some(file)
    }

    /// Returns the file as a listing at `now` shows it.
    pub(crate) fn entry(&self, name: &str, file: &File, now: Timestamp) -> Entry {
        let fingerprint = if self.is_folder() {
            let tick = if file.changed.nanoseconds == 0 { 2_000_000_000 } else { 20_000_000 };
            let day = 86_400 * 1_000_000_000;
            let least = if file.changed <= now { tick } else { day };
            let settled = now.distance_nanoseconds(file.changed) >= least;
            let File { modified, changed, inode, .. } = *file;
            Fingerprint::File(FileStat { modified, changed, inode, settled })
        } else {
            Fingerprint::Object(file.etag.clone())
        };
        let modified = Some(file.modified);
        let (key, size) = (Key::parse(name).unwrap(), file.content.len() as u64);
        Entry { key, size, modified, stored: None, fingerprint }
    }

    /// Returns the file `entry` is about, if it still is that version.
    pub(crate) fn expect(&self, entry: &Entry) -> Option<&File> {
        let file = self.files.get(entry.key.as_str())?;
        let now = self.entry(entry.key.as_str(), file, file.changed);
        let is_it = match (&now.fingerprint, &entry.fingerprint) {
            (Fingerprint::File(now), Fingerprint::File(then)) => now.is_same(then),
            (now, then) => now == then,
        };
        (now.size == entry.size && is_it).then_some(file)
    }

    /// Gives every file another inode number, as when the disk was taken out and put in again.
    pub(crate) fn renumber(&mut self, mut next: impl FnMut() -> u64) {
        for (name, mut file) in self.files.clone() {
            file.inode = next();
            let print = print(&self.entry(&name, &file, file.changed).fingerprint);
            self.shown.entry((name.clone(), print)).or_default().insert(file.content.clone());
            self.files.insert(name, file);
        }
        self.free_inode = None;
    }

    /// Returns whether a backup is of before the place was synced by all that have synced it by now.
    pub(crate) fn is_unmarked(&self, moment: usize) -> bool {
        fn pairs(markers: &BTreeSet<String>) -> BTreeSet<&str> {
            markers.iter().map(|name| name.split('.').next().unwrap_or(name)).collect()
        }
        let Some(moment) = self.moments.get(moment) else { return true };
        moment.markers.is_empty() || !pairs(&self.markers).is_subset(&pairs(&moment.markers))
    }

    /// Takes a backup of everything, as it is.
    pub(crate) fn back_up(&mut self) {
        let (files, trash, markers) = (self.files.clone(), self.trash.clone(), self.markers.clone());
        self.moments.push(Moment { files, trash, markers });
    }

    /// Puts everything back to a moment, each file as a new one.
    pub(crate) fn put_back(
        &mut self,
        moment: usize,
        tick: u64,
        now: Timestamp,
        mut next: impl FnMut() -> u64,
    ) {
        let Some(Moment { files, trash, markers }) = self.moments.get(moment).cloned() else { return };
        for name in self.files.keys().cloned().collect::<Vec<_>>() {
            self.take(&name, tick);
        }
        self.temporaries.clear();
        self.pending.clear();
        self.before.clear();
        self.taken_away.clear();
        self.written_anew.clear();
        for (name, file) in files {
            let etag = self.etag(&file.content, next());
            let changed = self.stamp(now);
            self.set(&name, File { changed, inode: next(), etag, ..file }, tick);
        }
        self.before.clear();
        self.free_inode = None;
        (self.trash, self.markers) = (trash, markers);
    }

    /// Returns whether a backup has just what is here.
    pub(crate) fn is_at(&self, moment: usize) -> bool {
        let content = |files: &BTreeMap<String, File>| -> Vec<(String, Bytes)> {
            files.iter().map(|(name, file)| (name.clone(), file.content.clone())).collect()
        };
        self.moments.get(moment).is_some_and(|moment| content(&moment.files) == content(&self.files))
    }

    /// Returns whether a name had no room here at some time since `tick`: for a file or folder in its way, or for another
    /// name that differs from it in the case of letters only.
    pub(crate) fn had_no_room(&self, name: &str, tick: u64) -> bool {
        let key = Key::parse(name).unwrap();
        let is_against = |other: &str| {
            are_alike(other, name) || key.is_below(other) || Key::parse(other).unwrap().is_below(name)
        };
        let mut gone = self.left_at.iter().filter(|(_, left)| **left >= tick);
        self.files.keys().any(|other| is_against(other)) || gone.any(|(other, _)| is_against(other))
    }

    /// Returns what a store calls this content.
    pub(crate) fn etag(&self, content: &Bytes, number: u64) -> ETag {
        match self.kind {
            Kind::Bucket { opaque: true, .. } => ETag::new(&format!("opaque-version-{number}")),
            Kind::Bucket { .. } => hash(content).etag(),
            Kind::Folder { .. } => ETag::new(""),
        }
    }

    /// Returns whether something stands above or below a name, so that a folder could not have both.
    pub(crate) fn is_in_the_way(&self, name: &str) -> bool {
        let key = Key::parse(name).unwrap();
        self.files.keys().any(|other| key.is_below(other) || Key::parse(other).unwrap().is_below(name))
    }

    /// Returns whether a name is a folder with temporaries in it.
    pub(crate) fn is_folder_of_ours(&self, name: &str) -> bool {
        self.temporaries.keys().any(|other| Key::parse(other).unwrap().is_below(name))
    }

    /// Returns whether a name is both a file and a folder, as only a bucket can have it.
    pub(crate) fn collides(&self) -> bool {
        self.files.keys().any(|name| {
            let below = format!("{name}/");
            self.files.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
        })
    }

    /// Notes that what comes next can be undone by a power cut.
    pub(crate) fn begin(&mut self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (files, trash) = (self.files.clone(), self.trash.clone());
        self.pending.push(Pending { names, files, trash });
    }

    /// Returns whether something is visible that is not durable.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn is_pending(&self, name: &str) -> bool {
        self.pending.iter().any(|pending| pending.names.iter().any(|one| one == name))
    }

    /// Forgets the latest operations that are not durable, all from `kept` on.
    pub(crate) fn cut_power(&mut self, kept: usize) -> bool {
        let names: Vec<String> =
            self.pending.iter().skip(kept).flat_map(|pending| pending.names.clone()).collect();
        let undone = self.pending.drain(..).nth(kept);
        let is_undone = undone.is_some();
        if let Some(undone) = undone {
            for name in names {
                let Some(file) = self.files.get(&name) else { continue };
                // Nobody has seen it there.
                let print = print(&self.entry(&name, file, file.changed).fingerprint);
                self.shown.remove(&(name, print));
            }
            self.files = undone.files;
            self.trash = undone.trash;
        }
        is_undone
    }

    pub(crate) fn tree(&self) -> BTreeMap<String, Bytes> {
        self.files.iter().map(|(name, file)| (name.clone(), file.content.clone())).collect()
    }
}

/// Returns whether two names, or folders they are in, differ in the case of letters only.
pub(crate) fn are_alike(one: &str, other: &str) -> bool {
    let differ = |(one, other): &(&str, &str)| one != other;
    let first = prefixes(one).zip(prefixes(other)).find(differ);
    first.is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Returns the folders a name is in, and the name itself.
pub(crate) fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| &name[..end])
}

/// Returns the hash of a content in the form a store makes it.
pub(crate) fn hash(content: &Bytes) -> ContentHash {
    let form = if content.len() >= LARGE { HashForm::Parts(PART_BYTES) } else { HashForm::Whole };
    let mut hasher = Hasher::new(form);
    hasher.update(content);
    hasher.finish()
}

fn print(fingerprint: &Fingerprint) -> Print {
    match fingerprint {
        Fingerprint::Object(etag) => Print::Object(etag.as_str().to_owned()),
        Fingerprint::File(stat) => Print::File(stat.modified, stat.changed, stat.inode),
    }
}
