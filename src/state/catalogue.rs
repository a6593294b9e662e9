//! Which states there are in a state directory, as their side-cars show it, and giving them other places there.
//!
//! A state lies under the name that its pair's locations make. One whose folder is away, because another one is in its
//! place, waits under that name and the first digits of its id: [`Layout::waiting`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use tokio::task::spawn_blocking;

use super::layout::{Layout, Sidecar, Trace, Whereabouts};
use super::lock::PairLock;
use super::open::{self, create, exists, lock_for_writing};
use super::scratch::Scratch;
use super::sled_store::{Home, SledStore, joined};
use super::tables::{Head, Tables, is_readable};
use super::{RowChange, StateStore, failure};
use crate::clock::{Clock, Entropy};
use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::mode::Sides;

/// How many rows of a copy are written at a time.
const ROWS_AT_ONCE: usize = 1000;

/// A state, as its side-car shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What its files are called.
    pub name: String,
    /// The id of its pair.
    pub pair_id: String,
    /// Where the pair was when it was synced last.
    pub at: Whereabouts,
}

/// Returns the state that is kept for the pair of these locations.
///
/// # Errors
/// Failures of the file system.
pub(super) async fn kept_at(dir: PathBuf, locations: Sides<String>) -> Result<Option<Kept>> {
    let layout = Layout::new(dir, &locations);
    joined(spawn_blocking(move || {
        if !exists(&layout.database())? {
            return Ok(None);
        }
        Ok(kept(&layout)?.map(|(pair_id, at)| {
            // Side-cars of earlier releases do not say it, but it is what the name is made of.
            let at = at.unwrap_or_else(|| Whereabouts { locations, ..Whereabouts::default() });
            Kept { name: layout.name, pair_id, at }
        }))
    }))
    .await
}

/// Returns all states that are kept and can be used.
///
/// # Errors
/// Failures of the file system.
pub(super) async fn all_kept(dir: PathBuf, scratch: PathBuf, entropy: Arc<dyn Entropy>) -> Result<Vec<Kept>> {
    joined(spawn_blocking(move || {
        let mut found = Vec::new();
        for name in names(&dir)? {
            let layout = Layout { dir: dir.clone(), name };
            // What is wrong with the state of another pair is told where that is opened.
            let Ok(Some((pair_id, at))) = kept(&layout) else { continue };
            let at = match at {
                Some(at) => Some(at),
                None => look_inside(&layout, &scratch, entropy.next_u64())?,
            };
            found.extend(at.map(|at| Kept { name: layout.name, pair_id, at }));
        }
        Ok(found)
    }))
    .await
}

/// Returns whether a state of this pair id is or was in a state directory, also one that was moved aside.
///
/// # Errors
/// Failures of the file system.
pub(super) async fn knows(dir: PathBuf, pair_id: String) -> Result<bool> {
    joined(spawn_blocking(move || {
        let of_id = |name: &String| Layout::is_of(&dir.join(name), &pair_id);
        Ok(file_names(&dir)?.iter().filter(|name| name.contains(".json")).any(of_id))
    }))
    .await
}

/// Returns what the side-car of a database says.
fn kept(layout: &Layout) -> Result<Option<(String, Option<Whereabouts>)>> {
    Ok(match layout.read_sidecar()? {
        Trace::Readable(sidecar) if is_readable(sidecar.schema) && !sidecar.pair_id.is_empty() => {
            Some((sidecar.pair_id, sidecar.at))
        }
        _ => None,
    })
}

/// Reads from a copy of a database what side-cars of earlier releases do not say. One that is in use or damaged says nothing.
fn look_inside(layout: &Layout, scratch: &Path, number: u64) -> Result<Option<Whereabouts>> {
    let looked = || -> Result<Option<Head>> {
        let lock = PairLock::shared(&layout.lock())?;
        let copy = Scratch::copy(&layout.database(), scratch, number)?;
        drop(lock);
        Tables::open(&copy.database())?.head()
    };
    match looked() {
        Ok(head) => Ok(head.and_then(|head| head.record.as_ref().map(Whereabouts::of))),
        Err(error)
            if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Corrupt | ErrorKind::Unsupported) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns the names under which there are a database and its side-car.
fn names(dir: &Path) -> Result<BTreeSet<String>> {
    let stems = file_names(dir)?.into_iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned));
    Ok(stems.filter(|stem| Layout::is_name(stem) && dir.join(stem).is_dir()).collect())
}

