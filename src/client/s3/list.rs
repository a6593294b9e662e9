//! The tree below a prefix as the engine sees it: names without the prefix, in byte order, and what is ours
//! or cannot be synced told apart.
//!
//! A look at the root asks for the first page of the listing, so that a tree of up to 1,000 objects takes one
//! request in all. Pages, their checks and their order are in `page` and `walk`.

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::S3Client;
use super::listing::{Object, Page, Position};
use super::walk::{self, PAGE_KEYS, Walk};
use crate::client::{Listed, Unnamed};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Fingerprint;
use crate::key::{Key, KeyError, RESERVED_FOLDER, escape, is_reserved_name};
use crate::marker::ListedMarker;

/// The markers, below the prefix.
const PAIRS: &str = ".syncengine/pairs/";

/// The first name behind every marker: `0` is the byte after the slash.
const BEHIND_PAIRS: &str = ".syncengine/pairs0";

impl S3Client {
    /// Looks whether the bucket exists. The first time this asks for the first page of the listing, which the
    /// next listing and markers go by.
    pub(super) async fn bucket_exists(&self) -> Result<bool> {
        let store = &self.store;
        let wanted = store.first_page.is_wanted();
        let max_keys = if wanted { PAGE_KEYS } else { 1 };
        match store.page(&self.at.prefix, &Position::Start, max_keys).await {
            Ok(page) => {
                if !walk::is_ordered(&page) {
                    store.listing.note_disorder();
                }
                if wanted {
                    store.first_page.keep(store.ports.clock.monotonic(), &self.at.prefix, page);
                }
                Ok(true)
            }
            // Any other 404 is that of somebody who is no store.
            Err(fault) if fault.is_missing() && fault.code == "NoSuchBucket" => Ok(false),
            Err(fault) => Err(fault.error(format!("look at `{}`", self.location))),
        }
    }

    /// Lists the tree. The `.syncignore` files and the filter of a request are not looked at: the former count
    /// in folders only, where reading one costs no request, and a prefix has no folders that could be left out.
    pub(super) fn list_all(&self, object_names: bool) -> BoxStream<'_, Result<Listed>> {
        let kept = self.store.first_page.take(self.store.ports.clock.monotonic(), &self.at.prefix);
        let mut view = View::new(self.at.prefix.len(), object_names);
        let pages = walk::ordered(&self.store, &self.at.prefix, kept, format!("list `{}`", self.location));
        let items = pages.map_ok(move |objects| {
            let seen: Vec<_> = objects.into_iter().filter_map(|object| view.show(object)).map(Ok).collect();
            stream::iter(seen)
        });
        items.try_flatten().boxed()
    }

    /// Lists what is in `.syncengine/pairs/`, without a request if the page of [`Self::bucket_exists`] shows them.
    pub(super) async fn list_markers(&self) -> Result<Vec<ListedMarker>> {
        let (store, root) = (&self.store, &self.at.prefix);
        let now = store.ports.clock.monotonic();
        if let Some(listed) = store.first_page.peek(now, root, |page| markers_on(page, root)) {
            return Ok(listed);
        }
        let prefix = format!("{root}{PAIRS}");
        let pages = Walk::in_any_order(store, &prefix, None).pages();
        let listed = pages.map_ok(|objects| markers(&objects, &prefix)).try_concat().await;
        listed.map_err(|fault| fault.error(format!("list the markers of `{}`", self.location)))
    }
}

/// Returns the markers if the page is sure to show them all: it is the whole listing, or one in
/// byte order, or folder by folder, that has come past them.
fn markers_on(page: &Page, root: &str) -> Option<Vec<ListedMarker>> {
    let behind = format!("{root}{BEHIND_PAIRS}");
    let is_past = walk::is_ordered(page) && page.objects.last().is_some_and(|last| last.key > behind);
    (page.next.is_none() || is_past).then(|| markers(&page.objects, &format!("{root}{PAIRS}")))
}

fn markers(objects: &[Object], prefix: &str) -> Vec<ListedMarker> {
    let marker = |object: &Object| {
        let name = object.key.strip_prefix(prefix).filter(|name| !name.is_empty() && !name.contains('/'))?;
        Some(ListedMarker { name: name.to_owned(), stored: object.modified })
    };
    objects.iter().filter_map(marker).collect()
}

/// Turns objects, in byte order, into what the engine is told of them.
#[derive(Debug)]
struct View {
    prefix_bytes: usize,
    /// Whether names count that no file can have.
    object_names: bool,
    /// The last reserved name outside `.syncengine/`; what is below it is told of once.
    foreign: Option<String>,
}

impl View {
    fn new(prefix_bytes: usize, object_names: bool) -> Self {
        Self { prefix_bytes, object_names, foreign: None }
    }

    fn show(&mut self, object: Object) -> Option<Listed> {
        let name = object.key.get(self.prefix_bytes..).unwrap_or_default();
        // The marker of the root itself, as consoles make it.
        if name.is_empty() {
            return None;
        }
        if is_ours(name) {
            // Trash, markers and probes are never part of the tree, nor is what later versions may keep here.
            return None;
        }
        let key = if self.object_names { Key::of_object(name) } else { Key::parse(name) };
        match key {
            _ if is_folder_marker(name, object.size) => None,
            Err(error) => Some(unmappable(name, error, object.size)),
            Ok(key) if key.is_reserved() => self.foreign(key),
            Ok(key) => Some(match object.etag {
                // The store's time says when it got the object, which tells nothing about the file.
                Some(etag) => Listed::File(Entry {
                    key,
                    size: object.size,
                    modified: None,
                    stored: object.modified,
                    fingerprint: Fingerprint::Object(etag),
                }),
                None => Listed::Unknown(key, unversioned()),
            }),
        }
    }

    fn foreign(&mut self, key: Key) -> Option<Listed> {
        let reserved = reserved_part(key.as_str());
        if self.foreign.as_deref() == Some(reserved) {
            return None;
        }
        self.foreign = Some(reserved.to_owned());
        Some(Listed::Foreign(key))
    }
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(RESERVED_FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

/// Consoles and other tools keep an empty object for each folder they make.
fn is_folder_marker(name: &str, size: u64) -> bool {
    size == 0 && name.strip_suffix('/').is_some_and(|folder| Key::parse(folder).is_ok())
}

/// Returns a name up to the end of its first reserved segment.
fn reserved_part(name: &str) -> &str {
    let mut end = 0;
    for segment in name.split('/') {
        end += segment.len();
        if is_reserved_name(segment) {
            return name.get(..end).unwrap_or(name);
        }
        end += 1;
    }
    name
}

/// Without an ETag nobody can tell one version from another.
fn unversioned() -> Error {
    Error::new(ErrorKind::Unavailable, "the store lists it without an ETag")
        .with_hint("look at the object in the store; writing it again may help")
}

/// Its position is the name itself: between the names around it, as the store has it.
fn unmappable(name: &str, error: KeyError, size: u64) -> Listed {
    let shown = escape(name.as_bytes());
    let hint = "give the object a name that a file can have";
    let error = Error::new(ErrorKind::Invalid, format!("sync `{shown}`")).with_hint(hint).with_source(error);
    let (files, name) = (vec![Unnamed { size, inode: 0 }], name.to_owned());
    Listed::Unmappable { shown, folder: name.clone(), name, is_folder: false, error, files }
}

#[cfg(test)]
mod tests;
