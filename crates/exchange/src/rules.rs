//! The rules of one instrument's market.
//!
//! Invariant: rules that exist make sense: tick and lot are above zero, the reference price is on
//! the tick.

use tapewatch_model::{Price, Quantity};

/// What prices and quantities an instrument trades in, and how many orders may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    tick: Price,
    lot: Quantity,
    reference: Option<Price>,
    orders_max: u32,
}

/// Why rules make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Prices are multiples of it.
    #[error("the tick {0} is not above zero")]
    Tick(Price),
    /// Quantities are multiples of it.
    #[error("the lot is not above zero")]
    Lot,
    /// A price that cannot be.
    #[error("the reference price {reference} is not a multiple of the tick {tick}")]
    Reference {
        /// The price.
        reference: Price,
        /// The tick.
        tick: Price,
    },
}

impl Rules {
    /// Prices in multiples of `tick`, quantities in multiples of `lot`, at most `orders_max` orders
    /// that wait. `reference` is the price before the first trade, such as yesterday's close.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn new(
        tick: Price,
        lot: Quantity,
        reference: Option<Price>,
        orders_max: u32,
    ) -> Result<Self, RulesError> {
        if tick.units() <= 0 {
            return Err(RulesError::Tick(tick));
        }
        if lot == Quantity::ZERO {
            return Err(RulesError::Lot);
        }
        let rules = Self {
            tick,
            lot,
            reference,
            orders_max,
        };
        match reference {
            Some(reference) if !rules.on_tick(reference) => {
                Err(RulesError::Reference { reference, tick })
            }
            _ => Ok(rules),
        }
    }

    /// The smallest step of a price.
    #[must_use]
    pub const fn tick(&self) -> Price {
        self.tick
    }

    /// The smallest step of a quantity.
    #[must_use]
    pub const fn lot(&self) -> Quantity {
        self.lot
    }

    /// The price before the first trade.
    #[must_use]
    pub const fn reference(&self) -> Option<Price> {
        self.reference
    }

    /// The most orders that may wait.
    #[must_use]
    pub const fn orders_max(&self) -> u32 {
        self.orders_max
    }

    pub(crate) const fn on_tick(&self, price: Price) -> bool {
        price.units() % self.tick.units() == 0
    }

    /// Whether it is something, in whole lots.
    pub(crate) const fn in_lots(&self, quantity: Quantity) -> bool {
        quantity.units() > 0 && quantity.units() % self.lot.units() == 0
    }
}
