//! `Limits`: how long a store may take for an answer, and how long the answer may be.
//!
//! Every request ends by one of these times, and every answer but the content of an object, which is counted by
//! `read`, by one of these lengths. So neither a store that stalls nor one that never stops keeps a run or fills
//! the memory. Tests make them small.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use futures::{TryFutureExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};

use super::dates;
use super::requests::operation;
use crate::xml::escape_controls;

/// Parts of one file under way at once, as far as there is memory for them.
pub(super) const PARTS_IN_FLIGHT: usize = 4;

/// How slowly a body may be taken by the store before its request counts as stuck, in bytes a second: a
/// sixteenth of a megabit line, which 16 requests may share.
pub(super) const LEAST_UPLOAD_RATE: u64 = 8 * 1024;

/// How long and how much, at most.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Until there is a connection.
    pub(super) connection: Duration,
    /// Until an answer begins, for a request of no length.
    pub(super) beginning: Duration,
    /// Until an answer is at its end, but for the content of an object, which has a rate to keep.
    pub(super) end: Duration,
    /// During which nothing of the content of an object comes.
    pub(super) stall: Duration,
    /// During which that content may come more slowly than at the least rate.
    pub(super) patience: Duration,
    /// The bytes of that content that must come in a second on average, at least.
    pub(super) least_rate: u64,
    /// The bytes of an answer that lists.
    pub(super) list_bytes: usize,
    /// The bytes of any other answer, an error among them.
    pub(super) answer_bytes: usize,
}

impl Default for Limits {
    /// A page of 1,000 names of 1,024 bytes, encoded, has less than 4 MiB; stores that send more names than they
    /// are asked for may need more. What else is answered has some hundred bytes. The times have no source:
    /// large copies within a store take minutes, and say so in [`Self::patient`].
    fn default() -> Self {
        Self {
            connection: Duration::from_secs(10),
            beginning: Duration::from_mins(1),
            end: Duration::from_mins(2),
            stall: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            least_rate: 1024,
            list_bytes: 64 * 1024 * 1024,
            answer_bytes: 1024 * 1024,
        }
    }
}

impl Limits {
    /// Returns the times of a request that sends little.
    pub(super) fn timeouts(&self) -> TimeoutConfig {
        let timeouts = TimeoutConfig::builder().connect_timeout(self.connection).read_timeout(self.beginning);
        timeouts.operation_attempt_timeout(self.end).build()
    }

    /// Returns the settings of a request that sends `bytes` before it is answered.
    pub(super) fn patient(&self, bytes: u64) -> aws_sdk_s3::config::Builder {
        let beginning = self.beginning + Duration::from_secs(bytes / LEAST_UPLOAD_RATE);
        let timeouts = TimeoutConfig::builder().read_timeout(beginning);
        let timeouts = timeouts.operation_attempt_timeout(beginning + self.beginning);
        aws_sdk_s3::Config::builder().timeout_config(timeouts.build())
    }

    /// Returns how long the answer to an operation may be; `None` where its length is for others to judge.
    fn most_bytes(&self, operation: &str, is_success: bool) -> Option<usize> {
        match operation {
            "GetObject" if is_success => None,
            "ListObjectsV2" | "ListParts" | "ListMultipartUploads" | "DeleteObjects" if is_success => {
                Some(self.list_bytes)
            }
            _ => Some(self.answer_bytes),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Limits {
    fn name(&self) -> &'static str {
        "syncengine limits"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (response, operation) = (context.response_mut(), operation(config));
        dates::drop_odd_header(response);
        if let Some(most) = self.most_bytes(operation, response.status().is_success()) {
            let body = Limited::new(response.take_body(), most);
            // Other servers than S3 write names as they are.
            let body = body.map_frame(|frame| frame.map_data(escape_controls));
            *response.body_mut() = if dates::has_dates(operation) {
                let whole = body.collect().map_ok(|whole| Frame::data(dates::without_odd(whole.to_bytes())));
                SdkBody::from_body_1_x(StreamBody::new(stream::once(whole)))
            } else {
                SdkBody::from_body_1_x(body)
            };
        }
        Ok(())
    }
}
