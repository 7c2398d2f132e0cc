//! What Postgres clients ask a server about itself: `pg_catalog`, its functions, and
//! `information_schema` with Postgres's names of types.
//!
//! Invariant: it is there for statements that name it and cost nothing to others; it is made once, of
//! names and columns, and keeps no rows. What it knows nothing of is empty or NULL.

mod functions;
mod information;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider as _, CatalogProviderList as _, MemoryCatalogProvider,
    MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider, Session, TableProvider,
};
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::datasource::TableType;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{Expr, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArguments, Value, VisitMut as _, VisitorMut,
};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use super::tables::{self, Tables};
use super::{CATALOG, SCHEMA};
use crate::postgres::words;

const PG_CATALOG: &str = "pg_catalog";
const INFORMATION_SCHEMA: &str = "information_schema";

/// Words, beside those that begin with `pg_`, for which a statement needs the catalogue.
const WORDS: [&str; 25] = [
    "array_lower",
    "array_upper",
    "col_description",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_user",
    "format_type",
    "has_any_column_privilege",
    "has_database_privilege",
    "has_schema_privilege",
    "has_table_privilege",
    INFORMATION_SCHEMA,
    "obj_description",
    "parse_ident",
    "quote_ident",
    "regclass",
    "regnamespace",
    "regproc",
    "regtype",
    "session_user",
    "set_config",
    "shobj_description",
    "version",
];

/// Whether a statement names something of it.
pub(super) fn is_named(query: &str) -> bool {
    words(query).any(|word| {
        let word = word.to_ascii_lowercase();
        word.starts_with("pg_") || WORDS.binary_search(&word.as_str()).is_ok()
    })
}

/// The catalogue.
pub(super) struct Catalogue {
    /// A session with its functions, without tables.
    pub(super) state: Arc<SessionState>,
    /// What stands beside the schema of the tables.
    schemas: [(&'static str, Arc<dyn SchemaProvider>); 2],
    parser: PostgresCompatibilityParser,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalogue")
    }
}

impl Catalogue {
    /// Makes it of the tables that there are.
    pub(super) async fn new(base: &SessionState, tables: &Tables<'_>) -> Result<Self> {
        let mut named: Vec<(&'static str, Arc<Named>)> = Vec::new();
        for name in tables::NAMES {
            let table = tables.table(name).await?;
            let (schema, kind) = (table.schema(), table.table_type());
            named.push((name, Arc::new(Named { schema, kind })));
        }
        let public = Arc::new(MemorySchemaProvider::new());
        for (name, table) in &named {
            let table: Arc<dyn TableProvider> = Arc::<Named>::clone(table);
            public.register_table((*name).to_owned(), table)?;
        }
        let catalog = Arc::new(MemoryCatalogProvider::new());
        catalog.register_schema(SCHEMA, public)?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::clone(&catalog) as _);
        let mut state = base.clone();
        state.register_catalog_list(Arc::new(catalogs));
        // That one has Arrow's names of types, and knows nothing of the other schemas.
        state.config_mut().options_mut().catalog.information_schema = false;
        let context = SessionContext::new_with_state(state);
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        functions::register(&context);
        let pg_catalog = catalog
            .schema(PG_CATALOG)
            .ok_or_else(|| plan_datafusion_err!("there is no {PG_CATALOG}"))?;
        let information = information::schema(&named)?;
        let mut state = context.state();
        state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        Ok(Self {
            state: Arc::new(state),
            schemas: [(PG_CATALOG, pg_catalog), (INFORMATION_SCHEMA, information)],
            parser: PostgresCompatibilityParser::new(),
        })
    }

    /// Puts its schemas beside that of the tables.
    pub(super) fn register(&self, state: &SessionState) -> Result<()> {
        let catalog = state
            .catalog_list()
            .catalog(CATALOG)
            .ok_or_else(|| plan_datafusion_err!("there is no catalog"))?;
        for (name, schema) in &self.schemas {
            catalog.register_schema(name, Arc::clone(schema))?;
        }
        Ok(())
    }

    /// The statement, written as the engine understands it.
    pub(super) fn parse(&self, query: &str) -> Result<Statement> {
        let wrong = |error| DataFusionError::SQL(Box::new(error), None);
        let mut statements = self.parser.parse(query).map_err(wrong)?;
        let (Some(mut statement), true) = (statements.pop(), statements.is_empty()) else {
            return plan_err!("one statement is wanted");
        };
        let _ = statement.visit(&mut Rest);
        Ok(Statement::Statement(Box::new(statement)))
    }
}

/// What the parser left that the engine does not plan. A question whether a schema is searched is asked
/// with a subquery that the parser takes for an empty list: it is the schema of the tables that is.
struct Rest;

impl VisitorMut for Rest {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        if let SqlExpr::InList { list, .. } = expr
            && let [SqlExpr::Value(only)] = list.as_mut_slice()
            && let Value::SingleQuotedString(text) = &mut only.value
            && text.is_empty()
        {
            SCHEMA.clone_into(text);
        }
        ControlFlow::Continue(())
    }

    /// Lists that are made of other tables tell of rights and options: there are none.
    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        if let SqlExpr::Function(function) = expr
            && matches!(function.args, FunctionArguments::Subquery(_))
            && function.name.to_string().eq_ignore_ascii_case("array")
        {
            *expr = SqlExpr::Value(Value::Null.into());
        }
        ControlFlow::Continue(())
    }
}

/// A table of which only the columns are told.
#[derive(Debug)]
struct Named {
    schema: SchemaRef,
    kind: TableType,
}

#[async_trait]
impl TableProvider for Named {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan_err!("the catalogue keeps no rows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_it_needs_it() {
        assert!(WORDS.is_sorted());
        for query in [
            "select * from pg_catalog.pg_class",
            "SELECT VERSION()",
            "select current_setting('server_version_num')",
            "select table_name from INFORMATION_SCHEMA.tables",
            "select 'orders'::regclass",
        ] {
            assert!(is_named(query), "{query}");
        }
        for query in [
            "select * from orders where sym = 'pg_class'",
            "select detector_version from hits -- pg_class",
        ] {
            assert!(!is_named(query), "{query}");
        }
    }
}
