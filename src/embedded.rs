//! An S3-compatible server inside this process, on loopback, that keeps its objects in a folder.
//!
//! ```text
//!  connection ─► wire ─► s3s (HTTP, signatures, XML) ─► disturb ─► s3::* ─┬─► look: index, one moment
//!                                                                        ├─► ingest: body ─► file or memory
//!                                                                        └─► change: writer ─► batch ─► commit
//! ```
//!
//! What is acknowledged is durable: the content of an object is on the disk before its row is, and a row is
//! committed before the answer is sent. A process that is killed loses nothing that it acknowledged, shows
//! nothing in part, and leaves at most files that no row refers to, which the next start removes. Every
//! condition of a write is judged in the transaction that makes it.
//!
//! Buckets keep old versions where they are told to. It is no store for more than one machine: it listens on 127.0.0.1 only and
//! speaks plain HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, HttpResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::xml::escape_controls;

mod batch;
mod blobs;
mod checksum;
mod codec;
mod condition;
mod content;
mod dir;
mod disturb;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod index;
mod ingest;
mod listing;
mod row;
mod s3;
mod store;
mod version;
mod wire;
mod writer;

pub use disturb::{Disturb, Disturbance, Request};

use dir::Dir;
use disturb::{Gate, Turn, Watch};
use s3::Api;
use store::Store;
use wire::Wire;

/// The keys of a server that was given no others. They keep nobody out; only loopback does.
pub const DEFAULT_KEY: &str = "embedded";

/// How long requests under way are waited for when the server stops. Ours.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// How long is waited when no connection can be taken, such as for want of descriptors. Ours.
const BREATH: Duration = Duration::from_millis(50);

/// How long the head of a request may take to come whole.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// What a server needs to know.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// The folder of the objects, which is made if it is missing.
    pub dir: PathBuf,
    /// The port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// The access key that clients must use.
    pub access_key: String,
    /// The secret key that clients must use.
    pub secret_key: String,
    /// Faults for tests.
    pub disturb: Option<Arc<dyn Disturb>>,
    /// The times of objects.
    pub clock: Arc<dyn Clock>,
}

impl EmbeddedOptions {
    /// Returns the options for a server of `dir` with any free port and the default keys.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            port: 0,
            access_key: DEFAULT_KEY.into(),
            secret_key: DEFAULT_KEY.into(),
            disturb: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("dir", &self.dir)
            .field("port", &self.port)
            .field("access_key", &self.access_key)
            .field("secret_key", &"(redacted)")
            .field("disturb", &self.disturb)
            .field("clock", &self.clock)
            .finish()
    }
}

