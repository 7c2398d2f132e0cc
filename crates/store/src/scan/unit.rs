//! One range of instruments of a scan, read batch by batch.
//!
//! Invariant: see [`super`]; what is remembered of the last batch is what its details need.

use std::collections::VecDeque;
use std::sync::Arc;

use tapewatch_model::{CodedRow, Details, Interner, OrderBatch, Price, RowError, RowRef};

use super::full::details;
use super::parts::{Part, Range, Step, plan};
use super::read::{BATCH_ROWS, PartReader, Place, Rows, trader_code};
use super::{ScanError, ScanRequest};
use crate::recent_orders::Chunk;

/// The wanted orders of a range of instruments.
pub struct ScanUnit {
    request: Arc<ScanRequest>,
    range: Range,
    rows: u64,
    by_instrument: bool,
    steps: VecDeque<Step>,
    recent: Arc<Vec<Chunk>>,
    recent_next: usize,
    reading: Option<PartReader>,
    sorted: Option<Sorted>,
    /// What was read so far.
    sources: Vec<Source>,
    last: Rows,
    order: Order,
}

/// What rows are read from.
enum Source {
    Part(Part),
    Recent(Chunk),
}

/// Rows of several row groups, and their order: by instrument, then by sequence number.
struct Sorted {
    rows: Rows,
    order: VecDeque<usize>,
}

/// The last sequence number of each instrument.
#[derive(Default)]
struct Order {
    syms: Interner,
    last: Vec<u64>,
    /// The dictionary of the last batch, and what its codes are in `syms`.
    dictionary: Arc<Interner>,
    codes: Vec<u32>,
    /// The instrument of the last row.
    at: u32,
}

