//! Which rows of a chunk of orders a query wants, decided on codes and numbers as they are in memory.
//!
//! Invariant: a filter that is a [`Test`] decides about every row exactly as SQL does; a chunk is left
//! out only when none of its rows passes.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr as RunningBinary, Column, InListExpr, Literal,
};
use datafusion::prelude::Expr;
use tapewatch_model::{EventType, EventTypes, OrderBatch, Side, Time};

use crate::recent_orders::{Chunk, first_after};
use crate::scan::ScanRequest;
use crate::schema::PARTITION;

/// Rows that are compared at once: the compiler makes a few instructions of them.
const BLOCK: usize = 64;
/// Rows of a block that are compared one by one where one of them is wanted.
const FEW: usize = 8;
const DAY: i64 = 86_400_000_000_000;

/// A column of few distinct texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coded {
    Sym,
    Trader,
    EventType,
    Side,
}

impl Coded {
    pub(super) fn named(column: &str) -> Option<Self> {
        Some(match column {
            "sym" => Self::Sym,
            "trader" => Self::Trader,
            "event_type" => Self::EventType,
            "side" => Self::Side,
            _ => return None,
        })
    }
}

/// What a filter asks of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// A number between two, both included.
    Seqs(i64, i64),
    Times(i64, i64),
    /// One of the texts.
    Texts(Coded, Vec<String>),
    OrderIds(Vec<String>),
}

