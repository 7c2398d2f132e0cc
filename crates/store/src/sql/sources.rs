//! Tables that a query names in texts: `wj1('cancels', 'orders', …)` names one of its `WITH` and one of
//! the catalog.
//!
//! Invariant: a name of the statement's own `WITH` hides a table of that name, as everywhere in SQL;
//! a name inside a `WITH` means what it means there.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Query, Statement as SqlStatement, TableFactor, Value,
    Visit, Visitor,
};

use super::tables;

/// Functions whose first two arguments are names of tables.
const OF_TWO_TABLES: [&str; 3] = ["asof_join", "wj", "wj1"];

/// The plan of each table that is named in a text.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<String, LogicalPlan>>);

impl Sources {
    /// All rows of that table; `None` when the query knows no such table.
    pub(super) fn get(&self, name: &str) -> Option<LogicalPlan> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.get(plain(name)).cloned()
    }

    fn insert(&self, name: &str, plan: LogicalPlan) {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.remove(&format!("{name}{}", tables::ARRIVAL));
        plans.insert(name.to_owned(), plan);
    }

    /// Plans what the statement names; its tables are registered in `state`.
    pub(super) async fn plan(
        &self,
        state: &SessionState,
        statement: &Statement,
        named: &BTreeSet<String>,
    ) -> Result<()> {
        for name in tables::NAMES {
            if named.contains(name) {
                let all = format!("SELECT * FROM tapewatch.public.\"{name}\"");
                self.insert(name, state.create_logical_plan(&all).await?);
                if let Some((sql, _)) = tables::with_arrival(name) {
                    let plan = state.create_logical_plan(&sql).await?;
                    self.insert(&format!("{name}{}", tables::ARRIVAL), plan);
                }
            }
        }
        let Some(query) = sql_of(statement).and_then(query_of) else {
            return Ok(());
        };
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        for (index, cte) in with.enumerate() {
            let name = &cte.alias.name.value;
            if !named.contains(name) {
                continue;
            }
            // The query up to here, and all rows of it.
            let all = format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""));
            let dialect = state.config().options().sql_parser.dialect;
            let mut all = state.sql_to_statement(&all, &dialect)?;
            if let Some(SqlStatement::Query(all)) = sql_of_mut(&mut all) {
                all.with.clone_from(&query.with);
                if let Some(with) = &mut all.with {
                    with.cte_tables.truncate(index + 1);
                }
            }
            self.insert(name, state.statement_to_plan(all).await?);
        }
        Ok(())
    }
}

/// The name without the catalog and the schema that all tables are in.
fn plain(name: &str) -> &str {
    let name = name.strip_prefix("tapewatch.").unwrap_or(name);
    name.strip_prefix("public.").unwrap_or(name)
}

/// The names of tables in texts.
pub(super) fn named(statement: &Statement) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let Some((function, arguments)) = call(factor) {
                if function == super::book::NAME {
                    self.0.insert("orders".to_owned());
                }
                if OF_TWO_TABLES.contains(&function) {
                    let texts = arguments.iter().take(2).filter_map(text);
                    for name in texts.map(plain) {
                        self.0.insert(name.to_owned());
                        let below = tables::with_arrival(name).map(|(_, table)| table.to_owned());
                        self.0.extend(below);
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    if let Some(statement) = sql_of(statement) {
        let _ = statement.visit(&mut names);
    }
    names.0
}

/// The function and its arguments, if that is what rows come from.
pub(super) fn call(factor: &TableFactor) -> Option<(&str, &[FunctionArg])> {
    match factor {
        TableFactor::Table {
            name,
            args: Some(arguments),
            ..
        } => match name.0.as_slice() {
            [only] => Some((only.as_ident()?.value.as_str(), &arguments.args)),
            _ => None,
        },
        _ => None,
    }
}

fn text(argument: &FunctionArg) -> Option<&str> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument else {
        return None;
    };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// The statement of the language itself, within DataFusion's own.
pub(super) fn sql_of(statement: &Statement) -> Option<&SqlStatement> {
    match statement {
        Statement::Statement(statement) => Some(statement),
        Statement::Explain(explain) => sql_of(&explain.statement),
        _ => None,
    }
}

/// The same, to change.
pub(super) fn sql_of_mut(statement: &mut Statement) -> Option<&mut SqlStatement> {
    match statement {
        Statement::Statement(statement) => Some(statement),
        Statement::Explain(explain) => sql_of_mut(&mut explain.statement),
        _ => None,
    }
}

fn query_of(statement: &SqlStatement) -> Option<&Query> {
    match statement {
        SqlStatement::Query(query) => Some(query),
        SqlStatement::Explain { statement, .. } => query_of(statement),
        _ => None,
    }
}
