//! How many events a second one core judges: the rule alone, the rule and the interning of texts
//! before it, users' rules, and a backtest of 1 and of 49 sets, over a generated part of a day in
//! memory; and each detector, and all of them, over a flow that trades.
//!
//! Invariant: the same events in every run, as dense in time as a day of ten million.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../tests/support/flow.rs"]
mod flow;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use tapewatch_detect::{Backtest, DetectConfig, Engine, Rules, Shard, detectors};
use tapewatch_model::{Details, EventType, OrderBatch, Price, Quantity, RowRef, Side, Time};

const ROWS: usize = 4_000_000;
/// Of the flow that trades.
const FLOW_ROWS: usize = 500_000;
const BATCH_ROWS: usize = 8_192;
const TRADERS: usize = 5_000;
/// One burst of cancels, whose fifth is a hit, in so many events: as many hits as the day of ten
/// million has.
const BURST_EVERY: usize = 1_250;

/// One event, its texts by number.
struct Event {
    time: Time,
    sym: u16,
    event_type: EventType,
    trader: u16,
    side: Side,
    order_id: [u8; 11],
    price: Price,
    quantity: Quantity,
}

/// The events and the texts that they name.
struct Day {
    syms: Vec<String>,
    traders: Vec<String>,
    events: Vec<Event>,
}

impl Day {
    /// 500 instruments and 5,000 traders, some much busier than others; each trader in a few instruments.
    fn generated() -> Self {
        let mut state = 20_240_105_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let kinds = [
            EventType::New,
            EventType::New,
            EventType::New,
            EventType::New,
            EventType::Cancelled,
            EventType::Cancelled,
            EventType::Cancelled,
            EventType::Cancelled,
            EventType::Amended,
            EventType::Filled,
        ];
        let mut nanos = 1_704_441_600_000_000_000_i64;
        let events = (0..ROWS).map(|row| {
            // Ten million in 8.5 hours are one in 3 ms.
            nanos += next(6_120_000) as i64;
            let mut order_id = *b"OID00000000";
            order_id[3..].copy_from_slice(format!("{:08}", next(ROWS as u64)).as_bytes());
            let trader = next(71) * next(71);
            let mut event = Event {
                time: Time::from_nanos(nanos),
                sym: ((trader * 7_919 + next(40).min(next(40)) * 101) % 500) as u16,
                event_type: kinds[next(kinds.len() as u64) as usize],
                trader: trader as u16,
                side: if next(2) == 0 { Side::Buy } else { Side::Sell },
                order_id,
                price: Price::from_units(next(20_000) as i64 * 10_000_000),
                quantity: Quantity::from_whole(next(5) as i64 * 50 + 50).unwrap(),
            };
            if row % BURST_EVERY < 5 {
                event.trader = (row / BURST_EVERY % TRADERS) as u16;
                event.sym = event.trader % 500;
                event.event_type = EventType::Cancelled;
                event.side = Side::Sell;
                event.quantity = Quantity::from_whole(1_000).unwrap();
            }
            event
        });
        Self {
            events: events.collect(),
            syms: (0..500).map(|sym| format!("SY{sym:03}")).collect(),
            traders: (0..TRADERS)
                .map(|trader| format!("Trader{trader:05}"))
                .collect(),
        }
    }

    fn push(&self, events: &[Event], orders: &mut OrderBatch) {
        for event in events {
            let row = RowRef {
                time: event.time,
                sym: self.syms[usize::from(event.sym)].as_bytes(),
                event_type: event.event_type,
                trader: self.traders[usize::from(event.trader)].as_bytes(),
                side: event.side,
                order_id: event.order_id.as_slice(),
                price: event.price,
                quantity: event.quantity,
                details: Details::default(),
            };
            orders.push(&row).unwrap();
        }
    }

    /// As one source gives them: batches that share their dictionaries.
    fn batches(&self) -> Vec<OrderBatch> {
        let mut batches: Vec<OrderBatch> = Vec::new();
        for (number, events) in self.events.chunks(BATCH_ROWS).enumerate() {
            let before = batches.last().cloned().unwrap_or_default();
            let mut orders = OrderBatch::following(&before, events.len());
            self.push(events, &mut orders);
            orders.number_from((number * BATCH_ROWS) as u64 + 1);
            batches.push(orders);
        }
        batches
    }
}

fn engine() -> Engine {
    Engine::new(&DetectConfig::default(), Shard::WHOLE).unwrap()
}

/// An engine with one of the example rules alone.
fn engine_of_rule(name: &str, text: &str) -> Engine {
    let rules = Rules::parse(&[(name.to_owned(), text.to_owned())]).unwrap();
    let mut config = DetectConfig::default().with_rules(rules);
    config.only(&[name.to_owned()]).unwrap();
    Engine::new(&config, Shard::WHOLE).unwrap()
}

