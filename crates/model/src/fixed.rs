//! Exact numbers: prices, quantities and the wide decimals that measures are told in.
//!
//! Invariant: a value is a whole number of its unit; text that needs more digits than the unit has
//! is refused, never rounded. Floats are read only at the edge that must speak them
//! ([`Price::from_f64`], [`Quantity::from_f64`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text or a float is not a number of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Not a decimal number.
    #[error("is not a number")]
    Format,
    /// More digits behind the point than the unit has.
    #[error("has more than {0} decimals")]
    TooFine(u32),
    /// Does not fit.
    #[error("is out of range")]
    OutOfRange,
    /// Below zero where that has no meaning.
    #[error("is negative")]
    Negative,
}

/// A price in units of 1e-9; may be negative (spreads, power, oil in April 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Price(i64);

/// A quantity in units of 1e-8 (the smallest part of a bitcoin); never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Quantity(i64);

/// A measured value in units of 1e-9, wide enough for any sum of [`Quantity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i128);

impl Price {
    /// Digits behind the point.
    pub const SCALE: u32 = 9;

    /// From units of 1e-9.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// In units of 1e-9.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// Parses a decimal such as `1.25`, `-37.63` or `1e-3`.
    ///
    /// # Errors
    /// [`NumberError`] when it is not a number, too fine or out of range.
    pub fn parse(text: &[u8]) -> Result<Self, NumberError> {
        parse_units(text, Self::SCALE).map(Self)
    }

    /// The decimal nearest to a float that came from outside.
    ///
    /// # Errors
    /// [`NumberError`] for NaN, infinities and what is out of range.
    pub fn from_f64(value: f64) -> Result<Self, NumberError> {
        units_of_f64(value, Self::SCALE).map(Self)
    }
}

impl Quantity {
    /// Digits behind the point.
    pub const SCALE: u32 = 8;
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From units of 1e-8.
    ///
    /// # Errors
    /// [`NumberError::Negative`] below zero.
    pub const fn from_units(units: i64) -> Result<Self, NumberError> {
        if units < 0 {
            Err(NumberError::Negative)
        } else {
            Ok(Self(units))
        }
    }

    /// In units of 1e-8.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// What is left when `other` is taken from it; nothing when that is more.
    #[must_use]
    #[inline]
    pub const fn saturating_sub(self, other: Self) -> Self {
        if other.0 >= self.0 {
            Self(0)
        } else {
            Self(self.0 - other.0)
        }
    }

    /// The sum of both; `None` when it does not fit.
    #[must_use]
    #[inline]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// Parses a decimal such as `1000` or `0.00000001`.
    ///
    /// # Errors
    /// [`NumberError`] when it is not a number, negative, too fine or out of range.
    pub fn parse(text: &[u8]) -> Result<Self, NumberError> {
        Self::from_units(parse_units(text, Self::SCALE)?)
    }

    /// From a whole number of pieces.
    ///
    /// # Errors
    /// [`NumberError`] when it is negative or out of range.
    pub fn from_whole(pieces: i64) -> Result<Self, NumberError> {
        let units = pieces
            .checked_mul(10_i64.pow(Self::SCALE))
            .ok_or(NumberError::OutOfRange)?;
        Self::from_units(units)
    }

    /// The decimal nearest to a float that came from outside.
    ///
    /// # Errors
    /// [`NumberError`] for NaN, infinities, negatives and what is out of range.
    pub fn from_f64(value: f64) -> Result<Self, NumberError> {
        Self::from_units(units_of_f64(value, Self::SCALE)?)
    }
}

impl Decimal {
    /// Digits behind the point.
    pub const SCALE: u32 = 9;

    /// From units of 1e-9.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// In units of 1e-9.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Reads a decimal number of up to nine digits behind the point, as far as a [`Price`] goes.
    ///
    /// # Errors
    /// [`NumberError`] when it is not one, or would be rounded or wrapped.
    pub fn parse(text: &[u8]) -> Result<Self, NumberError> {
        Price::parse(text).map(Self::from)
    }

    /// From a float, to nine digits, as far as a [`Price`] goes.
    ///
    /// # Errors
    /// [`NumberError`] when it is not a number or too large.
    pub fn from_f64(value: f64) -> Result<Self, NumberError> {
        Price::from_f64(value).map(Self::from)
    }

    /// From a count.
    #[must_use]
    pub const fn from_count(count: u64) -> Self {
        Self(count as i128 * 1_000_000_000)
    }

