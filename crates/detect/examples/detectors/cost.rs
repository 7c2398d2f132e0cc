//! What each detector costs: time an event, memory an entity.
//!
//! With M the cost of the market that all share and c of each detector: all together take M + Σc, one
//! alone M + c; so M is the sum of those alone less all together, over their number less one.

use std::fmt;
use std::time::Instant;

use tapewatch_detect::{DetectConfig, Engine, Shard, detectors};
use tapewatch_model::OrderBatch;

use crate::Outcome;
use crate::day::Days;

const RUNS: usize = 5;
/// Batches that are run: about two days.
const BATCHES: usize = 160;

/// Costs.
pub(crate) struct Costs {
    /// Events a second of all detectors together, on one core.
    pub(crate) all_rate: f64,
    /// Nanoseconds an event of the market that they share.
    pub(crate) market: f64,
    pub(crate) each: Vec<Cost>,
}

/// Of one detector.
pub(crate) struct Cost {
    pub(crate) detector: &'static str,
    /// Nanoseconds an event, the market left out.
    pub(crate) nanos: f64,
    /// Entities at the end, and bytes for each.
    pub(crate) entities: u64,
    pub(crate) bytes: f64,
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.0} events/s, market {:.0} ns",
            self.all_rate, self.market
        )?;
        for cost in &self.each {
            let (nanos, bytes) = (cost.nanos, cost.bytes);
            writeln!(f, "{:20} {nanos:4.0} ns {bytes:9.0} B", cost.detector)?;
        }
        Ok(())
    }
}

struct Run {
    /// An event.
    nanos: f64,
    /// Of each batch.
    batches: Vec<u128>,
    bytes: i64,
    entities: u64,
}

pub(crate) fn measure(days: &Days, config: &DetectConfig) -> Outcome<Costs> {
    let alone = |id: &str| -> Outcome<Run> {
        let mut config = config.clone();
        config.only(&[id.to_owned()])?;
        run(days, &config)
    };
    let all = run(days, config)?;
    let mut runs = Vec::new();
    for info in detectors() {
        runs.push((info.id, alone(info.id)?));
    }
    // Spoofing needs no market: it reads columns.
    let steps: Vec<_> = runs.iter().filter(|(id, _)| *id != "spoofing").collect();
    let spoofing = runs.iter().find(|(id, _)| *id == "spoofing");
    let spoofing_nanos = spoofing.map_or(0.0, |(_, run)| run.nanos);
    let others = (steps.len().max(2) - 1) as f64;
    let nanos: f64 = steps.iter().map(|(_, run)| run.nanos).sum();
    let market = (nanos - (all.nanos - spoofing_nanos)) / others;
    let least = steps.iter().map(|(_, run)| run.bytes).min().unwrap_or(0);
    let each = runs.iter().map(|(id, run)| {
        let shared = *id != "spoofing";
        Cost {
            detector: id,
            nanos: run.nanos - if shared { market } else { 0.0 },
            entities: run.entities,
            bytes: (run.bytes - if shared { least } else { 0 }) as f64 / run.entities.max(1) as f64,
        }
    });
    Ok(Costs {
        all_rate: 1e9 / all.nanos,
        market,
        each: each.collect(),
    })
}

/// The fastest of some runs, batch by batch: what else the machine does at times counts little.
fn run(days: &Days, config: &DetectConfig) -> Outcome<Run> {
    let mut best = run_once(days, config)?;
    for _ in 1..RUNS {
        let one = run_once(days, config)?;
        for (best, one) in best.batches.iter_mut().zip(one.batches) {
            *best = one.min(*best);
        }
    }
    let rows: usize = days.batches.iter().take(BATCHES).map(OrderBatch::len).sum();
    best.nanos = best.batches.iter().sum::<u128>() as f64 / rows.max(1) as f64;
    Ok(best)
}

fn run_once(days: &Days, config: &DetectConfig) -> Outcome<Run> {
    let mut engine = None;
    let mut batches = Vec::with_capacity(BATCHES);
    let mut failed = None;
    let memory = allocation_counter::measure(|| {
        match Engine::new(config, Shard::WHOLE) {
            Ok(new) => engine = Some(new),
            Err(error) => failed = Some(error),
        }
        let Some(engine) = &mut engine else { return };
        let mut hits = Vec::new();
        for batch in days.batches.iter().take(BATCHES) {
            let started = Instant::now();
            engine.apply(batch, &mut hits);
            batches.push(started.elapsed().as_nanos());
            hits.clear();
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(Run {
        nanos: 0.0,
        batches,
        bytes: memory.bytes_current,
        entities: engine.map_or(0, |engine| engine.counters().entities),
    })
}
