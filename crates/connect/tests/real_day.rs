//! The mapping of market-by-order records, proved on a real day: the rows alone rebuild the book.
//!
//! The day is no part of the project: where it is absent, the test says so and passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use tapewatch_connect::DbnOrders;
use tapewatch_model::{
    Book, BookOrder, DeadLetter, EventType, Flags, Order, OrderBatch, OrderKey, OrderSource, Side,
    Time,
};

/// CME, E-mini S&P 500 March 2024, 2023-12-25: the book of the evening before, the pre-opening from
/// 22:00 UTC, the opening auction at 23:00, an hour of continuous trading.
const DAY: &str = "../../../shared/data/real/esh4-glbx-mdp3-20231225.mbo.dbn.zst";

fn day() -> Option<(Vec<Order>, Vec<DeadLetter>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(DAY);
    if !path.exists() {
        println!("skipped: the real day is not at {}", path.display());
        return None;
    }
    let mut source = DbnOrders::open(&path).unwrap();
    let (mut rows, mut letters) = (Vec::new(), Vec::new());
    let mut orders = OrderBatch::default();
    while source.next_batch(8_192, &mut orders, &mut letters).unwrap() {
        rows.extend((0..orders.len()).filter_map(|at| orders.order(at)));
    }
    let progress = source.progress();
    assert_eq!(progress.done, progress.total);
    Some((rows, letters))
}

/// What folding the rows came to.
#[derive(Debug, Default)]
struct Seen {
    /// Events of the venue after which the highest bid was at or above the lowest ask.
    crossed: Vec<Time>,
    /// Events of the venue after which both sides had orders.
    sound: u64,
    /// New orders all that was shown of which was filled just before: the next part of a hidden
    /// reserve.
    refilled: u64,
    /// Orders that came and traded at once, without having been in the book.
    came: u64,
    /// Orders that were in the book after an execution of theirs as the one that came.
    rested: u64,
    /// Fills of more than was shown.
    hidden: u64,
}

struct Fold {
    book: Book,
    seen: Seen,
    /// Filled in this event, and whether as the order that came.
    filled: BTreeMap<OrderKey, Flags>,
}

impl Fold {
    fn row(&mut self, order: &Order) {
        let key = OrderKey(order.order_id.parse().unwrap());
        let known = self.book.get(key);
        let new = BookOrder {
            key,
            side: order.side,
            price: order.price,
            quantity: order.quantity,
            extra: (),
        };
        match (order.event_type, known) {
            (EventType::New, None) => {
                match self.filled.get(&key).copied() {
                    Some(Flags::PASSIVE) => self.seen.refilled += 1,
                    Some(_) => self.seen.rested += 1,
                    None => {}
                }
                self.book.add(new).unwrap();
            }
            (EventType::Amended, Some(before)) => {
                assert_eq!(before.side, order.side, "{order:?}");
                self.book.modify(key, order.price, order.quantity).unwrap();
            }
            (EventType::Cancelled, Some(before)) => {
                assert_eq!(
                    (before.side, before.quantity),
                    (order.side, order.quantity),
                    "{order:?}"
                );
                self.book.remove(key);
            }
            (EventType::Filled, Some(before)) => {
                assert_eq!(before.side, order.side, "{order:?}");
                self.seen.hidden += u64::from(order.quantity > before.quantity);
                self.book.get_mut(key).unwrap().reduce(order.quantity);
                self.filled.insert(key, side_of(order));
            }
            (EventType::Filled, None) if order.flags.has(Flags::AGGRESSOR) => {
                self.seen.came += u64::from(self.filled.insert(key, side_of(order)).is_none());
            }
            (_, _) => panic!("names an unknown order, or one that is known: {order:?}"),
        }
    }

    fn event_ended(&mut self, time: Time) {
        if self.book.is_crossed() {
            self.seen.crossed.push(time);
        } else if self.book.best(Side::Buy).is_some() && self.book.best(Side::Sell).is_some() {
            self.seen.sound += 1;
        }
        self.filled.clear();
    }
}

