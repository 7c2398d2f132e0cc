//! The row groups of the history that may hold wanted rows, and the order they are read in.
//!
//! Invariant: a row group is left out only when the table or the file itself says that none of its
//! rows is wanted. What it says of a row group are bounds: the rows lie within them.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{RowGroupMetaData, SortingColumn};
use parquet::file::statistics::Statistics;
use tapewatch_model::{Date, EventType, Time};

use super::{ScanError, ScanRequest};
use crate::history::History;
use crate::object_file::{FileAt, ObjectFile};
use crate::schema::PARTITION;

/// Files that are opened at a time where each answer takes its time.
const OPENED_AT_A_TIME: usize = 16;

/// A file of the history.
pub(crate) struct DataFile {
    pub(super) at: FileAt,
    /// Its size and when it was written, as the table says.
    pub(super) bytes: i64,
    pub(super) written: i64,
    /// When it was changed last, as the disk or the bucket says.
    pub(super) changed: SystemTime,
    pub(crate) metadata: ArrowReaderMetadata,
    /// The same with the places of its pages, once they were asked for.
    pub(super) paged: OnceLock<ArrowReaderMetadata>,
}

impl DataFile {
    pub(crate) fn fail(&self, message: impl std::fmt::Display) -> ScanError {
        fail(&self.at, message)
    }

    pub(crate) fn open(&self) -> io::Result<ObjectFile> {
        self.at.open(self.bytes.unsigned_abs())
    }
}

fn fail(at: &FileAt, message: impl std::fmt::Display) -> ScanError {
    ScanError::File {
        path: at.name(),
        message: message.to_string(),
    }
}

/// A row group.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) file: Arc<DataFile>,
    /// Its place in the file.
    pub(crate) group: usize,
    pub(crate) rows: u64,
    seqs: (i64, i64),
    pub(super) sym_first: String,
    /// `None`: not known.
    sym_last: Option<String>,
    /// The event type that all rows have, if that is known.
    event: Option<EventType>,
    /// Whether its rows ascend by instrument, then by sequence number.
    sorted: bool,
}

/// Instruments from one, up to and without another; `None`: no bound.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

impl Range {
    pub(super) fn contains(&self, sym: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= sym)
            && self.to.as_deref().is_none_or(|to| sym < to)
    }

    pub(super) fn meets(&self, part: &Part) -> bool {
        let last = part.sym_last.as_deref();
        let above = self.from.as_deref();
        self.to
            .as_deref()
            .is_none_or(|to| part.sym_first.as_str() < to)
            && above.is_none_or(|from| last.is_none_or(|last| from <= last))
    }
}

/// The table's id, and its row groups that may hold wanted rows: of all its files, or of some.
pub(super) fn find(
    history: &History,
    request: &ScanRequest,
    only: Option<&HashSet<String>>,
) -> Result<(String, Vec<Part>), ScanError> {
    let wanted = files(history, request, only)?;
    let state = history.delta.snapshot().map_err(|error| table(&error))?;
    let id = state.metadata().id().to_owned();
    Ok((id, open_all(&wanted, request)?))
}

fn table(error: &dyn std::fmt::Display) -> ScanError {
    ScanError::Table {
        message: error.to_string(),
    }
}

/// A file that is not opened yet, its size and when it was written, as the table says.
pub(crate) type Unopened = (FileAt, (i64, i64));

/// The files that may hold wanted rows, of all or of some.
pub(crate) fn files(
    history: &History,
    request: &ScanRequest,
    only: Option<&HashSet<String>>,
) -> Result<Vec<Unopened>, ScanError> {
    let state = history.delta.snapshot().map_err(|error| table(&error))?;
    let mut wanted = Vec::new();
    for file in state.log_data().iter() {
        let path = file.path();
        let at = history.file(&path);
        if file.deletion_vector_descriptor().is_some() {
            return Err(fail(&at, "has rows that are marked as deleted"));
        }
        let date = file.partition_values_map().remove(PARTITION).flatten();
        let date = date.and_then(|date| Date::parse(date.as_bytes()).ok());
        let last = Time::from_nanos(request.to.nanos().saturating_sub(1)).date();
        let outside = |date: Date| date < request.from.date() || last < date;
        let meant = only.is_none_or(|only| only.contains(&*path));
        if meant && !date.is_some_and(outside) {
            wanted.push((at, (file.size(), file.modification_time())));
        }
    }
    Ok(wanted)
}

