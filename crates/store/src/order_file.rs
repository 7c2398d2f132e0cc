//! Orders from a Parquet file: the columns of the CSV feed, by name.
//!
//! Invariant: a row of the file appears exactly once, as an order, as a dead letter with the column
//! and the reason, or among the rows that were passed over; orders are numbered by their row in the
//! file, from 1, all other rows counted too.

mod batch;
mod columns;
mod details;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use tapewatch_model::{
    DeadLetter, EventTypes, OrderBatch, OrderColumns, OrderSource, Progress, RowError, SourceError,
    Tells,
};

pub(crate) use batch::OrderRows;
use columns::{Codes, Columns};
pub use writer::OrderFileWriter;

/// Rows that are decoded at once.
const READ_ROWS: usize = 16_384;

/// The columns of an order, in the order of the schema.
const NAMES: [&str; 8] = [
    "time",
    "sym",
    "event_type",
    "trader",
    "side",
    "order_id",
    "price",
    "quantity",
];

/// Those that need not be there.
const OPTIONAL: [&str; 4] = ["account", "exec_id", "display_quantity", "flags"];

/// Where columns are, in a file or in the batches that are read of it.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// Those of [`NAMES`].
    all: [usize; 8],
    /// Those of [`OPTIONAL`].
    some: [Option<usize>; 4],
}

/// A Parquet file of orders.
///
/// Columns are found by name, whatever their case and underscores, so that `event_type` and the
/// reference's `eventType` both fit; others are ignored. `time` is a timestamp of any unit, whole
/// nanoseconds or text; `price` and `quantity` are floats, integers, decimals or text.
pub struct ParquetOrders {
    name: String,
    reader: ParquetRecordBatchReader,
    /// Where the columns are in the batches that are read.
    places: Places,
    /// The batch that is being handed out.
    current: Option<Current>,
    codes: Codes,
    /// Rows that are being added. Kept for their memory.
    some: Vec<u32>,
    filling: OrderColumns,
    wanted: EventTypes,
    rows: Progress,
}

struct Current {
    batch: RecordBatch,
    columns: Columns,
    next: usize,
}

impl std::fmt::Debug for ParquetOrders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetOrders")
            .field("name", &self.name)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ParquetOrders {
    /// Opens a file and finds its columns.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be read, is not a Parquet file, or a column is missing or of a
    /// type that cannot hold it.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let fail = |message: String| SourceError {
            source_name: name.clone(),
            message,
        };
        let file = File::open(path).map_err(|error| fail(format!("cannot be opened: {error}")))?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| fail(format!("is not a Parquet file that can be read: {error}")))?;
        let found = find_columns(metadata.schema()).map_err(fail)?;
        let metadata =
            as_read(&metadata, &found).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let total = metadata.metadata().file_metadata().num_rows();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), found.roots());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(READ_ROWS)
            .build()
            .map_err(|error| fail(format!("cannot be read: {error}")))?;
        Ok(Self {
            name,
            reader,
            places: found.projected(),
            current: None,
            codes: Codes::default(),
            some: Vec::new(),
            filling: OrderColumns::default(),
            wanted: EventTypes::ALL,
            rows: Progress {
                done: 0,
                total: u64::try_from(total).unwrap_or_default(),
                passed_over: 0,
            },
        })
    }

    /// Makes sure that there is a row to hand out; `false` at the end of the file.
    fn load(&mut self) -> Result<bool, SourceError> {
        loop {
            if let Some(current) = &self.current
                && current.next < current.batch.num_rows()
            {
                return Ok(true);
            }
            self.current = None;
            let fail = |message: String| SourceError {
                source_name: self.name.clone(),
                message,
            };
            let after = format!("after row {}", self.rows.done);
            let Some(batch) = self.reader.next() else {
                if self.rows.done != self.rows.total {
                    return Err(fail(format!(
                        "ends {after} of {}: the file is damaged; fetch it again",
                        self.rows.total
                    )));
                }
                return Ok(false);
            };
            let batch = batch.map_err(|error| fail(format!("cannot be read {after}: {error}")))?;
            let columns = Columns::of(&batch, &self.places)
                .map_err(|error| fail(format!("cannot be read {after}: {error}")))?;
            self.current = Some(Current {
                batch,
                columns,
                next: 0,
            });
        }
    }
}

impl Places {
    /// The places of all columns that are there.
    fn roots(&self) -> impl Iterator<Item = usize> + use<> {
        let some = self.some.into_iter().flatten();
        self.all.into_iter().chain(some)
    }

    /// What rows with these columns may tell.
    fn tells(&self) -> Tells {
        let [_, exec_id, _, flags] = self.some.map(|place| place.is_some());
        Tells {
            trader: true,
            exec_id,
            capacity: flags,
        }
    }

    /// The same columns in a batch that has no others: it has them in the file's order.
    fn projected(&self) -> Self {
        let place = |root| self.roots().filter(|&other| other < root).count();
        Self {
            all: self.all.map(place),
            some: self.some.map(|root| root.map(place)),
        }
    }

