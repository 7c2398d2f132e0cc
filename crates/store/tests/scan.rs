//! Scans: the rows that SQL gives, instrument by instrument, whatever the layout of the files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{batch, copy, open};
use proptest::prelude::*;
use tapewatch_model::{EventType, EventTypes, Flags, Order, Price, Quantity, Side, Time};
use tapewatch_store::{ScanError, ScanRequest, ScanUnit, Store};

const DAY: i64 = 86_400_000_000_000;

/// Rows by instrument.
type BySym = BTreeMap<String, Vec<Order>>;

/// Orders of three days, most of them in order, some of another day.
fn orders(rows: &[(u8, u8, u8, i64)], first_seq: u64) -> Vec<Order> {
    let order = |(index, &(sym, kind, day, nanos)): (usize, &(u8, u8, u8, i64))| {
        let seq = first_seq + index as u64;
        // Of the first day nothing more is told.
        let told = |some: bool| some && day > 0;
        let anonymous = told(kind / 4 == 1);
        Order {
            seq,
            time: Time::from_nanos(1_704_000_000_000_000_000 + i64::from(day) * DAY + nanos),
            sym: format!("S{sym:02}"),
            event_type: EventType::from_number(1 + kind % 4).unwrap(),
            trader: match anonymous {
                true => String::new(),
                false => format!("T{}", kind / 4),
            },
            side: if nanos % 2 == 0 {
                Side::Buy
            } else {
                Side::Sell
            },
            order_id: format!("O{seq}"),
            price: Price::from_units(nanos - 500),
            quantity: Quantity::from_units(nanos).unwrap(),
            account: match told(nanos % 3 == 0) {
                true => format!("A{}", nanos % 4),
                false => String::new(),
            },
            exec_id: match told(nanos % 5 == 0) {
                true => format!("E{seq}"),
                false => String::new(),
            },
            display: told(nanos % 7 == 0).then(|| Quantity::from_units(nanos / 2).unwrap()),
            flags: Flags::ANONYMOUS
                .when(anonymous)
                .with(Flags::IOC.when(told(nanos % 2 == 0))),
        }
    };
    rows.iter().enumerate().map(order).collect()
}

/// What a scan gives, with the details of every row; the instruments of each unit.
fn scanned(store: &Store, request: &ScanRequest, count: usize) -> (BySym, Vec<Vec<String>>) {
    let (mut all, mut syms) = (BySym::new(), Vec::new());
    for mut unit in store.order_scan(request).unwrap().units(count) {
        let (mut of_unit, mut places) = (Vec::new(), Vec::new());
        loop {
            let Some(orders) = unit.next_batch().unwrap().cloned() else {
                break;
            };
            for index in 0..orders.len() {
                let order = orders.order(index).unwrap();
                if !request.details {
                    let judged = (order.order_id.as_str(), order.price);
                    assert_eq!(judged, ("", Price::default()));
                }
                of_unit.push(order);
                places.push(unit.place(index).unwrap());
            }
            assert_eq!(unit.place(orders.len()), None);
        }
        if unit.by_instrument() {
            let runs = of_unit.chunk_by(|a, b| a.sym == b.sym);
            let syms: BTreeSet<&String> = of_unit.iter().map(|order| &order.sym).collect();
            assert_eq!(runs.count(), syms.len(), "an instrument comes once");
        }
        // Asked for backwards, and the first one twice.
        places.reverse();
        places.extend(places.last().copied());
        let mut details = unit.details(&places).unwrap();
        assert_eq!(details.pop().as_ref(), details.last());
        for (order, details) in of_unit.iter_mut().zip(details.into_iter().rev()) {
            let (order_id, price) = details;
            if request.details {
                assert_eq!((&order_id, price), (&order.order_id, order.price));
            }
            (order.order_id, order.price) = (order_id, price);
            all.entry(order.sym.clone())
                .or_default()
                .push(order.clone());
        }
        let mut of_unit: Vec<String> = of_unit.into_iter().map(|order| order.sym).collect();
        of_unit.sort();
        of_unit.dedup();
        syms.push(of_unit);
    }
    (all, syms)
}

