//! Parquet files as a source of orders.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod optional;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int8Array, Int32Array,
    Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::datatypes::{Int8Type, Int32Type};
use common::reference;
use parquet::arrow::ArrowWriter;
use tapewatch_model::{DeadLetter, Order, OrderBatch, OrderSource};
use tapewatch_store::order_file::ParquetOrders;

fn write(dir: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let path = dir.join(name);
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

fn read(path: &Path, rows_max: usize) -> (Vec<Order>, Vec<DeadLetter>) {
    let mut source = ParquetOrders::open(path).unwrap();
    let (mut orders, mut letters) = (Vec::new(), Vec::new());
    let mut batch = OrderBatch::default();
    while source
        .next_batch(rows_max, &mut batch, &mut letters)
        .unwrap()
    {
        assert!(batch.len() <= rows_max);
        orders.extend((0..batch.len()).map(|index| batch.order(index).unwrap()));
    }
    assert_eq!(source.progress().done, source.progress().total);
    (orders, letters)
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn coded(values: Vec<&str>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<DictionaryArray<Int32Type>>())
}

/// The reference's orders as columns of text.
fn reference_columns() -> (Vec<Order>, Vec<(&'static str, Vec<String>)>) {
    let (batch, _) = reference();
    let orders: Vec<Order> = (0..10).map(|index| batch.order(index).unwrap()).collect();
    let column = |text: fn(&Order) -> String| orders.iter().map(text).collect::<Vec<_>>();
    let columns = vec![
        ("time", column(|o| o.time.to_string())),
        ("sym", column(|o| o.sym.clone())),
        ("eventType", column(|o| o.event_type.to_string())),
        ("trader", column(|o| o.trader.clone())),
        ("side", column(|o| o.side.to_string())),
        ("orderID", column(|o| o.order_id.clone())),
        ("price", column(|o| o.price.to_string())),
        ("quantity", column(|o| o.quantity.to_string())),
    ];
    (orders, columns)
}

#[test]
fn every_type_that_can_hold_a_column_gives_the_same_orders() {
    let dir = tempfile::tempdir().unwrap();
    let (orders, columns) = reference_columns();
    let text =
        |index: usize| -> Vec<&str> { columns[index].1.iter().map(String::as_str).collect() };
    let plain = |index: usize| texts(&text(index));
    let nanos = || orders.iter().map(|o| o.time.nanos());
    let prices = || orders.iter().map(|o| o.price.units() as f64 / 1e9);
    let pieces = || orders.iter().map(|o| o.quantity.units() / 100_000_000);
    let variants: Vec<(&str, usize, ArrayRef)> = vec![
        ("time", 0, plain(0)),
        (
            "TIME",
            0,
            Arc::new(TimestampNanosecondArray::from_iter_values(nanos())),
        ),
        (
            "time",
            0,
            Arc::new(TimestampNanosecondArray::from_iter_values(nanos()).with_timezone("UTC")),
        ),
        (
            "time",
            0,
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(nanos().map(|n| n / 1_000))
                    .with_timezone("+00:00"),
            ),
        ),
        (
            "time",
            0,
            Arc::new(TimestampSecondArray::from_iter_values(
                nanos().map(|n| n / 1_000_000_000),
            )),
        ),
        ("time", 0, Arc::new(Int64Array::from_iter_values(nanos()))),
        ("Sym", 1, coded(text(1))),
        ("event_type", 2, coded(text(2))),
        ("EventType", 2, Arc::new(StringViewArray::from(text(2)))),
        ("trader", 3, Arc::new(LargeStringArray::from(text(3)))),
        (
            "side",
            4,
            Arc::new(text(4).into_iter().collect::<DictionaryArray<Int8Type>>()),
        ),
        ("order_id", 5, Arc::new(StringViewArray::from(text(5)))),
        ("OrderId", 5, coded(text(5))),
        (
            "price",
            6,
            Arc::new(Float64Array::from_iter_values(prices())),
        ),
        (
            "price",
            6,
            Arc::new(Float32Array::from_iter_values(prices().map(|p| p as f32))),
        ),
        (
            "price",
            6,
            Arc::new(
                Decimal128Array::from_iter_values(
                    orders
                        .iter()
                        .map(|o| i128::from(o.price.units()) / 10_000_000),
                )
                .with_precision_and_scale(10, 2)
                .unwrap(),
            ),
        ),
        (
            "price",
            6,
            Arc::new(
                Decimal128Array::from_iter_values(
                    orders.iter().map(|o| i128::from(o.price.units()) * 1_000),
                )
                .with_precision_and_scale(30, 12)
                .unwrap(),
            ),
        ),
        (
            "quantity",
            7,
            Arc::new(Int64Array::from_iter_values(pieces())),
        ),
        (
            "quantity",
            7,
            Arc::new(Int32Array::from_iter_values(pieces().map(|p| p as i32))),
        ),
        (
            "quantity",
            7,
            Arc::new(Float64Array::from_iter_values(pieces().map(|p| p as f64))),
        ),
    ];
    for (number, (name, place, column)) in variants.into_iter().enumerate() {
        let mut all: Vec<(&str, ArrayRef)> = (0..8)
            .map(|index| (columns[index].0, plain(index)))
            .collect();
        all[place] = (name, column);
        // Their order and other columns do not matter.
        all.reverse();
        all.insert(3, ("venue", plain(1)));
        let path = write(dir.path(), &format!("{number}.parquet"), all);
        for rows_max in [1, 3, 1_000] {
            let (got, letters) = read(&path, rows_max);
            assert_eq!(
                (&got, letters.len()),
                (&orders, 0),
                "variant {number} {name} by {rows_max}: {letters:?}"
            );
        }
    }
}

#[test]
fn a_row_that_cannot_be_used_is_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let n = 12;
    let mut time: Vec<Option<i64>> = (0..n).map(Some).collect();
    let mut sym = vec![Some("A"); n as usize];
    let mut event = vec![Some("new"); n as usize];
    let mut side = vec![Some("B"); n as usize];
    let mut price = vec![Some(1.5); n as usize];
    let mut quantity = vec![Some(1.0); n as usize];
    time[1] = None;
    sym[2] = Some("");
    sym[3] = None;
    event[4] = Some("nwe");
    event[5] = None;
    side[6] = Some("X");
    price[7] = Some(f64::NAN);
    quantity[8] = Some(-1.0);
    quantity[9] = None;
    price[10] = Some(1e30);
    let path = write(
        dir.path(),
        "bad.parquet",
        vec![
            ("time", Arc::new(TimestampNanosecondArray::from(time))),
            ("sym", Arc::new(StringArray::from(sym))),
            (
                "event_type",
                Arc::new(event.into_iter().collect::<DictionaryArray<Int32Type>>()),
            ),
            ("trader", texts(&["T"; 12])),
            ("side", Arc::new(StringArray::from(side))),
            ("order_id", texts(&[""; 12])),
            ("price", Arc::new(Float64Array::from(price))),
            ("quantity", Arc::new(Float64Array::from(quantity))),
        ],
    );
    for rows_max in [1, 5, 100] {
        let (orders, letters) = read(&path, rows_max);
        let seqs: Vec<u64> = orders.iter().map(|order| order.seq).collect();
        assert_eq!(seqs, [1, 12], "numbered by their rows");
        let said: Vec<(u64, &str, &str)> = letters
            .iter()
            .map(|l| (l.line, l.column.as_str(), l.reason.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (2, "time", "is null"),
                (3, "sym", "is empty"),
                (4, "sym", "is null"),
                (5, "event_type", "is \"nwe\", not one that is known"),
                (6, "event_type", "is null"),
                (7, "side", "is \"X\", not one that is known"),
                (8, "price", "is not a number"),
                (9, "quantity", "is negative"),
                (10, "quantity", "is null"),
                (11, "price", "is out of range"),
            ]
        );
        assert_eq!(letters[0].source, path.display().to_string());
        assert_eq!(
            letters[7].raw,
            "time=1970-01-01T00:00:00.000000008, sym=A, event_type=new, trader=T, side=B, order_id=, \
             price=1.5, quantity=-1.0"
        );
    }
}

