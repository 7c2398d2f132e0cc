//! Columns of text and the interner that numbers distinct texts.
//!
//! Invariant: every stored text is UTF-8; a code given out by an [`Interner`] stays valid and means
//! the same text until `clear`. Codes are given out in order of first sight, so that nothing depends
//! on a hash order.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Longest `sym`, in bytes.
pub const SYM_BYTES_MAX: usize = 64;
/// Longest `trader`, in bytes.
pub const TRADER_BYTES_MAX: usize = 128;
/// Longest `order_id`, in bytes.
pub const ORDER_ID_BYTES_MAX: usize = 128;

/// Texts one after another in one buffer: two allocations for any number of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextColumn {
    /// UTF-8, and so is every part that `ends` cuts it into.
    text: Vec<u8>,
    ends: Vec<u32>,
}

impl TextColumn {
    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends a text. A column holds up to 4 GiB: a batch's limits on rows and on the length of a
    /// text keep it far below.
    #[inline]
    pub fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.ends.push(self.text.len() as u32);
    }

    /// Appends all texts of `other`, which is empty then.
    pub fn append(&mut self, other: &mut Self) {
        let before = self.text.len() as u32;
        self.text.append(&mut other.text);
        self.ends
            .extend(other.ends.drain(..).map(|end| before + end));
    }

    /// Bytes of the longest text; 0 when there are none.
    #[must_use]
    pub fn longest(&self) -> usize {
        let mut start = 0;
        let lengths = self
            .ends
            .iter()
            .map(|&end| end - std::mem::replace(&mut start, end));
        lengths.fold(0, u32::max) as usize
    }

    /// Appends so many empty texts.
    pub fn push_empty(&mut self, texts: usize) {
        let end = self.text.len() as u32;
        self.ends.resize(self.ends.len() + texts, end);
    }

    /// Appends a text that comes from outside.
    ///
    /// # Errors
    /// When it is not UTF-8; nothing is appended then.
    #[inline]
    pub fn push_bytes(&mut self, text: &[u8]) -> Result<(), std::str::Utf8Error> {
        check_utf8(text)?;
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len() as u32);
        Ok(())
    }

    /// The texts at these places, in this order; a place that has none is passed over.
    #[must_use]
    pub fn picked(&self, places: &[usize]) -> Self {
        let mut picked = Self::default();
        for text in places.iter().filter_map(|&place| self.bytes_at(place)) {
            picked.text.extend_from_slice(text);
            picked.ends.push(picked.text.len() as u32);
        }
        picked
    }

    /// The text at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes_at(index)?).ok()
    }

    /// The bytes of the text at `index`.
    #[must_use]
    #[inline]
    pub fn bytes_at(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// All texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.iter_bytes()
            .map(|text| std::str::from_utf8(text).unwrap_or_default())
    }

    /// The bytes of all texts in order.
    pub fn iter_bytes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = self.text.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            text
        })
    }

    /// Forgets all texts, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Bytes of text held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Room for so many more texts, of so many bytes in all.
    pub fn reserve(&mut self, texts: usize, bytes: usize) {
        self.ends.reserve(texts);
        self.text.reserve(bytes);
    }

    /// All texts one after another, and where each ends.
    #[must_use]
    pub fn parts(&self) -> (&[u8], &[u32]) {
        (&self.text, &self.ends)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Gives back memory that is not used.
    pub fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// Whether a text is UTF-8; most are short and ASCII, and are seen to be without a call.
#[inline]
pub(crate) fn check_utf8(text: &[u8]) -> Result<(), std::str::Utf8Error> {
    if is_short_ascii(text) {
        return Ok(());
    }
    std::str::from_utf8(text).map(drop)
}

/// Whether these are at most 16 bytes, and all ASCII: the usual form of an id.
#[inline]
fn is_short_ascii(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let key = Key::of(text);
    text.len() <= KEY_BYTES && (key.first | key.last) & HIGH == 0
}

/// Gives each distinct text a number, in order of first sight.
#[derive(Debug, Clone, Default)]
pub struct Interner {
    texts: TextColumn,
    codes: HashTable<Known>,
}

/// A text that has a code. Texts of up to 16 bytes are told apart without looking at the column.
#[derive(Debug, Clone, Copy)]
struct Known {
    key: Key,
    code: u32,
}

/// The first and the last bytes of a text and its length: all of it, when it has 16 bytes or fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    len: u32,
}

/// Longest text that its key tells whole.
const KEY_BYTES: usize = 16;

