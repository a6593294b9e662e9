//! A folder and a bucket, what is remembered of both, and the program: what a test of stores is played in.

use std::sync::Arc;

use syncengine::embedded::Disturb;
use syncengine::{Report, SyncMode};

use super::bench::Bench;
use super::bucket::{Bucket, Embedded, Server};
use super::{Folder, Root, Tree};

/// The folder is `a` of the bench.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) folder: Folder,
    pub(crate) bucket: Bucket,
    pub(crate) mode: SyncMode,
    /// The server, if it is the world's own.
    _server: Option<Embedded>,
}

impl World {
    fn new(bucket: Bucket, server: Option<Embedded>) -> Self {
        let bench = Bench::new();
        let folder = Folder(bench.path("a"));
        Self { bench, folder, bucket, mode: SyncMode::TwoWay, _server: server }
    }

    /// Returns a world with a server of its own, which `disturb` disturbs.
    pub(crate) fn disturbed(disturb: Arc<dyn Disturb>) -> Self {
        Self::disturbed_at("", disturb)
    }

    /// As [`Self::disturbed`], at a prefix of its bucket.
    pub(crate) fn disturbed_at(prefix: &str, disturb: Arc<dyn Disturb>) -> Self {
        let world = Self::without_bucket(prefix, disturb);
        world.bucket.server.bucket("vault", prefix);
        world
    }

    /// As [`Self::disturbed_at`], of a server that has no bucket yet.
    pub(crate) fn without_bucket(prefix: &str, disturb: Arc<dyn Disturb>) -> Self {
        let server = Embedded::disturbed(disturb);
        Self::new(server.server.unmade("vault", prefix), Some(server))
    }

    /// Returns a world with a bucket of its own on a server that others use too.
    pub(crate) fn on(server: &Server, prefix: &str) -> Self {
        Self::new(server.place(prefix), None)
    }

    pub(crate) fn in_mode(self, mode: SyncMode) -> Self {
        Self { mode, ..self }
    }

    /// Syncs once, whatever the guards would say.
    pub(crate) async fn sync(&self) -> Report {
        self.bucket.sync_with(&self.folder, self.mode, self.bench.dir.path()).await
    }

    pub(crate) fn trees(&self) -> (Tree, Tree) {
        (self.folder.files(), self.bucket.files())
    }
}
