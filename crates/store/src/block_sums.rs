//! Checksums of the blocks of data files, so that a query never takes bytes for rows that were not
//! written so: Parquet's own checksums of pages the library does not write.
//!
//! Invariant: what is read of a file whose table tells its blocks' checksums was compared with them since
//! this process knows the file, each block once. A file is known as long as a table is that names it.
//! Files without them, of older versions or other writers, are read as they are.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read};
use std::mem::take;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use deltalake::kernel::Add;
use object_store::path::Path;

/// Name of the tag in the Delta log that has them: the CRC-32 of each block of 256 KiB in eight hexadecimal
/// digits, one after another.
pub(crate) const BLOCK_SUMS: &str = "tapewatch.crc32.256k";
/// Bytes of a block; the last of a file may have fewer.
const BLOCK: u64 = 256 << 10;

/// The checksums of a file that is being written.
#[derive(Default)]
pub(crate) struct Summing {
    block: crc32fast::Hasher,
    /// Bytes of it.
    filled: u64,
    digits: String,
}

impl Summing {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK - self.filled).unwrap_or(usize::MAX);
            let (some, rest) = bytes.split_at(bytes.len().min(room));
            self.block.update(some);
            self.filled += some.len() as u64;
            bytes = rest;
            if self.filled == BLOCK {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let sum = take(&mut self.block).finalize();
        // A String takes everything.
        let _ = write!(self.digits, "{sum:08x}");
        self.filled = 0;
    }

    /// What the tag says.
    pub(crate) fn finish(mut self) -> String {
        if self.filled > 0 {
            self.end_block();
        }
        self.digits
    }
}

/// Bytes that are not those that were written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name}: bytes {} to {} are not those that were written: see `tapewatch history check`",
    bytes.start, bytes.end
)]
pub(crate) struct Damaged {
    name: String,
    bytes: Range<u64>,
}

/// The checksums of a file, and which blocks were compared with them.
#[derive(Debug)]
pub(crate) struct BlockSums {
    name: String,
    bytes: u64,
    blocks: Vec<(u32, AtomicBool)>,
}

impl BlockSums {
    /// What the table says of a file; `None` when it says nothing, or nothing that can be of it.
    fn of(name: &str, file: &Add) -> Option<Self> {
        let digits = file.tags.as_ref()?.get(BLOCK_SUMS)?.as_deref()?;
        let bytes = u64::try_from(file.size).ok()?;
        let (sums, rest) = digits.as_bytes().as_chunks::<8>();
        let is_whole = rest.is_empty() && sums.len() as u64 == bytes.div_ceil(BLOCK);
        let block = |digits: &[u8; 8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            let sum = u32::from_str_radix(digits, 16).ok()?;
            Some((sum, AtomicBool::new(false)))
        };
        let blocks: Option<Vec<_>> = sums.iter().map(block).collect();
        let name = name.to_owned();
        blocks.filter(|_| is_whole).map(|blocks| Self {
            name,
            bytes,
            blocks,
        })
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The whole blocks that these bytes are in, if one of them was not compared yet.
    pub(crate) fn unseen(&self, wanted: &Range<u64>) -> Option<Range<u64>> {
        let whole =
            wanted.start - wanted.start % BLOCK..wanted.end.next_multiple_of(BLOCK).min(self.bytes);
        let blocks = self.blocks_of(&whole)?;
        let is_new = |(_, seen): &(u32, AtomicBool)| !seen.load(Ordering::Relaxed);
        blocks.iter().any(is_new).then_some(whole)
    }

    fn blocks_of(&self, whole: &Range<u64>) -> Option<&[(u32, AtomicBool)]> {
        let at = |byte: u64| usize::try_from(byte.div_ceil(BLOCK)).ok();
        self.blocks.get(at(whole.start)?..at(whole.end)?)
    }

    /// Compares whole blocks, of which the first begins at byte `from`.
    pub(crate) fn check(&self, from: u64, bytes: &[u8]) -> Result<(), Damaged> {
        let whole = from..from + bytes.len() as u64;
        let blocks = self.blocks_of(&whole).unwrap_or_default();
        let mut at = from;
        for ((sum, seen), block) in blocks.iter().zip(bytes.chunks(BLOCK as usize)) {
            if crc32fast::hash(block) != *sum {
                return Err(Damaged {
                    name: self.name.clone(),
                    bytes: at..at + block.len() as u64,
                });
            }
            seen.store(true, Ordering::Relaxed);
            at += block.len() as u64;
        }
        Ok(())
    }
}

/// Files with checksums, by their places in the object store.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownSums(Arc<Mutex<HashMap<Path, Weak<BlockSums>>>>);

impl KnownSums {
    /// Makes a file known for as long as what is given is held; `None` when it has no checksums. A name is
    /// never used for another file, so one that is known is not asked again what its table says.
    pub(crate) fn hold(
        &self,
        place: Path,
        name: &str,
        file: impl FnOnce() -> Add,
    ) -> Option<Arc<BlockSums>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sums) = known.get(&place).and_then(Weak::upgrade) {
            return Some(sums);
        }
        if known.len() == known.capacity() {
            known.retain(|_, sums| sums.strong_count() > 0);
        }
        let sums = Arc::new(BlockSums::of(name, &file())?);
        known.insert(place, Arc::downgrade(&sums));
        Some(sums)
    }

    /// Those of a file, if it is known and has some.
    pub(crate) fn find(&self, place: &Path) -> Option<Arc<BlockSums>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(place).and_then(Weak::upgrade)
    }
}

