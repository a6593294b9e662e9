//! `Budget`: what may be spent on a file that a store does not take or give.
//!
//! Spent are the time of requests that failed, that of the waits between them, and the bytes that went out. A line that is slow and
//! steady spends nothing. Whoever has spent all gives up, and the run goes on with other files. A run in which nothing has
//! succeeded for as long stops waiting.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// How often the bytes of a file are sent, at most. From the requirements.
const MOST_SENDS: u64 = 5;

/// How many bytes go to a connection at once. Ours: at the least rate it takes 16 seconds.
const SLICE_BYTES: usize = 128 * 1024;

/// What the buffers between here and a store may hold of what was sent. Ours: systems grow theirs up to about as much.
pub(super) const BUFFERED_BYTES: u64 = 4 * 1024 * 1024;

/// What may be spent on a file. All its requests share it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Spent>);

#[derive(Debug)]
struct Spent {
    /// The size of the file in bytes.
    size: u64,
    most: Duration,
    time: Mutex<Duration>,
    sent: AtomicU64,
}

impl Budget {
    /// Returns a budget of `most` time for a file of `size` bytes.
    pub(super) fn new(most: Duration, size: u64) -> Self {
        Self(Arc::new(Spent { size, most, time: Mutex::default(), sent: AtomicU64::new(0) }))
    }

    /// Returns how much time there is.
    pub(super) fn most(&self) -> Duration {
        self.0.most
    }

    /// Spends time; returns whether there was as much left.
    pub(super) fn spend(&self, time: Duration) -> bool {
        let mut spent = self.0.time.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = spent.saturating_add(time);
        *spent <= self.0.most
    }

    /// Returns whether bytes of the file went out.
    pub(super) fn has_sent(&self) -> bool {
        self.0.sent.load(Ordering::Relaxed) > 0
    }

    /// Returns whether its bytes went out as often as they may.
    pub(super) fn is_sent_out(&self) -> bool {
        self.has_sent() && self.0.sent.load(Ordering::Relaxed) >= self.0.size.saturating_mul(MOST_SENDS)
    }

    /// Returns the body of a request that sends these bytes, and how far it has come.
    pub(super) fn body(&self, bytes: Bytes) -> (ByteStream, Progress) {
        let progress = Progress { size: bytes.len() as u64, taken: Arc::default() };
        let slices = Slices { rest: bytes, spent: Arc::clone(&self.0), taken: Arc::clone(&progress.taken) };
        (ByteStream::new(SdkBody::from_body_1_x(slices)), progress)
    }
}

/// How far a connection has taken a body.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) size: u64,
    taken: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A body that is taken piece by piece, so that it shows whether it goes on.
struct Slices {
    rest: Bytes,
    spent: Arc<Spent>,
    taken: Arc<AtomicU64>,
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let count = self.rest.len().min(SLICE_BYTES);
        let slice = self.rest.split_to(count);
        self.spent.sent.fetch_add(count as u64, Ordering::Relaxed);
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_budget_ends_by_time_or_by_bytes() {
        let second = Duration::from_secs(1);
        let budget = Budget::new(second * 10, 300_000);
        assert!(budget.spend(second * 10) && !budget.spend(Duration::from_nanos(1)));
        for sends in 0..6 {
            assert_eq!((budget.has_sent(), budget.is_sent_out()), (sends > 0, sends >= 5), "{sends}");
            let (body, progress) = budget.body(Bytes::from(vec![0; 300_000]));
            assert_eq!(body.size_hint().1, Some(300_000));
            assert_eq!(body.collect().await.unwrap().into_bytes().len(), 300_000);
            assert_eq!(progress.taken(), 300_000);
        }
        // Nothing can be sent of an empty file.
        let (body, _) = Budget::new(second, 0).body(Bytes::new());
        assert!(body.into_inner().collect().await.unwrap().to_bytes().is_empty());
    }
}
