//! Large uploads: parts in parallel, completed under a condition, aborted if anything goes wrong. One that a
//! killed run left is gone on with: parts that the store has are hashed here again, and not sent.

use std::collections::HashMap;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::stream::{FuturesUnordered, StreamExt};
use md5::{Digest, Md5};

use super::S3Client;
use super::budget::Budget;
use super::capabilities::Capabilities;
use super::fault::Fault;
use super::ledger::{Shape, Wish};
use super::limits::PARTS_IN_FLIGHT;
use super::metadata::checksum;
use super::metadata::hides_hash;
use super::metadata::write_mtime;
use super::object::quoted;
use super::proof::{Told, is_other_content};
use super::stage::{Writing, wrong_length};
use super::store::Store;
use crate::client::{Body, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, ETag, Parts};

const MIB: u64 = 1024 * 1024;

/// Files above this size go up in parts: below it one request is as fast.
pub(super) const THRESHOLD: u64 = 16 * MIB;

/// The usual size of a part, also that of the AWS tools, so that their ETags are the same.
const PART_BYTES: u64 = 8 * MIB;

/// A store takes 10,000 parts; some room is left.
const MAX_PARTS: u64 = 9000;

/// Returns the size of the parts of a file of `size` bytes.
pub(super) fn part_bytes(size: u64, wanted: Option<u64>) -> u64 {
    let least = size.div_ceil(MAX_PARTS).div_ceil(MIB) * MIB;
    wanted.unwrap_or(PART_BYTES).max(least)
}

/// Returns how many parts of one file are under way at once: all of them and the next, which is being read, are in memory.
pub(super) fn parts_in_flight(part_bytes: u64, memory_bytes: u64) -> usize {
    let room = usize::try_from(memory_bytes / part_bytes.max(1)).unwrap_or(usize::MAX);
    room.saturating_sub(1).clamp(1, PARTS_IN_FLIGHT)
}

/// An upload under way.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) id: String,
    /// Its number in the ledger.
    pub(super) number: u64,
    /// The parts that the store has already.
    pub(super) had: HashMap<i32, Had>,
}

/// A part that an earlier run has sent.
#[derive(Debug)]
pub(super) struct Had {
    pub(super) size: u64,
    pub(super) etag: ETag,
}

/// A part that the store has.
struct Part {
    number: i32,
    etag: Option<String>,
    md5: [u8; 16],
}

impl S3Client {
    /// Uploads a body in parts and returns its ETag and hash.
    pub(super) async fn upload_parts(
        &self,
        target: &Target,
        writing: &Writing,
        body: Body,
    ) -> Result<(ETag, ContentHash)> {
        let doing = || format!("write `{}`", target.key);
        let fail = |fault: Fault| fault.error(doing());
        let can = self.capabilities().await.map_err(fail)?;
        let part = part_bytes(body.size, self.setup.part_bytes);
        let modified = writing.modified.map(write_mtime);
        let shape = Shape { size: body.size, part_bytes: part, modified };
        let upload = if let Some(upload) = self.go_on(&writing.key, &shape).await.map_err(fail)? {
            upload
        } else {
            let (metadata, kind) = (Some(writing.metadata()), writing.content_type());
            self.store.begin_upload(&writing.key, kind, metadata, Some(shape)).await.map_err(fail)?
        };
        let uploaded = self.send_parts(target, (can, &upload, &writing.budget), part, body).await;
        let completed = match uploaded {
            Err(error) => Err(error),
            Ok(uploaded) => match self.make_room(target).await {
                Err(fault) => Err(fail(fault)),
                Ok(kept) => {
                    let completed = self.complete(can, writing, (&upload.id, kept), uploaded, part).await;
                    completed.map_err(fail)
                }
            },
        };
        // What the store has by now the next run need not send again.
        let is_given_up = |error: &Error| error.kind() == ErrorKind::Unavailable && !error.is_worth_a_try();
        if !completed.as_ref().is_err_and(is_given_up) || !self.store.ledger.is_kept() {
            self.store.end_upload(upload, completed.is_ok()).await;
        }
        completed
    }

