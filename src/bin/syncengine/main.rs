//! `syncengine` on the command line: arguments in, one exit code out.
//!
//! ```text
//! args ─► options ─► commands ─► library ─► render ─► output ─► exit code
//! ```

use std::process::ExitCode;

mod args;
mod commands;
mod durations;
mod exit_code;
#[cfg(test)]
mod fuzzing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod logging;
mod options;
mod output;
mod plan_file;
mod progress;
mod render;
mod signals;
mod sizes;
mod umask;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    commands::main(&arguments).into()
}
