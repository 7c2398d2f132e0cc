//! Orders from Databento's market-by-order files: the reader loop around the pure mapping.
//!
//! Invariant: every market-by-order record is taken as `dbn/mapping.rs` says, or is a dead letter
//! whose line is its record number, from 1; records of other kinds are passed over. Memory stays
//! bounded: the head of a file by `HEAD_BYTES_MAX`, the rest by the limits of the mapping.
//!
//! Rows are numbered as they come out, orders and dead letters alike: a record may tell two rows, or
//! nothing that was not told before. The source names no traders, hence
//! the flag `anonymous`. The time of a row is the matching engine's; of an order of a snapshot it is
//! the snapshot's, for then it is known to be in the book.

mod frames;
mod input;
mod mapping;
mod symbols;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use std::fmt::Write;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use dbn::decode::dbn::fsm::{DbnFsm, ProcessResult};
use dbn::{MboMsg, Metadata, Schema};
use tapewatch_model::{
    DeadLetter, Details, Flags, OrderBatch, OrderSource, Progress, RowError, RowRef, SourceError,
    Tells,
};

use self::input::Input;
use self::mapping::{Mapper, Row};
use self::symbols::Symbols;
use crate::row_numbers::RowNumbers;
use crate::source_error;

/// The longest head of a file: it names every instrument, at about 150 bytes a name and day.
const HEAD_BYTES_MAX: u32 = 64 << 20;
/// What stands before the head: `DBN`, the version, the head's length.
const PRELUDE_BYTES: usize = 8;
const BUFFER_BYTES: usize = 64 << 10;

const _: () = assert!(BUFFER_BYTES >= 2 * frames::RECORD_BYTES_MAX);

/// Why a record is refused, and what it says as far as it can be read.
type Refused = (RowError, Option<MboMsg>);

/// A source of orders in a Databento file of the schema `mbo`, DBN version 1 to 3, packed with
/// Zstandard or plain.
#[derive(Debug)]
pub struct DbnOrders<R: Read> {
    input: Input<R>,
    buffer: Vec<u8>,
    /// What waits in the buffer.
    start: usize,
    end: usize,
    source_name: String,
    total_bytes: u64,
    symbols: Symbols,
    mapper: Mapper,
    /// Records read, of any kind.
    records: u64,
    numbers: RowNumbers,
    /// A record that is refused, behind the rows of those before it.
    refused: Option<Refused>,
    ended: bool,
    order_id: String,
    exec_id: String,
    failed: Option<SourceError>,
}

impl DbnOrders<File> {
    /// Opens a file and reads its head.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened or read, or is no market-by-order file.
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

impl<R: Read> DbnOrders<R> {
    /// Reads the head. `total_bytes` is what [`OrderSource::progress`] tells as the total: 0 when it
    /// is not known.
    ///
    /// # Errors
    /// [`SourceError`] when the reader fails, or what it gives is no market-by-order file.
    pub fn new(reader: R, source_name: &str, total_bytes: u64) -> Result<Self, SourceError> {
        let input = Input::new(reader)
            .map_err(|error| source_error(source_name, format!("cannot be read: {error}")))?;
        let mut source = Self {
            input,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            source_name: source_name.to_owned(),
            total_bytes,
            symbols: Symbols::default(),
            mapper: Mapper::default(),
            records: 0,
            numbers: RowNumbers::default(),
            refused: None,
            ended: false,
            order_id: String::new(),
            exec_id: String::new(),
            failed: None,
        };
        let head = source.read_head()?;
        if let Some(schema) = head.schema
            && schema != Schema::Mbo
        {
            return Err(source.error(&format!(
                "holds the schema {schema}; orders are in files of the schema mbo"
            )));
        }
        source.symbols = Symbols::new(head);
        Ok(source)
    }

    fn error(&self, message: &str) -> SourceError {
        source_error(&self.source_name, message)
    }

    /// Reads as many bytes as there are, at most `count`.
    fn read(&mut self, count: usize) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let read = self
            .input
            .by_ref()
            .take(count as u64)
            .read_to_end(&mut bytes);
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn unreadable(&self, error: &std::io::Error) -> SourceError {
        let (at, records) = (self.input.offset(), self.records);
        self.error(&format!(
            "cannot be read at byte {at}: {error}; the {records} records before it were read"
        ))
    }

