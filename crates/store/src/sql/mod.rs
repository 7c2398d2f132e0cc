//! SQL over a snapshot: one read-only session for each query.
//!
//! Invariant: a query sees the tables of one snapshot and nothing else: no files, no other catalog,
//! no state of another query. Memory and time are limited; a query that hits a limit fails, the
//! process goes on.

mod arguments;
mod as_of;
mod as_written;
mod book;
mod catalogue;
mod cell;
mod checked;
mod distinct;
mod encode;
mod error;
mod files;
mod functions;
mod groups;
mod order_history;
mod orders;
mod past_columns;
mod past_groups;
mod past_parts;
mod past_picked;
mod past_rows;
mod picked;
mod recent_orders;
mod recent_scan;
mod result;
mod simple;
mod sources;
mod spilled;
mod statement;
mod suggest;
mod sum;
mod tables;
mod values;
mod window_join;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ballista_core::extension::SessionConfigExt as _;
use ballista_core::optimizer::with_ballista_optimizer_rules;
use datafusion::catalog::{
    CatalogProvider as _, CatalogProviderList as _, MemoryCatalogProvider,
    MemoryCatalogProviderList, MemorySchemaProvider, TableProvider,
};
use datafusion::common::{DataFusionError, TableReference, internal_err};
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryLimit, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry as _, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{
    LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use tokio::sync::OnceCell;

pub(crate) use cell::Cells;
pub use encode::{Format, FormatError};
pub use error::{Place, SqlError};
pub(crate) use error::{failed, first_line};
pub use orders::HistoryOrders;
pub(crate) use result::{Begun, Execution};
pub use result::{Chunks, Column, QueryResult};
pub use values::Values;

use crate::place::Home;
use crate::query::{Door, Stop};
use crate::schema::Table;
use crate::store::{Snapshot, Store, StoreOptions};
use book::BookAt;
use catalogue::Catalogue;
use simple::Simple;
use sources::Sources;
use tables::Tables;
pub(crate) use tables::{NAMES, TABLES, alerts_schema};
use window_join::{Kind, WindowJoin};

/// Catalog and schema that the tables live in.
pub(crate) const CATALOG: &str = "tapewatch";
pub(crate) const SCHEMA: &str = "public";
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
/// What a sort sets aside for merging what it spilled, at most.
const MERGE_BYTES_MAX: usize = 10 << 20;

/// What plans and runs statements, with a pool of memory and a directory for what spills.
#[derive(Clone)]
pub(crate) struct Engine {
    /// Of a session without tables: what takes long to make, functions and rules.
    state: Arc<SessionState>,
    /// What Postgres clients ask about; made when the first one asks.
    catalogue: Arc<OnceCell<Catalogue>>,
    /// Plans what needs few rules.
    simple: Arc<Simple>,
    /// What plans run in.
    runtime: Arc<RuntimeEnv>,
    spill_bytes_max: u64,
    /// How the history is read.
    past: Past,
}

/// How the history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// As a Delta table.
    Table,
    /// As files, whose names another process can be told.
    Files,
}

