//! Copies that the store makes itself, without the bytes passing through here: renames, and the trash.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::S3Client;
use super::fault::Fault;
use super::limits::{LEAST_UPLOAD_RATE, Limits};
use super::multipart::PARTS_IN_FLIGHT;
use super::object::{Condition, Object, etag_of, quoted};
use super::probe::Capabilities;
use super::stage::{Writing, meanwhile};
use super::store::Store;
use super::strict::Act;
use crate::client::{Disposal, Held, Origin, Staged, Target};
use crate::entry::Entry;
use crate::error::{ErrorKind, Result};
use crate::fingerprint::ETag;
use crate::key::Key;

const GIB: u64 = 1024 * 1024 * 1024;

/// The largest object one request copies (S3).
const MAX_COPY_BYTES: u64 = 5 * GIB;

/// The parts in which a larger one is copied.
const COPY_PART_BYTES: u64 = GIB;

/// How fast a store copies at least, in bytes a second. No source; disks of ten years ago do more.
const COPY_RATE: u64 = 20 * 1024 * 1024;

/// Returns a copy's source as the header wants it: percent-encoded, slashes kept.
pub(super) fn source(bucket: &str, key: &str) -> String {
    let mut encoded = format!("{bucket}/");
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
        }
    }
    encoded
}

/// One version of an object, to be copied.
#[derive(Debug, Clone)]
pub(super) struct From {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) etag: ETag,
    pub(super) size: u64,
}

impl From {
    /// Returns the version `entry` of the object `key`.
    pub(super) fn new(bucket: &str, key: String, entry: &Entry) -> Result<Self, Fault> {
        Ok(Self { bucket: bucket.to_owned(), key, etag: etag_of(entry)?, size: entry.size })
    }
}

impl S3Client {
    /// Copies a version of this tree to another name in it.
    pub(super) async fn copy_within(&self, from: &Entry, target: Target) -> Result<Staged> {
        let doing = format!("copy `{}` to `{}`", from.key, target.key);
        let source = From::new(&self.store.bucket, self.object_key(&from.key), from);
        let copied = async { self.copy_to(&source?, from, &target).await };
        let entry = copied.await.map_err(|fault| fault.error(doing))?;
        Ok(Staged { target, size: from.size, hash: None, held: Held::Published(entry) })
    }

    /// Copies a version of another tree of the same store; `None` if the store does not let us.
    pub(super) async fn copy_across(
        &self,
        origin: Origin,
        from: &Entry,
        target: Target,
    ) -> Result<Option<Staged>> {
        let doing = format!("copy `{}`", target.key);
        let source = From::new(&origin.bucket, origin.key, from);
        let copied = async { self.copy_to(&source?, from, &target).await };
        match copied.await {
            Ok(entry) => {
                let size = from.size;
                Ok(Some(Staged { target, size, hash: None, held: Held::Published(entry) }))
            }
            // What cannot be copied under a condition may be written under one.
            Err(fault) if fault.kind() == ErrorKind::PermissionDenied || fault.is_unsupported() => Ok(None),
            Err(fault) => Err(fault.error(doing)),
        }
    }

    /// Gives a version another name: a copy, and then the deletion of the old one.
    pub(super) async fn rename_object(&self, from: &Entry, to: &Key) -> Result<Entry> {
        let doing = format!("rename `{}` to `{to}`", from.key);
        let renamed = async {
            self.insist(Act::Delete).await?;
            let target = Target {
                key: to.clone(),
                replaces: None,
                heir_of: None,
                disposal: Disposal::Discard,
                run_tag: 0,
            };
            let source = From::new(&self.store.bucket, self.object_key(&from.key), from)?;
            let entry = self.copy_to(&source, from, &target).await?;
            let Err(fault) = self.delete_version(&source.key, &source.etag).await else { return Ok(entry) };
            // The old one is another version now, or cannot be deleted: then there is no rename.
            if let Err(left) = self.delete_version(&self.object_key(to), &etag_of(&entry)?).await {
                tracing::debug!(?left, key = %to, "the copy stays");
            }
            Err(fault)
        };
        renamed.await.map_err(|fault: Fault| fault.error(doing))
    }

    async fn copy_to(&self, source: &From, from: &Entry, target: &Target) -> Result<Entry, Fault> {
        let writing = self.writing(target, None, None)?;
        self.insist(Act::Copy(&writing.condition)).await?;
        self.make_room(target).await?;
        let turn = self.turn_to_create(target).await?;
        let etag = self.copy_conditionally(source, &writing).await?;
        self.check_name(target, &etag).await?;
        drop(turn);
        let object =
            Object { etag, size: from.size, mtime: from.modified, last_modified: None, archived: false };
        Ok(object.entry(&target.key))
    }

    /// Copies to a name whose condition holds.
    pub(super) async fn copy_conditionally(&self, source: &From, writing: &Writing) -> Result<ETag, Fault> {
        let can = self.capabilities().await?;
        let guarded = can.copy_if_none_match && writing.condition == Condition::Absent;
        if !can.copy_if_none_match && writing.condition == Condition::Absent {
            self.miss("If-None-Match on copies");
        }
        if !guarded && !writing.condition.holds(self.store.head(&writing.key).await?.as_ref()) {
            return Err(meanwhile());
        }
        self.store.copy_version(can, source, &writing.key, guarded).await
    }
}

impl Store {
    /// Returns an error unless an object is the version with this ETag.
    pub(super) async fn expect(&self, key: &str, etag: &ETag) -> Result<(), Fault> {
        match self.head(key).await? {
            Some(object) if object.etag == *etag => Ok(()),
            _ => Err(meanwhile()),
        }
    }

