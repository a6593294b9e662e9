//! Tests of the library from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod contract;
mod histories;
mod local;
mod support;
mod tidy;
