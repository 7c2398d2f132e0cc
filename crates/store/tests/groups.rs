//! Groups of orders by their codes, in memory and in the files of the history: what they are without.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{batch, csv, open, order};
use tapewatch_model::{Flags, Order, Price, Quantity, Side};
use tapewatch_store::Store;

const ROWS: u64 = 30_000;

/// Orders of two days: many instruments, few traders, and prices below zero.
fn orders() -> Vec<Order> {
    let one = |seq: u64| Order {
        sym: format!("S{:03}", seq * 7_919 % 211),
        trader: format!("T{}", seq * seq % 13),
        side: if seq.is_multiple_of(3) {
            Side::Buy
        } else {
            Side::Sell
        },
        price: Price::from_units((seq as i64 % 1_000 - 500) * 10_000_000),
        quantity: Quantity::from_whole(seq as i64 % 97 + 1).unwrap(),
        flags: Flags::NONE,
        ..order(seq, (seq % 2) as i64)
    };
    (1..=ROWS).map(one).collect()
}

const FUNCTIONS: &str = "count(*), sum(quantity), min(price), max(price), min(seq), max(time), \
                         sum(price * quantity), avg(quantity)";

/// The groups by codes, and the same without: a column that is not one alone has no codes.
fn queries() -> Vec<[String; 2]> {
    let mut queries = Vec::new();
    for by in [
        "sym",
        "trader",
        "sym, event_type",
        "side, trader, sym",
        "event_type, side",
    ] {
        for filter in [
            "",
            "WHERE sym = 'S007'",
            "WHERE sym IN ('S001', 'S002', 'none') AND event_type = 'cancelled'",
            "WHERE seq BETWEEN 1000 AND 1999",
            "WHERE date = DATE '2024-01-05' AND trader = 'T4'",
            "WHERE time >= TIMESTAMP '2024-01-06' AND side = 'B'",
            "WHERE price > 1.5",
            "WHERE trader = 'nobody'",
        ] {
            // Half of all pairs: each column with each filter somewhere.
            if (by.len() + filter.len()) % 2 == 1 {
                continue;
            }
            let plain = by.split(", ").map(|column| format!("concat({column}, '')"));
            let plain: Vec<String> = plain.collect();
            let query =
                |by: &str| format!("SELECT {by}, {FUNCTIONS} FROM orders {filter} GROUP BY {by}");
            queries.push([query(by), query(&plain.join(", "))]);
        }
    }
    // A sum of decimals beside a distinct count keeps its type.
    let distinct = |sym: &str| {
        format!(
            "SELECT side, count(DISTINCT {sym}), sum(price) FROM orders GROUP BY side \
             HAVING sum(quantity) > 10"
        )
    };
    queries.push([distinct("sym"), distinct("concat(sym, '')")]);
    queries
}

/// Few rows by codes, and the same without.
fn few() -> Vec<[String; 2]> {
    let mut queries = Vec::new();
    for columns in [
        "seq, time, sym, event_type, order_id, trader, side, price, quantity, account, flags",
        "order_id",
        "count(*)",
        "max(order_id), min(price), sum(price * quantity)",
        "date, seq",
    ] {
        for (column, filter) in [
            ("trader", "trader = 'T4'"),
            ("trader", "trader = 'T4' AND event_type = 'cancelled'"),
            ("trader", "trader IN ('T9', 'T0', 'none') AND seq <= 20000"),
            ("sym", "sym = 'S007' AND time >= TIMESTAMP '2024-01-06'"),
            ("sym", "sym = 'S007' AND trader = 'T1' AND price > 1.5"),
            (
                "sym",
                "sym IN ('S001', 'S210') AND date = DATE '2024-01-05'",
            ),
            ("sym", "sym = 'nothing'"),
        ] {
            let plain = filter.replacen(column, &format!("concat({column}, '')"), 1);
            let query = |filter: &str| format!("SELECT {columns} FROM orders WHERE {filter}");
            queries.push([query(filter), query(&plain)]);
        }
    }
    queries
}

