//! Opening the state of a pair: lock, look at every byte, and say what was found.
//!
//! A base that is damaged, older than its side-car, or not this pair's is [`Found::Lost`]. It is moved aside,
//! never deleted or repaired, and an empty store takes its place; the side-car stays until the next commit,
//! so that a run killed in between does not make a lost base look like one that never was. A run that only
//! reads works on a copy and writes nothing at all in the state directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::failure;
use super::layout::{self, Kept, Layout, Sidecar, Trace, exists};
use super::lock::PairLock;
use super::memory::MemoryState;
use super::patience::{in_use, is_locked, lock_for_writing, patiently};
use super::read_only::ReadOnly;
use super::relocate::{resettle, take_in};
use super::scratch::Scratch;
use super::sled_store::{Checked, Home, SledStore, joined};
use super::tables::{Head, SCHEMA, Tables, is_contended, is_readable};
use super::{Found, StateStore, fold};
use crate::clock::{Clock, Entropy};
use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::side::Sides;

/// What a run wants to do with the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and write it; no other run may have it open.
    Write,
    /// Look at it without a trace, as plans, dry runs and status do.
    ReadOnly,
}

/// The state of a pair.
#[derive(Debug)]
pub struct Opened {
    /// The base: as it was, or empty.
    pub store: Arc<dyn StateStore>,
    /// What there was.
    pub found: Found,
    /// Keeps other runs off the pair. The store holds it too.
    pub lock: PairLock,
}

/// Which state is to be opened.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where the pair is now: what [`StorageClient::identity`] returns for each side.
    ///
    /// [`StorageClient::identity`]: crate::StorageClient::identity
    pub locations: Sides<String>,
    /// The state that is the pair's although it lies under another name or tells of other locations. What lies under
    /// the name of these locations then waits.
    pub found: Option<Kept>,
}

/// Opens the state of a pair.
///
/// `scratch` is where a copy is made for [`Access::ReadOnly`]; it must not be in the state directory.
///
/// # Errors
/// [`ErrorKind::Locked`] if another run has the pair. Otherwise only what says nothing about the base (no
/// permission, no space, no descriptors): a base that cannot be read is no error but [`Found::Lost`].
pub async fn open(
    dir: PathBuf,
    wanted: Wanted,
    access: Access,
    scratch: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Opened> {
    let Wanted { locations, found } = wanted;
    let layout = Layout::new(dir, &locations);
    let places = Places { now: locations, pair_id: found.as_ref().map(|kept| kept.pair_id.clone()) };
    match access {
        Access::Write => {
            let lock = lock_for_writing(&layout, clock.as_ref()).await?;
            if let Some(kept) = &found {
                take_in(kept, &layout, clock.as_ref()).await?;
            }
            patiently(clock.as_ref(), is_contended, || {
                let (layout, places, lock) = (layout.clone(), places.clone(), lock.clone());
                let now = clock.now();
                spawn_blocking(move || open_locked(layout, &places, lock, now))
            })
            .await
            .map_err(in_use)
        }
        Access::ReadOnly => {
            let number = entropy.next_u64();
            let layout = found.map_or(layout.clone(), |kept| Layout { name: kept.name, ..layout });
            patiently(clock.as_ref(), is_locked, || {
                let (layout, places, scratch) = (layout.clone(), places.clone(), scratch.clone());
                spawn_blocking(move || open_copy(layout, &places, &scratch, number))
            })
            .await
        }
    }
}

/// Says why somebody else could change what is remembered in the state directory `dir`, if somebody could.
pub async fn exposure(dir: PathBuf) -> Option<&'static str> {
    joined(spawn_blocking(move || Ok(layout::exposure(&dir)))).await.ok().flatten()
}

/// Returns whether anything is remembered of the pair of these locations.
///
/// # Errors
/// Failures of the file system.
pub(super) async fn is_known(dir: PathBuf, locations: Sides<String>) -> Result<bool> {
    let layout = Layout::new(dir, &locations);
    joined(spawn_blocking(move || Ok(exists(&layout.database())? || exists(&layout.sidecar())?))).await
}

/// Moves the state of a pair aside, so that its next sync is its first. Returns whether there was any.
///
/// # Errors
/// [`ErrorKind::Locked`] if a run has the pair; failures of the file system.
pub async fn forget(dir: PathBuf, wanted: Wanted, clock: Arc<dyn Clock>) -> Result<bool> {
    let own = Layout::new(dir, &wanted.locations);
    let layout = wanted.found.map_or(own.clone(), |kept| Layout { name: kept.name, ..own });
    let looked = layout.clone();
    let exists = spawn_blocking(move || Ok(exists(&looked.database())? || exists(&looked.sidecar())?));
    if !joined(exists).await? {
        return Ok(false);
    }
    let lock = lock_for_writing(&layout, clock.as_ref()).await?;
    let now = clock.now();
    joined(spawn_blocking(move || {
        // In this order a kill in between leaves a lost base, not an unknown one.
        let database = layout.move_aside(&layout.database(), "forgotten", now)?;
        let sidecar = layout.move_aside(&layout.sidecar(), "forgotten", now)?;
        drop(lock);
        Ok(database || sidecar)
    }))
    .await
}

