//! Columns of one row group of the history as codes and as Arrow has them, some rows at a time.
//!
//! Invariant: the rows at hand are those of the decoded ones that pass all tests, in the order of the
//! file; a column is decoded once, whatever needs it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use parquet::errors::ParquetError;

use super::picked::{Coded, Test};
use crate::columns::{Codes, Leaf, Numbers};
use crate::scan::{Part, ScanError};
use crate::schema::{PRICE, QUANTITY, time_type};

/// Rows that are decoded at once.
const ROWS: usize = 8_192;

/// Whether a column can be read here as it is in SQL.
pub(super) fn is_read(field: &Field) -> bool {
    match field.name().as_str() {
        "seq" => *field.data_type() == DataType::Int64,
        "time" => *field.data_type() == time_type(),
        "price" => *field.data_type() == PRICE,
        "quantity" => *field.data_type() == QUANTITY,
        _ => false,
    }
}

/// A column and its decoded rows.
struct Column {
    name: &'static str,
    values: Values,
}

enum Values {
    Numbers(Numbers, Vec<i64>),
    /// Codes, and for decimals what each of them stands for.
    Codes(Codes, Vec<u32>, Vec<i128>),
}

/// A row group that is being read.
pub(super) struct PartColumns {
    part: Part,
    columns: Vec<Column>,
    /// Those that are grouped by, and those that functions look at: places in `columns`.
    by: Vec<usize>,
    wanted: Vec<usize>,
    tests: Arc<[Test]>,
    /// What each of the tests looks at.
    asked: Vec<Asked>,
    done: usize,
    /// Of these, those that were decoded last.
    decoded: usize,
    /// How many rows are at hand, and, where not all decoded ones pass, which.
    rows: usize,
    picked: Option<Vec<u32>>,
}

/// What a test looks at: a place in the columns and, of texts, which codes pass and how many of them.
#[derive(Default)]
struct Asked {
    column: usize,
    passes: Vec<bool>,
    passing: usize,
}

/// The column on the disk.
fn on_disk(name: &str) -> Option<&'static str> {
    Some(match name {
        "seq" => "seq",
        "time" => "time_ns",
        "sym" => "sym",
        "trader" => "trader",
        "event_type" => "event_type",
        "side" => "side",
        "price" => "price",
        "quantity" => "quantity",
        _ => return None,
    })
}

fn name_of(column: Coded) -> &'static str {
    match column {
        Coded::Sym => "sym",
        Coded::Trader => "trader",
        Coded::EventType => "event_type",
        Coded::Side => "side",
    }
}

fn tested(test: &Test) -> &'static str {
    match test {
        Test::Seqs(..) => "seq",
        Test::Times(..) => "time_ns",
        Test::Texts(column, _) => name_of(*column),
        Test::OrderIds(_) => "order_id",
    }
}

