//! `Key`: the name of a file within a tree, the same on both sides.
//!
//! A key is a relative, `/`-separated path in UTF-8. Everything that could leave the root, name the same
//! file twice or not be a file name is rejected here and nowhere else (reliability rows B-01 to B-20):
//! a key is never repaired, so the mapping from keys to paths is one to one. Between two stores names count that no
//! folder can have ([`Key::of_object`]); a folder refuses them. Keys order by their bytes,
//! which is the order of an S3 listing; a local walk reaches it by sorting a folder as `name/`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest key in bytes. S3 stops at 1,024; local trees may be deeper (Linux has no limit when every
/// component is opened beneath the last), and state blocks want an upper bound. Ours, no other source.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

/// The folder at the root of a tree that holds our trash and markers, never synced.
pub const RESERVED_FOLDER: &str = ".syncengine";

/// What every reserved name at any depth begins with, apart from [`RESERVED_FOLDER`] itself.
pub const RESERVED_PREFIX: &str = ".syncengine-";

/// The name of a file within a tree: relative, `/`-separated, validated, ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

/// Why a name cannot be a [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The name is empty.
    Empty,
    /// The name begins with `/`.
    Absolute,
    /// The name has an empty segment, as in `a//b` or `a/`.
    EmptySegment,
    /// A segment is `.` or `..`.
    DotSegment,
    /// The name contains a NUL byte.
    Nul,
    /// The name is longer than [`MAX_KEY_BYTES`].
    TooLong,
    /// The name is not UTF-8.
    NotUtf8,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::Absolute => "the name begins with a slash",
            Self::EmptySegment => "the name has an empty segment",
            Self::DotSegment => "the name has a segment `.` or `..`",
            Self::Nul => "the name contains a NUL byte",
            Self::TooLong => "the name is longer than 16384 bytes",
            Self::NotUtf8 => "the name is not UTF-8",
        })
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// Returns the key named `name`.
    ///
    /// # Errors
    /// [`KeyError`] if the name could leave the root, is ambiguous, or cannot be a file's name.
    pub fn parse(name: &str) -> Result<Self, KeyError> {
        if name.is_empty() {
            return Err(KeyError::Empty);
        }
        if name.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong);
        }
        if name.starts_with('/') {
            return Err(KeyError::Absolute);
        }
        if name.contains('\0') {
            return Err(KeyError::Nul);
        }
        for segment in name.split('/') {
            match segment {
                "" => return Err(KeyError::EmptySegment),
                "." | ".." => return Err(KeyError::DotSegment),
                _ => {}
            }
        }
        Ok(Self(name.into()))
    }

    /// Returns the key of an object that may have a name which no file can have, such as `a//b`, `/a` or `./a`: for two
    /// stores only.
    ///
    /// # Errors
    /// [`KeyError`] if the name is empty, too long, or contains a NUL byte.
    pub fn of_object(name: &str) -> Result<Self, KeyError> {
        match Self::parse(name) {
            Err(KeyError::Absolute | KeyError::EmptySegment | KeyError::DotSegment)
                if !name.contains('\0') =>
            {
                Ok(Self(name.into()))
            }
            parsed => parsed,
        }
    }

    /// Returns whether a file in a folder can have the name.
    pub fn is_path(&self) -> bool {
        Self::parse(&self.0).is_ok()
    }

    /// Returns the key whose name is the bytes `name`.
    ///
    /// # Errors
    /// As [`Key::parse`], and [`KeyError::NotUtf8`].
    pub fn from_bytes(name: &[u8]) -> Result<Self, KeyError> {
        Self::parse(std::str::from_utf8(name).map_err(|_| KeyError::NotUtf8)?)
    }

    /// As [`Self::of_object`], of bytes.
    ///
    /// # Errors
    /// As there, and [`KeyError::NotUtf8`].
    pub fn of_object_bytes(name: &[u8]) -> Result<Self, KeyError> {
        Self::of_object(std::str::from_utf8(name).map_err(|_| KeyError::NotUtf8)?)
    }

    /// Returns the whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Returns the folder the key is in, without a slash at its end; `None` at the root.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Returns the folders the key is in, outermost first: `a`, then `a/b`, for `a/b/c`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// Returns whether the key lies below the folder `folder`, at any depth.
    pub fn is_below(&self, folder: &str) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns whether a segment is reserved for our trash, markers and temporaries.
    pub fn is_reserved(&self) -> bool {
        self.0.split('/').any(is_reserved_name)
    }

    /// Returns the key `name` in the same folder as this one.
    ///
    /// # Errors
    /// As [`Key::parse`].
    pub fn sibling(&self, name: &str) -> Result<Self, KeyError> {
        match self.parent() {
            Some(parent) => Self::parse(&format!("{parent}/{name}")),
            None => Self::parse(name),
        }
    }
}

