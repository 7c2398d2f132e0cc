//! Rows of one row group, decoded batch by batch.
//!
//! Invariant: a row that is given out is wanted, and its place in the row group stands beside it;
//! order ids, prices and details are not decoded unless they are asked for.

use std::sync::{Arc, Weak};

use parquet::errors::ParquetError;
use tapewatch_model::{
    CodedRow, EventType, Interner, OrderBatch, OrderColumns, Quantity, RowError, Side, Time,
};

use super::full::{Full, FullReader};
use super::parts::{DataFile, Part, Range};
use super::{ScanError, ScanRequest};
use crate::columns::{Codes, Leaf, Numbers};

/// Most rows that are decoded at once: few enough that they are in the processor's cache when they are
/// judged.
pub(super) const BATCH_ROWS: usize = 16_384;

/// Rows that have been read.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) orders: OrderBatch,
    pub(super) seqs: Vec<u64>,
    /// Where each row is in what it was read from.
    pub(super) places: Vec<Place>,
}

/// Where a row is that a scan gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the things that were read.
    pub(super) source: u32,
    /// Row in it.
    pub(super) row: u32,
}

impl Rows {
    pub(super) fn clear(&mut self) {
        self.orders.clear();
        self.seqs.clear();
        self.places.clear();
    }
}

/// A row group that is being read.
pub(super) struct PartReader {
    file: Arc<DataFile>,
    /// The first and the last instrument that it may hold.
    syms: (String, Option<String>),
    /// Rows decoded so far, and in all.
    done: usize,
    total: usize,
    seq: Numbers,
    time: Numbers,
    quantity: Words<Quantity>,
    event: Words<EventType>,
    side: Words<Side>,
    sym: Texts,
    trader: Texts,
    columns: OrderColumns,
    /// When details are wanted.
    full: Option<FullReader>,
    /// Kept for their memory.
    seqs: Vec<i64>,
    times: Vec<i64>,
}

impl PartReader {
    pub(super) fn open(part: &Part, request: &ScanRequest) -> Result<Self, ScanError> {
        let full = request
            .details
            .then(|| FullReader::open(part))
            .transpose()?;
        let opened = part.file.open().map_err(|error| part.file.fail(error))?;
        let metadata = part.file.metadata.metadata();
        let leaf = |name| Leaf::find(&opened, metadata, part.group, name);
        let open = || {
            let codes = |name| Codes::open(&leaf(name)?);
            Ok::<_, ParquetError>(Self {
                file: Arc::clone(&part.file),
                syms: part.syms(),
                done: 0,
                total: usize::try_from(part.rows).unwrap_or(usize::MAX),
                seq: Numbers::open(&leaf("seq")?)?,
                time: Numbers::open(&leaf("time_ns")?)?,
                quantity: Words::new("quantity", codes("quantity")?, quantity),
                event: Words::new("event_type", codes("event_type")?, EventType::parse),
                side: Words::new("side", codes("side")?, Side::parse),
                sym: Texts::new(codes("sym")?),
                trader: Texts::new(codes("trader")?),
                columns: OrderColumns::default(),
                full,
                seqs: Vec::new(),
                times: Vec::new(),
            })
        };
        open().map_err(|error| part.file.fail(error))
    }

    /// Adds the wanted rows of those that are decoded next; `false` at the end.
    pub(super) fn next(
        &mut self,
        request: &ScanRequest,
        range: &Range,
        source: u32,
        rows: &mut Rows,
    ) -> Result<bool, ScanError> {
        let count = (self.total - self.done).min(BATCH_ROWS);
        if count == 0 {
            return Ok(false);
        }
        let after = self.done;
        let read = self.read(count, &mut rows.orders, |sym| {
            range.contains(sym) && request.wants_sym(sym)
        });
        read.map_err(|error| {
            self.file
                .fail(format_args!("{error}, after row {after} of a row group"))
        })?;
        let wanted = self.wanted(request);
        let wanted = wanted.as_deref();
        let pushed = match &mut self.full {
            None => self.push(wanted, source, rows),
            Some(full) => {
                let full = full.next(count);
                full.and_then(|full| self.push_full(wanted, source, rows, &full))
            }
        };
        pushed.map_err(|error| {
            self.file
                .fail(format_args!("{error}, after row {after} of a row group"))
        })?;
        self.done += count;
        Ok(true)
    }

