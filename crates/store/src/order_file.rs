//! Orders from a Parquet file: the columns of the CSV feed, by name.
//!
//! Invariant: a row of the file appears exactly once, as an order or as a dead letter with the
//! column and the reason; orders are numbered by their row in the file, from 1, refused rows counted
//! too.

mod columns;

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use tapewatch_model::{DeadLetter, OrderBatch, OrderSource, Progress, RowError, SourceError};

use columns::Columns;

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

/// A Parquet file of orders.
///
/// Columns are found by name, whatever their case and underscores, so that `event_type` and the
/// reference's `eventType` both fit; others are ignored. `time` is a timestamp of any unit, whole
/// nanoseconds or text; `price` and `quantity` are floats, integers, decimals or text.
pub struct ParquetOrders {
    name: String,
    reader: ParquetRecordBatchReader,
    /// Where each of [`NAMES`] is in the batches that are read.
    places: [usize; 8],
    /// The batch that is being handed out.
    current: Option<Current>,
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
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| fail(format!("is not a Parquet file that can be read: {error}")))?;
        let found = find_columns(builder.schema()).map_err(fail)?;
        let total = builder.metadata().file_metadata().num_rows();
        let mask = ProjectionMask::roots(builder.parquet_schema(), found);
        // A projected batch has the columns in the file's order.
        let mut places = [0; 8];
        for (place, &root) in places.iter_mut().zip(&found) {
            *place = found.iter().filter(|&&other| other < root).count();
        }
        let reader = builder
            .with_projection(mask)
            .with_batch_size(READ_ROWS)
            .build()
            .map_err(|error| fail(format!("cannot be read: {error}")))?;
        Ok(Self {
            name,
            reader,
            places,
            current: None,
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
            let columns = Columns::of(&batch, self.places)
                .map_err(|error| fail(format!("cannot be read {after}: {error}")))?;
            self.current = Some(Current {
                batch,
                columns,
                next: 0,
            });
        }
    }
}

/// Where each of [`NAMES`] is in the file.
fn find_columns(schema: &Schema) -> Result<[usize; 8], String> {
    let mut found = [0; 8];
    for (name, place) in NAMES.iter().zip(&mut found) {
        let same = |(_, field): &(usize, &std::sync::Arc<arrow::datatypes::Field>)| {
            plain(field.name()) == plain(name)
        };
        let mut matching = schema.fields().iter().enumerate().filter(same);
        let Some((index, field)) = matching.next() else {
            return Err(format!(
                "has no column {name}; its columns are {}",
                names(schema)
            ));
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
        *place = index;
    }
    Ok(found)
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
        // Numbers of their own once a row was refused.
        let mut numbers: Option<Vec<u64>> = None;
        let mut left = rows_max.max(1);
        while left > 0 && self.load()? {
            let Some(current) = &mut self.current else {
                break;
            };
            let upto = current.batch.num_rows().min(current.next + left);
            left -= upto - current.next;
            for index in current.next..upto {
                self.rows.done += 1;
                let row = self.rows.done;
                match current.columns.push(index, orders) {
                    Ok(()) => {
                        if let Some(numbers) = &mut numbers {
                            numbers.push(row);
                        }
                    }
                    Err(error) => {
                        numbers.get_or_insert_with(|| (first..row).collect());
                        let raw = render(&current.batch, index);
                        dead_letters.push(refuse(&self.name, row, &error, &raw));
                    }
                }
            }
            current.next = upto;
        }
        match numbers {
            None => orders.number_from(first),
            Some(numbers) => {
                let fits = orders.number_with(numbers);
                debug_assert!(fits, "a number for each order");
            }
        }
        Ok(self.rows.done >= first)
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
