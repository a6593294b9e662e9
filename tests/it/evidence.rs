//! Evidence: what counts only as the world shows it. Names as they are listed, files as they belong to somebody, runs that come to
//! an end, words as people type them, and accounts as they are named.

mod belonging;
mod convergence;
#[cfg(all(feature = "s3", feature = "embedded"))]
mod credentials;
mod names;
mod traps;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::{Tree, read_tree};

/// Returns the paths that failed, in order, with their codes.
fn failed(report: &Value) -> Vec<(String, String)> {
    let text = |failure: &Value, name: &str| failure[name].as_str().unwrap().to_owned();
    let failures = report["failures"].as_array().unwrap().iter();
    let mut failed: Vec<_> = failures.map(|failure| (text(failure, "path"), text(failure, "code"))).collect();
    failed.sort();
    failed
}

/// Writes files: `name=content`, separated by spaces.
fn write(root: &Path, files: &str) {
    for (name, content) in files.split_whitespace().filter_map(|file| file.split_once('=')) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Returns a tree as [`write`] takes it.
fn shown(root: &Path) -> String {
    let tree: Tree = read_tree(root);
    let files = tree.into_iter().map(|(name, bytes)| format!("{name}={}", String::from_utf8_lossy(&bytes)));
    files.collect::<Vec<_>>().join(" ")
}

/// Returns the names in the warnings, notes or refusals of a report with their messages.
fn notices(report: &Value, list: &str) -> BTreeMap<String, String> {
    let text = |notice: &Value, name: &str| notice[name].as_str().unwrap().to_owned();
    report[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|notice| (text(notice, "code"), text(notice, "message")))
        .collect()
}

/// Syncs two folders and returns the exit code and the report.
fn sync(bench: &Bench, source: &Path, destination: &Path, options: &[&str]) -> (i32, Value) {
    let words = ["sync", source.to_str().unwrap(), destination.to_str().unwrap(), "--state-dir", "state"];
    bench.json(&[&words, options].concat())
}
