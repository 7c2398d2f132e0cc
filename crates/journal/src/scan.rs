//! Walking over the frames of one segment, the same way for recovery and for readers.
//! Invariant: a step gives a frame only if its header, its place in the sequence and its checksum
//! are right; memory is bounded by the file's own length, whatever its bytes claim.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::ScanError;
use crate::format::{self, FRAME_HEADER, FrameHeader, SEGMENT_HEADER, SegmentHeader};
use crate::storage::{StoredFile, read_full};

/// Large enough that the system call is lost beside the checksum.
const READ_BYTES: usize = 1 << 20;

/// What is read at a place where only a header is expected to matter.
const HEADER_READ_BYTES: usize = 4 << 10;

/// A buffered view of a file that only moves forward.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn StoredFile>,
    /// Bytes that the next `fill` asks for.
    next_read: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// File offset of `buffer[start]`.
    position: u64,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn StoredFile>) -> Self {
        Self {
            file,
            next_read: READ_BYTES,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            position: 0,
        }
    }

    /// File offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &dyn StoredFile {
        self.file.as_ref()
    }

    /// Bytes of the file as it is now.
    pub(crate) fn file_bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    /// The bytes that are in memory, up to `limit` of them.
    pub(crate) fn front(&self, limit: usize) -> &[u8] {
        let end = self.start.saturating_add(limit).min(self.end);
        self.buffer.get(self.start..end).unwrap_or_default()
    }

    /// Reads until at least `wanted` bytes are in memory or the file ends; gives how many there are.
    pub(crate) fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        let have = self.end.saturating_sub(self.start);
        if have >= wanted {
            return Ok(have);
        }
        let mut room = std::mem::replace(&mut self.next_read, READ_BYTES).max(wanted);
        if wanted > READ_BYTES {
            // A claimed length is believed only as far as the file reaches.
            let rest = self.file_bytes()?.saturating_sub(self.position);
            room = wanted
                .min(usize::try_from(rest).unwrap_or(usize::MAX))
                .max(READ_BYTES);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, have);
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let free = self.buffer.get_mut(have..room).unwrap_or_default();
        let from = self.position.saturating_add(have as u64);
        let read = read_full(self.file.as_ref(), from, free)?;
        self.end = have.saturating_add(read);
        Ok(self.end)
    }

    /// Moves over `bytes` bytes that are in memory and lends them.
    pub(crate) fn take(&mut self, bytes: usize) -> &[u8] {
        let from = self.start;
        self.start = from.saturating_add(bytes).min(self.end);
        self.position = self
            .position
            .saturating_add(self.start.saturating_sub(from) as u64);
        self.buffer.get(from..self.start).unwrap_or_default()
    }

    /// Moves over `bytes` bytes of the file, and reads none of those that are not in memory.
    fn skip(&mut self, bytes: usize) {
        if self.end.saturating_sub(self.start) >= bytes {
            self.take(bytes);
            return;
        }
        self.next_read = HEADER_READ_BYTES;
        self.jump(self.position.saturating_add(bytes as u64));
    }

    /// Goes to `position` of the file.
    pub(crate) fn jump(&mut self, position: u64) {
        self.position = position;
        self.forget();
    }

    /// Forgets what is in memory, so that the next `fill` asks the file again.
    pub(crate) fn forget(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

/// What stands at a place in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole, sound frame; it is at the front of the window, header first.
    Frame(FrameHeader),
    /// The file ends exactly here.
    End,
    /// The file ends inside what may be a frame.
    Incomplete,
    /// No sound frame, and why.
    Bad(&'static str),
}

/// Looks at the front of `window`, where the frame with `expected_seq` should begin.
pub(crate) fn step(window: &mut Window, expected_seq: u64) -> io::Result<Step> {
    match window.fill(FRAME_HEADER)? {
        0 => return Ok(Step::End),
        have if have < FRAME_HEADER => return Ok(Step::Incomplete),
        _ => {}
    }
    let header = match FrameHeader::decode(window.front(FRAME_HEADER)) {
        Ok(header) if header.seq == expected_seq => header,
        Ok(_) => {
            return Ok(Step::Bad(
                "the sequence number does not follow the one before",
            ));
        }
        Err(reason) => return Ok(Step::Bad(reason)),
    };
    if window.fill(header.frame_bytes())? < header.frame_bytes() {
        return Ok(Step::Incomplete);
    }
    if !header.crc_matches(window.front(header.frame_bytes())) {
        return Ok(Step::Bad("the checksum of the frame does not match"));
    }
    Ok(Step::Frame(header))
}

/// Moves over the frame with `expected_seq` if all of it lies before `from_seq`, without a look at its
/// payload; `None` where [`step`] has to tell what stands there.
pub(crate) fn pass_over(
    window: &mut Window,
    expected_seq: u64,
    from_seq: u64,
) -> io::Result<Option<FrameHeader>> {
    if window.fill(FRAME_HEADER)? < FRAME_HEADER {
        return Ok(None);
    }
    let header = match FrameHeader::decode(window.front(FRAME_HEADER)) {
        Ok(header) if header.seq == expected_seq && header.next_seq() <= from_seq => header,
        _ => return Ok(None),
    };
    let end = window
        .position()
        .saturating_add(header.frame_bytes() as u64);
    if window.front(header.frame_bytes()).len() < header.frame_bytes()
        && end > window.file_bytes()?
    {
        return Ok(None);
    }
    window.skip(header.frame_bytes());
    Ok(Some(header))
}

/// What stands at the beginning of a segment file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The header is sound and fits the name; the window stands behind it.
    Sound,
    /// The file ends inside the header or holds nothing but zeros: it was being created.
    Unfinished,
}

