//! Orders and alerts out of tickerplant logs and databases on disk.
//!
//! Invariant: each row of the table `order` becomes exactly one order or dead letter, each of
//! `orderAlerts` one alert or dead letter; updates that are refused whole are one dead letter, and
//! other tables are counted by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use tapewatch_model::{DeadLetter, OrderBatch, OrderSource, Progress, RowError, SourceError};

use super::hdb::Hdb;
use super::tick::{
    AlertRow, AlertRows, ORDER, ORDER_ALERTS, OrderRows, Request, Update, UpdateError,
};
use super::tplog::LogReader;
use super::value::Value;
use super::wire::Limits;
use crate::row_numbers::RowNumbers;
use crate::source_error;

/// Names of other tables that are remembered.
const OTHERS_MAX: usize = 64;
/// Under which those are counted that are no updates, or come after so many names.
const OTHERS: &str = "(other)";

/// Rows of a table, as they stand somewhere.
#[derive(Debug)]
pub(super) struct Piece {
    /// Name of the file or folder.
    pub(super) source: String,
    pub(super) table: String,
    pub(super) data: Value,
    /// Line of the first row, and how many further on each next one is.
    pub(super) line: u64,
    pub(super) step: u64,
}

/// Where pieces come from.
pub(super) trait Pieces: Send {
    fn next_piece(&mut self) -> Result<Option<Piece>, SourceError>;
    fn progress(&self) -> Progress;
}

/// A source of orders in a tickerplant log or a partitioned database of kdb+.
///
/// Take the alerts with [`Self::take_alerts`] after each batch; a batch may hold alerts alone.
pub struct KdbOrders {
    pieces: Box<dyn Pieces>,
    current: Option<Current>,
    numbers: RowNumbers,
    alerts: Vec<AlertRow>,
    others: BTreeMap<String, u64>,
    failed: Option<SourceError>,
}

impl std::fmt::Debug for KdbOrders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KdbOrders").finish_non_exhaustive()
    }
}

/// A piece that is being handed out.
#[derive(Debug)]
struct Current {
    source: String,
    line: u64,
    step: u64,
    next: usize,
    rows: Kind,
}

#[derive(Debug)]
enum Kind {
    Orders(OrderRows),
    Alerts(AlertRows),
}

impl KdbOrders {
    /// Opens a tickerplant log. When it is torn or damaged, the rows before that are delivered first,
    /// and the error says how many messages and bytes are good. The line of a dead letter is the
    /// number of its message.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened or is no log.
    pub fn open_log(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened.map_err(|error| {
            let what = format!("cannot be opened: {error}; check the path and its permissions");
            source_error(&name, what)
        })?;
        Self::log(file, &name, total, Limits::default())
    }

    /// The same from any reader of `total` bytes (0 when that is not known).
    ///
    /// # Errors
    /// [`SourceError`] when the reader fails or it is no log.
    pub fn log(
        reader: impl Read + Send + 'static,
        name: &str,
        total: u64,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let reader = LogReader::new(reader, limits);
        let reader = reader.map_err(|error| source_error(name, error.to_string()))?;
        let name = name.to_owned();
        Ok(Self::of(LogPieces {
            reader,
            name,
            total,
        }))
    }

    /// Opens a database on disk: the days in it, one after another. The line of a dead letter is its
    /// row in the day's table.
    ///
    /// # Errors
    /// [`SourceError`] when the folder cannot be read or has no days.
    pub fn open_hdb(directory: &Path) -> Result<Self, SourceError> {
        Ok(Self::of(Hdb::open(directory, Limits::default())?.pieces()))
    }

    fn of(pieces: impl Pieces + 'static) -> Self {
        Self {
            pieces: Box::new(pieces),
            current: None,
            numbers: RowNumbers::default(),
            alerts: Vec::new(),
            others: BTreeMap::new(),
            failed: None,
        }
    }

    /// The alerts that were read since this was last called.
    pub fn take_alerts(&mut self) -> Vec<AlertRow> {
        std::mem::take(&mut self.alerts)
    }

    /// Tables that are not read, and how many updates (of a database: parts) each has.
    #[must_use]
    pub const fn passed_over(&self) -> &BTreeMap<String, u64> {
        &self.others
    }