impl std::fmt::Debug for ScanUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanUnit")
            .field("range", &self.range)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ScanUnit {
    pub(super) fn new(
        request: Arc<ScanRequest>,
        range: Range,
        parts: &[Part],
        recent: Arc<Vec<Chunk>>,
    ) -> Self {
        let parts: Vec<Part> = parts
            .iter()
            .filter(|part| range.meets(part))
            .cloned()
            .collect();
        let in_recent = |chunk: &Chunk| {
            let batch = chunk.orders();
            let held = |sym: &str| range.contains(sym);
            let held: Vec<bool> = batch.syms().texts().iter().map(held).collect();
            let codes = batch
                .sym_codes()
                .get(chunk.rows())
                .unwrap_or_default()
                .iter();
            codes
                .filter(|code| held.get(**code as usize) == Some(&true))
                .count() as u64
        };
        let recent_rows: u64 = recent.iter().map(in_recent).sum();
        let rows = parts.iter().map(|part| part.rows).sum::<u64>() + recent_rows;
        let (steps, by_instrument) = plan(parts);
        Self {
            rows,
            by_instrument: by_instrument && recent_rows == 0,
            steps: steps.into(),
            request,
            range,
            recent,
            recent_next: 0,
            reading: None,
            sorted: None,
            sources: Vec::new(),
            last: Rows::default(),
            order: Order::default(),
        }
    }

    /// The range of instruments, from one up to and without another: the same for the same data.
    #[must_use]
    pub fn name(&self) -> String {
        let end = |end: &Option<String>| end.clone().unwrap_or_default();
        format!("{}..{}", end(&self.range.from), end(&self.range.to))
    }

    /// Rows that have to be looked at: at least those that are wanted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the rows of an instrument all come one after another.
    #[must_use]
    pub fn by_instrument(&self) -> bool {
        self.by_instrument
    }

    /// The next wanted orders, with details when these are wanted too; `None` at the end. Each
    /// instrument's come ascending by sequence number, different ones in any order.
    ///
    /// # Errors
    /// [`ScanError`] names the file that cannot be read, or whose rows are not in its order.
    pub fn next_batch(&mut self) -> Result<Option<&OrderBatch>, ScanError> {
        loop {
            self.last.clear();
            if !self.read()? {
                return Ok(None);
            }
            if !self.last.seqs.is_empty() {
                break;
            }
        }
        let rows = &mut self.last;
        if !self
            .order
            .holds(&rows.orders, &rows.seqs, self.by_instrument)
        {
            let message = "rows of an instrument are not ascending by seq, or not together";
            return Err(match self.sources.last() {
                Some(Source::Part(part)) => part.file.fail(message),
                Some(Source::Recent(_)) | None => ScanError::Table {
                    message: message.to_owned(),
                },
            });
        }
        let fits = rows.orders.number_with(std::mem::take(&mut rows.seqs));
        debug_assert!(fits, "a number for each order");
        Ok(Some(&self.last.orders))
    }

    /// Reads on; `false` when nothing is left.
    fn read(&mut self) -> Result<bool, ScanError> {
        if let Some(reader) = &mut self.reading {
            let source = (self.sources.len() as u32).saturating_sub(1);
            if reader.next(&self.request, &self.range, source, &mut self.last)? {
                return Ok(true);
            }
            self.reading = None;
        }
        if let Some(sorted) = &mut self.sorted {
            if sorted.give(&mut self.last) {
                return Ok(true);
            }
            self.sorted = None;
        }
        match self.steps.pop_front() {
            Some(Step::Stream(part)) => {
                self.reading = Some(PartReader::open(&part, &self.request)?);
                self.sources.push(Source::Part(part));
            }
            Some(Step::Sort(parts)) => {
                let first = self.sources.len() as u32;
                let sorted = Sorted::read(&parts, first, &self.request, &self.range)?;
                self.sorted = Some(sorted);
                self.sources.extend(parts.into_iter().map(Source::Part));
            }
            None => return self.read_recent(),
        }
        Ok(true)
    }

    fn read_recent(&mut self) -> Result<bool, ScanError> {
        let Some(chunk) = self.recent.get(self.recent_next) else {
            return Ok(false);
        };
        let batch = chunk.orders();
        let source = self.sources.len() as u32;
        self.sources.push(Source::Recent(chunk.clone()));
        self.recent_next += 1;
        for index in chunk.rows() {
            let Some(row) = batch.row(index) else {
                continue; // a chunk's rows are of its batch
            };
            let wanted = self.request.events.contains(row.event_type)
                && self.request.wants_time(row.time)
                && self.range.contains(row.sym)
                && self.request.wants_sym(row.sym);
            if wanted {
                let place = Place {
                    source,
                    row: index as u32,
                };
                let row = match self.request.details {
                    true => row,
                    false => judged(row),
                };
                push(&mut self.last, &row, batch.seq(index), place)?;
            }
        }
        Ok(true)
    }

    /// Where a row of the last batch is.
    #[must_use]
    pub fn place(&self, row: usize) -> Option<Place> {
        self.last.places.get(row).copied()
    }

    /// Order ids and prices of rows that were given, in the order in which they are asked for. Each
    /// row group is opened once, so they are best asked for together.
    ///
    /// # Errors
    /// [`ScanError`] when a file cannot be read.
    pub fn details(&self, places: &[Place]) -> Result<Vec<(String, Price)>, ScanError> {
        let mut found = vec![(String::new(), Price::default()); places.len()];
        let mut wanted: Vec<(Place, usize)> = places.iter().copied().zip(0..).collect();
        wanted.sort_unstable();
        for some in wanted.chunk_by(|a, b| a.0.source == b.0.source) {
            let source = some.first().map_or(0, |(place, _)| place.source);
            let mut rows: Vec<u32> = some.iter().map(|(place, _)| place.row).collect();
            rows.dedup();
            let read = match self.sources.get(source as usize) {
                Some(Source::Part(part)) => details(part, &rows)?,
                Some(Source::Recent(chunk)) => recent_details(chunk, &rows),
                None => continue, // places are given out with their sources
            };
            for (place, index) in some {
                let at = rows.partition_point(|&row| row < place.row);
                if let (Some(details), Some(found)) = (read.get(at), found.get_mut(*index)) {
                    found.clone_from(details);
                }
            }
        }
        Ok(found)
    }
}

