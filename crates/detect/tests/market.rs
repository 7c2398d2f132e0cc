//! All detectors over a plausible flow of orders: neither batches, shards nor restarts change a hit,
//! and what a row costs does not grow with how many came before it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::flow::{Shape, flow};
use support::{batch, cut, sizes};
use tapewatch_detect::{Backtest, DetectConfig, Engine, Shard, detectors, merge_shards};
use tapewatch_model::{Hit, Order, OrderBatch};

/// Parameters with which the flow gives hits.
const LOWERED: &[&str] = &[
    "spoofing.cancel_quantity=20",
    "spoofing.cancel_count=1",
    "bait_and_switch.book_share=0.01",
    "bait_and_switch.multiple=0.5",
    "bait_and_switch.cancelled_share=0.1",
    "bait_and_switch.executed_share=1",
    "layering.book_share=0.01",
    "layering.multiple=0.5",
    "layering.cancelled_share=0.1",
    "layering.executed_share=1",
    "layering.levels=2",
    "quote_stuffing.messages=3",
    "quote_stuffing.share=0.1",
    "quote_stuffing.executed_share=1",
    "quote_stuffing.multiple=2",
    "order_to_trade.orders=6",
    "order_to_trade.number=2",
    "order_to_trade.quantity=3",
    "fleeting_orders.orders=2",
    "fleeting_orders.life=1s",
    "fleeting_orders.executed_share=0.5",
    "pinging.probes=2",
    "pinging.depth_share=1",
    "pinging.multiple=1",
    "round_trip.lots=1",
    "round_trip.net_share=0.5",
    "round_trip.counterparty_share=0.2",
    "matched_orders.entered_within=10s",
    "matched_orders.difference=1",
    "matched_orders.count=2",
    "marking_the_close.moments=open,22:20:00,22:40:00,23:00:00,00:00:00,02:00:00,04:00:00",
    "marking_the_close.window=20m",
    "marking_the_close.volume_share=0.01",
    "marking_the_close.move_share=0.001",
    "marking_the_close.times_usual=0",
    "marking_the_close.last_own=1",
    "momentum_ignition.burst=60s",
    "momentum_ignition.size_multiple=0",
    "momentum_ignition.times_usual=0.1",
    "momentum_ignition.volume_share=0.01",
    "momentum_ignition.followers=0.1",
    "momentum_ignition.reversed_share=0.1",
    "ramping.executions=2",
    "ramping.extreme_share=0.1",
    "ramping.volume_share=0.01",
    "ramping.move_share=0.001",
    "ramping.least_time=1ms",
    "front_running.client_multiple=1",
    "front_running.least_orders=1",
    "front_running.ahead=10m",
    "front_running.closed_share=0.1",
    "off_market.times_usual=0.1",
    "off_market.size_multiple=5",
    "off_market.least_orders=1",
    "before_news.window=2h",
    "before_news.horizon=1h",
    "before_news.late=2h",
    "before_news.times_usual=0",
    "before_news.move_share=0.001",
    "before_news.deviations=0.5",
    "before_news.least_periods=0",
    "before_news.gain=0",
];

const ODD: Shape = Shape {
    syms: 3,
    traders: 5,
    step: 100_000_000,
    odd: true,
};

fn lowered() -> DetectConfig {
    let mut config = all();
    for setting in LOWERED {
        config.set(setting).unwrap();
    }
    let tables = serde_json::json!({
        "classes": { "c": { "open": "09:00:00", "lot": "1" } },
        "instruments": { "S0": "c" },
        "linked": { "A1": "house", "T3": "house" },
        "clients": { "A2": "makers" },
        "news": news(),
    });
    config.refer(&tables).unwrap();
    config
}

/// Every ten minutes of the first hours, on two of the instruments.
fn news() -> Vec<serde_json::Value> {
    let item = |number: usize| {
        let (hour, minute) = (number / 6 % 24, number % 6 * 10);
        let day = if hour < 22 { 15 } else { 14 };
        serde_json::json!({
            "time": format!("2023-11-{day}T{hour:02}:{minute:02}:00Z"),
            "sym": format!("S{}", number % 2),
            "headline": "news",
        })
    };
    (0..24 * 6).map(item).collect()
}

