//! `StorageClient`: what the engine asks of a tree of files, wherever it is kept.
//!
//! # The contract
//!
//! **Order.** [`StorageClient::list`] yields items in strictly ascending byte order of [`Listed::position`].
//! **Completeness.** A listing that could not see everything either yields [`Listed::Unknown`] for what it
//! could not see or ends with an error; it never ends early without one. **Atomicity.** A file becomes
//! visible whole or not at all, and durable before [`StorageClient::publish`] returns. **Conditions.** Nothing
//! is replaced, renamed or removed unless it still is the version given; if it is not, the error kind is
//! [`Changed`](crate::ErrorKind::Changed) and the newcomer stays. **Trash.** With [`Disposal::Trash`] a replaced
//! or removed version is in the trash before (or at the same instant as) it disappears. **Errors** name
//! the path. **Cancellation.** Dropping a future leaves at worst a temporary, which a later run removes.
//!
//! Implementations: [`local`] and [`memory`] (the reference). `tests/it/contract.rs` holds the contract
//! over each of them.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use crate::code::NoticeCode;
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filter, Rules};
use crate::fingerprint::{ContentHash, Fingerprint, Hasher, Parts};
use crate::key::Key;
use crate::location::StoreOptions;
use crate::marker::ListedMarker;
use crate::root::RootIdentity;
use crate::telemetry::{Conditions, Requests};
pub use crate::trash::{Expiry, Purged};
use crate::trash::{Manifest, Name};

pub mod local;
pub mod memory;
#[cfg(feature = "s3")]
pub mod s3;

