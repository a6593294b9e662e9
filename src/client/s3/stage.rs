//! Taking in a new version: one PUT for a small one, a multipart upload for a large one.
//!
//! A store shows a version as soon as it has all of it. So what the version replaces goes to the trash first,
//! and the write carries a condition. When an answer does not come, the store is asked what is there before
//! another try: a condition that our own first try has met must not look like somebody else's write.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use super::S3Client;
use super::budget::Budget;
use super::capabilities::Capabilities;
use super::fault::Fault;
use super::metadata::checksum;
use super::metadata::hides_hash;
use super::metadata::{MODE, MTIME, TOKEN, content_type, write_mode, write_mtime};
use super::object::{Condition, Object};
use super::proof::{Told, is_other_content};
use super::source::{CopySource, Guard};
use super::strict::Act;
use crate::client::{Body, Held, Staged, Target};
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, ETag, Fingerprint, HashForm, Hasher};

/// Longest name of an object, in bytes (S3).
pub(super) const MAX_OBJECT_KEY_BYTES: usize = 1024;

/// What is written.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    /// The name of the object.
    pub(super) key: String,
    pub(super) modified: Option<Timestamp>,
    /// The permission bits of the file.
    pub(super) mode: Option<u32>,
    pub(super) condition: Condition,
    /// What tells this write from those of everybody else.
    pub(super) token: String,
    /// What an object has that is given another name; it keeps that.
    pub(super) carried: Option<Carried>,
    /// What may be spent on it.
    pub(super) budget: Budget,
}

/// What is kept with an object.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) metadata: Option<HashMap<String, String>>,
    pub(super) content_type: Option<String>,
}

impl Writing {
    /// Returns what the object is said to be.
    pub(super) fn content_type(&self) -> &str {
        let carried = self.carried.as_ref().and_then(|carried| carried.content_type.as_deref());
        carried.unwrap_or_else(|| content_type(&self.key))
    }

    /// Returns what is kept with the object.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let mut metadata = if let Some(carried) = &self.carried {
            carried.metadata.clone().unwrap_or_default()
        } else {
            let time = self.modified.map(|time| (MTIME.to_owned(), write_mtime(time)));
            let mode = self.mode.map(|mode| (MODE.to_owned(), write_mode(mode)));
            time.into_iter().chain(mode).collect()
        };
        metadata.insert(TOKEN.to_owned(), self.token.clone());
        metadata
    }
}

impl S3Client {
    /// Writes a version.
    pub(super) async fn stage_object(&self, target: Target, body: Body) -> Result<Staged> {
        let doing = || format!("write `{}`", target.key);
        let writing = self
            .writing(&target, body.size, body.modified, body.mode)
            .map_err(|fault| fault.error(doing()))?;
        self.stage_as(target, writing, body).await
    }

    /// Writes a version as `writing` says.
    pub(super) async fn stage_as(&self, target: Target, writing: Writing, body: Body) -> Result<Staged> {
        let doing = || format!("write `{}`", target.key);
        let (size, modified) = (body.size, body.modified);
        let condition = &writing.condition;
        let act = if size > self.threshold() { Act::Complete(condition) } else { Act::Put(condition) };
        self.insist(act).await.map_err(|fault| fault.error(doing()))?;
        let turn = || async { self.turn_to_create(&target).await.map_err(|fault| fault.error(doing())) };
        let (etag, hash, turn) = if size > self.threshold() {
            let turn = turn().await?;
            let (etag, hash) = self.upload_parts(&target, &writing, body).await?;
            (etag, hash, turn)
        } else {
            let bytes = collect(body, &target).await?;
            let turn = turn().await?;
            let put = self.put_bytes(&target, &writing, bytes).await;
            let (etag, hash) = put.map_err(|fault| fault.error(doing()))?;
            (etag, hash, turn)
        };
        self.check_name(&target, &etag).await.map_err(|fault| fault.error(doing()))?;
        drop(turn);
        self.note_token(&writing.key, &writing.token);
        let entry =
            Object { etag, size, mtime: modified, last_modified: None, token: None }.entry(&target.key);
        Ok(Staged { target, size, hash: Some(hash), held: Held::Published(entry) })
    }

    fn note_token(&self, key: &str, token: &str) {
        let digest = self.tokens.1.hash_one((key, token));
        self.tokens.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }

