//! The history's format is a promise: tables that version 1 wrote are read, and written on, for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::{batch, copy, csv, open, order};

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
        "seq,time,date,sym,event_type,trader,side,order_id,price,quantity\n\
         12,2015-04-17T12:00:20.000000000Z,2015-04-17,SNDL,cancelled,SpoofingTrader,S,SPG-Oid13,1.23,1300\n\
         13,2015-04-18T12:00:00.123456789Z,2015-04-18,ÄPFEL,new,T,B,O1,-0.000000001,0.00000001\n"
    );
    let hits =
        "SELECT seq, alert_hit, detector_version, measures, lookback_ns, evidence, text FROM hits";
    let hit = csv(&store, hits).await;
    for part in [
        "4600",
        "25000000000",
        "[6,9,10,12]",
        "SpoofingTrader cancelled 4 sell orders",
    ] {
        assert!(hit.contains(part), "{part}: {hit}");
    }
    let letters = "SELECT line, \"column\", reason, raw FROM dead_letters";
    assert!(
        csv(&store, letters)
            .await
            .contains("3,row,\"has 1 field, 8 expected\",bad")
    );
    store.append_orders(batch(&[order(15, 0)]));
    store.end_of_day(15).await.unwrap();
    assert!(
        csv(&store, "SELECT count(*) FROM orders")
            .await
            .contains("12")
    );
}
