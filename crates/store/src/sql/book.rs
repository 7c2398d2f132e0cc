//! The book of an instrument at a time: `book('SNDL', '2015-04-17T12:00:10')`.
//!
//! Invariant: it is [rebuilt](rebuild) from the instrument's events of one span, by default the day
//! until then, in the order in which they came; nothing else is read.

mod fold;
mod quotes;
mod rebuild;

use std::sync::{Arc, LazyLock};

use arrow::array::{Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{Expr, ident, lit};
use tapewatch_model::{BookLevel, Side, Time};

use super::sources::Sources;
use crate::schema::{PARTITION, PRICE, time_type};
use fold::BookFold;
pub(super) use quotes::QuotesTable;
use rebuild::{RebuildExec, Shows};

/// Its name in SQL.
pub(super) const NAME: &str = "book";

/// The sum of quantities, as `sum(quantity)` has it.
const TOTAL: DataType = DataType::Decimal128(29, 8);

/// What a row needs to be of [`OrderColumns`].
const COLUMNS: [&str; 13] = [
    "seq",
    "time",
    "sym",
    "event_type",
    "trader",
    "side",
    "order_id",
    "price",
    "quantity",
    "account",
    "exec_id",
    "display_quantity",
    "flags",
];

fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("side", DataType::Utf8, false),
            Field::new("level", DataType::Int64, false),
            Field::new("price", PRICE, false),
            Field::new("quantity", TOTAL, false),
            Field::new("orders", DataType::Int64, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The function.
#[derive(Debug)]
pub(super) struct BookAt {
    pub(super) sources: Arc<Sources>,
}

/// A call of it.
#[derive(Debug)]
struct BookTable {
    /// The events that it is rebuilt from, in their order.
    events: LogicalPlan,
    /// Prices of a side.
    levels: usize,
}

impl TableFunctionImpl for BookAt {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let usage = || {
            plan_datafusion_err!(
                "book takes ('sym', 'time' [, levels [, 'since']]), each a constant"
            )
        };
        let (sym, time, rest) = match args.exprs() {
            [sym, time, rest @ ..] => (
                text(sym).ok_or_else(usage)?,
                at(time).ok_or_else(usage)?,
                rest,
            ),
            _ => return Err(usage()),
        };
        let (levels, since) = match rest {
            [] => (None, None),
            [levels] => (Some(levels), None),
            [levels, since] => (Some(levels), Some(at(since).ok_or_else(usage)?)),
            _ => return Err(usage()),
        };
        let levels = match levels {
            None | Some(Expr::Literal(ScalarValue::Null, _)) => usize::MAX,
            Some(Expr::Literal(ScalarValue::Int64(Some(levels)), _)) if *levels > 0 => {
                usize::try_from(*levels).unwrap_or(usize::MAX)
            }
            Some(other) => return plan_err!("book: {other} is no number of levels"),
        };
        let since = since.unwrap_or_else(|| time.date().start());
        if since > time {
            return plan_err!("book: {since} is after {time}");
        }
        let orders = self.sources.get("orders").ok_or_else(usage)?;
        Ok(Arc::new(BookTable {
            events: events(orders, &sym, since, time)?,
            levels,
        }))
    }
}

/// The instrument's events of the span, both ends with it.
fn events(orders: LogicalPlan, sym: &str, since: Time, time: Time) -> Result<LogicalPlan> {
    let date = |time: Time| lit(ScalarValue::Date32(Some(time.date().days())));
    let instant = |time: Time| {
        let zone = Some("UTC".into());
        lit(ScalarValue::TimestampNanosecond(Some(time.nanos()), zone))
    };
    LogicalPlanBuilder::from(orders)
        .filter(ident("sym").eq(lit(sym)))?
        .filter(ident(PARTITION).between(date(since), date(time)))?
        .filter(ident("time").between(instant(since), instant(time)))?
        .project(COLUMNS.map(ident))?
        .sort([ident("seq").sort(true, false)])?
        .build()
}

fn text(argument: &Expr) -> Option<String> {
    match argument {
        Expr::Literal(value, _) => value.try_as_str()?.map(str::to_owned),
        Expr::Cast(cast) => text(&cast.expr),
        _ => None,
    }
}

/// A time that stands there as a text or a timestamp.
fn at(argument: &Expr) -> Option<Time> {
    if let Some(text) = text(argument) {
        return Time::parse(text.trim().as_bytes()).ok();
    }
    match argument {
        Expr::Literal(value, _) => match value.cast_to(&time_type()).ok()? {
            ScalarValue::TimestampNanosecond(nanos, _) => nanos.map(Time::from_nanos),
            _ => None,
        },
        Expr::Cast(cast) => at(&cast.expr),
        _ => None,
    }
}

#[async_trait]
impl TableProvider for BookTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let events = state.create_physical_plan(&self.events).await?;
        let shows = Shows::Levels(self.levels);
        Ok(Arc::new(RebuildExec::new(events, shows, projection)?))
    }
}

/// The levels of a book.
fn batch(book: &BookFold, levels: usize) -> Result<RecordBatch> {
    let side = |side: Side| {
        book.book()
            .levels(side)
            .take(levels)
            .zip(1_i64..)
            .map(move |(l, n)| (side, n, l))
    };
    let rows: Vec<(Side, i64, BookLevel)> = side(Side::Buy).chain(side(Side::Sell)).collect();
    let sides: StringArray = rows.iter().map(|(side, ..)| Some(side.name())).collect();
    let numbers: Int64Array = rows.iter().map(|(_, number, _)| Some(*number)).collect();
    let prices = rows
        .iter()
        .map(|(.., level)| Some(i128::from(level.price.units())));
    let prices = prices.collect::<Decimal128Array>().with_data_type(PRICE);
    // A level's total has a decimal more than quantities have.
    let totals = rows
        .iter()
        .map(|(.., level)| Some(level.quantity.units() / 10));
    let totals = totals.collect::<Decimal128Array>().with_data_type(TOTAL);
    let orders: Int64Array = rows
        .iter()
        .map(|(.., level)| Some(i64::from(level.orders)))
        .collect();
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(sides),
            Arc::new(numbers),
            Arc::new(prices),
            Arc::new(totals),
            Arc::new(orders),
        ],
    )?)
}
