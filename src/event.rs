//! What a run tells its observer while it works.
//!
//! The library never prints. Everything a user sees - progress, the summary, JSON - is made from these
//! events; [`Report`](crate::report::Report) is a fold over them too, so that nothing is counted twice.

use std::fmt;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize, Serializer};

use crate::client::SkipReason;
use crate::code::{ActionCode, FailureCode};
use crate::entry::Entry;
use crate::fingerprint::Fingerprint;
use crate::key::{Key, escape};
use crate::notice::Notice;
use crate::plan::{Action, Reason, Work};
use crate::side::Side;

/// Receives the events of a run, in order, from one task at a time.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes one event. Called between operations: a slow observer slows the run.
    fn observe(&self, event: &Event);
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _event: &Event) {}
}

/// Something that happened during a run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// So many files have been listed on a side by now.
    Listed {
        /// The side.
        side: Side,
        /// Files so far.
        files: u64,
    },
    /// The listings have ended; this many paths are equal without any work.
    Compared {
        /// Paths equal on both sides.
        unchanged: u64,
        /// Whether no base and no trace of one was found.
        first_sync: bool,
    },
    /// Something exists that is not synced.
    Skipped {
        /// Its path.
        path: Key,
        /// The side it is on.
        side: Side,
        /// Why, as a code.
        #[serde(serialize_with = "skip_code")]
        why: SkipReason,
    },
    /// The work that lies ahead.
    Planned {
        /// Files to copy.
        files: u64,
        /// Bytes to copy.
        bytes: u64,
        /// Files to delete.
        deletions: u64,
        /// Files to rename.
        renames: u64,
    },
    /// So many more bytes have been copied. A try that failed does not count again.
    Moved {
        /// Bytes since the last event of this kind.
        bytes: u64,
    },
    /// An action has been carried out (in a dry run: would be).
    Done(Line),
    /// A path could not be synced.
    Failed(Failure),
    /// Something the user should know.
    Warned(Notice),
    /// Something the user may like to know.
    Noted(Notice),
    /// A guard does not let the run go on.
    Refused(Notice),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn skip_code<S: Serializer>(why: &SkipReason, serializer: S) -> Result<S::Ok, S::Error> {
    why.describe().0.serialize(serializer)
}

/// One action as plans and reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is done, such as `upload`.
    pub action: ActionCode,
    /// The path (the new one, for a rename).
    pub path: Key,
    /// The path a renamed file had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_path: Option<Key>,
    /// The size in bytes.
    pub size: u64,
    /// Why.
    #[serde(serialize_with = "reason_text")]
    pub reason: Reason,
    /// Whether two versions met of which neither side had seen the other's.
    #[serde(skip_serializing_if = "is_false")]
    pub conflict: bool,
    /// In a plan: a digest of the versions the action was decided on. It differs as soon as one of them does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the action does to each side.
    #[serde(skip)]
    pub effects: Effects,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn reason_text<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// How many files and bytes an action moves where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// Files copied to the destination, and their bytes.
    pub uploaded: (u64, u64),
    /// Files copied to the source, and their bytes.
    pub downloaded: (u64, u64),
    /// Bytes copied within one side.
    pub copied_within: u64,
    /// The conflict was left to the user.
    pub unresolved: bool,
}

impl Effects {
    fn copy(&mut self, to: Side, bytes: u64) {
        let counter = match to {
            Side::Destination => &mut self.uploaded,
            Side::Source => &mut self.downloaded,
        };
        counter.0 += 1;
        counter.1 += bytes;
    }

    /// Notes that a store made the copies by itself.
    pub(crate) fn pass_within_store(&mut self) {
        for (_, bytes) in [&mut self.uploaded, &mut self.downloaded] {
            self.copied_within += std::mem::take(bytes);
        }
    }
}

impl Line {
    /// Returns the line for an action; `None` for bookkeeping no user sees.
    pub fn of(action: &Action) -> Option<Self> {
        let mut effects = Effects::default();
        match &action.work {
            Work::Copy(copy) => effects.copy(copy.to, copy.from.size),
            Work::Rename { on, entry, edited, keep_old, .. } => {
                if *edited {
                    effects.copy(on.other(), entry.size);
                }
                if *keep_old {
                    effects.copied_within = entry.size;
                }
            }
            Work::KeepBoth { winner, versions, .. } => {
                effects.copy(winner.other(), versions.get(*winner).size);
                effects.copy(*winner, versions.get(winner.other()).size);
            }
            Work::Unresolved => effects.unresolved = true,
            _ => {}
        }
        Some(Self {
            action: action.code()?,
            path: action.key.clone(),
            old_path: action.old_key().cloned(),
            size: action.size(),
            reason: action.reason,
            conflict: action.conflict,
            version: None,
            effects,
        })
    }

    /// As [`Self::of`], with the digest that lets a saved plan be compared with a later one.
    pub fn planned(action: &Action) -> Option<Self> {
        let line = Self::of(action)?;
        let mut digest = Md5::new();
        for entry in action.work.versions() {
            let Entry { key, size, .. } = entry;
            digest.update(format!("{key:?} {size} "));
            digest.update(match &entry.fingerprint {
                // Whether a stat is settled depends on when it was taken, not on the file.
                Fingerprint::File(stat) => format!("{:?} {:?} {}", stat.modified, stat.changed, stat.inode),
                Fingerprint::Object(etag) => format!("{etag:?}"),
            });
        }
        let version = digest.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        Some(Self { version: Some(version), ..line })
    }
}

