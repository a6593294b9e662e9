//! The rows of the index: what is kept of an object, of an upload under way, and of its parts.
//!
//! What a listing shows stands first in a row, so that a page is made without reading the rest of it.

use super::checksum::{Algorithm, Checksum, Form};
use super::codec::{Reader, Writer};
use super::failure::{Failure, Outcome};
use super::version::Version;

/// An ETag: the MD5 of the content, or of the MD5s of so many parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) md5: [u8; 16],
    /// 0 for an object that was sent in one piece.
    pub(super) parts: u32,
}

impl Tag {
    /// Returns the tag as S3 shows it, without quotes.
    pub(super) fn show(self) -> String {
        let mut text = hex(&self.md5);
        if self.parts > 0 {
            text.push('-');
            text.push_str(&self.parts.to_string());
        }
        text
    }
}

/// Returns bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// A run of bytes that is stored as one thing. The number is its name and is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing to store.
    Empty,
    /// A row of the table of contents.
    Inline(u64),
    /// A file, which more than one object may refer to.
    File(u64),
}

/// Where the content of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// In one place.
    One(Place),
    /// In the segments that the manifest of this number lists, one for each part.
    Manifest(u64),
}

/// A part of an object's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) place: Place,
    pub(super) size: u64,
}

impl Segment {
    pub(super) fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }
}

/// What a client said about an object besides its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) metadata: Vec<(String, String)>,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) version: Version,
    /// Milliseconds since 1970.
    pub(super) modified: i64,
    pub(super) size: u64,
    pub(super) tag: Tag,
    pub(super) checksum: Option<Checksum>,
    pub(super) body: Body,
    pub(super) attributes: Attributes,
}

/// What a listing shows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) version: Version,
    pub(super) modified: i64,
    pub(super) size: u64,
    pub(super) tag: Tag,
    pub(super) checksum: Option<(Algorithm, Form)>,
}

/// An upload of parts that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    /// Milliseconds since 1970.
    pub(super) initiated: i64,
    /// What the client announced to send with the parts.
    pub(super) checksum: Option<(Algorithm, Form)>,
    pub(super) attributes: Attributes,
}

/// A part of an upload that has not been completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Milliseconds since 1970.
    pub(super) modified: i64,
    pub(super) md5: [u8; 16],
    pub(super) checksum: Option<Checksum>,
    pub(super) segment: Segment,
}

impl Object {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::new();
        self.version.put(&mut row).signed(self.modified).number(self.size).array(&self.tag.md5);
        row.number(self.tag.parts.into());
        put_checksum(&mut row, self.checksum.as_ref());
        match self.body {
            Body::One(place) => put_place(&mut row, place),
            Body::Manifest(id) => row.byte(MANIFEST).number(id),
        };
        put_attributes(&mut row, &self.attributes);
        row.finish()
    }

    pub(super) fn decode(row: &[u8]) -> Outcome<Self> {
        let mut row = Reader::new(row)?;
        let (version, modified, size, tag) = head(&mut row)?;
        let checksum = checksum(&mut row)?;
        let body = match row.byte()? {
            MANIFEST => Body::Manifest(row.number()?),
            kind => Body::One(place_of(kind, &mut row)?),
        };
        Ok(Self { version, modified, size, tag, checksum, body, attributes: attributes(&mut row)? })
    }
}

impl Summary {
    pub(super) fn decode(row: &[u8]) -> Outcome<Self> {
        let mut row = Reader::new(row)?;
        let (version, modified, size, tag) = head(&mut row)?;
        let checksum = checksum(&mut row)?.map(|checksum| (checksum.algorithm, checksum.form));
        Ok(Self { version, modified, size, tag, checksum })
    }
}

impl Upload {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::new();
        row.signed(self.initiated);
        match self.checksum {
            Some((algorithm, form)) => row.byte(algorithm.code()).byte(form.code()),
            None => row.byte(0),
        };
        put_attributes(&mut row, &self.attributes);
        row.finish()
    }

    pub(super) fn decode(row: &[u8]) -> Outcome<Self> {
        let mut row = Reader::new(row)?;
        let initiated = row.signed()?;
        let checksum = match row.byte()? {
            0 => None,
            code => Some((Algorithm::of_code(code)?, Form::of_code(row.byte()?)?)),
        };
        Ok(Self { initiated, checksum, attributes: attributes(&mut row)? })
    }
}

impl Part {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::new();
        row.signed(self.modified).array(&self.md5);
        put_checksum(&mut row, self.checksum.as_ref());
        put_place(&mut row, self.segment.place).number(self.segment.size);
        row.finish()
    }

    pub(super) fn decode(row: &[u8]) -> Outcome<Self> {
        let mut row = Reader::new(row)?;
        let (modified, md5) = (row.signed()?, row.array()?);
        let checksum = checksum(&mut row)?;
        let kind = row.byte()?;
        let place = place_of(kind, &mut row)?;
        Ok(Self { modified, md5, checksum, segment: Segment { place, size: row.number()? } })
    }
}

/// Returns the row of a manifest.
pub(super) fn encode_manifest(segments: &[Segment]) -> Vec<u8> {
    let mut row = Writer::new();
    row.number(segments.len() as u64);
    for segment in segments {
        put_place(&mut row, segment.place).number(segment.size);
    }
    row.finish()
}