/// Opens files; in a bucket several at a time, since each answer takes its time.
fn open_all(files: &[Unopened], request: &ScanRequest) -> Result<Vec<Part>, ScanError> {
    let at_a_time = match files.first() {
        Some((FileAt::Bucket { .. }, _)) => OPENED_AT_A_TIME,
        _ => 1,
    };
    let each = files.len().div_ceil(at_a_time).max(1);
    let open = |some: &[Unopened]| {
        let parts = some.iter().map(|(at, said)| open(at, *said, request));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    };
    if each >= files.len() {
        return open(files);
    }
    let opened = std::thread::scope(|threads| {
        let started = files
            .chunks(each)
            .map(|some| threads.spawn(move || open(some)));
        let started: Vec<_> = started.collect();
        let ended = started.into_iter().map(|thread| {
            let died = |_| ScanError::Table {
                message: "a thread that opens files died".to_owned(),
            };
            thread.join().map_err(died)?
        });
        ended.collect::<Result<Vec<_>, _>>()
    });
    Ok(opened?.concat())
}

/// The row groups of a file that may hold wanted rows.
pub(crate) fn open(
    at: &FileAt,
    (bytes, written): (i64, i64),
    request: &ScanRequest,
) -> Result<Vec<Part>, ScanError> {
    let told = at.told().map_err(|error| fail(at, error))?;
    if i64::try_from(told.bytes) != Ok(bytes) {
        let message = format!("has {} bytes, the table says {bytes}", told.bytes);
        return Err(fail(at, message));
    }
    let opened = at.open(told.bytes).map_err(|error| fail(at, error))?;
    // The columns' types are known: what Arrow notes of them in the file is not needed.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(&opened, options).map_err(|error| fail(at, error))?;
    let file = Arc::new(DataFile {
        at: at.clone(),
        bytes,
        written,
        changed: told.changed,
        metadata,
        paged: OnceLock::new(),
    });
    let groups = file.metadata.metadata().row_groups().iter().enumerate();
    let parts = groups.filter_map(|(group, said)| Part::of(&file, group, said, request));
    Ok(parts.collect())
}

impl Part {
    /// The row group, unless none of its rows is wanted.
    fn of(
        file: &Arc<DataFile>,
        group: usize,
        said: &RowGroupMetaData,
        request: &ScanRequest,
    ) -> Option<Self> {
        let times = whole(said, "time_ns");
        let (words, syms) = (texts(said, "event_type"), texts(said, "sym"));
        let event = match words {
            (Some(first), Some(last)) if first == last => EventType::parse(first.as_bytes()),
            _ => None,
        };
        let (first, last) = syms;
        let part = Self {
            file: Arc::clone(file),
            group,
            rows: said.num_rows().unsigned_abs(),
            seqs: whole(said, "seq"),
            sym_first: first.unwrap_or_default().to_owned(),
            sym_last: last.map(str::to_owned),
            event,
            sorted: is_sorted(said),
        };
        let held = |sym: &String| {
            part.sym_first.as_str() <= sym.as_str()
                && part.sym_last.as_ref().is_none_or(|last| sym <= last)
        };
        let wanted = times.1 >= request.from.nanos()
            && (times.0 < request.to.nanos() || request.to == Time::MAX)
            && event.is_none_or(|event| request.events.contains(event))
            && (request.syms.is_empty() || request.syms.iter().any(held));
        (wanted && part.rows > 0).then_some(part)
    }

    /// The first and the last instrument that it may hold; no last one: not known.
    pub(super) fn syms(&self) -> (String, Option<String>) {
        (self.sym_first.clone(), self.sym_last.clone())
    }

    /// Whether they may have an instrument in common.
    fn shares_syms(&self, other: &Self) -> bool {
        let below = |a: &Self, b: &Self| a.sym_last.as_ref().is_some_and(|l| *l < b.sym_first);
        !below(self, other) && !below(other, self)
    }

    /// Whether each instrument's rows go on ascending from here to `next`, which comes right behind
    /// it in a file that is sorted by event type, instrument and sequence number.
    fn sorted_before(&self, next: &Self) -> bool {
        Arc::ptr_eq(&self.file, &next.file)
            && self.event.is_some()
            && self.event == next.event
            && self
                .sym_last
                .as_ref()
                .is_some_and(|last| *last <= next.sym_first)
    }
}

/// Whether the file says that rows ascend by instrument, then by sequence number.
fn is_sorted(said: &RowGroupMetaData) -> bool {
    let columns = said.sorting_columns().map_or(&[][..], Vec::as_slice);
    let is = |by: &SortingColumn, name: &str| {
        let column = usize::try_from(by.column_idx).ok();
        let column = column.and_then(|column| said.columns().get(column));
        let path = column.map(|column| column.column_path().parts());
        !by.descending && matches!(path, Some([only]) if only == name)
    };
    matches!(columns, [sym, seq, ..] if is(sym, "sym") && is(seq, "seq"))
}

