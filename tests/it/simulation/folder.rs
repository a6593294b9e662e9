//! A local folder as a client of the engine sees it: temporaries, batches, inodes, stamps, and a disk that forgets.
//!
//! What `src/client/local/` does is done here in its order: a version is staged as a temporary with the tag of
//! its run, a batch is renamed file by file and then made durable, and each replaced version is in the trash at
//! the same instant. What is not durable yet a power cut can undo.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use syncengine::client::{
    Body, Disposal, Expiry, Held, ListRequest, Listed, Purged, Respelled, Staged, Target,
};
use syncengine::code::FailureCode;
use syncengine::entry::Entry;
use syncengine::filter::{IGNORE_FILE, Rules};
use syncengine::fingerprint::{FileStat, Fingerprint};
use syncengine::marker::ListedMarker;
use syncengine::root::RootIdentity;
use syncengine::{Error, ErrorKind, Key, Result, StorageClient, Timestamp};

use super::place::{File, Inodes, Kind, are_alike, prefixes};
use super::port::{Fate, Port, changed, lost};
use super::store::{SimStore, listed_markers, mark, marker};

#[derive(Debug)]
pub(crate) struct SimFolder {
    pub(crate) port: Port,
    pub(crate) location: String,
    /// Whether the engine has said that inode numbers do not last.
    pub(crate) distrusts: AtomicBool,
}

/// What a walk comes upon.
enum Met {
    File(Entry),
    Temporary(Key, u32),
    Unreadable(Key),
}

fn denied(key: &Key) -> Error {
    Error::new(ErrorKind::PermissionDenied, format!("list `{key}`: a simulated folder without permissions"))
}

/// Returns the error for a name that the folder takes for that of something else.
fn taken(key: &Key) -> Error {
    Error::new(ErrorKind::Invalid, format!("`{key}` cannot be here beside a name in another case"))
        .with_code(FailureCode::NameClash)
}

/// Returns the error for an operation on the disk that failed after it was done.
fn undone(key: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("make `{key}` durable"))
}

impl Port {
    /// Returns what the place is called.
    pub(crate) fn location(&self) -> String {
        format!("place {}", self.place)
    }

    /// Returns the client that reaches the place.
    pub(crate) fn client(self) -> Arc<dyn StorageClient> {
        let location = self.location();
        let is_folder = self.world.inner().places[self.place].is_folder();
        if is_folder {
            Arc::new(SimFolder { port: self, location, distrusts: AtomicBool::new(false) })
        } else {
            Arc::new(SimStore { port: self, location })
        }
    }
}

impl SimFolder {
    /// Returns the entry as the client gives it: without the number of a file where numbers do not last.
    fn told(&self, mut entry: Entry) -> Entry {
        let kind = self.port.world.inner().places[self.port.place].kind;
        let forgets = matches!(kind, Kind::Folder { inodes: Inodes::Forgotten, .. });
        if let Fingerprint::File(stat) = &mut entry.fingerprint
            && (forgets || self.distrusts.load(Ordering::Relaxed))
        {
            stat.inode = 0;
        }
        entry
    }

    /// Returns the rules of the root.
    fn rules(&self) -> Rules {
        let world = self.port.world.inner();
        let file = world.places[self.port.place].files.get(IGNORE_FILE);
        file.map(|file| Rules::parse(&String::from_utf8_lossy(&file.content)).0).unwrap_or_default()
    }

    fn is_hidden(&self, key: &Key) -> bool {
        let world = self.port.world.inner();
        let unreadable = world.places[self.port.place].unreadable.clone();
        unreadable.is_some_and(|folder| key.is_below(&folder))
    }

