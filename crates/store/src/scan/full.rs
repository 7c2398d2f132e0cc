//! What a scan reads of a row only when it is asked for: order ids, prices and the columns that not
//! every source fills, of all rows of a row group or of a few.
//!
//! Invariant: of all rows, batches come as [`super::read`] decodes the other columns, row by row the
//! same.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Decimal128Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use tapewatch_model::{Details, Flags, Price, Quantity};

use super::ScanError;
use super::parts::{DataFile, Part};
use super::read::BATCH_ROWS;
use crate::coded::{Coded, coded_type};
use crate::object_file::ObjectFile;

/// What is read of a few rows.
const OF_SOME: [&str; 2] = ["order_id", "price"];

/// What is read of all rows.
const OF_ALL: [&str; 6] = [
    "order_id",
    "price",
    "account",
    "exec_id",
    "display_quantity",
    "flags",
];

/// The columns of a row group.
pub(super) struct FullReader {
    reader: ParquetRecordBatchReader,
}

/// Some rows of them. A column that the file does not have is not there.
pub(super) struct Full {
    order_id: StringViewArray,
    price: Decimal128Array,
    account: Option<Coded>,
    exec_id: Option<StringViewArray>,
    display: Option<Decimal128Array>,
    /// With what each text of the dictionary means.
    flags: Option<(Coded, Vec<Flags>)>,
}

/// Order id, price and details of a row.
pub(super) type FullRow<'a> = (&'a [u8], Price, Details<'a, [u8]>);

impl FullReader {
    pub(super) fn open(part: &Part) -> Result<Self, ScanError> {
        let builder = builder(part)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), OF_ALL);
        let reader = builder.with_projection(mask).build();
        let reader = reader.map_err(|error| part.file.fail(error))?;
        Ok(Self { reader })
    }

    /// The next rows, which are `count`.
    pub(super) fn next(&mut self, count: usize) -> Result<Full, ParquetError> {
        let batch = self.reader.next().transpose()?;
        let batch = batch.filter(|batch| batch.num_rows() == count);
        let wrong = || ParquetError::General("order ids, prices or details are missing".to_owned());
        Full::of(&batch.ok_or_else(wrong)?)?.ok_or_else(wrong)
    }
}

impl Full {
    /// `None` when a column is missing, or of another type.
    fn of(batch: &RecordBatch) -> Result<Option<Self>, ParquetError> {
        let texts = |name| Some(batch.column_by_name(name)?.as_string_view_opt()?.clone());
        let numbers = |name| {
            let column = batch.column_by_name(name)?;
            Some(column.as_primitive_opt::<Decimal128Type>()?.clone())
        };
        let coded = |name| batch.column_by_name(name).map(Coded::of).transpose();
        let (Some(order_id), Some(price)) = (texts("order_id"), numbers("price")) else {
            return Ok(None);
        };
        let flags = match coded("flags")? {
            Some(words) => Some((meanings(&words)?, words)),
            None => None,
        };
        Ok(Some(Self {
            order_id,
            price,
            account: coded("account")?,
            exec_id: texts("exec_id"),
            display: numbers("display_quantity"),
            flags: flags.map(|(meanings, words)| (words, meanings)),
        }))
    }

    /// `None` when something is missing or out of range.
    pub(super) fn row(&self, row: usize) -> Option<FullRow<'_>> {
        let order_id = text(&self.order_id, row)?;
        let price = Price::from_units(units(&self.price, row)?);
        let account = self.account.as_ref().and_then(|texts| texts.get(row));
        let exec_id = self.exec_id.as_ref().and_then(|texts| text(texts, row));
        let display = self.display.as_ref().filter(|there| there.is_valid(row));
        let display = display.map(|display| Quantity::from_units(units(display, row)?).ok());
        let flags = self.flags.as_ref().and_then(|(words, meanings)| {
            let word = words.code(row)?;
            meanings.get(word).copied()
        });
        let details = Details {
            account: account.unwrap_or_default(),
            exec_id: exec_id.unwrap_or_default(),
            display: match display {
                Some(there) => Some(there?),
                None => None,
            },
            flags: flags.unwrap_or_default(),
        };
        Some((order_id, price, details))
    }
}

fn meanings(words: &Coded) -> Result<Vec<Flags>, ParquetError> {
    let meaning = |at| Flags::parse(words.text(at).unwrap_or_default());
    let meanings = (0..words.len()).map(meaning).collect::<Result<_, _>>();
    meanings.map_err(|error| ParquetError::General(error.to_string()))
}

fn text(texts: &StringViewArray, row: usize) -> Option<&[u8]> {
    let there = row < texts.len() && texts.is_valid(row);
    there.then(|| texts.value(row).as_bytes())
}

fn units(numbers: &Decimal128Array, row: usize) -> Option<i64> {
    let there = row < numbers.len() && numbers.is_valid(row);
    i64::try_from(there.then(|| numbers.value(row))?).ok()
}

/// Order ids and prices of these rows of a row group, ascending and each once.
pub(super) fn details(part: &Part, rows: &[u32]) -> Result<Vec<(String, Price)>, ScanError> {
    let reader = some_rows(part, rows.iter().map(|&row| row as usize), OF_SOME)?;
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

/// Opens columns of these rows of a row group, ascending and each once. A column that the file does not
/// have is not there; texts may come by codes or as views.
pub(crate) fn some_rows<'a>(
    part: &Part,
    rows: impl Iterator<Item = usize>,
    columns: impl IntoIterator<Item = &'a str>,
) -> Result<ParquetRecordBatchReader, ScanError> {
    let (mut selectors, mut next) = (Vec::new(), 0);
    for row in rows {
        selectors.push(RowSelector::skip(row.saturating_sub(next)));
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    let builder = builder(part)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let builder = builder
        .with_projection(mask)
        .with_row_selection(RowSelection::from(selectors));
    builder.build().map_err(|error| part.file.fail(error))
}

/// A reader of a row group's columns of any kind, some rows at a time.
fn builder(part: &Part) -> Result<ParquetRecordBatchReaderBuilder<ObjectFile>, ScanError> {
    let file = &part.file;
    let fail = |error: &dyn std::fmt::Display| file.fail(error);
    let opened = file.open().map_err(|error| fail(&error))?;
    let metadata = match file.paged.get() {
        Some(metadata) => metadata.clone(),
        None => {
            let metadata = paged(file, &opened).map_err(|error| fail(&error))?;
            file.paged.get_or_init(|| metadata).clone()
        }
    };
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(opened, metadata);
    Ok(builder
        .with_row_groups(vec![part.group])
        .with_batch_size(BATCH_ROWS))
}

/// What the file says of itself with the places of its pages, so that those of other rows are left
/// out.
fn paged(file: &DataFile, opened: &ObjectFile) -> Result<ArrowReaderMetadata, ParquetError> {
    let schema = file.metadata.schema();
    let as_type = |field: &Field, kind| Arc::new(field.clone().with_data_type(kind));
    let field = |field: &Arc<Field>| match field.name().as_str() {
        "order_id" | "exec_id" => as_type(field, DataType::Utf8View),
        "account" | "flags" => as_type(field, coded_type()),
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new()
        .with_schema(Arc::new(schema))
        .with_offset_index_policy(PageIndexPolicy::Optional);
    ArrowReaderMetadata::load(opened, options)
}