fn side_of(order: &Order) -> Flags {
    Flags::PASSIVE.when(order.flags.has(Flags::PASSIVE))
}

fn time(text: &str) -> Time {
    Time::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_rows_rebuild_the_book() {
    let Some((rows, _)) = day() else { return };
    let mut fold = Fold {
        book: Book::with_limit(100_000),
        seen: Seen::default(),
        filled: BTreeMap::new(),
    };
    // All rows of what the venue did at once have its time, and no two such events have the same.
    for event in rows.chunk_by(|one, other| one.time == other.time) {
        for order in event {
            fold.row(order);
        }
        fold.event_ended(event[0].time);
    }
    let Fold { book, seen, .. } = fold;
    // Before the auction a book crosses; while the market is open it never does.
    let opens = time("2023-12-25T23:00:00");
    assert_eq!(seen.crossed.len(), 891);
    assert_eq!(seen.crossed[0], time("2023-12-25T22:39:55.216798489"));
    assert!(seen.crossed.iter().all(|time| *time < opens));
    assert_eq!(seen.sound, 46_132);
    assert_eq!((seen.came, seen.rested), (2_827, 76));
    assert_eq!((seen.hidden, seen.refilled), (27, 83));
    assert_eq!(book.len(), 11_217);
}

#[test]
fn every_record_is_a_row_or_tells_nothing_new() {
    let Some((rows, letters)) = day() else { return };
    let count = |is: &dyn Fn(&Order) -> bool| rows.iter().filter(|order| is(order)).count();
    let of = |kind: EventType| count(&|order| order.event_type == kind);
    let flagged = |flag: Flags| count(&|order| order.flags.has(flag));
    let sum = |side: Side| -> i64 {
        let fills = rows
            .iter()
            .filter(|order| order.event_type == EventType::Filled && order.side == side);
        fills
            .map(|order| order.quantity.units() / 100_000_000)
            .sum()
    };
    // 29,216 adds, and 83 next parts of hidden reserves.
    assert_eq!(of(EventType::New), 29_216 + 83);
    assert_eq!(flagged(Flags::SNAPSHOT), 8_725);
    assert_eq!(of(EventType::Amended), 11_349 - 83);
    assert_eq!(of(EventType::Cancelled), 12_670);
    // 6,371 fills, of which 35 are of the auction and 107 of the order that came; each of the others
    // is of an execution with two sides.
    assert_eq!(flagged(Flags::PASSIVE), 6_371 - 35 - 107);
    assert_eq!(flagged(Flags::AGGRESSOR), flagged(Flags::PASSIVE));
    let executions = rows.chunk_by(|one, other| one.exec_id == other.exec_id);
    for sides in executions.filter(|rows| !rows[0].exec_id.is_empty()) {
        let [came, waited] = sides else {
            panic!("not two sides: {sides:?}")
        };
        assert_ne!(came.side, waited.side);
        assert_eq!((came.price, came.quantity), (waited.price, waited.quantity));
        assert!(came.flags.has(Flags::AGGRESSOR) && waited.flags.has(Flags::PASSIVE));
    }
    // The opening auction's trade has no side, and 7 of its 35 fills are of orders that were never in
    // the book: 14 pieces, 13 of them bought.
    let refused: Vec<u64> = letters.iter().map(|letter| letter.line).collect();
    assert_eq!(
        refused,
        [9_651, 9_660, 9_662, 9_663, 9_664, 9_666, 9_668, 9_670]
    );
    assert!(letters.iter().all(|letter| letter.column == "side"));
    assert_eq!((sum(Side::Buy) + 13, sum(Side::Sell) + 1), (9_892, 9_892));
    assert!(
        rows.iter()
            .all(|order| order.sym == "ESH4" && order.trader.is_empty())
    );
    assert!(rows.is_sorted_by_key(|order| order.time));
}
