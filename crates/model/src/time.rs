//! Points and spans of time: `i64` nanoseconds, UTC, proleptic Gregorian calendar.
//!
//! Invariant: parsing and printing are exact to the nanosecond and need no time zone database; a
//! time outside 1677-09-21 to 2262-04-11 (what `i64` nanoseconds hold) is an error, never a wrap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NS_PER_SECOND: i64 = 1_000_000_000;
const NS_PER_DAY: i64 = 86_400 * NS_PER_SECOND;

/// Why a text is not a time or a time span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The text has another shape.
    #[error(
        "not a time: expected a form like 2015-04-17T12:00:05.000000000 (T, D or a space; up to 9 decimals; Z or +hh:mm allowed)"
    )]
    Format,
    /// A month, day, hour, minute or second that does not exist.
    #[error("no such date or time of day")]
    NoSuchTime,
    /// Digits below a nanosecond that are not zero.
    #[error("finer than a nanosecond")]
    TooFine,
    /// Not representable in `i64` nanoseconds since 1970.
    #[error("time out of range 1677-09-21 to 2262-04-11")]
    OutOfRange,
    /// Not a span of time.
    #[error("not a time span: expected a form like 25s, 10ms, 1h or 0D00:00:25.000000000")]
    Span,
}

/// A point in time, nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Time(i64);

/// A calendar day (UTC), days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Date(i32);

/// A length of time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(i64);

impl Time {
    /// The earliest time.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The day it falls on (UTC).
    #[must_use]
    pub fn date(self) -> Date {
        // i64::MIN / NS_PER_DAY is about -106_752: it always fits.
        Date(self.0.div_euclid(NS_PER_DAY) as i32)
    }

    /// This time less `span`, or the earliest time when that would be out of range.
    #[must_use]
    pub const fn saturating_sub(self, span: TimeSpan) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// This time and `span`, or the latest time when that would be out of range.
    #[must_use]
    pub const fn saturating_add(self, span: TimeSpan) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Parses ISO 8601 and kdb+ forms: `2015-04-17T12:00:05.5`, `2015.04.17D12:00:05.000000000`,
    /// `2015-04-17 12:00:05Z`, `2015-04-17T12:00+02:00`, `2015-04-17` (midnight). Without an offset
    /// the time is UTC.
    ///
    /// # Errors
    /// [`TimeError`] says what is wrong with the text.
    pub fn parse(text: &[u8]) -> Result<Self, TimeError> {
        let (date, rest) = parse_date(text)?;
        let Some((&separator, clock)) = rest.split_first() else {
            return Self::from_parts(date, 0, 0);
        };
        if !matches!(separator, b'T' | b'D' | b' ' | b't') {
            return Err(TimeError::Format);
        }
        let (nanos_of_day, zone) = parse_clock(clock)?;
        Self::from_parts(date, nanos_of_day, parse_zone(zone)?)
    }

    fn from_parts(date: Date, nanos_of_day: i64, offset_seconds: i64) -> Result<Self, TimeError> {
        // i128 only where it can overflow: one multiplication a row costs nothing measurable.
        let nanos = i128::from(date.0) * i128::from(NS_PER_DAY) + i128::from(nanos_of_day)
            - i128::from(offset_seconds) * i128::from(NS_PER_SECOND);
        i64::try_from(nanos)
            .map(Self)
            .map_err(|_| TimeError::OutOfRange)
    }
}

impl Date {
    /// From days since 1970-01-01.
    #[must_use]
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i32 {
        self.0
    }

    /// Midnight (UTC) at its start; clamped to the range of [`Time`].
    #[must_use]
    pub const fn start(self) -> Time {
        Time((self.0 as i64).saturating_mul(NS_PER_DAY))
    }

    /// Parses `2015-04-17` or `2015.04.17`.
    ///
    /// # Errors
    /// [`TimeError`] when the text is anything else.
    pub fn parse(text: &[u8]) -> Result<Self, TimeError> {
        match parse_date(text)? {
            (date, []) => Ok(date),
            _ => Err(TimeError::Format),
        }
    }

