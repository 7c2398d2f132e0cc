//! Joins by time: `asof_join`, and the window joins `wj` and `wj1` of kdb+.
//!
//! Invariant: each row of the left side comes out once, whatever the right side has. Rows belong
//! together when their keys are equal, NULL to NULL. Right rows of one time stand in the order of
//! their `seq`, where they have one.

mod call;
mod columns;
mod exec;
mod fold;
mod right;
mod running;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, Result, plan_datafusion_err, plan_err};
use datafusion::datasource::TableType;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{Expr, cast, col, ident};

use super::sources::Sources;
use super::tables::ARRIVAL;
use call::{Call, Pair};
use columns::Measured;
use exec::{Output, WindowJoinExec};

pub(super) use call::Kind;

/// One of the three functions.
pub(super) struct WindowJoin {
    pub(super) kind: Kind,
    pub(super) sources: Arc<Sources>,
}

impl fmt::Debug for WindowJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())
    }
}

impl TableFunctionImpl for WindowJoin {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let call = Call::read(self.kind, args.exprs())?;
        let state = args.session().as_any().downcast_ref::<SessionState>();
        let state = state.ok_or_else(|| plan_datafusion_err!("no session"))?;
        Ok(Arc::new(Joined::new(call, &self.sources, state)?))
    }
}

/// A column of each side whose values are compared, as the type that both can be.
#[derive(Debug)]
struct Compared {
    left: String,
    right: String,
    kind: DataType,
    /// Whether both are of that type already.
    same: bool,
}

/// What a call means.
#[derive(Debug)]
struct Joined {
    call: Call,
    left: LogicalPlan,
    right: LogicalPlan,
    keys: Vec<Compared>,
    measured: Vec<Measured>,
    /// Columns of the left side, then what is measured.
    schema: SchemaRef,
}

