//! `tapewatch export kdb-log`: orders and alerts as a tickerplant's log.
//!
//! Invariant: rows are in the order of the journal, each message holds one bucket of orders, and the
//! alerts of a bucket follow it in a message of their own, also when there are none, as the
//! reference's engine publishes them. The file appears only when it is whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufWriter;

use serde_json::{Map, Value as Json};
use tapewatch_connect::kdb::qsql::{Select, rows_between};
use tapewatch_connect::kdb::tick::{
    ColumnKind, ORDER, ORDER_ALERTS, Syms, columns_of, to_timestamp, update,
};
use tapewatch_connect::kdb::tplog::LogWriter;
use tapewatch_connect::kdb::value::{Items, NULL_LONG, Table, Value};
use tapewatch_model::Time;
use tapewatch_store::{Format, Store};

use crate::cli::{ExportArgs, ExportTable};
use crate::config::Config;
use crate::failure::Failure;
use crate::progress::RowProgress;
use crate::{query, recovery};

/// Sequence numbers that are asked for at a time.
const PART_SEQS: u64 = 50_000;

type Row = Map<String, Json>;

/// Who is asked.
enum Tables {
    Files(Store),
    Process(reqwest::Client, reqwest::Url),
}

/// Writes the log.
pub(crate) async fn run(args: &ExportArgs) -> Result<(), Failure> {
    let tables = match &args.data {
        Some(data) => {
            let config = Config::load(None, Vec::new())?;
            let fold = recovery::read_only(data, &config.detect()?, config.store_options()).await?;
            Tables::Files(fold.store)
        }
        None => {
            let url = query::base_url(&args.url.url)?.join("api/v1/sql");
            Tables::Process(query::client()?, url.map_err(Failure::usage)?)
        }
    };
    let failed = |error: std::io::Error| {
        Failure::run(format!("cannot write {}: {error}", args.file.display()))
    };
    let mut part = args.file.as_os_str().to_owned();
    part.push(".part");
    let log = File::create(&part).and_then(|file| LogWriter::new(BufWriter::new(file)));
    let mut export = Export {
        args,
        log: log.map_err(failed)?,
        orders: VecDeque::new(),
        alerts: VecDeque::new(),
        rows: (0, 0),
    };
    export.all(&tables).await?;
    let (messages, bytes, (orders, alerts)) =
        (export.log.messages(), export.log.bytes(), export.rows);
    let file = export.log.finish().map_err(failed)?.into_inner();
    let file = file.map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&part, &args.file).map_err(failed)?;
    eprintln!(
        "{}: {orders} orders, {alerts} alerts, {messages} messages, {bytes} bytes",
        args.file.display()
    );
    Ok(())
}

/// A log that is being written.
struct Export<'a> {
    args: &'a ExportArgs,
    log: LogWriter<BufWriter<File>>,
    orders: VecDeque<Row>,
    alerts: VecDeque<Row>,
    /// Orders and alerts that were written.
    rows: (u64, u64),
}

impl Export<'_> {
    async fn all(&mut self, tables: &Tables) -> Result<(), Failure> {
        let span = tables
            .ask("SELECT min(seq) AS first, max(seq) AS last FROM orders")
            .await?;
        let number = |name: &str| span.first().and_then(|row| row.get(name)?.as_u64());
        let (Some(first), Some(last)) = (number("first"), number("last")) else {
            return Ok(());
        };
        let mut progress = RowProgress::new("export");
        let mut from = first;
        while from <= last {
            let to = from.saturating_add(PART_SEQS - 1).min(last);
            for (table, rows) in [(ORDER, &mut self.orders), (ORDER_ALERTS, &mut self.alerts)] {
                rows.extend(tables.ask(&select(table, from, to)?.sql).await?);
            }
            self.write(to == last)?;
            from = to + 1;
            let (done, total) = (to - first, last - first);
            let shown = tapewatch_model::Progress {
                done,
                total,
                passed_over: 0,
            };
            progress.show(self.rows.0, shown);
        }
        progress.finish();
        Ok(())
    }

    /// Writes the buckets that are full; at the `end` the last one too.
    fn write(&mut self, end: bool) -> Result<(), Failure> {
        let full = self.args.rows_per_bucket.get();
        while self.orders.len() >= full || (end && !self.orders.is_empty()) {
            let orders: Vec<Row> = self.orders.drain(..full.min(self.orders.len())).collect();
            let last = orders.last().map_or(0, seq_of);
            let alerts = self.alerts.partition_point(|row| seq_of(row) <= last);
            let alerts: Vec<Row> = self.alerts.drain(..alerts).collect();
            let (of_orders, of_alerts) = &mut self.rows;
            for (table, name, rows, written) in [
                (ExportTable::Order, ORDER, &orders, of_orders),
                (ExportTable::OrderAlerts, ORDER_ALERTS, &alerts, of_alerts),
            ] {
                if self.args.table.contains(&table) {
                    *written += rows.len() as u64;
                    let message = update(name, columns_of(as_table(name, rows)?));
                    self.log.message(&message).map_err(Failure::run)?;
                }
            }
        }
        Ok(())
    }
}