/// A tree of files: a local folder, a prefix of a bucket, or memory.
pub trait StorageClient: fmt::Debug + Send + Sync + 'static {
    /// Returns where the tree is, in the canonical form that identifies it.
    fn location(&self) -> &str;

    /// Returns what tells this tree from every other one, if the location alone does not: two stores can have
    /// buckets of one name.
    fn identity(&self) -> &str {
        self.location()
    }

    /// Returns the identity that earlier releases gave the tree.
    fn former_identity(&self) -> &str {
        self.identity()
    }

    /// Returns whether the tree is a folder, whose `.syncignore` files count.
    fn is_folder(&self) -> bool {
        false
    }

    /// Returns the root, or the nearest folder above it that exists: what must not lie within another tree.
    fn anchor(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        Box::pin(async { Ok(None) })
    }

    /// Returns what the clock of a store showed in its last answer.
    fn time(&self) -> Option<Timestamp> {
        None
    }

    /// Says when the run before this one ended, by the clock it had: how old something is two clocks must say.
    fn note_last_run(&self, at: Timestamp) {
        let _ = at;
    }

    /// Returns which of the files that were just written here, in ascending order of their names, no listing shows as they were
    /// written, although nobody said that the writes failed. A folder's own answers suffice.
    fn receipts<'a>(&'a self, written: &'a [Written]) -> BoxFuture<'a, Result<BTreeMap<Key, Kept>>> {
        let _ = written;
        Box::pin(async { Ok(BTreeMap::new()) })
    }

    /// Takes inode numbers for nothing from now on: they were seen not to last. Without meaning for stores.
    fn distrust_inodes(&self) {}

    /// Returns whether the tree may take two names for one. Where only trying would tell it is tried if `may_write`,
    /// else the answer is a guess.
    fn folds_names(&self, may_write: bool) -> BoxFuture<'_, Result<bool>> {
        let _ = may_write;
        Box::pin(async { Ok(false) })
    }

    /// Returns whether the tree can have both names, which are alike but for case or accents, at once. See
    /// [`Self::folds_names`] for `may_write`.
    fn tells_apart<'a>(&'a self, a: &'a Key, b: &'a Key, may_write: bool) -> BoxFuture<'a, Result<bool>> {
        let _ = (a, b, may_write);
        Box::pin(async { Ok(true) })
    }

    /// Returns the name under which the tree has what it takes for `key`, or for a folder that `key` is in, if it is
    /// listed under another spelling.
    fn spelled<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Respelled>>> {
        let _ = key;
        Box::pin(async { Ok(None) })
    }

    /// Gives the folder `from`, with all in it, the name `to`, which the tree takes for the same.
    fn respell_folder<'a>(&'a self, from: &'a Key, to: &'a Key) -> BoxFuture<'a, Result<()>> {
        let error = Error::new(ErrorKind::Unsupported, format!("give the folder `{from}` the name `{to}`"));
        Box::pin(async { Err(error) })
    }

    /// Looks at the root. `None` if it does not exist (a prefix without objects does exist).
    fn root(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>>;

    /// Creates a missing root.
    fn create_root(&self) -> BoxFuture<'_, Result<()>>;

    /// Lists the whole tree. Dropping the stream ends the listing.
    fn list(&self, request: ListRequest) -> BoxStream<'_, Result<Listed>>;

    /// Looks at one path again: as [`Self::list`] would show it, or `None` if nothing is there.
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Listed>>>;

    /// Opens one version for reading. The body ends with an error, not early, if the file turns out
    /// shorter or longer than its size or is changed while it is read.
    fn read<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Body>>;

    /// Returns the hash of a version that the client knows without reading it, if it knows one: what a listing shows can look
    /// like a hash and be none.
    fn known_hash<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Option<ContentHash>>> {
        let listed = match &entry.fingerprint {
            // Of one part it does not matter how large parts are.
            Fingerprint::Object(etag) => etag.whole_md5().or_else(|| {
                let (md5, count) = etag.multipart().filter(|(_, count)| *count == 1)?;
                Some(ContentHash { md5, parts: Some(Parts { count, size: entry.size.max(1) }) })
            }),
            Fingerprint::File(_) => None,
        };
        Box::pin(async move { Ok(listed) })
    }

    /// Takes in a new version without showing it (stores without that step may show it at once). If the
    /// body ends with an error nothing stays behind.
    fn stage(&self, target: Target, body: Body) -> BoxFuture<'_, Result<Staged>>;

    /// Copies a version within this tree without moving its bytes through the client, if it can.
    fn copy<'a>(&'a self, from: &'a Entry, target: Target) -> BoxFuture<'a, Result<Staged>>;

    /// Makes staged versions durable and visible, and returns them as they are then, in the order given.
    /// Each succeeds or fails alone; a failed one leaves nothing behind.
    fn publish(&self, staged: Vec<Staged>) -> BoxFuture<'_, Vec<Result<Entry>>>;

    /// Drops a staged version.
    fn discard(&self, staged: Staged) -> BoxFuture<'_, ()>;

    /// Gives a version another name, if nothing has that name yet.
    fn rename<'a>(&'a self, from: &'a Entry, to: &'a Key) -> BoxFuture<'a, Result<Entry>>;

    /// Removes versions, and the folders this leaves empty. Results in the order given.
    fn remove<'a>(&'a self, entries: Vec<Entry>, disposal: &'a Disposal) -> BoxFuture<'a, Vec<Result<()>>>;

    /// Returns whether the last removal of this name, by this client, was seen to hide the version behind a marker, where
    /// whoever takes the marker away has it back. To be asked once.
    fn has_hidden(&self, key: &Key) -> bool {
        let _ = key;
        false
    }

    /// Returns whether a version was written by the run with this tag, and with this time of modification if one is given, as far as
    /// anything kept with it tells. Folders keep nothing of the kind.
    fn was_written_by<'a>(
        &'a self,
        entry: &'a Entry,
        run_tag: u32,
        modified: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool>> {
        let _ = (entry, run_tag, modified);
        Box::pin(async { Ok(false) })
    }

    /// Removes leftover temporaries that [`Listed::Leftover`] reported.
    fn sweep(&self, leftovers: Vec<Key>) -> BoxFuture<'_, Result<()>>;

    /// Remembers for later runs what this one has learnt, and, where runs write, ends what earlier ones left that could have been
    /// gone on with, and was not.
    fn settle(&self, is_written: bool) -> BoxFuture<'_, ()> {
        let _ = is_written;
        Box::pin(async {})
    }

    /// Says what is about to be put into the trash, so that it can be purged some day: nothing else will be. A client that
    /// keeps no trash which others can reach need not write it down.
    fn announce_trash(&self, manifests: Vec<(Name, Manifest)>) -> BoxFuture<'_, Result<()>> {
        drop(manifests);
        Box::pin(async { Ok(()) })
    }

    /// Removes what of the trash is to go, and returns of how many runs.
    fn purge_trash(&self, expiry: Expiry) -> BoxFuture<'_, Result<Purged>>;

    /// Lists what is in `.syncengine/pairs/`; see [`Marker`](crate::marker::Marker).
    fn markers(&self) -> BoxFuture<'_, Result<Vec<ListedMarker>>>;

    /// Returns the text of the marker of this name, if it is there, whatever a listing shows.
    fn read_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>>>;

    /// Writes a marker, durably: it is there then, whatever a store only says. One of this name that is there already may stay as it
    /// is.
    fn put_marker<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Removes a marker, if it is there.
    fn remove_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Returns whether [`Self::stage`] makes the content hash of what it takes in.
    fn hashes_what_it_stages(&self) -> bool {
        false
    }

    /// Returns how a store was reached: where it is and whose credentials are used, wherever that was found.
    fn reached(&self) -> Option<StoreOptions> {
        None
    }

    /// Returns where a store keeps a file, so that the same store can copy it by itself.
    fn origin(&self, key: &Key) -> Option<Origin> {
        let _ = key;
        None
    }

    /// As [`Self::copy`], from another tree of the same store; `None` if the store does not let us.
    fn copy_from<'a>(
        &'a self,
        origin: Origin,
        from: &'a Entry,
        target: Target,
    ) -> BoxFuture<'a, Result<Option<Staged>>> {
        drop((origin, from, target));
        Box::pin(async { Ok(None) })
    }

    /// Returns how many bytes of a file of `size` bytes are in memory at once while it is read or staged.
    fn resident_bytes(&self, size: u64) -> u64 {
        size.min(2 * 1024 * 1024)
    }

    /// Returns how many requests were sent so far.
    fn requests(&self) -> Requests {
        Requests::default()
    }

    /// Returns whether new files that the same store has elsewhere are copied by it, as far as is known: without a condition
    /// that it honours the bytes pass through here.
    fn copies_by_itself(&self) -> bool {
        true
    }

    /// Returns which conditions the store was found to honour.
    fn conditions(&self) -> Conditions {
        Conditions::default()
    }

    /// Returns what users may like to know of where versions went: a code and a sentence for the report.
    fn remarks(&self) -> Vec<(NoticeCode, String)> {
        Vec::new()
    }

    /// Returns what makes less safe than it should be how this client writes, if anything does: a
    /// code and a sentence for the report.
    fn weaknesses(&self) -> Vec<(NoticeCode, String)> {
        Vec::new()
    }
}