impl PartColumns {
    pub(super) fn open(
        part: &Part,
        by: &[Coded],
        wanted: &SchemaRef,
        tests: &Arc<[Test]>,
    ) -> Result<Self, ScanError> {
        let by: Vec<&str> = by.iter().map(|&column| name_of(column)).collect();
        let fields = wanted.fields().iter();
        let wanted: Vec<&str> = fields.filter_map(|field| on_disk(field.name())).collect();
        let mut names: Vec<&'static str> = tests.iter().map(tested).collect();
        for name in by.iter().chain(&wanted) {
            names.extend(on_disk(name).or((*name == "time_ns").then_some("time_ns")));
        }
        names.sort_unstable();
        names.dedup();
        let opened = part.file.open().map_err(|error| part.file.fail(error))?;
        let metadata = part.file.metadata.metadata();
        let open = |name: &'static str| {
            let leaf = Leaf::find(&opened, metadata, part.group, name)?;
            let values = match name {
                "seq" | "time_ns" => Values::Numbers(Numbers::open(&leaf)?, Vec::new()),
                _ => Values::Codes(Codes::open(&leaf)?, Vec::new(), Vec::new()),
            };
            Ok::<_, ParquetError>(Column { name, values })
        };
        let columns = names
            .iter()
            .map(|name| open(name))
            .collect::<Result<_, _>>();
        let places = |of: &[&str]| {
            of.iter()
                .filter_map(|name| names.binary_search(name).ok())
                .collect()
        };
        let asked = tests.iter().map(|test| Asked {
            // Each test's column is among them.
            column: names.binary_search(&tested(test)).unwrap_or_default(),
            ..Asked::default()
        });
        Ok(Self {
            asked: asked.collect(),
            by: places(&by),
            wanted: places(&wanted),
            columns: columns.map_err(|error| part.file.fail(error))?,
            part: part.clone(),
            tests: Arc::clone(tests),
            done: 0,
            decoded: 0,
            rows: 0,
            picked: None,
        })
    }

    /// Decodes the next rows; `false` at the end.
    pub(super) fn next(&mut self) -> Result<bool, ScanError> {
        let total = usize::try_from(self.part.rows).unwrap_or(usize::MAX);
        let count = (total - self.done).min(ROWS);
        if count == 0 {
            return Ok(false);
        }
        for column in &mut self.columns {
            let read = column.read(count);
            read.map_err(|error| {
                let (name, after) = (column.name, self.done);
                let place = format_args!("column {name}, after row {after} of a row group");
                self.part.file.fail(format_args!("{error}, {place}"))
            })?;
        }
        self.done += count;
        self.decoded = count;
        self.pick(count);
        Ok(true)
    }

    fn pick(&mut self, count: usize) {
        let mut picked = None;
        for (test, asked) in self.tests.iter().zip(&mut self.asked) {
            let column = self.columns.get(asked.column);
            picked = match (column.map(|column| &column.values), test) {
                (Some(Values::Numbers(_, rows)), Test::Seqs(from, to) | Test::Times(from, to)) => {
                    kept(picked, rows, |number| (from..=to).contains(&&number))
                }
                (Some(Values::Codes(codes, rows, _)), Test::Texts(_, texts)) => {
                    asked.look_at(codes.values(), texts);
                    match asked.passing {
                        0 => Some(Vec::new()),
                        all if all == asked.passes.len() => picked,
                        _ => kept(picked, rows, |code| {
                            asked.passes.get(code as usize) == Some(&true)
                        }),
                    }
                }
                // A test's column is read as it asks for it.
                _ => Some(Vec::new()),
            };
        }
        self.rows = picked.as_ref().map_or(count, Vec::len);
        self.picked = picked;
        // Codes that are grouped by are handed out as they are.
        let Some(picked) = &self.picked else {
            return;
        };
        for &at in &self.by {
            if let Some(Values::Codes(_, rows, _)) = self.columns.get_mut(at).map(|c| &mut c.values)
                && rows.len() == count
            {
                *rows = picked
                    .iter()
                    .filter_map(|&row| rows.get(row as usize).copied())
                    .collect();
            }
        }
    }

    /// The rows at hand, by their numbers in the row group.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        let first = self.done - self.decoded;
        let (all, some) = match &self.picked {
            None => (0..self.decoded, &[][..]),
            Some(some) => (0..0, some.as_slice()),
        };
        let rows = all.chain(some.iter().map(|&row| row as usize));
        rows.map(move |row| first + row)
    }

    /// Rows at hand.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    fn by(&self, column: usize) -> Option<&Column> {
        self.columns.get(*self.by.get(column)?)
    }

    /// The distinct texts of a column that is grouped by, by their codes.
    pub(super) fn texts(&self, column: usize) -> &[Bytes] {
        match self.by(column).map(|column| &column.values) {
            Some(Values::Codes(codes, ..)) => codes.values(),
            _ => &[],
        }
    }

    /// The codes of the rows at hand.
    pub(super) fn codes(&self, column: usize) -> &[u32] {
        match self.by(column).map(|column| &column.values) {
            Some(Values::Codes(_, rows, _)) => rows,
            _ => &[],
        }
    }

    pub(super) fn not_text(&self, column: usize) -> DataFusionError {
        let name = self.by(column).map_or("", |column| column.name);
        let error = self
            .part
            .file
            .fail(format_args!("column {name} is not UTF-8"));
        DataFusionError::Execution(error.to_string())
    }

    /// The columns that functions look at.
    pub(super) fn columns(&self) -> Result<Vec<ArrayRef>> {
        let columns = self.wanted.iter().filter_map(|&at| self.columns.get(at));
        columns
            .map(|column| column.array(self.picked.as_deref()))
            .collect()
    }
}

