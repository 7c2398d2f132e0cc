//! Orders from comma-separated text: the reader loop around the pure decoding in this folder.
//!
//! Invariant: every line that is not blank ends up in exactly one order or dead letter, whatever the
//! batch size and however the reader cuts its bytes; memory stays bounded by the buffer, whatever
//! the length of a line.
//!
//! The format: the first line that is not blank names the columns (see `csv/header.rs`); lines end
//! with LF or CRLF, the last one may have no end; blank lines are skipped and count as lines, not as
//! rows. Fields are taken exactly as they are, spaces too, and may be quoted after RFC 4180, line
//! ends inside quotes included. Columns that are not known are neither read nor checked.
//!
//! A row that is longer than [`ROW_BYTES_MAX`], or whose quote is never closed, is refused, and
//! reading goes on behind the *first* line of that row: one stray quote costs one row, not the file.

mod buffer;
mod decode;
mod fast;
mod framing;
mod header;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod properties;
mod scan;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tapewatch_model::{
    DeadLetter, EventTypes, OrderBatch, OrderSource, Progress, RowError, SourceError, Tells,
};

use self::buffer::Buffer;
use self::decode::Decoder;
use self::framing::{Framer, Record, Step};
pub(crate) use self::header::normalised;
use self::header::{Columns, NAMES};
use crate::source_error;

pub(crate) use self::framing::{Framer as CsvFramer, Step as CsvStep};

/// Longest row, in bytes without its line end: 64 KiB.
pub const ROW_BYTES_MAX: usize = 64 << 10;

/// The byte order mark that some programs write before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A source of orders in comma-separated text.
///
/// Orders are numbered by their data row, from 1; refused rows are counted too. When reading fails,
/// the rows before that place are delivered first, and every later call gives the same error.
#[derive(Debug)]
pub struct CsvOrders<R> {
    reader: R,
    source_name: String,
    total_bytes: u64,
    buffer: Buffer,
    framer: Framer,
    decoder: Decoder,
    /// Lines consumed.
    lines: u64,
    /// Data rows consumed, refused ones too.
    rows: u64,
    /// Row numbers of this batch's orders, once they do not just follow each other.
    numbers: Option<Vec<u64>>,
    wanted: EventTypes,
    passed_over: u64,
    failed: Option<SourceError>,
}

impl CsvOrders<File> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened or read, or its header lacks a column.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| {
            source_error(
                &name,
                format!("cannot be opened: {error}; check the path and its permissions"),
            )
        })?;
        Self::new(file, &name, bytes)
    }
}

impl<R: Read> CsvOrders<R> {
    /// Reads the header. `total_bytes` is what [`OrderSource::progress`] tells as the total: 0 when
    /// it is not known.
    ///
    /// # Errors
    /// [`SourceError`] when the reader fails, is empty, or its header lacks a column or names one
    /// twice.
    pub fn new(reader: R, source_name: &str, total_bytes: u64) -> Result<Self, SourceError> {
        let mut source = Self {
            reader,
            source_name: source_name.to_owned(),
            total_bytes,
            buffer: Buffer::default(),
            framer: Framer::default(),
            decoder: Decoder::default(),
            lines: 0,
            rows: 0,
            numbers: None,
            wanted: EventTypes::ALL,
            passed_over: 0,
            failed: None,
        };
        let columns = source.read_header()?;
        source.decoder = Decoder::new(columns);
        Ok(source)
    }

    fn read_header(&mut self) -> Result<Columns, SourceError> {
        while self.buffer.pending().len() < BOM.len() && !self.buffer.ended() {
            self.fill()?;
        }
        if self.buffer.pending().starts_with(BOM) {
            self.buffer.consume(BOM.len());
        }
        loop {
            let data = self.buffer.pending();
            match self.framer.next(data, self.buffer.ended()) {
                Step::More => self.fill()?,
                Step::Blank { bytes } => {
                    self.buffer.consume(bytes);
                    self.lines += 1;
                }
                Step::Record(record) => {
                    let columns = Columns::find(self.framer.fields(data))
                        .map_err(|message| source_error(&self.source_name, message))?;
                    self.buffer.consume(record.bytes);
                    self.lines += record.lines;
                    return Ok(columns);
                }
                Step::Refused { reason, .. } => {
                    let message = format!("the header (line {}) {reason}", self.lines + 1);
                    return Err(source_error(&self.source_name, message));
                }
                Step::End => {
                    let message = format!("is empty: its first line must name {NAMES}");
                    return Err(source_error(&self.source_name, message));
                }
            }
        }
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        self.buffer.fill(&mut self.reader).map_err(|error| {
            let at = self.buffer.offset_read();
            source_error(
                &self.source_name,
                format!("cannot be read at byte {at}: {error}; the rows before it were read"),
            )
        })
    }

