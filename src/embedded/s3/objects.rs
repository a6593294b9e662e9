//! Objects: put, get, look at, delete.

use std::ops::Range;

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETagCondition, Error, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ObjectIdentifier, PutObjectInput, PutObjectOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{
    Api, announced, attributes, checksum_values, count, etag, form_name, number, timestamp, with_checksum,
};
use crate::embedded::batch::{Batch, Deleted, NewObject};
use crate::embedded::checksum::declared;
use crate::embedded::condition::{DeleteConditions, ReadConditions, Verdict, WriteConditions};
use crate::embedded::content::Segments;
use crate::embedded::failure::Failure;
use crate::embedded::ingest::{Expected, MAX_INLINE, check_size, drain, receive};
use crate::embedded::row::{Object, Tag};
use crate::embedded::store::Opened;
use crate::embedded::version::Named;

/// The greatest number of keys in one request to delete, as S3 has it.
const MAX_DELETED: usize = 1000;

/// What S3 says of content whose sender did not.
const DEFAULT_TYPE: &str = "binary/octet-stream";

pub(super) async fn put_object(
    api: &Api,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    let body = request.input.body.take();
    let will_wait = request.headers.contains_key("expect");
    let conditions = WriteConditions {
        if_match: request.input.if_match.take(),
        if_none_match: request.input.if_none_match.take(),
    };
    let (conditions, expected) = match prepare(api, &mut request, conditions).await {
        Ok(prepared) => prepared,
        Err(error) => {
            // Who waits to be asked for the body is told before it is sent.
            drain(body.filter(|_| !will_wait)).await;
            return Err(error);
        }
    };
    let mut input = request.input;
    let attributes = attributes!(input)?;
    let received = receive(api.store.blobs(), body, expected).await?;
    let received = match api.turn.stump() {
        Some(_) => received.emptied(receive(api.store.blobs(), None, Expected::default()).await?),
        None => received,
    };
    let (tag, checksum) = (Tag { md5: received.md5, parts: 0 }, received.checksum.clone());
    let new = NewObject {
        content: received.content,
        size: received.size,
        tag,
        checksum: received.checksum,
        attributes,
    };
    if api.turn.pretends() {
        return Ok(PutObjectOutput { e_tag: Some(etag(tag)), ..Default::default() });
    }
    let (bucket, key) = (input.bucket, input.key);
    let put = api.store.change(move |batch| batch.put_object(&bucket, &key, &conditions, new)).await?;
    let checksum = checksum.as_ref();
    Ok(with_checksum!(
        checksum,
        PutObjectOutput {
            e_tag: Some(etag(tag)),
            version_id: put.version.told(),
            checksum_type: checksum.map(|checksum| form_name(checksum.form)),
            ..Default::default()
        }
    ))
}

/// Refuses what can be refused before the body is read, and says what is expected of it.
async fn prepare(
    api: &Api,
    request: &mut S3Request<PutObjectInput>,
    conditions: WriteConditions,
) -> S3Result<(WriteConditions, Expected)> {
    let algorithm = announced(request, request.input.checksum_algorithm.as_ref())?;
    let trailers = request.trailing_headers.take();
    let input = &mut request.input;
    check_size(input.content_length)?;
    let expected = Expected {
        size: input.content_length,
        md5: input.content_md5.take(),
        checksum: declared(checksum_values!(input))?,
        algorithm,
        trailers,
    };
    if input.content_length.is_some_and(|size| usize::try_from(size).is_ok_and(|size| size <= MAX_INLINE)) {
        // Here the commit itself is as early.
        return Ok((conditions, expected));
    }
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let conditions = api
        .store
        .look(move |view| {
            let bucket = view.bucket(&bucket)?.id;
            conditions.check(view.object(bucket, &key)?.as_ref())?;
            Ok(conditions)
        })
        .await?;
    Ok((conditions, expected))
}

/// The answer to a request that reads an object. Only what has the content says more: `segments` is the whole of
/// it, `range` what is wanted.
macro_rules! answer {
    ($api:expr, $input:ident, $output:ident, |$segments:ident, $range:ident| { $($field:tt)* }) => {{
        let version = Named::parse($input.version_id.as_deref())?;
        let Opened { object, version, segments: $segments } =
            $api.store.open_object($input.bucket, $input.key, version).await?;
        let conditions = ReadConditions {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        };
        check(&conditions, &object)?;
        let wanted = Wanted::of(&object, &$segments, $input.range, $input.part_number)?;
        // A checksum is of the whole, and says nothing of a range.
        let shown = $input.checksum_mode.is_some() && wanted.content_range.is_none();
        let checksum = object.checksum.as_ref().filter(|_| shown);
        let $range = wanted.range;
        let length = $range.end - $range.start;
        let kept = object.attributes;
        Ok(with_checksum!(
            checksum,
            $output {
                $($field)*
                accept_ranges: Some("bytes".into()),
                content_length: Some(number(length)),
                content_range: wanted.content_range,
                parts_count: wanted.parts_count,
                version_id: version,
                checksum_type: checksum.map(|checksum| form_name(checksum.form)),
                e_tag: Some(etag(object.tag)),
                last_modified: Some(timestamp(object.modified)),
                content_type: $input.response_content_type.or(kept.content_type).or(Some(DEFAULT_TYPE.into())),
                cache_control: $input.response_cache_control.or(kept.cache_control),
                content_encoding: $input.response_content_encoding.or(kept.content_encoding),
                content_disposition: $input.response_content_disposition.or(kept.content_disposition),
                content_language: $input.response_content_language.or(kept.content_language),
                metadata: Some(kept.metadata.into_iter().collect()),
                ..Default::default()
            }
        ))
    }};
}

