//! The engine's own numbers for instruments and traders, and what it counts of the rows.
//!
//! Invariant: a text has one number for as long as the engine lives, in order of first sight. A
//! batch whose dictionaries were seen last costs nothing to translate.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Interner, OrderBatch, Time};

use crate::detector::{NOBODY, Rows};
use crate::shard::Shard;

/// Translates the codes of batches.
pub(crate) struct Codes {
    shard: Shard,
    syms: Interner,
    /// For each known instrument: whether the shard holds it.
    held: Vec<bool>,
    traders: Interner,
    newest: Time,
    pub(crate) rows: u64,
    pub(crate) late_rows: u64,
    /// The dictionaries seen last, and what their codes mean here.
    sym_dictionary: Arc<Interner>,
    sym_of_code: Vec<Option<u32>>,
    trader_dictionary: Arc<Interner>,
    trader_of_code: Vec<u32>,
}

/// What is saved of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedCodes {
    syms: Vec<String>,
    traders: Vec<String>,
    newest: i64,
    rows: u64,
    late_rows: u64,
}

impl Codes {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            syms: Interner::default(),
            held: Vec::new(),
            traders: Interner::default(),
            newest: Time::MIN,
            rows: 0,
            late_rows: 0,
            sym_dictionary: Arc::default(),
            sym_of_code: Vec::new(),
            trader_dictionary: Arc::default(),
            trader_of_code: Vec::new(),
        }
    }

    /// The batch as detectors see it; `None` when it is empty. Counts its rows.
    pub(crate) fn rows_of<'a>(
        &'a mut self,
        orders: &'a OrderBatch,
        by_instrument: bool,
    ) -> Option<Rows<'a>> {
        let time_min = self.note_times(orders)?;
        self.map_syms(orders.syms());
        self.map_traders(orders.traders());
        Some(Rows {
            orders,
            syms: &self.sym_of_code,
            traders: &self.trader_of_code,
            time_min: time_min.nanos(),
            by_instrument,
        })
    }

    /// Counts late rows and returns the least time.
    fn note_times(&mut self, orders: &OrderBatch) -> Option<Time> {
        let mut least = *orders.times().first()?;
        let mut late = 0;
        for &time in orders.times() {
            late += u64::from(time < self.newest);
            self.newest = self.newest.max(time);
            least = least.min(time);
        }
        self.late_rows += late;
        self.rows += orders.len() as u64;
        Some(least)
    }

    fn map_syms(&mut self, dictionary: &Arc<Interner>) {
        if Arc::ptr_eq(dictionary, &self.sym_dictionary) {
            return;
        }
        self.sym_of_code.clear();
        for sym in dictionary.texts().iter() {
            // A dictionary holds UTF-8 only, so interning its texts cannot fail.
            let Ok(number) = self.syms.intern(sym.as_bytes()) else {
                continue;
            };
            if number as usize == self.held.len() {
                self.held.push(self.shard.holds(sym));
            }
            let held = self.held.get(number as usize).copied().unwrap_or_default();
            self.sym_of_code.push(held.then_some(number));
        }
        self.sym_dictionary = Arc::clone(dictionary);
    }

    fn map_traders(&mut self, dictionary: &Arc<Interner>) {
        if Arc::ptr_eq(dictionary, &self.trader_dictionary) {
            return;
        }
        self.trader_of_code.clear();
        for trader in dictionary.texts().iter() {
            // A dictionary holds UTF-8 only, so interning its texts cannot fail.
            let number = match trader {
                "" => NOBODY,
                trader => self.traders.intern(trader.as_bytes()).unwrap_or(NOBODY),
            };
            self.trader_of_code.push(number);
        }
        self.trader_dictionary = Arc::clone(dictionary);
    }

    pub(crate) fn save(&self) -> SavedCodes {
        let texts = |of: &Interner| of.texts().iter().map(str::to_owned).collect();
        SavedCodes {
            syms: texts(&self.syms),
            traders: texts(&self.traders),
            newest: self.newest.nanos(),
            rows: self.rows,
            late_rows: self.late_rows,
        }
    }

    /// Takes the place of what is there; `false` when a text is there twice.
    pub(crate) fn load(&mut self, saved: &SavedCodes) -> bool {
        *self = Self::new(self.shard);
        for sym in &saved.syms {
            self.held.push(self.shard.holds(sym));
            let _ = self.syms.intern(sym.as_bytes());
        }
        for trader in &saved.traders {
            let _ = self.traders.intern(trader.as_bytes());
        }
        self.newest = Time::from_nanos(saved.newest);
        self.rows = saved.rows;
        self.late_rows = saved.late_rows;
        self.syms.len() == saved.syms.len() && self.traders.len() == saved.traders.len()
    }
}
