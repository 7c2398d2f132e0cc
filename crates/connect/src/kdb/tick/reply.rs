//! What goes back: tables of the reference made of orders and alerts, and the answers to requests.
//!
//! Invariant: columns, their types and their order are those of the reference's schema, whatever the
//! rows; an update that a subscriber's symbols leave nothing of is not sent.

use tapewatch_model::{Date, Decimal, OrderBatch, Price, Quantity};

use super::{AlertRow, ColumnKind, ORDER, ORDER_ALERTS, Syms, columns, to_date, to_timestamp};
use crate::kdb::value::{Atom, Attr, Dict, Items, List, NULL_LONG, Symbols, Table, Value};

/// The empty table that a subscriber is told first, with `g#` on its symbols; `None` when there is no
/// such table.
#[must_use]
pub fn schema(table: &str) -> Option<Table> {
    let kinds = columns(table)?;
    let mut lists: Vec<List> = kinds.iter().map(|(_, kind)| kind.empty().into()).collect();
    if let Some(sym) = lists.get_mut(1) {
        sym.attr = Attr::Grouped;
    }
    Table::new(kinds.iter().map(|(name, _)| name).collect(), lists).ok()
}

/// The columns that both tables begin with.
#[derive(Default)]
struct OrderColumns {
    time: Vec<i64>,
    sym: Symbols,
    event_type: Symbols,
    trader: Vec<Value>,
    side: Symbols,
    order_id: Vec<Value>,
    price: Vec<f64>,
    quantity: Vec<f64>,
}

impl OrderColumns {
    fn push(&mut self, row: &tapewatch_model::RowRef<'_>) {
        self.time.push(to_timestamp(row.time));
        self.sym.push(row.sym);
        self.event_type.push(row.event_type.name());
        self.trader.push(Value::text(row.trader));
        self.side.push(row.side.name());
        self.order_id.push(Value::text(row.order_id));
        self.price.push(price(row.price));
        self.quantity.push(quantity(row.quantity));
    }

    fn into_items(self) -> Vec<Items> {
        vec![
            Items::Timestamp(self.time),
            Items::Symbol(self.sym),
            Items::Symbol(self.event_type),
            Items::Mixed(self.trader),
            Items::Symbol(self.side),
            Items::Mixed(self.order_id),
            Items::Float(self.price),
            Items::Float(self.quantity),
        ]
    }
}

/// The float nearest to a price: the very same number with up to 15 digits.
fn price(price: Price) -> f64 {
    price.units() as f64 / 1e9
}

fn quantity(quantity: Quantity) -> f64 {
    quantity.units() as f64 / 1e8
}

fn decimal(decimal: Decimal) -> f64 {
    decimal.units() as f64 / 1e9
}

/// The orders as the reference's table, those of `syms` alone. What the reference has no column for
/// (account, execution, flags) is left out.
#[must_use]
pub fn order_table(orders: &OrderBatch, syms: &Syms) -> Option<Table> {
    let mut all = OrderColumns::default();
    for (_, row) in orders.rows().filter(|(_, row)| syms.has(row.sym)) {
        all.push(&row);
    }
    table(ORDER, all.into_items())
}

/// The alerts as the reference's table, those of `syms` alone.
#[must_use]
pub fn alert_table<'a>(
    alerts: impl IntoIterator<Item = &'a AlertRow>,
    syms: &Syms,
) -> Option<Table> {
    let mut orders = OrderColumns::default();
    let mut names = Symbols::default();
    let mut quantities = Vec::new();
    let [mut counts, mut quantity_max, mut count_max, mut lookbacks] = [const { Vec::new() }; 4];
    for alert in alerts
        .into_iter()
        .filter(|alert| syms.has(&alert.order.sym))
    {
        orders.push(&alert.order.as_row());
        names.push(&alert.alert_name);
        quantities.push(decimal(alert.total_cancel_quantity));
        counts.push(alert.total_cancel_count);
        quantity_max.push(alert.cancel_quantity_threshold);
        count_max.push(alert.cancel_count_threshold);
        lookbacks.push(alert.lookback.nanos());
    }
    let mut items = orders.into_items();
    items.extend([
        Items::Symbol(names),
        Items::Float(quantities),
        Items::Long(counts),
        Items::Long(quantity_max),
        Items::Long(count_max),
        Items::Timespan(lookbacks),
    ]);
    table(ORDER_ALERTS, items)
}

