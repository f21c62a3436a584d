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

/// The Unix milliseconds of a date or a moment in RFC 3339: `2026-11-23`, `2026-11-23T12:04:31.5Z`,
/// `2026-11-23T13:04:31+01:00`. `None` for what is none, and for moments before 1970.
pub fn parse_unix_ms(text: &str) -> Option<u64> {
    let (date, clock) = match text.split_once(['T', 't', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let digits = |text: &str, length: usize| {
        let is_number = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| is_number)
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = [
        31,
        28 + i64::from(is_leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let index = usize::try_from(month - 1).ok()?;
    let fits = (1..=*days_of.get(index)?).contains(&day) && parts.next().is_none();
    let before: i64 = days_of[..index].iter().sum();
    // Leap years before this one, and as many before 1970.
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before + day - 1;
    let mut ms = days * 86_400_000;
    if let Some(clock) = clock {
        let zone = clock.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = clock.split_at(zone);
        let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut parts = whole.split(':');
        let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
        let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
        // A leap second is the end of its minute.
        let is_clock = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
        let thousandths = format!("{fraction:0<3}");
        let is_fraction = (1..=9).contains(&fraction.len());
        let thousandths = digits(thousandths.get(..3)?, 3).filter(|_| is_fraction && is_clock)?;
        digits(fraction, fraction.len())?;
        ms += ((hour * 60 + minute) * 60 + second) * 1000 + thousandths;
        if !matches!(zone, "Z" | "z") {
            let (sign, offset) = zone.split_at(1);
            let (hours, minutes) = offset.split_once(':')?;
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            let offset = (hours * 60 + minutes) * 60_000;
            (hours < 24 && minutes < 60).then_some(())?;
            ms -= if sign == "-" { -offset } else { offset };
        }
    }
    u64::try_from(ms).ok().filter(|_| fits)
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
    fn dates_become_stamps() {
        for ms in [
            0,
            951_782_399_999,
            951_782_400_000,
            1_709_210_096_789,
            4_107_542_400_000,
        ] {
            assert_eq!(parse_unix_ms(&Utc::from_unix_ms(ms).to_string()), Some(ms));
        }
        for day in 0..60_000_u64 {
            let ms = day * 86_400_000;
            assert_eq!(parse_unix_ms(&Utc::from_unix_ms(ms).date()), Some(ms));
        }
        for (text, ms) in [
            ("2026-11-23T12:04:31Z", 1_795_435_471_000),
            ("2026-11-23t13:34:31.5+01:30", 1_795_435_471_500),
            ("2026-11-23 10:04:31.123456789-02:00", 1_795_435_471_123),
        ] {
            assert_eq!(parse_unix_ms(text), Some(ms), "{text}");
        }
        for wrong in [
            "",
            "2026",
            "2026-11-31",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-11-23T",
            "2026-11-23T12:04",
            "2026-11-23T12:04:31",
            "2026-11-23T24:04:31Z",
            "2026-11-23T12:04:31.Z",
            "2026-11-23T12:04:31.1234567890Z",
            "2026-11-23T12:04:31+1:00",
            "2026-11-23T12:04:31Zx",
            "+026-11-23",
            "1969-12-31",
            "2026-11-23-01",
        ] {
            assert_eq!(parse_unix_ms(wrong), None, "{wrong}");
        }
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
