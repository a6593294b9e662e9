//! Changes of the index inside one transaction: buckets and objects.
//!
//! A change checks everything before it writes anything, so that one that is refused leaves the transaction
//! as it was and the changes of others in it are not lost.

use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};
use s3s::s3_error;

use super::blobs::{Blobs, StagedFile};
use super::condition::WriteConditions;
use super::failure::{Failure, Outcome};
use super::index::{
    self, BUCKETS, Bucket, CONTENTS, FILES, MANIFESTS, META, NEXT_ID, Name, OBJECTS, PARTS, PartName, Row,
    UPLOADS, UploadName, VERSIONS, VersionName,
};
use super::row::{Attributes, Body, Object, Place, Segment, Tag, encode_manifest};
use super::version::{self, Named, Version, Versioning};

mod multipart;
mod versions;

pub(super) use multipart::{Completion, NewPart};
pub(super) use versions::Deleted;

/// Content that has arrived whole and, if it is a file, is durable.
#[derive(Debug)]
pub(super) enum Content {
    Empty,
    Inline(Bytes),
    File(StagedFile),
}

/// The tables, open for writing.
#[derive(Debug)]
pub(super) struct Batch<'t> {
    blobs: &'t Blobs,
    /// Milliseconds since 1970, for everything that changes in this batch.
    pub(super) now: i64,
    meta: Table<'t, &'static str, u64>,
    buckets: Table<'t, &'static str, Row>,
    objects: Table<'t, Name, Row>,
    versions: Table<'t, VersionName, Row>,
    contents: Table<'t, u64, Row>,
    files: Table<'t, u64, u32>,
    manifests: Table<'t, u64, Row>,
    uploads: Table<'t, UploadName, Row>,
    parts: Table<'t, PartName, Row>,
    /// Files that no row refers to once this is committed.
    pub(super) freed: Vec<u64>,
}

/// An object as it is to be put.
#[derive(Debug)]
pub(super) struct NewObject {
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) tag: Tag,
    pub(super) checksum: Option<super::checksum::Checksum>,
    pub(super) attributes: Attributes,
}

/// The object that a copy is made of, as it was when it was judged.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) bucket: String,
    pub(super) key: String,
    /// Without a name it is the current version.
    pub(super) version: Option<Named>,
    /// It must still be this one.
    pub(super) tag: Tag,
    pub(super) modified: i64,
}