/// Reads the segment header and compares it with the name.
pub(crate) fn start(window: &mut Window, path: &Path, first_seq: u64) -> Result<Start, ScanError> {
    let io_error = || ScanError::io("read", path);
    window.fill(SEGMENT_HEADER).map_err(io_error())?;
    let Some(bytes) = window.front(SEGMENT_HEADER).first_chunk::<SEGMENT_HEADER>() else {
        return Ok(Start::Unfinished);
    };
    let reason = match format::decode_segment_header(bytes) {
        SegmentHeader::Sound { first_seq: said } if said == first_seq => {
            window.take(SEGMENT_HEADER);
            return Ok(Start::Sound);
        }
        SegmentHeader::Sound { first_seq: said } => {
            format!("its header says that it begins with seq {said}")
        }
        SegmentHeader::Version(found) => {
            return Err(ScanError::Version {
                segment: path.to_owned(),
                found,
            });
        }
        SegmentHeader::Bad(_) if all_zero_file(window).map_err(io_error())? => {
            return Ok(Start::Unfinished);
        }
        SegmentHeader::Bad(reason) => reason.to_owned(),
    };
    Err(ScanError::Damaged {
        segment: path.to_owned(),
        offset: 0,
        seq: first_seq,
        reason,
    })
}

/// Whether the file holds zeros only; leaves the window at the beginning.
fn all_zero_file(window: &mut Window) -> io::Result<bool> {
    let mut zero = true;
    while zero {
        match window.fill(1)? {
            0 => break,
            have => zero = window.take(have).iter().all(|byte| *byte == 0),
        }
    }
    window.jump(0);
    Ok(zero)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::{FRAME_BYTES_LIMIT, encode_frame};
    use crate::storage::{Disk, Storage as _};

    #[test]
    fn a_claimed_length_takes_no_more_memory_than_the_file_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        let header = FrameHeader {
            crc: 0,
            length: 0,
            count: 1,
            kind: 0,
            seq: 1,
            stable: 1,
            time: 0,
        };
        encode_frame(&mut bytes, &header, &[0; 60]);
        let (_, length) = bytes.split_at_mut(4);
        length
            .first_chunk_mut()
            .map(|slot| *slot = FRAME_BYTES_LIMIT.to_le_bytes())
            .unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let mut window = Window::new(Disk.read(file.path()).unwrap());
        assert_eq!(step(&mut window, 1).unwrap(), Step::Incomplete);
        assert!(window.buffer.len() <= READ_BYTES);
    }
}
