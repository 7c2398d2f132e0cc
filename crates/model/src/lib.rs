//! The nouns of the market and how they are written down: time, price, quantity, orders and their book,
//! hits, alerts, dead letters and the versioned codec of what goes into the journal.
//!
//! Invariant: nothing here does I/O, reads a clock or uses a float where a number is kept. Every
//! value that exists is valid: a [`Quantity`] is never negative, a code of an [`OrderBatch`] always
//! points into its dictionary, a text is UTF-8 within its length limit.

mod batch;
mod book;
mod codec;
mod dead_letter;
mod details;
mod fixed;
mod hit;
mod name;
mod order;
mod severity;
mod source;
mod text;
mod time;

pub use batch::{CodedRow, OrderBatch, OrderColumns, RowRef};
pub use book::{AddError, Ahead, Book, BookLevel, BookOrder, OrderKey, OrderMut, Priority};
pub use codec::{
    Bucket, BucketDecoder, BucketHead, CodecError, DetectorConfig, FORMAT_VERSION, Origin,
    check_bucket, dead_letter_count, decode_bucket, decode_config, decode_hits, encode_bucket,
    encode_config, encode_hits, frame_kind,
};
pub use dead_letter::{DeadLetter, RAW_BYTES_MAX};
pub use details::{Details, Flags};
pub use fixed::{Decimal, NumberError, Price, Quantity};
pub use hit::{EVIDENCE_MAX, Hit, Id, Measure};
pub use name::{NAME_BYTES_MAX, lasting_name};
pub use order::{EventType, EventTypes, Order, RowError, Side};
pub use severity::{Grade, Severity};
pub use source::{OrderSource, Progress, SourceError, Tells};
pub use text::{Interner, ORDER_ID_BYTES_MAX, SYM_BYTES_MAX, TRADER_BYTES_MAX, TextColumn};
pub use time::{Date, Time, TimeError, TimeSpan};
