//! Numbers of bytes on the command line: `500`, `64K`, `1GiB`, `10MB`.

use syncengine::{Error, ErrorKind, Result};

/// The units, by the letters behind the number in lower case.
const UNITS: [(&[&str], u64); 9] = [
    (&["", "b"], 1),
    (&["k", "kib"], 1 << 10),
    (&["kb"], 1_000),
    (&["m", "mib"], 1 << 20),
    (&["mb"], 1_000_000),
    (&["g", "gib"], 1 << 30),
    (&["gb"], 1_000_000_000),
    (&["t", "tib"], 1 << 40),
    (&["tb"], 1_000_000_000_000),
];

/// Returns the number of bytes that `text` says, as the value of `option`.
pub(crate) fn parse(option: &str, text: &str) -> Result<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let factor = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())).map(|(_, factor)| *factor);
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        let shown = syncengine::key::escape(text.as_bytes());
        Error::new(ErrorKind::Invalid, format!("`{shown}` is not a size that `{option}` can have")).with_hint(
            "give a whole number above 0 of bytes, or of K, M, G or T (1,024), or KB, MB, GB or TB (1,000)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("500B", 500),
            ("64K", 65_536),
            ("64k", 65_536),
            ("64KiB", 65_536),
            ("64KB", 64_000),
            ("2M", 2_097_152),
            ("2MB", 2_000_000),
            ("1G", 1_073_741_824),
            ("1GB", 1_000_000_000),
            ("1T", 1_099_511_627_776),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(parse("--memory", text).ok(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn b42_anything_else_is_refused() {
        for text in [
            "",
            "0",
            "0K",
            "-1",
            "+1",
            "K",
            "1.5M",
            "1 M",
            "1X",
            "1e3",
            "nan",
            "lots",
            "18446744073709551616",
            "99999999T",
            "\u{661}",
        ] {
            assert!(parse("--memory", text).is_err(), "{text}");
        }
    }
}
