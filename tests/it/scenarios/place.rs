//! Where a side of a case is, a folder or a prefix of a bucket: what the user does there, and what is there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use syncengine::Timestamp;

use crate::support::bench::Bench;
#[cfg(feature = "embedded")]
use crate::support::bucket::{AtRest, Bucket};
use crate::support::{Tree, set_modified};

/// Everything in a folder, its own `.syncengine` included: kind, bits, time and content.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

/// The kind of a regular file, among the bits of its mode, and all of those.
const REGULAR: u32 = 0o100_000;
const KINDS: u32 = 0o170_000;

/// Where a snapshot has the versions of a bucket that are not current: they are its trash.
#[cfg(feature = "embedded")]
const VERSIONS: &str = ".syncengine/trash/versions/";

/// Where a side of a case is.
#[derive(Debug)]
pub(super) enum Place {
    Folder(PathBuf),
    #[cfg(feature = "embedded")]
    Prefix(Bucket),
    #[cfg(feature = "embedded")]
    Embedded(AtRest),
}

impl Place {
    /// Returns how the command line names it.
    pub(super) fn location(&self) -> String {
        match self {
            Self::Folder(path) => path.to_str().unwrap().to_owned(),
            #[cfg(feature = "embedded")]
            Self::Prefix(bucket) => {
                format!("s3://{}/{}", bucket.at.name, bucket.at.prefix.trim_end_matches('/'))
            }
            #[cfg(feature = "embedded")]
            Self::Embedded(bucket) => format!("embedded://{}", bucket.name),
        }
    }

    /// Does what the words of a command say, the first of which is the side.
    pub(super) fn act(&self, bench: &Bench, words: &[&str]) {
        match self {
            Self::Folder(root) => act_in_folder(bench, root, words),
            #[cfg(feature = "embedded")]
            Self::Prefix(bucket) => act_in_bucket(bucket, words),
            #[cfg(feature = "embedded")]
            Self::Embedded(bucket) => bucket.with(|bucket| act_in_bucket(bucket, words)),
        }
    }

    /// Returns everything that is there, by its path from the root, ours too.
    pub(super) fn snapshot(&self) -> Snapshot {
        #[cfg(feature = "embedded")]
        let objects = |bucket: &Bucket| -> Snapshot {
            let object = |(name, written, content): (String, Timestamp, Vec<u8>)| {
                (PathBuf::from(name), (REGULAR, written.seconds, written.nanoseconds.into(), content))
            };
            let now = bucket.versions().into_iter().map(object);
            let past = bucket.past_if_kept().into_iter().map(|(name, id, content)| {
                (PathBuf::from(format!("{VERSIONS}{name}~{id}")), (REGULAR, 0, 0, content))
            });
            now.chain(past).collect()
        };
        match self {
            Self::Folder(root) => {
                let items = snapshot(root).into_iter();
                items.map(|(path, item)| (path.strip_prefix(root).unwrap().to_owned(), item)).collect()
            }
            #[cfg(feature = "embedded")]
            Self::Prefix(bucket) => objects(bucket),
            #[cfg(feature = "embedded")]
            Self::Embedded(bucket) => bucket.with(objects),
        }
    }
}

/// Returns the regular files of a snapshot, what is ours left out.
pub(super) fn files(of: &Snapshot) -> Tree {
    let theirs = of.iter().filter(|(path, item)| item.0 & KINDS == REGULAR && !is_ours(path));
    theirs.map(|(path, item)| (path.to_str().unwrap().to_owned(), item.3.clone())).collect()
}

/// Returns the contents of the trash in a snapshot, by path.
pub(super) fn trash(of: &Snapshot) -> Tree {
    let below = |(path, item): (&PathBuf, &(u32, i64, i64, Vec<u8>))| {
        let name = path.strip_prefix(".syncengine/trash").ok()?;
        (item.0 & KINDS == REGULAR).then(|| (name.to_str().unwrap().to_owned(), item.3.clone()))
    };
    of.iter().filter_map(below).collect()
}

/// Returns whether a path from a root is ours to write: a marker, the trash.
pub(super) fn is_ours(path: &Path) -> bool {
    path.starts_with(".syncengine")
}

/// Returns everything below `root`. Links are not followed and pipes are not opened.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = if stat.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if stat.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if stat.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            found.insert(path, (stat.mode(), stat.mtime(), stat.mtime_nsec(), content));
        }
    }
    found
}

/// Does what a script says to the folders of a bench.
pub(crate) fn act(bench: &Bench, script: &str) {
    play(bench, script, |side| Place::Folder(bench.path(side)));
}

/// Does what a script says, `b` being a bucket.
#[cfg(feature = "embedded")]
pub(crate) fn act_with_bucket(bench: &Bench, bucket: &Bucket, script: &str) {
    play(bench, script, |side| match side {
        "b" => Place::Prefix(bucket.clone()),
        _ => Place::Folder(bench.path(side)),
    });
}

/// Does what a script says to the places of the sides it names, and to the state.
pub(super) fn play<P: std::borrow::Borrow<Place>>(bench: &Bench, script: &str, place: impl Fn(&str) -> P) {
    for words in commands(script) {
        match words[0] {
            "state" => act_on_state(bench, words[1]),
            side => place(side).borrow().act(bench, &words),
        }
    }
}

