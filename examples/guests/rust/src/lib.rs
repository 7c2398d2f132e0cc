//! A detector as a WebAssembly component: many cancels of one side in a short time.
//!
//! Invariant: what it finds is a function of the events of an instrument, in their order. What it
//! keeps of each entity is at most `CANCELS_MAX` cancels, all within the lookback.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

wit_bindgen::generate!({ path: "../../../crates/guest/wit/detector.wit", world: "detector" });

use tapewatch::detector::types::{EventTypes, Measure, Parameter, ParameterKind, Side};

/// Most cancels that are kept of an entity; the oldest goes.
const CANCELS_MAX: usize = 1_000;

thread_local! {
    /// There is one thread.
    static STATE: RefCell<State> = RefCell::default();
}

#[derive(Default)]
struct State {
    lookback: i64,
    count: i64,
    quantity: i64,
    traders: HashMap<u32, String>,
    /// Instrument, trader and side.
    cancels: HashMap<(u32, u32, bool), VecDeque<Cancel>>,
}

struct Cancel {
    seq: u64,
    time: i64,
    quantity: i64,
}

struct CancelBurst;

impl Guest for CancelBurst {
    fn describe() -> Description {
        let parameter = |name: &str, kind, default: &str, doc: &str| Parameter {
            name: name.to_owned(),
            kind,
            default: default.to_owned(),
            doc: doc.to_owned(),
        };
        Description {
            id: "cancel_burst".to_owned(),
            version: 1,
            title: "Many cancels of one side in a short time".to_owned(),
            rule: "At a cancel: the trader's cancels of the same instrument and side within the lookback, \
                   both ends included, are at least cancel_count and of at least cancel_quantity in all. A \
                   quoting market maker does this all day."
                .to_owned(),
            parameters: vec![
                parameter("lookback", ParameterKind::TimeSpan, "1s", "How far back cancels count."),
                parameter("cancel_count", ParameterKind::Count, "5", "Cancels."),
                parameter("cancel_quantity", ParameterKind::Quantity, "1000", "Cancelled quantity."),
            ],
            measures: vec!["cancel_count".to_owned(), "cancel_quantity".to_owned()],
            wants: EventTypes::CANCELLED,
        }
    }

    fn configure(values: Vec<i64>) -> Result<(), String> {
        let [lookback, count, quantity] = values[..] else {
            return Err(format!("{} values, 3 expected", values.len()));
        };
        STATE.with_borrow_mut(|state| {
            (state.lookback, state.count, state.quantity) = (lookback, count, quantity);
        });
        Ok(())
    }

    fn name(of: Names, number: u32, text: String) {
        if of == Names::Trader {
            STATE.with_borrow_mut(|state| state.traders.insert(number, text));
        }
    }

    fn apply(event: Event) -> Vec<Finding> {
        if event.trader == 0 {
            return Vec::new(); // the source does not tell who it was
        }
        STATE.with_borrow_mut(|state| state.apply(&event).into_iter().collect())
    }

    fn save() -> Vec<u8> {
        STATE.with_borrow(State::save)
    }

    fn load(state: Vec<u8>) -> Result<(), String> {
        STATE.with_borrow_mut(|new| new.load(&state).ok_or("it is cut short".to_owned()))
    }
}

impl State {
    fn apply(&mut self, event: &Event) -> Option<Finding> {
        let key = (event.instrument, event.trader, event.side == Side::Sell);
        let cancels = self.cancels.entry(key).or_default();
        while cancels.front().is_some_and(|first| first.time < event.time - self.lookback) {
            cancels.pop_front();
        }
        if cancels.len() == CANCELS_MAX {
            cancels.pop_front();
        }
        cancels.push_back(Cancel {
            seq: event.seq,
            time: event.time,
            quantity: event.quantity,
        });
        let count = cancels.len() as i64;
        if count < self.count {
            return None; // the usual case
        }
        let quantity: i64 = cancels.iter().map(|cancel| cancel.quantity).sum();
        if quantity < self.quantity {
            return None;
        }
        let trader = self.traders.get(&event.trader).map_or("", String::as_str);
        Some(Finding {
            entity: event.trader,
            lookback: self.lookback,
            measures: vec![
                Measure {
                    value: count.saturating_mul(1_000_000_000),
                    threshold: self.count.saturating_mul(1_000_000_000),
                },
                // from 10⁻⁸ to 10⁻⁹
                Measure {
                    value: quantity.saturating_mul(10),
                    threshold: self.quantity.saturating_mul(10),
                },
            ],
            evidence: cancels.iter().map(|cancel| cancel.seq).collect(),
            text: format!("{trader} cancelled {count} orders of one side within the lookback"),
        })
    }

    /// What it remembers, as numbers in a row: for each entity three for its key, the count of its
    /// cancels, and three for each of them.
    fn save(&self) -> Vec<u8> {
        let mut numbers: Vec<i64> = Vec::new();
        for ((instrument, trader, sells), cancels) in &self.cancels {
            let count = cancels.len() as i64;
            numbers.extend([i64::from(*instrument), i64::from(*trader), i64::from(*sells), count]);
            let cancels = cancels.iter();
            numbers.extend(cancels.flat_map(|c| [c.seq as i64, c.time, c.quantity]));
        }
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn load(&mut self, saved: &[u8]) -> Option<()> {
        let mut numbers = saved.chunks_exact(8).map(|bytes| {
            bytes.iter().rev().fold(0, |number, byte| number << 8 | i64::from(*byte))
        });
        while let Some(instrument) = numbers.next() {
            let key = (instrument as u32, numbers.next()? as u32, numbers.next()? != 0);
            let mut cancels = VecDeque::new();
            for _ in 0..numbers.next()? {
                let (seq, time, quantity) = (numbers.next()? as u64, numbers.next()?, numbers.next()?);
                cancels.push_back(Cancel { seq, time, quantity });
            }
            self.cancels.insert(key, cancels);
        }
        Some(())
    }
}

export!(CancelBurst);
