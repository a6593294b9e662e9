//! Reading an object: one GET, or parallel ranged GETs for a large one.
//!
//! Every GET asks for one version, and what comes is measured: an answer that is short, long, too slow, or of
//! another version is an error. A range that breaks off is asked for again from where it broke.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::S3Client;
use super::fault::Fault;
use super::limits::Limits;
use super::metadata::hides_hash;
use super::metadata::{mode_of, mtime_of, timestamp};
use super::object::{etag_of, quoted};
use super::store::Store;
use crate::client::Body;
use crate::clock::Clock;
use crate::entry::Entry;
use crate::error::{ErrorKind, Result};
use crate::fingerprint::{ContentHash, ETag, Parts, likely_part_sizes};

/// Bytes of one ranged GET. Large enough that the request costs nothing beside it.
const RANGE_BYTES: u64 = 8 * 1024 * 1024;

/// Ranges of one object under way at once.
const RANGES: usize = 4;

/// Larger objects come in ranges.
pub(super) const WHOLE_BYTES: u64 = 2 * RANGE_BYTES;

/// Returns how many bytes of an object are in memory at once while it is read.
pub(super) fn resident_bytes(size: u64) -> u64 {
    if size <= WHOLE_BYTES { size.min(1024 * 1024) } else { size.min(RANGE_BYTES * RANGES as u64) }
}

/// One version of an object, to be read.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) store: Store,
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: ETag,
}

impl S3Client {
    /// Opens a version for reading.
    pub(super) async fn read_object(&self, entry: &Entry) -> Result<Body> {
        let doing = || format!("read `{}`", entry.key);
        let etag = etag_of(entry).map_err(|fault| fault.error(doing()))?;
        let version =
            Version { store: self.store.clone(), key: self.object_key(&entry.key), size: entry.size, etag };
        let first = version.first();
        let answer =
            version.store.send(|| version.get(&first)).await.map_err(|fault| gone(fault).error(doing()))?;
        let modified = mtime_of(answer.metadata.as_ref()).or(answer.last_modified.as_ref().map(timestamp));
        let mode = mode_of(answer.metadata.as_ref());
        let hides =
            hides_hash(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_deref());
        let is_opaque = hides || self.is_read_in_vain(&version).await;
        let proof = if is_opaque { None } else { version.proof().await };
        let told = version.etag.whole_md5().filter(|_| !hides);
        let chunks = version.chunks(first, answer);
        let doing = doing();
        let chunks =
            self.learn_from(chunks.map_err(move |fault| gone(fault).error(&doing)).boxed(), told, entry.size);
        Ok(Body { size: entry.size, modified, mode, folder_modes: Vec::new(), proof, chunks })
    }
}

impl S3Client {
    /// Returns the hash that the ETag of a version is, if it is one: where a store encrypts with keys of others, or was seen to
    /// make its ETags of something else, it is none.
    pub(super) async fn hash_of(&self, entry: &Entry) -> Result<Option<ContentHash>> {
        let found = async {
            let (etag, key) = (etag_of(entry)?, self.object_key(&entry.key));
            let gone = || Fault::new(ErrorKind::Changed, "the object is no longer the one that was listed");
            let found = self.store.look_closely(&key).await?.ok_or_else(gone)?;
            if found.e_tag.as_deref().map(ETag::new).as_ref() != Some(&etag) {
                return Err(gone());
            }
            let hides =
                hides_hash(found.server_side_encryption.as_ref(), found.sse_customer_algorithm.as_deref());
            let version = Version { store: self.store.clone(), key, size: entry.size, etag };
            if hides || self.has_opaque_etags() {
                return Ok(None);
            }
            Ok(version.proof().await)
        };
        found.await.map_err(|fault: Fault| fault.error(format!("look at `{}`", entry.key)))
    }
}

/// A version that is not there any more was changed, as far as whoever planned for it is concerned.
fn gone(fault: Fault) -> Fault {
    if fault.code == "NoSuchKey" || (fault.is_missing() && fault.code.is_empty()) {
        return Fault::new(ErrorKind::Changed, "the object is no longer there");
    }
    fault
}

impl Version {
    /// Returns the bytes that are asked for first.
    pub(super) fn first(&self) -> Range<u64> {
        0..if self.size > WHOLE_BYTES { RANGE_BYTES } else { self.size }
    }

    /// Asks for a range of bytes, and checks that the answer is what was asked for.
    pub(super) async fn get(&self, range: &Range<u64>) -> Result<GetObjectOutput, Fault> {
        let whole = range.start == 0 && range.end == self.size;
        let request = self.store.sdk().get_object().bucket(&self.store.bucket).key(&self.key);
        let request = request.if_match(quoted(&self.etag));
        let asked = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let request = if whole { request } else { request.range(asked) };
        let answer = request.send().await?;
        let broken = |what: &str| Err(Fault::new(ErrorKind::Unavailable, what));
        // Every store names the version that it sends; somebody on the way to it may not.
        let Some(etag) = answer.e_tag.as_deref().map(ETag::new) else {
            return broken("the answer does not say which version it is");
        };
        if etag != self.etag {
            return Err(Fault::new(ErrorKind::Changed, "another version than the one listed comes"));
        }
        let starts = format!("bytes {}-", range.start);
        let ranged = answer.content_range.as_deref().is_some_and(|told| told.starts_with(&starts));
        if !whole && !ranged {
            return broken("the store does not send the range it was asked for");
        }
        let expected = range.end - range.start;
        match answer.content_length.and_then(|length| u64::try_from(length).ok()) {
            Some(length) if length == expected => Ok(answer),
            Some(length) => {
                let what = format!("{expected} bytes were asked for and {length} come");
                Err(Fault::new(ErrorKind::Changed, what))
            }
            // There is nothing that could be cut off.
            None if expected == 0 => Ok(answer),
            // Its end could not be told from a connection that was lost.
            None => broken("the answer does not say how long it is"),
        }
    }

