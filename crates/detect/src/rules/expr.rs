//! Expressions that are ready to run, and the columns of an event that they read.
//!
//! Invariant: every value is a whole number of units of 10⁻⁹, or unknown. Arithmetic saturates; what
//! is computed from something unknown, or divided by zero, is unknown; a condition that is unknown
//! does not hold, nor does its negation.

use serde::{Deserialize, Serialize};
use tapewatch_model::{EventType, Flags, Side};

use crate::detector::{NOBODY, Rows};
use crate::market::{Held, OrderName, exec_number};
use crate::step::Step;

/// One, in units.
pub(super) const ONE: i128 = 1_000_000_000;
/// A value of an event lies within this on either side of zero: so that no sum of them overflows.
const VALUE_MAX: i128 = 1 << 100;
/// Price levels of which the shown quantity counts as the book's.
const LEVELS: usize = 5;

/// A column of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    EventType,
    Side,
    Sym,
    Trader,
    Owner,
    Order,
    Exec,
    Price,
    Quantity,
    Display,
    Time,
    TimeOfDay,
    Aggressive,
    OrderPrice,
    OrderQuantity,
    OrderTraded,
    OrderLeaves,
    OrderAge,
    Mid,
    BestSame,
    BestOther,
    DepthSame,
    DepthOther,
}

/// What a value is: only like is compared with like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Number,
    Bool,
    Event,
    Side,
    Sym,
    Trader,
    Owner,
    Order,
    Exec,
}

impl Type {
    /// In a message.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Bool => "a condition",
            Self::Event => "an event type",
            Self::Side => "a side",
            Self::Sym => "an instrument",
            Self::Trader => "a trader",
            Self::Owner => "an owner",
            Self::Order => "an order",
            Self::Exec => "an execution",
        }
    }
}

/// All columns by name.
pub(super) const COLUMNS: [(&str, Column, Type); 23] = [
    ("event_type", Column::EventType, Type::Event),
    ("side", Column::Side, Type::Side),
    ("sym", Column::Sym, Type::Sym),
    ("trader", Column::Trader, Type::Trader),
    ("owner", Column::Owner, Type::Owner),
    ("order", Column::Order, Type::Order),
    ("exec", Column::Exec, Type::Exec),
    ("price", Column::Price, Type::Number),
    ("quantity", Column::Quantity, Type::Number),
    ("display", Column::Display, Type::Number),
    ("time", Column::Time, Type::Number),
    ("time_of_day", Column::TimeOfDay, Type::Number),
    ("aggressive", Column::Aggressive, Type::Bool),
    ("order.price", Column::OrderPrice, Type::Number),
    ("order.quantity", Column::OrderQuantity, Type::Number),
    ("order.traded", Column::OrderTraded, Type::Number),
    ("order.leaves", Column::OrderLeaves, Type::Number),
    ("order.age", Column::OrderAge, Type::Number),
    ("mid", Column::Mid, Type::Number),
    ("best.same", Column::BestSame, Type::Number),
    ("best.other", Column::BestOther, Type::Number),
    ("depth.same", Column::DepthSame, Type::Number),
    ("depth.other", Column::DepthOther, Type::Number),
];

impl Column {
    /// The column of a name, and its type.
    pub(super) fn named(name: &str) -> Option<(Self, Type)> {
        let found = COLUMNS.iter().find(|(known, _, _)| *known == name);
        found.map(|&(_, column, of)| (column, of))
    }

    /// What it asks of an event.
    pub(super) const fn asks(self) -> Asked {
        use Column as C;
        let market = match self {
            C::EventType | C::Side | C::Sym | C::Trader | C::Quantity | C::Time | C::TimeOfDay => {
                return Asked {
                    details: false,
                    market: false,
                };
            }
            C::Owner | C::Order | C::Exec | C::Price | C::Display => false,
            _ => true,
        };
        Asked {
            details: true,
            market,
        }
    }
}

/// What is asked of events beyond type, time, instrument, trader, side and quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// Any other column.
    pub(crate) details: bool,
    /// The instrument's market.
    pub(crate) market: bool,
}

impl Asked {
    /// What either asks.
    pub(super) const fn with(self, other: Self) -> Self {
        Self {
            details: self.details | other.details,
            market: self.market | other.market,
        }
    }
}

/// One event, as a rule sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) rows: &'a Rows<'a>,
    pub(super) row: usize,
    /// With its market, where the rule asks for that.
    pub(super) step: Option<&'a Step<'a>>,
}

