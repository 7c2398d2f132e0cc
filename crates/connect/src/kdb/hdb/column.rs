//! One column: a file, or two where its cells are texts.
//!
//! Invariant: the head says what the file holds before anything is read; a value beyond the end of
//! its file or its list of symbols is an error with its place.
//!
//! Three forms are read. `ff 01`: an image of a list, of symbols, or of nothing. `fe 20`, type,
//! attribute: 16 bytes, then numbers; how many, the size of the file says. `fd 20`: 4,096 bytes, with
//! the name of the list of symbols from byte 16 on, type and attribute at 4,082 and a count at 4,088,
//! then numbers. Where an attribute brings an index behind the numbers, the count says how many they
//! are; else it may be 0.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tapewatch_model::SourceError;

use crate::kdb::value::{Items, Symbols, Value};
use crate::kdb::wire::{ByteOrder, Limits, decode_value};
use crate::source_error;

const SHORT_HEAD: u64 = 16;
const LONG_HEAD: u64 = 4_096;
/// Where the long head says type and attribute.
const LONG_TYPE: usize = 4_080;
/// Type of numbers that point into a list of symbols.
const ENUMERATED: u8 = 20;
/// Type of places in a second file.
const MAPPED: u8 = 77;
/// The byte before the length of a short text in that file, and the one in the top of its place.
const TEXT_MARK: u8 = 0x89;
const PLACE_MARK: u64 = 1;

/// A column that is open.
#[derive(Debug)]
pub(super) struct Column {
    path: PathBuf,
    file: BufReader<File>,
    form: Form,
    /// Where the first value is.
    start: u64,
    rows: u64,
}

#[derive(Debug)]
enum Form {
    /// A list of any values that has none.
    Nothing,
    /// Values of this type and so many bytes.
    Fixed(u8, u64),
    /// Places in the list of symbols in a file.
    Enumerated(String, Arc<Symbols>),
    /// Places in a file of texts, and its size.
    Mapped(BufReader<File>, u64),
}

fn fail(path: &Path, what: impl Into<String>) -> SourceError {
    source_error(&path.display().to_string(), what)
}

fn open(path: &Path) -> Result<(BufReader<File>, u64), SourceError> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (size, file) = opened.map_err(|error| fail(path, format!("cannot be opened: {error}")))?;
    Ok((BufReader::with_capacity(64 << 10, file), size))
}

/// Reads as much as there is, up to `bytes`.
fn head(file: &mut BufReader<File>, path: &Path, bytes: u64) -> Result<Vec<u8>, SourceError> {
    let mut head = Vec::new();
    let read = file.take(bytes).read_to_end(&mut head);
    read.map_err(|error| fail(path, format!("cannot be read at byte 0: {error}")))?;
    Ok(head)
}

