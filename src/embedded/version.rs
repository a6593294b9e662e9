//! The versions of a key: their names, the rows of those that are not current, and finding them.
//!
//! The current version is an object's row, as in a bucket without versions. The others, and the markers of
//! deletions, have a table of their own, the newest of a key first. A key without a current row is deleted:
//! then the newest of its other rows, if it has any, is a marker.

use redb::ReadableTable;
use s3s::{S3Error, S3Response, S3Result, s3_error};

use super::codec::{Reader, Writer};
use super::failure::{Failure, Outcome};
use super::index::{self, Name, Row, VersionName};
use super::row::Object;

/// What a bucket does with what is replaced or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versioning {
    /// It was never asked to keep anything.
    Never,
    Enabled,
    /// It keeps what it has; what is new is named `null` and replaces what had that name.
    Suspended,
}

impl Versioning {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Never => 0,
            Self::Enabled => 1,
            Self::Suspended => 2,
        }
    }

    pub(super) fn of_code(code: u8) -> Outcome<Self> {
        let known = [Self::Never, Self::Enabled, Self::Suspended];
        known
            .into_iter()
            .find(|versioning| versioning.code() == code)
            .ok_or(Failure::damaged("a bucket has an unknown versioning"))
    }
}

/// Which of the versions of its key something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// Greater than those of the older versions of the key.
    pub(super) number: u64,
    /// Whether its name is `null`, which one version of a key has at most.
    pub(super) null: bool,
}

impl Version {
    /// What an object of a bucket without versions is.
    pub(super) const ONLY: Self = Self { number: 0, null: true };

    /// Returns its name.
    pub(super) fn show(self) -> String {
        if self.null { NULL.to_owned() } else { self.mark() }
    }

    /// Returns its name as the answer to a write has it, which does not say `null`.
    pub(super) fn told(self) -> Option<String> {
        (!self.null).then(|| self.show())
    }

    /// Returns its place among the versions of its key, for the next page of a listing.
    pub(super) fn mark(self) -> String {
        format!("{:016x}", self.number)
    }

    pub(super) fn put(self, row: &mut Writer) -> &mut Writer {
        match self {
            Self::ONLY => row.byte(ONLY),
            Self { number, null: true } => row.byte(NAMED_NULL).number(number),
            Self { number, null: false } => row.byte(NUMBERED).number(number),
        }
    }

    pub(super) fn read(row: &mut Reader<'_>) -> Outcome<Self> {
        match row.byte()? {
            ONLY => Ok(Self::ONLY),
            NAMED_NULL => Ok(Self { number: row.number()?, null: true }),
            NUMBERED => Ok(Self { number: row.number()?, null: false }),
            _ => Err(Failure::damaged("an object has an unknown version")),
        }
    }
}

/// The name of versions that were written while none were kept.
const NULL: &str = "null";

const ONLY: u8 = 0;
const NAMED_NULL: u8 = 1;
const NUMBERED: u8 = 2;
/// Stands in the place of those for a marker.
const MARKER: u8 = 3;

/// A version as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Null,
    Number(u64),
}

impl Named {
    /// Reads the name that a request gives, if it gives one.
    pub(super) fn parse(name: Option<&str>) -> S3Result<Option<Self>> {
        match name {
            None | Some("") => Ok(None),
            Some(NULL) => Ok(Some(Self::Null)),
            Some(name) => match u64::from_str_radix(name, 16) {
                Ok(number) => Ok(Some(Self::Number(number))),
                Err(_) => Err(s3_error!(InvalidArgument, "Invalid version id specified")),
            },
        }
    }

    fn is(self, version: Version) -> bool {
        match self {
            Self::Null => version.null,
            Self::Number(number) => !version.null && version.number == number,
        }
    }
}

/// The mark of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) version: Version,
    /// Milliseconds since 1970.
    pub(super) modified: i64,
}

