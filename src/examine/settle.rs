//! What a run that was cut off was about to do, and may have done.
//!
//! Its user may have changed his mind since: what he put back looks like the base then, and what the run did on the other side like
//! somebody's edit. So where a side shows what the run was about to do there, that is what both sides had last.

use super::{Examiner, FirstSight, first_sight, listed_hashes};
use crate::diff::Observed;
use crate::entry::Entry;
use crate::error::Result;
use crate::fingerprint::{ContentHash, Fingerprint, HashForm};
use crate::key::Key;
use crate::mode::{Side, Sides};
use crate::state::{Agreed, BaseRow, Intent, RowChange};

impl Examiner {
    /// Returns what the base says of a path once it is known whether what was about to be done there was done, and how to
    /// remember that. Where both sides show what they were to have they are compared as if nothing had been noted: that tells more.
    pub(super) async fn settle(
        &self,
        key: &Key,
        base: Option<BaseRow>,
        sides: &Sides<Observed>,
    ) -> Result<(Option<BaseRow>, Option<RowChange>)> {
        let Some(Intent { on, then, run_tag }) = base.as_ref().and_then(|base| base.tail().intent()) else {
            return Ok((base, None));
        };
        if Side::BOTH.into_iter().all(|side| *sides.get(side) == Observed::Absent) {
            // It is forgotten as any other that is nowhere.
            return Ok((base, None));
        }
        let before = base.and_then(BaseRow::without_intent);
        let is_told = Side::BOTH.into_iter().all(|side| *sides.get(side) != Observed::Unknown);
        if !is_told || is_as_meant(then.as_ref(), on.other(), sides.get(on.other())) {
            return Ok((before, None));
        }
        let now = match (then, sides.get(on)) {
            (_, observed) if is_untouched(before.as_ref(), on, observed) => before,
            (Some(mut then), Observed::File(entry)) if self.is_meant(&then, run_tag, on, entry).await? => {
                *then.seen.get_mut(on) = entry.fingerprint.clone();
                Some(BaseRow::Agreed(then))
            }
            // It was deleted as it was to be; or somebody was at work on both sides, and nothing tells what they had.
            _ => None,
        };
        Ok((now.clone(), Some((key.clone(), now))))
    }

    /// Returns whether a side has what it was to have: by its content, or where that was not known before by the run that wrote it.
    async fn is_meant(&self, then: &Agreed, run_tag: u32, on: Side, entry: &Entry) -> Result<bool> {
        if then.size != entry.size {
            return Ok(false);
        }
        let of_the_other = then.fingerprint(on.other());
        if matches!(of_the_other, Fingerprint::Object(_)) && *of_the_other == entry.fingerprint {
            return Ok(true);
        }
        match self.has_content(then, on, entry).await? {
            Some(is_equal) => Ok(is_equal),
            None => self.clients.get(on).was_written_by(entry, run_tag).await,
        }
    }

    /// Returns whether a version has the content that was to be there; `None` if nothing tells.
    async fn has_content(&self, then: &Agreed, on: Side, entry: &Entry) -> Result<Option<bool>> {
        let as_listed = Entry { fingerprint: then.fingerprint(on.other()).clone(), ..entry.clone() };
        let wanted: Vec<ContentHash> = then.hash.into_iter().chain(listed_hashes(&as_listed)).collect();
        let forms: Vec<HashForm> = wanted.iter().map(ContentHash::form).collect();
        let found = match entry.fingerprint {
            Fingerprint::Object(_) => listed_hashes(entry),
            Fingerprint::File(_) if forms.is_empty() => Vec::new(),
            Fingerprint::File(_) => self.hash(on, entry, &forms).await?,
        };
        let can_tell = found.iter().any(|hash| forms.contains(&hash.form()));
        Ok(can_tell.then(|| found.iter().any(|hash| wanted.contains(hash))))
    }
}

/// Returns whether a side shows its part of what both sides were to have.
fn is_as_meant(then: Option<&Agreed>, side: Side, observed: &Observed) -> bool {
    match (then, observed) {
        (None, Observed::Absent) => true,
        (Some(then), Observed::File(entry)) => {
            then.size == entry.size && *then.fingerprint(side) == entry.fingerprint
        }
        _ => false,
    }
}

/// Returns whether a side is as it was before.
fn is_untouched(before: Option<&BaseRow>, on: Side, observed: &Observed) -> bool {
    match (before, observed) {
        (Some(BaseRow::Agreed(before)), Observed::File(entry)) => {
            first_sight(before, on, entry) == FirstSight::Same
        }
        (Some(BaseRow::Agreed(_)), _) => false,
        (_, observed) => *observed == Observed::Absent,
    }
}
