//! Columns of one row group of a Parquet file as numbers and codes, some rows at a time.
//!
//! Invariant: what is read is in row order, nothing is left out, and every code points into the
//! values known at that moment. A value that is missing (null) is an error. Pages of dictionary
//! codes are decoded here, straight into codes; all other encodings are left to the library.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, FixedLenByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;

use crate::object_file::ObjectFile;

pub(crate) mod hybrid;

/// A column of a row group, by its name.
pub(crate) struct Leaf<'a> {
    file: &'a ObjectFile,
    rows: usize,
    said: &'a ColumnChunkMetaData,
}

impl<'a> Leaf<'a> {
    /// The column called `name`.
    ///
    /// # Errors
    /// There is none, or it is nested.
    pub(crate) fn find(
        file: &'a ObjectFile,
        metadata: &'a ParquetMetaData,
        group: usize,
        name: &str,
    ) -> Result<Self> {
        let group = metadata.row_groups().get(group);
        let group = group.ok_or_else(|| refused(name, "its row group is missing"))?;
        let mut columns = group.columns().iter();
        let said = columns
            .find(|said| matches!(said.column_path().parts(), [only] if only == name))
            .ok_or_else(|| refused(name, "there is no such column"))?;
        let descr = said.column_descr();
        if descr.max_rep_level() > 0 || descr.max_def_level() > 1 {
            return Err(refused(name, "its values are nested"));
        }
        let rows = usize::try_from(group.num_rows())
            .map_err(|_| refused(name, "its row group has no number of rows"))?;
        Ok(Self { file, rows, said })
    }

    fn descr(&self) -> ColumnDescPtr {
        self.said.column_descr_ptr()
    }

    /// The column's pages; all of its bytes are read at once.
    fn pages(&self) -> Result<Box<dyn PageReader>> {
        let length = usize::try_from(self.said.compressed_size())?;
        // Where the library begins, which takes a place below zero for a mistake of the caller.
        let start = self.said.dictionary_page_offset();
        let start = u64::try_from(start.unwrap_or_else(|| self.said.data_page_offset()))?;
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > Length::len(self.file)) {
            return Err(refused(
                self.descr().name(),
                "it reaches past the end of the file",
            ));
        }
        let chunk = Chunk {
            start,
            bytes: self.file.get_bytes(start, length)?,
        };
        let pages = SerializedPageReader::new(Arc::new(chunk), self.said, self.rows, None)?;
        Ok(Box::new(pages))
    }

    /// Whether the file says that all values are codes of a dictionary.
    fn is_coded(&self) -> bool {
        let coded = |encoding| {
            matches!(
                encoding,
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
            )
        };
        let pages = self.said.page_encoding_stats_mask();
        pages.is_some_and(|pages| pages.encodings().all(coded))
    }
}

fn refused(column: &str, why: &str) -> ParquetError {
    ParquetError::General(format!("column {column}: {why}"))
}

/// The bytes of one column, which stand at `start` in the file.
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn from(&self, start: u64) -> Result<Bytes> {
        let skipped = start.checked_sub(self.start);
        let skipped = skipped.and_then(|skipped| usize::try_from(skipped).ok());
        match skipped {
            Some(skipped) if skipped <= self.bytes.len() => Ok(self.bytes.slice(skipped..)),
            _ => Err(ParquetError::EOF(format!("no byte {start} in the column"))),
        }
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let from = self.from(start)?;
        if from.len() < length {
            let message = format!("{length} bytes from {start} on are not in the column");
            return Err(ParquetError::EOF(message));
        }
        Ok(from.slice(..length))
    }
}

/// A column that is read by the library.
struct Plain<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// Kept for its memory.
    levels: Vec<i16>,
}

impl<T: DataType> Plain<T> {
    fn open(leaf: &Leaf<'_>) -> Result<Self> {
        if leaf.descr().physical_type() != T::get_physical_type() {
            let kind = leaf.descr().physical_type();
            return Err(refused(
                leaf.descr().name(),
                &format!("it is of type {kind}"),
            ));
        }
        Ok(Self {
            reader: ColumnReaderImpl::new(leaf.descr(), leaf.pages()?),
            levels: Vec::new(),
        })
    }

