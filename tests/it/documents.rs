//! What the documents promise: commands with their output are run, and policies are enough for what they are for.

use std::fs;
use std::path::Path;

mod console;
mod policies;

/// Returns a document of this repository.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A fenced block of a document.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The last heading of the second level before it.
    section: String,
    /// The index of its first line in the document.
    first: usize,
    lines: Vec<String>,
}

/// Returns the blocks of a kind, such as `json`.
fn blocks(text: &str, kind: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut fence: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        match (&fence, line.strip_prefix("```")) {
            (None, Some(named)) => {
                fence = Some(named.to_owned());
                if named == kind {
                    found.push(Block { section: section.clone(), first: index + 1, lines: Vec::new() });
                }
            }
            (Some(_), Some(_)) => fence = None,
            (Some(named), None) if named == kind => found.last_mut().unwrap().lines.push(line.to_owned()),
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    heading.clone_into(&mut section);
                }
            }
            (Some(_), None) => {}
        }
    }
    assert!(fence.is_none(), "a block has no end");
    found
}

#[test]
fn blocks_are_found_under_their_headings() {
    let text = "## One\n```console\n$ a\n## no heading\n```\n```json\n{}\n```\n## Two\n```console\n```\n";
    let found = blocks(text, "console");
    let shown: Vec<_> = found.iter().map(|block| (block.section.as_str(), block.first)).collect();
    assert_eq!(shown, [("One", 2), ("Two", 10)]);
    assert_eq!(found[0].lines, ["$ a", "## no heading"]);
}