    fn read_head(&mut self) -> Result<Metadata, SourceError> {
        let mut head = self.read(PRELUDE_BYTES)?;
        let Some(&[b'D', b'B', b'N', _, a, b, c, d]) = head.first_chunk() else {
            return Err(self.error("is no DBN file: it does not begin with DBN and a length"));
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > HEAD_BYTES_MAX {
            return Err(self.error(&format!(
                "has a head of {length} bytes, more than {HEAD_BYTES_MAX}: it is damaged"
            )));
        }
        head.extend(self.read(length as usize)?);
        let mut decoder = DbnFsm::default();
        decoder.write_all(&head);
        match decoder.process() {
            ProcessResult::Metadata(metadata) => Ok(metadata),
            ProcessResult::Err(error) => {
                Err(self.error(&format!("has a head that cannot be read: {error}")))
            }
            ProcessResult::ReadMore(_) | ProcessResult::Record(()) => {
                Err(self.error("ends within its head"))
            }
        }
    }

    /// Reads some bytes behind those that wait; `false` at the end.
    fn fill(&mut self) -> Result<bool, SourceError> {
        let waiting = self.start..self.end;
        self.end = waiting.len();
        self.start = 0;
        self.buffer.copy_within(waiting, 0);
        loop {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.input.read(free) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(&error)),
            }
        }
    }

    /// The next market-by-order record; `Err` within when it is too short to be one.
    fn next_record(&mut self) -> Result<Option<Result<MboMsg, Refused>>, SourceError> {
        loop {
            let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
            match frames::record(waiting) {
                Ok(Some(record)) => {
                    self.start += record.len();
                    self.records += 1;
                    if let Some(order) = frames::order(record) {
                        return Ok(Some(order.map_err(|error| (error, None))));
                    }
                }
                Ok(None) => {
                    if !self.fill()? {
                        break;
                    }
                }
                Err(what) => {
                    let next = self.records + 1;
                    return Err(self.error(&format!(
                        "record {next} {what}, which cannot be; the records before it were read"
                    )));
                }
            }
        }
        if self.start == self.end {
            return Ok(None);
        }
        let records = self.records;
        Err(self.error(&format!(
            "ends within a record, after {records} whole ones, which were read"
        )))
    }

    fn read_rows(
        &mut self,
        rows_max: u64,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<(), SourceError> {
        while self.numbers.in_batch() < rows_max {
            if let Some(row) = self.mapper.next_row() {
                let pushed = self.push(&row, orders);
                self.count(pushed, &row, dead_letters);
            } else if let Some((error, record)) = self.refused.take() {
                self.count(Err(error), &record, dead_letters);
            } else if let Some(record) = self.next_record()? {
                let taken = record.and_then(|record| {
                    let taken = self.mapper.take(&record, self.records);
                    taken.map_err(|error| (error, Some(record)))
                });
                self.refused = taken.err();
            } else if self.ended {
                break;
            } else {
                self.mapper.finish();
                self.ended = true;
            }
        }
        Ok(())
    }

    fn push(&mut self, row: &Row, orders: &mut OrderBatch) -> Result<(), RowError> {
        number(&mut self.order_id, (row.order != 0).then_some(row.order));
        number(&mut self.exec_id, row.execution);
        let details = Details {
            exec_id: self.exec_id.as_bytes(),
            flags: row.flags.with(Flags::ANONYMOUS),
            ..Details::default()
        };
        orders.push(&RowRef {
            time: row.time,
            sym: self.symbols.name(row.instrument, row.time).as_bytes(),
            event_type: row.event_type,
            trader: b"",
            side: row.side,
            order_id: self.order_id.as_bytes(),
            price: row.price,
            quantity: row.quantity,
            details,
        })
    }

    /// Counts a row, and keeps a refused one as a dead letter.
    fn count(
        &mut self,
        row: Result<(), RowError>,
        raw: &dyn std::fmt::Debug,
        dead_letters: &mut Vec<DeadLetter>,
    ) {
        let Err(error) = row else {
            self.numbers.order();
            return;
        };
        self.numbers.refused();
        let raw = format!("{raw:?}");
        dead_letters.push(DeadLetter::new(
            &self.source_name,
            self.records,
            error.column,
            &error.reason,
            raw.as_bytes(),
        ));
    }
}

/// Writes a number, or nothing.
fn number(text: &mut String, number: Option<u64>) {
    text.clear();
    if let Some(number) = number {
        // A string takes all that is written to it.
        let _ = write!(text, "{number}");
    }
}

impl<R: Read> OrderSource for DbnOrders<R> {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        orders.clear();
        self.numbers.begin();
        if self.failed.is_none() {
            let read = self.read_rows(rows_max.max(1) as u64, orders, dead_letters);
            self.failed = read.err();
        }
        let rows = self.numbers.in_batch();
        self.numbers.give(orders);
        match &self.failed {
            Some(error) if rows == 0 => Err(error.clone()),
            _ => Ok(rows > 0),
        }
    }

    fn tells(&self) -> Tells {
        Tells {
            exec_id: true, // and what a venue publishes names nobody
            ..Tells::NOTHING
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.input.offset(),
            total: self.total_bytes,
            passed_over: 0,
        }
    }
}
