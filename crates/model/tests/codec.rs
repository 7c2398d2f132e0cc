//! The journal's payload format: round trips, frozen fixtures and hostile bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use tapewatch_model::{
    Bucket, CodecError, DeadLetter, Decimal, Details, DetectorConfig, EventType, Flags, Hit, Id,
    Measure, Order, OrderBatch, Origin, Price, Quantity, RowRef, Side, Time, TimeSpan,
    check_bucket, decode_bucket, decode_config, decode_hits, encode_bucket, encode_config,
    encode_hits,
};

fn sample() -> Bucket {
    let mut orders = OrderBatch::default();
    let kinds = [
        EventType::New,
        EventType::Amended,
        EventType::Cancelled,
        EventType::Filled,
    ];
    for (i, event_type) in kinds.into_iter().enumerate() {
        let row = RowRef::<[u8]> {
            time: Time::from_nanos(1_429_272_000_000_000_000 + i as i64),
            sym: if i < 3 { b"SNDL" } else { "Ünï".as_bytes() },
            event_type,
            trader: b"SpoofingTrader",
            side: if i % 2 == 0 { Side::Buy } else { Side::Sell },
            order_id: if i == 1 { b"" } else { b"SPG-Oid10" },
            price: Price::parse(b"-1.25").unwrap(),
            quantity: Quantity::parse(b"1000.00000001").unwrap(),
            details: Details::default(),
        };
        orders.push(&row).unwrap();
    }
    let letter = DeadLetter::new("orders.csv", 7, "side", "unknown side \"X\"", b"a,b,\xff");
    let origin = Origin {
        producer: "feed-1".to_owned(),
        batch: 42,
    };
    Bucket {
        origin,
        orders,
        dead_letters: vec![letter],
    }
}

