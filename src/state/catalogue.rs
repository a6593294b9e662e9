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

use super::layout::{Kept, Layout, Whereabouts, exists};
use super::lock::PairLock;
use super::open::{check_sound, create};
use super::patience::lock_for_writing;
use super::relocate::{make_room, other_lock, relocate, resettle};
use super::scratch::Scratch;
use super::sled_store::{Home, SledStore, joined};
use super::tables::{Head, Tables};
use super::{RowChange, StateStore, failure};
use crate::clock::{Clock, Entropy};
use crate::entry::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::side::Sides;

/// How many rows of a copy are written at a time.
const ROWS_AT_ONCE: usize = 1000;

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
        Ok(layout.kept()?.map(|(pair_id, at)| {
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
            let Ok(Some((pair_id, at))) = layout.kept() else { continue };
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
        check_sound(&from, &kept)?;
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
