//! Copies that the store makes itself, without the bytes passing through here: renames, and the trash.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::S3Client;
use super::capabilities::Capabilities;
use super::fault::Fault;
use super::limits::PARTS_IN_FLIGHT;
use super::limits::{LEAST_UPLOAD_RATE, Limits};
use super::object::{Condition, Object, etag_of, quoted};
use super::proof::ToldOfCopy;
use super::source::{CopySource, Guard, source};
use super::stage::{Carried, Writing, meanwhile};
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

impl S3Client {
    /// Copies a version of this tree to another name in it.
    pub(super) async fn copy_within(&self, from: &Entry, target: Target) -> Result<Staged> {
        let doing = format!("copy `{}` to `{}`", from.key, target.key);
        let entry = self.copy_here(from, &target).await.map_err(|fault| fault.error(doing))?;
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
        let condition = Condition::of(target.replaces.as_ref()).map_err(|fault| fault.error(&doing))?;
        if self.copies_through(&condition).await.map_err(|fault| fault.error(&doing))? {
            return Ok(None);
        }
        let source = CopySource::new(&origin.bucket, origin.key, from);
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
            let entry = self.copy_here(from, &target).await?;
            self.prove_passed(from, &entry).await?;
            let (old, etag) = (self.object_key(&from.key), etag_of(from)?);
            let Err(fault) = self.delete_version(&old, &etag).await else { return Ok(entry) };
            // It cannot be deleted: then there is no rename. One that is gone an earlier try may have deleted, whose answer was lost,
            // even if somebody has written another one there since: then the copy is all there is of it.
            let taken_back = async {
                self.store.expect(&old, &etag).await?;
                self.delete_version(&self.object_key(to), &etag_of(&entry)?).await
            };
            if let Err(left) = taken_back.await {
                tracing::debug!(?left, key = %to, "the copy stays");
            }
            Err(fault)
        };
        renamed.await.map_err(|fault: Fault| fault.error(doing))
    }

    /// Proves that what passed through here has come whole, before the original goes. What has not goes again.
    async fn prove_passed(&self, from: &Entry, copy: &Entry) -> Result<(), Fault> {
        if !self.copies_through(&Condition::Absent).await? {
            return Ok(());
        }
        let source = CopySource::new(&self.store.bucket, self.object_key(&from.key), from)?;
        let key = self.object_key(&copy.key);
        let proved = Box::pin(self.store.prove_copy(&source, &key, self.capabilities().await?, None)).await;
        let Err(fault) = proved else { return Ok(()) };
        self.doubt(&fault);
        if let Some(left) = &fault.left
            && let Err(fault) = self.delete_version(&key, left).await
        {
            tracing::debug!(?fault, key, "a copy that is not whole stays");
        }
        Err(fault)
    }

    /// Copies a version of this tree: the store does, or the bytes pass through here.
    async fn copy_here(&self, from: &Entry, target: &Target) -> Result<Entry, Fault> {
        let writing = self.writing(target, from.size, None, None)?;
        if self.copies_through(&writing.condition).await? {
            return Box::pin(self.copy_through(from, target, writing)).await;
        }
        let source = CopySource::new(&self.store.bucket, self.object_key(&from.key), from)?;
        self.copy_to(&source, from, target).await
    }

    /// Reads a version of this tree and writes it under another name, with what is kept with it.
    async fn copy_through(&self, from: &Entry, target: &Target, writing: Writing) -> Result<Entry, Fault> {
        let _room = self.store.room_for(from.size).await;
        let key = self.object_key(&from.key);
        let gone = || Fault::new(ErrorKind::Changed, "the object is no longer there");
        let found = self.store.look_closely(&key).await?.ok_or_else(gone)?;
        let carried = Some(Carried { metadata: found.metadata, content_type: found.content_type });
        // It must not go under its old name if what came is not what it is.
        let body = self.read_object(from).await.map_err(Fault::from)?.checked();
        let staged = self.stage_as(target.clone(), Writing { carried, ..writing }, body).await;
        match staged.map_err(Fault::from)?.held {
            Held::Published(entry) => Ok(Entry { modified: from.modified, ..entry }),
            Held::Temporary(..) | Held::Memory(..) => {
                Err(Fault::new(ErrorKind::Internal, "the copy was not published"))
            }
        }
    }

    /// Lets the store copy a version of a tree that it has.
    async fn copy_to(&self, source: &CopySource, from: &Entry, target: &Target) -> Result<Entry, Fault> {
        let writing = self.writing(target, source.size, None, None)?;
        self.insist(Act::Copy(&writing.condition)).await?;
        let kept = self.make_room(target).await?;
        let turn = self.turn_to_create(target).await?;
        let copied = self.copy_conditionally(source, &writing).await;
        let etag = self.or_undo(self.capabilities().await?, &writing, kept, copied).await?;
        self.check_name(target, &etag).await?;
        drop(turn);
        let object = Object { etag, size: from.size, mtime: from.modified, last_modified: None, token: None };
        Ok(object.entry(&target.key))
    }

    /// Copies to a name whose condition holds. A copy that the store does not guard is made only where it would guard no
    /// upload either: then it is looked at before each try.
    async fn copy_conditionally(&self, source: &CopySource, writing: &Writing) -> Result<ETag, Fault> {
        let can = self.capabilities().await?;
        let act = Act::Copy(&writing.condition);
        if act.is_guarded(can) {
            return self.store.copy_version(can, source, &writing.key, Guard::Condition).await;
        }
        self.miss(act.condition());
        let mut tries = self.store.tries(&writing.budget);
        loop {
            let there = self.store.head(&writing.key).await?;
            let is_done = |object: &Object| object.size == source.size && object.etag == source.etag;
            if tries.is_again() && there.as_ref().is_some_and(is_done) {
                let told = Some(ToldOfCopy::default());
                return Box::pin(self.store.prove_copy(source, &writing.key, can, told)).await;
            }
            if !writing.condition.holds(there.as_ref()) {
                return Err(meanwhile());
            }
            match self.store.copy_version(can, source, &writing.key, Guard::Looks).await {
                Err(fault) if fault.is_passing() && fault.left.is_none() => {
                    self.store.wait(&mut tries, fault).await?;
                }
                copied => return copied,
            }
        }
    }

    /// Returns whether a version is better copied through here, under a condition, than by the store under none.
    pub(super) async fn copies_through(&self, condition: &Condition) -> Result<bool, Fault> {
        let can = self.capabilities().await?;
        Ok(!Act::Copy(condition).is_guarded(can) && Act::Put(condition).is_guarded(can))
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

    /// Copies a version into this bucket, and proves the copy.
    pub(super) async fn copy_version(
        &self,
        can: Capabilities,
        source: &CopySource,
        to: &str,
        guard: Guard,
    ) -> Result<ETag, Fault> {
        let told = self.copy_unproved(can, source, to, guard).await?;
        let told = (guard != Guard::Name).then_some(told);
        Box::pin(self.prove_copy(source, to, can, told)).await
    }

    /// Copies a version into this bucket. Nothing may go on account of it before it is proved.
    pub(super) async fn copy_unproved(
        &self,
        can: Capabilities,
        source: &CopySource,
        to: &str,
        guard: Guard,
    ) -> Result<ToldOfCopy, Fault> {
        if !can.copy_source_if_match {
            self.in_bucket(&source.bucket).expect(&source.key, &source.etag).await?;
        }
        match self.copy_object(source, to, guard).await {
            Ok(told) => Ok(told),
            // Either condition can be the one that does not hold; or our own first try has met it.
            Err(fault) if fault.is_refused_condition() => match self.head(to).await? {
                Some(there)
                    if there.size == source.size
                        && there.etag == source.etag
                        && (!can.folds_names || self.is_listed(to).await?) =>
                {
                    Ok(ToldOfCopy::default())
                }
                _ => Err(meanwhile()),
            },
            Err(fault) if fault.code == "NoSuchKey" => {
                Err(Fault::new(ErrorKind::Changed, "the object is no longer there"))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Copies an object, in parts if it is too large for one request.
    async fn copy_object(&self, from: &CopySource, to: &str, guard: Guard) -> Result<ToldOfCopy, Fault> {
        if from.size > MAX_COPY_BYTES {
            return self.copy_in_parts(from, to).await;
        }
        let header = source(&from.bucket, &from.key);
        let request = || async {
            let request = self.sdk().copy_object().bucket(&self.bucket).key(to).copy_source(&header);
            let request = request
                .copy_source_if_match(quoted(&from.etag))
                .set_if_none_match((guard == Guard::Condition).then(|| "*".to_owned()));
            Ok(request.customize().config_override(copying(self.limits(), from.size)).send().await?)
        };
        let answer = match guard {
            Guard::Looks => self.send_once(request).await,
            Guard::Condition | Guard::Name => self.send(request).await,
        };
        let result = answer?.copy_object_result;
        let etag = result.as_ref().and_then(|result| ETag::parse(result.e_tag.as_deref()?));
        Ok(ToldOfCopy { etag, at: result.and_then(|result| result.last_modified) })
    }

    async fn copy_in_parts(&self, from: &CopySource, to: &str) -> Result<ToldOfCopy, Fault> {
        let metadata = self
            .send(|| async { Ok(self.sdk().head_object().bucket(&from.bucket).key(&from.key).send().await?) })
            .await?;
        let kind = metadata.content_type.as_deref().unwrap_or("application/octet-stream");
        let upload = self.begin_upload(to, kind, metadata.metadata, None).await?;
        let copied = self.copy_parts(from, to, &upload.id).await;
        self.end_upload(upload, copied.is_ok()).await;
        copied
    }

    async fn copy_parts(&self, from: &CopySource, to: &str, id: &str) -> Result<ToldOfCopy, Fault> {
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
        let completed = self.send(|| async {
            let request = self.sdk().complete_multipart_upload().bucket(&self.bucket).key(to);
            Ok(request.upload_id(id).multipart_upload(parts.clone()).send().await?)
        });
        let etag = completed.await?.e_tag.as_deref().and_then(ETag::parse);
        Ok(ToldOfCopy { etag, at: None })
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
