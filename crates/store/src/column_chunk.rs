//! A column of a row group in Parquet's own form, made from codes or numbers that are known already: the
//! library would look every value up again to find its code.
//!
//! Invariant: what is written is read back the same by any reader of Parquet; what is said of a page and
//! of the chunk are bounds that its values reach. Source: the Parquet format, data page 2.

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::columns::hybrid;

/// Longer texts are no bounds: readers would take them with every look at the file.
const BOUND_BYTES_MAX: usize = 64;

/// The bytes of the column, and what the file says of them.
pub(crate) struct ColumnChunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// The least and the greatest value of some rows.
type Bounds = Option<(Vec<u8>, Vec<u8>)>;

/// What the values are and how they are written.
struct Form<'a> {
    descr: &'a ColumnDescPtr,
    rows: usize,
    /// Rows of a page.
    page: usize,
    /// The bytes of the dictionary, and how many values it has.
    dictionary: Option<(Vec<u8>, usize)>,
    /// Adds the values of some rows to a page.
    fill: &'a dyn Fn(Range<usize>, &mut Vec<u8>),
    bounds: &'a dyn Fn(Range<usize>) -> Bounds,
}

/// Whether a column is one that [`texts`] writes.
pub(crate) fn is_text(descr: &ColumnDescPtr) -> bool {
    descr.physical_type() == Type::BYTE_ARRAY && descr.max_def_level() <= 1
}

/// Whether a column is one that [`decimals`] writes.
pub(crate) fn is_decimal(descr: &ColumnDescPtr) -> bool {
    descr.physical_type() == Type::FIXED_LEN_BYTE_ARRAY
        && descr.max_def_level() <= 1
        && (8..=16).contains(&descr.type_length())
}

/// A column of texts, by codes of `values`; each of these stands for at least one row.
pub(crate) fn texts(
    descr: &ColumnDescPtr,
    values: &[&[u8]],
    codes: &[u32],
    page: usize,
) -> Result<ColumnChunk> {
    let mut dictionary = Vec::new();
    for value in values {
        dictionary.extend_from_slice(&(value.len() as u32).to_le_bytes());
        dictionary.extend_from_slice(value);
    }
    let mut by_value: Vec<u32> = (0..values.len() as u32).collect();
    by_value.sort_unstable_by_key(|&code| values.get(code as usize));
    let mut ranks = vec![0; values.len()];
    for (rank, &code) in (0_u32..).zip(&by_value) {
        if let Some(place) = ranks.get_mut(code as usize) {
            *place = rank;
        }
    }
    let short = values.iter().all(|value| value.len() <= BOUND_BYTES_MAX);
    let value = |rank: u32| {
        let code = by_value.get(rank as usize)?;
        values.get(*code as usize).map(|value| value.to_vec())
    };
    write(&Form {
        descr,
        rows: codes.len(),
        page,
        dictionary: Some((dictionary, values.len())),
        fill: &|rows, page| fill_codes(codes.get(rows).unwrap_or_default(), values.len(), page),
        bounds: &|rows| {
            let codes = codes.get(rows).filter(|_| short)?;
            let ranks = codes.iter().filter_map(|&code| ranks.get(code as usize));
            let (least, most) = ranks.fold((u32::MAX, 0), |(least, most), &rank| {
                (least.min(rank), most.max(rank))
            });
            Some((value(least)?, value(most)?))
        },
    })
}

/// A column of decimals: by codes where few are distinct, else one after another.
pub(crate) fn decimals(descr: &ColumnDescPtr, units: &[i64], page: usize) -> Result<ColumnChunk> {
    let width = usize::try_from(descr.type_length())?;
    let distinct = Distinct::of(units);
    let bounds = |rows: Range<usize>| {
        let units = units.get(rows)?;
        let (least, most) = (units.iter().min()?, units.iter().max()?);
        let bytes = |unit: i64| {
            let mut bytes = Vec::new();
            push_decimal(unit, width, &mut bytes);
            bytes
        };
        Some((bytes(*least), bytes(*most)))
    };
    let Some(distinct) = distinct else {
        return write(&Form {
            descr,
            rows: units.len(),
            page,
            dictionary: None,
            fill: &|rows, page| {
                let units = units.get(rows).unwrap_or_default();
                units
                    .iter()
                    .for_each(|&unit| push_decimal(unit, width, page));
            },
            bounds: &bounds,
        });
    };
    let mut dictionary = Vec::with_capacity(distinct.values.len() * width);
    for &unit in &distinct.values {
        push_decimal(unit, width, &mut dictionary);
    }
    let (codes, count) = (&distinct.codes, distinct.values.len());
    write(&Form {
        descr,
        rows: units.len(),
        page,
        dictionary: Some((dictionary, count)),
        fill: &|rows, page| fill_codes(codes.get(rows).unwrap_or_default(), count, page),
        bounds: &bounds,
    })
}

/// Adds a decimal, the highest byte first, as many as its column has.
fn push_decimal(unit: i64, width: usize, out: &mut Vec<u8>) {
    let sign = if unit < 0 { 0xff } else { 0 };
    out.extend(std::iter::repeat_n(sign, width.saturating_sub(8)));
    out.extend_from_slice(&unit.to_be_bytes());
}

fn fill_codes(codes: &[u32], values: usize, page: &mut Vec<u8>) {
    let bits = usize::BITS - values.saturating_sub(1).leading_zeros();
    page.push(bits as u8);
    hybrid::encode(codes, bits, page);
}

