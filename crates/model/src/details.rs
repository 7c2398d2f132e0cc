//! What a source may tell of an order event beyond what every source tells: account, execution, what
//! is shown of it, and marks such as its type, who was aggressive and in which phase.
//!
//! Invariant: nothing here is ever guessed: what a source does not tell is empty, absent or unmarked.
//! The number of a flag is part of the journal's format and never changes; a new one takes a new
//! number.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::fixed::Quantity;
use crate::order::{EventType, RowError};

/// The marks of an order event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Flags(u32);

/// The words of the flags, each at the place of its number, and what they mean.
const WORDS: [(&str, &str); 17] = [
    (
        "market",
        "an order at any price (OrdType 1): its price says nothing",
    ),
    (
        "ioc",
        "what does not trade at once is cancelled (TimeInForce 3)",
    ),
    ("fok", "trades whole at once or not at all (TimeInForce 4)"),
    ("post_only", "never trades at once (ExecInst 6)"),
    (
        "principal",
        "for the trader's own account (OrderCapacity P)",
    ),
    ("agency", "for a client (OrderCapacity A)"),
    (
        "aggressor",
        "an execution of the order that came in (AggressorIndicator Y)",
    ),
    (
        "passive",
        "an execution of the order that waited (AggressorIndicator N)",
    ),
    ("auction", "in a call phase or in its auction"),
    ("halt", "while trading was halted"),
    ("closed", "while the market was closed"),
    ("unfilled", "cancelled because it does not wait"),
    ("expired", "cancelled by the end of the session"),
    (
        "self_match",
        "cancelled because it met an order of the same owner",
    ),
    ("cross", "a cross that was declared to the venue"),
    ("anonymous", "the source names no trader"),
    ("snapshot", "not new: in the book before the source began"),
];

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// An order at any price.
    pub const MARKET: Self = Self(1);
    /// Immediate or cancel.
    pub const IOC: Self = Self(1 << 1);
    /// Fill or kill.
    pub const FOK: Self = Self(1 << 2);
    /// Never trades at once.
    pub const POST_ONLY: Self = Self(1 << 3);
    /// For the trader's own account.
    pub const PRINCIPAL: Self = Self(1 << 4);
    /// For a client.
    pub const AGENCY: Self = Self(1 << 5);
    /// Execution of the order that came in.
    pub const AGGRESSOR: Self = Self(1 << 6);
    /// Execution of the order that waited.
    pub const PASSIVE: Self = Self(1 << 7);
    /// In a call phase or in its auction.
    pub const AUCTION: Self = Self(1 << 8);
    /// While trading was halted.
    pub const HALT: Self = Self(1 << 9);
    /// While the market was closed.
    pub const CLOSED: Self = Self(1 << 10);
    /// Cancelled because it does not wait.
    pub const UNFILLED: Self = Self(1 << 11);
    /// Cancelled by the end of the session.
    pub const EXPIRED: Self = Self(1 << 12);
    /// Cancelled because it met an order of the same owner.
    pub const SELF_MATCH: Self = Self(1 << 13);
    /// A declared cross.
    pub const CROSS: Self = Self(1 << 14);
    /// The source names no trader.
    pub const ANONYMOUS: Self = Self(1 << 15);
    /// In the book before the source began.
    pub const SNAPSHOT: Self = Self(1 << 16);

    /// Those of either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These, if `condition`.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }

    /// Whether any of `other` is among them.
    #[must_use]
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether a source may leave out the price of such an event, which is 0 then: an order at any
    /// price has none, an execution of it always has.
    #[must_use]
    pub const fn need_no_price(self, event_type: EventType) -> bool {
        self.has(Self::MARKET) && !matches!(event_type, EventType::Filled)
    }

    /// The numbers as bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Those with these bits; `None` when one is of no flag.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits >> WORDS.len() == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Reads words in any order, parted by spaces.
    ///
    /// # Errors
    /// [`RowError`] of column `flags` when a word is of no flag.
    pub fn parse(text: &[u8]) -> Result<Self, RowError> {
        let mut flags = Self::NONE;
        for word in text
            .split(|&byte| byte == b' ')
            .filter(|word| !word.is_empty())
        {
            let number = WORDS.iter().position(|(name, _)| name.as_bytes() == word);
            let Some(number) = number else {
                return Err(unknown(word));
            };
            flags.0 |= 1 << number;
        }
        Ok(flags)
    }

    /// All words, each with what it means.
    #[must_use]
    pub const fn words() -> &'static [(&'static str, &'static str)] {
        &WORDS
    }
}

#[cold]
fn unknown(word: &[u8]) -> RowError {
    let known = WORDS.map(|(name, _)| name).join(", ");
    let word: String = String::from_utf8_lossy(word).chars().take(64).collect();
    RowError::new("flags", format!("unknown flag {word:?} ({known})"))
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (number, (word, _)) in WORDS.iter().enumerate() {
            if self.0 & (1 << number) != 0 {
                write!(f, "{space}{word}")?;
                space = " ";
            }
        }
        Ok(())
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a source may tell of an order event beyond what every source tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Details<'a, T: ?Sized = str> {
    /// Whose order it is (FIX `Account`, 1); empty when the source does not tell: the trader's then.
    pub account: &'a T,
    /// Names the execution (FIX `ExecID`, 17): both its sides have the same; empty when the source
    /// does not tell.
    pub exec_id: &'a T,
    /// What of the order is shown (FIX `DisplayQty`, 1138); absent when all is, or it is not told.
    pub display: Option<Quantity>,
    /// Its marks.
    pub flags: Flags,
}

// Not derived: that would ask it of the texts themselves.
impl<T: ?Sized> Copy for Details<'_, T> {}

impl<T: ?Sized> Clone for Details<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Default for Details<'_, str> {
    fn default() -> Self {
        Self {
            account: "",
            exec_id: "",
            display: None,
            flags: Flags::NONE,
        }
    }
}

impl Default for Details<'_, [u8]> {
    fn default() -> Self {
        Details::<str>::default().as_bytes()
    }
}

impl<'a> Details<'a> {
    /// The same with its texts as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> Details<'a, [u8]> {
        Details {
            account: self.account.as_bytes(),
            exec_id: self.exec_id.as_bytes(),
            display: self.display,
            flags: self.flags,
        }
    }
}

impl Details<'_, [u8]> {
    /// Whether nothing is told.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.account.is_empty()
            && self.exec_id.is_empty()
            && self.display.is_none()
            && self.flags.0 == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_they_are_written() {
        for bits in [0, 1, 0x41, (1 << WORDS.len()) - 1] {
            let flags = Flags::from_bits(bits).unwrap();
            assert_eq!(Flags::parse(flags.to_string().as_bytes()), Ok(flags));
            assert_eq!(flags.bits(), bits);
        }
        assert_eq!(Flags::from_bits(1 << WORDS.len()), None);
        let some = Flags::IOC.with(Flags::AGGRESSOR);
        assert_eq!(some.to_string(), "ioc aggressor");
        assert_eq!(Flags::parse(b" aggressor  ioc "), Ok(some));
        let error = Flags::parse(b"ioc fast").unwrap_err().to_string();
        assert!(
            error.contains("unknown flag \"fast\" (market, ioc"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_is_at_the_place_of_its_word() {
        for (flag, word) in [
            (Flags::MARKET, "market"),
            (Flags::PASSIVE, "passive"),
            (Flags::UNFILLED, "unfilled"),
            (Flags::ANONYMOUS, "anonymous"),
            (Flags::SNAPSHOT, "snapshot"),
        ] {
            assert_eq!(flag.to_string(), word);
        }
    }
}
