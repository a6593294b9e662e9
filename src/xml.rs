//! Names that XML cannot hold.
//!
//! A name may have control characters, and XML knows no way to write most of them. S3 writes references (`&#x1;`) all the same,
//! which most readers take; other stores write the bytes themselves, which none does, so that one such name makes a whole
//! answer unreadable.

use bytes::Bytes;

/// Replaces control characters by references to them. Works on any part of a text in UTF-8, even one that is cut within a
/// character.
pub(crate) fn escape_controls(text: Bytes) -> Bytes {
    if !text.iter().copied().any(is_control) {
        return text;
    }
    let mut escaped = Vec::with_capacity(text.len() + 16);
    for byte in text {
        if is_control(byte) {
            escaped.extend_from_slice(format!("&#x{byte:x};").as_bytes());
        } else {
            escaped.push(byte);
        }
    }
    escaped.into()
}

/// Returns a name with U+FFFD in the place of control characters, as writers of XML that know no other way show it.
pub(crate) fn replace_controls(name: &str) -> String {
    let is_odd = |letter: char| u8::try_from(letter).is_ok_and(is_control);
    name.chars().map(|letter| if is_odd(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Returns whether a byte stands for a character that XML has no place for.
fn is_control(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_xml_cannot_hold_is_replaced() {
        for (text, expected) in [
            ("<Key>a\u{1}b\u{1f}</Key>", "<Key>a&#x1;b&#x1f;</Key>"),
            ("<Key>é\t\r\n\u{7f}&#x1;</Key>", "<Key>é\t\r\n\u{7f}&#x1;</Key>"),
            ("", ""),
        ] {
            assert_eq!(escape_controls(Bytes::copy_from_slice(text.as_bytes())), expected, "{text:?}");
        }
    }
}