fn recent_details(chunk: &Chunk, rows: &[u32]) -> Vec<(String, Price)> {
    let rows = rows.iter().map(|&row| chunk.orders().row(row as usize));
    rows.map(|row| row.map_or_else(Default::default, |row| (row.order_id.to_owned(), row.price)))
        .collect()
}

/// The row without what is not read unless details are wanted.
fn judged(row: RowRef<'_>) -> RowRef<'_> {
    RowRef {
        order_id: "",
        price: Price::default(),
        details: Details::default(),
        ..row
    }
}

/// Adds a row of another batch.
fn push(rows: &mut Rows, row: &RowRef<'_>, seq: u64, place: Place) -> Result<(), ScanError> {
    add(&mut rows.orders, row).map_err(|error| ScanError::Table {
        message: format!("row with seq {seq}: {error}"),
    })?;
    rows.seqs.push(seq);
    rows.places.push(place);
    Ok(())
}

fn add(orders: &mut OrderBatch, row: &RowRef<'_>) -> Result<(), RowError> {
    let sym = orders.sym_code(row.sym.as_bytes())?;
    // Whether the source names the trader is not known without details.
    let trader = trader_code(orders, row.trader.as_bytes())?;
    orders.push_coded(&CodedRow {
        time: row.time,
        sym,
        event_type: row.event_type,
        trader,
        side: row.side,
        order_id: row.order_id.as_bytes(),
        price: row.price,
        quantity: row.quantity,
        details: row.details.as_bytes(),
    })
}

impl Sorted {
    fn read(
        parts: &[Part],
        first: u32,
        request: &ScanRequest,
        range: &Range,
    ) -> Result<Self, ScanError> {
        let mut rows = Rows::default();
        for (source, part) in (first..).zip(parts) {
            let mut reader = PartReader::open(part, request)?;
            while reader.next(request, range, source, &mut rows)? {}
        }
        // Instrument by instrument, so that the windows of one at a time are enough.
        let mut order: Vec<usize> = (0..rows.seqs.len()).collect();
        let syms = rows.orders.sym_codes();
        order.sort_by_key(|&index| (syms.get(index), rows.seqs.get(index)));
        Ok(Self {
            rows,
            order: order.into(),
        })
    }

    /// Gives the next rows; `false` at the end.
    fn give(&mut self, to: &mut Rows) -> bool {
        let upto = self.order.len().min(BATCH_ROWS);
        let some: Vec<usize> = self.order.drain(..upto).collect();
        to.orders = self.rows.orders.picked(&some);
        let rows = some.iter();
        let (seqs, places) = (&self.rows.seqs, &self.rows.places);
        to.seqs = rows
            .clone()
            .filter_map(|&row| seqs.get(row).copied())
            .collect();
        to.places = rows.filter_map(|&row| places.get(row).copied()).collect();
        upto > 0
    }
}

impl Order {
    /// Whether the rows go on ascending for each instrument and, where they must, one after another.
    fn holds(&mut self, orders: &OrderBatch, seqs: &[u64], by_instrument: bool) -> bool {
        if !Arc::ptr_eq(&self.dictionary, orders.syms()) {
            self.dictionary = Arc::clone(orders.syms());
            // A dictionary holds UTF-8 only, so interning its texts cannot fail.
            let syms = self.dictionary.texts().iter();
            let codes = syms.filter_map(|sym| self.syms.intern(sym.as_bytes()).ok());
            self.codes = codes.collect();
            self.last.resize(self.syms.len(), 0);
        }
        orders.sym_codes().iter().zip(seqs).all(|(&code, &seq)| {
            let code = self.codes.get(code as usize).copied().unwrap_or(u32::MAX);
            let Some(last) = self.last.get_mut(code as usize) else {
                return false;
            };
            let before = std::mem::replace(last, seq);
            let together = code == self.at || before == 0 || !by_instrument;
            self.at = code;
            before < seq && together
        })
    }
}