    /// Adds the next `rows` values.
    fn read(&mut self, rows: usize, out: &mut Vec<T::T>) -> Result<()> {
        self.levels.clear();
        let (records, values, _) =
            self.reader
                .read_records(rows, Some(&mut self.levels), None, out)?;
        if records < rows || values < rows {
            return Err(missing());
        }
        Ok(())
    }
}

#[cold]
fn missing() -> ParquetError {
    ParquetError::General("a value is missing".to_owned())
}

/// A column of whole numbers.
pub(crate) struct Numbers(Plain<Int64Type>);

impl Numbers {
    /// # Errors
    /// The column is of another type, or cannot be read.
    pub(crate) fn open(leaf: &Leaf<'_>) -> Result<Self> {
        Plain::open(leaf).map(Self)
    }

    /// Adds the next `rows` numbers.
    ///
    /// # Errors
    /// The column cannot be read, or has no more values.
    pub(crate) fn read(&mut self, rows: usize, out: &mut Vec<i64>) -> Result<()> {
        self.0.read(rows, out)
    }
}

/// A column of texts or of decimals through the distinct values it holds.
pub(crate) struct Codes {
    values: Vec<Bytes>,
    read: Read,
}

/// How its codes come.
enum Read {
    /// As they stand in the file.
    Pages(Pages),
    /// Values that get their codes here.
    Texts(Plain<ByteArrayType>, HashMap<Bytes, u32>),
    Fixed(Plain<FixedLenByteArrayType>, HashMap<Bytes, u32>),
}

impl Codes {
    /// # Errors
    /// The column holds no bytes, or cannot be read.
    pub(crate) fn open(leaf: &Leaf<'_>) -> Result<Self> {
        let kind = leaf.descr().physical_type();
        let read = match kind {
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY if leaf.is_coded() => {
                Read::Pages(Pages::open(leaf)?)
            }
            Type::FIXED_LEN_BYTE_ARRAY => Read::Fixed(Plain::open(leaf)?, HashMap::new()),
            _ => Read::Texts(Plain::open(leaf)?, HashMap::new()),
        };
        Ok(Self {
            values: Vec::new(),
            read,
        })
    }

    /// The distinct values that are known so far, in the order of their codes.
    pub(crate) fn values(&self) -> &[Bytes] {
        &self.values
    }

    /// Adds the codes of the next `rows` rows.
    ///
    /// # Errors
    /// The column cannot be read, or has no more values.
    pub(crate) fn read(&mut self, rows: usize, out: &mut Vec<u32>) -> Result<()> {
        let values = &mut self.values;
        match &mut self.read {
            Read::Pages(pages) => pages.read(rows, values, out),
            Read::Texts(plain, known) => {
                let mut read = Vec::new();
                plain.read(rows, &mut read)?;
                out.extend(read.iter().map(|text| code(text.data(), values, known)));
                Ok(())
            }
            Read::Fixed(plain, known) => {
                let mut read = Vec::new();
                plain.read(rows, &mut read)?;
                out.extend(read.iter().map(|value| code(value.data(), values, known)));
                Ok(())
            }
        }
    }
}

/// The value's code; a new one when it was never seen.
fn code(value: &[u8], values: &mut Vec<Bytes>, known: &mut HashMap<Bytes, u32>) -> u32 {
    if let Some(&code) = known.get(value) {
        return code;
    }
    let (code, value) = (values.len() as u32, Bytes::copy_from_slice(value));
    known.insert(value.clone(), code);
    values.push(value);
    code
}

/// Pages of codes.
struct Pages {
    pages: Box<dyn PageReader>,
    /// Bytes of a value; 0 when values say their length.
    width: usize,
    /// Whether each value has a level that says that it is there.
    levels: bool,
    /// Rows of the row group: more values than that no page has.
    rows: usize,
    /// The codes of the page at hand, and how many were given out.
    page: Vec<u32>,
    given: usize,
}

