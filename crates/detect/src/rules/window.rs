//! Window rules: at each event of a group, what the group's events of the lookback add up to.
//!
//! Invariant: what is found for a group depends on the group's own events alone, whatever the batches.

use serde::{Deserialize, Serialize};
use tapewatch_model::{EVIDENCE_MAX, EventTypes, TimeSpan};

use super::check::{Scope, condition, number, of_type};
use super::document::{Fields, inside};
use super::expr::{Asked, Column, Expr, ONE, Scene, Type, View};
use super::groups::{Grouping, Groups};
use super::ring::{Aggregate, Arrival, Fold, Ring, Shape, Source};
use super::rule::{Found, Measure, Params, events, measures};
use super::syntax::{Ast, Node, Wrong};
use crate::window::evidence;

/// Longest lookback, and latest that an event is measured over its whole window.
const SPAN_MAX: i64 = 31 * super::expr::DAY;
/// How late an event may be unless the rule says.
const LATENESS: TimeSpan = TimeSpan::from_secs(300);
/// Most days of a baseline.
const DAYS_MAX: i64 = 366;
/// Most different aggregates over the window.
const AGGREGATES_MAX: usize = 32;

/// A window rule, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WindowRule {
    pub(super) events: EventTypes,
    pub(super) filter: Option<Expr>,
    pub(super) grouping: Grouping,
    pub(super) lookback: TimeSpan,
    pub(super) lateness: TimeSpan,
    pub(super) shape: Shape,
    pub(super) measures: Vec<Measure>,
    pub(super) condition: Expr,
    pub(super) once: bool,
}

impl WindowRule {
    /// Reads the table `window` of a rule.
    pub(super) fn read(fields: &Fields<'_>, params: &Params) -> Result<Self, Wrong> {
        const KEYS: [&str; 7] = [
            "events",
            "where",
            "group",
            "lookback",
            "lateness",
            "condition",
            "once",
        ];
        let window = fields.need("window")?;
        let window = Fields::of(window, "window", &KEYS)?;
        let filter = window.get("where").map(|item| {
            let mut scope = EventScope(params);
            condition(item.text("where")?, &mut scope).map_err(inside(item))
        });
        let lookback = long(&window, "lookback")?;
        let missing = || Wrong::new(window.at(), "lookback is missing");
        let lookback = lookback.ok_or_else(missing)?;
        let lateness = long(&window, "lateness")?.unwrap_or(LATENESS);
        let mut scope = MeasureScope {
            params,
            names: Vec::new(),
            total: fields.entries("measures")?.len(),
            shape: Shape {
                lookback: lookback.nanos(),
                lateness: lateness.nanos(),
                ..Shape::default()
            },
        };
        let mut all = measures(fields, params, |name, item| {
            let read = number(item.text(name)?, &mut scope).map_err(inside(item))?;
            scope.names.push(name.to_owned());
            Ok(read)
        })?;
        let item = window.need("condition")?;
        let condition = condition(item.text("condition")?, &mut scope).map_err(inside(item))?;
        for (slot, measure) in all.iter_mut().enumerate() {
            measure.threshold = condition.threshold(slot).unwrap_or_default();
        }
        Ok(Self {
            events: events(&window)?,
            filter: filter.transpose()?,
            grouping: Grouping::read(window.need("group")?, "group")?,
            lookback,
            lateness,
            shape: scope.shape,
            measures: all,
            condition,
            once: window.truth("once")?,
        })
    }

    /// Fills the measures in, which stand before what they are made of; whether the condition holds.
    #[inline]
    pub(super) fn judge(&self, bare: &Scene<'_>, slots: &mut [Option<i128>]) -> bool {
        for (at, measure) in self.measures.iter().enumerate() {
            let value = measure.expr.value(&Scene { slots, ..*bare });
            if let Some(slot) = slots.get_mut(at) {
                *slot = value;
            }
        }
        self.condition.holds(&Scene { slots, ..*bare })
    }

    /// What it asks of events.
    pub(super) fn asks(&self) -> Asked {
        let aggregates = self.shape.aggregates.iter().chain(&self.shape.daily);
        let of_events = aggregates.flat_map(|one| one.value.iter().chain(&one.filter));
        let measures = self.measures.iter().map(|measure| &measure.expr);
        let exprs = of_events
            .chain(measures)
            .chain(&self.filter)
            .chain([&self.condition]);
        exprs
            .map(Expr::asks)
            .fold(self.grouping.asks(), Asked::with)
    }

    /// How much it keeps for one group at most, in bytes.
    pub(super) fn group_bytes_max(&self) -> usize {
        let row = 24 + 16 * self.shape.values();
        let days = self.shape.days as usize + 1;
        super::ring::ROWS_MAX * row + days * (24 + 32 * self.shape.daily.len())
    }
}

