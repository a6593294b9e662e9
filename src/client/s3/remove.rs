//! Trash and deletion: nothing is removed or replaced before it can be had back, nor if it is not what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::S3Client;
use super::copy::From;
use super::fault::Fault;
use super::list::run_of;
use super::object::{etag_of, quoted};
use super::stage::meanwhile;
use super::store::Store;
use super::strict::Act;
use crate::client::{Disposal, Target};
use crate::entry::{Entry, Timestamp};
use crate::error::{ErrorKind, Result};
use crate::fingerprint::ETag;
use crate::key::Key;

/// Where the trash is, below a prefix.
pub(super) const TRASH: &str = ".syncengine/trash/";

/// Objects in one multi-object delete (S3).
const OBJECTS_PER_DELETE: usize = 1000;

/// Requests of one batch of removals under way at once; the limiter decides how many are sent.
const AT_ONCE: usize = 64;

/// Waits for all of these, several at once, and returns what came of them in their order.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(futures.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await
}

/// An object that is to go.
#[derive(Debug, Clone)]
struct Doomed {
    key: String,
    etag: ETag,
}

impl S3Client {
    /// Removes versions, into the trash if they are to be kept.
    pub(super) async fn remove_objects(&self, entries: Vec<Entry>, disposal: &Disposal) -> Vec<Result<()>> {
        let must_copy = match self.insist(Act::Delete).await {
            Ok(()) => self.must_copy(disposal).await,
            Err(fault) => Err(fault),
        };
        let kept = all(entries.iter().map(|entry| self.keep(entry, disposal, must_copy.clone()))).await;
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

    /// Puts what `target` replaces into the trash, if it is to be kept.
    pub(super) async fn make_room(&self, target: &Target) -> Result<(), Fault> {
        let Some(entry) = &target.replaces else { return Ok(()) };
        let must_copy = self.must_copy(&target.disposal).await;
        self.keep(entry, &target.disposal, must_copy).await.map(drop)
    }

    /// Makes sure that a version can be had back, if it is to be.
    async fn keep(
        &self,
        entry: &Entry,
        disposal: &Disposal,
        must_copy: Result<bool, Fault>,
    ) -> Result<Doomed, Fault> {
        let doomed = Doomed { key: self.object_key(&entry.key), etag: etag_of(entry)? };
        if must_copy? && let Disposal::Trash { run } = disposal {
            let to = self.trash_key(run, &entry.key);
            let from = From::new(&self.store.bucket, doomed.key.clone(), entry)?;
            self.copy_to_trash(&from, &to).await?;
        }
        Ok(doomed)
    }

    /// Copies a version into the trash. No other run has the name, so nothing can be in its way.
    async fn copy_to_trash(&self, from: &From, key: &str) -> Result<(), Fault> {
        let can = self.capabilities().await?;
        let store = self.trash_store();
        let copied = store.copy_version(can, from, key, false).await;
        copied.map(drop).map_err(|fault| match &self.setup.trash {
            Some(trash) if fault.code == "NoSuchBucket" => Fault::no_trash(&trash.name),
            _ => fault,
        })
    }

    /// Returns a name in the trash that this run has not used yet.
    fn trash_key(&self, run: &str, key: &Key) -> String {
        let mut used = self.trashed.lock().unwrap_or_else(PoisonError::into_inner);
        let name = free_name(&used, &format!("{}{run}", self.trash_prefix()), key);
        used.insert(name.clone());
        name
    }

    /// Deletes the trash of the runs that began before `before`; never a version by its name.
    pub(super) async fn purge(&self, before: Timestamp) -> Result<u64> {
        let store = self.trash_store();
        let prefix = self.trash_prefix();
        let mut runs = BTreeSet::new();
        let purged = async {
            let mut pages = store.old_trash(prefix.clone(), before.compact());
            while let Some(objects) = pages.try_next().await? {
                let names = objects.iter().filter_map(|object| run_of(&prefix, &object.key));
                runs.extend(names.map(str::to_owned));
                let old = objects.into_iter().map(|object| Doomed { key: object.key, etag: object.etag });
                let old: Vec<Doomed> = old.collect();
                for chunk in old.chunks(OBJECTS_PER_DELETE) {
                    store
                        .delete_many(chunk.to_vec(), false)
                        .await
                        .into_iter()
                        .collect::<Result<(), Fault>>()?;
                }
            }
            Ok(())
        };
        let doing = || format!("purge the trash of `{}`", self.location);
        purged.await.map_err(|fault: Fault| fault.error(doing()))?;
        Ok(runs.len() as u64)
    }

    /// Returns the bucket the trash is in.
    fn trash_store(&self) -> Store {
        self.setup.trash.as_ref().map_or_else(|| self.store.clone(), |at| self.store.in_bucket(&at.name))
    }

    /// Returns what the names in the trash begin with.
    pub(super) fn trash_prefix(&self) -> String {
        match &self.setup.trash {
            Some(bucket) => bucket.prefix.clone(),
            None => format!("{}{TRASH}", self.at.prefix),
        }
    }

    /// Deletes objects that are still what was seen, with as few requests as the store allows.
    async fn delete(&self, objects: Vec<Doomed>) -> Vec<Result<(), Fault>> {
        let can = match self.capabilities().await {
            Ok(can) => can,
            Err(fault) => return objects.iter().map(|_| Err(fault.clone())).collect(),
        };
        if can.delete_many_if_match && (objects.len() > 1 || !can.delete_if_match) {
            return self.store.delete_many(objects, true).await;
        }
        if can.delete_if_match {
            let conditions = objects.iter().map(|object| Some(can.if_match(&object.etag)));
            let conditional = objects.iter().zip(conditions);
            return all(conditional.map(|(object, condition)| self.store.delete_one(object, condition)))
                .await;
        }
        // Nothing here guards a deletion: look, then act.
        self.miss("If-Match on deletions");
        let looked = all(objects.iter().map(|object| self.store.expect(&object.key, &object.etag))).await;
        let certain = objects.into_iter().zip(&looked).filter(|(_, looked)| looked.is_ok());
        let mut deleted =
            self.store.delete_many(certain.map(|(object, _)| object).collect(), false).await.into_iter();
        looked.into_iter().map(|looked| looked.and_then(|()| deleted.next().unwrap_or(Ok(())))).collect()
    }

    /// Deletes a version without keeping it, where a copy of it is known to be elsewhere.
    pub(super) async fn delete_version(&self, key: &str, etag: &ETag) -> Result<(), Fault> {
        let doomed = Doomed { key: key.to_owned(), etag: etag.clone() };
        self.delete(vec![doomed]).await.pop().unwrap_or(Ok(()))
    }
}

/// Returns a name for `key` below `folder` that is not used, and neither above nor below one that is: some
/// stores list nothing below an object.
fn free_name(used: &BTreeSet<String>, folder: &str, key: &Key) -> String {
    let mut name = folder.to_owned();
    let mut parts = key.as_str().split('/').peekable();
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
    async fn delete_many(&self, objects: Vec<Doomed>, guarded: bool) -> Vec<Result<(), Fault>> {
        let failed = match self.delete_objects(&objects, guarded).await {
            Ok(failed) => failed,
            // Old MinIO demands an MD5 header that the SDK does not send. It knows no conditions here either: where
            // they are honoured the refusal is about something else, and nothing is deleted without them.
            Err(fault) if !guarded && (fault.status == 400 || fault.is_unsupported()) => {
                return all(objects.iter().map(|object| self.delete_one(object, None))).await;
            }
            Err(fault) => return objects.iter().map(|_| Err(fault.clone())).collect(),
        };
        all(objects.iter().map(|object| async {
            match failed.get(&object.key) {
                None => Ok(()),
                Some(fault) => self.judge_failed_delete(object, fault.clone()).await,
            }
        }))
        .await
    }

    async fn delete_one(&self, object: &Doomed, if_match: Option<String>) -> Result<(), Fault> {
        let deleted = self.send(|| async {
            let request = self.sdk().delete_object().bucket(&self.bucket).key(&object.key);
            Ok(request.set_if_match(if_match.clone()).send().await?)
        });
        match deleted.await {
            Ok(_) => Ok(()),
            Err(fault) => self.judge_failed_delete(object, fault).await,
        }
    }

    /// A deletion that was refused may have been done by an earlier try of ours, whose answer was lost.
    async fn judge_failed_delete(&self, object: &Doomed, fault: Fault) -> Result<(), Fault> {
        if !fault.is_refused_condition() && !fault.is_missing() {
            return Err(fault);
        }
        match self.head(&object.key).await? {
            None => Ok(()),
            Some(_) => Err(meanwhile()),
        }
    }

    /// Deletes objects with one request and returns what failed, by name.
    async fn delete_objects(
        &self,
        objects: &[Doomed],
        guarded: bool,
    ) -> Result<BTreeMap<String, Fault>, Fault> {
        if objects.is_empty() {
            return Ok(BTreeMap::new());
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
                Ok(self.sdk().delete_objects().bucket(&self.bucket).delete(delete.clone()).send().await?)
            })
            .await?;
        let done: BTreeSet<&str> = answer.deleted().iter().filter_map(|object| object.key()).collect();
        let told = answer.errors().iter().filter_map(|error| Some((error.key()?, error)));
        let told: BTreeMap<&str, _> = told.collect();
        let failed = objects.iter().filter_map(|object| match told.get(object.key.as_str()) {
            Some(error) => {
                let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
                Some((object.key.clone(), Fault::of_key(code, message)))
            }
            None if done.contains(object.key.as_str()) => None,
            None => Some((
                object.key.clone(),
                Fault::new(ErrorKind::Unavailable, "the store did not answer for it"),
            )),
        });
        Ok(failed.collect())
    }
}
