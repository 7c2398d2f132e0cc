//! Saved windows, and several parameter sets over one pass: neither changes an alert.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::{batch, config, cut, orders, rows, sizes};
use tapewatch_detect::{Backtest, DetectConfig, Engine, SetAlert, Shard};
use tapewatch_model::{Hit, Order, OrderBatch};

fn engine(config: &DetectConfig) -> Engine {
    Engine::new(config, Shard::WHOLE).unwrap()
}

fn hits(config: &DetectConfig, buckets: &[OrderBatch]) -> Vec<Hit> {
    let (mut engine, mut hits) = (engine(config), Vec::new());
    buckets
        .iter()
        .for_each(|bucket| engine.apply(bucket, &mut hits));
    hits
}

/// The alerts of a backtest over these batches.
fn alerts(mut backtest: Backtest, batches: &[OrderBatch]) -> Vec<SetAlert> {
    for batch in batches {
        for alert in backtest.apply(batch) {
            assert_eq!(batch.seq(alert.row), alert.first.order.seq);
        }
    }
    let mut alerts = backtest.into_alerts();
    for alert in &mut alerts {
        let (order_id, price) = (alert.first.order.order_id.clone(), alert.first.order.price);
        alert.identify(&order_id, price);
    }
    alerts
}

/// A batch whose rows keep their numbers.
fn numbered(orders: &[Order]) -> OrderBatch {
    let mut batch = batch(orders);
    assert!(batch.number_with(orders.iter().map(|order| order.seq).collect()));
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// At any bucket the windows are saved and taken in by another engine, late rows and all.
    #[test]
    fn a_saved_engine_goes_on_the_same(rows in rows(), sizes in sizes(), late in any::<bool>()) {
        let orders = orders(&rows);
        let buckets: Vec<_> = cut(&orders, &sizes).into_iter().map(batch).collect();
        for mode in ["seq", "wj1", "wj"] {
            let mut settings = vec![format!("spoofing.mode={mode}")];
            if late {
                settings.push("spoofing.lateness=10s".to_owned());
            }
            let settings: Vec<_> = settings.iter().map(String::as_str).collect();
            let config = config(&settings);
            let expected = hits(&config, &buckets);
            let (mut running, mut found) = (engine(&config), Vec::new());
            for bucket in &buckets {
                running.apply(bucket, &mut found);
                let saved = running.state().to_bytes();
                let mut other = engine(&DetectConfig::default());
                other.load(&saved).unwrap();
                prop_assert_eq!(other.config(), &config);
                prop_assert_eq!(other.counters(), running.counters());
                prop_assert_eq!(other.state().to_bytes(), saved, "saved again, the same bytes");
                running = other;
            }
            prop_assert_eq!(&found, &expected, "{}", mode);
        }
    }

    /// Every set's alerts are those of an engine with that set alone.
    #[test]
    fn sets_in_one_pass_change_nothing(rows in rows(), sizes in sizes()) {
        let orders = orders(&rows);
        let buckets: Vec<_> = cut(&orders, &sizes).into_iter().map(batch).collect();
        let mut sets = Vec::new();
        for quantity in [1_000, 2_500, 4_000] {
            for (count, lookback) in [(1, 25), (3, 25), (2, 12)] {
                sets.push(config(&[
                    &format!("spoofing.cancel_quantity={quantity}"),
                    &format!("spoofing.cancel_count={count}"),
                    &format!("spoofing.lookback={lookback}s"),
                ]));
            }
        }
        let alerts = alerts(Backtest::new(&sets, Shard::WHOLE).unwrap(), &buckets);
        let mut by_sym = orders.clone();
        by_sym.sort_by(|a, b| a.sym.cmp(&b.sym));
        let apart: Vec<_> = cut(&by_sym, &sizes).into_iter().map(numbered).collect();
        let one_by_one = Backtest::new(&sets, Shard::WHOLE).unwrap().by_instrument();
        let one_by_one = self::alerts(one_by_one, &apart);
        // Row and order differ, as the batches do.
        let sorted = |alerts: &[SetAlert]| {
            let rowless = |alert: &SetAlert| SetAlert { row: 0, ..alert.clone() };
            let mut sorted: Vec<_> = alerts.iter().map(rowless).collect();
            sorted.sort_by_key(|alert| (alert.first.order.seq, alert.set));
            sorted
        };
        prop_assert_eq!(sorted(&one_by_one), sorted(&alerts));
        for (number, set) in sets.iter().enumerate() {
            let expected = hits(set, &buckets);
            let found: Vec<_> = alerts.iter().filter(|alert| alert.set as usize == number).collect();
            let firsts: Vec<_> = expected.iter().filter(|hit| hit.alert_hit == 1).collect();
            prop_assert_eq!(found.len(), firsts.len());
            for (alert, first) in found.into_iter().zip(firsts) {
                let all: Vec<_> = expected.iter().filter(|hit| hit.alert_id == first.alert_id).collect();
                prop_assert_eq!(&alert.first.hit_id, &first.hit_id);
                prop_assert_eq!(&alert.first.text, &first.text);
                prop_assert_eq!(alert.hits, all.len() as u64);
                prop_assert_eq!(alert.last_time, all.iter().map(|hit| hit.order.time).max().unwrap());
                prop_assert_eq!(alert.last_seq, all.last().unwrap().order.seq);
                prop_assert_eq!(alert.first.alert_time, all.last().unwrap().alert_time);
            }
        }
    }

    /// A detector may be given the events alone that it says it looks at.
    #[test]
    fn other_events_may_be_left_out(rows in rows()) {
        let orders = orders(&rows);
        let config = config(&[]);
        let events = engine(&config).events();
        let mut wanted: OrderBatch = OrderBatch::default();
        let mut numbers = Vec::new();
        for order in orders.iter().filter(|order| events.contains(order.event_type)) {
            wanted.append(&batch(std::slice::from_ref(order))).unwrap();
            numbers.push(order.seq);
        }
        prop_assert!(wanted.number_with(numbers));
        prop_assert_eq!(hits(&config, &[wanted]), hits(&config, &[batch(&orders)]));
    }

    /// Whatever the bytes, taking them in is an error or an engine.
    #[test]
    fn wrong_bytes_are_refused(rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let config = config(&[]);
        let (mut running, mut found) = (engine(&config), Vec::new());
        running.apply(&batch(&orders(&rows)), &mut found);
        let mut saved = running.state().to_bytes();
        let place = at.index(saved.len());
        saved[place] = byte;
        let _ = engine(&config).load(&saved);
        saved.truncate(cut.index(saved.len()));
        let mut other = engine(&config);
        if other.load(&saved).is_err() {
            prop_assert_eq!(other.counters().rows, 0);
        }
    }
}

#[test]
fn a_state_of_another_rule_or_detector_is_refused() {
    let mut off = DetectConfig::default();
    off.set("spoofing.enabled=false").unwrap();
    let saved = engine(&DetectConfig::default()).state().to_bytes();
    let error = engine(&off).load(&[]).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    // It brings its configuration along, so that windows and parameters fit.
    let mut other = engine(&off);
    other.load(&saved).unwrap();
    assert_eq!(other.config(), &DetectConfig::default());
}
