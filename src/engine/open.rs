//! Opens the two sides of a pair, wherever they are.
//!
//! Everything that can be refused without reaching a store is refused before anything is started or sent.
//! In a run that only looks, an embedded directory that does not exist is not made: an empty tree stands in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ground::{Ground, canonical, check_grounds, check_state_dir, is_vacant};
use super::stores::{Server, Setup};
use super::{SyncEngine, SyncOptions, unreachable};
use crate::client::StorageClient;
use crate::client::local::LocalClient;
use crate::client::memory::MemoryClient;
use crate::error::{Error, ErrorKind, Result};
use crate::examine::Clients;
use crate::key::escape;
use crate::location::{Bucket, Location, StoreOptions};
use crate::pair::SyncPair;
use crate::side::{Side, Sides};

/// The two sides of a pair, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) clients: Clients,
    /// Whether the root is made without being asked when it is missing and receives.
    pub(super) makes_root: Sides<bool>,
}

/// Where a side is.
#[derive(Debug)]
enum Place {
    /// Wherever the client is that the caller handed in.
    Given(Arc<dyn StorageClient>),
    Folder(Arc<LocalClient>),
    S3(Bucket),
    /// In the server inside this process that keeps its objects in this directory.
    Embedded(Bucket, PathBuf),
}

impl Place {
    fn of(pair: &SyncPair, side: Side) -> Result<Self> {
        if let Some(client) = pair.clients.get(side) {
            return Ok(Self::Given(Arc::clone(client)));
        }
        match Location::parse(pair.location(side)).map_err(|error| named(&error, &format!("the {side}")))? {
            Location::Folder(path) => Ok(Self::Folder(Arc::new(LocalClient::open(Path::new(&path))?))),
            Location::S3(at) => Ok(Self::S3(at)),
            Location::Embedded(at) => match &pair.store_options(side).embedded_dir {
                Some(dir) => Ok(Self::Embedded(at, canonical(dir)?)),
                None => Err(Error::new(
                    ErrorKind::Invalid,
                    format!("nothing says where the server behind `embedded://{at}` keeps its objects"),
                )
                .with_hint("name a directory: --embedded-dir, or `embedded_dir` of the store options")),
            },
        }
    }

    fn ground(&self) -> Option<Ground> {
        let tree = |location: &str| {
            Some(Path::new(location)).filter(|path| path.is_absolute()).map(|path| Ground::Tree(path.into()))
        };
        match self {
            Self::Given(client) => tree(client.location()),
            Self::Folder(client) => tree(client.location()),
            Self::S3(_) => None,
            Self::Embedded(_, dir) => Some(Ground::Objects(dir.clone())),
        }
    }

    /// Returns what identifies the tree, if that is known before a store is reached.
    fn identity(&self) -> Option<String> {
        match self {
            Self::Given(client) => Some(client.identity().to_owned()),
            Self::Folder(client) => Some(client.identity().to_owned()),
            Self::S3(_) => None,
            Self::Embedded(at, dir) => Some(at.embedded_identity(dir)),
        }
    }

    fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Given(_) | Self::Folder(_) => None,
            Self::S3(at) | Self::Embedded(at, _) => Some(at),
        }
    }

    /// Returns where objects that are replaced or deleted here are kept, if not below the tree.
    fn trash(&self, location: Option<&Location>) -> Option<Bucket> {
        match (self, location?) {
            (Self::S3(_), Location::S3(at)) | (Self::Embedded(..), Location::Embedded(at)) => {
                Some(at.clone())
            }
            _ => None,
        }
    }
}

