//! The only file that writes to stdout and stderr.
//!
//! A reader that went away (`syncengine plan | head`) is no fault of ours: what follows is dropped and the
//! exit code stays that of the command. Any other failure loses a part of the result, which
//! [`result_is_lost`] tells, so that no script takes half a document for a success.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use syncengine::Event;
use syncengine::key::acts_on_terminals;

use crate::options::Format;

/// Whether something meant for stdout could not be written; said once.
static LOST: AtomicBool = AtomicBool::new(false);

/// A document with the name that sets it apart from the events before it.
#[derive(Serialize)]
struct LastLine<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    document: &'a T,
}

/// Returns a document as text, with its end of line.
pub(crate) fn document<T: Serialize>(format: Format, document: &T) -> String {
    let text = match format {
        Format::JsonLines => serde_json::to_string(&LastLine { event: "report", document }),
        _ => serde_json::to_string_pretty(document),
    };
    // Our documents are made of strings, numbers and lists: there is nothing that could fail.
    harmless(&text.unwrap_or_default())
}

/// Returns one event as a line of text.
pub(crate) fn event(event: &Event) -> String {
    harmless(&serde_json::to_string(event).unwrap_or_default())
}

/// Ends a document. What a terminal would act on is written `\uXXXX`, which is the same to who reads JSON: it
/// can only stand in a string, and `serde_json` does so with the first 32 characters only.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if character != '\n' && acts_on_terminals(character) {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            text.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(character);
        }
    }
    text + "\n"
}

/// Writes to stdout.
pub(crate) fn to_stdout(text: &str) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        to_stderr(&format!(
            "error: the result cannot be written\n  caused by: {error}\nhint: what was done stays done; check \
             where the output goes\n"
        ));
    }
}

/// Returns whether a part of the result could not be written.
pub(crate) fn result_is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Writes to stderr. Who closed it does not want to know.
pub(crate) fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).unwrap_or_default();
}

/// Returns the most memory this process has used, in bytes; 0 where the system does not tell.
pub(crate) fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
