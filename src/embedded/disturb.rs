//! Faults on request, for tests of clients: what a network or a server does on a bad day.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::{
    CompleteMultipartUploadInput, CopyObjectInput, CopySource, CreateMultipartUploadInput, DeleteObjectInput,
    DeleteObjectsInput, GetObjectInput, HeadObjectInput, PutObjectInput, StreamingBlob, UploadPartInput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use crate::clock::Clock;

/// How long the beginning of a body that is cut has to leave. Ours.
const FLUSHING: Duration = Duration::from_millis(50);

/// Decides what happens to each request.
pub trait Disturb: fmt::Debug + Send + Sync + 'static {
    /// Returns what is to happen to a request whose signature is right, before it is carried out.
    fn disturb(&self, request: &Request<'_>) -> Disturbance;

    /// Returns the key that the server takes the key of a request for: another one where names are folded, as by a
    /// store that keeps its objects in a file system that ignores case. `writes`: the request makes the object.
    fn spell(&self, key: String, writes: bool) -> String {
        let _ = writes;
        key
    }
}

/// What a [`Disturb`] knows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The operation as S3 names it, such as `PutObject`.
    pub operation: &'a str,
    /// The bucket, if the request is about one.
    pub bucket: Option<&'a str>,
    /// The key, if the request is about an object.
    pub key: Option<&'a str>,
    /// How many requests the server had got before this one.
    pub number: u64,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    Pass,
    /// It is carried out after a while.
    Delay(Duration),
    /// It is not carried out; the answer is this HTTP status and S3 code, such as 503 and `SlowDown`.
    Refuse(u16, String),
    /// It is not carried out, and the connection ends without an answer.
    Cut,
    /// It is carried out, and the connection ends without an answer.
    CutAfter,
    /// It is carried out, and the answer is this HTTP status and S3 code.
    RefuseAfter(u16, String),
    /// It is carried out; a body of the answer ends after so many bytes, and the connection with it. Acts on
    /// `GetObject`.
    Truncate(u64),
    /// It is carried out; one bit of the body of the answer, at this byte, is another one. Acts on `GetObject`.
    Flip(u64),
    /// It is carried out as if it had no `If-Match` (a copy: no condition on its source), as by a store that does not
    /// know it. Acts on writes, copies and deletions.
    IgnoreIfMatch,
    /// It is carried out as if it had no `If-None-Match`. Acts on writes and copies.
    IgnoreIfNoneMatch,
    /// It is carried out with one bit of the content, at this byte, turned, whatever checksums it comes with. The answer tells
    /// what was stored. Acts on `PutObject` and `UploadPart`.
    Corrupt(u64),
    /// It makes a copy of so many bytes of the beginning, and the answer tells the ETag of the whole. Acts on `CopyObject`; on
    /// `PutObject` and `UploadPart` nothing is kept of the content but its ETag.
    Stump(u64),
    /// It is not carried out, and the answer says that it was. Acts on `PutObject`, `CopyObject`, `DeleteObject` and
    /// `DeleteObjects`.
    Pretend,
}

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Watch {
    disturb: Option<Arc<dyn Disturb>>,
    clock: Arc<dyn Clock>,
    number: AtomicU64,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Watch {
    pub(super) fn new(disturb: Option<Arc<dyn Disturb>>, clock: Arc<dyn Clock>) -> Self {
        Self { disturb, clock, number: AtomicU64::new(0), counts: Mutex::default() }
    }

    /// Returns how many requests of each operation there have been.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        locked(&self.counts).clone()
    }

    fn count(&self, operation: &str) -> u64 {
        let mut counts = locked(&self.counts);
        match counts.get_mut(operation) {
            Some(count) => *count += 1,
            None => drop(counts.insert(operation.to_owned(), 1)),
        }
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request that a connection carries now; HTTP/1 carries one at a time.
#[derive(Debug)]
pub(super) struct Turn {
    watch: Arc<Watch>,
    /// No answer leaves this connection any more.
    cut: AtomicBool,
    after: Mutex<After>,
}

/// What is done to the answer.
#[derive(Debug, Default)]
struct After {
    refuse: Option<(u16, String)>,
    truncate: Option<u64>,
    flip: Option<u64>,
    ignores_if_match: bool,
    ignores_if_none_match: bool,
    corrupt: Option<u64>,
    stump: Option<u64>,
    pretends: bool,
}

impl Turn {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self { watch, cut: AtomicBool::new(false), after: Mutex::default() }
    }

    /// Returns whether the connection is to end without an answer.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Returns whether the request is only to be answered as if it had been carried out.
    pub(super) fn pretends(&self) -> bool {
        std::mem::take(&mut locked(&self.after).pretends)
    }

    /// Returns of how many bytes a copy is to be, if not of all.
    pub(super) fn stump(&self) -> Option<u64> {
        locked(&self.after).stump.take()
    }

    /// Returns the body of a request with the damage that it is to have, if any.
    fn damage(&self, body: &mut Option<StreamingBlob>) -> bool {
        let Some(at) = locked(&self.after).corrupt.take() else { return false };
        *body = body.take().map(|body| {
            let bytes = body.map(|bytes| bytes.map_err(io::Error::other));
            StreamingBlob::wrap(flipped(bytes, at))
        });
        true
    }

    /// Returns the answer as the client is to see it.
    pub(super) fn answer<T>(&self, answer: S3Result<T>) -> S3Result<T> {
        match locked(&self.after).refuse.take() {
            Some((status, code)) => Err(refusal(status, &code)),
            None => answer,
        }
    }

    /// Returns the body of an answer as the client is to see it.
    pub(super) fn body(
        &self,
        body: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    ) -> StreamingBlob {
        let (flip, truncate) = {
            let mut after = locked(&self.after);
            (after.flip.take(), after.truncate.take())
        };
        if let Some(at) = flip {
            return StreamingBlob::wrap(flipped(body, at));
        }
        let Some(left) = truncate else { return StreamingBlob::wrap(body) };
        let cut = body.scan(left, |left, bytes| {
            let bytes = bytes.map(|mut bytes| {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                bytes
            });
            // A piece of which nothing is left is the end.
            future::ready(if matches!(&bytes, Ok(bytes) if bytes.is_empty()) { None } else { Some(bytes) })
        });
        // The break comes late enough for what was before it to leave, and whatever was asked for.
        let broken = stream::once(async {
            tokio::time::sleep(FLUSHING).await;
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        });
        StreamingBlob::wrap(cut.chain(broken))
    }

    /// Forgets those conditions of the request that are to be ignored.
    fn forget<M, N>(&self, if_match: &mut Option<M>, if_none_match: &mut Option<N>) {
        let after = locked(&self.after);
        if after.ignores_if_match {
            *if_match = None;
        }
        if after.ignores_if_none_match {
            *if_none_match = None;
        }
    }

    async fn disturb(&self, disturbance: Disturbance) -> S3Result<()> {
        *locked(&self.after) = After::default();
        match disturbance {
            Disturbance::Pass => {}
            Disturbance::Delay(duration) => self.watch.clock.sleep(duration).await,
            Disturbance::Refuse(status, code) => return Err(refusal(status, &code)),
            Disturbance::Cut => {
                self.cut.store(true, Ordering::Release);
                return Err(s3_error!(InternalError));
            }
            Disturbance::CutAfter => self.cut.store(true, Ordering::Release),
            Disturbance::RefuseAfter(status, code) => locked(&self.after).refuse = Some((status, code)),
            Disturbance::Truncate(bytes) => locked(&self.after).truncate = Some(bytes),
            Disturbance::Flip(at) => locked(&self.after).flip = Some(at),
            Disturbance::IgnoreIfMatch => locked(&self.after).ignores_if_match = true,
            Disturbance::IgnoreIfNoneMatch => locked(&self.after).ignores_if_none_match = true,
            Disturbance::Corrupt(at) => locked(&self.after).corrupt = Some(at),
            Disturbance::Stump(bytes) => locked(&self.after).stump = Some(bytes),
            Disturbance::Pretend => locked(&self.after).pretends = true,
        }
        Ok(())
    }
}

/// Returns a body with one bit of the byte `at` turned.
fn flipped(
    body: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    at: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    body.scan(at, |left, bytes| {
        let bytes = bytes.map(|bytes| {
            let at = usize::try_from(*left).unwrap_or(usize::MAX);
            *left = left.wrapping_sub(bytes.len() as u64);
            let mut bytes = bytes.to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            Bytes::from(bytes)
        });
        future::ready(Some(bytes))
    })
}

fn refusal(status: u16, code: &str) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, "As the test asked.");
    if let Ok(status) = status.try_into() {
        error.set_status_code(status);
    }
    error
}