impl SyncEngine {
    /// Opens both sides of `pair`. Nothing is made in a dry run.
    pub(super) async fn open(&self, pair: &SyncPair, options: &SyncOptions) -> Result<Opened> {
        let places = Sides::new(Place::of(pair, Side::Source)?, Place::of(pair, Side::Destination)?);
        let shown = Sides::new(pair.source.as_str(), pair.destination.as_str());
        if let (Some(source), Some(destination)) = (places.source.identity(), places.destination.identity()) {
            check_apart(&Sides::new(&source, &destination), &shown)?;
        }
        let grounds = Sides::new(places.source.ground(), places.destination.ground());
        check_grounds(&grounds)?;
        if self.states.is_none() {
            check_state_dir(&self.state_dir, &grounds)?;
        }
        let trash = trash_location(pair, &places)?;
        for side in Side::BOTH {
            if matches!(places.get(side), Place::S3(_)) {
                let checked = self.check_store(pair.store_options(side)).await;
                checked.map_err(|error| failed(error, pair, side))?;
            }
        }
        let servers = self.servers(pair, &places, options).await?;
        let opening =
            Opening { engine: self, pair, options, places: &places, trash: trash.as_ref(), servers };
        // Together: each may wait for seconds until it is clear that there are no credentials.
        let (source, destination) = futures::try_join!(
            Box::pin(opening.client(Side::Source)),
            Box::pin(opening.client(Side::Destination))
        )?;
        let clients = Sides::new(source, destination);
        check_apart(&Sides::new(clients.source.identity(), clients.destination.identity()), &shown)?;
        if let Some(trash) = &trash {
            check_trash(trash, pair, &places, &clients)?;
        }
        let embedded = |side| matches!(places.get(side), Place::Embedded(..));
        let makes_root = Sides::new(embedded(Side::Source), embedded(Side::Destination));
        Ok(Opened { clients, makes_root })
    }

    /// Starts the servers that the sides need, unless in a dry run there is nothing for one to show.
    async fn servers(
        &self,
        pair: &SyncPair,
        places: &Sides<Place>,
        options: &SyncOptions,
    ) -> Result<Sides<Option<Arc<Server>>>> {
        let mut servers = Sides::default();
        for side in Side::BOTH {
            let started = self.server(places.get(side), options).await;
            *servers.get_mut(side) = started.map_err(|error| failed(error, pair, side))?;
        }
        Ok(servers)
    }

    async fn server(&self, place: &Place, options: &SyncOptions) -> Result<Option<Arc<Server>>> {
        match place {
            Place::Embedded(_, dir) if !(options.dry_run && is_vacant(dir)) => {
                Ok(Some(Box::pin(self.serve(dir)).await?))
            }
            _ => Ok(None),
        }
    }

    /// Opens a single location. Nothing is made there.
    pub(super) async fn open_one(
        &self,
        location: &str,
        store: &StoreOptions,
        options: &SyncOptions,
    ) -> Result<Arc<dyn StorageClient>> {
        let alone = SyncPair::new(location, location).store(Side::Source, store.clone());
        let place = Place::of(&alone, Side::Source)?;
        if matches!(place, Place::S3(_)) {
            self.check_store(store).await?;
        }
        let options = options.looking();
        let server = self.server(&place, &options).await?;
        self.reach(&place, store, server.as_ref(), self.setting(&options, None, false)).await
    }

    async fn reach(
        &self,
        place: &Place,
        store: &StoreOptions,
        server: Option<&Arc<Server>>,
        setting: Setup,
    ) -> Result<Arc<dyn StorageClient>> {
        match (place, server) {
            (Place::Given(client), _) => Ok(Arc::clone(client)),
            (Place::Folder(client), _) => Ok(Arc::clone(client) as Arc<dyn StorageClient>),
            (Place::S3(at), _) => self.bucket(at, store, setting).await,
            (Place::Embedded(at, _), Some(server)) => Ok(self.embedded_bucket(at, server, setting)),
            (Place::Embedded(at, dir), None) => {
                let client = MemoryClient::new(&format!("embedded://{at}")).without_root();
                Ok(Arc::new(client.with_identity(at.embedded_identity(dir))))
            }
        }
    }
}

/// What is known when the clients are opened.
struct Opening<'a> {
    engine: &'a SyncEngine,
    pair: &'a SyncPair,
    options: &'a SyncOptions,
    places: &'a Sides<Place>,
    trash: Option<&'a Location>,
    /// Where one is needed and may be made.
    servers: Sides<Option<Arc<Server>>>,
}

