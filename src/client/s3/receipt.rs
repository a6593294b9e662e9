//! Receipts: whether what was written is there, asked once more before a run ends.
//!
//! A store can say yes to a write and have nothing. Then the file would be missing there in the next run, as if somebody
//! had deleted it, and be deleted here as well. So written names are looked for: in pages of the listing, each of
//! which begins at the next name that was not looked for yet, so that one request answers for a thousand names
//! that lie together and none takes more than one. What no page shows is asked for by its name.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::S3Client;
use super::fault::Fault;
use super::listing::{Object, Position};
use super::store::Store;
use super::walk::PAGE_KEYS;
use crate::client::{Kept, Listed, Written};
use crate::entry::Entry;
use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::key::Key;

/// How many names are asked for at once.
const AT_ONCE: usize = 32;

impl S3Client {
    async fn md5_etags(&self) -> bool {
        self.capabilities().await.is_ok_and(|can| can.md5_etags)
    }

    /// Returns which of the files that were just written, in ascending order, the listing does not show as they were, and what has
    /// become of them. Where a store lists in an order of its own, a look at each says as much.
    pub(super) async fn ask_for(&self, written: &[Written]) -> Result<BTreeMap<Key, Kept>> {
        let is_listed = !self.store.listing.is_disordered();
        let unlisted = if is_listed {
            let name = |file: &Written| self.object_key(&file.entry.key);
            let is_kept = |file: &Written, shown: &Object| {
                shown.etag.clone().map(Fingerprint::Object).as_ref() == Some(&file.entry.fingerprint)
                    && file.entry.size == shown.size
            };
            let unlisted = self.store.unlisted(&self.at.prefix, written.to_vec(), name, is_kept);
            // Where the listing does not come each is asked for.
            unlisted.await.unwrap_or_else(|_| written.to_vec())
        } else {
            written.to_vec()
        };
        let looks = stream::iter(unlisted).map(|file| async move {
            let key = file.entry.key.clone();
            match self.head_key(&key).await {
                Ok(Some(Listed::File(now))) if !file.is_kept_by(&now, self.md5_etags().await) => {
                    let is_ours = self.is_written_here(&self.object_key(&key)).await;
                    Ok(Some((key, if is_ours { Kept::Damaged(now) } else { Kept::Not(Some(now)) })))
                }
                Ok(Some(Listed::File(_))) if !is_listed => Ok(None),
                Ok(Some(Listed::File(_))) => Ok(Some((key, Kept::Unlisted))),
                Err(error) if error.ends_the_run() => Err(error),
                Ok(Some(Listed::Unknown(_, error))) | Err(error) => Ok(Some((key, Kept::Unknown(error)))),
                Ok(_) => Ok(Some((key, Kept::Not(None)))),
            }
        });
        looks.buffered(AT_ONCE).try_filter_map(|kept| async move { Ok(kept) }).try_collect().await
    }
}

impl Store {
    /// Returns which of some objects, in ascending order of their names, the listing below a prefix does not show as they should
    /// be.
    pub(super) async fn unlisted<T>(
        &self,
        prefix: &str,
        written: Vec<T>,
        name: impl Fn(&T) -> String + Sync,
        is_kept: impl Fn(&T, &Object) -> bool + Sync,
    ) -> Result<Vec<T>, Fault> {
        let mut unlisted = Vec::new();
        let mut waiting = written.into_iter().peekable();
        while let Some(next) = waiting.peek() {
            let page = self.page(prefix, &Position::After(before(&name(next))), PAGE_KEYS).await?;
            // A page says nothing of what lies behind its last name, unless it is the last page.
            let end = page.next.is_some().then(|| page.objects.last().map(|object| object.key.clone()));
            let mut covered = 0;
            while let Some(one) = waiting.next_if(|one| {
                end.as_ref().is_none_or(|end| end.as_ref().is_some_and(|end| name(one) <= *end))
            }) {
                covered += 1;
                let name = name(&one);
                let at = page.objects.binary_search_by(|object| object.key.as_str().cmp(&name));
                if !at.is_ok_and(|at| is_kept(&one, &page.objects[at])) {
                    unlisted.push(one);
                }
            }
            if covered == 0 {
                unlisted.extend(waiting.next());
            }
        }
        Ok(unlisted)
    }
}

impl Written {
    /// Returns whether what a store shows can be what was written, or what somebody wrote after: it is not the version that was
    /// replaced, and what has our time is ours, with all its bytes and, where ETags are hashes, with its ETag.
    fn is_kept_by(&self, shown: &Entry, has_hashes: bool) -> bool {
        let is_old = self.replaces.as_ref().is_some_and(|old| old.fingerprint == shown.fingerprint);
        let is_same = self.entry.fingerprint == shown.fingerprint;
        let is_ours = is_same || shown.modified.is_some() && shown.modified == self.entry.modified;
        !is_old && (!is_ours || shown.size == self.entry.size && (is_same || !has_hashes))
    }
}

/// Returns a name that comes just before another one, with hardly any in between.
fn before(name: &str) -> String {
    let mut chars = name.chars();
    let Some(last) = chars.next_back() else { return String::new() };
    let mut before = chars.as_str().to_owned();
    // Space is the lowest that every store takes in a name.
    if let Some(lower) = char::from_u32(u32::from(last).saturating_sub(1)).filter(|lower| *lower >= ' ') {
        before.push(lower);
        before.push(char::MAX);
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_just_before_a_name() {
        // Behind all of these it goes on, with hardly any name before the one that is looked for.
        for (name, behind) in [("a/b", "a/azzz"), ("a!", "a  "), ("a/\u{1}", "a"), ("é", "èz")] {
            let before = before(name);
            assert!(before.as_str() < name && before.as_str() > behind, "{name}: {before:?}");
        }
    }
}
