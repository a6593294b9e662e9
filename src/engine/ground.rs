//! Where trees, state and embedded objects lie on this machine's disks, and whether that goes together.
//!
//! Paths are made canonical here to compare them; nothing is read but names, and nothing is made.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::key::escape;
use crate::side::{Side, Sides};

/// A folder on this machine that belongs to a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ground {
    /// The tree itself.
    Tree(PathBuf),
    /// The objects of the server inside this process.
    Objects(PathBuf),
}

impl Ground {
    fn path(&self) -> &Path {
        match self {
            Self::Tree(path) | Self::Objects(path) => path,
        }
    }

    fn describe(&self, side: Side) -> String {
        let shown = shown(self.path());
        match self {
            Self::Tree(_) => format!("the {side} `{shown}`"),
            Self::Objects(_) => format!("the embedded directory `{shown}`"),
        }
    }
}

/// Refuses embedded objects inside a tree, and a tree inside them.
pub(super) fn check_grounds(grounds: &Sides<Option<Ground>>) -> Result<()> {
    let (Some(source), Some(destination)) = (&grounds.source, &grounds.destination) else { return Ok(()) };
    let fine = match (source, destination) {
        // Whether trees lie apart is asked of all kinds of trees alike.
        (Ground::Tree(_), Ground::Tree(_)) => true,
        // Two buckets of one server.
        (Ground::Objects(one), Ground::Objects(other)) if one == other => true,
        _ => !nested(source.path(), destination.path()),
    };
    if fine {
        return Ok(());
    }
    let (source, destination) = (source.describe(Side::Source), destination.describe(Side::Destination));
    Err(Error::new(ErrorKind::Invalid, format!("{source} and {destination} are inside each other"))
        .with_hint("choose an embedded directory outside both trees with --embedded-dir"))
}

/// Refuses a state directory that would be synced itself, or that lies among embedded objects.
pub(super) fn check_state_dir(state_dir: &Path, grounds: &Sides<Option<Ground>>) -> Result<()> {
    let state = canonical(state_dir)?;
    for side in Side::BOTH {
        let Some(ground) = grounds.get(side) else { continue };
        let is_tree = matches!(ground, Ground::Tree(_));
        let path = ground.path();
        if is_tree && path.parent().is_none() {
            let doing = format!("the {side} is the root of the file system");
            return Err(Error::new(ErrorKind::Invalid, doing).with_hint("name the folders to sync"));
        }
        // The embedded directory may lie inside the state directory, which nobody syncs or lists.
        if state.starts_with(path) || (is_tree && path.starts_with(&state)) {
            let (state, ground) = (shown(&state), ground.describe(side));
            let doing = format!("the state directory `{state}` and {ground} are inside each other");
            return Err(Error::new(ErrorKind::Invalid, doing)
                .with_hint("choose a state directory outside both trees with --state-dir"));
        }
    }
    Ok(())
}

fn nested(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

/// Returns whether nothing is there, or an empty folder. What cannot be looked at counts as something.
pub(super) fn is_vacant(dir: &Path) -> bool {
    match dir.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Returns the absolute form of a path of which the last parts need not exist.
pub(super) fn canonical(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::io(format!("resolve the path `{}`", shown(path)), error))?;
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        if let Ok(found) = existing.canonicalize() {
            return Ok(missing.iter().rev().fold(found, |path, name| path.join(name)));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return Ok(absolute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(text: &str) -> Option<Ground> {
        match text.split_at(1) {
            ("t", path) => Some(Ground::Tree(path.into())),
            ("o", path) => Some(Ground::Objects(path.into())),
            _ => None,
        }
    }

    #[test]
    fn b46_embedded_objects_and_trees_lie_apart() {
        for (source, destination, fine) in [
            ("t/a", "o/b", true),
            ("t/a", "o/ab", true),
            ("t/a", "o/a", false),
            ("t/a", "o/a/b", false),
            ("o/a", "t/a/b", false),
            ("o/a/b", "t/a", false),
            ("o/a", "o/a", true),
            ("o/a", "o/a/b", false),
            ("o/a", "-", true),
            ("-", "t/a", true),
        ] {
            let grounds = Sides::new(ground(source), ground(destination));
            let result = check_grounds(&grounds);
            assert_eq!(result.is_ok(), fine, "{source} {destination}");
            if let Err(error) = result {
                assert!(error.hint().is_some_and(|hint| hint.contains("--embedded-dir")), "{error}");
            }
        }
    }

    #[test]
    fn b33_the_state_lies_outside_trees_and_objects() {
        for (state, at, fine) in [
            ("/none/s", "t/none/a", true),
            ("/none/a", "t/none/a", false),
            ("/none/a/s", "t/none/a", false),
            ("/none", "t/none/a", false),
            ("/none/s", "t/", false),
            ("/none/s", "o/none/e", true),
            ("/none/e", "o/none/e", false),
            ("/none/e/s", "o/none/e", false),
            ("/none", "o/none/e", true),
        ] {
            for grounds in [Sides::new(ground(at), None), Sides::new(None, ground(at))] {
                assert_eq!(check_state_dir(Path::new(state), &grounds).is_ok(), fine, "{state} {at}");
            }
        }
    }
}