fn expected(orders: &[Order], request: &ScanRequest) -> BySym {
    let mut all = BySym::new();
    for order in orders {
        let wanted = request.events.contains(order.event_type)
            && (request.from <= order.time && order.time < request.to)
            && (request.syms.is_empty() || request.syms.contains(&order.sym));
        if wanted {
            let mut order = order.clone();
            if !request.details {
                (order.account, order.exec_id) = Default::default();
                (order.display, order.flags) = Default::default();
            }
            all.entry(order.sym.clone()).or_default().push(order);
        }
    }
    all
}

fn requests() -> Vec<ScanRequest> {
    let cancels = EventTypes::of(&[EventType::Cancelled]);
    let whole = ScanRequest {
        from: Time::MIN,
        to: Time::MAX,
        events: EventTypes::ALL,
        syms: Vec::new(),
        details: false,
    };
    vec![
        whole.clone(),
        ScanRequest {
            details: true,
            ..whole.clone()
        },
        ScanRequest {
            events: cancels,
            syms: vec!["S03".to_owned()],
            details: true,
            ..whole.clone()
        },
        ScanRequest {
            events: cancels,
            ..whole.clone()
        },
        ScanRequest {
            events: cancels,
            syms: vec!["S03".to_owned(), "S07".to_owned()],
            ..whole.clone()
        },
        ScanRequest {
            from: Time::from_nanos(1_704_000_000_000_000_000 + DAY),
            to: Time::from_nanos(1_704_000_000_000_000_000 + DAY + 700),
            ..whole
        },
    ]
}