/// A name that a tree has under another spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respelled {
    /// The name that was asked for, up to the first segment that is spelled otherwise.
    pub asked: Key,
    /// As it is listed.
    pub listed: Key,
}

/// How a listing is wanted.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Folders these rules exclude need not be entered; the caller filters what is listed anyway.
    pub filter: Filter,
    /// Whether to read the `.syncignore` files met on the way and yield them as [`Listed::Rules`].
    pub read_ignore_files: bool,
    /// The tags of earlier runs whose temporaries may be removed.
    pub leftover_tags: Vec<u32>,
    /// Whether to list objects by names that no file can have: the other tree is a store, too.
    pub object_names: bool,
    /// A folder that must not be met: the root of the other tree, by whatever name it is found here.
    pub must_not_meet: Option<RootIdentity>,
}

/// One item of a listing.
#[derive(Debug)]
pub enum Listed {
    /// A file.
    File(Entry),
    /// Something that exists but is not synced; nothing below it is known.
    Skipped(Key, SkipReason),
    /// A path that could not be judged, and everything below it.
    Unknown(Key, Error),
    /// Something whose name cannot be a key. It says nothing about any key.
    Unmappable {
        /// The name, escaped.
        shown: String,
        /// The name as rules see it: what is no UTF-8 in it stands as U+FFFD.
        name: String,
        /// Whether it is a folder.
        is_folder: bool,
        /// The position in the order: the folder it is in, with a slash, or empty at the root; in a store the
        /// name itself.
        folder: String,
        /// Why the name cannot be a key.
        error: Error,
        /// The files that it is, or that are in it.
        files: Vec<Unnamed>,
    },
    /// The rules of the `.syncignore` file in a folder (`""` is the root), before anything in that folder.
    Rules(String, Rules),
    /// A temporary of an earlier run of ours (removable).
    Leftover(Key),
    /// Something with a reserved name that is not ours to remove.
    Foreign(Key),
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it is.
    pub entry: Entry,
    /// The version that it replaced.
    pub replaces: Option<Entry>,
}

/// What became of a file that was written, and that no listing shows as it was.
#[derive(Debug)]
pub enum Kept {
    /// It is there: a listing may show it later.
    Unlisted,
    /// Nobody could tell.
    Unknown(Error),
    /// It is of the write that was made, and has not all of it or other content: what there is.
    Damaged(Entry),
    /// It is not there, not whole, has other content, or still is what it replaced: what there is instead.
    Not(Option<Entry>),
}

/// A file without a name that could be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unnamed {
    /// Length in bytes.
    pub size: u64,
    /// Inode number, 0 where there is none that lasts.
    pub inode: u64,
}

/// Why something that exists is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// A symbolic link.
    Symlink,
    /// A pipe, socket or device.
    Special,
    /// A folder without entries. The only reason that leaves nothing unknown.
    EmptyFolder,
    /// A folder on another file system than the root.
    OtherFileSystem,
}

