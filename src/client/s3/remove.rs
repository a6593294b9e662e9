//! Trash and deletion: nothing is removed or replaced before it can be had back, nor if it is not what was seen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{self, StreamExt};
use md5::{Digest, Md5};

use super::S3Client;
use super::fault::Fault;
use super::listing::Object;
use super::object::{etag_of, quoted};
use super::source::{CopySource, Guard};
use super::stage::{MAX_OBJECT_KEY_BYTES, meanwhile};
use super::store::Store;
use super::strict::Act;
use crate::client::{Disposal, Target};
use crate::entry::Entry;
use crate::error::Result;
use crate::fingerprint::ETag;
use crate::key::Key;

/// Where the trash is, below a prefix.
pub(super) const TRASH: &str = ".syncengine/trash/";

/// How many bytes the numbers may have that keep names in the trash apart. Ours: far more runs than remove one name.
const NUMBER_BYTES: usize = 16;

/// Objects in one multi-object delete (S3).
pub(super) const OBJECTS_PER_DELETE: usize = 1000;

/// Requests of one batch of removals under way at once; the limiter decides how many are sent.
const AT_ONCE: usize = 64;

/// A single copy in the trash is looked at by its name; more may be on one page.
const LEAST_LISTED: usize = 2;

/// Waits for all of these, several at once, and returns what came of them in their order.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(futures.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await
}

/// An object that is to go.
#[derive(Debug, Clone)]
pub(super) struct Doomed {
    key: String,
    etag: ETag,
    /// The name of the copy in the trash.
    kept: Option<String>,
}

/// A copy in the trash.
#[derive(Debug, Clone)]
struct InTrash {
    run: String,
    /// As its manifest calls it.
    name: String,
    key: String,
    from: CopySource,
}

/// What became of an object that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// It is no more.
    Deleted,
    /// A delete marker stands before it.
    Hidden,
}

impl Gone {
    /// Returns what an answer tells.
    fn of(delete_marker: Option<bool>) -> Self {
        if delete_marker == Some(true) { Self::Hidden } else { Self::Deleted }
    }
}

impl Doomed {
    /// Returns the object, if its listing tells which version it is.
    pub(super) fn listed(object: Object) -> Option<Self> {
        Some(Self { key: object.key, etag: object.etag?, kept: None })
    }
}

impl S3Client {
    /// Removes versions, into the trash if they are to be kept.
    pub(super) async fn remove_objects(&self, entries: Vec<Entry>, disposal: &Disposal) -> Vec<Result<()>> {
        let must_copy = match self.insist(Act::Delete).await {
            Ok(()) => self.must_copy(disposal).await,
            Err(fault) => Err(fault),
        };
        let copied =
            all(entries.iter().map(|entry| self.copy_doomed(entry, disposal, must_copy.clone()))).await;
        let kept = self.prove_kept(copied).await;
        let mut results: Vec<Option<Fault>> = Vec::with_capacity(kept.len());
        let mut doomed = BTreeMap::new();
        for (index, kept) in kept.into_iter().enumerate() {
            match kept {
                Ok(object) => {
                    doomed.insert(index, object);
                    results.push(None);
                }
                Err(fault) => results.push(Some(fault)),
            }
        }
        let indices: Vec<usize> = doomed.keys().copied().collect();
        for chunk in indices.chunks(OBJECTS_PER_DELETE) {
            let objects: Vec<Doomed> = chunk.iter().filter_map(|index| doomed.remove(index)).collect();
            for (index, outcome) in chunk.iter().zip(self.delete(objects).await) {
                results[*index] = outcome.err();
            }
        }
        let named = entries.iter().zip(results);
        named
            .map(|(entry, fault)| {
                fault.map_or(Ok(()), |fault| Err(fault.error(format!("delete `{}`", entry.key))))
            })
            .collect()
    }

    /// Puts what `target` replaces into the trash, if it is to be kept. Returns the name that it has there.
    pub(super) async fn make_room(&self, target: &Target) -> Result<Option<String>, Fault> {
        let Some(entry) = &target.replaces else { return Ok(None) };
        let must_copy = self.must_copy(&target.disposal).await;
        let copied = self.copy_doomed(entry, &target.disposal, must_copy).await;
        Ok(self.prove_kept(vec![copied]).await.pop().transpose()?.and_then(|doomed| doomed.kept))
    }

