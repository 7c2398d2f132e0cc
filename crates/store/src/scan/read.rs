//! Rows of one row group, decoded batch by batch.
//!
//! Invariant: a row that is given out is wanted, and its place in the row group stands beside it;
//! order ids and prices are not decoded until they are asked for.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;
use tapewatch_model::{CodedRow, EventType, OrderBatch, Price, Quantity, Side, Time};

use super::parts::{DataFile, Part, Range};
use super::{ScanError, ScanRequest};
use crate::coded::{Coded, TextCodes, coded_type};

/// Most rows that are decoded at once.
pub(super) const BATCH_ROWS: usize = 131_072;

/// What every batch of a row group has, in this order.
const NAMES: [&str; 7] = [
    "seq",
    "time_ns",
    "sym",
    "event_type",
    "trader",
    "side",
    "quantity",
];

/// What is read of a row only when it is asked for, in this order.
const DETAILS: [&str; 2] = ["order_id", "price"];

/// Rows that have been read.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) orders: OrderBatch,
    pub(super) seqs: Vec<u64>,
    /// Where each row is in what it was read from.
    pub(super) places: Vec<Place>,
    syms: TextCodes,
    traders: TextCodes,
}

/// Where a row is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
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
    reader: ParquetRecordBatchReader,
    /// Rows decoded so far.
    done: usize,
}

/// A decoded batch by its columns.
struct Columns<'a> {
    seq: &'a [i64],
    time: &'a [i64],
    sym: Coded,
    events: Coded,
    trader: Coded,
    sides: Coded,
    quantity: &'a [i128],
}

impl PartReader {
    pub(super) fn open(part: &Part) -> Result<Self, ScanError> {
        let reader = open(&part.file, part.group, &NAMES, None)?;
        Ok(Self {
            file: Arc::clone(&part.file),
            reader,
            done: 0,
        })
    }

    /// Adds the wanted rows of the next decoded batch; `false` at the end.
    pub(super) fn next(
        &mut self,
        request: &ScanRequest,
        range: &Range,
        source: u32,
        rows: &mut Rows,
    ) -> Result<bool, ScanError> {
        let Some(batch) = self.reader.next() else {
            return Ok(false);
        };
        let batch = batch.map_err(|error| self.file.fail(error))?;
        let after = self.done;
        let columns = columns(&batch).ok_or_else(|| {
            self.file.fail(format_args!(
                "columns that are not those of orders, or nulls, after row {after}"
            ))
        })?;
        columns
            .push(request, range, (source, after), rows)
            .map_err(|index| {
                let row = after + index;
                self.file
                    .fail(format_args!("row {row} of a row group is not an order"))
            })?;
        self.done += batch.num_rows();
        Ok(true)
    }
}

fn columns(batch: &RecordBatch) -> Option<Columns<'_>> {
    let column = |name| batch.column_by_name(name).filter(|c| c.null_count() == 0);
    let whole = |name| {
        Some(
            column(name)?
                .as_primitive_opt::<Int64Type>()?
                .values()
                .as_ref(),
        )
    };
    let coded = |name| Coded::of(column(name)?).ok();
    let quantity = column("quantity")?.as_primitive_opt::<Decimal128Type>()?;
    Some(Columns {
        seq: whole("seq")?,
        time: whole("time_ns")?,
        sym: coded("sym")?,
        events: coded("event_type")?,
        trader: coded("trader")?,
        sides: coded("side")?,
        quantity: quantity.values(),
    })
}

