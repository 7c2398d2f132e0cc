//! Spoofing's thresholds by class of instrument and client group, live and in a backtest.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::batch;
use tapewatch_detect::{Backtest, DetectConfig, Engine, Shard};
use tapewatch_model::{EventType, Flags, Hit, Order, OrderBatch, Price, Quantity, Side, Time};

fn config(profiles: &Value) -> DetectConfig {
    DetectConfig::from_json(&json!({
        "spoofing": { "cancel_count": 1, "cancel_quantity": 100, "profiles": profiles },
        "reference": {
            "classes": { "liquid": {}, "thin": {} },
            "instruments": { "BIG": "liquid", "SMALL": "thin" },
            "clients": { "A1": "makers" },
        },
    }))
    .unwrap()
}

/// Three cancels of 100 each, within a second.
fn three(sym: &str, trader: &str, account: &str) -> Vec<Order> {
    let one = |second: i64| Order {
        seq: 0,
        time: Time::from_nanos(second * 1_000_000_000),
        sym: sym.to_owned(),
        event_type: EventType::Cancelled,
        trader: trader.to_owned(),
        side: Side::Sell,
        order_id: format!("{sym}{second}"),
        price: Price::from_units(1_000_000_000),
        quantity: Quantity::from_whole(100).unwrap(),
        account: account.to_owned(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    };
    (1..4).map(one).collect()
}

fn flow() -> OrderBatch {
    let all = [
        three("BIG", "T1", ""),
        three("SMALL", "T1", ""),
        three("BIG", "T2", "A1"),
        three("OTHER", "T1", ""),
    ];
    let mut orders = batch(&all.concat());
    orders.number_from(1);
    orders
}

fn hits(config: &DetectConfig) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut engine = Engine::new(config, Shard::WHOLE).unwrap();
    engine.apply(&flow(), &mut hits);
    hits
}

/// Instrument, trader and threshold of the quantity.
fn told(hits: &[Hit]) -> Vec<String> {
    let one = |hit: &Hit| {
        let quantity = hit.measures.first().unwrap();
        format!(
            "{} {} {}",
            hit.order.sym, hit.order.trader, quantity.threshold
        )
    };
    hits.iter().map(one).collect()
}

#[test]
fn the_first_profile_that_fits_gives_the_thresholds() {
    let all_at_the_usual = ["BIG T1 100", "SMALL T1 100", "BIG T2 100", "OTHER T1 100"];
    let twice = |texts: &[&str]| -> Vec<String> {
        texts
            .iter()
            .flat_map(|text| [(*text).to_owned(), (*text).to_owned()])
            .collect()
    };
    assert_eq!(told(&hits(&config(&json!([])))), twice(&all_at_the_usual));
    let some = config(&json!([
        { "group": "makers", "cancel_quantity": 1000 },
        { "class": "liquid", "cancel_quantity": 250, "cancel_count": 2 },
        { "class": "thin", "cancel_quantity": 50, "cancel_count": 0 },
        { "class": "no such class", "cancel_quantity": 0, "cancel_count": 0 },
    ]));
    // The thin instrument needs one cancel, the liquid one all three, the market maker more.
    let found = hits(&some);
    assert_eq!(
        told(&found),
        [
            "BIG T1 250",
            "SMALL T1 50",
            "SMALL T1 50",
            "SMALL T1 50",
            "OTHER T1 100",
            "OTHER T1 100"
        ]
    );
    let mut backtest = Backtest::new(&[config(&json!([])), some], Shard::WHOLE).unwrap();
    assert!(
        backtest.wants_details(),
        "the account says whose order it is"
    );
    backtest.apply(&flow());
    let alerts = backtest.into_alerts();
    let of_set: Vec<_> = alerts.iter().filter(|alert| alert.set == 1).collect();
    assert_eq!(of_set.len(), 3);
    assert_eq!(
        of_set.iter().map(|alert| alert.hits).sum::<u64>(),
        found.len() as u64
    );
}

#[test]
fn tables_count_for_the_version_where_profiles_ask_them() {
    let mut plain = DetectConfig::default();
    let before = plain.version("spoofing");
    plain
        .refer(&json!({ "clients": { "A1": "makers" } }))
        .unwrap();
    assert_eq!(plain.version("spoofing"), before);
    let mut some = config(&json!([{ "group": "makers", "cancel_count": 9 }]));
    let before = some.version("spoofing");
    some.refer(&json!({ "clients": { "A2": "makers" } }))
        .unwrap();
    assert_ne!(some.version("spoofing"), before);
}

#[test]
fn a_profile_changes_thresholds_alone() {
    for (profile, expected) in [
        (json!({ "class": "thin", "lookback": "1s" }), "not lookback"),
        (
            json!({ "class": "thin", "cancel_count": -1 }),
            "cancel_count",
        ),
        (json!({ "cancel_count": 1 }), "a class or a group"),
    ] {
        let tables = json!({ "spoofing": { "profiles": [profile] } });
        let error = DetectConfig::from_json(&tables).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_share_is_at_most_everything_and_names_that_fit_nobody_are_told() {
    for params in [
        json!({ "executed_share": 7 }),
        json!({ "profiles": [{ "class": "c", "executed_share": "1.5" }] }),
    ] {
        let error = DetectConfig::from_json(&json!({ "layering": params }));
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("detector layering: executed_share is ")
                && error.contains("a share is from 0 to 1"),
            "{error}"
        );
    }
    let config = DetectConfig::from_json(&json!({
        "layering": { "executed_share": 1, "profiles": [
            { "class": "shares", "levels": 3 }, { "class": "bonds", "group": "desks", "levels": 2 },
        ] },
        "suppress": [
            { "detector": "spoofing", "until": "2030-01-01", "reason": "known" },
            { "detector": "spoofin", "until": "2030-01-01", "reason": "not known" },
        ],
        "reference": { "classes": { "shares": {} } },
    }));
    let unknown = config.unwrap().unknown_names();
    let expected = [
        "a profile of layering is for the class \"bonds\",",
        "a profile of layering is for the group \"desks\",",
        "entry 2 of suppress is for the detector \"spoofin\",",
    ];
    assert_eq!(unknown.len(), expected.len(), "{unknown:?}");
    for (line, begin) in unknown.iter().zip(expected) {
        assert!(line.starts_with(begin), "{line}");
    }
    // What the journal holds was taken when nobody looked at this.
    let old = r#"{"layering":{"executed_share":"7"}}"#;
    assert!(DetectConfig::from_canonical(old).is_ok());
}