fn select(table: &str, from: u64, to: u64) -> Result<Select, Failure> {
    rows_between(table, from..=to, &Syms::All).ok_or_else(|| Failure::run("no such table"))
}

fn seq_of(row: &Row) -> u64 {
    row.get("_seq").and_then(Json::as_u64).unwrap_or_default()
}

impl Tables {
    async fn ask(&self, query: &str) -> Result<Vec<Row>, Failure> {
        let mut lines = Vec::new();
        match self {
            Self::Files(store) => {
                let result = store.sql(query).await.map_err(Failure::run)?;
                result
                    .write(Format::JsonLines, &mut lines)
                    .await
                    .map_err(Failure::run)?;
            }
            Self::Process(client, url) => {
                let body = serde_json::json!({ "query": query, "format": "jsonl" });
                let response = client.post(url.clone()).json(&body).send().await;
                let response = query::checked(url, response).await?;
                let bytes = response.bytes().await;
                lines.extend(bytes.map_err(|error| Failure::run(query::explain(url, &error)))?);
            }
        }
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter();
        rows.collect::<Result<_, _>>().map_err(Failure::run)
    }
}

/// The rows as a table of the reference.
fn as_table(name: &str, rows: &[Row]) -> Result<Table, Failure> {
    let select = select(name, 0, 0)?;
    let columns = select.columns.iter().skip(1);
    let names = columns.clone().map(|(name, _)| name).collect();
    let column = |(name, kind): &(String, ColumnKind)| {
        let cells = rows.iter().map(|row| row.get(name).unwrap_or(&Json::Null));
        items(*kind, cells).map(Into::into)
    };
    let lists = columns.map(column).collect::<Result<_, _>>()?;
    Table::new(names, lists).map_err(Failure::run)
}

fn items<'a>(kind: ColumnKind, cells: impl Iterator<Item = &'a Json>) -> Result<Items, Failure> {
    let text = |cell: &'a Json| cell.as_str().unwrap_or_default();
    let long = |cell: &Json| cell.as_i64().unwrap_or(NULL_LONG);
    Ok(match kind {
        ColumnKind::Timestamp => {
            let time = |cell| Time::parse(text(cell).as_bytes()).map(to_timestamp);
            Items::Timestamp(
                cells
                    .map(time)
                    .collect::<Result<_, _>>()
                    .map_err(Failure::run)?,
            )
        }
        ColumnKind::Symbol => Items::Symbol(cells.map(text).collect()),
        ColumnKind::Text => Items::Mixed(cells.map(|cell| Value::text(text(cell))).collect()),
        ColumnKind::Float => Items::Float(
            cells
                .map(|cell| cell.as_f64().unwrap_or(f64::NAN))
                .collect(),
        ),
        ColumnKind::Long => Items::Long(cells.map(long).collect()),
        ColumnKind::Timespan => Items::Timespan(cells.map(long).collect()),
        ColumnKind::Date | ColumnKind::Bool => {
            return Err(Failure::run("the reference's tables have no such column"));
        }
    })
}
