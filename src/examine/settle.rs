//! What a run that was cut off was about to do, and may have done.
//!
//! Its user may have changed his mind since: what he put back looks like the base then, and what the run did on the other side like
//! somebody's edit. So where a side shows what the run was about to do there, and only a run can have made it so, that is what
//! both sides had last. Where somebody was at work on both, the base says nothing any more.

use super::{Examiner, FirstSight, first_sight, listed_hashes, look_again};
use crate::diff::Observed;
use crate::entry::{Entry, Timestamp};
use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::plan::{Base, Facts, Sight};
use crate::side::{Side, Sides};
use crate::state::{Agreed, BaseRow, Deed, Intent, RowChange, is_stored};

impl Examiner {
    /// Returns what the base says of a path once it is known whether what was about to be done there was done, and how to
    /// remember that. Where both sides show what they were to have they are compared as if nothing had been noted: that tells more.
    pub(super) async fn settle(
        &self,
        key: &Key,
        base: Option<BaseRow>,
        sides: &Sides<Observed>,
    ) -> Result<(Option<BaseRow>, Option<RowChange>)> {
        let Some(intent) = base.as_ref().and_then(|base| base.tail().intent()) else {
            return Ok((base, None));
        };
        if Side::BOTH.into_iter().all(|side| *sides.get(side) == Observed::Absent) {
            // It is forgotten as any other that is nowhere.
            return Ok((base, None));
        }
        let before = base.and_then(BaseRow::without_intent);
        if Side::BOTH.into_iter().any(|side| *sides.get(side) == Observed::Unknown) {
            return Ok((before, None));
        }
        let (here, there) = (sides.get(intent.on), sides.get(intent.on.other()));
        let now = match (&intent.deed, here) {
            // Not deleted yet; or deleted, and there is another one.
            (Deed::Delete(seen, stored), Observed::File(entry)) => {
                before.filter(|_| is_still(seen, *stored, entry))
            }
            (Deed::Delete(..), _) => None,
            (Deed::Have(then) | Deed::HaveFrom(then, _), _) if is_shown(then, intent.on.other(), there) => {
                return Ok((before, None));
            }
            (_, observed) if is_untouched(before.as_ref(), intent.on, observed) => before,
            (Deed::Have(then) | Deed::HaveFrom(then, _), Observed::File(entry)) => {
                self.is_made(&intent, then, entry).await?.then(|| {
                    let mut then = then.clone();
                    *then.seen.get_mut(intent.on) = entry.fingerprint.clone();
                    BaseRow::Agreed(then)
                })
            }
            (Deed::Have(_) | Deed::HaveFrom(..), _) => None,
        };
        Ok((now.clone(), Some((key.clone(), now))))
    }

    /// Returns what is to be decided if a file is nobody's, but what a run has left there that was sending the file of the other
    /// side: a store took other bytes, and the run could not take them back.
    pub(super) async fn as_left_damaged(
        &self,
        intent: Option<&Intent>,
        facts: Facts,
        found: &Sides<&mut Entry>,
    ) -> Result<Option<Facts>> {
        let Some(intent) = intent.filter(|_| !facts.equal) else { return Ok(None) };
        let (Deed::Have(then) | Deed::HaveFrom(then, _)) = &intent.deed else { return Ok(None) };
        let (here, there) = (found.get(intent.on), found.get(intent.on.other()));
        if *then.fingerprint(intent.on.other()) != there.fingerprint || then.size != there.size {
            return Ok(None);
        }
        let (_, modified) = there.fingerprint.number_and_time();
        let is_ours = self.clients.get(intent.on).was_written_by(here, intent.run_tag, modified).await?;
        let (source, destination) = match intent.on {
            Side::Source => (Sight::Same, Sight::Changed),
            Side::Destination => (Sight::Changed, Sight::Same),
        };
        Ok(is_ours.then_some(Facts { base: Base::Agreed, source, destination, ..facts }))
    }

    /// Returns what the sides show if what the base does not know of one may be what somebody did on the other one, whom a run has
    /// followed, and who has put the old version back since: that is the newer act. Its file is another one of the same content.
    pub(super) fn as_put_back(
        &self,
        base: Option<&Agreed>,
        sides: &Sides<Observed>,
        sights: Sides<Sight>,
    ) -> Sides<Sight> {
        let is_another = |side: Side| match (base.map(|base| base.fingerprint(side)), sides.get(side)) {
            (
                Some(Fingerprint::File(was)),
                Observed::File(Entry { fingerprint: Fingerprint::File(is), .. }),
            ) => (was.inode, was.changed) != (is.inode, is.changed),
            _ => false,
        };
        let seen = |side: Side| {
            let is_followed = self.rollback.may_have_followed(*sights.get(side.other()));
            let is_put_back = *sights.get(side) == Sight::Touched && is_followed && is_another(side);
            if is_put_back { Sight::Changed } else { *sights.get(side) }
        };
        Sides::new(seen(Side::Source), seen(Side::Destination))
    }

    /// Returns whether a run has made the version that a side shows: equal content is no proof, for the user may have copied it
    /// there himself.
    async fn is_made(&self, intent: &Intent, then: &Agreed, entry: &Entry) -> Result<bool> {
        if then.size != entry.size {
            return Ok(false);
        }
        match (&intent.deed, then.fingerprint(intent.on), &entry.fingerprint) {
            // It has the number of the temporary, or of the file that was renamed.
            (_, was @ Fingerprint::File(stat), is @ Fingerprint::File(_)) => {
                Ok(stat.inode != 0 && was.number_and_time() == is.number_and_time())
            }
            // In a store a rename is a copy. It is taken back if the other side has the old name again, with all that is in it.
            (Deed::HaveFrom(_, old), ..) => {
                let known = then.hash.into_iter().chain(listed_hashes(&shown_as(then, intent.on, entry)));
                let has_content = known.into_iter().any(|hash| listed_hashes(entry).contains(&hash));
                let there = look_again(&self.clients, intent.on.other(), old).await?;
                Ok(has_content && matches!(there, Observed::File(old) if old.size == entry.size))
            }
            // The run may have written an earlier version, too.
            _ => {
                let (_, modified) = then.fingerprint(intent.on.other()).number_and_time();
                self.clients.get(intent.on).was_written_by(entry, intent.run_tag, modified).await
            }
        }
    }
}

/// Returns a version of the size of `entry` as it was shown where it was to be renamed.
fn shown_as(then: &Agreed, on: Side, entry: &Entry) -> Entry {
    Entry { fingerprint: then.fingerprint(on).clone(), ..entry.clone() }
}

/// Returns whether `entry` is the very version that was to be deleted.
fn is_still(seen: &Fingerprint, stored: Option<Timestamp>, entry: &Entry) -> bool {
    match (seen, stored) {
        (Fingerprint::Object(etag), Some(stored)) => is_stored(etag, stored, entry),
        _ => *seen == entry.fingerprint,
    }
}

/// Returns whether a side shows its part of what both sides were to have.
fn is_shown(then: &Agreed, side: Side, observed: &Observed) -> bool {
    matches!(observed, Observed::File(entry)
        if then.size == entry.size && *then.fingerprint(side) == entry.fingerprint)
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
