//! Past days: one Delta Lake table for each of the three, partitioned by date.
//!
//! Invariant: rows come into a table by one commit that also carries the last sequence number in it
//! (Delta's application transaction), so that a table always holds exactly the rows up to that
//! number, each once. Files that no commit names are leftovers of a crash and are never read.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    DataType, Date32Type, Field, Int64Type, SchemaRef, TimestampNanosecondType,
};
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::config::TablePropertiesExt as _;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use url::Url;

use crate::recent_orders::Chunk;
use crate::schema::{PARTITION, Table, delta_column, disk_name};
use crate::sorted_orders;

/// Name that the high-water mark is kept under in the Delta log.
const APP: &str = "tapewatch";
/// A file is closed when it has about this size.
const FILE_BYTES: u64 = 128 << 20;
/// Rows of a row group: what a reader must hold at once.
const ROW_GROUP_ROWS: usize = 262_144;
/// Rows handed to the Parquet writer at once.
const WRITE_ROWS: usize = 8_192;

/// One table at one version.
#[derive(Clone)]
pub(crate) struct History {
    /// The table with its file list.
    pub(crate) delta: DeltaTable,
    /// Last sequence number that is in it.
    pub(crate) through: u64,
    /// Number of rows.
    pub(crate) rows: u64,
}