impl Test {
    /// The filter as a test; `None` when it is something else.
    pub(super) fn of(filter: &Expr) -> Option<Self> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::Or => Self::of(left)?.or(Self::of(right)?),
                op => Self::compared(left, *op, right),
            },
            Expr::InList(InList {
                expr,
                list,
                negated: false,
            }) => list
                .iter()
                .map(|value| Self::compared(expr, Operator::Eq, value))
                .reduce(|all, one| all?.or(one?))?,
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) => {
                let low = Self::compared(expr, Operator::GtEq, low)?;
                low.and(Self::compared(expr, Operator::LtEq, high)?)
            }
            _ => None,
        }
    }

    fn compared(column: &Expr, op: Operator, value: &Expr) -> Option<Self> {
        let (Expr::Column(column), Expr::Literal(value, _)) = (column, value) else {
            return None;
        };
        Self::asked(&column.name, op, value)
    }

    /// The same of a filter as it runs.
    pub(super) fn of_running(filter: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        let column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().cloned();
        let asked = |column: &Column, op, value: &Arc<dyn PhysicalExpr>| {
            Self::asked(column.name(), op, value.downcast_ref::<Literal>()?.value())
        };
        if let Some(among) = filter.downcast_ref::<InListExpr>() {
            let column = column(among.expr()).filter(|_| !among.negated())?;
            let each = among.list().iter();
            let each = each.map(|value| asked(&column, Operator::Eq, value));
            return each.reduce(|all, one| all?.or(one?))?;
        }
        let binary = filter.downcast_ref::<RunningBinary>()?;
        match binary.op() {
            Operator::Or => Self::of_running(binary.left())?.or(Self::of_running(binary.right())?),
            op => asked(&column(binary.left())?, *op, binary.right()),
        }
    }

    /// What a comparison of a column with a value asks.
    fn asked(name: &str, op: Operator, value: &ScalarValue) -> Option<Self> {
        if let Some(Some(text)) = value.try_as_str() {
            let texts = vec![text.to_owned()];
            return match op {
                Operator::Eq if name == "order_id" => Some(Self::OrderIds(texts)),
                Operator::Eq => Some(Self::Texts(Coded::named(name)?, texts)),
                _ => None,
            };
        }
        Some(match (name, value) {
            ("seq", ScalarValue::Int64(Some(seq))) => {
                let (least, most) = bounds(op, *seq)?;
                Self::Seqs(least, most)
            }
            ("time", ScalarValue::TimestampNanosecond(Some(nanos), _))
            // The same column of the history.
            | ("time_ns", ScalarValue::Int64(Some(nanos))) => {
                let (least, most) = bounds(op, *nanos)?;
                Self::Times(least, most)
            }
            (PARTITION, ScalarValue::Date32(Some(day))) => {
                let (first, last) = bounds(op, i64::from(*day))?;
                let most = last.saturating_add(1).saturating_mul(DAY);
                Self::Times(first.saturating_mul(DAY), most.saturating_sub(1))
            }
            _ => return None,
        })
    }

    /// What a scan has to look at for the rows that pass all tests to be among it.
    pub(super) fn request(tests: &[Self]) -> ScanRequest {
        let mut request = ScanRequest {
            from: Time::MIN,
            to: Time::MAX,
            events: EventTypes::ALL,
            syms: Vec::new(),
            details: false,
        };
        for test in tests {
            match test {
                Self::Times(least, most) => {
                    let behind = Time::from_nanos(most.saturating_add(1));
                    request.from = request.from.max(Time::from_nanos(*least));
                    request.to = request.to.min(behind);
                }
                Self::Texts(Coded::EventType, texts) => {
                    let kinds = texts
                        .iter()
                        .filter_map(|text| EventType::parse(text.as_bytes()));
                    request.events = EventTypes::of(&kinds.collect::<Vec<_>>());
                }
                Self::Texts(Coded::Sym, texts) => request.syms.clone_from(texts),
                Self::Texts(..) | Self::Seqs(..) | Self::OrderIds(_) => {}
            }
        }
        request
    }

    fn or(self, other: Self) -> Option<Self> {
        let joined = |mut texts: Vec<String>, others: Vec<String>| {
            texts.extend(others);
            texts
        };
        match (self, other) {
            (Self::Texts(column, texts), Self::Texts(same, others)) if column == same => {
                Some(Self::Texts(column, joined(texts, others)))
            }
            (Self::OrderIds(texts), Self::OrderIds(others)) => {
                Some(Self::OrderIds(joined(texts, others)))
            }
            _ => None,
        }
    }

    fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Seqs(a, b), Self::Seqs(c, d)) => Some(Self::Seqs(a.max(c), b.min(d))),
            (Self::Times(a, b), Self::Times(c, d)) => Some(Self::Times(a.max(c), b.min(d))),
            _ => None,
        }
    }

    /// Cheap ones first: what they leave is all that the others look at.
    fn cost(&self) -> u8 {
        match self {
            Self::Seqs(..) => 0,
            Self::Times(..) => 1,
            Self::Texts(Coded::Sym | Coded::Trader, _) => 2,
            Self::Texts(..) => 3,
            Self::OrderIds(_) => 4,
        }
    }

    /// Whether a row of the chunk may pass, by what is known of all of them.
    pub(super) fn may_pass(&self, chunk: &Chunk) -> bool {
        let touches =
            |first: i64, last: i64, (least, most): (&i64, &i64)| first <= *most && *least <= last;
        match self {
            Self::Seqs(least, most) => {
                let (first, last) = chunk.seqs();
                touches(first.cast_signed(), last.cast_signed(), (least, most))
            }
            Self::Times(least, most) => {
                let (first, last) = chunk.times();
                touches(first.nanos(), last.nanos(), (least, most))
            }
            Self::Texts(..) | Self::OrderIds(_) => true,
        }
    }

    /// Those of the rows that pass; `None` when there are none.
    fn keep(&self, chunk: &Chunk, rows: Picked) -> Option<Picked> {
        let orders = chunk.orders();
        match self {
            Self::Seqs(least, most) => {
                // Sequence numbers begin at 1.
                let before = u64::try_from(least.saturating_sub(1)).unwrap_or_default();
                let upto = u64::try_from(*most).ok()?;
                let first = first_after(orders, chunk.rows(), before);
                let end = first_after(orders, chunk.rows(), upto);
                rows.within(first..end)
            }
            Self::Times(least, most) => {
                let (from, upto) = (Time::from_nanos(*least), Time::from_nanos(*most));
                let (first, last) = chunk.times();
                if from > last || upto < first || from > upto {
                    return None;
                }
                if from <= first && last <= upto {
                    return Some(rows);
                }
                if let Some(span) = chunk.span(from, upto) {
                    return rows.within(span);
                }
                let times = orders.times();
                rows.filter(|row| times.get(row).is_some_and(|t| (from..=upto).contains(t)))
            }
            Self::Texts(column, texts) => by_code(orders, *column, texts, rows),
            Self::OrderIds(ids) => {
                let known = orders.order_ids();
                rows.filter(|row| {
                    let id = known.bytes_at(row);
                    ids.iter().any(|wanted| Some(wanted.as_bytes()) == id)
                })
            }
        }
    }
}

/// The least and the greatest number for which a comparison holds.
fn bounds(op: Operator, value: i64) -> Option<(i64, i64)> {
    Some(match op {
        Operator::Eq => (value, value),
        Operator::Lt => (i64::MIN, value.checked_sub(1)?),
        Operator::LtEq => (i64::MIN, value),
        Operator::Gt => (value.checked_add(1)?, i64::MAX),
        Operator::GtEq => (value, i64::MAX),
        _ => return None,
    })
}