impl View<'_> {
    /// The engine's number of the instrument; `None` when it belongs to another shard.
    #[inline]
    pub(super) fn sym(&self) -> Option<u32> {
        let code = *self.rows.orders.sym_codes().get(self.row)?;
        *self.rows.syms.get(code as usize)?
    }

    /// The engine's number of the trader; [`NOBODY`] when the source names none.
    #[inline]
    pub(super) fn trader(&self) -> u32 {
        let code = self.rows.orders.trader_codes().get(self.row).copied();
        let trader = code.and_then(|code| self.rows.traders.get(code as usize).copied());
        trader.unwrap_or(NOBODY)
    }

    #[inline]
    pub(super) fn side(&self) -> Option<Side> {
        self.rows.orders.sides().get(self.row).copied()
    }

    /// Nanoseconds, by the source's clock.
    #[inline]
    pub(super) fn time(&self) -> i64 {
        let time = self.rows.orders.times().get(self.row);
        time.map_or(0, |time| time.nanos())
    }

    /// The flags of the row.
    #[inline]
    fn flags(&self) -> Flags {
        let flags = self.rows.orders.flags().get(self.row).copied();
        flags.unwrap_or_default()
    }

    /// Names the order within its instrument; `None` when the source does not.
    pub(super) fn order_key(&self) -> Option<u64> {
        let key = OrderName::of(self.rows.orders.order_ids().bytes_at(self.row)?).key;
        (key != 0).then_some(key)
    }

    /// The value of a column in units; `None` when the source does not tell.
    #[inline]
    pub(super) fn column(&self, column: Column) -> Option<i128> {
        let (orders, row) = (self.rows.orders, self.row);
        let known = |number: u32| (number != NOBODY).then_some(i128::from(number));
        match column {
            Column::Quantity => Some(i128::from(orders.quantities().get(row)?.units()) * 10),
            Column::Price => Some(i128::from(orders.prices().get(row)?.units())),
            Column::EventType => Some(*orders.event_types().get(row)? as i128),
            Column::Side => Some(self.side()? as i128),
            Column::Trader => known(self.trader()),
            Column::Owner => known(self.rows.owner(row)),
            Column::Sym => self.sym().map(i128::from),
            Column::Order => self.order_key().map(i128::from),
            Column::Exec => match exec_number(orders.exec_ids()?.bytes_at(row)?) {
                0 => None,
                exec => Some(i128::from(exec)),
            },
            Column::Display => {
                let display = (*orders.displays().get(row)?)?;
                Some(i128::from(display.units()) * 10)
            }
            Column::Time => Some(i128::from(self.time())),
            Column::TimeOfDay => Some(i128::from(self.time().rem_euclid(DAY))),
            of_market => market_column(self.step?, of_market),
        }
    }
}

/// A day in nanoseconds.
pub(super) const DAY: i64 = 86_400_000_000_000;

fn market_column(step: &Step<'_>, column: Column) -> Option<i128> {
    let order = |part: fn(&Held) -> i64, scale: i128| {
        let order = step.order.as_ref()?;
        Some(i128::from(part(order)) * scale)
    };
    let best = |side: Side| {
        let level = step.market.book().levels(side).next()?;
        Some(i128::from(level.price.units()))
    };
    // Depth comes in units of quantity.
    let depth = |side: Side| Some(step.market.depth(side, LEVELS).saturating_mul(10));
    match column {
        Column::Aggressive => Some(i128::from(step.aggressor? == step.side)),
        Column::OrderPrice => order(|held| held.price, 1),
        Column::OrderQuantity => order(|held| held.quantity, 10),
        Column::OrderTraded => order(|held| held.traded, 10),
        Column::OrderLeaves => order(|held| held.leaves, 10),
        Column::OrderAge => {
            let entered = step.order.as_ref()?.entered;
            Some(i128::from(step.time.saturating_sub(entered)))
        }
        Column::Mid => Some(i128::from(step.market.mid2()?) / 2),
        Column::BestSame => best(step.side),
        Column::BestOther => best(step.side.opposite()),
        Column::DepthSame => depth(step.side),
        Column::DepthOther => depth(step.side.opposite()),
        _ => None,
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    #[inline]
    fn holds(self, left: i128, right: i128) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// What is done with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Arithmetic {
    #[inline]
    fn of(self, left: i128, right: i128) -> Option<i128> {
        match self {
            Self::Add => Some(left.saturating_add(right)),
            Self::Subtract => Some(left.saturating_sub(right)),
            Self::Multiply => Some(left.saturating_mul(right) / ONE),
            Self::Divide => left.saturating_mul(ONE).checked_div(right),
        }
    }
}

/// An expression. A condition is 1 or 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    Constant(i128),
    Column(Column),
    /// A measure, or what a step kept.
    Slot(usize),
    Flag(Flags),
    /// Whether the text of a column of names is one of these.
    Named(Column, Vec<String>),
    /// Whether the order is one of a step's.
    OrderIn(usize),
    /// The other side.
    Opposite(Box<Self>),
    Absolute(Box<Self>),
    Not(Box<Self>),
    Both(Box<Self>, Box<Self>),
    Either(Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    Compute(Arithmetic, Box<Self>, Box<Self>),
}

/// An order that a step of a partial match named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepOrder {
    pub(super) step: usize,
    pub(super) key: u64,
}

