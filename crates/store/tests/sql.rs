//! SQL from outside: the reference's views, formats, errors and limits.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use common::{batch, csv, expected, hit, letter, lines, open, order, query, reference};
use tapewatch_model::Time;
use tapewatch_store::{Format, SqlError, Store, StoreOptions};

async fn with_reference(dir: &std::path::Path) -> Store {
    let store = open(dir).await;
    let (orders, hit) = reference();
    store.append_orders(orders);
    store.append_hits(&[hit]);
    store.append_dead_letters(11, Time::from_nanos(1), &[letter(3)]);
    store
}

#[tokio::test]
async fn the_references_alert_comes_out_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_reference(dir.path()).await;
    for _ in 0..2 {
        let alerts = csv(&store, "SELECT * FROM orderAlerts").await;
        assert_eq!(alerts, expected("alerts_push_once.csv"));
        let orders = lines(&store, "SELECT * FROM \"order\"").await;
        let rows: Vec<&str> = orders.lines().collect();
        assert_eq!(rows.len(), 11);
        assert_eq!(
            rows[0],
            "time,sym,eventType,trader,side,orderID,price,quantity"
        );
        assert_eq!(
            rows[10],
            "2015-04-17T12:00:20.000000000,SNDL,cancelled,SpoofingTrader,S,SPG-Oid13,1.23,1300.0"
        );
        // And again from history.
        let report = store.end_of_day(100).await.unwrap();
        assert!(report.orders.rows == 10 || report.orders.rows == 0);
    }
    assert_eq!(
        lines(
            &store,
            "SELECT count(*) AS n, max(eventType) AS m FROM \"order\""
        )
        .await,
        "n,m\n10,new\n"
    );
}

#[tokio::test]
async fn a_format_for_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_reference(dir.path()).await;
    let sql = "SELECT seq, time, price, quantity, CAST(quantity AS DOUBLE) AS f, sym, evidence, \
               measures, NULL AS nothing, date FROM hits";
    let json = query(&store, sql, Format::Json).await.unwrap();
    let jsonl = query(&store, sql, Format::JsonLines).await.unwrap();
    let object = r#"{"seq":10,"time":"2015-04-17T12:00:20.000000000Z","price":"1.23","quantity":"1300","f":1300.0,"sym":"SNDL","evidence":[9,10],"measures":[{"name":"cancel_quantity","value":"4600","threshold":"4000"},{"name":"cancel_count","value":"4","threshold":"3"}],"nothing":null,"date":"2015-04-17"}"#;
    assert_eq!(jsonl, format!("{object}\n"));
    assert_eq!(json, format!("[\n{object}\n]\n"));
    assert_eq!(
        lines(&store, "SELECT text, evidence, time FROM hits").await,
        "text,evidence,time\n\"said \"\"10\"\"\",\"[9,10]\",2015-04-17T12:00:20.000000000Z\n"
    );
    let table = query(&store, "SELECT seq, sym FROM hits", Format::Table).await;
    assert_eq!(
        table.unwrap(),
        "+-----+------+\n| seq | sym  |\n+-----+------+\n|  10 | SNDL |\n+-----+------+\n"
    );
    let mut parquet = Vec::new();
    let result = store.sql("SELECT * FROM hits").await.unwrap();
    assert_eq!(result.columns()[1].name, "time");
    assert_eq!(
        result.write(Format::Parquet, &mut parquet).await.unwrap(),
        1
    );
    assert_eq!(&parquet[..4], b"PAR1");
    let floats =
        "SELECT CAST(1.23 AS REAL) AS a, CAST('NaN' AS DOUBLE) AS b, 0.1 + 0.2e0 AS c, true AS d";
    let floats = query(&store, floats, Format::JsonLines).await;
    assert_eq!(
        floats.unwrap(),
        "{\"a\":1.23,\"b\":null,\"c\":0.30000000000000004,\"d\":true}\n"
    );
    let empty = query(&store, "SELECT seq FROM hits WHERE seq < 0", Format::Json).await;
    assert_eq!(empty.unwrap(), "[\n]\n");
    for name in ["table", "csv", "json", "jsonl", "parquet"] {
        assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
    }
    assert!("xml".parse::<Format>().is_err());
}

