//! The calendar: Unix milliseconds as a UTC date and time of day, for logs, folders and stdout.
//!
//! It reads no clock and has no time zones, so that files of different machines sort together.

use std::fmt;

use super::decimal::fill;

/// A time in UTC. `Display` is `2026-11-23T12:04:31.500Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    year: u64,
    month: u64,
    day: u64,
    ms_of_day: u64,
}

impl Utc {
    /// Converts a timestamp in Unix milliseconds.
    pub fn from_unix_ms(ms: u64) -> Utc {
        const DAY_MS: u64 = 86_400_000;
        // Days are counted from 1 March of the year 0, so that a leap day ends its year; eras of
        // 400 years have 146,097 days each (the proleptic Gregorian calendar repeats then).
        let days = ms / DAY_MS + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March have 153 days in every five.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Utc {
            year,
            month,
            day,
            ms_of_day: ms % DAY_MS,
        }
    }

    /// The date, for folder names: `2026-11-23`.
    pub fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// The same as `Display`, for a line of the journal: RFC 3339 with milliseconds. Of a year after
    /// 9999 the last four digits.
    pub fn rfc3339(self) -> [u8; 24] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let seconds = self.ms_of_day / 1000;
        for (from, to, n) in [
            (0, 4, self.year),
            (5, 7, self.month),
            (8, 10, self.day),
            (11, 13, seconds / 3600),
            (14, 16, seconds / 60 % 60),
            (17, 19, seconds % 60),
            (20, 23, self.ms_of_day % 1000),
        ] {
            fill(&mut text[from..to], n);
        }
        text
    }

    /// The time of day, for a line on stdout: `12:04:31`.
    pub fn clock(self) -> String {
        let seconds = self.ms_of_day / 1000;
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, clock, ms) = (self.date(), self.clock(), self.ms_of_day % 1000);
        write!(f, "{date}T{clock}.{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_converted_to_dates() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (1_795_435_471_500, "2026-11-23T12:04:31.500Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc::from_unix_ms(ms).to_string(), expected);
            assert_eq!(Utc::from_unix_ms(ms).rfc3339(), expected.as_bytes());
        }
        // A peer may send any number.
        assert!(Utc::from_unix_ms(u64::MAX).date().starts_with("5845"));
    }

    #[test]
    fn dates_grow_with_the_days() {
        let mut last = String::new();
        for day in 0..60_000_u64 {
            let date = Utc::from_unix_ms(day * 86_400_000).date();
            assert!(date > last, "{date} after {last}");
            last = date;
        }
        assert_eq!(last, "2134-04-10");
    }
}