fn statistics<'a>(said: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    let mut columns = said.columns().iter();
    columns
        .find(|said| matches!(said.column_path().parts(), [name] if name == column))?
        .statistics()
}

/// Bounds of a column of whole numbers.
fn whole(said: &RowGroupMetaData, column: &str) -> (i64, i64) {
    match statistics(said, column) {
        Some(Statistics::Int64(said)) => (
            said.min_opt().copied().unwrap_or(i64::MIN),
            said.max_opt().copied().unwrap_or(i64::MAX),
        ),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Bounds of a column of texts, as far as they are known.
fn texts<'a>(said: &'a RowGroupMetaData, column: &str) -> (Option<&'a str>, Option<&'a str>) {
    match statistics(said, column) {
        Some(Statistics::ByteArray(said)) => {
            let text = |bytes: &'a parquet::data_type::ByteArray| bytes.as_utf8().ok();
            (said.min_opt().and_then(text), said.max_opt().and_then(text))
        }
        _ => (None, None),
    }
}

/// Row groups that are read together, with bounds of all their rows.
struct Cluster {
    parts: Vec<Part>,
    seqs: (i64, i64),
    /// Their rows lie between each other.
    mixed: bool,
}

impl Cluster {
    fn follows(&self, next: &Part) -> bool {
        self.parts
            .last()
            .is_some_and(|last| last.sorted_before(next))
    }

    /// Whether neither can be read behind the other.
    fn conflicts(&self, other: &Self) -> bool {
        let apart = self.seqs.1 < other.seqs.0 || other.seqs.1 < self.seqs.0;
        !apart
            && self
                .parts
                .iter()
                .any(|a| other.parts.iter().any(|b| a.shares_syms(b)))
    }
}

/// What is read one after another: row groups as they are, or, where their rows lie between each
/// other, as those of several event types do, all of them to be sorted.
pub(super) enum Step {
    Stream(Part),
    Sort(Vec<Part>),
}

/// The order to read row groups in, so that each instrument's rows come ascending; and whether they
/// then all come one after another.
pub(super) fn plan(parts: Vec<Part>) -> (Vec<Step>, bool) {
    let mut clusters: Vec<Cluster> = Vec::new();
    for part in parts {
        let seqs = part.seqs;
        match clusters.last_mut() {
            Some(run) if run.follows(&part) => {
                run.seqs = hull(run.seqs, seqs);
                run.parts.push(part);
            }
            _ => clusters.push(Cluster {
                parts: vec![part],
                seqs,
                mixed: false,
            }),
        }
    }
    let mut apart: Vec<Cluster> = Vec::new();
    while let Some(mut cluster) = clusters.pop() {
        // What was apart from each of two need not be apart from both together.
        while let Some(other) =
            take_conflict(&mut clusters, &cluster).or_else(|| take_conflict(&mut apart, &cluster))
        {
            cluster.seqs = hull(cluster.seqs, other.seqs);
            cluster.parts.extend(other.parts);
            cluster.mixed = true;
        }
        apart.push(cluster);
    }
    apart.sort_by_key(|cluster| cluster.seqs.0);
    let by_instrument = in_order_apart(&apart);
    let steps = apart.into_iter().flat_map(|cluster| {
        if cluster.mixed {
            vec![Step::Sort(cluster.parts)]
        } else {
            cluster.parts.into_iter().map(Step::Stream).collect()
        }
    });
    (steps.collect(), by_instrument)
}

/// Whether each cluster's rows ascend by instrument, or are sorted so, and none has an instrument of
/// another.
fn in_order_apart(clusters: &[Cluster]) -> bool {
    let ascends = |cluster: &Cluster| {
        let parts = &mut cluster.parts.iter();
        cluster.mixed || parts.all(|part| part.sorted && part.event.is_some())
    };
    let common = |(at, cluster): (usize, &Cluster)| {
        let others = clusters.iter().skip(at + 1);
        others
            .flat_map(|other| &other.parts)
            .any(|b| cluster.parts.iter().any(|a| a.shares_syms(b)))
    };
    clusters.iter().all(ascends) && !clusters.iter().enumerate().any(common)
}

fn take_conflict(others: &mut Vec<Cluster>, cluster: &Cluster) -> Option<Cluster> {
    let at = others.iter().position(|other| cluster.conflicts(other))?;
    Some(others.swap_remove(at))
}

fn hull(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    (a.0.min(b.0), a.1.max(b.1))
}