    /// Copies a version into the trash, if it is to be kept. No other run has the name there, so nothing can be in its way.
    async fn copy_doomed(
        &self,
        entry: &Entry,
        disposal: &Disposal,
        must_copy: Result<bool, Fault>,
    ) -> Result<(Doomed, Option<InTrash>), Fault> {
        let mut doomed = Doomed { key: self.object_key(&entry.key), etag: etag_of(entry)?, kept: None };
        let (true, Disposal::Trash { run }) = (must_copy?, disposal) else { return Ok((doomed, None)) };
        let key = self.trash_key(run, &entry.key);
        let from = CopySource::new(&self.store.bucket, doomed.key.clone(), entry)?;
        let can = self.capabilities().await?;
        let copied = self.trash_store().copy_unproved(can, &from, &key, Guard::Name).await;
        copied.map_err(|fault| self.of_trash(fault))?;
        doomed.kept = Some(key.clone());
        let folder = format!("{}{run}", self.trash_prefix());
        let name = fitting(&folder, entry.key.as_str()).into_owned();
        Ok((doomed, Some(InTrash { run: run.clone(), name, key, from })))
    }

    /// Proves that copies in the trash are whole: by pages of its listing, and what those do not prove one by one.
    async fn prove_kept(
        &self,
        copied: Vec<Result<(Doomed, Option<InTrash>), Fault>>,
    ) -> Vec<Result<Doomed, Fault>> {
        let mut doubtful = Vec::new();
        let mut kept = Vec::with_capacity(copied.len());
        for (index, copied) in copied.into_iter().enumerate() {
            kept.push(copied.map(|(doomed, copy)| {
                doubtful.extend(copy.map(|copy| (index, copy)));
                doomed
            }));
        }
        let unproved = self.unproved(doubtful).await;
        for (index, proved) in
            all(unproved.iter().map(|(index, copy)| async { (*index, self.prove(copy).await) })).await
        {
            if let Err(fault) = proved {
                kept[index] = Err(fault);
            }
        }
        kept
    }

    /// Returns which copies in the trash a listing does not show with the size and ETag of their originals.
    async fn unproved(&self, mut copies: Vec<(usize, InTrash)>) -> Vec<(usize, InTrash)> {
        let store = self.trash_store();
        let has_hashes = self.capabilities().await.is_ok_and(|can| can.md5_etags);
        if copies.len() < LEAST_LISTED || !has_hashes || store.listing.is_disordered() {
            return copies;
        }
        copies.sort_unstable_by(|(_, one), (_, other)| one.key.cmp(&other.key));
        let is_whole = |(_, copy): &(usize, InTrash), shown: &Object| {
            let is_whole = shown.size == copy.from.size && shown.etag.as_ref() == Some(&copy.from.etag);
            if is_whole {
                self.announced.note(&copy.run, copy.name.clone(), &copy.from.etag);
            }
            is_whole
        };
        let prefix = self.trash_prefix();
        let listed = store.unlisted(&prefix, copies.clone(), |(_, copy)| copy.key.clone(), is_whole);
        listed.await.unwrap_or(copies)
    }

    /// Proves that a copy in the trash is whole.
    async fn prove(&self, copy: &InTrash) -> Result<(), Fault> {
        let store = self.trash_store();
        let proved = store
            .prove_copy(&copy.from, &copy.key, self.capabilities().await?, None)
            .await
            .inspect_err(|fault| self.doubt(fault));
        if let Err(Fault { left: Some(left), .. }) = &proved {
            // Nobody would know in the trash that it is no whole version.
            let stump = Doomed { key: copy.key.clone(), etag: left.clone(), kept: None };
            if let Err(fault) = store.delete_one(&stump, None).await {
                tracing::debug!(?fault, key = copy.key, "a copy that is not whole stays in the trash");
            }
        }
        self.announced.note(&copy.run, copy.name.clone(), &proved.map_err(|fault| self.of_trash(fault))?);
        Ok(())
    }

    fn of_trash(&self, fault: Fault) -> Fault {
        match &self.setup.trash {
            Some(trash) if fault.code == "NoSuchBucket" => Fault::no_trash(&trash.name),
            _ => fault,
        }
    }

    /// Returns a name in the trash that this run has not used yet.
    fn trash_key(&self, run: &str, key: &Key) -> String {
        let mut used = self.trashed.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = format!("{}{run}", self.trash_prefix());
        let name = free_name(&used, &folder, &fitting(&folder, key.as_str()));
        used.insert(name.clone());
        name
    }

    /// Returns the bucket the trash is in.
    pub(super) fn trash_store(&self) -> Store {
        self.setup.trash.as_ref().map_or_else(|| self.store.clone(), |at| self.store.in_bucket(&at.name))
    }

    /// Returns what the names in the trash begin with.
    pub(super) fn trash_prefix(&self) -> String {
        match &self.setup.trash {
            Some(bucket) => bucket.prefix.clone(),
            None => format!("{}{TRASH}", self.at.prefix),
        }
    }