impl Opening<'_> {
    async fn client(&self, side: Side) -> Result<Arc<dyn StorageClient>> {
        self.reach(side).await.map_err(|error| failed(error, self.pair, side))
    }

    async fn reach(&self, side: Side) -> Result<Arc<dyn StorageClient>> {
        let place = self.places.get(side);
        let may_ask = self.pair.allows_copy_to(side) && !self.options.dry_run;
        let setting = self.engine.setting(self.options, place.trash(self.trash), may_ask);
        let server = self.servers.get(side).as_ref();
        self.engine.reach(place, self.pair.store_options(side), server, setting).await
    }
}

/// Says of an error in opening a side which side it was, unless it is about the words themselves.
fn failed(error: Error, pair: &SyncPair, side: Side) -> Error {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported => error,
        // An embedded directory that another process uses is no lock of a pair, and so is unreachable too.
        _ => {
            let location = escape(pair.location(side).as_bytes());
            unreachable(error, &format!("the {side} `{location}` cannot be reached"))
        }
    }
}

fn named(error: &Error, what: &str) -> Error {
    let hint = error.hint().unwrap_or_default().to_owned();
    Error::new(error.kind(), format!("{what}: {error}")).with_hint(hint)
}

/// Returns the trash location, if there is a side that can use it.
fn trash_location(pair: &SyncPair, places: &Sides<Place>) -> Result<Option<Location>> {
    let Some(text) = &pair.trash_location else { return Ok(None) };
    let location = Location::parse(text).map_err(|error| named(&error, "the trash location"))?;
    let shown = escape(text.as_bytes());
    let invalid = |what: &str, hint: &str| {
        let message = format!("the trash location `{shown}` {what}");
        Err(Error::new(ErrorKind::Invalid, message).with_hint(hint))
    };
    if matches!(location, Location::Folder(_)) {
        return invalid(
            "is a folder",
            "name s3://bucket/prefix; a folder keeps its trash in `.syncengine/trash` inside it",
        );
    }
    if Side::BOTH.iter().all(|side| places.get(*side).trash(Some(&location)).is_none()) {
        return invalid("is not in the store of a side", "name a bucket of the same kind of store as a side");
    }
    Ok(Some(location))
}

/// Refuses a trash location that would be synced, or among whose objects a tree lies.
fn check_trash(trash: &Location, pair: &SyncPair, places: &Sides<Place>, clients: &Clients) -> Result<()> {
    for side in Side::BOTH {
        let place = places.get(side);
        let (Some(kept), Some(at)) = (place.trash(Some(trash)), place.bucket()) else { continue };
        let identity = clients.get(side).identity();
        let store = identity.strip_suffix(&at.to_string()).unwrap_or(identity);
        let kept = format!("{store}{kept}");
        for tree in Side::BOTH {
            let identity = clients.get(tree).identity();
            if kept == identity || inside(&kept, identity) || inside(identity, &kept) {
                let (shown, at) = (pair.trash_location.as_deref().unwrap_or_default(), pair.location(tree));
                let (shown, at) = (escape(shown.as_bytes()), escape(at.as_bytes()));
                let doing =
                    format!("the trash location `{shown}` and the {tree} `{at}` are inside each other");
                return Err(Error::new(ErrorKind::Invalid, doing)
                    .with_hint("name a prefix outside both trees, or leave --trash-location out"));
            }
        }
    }
    Ok(())
}

fn inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

