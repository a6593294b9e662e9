//! The state directory of a computer: the states of its pairs, each with the name that its locations make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt};
use syncengine::state::{
    Access, Found, Kept, Opened, PairLock, PairRecord, StateStore, States, Wanted, Whereabouts,
};
use syncengine::{Result, Side, Sides};

use super::base::{Content, SimState};
use super::port::Port;

#[derive(Debug)]
struct Shelf {
    kept: BTreeMap<String, Arc<SimState>>,
    /// The pairs that ever had a state here.
    known: BTreeSet<String>,
    /// What is said where there is none.
    found: Found,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), known: BTreeSet::new(), found: Found::Nothing }
    }
}

/// States on a simulated disk.
#[derive(Debug)]
pub(crate) struct SimStates {
    port: Port,
    /// The name of the state of the port's machine, where its places are.
    home: String,
    shelf: Mutex<Shelf>,
}

/// Returns the name of the state of these locations.
fn name_of(locations: &Sides<String>) -> String {
    format!("{}|{}", locations.source, locations.destination)
}

fn seen(name: &str, state: &SimState) -> Option<Kept> {
    let record = state.pair_record()?;
    Some(Kept { name: name.to_owned(), pair_id: record.pair_id.clone(), at: Whereabouts::of(&record) })
}

impl SimStates {
    pub(crate) fn new(port: Port, contents: BTreeMap<String, Content>) -> Self {
        let sides = port.world.inner().machines[port.machine].sides;
        let place = |side: Side| Port { place: *sides.get(side), ..port.clone() }.location();
        let home = name_of(&Sides::new(place(Side::Source), place(Side::Destination)));
        let states = Self { port, home, shelf: Mutex::default() };
        for (name, content) in contents {
            states.put(&name, content);
        }
        states
    }

    /// Returns what is kept, by name.
    pub(crate) fn contents(&self) -> BTreeMap<String, Content> {
        self.shelf().kept.iter().map(|(name, state)| (name.clone(), state.content())).collect()
    }

    /// Returns the state of the port's machine, where its places are.
    pub(crate) fn current(&self) -> Arc<SimState> {
        let fresh = || Arc::new(SimState::new(self.port.clone(), Content::default()));
        self.shelf().kept.get(&self.home).cloned().unwrap_or_else(fresh)
    }

    /// Replaces it by what is left of it.
    pub(crate) fn set_current(&self, content: Content) {
        self.put(&self.home, content);
    }

    /// Replaces everything by one state of the machine's pair, and what is said where there is none.
    pub(crate) fn replace(&self, content: Content, found: Found) {
        {
            let mut shelf = self.shelf();
            shelf.kept.clear();
            shelf.found = found;
        }
        if content.record.is_some() {
            self.set_current(content);
        }
    }

    /// Replaces everything by these states, and what is said where there is none.
    pub(crate) fn replace_all(&self, contents: BTreeMap<String, Content>, found: Found) {
        self.replace(Content::default(), found);
        for (name, content) in contents {
            self.put(&name, content);
        }
    }

    /// Returns what is said where there is no state.
    pub(crate) fn found(&self) -> Found {
        self.shelf().found.clone()
    }

    fn put(&self, name: &str, content: Content) {
        let mut shelf = self.shelf();
        shelf.known.extend(content.record.iter().map(|record| record.pair_id.clone()));
        shelf.kept.insert(name.to_owned(), Arc::new(SimState::new(self.port.clone(), content)));
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a state the name of its pair's locations; what is there waits.
    fn take_in(&self, kept: &Kept, name: &str) {
        let mut shelf = self.shelf();
        if let Some(coming) = shelf.kept.remove(&kept.name) {
            if let Some(there) = shelf.kept.remove(name) {
                let id = there.pair_record().map(|record| record.pair_id).unwrap_or_default();
                shelf.kept.insert(format!("{name}|{id}"), there);
            }
            shelf.kept.insert(name.to_owned(), coming);
        }
    }
}

impl States for SimStates {
    fn kept_at(&self, locations: Sides<String>) -> BoxFuture<'_, Result<Option<Kept>>> {
        async move {
            let name = name_of(&locations);
            Ok(self.shelf().kept.get(&name).and_then(|state| seen(&name, state)))
        }
        .boxed()
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>>> {
        async move { Ok(self.shelf().kept.iter().filter_map(|(name, state)| seen(name, state)).collect()) }
            .boxed()
    }

    fn is_known(&self, locations: Sides<String>) -> BoxFuture<'_, Result<bool>> {
        async move { Ok(self.shelf().kept.contains_key(&name_of(&locations))) }.boxed()
    }

    fn knows(&self, pair_id: String) -> BoxFuture<'_, Result<bool>> {
        async move {
            let shelf = self.shelf();
            let now = shelf.kept.values().filter_map(|state| state.pair_record());
            Ok(shelf.known.contains(&pair_id) || now.into_iter().any(|record| record.pair_id == pair_id))
        }
        .boxed()
    }

    fn open(&self, wanted: Wanted, access: Access) -> BoxFuture<'_, Result<Opened>> {
        async move {
            let name = name_of(&wanted.locations);
            let mut opened = name.clone();
            match wanted.found {
                Some(kept) if access == Access::Write => {
                    self.take_in(&kept, &name);
                    self.port.tick("move the state", "").await;
                }
                Some(kept) => opened = kept.name,
                None => {}
            }
            let there = self.shelf().kept.get(&opened).cloned();
            let content = there.as_ref().map(|state| state.content()).unwrap_or_default();
            let Some(record) = content.record.clone() else {
                let fresh = Arc::new(SimState::new(self.port.clone(), Content::default()));
                let mut shelf = self.shelf();
                shelf.kept.insert(name, Arc::clone(&fresh));
                let found = shelf.found.clone();
                return Ok(Opened { store: fresh, found, lock: PairLock::default() });
            };
            if access == Access::Write {
                let record = PairRecord { locations: wanted.locations, ..record };
                self.put(&name, Content { record: Some(record), ..content });
            }
            let store = self.shelf().kept.get(&opened).cloned().unwrap();
            Ok(Opened { store, found: Found::Intact, lock: PairLock::default() })
        }
        .boxed()
    }

    fn keep_waiting<'a>(&'a self, state: &'a dyn StateStore, _: PairLock) -> BoxFuture<'a, Result<()>> {
        async move {
            self.port.tick("keep the state", "").await;
            let Some(record) = state.pair_record() else { return Ok(()) };
            let name = name_of(&record.locations);
            let content = self.shelf().kept.get(&name).map(|state| state.content()).unwrap_or_default();
            self.put(&format!("{name}|{}", record.pair_id), content);
            self.port.tick("go on without the state", "").await;
            Ok(())
        }
        .boxed()
    }
}
