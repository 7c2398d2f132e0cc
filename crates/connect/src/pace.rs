//! Turns a source into buckets and says when each is due. No clock and no sleep: the caller waits.
//!
//! Invariant: the rows of the source come out in its order, each once; buckets are due in ascending
//! order; a bucket has at least one row, at most [`BUCKET_ROWS_MAX`] of them, and takes at most
//! [`BUCKET_BYTES_MAX`] in the journal.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use tapewatch_model::{
    Bucket, DeadLetter, OrderBatch, OrderSource, Progress, RowRef, SourceError, Time,
};

use crate::source_error;

/// Rows in a bucket unless told otherwise.
pub const ROWS_PER_BUCKET: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// Most rows in a bucket.
pub const BUCKET_ROWS_MAX: usize = 65_536;
/// Most bytes of a bucket in the journal: 32 MiB. Orders alone never take as many; of dead letters
/// that would, the rest comes in further buckets, due at the same time.
pub const BUCKET_BYTES_MAX: usize = 32 << 20;
/// Rows that are due less than this after the first of their bucket are released with it.
pub const TICK: Duration = Duration::from_millis(1);

/// Rows that are read ahead to see what is due together.
const READ_AHEAD_ROWS: usize = 4_096;
/// What an order takes in the journal besides its texts, at most (two dictionary entries included).
const ORDER_BYTES: usize = 48;
/// The same of a dead letter.
const LETTER_BYTES: usize = 24;
/// Room for the bucket's own fields.
const BUCKET_BYTES_OWN: usize = 256;

/// How the rows of a feed are released in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the receiver takes them: every bucket is due at once.
    Fastest {
        /// Rows in a bucket, bad ones included; [`BUCKET_ROWS_MAX`] when it is larger.
        rows_per_bucket: NonZeroUsize,
    },
    /// The k-th bucket (from 0) is due after k intervals.
    Interval {
        /// Rows in a bucket, bad ones included; [`BUCKET_ROWS_MAX`] when it is larger.
        rows_per_bucket: NonZeroUsize,
        /// Time from one bucket to the next.
        interval: Duration,
    },
    /// As the events happened: a row is due when as much time has passed since the start as between
    /// the first order and it, divided by the speed. A row whose time lies before that of a row
    /// before it is due at once, a dead letter with the row before it.
    EventTime {
        /// Event time that passes in a second.
        speed: Speed,
    },
}

impl Default for Pace {
    fn default() -> Self {
        Self::Fastest {
            rows_per_bucket: ROWS_PER_BUCKET,
        }
    }
}

