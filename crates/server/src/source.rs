//! A file of orders, whatever its format.

use std::path::Path;

use tapewatch_connect::{CsvOrders, DbnOrders, LobsterOptions, LobsterOrders};
use tapewatch_model::OrderSource;
use tapewatch_store::order_file::ParquetOrders;

use crate::failure::Failure;

/// Formats of a file of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Csv,
    Parquet,
    Dbn,
    Lobster(LobsterOptions),
}

/// Any source; boxed, since a batch of rows is read at a time.
pub(crate) type AnySource = Box<dyn OrderSource + Send>;

/// Opens a file of orders.
pub(crate) fn open(path: &Path, format: &FileFormat) -> Result<AnySource, Failure> {
    Ok(match format {
        FileFormat::Csv => Box::new(CsvOrders::open(path).map_err(Failure::run)?),
        FileFormat::Parquet => Box::new(ParquetOrders::open(path).map_err(Failure::run)?),
        FileFormat::Dbn => Box::new(DbnOrders::open(path).map_err(Failure::run)?),
        FileFormat::Lobster(options) => {
            Box::new(LobsterOrders::open(path, options).map_err(Failure::run)?)
        }
    })
}

/// The format that a file's name says.
pub(crate) fn format_of(path: &Path) -> Result<FileFormat, Failure> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if name.contains("_message_") && ends(&[".csv"]) {
        Ok(FileFormat::Lobster(LobsterOptions::default()))
    } else if ends(&[".csv", ".txt"]) {
        Ok(FileFormat::Csv)
    } else if ends(&[".parquet", ".pq"]) {
        Ok(FileFormat::Parquet)
    } else if ends(&[".dbn", ".dbn.zst"]) {
        Ok(FileFormat::Dbn)
    } else {
        Err(Failure::usage(format!(
            "{}: the name must end in .csv, .parquet, .dbn or .dbn.zst, so that its format is known",
            path.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_format() {
        let of = |name: &str| format_of(Path::new(name)).ok();
        assert_eq!(of("a/Orders.CSV"), Some(FileFormat::Csv));
        assert_eq!(of("orders.pq"), Some(FileFormat::Parquet));
        assert_eq!(of("day.mbo.dbn.zst"), Some(FileFormat::Dbn));
        assert_eq!(of("day.dbn"), Some(FileFormat::Dbn));
        let lobster = FileFormat::Lobster(LobsterOptions::default());
        let name = "AAPL_2012-06-21_34200000_57600000_message_10.csv";
        assert_eq!(of(name), Some(lobster));
        assert_eq!(of("orders.zst"), None);
        assert_eq!(of("csv"), None);
    }
}
