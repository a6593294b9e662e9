//! `Entry`: one file as a listing shows it.

use crate::fingerprint::Fingerprint;
use crate::key::Key;
pub use crate::timestamp::Timestamp;

/// One file of a tree, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// When its content was last modified, if the client knows without another request.
    pub modified: Option<Timestamp>,
    /// When a store got it, by the store's clock, if its listing says so. It tells a version that was written anew from one that
    /// never went.
    pub stored: Option<Timestamp>,
    /// What tells this version from another one.
    pub fingerprint: Fingerprint,
}