/// How the state of a pair is known: by where the pair is, or by its id, wherever the state says that it was. Kills can
/// leave the place before last in a database.
#[derive(Debug, Clone)]
struct Places {
    now: Sides<String>,
    pair_id: Option<String>,
}

impl Places {
    fn are_of(&self, head: &Head) -> bool {
        let tells = head.record.as_ref().map(|record| &record.pair_id);
        head.locations == self.now || (tells.is_some() && tells == self.pair_id.as_ref())
    }
}

/// Opens the state in place.
fn open_locked(layout: Layout, places: &Places, lock: PairLock, now: Timestamp) -> Result<Opened> {
    let path = layout.database();
    let trace = layout.read_sidecar()?;
    layout.move_strays_aside(now)?;
    let known_generation = match &trace {
        Trace::Readable(sidecar) if is_readable(sidecar.schema) => sidecar.generation,
        _ => 0,
    };
    let (tables, checked, found, floor) = match inspect(&path, places, &trace)? {
        Inspected::Usable(tables, mut checked, found) => {
            if checked.head.locations != places.now {
                checked.head = resettle(&tables, &layout, &places.now)?;
            }
            (tables, *checked, found, known_generation)
        }
        Inspected::Absent(found) => {
            let (tables, checked) = create(&path, &places.now)?;
            (tables, checked, found, known_generation)
        }
        Inspected::Bad(why) => {
            let floor = give_up(&layout, &trace, known_generation, now)?;
            let (tables, checked) = create(&path, &places.now)?;
            (tables, checked, Found::Lost { why }, floor)
        }
    };
    let checked = finish_fold(&tables, checked)?;
    crate::ownership::give_back(&layout.dir);
    let store = SledStore::new(tables, checked, layout, floor, Home::Locked(lock.clone()));
    Ok(Opened { store: Arc::new(store), found, lock })
}

/// Opens a copy of the state. The lock is held no longer than the copying takes.
fn open_copy(layout: Layout, places: &Places, place: &Path, number: u64) -> Result<Opened> {
    let lock = PairLock::shared(&layout.lock())?;
    let trace = layout.read_sidecar()?;
    let copy = if has_files(&layout.database())? {
        Some(Scratch::copy(&layout.database(), place, number)?)
    } else {
        None
    };
    drop(lock);
    let nowhere = |found| Opened {
        store: Arc::new(ReadOnly(MemoryState::new())) as Arc<dyn StateStore>,
        found,
        lock: PairLock::default(),
    };
    let Some(copy) = copy else { return Ok(nowhere(judge_absence(&trace))) };
    Ok(match inspect(&copy.database(), places, &trace)? {
        Inspected::Usable(tables, checked, Found::Intact) => {
            let store = SledStore::new(tables, *checked, layout, 0, Home::Copy(copy));
            Opened { store: Arc::new(ReadOnly(store)), found: Found::Intact, lock: PairLock::default() }
        }
        Inspected::Usable(_, _, found) | Inspected::Absent(found) => nowhere(found),
        Inspected::Bad(why) => nowhere(Found::Lost { why }),
    })
}

/// Checks that a state can be used as it is.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it would be given up; failures of the file system.
pub(super) fn check_sound(layout: &Layout, kept: &Kept) -> Result<()> {
    let places = Places { now: kept.at.locations.clone(), pair_id: Some(kept.pair_id.clone()) };
    let why = match inspect(&layout.database(), &places, &layout.read_sidecar()?)? {
        Inspected::Usable(_, _, Found::Intact) => return Ok(()),
        Inspected::Usable(_, _, Found::Lost { why })
        | Inspected::Absent(Found::Lost { why })
        | Inspected::Bad(why) => why,
        Inspected::Usable(..) | Inspected::Absent(_) => "nothing is recorded in it".into(),
    };
    let doing = format!("use the state `{}`: {why}", layout.database().display());
    Err(Error::new(ErrorKind::Corrupt, doing).with_hint("the next sync of the pair makes a new one"))
}

/// What lies in the place of a database.
enum Inspected {
    /// One that can be used: with the base in it, or empty.
    Usable(Tables, Box<Checked>, Found),
    /// None.
    Absent(Found),
    /// One that must not be used.
    Bad(String),
}