fn engine(config: &DetectConfig, shard: Shard) -> Engine {
    Engine::new(config, shard).unwrap()
}

fn hits(mut engine: Engine, buckets: &[OrderBatch]) -> Vec<Hit> {
    let mut hits = Vec::new();
    buckets
        .iter()
        .for_each(|bucket| engine.apply(bucket, &mut hits));
    hits
}

fn batches(orders: &[Order], sizes: &[usize]) -> Vec<OrderBatch> {
    cut(orders, sizes).into_iter().map(batch).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_shards_and_restarts_change_no_hit(seed in any::<u64>(), rows in 50_usize..1_500, sizes in sizes()) {
        let orders = flow(seed, rows, ODD);
        let config = lowered();
        let whole = hits(engine(&config, Shard::WHOLE), &batches(&orders, &[orders.len()]));
        let buckets = batches(&orders, &sizes);
        prop_assert_eq!(&hits(engine(&config, Shard::WHOLE), &buckets), &whole, "other batches");
        let shard = |index| hits(engine(&config, Shard { index, count: 2 }), &buckets);
        prop_assert_eq!(&merge_shards(vec![shard(0), shard(1)]), &whole, "two shards");
        let (mut running, mut found) = (engine(&config, Shard::WHOLE), Vec::new());
        for bucket in &batches(&orders, &[1 + orders.len() / 3]) {
            running.apply(bucket, &mut found);
            let saved = running.state().to_bytes();
            running = engine(&DetectConfig::default(), Shard::WHOLE);
            running.load(&saved).unwrap();
            prop_assert_eq!(running.state().to_bytes(), saved, "saved again, the same bytes");
        }
        prop_assert_eq!(&found, &whole, "saved and taken in");
    }
}

/// Else the test above would compare nothing with nothing.
#[test]
fn the_flow_gives_hits_of_every_detector_whose_thresholds_are_lowered() {
    let mut found = BTreeSet::new();
    for seed in 0..8 {
        let orders = flow(seed, 1_500, ODD);
        let hits = hits(engine(&lowered(), Shard::WHOLE), &[batch(&orders)]);
        found.extend(hits.iter().map(|hit| hit.detector));
    }
    let named = |id: &str| id == "wash_trade" || LOWERED.iter().any(|set| set.starts_with(id));
    for detector in detectors().filter(|detector| named(detector.id)) {
        assert!(found.contains(detector.id), "{} found nothing", detector.id);
    }
}

/// One event may be a hit for two accounts, and every one of them has an id and an alert of its own,
/// the same in a backtest.
#[test]
fn no_two_hits_have_one_id_and_no_two_alerts() {
    let config = lowered();
    for seed in 0..8 {
        let orders = batch(&flow(seed, 1_500, ODD));
        let hits = hits(engine(&config, Shard::WHOLE), std::slice::from_ref(&orders));
        let mut ids = BTreeSet::new();
        let twice = hits.iter().filter(|hit| !ids.insert(hit.hit_id));
        let twice: BTreeSet<_> = twice.map(|hit| hit.detector).collect();
        assert!(twice.is_empty(), "seed {seed}: {twice:?}");
        let opened = hits.iter().filter(|hit| hit.alert_hit == 1);
        let opened: BTreeSet<_> = opened.map(|hit| hit.alert_id).collect();
        let mut backtest = Backtest::new(std::slice::from_ref(&config), Shard::WHOLE).unwrap();
        backtest.apply(&orders);
        let alerts = backtest.into_alerts().into_iter().map(|mut alert| {
            let (order_id, price) = (alert.first.order.order_id.clone(), alert.first.order.price);
            alert.identify(&order_id, price);
            alert.first.alert_id
        });
        let alerts: Vec<_> = alerts.collect();
        assert_eq!(alerts.len(), opened.len(), "seed {seed}");
        assert_eq!(alerts.into_iter().collect::<BTreeSet<_>>(), opened);
    }
}