impl Key {
    #[inline]
    fn of(text: &[u8]) -> Self {
        let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        let (first, last) = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
                (Some(first), Some(last)) => (word(first), word(last)),
                _ => match *text {
                    [a, b, c] => (u64::from(a), (u64::from(b) << 8) | u64::from(c)),
                    [a, b] => (u64::from(a), u64::from(b)),
                    [a] => (u64::from(a), 0),
                    _ => (0, 0),
                },
            },
        };
        Self {
            first,
            last,
            len: text.len() as u32,
        }
    }

    /// Fixed: the same input costs the same everywhere, and the order never shows.
    #[inline]
    fn hash(self, text: &[u8]) -> u64 {
        let middle = if text.len() > KEY_BYTES {
            FixedState::default().hash_one(text)
        } else {
            u64::from(self.len)
        };
        let a = self.first ^ 0x9e37_79b9_7f4a_7c15;
        let b = self.last ^ middle ^ 0xd1b5_4a32_d192_ed03;
        let wide = u128::from(a) * u128::from(b);
        (wide as u64 ^ (wide >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Interner {
    /// Number of distinct texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The distinct texts, in code order.
    #[must_use]
    pub fn texts(&self) -> &TextColumn {
        &self.texts
    }

    /// Whether the codes of `other` mean the same here.
    #[must_use]
    pub fn extends(&self, other: &Self) -> bool {
        let ((text, ends), (others, other_ends)) = (self.texts.parts(), other.texts.parts());
        text.starts_with(others) && ends.starts_with(other_ends)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.texts.heap_bytes() + self.codes.allocation_size()
    }

    /// The text of a code.
    #[must_use]
    pub fn get(&self, code: u32) -> Option<&str> {
        self.texts.get(code as usize)
    }

    /// The bytes of the text of a code.
    #[must_use]
    pub fn bytes(&self, code: u32) -> Option<&[u8]> {
        self.texts.bytes_at(code as usize)
    }

    /// The code of a text that is already known.
    #[must_use]
    #[inline]
    pub fn find(&self, text: &[u8]) -> Option<u32> {
        let key = Key::of(text);
        self.find_key(key, key.hash(text), text)
    }

    /// The code of `text`; a new one when it was never seen. UTF-8 is checked only then.
    ///
    /// # Errors
    /// When a text not seen before is not UTF-8.
    #[inline]
    pub fn intern(&mut self, text: &[u8]) -> Result<u32, std::str::Utf8Error> {
        let key = Key::of(text);
        let hash = key.hash(text);
        if let Some(code) = self.find_key(key, hash, text) {
            return Ok(code);
        }
        let code = self.texts.len() as u32;
        self.texts.push(std::str::from_utf8(text)?);
        let texts = &self.texts;
        self.codes
            .insert_unique(hash, Known { key, code }, |known| {
                known
                    .key
                    .hash(texts.bytes_at(known.code as usize).unwrap_or_default())
            });
        Ok(code)
    }

    #[inline]
    fn find_key(&self, key: Key, hash: u64, text: &[u8]) -> Option<u32> {
        let same = |known: &Known| {
            known.key == key
                && (text.len() <= KEY_BYTES
                    || self.texts.bytes_at(known.code as usize) == Some(text))
        };
        self.codes.find(hash, same).map(|known| known.code)
    }

    /// Forgets all texts and codes, keeps the memory.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.codes.clear();
    }
}

/// Two interners are equal when they give the same codes to the same texts.
impl PartialEq for Interner {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Interner {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_in_order_of_first_sight() {
        let mut interner = Interner::default();
        let codes: Vec<_> = ["a", "bb", "", "a", "bb", "c"]
            .iter()
            .map(|text| interner.intern(text.as_bytes()).unwrap())
            .collect();
        assert_eq!(codes, [0, 1, 2, 0, 1, 3]);
        assert_eq!(
            interner.texts().iter().collect::<Vec<_>>(),
            ["a", "bb", "", "c"]
        );
        assert_eq!((interner.find(b"bb"), interner.find(b"x")), (Some(1), None));
        assert!(interner.intern(&[0xff]).is_err());
        assert_eq!(interner.len(), 4, "a refused text takes no code");
        let mut shorter = Interner::default();
        assert!(interner.extends(&shorter) && interner.extends(&interner));
        shorter.intern(b"a").unwrap();
        assert!(interner.extends(&shorter) && !shorter.extends(&interner));
        shorter.intern(b"b").unwrap();
        assert!(!interner.extends(&shorter), "ab, a and bb");
        interner.clear();
        assert_eq!(interner.intern(b"c").unwrap(), 0);
    }

    #[test]
    fn texts_of_any_length_are_told_apart() {
        let mut interner = Interner::default();
        let mut texts = Vec::new();
        for length in 0..40 {
            for changed in 0..=length {
                let mut text = vec![b'x'; length];
                text.iter_mut()
                    .skip(changed)
                    .take(1)
                    .for_each(|b| *b = b'y');
                texts.push(text);
            }
        }
        for round in 0..2 {
            for (index, text) in texts.iter().enumerate() {
                let code = interner.intern(text).unwrap();
                assert_eq!(code as usize, index, "round {round}: {text:?}");
            }
        }
    }

    #[test]
    fn thousands_of_texts_survive_growth() {
        let mut interner = Interner::default();
        for round in 0..2 {
            for i in 0..10_000_u32 {
                let code = interner.intern(format!("Trader{i}").as_bytes()).unwrap();
                assert_eq!(code, i, "round {round}");
            }
        }
        assert_eq!(interner.get(9_999), Some("Trader9999"));
    }
}
