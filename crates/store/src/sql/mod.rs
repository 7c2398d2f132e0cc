//! SQL over a snapshot: one read-only session for each query.
//!
//! Invariant: a query sees the tables of one snapshot and nothing else: no files, no other catalog,
//! no state of another query. Memory and time are limited; a query that hits a limit fails, the
//! process goes on.

mod cell;
mod error;
mod functions;
mod orders;
mod recent_orders;
mod result;
mod tables;
mod values;

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use tokio::time::Instant;

pub use error::{Place, SqlError};
pub use orders::HistoryOrders;
pub use result::{Column, Format, FormatError, QueryResult};
pub use values::Values;

use crate::store::{Snapshot, Store, StoreOptions};
use tables::Tables;
pub(crate) use tables::alerts_schema;

/// Catalog and schema that the tables live in.
const CATALOG: &str = "tapewatch";
const SCHEMA: &str = "public";
/// Functions that make values of any size out of nothing, past the limit on memory. They are left out.
const UNBOUNDED: [&str; 9] = [
    "repeat",
    "lpad",
    "rpad",
    "range",
    "generate_series",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
];

/// As good as none: ten years.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What all queries of a store share.
pub(crate) struct Engine {
    runtime: Arc<RuntimeEnv>,
    timeout: Duration,
}

impl Engine {
    pub(crate) fn new(options: &StoreOptions) -> Result<Self, DataFusionError> {
        let pool = FairSpillPool::new(options.sql_memory_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .build_arc()?;
        Ok(Self {
            runtime,
            timeout: options.sql_timeout,
        })
    }

    /// A session without tables.
    fn session(&self) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_information_schema(true);
        let options = config.options_mut();
        // Names are taken as they are written: `orderAlerts` needs no quotes.
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.collect_spans = true;
        // The reference's views promise the order of arrival, from several files too.
        options.sql_parser.enable_subquery_sort_elimination = false;
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = true;
        options.sql_parser.map_string_types_to_utf8view = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        UNBOUNDED
            .iter()
            .for_each(|name| context.deregister_udf(name));
        functions::all()
            .into_iter()
            .for_each(|f| context.register_udf(f));
        context
    }
}

impl Store {
    /// Runs a query over recent and history as they are now. The result streams.
    ///
    /// # Errors
    /// [`SqlError`] says what is wrong with the query, and where.
    pub async fn sql(&self, query: &str) -> Result<QueryResult, SqlError> {
        self.run(query, self.inner.engine.timeout).await
    }

    /// Runs a query of our own that may take as long as it takes.
    pub(crate) async fn sql_without_time_limit(
        &self,
        query: &str,
    ) -> Result<QueryResult, SqlError> {
        self.run(query, NO_LIMIT).await
    }

    async fn run(&self, query: &str, limit: Duration) -> Result<QueryResult, SqlError> {
        let deadline = Instant::now() + limit.min(NO_LIMIT);
        let run = self.start(self.snapshot(), query, deadline, limit);
        let done = tokio::time::timeout_at(deadline, run).await;
        done.unwrap_or(Err(SqlError::Timeout { limit }))
    }

    async fn start(
        &self,
        snapshot: Snapshot,
        query: &str,
        deadline: Instant,
        limit: Duration,
    ) -> Result<QueryResult, SqlError> {
        let engine = &self.inner.engine;
        let context = engine.session();
        let plan = plan(&context, engine, snapshot, query).await?;
        let fail = |error| SqlError::of(error, query);
        let frame = context.execute_logical_plan(plan).await.map_err(fail)?;
        let stream = frame.execute_stream().await.map_err(fail)?;
        Ok(QueryResult::new(stream, query, deadline, limit))
    }
}

/// Checks the query and plans it over the tables that it names.
async fn plan(
    context: &SessionContext,
    engine: &Engine,
    snapshot: Snapshot,
    query: &str,
) -> Result<LogicalPlan, SqlError> {
    let fail = |error| SqlError::of(error, query);
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(query, &dialect).map_err(fail)?;
    check_statement(&statement)?;
    let tables = Tables::new(engine.session(), snapshot);
    register(context, &state, &tables, &statement)
        .await
        .map_err(fail)?;
    let state = context.state();
    let plan = state.statement_to_plan(statement).await.map_err(fail)?;
    let read_only = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    read_only
        .verify_plan(&plan)
        .map_err(|error| SqlError::ReadOnly {
            message: error::first_line(&error.strip_backtrace()),
        })?;
    Ok(plan)
}

/// Refuses what is not a query before it is planned.
fn check_statement(statement: &Statement) -> Result<(), SqlError> {
    let refused = match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(_)
            | SqlStatement::Explain { .. }
            | SqlStatement::ExplainTable { .. }
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowFunctions { .. } => return Ok(()),
            other => other.to_string(),
        },
        Statement::Explain(explain) => return check_statement(&explain.statement),
        Statement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE".to_owned(),
        Statement::CopyTo(_) => "COPY".to_owned(),
        Statement::Reset(_) => "RESET".to_owned(),
    };
    let word: String = refused
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    Err(SqlError::ReadOnly {
        message: format!("{word} is not a query"),
    })
}

/// Makes the tables known that the statement names; all of them when it asks about tables.
async fn register(
    context: &SessionContext,
    state: &SessionState,
    tables: &Tables,
    statement: &Statement,
) -> Result<(), DataFusionError> {
    let named = state.resolve_table_references(statement)?;
    let is_query = matches!(statement, Statement::Statement(s) if matches!(**s, SqlStatement::Query(_)))
        || matches!(statement, Statement::Explain(_));
    let asks_about_tables = |name: &TableReference| name.schema() == Some("information_schema");
    let all = !is_query || named.iter().any(asks_about_tables);
    for name in tables::NAMES {
        if all || named.iter().any(|reference| reference.table() == name) {
            let table: Arc<dyn TableProvider> = tables.table(name).await?;
            context.register_table(TableReference::bare(name), table)?;
        }
    }
    Ok(())
}
