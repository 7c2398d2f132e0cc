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

mod decode;
mod details;
mod hits;

pub use decode::{
    BucketDecoder, BucketHead, check_bucket, dead_letter_count, decode_bucket, decode_config,
};
pub use hits::{decode_hits, encode_hits};

use std::sync::Arc;

use crate::batch::OrderBatch;
use crate::dead_letter::DeadLetter;
use crate::order::RowError;
use crate::text::Interner;

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

/// Appends the binary form of the detectors' configuration to `out`.
pub fn encode_config(config: &DetectorConfig, out: &mut Vec<u8>) {
    out.push(PLAIN);
    out.extend_from_slice(config.json.as_bytes());
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
    let texts = seen.into_iter().filter_map(|code| dictionary.bytes(code));
    texts.for_each(|text| put_bytes(out, text));
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
    let at = out.len();
    out.resize(at + column.len() * N, 0);
    let slots = out.get_mut(at..).unwrap_or_default().as_chunks_mut().0;
    for (slot, value) in slots.iter_mut().zip(column) {
        *slot = bytes(value);
    }
}
