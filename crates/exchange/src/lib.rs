//! The simulated market: order books that match by price and time, auctions, trading phases.
//!
//! Agents that trade in it for a session are here too.
//!
//! Invariant: what comes out is a function of the commands, in their order. There is no clock and no
//! hash order in it, and no random number but from a seed: whoever sends commands says when they
//! happen. Every command is answered by events, in the order in which things happened, and the
//! events alone are enough to rebuild every book.

mod abuse;
mod accounts;
mod auction;
mod command;
mod event;
mod exchange;
mod held;
mod label;
mod market;
mod matching;
mod near_miss;
mod pattern;
mod plan;
mod rules;
mod script;
mod simulation;
mod tape;

pub use accounts::{Account, Accounts, Capacity};
pub use auction::Clearing;
pub use command::{Amend, Command, Cross, NewOrder, OrderType, Refusal, SelfMatch, TimeInForce};
pub use event::{CancelReason, Event, EventKind, Party};
pub use exchange::{Exchange, Instrument, ListError};
pub use held::{Resting, Terms};
pub use label::{LABEL_ORDERS_MAX, Label};
pub use market::{Market, Phase};
pub use pattern::{Abuse, NearMiss, Pattern};
pub use plan::{Intensity, Plan, PlanError};
pub use rules::{Rules, RulesError};
pub use simulation::{Agents, News, Scenario, ScenarioError, Simulation};
pub use tape::{Tape, order_number};
