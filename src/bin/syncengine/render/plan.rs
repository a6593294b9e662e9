//! A plan: one line an action, then the totals.

use syncengine::code::ActionCode;
use syncengine::event::Line;
use syncengine::{Outcome, Report};

use super::words;

/// Paths longer than this do not push the columns apart.
const PATH_WIDTH: usize = 48;

/// Returns the plan in `report`; what is only taken note of is listed if `all`.
pub(crate) fn plan(report: &Report, all: bool) -> String {
    if matches!(report.outcome, Outcome::Failed | Outcome::Cancelled) {
        return String::new();
    }
    let shown: Vec<Row> =
        report.actions.iter().filter(|line| all || line.action != ActionCode::Adopt).map(Row::of).collect();
    let width = |of: fn(&Row) -> &str, most: usize| {
        shown.iter().map(|row| of(row).chars().count()).filter(|width| *width <= most).max().unwrap_or(0)
    };
    let (actions, paths, sizes) = (
        width(|row| row.action, PATH_WIDTH),
        width(|row| &row.path, PATH_WIDTH),
        width(|row| &row.size, PATH_WIDTH),
    );
    let mut text = String::new();
    for Row { action, path, size, reason } in &shown {
        text += &format!("{action:<actions$}  {path:<paths$}  {size:>sizes$}  {reason}\n");
    }
    text + &totals(report)
}

struct Row {
    action: &'static str,
    path: String,
    size: String,
    reason: String,
}

impl Row {
    fn of(line: &Line) -> Self {
        let path = match &line.old_path {
            Some(old) => format!("{old} -> {}", line.path),
            None => line.path.to_string(),
        };
        let size = format!("({})", words::size(line.size));
        Self { action: line.action.as_str(), path, size, reason: line.reason.to_string() }
    }
}

fn totals(report: &Report) -> String {
    let (counts, bytes) = (report.counts, report.bytes);
    let renamed = counts.renamed_source + counts.renamed_destination;
    let mut parts = Vec::new();
    let mut part = |count: u64, words: String| {
        if count > 0 {
            parts.push(words);
        }
    };
    part(
        counts.uploaded,
        format!("upload {} ({})", words::files(counts.uploaded), words::size(bytes.uploaded)),
    );
    let size = words::size(bytes.downloaded);
    part(counts.downloaded, format!("download {} ({size})", words::files(counts.downloaded)));
    part(renamed, format!("rename {}", words::files(renamed)));
    part(counts.deleted_source, format!("delete {} at the source", words::files(counts.deleted_source)));
    let deleted = counts.deleted_destination;
    part(deleted, format!("delete {} at the destination", words::files(deleted)));
    part(counts.unresolved, format!("leave {} to you", words::plural(counts.unresolved, "conflict")));
    part(counts.left_alone, format!("leave {} alone", words::files(counts.left_alone)));
    part(counts.failed, format!("{} cannot be synced", words::plural(counts.failed, "path")));
    let unchanged = format!("{} unchanged", words::files(counts.unchanged));
    if report.outcome == Outcome::Refused && parts.is_empty() && report.actions.is_empty() {
        return "no plan was made\n".into();
    }
    if parts.is_empty() {
        return format!("nothing to do: {unchanged} ({})\n", words::elapsed(report.elapsed_seconds));
    }
    format!("to do: {}; {unchanged}\n", parts.join(", "))
}
