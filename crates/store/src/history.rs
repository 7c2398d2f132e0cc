//! Past days: one Delta Lake table for each of the three, partitioned by date.
//!
//! Invariant: rows come into a table by one commit that also carries the last sequence number in it
//! (Delta's application transaction), so that a table always holds exactly the rows up to that
//! number, each once. Files that no commit names are leftovers of a crash and are never read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};
use object_store::ObjectStoreExt as _;
use object_store::path::Path as ObjectPath;
use tapewatch_model::Date;

use crate::block_sums::{BlockSums, KnownSums};
use crate::data_file::copy;
use crate::disk_rows::{dates, rows_of_date, write_date};
use crate::object_file::FileAt;
use crate::place::{Home, PlaceError};
use crate::recent_orders::Chunk;
use crate::schema::{PARTITION, Table, delta_column, disk_name};
use crate::sorted_orders;
use crate::spill::Spilled;

/// Name that the high-water mark is kept under in the Delta log.
pub(crate) const APP: &str = "tapewatch";
/// How often a commit is tried whose fate is not known or that the store did not take, and how long
/// after the first time it is tried again; twice as long after each.
const COMMITS_MAX: u32 = 4;
const COMMIT_AGAIN: Duration = Duration::from_millis(200);

/// One table at one version.
#[derive(Clone)]
pub(crate) struct History {
    /// The table with its file list.
    pub(crate) delta: DeltaTable,
    /// Last sequence number that is in it.
    pub(crate) through: u64,
    /// Number of rows.
    pub(crate) rows: u64,
    /// Checksums of its files, by their paths in the table.
    sums: Arc<HashMap<String, Arc<BlockSums>>>,
    known: KnownSums,
}

