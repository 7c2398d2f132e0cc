//! Orders as files of the history, sorted for those who read them.
//!
//! Invariant: a file holds rows of one date and of a range of sequence numbers that no other file
//! of this date has rows in; its rows ascend by event type (in the order of their numbers), then by
//! instrument, then by sequence number; a row group holds one event type, so that a reader leaves
//! out what it does not ask for by the statistics.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::DeltaTableError;
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde_json::json;
use tapewatch_model::{Date, EventType, EventTypes, Interner, Time};

use crate::history::HistoryError;
use crate::order_arrays;
use crate::recent_orders::Chunk;
use crate::schema::PARTITION;

/// Rows of a file: near 128 MiB of them, and what is sorted at once.
const FILE_ROWS: usize = 4 << 20;
/// Rows of a row group: what a reader must hold at once.
const ROW_GROUP_ROWS: usize = 131_072;
/// Rows of a data page: what a reader must decode for one row.
const PAGE_ROWS: usize = 4_096;
/// Rows that become Arrow columns at once.
const WRITE_ROWS: usize = 8_192;

/// Where a row is: the chunk, and the row of its batch.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    chunk: u32,
    row: u32,
}

/// The rows of one file: where they are, in the order of the file.
#[derive(Debug)]
struct Sorted {
    places: Vec<Place>,
    /// Each event type and where its rows end.
    kinds: Vec<(EventType, usize)>,
    seqs: (u64, u64),
    times: (Time, Time),
    /// Ranks of instruments.
    syms: (usize, usize),
    /// Where the rows behind them begin.
    next: Place,
}

/// The dates that the rows fall on.
pub(crate) fn dates(chunks: &[Chunk]) -> BTreeSet<Date> {
    let mut dates = BTreeSet::new();
    for chunk in chunks {
        let (first, last) = chunk.times();
        if first.date() == last.date() {
            dates.insert(first.date());
            continue;
        }
        let times = chunk.orders().times().get(chunk.rows());
        dates.extend(times.unwrap_or_default().iter().map(|time| time.date()));
    }
    dates
}

/// Writes the rows to new files below `root`, whose columns are those of `schema`. They are not
/// part of the table before a commit names them.
pub(crate) fn write(
    root: &Path,
    schema: &Schema,
    chunks: &[Chunk],
) -> Result<Vec<Add>, HistoryError> {
    // The partition's column is in the path, not in the file.
    let fields = schema.fields().iter().cloned();
    let fields = fields.filter(|field| field.name() != PARTITION);
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let syms = Syms::of(chunks);
    let mut files = Vec::new();
    let mut written = 0;
    for date in dates(chunks) {
        let mut from = Place::default();
        while let Some(sorted) = sort(chunks, &syms, date, from, FILE_ROWS) {
            from = sorted.next;
            written += sorted.places.len();
            files.push(write_file(root, &schema, chunks, &syms, date, &sorted)?);
        }
    }
    let rows: usize = chunks.iter().map(Chunk::len).sum();
    if written != rows {
        let message = format!("it wrote {written} of {rows} orders");
        return Err(HistoryError::Writer(message));
    }
    Ok(files)
}

/// The instruments by name.
struct Syms {
    names: Vec<String>,
    /// For each chunk, the rank of each code of its dictionary.
    ranks: Vec<Arc<[u32]>>,
}

impl Syms {
    fn of(chunks: &[Chunk]) -> Self {
        let mut dictionaries: Vec<&Arc<Interner>> = Vec::new();
        for chunk in chunks {
            let syms = chunk.orders().syms();
            if !dictionaries
                .last()
                .is_some_and(|last| Arc::ptr_eq(last, syms))
            {
                dictionaries.push(syms);
            }
        }
        let texts = dictionaries.iter().flat_map(|syms| syms.texts().iter());
        let names: BTreeSet<&str> = texts.collect();
        let names: Vec<&str> = names.into_iter().collect();
        let rank = |name: &str| names.binary_search(&name).unwrap_or_default() as u32;
        let mut ranks: Vec<Arc<[u32]>> = Vec::with_capacity(chunks.len());
        let mut last: Option<(&Arc<Interner>, Arc<[u32]>)> = None;
        for chunk in chunks {
            let syms = chunk.orders().syms();
            let known = match &last {
                Some((same, known)) if Arc::ptr_eq(same, syms) => Arc::clone(known),
                _ => syms.texts().iter().map(rank).collect(),
            };
            last = Some((syms, Arc::clone(&known)));
            ranks.push(known);
        }
        Self {
            names: names.into_iter().map(str::to_owned).collect(),
            ranks,
        }
    }

    fn name(&self, rank: usize) -> &str {
        self.names.get(rank).map_or("", String::as_str)
    }
}

