//! What a run did, in a few lines.

use syncengine::code::NoticeCode;
use syncengine::{Outcome, Report, SyncPair};

use super::{SHOWN, more, safe, words};

/// Returns the summary of a run of `pair`.
pub(crate) fn summary(report: &Report, pair: &SyncPair) -> String {
    let counts = report.counts;
    let elapsed = words::elapsed(report.elapsed_seconds);
    let unchanged = format!("{} unchanged ({elapsed})\n", words::files(counts.unchanged));
    let rows = rows(report, pair);
    match report.outcome {
        Outcome::Refused => return "nothing was changed\n".into(),
        // The error, on stderr, says all there is to say, unless something was done before it.
        Outcome::Failed if rows.is_empty() => return String::new(),
        Outcome::Synced if rows.is_empty() => return format!("in agreement: {unchanged}"),
        _ => {}
    }
    let mut text = String::new();
    for (what, words) in rows {
        text += &format!("{what:<12} {words}\n");
    }
    text += &waiting(report);
    text += &match report.outcome {
        Outcome::Cancelled => {
            format!("cancelled after {elapsed}; what is finished stays, run again to go on\n")
        }
        Outcome::Failed => format!("gave up after {elapsed}; what is finished stays\n"),
        _ => unchanged,
    };
    text
}

/// How conflicts are decided.
pub(super) const DECIDE: &str = "  to decide, edit, rename or delete one of the two, or run once with --conflict keep-both, source-wins or destination-wins\n";

/// Returns the conflicts that wait for the user.
fn waiting(report: &Report) -> String {
    let waiting = || report.actions.iter().filter(|line| line.effects.unresolved);
    let mut text = String::new();
    for line in waiting().take(SHOWN) {
        text += &format!("  {}  {}\n", line.path, line.reason);
    }
    text += &more(waiting().count());
    // No strategy makes room for a file where a folder is.
    let is_settled_by_strategy = |reason: &str| !reason.contains("a folder on the other");
    if waiting().any(|line| is_settled_by_strategy(&line.reason.to_string())) {
        text += DECIDE;
    } else if waiting().next().is_some() {
        text += "  to decide, rename or delete one of the two\n";
    }
    text
}

/// Returns what was done, and what was left, as lines of a name and words.
fn rows(report: &Report, pair: &SyncPair) -> Vec<(&'static str, String)> {
    let (counts, bytes) = (report.counts, report.bytes);
    let (source, destination) = (safe(&report.source), safe(&report.destination));
    let mut rows = Vec::new();
    let mut row = |count: u64, name: &'static str, words: String| {
        if count > 0 {
            rows.push((name, words));
        }
    };
    let copied = |count, moved, to: &str| {
        // Between two places of one store nothing passes through here.
        let size = match moved {
            0 if bytes.copied_server_side > 0 => "by the store itself".into(),
            moved => words::size(moved),
        };
        format!("{} ({size}) to `{to}`", words::files(count))
    };
    row(counts.uploaded, "uploaded", copied(counts.uploaded, bytes.uploaded, &destination));
    row(counts.downloaded, "downloaded", copied(counts.downloaded, bytes.downloaded, &source));
    let at = |count, place: &str| format!("{} at `{place}`", words::files(count));
    row(counts.renamed_source, "renamed", at(counts.renamed_source, &source));
    row(counts.renamed_destination, "renamed", at(counts.renamed_destination, &destination));
    let fate = if pair.trash { ", kept in its trash" } else { ", for good" };
    row(counts.deleted_source, "deleted", at(counts.deleted_source, &source) + fate);
    row(counts.deleted_destination, "deleted", at(counts.deleted_destination, &destination) + fate);
    let settled = counts.conflicts.saturating_sub(counts.unresolved);
    row(settled, "conflicts", format!("{} settled {}", words::count(settled), how_settled(report, pair)));
    row(
        counts.unresolved,
        "conflicts",
        format!("{} left for you to decide", words::count(counts.unresolved)),
    );
    let left = format!("{}: mode {} does not touch them", words::files(counts.left_alone), report.mode);
    row(counts.left_alone, "left alone", left);
    row(
        counts.skipped,
        "skipped",
        format!("{}, not synced by policy", words::plural(counts.skipped, "path")),
    );
    row(counts.failed, "failed", words::plural(counts.failed, "path"));
    rows
}

fn how_settled(report: &Report, pair: &SyncPair) -> String {
    match pair.mode.authority() {
        // Whatever the strategy.
        None if report.warnings.iter().any(|warning| warning.code == NoticeCode::RolledBack) => {
            "by keeping both versions".into()
        }
        None => format!("by {}", pair.conflict),
        Some(side) => format!("by mode {}: the {side} wins", pair.mode),
    }
}
