//! [`States`]: all states there are, as a run sees them; [`StateDir`] keeps them in a directory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::lock::PairLock;
use super::open::{Access, Opened, Wanted};
use super::{Found, Kept, StateStore, Whereabouts, catalogue, open};
use crate::clock::{Clock, Entropy};
use crate::error::Result;
use crate::side::Sides;

/// Keeps the states of pairs.
pub trait States: fmt::Debug + Send + Sync + 'static {
    /// Returns the state that is kept for the pair of these locations.
    fn kept_at(&self, locations: Sides<String>) -> BoxFuture<'_, Result<Option<Kept>>>;

    /// Returns all states that are kept and can be used.
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>>>;

    /// Returns whether anything is remembered of the pair of these locations.
    fn is_known(&self, locations: Sides<String>) -> BoxFuture<'_, Result<bool>>;

    /// Returns whether a state of this pair id is or was kept here.
    fn knows(&self, pair_id: String) -> BoxFuture<'_, Result<bool>>;

    /// Opens the state of a pair, for a run that writes alone or that only looks.
    fn open(&self, wanted: Wanted, access: Access) -> BoxFuture<'_, Result<Opened>>;

    /// Keeps a copy of an opened state for the folders that carry its id, while its pair goes on under another one.
    fn keep_waiting<'a>(&'a self, state: &'a dyn StateStore, lock: PairLock) -> BoxFuture<'a, Result<()>>;
}

/// States in a directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    /// The directory, which is made when it is first needed.
    pub dir: PathBuf,
    /// Where runs that only look copy a state to.
    pub scratch: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl States for StateDir {
    fn kept_at(&self, locations: Sides<String>) -> BoxFuture<'_, Result<Option<Kept>>> {
        catalogue::kept_at(self.dir.clone(), locations).boxed()
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>>> {
        catalogue::all_kept(self.dir.clone(), self.scratch.clone(), Arc::clone(&self.entropy)).boxed()
    }

    fn is_known(&self, locations: Sides<String>) -> BoxFuture<'_, Result<bool>> {
        open::is_known(self.dir.clone(), locations).boxed()
    }

    fn knows(&self, pair_id: String) -> BoxFuture<'_, Result<bool>> {
        catalogue::knows(self.dir.clone(), pair_id).boxed()
    }

    fn open(&self, wanted: Wanted, access: Access) -> BoxFuture<'_, Result<Opened>> {
        let Self { dir, scratch, clock, entropy } = self.clone();
        open(dir, wanted, access, scratch, clock, entropy).boxed()
    }

    fn keep_waiting<'a>(&'a self, state: &'a dyn StateStore, lock: PairLock) -> BoxFuture<'a, Result<()>> {
        catalogue::keep_waiting(self.dir.clone(), state, lock, self.clock.now()).boxed()
    }
}

/// One state for whatever pair is run. Nothing locks it.
#[derive(Debug)]
pub(crate) struct Single {
    store: Arc<dyn StateStore>,
    found: Found,
}

impl Single {
    pub(crate) fn new(store: Arc<dyn StateStore>, found: Found) -> Self {
        Self { store, found }
    }
}

impl States for Single {
    fn kept_at(&self, locations: Sides<String>) -> BoxFuture<'_, Result<Option<Kept>>> {
        // Whatever pair it was made for, it is the one of this pair.
        let at = Whereabouts { locations, ..Whereabouts::default() };
        let record = self.store.pair_record();
        ready(Ok(record.map(|record| Kept { name: String::new(), pair_id: record.pair_id, at }))).boxed()
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn is_known(&self, _: Sides<String>) -> BoxFuture<'_, Result<bool>> {
        ready(Ok(false)).boxed()
    }

    fn knows(&self, _: String) -> BoxFuture<'_, Result<bool>> {
        ready(Ok(true)).boxed()
    }

    fn open(&self, _: Wanted, _: Access) -> BoxFuture<'_, Result<Opened>> {
        // One that has a record has been used since it was handed in.
        let found = if self.store.pair_record().is_some() { Found::Intact } else { self.found.clone() };
        let opened = Opened { store: Arc::clone(&self.store), found, lock: PairLock::default() };
        ready(Ok(opened)).boxed()
    }

    fn keep_waiting<'a>(&'a self, _: &'a dyn StateStore, _: PairLock) -> BoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed()
    }
}
