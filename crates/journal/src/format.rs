//! The bytes of a segment, format version 1: the only place that knows an offset or a magic number.
//! Invariant: what `encode` writes `decode` reads back, and no input makes `decode` panic.
//!
//! This layout is a promise. The files under `tests/fixtures/v1/` are frozen; a change of layout is
//! a new format version with a fixture of its own. All integers are little endian.
//!
//! A segment is the file `{first_seq:020}.seg`: one segment header, then frames without padding.
//!
//! Segment header, 32 bytes:
//! ```text
//!  offset size
//!       0    8  magic      "TWJRNL\r\n"
//!       8    2  version    u16 = 1
//!      10    6  reserved   zero
//!      16    8  first_seq  u64, the sequence number of the first frame; equals the file name
//!      24    4  reserved   zero
//!      28    4  crc        u32, CRC-32 (IEEE, as zlib's) of bytes 0..28
//! ```
//!
//! Frame, 40 bytes of header and then the payload:
//! ```text
//!  offset size
//!       0    4  crc        u32, CRC-32 (IEEE) of bytes 4..40 and the payload
//!       4    4  length     u32, bytes of payload, at most 2^30
//!       8    4  count      u32 >= 1, sequence numbers that this frame takes
//!      12    2  kind       u16, the caller's own
//!      14    2  mark       u16 = 0xF7A3, says "frame header of version 1"; flags would be a new mark
//!      16    8  seq        u64, the first sequence number of this frame
//!      24    8  stable     u64 <= seq, every sequence number below it was known to be on stable
//!                          storage when this frame was appended
//!      32    8  time       i64, the caller's own, nanoseconds UTC by convention
//!      40    …  payload
//! ```
//! `seq` of a frame is `seq + count` of the frame before it, across segments too.
//!
//! Why `stable` is there: after a power loss the parts of a file that were not synced may be missing
//! in any order, so a hole may stand before intact frames. Only if those frames say that the hole
//! had not been synced when they were written is it a torn tail and not damage (`judge.rs`).

/// The largest payload that the format can carry, in bytes: 1 GiB.
pub const FRAME_BYTES_LIMIT: u32 = 1 << 30;

pub(crate) const VERSION: u16 = 1;
pub(crate) const SEGMENT_HEADER: usize = 32;
pub(crate) const FRAME_HEADER: usize = 40;
/// Where `mark` stands in a frame header: the search for frames after a bad one begins with it.
pub(crate) const MARK_AT: usize = 14;
pub(crate) const MARK: [u8; 2] = 0xF7A3_u16.to_le_bytes();

const MAGIC: [u8; 8] = *b"TWJRNL\r\n";
const SEGMENT_CRC_AT: usize = 28;
const FRAME_CRC_SIZE: usize = 4;

/// What the first 32 bytes of a segment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// A sound header of this version.
    Sound { first_seq: u64 },
    /// A sound header of a version that this program does not know.
    Version(u16),
    /// Anything else, and what is wrong with it.
    Bad(&'static str),
}

pub(crate) fn encode_segment_header(first_seq: u64) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    let fields = MAGIC
        .into_iter()
        .chain(VERSION.to_le_bytes())
        .chain([0; 6])
        .chain(first_seq.to_le_bytes());
    fill(&mut bytes, fields);
    let crc = crc32fast::hash(bytes.get(..SEGMENT_CRC_AT).unwrap_or_default());
    if let Some(slot) = bytes.last_chunk_mut::<4>() {
        *slot = crc.to_le_bytes();
    }
    bytes
}

