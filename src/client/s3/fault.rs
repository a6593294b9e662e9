//! `Fault`: what a request ended with, as the decisions here need it, and as the user is told.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::code::FailureCode;
use crate::error::{Error, ErrorKind};
use crate::fingerprint::ETag;
use crate::key::escape;

/// How much of a store's own words is shown.
const SHOWN_BYTES: usize = 300;

/// The code of [`Fault::no_trash`]; no store has it.
const NO_TRASH: &str = "NoTrash";

/// The code of [`Fault::taken`]; no store has it.
const TAKEN: &str = "NameTaken";

/// The code of [`Fault::respelled`]; no store has it.
const RESPELLED: &str = "NameRespelled";

/// The code of [`Fault::unguarded`]; no store has it.
const UNGUARDED: &str = "Unguarded";

/// The code of a peer whose certificate is not trusted.
const STRANGER: &str = "UntrustedCertificate";

/// The code of [`Fault::other_bytes`]; no store has it.
const OTHER_BYTES: &str = "OtherBytes";

/// The code of an answer that did not come whole.
const CUT: &str = "AnswerCut";

/// Why a request did not succeed.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault {
    /// The HTTP status; 0 if no answer came.
    pub(super) status: u16,
    /// The store's code, such as `NoSuchKey`; empty if it sent none.
    pub(super) code: String,
    message: String,
    /// The request, as S3 names it; empty if none was sent.
    request: &'static str,
    /// Set for a fault that our own checks found.
    kind: Option<ErrorKind>,
    /// What is there now, if it is ours and not what was sent.
    pub(super) left: Option<ETag>,
    /// It came again and again.
    is_tried: bool,
    /// What whoever found it says is to be done.
    told: Option<String>,
}