    /// Year, month (1 to 12) and day (1 to 31).
    #[must_use]
    pub fn civil(self) -> (i64, u32, u32) {
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
        let z = i64::from(self.0) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
        let month = if month_index < 10 {
            month_index + 3
        } else {
            month_index - 9
        } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day)
    }

    fn from_civil(year: i64, month: i64, day: i64) -> Result<Self, TimeError> {
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(TimeError::NoSuchTime);
        }
        // Howard Hinnant, days_from_civil.
        let y = year - i64::from(month <= 2);
        let era = y.div_euclid(400);
        let year_of_era = y.rem_euclid(400);
        let month_index = (month + 9) % 12;
        let day_of_year = (153 * month_index + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Ok(Self((era * 146_097 + day_of_era - 719_468) as i32))
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl TimeSpan {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole seconds; the largest span when that would be out of range.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NS_PER_SECOND))
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The kdb+ form, `0D00:00:25.000000000`.
    #[must_use]
    pub fn kdb(self) -> String {
        let total = self.0.unsigned_abs();
        let day = NS_PER_DAY.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let mut text = format!("{sign}{}D", total / day);
        push_clock(&mut text, total % day);
        text
    }

    /// Parses `25s`, `10ms`, `250us`, `5ns`, `3m`, `1h`, `2d` or kdb+'s `0D00:00:25.0000000`
    /// (also without the days, `00:00:25`).
    ///
    /// # Errors
    /// [`TimeError::Span`] when it is neither, or a negative or overlong span.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        if text.contains(':') {
            let (days, clock) = text.split_once('D').unwrap_or(("0", text));
            let days: i64 = days.parse().map_err(|_| TimeError::Span)?;
            let (nanos, rest) = parse_clock(clock.as_bytes()).map_err(|_| TimeError::Span)?;
            if days < 0 || !rest.is_empty() {
                return Err(TimeError::Span);
            }
            let nanos = days
                .checked_mul(NS_PER_DAY)
                .and_then(|d| d.checked_add(nanos));
            return nanos.map(Self).ok_or(TimeError::Span);
        }
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().map_err(|_| TimeError::Span)?;
        let scale = match unit.trim_start() {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => NS_PER_SECOND,
            "m" | "min" => 60 * NS_PER_SECOND,
            "h" => 3_600 * NS_PER_SECOND,
            "d" => NS_PER_DAY,
            _ => return Err(TimeError::Span),
        };
        number.checked_mul(scale).map(Self).ok_or(TimeError::Span)
    }
}

fn parse_date(text: &[u8]) -> Result<(Date, &[u8]), TimeError> {
    let Some((head, rest)) = text.split_at_checked(10) else {
        return Err(TimeError::Format);
    };
    let &[y1, y2, y3, y4, sep1, m1, m2, sep2, d1, d2] = head else {
        return Err(TimeError::Format);
    };
    if sep1 != sep2 || !matches!(sep1, b'-' | b'.') {
        return Err(TimeError::Format);
    }
    let year = two_digits(y1, y2)? * 100 + two_digits(y3, y4)?;
    let date = Date::from_civil(year, two_digits(m1, m2)?, two_digits(d1, d2)?)?;
    Ok((date, rest))
}

/// Nanoseconds of the day of `hh:mm[:ss[.fffffffff]]`, and what stands behind it.
fn parse_clock(text: &[u8]) -> Result<(i64, &[u8]), TimeError> {
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = text else {
        return Err(TimeError::Format);
    };
    let (hour, minute) = (two_digits(h1, h2)?, two_digits(m1, m2)?);
    let (second, fraction, rest) = match *rest {
        [b':', s1, s2, b'.', ref rest @ ..] => {
            let (fraction, rest) = parse_fraction(rest)?;
            (two_digits(s1, s2)?, fraction, rest)
        }
        [b':', s1, s2, ref rest @ ..] => (two_digits(s1, s2)?, 0, rest),
        _ => (0, 0, rest),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return Err(TimeError::NoSuchTime);
    }
    Ok((
        (hour * 3_600 + minute * 60 + second) * NS_PER_SECOND + fraction,
        rest,
    ))
}

fn parse_fraction(text: &[u8]) -> Result<(i64, &[u8]), TimeError> {
    let mut nanos = 0;
    let mut unit = NS_PER_SECOND / 10;
    let mut used = 0;
    for &byte in text.iter().take_while(|byte| byte.is_ascii_digit()) {
        let digit = i64::from(byte - b'0');
        if unit == 0 && digit != 0 {
            return Err(TimeError::TooFine);
        }
        nanos += digit * unit;
        unit /= 10;
        used += 1;
    }
    match text.split_at_checked(used) {
        Some((digits, rest)) if !digits.is_empty() => Ok((nanos, rest)),
        _ => Err(TimeError::Format),
    }
}

/// Seconds east of UTC.
fn parse_zone(text: &[u8]) -> Result<i64, TimeError> {
    let (sign, digits) = match text {
        [] | [b'Z' | b'z'] => return Ok(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Err(TimeError::Format),
    };
    let (hours, minutes) = match *digits {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (two_digits(h1, h2)?, two_digits(m1, m2)?),
        [h1, h2] => (two_digits(h1, h2)?, 0),
        _ => return Err(TimeError::Format),
    };
    if hours > 18 || minutes > 59 {
        return Err(TimeError::NoSuchTime);
    }
    Ok(sign * (hours * 3_600 + minutes * 60))
}

fn two_digits(tens: u8, ones: u8) -> Result<i64, TimeError> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    } else {
        Err(TimeError::Format)
    }
}

