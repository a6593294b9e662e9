//! Every request passes here: counted, traced, and its answer looked at before the SDK makes sense of it.
//!
//! The SDK takes a listing that was cut in two for a shorter one, and any status of 2xx for success, such as the
//! page of a network that wants a password first. Here a listing must have come whole, a deletion must be called
//! one, and a part must be named; what became of other writes is for `stage` to find out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use super::document;
use crate::entry::Timestamp;
use crate::telemetry::Requests;

/// How a whole listing ends.
const LISTING_END: &[u8] = b"</ListBucketResult>";

/// What an object in a listing is called.
pub(super) const ENTRY: &str = "Contents";

/// Counts the requests of a store.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestLog(Arc<Mutex<Seen>>);

#[derive(Debug, Clone, Default)]
struct Seen {
    counts: Requests,
    /// The `Date` of the last answer, in seconds since 1970.
    date: Option<i64>,
    /// The `Server` of the last answer.
    server: Option<String>,
}

impl RequestLog {
    /// Returns how many requests were sent so far.
    pub(super) fn counts(&self) -> Requests {
        self.lock().counts
    }

    /// Returns what the clock of the store showed in its last answer.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.lock().date.map(|seconds| Timestamp::new(seconds, 0))
    }

    /// Returns what the server called itself in its last answer.
    pub(super) fn server(&self) -> Option<String> {
        self.lock().server.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, operation: &str) {
        let counts = &mut self.lock().counts;
        let counter = match operation {
            "ListObjectsV2" | "ListParts" | "ListMultipartUploads" | "ListObjectVersions" => &mut counts.list,
            "HeadObject" | "HeadBucket" => &mut counts.head,
            "PutObject" | "CreateBucket" => &mut counts.put,
            "CopyObject" => &mut counts.copy,
            "DeleteObject" | "DeleteObjects" => &mut counts.delete,
            "CreateMultipartUpload"
            | "UploadPart"
            | "UploadPartCopy"
            | "CompleteMultipartUpload"
            | "AbortMultipartUpload" => &mut counts.multipart,
            // GetObject and what is asked of a bucket's configuration.
            _ => &mut counts.get,
        };
        *counter += 1;
    }
}

/// Returns the operation as S3 names it.
pub(super) fn operation(config: &ConfigBag) -> &str {
    config.load::<Metadata>().map_or("", Metadata::name)
}

#[dyn_dispatch_hint]
impl Intercept for RequestLog {
    fn name(&self) -> &'static str {
        "syncengine requests"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let name = operation(config);
        self.count(name);
        // Method and path only: headers and queries can carry signatures.
        let path = context.request().uri().split('?').next().unwrap_or_default();
        tracing::debug!(operation = name, method = context.request().method(), path, "request");
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let name = operation(config);
        let response = context.response();
        tracing::debug!(operation = name, status = response.status().as_u16(), "answer");
        let date =
            response.headers().get("date").and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let server = response.headers().get("server");
        {
            let mut seen = self.lock();
            seen.date = date.map(|date| date.secs()).or(seen.date);
            if seen.server.as_deref() != server {
                seen.server = server.map(str::to_owned);
            }
        }
        if context.output_or_error().is_err() {
            return Ok(());
        }
        let body = response.body().bytes().unwrap_or_default();
        match name {
            "ListObjectsV2" => whole_listing(response.status().as_u16(), body),
            // A store that knows no versions may say nothing.
            "GetBucketVersioning"
                if !body.trim_ascii().is_empty() && document::children(body, ENTRY).is_none() =>
            {
                Err("an answer about versions came incomplete".into())
            }
            // Stores that have deleted say 204, and no more.
            "DeleteObject" if response.status().as_u16() != 204 => {
                Err(format!("a deletion was answered with status {}", response.status().as_u16()).into())
            }
            "UploadPart" if response.headers().get("etag").is_none() => {
                Err("a part was answered without an ETag".into())
            }
            _ => Ok(()),
        }
    }
}

/// Checks that an answer is a listing from beginning to end.
pub(super) fn whole_listing(status: u16, body: &[u8]) -> Result<(), BoxError> {
    if status != 200 {
        return Err(format!("a listing was answered with status {status}").into());
    }
    if !body.trim_ascii_end().ends_with(LISTING_END) || document::children(body, ENTRY).is_none() {
        return Err("a listing came incomplete".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i30_a_listing_counts_only_if_it_came_whole() {
        for (status, body, fine) in [
            (200, "<ListBucketResult>...</ListBucketResult>", true),
            (200, "<ListBucketResult>...</ListBucketResult>\r\n", true),
            (206, "<ListBucketResult>...</ListBucketResult>", false),
            (204, "", false),
            (200, "", false),
            (200, "<ListBucketResult>...", false),
            (200, "<ListBucketResult/>", false),
            (200, "<html>log in</html>", false),
            (200, "<ListBucketResult></ListBucketResult><ListBucketResult></ListBucketResult>", false),
            (200, "<ListBucketResult></Contents><Contents></Contents></ListBucketResult>", false),
        ] {
            assert_eq!(whole_listing(status, body.as_bytes()).is_ok(), fine, "{status} {body}");
        }
    }

    #[test]
    fn requests_are_counted_by_kind() {
        let log = RequestLog::default();
        for operation in ["ListObjectsV2", "ListParts", "HeadObject", "GetObject", "GetBucketVersioning"] {
            log.count(operation);
        }
        for operation in ["PutObject", "CopyObject", "DeleteObjects", "UploadPart", "AbortMultipartUpload"] {
            log.count(operation);
        }
        let expected = Requests { list: 2, head: 1, get: 2, put: 1, copy: 1, delete: 1, multipart: 2 };
        assert_eq!(log.counts(), expected);
    }
}