#[test]
fn frozen_bucket_of_version_1() {
    let path = "tests/fixtures/bucket-v1.bin";
    let mut bytes = Vec::new();
    encode_bucket(&sample(), &mut bytes);
    let letters = tapewatch_model::dead_letter_count(&bytes).unwrap();
    assert_eq!(letters as usize, sample().dead_letters.len());
    if std::env::var_os("TAPEWATCH_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let frozen = std::fs::read(path).unwrap();
    assert_eq!(
        decode_bucket(&frozen).unwrap(),
        sample(),
        "the old format must stay readable"
    );
    assert_eq!(
        bytes, frozen,
        "what is written changed: take a new FORMAT_VERSION"
    );
}

fn detailed_sample() -> Bucket {
    let mut bucket = sample();
    let account = Details {
        account: b"ACC-1".as_slice(),
        exec_id: b"X-7",
        display: Some(Quantity::from_whole(5).unwrap()),
        flags: Flags::ANONYMOUS.with(Flags::AGGRESSOR),
    };
    let row = RowRef::<[u8]> {
        time: Time::from_nanos(5),
        sym: b"SNDL",
        event_type: EventType::Filled,
        trader: b"",
        side: Side::Sell,
        order_id: b"O9",
        price: Price::parse(b"2").unwrap(),
        quantity: Quantity::from_whole(1).unwrap(),
        details: account,
    };
    bucket.orders.push(&row).unwrap();
    bucket
}

#[test]
fn frozen_bucket_of_version_2() {
    let path = "tests/fixtures/bucket-v2.bin";
    let mut bytes = Vec::new();
    encode_bucket(&detailed_sample(), &mut bytes);
    assert_eq!(bytes[0], 2);
    if std::env::var_os("TAPEWATCH_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let frozen = std::fs::read(path).unwrap();
    assert_eq!(decode_bucket(&frozen).unwrap(), detailed_sample());
    assert_eq!(bytes, frozen, "what is written changed");
    for length in 0..bytes.len() {
        assert!(decode_bucket(&bytes[..length]).is_err(), "cut to {length}");
        let mut flipped = bytes.clone();
        flipped[length] ^= 0xff;
        assert_eq!(check_bucket(&flipped).err(), decode_bucket(&flipped).err());
    }
}

#[test]
fn a_row_without_a_trader_says_so() {
    let mut bucket = detailed_sample();
    let mut row = bucket.orders.row(4).unwrap().as_bytes();
    row.details.flags = Flags::NONE;
    let mut other = OrderBatch::default();
    assert!(other.push(&row).is_err() && other.is_empty());
    row.details.flags = Flags::ANONYMOUS;
    row.details.exec_id = b"\xff";
    assert!(other.push(&row).is_err() && other.is_empty());
    row.details.exec_id = b"X";
    other.push(&row).unwrap();
    let before = bucket.orders.order(3).unwrap();
    assert_eq!((before.account.as_str(), before.flags), ("", Flags::NONE));
    bucket.orders.append(&other).unwrap();
    assert_eq!(bucket.orders.order(5).unwrap().account, "ACC-1");
    let next = OrderBatch::following(&bucket.orders, 1);
    assert_eq!(next.accounts().unwrap().0.len(), 2);
}

#[test]
fn every_cut_and_every_flip_is_an_error_or_a_bucket() {
    let mut bytes = Vec::new();
    encode_bucket(&sample(), &mut bytes);
    for length in 0..bytes.len() {
        assert!(decode_bucket(&bytes[..length]).is_err(), "cut to {length}");
        let mut flipped = bytes.clone();
        flipped[length] ^= 0xff;
        assert_eq!(check_bucket(&flipped).err(), decode_bucket(&flipped).err());
    }
    bytes.push(0);
    assert_eq!(decode_bucket(&bytes), Err(CodecError::Long(1)));
}

#[test]
fn a_count_alone_does_not_allocate() {
    // version, no producer, batch, then four billion rows and letters that are not there
    let mut bytes = vec![1, 0, 0];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[0xff; 8]);
    bytes.extend_from_slice(&[0; 8]);
    assert!(matches!(
        decode_bucket(&bytes),
        Err(CodecError::Short { .. })
    ));
}

#[test]
fn newer_versions_are_refused_with_advice() {
    let error = decode_bucket(&[9, 0, 0]).unwrap_err();
    assert_eq!(error, CodecError::Version(9));
    assert!(error.to_string().contains("update"), "{error}");
}

#[test]
fn config_round_trip() {
    let config = DetectorConfig {
        json: r#"{"spoofing":{"lookback":"25s"}}"#.to_owned(),
    };
    let mut bytes = Vec::new();
    encode_config(&config, &mut bytes);
    assert_eq!(decode_config(&bytes), Ok(config));
    assert!(decode_config(&[1, 0xff]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_bucket_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_bucket(&bytes);
        for version in [1, 2] {
            let mut versioned = vec![version];
            versioned.extend_from_slice(&bytes);
            prop_assert_eq!(check_bucket(&versioned).err(), decode_bucket(&versioned).err());
        }
    }

    #[test]
    fn any_bucket_survives(
        rows in proptest::collection::vec(
            (any::<i64>(), "[A-Z]{1,4}", 1_u8..=4, "\\PC{1,8}", 1_u8..=2, "\\PC{0,9}", any::<i64>(), 0..i64::MAX),
            0..50,
        ),
        batch: u64,
    ) {
        let mut bucket = Bucket { origin: Origin { producer: String::new(), batch }, ..Bucket::default() };
        for (time, sym, kind, trader, side, id, price, quantity) in &rows {
            bucket.orders.push(&RowRef {
                time: Time::from_nanos(*time),
                sym: sym.as_bytes(),
                event_type: EventType::from_number(*kind).unwrap(),
                trader: trader.as_bytes(),
                side: Side::from_number(*side).unwrap(),
                order_id: id.as_bytes(),
                price: Price::from_units(*price),
                quantity: Quantity::from_units(*quantity).unwrap(),
                details: Details::default(),
            }).unwrap();
        }
        let mut bytes = Vec::new();
        encode_bucket(&bucket, &mut bytes);
        let head = check_bucket(&bytes).unwrap();
        prop_assert_eq!((head.origin, head.orders), (bucket.origin.clone(), rows.len() as u64));
        prop_assert_eq!(decode_bucket(&bytes).unwrap(), bucket);
    }
}

fn hits() -> Vec<Hit> {
    let hit = Hit {
        hit_id: Id::from_bytes([
            30, 67, 135, 49, 77, 134, 201, 141, 184, 7, 123, 68, 85, 231, 178, 228,
        ]),
        alert_id: Id::of(b"alert"),
        alert_hit: 2,
        alert_time: Time::from_nanos(7),
        detector: "spoofing",
        detector_version: 3,
        config_version: Id::of(b"config"),
        order: Order {
            seq: 9,
            time: Time::from_nanos(-1),
            sym: "Ünï".to_owned(),
            event_type: EventType::Cancelled,
            trader: "T".to_owned(),
            side: Side::Sell,
            order_id: "O-1".to_owned(),
            price: Price::parse(b"-1.25").unwrap(),
            quantity: Quantity::parse(b"1000.00000001").unwrap(),
            account: "ACC".to_owned(),
            exec_id: "X".to_owned(),
            display: Some(Quantity::from_whole(5).unwrap()),
            flags: Flags::AGGRESSOR,
        },
        measures: vec![Measure {
            name: "cancel_quantity",
            value: Decimal::from_units(i128::MAX),
            threshold: Decimal::from_units(-1),
        }],
        lookback: TimeSpan::from_secs(25),
        evidence: vec![1, 9],
        evidence_total: 2_000,
        text: "What happened.".to_owned(),
        suppressed: "expected".to_owned(),
    };
    let mut plain = hit.clone();
    (plain.order.display, plain.order.flags) = (None, Flags::NONE);
    (plain.measures, plain.evidence) = (Vec::new(), Vec::new());
    plain.suppressed.clear();
    vec![hit, plain]
}

#[test]
fn frozen_hits_of_version_1() {
    let path = "tests/fixtures/hits-v1.bin";
    let mut bytes = Vec::new();
    encode_hits(&hits(), &mut bytes);
    if std::env::var_os("TAPEWATCH_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let frozen = std::fs::read(path).unwrap();
    assert_eq!(decode_hits(&frozen).unwrap(), hits());
    assert_eq!(bytes, frozen, "what is written changed: take a new version");
}

#[test]
fn hits_that_are_cut_or_changed_are_refused_or_read_but_never_panic() {
    let mut bytes = Vec::new();
    encode_hits(&hits(), &mut bytes);
    for cut in 0..bytes.len() {
        assert!(decode_hits(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut other = bytes.clone();
            other[at] ^= flip;
            let _ = decode_hits(&other);
        }
    }
    bytes.push(0);
    assert_eq!(decode_hits(&bytes), Err(CodecError::Long(1)));
}
