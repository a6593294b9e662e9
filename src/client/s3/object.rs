//! One object as it is now, and what a write may meet there.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumMode;

use super::fault::Fault;
use super::listing::Position;
use super::metadata::{mtime_of, timestamp, token_of};
use super::store::Store;
use super::walk::PAGE_KEYS;
use crate::client::Listed;
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
    /// Which write it is of.
    pub(super) token: Option<String>,
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

impl Object {
    /// Returns the object under the name it has in the tree.
    pub(super) fn listed(self, key: &Key) -> Listed {
        Listed::File(self.entry(key))
    }

    /// Returns whether it is of the write with this token.
    pub(super) fn is_of(&self, token: &str) -> bool {
        self.token.as_deref() == Some(token)
    }

    pub(super) fn entry(self, key: &Key) -> Entry {
        let fingerprint = Fingerprint::Object(self.etag);
        Entry {
            key: key.clone(),
            size: self.size,
            modified: self.mtime,
            stored: self.last_modified,
            fingerprint,
        }
    }
}

impl Store {
    /// Looks at an object; `None` if there is none.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        let Some(found) = self.look(key, None).await? else { return Ok(None) };
        let size = found.content_length.and_then(|length| u64::try_from(length).ok());
        let (Some(etag), Some(size)) = (found.e_tag.as_deref().and_then(ETag::parse), size) else {
            return Err(Fault::new(ErrorKind::Unavailable, "the store tells no ETag or size of the object"));
        };
        Ok(Some(Object {
            etag,
            size,
            mtime: mtime_of(found.metadata.as_ref()),
            last_modified: found.last_modified.as_ref().map(timestamp),
            token: token_of(found.metadata.as_ref()),
        }))
    }

    /// Asks what is known of an object, with its checksums if they are wanted; `None` if there is none.
    pub(super) async fn look(
        &self,
        key: &str,
        checksums: Option<ChecksumMode>,
    ) -> Result<Option<HeadObjectOutput>, Fault> {
        let looked = self
            .ask(&self.budget_of(0), || async {
                let request = self.sdk().head_object().bucket(&self.bucket).key(key);
                Ok(request.set_checksum_mode(checksums.clone()).send().await?)
            })
            .await;
        match looked {
            Err(fault) if fault.is_missing() => Ok(None),
            // Who may list only below a prefix gets 403 for what is not there, and the answer to a HEAD has no room for a reason.
            Err(fault) if fault.status == 403 => self.as_listed(key, fault).await,
            // Stores leave out the length of what is empty.
            Ok(mut found) if found.content_length.is_none() => {
                let what = "the store does not tell the size of the object";
                let listed = self.as_listed(key, Fault::new(ErrorKind::Unavailable, what)).await?;
                found.content_length = listed.and_then(|listed| listed.content_length);
                Ok(Some(found))
            }
            looked => looked.map(Some),
        }
    }

    /// Returns what the listing tells of an object, where a look at it ended with `fault`.
    async fn as_listed(&self, key: &str, fault: Fault) -> Result<Option<HeadObjectOutput>, Fault> {
        let page = match self.page(key, &Position::Start, PAGE_KEYS).await {
            Err(told) if told.kind() == ErrorKind::Unauthenticated => return Err(told),
            Err(_) => return Err(fault),
            Ok(page) => page,
        };
        // A name comes before all that begin with it.
        let is_shown = page.next.is_none() || !self.listing.is_disordered();
        let Some(found) = page.objects.into_iter().find(|object| object.key == key) else {
            return if is_shown { Ok(None) } else { Err(fault) };
        };
        let (Some(etag), Ok(size)) = (found.etag, i64::try_from(found.size)) else { return Err(fault) };
        let modified =
            found.modified.map(|time| DateTime::from_secs_and_nanos(time.seconds, time.nanoseconds));
        let found = HeadObjectOutput::builder().e_tag(etag.as_str()).content_length(size);
        Ok(Some(found.set_last_modified(modified).build()))
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
