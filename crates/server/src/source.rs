//! A file of orders, whatever its format.

use std::path::Path;

use tapewatch_connect::CsvOrders;
use tapewatch_model::OrderSource;
use tapewatch_store::order_file::ParquetOrders;

use crate::failure::Failure;

/// Formats of a file of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Csv,
    Parquet,
}

/// Any source; boxed, since a batch of rows is read at a time.
pub(crate) type AnySource = Box<dyn OrderSource + Send>;

/// Opens a file of orders.
pub(crate) fn open(path: &Path, format: FileFormat) -> Result<AnySource, Failure> {
    Ok(match format {
        FileFormat::Csv => Box::new(CsvOrders::open(path).map_err(Failure::run)?),
        FileFormat::Parquet => Box::new(ParquetOrders::open(path).map_err(Failure::run)?),
    })
}

/// The format that a file's name says.
pub(crate) fn format_of(path: &Path) -> Result<FileFormat, Failure> {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" | "txt" => Ok(FileFormat::Csv),
        "parquet" | "pq" => Ok(FileFormat::Parquet),
        _ => Err(Failure::usage(format!(
            "{}: the name must end in .csv or .parquet, so that its format is known",
            path.display()
        ))),
    }
}
