//! The fuzz targets of the client of stores: listings, and what else a store says.
//!
//! A listing goes through the SDK's reader and our checks, from the bytes of an answer to a page or a fault.
//! Whether the page is all there was is judged by our own reader, which knows nothing but tags.

use std::collections::HashMap;
use std::sync::LazyLock;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2, ListObjectsV2Error, ListObjectsV2Output};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{ConfigBag, FrozenLayer};
use aws_smithy_types::date_time::Format;

use super::connect::check_endpoint;
use super::document::children;
use super::fault::Fault;
use super::listing::{Object, Page, Position};
use super::metadata::{MTIME, content_type, mtime_of, read_mode, read_mtime, write_mode, write_mtime};
use super::requests::{ENTRY, whole_listing};
use crate::error::ErrorKind;
use crate::fingerprint::ETag;
use crate::fuzzing::complaint::refused;
use crate::fuzzing::input::{Choices, is_harmless};
use crate::timestamp::Timestamp;

/// What bytes that are no printable ASCII stand for in the body of an answer.
const PIECES: &[&str] = &[
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
    "<ListBucketResult>",
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    "</ListBucketResult>",
    "<Name>vault</Name>",
    "<Prefix>p/</Prefix>",
    "<Prefix></Prefix>",
    "<Prefix/>",
    "<EncodingType>url</EncodingType>",
    "<KeyCount>1</KeyCount>",
    "<KeyCount>",
    "</KeyCount>",
    "<MaxKeys>1000</MaxKeys>",
    "<IsTruncated>false</IsTruncated>",
    "<IsTruncated>true</IsTruncated>",
    "<NextContinuationToken>",
    "</NextContinuationToken>",
    "<Contents>",
    "</Contents>",
    "<Contents/>",
    "<Key>p/a</Key>",
    "<Key>p/b</Key>",
    "<Key>",
    "</Key>",
    "<LastModified>2026-01-02T03:04:05.006Z</LastModified>",
    "<LastModified>",
    "</LastModified>",
    "<ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag>",
    "<ETag>",
    "</ETag>",
    "<Size>1</Size>",
    "<Size>",
    "</Size>",
    "<StorageClass>GLACIER</StorageClass>",
    "<CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>",
    "<Contents><Key>p/c</Key><LastModified>2026-01-02T03:04:05Z</LastModified><ETag>x</ETag><Size>0</Size></Contents>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE x [<!ENTITY e \"eeeeeeeeee\"><!ENTITY f \"&e;&e;&e;&e;\">]>",
    "&f;",
    "&amp;",
    "&#1;",
    "&#x110000;",
    "%2F",
    "%ff",
    "\0",
    "\u{1}",
    "\u{fffd}",
    "\u{9b}",
    "é",
    "<Error><Code>SlowDown</Code><Message>",
    "</Message></Error>",
    "<Owner><ID>me</ID></Owner>",
    "<x:Contents>",
    "</x:Contents>",
    "<Delimiter>/</Delimiter>",
    "<StartAfter>p/</StartAfter>",
];

/// Longest fault that is shown, in bytes.
const SHOWN_BYTES: usize = 1000;

/// What the SDK knows of a request for a listing, its reader among it.
static REQUEST: LazyLock<Option<FrozenLayer>> = LazyLock::new(|| ListObjectsV2::new().config());

/// Reads an answer as `requests` and `page` do, with the SDK's reader between them.
fn page(status: u16, body: &[u8], prefix: &str) -> Result<Page, Fault> {
    let fault = |why: String| Fault::new(ErrorKind::Unavailable, why);
    let status_code = StatusCode::try_from(status).map_err(|error| fault(error.to_string()))?;
    let answer = HttpResponse::new(status_code, SdkBody::from(body));
    let reader = REQUEST.as_ref().and_then(|layer| layer.load::<SharedResponseDeserializer>());
    let read = reader.map(|reader| reader.deserialize_nonstreaming_with_config(&answer, &ConfigBag::base()));
    let output = match read.ok_or_else(|| fault("the SDK has no reader".into()))? {
        Ok(output) => output.downcast::<ListObjectsV2Output>(),
        Err(error) => {
            let told =
                error.as_operation_error().and_then(|error| error.downcast_ref::<ListObjectsV2Error>());
            return Err(match told {
                Some(told) => {
                    Fault::of_key(told.code().unwrap_or_default(), told.message().unwrap_or_default())
                }
                None => fault(format!("{error:?}")),
            });
        }
    };
    whole_listing(status, body).map_err(|why| fault(why.to_string()))?;
    let output = output.map_err(|_| fault("the SDK read something else".into()))?;
    let entries = children(body, ENTRY).unwrap_or_default();
    Page::from_answer(output, entries, "vault", prefix).map_err(fault)
}

