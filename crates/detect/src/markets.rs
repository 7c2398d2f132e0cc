//! The markets of all instruments of an engine.
//!
//! Invariant: a market is fed by its own instrument's rows alone.

use tapewatch_model::Quantity;

use crate::detector::{NOBODY, Rows};
use crate::market::{Incoming, Market, OrderName, SavedMarket, exec_number};
use crate::step::Step;

/// The markets, by the engine's number of the instrument.
#[derive(Debug, Clone, Default)]
pub(crate) struct Markets {
    markets: Vec<Option<Box<Market>>>,
    /// Where instruments come one after another: the one at hand.
    at: Option<u32>,
}

impl Markets {
    /// The latest time of an instrument's rows; `None` when it has none.
    #[inline]
    pub(crate) fn now(&self, sym: u32) -> Option<i64> {
        self.get(sym).map(Market::now)
    }

    #[inline]
    fn get(&self, sym: u32) -> Option<&Market> {
        self.markets.get(sym as usize)?.as_deref()
    }

    /// Orders passed over because a book was full.
    pub(crate) fn overflows(&self) -> u64 {
        self.markets
            .iter()
            .flatten()
            .map(|market| market.overflows())
            .sum()
    }

    /// Takes a row of the batch in; `None` when its instrument belongs to another shard.
    #[inline]
    pub(crate) fn step<'a>(&'a mut self, rows: &'a Rows<'a>, row: usize) -> Option<Step<'a>> {
        let (incoming, sym, desk) = incoming(rows, row)?;
        if rows.by_instrument && self.at != Some(sym) {
            self.markets.clear();
            self.at = Some(sym);
        }
        let place = sym as usize;
        if self.markets.len() <= place {
            self.markets.resize(place + 1, None);
        }
        let market = self.markets.get_mut(place)?.get_or_insert_default();
        market.take(&incoming);
        let (class, group) = rows.names.class_and_group(sym, incoming.owner);
        let market = self.get(sym)?;
        let seen = market.seen();
        Some(Step {
            rows,
            row,
            seq: incoming.seq,
            time: market.now(),
            sym,
            trader: incoming.trader,
            owner: incoming.owner,
            desk,
            kind: incoming.kind,
            side: incoming.side,
            price: incoming.price,
            quantity: incoming.quantity,
            flags: incoming.flags,
            key: incoming.order.key,
            order: seen.order.as_ref(),
            trade: seen.trade.as_ref(),
            aggressor: seen.aggressor,
            market,
            markets: self,
            class,
            group,
        })
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn save(&self) -> Vec<Option<SavedMarket>> {
        let markets = self.markets.iter();
        markets
            .map(|market| market.as_ref().map(|market| market.save()))
            .collect()
    }

    pub(crate) fn load(&mut self, saved: Vec<Option<SavedMarket>>) {
        let markets = saved.into_iter();
        let load = |saved| Box::new(Market::load(saved));
        self.markets = markets.map(|saved| saved.map(load)).collect();
    }
}

/// A row as its market takes it in, and the engine's numbers of its instrument and its desk.
#[inline]
fn incoming(rows: &Rows<'_>, row: usize) -> Option<(Incoming, u32, u32)> {
    let orders = rows.orders;
    let sym = rows.sym(row)?;
    let (trader, owner) = rows.trader_and_owner(row)?;
    let desk = orders.trader_codes().get(row);
    let desk = desk.and_then(|code| rows.trader_owners.get(*code as usize).copied());
    let desk = desk.unwrap_or(NOBODY);
    let exec = orders.exec_ids().and_then(|ids| ids.bytes_at(row));
    let display = orders.displays().get(row).copied().flatten();
    let incoming = Incoming {
        seq: orders.seq(row),
        time: orders.times().get(row)?.nanos(),
        kind: *orders.event_types().get(row)?,
        side: *orders.sides().get(row)?,
        price: orders.prices().get(row)?.units(),
        quantity: orders.quantities().get(row)?.units(),
        display: display.map_or(0, Quantity::units),
        flags: orders.flags().get(row).copied().unwrap_or_default(),
        trader,
        owner,
        order: OrderName::of(orders.order_ids().bytes_at(row)?),
        exec: exec.map_or(0, exec_number),
    };
    Some((incoming, sym, desk))
}
