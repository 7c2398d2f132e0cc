//! What is measured in each window.
//!
//! Invariant: a measure is an aggregate over one expression of the right side, with a type that its
//! values fit or an error says so.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, Result, plan_datafusion_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{ExprSchemable as _, LogicalPlan, when};
use datafusion::prelude::{Expr, cast, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ExprWithAlias, Ident, ObjectNamePart, SelectItem,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::call::Call;
use super::of;
use super::running::Function;
use crate::sql::tables::ARRIVAL;

/// The most that a call may measure.
const MEASURES_MAX: usize = 1_000;

/// One measure.
#[derive(Debug)]
pub(super) struct Measured {
    name: String,
    pub(super) function: Function,
    /// Over the right side's columns, of the type that the function takes.
    pub(super) argument: Expr,
    /// Of the result.
    pub(super) kind: DataType,
}

impl Measured {
    fn new(name: String, function: Function, argument: Expr, right: &DFSchema) -> Result<Self> {
        let given = argument.get_type(right)?;
        let (taken, kind) = function
            .types(&given)
            .ok_or_else(|| plan_datafusion_err!("{name}: {} takes no {given}", function.name()))?;
        let argument = if taken == given {
            argument
        } else {
            cast(argument, taken)
        };
        Ok(Self {
            name,
            function,
            argument,
            kind,
        })
    }

    /// The column of the result.
    pub(super) fn field(&self) -> Field {
        let nullable = self.function != Function::Count;
        Field::new(&self.name, self.kind.clone(), nullable)
    }
}

/// What a call measures.
pub(super) fn measured(
    call: &Call,
    left: &LogicalPlan,
    right: &LogicalPlan,
    state: &SessionState,
) -> Result<Vec<Measured>> {
    let schema = right.schema();
    let Some(text) = &call.aggregates else {
        return last_values(call, left, schema);
    };
    let wrong = |error: ParserError| plan_datafusion_err!("in the aggregates '{text}': {error}");
    let parse = || {
        let parser = Parser::new(&GenericDialect).with_recursion_limit(50);
        let mut parser = parser.try_with_sql(text)?;
        let all = parser.parse_comma_separated(Parser::parse_select_item)?;
        parser.expect_token(&Token::EOF)?;
        Ok(all)
    };
    let all: Vec<SelectItem> = parse().map_err(wrong)?;
    if all.len() > MEASURES_MAX {
        return plan_err!("a window join measures at most {MEASURES_MAX} values");
    }
    all.into_iter()
        .map(|item| {
            let (expr, name) = match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = expr.to_string();
                    (expr, name)
                }
                SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value),
                other => return plan_err!("{other} is no aggregate"),
            };
            let item = ExprWithAlias {
                expr: in_sql(expr),
                alias: None,
            };
            let expr = state.create_logical_expr_from_sql_expr(item, schema)?;
            aggregate(name, expr, schema)
        })
        .collect()
}

/// kdb+'s names as SQL's.
fn in_sql(mut expr: SqlExpr) -> SqlExpr {
    if let SqlExpr::Function(function) = &mut expr
        && let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice()
    {
        let sql = match name.value.to_ascii_lowercase() {
            first if first == "first" => "first_value".to_owned(),
            last if last == "last" => "last_value".to_owned(),
            other => other,
        };
        *name = Ident::new(sql);
    }
    expr
}

fn aggregate(name: String, expr: Expr, right: &DFSchema) -> Result<Measured> {
    let unknown = |what: String| -> DataFusionError {
        plan_datafusion_err!(
            "{what} cannot be measured in a window: there are sum, count, min, max, avg, first, last"
        )
    };
    let AggregateFunction { func, params } = match expr.unalias_nested().data {
        Expr::AggregateFunction(function) => function,
        other => return Err(unknown(other.to_string())),
    };
    let AggregateFunctionParams {
        args,
        distinct,
        filter,
        order_by,
        null_treatment,
    } = params;
    let Some(function) = Function::of(func.name()) else {
        return Err(unknown(func.name().to_owned()));
    };
    if distinct || !order_by.is_empty() || null_treatment.is_some() {
        return plan_err!("{name}: in a window there is no DISTINCT, ORDER BY or IGNORE NULLS");
    }
    let mut args = args.into_iter();
    let (Some(mut argument), None) = (args.next(), args.next()) else {
        return plan_err!("{name}: {} takes one argument", function.name());
    };
    #[expect(deprecated, reason = "count(*) may come as it")]
    if matches!(argument, Expr::Wildcard { .. }) {
        argument = lit(1_i64);
    }
    if let Some(filter) = filter {
        if matches!(function, Function::First | Function::Last) {
            return plan_err!("{name}: {} takes no FILTER", function.name());
        }
        argument = when(*filter, argument).end()?;
    }
    Measured::new(name, function, argument, right)
}

/// The last value of each column but the keys; a name that the left side has gets `_right`.
fn last_values(call: &Call, left: &LogicalPlan, right: &DFSchema) -> Result<Vec<Measured>> {
    let columns = right.fields().iter().map(|field| field.name());
    let columns =
        columns.filter(|name| *name != ARRIVAL && !call.keys.iter().any(|key| key.right == **name));
    columns
        .map(|column| {
            let mut name = column.clone();
            while left.schema().has_column_with_unqualified_name(&name) {
                name.push_str("_right");
            }
            Measured::new(name, Function::Last, of("right", column), right)
        })
        .collect()
}
