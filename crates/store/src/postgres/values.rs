//! Values of parameters, from the bytes of a Bind.
//!
//! Invariant: any bytes are a value or a reason, never another value than was meant: what a type of
//! Arrow cannot hold exactly is refused.

use bytes::{Buf as _, Bytes};
use datafusion::common::ScalarValue;

use super::types::{self, Read};
use crate::query::Parameter;

/// Between 1970-01-01 and 2000-01-01, from where Postgres counts.
pub(super) const EPOCH_DAYS: i32 = 10_957;
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400 * 1_000_000;
/// Most digits of a decimal.
const DIGITS_MAX: i32 = 38;

/// A value of a parameter of the type with that number (0: not said), in text or in binary.
pub(super) fn parameter(
    kind: u32,
    binary: bool,
    value: Option<&Bytes>,
) -> Result<Parameter, String> {
    let read = match kind {
        0 => Read::Bare,
        kind => types::parameter(kind).ok_or_else(|| {
            format!("values of the type with the number {kind} are not taken; send it as text")
        })?,
    };
    let Some(bytes) = value else {
        return Ok(Parameter::null());
    };
    match (binary, read) {
        (false, Read::Bare) => Ok(Parameter::text(utf8(bytes)?)),
        (false, read) => text(read, utf8(bytes)?).map(Parameter::value),
        (true, read) => binary_value(read, bytes).map(Parameter::value),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// A value from its text.
fn text(read: Read, text: &str) -> Result<ScalarValue, String> {
    let trimmed = text.trim();
    let wrong = || format!("{text:?} cannot be read as {}", read.arrow());
    Ok(match read {
        Read::Bool => {
            let lower = trimmed.to_ascii_lowercase();
            let value = match lower.as_str() {
                "t" | "true" | "y" | "yes" | "on" | "1" => true,
                "f" | "false" | "n" | "no" | "off" | "0" => false,
                _ => return Err(wrong()),
            };
            ScalarValue::Boolean(Some(value))
        }
        Read::Int(_) => ScalarValue::Int64(Some(trimmed.parse().map_err(|_| wrong())?)),
        Read::Float(_) => ScalarValue::Float64(Some(trimmed.parse().map_err(|_| wrong())?)),
        Read::Numeric => {
            let plain = without_exponent(trimmed).ok_or_else(wrong)?;
            Parameter::decimal(&plain).ok_or_else(wrong)?
        }
        Read::Text | Read::Bare => ScalarValue::Utf8(Some(text.to_owned())),
        Read::Time | Read::Date => {
            let value = ScalarValue::Utf8(Some(trimmed.to_owned()));
            value.cast_to(&read.arrow()).map_err(|_| wrong())?
        }
        Read::Bytes => ScalarValue::Binary(Some(hex(trimmed).ok_or_else(wrong)?)),
        Read::List(element) => {
            let parts = elements(trimmed).ok_or_else(wrong)?;
            let values = parts.into_iter().map(|part| match part {
                None => ScalarValue::try_from(&element.arrow()).map_err(|error| error.to_string()),
                Some(part) => self::text(*element, &part),
            });
            list(*element, values.collect::<Result<_, _>>()?)
        }
    })
}

/// `1E-3` as `0.001`.
fn without_exponent(text: &str) -> Option<String> {
    let Some((number, power)) = text.split_once(['e', 'E']) else {
        return Some(text.to_owned());
    };
    let power: i32 = power.parse().ok()?;
    if power.abs() > DIGITS_MAX {
        return None;
    }
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Where the point comes to stand among the digits.
    let point = i32::try_from(whole.len()).ok()?.checked_add(power)?;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let before = zeros(-point);
    let behind = zeros(point - i32::try_from(whole.len() + fraction.len()).ok()?);
    let digits = format!("{before}{whole}{fraction}{behind}");
    let (whole, fraction) = digits.split_at_checked(usize::try_from(point.max(0)).ok()?)?;
    Some(match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    })
}

/// `\x0aff`.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// The elements of `{1,NULL,"a \"b\""}`; one dimension.
pub(super) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let (mut parts, mut letters) = (Vec::new(), inner.chars().peekable());
    if inner.trim().is_empty() {
        return Some(parts);
    }
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let mut part = String::new();
        let quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.peek() {
                None if quoted => return None,
                None => break,
                Some(',') if !quoted => break,
                Some('{' | '}' | '"') if !quoted => return None,
                Some('"') => {
                    letters.next();
                    break;
                }
                Some('\\') => {
                    letters.next();
                    part.push(letters.next()?);
                }
                Some(letter) => {
                    part.push(*letter);
                    letters.next();
                }
            }
        }
        let bare = part.trim_end();
        parts.push(match quoted {
            true => Some(part),
            false if bare.eq_ignore_ascii_case("null") => None,
            false if bare.is_empty() => return None,
            false => Some(bare.to_owned()),
        });
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        match letters.next() {
            None => return Some(parts),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

fn list(element: Read, values: Vec<ScalarValue>) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list(&values, &element.arrow(), true))
}

