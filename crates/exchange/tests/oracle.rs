//! The market against one written from the rules alone, over random commands of all kinds: the same
//! events, the same orders, and what must hold whatever happened.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::naive::Naive;
use support::{Step, rules, steps};
use tapewatch_exchange::{Event, EventKind, Exchange, Phase};
use tapewatch_model::{Book, BookOrder, OrderKey, Priority, Quantity, Side};

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
/// Few enough to be reached.
const ORDERS_MAX: u32 = 14;

/// The book of a reader who sees the events alone, of orders with a limit by what of them is shown.
struct Reader(Book);

impl Reader {
    fn read(&mut self, event: &EventKind) {
        match *event {
            EventKind::Rested {
                order,
                side,
                price: Some(price),
                quantity,
            } => {
                let order = BookOrder {
                    key: order,
                    side,
                    price,
                    quantity,
                    extra: (),
                };
                self.0.add(order).unwrap();
            }
            EventKind::Executed {
                buy,
                sell,
                aggressor,
                quantity,
                ..
            } => {
                for (side, party) in [(Side::Buy, buy), (Side::Sell, sell)] {
                    let Some(order) = self.0.get_mut(party.order) else {
                        continue;
                    };
                    let shown = order.order().quantity;
                    match aggressor {
                        // Hidden parts trade before shown ones.
                        None => order.reduce(shown.saturating_sub(party.leaves)),
                        Some(aggressor) if aggressor != side => order.reduce(quantity),
                        Some(_) => {}
                    }
                }
            }
            EventKind::Amended {
                order,
                displayed,
                priority,
                ..
            } => {
                if let Some(held) = self.0.get_mut(order) {
                    let shown = held.order().quantity;
                    match priority {
                        Priority::Kept => held.reduce(shown.saturating_sub(displayed)),
                        Priority::Lost => drop(held.remove()),
                    }
                }
            }
            EventKind::Cancelled { order, .. } => drop(self.0.remove(order)),
            _ => {}
        }
    }
}

/// What each order that lives still has to do, by the events alone.
#[derive(Default)]
struct Ledger(BTreeMap<OrderKey, Quantity>);

impl Ledger {
    fn read(&mut self, event: &EventKind) {
        match *event {
            EventKind::Accepted(new) => {
                assert_eq!(self.0.insert(new.order, new.quantity), None);
            }
            EventKind::Executed {
                buy,
                sell,
                quantity,
                ..
            } => {
                assert!(quantity > Quantity::ZERO);
                for party in [buy, sell] {
                    let leaves = self.0.get_mut(&party.order).unwrap();
                    assert_eq!(Some(*leaves), party.leaves.checked_add(quantity));
                    *leaves = party.leaves;
                }
                self.0.retain(|_, leaves| *leaves > Quantity::ZERO);
            }
            EventKind::Amended { order, leaves, .. } => {
                *self.0.get_mut(&order).unwrap() = leaves;
            }
            EventKind::Cancelled { order, leaves, .. } => {
                assert_eq!(self.0.remove(&order), Some(leaves));
            }
            _ => {}
        }
    }
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

fn check(steps: Vec<Step>, reference: Option<i64>) {
    let rules = rules(reference, ORDERS_MAX);
    let mut exchange = Exchange::default();
    let instrument = exchange.list(rules).unwrap();
    let mut naive = Naive::new(rules);
    let mut reader = Reader(Book::with_limit(ORDERS_MAX));
    let mut ledger = Ledger::default();
    let mut events = Vec::new();
    for step in steps {
        events.clear();
        naive.events.clear();
        match step {
            Step::Submit(command) => {
                exchange.submit(instrument, command, &mut events);
                naive.submit(command);
            }
            Step::Begin(phase) => {
                exchange.begin(instrument, phase, &mut events).unwrap();
                naive.begin(phase);
            }
        }
        assert_eq!(kinds(&events), naive.events, "after {step:?}");
        let market = exchange.market(instrument).unwrap();
        assert_eq!(market.phase(), naive.phase());
        for event in &events {
            reader.read(&event.kind);
            ledger.read(&event.kind);
        }
        let mut alive = BTreeMap::new();
        for side in SIDES {
            let orders: Vec<_> = market.orders(side).collect();
            assert_eq!(orders, naive.orders(side), "after {step:?}");
            let shown: Vec<_> = market
                .book()
                .orders(side)
                .map(|o| (o.key, o.price, o.quantity))
                .collect();
            let read: Vec<_> = reader
                .0
                .orders(side)
                .map(|o| (o.key, o.price, o.quantity))
                .collect();
            assert_eq!(shown, read, "after {step:?}");
            for order in orders {
                assert_eq!(market.resting(order.order), Some(order));
                alive.insert(order.order, order.leaves);
            }
        }
        assert_eq!(alive, ledger.0, "quantity is conserved");
        assert!(market.phase() != Phase::Continuous || !market.book().is_crossed());
        assert!(market.phase() != Phase::Closed || alive.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_market_follows_the_rules(steps in steps(), reference in proptest::option::of(-3_i64..4)) {
        check(steps, reference);
    }
}

/// Every kind of event comes up in what the property is checked over.
#[test]
fn random_commands_reach_everything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::new();
    for _ in 0..300 {
        let mut naive = Naive::new(rules(Some(0), ORDERS_MAX));
        for step in steps().new_tree(&mut runner).unwrap().current() {
            match step {
                Step::Submit(command) => naive.submit(command),
                Step::Begin(phase) => naive.begin(phase),
            }
        }
        for event in naive.events {
            let name = match event {
                EventKind::Refused { reason, .. } => format!("{reason:?}"),
                EventKind::Cancelled { reason, .. } => format!("{reason:?}"),
                EventKind::Amended { priority, .. } => format!("{priority:?}"),
                EventKind::Executed { aggressor, .. } => format!("{aggressor:?}"),
                _ => continue,
            };
            *seen.entry(name).or_insert(0_u32) += 1;
        }
    }
    for (name, least) in [
        ("Lot", 100),
        ("Tick", 50),
        ("NotResting", 50),
        ("Display", 10),
        ("CallPhase", 50),
        ("DuplicateOrder", 100),
        ("UnknownOrder", 100),
        ("NoLimit", 10),
        ("Filled", 10),
        ("Full", 5),
        ("WouldTrade", 30),
        ("Closed", 50),
        ("Requested", 100),
        ("Unfilled", 100),
        ("FillOrKill", 50),
        ("SelfMatch", 100),
        ("AuctionOver", 20),
        ("Expired", 100),
        ("Kept", 100),
        ("Lost", 100),
        ("None", 100),
        ("Some(Buy)", 500),
        ("Some(Sell)", 500),
    ] {
        let times = seen.get(name).copied().unwrap_or_default();
        assert!(times >= least, "{name}: {times} times; all: {seen:?}");
    }
}
