//! What was played in a session: the truth that detectors are measured against.
//!
//! Invariant: a label names what was carried out in the market, not what was planned, and orders that
//! are in the events. Labels are never in the events.

use std::fmt::Write;

use tapewatch_model::{OrderKey, Time};

use crate::accounts::Accounts;
use crate::exchange::Instrument;
use crate::pattern::Pattern;
use crate::tape::order_number;

/// The most orders that a label names: the first ones.
pub const LABEL_ORDERS_MAX: usize = 1_000;

/// One pattern that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What it is.
    pub pattern: Pattern,
    /// Where.
    pub instrument: Instrument,
    /// The codes of the accounts that took part, in their order of appearance.
    pub accounts: Vec<u32>,
    /// When it began.
    pub from: Time,
    /// When it was over.
    pub to: Time,
    /// Its orders, in the order in which they were sent; at most [`LABEL_ORDERS_MAX`].
    pub orders: Vec<OrderKey>,
    /// How it was done, as `name=value` in words.
    pub variation: String,
}

impl Label {
    /// The columns of [`Label::csv_line`]. Traders, accounts and orders are lists with a blank between
    /// them.
    pub const CSV_HEADER: &'static str =
        "kind,near_miss,sym,traders,accounts,from,to,orders,variation";

    /// The label as a line of CSV without its end; no field needs quotes. `near_miss` is empty for an
    /// abuse, and `kind` is the id of the detector that is to find it or to stay quiet.
    #[must_use]
    pub fn csv_line(&self, accounts: &Accounts) -> String {
        let near_miss = match self.pattern {
            Pattern::Abuse(_) => "",
            Pattern::NearMiss(miss) => miss.name(),
        };
        let mut traders: Vec<u32> = Vec::new();
        for account in &self.accounts {
            let trader = accounts.trader(*account);
            if !traders.contains(&trader) {
                traders.push(trader);
            }
        }
        let mut line = format!(
            "{},{near_miss},SIM{},",
            self.pattern.kind().name(),
            self.instrument.0
        );
        list(
            &mut line,
            traders.iter().map(|trader| Accounts::trader_name(*trader)),
        );
        list(
            &mut line,
            self.accounts
                .iter()
                .map(|code| Accounts::account_name(*code)),
        );
        // A string takes all that is written to it.
        let _ = write!(line, "{},{},", self.from, self.to);
        list(
            &mut line,
            self.orders
                .iter()
                .map(|&order| order_number(order).to_string()),
        );
        line.push_str(&self.variation);
        line
    }
}

fn list(line: &mut String, items: impl Iterator<Item = String>) {
    line.push_str(&items.collect::<Vec<_>>().join(" "));
    line.push(',');
}
