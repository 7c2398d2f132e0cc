//! The engine over the cores it is given: one shard here, the others on threads of their own.
//!
//! Invariant: every shard sees every batch in order; what comes back is what one engine would have
//! given. Nothing is locked: a batch is shared, and each shard answers through a channel of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tapewatch_detect::{
    ConfigError, Counters, DetectConfig, Disabled, Engine, EngineState, Shard, StateError,
    merge_shards, settle,
};
use tapewatch_model::{Hit, OrderBatch};

use crate::failure::Failure;
use crate::guests;

/// Most shards.
pub(crate) const SHARDS_MAX: u32 = 64;
/// Commands that may wait for a shard.
const AHEAD: usize = 4;

enum Work {
    Apply(Arc<OrderBatch>),
    Clear,
    Reconfigure(Box<DetectConfig>),
    Load(Vec<u8>),
    Disable(Vec<Disabled>),
    State,
}

enum Done {
    Hits(Vec<Hit>, Counters, Vec<Disabled>),
    Config(Result<(), ConfigError>),
    Loaded(Result<(), StateError>, Counters),
    State(Box<EngineState>),
}

/// A shard on a thread of its own.
struct Other {
    work: SyncSender<Work>,
    done: Receiver<Done>,
    counters: Counters,
    thread: JoinHandle<()>,
}

/// All shards, as one engine.
pub(crate) struct Shards {
    first: Engine,
    others: Vec<Other>,
    /// Guests that stopped in one of them, and with that in all.
    disabled: Vec<Disabled>,
}

impl Shards {
    /// Engines with empty windows, `count` of them for a share of the instruments.
    pub(crate) fn new(config: &DetectConfig, share: Shard, count: u32) -> Result<Self, Failure> {
        let count = count.clamp(1, SHARDS_MAX);
        let engine = |index| {
            // Those of all shares together hold each instrument once.
            let part = Shard {
                index: share.index * count + index,
                count: share.count * count,
            };
            let engine = Engine::with_guests(config, part, guests::provider());
            engine.map_err(Failure::usage)
        };
        let others: Result<_, _> = (1..count)
            .map(|index| Other::start(engine(index)?))
            .collect();
        Ok(Self {
            first: engine(0)?,
            others: others?,
            disabled: Vec::new(),
        })
    }

    /// Number of shards.
    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Applies a batch and appends its hits; gives the batch back.
    pub(crate) fn apply(&mut self, orders: OrderBatch, hits: &mut Vec<Hit>) -> OrderBatch {
        if self.others.is_empty() {
            self.first.apply(&orders, hits);
            self.disabled = self.first.disabled();
            return orders;
        }
        let orders = Arc::new(orders);
        self.send(|| Work::Apply(Arc::clone(&orders)));
        let mut first = Vec::new();
        self.first.apply(&orders, &mut first);
        let (mut all, mut disabled) = (vec![first], self.first.disabled());
        for other in &mut self.others {
            if let Done::Hits(hits, counters, stopped) = other.answer() {
                all.push(hits);
                other.counters = counters;
                disabled.extend(stopped);
            }
        }
        let mut merged = merge_shards(all);
        let disabled = settle(disabled, &mut merged);
        if disabled != self.disabled {
            disabled.iter().for_each(|one| self.first.disable(one));
            self.send(|| Work::Disable(disabled.clone()));
            self.disabled = disabled;
        }
        hits.extend(merged);
        Arc::unwrap_or_clone(orders)
    }

    /// Empties all windows; open alerts end.
    pub(crate) fn clear(&mut self) {
        self.send(|| Work::Clear);
        self.first.clear();
    }

    /// Takes a new configuration from the next batch on.
    pub(crate) fn reconfigure(&mut self, config: &DetectConfig) -> Result<(), ConfigError> {
        self.send(|| Work::Reconfigure(Box::new(config.clone())));
        let mut result = self.first.reconfigure(config);
        for other in &self.others {
            if let Done::Config(Err(error)) = other.answer() {
                result = Err(error);
            }
        }
        result
    }

    /// Guests that stopped.
    pub(crate) fn disabled(&self) -> &[Disabled] {
        &self.disabled
    }

    /// Copies of all windows.
    pub(crate) fn states(&self) -> Vec<EngineState> {
        self.send(|| Work::State);
        let mut states = vec![self.first.state()];
        for other in &self.others {
            if let Done::State(state) = other.answer() {
                states.push(*state);
            }
        }
        states
    }

