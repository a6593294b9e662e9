//! What stops a run before it changes anything.
//!
//! The guards look at a whole plan and at what the listings showed, once, before the first effect. They
//! are pure: the same plan and view always give the same answer, so a dry run refuses what the real run
//! would refuse. Each refusal names the flag that lets it pass.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::code::NoticeCode;
use crate::error::{Error, ErrorKind};
use crate::mode::{AcceptRollback, SyncMode};
use crate::notice::Notice;
use crate::plan::{Action, Plan, Work};
use crate::side::{Side, Sides};

mod unseen;

pub use unseen::lost_at_first;
use unseen::unseen_files;

/// Below this many deletions and overwrites of strangers on a side the default limit does not ask.
/// Ours: small folders change wholesale every day.
pub const DEFAULT_FLOOR: u64 = 20;

/// The default limit, in percent of a side's files.
pub const DEFAULT_PERCENT: u64 = 50;

/// From this many deletions on a side may not lose nearly everything without being asked, and how much that is, in
/// percent.
const LEAST_OF_ALL: u64 = 10;
const ALL_PERCENT: u64 = 90;

/// How often larger than the other one a side must be to be worth a warning, and by how many files.
const LOPSIDED: u64 = 10;

/// Fewer known files than this changing all at once is nothing to warn about.
const FEW_FILES: u64 = 10;

/// How many files of a side a run may delete or overwrite unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MaxDelete {
    /// At most this many, from the first on.
    Files(u64),
    /// At most this share of the side's files, from the first on.
    Percent(u64),
}

impl FromStr for MaxDelete {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let limit = match text.strip_suffix('%') {
            Some(percent) => number(percent).filter(|percent| *percent <= 100).map(Self::Percent),
            None => number(text).map(Self::Files),
        };
        limit.ok_or_else(|| {
            let shown = crate::key::escape(text.as_bytes());
            Error::new(ErrorKind::Invalid, format!("`{shown}` is not a number of files or a percentage"))
                .with_hint("give a number of files such as 100, or a share from 0% to 100%")
        })
    }
}

impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => write!(f, "{files}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl TryFrom<String> for MaxDelete {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<MaxDelete> for String {
    fn from(limit: MaxDelete) -> Self {
        limit.to_string()
    }
}

/// What a run found, as far as the guards are concerned.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The mode.
    pub mode: SyncMode,
    /// Whether this is a proven first sync.
    pub first_sync: bool,
    /// The side the user gave the first sync to, if it acts in this run.
    pub first_sync_winner: Option<Side>,
    /// Whether the user named any first-sync preference.
    pub preference_given: bool,
    /// How many paths the base knows both sides to have had.
    pub base: u64,
    /// How many files each side has.
    pub listed: Sides<u64>,
    /// How many of the base's paths each side has with their size.
    pub recognised: Sides<u64>,
    /// How many of the base's paths have other content now.
    pub changed: Sides<u64>,
    /// Whether each root is another folder than last time.
    pub root_differs: Sides<bool>,
    /// Those of them that the user was told of as moved.
    pub moved: Sides<bool>,
    /// Those of them that lack the marker of the pair, or carry an older one.
    pub exchanged: Sides<bool>,
    /// Whether the destination carries the marker of a pair that is not this one.
    pub foreign_marker: bool,
    /// Whether nothing, or only the beginning of a first sync, is remembered of the pair.
    pub without_base: bool,
    /// Whether the receiving side carries a marker that such a run has written there before.
    pub is_known: bool,
    /// Which sides were put back to an earlier state.
    pub went_back: Sides<bool>,
    /// At how many paths that makes a difference.
    pub strayed: u64,
    /// Whether the user named a winner of a first sync, but the base was lost and a side went back.
    pub preference_late: bool,
    /// How many files of each side have become empty.
    pub emptied: Sides<u64>,
}

impl View {
    /// Returns whether the root of a side is one that this pair has never been synced with: another folder without its
    /// marker, and with few of its files.
    fn is_new_root(&self, side: Side) -> bool {
        *self.exchanged.get(side) && self.recognised.get(side).saturating_mul(2) < self.base
    }
}