/// A value from its bytes.
fn binary_value(read: Read, bytes: &Bytes) -> Result<ScalarValue, String> {
    let wrong = || format!("{} bytes are no {}", bytes.len(), read.arrow());
    let mut rest = bytes.clone();
    Ok(match (read, bytes.len()) {
        (Read::Bool, 1) => ScalarValue::Boolean(Some(rest.get_u8() != 0)),
        (Read::Int(2), 2) => ScalarValue::Int64(Some(rest.get_i16().into())),
        (Read::Int(4), 4) => ScalarValue::Int64(Some(rest.get_i32().into())),
        (Read::Int(8), 8) => ScalarValue::Int64(Some(rest.get_i64())),
        (Read::Float(4), 4) => ScalarValue::Float64(Some(rest.get_f32().into())),
        (Read::Float(8), 8) => ScalarValue::Float64(Some(rest.get_f64())),
        (Read::Numeric, _) => numeric(rest)?,
        (Read::Text | Read::Bare, _) => ScalarValue::Utf8(Some(utf8(bytes)?.to_owned())),
        (Read::Time, 8) => {
            let nanos = rest.get_i64().checked_add(EPOCH_MICROS);
            let nanos = nanos.and_then(|micros| micros.checked_mul(1_000));
            let nanos = nanos.ok_or("a time is outside of 1677 to 2262")?;
            ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into()))
        }
        (Read::Date, 4) => {
            let days = rest.get_i32().checked_add(EPOCH_DAYS).ok_or_else(wrong)?;
            ScalarValue::Date32(Some(days))
        }
        (Read::Bytes, _) => ScalarValue::Binary(Some(bytes.to_vec())),
        (Read::List(element), _) => list(*element, array(*element, rest)?),
        _ => return Err(wrong()),
    })
}

/// The elements of an array of one dimension.
fn array(element: Read, mut bytes: Bytes) -> Result<Vec<ScalarValue>, String> {
    let short = || "an array is shorter than it says".to_owned();
    let number = |bytes: &mut Bytes| match bytes.len() {
        0..4 => Err(short()),
        _ => Ok(bytes.get_i32()),
    };
    let (dimensions, _nulls, _kind) = (
        number(&mut bytes)?,
        number(&mut bytes)?,
        number(&mut bytes)?,
    );
    let count = match dimensions {
        0 => return Ok(Vec::new()),
        1 => number(&mut bytes)?,
        _ => return Err("arrays have one dimension here".to_owned()),
    };
    let _from = number(&mut bytes)?;
    let count = usize::try_from(count).map_err(|_| short())?;
    // Each has a length of four bytes.
    if count > bytes.len() / 4 {
        return Err(short());
    }
    let values = (0..count).map(|_| match number(&mut bytes)? {
        -1 => ScalarValue::try_from(&element.arrow()).map_err(|error| error.to_string()),
        length => {
            let length = usize::try_from(length).map_err(|_| short())?;
            if length > bytes.len() {
                return Err(short());
            }
            binary_value(element, &bytes.split_to(length))
        }
    });
    values.collect()
}

