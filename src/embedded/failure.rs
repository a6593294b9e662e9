//! What can go wrong between a request and the disk: a refusal that the client is told as it is, or a fault
//! of the store below, which the client sees as an internal error and the log in full.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use s3s::{S3Error, S3ErrorCode};

use crate::error::{Error, ErrorKind};

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request cannot be granted, by the rules of S3.
    Refused(S3Error),
    /// The disk or the index failed; what belongs to the same commit fails with it.
    Fault(Box<dyn StdError + Send + Sync>),
}

/// The result of what reads or writes the store.
pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Returns the fault of a row that cannot be understood.
    pub(super) fn damaged(what: &'static str) -> Self {
        Self::Fault(format!("the index is damaged: {what}").into())
    }

    /// Returns the error for whoever opens or closes the store while `doing` something.
    pub(super) fn while_doing(self, doing: String) -> Error {
        match self {
            Self::Refused(error) => Error::new(ErrorKind::Internal, doing).with_source(error),
            Self::Fault(fault) => match fault.downcast::<io::Error>() {
                // No index at all, by its first bytes.
                Ok(error) if error.kind() == io::ErrorKind::InvalidData => {
                    Error::new(ErrorKind::Corrupt, doing).with_source(*error)
                }
                Ok(error) => Error::io(doing, *error),
                Err(fault) => Error::new(ErrorKind::Corrupt, doing).with_source(fault),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Fault(Box::new(error))
    }
}

macro_rules! faults_of_the_index {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::from(redb::Error::from(error))
            }
        })*
    };
}

faults_of_the_index!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError
);

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::from(error),
            error => Self::Fault(Box::new(error)),
        }
    }
}

impl From<Failure> for S3Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            Failure::Fault(fault) => {
                tracing::error!(%fault, "a request failed");
                Self::with_source(S3ErrorCode::InternalError, fault)
            }
        }
    }
}
