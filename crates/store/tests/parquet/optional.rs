//! Columns that a Parquet file need not have.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use tapewatch_model::{Flags, Order, OrderSource as _, Quantity};
use tapewatch_store::Format;
use tapewatch_store::order_file::ParquetOrders;

use super::common::{batch, open, order};
use super::{read, write};

/// What SQL writes is what the feed reads: nothing that a row tells is lost on the way.
#[tokio::test]
async fn exported_orders_are_read_back_with_all_that_they_tell() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store")).await;
    let expected: Vec<Order> = (1..=100).map(|seq| order(seq, 0)).collect();
    store.append_orders(batch(&expected[..40]));
    store.end_of_day(30).await.unwrap();
    store.append_orders(batch(&expected[40..]));
    let path = dir.path().join("orders.parquet");
    let mut file = std::fs::File::create(&path).unwrap();
    let result = store
        .sql("SELECT * FROM orders ORDER BY seq")
        .await
        .unwrap();
    result.write(Format::Parquet, &mut file).await.unwrap();
    for rows_max in [7, 1_000] {
        assert_eq!(read(&path, rows_max), (expected.clone(), vec![]));
    }
}

#[test]
fn optional_columns_tell_or_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let columns = |texts: [[Option<&str>; 7]; 4]| -> Vec<(&'static str, ArrayRef)> {
        let [trader, price, event, display] = texts;
        let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; 7])) };
        let text =
            |texts: [Option<&str>; 7]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let flags = [
            None,
            Some(""),
            Some("market"),
            Some("market"),
            Some("anonymous"),
            Some("ioc  halt"),
            Some("fast"),
        ];
        vec![
            ("flags", text(flags)),
            ("time", same("2024-01-05")),
            ("sym", same("A")),
            ("event_type", text(event)),
            ("trader", text(trader)),
            ("side", same("B")),
            ("order_id", same("1")),
            ("price", text(price)),
            ("quantity", same("5")),
            ("DisplayQuantity", text(display)),
        ]
    };
    let path = write(
        dir.path(),
        "all.parquet",
        columns([
            [
                Some("T"),
                None,
                Some("T"),
                Some("T"),
                None,
                Some("T"),
                Some("T"),
            ],
            [
                Some("1"),
                Some("1"),
                None,
                Some(""),
                Some("1"),
                None,
                Some("1"),
            ],
            [
                Some("new"),
                Some("new"),
                Some("new"),
                Some("F"),
                Some("new"),
                Some("new"),
                Some("new"),
            ],
            [Some("x"), None, Some(""), None, Some("2"), None, None],
        ]),
    );
    let tells = ParquetOrders::open(&path).unwrap().tells();
    assert_eq!(
        (tells.trader, tells.exec_id, tells.capacity),
        (true, false, true)
    );
    let (orders, letters) = read(&path, 3);
    let refused: Vec<_> = letters
        .iter()
        .map(|letter| (letter.line, &*letter.column, &*letter.reason))
        .collect();
    let unknown = Flags::parse(b"fast").unwrap_err().reason;
    assert_eq!(
        refused,
        [
            (1, "display_quantity", "is not a number"),
            (2, "trader", "is null"),
            (4, "price", "is empty"),
            (6, "price", "is null"),
            (7, "flags", &*unknown),
        ]
    );
    let told: Vec<_> = orders
        .iter()
        .map(|o| (o.seq, &*o.trader, o.price.units(), o.display, o.flags))
        .collect();
    let two = Some(Quantity::from_whole(2).unwrap());
    assert_eq!(
        told,
        [
            (3, "T", 0, None, Flags::MARKET),
            (5, "", 1_000_000_000, two, Flags::ANONYMOUS),
        ]
    );
}
