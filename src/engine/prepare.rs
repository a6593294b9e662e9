//! Before a run: are the roots there, and may those that are missing be made?

use std::sync::Arc;

use super::open::Opened;
use super::remembered::{identities, locations};
use super::{SyncEngine, SyncOptions};
use crate::client::memory::MemoryClient;
use crate::error::{Error, ErrorKind, Result};
use crate::examine::Clients;
use crate::filter::Rules;
use crate::key::escape;
use crate::pair::SyncPair;
use crate::root::RootIdentity;
use crate::side::{Side, Sides};

/// A pair that can be run.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The two sides.
    pub(super) clients: Clients,
    /// What to list: the clients, and nothing where a root is yet to be made.
    pub(super) listed: Clients,
    /// The roots; `None` for one that is to be made.
    pub(super) roots: Sides<Option<RootIdentity>>,
    /// The roots, or what is nearest above them.
    pub(super) anchors: Sides<Option<RootIdentity>>,
    /// The filter rules of the pair.
    pub(super) rules: Rules,
}

impl Prepared {
    /// Returns the canonical locations, as users are shown them.
    pub(super) fn locations(&self) -> Sides<String> {
        locations(&self.clients)
    }

    /// Returns what tells the two trees from all others; it names the pair.
    pub(super) fn identities(&self) -> Sides<String> {
        identities(&self.clients)
    }

    /// As [`Self::identities`], as earlier releases named the trees.
    pub(super) fn former_identities(&self) -> Sides<String> {
        let of = |side: Side| self.clients.get(side).former_identity().to_owned();
        Sides::new(of(Side::Source), of(Side::Destination))
    }

    /// Lets each side finish or take back what a killed run began, so that the listing shows it whole.
    pub(super) async fn mend(&self) -> Result<()> {
        for side in Side::BOTH {
            if self.roots.get(side).is_some() {
                let client = self.clients.get(side);
                let what = format!("`.syncengine` of the {side} `{}` cannot be used", client.location());
                client.sweep(Vec::new()).await.map_err(|error| super::unreachable(error, &what))?;
            }
        }
        Ok(())
    }

    /// Makes the roots that are missing.
    pub(super) async fn create_roots(&mut self) -> Result<()> {
        for side in Side::BOTH {
            if self.roots.get(side).is_none() {
                let client = self.clients.get(side);
                client.create_root().await?;
                *self.roots.get_mut(side) = client.root().await?;
            }
        }
        Ok(())
    }

    /// Checks that the roots are still the folders they were.
    pub(super) async fn check_roots(&self) -> Result<()> {
        for side in Side::BOTH {
            let client = self.clients.get(side);
            let now = client.root().await?;
            let same = matches!((now, self.roots.get(side)), (Some(now), Some(then)) if now.is_still(then));
            if !same {
                let doing =
                    format!("the {side} `{}` was replaced or unmounted during the run", client.location());
                return Err(Error::new(ErrorKind::Unavailable, doing)
                    .with_hint("nothing was deleted; check the mount and run again"));
            }
        }
        Ok(())
    }
}

impl SyncEngine {
    /// Opens both sides of `pair` and checks that they can be synced.
    pub(super) async fn prepare(&self, pair: &SyncPair, options: &SyncOptions) -> Result<Prepared> {
        let rules = pair.compiled_rules()?;
        let Opened { clients, makes_root } = self.open(pair, options).await?;
        let mut roots = Sides::new(None, None);
        for side in Side::BOTH {
            let client = clients.get(side);
            let what = format!("the {side} `{}` cannot be reached", client.location());
            *roots.get_mut(side) = client.root().await.map_err(|error| match error.kind() {
                ErrorKind::Invalid => error,
                _ => super::unreachable(error, &what),
            })?;
        }
        let mut listed = clients.clone();
        for side in Side::BOTH {
            if roots.get(side).is_none() {
                let client = clients.get(side);
                check_missing(
                    pair,
                    side,
                    &roots,
                    options.create || *makes_root.get(side),
                    client.is_folder(),
                )?;
                *listed.get_mut(side) = Arc::new(MemoryClient::new(client.location()));
            }
        }
        let anchors = anchors(&clients).await?;
        if let (Some(source), Some(destination)) = (anchors.source, anchors.destination)
            && roots.source.is_some()
            && roots.destination.is_some()
            && clients.source.is_folder()
            && clients.destination.is_folder()
            && source.is_same(&destination)
        {
            let locations = locations(&clients);
            let (source, destination) =
                (escape(locations.source.as_bytes()), escape(locations.destination.as_bytes()));
            let message =
                format!("source and destination are the same folder: `{source}` and `{destination}`");
            let hint = "name two folders that lie apart; a bind mount makes no copy";
            return Err(Error::new(ErrorKind::Invalid, message).with_hint(hint));
        }
        Ok(Prepared { clients, listed, roots, anchors, rules })
    }
}

/// Returns what must not be met within the other tree, of each side.
async fn anchors(clients: &Clients) -> Result<Sides<Option<RootIdentity>>> {
    let of = |side: Side| async move {
        let client = clients.get(side);
        let what = format!("the {side} `{}` cannot be reached", client.location());
        client.anchor().await.map_err(|error| super::unreachable(error, &what))
    };
    Ok(Sides::new(of(Side::Source).await?, of(Side::Destination).await?))
}

/// Decides about a root that does not exist: only a receiving side may be made.
fn check_missing(
    pair: &SyncPair,
    side: Side,
    roots: &Sides<Option<RootIdentity>>,
    create: bool,
    is_folder: bool,
) -> Result<()> {
    let receives = match pair.mode.authority() {
        Some(authority) => authority != side,
        None => roots.get(side.other()).is_some(),
    };
    let (what, check) = if is_folder {
        ("", "check the spelling, and that the disk is mounted")
    } else {
        ("the bucket of ", "check the spelling, and the endpoint and the region of the store")
    };
    let location = escape(pair.location(side).as_bytes());
    let error = Error::new(ErrorKind::NotFound, format!("{what}the {side} `{location}` does not exist"));
    match (receives, create) {
        (true, true) => Ok(()),
        // A source that is missing is a name mistyped, or a folder to be filled, which its owner can make.
        (true, false) if side == Side::Source && is_folder => Err(error.with_hint(
            "check the spelling; if it is to be filled from the destination, make the folder first",
        )),
        (true, false) if side == Side::Source => Err(error.with_hint(check)),
        (true, false) if is_folder => Err(error.with_hint("check the spelling; `sync --create` makes it")),
        (true, false) => {
            Err(error.with_hint("check the spelling and the endpoint; `sync --create` makes it"))
        }
        (false, _) => Err(error.with_hint(check)),
    }
}
