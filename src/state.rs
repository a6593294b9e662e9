//! The base: what both sides were when they last agreed, one row a path.
//!
//! [`StateStore`] is the port; [`sled_store`] keeps it on disk and [`memory`] in memory; [`open()`] opens what is
//! on disk and tells what it [`Found`]. The base may lag
//! behind reality, never lead it: a row is recorded after the effect it describes is durable. What is noted before an
//! effect stands for nothing until the effect shows ([`Intent`], [`Agreed::announced`]).

use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, ETag, Fingerprint};
use crate::key::Key;
use crate::mode::{InitialSyncPreference, SyncMode};
use crate::root::RootIdentity;
use crate::side::{Side, Sides};

mod block;
mod catalogue;
mod directory;
mod fold;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;
mod layout;
mod lock;
pub mod memory;
mod open;
mod patience;
mod read_only;
mod relocate;
mod row;
mod scratch;
pub mod sled_store;
mod tables;
mod tail;
#[cfg(test)]
mod tests;

pub use catalogue::move_to;
pub(crate) use directory::Single;
pub use directory::{StateDir, States};
pub use layout::{Kept, Whereabouts};
pub use lock::PairLock;
pub use open::{Access, Opened, Wanted, exposure, forget, open};
pub use tail::{Epochs, MUST_KNOW, RecordTail, Recovery, RowTail, RuleFile, RulesRecord, Unlisted};

/// Returns the error for an input or output failure in the state directory.
fn failure(doing: impl Into<String>, source: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let cause = source.kind();
    let error = Error::io(doing, source);
    match cause {
        _ if error.kind() == ErrorKind::NoSpace => error.with_hint(
            "free some space on the disk of the state directory, or choose another with --state-dir",
        ),
        Io::NotADirectory | Io::AlreadyExists => {
            error.with_hint("the state directory must be a folder; choose another with --state-dir")
        }
        Io::IsADirectory => error.with_hint("this program did not make it; move it away and run again"),
        _ => error,
    }
}

/// What is remembered of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRow {
    /// Both sides had this content.
    Agreed(Agreed),
    /// The side with authority in a backup mode deleted it; the other side keeps it and it is never
    /// carried back. Only meaningful in the mode that wrote it.
    Tombstone(RowTail),
    /// We deleted it in a store. That no listing shows it is still to be seen.
    Deleted(Deleted),
    /// Nothing is remembered, but that a run was about to make the file: its [`Intent`].
    Begun(RowTail),
}

/// What a run was about to do to a file, noted before it did. As long as no other row takes the place of the note, the run may
/// have done it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The side that was to change.
    pub on: Side,
    /// The tag of the run.
    pub run_tag: u32,
    /// What was to become of it.
    pub deed: Deed,
}

/// What was to become of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Both sides were to have this version. It tells how the other side showed it, and how a folder will show it where it was
    /// to change; a store tells only afterwards.
    Have(Agreed),
    /// As [`Self::Have`]: the file was to be renamed from another name.
    HaveFrom(Agreed, Key),
    /// The version with this fingerprint, which a store had got at this time, was to be deleted.
    Delete(Fingerprint, Option<Timestamp>),
}

impl Intent {
    /// Returns the intent to delete a version on a side.
    pub fn delete(on: Side, entry: &Entry, run_tag: u32) -> Self {
        Self { on, run_tag, deed: Deed::Delete(entry.fingerprint.clone(), entry.stored) }
    }

    /// Returns the intent to have the version `from` of the other side on `on`, too, where a folder will show it `as_shown`.
    pub fn copy(
        on: Side,
        from: &Entry,
        hash: Option<ContentHash>,
        as_shown: Option<&Fingerprint>,
        run_tag: u32,
    ) -> Self {
        let mut seen = Sides::new(from.fingerprint.clone(), from.fingerprint.clone());
        *seen.get_mut(on) = as_shown.unwrap_or(&from.fingerprint).clone();
        Self { on, run_tag, deed: Deed::Have(Agreed::new(from.size, hash, seen)) }
    }

