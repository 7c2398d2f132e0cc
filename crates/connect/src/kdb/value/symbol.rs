//! Symbols: short texts that q keeps once, one alone or many in one block.
//!
//! Invariant: a symbol holds no NUL; in a block each has one behind it, and the ends say where.

use std::fmt;

/// One symbol.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Symbol(Box<[u8]>);

/// Symbols, one after another in one block.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Symbols {
    /// Each with a NUL behind it, as on the wire.
    text: Vec<u8>,
    /// Where each one's NUL is.
    ends: Vec<u32>,
}

impl Symbol {
    /// The symbol of a text; as in q, it ends at the first NUL.
    #[must_use]
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        Self(to_nul(text.as_ref()).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}", String::from_utf8_lossy(&self.0))
    }
}

impl Symbols {
    /// Adds one; as in q, it ends at the first NUL. `false`, and no change, when four gigabytes
    /// are there.
    pub fn push(&mut self, text: impl AsRef<[u8]>) -> bool {
        let text = to_nul(text.as_ref());
        let Ok(end) = u32::try_from(self.text.len() + text.len()) else {
            return false;
        };
        self.text.extend_from_slice(text);
        self.text.push(0);
        self.ends.push(end);
        true
    }

    /// Those of a block in which each has a NUL behind it, and where those NULs are.
    pub(in crate::kdb) const fn from_wire(text: Vec<u8>, ends: Vec<u32>) -> Self {
        Self { text, ends }
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of the one at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize + 1,
            None => 0,
        };
        self.text.get(start..*self.ends.get(index)? as usize)
    }

    /// Their bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// All of them with their NULs.
    pub(in crate::kdb) fn wire(&self) -> &[u8] {
        &self.text
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Symbols {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut symbols = Self::default();
        for text in texts {
            symbols.push(text);
        }
        symbols
    }
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .try_for_each(|text| write!(f, "`{}", String::from_utf8_lossy(text)))
    }
}

fn to_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}
