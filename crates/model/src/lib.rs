//! The nouns of the market: event, order, hit, alert, price, quantity, time, and their versioned codec.