/// What is kept for one instrument is not let go by the shorter windows of another.
#[test]
fn each_entity_is_kept_for_its_own_window() {
    let config = DetectConfig::from_json(&serde_json::json!({
        "spoofing": { "enabled": false },
        "fleeting_orders": {
            "orders": 3, "life": "1s", "window": "1s",
            "profiles": [{ "class": "slow", "window": "1h" }],
        },
        "reference": { "classes": { "slow": {} }, "instruments": { "SLOW": "slow" } },
    }))
    .unwrap();
    let mut orders = Vec::new();
    let template = flow(1, 1, ODD).remove(0);
    let mut fleeting = |second: i64, sym: &str, trader: &str| {
        for (kind, nanos) in [("new", 0), ("cancelled", 1_000_000)] {
            let mut order = template.clone();
            order.seq = orders.len() as u64 + 1;
            order.time = tapewatch_model::Time::from_nanos(second * 1_000_000_000 + nanos);
            order.event_type = tapewatch_model::EventType::parse(kind.as_bytes()).unwrap();
            order.flags = tapewatch_model::Flags::NONE;
            order.sym = sym.to_owned();
            order.trader = trader.to_owned();
            order.order_id = format!("{second}{sym}{trader}");
            orders.push(order);
        }
    };
    for second in 0..3 {
        fleeting(1_000 * second, "SLOW", "T1");
        // The time of the instrument goes on, and another one has much to do.
        fleeting(1_000 * second + 900, "SLOW", "T2");
        (0..20).for_each(|some| fleeting(1_000 * second + 900 + 3 * some, "FAST", "T1"));
    }
    let hits = hits(engine(&config, Shard::WHOLE), &[batch(&orders)]);
    let found: Vec<_> = hits
        .iter()
        .map(|hit| (&*hit.order.sym, &*hit.order.trader))
        .collect();
    assert_eq!(found, [("SLOW", "T1"), ("SLOW", "T2")]);
}

/// The busiest there is: one trader and another in one instrument, a million actions a second.
fn crowded(rows: usize) -> OrderBatch {
    let shape = Shape {
        syms: 1,
        traders: 2,
        step: 1_000,
        odd: false,
    };
    batch(&flow(7, rows, shape))
}

fn all() -> DetectConfig {
    let mut config = DetectConfig::default();
    config.all().unwrap();
    config
}

/// Every window is full: four times the rows may cost four times as much, not sixteen times. Not so of
/// spoofing, whose window holds 100,000 cancels: each hit of it names the latest thousand.
#[test]
fn a_row_costs_as_much_after_many_as_after_few() {
    let mut config = all();
    config.set("spoofing.enabled=false").unwrap();
    let took = |orders: &OrderBatch| -> Duration {
        let once = || {
            let (mut engine, mut hits) = (engine(&config, Shard::WHOLE), Vec::new());
            let start = Instant::now();
            engine.apply(orders, &mut hits);
            start.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap()
    };
    let (few, many) = (crowded(20_000), crowded(80_000));
    let (few, many) = (took(&few), took(&many));
    assert!(many < few * 10, "{few:?} for a quarter, {many:?} for all");
}

/// In their stride, with a market that trades, detectors hardly allocate.
#[test]
fn rows_without_hits_hardly_allocate() {
    let shape = Shape {
        syms: 4,
        traders: 40,
        step: 5_000_000,
        odd: false,
    };
    let orders = flow(3, 200_000, shape);
    let buckets = batches(&orders, &[10_000]);
    let (warm_up, measured) = buckets.split_at(buckets.len() / 2);
    let (mut engine, mut hits) = (engine(&all(), Shard::WHOLE), Vec::new());
    warm_up
        .iter()
        .for_each(|bucket| engine.apply(bucket, &mut hits));
    hits.clear();
    let count = allocation_counter::measure(|| {
        measured
            .iter()
            .for_each(|bucket| engine.apply(bucket, &mut hits));
    });
    let rows: usize = measured.iter().map(OrderBatch::len).sum();
    let per_hit = 200 * hits.len() as u64;
    eprintln!(
        "{} allocations, {rows} rows, {} hits",
        count.count_total,
        hits.len()
    );
    assert!(count.count_total < rows as u64 / 50 + per_hit);
}
