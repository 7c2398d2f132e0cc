//! Data files against their checksums, and their rows again where the journal still has them.
//!
//! Invariant: a file is damaged when it is missing, shorter or longer than its table says, of another
//! checksum, or, without one, when its columns cannot be decoded. A repair takes the place of damaged
//! files only with as many rows as these had; else they stay as they are, and say so.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, Add};
use deltalake::protocol::DeltaOperation;
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tapewatch_model::{Date, OrderBatch};

use crate::data_file::CHECKSUM;
use crate::disk_rows;
use crate::history::{self, History, HistoryError};
use crate::recent_orders::Chunk;
use crate::rows::seqs;
use crate::schema::Table;
use crate::store::{Histories, Snapshot, Store};
use crate::upkeep::{KeepError, UpkeepError, by_date, read_orders, read_others, remove, told};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// There is none.
    Missing,
    /// It is shorter or longer than its table says.
    Size {
        /// Bytes that it has.
        found: u64,
        /// Bytes that it should have.
        wanted: u64,
    },
    /// Its bytes are not those that were written.
    Checksum,
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Size { found, wanted } => {
                write!(f, "has {found} bytes, the table says {wanted}")
            }
            Self::Checksum => f.write_str("does not have its checksum"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

/// A damaged file and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// Table.
    pub table: &'static str,
    /// Date of its rows.
    pub date: Date,
    /// Path or URL.
    pub path: String,
    /// Rows that it had.
    pub rows: u64,
    /// First and last sequence number of them.
    pub seqs: (u64, u64),
    /// First and last instrument of them, where the table says it.
    pub syms: Option<(String, String)>,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Files that were read.
    pub files: usize,
    /// Of them, those of older versions without a checksum, which were only decoded.
    pub without_checksum: usize,
    /// Those that are damaged.
    pub damaged: Vec<DamagedFile>,
}

/// What a repair did for the damaged files of a table and a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Table.
    pub table: &'static str,
    /// Date.
    pub date: Date,
    /// Rows that the damaged files had.
    pub rows: u64,
    /// Rows that the journal has of them: when it has all, they are in the table again, else nothing
    /// was changed.
    pub found: u64,
}

impl Repair {
    /// Whether all rows are in the table again.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rows == self.found
    }
}

impl Store {
    /// Reads every data file of the history and compares it with what its table says.
    ///
    /// # Errors
    /// [`UpkeepError::Table`] when a table's list of files cannot be read.
    pub async fn check(&self) -> Result<CheckReport, UpkeepError> {
        let mut report = CheckReport::default();
        let histories = self.snapshot().history;
        for table in Table::ALL {
            let Some(history) = histories.get(table) else {
                continue;
            };
            let dates = by_date(history).map_err(|error| self.cannot(table, &error))?;
            for (date, files) in dates {
                for file in files {
                    report.files += 1;
                    report.without_checksum += usize::from(checksum(&file).is_none());
                    if let Some(damage) = damage(history, &file).await {
                        report
                            .damaged
                            .push(damaged(history, table, date, &file, damage));
                    }
                }
            }
        }
        Ok(report)
    }

    /// Puts new files in the place of damaged ones, with the rows that `journal` has: a store in memory
    /// that the whole journal was folded into.
    ///
    /// # Errors
    /// [`UpkeepError`] names the table that cannot be changed.
    pub async fn repair(
        &self,
        damaged: &[DamagedFile],
        journal: &Self,
    ) -> Result<Vec<Repair>, UpkeepError> {
        if self.inner.read_only {
            return Err(UpkeepError::ReadOnly);
        }
        let _alone = self.inner.end_of_day.lock().await;
        let rows = journal.snapshot();
        let mut histories = self.snapshot().history;
        let mut repairs = Vec::new();
        for table in Table::ALL {
            let of_table = damaged.iter().filter(|file| file.table == table.name());
            let paths: HashSet<&str> = of_table.map(|file| file.path.as_str()).collect();
            let Some(history) = histories.get(table).clone().filter(|_| !paths.is_empty()) else {
                continue;
            };
            let repaired = repair_table(&history, table, &paths, &rows, &mut repairs).await;
            let repaired = repaired.map_err(|error| self.cannot(table, &error))?;
            *histories.get_mut(table) = Some(Arc::new(repaired));
        }
        self.swap(histories);
        Ok(repairs)
    }
}

