//! The detection engine and its detectors: pure, deterministic, no I/O.
//!
//! Invariant: what comes out is a function of the events, in their order, and of the configuration.
//! Batch sizes, the number of shards and restarts in between change no byte of it (the detector
//! modes that are defined over buckets say so in their documentation).

mod alerts;
mod backtest;
mod codes;
mod config;
mod detector;
mod engine;
mod entities;
mod fills;
mod guest;
mod kdb_cache;
mod market;
mod markets;
mod owners;
mod params;
mod places;
mod pressure;
mod reference;
mod registry;
mod rings;
mod rolling;
mod rules;
mod shard;
mod state;
mod step;
mod suppress;
mod tape;
mod watch;
mod window;

pub use backtest::{Backtest, SetAlert};
pub use config::{ConfigError, DetectConfig};
pub use detector::{DetectorInfo, Need, ParamInfo, StateError};
pub use engine::{Counters, Engine};
pub use guest::{Disabled, Guest, GuestEvent, GuestFinding, Guests, NameOf, NoGuests, settle};
pub use registry::detectors;
pub use rules::{RuleError, RuleInfo, Rules};
pub use shard::{Shard, merge_shards};
pub use state::EngineState;
pub use tape::{Tape, TapeError};