/// Stands before every operation: lets in who has the keys, counts, and disturbs.
#[derive(Debug)]
pub(super) struct Gate(pub(super) Arc<Turn>);

impl Gate {
    fn admit(&self, context: &S3AccessContext<'_>) -> S3Result<Disturbance> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        let watch = &self.0.watch;
        let operation = context.s3_op().name();
        let number = watch.count(operation);
        let Some(disturb) = &watch.disturb else { return Ok(Disturbance::Pass) };
        let (bucket, key) = (context.s3_path().get_bucket_name(), context.s3_path().get_object_key());
        Ok(disturb.disturb(&Request { operation, bucket, key, number }))
    }

    fn spell(&self, key: &mut String, writes: bool) {
        if let Some(disturb) = &self.0.watch.disturb {
            *key = disturb.spell(std::mem::take(key), writes);
        }
    }
}

/// Damages the body of a request if it is to be, and takes away what would tell.
macro_rules! damage {
    ($gate:ident, $request:ident) => {
        if $gate.0.damage(&mut $request.input.body) {
            let input = &mut $request.input;
            input.content_md5 = None;
            input.checksum_algorithm = None;
            input.checksum_crc32 = None;
            input.checksum_crc32c = None;
            input.checksum_crc64nvme = None;
            input.checksum_sha1 = None;
            input.checksum_sha256 = None;
            $request.headers.remove("x-amz-sdk-checksum-algorithm");
        }
    };
}

