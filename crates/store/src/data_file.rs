//! Data files of the history as they are written: through the object store, with their checksums.
//!
//! Invariant: a file's name was never used before, so that nothing is ever written over; it is whole
//! or not there, except on a disk after a power failure, which [`crate::history`] sees to. What the
//! table says of it beside its size are bounds that its own statistics give, and under the tag
//! [`CHECKSUM`] the BLAKE3 of its bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use futures::StreamExt as _;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectStoreExt as _};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};
use tapewatch_model::Date;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;

use crate::block_sums::{BLOCK_SUMS, Summing};
use crate::history::HistoryError;
use crate::schema::{PARTITION, Table};

/// Name of the tag in the Delta log that has a file's checksum: BLAKE3 in hexadecimal digits.
pub(crate) const CHECKSUM: &str = "tapewatch.blake3";
/// Bytes that are sent at once; a smaller file is sent as one.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way.
const PARTS: usize = 4;
/// Columns whose bounds the table tells.
const BOUNDED: [&str; 5] = ["seq", "time_ns", "received_ns", "sym", "event_type"];

/// A new file of a table.
pub(crate) struct NewFile<'a> {
    /// The store of the table.
    pub(crate) store: &'a Arc<DynObjectStore>,
    pub(crate) table: Table,
    pub(crate) date: Date,
    /// The first and the last sequence number, for its name.
    pub(crate) seqs: (u64, u64),
    /// Its columns, which is all but that of the date.
    pub(crate) schema: SchemaRef,
    pub(crate) properties: WriterProperties,
}

/// What rows are written with.
pub(crate) type Writer<'a> = ArrowWriter<&'a mut Sink>;