    /// Deletes objects of this tree that are still what was seen.
    async fn delete(&self, objects: Vec<Doomed>) -> Vec<Result<(), Fault>> {
        let names: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        let deleted = self.delete_in(&self.store, objects).await;
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let mut note = |name: String, gone: Gone| {
            if gone == Gone::Hidden {
                hidden.insert(name)
            } else {
                hidden.remove(&name)
            };
        };
        names.into_iter().zip(deleted).map(|(name, deleted)| deleted.map(|gone| note(name, gone))).collect()
    }

    /// Returns whether the last deletion of an object left a marker.
    pub(super) fn take_hidden(&self, key: &Key) -> bool {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object_key(key))
    }

    /// Deletes objects that are still what was seen, with as few requests as the store allows.
    pub(super) async fn delete_in(&self, store: &Store, objects: Vec<Doomed>) -> Vec<Result<Gone, Fault>> {
        let can = match self.capabilities().await {
            Ok(can) => can,
            Err(fault) => return objects.iter().map(|_| Err(fault.clone())).collect(),
        };
        if can.delete_many_if_match && (objects.len() > 1 || !can.delete_if_match) {
            return store.delete_many(objects, true).await;
        }
        if can.delete_if_match {
            let conditions = objects.iter().map(|object| Some(can.if_match(&object.etag)));
            let conditional = objects.iter().zip(conditions);
            return all(conditional.map(|(object, condition)| store.delete_one(object, condition))).await;
        }
        // Nothing here guards a deletion: look, then act.
        self.miss("If-Match on deletions");
        let looked = all(objects.iter().map(|object| store.expect(&object.key, &object.etag))).await;
        let certain = objects.into_iter().zip(&looked).filter(|(_, looked)| looked.is_ok());
        let mut deleted =
            store.delete_many(certain.map(|(object, _)| object).collect(), false).await.into_iter();
        looked
            .into_iter()
            .map(|looked| looked.and_then(|()| deleted.next().unwrap_or(Ok(Gone::Deleted))))
            .collect()
    }

    /// Deletes a version without keeping it, where a copy of it is known to be elsewhere.
    pub(super) async fn delete_version(&self, key: &str, etag: &ETag) -> Result<(), Fault> {
        let doomed = Doomed { key: key.to_owned(), etag: etag.clone(), kept: None };
        self.delete(vec![doomed]).await.pop().unwrap_or(Ok(()))
    }
}

/// Returns a name for `key` that fits into a store below `folder`: itself, or its end behind what tells it from others.
pub(super) fn fitting<'k>(folder: &str, key: &'k str) -> Cow<'k, str> {
    // A slash, and the numbers that keep names apart.
    let room = MAX_OBJECT_KEY_BYTES.saturating_sub(folder.len() + 1 + NUMBER_BYTES);
    if key.len() <= room {
        return key.into();
    }
    let digest: [u8; 16] = Md5::digest(key).into();
    let mark = format!("~{:08x}", u128::from_be_bytes(digest) >> 96);
    let mut start = key.len() - room.saturating_sub(mark.len() + 1).min(key.len());
    while !key.is_char_boundary(start) {
        start += 1;
    }
    // Whole segments, if any fit.
    let whole = key[start..].find('/').map_or(start, |slash| start + slash + 1);
    let kept = if whole < key.len() { &key[whole..] } else { &key[start..] };
    if kept.is_empty() { mark.into() } else { format!("{mark}/{kept}").into() }
}

/// Returns a name for `key` below `folder` that is not used, and neither above nor below one that is: some
/// stores list nothing below an object.
fn free_name(used: &BTreeSet<String>, folder: &str, key: &str) -> String {
    let mut name = folder.to_owned();
    let mut parts = key.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let is_taken = |name: &String| {
            let below = format!("{name}/");
            used.contains(name)
                || is_last && used.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
        };
        let numbered = (1..).map(|number: u32| format!("{name}/{part}~{number}"));
        let free = std::iter::once(format!("{name}/{part}")).chain(numbered).find(|name| !is_taken(name));
        name = free.unwrap_or_default();
    }
    name
}

impl Store {
    /// Deletes up to 1,000 objects with one request.
    async fn delete_many(&self, objects: Vec<Doomed>, guarded: bool) -> Vec<Result<Gone, Fault>> {
        let outcomes = match self.delete_objects(&objects, guarded).await {
            Ok(outcomes) => outcomes,
            // What became of each can be found out one by one.
            Err(fault) if fault.is_unread_success() => {
                let looks = objects.iter().map(|object| self.judge_unread_delete(object, fault.clone()));
                return all(looks).await;
            }
            // Old MinIO demands an MD5 header that the SDK does not send. It knows no conditions here either: where
            // they are honoured the refusal is about something else, and nothing is deleted without them.
            Err(fault) if !guarded && (fault.status == 400 || fault.is_unsupported()) => {
                return all(objects.iter().map(|object| self.delete_one(object, None))).await;
            }
            Err(fault) => return objects.iter().map(|_| Err(fault.clone())).collect(),
        };
        all(objects.iter().zip(outcomes).map(|(object, outcome)| async {
            match outcome {
                Ok(gone) => Ok(gone),
                Err(fault) => self.judge_failed_delete(object, fault).await,
            }
        }))
        .await
    }

