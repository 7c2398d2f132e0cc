//! Keeping the history: many small files become few, days beyond the retention go, and so do files
//! that no version needs any more.
//!
//! Invariant: a table changes by one commit each time, which queries see whole or not at all; the rows
//! after a compaction are those before it, in the order that [`crate::sorted_orders`] promises; doing
//! it again with nothing new writes nothing. No commit moves a high-water mark.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, Add};
use deltalake::protocol::DeltaOperation;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tapewatch_model::{Date, EventTypes, Time, TimeSpan};

use crate::history::{self, History, HistoryError};
use crate::recent_orders::Chunk;
use crate::scan::{OrderScan, ScanError, ScanRequest};
use crate::schema::{PARTITION, Table, disk_name};
use crate::store::Store;
use crate::versions;

/// A file of fewer rows is small.
const SMALL_ROWS: u64 = 2 << 20;
/// Rows that are written anew at once, which must fit in memory.
const ROWS_AT_ONCE: u64 = 4 << 20;
/// Small files of a day that an end of day leaves as they are.
const LEFT_ALONE: usize = 7;

/// What was done to the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpkeepReport {
    /// Files that were written anew.
    pub compacted: usize,
    /// Files that they became.
    pub into: usize,
    /// Rows whose day is beyond the retention.
    pub removed_rows: u64,
    /// Files that were deleted: no version that is kept needs them.
    pub deleted: usize,
}

/// Why the history could not be kept. Nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The store is open for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// A table cannot be changed.
    #[error("table {table} in {place}: {message}; it is as it was")]
    Table {
        /// Table.
        table: &'static str,
        /// Where it lives.
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// Why one table could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("{0}")]
    Rows(String),
}

impl From<DeltaTableError> for KeepError {
    fn from(error: DeltaTableError) -> Self {
        Self::History(error.into())
    }
}

/// Small files of a date that become one or few.
struct Group {
    date: Date,
    files: Vec<Add>,
    rows: u64,
}

/// What is to be done.
#[derive(Clone, Copy)]
enum Task {
    Compact { left_alone: usize },
    Expire { before: Date },
    Vacuum,
}

impl Store {
    /// Writes small files of each day anew as few.
    ///
    /// # Errors
    /// [`UpkeepError`] names the table.
    pub async fn compact(&self) -> Result<UpkeepReport, UpkeepError> {
        let _alone = self.inner.end_of_day.lock().await;
        self.keep(Task::Compact { left_alone: 1 }).await
    }

    /// Takes the days that are beyond the retention out of the tables, then deletes the files that no
    /// version needs that is kept.
    ///
    /// # Errors
    /// [`UpkeepError`] names the table.
    pub async fn vacuum(&self) -> Result<UpkeepReport, UpkeepError> {
        let _alone = self.inner.end_of_day.lock().await;
        self.expire_and_vacuum().await
    }

    /// What an end of day does by its settings; called while it holds its lock.
    pub(crate) async fn upkeep(&self) -> Result<UpkeepReport, UpkeepError> {
        let mut report = UpkeepReport::default();
        if self.inner.options.compact {
            let left_alone = LEFT_ALONE;
            report = self.keep(Task::Compact { left_alone }).await?;
        }
        let swept = self.expire_and_vacuum().await?;
        Ok(UpkeepReport {
            removed_rows: swept.removed_rows,
            deleted: swept.deleted,
            ..report
        })
    }

    async fn expire_and_vacuum(&self) -> Result<UpkeepReport, UpkeepError> {
        let days = i32::try_from(self.inner.options.keep_days).unwrap_or(i32::MAX);
        let mut removed_rows = 0;
        if days > 0 {
            let before = Date::from_days(now().date().days().saturating_sub(days));
            let old = self.count_alerts(&format!("date < DATE '{before}'")).await;
            let old = old.map_err(|error| self.cannot(Table::Hits, &error))?;
            removed_rows = self.keep(Task::Expire { before }).await?.removed_rows;
            self.forget_alerts(old);
        }
        let swept = self.keep(Task::Vacuum).await?;
        Ok(UpkeepReport {
            removed_rows,
            ..swept
        })
    }

    pub(crate) fn cannot(&self, table: Table, error: &dyn std::fmt::Display) -> UpkeepError {
        UpkeepError::Table {
            table: table.name(),
            place: self.inner.home.of(table),
            message: error.to_string(),
        }
    }

    /// Does it to all tables, then shows them to queries.
    async fn keep(&self, task: Task) -> Result<UpkeepReport, UpkeepError> {
        if self.inner.read_only {
            return Err(UpkeepError::ReadOnly);
        }
        let mut histories = self.snapshot().history;
        let mut report = UpkeepReport::default();
        for table in Table::ALL {
            let Some(before) = histories.get(table) else {
                continue;
            };
            let kept = keep_table(before, table, task, self, &mut report).await;
            let kept = kept.map_err(|error| self.cannot(table, &error))?;
            *histories.get_mut(table) = Some(Arc::new(kept));
        }
        self.swap(histories);
        Ok(report)
    }
}

