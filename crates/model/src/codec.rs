//! The versioned binary form of what goes into the journal's frames.
//!
//! Invariant: what is written once can be read for ever: a change of layout takes a new
//! [`FORMAT_VERSION`] and keeps the old reader; `tests/fixtures/` holds one frozen sample a version.
//! Decoding never panics and never allocates more than the payload's length justifies.
//!
//! Layout of version 1, little endian. A text is a `u16` length and UTF-8 bytes.
//!
//! ```text
//! bucket: u8 version, text producer, u64 batch, u32 orders n, u32 dead letters m,
//!         u32 syms, texts; u32 traders, texts;
//!         n × i64 time, n × u32 sym, n × u8 event type, n × u32 trader, n × u8 side,
//!         n × i64 price, n × i64 quantity, n × text order id;
//!         m × (text source, u64 line, text column, text reason, text raw)
//! config: u8 version, JSON
//! clear:  u8 version
//! ```
//!
//! Version 2 of a bucket, written when rows have details, continues behind the order ids:
//!
//! ```text
//!         u32 accounts, texts; n × u32 account, n × u32 flags, n × i64 display (-1: none),
//!         n × text exec id; then the dead letters
//! ```

mod details;
mod hits;

pub use hits::{decode_hits, encode_hits};

use std::sync::Arc;

use crate::batch::{CodedRow, OrderBatch};
use crate::dead_letter::{DeadLetter, RAW_BYTES_MAX};
use crate::details::Details;
use crate::fixed::{Price, Quantity};
use crate::order::{EventType, RowError, Side};
use crate::text::{Interner, SYM_BYTES_MAX, TRADER_BYTES_MAX};
use crate::time::Time;

/// Newest version; what needs nothing of it is written in the oldest that can say it.
pub const FORMAT_VERSION: u8 = 2;

/// Without details.
const PLAIN: u8 = 1;
/// With details.
const DETAILED: u8 = 2;

/// Longest producer name, in bytes.
const PRODUCER_BYTES_MAX: usize = 64;

/// The `kind` numbers of the journal's frames.
pub mod frame_kind {
    /// Orders and dead letters that were published together.
    pub const BUCKET: u16 = 1;
    /// The detectors' configuration from here on.
    pub const DETECTOR_CONFIG: u16 = 2;
    /// All detectors' windows are emptied here.
    pub const CLEAR: u16 = 3;
    /// Hits, in a log of their own: [`encode_hits`](super::encode_hits).
    pub const HITS: u16 = 4;
}

/// Who published a bucket, and which of its buckets it is: a bucket that was sent twice because an
/// answer was lost is recognised by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Name of the producer, unique to one run of a feed; empty when it does not retry.
    pub producer: String,
    /// Number of the bucket, ascending from 1.
    pub batch: u64,
}

/// Orders and dead letters that were published together. Sequence numbers go to the orders in
/// order, then to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Who published it.
    pub origin: Origin,
    /// The orders.
    pub orders: OrderBatch,
    /// Rows that could not be used.
    pub dead_letters: Vec<DeadLetter>,
}

impl Bucket {
    /// Sequence numbers that it takes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.orders.len() as u64 + self.dead_letters.len() as u64
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

/// The detectors' configuration, as canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectorConfig {
    /// One object, a key a detector.
    pub json: String,
}

/// Why bytes are not a payload of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer program.
    #[error("payload format {0} is unknown: this program reads up to {FORMAT_VERSION}; update it")]
    Version(u8),
    /// Ends too early.
    #[error("payload ends early at byte {at}")]
    Short {
        /// Offset in the payload.
        at: usize,
    },
    /// Bytes left over.
    #[error("payload has {0} bytes too many")]
    Long(usize),
    /// A value that cannot be.
    #[error("payload is wrong at byte {at}: {what}")]
    Value {
        /// Offset in the payload.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A row that cannot be.
    #[error("payload's row {row}: {error}")]
    Row {
        /// Row, from 0.
        row: usize,
        /// What is wrong.
        error: RowError,
    },
}

/// Appends the binary form of a bucket to `out`.
pub fn encode_bucket(bucket: &Bucket, out: &mut Vec<u8>) {
    let orders = &bucket.orders;
    out.push(if orders.has_details() {
        DETAILED
    } else {
        PLAIN
    });
    put_text(out, &bucket.origin.producer);
    out.extend_from_slice(&bucket.origin.batch.to_le_bytes());
    put_u32(out, orders.len());
    put_u32(out, bucket.dead_letters.len());
    let syms = put_dictionary(out, orders.syms(), orders.sym_codes());
    let traders = put_dictionary(out, orders.traders(), orders.trader_codes());
    put_all(out, orders.times(), |time| time.nanos().to_le_bytes());
    put_all(out, &syms, |code| code.to_le_bytes());
    put_all(out, orders.event_types(), |&kind| [kind as u8]);
    put_all(out, &traders, |code| code.to_le_bytes());
    put_all(out, orders.sides(), |&side| [side as u8]);
    put_all(out, orders.prices(), |price| price.units().to_le_bytes());
    put_all(out, orders.quantities(), |quantity| {
        quantity.units().to_le_bytes()
    });
    orders
        .order_ids()
        .iter_bytes()
        .for_each(|text| put_bytes(out, text));
    details::put(out, orders);
    for letter in &bucket.dead_letters {
        put_text(out, &letter.source);
        out.extend_from_slice(&letter.line.to_le_bytes());
        put_text(out, &letter.column);
        put_text(out, &letter.reason);
        put_text(out, &letter.raw);
    }
}

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
        let mut input = Input::versioned(payload)?;
        let producer = input.text(PRODUCER_BYTES_MAX)?.to_owned();
        let batch = u64::from_le_bytes(input.array()?);
        let (rows, letters) = (input.u32()? as usize, input.u32()? as usize);
        // What a row takes at least: a count alone must not allocate.
        let mut orders = OrderBatch::following(&self.before, rows.min(payload.len() / ROW_BYTES));
        let syms = input.dictionary(SYM_BYTES_MAX, |text| orders.sym_code(text))?;
        let detailed = input.version == DETAILED;
        let traders = input.dictionary(TRADER_BYTES_MAX, |text| match text {
            [] if detailed => Ok(orders.anonymous_code()),
            text => orders.trader_code(text),
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
            orders
                .push_coded(&coded)
                .map_err(|error| CodecError::Row { row, error })?;
        }
        let mut dead_letters = Vec::new();
        for _ in 0..letters {
            dead_letters.push(input.dead_letter()?);
        }
        input.end()?;
        self.before = OrderBatch::following(&orders, 0);
        Ok(Bucket {
            origin: Origin { producer, batch },
            orders,
            dead_letters,
        })
    }
}