/// What the user allows, for this run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// The limit on deletions; `None` for the default.
    pub max_delete: Option<MaxDelete>,
    /// Passes the deletion guard.
    pub allow_mass_delete: bool,
    /// Passes the empty-side guard.
    pub allow_empty_side: bool,
    /// Passes the guard of first meetings.
    pub allow_unseen: bool,
    /// Passes the root guard.
    pub accept_root: bool,
    /// Passes the guard against files that became empty.
    pub allow_mass_empty: bool,
    /// Passes the guard against sides that went back to an earlier state, and says what becomes of them.
    pub accept_rollback: Option<AcceptRollback>,
}

/// What the guards say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Why nothing may be changed; empty if the run may go on.
    pub refusals: Vec<Notice>,
    /// What the user should know.
    pub warnings: Vec<Notice>,
}

/// Judges a plan.
pub fn judge(plan: &Plan, view: &View, limits: &Limits) -> Judgement {
    let mut judgement = Judgement::default();
    let (meant, turnover) = (losses(plan), Turnover::of(plan));
    for side in Side::BOTH {
        judgement.refusals.extend(empty_side(view, limits, side));
        judgement.refusals.extend(too_many(&meant, &turnover, view, limits, side));
        match root_moved(view, side) {
            Some(refusal) if refusal.code == NoticeCode::RootChanged && !limits.accept_root => {
                judgement.refusals.push(refusal);
            }
            Some(mut warning) => {
                warning.code = NoticeCode::RootMoved;
                warning.hint = String::new();
                judgement.warnings.push(warning);
            }
            None => {}
        }
        judgement.warnings.extend(all_changed(view, side));
    }
    // Nothing to win with says it all.
    if judgement.refusals.iter().all(|refusal| refusal.code != NoticeCode::EmptySide) {
        judgement.refusals.extend(unseen_files(plan, view, limits));
    }
    judgement.refusals.extend(other_pair(plan, view, limits));
    judgement.refusals.extend(preference_late(view, limits));
    for side in Side::BOTH {
        judgement.refusals.extend(mass_empty(view, limits, side));
    }
    went_back(view, limits, &mut judgement);
    judgement.warnings.extend(lopsided(view));
    judgement
}

/// Judges the deletions of a plan for paths that changed during a run, together with those that the plan of the
/// run had: what is gone by then counts as much as what was gone before.
pub fn judge_again(
    (before, turnover): (&Sides<u64>, &Turnover),
    again: &Plan,
    view: &View,
    limits: &Limits,
) -> Vec<Notice> {
    let both = Side::BOTH.map(|side| before.get(side) + meant(again, side));
    let (both, turnover) = (Sides::new(both[0], both[1]), turnover.and(&Turnover::of(again)));
    let sides = Side::BOTH.into_iter().filter(|side| both.get(*side) > before.get(*side));
    sides.filter_map(|side| too_many(&both, &turnover, view, limits, side)).collect()
}

/// Counts what would be lost on each side.
pub fn losses(plan: &Plan) -> Sides<u64> {
    Sides::new(meant(plan, Side::Source), meant(plan, Side::Destination))
}

/// How many files are new and how many are deleted on each side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turnover {
    made: Sides<u64>,
    deleted: Sides<u64>,
}

impl Turnover {
    /// Counts them in a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut turnover = Self::default();
        for action in &plan.actions {
            match &action.work {
                Work::Copy(copy) if copy.replaces.is_none() => *turnover.made.get_mut(copy.to) += 1,
                Work::Delete { on, copied_as: None, .. } => *turnover.deleted.get_mut(*on) += 1,
                _ => {}
            }
        }
        turnover
    }

    /// Returns those of both plans.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let sum =
            |a: &Sides<u64>, b: &Sides<u64>| Sides::new(a.source + b.source, a.destination + b.destination);
        Self { made: sum(&self.made, &other.made), deleted: sum(&self.deleted, &other.deleted) }
    }

    /// Returns whether what comes makes up for what goes, as in a build of which all names change.
    fn is_renewal(&self, side: Side) -> bool {
        self.made.get(side).saturating_mul(2) >= *self.deleted.get(side)
    }

    /// Returns whether nearly everything of a side goes, and nothing to speak of comes.
    fn is_clearance(&self, side: Side, known: u64) -> bool {
        let deleted = *self.deleted.get(side);
        let is_all = u128::from(deleted) * 100 >= u128::from(ALL_PERCENT) * u128::from(known);
        deleted >= LEAST_OF_ALL && is_all && !self.is_renewal(side)
    }
}