pub(super) async fn get_object(api: &Api, request: S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
    let input = request.input;
    answer!(api, input, GetObjectOutput, |segments, range| {
        body: Some(api.turn.body(segments.stream(range))),
    })
}

pub(super) async fn head_object(
    api: &Api,
    request: S3Request<HeadObjectInput>,
) -> S3Result<HeadObjectOutput> {
    let input = request.input;
    answer!(api, input, HeadObjectOutput, |segments, range| {})
}

/// Which bytes a client asks for.
struct Wanted {
    range: Range<u64>,
    content_range: Option<String>,
    parts_count: Option<i32>,
}

impl Wanted {
    fn of(
        object: &Object,
        segments: &Segments,
        range: Option<s3s::dto::Range>,
        part: Option<i32>,
    ) -> S3Result<Self> {
        let size = object.size;
        let (range, parts_count) = match (range, part) {
            (Some(_), Some(_)) => {
                return Err(s3_error!(InvalidRequest, "Range and partNumber exclude each other."));
            }
            (Some(range), None) => (range.check(size)?, None),
            (None, Some(part)) => part_range(object, segments, part)?,
            (None, None) => return Ok(Self { range: 0..size, content_range: None, parts_count: None }),
        };
        let shown =
            (range.start < range.end).then(|| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        Ok(Self { range, content_range: shown, parts_count })
    }
}

fn part_range(object: &Object, segments: &Segments, part: i32) -> S3Result<(Range<u64>, Option<i32>)> {
    let refused = || s3_error!(InvalidRange, "The requested partnumber is not satisfiable");
    let index = usize::try_from(part).ok().and_then(|part| part.checked_sub(1)).ok_or_else(refused)?;
    let size = segments.sizes().nth(index).ok_or_else(refused)?;
    let begin: u64 = segments.sizes().take(index).sum();
    let parts_count = (object.tag.parts > 0).then(|| count(segments.sizes().count()));
    Ok((begin..begin + size, parts_count))
}

/// Judges the conditions of a read.
fn check(conditions: &ReadConditions, object: &Object) -> S3Result<()> {
    match conditions.judge(object) {
        Verdict::Go => Ok(()),
        Verdict::Refused => Err(s3_error!(PreconditionFailed)),
        Verdict::Unchanged => {
            let mut error = s3_error!(NotModified);
            if let Ok(tag) = etag(object.tag).to_http_header() {
                let mut headers = S3Response::new(()).headers;
                headers.insert("etag", tag);
                error.set_headers(headers);
            }
            Err(error)
        }
    }
}

pub(super) async fn delete_object(
    api: &Api,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<DeleteObjectOutput> {
    let input = request.input;
    let version = Named::parse(input.version_id.as_deref())?;
    let conditions = DeleteConditions {
        if_match: input.if_match,
        size: input.if_match_size,
        modified: input.if_match_last_modified_time,
    };
    if api.turn.pretends() {
        return Ok(DeleteObjectOutput::default());
    }
    let (bucket, key) = (input.bucket, input.key);
    let deleted =
        api.store.change(move |batch| delete_one(batch, (&bucket, &key), version, &conditions)).await?;
    Ok(DeleteObjectOutput {
        version_id: input.version_id.or(deleted.version),
        delete_marker: deleted.marker.then_some(true),
        ..Default::default()
    })
}

pub(super) async fn delete_objects(
    api: &Api,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let DeleteObjectsInput { bucket, delete, .. } = request.input;
    if delete.objects.is_empty() || delete.objects.len() > MAX_DELETED {
        return Err(s3_error!(MalformedXML));
    }
    if api.turn.pretends() {
        let named = |object: ObjectIdentifier| DeletedObject { key: Some(object.key), ..Default::default() };
        let deleted = delete.objects.into_iter().map(named).collect();
        return Ok(DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() });
    }
    let quiet = delete.quiet.unwrap_or(false);
    let name = bucket.clone();
    api.store.look(move |view| view.bucket(&name)).await?;
    let (deleted, errors) = api
        .store
        .change(move |batch| {
            let (mut deleted, mut errors) = (Vec::new(), Vec::new());
            for object in delete.objects {
                let (key, version_id) = (object.key.clone(), object.version_id.clone());
                match delete_named(batch, &bucket, object) {
                    Ok(done) => deleted.push(DeletedObject {
                        key: Some(key),
                        version_id,
                        delete_marker: done.marker.then_some(true),
                        delete_marker_version_id: done.version.filter(|_| done.marker),
                    }),
                    Err(Failure::Refused(error)) => errors.push(Error {
                        code: Some(error.code().as_str().to_owned()),
                        message: error.message().map(str::to_owned),
                        key: Some(key),
                        version_id,
                    }),
                    Err(fault) => return Err(fault),
                }
            }
            Ok((deleted, errors))
        })
        .await?;
    Ok(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..Default::default()
    })
}

fn delete_named(batch: &mut Batch<'_>, bucket: &str, object: ObjectIdentifier) -> Result<Deleted, Failure> {
    let version = Named::parse(object.version_id.as_deref())?;
    let conditions = DeleteConditions {
        if_match: object.e_tag.map(ETagCondition::ETag),
        size: object.size,
        modified: object.last_modified_time,
    };
    delete_one(batch, (bucket, &object.key), version, &conditions)
}

fn delete_one(
    batch: &mut Batch<'_>,
    (bucket, key): (&str, &str),
    version: Option<Named>,
    conditions: &DeleteConditions,
) -> Result<Deleted, Failure> {
    match version {
        Some(name) => batch.delete_version(bucket, key, name, conditions),
        None => batch.delete_object(bucket, key, conditions),
    }
}
