//! Queries that are wrong, absurd or hostile: a clear error or a result, never a crash or a hang.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tapewatch_model::{EventType, Order, Price, Quantity, Side};
use tapewatch_store::{Format, Store, StoreOptions};

use crate::common::{self, batch, lines, open, reference};
use crate::{event, failure};

async fn small(dir: &std::path::Path) -> Store {
    limited(dir, Duration::from_secs(3)).await
}

async fn limited(dir: &std::path::Path, sql_timeout: Duration) -> Store {
    let options = StoreOptions {
        sql_timeout,
        sql_memory_bytes_max: 64 << 20,
        ..StoreOptions::default()
    };
    let store = Store::open(dir, options).await.unwrap();
    let (orders, hit) = reference();
    store.append_orders(orders);
    store.append_hits(&[hit]);
    store
}

/// The first line of what a query says, good or bad.
async fn say(store: &Store, sql: &str) -> Result<String, String> {
    let started = Instant::now();
    let said = common::query(store, sql, Format::Csv).await;
    let start: String = sql.chars().take(80).collect();
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{start} took {:?}",
        started.elapsed()
    );
    said.map_err(|error| error.to_string())
}

async fn refused(store: &Store, sql: &str, part: &str) {
    let start: String = sql.chars().take(80).collect();
    match say(store, sql).await {
        Ok(rows) => panic!(
            "{start} gave {}",
            rows.chars().take(200).collect::<String>()
        ),
        Err(error) => assert!(error.contains(part), "{start}: {error}"),
    }
}

#[tokio::test]
async fn numbers_beyond_their_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let most: Vec<Order> = (1..=3)
        .map(|seq| {
            let mut row = event(seq, 0, EventType::New, Side::Buy, "O", 1, 1);
            row.price = Price::from_units(i64::MAX);
            row.quantity = Quantity::from_units(i64::MAX).unwrap();
            row
        })
        .collect();
    store.append_orders(batch(&most));
    for (sql, part) in [
        ("SELECT seq / 0 FROM orders", "ivide by zero"),
        ("SELECT seq % 0 FROM orders", "ivide by zero"),
        (
            "SELECT quantity / (quantity - quantity) FROM orders",
            "ivide by zero",
        ),
        ("SELECT 1 / 0", "ivide by zero"),
        (
            "SELECT seq FROM orders WHERE 1 / (seq - 1) > 0",
            "failed: Divide by zero error",
        ),
        (
            "SELECT sum(price), sum(CAST(price AS DOUBLE)) FROM orders",
            "two columns have one name",
        ),
        (
            "SELECT price, price FROM orders",
            "two columns have one name",
        ),
        (
            "SELECT * FROM generate_series(1, $1)",
            "no parameter is taken there",
        ),
        ("SELECT CAST(quantity AS INT) FROM orders", "ast"),
        (
            "SELECT CAST(price AS DECIMAL(5, 2)) FROM orders",
            "precision",
        ),
        (
            "SELECT substr(sym, 2, 1e3) FROM orders",
            "error: Function 'substr'",
        ),
        ("SELECT CAST('12x' AS INT)", "12x"),
        ("SELECT CAST('294000-01-01' AS TIMESTAMP)", "294000"),
        (
            "SELECT count(*) FROM orders WHERE time > '294000-01-01T00:00:00'",
            "294000",
        ),
        (
            "SELECT count(*) FROM orders WHERE date > '2024-13-45'",
            "2024-13-45",
        ),
        (
            "SELECT time + INTERVAL '300 years' FROM orders",
            "out of range",
        ),
        (
            "SELECT date_bin(INTERVAL '0 seconds', time) FROM orders",
            "stride",
        ),
        ("SELECT sum(price * quantity) FROM orders", "overflow"),
        ("SELECT seq FROM orders LIMIT -1", "LIMIT"),
        ("SELECT seq FROM orders LIMIT 99999999999999999999", ""),
    ] {
        refused(&store, sql, part).await;
    }
    for (sql, value) in [
        ("SELECT sum(quantity) FROM orders", "276701161105.64327421"),
        ("SELECT sum(price) FROM orders", "27670116110.564327421"),
        ("SELECT avg(price) = max(price) FROM orders", "true"),
        ("SELECT 1.0e0 / 0", "inf"),
        ("SELECT try_cast('12x' AS INT) IS NULL", "true"),
        (
            "SELECT count(*) FROM (SELECT * FROM orders LIMIT 9223372036854775807)",
            "3",
        ),
        ("SELECT count(*) FROM orders WHERE seq > 1e300", "0"),
        (
            "SELECT count(*) FROM orders WHERE time > '2262-04-11' AND date < '1677-09-22'",
            "0",
        ),
        (
            "SELECT count(*) FROM orders WHERE time > time + INTERVAL '-1 day'",
            "3",
        ),
    ] {
        let found = lines(&store, sql).await;
        assert_eq!(found.lines().nth(1), Some(value), "{sql}");
    }
}

