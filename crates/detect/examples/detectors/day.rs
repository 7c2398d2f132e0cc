//! Simulated days, one after another, and what the detectors find in them.

use std::collections::HashMap;

use serde_json::Value;
use tapewatch_detect::{DetectConfig, Engine, Shard};
use tapewatch_exchange::{Abuse, Label, Pattern, Plan, Scenario, Simulation, Tape, order_number};
use tapewatch_model::{Hit, OrderBatch, Price, TimeSpan};

use crate::Outcome;

const ROWS_AT_ONCE: usize = 8_192;
const INSTRUMENTS: u32 = 2;
const DAY: i64 = 86_400_000_000_000;
/// Days before the first insider trades: what is unusual for him, his past must tell.
const PAST: i64 = 6;

/// A label, in the words of the rows.
pub(crate) struct Truth {
    pub(crate) kind: &'static str,
    pub(crate) near_miss: Option<&'static str>,
    pub(crate) sym: String,
    pub(crate) traders: Vec<String>,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) orders: Vec<String>,
    pub(crate) variation: String,
    /// The number of its day.
    pub(crate) day: u16,
}

/// The order of a row: its day, its instrument, its id. Order ids come again on other days.
pub(crate) type OrderOf = (u16, u16, u64);

/// Days on end.
pub(crate) struct Days {
    pub(crate) batches: Vec<OrderBatch>,
    pub(crate) truth: Vec<Truth>,
    /// Patterns that were tried and came to nothing: an alert on one is neither right nor wrong.
    pub(crate) attempts: Vec<Truth>,
    tables: Vec<Value>,
    pub(crate) seeds: Vec<u64>,
    /// The order of a row, by its sequence number.
    ids: Vec<OrderOf>,
}

impl Days {
    pub(crate) fn simulate(seeds: &[u64], plan: Plan) -> Outcome<Self> {
        let mut days = Self {
            batches: Vec::new(),
            truth: Vec::new(),
            attempts: Vec::new(),
            tables: Vec::new(),
            seeds: seeds.to_vec(),
            ids: Vec::new(),
        };
        // A day opens where the one before it closed.
        let mut last = Vec::new();
        for (seed, number) in seeds.iter().zip(0_i64..) {
            let usual = Scenario::default();
            let start = usual
                .start
                .saturating_add(TimeSpan::from_nanos(number * DAY));
            let mut plan = plan;
            if number < PAST {
                plan.set(Pattern::Abuse(Abuse::BeforeNews), 0);
            }
            let scenario = Scenario {
                seed: *seed,
                start,
                instruments: INSTRUMENTS,
                plan,
                ..usual
            };
            last = days.add(scenario, &last)?;
        }
        Ok(days)
    }

    /// Adds a day and says its last prices.
    fn add(&mut self, scenario: Scenario, last: &[Price]) -> Outcome<Vec<Price>> {
        let mut simulation = Simulation::after(scenario, last)?;
        let mut tape = Tape::new(simulation.accounts().clone());
        let mut events = Vec::new();
        while let Some(now) = simulation.next(&mut events) {
            for event in events.drain(..) {
                tape.push(now, &event)?;
            }
            if tape.rows().len() >= ROWS_AT_ONCE {
                self.keep(tape.take());
            }
        }
        self.keep(tape.take());
        let day = self.day();
        let truths = |labels: Vec<Label>| {
            labels
                .into_iter()
                .map(|label| truth(&simulation, &label, day))
        };
        self.truth.extend(truths(simulation.labels()));
        self.attempts.extend(truths(simulation.attempts()));
        let tables = serde_json::from_str(&simulation.reference_json())?;
        self.tables.push(tables);
        Ok(simulation.prices())
    }

    /// The number of the day that is simulated.
    fn day(&self) -> u16 {
        u16::try_from(self.tables.len()).unwrap_or(u16::MAX)
    }

    fn keep(&mut self, mut orders: OrderBatch) {
        orders.number_from(self.ids.len() as u64 + 1);
        for (_, row) in orders.rows() {
            let number = |text: &str| text.parse().unwrap_or(0);
            let sym: u16 = row
                .sym
                .strip_prefix("SIM")
                .map_or(0, |sym| sym.parse().unwrap_or(0));
            let day = self.day();
            self.ids.push((day, sym, number(row.order_id)));
        }
        self.batches.push(orders);
    }

    pub(crate) fn rows(&self) -> u64 {
        self.ids.len() as u64
    }

    pub(crate) fn labels(&self) -> usize {
        self.truth.len()
    }

    /// The order that a row is of.
    pub(crate) fn order_of(&self, seq: u64) -> Option<OrderOf> {
        self.ids
            .get(usize::try_from(seq).ok()?.checked_sub(1)?)
            .copied()
    }

    /// All hits of all days.
    pub(crate) fn detect(&self, config: &DetectConfig) -> Outcome<Vec<Hit>> {
        let mut engine = Engine::new(config, Shard::WHOLE)?;
        let mut hits = Vec::new();
        for batch in &self.batches {
            engine.apply(batch, &mut hits);
        }
        Ok(hits)
    }
}

fn truth(simulation: &Simulation, label: &Label, day: u16) -> Truth {
    let mut traders: Vec<String> = label
        .accounts
        .iter()
        .map(|account| simulation.trader_of(*account))
        .collect();
    traders.sort();
    traders.dedup();
    Truth {
        kind: label.pattern.kind().name(),
        near_miss: match label.pattern {
            Pattern::Abuse(_) => None,
            Pattern::NearMiss(miss) => Some(miss.name()),
        },
        sym: format!("SIM{}", label.instrument.0),
        traders,
        from: label.from.nanos(),
        to: label.to.nanos(),
        orders: label
            .orders
            .iter()
            .map(|&order| order_number(order).to_string())
            .collect(),
        variation: label.variation.clone(),
        day,
    }
}

/// All detectors at their defaults, with the tables of all days.
pub(crate) fn config(days: &Days) -> Outcome<DetectConfig> {
    let mut tables = days.tables.first().cloned().unwrap_or_default();
    let news = days
        .tables
        .iter()
        .filter_map(|day| day.get("news")?.as_array());
    let news: Vec<Value> = news.flatten().cloned().collect();
    let mut linked: HashMap<String, Value> = HashMap::new();
    for day in &days.tables {
        if let Some(table) = day.get("linked").and_then(Value::as_object) {
            linked.extend(table.clone());
        }
    }
    if let Some(tables) = tables.as_object_mut() {
        tables.insert("news".to_owned(), Value::Array(news));
        tables.insert(
            "linked".to_owned(),
            Value::Object(linked.into_iter().collect()),
        );
    }
    // Makers are exempt from the ratio of orders to trades, as their obligation is by RTS 8 and 9.
    let mut config = DetectConfig::from_json(&serde_json::json!({
        "order_to_trade": {
            "enabled": true,
            "profiles": [{ "group": "market_makers", "exempt": true }],
        },
        "reference": tables,
    }))?;
    config.all()?;
    Ok(config)
}
