//! `wj`, `wj1` and `asof_join`: the edges of the reference's windows, keys, names and mistakes.

use tapewatch_model::{EventType, Order, Side};

use crate::common::{lines, open, order, reference};
use crate::{SECOND, event, failure, store_of};

/// Cancels of 1,100 at these nanoseconds, in this order of arrival.
fn cancels(nanos: &[i64]) -> Vec<Order> {
    let rows = nanos.iter().zip(1..);
    rows.map(|(nanos, seq)| {
        let id = format!("O{seq}");
        event(seq, *nanos, EventType::Cancelled, Side::Sell, &id, 1, 1_100)
    })
    .collect()
}

/// Sum and count of each cancel's window, in order of arrival.
async fn windows(function: &str, nanos: &[i64]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &cancels(nanos)).await;
    let sql = format!(
        "WITH cancels AS (SELECT * FROM orders WHERE event_type = 'cancelled') \
         SELECT q, n FROM {function}('cancels', 'cancels', 'sym,trader,side', 'time', \
         INTERVAL '25 seconds', 'sum(quantity) AS q, count(*) AS n') ORDER BY seq"
    );
    let text = lines(&store, &sql).await;
    let rows = text
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(1).unwrap());
    for row in text.lines().skip(1) {
        let (q, n) = row.split_once(',').unwrap();
        assert_eq!(
            q.parse::<f64>().unwrap(),
            1_100.0 * n.parse::<f64>().unwrap()
        );
    }
    rows.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn windows_have_the_references_edges() {
    let s = SECOND;
    for (case, nanos, wj, wj1) in [
        // A row exactly at the left edge is in it.
        ("A", vec![0, s, 2 * s, 25 * s], "1 2 3 4", "1 2 3 4"),
        // Of several at the left edge wj has only the last.
        ("B", vec![0, 0, s, 25 * s], "2 2 3 3", "2 2 3 4"),
        // The row that prevails when the window begins.
        ("C", vec![0, 10 * s, 12 * s, 30 * s], "1 2 3 4", "1 2 3 3"),
        ("E", vec![0, s, 2 * s, 25 * s + 1], "1 2 3 4", "1 2 3 3"),
        (
            "H",
            vec![0, s, 2 * s, 3 * s, 4 * s],
            "1 2 3 4 5",
            "1 2 3 4 5",
        ),
        // The end is inclusive, with rows that came later.
        ("I", vec![5 * s; 4], "4 4 4 4", "4 4 4 4"),
        (
            "K",
            vec![3 * s, 4 * s, 5 * s, 2 * s, 6 * s],
            "2 3 4 1 5",
            "2 3 4 1 5",
        ),
    ] {
        assert_eq!(windows("wj", &nanos).await, wj, "{case} wj");
        assert_eq!(windows("wj1", &nanos).await, wj1, "{case} wj1");
    }
}

#[tokio::test]
async fn keys_part_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = cancels(&[0, SECOND, 2 * SECOND, 3 * SECOND]);
    rows[1].side = Side::Buy;
    rows[3].side = Side::Buy;
    let store = store_of(dir.path(), &rows).await;
    for (keys, counts) in [
        ("sym,trader,side", "n\n1\n1\n2\n2\n"),
        ("sym, trader", "n\n1\n2\n3\n4\n"),
        ("", "n\n1\n2\n3\n4\n"),
        ("order_id", "n\n1\n1\n1\n1\n"),
        ("side=sym", "n\n0\n0\n0\n0\n"),
    ] {
        let sql = format!(
            "SELECT n FROM wj1('orders', 'orders', '{keys}', 'time', INTERVAL '25 seconds', \
             'count(*) AS n') ORDER BY seq"
        );
        assert_eq!(lines(&store, &sql).await, counts, "{keys}");
    }
}

#[tokio::test]
async fn the_references_rule_in_one_query() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.append_orders(reference().0);
    // With the names, the strings and the floats of the reference, in memory and on disk.
    let sql = "WITH cancels AS (SELECT * FROM \"order\" WHERE eventType = 'cancelled') \
               SELECT time, orderID, totalCancelQty, totalCancelCount FROM wj('cancels', 'cancels', \
               'sym,trader,side', 'time', '0D00:00:25', \
               'sum(quantity) AS totalCancelQty, count(quantity) AS totalCancelCount') \
               WHERE totalCancelQty > 4000 AND totalCancelCount > 3";
    for _ in 0..2 {
        assert_eq!(
            lines(&store, sql).await,
            "time,orderID,totalCancelQty,totalCancelCount\n\
             2015-04-17T12:00:20.000000000,SPG-Oid13,4600.0,4\n"
        );
        store.end_of_day(100).await.unwrap();
    }
}

