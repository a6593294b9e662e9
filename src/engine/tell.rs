//! What a run tells its observer besides what it does.

use super::prepare::Prepared;
use crate::code::{FailureCode, NoticeCode};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Line};
use crate::guard::Judgement;
use crate::key::{Key, RESERVED_FOLDER};
use crate::notice::Notice;
use crate::plan::{Action, Plan, Work};
use crate::report::Recorder;
use crate::side::Side;
use crate::survey::Survey;
use crate::transfer::blocked;

/// Tells what guards and listings have to say.
pub(super) fn tell(judgement: &Judgement, found: &Survey, recorder: &Recorder) {
    for warning in &judgement.warnings {
        recorder.emit(&Event::Warned(warning.clone()));
    }
    if found.excluded > 0 {
        let message = format!(
            "the filter excludes {} synced before; they stay where they are and are no longer synced",
            if found.excluded == 1 { "1 path".into() } else { format!("{} paths", found.excluded) }
        );
        recorder.emit(&Event::Noted(Notice::new(NoticeCode::FilterChanged, message, String::new())));
    }
    // The folder of another pair, whose root is inside this one, is nobody's leftover.
    let foreign: Vec<_> =
        found.foreign.iter().filter(|(_, key)| key.file_name() != RESERVED_FOLDER).collect();
    if let Some((side, first)) = foreign.first() {
        let message = format!(
            "{} with a reserved name, not made by this pair, such as `{first}` at the {side}",
            if foreign.len() == 1 { "1 file".into() } else { format!("{} files", foreign.len()) }
        );
        let hint = "they are never synced; remove them by hand if nobody needs them";
        recorder.emit(&Event::Warned(Notice::new(NoticeCode::ForeignTemporaries, message, hint)));
    }
    // Where a side went back it has what it had.
    if let Some(first) = found.reappeared.first().filter(|_| !found.went_back) {
        let (count, are) = if found.reappeared.len() == 1 {
            ("1 file".into(), "is")
        } else {
            (format!("{} files", found.reappeared.len()), "are")
        };
        let message = format!(
            "{count} that an earlier run deleted, such as `{first}`, {are} in the store's listing again, in the very version"
        );
        let hint = "the store said yes and did not delete, or lists late; nobody wrote them anew, so they are deleted again";
        recorder.emit(&Event::Warned(Notice::new(NoticeCode::Reappeared, message, hint)));
    }
    for refusal in &judgement.refusals {
        recorder.emit(&Event::Refused(refusal.clone()));
    }
}

/// Reports a plan as if it had been carried out.
pub(super) fn foresee(plan: &Plan, found: &Survey, prepared: &Prepared, recorder: &Recorder) {
    let origin = |side, key| prepared.clients.get(side).origin(key).map(|origin| origin.store);
    let in_one_store = plan.actions.first().is_some_and(|Action { key, .. }| {
        let store = origin(Side::Source, key);
        store.is_some() && store == origin(Side::Destination, key)
    });
    let refused = recorder.with(|report| !report.refused_by.is_empty() && !report.dry_run);
    for action in plan.actions.iter().filter(|_| !refused) {
        if action.work.is_blocked() {
            recorder.fail(action.key.as_str(), "sync", &blocked(action));
        } else if let Some(mut line) = Line::planned(action) {
            // What replaces something is written under a condition, which stores do not know for copies.
            let replaces = match &action.work {
                Work::Copy(copy) => copy.replaces.is_some(),
                Work::Rename { edited, .. } => *edited,
                _ => false,
            };
            let copies = |side: Side| prepared.clients.get(side).copies_by_itself();
            if in_one_store && !replaces && action.receiver().is_none_or(copies) {
                line.effects.pass_within_store();
            }
            recorder.emit(&Event::Done(line));
        }
    }
    for key in &found.moving {
        recorder.fail(key.as_str(), "read", &changed_during_sync(key));
    }
}

pub(super) fn announce(plan: &Plan, recorder: &Recorder) {
    let (mut files, mut bytes, mut deletions, mut renames) = (0, 0, 0, 0);
    for action in &plan.actions {
        match &action.work {
            Work::Copy(copy) => {
                files += 1;
                bytes += copy.from.size;
            }
            Work::KeepBoth { versions, .. } => {
                files += 2;
                bytes += versions.source.size + versions.destination.size;
            }
            Work::Delete { .. } => deletions += 1,
            Work::Rename { .. } => renames += 1,
            _ => {}
        }
    }
    recorder.emit(&Event::Planned { files, bytes, deletions, renames });
}

/// The error for a path where something that is not synced appeared during the run.
pub(super) fn in_its_place(key: &Key, side: Side) -> Error {
    let message = format!(
        "name collision: something that is not synced now stands in the place of `{key}` at the {side}"
    );
    Error::new(ErrorKind::Invalid, message)
        .with_code(FailureCode::NameCollision)
        .with_hint("move it away, or exclude the path")
}

pub(super) fn changed_during_sync(key: &Key) -> Error {
    Error::new(ErrorKind::Changed, format!("changed-during-sync: `{key}` did not stay as it was long enough"))
        .with_hint("run again when nobody writes to it")
}
