//! Values as they are written, and sessions with clients that send anything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationNanosecondArray,
    Float64Array, Int64Array, ListArray, NullArray, StringArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use proptest::prelude::*;
use tapewatch_store::{Store, StoreOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::cells::{Column, plain};
use super::{Login, Wire};

fn written(array: ArrayRef, binary: bool) -> Vec<u8> {
    let plain = plain(&array).unwrap();
    let column = Column::new(&plain, array.data_type()).unwrap();
    let mut out = Vec::new();
    column.write(0, binary, &mut out).unwrap();
    let length = i32::from_be_bytes(out[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length.max(0)).unwrap(), out.len() - 4);
    out.split_off(4)
}

fn text(array: impl arrow::array::Array + 'static) -> String {
    String::from_utf8(written(Arc::new(array), false)).unwrap()
}

#[test]
fn values_as_texts() {
    let decimal = |value, scale| {
        let array = Decimal128Array::from(vec![value]);
        text(array.with_precision_and_scale(38, scale).unwrap())
    };
    assert_eq!(decimal(1_250_000_000, 9), "1.25");
    assert_eq!(decimal(-5, 9), "-0.000000005");
    assert_eq!(decimal(100, 0), "100");
    assert_eq!(text(BooleanArray::from(vec![true])), "t");
    assert_eq!(
        text(UInt64Array::from(vec![u64::MAX])),
        "18446744073709551615"
    );
    for (value, expected) in [
        (1.0, "1"),
        (-0.5, "-0.5"),
        (1e300, "1e300"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        assert_eq!(text(Float64Array::from(vec![value])), expected);
    }
    let time = |nanos| TimestampNanosecondArray::from(vec![nanos]);
    let noon = 1_429_272_000_250_000_999;
    assert_eq!(text(time(noon)), "2015-04-17 12:00:00.25");
    assert_eq!(
        text(time(noon).with_timezone("UTC")),
        "2015-04-17 12:00:00.25+00"
    );
    assert_eq!(text(time(-1)), "1969-12-31 23:59:59.999999");
    assert_eq!(
        text(TimestampSecondArray::from(vec![-62_135_596_801])),
        "0001-12-31 23:59:59 BC"
    );
    for (days, expected) in [
        (0, "1970-01-01"),
        (16_541, "2015-04-16"),
        (-719_162, "0001-01-01"),
    ] {
        assert_eq!(text(Date32Array::from(vec![days])), expected);
    }
    let hour = 3_600_000_000_000;
    assert_eq!(
        text(DurationNanosecondArray::from(vec![hour + 1_500_000_000])),
        "01:00:01.5"
    );
    assert_eq!(
        text(DurationNanosecondArray::from(vec![-hour])),
        "-01:00:00"
    );
    assert_eq!(text(BinaryArray::from(vec![&b"\0\xff"[..]])), "\\x00ff");
    let list = |values: Vec<Option<i64>>| {
        ListArray::from_iter_primitive::<Int64Type, _, _>([Some(values)])
    };
    assert_eq!(text(list(vec![Some(1), None])), "{1,NULL}");
    assert_eq!(text(list(vec![])), "{}");
}

#[test]
fn values_as_bytes() {
    let numeric = |value: i128, scale| {
        let array = Decimal128Array::from(vec![value]);
        written(
            Arc::new(array.with_precision_and_scale(38, scale).unwrap()),
            true,
        )
    };
    let words = |words: &[i16]| {
        words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<_>>()
    };
    // Digits, weight, sign, digits behind the point, then the digits in groups of four.
    assert_eq!(numeric(0, 2), words(&[0, 0, 0, 0]));
    assert_eq!(numeric(125, 2), words(&[2, 0, 0, 2, 1, 2500]));
    assert_eq!(numeric(-1, 8), words(&[1, -2, 0x4000, 8, 1]));
    assert_eq!(numeric(1_234_000, 0), words(&[2, 1, 0, 0, 123, 4000]));
    assert_eq!(numeric(100_000_000, 0), words(&[1, 2, 0, 0, 1]));
    let time = TimestampNanosecondArray::from(vec![946_684_800_000_001_999]);
    assert_eq!(written(Arc::new(time), true), 1_i64.to_be_bytes());
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(7), None])]);
    let ints = |ints: &[i32]| {
        ints.iter()
            .flat_map(|int| int.to_be_bytes())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        written(Arc::new(list), true),
        ints(&[1, 1, 20, 2, 1, 8, 0, 7, -1])
    );
    let mut out = Vec::new();
    let nulls: ArrayRef = Arc::new(NullArray::new(1));
    let column = Column::new(&nulls, nulls.data_type()).unwrap();
    column.write(0, true, &mut out).unwrap();
    assert_eq!(out, (-1_i32).to_be_bytes());
}

