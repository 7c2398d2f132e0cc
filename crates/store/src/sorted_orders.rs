//! Orders as files of the history, sorted for those who read them.
//!
//! Invariant: the files of one end of day have one date each and no event type of an instrument in
//! common; the rows of a file ascend by event type (in the order of their numbers), then by
//! instrument, then by sequence number; a row group holds one event type, so that a reader leaves
//! out what it does not ask for by the statistics. A file has no column that none of its rows fills.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::DeltaTableError;
use deltalake::kernel::Add;
use object_store::DynObjectStore;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use tapewatch_model::{Date, Details, EventType, EventTypes, Interner};
use tokio::runtime::Handle;

use crate::data_file::{NewFile, Writer};
use crate::history::HistoryError;
use crate::recent_orders::Chunk;
use crate::schema::{DETAILS, PARTITION, Table};
use row_group::Sources;

/// Rows of a file, about: near 64 MiB of them.
const FILE_ROWS: usize = 4 << 20;
/// A file is not made smaller than this for another thread's sake.
const FILE_ROWS_MIN: usize = 1 << 20;
/// Rows of a row group: what a reader must hold at once.
const ROW_GROUP_ROWS: usize = 131_072;
/// Rows of a data page: what a reader must decode for one row.
const PAGE_ROWS: usize = 4_096;
/// Bytes of order ids in a data page: what a reader must decode for one of them.
const ID_PAGE_BYTES: usize = 4_096;
/// The columns that scans read: differences and codes of few bits, which a compressor makes
/// hardly smaller and a reader wants at once.
const JUDGED: [&str; 11] = [
    "seq",
    "time_ns",
    "sym",
    "event_type",
    "trader",
    "side",
    "quantity",
    "price",
    "account",
    "display_quantity",
    "flags",
];

/// Where a row is: the chunk, and the row of its batch.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    chunk: u32,
    row: u32,
}

/// The rows of a date: where they are, in the order of the files.
#[derive(Debug)]
struct Sorted {
    places: Vec<Place>,
    /// What stands there, one after another; none is empty.
    slots: Vec<Slot>,
}

/// The rows of one event type and instrument.
#[derive(Debug, Clone, Copy)]
struct Slot {
    kind: EventType,
    /// Rank of the instrument.
    sym: usize,
    /// Number of rows.
    rows: usize,
    seqs: (u64, u64),
}

/// The rows of one file.
struct FileRows<'a> {
    places: &'a [Place],
    /// Never empty.
    slots: &'a [Slot],
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

/// Writes the rows to new files, whose columns are those of `schema`, so many at a time. They are not
/// part of the table before a commit names them.
pub(crate) fn write(
    store: &Arc<DynObjectStore>,
    schema: &Schema,
    chunks: &[Chunk],
    at_once: usize,
) -> Result<Vec<Add>, HistoryError> {
    let syms = Syms::of(chunks);
    let sources = Sources::of(chunks, &syms.names);
    let mut files = Vec::new();
    let mut written = 0;
    for date in dates(chunks) {
        let sorted = sort(chunks, &syms, date);
        // As many files as make threads end together.
        let turns = sorted.places.len().div_ceil(FILE_ROWS * at_once.max(1));
        let about = sorted.places.len().div_ceil(turns.max(1) * at_once.max(1));
        let rows = sorted.files(about.max(FILE_ROWS_MIN));
        written += rows.iter().map(|file| file.places.len()).sum::<usize>();
        let write = |rows: &FileRows<'_>| write_file(store, schema, &sources, date, rows);
        files.extend(in_threads(&rows, at_once, write)?);
    }
    let rows: usize = chunks.iter().map(Chunk::len).sum();
    if written != rows {
        let message = format!("it wrote {written} of {rows} orders");
        return Err(HistoryError::Writer(message));
    }
    Ok(files)
}

fn write_file(
    store: &Arc<DynObjectStore>,
    schema: &Schema,
    sources: &Sources<'_>,
    date: Date,
    rows: &FileRows<'_>,
) -> Result<Add, HistoryError> {
    let schema = columns(schema, sources.chunks, rows);
    let new = NewFile {
        store,
        table: Table::Orders,
        date,
        seqs: rows.seqs(),
        properties: properties(&schema)?,
        schema: Arc::clone(&schema),
    };
    new.write_with(|writer| write_rows(writer, &schema, sources, rows))
}