#[tokio::test]
async fn texts_of_absurd_size_and_depth() {
    let dir = tempfile::tempdir().unwrap();
    // Long enough that a machine with other work does not end them by their time.
    let store = limited(dir.path(), Duration::from_secs(40)).await;
    let joined = |part: &str, n: usize, with: &str| vec![part; n].join(with);
    let select = |what: &str| format!("SELECT {what} FROM orders");
    let from = |n: usize| format!("{}orders{}", "(SELECT * FROM ".repeat(n), ")".repeat(n));
    let too_deep = "nested too deeply";
    let too_long = "operators in a row";
    let too_many = "joins, set operations and queries";
    for (sql, part) in [
        (
            format!("SELECT '{}'", "x".repeat(10 << 20)),
            "a query has at most 4194304 bytes",
        ),
        ("(".repeat(10_000), too_deep),
        (
            format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
            too_deep,
        ),
        (format!("SELECT {}1", "NOT ".repeat(150)), "error"),
        (format!("SELECT {}1", "- ".repeat(150)), too_deep),
        (format!("SELECT {}1", "CASE WHEN ".repeat(150)), "error"),
        (format!("SELECT * FROM {} x", from(90)), too_deep),
        (format!("SELECT * FROM {} x", from(10_000)), too_many),
        (select(&joined("seq = 1", 5_000, " OR ")), too_long),
        (select(&joined("seq = 1", 5_000, " AND ")), too_long),
        (
            select(&joined("(seq = 1)", 1_000_000, " OR ")[..4_000_000]),
            too_long,
        ),
        (select(&joined("1", 1_000_000, "+")), too_long),
        (select(&format!("1{}", "::int".repeat(5_000))), too_long),
        (select(&format!("1{}", " IS NULL".repeat(5_000))), too_long),
        (
            select(&format!("evidence{}", "[1]".repeat(5_000))),
            too_long,
        ),
        (select(&joined("'x'", 5_000, "||")), too_long),
        (joined("SELECT 1", 5_000, " UNION ALL "), too_many),
        (
            format!(
                "SELECT 1 FROM orders {}",
                "JOIN orders ON true ".repeat(5_000)
            ),
            too_many,
        ),
        (format!("SELECT {}1", "(SELECT ".repeat(5_000)), too_many),
        (
            format!(
                "WITH a0 AS (SELECT 1 AS x), {} SELECT * FROM a40",
                (1..=40)
                    .map(|n| format!("a{n} AS (SELECT l.x FROM a{m} l, a{m} r)", m = n - 1))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            "each WITH stands for its text",
        ),
    ] {
        refused(&store, &sql, part).await;
    }
}

#[tokio::test]
async fn what_is_large_but_sane_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path(), Duration::from_secs(60)).await;
    let numbers: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let columns: Vec<String> = (0..2_000).map(|n| format!("seq + {n} AS c{n}")).collect();
    let branches: Vec<String> = (0..300)
        .map(|n| format!("WHEN seq = {n} THEN {n}"))
        .collect();
    for (sql, value) in [
        (format!("SELECT count(*) FROM orders WHERE seq IN ({})", numbers.join(",")), "10"),
        (format!("SELECT count(*) FROM (SELECT {} FROM orders)", columns.join(", ")), "10"),
        (format!("SELECT sum(CASE {} END) FROM orders", branches.join(" ")), "55"),
        (
            format!("SELECT count(*) FROM orders WHERE {}", vec!["seq = 3"; 190].join(" OR ")),
            "1",
        ),
        (
            format!("SELECT count(*) FROM orders WHERE {}", vec!["seq <> price"; 190].join(" AND ")),
            "10",
        ),
        (format!("SELECT {}", vec!["1"; 190].join("+")), "190"),
        (
            format!("SELECT sum({}) FROM orders", vec!["seq"; 190].join("+")),
            "10450",
        ),
        (
            format!("SELECT count(*) FROM ({})", vec!["SELECT seq FROM orders"; 48].join(" UNION ALL ")),
            "480",
        ),
        (
            format!(
                "SELECT count(*) FROM orders o {}",
                (0..12).map(|n| format!("JOIN orders o{n} ON o{n}.seq = o.seq ")).collect::<String>()
            ),
            "10",
        ),
        (format!("SELECT max(length({})) FROM orders", vec!["side"; 190].join("||")), "190"),
        (format!("SELECT max(seq{}) FROM orders", "::bigint".repeat(90)), "10"),
        (format!("SELECT max(seq{}) FROM orders", " IS NULL".repeat(90)), "false"),
        (
            format!(
                "WITH a0 AS (SELECT seq AS x FROM orders), {} SELECT max(x) FROM a80",
                (1..=80).map(|n| format!("a{n} AS (SELECT x + 1 AS x FROM a{})", n - 1)).collect::<Vec<_>>().join(", ")
            ),
            "90",
        ),
        (format!("SELECT '{}' = 'x'", "x".repeat(1 << 20)), "false"),
        (
            "SELECT max(s) FROM (SELECT sum(quantity) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND \
             UNBOUNDED FOLLOWING) AS s FROM orders)".to_owned(),
            "13200",
        ),
        ("SELECT count(*) FROM orders WHERE regexp_like(trader, '(a*)*(a|aa)+$')".to_owned(), "0"),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 1000) SELECT sum(n) FROM t".to_owned(),
            "500500",
        ),
    ] {
        let start: String = sql.chars().take(80).collect();
        let found = say(&store, &sql).await.unwrap_or_else(|error| panic!("{start}: {error}"));
        assert_eq!(found.lines().nth(1), Some(value), "{start}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_never_end_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path()).await;
    for sql in [
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        "WITH RECURSIVE t AS (SELECT seq AS n FROM orders UNION ALL SELECT a.n FROM t a, orders b) SELECT count(*) FROM t",
        "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000000) b",
        "SELECT a.value FROM generate_series(1, 100000000) a ORDER BY random()",
        "WITH g AS (SELECT arrow_cast(value, 'Timestamp(Nanosecond, None)') AS time FROM generate_series(1, 100000000)) \
         SELECT count(*), max(n) FROM wj1('g', 'g', '', 'time', INTERVAL '1 day', 'max(time) AS n')",
        "SELECT count(*) FROM orders WHERE regexp_like(trader, '((((a{100}){100}){100}){100}){100}')",
    ] {
        let said = say(&store, sql).await;
        let error = said.err().unwrap_or_else(|| panic!("{sql} ended"));
        let clear = [
            "sql.timeout is 3 s",
            "needs more memory",
            "the query failed",
        ];
        assert!(
            clear.iter().any(|part| error.contains(part)),
            "{sql}: {error}"
        );
    }
    assert_eq!(lines(&store, "SELECT 1 AS a").await, "a\n1\n");
}

#[tokio::test]
async fn only_one_query_and_only_a_query() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path()).await;
    for sql in [
        "INSERT INTO orders SELECT * FROM orders",
        "EXPLAIN ANALYZE INSERT INTO orders SELECT * FROM orders",
        "EXPLAIN INSERT INTO orders SELECT * FROM orders",
        "WITH x AS (SELECT 1) INSERT INTO orders SELECT * FROM x",
        "CREATE TABLE t (a INT)",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "COPY (SELECT 1) TO '/tmp/never.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/never.csv'",
        "SET a = 1",
        "EXPLAIN SET a = 1",
        "TRUNCATE TABLE orders",
        "ALTER TABLE orders ADD COLUMN a INT",
        "MERGE INTO orders USING orders o ON true WHEN MATCHED THEN DELETE",
        "SELECT * INTO t FROM orders",
        "COMMIT",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "USE x",
        "SELECT 1; SELECT 2",
        "",
        "   \n\t ",
        ";",
        "-- nothing",
        "/* nothing */",
        "\0",
        "SELECT \0",
        "SELECT 1 \u{7f}\u{202e}",
        "SELECT 'open",
        "SELECT \"open",
        "SELECT /* open",
        "\u{feff}",
        "🦀",
    ] {
        let error = failure(&store, sql).await;
        assert!(
            !error.is_empty() && !error.contains("internal") && !error.contains("panic"),
            "{sql:?}: {error}"
        );
    }
    assert!(!std::path::Path::new("/tmp/never.csv").exists());
    for (sql, value) in [
        ("SELECT 'a\0b' AS t", "a\0b"),
        ("SELECT '🦀é' AS t;", "🦀é"),
        ("SELECT 1 AS t -- x", "1"),
    ] {
        assert_eq!(lines(&store, sql).await, format!("t\n{value}\n"));
    }
    assert!(
        lines(&store, "EXPLAIN ANALYZE SELECT count(*) FROM orders")
            .await
            .contains("output_rows")
    );
}

