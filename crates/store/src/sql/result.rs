//! The result of a query, streamed and written in one of the formats.
//!
//! Invariant: at most a page of the result is in memory; the query's time limit holds until the
//! last row is written.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::time::Instant;

use super::cell::{Cells, plain, write_csv_field, write_object};
use super::error::SqlError;

/// Rows of a table that are aligned with each other; a longer result prints its header again.
const PAGE_ROWS: usize = 10_000;

/// As RFC 4180 says, and as the reference system's files have it.
const CSV_LINE_END: &str = "\r\n";

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// A header and one line a row, as RFC 4180 says (lines end with CR LF).
    Csv,
    /// An array of objects.
    Json,
    /// One object a line.
    JsonLines,
    /// A Parquet file.
    Parquet,
}

/// No such format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no format {0:?}: use table, csv, json, jsonl or parquet")]
pub struct FormatError(String);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
        })
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Ok(match text {
            "table" => Self::Table,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::JsonLines,
            "parquet" => Self::Parquet,
            other => return Err(FormatError(other.to_owned())),
        })
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type, for people.
    pub kind: String,
}

/// The rows of a query, as they come.
pub struct QueryResult {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    query: String,
    deadline: Instant,
    limit: Duration,
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResult")
            .field("columns", &self.columns())
            .finish_non_exhaustive()
    }
}

impl QueryResult {
    pub(crate) fn new(
        stream: SendableRecordBatchStream,
        query: &str,
        deadline: Instant,
        limit: Duration,
    ) -> Self {
        Self {
            schema: stream.schema(),
            stream,
            query: query.to_owned(),
            deadline,
            limit,
        }
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        let fields = self.schema.fields().iter();
        fields
            .map(|field| Column {
                name: field.name().clone(),
                kind: field.data_type().to_string(),
            })
            .collect()
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match tokio::time::timeout_at(self.deadline, self.stream.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(batch))) => Ok(Some(batch)),
            Ok(Some(Err(error))) => Err(SqlError::of(error, &self.query)),
            Err(_) => Err(SqlError::Timeout { limit: self.limit }),
        }
    }

    /// Writes all rows and says how many there were.
    ///
    /// # Errors
    /// [`SqlError`] when the query fails or hits a limit, or `out` cannot be written; what was
    /// written until then is not a whole result.
    pub async fn write(
        self,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, SqlError> {
        match format {
            Format::Parquet => self.write_parquet(out).await,
            Format::Table => self.write_table(out).await,
            Format::Csv | Format::Json | Format::JsonLines => self.write_lines(format, out).await,
        }
    }

    async fn write_lines(
        mut self,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, SqlError> {
        let names: Vec<String> = self.columns().into_iter().map(|c| c.name).collect();
        let mut text = String::new();
        match format {
            Format::Csv => {
                write_csv_line(names.iter().map(String::as_str), &mut text);
            }
            Format::Json => text.push('['),
            _ => {}
        }
        let mut rows = 0_u64;
        while let Some(batch) = self.next().await? {
            let columns = plain(&batch).map_err(|error| self.failed(&error))?;
            let cells = cells(&columns).map_err(|error| self.failed(&error))?;
            let mut field = String::new();
            for row in 0..batch.num_rows() {
                match format {
                    Format::Csv => {
                        for (index, cell) in cells.iter().enumerate() {
                            if index > 0 {
                                text.push(',');
                            }
                            field.clear();
                            cell.write_text(row, &mut field);
                            write_csv_field(&field, &mut text);
                        }
                        text.push_str(CSV_LINE_END);
                    }
                    Format::Json => {
                        text.push_str(if rows == 0 { "\n" } else { ",\n" });
                        write_object(named(&names, &cells), row, &mut text);
                    }
                    _ => {
                        write_object(named(&names, &cells), row, &mut text);
                        text.push('\n');
                    }
                }
                rows += 1;
            }
            flush(&mut text, out)?;
        }
        if format == Format::Json {
            text.push_str("\n]\n");
        }
        flush(&mut text, out)?;
        out.flush().map_err(SqlError::Write)?;
        Ok(rows)
    }

    async fn write_table(mut self, out: &mut (dyn Write + Send)) -> Result<u64, SqlError> {
        let names: Vec<String> = self.columns().into_iter().map(|c| c.name).collect();
        let right: Vec<bool> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.data_type().is_numeric())
            .collect();
        let mut page: Vec<Vec<String>> = Vec::new();
        let (mut rows, mut pages) = (0_u64, 0);
        while let Some(batch) = self.next().await? {
            let columns = plain(&batch).map_err(|error| self.failed(&error))?;
            let cells = cells(&columns).map_err(|error| self.failed(&error))?;
            for row in 0..batch.num_rows() {
                page.push(cells.iter().map(|cell| table_text(cell, row)).collect());
                rows += 1;
                if page.len() == PAGE_ROWS {
                    flush(&mut table(&names, &right, &page), out)?;
                    page.clear();
                    pages += 1;
                }
            }
        }
        if pages == 0 || !page.is_empty() {
            flush(&mut table(&names, &right, &page), out)?;
        }
        out.flush().map_err(SqlError::Write)?;
        Ok(rows)
    }

    async fn write_parquet(mut self, out: &mut (dyn Write + Send)) -> Result<u64, SqlError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(262_144))
            .build();
        let failed = |error: parquet::errors::ParquetError| SqlError::Write(error.into());
        let mut writer =
            ArrowWriter::try_new(out, self.schema.clone(), Some(properties)).map_err(failed)?;
        let mut rows = 0;
        while let Some(batch) = self.next().await? {
            writer.write(&batch).map_err(failed)?;
            rows += batch.num_rows() as u64;
        }
        writer.close().map_err(failed)?;
        Ok(rows)
    }

    pub(super) fn failed(&self, error: &dyn fmt::Display) -> SqlError {
        SqlError::Execution {
            message: error.to_string(),
        }
    }
}