impl<'t> Batch<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, blobs: &'t Blobs, now: i64) -> Outcome<Self> {
        Ok(Self {
            blobs,
            now,
            meta: transaction.open_table(META)?,
            buckets: transaction.open_table(BUCKETS)?,
            objects: transaction.open_table(OBJECTS)?,
            versions: transaction.open_table(VERSIONS)?,
            contents: transaction.open_table(CONTENTS)?,
            files: transaction.open_table(FILES)?,
            manifests: transaction.open_table(MANIFESTS)?,
            uploads: transaction.open_table(UPLOADS)?,
            parts: transaction.open_table(PARTS)?,
            freed: Vec::new(),
        })
    }

    /// Writes down which numbers are used, and closes the tables. Returns the files that become free.
    pub(super) fn close(mut self) -> Outcome<Vec<u64>> {
        self.meta.insert(NEXT_ID, self.blobs.next_id())?;
        Ok(self.freed)
    }

    fn bucket(&self, name: &str) -> Outcome<u64> {
        Ok(index::bucket(&self.buckets, name)?.id)
    }

    pub(super) fn create_bucket(&mut self, name: &str) -> Outcome<()> {
        if self.buckets.get(name)?.is_some() {
            return Err(s3_error!(BucketAlreadyOwnedByYou).into());
        }
        let bucket = Bucket { id: self.blobs.new_id(), created: self.now, versioning: Versioning::Never };
        self.buckets.insert(name, bucket.encode().as_slice())?;
        Ok(())
    }

    /// Removes a bucket without any version and the uploads that are under way in it.
    pub(super) fn delete_bucket(&mut self, name: &str) -> Outcome<()> {
        let bucket = self.bucket(name)?;
        let is_empty = self.objects.range((bucket, &[][..])..(bucket + 1, &[][..]))?.next().is_none()
            && self.versions.range((bucket, &[][..], 0)..(bucket + 1, &[][..], 0))?.next().is_none();
        if !is_empty {
            return Err(s3_error!(BucketNotEmpty).into());
        }
        for (key, upload) in self.uploads_of(bucket)? {
            self.drop_upload(bucket, &key, upload)?;
        }
        self.buckets.remove(name)?;
        Ok(())
    }

    /// Puts an object and returns it as it is kept.
    pub(super) fn put_object(
        &mut self,
        bucket: &str,
        key: &str,
        conditions: &WriteConditions,
        new: NewObject,
    ) -> Outcome<Object> {
        let bucket = index::bucket(&self.buckets, bucket)?;
        let before = index::object(&self.objects, bucket.id, key)?;
        conditions.check(before.as_ref())?;
        let body = Body::One(self.keep(new.content)?);
        let object = Object {
            version: Version::ONLY,
            modified: self.now,
            size: new.size,
            tag: new.tag,
            checksum: new.checksum,
            body,
            attributes: new.attributes,
        };
        self.replace(bucket, key, before, object)
    }

    /// Makes an object of the content of another, without reading it.
    pub(super) fn copy_object(
        &mut self,
        source: &Source,
        (bucket, key): (&str, &str),
        conditions: &WriteConditions,
        attributes: Option<Attributes>,
    ) -> Outcome<Object> {
        let from = self.bucket(&source.bucket)?;
        let bucket = index::bucket(&self.buckets, bucket)?;
        let original = version::wanted(&self.objects, &self.versions, (from, &source.key), source.version)?;
        if (original.tag, original.modified) != (source.tag, source.modified) {
            return Err(s3_error!(OperationAborted, "The source has changed meanwhile.").into());
        }
        let before = index::object(&self.objects, bucket.id, key)?;
        conditions.check(before.as_ref())?;
        let body = self.share(&original)?;
        let mut copy = Object { modified: self.now, body, ..original };
        if let Some(attributes) = attributes {
            copy.attributes = attributes;
        }
        self.replace(bucket, key, before, copy)
    }

    /// Stores content and returns where.
    fn keep(&mut self, content: Content) -> Outcome<Place> {
        match content {
            Content::Empty => Ok(Place::Empty),
            Content::Inline(bytes) => {
                let id = self.blobs.new_id();
                self.contents.insert(id, &bytes[..])?;
                Ok(Place::Inline(id))
            }
            Content::File(file) => {
                let id = file.keep();
                self.files.insert(id, 1)?;
                Ok(Place::File(id))
            }
        }
    }

    /// Returns a body with the content of `object` that has a life of its own.
    fn share(&mut self, object: &Object) -> Outcome<Body> {
        let segments = index::segments(&self.manifests, object)?;
        let mut shared = Vec::with_capacity(segments.len());
        for segment in segments {
            shared.push(Segment { place: self.share_place(segment.place)?, size: segment.size });
        }
        match (object.body, shared.as_slice()) {
            (Body::One(_), [only]) => Ok(Body::One(only.place)),
            _ => self.keep_manifest(&shared),
        }
    }

    fn share_place(&mut self, place: Place) -> Outcome<Place> {
        match place {
            Place::Empty => Ok(Place::Empty),
            Place::Inline(id) => {
                let row = self.contents.get(id)?.ok_or(Failure::damaged("content is missing"))?;
                let bytes = row.value().to_vec();
                drop(row);
                self.keep(Content::Inline(bytes.into()))
            }
            Place::File(id) => {
                let count = self.references(id)?;
                self.files.insert(id, count.saturating_add(1))?;
                Ok(place)
            }
        }
    }

    fn references(&self, file: u64) -> Outcome<u32> {
        let count = self.files.get(file)?.ok_or(Failure::damaged("a file is missing"))?;
        Ok(count.value())
    }

    fn keep_manifest(&mut self, segments: &[Segment]) -> Outcome<Body> {
        let id = self.blobs.new_id();
        self.manifests.insert(id, encode_manifest(segments).as_slice())?;
        Ok(Body::Manifest(id))
    }

    /// Gives up the content of an object that is no more.
    fn release(&mut self, body: Body) -> Outcome<()> {
        match body {
            Body::One(place) => self.release_place(place),
            Body::Manifest(id) => {
                let segments = {
                    let row = self.manifests.remove(id)?.ok_or(Failure::damaged("a manifest is missing"))?;
                    super::row::decode_manifest(row.value())?
                };
                segments.into_iter().try_for_each(|segment| self.release_place(segment.place))
            }
        }
    }

    fn release_place(&mut self, place: Place) -> Outcome<()> {
        match place {
            Place::Empty => {}
            Place::Inline(id) => drop(self.contents.remove(id)?),
            Place::File(id) => {
                let count = self.references(id)?;
                if count > 1 {
                    self.files.insert(id, count - 1)?;
                } else {
                    self.files.remove(id)?;
                    self.freed.push(id);
                }
            }
        }
        Ok(())
    }
}