const VALID: [&str; 12] = [
    "SELECT sym, count(*) AS n FROM orders WHERE time > '2015-04-17T12:00:05' GROUP BY sym HAVING count(*) > 1 ORDER BY n DESC LIMIT 10",
    "WITH c AS (SELECT * FROM orders WHERE event_type = 'cancelled') SELECT * FROM wj1('c', 'c', 'sym,trader,side', 'time', INTERVAL '25 seconds', 'sum(quantity) AS q, count(*) AS n') WHERE q > 4000",
    "SELECT * FROM asof_join('orders', 'hits', 'sym', 'time', INTERVAL '5 seconds') LIMIT 3",
    "SELECT * FROM wj('orders', 'order', 'sym=sym', 'time', INTERVAL '-1s', INTERVAL '2s', 'min(price), last(side) AS l')",
    "SELECT * FROM book('SNDL', '2015-04-17T12:00:10', 5)",
    "SELECT seq, state FROM order_history('SPG-Oid10', '2015-04-17') h WHERE h.open_quantity > 0",
    "SELECT date_bin(INTERVAL '5 seconds', time) AS t, sum(quantity * price) / sum(quantity) FROM orders GROUP BY 1",
    "SELECT o.*, measure(h.measures, 'cancel_count') FROM orders o JOIN hits h ON o.seq = h.seq",
    "SELECT lag(price) OVER (PARTITION BY sym ORDER BY seq ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM orders",
    "SELECT unnest(evidence) AS e FROM hits UNION ALL SELECT CAST(price AS DOUBLE) FROM orders",
    "SELECT CASE WHEN side = 'S' THEN upper(trader) ELSE substr(\"orderID\", 2, 3) END, kdb_timespan(5) FROM \"order\" o",
    "EXPLAIN SELECT max(time) - min(time) FROM orderAlerts WHERE regexp_like(orderID, '^S.*[0-9]$')",
];

