//! Versions, of which each object has one: `null`, as in a bucket where versioning was never enabled.

use s3s::dto::{
    CommonPrefix, GetBucketVersioningInput, GetBucketVersioningOutput, ListObjectVersionsInput,
    ListObjectVersionsOutput, ObjectVersion, ObjectVersionStorageClass,
};
use s3s::{S3Request, S3Result};

use super::lists::{Encoding, next, page_size, read};
use super::{Api, count, etag, form_name, number, timestamp};
use crate::embedded::listing::Item;

pub(super) async fn get_bucket_versioning(
    api: &Api,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<GetBucketVersioningOutput> {
    let name = request.input.bucket;
    api.store.look(move |view| view.bucket(&name)).await?;
    Ok(GetBucketVersioningOutput::default())
}

pub(super) async fn list_object_versions(
    api: &Api,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<ListObjectVersionsOutput> {
    let input = request.input;
    let (encoding, most) = (Encoding::of(input.encoding_type.as_ref())?, page_size(input.max_keys)?);
    let after = input.key_marker.clone().unwrap_or_default();
    let page = read(api, &input.bucket, input.prefix.as_ref(), input.delimiter.as_ref(), after, most).await?;
    let next = next(&page).map(|name| encoding.show(name));
    let (mut versions, mut prefixes) = (Vec::new(), Vec::new());
    for item in page.items {
        match item {
            Item::Prefix(name) => prefixes.push(CommonPrefix { prefix: Some(encoding.show(&name)) }),
            Item::Object(name, object) => versions.push(ObjectVersion {
                key: Some(encoding.show(&name)),
                version_id: Some("null".into()),
                is_latest: Some(true),
                e_tag: Some(etag(object.tag)),
                size: Some(number(object.size)),
                last_modified: Some(timestamp(object.modified)),
                checksum_type: object.checksum.map(|(_, form)| form_name(form)),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                ..Default::default()
            }),
        }
    }
    Ok(ListObjectVersionsOutput {
        versions: Some(versions),
        common_prefixes: Some(prefixes),
        is_truncated: Some(next.is_some()),
        next_version_id_marker: next.as_ref().map(|_| "null".into()),
        next_key_marker: next,
        max_keys: Some(count(most)),
        name: Some(input.bucket),
        prefix: encoding.show_some(input.prefix.as_ref()),
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        key_marker: encoding.show_some(input.key_marker.as_ref()),
        version_id_marker: input.version_id_marker,
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}