/// A decimal: digits of base 10,000, the first counts 10,000 to the power of its weight.
fn numeric(mut bytes: Bytes) -> Result<ScalarValue, String> {
    const NEGATIVE: u16 = 0x4000;
    let wrong = || "it is no decimal".to_owned();
    let large = || format!("a decimal has at most {DIGITS_MAX} digits");
    if bytes.len() < 8 {
        return Err(wrong());
    }
    let (count, weight) = (bytes.get_u16(), i32::from(bytes.get_i16()));
    let (sign, shown) = (bytes.get_u16(), i32::from(bytes.get_i16()));
    if bytes.len() != usize::from(count) * 2 {
        return Err(wrong());
    }
    let negative = match sign {
        0 => false,
        NEGATIVE => true,
        _ => return Err("NaN and infinity are no decimals".to_owned()),
    };
    if !(0..=DIGITS_MAX).contains(&shown) {
        return Err(large());
    }
    // Zeros that fill the last group up, where the point is counted in fewer digits.
    let filled = 4 * (i32::from(count) - 1 - weight) - shown;
    let more = || "a decimal has digits behind those that it shows".to_owned();
    let mut value: i128 = 0;
    for index in 1..=count {
        let digit = bytes.get_u16();
        if digit > 9_999 {
            return Err(wrong());
        }
        let cut = match filled {
            1..=3 if index == count => 10_u16.pow(filled.unsigned_abs()),
            _ => 1,
        };
        if !digit.is_multiple_of(cut) {
            return Err(more());
        }
        let next = value.checked_mul((10_000 / cut).into());
        value = next
            .and_then(|value| value.checked_add((digit / cut).into()))
            .ok_or_else(large)?;
    }
    let value = match (value, filled) {
        (0, _) => 0,
        (value, 0..=3) => value,
        (value, less @ ..0) => 10_i128
            .checked_pow(less.unsigned_abs())
            .and_then(|ten| value.checked_mul(ten))
            .ok_or_else(large)?,
        _ => return Err(more()),
    };
    let limit = 10_i128.pow(DIGITS_MAX.unsigned_abs());
    if value >= limit {
        return Err(large());
    }
    let scale = i8::try_from(shown).map_err(|_| large())?;
    let value = if negative { -value } else { value };
    Ok(ScalarValue::Decimal128(Some(value), 38, scale))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use pgwire::api::Type;
    use proptest::prelude::*;

    use super::*;

    fn of(kind: &Type, binary: bool, bytes: &[u8]) -> Result<Parameter, String> {
        parameter(kind.oid(), binary, Some(&Bytes::copy_from_slice(bytes)))
    }

    #[test]
    fn texts_and_bytes_of_each_type() {
        let time = |nanos| ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into()));
        let day = 86_400_000_000_000;
        for (kind, text, binary, expected) in [
            (
                Type::BOOL,
                "t",
                &b"\x01"[..],
                ScalarValue::Boolean(Some(true)),
            ),
            (Type::INT2, "-2", b"\xff\xfe", ScalarValue::Int64(Some(-2))),
            (
                Type::INT4,
                "258",
                b"\0\0\x01\x02",
                ScalarValue::Int64(Some(258)),
            ),
            (
                Type::INT8,
                "1",
                b"\0\0\0\0\0\0\0\x01",
                ScalarValue::Int64(Some(1)),
            ),
            (
                Type::FLOAT4,
                "1.5",
                b"\x3f\xc0\0\0",
                ScalarValue::Float64(Some(1.5)),
            ),
            (
                Type::FLOAT8,
                "-0.5",
                b"\xbf\xe0\0\0\0\0\0\0",
                ScalarValue::Float64(Some(-0.5)),
            ),
            (
                Type::TEXT,
                "a'b",
                b"a'b",
                ScalarValue::Utf8(Some("a'b".into())),
            ),
            (
                Type::DATE,
                "2000-01-02",
                b"\0\0\0\x01",
                ScalarValue::Date32(Some(10_958)),
            ),
            (
                Type::BYTEA,
                "\\x00fF",
                b"\0\xff",
                ScalarValue::Binary(Some(vec![0, 255])),
            ),
            (
                Type::TIMESTAMPTZ,
                "2000-01-01 00:00:00.000001+00",
                b"\0\0\0\0\0\0\0\x01",
                time(10_957 * day + 1_000),
            ),
            (
                Type::TIMESTAMP,
                "1999-12-31 00:00:00",
                &(-86_400_000_000_i64).to_be_bytes(),
                time(10_956 * day),
            ),
        ] {
            let expected = Ok(Parameter::value(expected));
            assert_eq!(of(&kind, false, text.as_bytes()), expected, "{kind} {text}");
            assert_eq!(of(&kind, true, binary), expected, "{kind} {binary:?}");
        }
        assert_eq!(parameter(0, false, None), Ok(Parameter::null()));
        assert_eq!(
            parameter(0, false, Some(&Bytes::from_static(b"7"))),
            Ok(Parameter::text("7"))
        );
        let unknown = of(&Type::POINT, false, b"(1,2)").unwrap_err();
        assert!(unknown.contains("the number 600"), "{unknown}");
    }

    #[test]
    fn decimals_are_exact() {
        let decimal = |value, scale| Ok(ScalarValue::Decimal128(Some(value), 38, scale));
        let of = |digits: &[u16], weight: i16, sign: u16, scale: i16| {
            let head = [(digits.len() as u16).to_be_bytes(), weight.to_be_bytes()];
            let tail = [sign.to_be_bytes(), scale.to_be_bytes()];
            let digits = digits.iter().map(|digit| digit.to_be_bytes());
            let all = head.into_iter().chain(tail).chain(digits).flatten();
            numeric(all.collect())
        };
        assert_eq!(of(&[1, 2500], 0, 0, 2), decimal(125, 2)); // 1.25
        assert_eq!(of(&[1, 2500], 0, 0x4000, 4), decimal(-12_500, 4)); // -1.2500
        assert_eq!(of(&[12, 3400], 1, 0, 0), decimal(123_400, 0)); // 123400
        assert_eq!(of(&[1], 2, 0, 0), decimal(100_000_000, 0));
        assert_eq!(of(&[1], -2, 0, 8), decimal(1, 8)); // 0.00000001
        assert_eq!(of(&[], 0, 0, 3), decimal(0, 3));
        for (digits, weight, sign, scale) in [
            (&[1, 2][..], 0, 0, 3),
            (&[10_000], 0, 0, 0),
            (&[1], 10, 0, 0),
            (&[1], 0, 0xc000, 0),
            (&[1], 0, 0, 39),
            (&[1], i16::MAX, 0, 0),
            (&[1], i16::MIN, 0, 0),
        ] {
            let value = of(digits, weight, sign, scale);
            assert!(
                value.is_err(),
                "{digits:?} {weight} {sign} {scale}: {value:?}"
            );
        }
    }

    #[test]
    fn exponents_are_written_out() {
        for (text, expected) in [
            ("1E-9", Some(".000000001")),
            ("-12.5e1", Some("-125")),
            ("1.25e3", Some("1250")),
            ("+5e0", Some("5")),
            ("1.5", Some("1.5")),
            ("1e39", None),
            ("1ex", None),
        ] {
            assert_eq!(without_exponent(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn lists_have_one_dimension() {
        let texts = |parts: &[Option<&str>]| {
            let values: Vec<_> = parts
                .iter()
                .map(|part| ScalarValue::Utf8(part.map(str::to_owned)))
                .collect();
            Ok(Parameter::value(list(Read::Text, values)))
        };
        let read = |text: &str| of(&Type::TEXT_ARRAY, false, text.as_bytes());
        assert_eq!(read("{}"), texts(&[]));
        assert_eq!(
            read(r#"{a, "b,\"c\\",NULL,"NULL"}"#),
            texts(&[Some("a"), Some("b,\"c\\"), None, Some("NULL")])
        );
        for text in ["", "{", "{a", "{a,}", "{{a}}", "{\"a}", "{\"a\"b}", "{a\\"] {
            assert!(read(text).is_err(), "{text}");
        }
        let ints = |bytes: &[u8]| of(&Type::INT4_ARRAY, true, bytes);
        let one = b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x01\0\0\0\x01\0\0\0\x04\0\0\0\x07";
        let seven = list(Read::Int(4), vec![ScalarValue::Int64(Some(7))]);
        assert_eq!(ints(one), Ok(Parameter::value(seven)));
        for end in 0..one.len() {
            assert!(ints(&one[..end]).is_err(), "{end}");
        }
        assert!(ints(b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_a_reason(kind in 0_u32..4_000, binary: bool, bytes: Vec<u8>) {
            let _ = parameter(kind, binary, Some(&Bytes::from(bytes)));
        }

        #[test]
        fn any_text_is_a_value_or_a_reason(kind in 0_u32..4_000, text in "[{}\",\\\\a0-9.: +-]{0,12}") {
            let _ = parameter(kind, false, Some(&Bytes::from(text)));
        }
    }
}