    /// Makes a piece the current one.
    fn begin(&mut self, piece: Piece, dead_letters: &mut Vec<DeadLetter>) {
        let rows = match piece.table.as_str() {
            ORDER => OrderRows::of(piece.data).map(Kind::Orders),
            ORDER_ALERTS => AlertRows::of(piece.data).map(Kind::Alerts),
            _ => {
                let known =
                    self.others.len() < OTHERS_MAX || self.others.contains_key(&piece.table);
                let name = if known {
                    piece.table
                } else {
                    OTHERS.to_owned()
                };
                *self.others.entry(name).or_default() += 1;
                return;
            }
        };
        match rows {
            Ok(rows) => {
                self.current = Some(Current {
                    source: piece.source,
                    line: piece.line,
                    step: piece.step,
                    next: 0,
                    rows,
                });
            }
            Err(error) => dead_letters.push(whole(&piece.source, &piece.table, piece.line, &error)),
        }
    }

    fn read_rows(
        &mut self,
        rows_max: u64,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<(), SourceError> {
        let (letters, alerts) = (dead_letters.len(), self.alerts.len());
        loop {
            let read = self.numbers.in_batch() + (self.alerts.len() - alerts) as u64;
            let refused = (dead_letters.len() - letters) as u64;
            if read >= rows_max || refused >= rows_max {
                return Ok(());
            }
            let Some(current) = &mut self.current else {
                match self.pieces.next_piece()? {
                    None => return Ok(()),
                    Some(piece) => self.begin(piece, dead_letters),
                }
                continue;
            };
            if current.next >= current.len() {
                self.current = None;
                continue;
            }
            let index = current.next;
            current.next += 1;
            match &current.rows {
                Kind::Orders(rows) => match rows.push(index, orders) {
                    Ok(()) => self.numbers.order(),
                    Err(error) => {
                        self.numbers.refused();
                        let line = current.line_of(index);
                        dead_letters.push(rows.refuse(index, &current.source, line, &error));
                    }
                },
                Kind::Alerts(rows) => match rows.get(index) {
                    Ok(alert) => self.alerts.push(alert),
                    Err(error) => {
                        let line = current.line_of(index);
                        dead_letters.push(rows.refuse(index, &current.source, line, &error));
                    }
                },
            }
        }
    }
}

impl Current {
    fn len(&self) -> usize {
        match &self.rows {
            Kind::Orders(rows) => rows.len(),
            Kind::Alerts(rows) => rows.len(),
        }
    }

    fn line_of(&self, index: usize) -> u64 {
        self.line
            .saturating_add(self.step.saturating_mul(index as u64))
    }
}

/// An update of which nothing can be used.
fn whole(source: &str, table: &str, line: u64, error: &UpdateError) -> DeadLetter {
    let error = RowError::new("row", error);
    let raw = format!("an update of {table}");
    DeadLetter::new(source, line, error.column, &error.reason, raw.as_bytes())
}

impl OrderSource for KdbOrders {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        orders.clear();
        self.numbers.begin();
        let (alerts, letters) = (self.alerts.len(), dead_letters.len());
        if self.failed.is_none() {
            let read = self.read_rows(rows_max.max(1) as u64, orders, dead_letters);
            self.failed = read.err();
        }
        let some = self.numbers.in_batch() > 0
            || self.alerts.len() > alerts
            || dead_letters.len() > letters;
        self.numbers.give(orders);
        match &self.failed {
            Some(error) if !some => Err(error.clone()),
            _ => Ok(some),
        }
    }

    fn progress(&self) -> Progress {
        self.pieces.progress()
    }
}

/// A log as pieces.
struct LogPieces<R> {
    reader: LogReader<R>,
    name: String,
    total: u64,
}

impl<R: Read + Send> Pieces for LogPieces<R> {
    fn next_piece(&mut self) -> Result<Option<Piece>, SourceError> {
        let message = self
            .reader
            .next_message()
            .map_err(|error| source_error(&self.name, error.to_string()))?;
        Ok(message.map(|message| {
            let update = match Request::parse(message.value) {
                Ok(Request::Update(update)) => update,
                _ => Update {
                    table: OTHERS.to_owned(),
                    data: Value::NOTHING,
                },
            };
            Piece {
                source: self.name.clone(),
                table: update.table,
                data: update.data,
                line: message.number,
                step: 0,
            }
        }))
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.reader.offset(),
            total: self.total,
            passed_over: 0,
        }
    }
}