    /// Returns the intent to rename the version `old` on a side, as the other one has `renamed` it.
    pub fn rename(on: Side, old: &Entry, renamed: &Entry, hash: Option<ContentHash>, run_tag: u32) -> Self {
        let mut seen = Sides::new(renamed.fingerprint.clone(), renamed.fingerprint.clone());
        *seen.get_mut(on) = old.fingerprint.clone();
        let deed = Deed::HaveFrom(Agreed::new(renamed.size, hash, seen), old.key.clone());
        Self { on, run_tag, deed }
    }
}

/// A file that a store said it deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The side of the store.
    pub on: Side,
    /// The version that was listed before.
    pub etag: ETag,
    /// When the store had got it, by its listing.
    pub stored: Timestamp,
    /// What else is remembered of it.
    pub tail: RowTail,
}

impl Deleted {
    /// Returns the receipt of a file that is deleted on `side`, if its listing told when the store got it.
    pub fn new(on: Side, entry: &Entry) -> Option<Self> {
        let (Fingerprint::Object(etag), Some(stored)) = (&entry.fingerprint, entry.stored) else {
            return None;
        };
        Some(Self { on, etag: etag.clone(), stored, tail: RowTail::default() })
    }

    /// Returns whether `entry` is that version, which the store has all the same. One of these bytes that was written since is
    /// another.
    pub fn is(&self, entry: &Entry) -> bool {
        is_stored(&self.etag, self.stored, entry)
    }
}

/// Returns whether `entry` is the version with this ETag that a store got at this time.
pub(crate) fn is_stored(etag: &ETag, stored: Timestamp, entry: &Entry) -> bool {
    let Fingerprint::Object(is) = &entry.fingerprint else { return false };
    // A look by name tells whole seconds.
    let is_then = |time: Timestamp| {
        time == stored || time.seconds == stored.seconds && (time.nanoseconds == 0 || stored.nanoseconds == 0)
    };
    is == etag && entry.stored.is_some_and(is_then)
}

/// The last version both sides had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Length in bytes.
    pub size: u64,
    /// Hash of the content, if anybody read it.
    pub hash: Option<ContentHash>,
    /// How each side showed it.
    pub seen: Sides<Fingerprint>,
    /// What else is remembered of it.
    pub tail: RowTail,
}

impl BaseRow {
    /// Returns the row for a deletion that was not carried over.
    pub fn tombstone() -> Self {
        Self::Tombstone(RowTail::default())
    }

    /// Returns what else is remembered of the path.
    pub fn tail(&self) -> &RowTail {
        match self {
            Self::Agreed(Agreed { tail, .. }) | Self::Deleted(Deleted { tail, .. }) => tail,
            Self::Tombstone(tail) | Self::Begun(tail) => tail,
        }
    }

    /// Returns what else is remembered of the path, to be changed.
    pub fn tail_mut(&mut self) -> &mut RowTail {
        match self {
            Self::Agreed(Agreed { tail, .. }) | Self::Deleted(Deleted { tail, .. }) => tail,
            Self::Tombstone(tail) | Self::Begun(tail) => tail,
        }
    }

    /// Returns the row, if there is one, with a note of what is about to be done.
    pub fn with_intent(row: Option<Self>, intent: &Intent) -> Self {
        let mut row = row.unwrap_or_else(|| Self::Begun(RowTail::default()));
        row.tail_mut().set_intent(Some(intent));
        row
    }

    /// Returns the row as if that had never been noted.
    pub fn without_intent(mut self) -> Option<Self> {
        if matches!(self, Self::Begun(_)) {
            return None;
        }
        self.tail_mut().set_intent(None);
        Some(self)
    }
}

impl Agreed {
    /// Returns the row for a version of `size` bytes that the sides have `seen`.
    pub fn new(size: u64, hash: Option<ContentHash>, seen: Sides<Fingerprint>) -> Self {
        Self { size, hash, seen, tail: RowTail::default() }
    }

    /// Returns how `side` showed the version.
    pub fn fingerprint(&self, side: Side) -> &Fingerprint {
        self.seen.get(side)
    }

