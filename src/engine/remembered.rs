//! What is remembered of a pair: looking at it, and forgetting it.

use std::sync::Arc;

use futures::TryStreamExt;

use super::{SyncEngine, SyncOptions};
use crate::code::NoticeCode;
use crate::error::{Error, Result};
use crate::examine::Clients;
use crate::marker::Marks;
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::side::{Side, Sides};
use crate::state::{Access, BaseRow, Found, Opened, PairRecord, Wanted};

/// What is remembered of a pair.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Where the two sides are, in canonical form.
    pub locations: Sides<String>,
    /// What is remembered of the pair as a whole, if it was ever synced.
    pub record: Option<PairRecord>,
    /// How many paths are remembered.
    pub rows: u64,
    /// What is wrong with the state, if anything is.
    pub lost: Option<String>,
}

/// What was forgotten of a pair.
#[derive(Debug, Clone)]
pub struct Forgotten {
    /// Where the two sides are, in canonical form.
    pub locations: Sides<String>,
    /// Whether there was a base. It was moved aside, not deleted.
    pub base_removed: bool,
    /// How many markers were removed.
    pub markers_removed: u64,
    /// The markers that could not be removed, and why.
    pub warnings: Vec<Notice>,
}

impl SyncEngine {
    /// Returns what is remembered of `pair`. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::sync_pair`], and [`ErrorKind::Locked`](crate::ErrorKind::Locked) while a run writes.
    pub async fn state_of(&self, pair: &SyncPair, options: &SyncOptions) -> Result<Remembered> {
        let result = self.look_up(pair, options).await;
        self.retire().await;
        result
    }

    async fn look_up(&self, pair: &SyncPair, options: &SyncOptions) -> Result<Remembered> {
        let (clients, wanted) = self.wanted(pair, options).await?;
        let Opened { store: state, found, .. } = self.all_states().open(wanted, Access::ReadOnly).await?;
        // The receipt of a deletion is no file.
        let is_path = |row: &BaseRow| !matches!(row, BaseRow::Deleted(_) | BaseRow::Begun(_));
        let count = |rows: u64, (_, row)| std::future::ready(Ok(rows + u64::from(is_path(&row))));
        let rows = state.scan().try_fold(0, count).await?;
        let lost = match found {
            Found::Lost { why } => Some(why),
            Found::Nothing | Found::Intact => None,
        };
        Ok(Remembered { locations: locations(&clients), record: state.pair_record(), rows, lost })
    }

    /// Opens the two sides, and finds out which state is theirs as a run does. Where a run would be refused, as one side is
    /// not there, their names tell.
    async fn wanted(&self, pair: &SyncPair, options: &SyncOptions) -> Result<(Clients, Wanted)> {
        let looking = options.looking();
        if let Ok(prepared) = self.prepare(pair, &looking).await {
            let found = self.which(pair, &prepared).await?.found;
            if found.is_some() {
                let wanted = Wanted { locations: prepared.identities(), found };
                return Ok((prepared.clients, wanted));
            }
        }
        let clients = self.open(pair, &looking).await?.clients;
        let (locations, states) = (identities(&clients), self.all_states());
        let former = |side: Side| clients.get(side).former_identity().to_owned();
        let former = Sides::new(former(Side::Source), former(Side::Destination));
        let is_known = former == locations || states.is_known(locations.clone()).await?;
        let found = if is_known { None } else { states.kept_at(former).await? };
        Ok((clients, Wanted { locations, found }))
    }

    /// Moves the base of `pair` aside and removes its markers, so that its next sync is its first. A state
    /// handed in with [`Self::state`] is left as it is.
    ///
    /// # Errors
    /// As [`Self::sync_pair`], and [`ErrorKind::Locked`](crate::ErrorKind::Locked) while a run has the pair.
    pub async fn forget(&self, pair: &SyncPair, options: &SyncOptions) -> Result<Forgotten> {
        let result = self.strike(pair, options).await;
        self.retire().await;
        result
    }

    async fn strike(&self, pair: &SyncPair, options: &SyncOptions) -> Result<Forgotten> {
        // Nothing is made that would only be emptied.
        let (clients, wanted) = self.wanted(pair, options).await?;
        let opened = self.all_states().open(wanted.clone(), Access::ReadOnly).await?;
        let record = opened.store.pair_record();
        drop(opened);
        // First of all, because it is what another run's lock refuses.
        let base_removed = if self.states.is_some() {
            false
        } else {
            let (dir, clock) = (self.state_dir.clone(), Arc::clone(&self.clock));
            crate::state::forget(dir, wanted, clock).await?
        };
        let (markers_removed, warnings) = remove_markers(record.as_ref(), &clients).await;
        Ok(Forgotten { locations: locations(&clients), base_removed, markers_removed, warnings })
    }
}

/// Removes the markers of the pair with this record. Returns how many there were, and what went wrong.
async fn remove_markers(record: Option<&PairRecord>, clients: &Clients) -> (u64, Vec<Notice>) {
    let mut markers: Sides<Marks> = Sides::default();
    let mut warnings = Vec::new();
    for side in Side::BOTH {
        let client = clients.get(side);
        // A root that does not exist has none.
        let listed = match client.root().await {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(_)) => client.markers().await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(listed) => *markers.get_mut(side) = Marks::new(listed),
            Err(error) => warnings.push(left(side, &error)),
        }
    }
    // Without a record the pair is what both sides carry the marker of.
    let ids: Vec<String> = if let Some(record) = record {
        vec![record.pair_id.clone()]
    } else {
        let at_destination = markers.destination.pairs();
        let common = markers.source.pairs().into_iter().filter(|id| at_destination.contains(id));
        common.map(str::to_owned).collect()
    };
    let mut removed = 0;
    for side in Side::BOTH {
        for marker in ids.iter().flat_map(|id| markers.get(side).of(id)) {
            match clients.get(side).remove_marker(&marker.to_string()).await {
                Ok(()) => removed += 1,
                Err(error) => warnings.push(left(side, &error)),
            }
        }
    }
    (removed, warnings)
}

fn left(side: Side, error: &Error) -> Notice {
    let message = format!("the marker of the pair stays at the {side}: {}", error.chain());
    Notice::new(NoticeCode::MarkerStays, message, "run this again when the side can be written")
}

/// Returns where the clients' trees are, as users are shown it.
pub(super) fn locations(clients: &Clients) -> Sides<String> {
    Sides::new(clients.source.location().to_owned(), clients.destination.location().to_owned())
}

/// Returns what tells the clients' trees from all others.
pub(super) fn identities(clients: &Clients) -> Sides<String> {
    Sides::new(clients.source.identity().to_owned(), clients.destination.identity().to_owned())
}
