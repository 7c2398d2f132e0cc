//! Rows of hits and dead letters as files of the history have them.
//!
//! Invariant: a row goes to the file of its date, in the order in which it came; a column is known by
//! its name on disk, and one that the rows do not have is NULL.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    DataType, Date32Type, Int64Type, Schema, SchemaRef, TimestampNanosecondType,
};
use deltalake::DeltaTableError;
use deltalake::kernel::Add;
use object_store::DynObjectStore;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tapewatch_model::Date;

use crate::data_file::NewFile;
use crate::history::HistoryError;
use crate::recent::last_seq;
use crate::schema::{PARTITION, Table, disk_name};

/// Rows of a row group: what a reader must hold at once.
const ROW_GROUP_ROWS: usize = 262_144;

/// The dates that the batches' rows fall on, in days since 1970.
pub(crate) fn dates(batches: &[RecordBatch]) -> BTreeSet<i32> {
    let mut dates = BTreeSet::new();
    for batch in batches {
        let mut last = None;
        for &date in date_column(batch) {
            if last.replace(date) != Some(date) {
                dates.insert(date);
            }
        }
    }
    dates
}

fn date_column(batch: &RecordBatch) -> &[i32] {
    let column = batch
        .column_by_name(PARTITION)
        .and_then(|column| column.as_primitive_opt::<Date32Type>());
    column
        .map(|dates| dates.values().as_ref())
        .unwrap_or_default()
}

/// Writes rows of one date, as in memory or as on disk, to a file, a row group's buffers at a time.
pub(crate) fn write_date(
    store: &Arc<DynObjectStore>,
    schema: &SchemaRef,
    table: Table,
    date: Date,
    batches: &[RecordBatch],
) -> Result<Add, HistoryError> {
    let fields = schema.fields().iter();
    let of_file = fields.filter(|field| field.name() != PARTITION).cloned();
    let of_file = Arc::new(Schema::new(of_file.collect::<Vec<_>>()));
    let first = batches.first().and_then(crate::rows::seqs);
    let first = first.and_then(<[i64]>::first).copied().unwrap_or_default();
    let file = NewFile {
        store,
        table,
        date,
        seqs: (first.cast_unsigned(), last_seq(batches).unwrap_or_default()),
        schema: Arc::clone(&of_file),
        properties: WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build(),
    };
    file.write(|writer| {
        for batch in batches {
            writer.write(&to_disk(batch, &of_file)?)?;
        }
        Ok(())
    })
}

/// The batch's rows of one date, without a copy when these are all or none.
pub(crate) fn rows_of_date(
    batch: &RecordBatch,
    date: i32,
) -> Result<Option<RecordBatch>, DeltaTableError> {
    let dates = date_column(batch);
    let count = dates.iter().filter(|&&d| d == date).count();
    if count == 0 {
        return Ok(None);
    }
    if count == dates.len() {
        return Ok(Some(batch.clone()));
    }
    let mask: BooleanArray = dates.iter().map(|&d| Some(d == date)).collect();
    Ok(Some(filter_record_batch(batch, &mask)?))
}

/// The batch with its columns as on disk.
fn to_disk(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DeltaTableError> {
    let fields = batch.schema();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = fields
            .fields()
            .iter()
            .zip(batch.columns())
            .find(|(ours, _)| disk_name(ours) == *field.name())
            .map(|(_, column)| column);
        columns.push(match column {
            Some(column) => disk_column(column, field.data_type())?,
            // A column that a later version added.
            None => arrow::array::new_null_array(field.data_type(), batch.num_rows()),
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn disk_column(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, DeltaTableError> {
    if let Some(times) = column.as_primitive_opt::<TimestampNanosecondType>() {
        return Ok(Arc::new(times.reinterpret_cast::<Int64Type>()));
    }
    if column.data_type() == kind {
        return Ok(Arc::clone(column));
    }
    Ok(arrow::compute::cast(column, kind)?)
}