/// How many times faster than it happened: more than 0, and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl Speed {
    /// That many times faster.
    ///
    /// # Errors
    /// [`SpeedError`] for what is not a finite number above 0.
    pub fn new(times: f64) -> Result<Self, SpeedError> {
        if times.is_finite() && times > 0.0 {
            Ok(Self(times))
        } else {
            Err(SpeedError(times.to_string()))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// Reads `10x`, `0.5x` or `10`.
impl FromStr for Speed {
    type Err = SpeedError;
    fn from_str(text: &str) -> Result<Self, SpeedError> {
        let number = text.strip_suffix(['x', 'X']).unwrap_or(text);
        let times = number.parse().ok().and_then(|times| Self::new(times).ok());
        times.ok_or_else(|| SpeedError(text.to_owned()))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

/// A text or number is not a speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("speed {0:?} is not a number above 0, such as 10x or 0.5x")]
pub struct SpeedError(String);

/// A bucket, and when it is to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Time since the feed was started.
    pub after: Duration,
    /// What is released; its origin is for the caller to fill in.
    pub bucket: Bucket,
}

/// Turns a source into buckets.
#[derive(Debug)]
pub struct Bucketer<S> {
    source: S,
    pace: Pace,
    /// Buckets of a fixed number of rows that were made so far.
    made: u64,
    /// What was left over of a bucket with too many bytes of dead letters.
    left_over: VecDeque<Due>,
    ahead: Ahead,
    /// No rows: the dictionaries of the bucket before.
    before: OrderBatch,
    /// Time of the first order, for the pace of event time.
    first: Option<Time>,
    /// When the row before was due.
    last_due: Duration,
}

impl<S: OrderSource> Bucketer<S> {
    /// Buckets of `source` at the pace `pace`.
    pub fn new(source: S, pace: Pace) -> Self {
        Self {
            source,
            pace,
            made: 0,
            left_over: VecDeque::new(),
            ahead: Ahead::default(),
            before: OrderBatch::default(),
            first: None,
            last_due: Duration::ZERO,
        }
    }

    /// How far the source has been read.
    pub fn progress(&self) -> Progress {
        self.source.progress()
    }

    /// The next bucket; nothing after the last.
    ///
    /// # Errors
    /// [`SourceError`] when the source fails; what it delivered before was given out before.
    pub fn next_bucket(&mut self) -> Result<Option<Due>, SourceError> {
        if let Some(due) = self.left_over.pop_front() {
            return Ok(Some(due));
        }
        match self.pace {
            Pace::Fastest { rows_per_bucket } => self.fixed(rows_per_bucket, Duration::ZERO),
            Pace::Interval {
                rows_per_bucket,
                interval,
            } => self.fixed(rows_per_bucket, interval),
            Pace::EventTime { speed } => self.event_time(speed),
        }
    }

    fn fixed(
        &mut self,
        rows: NonZeroUsize,
        interval: Duration,
    ) -> Result<Option<Due>, SourceError> {
        let rows = rows.get().min(BUCKET_ROWS_MAX);
        let mut bucket = Bucket {
            orders: OrderBatch::following(&self.before, rows),
            ..Bucket::default()
        };
        let more = self
            .source
            .next_batch(rows, &mut bucket.orders, &mut bucket.dead_letters)?;
        if !more {
            return Ok(None);
        }
        self.before = OrderBatch::following(&bucket.orders, 0);
        let after = interval.saturating_mul(u32::try_from(self.made).unwrap_or(u32::MAX));
        self.made += 1;
        split(bucket, after, &mut self.left_over);
        Ok(self.left_over.pop_front())
    }

    fn event_time(&mut self, speed: Speed) -> Result<Option<Due>, SourceError> {
        let mut bucket = Bucket::default();
        let mut seqs = Vec::new();
        let mut bytes = BUCKET_BYTES_OWN;
        let mut after: Option<Duration> = None;
        while seqs.len() + bucket.dead_letters.len() < BUCKET_ROWS_MAX {
            let Some(row) = self.ahead.peek(&mut self.source) else {
                break;
            };
            let (due, row_bytes) = match &row {
                Row::Order(_, order) => {
                    let first = *self.first.get_or_insert(order.time);
                    let due = since(first, order.time, speed).max(self.last_due);
                    (due, order_bytes(order))
                }
                Row::Refused(letter) => (self.last_due, letter_bytes(letter)),
            };
            let start = *after.get_or_insert(due);
            bytes += row_bytes;
            if due >= start.saturating_add(TICK) || bytes > BUCKET_BYTES_MAX {
                break;
            }
            if let Row::Order(seq, order) = row {
                let pushed = bucket.orders.push(&order.as_bytes());
                pushed.map_err(|error| source_error("event time", error.to_string()))?;
                seqs.push(seq);
            }
            bucket.dead_letters.extend(self.ahead.advance());
            self.last_due = due;
        }
        match after {
            Some(after) => {
                let numbered = bucket.orders.number_with(seqs);
                debug_assert!(numbered, "one number an order");
                Ok(Some(Due { after, bucket }))
            }
            None => self.ahead.failed.clone().map_or(Ok(None), Err),
        }
    }
}

/// Event time from `first` to `time` at `speed`; none when it lies before.
fn since(first: Time, time: Time, speed: Speed) -> Duration {
    let nanos = i128::from(time.nanos()) - i128::from(first.nanos());
    // Below 104 days of event time the float is exact. The cast keeps to the range: what is
    // negative is 0, what is too large the largest.
    Duration::from_nanos((nanos as f64 / speed.0) as u64)
}

fn order_bytes(order: &RowRef<'_>) -> usize {
    ORDER_BYTES + order.sym.len() + order.trader.len() + order.order_id.len()
}

fn letter_bytes(letter: &DeadLetter) -> usize {
    let texts = [&letter.source, &letter.column, &letter.reason, &letter.raw];
    LETTER_BYTES + texts.iter().map(|text| text.len()).sum::<usize>()
}

/// Appends `bucket` to `out`, as several buckets when its dead letters take too many bytes.
fn split(mut bucket: Bucket, after: Duration, out: &mut VecDeque<Due>) {
    let orders = &bucket.orders;
    let mut bytes = BUCKET_BYTES_OWN
        + orders.len() * ORDER_BYTES
        + orders.order_ids().bytes()
        + orders.syms().texts().bytes()
        + orders.traders().texts().bytes();
    let letters = std::mem::take(&mut bucket.dead_letters);
    for letter in letters {
        let more = letter_bytes(&letter);
        if bytes + more > BUCKET_BYTES_MAX {
            bytes = BUCKET_BYTES_OWN;
            out.push_back(Due {
                after,
                bucket: std::mem::take(&mut bucket),
            });
        }
        bytes += more;
        bucket.dead_letters.push(letter);
    }
    out.push_back(Due { after, bucket });
}

/// A row of the source.
enum Row<'a> {
    Order(u64, RowRef<'a>),
    Refused(&'a DeadLetter),
}

/// Rows that were read and not yet given out, in the order of the source.
#[derive(Debug, Default)]
struct Ahead {
    orders: OrderBatch,
    next_order: usize,
    letters: VecDeque<DeadLetter>,
    /// Rows that were given out.
    rows: u64,
    ended: bool,
    failed: Option<SourceError>,
}

impl Ahead {
    /// The next row. Nothing at the end, or where the source failed.
    fn peek(&mut self, source: &mut impl OrderSource) -> Option<Row<'_>> {
        while self.next_order >= self.orders.len() && self.letters.is_empty() {
            if self.ended || self.failed.is_some() {
                return None;
            }
            let mut letters = Vec::new();
            self.next_order = 0;
            match source.next_batch(READ_AHEAD_ROWS, &mut self.orders, &mut letters) {
                Ok(more) => self.ended = !more,
                Err(error) => {
                    self.orders.clear();
                    self.failed = Some(error);
                }
            }
            self.letters = letters.into();
        }
        match self.letters.front() {
            Some(letter) if self.letter_is_next() => Some(Row::Refused(letter)),
            _ => {
                let order = self.orders.row(self.next_order)?;
                Some(Row::Order(self.orders.seq(self.next_order), order))
            }
        }
    }

    /// Orders carry the number of their row, so the rows between them are the refused ones.
    fn letter_is_next(&self) -> bool {
        let no_order_next = self.next_order >= self.orders.len()
            || self.orders.seq(self.next_order) > self.rows + 1;
        no_order_next && !self.letters.is_empty()
    }

    /// Goes on behind the row that [`Self::peek`] has shown, and gives it out if it was refused.
    fn advance(&mut self) -> Option<DeadLetter> {
        let refused = self.letter_is_next();
        self.rows += 1;
        if refused {
            return self.letters.pop_front();
        }
        self.next_order += 1;
        None
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
