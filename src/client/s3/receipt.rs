//! Receipts: whether what was written is there, asked once more before a run ends.
//!
//! A store can say yes to a write and have nothing. Then the file would be missing there in the next run, as if somebody
//! had deleted it, and be deleted here as well. So written names are looked for: in pages of the listing, each of
//! which begins at the next name that was not looked for yet, so that one request answers for a thousand names
//! that lie together and none takes more than one. What no page shows is asked for by its name.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::S3Client;
use super::fault::Fault;
use super::page::Position;
use super::walk::PAGE_KEYS;
use crate::client::{Listed, NotKept, Written};
use crate::error::Result;
use crate::fingerprint::Fingerprint;

/// How many names are asked for at once.
const AT_ONCE: usize = 32;

/// With fewer names each is asked for: a look at one object is less work for a store than a page.
const LEAST_LISTED: usize = 3;

impl S3Client {
    /// Returns which of the files that were just written are not there, not whole, or still are what they replaced, and what is
    /// there.
    pub(super) async fn find_missing(&self, written: &[Written]) -> Result<Vec<NotKept>> {
        let mut written = written.to_vec();
        written.sort_unstable_by(|one, other| one.entry.key.cmp(&other.entry.key));
        // Of a name that was written twice the last write counts.
        written.reverse();
        written.dedup_by(|one, other| one.entry.key == other.entry.key);
        written.reverse();
        if written.len() >= LEAST_LISTED && !self.store.listing.is_disordered() {
            // Where the listing does not come each is asked for.
            written = self.unlisted(written.clone()).await.unwrap_or(written);
        }
        let looks = stream::iter(written).map(|file| async move {
            let key = file.entry.key.clone();
            match self.head_key(&key).await {
                Ok(Some(Listed::File(now))) => {
                    let is_wrong = !file.is_kept_by(&now.fingerprint, now.size);
                    Ok(is_wrong.then_some(NotKept { key, there: Some(now) }))
                }
                Err(error) if error.ends_the_run() => Err(error),
                // Nobody can tell; the next run will see.
                Ok(Some(Listed::Unknown(..))) | Err(_) => Ok(None),
                Ok(_) => Ok(Some(NotKept { key, there: None })),
            }
        });
        looks.buffered(AT_ONCE).try_filter_map(|wrong| async move { Ok(wrong) }).try_collect().await
    }

    /// Returns which of these files, in ascending order, the listing does not show as they should be.
    async fn unlisted(&self, written: Vec<Written>) -> Result<Vec<Written>, Fault> {
        let mut unlisted = Vec::new();
        let mut waiting = written.into_iter().peekable();
        while let Some(next) = waiting.peek() {
            let before = before(&self.object_key(&next.entry.key));
            let page = self.store.page(&self.at.prefix, &Position::After(before), PAGE_KEYS).await?;
            // A page says nothing of what lies behind its last name, unless it is the last page.
            let end = page.next.is_some().then(|| page.objects.last().map(|object| object.key.clone()));
            let mut covered = 0;
            while let Some(file) = waiting.next_if(|file| {
                let name = self.object_key(&file.entry.key);
                end.as_ref().is_none_or(|end| end.as_ref().is_some_and(|end| name <= *end))
            }) {
                covered += 1;
                let name = self.object_key(&file.entry.key);
                let at = page.objects.binary_search_by(|object| object.key.as_str().cmp(&name));
                let is_kept = at.is_ok_and(|at| {
                    let shown = &page.objects[at];
                    file.is_kept_by(&Fingerprint::Object(shown.etag.clone()), shown.size)
                });
                if !is_kept {
                    unlisted.push(file);
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
    /// replaced, nor one with the ETag of what was written and another size.
    fn is_kept_by(&self, shown: &Fingerprint, size: u64) -> bool {
        let is_old = self.replaces.as_ref().is_some_and(|old| old.fingerprint == *shown);
        !is_old && (self.entry.fingerprint != *shown || self.entry.size == size)
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
