//! The two examples on tapes and on a flow, as built-in detectors are tested: batch cuts, save and
//! load, shards, backtests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use support::{ASSEMBLYSCRIPT, RUST, batches, config, engine, flow, of, order, run};
use tapewatch_detect::{Backtest, DetectConfig, Engine, Guests, SetAlert, Shard, merge_shards};
use tapewatch_model::{EventType, Hit};

fn both() -> (Arc<dyn Guests>, DetectConfig) {
    config(&[
        (
            "cancel_burst",
            RUST,
            json!({"lookback": "500ms", "cancel_count": 3, "cancel_quantity": 300}),
        ),
        (
            "large_order",
            ASSEMBLYSCRIPT,
            json!({"block": 20, "multiple": "8.5"}),
        ),
    ])
}

#[test]
fn the_example_in_rust_finds_bursts_of_cancels() {
    let cancel = |millis, trader, pieces| order(millis, "S", trader, EventType::Cancelled, pieces);
    let mut other_side = cancel(350, "A", 500);
    other_side.side = tapewatch_model::Side::Sell;
    let orders = [
        cancel(0, "A", 100),
        cancel(100, "B", 500), // another trader
        order(200, "S", "A", EventType::New, 500),
        cancel(300, "A", 100),
        other_side,
        cancel(500, "A", 99),    // 5: within the lookback, too little
        cancel(500, "A", 1),     // 4 in 500 ms
        cancel(400, "A", 1),     // late: at the time of the one before it
        cancel(501, "A", 500),   // the first is out of the lookback
        cancel(1_002, "A", 500), // alone
    ];
    let of_both = both();
    let hits = run(&mut engine(&of_both), &batches(&orders, &[100]));
    let mine = of("cancel_burst", &hits);
    let said: Vec<_> = mine
        .iter()
        .map(|hit| (hit.order.seq, hit.evidence.clone()))
        .collect();
    let expected = [
        (7, vec![1, 4, 6, 7]),
        (8, vec![1, 4, 6, 7, 8]),
        (9, vec![4, 6, 7, 8, 9]),
    ];
    assert_eq!(said, expected);
    let first = mine[0];
    assert_eq!(
        first.text,
        "A cancelled 4 orders of one side within the lookback"
    );
    let measures: Vec<_> = first
        .measures
        .iter()
        .map(|m| (m.name, m.value.to_string()))
        .collect();
    assert_eq!(
        measures,
        [
            ("cancel_count", "4".to_owned()),
            ("cancel_quantity", "300".to_owned())
        ]
    );
    assert_eq!(first.measures[1].threshold.to_string(), "300");
    assert_eq!(
        (first.detector_version, first.lookback.nanos()),
        (1, 500_000_000)
    );
    assert!(
        mine.iter().all(|hit| hit.alert_id == first.hit_id),
        "one alert"
    );
}

#[test]
fn the_example_in_assemblyscript_finds_large_orders() {
    let new = |millis, pieces| order(millis, "S", "A", EventType::New, pieces);
    let mut orders: Vec<_> = (0..20)
        .map(|at| new(at, if at == 3 { 5_000 } else { 100 }))
        .collect();
    // The average is 345: from 2932.5 on.
    orders.extend([
        new(20, 2_932),
        new(21, 2_933),
        order(22, "T", "A", EventType::New, 9_000),
    ]);
    let of_both = both();
    let hits = run(&mut engine(&of_both), &batches(&orders, &[100]));
    let mine = of("large_order", &hits);
    assert_eq!(
        mine.len(),
        0,
        "the orders before it count: the average is higher by then"
    );
    orders[20] = new(20, 2_933);
    let hits = run(&mut engine(&of_both), &batches(&orders, &[100]));
    let mine = of("large_order", &hits);
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].order.seq, 21);
    assert_eq!(mine[0].measures[0].value.to_string(), "2933");
    assert_eq!(mine[0].measures[0].threshold.to_string(), "2932.5");
    assert_eq!(
        mine[0].text,
        "A entered an order much larger than the average of the 20 before it"
    );
}

