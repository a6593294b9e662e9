//! Whether stores have what they said they took.

use std::sync::PoisonError;

use super::Transfer;
use crate::client::{NotKept, Written};
use crate::entry::Entry;
use crate::error::Result;
use crate::fingerprint::{FileStat, Fingerprint};
use crate::key::Key;
use crate::mode::{Side, Sides};
use crate::state::{Agreed, BaseRow};
use crate::timestamp::Timestamp;

impl Transfer<'_> {
    /// Looks for what was written to stores since the last time. What is not there has no row any more, and is returned, as is what
    /// is not whole: it counts as an old version.
    ///
    /// # Errors
    /// A store that cannot be asked, or a state that cannot be written.
    pub(crate) async fn receive(&self) -> Result<Vec<Key>> {
        let (mut vanished, mut rows) = (Vec::new(), Vec::new());
        for side in Side::BOTH {
            let written = {
                let mut written =
                    self.progress.written.get(side).lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *written)
            };
            if written.is_empty() {
                continue;
            }
            let missing = self.clients.get(side).missing(&written).await.map_err(|error| error.at(side))?;
            for NotKept { key, there } in missing {
                rows.push((key.clone(), there.map(|there| BaseRow::Agreed(still(side, &there)))));
                vanished.push(key);
            }
        }
        self.record(rows).await?;
        Ok(vanished)
    }

    /// Notes what is to be looked for before the run ends.
    pub(super) fn note_written(&self, side: Side, entry: Entry, replaces: Option<Entry>) {
        if !self.clients.get(side).is_folder() {
            let written = self.progress.written.get(side);
            written.lock().unwrap_or_else(PoisonError::into_inner).push(Written { entry, replaces });
        }
    }
}

/// Returns the row of a file that still is the old one on `side`, where the other side has another version.
fn still(side: Side, old: &Entry) -> Agreed {
    let nothing = Timestamp::default();
    let unlike = FileStat { modified: nothing, changed: nothing, inode: 0, settled: false };
    let mut seen = Sides::new(Fingerprint::File(unlike), Fingerprint::File(unlike));
    *seen.get_mut(side) = old.fingerprint.clone();
    Agreed::new(old.size, None, seen)
}
