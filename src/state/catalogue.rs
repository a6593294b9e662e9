//! Which states there are in a state directory, as their side-cars show it, and giving them other places there.
//!
//! A state lies under the name that its pair's locations make. One whose folder is away, because another one is in its
//! place, waits under that name and the first digits of its id: [`Layout::waiting`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use tokio::task::spawn_blocking;

use super::layout::{Layout, Sidecar, Trace, Whereabouts};
use super::lock::PairLock;
use super::open::{create, exists, lock_for_writing};
use super::sled_store::{Home, SledStore, joined};
use super::tables::{Head, Tables, is_readable};
use super::{PairRecord, RowChange, StateStore, failure};
use crate::client::RootIdentity;
use crate::clock::Clock;
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
pub(super) async fn all_kept(dir: PathBuf) -> Result<Vec<Kept>> {
    joined(spawn_blocking(move || {
        let mut found = Vec::new();
        for name in names(&dir)? {
            let layout = Layout { dir: dir.clone(), name };
            let Some((pair_id, at)) = kept(&layout)? else { continue };
            if let Some(at) = at.or_else(|| look_inside(&layout)) {
                found.push(Kept { name: layout.name, pair_id, at });
            }
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

/// Reads from a database itself what side-cars of earlier releases do not say. One that cannot be opened now is none.
fn look_inside(layout: &Layout) -> Option<Whereabouts> {
    let head = Tables::open(&layout.database()).ok()?.head().ok()??;
    head.record.as_ref().map(Whereabouts::of)
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
    let (to, now, pair_id) = (layout.clone(), clock.now(), kept.pair_id.clone());
    joined(spawn_blocking(move || {
        make_wait(&to, &pair_id, now)?;
        relocate(&from, &to)
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
    match (kept(layout)?, exists(&layout.database())?) {
        (Some((pair_id, _)), true) => {
            let waiting = layout.waiting(&pair_id);
            make_room(&waiting, now)?;
            relocate(layout, &waiting)
        }
        // A kill came before the database did.
        (Some((pair_id, _)), false) if pair_id == coming => Ok(()),
        _ => {
            layout.move_aside(&layout.database(), "lost", now)?;
            layout.move_aside(&layout.sidecar(), "lost", now).map(drop)
        }
    }
}

/// Moves aside what is under a name that something else is to have.
fn make_room(layout: &Layout, now: Timestamp) -> Result<()> {
    layout.move_aside(&layout.database(), "replaced", now)?;
    layout.move_aside(&layout.sidecar(), "replaced", now).map(drop)
}

/// Gives a state another name. In this order a kill leaves it under one of the two with its side-car.
fn relocate(from: &Layout, to: &Layout) -> Result<()> {
    let failed = |error| {
        failure(
            format!("move the state `{}` to `{}`", from.database().display(), to.database().display()),
            error,
        )
    };
    fs::copy(from.sidecar(), to.sidecar()).map_err(failed)?;
    fs::rename(from.database(), to.database()).map_err(failed)?;
    fs::remove_file(from.sidecar()).map_err(failed)?;
    to.sync_dir()
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

/// Gives the state of a pair other locations, and the root that one of its sides has there. Returns whether there was
/// another state, which is moved aside.
///
/// # Errors
/// [`ErrorKind::Locked`] if a run has one of the two pairs; failures of the file system.
pub async fn move_to(
    dir: PathBuf,
    kept: Kept,
    (locations, roots): (Sides<String>, Sides<Option<RootIdentity>>),
    clock: &dyn Clock,
) -> Result<bool> {
    let from = Layout { dir: dir.clone(), name: kept.name };
    let to = Layout::new(dir, &locations);
    let one = lock_for_writing(&to, clock).await?;
    let other = other_lock(&from, &to, clock).await?;
    let now = clock.now();
    joined(spawn_blocking(move || {
        let mut replaces = false;
        if from.name != to.name {
            replaces = exists(&to.database())?;
            make_room(&to, now)?;
            relocate(&from, &to)?;
        }
        let tables = Tables::open(&to.database())?;
        rewrite(&tables, &to, |record| {
            record.locations.clone_from(&locations);
            record.roots = roots;
        })?;
        drop((one, other));
        Ok(replaces)
    }))
    .await
}

/// Tells a database that its pair is elsewhere now. Returns its new head.
pub(super) fn resettle(tables: &Tables, layout: &Layout, locations: &Sides<String>) -> Result<Head> {
    rewrite(tables, layout, |record| record.locations.clone_from(locations))
}

/// Changes the record of a database that nobody else uses, durably.
fn rewrite(tables: &Tables, layout: &Layout, change: impl FnOnce(&mut PairRecord)) -> Result<Head> {
    let nothing = || {
        let doing = format!("move the state `{}`: nothing is recorded in it", layout.database().display());
        Error::new(ErrorKind::Corrupt, doing)
    };
    let mut head = tables.head()?.ok_or_else(nothing)?;
    let mut record = head.record.take().ok_or_else(nothing)?;
    change(&mut record);
    head.locations.clone_from(&record.locations);
    let sidecar = Sidecar::of(&record, head.generation);
    head.record = Some(record);
    tables.put_head(&head)?;
    tables.sync()?;
    layout.put_sidecar(&sidecar)?;
    Ok(head)
}