impl Joined {
    fn new(call: Call, sources: &Sources, state: &SessionState) -> Result<Self> {
        let find = |name: &str, side: &str| {
            let found = match side {
                "right" => sources.get(&format!("{name}{ARRIVAL}")),
                _ => None,
            };
            let plan = found.or_else(|| sources.get(name));
            let plan = plan.ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))?;
            LogicalPlanBuilder::from(plan).alias(side)?.build()
        };
        let (left, right) = (find(&call.left, "left")?, find(&call.right, "right")?);
        let compared = |pair: &Pair| -> Result<Compared> {
            let (l, r) = (kind(&left, &pair.left)?, kind(&right, &pair.right)?);
            let common = comparison_coercion(&l, &r).ok_or_else(|| {
                plan_datafusion_err!("key {}: {l} cannot be compared with {r}", pair.left)
            })?;
            Ok(Compared {
                left: pair.left.clone(),
                right: pair.right.clone(),
                same: l == common && r == common,
                kind: match common {
                    DataType::Dictionary(_, values) => *values,
                    other => other,
                },
            })
        };
        let keys = call.keys.iter().map(compared).collect::<Result<Vec<_>>>()?;
        for (plan, column) in [(&left, &call.time.left), (&right, &call.time.right)] {
            if !matches!(kind(plan, column)?, DataType::Timestamp(..)) {
                return plan_err!("column {column} is no TIMESTAMP");
            }
        }
        let measured = columns::measured(&call, &left, &right, state)?;
        let mut fields: Vec<Arc<Field>> = left.schema().fields().iter().cloned().collect();
        fields.extend(measured.iter().map(|measured| Arc::new(measured.field())));
        Ok(Self {
            call,
            left,
            right,
            keys,
            measured,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    fn left_width(&self) -> usize {
        self.left.schema().fields().len()
    }

    /// The names of the filter's columns on the right side, when both sides can be asked the same.
    fn right_names(&self, filter: &Expr) -> Option<HashMap<String, String>> {
        let key = |column: &&Column| {
            let mut keys = self.keys.iter();
            let key = keys.find(|key| key.same && key.left == column.name)?;
            Some((key.left.clone(), key.right.clone()))
        };
        filter.column_refs().iter().map(key).collect()
    }

    /// The left side: the columns that are wanted, the keys, the time.
    fn left_plan(&self, wanted: &[usize], filters: &[Expr]) -> Result<LogicalPlan> {
        let mut rows = LogicalPlanBuilder::from(self.left.clone());
        for filter in filters {
            rows = rows.filter(renamed(filter.clone(), None)?)?;
        }
        let fields = self.schema.fields();
        let wanted = wanted.iter().filter_map(|&column| fields.get(column));
        let mut columns: Vec<Expr> = wanted.map(|f| of("left", f.name())).collect();
        let keys = self.keys.iter().enumerate();
        columns.extend(keys.map(|(at, key)| helper("left", &key.left, &key.kind, at)));
        columns.push(self.time("left", &self.call.time.left)?);
        rows.project(columns)?.build()
    }

    /// The right side: the keys, the time, what is measured, and what orders rows of one time.
    fn right_plan(&self, measured: &[&Measured], filters: &[Expr]) -> Result<LogicalPlan> {
        let mut rows = LogicalPlanBuilder::from(self.right.clone());
        for filter in filters {
            if let Some(names) = self.right_names(filter) {
                rows = rows.filter(renamed(filter.clone(), Some(&names))?)?;
            }
        }
        rows = rows.filter(of("right", &self.call.time.right).is_not_null())?;
        let keys = self.keys.iter().enumerate();
        let mut columns: Vec<Expr> = keys
            .map(|(at, key)| helper("right", &key.right, &key.kind, at))
            .collect();
        columns.push(self.time("right", &self.call.time.right)?);
        let arguments = measured.iter().enumerate();
        columns
            .extend(arguments.map(|(at, m)| m.argument.clone().alias(format!("__measured{at}"))));
        let schema = self.right.schema();
        let order = [ARRIVAL, "seq"].into_iter();
        let mut order = order.filter(|name| schema.has_column_with_unqualified_name(name));
        columns.extend(order.next().map(|name| of("right", name).alias("__order")));
        rows.project(columns)?.build()
    }

    /// A time as nanoseconds.
    fn time(&self, side: &str, column: &str) -> Result<Expr> {
        let plan = if side == "left" {
            &self.left
        } else {
            &self.right
        };
        let zone = match kind(plan, column)? {
            DataType::Timestamp(_, zone) => zone,
            _ => None,
        };
        let kind = DataType::Timestamp(TimeUnit::Nanosecond, zone);
        Ok(cast(of(side, column), kind).alias("__time"))
    }
}

#[async_trait]
impl TableProvider for Joined {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// What is asked of the left side's columns is asked of it; of keys, of both sides.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let of_left = |filter: &&Expr| {
            let columns = filter.column_refs();
            let mut indexes = columns.iter().map(|c| self.schema.index_of(&c.name));
            let left = indexes.all(|index| index.is_ok_and(|index| index < self.left_width()));
            match left && !filter.is_volatile() {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(of_left).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let (mut left, mut measured, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for &column in wanted {
            let measure = column.checked_sub(self.left_width());
            match measure.and_then(|at| self.measured.get(at)) {
                Some(measure) => {
                    outputs.push(Output::Measured(measured.len()));
                    measured.push(measure);
                }
                None => {
                    outputs.push(Output::Left(left.len()));
                    left.push(column);
                }
            }
        }
        let left_plan = self.left_plan(&left, filters)?;
        let right_plan = self.right_plan(&measured, filters)?;
        let functions = measured.iter().map(|m| (m.function, m.kind.clone()));
        let exec = WindowJoinExec::new(
            state.create_physical_plan(&left_plan).await?,
            state.create_physical_plan(&right_plan).await?,
            exec::Plan {
                left_columns: left.len(),
                keys: self.keys.len(),
                window: self.call.window,
                functions: functions.collect(),
                outputs,
                schema: Arc::new(self.schema.project(wanted)?),
            },
        );
        Ok(Arc::new(exec?))
    }
}

/// The type of a column.
fn kind(plan: &LogicalPlan, column: &str) -> Result<DataType> {
    let field = plan.schema().field_with_unqualified_name(column)?;
    Ok(field.data_type().clone())
}

fn of(side: &str, column: &str) -> Expr {
    col(Column::new(Some(side), column))
}

fn helper(side: &str, column: &str, kind: &DataType, at: usize) -> Expr {
    cast(of(side, column), kind.clone()).alias(format!("__key{at}"))
}

/// The filter with other names, without that which the query gives the join.
fn renamed(filter: Expr, names: Option<&HashMap<String, String>>) -> Result<Expr> {
    let plain = filter.transform(|part| {
        Ok(match part {
            Expr::Column(column) => {
                let name = names.and_then(|names| names.get(&column.name));
                Transformed::yes(ident(name.unwrap_or(&column.name)))
            }
            other => Transformed::no(other),
        })
    });
    Ok(plain?.data)
}
