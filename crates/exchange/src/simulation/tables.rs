//! The reference tables of a session, as surveillance has them: instruments, linked accounts, market
//! makers, news.
//!
//! Invariant: nothing of what was played is in them.

use std::fmt::Write;

use tapewatch_model::Time;

use super::agent::Kind;
use super::{Simulation, TICK};
use crate::accounts::Accounts;

impl Simulation {
    /// The tables as JSON: classes, instruments, linked accounts, the client group of market makers, news. No name in them needs escapes.
    #[must_use]
    pub fn reference_json(&self) -> String {
        let of_day = |time: Time| time.to_string().get(11..19).unwrap_or_default().to_owned();
        let (open, close) = (of_day(self.scenario.opens()), of_day(self.scenario.stops()));
        let instruments =
            (0..self.scenario.instruments).map(|number| format!("\"SIM{number}\": \"simulated\""));
        let linked = self.accounts.linked().into_iter();
        let linked = linked.map(|(account, owner)| format!("\"{account}\": \"{owner}\""));
        let makers = self
            .agents
            .iter()
            .filter(|agent| matches!(agent.kind, Kind::Maker(_)));
        let makers = makers.map(|agent| {
            format!(
                "\"{}\": \"market_makers\"",
                Accounts::account_name(agent.hand.account)
            )
        });
        let news = self.news.iter().map(|news| {
            let (time, instrument, headline) = (news.time, news.instrument.0, news.headline);
            format!("{{\"time\": \"{time}\", \"sym\": \"SIM{instrument}\", \"headline\": \"{headline}\"}}")
        });
        let mut json = String::new();
        // A string takes all that is written to it.
        let _ = write!(
            json,
            "{{\n  \"classes\": {{\"simulated\": {{\"lot\": \"{lot}\", \"tick\": \"{TICK}\", \"open\": \"{open}\", \"close\": \"{close}\"}}}},\n  \
             \"instruments\": {{{instruments}}},\n  \"linked\": {{{linked}}},\n  \"clients\": {{{makers}}},\n  \"news\": [{news}]\n}}\n",
            lot = self.lot,
            instruments = instruments.collect::<Vec<_>>().join(", "),
            linked = linked.collect::<Vec<_>>().join(", "),
            makers = makers.collect::<Vec<_>>().join(", "),
            news = news.collect::<Vec<_>>().join(",\n    "),
        );
        json
    }

    /// Part of the session that is over, in thousandths.
    #[must_use]
    pub fn done(&self, now: Time) -> u64 {
        let whole =
            i128::from(self.scenario.closes().nanos()) - i128::from(self.scenario.start.nanos());
        let gone = i128::from(now.nanos()) - i128::from(self.scenario.start.nanos());
        u64::try_from(gone * 1_000 / whole.max(1))
            .unwrap_or(0)
            .min(1_000)
    }

    /// The name of an account's trader in the rows.
    #[must_use]
    pub fn trader_of(&self, account: u32) -> String {
        Accounts::trader_name(self.accounts.trader(account))
    }
}