/// What is put in somewhere.
const PIECES: [&str; 30] = [
    "(",
    ")",
    "'",
    "\"",
    ",",
    "*",
    " NULL ",
    "-1",
    " 0 ",
    "99999999999999999999",
    "''",
    " AND ",
    " NOT ",
    "::int",
    "[1]",
    " OVER () ",
    ".",
    ";",
    "--",
    " INTERVAL '1 month' ",
    " DISTINCT ",
    " FROM orders ",
    "$1",
    "\0",
    "é",
    "1e400",
    " '294000-01-01' ",
    " UNION ",
    " IN (1, NULL) ",
    "sum(seq)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn mutations_never_panic(
        changes in prop::collection::vec((0..12_usize, prop::collection::vec((0..1000_usize, 0..6_usize, 0..30_usize), 1..4)), 24)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = small(dir.path()).await;
            for (query, changes) in changes {
                let mut text: Vec<char> = VALID[query].chars().collect();
                for (at, remove, piece) in changes {
                    let at = at % text.len().max(1);
                    let end = (at + remove).min(text.len());
                    text.splice(at..end, PIECES[piece].chars());
                }
                let sql: String = text.into_iter().collect();
                let said = say(&store, &sql).await;
                if let Err(error) = said {
                    assert!(!error.contains("panicked"), "{sql}: {error}");
                }
            }
        });
    }
}

#[tokio::test]
async fn what_is_mutated_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path()).await;
    for sql in VALID {
        let said = say(&store, sql).await;
        assert!(said.is_ok(), "{sql}: {said:?}");
    }
}
