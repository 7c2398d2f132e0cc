//! Messages of kdb+'s inter-process protocol: header, one value, and the greeting before them.
//!
//! Invariant: bytes from outside never make this panic, nor ask for more memory than
//! [`Limits::memory_bytes`]: every count is compared with the bytes that are there, and charged,
//! before anything is reserved for it.

mod compress;
mod decode;
mod encode;
mod handshake;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

pub use self::compress::{compress, decompress};
pub use self::decode::{Decoded, decode_value};
pub use self::encode::{encode_message, encode_value};
pub use self::handshake::{CREDENTIAL_BYTES_MAX, Credentials, greet};

use super::value::{Value, ValueError};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;

/// What may be taken from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message with its header, packed or not. Default: 64 MiB.
    pub message_bytes: usize,
    /// Values within values. Default: 32.
    pub depth: usize,
    /// Items of one list, columns of one table. Default: 16,777,216.
    pub items: usize,
    /// Bytes that are asked of the allocator for one message, the unpacked form included.
    /// Default: 256 MiB.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 20,
            depth: 32,
            items: 16 << 20,
            memory_bytes: 256 << 20,
        }
    }
}

/// In which order the bytes of a number stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteOrder {
    /// The low ones first, as on nearly every machine.
    #[default]
    Little,
    /// The high ones first.
    Big,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Nobody waits for an answer.
    Async,
    /// The sender waits for an answer.
    Sync,
    /// The answer.
    Response,
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Of this message.
    pub order: ByteOrder,
    /// What it is for.
    pub kind: MessageKind,
    /// Whether it is packed.
    pub compressed: bool,
    /// Bytes of the message as it comes, this head included.
    pub length: usize,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// As it came.
    pub order: ByteOrder,
    /// What it is for.
    pub kind: MessageKind,
    /// What it says.
    pub value: Value,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct WireError {
    /// Where, from the first byte of the message, of its unpacked form, or of what was given.
    pub offset: usize,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong with bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// They end within a value; more may follow.
    #[error("the bytes end where {wanted} were expected, {left} are left")]
    Short {
        /// What was expected.
        wanted: &'static str,
        /// What is there.
        left: usize,
    },
    /// A byte that cannot stand there.
    #[error("{found:#04x} where {wanted} was expected")]
    Byte {
        /// What was expected.
        wanted: &'static str,
        /// What is there.
        found: u8,
    },
    /// A type that is not understood.
    #[error("a value of type {0}, which is not understood")]
    Type(i8),
    /// A count or length that is negative or more than allowed.
    #[error("{what} is {found}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are said to come.
        found: u64,
        /// How many may come.
        max: u64,
    },
    /// The length in the header is not that of the message.
    #[error("{what} has {found} bytes, its header says {said}")]
    Length {
        /// What.
        what: &'static str,
        /// Bytes that are there.
        found: u64,
        /// Bytes that were announced.
        said: u64,
    },
    /// Parts that do not fit each other.
    #[error(transparent)]
    Parts(#[from] ValueError),
}

impl WireError {
    pub(super) const fn new(offset: usize, what: Wrong) -> Self {
        Self { offset, what }
    }

    /// Whether more bytes behind those that were given could mend it.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        matches!(self.what, Wrong::Short { .. })
    }
}

impl Header {
    /// Reads a head.
    ///
    /// # Errors
    /// [`WireError`] when it is none, or announces a message longer than `limits` allow.
    pub fn parse(bytes: [u8; HEADER_BYTES], limits: &Limits) -> Result<Self, WireError> {
        let [order, kind, compressed, _, length @ ..] = bytes;
        let byte = |offset, wanted, found| WireError::new(offset, Wrong::Byte { wanted, found });
        let (order, length) = match order {
            0 => (ByteOrder::Big, u32::from_be_bytes(length)),
            1 => (ByteOrder::Little, u32::from_le_bytes(length)),
            found => return Err(byte(0, "the byte order (0 or 1)", found)),
        };
        let kind = match kind {
            0 => MessageKind::Async,
            1 => MessageKind::Sync,
            2 => MessageKind::Response,
            found => return Err(byte(1, "the kind of message (0, 1 or 2)", found)),
        };
        let compressed = match compressed {
            0 => false,
            1 => true,
            found => return Err(byte(2, "0 or 1 (packed)", found)),
        };
        let length = at_most(4, "the length", u64::from(length), limits.message_bytes)?;
        if length <= HEADER_BYTES {
            let said = length as u64;
            let what = "a message with a value";
            let found = HEADER_BYTES as u64 + 1;
            return Err(WireError::new(4, Wrong::Length { what, found, said }));
        }
        Ok(Self {
            order,
            kind,
            compressed,
            length,
        })
    }

    /// Reads the head of `message`.
    fn of(message: &[u8], limits: &Limits) -> Result<Self, WireError> {
        let Some(head) = message.first_chunk::<HEADER_BYTES>() else {
            let wanted = "8 bytes of a header";
            let left = message.len();
            return Err(WireError::new(0, Wrong::Short { wanted, left }));
        };
        let header = Self::parse(*head, limits)?;
        if header.length != message.len() {
            let (found, said) = (message.len() as u64, header.length as u64);
            let what = "the message";
            return Err(WireError::new(4, Wrong::Length { what, found, said }));
        }
        Ok(header)
    }
}

/// Reads a whole message, packed or not.
///
/// # Errors
/// [`WireError`] when it is none, or more than `limits` allow. Of a packed one the place is that in
/// its unpacked form.
pub fn decode_message(message: &[u8], limits: &Limits) -> Result<Message, WireError> {
    let header = Header::of(message, limits)?;
    let mut limits = *limits;
    let unpacked;
    let whole = if header.compressed {
        unpacked = decompress(message, &limits)?;
        limits.memory_bytes = limits.memory_bytes.saturating_sub(unpacked.len());
        unpacked.as_slice()
    } else {
        message
    };
    let decoded = decode_value(whole, HEADER_BYTES, header.order, &limits)?;
    if decoded.end != whole.len() {
        let (found, said) = (decoded.end as u64, whole.len() as u64);
        let what = "the message with its value";
        return Err(WireError::new(
            decoded.end,
            Wrong::Length { what, found, said },
        ));
    }
    Ok(Message {
        order: header.order,
        kind: header.kind,
        value: decoded.value,
    })
}

/// `found` as a size, unless there are more than `max`.
fn at_most(offset: usize, what: &'static str, found: u64, max: usize) -> Result<usize, WireError> {
    usize::try_from(found)
        .ok()
        .filter(|found| *found <= max)
        .ok_or_else(|| {
            let max = max as u64;
            WireError::new(offset, Wrong::TooMany { what, found, max })
        })
}

/// A message that has no end within the limit.
pub(super) fn too_long(found: usize, max: usize) -> WireError {
    let (found, max) = (found as u64 + 1, max as u64);
    let what = "the length of a message";
    WireError::new(0, Wrong::TooMany { what, found, max })
}