fn check(store: &Store, orders: &[Order]) {
    for request in requests() {
        let expected = expected(orders, &request);
        for count in [1, 2, 5] {
            let (found, syms) = scanned(store, &request, count);
            assert_eq!(found, expected, "{request:?}, {count} units");
            assert!(syms.len() <= count);
            let mut all = syms.concat();
            all.sort();
            let distinct = all.len();
            all.dedup();
            assert_eq!(all.len(), distinct, "no instrument is in two units");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_scan_gives_what_came(
        rows in proptest::collection::vec((0_u8..12, 0_u8..16, 0_u8..3, 0_i64..1_000), 20..400),
        parts in 1_usize..5,
        late in any::<bool>(),
    ) {
        let mut rows = rows;
        if !late {
            rows.sort_by_key(|row| row.2);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let orders = orders(&rows, 1);
        let store = runtime.block_on(async {
            let store = open(dir.path()).await;
            for (index, part) in orders.chunks(orders.len().div_ceil(parts)).enumerate() {
                store.append_orders(batch(part));
                // The last part stays in memory.
                if index + 1 < parts {
                    store.end_of_day(part.last().unwrap().seq).await.unwrap();
                }
            }
            store
        });
        check(&store, &orders);
    }
}

/// Only where all rows of an instrument lie together does a unit promise it.
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_says_when_instruments_come_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let rows: Vec<_> = (0..60_u8)
        .map(|row| (row % 12, row % 16, 0, i64::from(row)))
        .collect();
    let promised = |request: &ScanRequest| {
        let units = store.order_scan(request).unwrap().units(3);
        units
            .iter()
            .map(ScanUnit::by_instrument)
            .collect::<Vec<_>>()
    };
    let [all, _, _, cancels, ..] = <[ScanRequest; 6]>::try_from(requests()).unwrap();
    store.append_orders(batch(&orders(&rows, 1)));
    assert!(
        !promised(&cancels).contains(&true),
        "rows in memory are in no order"
    );
    store.end_of_day(60).await.unwrap();
    assert!(!promised(&cancels).contains(&false));
    assert!(!promised(&all).contains(&false), "all are sorted together");
    store.append_orders(batch(&orders(&rows[..1], 61)));
    store.end_of_day(61).await.unwrap();
    assert_eq!(rows[0].0, 0);
    assert!(
        promised(&cancels).contains(&true),
        "the late row is a new one"
    );
    let cancel = rows
        .iter()
        .find(|row| 1 + row.1 % 4 == EventType::Cancelled as u8)
        .unwrap();
    store.append_orders(batch(&orders(&[*cancel], 62)));
    store.end_of_day(62).await.unwrap();
    assert!(
        promised(&cancels).contains(&false),
        "an instrument has a cancel in two files"
    );
}

/// A value that is not what the file's own bounds say, or is no text, is told and never left out.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_instruments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..60_u8)
        .map(|row| (row % 12, 2, 0, i64::from(row)))
        .collect();
    let orders = orders(&rows, 1);
    let store = open(dir.path()).await;
    store.append_orders(batch(&orders));
    store.end_of_day(60).await.unwrap();
    let partition = std::fs::read_dir(dir.path().join("history/orders"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("date="))
        .unwrap();
    let file = std::fs::read_dir(partition)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let sound = std::fs::read(&file).unwrap();
    let request = requests().swap_remove(1);
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let units = match store.order_scan(&request) {
            Ok(scan) => scan.units(1),
            Err(error) => return error.to_string(),
        };
        let all = |mut unit: ScanUnit| -> Result<(), ScanError> {
            while unit.next_batch()?.is_some() {}
            Ok(())
        };
        let result = units.into_iter().try_for_each(all);
        result.map_or_else(|error| error.to_string(), |()| String::new())
    };
    assert_eq!(refused(&sound), "");
    let at = sound
        .windows(7)
        .position(|bytes| bytes == b"\x03\0\0\0S05")
        .unwrap();
    for (byte, reason) in [(0xff, "UTF-8"), (b'Z', "bounds"), (b'A', "bounds")] {
        let mut bytes = sound.clone();
        bytes[at + 4] = byte;
        let said = refused(&bytes);
        assert!(said.contains(reason) && said.contains(".parquet"), "{said}");
    }
    let longer = [&sound[..], b"x"].concat();
    assert!(refused(&longer).contains("the table says"));
    assert!(refused(&sound[..sound.len() - 1]).contains("the table says"));
}

/// Files of version 1 lie in the order of arrival, all event types in one row group; new ones beside
/// them are sorted.
#[tokio::test(flavor = "multi_thread")]
async fn older_files_are_scanned_too() {
    let dir = tempfile::tempdir().unwrap();
    copy(
        Path::new("tests/fixtures/history-v1"),
        &dir.path().join("history"),
    );
    let store = open(dir.path()).await;
    let rows: Vec<_> = (0..60_u8)
        .map(|row| (row % 12, row % 16, row % 3, i64::from(row)))
        .collect();
    let newer = orders(&rows, 15);
    store.append_orders(batch(&newer));
    let history = store.history_orders(Time::MIN, Time::MAX).await.unwrap();
    let mut all = Vec::new();
    let mut history = history;
    while let Some(orders) = history.next().await.unwrap() {
        all.extend((0..orders.len()).map(|index| orders.order(index).unwrap()));
    }
    assert!(all.len() > 60, "those of version 1 are among them");
    check(&store, &all);
    store.end_of_day(100).await.unwrap();
    check(&store, &all);
}

/// More instruments than a dictionary carries on: each batch has a dictionary of its own, and what
/// comes under a code of the second is from before what came under it of the first.
#[tokio::test(flavor = "multi_thread")]
async fn more_instruments_than_a_dictionary_keeps_are_scanned() {
    // Of each of the first instruments a row group's share, and before them a row of each other.
    const SYMS: usize = 18_725;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let order = |row: usize| Order {
        seq: row as u64 + 1,
        time: Time::from_nanos(1_704_000_000_000_000_000 + row as i64),
        sym: match row.checked_sub(SYMS) {
            None => format!("T{row:05}"),
            Some(row) => format!("S{:05}", row % SYMS),
        },
        event_type: EventType::Cancelled,
        trader: "T".to_owned(),
        side: Side::Buy,
        order_id: String::new(),
        price: Price::default(),
        quantity: Quantity::default(),
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    };
    let orders: Vec<_> = (0..8 * SYMS).map(order).collect();
    store.append_orders(batch(&orders));
    let request = requests().swap_remove(1);
    let check = |when: &str| {
        let (found, _) = scanned(&store, &request, 1);
        assert!(found == expected(&orders, &request), "{when}");
    };
    check("in memory");
    store.end_of_day(orders.len() as u64).await.unwrap();
    check("in the history");
}
