//! The tables and views that queries see, made from a snapshot.
//!
//! Invariant: a base table is recent and history with the same columns, and filters reach both; a
//! view is SQL over the base tables and has no rows of its own.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemoryCatalogProviderList, Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue, TableReference};
use datafusion::datasource::MemTable;
use datafusion::datasource::ViewTable;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, Expr, SessionContext, cast, ident, lit};
use deltalake::DeltaTable;
use futures::future::BoxFuture;

use super::Past;
use super::book::QuotesTable;
use super::files::FilesTable;
use super::past_rows::PastTable;
use super::recent_orders::RecentOrdersTable;
use super::spilled::SpilledTable;
use crate::history::History;
use crate::recent::RecentRows;
use crate::schema::{Table, disk_name};
use crate::store::Snapshot;

/// A table, or why it cannot be had.
type Found = Result<Arc<dyn TableProvider>, DataFusionError>;

/// Names of what has rows of its own; the others are views.
pub(crate) const TABLES: [&str; 3] = ["orders", "hits", "dead_letters"];

/// All names.
pub(crate) const NAMES: [&str; 9] = [
    "orders",
    "hits",
    "dead_letters",
    "executions",
    "quotes",
    "alerts",
    "traders",
    "order",
    "orderAlerts",
];

/// The column by which a view that has no `seq` says in which order its rows came.
pub(super) const ARRIVAL: &str = "__arrival";

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
        fields.push(Field::new("severity", DataType::Int32, true));
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

/// The events by which something was traded.
const EXECUTIONS: &str = "SELECT * FROM orders WHERE event_type = 'filled'";

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

/// The query of a view of the reference system with [`ARRIVAL`] beside its columns, and the table that
/// it is over.
pub(super) fn with_arrival(name: &str) -> Option<(String, &'static str)> {
    let (sql, table) = match name {
        "order" => (ORDER, "orders"),
        "orderAlerts" => (ORDER_ALERTS, "hits"),
        _ => return None,
    };
    let column = format!(", seq AS {ARRIVAL}\nFROM ");
    Some((sql.replacen("\nFROM ", &column, 1), table))
}

/// Makes tables from one snapshot.
pub(crate) struct Tables<'a> {
    state: &'a SessionState,
    /// The query's session, with the same catalog, in which the views' SQL is planned too.
    context: OnceLock<SessionContext>,
    snapshot: Snapshot,
    past: Past,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(state: &'a SessionState, snapshot: Snapshot, past: Past) -> Self {
        let context = OnceLock::new();
        Self {
            state,
            context,
            snapshot,
            past,
        }
    }

    fn context(&self) -> &SessionContext {
        let of_state = || SessionContext::new_with_state(self.state.clone());
        self.context.get_or_init(of_state)
    }

    /// The table or view of that name.
    pub(crate) fn table<'b>(&'b self, name: &'b str) -> BoxFuture<'b, Found> {
        Box::pin(async move {
            match name {
                "orders" => self.base(Table::Orders).await,
                "hits" => self.base(Table::Hits).await,
                "dead_letters" => self.base(Table::DeadLetters).await,
                "executions" => self.view("orders", EXECUTIONS).await,
                "quotes" => self.quotes().await,
                "alerts" => self.view("hits", ALERTS).await,
                "traders" => self.view("alerts", TRADERS).await,
                "order" => self.view("orders", ORDER).await,
                "orderAlerts" => self.view("hits", ORDER_ALERTS).await,
                other => Err(DataFusionError::Plan(format!("no table {other}"))),
            }
        })
    }

    async fn quotes(&self) -> Found {
        let orders = self.context().read_table(self.table("orders").await?)?;
        Ok(Arc::new(QuotesTable::new(orders.into_unoptimized_plan())))
    }

    async fn view(&self, over: &str, sql: &str) -> Found {
        if !self.context().table_exist(TableReference::bare(over))? {
            let table = self.table(over).await?;
            self.context()
                .register_table(TableReference::bare(over), table)?;
        }
        let plan = self.context().state().create_logical_plan(sql).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql.trim().to_owned()))))
    }

    /// Recent and history of one table, and what of recent is on disk.
    async fn base(&self, table: Table) -> Found {
        let recent = match table {
            Table::Orders => Arc::new(RecentOrdersTable::new(self.snapshot.orders.clone())),
            Table::Hits => in_memory(table, &self.snapshot.hits)?,
            Table::DeadLetters => in_memory(table, &self.snapshot.dead_letters)?,
        };
        let history = self.snapshot.history.get(table).as_ref();
        let spilled = self.snapshot.spilled.as_ref();
        let spilled = spilled.filter(|_| table == Table::Orders);
        let mut older = Vec::new();
        if let Some(history) = history {
            let marked = (table == Table::Orders).then(|| Arc::clone(history));
            older.push(past_of(self.context(), table, &history.delta, (self.past, marked)).await?);
        }
        if let Some(spilled) = spilled {
            // They are on this disk alone.
            let delta = &spilled.history.delta;
            let rows = past(self.context(), table, delta, Past::Table).await?;
            let rows = SpilledTable::new(Arc::clone(spilled), rows);
            older.push(self.context().read_table(Arc::new(rows))?);
        }
        let older = older
            .into_iter()
            .map(Ok)
            .reduce(|all, one| all?.union(one?));
        let Some(older) = older.transpose()? else {
            return Ok(recent);
        };
        let all = older.union(self.context().read_table(recent)?)?;
        let all = ViewTable::new(all.into_unoptimized_plan(), None);
        Ok(Arc::new(Whole(all)))
    }
}

