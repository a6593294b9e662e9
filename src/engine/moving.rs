//! Telling the states of a side that it is elsewhere now.

use std::collections::BTreeSet;
use std::path::Path;

use super::ground::canonical;
use super::open::check_apart;
use super::{SyncEngine, SyncOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::key::escape;
use crate::location::{Location, StoreOptions};
use crate::side::Sides;
use crate::state::{Kept, move_to};

/// What became of the pairs of a side that is elsewhere now.
#[derive(Debug, Clone)]
pub struct Moved {
    /// Where the side was, in canonical form.
    pub old: String,
    /// Where it is now.
    pub new: String,
    /// The pairs, as they are now.
    pub pairs: Vec<Sides<String>>,
    /// How many states of the same locations were there already, and were moved aside.
    pub replaced: u64,
}

impl SyncEngine {
    /// Makes what is remembered of the pairs of the location `old` count for the location `new`: a folder that was moved to
    /// another disk, a bucket that was copied to another store. What was remembered of `new` is moved aside, not deleted.
    /// No file of either side is touched.
    ///
    /// `store` says how a store is reached. Of `old` only the name counts: `s3://bucket/prefix`, whatever its endpoint was.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing is remembered of `old`, or `new` does not exist; [`ErrorKind::Invalid`] if the
    /// two cannot be one side; [`ErrorKind::Locked`] while a run has one of the pairs.
    ///
    /// # Cancellation
    /// Dropped or ended by an error, the future leaves each pair either as it was or moved; the same call goes on.
    pub async fn move_state(
        &self,
        old: &str,
        new: &str,
        store: &StoreOptions,
        options: &SyncOptions,
    ) -> Result<Moved> {
        let result = self.relocate(old, new, store, options).await;
        self.retire().await;
        result
    }

    async fn relocate(
        &self,
        old: &str,
        new: &str,
        store: &StoreOptions,
        options: &SyncOptions,
    ) -> Result<Moved> {
        let all = self.all_states().all().await?;
        if self.states.is_some() {
            let message = "states that were handed in are not moved";
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint("they know no places"));
        }
        let of_old = named(old)?;
        let identities: BTreeSet<String> =
            all.iter().flat_map(places).filter(|identity| of_old.names(identity)).cloned().collect();
        let from = single(old, identities)?;
        let client = self.open_one(new, store, options).await?;
        let root = client.root().await?;
        let to = client.identity().to_owned();
        check_kinds(&from, &to)?;
        if root.is_none() {
            let message = format!("`{}` does not exist", escape(new.as_bytes()));
            return Err(
                Error::new(ErrorKind::NotFound, message).with_hint("name the place where the files are now")
            );
        }
        let mut moved = Moved { old: from.clone(), new: to.clone(), pairs: Vec::new(), replaced: 0 };
        for (kept, locations) in placed_anew(all, &from, &to)? {
            let dir = self.state_dir.clone();
            let replaces = move_to(dir, kept, locations.clone(), self.clock.as_ref()).await?;
            moved.replaced += u64::from(replaces);
            moved.pairs.push(locations);
        }
        moved
            .pairs
            .sort_by(|one, other| (&one.source, &one.destination).cmp(&(&other.source, &other.destination)));
        Ok(moved)
    }
}

