//! A database of kdb+ on disk: a folder a day, a folder a table, a file a column, and files of
//! symbols that columns point into.
//!
//! Invariant: a table is read only when all its columns have the same number of rows; every damage
//! is told with the file and the byte; files are read in parts, so that memory does not grow with
//! their size. Names that stand in files never lead out of the folder.

mod column;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tapewatch_model::{Date, Progress, SourceError};

use self::column::Column;
use super::import::{Piece, Pieces};
use super::value::{List, Symbols, Table, Value};
use super::wire::Limits;
use crate::source_error;

/// Rows that are read at a time.
const PART_ROWS: u64 = 65_536;

/// A folder with days.
#[derive(Debug)]
pub struct Hdb {
    directory: PathBuf,
    days: Vec<(Date, PathBuf)>,
    limits: Limits,
    /// Lists of symbols that were read, by the names of their files.
    domains: BTreeMap<String, Arc<Symbols>>,
}

/// One table of one day.
#[derive(Debug)]
pub struct SplayedTable {
    name: String,
    names: Symbols,
    columns: Vec<Column>,
    rows: u64,
}

impl Hdb {
    /// Looks for days, folders with names such as `2021.08.19`.
    ///
    /// # Errors
    /// [`SourceError`] when the folder cannot be read or has none.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, SourceError> {
        let mut days = Vec::new();
        for (name, path) in entries(directory)? {
            if let Ok(date) = Date::parse(name.as_bytes())
                && name.contains('.')
                && path.is_dir()
            {
                days.push((date, path));
            }
        }
        if days.is_empty() {
            let what = "has no days: folders with names such as 2021.08.19";
            return Err(source_error(&directory.display().to_string(), what));
        }
        days.sort();
        Ok(Self {
            directory: directory.to_owned(),
            days,
            limits,
            domains: BTreeMap::new(),
        })
    }

    /// The days, the oldest first.
    pub fn days(&self) -> impl Iterator<Item = Date> {
        self.days.iter().map(|(date, _)| *date)
    }

    /// Names of the tables of a day, in order; none of a day that is not there.
    ///
    /// # Errors
    /// [`SourceError`] when the day's folder cannot be read.
    pub fn tables(&self, day: Date) -> Result<Vec<String>, SourceError> {
        let Some(path) = self.path(day) else {
            return Ok(Vec::new());
        };
        let tables = entries(path)?.into_iter();
        // One without `.d` is a table that is damaged: opening it says so.
        let tables = tables.filter(|(_, path)| path.is_dir());
        Ok(tables.map(|(name, _)| name).collect())
    }

    fn path(&self, day: Date) -> Option<&PathBuf> {
        let found = self.days.iter().find(|(date, _)| *date == day);
        found.map(|(_, path)| path)
    }

    /// Opens a table of a day.
    ///
    /// # Errors
    /// [`SourceError`] when there is no such table, or a file is missing, damaged, of a type that is
    /// not understood, or shorter than the others.
    pub fn table(&mut self, day: Date, name: &str) -> Result<SplayedTable, SourceError> {
        let Some(path) = self.path(day).map(|path| path.join(name)) else {
            let directory = self.directory.display().to_string();
            return Err(source_error(&directory, format!("has no day {day}")));
        };
        let names = column::symbols(&path.join(".d"), &self.limits)?;
        let mut columns = Vec::with_capacity(names.len());
        for name in names.iter() {
            columns.push(self.column(&path, name)?);
        }
        let rows = columns.iter().map(Column::rows).max().unwrap_or(0);
        if let Some(short) = columns.iter().find(|column| column.rows() < rows) {
            let what = format!(
                "ends at byte {} with {} rows, other columns have {rows}",
                short.end(),
                short.rows()
            );
            return Err(short.error(what));
        }
        Ok(SplayedTable {
            name: path.display().to_string(),
            names,
            columns,
            rows,
        })
    }

    fn column(&mut self, table: &Path, name: &[u8]) -> Result<Column, SourceError> {
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| is_file_name(name));
        let Some(name) = name else {
            let file = table.join(".d").display().to_string();
            return Err(source_error(&file, "names a column that is no file name"));
        };
        let path = table.join(name);
        let mut column = Column::open(&path)?;
        if let Some(domain) = column.domain() {
            if !is_file_name(domain) {
                let what =
                    format!("names the symbols {domain:?} at byte 16, which is no file name");
                return Err(column.error(what));
            }
            let symbols = match self.domains.get(domain) {
                Some(symbols) => Arc::clone(symbols),
                None => {
                    let file = self.directory.join(domain);
                    let symbols = Arc::new(column::symbols(&file, &self.limits)?);
                    self.domains.insert(domain.to_owned(), Arc::clone(&symbols));
                    symbols
                }
            };
            column.set_symbols(symbols);
        }
        Ok(column)
    }

    pub(super) fn pieces(self) -> impl Pieces + 'static {
        let days: Vec<Date> = self.days().collect();
        HdbPieces {
            days: days.into_iter(),
            hdb: self,
            day: None,
            tables: Vec::new().into_iter(),
            table: None,
            rows: 0,
        }
    }
}

impl SplayedTable {
    /// Folder of the table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows of the table.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The rows from `first` on, at most `count`; symbols and texts are there in full.
    ///
    /// # Errors
    /// [`SourceError`] when a file cannot be read, or a value in it is none.
    pub fn read(&mut self, first: u64, count: u64) -> Result<Table, SourceError> {
        let count = count.min(self.rows.saturating_sub(first));
        let mut lists = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            lists.push(List::from(column.read(first, count)?));
        }
        Table::new(self.names.clone(), lists)
            .map_err(|error| source_error(&self.name, error.to_string()))
    }
}

/// Names of files and folders with their paths, in order.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let fail = |error: std::io::Error| {
        let name = directory.display().to_string();
        source_error(&name, format!("cannot be read: {error}; wanted a folder"))
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// Whether a name from a file is the name of a file beside it, and nothing else.
fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain)
}

/// All tables of all days, in parts.
struct HdbPieces {
    hdb: Hdb,
    days: std::vec::IntoIter<Date>,
    day: Option<Date>,
    tables: std::vec::IntoIter<String>,
    /// Its name, itself, and its next row.
    table: Option<(String, SplayedTable, u64)>,
    rows: u64,
}

impl Pieces for HdbPieces {
    fn next_piece(&mut self) -> Result<Option<Piece>, SourceError> {
        loop {
            if let Some((name, table, next)) = &mut self.table {
                if *next < table.rows() {
                    let first = *next;
                    let part = table.read(first, PART_ROWS)?;
                    let rows = part.rows() as u64;
                    *next += rows.max(1);
                    self.rows += rows;
                    return Ok(Some(Piece {
                        source: table.name().to_owned(),
                        table: name.clone(),
                        data: Value::Table(Box::new(part)),
                        line: first + 1,
                        step: 1,
                    }));
                }
                self.table = None;
            }
            if let (Some(day), Some(name)) = (self.day, self.tables.next()) {
                // Other tables may be of types that are not read.
                if super::tick::columns(&name).is_some() {
                    let table = self.hdb.table(day, &name)?;
                    self.table = Some((name, table, 0));
                    continue;
                }
                return Ok(Some(Piece {
                    source: String::new(),
                    table: name,
                    data: Value::NOTHING,
                    line: 0,
                    step: 0,
                }));
            }
            self.day = self.days.next();
            let Some(day) = self.day else {
                return Ok(None);
            };
            self.tables = self.hdb.tables(day)?.into_iter();
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.rows,
            total: 0,
            passed_over: 0,
        }
    }
}