/// A row of the date as it is sorted.
struct Key {
    place: Place,
    kind: EventType,
    sym: usize,
}

/// The rows of a date from a place on, in the order of their sequence numbers.
fn keys(chunks: &[Chunk], syms: &Syms, date: Date, from: Place) -> impl Iterator<Item = Key> {
    let of_date = move |chunk: &Chunk| {
        let (first, last) = chunk.times();
        first.date() <= date && date <= last.date()
    };
    let chunks = chunks.iter().zip(&syms.ranks).enumerate();
    let chunks = chunks.skip(from.chunk as usize);
    let chunks = chunks.filter(move |(_, (chunk, _))| of_date(chunk));
    chunks.flat_map(move |(index, (chunk, ranks))| {
        let orders = chunk.orders();
        let (first, last) = chunk.times();
        let all = first.date() == last.date();
        let mut rows = chunk.rows();
        if index == from.chunk as usize {
            rows.start = rows.start.max(from.row as usize);
        }
        rows.filter_map(move |row| {
            if !all && orders.times().get(row)?.date() != date {
                return None;
            }
            let code = *orders.sym_codes().get(row)?;
            Some(Key {
                place: Place {
                    chunk: index as u32,
                    row: row as u32,
                },
                kind: *orders.event_types().get(row)?,
                sym: *ranks.get(code as usize)? as usize,
            })
        })
    })
}

/// Sorts at most `rows_max` rows of a date from a place on, by counting; `None` when there are none.
fn sort(chunks: &[Chunk], syms: &Syms, date: Date, from: Place, rows_max: usize) -> Option<Sorted> {
    let rows = || keys(chunks, syms, date, from).take(rows_max);
    let width = syms.names.len();
    let highest = EventTypes::ALL.iter().map(|kind| kind as usize).max()?;
    let slot = |key: &Key| key.kind as usize * width + key.sym;
    let mut starts = vec![0_usize; (highest + 1) * width + 1];
    let time = |place: Place| {
        let chunk = chunks.get(place.chunk as usize)?;
        chunk.orders().times().get(place.row as usize).copied()
    };
    let mut times = (Time::MAX, Time::MIN);
    let mut range = (usize::MAX, 0);
    let mut ends = None;
    for key in rows() {
        *starts.get_mut(slot(&key) + 1)? += 1;
        let time = time(key.place)?;
        times = (times.0.min(time), times.1.max(time));
        range = (range.0.min(key.sym), range.1.max(key.sym));
        ends = Some((ends.map_or(key.place, |(first, _)| first), key.place));
    }
    let mut total = 0;
    for start in &mut starts {
        total += *start;
        *start = total;
    }
    let mut places = vec![Place::default(); total];
    for key in rows() {
        let next = starts.get_mut(slot(&key))?;
        *places.get_mut(*next)? = key.place;
        *next += 1;
    }
    // Every start has moved to its slot's end.
    let end = |kind: EventType| {
        let last = ((kind as usize + 1) * width).checked_sub(1)?;
        Some((kind, *starts.get(last)?))
    };
    let seq = |place: Place| {
        let chunk = chunks.get(place.chunk as usize)?;
        Some(chunk.orders().seq(place.row as usize))
    };
    let (first, last) = ends?;
    Some(Sorted {
        places,
        kinds: EventTypes::ALL.iter().filter_map(end).collect(),
        seqs: (seq(first)?, seq(last)?),
        times,
        syms: range,
        next: Place {
            row: last.row + 1,
            ..last
        },
    })
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS);
    for column in ["seq", "time_ns"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

fn write_file(
    root: &Path,
    schema: &SchemaRef,
    chunks: &[Chunk],
    syms: &Syms,
    date: Date,
    sorted: &Sorted,
) -> Result<Add, HistoryError> {
    let (path, file) = create(root, date, sorted.seqs)?;
    let failed = |source| HistoryError::Io {
        path: root.join(&path),
        source,
    };
    let size = write_rows(file, schema, chunks, sorted)?.metadata();
    let size = size.map_err(failed)?.len();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    Ok(Add {
        path,
        partition_values: [(PARTITION.to_owned(), Some(date.to_string()))].into(),
        size: size.cast_signed(),
        modification_time: i64::try_from(now).unwrap_or_default(),
        data_change: true,
        stats: Some(statistics(syms, sorted).to_string()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    })
}

fn write_rows(
    file: File,
    schema: &SchemaRef,
    chunks: &[Chunk],
    sorted: &Sorted,
) -> Result<File, DeltaTableError> {
    let mut writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties()))?;
    let mut from = 0;
    for &(_, upto) in &sorted.kinds {
        let places = sorted.places.get(from..upto).unwrap_or_default();
        for part in places.chunks(WRITE_ROWS) {
            let picked = part.iter().map(|place| place.of(chunks));
            writer.write(&order_arrays::picked(picked, schema)?)?;
        }
        writer.flush()?;
        from = upto;
    }
    Ok(writer.into_inner()?)
}

