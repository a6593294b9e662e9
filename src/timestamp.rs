//! `Timestamp`: a moment to the nanosecond, as files carry it.
//!
//! Times decide conflicts only; whether something changed is never read off two clocks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment: nanoseconds since 1970-01-01 00:00 UTC, before it too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

impl Timestamp {
    /// Returns the moment `nanoseconds` after `seconds`.
    pub fn new(seconds: i64, nanoseconds: u32) -> Self {
        let carried = i64::from(nanoseconds / NANOSECONDS_PER_SECOND);
        Self { seconds: seconds.saturating_add(carried), nanoseconds: nanoseconds % NANOSECONDS_PER_SECOND }
    }

    /// Returns how far the two moments are apart, in nanoseconds.
    pub fn distance_nanoseconds(self, other: Self) -> u128 {
        self.total().abs_diff(other.total())
    }

    /// Returns which of the two is later at the coarser of the precisions they show, as they are stored:
    /// a stamp without a fraction shows seconds, one in thousandths milliseconds, and so on.
    pub fn compare_coarsely(self, other: Self) -> std::cmp::Ordering {
        let unit = self.shown_unit().max(other.shown_unit());
        self.rounded_down(unit).cmp(&other.rounded_down(unit))
    }

    /// Returns the moment as `YYYYMMDDTHHMMSSZ`.
    pub fn compact(self) -> String {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}{month:02}{day:02}T{h:02}{m:02}{s:02}Z")
    }

    /// Reads what [`Self::compact`] writes.
    pub fn parse_compact(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
        };
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let second = number(9, 11)? * 3600 + number(11, 13)? * 60 + number(13, 15)?;
        // Months and days that there are not have no moment that is written like this.
        let days = days_from_civil(year, month, day);
        let moment = Self::new(days * 86_400 + second, 0);
        (moment.compact() == text).then_some(moment)
    }

    fn total(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOSECONDS_PER_SECOND) + i128::from(self.nanoseconds)
    }

    fn shown_unit(self) -> u32 {
        [NANOSECONDS_PER_SECOND, 1_000_000, 1_000]
            .into_iter()
            .find(|unit| self.nanoseconds.is_multiple_of(*unit))
            .unwrap_or(1)
    }

    fn rounded_down(self, unit: u32) -> Self {
        Self { seconds: self.seconds, nanoseconds: self.nanoseconds / unit * unit }
    }
}

impl fmt::Display for Timestamp {
    /// Shows the moment as `YYYY-MM-DD HH:MM:SS` in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}")
    }
}

/// Returns year, month and day of the day `days` after 1970-01-01, in the Gregorian calendar.
/// The arithmetic counts in eras of 400 years (146,097 days) that begin on a 1st of March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Returns how many days after 1970-01-01 a day is: the inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn stamps_compare_at_the_coarser_precision_shown() {
        let t = Timestamp::new;
        assert_eq!(t(5, 0).compare_coarsely(t(5, 999_999_999)), Ordering::Equal);
        assert_eq!(t(5, 0).compare_coarsely(t(6, 0)), Ordering::Less);
        assert_eq!(t(5, 120_000_000).compare_coarsely(t(5, 120_999_999)), Ordering::Equal);
        assert_eq!(t(5, 121_000_000).compare_coarsely(t(5, 120_999_999)), Ordering::Greater);
        assert_eq!(t(5, 120_001_000).compare_coarsely(t(5, 120_001_999)), Ordering::Equal);
        assert_eq!(t(5, 1).compare_coarsely(t(5, 2)), Ordering::Less);
        assert_eq!(t(-1, 0).compare_coarsely(t(-1, 5)), Ordering::Equal);
    }

    #[test]
    fn b30_stamps_at_the_edges_of_calendars() {
        let shown = |seconds| Timestamp::new(seconds, 0).compact();
        assert_eq!(shown(0), "19700101T000000Z");
        assert_eq!(shown(-1), "19691231T235959Z");
        assert_eq!(shown(951_782_400), "20000229T000000Z");
        assert_eq!(shown(2_147_483_648), "20380119T031408Z");
        assert_eq!(shown(4_107_542_399), "21000228T235959Z");
        assert_eq!(shown(4_107_542_400), "21000301T000000Z");
        assert_eq!(shown(-62_135_596_800), "00010101T000000Z");
        assert_eq!(Timestamp::new(1_700_000_000, 5).to_string(), "2023-11-14 22:13:20");
    }

    #[test]
    fn nanoseconds_carry_and_distances_have_no_sign() {
        assert_eq!(Timestamp::new(1, 2_000_000_005), Timestamp { seconds: 3, nanoseconds: 5 });
        let (a, b) = (Timestamp::new(-1, 999_999_999), Timestamp::new(0, 1));
        assert_eq!(a.distance_nanoseconds(b), 2);
        assert_eq!(b.distance_nanoseconds(a), 2);
        assert_eq!(Timestamp::new(i64::MAX, u32::MAX).seconds, i64::MAX);
    }

    #[test]
    fn what_is_written_compactly_can_be_read() {
        for seconds in [0, 951_782_399, 951_868_800, 1_700_000_000, 4_102_444_799, 253_402_300_799] {
            let moment = Timestamp::new(seconds, 0);
            assert_eq!(Timestamp::parse_compact(&moment.compact()), Some(moment));
        }
        for wrong in [
            "",
            "20230230T000000Z",
            "20231301T000000Z",
            "2023-101T000000Z",
            "20230101T240000Z",
            "20230101T000000",
        ] {
            assert_eq!(Timestamp::parse_compact(wrong), None, "{wrong}");
        }
    }
}
