//! Proofs that a store has what it says it has: of the bytes that were sent, and of the copies it made itself.
//!
//! A store can take other bytes than were sent, or make a stump of a copy, and say yes. Nothing that could be had back
//! from elsewhere goes before that is ruled out: by an ETag that is the MD5 of the content, by a checksum, or by reading
//! what the store has.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use futures::TryStreamExt;

use super::capabilities::Capabilities;
use super::fault::Fault;
use super::metadata::hides_hash;
use super::read::Version;
use super::source::CopySource;
use super::store::Store;
use crate::error::ErrorKind;
use crate::fingerprint::{ContentHash, ETag, HashForm, Hasher};

/// What a store said of a write.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) etag: Option<String>,
    /// Whether the ETag is not made of the content, because the store encrypts with keys of others.
    pub(super) is_encrypted: bool,
}

/// What a store said of a copy it made.
#[derive(Debug, Default)]
pub(super) struct ToldOfCopy {
    pub(super) etag: Option<ETag>,
    pub(super) at: Option<DateTime>,
}

impl ToldOfCopy {
    /// Returns whether an object that is not what was copied is the copy all the same, and not of somebody who wrote there
    /// after us: it has the ETag that was told, or the time, and all that was kept with its original.
    fn is_of(&self, copy: &HeadObjectOutput, original: &HeadObjectOutput) -> bool {
        let etag = copy.e_tag.as_deref().and_then(ETag::parse);
        let is_told = self.etag.is_some() && self.etag == etag;
        let is_alike = copy.metadata == original.metadata
            && copy.metadata.as_ref().is_some_and(|metadata| !metadata.is_empty());
        // What HEAD tells has whole seconds.
        let second = |time: Option<DateTime>| time.map(|time| time.secs());
        is_told || (self.at.is_some() && second(self.at) == second(copy.last_modified) && is_alike)
    }
}

/// Returns whether an ETag of a store with this habit says that the content is another one than `mine`.
pub(super) fn is_other_content(can: Capabilities, etag: &ETag, mine: &ETag) -> bool {
    let is_hash = |etag: &ETag| etag.whole_md5().is_some() || etag.multipart().is_some();
    can.md5_etags && etag != mine && is_hash(etag) && etag.multipart().is_some() == mine.multipart().is_some()
}

impl Store {
    /// Returns the ETag of a copy, once it is proved that it has the content of its source. `told` is what was said of it; a copy
    /// to a name of our own needs no such evidence that it is ours.
    ///
    /// # Errors
    /// A copy that is not there, or has other content, or of which nothing can be proved. The fault has the ETag of one that is
    /// ours and has other content.
    pub(super) async fn prove_copy(
        &self,
        source: &CopySource,
        key: &str,
        can: Capabilities,
        told: Option<ToldOfCopy>,
    ) -> Result<ETag, Fault> {
        let unavailable = |what: &str| Fault::new(ErrorKind::Unavailable, what);
        let copy = self.look_closely(key).await?;
        let copy = copy.ok_or_else(|| unavailable("the store made a copy that is not there"))?;
        let size = copy.content_length.and_then(|length| u64::try_from(length).ok());
        let (Some(etag), Some(size)) = (copy.e_tag.as_deref().and_then(ETag::parse), size) else {
            return Err(unavailable("the store tells no ETag or size of the copy"));
        };
        let hides = hides_hash(copy.server_side_encryption.as_ref(), copy.sse_customer_algorithm.as_deref());
        if can.md5_etags && !hides && size == source.size && etag == source.etag {
            return Ok(etag);
        }
        let home = self.in_bucket(&source.bucket);
        let original = home.look_closely(&source.key).await?;
        let is_source = |found: &HeadObjectOutput| {
            found.e_tag.as_deref().and_then(ETag::parse).as_ref() == Some(&source.etag)
        };
        let Some(original) = original.filter(is_source) else {
            return Err(Fault::new(ErrorKind::Changed, "the object is no longer the one that was copied"));
        };
        // One that is of one piece, as its copy, would have the same ETag.
        let is_other = size != source.size
            || is_same_sum(&original, &copy) == Some(false)
            || can.md5_etags && !hides && source.etag.whole_md5().is_some() && etag.whole_md5().is_some();
        let of = |store: Self, key: &str, etag: &ETag| Version {
            store,
            key: key.to_owned(),
            size,
            etag: etag.clone(),
        };
        let is_proved = !is_other
            && (is_same_sum(&original, &copy) == Some(true)
                || of(self.clone(), key, &etag).has_content_of(of(home, &source.key, &source.etag)).await?);
        if is_proved {
            return Ok(etag);
        }
        // Then the store has other bytes than it lists, and what is to go must not go yet.
        let fault = unavailable(&format!(
            "the store made a copy of {size} bytes, ETag {etag}, of an object that it lists with {} bytes, ETag {}",
            source.size, source.etag
        ));
        let is_ours = told.is_none_or(|told| told.is_of(&copy, &original));
        Err(if is_ours { fault.leaving(etag) } else { fault })
    }

    /// Looks at an object with its checksums; `None` if there is none.
    pub(super) async fn look_closely(&self, key: &str) -> Result<Option<HeadObjectOutput>, Fault> {
        self.look(key, Some(ChecksumMode::Enabled)).await
    }
}

impl Version {
    /// Reads an object, and its original too unless what it is made of is told by its ETag, and compares them.
    async fn has_content_of(self, original: Self) -> Result<bool, Fault> {
        let _room = self.store.room_for(self.size).await;
        // What an ETag of parts says can be checked against the copy alone.
        let told = original.proof().await.filter(|hash| hash.parts.is_some());
        if let Some(told) = told {
            return Ok(self.content(told.form()).await? == told);
        }
        let whole = HashForm::Whole;
        Ok(self.content(whole).await? == original.content(whole).await?)
    }

    /// Reads the whole object and returns the hash of its content.
    pub(super) async fn content(&self, form: HashForm) -> Result<ContentHash, Fault> {
        let mut hasher = Hasher::new(form);
        let first = self.first();
        let answer = self.store.send(|| self.get(&first)).await?;
        let mut chunks = self.clone().chunks(first, answer);
        while let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
        }
        Ok(hasher.finish())
    }
}

/// Compares the checksums that a store keeps of two whole objects; `None` if it keeps none of one kind for both.
fn is_same_sum(one: &HeadObjectOutput, other: &HeadObjectOutput) -> Option<bool> {
    let is_whole = |object: &HeadObjectOutput| !matches!(object.checksum_type, Some(ChecksumType::Composite));
    if !is_whole(one) || !is_whole(other) {
        return None;
    }
    let sums = |object: &HeadObjectOutput| {
        [
            object.checksum_sha256.clone(),
            object.checksum_crc64_nvme.clone(),
            object.checksum_sha1.clone(),
            object.checksum_crc32_c.clone(),
            object.checksum_crc32.clone(),
        ]
    };
    // A sum of sums of parts says so by its number, where it is not said apart.
    let both = sums(one).into_iter().zip(sums(other)).find_map(|(one, other)| one.zip(other));
    both.filter(|(one, other)| !one.contains('-') && !other.contains('-')).map(|(one, other)| one == other)
}
