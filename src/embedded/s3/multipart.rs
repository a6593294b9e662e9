//! Uploads in parts.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload,
    Part, StorageClass, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::lists::{Encoding, page_size};
use super::{
    Api, algorithm, announced, attributes, checksum_values, count, etag, form, form_name, number, timestamp,
    upload_name, upload_number, with_checksum,
};
use crate::embedded::batch::{Completion, NewPart};
use crate::embedded::checksum::{Algorithm, Form, declared};
use crate::embedded::condition::WriteConditions;
use crate::embedded::ingest::{Expected, check_size, drain, receive};
use crate::embedded::row::{Tag, Upload};

/// The greatest number of a part, as S3 has it.
const MAX_PART: u32 = 10_000;

pub(super) async fn create_multipart_upload(
    api: &Api,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    let algorithm = input.checksum_algorithm.as_ref().map(algorithm).transpose()?;
    let form = input.checksum_type.as_ref().map(form).transpose()?;
    let checksum = algorithm.map(|algorithm| (algorithm, form.unwrap_or_else(|| algorithm.usual_form())));
    if checksum.is_some_and(|(algorithm, form)| !algorithm.allows(form)) {
        return Err(s3_error!(InvalidRequest, "This checksum type is not supported with this algorithm."));
    }
    let attributes = attributes!(input)?;
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let id = api
        .store
        .change(move |batch| {
            let upload = Upload { initiated: batch.now, checksum, attributes };
            batch.create_upload(&bucket, &key, &upload)
        })
        .await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload_name(id)),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: checksum.map(|(_, form)| form_name(form)),
        ..Default::default()
    })
}

/// Returns what an upload announced to send with its parts; an error if there is no such upload.
pub(super) async fn announced_checksum(
    api: &Api,
    bucket: &str,
    key: &str,
    upload: u64,
) -> S3Result<Option<(Algorithm, Form)>> {
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    let upload = api.store.look(move |view| view.upload(view.bucket(&bucket)?.id, &key, upload)).await?;
    Ok(upload.checksum)
}

pub(super) fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number).ok().filter(|number| (1..=MAX_PART).contains(number)).ok_or_else(|| {
        s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
    })
}

pub(super) async fn upload_part(
    api: &Api,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    let body = request.input.body.take();
    let will_wait = request.headers.contains_key("expect");
    let (upload, part_number, expected) = match prepare(api, &mut request).await {
        Ok(prepared) => prepared,
        Err(error) => {
            drain(body.filter(|_| !will_wait)).await;
            return Err(error);
        }
    };
    let received = receive(api.store.blobs(), body, expected).await?;
    let received = match api.turn.stump() {
        Some(_) => received.emptied(receive(api.store.blobs(), None, Expected::default()).await?),
        None => received,
    };
    let (md5, checksum) = (received.md5, received.checksum.clone());
    let new = NewPart::new(part_number, received);
    let (bucket, key) = (request.input.bucket, request.input.key);
    api.store.change(move |batch| batch.put_part((&bucket, &key, upload), new)).await?;
    Ok(with_checksum!(
        checksum.as_ref(),
        UploadPartOutput { e_tag: Some(etag(Tag { md5, parts: 0 })), ..Default::default() }
    ))
}

/// Refuses what can be refused before the body is read, and says what is expected of it.
async fn prepare(api: &Api, request: &mut S3Request<UploadPartInput>) -> S3Result<(u64, u32, Expected)> {
    let algorithm = announced(request, request.input.checksum_algorithm.as_ref())?;
    let trailers = request.trailing_headers.take();
    let input = &mut request.input;
    check_size(input.content_length)?;
    let (upload, number) = (upload_number(&input.upload_id)?, part_number(input.part_number)?);
    let begun = announced_checksum(api, &input.bucket, &input.key, upload).await?;
    let expected = Expected {
        size: input.content_length,
        md5: input.content_md5.take(),
        checksum: declared(checksum_values!(input))?,
        algorithm: algorithm.or(begun.map(|(algorithm, _)| algorithm)),
        trailers,
    };
    Ok((upload, number, expected))
}

