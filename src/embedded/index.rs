//! The index: ordered tables in one redb file, and what is read from them at one moment.
//!
//! An object's row is found by its bucket's number and its key, so a page of a listing is one range of rows.
//! Only the current version of an object is there; the others have a table of their own.

use std::path::Path;

use bytes::Bytes;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use s3s::s3_error;

use super::codec::{Reader, Writer};
use super::failure::{Failure, Outcome};
use super::listing::{self, Page, PageQuery, VersionsPage};
use super::row::{Body, Object, Part, Place, Segment, Upload, decode_manifest};
use super::version::{self, Named, Past, Versioning};
use crate::error::{Error, ErrorKind, Result};

/// A bucket's number and a key.
pub(super) type Name = (u64, &'static [u8]);
/// A bucket's number, a key, and an upload's number.
pub(super) type UploadName = (u64, &'static [u8], u64);
/// A bucket's number, a key, and the complement of a version's number.
pub(super) type VersionName = UploadName;
/// An upload's number and a part's.
pub(super) type PartName = (u64, u32);
pub(super) type Row = &'static [u8];

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const BUCKETS: TableDefinition<'_, &str, Row> = TableDefinition::new("buckets");
pub(super) const OBJECTS: TableDefinition<'_, Name, Row> = TableDefinition::new("objects");
/// Versions that are not current, and the markers of deletions.
pub(super) const VERSIONS: TableDefinition<'_, VersionName, Row> = TableDefinition::new("versions");
/// The content of small objects.
pub(super) const CONTENTS: TableDefinition<'_, u64, Row> = TableDefinition::new("contents");
/// How many rows refer to a file. A file that is not here is left of a write that was cut off.
pub(super) const FILES: TableDefinition<'_, u64, u32> = TableDefinition::new("files");
pub(super) const MANIFESTS: TableDefinition<'_, u64, Row> = TableDefinition::new("manifests");
pub(super) const UPLOADS: TableDefinition<'_, UploadName, Row> = TableDefinition::new("uploads");
pub(super) const PARTS: TableDefinition<'_, PartName, Row> = TableDefinition::new("parts");

/// The form of the tables. A greater number is of a later version of this program.
pub(super) const SCHEMA: u64 = 2;

/// The form of tables in which no bucket has versions, so that earlier versions of this program can use them.
const FIRST_SCHEMA: u64 = 1;

/// Memory for pages of the index. Ours: enough for the upper levels of a million objects.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Names in [`META`].
pub(super) const NEXT_ID: &str = "next-id";
pub(super) const SCHEMA_NAME: &str = "schema";
const CLEAN: &str = "clean";

/// How the index was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether the last process stopped in good order.
    pub(super) clean: bool,
    /// The first number that was never used.
    pub(super) next_id: u64,
}

/// Opens the index, making it if there is none.
pub(super) fn open(path: &Path) -> Result<(Database, Found)> {
    let doing = || format!("open the index `{}`", path.display());
    let failed = |failure: Failure| match failure.while_doing(doing()) {
        error if error.kind() == ErrorKind::Corrupt => {
            error.with_hint("put a copy of the server's folder back, or name another one with --embedded-dir")
        }
        error => error,
    };
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| failed(error.into()))?;
    let found = prepare(&database).map_err(failed)?;
    found.map(|found| (database, found)).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, doing())
            .with_source("it was written by a later version of this program")
            .with_hint("use that version, or another folder")
    })
}

/// Makes the tables and says how they were left. From here on the index is in use, until it is closed.
fn prepare(database: &Database) -> Outcome<Option<Found>> {
    let transaction = begin(database)?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get(SCHEMA_NAME)?.map(|value| value.value());
        if schema.is_some_and(|schema| schema > SCHEMA) {
            return Ok(None);
        }
        let clean = schema.is_none() || meta.get(CLEAN)?.is_some_and(|value| value.value() == 1);
        let next_id = meta.get(NEXT_ID)?.map_or(1, |value| value.value());
        meta.insert(SCHEMA_NAME, schema.unwrap_or(FIRST_SCHEMA))?;
        meta.insert(CLEAN, 0)?;
        Found { clean, next_id }
    };
    transaction.open_table(BUCKETS)?;
    transaction.open_table(OBJECTS)?;
    transaction.open_table(VERSIONS)?;
    transaction.open_table(CONTENTS)?;
    transaction.open_table(FILES)?;
    transaction.open_table(MANIFESTS)?;
    transaction.open_table(UPLOADS)?;
    transaction.open_table(PARTS)?;
    transaction.commit()?;
    Ok(Some(found))
}