impl Fault {
    /// Returns a fault that our own checks found.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Some(kind), ..Self::default() }
    }

    /// Returns the fault of one key of a request about many.
    pub(super) fn of_key(code: &str, message: &str) -> Self {
        let status = match code {
            "PreconditionFailed" => 412,
            "NoSuchKey" | "NoSuchVersion" => 404,
            "AccessDenied" => 403,
            "NotImplemented" => 501,
            _ => 500,
        };
        Self { status, code: code.to_owned(), message: message.to_owned(), ..Self::default() }
    }

    /// Returns the fault of one key of a request about many that the answer says nothing of.
    pub(super) fn unanswered() -> Self {
        let message = "which says nothing of this object".into();
        Self { status: 200, request: "DeleteObjects", message, ..Self::default() }
    }

    /// Returns the fault of a request that was dropped because the run was cancelled.
    pub(super) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the run was cancelled")
    }

    /// Returns the fault of a trash location without its bucket. Nothing of the tree is missing, so that to
    /// plan again would not help.
    pub(super) fn no_trash(bucket: &str) -> Self {
        let message = format!("the trash location needs the bucket `{bucket}`, which does not exist");
        Self { code: NO_TRASH.into(), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// Returns the fault of what a strict run does not do, because the store ignores `condition`.
    pub(super) fn unguarded(condition: &str) -> Self {
        let message = format!("the store ignores {condition}, so that an edit made meanwhile could be lost");
        Self { code: UNGUARDED.into(), ..Self::new(ErrorKind::Unsupported, message) }
    }

    /// Returns the fault of a name that the store takes for that of another object.
    pub(super) fn taken() -> Self {
        let message = "it cannot be beside a name that the store takes for the same";
        Self { code: TAKEN.into(), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// Returns the fault of a write after which the store has an object of other content, with the ETag `left`.
    pub(super) fn corrupted(left: ETag) -> Self {
        let message = format!("the store took other bytes than were sent, its object had the ETag {left}");
        Self::new(ErrorKind::Invalid, message).leaving(left)
    }

    /// Returns the fault of a part that the store has other bytes for than were sent.
    pub(super) fn other_bytes(part: i32) -> Self {
        let message = format!("the store took other bytes than were sent for part {part}");
        Self { code: OTHER_BYTES.into(), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// Returns the fault of a write that left an object which is ours and not what it should be.
    pub(super) fn leaving(self, left: ETag) -> Self {
        Self { left: Some(left), ..self }
    }

    /// Returns the fault of an object whose bytes did not come whole.
    pub(super) fn cut(message: impl Into<String>) -> Self {
        Self { code: CUT.into(), ..Self::new(ErrorKind::Unavailable, message) }
    }

    /// Returns the fault of a name that the store keeps in another spelling.
    pub(super) fn respelled() -> Self {
        let message = "the store does not keep this name as it is";
        Self { code: RESPELLED.into(), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// The store has other content than was sent, as far as what it tells can be believed.
    pub(super) fn shows_other_bytes(&self) -> bool {
        self.left.is_some() || self.code == OTHER_BYTES
    }

    /// The condition of the request did not hold.
    pub(super) fn is_refused_condition(&self) -> bool {
        self.status == 412
    }

    /// There is no such object, upload or bucket.
    pub(super) fn is_missing(&self) -> bool {
        self.status == 404
    }

    /// The store did what it was asked, or not; its answer cannot be read.
    pub(super) fn is_unread_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The clock of this machine and that of the store are too far apart.
    pub(super) fn is_of_clocks(&self) -> bool {
        self.code == "RequestTimeTooSkewed"
    }

    /// Returns the fault of a request that was sent as often as helps.
    pub(super) fn tried(self) -> Self {
        Self { is_tried: true, ..self }
    }

    /// Returns the fault with what is to be done about it.
    pub(super) fn hinting(self, hint: String) -> Self {
        Self { told: Some(hint), ..self }
    }

    /// The store asks to be left in peace for a while.
    pub(super) fn is_throttling(&self) -> bool {
        self.status == 429
            || matches!(
                self.code.as_str(),
                "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "RequestLimitExceeded" | "Throttling"
            )
    }

    /// The store does not know the request or the condition in it.
    pub(super) fn is_unsupported(&self) -> bool {
        self.status == 501 || matches!(self.code.as_str(), "NotImplemented" | "MethodNotAllowed" | UNGUARDED)
    }

    /// The store said something, be it that it is busy.
    pub(super) fn is_answer(&self) -> bool {
        self.is_throttling() || !matches!(self.status, 0 | 500..=599)
    }

    /// It cannot be told whether the request took effect, or another try can help.
    pub(super) fn is_passing(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Returns what the caller can do about it.
    pub(super) fn kind(&self) -> ErrorKind {
        if let Some(kind) = self.kind {
            return kind;
        }
        match (self.status, self.code.as_str()) {
            _ if self.is_throttling() => ErrorKind::Unavailable,
            (
                _,
                "RequestTimeout"
                | "RequestTimeTooSkewed"
                | "IncompleteBody"
                | "BadDigest"
                | "InternalError"
                | "XAmzContentChecksumMismatch"
                | "ConditionalRequestConflict"
                | "OperationAborted",
            ) => ErrorKind::Unavailable,
            (507, _) | (_, "XMinioStorageFull" | "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded") => {
                ErrorKind::NoSpace
            }
            (501, _) | (_, "NotImplemented" | "InvalidObjectState") => ErrorKind::Unsupported,
            (0 | 408 | 425 | 500..=599, _) => ErrorKind::Unavailable,
            (404, _) => ErrorKind::NotFound,
            (
                _,
                "ExpiredToken"
                | "ExpiredTokenException"
                | "TokenRefreshRequired"
                | "InvalidToken"
                | "InvalidAccessKeyId",
            ) => ErrorKind::Unauthenticated,
            (401 | 403 | 407, _) | (_, "AuthorizationHeaderMalformed") => ErrorKind::PermissionDenied,
            (409 | 412, _) => ErrorKind::Changed,
            (300..=499, _) => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        }
    }

    /// Returns the fault as the error of `doing` something.
    pub(super) fn error(self, doing: impl Into<String>) -> Error {
        let error = Error::new(self.kind(), doing);
        let error = match self.code.as_str() {
            TAKEN => error.with_code(FailureCode::NameClash),
            RESPELLED => error.with_code(FailureCode::UnmappableName),
            _ => error,
        };
        let error = match self.hint() {
            Some(hint) => error.with_hint(hint.to_owned()),
            None => error,
        };
        let error = if self.is_tried { error.tried() } else { error };
        error.with_source(self.shown())
    }

    fn hint(&self) -> Option<&str> {
        if let Some(told) = &self.told {
            return Some(told);
        }
        Some(match (self.status, self.code.as_str()) {
            (_, TAKEN) => {
                "names that differ only in case or accents need a store that tells them apart; rename one of them"
            }
            (_, CUT) => "run again; if it is always this object, the store cannot read it any more",
            (_, RESPELLED) => "rename it on the other side to what this store can hold",
            (_, NO_TRASH) => "make the bucket, or name another one with --trash-location",
            (_, "NoSuchBucket") => "check the spelling; `sync --create` makes the bucket on a receiving side",
            (_, "InvalidBucketName") => {
                "a bucket has 3 to 63 lower case letters, digits, dots or hyphens in its name"
            }
            (_, "SignatureDoesNotMatch") => "the secret key is not the one of the access key; check both",
            (_, "InvalidAccessKeyId") => {
                "the store does not know the access key; check profile and AWS_* variables"
            }
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
                "the credentials have expired; renew them and run again"
            }
            (_, "AuthorizationHeaderMalformed") | (301 | 307 | 308, _) => {
                "the bucket is in another region or at another address; see --region and --endpoint-url"
            }
            (_, STRANGER) if self.message.contains("expired") => {
                "the certificate of the store has expired, or the clock of this machine is wrong; one of them must be set right"
            }
            (_, STRANGER) if self.message.contains("not valid for name") => {
                "whoever answers has the certificate of another host; check the address"
            }
            (_, STRANGER) => {
                "name the certificates of the store's authority with --ca-bundle FILE, if you trust it"
            }
            (_, UNGUARDED) => "run without --strict to have it looked at just before instead",
            (407, _) => "a proxy on the way wants a password, which cannot be given to it here",
            (_, "InvalidObjectState") => "the object is archived; restore it first",
            (_, "KeyTooLongError") => "the name is too long for the store",
            (401 | 403, _) => "check that the credentials may do this on the bucket and prefix",
            (0, _) if self.kind.is_none() => "check the address and the network; nothing was lost, run again",
            (501, _) | (_, "NotImplemented") => {
                "the store does not know this request; an up-to-date version of it may"
            }
            (500..=599, _) => "the store has trouble; nothing was lost, run again later",
            _ => return None,
        })
    }

    fn shown(&self) -> String {
        let (message, code) = (short(&self.message), short(&self.code));
        let request = if self.request.is_empty() { String::new() } else { format!(" to {}", self.request) };
        match (self.status, code.as_str()) {
            (0, _) => message,
            (status, "") => format!("the store answered {status}{request}{}{message}", colon(&message)),
            (status, code) => {
                format!("the store answered {status} {code}{request}{}{message}", colon(&message))
            }
        }
    }
}

/// Returns what a store said, without what a terminal would act on, and not all of it if it is much.
fn short(said: &str) -> String {
    let mut shown = escape(said.as_bytes());
    if shown.len() > SHOWN_BYTES {
        let end = (0..=SHOWN_BYTES).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
        shown.truncate(end);
        shown.push_str("...");
    }
    shown
}

fn colon(message: &str) -> &'static str {
    if message.is_empty() { "" } else { ": " }
}

/// What went wrong here, not in the store.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { told: error.hint().map(str::to_owned), ..Self::new(error.kind(), error.chain()) }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Fault
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        if let SdkError::ServiceError(service) = &error {
            let (request, told) = (request_of::<E>(), error.raw_response().and_then(region_hint));
            let fault = Self { status, request, told, ..Self::default() };
            let said = service.err();
            if said.code().is_none() && said.message().is_none() {
                // An answer to a HEAD says no more than its status.
                let is_success = fault.is_unread_success();
                let message = is_success.then(|| format!("which cannot be read: {}", last_cause(&error)));
                return Self { message: message.unwrap_or_default(), ..fault };
            }
            let code = said.code().unwrap_or_default().to_owned();
            let message = said.message().unwrap_or_default().to_owned();
            return Self { code, message, ..fault };
        }
        let kind = match &error {
            // Nothing was sent: the request itself cannot be made.
            SdkError::ConstructionFailure(_) => Some(ErrorKind::Invalid),
            // An answer came that is none. Whoever sent it is not the store we know.
            SdkError::ResponseError(_) => Some(ErrorKind::Unavailable),
            _ => None,
        };
        let message = causes(&error);
        // Who is there cannot show to be the store: asking again does not help, and the user must act.
        let is_stranger = kind.is_none() && message.contains("certificate");
        let (code, kind) =
            if is_stranger { (STRANGER, Some(ErrorKind::PermissionDenied)) } else { ("", kind) };
        Self { code: code.to_owned(), message, kind, ..Self::default() }
    }
}

/// Returns the request that errors of this type are of.
fn request_of<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    let name = name.rsplit("::").next().unwrap_or(name);
    name.strip_suffix("Error").unwrap_or(name)
}

/// Returns what to do about a bucket that is in another region, where the store names it.
fn region_hint(response: &HttpResponse) -> Option<String> {
    let is_elsewhere = matches!(response.status().as_u16(), 301 | 307 | 308 | 400);
    let region = response.headers().get("x-amz-bucket-region").filter(|_| is_elsewhere)?;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = !region.is_empty() && region.len() <= 64 && region.bytes().all(is_name);
    is_region.then(|| format!("the bucket is in the region {region}: run with --region {region}"))
}

/// Returns the innermost cause of an error.
fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// Returns the messages of an error and its causes. Those of the SDK name hosts and system errors, no secrets.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, code: &str) -> Fault {
        Fault { status, code: code.into(), message: "words".into(), ..Fault::default() }
    }

    #[test]
    fn a_status_and_a_code_say_what_can_be_done() {
        for (status, code, expected) in [
            (0, "", ErrorKind::Unavailable),
            (301, "PermanentRedirect", ErrorKind::Invalid),
            (400, "InvalidArgument", ErrorKind::Invalid),
            (400, "RequestTimeout", ErrorKind::Unavailable),
            (400, "ExpiredToken", ErrorKind::Unauthenticated),
            (403, "InvalidAccessKeyId", ErrorKind::Unauthenticated),
            (400, "AuthorizationHeaderMalformed", ErrorKind::PermissionDenied),
            (400, "BadDigest", ErrorKind::Unavailable),
            (403, "AccessDenied", ErrorKind::PermissionDenied),
            (403, "RequestTimeTooSkewed", ErrorKind::Unavailable),
            (403, "InvalidObjectState", ErrorKind::Unsupported),
            (404, "NoSuchKey", ErrorKind::NotFound),
            (407, "", ErrorKind::PermissionDenied),
            (409, "ConditionalRequestConflict", ErrorKind::Unavailable),
            (409, "BucketAlreadyOwnedByYou", ErrorKind::Changed),
            (412, "PreconditionFailed", ErrorKind::Changed),
            (429, "", ErrorKind::Unavailable),
            (501, "NotImplemented", ErrorKind::Unsupported),
            (503, "SlowDown", ErrorKind::Unavailable),
            (507, "XMinioStorageFull", ErrorKind::NoSpace),
        ] {
            assert_eq!(fault(status, code).kind(), expected, "{status} {code}");
        }
        assert_eq!(Fault::cancelled().kind(), ErrorKind::Cancelled);
        assert!(fault(503, "SlowDown").is_throttling() && !fault(503, "").is_throttling());
    }

    #[test]
    fn b58_what_a_store_says_is_shown_escaped_and_short() {
        let long = Fault { message: format!("\x1b[31m{}", "ä".repeat(1000)), ..fault(500, "Odd\nCode") };
        let error = long.error("read `a`");
        let shown = error.chain();
        assert!(shown.starts_with("read `a`: the store answered 500 Odd\\u{a}Code: \\u{1b}[31m"), "{shown}");
        assert!(shown.len() < 400 && shown.ends_with("..."), "{shown}");
        assert!(error.hint().is_some());
        let endless = fault(500, &"C".repeat(10_000)).error("read `a`");
        assert!(endless.chain().len() < 400, "{}", endless.chain());
    }
}
