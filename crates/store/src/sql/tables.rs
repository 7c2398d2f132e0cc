//! The tables and views that queries see, made from a snapshot.
//!
//! Invariant: a base table is recent and history with the same columns, and filters reach both; a
//! view is SQL over the base tables and has no rows of its own.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, ScalarValue, TableReference};
use datafusion::datasource::MemTable;
use datafusion::datasource::ViewTable;
use datafusion::prelude::{Expr, SessionContext, cast, ident, lit};
use futures::future::BoxFuture;

use super::recent_orders::RecentOrdersTable;
use crate::recent::RecentRows;
use crate::schema::{Table, disk_name};
use crate::store::Snapshot;

/// A table, or why it cannot be had.
type Found = Result<Arc<dyn TableProvider>, DataFusionError>;

/// All names.
pub(crate) const NAMES: [&str; 7] = [
    "orders",
    "hits",
    "dead_letters",
    "alerts",
    "traders",
    "order",
    "orderAlerts",
];

/// One row an alert: the last hit's values, the gravest hit's severity. It is suppressed when all its
/// hits are.
const ALERTS: &str = r#"
SELECT h.alert_id, h.detector, h.detector_version, h.config_version, h.sym, h.trader, h.side,
       h.alert_time AS first_time, h.time, g.hits, h.seq, h.event_type, h.order_id, h.price,
       h.quantity, h.measures, h.lookback_ns, h.evidence, h.evidence_total, h.text,
       h.account, h.exec_id, h.display_quantity, h.flags, g.severity,
       CASE WHEN g.open = 0 THEN h.suppressed END AS suppressed
FROM (SELECT alert_id, max(seq) AS last, count(*) AS hits, max(severity(measures)) AS severity,
             count(*) FILTER (WHERE suppressed IS NULL) AS open
      FROM hits GROUP BY alert_id) g
JOIN hits h ON h.alert_id = g.alert_id AND h.seq = g.last
"#;

/// The columns of [`ALERTS`].
pub(crate) fn alerts_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let hits = Table::Hits.schema();
        let of_hits = |name: &str, column: &str| match hits.field_with_name(column) {
            Ok(field) => field.clone().with_name(name),
            Err(error) => unreachable!("hits have this column: {error}"),
        };
        let same = |name: &'static str| of_hits(name, name);
        let fields = [
            "alert_id",
            "detector",
            "detector_version",
            "config_version",
            "sym",
            "trader",
            "side",
        ];
        let mut fields: Vec<Field> = fields.into_iter().map(same).collect();
        fields.push(of_hits("first_time", "alert_time"));
        fields.push(same("time"));
        fields.push(Field::new("hits", DataType::Int64, false));
        let rest = [
            "seq",
            "event_type",
            "order_id",
            "price",
            "quantity",
            "measures",
            "lookback_ns",
            "evidence",
            "evidence_total",
            "text",
            "account",
            "exec_id",
            "display_quantity",
            "flags",
        ];
        fields.extend(rest.into_iter().map(same));
        fields.push(Field::new("severity", DataType::Int64, true));
        fields.push(same("suppressed"));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// One row a trader, over all detectors: of alerts that are not suppressed, the gravest traders first.
const TRADERS: &str = r#"
SELECT trader, count(*) AS alerts, max(severity) AS severity, count(DISTINCT detector) AS detectors,
       count(DISTINCT sym) AS syms, CAST(sum(hits) AS BIGINT) AS hits, min(first_time) AS first_time,
       max(time) AS time, string_agg(DISTINCT detector, ' ' ORDER BY detector) AS detector_ids
FROM alerts WHERE suppressed IS NULL GROUP BY trader ORDER BY severity DESC, alerts DESC, trader
"#;

/// The reference system's table of orders.
const ORDER: &str = r#"
SELECT arrow_cast(time, 'Timestamp(Nanosecond, None)') AS time, sym, event_type AS "eventType",
       trader, side, order_id AS "orderID", CAST(price AS DOUBLE) AS price,
       CAST(quantity AS DOUBLE) AS quantity
FROM orders ORDER BY seq
"#;

