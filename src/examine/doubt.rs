//! What a store may not have kept, or not deleted, although it said so.

use super::{Examiner, look_again};
use crate::diff::Observed;
use crate::entry::Entry;
use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::plan::Sight;
use crate::side::{Side, Sides};
use crate::state::{Agreed, BaseRow, Unlisted};

/// What a store has of a file that it said it took, and does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is there.
    Unlisted(Side),
    /// It has another one.
    Other,
    /// It has nothing, or what was there before.
    Gone {
        /// The side of the store.
        on: Side,
        /// Whether it was sent once more before.
        is_given_up: bool,
    },
}

impl Examiner {
    /// Asks stores by name for a file that both sides had and neither lists: a listing that is late says of a file that was deleted
    /// on the other side meanwhile that it is nowhere.
    pub(super) async fn look_for_what_is_nowhere(
        &self,
        key: &Key,
        base: Option<&BaseRow>,
        sides: &mut Sides<Observed>,
    ) -> Result<()> {
        let is_nowhere = Side::BOTH.into_iter().all(|side| *sides.get(side) == Observed::Absent);
        if !is_nowhere || !matches!(base, Some(BaseRow::Agreed(_))) {
            return Ok(());
        }
        for side in Side::BOTH.into_iter().filter(|side| !self.clients.get(*side).is_folder()) {
            *sides.get_mut(side) = look_again(&self.clients, side, key).await?;
        }
        Ok(())
    }

    /// Returns on which side a file is that we deleted there, in the very version. One that went back has it from then. A listing
    /// that is late shows it too, so it is looked at by its name: meanwhile somebody may have written the same bytes again.
    pub(super) async fn again(
        &self,
        key: &Key,
        base: Option<&BaseRow>,
        sides: &mut Sides<Observed>,
    ) -> Result<Option<Side>> {
        let Some(BaseRow::Deleted(deleted)) = base else { return Ok(None) };
        let on = deleted.on;
        let is_again = |observed: &Observed| matches!(observed, Observed::File(entry) if deleted.is(entry));
        if *self.rollback.on.get(on) || !is_again(sides.get(on)) {
            return Ok(None);
        }
        let found = look_again(&self.clients, on, key).await?;
        let is_there = is_again(&found);
        if !is_there {
            *sides.get_mut(on) = found;
        }
        Ok(is_there.then_some(on))
    }

    /// Asks a store for a file that it said it took, that its listing does not show or shows as it was before, and that the other
    /// side has: nobody need have deleted it, or put the old one back.
    pub(super) async fn doubt(
        &self,
        key: &Key,
        base: Option<&BaseRow>,
        sides: &mut Sides<Observed>,
    ) -> Result<Option<Doubt>> {
        let Some(BaseRow::Agreed(row)) = base else { return Ok(None) };
        let Some(Unlisted { on, is_missing, is_given_up, instead }) = row.tail.unlisted() else {
            return Ok(None);
        };
        if !matches!(sides.get(on.other()), Observed::File(_)) {
            return Ok(None);
        }
        let judge = |observed: &Observed| match observed {
            Observed::Absent => Some(Doubt::Gone { on, is_given_up }),
            Observed::Unknown => None,
            Observed::File(entry) if entry.fingerprint == *row.fingerprint(on) && entry.size == row.size => {
                Some(Doubt::Unlisted(on))
            }
            Observed::File(Entry { fingerprint: Fingerprint::Object(etag), .. })
                if instead.as_deref() == Some(etag.as_str())
                    || row.fingerprint(on) == &Fingerprint::Object(etag.clone()) =>
            {
                Some(Doubt::Gone { on, is_given_up })
            }
            // Somebody else's, where ours was seen not to be: the two sides were never equal. Else he has replaced ours.
            Observed::File(_) => is_missing.then_some(Doubt::Other),
        };
        match judge(sides.get(on)) {
            // What a listing shows needs no other proof.
            Some(Doubt::Unlisted(_)) => Ok(None),
            Some(Doubt::Gone { .. }) => {
                let found = look_again(&self.clients, on, key).await?;
                let doubt = judge(&found);
                *sides.get_mut(on) = found;
                Ok(doubt)
            }
            doubt => Ok(doubt),
        }
    }
}

/// Returns whether somebody has written or touched a file since the base was recorded.
pub(super) fn has_changed(base: &Agreed, side: Side, sides: &Sides<Observed>, sight: Sight) -> bool {
    let is_touched = match (base.fingerprint(side), sides.get(side)) {
        (Fingerprint::File(was), Observed::File(Entry { fingerprint: Fingerprint::File(is), .. })) => {
            was.modified != is.modified
        }
        _ => false,
    };
    is_touched || sight == Sight::Changed
}