    /// Cuts a body into parts and sends several at once.
    async fn send_parts(
        &self,
        target: &Target,
        (can, upload, budget): (Capabilities, &Upload, &Budget),
        part_bytes: u64,
        mut body: Body,
    ) -> Result<(Vec<Part>, u64)> {
        let fail = |fault: Fault| {
            self.doubt(&fault);
            fault.error(format!("write `{}`", target.key))
        };
        let room = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let mut sending = FuturesUnordered::new();
        let mut sent: Vec<Part> = Vec::new();
        let most = parts_in_flight(part_bytes, self.setup.memory_bytes);
        let mut filling = BytesMut::new();
        let (mut total, mut number, mut ended) = (0, 0, false);
        while !ended {
            match body.chunks.try_next().await? {
                Some(chunk) => {
                    total += chunk.len() as u64;
                    // All at once: what grows is copied, and then there twice for a while.
                    if filling.is_empty() {
                        filling.reserve(room.min(usize::try_from(body.size).unwrap_or(room)) + chunk.len());
                    }
                    filling.extend_from_slice(&chunk);
                }
                None => ended = true,
            }
            if total > body.size {
                return Err(wrong_length(target));
            }
            while filling.len() >= room || (ended && !filling.is_empty()) {
                number += 1;
                let bytes = filling.split_to(room.min(filling.len())).freeze();
                sending.push(self.store.send_part(can, (upload, budget), number, bytes));
                if sending.len() >= most
                    && let Some(part) = sending.next().await
                {
                    sent.push(part.map_err(fail)?);
                }
            }
        }
        while let Some(part) = sending.next().await {
            sent.push(part.map_err(fail)?);
        }
        if total != body.size {
            return Err(wrong_length(target));
        }
        sent.sort_by_key(|part| part.number);
        Ok((sent, total))
    }