/// Filters that are NULL for rows, and numbers as a client writes them, and the same without a question.
fn plain_truths() -> Vec<[String; 2]> {
    let null = "WHERE seq < 0";
    let few = "WHERE price IN ('1.29', '-4.07', '0.5')";
    [
        ("WHERE sym = 'S007' AND price > NULL", null),
        ("WHERE trader = 'T4' AND side = CAST(NULL AS TEXT)", null),
        ("WHERE sym NOT IN ('S007', NULL)", null),
        ("WHERE price NOT IN (1.5, NULL)", null),
        ("WHERE date NOT IN (DATE '2024-01-05', NULL)", null),
        (
            "WHERE date IN (DATE '2024-01-05', NULL)",
            "WHERE CAST(time AS DATE) = DATE '2024-01-05'",
        ),
        (
            "WHERE CASE WHEN date > DATE '2024-01-05' THEN TRUE ELSE NULL END",
            "WHERE CAST(time AS DATE) = DATE '2024-01-06'",
        ),
        ("WHERE price IN (1.29, -4.07, 0.5)", few),
        ("WHERE price = 1.29 OR price = -4.07 OR 0.5 = price", few),
        (
            "WHERE price BETWEEN -4.07 AND 1.29",
            "WHERE price BETWEEN '-4.07' AND '1.29'",
        ),
        (
            "WHERE price > 1.28 AND price < 1.30",
            "WHERE price = '1.29'",
        ),
    ]
    .map(|pair| {
        let (filter, plain) = pair;
        [filter, plain].map(|filter| format!("SELECT seq, price FROM orders {filter}"))
    })
    .into()
}

/// The rows of an answer, sorted.
async fn rows(store: &Store, sql: &str) -> Vec<String> {
    let answer = csv(store, sql).await;
    let mut rows: Vec<String> = answer.lines().skip(1).map(str::to_owned).collect();
    rows.sort_unstable();
    rows
}

async fn check(store: &Store) {
    for [by_codes, plain] in queries().into_iter().chain(few()).chain(plain_truths()) {
        assert_eq!(
            rows(store, &by_codes).await,
            rows(store, &plain).await,
            "{by_codes}"
        );
    }
    let some = rows(store, "SELECT seq FROM orders WHERE price = 1.29").await;
    assert_eq!(
        some.len(),
        ROWS as usize / 1_000,
        "a number is the price that it says"
    );
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'";
    let names = ["dead_letters", "hits", "orders"];
    assert_eq!(rows(store, tables).await, names);
}

async fn plan(store: &Store, sql: &str) -> String {
    csv(store, &format!("EXPLAIN {sql}")).await
}

#[tokio::test]
async fn groups_are_the_same_wherever_the_orders_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let orders = orders();
    for some in orders.chunks(5_000) {
        store.append_orders(batch(some));
    }
    check(&store).await;
    store.end_of_day(ROWS / 2).await.unwrap();
    check(&store).await;
    store.end_of_day(ROWS).await.unwrap();
    check(&store).await;
    let plan_of = plan(&store, "SELECT sym, sum(quantity) FROM orders GROUP BY sym").await;
    assert!(plan_of.contains("over past orders"), "{plan_of}");
    for [by_codes, plain] in few() {
        let plan_of = plan(&store, &by_codes).await;
        let picked = plan_of.contains("past orders by their codes");
        // The day stands in no file, and prices have no codes.
        let by_engine = by_codes.starts_with("SELECT date") || by_codes.contains("price >");
        assert_eq!(picked, !by_engine, "{plan_of}");
        let plain = plan(&store, &plain).await;
        assert!(!plain.contains("past orders by their codes"), "{plain}");
    }
    // What is not of these columns is read by the engine.
    for sql in [
        "SELECT sym, count(order_id) FROM orders GROUP BY sym",
        "SELECT sym, sum(quantity) FROM orders WHERE order_id = 'x' GROUP BY sym",
        "SELECT sym, sum(quantity) FROM orders WHERE price > 3 GROUP BY sym",
        "SELECT sym, sum(quantity) FROM (SELECT * FROM orders LIMIT 10) GROUP BY sym",
    ] {
        let plan_of = plan(&store, sql).await;
        assert!(!plan_of.contains("over past orders"), "{sql}: {plan_of}");
    }
}