/// Returns the states of the side at `from`, each with the locations of its pair once the side is at `to`. Pairs of the two
/// places with each other are left out: one cannot take the place of the other there.
///
/// # Errors
/// [`ErrorKind::Invalid`] if there are only such pairs.
fn placed_anew(all: Vec<Kept>, from: &str, to: &str) -> Result<Vec<(Kept, Sides<String>)>> {
    let (mut placed, mut refused) = (Vec::new(), None);
    for kept in all {
        let at = |place: &String| if place == from { to.to_owned() } else { place.clone() };
        let locations = Sides::new(at(&kept.at.locations.source), at(&kept.at.locations.destination));
        if locations == kept.at.locations {
            continue;
        }
        let shown = Sides::new(locations.source.as_str(), locations.destination.as_str());
        match check_apart(&shown, &shown) {
            Ok(()) => placed.push((kept, locations)),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if placed.is_empty() => Err(error),
        _ => Ok(placed),
    }
}

/// How the place that a user names is written in a state.
enum Named {
    Exactly(String),
    /// A bucket and its prefix, in whatever store.
    Bucket(String),
    /// As before, in a server inside this process, wherever its objects are.
    Embedded(String),
}

impl Named {
    fn names(&self, identity: &str) -> bool {
        match self {
            Self::Exactly(name) => name == identity,
            Self::Embedded(at) => {
                identity.strip_prefix("embedded:").is_some_and(|rest| rest.ends_with(&format!("//{at}")))
            }
            Self::Bucket(at) if identity == format!("s3://{at}") => true,
            Self::Bucket(at) => {
                let endpoint = identity.strip_suffix(at).and_then(|store| store.strip_prefix("s3+"));
                let host = endpoint.and_then(|endpoint| endpoint.split_once("://")).map(|(_, host)| host);
                host.and_then(|host| host.strip_suffix('/')).is_some_and(|host| !host.contains('/'))
            }
        }
    }
}

fn named(text: &str) -> Result<Named> {
    // As it is shown where the place is told.
    if text.starts_with("s3+") || text.starts_with("embedded:/") && !text.starts_with("embedded://") {
        return Ok(Named::Exactly(text.to_owned()));
    }
    Ok(match Location::parse(text)? {
        Location::Folder(path) => Named::Exactly(canonical(Path::new(&path))?.to_string_lossy().into_owned()),
        Location::S3(at) => Named::Bucket(at.to_string()),
        Location::Embedded(at) => Named::Embedded(at.to_string()),
    })
}

fn places(kept: &Kept) -> [&String; 2] {
    [&kept.at.locations.source, &kept.at.locations.destination]
}

/// Returns the one place that was meant.
fn single(old: &str, identities: BTreeSet<String>) -> Result<String> {
    let shown = escape(old.as_bytes());
    let mut all = identities.into_iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Error::new(ErrorKind::NotFound, format!("nothing is remembered of `{shown}`"))
            .with_hint("name the place as it was when it was synced last, and the state directory of then with --state-dir")),
        (Some(one), Some(other)) => {
            let message = format!("`{shown}` was synced in more than one store");
            let hint = format!("name one of them: {}, {}", escape(one.as_bytes()), escape(other.as_bytes()));
            Err(Error::new(ErrorKind::Invalid, message).with_hint(hint))
        }
    }
}

fn check_kinds(from: &str, to: &str) -> Result<()> {
    let is_folder = |identity: &str| identity.starts_with('/');
    if from == to {
        let message = format!("`{}` is where it is remembered already", escape(to.as_bytes()));
        return Err(Error::new(ErrorKind::Invalid, message).with_hint("name the place it was moved to"));
    }
    if is_folder(from) != is_folder(to) {
        let message =
            format!("`{}` and `{}` are of different kinds", escape(from.as_bytes()), escape(to.as_bytes()));
        return Err(Error::new(ErrorKind::Invalid, message)
            .with_hint("a folder takes the place of a folder, a bucket that of a bucket"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_known_in_any_store() {
        for (text, identity, expected) in [
            ("s3://vault", "s3://vault", true),
            ("s3://vault", "s3+http://127.0.0.1:9000/vault", true),
            ("s3://vault/x", "s3+http://127.0.0.1:9000/vault/x", true),
            ("s3://vault", "s3+http://127.0.0.1:9000/other/vault", false),
            ("s3://vault", "s3+http://127.0.0.1:9000/my-vault", false),
            ("s3://vault", "s3://vault/x", false),
            ("s3+http://127.0.0.1:9000/vault", "s3+http://127.0.0.1:9000/vault", true),
            ("/none/a", "/none/a", true),
            ("/none/a", "/none/a/b", false),
            ("embedded:/d//vault", "embedded:/d//vault", true),
            ("embedded:/d//vault", "embedded:/e//vault", false),
            ("embedded://vault", "embedded:/d//vault", true),
            ("embedded://vault", "embedded:/d//my-vault", false),
            ("embedded://vault", "embedded:/d//vault/x", false),
        ] {
            let named = named(text).unwrap();
            assert_eq!(named.names(identity), expected, "{text} {identity}");
        }
    }
}
