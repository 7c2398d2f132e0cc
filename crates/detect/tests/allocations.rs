//! The hot path does not allocate: once an engine has its windows, events without hits cost it no
//! allocation at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tapewatch_detect::{Backtest, DetectConfig, Engine, Rules, Shard};
use tapewatch_model::{Details, EventType, Hit, OrderBatch, Price, Quantity, RowRef, Side, Time};

const ROWS: i64 = 1_024;
const BATCHES: i64 = 60;
/// Batches until every window has as many rows as it will ever have: longer than lookback and
/// lateness together.
const WARM_UP: i64 = 30;

/// Batches of one source, 20 s each: 80 entities that cancel more often than the rule's count, and far
/// less than its quantity.
fn batches() -> Vec<OrderBatch> {
    let mut batches: Vec<OrderBatch> = Vec::new();
    for number in 0..BATCHES {
        let before = batches.last().cloned().unwrap_or_default();
        let mut orders = OrderBatch::following(&before, ROWS as usize);
        for row in 0..ROWS {
            let kinds = [EventType::New, EventType::Cancelled, EventType::Filled];
            let entity = row * 7 % 80;
            let pushed = orders.push(&RowRef::<[u8]> {
                time: Time::from_nanos((number * ROWS + row) * 20_000_000_000 / ROWS),
                sym: format!("SYM{}", entity % 8).as_bytes(),
                event_type: kinds[row as usize % 3],
                trader: format!("Trader{}", entity / 8).as_bytes(),
                side: if entity % 2 == 0 {
                    Side::Buy
                } else {
                    Side::Sell
                },
                order_id: b"O1",
                price: Price::from_units(1),
                quantity: Quantity::from_whole(1).unwrap(),
                details: Details::default(),
            });
            pushed.unwrap();
        }
        orders.number_from((number * ROWS) as u64 + 1);
        batches.push(orders);
    }
    batches
}

/// Allocations of applying the batches behind the warm-up.
fn allocations(mut apply: impl FnMut(&OrderBatch)) -> u64 {
    let batches = batches();
    let (warm_up, measured) = batches.split_at(WARM_UP as usize);
    warm_up.iter().for_each(&mut apply);
    allocation_counter::measure(|| measured.iter().for_each(&mut apply)).count_total
}

#[test]
fn an_engine_in_its_stride_allocates_nothing() {
    let mut engine = Engine::new(&DetectConfig::default(), Shard::WHOLE).unwrap();
    let mut hits: Vec<Hit> = Vec::new();
    let count = allocations(|orders| engine.apply(orders, &mut hits));
    assert!(hits.is_empty(), "the rows give no hits");
    assert_eq!(count, 0);
    assert_eq!(engine.counters().rows, (BATCHES * ROWS) as u64);
    assert_eq!(engine.counters().entities, 80, "the rule looked at them");
}

#[test]
fn nor_do_rules_that_users_write() {
    let sums = include_str!("../../../examples/rules/cancelled_quantity.toml");
    // Least and greatest values are kept in order, which takes memory; counts and sums are not.
    let measured = sums.replace("\"count()\"", "\"count(quantity > 0)\"");
    for text in [sums, &measured] {
        let rules = Rules::parse(&[("a".to_owned(), text.to_owned())]).unwrap();
        let mut config = DetectConfig::default().with_rules(rules);
        config.only(&["cancelled_quantity".to_owned()]).unwrap();
        let mut engine = Engine::new(&config, Shard::WHOLE).unwrap();
        let mut hits: Vec<Hit> = Vec::new();
        let count = allocations(|orders| engine.apply(orders, &mut hits));
        assert_eq!((hits.len(), count), (0, 0));
        assert_eq!(engine.counters().entities, 80);
    }
}

#[test]
fn nor_does_a_backtest_of_many_sets() {
    let sets: Vec<DetectConfig> = (0..49)
        .map(|quantity| {
            let mut config = DetectConfig::default();
            let assignment = format!("spoofing.cancel_quantity={}", 2_000 + quantity);
            config.set(&assignment).unwrap();
            config
        })
        .collect();
    let mut backtest = Backtest::new(&sets, Shard::WHOLE).unwrap();
    let count = allocations(|orders| {
        backtest.apply(orders);
    });
    assert!(backtest.alerts().is_empty(), "the rows give no alerts");
    assert_eq!(count, 0);
}

#[test]
fn allocations_are_counted() {
    let mut orders = 0;
    let count = allocations(|batch| orders += batch.clone().len());
    assert!(count > 0, "a copy allocates");
    assert!(orders > 0);
}