/// An action as a saved plan keeps it, to be compared with what a later run plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedAction {
    /// See [`Line::action`].
    pub action: String,
    /// See [`Line::path`].
    pub path: Key,
    /// See [`Line::old_path`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path: Option<Key>,
    /// See [`Line::size`].
    pub size: u64,
    /// See [`Line::reason`], in words.
    pub reason: String,
    /// See [`Line::conflict`].
    #[serde(default)]
    pub conflict: bool,
    /// See [`Line::version`].
    pub version: Option<String>,
}

impl From<&Line> for PlannedAction {
    fn from(line: &Line) -> Self {
        Self {
            action: line.action.as_str().into(),
            path: line.path.clone(),
            old_path: line.old_path.clone(),
            size: line.size,
            reason: line.reason.to_string(),
            conflict: line.conflict,
            version: line.version.clone(),
        }
    }
}

/// Returns the path of the first action in which a plan made now differs from the one made `then`.
pub fn first_difference<'a>(then: &[PlannedAction], now: impl Iterator<Item = &'a Action>) -> Option<Key> {
    // What cannot be done is a failure of the run, not an action of its plan.
    let actions = now.filter(|action| !action.work.is_blocked());
    let mut now = actions.filter_map(Line::planned).map(|line| PlannedAction::from(&line));
    for then in then {
        match now.next() {
            Some(action) if action == *then => {}
            Some(action) => return Some(action.path.min(then.path.clone())),
            None => return Some(then.path.clone()),
        }
    }
    now.next().map(|action| action.path)
}

/// A path that could not be synced, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The path, escaped where it cannot be a key.
    pub path: String,
    /// What was to be done with it.
    pub action: String,
    /// Why, for programs.
    pub code: FailureCode,
    /// What went wrong, with its causes.
    pub error: String,
    /// What the user can do next.
    pub hint: String,
}

impl Failure {
    /// Returns the failure of `action` on `path`.
    pub fn new(path: impl Into<String>, action: impl Into<String>, error: &crate::Error) -> Self {
        let (path, action) = (path.into(), action.into());
        let error_chain = error.chain();
        // Whoever shows it says first what was done to which path.
        let said = error_chain.strip_prefix(&format!("{action} `{}`", escape(path.as_bytes())));
        let said = said.and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' ')));
        Self {
            code: error.code(),
            error: said.unwrap_or(&error_chain).to_owned(),
            path,
            action,
            hint: error.hint().unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Timestamp;
    use crate::error::{Error, ErrorKind};
    use crate::fingerprint::{ETag, FileStat};
    use crate::plan::Copy;

    fn key(name: &str) -> Key {
        Key::parse(name).unwrap()
    }

    fn upload(from: Fingerprint, size: u64, replaces: Option<Fingerprint>) -> Action {
        let entry =
            |fingerprint, size| Entry { key: key("a"), size, modified: None, stored: None, fingerprint };
        let replaces = replaces.map(|fingerprint| entry(fingerprint, 1));
        let copy = Copy { to: Side::Destination, from: entry(from, size), replaces, over_stranger: false };
        Action { key: key("a"), work: Work::Copy(copy), reason: Reason::Added(Side::Source), conflict: false }
    }

    fn version(action: &Action) -> String {
        Line::planned(action).unwrap().version.unwrap()
    }

    #[test]
    fn the_digest_of_a_plan_differs_as_soon_as_a_version_does() {
        let stat = FileStat {
            modified: Timestamp::new(1, 2),
            changed: Timestamp::new(3, 4),
            inode: 5,
            settled: true,
        };
        let object = |tag: &str| Fingerprint::Object(ETag::new(tag));
        let file = Fingerprint::File;
        let first = version(&upload(file(stat), 3, None));
        assert_eq!(first.len(), 32);
        assert!(first.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(first, version(&upload(file(FileStat { settled: false, ..stat }), 3, None)));
        let others = [
            upload(file(stat), 4, None),
            upload(file(FileStat { modified: Timestamp::new(1, 3), ..stat }), 3, None),
            upload(file(FileStat { changed: Timestamp::new(3, 5), ..stat }), 3, None),
            upload(file(FileStat { inode: 6, ..stat }), 3, None),
            upload(file(stat), 3, Some(object("x"))),
            upload(file(stat), 3, Some(object("y"))),
            upload(object("x"), 3, None),
            upload(object("y"), 3, None),
        ];
        let mut all: Vec<_> = others.iter().map(version).chain([first]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1);
        assert_eq!(Line::of(&others[0]).unwrap().version, None, "only a plan needs it");
    }

    #[test]
    fn events_are_written_as_lines_with_their_kind() {
        let json = |event| serde_json::to_value::<Event>(event).unwrap();
        assert_eq!(
            json(Event::Listed { side: Side::Source, files: 3 }),
            serde_json::json!({"event": "listed", "side": "source", "files": 3})
        );
        assert_eq!(
            json(Event::Skipped { path: key("a"), side: Side::Destination, why: SkipReason::Symlink }),
            serde_json::json!(
                {"event": "skipped", "path": "a", "side": "destination", "why": "skipped-symlinks"})
        );
        let line = Line::of(&upload(Fingerprint::Object(ETag::new("x")), 3, None)).unwrap();
        let expected = serde_json::json!(
            {"event": "done", "action": "upload", "path": "a", "size": 3, "reason": "added at source"});
        assert_eq!(json(Event::Done(line.clone())), expected);
        let told = json(Event::Done(Line { conflict: true, ..line }));
        assert_eq!(told["conflict"], true);
        let error = Error::new(ErrorKind::Invalid, "list `a`");
        assert_eq!(
            json(Event::Failed(Failure::new("a", "list", &error))),
            serde_json::json!(
                {"event": "failed", "path": "a", "action": "list", "code": "invalid", "error": "list `a`", "hint": ""})
        );
    }
}
