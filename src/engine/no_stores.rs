//! What a build without the feature `s3` says of locations in stores.

use std::path::Path;
use std::sync::Arc;

use super::{SyncEngine, SyncOptions};
use crate::client::StorageClient;
use crate::error::{Error, ErrorKind, Result};
use crate::location::{Bucket, StoreOptions};

/// A server that cannot be.
#[derive(Debug)]
pub(super) enum Server {}

/// No servers.
#[derive(Debug, Default)]
pub(super) struct Servers;

/// Nothing to set.
#[derive(Debug)]
pub(super) struct Setup;

impl SyncEngine {
    #[expect(clippy::unused_self, reason = "as in a build with stores")]
    pub(super) fn setting(&self, _: &SyncOptions, _: Option<Bucket>, _: bool) -> Setup {
        Setup
    }

    #[expect(clippy::unused_async, reason = "as in a build with stores")]
    pub(super) async fn check_store(&self, _: &StoreOptions) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "as in a build with stores")]
    pub(super) async fn bucket(
        &self,
        at: &Bucket,
        _: &StoreOptions,
        _: Setup,
    ) -> Result<Arc<dyn StorageClient>> {
        Err(left_out(&format!("`s3://{at}`")))
    }

    #[expect(clippy::unused_async, reason = "as in a build with stores")]
    pub(super) async fn serve(&self, _: &Path) -> Result<Arc<Server>> {
        Err(left_out("`embedded://`"))
    }

    #[expect(clippy::unused_async, reason = "as in a build with stores")]
    pub(super) async fn retire(&self) {
        let Servers = *self.servers;
    }

    #[expect(clippy::unused_self, reason = "as in a build with stores")]
    pub(super) fn embedded_bucket(
        &self,
        _: &Bucket,
        server: &Arc<Server>,
        _: Setup,
    ) -> Arc<dyn StorageClient> {
        match **server {}
    }
}

fn left_out(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is in a store, which this build knows nothing of"))
        .with_hint("build with the features `s3` and `embedded`")
}
