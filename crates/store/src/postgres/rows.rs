//! The rows of a result: as messages for a client that reads them, and as text for a COPY.
//!
//! Invariant: a few thousand rows are held as bytes at a time, however long the result is; what costs
//! time is done on the threads of queries.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use pgwire::messages::data::{FieldDescription, RowDescription};

use super::cells::{self, Column, set_length};
use super::copy::CopyFormat;
use super::types;
use crate::sql::{QueryResult, SqlError};
use crate::store::Store;

/// Rows that are made bytes of at a time.
const ROWS: usize = 4_096;
/// Fewer are not worth another thread.
const ROWS_HERE: usize = 64;

/// In which of the two forms each column is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Formats(Arc<[i16]>);

impl Formats {
    /// As a Bind says it; the reason when it is wrong.
    pub(super) fn new(codes: &[i16]) -> Result<Self, String> {
        match codes.iter().find(|code| !matches!(code, 0 | 1)) {
            Some(code) => Err(format!("there is no format {code}: 0 is text, 1 is binary")),
            None => Ok(Self(codes.into())),
        }
    }

    /// Whether so many columns can be in these.
    pub(super) fn fit(&self, columns: usize) -> bool {
        self.0.len() <= 1 || self.0.len() == columns
    }

    pub(super) fn is_binary(&self, column: usize) -> bool {
        let code = match &*self.0 {
            [all] => Some(all),
            each => each.get(column),
        };
        code == Some(&1)
    }
}

/// What a client is told of the columns.
pub(super) fn description(schema: &SchemaRef, formats: &Formats) -> RowDescription {
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let kind = types::of_field(field);
        FieldDescription::new(
            field.name().clone(),
            0,
            0,
            kind.oid(),
            types::size(&kind),
            types::modifier(field.data_type()),
            formats.is_binary(index).into(),
        )
    });
    RowDescription::new(fields.collect())
}

/// A result that is being read.
pub(super) struct Rows {
    result: QueryResult,
    /// Rows that came and were not taken yet.
    left: Option<RecordBatch>,
}

impl Rows {
    pub(super) fn new(result: QueryResult) -> Self {
        Self { result, left: None }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.result.schema()
    }

    pub(super) fn id(&self) -> &str {
        self.result.id()
    }

    /// The next rows, at most so many; `None` at the end.
    pub(super) async fn next(&mut self, most: u64) -> Result<Option<RecordBatch>, SqlError> {
        let batch = loop {
            let batch = match self.left.take() {
                Some(batch) => Some(batch),
                None => self.result.next().await?,
            };
            match batch {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => break batch,
                None => return Ok(None),
            }
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(ROWS);
        if batch.num_rows() > most {
            self.left = Some(batch.slice(most, batch.num_rows() - most));
            return Ok(Some(batch.slice(0, most)));
        }
        Ok(Some(batch))
    }
}

/// How rows are written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Messages(Formats),
    Copy(CopyFormat),
}

/// The rows as bytes to be sent.
pub(super) async fn bytes(
    store: &Store,
    batch: RecordBatch,
    form: &Form,
) -> Result<Vec<u8>, SqlError> {
    let written = match batch.num_rows() {
        ..=ROWS_HERE => write(&batch, form),
        _ => {
            let form = form.clone();
            let work = async move { write(&batch, &form) };
            store.on_query_threads(work).await?
        }
    };
    written.map_err(|error| SqlError::Execution {
        message: error.to_string(),
    })
}

fn write(batch: &RecordBatch, form: &Form) -> Result<Vec<u8>, ArrowError> {
    let plain: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(cells::plain)
        .collect::<Result<_, _>>()?;
    let was = batch.columns().iter();
    let columns = plain
        .iter()
        .zip(was)
        .map(|(plain, was)| Column::new(plain, was.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut out = Vec::new();
    for row in 0..batch.num_rows() {
        match form {
            Form::Messages(formats) => write_row(&columns, row, formats, &mut out)?,
            Form::Copy(format) => format.write_row(&columns, row, &mut out)?,
        }
    }
    Ok(out)
}

/// Appends a row as a message.
fn write_row(
    columns: &[Column<'_>],
    row: usize,
    formats: &Formats,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    let at = out.len() + 1;
    out.extend(b"D\0\0\0\0");
    let count = u16::try_from(columns.len()).map_err(|_| {
        ArrowError::ComputeError("a result has more columns than a message may have".to_owned())
    })?;
    out.extend(count.to_be_bytes());
    for (index, column) in columns.iter().enumerate() {
        column.write(row, formats.is_binary(index), out)?;
    }
    let length = out.len() - at;
    set_length(out, at, length)
}
