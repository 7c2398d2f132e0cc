//! What is written here, as the library reads it.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use proptest::prelude::*;

use super::*;

/// A file of the columns `sym` and `price`, which may be NULL or not.
fn file(texts_of: &[&str], rows: &[(usize, i64)], nullable: bool) -> Bytes {
    let schema = Schema::new(vec![
        Field::new("sym", DataType::Utf8, nullable),
        Field::new("price", DataType::Decimal128(19, 9), nullable),
    ]);
    let described = ArrowSchemaConverter::new().convert(&schema).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), described.root_schema_ptr(), properties).unwrap();
    let mut seen: Vec<&[u8]> = Vec::new();
    let codes = rows.iter().map(|&(text, _)| {
        let text = texts_of[text].as_bytes();
        let known = seen.iter().position(|it| *it == text);
        known.unwrap_or_else(|| {
            seen.push(text);
            seen.len() - 1
        }) as u32
    });
    let codes: Vec<u32> = codes.collect();
    let units: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let mut group = writer.next_row_group().unwrap();
    let chunks = [
        texts(&described.column(0), &seen, &codes, 16).unwrap(),
        decimals(&described.column(1), &units, 16).unwrap(),
    ];
    for chunk in chunks {
        group.append_column(&chunk.bytes, chunk.close).unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap().into()
}

fn check(texts_of: &[&str], rows: &[(usize, i64)], nullable: bool) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file(texts_of, rows, nullable)).unwrap();
    let group = reader.metadata().row_group(0).clone();
    let (mut syms, mut prices) = (Vec::new(), Vec::new());
    for batch in reader.with_batch_size(100).build().unwrap() {
        let batch = batch.unwrap();
        let texts = batch.column(0).as_string::<i32>();
        syms.extend(texts.iter().map(|text| text.unwrap().to_owned()));
        let units = batch.column(1).as_primitive::<Decimal128Type>();
        assert_eq!(units.null_count(), 0);
        prices.extend(
            units
                .values()
                .iter()
                .map(|unit| i64::try_from(*unit).unwrap()),
        );
    }
    let wanted: Vec<&str> = rows.iter().map(|row| texts_of[row.0]).collect();
    assert_eq!(syms, wanted);
    assert_eq!(prices, rows.iter().map(|row| row.1).collect::<Vec<_>>());
    let said = group.column(0).statistics().unwrap();
    let (least, most) = (said.min_bytes_opt().unwrap(), said.max_bytes_opt().unwrap());
    assert_eq!(Some(least), wanted.iter().min().map(|it| it.as_bytes()));
    assert_eq!(Some(most), wanted.iter().max().map(|it| it.as_bytes()));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in proptest::collection::vec((0_usize..5, -3_i64..3, 1_usize..30), 1..40),
        nullable in any::<bool>(),
    ) {
        let rows = rows.iter().flat_map(|&(text, unit, times)| {
            std::iter::repeat_n((text, unit * 1_000_000_007), times)
        });
        let rows: Vec<_> = rows.collect();
        check(&["", "a", "ab", "Ω", "zz"], &rows, nullable);
    }
}

#[test]
fn many_distinct_numbers_stand_one_after_another() {
    let rows: Vec<_> = (0..DISTINCT_MAX as i64 + 10)
        .map(|it| (0, i64::MAX - it * it))
        .collect();
    check(&["A"], &rows, false);
    check(&["A"], &[(0, i64::MIN), (0, i64::MAX)], true);
}
