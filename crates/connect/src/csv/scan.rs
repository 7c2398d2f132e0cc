//! Finds the fields of one line without quotes, 64 bytes at a time.
//!
//! Invariant: what is found depends on the bytes up to the line's end alone; the two ways to compare
//! a block (vector and portable) give the same masks.

/// Where a field starts and ends in its text.
pub(super) type Bounds = (u32, u32);

/// What ended a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A line end, at this place.
    LineEnd(usize),
    /// A quote came first.
    Quote,
    /// The data ended first.
    DataEnd,
}

const BLOCK: usize = 64;

/// One bit for each byte of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masks {
    commas: u64,
    /// Line ends and quotes.
    stops: u64,
}

/// Scans the first line of `data`. `bounds` gets its fields, the last one ends where the scan did
/// (a CR before the line end included); it is of no use after a quote.
pub(super) fn scan_line(data: &[u8], bounds: &mut Vec<Bounds>) -> Stop {
    bounds.clear();
    let mut field = 0;
    let mut base = 0;
    let (blocks, tail) = data.as_chunks::<BLOCK>();
    for block in blocks {
        let found = masks(block);
        take_block(found, base, &mut field, bounds);
        if found.stops != 0 {
            return stop(data, base + found.stops.trailing_zeros(), field, bounds);
        }
        base += BLOCK as u32;
    }
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(tail) {
        *to = *from;
    }
    let found = masks(&block);
    take_block(found, base, &mut field, bounds);
    if found.stops != 0 {
        return stop(data, base + found.stops.trailing_zeros(), field, bounds);
    }
    bounds.push((field, data.len() as u32));
    Stop::DataEnd
}

/// Takes the fields that end at a comma before the block's first stop.
#[inline(always)]
fn take_block(found: Masks, base: u32, field: &mut u32, bounds: &mut Vec<Bounds>) {
    // The bits below the lowest set one; all bits when there is none.
    let mut commas = found.commas & found.stops.wrapping_sub(1) & !found.stops;
    while commas != 0 {
        let at = base + commas.trailing_zeros();
        bounds.push((*field, at));
        *field = at + 1;
        commas &= commas - 1;
    }
}

#[inline(always)]
fn stop(data: &[u8], at: u32, field: u32, bounds: &mut Vec<Bounds>) -> Stop {
    if data.get(at as usize) == Some(&b'"') {
        return Stop::Quote;
    }
    bounds.push((field, at));
    Stop::LineEnd(at as usize)
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "calling a function that needs SSE2 is unsafe only where SSE2 may be missing: this is \
              compiled only for targets that have it. It makes the whole decoder a sixth faster."
)]
fn masks(block: &[u8; BLOCK]) -> Masks {
    // SAFETY: the target has SSE2, see the cfg above; the function has no other condition.
    unsafe { vector_masks(block) }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
#[inline(always)]
fn masks(block: &[u8; BLOCK]) -> Masks {
    portable_masks(block)
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "sse2")]
#[inline]
fn vector_masks(block: &[u8; BLOCK]) -> Masks {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let comma = _mm_set1_epi8(b',' as i8);
    let line_end = _mm_set1_epi8(b'\n' as i8);
    let quote = _mm_set1_epi8(b'"' as i8);
    let mut found = Masks {
        commas: 0,
        stops: 0,
    };
    for (at, part) in block.as_chunks::<16>().0.iter().enumerate() {
        let part = u128::from_le_bytes(*part);
        let part = _mm_set_epi64x((part >> 64) as i64, part as i64);
        let commas = _mm_movemask_epi8(_mm_cmpeq_epi8(part, comma));
        let stops = _mm_movemask_epi8(_mm_or_si128(
            _mm_cmpeq_epi8(part, line_end),
            _mm_cmpeq_epi8(part, quote),
        ));
        found.commas |= u64::from(commas as u32) << (16 * at);
        found.stops |= u64::from(stops as u32) << (16 * at);
    }
    found
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
fn portable_masks(block: &[u8; BLOCK]) -> Masks {
    let mut found = Masks {
        commas: 0,
        stops: 0,
    };
    for (at, part) in block.as_chunks::<8>().0.iter().enumerate() {
        let part = u64::from_le_bytes(*part);
        found.commas |= equal_bytes(part, b',') << (8 * at);
        found.stops |= (equal_bytes(part, b'\n') | equal_bytes(part, b'"')) << (8 * at);
    }
    found
}

/// One bit for each of the eight bytes that is equal to `byte`.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
fn equal_bytes(part: u64, byte: u8) -> u64 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zero_where_equal = part ^ (0x0101_0101_0101_0101 * u64::from(byte));
    // The top bit of a byte of `tops` is set where that byte is zero.
    let tops = !(((zero_where_equal & LOW7) + LOW7) | zero_where_equal | LOW7);
    // Gathers the eight top bits in the highest byte.
    (tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain_masks(block: &[u8; BLOCK]) -> Masks {
        let bits = |wanted: &[u8]| {
            let set = block.iter().enumerate();
            set.filter(|(_, byte)| wanted.contains(byte))
                .fold(0, |mask, (at, _)| mask | 1 << at)
        };
        Masks {
            commas: bits(b","),
            stops: bits(b"\n\""),
        }
    }

    proptest! {
        #[test]
        fn masks_mark_the_bytes(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b",\n\"\r\0-+#\xac\x8a\xa2".to_vec())],
                BLOCK,
            ),
        ) {
            let block: [u8; BLOCK] = bytes.try_into().map_err(|_| TestCaseError::fail("length"))?;
            prop_assert_eq!(masks(&block), plain_masks(&block));
            prop_assert_eq!(portable_masks(&block), plain_masks(&block));
        }
    }
}
