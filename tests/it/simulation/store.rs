//! A bucket as a client of the engine sees it: visible at once, under conditions that it may not look at.
//!
//! What `src/client/s3.rs` does is done here in its order, step by step: the replaced version is copied to the
//! trash, then comes the conditional write; a rename is a copy and a deletion. Where a condition is ignored
//! the object is looked at first, which leaves a moment open; what is lost in it is counted, not judged.

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use syncengine::client::{Body, Disposal, Expiry, Held, ListRequest, Listed, Purged, Staged, Target};
use syncengine::entry::Entry;
use syncengine::marker::ListedMarker;
use syncengine::root::RootIdentity;
use syncengine::{Error, ErrorKind, Key, Result, StorageClient, Timestamp};

use super::place::{File, Ignored, Kind, LARGE, hash};
use super::port::{Fate, Port, changed, lost};
use super::world::Inner;

/// For how many ticks a listing may show what was there before a change.
const STALE_TICKS: u64 = 60;

#[derive(Debug)]
pub(crate) struct SimStore {
    pub(crate) port: Port,
    pub(crate) location: String,
}

/// A write that is on its way.
struct Writing<'a> {
    key: &'a Key,
    content: Bytes,
    modified: Timestamp,
    replaces: Option<&'a Entry>,
    written_by: Option<u32>,
}

impl SimStore {
    fn ignores(&self) -> Ignored {
        match self.port.world.inner().places[self.port.place].kind {
            Kind::Bucket { ignores, .. } => ignores,
            Kind::Folder { .. } => Ignored::default(),
        }
    }

    /// Checks that at `key` there is the version `expected`, or nothing.
    fn check(&self, key: &Key, expected: Option<&Entry>) -> Result<()> {
        let world = self.port.world.inner();
        let place = &world.places[self.port.place];
        let holds = match expected {
            Some(entry) => place.expect(entry).is_some(),
            None => !place.files.contains_key(key.as_str()),
        };
        if holds { Ok(()) } else { Err(changed(key, "is not what was expected")) }
    }

    /// Looks at a condition: just before acting, or a moment before where the store does not. Returns whether
    /// somebody used that moment, so that what is done is done to another version.
    async fn guard(&self, key: &Key, expected: Option<&Entry>, ignored: bool) -> Result<bool> {
        self.check(key, expected)?;
        if !ignored {
            return Ok(false);
        }
        self.port.tick("act", key.as_str()).await;
        let is_other = self.check(key, expected).is_err();
        if is_other {
            self.port.world.inner().note("races where conditions are ignored");
        }
        Ok(is_other)
    }

    /// Copies what is replaced or removed to the trash.
    async fn keep(&self, entry: &Entry, disposal: &Disposal) -> Result<()> {
        let Disposal::Trash { run } = disposal else { return Ok(()) };
        let fate = self.port.call("keep", entry.key.as_str()).await?;
        self.check(&entry.key, Some(entry))?;
        let mut world = self.port.world.inner();
        let place = &mut world.places[self.port.place];
        if let Some(file) = place.files.get(entry.key.as_str()) {
            let content = file.content.clone();
            place.trash.push((run.clone(), content));
        }
        if fate == Fate::AnswerLost { Err(lost(entry.key.as_str())) } else { Ok(()) }
    }

    async fn put(&self, writing: Writing<'_>) -> Result<Entry> {
        let Writing { key, content, modified, replaces, written_by } = writing;
        let name = key.as_str();
        let fate = self.port.call("put", name).await?;
        let ignores = self.ignores();
        let ignored = if replaces.is_some() { ignores.replace } else { ignores.create };
        let is_raced = self.guard(key, replaces, ignored).await?;
        let mut world = self.port.world.inner();
        if !is_raced {
            world.judge_showing(self.port.machine, self.port.place, name, &content, replaces);
        }
        let old = world.show((self.port.machine, self.port.place), name, content, modified, written_by);
        if is_raced {
            world.forfeit(old);
        }
        let entry = world.listed(self.port.place, name);
        drop(world);
        if fate == Fate::AnswerLost {
            return Err(lost(name));
        }
        entry.ok_or_else(|| changed(key, "is gone"))
    }

