//! The one error type of the library.
//!
//! An [`Error`] says what was being done (`doing`, which names the path), of which [`ErrorKind`] the
//! failure is (what the caller can do about it), and, where there is one, a hint for the person at the
//! terminal. `Display` prints its own layer only; [`Error::chain`] prints the causes too.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::code::FailureCode;
use crate::side::Side;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The path, root, bucket or pair does not exist: create it or correct the name.
    NotFound,
    /// The operating system or the store refused access: change the permissions.
    PermissionDenied,
    /// The store does not take the credentials, or takes them no longer: renew them. Ends a run.
    Unauthenticated,
    /// The path is not what the plan was made for: plan it again.
    Changed,
    /// A passing fault (too many open files, a timeout): try again.
    Unavailable,
    /// The input cannot work as given: correct it.
    Invalid,
    /// Stored data contradicts itself: it was damaged and must not be trusted.
    Corrupt,
    /// The run was cancelled by its caller.
    Cancelled,
    /// Another run holds the pair: wait for it to end.
    Locked,
    /// The receiving side has no room: free some.
    NoSpace,
    /// The system or the store cannot do what was asked.
    Unsupported,
    /// The store turned out to list in another order than that of bytes: list again, which is sorted then.
    Disordered,
    /// Anything else; a defect of this crate or of the system below it.
    Internal,
}

/// What went wrong, while doing what, and what to do next.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    doing: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Whether it is about more than one path.
    ends_the_run: bool,
    /// Whether it was tried again already, as often as helps.
    is_tried: bool,
    /// What programs know it by, where its kind does not say it.
    code: Option<FailureCode>,
    /// The other path it is about as much.
    other: Option<String>,
    /// The side that could not be read.
    unread: Option<Side>,
}

impl Error {
    /// Returns an error of `kind` whose message is `doing`: a lower-case fragment that names the path.
    pub fn new(kind: ErrorKind, doing: impl Into<String>) -> Self {
        Self {
            kind,
            doing: doing.into(),
            hint: None,
            source: None,
            ends_the_run: false,
            is_tried: false,
            code: None,
            other: None,
            unread: None,
        }
    }

    /// Returns the error for an input or output failure while `doing` something.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let kind = kind_of(&source);
        let (too_large, no_descriptor) = (source.kind() == io::ErrorKind::FileTooLarge, is_shortage(&source));
        let (no_name, broken) =
            (source.kind() == io::ErrorKind::InvalidFilename, source.raw_os_error() == Some(EIO));
        let error = Self::new(kind, doing).with_source(source);
        match kind {
            ErrorKind::Unavailable if no_descriptor => {
                error.with_hint("raise the limit of open files, such as with `ulimit -n 1024`, and run again")
            }
            ErrorKind::NoSpace if too_large => error.with_code(FailureCode::TooLarge).with_hint(
                "the receiving side takes no file that large; raise the limit of file sizes (`ulimit -f`) if there is one",
            ),
            ErrorKind::NoSpace => error.with_hint("free some space on the receiving side and run again"),
            ErrorKind::PermissionDenied => error.with_hint("check the owner and the permissions of the path"),
            ErrorKind::Invalid if no_name => error.with_hint(
                "the folder takes no name like that, or none that long; give it a shorter name on the other side",
            ),
            _ if broken => error.with_hint(
                "the disk, or what serves it, has failed; check it and the log of the system, and run again",
            ),
            _ => error,
        }
    }

    /// Adds what the user can do next: one sentence without a full stop.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets what programs know it by.
    pub fn with_code(mut self, code: FailureCode) -> Self {
        self.code = Some(code);
        self
    }

    /// Returns what programs know it by.
    pub fn code(&self) -> FailureCode {
        self.code.unwrap_or_else(|| self.kind.into())
    }

    /// Names the other path that cannot be synced because of this one.
    pub(crate) fn with_other(mut self, path: impl Into<String>) -> Self {
        self.other = Some(path.into());
        self
    }

    /// Returns the side that could not be read, if that is what went wrong.
    pub(crate) fn unread(&self) -> Option<Side> {
        self.unread
    }

    /// Returns the other path that cannot be synced for the same reason.
    pub(crate) fn other(&self) -> Option<&str> {
        self.other.as_deref()
    }

    /// Returns the error once more, for another path that failed with it.
    pub(crate) fn again(&self) -> Self {
        Self {
            kind: self.kind,
            doing: self.chain(),
            hint: self.hint.clone(),
            source: None,
            ends_the_run: self.ends_the_run,
            is_tried: self.is_tried,
            code: self.code,
            other: self.other.clone(),
            unread: self.unread,
        }
    }

    /// Notes the side that could not be read, also in the message: the path alone could be of either.
    pub(crate) fn at(mut self, side: Side) -> Self {
        self.unread = Some(side);
        self.doing = format!("{} at the {side}", self.doing);
        self
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns what the user can do next, if there is something to say.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the error as one that another try does not help against: whoever met it has tried.
    #[cfg(any(test, feature = "s3"))]
    pub(crate) fn tried(mut self) -> Self {
        self.is_tried = true;
        self
    }

    /// Returns whether another try may help.
    pub(crate) fn is_worth_a_try(&self) -> bool {
        self.kind == ErrorKind::Unavailable && !self.is_tried
    }

    /// Returns whether no other path can fare better: the run was cancelled, or has lost its credentials.
    pub(crate) fn ends_the_run(&self) -> bool {
        self.ends_the_run || matches!(self.kind, ErrorKind::Cancelled | ErrorKind::Unauthenticated)
    }

    /// Makes it an error that ends the run, not that of a path.
    pub(crate) fn ending_the_run(mut self) -> Self {
        self.ends_the_run = true;
        self
    }

    /// Returns whether the cause is that the process or the system has no descriptor left.
    pub(crate) fn is_shortage(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(is_shortage) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Returns the message with all its causes, outermost first, separated by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::NoSpace,
        Io::Interrupted | Io::TimedOut | Io::ResourceBusy | Io::StaleNetworkFileHandle => {
            ErrorKind::Unavailable
        }
        Io::AlreadyExists => ErrorKind::Changed,
        Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
        Io::Unsupported | Io::CrossesDevices => ErrorKind::Unsupported,
        // Descriptors come back when other operations end.
        _ if is_shortage(error) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// The error of a disk that cannot read or write, on every system there is.
const EIO: i32 = 5;

/// Whether the process (`EMFILE`) or the system (`ENFILE`) has no descriptor left.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

impl From<ErrorKind> for FailureCode {
    /// Returns the code of errors that have none of their own.
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::Unauthenticated => Self::Unauthenticated,
            ErrorKind::Changed => Self::ChangedDuringSync,
            ErrorKind::Unavailable | ErrorKind::Disordered => Self::Unavailable,
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Locked => Self::Locked,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_its_own_layer_and_the_chain_shows_all() {
        let error = Error::io("read `a/b`", io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(error.to_string(), "read `a/b`");
        assert_eq!(error.chain(), "read `a/b`: permission denied");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.hint().is_some());
    }

    #[test]
    fn running_out_of_descriptors_is_worth_another_try() {
        let error = Error::io("open `a`", io::Error::from_raw_os_error(24));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.hint().is_some_and(|hint| hint.contains("ulimit -n")), "{error:?}");
    }
}
