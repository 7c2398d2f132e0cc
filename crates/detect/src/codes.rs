//! The engine's own numbers for instruments, traders and owners, and what it counts of the rows.
//!
//! Invariant: a text has one number for as long as the engine lives, in order of first sight. A
//! batch whose dictionaries were seen last costs nothing to translate.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Interner, OrderBatch, Time};

use crate::detector::{NOBODY, Rows};
use crate::owners::Owners;
use crate::reference::{Class, News, Reference};
use crate::shard::Shard;

/// Translates the codes of batches.
pub(crate) struct Codes {
    shard: Shard,
    syms: Interner,
    /// For each known instrument: whether the shard holds it.
    held: Vec<bool>,
    traders: Interner,
    owners: Owners,
    newest: Time,
    pub(crate) rows: u64,
    pub(crate) late_rows: u64,
    /// The dictionaries seen last, and what their codes mean here.
    sym_dictionary: Arc<Interner>,
    sym_of_code: Vec<Option<u32>>,
    trader_dictionary: Arc<Interner>,
    trader_of_code: Vec<u32>,
    owner_of_trader: Vec<u32>,
    account_dictionary: Arc<Interner>,
    owner_of_account: Vec<u32>,
}

/// The texts of the engine's numbers, and what the reference tables say of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    syms: &'a Interner,
    traders: &'a Interner,
    owners: &'a Owners,
}

impl<'a> Names<'a> {
    pub(crate) fn sym(self, number: u32) -> &'a str {
        self.syms.get(number).unwrap_or_default()
    }

    /// A trader's name; of nobody, that the source does not tell.
    pub(crate) fn trader(self, number: u32) -> &'a str {
        self.traders.get(number).unwrap_or("someone unnamed")
    }

    /// The name of an owner: the group of linked accounts, the account, or else the trader.
    pub(crate) fn owner(self, number: u32) -> &'a str {
        self.owners.name(number)
    }

    /// Whether an owner is a group that accounts or traders are linked to.
    pub(crate) fn is_group(self, number: u32) -> bool {
        self.owners.is_group(number)
    }

    /// The class of an instrument and the client group of an owner, by number; 0 for none.
    #[inline]
    pub(crate) fn class_and_group(self, sym: u32, owner: u32) -> (u16, u16) {
        self.owners.class_and_group(sym, owner)
    }

    /// The class with a number; of 0, what is usual.
    pub(crate) fn class(self, number: u16) -> Option<&'a Class> {
        self.owners.class(number)
    }

    /// The news of an instrument, in order of time.
    pub(crate) fn news(self, sym: u32) -> &'a [News] {
        self.owners.news(sym)
    }
}

/// What is saved of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedCodes {
    syms: Vec<String>,
    traders: Vec<String>,
    owners: Vec<String>,
    newest: i64,
    rows: u64,
    late_rows: u64,
}

impl Codes {
    pub(crate) fn new(shard: Shard, reference: Arc<Reference>) -> Self {
        Self {
            shard,
            owners: Owners::new(reference),
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
            owner_of_trader: Vec::new(),
            account_dictionary: Arc::default(),
            owner_of_account: Vec::new(),
        }
    }

    /// Takes other reference tables.
    pub(crate) fn refer(&mut self, reference: Arc<Reference>) {
        self.owners.refer(reference, &self.syms);
        // Owners are told anew.
        self.trader_dictionary = Arc::default();
        self.account_dictionary = Arc::default();
        self.trader_of_code.clear();
        self.owner_of_trader.clear();
        self.owner_of_account.clear();
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
        let account_codes = match orders.accounts() {
            Some((dictionary, codes)) => {
                self.map_accounts(dictionary);
                codes
            }
            None => &[],
        };
        Some(Rows {
            orders,
            syms: &self.sym_of_code,
            traders: &self.trader_of_code,
            account_codes,
            account_owners: &self.owner_of_account,
            trader_owners: &self.owner_of_trader,
            names: Names {
                syms: &self.syms,
                traders: &self.traders,
                owners: &self.owners,
            },
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
                self.owners.add_sym(sym);
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
        self.owner_of_trader.clear();
        for trader in dictionary.texts().iter() {
            // A dictionary holds UTF-8 only, so interning its texts cannot fail.
            let number = match trader {
                "" => NOBODY,
                trader => self.traders.intern(trader.as_bytes()).unwrap_or(NOBODY),
            };
            self.trader_of_code.push(number);
            self.owner_of_trader.push(self.owners.of_trader(trader));
        }
        self.trader_dictionary = Arc::clone(dictionary);
    }

    fn map_accounts(&mut self, dictionary: &Arc<Interner>) {
        if Arc::ptr_eq(dictionary, &self.account_dictionary) {
            return;
        }
        self.owner_of_account.clear();
        for account in dictionary.texts().iter() {
            self.owner_of_account.push(self.owners.of_account(account));
        }
        self.account_dictionary = Arc::clone(dictionary);
    }

    pub(crate) fn save(&self) -> SavedCodes {
        let texts = |of: &Interner| of.texts().iter().map(str::to_owned).collect();
        SavedCodes {
            syms: texts(&self.syms),
            traders: texts(&self.traders),
            owners: texts(self.owners.texts()),
            newest: self.newest.nanos(),
            rows: self.rows,
            late_rows: self.late_rows,
        }
    }

    /// Takes the place of what is there; `false` when a text is there twice.
    pub(crate) fn load(&mut self, saved: &SavedCodes) -> bool {
        *self = Self::new(self.shard, Arc::clone(self.owners.reference()));
        for sym in &saved.syms {
            self.held.push(self.shard.holds(sym));
            let _ = self.syms.intern(sym.as_bytes());
            self.owners.add_sym(sym);
        }
        for trader in &saved.traders {
            let _ = self.traders.intern(trader.as_bytes());
        }
        let owners = self.owners.load(&saved.owners);
        self.newest = Time::from_nanos(saved.newest);
        self.rows = saved.rows;
        self.late_rows = saved.late_rows;
        let (syms, traders) = (self.syms.len(), self.traders.len());
        owners && syms == saved.syms.len() && traders == saved.traders.len()
    }
}