/// Counts what would be lost on a side: deletions, and overwrites of versions the base does not know.
fn meant(plan: &Plan, side: Side) -> u64 {
    let lost = plan.actions.iter().filter(|action| loses(action) == Some(side)).count();
    (lost - moved_empty(plan, side)) as u64
}

/// Counts the empty files that are deleted on a side while one of the same name is made there in another folder: those
/// of a folder that was renamed. Nothing tells one empty file from another, so they are not paired as renames.
fn moved_empty(plan: &Plan, side: Side) -> usize {
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for action in &plan.actions {
        if let Work::Copy(copy) = &action.work
            && copy.to == side
            && copy.replaces.is_none()
            && copy.from.size == 0
        {
            *made.entry(action.key.file_name()).or_default() += 1;
        }
    }
    let is_moved = |action: &&Action| match &action.work {
        Work::Delete { on, entry, copied_as: None, .. } if *on == side && entry.size == 0 => {
            let left = made.get_mut(entry.key.file_name()).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_some()
        }
        _ => false,
    };
    plan.actions.iter().filter(is_moved).count()
}

/// Returns the side at which an action deletes a file or overwrites one that the base does not know.
pub fn loses(action: &Action) -> Option<Side> {
    match &action.work {
        // The old name of a rename that is being finished goes; its content has the new one.
        Work::Delete { on, copied_as: None, .. } => Some(*on),
        Work::Copy(copy) if copy.over_stranger => Some(copy.to),
        _ => None,
    }
}

fn empty_side(view: &View, limits: &Limits, side: Side) -> Option<Notice> {
    let other = side.other();
    let is_empty = *view.listed.get(side) == 0;
    let has_authority = (view.mode.is_mirror() && view.mode.authority() == Some(side))
        || view.first_sync_winner == Some(side);
    let is_accepted = limits.accept_root && view.is_new_root(side);
    let message = if !is_empty || limits.allow_empty_side {
        return None;
    } else if view.base > 0 && !is_accepted {
        let verb = if view.base == 1 { "was" } else { "were" };
        format!("the {side} is empty, but {} {verb} synced before", files(view.base))
    } else if has_authority && *view.listed.get(other) > 0 {
        let count = files(*view.listed.get(other));
        format!("the {side} decides and is empty, while the {other} has {count}")
    } else {
        return None;
    };
    let goes_on = if view.is_new_root(side) {
        "if it is another disk, --accept-root fills it and keeps what is remembered of the old one for it"
    } else {
        "--allow-empty-side goes on anyway"
    };
    let hint = format!("check that the {side} is mounted and spelled right; {goes_on}");
    Some(Notice::new(NoticeCode::EmptySide, message, hint))
}

fn too_many(
    meant: &Sides<u64>,
    turnover: &Turnover,
    view: &View,
    limits: &Limits,
    side: Side,
) -> Option<Notice> {
    let meant = *meant.get(side);
    let known = view.base.max(*view.listed.get(side));
    // Naming the winner of a first sync is consent, unless there is nothing to win with.
    let has_gone_back = (view.went_back.source || view.went_back.destination) && view.strayed > 0;
    let accepted = limits.accept_rollback.filter(|_| has_gone_back).and_then(AcceptRollback::winner);
    let winner = view.first_sync_winner.or(accepted);
    let consented = winner.is_some_and(|winner| *view.listed.get(winner) > 0);
    if meant == 0 || limits.allow_mass_delete {
        return None;
    }
    let (exceeded, limit) = match limits.max_delete {
        Some(MaxDelete::Files(files)) => (meant > files, MaxDelete::Files(files)),
        Some(MaxDelete::Percent(percent)) => (over_share(meant, known, percent), MaxDelete::Percent(percent)),
        None if consented => return None,
        None => {
            // A build of which all names change: what comes makes up for what goes, but not for what is overwritten.
            let is_excused = view.mode.is_mirror() && turnover.is_renewal(side);
            let counted = if is_excused { meant.saturating_sub(*turnover.deleted.get(side)) } else { meant };
            if counted > DEFAULT_FLOOR && over_share(counted, known, DEFAULT_PERCENT) {
                (true, MaxDelete::Percent(DEFAULT_PERCENT))
            } else {
                (turnover.is_clearance(side, known), MaxDelete::Percent(ALL_PERCENT))
            }
        }
    };
    exceeded.then(|| {
        let message = format!(
            "{} of {known} at the {side} would be deleted or overwritten unseen; the limit is {limit}",
            files(meant)
        );
        Notice::new(
            NoticeCode::MaxDelete,
            message,
            "look at the plan; if it is what you want, run once with --allow-mass-delete",
        )
    })
}

