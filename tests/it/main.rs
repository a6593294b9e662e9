//! Tests of the library from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[cfg(feature = "cli")]
mod bad_input;
#[cfg(feature = "cli")]
mod cli;
mod clocks;
mod contract;
mod deletions;
#[cfg(target_os = "linux")]
mod disks;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod documents;
#[cfg(all(feature = "cli", feature = "embedded"))]
mod embedded;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod evidence;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod folding;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod hazards;
mod histories;
#[cfg(feature = "cli")]
mod kills;
mod local;
#[cfg(feature = "cli")]
mod memory;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod network;
#[cfg(feature = "cli")]
mod pairs;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod purge;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod resume;
mod rollback;
mod rules;
#[cfg(feature = "cli")]
mod scenarios;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod second_thoughts;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod servers;
mod simulation;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod stores;
mod support;
mod tidy;
mod upgrades;
mod uses;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
mod versions;
mod which;
#[cfg(feature = "s3")]
mod wire;
