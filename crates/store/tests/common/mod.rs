//! Rows for the tests: orders and hits made from small numbers, and the reference's ten orders.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use tapewatch_model::{
    Date, DeadLetter, Decimal, Details, EventType, Flags, Hit, Id, Measure, Order, OrderBatch,
    Price, Quantity, RowRef, Side, Time, TimeSpan,
};
use tapewatch_store::{Format, SqlError, Store, StoreOptions};

pub(crate) const DAY: i64 = 86_400_000_000_000;

/// An order made from its number; `day` days after 2024-01-05. Every other twenty numbers tell more
/// than every source does, each something else.
pub(crate) fn order(seq: u64, day: i64) -> Order {
    let start = Date::parse(b"2024-01-05").unwrap().start().nanos();
    let plain = Order {
        seq,
        time: Time::from_nanos(start + day * DAY + seq as i64 * 1_000_001),
        sym: format!("SYM{}", seq % 7),
        event_type: EventType::from_number((seq % 4 + 1) as u8).unwrap(),
        trader: format!("Trader, {}", seq % 11),
        side: Side::from_number((seq % 2 + 1) as u8).unwrap(),
        order_id: format!("OID{seq:08}"),
        price: Price::from_units(1_000_000_001 * seq as i64 - 5_000_000_000),
        quantity: Quantity::from_units(seq as i64 * 3).unwrap(),
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    };
    if (seq / 20).is_multiple_of(2) {
        return plain;
    }
    match seq % 5 {
        0 => Order {
            account: format!("ACC, {}", seq % 3),
            ..plain
        },
        1 => Order {
            exec_id: format!("E{seq}"),
            flags: Flags::AGGRESSOR.with(Flags::IOC),
            ..plain
        },
        2 => Order {
            display: Some(Quantity::from_units(seq as i64 % 7).unwrap()),
            ..plain
        },
        3 => Order {
            trader: String::new(),
            flags: Flags::ANONYMOUS,
            ..plain
        },
        _ => plain,
    }
}

pub(crate) fn batch(orders: &[Order]) -> OrderBatch {
    let mut batch = OrderBatch::default();
    for order in orders {
        batch.push(&order.as_row().as_bytes()).unwrap();
    }
    assert!(batch.number_with(orders.iter().map(|order| order.seq).collect()));
    batch
}

/// A hit at an order; every third begins an alert.
pub(crate) fn hit(order: Order) -> Hit {
    let alert = order.seq / 3;
    Hit {
        hit_id: Id::of(&order.seq.to_le_bytes()),
        alert_id: Id::of(&alert.to_be_bytes()),
        alert_hit: order.seq % 3 + 1,
        alert_time: order.time.saturating_sub(TimeSpan::from_secs(1)),
        detector: "spoofing",
        detector_version: 1,
        config_version: Id::of(b"config"),
        measures: vec![
            Measure {
                name: "cancel_quantity",
                value: Decimal::from_count(4_600 + order.seq),
                threshold: Decimal::from_count(4_000),
            },
            Measure {
                name: "cancel_count",
                value: Decimal::from_count(4),
                threshold: Decimal::from_count(3),
            },
        ],
        lookback: TimeSpan::from_secs(25),
        evidence: vec![order.seq - 1, order.seq],
        evidence_total: 2,
        text: format!("said \"{}\"", order.seq),
        suppressed: match order.seq % 5 {
            0 => "expected".to_owned(),
            _ => String::new(),
        },
        order,
    }
}

pub(crate) fn letter(line: u64) -> DeadLetter {
    DeadLetter::new("a.csv", line, "price", "is not a number", b"x,y\xff")
}

/// A directory with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) async fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).await.unwrap()
}

pub(crate) async fn query(store: &Store, sql: &str, format: Format) -> Result<String, SqlError> {
    let mut out = Vec::new();
    store.sql(sql).await?.write(format, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

pub(crate) async fn csv(store: &Store, sql: &str) -> String {
    match query(store, sql, Format::Csv).await {
        Ok(text) => text,
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// The result as CSV, with plain line ends.
pub(crate) async fn lines(store: &Store, sql: &str) -> String {
    csv(store, sql).await.replace("\r\n", "\n")
}

/// So many orders meet the condition.
pub(crate) async fn check_count(store: &Store, filter: &str, rows: u64) {
    let sql = format!("SELECT count(*) AS n FROM orders WHERE {filter}");
    assert_eq!(lines(store, &sql).await, format!("n\n{rows}\n"), "{filter}");
}

/// All tables as text, in an order that does not depend on where the rows are.
pub(crate) async fn dump(store: &Store) -> String {
    let mut text = String::new();
    for table in ["orders", "hits", "dead_letters"] {
        text += &csv(store, &format!("SELECT * FROM {table} ORDER BY seq")).await;
    }
    text += &csv(store, "SELECT * FROM alerts ORDER BY seq").await;
    text
}

/// The reference's data and the hit that it gives, as the detector would say it.
pub(crate) fn reference() -> (OrderBatch, Hit) {
    let path = "../../tests/data/spoofingData.csv";
    let text = std::fs::read_to_string(path).unwrap();
    let mut batch = OrderBatch::default();
    for line in text.lines().skip(1) {
        let fields: Vec<&[u8]> = line.split(',').map(str::as_bytes).collect();
        let row = RowRef {
            time: Time::parse(fields[0]).unwrap(),
            sym: fields[1],
            event_type: EventType::parse(fields[2]).unwrap(),
            trader: fields[3],
            side: Side::parse(fields[4]).unwrap(),
            order_id: fields[5],
            price: Price::parse(fields[6]).unwrap(),
            quantity: Quantity::parse(fields[7]).unwrap(),
            details: Details::default(),
        };
        batch.push(&row).unwrap();
    }
    batch.number_from(1);
    let mut hit = hit(batch.order(9).unwrap());
    hit.alert_hit = 1;
    hit.measures[0].value = Decimal::from_count(4_600);
    (batch, hit)
}

pub(crate) fn expected(name: &str) -> String {
    let dir = "../../tests/data/expected/";
    std::fs::read_to_string(format!("{dir}{name}")).unwrap()
}