fn refusal(path: &Path) -> String {
    ParquetOrders::open(path).unwrap_err().to_string()
}

#[test]
fn a_file_that_is_no_source_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_, columns) = reference_columns();
    let all = || -> Vec<(&str, ArrayRef)> {
        let column = |(name, values): &(&'static str, Vec<String>)| {
            (
                *name,
                Arc::new(StringArray::from(values.clone())) as ArrayRef,
            )
        };
        columns.iter().map(column).collect()
    };
    let mut missing = all();
    missing.remove(4);
    let path = write(dir.path(), "missing.parquet", missing);
    assert_eq!(
        refusal(&path),
        format!(
            "{}: has no column side; its columns are time, sym, eventType, trader, orderID, price, quantity",
            path.display()
        )
    );
    let mut twice = all();
    twice.push(("event_type", twice[2].1.clone()));
    let path = write(dir.path(), "twice.parquet", twice);
    assert!(refusal(&path).contains("two columns for event_type: eventType and event_type"));
    let mut kind = all();
    kind[1].1 = Arc::new(Int8Array::from(vec![1; 10]));
    let path = write(dir.path(), "kind.parquet", kind);
    assert!(
        refusal(&path).contains("column sym is of type Int8, wanted text"),
        "{}",
        refusal(&path)
    );
    let path = dir.path().join("text.parquet");
    std::fs::write(&path, "time,sym\n").unwrap();
    assert!(refusal(&path).contains("is not a Parquet file"));
    assert!(refusal(&dir.path().join("nothing")).contains("cannot be opened"));
}

