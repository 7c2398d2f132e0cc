//! The engine against a naive reading of the rule, over random streams with ties, gaps and late rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::{batch, config, cut, orders, rows, sizes};
use tapewatch_detect::{DetectConfig, Engine, Shard, merge_shards};
use tapewatch_model::{Decimal, EventType, Hit, Order, OrderBatch};

const LOOKBACK: i64 = 25_000_000_000;

/// (seq, total quantity in pieces, count, evidence) of each hit.
type Found = (u64, i64, u64, Vec<u64>);

fn engine_hits(buckets: &[OrderBatch], config: &DetectConfig, shards: u32) -> Vec<Hit> {
    let shard = |index| {
        let mut engine = Engine::new(
            config,
            Shard {
                index,
                count: shards,
            },
        )
        .unwrap();
        let mut hits = Vec::new();
        buckets
            .iter()
            .for_each(|bucket| engine.apply(bucket, &mut hits));
        hits
    };
    merge_shards((0..shards).map(shard).collect())
}

fn found(hits: &[Hit]) -> Vec<Found> {
    let found = |hit: &Hit| {
        let quantity = hit.measures[0].value.units() / Decimal::from_count(1).units();
        (
            hit.order.seq,
            quantity as i64,
            hit.evidence_total,
            hit.evidence.clone(),
        )
    };
    hits.iter().map(found).collect()
}

fn same_entity(a: &Order, b: &Order) -> bool {
    (&a.sym, &a.trader, a.side) == (&b.sym, &b.trader, b.side)
}

fn judge(probe: &Order, window: &[&Order]) -> Option<Found> {
    let quantity: i64 = window
        .iter()
        .map(|order| order.quantity.units() / 100_000_000)
        .sum();
    let mut evidence: Vec<_> = window.iter().map(|order| order.seq).collect();
    evidence.sort_unstable();
    (quantity > 4_000 && window.len() > 3).then_some((
        probe.seq,
        quantity,
        window.len() as u64,
        evidence,
    ))
}

/// Mode `seq`: look at everything that came before.
fn naive_seq(orders: &[Order]) -> Vec<Found> {
    let probe = |at: usize| {
        let probe = &orders[at];
        let in_window = |order: &&Order| {
            let age = probe.time.nanos() - order.time.nanos();
            same_entity(order, probe)
                && order.event_type == EventType::Cancelled
                && (0..=LOOKBACK).contains(&age)
        };
        let window: Vec<_> = orders[..=at].iter().filter(in_window).collect();
        (probe.event_type == EventType::Cancelled)
            .then(|| judge(probe, &window))
            .flatten()
    };
    (0..orders.len()).filter_map(probe).collect()
}

/// Modes `wj` and `wj1`: the reference's steps, literally, with its one order cache.
fn naive_bucket(buckets: &[&[Order]], prevailing: bool) -> Vec<Found> {
    let mut cache: Vec<Order> = Vec::new();
    let mut hits = Vec::new();
    for bucket in buckets {
        cache.extend_from_slice(bucket);
        let floor = bucket.iter().map(|order| order.time.nanos()).min().unwrap() - LOOKBACK;
        cache.retain(|order| order.time.nanos() >= floor);
        for probe in bucket
            .iter()
            .filter(|order| order.event_type == EventType::Cancelled)
        {
            let mut lookup: Vec<_> = cache
                .iter()
                .filter(|o| o.event_type == EventType::Cancelled && same_entity(o, probe))
                .collect();
            lookup.sort_by_key(|order| order.time);
            let (to, from) = (probe.time.nanos(), probe.time.nanos() - LOOKBACK);
            let bin = |time: i64| lookup.iter().rposition(|order| order.time.nanos() <= time);
            let window: Vec<_> = if prevailing {
                lookup[bin(from).unwrap_or(0)..=bin(to).unwrap()].to_vec()
            } else {
                let inside = |o: &&&Order| (from..=to).contains(&o.time.nanos());
                lookup.iter().filter(inside).copied().collect()
            };
            hits.extend(judge(probe, &window));
        }
    }
    hits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn seq_is_the_rule_whatever_the_batches(rows in rows(), sizes in sizes()) {
        let orders = orders(&rows);
        let expected = naive_seq(&orders);
        let config = config(&[]);
        let whole = engine_hits(&[batch(&orders)], &config, 1);
        prop_assert_eq!(found(&whole), expected);
        let buckets: Vec<_> = cut(&orders, &sizes).into_iter().map(batch).collect();
        prop_assert_eq!(&engine_hits(&buckets, &config, 1), &whole, "byte for byte, ids and alerts too");
    }

    #[test]
    fn shards_change_nothing(rows in rows(), sizes in sizes(), shards in 2_u32..6) {
        let orders = orders(&rows);
        let buckets: Vec<_> = cut(&orders, &sizes).into_iter().map(batch).collect();
        for mode in ["seq", "wj1", "wj"] {
            let config = config(&[&format!("spoofing.mode={mode}")]);
            let one = engine_hits(&buckets, &config, 1);
            prop_assert_eq!(engine_hits(&buckets, &config, shards), one, "{}", mode);
        }
    }

    #[test]
    fn window_joins_are_the_references(rows in rows(), sizes in sizes()) {
        let orders = orders(&rows);
        let cut = cut(&orders, &sizes);
        let buckets: Vec<_> = cut.iter().map(|orders| batch(orders)).collect();
        for (mode, prevailing) in [("wj1", false), ("wj", true)] {
            let config = config(&[&format!("spoofing.mode={mode}")]);
            let hits = engine_hits(&buckets, &config, 1);
            prop_assert_eq!(found(&hits), naive_bucket(&cut, prevailing), "{}", mode);
        }
    }

    /// Alerts: the hits of an entity, joined while each comes within the lookback of those before.
    #[test]
    fn alerts_join_hits_within_the_lookback(rows in rows()) {
        let orders = orders(&rows);
        let hits = engine_hits(&[batch(&orders)], &config(&[]), 1);
        for (at, hit) in hits.iter().enumerate() {
            let before: Vec<_> = hits[..at].iter().filter(|b| same_entity(&b.order, &hit.order)).collect();
            let joined = before.last().filter(|last| {
                let alert = before.iter().filter(|b| b.alert_id == last.alert_id);
                let newest = alert.map(|b| b.order.time.nanos()).max().unwrap();
                (newest - hit.order.time.nanos()).abs() <= LOOKBACK
            });
            prop_assert_eq!(hit.alert_id, joined.map_or(hit.hit_id, |last| last.alert_id));
            prop_assert_eq!(hit.alert_hit, joined.map_or(1, |last| last.alert_hit + 1));
        }
    }
}

