//! Tables as they stood: `orders_as_of(12)`, `hits_as_of('2026-01-31T18:00:00Z')`.
//!
//! Invariant: it has the columns of the table and the rows of that version of the history, whatever
//! came since; rows that were in memory then are not of it. The log is read when the query runs.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, Expr, ident};
use tapewatch_model::Time;

use super::Engine;
use super::tables::past;
use crate::history::History;
use crate::schema::Table;
use crate::versions::{self, When};

/// The function of a table.
pub(super) struct AsOf {
    pub(super) table: Table,
    pub(super) history: Option<Arc<History>>,
    /// What the history is planned in.
    pub(super) engine: Engine,
}

/// The table as it stood.
struct TableAsOf {
    table: Table,
    history: Arc<History>,
    engine: Engine,
    when: When,
}

impl AsOf {
    /// Name in SQL.
    pub(super) fn name(&self) -> String {
        format!("{}_as_of", self.table.name())
    }
}

impl fmt::Debug for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for TableAsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as of {}", self.table.name(), self.when)
    }
}

impl TableFunctionImpl for AsOf {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let when = match args.exprs() {
            [only] => when(only),
            _ => None,
        };
        let Some(when) = when else {
            return plan_err!(
                "{}(...) takes the number of a version or a time such as '2026-01-31T18:00:00Z'",
                self.name()
            );
        };
        let Some(history) = &self.history else {
            return plan_err!("table {} has no history yet", self.table.name());
        };
        Ok(Arc::new(TableAsOf {
            table: self.table,
            history: Arc::clone(history),
            engine: self.engine.clone(),
            when,
        }))
    }
}

fn when(argument: &Expr) -> Option<When> {
    let Expr::Literal(value, _) = argument else {
        return match argument {
            Expr::Cast(cast) => when(&cast.expr),
            _ => None,
        };
    };
    match value {
        ScalarValue::Int64(Some(version)) => u64::try_from(*version).ok().map(When::Version),
        ScalarValue::Utf8(Some(time)) => Time::parse(time.as_bytes()).ok().map(When::Time),
        ScalarValue::TimestampNanosecond(Some(nanos), _) => {
            Some(When::Time(Time::from_nanos(*nanos)))
        }
        _ => None,
    }
}

#[async_trait]
impl TableProvider for TableAsOf {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let delta = versions::at(&self.history, self.table, &self.when).await;
        let delta = delta.map_err(|error| DataFusionError::Execution(error.to_string()))?;
        let session = self.engine.session();
        let rows = past(&session, self.table, &delta, self.engine.past).await?;
        planned(rows, projection, filters, limit).await
    }
}

/// A plan for some of the rows, with some of the columns.
pub(super) async fn planned(
    mut rows: DataFrame,
    projection: Option<&Vec<usize>>,
    filters: &[Expr],
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    for filter in filters {
        rows = rows.filter(unqualified(filter.clone())?)?;
    }
    if let Some(columns) = projection {
        let names = columns.iter().filter_map(|&column| {
            let (_, field) = rows.schema().iter().nth(column)?;
            Some(ident(field.name()))
        });
        let names: Vec<_> = names.collect();
        rows = rows.select(names)?;
    }
    rows.limit(0, limit)?.create_physical_plan().await
}

/// The filter without the name that the query gives the table.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode as _};
    let plain = filter.transform(|part| {
        Ok(match part {
            Expr::Column(column) => Transformed::yes(ident(column.name)),
            other => Transformed::no(other),
        })
    });
    Ok(plain?.data)
}
