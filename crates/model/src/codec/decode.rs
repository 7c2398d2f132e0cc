//! Reading the binary form: bytes that anybody may have sent.
//!
//! Invariant: see [`super`]; what [`check_bucket`] takes [`BucketDecoder::decode`] takes too, and the
//! other way round: both read by the same code.

use super::{
    Bucket, CodecError, DETAILED, DetectorConfig, Origin, PLAIN, PRODUCER_BYTES_MAX, details,
};
use crate::batch::{CodedRow, OrderBatch, check_coded, check_sym, check_trader};
use crate::dead_letter::{DeadLetter, RAW_BYTES_MAX};
use crate::details::Details;
use crate::fixed::{Price, Quantity};
use crate::order::{EventType, RowError, Side};
use crate::text::{SYM_BYTES_MAX, TRADER_BYTES_MAX, check_utf8};
use crate::time::Time;

/// Reads a bucket; its rows are not numbered yet.
///
/// # Errors
/// [`CodecError`] names the offset and what is wrong.
pub fn decode_bucket(payload: &[u8]) -> Result<Bucket, CodecError> {
    BucketDecoder::default().decode(payload)
}

/// How many dead letters a bucket's payload says it has, without reading its rows.
///
/// # Errors
/// [`CodecError`] names the offset and what is wrong.
pub fn dead_letter_count(payload: &[u8]) -> Result<u32, CodecError> {
    let mut input = Input::versioned(payload)?;
    input.text(PRODUCER_BYTES_MAX)?;
    let (_batch, _orders) = (input.array::<8>()?, input.u32()?);
    input.u32()
}

/// What a bucket's payload says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketHead {
    /// Who published it.
    pub origin: Origin,
    /// Orders.
    pub orders: u64,
    /// Rows that could not be used.
    pub dead_letters: u64,
}

impl BucketHead {
    /// Sequence numbers that the bucket takes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.orders.saturating_add(self.dead_letters)
    }
}

/// Checks all of a bucket's payload without keeping its rows: for who only passes it on.
///
/// # Errors
/// Those of [`BucketDecoder::decode`].
pub fn check_bucket(payload: &[u8]) -> Result<BucketHead, CodecError> {
    let mut checked = Checked;
    let (origin, rows, letters) = read_bucket(payload, |_| &mut checked)?;
    Ok(BucketHead {
        origin,
        orders: rows as u64,
        dead_letters: letters.len() as u64,
    })
}

/// Reads buckets one after another; their orders share dictionaries, so that a text that comes
/// again keeps its code.
#[derive(Debug, Default)]
pub struct BucketDecoder {
    /// No rows: the dictionaries so far.
    before: OrderBatch,
}

impl BucketDecoder {
    /// Reads a bucket; its rows are not numbered yet.
    ///
    /// # Errors
    /// [`CodecError`] names the offset and what is wrong.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Bucket, CodecError> {
        let mut orders = OrderBatch::default();
        let (origin, _, dead_letters) = read_bucket(payload, |rows| {
            orders = OrderBatch::following(&self.before, rows);
            &mut orders
        })?;
        self.before = OrderBatch::following(&orders, 0);
        Ok(Bucket {
            origin,
            orders,
            dead_letters,
        })
    }
}

/// Where the rows of a bucket go.
trait Rows {
    /// The code of an instrument.
    fn sym(&mut self, text: &[u8]) -> Result<u32, RowError>;
    /// The code of a trader.
    fn trader(&mut self, text: &[u8]) -> Result<u32, RowError>;
    /// The code of the trader that nobody names.
    fn anonymous(&mut self) -> u32;
    /// Takes a row, or says why it cannot be.
    fn row(&mut self, row: &CodedRow<'_>) -> Result<(), RowError>;
}

impl Rows for OrderBatch {
    fn sym(&mut self, text: &[u8]) -> Result<u32, RowError> {
        self.sym_code(text)
    }

    fn trader(&mut self, text: &[u8]) -> Result<u32, RowError> {
        self.trader_code(text)
    }

    fn anonymous(&mut self) -> u32 {
        self.anonymous_code()
    }

