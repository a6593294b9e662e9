//! First meetings: what a run may do to files of a side that it has never seen.

use super::{DEFAULT_FLOOR, Limits, Notice, View, files};
use crate::code::NoticeCode;
use crate::key::Key;
use crate::plan::{Plan, Work};
use crate::side::Side;

/// What a run that remembers nothing would do to files of a side of which it knows nothing.
#[derive(Debug, Default)]
struct Unseen<'a> {
    deleted: Vec<&'a Key>,
    overwritten: Vec<&'a Key>,
    equal: u64,
}

impl<'a> Unseen<'a> {
    fn of(plan: &'a Plan, on: Side) -> Self {
        let mut unseen = Self::default();
        for action in &plan.actions {
            match &action.work {
                Work::Delete { on: side, copied_as: None, .. } if *side == on => {
                    unseen.deleted.push(&action.key);
                }
                Work::Copy(copy) if copy.to == on && copy.replaces.is_some() => {
                    unseen.overwritten.push(&action.key);
                }
                Work::Adopt { .. } => unseen.equal += 1,
                _ => {}
            }
        }
        unseen
    }

    fn count(&self) -> u64 {
        (self.deleted.len() + self.overwritten.len()) as u64
    }
}

/// Returns the side on which a first run deletes or overwrites what it has never seen.
fn newly_met(view: &View) -> Option<Side> {
    view.mode.authority().or(view.first_sync_winner).map(Side::other)
}

/// A run without a base that would delete files which only the receiving side has, or overwrite a side that has little
/// in common with the other one: it may be the wrong folder or bucket. Who names the winner of a first sync has
/// said what is to become of a few files, or of half of the side.
pub(super) fn unseen_files(plan: &Plan, view: &View, limits: &Limits) -> Option<Notice> {
    let on = newly_met(view)?;
    let is_unknown = view.without_base || view.is_new_root(on);
    if !is_unknown || view.is_known || limits.allow_unseen || limits.allow_mass_delete {
        return None;
    }
    let unseen = Unseen::of(plan, on);
    let listed = *view.listed.get(on);
    let is_strange = unseen.equal.saturating_mul(2) < listed;
    let is_refused = match view.first_sync_winner {
        Some(_) => unseen.count() > DEFAULT_FLOOR.max(listed / 2),
        None => !unseen.deleted.is_empty() || (!unseen.overwritten.is_empty() && is_strange),
    };
    is_refused.then(|| {
        let named = unseen.deleted.iter().chain(&unseen.overwritten).take(3);
        let named: Vec<String> = named.map(|key| format!("`{key}`")).collect();
        let message = format!(
            "the {on} was never synced with this {}, and {} of {listed} there would be deleted or overwritten: {}{}",
            on.other(),
            files(unseen.count()),
            named.join(", "),
            if unseen.count() > 3 { ", ..." } else { "" },
        );
        let hint = "check that it is the right one; `syncengine plan` shows everything; --allow-unseen goes on anyway";
        Notice::new(NoticeCode::UnseenFiles, message, hint)
    })
}

/// Returns a note about the files of a first sync's losing side that went, and where they are.
pub fn lost_at_first(plan: &Plan, view: &View, kept_in: Option<&str>) -> Option<Notice> {
    let on = view.first_sync_winner.filter(|_| view.without_base)?.other();
    let count = Unseen::of(plan, on).count();
    (count > 0).then(|| {
        let kept = match kept_in {
            Some(place) => format!("they are kept in `{place}` there"),
            None => "they are not kept".into(),
        };
        let verb = if count == 1 { "was" } else { "were" };
        let message = format!(
            "{} of the {on} {verb} deleted or overwritten, as the {} wins; {kept}",
            files(count),
            on.other()
        );
        Notice::new(NoticeCode::UnseenFiles, message, "")
    })
}