/// Returns the names in a state directory, which may not exist.
fn file_names(dir: &Path) -> Result<Vec<String>> {
    let failed = |error| failure(format!("read `{}`", dir.display()), error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Gives a state the place of the pair of `layout`. What is there waits for its own folders. The lock of that pair is held.
pub(super) async fn take_in(kept: &Kept, layout: &Layout, clock: &dyn Clock) -> Result<()> {
    if kept.name == layout.name {
        return Ok(());
    }
    let from = Layout { dir: layout.dir.clone(), name: kept.name.clone() };
    let _other = other_lock(&from, layout, clock).await?;
    let (to, now, coming) = (layout.clone(), clock.now(), kept.clone());
    joined(spawn_blocking(move || {
        // Whoever had the locks before may have done it.
        let is_of = |layout: &Layout| {
            Ok(id_of(layout)?.as_deref() == Some(&coming.pair_id) && exists(&layout.database())?)
        };
        if is_of(&to)? {
            return Ok(());
        }
        if !is_of(&from)? {
            let doing = format!("the state `{}` was taken up by another run", from.database().display());
            return Err(Error::new(ErrorKind::Locked, doing).with_hint("run again"));
        }
        make_wait(&to, &coming.pair_id, now)?;
        relocate(&from, &to, &coming.at)
    }))
    .await
}

/// Takes the lock of a place, unless it is that of another one, which is held.
async fn other_lock(layout: &Layout, held: &Layout, clock: &dyn Clock) -> Result<Option<PairLock>> {
    if layout.lock() == held.lock() {
        return Ok(None);
    }
    Ok(Some(lock_for_writing(layout, clock).await?))
}

/// Lets the state of a place wait for the folders that carry its id, as the state of another pair comes.
fn make_wait(layout: &Layout, coming: &str, now: Timestamp) -> Result<()> {
    if !exists(&layout.database())? {
        return match id_of(layout)? {
            // A kill came before the database did.
            Some(pair_id) if pair_id == coming => Ok(()),
            _ => layout.move_aside(&layout.sidecar(), "lost", now).map(drop),
        };
    }
    // Its side-car may be missing or torn, and the database sound.
    let head = match Tables::open(&layout.database()).and_then(|tables| tables.head()) {
        Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
        head => head.ok().flatten(),
    };
    if let Some(record) = head.and_then(|head| head.record) {
        let waiting = layout.waiting(&record.pair_id);
        make_room(&waiting, now)?;
        return relocate(layout, &waiting, &Whereabouts::of(&record));
    }
    layout.move_aside(&layout.database(), "lost", now)?;
    layout.move_aside(&layout.sidecar(), "lost", now).map(drop)
}

/// Returns the id that the side-car of a place tells, if it can be understood.
fn id_of(layout: &Layout) -> Result<Option<String>> {
    Ok(kept(layout)?.map(|(pair_id, _)| pair_id))
}

/// Moves aside what is under a name that something else is to have.
fn make_room(layout: &Layout, now: Timestamp) -> Result<()> {
    layout.move_aside(&layout.database(), "replaced", now)?;
    layout.move_aside(&layout.sidecar(), "replaced", now).map(drop)
}

/// Gives a state that tells of these whereabouts another name. In this order a kill leaves it under one of the two with
/// its side-car.
fn relocate(from: &Layout, to: &Layout, at: &Whereabouts) -> Result<()> {
    let failed = |error| {
        failure(
            format!("move the state `{}` to `{}`", from.database().display(), to.database().display()),
            error,
        )
    };
    match from.read_sidecar()? {
        Trace::Readable(sidecar) => to.put_sidecar(&Sidecar { at: Some(at.clone()), ..sidecar })?,
        // A database does without: it says itself what it is.
        Trace::None | Trace::Unreadable => {
            to.move_aside(&to.sidecar(), "lost", Timestamp::default())?;
        }
    }
    fs::rename(from.database(), to.database()).map_err(failed)?;
    to.sync_dir()?;
    match fs::remove_file(from.sidecar()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => to.sync_dir(),
    }
}

/// Keeps a copy of a state for the folders that carry its id, while the pair of its locations goes on under
/// another one.
///
/// # Errors
/// Failures of the file system.
pub(super) async fn keep_waiting(
    dir: PathBuf,
    state: &dyn StateStore,
    lock: PairLock,
    now: Timestamp,
) -> Result<()> {
    let Some(record) = state.pair_record() else { return Ok(()) };
    let layout = Layout::new(dir, &record.locations).waiting(&record.pair_id);
    let locations = record.locations.clone();
    let made = spawn_blocking(move || {
        make_room(&layout, now)?;
        let (tables, checked) = create(&layout.database(), &locations)?;
        Ok(SledStore::new(tables, checked, layout, 0, Home::Locked(lock)))
    });
    let copy = joined(made).await?;
    let mut rows = state.scan().try_chunks(ROWS_AT_ONCE);
    while let Some(chunk) = rows.try_next().await.map_err(|error| error.1)? {
        let changes: Vec<RowChange> = chunk.into_iter().map(|(key, row)| (key, Some(row))).collect();
        copy.record(changes).await?;
    }
    // Its side-car comes with this: without it nobody takes the copy for a state.
    copy.commit(record).await
}

/// Gives the state of a pair other locations; one that waits goes on waiting. Returns whether there was another state, which
/// is moved aside.
///
/// # Errors
/// [`ErrorKind::Locked`] if a run has one of the two pairs; [`ErrorKind::Corrupt`] for a state that is not sound; failures of
/// the file system.
pub async fn move_to(dir: PathBuf, kept: Kept, locations: Sides<String>, clock: &dyn Clock) -> Result<bool> {
    let from = Layout { dir: dir.clone(), name: kept.name.clone() };
    let home = Layout::new(dir, &locations);
    let is_waiting = from.name.contains('-');
    let to = if is_waiting { home.waiting(&kept.pair_id) } else { home };
    let one = lock_for_writing(&to, clock).await?;
    let other = other_lock(&from, &to, clock).await?;
    let now = clock.now();
    joined(spawn_blocking(move || {
        open::check_sound(&from, &kept)?;
        let mut replaces = false;
        if from.name != to.name {
            replaces = exists(&to.database())?;
            make_room(&to, now)?;
            relocate(&from, &to, &kept.at)?;
        }
        resettle(&Tables::open(&to.database())?, &to, &locations)?;
        drop((one, other));
        Ok(replaces)
    }))
    .await
}

/// Tells a database that nobody else uses that its pair is elsewhere now, durably. Returns its new head.
pub(super) fn resettle(tables: &Tables, layout: &Layout, locations: &Sides<String>) -> Result<Head> {
    let mut head = tables.head()?.unwrap_or_else(|| Head::fresh(locations.clone()));
    head.locations.clone_from(locations);
    if let Some(record) = &mut head.record {
        record.locations.clone_from(locations);
    }
    tables.put_head(&head)?;
    tables.sync()?;
    if let Some(record) = &head.record {
        layout.put_sidecar(&Sidecar::of(record, head.generation))?;
    }
    Ok(head)
}
