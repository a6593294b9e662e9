//! The content of an object on its way in: hashed, and stored where its size wants it.
//!
//! What is small stays in memory until it is a row of the index; the rest goes to a file piece by piece, on
//! threads that may block, while the next piece arrives. A body that ends early leaves nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::future::{self, BoxFuture};
use futures::{FutureExt, StreamExt};
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};

use super::batch::Content;
use super::blobs::{Blobs, StagedFile};
use super::checksum::{Algorithm, Checksum, Form};

/// The greatest content that becomes a row of the index: there it costs no file and no flush of its own.
pub(super) const MAX_INLINE: usize = 64 * 1024;

/// How much is collected before it is hashed and written, twice in memory for each request. Ours.
const PIECE: usize = 512 * 1024;

/// The greatest content of one request, as S3 has it.
const MAX_SIZE: u64 = 5 * 1024 * 1024 * 1024;

/// How much of the body of a refused request is read, so that its sender sees the answer. Ours.
const MAX_DRAINED: usize = 4 * 1024 * 1024;

/// How long that may take.
const MAX_DRAINING: Duration = Duration::from_secs(2);

/// What a client says of the content it sends.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) size: Option<i64>,
    /// `Content-MD5`.
    pub(super) md5: Option<String>,
    pub(super) checksum: Option<(Algorithm, String)>,
    /// A checksum that is to be computed, or that follows the content.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) trailers: Option<TrailingHeaders>,
}

/// Content that has arrived whole and is what the client said.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksum: Option<Checksum>,
}

impl Received {
    /// Returns what is left if a store keeps nothing of the content but what it says of it.
    pub(super) fn emptied(self, empty: Self) -> Self {
        Self { content: empty.content, size: empty.size, checksum: None, ..self }
    }
}

/// Receives content.
///
/// # Cancellation
///
/// What has arrived is removed.
pub(super) async fn receive(
    blobs: &Arc<Blobs>,
    body: Option<StreamingBlob>,
    expected: Expected,
) -> S3Result<Received> {
    let algorithm = expected.checksum.as_ref().map(|(algorithm, _)| *algorithm).or(expected.algorithm);
    let sink = Sink::new(Arc::clone(blobs), algorithm);
    let mut sink: BoxFuture<'static, io::Result<Sink>> = future::ready(Ok(sink)).boxed();
    let (mut pieces, mut waiting, mut size) = (Vec::new(), 0_usize, 0_u64);
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            // A connection that broke, or a signature of a chunk that is wrong.
            let bytes: Bytes = bytes.map_err(|error| s3_error!(IncompleteBody, "{}", error))?;
            size += bytes.len() as u64;
            if size > MAX_SIZE {
                return Err(s3_error!(EntityTooLarge));
            }
            waiting += bytes.len();
            pieces.push(bytes);
            if waiting >= PIECE {
                let idle = sink.await.map_err(S3Error::internal_error)?;
                sink = idle.write(std::mem::take(&mut pieces));
                waiting = 0;
            }
        }
    }
    if expected.size.is_some_and(|expected| u64::try_from(expected) != Ok(size)) {
        return Err(s3_error!(IncompleteBody));
    }
    let sink = sink.await.map_err(S3Error::internal_error)?;
    let received = sink.finish(pieces).await.map_err(S3Error::internal_error)?;
    expected.verify(received)
}

impl Expected {
    /// Refuses what is not what the client meant to send.
    fn verify(self, received: Received) -> S3Result<Received> {
        if let Some(text) = &self.md5 {
            let md5 = BASE64_STANDARD.decode(text).ok().filter(|md5| md5.len() == 16);
            if md5.ok_or_else(|| s3_error!(InvalidDigest))? != received.md5 {
                return Err(s3_error!(BadDigest));
            }
        }
        let found = received.checksum.as_ref();
        let declared = self.checksum.or_else(|| {
            let (algorithm, trailers) = (self.algorithm?, self.trailers?.take()?);
            let value = trailers.get(algorithm.header())?.to_str().ok()?;
            Some((algorithm, value.to_owned()))
        });
        if declared.is_some_and(|(_, value)| found.is_none_or(|found| found.value != value)) {
            return Err(s3_error!(BadDigest));
        }
        Ok(received)
    }
}

/// Where content goes.
struct Sink {
    blobs: Arc<Blobs>,
    file: Option<StagedFile>,
    size: u64,
    md5: Md5,
    hasher: Option<(Algorithm, ChecksumHasher)>,
}

impl Sink {
    fn new(blobs: Arc<Blobs>, algorithm: Option<Algorithm>) -> Self {
        let hasher = algorithm.map(|algorithm| (algorithm, algorithm.hasher()));
        Self { blobs, file: None, size: 0, md5: Md5::new(), hasher }
    }

    fn hash(&mut self, pieces: &[Bytes]) {
        for bytes in pieces {
            self.size += bytes.len() as u64;
            self.md5.update(bytes);
            if let Some((_, hasher)) = &mut self.hasher {
                hasher.update(bytes);
            }
        }
    }

    fn store(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        self.hash(pieces);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.blobs.create()?),
        };
        pieces.iter().try_for_each(|bytes| file.write(bytes))
    }

    /// Begins to write pieces; the future waits for the end.
    fn write(mut self, pieces: Vec<Bytes>) -> BoxFuture<'static, io::Result<Self>> {
        let work = tokio::task::spawn_blocking(move || self.store(&pieces).map(|()| self));
        async move { work.await.map_err(io::Error::other)? }.boxed()
    }

    /// Takes the last pieces and makes the content durable, unless the index is to do that.
    async fn finish(mut self, pieces: Vec<Bytes>) -> io::Result<Received> {
        let rest: usize = pieces.iter().map(Bytes::len).sum();
        if self.file.is_none() && rest <= MAX_INLINE {
            self.hash(&pieces);
            let mut whole = BytesMut::with_capacity(rest);
            for bytes in &pieces {
                whole.extend_from_slice(bytes);
            }
            let content = if rest == 0 { Content::Empty } else { Content::Inline(whole.freeze()) };
            return Ok(self.received(content));
        }
        let work = move || {
            self.store(&pieces)?;
            let file = self.file.take().ok_or(io::ErrorKind::NotFound)?;
            file.sync()?;
            Ok(self.received(Content::File(file)))
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    fn received(self, content: Content) -> Received {
        let checksum = self.hasher.and_then(|(algorithm, hasher)| {
            Some(Checksum { algorithm, form: Form::Whole, value: algorithm.value(hasher)? })
        });
        Received { content, size: self.size, md5: self.md5.finalize().into(), checksum }
    }
}

/// Reads some of the body of a request that is refused, so that the connection stays in step.
pub(super) async fn drain(body: Option<StreamingBlob>) {
    let Some(mut body) = body else { return };
    let reading = async {
        let mut drained = 0;
        while let Some(Ok(bytes)) = body.next().await {
            drained += bytes.len();
            if drained > MAX_DRAINED {
                break;
            }
        }
    };
    // What is not read by then is not read at all.
    tokio::time::timeout(MAX_DRAINING, reading).await.unwrap_or_default();
}

/// Refuses what is too large before it is sent.
pub(super) fn check_size(size: Option<i64>) -> S3Result<()> {
    match size {
        Some(size) if u64::try_from(size).is_ok_and(|size| size > MAX_SIZE) => Err(s3_error!(EntityTooLarge)),
        _ => Ok(()),
    }
}
