//! Keeps two trees of files in agreement.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

#[cfg(windows)]
compile_error!("syncengine runs on Linux and macOS; Windows file names and renames are not supported");

pub mod clock;
pub mod key;
pub mod entry;
pub mod fingerprint;
pub mod filter;
pub mod mode;
pub mod client;
pub mod state;
pub mod error;

pub use error::{Error, ErrorKind, Result};
pub use entry::{Entry, Timestamp};
pub use key::Key;
pub use mode::{ComparisonMode, ConflictStrategy, InitialSyncPreference, Side, SyncMode};
