//! The bytes of a file, unpacked when they are packed with Zstandard.
//!
//! Invariant: the file's first bytes say whether it is packed, not its name; a packed file cannot ask
//! for a window of more than 128 MiB.

use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};

use zstd::stream::read::Decoder;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Logarithm of the largest window.
const WINDOW_LOG_MAX: u32 = 27;

/// A reader that knows how far it is.
pub(super) struct Counted<R> {
    reader: Chain<Cursor<Vec<u8>>, R>,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(to)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// A file as it is, or unpacked.
pub(super) enum Input<R: Read> {
    Plain(Counted<R>),
    Packed(Box<Decoder<'static, BufReader<Counted<R>>>>),
}

impl<R: Read> Input<R> {
    /// Looks at the first bytes.
    pub(super) fn new(mut reader: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(MAGIC.len());
        let beginning = MAGIC.len() as u64;
        reader.by_ref().take(beginning).read_to_end(&mut first)?;
        let packed = first == MAGIC;
        let reader = Cursor::new(first).chain(reader);
        let counted = Counted { reader, bytes: 0 };
        if !packed {
            return Ok(Self::Plain(counted));
        }
        let mut decoder = Decoder::new(counted)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(Self::Packed(Box::new(decoder)))
    }

    /// Bytes of the file that were read.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::Plain(reader) => reader.bytes,
            Self::Packed(decoder) => decoder.get_ref().get_ref().bytes,
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(to),
            Self::Packed(decoder) => decoder.read(to),
        }
    }
}

impl<R: Read> fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input at byte {}", self.offset())
    }
}
