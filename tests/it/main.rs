//! Tests of the library from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[cfg(feature = "cli")]
mod cli;
mod contract;
mod histories;
#[cfg(feature = "cli")]
mod kills;
mod local;
mod support;
mod tidy;