/// Reads the row of a manifest.
pub(super) fn decode_manifest(row: &[u8]) -> Outcome<Vec<Segment>> {
    let mut row = Reader::new(row)?;
    let count = row.number()?;
    let mut segments = Vec::new();
    for _ in 0..count {
        let kind = row.byte()?;
        segments.push(Segment { place: place_of(kind, &mut row)?, size: row.number()? });
    }
    Ok(segments)
}

const EMPTY: u8 = 0;
const INLINE: u8 = 1;
const FILE: u8 = 2;
const MANIFEST: u8 = 3;

fn put_place(row: &mut Writer, place: Place) -> &mut Writer {
    match place {
        Place::Empty => row.byte(EMPTY),
        Place::Inline(id) => row.byte(INLINE).number(id),
        Place::File(id) => row.byte(FILE).number(id),
    }
}

fn place_of(kind: u8, row: &mut Reader<'_>) -> Outcome<Place> {
    match kind {
        EMPTY => Ok(Place::Empty),
        INLINE => Ok(Place::Inline(row.number()?)),
        FILE => Ok(Place::File(row.number()?)),
        _ => Err(Failure::damaged("content is in an unknown place")),
    }
}

fn head(row: &mut Reader<'_>) -> Outcome<(Version, i64, u64, Tag)> {
    let version = Version::read(row)?;
    let (modified, size, md5) = (row.signed()?, row.number()?, row.array()?);
    Ok((version, modified, size, Tag { md5, parts: row.small()? }))
}

fn put_checksum(row: &mut Writer, checksum: Option<&Checksum>) {
    match checksum {
        Some(checksum) => {
            row.byte(checksum.algorithm.code()).byte(checksum.form.code()).text(&checksum.value)
        }
        None => row.byte(0),
    };
}

fn checksum(row: &mut Reader<'_>) -> Outcome<Option<Checksum>> {
    let code = row.byte()?;
    if code == 0 {
        return Ok(None);
    }
    let (algorithm, form) = (Algorithm::of_code(code)?, Form::of_code(row.byte()?)?);
    Ok(Some(Checksum { algorithm, form, value: row.text()?.to_owned() }))
}

fn put_attributes(row: &mut Writer, attributes: &Attributes) {
    let known = attributes.known();
    for text in known {
        match text {
            Some(text) => row.byte(1).text(text),
            None => row.byte(0),
        };
    }
    row.number(attributes.metadata.len() as u64);
    for (name, value) in &attributes.metadata {
        row.text(name).text(value);
    }
}

fn attributes(row: &mut Reader<'_>) -> Outcome<Attributes> {
    let mut optional = || -> Outcome<Option<String>> {
        Ok(if row.byte()? == 0 { None } else { Some(row.text()?.to_owned()) })
    };
    let mut attributes = Attributes {
        content_type: optional()?,
        cache_control: optional()?,
        content_encoding: optional()?,
        content_disposition: optional()?,
        content_language: optional()?,
        metadata: Vec::new(),
    };
    for _ in 0..row.number()? {
        attributes.metadata.push((row.text()?.to_owned(), row.text()?.to_owned()));
    }
    Ok(attributes)
}

impl Attributes {
    fn known(&self) -> [Option<&str>; 5] {
        [
            self.content_type.as_deref(),
            self.cache_control.as_deref(),
            self.content_encoding.as_deref(),
            self.content_disposition.as_deref(),
            self.content_language.as_deref(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::version::Marker;

    #[test]
    fn rows_are_read_back_as_they_were() {
        let attributes = Attributes {
            content_type: Some("text/plain".into()),
            content_language: Some("en".into()),
            metadata: vec![("mtime".into(), "1.5".into()), ("ü".into(), String::new())],
            ..Attributes::default()
        };
        let checksum =
            Some(Checksum { algorithm: Algorithm::Sha256, form: Form::Composite, value: "x-2".into() });
        let versions =
            [Version::ONLY, Version { number: 1 << 40, null: false }, Version { number: 300, null: true }];
        let bodies = [Body::One(Place::Empty), Body::One(Place::Inline(7)), Body::Manifest(1 << 40)];
        for (version, body) in versions.into_iter().zip(bodies) {
            let object = Object {
                version,
                modified: -5,
                size: 1 << 50,
                tag: Tag { md5: [0xab; 16], parts: 2 },
                checksum: checksum.clone(),
                body,
                attributes: attributes.clone(),
            };
            let row = object.encode();
            assert_eq!(Object::decode(&row).unwrap(), object);
            let summary = Summary::decode(&row).unwrap();
            assert_eq!((summary.size, summary.tag.show()), (1 << 50, format!("{}-2", "ab".repeat(16))));
            let marker = Marker { version, modified: 8 };
            assert_eq!((summary.version, Marker::decode(&row).unwrap()), (version, None));
            assert_eq!(Marker::decode(&marker.encode()).unwrap(), Some(marker));
        }
        let upload = Upload { initiated: 3, checksum: Some((Algorithm::Crc32, Form::Whole)), attributes };
        assert_eq!(Upload::decode(&upload.encode()).unwrap(), upload);
        let segment = Segment { place: Place::File(9), size: 10 };
        let part = Part { modified: 1, md5: [1; 16], checksum, segment };
        assert_eq!(Part::decode(&part.encode()).unwrap(), part);
        let segments = vec![segment, Segment { place: Place::Empty, size: 0 }];
        assert_eq!(decode_manifest(&encode_manifest(&segments)).unwrap(), segments);
    }
}