#[tokio::test]
async fn all_aggregates_over_windows_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.append_orders(reference().0);
    // From a second before to a second after, as kdb+'s pair of times has it.
    let sql = "SELECT seq, sum(q) AS q, avg(a) AS a, min(lo) AS lo, max(hi) AS hi, max(f) AS f, max(l) \
               AS l, max(n) AS n, max(c) AS c FROM wj1('public.orders', 'tapewatch.public.orders', 'sym', \
               'time', INTERVAL '-1 second', INTERVAL '1 second', 'sum(quantity) q, avg(quantity) AS a, \
               min(price) AS lo, max(order_id) AS hi, first(order_id) AS f, LAST(order_id) AS l, \
               count(*) n, count(*) FILTER (WHERE side = ''B'') AS c') \
               WHERE seq < 3 OR seq = 6 GROUP BY seq ORDER BY seq";
    assert_eq!(
        lines(&store, sql).await,
        "seq,q,a,lo,hi,f,l,n,c\n\
         1,2100,1050,1.25,SPG-Oid11,SPG-Oid10,SPG-Oid11,2,0\n\
         2,2100,1050,1.25,SPG-Oid11,SPG-Oid10,SPG-Oid11,2,0\n\
         6,4300,1433.333333333333,1.23,SPG-Oid14,SPG-Oid10,SPG-Oid14,3,1\n"
    );
    let unnamed = "SELECT * FROM wj1('orders', 'orders', 'sym', 'time', INTERVAL '1s', \
                   'sum(price * quantity), max(CAST(quantity AS DOUBLE))') LIMIT 0";
    assert!(
        lines(&store, unnamed)
            .await
            .ends_with("flags,sum(price * quantity),max(CAST(quantity AS DOUBLE))\n")
    );
}

#[tokio::test]
async fn an_asof_join_takes_the_last_row_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[order(1, 0)]).await;
    let sql = "WITH trades AS (SELECT * FROM (VALUES (1, 'a', TIMESTAMP '2024-01-05T10:00:00'), \
               (2, 'a', TIMESTAMP '2024-01-05T10:00:05'), (3, 'b', TIMESTAMP '2024-01-05T10:00:05'), \
               (4, 'a', NULL), (5, NULL, TIMESTAMP '2024-01-05T10:00:09'), \
               (6, 'a', TIMESTAMP '2024-01-05T09:59:59.999999999')) t(n, sym, time)), \
               quotes AS (SELECT * FROM (VALUES (1, 'a', TIMESTAMP '2024-01-05T10:00:00', 1.5), \
               (2, 'a', TIMESTAMP '2024-01-05T10:00:00', 1.6), (3, 'c', TIMESTAMP '2024-01-05T10:00:00', 9), \
               (4, 'a', TIMESTAMP '2024-01-05T10:00:06', 1.7), (5, 'a', NULL, 1.8), \
               (6, NULL, TIMESTAMP '2024-01-05T10:00:00', NULL)) t(seq, sym, time, bid)) \
               SELECT n, sym, seq, bid, time_right FROM asof_join('trades', 'quotes', 'sym', 'time'";
    assert_eq!(
        lines(&store, &format!("{sql}) ORDER BY n")).await,
        "n,sym,seq,bid,time_right\n\
         1,a,2,1.6,2024-01-05T10:00:00.000000000\n\
         2,a,2,1.6,2024-01-05T10:00:00.000000000\n\
         3,b,,,\n4,a,,,\n5,,6,,2024-01-05T10:00:00.000000000\n6,a,,,\n"
    );
    assert_eq!(
        lines(
            &store,
            &format!("{sql}, INTERVAL '4999 milliseconds') WHERE sym = 'a' ORDER BY n")
        )
        .await,
        "n,sym,seq,bid,time_right\n\
         1,a,2,1.6,2024-01-05T10:00:00.000000000\n2,a,,,\n4,a,,,\n6,a,,,\n"
    );
    assert_eq!(
        lines(
            &store,
            &format!("{sql}, '5s') WHERE seq IS NOT NULL ORDER BY n")
        )
        .await,
        "n,sym,seq,bid,time_right\n\
         1,a,2,1.6,2024-01-05T10:00:00.000000000\n2,a,2,1.6,2024-01-05T10:00:00.000000000\n"
    );
    // A WITH hides a table, and may use such a join itself.
    let nested = "WITH orders AS (SELECT * FROM orders WHERE seq = 1), \
                  j AS (SELECT seq, time, n FROM wj1('orders', 'orders', '', 'time', INTERVAL '1s', 'count(*) AS n')) \
                  SELECT n, m FROM wj1('j', 'orders', '', 'time', INTERVAL '1s', 'max(seq) AS m')";
    assert_eq!(lines(&store, nested).await, "n,m\n1,1\n");
}

