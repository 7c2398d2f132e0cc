//! Parquet's hybrid of runs and packed bits: how codes and levels stand in a page.
//!
//! Invariant: what was encoded is decoded the same. As many numbers are decoded as were asked for, or
//! `None` is given; never more. A run of a
//! few bytes may stand for all of them, so the caller bounds what it asks for. Source: the Parquet
//! format, "Run Length Encoding / Bit-Packing Hybrid".

/// Bits that a number may have.
const BITS_MAX: u32 = 32;
/// Numbers that are packed together.
const GROUP: usize = 8;

/// Adds the first `count` numbers of `bits` bits each; `None` when the bytes do not hold them.
pub(super) fn decode(bytes: &[u8], bits: u32, count: usize, out: &mut Vec<u32>) -> Option<()> {
    if bits > BITS_MAX {
        return None;
    }
    let (mut bytes, mut left) = (bytes, count);
    while left > 0 {
        let header = varint(&mut bytes)?;
        let length = usize::try_from(header >> 1).ok()?;
        if header & 1 == 0 {
            let value = bytes.get(..bits.div_ceil(8) as usize)?;
            bytes = bytes.get(value.len()..)?;
            let value = value
                .iter()
                .rev()
                .fold(0, |all, &byte| all << 8 | u32::from(byte));
            let run = length.min(left);
            out.extend(std::iter::repeat_n(value, run));
            left -= run;
        } else {
            // Groups of eight numbers, of which the last may be cut short.
            let packed = length.checked_mul(bits as usize)?.min(bytes.len());
            let (packed, rest) = bytes.split_at_checked(packed)?;
            let held = (packed.len() * 8)
                .checked_div(bits as usize)
                .unwrap_or(left);
            let run = length.checked_mul(8)?.min(left);
            if held < run {
                return None;
            }
            unpack(packed, bits, run, out);
            bytes = rest;
            left -= run;
        }
    }
    Some(())
}

/// Adds the first `count` numbers, lowest bits first; the bytes hold as many.
fn unpack(packed: &[u8], bits: u32, count: usize, out: &mut Vec<u32>) {
    let mask = (1_u64 << bits) - 1;
    out.extend((0..count).map(|index| {
        let bit = index * bits as usize;
        let from = packed.get(bit / 8..).unwrap_or_default();
        let word = match from.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => from
                .iter()
                .rev()
                .fold(0, |all, &byte| all << 8 | u64::from(byte)),
        };
        (word >> (bit % 8) & mask) as u32
    }));
}

/// Adds numbers of `bits` bits each, which have no more.
pub(crate) fn encode(numbers: &[u32], bits: u32, out: &mut Vec<u8>) {
    let (mut rest, mut packed) = (numbers, 0..0);
    let done = |rest: &[u32]| numbers.len() - rest.len();
    while let Some(&number) = rest.first() {
        let same = rest.iter().take_while(|&&it| it == number).count();
        if same >= GROUP {
            pack(numbers.get(packed.clone()).unwrap_or_default(), bits, out);
            run(number, same, bits, out);
            rest = rest.get(same..).unwrap_or_default();
            packed = done(rest)..done(rest);
        } else {
            rest = rest.get(GROUP.min(rest.len())..).unwrap_or_default();
            packed.end = done(rest);
        }
    }
    pack(numbers.get(packed.clone()).unwrap_or_default(), bits, out);
}

/// Adds the same number so many times.
pub(crate) fn run(number: u32, times: usize, bits: u32, out: &mut Vec<u8>) {
    push_varint((times as u64) << 1, out);
    let bytes = number.to_le_bytes();
    out.extend(bytes.iter().take(bits.div_ceil(8) as usize));
}