    /// Copies a version into this bucket. `guarded`: only if nothing has the name.
    pub(super) async fn copy_version(
        &self,
        can: Capabilities,
        source: &From,
        to: &str,
        guarded: bool,
    ) -> Result<ETag, Fault> {
        if !can.copy_source_if_match {
            self.in_bucket(&source.bucket).expect(&source.key, &source.etag).await?;
        }
        match self.copy_object(source, to, guarded).await {
            Ok(etag) => self.check_copy(source, to, etag).await,
            // Either condition can be the one that does not hold; or our own first try has met it.
            Err(fault) if fault.is_refused_condition() => match self.head(to).await? {
                Some(there)
                    if there.size == source.size
                        && there.etag == source.etag
                        && (!can.folds_names || self.is_listed(to).await?) =>
                {
                    Ok(there.etag)
                }
                _ => Err(meanwhile()),
            },
            Err(fault) if fault.code == "NoSuchKey" => {
                Err(Fault::new(ErrorKind::Changed, "the object is no longer there"))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Returns the ETag of a copy, if the copy has the content of its source.
    async fn check_copy(&self, source: &From, key: &str, etag: Option<ETag>) -> Result<ETag, Fault> {
        match etag {
            Some(etag) if etag == source.etag => return Ok(etag),
            // A copy of an object of parts is of one piece or of other parts: its ETag is new.
            Some(etag) if source.etag.whole_md5().is_none() => return Ok(etag),
            _ => {}
        }
        match self.head(key).await? {
            Some(there) if there.size == source.size => Ok(there.etag),
            Some(there) => {
                // Then the store has other bytes than it lists, and what is to go must not go yet.
                let message = format!(
                    "the store made a copy of {} bytes, ETag {}, of an object that it lists with {} bytes, ETag {}",
                    there.size, there.etag, source.size, source.etag
                );
                Err(Fault::new(ErrorKind::Unavailable, message))
            }
            None => Err(Fault::new(ErrorKind::Unavailable, "the store made a copy that is not there")),
        }
    }

    /// Copies an object, in parts if it is too large for one request. `guarded`: only if nothing is there.
    async fn copy_object(&self, from: &From, to: &str, guarded: bool) -> Result<Option<ETag>, Fault> {
        if from.size > MAX_COPY_BYTES {
            return self.copy_in_parts(from, to).await;
        }
        let header = source(&from.bucket, &from.key);
        let answer = self
            .send(|| async {
                let request = self.sdk().copy_object().bucket(&self.bucket).key(to).copy_source(&header);
                let request = request
                    .copy_source_if_match(quoted(&from.etag))
                    .set_if_none_match(guarded.then(|| "*".to_owned()));
                Ok(request.customize().config_override(copying(self.limits(), from.size)).send().await?)
            })
            .await?;
        let told = answer.copy_object_result.and_then(|result| result.e_tag);
        Ok(told.as_deref().and_then(ETag::parse))
    }

    async fn copy_in_parts(&self, from: &From, to: &str) -> Result<Option<ETag>, Fault> {
        let metadata = self
            .send(|| async { Ok(self.sdk().head_object().bucket(&from.bucket).key(&from.key).send().await?) })
            .await?;
        let kind = metadata.content_type.as_deref().unwrap_or("application/octet-stream");
        let upload = self.begin_upload(to, kind, metadata.metadata, None).await?;
        let copied = self.copy_parts(from, to, &upload.id).await;
        self.end_upload(upload, copied.is_ok()).await;
        copied
    }

    async fn copy_parts(&self, from: &From, to: &str, id: &str) -> Result<Option<ETag>, Fault> {
        let header = source(&from.bucket, &from.key);
        let starts = (0..from.size).step_by(usize::try_from(COPY_PART_BYTES).unwrap_or(usize::MAX));
        let parts: Vec<CompletedPart> = stream::iter(starts.zip(1..))
            .map(|(start, number)| {
                let header = &header;
                async move {
                    let end = from.size.min(start + COPY_PART_BYTES) - 1;
                    let answer = self
                        .send(|| async {
                            let request = self.sdk().upload_part_copy().bucket(&self.bucket).key(to);
                            let request = request.upload_id(id).part_number(number).copy_source(header);
                            let request = request
                                .copy_source_if_match(quoted(&from.etag))
                                .copy_source_range(format!("bytes={start}-{end}"));
                            Ok(request
                                .customize()
                                .config_override(copying(self.limits(), COPY_PART_BYTES))
                                .send()
                                .await?)
                        })
                        .await?;
                    let etag = answer.copy_part_result.and_then(|result| result.e_tag);
                    Ok::<_, Fault>(CompletedPart::builder().part_number(number).set_e_tag(etag).build())
                }
            })
            .buffered(PARTS_IN_FLIGHT)
            .try_collect()
            .await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let answer = self
            .send(|| async {
                let request = self.sdk().complete_multipart_upload().bucket(&self.bucket).key(to);
                Ok(request.upload_id(id).multipart_upload(parts.clone()).send().await?)
            })
            .await?;
        Ok(answer.e_tag.as_deref().and_then(ETag::parse))
    }
}

/// Returns the settings of a request that is answered only when the store has copied `size` bytes.
fn copying(limits: &Limits, size: u64) -> aws_sdk_s3::config::Builder {
    limits.patient(size / COPY_RATE * LEAST_UPLOAD_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b09_a_source_is_encoded_once() {
        for (key, expected) in [
            ("a/b-c_d.e~f", "v/a/b-c_d.e~f"),
            ("a b+c%20?#&", "v/a%20b%2Bc%2520%3F%23%26"),
            ("ä\n\u{1}", "v/%C3%A4%0A%01"),
        ] {
            assert_eq!(source("v", key), expected);
        }
    }
}