impl SkipReason {
    /// Returns the code and the words of the report.
    pub fn describe(self) -> (NoticeCode, &'static str) {
        match self {
            Self::Symlink => (NoticeCode::SkippedSymlinks, "symbolic links are not synced"),
            Self::Special => (NoticeCode::SkippedSpecialFiles, "pipes, sockets and devices are not synced"),
            Self::EmptyFolder => (NoticeCode::SkippedEmptyFolders, "empty folders are not synced"),
            Self::OtherFileSystem => {
                (NoticeCode::SkippedMounts, "folders on another file system are not entered")
            }
        }
    }
}

impl Listed {
    /// Returns where the item stands in the order of a listing: its key, and for rules and names that
    /// are no keys their folder with a slash, so that they come before everything in it.
    pub fn position(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::File(entry) => entry.key.as_str().into(),
            Self::Skipped(key, _) | Self::Unknown(key, _) | Self::Leftover(key) | Self::Foreign(key) => {
                key.as_str().into()
            }
            Self::Unmappable { folder, .. } => folder.as_str().into(),
            Self::Rules(folder, _) if folder.is_empty() => "".into(),
            Self::Rules(folder, _) => format!("{folder}/").into(),
        }
    }
}

/// The content of one version, on its way.
pub struct Body {
    /// How many bytes come.
    pub size: u64,
    /// The modification time the copy is to have.
    pub modified: Option<Timestamp>,
    /// The permission bits of the file (0 to `0o777`), where they mean something at its origin.
    pub mode: Option<u32>,
    /// Those of the folders it is in, from the outermost on; empty where they are not known.
    pub folder_modes: Vec<u32>,
    /// The hash that the bytes must turn out to have, where the client knows it. Whoever reads them all
    /// compares: it tells bytes that were damaged on their way.
    pub proof: Option<ContentHash>,
    /// The bytes, in pieces of at most a few hundred KiB.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

/// What to do about bytes that are not those of their version.
pub(crate) const DAMAGED: &str = "run again; if it is always this one, what the store keeps is damaged";

impl Body {
    /// Returns the body with an error at its end if its bytes are not those of the version, for whoever does not compare
    /// them himself.
    pub(crate) fn checked(self) -> Self {
        let Some(proof) = self.proof else { return self };
        let state = (self.chunks, Some(Hasher::new(proof.form())));
        let chunks = stream::unfold(state, move |(mut chunks, hasher)| async move {
            let mut hasher = hasher?;
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    hasher.update(&chunk);
                    Some((Ok(chunk), (chunks, Some(hasher))))
                }
                Some(Err(error)) => Some((Err(error), (chunks, None))),
                None if hasher.finish() == proof => None,
                None => {
                    let message = "the bytes that came are not those of the version";
                    let error = Error::new(ErrorKind::Unavailable, message).with_hint(DAMAGED);
                    Some((Err(error), (chunks, None)))
                }
            }
        });
        Self { chunks: chunks.boxed(), ..self }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("size", &self.size)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

/// Where a store keeps a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What tells the store from other ones.
    pub store: String,
    /// The bucket.
    pub bucket: String,
    /// The name of the object.
    pub key: String,
}

/// Where a new version goes and what it may replace.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub key: Key,
    /// The version it replaces; `None` if nothing may have that name.
    pub replaces: Option<Entry>,
    /// A version here that had this name until now: its owner, permissions and attributes are taken over, as those of a
    /// version that is replaced are.
    pub heir_of: Option<Entry>,
    /// What becomes of the replaced version.
    pub disposal: Disposal,
    /// Names the run in temporaries, and with what stores keep, so that a later run knows them.
    pub run_tag: u32,
}

/// What becomes of a version that is replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposal {
    /// It is kept under `.syncengine/trash/<run>/`.
    Trash {
        /// The name of the run's folder in the trash.
        run: String,
    },
    /// It is gone for good; only with the trash switched off.
    Discard,
}

/// A version taken in but not yet shown.
#[derive(Debug)]
pub struct Staged {
    /// Where it goes.
    pub target: Target,
    /// How many bytes it has.
    pub size: u64,
    /// Its content hash, if the client made it (copies within a tree).
    pub hash: Option<ContentHash>,
    /// Where it is until then.
    pub held: Held,
}

/// Where a staged version is.
#[derive(Debug)]
pub enum Held {
    /// In a temporary file beside its target, whose number and time of modification it will keep.
    Temporary(Key, Fingerprint),
    /// In memory.
    Memory(Bytes, Option<Timestamp>),
    /// Already visible: the store has no step in between.
    Published(Entry),
}

impl Held {
    /// Returns by which number and time a folder will show the version.
    pub fn shown(&self) -> Option<&Fingerprint> {
        match self {
            Self::Temporary(_, fingerprint) => Some(fingerprint),
            Self::Memory(..) | Self::Published(_) => None,
        }
    }
}
