//! Short ways to read the usual forms of times and numbers.
//!
//! Invariant: each agrees with its parser in `tapewatch_model` on every input: what is not of the
//! usual form is handed on to that parser.

use tapewatch_model::{Date, NumberError, Price, Quantity, Time, TimeError};

const NS_PER_SECOND: i64 = 1_000_000_000;
/// Eight times the digit 0.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Reads times and keeps the last date, since rows of one day come together.
#[derive(Debug, Default)]
pub(super) struct TimeReader {
    date: [u8; 10],
    /// Nanoseconds of the kept date's midnight; the whole day is in range.
    midnight: i64,
}

impl TimeReader {
    #[inline]
    pub(super) fn read(&mut self, text: &[u8]) -> Result<Time, TimeError> {
        if let Some((date, clock)) = text.split_first_chunk::<10>()
            && let Ok(clock) = clock.try_into()
            && let Some(nanos) = nanos_of_day(clock)
            && (*date == self.date || self.keep(*date))
        {
            // In range: checked when the date was kept.
            return Ok(Time::from_nanos(self.midnight.wrapping_add(nanos)));
        }
        Time::parse(text)
    }

    /// Keeps another date, unless it is wrong or partly out of range.
    #[cold]
    fn keep(&mut self, date: [u8; 10]) -> bool {
        const DAY: i64 = 86_400 * NS_PER_SECOND;
        let midnight = Date::parse(&date)
            .ok()
            .and_then(|date| i64::from(date.days()).checked_mul(DAY))
            .filter(|midnight| midnight.checked_add(DAY).is_some());
        if let Some(midnight) = midnight {
            (self.date, self.midnight) = (date, midnight);
        }
        midnight.is_some()
    }
}

/// Nanoseconds of `Thh:mm:ss.fffffffff` (T, t, D or a space).
#[inline]
fn nanos_of_day(clock: &[u8; 19]) -> Option<i64> {
    let &[
        separator,
        h1,
        h2,
        b':',
        m1,
        m2,
        b':',
        s1,
        s2,
        b'.',
        ref fraction @ ..,
    ] = clock
    else {
        return None;
    };
    let &[ref eight @ .., ninth] = fraction;
    let eight: &[u8; 8] = eight;
    let digit = |byte: u8| i64::from(byte.wrapping_sub(b'0'));
    let (h1, h2, m1, m2) = (digit(h1), digit(h2), digit(m1), digit(m2));
    let (s1, s2, ninth) = (digit(s1), digit(s2), digit(ninth));
    // A byte that is no digit became 10 to 255.
    let digits = h1 <= 2 && h2 <= 9 && m1 <= 5 && m2 <= 9 && s1 <= 5 && s2 <= 9 && ninth <= 9;
    let hour = h1 * 10 + h2;
    if !digits || hour > 23 || !matches!(separator, b' ' | b'T' | b'D' | b't') {
        return None;
    }
    let fraction = i64::from(eight_digits(u64::from_le_bytes(*eight))?) * 10 + ninth;
    let seconds = hour * 3_600 + (m1 * 10 + m2) * 60 + s1 * 10 + s2;
    Some(seconds * NS_PER_SECOND + fraction)
}

/// The number that eight digits say, all at once; the first digit is the lowest byte.
#[inline]
fn eight_digits(text: u64) -> Option<u32> {
    let high = 0xf0f0_f0f0_f0f0_f0f0;
    // A digit has 3 as its high half, also when 6 is added to it. (A carry out of a byte that is no
    // digit can only spoil its neighbours when the first test has failed already.)
    if text & high != ZEROS || text.wrapping_add(0x0606_0606_0606_0606) & high != ZEROS {
        return None;
    }
    let ones = text - ZEROS;
    let pairs = ones.wrapping_mul(10).wrapping_add(ones >> 8);
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(1 + (100 << 16)) >> 16;
    let all = (fours & 0x0000_ffff_0000_ffff).wrapping_mul(1 + (10_000 << 32)) >> 32;
    Some(all as u32)
}

/// A field's text, and its bytes in one word when they were at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberText<'a> {
    pub(super) text: &'a [u8],
    /// The eight bytes from the text's start on, whatever stands behind it; for a text of 1 to 8
    /// bytes only.
    pub(super) word: Option<[u8; 8]>,
}

#[inline]
pub(super) fn read_price(number: NumberText<'_>) -> Result<Price, NumberError> {
    match units::<{ Price::SCALE as usize }>(number) {
        Some(units) => Ok(Price::from_units(units)),
        None => Price::parse(number.text),
    }
}

#[inline]
pub(super) fn read_quantity(number: NumberText<'_>) -> Result<Quantity, NumberError> {
    match units::<{ Quantity::SCALE as usize }>(number) {
        Some(units) => Quantity::from_units(units),
        None => Quantity::parse(number.text),
    }
}

