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
    text: String,
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
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }

    /// The text at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    #[inline]
    fn bytes_at(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.as_bytes().get(start..end)
    }

    /// All texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
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
}

/// Gives each distinct text a number, in order of first sight.
#[derive(Debug, Clone, Default)]
pub struct Interner {
    texts: TextColumn,
    // A fixed state: the same input costs the same everywhere, and the order never shows.
    codes: HashTable<u32>,
    hasher: FixedState,
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

    /// The text of a code.
    #[must_use]
    pub fn get(&self, code: u32) -> Option<&str> {
        self.texts.get(code as usize)
    }

    /// The code of a text that is already known.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.find_hashed(self.hasher.hash_one(text), text)
    }

    /// The code of `text`; a new one when it was never seen. UTF-8 is checked only then.
    ///
    /// # Errors
    /// When a text not seen before is not UTF-8.
    #[inline]
    pub fn intern(&mut self, text: &[u8]) -> Result<u32, std::str::Utf8Error> {
        let hash = self.hasher.hash_one(text);
        if let Some(code) = self.find_hashed(hash, text) {
            return Ok(code);
        }
        let code = self.texts.len() as u32;
        self.texts.push(std::str::from_utf8(text)?);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.codes.insert_unique(hash, code, |&code| {
            hasher.hash_one(texts.get(code as usize).unwrap_or_default().as_bytes())
        });
        Ok(code)
    }

    /// Forgets all texts and codes, keeps the memory.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.codes.clear();
    }

    #[inline]
    fn find_hashed(&self, hash: u64, text: &[u8]) -> Option<u32> {
        let same = |&code: &u32| self.texts.bytes_at(code as usize) == Some(text);
        self.codes.find(hash, same).copied()
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
        interner.clear();
        assert_eq!(interner.intern(b"c").unwrap(), 0);
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
