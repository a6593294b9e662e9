//! Text for people, and nothing else: no file here writes anything.
#![expect(
    clippy::format_push_string,
    reason = "texts are short, and nobody wants the result of writing to a string"
)]

use std::error::Error as _;

use syncengine::key::escape;
use syncengine::notice::Notice;
use syncengine::{Error, Report};

pub(crate) mod inspect;
pub(crate) mod modes;
pub(crate) mod plan;
pub(crate) mod state;
pub(crate) mod summary;
pub(crate) mod words;

/// How many lines of a kind a person is shown.
const SHOWN: usize = 20;

/// Returns an error with its causes and its hint.
pub(crate) fn error(error: &Error) -> String {
    let mut text = format!("error: {}\n", safe(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("  caused by: {}\n", safe(&error.to_string()));
        cause = error.source();
    }
    hint(&mut text, "hint", error.hint().unwrap_or_default());
    text
}

/// Returns what is said to words that make no command, or that ask for help.
pub(crate) fn usage(error: &clap::Error) -> String {
    error.render().to_string().lines().map(|line| safe(line) + "\n").collect()
}

/// Returns what a run has to say besides its result: warnings, notes, failures, refusals.
pub(crate) fn messages(report: &Report, quiet: bool) -> String {
    let mut text = String::new();
    report.warnings.iter().for_each(|notice| notice_lines(&mut text, "warning", notice));
    if !quiet {
        report.notes.iter().for_each(|notice| notice_lines(&mut text, "note", notice));
    }
    text += &failures(&report.failures);
    report.refused_by.iter().for_each(|notice| notice_lines(&mut text, "refused", notice));
    text
}

/// Returns the paths that failed, the first of them with their reasons.
pub(crate) fn failures(failures: &[syncengine::event::Failure]) -> String {
    let mut text = String::new();
    for failure in failures.iter().take(SHOWN) {
        let (action, path) = (&failure.action, safe(&failure.path));
        text += &format!("failed: {action} `{path}`: {}\n", safe(&failure.error));
        hint(&mut text, "  hint", &failure.hint);
    }
    text + &more(failures.len())
}

/// Returns the lines of a notice.
pub(crate) fn notice_lines(text: &mut String, kind: &str, notice: &Notice) {
    *text += &format!("{kind}: {}\n", safe(&notice.message));
    hint(text, "hint", &notice.hint);
}

fn hint(text: &mut String, kind: &str, hint: &str) {
    if !hint.is_empty() {
        *text += &format!("{kind}: {}\n", safe(hint));
    }
}

/// Returns the line that stands for what is not shown.
fn more(count: usize) -> String {
    match count.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!("  and {} more; --output json lists all\n", words::count(more as u64)),
    }
}

/// Returns `text` without anything a terminal would act on.
fn safe(text: &str) -> String {
    escape(text.as_bytes())
}
