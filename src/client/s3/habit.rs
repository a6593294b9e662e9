//! What the ETags of a store are made of, as far as it is known: asked by a probe, or shown by what was read.
//!
//! A run that writes to a store asks it, once something comes otherwise. One that only reads cannot. The first small object that
//! comes with the MD5 its ETag says shows that they are hashes. From then on, and for as long as answers of a probe are believed,
//! whatever comes otherwise is damaged, however much of it. Several objects that come as others, each the same when it is read
//! twice, show that they are no hashes.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use super::S3Client;
use super::capabilities::{Capabilities, Etags};
use super::fault::Fault;
use super::listing::{Object, Position};
use super::read::{Version, WHOLE_BYTES};
use super::walk::PAGE_KEYS;
use crate::error::Result;
use crate::fingerprint::{ContentHash, HashForm, Hasher};

/// How many objects are read before it is believed that ETags are no hashes, and how large they are at most. Ours: little beside a
/// file that is lost.
const WITNESSES: usize = 4;
const SMALL_BYTES: u64 = 1024 * 1024;

/// How many small objects are hashed in a run to find out whether ETags are hashes. Ours: hashes cost time, and one is enough.
const MOST_LESSONS: u32 = 64;

/// What the versions that were read in this run have shown.
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// Whether one was the MD5 of its content.
    is_md5: AtomicBool,
    /// How many were hashed to find that out.
    lessons: AtomicU32,
    /// Digests of those that were not.
    others: Mutex<HashSet<u64>>,
    /// Digests of the versions that were read; two of one digest would cost a few requests.
    read_once: Mutex<HashSet<u64>>,
    digests: RandomState,
}

impl Habit {
    /// Returns what was shown: one object alone may be damaged.
    fn shown(&self) -> Option<Etags> {
        if self.is_md5.load(Ordering::Relaxed) {
            return Some(Etags::Hashes);
        }
        (self.others().len() > 1).then_some(Etags::Opaque)
    }

    fn digest(&self, version: &Version) -> u64 {
        self.digests.hash_one((&version.key, version.etag.as_str()))
    }

    fn others(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl S3Client {
    /// Returns what ETags are made of, if that is known. One that is a hash shows more than any answer: no other thing is made so.
    fn etags(&self) -> Option<Etags> {
        let shown = self.habit.shown();
        if shown == Some(Etags::Hashes) {
            return shown;
        }
        let asked = self.known_capabilities().map(Capabilities::etags);
        asked.or(shown).or_else(|| self.probe.etags(self.store.ports.clock.now().seconds))
    }

    /// Returns whether the store is known to make ETags of something else than the content.
    pub(super) fn has_opaque_etags(&self) -> bool {
        self.etags() == Some(Etags::Opaque)
    }

    /// Remembers for later runs what this one has seen, unless the store was asked. One that has answered otherwise is asked anew.
    pub(super) fn remember_etags(&self) {
        match (self.known_capabilities(), self.habit.shown()) {
            (None, Some(shown)) => {
                self.probe.remember_etags(self.store.ports.clock.now().seconds, shown);
            }
            (Some(can), Some(shown)) if can.etags() != shown => self.probe.forget(),
            _ => {}
        }
    }

    /// Notes that the store has told the ETag that the hash of what was sent makes.
    pub(super) fn note_hash(&self) {
        self.habit.is_md5.store(true, Ordering::Relaxed);
    }

    /// Has the store asked anew in the next run if it did other than it had answered: it may be another one by now, with other ETags.
    pub(super) fn doubt(&self, fault: &Fault) {
        if fault.shows_other_bytes() {
            self.probe.forget();
        }
    }

    /// Returns the bytes of a version as they are, and learns from the first small ones, as long as ETags are not known to be hashes.
    pub(super) fn learn_from(
        &self,
        chunks: BoxStream<'static, Result<Bytes>>,
        told: Option<ContentHash>,
        size: u64,
    ) -> BoxStream<'static, Result<Bytes>> {
        let told = told.filter(|_| size <= WHOLE_BYTES);
        let is_open = || {
            self.etags() != Some(Etags::Hashes)
                && self.habit.lessons.fetch_add(1, Ordering::Relaxed) < MOST_LESSONS
        };
        let Some(told) = told.filter(|_| is_open()) else { return chunks };
        let habit = Arc::clone(&self.habit);
        let mut hasher = Some(Hasher::new(told.form()));
        let mut left = size;
        let seen = chunks.inspect_ok(move |chunk| {
            left = left.saturating_sub(chunk.len() as u64);
            if let Some(hasher) = &mut hasher {
                hasher.update(chunk);
            }
            if left == 0 && hasher.take().is_some_and(|hasher| hasher.finish() == told) {
                habit.is_md5.store(true, Ordering::Relaxed);
            }
        });
        seen.boxed()
    }

    /// Returns whether a version that is read once more seems to have come as another one because the store makes its ETags of
    /// something else than the content. Only then is it found out.
    pub(super) async fn is_read_in_vain(&self, version: &Version) -> bool {
        let digest = self.habit.digest(version);
        let is_first = self.habit.read_once.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
        if !is_first && self.etags().is_none() {
            if self.setup.may_ask {
                // Where nothing comes of it, the next read asks again.
                drop(self.capabilities().await);
            } else {
                self.compare(version).await;
            }
        }
        self.has_opaque_etags()
    }

    /// Finds out whether a version has another content than its ETag says, as reading it twice shows. A large one is not read.
    async fn compare(&self, version: &Version) {
        let Some(told) = version.etag.whole_md5().filter(|_| version.size <= WHOLE_BYTES) else { return };
        let Ok(found) = version.content(HashForm::Whole).await else { return };
        if found == told {
            self.habit.is_md5.store(true, Ordering::Relaxed);
            return;
        }
        if version.content(HashForm::Whole).await.is_ok_and(|again| again == found) {
            let digest = self.habit.digest(version);
            let is_next = self.habit.others().iter().any(|other| *other != digest);
            if is_next {
                self.ask_others().await;
            }
            self.habit.others().insert(digest);
        }
    }

    /// Reads some of the first small objects of the tree before two that came as others are believed: one whose ETag is the
    /// MD5 of its content shows that theirs are too, and that those two are damaged.
    async fn ask_others(&self) {
        let Ok(page) = self.store.page(&self.at.prefix, &Position::Start, PAGE_KEYS).await else { return };
        let small = page.objects.into_iter().filter(|object| (1..=SMALL_BYTES).contains(&object.size));
        let versions = small.filter_map(|Object { key, size, etag, .. }| {
            let etag = etag.filter(|etag| etag.whole_md5().is_some())?;
            let version = Version { store: self.store.clone(), key, size, etag };
            (!self.habit.others().contains(&self.habit.digest(&version))).then_some(version)
        });
        for version in versions.take(WITNESSES).collect::<Vec<_>>() {
            if version.content(HashForm::Whole).await.ok() == version.etag.whole_md5() {
                self.habit.is_md5.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}
