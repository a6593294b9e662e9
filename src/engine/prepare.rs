//! Before a run: are the locations usable, and do they go together?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SyncEngine;
use crate::client::local::LocalClient;
use crate::client::memory::MemoryClient;
use crate::client::{RootIdentity, StorageClient};
use crate::error::{Error, ErrorKind, Result};
use crate::examine::Clients;
use crate::filter::Rules;
use crate::mode::{Side, Sides};
use crate::pair::SyncPair;

/// A pair that can be run.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The two sides.
    pub(super) clients: Clients,
    /// What to list: the clients, and nothing where a root is yet to be made.
    pub(super) listed: Clients,
    /// The roots; `None` for one that is to be made.
    pub(super) roots: Sides<Option<RootIdentity>>,
    /// The filter rules of the pair.
    pub(super) rules: Rules,
}

impl Prepared {
    /// Returns the canonical locations.
    pub(super) fn locations(&self) -> Sides<String> {
        let location = |side| self.clients.get(side).location().to_owned();
        Sides::new(location(Side::Source), location(Side::Destination))
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
            if now.is_none() || now != *self.roots.get(side) {
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
    pub(super) async fn prepare(&self, pair: &SyncPair, create: bool) -> Result<Prepared> {
        let rules = pair.compiled_rules()?;
        let clients = Sides::new(open(pair, Side::Source)?, open(pair, Side::Destination)?);
        check_apart(clients.source.location(), clients.destination.location())?;
        if self.state.is_none() {
            self.check_state_dir(&clients)?;
        }
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
                check_missing(pair, side, &roots, create)?;
                let location = clients.get(side).location();
                *listed.get_mut(side) = Arc::new(MemoryClient::new(location));
            }
        }
        Ok(Prepared { clients, listed, roots, rules })
    }

    /// Refuses a state directory that would be synced itself.
    fn check_state_dir(&self, clients: &Clients) -> Result<()> {
        let state = canonical(&self.state_dir)?;
        for side in Side::BOTH {
            let root = Path::new(clients.get(side).location());
            if !root.is_absolute() {
                continue;
            }
            if root.parent().is_none() {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("the {side} is the root of the file system"),
                )
                .with_hint("name the folders to sync"));
            }
            if state.starts_with(root) || root.starts_with(&state) {
                let doing = format!(
                    "the state directory `{}` and the {side} `{}` are inside each other",
                    state.display(),
                    root.display()
                );
                return Err(Error::new(ErrorKind::Invalid, doing)
                    .with_hint("choose a state directory outside both trees with --state-dir"));
            }
        }
        Ok(())
    }
}

fn open(pair: &SyncPair, side: Side) -> Result<Arc<dyn StorageClient>> {
    if let Some(client) = pair.clients.get(side) {
        return Ok(Arc::clone(client));
    }
    let location = pair.location(side);
    if location.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("the {side} is empty"))
            .with_hint("name a folder, such as ./documents"));
    }
    if let Some((scheme, _)) = location.split_once("://") {
        let scheme = crate::key::escape(scheme.as_bytes());
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the {side} is of an unknown kind, `{scheme}://`"),
        )
        .with_hint("this version syncs folders; write ./name for a folder with such a name"));
    }
    Ok(Arc::new(LocalClient::open(Path::new(location))?))
}

/// Refuses two trees of which one is the other or inside it.
fn check_apart(source: &str, destination: &str) -> Result<()> {
    let inside = |inner: &str, outer: &str| {
        inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    };
    let relation = if source == destination {
        "source and destination are the same"
    } else if inside(source, destination) {
        "the source is inside the destination"
    } else if inside(destination, source) {
        "the destination is inside the source"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("{relation}: `{source}` and `{destination}`"))
        .with_hint("name two trees that lie apart"))
}

/// Decides about a root that does not exist: only a receiving side may be made.
fn check_missing(
    pair: &SyncPair,
    side: Side,
    roots: &Sides<Option<RootIdentity>>,
    create: bool,
) -> Result<()> {
    let receives = match pair.mode.authority() {
        Some(authority) => authority != side,
        None => roots.get(side.other()).is_some(),
    };
    let location = crate::key::escape(pair.location(side).as_bytes());
    let error = Error::new(ErrorKind::NotFound, format!("the {side} `{location}` does not exist"));
    if !receives {
        return Err(error.with_hint("check the spelling, and that the disk is mounted"));
    }
    if !create {
        return Err(error.with_hint("check the spelling; --create makes it"));
    }
    Ok(())
}

/// Returns the absolute form of a path of which the last parts need not exist.
fn canonical(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::io(format!("resolve the state directory `{}`", path.display()), error))?;
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        if let Ok(found) = existing.canonicalize() {
            return Ok(missing.iter().rev().fold(found, |path, name| path.join(name)));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return Ok(absolute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b46_trees_must_lie_apart() {
        for (a, b, fine) in [
            ("/a", "/b", true),
            ("/a", "/a", false),
            ("/a/b", "/a", false),
            ("/a", "/a/b", false),
            ("/a", "/ab", true),
            ("/", "/a", false),
            ("memory-1", "memory-10", true),
        ] {
            assert_eq!(check_apart(a, b).is_ok(), fine, "{a} {b}");
        }
    }
}
