//! Orders of the model as Arrow columns, one column after another.
//!
//! Invariant: a value goes in and comes out the same to the last nanosecond and digit; a column is
//! known by its name, in SQL or on disk.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder, TimestampNanosecondArray, new_null_array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use tapewatch_model::{Details, Flags, Interner, OrderBatch};

use crate::schema::{PARTITION, PRICE, QUANTITY, time_type};

/// Rows of one batch, with the columns of `schema`.
pub(crate) fn rows(
    orders: &OrderBatch,
    rows: Range<usize>,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    gather(schema, rows.len(), |field| {
        if field.name() == "order_id" {
            return order_ids(orders, rows.clone());
        }
        column(field, rows.clone().map(|row| (orders, row)))
    })
}

/// Rows of any batches, in the order in which `picked` gives them, with the columns of `schema`.
pub(crate) fn picked<'a, I>(picked: I, schema: &SchemaRef) -> Result<RecordBatch, ArrowError>
where
    I: ExactSizeIterator<Item = (&'a OrderBatch, usize)> + Clone,
{
    gather(schema, picked.len(), |field| column(field, picked.clone()))
}

fn gather(
    schema: &SchemaRef,
    rows: usize,
    column: impl Fn(&Field) -> Result<ArrayRef, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| column(field));
    let columns = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// One column of rows of any batches.
pub(crate) fn column<'a>(
    field: &Field,
    rows: impl ExactSizeIterator<Item = (&'a OrderBatch, usize)> + Clone,
) -> Result<ArrayRef, ArrowError> {
    let count = rows.len();
    let time = |(orders, row): (&OrderBatch, usize)| orders.times().get(row).copied();
    Ok(match field.name().as_str() {
        "seq" => Arc::new(Int64Array::from_iter_values(
            rows.map(|(orders, row)| orders.seq(row).cast_signed()),
        )),
        "time" => {
            let times = rows.filter_map(time).map(|time| time.nanos());
            let times = TimestampNanosecondArray::from_iter_values(times);
            Arc::new(times.with_data_type(time_type()))
        }
        "time_ns" => Arc::new(Int64Array::from_iter_values(
            rows.filter_map(time).map(|time| time.nanos()),
        )),
        PARTITION => Arc::new(Date32Array::from_iter_values(
            rows.filter_map(time).map(|time| time.date().days()),
        )),
        "sym" => texts(
            count,
            rows.filter_map(|(orders, row)| known(orders.syms(), orders.sym_codes(), row)),
        )?,
        "event_type" => texts(
            count,
            rows.filter_map(|(orders, row)| orders.event_types().get(row))
                .map(|kind| kind.name().as_bytes()),
        )?,
        "trader" => texts(
            count,
            rows.filter_map(|(orders, row)| known(orders.traders(), orders.trader_codes(), row)),
        )?,
        "side" => texts(
            count,
            rows.filter_map(|(orders, row)| orders.sides().get(row))
                .map(|side| side.name().as_bytes()),
        )?,
        "order_id" => texts(
            count,
            rows.filter_map(|(orders, row)| orders.order_ids().bytes_at(row)),
        )?,
        "price" => decimals(
            PRICE,
            rows.filter_map(|(orders, row)| orders.prices().get(row))
                .map(|price| price.units()),
        ),
        "quantity" => decimals(
            QUANTITY,
            rows.filter_map(|(orders, row)| orders.quantities().get(row))
                .map(|quantity| quantity.units()),
        ),
        _ => details(field, rows),
    })
}

/// What not every source tells.
fn details<'a>(
    field: &Field,
    rows: impl ExactSizeIterator<Item = (&'a OrderBatch, usize)> + Clone,
) -> ArrayRef {
    let none = rows.clone().all(|(orders, _)| !orders.has_details());
    let count = rows.len();
    let rows = rows.map(|(orders, row)| orders.details_at(row));
    match field.name().as_str() {
        // A column that a later version added has no values either.
        _ if none => new_null_array(field.data_type(), count),
        "account" => Arc::new(StringArray::from_iter(rows.map(|row| told(row.account)))),
        "exec_id" => Arc::new(StringArray::from_iter(rows.map(|row| told(row.exec_id)))),
        "display_quantity" => {
            let units = rows.map(|row| Some(i128::from(row.display?.units())));
            Arc::new(Decimal128Array::from_iter(units).with_data_type(QUANTITY))
        }
        "flags" => {
            let (mut last, mut words) = (Flags::NONE, String::new());
            let mut column = StringBuilder::with_capacity(count, count);
            for Details { flags, .. } in rows {
                if flags != last {
                    (last, words) = (flags, flags.to_string());
                }
                column.append_option(told(&words));
            }
            Arc::new(column.finish())
        }
        _ => new_null_array(field.data_type(), count),
    }
}

/// A text, unless it is empty.
pub(crate) fn told(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn known<'a>(dictionary: &'a Interner, codes: &[u32], row: usize) -> Option<&'a [u8]> {
    dictionary.texts().bytes_at(*codes.get(row)? as usize)
}

fn decimals(kind: DataType, units: impl Iterator<Item = i64>) -> ArrayRef {
    let units = Decimal128Array::from_iter_values(units.map(i128::from));
    Arc::new(units.with_data_type(kind))
}

/// One check of UTF-8 for the whole column.
fn texts<'a>(count: usize, texts: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef, ArrowError> {
    let mut bytes = Vec::with_capacity(count * 8);
    let mut ends: Vec<i32> = Vec::with_capacity(count + 1);
    ends.push(0);
    for text in texts {
        bytes.extend_from_slice(text);
        ends.push(end(bytes.len())?);
    }
    text_array(ends, Buffer::from_vec(bytes))
}

fn order_ids(orders: &OrderBatch, rows: Range<usize>) -> Result<ArrayRef, ArrowError> {
    let (text, ends) = orders.order_ids().parts();
    let before = rows.start.checked_sub(1);
    let start = before.and_then(|row| ends.get(row)).copied().unwrap_or(0);
    let ends = ends.get(rows).unwrap_or_default();
    let last = ends.last().copied().unwrap_or(start);
    let text = text.get(start as usize..last as usize).unwrap_or_default();
    let moved = ends.iter().map(|&upto| end((upto - start) as usize));
    let ends = std::iter::once(Ok(0)).chain(moved);
    text_array(ends.collect::<Result<_, _>>()?, Buffer::from(text))
}

fn end(bytes: usize) -> Result<i32, ArrowError> {
    i32::try_from(bytes).map_err(|_| ArrowError::OffsetOverflowError(bytes))
}

fn text_array(ends: Vec<i32>, text: Buffer) -> Result<ArrayRef, ArrowError> {
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(StringArray::try_new(ends, text, None)?))
}