    /// Puts the parts together, if the condition holds.
    async fn complete(
        &self,
        can: Capabilities,
        writing: &Writing,
        (id, kept): (&str, Option<String>),
        (parts, size): (Vec<Part>, u64),
        part_bytes: u64,
    ) -> Result<(ETag, ContentHash), Fault> {
        let hash = hash_of(&parts, part_bytes);
        let completed = parts
            .into_iter()
            .map(|part| CompletedPart::builder().part_number(part.number).set_e_tag(part.etag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build();
        // What a store does with a condition here it was asked apart; where it ignores it, we look first.
        let can = Capabilities {
            put_if_none_match: can.complete_if_none_match,
            put_if_match: can.complete_if_match,
            ..can
        };
        let written = self
            .write(can, writing, (&hash.etag(), size), |if_none_match, if_match| {
                let store = &self.store;
                let request = store.sdk().complete_multipart_upload().bucket(&store.bucket).key(&writing.key);
                let request = request.upload_id(id).multipart_upload(parts.clone());
                let request = request.set_if_none_match(if_none_match).set_if_match(if_match);
                async move {
                    match request.send().await.map_err(Fault::from) {
                        // An earlier try has completed it, or somebody aborted it: what is there tells.
                        Err(fault) if fault.code == "NoSuchUpload" => Err(Fault::new(
                            ErrorKind::Unavailable,
                            "the upload is no longer known to the store",
                        )),
                        Err(fault) => Err(fault),
                        Ok(answer) => {
                            let is_encrypted = hides_hash(answer.server_side_encryption.as_ref(), None);
                            Ok(Told { etag: answer.e_tag, is_encrypted })
                        }
                    }
                }
            })
            .await;
        let etag = self.or_undo(can, writing, kept, written).await?;
        Ok((etag, hash))
    }
}

/// Returns the hash of the whole from those of its parts.
fn hash_of(parts: &[Part], part_bytes: u64) -> ContentHash {
    let mut all = Md5::new();
    for part in parts {
        all.update(part.md5);
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    ContentHash { md5: all.finalize().into(), parts: Some(Parts { count, size: part_bytes }) }
}

impl Store {
    /// Begins an upload. What is wanted is noted before, and what came of it after.
    pub(super) async fn begin_upload(
        &self,
        key: &str,
        content_type: &str,
        metadata: Option<HashMap<String, String>>,
        shape: Option<Shape>,
    ) -> Result<Upload, Fault> {
        let number = self.note_wish(key, shape)?;
        let begun = self
            .send_once(|| async {
                let request = self.sdk().create_multipart_upload().bucket(&self.bucket).key(key);
                let request = request.content_type(content_type).set_metadata(metadata.clone());
                Ok(request.send().await?)
            })
            .await;
        match begun.map(|answer| answer.upload_id.filter(|id| !id.is_empty())) {
            Ok(Some(id)) => {
                self.ledger.begun(number, &id).map_err(Fault::from)?;
                Ok(Upload { key: key.to_owned(), id, number, had: HashMap::new() })
            }
            Ok(None) => Err(Fault::new(ErrorKind::Unavailable, "the store began an upload without an id")),
            Err(fault) => {
                // An answer that was lost may have been a yes: then a later run must look.
                if !fault.is_passing() {
                    self.ledger.ended(number);
                }
                Err(fault)
            }
        }
    }

    /// Notes that an upload is about to be asked for; returns its number in the ledger.
    pub(super) fn note_wish(&self, key: &str, shape: Option<Shape>) -> Result<u64, Fault> {
        let at = self.ports.clock.now().seconds;
        let wish = Wish { bucket: self.bucket.clone(), key: key.to_owned(), at, shape };
        self.ledger.want(wish, || self.ports.entropy.next_u64()).map_err(Fault::from)
    }

    /// Ends an upload: forgets a completed one, aborts another one.
    pub(super) async fn end_upload(&self, upload: Upload, is_complete: bool) {
        // One that cannot be aborted now stays noted, for a later run.
        if is_complete || self.try_abort(&upload.key, &upload.id).await.is_ok() {
            self.ledger.ended(upload.number);
        }
    }

    /// Sends one part, unless the store has these bytes already. It checks that they are what was sent, and tells their
    /// MD5; if that is another one they are sent once more.
    async fn send_part(
        &self,
        can: Capabilities,
        (upload, budget): (&Upload, &Budget),
        number: i32,
        bytes: Bytes,
    ) -> Result<Part, Fault> {
        let (bytes, md5, crc) = digest(bytes).await?;
        let here = ContentHash { md5, parts: None }.etag();
        if upload.had.get(&number).is_some_and(|had| had.size == bytes.len() as u64 && had.etag == here) {
            return Ok(Part { number, etag: Some(quoted(&here)), md5 });
        }
        let content_md5 = (!can.enforces_crc32).then(|| BASE64_STANDARD.encode(md5));
        let mut has_tried = false;
        loop {
            let answer = self
                .send_within(budget, || async {
                    let (body, progress) = budget.body(bytes.clone());
                    let request = self.sdk().upload_part().bucket(&self.bucket).key(&upload.key);
                    let request = request.upload_id(&upload.id).part_number(number).checksum_crc32(&crc);
                    let request = request.set_content_md5(content_md5.clone());
                    let request = request.body(body);
                    let request = request.customize().disable_payload_signing();
                    let request = request.config_override(self.limits().patient(bytes.len() as u64));
                    self.unless_stuck(&progress, request.send()).await
                })
                .await?;
            let customer = answer.sse_customer_algorithm.as_deref();
            let hides = hides_hash(answer.server_side_encryption.as_ref(), customer);
            let told = answer.e_tag.as_deref().and_then(ETag::parse);
            let is_other = !hides && told.is_some_and(|told| is_other_content(can, &told, &here));
            match (is_other, has_tried) {
                (false, _) => return Ok(Part { number, etag: answer.e_tag, md5 }),
                (true, false) => has_tried = true,
                (true, true) => {
                    return Err(Fault::other_bytes(number));
                }
            }
        }
    }

    /// Ends an upload; failing to costs room until a later run tries again.
    pub(super) async fn abort(&self, key: &str, id: &str) {
        if let Err(fault) = self.try_abort(key, id).await {
            tracing::debug!(?fault, key, "an unfinished upload stays");
        }
    }

    pub(super) async fn try_abort(&self, key: &str, id: &str) -> Result<(), Fault> {
        let aborted = self.send_even_if_cancelled(|| async {
            let request = self.sdk().abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(id);
            Ok(request.send().await?)
        });
        match aborted.await {
            Err(fault) if !fault.is_missing() => Err(fault),
            _ => Ok(()),
        }
    }

    /// Returns the ids of the unfinished uploads of one object, and when they began. All of the bucket are
    /// listed where a store finds none by a prefix.
    pub(super) async fn uploads_of(&self, key: &str) -> Result<Vec<(String, Option<i64>)>, Fault> {
        let answer = self
            .send_even_if_cancelled(|| async {
                Ok(self.sdk().list_multipart_uploads().bucket(&self.bucket).prefix(key).send().await?)
            })
            .await?;
        let uploads = answer.uploads.unwrap_or_default().into_iter();
        let ours = uploads.filter(|upload| upload.key.as_deref() == Some(key));
        Ok(ours
            .filter_map(|upload| Some((upload.upload_id?, upload.initiated.map(|time| time.secs()))))
            .collect())
    }
}

/// Hashes a part away from the threads that serve the network.
async fn digest(bytes: Bytes) -> Result<(Bytes, [u8; 16], String), Fault> {
    let hashed = tokio::task::spawn_blocking(move || {
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        let crc = checksum(&bytes);
        (bytes, md5, crc)
    });
    hashed
        .await
        .map_err(|_| Fault::new(ErrorKind::Internal, "hashing a part ended in a defect of this program"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_parts_are_under_way_as_fit_beside_the_one_that_is_read() {
        for (part, memory, expected) in
            [(8, 256, 4), (8, 40, 4), (8, 24, 2), (8, 16, 1), (8, 1, 1), (256, 128, 1), (64, 256, 3)]
        {
            assert_eq!(parts_in_flight(part * MIB, memory * MIB), expected, "{part} {memory}");
        }
    }

    #[test]
    fn parts_grow_so_that_there_are_never_more_than_a_store_takes() {
        const GIB: u64 = 1024 * MIB;
        for (size, wanted, expected) in [
            (0, None, 8 * MIB),
            (17 * MIB, None, 8 * MIB),
            (70 * GIB, None, 8 * MIB),
            (71 * GIB, None, 9 * MIB),
            (100 * GIB, None, 12 * MIB),
            (5 * 1024 * GIB, None, 583 * MIB),
            (100 * GIB, Some(5 * MIB), 12 * MIB),
            (GIB, Some(5 * MIB), 5 * MIB),
            (GIB, Some(64 * MIB), 64 * MIB),
        ] {
            let part = part_bytes(size, wanted);
            assert_eq!(part, expected, "{size} {wanted:?}");
            assert!(size.div_ceil(part) <= 10_000);
        }
    }

    #[test]
    fn the_hash_of_parts_is_that_of_the_whole() {
        use crate::fingerprint::{HashForm, Hasher};
        let content: Vec<u8> = (0..100_u8).collect();
        let mut hasher = Hasher::new(HashForm::Parts(30));
        hasher.update(&content);
        let parts = content.chunks(30).zip(1..).map(|(chunk, number)| Part {
            number,
            etag: None,
            md5: Md5::digest(chunk).into(),
        });
        assert_eq!(hash_of(&parts.collect::<Vec<_>>(), 30), hasher.finish());
    }
}
