//! The results of `check` and `status`.

use syncengine::engine::check::CheckReport;
use syncengine::engine::status::{SideChanges, StatusReport};
use syncengine::{Key, Side};

use super::summary::DECIDE;
use super::{SHOWN, more, words};

/// Returns how two trees compare.
pub(crate) fn check(report: &CheckReport) -> String {
    let mut text = String::new();
    section(&mut text, "different", &report.different);
    section(&mut text, "only at the source", &report.only.source);
    section(&mut text, "only at the destination", &report.only.destination);
    let equal = words::files(report.equal_files);
    if report.equal {
        text += &format!("equal: {equal}\n");
        return text;
    }
    let differ = report.different.len() + report.only.source.len() + report.only.destination.len();
    let verb = if differ == 1 { "differs" } else { "differ" };
    text += &format!("not equal: {} {verb}, {equal} equal", words::files(differ as u64));
    if !report.failures.is_empty() {
        text += &format!(", {} could not be compared", words::count(report.failures.len() as u64));
    }
    text + "\n"
}

/// Returns what changed since the last sync.
pub(crate) fn status(report: &StatusReport) -> String {
    let mut text = match report.last_sync_seconds {
        Some(seconds) => format!("last sync: {}\n", words::moment(seconds)),
        None if report.first_sync => "never synced\n".into(),
        None => "no complete sync yet\n".into(),
    };
    for side in Side::BOTH {
        let SideChanges { added, changed, deleted } = report.changes.get(side);
        section(&mut text, &format!("added at the {side}"), added);
        section(&mut text, &format!("changed at the {side}"), changed);
        section(&mut text, &format!("deleted at the {side}"), deleted);
    }
    section(&mut text, "conflicts that wait for you", &report.conflicts);
    if !report.conflicts.is_empty() {
        text += DECIDE;
    }
    let unchanged = words::files(report.unchanged);
    text += &match report.pending {
        0 if report.failures.is_empty() && !report.conflicts.is_empty() => {
            format!("nothing else pending: {unchanged} unchanged\n")
        }
        0 if !report.failures.is_empty() => {
            let failed = words::plural(report.failures.len() as u64, "path");
            format!("{failed} cannot be synced, nothing else pending: {unchanged} unchanged\n")
        }
        0 => format!("nothing pending: {unchanged} unchanged\n"),
        pending => format!("{} pending, {unchanged} unchanged\n", words::plural(pending, "change")),
    };
    text
}

fn section(text: &mut String, title: &str, keys: &[Key]) {
    if keys.is_empty() {
        return;
    }
    *text += &format!("{title}: {}\n", words::count(keys.len() as u64));
    for key in keys.iter().take(SHOWN) {
        *text += &format!("  {key}\n");
    }
    *text += &more(keys.len());
}