#[test]
fn clear_empties_windows_and_ends_alerts() {
    let rows: Vec<_> = (0..4).map(|_| (2, 0, 0, true, 0, 1_100)).collect();
    let orders = orders(&rows);
    let mut engine = Engine::new(&config(&[]), Shard::WHOLE).unwrap();
    let mut hits = Vec::new();
    for _ in 0..2 {
        engine.apply(&batch(&orders), &mut hits);
        engine.clear();
    }
    let totals: Vec<_> = hits.iter().map(|hit| hit.evidence_total).collect();
    assert_eq!(totals, [4, 4]);
    assert_eq!(hits[1].alert_hit, 1, "an alert of its own");
}

#[test]
fn new_thresholds_keep_the_windows_and_a_new_lookback_does_not() {
    let rows: Vec<_> = (0..5).map(|_| (2, 0, 0, true, 0, 1_100)).collect();
    let orders = orders(&rows);
    let counts = |setting: &str| {
        let mut engine = Engine::new(&config(&["spoofing.cancel_count=9"]), Shard::WHOLE).unwrap();
        let mut hits = Vec::new();
        engine.apply(&batch(&orders[..4]), &mut hits);
        engine.reconfigure(&config(&[setting])).unwrap();
        engine.apply(&batch(&orders[4..]), &mut hits);
        hits.iter()
            .map(|hit| hit.evidence_total)
            .collect::<Vec<_>>()
    };
    assert_eq!(counts("spoofing.cancel_count=3"), [5]);
    assert_eq!(counts("spoofing.lookback=24s"), [0; 0]);
}

#[test]
fn evidence_is_capped_and_counted() {
    let rows: Vec<_> = (0..1_500).map(|_| (0, 0, 0, true, 0, 1_100)).collect();
    let hits = engine_hits(&[batch(&orders(&rows))], &config(&[]), 1);
    let last = hits.last().unwrap();
    assert_eq!((last.evidence.len(), last.evidence_total), (1_000, 1_500));
    assert_eq!(
        (last.evidence[0], last.evidence[999]),
        (501, 1_500),
        "the latest are kept"
    );
}

#[test]
fn a_hit_says_what_happened() {
    let rows: Vec<_> = (0..4).map(|_| (2, 0, 0, false, 0, 1_100)).collect();
    let hits = engine_hits(&[batch(&orders(&rows))], &config(&[]), 1);
    assert_eq!(
        hits[0].text,
        "T0 cancelled 4 sell orders in S0, 4400 in all, within 25s up to \
         2023-11-14T22:13:24.000000000Z: more than 3 cancels and more than 4000 in all."
    );
    let json = serde_json::to_value(&hits[0]).unwrap();
    assert_eq!(json["quantity"], "1100");
    assert_eq!(json["measures"][0]["value"], "4400");
    assert_eq!(json["lookback_ns"], 25_000_000_000_i64);
}
