//! Giving a state another place in the state directory, so that whatever moment a kill comes at it is found once and whole.

use std::fs;
use std::io;

use tokio::task::spawn_blocking;

use super::failure;
use super::layout::{Kept, Layout, Sidecar, Trace, Whereabouts, exists};
use super::lock::PairLock;
use super::patience::{in_use, lock_for_writing, patiently};
use super::tables::{Head, Tables, is_contended};
use crate::clock::Clock;
use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::side::Sides;

/// Gives a state the place of the pair of `layout`. What is there waits for its own folders. The lock of that pair is held.
pub(super) async fn take_in(kept: &Kept, layout: &Layout, clock: &dyn Clock) -> Result<()> {
    if kept.name == layout.name {
        return Ok(());
    }
    let from = Layout { dir: layout.dir.clone(), name: kept.name.clone() };
    let _other = other_lock(&from, layout, clock).await?;
    let now = clock.now();
    patiently(clock, is_contended, || {
        let (from, to, coming) = (from.clone(), layout.clone(), kept.clone());
        spawn_blocking(move || give_place(&from, &to, &coming, now))
    })
    .await
    .map_err(in_use)
}

fn give_place(from: &Layout, to: &Layout, coming: &Kept, now: Timestamp) -> Result<()> {
    // Whoever had the locks before may have done it.
    let is_of = |layout: &Layout| {
        Ok(id_of(layout)?.as_deref() == Some(&coming.pair_id) && exists(&layout.database())?)
    };
    if is_of(to)? {
        return Ok(());
    }
    if !is_of(from)? {
        let doing = format!("the state `{}` was taken up by another run", from.database().display());
        return Err(Error::new(ErrorKind::Locked, doing).with_hint("run again"));
    }
    make_wait(to, &coming.pair_id, now)?;
    relocate(from, to, &coming.at)
}

/// Takes the lock of a place, unless it is that of another one, which is held.
pub(super) async fn other_lock(
    layout: &Layout,
    held: &Layout,
    clock: &dyn Clock,
) -> Result<Option<PairLock>> {
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
    Ok(layout.kept()?.map(|(pair_id, _)| pair_id))
}

/// Moves aside what is under a name that something else is to have.
pub(super) fn make_room(layout: &Layout, now: Timestamp) -> Result<()> {
    layout.move_aside(&layout.database(), "replaced", now)?;
    layout.move_aside(&layout.sidecar(), "replaced", now).map(drop)
}

/// Gives a state that tells of these whereabouts another name. In this order a kill leaves it under one of the two with
/// its side-car.
pub(super) fn relocate(from: &Layout, to: &Layout, at: &Whereabouts) -> Result<()> {
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