/// The gate, and what is done to the requests of each operation that is about an object.
macro_rules! gate {
    ($($name:ident($input:ident) |$gate:ident, $request:ident| $disturb:block)*) => {
        #[async_trait::async_trait]
        impl S3Access for Gate {
            async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
                let disturbance = self.admit(context)?;
                self.0.disturb(disturbance).await
            }

            $(async fn $name(&self, request: &mut S3Request<$input>) -> S3Result<()> {
                let ($gate, $request) = (self, request);
                $disturb;
                Ok(())
            })*
        }
    };
}

gate! {
    get_object(GetObjectInput) |gate, request| { gate.spell(&mut request.input.key, false); }
    head_object(HeadObjectInput) |gate, request| { gate.spell(&mut request.input.key, false); }
    put_object(PutObjectInput) |gate, request| {
        let input = &mut request.input;
        gate.spell(&mut input.key, true);
        gate.0.forget(&mut input.if_match, &mut input.if_none_match);
        damage!(gate, request);
    }
    create_multipart_upload(CreateMultipartUploadInput) |gate, request| {
        gate.spell(&mut request.input.key, true);
    }
    upload_part(UploadPartInput) |gate, request| {
        gate.spell(&mut request.input.key, true);
        damage!(gate, request);
    }
    complete_multipart_upload(CompleteMultipartUploadInput) |gate, request| {
        let input = &mut request.input;
        gate.spell(&mut input.key, true);
        gate.0.forget(&mut input.if_match, &mut input.if_none_match);
    }
    copy_object(CopyObjectInput) |gate, request| {
        gate.spell(&mut request.input.key, true);
        if let CopySource::Bucket { key, .. } = &mut request.input.copy_source {
            let mut source = key.to_string();
            gate.spell(&mut source, false);
            *key = source.into();
        }
        // That of the target is no field of this request.
        let mut if_none_match = request.headers.remove("if-none-match");
        gate.0.forget(&mut request.input.copy_source_if_match, &mut if_none_match);
        if let Some(value) = if_none_match {
            request.headers.insert("if-none-match", value);
        }
    }
    delete_object(DeleteObjectInput) |gate, request| {
        gate.spell(&mut request.input.key, false);
        gate.0.forget::<_, ()>(&mut request.input.if_match, &mut None);
    }
    delete_objects(DeleteObjectsInput) |gate, request| {
        for object in &mut request.input.delete.objects {
            gate.spell(&mut object.key, false);
            gate.0.forget::<_, ()>(&mut object.e_tag, &mut None);
        }
    }
}