/// Reads an answer to a request for a listing, and asserts that a page that is believed shows all that was
/// in it, nothing from outside the prefix, and the same when it is written and read again; and that what is
/// not believed is told short and harmless.
///
/// # Panics
/// If something does not hold.
pub fn listing(data: &[u8]) {
    let mut choices = Choices(data);
    let prefix = choices.of(&["p/", ""]);
    let status = choices.of(&[200, 200, 200, 206, 403, 404, 500, 503]);
    let body = if choices.below(2) == 0 { spelled(choices.0) } else { choices.0.to_vec() };
    let read = match page(status, &body, prefix) {
        Ok(read) => read,
        Err(fault) => return told(fault),
    };
    assert_eq!(status, 200);
    assert!(read.objects.iter().all(|object| !object.key.is_empty() && object.key.starts_with(prefix)));
    assert_eq!(
        children(&body, ENTRY),
        Some(read.objects.len()),
        "entries of {:?}",
        String::from_utf8_lossy(&body)
    );
    if let Some(written) = written(&read, prefix) {
        let again = page(200, written.as_bytes(), prefix);
        assert!(again.as_ref().is_ok_and(|again| *again == read), "{read:?} became {again:?}");
    }
}

fn told(fault: Fault) {
    let error = fault.error("list the bucket");
    assert!(is_harmless(&error.chain()) && error.chain().len() <= SHOWN_BYTES, "{error:?}");
}

fn spelled(data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for byte in data {
        match byte {
            b' '..=b'~' => body.push(*byte),
            _ => body.extend_from_slice(PIECES[usize::from(*byte) % PIECES.len()].as_bytes()),
        }
    }
    body
}

/// Writes a page as a store would; `None` where a store could not have a time like one in it.
fn written(page: &Page, prefix: &str) -> Option<String> {
    let objects: Option<String> = page.objects.iter().map(written_object).collect();
    let next = page.next.as_ref().map(|next| match next {
        Position::Token(token) => token.as_str(),
        _ => "\u{fffd}",
    });
    let token =
        next.map(|token| format!("<NextContinuationToken>{}</NextContinuationToken>", referred(token)));
    Some(format!(
        "<ListBucketResult><Name>vault</Name><Prefix>{prefix}</Prefix><EncodingType>url</EncodingType>\
         <KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>{}{}</ListBucketResult>",
        page.objects.len(),
        page.next.is_some(),
        token.unwrap_or_default(),
        objects?
    ))
}

fn written_object(object: &Object) -> Option<String> {
    // The SDK writes microseconds, and reads nanoseconds.
    let time = |time: Timestamp| {
        let text = DateTime::from_secs(time.seconds).fmt(Format::DateTime).ok()?;
        Some(format!("<LastModified>{}.{:09}Z</LastModified>", text.trim_end_matches('Z'), time.nanoseconds))
    };
    let modified = match object.modified {
        Some(modified) => time(modified)?,
        None => String::new(),
    };
    let key = object.key.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
    Some(format!(
        "<Contents><Key>{key}</Key>{modified}<ETag>&quot;{}&quot;</ETag><Size>{}</Size>\
         <StorageClass>STANDARD</StorageClass></Contents>",
        referred(object.etag.as_ref().map_or("", ETag::as_str)),
        object.size,
    ))
}

/// Writes a text so that no reader of XML can take a part of it for something else.
fn referred(text: &str) -> String {
    text.chars().fold(String::new(), |text, character| format!("{text}&#{};", u32::from(character)))
}

/// Reads what a store says of an object besides its bytes, and what it says of a fault.
///
/// # Panics
/// If something does not hold.
pub fn metadata(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(time) = read_mtime(&text) {
        assert!(time.nanoseconds < 1_000_000_000, "{text}");
        assert_eq!(read_mtime(&write_mtime(time)), Some(time), "{text}");
    }
    let named = HashMap::from([(MTIME.to_uppercase(), text.to_string()), (text.to_string(), "5".into())]);
    let found = mtime_of(Some(&named));
    assert!(found.is_none() || found == read_mtime(&text) || text.eq_ignore_ascii_case(MTIME), "{text}");
    if let Some(mode) = read_mode(&text) {
        assert_eq!(read_mode(&write_mode(mode)), Some(mode), "{text}");
    }
    assert!(content_type(&text).contains('/'), "{text}");
    let (code, message) = text.split_once('\n').unwrap_or((&text, &text));
    told(Fault::of_key(code, message));
    told(Fault::new(ErrorKind::Unavailable, message));
}

/// Reads the address of a store, and asserts that a password in it is never shown.
pub(crate) fn endpoint(text: &str) {
    const SECRET: &str = "hunter2-hunter2";
    for allow_http in [true, false] {
        if let Err(error) = check_endpoint(text, allow_http) {
            refused(&error);
        }
        let (before, behind) = text.split_at(text.find('@').unwrap_or(0));
        let with_secret = format!("https://{before}:{SECRET}@{behind}");
        let refused = check_endpoint(&with_secret, allow_http);
        assert!(refused.is_err_and(|error| !error.chain().contains(SECRET)), "{with_secret}");
    }
}