/// A file that is a list of symbols, such as `.d` and `sym`.
pub(super) fn symbols(path: &Path, limits: &Limits) -> Result<Symbols, SourceError> {
    const HEAD: usize = 8;
    let (mut file, size) = open(path)?;
    let max = limits.message_bytes as u64;
    if size > max {
        let what = format!("has {size} bytes, at most {max} are read");
        return Err(fail(path, what));
    }
    let bytes = head(&mut file, path, max)?;
    let [0xff, 1, 11, _, 0, 0, 0, 0, text @ ..] = bytes.as_slice() else {
        let begin = hex(bytes.get(..HEAD).unwrap_or(&bytes));
        let what = format!("begins with {begin}, wanted ff010b, an attribute and 00000000");
        return Err(fail(path, what));
    };
    if text.last().is_some_and(|last| *last != 0) {
        let what = format!("ends at byte {} within a symbol", bytes.len());
        return Err(fail(path, what));
    }
    let mut ends = Vec::new();
    for end in memchr::memchr_iter(0, text) {
        ends.push(u32::try_from(end).map_err(|_| fail(path, "has more than 4 GiB"))?);
    }
    Ok(Symbols::from_wire(text.to_vec(), ends))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of a value; `None` of a type that is not understood.
const fn width(code: u8) -> Option<u64> {
    Some(match code {
        1 | 4 | 10 => 1,
        2 => 16,
        5 => 2,
        6 | 8 | 13 | 14 | 17..=19 => 4,
        7 | 9 | 12 | 15 | 16 => 8,
        _ => return None,
    })
}

/// What a head says.
struct Head {
    code: u8,
    attr: u8,
    count: u64,
    start: u64,
    /// Where the type stands.
    place: usize,
}

impl Column {
    /// Opens a file and reads its head.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let (mut file, size) = open(path)?;
        let bytes = head(&mut file, path, LONG_HEAD)?;
        if bytes == [0xff, 1, 0, 0, 0, 0, 0, 0] {
            return Ok(Self {
                path: path.to_owned(),
                file,
                form: Form::Nothing,
                start: size,
                rows: 0,
            });
        }
        let head = Head::of(&bytes).map_err(|what| fail(path, what))?;
        let mut column = Self {
            path: path.to_owned(),
            file,
            form: Form::of(&head, &bytes, path)?,
            start: head.start,
            rows: 0,
        };
        column.count(&head, size)?;
        Ok(column)
    }

    /// Finds how many values there are.
    fn count(&mut self, head: &Head, size: u64) -> Result<(), SourceError> {
        let width = self.width();
        let bytes = size.saturating_sub(self.start);
        // `u#`, `p#` and `g#` keep an index behind the values.
        let indexed = head.attr >= 2;
        self.rows = if indexed { head.count } else { bytes / width };
        let used = self.rows.checked_mul(width);
        if used.is_some_and(|used| used == bytes || indexed && used < bytes) {
            return Ok(());
        }
        Err(self.error(format!(
            "ends at byte {size} within its values, which have {width} bytes each"
        )))
    }

    const fn width(&self) -> u64 {
        match &self.form {
            Form::Fixed(_, width) => *width,
            _ => 8,
        }
    }

    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// The first byte behind the values.
    pub(super) const fn end(&self) -> u64 {
        self.start + self.rows * self.width()
    }

    /// Name of the file of symbols that it needs.
    pub(super) fn domain(&self) -> Option<&str> {
        match &self.form {
            Form::Enumerated(name, _) => Some(name),
            _ => None,
        }
    }

    pub(super) fn set_symbols(&mut self, symbols: Arc<Symbols>) {
        if let Form::Enumerated(_, known) = &mut self.form {
            *known = symbols;
        }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> SourceError {
        fail(&self.path, what)
    }

    /// The values of `count` rows from `first` on, which are there.
    pub(super) fn read(&mut self, first: u64, count: u64) -> Result<Items, SourceError> {
        let at = self.start + first * self.width();
        let (file, path) = (&mut self.file, self.path.as_path());
        let wrong = |row: usize, what: String| {
            let byte = at + row as u64 * 8;
            fail(path, format!("points at byte {byte} to {what}"))
        };
        match &mut self.form {
            Form::Nothing => Ok(Items::Mixed(Vec::new())),
            Form::Fixed(code, width) => numbers(file, path, (*code, *width), at, count),
            Form::Enumerated(name, symbols) => {
                let mut items = Symbols::default();
                for (row, place) in places(file, path, at, count)?.into_iter().enumerate() {
                    let found = usize::try_from(place).ok().and_then(|at| symbols.get(at));
                    items.push(found.ok_or_else(|| {
                        wrong(
                            row,
                            format!("number {place} of the {} in {name}", symbols.len()),
                        )
                    })?);
                }
                Ok(Items::Symbol(items))
            }
            Form::Mapped(texts, size) => {
                let mut items = Vec::new();
                for (row, place) in places(file, path, at, count)?.into_iter().enumerate() {
                    let text = text(texts, *size, place.cast_unsigned());
                    items.push(Value::text(text.map_err(|what| wrong(row, what))?));
                }
                Ok(Items::Mixed(items))
            }
        }
    }
}

impl Form {
    fn of(head: &Head, bytes: &[u8], path: &Path) -> Result<Self, SourceError> {
        match head.code {
            ENUMERATED => {
                let name = bytes
                    .get(SHORT_HEAD as usize..LONG_TYPE)
                    .unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                Ok(Self::Enumerated(name, Arc::default()))
            }
            MAPPED => {
                let mut texts = path.as_os_str().to_owned();
                texts.push("#");
                let (texts, size) = texts_of(Path::new(&texts))?;
                Ok(Self::Mapped(texts, size))
            }
            code => match width(code) {
                Some(width) => Ok(Self::Fixed(code, width)),
                None => {
                    let place = head.place;
                    let what =
                        format!("is of type {code} at byte {place}, which is not understood");
                    Err(fail(path, what))
                }
            },
        }
    }
}

impl Head {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let short = || format!("ends at byte {} within its head", bytes.len());
        let (place, start) = match bytes {
            [0xfe, 0x20, ..] => (0, SHORT_HEAD),
            [0xfd, 0x20, ..] => (LONG_TYPE, LONG_HEAD),
            [b'k', b'x', b'z', b'i', b'p', b'p', b'e', b'd', ..] => {
                return Err("is packed by kdb+; write it again without compression".to_owned());
            }
            _ => {
                let begin = hex(bytes.get(..16).unwrap_or(bytes));
                return Err(format!("begins with {begin}, which is no column"));
            }
        };
        let head = bytes.get(place..).and_then(<[u8]>::first_chunk::<16>);
        let &[mark, _, code, attr, _, _, _, _, ref count @ ..] = head.ok_or_else(short)?;
        if place > 0 && mark != 0xfd {
            return Err(format!("has {mark:#04x} at byte {place}, wanted 0xfd"));
        }
        let count = count.first_chunk().copied().map(u64::from_le_bytes);
        Ok(Self {
            code,
            attr,
            count: count.unwrap_or_default(),
            start,
            place: place + 2,
        })
    }
}