/// Begins a change that is durable when it has been committed.
pub(super) fn begin(database: &Database) -> Outcome<redb::WriteTransaction> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(|error| Failure::Fault(Box::new(error)))?;
    Ok(transaction)
}

/// Writes down that nothing is under way.
pub(super) fn mark_clean(database: &Database) -> Outcome<()> {
    let transaction = begin(database)?;
    transaction.open_table(META)?.insert(CLEAN, 1)?;
    Ok(transaction.commit()?)
}

/// A bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) id: u64,
    /// Milliseconds since 1970.
    pub(super) created: i64,
    pub(super) versioning: Versioning,
}

impl Bucket {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut row = Writer::new();
        row.number(self.id).signed(self.created);
        if self.versioning != Versioning::Never {
            row.byte(self.versioning.code());
        }
        row.finish()
    }

    fn decode(row: &[u8]) -> Outcome<Self> {
        let mut row = Reader::new(row)?;
        let (id, created) = (row.number()?, row.signed()?);
        let code = if row.is_at_end() { Versioning::Never.code() } else { row.byte()? };
        Ok(Self { id, created, versioning: Versioning::of_code(code)? })
    }
}

/// Finds a bucket, in a reading or a writing transaction.
pub(super) fn bucket(table: &impl ReadableTable<&'static str, Row>, name: &str) -> Outcome<Bucket> {
    let row = table.get(name)?.ok_or_else(|| s3_error!(NoSuchBucket))?;
    Bucket::decode(row.value())
}

/// Finds an object.
pub(super) fn object(
    table: &impl ReadableTable<Name, Row>,
    bucket: u64,
    key: &str,
) -> Outcome<Option<Object>> {
    table.get((bucket, key.as_bytes()))?.map(|row| Object::decode(row.value())).transpose()
}

/// Finds an upload that is under way.
pub(super) fn upload(
    table: &impl ReadableTable<UploadName, Row>,
    bucket: u64,
    key: &str,
    id: u64,
) -> Outcome<Upload> {
    let row = table.get((bucket, key.as_bytes(), id))?.ok_or_else(|| s3_error!(NoSuchUpload))?;
    Upload::decode(row.value())
}

/// Returns the segments of an object, in order.
pub(super) fn segments(table: &impl ReadableTable<u64, Row>, object: &Object) -> Outcome<Vec<Segment>> {
    match object.body {
        Body::One(place) => Ok(vec![Segment { place, size: object.size }]),
        Body::Manifest(id) => {
            let row = table.get(id)?.ok_or(Failure::damaged("a manifest is missing"))?;
            decode_manifest(row.value())
        }
    }
}

/// The keys, numbers and rows of uploads, and whether more follow.
pub(super) type UploadsPage = (Vec<(String, u64, Upload)>, bool);

/// The index at one moment.
#[derive(Debug)]
pub(super) struct View(ReadTransaction);

impl View {
    pub(super) fn of(database: &Database) -> Outcome<Self> {
        Ok(Self(database.begin_read()?))
    }

    pub(super) fn buckets(&self) -> Outcome<Vec<(String, Bucket)>> {
        let mut buckets = Vec::new();
        for row in self.0.open_table(BUCKETS)?.iter()? {
            let (name, row) = row?;
            buckets.push((name.value().to_owned(), Bucket::decode(row.value())?));
        }
        Ok(buckets)
    }

    pub(super) fn bucket(&self, name: &str) -> Outcome<Bucket> {
        bucket(&self.0.open_table(BUCKETS)?, name)
    }