/// What an expression is evaluated over.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) slots: &'a [Option<i128>],
    pub(super) orders: &'a [StepOrder],
}

impl Expr {
    /// The value, or `None` when it is unknown.
    pub(super) fn value(&self, scene: &Scene<'_>) -> Option<i128> {
        match self {
            Self::Constant(units) => Some(*units),
            Self::Column(column) => scene.view.column(*column),
            Self::Slot(slot) => scene.slots.get(*slot).copied().flatten(),
            Self::Compare(comparison, left, right) => {
                let (left, right) = (left.value(scene)?, right.value(scene)?);
                Some(i128::from(comparison.holds(left, right)))
            }
            Self::Compute(what, left, right) => what.of(left.value(scene)?, right.value(scene)?),
            Self::Both(left, right) => match left.value(scene) {
                Some(0) => Some(0),
                Some(_) => right.value(scene),
                None => right.value(scene).filter(|&right| right == 0),
            },
            Self::Either(left, right) => match left.value(scene) {
                Some(0) => right.value(scene),
                Some(_) => Some(1),
                None => right.value(scene).filter(|&right| right != 0),
            },
            Self::Not(inner) => Some(i128::from(inner.value(scene)? == 0)),
            Self::Flag(flags) => Some(i128::from(scene.view.flags().has(*flags))),
            Self::Named(column, texts) => {
                let number = u32::try_from(scene.view.column(*column)?).ok()?;
                let names = scene.view.rows.names;
                let text = match column {
                    Column::Sym => names.sym(number),
                    Column::Trader => names.trader(number),
                    _ => names.owner(number),
                };
                Some(i128::from(texts.iter().any(|known| known == text)))
            }
            Self::OrderIn(step) => {
                let key = scene.view.order_key()?;
                let mut orders = scene.orders.iter();
                let found = orders.any(|order| order.step == *step && order.key == key);
                Some(i128::from(found))
            }
            // Buy is 1 and sell is 2.
            Self::Opposite(side) => Some(3 - side.value(scene)?),
            Self::Absolute(number) => Some(number.value(scene)?.saturating_abs()),
        }
    }

    /// The value of an event, within its bounds.
    pub(super) fn bounded(&self, scene: &Scene<'_>) -> Option<i128> {
        Some(self.value(scene)?.clamp(-VALUE_MAX, VALUE_MAX))
    }

    /// Whether a condition holds; not when it is unknown.
    #[inline]
    pub(super) fn holds(&self, scene: &Scene<'_>) -> bool {
        self.value(scene).is_some_and(|value| value != 0)
    }

    /// The value that does not depend on anything.
    pub(super) fn constant(&self) -> Option<i128> {
        match self {
            Self::Constant(units) => Some(*units),
            Self::Compute(what, left, right) => what.of(left.constant()?, right.constant()?),
            Self::Absolute(number) => Some(number.constant()?.saturating_abs()),
            _ => None,
        }
    }

    /// Calls with this expression and all in it.
    pub(super) fn visit(&self, seen: &mut dyn FnMut(&Self)) {
        seen(self);
        match self {
            Self::Opposite(inner) | Self::Not(inner) | Self::Absolute(inner) => inner.visit(seen),
            Self::Both(left, right)
            | Self::Either(left, right)
            | Self::Compare(_, left, right)
            | Self::Compute(_, left, right) => {
                left.visit(seen);
                right.visit(seen);
            }
            _ => {}
        }
    }

    /// What it asks of an event beyond type, time, instrument, trader, side and quantity.
    pub(super) fn asks(&self) -> Asked {
        let mut asked = Asked::default();
        self.visit(&mut |inner| match inner {
            Self::Column(column) | Self::Named(column, _) => asked = asked.with(column.asks()),
            Self::Flag(_) | Self::OrderIn(_) => asked.details = true,
            _ => {}
        });
        asked
    }

    /// The number that a measure is compared with; `None` when it is compared with none.
    pub(super) fn threshold(&self, slot: usize) -> Option<i128> {
        let mut found = None;
        self.visit(&mut |inner| {
            let Self::Compare(_, left, right) = inner else {
                return;
            };
            let number = match (left.as_ref(), right.as_ref()) {
                (Self::Slot(at), other) | (other, Self::Slot(at)) if *at == slot => {
                    other.constant()
                }
                _ => None,
            };
            found = found.or(number);
        });
        found
    }
}

/// The number of an event type's or a side's name.
pub(super) fn named_constant(of: Type, text: &str) -> Option<i128> {
    match of {
        Type::Event => EventType::parse(text.as_bytes()).map(|kind| kind as i128),
        Type::Side => Side::parse(text.as_bytes()).map(|side| side as i128),
        _ => None,
    }
}