/// The damaged file because of which a query failed with this message: one that it names, else the first that
/// is found, cheapest looks first.
pub(crate) async fn first_damaged(histories: &Histories, message: &str) -> Option<DamagedFile> {
    for (named, whole) in [(true, true), (false, false), (false, true)] {
        for table in Table::ALL {
            let Some(history) = histories.get(table) else {
                continue;
            };
            for (date, files) in by_date(history).ok()? {
                for file in files {
                    let name = file.path.rsplit('/').next().unwrap_or_default();
                    if named && !message.contains(name) {
                        continue;
                    }
                    let found = match whole {
                        false => size_damage(history, &file).await,
                        true => damage(history, &file).await,
                    };
                    if let Some(damage) = found {
                        return Some(damaged(history, table, date, &file, damage));
                    }
                }
            }
        }
    }
    None
}

fn damaged(history: &History, table: Table, date: Date, file: &Add, damage: Damage) -> DamagedFile {
    let (rows, first, last) = told(file).unwrap_or_default();
    let stats: Option<serde_json::Value> = file
        .stats
        .as_deref()
        .and_then(|stats| serde_json::from_str(stats).ok());
    let sym = |at: &str| Some(stats.as_ref()?.pointer(at)?.as_str()?.to_owned());
    DamagedFile {
        table: table.name(),
        date,
        path: history.file(&file.path).name(),
        rows,
        seqs: (first, last),
        syms: sym("/minValues/sym").zip(sym("/maxValues/sym")),
        damage,
    }
}

fn checksum(file: &Add) -> Option<&str> {
    file.tags.as_ref()?.get(CHECKSUM)?.as_deref()
}

async fn size_damage(history: &History, file: &Add) -> Option<Damage> {
    let store = history.delta.object_store();
    match store.head(&file.path.as_str().into()).await {
        Ok(told) if told.size == file.size.unsigned_abs() => None,
        Ok(told) => Some(Damage::Size {
            found: told.size,
            wanted: file.size.unsigned_abs(),
        }),
        Err(object_store::Error::NotFound { .. }) => Some(Damage::Missing),
        Err(error) => Some(Damage::Unreadable(error.to_string())),
    }
}

async fn damage(history: &History, file: &Add) -> Option<Damage> {
    if let Some(damage) = size_damage(history, file).await {
        return Some(damage);
    }
    let unreadable = |error: &dyn fmt::Display| Some(Damage::Unreadable(error.to_string()));
    let store = history.delta.object_store();
    let read = match store.get(&file.path.as_str().into()).await {
        Ok(read) => read,
        Err(error) => return unreadable(&error),
    };
    let Some(wanted) = checksum(file) else {
        let bytes = match read.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return unreadable(&error),
        };
        let decode = move || -> Result<(), parquet::errors::ParquetError> {
            for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
                batch?;
            }
            Ok(())
        };
        return match tokio::task::spawn_blocking(decode).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => unreadable(&error),
            Err(error) => unreadable(&error),
        };
    };
    let mut digest = blake3::Hasher::new();
    let mut bytes = read.into_stream();
    while let Some(part) = bytes.next().await {
        match part {
            Ok(part) => digest.update(&part),
            Err(error) => return unreadable(&error),
        };
    }
    (digest.finalize().to_hex().as_str() != wanted).then_some(Damage::Checksum)
}

/// Repairs the files of a table, all of one date together: their rows may lie between each other.
async fn repair_table(
    history: &History,
    table: Table,
    paths: &HashSet<&str>,
    journal: &Snapshot,
    repairs: &mut Vec<Repair>,
) -> Result<History, KeepError> {
    let history = history::refresh(history, table).await?;
    let mut actions = Vec::new();
    for (date, files) in by_date(&history)? {
        let is_damaged = |file: &Add| paths.contains(history.file(&file.path).name().as_str());
        let (broken, healthy): (Vec<Add>, Vec<Add>) = files.into_iter().partition(is_damaged);
        if broken.is_empty() {
            continue;
        }
        let spans: Vec<(u64, u64, u64)> = broken.iter().filter_map(told).collect();
        let rows = spans.iter().map(|(rows, ..)| rows).sum();
        let elsewhere = numbers_of(&history, table, healthy, &spans).await?;
        let wanted = |seq: u64| {
            spans
                .iter()
                .any(|&(_, first, last)| first <= seq && seq <= last)
                && !elsewhere.contains(&seq)
        };
        let lost = Lost::of(journal, table, date, wanted)?;
        let repair = Repair {
            table: table.name(),
            date,
            rows,
            found: lost.rows(),
        };
        if repair.is_done() {
            let written = lost.write(&history, table).await?;
            actions.extend(broken.into_iter().map(|file| remove(file, false)));
            actions.extend(written.into_iter().map(|file| {
                Action::Add(Add {
                    data_change: false,
                    ..file
                })
            }));
        }
        repairs.push(repair);
    }
    if actions.is_empty() {
        return Ok(history);
    }
    let operation = DeltaOperation::FileSystemCheck {};
    let properties = CommitProperties::default();
    Ok(history
        .change(table, actions, operation, properties)
        .await?)
}

