//! Cuts bytes into records and fields. Pure: the same bytes give the same records, however they
//! arrive.
//!
//! Invariant: a [`Step`] other than `More` does not depend on bytes that have not been read yet. A
//! line without a quote is cut by a scan of its own, a record with one by csv-core; both take the
//! same texts for the same fields.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::ROW_BYTES_MAX;
use super::scan::{Bounds, Stop, scan_line};

/// What the pending bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// They end within a record.
    More,
    /// There are none, and none will come.
    End,
    /// A line with nothing on it.
    Blank {
        /// Bytes to consume.
        bytes: usize,
    },
    /// A record, whose fields [`Framer::fields`] gives.
    Record(Record),
    /// A row that cannot be cut into fields: its first line is to be skipped.
    Refused {
        reason: &'static str,
        /// Bytes of the first line as far as they are pending, without its end.
        line: usize,
    },
}

/// The extent of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Bytes to consume.
    pub(super) bytes: usize,
    /// Bytes without the line end.
    pub(super) text: usize,
    /// Lines it spans.
    pub(super) lines: u64,
}

impl Record {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The fields of one record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    text: &'a [u8],
    bounds: &'a [Bounds],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// The field at `index`; nothing when there is none.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &'a [u8] {
        let (start, end) = self.bounds.get(index).copied().unwrap_or_default();
        self.text
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    /// The eight bytes from the start of the field at `index` on, whatever stands behind it.
    #[inline]
    pub(super) fn word(&self, index: usize) -> Option<[u8; 8]> {
        let (start, _) = *self.bounds.get(index)?;
        self.text.get(start as usize..)?.first_chunk().copied()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(move |index| self.get(index))
    }
}

/// A record of the greatest length, CR LF: what does not end within it is too long, whatever follows.
const WINDOW: usize = ROW_BYTES_MAX + 2;

const TOO_LONG: &str = "row longer than 65536 bytes";
const TOO_LONG_QUOTED: &str = "row longer than 65536 bytes: a quote on this line is not closed";
const UNCLOSED: &str = "a quote on this line is not closed";
const BEHIND_QUOTE: &str = "text stands behind a closing quote";
const _: () = assert!(ROW_BYTES_MAX == 65_536, "the texts above say it");

#[derive(Debug, Default)]
pub(crate) struct Framer {
    bounds: Vec<Bounds>,
    /// The record that is being read has a quote.
    in_quoted: bool,
    quoted: Quoted,
}

impl Framer {
    /// What `data` begins with; `ended` says that nothing comes behind it. After `More` it is to be
    /// called with the same bytes and more behind them, or with `ended`.
    #[inline]
    pub(crate) fn next(&mut self, data: &[u8], ended: bool) -> Step {
        if !self.in_quoted {
            let window = data.get(..WINDOW).unwrap_or(data);
            match scan_line(window, &mut self.bounds) {
                Stop::LineEnd(at) => return self.line(data, at, at + 1),
                Stop::DataEnd => return self.last_line(data, ended),
                Stop::Quote => self.quoted.begin(),
            }
        }
        let step = self.quoted.next(data, ended, &mut self.bounds);
        self.in_quoted = step == Step::More;
        step
    }

    /// The fields of the record that [`Self::next`] has just found at the start of `data`.
    #[inline]
    pub(crate) fn fields<'a>(&'a self, data: &'a [u8]) -> Fields<'a> {
        Fields {
            text: if self.quoted.used {
                &self.quoted.text
            } else {
                data
            },
            bounds: &self.bounds,
        }
    }

    /// A line without quotes that ends at `at`; `bytes` are to be consumed.
    #[inline]
    fn line(&mut self, data: &[u8], at: usize, bytes: usize) -> Step {
        self.quoted.used = false;
        let mut text = at;
        if let Some(before) = at.checked_sub(1)
            && data.get(before) == Some(&b'\r')
        {
            text = before;
            if let Some((start, end)) = self.bounds.last_mut() {
                // The CR is the last byte of the last field.
                *end = (*start).max(before as u32);
            }
        }
        match text {
            0 => Step::Blank { bytes },
            1..=ROW_BYTES_MAX => Step::Record(Record {
                bytes,
                text,
                lines: 1,
            }),
            _ => Step::Refused {
                reason: TOO_LONG,
                line: text,
            },
        }
    }