/// Those of the rows, or of all, whose value passes; `None`: all.
fn kept<T: Copy>(
    picked: Option<Vec<u32>>,
    values: &[T],
    passes: impl Fn(T) -> bool,
) -> Option<Vec<u32>> {
    if let Some(mut rows) = picked {
        rows.retain(|&row| values.get(row as usize).is_some_and(|&value| passes(value)));
        return Some(rows);
    }
    let rows = (0..).zip(values).filter(|&(_, &value)| passes(value));
    let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
    (rows.len() < values.len()).then_some(rows)
}

impl Asked {
    /// Takes in values that the dictionary has got since.
    fn look_at(&mut self, values: &[Bytes], texts: &[String]) {
        for value in values.iter().skip(self.passes.len()) {
            let passes = texts.iter().any(|text| text.as_bytes() == &value[..]);
            self.passing += usize::from(passes);
            self.passes.push(passes);
        }
    }
}

impl Column {
    fn read(&mut self, count: usize) -> Result<(), ParquetError> {
        match &mut self.values {
            Values::Numbers(numbers, rows) => {
                rows.clear();
                numbers.read(count, rows)
            }
            Values::Codes(codes, rows, units) => {
                rows.clear();
                codes.read(count, rows)?;
                if matches!(self.name, "price" | "quantity") {
                    let new = codes.values().iter().skip(units.len());
                    let new = new.map(|value| decimal(value)).collect::<Option<Vec<_>>>();
                    units.extend(new.ok_or_else(|| {
                        ParquetError::General("a decimal has more than 16 bytes".to_owned())
                    })?);
                }
                Ok(())
            }
        }
    }

    fn array(&self, picked: Option<&[u32]>) -> Result<ArrayRef> {
        Ok(match &self.values {
            Values::Numbers(_, rows) => {
                let values = match picked {
                    None => rows.clone(),
                    Some(some) => some
                        .iter()
                        .filter_map(|&row| rows.get(row as usize).copied())
                        .collect(),
                };
                match self.name {
                    "seq" => Arc::new(Int64Array::from(values)),
                    _ => {
                        Arc::new(TimestampNanosecondArray::from(values).with_data_type(time_type()))
                    }
                }
            }
            Values::Codes(_, rows, units) => {
                let unit = |code: &u32| units.get(*code as usize).copied().unwrap_or_default();
                let values: Vec<i128> = match picked {
                    None => rows.iter().map(unit).collect(),
                    Some(some) => some
                        .iter()
                        .filter_map(|&row| rows.get(row as usize))
                        .map(unit)
                        .collect(),
                };
                let kind = if self.name == "price" {
                    PRICE
                } else {
                    QUANTITY
                };
                Arc::new(Decimal128Array::from(values).with_data_type(kind))
            }
        })
    }
}

/// A decimal of a file.
fn decimal(big_endian: &[u8]) -> Option<i128> {
    let negative = big_endian.first().is_some_and(|first| *first >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let from = wide.len().checked_sub(big_endian.len())?;
    wide.get_mut(from..)?.copy_from_slice(big_endian);
    Some(i128::from_be_bytes(wide))
}