/// Quantities and counts about the defaults, `side` of each.
fn sets(side: u32) -> Vec<DetectConfig> {
    let pairs = (0..side).flat_map(|quantity| (0..side).map(move |count| (quantity, count)));
    let set = |(quantity, count)| {
        let mut config = DetectConfig::default();
        for assignment in [
            format!("spoofing.cancel_quantity={}", 2_000 + 1_000 * quantity),
            format!("spoofing.cancel_count={}", 1 + count),
        ] {
            config.set(&assignment).unwrap();
        }
        config
    };
    pairs.map(set).collect()
}

/// A flow that trades, as one source gives it.
fn traded() -> Vec<OrderBatch> {
    let shape = flow::Shape {
        syms: 100,
        traders: 500,
        step: 6_000_000,
        odd: false,
    };
    let mut batches: Vec<OrderBatch> = Vec::new();
    for orders in flow::flow(20_240_105, FLOW_ROWS, shape).chunks(BATCH_ROWS) {
        let before = batches.last().cloned().unwrap_or_default();
        let mut batch = OrderBatch::following(&before, orders.len());
        for order in orders {
            batch.push(&order.as_row().as_bytes()).unwrap();
        }
        batch.number_from(orders[0].seq);
        batches.push(batch);
    }
    batches
}

/// Each detector alone, its market included, then all together.
fn detectors_over_a_market(criterion: &mut Criterion) {
    let batches = traded();
    let rows: usize = batches.iter().map(OrderBatch::len).sum();
    let mut group = criterion.benchmark_group("detectors");
    group
        .throughput(Throughput::Elements(rows as u64))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10);
    let ids = detectors().map(|detector| detector.id);
    for id in ids.chain(["all"]) {
        let mut config = DetectConfig::default();
        match id {
            "all" => config.all().unwrap(),
            id => config.only(&[id.to_owned()]).unwrap(),
        }
        group.bench_function(id, |bencher| {
            let setup = || Engine::new(&config, Shard::WHOLE).unwrap();
            let apply = |mut engine: Engine| {
                let mut hits = Vec::new();
                for orders in &batches {
                    engine.apply(orders, &mut hits);
                }
                (engine, black_box(hits))
            };
            bencher.iter_batched(setup, apply, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    detectors_over_a_market(&mut criterion);
    let day = Day::generated();
    let batches = day.batches();
    let mut group = criterion.benchmark_group("engine");
    group
        .throughput(Throughput::Elements(ROWS as u64))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10);
    let user_rules = [
        (
            "cancelled_quantity",
            include_str!("../../../examples/rules/cancelled_quantity.toml"),
        ),
        (
            "bait_then_switch",
            include_str!("../../../examples/rules/bait_then_switch.toml"),
        ),
    ];
    for (name, text) in user_rules {
        group.bench_function(format!("user_rule_{name}"), |bencher| {
            let apply = |mut engine: Engine| {
                let mut hits = Vec::new();
                for orders in &batches {
                    engine.apply(orders, &mut hits);
                }
                (engine, black_box(hits))
            };
            bencher.iter_batched(
                || engine_of_rule(name, text),
                apply,
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("rule", |bencher| {
        let apply = |mut engine: Engine| {
            let mut hits = Vec::new();
            for orders in &batches {
                engine.apply(orders, &mut hits);
            }
            (engine, black_box(hits))
        };
        bencher.iter_batched(engine, apply, BatchSize::PerIteration);
    });
    group.bench_function("rule_and_interning", |bencher| {
        let setup = || (engine(), OrderBatch::default());
        let apply = |(mut engine, mut orders): (Engine, OrderBatch)| {
            let mut hits = Vec::new();
            for events in day.events.chunks(BATCH_ROWS) {
                orders.clear();
                day.push(events, &mut orders);
                engine.apply(&orders, &mut hits);
            }
            (engine, orders, black_box(hits))
        };
        bencher.iter_batched(setup, apply, BatchSize::PerIteration);
    });
    for side in [1, 7] {
        let sets = sets(side);
        group.bench_function(format!("backtest_{}", sets.len()), |bencher| {
            let setup = || Backtest::new(&sets, Shard::WHOLE).unwrap();
            let apply = |mut backtest: Backtest| {
                for orders in &batches {
                    black_box(backtest.apply(orders));
                }
                backtest
            };
            bencher.iter_batched(setup, apply, BatchSize::PerIteration);
        });
    }
    group.finish();
    criterion.final_summary();
}
