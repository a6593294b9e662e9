//! Changes of the index for uploads in parts.

use md5::{Digest, Md5};
use s3s::dto::ETag;
use s3s::s3_error;

use super::{Batch, Content};
use crate::embedded::checksum::{Checksum, Form, combined, declared};
use crate::embedded::condition::WriteConditions;
use crate::embedded::failure::{Failure, Outcome};
use crate::embedded::index::{self, text};
use crate::embedded::ingest::Received;
use crate::embedded::row::{Object, Part, Segment, Tag, Upload};
use crate::embedded::version::Version;

/// The least size of every part but the last, as S3 has it.
const LEAST_PART: u64 = 5 * 1024 * 1024;

/// A part that has arrived.
#[derive(Debug)]
pub(in crate::embedded) struct NewPart {
    pub(in crate::embedded) number: u32,
    pub(in crate::embedded) content: Content,
    pub(in crate::embedded) size: u64,
    pub(in crate::embedded) md5: [u8; 16],
    pub(in crate::embedded) checksum: Option<Checksum>,
}

impl NewPart {
    pub(in crate::embedded) fn new(number: u32, received: Received) -> Self {
        let Received { content, size, md5, checksum } = received;
        Self { number, content, size, md5, checksum }
    }
}

/// What a client says an object in parts is made of.
#[derive(Debug)]
pub(in crate::embedded) struct Completion {
    pub(in crate::embedded) conditions: WriteConditions,
    /// The numbers and tags of the parts, and the checksum the client expects of each.
    pub(in crate::embedded) parts: Vec<(u32, Option<ETag>, Option<String>)>,
    pub(in crate::embedded) checksum: crate::embedded::checksum::Values,
    pub(in crate::embedded) form: Option<Form>,
    pub(in crate::embedded) size: Option<u64>,
}

