//! Versions: whether a bucket keeps them, and listing them.

use s3s::dto::{
    BucketVersioningStatus, CommonPrefix, DeleteMarkerEntry, GetBucketVersioningInput,
    GetBucketVersioningOutput, ListObjectVersionsInput, ListObjectVersionsOutput, MFADelete, ObjectVersion,
    ObjectVersionStorageClass, PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::lists::{Encoding, page_size};
use super::{Api, count, etag, form_name, number, timestamp};
use crate::embedded::failure::Outcome;
use crate::embedded::index::View;
use crate::embedded::listing::{PageQuery, Shown, VersionItem, VersionsPage};
use crate::embedded::row::Summary;
use crate::embedded::version::{Named, Versioning};

pub(super) async fn put_bucket_versioning(
    api: &Api,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<PutBucketVersioningOutput> {
    let PutBucketVersioningInput { bucket, versioning_configuration: wanted, .. } = request.input;
    if wanted.mfa_delete.is_some_and(|wanted| wanted.as_str() == MFADelete::ENABLED) {
        return Err(s3_error!(NotImplemented));
    }
    let versioning = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        _ => return Err(s3_error!(IllegalVersioningConfigurationException)),
    };
    api.store.change(move |batch| batch.put_versioning(&bucket, versioning)).await?;
    Ok(PutBucketVersioningOutput::default())
}

pub(super) async fn get_bucket_versioning(
    api: &Api,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<GetBucketVersioningOutput> {
    let name = request.input.bucket;
    let status = match api.store.look(move |view| view.bucket(&name)).await?.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(BucketVersioningStatus::from_static);
    Ok(GetBucketVersioningOutput { status, ..Default::default() })
}

/// Returns the number of the version behind which a page begins, if it does not begin behind all of its key.
fn mark(view: &View, bucket: u64, input: &ListObjectVersionsInput) -> Outcome<Option<u64>> {
    let refused = |why| s3_error!(InvalidArgument, "{}", why);
    match (Named::parse(input.version_id_marker.as_deref())?, &input.key_marker) {
        (None, _) => Ok(None),
        (Some(_), None) => {
            Err(refused("A version-id marker cannot be specified without a key marker.").into())
        }
        (Some(Named::Number(number)), Some(_)) => Ok(Some(number)),
        (Some(Named::Null), Some(key)) => {
            let found = view.named(bucket, key, Named::Null)?;
            let found = found.ok_or_else(|| refused("Invalid version id specified"))?;
            Ok(Some(found.version().number))
        }
    }
}

fn read(view: &View, input: &ListObjectVersionsInput, most: usize) -> Outcome<VersionsPage> {
    let bucket = view.bucket(&input.bucket)?.id;
    let after = mark(view, bucket, input)?;
    if most == 0 {
        return Ok(VersionsPage { items: Vec::new(), truncated: false });
    }
    let query = PageQuery {
        bucket,
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: input.key_marker.as_deref().unwrap_or_default(),
        most,
    };
    view.versions(&query, after)
}

fn object_version(key: String, object: &Summary, is_latest: bool) -> ObjectVersion {
    ObjectVersion {
        key: Some(key),
        version_id: Some(object.version.show()),
        is_latest: Some(is_latest),
        e_tag: Some(etag(object.tag)),
        size: Some(number(object.size)),
        last_modified: Some(timestamp(object.modified)),
        checksum_type: object.checksum.map(|(_, form)| form_name(form)),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        ..Default::default()
    }
}

pub(super) async fn list_object_versions(
    api: &Api,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<ListObjectVersionsOutput> {
    let input = request.input;
    let (encoding, most) = (Encoding::of(input.encoding_type.as_ref())?, page_size(input.max_keys)?);
    let asked = input.clone();
    let page = api.store.look(move |view| read(view, &asked, most)).await?;
    let last = page.items.last().filter(|_| page.truncated);
    let (next_key_marker, next_version_id_marker) = match last {
        None => (None, None),
        Some(VersionItem::Prefix(name)) => (Some(encoding.show(name)), None),
        Some(VersionItem::Version(key, shown, _)) => (Some(encoding.show(key)), Some(shown.version().mark())),
    };
    let (mut versions, mut delete_markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
    for item in page.items {
        match item {
            VersionItem::Prefix(name) => prefixes.push(CommonPrefix { prefix: Some(encoding.show(&name)) }),
            VersionItem::Version(key, Shown::Object(object), is_latest) => {
                versions.push(object_version(encoding.show(&key), &object, is_latest));
            }
            VersionItem::Version(key, Shown::Marker(marker), is_latest) => {
                delete_markers.push(DeleteMarkerEntry {
                    key: Some(encoding.show(&key)),
                    version_id: Some(marker.version.show()),
                    is_latest: Some(is_latest),
                    last_modified: Some(timestamp(marker.modified)),
                    ..Default::default()
                });
            }
        }
    }
    Ok(ListObjectVersionsOutput {
        versions: Some(versions),
        delete_markers: Some(delete_markers),
        common_prefixes: Some(prefixes),
        is_truncated: Some(next_key_marker.is_some()),
        next_version_id_marker,
        next_key_marker,
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