/// What a row takes in a payload, at least.
const ROW_BYTES: usize = 36;

/// Appends the binary form of the detectors' configuration to `out`.
pub fn encode_config(config: &DetectorConfig, out: &mut Vec<u8>) {
    out.push(PLAIN);
    out.extend_from_slice(config.json.as_bytes());
}

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
        Err(_) => Err(CodecError::Value {
            at: 1,
            what: "not UTF-8",
        }),
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
struct Input<'a> {
    version: u8,
    payload: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn versioned(payload: &'a [u8]) -> Result<Self, CodecError> {
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

    fn rest(&self) -> &'a [u8] {
        self.payload.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let short = CodecError::Short {
            at: self.payload.len(),
        };
        let end = self.at.checked_add(length).ok_or(short.clone())?;
        let bytes = self.payload.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let at = self.at;
        self.take(N)?
            .try_into()
            .map_err(|_| CodecError::Short { at })
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn column<const N: usize>(&mut self, rows: usize) -> Result<&'a [[u8; N]], CodecError> {
        let length = rows
            .checked_mul(N)
            .ok_or(CodecError::Short { at: self.at })?;
        Ok(self.take(length)?.as_chunks().0)
    }

    fn bytes_of_text(&mut self) -> Result<&'a [u8], CodecError> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }

    /// Passes over so many texts; the offset of the first.
    fn skip_texts(&mut self, texts: usize) -> Result<usize, CodecError> {
        let first = self.at;
        for _ in 0..texts {
            self.bytes_of_text()?;
        }
        Ok(first)
    }

    fn text(&mut self, max: usize) -> Result<&'a str, CodecError> {
        let at = self.at;
        let bytes = self.bytes_of_text()?;
        if bytes.len() > max {
            return Err(CodecError::Value {
                at,
                what: "a text that is too long",
            });
        }
        std::str::from_utf8(bytes).map_err(|_| CodecError::Value {
            at,
            what: "not UTF-8",
        })
    }

    /// The codes that the texts of a dictionary get.
    fn dictionary(
        &mut self,
        max: usize,
        mut code: impl FnMut(&[u8]) -> Result<u32, RowError>,
    ) -> Result<Vec<u32>, CodecError> {
        // Grows with what is really there: a count alone must not allocate.
        let mut codes = Vec::new();
        for _ in 0..self.u32()? {
            let at = self.at;
            let text = self.text(max)?.as_bytes();
            codes.push(code(text).map_err(|_| CodecError::Value {
                at,
                what: "an empty instrument or trader",
            })?);
        }
        Ok(codes)
    }

    fn dead_letter(&mut self) -> Result<DeadLetter, CodecError> {
        Ok(DeadLetter {
            source: self.text(RAW_BYTES_MAX)?.to_owned(),
            line: u64::from_le_bytes(self.array()?),
            column: self.text(RAW_BYTES_MAX)?.to_owned(),
            reason: self.text(RAW_BYTES_MAX)?.to_owned(),
            // U+FFFD takes three bytes for one that was not UTF-8, but `DeadLetter` cuts again.
            raw: self.text(RAW_BYTES_MAX)?.to_owned(),
        })
    }

    fn end(&self) -> Result<(), CodecError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(CodecError::Long(left)),
        }
    }
}

/// Writes the texts that `codes` name, in order of first sight, and gives the codes that they have
/// there.
fn put_dictionary(out: &mut Vec<u8>, dictionary: &Arc<Interner>, codes: &[u32]) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let mut here = vec![UNSEEN; dictionary.len()];
    let mut seen = Vec::new();
    let mut local = Vec::with_capacity(codes.len());
    for &code in codes {
        let Some(slot) = here.get_mut(code as usize) else {
            continue; // every code points into its dictionary
        };
        if *slot == UNSEEN {
            *slot = seen.len() as u32;
            seen.push(code);
        }
        local.push(*slot);
    }
    put_u32(out, seen.len());
    let texts = seen.into_iter().filter_map(|code| dictionary.get(code));
    texts.for_each(|text| put_text(out, text));
    local
}

fn put_u32(out: &mut Vec<u8>, count: usize) {
    // A batch is far below 2^32 rows: the journal's limit on a frame sees to it.
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Texts are cut to their limits (at most 1 KiB) before they get here, so a `u16` holds the length.
fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text);
}

fn put_all<T, const N: usize>(out: &mut Vec<u8>, column: &[T], bytes: impl Fn(&T) -> [u8; N]) {
    out.reserve(column.len() * N);
    column
        .iter()
        .for_each(|value| out.extend_from_slice(&bytes(value)));
}