#[tokio::test]
async fn what_is_asked_of_the_join_reaches_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[order(1, 0)]).await;
    let explain = "EXPLAIN FORMAT INDENT SELECT seq, n FROM wj1('orders', 'orders', 'sym', 'time', \
                   INTERVAL '1s', 'count(*) AS n, sum(price) AS p') WHERE sym = 'X' AND date = '2024-01-05' \
                   AND n > 0";
    let plan = lines(&store, explain).await;
    assert!(plan.matches("sym@").count() >= 2, "{plan}");
    // As text of CSV, where a quote is two.
    assert_eq!(plan.matches("Texts(Sym, [\"\"X\"\"])").count(), 2, "{plan}");
    assert_eq!(plan.matches("Times(").count(), 1, "{plan}");
    assert!(!plan.contains("price"), "{plan}");
}

#[tokio::test]
async fn a_wrong_join_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[order(1, 0)]).await;
    let wj1 = |rest: &str| format!("SELECT * FROM wj1('orders', 'orders', 'sym', 'time', {rest})");
    for (sql, part) in [
        (
            "SELECT * FROM wj1('orders')".to_owned(),
            "wj1 takes ('left', 'right'",
        ),
        (
            "SELECT * FROM asof_join()".to_owned(),
            "asof_join takes ('left'",
        ),
        (
            "SELECT * FROM asof_join('ordrs', 'orders', 'sym', 'time')".to_owned(),
            "there is no table ordrs; did you mean orders",
        ),
        (
            "SELECT * FROM asof_join('orders', 'orders', 'symm', 'time')".to_owned(),
            "there is no column symm; did you mean sym?",
        ),
        (
            "SELECT * FROM asof_join('orders', 'orders', 'sym', 'seq')".to_owned(),
            "column seq is no TIMESTAMP",
        ),
        (wj1("INTERVAL '-1 second', 'count(*)'"), "negative"),
        (wj1("INTERVAL '1 month', 'count(*)'"), "months"),
        (wj1("5, 'count(*)'"), "is no length of time"),
        (
            wj1("INTERVAL '2s', INTERVAL '1s', 'count(*)'"),
            "ends before it begins",
        ),
        (wj1("INTERVAL '1s', 'quantity'"), "cannot be measured"),
        (
            wj1("INTERVAL '1s', 'median(price)'"),
            "there are sum, count",
        ),
        (wj1("INTERVAL '1s', 'sum(sym)'"), "sum takes no Utf8"),
        (
            wj1("INTERVAL '1s', 'sum(quanttity)'"),
            "did you mean quantity",
        ),
        (wj1("INTERVAL '1s', 'sum(quantity) foo bar'"), "aggregates"),
        (wj1("INTERVAL '1s', ''"), "aggregates"),
        (wj1("INTERVAL '1s', 'count(DISTINCT sym)'"), "DISTINCT"),
        (wj1("INTERVAL '1s', 'sum(price) AS price'"), "price"),
        (wj1("INTERVAL '9999999 days', 'count(*)'"), "292 years"),
    ] {
        let message = failure(&store, &sql).await;
        assert!(message.contains(part), "{sql}: {message}");
    }
}

#[tokio::test]
async fn sums_beyond_their_type_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[order(1, 0)]).await;
    let sum = |value: &str| {
        format!(
            "WITH x AS (SELECT arrow_cast({value}, 'Int64') AS v, TIMESTAMP '2024-01-05' AS time \
             FROM generate_series(1, 2)) SELECT sum(s) FROM wj1('x', 'x', '', 'time', INTERVAL '1s', 'sum(v) AS s')"
        )
    };
    let message = failure(&store, &sum("9223372036854775807")).await;
    assert!(message.contains("overflow"), "{message}");
    assert_eq!(lines(&store, &sum("-2")).await.lines().nth(1), Some("-8"));
}