/// Why a table on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("the directory's path cannot be written as a URL")]
    Path,
    #[error("column {column} is missing or of another type; this program cannot read the table")]
    Column { column: String },
    #[error(transparent)]
    Delta(#[from] DeltaTableError),
    #[error("the writer of the files ended: {0}")]
    Writer(String),
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Where a table lives.
pub(crate) fn table_dir(dir: &Path, table: Table) -> PathBuf {
    dir.join("history").join(table.name())
}

/// Opens a table if it exists. Writes nothing.
pub(crate) async fn open(dir: &Path, table: Table) -> Result<Option<Arc<History>>, HistoryError> {
    let dir = table_dir(dir, table);
    if !dir.join("_delta_log").is_dir() {
        return Ok(None);
    }
    match DeltaTableBuilder::from_url(url(&dir)?)?.load().await {
        Ok(delta) => at_version(delta, table).await.map(Arc::new).map(Some),
        // A crash while it was created: no commit yet, so no rows.
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The table with whatever was committed to it since.
pub(crate) async fn refresh(history: &History, table: Table) -> Result<History, HistoryError> {
    let mut delta = history.delta.clone();
    delta.update_state().await?;
    at_version(delta, table).await
}

/// Creates an empty table.
pub(crate) async fn create(dir: &Path, table: Table) -> Result<History, HistoryError> {
    let dir = table_dir(dir, table);
    std::fs::create_dir_all(&dir).map_err(|source| HistoryError::Io {
        path: dir.clone(),
        source,
    })?;
    let delta = CreateBuilder::new()
        .with_location(url(&dir)?.to_string())
        .with_table_name(table.name())
        .with_comment("Written by Tapewatch; *_ns columns are nanoseconds since 1970, UTC.")
        .with_columns(table.delta_columns())
        .with_partition_columns([PARTITION])
        .with_save_mode(SaveMode::ErrorIfExists)
        .await?;
    dir.ancestors().take(3).try_for_each(sync)?;
    at_version(delta, table).await
}

fn url(dir: &Path) -> Result<Url, HistoryError> {
    let dir = std::fs::canonicalize(dir).map_err(|source| HistoryError::Io {
        path: dir.to_owned(),
        source,
    })?;
    Url::from_directory_path(dir).map_err(|()| HistoryError::Path)
}

async fn at_version(delta: DeltaTable, table: Table) -> Result<History, HistoryError> {
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
        delta,
    })
}

fn disk_type(kind: &DataType) -> &DataType {
    match kind {
        DataType::Timestamp(..) => &DataType::Int64,
        other => other,
    }
}

/// The dates that the batches' rows fall on, in days since 1970.
pub(crate) fn dates(batches: &[RecordBatch]) -> BTreeSet<i32> {
    let mut dates = BTreeSet::new();
    for batch in batches {
        let mut last = None;
        for &date in date_column(batch) {
            if last.replace(date) != Some(date) {
                dates.insert(date);
            }
        }
    }
    dates
}

fn date_column(batch: &RecordBatch) -> &[i32] {
    let column = batch
        .column_by_name(PARTITION)
        .and_then(|column| column.as_primitive_opt::<Date32Type>());
    column
        .map(|dates| dates.values().as_ref())
        .unwrap_or_default()
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
        let version = delta.version();
        let history = at_version(delta, table).await?;
        history.sync_commit(version.unwrap_or_default())?;
        Ok(history)
    }

    /// Writes the rows, ascending by sequence number, to new data files, one date after another, so
    /// that one file's buffers are all the memory it takes. They become part of the table by
    /// [`Self::commit`].
    pub(crate) async fn write_files(
        &self,
        batches: &[RecordBatch],
    ) -> Result<Vec<Add>, HistoryError> {
        let mut files = Vec::new();
        for date in dates(batches) {
            files.extend(self.write_date(batches, date).await?);
        }
        self.sync(&files)?;
        Ok(files)
    }

    /// The same for orders, which are sorted on the way.
    pub(crate) async fn write_orders(&self, chunks: Vec<Chunk>) -> Result<Vec<Add>, HistoryError> {
        let root = self.root()?;
        let schema = self.delta.snapshot()?.snapshot().arrow_schema();
        let write = move || sorted_orders::write(&root, &schema, &chunks);
        let written = tokio::task::spawn_blocking(write).await;
        let files = written.map_err(|error| HistoryError::Writer(error.to_string()))??;
        self.sync(&files)?;
        Ok(files)
    }

    fn sync_commit(&self, version: impl std::fmt::Display) -> Result<(), HistoryError> {
        let log = self.root()?.join("_delta_log");
        sync(&log.join(format!("{version:020}.json")))?;
        sync(&log)
    }

    /// A commit must not survive a power failure that its files do not.
    fn sync(&self, files: &[Add]) -> Result<(), HistoryError> {
        let root = self.root()?;
        let mut directories = BTreeSet::new();
        for file in files {
            let path = root.join(&file.path);
            directories.extend(path.parent().map(Path::to_owned));
            sync(&path)?;
        }
        directories.insert(root);
        directories.iter().try_for_each(|path| sync(path))
    }

    async fn write_date(
        &self,
        batches: &[RecordBatch],
        date: i32,
    ) -> Result<Vec<Add>, HistoryError> {
        let state = self.delta.snapshot()?;
        let schema = state.snapshot().arrow_schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let config = WriterConfig::new(
            Arc::clone(&schema),
            vec![PARTITION.to_owned()],
            Some(properties),
            NonZeroU64::new(FILE_BYTES),
            Some(WRITE_ROWS),
            state.table_config().num_indexed_cols(),
            None,
        );
        let mut writer = DeltaWriter::new(self.delta.object_store(), config);
        for batch in batches {
            let written = match rows_of_date(batch, date)
                .and_then(|rows| rows.map(|rows| to_disk(&rows, &schema)).transpose())
            {
                Ok(Some(rows)) => writer.write(&rows).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                if let Err(left) = writer.abort().await {
                    tracing::warn!(%left, "a half-written file of the history could not be removed");
                }
                return Err(error.into());
            }
        }
        Ok(writer.close().await?)
    }

    /// Makes files part of the table, and with them the new high-water mark.
    pub(crate) async fn commit(
        &self,
        table: Table,
        files: Vec<Add>,
        through: u64,
    ) -> Result<Self, HistoryError> {
        let mark = Transaction::new(APP, through.cast_signed());
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![PARTITION.to_owned()]),
            predicate: None,
        };
        let properties = CommitProperties::default().with_application_transaction(mark);
        let paths: Vec<PathBuf> = files.iter().map(|file| PathBuf::from(&file.path)).collect();
        let committed = CommitBuilder::from(properties)
            .with_actions(files.into_iter().map(Action::Add).collect())
            .build(
                Some(self.delta.snapshot()?),
                self.delta.log_store(),
                operation,
            )
            .await;
        if let Err(DeltaTableError::Transaction { source: conflict }) = &committed
            && matches!(conflict, TransactionError::CommitConflict(_))
        {
            // Another process moved these rows: no commit will ever name the files.
            for path in paths {
                if let Err(left) = std::fs::remove_file(self.root()?.join(path)) {
                    tracing::warn!(%left, "a file that nobody needs could not be removed");
                }
            }
        }
        let committed = committed?;
        self.sync_commit(committed.version())?;
        let mut delta = self.delta.clone();
        delta.state = Some(committed.snapshot());
        at_version(delta, table).await
    }

    pub(crate) fn root(&self) -> Result<PathBuf, HistoryError> {
        self.delta
            .table_url()
            .to_file_path()
            .map_err(|()| HistoryError::Path)
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

/// The batch's rows of one date, without a copy when these are all or none.
fn rows_of_date(batch: &RecordBatch, date: i32) -> Result<Option<RecordBatch>, DeltaTableError> {
    let dates = date_column(batch);
    let count = dates.iter().filter(|&&d| d == date).count();
    if count == 0 {
        return Ok(None);
    }
    if count == dates.len() {
        return Ok(Some(batch.clone()));
    }
    let mask: BooleanArray = dates.iter().map(|&d| Some(d == date)).collect();
    Ok(Some(filter_record_batch(batch, &mask)?))
}

/// The batch with its columns as on disk.
fn to_disk(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DeltaTableError> {
    let fields = batch.schema();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = fields
            .fields()
            .iter()
            .zip(batch.columns())
            .find(|(ours, _)| disk_name(ours) == *field.name())
            .map(|(_, column)| column);
        columns.push(match column {
            Some(column) => disk_column(column, field.data_type())?,
            // A column that a later version added.
            None => arrow::array::new_null_array(field.data_type(), batch.num_rows()),
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn disk_column(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, DeltaTableError> {
    if let Some(times) = column.as_primitive_opt::<TimestampNanosecondType>() {
        return Ok(Arc::new(times.reinterpret_cast::<Int64Type>()));
    }
    if column.data_type() == kind {
        return Ok(Arc::clone(column));
    }
    Ok(arrow::compute::cast(column, kind)?)
}