/// Returns whether one segment of a name is reserved.
pub fn is_reserved_name(segment: &str) -> bool {
    segment == RESERVED_FOLDER || segment.starts_with(RESERVED_PREFIX)
}

/// Returns `name` with everything a terminal could act on or hide escaped: control characters,
/// controls of direction, characters without a width or a shape, and bytes that are not UTF-8.
pub fn escape(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if acts_on_terminals(character) {
                shown.extend(character.escape_unicode());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str("\\x");
            shown.extend(
                [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?')),
            );
        }
    }
    shown
}

/// Returns whether a terminal could act on `character`, or hide it or what stands beside it.
pub fn acts_on_terminals(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Soft hyphen, joiner, marks of direction and width, annotations, notes.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            // Fillers and vowels without a shape.
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
            // Variation selectors and tags.
            | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Key {
    /// Shows the key with control and invisible characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.0.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(name: String) -> Result<Self, KeyError> {
        Self::parse(&name)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.as_ref().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_escape_or_be_ambiguous_are_rejected() {
        let long = "a".repeat(MAX_KEY_BYTES + 1);
        let rows: &[(&str, &str, KeyError)] = &[
            ("B-01", "..", KeyError::DotSegment),
            ("B-01", "../x", KeyError::DotSegment),
            ("B-01", "a/../../x", KeyError::DotSegment),
            ("B-01", "a/..", KeyError::DotSegment),
            ("B-02", ".", KeyError::DotSegment),
            ("B-02", "./a", KeyError::DotSegment),
            ("B-02", "a/./b", KeyError::DotSegment),
            ("B-02", "a/.", KeyError::DotSegment),
            ("B-03", "/x", KeyError::Absolute),
            ("B-03", "//x", KeyError::Absolute),
            ("B-04", "a//b", KeyError::EmptySegment),
            ("B-04", "a/", KeyError::EmptySegment),
            ("B-04", "a///", KeyError::EmptySegment),
            ("B-08", "a\0b", KeyError::Nul),
            ("B-10", &long, KeyError::TooLong),
            ("", "", KeyError::Empty),
        ];
        for (row, name, expected) in rows {
            assert_eq!(Key::parse(name), Err(*expected), "{row} {name}");
        }
        assert_eq!(Key::from_bytes(b"a\xff"), Err(KeyError::NotUtf8), "B-14");
        assert_eq!(Key::from_bytes(b"\xed\xa0\x80"), Err(KeyError::NotUtf8), "B-14 lone surrogate");
    }

    #[test]
    fn odd_but_honest_names_are_kept_byte_for_byte() {
        let deep = vec!["d"; 500].join("/");
        let longest = "a".repeat(MAX_KEY_BYTES);
        let component = "a".repeat(256);
        for (row, name) in [
            ("B-01", "..a/b.."),
            ("B-01", "..."),
            ("B-07", "..\\x"),
            ("B-07", "C:x"),
            ("B-07", "\\\\h\\s"),
            ("B-07", "a:stream"),
            ("B-08", "a\nb\rc\u{1b}[31m\u{1}\u{7f}"),
            ("B-09", "%2e%2e%2fx"),
            ("B-09", "%00"),
            ("B-09", "+ %#?&<>\"'😀"),
            ("B-10", &deep),
            ("B-10", &longest),
            ("B-10", &component),
            ("B-11", "CON"),
            ("B-11", "nul.txt"),
            ("B-11", "trailing. "),
            ("B-16", "-rf"),
            ("B-16", "~"),
            ("B-16", "$(x)"),
            ("B-16", "\u{202e}gpj.exe"),
            ("B-16", "\u{feff}a"),
            ("B-19", "a.rclonelink"),
        ] {
            assert_eq!(Key::parse(name).map(String::from).as_deref(), Ok(name), "{row}");
        }
    }

    #[test]
    fn the_reserved_names_are_ours_at_any_depth() {
        for (name, reserved) in [
            (".syncengine", true),
            (".syncengine/trash/x", true),
            ("a/.syncengine/x", true),
            ("a/.syncengine-0123456789abcdef.tmp", true),
            (".syncengine-", true),
            (".syncengines", false),
            (".syncignore", false),
            ("a.syncengine", false),
            ("a.conflict-20260101T000000Z-source-01234567.txt", false),
        ] {
            assert_eq!(Key::parse(name).unwrap().is_reserved(), reserved, "B-15 {name}");
        }
    }

    #[test]
    fn parts_of_a_key() {
        let key = Key::parse("a/b/c.txt").unwrap();
        assert_eq!(key.file_name(), "c.txt");
        assert_eq!(key.parent(), Some("a/b"));
        assert_eq!(key.ancestors().collect::<Vec<_>>(), ["a", "a/b"]);
        assert!(key.is_below("a") && key.is_below("a/b"));
        assert!(!key.is_below("a/b/c.txt") && !key.is_below("a/b/c") && !key.is_below("b"));
        assert_eq!(key.sibling("d").unwrap().as_str(), "a/b/d");
        let top = Key::parse("top").unwrap();
        assert_eq!((top.parent(), top.ancestors().count()), (None, 0));
        assert_eq!(top.sibling("d").unwrap().as_str(), "d");
        assert_eq!(top.sibling("../d"), Err(KeyError::DotSegment));
    }

    #[test]
    fn what_a_terminal_could_act_on_is_escaped() {
        assert_eq!(escape(b"a\nb"), "a\\u{a}b");
        assert_eq!(
            escape("\u{202e}x\u{200b}\u{2066}\u{feff}".as_bytes()),
            "\\u{202e}x\\u{200b}\\u{2066}\\u{feff}"
        );
        assert_eq!(escape(b"a\xffb"), "a\\xffb");
        assert_eq!(escape("é😀".as_bytes()), "é😀");
        assert_eq!(format!("{:?}", Key::parse("a\tb").unwrap()), "`a\\u{9}b`");
    }

    #[test]
    fn serde_validates() {
        assert_eq!(serde_json::to_string(&Key::parse("a/b").unwrap()).unwrap(), "\"a/b\"");
        assert!(serde_json::from_str::<Key>("\"../x\"").is_err());
        assert_eq!(serde_json::from_str::<Key>("\"x\"").unwrap().as_str(), "x");
    }

    #[test]
    fn a_key_is_its_name_wherever_a_text_is_wanted() {
        let key = Key::parse("a/b").unwrap();
        let keys = std::collections::BTreeMap::from([(key.clone(), 1)]);
        assert_eq!(keys.get("a/b"), Some(&1));
        let text: &str = key.as_ref();
        assert_eq!(
            (text, String::from(key.clone()).as_str(), key.to_string().as_str()),
            ("a/b", "a/b", "a/b")
        );
    }

    #[test]
    fn errors_read_as_sentences() {
        assert!(KeyError::TooLong.to_string().ends_with(&format!("longer than {MAX_KEY_BYTES} bytes")));
        for error in [
            KeyError::Empty,
            KeyError::Absolute,
            KeyError::EmptySegment,
            KeyError::DotSegment,
            KeyError::Nul,
            KeyError::TooLong,
            KeyError::NotUtf8,
        ] {
            assert!(error.to_string().starts_with("the name "));
        }
    }

    proptest! {
        #[test]
        fn a_key_never_leaves_its_root_and_round_trips(name in "[a./\\\\\\x00\u{e9}-]{0,12}") {
            if let Ok(key) = Key::parse(&name) {
                prop_assert_eq!(key.as_str(), &name);
                let mut depth = 0;
                for segment in name.split('/') {
                    prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                    depth += 1;
                }
                prop_assert_eq!(key.ancestors().count() + 1, depth);
            }
        }

        #[test]
        fn keys_order_by_bytes(a in "[a-c/.0 -]{1,6}", b in "[a-c/.0 -]{1,6}") {
            if let (Ok(x), Ok(y)) = (Key::parse(&a), Key::parse(&b)) {
                prop_assert_eq!(x.cmp(&y), a.as_bytes().cmp(b.as_bytes()));
            }
        }
    }
}
