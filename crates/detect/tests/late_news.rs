//! News that comes into the calendar after its time is judged as if it had been there before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use support::batch;
use support::flow::{Shape, flow};
use tapewatch_detect::{DetectConfig, Engine, Shard};
use tapewatch_model::{EventType, Flags, Hit, Order, Price, Quantity, Side, Time};

/// 2023-11-15T00:00:00Z.
const START: i64 = 1_700_006_400;

fn config(news: bool) -> DetectConfig {
    let mut config = DetectConfig::default();
    config.only(&["before_news".to_owned()]).unwrap();
    for setting in ["window=1h", "least_periods=1", "gain=100", "late=1h"] {
        config.set(&format!("before_news.{setting}")).unwrap();
    }
    if news {
        let item =
            serde_json::json!({ "time": "2023-11-15T03:00:00Z", "sym": "S", "headline": "x" });
        config
            .refer(&serde_json::json!({ "news": [item] }))
            .unwrap();
    }
    config
}

fn order(template: &Order, seconds: i64, price: i64) -> Order {
    Order {
        time: Time::from_nanos((START + seconds) * 1_000_000_000),
        sym: "S".to_owned(),
        event_type: EventType::Filled,
        trader: format!("T{price}"),
        account: String::new(),
        side: Side::Buy,
        price: Price::from_units(price * 1_000_000_000),
        quantity: Quantity::from_whole(100).unwrap(),
        flags: Flags::NONE,
        ..template.clone()
    }
}

/// Hits when the news is known from the row of number `known` on.
fn hits(orders: &[Order], known: usize) -> Vec<Hit> {
    let mut engine = Engine::new(&config(known == 0), Shard::WHOLE).unwrap();
    let mut hits = Vec::new();
    for (number, order) in orders.iter().enumerate() {
        if number == known {
            engine.reconfigure(&config(true)).unwrap();
        }
        engine.apply(&batch(std::slice::from_ref(order)), &mut hits);
    }
    hits
}

#[test]
fn late_news_is_judged_by_what_was_before_it() {
    let shape = Shape {
        syms: 1,
        traders: 1,
        step: 1,
        odd: false,
    };
    let template = flow(1, 1, shape).remove(0);
    // The news is at 10800 s, its horizon at 12600 s.
    let times = [
        (0, 99),
        (10_000, 100),
        (11_000, 110),
        (12_600, 109),
        (14_000, 108),
        (16_201, 107),
        (16_300, 106),
    ];
    let mut orders: Vec<Order> = times.map(|(at, price)| order(&template, at, price)).into();
    for (order, seq) in orders.iter_mut().zip(1..) {
        order.seq = seq;
    }
    let told = |known| {
        let hits = hits(&orders, known);
        let told = |hit: &Hit| (hit.order.seq, hit.measures.clone(), hit.text.clone());
        hits.iter().map(told).collect::<Vec<_>>()
    };
    let before = told(0);
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(before[0].0, 4, "the first row at the horizon");
    for known in 1..=3 {
        assert_eq!(told(known), before);
    }
    for known in 4..=5 {
        let late = told(known);
        assert_eq!(late.len(), 1, "{late:?}");
        assert_eq!(late[0].0, known as u64 + 1, "the next row after it came");
        assert_eq!((&late[0].1, &late[0].2), (&before[0].1, &before[0].2));
    }
    assert_eq!(told(6), [], "more than an hour too late");
}