/// A table of several parts: planned as they are, and a table to who asks what there is.
#[derive(Debug)]
struct Whole(ViewTable);

#[async_trait]
impl TableProvider for Whole {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.0.get_logical_plan()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        self.0.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.0.scan(state, projection, filters, limit).await
    }
}

/// The history of a table with the columns that it has in SQL.
pub(super) async fn past(
    context: &SessionContext,
    table: Table,
    delta: &DeltaTable,
    past: Past,
) -> Result<DataFrame, DataFusionError> {
    past_of(context, table, delta, (past, None)).await
}

/// The same; a plan over it tells of the history that is given.
async fn past_of(
    context: &SessionContext,
    table: Table,
    delta: &DeltaTable,
    (past, history): (Past, Option<Arc<History>>),
) -> Result<DataFrame, DataFusionError> {
    let mut state = context.state();
    // The table keeps a session, which must not keep the table by its catalog.
    state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
    delta
        .update_datafusion_session(&state)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let past: Arc<dyn TableProvider> = match past {
        Past::Files => Arc::new(FilesTable::new(delta)?),
        Past::Table => {
            let session = Arc::new(state.clone());
            let rows = delta.table_provider().with_session(session).await?;
            Arc::new(PastTable::new(rows, history))
        }
    };
    let stored = past.schema();
    let column = |field: &Arc<Field>| -> Expr {
        let name = disk_name(field);
        if stored.index_of(&name).is_err() {
            // A column that this table gets with its next rows.
            let null = lit(ScalarValue::Null);
            return cast(null, field.data_type().clone()).alias(field.name());
        }
        let column = ident(name.as_str());
        let as_wanted = stored
            .field_with_name(&name)
            .is_ok_and(|f| f.data_type() == field.data_type());
        if as_wanted {
            column
        } else {
            cast(column, field.data_type().clone()).alias(field.name())
        }
    };
    let columns: Vec<Expr> = table.schema().fields().iter().map(column).collect();
    SessionContext::new_with_state(state)
        .read_table(past)?
        .select(columns)
}

fn in_memory(table: Table, rows: &RecentRows) -> Found {
    let chunks = rows.chunks().cloned().collect();
    let table = MemTable::try_new(table.schema(), vec![chunks])?;
    let by_seq = vec![ident("seq").sort(true, false)];
    Ok(Arc::new(table.with_sort_order(vec![by_seq])))
}
