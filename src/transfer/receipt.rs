//! Whether stores have what they said they took.
//!
//! The row of a file that was written to a store says that no listing has shown it yet, until one has: a run that is killed before
//! leaves rows that its successor doubts.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Transfer;
use crate::client::{Kept, Written};
use crate::code::FailureCode;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::side::Side;
use crate::state::{BaseRow, Deleted, RowChange, Unlisted};

impl Transfer<'_> {
    /// Looks for what was written to stores since the last time, and returns what is not there, not whole, or not what was sent. What
    /// is among `sent` was sent twice by then: the next run sends it once more, unless an earlier one has sent it too,
    /// which is what `sent` says of it; then it waits until somebody changes it. What nobody could look for has failed.
    ///
    /// # Errors
    /// A store that cannot be asked, or a state that cannot be written.
    pub(crate) async fn receive(&self, sent: &BTreeMap<Key, bool>) -> Result<Vec<Key>> {
        let (mut vanished, mut rows) = (Vec::new(), Vec::new());
        for side in Side::BOTH {
            let written = std::mem::take(&mut *self.written(side));
            if written.is_empty() {
                continue;
            }
            let (keys, written): (Vec<Key>, Vec<Written>) = written.into_iter().unzip();
            let mut doubtful = self.clients.get(side).receipts(&written).await.map_err(|e| e.at(side))?;
            for (key, written) in keys.into_iter().zip(written) {
                match doubtful.remove(&key) {
                    None => rows.extend(self.marked(key, None).await?),
                    Some(Kept::Unlisted) => {}
                    Some(Kept::Unknown(error)) => {
                        self.progress.failed.store(true, Ordering::Relaxed);
                        self.recorder.fail(key.as_str(), "copy", &error.at(side));
                    }
                    // Nobody else wrote there: it is sent once more in its place.
                    Some(Kept::Damaged(there)) => {
                        let is_given_up = sent.get(&key).copied().unwrap_or(false);
                        let instead = etag_of(&there);
                        let unlisted = Unlisted { on: side, is_missing: true, is_given_up, instead };
                        rows.extend(self.marked(key.clone(), Some(unlisted)).await?);
                        vanished.push(key);
                    }
                    Some(Kept::Not(there)) => {
                        // Of another content with our time somebody else may be the author all the same: it is not replaced.
                        let is_another = there.as_ref().is_some_and(|there| is_another(&written, there));
                        let is_given_up = is_another || sent.get(&key).copied().unwrap_or(false);
                        let instead = there.as_ref().and_then(etag_of);
                        let unlisted = Unlisted { on: side, is_missing: true, is_given_up, instead };
                        rows.extend(self.marked(key.clone(), Some(unlisted)).await?);
                        if is_another {
                            self.progress.failed.store(true, Ordering::Relaxed);
                            self.recorder.fail(key.as_str(), "copy", &other_content(&key).at(side));
                        } else {
                            vanished.push(key);
                        }
                    }
                }
            }
        }
        self.record(rows).await?;
        Ok(vanished)
    }

    /// Returns the row of a file with what is known of its listing, if that is news.
    async fn marked(&self, key: Key, unlisted: Option<Unlisted>) -> Result<Option<RowChange>> {
        let Some(BaseRow::Agreed(mut row)) = self.state.get(&key).await? else { return Ok(None) };
        if row.tail.unlisted() == unlisted {
            return Ok(None);
        }
        row.tail.set_unlisted(unlisted);
        Ok(Some((key, Some(BaseRow::Agreed(row)))))
    }

    /// Notes what is to be looked for before the run ends.
    pub(super) fn note_written(&self, side: Side, entry: Entry, replaces: Option<Entry>) {
        if !self.clients.get(side).is_folder() {
            self.written(side).insert(entry.key.clone(), Written { entry, replaces });
        }
    }

    /// Notes in rows that nobody has seen yet whether a store has what was written to it.
    pub(super) fn doubt_written(&self, rows: &mut [RowChange]) {
        for side in Side::BOTH {
            let written = self.written(side);
            if written.is_empty() {
                continue;
            }
            for (key, row) in rows.iter_mut() {
                if let Some(BaseRow::Agreed(row)) = row
                    && let Some(file) = written.get(key)
                {
                    let instead = file.replaces.as_ref().and_then(etag_of);
                    row.tail.set_unlisted(Some(Unlisted {
                        on: side,
                        is_missing: false,
                        is_given_up: false,
                        instead,
                    }));
                }
            }
        }
    }

    /// Returns the row of a file that was deleted on a side. One that is hidden behind a marker comes back when somebody takes
    /// the marker away, as the version that it was: what its deletion did has been seen, and needs no receipt.
    pub(super) fn receipt_of(&self, side: Side, entry: &Entry) -> Option<BaseRow> {
        let receipt = Deleted::new(side, entry).filter(|_| !self.clients.get(side).has_hidden(&entry.key));
        receipt.map(BaseRow::Deleted)
    }

    fn written(&self, side: Side) -> std::sync::MutexGuard<'_, BTreeMap<Key, Written>> {
        self.progress.written.get(side).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a store shows neither what was written nor what that replaced.
fn is_another(written: &Written, there: &Entry) -> bool {
    let is_old = written.replaces.as_ref().is_some_and(|old| old.fingerprint == there.fingerprint);
    !is_old && written.entry.fingerprint != there.fingerprint
}

fn other_content(key: &Key) -> Error {
    let message = format!("the store has other content under `{key}` than was sent, with the same time");
    Error::new(ErrorKind::Corrupt, message)
        .with_hint("check the store; the file is sent again when it is changed or touched")
}

/// Returns the ETag of a version.
fn etag_of(entry: &Entry) -> Option<String> {
    match &entry.fingerprint {
        Fingerprint::Object(etag) => Some(etag.as_str().to_owned()),
        Fingerprint::File(_) => None,
    }
}

/// Returns the error of a file that a store said it took, twice, and does not have.
pub(crate) fn vanished(key: &Key) -> Error {
    let message =
        format!("vanished: the store said that it took `{key}`, and does not have it, or not all of it");
    Error::new(ErrorKind::Unavailable, message)
        .with_code(FailureCode::Vanished)
        .with_hint("check the store; the file is sent again when it is changed or touched; if somebody deleted it there, delete it on the other side too")
}