    pub(super) fn object(&self, bucket: u64, key: &str) -> Outcome<Option<Object>> {
        object(&self.0.open_table(OBJECTS)?, bucket, key)
    }

    /// Finds the version that a request to read asks for, or says why there is none.
    pub(super) fn wanted(&self, bucket: u64, key: &str, name: Option<Named>) -> Outcome<Object> {
        let (objects, versions) = (self.0.open_table(OBJECTS)?, self.0.open_table(VERSIONS)?);
        version::wanted(&objects, &versions, (bucket, key), name)
    }

    /// Finds a version by its name.
    pub(super) fn named(&self, bucket: u64, key: &str, name: Named) -> Outcome<Option<Past>> {
        let (objects, versions) = (self.0.open_table(OBJECTS)?, self.0.open_table(VERSIONS)?);
        version::named(&objects, &versions, (bucket, key), name)
    }

    pub(super) fn versions(&self, query: &PageQuery<'_>, after: Option<u64>) -> Outcome<VersionsPage> {
        let (objects, versions) = (self.0.open_table(OBJECTS)?, self.0.open_table(VERSIONS)?);
        listing::versions(&objects, &versions, query, after)
    }

    pub(super) fn segments(&self, object: &Object) -> Outcome<Vec<Segment>> {
        segments(&self.0.open_table(MANIFESTS)?, object)
    }

    /// Returns the content of a segment that is in the index.
    pub(super) fn content(&self, place: Place) -> Outcome<Bytes> {
        let Place::Inline(id) = place else { return Ok(Bytes::new()) };
        let row = self.0.open_table(CONTENTS)?.get(id)?.ok_or(Failure::damaged("content is missing"))?;
        Ok(Bytes::copy_from_slice(row.value()))
    }

    pub(super) fn page(&self, query: &PageQuery<'_>) -> Outcome<Page> {
        listing::page(&self.0.open_table(OBJECTS)?, query)
    }

    pub(super) fn upload(&self, bucket: u64, key: &str, id: u64) -> Outcome<Upload> {
        upload(&self.0.open_table(UPLOADS)?, bucket, key, id)
    }

    /// Returns up to `most` uploads of keys with `prefix` that come after `after`, and whether there are more.
    pub(super) fn uploads(
        &self,
        bucket: u64,
        prefix: &str,
        after: (&str, u64),
        most: usize,
    ) -> Outcome<UploadsPage> {
        let from = after.max((prefix, 0));
        let table = self.0.open_table(UPLOADS)?;
        let mut uploads = Vec::new();
        for row in table.range((bucket, from.0.as_bytes(), from.1)..(bucket + 1, &[][..], 0))? {
            let (name, row) = row?;
            let (_, key, id) = name.value();
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            let key = text(key)?;
            if (key.as_str(), id) <= after {
                continue;
            }
            if uploads.len() == most {
                return Ok((uploads, true));
            }
            uploads.push((key, id, Upload::decode(row.value())?));
        }
        Ok((uploads, false))
    }

    /// Returns up to `most` parts of an upload with numbers above `after`, and whether there are more.
    pub(super) fn parts(&self, upload: u64, after: u32, most: usize) -> Outcome<(Vec<(u32, Part)>, bool)> {
        let table = self.0.open_table(PARTS)?;
        let mut parts = Vec::new();
        for row in table.range((upload, after.saturating_add(1))..=(upload, u32::MAX))? {
            let (name, row) = row?;
            if parts.len() == most {
                return Ok((parts, true));
            }
            parts.push((name.value().1, Part::decode(row.value())?));
        }
        Ok((parts, false))
    }

    /// Returns whether some row refers to this file.
    pub(super) fn refers_to(&self, file: u64) -> Outcome<bool> {
        Ok(self.0.open_table(FILES)?.get(file)?.is_some())
    }
}

/// Returns a key as text, which all keys are.
pub(super) fn text(key: &[u8]) -> Outcome<String> {
    String::from_utf8(key.to_vec()).map_err(|_| Failure::damaged("a key is not UTF-8"))
}
