//! Names that are not there, and what is suggested for them; the time functions on our times.

use crate::common::{lines, order, reference};
use crate::{failure, store_of};

#[tokio::test]
async fn near_names_are_suggested() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[order(1, 0)]).await;
    for (sql, message) in [
        (
            "select * from ordrs",
            "there is no table ordrs; did you mean orders or order?",
        ),
        (
            "select * from public.ordrs",
            "there is no table ordrs; did you mean orders or order?",
        ),
        (
            "select * from tapewatch.public.alrts",
            "there is no table alrts; did you mean alerts?",
        ),
        (
            "select * from other.orders",
            "there is no table other.orders; did you mean orders or order or traders?",
        ),
        (
            "select * from orderalerts",
            "there is no table orderalerts; did you mean orderAlerts?",
        ),
        (
            "select * from information_schema.tabels",
            "there is no table information_schema.tabels; did you mean tables?",
        ),
        (
            "select * from unheard_of",
            "there is no table unheard_of; there are orders, hits, dead_letters, executions, quotes, alerts, traders, order, orderAlerts",
        ),
        (
            "describe ordrs",
            "there is no table ordrs; did you mean orders or order?",
        ),
        (
            "select * from (select * from hitz) x",
            "there is no table hitz; did you mean hits?",
        ),
        (
            "select ordr_id from orders",
            "there is no column ordr_id; did you mean order_id?",
        ),
        (
            "select o.ordr_id from orders o",
            "table o has no column ordr_id; did you mean order_id?",
        ),
        (
            "select orders.ordr_id from orders",
            "table orders has no column ordr_id; did you mean order_id?",
        ),
        (
            "select o.seqq from orders o join hits h on o.seq = h.seq",
            "table o has no column seqq; did you mean seq?",
        ),
        (
            "select q.seq from orders o",
            "there is no table q in this query; did you mean o?",
        ),
        (
            "select seq from orders order by tme",
            "there is no column tme; did you mean time?",
        ),
        (
            "select seq from orders where SYM = 'x'",
            "there is no column SYM; did you mean sym?",
        ),
        (
            "select count(*) from orders group by sides",
            "there is no column sides; did you mean side?",
        ),
        (
            "with w as (select seq as number from orders) select nuber from w",
            "there is no column nuber; did you mean number?",
        ),
        (
            "select medan(price) from orders",
            "there is no function medan; did you mean median?",
        ),
        (
            "select meassure(measures, 'x') from hits",
            "there is no function meassure; did you mean measure?",
        ),
        (
            "select sume(price) from orders",
            "there is no function sume; did you mean sum?",
        ),
        (
            "select repeat('x', 10)",
            "there is no function repeat: it is left out",
        ),
        (
            "select * from bok('ABC', '2024-01-05')",
            "there is no table function bok; did you mean book?",
        ),
        (
            "select * from order_histroy('A')",
            "there is no table function order_histroy; did you mean order_history?",
        ),
        (
            "select * from ajoin('a')",
            "there is no table function ajoin; there are asof_join, wj, wj1,",
        ),
    ] {
        let found = failure(&store, sql).await;
        assert!(found.contains(message), "{sql}: {found}");
        let near = found.split("did you mean ").nth(1).unwrap_or_default();
        assert!(near.matches(" or ").count() <= 2, "{sql}: {found}");
    }
}