    /// From a sum of quantities, in units of 1e-8. At most 2^63 quantities of at most 2^63 units
    /// are below 2^126, so ten times that fits only while the sum is below 2^123: a window's
    /// limit on rows keeps it far below.
    #[must_use]
    pub const fn from_quantity_units(units: i128) -> Self {
        Self(units.saturating_mul(10))
    }
}

impl From<Quantity> for Decimal {
    fn from(quantity: Quantity) -> Self {
        Self::from_quantity_units(i128::from(quantity.0))
    }
}

impl From<Price> for Decimal {
    fn from(price: Price) -> Self {
        Self(i128::from(price.0))
    }
}

/// Whole units of `10^-scale` in a decimal text.
fn parse_units(text: &[u8], scale: u32) -> Result<i64, NumberError> {
    let (negative, digits) = match text {
        [] => return Err(NumberError::Empty),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut mantissa: i64 = 0;
    let mut decimals: Option<u32> = None;
    let mut seen = false;
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                // A value with zeros past its scale is as exact as without them.
                if decimals.is_some_and(|d| d >= scale) {
                    if byte != b'0' {
                        return parse_exponent_or(
                            digits,
                            negative,
                            scale,
                            NumberError::TooFine(scale),
                        );
                    }
                    continue;
                }
                mantissa = mantissa
                    .checked_mul(10)
                    .and_then(|m| m.checked_add(i64::from(byte - b'0')))
                    .ok_or(NumberError::OutOfRange)?;
                decimals = decimals.map(|d| d + 1);
                seen = true;
            }
            b'.' if decimals.is_none() => decimals = Some(0),
            b'e' | b'E' if seen && at > 0 => {
                return parse_exponent_or(digits, negative, scale, NumberError::Format);
            }
            _ => return Err(NumberError::Format),
        }
    }
    if !seen {
        return Err(NumberError::Format);
    }
    let missing = scale - decimals.unwrap_or(0);
    let units = 10_i64
        .checked_pow(missing)
        .and_then(|power| mantissa.checked_mul(power))
        .ok_or(NumberError::OutOfRange)?;
    Ok(if negative { -units } else { units })
}

/// The rare form with an exponent, `1.5e-7`; `otherwise` when there is none.
fn parse_exponent_or(
    digits: &[u8],
    negative: bool,
    scale: u32,
    otherwise: NumberError,
) -> Result<i64, NumberError> {
    let text = std::str::from_utf8(digits).map_err(|_| NumberError::Format)?;
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Err(otherwise);
    };
    let exponent: i32 = exponent.parse().map_err(|_| NumberError::Format)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().count() == 0 || !all().all(|byte| byte.is_ascii_digit()) || all().count() > 40 {
        return Err(NumberError::Format);
    }
    let mut value: i128 = 0;
    for byte in all() {
        let digit = i128::from(byte - b'0');
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(digit))
            .ok_or(NumberError::OutOfRange)?;
    }
    // fraction.len() is at most 40 here.
    let shift = i64::from(exponent) + i64::from(scale) - fraction.len() as i64;
    let power = u32::try_from(shift.unsigned_abs())
        .ok()
        .and_then(|p| 10_i128.checked_pow(p))
        .ok_or(if value == 0 {
            NumberError::Format
        } else {
            NumberError::OutOfRange
        })?;
    let units = if shift >= 0 {
        value.checked_mul(power).ok_or(NumberError::OutOfRange)?
    } else if value % power == 0 {
        value / power
    } else {
        return Err(NumberError::TooFine(scale));
    };
    let units = i64::try_from(units).map_err(|_| NumberError::OutOfRange)?;
    Ok(if negative { -units } else { units })
}

fn units_of_f64(value: f64, scale: u32) -> Result<i64, NumberError> {
    // The double and its product are each off by at most 2^-53 of their size: below 2^51 units that
    // is less than half a unit, so rounding finds the decimal that was meant. Beyond, its shortest
    // text is what was meant.
    const EXACT: f64 = 2_251_799_813_685_248.0;
    let units = value * f64::from(10_u32.pow(scale));
    if units.abs() < EXACT {
        return Ok(units.round() as i64);
    }
    if !value.is_finite() {
        return Err(NumberError::Format);
    }
    parse_units(value.to_string().as_bytes(), scale)
}