fn over_share(meant: u64, known: u64, percent: u64) -> bool {
    u128::from(meant) * 100 > u128::from(percent) * u128::from(known)
}

/// The marker of another pair says that somebody else syncs this destination too.
fn other_pair(plan: &Plan, view: &View, limits: &Limits) -> Option<Notice> {
    let deletes = plan.actions.iter().any(|a| matches!(a.work, Work::Delete { on: Side::Destination, .. }));
    let applies = view.foreign_marker && view.first_sync_winner == Some(Side::Source);
    (applies && deletes && !limits.allow_mass_delete).then(|| {
        Notice::new(
            NoticeCode::OtherPair,
            "the destination is synced with another source too, and files would be deleted there",
            "use --initial-sync merge, or run once with --allow-mass-delete",
        )
    })
}

/// A user who wants to restore must not have what was deleted long ago uploaded instead.
fn preference_late(view: &View, limits: &Limits) -> Option<Notice> {
    (view.preference_late && limits.accept_rollback.is_none()).then(|| {
        Notice::new(
            NoticeCode::PreferenceLate,
            "this pair has been synced before, its state is lost, and one side is from an earlier state than the other: \
             a first-sync preference does not act any more",
            "--accept-rollback destination makes the source equal to the destination, --accept-rollback source the \
             other way round, --accept-rollback keep-both deletes nothing",
        )
    })
}

/// Files that are cut to nothing in great number were not edited.
fn mass_empty(view: &View, limits: &Limits, side: Side) -> Option<Notice> {
    let emptied = *view.emptied.get(side);
    let is_much = emptied > DEFAULT_FLOOR && over_share(emptied, view.base, DEFAULT_PERCENT);
    (is_much && !limits.allow_mass_empty).then(|| {
        let message =
            format!("{emptied} of {} at the {side} have become empty since the last sync", files(view.base));
        let hint = "look at them: a full or failing disk does that; --allow-mass-empty goes on anyway";
        Notice::new(NoticeCode::MassEmpty, message, hint)
    })
}