/// Returns the commands of a script, word by word.
pub(super) fn commands(script: &str) -> impl Iterator<Item = Vec<&str>> {
    let commands = script.split(';').map(|command| command.split_whitespace().collect::<Vec<_>>());
    commands.filter(|words| !words.is_empty())
}

fn act_on_state(bench: &Bench, what: &str) {
    match what {
        "lose" => fs::remove_dir_all(bench.path("state")).unwrap(),
        "empty" => fs::remove_dir_all(database(bench)).unwrap(),
        "damage" => {
            let files =
                snapshot(&database(bench)).into_iter().filter(|(_, (.., content))| !content.is_empty());
            for (path, (.., content)) in files {
                fs::write(path, vec![0x5a; content.len()]).unwrap();
            }
        }
        other => panic!("no such thing: {other}"),
    }
}

fn act_in_folder(bench: &Bench, root: &Path, words: &[&str]) {
    let path = |at: usize| root.join(words[at]);
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    match words[1] {
        "write" => {
            fs::create_dir_all(path(2).parent().unwrap()).unwrap();
            fs::write(path(2), words[3]).unwrap();
            if words.len() > 4 {
                set_time(&path(2), words[4]);
            }
        }
        "empty" => fs::write(path(2), "").unwrap(),
        "rm" if path(2).is_dir() => fs::remove_dir_all(path(2)).unwrap(),
        "rm" => fs::remove_file(path(2)).unwrap(),
        "mv" => {
            fs::create_dir_all(path(3).parent().unwrap()).unwrap();
            fs::rename(path(2), path(3)).unwrap();
        }
        "touch" => set_time(&path(2), words[3]),
        "mkdir" => fs::create_dir_all(path(2)).unwrap(),
        "link" => symlink(words[3], path(2)).unwrap(),
        "fifo" => {
            rustix::fs::mknodat(rustix::fs::CWD, path(2), rustix::fs::FileType::Fifo, 0o644.into(), 0)
                .unwrap();
        }
        "many" => {
            fs::create_dir_all(path(2)).unwrap();
            (0..number(3))
                .for_each(|at| fs::write(path(2).join(format!("{at:03}")), text(words[2], at)).unwrap());
        }
        "fewer" => {
            (0..number(3)).for_each(|at| fs::remove_file(path(2).join(format!("{at:03}"))).unwrap());
        }
        "copyroot" => {
            let copy = bench.path("copy");
            copy_folder(root, &copy);
            fs::rename(root, bench.path("old")).unwrap();
            fs::rename(copy, root).unwrap();
        }
        "newroot" => {
            fs::rename(root, bench.path("old")).unwrap();
            fs::create_dir(root).unwrap();
        }
        other => panic!("no such thing: {other}"),
    }
}

/// The directory of the one database in the state directory of a bench.
pub(crate) fn database(bench: &Bench) -> PathBuf {
    let found = fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().path());
    // What is remembered of stores is no base.
    let is_base = |path: &PathBuf| path.is_dir() && path.extension().is_none() && !path.ends_with("stores");
    let found: Vec<_> = found.filter(is_base).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

/// Reads decimal seconds.
fn time(seconds: &str) -> Timestamp {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    Timestamp::new(whole.parse().unwrap(), format!("{fraction:0<9}").parse().unwrap())
}

fn set_time(path: &Path, seconds: &str) {
    set_modified(path, time(seconds));
}

/// The content of a file of `many`: no two alike.
pub(super) fn text(folder: &str, at: usize) -> String {
    format!("{folder}{at:03}")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a bucket is told past the client; a file that is given no time is from now.
#[cfg(feature = "embedded")]
fn act_in_bucket(bucket: &Bucket, words: &[&str]) {
    use syncengine::clock::{Clock, SystemClock};
    let now = || SystemClock.now();
    let below = |name: &str| -> Vec<String> {
        let folder = format!("{name}/");
        let names = bucket.names().into_iter();
        names.filter(|other| other == name || other.starts_with(&folder)).collect()
    };
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    let numbered = |at: usize| format!("{}/{at:03}", words[2]);
    match words[1] {
        "write" => {
            let time = words.get(4).map_or_else(now, |seconds| time(seconds));
            bucket.put(words[2], words[3].as_bytes(), Some(time));
        }
        "empty" => bucket.put(words[2], b"", Some(now())),
        "rm" => bucket.remove_all(&below(words[2])),
        "mv" => {
            for from in below(words[2]) {
                bucket.relocate(&from, &format!("{}{}", words[3], &from[words[2].len()..]));
            }
        }
        "touch" => bucket.put(words[2], &bucket.get(words[2]), Some(time(words[3]))),
        "many" => {
            let new = (0..number(3)).map(|at| (numbered(at), text(words[2], at).into_bytes()));
            bucket.put_all(new.collect(), now());
        }
        "fewer" => bucket.remove_all(&(0..number(3)).map(numbered).collect::<Vec<_>>()),
        other => panic!("no such thing in a bucket: {other}"),
    }
}