/// Refuses two trees of which one is the other or inside it.
pub(super) fn check_apart(identities: &Sides<&str>, shown: &Sides<&str>) -> Result<()> {
    let Sides { source, destination } = *identities;
    let relation = if source == destination {
        "source and destination are the same"
    } else if inside(source, destination) {
        "the source is inside the destination"
    } else if inside(destination, source) {
        "the destination is inside the source"
    } else {
        return Ok(());
    };
    let (source, destination) = (escape(shown.source.as_bytes()), escape(shown.destination.as_bytes()));
    Err(Error::new(ErrorKind::Invalid, format!("{relation}: `{source}` and `{destination}`"))
        .with_hint("name two trees that lie apart"))
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
            ("/", "s3://vault", true),
            ("memory-1", "memory-10", true),
            ("s3://vault", "s3://vault", false),
            ("s3://vault", "s3://vault/x", false),
            ("s3://vault/x", "s3://vault", false),
            ("s3://vault/x", "s3://vault/x/y", false),
            ("s3://vault/x", "s3://vault/xy", true),
            ("s3://vault", "s3://vault2", true),
            ("s3+https://one.example.org/vault", "s3+https://two.example.org/vault", true),
            ("s3+https://one.example.org/vault", "s3+https://one.example.org/vault/x", false),
            ("s3+https://one.example.org/vault", "s3://vault", true),
            ("embedded:/d//vault", "embedded:/d//vault/x", false),
            ("embedded:/d//vault", "embedded:/d//other", true),
            ("embedded:/d//vault", "embedded:/e//vault", true),
        ] {
            let shown = Sides::new("a", "b");
            assert_eq!(check_apart(&Sides::new(a, b), &shown).is_ok(), fine, "{a} {b}");
            assert_eq!(check_apart(&Sides::new(b, a), &shown).is_ok(), fine, "{b} {a}");
        }
    }

    fn bucket(text: &str) -> Bucket {
        match Location::parse(text).unwrap() {
            Location::S3(at) | Location::Embedded(at) => at,
            Location::Folder(path) => panic!("{path}"),
        }
    }

    #[test]
    fn a_trash_location_lies_in_the_store_of_a_side_and_outside_both_trees() {
        let client = |identity: &str| -> Arc<dyn StorageClient> {
            Arc::new(MemoryClient::new("memory").with_identity(identity))
        };
        for (trash, expected) in [
            ("s3://trash", ""),
            ("s3://trash/deep/er", ""),
            ("s3://vault/kept", ""),
            ("s3://vault/photos2", ""),
            ("s3://vault", "inside each other"),
            ("s3://vault/photos", "inside each other"),
            ("s3://vault/photos/kept", "inside each other"),
            ("embedded://trash", "not in the store of a side"),
            ("./trash", "is a folder"),
            ("s3://x", "the trash location"),
            ("s3://vault/.syncengine", "reserved"),
        ] {
            let pair = SyncPair::new("/a", "s3://vault/photos").trash_location(trash);
            let folder = Place::Given(client("/a"));
            let places = Sides::new(folder, Place::S3(bucket("s3://vault/photos")));
            let clients = Sides::new(client("/a"), client("s3+https://host.example.org/vault/photos"));
            let result = trash_location(&pair, &places)
                .and_then(|found| check_trash(&found.unwrap(), &pair, &places, &clients));
            match result {
                Ok(()) => assert_eq!("", expected, "{trash}"),
                Err(error) => {
                    assert!(!expected.is_empty() && error.to_string().contains(expected), "{trash}: {error}");
                    assert!(error.kind() == ErrorKind::Invalid && error.hint().is_some(), "{trash}");
                }
            }
        }
        let pair = SyncPair::new("/a", "/b").trash_location("s3://trash");
        let places = Sides::new(Place::Given(client("/a")), Place::Given(client("/b")));
        assert!(trash_location(&pair, &places).is_err());
    }

    #[tokio::test]
    async fn looking_makes_no_embedded_directory_and_an_empty_tree_stands_in() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().canonicalize().unwrap().join("objects");
        let engine = SyncEngine::new(folder.path().join("state"));
        let store = StoreOptions { embedded_dir: Some(dir.clone()), ..Default::default() };
        let pair = SyncPair::new(folder.path().join("a").to_str().unwrap(), "embedded://vault/x")
            .store(Side::Destination, store);
        let opened = engine.open(&pair, &SyncOptions::new().dry_run(true)).await.unwrap();
        let client = &opened.clients.destination;
        assert_eq!(client.location(), "embedded://vault/x");
        assert_eq!(client.identity(), format!("embedded:{}//vault/x", dir.display()));
        assert!(client.root().await.unwrap().is_none());
        assert_eq!(opened.makes_root, Sides::new(false, true));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
