//! Durations on the command line: `90d`, `12h`.

use syncengine::{Error, ErrorKind, Result};

/// The units, by the letter behind the number, in seconds.
const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// The longest there is: 1,000 years.
const MOST_SECONDS: u64 = 365_250 * 86_400;

/// Returns the number of seconds that `text` says, as the value of `option`.
pub(crate) fn seconds(option: &str, text: &str) -> Result<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let seconds = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    seconds.filter(|seconds| (1..=MOST_SECONDS).contains(seconds)).ok_or_else(|| {
        let shown = syncengine::key::escape(text.as_bytes());
        Error::new(ErrorKind::Invalid, format!("`{shown}` is not a duration that `{option}` can have"))
            .with_hint("give a whole number above 0 and a unit: s, m, h, d or w, such as 90d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, expected) in
            [("1s", 1), ("90m", 5_400), ("12h", 43_200), ("30d", 2_592_000), ("8W", 4_838_400)]
        {
            assert_eq!(seconds("--trash-keep", text).ok(), Some(expected), "{text}");
        }
        for text in
            ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30days", "99999999999w", "18446744073709551615w"]
        {
            assert!(seconds("--trash-keep", text).is_err(), "{text}");
        }
    }
}