    #[inline]
    fn row(&mut self, row: &CodedRow<'_>) -> Result<(), RowError> {
        self.push_coded(row)
    }
}

/// Rows that are looked at and dropped.
struct Checked;

impl Rows for Checked {
    fn sym(&mut self, text: &[u8]) -> Result<u32, RowError> {
        check_sym(text).map(|_| 0)
    }

    fn trader(&mut self, text: &[u8]) -> Result<u32, RowError> {
        check_trader(text).map(|_| 0)
    }

    fn anonymous(&mut self) -> u32 {
        0
    }

    #[inline]
    fn row(&mut self, row: &CodedRow<'_>) -> Result<(), RowError> {
        check_coded(row)
    }
}

/// Reads a payload; its rows go to what `into` gives, which is told how many to expect.
fn read_bucket<'r, R: Rows + 'r>(
    payload: &[u8],
    into: impl FnOnce(usize) -> &'r mut R,
) -> Result<(Origin, usize, Vec<DeadLetter>), CodecError> {
    let mut input = Input::versioned(payload)?;
    let producer = input.text(PRODUCER_BYTES_MAX)?.to_owned();
    let batch = u64::from_le_bytes(input.array()?);
    let (rows, letters) = (input.u32()? as usize, input.u32()? as usize);
    // What a row takes at least: a count alone must not allocate.
    let into = into(rows.min(payload.len() / ROW_BYTES));
    let syms = input.dictionary(SYM_BYTES_MAX, |text| into.sym(text))?;
    let detailed = input.version == DETAILED;
    let traders = input.dictionary(TRADER_BYTES_MAX, |text| match text {
        [] if detailed => Ok(into.anonymous()),
        text => into.trader(text),
    })?;
    let columns = Columns {
        time: input.column(rows)?,
        sym: input.column(rows)?,
        event_type: input.column(rows)?,
        trader: input.column(rows)?,
        side: input.column(rows)?,
        price: input.column(rows)?,
        quantity: input.column(rows)?,
    };
    let ids = input.skip_texts(rows)?;
    let details = match detailed {
        true => Some(details::DetailsInput::read(&mut input, rows)?),
        false => None,
    };
    let mut ids = Input { at: ids, ..input };
    let mut exec_ids = details.as_ref().map(|details| Input {
        at: details.exec_ids,
        ..input
    });
    for row in 0..rows {
        let at = ids.at;
        let order_id = ids.bytes_of_text()?;
        let coded = columns.row(row, &syms, &traders, order_id);
        let mut coded = coded.ok_or(CodecError::Value {
            at,
            what: "a row with an unknown code",
        })?;
        if let (Some(details), Some(exec_ids)) = (&details, &mut exec_ids) {
            coded.details = details.row(row, exec_ids.bytes_of_text()?)?;
        }
        into.row(&coded)
            .map_err(|error| CodecError::Row { row, error })?;
    }
    let mut dead_letters = Vec::new();
    for _ in 0..letters {
        dead_letters.push(input.dead_letter()?);
    }
    input.end()?;
    Ok((Origin { producer, batch }, rows, dead_letters))
}

/// What a row takes in a payload, at least.
const ROW_BYTES: usize = 36;

/// Reads the detectors' configuration.
///
/// # Errors
/// [`CodecError`] when the version is unknown or the text is not UTF-8.
pub fn decode_config(payload: &[u8]) -> Result<DetectorConfig, CodecError> {
    let input = Input::versioned(payload)?;
    match std::str::from_utf8(input.rest()) {
        Ok(json) => Ok(DetectorConfig {
            json: json.to_owned(),
        }),
        Err(_) => Err(not_utf8(1)),
    }
}

/// The fixed-width columns of a bucket, still as bytes.
struct Columns<'a> {
    time: &'a [[u8; 8]],
    sym: &'a [[u8; 4]],
    event_type: &'a [[u8; 1]],
    trader: &'a [[u8; 4]],
    side: &'a [[u8; 1]],
    price: &'a [[u8; 8]],
    quantity: &'a [[u8; 8]],
}