    async fn take_in(&self, target: Target, mut body: Body) -> Result<Staged> {
        let name = target.key.as_str().to_owned();
        self.port.call("stage", &name).await?;
        self.port.world.inner().judge_staging(self.port.machine, self.port.place, &name);
        let is_large = body.size >= LARGE as u64;
        if is_large {
            self.port.call("begin upload", &name).await?;
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if is_large {
                self.port.call("part", &name).await?;
            }
        }
        if bytes.len() as u64 != body.size {
            return Err(changed(&target.key, "came with another number of bytes than announced"));
        }
        let content = Bytes::from(bytes);
        if let Some(old) = &target.replaces {
            self.keep(old, &target.disposal).await?;
        }
        let modified = body.modified.unwrap_or_else(|| self.port.now());
        let hash = hash(&content);
        let writing = Writing {
            key: &target.key,
            content,
            modified,
            replaces: target.replaces.as_ref(),
            written_by: Some(target.run_tag),
        };
        let entry = self.put(writing).await?;
        Ok(Staged { size: entry.size, hash: Some(hash), held: Held::Published(entry), target })
    }

    async fn copy_to(&self, from: &Entry, to: &Key) -> Result<Entry> {
        self.port.call("copy", from.key.as_str()).await?;
        self.check(&from.key, Some(from))?;
        let (content, modified) = {
            let mut world = self.port.world.inner();
            let place = &mut world.places[self.port.place];
            let file = place.expect(from).ok_or_else(|| changed(&from.key, "is gone"))?;
            let found = (file.content.clone(), file.modified);
            place.renamed.insert(found.0.clone());
            found
        };
        self.put(Writing { key: to, content, modified, replaces: None, written_by: None }).await
    }

    /// Deletes a version that can be had back, or of which there is a copy.
    async fn delete(&self, entry: &Entry, is_rename: Option<&Key>, disposal: &Disposal) -> Result<()> {
        let name = entry.key.as_str();
        let fate = self.port.call("delete", name).await?;
        let ignored = self.ignores().delete;
        let is_raced = self.guard(&entry.key, Some(entry), ignored).await?;
        let mut world = self.port.world.inner();
        match is_rename {
            _ if is_raced => {}
            Some(to) => world.judge_renaming(self.port.machine, self.port.place, name, to.as_str()),
            None => world.judge_removing(self.port.machine, self.port.place, entry, disposal),
        }
        let tick = world.tick;
        let old = world.places[self.port.place].take(name, tick).map(|file| file.content);
        // Whoever did away with the copy between the two steps of a rename did away with that content.
        let is_undone = is_rename.is_some_and(|to| {
            world.places[self.port.place].files.get(to.as_str()).map(|file| &file.content) != old.as_ref()
        });
        if is_raced {
            world.forfeit(old);
        } else if is_undone {
            world.disown(old);
        }
        if fate == Fate::AnswerLost { Err(lost(name)) } else { Ok(()) }
    }

    async fn rename_object(&self, from: &Entry, to: &Key) -> Result<Entry> {
        let entry = self.copy_to(from, to).await?;
        let Err(error) = self.delete(from, Some(to), &Disposal::Discard).await else { return Ok(entry) };
        if error.kind() == ErrorKind::Changed {
            // The old one is another version now, so there is no rename.
            self.port.tick("take back", to.as_str()).await;
            let mut world = self.port.world.inner();
            if world.places[self.port.place].expect(&entry).is_some() {
                let tick = world.tick;
                let copy = world.places[self.port.place].take(to.as_str(), tick);
                // Who wrote over the original gave it up; whoever copied the copy meanwhile may be cut off before it lasts.
                let copy = copy.map(|file| file.content);
                if copy.as_ref().is_some_and(|content| world.given_up.contains(content)) {
                    world.forfeit(copy);
                } else {
                    world.disown(copy);
                }
                // It was there for a moment, and nobody put it there to stay.
                world.places[self.port.place].taken_away.insert(to.as_str().to_owned());
            }
        }
        Err(error)
    }