/// A table of the reference; `None` when its columns are of several lengths, which they are only when
/// symbols take four gigabytes.
fn table(name: &str, items: Vec<Items>) -> Option<Table> {
    let names = columns(name)?.iter().map(|(name, _)| name).collect();
    Table::new(names, items.into_iter().map(List::from).collect()).ok()
}

/// What a subscriber is sent: asynchronous, ``(`upd;`order;table)``; `None` when there are no rows.
#[must_use]
pub fn publish(name: &str, table: Table) -> Option<Value> {
    (table.rows() > 0).then(|| update(name, Value::Table(Box::new(table))))
}

/// What the log holds and a subscriber is sent: ``(`upd;`order;data)``.
#[must_use]
pub fn update(name: &str, data: Value) -> Value {
    Value::mixed(vec![Value::symbol("upd"), Value::symbol(name), data])
}

/// A table as the list of its columns, as in the log.
#[must_use]
pub fn columns_of(table: Table) -> Value {
    Value::mixed(table.into_columns().into_iter().map(Value::List).collect())
}

/// What subscribers are sent when a day has ended: asynchronous, ``(`.u.end;2021.08.19)``.
#[must_use]
pub fn end_of_day(day: Date) -> Value {
    let days = to_date(Some(day.days()));
    Value::mixed(vec![Value::symbol(".u.end"), Value::Atom(Atom::Date(days))])
}

/// The answer to ``.u `i`L`` where there is no log that q could replay, as of a tickerplant that keeps
/// none: a null number of messages, at which q's subscribers leave the replay out, and no path.
#[must_use]
pub fn no_log() -> Value {
    Value::mixed(vec![Value::Atom(Atom::Long(NULL_LONG)), Value::symbol(":")])
}

/// The answer to a subscription of these tables: name and schema of the only one, or a list of such
/// pairs when there are several or `all` were asked for. An unknown table is an error with its name,
/// as in kdb+tick.
#[must_use]
pub fn subscribed(tables: &[String], all: bool) -> Value {
    let pair = |name: &String| match schema(name) {
        Some(table) => Ok(Value::mixed(vec![
            Value::symbol(name),
            Value::Table(Box::new(table)),
        ])),
        None => Err(Value::error(name)),
    };
    match tables {
        [one] if !all => pair(one).unwrap_or_else(|error| error),
        tables => {
            let pairs = tables.iter().map(pair).collect::<Result<_, _>>();
            pairs.map_or_else(|error| error, Value::mixed)
        }
    }
}

/// The answer to `tables[]`.
#[must_use]
pub fn tables() -> Value {
    Value::List(List {
        attr: Attr::Sorted,
        items: Items::Symbol([ORDER, ORDER_ALERTS].iter().collect()),
    })
}

/// The answer to `cols t`; `None` when there is no such table.
#[must_use]
pub fn cols(table: &str) -> Option<Value> {
    let names = columns(table)?.iter().map(|(name, _)| name).collect();
    Some(Value::List(Items::Symbol(names).into()))
}

/// The answer to `meta t`: a keyed table of each column's letter; `None` when there is no such table.
#[must_use]
pub fn meta(table: &str) -> Option<Value> {
    let kinds = columns(table)?;
    let letter = |(_, kind): &(&str, ColumnKind)| match kind {
        ColumnKind::Timestamp => b'p',
        ColumnKind::Symbol => b's',
        ColumnKind::Text => b'C',
        ColumnKind::Float => b'f',
        ColumnKind::Long => b'j',
        ColumnKind::Timespan => b'n',
        ColumnKind::Date => b'd',
        ColumnKind::Bool => b'b',
    };
    let keyed = |names: &[&str], items: Vec<Items>| {
        let lists = items.into_iter().map(List::from).collect();
        let table = Table::new(names.iter().collect(), lists).ok()?;
        Some(Value::Table(Box::new(table)))
    };
    let keys = keyed(
        &["c"],
        vec![Items::Symbol(kinds.iter().map(|(name, _)| name).collect())],
    )?;
    let attr = |(name, _): &(&str, ColumnKind)| if *name == "sym" { "g" } else { "" };
    let values = keyed(
        &["t", "f", "a"],
        vec![
            Items::Char(kinds.iter().map(letter).collect()),
            Items::Symbol(kinds.iter().map(|_| "").collect()),
            Items::Symbol(kinds.iter().map(attr).collect()),
        ],
    )?;
    Dict::new(false, keys, values)
        .ok()
        .map(|dict| Value::Dict(Box::new(dict)))
}
