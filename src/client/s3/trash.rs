//! The trash of a store: what is written down before anything goes there, and what of it is removed for good.
//!
//! Nothing is removed but what a manifest lists, where it still is what that says; a version never by its name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use futures::TryStreamExt;

use super::S3Client;
use super::fault::Fault;
use super::listing::Object;
use super::remove::{Doomed, OBJECTS_PER_DELETE, fitting};
use super::store::Store;
use super::walk::Walk;
use crate::client::{Disposal, Expiry, Purged};
use crate::error::{ErrorKind, Result};
use crate::fingerprint::ETag;
use crate::trash::{ADOPTED, Kept, Listed, MANIFESTS, MOST_BYTES, Manifest, Name, is_run, manifests};

/// Where manifests are below what `--trash-location` names. Not where a root has its own: the two can be one place.
const MANIFESTS_ELSEWHERE: &str = ".syncengine/manifests";

/// The manifests that this client has written. What a copy in the trash has for an ETag is known only when it is there.
#[derive(Debug, Default)]
pub(super) struct Announced(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    parts: Vec<Part>,
    /// In which part, and where in it, a name is: that of a run and the one below it.
    places: HashMap<(String, String), (usize, usize)>,
}

#[derive(Debug)]
struct Part {
    name: Name,
    manifest: Manifest,
    has_changed: bool,
}

impl Announced {
    fn add(&self, name: Name, manifest: Manifest) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = all.parts.len();
        for (at, kept) in manifest.entries.iter().enumerate() {
            all.places.insert((name.run.clone(), kept.name.clone()), (part, at));
        }
        all.parts.push(Part { name, manifest, has_changed: false });
    }

    /// Notes the ETag of a copy, if it is not that of what was copied.
    pub(super) fn note(&self, run: &str, name: String, etag: &ETag) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((part, at)) = all.places.get(&(run.to_owned(), name)).copied() else { return };
        let Some(part) = all.parts.get_mut(part) else { return };
        let Some(kept) = part.manifest.entries.get_mut(at) else { return };
        if kept.etag.as_deref() != Some(etag.as_str()) {
            kept.etag = Some(etag.as_str().to_owned());
            part.has_changed = true;
        }
    }

    /// Returns the manifests that no longer say what they did when they were written.
    fn take_changed(&self) -> Vec<(Name, Manifest)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for part in all.parts.iter_mut().filter(|part| part.has_changed) {
            part.has_changed = false;
            changed.push((part.name.clone(), part.manifest.clone()));
        }
        changed
    }
}

impl S3Client {
    /// Writes down what is about to be put into the trash, unless the bucket keeps it anyway.
    pub(super) async fn announce(&self, parts: Vec<(Name, Manifest)>) -> Result<()> {
        let announced = async {
            for (name, mut manifest) in parts {
                if !self.must_copy(&Disposal::Trash { run: name.run.clone() }).await? {
                    return Ok(());
                }
                let folder = format!("{}{}", self.trash_prefix(), name.run);
                for kept in &mut manifest.entries {
                    kept.name = fitting(&folder, &kept.name).into_owned();
                }
                self.write_manifest(&name, &manifest).await?;
                self.announced.add(name, manifest);
            }
            Ok(())
        };
        announced.await.map_err(|fault: Fault| fault.error(format!("write to `{}`", self.manifests())))
    }

    /// Writes the manifests of this run anew of which copies turned out to have other ETags than what was copied.
    pub(super) async fn complete_manifests(&self) {
        for (name, manifest) in self.announced.take_changed() {
            if let Err(fault) = self.write_manifest(&name, &manifest).await {
                tracing::debug!(?fault, %name, "a manifest stays as it was, and what it lists in the trash");
            }
        }
    }

    async fn write_manifest(&self, name: &Name, manifest: &Manifest) -> Result<(), Fault> {
        let text = serde_json::json!(manifest).to_string();
        self.trash_store().put_ours(&format!("{}{name}", self.manifests()), &text, None).await
    }

    /// Returns what the names of manifests begin with.
    fn manifests(&self) -> String {
        match &self.setup.trash {
            Some(bucket) => format!("{}{MANIFESTS_ELSEWHERE}/", bucket.prefix),
            None => format!("{}{MANIFESTS}/", self.at.prefix),
        }
    }

