//! Rules that can match nothing, because they are paths as people see them and not as rules are written.
//!
//! A rule that matches nothing must not pass in silence: what it was to keep out would be synced.

use std::path::{Path, PathBuf};

use syncengine::key::escape;
use syncengine::{Error, Location, Result, Side, SyncPair};

use super::invalid;

/// Refuses rules of `pair` that can match nothing, and says what was meant.
pub(super) fn check(pair: &SyncPair) -> Result<()> {
    let roots: Vec<PathBuf> = Side::BOTH.into_iter().flat_map(|side| roots(pair.location(side))).collect();
    pair.rules.iter().try_for_each(|rule| {
        let (sign, path) = rule.strip_prefix('!').map_or(("", rule.as_str()), |path| ("!", path));
        can_match(path, &roots)
            .map_err(|meant| mistaken(rule, meant.map(|meant| format!("{sign}{meant}")).as_deref()))
    })
}

/// Returns a folder as it is given and as it is: people write either.
fn roots(location: &str) -> Vec<PathBuf> {
    let Ok(Location::Folder(path)) = Location::parse(location) else { return Vec::new() };
    let as_given = std::path::absolute(&path).into_iter();
    as_given.chain(std::fs::canonicalize(&path)).filter(|root| root.parent().is_some()).collect()
}

/// Refuses a rule that can match nothing; the error is what was meant by it, if that is known.
fn can_match(rule: &str, roots: &[PathBuf]) -> std::result::Result<(), Option<String>> {
    if let Some(rest) = roots.iter().find_map(|root| Path::new(rule).strip_prefix(root).ok()) {
        let rest = rest.to_str().filter(|rest| !rest.is_empty());
        let slash = if rule.ends_with('/') { "/" } else { "" };
        return Err(rest.map(|rest| format!("/{rest}{slash}")));
    }
    if let Some(rest) = rule.strip_prefix("./") {
        let rest = rest.trim_start_matches("./");
        return Err((!rest.is_empty()).then(|| format!("/{rest}")));
    }
    let is_home = rule == "~" || rule.starts_with("~/");
    let has_dots = rule.split('/').any(|segment| segment == "." || segment == "..");
    if is_home || has_dots { Err(None) } else { Ok(()) }
}

fn mistaken(rule: &str, meant: Option<&str>) -> Error {
    let shown = escape(rule.as_bytes());
    let hint = match meant {
        Some(meant) => format!(
            "write `{}`: a rule begins at the top of the tree, as in .gitignore",
            escape(meant.as_bytes())
        ),
        None => {
            "write it as in .gitignore: `name` at any depth, `/folder/name` from the top of the tree".into()
        }
    };
    invalid(format!("the rule `{shown}` can match nothing"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_are_paths_are_refused_with_what_was_meant() {
        let roots = [PathBuf::from("/home/u/docs"), PathBuf::from("/data")];
        for (rule, expected) in [
            ("build", "fine"),
            ("/build", "fine"),
            ("build/", "fine"),
            ("a/b/**", "fine"),
            ("/home/u/other", "fine"),
            ("/database", "fine"),
            ("~backup", "fine"),
            ("*.~", "fine"),
            ("...", "fine"),
            ("./build", "/build"),
            ("./build/", "/build/"),
            ("././a/b", "/a/b"),
            ("./", "nothing"),
            ("/home/u/docs/build", "/build"),
            ("/home/u/docs/a/b/", "/a/b/"),
            ("/home/u/docs/*.o", "/*.o"),
            ("/home/u/docs", "nothing"),
            ("/data/x", "/x"),
            ("~/docs/build", "nothing"),
            ("../build", "nothing"),
            ("a/../b", "nothing"),
            ("a/./b", "nothing"),
            ("..", "nothing"),
        ] {
            let found = match can_match(rule, &roots) {
                Ok(()) => "fine".to_owned(),
                Err(meant) => meant.unwrap_or("nothing".into()),
            };
            assert_eq!(found, expected, "{rule}");
        }
    }
}