    async fn delete_one(&self, object: &Doomed, if_match: Option<String>) -> Result<Gone, Fault> {
        let deleted = self.send(|| async {
            let request = self.sdk().delete_object().bucket(&self.bucket).key(&object.key);
            Ok(request.set_if_match(if_match.clone()).send().await?)
        });
        match deleted.await {
            Ok(answer) => Ok(Gone::of(answer.delete_marker())),
            Err(fault) => self.judge_failed_delete(object, fault).await,
        }
    }

    /// A deletion whose answer cannot be read was done or not.
    async fn judge_unread_delete(&self, object: &Doomed, fault: Fault) -> Result<Gone, Fault> {
        match self.head(&object.key).await? {
            None => Ok(Gone::Deleted),
            Some(now) if now.etag == object.etag => Err(fault),
            Some(_) => Err(meanwhile()),
        }
    }

    /// A deletion that was refused may have been done by an earlier try of ours, whose answer was lost.
    async fn judge_failed_delete(&self, object: &Doomed, fault: Fault) -> Result<Gone, Fault> {
        if fault.is_unread_success() {
            return self.judge_unread_delete(object, fault).await;
        }
        if !fault.is_refused_condition() && !fault.is_missing() {
            return Err(fault);
        }
        match self.head(&object.key).await? {
            None => Ok(Gone::Deleted),
            Some(_) => Err(meanwhile()),
        }
    }

    /// Deletes objects with one request and returns what became of each.
    async fn delete_objects(
        &self,
        objects: &[Doomed],
        guarded: bool,
    ) -> Result<Vec<Result<Gone, Fault>>, Fault> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let mut wanted = Vec::with_capacity(objects.len());
        for object in objects {
            let etag = guarded.then(|| quoted(&object.etag));
            let built = ObjectIdentifier::builder().key(&object.key).set_e_tag(etag).build();
            wanted.push(built.map_err(super::unbuildable)?);
        }
        let delete = Delete::builder().set_objects(Some(wanted)).build().map_err(super::unbuildable)?;
        let answer = self
            .send(|| async {
                let request = self.sdk().delete_objects().bucket(&self.bucket).delete(delete.clone());
                match request.send().await.map_err(Fault::from) {
                    // Asked again, a store would tell of what is gone by now.
                    Err(fault) if fault.is_unread_success() => Ok(Err(fault)),
                    answer => answer.map(Ok),
                }
            })
            .await??;
        let done = answer.deleted().iter().filter_map(|object| Some((object.key()?, object.delete_marker())));
        let done: BTreeMap<&str, Option<bool>> = done.collect();
        let told = answer.errors().iter().filter_map(|error| Some((error.key()?, error)));
        let told: BTreeMap<&str, _> = told.collect();
        let outcomes = objects.iter().map(|object| match told.get(object.key.as_str()) {
            Some(error) => {
                let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
                Err(Fault::of_key(code, message))
            }
            None => {
                done.get(object.key.as_str()).map(|marker| Gone::of(*marker)).ok_or_else(Fault::unanswered)
            }
        });
        Ok(outcomes.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_trash_fit_into_a_store() {
        let folder = "photos/.syncengine/trash/20260101T000000Z-0000000a";
        assert_eq!(fitting(folder, "a/b"), "a/b");
        let deep = format!("{}/name.txt", vec!["d".repeat(240); 4].join("/"));
        let long = format!("a/{}", "é".repeat(500));
        let mut fitted = Vec::new();
        for key in [deep.clone(), deep.replacen('d', "e", 1), long.clone(), long.replacen('a', "b", 1)] {
            let name = free_name(&BTreeSet::new(), folder, &fitting(folder, &key));
            assert!(name.len() <= MAX_OBJECT_KEY_BYTES - NUMBER_BYTES && name.starts_with(folder), "{name}");
            fitted.push(name);
        }
        assert!(fitted[0].ends_with("/name.txt"), "{}", fitted[0]);
        let different: BTreeSet<_> = fitted.iter().collect();
        assert_eq!(different.len(), fitted.len(), "{fitted:?}");
        assert_eq!(fitting(&"p".repeat(1000), "abcdefghij").len(), 9, "a prefix that leaves no room");
    }
}
