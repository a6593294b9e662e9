//! When two names may be one: what file systems and stores that fold names do to them.
//!
//! Nothing is decided by this: it says what to ask a tree, which alone knows what it takes for one.

use unicode_normalization::UnicodeNormalization;

use crate::key::Key;

/// Returns a form in which names are equal that differ in the case of letters, in how accents are written, or in
/// dots and spaces at the end of a segment.
pub fn folded(name: &str) -> String {
    if name.is_ascii() {
        return trimmed(&name.to_ascii_lowercase());
    }
    // Upper case first: then letters that have only one of the two forms meet.
    let upper: String = name.nfd().flat_map(char::to_uppercase).collect();
    trimmed(&upper.nfd().flat_map(char::to_lowercase).nfc().collect::<String>())
}

fn trimmed(name: &str) -> String {
    if !name.split('/').any(|segment| segment.ends_with(['.', ' '])) {
        return name.to_owned();
    }
    name.split('/').map(|segment| segment.trim_end_matches(['.', ' '])).collect::<Vec<_>>().join("/")
}

/// Returns the folder in whose spelling alone the way to `to` first differs from the way to `from`, by both names;
/// `None` if the names differ otherwise, or only at their ends.
pub fn respelled_folder(from: &Key, to: &Key) -> Option<(Key, Key)> {
    let (mut old, mut new) = (from.ancestors(), to.ancestors());
    loop {
        let (old, new) = (old.next()?, new.next()?);
        if old != new {
            let keys = (Key::parse(old).ok()?, Key::parse(new).ok()?);
            return (folded(old) == folded(new)).then_some(keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_tree_takes_for_one_have_one_form() {
        for (a, b, alike) in [
            ("File", "fILE", true),
            ("a/B", "A/b", true),
            ("caf\u{e9}", "cafe\u{301}", true),
            ("CAF\u{c9}", "cafe\u{301}", true),
            ("stra\u{df}e", "STRASSE", true),
            ("\u{3a3}", "\u{3c2}", true),
            ("name. ", "name", true),
            ("d./x", "d/x", true),
            ("a", "b", false),
            ("a-b", "a_b", false),
            ("e", "\u{e9}", false),
            ("..", "x", false),
        ] {
            assert_eq!(folded(a) == folded(b), alike, "{a} {b}");
        }
    }

    #[test]
    fn a_folder_in_another_spelling_is_found_on_the_way() {
        let key = |name: &str| Key::parse(name).unwrap();
        let found = |from: &str, to: &str| {
            respelled_folder(&key(from), &key(to))
                .map(|(old, new)| format!("{old} {new}"))
                .unwrap_or_default()
        };
        for (from, to, expected) in [
            ("Docs/a", "docs/a", "Docs docs"),
            ("Docs/a", "docs/b", "Docs docs"),
            ("x/Docs/y/a", "x/docs/y/a", "x/Docs x/docs"),
            ("A/B/x", "a/b/x", "A a"),
            ("a/B/x", "a/b/x", "a/B a/b"),
            ("docs/a", "docs/A", ""),
            ("a", "A", ""),
            ("one/a", "two/a", ""),
            ("a", "A/x", ""),
        ] {
            assert_eq!(found(from, to), expected, "{from} {to}");
        }
    }
}
