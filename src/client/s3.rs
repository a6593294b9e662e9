//! The client of S3-compatible stores. Its files are the only ones that know the AWS SDK.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::location::{Bucket, StoreOptions};

mod connect;
mod fault;
mod limiter;
mod list;
mod order;
mod page;
mod requests;
mod store;
mod walk;

use requests::RequestLog;
use store::Store;

pub use store::Ports;

/// How a client of a store works, apart from where the store is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Time, randomness, and who may end the run.
    pub ports: Ports,
    /// Requests in flight at once, at most; `None` finds out how many are best.
    pub requests: Option<usize>,
    /// The size of the parts of large uploads in bytes; `None` follows from the size of the file.
    pub part_bytes: Option<u64>,
    /// Files above this many bytes go up in parts; `None` is 16 MiB.
    pub multipart_threshold: Option<u64>,
    /// Where replaced and deleted objects are kept, if not below the tree itself.
    pub trash: Option<Bucket>,
    /// The folder in which is remembered what a store can do and which uploads are under way; without it
    /// nothing is remembered.
    pub memory_dir: Option<PathBuf>,
}

/// A prefix of a bucket.
#[derive(Debug)]
pub struct S3Client {
    location: String,
    identity: String,
    at: Bucket,
    store: Store,
    setup: Setup,
    /// Whatever must live as long as the client.
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl S3Client {
    /// Connects to a store. Nothing is sent to it yet; credentials are looked for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for options that cannot work, and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if no credentials were found within 5 seconds.
    pub async fn open(at: Bucket, options: &StoreOptions, setup: Setup) -> Result<Self> {
        let log = RequestLog::default();
        let connection = connect::connect(options, log.clone()).await?;
        let location = format!("s3://{at}");
        let identity = match &connection.endpoint {
            None => location.clone(),
            Some(endpoint) => format!("s3+{}/{at}", endpoint.trim_end_matches('/')),
        };
        let store = Store::new(connection, at.name.clone(), log, setup.ports.clone(), setup.requests);
        Ok(Self { location, identity, at, store, setup, _keep: None })
    }

    /// Connects to the server inside this process that keeps its objects in `dir` (canonical) and answers at
    /// `endpoint`. `keep` lives as long as the client.
    pub fn open_embedded(
        at: Bucket,
        endpoint: &str,
        keys: (&str, &str),
        dir: &Path,
        keep: Arc<dyn Any + Send + Sync>,
        setup: Setup,
    ) -> Self {
        let log = RequestLog::default();
        let connection = connect::connect_embedded(endpoint, keys, log.clone());
        let location = format!("embedded://{at}");
        let identity = format!("embedded:{}//{at}", dir.display());
        let store = Store::new(connection, at.name.clone(), log, setup.ports.clone(), setup.requests);
        Self { location, identity, at, store, setup, _keep: Some(keep) }
    }
}