async fn keep_table(
    before: &History,
    table: Table,
    task: Task,
    store: &Store,
    report: &mut UpkeepReport,
) -> Result<History, KeepError> {
    // What another process did since is part of it.
    let now = history::refresh(before, table).await?;
    match task {
        Task::Compact { left_alone } => compact(now, table, left_alone, report).await,
        Task::Expire { before } => expire(now, table, before, report).await,
        Task::Vacuum => vacuum(now, table, store.inner.options.versions_for, report).await,
    }
}

fn now() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = i64::try_from(now.unwrap_or_default().as_nanos());
    Time::from_nanos(nanos.unwrap_or(i64::MAX))
}

/// The files of each date.
#[expect(deprecated, reason = "no other way leads to a file's tags")]
pub(crate) fn by_date(history: &History) -> Result<BTreeMap<Date, Vec<Add>>, DeltaTableError> {
    let mut dates: BTreeMap<Date, Vec<Add>> = BTreeMap::new();
    for file in history.delta.snapshot()?.log_data().iter() {
        let date = file.partition_values_map().remove(PARTITION).flatten();
        let date = date.and_then(|date| Date::parse(date.as_bytes()).ok());
        if let Some(date) = date {
            dates.entry(date).or_default().push(file.add_action());
        }
    }
    Ok(dates)
}

/// What the table's statistics say of a file: rows, and the first and the last sequence number.
pub(crate) fn told(file: &Add) -> Option<(u64, u64, u64)> {
    let stats: serde_json::Value = serde_json::from_str(file.stats.as_deref()?).ok()?;
    let number = |at: &str| stats.pointer(at)?.as_u64();
    Some((
        number("/numRecords")?,
        number("/minValues/seq")?,
        number("/maxValues/seq")?,
    ))
}

/// Small files that lie together, of each date those that are more than `left_alone`.
fn groups(history: &History, left_alone: usize) -> Result<Vec<Group>, DeltaTableError> {
    let mut groups = Vec::new();
    for (date, files) in by_date(history)? {
        let small = files.into_iter().filter_map(|file| {
            let (rows, first, _) = told(&file)?;
            let whole = file.deletion_vector.is_none();
            (rows < SMALL_ROWS && whole).then_some((first, rows, file))
        });
        let mut small: Vec<(u64, u64, Add)> = small.collect();
        if small.len() <= left_alone {
            continue;
        }
        small.sort_by_key(|(first, ..)| *first);
        let mut group = Group::of(date);
        for (_, rows, file) in small {
            if group.rows + rows > ROWS_AT_ONCE {
                groups.push(std::mem::replace(&mut group, Group::of(date)));
            }
            group.rows += rows;
            group.files.push(file);
        }
        groups.push(group);
    }
    groups.retain(|group| group.files.len() > 1);
    Ok(groups)
}

impl Group {
    const fn of(date: Date) -> Self {
        Self {
            date,
            files: Vec::new(),
            rows: 0,
        }
    }
}

async fn compact(
    history: History,
    table: Table,
    left_alone: usize,
    report: &mut UpkeepReport,
) -> Result<History, KeepError> {
    let groups = groups(&history, left_alone)?;
    if groups.is_empty() {
        return Ok(history);
    }
    check_columns(&history, table)?;
    let mut actions = Vec::new();
    let (mut compacted, mut into) = (0, 0);
    for group in groups {
        let rows = group.rows;
        let files = group.files.iter().map(|file| file.path.clone());
        let files: Vec<String> = files.collect();
        let written = match table {
            Table::Orders => {
                let chunks = read_orders(history.clone(), files, rows).await?;
                history.write_orders(chunks, 1).await?
            }
            Table::Hits | Table::DeadLetters => {
                let batches = read_others(&history, &files).await?;
                let seqs = batches.iter().filter_map(crate::rows::seqs).flatten();
                if !seqs.is_sorted() {
                    let message =
                        format!("{}: rows of its files lie between each other", group.date);
                    return Err(KeepError::Rows(message));
                }
                history.write_rows(table, group.date, batches).await?
            }
        };
        let now: u64 = written.iter().filter_map(told).map(|(rows, ..)| rows).sum();
        if now != rows {
            let message = format!("{}: {rows} rows became {now}", group.date);
            return Err(KeepError::Rows(message));
        }
        compacted += group.files.len();
        into += written.len();
        actions.extend(group.files.into_iter().map(|file| remove(file, false)));
        actions.extend(written.into_iter().map(|file| {
            Action::Add(Add {
                data_change: false,
                ..file
            })
        }));
    }
    let operation = DeltaOperation::Optimize {
        predicate: None,
        target_size: ROWS_AT_ONCE.cast_signed(),
    };
    let history = history
        .change(table, actions, operation, CommitProperties::default())
        .await?;
    report.compacted += compacted;
    report.into += into;
    tracing::info!(
        table = table.name(),
        compacted,
        into,
        "small files became few"
    );
    Ok(history)
}

