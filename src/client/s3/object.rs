//! One object as it is now, and what a write may meet there.

use super::fault::Fault;
use super::metadata::{mtime_of, timestamp};
use super::store::Store;
use crate::client::{Listed, SkipReason};
use crate::entry::{Entry, Timestamp};
use crate::error::ErrorKind;
use crate::fingerprint::{ETag, Fingerprint};
use crate::key::Key;

/// An object, as a HEAD tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) etag: ETag,
    pub(super) size: u64,
    /// From its metadata.
    pub(super) mtime: Option<Timestamp>,
    pub(super) last_modified: Option<Timestamp>,
    pub(super) archived: bool,
}

/// What must be at a key for a write or a deletion to go ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    Absent,
    /// This version.
    Is(ETag),
}

impl Condition {
    /// Returns the condition that `replaces` stands for.
    pub(super) fn of(replaces: Option<&Entry>) -> Result<Self, Fault> {
        replaces.map_or(Ok(Self::Absent), |entry| Ok(Self::Is(etag_of(entry)?)))
    }

    /// Returns how a store that ignores it is told of.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Absent => "If-None-Match on writes",
            Self::Is(_) => "If-Match on writes",
        }
    }

    /// Returns whether it holds for what is there.
    pub(super) fn holds(&self, there: Option<&Object>) -> bool {
        match (self, there) {
            (Self::Absent, None) => true,
            (Self::Is(etag), Some(object)) => object.etag == *etag,
            _ => false,
        }
    }
}

/// Returns the ETag of a version of a store.
pub(super) fn etag_of(entry: &Entry) -> Result<ETag, Fault> {
    match &entry.fingerprint {
        Fingerprint::Object(etag) => Ok(etag.clone()),
        Fingerprint::File(_) => {
            Err(Fault::new(ErrorKind::Internal, "the version is of another kind of tree"))
        }
    }
}

/// Returns whether an object of this storage class must be restored before it can be read.
pub(super) fn is_archived(storage_class: Option<&str>) -> bool {
    matches!(storage_class, Some("GLACIER" | "DEEP_ARCHIVE"))
}

impl Object {
    /// Returns the object under the name it has in the tree.
    pub(super) fn listed(self, key: &Key) -> Listed {
        if self.archived {
            return Listed::Skipped(key.clone(), SkipReason::Archived);
        }
        Listed::File(self.entry(key))
    }

    pub(super) fn entry(self, key: &Key) -> Entry {
        let fingerprint = Fingerprint::Object(self.etag);
        Entry { key: key.clone(), size: self.size, modified: self.mtime, fingerprint }
    }
}

impl Store {
    /// Looks at an object; `None` if there is none.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        let looked = self
            .send(|| async {
                let request = self.sdk().head_object().bucket(&self.bucket).key(key);
                Ok(request.send().await?)
            })
            .await;
        let answer = match looked {
            Err(fault) if fault.is_missing() => return Ok(None),
            Err(fault) => return Err(self.explained(fault).await),
            Ok(answer) => answer,
        };
        let size = answer.content_length.and_then(|length| u64::try_from(length).ok());
        let (Some(etag), Some(size)) = (answer.e_tag.as_deref().and_then(ETag::parse), size) else {
            return Err(Fault::new(ErrorKind::Unavailable, "the store tells no ETag or size of the object"));
        };
        Ok(Some(Object {
            etag,
            size,
            mtime: mtime_of(answer.metadata.as_ref()),
            last_modified: answer.last_modified.as_ref().map(timestamp),
            archived: is_archived(answer.storage_class.as_ref().map(aws_sdk_s3::types::StorageClass::as_str))
                && answer.restore.as_deref().is_none_or(|told| !told.contains("ongoing-request=\"false\"")),
        }))
    }

    /// Returns why a look at an object was refused: the answer to a HEAD has no room for it, that to a listing has. Only that
    /// credentials are not taken any more counts; who may list may still not look.
    pub(super) async fn explained(&self, fault: Fault) -> Fault {
        if fault.status != 403 || !fault.code.is_empty() {
            return fault;
        }
        let listed = self.send_once(|| async {
            let request = self.sdk().list_objects_v2().bucket(&self.bucket).max_keys(1);
            Ok(request.send().await?)
        });
        match listed.await {
            Err(told) if told.kind() == ErrorKind::Unauthenticated => told,
            _ => fault,
        }
    }

    /// Returns how many bytes the first part of a multipart object has, if the store tells.
    pub(super) async fn first_part_bytes(&self, key: &str, etag: &ETag) -> Option<u64> {
        let quoted = quoted(etag);
        let answer = self
            .send(|| async {
                let request = self.sdk().head_object().bucket(&self.bucket).key(key);
                Ok(request.part_number(1).if_match(&quoted).send().await?)
            })
            .await
            .ok()?;
        answer.parts_count.filter(|count| *count > 0)?;
        u64::try_from(answer.content_length?).ok()
    }
}

/// Returns an ETag as it stands in a header.
pub(super) fn quoted(etag: &ETag) -> String {
    format!("\"{etag}\"")
}