/// Sequence numbers in healthy files that may be among those of the damaged ones.
async fn numbers_of(
    history: &History,
    table: Table,
    files: Vec<Add>,
    spans: &[(u64, u64, u64)],
) -> Result<HashSet<u64>, KeepError> {
    let near = |file: &Add| {
        let Some((_, first, last)) = told(file) else {
            return true;
        };
        spans.iter().any(|span| first <= span.2 && span.1 <= last)
    };
    let files: Vec<Add> = files.into_iter().filter(near).collect();
    if files.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = files.iter().filter_map(told).map(|(rows, ..)| rows).sum();
    let paths: Vec<String> = files.into_iter().map(|file| file.path).collect();
    Ok(match table {
        Table::Orders => {
            let chunks = read_orders(history.clone(), paths, rows).await?;
            let seqs = |chunk: &Chunk| {
                let orders = chunk.orders();
                chunk.rows().map(|row| orders.seq(row)).collect::<Vec<_>>()
            };
            chunks.iter().flat_map(seqs).collect()
        }
        Table::Hits | Table::DeadLetters => {
            let batches = read_others(history, &paths).await?;
            let seqs = batches.iter().filter_map(seqs).flatten();
            seqs.map(|seq| seq.cast_unsigned()).collect()
        }
    })
}

/// Rows of damaged files as the journal has them.
enum Lost {
    Orders(Vec<Chunk>),
    Others(Vec<RecordBatch>),
}

impl Lost {
    fn of(
        journal: &Snapshot,
        table: Table,
        date: Date,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Self, HistoryError> {
        let others = match table {
            Table::Orders => {
                let of_date = journal.orders.chunks().filter(|chunk| {
                    let (first, last) = chunk.times();
                    first.date() <= date && date <= last.date()
                });
                let found = of_date.filter_map(|chunk| picked(chunk, date, &wanted));
                return Ok(Self::Orders(found.collect()));
            }
            Table::Hits => &journal.hits,
            Table::DeadLetters => &journal.dead_letters,
        };
        let mut found = Vec::new();
        for batch in others.chunks() {
            let Some(rows) = disk_rows::rows_of_date(batch, date.days())? else {
                continue;
            };
            let numbers = seqs(&rows).unwrap_or_default().iter();
            let mask: BooleanArray = numbers
                .map(|seq| Some(wanted(seq.cast_unsigned())))
                .collect();
            found.push(filter_record_batch(&rows, &mask)?);
        }
        Ok(Self::Others(found))
    }

    fn rows(&self) -> u64 {
        let rows = match self {
            Self::Orders(chunks) => chunks.iter().map(Chunk::len).sum::<usize>(),
            Self::Others(batches) => batches.iter().map(RecordBatch::num_rows).sum(),
        };
        rows as u64
    }

    async fn write(self, history: &History, table: Table) -> Result<Vec<Add>, HistoryError> {
        match self {
            Self::Orders(chunks) => history.write_orders(chunks, 1).await,
            Self::Others(batches) => history.write_files(table, batches).await,
        }
    }
}

fn picked(chunk: &Chunk, date: Date, wanted: impl Fn(u64) -> bool) -> Option<Chunk> {
    let orders = chunk.orders();
    let is_wanted = |&row: &usize| {
        let time = orders.times().get(row);
        time.is_some_and(|time| time.date() == date) && wanted(orders.seq(row))
    };
    let rows: Vec<usize> = chunk.rows().filter(is_wanted).collect();
    let mut picked: OrderBatch = orders.picked(&rows);
    let numbered = picked.number_with(rows.iter().map(|&row| orders.seq(row)).collect());
    debug_assert!(numbered, "a number for each order");
    let all = 0..picked.len();
    Chunk::of(Arc::new(picked), all)
}