    /// Takes windows in that as many shards saved.
    pub(crate) fn load(&mut self, saved: Vec<Vec<u8>>) -> Result<(), String> {
        if saved.len() != self.count() {
            let (was, is) = (saved.len(), self.count());
            return Err(format!("it is of {was} shards, this process has {is}"));
        }
        let mut saved = saved.into_iter();
        let mine = saved.next().unwrap_or_default();
        for (other, saved) in self.others.iter().zip(saved) {
            other.send(Work::Load(saved));
        }
        let mut result = self.first.load(&mine);
        for other in &mut self.others {
            if let Done::Loaded(loaded, counters) = other.answer() {
                other.counters = counters;
                result = result.and(loaded);
            }
        }
        result.map_err(|error| {
            self.clear();
            error.to_string()
        })
    }

    /// Counts so far; rows are counted by each shard alike.
    pub(crate) fn counters(&self) -> Counters {
        let mut all = self.first.counters();
        for other in &self.others {
            all.overflows += other.counters.overflows;
            all.entities += other.counters.entities;
        }
        all
    }

    fn send(&self, work: impl Fn() -> Work) {
        self.others.iter().for_each(|other| other.send(work()));
    }
}

impl Other {
    fn start(mut engine: Engine) -> Result<Self, Failure> {
        let (work, todo) = sync_channel(AHEAD);
        let (answer, done) = sync_channel(AHEAD);
        let serve = move || {
            for work in todo {
                let done = match work {
                    Work::Apply(orders) => {
                        let mut hits = Vec::new();
                        engine.apply(&orders, &mut hits);
                        drop(orders); // before the answer: then the batch is the asker's alone
                        Done::Hits(hits, engine.counters(), engine.disabled())
                    }
                    Work::Clear => {
                        engine.clear();
                        continue;
                    }
                    Work::Disable(stopped) => {
                        stopped.iter().for_each(|one| engine.disable(one));
                        continue;
                    }
                    Work::Reconfigure(config) => Done::Config(engine.reconfigure(&config)),
                    Work::Load(saved) => {
                        let loaded = engine.load(&saved);
                        Done::Loaded(loaded, engine.counters())
                    }
                    Work::State => Done::State(Box::new(engine.state())),
                };
                if answer.send(done).is_err() {
                    return; // whoever asked is gone
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("shard".to_owned())
            .spawn(serve)
            .map_err(|error| Failure::run(format!("cannot start a detector thread: {error}")))?;
        Ok(Self {
            work,
            done,
            counters: Counters::default(),
            thread,
        })
    }

    fn send(&self, work: Work) {
        if self.work.send(work).is_err() {
            self.died();
        }
    }

    fn answer(&self) -> Done {
        match self.done.recv() {
            Ok(done) => done,
            Err(_) => self.died(),
        }
    }

    /// Going on without a shard would lose its hits in silence.
    fn died(&self) -> ! {
        unreachable!(
            "a detector thread died (finished: {}); its own message stands above",
            self.thread.is_finished()
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tapewatch_connect::CsvOrders;
    use tapewatch_model::OrderSource as _;

    use super::*;
    use crate::jobs::DEMO_CSV;

    fn batch() -> OrderBatch {
        let mut orders = OrderBatch::default();
        let mut source = CsvOrders::new(DEMO_CSV, "demo", 0).unwrap();
        source
            .next_batch(100, &mut orders, &mut Vec::new())
            .unwrap();
        orders
    }

    #[test]
    fn any_number_of_shards_is_one_engine() {
        let config = DetectConfig::default();
        let mut expected = Vec::new();
        Shards::new(&config, Shard::WHOLE, 1)
            .unwrap()
            .apply(batch(), &mut expected);
        assert_eq!(expected.len(), 1);
        for count in 2..4 {
            let mut shards = Shards::new(&config, Shard::WHOLE, count).unwrap();
            let mut hits = Vec::new();
            assert_eq!(shards.apply(batch(), &mut hits), batch());
            assert_eq!(hits, expected);
            let saved: Vec<_> = shards.states().iter().map(EngineState::to_bytes).collect();
            let mut other = Shards::new(&config, Shard::WHOLE, count).unwrap();
            other.load(saved.clone()).unwrap();
            assert_eq!(other.counters(), shards.counters());
            assert!(
                Shards::new(&config, Shard::WHOLE, 1)
                    .unwrap()
                    .load(saved)
                    .is_err()
            );
        }
    }
}
