//! The venue: the markets of its instruments.
//!
//! Invariant: a market knows nothing of the others, so that what happens in one is the same whatever
//! happens in the rest.

use tapewatch_model::OrderKey;

use crate::command::{Command, Refusal};
use crate::event::{Event, EventKind};
use crate::market::{Market, Phase};
use crate::rules::Rules;

/// The most instruments that a venue lists.
const INSTRUMENTS_MAX: usize = 65_536;

/// The number of an instrument at a venue, from 0 in the order of listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instrument(pub u32);

/// Why an instrument is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// There are enough.
    #[error("the venue lists {INSTRUMENTS_MAX} instruments already")]
    TooMany,
}

/// A venue.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    markets: Vec<Market>,
}

impl Exchange {
    /// Lists an instrument; its market is closed.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn list(&mut self, rules: Rules) -> Result<Instrument, ListError> {
        if self.markets.len() >= INSTRUMENTS_MAX {
            return Err(ListError::TooMany);
        }
        let instrument = Instrument(self.markets.len() as u32);
        self.markets.push(Market::new(instrument, rules));
        Ok(instrument)
    }

    /// The market of an instrument.
    #[must_use]
    pub fn market(&self, instrument: Instrument) -> Option<&Market> {
        self.markets.get(instrument.0 as usize)
    }

    /// All markets, in the order of their instruments.
    pub fn markets(&self) -> impl ExactSizeIterator<Item = &Market> {
        self.markets.iter()
    }

    /// Does what is asked and adds what happened to `events`: one event at least, at most two for
    /// each part of each order that rests in the market, and a few more.
    #[inline]
    pub fn submit(&mut self, instrument: Instrument, command: Command, events: &mut Vec<Event>) {
        match self.markets.get_mut(instrument.0 as usize) {
            Some(market) => market.submit(command, events),
            None => events.push(unknown(instrument, command)),
        }
    }

    /// Begins a phase in one market and adds what happened to `events`: the end of a call phase is
    /// its auction, a close ends all orders. To begin the phase that is does nothing.
    ///
    /// # Errors
    /// [`Refusal::UnknownInstrument`].
    pub fn begin(
        &mut self,
        instrument: Instrument,
        phase: Phase,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let market = self.markets.get_mut(instrument.0 as usize);
        let market = market.ok_or(Refusal::UnknownInstrument)?;
        market.begin(phase, events);
        Ok(())
    }

    /// Begins a phase in every market, in the order of instruments.
    pub fn begin_all(&mut self, phase: Phase, events: &mut Vec<Event>) {
        for market in &mut self.markets {
            market.begin(phase, events);
        }
    }
}

fn unknown(instrument: Instrument, command: Command) -> Event {
    Event {
        instrument,
        kind: EventKind::Refused {
            order: command.order(),
            reason: Refusal::UnknownInstrument,
        },
    }
}

impl Command {
    /// The order that it is about.
    #[must_use]
    pub const fn order(&self) -> OrderKey {
        match self {
            Self::New(new) => new.order,
            Self::Amend(amend) => amend.order,
            Self::Cancel(order) => *order,
            Self::Cross(cross) => cross.buy,
        }
    }
}