/// An open file on a disk.
pub(crate) struct CheckedFile {
    pub(crate) file: std::fs::File,
    pub(crate) sums: Arc<BlockSums>,
}

impl CheckedFile {
    /// Compares what is about to be read.
    fn check(&self, wanted: &Range<u64>) -> io::Result<()> {
        let Some(whole) = self.sums.unseen(wanted) else {
            return Ok(());
        };
        let mut blocks = vec![0; usize::try_from(whole.end - whole.start).unwrap_or(0)];
        self.file.read_exact_at(&mut blocks, whole.start)?;
        let checked = self.sums.check(whole.start, &blocks);
        checked.map_err(|damaged| io::Error::new(io::ErrorKind::InvalidData, damaged))
    }

    /// All bytes of a part of the file.
    pub(crate) fn bytes(&self, start: u64, length: usize) -> io::Result<Bytes> {
        self.check(&(start..start.saturating_add(length as u64)))?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }

    /// What there is from a place on.
    pub(crate) fn reader(self: &Arc<Self>, at: u64) -> impl Read + use<> {
        let file = Arc::clone(self);
        BufReader::with_capacity(8 << 10, Onward { file, at })
    }
}

/// Reads on from a place.
struct Onward {
    file: Arc<CheckedFile>,
    at: u64,
}

impl Read for Onward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(buffer.len() as u64);
        self.file.check(&(self.at..end.min(self.file.sums.bytes)))?;
        let read = self.file.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], parts: usize) -> BlockSums {
        let mut summing = Summing::default();
        bytes.chunks(parts).for_each(|part| summing.update(part));
        let file = Add {
            size: bytes.len() as i64,
            tags: Some(HashMap::from([(
                BLOCK_SUMS.to_owned(),
                Some(summing.finish()),
            )])),
            ..Add::default()
        };
        BlockSums::of("a file", &file).unwrap()
    }

    #[test]
    fn a_block_is_compared_once_and_a_bit_that_fell_is_found() {
        let size = 2 * BLOCK + 100;
        let mut bytes: Vec<u8> = (0..size).map(|at| (at * 7 / 3) as u8).collect();
        let sums = of(&bytes, 1_000);
        assert_eq!(sums.blocks.len(), 3);
        assert_eq!(sums.unseen(&(BLOCK + 5..BLOCK + 6)), Some(BLOCK..2 * BLOCK));
        assert_eq!(
            sums.unseen(&(BLOCK - 1..2 * BLOCK + 1)),
            Some(0..size),
            "up to the end of the file"
        );
        let second = &bytes[BLOCK as usize..2 * BLOCK as usize];
        assert_eq!(sums.check(BLOCK, second), Ok(()));
        assert_eq!(sums.unseen(&(BLOCK + 5..2 * BLOCK)), None);
        assert_eq!(sums.unseen(&(BLOCK - 1..BLOCK)), Some(0..BLOCK));
        bytes[2 * BLOCK as usize + 99] ^= 4;
        let damaged = sums.check(0, &bytes).unwrap_err();
        assert_eq!(damaged.bytes, 2 * BLOCK..size);
        assert_eq!(sums.unseen(&(0..BLOCK)), None, "those before it are sound");
        assert_eq!(sums.unseen(&(size - 1..size)), Some(2 * BLOCK..size));
    }

    #[test]
    fn files_are_known_as_long_as_they_are_held() {
        let known = KnownSums::default();
        let file = |digits: &str| Add {
            size: 3,
            tags: Some(HashMap::from([(
                BLOCK_SUMS.to_owned(),
                Some(digits.to_owned()),
            )])),
            ..Add::default()
        };
        for wrong in ["", "0123456", "0123456789abcdef", "zzzzzzzz"] {
            assert!(known.hold(Path::from("a"), "a", || file(wrong)).is_none());
        }
        let held = known.hold(Path::from("a"), "a", || file("01234567"));
        assert!(held.is_some() && known.find(&Path::from("a")).is_some());
        drop(held);
        assert!(known.find(&Path::from("a")).is_none());
    }
}