pub(crate) fn decode_segment_header(bytes: &[u8; SEGMENT_HEADER]) -> SegmentHeader {
    let mut fields = Fields(bytes);
    let (Some(magic), Some(version), Some(_), Some(first_seq), Some(_), Some(crc)) = (
        fields.take::<8>(),
        fields.take::<2>(),
        fields.take::<6>(),
        fields.take::<8>(),
        fields.take::<4>(),
        fields.take::<4>(),
    ) else {
        return SegmentHeader::Bad("the segment header is short");
    };
    if magic != MAGIC {
        return SegmentHeader::Bad("this is not a journal segment: the magic bytes are wrong");
    }
    if crc32fast::hash(bytes.get(..SEGMENT_CRC_AT).unwrap_or_default()) != u32::from_le_bytes(crc) {
        return SegmentHeader::Bad("the checksum of the segment header does not match");
    }
    match u16::from_le_bytes(version) {
        VERSION => SegmentHeader::Sound {
            first_seq: u64::from_le_bytes(first_seq),
        },
        other => SegmentHeader::Version(other),
    }
}

/// The fields of a frame header, without the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) crc: u32,
    pub(crate) length: u32,
    pub(crate) count: u32,
    pub(crate) kind: u16,
    pub(crate) seq: u64,
    pub(crate) stable: u64,
    pub(crate) time: i64,
}

impl FrameHeader {
    /// Reads a header from the front of `bytes`; the reason says what cannot be a frame header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut fields = Fields(bytes);
        let header = |fields: &mut Fields<'_>| {
            let crc = u32::from_le_bytes(fields.take()?);
            let length = u32::from_le_bytes(fields.take()?);
            let count = u32::from_le_bytes(fields.take()?);
            let kind = u16::from_le_bytes(fields.take()?);
            let mark = fields.take::<2>()?;
            let seq = u64::from_le_bytes(fields.take()?);
            let stable = u64::from_le_bytes(fields.take()?);
            let time = i64::from_le_bytes(fields.take()?);
            Some((
                mark,
                Self {
                    crc,
                    length,
                    count,
                    kind,
                    seq,
                    stable,
                    time,
                },
            ))
        };
        let (mark, header) = header(&mut fields).ok_or("the frame header is short")?;
        if mark != MARK {
            return Err("no frame begins here: the mark of a frame header is missing");
        }
        if header.length > FRAME_BYTES_LIMIT {
            return Err("the frame header gives a length that no frame can have");
        }
        if header.count == 0 || header.seq.checked_add(u64::from(header.count)).is_none() {
            return Err("the frame header gives a count that no frame can have");
        }
        if header.seq == 0 || header.stable > header.seq {
            return Err("the frame header gives a sequence number that no frame can have");
        }
        Ok(header)
    }

    /// The sequence number after this frame.
    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.saturating_add(u64::from(self.count))
    }

    /// Bytes of the whole frame, header and payload.
    pub(crate) fn frame_bytes(&self) -> usize {
        FRAME_HEADER.saturating_add(self.length as usize)
    }

    /// Whether `frame`, the whole frame, has the checksum that its header gives.
    pub(crate) fn crc_matches(&self, frame: &[u8]) -> bool {
        frame
            .get(FRAME_CRC_SIZE..)
            .is_some_and(|rest| crc32fast::hash(rest) == self.crc)
    }
}

/// Appends one frame to `out`; `header.crc` and `header.length` are computed here.
pub(crate) fn encode_frame(out: &mut Vec<u8>, header: &FrameHeader, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut rest = [0; FRAME_HEADER - FRAME_CRC_SIZE];
    let fields = (length.to_le_bytes().into_iter())
        .chain(header.count.to_le_bytes())
        .chain(header.kind.to_le_bytes())
        .chain(MARK)
        .chain(header.seq.to_le_bytes())
        .chain(header.stable.to_le_bytes())
        .chain(header.time.to_le_bytes());
    fill(&mut rest, fields);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&rest);
    crc.update(payload);
    out.reserve(FRAME_HEADER.saturating_add(payload.len()));
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(&rest);
    out.extend_from_slice(payload);
}

fn fill(slots: &mut [u8], bytes: impl Iterator<Item = u8>) {
    for (slot, byte) in slots.iter_mut().zip(bytes) {
        *slot = byte;
    }
}

/// Takes fixed-size fields from the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
