//! Uploads that dead processes left: gone on with where the file is the same, aborted otherwise.
//!
//! A run takes stock at its beginning. What it can tell to be of no use it aborts then; an upload of a file it
//! keeps until the plan comes to that file, and aborts it at its end if the plan did not. Whose ledger names an
//! upload may abort it; no others are touched.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::S3Client;
use super::fault::Fault;
use super::ledger::{Inherited, Orphan, Shape};
use super::multipart::{Had, Upload};
use super::probe::tidy;
use super::store::Store;
use crate::fingerprint::ETag;

/// How far the clocks of a store and of this machine may be apart, in seconds.
const SKEW_SECONDS: i64 = 900;

/// How long an upload below another prefix waits for a run there, in seconds: 7 days, after which most rules
/// for the cleaning of buckets end uploads too.
const WAIT_SECONDS: i64 = 7 * 24 * 3600;

/// The ledgers of dead processes in which something may be gone on with.
#[derive(Debug, Default)]
pub(super) struct Unfinished(Mutex<Vec<Inherited>>);

impl Unfinished {
    fn ledgers(&self) -> MutexGuard<'_, Vec<Inherited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out an upload of this object and shape, and returns its id.
    fn take(&self, key: &str, shape: &Shape) -> Option<String> {
        let mut ledgers = self.ledgers();
        let fits = |orphan: &&Orphan| orphan.wish.key == key && orphan.wish.shape.as_ref() == Some(shape);
        let id = ledgers.iter().flat_map(|ledger| &ledger.orphans).find(fits)?.id.clone();
        // A kill of the run that went on with it has written it down twice.
        for ledger in ledgers.iter_mut() {
            ledger.orphans.retain(|orphan| orphan.id != id);
        }
        id
    }
}

impl S3Client {
    /// Aborts what dead processes left and nobody can go on with, and keeps the rest in mind.
    pub(super) async fn take_stock(&self) {
        for mut ledger in self.store.ledger.inherited() {
            let mut kept = Vec::new();
            for orphan in std::mem::take(&mut ledger.orphans) {
                if self.can_go_on(&orphan) || !self.try_abort_orphan(&orphan).await {
                    kept.push(orphan);
                }
            }
            ledger.orphans = kept;
            if ledger.orphans.is_empty() {
                ledger.settle();
            } else {
                self.unfinished.ledgers().push(ledger);
            }
        }
    }

    /// Aborts what was kept in mind and not gone on with.
    pub(super) async fn abort_unfinished(&self) {
        let ledgers = std::mem::take(&mut *self.unfinished.ledgers());
        for ledger in ledgers {
            let mut settled = true;
            for orphan in &ledger.orphans {
                settled &= !self.is_for_others(orphan) && self.try_abort_orphan(orphan).await;
            }
            if settled {
                ledger.settle();
            }
        }
    }

    /// Returns whether a run could go on with an upload, this one or, below another prefix, another one.
    fn can_go_on(&self, orphan: &Orphan) -> bool {
        orphan.wish.shape.is_some()
            && orphan.id.is_some()
            && (self.is_below_prefix(orphan) || self.is_for_others(orphan))
    }

    fn is_for_others(&self, orphan: &Orphan) -> bool {
        // A clock that is ahead for one run makes nothing old.
        let now = self.store.ports.clock.now().seconds.min(self.last_run.load(Ordering::Relaxed));
        let age = now.saturating_sub(orphan.wish.at);
        orphan.wish.shape.is_some() && !self.is_below_prefix(orphan) && age < WAIT_SECONDS
    }

    fn is_below_prefix(&self, orphan: &Orphan) -> bool {
        orphan.wish.bucket == self.store.bucket && orphan.wish.key.starts_with(&self.at.prefix)
    }

    async fn try_abort_orphan(&self, orphan: &Orphan) -> bool {
        let aborted = self.abort_orphan(orphan).await;
        if let Err(fault) = &aborted {
            tracing::debug!(?fault, key = orphan.wish.key, "an unfinished upload stays");
        }
        aborted.is_ok()
    }

    async fn abort_orphan(&self, Orphan { wish, id }: &Orphan) -> Result<(), Fault> {
        let other = (!wish.bucket.is_empty()).then(|| self.store.in_bucket(&wish.bucket));
        let store = other.as_ref().unwrap_or(&self.store);
        if let Some(id) = id {
            return store.try_abort(&wish.key, id).await;
        }
        // The name of a probe is a random one, so that all below it is ours.
        let is_probe = self.probe.is_at(&wish.key);
        for (id, begun) in store.uploads_of(&wish.key).await? {
            // The process died before it knew the id: ours began about when it was asked for, and has no parts.
            let is_ours = is_probe
                || begun.is_none_or(|begun| (begun - wish.at).abs() <= SKEW_SECONDS)
                    && store.parts_of(&wish.key, &id).await?.is_some_and(|parts| parts.is_empty());
            if is_ours {
                store.try_abort(&wish.key, &id).await?;
            }
        }
        if is_probe { tidy(store, &wish.key).await } else { Ok(()) }
    }

    /// Goes on with an upload of this object and shape, if a killed run left one and the store has it still.
    pub(super) async fn go_on(&self, key: &str, shape: &Shape) -> Result<Option<Upload>, Fault> {
        let Some(id) = self.unfinished.take(key, shape) else { return Ok(None) };
        // From now on it is ours: written down before anything is sent.
        let number = self.store.note_wish(key, Some(shape.clone()))?;
        self.store.ledger.begun(number, &id).map_err(Fault::from)?;
        let upload = Upload { key: key.to_owned(), id, number, had: HashMap::new() };
        match self.store.parts_of(key, &upload.id).await {
            Ok(Some(had)) => {
                tracing::info!(key, parts = had.len(), "going on with an upload");
                Ok(Some(Upload { had, ..upload }))
            }
            // Somebody ended it: a rule of the bucket, say.
            Ok(None) => {
                self.store.ledger.ended(upload.number);
                Ok(None)
            }
            Err(fault) if fault.is_passing() => Err(fault),
            // We may not look at its parts: then it is of no use.
            Err(_) => {
                self.store.end_upload(upload, false).await;
                Ok(None)
            }
        }
    }
}

impl Store {
    /// Returns the parts that the store has of an upload; `None` if it does not know the upload.
    async fn parts_of(&self, key: &str, id: &str) -> Result<Option<HashMap<i32, Had>>, Fault> {
        let (mut parts, mut after) = (HashMap::new(), 0);
        loop {
            let listed = self.send(|| async {
                let request = self.sdk().list_parts().bucket(&self.bucket).key(key).upload_id(id);
                Ok(request.set_part_number_marker((after > 0).then(|| after.to_string())).send().await?)
            });
            let answer = match listed.await {
                Err(fault) if fault.is_missing() => return Ok(None),
                answer => answer?,
            };
            let is_truncated = answer.is_truncated.unwrap_or(false);
            let last = after;
            for part in answer.parts.unwrap_or_default() {
                let (Some(number), Some(etag), Ok(size)) =
                    (part.part_number, part.e_tag, u64::try_from(part.size.unwrap_or(-1)))
                else {
                    continue;
                };
                after = after.max(number);
                parts.insert(number, Had { size, etag: ETag::new(&etag) });
            }
            // A page that leads nowhere ends it: what is not listed is sent.
            if !is_truncated || after == last {
                return Ok(Some(parts));
            }
        }
    }
}
