//! The bytes between the reader and the framing: read but not yet consumed.
//!
//! Invariant: `start <= end <= bytes.len()`; the bytes that are pending are the source's, in order,
//! from `offset` on. The buffer never grows: more than a row of the greatest length always fits.

use std::io::{ErrorKind, Read};

use super::ROW_BYTES_MAX;

/// Large enough that a read costs nothing per row, small enough to stay in the second cache.
const BUFFER_BYTES: usize = 256 << 10;
/// A row's text, CR LF, and one byte to see that it is longer.
const PENDING_MAX: usize = ROW_BYTES_MAX + 3;

const _: () = assert!(BUFFER_BYTES >= 2 * PENDING_MAX);

#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `start` in the source.
    offset: u64,
    ended: bool,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            bytes: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
        }
    }
}

impl Buffer {
    /// What was read and not consumed.
    #[inline]
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether the reader has nothing more.
    #[inline]
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Offset in the source of the first pending byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Offset in the source behind the last byte that was read.
    pub(super) fn offset_read(&self) -> u64 {
        self.offset + self.pending().len() as u64
    }

    /// Drops the first `count` pending bytes.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }

    /// Reads on until there is one more line end, more than the longest row, or the end.
    pub(super) fn fill(&mut self, reader: &mut impl Read) -> std::io::Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while !self.ended {
            let free = self.bytes.get_mut(self.end..).unwrap_or_default();
            let count = match reader.read(free) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.ended = count == 0;
            let new = free.get(..count).unwrap_or_default();
            self.end += new.len();
            if self.end >= PENDING_MAX || memchr::memchr(b'\n', new).is_some() {
                break;
            }
        }
        Ok(())
    }
}