async fn message(store: &Store, sql: &str) -> String {
    match query(store, sql, Format::Csv).await {
        Ok(text) => panic!("{sql} gave {text}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn an_error_points_at_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_reference(dir.path()).await;
    let syntax = message(&store, "select\n  frm orders wher x").await;
    assert!(
        syntax.starts_with("syntax error at line 2, column"),
        "{syntax}"
    );
    assert!(syntax.contains("\n    frm orders wher x\n"), "{syntax}");
    assert!(syntax.ends_with('^'), "{syntax}");
    let end = message(&store, "select seq from").await;
    assert!(
        end.starts_with("syntax error at line 1, column 16"),
        "{end}"
    );
    let column = message(&store, "select seq,\n  eventTyp from orders").await;
    assert_eq!(
        column,
        "error at line 2, column 3: there is no column eventTyp; did you mean event_type?\n    \
         eventTyp from orders\n    ^"
    );
    let table = message(&store, "select * from ordrs").await;
    assert_eq!(
        table,
        "error at line 1, column 15: there is no table ordrs; did you mean orders or order?\n  \
         select * from ordrs\n                ^"
    );
    let function = message(&store, "select foo(seq) from orders").await;
    assert!(function.contains("foo"), "{function}");
    let kind = message(&store, "select seq + sym from orders").await;
    assert!(kind.starts_with("error"), "{kind}");
    let empty = message(&store, "").await;
    assert!(!empty.is_empty());
}

#[tokio::test]
async fn nothing_but_queries() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_reference(dir.path()).await;
    let file = dir.path().join("x.csv");
    std::fs::write(&file, "a,b\n1,2\n").unwrap();
    let file = file.display();
    for sql in [
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{file}'"),
        "DROP TABLE orders".to_owned(),
        "INSERT INTO orders SELECT * FROM orders".to_owned(),
        "DELETE FROM orders".to_owned(),
        "UPDATE orders SET sym = 'x'".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        format!("COPY orders TO '{file}.out' STORED AS CSV"),
        format!("EXPLAIN ANALYZE COPY orders TO '{file}.out' STORED AS CSV"),
        "EXPLAIN CREATE VIEW v AS SELECT 1".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "BEGIN".to_owned(),
        "SELECT 1; DROP TABLE orders".to_owned(),
    ] {
        let error = store
            .sql(&sql)
            .await
            .err()
            .unwrap_or_else(|| panic!("{sql}"));
        assert!(
            matches!(
                error,
                SqlError::ReadOnly { .. } | SqlError::Plan { .. } | SqlError::Syntax { .. }
            ),
            "{sql}: {error:?}"
        );
    }
    for sql in [
        format!("SELECT * FROM '{file}'"),
        format!("SELECT * FROM \"{file}\""),
        format!("SELECT * FROM 'file://{file}'"),
        format!("SELECT * FROM read_csv('{file}')"),
        format!("SELECT * FROM read_parquet('{file}')"),
        format!("SELECT * FROM parquet_metadata('{file}')"),
        "SELECT * FROM 'file:///etc/passwd'".to_owned(),
    ] {
        assert!(store.sql(&sql).await.is_err(), "{sql}");
    }
    assert!(!std::path::Path::new(&format!("{file}.out")).exists());
    assert!(lines(&store, "SHOW TABLES").await.contains("orderAlerts"));
    assert!(
        lines(&store, "DESCRIBE orders")
            .await
            .contains("event_type")
    );
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'alerts'";
    assert!(lines(&store, columns).await.contains("first_time"));
}

#[tokio::test]
async fn the_usual_functions_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_reference(dir.path()).await;
    for (sql, expected) in [
        (
            "SELECT sum(quantity), min(price), max(sym), count(DISTINCT side) FROM orders",
            "13200,1.23,SNDL,2",
        ),
        (
            "SELECT avg(CAST(quantity AS DOUBLE)) FROM orders WHERE event_type = 'cancelled'",
            "1150.0",
        ),
        (
            "SELECT last_value(order_id ORDER BY seq), array_agg(seq ORDER BY seq DESC) FROM orders WHERE seq > 8",
            "SPG-Oid13,\"[10,9]\"",
        ),
        (
            "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY side ORDER BY seq) AS n FROM orders)",
            "8",
        ),
        (
            "SELECT lag(seq) OVER (ORDER BY seq) FROM orders ORDER BY seq DESC LIMIT 1",
            "9",
        ),
        (
            "SELECT date_trunc('minute', time) FROM orders LIMIT 1",
            "2015-04-17T12:00:00.000000000Z",
        ),
        (
            "SELECT date_bin(INTERVAL '10 seconds', time) FROM orders WHERE seq = 10",
            "2015-04-17T12:00:20.000000000Z",
        ),
        (
            "SELECT CAST(time AS VARCHAR) FROM orders WHERE seq = 10",
            "2015-04-17T12:00:20Z",
        ),
        (
            "SELECT upper(trader) || '-' || substr(order_id, 5) FROM orders WHERE seq = 10",
            "SPOOFINGTRADER-Oid13",
        ),
        (
            "SELECT count(*) FROM orders WHERE regexp_like(order_id, 'Oid1[0-2]$')",
            "6",
        ),
        (
            "SELECT approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(price AS DOUBLE)) FROM orders",
            "1.25",
        ),
        ("SELECT unnest(evidence) FROM hits ORDER BY 1 LIMIT 1", "9"),
        (
            "SELECT count(*) FROM orders WHERE time >= '2015-04-17T12:00:10Z' AND date = '2015-04-17'",
            "4",
        ),
        (
            "SELECT kdb_timespan(25000000000), measure(measures, 'cancel_count'), threshold(measures, 'nothing') FROM hits",
            "0D00:00:25.000000000,4,",
        ),
        (
            "SELECT count(*) FROM orders o JOIN hits h ON o.seq = h.seq",
            "1",
        ),
        ("WITH orders AS (SELECT 1 AS a) SELECT a FROM orders", "1"),
        (
            "SELECT \"column\", raw FROM dead_letters",
            "price,\"x,y\u{fffd}\"",
        ),
    ] {
        let text = lines(&store, sql).await;
        assert_eq!(text.lines().nth(1), Some(expected), "{sql}");
    }
}