    /// Returns whether an object is of a write of this client, whatever content it has.
    pub(super) async fn is_written_here(&self, key: &str) -> bool {
        let Ok(Some(Object { token: Some(token), .. })) = self.store.head(key).await else { return false };
        let digest = self.tokens.1.hash_one((key, token.as_str()));
        self.tokens.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest)
    }

    /// Returns what a write to `target` is, if it can be.
    pub(super) fn writing(
        &self,
        target: &Target,
        size: u64,
        modified: Option<Timestamp>,
        mode: Option<u32>,
    ) -> Result<Writing, Fault> {
        let key = self.object_key(&target.key);
        if target.key.is_reserved() {
            return Err(Fault::new(ErrorKind::Invalid, "the name is reserved"));
        }
        if key.len() > MAX_OBJECT_KEY_BYTES {
            let what = format!("the name has {} bytes, and a store takes {MAX_OBJECT_KEY_BYTES}", key.len());
            return Err(Fault::new(ErrorKind::Invalid, what));
        }
        let condition = Condition::of(target.replaces.as_ref())?;
        let token = token(target.run_tag, self.store.ports.entropy.next_u64());
        let budget = self.store.budget_of(size);
        Ok(Writing { key, modified, mode, condition, token, carried: None, budget })
    }

    /// Returns whether a version says that the run with this tag has written it, with this time if one is given.
    pub(super) async fn is_of_run(
        &self,
        entry: &Entry,
        run_tag: u32,
        modified: Option<Timestamp>,
    ) -> Result<bool> {
        let found = self.store.head(&self.object_key(&entry.key)).await;
        let found = found.map_err(|fault| fault.error(format!("look at `{}`", entry.key)))?;
        let is_same = |object: &Object| {
            Fingerprint::Object(object.etag.clone()) == entry.fingerprint
                && (modified.is_none() || object.mtime == modified)
        };
        let token = found.filter(is_same).and_then(|object| object.token);
        Ok(token.is_some_and(|token| token.starts_with(&run_part(run_tag))))
    }

    /// Writes bytes with one request.
    async fn put_bytes(
        &self,
        target: &Target,
        writing: &Writing,
        bytes: Bytes,
    ) -> Result<(ETag, ContentHash), Fault> {
        let can = self.capabilities().await?;
        let kept = self.make_room(target).await?;
        let mut hasher = Hasher::new(HashForm::Whole);
        hasher.update(&bytes);
        let hash = hasher.finish();
        let crc = checksum(&bytes);
        let md5 = (!can.enforces_crc32).then(|| BASE64_STANDARD.encode(hash.md5));
        let size = bytes.len() as u64;
        let send = |if_none_match, if_match| {
            let store = &self.store;
            let (body, progress) = writing.budget.body(bytes.clone());
            let request = store.sdk().put_object().bucket(&store.bucket).key(&writing.key);
            let request = request
                .body(body)
                .checksum_crc32(&crc)
                .set_content_md5(md5.clone())
                .content_type(writing.content_type())
                .set_metadata(Some(writing.metadata()))
                .set_if_none_match(if_none_match)
                .set_if_match(if_match);
            // The checksum above protects the bytes; hashing them for the signature too costs as much again.
            let request =
                request.customize().disable_payload_signing().config_override(store.limits().patient(size));
            async move {
                let answer = store.unless_stuck(&progress, request.send()).await?;
                let customer = answer.sse_customer_algorithm.as_deref();
                let is_encrypted = hides_hash(answer.server_side_encryption.as_ref(), customer);
                Ok(Told { etag: answer.e_tag, is_encrypted })
            }
        };
        let mine = hash.etag();
        let written = match self.write(can, writing, (&mine, size), &send).await {
            // What arrived as something else is sent once more.
            Err(Fault { left: Some(left), .. }) => {
                let again = Writing { condition: Condition::Is(left), ..writing.clone() };
                self.write(can, &again, (&mine, size), &send).await
            }
            written => written,
        };
        let etag = self.or_undo(can, writing, kept, written).await?;
        Ok((etag, hash))
    }

    /// Sends a conditional write until it is known what became of it. `mine` is the ETag and the size that
    /// the object has if it is ours.
    ///
    /// Where the store guards nothing it is looked at before each try. The moment that is left is told of.
    pub(super) async fn write<F>(
        &self,
        can: Capabilities,
        writing: &Writing,
        mine: (&ETag, u64),
        send: impl Fn(Option<String>, Option<String>) -> F,
    ) -> Result<ETag, Fault>
    where
        F: Future<Output = Result<Told, Fault>>,
    {
        let (if_none_match, if_match) = match &writing.condition {
            Condition::Absent => (can.put_if_none_match.then(|| "*".to_owned()), None),
            Condition::Is(etag) => (None, can.put_if_match.then(|| can.if_match(etag))),
        };
        let unguarded = if_none_match.is_none() && if_match.is_none();
        if unguarded {
            self.miss(writing.condition.name());
        }
        let mut tries = self.store.tries(&writing.budget);
        loop {
            if unguarded {
                let there = self.store.head(&writing.key).await?;
                if tries.is_again() && there.as_ref().is_some_and(|object| is_mine(object, mine)) {
                    return self.ours(can, writing, mine).await;
                }
                if let Some(object) =
                    there.as_ref().filter(|object| tries.is_again() && object.is_of(&writing.token))
                {
                    return self.settle(can, writing, object, mine).await;
                }
                if !writing.condition.holds(there.as_ref()) {
                    return Err(meanwhile());
                }
            }
            let sent = self.store.send_once(|| send(if_none_match.clone(), if_match.clone())).await;
            let fault = match sent {
                Ok(told) => {
                    self.store.note_success();
                    return self.confirm(can, writing, told, mine).await;
                }
                Err(fault) => fault,
            };
            let refused = fault.is_refused_condition() || (if_match.is_some() && fault.code == "NoSuchKey");
            if !refused && !fault.is_passing() {
                return Err(fault);
            }
            if refused && !tries.is_again() {
                return Err(meanwhile());
            }
            // Did an earlier try get there, although nobody said so?
            match self.store.head(&writing.key).await? {
                Some(object) if is_mine(&object, mine) => return self.ours(can, writing, mine).await,
                // Ours by its token, and not what was sent, or with an ETag that is made of something else.
                Some(object) if object.is_of(&writing.token) => {
                    return self.settle(can, writing, &object, mine).await;
                }
                there if writing.condition.holds(there.as_ref()) => {
                    self.store.wait(&mut tries, fault).await?;
                }
                _ => return Err(meanwhile()),
            }
        }
    }

    /// Judges an object that bears the token of a write whose answer was lost.
    async fn settle(
        &self,
        can: Capabilities,
        writing: &Writing,
        object: &Object,
        mine: (&ETag, u64),
    ) -> Result<ETag, Fault> {
        if object.size == mine.1 && !is_other_content(can, &object.etag, mine.0) {
            return Ok(object.etag.clone());
        }
        self.judge_other(writing, &object.etag, mine).await
    }

    /// Returns the ETag of an object that is what was sent. Where names are folded it may be somebody else's, of another name.
    async fn ours(&self, can: Capabilities, writing: &Writing, mine: (&ETag, u64)) -> Result<ETag, Fault> {
        let is_ours = !can.folds_names || self.store.is_listed(&writing.key).await?;
        if is_ours { Ok(mine.0.clone()) } else { Err(meanwhile()) }
    }

    /// Takes back a write that left other content than was sent: the version that it replaced comes back from the trash,
    /// where `kept` is, and a new object goes.
    pub(super) async fn or_undo(
        &self,
        can: Capabilities,
        writing: &Writing,
        kept: Option<String>,
        written: Result<ETag, Fault>,
    ) -> Result<ETag, Fault> {
        let fault = match written {
            Err(fault) if fault.left.is_some() => fault,
            written => return written,
        };
        self.doubt(&fault);
        if let Some(left) = &fault.left
            && let Err(undone) = Box::pin(self.undo(can, writing, kept, left)).await
        {
            tracing::debug!(?undone, "what the store made of it stays");
        }
        Err(fault)
    }

    async fn undo(
        &self,
        can: Capabilities,
        writing: &Writing,
        kept: Option<String>,
        left: &ETag,
    ) -> Result<(), Fault> {
        self.store.expect(&writing.key, left).await?;
        let Some(kept) = kept else { return self.delete_version(&writing.key, left).await };
        let trash = self.trash_store();
        let Some(version) = trash.head(&kept).await? else {
            return Err(Fault::new(ErrorKind::NotFound, "the version is not in the trash"));
        };
        let from = CopySource { bucket: trash.bucket, key: kept, etag: version.etag, size: version.size };
        let is_guarded = can.copy_if_none_match && (can.delete_if_match || can.delete_many_if_match);
        if !is_guarded {
            return self.store.copy_version(can, &from, &writing.key, Guard::Looks).await.map(drop);
        }
        // A copy cannot be made in the place of one version alone, but where nothing is. If it comes to nothing the file on the
        // other side, which is another one than before, is sent again.
        self.delete_version(&writing.key, left).await?;
        self.store.copy_version(can, &from, &writing.key, Guard::Condition).await.map(drop)
    }

    /// Returns the ETag of what was written, as listings will show it.
    async fn confirm(
        &self,
        can: Capabilities,
        writing: &Writing,
        told: Told,
        mine: (&ETag, u64),
    ) -> Result<ETag, Fault> {
        let is_encrypted = told.is_encrypted;
        let told = told.etag.as_deref().and_then(ETag::parse);
        if told.as_ref() == Some(mine.0) {
            self.note_hash();
            return Ok(mine.0.clone());
        }
        let is_other = |etag: &ETag| !is_encrypted && is_other_content(can, etag, mine.0);
        if let Some(told) = told.as_ref().filter(|told| is_other(told)) {
            return self.judge_other(writing, told, mine).await;
        }
        if let Some(told) = told.as_ref().filter(|_| self.tells_etags.load(Ordering::Relaxed)) {
            return Ok(told.clone());
        }
        // None came (Ceph after multipart uploads), or one that is not made of the content (encryption).
        match self.store.head(&writing.key).await? {
            // Whoever said yes has not written: not the store perhaps, but somebody on the way to it.
            Some(object) if object.etag != *mine.0 && writing.condition.holds(Some(&object)) => {
                Err(Fault::new(ErrorKind::Unavailable, "the store took the object and still has the old one"))
            }
            // Nobody says whose it is: perhaps of somebody who wrote after us.
            Some(object) if told.is_none() && is_other(&object.etag) => Err(meanwhile()),
            Some(object) if object.size == mine.1 && is_ours(&object, writing, told.as_ref()) => {
                // Where it is not made of the content, but is the one that is told, looking once is enough.
                self.tells_etags.fetch_or(told.as_ref() == Some(&object.etag), Ordering::Relaxed);
                Ok(object.etag)
            }
            Some(_) => Err(meanwhile()),
            // A store that shows nothing has nothing, or nothing yet.
            None => Err(Fault::new(
                ErrorKind::Unavailable,
                "the store took the object and does not have it; its name may be one the store cannot keep",
            )),
        }
    }
}