impl Columns<'_> {
    /// Adds the wanted rows; the first row that is no order is the error.
    fn push(
        &self,
        request: &ScanRequest,
        range: &Range,
        (source, after): (u32, usize),
        rows: &mut Rows,
    ) -> Result<(), usize> {
        let events = meanings(&self.events, EventType::parse);
        let sides = meanings(&self.sides, Side::parse);
        let syms = meanings(&self.sym, |text| {
            let text = std::str::from_utf8(text).ok()?;
            Some(range.contains(text) && request.wants_sym(text))
        });
        rows.syms.begin(&self.sym, rows.orders.syms());
        rows.traders.begin(&self.trader, rows.orders.traders());
        let columns = self.seq.iter().zip(self.time).zip(self.quantity);
        for (index, ((seq, time), quantity)) in columns.enumerate() {
            let event = meaning(&events, &self.events, index).ok_or(index)?;
            let time = Time::from_nanos(*time);
            let wanted = request.events.contains(event)
                && request.wants_time(time)
                && meaning(&syms, &self.sym, index).ok_or(index)?;
            if !wanted {
                continue;
            }
            let side = meaning(&sides, &self.sides, index).ok_or(index)?;
            let (sym, trader) = self.codes(index, rows).ok_or(index)?;
            let quantity = i64::try_from(*quantity).map_err(|_| index)?;
            let row = CodedRow {
                time,
                sym,
                event_type: event,
                trader,
                side,
                order_id: b"",
                price: Price::default(),
                quantity: Quantity::from_units(quantity).map_err(|_| index)?,
            };
            rows.orders.push_coded(&row).map_err(|_| index)?;
            rows.seqs.push(seq.cast_unsigned());
            rows.places.push(Place {
                source,
                row: (after + index) as u32,
            });
        }
        rows.syms.end(rows.orders.syms());
        rows.traders.end(rows.orders.traders());
        Ok(())
    }

    #[inline]
    fn codes(&self, index: usize, rows: &mut Rows) -> Option<(u32, u32)> {
        let orders = &mut rows.orders;
        let at = self.sym.code(index)?;
        let sym = rows
            .syms
            .code(at, || orders.sym_code(self.sym.text(at)?).ok())?;
        let at = self.trader.code(index)?;
        let trader = rows
            .traders
            .code(at, || orders.trader_code(self.trader.text(at)?).ok())?;
        Some((sym, trader))
    }
}

/// What each text of a dictionary means.
fn meanings<T>(column: &Coded, parse: impl Fn(&[u8]) -> Option<T>) -> Vec<Option<T>> {
    (0..column.len())
        .map(|at| column.text(at).and_then(&parse))
        .collect()
}

#[inline]
fn meaning<T: Copy>(meanings: &[Option<T>], column: &Coded, index: usize) -> Option<T> {
    *meanings.get(column.code(index)?)?
}

/// Order ids and prices of these rows of a row group, ascending and each once.
pub(super) fn details(part: &Part, rows: &[u32]) -> Result<Vec<(String, Price)>, ScanError> {
    let (mut selectors, mut next) = (Vec::new(), 0);
    for &row in rows {
        let row = row as usize;
        selectors.push(RowSelector::skip(row.saturating_sub(next)));
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    let selection = RowSelection::from(selectors);
    let reader = open(&part.file, part.group, &DETAILS, Some(selection))?;
    let mut found = Vec::with_capacity(rows.len());
    for batch in reader {
        let batch = batch.map_err(|error| part.file.fail(error))?;
        let read = read_details(&batch, &mut found);
        read.ok_or_else(|| {
            part.file
                .fail("an order id or a price is missing or out of range")
        })?;
    }
    if found.len() != rows.len() {
        return Err(part.file.fail("ends before its last row"));
    }
    Ok(found)
}

fn read_details(batch: &RecordBatch, found: &mut Vec<(String, Price)>) -> Option<()> {
    let column =
        |name| -> Option<&ArrayRef> { batch.column_by_name(name).filter(|c| c.null_count() == 0) };
    let ids = column("order_id")?.as_string_view_opt()?;
    let prices = column("price")?.as_primitive_opt::<Decimal128Type>()?;
    for (id, units) in ids.iter().zip(prices.values()) {
        let price = Price::from_units(i64::try_from(*units).ok()?);
        found.push((id?.to_owned(), price));
    }
    Some(())
}

/// Opens some columns of a row group, and of these columns some rows.
fn open(
    file: &DataFile,
    group: usize,
    names: &[&str],
    selection: Option<RowSelection>,
) -> Result<ParquetRecordBatchReader, ScanError> {
    let fail = |error: &dyn std::fmt::Display| file.fail(error);
    let schema = file.metadata.schema();
    let field = |field: &Arc<Field>| {
        let kind = match field.name().as_str() {
            "sym" | "event_type" | "trader" | "side" => coded_type(),
            "order_id" => DataType::Utf8View,
            _ => return Arc::clone(field),
        };
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let opened = std::fs::File::open(&file.path).map_err(|error| fail(&error))?;
    let metadata = if selection.is_some() {
        // The page index is worth reading only here: it leaves out the pages of other rows.
        ArrowReaderMetadata::load(
            &opened,
            options.with_page_index_policy(PageIndexPolicy::Optional),
        )
    } else {
        ArrowReaderMetadata::try_new(Arc::clone(file.metadata.metadata()), options)
    };
    let metadata = metadata.map_err(|error| fail(&error))?;
    let mask = ProjectionMask::columns(metadata.parquet_schema(), names.iter().copied());
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(opened, metadata)
        .with_projection(mask)
        .with_row_groups(vec![group])
        .with_batch_size(BATCH_ROWS);
    if let Some(selection) = selection {
        builder = builder.with_row_selection(selection);
    }
    builder.build().map_err(|error| fail(&error))
}