impl Engine {
    pub(crate) fn new(options: &StoreOptions) -> Result<Self, DataFusionError> {
        // What the process asks itself has a pool like that of one query.
        let pool = FairSpillPool::new(options.sql_query_memory_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .build_arc()?;
        let mut config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_information_schema(true);
        let options_of_engine = config.options_mut();
        // Names are taken as they are written: `orderAlerts` needs no quotes.
        options_of_engine.sql_parser.enable_ident_normalization = false;
        options_of_engine.sql_parser.collect_spans = true;
        // The reference's views promise the order of arrival, from several files too.
        options_of_engine
            .sql_parser
            .enable_subquery_sort_elimination = false;
        options_of_engine.execution.parquet.schema_force_view_types = false;
        options_of_engine.execution.parquet.pushdown_filters = true;
        options_of_engine.sql_parser.map_string_types_to_utf8view = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&runtime))
            .with_default_features()
            .with_optimizer_rules(distinct::rules())
            .with_physical_optimizer_rule(Arc::new(groups::GroupByCodes))
            .build();
        let context = SessionContext::new_with_state(state);
        UNBOUNDED
            .iter()
            .for_each(|name| context.deregister_udf(name));
        functions::all()
            .into_iter()
            .for_each(|f| context.register_udf(f));
        context.register_udaf(sum::checked_sum());
        let mut state = context.state();
        for function in checked::functions() {
            state.register_udf(function)?;
        }
        state.register_function_rewrite(Arc::new(checked::CheckWholeNumbers::new()))?;
        state.register_function_rewrite(Arc::new(as_written::NumbersAsWritten))?;
        Ok(Self {
            simple: Arc::new(Simple::of(state.clone())),
            state: Arc::new(state),
            catalogue: Arc::default(),
            runtime,
            spill_bytes_max: options.sql_spill_bytes_max,
            past: Past::Table,
        })
    }

    /// The same that makes plans which other processes can run, whose rows are divided in so many parts.
    pub(crate) fn for_cluster(&self, parts: usize) -> Self {
        let config = self.state.config().clone().upgrade_for_ballista();
        let config = config
            .with_target_partitions(parts.max(1))
            // Of plans that are made here the scheduler chooses nothing anew.
            .set_bool("ballista.planner.adaptive.enabled", false);
        let rules = self.state.physical_optimizers().iter();
        let rules = rules.filter(|rule| rule.name() != groups::GroupByCodes.name());
        let state = SessionStateBuilder::new_from_existing(SessionState::clone(&self.state))
            .with_config(config)
            .with_optimizer_rules(with_ballista_optimizer_rules(self.state.optimizers()))
            .with_physical_optimizer_rules(rules.cloned().collect())
            .build();
        Self {
            state: Arc::new(state),
            past: Past::Files,
            ..self.clone()
        }
    }

    /// A session without tables.
    pub(crate) fn state(&self) -> SessionState {
        SessionState::clone(&self.state)
    }

    /// Makes a place of history known, so that its files can be read by their names.
    pub(crate) fn knows(&self, home: &Home) -> Result<(), DataFusionError> {
        home.register(&self.runtime)
    }

    /// The same for one query, with memory and disk of its own; what was read of files is shared.
    pub(crate) fn with_pool(&self, pool: Arc<dyn MemoryPool>) -> Result<Self, SqlError> {
        let disk = DiskManagerBuilder::default().with_max_temp_directory_size(self.spill_bytes_max);
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(pool)
            .with_disk_manager_builder(disk)
            .build_arc();
        Ok(Self {
            runtime: runtime.map_err(|error| SqlError::of(error, ""))?,
            ..self.clone()
        })
    }

    /// The same as [`Self::plan`], for a client of that door.
    pub(crate) async fn plan_at(
        &self,
        door: Door,
        snapshot: Snapshot,
        query: &str,
    ) -> Result<(SessionState, LogicalPlan), SqlError> {
        if door != Door::Postgres || !catalogue::is_named(query) {
            return self.plan(snapshot, query).await;
        }
        statement::check_text(query)?;
        let fail = |error| SqlError::of(error, query);
        let made = self.catalogue.get_or_try_init(|| async {
            let state = own(&self.state);
            let tables = Tables::new(&state, snapshot.clone(), self.past);
            Catalogue::new(&self.state, &tables).await
        });
        let catalogue = made.await.map_err(fail)?;
        let state = own(&catalogue.state);
        catalogue.register(&state).map_err(fail)?;
        let statement = catalogue.parse(query).map_err(fail)?;
        self.planned(state, snapshot, (query, statement)).await
    }

    /// Checks a statement and plans it over the tables that it names, in a session of its own. A
    /// session is hundreds of functions by name: it is copied as seldom as can be.
    pub(crate) async fn plan(
        &self,
        snapshot: Snapshot,
        query: &str,
    ) -> Result<(SessionState, LogicalPlan), SqlError> {
        statement::check_text(query)?;
        let state = own(&self.state);
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(query, &dialect);
        let statement = statement.map_err(|error| SqlError::of(error, query))?;
        self.planned(state, snapshot, (query, statement)).await
    }

    async fn planned(
        &self,
        mut state: SessionState,
        snapshot: Snapshot,
        (query, mut statement): (&str, Statement),
    ) -> Result<(SessionState, LogicalPlan), SqlError> {
        let fail = |error| SqlError::of(error, query);
        state.mark_start_execution();
        let sources = Arc::new(Sources::default());
        register_joins(&mut state, &sources);
        for table in Table::ALL {
            let function = as_of::AsOf {
                table,
                history: snapshot.history.get(table).clone(),
                engine: self.clone(),
            };
            state.register_udtf(&function.name(), Arc::new(function));
        }
        statement::check(&statement)?;
        order_history::write_out(&state, &mut statement).map_err(fail)?;
        let of_texts = sources::named(&statement);
        let tables = Tables::new(&state, snapshot, self.past);
        let registered = register(&state, &tables, &statement, &of_texts).await;
        registered.map_err(fail)?;
        let planned = sources.plan(&state, &statement, &of_texts).await;
        planned.map_err(fail)?;
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
        Ok((state, plan))
    }

    /// A plan of that session as it runs.
    async fn physical(
        &self,
        session: &SessionState,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        match self.simple.plan(session, plan).await? {
            Some(plan) => Ok(plan),
            None => session.create_physical_plan(plan).await,
        }
    }

    /// What a plan of that session runs in.
    pub(crate) fn task(&self, session: &SessionState) -> TaskContext {
        let mut config = session.config().clone();
        if let MemoryLimit::Finite(bytes) = self.runtime.memory_pool.memory_limit() {
            let merging = (bytes / 32).min(MERGE_BYTES_MAX);
            config = config.with_sort_spill_reservation_bytes(merging);
        }
        // What runs has its functions; none is looked up by its name.
        TaskContext::new(
            None,
            session.session_id().to_owned(),
            config,
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::clone(&self.runtime),
        )
    }

    /// A session of those of this engine, without tables, with a catalog of its own.
    fn session(&self) -> SessionContext {
        SessionContext::new_with_state(own(&self.state))
    }
}