/// Rows of other events are passed over, whatever is wrong with them; the others come as ever, with
/// the numbers they have in the file.
#[test]
fn rows_that_are_not_wanted_are_passed_over() {
    use tapewatch_model::{EventType, EventTypes};
    let dir = tempfile::tempdir().unwrap();
    let rows = 40_000;
    let kinds = ["new", "cancelled", "filled", "cancelled", "born"];
    let column = |of: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new((0..rows).map(of).collect::<StringArray>())
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "time",
            Arc::new((0..rows as i64).map(Some).collect::<Int64Array>()),
        ),
        (
            "sym",
            column(&|row| (row % 97 != 0).then(|| format!("S{}", row % 11))),
        ),
        ("eventType", column(&|row| Some(kinds[row % 5].to_owned()))),
        ("trader", column(&|row| Some(format!("T{}", row % 301)))),
        (
            "side",
            column(&|row| {
                Some(
                    if row % 89 == 0 {
                        "X"
                    } else {
                        ["B", "S"][row % 2]
                    }
                    .to_owned(),
                )
            }),
        ),
        (
            "orderID",
            column(&|row| (row % 101 != 0).then(|| format!("O{row}"))),
        ),
        (
            "price",
            Arc::new(
                (0..rows)
                    .map(|row| Some(if row % 103 == 0 { f64::NAN } else { row as f64 }))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "quantity",
            Arc::new(
                (0..rows as i64)
                    .map(|row| Some(row - 3))
                    .collect::<Int64Array>(),
            ),
        ),
    ];
    let path = write(dir.path(), "mixed.parquet", columns);
    let read = |events: EventTypes, rows_max: usize| {
        let mut source = ParquetOrders::open(&path).unwrap();
        source.want(events);
        let (mut orders, mut letters, mut batch) = (Vec::new(), Vec::new(), OrderBatch::default());
        while source
            .next_batch(rows_max, &mut batch, &mut letters)
            .unwrap()
        {
            orders.extend((0..batch.len()).map(|index| batch.order(index).unwrap()));
        }
        (orders, letters, source.progress())
    };
    let (all, refused, progress) = read(EventTypes::ALL, 1_000);
    assert_eq!((all.len() + refused.len()) as u64, progress.total);
    assert!(refused.len() > 8_000, "{}", refused.len());
    let cancels: Vec<_> = all
        .into_iter()
        .filter(|order| order.event_type == EventType::Cancelled)
        .collect();
    for rows_max in [333, 7_777, 100_000] {
        let (orders, letters, progress) = read(EventTypes::of(&[EventType::Cancelled]), rows_max);
        assert_eq!(orders, cancels, "{rows_max}");
        assert_eq!(
            (orders.len() + letters.len()) as u64 + progress.passed_over,
            progress.total
        );
        let known = |letter: &DeadLetter| refused.iter().any(|other| other == letter);
        assert!(
            letters.iter().all(known),
            "the reasons are those of a whole reading"
        );
        let born = |letter: &&DeadLetter| letter.column == "event_type";
        assert_eq!(
            letters.iter().filter(born).count(),
            refused.iter().filter(born).count()
        );
    }
}