impl NewFile<'_> {
    /// Writes the file. Must be called from a thread that may wait, within a runtime.
    pub(crate) fn write(
        self,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), HistoryError>,
    ) -> Result<Add, HistoryError> {
        self.write_with(|mut writer| {
            fill(&mut writer)?;
            Ok(writer.close()?)
        })
    }

    /// The same by who also ends the file.
    pub(crate) fn write_with(
        self,
        fill: impl FnOnce(Writer<'_>) -> Result<ParquetMetaData, HistoryError>,
    ) -> Result<Add, HistoryError> {
        let (first, last) = self.seqs;
        let name = format!("{}-{first:020}-{last:020}-{}", self.table.name(), unique());
        let path = format!("{PARTITION}={}/{name}.parquet", self.date);
        let mut sink = Sink::new(self.store, &path);
        let written = write(&mut sink, self.schema, self.properties, fill);
        let metadata = match written {
            Ok(metadata) => metadata,
            Err(error) => {
                sink.abort();
                return Err(error);
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        let checksum = sink.digest.finalize().to_hex().to_string();
        let tags = [(CHECKSUM, checksum), (BLOCK_SUMS, sink.blocks.finish())];
        let tags = tags.map(|(name, value)| (name.to_owned(), Some(value)));
        Ok(Add {
            path,
            partition_values: HashMap::from([(PARTITION.to_owned(), Some(self.date.to_string()))]),
            size: sink.bytes.cast_signed(),
            modification_time: i64::try_from(now).unwrap_or_default(),
            data_change: true,
            stats: Some(statistics(&metadata).to_string()),
            tags: Some(HashMap::from(tags)),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        })
    }
}

fn write(
    sink: &mut Sink,
    schema: SchemaRef,
    properties: WriterProperties,
    fill: impl FnOnce(Writer<'_>) -> Result<ParquetMetaData, HistoryError>,
) -> Result<ParquetMetaData, HistoryError> {
    let metadata = fill(ArrowWriter::try_new(&mut *sink, schema, Some(properties))?)?;
    sink.finish()?;
    Ok(metadata)
}

/// Copies a file that has its checksum from one store to another, under its name. Must be called as
/// [`NewFile::write`].
pub(crate) fn copy(
    from: &Arc<DynObjectStore>,
    to: &Arc<DynObjectStore>,
    file: &Add,
) -> Result<(), HistoryError> {
    let mut sink = Sink::new(to, &file.path);
    let runtime = sink.runtime.clone();
    let copied = runtime.block_on(from.get(&Path::from(file.path.as_str())));
    let copied = copied.map_err(HistoryError::from).and_then(|found| {
        let mut bytes = found.into_stream();
        while let Some(part) = runtime.block_on(bytes.next()) {
            sink.write_all(&part?)?;
        }
        sink.send()?;
        let checksum = sink.digest.finalize().to_hex();
        let said = file.tags.as_ref().and_then(|tags| tags.get(CHECKSUM));
        if said.is_none_or(|said| said.as_deref() != Some(checksum.as_str())) {
            return Err(HistoryError::Writer(format!(
                "{} does not have its checksum",
                file.path
            )));
        }
        Ok(sink.end()?)
    });
    if copied.is_err() {
        sink.abort();
    }
    copied
}

/// Sixteen digits that no file was named with.
fn unique() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Bytes on their way to the object store.
pub(crate) struct Sink {
    runtime: Handle,
    to: BufWriter,
    digest: blake3::Hasher,
    blocks: Summing,
    bytes: u64,
    /// Not sent yet.
    part: Vec<u8>,
    /// Whether all was sent, or was to be.
    ended: bool,
}

impl Sink {
    fn new(store: &Arc<DynObjectStore>, path: &str) -> Self {
        let to = BufWriter::with_capacity(Arc::clone(store), Path::from(path), PART_BYTES);
        Self {
            runtime: Handle::current(),
            to: to.with_max_concurrency(PARTS),
            digest: blake3::Hasher::new(),
            blocks: Summing::default(),
            bytes: 0,
            part: Vec::new(),
            ended: false,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.digest.update(&part);
        self.blocks.update(&part);
        let sent = self.to.put(part.into());
        self.runtime.block_on(sent).map_err(io::Error::from)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.send()?;
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        self.runtime.block_on(self.to.shutdown())
    }

    /// Gives up what was sent, unless it is the end of it that failed: then the store has given it up.
    fn abort(&mut self) {
        if self.ended {
            return;
        }
        if let Err(left) = self.runtime.block_on(self.to.abort()) {
            tracing::debug!(%left, "a half-written file of the history could not be given up");
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Delta's statistics of a file.
fn statistics(metadata: &ParquetMetaData) -> Value {
    let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in BOUNDED {
        let groups = metadata.row_groups().iter().map(|group| {
            let mut columns = group.columns().iter();
            let is = |path: &[String]| matches!(path, [only] if only == column);
            columns
                .find(|said| is(said.column_path().parts()))?
                .statistics()
        });
        let Some(groups) = groups.collect::<Option<Vec<&Statistics>>>() else {
            continue;
        };
        let bounds = groups.iter().map(|said| bounds(said));
        let Some(bounds) = bounds.collect::<Option<Vec<(Bound, Bound)>>>() else {
            continue;
        };
        let first = bounds.iter().map(|(first, _)| first).min();
        let last = bounds.iter().map(|(_, last)| last).max();
        if let (Some(first), Some(last)) = (first, last) {
            least.insert(column.to_owned(), first.json());
            most.insert(column.to_owned(), last.json());
            let count = groups.iter().filter_map(|said| said.null_count_opt());
            nulls.insert(column.to_owned(), count.sum::<u64>().into());
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": least,
        "maxValues": most,
        "nullCount": nulls,
    })
}

/// An end of a column's values.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Number(i64),
    Text(String),
}

impl Bound {
    fn json(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.clone().into(),
        }
    }
}

fn bounds(said: &Statistics) -> Option<(Bound, Bound)> {
    match said {
        Statistics::Int64(said) => Some((
            Bound::Number(*said.min_opt()?),
            Bound::Number(*said.max_opt()?),
        )),
        Statistics::ByteArray(said) => Some((
            Bound::Text(said.min_opt()?.as_utf8().ok()?.to_owned()),
            Bound::Text(said.max_opt()?.as_utf8().ok()?.to_owned()),
        )),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use object_store::ObjectStoreExt as _;
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    use super::*;

    /// Writes a file of three rows, from a thread that may wait.
    async fn write_some(store: &Arc<DynObjectStore>) -> Result<Add, HistoryError> {
        let store = Arc::clone(store);
        let schema = Arc::new(Schema::new(vec![
            Field::new("seq", DataType::Int64, false),
            Field::new("sym", DataType::Utf8, false),
            Field::new("price", DataType::Int64, false),
        ]));
        let write = move || {
            let file = NewFile {
                store: &store,
                table: Table::Orders,
                date: Date::from_days(19_727),
                seqs: (3, 9),
                schema: Arc::clone(&schema),
                properties: WriterProperties::builder()
                    .set_max_row_group_row_count(Some(2))
                    .build(),
            };
            file.write(|writer| {
                let batch = RecordBatch::try_new(
                    Arc::clone(&schema),
                    vec![
                        Arc::new(Int64Array::from(vec![3, -4, 9])),
                        Arc::new(StringArray::from(vec!["b", "c", "a"])),
                        Arc::new(Int64Array::from(vec![1, 2, 3])),
                    ],
                );
                Ok(writer.write(&batch.unwrap())?)
            })
        };
        tokio::task::spawn_blocking(write).await.unwrap()
    }

    #[tokio::test]
    async fn one_whose_end_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
        std::fs::write(dir.path().join("date=2024-01-05"), "no directory").unwrap();
        let store: Arc<DynObjectStore> = Arc::new(store);
        assert!(write_some(&store).await.is_err());
    }

    #[tokio::test]
    async fn a_file_is_told_as_it_is() {
        let store: Arc<DynObjectStore> = Arc::new(InMemory::new());
        let add = write_some(&store).await.unwrap();
        let bytes = store.get(&add.path.as_str().into()).await.unwrap();
        let bytes = bytes.bytes().await.unwrap();
        assert_eq!(add.size, bytes.len() as i64);
        let checksum = blake3::hash(&bytes).to_hex().to_string();
        let mut blocks = Summing::default();
        blocks.update(&bytes);
        let tags = [(CHECKSUM, checksum), (BLOCK_SUMS, blocks.finish())];
        let tags = tags.map(|(name, value)| (name.to_owned(), Some(value)));
        assert_eq!(add.tags, Some(HashMap::from(tags)));
        assert!(
            add.path
                .starts_with("date=2024-01-05/orders-00000000000000000003-0"),
            "{}",
            add.path
        );
        let said: Value = serde_json::from_str(&add.stats.unwrap()).unwrap();
        assert_eq!(
            said,
            json!({
                "numRecords": 3,
                "minValues": { "seq": -4, "sym": "a" },
                "maxValues": { "seq": 9, "sym": "c" },
                "nullCount": { "seq": 0, "sym": 0 },
            })
        );
    }
}