/// Does the same to all, with so many threads; the results in order.
fn in_threads<T: Sync, R: Send>(
    all: &[T],
    threads: usize,
    each: impl Fn(&T) -> Result<R, HistoryError> + Sync,
) -> Result<Vec<R>, HistoryError> {
    if threads < 2 || all.len() < 2 {
        return all.iter().map(each).collect();
    }
    let (next, runtime) = (AtomicUsize::new(0), Handle::current());
    let work = || {
        let _runtime = runtime.enter();
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(index) else {
                return Ok(done);
            };
            done.push((index, each(one)?));
        }
    };
    let done = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = started.into_iter().map(|thread| {
            let died = |_| HistoryError::Writer("a thread that writes died".to_owned());
            thread.join().map_err(died)?
        });
        ended.collect::<Result<Vec<_>, HistoryError>>()
    });
    let mut done: Vec<(usize, R)> = done?.into_iter().flatten().collect();
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// The columns of a file: not the partition's, which is in its path, and of those that not every
/// source fills only the ones that one of its rows fills.
fn columns(schema: &Schema, chunks: &[Chunk], rows: &FileRows<'_>) -> SchemaRef {
    let mut told = [false; DETAILS.len()];
    if chunks.iter().any(|chunk| chunk.orders().has_details()) {
        for place in rows.places {
            let (orders, row) = place.of(chunks);
            let Details {
                account,
                exec_id,
                display,
                flags,
            } = orders.details_at(row);
            let tells = [
                !account.is_empty(),
                !exec_id.is_empty(),
                display.is_some(),
                !flags.is_empty(),
            ];
            for (told, tells) in told.iter_mut().zip(tells) {
                *told |= tells;
            }
        }
    }
    let untold = |name: &str| {
        let mut details = DETAILS.iter().zip(told);
        details.any(|((detail, _), told)| *detail == name && !told)
    };
    let fields = schema.fields().iter();
    let kept = fields.filter(|field| field.name() != PARTITION && !untold(field.name()));
    Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()))
}

/// The instruments in the order of their names.
struct Syms<'a> {
    names: Vec<&'a str>,
    /// For each chunk, the rank of each code of its dictionary.
    ranks: Vec<Arc<[u32]>>,
}

impl<'a> Syms<'a> {
    fn of(chunks: &'a [Chunk]) -> Self {
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
        Self { names, ranks }
    }
}

/// A row of the date as it is sorted.
struct Key {
    place: Place,
    kind: EventType,
    sym: usize,
}

