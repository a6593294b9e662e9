//! Keeps two trees of files in agreement: a local folder and a copy of it, in five modes.
//!
//! ```text
//!  source ──list──┐                                    filter, policy
//!  dest   ──list──┼─► diff ─► Change ─► plan ─► Action ─► guard ─► transfer ─► Event ─► report
//!  state  ──scan──┘  (ordered      (pure table)   │                  │    │
//!                     merge join)                 └─ dry run         │    └─► client::{read, write, copy, delete}
//!                                                                    └─► state (after each effect)
//! ```
//!
//! Start with [`SyncEngine`] and [`SyncPair`]:
//!
//! ```no_run
//! use syncengine::{SyncEngine, SyncMode, SyncOptions, SyncPair};
//!
//! # async fn example() -> syncengine::Result<()> {
//! let pair = SyncPair::new("/home/user/photos", "/backup/photos").mode(SyncMode::SourceBackup);
//! let engine = SyncEngine::new("/home/user/.local/state/syncengine");
//! let report = engine.sync_pair(&pair, SyncOptions::new().create(true)).await?;
//! assert!(report.is_success(), "{:?}", report.failures);
//! # Ok(())
//! # }
//! ```
//!
//! The modules below stand in the order in which data flows through them. What each mode does to a path is
//! in `docs/SEMANTICS.md`; how the parts fit is in `docs/ARCHITECTURE.md`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

#[cfg(windows)]
compile_error!("syncengine runs on Linux and macOS; Windows file names and renames are not supported");

pub mod code;
pub mod error;

pub mod entry;
pub mod filter;
pub mod fingerprint;
pub mod key;
pub mod marker;
pub mod mode;
pub mod notice;
pub mod root;
pub mod side;
pub mod spelling;
pub mod telemetry;
pub mod timestamp;
pub mod trash;

pub mod location;
pub mod pair;

pub mod client;
pub mod clock;
mod lock;
mod ownership;
pub mod state;
#[cfg(any(feature = "s3", feature = "embedded"))]
mod xml;

pub mod diff;
pub mod examine;
pub mod guard;
pub mod plan;
pub mod survey;
pub mod unplaced;

pub mod control;
pub mod retry;
pub mod transfer;

pub mod event;
pub mod report;

pub mod engine;

#[cfg(feature = "embedded")]
pub mod embedded;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use client::StorageClient;
pub use client::local::LocalClient;
pub use client::memory::MemoryClient;
pub use control::SyncController;
pub use engine::{SyncEngine, SyncOptions};
pub use entry::{Entry, Timestamp};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, Observer};
pub use guard::MaxDelete;
pub use key::Key;
pub use location::{Location, StoreOptions};
pub use mode::{ComparisonMode, ConflictStrategy, InitialSyncPreference, SyncMode};
pub use pair::SyncPair;
pub use report::{Outcome, Report, SyncStats};
pub use side::{Side, Sides};