    /// Returns the bytes from `first`, of which the answer is here, to the end.
    pub(super) fn chunks(
        self,
        first: Range<u64>,
        answer: GetObjectOutput,
    ) -> BoxStream<'static, Result<Bytes, Fault>> {
        if first.end == self.size {
            return stream::try_unfold(Pace::new(answer, first, &self.store), |mut pace| async move {
                Ok(pace.next().await?.map(|chunk| (chunk, pace)))
            })
            .boxed();
        }
        let starts = (first.end..self.size).step_by(usize::try_from(RANGE_BYTES).unwrap_or(usize::MAX));
        let size = self.size;
        let later = starts.map(move |start| (start..size.min(start.saturating_add(RANGE_BYTES)), None));
        let ranges = std::iter::once((first, Some(answer))).chain(later);
        let fetched = stream::iter(ranges).map(move |(range, answer)| {
            let version = self.clone();
            async move { version.fetch(range, answer).await }
        });
        let chunks = fetched.buffered(RANGES);
        chunks.map_ok(|chunks| stream::iter(chunks.into_iter().map(Ok))).try_flatten().boxed()
    }

    /// Fetches a range whole, asking again from where an answer broke off.
    async fn fetch(&self, range: Range<u64>, answer: Option<GetObjectOutput>) -> Result<Vec<Bytes>, Fault> {
        let mut chunks = Vec::new();
        let mut at = range.start;
        let mut answer = answer;
        let budget = self.store.budget_of(0);
        let mut tries = self.store.tries(&budget);
        while at < range.end {
            let rest = at..range.end;
            let now = match answer.take() {
                Some(answer) => answer,
                None => self.store.send_within(&budget, || self.get(&rest)).await?,
            };
            let mut pace = Pace::new(now, rest, &self.store);
            loop {
                match pace.next().await {
                    Ok(Some(chunk)) => {
                        at += chunk.len() as u64;
                        chunks.push(chunk);
                    }
                    Ok(None) => break,
                    Err(fault) if fault.is_passing() => {
                        self.store.wait(&mut tries, fault).await?;
                        break;
                    }
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(chunks)
    }

    /// Returns what the ETag says of the content. For an object of parts the size of the first one is asked for:
    /// a guess would reject good bytes.
    pub(super) async fn proof(&self) -> Option<ContentHash> {
        if let Some(hash) = self.etag.whole_md5() {
            return Some(hash);
        }
        let (md5, count) = self.etag.multipart()?;
        let size = self.store.first_part_bytes(&self.key, &self.etag).await?;
        let fits = size > 0 && self.size.div_ceil(size).max(1) == u64::from(count);
        let known = fits || likely_part_sizes(self.size, count).contains(&size);
        known.then_some(ContentHash { md5, parts: Some(Parts { count, size }) })
    }
}

/// The bytes of one answer, counted and timed.
struct Pace {
    answer: GetObjectOutput,
    expected: u64,
    come: u64,
    /// Time spent waiting for the store; that of the reader does not count.
    waited: Duration,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl Pace {
    fn new(answer: GetObjectOutput, range: Range<u64>, store: &Store) -> Self {
        let (expected, clock) = (range.end - range.start, Arc::clone(&store.ports.clock));
        Self { answer, expected, come: 0, waited: Duration::ZERO, clock, limits: store.limits().clone() }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let broken = |what: String| Fault::new(ErrorKind::Unavailable, what);
        let began = self.clock.monotonic();
        let chunk = tokio::select! {
            chunk = self.answer.body.next() => chunk,
            () = self.clock.sleep(self.limits.stall) => {
                return Err(broken(format!("nothing came for {} s", self.limits.stall.as_secs())));
            }
        };
        self.waited += self.clock.monotonic().saturating_sub(began);
        match chunk {
            Some(Err(error)) => Err(Fault::cut(format!("the answer broke off: {error}"))),
            Some(Ok(chunk)) => {
                self.come += chunk.len() as u64;
                if self.come > self.expected {
                    return Err(broken("more bytes came than were announced".into()));
                }
                let least = self.limits.least_rate;
                if self.waited > self.limits.patience && self.come / self.waited.as_secs().max(1) < least {
                    return Err(broken(format!("less than {least} bytes come in a second")));
                }
                Ok(Some(chunk))
            }
            None if self.come < self.expected => {
                Err(Fault::cut(format!("the answer ended after {} of {} bytes", self.come, self.expected)))
            }
            None => Ok(None),
        }
    }
}