fn write(form: &Form<'_>) -> Result<ColumnChunk> {
    let mut sink = TrackedWrite::new(Vec::new());
    let mut writer = SerializedPageWriter::new(&mut sink);
    let mut uncompressed = 0;
    let encoding = match &form.dictionary {
        Some(_) => Encoding::RLE_DICTIONARY,
        None => Encoding::PLAIN,
    };
    if let Some((bytes, values)) = &form.dictionary {
        let page = Page::DictionaryPage {
            buf: Bytes::copy_from_slice(bytes),
            num_values: u32::try_from(*values)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        uncompressed += writer
            .write_page(CompressedPage::new(page, bytes.len()))?
            .uncompressed_size;
    }
    let mut first = None;
    let mut places = OffsetIndexBuilder::new();
    let mut index = ColumnIndexBuilder::new(form.descr.physical_type());
    let mut pages = 0;
    for start in (0..form.rows).step_by(form.page.max(1)) {
        let rows = start..form.rows.min(start + form.page.max(1));
        let count = rows.len();
        let (page, length) = data_page(form, rows.clone(), encoding)?;
        let written = writer.write_page(CompressedPage::new(page, length))?;
        uncompressed += written.uncompressed_size;
        let offset = i64::try_from(written.offset)?;
        first.get_or_insert(offset);
        places.append_offset_and_size(offset, i32::try_from(written.compressed_size)?);
        places.append_row_count(i64::try_from(count)?);
        match (form.bounds)(rows) {
            Some((least, most)) => index.append(false, least, most, 0),
            None => index.to_invalid(),
        }
        pages += 1;
    }
    let bytes = sink.into_inner()?;
    let metadata = said(
        form,
        encoding,
        pages,
        (first.unwrap_or(0), bytes.len(), uncompressed),
    )?;
    Ok(ColumnChunk {
        close: ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: form.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: index.valid().then(|| index.build()).transpose()?,
            offset_index: Some(places.build()),
        },
        bytes: bytes.into(),
    })
}

/// A page of these rows, and its bytes.
fn data_page(form: &Form<'_>, rows: Range<usize>, encoding: Encoding) -> Result<(Page, usize)> {
    let count = rows.len();
    let mut body = Vec::new();
    if form.descr.max_def_level() > 0 {
        // All values are there.
        hybrid::run(1, count, 1, &mut body);
    }
    let levels = body.len();
    (form.fill)(rows, &mut body);
    let length = body.len();
    let page = Page::DataPageV2 {
        buf: body.into(),
        num_values: u32::try_from(count)?,
        encoding,
        num_nulls: 0,
        num_rows: u32::try_from(count)?,
        def_levels_byte_len: u32::try_from(levels)?,
        rep_levels_byte_len: 0,
        is_compressed: false,
        statistics: None,
    };
    Ok((page, length))
}

/// What the file says of the chunk.
fn said(
    form: &Form<'_>,
    encoding: Encoding,
    pages: i32,
    (first, compressed, uncompressed): (i64, usize, usize),
) -> Result<ColumnChunkMetaData> {
    let coded = form.dictionary.is_some();
    let mut stats = vec![PageEncodingStats {
        page_type: PageType::DATA_PAGE_V2,
        encoding,
        count: pages,
    }];
    if coded {
        stats.push(PageEncodingStats {
            page_type: PageType::DICTIONARY_PAGE,
            encoding: Encoding::PLAIN,
            count: 1,
        });
    }
    let mut builder = ColumnChunkMetaData::builder(form.descr.clone())
        .set_compression(Compression::UNCOMPRESSED)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, encoding])
        .set_page_encoding_stats(stats)
        .set_total_compressed_size(i64::try_from(compressed)?)
        .set_total_uncompressed_size(i64::try_from(uncompressed)?)
        .set_num_values(i64::try_from(form.rows)?)
        .set_data_page_offset(first)
        .set_dictionary_page_offset(coded.then_some(0));
    if let Some((least, most)) = (form.bounds)(0..form.rows) {
        builder = builder.set_statistics(match form.descr.physical_type() {
            Type::BYTE_ARRAY => {
                let (least, most) = (ByteArray::from(least), ByteArray::from(most));
                Statistics::byte_array(Some(least), Some(most), None, Some(0), false)
            }
            Type::FIXED_LEN_BYTE_ARRAY => {
                let bound = |bytes: Vec<u8>| Some(FixedLenByteArray::from(bytes));
                Statistics::fixed_len_byte_array(bound(least), bound(most), None, Some(0), false)
            }
            other => {
                return Err(ParquetError::General(format!(
                    "{other} is not written here"
                )));
            }
        });
    }
    builder.build()
}

/// Numbers as codes of their distinct ones, in the order in which they came first.
struct Distinct {
    values: Vec<i64>,
    codes: Vec<u32>,
}

/// More distinct numbers are not worth a dictionary.
const DISTINCT_MAX: usize = 1 << 15;
/// Places for them, half of which stay free.
const PLACES: usize = 2 * DISTINCT_MAX;
const FREE: u32 = u32::MAX;

impl Distinct {
    /// `None` when there are too many.
    fn of(numbers: &[i64]) -> Option<Self> {
        let mut places = vec![FREE; PLACES];
        let (mut values, mut codes) = (Vec::new(), Vec::with_capacity(numbers.len()));
        for &number in numbers {
            // The high bits of a product depend on all bits of the number.
            let mixed = number.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut at = (mixed >> (u64::BITS - PLACES.ilog2())) as usize;
            let code = loop {
                let place = places.get_mut(at)?;
                if *place == FREE {
                    *place = values.len() as u32;
                    values.push(number);
                    break *place;
                }
                if values.get(*place as usize) == Some(&number) {
                    break *place;
                }
                at = (at + 1) % PLACES;
            };
            if values.len() > DISTINCT_MAX {
                return None;
            }
            codes.push(code);
        }
        Some(Self { values, codes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