    /// Decodes the next rows.
    fn read(
        &mut self,
        count: usize,
        orders: &mut OrderBatch,
        wants_sym: impl Fn(&str) -> bool,
    ) -> Result<(), ParquetError> {
        let (first, last) = &self.syms;
        let in_bounds =
            |sym: &str| first.as_str() <= sym && last.as_deref().is_none_or(|last| sym <= last);
        self.seqs.clear();
        self.seq.read(count, &mut self.seqs)?;
        self.times.clear();
        self.time.read(count, &mut self.times)?;
        self.quantity.read(count)?;
        self.event.read(count)?;
        self.side.read(count)?;
        self.sym.read(count)?;
        self.sym.learn(orders, OrderBatch::syms, |orders, sym| {
            let Ok(text) = std::str::from_utf8(sym) else {
                return Err(RowError::new("sym", "is not UTF-8"));
            };
            if !in_bounds(text) {
                Err(RowError::new("sym", "is not within its row group's bounds"))
            } else if wants_sym(text) {
                orders.sym_code(sym)
            } else {
                Ok(UNWANTED)
            }
        })?;
        self.trader.read(count)?;
        self.trader.learn(orders, OrderBatch::traders, trader_code)
    }

    /// The decoded rows that are wanted; `None`: all.
    fn wanted(&self, request: &ScanRequest) -> Option<Vec<u32>> {
        let events = &self.event.meanings;
        let wants_event = |event: &EventType| request.events.contains(*event);
        let wants_time = |time: &i64| request.wants_time(Time::from_nanos(*time));
        let every = events.iter().all(wants_event)
            && !self.sym.codes_of.contains(&UNWANTED)
            && self.times.iter().all(wants_time);
        if every {
            return None;
        }
        let columns = self.times.iter().zip(&self.event.rows).zip(&self.sym.rows);
        let wanted = (0..).zip(columns).filter(|(_, ((time, event), sym))| {
            wants_time(time)
                && events.get(**event as usize).is_some_and(wants_event)
                && self.sym.codes_of.get(**sym as usize) != Some(&UNWANTED)
        });
        Some(wanted.map(|(row, _)| row).collect())
    }

    /// Adds decoded rows with all that they say; `None`: all.
    fn push_full(
        &self,
        wanted: Option<&[u32]>,
        source: u32,
        rows: &mut Rows,
        full: &Full,
    ) -> Result<(), ParquetError> {
        let damaged = || ParquetError::General("an order id or a number is missing".to_owned());
        let mut push = |row: u32| {
            let (at, place) = (row as usize, self.done as u32 + row);
            let (Some(&seq), Some(coded)) = (self.seqs.get(at), self.coded_row(at, full)) else {
                return Err(damaged());
            };
            rows.orders.push_coded(&coded).map_err(refused)?;
            rows.seqs.push(seq.cast_unsigned());
            rows.places.push(Place { source, row: place });
            Ok(())
        };
        match wanted {
            Some(wanted) => wanted.iter().try_for_each(|&row| push(row)),
            None => (0..self.seqs.len() as u32).try_for_each(push),
        }
    }

    fn coded_row<'a>(&self, row: usize, full: &'a Full) -> Option<CodedRow<'a>> {
        let (order_id, price, details) = full.row(row)?;
        Some(CodedRow {
            time: Time::from_nanos(*self.times.get(row)?),
            sym: self.sym.code(row)?,
            event_type: self.event.meaning(row)?,
            trader: self.trader.code(row)?,
            side: self.side.meaning(row)?,
            order_id,
            price,
            quantity: self.quantity.meaning(row)?,
            details,
        })
    }

    /// Adds decoded rows; `None`: all.
    fn push(
        &mut self,
        wanted: Option<&[u32]>,
        source: u32,
        rows: &mut Rows,
    ) -> Result<(), ParquetError> {
        let columns = &mut self.columns;
        pick(&self.times, wanted, &mut columns.time, Time::from_nanos);
        self.sym.pick(wanted, &mut columns.sym);
        self.event.pick(wanted, &mut columns.event_type);
        self.trader.pick(wanted, &mut columns.trader);
        self.side.pick(wanted, &mut columns.side);
        self.quantity.pick(wanted, &mut columns.quantity);
        rows.orders.push_columns(columns).map_err(refused)?;
        pick(&self.seqs, wanted, &mut rows.seqs, i64::cast_unsigned);
        let after = self.done as u32;
        let place = |row: u32| Place {
            source,
            row: after + row,
        };
        match wanted {
            Some(wanted) => rows.places.extend(wanted.iter().copied().map(place)),
            None => rows.places.extend((0..self.seqs.len() as u32).map(place)),
        }
        Ok(())
    }
}

/// Adds the wanted values; `None`: all.
fn pick<T: Copy + Default, U>(
    from: &[T],
    wanted: Option<&[u32]>,
    to: &mut Vec<U>,
    turn: impl Fn(T) -> U,
) {
    match wanted {
        None => to.extend(from.iter().map(|&value| turn(value))),
        Some(wanted) => to.extend(wanted.iter().map(|&row| {
            let value = from.get(row as usize).copied();
            turn(value.unwrap_or_default())
        })),
    }
}

