//! Subscriptions over a journal that grows and is deleted behind them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used
)]

use std::collections::BTreeSet;

use tapewatch_journal::{Journal, Options, Retention};
use tapewatch_model::{
    Bucket, DeadLetter, Details, EventType, Price, Quantity, RowRef, Side, Time, encode_bucket,
};

use super::*;

/// A journal with its publisher's side.
struct World {
    _dir: tempfile::TempDir,
    journal: Journal,
    published: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    source: Source,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes_max: 4_096,
            ..Options::default()
        };
        let (journal, _) = Journal::open(dir.path(), options).unwrap();
        let (published, published_watch) = watch::channel(journal.durable_seq());
        let (stopping, stopping_watch) = watch::channel(false);
        let source = Source {
            readers: journal.readers(),
            published: published_watch,
            stopping: stopping_watch,
        };
        Self {
            _dir: dir,
            journal,
            published,
            stopping,
            source,
        }
    }

    /// Publishes a bucket of so many orders, of instruments by turns, and a dead letter if wanted.
    fn publish(&mut self, orders: u64, letter: bool) {
        let mut bucket = Bucket::default();
        for number in 0..orders {
            let seq = self.journal.next_seq() + number;
            let (sym, id) = (format!("S{}", seq % 3), seq.to_string());
            let row = RowRef {
                time: Time::from_nanos(1_704_441_600_000_000_000),
                sym: sym.as_bytes(),
                event_type: EventType::New,
                trader: &b"T"[..],
                side: Side::Buy,
                order_id: id.as_bytes(),
                price: Price::parse(b"1").unwrap(),
                quantity: Quantity::parse(b"1").unwrap(),
                details: Details::default(),
            };
            bucket.orders.push(&row).unwrap();
        }
        if letter {
            bucket
                .dead_letters
                .push(DeadLetter::new("f", 1, "c", "r", b"raw"));
        }
        let mut bytes = Vec::new();
        encode_bucket(&bucket, &mut bytes);
        let count = u32::try_from(bucket.count()).unwrap();
        self.journal
            .append(frame_kind::BUCKET, count, 0, &bytes)
            .unwrap();
        self.journal.commit().unwrap();
        self.published.send_replace(self.journal.durable_seq());
    }

    fn orders(&self, from: Option<u64>, follow: bool, syms: Option<&[&str]>) -> Orders {
        let span = Span { from, follow };
        let syms = syms.map(|syms| syms.iter().map(ToString::to_string).collect());
        let subscribers = Subscribers::default();
        Orders::open(self.source.clone(), span, syms, (&subscribers, "test")).unwrap()
    }
}

/// All that comes until the end, or until `enough` rows; the numbers, each checked against its row.
async fn take(orders: &mut Orders, enough: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < enough {
        let Some((batch, next_seq)) = orders.next().await.unwrap() else {
            break;
        };
        for (seq, row) in batch.rows() {
            assert_eq!(row.order_id, seq.to_string());
            seqs.push(seq);
        }
        assert!(next_seq > *seqs.last().unwrap());
    }
    seqs
}

#[tokio::test]
async fn from_the_disk_then_live_each_once() {
    let mut world = World::new();
    for bucket in 0..200 {
        world.publish(1 + bucket % 17, false);
    }
    let middle = 501; // within a bucket, in a segment long past
    let mut live = world.orders(Some(middle), true, None);
    let reading = tokio::spawn(async move { take(&mut live, 4_000).await });
    let mut last = world.journal.durable_seq();
    while last < 8_000 {
        world.publish(1 + last % 13, false);
        last = world.journal.durable_seq();
        tokio::task::yield_now().await;
    }
    let seqs = reading.await.unwrap();
    let expected: Vec<u64> = (middle..).take(seqs.len()).collect();
    assert!(seqs.len() >= 4_000);
    assert_eq!(seqs, expected);
}

#[tokio::test]
async fn an_end_where_one_is_wanted_and_only_what_is_wanted() {
    let mut world = World::new();
    world.publish(5, true);
    world.publish(0, true);
    world.publish(5, false);
    let mut all = world.orders(None, false, None);
    world.publish(3, false);
    let expected: Vec<u64> = (1..=5).chain(8..=12).collect();
    assert_eq!(take(&mut all, usize::MAX).await, expected);
    let mut some = world.orders(Some(4), false, Some(&["S1", "S7"]));
    assert_eq!(take(&mut some, usize::MAX).await, [4, 10, 13]);
}

#[tokio::test]
async fn what_is_gone_or_not_there_is_said() {
    let mut world = World::new();
    for _ in 0..100 {
        world.publish(10, false);
    }
    let mut slow = world.orders(Some(1), true, None);
    assert_eq!(take(&mut slow, 1).await[0], 1);
    let retention = Retention {
        bytes_max: Some(8_192),
        age_max: None,
        keep_from_seq: u64::MAX,
    };
    world.journal.retain(&retention, 0).unwrap();
    let first = world.journal.first_seq();
    let refused = |from| {
        let span = Span {
            from: Some(from),
            follow: true,
        };
        let opened = Frames::open(world.source.clone(), span);
        opened.map(|_| ()).unwrap_err().to_string()
    };
    let gone = refused(2);
    assert!(
        gone.contains("2 is no longer") && gone.contains(&first.to_string()),
        "{gone}"
    );
    let ahead = refused(1_002);
    assert!(ahead.contains("the last is 1000; take 1001"), "{ahead}");
}

#[tokio::test]
async fn a_stop_ends_it_and_names_where_to_go_on() {
    let mut world = World::new();
    world.publish(7, false);
    let mut orders = world.orders(Some(1), true, None);
    assert_eq!(take(&mut orders, 7).await.len(), 7);
    world.stopping.send_replace(true);
    let error = orders.next().await.unwrap_err().to_string();
    assert!(error.ends_with("subscribe again from 8"), "{error}");
}

#[test]
fn subscribers_are_named_apart_and_forgotten() {
    let subscribers = Subscribers::default();
    let seats: Vec<Seat> = (0..SUBSCRIBERS_MAX)
        .map(|_| subscribers.join("desk", 11).unwrap())
        .collect();
    assert!(subscribers.join("desk", 11).is_err(), "full");
    let labels: BTreeSet<&str> = seats.iter().map(|seat| seat.label.as_str()).collect();
    assert_eq!(labels.len(), SUBSCRIBERS_MAX);
    let opts = prometheus::Opts::new("lag", "help");
    let lag = IntGaugeVec::new(opts, &["subscriber"]).unwrap();
    seats[0].at(16);
    subscribers.show(20, &lag);
    assert_eq!(lag.with_label_values(&[&seats[0].label]).get(), 5);
    assert_eq!(lag.with_label_values(&[&seats[1].label]).get(), 10);
    drop(seats);
    subscribers.show(20, &lag);
    use prometheus::core::Collector as _;
    assert_eq!(lag.collect()[0].get_metric().len(), 0);
    assert!(subscribers.join("desk", 11).is_ok());
}
