//! The life of an order: `order_history('O1', '2024-01-05')`.
//!
//! Invariant: a call is written out as a query over `orders` before anything is planned, so that what
//! is asked of it reaches the table, and its arguments may be whatever a query may have there.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, Query, Statement as SqlStatement, TableAlias,
    TableFactor, VisitMut, VisitorMut,
};

use super::sources::{call, sql_of_mut};

/// Its name in SQL.
pub(super) const NAME: &str = "order_history";

/// What is open is said by `new` and `amended`, and is less by each execution since; before either is
/// told it is not known. An order is one of its instrument: the same name elsewhere is another.
const LIFE: &str = "
SELECT seq, time, date, sym, event_type, trader, side, order_id, price, quantity,
       CAST(open AS DECIMAL(29, 8)) AS open_quantity,
       CAST(filled AS DECIMAL(29, 8)) AS filled_quantity,
       CASE WHEN told = 0 THEN 'cancelled' WHEN open = 0 THEN 'filled' WHEN open IS NULL THEN NULL
            WHEN filled > 0 THEN 'partially_filled' ELSE 'new' END AS state,
       account, exec_id, display_quantity, flags
FROM (SELECT *, CASE WHEN told > since THEN told - since WHEN told IS NOT NULL THEN 0 END AS open
      FROM (SELECT *,
                   first_value(CASE event_type WHEN 'cancelled' THEN 0 WHEN 'filled' THEN NULL
                               ELSE quantity END) OVER part AS told,
                   sum(CASE event_type WHEN 'filled' THEN quantity ELSE 0 END) OVER part AS since
            FROM (SELECT *,
                         sum(CASE event_type WHEN 'filled' THEN quantity ELSE 0 END) OVER life
                           AS filled,
                         sum(CASE event_type WHEN 'filled' THEN 0 ELSE 1 END) OVER life AS part
                  FROM tapewatch.public.orders WHERE order_id = ({ID}) {DATES}
                  WINDOW life AS (PARTITION BY sym ORDER BY seq ROWS UNBOUNDED PRECEDING))
            WINDOW part AS (PARTITION BY sym, part ORDER BY seq ROWS UNBOUNDED PRECEDING)))
ORDER BY seq";

/// Writes out all calls in the statement.
pub(super) fn write_out(state: &SessionState, statement: &mut Statement) -> Result<()> {
    let Some(statement) = sql_of_mut(statement) else {
        return Ok(());
    };
    match statement.visit(&mut Calls(state)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Calls<'a>(&'a SessionState);

impl VisitorMut for Calls<'_> {
    type Break = Box<DataFusionError>;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let arguments = match call(factor) {
            Some((NAME, arguments)) => arguments,
            _ => return ControlFlow::Continue(()),
        };
        let subquery = match life(self.0, arguments) {
            Ok(subquery) => subquery,
            Err(error) => return ControlFlow::Break(Box::new(error)),
        };
        let named = match factor {
            TableFactor::Table { alias, .. } => alias.take(),
            _ => None,
        };
        *factor = TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(named.unwrap_or_else(|| TableAlias {
                explicit: true,
                name: Ident::new(NAME),
                columns: Vec::new(),
                at: None,
            })),
            sample: None,
        };
        ControlFlow::Continue(())
    }
}

/// The query that a call stands for.
fn life(state: &SessionState, arguments: &[FunctionArg]) -> Result<Box<Query>> {
    let usage =
        || plan_datafusion_err!("order_history takes (order id [, date | from date, to date])");
    let plain = arguments.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let plain: Option<Vec<&Expr>> = plain.collect();
    let (id, dates) = match plain.ok_or_else(usage)?.as_slice() {
        [id] => (*id, String::new()),
        [id, date] => (*id, format!("AND date = CAST({date} AS DATE)")),
        [id, from, to] => {
            let dates = format!("AND date BETWEEN CAST({from} AS DATE) AND CAST({to} AS DATE)");
            (*id, dates)
        }
        _ => return Err(usage()),
    };
    let text = LIFE
        .replace("{DATES}", &dates)
        .replace("{ID}", &id.to_string());
    let dialect = state.config().options().sql_parser.dialect;
    match state.sql_to_statement(&text, &dialect)? {
        Statement::Statement(statement) => match *statement {
            SqlStatement::Query(query) => Ok(query),
            _ => Err(usage()),
        },
        _ => Err(usage()),
    }
}