impl Batch<'_> {
    pub(in crate::embedded) fn create_upload(
        &mut self,
        bucket: &str,
        key: &str,
        upload: &Upload,
    ) -> Outcome<u64> {
        let bucket = self.bucket(bucket)?;
        let id = self.blobs.new_id();
        self.uploads.insert((bucket, key.as_bytes(), id), upload.encode().as_slice())?;
        Ok(id)
    }

    /// Adds a part, in place of one with the same number, and returns when.
    pub(in crate::embedded) fn put_part(
        &mut self,
        (bucket, key, upload): (&str, &str, u64),
        new: NewPart,
    ) -> Outcome<i64> {
        let bucket = self.bucket(bucket)?;
        index::upload(&self.uploads, bucket, key, upload)?;
        let before = self.part(upload, new.number)?;
        let place = self.keep(new.content)?;
        let part = Part {
            modified: self.now,
            md5: new.md5,
            checksum: new.checksum,
            segment: Segment { place, size: new.size },
        };
        self.parts.insert((upload, new.number), part.encode().as_slice())?;
        if let Some(before) = before {
            self.release_place(before.segment.place)?;
        }
        Ok(part.modified)
    }

    /// Makes an object of parts, without reading them, and drops those that are not in it.
    pub(in crate::embedded) fn complete_upload(
        &mut self,
        (bucket, key, upload): (&str, &str, u64),
        completion: &Completion,
    ) -> Outcome<Object> {
        let bucket = index::bucket(&self.buckets, bucket)?;
        let begun = index::upload(&self.uploads, bucket.id, key, upload)?;
        let parts = self.chosen(upload, completion)?;
        let checksum = checksum_of(&begun, &parts, completion)?;
        let before = index::object(&self.objects, bucket.id, key)?;
        completion.conditions.check(before.as_ref())?;

        let mut md5 = Md5::new();
        for (_, part) in &parts {
            md5.update(part.md5);
        }
        let segments: Vec<Segment> = parts.iter().map(|(_, part)| part.segment).collect();
        let object = Object {
            version: Version::ONLY,
            modified: self.now,
            size: segments.iter().map(|segment| segment.size).sum(),
            tag: Tag { md5: md5.finalize().into(), parts: u32::try_from(parts.len()).unwrap_or(u32::MAX) },
            checksum,
            body: self.keep_manifest(&segments)?,
            attributes: begun.attributes,
        };
        for (number, _) in &parts {
            self.parts.remove((upload, *number))?;
        }
        self.drop_upload(bucket.id, key, upload)?;
        self.replace(bucket, key, before, object)
    }

    pub(in crate::embedded) fn abort_upload(&mut self, bucket: &str, key: &str, upload: u64) -> Outcome<()> {
        let bucket = self.bucket(bucket)?;
        index::upload(&self.uploads, bucket, key, upload)?;
        self.drop_upload(bucket, key, upload)
    }

    fn part(&self, upload: u64, number: u32) -> Outcome<Option<Part>> {
        use redb::ReadableTable as _;
        self.parts.get((upload, number))?.map(|row| Part::decode(row.value())).transpose()
    }

    /// Returns the parts that a client names, or the reason why they make no object.
    fn chosen(&self, upload: u64, completion: &Completion) -> Outcome<Vec<(u32, Part)>> {
        let mut parts: Vec<(u32, Part)> = Vec::with_capacity(completion.parts.len());
        for (number, tag, checksum) in &completion.parts {
            if parts.last().is_some_and(|(last, _)| last >= number) {
                return Err(s3_error!(InvalidPartOrder).into());
            }
            let part = self.part(upload, *number)?.ok_or_else(|| s3_error!(InvalidPart))?;
            let shown = Tag { md5: part.md5, parts: 0 }.show();
            let same_sum = match (checksum, &part.checksum) {
                (Some(given), Some(kept)) => *given == kept.value,
                _ => true,
            };
            if tag.as_ref().is_none_or(|tag| tag.value() != shown) || !same_sum {
                return Err(s3_error!(InvalidPart).into());
            }
            parts.push((*number, part));
        }
        let Some((_, all_but_last)) = parts.split_last() else { return Err(s3_error!(MalformedXML).into()) };
        if all_but_last.iter().any(|(_, part)| part.segment.size < LEAST_PART) {
            return Err(s3_error!(EntityTooSmall).into());
        }
        let size: u64 = parts.iter().map(|(_, part)| part.segment.size).sum();
        if completion.size.is_some_and(|expected| expected != size) {
            return Err(s3_error!(InvalidRequest, "The parts do not add up to the declared size.").into());
        }
        Ok(parts)
    }

    /// Removes the row of an upload, and its parts that are still there.
    pub(super) fn drop_upload(&mut self, bucket: u64, key: &str, upload: u64) -> Outcome<()> {
        use redb::ReadableTable as _;
        let mut parts = Vec::new();
        for row in self.parts.range((upload, 0)..=(upload, u32::MAX))? {
            let (name, row) = row?;
            parts.push((name.value().1, Part::decode(row.value())?));
        }
        for (number, part) in parts {
            self.parts.remove((upload, number))?;
            self.release_place(part.segment.place)?;
        }
        self.uploads.remove((bucket, key.as_bytes(), upload))?;
        Ok(())
    }

    pub(super) fn uploads_of(&self, bucket: u64) -> Outcome<Vec<(String, u64)>> {
        use redb::ReadableTable as _;
        let mut uploads = Vec::new();
        for row in self.uploads.range((bucket, &[][..], 0)..(bucket + 1, &[][..], 0))? {
            let (name, _) = row?;
            let (_, key, id) = name.value();
            uploads.push((text(key)?, id));
        }
        Ok(uploads)
    }
}

/// Returns the checksum of the object, which is the one the client expects if it says so.
fn checksum_of(
    begun: &Upload,
    parts: &[(u32, Part)],
    completion: &Completion,
) -> Result<Option<Checksum>, Failure> {
    let sums: Vec<_> = parts.iter().map(|(_, part)| (part.checksum.as_ref(), part.segment.size)).collect();
    let form = completion.form.or(begun.checksum.map(|(_, form)| form));
    let found = combined(&sums, form);
    if let Some((algorithm, value)) = declared(completion.checksum.clone())? {
        let Some(found) = found.as_ref().filter(|found| found.algorithm == algorithm) else {
            let why = "The parts carry no checksums that the declared one could be compared with.";
            return Err(s3_error!(InvalidRequest, "{}", why).into());
        };
        // A composite value may be given with or without the number of parts.
        if found.value != value && found.value.split('-').next() != Some(value.as_str()) {
            return Err(s3_error!(BadDigest).into());
        }
    }
    Ok(found)
}