impl Place {
    fn of(self, chunks: &[Chunk]) -> (&tapewatch_model::OrderBatch, usize) {
        match chunks.get(self.chunk as usize) {
            Some(chunk) => (chunk.orders(), self.row as usize),
            None => unreachable!("places are made from the chunks"),
        }
    }
}

/// A file of its own, whatever a crash left behind: one that is written to is never written again.
fn create(root: &Path, date: Date, seqs: (u64, u64)) -> Result<(String, File), HistoryError> {
    let failed = |path: &Path, source: io::Error| HistoryError::Io {
        path: path.to_owned(),
        source,
    };
    let partition = format!("{PARTITION}={date}");
    let dir: PathBuf = root.join(&partition);
    std::fs::create_dir_all(&dir).map_err(|source| failed(&dir, source))?;
    let (first, last) = seqs;
    let mut attempt = 0_u64;
    loop {
        let name = format!("orders-{first:020}-{last:020}-{attempt}.parquet");
        let path = dir.join(&name);
        match File::create_new(&path) {
            Ok(file) => return Ok((format!("{partition}/{name}"), file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            Err(error) => return Err(failed(&path, error)),
        }
    }
}

/// Delta's statistics of a file.
fn statistics(syms: &Syms, sorted: &Sorted) -> serde_json::Value {
    let mut from = 0;
    let mut kinds = BTreeSet::new();
    for &(kind, upto) in &sorted.kinds {
        if from < upto {
            kinds.insert(kind.name());
        }
        from = upto;
    }
    json!({
        "numRecords": sorted.places.len(),
        "minValues": {
            "seq": sorted.seqs.0,
            "time_ns": sorted.times.0.nanos(),
            "sym": syms.name(sorted.syms.0),
            "event_type": kinds.first(),
        },
        "maxValues": {
            "seq": sorted.seqs.1,
            "time_ns": sorted.times.1.nanos(),
            "sym": syms.name(sorted.syms.1),
            "event_type": kinds.last(),
        },
        "nullCount": { "seq": 0, "time_ns": 0, "sym": 0, "event_type": 0 },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tapewatch_model::{Order, OrderBatch, Price, Quantity, Side};

    use super::*;
    use crate::recent_orders::RecentOrders;

    const CHUNK_ROWS: u64 = 2_500;

    /// Orders of two days by turns, in three chunks.
    fn chunks() -> Vec<Chunk> {
        let mut recent = RecentOrders::default();
        let order = |seq: u64| Order {
            seq,
            time: Time::from_nanos((seq % 2 * 86_400_000_000_000).cast_signed()),
            sym: format!("S{}", seq % 7),
            event_type: EventType::from_number((seq / 2 % 4 + 1) as u8).unwrap(),
            trader: "T".to_owned(),
            side: Side::Buy,
            order_id: String::new(),
            price: Price::default(),
            quantity: Quantity::default(),
        };
        for first in (0..3).map(|chunk| chunk * CHUNK_ROWS + 1) {
            let mut batch = OrderBatch::default();
            for seq in first..first + CHUNK_ROWS {
                batch.push(&order(seq).as_row().as_bytes()).unwrap();
            }
            batch.number_from(first);
            recent.append(batch, 0);
        }
        recent.snapshot().chunks().cloned().collect()
    }

    #[test]
    fn a_day_of_several_files_is_cut_by_sequence_numbers() {
        let chunks = chunks();
        let syms = Syms::of(&chunks);
        let seq = |place: &Place| {
            let (orders, row) = place.of(&chunks);
            orders.seq(row)
        };
        for (date, rows_max) in dates(&chunks)
            .into_iter()
            .flat_map(|date| [700, 1_250, 5_000].map(|rows_max| (date, rows_max)))
        {
            let (mut from, mut all) = (Place::default(), Vec::new());
            while let Some(sorted) = sort(&chunks, &syms, date, from, rows_max) {
                from = sorted.next;
                let mut seqs: Vec<u64> = sorted.places.iter().map(seq).collect();
                seqs.sort_unstable();
                assert!(seqs.len() <= rows_max);
                assert_eq!(Some(&sorted.seqs.0), seqs.first());
                assert_eq!(Some(&sorted.seqs.1), seqs.last());
                assert!(all.last() < seqs.first(), "each row once");
                all.extend(seqs);
            }
            let first = all.first().copied().unwrap();
            let expected: Vec<u64> = (first..=3 * CHUNK_ROWS).step_by(2).collect();
            assert!(
                first <= 2 && all == expected,
                "{date}, {rows_max} rows a file"
            );
        }
    }
}