/// The same session with a catalog of its own, which has no tables.
fn own(state: &SessionState) -> SessionState {
    let catalog = MemoryCatalogProvider::new();
    let schema = Arc::new(MemorySchemaProvider::new());
    let catalogs = MemoryCatalogProviderList::new();
    // A catalog in memory takes every schema.
    if catalog.register_schema(SCHEMA, schema).is_ok() {
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    }
    let mut state = state.clone();
    state.register_catalog_list(Arc::new(catalogs));
    state
}

impl Store {
    /// Runs a query of our own, here and at once: it may take as long as it takes.
    pub(crate) async fn own_sql(&self, query: &str) -> Result<QueryResult, SqlError> {
        let (engine, snapshot) = (&self.inner.engine, self.snapshot());
        let histories = snapshot.history.clone();
        let planned = engine.plan(snapshot, query).await?;
        let stop = Stop::default();
        let execution = Execution::start(engine, planned, query, histories, &stop).await?;
        Ok(QueryResult::here(self.clone(), execution))
    }
}

/// Makes the functions known that take tables by their names.
fn register_joins(state: &mut SessionState, sources: &Arc<Sources>) {
    for kind in [Kind::Asof, Kind::Wj, Kind::Wj1] {
        let sources = Arc::clone(sources);
        let function = WindowJoin { kind, sources };
        state.register_udtf(kind.name(), Arc::new(function));
    }
    let sources = Arc::clone(sources);
    state.register_udtf(book::NAME, Arc::new(BookAt { sources }));
}

/// Makes the tables known that the statement names; all of them when it asks about tables.
async fn register(
    state: &SessionState,
    tables: &Tables<'_>,
    statement: &Statement,
    of_texts: &BTreeSet<String>,
) -> Result<(), DataFusionError> {
    let named = state.resolve_table_references(statement)?;
    let is_query = matches!(statement, Statement::Statement(s) if matches!(**s, SqlStatement::Query(_)))
        || matches!(statement, Statement::Explain(_));
    let asks_about_tables = |name: &TableReference| name.schema() == Some("information_schema");
    let all = !is_query || named.iter().any(asks_about_tables);
    let catalog = state.catalog_list().catalog(CATALOG);
    let Some(schema) = catalog.and_then(|catalog| catalog.schema(SCHEMA)) else {
        return internal_err!("a session has no catalog");
    };
    for name in tables::NAMES {
        let is_named = named.iter().any(|reference| reference.table() == name);
        let wanted = all || is_named || of_texts.contains(name);
        // A view before it may be over it.
        if wanted && !schema.table_exist(name) {
            let table: Arc<dyn TableProvider> = tables.table(name).await?;
            schema.register_table(name.to_owned(), table)?;
        }
    }
    Ok(())
}

/// Columns of a step, ascending, NULL first.
fn ascending(
    step: &Arc<dyn ExecutionPlan>,
    columns: impl Iterator<Item = usize>,
) -> Option<OrderingRequirements> {
    let schema = step.schema();
    let sorts = columns.filter_map(|at| {
        let name = schema.fields().get(at)?.name();
        let column: Arc<dyn PhysicalExpr> = Arc::new(PhysicalColumn::new(name, at));
        Some(PhysicalSortExpr::new_default(column).asc().nulls_first())
    });
    LexOrdering::new(sorts.collect::<Vec<_>>()).map(OrderingRequirements::from)
}