/// Adds numbers in groups of eight, the last filled up with zeros.
fn pack(numbers: &[u32], bits: u32, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    push_varint((numbers.len().div_ceil(GROUP) as u64) << 1 | 1, out);
    for group in numbers.chunks(GROUP) {
        let (mut word, mut held) = (0_u64, 0);
        let zeros = std::iter::repeat_n(&0, GROUP - group.len());
        for &number in group.iter().chain(zeros) {
            word |= u64::from(number) << held;
            held += bits;
            if held >= u32::BITS {
                out.extend_from_slice(&(word as u32).to_le_bytes());
                word >>= u32::BITS;
                held -= u32::BITS;
            }
        }
        let left = word.to_le_bytes();
        out.extend(left.iter().take(held.div_ceil(8) as usize));
    }
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number of seven bits a byte, lowest first, off the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same numbers in runs and packed groups, as lengths choose.
    fn encode(numbers: &[u32], bits: u32, lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = |mut value: usize, bytes: &mut Vec<u8>| {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        };
        let (mut at, mut lengths) = (0, lengths.iter().cycle());
        while let Some(&number) = numbers.get(at) {
            let same = numbers
                .iter()
                .skip(at)
                .take_while(|&&n| n == number)
                .count();
            if same >= 8 {
                header(same << 1, &mut bytes);
                bytes.extend(number.to_le_bytes().iter().take(bits.div_ceil(8) as usize));
                at += same;
            } else {
                let groups = *lengths.next().unwrap();
                header(groups << 1 | 1, &mut bytes);
                let packed = (0..groups * 8).flat_map(|i| {
                    let number = numbers.get(at + i).copied().unwrap_or_default();
                    (0..bits).map(move |bit| number >> bit & 1)
                });
                let packed: Vec<u32> = packed.collect();
                let byte =
                    |bits: &[u32]| bits.iter().rev().fold(0, |all, bit| all << 1 | bit) as u8;
                bytes.extend(packed.chunks(8).map(byte));
                at += groups * 8;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            bits in 0_u32..=32,
            numbers in proptest::collection::vec((any::<u32>(), 1_usize..20), 0..60),
            lengths in proptest::collection::vec(1_usize..5, 1..8),
        ) {
            let mask = ((1_u64 << bits) - 1) as u32;
            let repeated = numbers.iter().flat_map(|&(n, times)| std::iter::repeat_n(n & mask, times));
            let numbers: Vec<u32> = repeated.collect();
            let bytes = encode(&numbers, bits, &lengths);
            let mut decoded = Vec::new();
            prop_assert!(decode(&bytes, bits, numbers.len(), &mut decoded).is_some());
            prop_assert_eq!(decoded, numbers);
        }

        #[test]
        fn what_is_encoded_here_is_decoded(
            bits in 0_u32..=32,
            numbers in proptest::collection::vec((any::<u32>(), 1_usize..40), 0..60),
        ) {
            let mask = ((1_u64 << bits) - 1) as u32;
            let repeated = numbers.iter().flat_map(|&(n, times)| std::iter::repeat_n(n & mask, times));
            let numbers: Vec<u32> = repeated.collect();
            let mut bytes = Vec::new();
            super::encode(&numbers, bits, &mut bytes);
            let mut decoded = Vec::new();
            prop_assert!(decode(&bytes, bits, numbers.len(), &mut decoded).is_some());
            prop_assert_eq!(decoded, numbers);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            bits in 0_u32..40,
            count in 0_usize..10_000,
        ) {
            let mut decoded = Vec::new();
            if decode(&bytes, bits, count, &mut decoded).is_some() {
                prop_assert_eq!(decoded.len(), count);
            }
            prop_assert!(decoded.len() <= count);
        }
    }

    #[test]
    fn too_few_bytes_are_refused() {
        let mut decoded = Vec::new();
        assert_eq!(decode(&[], 3, 1, &mut decoded), None);
        assert_eq!(
            decode(&[0b11, 0xff], 3, 8, &mut decoded),
            None,
            "3 bytes are a group"
        );
        assert_eq!(
            decode(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01], 1, 1, &mut decoded),
            None
        );
    }
}