fn inspect(path: &Path, places: &Places, trace: &Trace) -> Result<Inspected> {
    if !has_files(path)? {
        return Ok(Inspected::Absent(judge_absence(trace)));
    }
    match Tables::open(path).and_then(|tables| check(&tables, &places.now).map(|checked| (tables, checked))) {
        Ok((tables, checked)) => Ok(match judge(&checked, places, trace) {
            Found::Lost { why } if !checked.is_unused() => Inspected::Bad(why),
            found => Inspected::Usable(tables, Box::new(checked), found),
        }),
        // These say something about the system, not about the base.
        Err(error)
            if is_contended(&error)
                || matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied
                        | ErrorKind::NoSpace
                        | ErrorKind::Unavailable
                        | ErrorKind::Unsupported
                ) =>
        {
            Err(error)
        }
        Err(error) => Ok(Inspected::Bad(error.chain())),
    }
}

fn has_files(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // A file in the place of the directory is damage.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(error) => Err(failure(format!("read `{}`", path.display()), error)),
    }
}

/// Reads everything in the database, keeping only what the journal changes.
fn check(tables: &Tables, locations: &Sides<String>) -> Result<Checked> {
    let head = match tables.head()? {
        Some(head) => head,
        None => begin(tables, locations)?,
    };
    let (overlay, next_record) = tables.read_journal(&head)?;
    tables.verify(&head, &overlay)?;
    Ok(Checked { head, overlay, next_record })
}

fn begin(tables: &Tables, locations: &Sides<String>) -> Result<Head> {
    let head = Head::fresh(locations.clone());
    tables.put_head(&head)?;
    tables.sync()?;
    Ok(head)
}

pub(super) fn create(path: &Path, locations: &Sides<String>) -> Result<(Tables, Checked)> {
    crate::ownership::create_private(path)
        .map_err(|error| failure(format!("create `{}`", path.display()), error))?;
    let tables = Tables::open(path)?;
    let checked = check(&tables, locations)?;
    Ok((tables, checked))
}

/// Ends a fold that a kill cut off: what it has begun must be over before anything is recorded.
fn finish_fold(tables: &Tables, checked: Checked) -> Result<Checked> {
    if !checked.head.folding {
        return Ok(checked);
    }
    let head = fold::fold(tables, &checked.head, &checked.overlay, checked.next_record)?;
    Ok(Checked { head, overlay: super::tables::Overlay::new(), next_record: checked.next_record })
}

impl Checked {
    /// Returns whether nothing was ever recorded here.
    fn is_unused(&self) -> bool {
        self.head.record.is_none()
            && self.head.generation == 0
            && self.head.rows == 0
            && self.overlay.is_empty()
    }
}

fn judge_absence(trace: &Trace) -> Found {
    match trace {
        Trace::None => Found::Nothing,
        _ => lost("it is gone, though its side-car is there"),
    }
}

/// Says what a database that is sound in itself means beside its side-car.
fn judge(checked: &Checked, places: &Places, trace: &Trace) -> Found {
    let Head { generation, record, .. } = &checked.head;
    if !places.are_of(&checked.head)
        || record.as_ref().is_some_and(|record| record.locations != checked.head.locations)
    {
        return lost("it belongs to another pair");
    }
    match (trace, record) {
        (Trace::None, None) if checked.is_unused() => Found::Nothing,
        (Trace::None, None) => lost("it has rows but was never committed"),
        (_, None) => lost("it is empty, though its side-car says there was a base"),
        (Trace::Readable(sidecar), _) if !is_readable(sidecar.schema) => {
            lost(&format!("its side-car is of schema {}, this program knows {SCHEMA}", sidecar.schema))
        }
        (Trace::Readable(sidecar), _) if *generation < sidecar.generation => lost(&format!(
            "it is an older copy: generation {generation}, its side-car says {}",
            sidecar.generation
        )),
        (Trace::Readable(sidecar), Some(record))
            if *generation == sidecar.generation && record.pair_id != sidecar.pair_id =>
        {
            lost("its side-car belongs to another pair")
        }
        // The side-car is written last: it may be missing, torn by a restore, or behind.
        (_, Some(_)) => Found::Intact,
    }
}

fn lost(why: &str) -> Found {
    Found::Lost { why: why.into() }
}

/// Moves a database that must not be used aside. Returns the generation the next one must exceed.
fn give_up(layout: &Layout, trace: &Trace, known_generation: u64, now: Timestamp) -> Result<u64> {
    let mut floor = known_generation;
    match trace {
        // Without it a kill from here on would make the base look like one that never was.
        Trace::None => {
            floor = 1;
            layout.put_sidecar(&Sidecar::trace(floor))?;
        }
        Trace::Readable(sidecar) if is_readable(sidecar.schema) => {}
        _ => layout.copy_sidecar_aside("lost", now)?,
    }
    layout.move_aside(&layout.database(), "lost", now)?;
    Ok(floor)
}