impl Columns<'_> {
    /// `None` when a code, an event type, a side or a quantity cannot be.
    #[inline]
    fn row<'t>(
        &self,
        row: usize,
        syms: &[u32],
        traders: &[u32],
        order_id: &'t [u8],
    ) -> Option<CodedRow<'t>> {
        let code = |column: &[[u8; 4]]| Some(u32::from_le_bytes(*column.get(row)?) as usize);
        let number = |column: &[[u8; 8]]| Some(i64::from_le_bytes(*column.get(row)?));
        Some(CodedRow {
            time: Time::from_nanos(number(self.time)?),
            sym: *syms.get(code(self.sym)?)?,
            event_type: EventType::from_number(self.event_type.get(row)?[0])?,
            trader: *traders.get(code(self.trader)?)?,
            side: Side::from_number(self.side.get(row)?[0])?,
            order_id,
            price: Price::from_units(number(self.price)?),
            quantity: Quantity::from_units(number(self.quantity)?).ok()?,
            details: Details::default(),
        })
    }
}

/// A payload that is being read.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) version: u8,
    payload: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn versioned(payload: &'a [u8]) -> Result<Self, CodecError> {
        match payload.first() {
            Some(&version @ (PLAIN | DETAILED)) => Ok(Self {
                version,
                payload,
                at: 1,
            }),
            Some(&other) => Err(CodecError::Version(other)),
            None => Err(CodecError::Short { at: 0 }),
        }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.payload.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let end = self.at.saturating_add(length);
        match self.payload.get(self.at..end) {
            Some(bytes) => {
                self.at = end;
                Ok(bytes)
            }
            None => Err(self.short()),
        }
    }

    #[cold]
    fn short(&self) -> CodecError {
        CodecError::Short {
            at: self.payload.len(),
        }
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let at = self.at;
        self.take(N)?
            .try_into()
            .map_err(|_| CodecError::Short { at })
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn column<const N: usize>(
        &mut self,
        rows: usize,
    ) -> Result<&'a [[u8; N]], CodecError> {
        let length = rows
            .checked_mul(N)
            .ok_or(CodecError::Short { at: self.at })?;
        Ok(self.take(length)?.as_chunks().0)
    }

    #[inline]
    pub(super) fn bytes_of_text(&mut self) -> Result<&'a [u8], CodecError> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }

    /// Passes over so many texts; the offset of the first.
    pub(super) fn skip_texts(&mut self, texts: usize) -> Result<usize, CodecError> {
        let first = self.at;
        for _ in 0..texts {
            self.bytes_of_text()?;
        }
        Ok(first)
    }

    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, CodecError> {
        let at = self.at;
        let bytes = self.short_text(max)?;
        std::str::from_utf8(bytes).map_err(|_| not_utf8(at))
    }

    /// The bytes of a text of at most so many.
    fn short_text(&mut self, max: usize) -> Result<&'a [u8], CodecError> {
        let at = self.at;
        let bytes = self.bytes_of_text()?;
        if bytes.len() > max {
            return Err(CodecError::Value {
                at,
                what: "a text that is too long",
            });
        }
        Ok(bytes)
    }

    /// The codes that the texts of a dictionary get.
    pub(super) fn dictionary(
        &mut self,
        max: usize,
        mut code: impl FnMut(&[u8]) -> Result<u32, RowError>,
    ) -> Result<Vec<u32>, CodecError> {
        // Grows with what is really there: a count alone must not allocate.
        let mut codes = Vec::new();
        for _ in 0..self.u32()? {
            let at = self.at;
            let text = self.short_text(max)?;
            check_utf8(text).map_err(|_| not_utf8(at))?;
            codes.push(code(text).map_err(|_| CodecError::Value {
                at,
                what: "an empty instrument or trader",
            })?);
        }
        Ok(codes)
    }

    pub(super) fn dead_letter(&mut self) -> Result<DeadLetter, CodecError> {
        Ok(DeadLetter {
            source: self.text(RAW_BYTES_MAX)?.to_owned(),
            line: u64::from_le_bytes(self.array()?),
            column: self.text(RAW_BYTES_MAX)?.to_owned(),
            reason: self.text(RAW_BYTES_MAX)?.to_owned(),
            // U+FFFD takes three bytes for one that was not UTF-8, but `DeadLetter` cuts again.
            raw: self.text(RAW_BYTES_MAX)?.to_owned(),
        })
    }

    pub(super) fn end(&self) -> Result<(), CodecError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(CodecError::Long(left)),
        }
    }
}

fn not_utf8(at: usize) -> CodecError {
    CodecError::Value {
        at,
        what: "not UTF-8",
    }
}
