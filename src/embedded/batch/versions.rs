//! Changes of the index for versions: what becomes of the current one, and removing one by its name.

use s3s::s3_error;

use super::Batch;
use crate::embedded::condition::DeleteConditions;
use crate::embedded::failure::Outcome;
use crate::embedded::index::{self, Bucket, SCHEMA, SCHEMA_NAME};
use crate::embedded::row::Object;
use crate::embedded::version::{self, Marker, Named, Past, Version, Versioning};

/// What a deletion did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::embedded) struct Deleted {
    /// The version that was removed, or that the marker now is.
    pub(in crate::embedded) version: Option<String>,
    /// Whether a marker was made or removed.
    pub(in crate::embedded) marker: bool,
}

impl Batch<'_> {
    /// Says what a bucket does from now on. Earlier versions of this program can no longer use the index.
    pub(in crate::embedded) fn put_versioning(&mut self, name: &str, versioning: Versioning) -> Outcome<()> {
        let bucket = Bucket { versioning, ..index::bucket(&self.buckets, name)? };
        self.meta.insert(SCHEMA_NAME, SCHEMA)?;
        self.buckets.insert(name, bucket.encode().as_slice())?;
        Ok(())
    }

    /// Makes an object the current version of its key, in place of `before`, and returns it as it is then.
    pub(super) fn replace(
        &mut self,
        bucket: Bucket,
        key: &str,
        before: Option<Object>,
        object: Object,
    ) -> Outcome<Object> {
        let version = self.make_way(bucket, key, before)?;
        let object = Object { version, ..object };
        self.objects.insert((bucket.id, key.as_bytes()), object.encode().as_slice())?;
        Ok(object)
    }

    /// Keeps the current version or gives it up, as the bucket does, and returns which the next one is.
    fn make_way(&mut self, bucket: Bucket, key: &str, before: Option<Object>) -> Outcome<Version> {
        let next = match bucket.versioning {
            Versioning::Never => Version::ONLY,
            Versioning::Enabled => Version { number: self.blobs.new_id(), null: false },
            Versioning::Suspended => {
                if let Some(past) = self.named(bucket.id, key, Named::Null)? {
                    self.drop_past(bucket.id, key, past)?;
                }
                Version { number: self.blobs.new_id(), null: true }
            }
        };
        match before {
            Some(before) if next.null && before.version.null => self.release(before.body)?,
            Some(before) => self.keep_past(bucket.id, key, before.version, &before.encode())?,
            None => {}
        }
        Ok(next)
    }

    /// Deletes an object if it is there. A bucket with versions keeps it behind a marker.
    pub(in crate::embedded) fn delete_object(
        &mut self,
        bucket: &str,
        key: &str,
        conditions: &DeleteConditions,
    ) -> Outcome<Deleted> {
        let bucket = index::bucket(&self.buckets, bucket)?;
        let before = index::object(&self.objects, bucket.id, key)?;
        match &before {
            Some(object) if !conditions.hold(object) => return Err(s3_error!(PreconditionFailed).into()),
            // What is demanded of an object is met by there being none, and nothing has to be marked.
            None if bucket.versioning == Versioning::Never || conditions.demand() => {
                return Ok(Deleted::default());
            }
            _ => {}
        }
        let version = self.make_way(bucket, key, before)?;
        self.objects.remove((bucket.id, key.as_bytes()))?;
        let marker = bucket.versioning != Versioning::Never;
        if marker {
            let row = Marker { version, modified: self.now }.encode();
            self.keep_past(bucket.id, key, version, &row)?;
        }
        Ok(Deleted { version: marker.then(|| version.show()), marker })
    }

    /// Removes a version for good, or a marker. Then the newest that is left is the current one.
    pub(in crate::embedded) fn delete_version(
        &mut self,
        bucket: &str,
        key: &str,
        name: Named,
        conditions: &DeleteConditions,
    ) -> Outcome<Deleted> {
        let bucket = self.bucket(bucket)?;
        let Some(found) = version::named(&self.objects, &self.versions, (bucket, key), name)? else {
            return Ok(Deleted::default());
        };
        let holds = match &found {
            Past::Object(object) => conditions.hold(object),
            Past::Marker(_) => !conditions.demand(),
        };
        if !holds {
            return Err(s3_error!(PreconditionFailed).into());
        }
        let deleted =
            Deleted { version: Some(found.version().show()), marker: matches!(found, Past::Marker(_)) };
        match (index::object(&self.objects, bucket, key)?, found) {
            (Some(current), Past::Object(found)) if current.version == found.version => {
                self.objects.remove((bucket, key.as_bytes()))?;
                self.release(found.body)?;
            }
            (_, found) => self.drop_past(bucket, key, found)?,
        }
        self.promote(bucket, key)?;
        Ok(deleted)
    }

    /// Makes the newest version current, if no row and no marker says what is.
    fn promote(&mut self, bucket: u64, key: &str) -> Outcome<()> {
        if index::object(&self.objects, bucket, key)?.is_some() {
            return Ok(());
        }
        let newest = version::past(&self.versions, bucket, key)?.next().transpose()?;
        if let Some(Past::Object(object)) = newest {
            self.versions.remove(version::row_name(bucket, key, object.version))?;
            self.objects.insert((bucket, key.as_bytes()), object.encode().as_slice())?;
        }
        Ok(())
    }

    fn named(&self, bucket: u64, key: &str, name: Named) -> Outcome<Option<Past>> {
        let found = version::named(&self.objects, &self.versions, (bucket, key), name)?;
        // The current version is not among the past ones.
        let current = index::object(&self.objects, bucket, key)?.map(|object| object.version);
        Ok(found.filter(|found| Some(found.version()) != current))
    }

    fn keep_past(&mut self, bucket: u64, key: &str, version: Version, row: &[u8]) -> Outcome<()> {
        self.versions.insert(version::row_name(bucket, key, version), row)?;
        Ok(())
    }

    fn drop_past(&mut self, bucket: u64, key: &str, past: Past) -> Outcome<()> {
        self.versions.remove(version::row_name(bucket, key, past.version()))?;
        match past {
            Past::Object(object) => self.release(object.body),
            Past::Marker(_) => Ok(()),
        }
    }
}
