//! What is kept with an object besides its bytes: when the file was modified, and what kind of content it has.

use std::collections::HashMap;

use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_types::DateTime;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::entry::Timestamp;

/// The name under which rclone and others keep the time of modification, and so do we.
pub(super) const MTIME: &str = "mtime";

/// The name under which is kept which write an object is of, so that one whose answer was lost is not taken for somebody else's.
pub(super) const TOKEN: &str = "syncengine-write";

/// Returns the write that an object says it is of.
pub(super) fn token_of(metadata: Option<&HashMap<String, String>>) -> Option<String> {
    metadata?.iter().find(|(name, _)| name.eq_ignore_ascii_case(TOKEN)).map(|(_, token)| token.clone())
}

/// No file is from after the year 9999; a larger number is not a time.
const MAX_SECONDS: i64 = 253_402_300_799;

/// Digits of a nanosecond.
const DIGITS: usize = 9;

/// Writes a time as decimal seconds, without trailing zeros: as short as its precision.
pub(super) fn write_mtime(time: Timestamp) -> String {
    let (mut seconds, mut nanoseconds) = (i128::from(time.seconds), time.nanoseconds);
    let sign = if seconds < 0 { "-" } else { "" };
    if seconds < 0 && nanoseconds > 0 {
        seconds += 1;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    let whole = seconds.unsigned_abs();
    if nanoseconds == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

/// Reads a time in decimal seconds; `None` if it is none. Digits below a nanosecond are dropped.
pub(super) fn read_mtime(text: &str) -> Option<Timestamp> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= MAX_SECONDS)?;
    let fraction = &fraction[..fraction.len().min(DIGITS)];
    let nanoseconds: u32 = format!("{fraction:0<DIGITS$}").parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp::new(seconds, nanoseconds),
        (true, 0) => Timestamp::new(-seconds, 0),
        (true, _) => Timestamp::new(-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// Returns the time of modification in an object's metadata. Some stores change the case of the names.
pub(super) fn mtime_of(metadata: Option<&HashMap<String, String>>) -> Option<Timestamp> {
    let (_, text) = metadata?.iter().find(|(name, _)| name.eq_ignore_ascii_case(MTIME))?;
    let time = read_mtime(text);
    if time.is_none() {
        tracing::warn!(
            mtime = crate::key::escape(text.as_bytes()),
            "an object's `mtime` is no time; ignored"
        );
    }
    time
}

/// The name under which rclone keeps the kind and the permission bits of a file, and so do we.
pub(super) const MODE: &str = "mode";

/// Writes permission bits in octal behind the kind of a regular file, as rclone does.
pub(super) fn write_mode(bits: u32) -> String {
    format!("{:o}", 0o100_000 | (bits & 0o777))
}

/// Reads permission bits in octal, with or without the kind of a regular file; `None` if they are none.
pub(super) fn read_mode(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'7')) && (3..=7).contains(&text.len());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits)?;
    matches!(mode & !0o7777, 0 | 0o100_000).then_some(mode & 0o777)
}

/// Returns the permission bits in an object's metadata.
pub(super) fn mode_of(metadata: Option<&HashMap<String, String>>) -> Option<u32> {
    let (_, text) = metadata?.iter().find(|(name, _)| name.eq_ignore_ascii_case(MODE))?;
    read_mode(text)
}

/// Returns a time the SDK has read.
pub(super) fn timestamp(time: &DateTime) -> Timestamp {
    Timestamp::new(time.secs(), time.subsec_nanos())
}

/// Returns the kind of content that the ending of a name stands for.
pub(super) fn content_type(key: &str) -> &'static str {
    mime_guess::from_path(key).first_raw().unwrap_or("application/octet-stream")
}

/// Returns the checksum header of a body.
pub(super) fn checksum(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32fast::hash(bytes).to_be_bytes())
}

/// Returns whether ETags of objects that are so encrypted are not made of their content.
pub(super) fn hides_hash(kind: Option<&ServerSideEncryption>, customer: Option<&str>) -> bool {
    let managed = |kind: &ServerSideEncryption| !matches!(kind, ServerSideEncryption::Aes256);
    customer.is_some() || kind.is_some_and(managed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn b18_times_are_read_or_ignored() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1600000000", Some((1_600_000_000, 0))),
            ("1600000000.5", Some((1_600_000_000, 500_000_000))),
            ("1600000000.123456789", Some((1_600_000_000, 123_456_789))),
            ("1600000000.123456789999", Some((1_600_000_000, 123_456_789))),
            ("1600000000.", Some((1_600_000_000, 0))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("253402300799", Some((253_402_300_799, 0))),
            ("253402300800", None),
            ("1e30", None),
            ("NaN", None),
            ("+5", None),
            ("--5", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("5.x", None),
            ("2020-01-01", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(read_mtime(text), expected.map(|(s, n)| Timestamp::new(s, n)), "{text}");
        }
        let named = |name: &str| HashMap::from([(name.to_owned(), "5".to_owned())]);
        assert_eq!(mtime_of(Some(&named("Mtime"))), Some(Timestamp::new(5, 0)));
        assert_eq!(mtime_of(Some(&named("other"))), None);
    }

    #[test]
    fn bits_are_read_in_every_form_that_rclone_and_others_write() {
        for (text, expected) in [
            ("100644", Some(0o644)),
            ("0100755", Some(0o755)),
            ("644", Some(0o644)),
            ("0644", Some(0o644)),
            ("000", Some(0)),
            ("104755", Some(0o755)),
            ("4755", Some(0o755)),
            ("40755", None),
            ("120777", None),
            ("8", None),
            ("64", None),
            ("+644", None),
            ("-644", None),
            ("0o644", None),
            ("rw-r--r--", None),
            ("00000644", None),
            ("", None),
        ] {
            assert_eq!(read_mode(text), expected, "{text}");
        }
        assert_eq!(write_mode(0o755), "100755");
        assert_eq!(write_mode(0o40_644), "100644");
        let named = HashMap::from([("Mode".to_owned(), "600".to_owned())]);
        assert_eq!((mode_of(Some(&named)), mode_of(None)), (Some(0o600), None));
    }

    #[test]
    fn kinds_of_content_follow_from_the_ending() {
        assert_eq!(content_type("a/b.html"), "text/html");
        assert_eq!(content_type("a.b/c"), "application/octet-stream");
    }

    proptest! {
        #[test]
        fn a_time_comes_back_as_it_was_written(seconds in -MAX_SECONDS + 1..MAX_SECONDS, nanoseconds in 0_u32..1_000_000_000) {
            let time = Timestamp::new(seconds, nanoseconds);
            prop_assert_eq!(read_mtime(&write_mtime(time)), Some(time));
        }
    }
}