proptest! {
    #[test]
    fn decimals_come_back(value in -10_i128.pow(37)..10_i128.pow(37), scale in 0_i8..=37) {
        let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
        let bytes = bytes::Bytes::from(written(Arc::new(array), true));
        let numeric = pgwire::api::Type::NUMERIC.oid();
        let read = super::values::parameter(numeric, true, Some(&bytes)).unwrap();
        // The same value with as many digits behind the point as it needs.
        let (mut value, mut scale) = (value, scale);
        while scale > 0 && value % 10 == 0 {
            (value, scale) = (value / 10, scale - 1);
        }
        let expected = ScalarValue::Decimal128(Some(value), 38, scale);
        prop_assert_eq!(read, crate::query::Parameter::value(expected));
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

/// What a process answers to these bytes behind a good start. A client that waits for its answers says
/// goodbye; one that does not is gone.
async fn session(store: &Store, mut sent: Vec<u8>, waits: bool) -> Vec<u8> {
    if waits {
        sent.extend(message(b'X', b""));
    }
    let (client, server) = tokio::io::duplex(1 << 16);
    let (mut read, mut write) = tokio::io::split(client);
    let store = store.clone();
    let served = tokio::spawn(async move {
        let wire = Wire::default();
        let admitted = wire.admit(server, Ok(store), |_| Login::Trusted).await;
        if let Ok(Some(session)) = admitted {
            session.run(std::future::pending()).await;
        }
    });
    let wrote = tokio::spawn(async move {
        let start = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";
        // The process may have closed before it took all.
        let _ = write.write_all(start).await;
        let _ = write.write_all(&sent).await;
        if !waits {
            let _ = write.shutdown().await;
        }
        write
    });
    let mut answer = Vec::new();
    read.read_to_end(&mut answer).await.unwrap();
    served.await.unwrap();
    wrote.await.unwrap();
    answer
}

/// The types of messages, in order.
fn kinds(mut answer: &[u8]) -> String {
    let mut kinds = String::new();
    while let [kind, a, b, c, d, ..] = answer {
        kinds.push(*kind as char);
        answer = &answer[1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize..];
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_has_its_answer() {
    let store = Store::in_memory(StoreOptions::default()).unwrap();
    let query = |text: &str| message(b'Q', format!("{text}\0").as_bytes());
    let sync = message(b'S', b"");
    let parse = message(b'P', b"\0select $1::bigint\0\0\0");
    let bind = message(b'B', b"\0\0\0\0\0\x01\0\0\0\x017\0\0");
    let execute = message(b'E', b"\0\0\0\0\0");
    let describe = message(b'D', b"P\0");
    for (sent, expected) in [
        (query(""), "IZ"),
        (query("-- ping"), "IZ"),
        (query("select 1; select 2"), "TDCTDCZ"),
        (query("select 1; selec; select 2"), "TDCEZ"),
        (query("begin; select 1; commit"), "CTDCCZ"),
        (
            [
                parse.clone(),
                bind.clone(),
                describe,
                execute.clone(),
                sync.clone(),
            ]
            .concat(),
            "12TDCZ",
        ),
        (
            [
                bind.clone(),
                execute.clone(),
                sync.clone(),
                query("select 1"),
            ]
            .concat(),
            "EZTDCZ",
        ),
        (
            [parse, bind, message(b'E', b"\0\0\0\0\x01"), execute, sync].concat(),
            "12DsCZ",
        ),
        (message(b'F', b"anything"), "EZ"),
        (message(b'd', b"data"), ""),
        (b"!!!!!!!!!!".to_vec(), "E"),
        (message(b'Q', b"\xff\0"), "EZ"),
    ] {
        let answer = session(&store, sent.clone(), true).await;
        let kinds = kinds(&answer);
        let begun = kinds.find('Z').unwrap() + 1;
        assert_eq!(
            &kinds[begun..],
            expected,
            "{}",
            String::from_utf8_lossy(&sent)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, the session ends when the client does.
    #[test]
    fn any_messages_are_answered(parts: Vec<(u8, Vec<u8>)>, tail: Vec<u8>) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let store = Store::in_memory(StoreOptions::default()).unwrap();
            let known = b"QPBDECHSXpdf";
            let framed = parts.into_iter().map(|(kind, body)| message(known[usize::from(kind) % known.len()], &body));
            let sent: Vec<u8> = framed.flatten().chain(tail).collect();
            let answered = tokio::time::timeout(Duration::from_secs(20), session(&store, sent, false));
            assert!(answered.await.is_ok(), "it hangs");
        });
    }
}

#[test]
fn a_column_of_texts() {
    assert_eq!(text(StringArray::from(vec!["\u{e9}"])), "\u{e9}");
    assert_eq!(text(Int64Array::from(vec![-7])), "-7");
}
