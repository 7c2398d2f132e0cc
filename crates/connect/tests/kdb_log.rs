//! Tickerplant logs: the real one, one that is written as the reference writes it, and torn ones.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tapewatch_connect::CsvOrders;
use tapewatch_connect::kdb::KdbOrders;
use tapewatch_connect::kdb::tick::{
    AlertRow, ORDER, ORDER_ALERTS, Syms, alert_table, columns_of, order_table, update,
};
use tapewatch_connect::kdb::tplog::{LogError, LogReader, LogWriter};
use tapewatch_connect::kdb::value::Value;
use tapewatch_connect::kdb::wire::Limits;
use tapewatch_model::{Decimal, EventType, OrderBatch, OrderSource, Quantity, TimeSpan};

const REAL: &[u8] = include_bytes!("data/kdb/tplogs/sym2021.08.19");
/// Where the messages of the real log begin, and its end.
const PLACES: [u64; 6] = [8, 122, 236, 350, 464, 703];

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Gives a few bytes at a time, as a pipe may.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let some = self.0.len().min(self.1).min(to.len());
        self.0
            .take(some as u64)
            .read(to)
            .inspect(|read| self.0 = &self.0[*read..])
    }
}

/// The whole messages of a log, and how it ends.
fn read(log: impl Read) -> (Vec<u64>, Result<(), LogError>) {
    let mut reader = LogReader::new(log, Limits::default()).unwrap();
    let mut offsets = Vec::new();
    loop {
        match reader.next_message() {
            Ok(Some(message)) => offsets.push(message.offset),
            Ok(None) => return (offsets, Ok(())),
            Err(error) => return (offsets, Err(error)),
        }
    }
}

#[test]
fn the_real_log_is_one_alert() {
    let mut source = KdbOrders::open_log(&data("tests/data/kdb/tplogs/sym2021.08.19")).unwrap();
    let (mut orders, mut refused) = (OrderBatch::default(), Vec::new());
    assert_eq!(source.next_batch(1, &mut orders, &mut refused), Ok(true));
    let [alert] = source.take_alerts().try_into().unwrap();
    assert_eq!(source.next_batch(1, &mut orders, &mut refused), Ok(false));
    assert!(orders.is_empty() && refused.is_empty() && source.passed_over().is_empty());
    let order = &alert.order;
    let shown = format!(
        "{},{},{},{},{},{},{},{}",
        order.time,
        order.sym,
        order.event_type,
        order.trader,
        order.side,
        order.order_id,
        order.price,
        order.quantity
    );
    assert_eq!(
        shown,
        "2015-04-17T12:00:20.000000000Z,SNDL,cancelled,SpoofingTrader,S,SPG-Oid13,1.23,1300"
    );
    assert_eq!(alert.alert_name, "spoofing");
    assert_eq!(alert.total_cancel_quantity.to_string(), "4600");
    let numbers = [
        alert.total_cancel_count,
        alert.cancel_quantity_threshold,
        alert.cancel_count_threshold,
    ];
    assert_eq!(
        (numbers, alert.lookback),
        ([4, 4_000, 3], TimeSpan::from_secs(25))
    );
}

/// A naive reading of the rule: cancels of the same entity within the lookback, more than both
/// thresholds of them.
fn alerts(seen: &OrderBatch, from: usize) -> Vec<AlertRow> {
    let lookback = TimeSpan::from_secs(25);
    let mut alerts = Vec::new();
    for index in from..seen.len() {
        let order = seen.order(index).unwrap();
        let same = |other: &tapewatch_model::Order| {
            other.event_type == EventType::Cancelled
                && (&other.sym, &other.trader, other.side)
                    == (&order.sym, &order.trader, order.side)
                && other.time >= order.time.saturating_sub(lookback)
                && other.time <= order.time
        };
        let cancels: Vec<_> = (0..=index)
            .map(|at| seen.order(at).unwrap())
            .filter(same)
            .collect();
        let total = cancels
            .iter()
            .map(|other| i128::from(other.quantity.units()))
            .sum();
        let enough =
            total > i128::from(Quantity::from_whole(4_000).unwrap().units()) && cancels.len() > 3;
        if order.event_type == EventType::Cancelled && enough {
            alerts.push(AlertRow {
                order,
                alert_name: "spoofing".to_owned(),
                total_cancel_quantity: Decimal::from_quantity_units(total),
                total_cancel_count: cancels.len() as i64,
                cancel_quantity_threshold: 4_000,
                cancel_count_threshold: 3,
                lookback,
            });
        }
    }
    alerts
}