    /// Reads rows until there are `rows_max` or nothing is left.
    fn read_rows(
        &mut self,
        rows_max: u64,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<(), SourceError> {
        let before = self.rows;
        let last = before.saturating_add(rows_max);
        if self.wanted != EventTypes::ALL {
            self.numbers = Some(Vec::with_capacity(orders.times().len()));
        }
        while self.rows < last {
            let data = self.buffer.pending();
            if let Some(bytes) = self.decoder.peeks_over(data, self.wanted) {
                self.buffer.consume(bytes);
                self.rows += 1;
                self.lines += 1;
                self.passed_over += 1;
                continue;
            }
            match self.framer.next(data, self.buffer.ended()) {
                Step::Record(record) => {
                    let fields = self.framer.fields(data);
                    self.rows += 1;
                    if self.decoder.passes_over(fields, self.wanted) {
                        self.passed_over += 1;
                    } else {
                        match self.decoder.decode(fields, orders) {
                            Ok(()) => {
                                if let Some(numbers) = &mut self.numbers {
                                    numbers.push(self.rows);
                                }
                            }
                            Err(error) => {
                                dead_letters.push(self.refuse(before, &error, &record));
                            }
                        }
                    }
                    self.buffer.consume(record.bytes);
                    self.lines += record.lines;
                }
                Step::More => self.fill()?,
                Step::Blank { bytes } => {
                    self.buffer.consume(bytes);
                    self.lines += 1;
                }
                Step::Refused { reason, line } => {
                    let error = RowError::new("row", reason);
                    let first_line = Record {
                        bytes: line,
                        text: line,
                        lines: 1,
                    };
                    self.rows += 1;
                    dead_letters.push(self.refuse(before, &error, &first_line));
                    self.lines += 1;
                    self.skip_line()?;
                }
                Step::End => break,
            }
        }
        Ok(())
    }

    /// Notes that the row just counted is refused, and keeps it as a dead letter. The batch began
    /// behind row `before`.
    #[cold]
    fn refuse(&mut self, before: u64, error: &RowError, record: &Record) -> DeadLetter {
        let rows = self.rows;
        self.numbers
            .get_or_insert_with(|| (before + 1..rows).collect());
        let raw = self.buffer.pending().get(..record.text).unwrap_or_default();
        let line = self.lines + 1;
        DeadLetter::new(&self.source_name, line, error.column, &error.reason, raw)
    }

    /// Consumes what is left of the current line, without keeping it.
    fn skip_line(&mut self) -> Result<(), SourceError> {
        loop {
            let data = self.buffer.pending();
            if let Some(end) = memchr::memchr(b'\n', data) {
                self.buffer.consume(end + 1);
                return Ok(());
            }
            self.buffer.consume(data.len());
            if self.buffer.ended() {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Gives the orders of a batch that began behind data row `before` their row numbers.
    fn number(&mut self, before: u64, orders: &mut OrderBatch) {
        match self.numbers.take() {
            None => orders.number_from(before + 1),
            Some(numbers) => {
                let numbered = orders.number_with(numbers);
                debug_assert!(numbered, "a number for each order");
            }
        }
    }
}

impl<R: Read> OrderSource for CsvOrders<R> {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        orders.clear();
        let before = self.rows;
        if self.failed.is_none() {
            let read = self.read_rows(rows_max.max(1) as u64, orders, dead_letters);
            self.failed = read.err();
        }
        self.number(before, orders);
        match &self.failed {
            Some(error) if self.rows == before => Err(error.clone()),
            _ => Ok(self.rows > before),
        }
    }

    fn want(&mut self, events: EventTypes) {
        self.wanted = events;
    }

    fn tells(&self) -> Tells {
        self.decoder.tells()
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.buffer.offset(),
            total: self.total_bytes,
            passed_over: self.passed_over,
        }
    }
}