fn cells(columns: &[ArrayRef]) -> Result<Vec<Cells<'_>>, arrow::error::ArrowError> {
    columns.iter().map(|column| Cells::new(column)).collect()
}

fn named<'c, 'a: 'c>(
    names: &'c [String],
    cells: &'c [Cells<'a>],
) -> impl Iterator<Item = (&'c str, &'c Cells<'a>)> {
    names.iter().map(String::as_str).zip(cells)
}

fn write_csv_line<'a>(fields: impl Iterator<Item = &'a str>, out: &mut String) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_csv_field(field, out);
    }
    out.push_str(CSV_LINE_END);
}

fn flush(text: &mut String, out: &mut (dyn Write + Send)) -> Result<(), SqlError> {
    out.write_all(text.as_bytes()).map_err(SqlError::Write)?;
    text.clear();
    Ok(())
}

/// A value on one line.
fn table_text(cell: &Cells<'_>, row: usize) -> String {
    let mut text = String::new();
    cell.write_text(row, &mut text);
    if text.contains(char::is_control) {
        text = text.escape_debug().to_string();
    }
    text
}

/// A page in ASCII, numbers to the right.
fn table(names: &[String], right: &[bool], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = names.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let rule: String = widths
        .iter()
        .map(|width| format!("+{}", "-".repeat(width + 2)))
        .chain(["+\n".to_owned()])
        .collect();
    let mut out = rule.clone();
    let line = |texts: &[String], out: &mut String| {
        for ((text, &width), &right) in texts.iter().zip(&widths).zip(right) {
            // By hand: a format string takes no width beyond 65,535.
            let blanks = " ".repeat(width.saturating_sub(text.chars().count()));
            let (before, after) = if right {
                (&*blanks, "")
            } else {
                ("", &*blanks)
            };
            for part in ["| ", before, text, after, " "] {
                out.push_str(part);
            }
        }
        out.push_str("|\n");
    };
    line(names, &mut out);
    out.push_str(&rule);
    rows.iter().for_each(|row| line(row, &mut out));
    out.push_str(&rule);
    out
}