#[test]
fn cuts_restarts_and_shards_change_nothing() {
    let of_both = both();
    let orders = flow(3_000);
    let expected = run(&mut engine(&of_both), &batches(&orders, &[3_000]));
    for detector in ["cancel_burst", "large_order", "spoofing"] {
        assert!(of(detector, &expected).len() > 5, "{detector}");
    }
    for sizes in [&[1][..], &[7, 1, 300]] {
        let mut hits = Vec::new();
        let mut made = engine(&of_both);
        for (number, batch) in batches(&orders, sizes).iter().enumerate() {
            made.apply(batch, &mut hits);
            if number % 100 == 3 {
                let saved = made.state().to_bytes();
                made = engine(&of_both);
                made.load(&saved).unwrap();
            }
        }
        assert_eq!(hits, expected, "{sizes:?}");
        assert_eq!(made.disabled(), []);
    }
    let shard = |index| {
        let shard = Shard { index, count: 2 };
        let mut made = Engine::with_guests(&of_both.1, shard, Arc::clone(&of_both.0)).unwrap();
        run(&mut made, &batches(&orders, &[500]))
    };
    assert_eq!(merge_shards(vec![shard(0), shard(1)]), expected);
}

#[test]
fn a_backtest_gives_the_alerts_of_each_set() {
    let of_both = both();
    let mut other = of_both.1.clone();
    other.set("cancel_burst.cancel_count=5").unwrap();
    let sets = [of_both.1.clone(), other];
    let orders = flow(3_000);
    let mut backtest = Backtest::with_guests(&sets, Shard::WHOLE, &of_both.0).unwrap();
    batches(&orders, &[512]).iter().for_each(|batch| {
        backtest.apply(batch);
    });
    assert_eq!(backtest.disabled(), []);
    let alerts = backtest.into_alerts();
    for (number, set) in sets.iter().enumerate() {
        let mut made = Engine::with_guests(set, Shard::WHOLE, Arc::clone(&of_both.0)).unwrap();
        let hits = run(&mut made, &batches(&orders, &[512]));
        let firsts: Vec<&Hit> = hits.iter().filter(|hit| hit.alert_hit == 1).collect();
        let found = alerts.iter().filter(|alert| alert.set as usize == number);
        let found: Vec<_> = found
            .map(|alert| (alert.first.detector, alert.first.order.seq))
            .collect();
        let firsts: Vec<_> = firsts
            .iter()
            .map(|hit| (hit.detector, hit.order.seq))
            .collect();
        assert_eq!(found, firsts);
    }
    // Instrument by instrument, as the history is sorted.
    let mut sorted: Vec<_> = orders.iter().zip(1..).collect();
    sorted.sort_by(|a, b| a.0.sym.cmp(&b.0.sym));
    let mut by_instrument = Backtest::with_guests(&sets, Shard::WHOLE, &of_both.0)
        .unwrap()
        .by_instrument();
    for rows in sorted.chunks(100) {
        let rows_only: Vec<_> = rows.iter().map(|(order, _)| (*order).clone()).collect();
        let mut batch = batches(&rows_only, &[100]).remove(0);
        assert!(batch.number_with(rows.iter().map(|(_, seq)| *seq).collect()));
        by_instrument.apply(&batch);
    }
    let guests = |alerts: Vec<SetAlert>| {
        let guests = alerts
            .into_iter()
            .filter(|alert| alert.first.detector != "spoofing");
        guests
            .map(|alert| (alert.set, alert.first, alert.hits, alert.last_seq))
            .collect::<Vec<_>>()
    };
    assert!(guests(by_instrument.into_alerts()) == guests(alerts));
}

#[test]
fn new_parameters_keep_what_was_gathered() {
    let of_both = both();
    let rows = batches(&flow(2_000), &[1_000]);
    let mut made = engine(&of_both);
    run(&mut made, &rows[..1]);
    let mut higher = of_both.1.clone();
    higher.set("cancel_burst.cancel_count=4").unwrap();
    made.reconfigure(&higher).unwrap();
    let hits = run(&mut made, &rows[1..]);
    let of_higher = (Arc::clone(&of_both.0), higher);
    let mut always = engine(&of_higher);
    run(&mut always, &rows[..1]);
    let expected = run(&mut always, &rows[1..]);
    let seqs = |hits: &[Hit]| {
        of("cancel_burst", hits)
            .iter()
            .map(|hit| hit.hit_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(&hits), seqs(&expected));
    // What it refuses changes nothing.
    let mut wrong = of_both.1.clone();
    wrong.set("large_order.block=0").unwrap();
    let refused = Engine::with_guests(&wrong, Shard::WHOLE, Arc::clone(&of_both.0))
        .err()
        .unwrap();
    assert!(
        refused
            .to_string()
            .contains("it refuses its parameters: block must be above 0"),
        "{refused}"
    );
}

#[test]
fn the_components_are_built_from_these_sources() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests");
    let check = Command::new("sha256sum")
        .args(["--check", "--quiet", "built-from.sha256"])
        .current_dir(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(
        check.status.success(),
        "{said}; run examples/guests/build.sh"
    );
}
