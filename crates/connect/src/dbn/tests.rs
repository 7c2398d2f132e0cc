//! Tests of the Databento feed: each kind of record, symbols, limits, random and cut bytes.

use dbn::encode::{DbnEncoder, EncodeRecord};
use dbn::{
    FlagSet, MappingInterval, MboMsg, Metadata, MetadataBuilder, RecordHeader, SType, Schema,
    StatusMsg, SymbolMapping, UNDEF_PRICE, UNDEF_TIMESTAMP, rtype,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tapewatch_model::{EventType, Order};

use super::*;

const LAST: FlagSet = FlagSet::empty().set_last();
const NONE: FlagSet = FlagSet::empty();
/// 2024-01-05T08:00:00Z.
const AT: u64 = 1_704_441_600_000_000_000;

fn head(schema: Option<Schema>) -> Metadata {
    MetadataBuilder::new()
        .dataset("GLBX.MDP3")
        .schema(schema)
        .start(AT)
        .stype_in(Some(SType::RawSymbol))
        .stype_out(SType::InstrumentId)
        .mappings(vec![SymbolMapping {
            raw_symbol: "ESH4".to_owned(),
            intervals: vec![MappingInterval {
                start_date: time::Date::from_calendar_date(2024, time::Month::January, 5).unwrap(),
                end_date: time::Date::from_calendar_date(2024, time::Month::January, 6).unwrap(),
                symbol: "17".to_owned(),
            }],
        }])
        .build()
}

/// A record of instrument 17 whose price is in quarters and whose time is in seconds.
fn record(second: u64, action: char, side: char, order: u64, quarters: i64, size: u32) -> MboMsg {
    MboMsg {
        hd: RecordHeader::new::<MboMsg>(rtype::MBO, 1, 17, AT + second * 1_000_000_000),
        order_id: order,
        price: quarters * 250_000_000,
        size,
        flags: LAST,
        channel_id: 0,
        action: action as i8,
        side: side as i8,
        ts_recv: AT,
        ts_in_delta: 0,
        sequence: 0,
    }
}

/// A record that is not the last of its event.
fn first(record: MboMsg) -> MboMsg {
    MboMsg {
        flags: NONE,
        ..record
    }
}

fn file(records: &[MboMsg]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = DbnEncoder::new(&mut bytes, &head(Some(Schema::Mbo))).unwrap();
    for record in records {
        encoder.encode_record(record).unwrap();
    }
    bytes
}

#[derive(Debug, PartialEq, Default)]
struct All {
    orders: Vec<Order>,
    letters: Vec<DeadLetter>,
    failed: Option<String>,
}

fn drain(bytes: &[u8], rows_max: usize) -> Result<All, SourceError> {
    let mut source = DbnOrders::new(bytes, "a.dbn", bytes.len() as u64)?;
    let mut all = All::default();
    let mut orders = OrderBatch::default();
    loop {
        let before = all.orders.len() + all.letters.len();
        let more = source.next_batch(rows_max, &mut orders, &mut all.letters);
        all.orders
            .extend((0..orders.len()).filter_map(|at| orders.order(at)));
        let count = all.orders.len() + all.letters.len() - before;
        assert!(count <= rows_max);
        match more {
            Ok(true) => assert!(count > 0),
            Ok(false) => break,
            Err(error) => {
                assert_eq!(
                    source.next_batch(1, &mut orders, &mut Vec::new()),
                    Err(error.clone())
                );
                all.failed = Some(error.message);
                break;
            }
        }
    }
    Ok(all)
}

fn text(order: &Order) -> String {
    format!(
        "{} {} {} {} {} {} {} [{}]",
        order.seq,
        order.event_type,
        order.side,
        order.order_id,
        order.quantity,
        order.price,
        order.exec_id,
        order.flags
    )
    .replace(" [anonymous]", "")
    .replace(" anonymous]", "]")
}

/// The rows of records none of which is refused.
fn rows(records: &[MboMsg]) -> Vec<String> {
    let all = drain(&file(records), 2).unwrap();
    assert!(all.letters.is_empty(), "{:?}", all.letters);
    assert_eq!(all.failed, None);
    all.orders.iter().map(text).collect()
}

#[test]
fn the_life_of_an_order() {
    let got = rows(&[
        record(0, 'A', 'B', 1, 400, 10),
        record(1, 'M', 'B', 1, 401, 10),
        record(2, 'C', 'B', 1, 401, 4),
        record(3, 'C', 'B', 1, 401, 6),
    ]);
    assert_eq!(
        got,
        [
            "1 new B 1 10 100 ",
            "2 amended B 1 10 100.25 ",
            "3 amended B 1 6 100.25 ",
            "4 cancelled B 1 6 100.25 ",
        ]
    );
}

#[test]
fn what_a_fill_takes_from_the_book_is_told_once() {
    let got = rows(&[
        record(0, 'A', 'B', 1, 400, 10),
        record(0, 'A', 'B', 2, 400, 10),
        // Order 9 comes and sells 12: all of order 1, 2 of order 2; 3 of it stay.
        first(record(1, 'T', 'A', 9, 400, 12)),
        first(record(1, 'F', 'B', 1, 400, 10)),
        first(record(1, 'F', 'B', 2, 400, 2)),
        first(record(1, 'C', 'B', 1, 400, 10)),
        first(record(1, 'M', 'B', 2, 400, 8)),
        record(1, 'A', 'A', 9, 400, 3),
        // In an event of its own the same cancel is one.
        record(2, 'C', 'B', 2, 400, 8),
    ]);
    assert_eq!(
        got,
        [
            "1 new B 1 10 100 ",
            "2 new B 2 10 100 ",
            "3 filled S 9 10 100 4 [aggressor]",
            "4 filled B 1 10 100 4 [passive]",
            "5 filled S 9 2 100 5 [aggressor]",
            "6 filled B 2 2 100 5 [passive]",
            "7 new S 9 3 100 ",
            "8 cancelled B 2 8 100 ",
        ]
    );
}

#[test]
fn an_order_of_the_book_that_is_amended_to_trade() {
    let got = rows(&[
        record(0, 'A', 'A', 1, 400, 5),
        record(0, 'A', 'B', 2, 390, 12),
        first(record(1, 'T', 'B', 2, 400, 5)),
        first(record(1, 'F', 'B', 2, 400, 5)), // the trade again
        first(record(1, 'F', 'A', 1, 400, 5)),
        first(record(1, 'C', 'A', 1, 400, 5)),
        record(1, 'M', 'B', 2, 400, 7),
        // It comes back to trade one more piece, and the rest is taken away.
        record(2, 'A', 'A', 3, 401, 1),
        first(record(3, 'T', 'B', 2, 401, 1)),
        first(record(3, 'F', 'B', 2, 401, 1)),
        first(record(3, 'F', 'A', 3, 401, 1)),
        first(record(3, 'C', 'B', 2, 400, 7)),
        record(3, 'C', 'A', 3, 401, 1),
    ]);
    assert_eq!(
        got,
        [
            "1 new S 1 5 100 ",
            "2 new B 2 12 97.5 ",
            "3 filled B 2 5 100 5 [aggressor]",
            "4 filled S 1 5 100 5 [passive]",
            "5 amended B 2 7 100 ",
            "6 new S 3 1 100.25 ",
            "7 filled B 2 1 100.25 11 [aggressor]",
            "8 filled S 3 1 100.25 11 [passive]",
            "9 cancelled B 2 6 100 ",
        ]
    );
}

#[test]
fn a_hidden_reserve_shows_its_next_part() {
    let got = rows(&[
        record(0, 'A', 'B', 1, 400, 5),
        first(record(1, 'T', 'A', 9, 400, 7)),
        first(record(1, 'F', 'B', 1, 400, 7)),
        record(1, 'M', 'B', 1, 400, 3),
        record(2, 'C', 'B', 1, 400, 3),
    ]);
    assert_eq!(
        got,
        [
            "1 new B 1 5 100 ",
            "2 filled S 9 7 100 3 [aggressor]",
            "3 filled B 1 7 100 3 [passive]",
            "4 new B 1 3 100 ",
            "5 cancelled B 1 3 100 ",
        ]
    );
}

#[test]
fn what_no_fill_tells_of_a_trade() {
    let got = rows(&[
        record(0, 'A', 'B', 1, 400, 5),
        // A hidden order of 2 met what came too; its venue names neither of them.
        first(record(1, 'T', 'A', 0, 400, 7)),
        first(record(1, 'F', 'B', 1, 400, 5)),
        record(1, 'C', 'B', 1, 400, 5),
        first(record(2, 'T', 'B', 8, 401, 1)),
        first(record(2, 'T', 'B', 9, 401, 1)),
        // The event ends where the time is another, and the last with the file.
        first(record(3, 'T', 'A', 7, 400, 1)),
    ]);
    assert_eq!(
        got,
        [
            "1 new B 1 5 100 ",
            "2 filled S  5 100 3 [aggressor]",
            "3 filled B 1 5 100 3 [passive]",
            "4 filled S  2 100 2 [aggressor]",
            "5 filled B 8 1 100.25 5 [aggressor]",
            "6 filled B 9 1 100.25 6 [aggressor]",
            "7 filled S 7 1 100 7 [aggressor]",
        ]
    );
}

#[test]
fn an_auction_has_fills_of_no_side() {
    let all = drain(
        &file(&[
            record(0, 'A', 'B', 1, 404, 2),
            record(0, 'A', 'A', 2, 396, 2),
            first(record(1, 'T', 'N', 0, 400, 3)),
            first(record(1, 'F', 'N', 1, 400, 2)),
            first(record(1, 'F', 'N', 2, 400, 2)),
            first(record(1, 'F', 'N', 3, 400, 1)),
            first(record(1, 'C', 'B', 1, 404, 2)),
            record(1, 'C', 'A', 2, 396, 2),
        ]),
        100,
    )
    .unwrap();
    let got: Vec<String> = all.orders.iter().map(text).collect();
    assert_eq!(
        got,
        [
            "1 new B 1 2 101 ",
            "2 new S 2 2 99 ",
            "4 filled B 1 2 100 ",
            "5 filled S 2 2 100 ",
        ]
    );
    let refused: Vec<_> = all.letters.iter().map(|letter| letter.line).collect();
    assert_eq!(refused, [3, 6]);
    assert!(all.letters[0].reason.contains("is N"), "{:?}", all.letters);
}

#[test]
fn a_clear_cancels_what_is_open() {
    let mut other = record(0, 'A', 'B', 3, 400, 1);
    other.hd.instrument_id = 18;
    let clear = MboMsg {
        price: UNDEF_PRICE,
        ..record(1, 'R', 'N', 0, 0, 0)
    };
    let got = rows(&[
        record(0, 'A', 'B', 2, 400, 5),
        record(0, 'A', 'A', 1, 404, 4),
        other.clone(),
        clear,
        MboMsg {
            action: b'C' as i8,
            ..other
        },
    ]);
    assert_eq!(
        got[3..],
        [
            "4 cancelled S 1 4 101 ",
            "5 cancelled B 2 5 100 ",
            "6 cancelled B 3 1 100 ",
        ]
    );
}

#[test]
fn an_order_from_before_the_file() {
    let got = rows(&[
        record(0, 'M', 'B', 1, 400, 5),
        record(1, 'C', 'B', 1, 400, 2),
        record(2, 'C', 'A', 2, 400, 5),
        first(record(3, 'F', 'A', 4, 400, 5)),
        record(3, 'C', 'A', 4, 400, 5),
    ]);
    assert_eq!(
        got,
        [
            "1 new B 1 5 100  [anonymous snapshot]",
            "2 amended B 1 3 100 ",
            "3 cancelled S 2 5 100 ",
            "4 filled S 4 5 100 4 [passive]",
        ]
    );
}

#[test]
fn time_instrument_and_marks() {
    let mut snapshot = record(5, 'A', 'B', 1, 400, 1);
    snapshot.flags = FlagSet::empty().set_snapshot();
    let next_day = record(86_400, 'A', 'B', 2, 400, 1);
    let mut unnamed = record(7, 'A', 'B', 3, 400, 1);
    unnamed.hd.instrument_id = 4_000_000_000;
    let all = drain(
        &file(&[snapshot, record(6, 'A', 'B', 4, 1, 1), next_day, unnamed]),
        9,
    )
    .unwrap();
    let got: Vec<_> = all
        .orders
        .iter()
        .map(|order| {
            (
                order.sym.as_str(),
                (order.time.nanos() as u64 - AT) / 1_000_000_000,
            )
        })
        .collect();
    assert_eq!(
        got,
        [("ESH4", 0), ("ESH4", 6), ("17", 86_400), ("4000000000", 7)]
    );
    assert_eq!(all.orders[0].flags, Flags::SNAPSHOT.with(Flags::ANONYMOUS));
    assert_eq!(all.orders[1].flags, Flags::ANONYMOUS);
    assert_eq!(all.orders[0].trader, "");
}

#[test]
fn every_bad_record_is_refused_with_its_place_and_reason() {
    let good = record(0, 'A', 'B', 1, 400, 1);
    let of = |change: &dyn Fn(&mut MboMsg)| {
        let mut record = record(0, 'A', 'B', 2, 400, 1);
        change(&mut record);
        record
    };
    let all = drain(
        &file(&[
            good.clone(),
            of(&|record| record.order_id = 1),
            of(&|record| record.order_id = 0),
            of(&|record| record.price = UNDEF_PRICE),
            of(&|record| record.size = 0),
            of(&|record| record.size = u32::MAX),
            of(&|record| record.side = b'N' as i8),
            of(&|record| record.side = b'?' as i8),
            of(&|record| record.action = b'X' as i8),
            of(&|record| record.action = -1),
            of(&|record| record.hd.ts_event = UNDEF_TIMESTAMP),
            of(&|record| record.flags = FlagSet::empty().set_tob()),
            of(&|record| record.action = b'N' as i8),
            of(&|_| {}),
        ]),
        4,
    )
    .unwrap();
    let seqs: Vec<_> = all.orders.iter().map(|order| order.seq).collect();
    assert_eq!(seqs, [1, 13]);
    let refused: Vec<_> = all
        .letters
        .iter()
        .map(|letter| (letter.line, letter.column.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            (2, "order_id"),
            (3, "order_id"),
            (4, "price"),
            (5, "quantity"),
            (6, "quantity"),
            (7, "side"),
            (8, "side"),
            (9, "event_type"),
            (10, "event_type"),
            (11, "time"),
            (12, "row"),
        ]
    );
    assert!(
        all.letters[0].raw.contains("order_id: 1"),
        "{:?}",
        all.letters[0]
    );
}

#[test]
fn other_files_and_other_records() {
    let mut bytes = Vec::new();
    DbnEncoder::new(&mut bytes, &head(Some(Schema::Trades))).unwrap();
    let error = drain(&bytes, 1).unwrap_err().to_string();
    assert!(error.contains("holds the schema trades"), "{error}");
    for bytes in [b"".as_slice(), b"DBN", b"time,sym,event_type"] {
        assert!(drain(bytes, 1).is_err());
    }
    let mut head_too_long = file(&[]);
    head_too_long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = drain(&head_too_long, 1).unwrap_err().to_string();
    assert!(error.contains("head of 4294967295 bytes"), "{error}");
    let mut many = head(Some(Schema::Mbo));
    many.mappings = vec![many.mappings.remove(0); 2_000];
    let mut large = Vec::new();
    let mut encoder = DbnEncoder::new(&mut large, &many).unwrap();
    encoder
        .encode_record(&record(0, 'A', 'B', 1, 400, 1))
        .unwrap();
    assert!(large.len() > 4 * BUFFER_BYTES);
    assert_eq!(drain(&large, 10).unwrap().orders[0].sym, "ESH4");
    let error = drain(&large[..100_000], 10).unwrap_err().to_string();
    assert!(error.contains("ends within its head"), "{error}");
    // A live capture has records of several kinds; those that are no orders are passed over.
    let mut mixed = Vec::new();
    let mut encoder = DbnEncoder::new(&mut mixed, &head(None)).unwrap();
    encoder.encode_record(&StatusMsg::default()).unwrap();
    encoder
        .encode_record(&record(0, 'A', 'B', 1, 400, 1))
        .unwrap();
    let all = drain(&mixed, 10).unwrap();
    assert_eq!((all.orders.len(), all.letters.len()), (1, 0));
}

#[test]
fn packed_and_plain_give_the_same() {
    let bytes = file(&[
        record(0, 'A', 'B', 1, 400, 1),
        record(1, 'C', 'B', 1, 400, 1),
    ]);
    let packed = zstd::encode_all(bytes.as_slice(), 0).unwrap();
    let plain = drain(&bytes, 10);
    assert_eq!(plain.as_ref().map(|all| all.orders.len()), Ok(2));
    assert_eq!(drain(&packed, 10), plain);
    let cut = drain(&packed[..packed.len() - 4], 10);
    let failed = cut.map(|all| all.failed);
    let message = failed.map_or_else(|error| error.message, Option::unwrap_or_default);
    assert!(message.contains("cannot be read at byte"), "{message}");
}

fn records() -> impl Strategy<Value = Vec<MboMsg>> {
    let any_record = (
        0_u64..3,
        proptest::sample::select(vec!['A', 'M', 'C', 'F', 'T', 'R', 'N', 'x']),
        proptest::sample::select(vec!['B', 'A', 'N']),
        0_u64..4,
        1_i64..3,
        0_u32..4,
        any::<bool>(),
    );
    let one = any_record.prop_map(|(second, action, side, order, price, size, last)| MboMsg {
        flags: if last { LAST } else { NONE },
        ..record(second, action, side, order, price, size)
    });
    vec(one, 0..60)
}

proptest! {
    #[test]
    fn batches_change_nothing(records in records(), rows_max in 1_usize..7) {
        let bytes = file(&records);
        let whole = drain(&bytes, 1_000).unwrap();
        prop_assert_eq!(&drain(&bytes, rows_max).unwrap(), &whole);
        prop_assert_eq!(&whole.failed, &None);
        // Numbers rise, and refused rows have those between.
        let mut seqs = whole.orders.iter().map(|order| order.seq);
        let last = seqs.clone().next_back().unwrap_or(0);
        prop_assert!(seqs.clone().is_sorted_by(|a, b| a < b));
        prop_assert!(seqs.all(|seq| seq > 0));
        prop_assert!(last <= (whole.orders.len() + whole.letters.len()) as u64);
    }

    /// An order's rows add up: what came, less what was filled and cancelled, is never below zero at
    /// an amendment, and an amendment leaves something.
    #[test]
    fn amendments_leave_something(records in records()) {
        let all = drain(&file(&records), 100).unwrap();
        for order in all.orders {
            prop_assert!(order.quantity.units() > 0);
            let came = order.flags.has(Flags::AGGRESSOR.with(Flags::PASSIVE));
            prop_assert_eq!(came, !order.exec_id.is_empty());
            prop_assert!(!came || order.event_type == EventType::Filled);
        }
    }

    #[test]
    fn cut_and_bent_bytes_end_in_an_error_or_a_dead_letter(
        records in records(),
        cut in any::<proptest::sample::Index>(),
        bent in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        packed in any::<bool>(),
    ) {
        let mut bytes = file(&records);
        if packed {
            bytes = zstd::encode_all(bytes.as_slice(), 0).unwrap();
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        for (at, byte) in bent {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let _ = drain(&bytes, 5);
    }

    #[test]
    fn random_bytes_behind_a_head(bytes in vec(any::<u8>(), 0..500)) {
        let _ = drain(&bytes, 5);
        let mut with_head = file(&[]);
        with_head.extend(bytes);
        let _ = drain(&with_head, 5);
    }
}