/// The reference system's table of alerts: one row a hit.
const ORDER_ALERTS: &str = r#"
SELECT arrow_cast(time, 'Timestamp(Nanosecond, None)') AS time, sym, event_type AS "eventType",
       trader, side, order_id AS "orderID", CAST(price AS DOUBLE) AS price,
       CAST(quantity AS DOUBLE) AS quantity, detector AS "alertName",
       CAST(measure(measures, 'cancel_quantity') AS DOUBLE) AS "totalCancelQty",
       CAST(measure(measures, 'cancel_count') AS BIGINT) AS "totalCancelCount",
       CAST(threshold(measures, 'cancel_quantity') AS BIGINT) AS "cancelQtyThreshold",
       CAST(threshold(measures, 'cancel_count') AS BIGINT) AS "cancelCountThreshold",
       kdb_timespan(lookback_ns) AS "lookbackInterval"
FROM hits WHERE detector = 'spoofing' ORDER BY seq
"#;

/// Makes tables from one snapshot.
pub(crate) struct Tables {
    /// A session in which the views' SQL is planned.
    context: SessionContext,
    snapshot: Snapshot,
}

impl Tables {
    pub(crate) fn new(context: SessionContext, snapshot: Snapshot) -> Self {
        Self { context, snapshot }
    }

    /// The table or view of that name.
    pub(crate) fn table<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Found> {
        Box::pin(async move {
            match name {
                "orders" => self.base(Table::Orders).await,
                "hits" => self.base(Table::Hits).await,
                "dead_letters" => self.base(Table::DeadLetters).await,
                "alerts" => self.view("hits", ALERTS).await,
                "traders" => self.view("alerts", TRADERS).await,
                "order" => self.view("orders", ORDER).await,
                "orderAlerts" => self.view("hits", ORDER_ALERTS).await,
                other => Err(DataFusionError::Plan(format!("no table {other}"))),
            }
        })
    }

    async fn view(&self, over: &str, sql: &str) -> Found {
        if !self.context.table_exist(TableReference::bare(over))? {
            let table = self.table(over).await?;
            self.context
                .register_table(TableReference::bare(over), table)?;
        }
        let plan = self.context.state().create_logical_plan(sql).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql.trim().to_owned()))))
    }

    /// Recent and history of one table.
    async fn base(&self, table: Table) -> Found {
        let schema = table.schema();
        let recent = match table {
            Table::Orders => Arc::new(RecentOrdersTable::new(&self.snapshot.orders)),
            Table::Hits => in_memory(table, &self.snapshot.hits)?,
            Table::DeadLetters => in_memory(table, &self.snapshot.dead_letters)?,
        };
        let Some(history) = self.snapshot.history.get(table) else {
            return Ok(recent);
        };
        let state = self.context.state();
        history
            .delta
            .update_datafusion_session(&state)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let past = history
            .delta
            .table_provider()
            .with_session(Arc::new(state))
            .await?;
        let stored = past.schema();
        let column = |field: &Arc<arrow::datatypes::Field>| -> Expr {
            let name = disk_name(field);
            if stored.index_of(&name).is_err() {
                // A column that this table gets with its next rows.
                return cast(lit(ScalarValue::Null), field.data_type().clone()).alias(name);
            }
            let column = ident(name.as_str());
            let as_wanted = stored
                .field_with_name(&name)
                .is_ok_and(|f| f.data_type() == field.data_type());
            if as_wanted {
                column
            } else if matches!(field.data_type(), DataType::Timestamp(..)) {
                cast(column, field.data_type().clone()).alias(field.name())
            } else {
                cast(column, field.data_type().clone()).alias(name)
            }
        };
        let columns: Vec<Expr> = schema.fields().iter().map(column).collect();
        let past = self.context.read_table(past)?.select(columns)?;
        let both = past.union(self.context.read_table(recent)?)?;
        Ok(Arc::new(ViewTable::new(both.into_unoptimized_plan(), None)))
    }
}

fn in_memory(table: Table, rows: &RecentRows) -> Found {
    let chunks = rows.chunks().cloned().collect();
    let table = MemTable::try_new(table.schema(), vec![chunks])?;
    let by_seq = vec![ident("seq").sort(true, false)];
    Ok(Arc::new(table.with_sort_order(vec![by_seq])))
}
