//! Hits in memory to a file and back, for checkpoints.
//!
//! Invariant: a file that is loaded gives the rows that were saved, each once; hits of one event
//! stay together; a file that is damaged or does not fit is refused whole, with nothing loaded.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::rows::{CHUNK_ROWS, seqs};
use crate::schema::Table;
use crate::store::Store;

/// Why hits cannot be saved to a file or loaded from it.
#[derive(Debug, thiserror::Error)]
pub enum HitFileError {
    /// The file cannot be made, written or opened.
    #[error("hits in {}: {source}; check the path, its owner and the space on the disk", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not a file of hits that this version can read or write.
    #[error("hits in {}: {message}; delete the file: its hits come from the journal again", path.display())]
    Content {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A hit does not come after those before it.
    #[error(
        "hits in {}: sequence number {seq} comes after {after}; load the file before anything newer, or delete it: its hits come from the journal again",
        path.display()
    )]
    Order {
        /// File.
        path: PathBuf,
        /// Its event's sequence number.
        seq: u64,
        /// That of the hit before it, in the file or in memory.
        after: u64,
    },
}

impl Store {
    /// Writes the hits in memory with `after_seq < seq <= through_seq` to a file, which is on the
    /// disk then, and returns their number. Its directory is not synced: rename the file to its
    /// place first.
    ///
    /// # Errors
    /// [`HitFileError`] when the file cannot be written.
    pub fn save_hits(
        &self,
        path: &Path,
        after_seq: u64,
        through_seq: u64,
    ) -> Result<u64, HitFileError> {
        let batches = self.snapshot().hits.between(after_seq, through_seq);
        let io = |source| HitFileError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::create(path).map_err(io)?;
        let file = write(file, &batches).map_err(|error| content(path, &error))?;
        file.sync_all().map_err(io)?;
        Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
    }

    /// Adds the hits of a file behind those in memory and returns their number. What is in history
    /// already is skipped.
    ///
    /// # Errors
    /// [`HitFileError`] when the file cannot be read or its hits do not come after those in memory;
    /// none is added then.
    pub fn load_hits(&self, path: &Path) -> Result<u64, HitFileError> {
        let file = File::open(path).map_err(|source| HitFileError::Io {
            path: path.to_owned(),
            source,
        })?;
        let batches = read(file).map_err(|message| content(path, &message))?;
        check_order(&batches, None).map_err(|out_of_order| out_of_order.of(path))?;
        self.adopt_hits(&batches)
            .map_err(|out_of_order| out_of_order.of(path))
    }
}

/// A hit that does not come after the one before it.
pub(crate) struct OutOfOrder {
    seq: u64,
    after: u64,
}

impl OutOfOrder {
    fn of(self, path: &Path) -> HitFileError {
        HitFileError::Order {
            path: path.to_owned(),
            seq: self.seq,
            after: self.after,
        }
    }
}

/// Checks that hits ascend, and that the first comes after `last`, whose event's hits are complete.
pub(crate) fn check_order(batches: &[RecordBatch], last: Option<u64>) -> Result<(), OutOfOrder> {
    let mut least = last.map_or(0, |last| last.saturating_add(1));
    for &seq in batches.iter().filter_map(seqs).flatten() {
        let seq = seq.cast_unsigned();
        if seq < least {
            let after = last.filter(|_| last >= Some(seq)).unwrap_or(least);
            return Err(OutOfOrder { seq, after });
        }
        least = seq;
    }
    Ok(())
}

/// How many of the hits are the first of their alert.
pub(crate) fn alerts(batch: &RecordBatch) -> u64 {
    let places = batch.column_by_name("alert_hit");
    let places = places.and_then(|places| places.as_primitive_opt::<Int64Type>());
    places.map_or(0, |places| {
        places.values().iter().filter(|&&place| place == 1).count() as u64
    })
}

fn content(path: &Path, error: &impl ToString) -> HitFileError {
    HitFileError::Content {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

fn write(file: File, batches: &[RecordBatch]) -> parquet::errors::Result<File> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(CHUNK_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(file, Table::Hits.schema(), Some(properties))?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.into_inner()
}

fn read(file: File) -> Result<Vec<RecordBatch>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file);
    let builder = builder.map_err(|error| error.to_string())?;
    let schema = Table::Hits.schema();
    if builder.schema().fields() != schema.fields() {
        return Err("its columns are not those of hits in this version".to_owned());
    }
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows());
    let reader = builder.with_batch_size(CHUNK_ROWS).build();
    let reader = reader.map_err(|error| error.to_string())?;
    let batches = reader.map(|batch| {
        let batch = batch.map_err(|error| error.to_string())?;
        RecordBatch::try_new(Table::Hits.schema(), batch.columns().to_vec())
            .map_err(|error| error.to_string())
    });
    let batches: Vec<_> = batches.collect::<Result<_, _>>()?;
    if rows != Ok(batches.iter().map(RecordBatch::num_rows).sum()) {
        return Err("it has fewer rows than it says".to_owned());
    }
    Ok(batches)
}
