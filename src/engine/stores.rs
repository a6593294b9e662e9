//! Clients of stores: a bucket somewhere, and one of the server inside this process.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{SyncEngine, SyncOptions};
use crate::client::StorageClient;
pub(super) use crate::client::s3::Setup;
use crate::client::s3::{Ports, S3Client};
use crate::clock::Clock;
#[cfg(feature = "embedded")]
use crate::embedded::{EmbeddedOptions, EmbeddedServer};
use crate::error::Result;
#[cfg(not(feature = "embedded"))]
use crate::error::{Error, ErrorKind};
use crate::location::{Bucket, StoreOptions};

/// The folder in the state directory for what is remembered of stores.
const MEMORY: &str = "stores";

/// A server inside this process.
pub(super) struct Server {
    /// Where its objects are (canonical).
    dir: PathBuf,
    access_key: String,
    secret_key: String,
    running: Running,
}

impl fmt::Debug for Server {
    /// Leaves out the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("dir", &self.dir)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// The servers of an engine: one for each directory, however many runs and sides use it.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<Vec<Arc<Server>>>);

impl SyncEngine {
    /// Returns how the clients of stores are to work in this run.
    pub(super) fn setting(&self, options: &SyncOptions, trash: Option<Bucket>, may_ask: bool) -> Setup {
        Setup {
            ports: Ports {
                clock: Arc::clone(&self.clock),
                entropy: Arc::clone(&self.entropy),
                control: options.controller.clone(),
            },
            requests: options.tuning.requests,
            part_bytes: options.tuning.part_bytes,
            memory_bytes: options.tuning.memory_bytes,
            multipart_threshold: options.tuning.multipart_threshold,
            retry_budget: options.tuning.retry_budget,
            trash,
            strict: options.strict,
            may_ask,
            // Without a state on disk there is no place for it.
            memory_dir: self.states.is_none().then(|| self.state_dir.join(MEMORY)),
        }
    }

    /// Checks what can be checked of a store before anybody is asked anything.
    pub(super) async fn check_store(&self, store: &StoreOptions) -> Result<()> {
        S3Client::check(store).await
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

    /// Returns the server that keeps its objects in `dir` (canonical), which is made if it does not exist.
    pub(super) async fn serve(&self, dir: &Path) -> Result<Arc<Server>> {
        // Held until the server has started: whoever comes meanwhile waits for it instead of being refused.
        let mut servers = self.servers.0.lock().await;
        if let Some(server) = servers.iter().find(|server| server.dir == dir) {
            return Ok(Arc::clone(server));
        }
        // Only this process knows the keys.
        let key = || format!("{:016x}", self.entropy.next_u64());
        let (access_key, secret_key) = (key(), format!("{}{}", key(), key()));
        let running = Running::start(dir, &access_key, &secret_key, Arc::clone(&self.clock)).await?;
        let server = Arc::new(Server { dir: dir.to_owned(), access_key, secret_key, running });
        servers.push(Arc::clone(&server));
        Ok(server)
    }

    /// Stops the servers that no run uses any more, so that the next one finds their directories free.
    pub(super) async fn retire(&self) {
        let mut servers = self.servers.0.lock().await;
        let mut used = Vec::new();
        for server in servers.drain(..) {
            match Arc::try_unwrap(server) {
                Ok(server) => {
                    if let Err(error) = server.running.stop().await {
                        // Nothing that was acknowledged is lost; the next start looks after the rest.
                        tracing::info!(
                            error = error.chain(),
                            "an embedded store was not closed in good order"
                        );
                    }
                }
                Err(server) => used.push(server),
            }
        }
        *servers = used;
    }

    /// Connects to a bucket of a server inside this process.
    #[expect(clippy::unused_self, reason = "as in a build without stores")]
    pub(super) fn embedded_bucket(
        &self,
        at: &Bucket,
        server: &Arc<Server>,
        setup: Setup,
    ) -> Arc<dyn StorageClient> {
        Arc::new(S3Client::open_embedded(
            at.clone(),
            &server.running.endpoint(),
            (&server.access_key, &server.secret_key),
            &server.dir,
            Arc::clone(server) as Arc<dyn Any + Send + Sync>,
            setup,
        ))
    }
}

/// The server itself.
#[cfg(feature = "embedded")]
#[derive(Debug)]
struct Running(EmbeddedServer);

#[cfg(feature = "embedded")]
impl Running {
    async fn start(dir: &Path, access_key: &str, secret_key: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let (access_key, secret_key) = (access_key.to_owned(), secret_key.to_owned());
        let options = EmbeddedOptions { access_key, secret_key, clock, ..EmbeddedOptions::new(dir) };
        Ok(Self(Box::pin(EmbeddedServer::start(options)).await?))
    }

    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    async fn stop(self) -> Result<()> {
        Box::pin(self.0.stop()).await
    }
}

/// A server that this build does not have.
#[cfg(not(feature = "embedded"))]
#[derive(Debug)]
enum Running {}

#[cfg(not(feature = "embedded"))]
impl Running {
    #[expect(clippy::unused_async, reason = "as in a build with a server")]
    async fn start(_: &Path, _: &str, _: &str, _: Arc<dyn Clock>) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "this build has no server for `embedded://` inside it")
            .with_hint("build with the feature `embedded`"))
    }

    fn endpoint(&self) -> String {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as in a build with a server")]
    async fn stop(self) -> Result<()> {
        match self {}
    }
}