fn long(fields: &Fields<'_>, key: &str) -> Result<Option<TimeSpan>, Wrong> {
    let span = fields.span(key)?;
    match (span, fields.get(key)) {
        (Some(span), Some(item)) if span.nanos() > SPAN_MAX => {
            Err(Wrong::new(item.at, format!("{key} is longer than 31 days")))
        }
        _ => Ok(span),
    }
}

/// Columns of the event and parameters.
struct EventScope<'a>(&'a Params);

impl Scope for EventScope<'_> {
    fn name(&mut self, name: &str) -> Option<(Type, Expr)> {
        self.0.constant(name)
    }

    fn known(&self) -> Vec<String> {
        self.0.names()
    }
}

/// Measures above, aggregates, columns of the event at hand and parameters.
struct MeasureScope<'a> {
    params: &'a Params,
    /// Of the measures so far.
    names: Vec<String>,
    /// Of all measures: aggregates have the slots behind them.
    total: usize,
    shape: Shape,
}

impl Scope for MeasureScope<'_> {
    fn name(&mut self, name: &str) -> Option<(Type, Expr)> {
        let slot = self.names.iter().position(|known| known == name);
        let measure = slot.map(|slot| (Type::Number, Expr::Slot(slot)));
        measure.or_else(|| self.params.constant(name))
    }

    fn call(&mut self, ast: &Ast, name: &str, arguments: &[Ast]) -> Option<Result<Expr, Wrong>> {
        let source = match name {
            "count" | "sum" | "min" | "max" | "distinct" => self.windowed(ast),
            "day" | "mean_per_day" | "median_per_day" | "days" => self.by_day(ast, name, arguments),
            _ => return None,
        };
        Some(source.map(|source| self.slot(source)))
    }

    fn known(&self) -> Vec<String> {
        let mut known = self.names.clone();
        known.extend(self.params.names());
        known
    }
}

impl MeasureScope<'_> {
    fn slot(&mut self, source: Source) -> Expr {
        let place = place(&mut self.shape.sources, source);
        Expr::Slot(self.total + place)
    }

    fn windowed(&mut self, ast: &Ast) -> Result<Source, Wrong> {
        let aggregate = aggregate(ast, &mut EventScope(self.params))?;
        let at = place(&mut self.shape.aggregates, aggregate);
        if at >= AGGREGATES_MAX {
            let reason = format!("a rule has at most {AGGREGATES_MAX} different aggregates");
            return Err(Wrong::new(ast.at, reason));
        }
        Ok(Source::Window(at))
    }

    fn by_day(&mut self, ast: &Ast, name: &str, arguments: &[Ast]) -> Result<Source, Wrong> {
        let form = || {
            let days = if name == "day" { "" } else { ", 20" };
            Wrong::new(ast.at, format!("it is written {name}(sum(quantity){days})"))
        };
        let (inner, days) = match (name, arguments) {
            ("day", [inner]) => (inner, 0),
            ("day", _) => return Err(form()),
            (_, [inner, days]) => {
                let Node::Number(units) = days.node else {
                    return Err(form());
                };
                let whole = units % ONE == 0 && (ONE..=i128::from(DAYS_MAX) * ONE).contains(&units);
                if !whole {
                    let reason = format!("days are a whole number from 1 to {DAYS_MAX}");
                    return Err(Wrong::new(days.at, reason));
                }
                (inner, i64::try_from(units / ONE).unwrap_or(DAYS_MAX))
            }
            _ => return Err(form()),
        };
        let aggregate = aggregate(inner, &mut EventScope(self.params))?;
        if aggregate.fold == Fold::Distinct {
            let reason = "distinct values are not kept by the day: only over the lookback";
            return Err(Wrong::new(inner.at, reason));
        }
        let at = place(&mut self.shape.daily, aggregate);
        if at >= AGGREGATES_MAX {
            let reason = format!("a rule has at most {AGGREGATES_MAX} different daily aggregates");
            return Err(Wrong::new(ast.at, reason));
        }
        self.shape.days = self.shape.days.max(days);
        Ok(match name {
            "day" => Source::Day(at),
            "mean_per_day" => Source::Mean(at, days),
            "median_per_day" => Source::Median(at, days),
            _ => Source::Days(at, days),
        })
    }
}

/// Where it stands in the list, at its end when it is new.
fn place<T: PartialEq>(list: &mut Vec<T>, wanted: T) -> usize {
    let known = list.iter().position(|known| *known == wanted);
    known.unwrap_or_else(|| {
        list.push(wanted);
        list.len() - 1
    })
}