#[tokio::test]
async fn time_functions_take_our_times_to_the_nanosecond() {
    let dir = tempfile::tempdir().unwrap();
    let mut orders = vec![order(1, 0), order(2, 0)];
    orders[0].time = tapewatch_model::Time::parse(b"2024-01-05T09:30:12.345678901").unwrap();
    orders[1].time = tapewatch_model::Time::parse(b"1960-02-29T23:59:59.999999999").unwrap();
    let store = store_of(dir.path(), &orders).await;
    for _ in 0..2 {
        for (expr, one, two) in [
            (
                "date_bin(INTERVAL '5 minutes', time)",
                "2024-01-05T09:30:00.000000000Z",
                "1960-02-29T23:55:00.000000000Z",
            ),
            (
                "date_bin(INTERVAL '100 nanoseconds', time)",
                "2024-01-05T09:30:12.345678900Z",
                "1960-02-29T23:59:59.999999900Z",
            ),
            (
                "date_bin(INTERVAL '1 hour', time, TIMESTAMP '2000-01-01T00:30:00')",
                "2024-01-05T09:30:00.000000000Z",
                "1960-02-29T23:30:00.000000000Z",
            ),
            (
                "date_bin(INTERVAL '1 month', time)",
                "2024-01-01T00:00:00.000000000Z",
                "1960-02-01T00:00:00.000000000Z",
            ),
            (
                "date_trunc('second', time)",
                "2024-01-05T09:30:12.000000000Z",
                "1960-02-29T23:59:59.000000000Z",
            ),
            (
                "date_trunc('day', time)",
                "2024-01-05T00:00:00.000000000Z",
                "1960-02-29T00:00:00.000000000Z",
            ),
            (
                "time + INTERVAL '1 nanosecond'",
                "2024-01-05T09:30:12.345678902Z",
                "1960-03-01T00:00:00.000000000Z",
            ),
            (
                "time - INTERVAL '1 day 1 second'",
                "2024-01-04T09:30:11.345678901Z",
                "1960-02-28T23:59:58.999999999Z",
            ),
            (
                "date_part('nanosecond', time)",
                "12345678901",
                "59999999999",
            ),
            ("extract(hour FROM time)", "9", "23"),
            (
                "CAST(time AS BIGINT)",
                "1704447012345678901",
                "-310435200000000001",
            ),
            (
                "arrow_cast(CAST(time AS BIGINT), 'Timestamp(Nanosecond, Some(\"UTC\"))') = time",
                "true",
                "true",
            ),
            (
                "to_char(time, '%H:%M:%S%.9f')",
                "09:30:12.345678901",
                "23:59:59.999999999",
            ),
            (
                "time BETWEEN '2024-01-05T09:30:12.345678901' AND '2024-01-05T09:30:12.345678901Z'",
                "true",
                "false",
            ),
            (
                "time > TIMESTAMP '2024-01-05T09:30:12.345678900'",
                "true",
                "false",
            ),
            ("CAST(time AS TIME) > TIME '12:00:00'", "false", "true"),
            ("date = DATE '2024-01-05'", "true", "false"),
            (
                "to_timestamp_nanos('2024-01-05T09:30:12.345678901Z') = time",
                "true",
                "false",
            ),
        ] {
            let found = lines(
                &store,
                &format!("SELECT {expr} AS v FROM orders ORDER BY seq"),
            )
            .await;
            assert_eq!(found, format!("v\n{one}\n{two}\n"), "{expr}");
        }
        store.end_of_day(10).await.unwrap();
    }
}

#[tokio::test]
async fn the_views_have_the_references_columns() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[]).await;
    let (orders, hit) = reference();
    store.append_orders(orders);
    store.append_hits(&[hit]);
    let order = "time TIMESTAMP|sym VARCHAR|eventType VARCHAR|trader VARCHAR|side VARCHAR|orderID VARCHAR|\
                 price DOUBLE|quantity DOUBLE";
    let alerts = format!(
        "{order}|alertName VARCHAR|totalCancelQty DOUBLE|totalCancelCount BIGINT|\
         cancelQtyThreshold BIGINT|cancelCountThreshold BIGINT|lookbackInterval VARCHAR"
    );
    let kinds = [
        ("Timestamp(ns)", "TIMESTAMP"),
        ("Utf8", "VARCHAR"),
        ("Float64", "DOUBLE"),
        ("Int64", "BIGINT"),
    ];
    for (view, expected) in [("order", order), ("orderAlerts", &alerts)] {
        let sql = format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{view}' \
             ORDER BY ordinal_position"
        );
        let found = lines(&store, &sql).await;
        let rows = found.lines().skip(1).map(|row| {
            let (name, kind) = row.split_once(',').unwrap();
            let known = kinds
                .iter()
                .find(|(arrow, _)| kind.trim_matches('"') == *arrow);
            format!("{name} {}", known.map_or(kind, |(_, sql)| sql))
        });
        assert_eq!(rows.collect::<Vec<_>>().join("|"), *expected);
    }
    // The dashboard's own query, as SQL.
    let numbered =
        "SELECT row_number() OVER () AS \"alertID\", * FROM orderAlerts ORDER BY \"alertID\" DESC";
    assert!(
        lines(&store, numbered)
            .await
            .starts_with("alertID,time,sym,eventType")
    );
}
