//! A row that could not be used, kept with its reason and its place in the source.
//!
//! Invariant: what is kept of the raw row is bounded and always valid text.

use serde::Serialize;

/// Bytes of a raw row that are kept.
pub const RAW_BYTES_MAX: usize = 1_024;

/// A refused row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// File name or other name of the source.
    pub source: String,
    /// Line in the source, from 1 (in a Parquet file: the row).
    pub line: u64,
    /// Column of the order schema, or `row`.
    pub column: String,
    /// Why it was refused.
    pub reason: String,
    /// The row as it came, cut to [`RAW_BYTES_MAX`], bytes that are not UTF-8 as U+FFFD.
    pub raw: String,
}

impl DeadLetter {
    /// Keeps a refused row. Texts are cut to [`RAW_BYTES_MAX`].
    #[must_use]
    pub fn new(source: &str, line: u64, column: &str, reason: &str, raw: &[u8]) -> Self {
        let cut = raw.get(..RAW_BYTES_MAX).unwrap_or(raw);
        Self {
            source: shorten(source),
            line,
            column: shorten(column),
            reason: shorten(reason),
            raw: shorten(&String::from_utf8_lossy(cut)),
        }
    }
}

fn shorten(text: &str) -> String {
    text.get(..text.floor_char_boundary(RAW_BYTES_MAX))
        .unwrap_or(text)
        .to_owned()
}
