//! What a script asks for when it sends an order.
//!
//! Invariant: a plain ticket is a day order that rests where it does not trade, and may trade with
//! orders of its owner.

use tapewatch_model::Side;

/// An order to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    /// Which of the script's accounts.
    pub(crate) who: usize,
    /// Which of the script's instruments: the first is its own, the second another one.
    pub(crate) place: usize,
    pub(crate) side: Side,
    pub(crate) lots: i64,
    /// Its limit in ticks; none for an order at any price.
    pub(crate) ticks: Option<i64>,
    /// Whether it waits.
    pub(crate) day: bool,
    /// Lots that are shown at a time.
    pub(crate) display: Option<i64>,
}

impl Ticket {
    /// An order that waits at a limit.
    pub(crate) const fn rest(side: Side, lots: i64, ticks: i64) -> Self {
        Self {
            who: 0,
            place: 0,
            side,
            lots,
            ticks: Some(ticks),
            day: true,
            display: None,
        }
    }

    /// An order that takes what is there up to a limit.
    pub(crate) const fn take(side: Side, lots: i64, ticks: i64) -> Self {
        Self {
            day: false,
            ..Self::rest(side, lots, ticks)
        }
    }

    /// An order that takes what is there at any price; in a call phase it waits for the auction.
    pub(crate) const fn market(side: Side, lots: i64) -> Self {
        Self {
            ticks: None,
            ..Self::rest(side, lots, 0)
        }
    }

    /// The same from another of the script's accounts.
    pub(crate) const fn of(self, who: usize) -> Self {
        Self { who, ..self }
    }
}