fn push_clock(text: &mut String, nanos_of_day: u64) {
    use fmt::Write;
    let seconds = nanos_of_day / 1_000_000_000;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{:02}:{:02}:{:02}.{:09}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        nanos_of_day % 1_000_000_000
    );
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// `2015-04-17T12:00:20.000000000Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clock = String::with_capacity(18);
        push_clock(&mut clock, self.0.rem_euclid(NS_PER_DAY).unsigned_abs());
        write!(f, "{}T{clock}Z", self.date())
    }
}

/// The largest unit that says it exactly: `25s`, `10ms`, `1h`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 7] = [
            (NS_PER_DAY, "d"),
            (3_600 * NS_PER_SECOND, "h"),
            (60 * NS_PER_SECOND, "m"),
            (NS_PER_SECOND, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        for (scale, unit) in UNITS {
            if self.0 % scale == 0 {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        Ok(())
    }
}

impl FromStr for Time {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text.as_bytes())
    }
}

impl FromStr for Date {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text.as_bytes())
    }
}

impl FromStr for TimeSpan {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text)
    }
}

/// Serialized as their text, so that no reader rounds them.
macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Time, Date, TimeSpan);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_kdb_and_iso_forms() {
        let expected = Time(1_429_272_005_123_456_789);
        for text in [
            "2015-04-17D12:00:05.123456789",
            "2015.04.17D12:00:05.123456789",
            "2015-04-17T12:00:05.123456789",
            "2015-04-17 12:00:05.123456789Z",
            "2015-04-17T14:00:05.123456789+02:00",
            "2015-04-17T06:30:05.123456789-0530",
            "2015-04-17T12:00:05.12345678900",
        ] {
            assert_eq!(Time::parse(text.as_bytes()), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "2015-04-17T12:00:05.123456789Z");
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for (text, error) in [
            ("", TimeError::Format),
            ("yesterday", TimeError::Format),
            ("2015/04/17T12:00:05", TimeError::Format),
            ("2015-04.17T12:00:05", TimeError::Format),
            ("2015-02-29T12:00:05", TimeError::NoSuchTime),
            ("2015-13-01T12:00:05", TimeError::NoSuchTime),
            ("2015-04-17T24:00:00", TimeError::NoSuchTime),
            ("2015-04-17T12:00:60", TimeError::NoSuchTime),
            ("2015-04-17T12:00:05.1234567891", TimeError::TooFine),
            ("2015-04-17T12:00:05.", TimeError::Format),
            ("2015-04-17T12:00:05 ", TimeError::Format),
            ("2300-01-01T00:00:00", TimeError::OutOfRange),
            ("1600-01-01T00:00:00", TimeError::OutOfRange),
        ] {
            assert_eq!(Time::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn spans_read_and_print() {
        for (text, nanos, printed) in [
            ("25s", 25 * NS_PER_SECOND, "25s"),
            ("0D00:00:25.0000000", 25 * NS_PER_SECOND, "25s"),
            ("00:00:25", 25 * NS_PER_SECOND, "25s"),
            ("1D01:00:00", 25 * 3_600 * NS_PER_SECOND, "25h"),
            ("10ms", 10_000_000, "10ms"),
            ("90s", 90 * NS_PER_SECOND, "90s"),
        ] {
            let span = TimeSpan::parse(text).unwrap();
            assert_eq!(
                (span.nanos(), span.to_string().as_str()),
                (nanos, printed),
                "{text}"
            );
        }
        assert_eq!(TimeSpan::from_secs(25).kdb(), "0D00:00:25.000000000");
        for text in [
            "",
            "25",
            "s",
            "-1s",
            "9223372036854775807h",
            "1D-1:00:00",
            "-1D00:00:01",
        ] {
            assert_eq!(TimeSpan::parse(text), Err(TimeError::Span), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_of_a_time_is_that_time(nanos: i64) {
            let time = Time(nanos);
            prop_assert_eq!(Time::parse(time.to_string().as_bytes()), Ok(time));
        }

        #[test]
        fn a_span_survives_both_forms(nanos in 0..i64::MAX) {
            let span = TimeSpan(nanos);
            prop_assert_eq!(TimeSpan::parse(&span.to_string()), Ok(span));
            prop_assert_eq!(TimeSpan::parse(&span.kdb()), Ok(span));
        }

        #[test]
        fn any_bytes_are_a_time_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Time::parse(&bytes);
        }
    }
}