#[tokio::test]
async fn limits_end_a_query_not_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        sql_timeout: Duration::from_millis(300),
        sql_memory_bytes_max: 1 << 20,
        ..StoreOptions::default()
    };
    let store = Store::open(dir.path(), options).await.unwrap();
    let started = Instant::now();
    let slow = query(
        &store,
        "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b",
        Format::Csv,
    )
    .await;
    assert!(matches!(slow, Err(SqlError::Timeout { .. })), "{slow:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let big = query(
        &store,
        "SELECT array_agg(value) FROM generate_series(1, 1000000)",
        Format::Csv,
    )
    .await;
    let Err(error) = big else { panic!("no limit") };
    assert!(
        matches!(error, SqlError::Memory { .. }),
        "{error:?} {error}"
    );
    assert_eq!(lines(&store, "SELECT 1 AS a").await, "a\n1\n");
}

#[tokio::test]
async fn alerts_tell_the_last_hit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let orders: Vec<_> = (3..=8).map(|seq| order(seq, 0)).collect();
    store.append_orders(batch(&orders));
    let hits: Vec<_> = orders.into_iter().map(hit).collect();
    store.append_hits(&hits[..4]);
    store.end_of_day(6).await.unwrap();
    store.append_hits(&hits[4..]);
    assert_eq!(
        lines(
            &store,
            "SELECT hits, seq, order_id, evidence, measure(measures, 'cancel_quantity') AS q, \
             first_time < time AS b FROM alerts ORDER BY seq"
        )
        .await,
        "hits,seq,order_id,evidence,q,b\n3,5,OID00000005,\"[4,5]\",4605,true\n\
         3,8,OID00000008,\"[7,8]\",4608,true\n"
    );
    let counts = store.counts();
    assert_eq!(
        (
            counts.hits,
            counts.alerts,
            counts.orders,
            counts.recent_orders
        ),
        (6, 2, 6, 2)
    );
    drop(store);
    assert_eq!(open(dir.path()).await.counts().alerts, 2);
}
