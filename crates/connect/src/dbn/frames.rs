//! Records in bytes. Pure.
//!
//! Invariant: no record is read beyond its own length, and none of a length that cannot be.
//!
//! The layout of a market-by-order record is the same in the versions 1 to 3. The library's own
//! reader takes a record to begin where a number can be read in place, which a damaged length undoes;
//! so only the head of a file is read with it.

use dbn::{FlagSet, MboMsg, RecordHeader, rtype};
use tapewatch_model::RowError;

/// A record's length is given in words of so many bytes.
const WORD_BYTES: usize = 4;
const HEADER_BYTES: usize = 16;
/// The longest record there can be.
pub(super) const RECORD_BYTES_MAX: usize = u8::MAX as usize * WORD_BYTES;

/// The record at the beginning of `data`; `None` when there is more of it to come.
pub(super) fn record(data: &[u8]) -> Result<Option<&[u8]>, String> {
    let Some(words) = data.first() else {
        return Ok(None);
    };
    let bytes = usize::from(*words) * WORD_BYTES;
    if bytes < HEADER_BYTES {
        return Err(format!("has a length of {bytes} bytes"));
    }
    Ok(data.get(..bytes))
}

/// What a record says when it is of market by order; `None` when it is of another kind.
pub(super) fn order(record: &[u8]) -> Option<Result<MboMsg, RowError>> {
    (record.get(1) == Some(&rtype::MBO)).then(|| {
        read(record).ok_or_else(|| RowError::new("row", "is shorter than its kind of record"))
    })
}

fn read(record: &[u8]) -> Option<MboMsg> {
    let mut rest = record;
    let [_, _] = take(&mut rest)?;
    let publisher = u16::from_le_bytes(take(&mut rest)?);
    let instrument = u32::from_le_bytes(take(&mut rest)?);
    let time = u64::from_le_bytes(take(&mut rest)?);
    Some(MboMsg {
        hd: RecordHeader::new::<MboMsg>(rtype::MBO, publisher, instrument, time),
        order_id: u64::from_le_bytes(take(&mut rest)?),
        price: i64::from_le_bytes(take(&mut rest)?),
        size: u32::from_le_bytes(take(&mut rest)?),
        flags: FlagSet::new(u8::from_le_bytes(take(&mut rest)?)),
        channel_id: u8::from_le_bytes(take(&mut rest)?),
        action: i8::from_le_bytes(take(&mut rest)?),
        side: i8::from_le_bytes(take(&mut rest)?),
        ts_recv: u64::from_le_bytes(take(&mut rest)?),
        ts_in_delta: i32::from_le_bytes(take(&mut rest)?),
        sequence: u32::from_le_bytes(take(&mut rest)?),
    })
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (first, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(*first)
}