/// Significant digits of a float's shortest decimal.
fn digits(value: f64) -> usize {
    let text = format!("{value:e}");
    let mantissa = text.split('e').next().unwrap_or_default();
    mantissa.bytes().filter(u8::is_ascii_digit).count()
}

fn write_units(f: &mut fmt::Formatter<'_>, units: i128, scale: u32) -> fmt::Result {
    let power = 10_u128.pow(scale);
    let magnitude = units.unsigned_abs();
    let (whole, mut fraction) = (magnitude / power, magnitude % power);
    if units < 0 {
        f.write_str("-")?;
    }
    write!(f, "{whole}")?;
    if fraction != 0 {
        let mut digits = scale as usize;
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, ".{fraction:0digits$}")?;
    }
    Ok(())
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, self.0.into(), Self::SCALE)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, self.0.into(), Self::SCALE)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, self.0, Self::SCALE)
    }
}

impl FromStr for Price {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        Self::parse(text.as_bytes())
    }
}

impl FromStr for Quantity {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        Self::parse(text.as_bytes())
    }
}

impl FromStr for Decimal {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        Self::parse(text.as_bytes())
    }
}

/// Written as text, so that no reader rounds them; read from text, whole numbers and floats.
macro_rules! serde_fixed {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Form<'a> {
                    Whole(i64),
                    Float(f64),
                    Text(std::borrow::Cow<'a, str>),
                }
                let number = match Form::deserialize(deserializer)? {
                    Form::Whole(pieces) => Self::parse(pieces.to_string().as_bytes()),
                    // A reader may have rounded it before it came here: with up to 15 digits it
                    // cannot have.
                    Form::Float(value) if digits(value) > 15 => {
                        let message = "a number of more than 15 digits may have been rounded: write it as text";
                        return Err(serde::de::Error::custom(message));
                    }
                    Form::Float(value) => Self::from_f64(value),
                    Form::Text(text) => Self::parse(text.as_bytes()),
                };
                number.map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_fixed!(Price);
serde_fixed!(Quantity);
serde_fixed!(Decimal);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_decimals_exactly() {
        for (text, units) in [
            ("1.25", 1_250_000_000),
            ("-37.63", -37_630_000_000),
            ("+5", 5_000_000_000),
            ("0.000000001", 1),
            (".5", 500_000_000),
            ("5.", 5_000_000_000),
            ("1.2500000000000", 1_250_000_000),
            ("1e-3", 1_000_000),
            ("1.5E+2", 150_000_000_000),
            ("12345678901234567e-16", 1_234_567_890),
            ("0e99", 0),
        ] {
            let parsed = Price::parse(text.as_bytes());
            if text == "12345678901234567e-16" {
                assert_eq!(parsed, Err(NumberError::TooFine(9)), "{text}");
            } else if text == "0e99" {
                assert!(parsed.is_err());
            } else {
                assert_eq!(parsed, Ok(Price(units)), "{text}");
            }
        }
    }

    #[test]
    fn refuses_what_would_be_rounded_or_wrapped() {
        for (text, error) in [
            ("", NumberError::Empty),
            ("-", NumberError::Format),
            (".", NumberError::Format),
            ("1.2.3", NumberError::Format),
            ("1,5", NumberError::Format),
            ("NaN", NumberError::Format),
            ("0x10", NumberError::Format),
            ("e5", NumberError::Format),
            ("1e", NumberError::Format),
            ("0.0000000001", NumberError::TooFine(9)),
            ("9223372037", NumberError::OutOfRange),
            ("1e99", NumberError::OutOfRange),
        ] {
            assert_eq!(Price::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(Quantity::parse(b"-1"), Err(NumberError::Negative));
        assert_eq!(Quantity::from_f64(f64::NAN), Err(NumberError::Format));
    }

    proptest! {
        #[test]
        fn text_of_a_price_is_that_price(units in -i64::MAX..=i64::MAX) {
            let price = Price(units);
            prop_assert_eq!(Price::parse(price.to_string().as_bytes()), Ok(price));
        }

        #[test]
        fn a_float_gives_the_decimal_that_was_meant(cents in -900_000_000_i64..900_000_000) {
            let float: f64 = format!("{}e-2", cents).parse().unwrap();
            prop_assert_eq!(Price::from_f64(float), Ok(Price(cents * 10_000_000)));
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (Price::parse(&bytes), Quantity::parse(&bytes));
        }
    }
}