/// Units of `10^-SCALE` of up to 8 bytes, digits and perhaps a point among them. No loop over the
/// digits: their count differs from row to row, and a processor guesses it wrong.
#[inline]
fn units<const SCALE: usize>(number: NumberText<'_>) -> Option<i64> {
    const POWERS: [i64; 10] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
        1_000_000_000,
    ];
    let count = number.text.len();
    if count == 0 || count > 8 {
        return None;
    }
    let free = 8 * (8 - count as u32);
    // The first byte of the text is the lowest. Moved up against the top, zeros filled in below:
    // the same number, eight bytes long.
    let word = (u64::from_le_bytes(number.word?) << free) | (ZEROS & !(u64::MAX << free));
    let points = zero_bytes(word ^ (0x0101_0101_0101_0101 * u64::from(b'.')));
    if points == 0 {
        let power = POWERS.get(SCALE)?;
        return i64::from(eight_digits(word)?).checked_mul(*power);
    }
    if count == 1 {
        return None;
    }
    // The point is taken out: what stands before it moves up by one. (A second one is no digit.)
    let point = points.trailing_zeros() / 8;
    let before = word & !(u64::MAX << (8 * point));
    let behind = word & (u64::MAX << (8 * point) << 8);
    let digits = behind | (before << 8) | u64::from(b'0');
    let decimals = 7 - point as usize;
    let power = POWERS.get(SCALE.checked_sub(decimals)?)?;
    i64::from(eight_digits(digits)?).checked_mul(*power)
}

/// The top bit of each byte that is zero.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((word & LOW7) + LOW7) | word | LOW7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts near the usual form: right ones, and with one byte changed, added or left out.
    fn near(text: String, at: usize, how: u8, byte: u8) -> Vec<u8> {
        let mut bytes = text.into_bytes();
        let at = at % bytes.len();
        match how % 4 {
            0 => {}
            1 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
            2 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        bytes
    }

    /// With the word (`behind` stands behind the text) and without.
    fn numbers_agree(text: &[u8], behind: u8) {
        let mut word = [behind; 8];
        word.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        for word in [Some(word), None] {
            let number = NumberText { text, word };
            assert_eq!(read_price(number), Price::parse(text));
            assert_eq!(read_quantity(number), Quantity::parse(text));
        }
    }

    fn nearly_a_byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"0123456789.-:TDtZ+eE /".to_vec()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn times_agree_with_the_model(
            times in proptest::collection::vec(
                (
                    prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>(), 0..4_000_000_000_000_000_000_i64],
                    proptest::sample::select(vec!["T", "D", " ", "t", "x"]),
                    0..40_usize,
                    any::<u8>(),
                    nearly_a_byte(),
                ),
                1..6,
            ),
        ) {
            let mut reader = TimeReader::default();
            for (nanos, separator, at, how, byte) in times {
                let text = Time::from_nanos(nanos).to_string();
                let text = text.trim_end_matches('Z').replace('T', separator);
                let text = near(text, at, how, byte);
                for _ in 0..2 {
                    prop_assert_eq!(reader.read(&text), Time::parse(&text));
                }
            }
        }

        #[test]
        fn clocks_agree_with_the_model(text in "2024-0[0-2]-[0-3][0-9][ TDx][0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9:]{9}") {
            let mut reader = TimeReader::default();
            prop_assert_eq!(reader.read(text.as_bytes()), Time::parse(text.as_bytes()));
        }

        #[test]
        fn dates_at_the_ends_of_the_range_agree(day in 0_i64..6, nanos in any::<i64>()) {
            for text in [
                format!("2262-04-{:02}T{:02}:47:16.854775807", 9 + day, nanos.rem_euclid(25)),
                format!("1677-09-{:02}T{:02}:12:43.145224193", 19 + day, nanos.rem_euclid(25)),
            ] {
                let mut reader = TimeReader::default();
                prop_assert_eq!(reader.read(text.as_bytes()), Time::parse(text.as_bytes()));
            }
        }

        #[test]
        fn numbers_agree_with_the_model(
            text in prop_oneof![
                "[0-9]{0,4}(\\.[0-9]{0,4})?",
                "[-+]?[0-9]{0,20}(\\.[0-9]{0,12})?(e-?[0-9])?",
            ],
            at in 0..40_usize,
            how in any::<u8>(),
            byte in nearly_a_byte(),
        ) {
            let text = if text.is_empty() { "0".to_owned() } else { text };
            let text = near(text, at, how, byte);
            numbers_agree(&text, byte);
        }
    }

    #[test]
    fn corners_agree_with_the_model() {
        for text in [
            "",
            ".",
            "5.",
            ".5",
            "0.000000001",
            "9223372036.854775807",
            "999999999999999999",
            "-0",
        ] {
            numbers_agree(text.as_bytes(), b'7');
        }
    }
}
