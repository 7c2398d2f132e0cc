//! The best prices of each instrument whenever they change: the table `quotes`.
//!
//! Invariant: they are those of the book, rebuilt from an instrument's events of one UTC day in the order
//! in which they came. While an order that comes in trades with the other side, nothing is said: what
//! it leaves is.

use std::mem::take;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, AsArray as _, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::datasource::TableType;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{
    BinaryExpr, LogicalPlan, LogicalPlanBuilder, Operator, TableProviderFilterPushDown,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{Expr, ident, lit};
use tapewatch_model::{Price, RowRef, Side, Time};

use super::fold::BookFold;
use super::rebuild::{self, RebuildExec, Shows};
use super::{COLUMNS, TOTAL};
use crate::rows::seqs;
use crate::schema::{PARTITION, PRICE, time_type};

/// Columns by which the events are ordered, the first of those that are read.
pub(super) const ORDER: [&str; 3] = [PARTITION, "sym", "seq"];

pub(super) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("seq", DataType::Int64, false),
            Field::new("time", time_type(), false),
            Field::new(PARTITION, DataType::Date32, false),
            Field::new("sym", DataType::Utf8, false),
            Field::new("bid", PRICE, true),
            Field::new("bid_quantity", TOTAL, true),
            Field::new("ask", PRICE, true),
            Field::new("ask_quantity", TOTAL, true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The table.
#[derive(Debug)]
pub(in crate::sql) struct QuotesTable {
    orders: LogicalPlan,
}

impl QuotesTable {
    /// Over all orders.
    pub(in crate::sql) fn new(orders: LogicalPlan) -> Self {
        Self { orders }
    }

    /// The events that wanted rows need, in their order.
    fn events(&self, filters: &[Expr]) -> Result<LogicalPlan> {
        let mut events = LogicalPlanBuilder::from(self.orders.clone());
        for wanted in filters.iter().filter_map(of_whole_days) {
            events = events.filter(wanted)?;
        }
        let others = COLUMNS.into_iter().filter(|name| !ORDER.contains(name));
        events
            .project(ORDER.into_iter().chain(others).map(ident))?
            .sort(ORDER.map(|name| ident(name).sort(true, true)))?
            .build()
    }
}

/// What a condition says of events before their best prices are known: whole instruments and days alone,
/// since a day's prices need all its events.
fn of_whole_days(filter: &Expr) -> Option<Expr> {
    let is_whole = |name: &str| name == "sym" || name == PARTITION;
    if filter
        .column_refs()
        .iter()
        .all(|column| is_whole(&column.name))
        && !filter.is_volatile()
    {
        return Some(filter.clone());
    }
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) if column.name == "time" => {
                on_days(*op, value)
            }
            (Expr::Literal(value, _), Expr::Column(column)) if column.name == "time" => {
                on_days(op.swap()?, value)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The days of times that are so to another.
fn on_days(op: Operator, value: &ScalarValue) -> Option<Expr> {
    let ScalarValue::TimestampNanosecond(Some(nanos), _) = value.cast_to(&time_type()).ok()? else {
        return None;
    };
    let day = lit(ScalarValue::Date32(Some(
        Time::from_nanos(nanos).date().days(),
    )));
    let date = ident(PARTITION);
    match op {
        Operator::Eq => Some(date.eq(day)),
        Operator::Gt | Operator::GtEq => Some(date.gt_eq(day)),
        Operator::Lt | Operator::LtEq => Some(date.lt_eq(day)),
        _ => None,
    }
}

#[async_trait]
impl TableProvider for QuotesTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let events = state.create_physical_plan(&self.events(filters)?).await?;
        Ok(Arc::new(RebuildExec::new(
            events,
            Shows::Quotes,
            projection,
        )?))
    }
}

/// The best of a side: its price, and what is shown there in units of the column.
type Best = Option<(Price, i128)>;

/// The instrument and the day whose book is rebuilt.
#[derive(Debug, Default)]
struct Of {
    day: i32,
    sym: String,
    book: BookFold,
    /// What was said last.
    said: [Best; 2],
}

/// Rebuilds one book after another.
#[derive(Debug, Default)]
pub(super) struct Changes {
    of: Of,
    rows: Rows,
}

impl Changes {
    /// Takes the next events; the changes of the best prices.
    pub(super) fn take(
        &mut self,
        events: &RecordBatch,
        memory: &MemoryReservation,
    ) -> Result<RecordBatch> {
        let wrong = || exec_datafusion_err!("table orders: a row is not an order");
        let days = events.column_by_name(PARTITION).ok_or_else(wrong)?;
        let days = days.as_primitive_opt::<Date32Type>().ok_or_else(wrong)?;
        let seqs = seqs(events).ok_or_else(wrong)?;
        rebuild::each(events, |index, row| {
            let place = days.values().get(index).zip(seqs.get(index));
            let (day, seq) = place.ok_or_else(wrong)?;
            self.event(*day, *seq, row)
        })?;
        memory.try_resize(self.of.book.bytes())?;
        take(&mut self.rows).batch()
    }

    fn event(&mut self, day: i32, seq: i64, row: &RowRef<'_>) -> Result<()> {
        if (self.of.day, self.of.sym.as_str()) != (day, row.sym) {
            let sym = row.sym.to_owned();
            self.of = Of {
                day,
                sym,
                ..Of::default()
            };
        }
        rebuild::take(&mut self.of.book, row)?;
        let book = self.of.book.book();
        if book.is_crossed() {
            return Ok(());
        }
        let best = [Side::Buy, Side::Sell].map(|side| {
            let level = book.best(side)?;
            // A level's total has a decimal more than quantities have.
            Some((level.price, level.quantity.units() / 10))
        });
        if best != self.of.said {
            self.of.said = best;
            self.rows.push(day, seq, row, best);
        }
        Ok(())
    }
}

/// Columns of rows.
#[derive(Debug, Default)]
struct Rows {
    seqs: Vec<i64>,
    times: Vec<i64>,
    days: Vec<i32>,
    syms: Vec<String>,
    best: Vec<[Best; 2]>,
}

impl Rows {
    fn push(&mut self, day: i32, seq: i64, row: &RowRef<'_>, best: [Best; 2]) {
        self.seqs.push(seq);
        self.times.push(row.time.nanos());
        self.days.push(day);
        self.syms.push(row.sym.to_owned());
        self.best.push(best);
    }

    fn batch(self) -> Result<RecordBatch> {
        let times = TimestampNanosecondArray::from(self.times).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.seqs)),
            Arc::new(times),
            Arc::new(Date32Array::from(self.days)),
            Arc::new(StringArray::from(self.syms)),
        ];
        for side in 0..2 {
            let of_side = |best: &[Best; 2]| best.get(side).copied().flatten();
            let prices = self
                .best
                .iter()
                .map(|best| Some(i128::from(of_side(best)?.0.units())));
            let prices = prices.collect::<Decimal128Array>();
            let totals = self.best.iter().map(|best| Some(of_side(best)?.1));
            let totals = totals.collect::<Decimal128Array>();
            columns.push(Arc::new(prices.with_data_type(PRICE)));
            columns.push(Arc::new(totals.with_data_type(TOTAL)));
        }
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}