    /// The name of the column at `root`.
    fn name(&self, root: usize) -> Option<&'static str> {
        let all = self.all.iter().zip(NAMES);
        let all = all.map(|(place, name)| (Some(*place), name));
        let some = self.some.iter().copied().zip(OPTIONAL);
        let mut named = all.chain(some);
        named
            .find(|(place, _)| *place == Some(root))
            .map(|(_, name)| name)
    }
}

/// Where the columns are in the file.
fn find_columns(schema: &Schema) -> Result<Places, String> {
    let mut places = Places {
        all: [0; 8],
        some: [None; 4],
    };
    for (name, place) in NAMES.iter().zip(&mut places.all) {
        *place = find_column(schema, name)?.ok_or_else(|| {
            let names = names(schema);
            format!("has no column {name}; its columns are {names}")
        })?;
    }
    for (name, place) in OPTIONAL.iter().zip(&mut places.some) {
        *place = find_column(schema, name)?;
    }
    Ok(places)
}

fn find_column(schema: &Schema, name: &str) -> Result<Option<usize>, String> {
    let same = |(_, field): &(usize, &Arc<Field>)| plain(field.name()) == plain(name);
    let mut matching = schema.fields().iter().enumerate().filter(same);
    let Some((index, field)) = matching.next() else {
        return Ok(None);
    };
    if let Some((_, other)) = matching.next() {
        return Err(format!(
            "has two columns for {name}: {} and {}; drop one",
            field.name(),
            other.name()
        ));
    }
    columns::check_type(name, field.data_type()).map_err(|wanted| {
        format!(
            "column {} is of type {}, wanted {wanted}",
            field.name(),
            field.data_type()
        )
    })?;
    Ok(Some(index))
}

/// The file with its columns as types that are read fast, whatever program wrote it.
fn as_read(
    metadata: &ArrowReaderMetadata,
    found: &Places,
) -> Result<ArrowReaderMetadata, ParquetError> {
    let as_read = |(index, field): (usize, &Arc<Field>)| {
        let name = found.name(index);
        match name.and_then(|name| columns::read_as(name, field.data_type())) {
            Some(kind) => Arc::new(field.as_ref().clone().with_data_type(kind)),
            None => Arc::clone(field),
        }
    };
    let schema = metadata.schema();
    let fields: Vec<_> = schema.fields().iter().enumerate().map(as_read).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

fn names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.join(", ")
}

/// A column's name without case and underscores.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|&c| c != '_')
        .flat_map(char::to_lowercase)
        .collect()
}

impl OrderSource for ParquetOrders {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        orders.clear();
        let first = self.rows.done + 1;
        let mut numbers = Vec::new();
        let mut left = rows_max.max(1);
        while left > 0 && self.load()? {
            let Some(current) = &mut self.current else {
                break;
            };
            let upto = current.batch.num_rows().min(current.next + left);
            left -= upto - current.next;
            let before = self.rows.done + 1 - current.next as u64;
            self.codes.begin(&current.columns, orders);
            let rows = upto - current.next;
            self.some.clear();
            let wanted = current.columns.wanted(self.wanted, current.next..upto);
            self.some.extend(wanted.map(|index| index as u32));
            let (codes, filling) = (&mut self.codes, &mut self.filling);
            if current.columns.fill(&self.some, codes, filling, orders) {
                numbers.extend(self.some.iter().map(|&index| before + u64::from(index)));
            } else {
                for index in self.some.iter().map(|&index| index as usize) {
                    let row = before + index as u64;
                    match current.columns.push(index, codes, orders) {
                        Ok(()) => numbers.push(row),
                        Err(error) => {
                            let raw = render(&current.batch, index);
                            dead_letters.push(refuse(&self.name, row, &error, &raw));
                        }
                    }
                }
            }
            self.codes.end(orders);
            current.next = upto;
            self.rows.done += rows as u64;
            self.rows.passed_over += (rows - self.some.len()) as u64;
        }
        if numbers.len() as u64 == self.rows.done + 1 - first {
            orders.number_from(first);
        } else {
            let fits = orders.number_with(numbers);
            debug_assert!(fits, "a number for each order");
        }
        Ok(self.rows.done >= first)
    }

    fn want(&mut self, events: EventTypes) {
        self.wanted = events;
    }

    fn tells(&self) -> Tells {
        self.places.tells()
    }

    fn progress(&self) -> Progress {
        self.rows
    }
}

fn refuse(source: &str, row: u64, error: &RowError, raw: &str) -> DeadLetter {
    DeadLetter::new(source, row, error.column, &error.reason, raw.as_bytes())
}

/// The row for people: `time=…, sym=…`.
fn render(batch: &RecordBatch, index: usize) -> String {
    let options = FormatOptions::new().with_null("null");
    let mut text = String::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let value = ArrayFormatter::try_new(column, &options)
            .and_then(|formatter| formatter.value(index).try_to_string());
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(field.name());
        text.push('=');
        text.push_str(value.as_deref().unwrap_or("?"));
    }
    text
}