    /// Returns the next thing of a walk that comes after `after`.
    fn next(&self, after: &str) -> Option<Met> {
        let world = self.port.world.inner();
        let place = &world.places[self.port.place];
        let (now, range) =
            (world.now(self.port.machine), (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let hidden = place.unreadable.as_deref();
        let is_hidden = |name: &str| hidden.is_some_and(|folder| Key::parse(name).unwrap().is_below(folder));
        let file = place.files.range::<str, _>(range).find(|(name, _)| !is_hidden(name));
        let temporary = place.temporaries.range::<str, _>(range).find(|(name, _)| !is_hidden(name));
        let mut all = place.files.keys().chain(place.temporaries.keys());
        let unreadable = hidden.filter(|folder| *folder > after && all.any(|name| is_hidden(name)));
        let names =
            [file.map(|(name, _)| name.as_str()), temporary.map(|(name, _)| name.as_str()), unreadable];
        let first = names.into_iter().flatten().min()?;
        let key = Key::parse(first).unwrap();
        Some(match (file, temporary) {
            (Some((name, file)), _) if name == first => Met::File(place.entry(name, file, now)),
            (_, Some((name, (tag, _)))) if name == first => Met::Temporary(key, *tag),
            _ => Met::Unreadable(key),
        })
    }

    /// Checks that nothing is here under another spelling of a name that is to be new.
    fn check_spelling(&self, key: &Key) -> Result<()> {
        let mut world = self.port.world.inner();
        if world.places[self.port.place].spelling(key.as_str()) == key.as_str() {
            return Ok(());
        }
        world.note("names taken for others");
        Err(taken(key))
    }

    /// Checks that there can be a temporary beside a name.
    fn check_folder(&self, key: &Key) -> Result<()> {
        let world = self.port.world.inner();
        let is_below = |other: &String| key.is_below(other);
        if world.places[self.port.place].files.keys().any(is_below) {
            return Err(changed(key, "lost the folder it was to be in"));
        }
        Ok(())
    }

    /// Takes `content` in as a temporary for `target`.
    fn hold(&self, target: Target, content: Bytes, modified: Option<Timestamp>) -> Staged {
        let mut world = self.port.world.inner();
        let number = world.next_inode();
        let name = format!(".syncengine-{:08x}{number:08x}.tmp", target.run_tag);
        let key = target.key.sibling(&name).unwrap();
        let size = content.len() as u64;
        let stamped = modified.unwrap_or_else(|| world.now(self.port.machine));
        // The time it is to have goes with it.
        let place = &mut world.places[self.port.place];
        place.temporaries.insert(key.as_str().to_owned(), (target.run_tag, content));
        place.times.insert(key.as_str().to_owned(), stamped);
        let time = place.stamp(stamped);
        let stat = FileStat { modified: time, changed: time, inode: number, settled: false };
        Staged { target, size, hash: None, held: Held::Temporary(key, Fingerprint::File(stat)) }
    }

    async fn take_in(&self, target: Target, mut body: Body) -> Result<Staged> {
        let name = target.key.as_str().to_owned();
        self.port.call("stage", &name).await?;
        self.port.world.inner().judge_staging(self.port.machine, self.port.place, &name);
        if target.replaces.is_none() {
            self.check_spelling(&target.key)?;
        }
        self.check_folder(&target.key)?;
        let modified = body.modified;
        let mut bytes = Vec::new();
        // Even an unfinished temporary can be met by others.
        let unfinished = self.hold(target.clone(), Bytes::new(), modified);
        let result = async {
            while let Some(chunk) = body.chunks.try_next().await? {
                self.port.call("write", &name).await?;
                bytes.extend_from_slice(&chunk);
            }
            if bytes.len() as u64 == body.size {
                return Ok(());
            }
            Err(changed(&target.key, "came with another number of bytes than announced"))
        };
        let result = result.await;
        self.drop_held(&unfinished.held);
        // Users may have put a file in the place of the folder meanwhile, and the temporary went with it.
        self.check_folder(&target.key)?;
        result.map(|()| self.hold(target, bytes.into(), modified))
    }

    fn drop_held(&self, held: &Held) -> Option<(Bytes, Timestamp)> {
        let Held::Temporary(key, _) = held else { return None };
        self.drop_temporary(key)
    }

    fn drop_temporary(&self, key: &Key) -> Option<(Bytes, Timestamp)> {
        let mut world = self.port.world.inner();
        let place = &mut world.places[self.port.place];
        let time = place.times.remove(key.as_str());
        let (_, content) = place.temporaries.remove(key.as_str())?;
        Some((content, time.unwrap_or_default()))
    }

    /// Renames one temporary to its name, if what has the name is what was planned.
    fn place_one(&self, staged: &Staged) -> Result<File> {
        let target = &staged.target;
        let name = target.key.as_str();
        let (content, modified) =
            self.drop_held(&staged.held).ok_or_else(|| changed(&target.key, "lost its temporary"))?;
        if target.replaces.is_none() {
            self.check_spelling(&target.key)?;
        }
        let mut world = self.port.world.inner();
        let (machine, at) = (self.port.machine, self.port.place);
        let place = &world.places[at];
        let is_as_planned = match &target.replaces {
            Some(old) => place.expect(old).is_some(),
            None => {
                !place.files.contains_key(name)
                    && !place.is_in_the_way(name)
                    && !place.is_folder_of_ours(name)
            }
        };
        if !is_as_planned {
            return Err(changed(&target.key, "is not what was planned"));
        }
        world.judge_showing(machine, at, name, &content, target.replaces.as_ref());
        // It keeps the number of its temporary.
        let inode = number_of(&staged.held).unwrap_or_else(|| world.next_inode());
        let (now, tick) = (world.now_at(at), world.tick);
        let place = &mut world.places[at];
        place.begin(&[name]);
        if let (Some(old), Disposal::Trash { run }) = (place.files.get(name).cloned(), &target.disposal) {
            place.trash.push((run.clone(), old.content));
        }
        let (modified, changed) = (place.stamp(modified), place.stamp(now));
        let file =
            File { etag: place.etag(&content, inode), content, modified, changed, inode, written_by: None };
        place.set(name, file.clone(), tick);
        Ok(file)
    }

    /// Makes everything durable that was done before.
    async fn sync(&self, name: &str) -> Result<()> {
        let fate = self.port.call("sync", name).await;
        let mut world = self.port.world.inner();
        // After a failure nobody knows what is durable; here it is, for the next run will find it visible.
        world.places[self.port.place].pending.clear();
        let fate = fate?;
        // A client waits here until the stamps it made prove something.
        world.pass(Duration::from_millis(20));
        if fate == Fate::AnswerLost { Err(undone(name)) } else { Ok(()) }
    }

    /// Looks at a version that was just made; it must still be that one.
    fn look(&self, key: &Key, ours: &File) -> Result<Entry> {
        let listed = self.port.world.inner().listed(self.port.place, key.as_str());
        let now = listed.map(|mut entry| {
            // In whole seconds an edit can have the stamps of the moment before.
            if let Fingerprint::File(stat) = &mut entry.fingerprint {
                stat.settled &= stat.changed.nanoseconds != 0;
            }
            entry
        });
        let is_ours = |entry: &Entry| {
            entry.size == ours.content.len() as u64
                && matches!(entry.fingerprint, Fingerprint::File(stat)
                    if (stat.inode, stat.modified, stat.changed) == (ours.inode, ours.modified, ours.changed))
        };
        let ours =
            now.filter(is_ours).ok_or_else(|| changed(key, "was changed just after it was written"))?;
        Ok(self.told(ours))
    }

    async fn publish_all(&self, staged: Vec<Staged>) -> Vec<Result<Entry>> {
        let first = staged.first().map(|one| one.target.key.as_str().to_owned()).unwrap_or_default();
        if let Err(error) = self.port.call("publish", &first).await {
            for one in &staged {
                drop(self.drop_held(&one.held));
            }
            return staged.iter().map(|_| Err(Error::new(error.kind(), error.chain()))).collect();
        }
        let mut placed = Vec::new();
        for one in &staged {
            self.port.tick("place", one.target.key.as_str()).await;
            placed.push(self.place_one(one));
        }
        if let Err(error) = self.sync(&first).await {
            return staged.iter().map(|_| Err(Error::new(error.kind(), error.chain()))).collect();
        }
        let looked = placed.into_iter().zip(&staged);
        looked.map(|(file, one)| self.look(&one.target.key, &file?)).collect()
    }

    async fn rename_file(&self, from: &Entry, to: &Key) -> Result<Entry> {
        let (old, new) = (from.key.as_str(), to.as_str());
        self.port.call("rename", old).await?;
        // What only answers because it is itself may be spelled anew.
        if self.port.world.inner().places[self.port.place].spelling(new) != old {
            self.check_spelling(to)?;
        }
        let file = {
            let mut world = self.port.world.inner();
            let (machine, at) = (self.port.machine, self.port.place);
            let place = &world.places[at];
            let is_free = !place.files.contains_key(new) && !place.is_in_the_way(new);
            let Some(file) = place.expect(from).filter(|_| is_free).cloned() else {
                return Err(changed(&from.key, "cannot be renamed"));
            };
            world.judge_renaming(machine, at, old, new);
            let (now, tick) = (world.now_at(at), world.tick);
            let place = &mut world.places[at];
            place.begin(&[old, new]);
            place.take(old, tick);
            place.free_inode = None;
            let file = File { changed: place.stamp(now), ..file };
            place.set(new, file.clone(), tick);
            file
        };
        self.sync(new).await?;
        self.look(to, &file)
    }

    async fn remove_all(&self, entries: Vec<Entry>, disposal: &Disposal) -> Vec<Result<()>> {
        let first = entries.first().map(|entry| entry.key.as_str().to_owned()).unwrap_or_default();
        if let Err(error) = self.port.call("remove", &first).await {
            return entries.iter().map(|_| Err(Error::new(error.kind(), error.chain()))).collect();
        }
        let mut results = Vec::new();
        for entry in &entries {
            self.port.tick("set aside", entry.key.as_str()).await;
            results.push(self.remove_one(entry, disposal));
        }
        match self.sync(&first).await {
            Ok(()) => results,
            Err(error) => entries.iter().map(|_| Err(Error::new(error.kind(), error.chain()))).collect(),
        }
    }

    fn remove_one(&self, entry: &Entry, disposal: &Disposal) -> Result<()> {
        let mut world = self.port.world.inner();
        let (machine, at, name) = (self.port.machine, self.port.place, entry.key.as_str());
        if world.places[at].expect(entry).is_none() {
            return Err(changed(&entry.key, "is no longer the version that was listed"));
        }
        world.judge_removing(machine, at, entry, disposal);
        let tick = world.tick;
        let place = &mut world.places[at];
        place.begin(&[name]);
        if let (Some(file), Disposal::Trash { run }) = (place.take(name, tick), disposal) {
            place.trash.push((run.clone(), file.content));
        }
        Ok(())
    }
}

impl StorageClient for SimFolder {
    fn location(&self) -> &str {
        &self.location
    }

    fn is_folder(&self) -> bool {
        true
    }

    fn root(&self) -> BoxFuture<'_, Result<Option<RootIdentity>>> {
        async {
            self.port.call("root", "").await?;
            let inode = self.port.world.inner().places[self.port.place].root;
            Ok(Some(RootIdentity { device: 1, inode, file_system: Some(7) }))
        }
        .boxed()
    }

    fn create_root(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn distrust_inodes(&self) {
        if !self.distrusts.swap(true, Ordering::Relaxed) {
            self.port.world.inner().note("inode numbers found not to last");
        }
    }

    fn folds_names(&self, _: bool) -> BoxFuture<'_, Result<bool>> {
        async { Ok(self.port.world.inner().places[self.port.place].folds()) }.boxed()
    }

    fn tells_apart<'a>(&'a self, a: &'a Key, b: &'a Key, _: bool) -> BoxFuture<'a, Result<bool>> {
        async move {
            self.port.call("ask about names", a.as_str()).await?;
            let folds = self.port.world.inner().places[self.port.place].folds();
            Ok(!(folds && are_alike(a.as_str(), b.as_str())))
        }
        .boxed()
    }

    fn spelled<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Respelled>>> {
        async move {
            self.port.call("ask for a name", key.as_str()).await?;
            let listed = self.port.world.inner().places[self.port.place].spelling(key.as_str());
            let mut pairs = prefixes(key.as_str()).zip(prefixes(&listed));
            let Some((asked, listed)) = pairs.find(|(asked, listed)| asked != listed) else {
                return Ok(None);
            };
            let key = |name: &str| Key::parse(name).unwrap();
            Ok(Some(Respelled { asked: key(asked), listed: key(listed) }))
        }
        .boxed()
    }

    fn respell_folder<'a>(&'a self, from: &'a Key, to: &'a Key) -> BoxFuture<'a, Result<()>> {
        async move {
            self.port.call("respell", from.as_str()).await?;
            {
                let mut world = self.port.world.inner();
                let (machine, at) = (self.port.machine, self.port.place);
                if world.places[at].spelling(to.as_str()) != from.as_str() {
                    return Err(changed(from, "is no longer spelled as it was"));
                }
                let inside = |name: &String| Key::parse(name).unwrap().is_below(from.as_str());
                let names: Vec<String> =
                    world.places[at].files.keys().filter(|name| inside(name)).cloned().collect();
                let tick = world.tick;
                for name in &names {
                    let new = format!("{to}{}", &name[from.as_str().len()..]);
                    world.judge_renaming(machine, at, name, &new);
                    let place = &mut world.places[at];
                    place.begin(&[name, &new]);
                    let Some(file) = place.take(name, tick) else { continue };
                    place.free_inode = None;
                    place.set(&new, file, tick);
                }
                let place = &mut world.places[at];
                let temporaries: Vec<String> =
                    place.temporaries.keys().filter(|name| inside(name)).cloned().collect();
                for name in temporaries {
                    let new = format!("{to}{}", &name[from.as_str().len()..]);
                    if let Some(held) = place.temporaries.remove(&name) {
                        place.temporaries.insert(new, held);
                    }
                }
            }
            self.sync(to.as_str()).await
        }
        .boxed()
    }

    fn list(&self, request: ListRequest) -> BoxStream<'_, Result<Listed>> {
        let tags = request.leftover_tags;
        let items = stream::try_unfold(None::<String>, move |after| {
            let tags = tags.clone();
            async move {
                let Some(after) = after else {
                    self.port.world.inner().look_again(self.port.machine);
                    // Rules come before anything else in their folder.
                    return Ok(Some((Listed::Rules(String::new(), self.rules()), Some(String::new()))));
                };
                self.port.call("walk", &after).await?;
                let Some(met) = self.next(&after) else { return Ok(None) };
                let listed = match met {
                    Met::File(entry) => Listed::File(self.told(entry)),
                    Met::Temporary(key, tag) if tags.contains(&tag) => Listed::Leftover(key),
                    Met::Temporary(key, _) => Listed::Foreign(key),
                    Met::Unreadable(key) => Listed::Unknown(key.clone(), denied(&key)),
                };
                let position = listed.position().into_owned();
                Ok(Some((listed, Some(position))))
            }
        });
        items.boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Listed>>> {
        async move {
            self.port.call("head", key.as_str()).await?;
            if self.is_hidden(key) {
                return Ok(Some(Listed::Unknown(key.clone(), denied(key))));
            }
            let found = {
                let world = self.port.world.inner();
                let place = &world.places[self.port.place];
                let now = world.now(self.port.machine);
                place.files.get(key.as_str()).map(|file| place.entry(key.as_str(), file, now))
            };
            Ok(found.map(|entry| Listed::File(self.told(entry))))
        }
        .boxed()
    }

    fn read<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Body>> {
        async move {
            if self.port.call("read", entry.key.as_str()).await? == Fate::AnswerLost {
                return Err(lost(entry.key.as_str()));
            }
            if self.is_hidden(&entry.key) {
                return Err(denied(&entry.key));
            }
            let world = self.port.world.inner();
            let place = &world.places[self.port.place];
            let file = place.expect(entry).ok_or_else(|| changed(&entry.key, "is another version"))?;
            Ok(self.port.body(entry, &file.content, true, false))
        }
        .boxed()
    }

    fn stage(&self, target: Target, body: Body) -> BoxFuture<'_, Result<Staged>> {
        self.take_in(target, body).boxed()
    }

    fn copy<'a>(&'a self, from: &'a Entry, target: Target) -> BoxFuture<'a, Result<Staged>> {
        async move {
            self.port.call("copy", from.key.as_str()).await?;
            self.check_spelling(&target.key)?;
            self.check_folder(&target.key)?;
            let found = {
                let world = self.port.world.inner();
                let place = &world.places[self.port.place];
                place.expect(from).map(|file| (file.content.clone(), file.modified))
            };
            let (content, modified) = found.ok_or_else(|| changed(&from.key, "is another version"))?;
            Ok(self.hold(target, content, Some(modified)))
        }
        .boxed()
    }

    fn publish(&self, staged: Vec<Staged>) -> BoxFuture<'_, Vec<Result<Entry>>> {
        self.publish_all(staged).boxed()
    }

    fn discard(&self, staged: Staged) -> BoxFuture<'_, ()> {
        async move { drop(self.drop_held(&staged.held)) }.boxed()
    }

    fn rename<'a>(&'a self, from: &'a Entry, to: &'a Key) -> BoxFuture<'a, Result<Entry>> {
        self.rename_file(from, to).boxed()
    }

    fn remove<'a>(&'a self, entries: Vec<Entry>, disposal: &'a Disposal) -> BoxFuture<'a, Vec<Result<()>>> {
        self.remove_all(entries, disposal).boxed()
    }

    fn sweep(&self, leftovers: Vec<Key>) -> BoxFuture<'_, Result<()>> {
        async move {
            self.port.call("sweep", "").await?;
            for key in leftovers {
                self.port.world.inner().note("temporaries swept");
                drop(self.drop_temporary(&key));
            }
            Ok(())
        }
        .boxed()
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
}

fn number_of(held: &Held) -> Option<u64> {
    match held {
        Held::Temporary(_, Fingerprint::File(stat)) => Some(stat.inode),
        _ => None,
    }
}