    /// Returns the row for a file that is about to be renamed on `side` from `old`, where it was edited, as the other
    /// side has renamed this version of it. Whatever `side` then has there is an edit of the version.
    pub fn announced(mut self, side: Side, old: &Key) -> Self {
        *self.seen.get_mut(side) = Fingerprint::of_rename_from(old.as_str());
        self
    }

    /// Returns the old name, if the file may have got its name on `side` by a rename that was
    /// [announced](Self::announced).
    pub fn announced_on(&self, side: Side) -> Option<&str> {
        self.seen.get(side).renamed_from()
    }

    /// Returns whether that rename never took place, so that the row says nothing, if these sides have a file there.
    pub fn is_only_announced(&self, has: Sides<bool>) -> bool {
        Side::BOTH
            .into_iter()
            .any(|side| self.announced_on(side).is_some() && !*has.get(side) && *has.get(side.other()))
    }
}

/// What is remembered of the pair as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRecord {
    /// The random id of the pair, 32 hexadecimal digits; it names the markers.
    pub pair_id: String,
    /// What tells the tree of each side from all others: a canonical path, or a bucket, a prefix and the store.
    pub locations: Sides<String>,
    /// The mode of the last run that changed something; tombstones of another mode mean nothing.
    pub mode: SyncMode,
    /// How far the first sync has come.
    pub first_sync: FirstSync,
    /// Whether the markers are written on both sides.
    pub marked: bool,
    /// The local roots as they were, a hint.
    pub roots: Sides<Option<RootIdentity>>,
    /// Tags of runs that may have left temporaries.
    pub run_tags: Vec<u32>,
    /// Seconds since 1970 of the end of the last complete run.
    pub last_sync_seconds: Option<i64>,
    /// What else is remembered.
    #[serde(default, skip_serializing_if = "RecordTail::is_empty")]
    pub tail: RecordTail,
}

/// How far the first sync of a pair has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstSync {
    /// Begun with this preference and cut off; the same preference may go on.
    Begun(InitialSyncPreference),
    /// Over: no preference acts any more.
    Spent,
}

/// What opening the state of a pair found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, and no trace that there ever was anything.
    Nothing,
    /// The base as it was left.
    Intact,
    /// Traces of a base that is gone, damaged, older than it should be, of another schema or of another
    /// pair. What was found was moved aside.
    Lost {
        /// What was wrong, for the report.
        why: String,
    },
}

/// A change to one row: the new row, or `None` to forget the path.
pub type RowChange = (Key, Option<BaseRow>);

/// Keeps the base of one pair.
///
/// Every method reports what it could not do; an error is never "no row". Dropping a future does not undo
/// what it began.
pub trait StateStore: fmt::Debug + Send + Sync + 'static {
    /// Returns all rows in ascending order of their keys: as they were when the scan began, unless they
    /// are changed meanwhile; a row changed during a scan is seen at most once, before or after the change.
    fn scan(&self) -> BoxStream<'_, Result<(Key, BaseRow)>>;

    /// Returns one row.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<BaseRow>>>;

    /// Notes what is about to be done to paths behind what is known of them. Survives what [`Self::record`] does.
    fn announce(&self, intents: Vec<(Key, Intent)>) -> BoxFuture<'_, Result<()>> {
        let announced = async move {
            let mut rows = Vec::with_capacity(intents.len());
            for (key, intent) in intents {
                let row = BaseRow::with_intent(self.get(&key).await?, &intent);
                rows.push((key, Some(row)));
            }
            self.record(rows).await
        };
        announced.boxed()
    }

    /// Records finished operations. Survives a kill of the process when it returns, a power cut only
    /// after [`Self::flush`].
    fn record(&self, changes: Vec<RowChange>) -> BoxFuture<'_, Result<()>>;

    /// Makes what was recorded durable.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;

    /// Returns what is remembered of the pair; `None` before the first [`Self::commit`].
    fn pair_record(&self) -> Option<PairRecord>;

    /// Folds what was recorded into the base, replaces the pair's record, and makes everything durable.
    fn commit(&self, record: PairRecord) -> BoxFuture<'_, Result<()>>;
}