    #[cold]
    fn last_line(&mut self, data: &[u8], ended: bool) -> Step {
        if data.len() >= WINDOW {
            self.quoted.used = false;
            return Step::Refused {
                reason: TOO_LONG,
                line: data.len(),
            };
        }
        match (ended, data.len()) {
            (false, _) => Step::More,
            (true, 0) => Step::End,
            (true, len) => self.line(data, len, len),
        }
    }
}

/// Reads one record that has a quote, in as many goes as its bytes take to arrive.
#[derive(Debug)]
struct Quoted {
    reader: Reader,
    /// Texts of the fields, one behind the other, up to `filled`. It only grows, to one window.
    text: Vec<u8>,
    filled: usize,
    ends: Vec<usize>,
    fields: usize,
    /// Bytes of the record that csv-core has seen.
    fed: usize,
    /// The last record was read by this.
    used: bool,
}

impl Default for Quoted {
    fn default() -> Self {
        Self {
            // LF alone: a CR before it is taken off here, as it is for lines without quotes.
            reader: ReaderBuilder::new()
                .terminator(Terminator::Any(b'\n'))
                .build(),
            text: Vec::new(),
            filled: 0,
            ends: Vec::new(),
            fields: 0,
            fed: 0,
            used: false,
        }
    }
}

impl Quoted {
    fn begin(&mut self) {
        self.reader.reset();
        self.filled = 0;
        self.fields = 0;
        self.fed = 0;
        self.used = true;
    }

    fn next(&mut self, data: &[u8], ended: bool, bounds: &mut Vec<Bounds>) -> Step {
        let window = data.get(..WINDOW).unwrap_or(data);
        if self.feed(window) {
            return self.record(data, self.fed, bounds);
        }
        if data.len() >= WINDOW {
            return refused(data, TOO_LONG_QUOTED);
        }
        if !ended {
            return Step::More;
        }
        // A line end is what the last record lacks, unless it ends within quotes.
        self.fed = 0;
        if self.feed(b"\n") {
            self.record(data, data.len(), bounds)
        } else {
            refused(data, UNCLOSED)
        }
    }

    /// Feeds what csv-core has not seen of `window`; `true` at the end of the record.
    fn feed(&mut self, window: &[u8]) -> bool {
        loop {
            let mut rest = window.get(self.fed..).unwrap_or_default();
            if rest.is_empty() {
                return false;
            }
            if self.fed == 0 {
                // csv-core drops a byte order mark that it gets in one piece; here it is data.
                rest = rest.get(..1).unwrap_or(rest);
            }
            // The text is never longer than what it was written as.
            if self.text.len() < self.filled + rest.len() {
                self.text.resize(self.filled + rest.len(), 0);
            }
            if self.ends.len() == self.fields {
                self.ends.resize(2 * self.fields + 32, 0);
            }
            let (result, read, written, ended) = self.reader.read_record(
                rest,
                self.text.get_mut(self.filled..).unwrap_or_default(),
                self.ends.get_mut(self.fields..).unwrap_or_default(),
            );
            self.fed += read;
            self.filled += written;
            self.fields += ended;
            if let ReadRecordResult::Record | ReadRecordResult::End = result {
                return true;
            }
        }
    }

    fn record(&mut self, data: &[u8], bytes: usize, bounds: &mut Vec<Bounds>) -> Step {
        let raw = data.get(..bytes).unwrap_or(data);
        let line = raw.strip_suffix(b"\n").unwrap_or(raw);
        let text = line.strip_suffix(b"\r").unwrap_or(line).len();
        if text > ROW_BYTES_MAX {
            return refused(data, TOO_LONG_QUOTED);
        }
        // No field of an order has a line break: it is a stray quote, which must not eat good rows.
        if memchr::memchr(b'\n', line).is_some() {
            return refused(data, UNCLOSED);
        }
        if !closes_well(line.get(..text).unwrap_or(line)) {
            return refused(data, BEHIND_QUOTE);
        }
        bounds.clear();
        let mut start = 0;
        for &end in self.ends.iter().take(self.fields) {
            bounds.push((start, end as u32));
            start = end as u32;
        }
        if text < line.len()
            && let Some((_, end)) = bounds.last_mut()
        {
            // The CR is the last byte of the last field.
            *end -= 1;
        }
        Step::Record(Record {
            bytes,
            text,
            lines: 1,
        })
    }
}

/// Whether every field that begins with a quote ends with one.
fn closes_well(line: &[u8]) -> bool {
    let mut bytes = line.iter().peekable();
    loop {
        if bytes.next_if_eq(&&b'"').is_some() {
            // To the quote that is not doubled.
            while let Some(byte) = bytes.next() {
                if *byte == b'"' && bytes.next_if_eq(&&b'"').is_none() {
                    break;
                }
            }
            match bytes.next() {
                None => return true,
                Some(b',') => continue,
                Some(_) => return false,
            }
        }
        match bytes.by_ref().find(|byte| **byte == b',') {
            None => return true,
            Some(_) => continue,
        }
    }
}

#[cold]
fn refused(data: &[u8], reason: &'static str) -> Step {
    let line = memchr::memchr(b'\n', data).unwrap_or(data.len());
    let text = data.get(..line).unwrap_or(data);
    Step::Refused {
        reason,
        line: text.strip_suffix(b"\r").unwrap_or(text).len(),
    }
}
