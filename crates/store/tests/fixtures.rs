//! The history's format is a promise: tables that each version wrote are read, and written on, for
//! ever. Version 1 had no columns for what not every source tells.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::{batch, check_count, copy, csv, dump, hit, letter, lines, open, order};
use tapewatch_model::Time;

#[tokio::test]
async fn tables_of_version_1_are_read_and_written_on() {
    let fixture = Path::new("tests/fixtures/history-v1");
    let dir = tempfile::tempdir().unwrap();
    copy(fixture, &dir.path().join("history"));
    let store = open(dir.path()).await;
    let high = store.high_water();
    assert_eq!((high.orders, high.hits, high.dead_letters), (13, 12, 14));
    let last = "SELECT * FROM orders WHERE seq >= 12 ORDER BY seq";
    assert_eq!(
        csv(&store, last).await.replace('\r', ""),
        "seq,time,date,sym,event_type,trader,side,order_id,price,quantity,account,exec_id,display_quantity,flags\n\
         12,2015-04-17T12:00:20.000000000Z,2015-04-17,SNDL,cancelled,SpoofingTrader,S,SPG-Oid13,1.23,1300,,,,\n\
         13,2015-04-18T12:00:00.123456789Z,2015-04-18,ÄPFEL,new,T,B,O1,-0.000000001,0.00000001,,,,\n"
    );
    let hits =
        "SELECT seq, alert_hit, detector_version, measures, lookback_ns, evidence, text FROM hits";
    let found = csv(&store, hits).await;
    for part in [
        "4600",
        "25000000000",
        "[6,9,10,12]",
        "SpoofingTrader cancelled 4 sell orders",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let letters = "SELECT line, \"column\", reason, raw FROM dead_letters";
    assert!(
        csv(&store, letters)
            .await
            .contains("3,row,\"has 1 field, 8 expected\",bad")
    );
    // Rows that tell more get their columns, and those that were there have nothing in them.
    let new = [order(15, 0), order(21, 0), order(23, 0)];
    store.append_orders(batch(&new));
    store.append_hits(&new.map(hit));
    store.append_dead_letters(24, order(24, 0).time, &[letter(1)]);
    let before = dump(&store).await;
    store.end_of_day(24).await.unwrap();
    assert_eq!(dump(&store).await, before);
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(dump(&store).await, before);
    let told =
        "SELECT seq, trader, exec_id, flags FROM orders WHERE flags IS NOT NULL ORDER BY seq";
    assert_eq!(
        lines(&store, told).await,
        "seq,trader,exec_id,flags\n21,\"Trader, 10\",E21,ioc aggressor\n23,,,anonymous\n"
    );
    check_count(&store, "account IS NULL AND display_quantity IS NULL", 14).await;
    let mut stream = store.history_orders(Time::MIN, Time::MAX).await.unwrap();
    let mut rows = Vec::new();
    while let Some(orders) = stream.next().await.unwrap() {
        rows.extend((0..orders.len()).filter_map(|index| orders.order(index)));
    }
    assert_eq!(
        (rows.len(), &rows[12..]),
        (14, &[order(21, 0), order(23, 0)][..])
    );
}

#[tokio::test]
async fn tables_of_version_2_are_read() {
    let fixture = Path::new("tests/fixtures/history-v2");
    let dir = tempfile::tempdir().unwrap();
    if std::env::var_os("TAPEWATCH_WRITE_FIXTURES").is_some() {
        let store = open(dir.path()).await;
        let orders: Vec<_> = (18..=25).map(|seq| order(seq, 0)).collect();
        store.append_orders(batch(&orders));
        store.append_hits(&[hit(orders[2].clone()), hit(orders[3].clone())]);
        store.append_dead_letters(26, orders[0].time, &[letter(1)]);
        store.end_of_day(26).await.unwrap();
        copy(&dir.path().join("history"), fixture);
    } else {
        copy(fixture, &dir.path().join("history"));
    }
    let store = open(dir.path()).await;
    let high = store.high_water();
    assert_eq!((high.orders, high.hits, high.dead_letters), (25, 21, 26));
    assert_eq!(
        lines(
            &store,
            "SELECT * EXCLUDE (time, date, order_id, price) FROM orders ORDER BY seq"
        )
        .await,
        "seq,sym,event_type,trader,side,quantity,account,exec_id,display_quantity,flags\n\
         18,SYM4,cancelled,\"Trader, 7\",B,0.00000054,,,,\n\
         19,SYM5,filled,\"Trader, 8\",S,0.00000057,,,,\n\
         20,SYM6,new,\"Trader, 9\",B,0.0000006,\"ACC, 2\",,,\n\
         21,SYM0,amended,\"Trader, 10\",S,0.00000063,,E21,,ioc aggressor\n\
         22,SYM1,cancelled,\"Trader, 0\",B,0.00000066,,,0.00000001,\n\
         23,SYM2,filled,,S,0.00000069,,,,anonymous\n\
         24,SYM3,new,\"Trader, 2\",B,0.00000072,,,,\n\
         25,SYM4,amended,\"Trader, 3\",S,0.00000075,\"ACC, 1\",,,\n"
    );
    let hits = "SELECT seq, text, account, exec_id, display_quantity, flags, suppressed FROM hits ORDER BY seq";
    assert_eq!(
        lines(&store, hits).await,
        "seq,text,account,exec_id,display_quantity,flags,suppressed\n\
         20,\"said \"\"20\"\"\",\"ACC, 2\",,,,expected\n\
         21,\"said \"\"21\"\"\",,E21,,ioc aggressor,\n"
    );
}
