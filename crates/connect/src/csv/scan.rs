//! Finds the fields of one line without quotes, 64 bytes at a time.
//!
//! Invariant: what is found depends on the bytes up to the line's end alone; all ways to compare a
//! block (two of vectors, one portable) give the same masks.

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
#[inline]
pub(super) fn scan_line(data: &[u8], bounds: &mut Vec<Bounds>) -> Stop {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return wide::scan_line(data, bounds);
    }
    scan_line_by(data, bounds, masks)
}

/// The field at `index` of the first line of `data`, and the line's length with its end: only of a
/// line without quotes that ends within [`PEEK`] bytes and has more fields behind that one.
#[inline]
pub(super) fn peek_field(data: &[u8], index: usize) -> Option<(&[u8], usize)> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return wide::peek_field(data, index);
    }
    peek_field_by(data, index, masks)
}

/// Bytes of a line that [`peek_field`] looks at.
const PEEK: usize = 2 * BLOCK;

#[inline(always)]
fn peek_field_by(
    data: &[u8],
    index: usize,
    masks: impl Fn(&[u8; BLOCK]) -> Masks,
) -> Option<(&[u8], usize)> {
    let (blocks, _) = data.get(..PEEK)?.as_chunks::<BLOCK>();
    let [first, second] = blocks else {
        return None;
    };
    let (first, second) = (masks(first), masks(second));
    let stops = u128::from(first.stops) | u128::from(second.stops) << BLOCK;
    let commas = u128::from(first.commas) | u128::from(second.commas) << BLOCK;
    let end = stops.trailing_zeros() as usize;
    if data.get(end) != Some(&b'\n') {
        return None;
    }
    let mut commas = commas;
    let mut start = 0;
    for _ in 0..index {
        start = commas.trailing_zeros() as usize + 1;
        commas &= commas.wrapping_sub(1);
    }
    let upto = commas.trailing_zeros() as usize;
    (upto < end).then_some((data.get(start..upto)?, end + 1))
}

/// For processors that compare 32 bytes at once, which is asked when the program runs.
#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{BLOCK, Bounds, Masks, Stop, peek_field_by, scan_line_by};

    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "calling a function that needs AVX2 is unsafe where AVX2 may be missing: the caller \
                  has just asked. Passing over rows is half as dear by it."
    )]
    pub(super) fn scan_line(data: &[u8], bounds: &mut Vec<Bounds>) -> Stop {
        // SAFETY: the caller has asked whether the processor has AVX2; there is no other condition.
        unsafe { scan_line_avx2(data, bounds) }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "as above")]
    pub(super) fn peek_field(data: &[u8], index: usize) -> Option<(&[u8], usize)> {
        // SAFETY: the caller has asked whether the processor has AVX2; there is no other condition.
        unsafe { peek_field_avx2(data, index) }
    }

    #[target_feature(enable = "avx2,bmi1")]
    fn scan_line_avx2(data: &[u8], bounds: &mut Vec<Bounds>) -> Stop {
        scan_line_by(data, bounds, |block| masks(block))
    }

    #[target_feature(enable = "avx2,bmi1")]
    fn peek_field_avx2(data: &[u8], index: usize) -> Option<(&[u8], usize)> {
        peek_field_by(data, index, |block| masks(block))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn masks(block: &[u8; BLOCK]) -> Masks {
        use std::arch::x86_64::{
            _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set_epi64x,
            _mm256_set1_epi8,
        };
        let comma = _mm256_set1_epi8(b',' as i8);
        let line_end = _mm256_set1_epi8(b'\n' as i8);
        let quote = _mm256_set1_epi8(b'"' as i8);
        let mut found = Masks {
            commas: 0,
            stops: 0,
        };
        for (at, part) in block.as_chunks::<32>().0.iter().enumerate() {
            let (words, _) = part.as_chunks::<8>();
            let word = |index: usize| {
                let word = words.get(index).copied().unwrap_or_default();
                u64::from_le_bytes(word).cast_signed()
            };
            let part = _mm256_set_epi64x(word(3), word(2), word(1), word(0));
            let commas = _mm256_movemask_epi8(_mm256_cmpeq_epi8(part, comma));
            let stops = _mm256_movemask_epi8(_mm256_or_si256(
                _mm256_cmpeq_epi8(part, line_end),
                _mm256_cmpeq_epi8(part, quote),
            ));
            found.commas |= u64::from(commas.cast_unsigned()) << (32 * at);
            found.stops |= u64::from(stops.cast_unsigned()) << (32 * at);
        }
        found
    }

    #[cfg(test)]
    #[expect(unsafe_code, reason = "as above")]
    pub(super) fn tested_masks(block: &[u8; BLOCK]) -> Option<Masks> {
        // SAFETY: it is asked here whether the processor has AVX2.
        std::arch::is_x86_feature_detected!("avx2").then(|| unsafe { masks(block) })
    }
}

#[inline(always)]
fn scan_line_by(
    data: &[u8],
    bounds: &mut Vec<Bounds>,
    masks: impl Fn(&[u8; BLOCK]) -> Masks,
) -> Stop {
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
            #[cfg(target_arch = "x86_64")]
            if let Some(masks) = wide::tested_masks(&block) {
                prop_assert_eq!(masks, plain_masks(&block));
            }
        }

        /// A peeked field is the one that the scan finds.
        #[test]
        fn peeking_sees_what_scanning_sees(line in "[a-c,\"\r]{0,140}", behind in "[a-z,\n]{0,140}", index in 0_usize..12) {
            let data = format!("{line}\n{behind}");
            let data = data.as_bytes();
            let mut bounds = Vec::new();
            let scanned = scan_line(data, &mut bounds);
            prop_assert_eq!(scan_line_by(data, &mut Vec::new(), masks), scanned);
            for peeked in [peek_field(data, index), peek_field_by(data, index, masks)] {
                if let Some((field, length)) = peeked {
                    prop_assert_eq!(scanned, Stop::LineEnd(length - 1));
                    let (start, end) = bounds.get(index).copied().unwrap_or_default();
                    prop_assert_eq!(Some(field), data.get(start as usize..end as usize));
                    prop_assert!(index + 1 < bounds.len());
                } else if data.len() >= PEEK && line.len() < PEEK && !line.contains('"') {
                    prop_assert!(index + 1 >= bounds.len());
                }
            }
        }
    }
}