/// Reads `count()`, `sum(quantity)`, `distinct(price, side == "buy")`.
pub(super) fn aggregate(ast: &Ast, scope: &mut dyn Scope) -> Result<Aggregate, Wrong> {
    let Node::Call(name, arguments) = &ast.node else {
        let reason = "an aggregate is expected here: count, sum, min, max, distinct";
        return Err(Wrong::new(ast.at, reason));
    };
    let fold = match name.as_str() {
        "count" => Fold::Count,
        "sum" => Fold::Sum,
        "min" => Fold::Min,
        "max" => Fold::Max,
        "distinct" => Fold::Distinct,
        other => {
            let reason = format!("{other:?} is no aggregate: count, sum, min, max, distinct");
            return Err(Wrong::new(ast.at, reason));
        }
    };
    let (value, filter) = match (fold, arguments.as_slice()) {
        (Fold::Count, []) => (None, None),
        (Fold::Count, [filter]) => (None, Some(filter)),
        (Fold::Count, _) => return Err(Wrong::new(ast.at, "count takes a condition or nothing")),
        (_, [value]) => (Some(value), None),
        (_, [value, filter]) => (Some(value), Some(filter)),
        _ => {
            let reason = format!("{name} takes a value and, if wanted, a condition");
            return Err(Wrong::new(ast.at, reason));
        }
    };
    let filter = filter
        .map(|ast| of_type(ast, Type::Bool, scope))
        .transpose()?;
    let value = match value {
        None => None,
        // Distinct values of anything that has a column.
        Some(Ast {
            node: Node::Name(name),
            ..
        }) if fold == Fold::Distinct => match Column::named(name) {
            Some((column, _)) => Some(Expr::Column(column)),
            None => Some(of_type(
                arguments.first().unwrap_or(ast),
                Type::Number,
                scope,
            )?),
        },
        Some(value) => Some(of_type(value, Type::Number, scope)?),
    };
    Ok(Aggregate {
        fold,
        value,
        filter,
    })
}

/// What a window rule keeps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Windows {
    groups: Groups<Ring>,
    pub(super) overflows: u64,
    /// For their memory.
    #[serde(skip)]
    scratch: Scratch,
}

#[derive(Debug, Clone, Default)]
struct Scratch {
    values: Vec<Option<i128>>,
    daily: Vec<Option<i128>>,
    slots: Vec<Option<i128>>,
}

impl Windows {
    /// Takes an event of the rule's types in; tells when the condition holds at it.
    #[inline]
    pub(super) fn take(
        &mut self,
        rule: &WindowRule,
        (view, sym): (&View<'_>, u32),
        found: &mut dyn FnMut(Found<'_>),
    ) {
        let bare = Scene {
            view,
            slots: &[],
            orders: &[],
        };
        if rule
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.holds(&bare))
        {
            return;
        }
        let Some(key) = rule.grouping.key(view) else {
            return;
        };
        let Some(instrument) = self.groups.instrument(sym, view.rows.by_instrument) else {
            return;
        };
        let time = view.time();
        instrument.now = instrument.now.max(time);
        let Some(ring) = instrument.group(key, rule.shape.kept()) else {
            self.overflows += 1;
            return;
        };
        let Scratch {
            values,
            daily,
            slots,
        } = &mut self.scratch;
        let shape = &rule.shape;
        values.clear();
        values.extend(shape.aggregates.iter().map(|one| one.value(&bare)));
        daily.clear();
        daily.extend(shape.daily.iter().map(|one| one.value(&bare)));
        slots.clear();
        slots.resize(rule.measures.len() + shape.sources.len(), None);
        let arrival = Arrival {
            time,
            seq: view.rows.orders.seq(view.row),
            values,
            daily,
        };
        let sources = slots.get_mut(rule.measures.len()..).unwrap_or_default();
        let measured = ring.take(shape, &arrival, sources);
        self.overflows += u64::from(measured.overflow);
        let holds = rule.judge(&bare, slots);
        let held = std::mem::replace(&mut ring.held, holds);
        if holds && !(rule.once && held) {
            found(Found {
                entity: rule.grouping.entity(sym, key),
                lookback: rule.lookback,
                values: slots,
                evidence: &|| evidence(ring.seqs(&measured), EVIDENCE_MAX),
                evidence_total: measured.count as u64,
            });
        }
    }

    pub(super) fn entities(&self) -> u64 {
        self.groups.len()
    }

    /// Makes ready what was loaded; whether it is of this rule.
    pub(super) fn restore(&mut self, rule: &WindowRule) -> bool {
        let mut groups = self.groups.all_mut();
        groups.all(|ring| ring.restore(&rule.shape))
    }
}
