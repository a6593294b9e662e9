//! Clients of stores: a bucket somewhere, and one of the server inside this process.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{SyncEngine, SyncOptions};
use crate::client::StorageClient;
use crate::client::s3::{Ports, S3Client, Setup};
use crate::error::{Error, ErrorKind, Result};
use crate::location::{Bucket, StoreOptions};

/// The folder in the state directory for what is remembered of stores.
const MEMORY: &str = "stores";

/// A server inside this process.
#[derive(Debug)]
pub(super) struct Server {
    endpoint: String,
    access_key: String,
    secret_key: String,
    dir: PathBuf,
    /// The server itself, which ends with the last client.
    running: Arc<dyn Any + Send + Sync>,
}

impl SyncEngine {
    /// Returns how the clients of stores are to work in this run.
    pub(super) fn setting(&self, options: &SyncOptions, trash: Option<Bucket>) -> Setup {
        Setup {
            ports: Ports {
                clock: Arc::clone(&self.clock),
                entropy: Arc::clone(&self.entropy),
                control: options.controller.clone(),
            },
            requests: options.tuning.requests,
            part_bytes: options.tuning.part_bytes,
            multipart_threshold: options.tuning.multipart_threshold,
            trash,
            // Without a state on disk there is no place for it.
            memory_dir: self.state.is_none().then(|| self.state_dir.join(MEMORY)),
        }
    }

    /// Connects to a bucket.
    pub(super) async fn bucket(
        &self,
        at: &Bucket,
        store: &StoreOptions,
        setup: Setup,
    ) -> Result<Arc<dyn StorageClient>> {
        Ok(Arc::new(Box::pin(S3Client::open(at.clone(), store, setup)).await?))
    }

    /// Starts the server that keeps its objects in `dir`, which is made if it does not exist. Only this process
    /// knows the keys.
    pub(super) async fn serve(&self, dir: &Path) -> Result<Server> {
        let key = || format!("{:016x}", self.entropy.next_u64());
        let (access_key, secret_key) = (key(), format!("{}{}", key(), key()));
        let (endpoint, running) = start(dir, &access_key, &secret_key).await?;
        Ok(Server { endpoint, access_key, secret_key, dir: dir.to_owned(), running })
    }

    /// Connects to a bucket of a server inside this process.
    #[expect(clippy::unused_self, reason = "as in a build without stores")]
    pub(super) fn embedded_bucket(
        &self,
        at: &Bucket,
        server: &Server,
        setup: Setup,
    ) -> Result<Arc<dyn StorageClient>> {
        Ok(Arc::new(S3Client::open_embedded(
            at.clone(),
            &server.endpoint,
            (&server.access_key, &server.secret_key),
            &server.dir,
            Arc::clone(&server.running),
            setup,
        )))
    }
}

/// Starts a server; returns its address and what keeps it running.
#[expect(clippy::unused_async, reason = "starting it listens on a port")]
async fn start(
    dir: &Path,
    access_key: &str,
    secret_key: &str,
) -> Result<(String, Arc<dyn Any + Send + Sync>)> {
    let _ = (dir, access_key, secret_key);
    Err(Error::new(ErrorKind::Unsupported, "this build has no server inside it")
        .with_hint("name a folder or s3://bucket/prefix"))
}