/// A running server. Dropping it ends it at once, as a kill would, but the folder is free only when the
/// runtime has dropped what was under way; [`Self::stop`] waits for that.
#[derive(Debug)]
pub struct EmbeddedServer {
    port: u16,
    dir: PathBuf,
    watch: Arc<Watch>,
    store: Arc<Store>,
    stopping: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl EmbeddedServer {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Locked`] names the process that uses the folder. [`ErrorKind::Unavailable`]: the port is
    /// taken. [`ErrorKind::Invalid`]: the folder holds other things. [`ErrorKind::Unsupported`]: a later
    /// version of this program wrote it. [`ErrorKind::Corrupt`]: its index is damaged.
    pub async fn start(options: EmbeddedOptions) -> Result<Self> {
        let EmbeddedOptions { dir, port, access_key, secret_key, disturb, clock } = options;
        let locking = tokio::task::spawn_blocking(move || Dir::open(&dir));
        let dir = locking.await.map_err(|error| failed("open the embedded store", error))??;
        // Before the store is opened: a mistake with the port is to leave it as it is.
        let listener = listen(port).await?;
        let port = listener.local_addr().map_err(|error| Error::io("ask for the port", error))?.port();
        let watch = Arc::new(Watch::new(disturb, Arc::clone(&clock)));
        let opening = tokio::task::spawn_blocking(move || {
            let store = Store::open(dir, clock)?;
            crate::ownership::give_back(store.dir());
            Ok::<_, Error>(store)
        });
        let store = opening.await.map_err(|error| failed("open the embedded store", error))??;
        let store = Arc::new(store);
        let (stopping, stopped) = watch::channel(false);
        let service = Service {
            store: Arc::clone(&store),
            watch: Arc::clone(&watch),
            access_key,
            secret_key: secret_key.into(),
            stopped,
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(service.accept(listener));
        Ok(Self { port, dir: store.dir().to_owned(), watch, store, stopping, accepting })
    }

    /// Returns where clients find it, such as `http://127.0.0.1:9000`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the canonical path of the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns how many requests there have been, by the name of their operation, such as `PutObject`.
    pub fn request_counts(&self) -> BTreeMap<String, u64> {
        self.watch.counts()
    }

    /// Stops: takes no more requests, lets those under way end for up to 10 seconds, and frees the folder.
    ///
    /// # Errors
    ///
    /// An error means that the next start has to look for what was left; nothing acknowledged is lost.
    ///
    /// # Cancellation
    ///
    /// As if the server was dropped.
    pub async fn stop(mut self) -> Result<()> {
        self.stopping.send_replace(true);
        let ended = async { while self.accepting.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(LAST_WAIT, ended).await.is_ok();
        self.accepting.shutdown().await;
        let mut store = self.store;
        // Work of requests that were cut off may still run on threads; it ends by itself.
        for _ in 0..if in_time { 100 } else { 200 } {
            match Arc::try_unwrap(store) {
                Ok(whole) => {
                    let closing = tokio::task::spawn_blocking(move || {
                        let closed = whole.close();
                        crate::ownership::give_back(&self.dir);
                        closed
                    });
                    return closing.await.map_err(|error| failed("close the embedded store", error))?;
                }
                Err(shared) => store = shared,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Error::new(ErrorKind::Internal, "close the embedded store: a request does not end"))
    }
}

fn failed(doing: &str, error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, doing).with_source(error)
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Error::new(ErrorKind::Unavailable, format!("the port {port} of 127.0.0.1 is taken"))
                .with_source(error)
                .with_hint("name another one with --port, or leave it out for any free one")
        }
        _ => Error::io(format!("listen on port {port} of 127.0.0.1"), error),
    })
}

/// What every connection is made of.
struct Service {
    store: Arc<Store>,
    watch: Arc<Watch>,
    access_key: String,
    secret_key: SecretKey,
    stopped: watch::Receiver<bool>,
}

impl Service {
    /// Takes connections until the server stops, then waits for those that are left.
    async fn accept(mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = self.stopped.changed() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(self.serve(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be taken");
                        tokio::time::sleep(BREATH).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop((listener, self));
        while connections.join_next().await.is_some() {}
    }

    /// Returns the work of one connection.
    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let turn = Arc::new(Turn::new(Arc::clone(&self.watch)));
        let mut builder =
            S3ServiceBuilder::new(Api { store: Arc::clone(&self.store), turn: Arc::clone(&turn) });
        builder.set_auth(Keys { access_key: self.access_key.clone(), secret_key: self.secret_key.clone() });
        builder.set_access(Gate(Arc::clone(&turn)));
        let service = Legible(builder.build());
        let mut stopped = self.stopped.clone();
        async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "answers may be slow");
            }
            let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
            let connection = server.serve_connection(TokioIo::new(Wire::new(stream, turn)), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopped.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
        }
    }
}

/// What answers that tell names are.
const XML: &str = "application/xml";

/// A service whose answers are XML that can be read, whatever characters are in the names they tell.
struct Legible(S3Service);

impl hyper::service::Service<hyper::Request<hyper::body::Incoming>> for Legible {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<HttpResponse, HttpError>>;

    fn call(&self, request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        let answer = hyper::service::Service::call(&self.0, request);
        async move {
            let mut answer = answer.await?;
            let is_xml = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == XML);
            if is_xml && let Some(text) = answer.body_mut().take_bytes() {
                answer.headers_mut().remove(CONTENT_LENGTH);
                *answer.body_mut() = escape_controls(text).into();
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// The one pair of keys that a server takes.
struct Keys {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> s3s::S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3s::s3_error!(InvalidAccessKeyId, "No such access key"))
    }
}

#[cfg(test)]
mod tests;
