//! Orders from LOBSTER message files: the reader loop around the pure decoding in this folder.
//!
//! Invariant: every line that is not blank ends up in exactly one order or dead letter, whatever the
//! batch size; no line longer than `LINE_BYTES_MAX` is kept.
//!
//! The format is that of LOBSTER's own description, lobsterdata.com/info/DataStructure.php: lines of
//! six fields without a header, of one instrument and day. What becomes of them is in
//! `lobster/decode.rs`. Which instrument and day is in the name of the file,
//! `AAPL_2012-06-21_34200000_57600000_message_10.csv`, or told with [`LobsterOptions`].

mod decode;
mod new_york;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use tapewatch_model::{
    Date, DeadLetter, OrderBatch, OrderSource, Progress, RowError, SourceError, Tells, TimeSpan,
};

use self::decode::Decoder;
use crate::row_numbers::RowNumbers;
use crate::source_error;

/// Longest line with its end; true ones have less than 100 bytes.
const LINE_BYTES_MAX: usize = 1_024;

/// What a message file does not say itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LobsterOptions {
    /// The instrument; unless given, what stands in the file's name before the first `_`.
    pub sym: Option<String>,
    /// The day; unless given, what stands in the file's name between the first two `_`.
    pub date: Option<Date>,
    /// How far the exchange's clock was before UTC (negative: behind); unless given, New York's on
    /// that day, with its summer time by the rule in force since 2007.
    pub utc_offset: Option<TimeSpan>,
}

/// A source of orders in a LOBSTER message file.
#[derive(Debug)]
pub struct LobsterOrders<R> {
    reader: BufReader<R>,
    source_name: String,
    bytes: u64,
    total_bytes: u64,
    line: Vec<u8>,
    lines: u64,
    numbers: RowNumbers,
    decoder: Decoder,
    failed: Option<SourceError>,
}

impl LobsterOrders<File> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened, or neither its name nor `options` say which
    /// instrument and day it is of.
    pub fn open(path: &Path, options: &LobsterOptions) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| {
            source_error(
                &name,
                format!("cannot be opened: {error}; check the path and its permissions"),
            )
        })?;
        Self::new(file, &name, bytes, options)
    }
}

impl<R: Read> LobsterOrders<R> {
    /// A source that was not read yet. `total_bytes` is what [`OrderSource::progress`] tells as the
    /// total: 0 when it is not known.
    ///
    /// # Errors
    /// [`SourceError`] when neither `source_name` nor `options` say which instrument and day it is of.
    pub fn new(
        reader: R,
        source_name: &str,
        total_bytes: u64,
        options: &LobsterOptions,
    ) -> Result<Self, SourceError> {
        let decoder = decoder(source_name, options).map_err(|what| {
            let message = format!(
                "its name does not say the {what}, as AAPL_2012-06-21_34200000_57600000_message_10.csv \
                 does; tell it with --{what}"
            );
            source_error(source_name, message)
        })?;
        Ok(Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            source_name: source_name.to_owned(),
            bytes: 0,
            total_bytes,
            line: Vec::new(),
            lines: 0,
            numbers: RowNumbers::default(),
            decoder,
            failed: None,
        })
    }

    /// Reads a line into `self.line`, without its end; of one that is too long, the beginning.
    fn read_line(&mut self) -> std::io::Result<Line> {
        self.line.clear();
        let mut beginning = self.reader.by_ref().take(LINE_BYTES_MAX as u64);
        let mut count = beginning.read_until(b'\n', &mut self.line)?;
        let too_long = count == LINE_BYTES_MAX && !self.line.ends_with(b"\n");
        if too_long {
            count += self.reader.skip_until(b'\n')?;
        }
        self.bytes += count as u64;
        self.lines += u64::from(count > 0);
        for end in [b'\n', b'\r'] {
            if self.line.last() == Some(&end) {
                self.line.pop();
            }
        }
        Ok(match count {
            0 => Line::None,
            _ if too_long => Line::TooLong,
            _ => Line::Whole,
        })
    }

    fn read_rows(
        &mut self,
        rows_max: u64,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<(), SourceError> {
        while self.numbers.in_batch() < rows_max {
            let read = self.read_line().map_err(|error| {
                let at = self.bytes;
                let message =
                    format!("cannot be read at byte {at}: {error}; the rows before it were read");
                source_error(&self.source_name, message)
            })?;
            let decoded = match read {
                Line::None => break,
                Line::Whole if self.line.is_empty() => continue,
                Line::Whole => self.decoder.decode(&self.line, orders),
                Line::TooLong => Err(too_long()),
            };
            match decoded {
                Ok(()) => self.numbers.order(),
                Err(error) => {
                    self.numbers.refused();
                    dead_letters.push(DeadLetter::new(
                        &self.source_name,
                        self.lines,
                        error.column,
                        &error.reason,
                        &self.line,
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What was read.
enum Line {
    None,
    Whole,
    TooLong,
}

#[cold]
fn too_long() -> RowError {
    RowError::new("row", format!("is longer than {LINE_BYTES_MAX} bytes"))
}

/// The decoder for a file of this name; `Err` says what is not known.
fn decoder(source_name: &str, options: &LobsterOptions) -> Result<Decoder, &'static str> {
    let name = Path::new(source_name).file_name();
    let mut parts = name
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .split('_');
    let named_sym = parts.next().filter(|sym| !sym.is_empty());
    let named_date = parts
        .next()
        .and_then(|date| Date::parse(date.as_bytes()).ok());
    // What stands first is an instrument only where a date follows.
    let named_sym = named_sym
        .filter(|_| named_date.is_some())
        .map(str::to_owned);
    let sym = options.sym.clone().or(named_sym).ok_or("sym")?;
    let date = options.date.or(named_date).ok_or("date")?;
    let offset = options.utc_offset.unwrap_or_else(|| new_york::offset(date));
    Ok(Decoder::new(sym, date, offset))
}

impl<R: Read> OrderSource for LobsterOrders<R> {
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
        Tells::NOTHING // what a venue publishes names nobody
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.bytes,
            total: self.total_bytes,
            passed_over: 0,
        }
    }
}