pub(super) async fn complete_multipart_upload(
    api: &Api,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let mut input = request.input;
    let upload = upload_number(&input.upload_id)?;
    let named = input.multipart_upload.and_then(|parts| parts.parts).unwrap_or_default();
    if named.is_empty() {
        return Err(s3_error!(MalformedXML));
    }
    let mut parts = Vec::with_capacity(named.len());
    for mut part in named {
        let number = part_number(part.part_number.unwrap_or_default())?;
        let checksum = declared(checksum_values!(part))?.map(|(_, value)| value);
        parts.push((number, part.e_tag, checksum));
    }
    let completion = Completion {
        conditions: WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match },
        parts,
        checksum: checksum_values!(input),
        form: input.checksum_type.as_ref().map(form).transpose()?,
        size: input.mpu_object_size.and_then(|size| u64::try_from(size).ok()),
    };
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let object =
        api.store.change(move |batch| batch.complete_upload((&bucket, &key, upload), &completion)).await?;
    let checksum = object.checksum.as_ref();
    Ok(with_checksum!(
        checksum,
        CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(object.tag)),
            version_id: object.version.told(),
            checksum_type: checksum.map(|checksum| form_name(checksum.form)),
            ..Default::default()
        }
    ))
}

pub(super) async fn abort_multipart_upload(
    api: &Api,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
    let upload = upload_number(&upload_id)?;
    api.store.change(move |batch| batch.abort_upload(&bucket, &key, upload)).await?;
    Ok(AbortMultipartUploadOutput::default())
}

pub(super) async fn list_parts(api: &Api, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let (upload, most) = (upload_number(&input.upload_id)?, page_size(input.max_parts)?);
    let after = input.part_number_marker.and_then(|marker| u32::try_from(marker).ok()).unwrap_or(0);
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let (begun, (found, truncated)) = api
        .store
        .look(move |view| {
            let begun = view.upload(view.bucket(&bucket)?.id, &key, upload)?;
            Ok((begun, view.parts(upload, after, most)?))
        })
        .await?;
    let last = found.last().and_then(|(number, _)| i32::try_from(*number).ok());
    let parts = found.into_iter().map(|(part_number, part)| {
        with_checksum!(
            part.checksum.as_ref(),
            Part {
                part_number: i32::try_from(part_number).ok(),
                e_tag: Some(etag(Tag { md5: part.md5, parts: 0 })),
                last_modified: Some(timestamp(part.modified)),
                size: Some(number(part.segment.size)),
            }
        )
    });
    Ok(ListPartsOutput {
        parts: Some(parts.collect()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(count(most)),
        is_truncated: Some(truncated),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: last.filter(|_| truncated),
        checksum_algorithm: begun.checksum.map(|(one, _)| ChecksumAlgorithm::from_static(one.name())),
        checksum_type: begun.checksum.map(|(_, form)| form_name(form)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    })
}

pub(super) async fn list_multipart_uploads(
    api: &Api,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = request.input;
    if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(s3_error!(NotImplemented, "Uploads are listed without a delimiter only."));
    }
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let (most, bucket) = (page_size(input.max_uploads)?, input.bucket.clone());
    let prefix = input.prefix.clone().unwrap_or_default();
    let key_marker = input.key_marker.clone().unwrap_or_default();
    // Without an upload's name, the marker is behind all uploads of its key.
    let upload_marker = match input.upload_id_marker.as_deref() {
        Some(name) if !name.is_empty() => upload_number(name)?,
        _ if key_marker.is_empty() => 0,
        _ => u64::MAX,
    };
    let (found, truncated) = api
        .store
        .look(move |view| view.uploads(view.bucket(&bucket)?.id, &prefix, (&key_marker, upload_marker), most))
        .await?;
    let last = found.last().map(|(key, id, _)| (encoding.show(key), upload_name(*id))).filter(|_| truncated);
    let (next_key_marker, next_upload_id_marker) = last.unzip();
    let uploads = found.into_iter().map(|(key, id, upload)| MultipartUpload {
        key: Some(encoding.show(&key)),
        upload_id: Some(upload_name(id)),
        initiated: Some(timestamp(upload.initiated)),
        checksum_algorithm: upload.checksum.map(|(one, _)| ChecksumAlgorithm::from_static(one.name())),
        checksum_type: upload.checksum.map(|(_, form)| form_name(form)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    });
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        bucket: Some(input.bucket),
        prefix: encoding.show_some(input.prefix.as_ref()),
        key_marker: encoding.show_some(input.key_marker.as_ref()),
        upload_id_marker: input.upload_id_marker,
        next_key_marker,
        next_upload_id_marker,
        max_uploads: Some(count(most)),
        is_truncated: Some(truncated),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}
