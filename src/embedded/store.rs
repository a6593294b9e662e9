//! The store: the folder, the index, the files and the writer, as one thing to ask and to change.

use std::sync::Arc;

use redb::Database;
use s3s::{S3Error, S3Result};

use super::batch::Batch;
use super::blobs::{Blobs, sync_folder};
use super::content::Segments;
use super::dir::Dir;
use super::failure::Outcome;
use super::index::{self, View};
use super::row::{Object, Segment};
use super::version::{Named, Versioning};
use super::writer::Writer;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Everything that is stored. Dropping it stops the writer, closes the index and frees the folder, in this
/// order.
#[derive(Debug)]
pub(super) struct Store {
    writer: Writer,
    database: Arc<Database>,
    blobs: Arc<Blobs>,
    dir: Dir,
}

/// An object that is to be read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) object: Object,
    /// The name of its version, in a bucket that has versions.
    pub(super) version: Option<String>,
    pub(super) segments: Segments,
}

/// What there is to read of an object: the index as it was then, its row, the name of its version, and where
/// its content is.
type Found = (View, Object, Option<String>, Vec<Segment>);

impl Store {
    /// Opens the store in `dir`. After a kill, files that no object has are removed.
    pub(super) fn open(dir: Dir, clock: Arc<dyn Clock>) -> Result<Self> {
        let (database, found) = index::open(&dir.index())?;
        let blobs = Arc::new(Blobs::open(dir.data(), found.next_id)?);
        let doing = || format!("open the embedded store `{}`", dir.path().display());
        sync_folder(dir.path()).map_err(|error| Error::io(doing(), error))?;
        if !found.clean {
            let failed = |failure: super::failure::Failure| failure.while_doing(doing());
            let view = View::of(&database).map_err(failed)?;
            let removed = blobs.sweep(|id| view.refers_to(id)).map_err(failed)?;
            tracing::info!(removed, "the last process was killed; its unfinished files are gone");
        }
        let database = Arc::new(database);
        let writer = Writer::start(Arc::clone(&database), Arc::clone(&blobs), clock)?;
        Ok(Self { writer, database, blobs, dir })
    }

    pub(super) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(super) fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// Makes a change and returns when it is durable.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Batch<'_>) -> Outcome<T> + Send + 'static,
    ) -> S3Result<T> {
        self.writer.submit(change).await
    }

    /// Reads the index at one moment, on a thread that may block.
    pub(super) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&View) -> Outcome<T> + Send + 'static,
    ) -> S3Result<T> {
        let database = Arc::clone(&self.database);
        blocking(move || look(&View::of(&database)?)).await
    }

    /// Reads an object and keeps its content until it has been read.
    pub(super) async fn open_object(
        self: &Arc<Self>,
        bucket: String,
        key: String,
        version: Option<Named>,
    ) -> S3Result<Opened> {
        let (database, blobs) = (Arc::clone(&self.database), Arc::clone(&self.blobs));
        blocking(move || {
            let found = || -> Outcome<Found> {
                let view = View::of(&database)?;
                let bucket = view.bucket(&bucket)?;
                let object = view.wanted(bucket.id, &key, version)?;
                let segments = view.segments(&object)?;
                let told = (bucket.versioning != Versioning::Never).then(|| object.version.show());
                Ok((view, object, told, segments))
            };
            let (view, object, version, segments) = found()?;
            if !segments.iter().any(Segment::is_file) {
                return Ok(Opened { object, version, segments: Segments::read(&view, &segments, None)? });
            }
            // Again, now that no file can be removed between the look and the hold.
            let ((view, object, version, segments), held) = blobs.hold(|| {
                let found = found()?;
                let places = found.3.iter().map(|segment| segment.place).collect();
                Ok((found, places))
            })?;
            Ok(Opened { object, version, segments: Segments::read(&view, &segments, Some(held))? })
        })
        .await
    }

    /// Ends in good order, so that the next start need not look for what was left.
    pub(super) fn close(mut self) -> Result<()> {
        let well = self.writer.end() && self.blobs.free_doomed();
        if !well {
            return Ok(());
        }
        let doing = || format!("close the embedded store `{}`", self.dir.path().display());
        index::mark_clean(&self.database).map_err(|failure| failure.while_doing(doing()))
    }
}

/// Runs what may block on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> S3Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(S3Error::from),
        Err(error) => Err(S3Error::internal_error(error)),
    }
}
