//! Versions of the history's tables: what was committed when, and a table as it stood.
//!
//! Invariant: the time of a version is what its commit says, not when a file of the log was written:
//! a copy of the history has the same versions at the same times.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use deltalake::{DeltaTable, DeltaTableError};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tapewatch_model::Time;

use crate::history::{History, HistoryError};
use crate::schema::Table;
use crate::store::Store;
use crate::upkeep::UpkeepError;

/// Files of the log that are read at a time.
const READ_AT_A_TIME: usize = 16;

/// A version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVersion {
    /// Table.
    pub table: &'static str,
    /// Number, from 0; of each table its own.
    pub version: u64,
    /// When it was committed, to the millisecond.
    pub time: Time,
    /// What made it, as Delta calls it: `WRITE` is an end of day, `OPTIMIZE` a compaction, `DELETE` the
    /// retention, `FSCK` a repair.
    pub operation: String,
    /// Rows that came in.
    pub rows_added: u64,
    /// Files that came in.
    pub files_added: u64,
    /// Files that went out.
    pub files_removed: u64,
    /// Last sequence number in the table, where this commit moved it.
    pub through: Option<u64>,
}

/// Which version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum When {
    Version(u64),
    /// The last one that was committed up to then.
    Time(Time),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Time(time) => write!(f, "{time}"),
        }
    }
}

impl Store {
    /// The versions of all tables that can still be read, oldest first, table after table.
    ///
    /// # Errors
    /// [`UpkeepError::Table`] names the table whose log cannot be read.
    pub async fn versions(&self) -> Result<Vec<TableVersion>, UpkeepError> {
        let mut all = Vec::new();
        let histories = self.snapshot().history;
        for table in Table::ALL {
            if let Some(history) = histories.get(table) {
                let found = versions(history, table).await;
                all.extend(found.map_err(|error| self.cannot(table, &error))?);
            }
        }
        Ok(all)
    }
}

/// The versions whose file of the log is there, oldest first.
async fn versions(history: &History, table: Table) -> Result<Vec<TableVersion>, HistoryError> {
    let entries = entries(history).await?.into_iter();
    let told = entries.map(|(version, entry)| of_entry(table, version, &entry));
    Ok(told.collect())
}

/// Paths of the files that versions since `since` had and the last one has not.
pub(crate) async fn removed_since(
    history: &History,
    since: Time,
) -> Result<HashSet<String>, HistoryError> {
    let mut removed = HashSet::new();
    for (_, entry) in entries(history).await? {
        let actions: Vec<Value> = actions(&entry).collect();
        let time = actions.iter().find_map(committed).unwrap_or(Time::MAX);
        let paths = actions
            .iter()
            .filter_map(|action| action.pointer("/remove/path"));
        if time >= since {
            removed.extend(paths.filter_map(Value::as_str).map(str::to_owned));
        }
    }
    Ok(removed)
}

/// The files of the log that are there, oldest first.
async fn entries(history: &History) -> Result<Vec<(u64, Bytes)>, HistoryError> {
    let log = history.delta.log_store();
    let store = log.object_store(None);
    let folder = "_delta_log".into();
    let mut numbers = Vec::new();
    let mut files = store.list(Some(&folder));
    while let Some(file) = files.try_next().await? {
        let name = file.location.filename().unwrap_or_default();
        let number = name.strip_suffix(".json").filter(|name| name.len() == 20);
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    let last = history.delta.version().unwrap_or_default();
    let read = numbers.into_iter().filter(|number| *number <= last);
    let read = read.map(|number| {
        let log = log.clone();
        async move {
            let entry = log.read_commit_entry(number).await?;
            Ok::<_, DeltaTableError>((number, entry.unwrap_or_default()))
        }
    });
    let read = futures::stream::iter(read).buffered(READ_AT_A_TIME);
    Ok(read.try_collect().await?)
}

fn actions(entry: &[u8]) -> impl Iterator<Item = Value> {
    let lines = entry.split(|&byte| byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok())
}

/// When it was committed, of the action that says it.
fn committed(action: &Value) -> Option<Time> {
    let info = action.get("commitInfo")?;
    let millis = info.get("inCommitTimestamp").or(info.get("timestamp"))?;
    Some(Time::from_nanos(millis.as_i64()?.saturating_mul(1_000_000)))
}

/// What a file of the log says.
fn of_entry(table: Table, version: u64, entry: &[u8]) -> TableVersion {
    let mut found = TableVersion {
        table: table.name(),
        version,
        time: Time::MIN,
        operation: String::new(),
        rows_added: 0,
        files_added: 0,
        files_removed: 0,
        through: None,
    };
    for action in actions(entry) {
        let number = |at: &str| action.pointer(at).and_then(Value::as_u64);
        if let Some(info) = action.get("commitInfo") {
            found.time = committed(&action).unwrap_or(Time::MIN);
            let operation = info.get("operation").and_then(Value::as_str);
            found.operation = operation.unwrap_or_default().to_owned();
        } else if let Some(file) = action.get("add") {
            let stats = file
                .get("stats")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let stats: Value = serde_json::from_str(stats).unwrap_or_default();
            let rows = stats.get("numRecords").and_then(Value::as_u64);
            found.rows_added += rows.unwrap_or_default();
            found.files_added += 1;
        } else if action.get("remove").is_some() {
            found.files_removed += 1;
        } else if action.pointer("/txn/appId").and_then(Value::as_str) == Some(crate::history::APP)
        {
            found.through = number("/txn/version");
        }
    }
    found
}

/// The table as it stood.
pub(crate) async fn at(
    history: &History,
    table: Table,
    when: &When,
) -> Result<DeltaTable, HistoryError> {
    let last = history.delta.version().unwrap_or_default();
    let wrong = |message: String| {
        HistoryError::Version(format!("table {}, as of {when}: {message}", table.name()))
    };
    let version = match when {
        When::Version(version) if *version > last => {
            return Err(wrong(format!("its last version is {last}")));
        }
        When::Version(version) => *version,
        When::Time(time) => {
            let known = versions(history, table).await?;
            let until = known.iter().rev().find(|known| known.time <= *time);
            let Some(found) = until else {
                let first = known.first().map(|first| first.time.to_string());
                let first = first.unwrap_or_default();
                return Err(wrong(format!(
                    "its first version that is kept is of {first}"
                )));
            };
            found.version
        }
    };
    let mut delta = history.delta.clone();
    if version < last {
        let loaded = delta.load_version(version).await;
        loaded.map_err(|error| wrong(format!("it is no longer kept ({error})")))?;
    }
    Ok(delta)
}