/// A column of values that mean the same everywhere.
struct Words<T> {
    name: &'static str,
    codes: Codes,
    parse: fn(&[u8]) -> Option<T>,
    meanings: Vec<T>,
    /// Codes of the decoded rows.
    rows: Vec<u32>,
}

impl<T: Copy> Words<T> {
    fn new(name: &'static str, codes: Codes, parse: fn(&[u8]) -> Option<T>) -> Self {
        Self {
            name,
            codes,
            parse,
            meanings: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn read(&mut self, count: usize) -> Result<(), ParquetError> {
        self.rows.clear();
        self.codes.read(count, &mut self.rows)?;
        let new = self.codes.values().iter().skip(self.meanings.len());
        for value in new {
            let meaning = (self.parse)(value);
            self.meanings
                .push(meaning.ok_or_else(|| unknown(self.name, value))?);
        }
        Ok(())
    }

    /// What a decoded row's value means.
    fn meaning(&self, row: usize) -> Option<T> {
        self.meanings.get(*self.rows.get(row)? as usize).copied()
    }

    fn pick(&self, wanted: Option<&[u32]>, to: &mut Vec<T>) {
        // Every code is below the number of values, and each of these has a meaning: any will do
        // in its place.
        if let Some(&any) = self.meanings.first() {
            let meaning = |code: u32| self.meanings.get(code as usize).copied();
            pick(&self.rows, wanted, to, |code| meaning(code).unwrap_or(any));
        }
    }
}

fn refused(error: RowError) -> ParquetError {
    ParquetError::General(error.to_string())
}

/// The code of a trader, who may be one that the source does not name.
pub(super) fn trader_code(orders: &mut OrderBatch, trader: &[u8]) -> Result<u32, RowError> {
    match trader {
        [] => Ok(orders.anonymous_code()),
        trader => orders.trader_code(trader),
    }
}

fn unknown(column: &str, value: &[u8]) -> ParquetError {
    let value = String::from_utf8_lossy(value);
    ParquetError::General(format!(
        "column {column} holds {value:?}, which no order has"
    ))
}

/// What a decimal of a file means.
fn quantity(big_endian: &[u8]) -> Option<Quantity> {
    let negative = big_endian.first().is_some_and(|first| *first >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let from = wide.len().checked_sub(big_endian.len())?;
    wide.get_mut(from..)?.copy_from_slice(big_endian);
    Quantity::from_units(i64::try_from(i128::from_be_bytes(wide)).ok()?).ok()
}

/// The code of an instrument that is not wanted.
const UNWANTED: u32 = u32::MAX;

/// A column of texts that have codes in the batch that is being filled.
struct Texts {
    codes: Codes,
    /// For each value, its code in the batch.
    codes_of: Vec<u32>,
    /// The dictionary that these are codes of. While this is held nobody changes it where it is.
    of: Weak<Interner>,
    /// Codes of the decoded rows, as the file has them.
    rows: Vec<u32>,
}

impl Texts {
    fn new(codes: Codes) -> Self {
        Self {
            codes,
            codes_of: Vec::new(),
            of: Weak::new(),
            rows: Vec::new(),
        }
    }

    fn read(&mut self, count: usize) -> Result<(), ParquetError> {
        self.rows.clear();
        self.codes.read(count, &mut self.rows)
    }

    /// Finds the codes of values that have none yet, or none in the dictionary that the batch has now.
    fn learn(
        &mut self,
        orders: &mut OrderBatch,
        dictionary: fn(&OrderBatch) -> &Arc<Interner>,
        find: impl Fn(&mut OrderBatch, &[u8]) -> Result<u32, RowError>,
    ) -> Result<(), ParquetError> {
        if self.of.as_ptr() != Arc::as_ptr(dictionary(orders)) {
            self.codes_of.clear();
        }
        for value in self.codes.values().iter().skip(self.codes_of.len()) {
            let code = find(orders, value).map_err(|error| {
                let value = String::from_utf8_lossy(value);
                ParquetError::General(format!("{value:?}: {error}"))
            })?;
            self.codes_of.push(code);
        }
        self.of = Arc::downgrade(dictionary(orders));
        Ok(())
    }

    /// The code of a decoded row in the batch.
    fn code(&self, row: usize) -> Option<u32> {
        self.codes_of.get(*self.rows.get(row)? as usize).copied()
    }

    fn pick(&self, wanted: Option<&[u32]>, to: &mut Vec<u32>) {
        let code = |row: u32| self.codes_of.get(row as usize).copied();
        // Every code is below the number of values, and each of these has a code in the batch.
        pick(&self.rows, wanted, to, |row| code(row).unwrap_or(UNWANTED));
    }
}