/// The rows of a date in the order of their sequence numbers.
fn keys<'a>(
    chunks: &'a [Chunk],
    syms: &'a Syms<'_>,
    date: Date,
) -> impl Iterator<Item = Key> + use<'a> {
    let of_date = move |chunk: &Chunk| {
        let (first, last) = chunk.times();
        first.date() <= date && date <= last.date()
    };
    let chunks = chunks.iter().zip(&syms.ranks).enumerate();
    let chunks = chunks.filter(move |(_, (chunk, _))| of_date(chunk));
    chunks.flat_map(move |(index, (chunk, ranks))| {
        let orders = chunk.orders();
        let (first, last) = chunk.times();
        let all = first.date() == last.date();
        chunk.rows().filter_map(move |row| {
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

/// Sorts the rows of a date, by counting.
fn sort(chunks: &[Chunk], syms: &Syms<'_>, date: Date) -> Sorted {
    let width = syms.names.len();
    let kinds = EventTypes::ALL.iter().map(|kind| kind as usize + 1).max();
    let mut slots = vec![Slot::EMPTY; kinds.unwrap_or_default() * width];
    let slot_of = |key: &Key| key.kind as usize * width + key.sym;
    for key in keys(chunks, syms, date) {
        if let Some(slot) = slots.get_mut(slot_of(&key)) {
            slot.add(&key, chunks);
        }
    }
    let mut total = 0;
    let mut next: Vec<usize> = Vec::with_capacity(slots.len());
    for slot in &slots {
        next.push(total);
        total += slot.rows;
    }
    let mut places = vec![Place::default(); total];
    for key in keys(chunks, syms, date) {
        if let Some(next) = next.get_mut(slot_of(&key))
            && let Some(place) = places.get_mut(*next)
        {
            *place = key.place;
            *next += 1;
        }
    }
    slots.retain(|slot| slot.rows > 0);
    Sorted { places, slots }
}

impl Slot {
    const EMPTY: Self = Self {
        kind: EventType::New,
        sym: 0,
        rows: 0,
        seqs: (u64::MAX, 0),
    };

    fn add(&mut self, key: &Key, chunks: &[Chunk]) {
        let (orders, row) = key.place.of(chunks);
        (self.kind, self.sym) = (key.kind, key.sym);
        let seq = orders.seq(row);
        self.rows += 1;
        self.seqs = (self.seqs.0.min(seq), self.seqs.1.max(seq));
    }
}

impl Sorted {
    /// The rows cut into files of about so many, between instruments only: so no two files have an
    /// event type and an instrument in common.
    fn files(&self, about: usize) -> Vec<FileRows<'_>> {
        let (mut files, mut places, mut slots) = (Vec::new(), &*self.places, &*self.slots);
        while !slots.is_empty() {
            let (mut rows, mut upto) = (0, 0);
            while let Some(slot) = slots.get(upto).filter(|_| rows < about) {
                rows += slot.rows;
                upto += 1;
            }
            let (of_file, later) = slots.split_at(upto);
            let (of_rows, others) = places.split_at(rows);
            files.push(FileRows {
                places: of_rows,
                slots: of_file,
            });
            (slots, places) = (later, others);
        }
        files
    }
}

impl FileRows<'_> {
    fn seqs(&self) -> (u64, u64) {
        let seqs = self.slots.iter().map(|slot| slot.seqs);
        seqs.fold((u64::MAX, 0), |all, seqs| {
            (all.0.min(seqs.0), all.1.max(seqs.1))
        })
    }
}

fn properties(schema: &Schema) -> Result<WriterProperties, DeltaTableError> {
    let ascending = |name| {
        Ok::<_, DeltaTableError>(SortingColumn {
            column_idx: schema.index_of(name)? as i32,
            descending: false,
            nulls_first: false,
        })
    };
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS);
    for column in ["seq", "time_ns"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    for column in JUDGED {
        let column = ColumnPath::from(column);
        properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
    }
    // Hardly an id is there twice in a row group.
    for column in ["order_id", "exec_id"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column.clone(), Encoding::PLAIN)
            .set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    Ok(properties
        // In a row group, which has one event type.
        .set_sorting_columns(Some(vec![ascending("sym")?, ascending("seq")?]))
        .set_write_batch_size(ID_PAGE_BYTES / 16)
        // One is asked for alone.
        .set_column_data_page_size_limit(ColumnPath::from("order_id"), ID_PAGE_BYTES)
        .build())
}

fn write_rows(
    writer: Writer<'_>,
    schema: &SchemaRef,
    sources: &Sources<'_>,
    rows: &FileRows<'_>,
) -> Result<ParquetMetaData, HistoryError> {
    let (mut file, columns) = writer.into_serialized_writer()?;
    let mut places = rows.places;
    for (index, slots) in row_groups(rows.slots).into_iter().enumerate() {
        let (some, others) = places.split_at(slots.iter().map(|slot| slot.rows).sum());
        let columns = columns.create_column_writers(index)?;
        sources.write(&mut file, schema, columns, (slots, some))?;
        places = others;
    }
    Ok(file.close()?)
}

/// The slots cut into row groups: of one event type, and between instruments where they fit, so that a
/// range of instruments shares no row group with another.
fn row_groups(slots: &[Slot]) -> Vec<&[Slot]> {
    let (mut groups, mut rest) = (Vec::new(), slots);
    while let Some(first) = rest.first() {
        let (mut rows, mut upto) = (first.rows, 1);
        let fits =
            |slot: &&Slot, rows| slot.kind == first.kind && slot.rows + rows <= ROW_GROUP_ROWS;
        while let Some(slot) = rest.get(upto).filter(|slot| fits(slot, rows)) {
            rows += slot.rows;
            upto += 1;
        }
        let (group, others) = rest.split_at(upto);
        groups.push(group);
        rest = others;
    }
    groups
}

impl Place {
    fn of(self, chunks: &[Chunk]) -> (&tapewatch_model::OrderBatch, usize) {
        match chunks.get(self.chunk as usize) {
            Some(chunk) => (chunk.orders(), self.row as usize),
            None => unreachable!("places are made from the chunks"),
        }
    }
}

mod row_group;
#[cfg(test)]
mod tests;
