//! Window joins against a reading of their definition row by row.

use proptest::prelude::*;
use tapewatch_model::{EventType, Order, Side};

use crate::common::lines;
use crate::{event, store_of};

/// What the naive reading finds for a row: count, sum, least, greatest, first and last quantity.
fn naive(rows: &[Order], at: &Order, (begin, end): (i64, i64), prevailing: bool) -> String {
    let mut group: Vec<&Order> = rows.iter().filter(|row| row.sym == at.sym).collect();
    group.sort_by_key(|row| (row.time, row.seq));
    let t = at.time.nanos();
    let upto = group.partition_point(|row| row.time.nanos() <= t + end);
    let mut from = group.partition_point(|row| row.time.nanos() < t + begin);
    if prevailing {
        // bin(t + begin): the last row at or before.
        let bin = group.partition_point(|row| row.time.nanos() <= t + begin);
        from = bin.saturating_sub(1);
    }
    let window: Vec<i64> = group
        .get(from..upto)
        .unwrap_or_default()
        .iter()
        .map(|row| row.quantity.units() / 100_000_000)
        .collect();
    let text = |value: Option<i64>| value.map(|v| v.to_string()).unwrap_or_default();
    let sum = (!window.is_empty()).then(|| window.iter().sum());
    let float = sum.map(|sum: i64| format!("{sum}.0")).unwrap_or_default();
    format!(
        "{},{},{},{},{},{},{},{float}",
        at.seq,
        window.len(),
        text(sum),
        text(window.iter().min().copied()),
        text(window.iter().max().copied()),
        text(window.first().copied()),
        text(window.last().copied()),
    )
}

fn row() -> impl Strategy<Value = (i64, u8, i64)> {
    (0..40_i64, 0..3_u8, 0..9_i64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn windows_are_as_defined(
        rows in prop::collection::vec(row(), 0..60),
        begin in -12..4_i64,
        length in 0..12_i64,
        prevailing: bool,
        batch_rows in 1..9_usize,
        moved: bool,
    ) {
        let orders: Vec<Order> = rows.iter().zip(1..).map(|(&(time, sym, pieces), seq)| {
            let mut row = event(seq, time, EventType::New, Side::Buy, "O", 1, pieces);
            row.sym = format!("S{sym}");
            row
        }).collect();
        let window = (begin, begin + length);
        let function = if prevailing { "wj" } else { "wj1" };
        let sql = format!(
            "SELECT seq, n, s, lo, hi, f, l, d FROM {function}('orders', 'orders', 'sym', 'time', \
             INTERVAL '{} nanoseconds', INTERVAL '{} nanoseconds', 'count(*) AS n, sum(quantity) AS s, \
             min(quantity) AS lo, max(quantity) AS hi, first(quantity) AS f, last(quantity) AS l, \
             sum(CAST(quantity AS DOUBLE)) AS d') ORDER BY seq",
            window.0, window.1,
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = store_of(dir.path(), &[]).await;
            for part in orders.chunks(batch_rows * 7) {
                store.append_orders(crate::batch(part));
                if moved && part[0].seq == 1 {
                    store.end_of_day(part.len() as u64).await.unwrap();
                }
            }
            lines(&store, &sql).await
        });
        let expected: Vec<String> =
            orders.iter().map(|row| naive(&orders, row, window, prevailing)).collect();
        let found: Vec<&str> = found.lines().skip(1).collect();
        prop_assert_eq!(found, expected);
    }
}
