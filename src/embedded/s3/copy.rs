//! Copies inside the store.

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
    MetadataDirective, StreamingBlob, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, attributes, etag, form_name, number, timestamp, upload_number, with_checksum};
use crate::embedded::batch::{NewObject, NewPart, Source};
use crate::embedded::condition::{ReadConditions, Verdict, WriteConditions};
use crate::embedded::ingest::{Expected, receive};
use crate::embedded::row::Tag;
use crate::embedded::store::Opened;
use crate::embedded::version::Named;

/// Copies an object, by referring to the same content once more.
pub(super) async fn copy_object(
    api: &Api,
    request: S3Request<CopyObjectInput>,
) -> S3Result<CopyObjectOutput> {
    // S3 has these, and the type of the request has no field for them.
    let target_conditions = WriteConditions {
        if_match: condition(&request, "if-match")?,
        if_none_match: condition(&request, "if-none-match")?,
    };
    let mut input = request.input;
    let replace = input
        .metadata_directive
        .as_ref()
        .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    let (from, key, version) = source(&input.copy_source)?;
    if !replace && version.is_none() && (from, key) == (&*input.bucket, &*input.key) {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing it."
        ));
    }
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    let opened = open(api, (from, key, version), &conditions).await?;
    if let Some(size) = api.turn.stump() {
        return cut_off(api, opened, (input.bucket, input.key), target_conditions, size).await;
    }
    let Opened { object, version: copied, .. } = opened;
    if api.turn.pretends() {
        return Ok(told(object.tag, object.modified));
    }
    let source =
        Source { bucket: from.into(), key: key.into(), version, tag: object.tag, modified: object.modified };
    let attributes = if replace { Some(attributes!(input)?) } else { None };
    let target = (input.bucket, input.key);
    let copy = api
        .store
        .change(move |batch| {
            batch.copy_object(&source, (&target.0, &target.1), &target_conditions, attributes)
        })
        .await?;
    let checksum = copy.checksum.as_ref();
    let result = with_checksum!(
        checksum,
        CopyObjectResult {
            e_tag: Some(etag(copy.tag)),
            last_modified: Some(timestamp(copy.modified)),
            checksum_type: checksum.map(|checksum| form_name(checksum.form)),
        }
    );
    Ok(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: copied,
        version_id: copy.version.told(),
        ..Default::default()
    })
}

/// Copies the beginning of an object, and says that it was all of it.
async fn cut_off(
    api: &Api,
    opened: Opened,
    (bucket, key): (String, String),
    conditions: WriteConditions,
    size: u64,
) -> S3Result<CopyObjectOutput> {
    let Opened { object, segments, .. } = opened;
    let size = size.min(object.size);
    let body = StreamingBlob::wrap(segments.stream(0..size));
    let expected = Expected { size: Some(number(size)), ..Expected::default() };
    let received = receive(api.store.blobs(), Some(body), expected).await?;
    let new = NewObject {
        content: received.content,
        size: received.size,
        tag: Tag { md5: received.md5, parts: 0 },
        checksum: None,
        attributes: object.attributes,
    };
    let put = api.store.change(move |batch| batch.put_object(&bucket, &key, &conditions, new)).await?;
    Ok(told(object.tag, put.modified))
}

/// Returns the answer that a copy is the object with this tag.
fn told(tag: Tag, modified: i64) -> CopyObjectOutput {
    let result = CopyObjectResult {
        e_tag: Some(etag(tag)),
        last_modified: Some(timestamp(modified)),
        ..Default::default()
    };
    CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }
}

/// Makes a part of a range of an object. Its tag is over its bytes, so they are read.
pub(super) async fn upload_part_copy(
    api: &Api,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<UploadPartCopyOutput> {
    let input = request.input;
    let from = source(&input.copy_source)?;
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let upload = upload_number(&input.upload_id)?;
    let part_number = super::multipart::part_number(input.part_number)?;
    let announced = super::multipart::announced_checksum(api, &input.bucket, &input.key, upload).await?;
    let Opened { object, version, segments } = open(api, from, &conditions).await?;
    let range = range(input.copy_source_range.as_deref(), object.size)?;
    let expected = Expected {
        size: Some(number(range.end - range.start)),
        algorithm: announced.map(|(algorithm, _)| algorithm),
        ..Expected::default()
    };
    let body = StreamingBlob::wrap(segments.stream(range));
    let received = receive(api.store.blobs(), Some(body), expected).await?;
    let (md5, checksum) = (received.md5, received.checksum.clone());
    let new = NewPart::new(part_number, received);
    let (bucket, key) = (input.bucket, input.key);
    let modified = api.store.change(move |batch| batch.put_part((&bucket, &key, upload), new)).await?;
    let result = with_checksum!(
        checksum.as_ref(),
        CopyPartResult { e_tag: Some(etag(Tag { md5, parts: 0 })), last_modified: Some(timestamp(modified)) }
    );
    Ok(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: version,
        ..Default::default()
    })
}

async fn open(
    api: &Api,
    (bucket, key, version): (&str, &str, Option<Named>),
    conditions: &ReadConditions,
) -> S3Result<Opened> {
    let found = api.store.open_object(bucket.to_owned(), key.to_owned(), version).await?;
    match conditions.judge(&found.object) {
        Verdict::Go => Ok(found),
        Verdict::Unchanged | Verdict::Refused => Err(s3_error!(PreconditionFailed)),
    }
}

fn source(source: &CopySource) -> S3Result<(&str, &str, Option<Named>)> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented));
    };
    Ok((bucket, key, Named::parse(version_id.as_deref())?))
}

fn range(text: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(text) = text else { return Ok(0..size) };
    let ends = text.strip_prefix("bytes=").and_then(|ends| ends.split_once('-'));
    let parsed = ends.and_then(|(first, last)| {
        Some(first.parse::<u64>().ok()?..last.parse::<u64>().ok()?.checked_add(1)?)
    });
    let range = parsed.ok_or_else(|| s3_error!(InvalidArgument))?;
    if range.start >= range.end || range.end > size {
        return Err(s3_error!(InvalidRange));
    }
    Ok(range)
}

/// Reads a condition of the target from its header.
fn condition(request: &S3Request<CopyObjectInput>, name: &str) -> S3Result<Option<ETagCondition>> {
    let parse = |value: &[u8]| {
        ETagCondition::parse_http_header(value).map_err(|_| s3_error!(InvalidArgument, "Unknown condition."))
    };
    request.headers.get(name).map(|value| parse(value.as_bytes())).transpose()
}
