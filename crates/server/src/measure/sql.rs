//! Queries over a day of orders in this process, as standard input asks for them: what
//! `cargo xtask bench sql` runs beside DuckDB, in turns.
//!
//! Invariant: a line in, a line out. A query is timed from its text to its last row, in Arrow's
//! columns; the orders are in recent until `eod`, then in history.

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use serde_json::{Value, json};
use tapewatch_connect::{Bucketer, Pace};
use tapewatch_store::{Format, Store};

use super::directory;
use crate::cli::SqlMeasureArgs;
use crate::config::Config;
use crate::failure::Failure;
use crate::source::{format_of, open};

/// Answers lines of `query TIMES SQL`, `answer SQL` and `eod`; what it says last is how much there was.
pub(super) async fn run(args: &SqlMeasureArgs) -> Result<Value, Failure> {
    let config = Config {
        data: directory(&args.common),
        ..Config::default()
    };
    let store = Store::open(&config.data, config.store_options())
        .await
        .map_err(Failure::run)?;
    let rows = load(args, &store)?;
    say(&json!({ "rows": rows, "recent_bytes": store.counts().recent_bytes }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Failure::run)?;
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        say(&match command {
            "query" => query(&store, rest).await?,
            "answer" => answer(&store, rest).await?,
            "eod" => end_of_day(&store, rows).await?,
            other => return Err(Failure::usage(format!("no command {other:?}"))),
        })?;
    }
    Ok(json!({ "rows": rows }))
}

fn say(answer: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")
        .and_then(|()| out.flush())
        .map_err(Failure::run)
}

/// Brings the file's orders in, numbered from 1; how many there are.
fn load(args: &SqlMeasureArgs, store: &Store) -> Result<u64, Failure> {
    let source = open(&args.file, &format_of(&args.file)?)?;
    let mut buckets = Bucketer::new(source, Pace::default());
    let mut next = 1;
    while let Some(due) = buckets.next_bucket().map_err(Failure::run)? {
        let mut orders = due.bucket.orders;
        orders.number_from(next);
        next += orders.len() as u64;
        store.append_orders(orders);
    }
    Ok(next - 1)
}

/// Runs a query some times: how long each time took.
async fn query(store: &Store, text: &str) -> Result<Value, Failure> {
    let (times, sql) = text.split_once(' ').unwrap_or((text, ""));
    let times: u32 = times.parse().map_err(Failure::run)?;
    let (mut seconds, mut rows) = (Vec::new(), 0);
    for _ in 0..times {
        let (sql, store) = (sql.to_owned(), store.clone());
        let begun = Instant::now();
        // On a thread of the runtime, as the server does it.
        let counted = tokio::spawn(async move { store.sql(&sql).await?.count().await });
        rows = counted.await.map_err(Failure::run)?.map_err(Failure::run)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Ok(json!({ "seconds": seconds, "rows": rows }))
}

/// What a query answers, in full.
async fn answer(store: &Store, sql: &str) -> Result<Value, Failure> {
    let mut csv = Vec::new();
    let result = store.sql(sql).await.map_err(Failure::run)?;
    let written = result.write(Format::Csv, &mut csv).await;
    written.map_err(Failure::run)?;
    Ok(json!({ "csv": String::from_utf8_lossy(&csv) }))
}

async fn end_of_day(store: &Store, through: u64) -> Result<Value, Failure> {
    let begun = Instant::now();
    let report = store.end_of_day(through).await.map_err(Failure::run)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "seconds": [seconds], "rows": report.orders.rows }))
}
