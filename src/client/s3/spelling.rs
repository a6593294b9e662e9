//! Stores that take two names for one, or keep a name in another form than it was given.
//!
//! S3 itself compares bytes. A store that keeps its objects in a file system that folds the case of letters, or the
//! two normal forms of a letter with an accent, does not: there `File` and `file` are one object, and a name that
//! comes back in another spelling looks like a deletion and a new file. Others take `\` for `/`. So a name counts
//! only as it is listed: nothing is written beside what has it in another spelling, and what was kept otherwise than
//! it was written is taken back (I-43). On a store that tells names apart this costs four requests of the probe, and
//! nothing for any object.

use futures::TryStreamExt;
use tokio::sync::MutexGuard;

use super::S3Client;
use super::fault::Fault;
use super::listing::Position;
use super::stage::meanwhile;
use super::store::Store;
use super::walk::Walk;
use crate::client::{Respelled, Target};
use crate::error::ErrorKind;
use crate::fingerprint::ETag;
use crate::key::{Key, RESERVED_FOLDER};
use crate::spelling::folded;

/// While it lives nobody else makes a new object, where that could be the same one.
pub(super) type Turn<'a> = Option<MutexGuard<'a, ()>>;

impl S3Client {
    /// Waits for the turn to make a new object, and checks that nothing has its name in any spelling. Must be held
    /// until [`Self::check_name`] has been asked.
    pub(super) async fn turn_to_create(&self, target: &Target) -> Result<Turn<'_>, Fault> {
        if target.replaces.is_some() || !self.capabilities().await?.folds_names {
            return Ok(None);
        }
        let first = target.key.as_str().split('/').next().unwrap_or_default();
        if first.eq_ignore_ascii_case(RESERVED_FOLDER) {
            return Err(Fault::taken());
        }
        let turn = tokio::select! {
            biased;
            () = self.store.ports.control.cancelled() => return Err(Fault::cancelled()),
            turn = self.creating.lock() => turn,
        };
        let name = self.object_key(&target.key);
        match self.store.head(&name).await? {
            None => Ok(Some(turn)),
            Some(_) if self.store.is_listed(&name).await? => Err(meanwhile()),
            Some(_) => Err(Fault::taken()),
        }
    }

    /// Makes sure that the store kept the name of a new object, where there is doubt. One of another name is taken
    /// back; one of which that cannot be told stays.
    pub(super) async fn check_name(&self, target: &Target, etag: &ETag) -> Result<(), Fault> {
        let key = &target.key;
        let is_odd = key.as_str().contains(|letter: char| letter == '\\' || letter.is_control());
        // What it replaces was listed by this name.
        if target.replaces.is_some() || !is_odd && !self.capabilities().await?.folds_names {
            return Ok(());
        }
        let name = self.object_key(key);
        match self.store.is_listed(&name).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // A name that no listing can show might as well be another one.
            Err(fault) if fault.kind() == ErrorKind::Unsupported => {}
            Err(fault) => return Err(fault),
        }
        if let Err(left) = self.delete_version(&name, etag).await {
            tracing::debug!(?left, key = %key, "what has another name now stays");
        }
        Err(Fault::respelled())
    }

    /// Returns whether an object that was found under `name` has this very name, as far as anybody has asked.
    pub(super) async fn has_name(&self, name: &str) -> Result<bool, Fault> {
        if self.is_known_to_fold() { self.store.is_listed(name).await } else { Ok(true) }
    }

    /// Returns the name by which the store lists what it shows for `key`, if that is another one and the store is known
    /// to take names for others.
    pub(super) async fn listed_as(&self, key: &Key) -> Result<Option<Respelled>, Fault> {
        let name = self.object_key(key);
        if !self.is_known_to_fold()
            || self.store.head(&name).await?.is_none()
            || self.store.is_listed(&name).await?
        {
            return Ok(None);
        }
        let prefix = &name[..name.rfind('/').map_or(0, |slash| slash + 1)];
        let wanted = folded(&name);
        let mut pages = std::pin::pin!(Walk::in_any_order(&self.store, prefix, None).pages());
        while let Some(objects) = pages.try_next().await? {
            let mut names = objects.iter().filter_map(|object| object.key.strip_prefix(&self.at.prefix));
            let found = names.find(|name| folded(&format!("{}{name}", self.at.prefix)) == wanted);
            if let Some(listed) = found.and_then(|name| Key::parse(name).ok()) {
                return Ok(Some(Respelled { asked: key.clone(), listed }));
            }
        }
        Ok(None)
    }

    fn is_known_to_fold(&self) -> bool {
        let now = self.store.ports.clock.now().seconds;
        let known = self.probe.known(now);
        known.is_some_and(|known| known.folds_names)
    }
}

impl Store {
    /// Returns whether the listing shows an object of this very name.
    pub(super) async fn is_listed(&self, name: &str) -> Result<bool, Fault> {
        // Of all names that begin with this one it is the first.
        let page = self.page(name, &Position::Start, 1).await?;
        Ok(page.objects.iter().any(|object| object.key == name))
    }
}