impl S3Client {
    /// Judges a write after which the store tells the MD5 of other content: it is encrypted, or somebody else's by now, or
    /// not what was sent.
    async fn judge_other(&self, writing: &Writing, told: &ETag, mine: (&ETag, u64)) -> Result<ETag, Fault> {
        let Some(there) = self.store.look_closely(&writing.key).await? else { return Err(meanwhile()) };
        let Some(etag) = there.e_tag.as_deref().and_then(ETag::parse) else { return Err(meanwhile()) };
        let customer = there.sse_customer_algorithm.as_deref();
        let has_size = there.content_length.and_then(|length| u64::try_from(length).ok()) == Some(mine.1);
        let hides = hides_hash(there.server_side_encryption.as_ref(), customer);
        if etag == *mine.0 || (hides && has_size) {
            return Ok(etag);
        }
        if etag == *told { Err(Fault::corrupted(etag)) } else { Err(meanwhile()) }
    }
}

/// Returns what names a write: its run, and which of that run's it is.
fn token(run_tag: u32, random: u64) -> String {
    format!("{}{:08x}", run_part(run_tag), random >> 32)
}

fn run_part(run_tag: u32) -> String {
    format!("{run_tag:08x}")
}

/// Returns whether an object is the one that was written, and not of somebody who wrote after us: by its token, by the ETag that
/// was told, or where a store keeps and tells neither, by its time.
fn is_ours(object: &Object, writing: &Writing, told: Option<&ETag>) -> bool {
    match (&object.token, told) {
        (Some(token), _) => *token == writing.token,
        (None, Some(told)) => object.etag == *told,
        (None, None) => object.mtime.is_none() || object.mtime == writing.modified,
    }
}

fn is_mine(object: &Object, (etag, size): (&ETag, u64)) -> bool {
    object.size == size && object.etag == *etag
}

/// Returns the fault of a write that would have replaced what nobody has seen.
pub(super) fn meanwhile() -> Fault {
    Fault::new(ErrorKind::Changed, "somebody else wrote there meanwhile; nothing of theirs was replaced")
}

/// Takes a small body into memory.
async fn collect(mut body: Body, target: &Target) -> Result<Bytes> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(body.size).unwrap_or(0));
    while let Some(chunk) = body.chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > body.size {
            break;
        }
    }
    if bytes.len() as u64 != body.size {
        return Err(wrong_length(target));
    }
    Ok(bytes.freeze())
}

pub(super) fn wrong_length(target: &Target) -> Error {
    let message = format!("`{}` came with another number of bytes than announced", target.key);
    Error::new(ErrorKind::Changed, message)
}