impl Pages {
    fn open(leaf: &Leaf<'_>) -> Result<Self> {
        let descr = leaf.descr();
        let width = match descr.physical_type() {
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(descr.type_length())?.max(1),
            _ => 0,
        };
        Ok(Self {
            pages: leaf.pages()?,
            width,
            levels: descr.max_def_level() > 0,
            rows: leaf.rows,
            page: Vec::new(),
            given: 0,
        })
    }

    fn read(&mut self, rows: usize, values: &mut Vec<Bytes>, out: &mut Vec<u32>) -> Result<()> {
        let mut left = rows;
        loop {
            let some = self.page.get(self.given..).unwrap_or_default();
            let some = some.get(..left.min(some.len())).unwrap_or_default();
            out.extend_from_slice(some);
            self.given += some.len();
            left -= some.len();
            if left == 0 {
                return Ok(());
            }
            self.next_page(values)?;
        }
    }

    fn next_page(&mut self, values: &mut Vec<Bytes>) -> Result<()> {
        self.page.clear();
        self.given = 0;
        let page = self.pages.get_next_page()?.ok_or_else(missing)?;
        let encoding = page.encoding();
        let count = page.num_values() as usize;
        let is_dictionary = matches!(page, Page::DictionaryPage { .. });
        // A dictionary may hold more than its row group uses; its bytes bound it.
        if (!is_dictionary && count > self.rows) || (is_dictionary && !values.is_empty()) {
            return Err(damaged());
        }
        let coded = match page {
            Page::DictionaryPage { buf, .. } => {
                return dictionary(buf, count, self.width, values)
                    .ok_or_else(|| ParquetError::General("its dictionary is damaged".to_owned()));
            }
            Page::DataPage { buf, .. } if self.levels => all_there(&buf, count)?,
            Page::DataPage { buf, .. } => buf,
            Page::DataPageV2 { num_nulls, .. } if num_nulls > 0 => return Err(missing()),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
                if levels > buf.len() {
                    return Err(damaged());
                }
                buf.slice(levels..)
            }
        };
        if !matches!(
            encoding,
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
        ) {
            return Err(ParquetError::General(format!(
                "a page is encoded as {encoding}, which its statistics do not say"
            )));
        }
        let (&bits, runs) = coded.split_first().ok_or_else(damaged)?;
        hybrid::decode(runs, bits.into(), count, &mut self.page).ok_or_else(damaged)?;
        // Without an early end the compiler compares many at once.
        let known = values.len();
        let unknown = |any, &code: &u32| any | (code as usize >= known);
        if self.page.iter().fold(false, unknown) {
            return Err(damaged());
        }
        Ok(())
    }
}

#[cold]
fn damaged() -> ParquetError {
    ParquetError::General("a page is damaged".to_owned())
}

/// What stands behind the levels of a page of the first version; an error when one says that its
/// value is missing.
fn all_there(page: &Bytes, count: usize) -> Result<Bytes> {
    let (length, rest) = page.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    let levels = rest.get(..length).ok_or_else(damaged)?;
    let mut there = Vec::new();
    hybrid::decode(levels, 1, count, &mut there).ok_or_else(damaged)?;
    if there.contains(&0) {
        return Err(missing());
    }
    Ok(page.slice(4 + length..))
}

/// Adds the values of a dictionary page.
fn dictionary(page: Bytes, count: usize, width: usize, values: &mut Vec<Bytes>) -> Option<()> {
    let mut at = 0;
    for _ in 0..count {
        let length = if width > 0 {
            width
        } else {
            let length = page.get(at..)?.first_chunk::<4>()?;
            at += 4;
            u32::from_le_bytes(*length) as usize
        };
        let end = at.checked_add(length)?;
        if end > page.len() {
            return None;
        }
        values.push(page.slice(at..end));
        at = end;
    }
    Some(())
}