    /// Returns the next object of a listing, as it is or as it was a moment ago.
    fn next(&self, after: &str) -> Option<(String, Option<Entry>)> {
        let mut world = self.port.world.inner();
        let (is_stale, tick, now) = (world.weather.stale, world.tick, world.now(self.port.machine));
        let place = &world.places[self.port.place];
        let range = || (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
        let live = place.files.range::<String, _>(range()).next().map(|(name, _)| name.clone());
        let gone = place.before.range::<String, _>(range()).find(|(name, (at, old))| {
            is_stale && old.is_some() && at + STALE_TICKS > tick && !place.files.contains_key(*name)
        });
        let gone = gone.map(|(name, _)| name.clone());
        let name = live.into_iter().chain(gone).min()?;
        let now_there = place.files.get(&name).cloned();
        let old = place.before.get(&name).filter(|(at, _)| is_stale && at + STALE_TICKS > tick).cloned();
        let seen = match old {
            Some((_, old)) if world.falls(500) => {
                world.note("stale listings");
                old
            }
            _ => now_there,
        };
        let place = &mut world.places[self.port.place];
        if let Some(file) = &seen {
            place.listed.insert(name.clone(), (self.port.machine, file.etag.clone()));
        }
        let place = &world.places[self.port.place];
        let entry = seen.map(|file| {
            let stored = Some(file.changed);
            Entry { modified: None, stored, ..place.entry(&name, &file, now) }
        });
        Some((name, entry))
    }
}

impl Inner {
    /// Makes a version visible and returns the content it replaced.
    pub(crate) fn show(
        &mut self,
        (machine, place): (usize, usize),
        name: &str,
        content: Bytes,
        modified: Timestamp,
        written_by: Option<u32>,
    ) -> Option<Bytes> {
        let (now, inode, tick) = (self.now_at(place), self.next_inode(), self.tick);
        let place = &mut self.places[place];
        let old = place.files.get(name).map(|file| file.content.clone());
        let (modified, changed) = (place.stamp(modified), place.stamp(now));
        let etag = place.etag(&content, inode);
        place.unlisted.insert(name.to_owned(), (machine, etag.clone()));
        place.set(name, File { content, modified, changed, inode, etag, written_by }, tick);
        old
    }

    /// Returns a file as it is shown now.
    pub(crate) fn listed(&self, place: usize, name: &str) -> Option<Entry> {
        let now = self.now_at(place);
        let place = &self.places[place];
        place.files.get(name).map(|file| place.entry(name, file, now))
    }
}

impl StorageClient for SimStore {
    fn location(&self) -> &str {
        &self.location
    }

    fn root(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        async {
            self.port.call("root", "").await?;
            Ok(Some(RootIdentity::default()))
        }
        .boxed()
    }

    fn create_root(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn list(&self, _: ListRequest) -> BoxStream<'_, Result<Listed>> {
        let items = stream::try_unfold((String::new(), 0_usize), move |(after, count)| async move {
            if count.is_multiple_of(3) {
                self.port.call("page", &after).await?;
            }
            Ok(self.next(&after).map(|(name, entry)| (entry.map(Listed::File), (name, count + 1))))
        });
        items.try_filter_map(|entry| async move { Ok::<_, Error>(entry) }).boxed()
    }

    fn was_written_by<'a>(
        &'a self,
        entry: &'a Entry,
        run_tag: u32,
        modified: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool>> {
        async move {
            self.port.call("head", entry.key.as_str()).await?;
            let world = self.port.world.inner();
            let found = world.places[self.port.place].expect(entry);
            let is_then = |time: Timestamp| modified.is_none_or(|modified| modified == time);
            Ok(found.is_some_and(|file| file.written_by == Some(run_tag) && is_then(file.modified)))
        }
        .boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Listed>>> {
        async move {
            if self.port.call("head", key.as_str()).await? == Fate::AnswerLost {
                return Err(lost(key.as_str()));
            }
            let world = self.port.world.inner();
            let stored = world.places[self.port.place].files.get(key.as_str()).map(|file| file.changed);
            let found = world.listed(self.port.place, key.as_str());
            Ok(found.map(|entry| Listed::File(Entry { stored, ..entry })))
        }
        .boxed()
    }

    fn read<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Body>> {
        async move {
            self.port.call("read", entry.key.as_str()).await?;
            let world = self.port.world.inner();
            let place = &world.places[self.port.place];
            let file = place.expect(entry).ok_or_else(|| changed(&entry.key, "is another version"))?;
            let has_proof = !matches!(place.kind, Kind::Bucket { opaque: true, .. });
            let entry = Entry { modified: Some(file.modified), ..entry.clone() };
            Ok(self.port.body(&entry, &file.content, false, has_proof))
        }
        .boxed()
    }

    fn stage(&self, target: Target, body: Body) -> BoxFuture<'_, Result<Staged>> {
        self.take_in(target, body).boxed()
    }

