//! Buckets.

use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, timestamp};
use crate::embedded::index::View;

/// The one region there is.
const REGION: &str = "us-east-1";

/// The greatest number of buckets in one answer, as S3 has it.
const MAX_BUCKETS: i32 = 10_000;

pub(super) async fn create_bucket(
    api: &Api,
    request: S3Request<CreateBucketInput>,
) -> S3Result<CreateBucketOutput> {
    let name = request.input.bucket;
    let location = format!("/{name}");
    api.store.change(move |batch| batch.create_bucket(&name)).await?;
    Ok(CreateBucketOutput { location: Some(location) })
}

pub(super) async fn delete_bucket(
    api: &Api,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<DeleteBucketOutput> {
    let name = request.input.bucket;
    api.store.change(move |batch| batch.delete_bucket(&name)).await?;
    Ok(DeleteBucketOutput::default())
}

pub(super) async fn head_bucket(
    api: &Api,
    request: S3Request<HeadBucketInput>,
) -> S3Result<HeadBucketOutput> {
    let name = request.input.bucket;
    api.store.look(move |view| view.bucket(&name)).await?;
    Ok(HeadBucketOutput { bucket_region: Some(REGION.into()), ..Default::default() })
}

pub(super) async fn get_bucket_location(
    api: &Api,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<GetBucketLocationOutput> {
    let name = request.input.bucket;
    api.store.look(move |view| view.bucket(&name)).await?;
    // No constraint is how S3 says us-east-1.
    Ok(GetBucketLocationOutput::default())
}

pub(super) async fn list_buckets(
    api: &Api,
    request: S3Request<ListBucketsInput>,
) -> S3Result<ListBucketsOutput> {
    let input = request.input;
    let most = input.max_buckets.unwrap_or(MAX_BUCKETS);
    if !(1..=MAX_BUCKETS).contains(&most) {
        return Err(s3_error!(InvalidArgument));
    }
    let (prefix, after) = (input.prefix.clone().unwrap_or_default(), input.continuation_token);
    let mut found = api.store.look(View::buckets).await?;
    found.retain(|(name, _)| name.starts_with(&prefix) && after.as_ref().is_none_or(|after| name > after));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let more = found.len() > most;
    found.truncate(most);
    let last = found.last().map(|(name, _)| name.clone());
    let buckets = found.into_iter().map(|(name, bucket)| Bucket {
        name: Some(name),
        creation_date: Some(timestamp(bucket.created)),
        ..Default::default()
    });
    Ok(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        continuation_token: last.filter(|_| more),
        prefix: input.prefix,
        ..Default::default()
    })
}
