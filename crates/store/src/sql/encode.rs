//! A result in one of the formats, made batch by batch.
//!
//! Invariant: at most a page of a table, or a row group of a Parquet file, is in memory.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::cell::{Cells, plain, write_csv_field, write_object};
use super::error::SqlError;

/// Rows of a table that are aligned with each other; a longer result prints its header again.
const PAGE_ROWS: usize = 10_000;
/// A row group of a Parquet file ends with so many rows, or bytes of them.
const GROUP_ROWS: usize = 262_144;
const GROUP_BYTES: usize = 16 << 20;

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
    /// A stream of Arrow's own (IPC).
    Arrow,
    /// A Parquet file.
    Parquet,
}

/// No such format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no format {0:?}: use table, csv, json, jsonl, arrow or parquet")]
pub struct FormatError(String);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Arrow => "arrow",
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
            "arrow" => Self::Arrow,
            "parquet" => Self::Parquet,
            other => return Err(FormatError(other.to_owned())),
        })
    }
}

/// Makes the bytes of a result.
pub(super) struct Encoder {
    format: Format,
    names: Vec<String>,
    /// Of a table: which columns stand to the right, and the rows of this page.
    right: Vec<bool>,
    page: Vec<Vec<String>>,
    pages: u64,
    rows: u64,
    text: String,
    tap: Tap,
    arrow: Option<StreamWriter<Tap>>,
    parquet: Option<ArrowWriter<Tap>>,
}

impl Encoder {
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self, SqlError> {
        let fields = schema.fields().iter();
        let tap = Tap::default();
        let mut encoder = Self {
            format,
            names: fields.clone().map(|field| field.name().clone()).collect(),
            right: fields.map(|field| field.data_type().is_numeric()).collect(),
            page: Vec::new(),
            pages: 0,
            rows: 0,
            text: String::new(),
            tap: tap.clone(),
            arrow: None,
            parquet: None,
        };
        match format {
            Format::Csv => {
                let names = encoder.names.iter().map(String::as_str);
                write_csv_line(names, &mut encoder.text);
            }
            Format::Json => encoder.text.push('['),
            Format::Arrow => {
                let writer = StreamWriter::try_new(tap, schema).map_err(|error| failed(&error))?;
                encoder.arrow = Some(writer);
            }
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(tap, Arc::clone(schema), Some(properties));
                encoder.parquet = Some(writer.map_err(|error| failed(&error))?);
            }
            Format::Table | Format::JsonLines => {}
        }
        Ok(encoder)
    }

    /// Rows written so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// What can be sent now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = mem::take(&mut self.text).into_bytes();
        bytes.append(&mut self.tap.taken());
        bytes
    }

    /// Takes in the next rows.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<(), SqlError> {
        if let Some(writer) = &mut self.arrow {
            writer.write(batch).map_err(|error| failed(&error))?;
        } else if let Some(writer) = &mut self.parquet {
            let written = writer
                .write(batch)
                .and_then(|()| match writer.in_progress_size() {
                    bytes if bytes < GROUP_BYTES => Ok(()),
                    _ => writer.flush(),
                });
            written.map_err(|error: ParquetError| failed(&error))?;
        } else {
            let columns = plain(batch).map_err(|error| failed(&error))?;
            let cells = cells(&columns).map_err(|error| failed(&error))?;
            for row in 0..batch.num_rows() {
                self.row(&cells, row);
                self.rows += 1;
            }
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn row(&mut self, cells: &[Cells<'_>], row: usize) {
        let text = &mut self.text;
        match self.format {
            Format::Csv => {
                let mut field = String::new();
                for (index, cell) in cells.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    field.clear();
                    cell.write_text(row, &mut field);
                    write_csv_field(&field, text);
                }
                text.push_str(CSV_LINE_END);
            }
            Format::Json => {
                text.push_str(if self.rows == 0 { "\n" } else { ",\n" });
                write_object(named(&self.names, cells), row, text);
            }
            Format::Table => {
                let texts = cells.iter().map(|cell| table_text(cell, row));
                self.page.push(texts.collect());
                if self.page.len() == PAGE_ROWS {
                    self.end_page();
                }
            }
            _ => {
                write_object(named(&self.names, cells), row, text);
                text.push('\n');
            }
        }
    }

    fn end_page(&mut self) {
        self.text
            .push_str(&table(&self.names, &self.right, &self.page));
        self.page.clear();
        self.pages += 1;
    }

    /// Writes what stands at the end of a whole result.
    pub(super) fn finish(&mut self) -> Result<(), SqlError> {
        match self.format {
            Format::Json => self.text.push_str("\n]\n"),
            Format::Table if self.pages == 0 || !self.page.is_empty() => self.end_page(),
            _ => {}
        }
        if let Some(mut writer) = self.arrow.take() {
            writer.finish().map_err(|error| failed(&error))?;
        }
        if let Some(writer) = self.parquet.take() {
            writer.close().map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

fn failed(error: &dyn fmt::Display) -> SqlError {
    SqlError::Execution {
        message: error.to_string(),
    }
}

/// Where a writer writes to, and what it wrote is taken from.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Vec<u8>>>);

impl Tap {
    fn taken(&self) -> Vec<u8> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cells(columns: &[ArrayRef]) -> Result<Vec<Cells<'_>>, ArrowError> {
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