    fn copy<'a>(&'a self, from: &'a Entry, target: Target) -> BoxFuture<'a, Result<Staged>> {
        async move {
            let entry = self.copy_to(from, &target.key).await?;
            Ok(Staged { size: entry.size, hash: None, held: Held::Published(entry), target })
        }
        .boxed()
    }

    fn publish(&self, staged: Vec<Staged>) -> BoxFuture<'_, Vec<Result<Entry>>> {
        let confirm = |one: Staged| match one.held {
            Held::Published(entry) => Ok(entry),
            _ => Err(changed(&one.target.key, "is staged elsewhere")),
        };
        async move { staged.into_iter().map(confirm).collect() }.boxed()
    }

    fn discard(&self, staged: Staged) -> BoxFuture<'_, ()> {
        async move { drop(staged) }.boxed()
    }

    fn rename<'a>(&'a self, from: &'a Entry, to: &'a Key) -> BoxFuture<'a, Result<Entry>> {
        self.rename_object(from, to).boxed()
    }

    fn remove<'a>(&'a self, entries: Vec<Entry>, disposal: &'a Disposal) -> BoxFuture<'a, Vec<Result<()>>> {
        async move {
            let mut results = Vec::new();
            for entry in entries {
                let removed = async {
                    self.keep(&entry, disposal).await?;
                    self.delete(&entry, None, disposal).await
                };
                results.push(removed.await);
            }
            results
        }
        .boxed()
    }

    fn sweep(&self, _: Vec<Key>) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn purge_trash(&self, expiry: Expiry) -> BoxFuture<'_, Result<Purged>> {
        async move { Ok(self.port.world.inner().purge(self.port.place, &expiry)) }.boxed()
    }

    fn markers(&self) -> BoxFuture<'_, Result<Vec<ListedMarker>>> {
        async { listed_markers(&self.port).await }.boxed()
    }

    fn read_marker<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>>> {
        async move { marker(&self.port, name).await }.boxed()
    }

    fn put_marker<'a>(&'a self, pair_id: &'a str, _: &'a str) -> BoxFuture<'a, Result<()>> {
        async move { mark(&self.port, pair_id).await }.boxed()
    }

    fn remove_marker<'a>(&'a self, pair_id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.port.world.inner().places[self.port.place].markers.remove(pair_id);
            Ok(())
        }
        .boxed()
    }

    fn hashes_what_it_stages(&self) -> bool {
        true
    }
}

/// Lists the markers.
pub(crate) async fn listed_markers(port: &Port) -> Result<Vec<ListedMarker>> {
    port.call("markers", "").await?;
    let names = port.world.inner().places[port.place].markers.clone();
    Ok(names.into_iter().map(ListedMarker::from).collect())
}

/// Reads a marker.
pub(crate) async fn marker(port: &Port, name: &str) -> Result<Option<String>> {
    port.call("read marker", name).await?;
    Ok(port.world.inner().places[port.place].markers.contains(name).then(String::new))
}

/// Writes a marker.
pub(crate) async fn mark(port: &Port, pair_id: &str) -> Result<()> {
    let fate = port.call("mark", "").await?;
    {
        let mut world = port.world.inner();
        world.places[port.place].markers.insert(pair_id.to_owned());
        let machine = &mut world.machines[port.machine];
        let side = machine.side_of(port.place);
        // Of one whose answer is lost the run knows nothing, and says so.
        *machine.run.marked.get_mut(side) |= fate != Fate::AnswerLost;
    }
    if fate == Fate::AnswerLost { Err(lost("the marker")) } else { Ok(()) }
}

impl Inner {
    /// Empties the trash of the runs that are over.
    pub(crate) fn purge(&mut self, place: usize, expiry: &Expiry) -> Purged {
        self.tell(|| format!("purge at {place}: {expiry:?}"));
        let trash = &mut self.places[place].trash;
        let is_spared = |run: &str| expiry.spared.as_deref() == Some(run);
        trash.retain(|(run, _)| is_spared(run) || !expiry.is_over(run));
        let runs = trash.iter().map(|(run, _)| run);
        let unbelieved = runs.filter(|run| !expiry.believes(run) && !is_spared(run)).cloned().collect();
        Purged { runs: 0, unbelieved }
    }
}