/// Refuses columns that this version does not know, which it would drop.
fn check_columns(history: &History, table: Table) -> Result<(), KeepError> {
    let known = table.schema();
    let known: HashSet<String> = known
        .fields()
        .iter()
        .map(|field| disk_name(field))
        .collect();
    let stored = history.delta.snapshot()?.snapshot().arrow_schema();
    let unknown = stored
        .fields()
        .iter()
        .find(|field| !known.contains(field.name()));
    match unknown {
        Some(field) => Err(KeepError::Rows(format!(
            "column {} is of a newer version, which must compact it",
            field.name()
        ))),
        None => Ok(()),
    }
}

/// All orders of files, each instrument's ascending.
pub(crate) async fn read_orders(
    history: History,
    files: Vec<String>,
    rows: u64,
) -> Result<Vec<Chunk>, KeepError> {
    let read = move || {
        let request = ScanRequest {
            from: Time::MIN,
            to: Time::MAX,
            events: EventTypes::ALL,
            syms: Vec::new(),
            details: true,
        };
        let only: HashSet<String> = files.into_iter().collect();
        let mut chunks = Vec::new();
        for mut unit in OrderScan::of_files(&history, &request, &only)?.units(1) {
            while let Some(orders) = unit.next_batch()? {
                let all = 0..orders.len();
                chunks.extend(Chunk::of(Arc::new(orders.clone()), all));
            }
        }
        let read: usize = chunks.iter().map(Chunk::len).sum();
        if read as u64 == rows {
            return Ok(chunks);
        }
        let message = format!("the table says {rows} rows, its files have {read}");
        Err(KeepError::Rows(message))
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| KeepError::Rows(error.to_string()))?
}

/// All rows of files, in the files' order.
pub(crate) async fn read_others(
    history: &History,
    files: &[String],
) -> Result<Vec<RecordBatch>, KeepError> {
    let store = history.delta.object_store();
    let mut batches = Vec::new();
    for path in files {
        let named = |error: &dyn std::fmt::Display| {
            KeepError::Rows(format!("{}: {error}", history.file(path).name()))
        };
        let bytes = store.get(&path.as_str().into()).await;
        let bytes = bytes.map_err(|error| named(&error))?.bytes().await;
        let bytes = bytes.map_err(|error| named(&error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes);
        let reader = reader.and_then(ParquetRecordBatchReaderBuilder::build);
        for batch in reader.map_err(|error| named(&error))? {
            batches.push(batch.map_err(|error| named(&error))?);
        }
    }
    Ok(batches)
}

pub(crate) fn remove(file: Add, data_change: bool) -> Action {
    Action::Remove(deltalake::kernel::Remove {
        path: file.path,
        data_change,
        deletion_timestamp: Some(now().nanos() / 1_000_000),
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition_values),
        size: Some(file.size),
        tags: None,
        deletion_vector: file.deletion_vector,
        base_row_id: None,
        default_row_commit_version: None,
    })
}

async fn expire(
    history: History,
    table: Table,
    before: Date,
    report: &mut UpkeepReport,
) -> Result<History, KeepError> {
    let mut old = by_date(&history)?;
    old.retain(|date, _| *date < before);
    if old.is_empty() {
        return Ok(history);
    }
    let files: Vec<Add> = old.into_values().flatten().collect();
    let rows: u64 = files.iter().filter_map(told).map(|(rows, ..)| rows).sum();
    let actions = files.into_iter().map(|file| remove(file, true)).collect();
    let operation = DeltaOperation::Delete {
        predicate: Some(format!("{PARTITION} < '{before}'")),
    };
    let history = history
        .change(table, actions, operation, CommitProperties::default())
        .await?;
    report.removed_rows += rows;
    tracing::info!(table = table.name(), rows, %before, "days beyond the retention are gone");
    Ok(history)
}

async fn vacuum(
    history: History,
    table: Table,
    versions_for: std::time::Duration,
    report: &mut UpkeepReport,
) -> Result<History, KeepError> {
    let history = history.with_versions_for(table, versions_for).await?;
    let kept = i64::try_from(versions_for.as_nanos()).unwrap_or(i64::MAX);
    let since = now().saturating_sub(TimeSpan::from_nanos(kept));
    let mut needed = versions::removed_since(&history, since).await?;
    let files = by_date(&history)?.into_values().flatten();
    needed.extend(files.map(|file| file.path));
    let store = history.delta.object_store();
    let listed: Vec<ObjectMeta> = store
        .list(None)
        .try_collect()
        .await
        .map_err(HistoryError::from)?;
    let unneeded = listed.into_iter().filter(|file| {
        // What was written lately may become part of the table yet.
        let old = file
            .last_modified
            .timestamp_nanos_opt()
            .is_some_and(|at| at < since.nanos());
        let path = file.location.as_ref();
        let is_data = path.ends_with(".parquet") && !path.starts_with('_');
        old && is_data && !needed.contains(path)
    });
    let unneeded: Vec<_> = unneeded.map(|file| Ok(file.location)).collect();
    let deleted = store.delete_stream(futures::stream::iter(unneeded).boxed());
    let deleted: Vec<_> = deleted.try_collect().await.map_err(HistoryError::from)?;
    if !deleted.is_empty() {
        tracing::info!(
            table = table.name(),
            files = deleted.len(),
            "files that no version needs are gone"
        );
    }
    report.deleted += deleted.len();
    Ok(history)
}
