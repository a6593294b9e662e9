//! The operations of S3 that the server knows, and what their requests and answers have in common.

use std::sync::Arc;

#[cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "the requests and the answers of every operation")
)]
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::checksum::{Algorithm, Form};
use super::disturb::Turn;
use super::row::{Attributes, Tag};
use super::store::Store;

mod buckets;
mod copy;
mod lists;
mod multipart;
mod objects;
mod versions;

/// The greatest sum of the lengths of the names and values of metadata, as S3 has it.
const MAX_METADATA: usize = 2 * 1024;

/// The operations, for one connection.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) store: Arc<Store>,
    pub(super) turn: Arc<Turn>,
}

macro_rules! operations {
    ($($module:ident::$name:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.turn.answer($module::$name(self, request).await).map(S3Response::new)
            })*
        }
    };
}

operations! {
    buckets::create_bucket(CreateBucketInput) -> CreateBucketOutput;
    buckets::delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    buckets::head_bucket(HeadBucketInput) -> HeadBucketOutput;
    buckets::list_buckets(ListBucketsInput) -> ListBucketsOutput;
    buckets::get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    versions::get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
    versions::put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput;
    versions::list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput;
    objects::put_object(PutObjectInput) -> PutObjectOutput;
    objects::get_object(GetObjectInput) -> GetObjectOutput;
    objects::head_object(HeadObjectInput) -> HeadObjectOutput;
    objects::delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    objects::delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    copy::copy_object(CopyObjectInput) -> CopyObjectOutput;
    copy::upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    multipart::create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    multipart::upload_part(UploadPartInput) -> UploadPartOutput;
    multipart::complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    multipart::abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    multipart::list_parts(ListPartsInput) -> ListPartsOutput;
    multipart::list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    lists::list_objects(ListObjectsInput) -> ListObjectsOutput;
    lists::list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
}

/// The values of the five checksums that a request carries, taken out of it.
macro_rules! checksum_values {
    ($input:expr) => {
        [
            $input.checksum_crc32.take(),
            $input.checksum_crc32c.take(),
            $input.checksum_crc64nvme.take(),
            $input.checksum_sha1.take(),
            $input.checksum_sha256.take(),
        ]
    };
}

/// An answer that shows this checksum.
macro_rules! with_checksum {
    ($checksum:expr, $output:ident { $($field:tt)* }) => {{
        let [crc32, crc32c, crc64nvme, sha1, sha256] = $crate::embedded::checksum::Checksum::values($checksum);
        $output {
            checksum_crc32: crc32,
            checksum_crc32c: crc32c,
            checksum_crc64nvme: crc64nvme,
            checksum_sha1: sha1,
            checksum_sha256: sha256,
            $($field)*
        }
    }};
}

/// What a request says about an object besides its content, taken out of it.
macro_rules! attributes {
    ($input:expr) => {
        $crate::embedded::s3::kept($crate::embedded::row::Attributes {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_encoding: $input.content_encoding.take(),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
        })
    };
}

use {attributes, checksum_values, with_checksum};

/// Returns the attributes as they are kept: in order, and without what was said of the transfer alone.
fn kept(mut attributes: Attributes) -> S3Result<Attributes> {
    let length: usize = attributes.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if length > MAX_METADATA {
        return Err(s3_error!(MetadataTooLarge));
    }
    attributes.metadata.sort();
    attributes.content_encoding = attributes.content_encoding.and_then(|encoding| {
        let kept: Vec<&str> = encoding
            .split(',')
            .map(str::trim)
            .filter(|one| !one.eq_ignore_ascii_case("aws-chunked"))
            .collect();
        (!kept.is_empty()).then(|| kept.join(",")).filter(|kept| !kept.is_empty())
    });
    Ok(attributes)
}

/// Returns the algorithm that a request announces to send behind its body, or asks for by name.
fn announced<T>(request: &S3Request<T>, named: Option<&ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    let trailer = request.headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
    let trailing = trailer.and_then(|names| {
        Algorithm::ALL.into_iter().find(|algorithm| {
            names.split(',').any(|name| name.trim().eq_ignore_ascii_case(&algorithm.header()))
        })
    });
    match (trailing, named) {
        (None, Some(name)) => algorithm(name).map(Some),
        (found, _) => Ok(found),
    }
}

fn algorithm(name: &ChecksumAlgorithm) -> S3Result<Algorithm> {
    Algorithm::named(name.as_str()).ok_or_else(|| s3_error!(InvalidRequest, "Unknown checksum algorithm."))
}

fn form(name: &ChecksumType) -> S3Result<Form> {
    Form::named(name.as_str()).ok_or_else(|| s3_error!(InvalidRequest, "Unknown checksum type."))
}

fn form_name(form: Form) -> ChecksumType {
    ChecksumType::from_static(form.name())
}

fn etag(tag: Tag) -> ETag {
    ETag::Strong(tag.show())
}

/// Returns a time as S3 shows it.
fn timestamp(milliseconds: i64) -> Timestamp {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000);
    time.map_or_else(|_| Timestamp::default(), Timestamp::from)
}

/// Returns a size as S3 shows it.
fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Returns a count of what one answer holds, which is never large.
fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

/// Returns an upload's number from its name.
fn upload_number(name: &str) -> S3Result<u64> {
    u64::from_str_radix(name, 16).map_err(|_| s3_error!(NoSuchUpload))
}

/// Returns the name of an upload.
fn upload_name(number: u64) -> String {
    format!("{number:016x}")
}