/// The feed publishes to the engine, and the engine an update of alerts for each bucket, empty ones
/// too: that is all the reference's tickerplant logs.
#[test]
fn buckets_of_two_rows_write_the_real_log() {
    let mut csv = CsvOrders::open(&data("../../tests/data/spoofingData.csv")).unwrap();
    let (mut bucket, mut refused, mut seen) =
        (OrderBatch::default(), Vec::new(), OrderBatch::default());
    let mut log = LogWriter::new(Vec::new()).unwrap();
    while csv.next_batch(2, &mut bucket, &mut refused).unwrap() {
        let from = seen.len();
        seen.append(&bucket).unwrap();
        let table = alert_table(&alerts(&seen, from), &Syms::All).unwrap();
        log.message(&update(ORDER_ALERTS, columns_of(table)))
            .unwrap();
    }
    assert_eq!((log.messages(), log.bytes()), (5, 703));
    assert_eq!(log.finish().unwrap(), REAL);
}

#[test]
fn orders_go_into_a_log_and_come_out_again() {
    let mut csv = CsvOrders::open(&data("../../tests/data/spoofingData.csv")).unwrap();
    let (mut all, mut refused) = (OrderBatch::default(), Vec::new());
    csv.next_batch(100, &mut all, &mut refused).unwrap();
    let table = || order_table(&all, &Syms::All).unwrap();
    let mut log = LogWriter::new(Vec::new()).unwrap();
    log.message(&update(ORDER, columns_of(table()))).unwrap();
    log.message(&update("trade", Value::mixed(vec![]))).unwrap();
    log.message(&Value::symbol("x")).unwrap();
    log.message(&update(ORDER, Value::symbol("x"))).unwrap();
    log.message(&update(ORDER, Value::Table(Box::new(table()))))
        .unwrap();
    let bytes = log.finish().unwrap();
    let mut source = KdbOrders::log(io::Cursor::new(bytes), "log", 0, Limits::default()).unwrap();
    let (mut read, mut batch) = (OrderBatch::default(), OrderBatch::default());
    while source.next_batch(7, &mut batch, &mut refused).unwrap() {
        read.append(&batch).unwrap();
    }
    assert_eq!(read.len(), 20);
    assert!(
        all.rows()
            .map(|(_, row)| row)
            .eq(read.rows().map(|(_, row)| row).skip(10))
    );
    assert_eq!(read.seq(19), 20);
    let others: Vec<_> = source
        .passed_over()
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    assert_eq!(others, [("(other)", 1), ("trade", 1)]);
    let [letter] = refused.try_into().unwrap();
    assert_eq!((letter.line, letter.column.as_str()), (4, "row"));
    assert!(
        letter.reason.starts_with("type: wanted a table"),
        "{}",
        letter.reason
    );
}

#[test]
fn a_log_cut_anywhere_gives_its_whole_messages_and_its_break() {
    for cut in 8..=REAL.len() {
        let whole = PLACES.iter().filter(|place| **place <= cut as u64).count() - 1;
        for step in [1, 3, 1_000] {
            let (offsets, end) = read(Trickle(&REAL[..cut], step));
            assert_eq!(offsets, PLACES[..whole]);
            match end {
                Ok(()) => assert_eq!(PLACES[whole], cut as u64),
                Err(LogError::Torn { messages, bytes }) => {
                    assert_eq!((messages, bytes), (whole as u64, PLACES[whole]));
                    assert!(cut as u64 > bytes);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    let error = LogReader::new(&REAL[1..], Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "is no tickerplant log: it begins with 0100000000000000, wanted ff01000000000000"
    );
    assert!(LogReader::new(&REAL[..5], Limits::default()).is_err());
    let error = LogReader::new(&REAL[..0], Limits::default()).unwrap_err();
    let expected = "is empty: a tickerplant log begins with ff01000000000000";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn damage_says_where_and_what_is_before_it_stays() {
    let mut log = REAL.to_vec();
    log[350] = 99;
    log[351] = 44;
    let (offsets, end) = read(log.as_slice());
    assert_eq!(offsets, PLACES[..3]);
    let error = end.unwrap_err().to_string();
    assert_eq!(
        error,
        "is damaged at byte 1: a value of type 44, which is not understood of message 4: \
         3 messages are whole and take 350 bytes"
    );
    let mut source = KdbOrders::log(io::Cursor::new(log), "log", 0, Limits::default()).unwrap();
    let (mut orders, mut refused) = (OrderBatch::default(), Vec::new());
    for _ in 0..2 {
        let error = source.next_batch(9, &mut orders, &mut refused).unwrap_err();
        assert!(error.to_string().starts_with("log: is damaged"), "{error}");
    }
}

#[test]
fn a_message_that_never_ends_is_refused_at_the_limit() {
    let mut log = REAL[..8].to_vec();
    log.extend(b"\x0a\0\xff\xff\xff\0");
    log.resize(1 << 20, b'x');
    let limits = Limits {
        message_bytes: 300_000,
        ..Limits::default()
    };
    let mut reader = LogReader::new(log.as_slice(), limits).unwrap();
    let error = reader.next_message().unwrap_err().to_string();
    assert!(error.contains("at most 300000 are allowed"), "{error}");
}