/// A side that was put back from a backup: nothing is deleted or overwritten on that account.
fn went_back(view: &View, limits: &Limits, judgement: &mut Judgement) {
    let first = [NoticeCode::EmptySide, NoticeCode::RootChanged, NoticeCode::PreferenceLate];
    let is_judged = judgement.refusals.iter().any(|refusal| first.contains(&refusal.code));
    let sides = Side::BOTH.into_iter().filter(|side| *view.went_back.get(*side) && !view.is_new_root(*side));
    let sides: Vec<String> = sides.map(|side| format!("the {side}")).collect();
    if sides.is_empty() || view.strayed == 0 || is_judged {
        return;
    }
    let went = if sides.len() == 1 { "went" } else { "both went" };
    let paths =
        if view.strayed == 1 { "1 path differs".into() } else { format!("{} paths differ", view.strayed) };
    let message = format!(
        "{} {went} back to an earlier state since the last sync; {paths} from it",
        sides.join(" and ")
    );
    let authority = view.mode.authority().filter(|_| view.mode.is_mirror());
    let choices = match authority {
        Some(side) => format!(
            "in a mirror the {side} decides: --accept-rollback {side} makes the {} as it is, and puts what that has into the trash",
            side.other()
        ),
        None => "--accept-rollback source or destination makes both sides as that one is, --accept-rollback keep-both \
                 deletes nothing and keeps both versions of what differs"
            .into(),
    };
    match limits.accept_rollback {
        None if view.strayed > DEFAULT_FLOOR => {
            judgement.refusals.push(Notice::new(NoticeCode::RolledBack, message, choices));
        }
        // What is asked for this mode cannot do, and the opposite nobody has asked for.
        Some(winner) if authority.is_some_and(|side| winner.winner() == Some(side.other())) => {
            judgement.refusals.push(Notice::new(NoticeCode::RolledBack, message, choices));
        }
        None | Some(AcceptRollback::KeepBoth) => {
            let message = format!("{message}: {}", fate_of_strays(view));
            judgement.warnings.push(Notice::new(NoticeCode::RolledBack, message, ""));
        }
        Some(winner) => {
            // In a mirror nobody else does, nor where the mode does not write the other side.
            let may_decide = |winner: Side| match winner {
                Side::Source => view.mode.allows_upload(),
                Side::Destination => view.mode.allows_download(),
            };
            let is_void = view.mode.is_mirror() || !winner.winner().is_some_and(may_decide);
            let authority = view.mode.authority().filter(|_| is_void);
            let winner = authority.map_or_else(|| winner.to_string(), |side| side.to_string());
            let message = format!("{message}: the {winner} decides");
            judgement.warnings.push(Notice::new(NoticeCode::RolledBack, message, ""));
        }
    }
}

/// Returns what becomes of the paths at which a side that went back differs.
fn fate_of_strays(view: &View) -> String {
    let back = |side: Side| *view.went_back.get(side);
    match view.mode.authority() {
        // What such a mode puts right it puts right here too.
        Some(authority) if back(authority.other()) && !back(authority) => {
            format!(
                "they become what the {authority} has; what is there now goes to its trash, if that is on"
            )
        }
        _ => "nothing is deleted for it, and both versions of what differs are kept".into(),
    }
}

fn root_moved(view: &View, side: Side) -> Option<Notice> {
    if !*view.root_differs.get(side) || view.base == 0 {
        return None;
    }
    let found = *view.recognised.get(side);
    let has_most = found.saturating_mul(2) >= view.base;
    if has_most && *view.moved.get(side) {
        return None;
    }
    let message =
        format!("the {side} is another folder than last time; {found} of {} found there", files(view.base));
    let code = if has_most { NoticeCode::RootMoved } else { NoticeCode::RootChanged };
    let hint = if *view.exchanged.get(side) {
        "check that the right disk is mounted; --accept-root goes on with the new folder, and what is remembered of the old \
         one waits for it; if it was put back from a backup, --accept-rollback says whose versions win"
    } else {
        "check that the right disk is mounted; --accept-root goes on with the new folder"
    };
    Some(Notice::new(code, message, hint))
}

fn all_changed(view: &View, side: Side) -> Option<Notice> {
    let all = view.base >= FEW_FILES && *view.changed.get(side) == view.base;
    all.then(|| {
        let message = format!("all {} known before have changed at the {side}", files(view.base));
        Notice::new(NoticeCode::AllFilesChanged, message, String::new())
    })
}

fn lopsided(view: &View) -> Option<Notice> {
    if !view.first_sync || view.preference_given || view.mode != SyncMode::TwoWay {
        return None;
    }
    let (larger, smaller) = if view.listed.source > view.listed.destination {
        (Side::Source, Side::Destination)
    } else {
        (Side::Destination, Side::Source)
    };
    let (many, few) = (*view.listed.get(larger), *view.listed.get(smaller));
    if few == 0 || many < few.saturating_mul(LOPSIDED) || many - few < LOPSIDED {
        return None;
    }
    let name = |side: Side| if side == Side::Source { "Source" } else { "Destination" };
    let message = format!(
        "{} has {} but {smaller} has only {few}. Initial TWO_WAY sync will default to MERGE mode (no deletions). \
         To make {larger} authoritative and delete {smaller}-only files: --initial-sync {larger}-wins",
        name(larger),
        files(many),
    );
    Some(Notice::new(NoticeCode::LopsidedFirstSync, message, String::new()))
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".into() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests;