/// A version, or the mark that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Past {
    Object(Box<Object>),
    Marker(Marker),
}

impl Marker {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut row = Writer::new();
        self.version.put(row.byte(MARKER)).signed(self.modified);
        row.finish()
    }

    /// Reads a row of the table of versions; `None` if it is of an object.
    pub(super) fn decode(row: &[u8]) -> Outcome<Option<Self>> {
        let mut row = Reader::new(row)?;
        if row.byte()? != MARKER {
            return Ok(None);
        }
        Ok(Some(Self { version: Version::read(&mut row)?, modified: row.signed()? }))
    }

    /// Returns the answer of this code to who wants what was deleted.
    fn refusal(self, mut error: S3Error) -> S3Error {
        let mut headers = S3Response::new(()).headers;
        for (name, value) in [("x-amz-delete-marker", "true"), ("x-amz-version-id", &self.version.show())] {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
        error.set_headers(headers);
        error
    }
}

impl Past {
    pub(super) fn version(&self) -> Version {
        match self {
            Self::Object(object) => object.version,
            Self::Marker(marker) => marker.version,
        }
    }

    fn decode(row: &[u8]) -> Outcome<Self> {
        match Marker::decode(row)? {
            Some(marker) => Ok(Self::Marker(marker)),
            None => Ok(Self::Object(Box::new(Object::decode(row)?))),
        }
    }
}

/// Returns the name of a row of the table of versions: the newest of a key comes first.
pub(super) fn row_name(bucket: u64, key: &str, version: Version) -> (u64, &[u8], u64) {
    (bucket, key.as_bytes(), !version.number)
}

/// Returns the rows of a key that are not current, the newest first.
pub(super) fn past<'t>(
    versions: &'t impl ReadableTable<VersionName, Row>,
    bucket: u64,
    key: &str,
) -> Outcome<impl Iterator<Item = Outcome<Past>> + 't> {
    let rows = versions.range((bucket, key.as_bytes(), 0)..=(bucket, key.as_bytes(), u64::MAX))?;
    Ok(rows.map(|row| Past::decode(row?.1.value())))
}

/// Finds a version by its name.
pub(super) fn named(
    objects: &impl ReadableTable<Name, Row>,
    versions: &impl ReadableTable<VersionName, Row>,
    (bucket, key): (u64, &str),
    name: Named,
) -> Outcome<Option<Past>> {
    if let Some(object) = index::object(objects, bucket, key)?.filter(|object| name.is(object.version)) {
        return Ok(Some(Past::Object(Box::new(object))));
    }
    match name {
        Named::Number(number) => {
            let row = versions.get((bucket, key.as_bytes(), !number))?;
            let found = row.map(|row| Past::decode(row.value())).transpose()?;
            Ok(found.filter(|found| name.is(found.version())))
        }
        Named::Null => past(versions, bucket, key)?
            .find(|found| found.as_ref().map_or(true, |found| name.is(found.version())))
            .transpose(),
    }
}

/// Finds the version that a request to read asks for, or says why there is none.
pub(super) fn wanted(
    objects: &impl ReadableTable<Name, Row>,
    versions: &impl ReadableTable<VersionName, Row>,
    (bucket, key): (u64, &str),
    name: Option<Named>,
) -> Outcome<Object> {
    let Some(name) = name else {
        if let Some(object) = index::object(objects, bucket, key)? {
            return Ok(object);
        }
        return Err(match past(versions, bucket, key)?.next().transpose()? {
            Some(Past::Marker(marker)) => marker.refusal(s3_error!(NoSuchKey)).into(),
            _ => s3_error!(NoSuchKey).into(),
        });
    };
    match named(objects, versions, (bucket, key), name)? {
        Some(Past::Object(object)) => Ok(*object),
        Some(Past::Marker(marker)) => Err(marker.refusal(s3_error!(MethodNotAllowed)).into()),
        None => Err(s3_error!(NoSuchVersion).into()),
    }
}
