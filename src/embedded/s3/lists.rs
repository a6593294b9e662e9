//! Listings of objects.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::dto::{
    ChecksumAlgorithm, CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, ObjectStorageClass,
};
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, count, etag, form_name, number, timestamp};
use crate::embedded::listing::{Item, Page, PageQuery};

/// The greatest number of items in one answer, as S3 has it.
const MAX_ITEMS: i32 = 1000;

/// How names are written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn of(name: Option<&EncodingType>) -> S3Result<Self> {
        match name.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn show(self, name: &str) -> String {
        use std::fmt::Write as _;
        if self == Self::Plain {
            return name.to_owned();
        }
        name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                    text.push(char::from(byte));
                }
                // Writing to a string does not fail.
                _ => write!(text, "%{byte:02X}").unwrap_or_default(),
            }
            text
        })
    }

    pub(super) fn show_some(self, name: Option<&String>) -> Option<String> {
        name.map(|name| self.show(name))
    }
}

/// Returns how many items an answer may have.
pub(super) fn page_size(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(MAX_ITEMS).min(MAX_ITEMS)).map_err(|_| s3_error!(InvalidArgument))
}

/// Reads a page; one without room for items has none, and is the last.
async fn read(
    api: &Api,
    bucket: &str,
    prefix: Option<&String>,
    delimiter: Option<&String>,
    after: String,
    most: usize,
) -> S3Result<Page> {
    let (bucket, prefix, delimiter) = (bucket.to_owned(), prefix.cloned(), delimiter.cloned());
    api.store
        .look(move |view| {
            let bucket = view.bucket(&bucket)?.id;
            if most == 0 {
                return Ok(Page { items: Vec::new(), truncated: false });
            }
            view.page(&PageQuery {
                bucket,
                prefix: prefix.as_deref().unwrap_or_default(),
                delimiter: delimiter.as_deref().unwrap_or_default(),
                after: &after,
                most,
            })
        })
        .await
}

/// Returns the name of the last item, behind which the next page begins, if there is one.
fn next(page: &Page) -> Option<&str> {
    page.items.last().filter(|_| page.truncated).map(Item::name)
}

/// Returns the objects and the rolled-up prefixes of a page.
fn contents(page: Page, encoding: Encoding) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for item in page.items {
        match item {
            Item::Prefix(name) => prefixes.push(CommonPrefix { prefix: Some(encoding.show(&name)) }),
            Item::Object(name, object) => objects.push(Object {
                key: Some(encoding.show(&name)),
                e_tag: Some(etag(object.tag)),
                size: Some(number(object.size)),
                last_modified: Some(timestamp(object.modified)),
                checksum_algorithm: object
                    .checksum
                    .map(|(algorithm, _)| vec![ChecksumAlgorithm::from_static(algorithm.name())]),
                checksum_type: object.checksum.map(|(_, form)| form_name(form)),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                ..Default::default()
            }),
        }
    }
    (objects, prefixes)
}

pub(super) async fn list_objects_v2(
    api: &Api,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let input = request.input;
    let (encoding, most) = (Encoding::of(input.encoding_type.as_ref())?, page_size(input.max_keys)?);
    let after = match &input.continuation_token {
        Some(token) => behind(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let page = read(api, &input.bucket, input.prefix.as_ref(), input.delimiter.as_ref(), after, most).await?;
    let (next, key_count) = (next(&page).map(|name| BASE64_URL_SAFE_NO_PAD.encode(name)), page.items.len());
    let (objects, prefixes) = contents(page, encoding);
    Ok(ListObjectsV2Output {
        contents: Some(objects),
        common_prefixes: Some(prefixes),
        key_count: Some(count(key_count)),
        max_keys: Some(count(most)),
        is_truncated: Some(next.is_some()),
        next_continuation_token: next,
        name: Some(input.bucket),
        prefix: encoding.show_some(input.prefix.as_ref()),
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        start_after: encoding.show_some(input.start_after.as_ref()),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

/// Returns the name that a token stands for.
fn behind(token: &str) -> S3Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

pub(super) async fn list_objects(
    api: &Api,
    request: S3Request<ListObjectsInput>,
) -> S3Result<ListObjectsOutput> {
    let input = request.input;
    let (encoding, most) = (Encoding::of(input.encoding_type.as_ref())?, page_size(input.max_keys)?);
    let after = input.marker.clone().unwrap_or_default();
    let page = read(api, &input.bucket, input.prefix.as_ref(), input.delimiter.as_ref(), after, most).await?;
    let truncated = page.truncated;
    // S3 names it only where it is not simply the last key.
    let next = next(&page).filter(|_| input.delimiter.is_some()).map(|name| encoding.show(name));
    let (objects, prefixes) = contents(page, encoding);
    Ok(ListObjectsOutput {
        contents: Some(objects),
        common_prefixes: Some(prefixes),
        max_keys: Some(count(most)),
        is_truncated: Some(truncated),
        next_marker: next,
        name: Some(input.bucket),
        prefix: encoding.show_some(input.prefix.as_ref()),
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        marker: encoding.show_some(input.marker.as_ref()),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}
