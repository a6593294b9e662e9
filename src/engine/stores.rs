//! Clients of stores: a bucket somewhere, and one of the server inside this process.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "embedded")]
use std::sync::{Mutex, PoisonError};

use super::{SyncEngine, SyncOptions};
use crate::client::StorageClient;
use crate::client::s3::{Ports, S3Client, Setup};
#[cfg(feature = "embedded")]
use crate::embedded::{EmbeddedOptions, EmbeddedServer};
use crate::error::Result;
#[cfg(not(feature = "embedded"))]
use crate::error::{Error, ErrorKind};
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
    running: Arc<Running>,
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
            Arc::clone(&server.running) as Arc<dyn Any + Send + Sync>,
            setup,
        )))
    }
}

impl Server {
    /// Ends the server in order, so that the next start has nothing to look for.
    pub(super) async fn stop(&self) {
        self.running.stop().await;
    }
}

/// The server, until it is stopped.
#[cfg(feature = "embedded")]
#[derive(Debug)]
struct Running(Mutex<Option<EmbeddedServer>>);

#[cfg(feature = "embedded")]
impl Running {
    async fn stop(&self) {
        let server = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(server) = server else { return };
        if let Err(error) = server.stop().await {
            tracing::debug!(error = error.chain(), "the server did not end in order");
        }
    }
}

/// Starts a server; returns its address and what keeps it running.
#[cfg(feature = "embedded")]
async fn start(dir: &Path, access_key: &str, secret_key: &str) -> Result<(String, Arc<Running>)> {
    let (access_key, secret_key) = (access_key.to_owned(), secret_key.to_owned());
    let server =
        EmbeddedServer::start(EmbeddedOptions { access_key, secret_key, ..EmbeddedOptions::new(dir) });
    let server = server.await?;
    Ok((server.endpoint(), Arc::new(Running(Mutex::new(Some(server))))))
}

/// A server that cannot be.
#[cfg(not(feature = "embedded"))]
#[derive(Debug)]
enum Running {}

#[cfg(not(feature = "embedded"))]
impl Running {
    #[expect(clippy::unused_async, reason = "as in a build with a server")]
    async fn stop(&self) {
        match *self {}
    }
}

#[cfg(not(feature = "embedded"))]
#[expect(clippy::unused_async, reason = "as in a build with a server")]
async fn start(_: &Path, _: &str, _: &str) -> Result<(String, Arc<Running>)> {
    Err(Error::new(ErrorKind::Unsupported, "this build has no server for `embedded://` inside it")
        .with_hint("build with the feature `embedded`"))
}