/// Why a table on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("column {column} is missing or of another type; this program cannot read the table")]
    Column { column: String },
    #[error(transparent)]
    Delta(#[from] DeltaTableError),
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    #[error(transparent)]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Sent(#[from] std::io::Error),
    #[error("{0}")]
    Version(String),
    #[error("the writer of the files ended: {0}")]
    Writer(String),
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Opens a table if it exists. Writes nothing.
pub(crate) async fn open(home: &Home, table: Table) -> Result<Option<Arc<History>>, HistoryError> {
    let mut delta = DeltaTable::new(home.log_store(table)?);
    // A crash while it was created: no commit yet, so no rows.
    if !delta.verify_deltatable_existence().await? {
        return Ok(None);
    }
    delta.load().await?;
    let history = at_version(delta, table, home.known()).await;
    history.map(Arc::new).map(Some)
}

/// The table with whatever was committed to it since.
pub(crate) async fn refresh(history: &History, table: Table) -> Result<History, HistoryError> {
    let mut delta = history.delta.clone();
    delta.update_state().await?;
    if delta.version() == history.delta.version() {
        return Ok(history.clone());
    }
    at_version(delta, table, &history.known).await
}

/// Creates an empty table.
pub(crate) async fn create(
    home: &Home,
    table: Table,
    versions_for: Duration,
) -> Result<History, HistoryError> {
    home.make(table)?;
    let delta = CreateBuilder::new()
        .with_log_store(home.log_store(table)?)
        .with_table_name(table.name())
        .with_comment("Written by Tapewatch; *_ns columns are nanoseconds since 1970, UTC.")
        .with_columns(table.delta_columns())
        .with_partition_columns([PARTITION])
        .with_configuration(kept_for(versions_for).map(|(name, value)| (name, Some(value))))
        .with_save_mode(SaveMode::ErrorIfExists)
        .await?;
    let history = at_version(delta, table, home.known()).await?;
    if let Some(dir) = history.dir() {
        history.sync_commit()?;
        dir.ancestors().take(3).try_for_each(sync)?;
    }
    Ok(history)
}

async fn at_version(
    delta: DeltaTable,
    table: Table,
    known: &KnownSums,
) -> Result<History, HistoryError> {
    let state = delta.snapshot()?;
    let schema = state.snapshot().arrow_schema();
    for field in table.schema().fields() {
        let column = disk_name(field);
        let wanted = disk_type(field.data_type());
        // One that may be NULL is added with the next rows, so that a reader writes nothing.
        let fits = match schema.field_with_name(&column) {
            Ok(found) => found.data_type().equals_datatype(wanted),
            Err(_) => field.is_nullable(),
        };
        if !fits {
            return Err(HistoryError::Column { column });
        }
    }
    let through = state
        .transaction_version(delta.log_store().as_ref(), APP)
        .await?
        .unwrap_or_default();
    let counts = state.log_data();
    let rows = counts
        .iter()
        .filter_map(|file| file.num_records())
        .sum::<usize>() as u64;
    Ok(History {
        through: u64::try_from(through).unwrap_or_default(),
        rows,
        sums: Arc::new(sums_of(&delta, known)?),
        known: known.clone(),
        delta,
    })
}

/// The checksums of a table's files, which are compared as long as they are held.
#[expect(deprecated, reason = "no other way leads to a file's tags")]
fn sums_of(
    delta: &DeltaTable,
    known: &KnownSums,
) -> Result<HashMap<String, Arc<BlockSums>>, HistoryError> {
    let url = delta.table_url();
    let root = ObjectPath::from_url_path(url.path()).map_err(object_store::Error::from)?;
    let mut sums = HashMap::new();
    for file in delta.snapshot()?.log_data().iter() {
        let path = file.path();
        let within = ObjectPath::from(&*path);
        let place = root.parts().chain(within.parts()).collect();
        if let Some(held) = known.hold(place, &format!("{url}{path}"), || file.add_action()) {
            sums.insert(path.into_owned(), held);
        }
    }
    Ok(sums)
}

fn disk_type(kind: &DataType) -> &DataType {
    match kind {
        DataType::Timestamp(..) => &DataType::Int64,
        other => other,
    }
}

/// The properties that say how long files and versions are kept that are no longer of the table.
fn kept_for(versions_for: Duration) -> [(String, String); 2] {
    let names = [
        "delta.deletedFileRetentionDuration",
        "delta.logRetentionDuration",
    ];
    names.map(|name| {
        (
            name.to_owned(),
            format!("interval {} seconds", versions_for.as_secs()),
        )
    })
}

impl History {
    /// The table with all columns of this version: those that a table of an older one lacks are
    /// added, NULL in all of its rows.
    pub(crate) async fn with_all_columns(self, table: Table) -> Result<Self, HistoryError> {
        let schema = self.delta.snapshot()?.snapshot().arrow_schema();
        let fields = table.schema();
        let missing = |field: &&Arc<Field>| schema.index_of(&disk_name(field)).is_err();
        let missing = fields.fields().iter().filter(missing);
        let missing: Vec<_> = missing.map(|field| delta_column(field)).collect();
        if missing.is_empty() {
            return Ok(self);
        }
        let delta = self.delta.add_columns().with_fields(missing).await?;
        let history = at_version(delta, table, &self.known).await?;
        history.sync_commit()?;
        Ok(history)
    }

    /// The table with these properties, which other programs heed too.
    pub(crate) async fn with_versions_for(
        self,
        table: Table,
        versions_for: Duration,
    ) -> Result<Self, HistoryError> {
        let wanted = kept_for(versions_for);
        let said = self.delta.snapshot()?.metadata().configuration().clone();
        if wanted
            .iter()
            .all(|(name, value)| said.get(name) == Some(value))
        {
            return Ok(self);
        }
        let properties = wanted.into();
        let changed = self.delta.set_tbl_properties().with_properties(properties);
        let history = at_version(changed.await?, table, &self.known).await?;
        history.sync_commit()?;
        Ok(history)
    }

    /// Writes the rows, ascending by sequence number, to new data files, one date after another, so
    /// that one file's buffers are all the memory it takes. They become part of the table by
    /// [`Self::commit`].
    pub(crate) async fn write_files(
        &self,
        table: Table,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<Add>, HistoryError> {
        let store = self.delta.object_store();
        let schema = self.delta.snapshot()?.snapshot().arrow_schema();
        self.written(move || {
            let write = |days| {
                let of_date = batches.iter().map(|batch| rows_of_date(batch, days));
                let of_date = of_date
                    .filter_map(Result::transpose)
                    .collect::<Result<Vec<_>, _>>()?;
                write_date(&store, &schema, table, Date::from_days(days), &of_date)
            };
            dates(&batches).into_iter().map(write).collect()
        })
        .await
    }

    /// The same for rows of one date as they are on disk.
    pub(crate) async fn write_rows(
        &self,
        table: Table,
        date: Date,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<Add>, HistoryError> {
        let store = self.delta.object_store();
        let schema = self.delta.snapshot()?.snapshot().arrow_schema();
        self.written(move || Ok(vec![write_date(&store, &schema, table, date, &batches)?]))
            .await
    }

    /// The same for orders, which are sorted on the way, so many files at a time.
    pub(crate) async fn write_orders(
        &self,
        chunks: Vec<Chunk>,
        at_once: usize,
    ) -> Result<Vec<Add>, HistoryError> {
        let store = self.delta.object_store();
        let schema = self.delta.snapshot()?.snapshot().arrow_schema();
        self.written(move || sorted_orders::write(&store, &schema, &chunks, at_once))
            .await
    }

    /// Takes the files of spilled orders over, byte by byte; they become part of the table as new ones do.
    pub(crate) async fn adopt(&self, spilled: &Spilled) -> Result<Vec<Add>, HistoryError> {
        let (from, to) = (
            spilled.history.delta.object_store(),
            self.delta.object_store(),
        );
        let files = spilled.files.clone();
        self.written(move || {
            files.iter().try_for_each(|file| copy(&from, &to, file))?;
            Ok(files)
        })
        .await
    }

    /// What `write` writes, on a thread that may wait.
    async fn written(
        &self,
        write: impl FnOnce() -> Result<Vec<Add>, HistoryError> + Send + 'static,
    ) -> Result<Vec<Add>, HistoryError> {
        let written = tokio::task::spawn_blocking(write).await;
        let files = written.map_err(|error| HistoryError::Writer(error.to_string()))??;
        self.sync(&files)?;
        Ok(files)
    }

    /// Whether columns have other names in the files than in the table, or that cannot be known.
    pub(crate) fn has_mapped_columns(&self) -> bool {
        let snapshot = self.delta.snapshot().ok();
        let mode = snapshot.map(|snapshot| {
            let properties = snapshot.metadata().configuration();
            properties.get("delta.columnMapping.mode").cloned()
        });
        mode.is_none_or(|mode| mode.is_some_and(|mode| mode != "none"))
    }

    /// The directory, when the table is on a disk.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        self.delta.table_url().to_file_path().ok()
    }

    /// Where a file is that the table names.
    pub(crate) fn file(&self, path: &str) -> FileAt {
        match self.dir() {
            Some(dir) => FileAt::Disk(dir.join(path), self.sums.get(path).cloned()),
            None => FileAt::Bucket {
                store: self.delta.object_store(),
                path: path.into(),
                name: format!("{}{path}", self.delta.table_url()),
            },
        }
    }

    /// Forces the last commit to the disk.
    fn sync_commit(&self) -> Result<(), HistoryError> {
        let (Some(dir), Some(version)) = (self.dir(), self.delta.version()) else {
            return Ok(());
        };
        let log = dir.join("_delta_log");
        sync(&log.join(format!("{version:020}.json")))?;
        sync(&log)
    }

    /// A commit must not survive a power failure that its files do not.
    fn sync(&self, files: &[Add]) -> Result<(), HistoryError> {
        let Some(root) = self.dir() else {
            return Ok(());
        };
        let mut directories = BTreeSet::new();
        for file in files {
            let path = root.join(&file.path);
            directories.extend(path.parent().map(Path::to_owned));
            sync(&path)?;
        }
        directories.insert(root);
        directories.iter().try_for_each(|path| sync(path))
    }

    /// Makes files part of the table, and with them the new high-water mark.
    pub(crate) async fn commit(
        &self,
        table: Table,
        files: Vec<Add>,
        through: u64,
    ) -> Result<Self, HistoryError> {
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![PARTITION.to_owned()]),
            predicate: None,
        };
        let mark = Transaction::new(APP, through.cast_signed());
        let properties = CommitProperties::default().with_application_transaction(mark);
        let actions = files.into_iter().map(Action::Add).collect();
        self.change(table, actions, operation, properties).await
    }

    /// Adds and removes files by one commit, which is made once and known to be, whatever happens to
    /// the answers of the store. When another process was first, the new files are deleted.
    pub(crate) async fn change(
        &self,
        table: Table,
        actions: Vec<Action>,
        operation: DeltaOperation,
        properties: CommitProperties,
    ) -> Result<Self, HistoryError> {
        let mut attempt = 1;
        loop {
            let committed = CommitBuilder::from(properties.clone())
                .with_actions(actions.clone())
                .build(
                    Some(self.delta.snapshot()?),
                    self.delta.log_store(),
                    operation.clone(),
                )
                .await;
            let error = match committed {
                Ok(committed) => {
                    let mut delta = self.delta.clone();
                    delta.state = Some(committed.snapshot());
                    let history = at_version(delta, table, &self.known).await?;
                    history.sync_commit()?;
                    return Ok(history);
                }
                Err(error) => error,
            };
            // An answer may be lost, and a commit that is tried again finds itself in its place.
            let now = refresh(self, table).await?;
            if now.has(&actions)? {
                now.sync_commit()?;
                return Ok(now);
            }
            if is_conflict(&error) {
                self.delete(&actions).await;
            }
            let of_store = is_of_store(&error) && now.through == self.through;
            if !of_store || attempt == COMMITS_MAX {
                return Err(error.into());
            }
            tracing::warn!(table = table.name(), %error, attempt, "a commit failed; trying again");
            tokio::time::sleep(COMMIT_AGAIN * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    /// Whether the table is as the actions make it.
    fn has(&self, actions: &[Action]) -> Result<bool, HistoryError> {
        let state = self.delta.snapshot()?.log_data();
        let files = state.iter().map(|file| file.path().into_owned());
        let files: HashSet<String> = files.collect();
        Ok(actions.iter().all(|action| match action {
            Action::Add(file) => files.contains(&file.path),
            Action::Remove(file) => !files.contains(&file.path),
            _ => true,
        }))
    }

    /// Deletes new files that no commit will ever name.
    async fn delete(&self, actions: &[Action]) {
        let store = self.delta.object_store();
        for action in actions {
            if let Action::Add(file) = action
                && let Err(left) = store.delete(&file.path.as_str().into()).await
            {
                tracing::warn!(%left, "a file that nobody needs could not be removed");
            }
        }
    }
}

/// Whether another commit took the place of one for good, so that none will ever name its files.
fn is_conflict(error: &DeltaTableError) -> bool {
    let source = match error {
        DeltaTableError::Transaction { source } => source,
        _ => return false,
    };
    matches!(source, TransactionError::CommitConflict(_))
}

/// Whether the store did not do as it was told, or did not say so.
fn is_of_store(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::ObjectStore { .. } => true,
        DeltaTableError::Transaction { source } => {
            matches!(source, TransactionError::ObjectStore { .. })
        }
        _ => false,
    }
}

/// Neither the object store nor the writers do it.
fn sync(path: &Path) -> Result<(), HistoryError> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| HistoryError::Io {
            path: path.to_owned(),
            source,
        })
}
