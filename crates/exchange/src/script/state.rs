//! What a desk is made of: who it is, what it has sent, what it has seen.
//!
//! Invariant: every order that was sent has an entry until the session is over, and the entry says what
//! the events said.

use std::collections::BTreeMap;

use tapewatch_model::{OrderKey, Side, Time};

use super::View;
use crate::command::Command;
use crate::event::{EventKind, Party};
use crate::exchange::Instrument;
use crate::label::Label;
use crate::pattern::Pattern;
use crate::plan::Intensity;
use crate::simulation::Draws;

/// Who plays what, where.
#[derive(Debug)]
pub(crate) struct Brief {
    /// The number that makes its orders' names.
    pub(crate) number: u32,
    pub(crate) pattern: Pattern,
    pub(crate) intensity: Intensity,
    pub(crate) accounts: Vec<u32>,
    /// Its own instrument, and another one where there is one.
    pub(crate) instruments: Vec<Instrument>,
    /// When continuous trading ends.
    pub(crate) stops: Time,
    /// When the news comes that this is about, and whether the price rises.
    pub(crate) news: Option<(Time, Side)>,
    /// Units of a price in a tick, of a quantity in a lot.
    pub(crate) tick: i64,
    pub(crate) lot: i64,
    pub(crate) draws: Draws,
}

/// An order as its desk knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) account: u32,
    /// Which of the desk's instruments.
    pub(crate) place: usize,
    /// Lots that have traded.
    pub(crate) filled: i64,
    /// Those of them that traded with another order of the desk.
    pub(crate) inside: i64,
    /// Prices in ticks times lots.
    pub(crate) paid: i64,
    /// Whether the venue took it.
    pub(crate) accepted: bool,
    /// Whether it may still trade.
    pub(crate) open: bool,
}

/// A desk's insides.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) brief: Brief,
    pub(crate) now: Time,
    pub(crate) views: [View; 2],
    /// What is to go out.
    pub(crate) out: Vec<(Instrument, Command)>,
    /// For how many nanoseconds trading is to be halted.
    pub(crate) halt: Option<i64>,
    /// When to be polled again.
    pub(crate) wish: Option<Time>,
    /// What was carried out, and what was tried in vain.
    pub(crate) labels: Vec<Label>,
    pub(crate) attempts: Vec<Label>,
    pub(crate) sent: BTreeMap<OrderKey, Sent>,
    keys: u32,
}

impl State {
    pub(crate) fn new(brief: Brief) -> Self {
        Self {
            brief,
            now: Time::from_nanos(i64::MIN),
            views: [View::default(); 2],
            out: Vec::new(),
            halt: None,
            wish: None,
            labels: Vec::new(),
            attempts: Vec::new(),
            sent: BTreeMap::new(),
            keys: 0,
        }
    }

    /// The name of a new order of one of its accounts.
    pub(crate) fn name(&mut self, account: u32, place: usize) -> OrderKey {
        self.keys = self.keys.wrapping_add(1);
        let key = OrderKey(u64::from(self.brief.number) << 32 | u64::from(self.keys));
        let sent = Sent {
            account,
            place,
            filled: 0,
            inside: 0,
            paid: 0,
            accepted: false,
            open: true,
        };
        self.sent.insert(key, sent);
        key
    }

    /// Notes what happened to one of its orders. Whether it is told, beside what it sees when it looks.
    pub(crate) fn note(&mut self, event: &EventKind) -> bool {
        match *event {
            EventKind::Accepted(new) => {
                self.change(new.order, |sent| sent.accepted = true);
                false
            }
            EventKind::Cancelled { order, .. } => {
                self.change(order, |sent| sent.open = false);
                true
            }
            EventKind::Refused { order, .. } => {
                // An order that is there stays when a change of it is refused.
                self.change(order, |sent| sent.open &= sent.accepted);
                true
            }
            EventKind::Executed {
                buy,
                sell,
                price,
                quantity,
                ..
            } => {
                let lots = quantity.units() / self.brief.lot.max(1);
                let paid = lots.saturating_mul(price.units() / self.brief.tick.max(1));
                let inside =
                    self.sent.contains_key(&buy.order) && self.sent.contains_key(&sell.order);
                let mut fill = |party: Party| {
                    self.change(party.order, |sent| {
                        sent.filled += lots;
                        sent.inside += if inside { lots } else { 0 };
                        sent.paid = sent.paid.saturating_add(paid);
                        sent.open = party.leaves.units() > 0;
                    });
                };
                fill(buy);
                fill(sell);
                true
            }
            EventKind::Crossed(cross) => {
                let lots = cross.quantity.units() / self.brief.lot.max(1);
                for order in [cross.buy, cross.sell] {
                    self.change(order, |sent| {
                        (sent.accepted, sent.open) = (true, false);
                        (sent.filled, sent.inside) = (lots, lots);
                    });
                }
                true
            }
            EventKind::Rested { .. }
            | EventKind::Amended { .. }
            | EventKind::Uncrossed { .. }
            | EventKind::PhaseBegan(_) => false,
        }
    }

    fn change(&mut self, order: OrderKey, change: impl FnOnce(&mut Sent)) {
        if let Some(sent) = self.sent.get_mut(&order) {
            change(sent);
        }
    }
}