fn by_code(orders: &OrderBatch, column: Coded, texts: &[String], rows: Picked) -> Option<Picked> {
    match column {
        Coded::Sym | Coded::Trader => {
            let (dictionary, codes) = match column {
                Coded::Sym => (orders.syms(), orders.sym_codes()),
                _ => (orders.traders(), orders.trader_codes()),
            };
            let wanted = texts.iter().filter_map(|t| dictionary.find(t.as_bytes()));
            let wanted: Vec<u32> = wanted.collect();
            match (wanted.as_slice(), rows) {
                ([], _) => None,
                (&[code], Picked::All(rows)) => equal(codes, rows, code),
                (wanted, rows) => {
                    rows.filter(|row| codes.get(row).is_some_and(|code| wanted.contains(code)))
                }
            }
        }
        Coded::EventType => {
            let all = EventTypes::ALL;
            let wanted = all
                .iter()
                .filter(|kind| texts.iter().any(|t| t == kind.name()));
            let wanted: Vec<EventType> = wanted.collect();
            let kinds = orders.event_types();
            rows.filter(|row| kinds.get(row).is_some_and(|kind| wanted.contains(kind)))
        }
        Coded::Side => {
            let sides = orders.sides();
            let is = |side: &Side| texts.iter().any(|text| text == side.name());
            rows.filter(|row| sides.get(row).is_some_and(is))
        }
    }
}

/// The rows that have this code.
fn equal(codes: &[u32], rows: Range<usize>, code: u32) -> Option<Picked> {
    let is_in = |some: &[u32]| some.iter().fold(false, |any, &it| any | (it == code));
    let (mut picked, mut first) = (Vec::new(), rows.start);
    for block in codes.get(rows)?.chunks(BLOCK) {
        if is_in(block) {
            for (part, few) in block.chunks(FEW).enumerate() {
                if is_in(few) {
                    let at = first + part * FEW;
                    let here = few.iter().enumerate().filter(|&(_, &it)| it == code);
                    here.for_each(|(row, _)| picked.push((at + row) as u32));
                }
            }
        }
        first += block.len();
    }
    (!picked.is_empty()).then_some(Picked::Some(picked))
}

/// Rows of one batch, ascending; there is at least one.
#[derive(Debug, Clone)]
pub(super) enum Picked {
    All(Range<usize>),
    Some(Vec<u32>),
}

impl Picked {
    /// The rows of a chunk that pass all tests.
    pub(super) fn of(chunk: &Chunk, tests: &[Test]) -> Option<Self> {
        let all = Self::All(chunk.rows());
        let picked = tests
            .iter()
            .try_fold(all, |rows, test| test.keep(chunk, rows))?;
        (picked.len() > 0).then_some(picked)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(rows) => rows.len(),
            Self::Some(rows) => rows.len(),
        }
    }

    /// Takes the first rows away, at most so many.
    pub(super) fn split(&mut self, rows_max: usize) -> Self {
        match self {
            Self::All(rows) => {
                let upto = rows.end.min(rows.start.saturating_add(rows_max));
                let first = rows.start..upto;
                rows.start = upto;
                Self::All(first)
            }
            Self::Some(rows) => {
                let later = rows.split_off(rows_max.min(rows.len()));
                Self::Some(std::mem::replace(rows, later))
            }
        }
    }

    fn within(self, span: Range<usize>) -> Option<Self> {
        match self {
            Self::All(rows) => {
                let rows = rows.start.max(span.start)..rows.end.min(span.end);
                (!rows.is_empty()).then_some(Self::All(rows))
            }
            some @ Self::Some(_) => some.filter(|row| span.contains(&row)),
        }
    }

    fn filter(self, passes: impl Fn(usize) -> bool) -> Option<Self> {
        let rows: Vec<u32> = match self {
            Self::All(rows) => rows
                .filter(|&row| passes(row))
                .map(|row| row as u32)
                .collect(),
            Self::Some(mut rows) => {
                rows.retain(|&row| passes(row as usize));
                rows
            }
        };
        (!rows.is_empty()).then_some(Self::Some(rows))
    }
}

/// Puts tests in the order in which they cost least.
pub(super) fn in_order(mut tests: Vec<Test>) -> Vec<Test> {
    tests.sort_by_key(Test::cost);
    tests
}