/// The file of texts beside a column.
fn texts_of(path: &Path) -> Result<(BufReader<File>, u64), SourceError> {
    let (mut file, size) = open(path)?;
    let bytes = head(&mut file, path, LONG_HEAD)?;
    let head = Head::of(&bytes).map_err(|what| fail(path, what))?;
    if head.code != 4 || head.start != LONG_HEAD {
        let (code, place) = (head.code, head.place);
        let what = format!("is of type {code} at byte {place}, wanted bytes (4)");
        return Err(fail(path, what));
    }
    Ok((file, size))
}

/// So many numbers of a type.
fn numbers(
    file: &mut BufReader<File>,
    path: &Path,
    (code, width): (u8, u64),
    at: u64,
    count: u64,
) -> Result<Items, SourceError> {
    // The list as it would stand in a message, so that it is read as one.
    let mut bytes = vec![code, 0];
    let items = u32::try_from(count).map_err(|_| fail(path, "has too many rows at once"))?;
    bytes.extend_from_slice(&items.to_le_bytes());
    let unread =
        |error: &dyn std::fmt::Display| fail(path, format!("cannot be read at byte {at}: {error}"));
    let wanted = count * width;
    file.seek(SeekFrom::Start(at))
        .map_err(|error| unread(&error))?;
    let read = file.take(wanted).read_to_end(&mut bytes);
    let read = read.map_err(|error| unread(&error))? as u64;
    if read < wanted {
        let what = format!("ends at byte {}, it was longer before", at + read);
        return Err(fail(path, what));
    }
    let decoded = decode_value(&bytes, 0, ByteOrder::Little, &Limits::default());
    match decoded.map(|decoded| decoded.value) {
        Ok(Value::List(list)) => Ok(list.items),
        Ok(_) => Err(unread(&"no list")),
        Err(error) => Err(unread(&error)),
    }
}

fn places(
    file: &mut BufReader<File>,
    path: &Path,
    at: u64,
    count: u64,
) -> Result<Vec<i64>, SourceError> {
    match numbers(file, path, (7, 8), at, count)? {
        Items::Long(places) => Ok(places),
        _ => Ok(Vec::new()),
    }
}

/// The text at a place in the file of texts, or what is wrong there.
fn text(texts: &mut BufReader<File>, size: u64, place: u64) -> Result<Vec<u8>, String> {
    const TOP: u32 = 56;
    let at = LONG_HEAD + (place & ((1 << TOP) - 1));
    if place >> TOP != PLACE_MARK {
        return Err(format!("{place:#018x}, a form that is not understood"));
    }
    let beyond = || format!("byte {at} of its texts, which have {size}");
    let fail = |error: io::Error| format!("byte {at} of its texts: {error}");
    if at + 2 > size {
        return Err(beyond());
    }
    // A step, not a jump: what was read ahead stays.
    let now = texts.stream_position().map_err(fail)?;
    let step = at.cast_signed() - now.cast_signed();
    texts.seek_relative(step).map_err(fail)?;
    let mut head = [0; 2];
    texts.read_exact(&mut head).map_err(fail)?;
    let [mark, length] = head;
    if mark != TEXT_MARK {
        return Err(format!(
            "{mark:#04x} at byte {at} of its texts, wanted {TEXT_MARK:#04x}"
        ));
    }
    let mut text = vec![0; usize::from(length)];
    texts.read_exact(&mut text).map_err(|_| beyond())?;
    Ok(text)
}