    /// Deletes the trash that is to go.
    pub(super) async fn purge(&self, expiry: &Expiry) -> Result<Purged> {
        let doing = || format!("purge the trash of `{}`", self.location);
        self.purge_listed(expiry).await.map_err(|fault: Fault| fault.error(doing()))
    }

    async fn purge_listed(&self, expiry: &Expiry) -> Result<Purged, Fault> {
        let (store, folder) = (self.trash_store(), self.manifests());
        let below = |object: Object| object.key.strip_prefix(&folder).map(str::to_owned);
        let noted = Walk::in_any_order(&store, &folder, None).pages().try_concat().await?;
        let noted: Vec<String> = noted.into_iter().filter_map(below).collect();
        let mut names: Vec<Name> = noted.iter().filter_map(|name| Name::parse(name)).collect();
        if self.setup.trash.is_some() {
            // Others keep theirs there, too.
            names.retain(|name| name.pair == expiry.pair_id);
        } else if !noted.iter().any(|name| name == ADOPTED) {
            names.extend(self.adopt(&store, &names, expiry).await?);
        }
        let (going, unbelieved) = expiry.choose(names);
        let runs = going.len() as u64;
        for (run, names) in going {
            let mut listed = Listed::default();
            for name in &names {
                let text = store.ours(&format!("{folder}{name}"), MOST_BYTES).await?;
                listed.read(text.as_deref());
            }
            self.delete_listed(&store, &format!("{}{run}/", self.trash_prefix()), &listed).await?;
            for name in names {
                store.delete_ours(&format!("{folder}{name}")).await?;
            }
        }
        Ok(Purged { runs, unbelieved })
    }

    /// Deletes what is listed of what is below `prefix`.
    async fn delete_listed(&self, store: &Store, prefix: &str, listed: &Listed) -> Result<(), Fault> {
        let mut pages = std::pin::pin!(Walk::in_any_order(store, prefix, None).pages());
        while let Some(objects) = pages.try_next().await? {
            let is_listed = |object: &Object| of(prefix, object).is_some_and(|kept| listed.has(&kept));
            let doomed: Vec<Doomed> =
                objects.into_iter().filter(is_listed).filter_map(Doomed::listed).collect();
            for chunk in doomed.chunks(OBJECTS_PER_DELETE) {
                for deleted in self.delete_in(store, chunk.to_vec()).await {
                    // What is something else by now stays.
                    deleted.map(drop).or_else(|fault| {
                        if fault.kind() == ErrorKind::Changed { Ok(()) } else { Err(fault) }
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Gives the trash of releases that wrote no manifests some. Its age counts from now.
    async fn adopt(&self, store: &Store, known: &[Name], expiry: &Expiry) -> Result<Vec<Name>, Fault> {
        let prefix = self.trash_prefix();
        let mut runs: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
        let mut pages = std::pin::pin!(Walk::in_any_order(store, &prefix, None).pages());
        while let Some(objects) = pages.try_next().await? {
            for object in objects {
                let Some(run) = object.key.strip_prefix(&prefix).and_then(|rest| rest.split('/').next())
                else {
                    continue;
                };
                if !is_run(run) || expiry.is_spared(run) || known.iter().any(|name| name.run == run) {
                    continue;
                }
                let run = run.to_owned();
                runs.entry(run.clone()).or_default().extend(of(&format!("{prefix}{run}/"), &object));
            }
        }
        let mut names = Vec::new();
        for (run, kept) in runs {
            let of_pair = (expiry.pair_id.as_str(), 0, run.as_str());
            for (name, manifest) in manifests(of_pair, (expiry.now, expiry.keep), (0, kept)) {
                self.write_manifest(&name, &manifest).await?;
                names.push(name);
            }
        }
        store.put_ours(&format!("{}{ADOPTED}", self.manifests()), "", Some("*")).await?;
        Ok(names)
    }
}

fn of(prefix: &str, object: &Object) -> Option<Kept> {
    let name = object.key.strip_prefix(prefix)?.to_owned();
    Some(Kept {
        name,
        size: object.size,
        etag: object.etag.as_ref().map(|etag| etag.as_str().to_owned()),
        modified: None,
    })
}
