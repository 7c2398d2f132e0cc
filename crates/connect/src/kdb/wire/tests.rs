//! Messages: the worked examples of KX's page on serialization, what must be refused, and
//! properties of all values.

use proptest::prelude::*;

use super::*;
use crate::kdb::value::{Arity, Atom, Attr, Dict, Items, List, Symbol, Symbols, Table};

const PLAIN: &[u8] = include_bytes!("../../../tests/data/kdb/zip_plain.bin");
const PACKED: &[u8] = include_bytes!("../../../tests/data/kdb/zip_compressed.bin");

/// A message of the bytes of a value, low bytes first.
fn message(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let value = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8);
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend_from_slice(&(digits.len() as u32 / 2 + 8).to_le_bytes());
    bytes.extend(value);
    bytes
}

fn list(items: Items) -> Value {
    Value::List(items.into())
}

fn table(names: &[&str], columns: Vec<Items>) -> Value {
    let columns = columns.into_iter().map(List::from).collect();
    Value::Table(Box::new(
        Table::new(names.iter().collect(), columns).unwrap(),
    ))
}

fn dict(sorted: bool, keys: Value, values: Value) -> Value {
    Value::Dict(Box::new(Dict::new(sorted, keys, values).unwrap()))
}

fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    decode_message(bytes, &Limits::default())
}

#[test]
fn worked_examples_are_read_and_written() {
    let ab: Symbols = ["a", "b"].iter().collect();
    let sorted = Value::List(List {
        attr: Attr::Sorted,
        items: Items::Symbol(ab.clone()),
    });
    let (two, three) = (Items::Int(vec![2]), Items::Int(vec![3]));
    let function = |context: &str| Value::Lambda {
        context: Symbol::new(context),
        text: b"{x+y}".to_vec(),
    };
    let keyed = dict(
        false,
        table(&["a"], vec![two.clone()]),
        table(&["b"], vec![three.clone()]),
    );
    for (hex, value) in [
        ("fa 01000000", Value::Atom(Atom::Int(1))),
        ("0600 01000000 01000000", list(Items::Int(vec![1]))),
        (
            "0400 05000000 0001020304",
            list(Items::Byte((0..5).collect())),
        ),
        (
            "0000 01000000 0400 05000000 0001020304",
            Value::mixed(vec![list(Items::Byte((0..5).collect()))]),
        ),
        (
            "63 0b00 02000000 61006200 0600 02000000 02000000 03000000",
            dict(false, list(Items::Symbol(ab)), list(Items::Int(vec![2, 3]))),
        ),
        (
            "7f 0b01 02000000 61006200 0600 02000000 02000000 03000000",
            dict(true, sorted, list(Items::Int(vec![2, 3]))),
        ),
        (
            "62 00 63 0b00 02000000 61006200 0000 02000000 0600 01000000 02000000 0600 01000000 03000000",
            table(&["a", "b"], vec![two, three]),
        ),
        (
            "63 6200630b0001000000610000000100000006000100000002000000 6200630b0001000000620000000100000006000100000003000000",
            keyed,
        ),
        ("64 00 0a00 05000000 7b782b797d", function("")),
        ("64 6400 0a00 05000000 7b782b797d", function("d")),
        ("65 00", Value::NOTHING),
        ("66 01", Value::Primitive(Arity::Binary, 1)),
        ("80 7479706500", Value::error("type")),
        ("f7 000000000000f87f", Value::Atom(Atom::Float(f64::NAN))),
        (
            "f4 ffffffffffffff7f",
            Value::Atom(Atom::Timestamp(i64::MAX)),
        ),
    ] {
        let bytes = message(hex);
        let read = decode(&bytes).unwrap().value;
        assert_eq!(format!("{read:?}"), format!("{value:?}"), "{hex}");
        let written = encode_message(ByteOrder::Little, MessageKind::Async, &value);
        assert_eq!(written.unwrap(), bytes, "{hex}");
    }
    // The same number from a machine that has the high bytes first.
    let big = [0, 1, 0, 0, 0, 0, 0, 13, 0xfa, 0, 0, 0, 1];
    let read = decode(&big).unwrap();
    assert_eq!((read.order, read.kind), (ByteOrder::Big, MessageKind::Sync));
    assert_eq!(read.value, Value::Atom(Atom::Int(1)));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let mut trailing = message("fa 01000000 00");
    let longer = trailing.clone();
    trailing.pop();
    for (bytes, error) in [
        (
            trailing,
            "at byte 4: the message has 13 bytes, its header says 14",
        ),
        (
            longer,
            "at byte 13: the message with its value has 13 bytes, its header says 14",
        ),
        (
            message("fa 0100"),
            "at byte 9: the bytes end where the bytes of an atom were expected, 2 are left",
        ),
        (
            message("0700 ffffffff"),
            "at byte 10: the count is 4294967295, at most 16777216 are allowed",
        ),
        (
            message("0700 02000000 00"),
            "at byte 14: the bytes end where the items of a list were expected, 1 are left",
        ),
        (
            message("0709 00000000"),
            "at byte 9: 0x09 where an attribute (0 to 4) was expected",
        ),
        (
            message("f5 6162"),
            "at byte 9: the bytes end where a NUL behind a text were expected, 2 are left",
        ),
        (
            message("68 00000000"),
            "at byte 8: a value of type 104, which is not understood",
        ),
        (
            message("14 00 00000000"),
            "at byte 8: a value of type 20, which is not understood",
        ),
        (
            message("62 00 63 0b00 01000000 6100 0000 00000000"),
            "at byte 11: 1 names or keys for 0 columns or values",
        ),
        (
            message(
                "62 00 63 0b00 02000000 61006200 0000 02000000 0600 01000000 02000000 0600 00000000",
            ),
            "at byte 11: column b has 0 rows, the first has 1",
        ),
    ] {
        assert_eq!(decode(&bytes).unwrap_err().to_string(), error);
    }
    assert!(decode(&message("fa 0100")).unwrap_err().is_short());
    let huge = [1, 1, 0, 0, 0xff, 0xff, 0xff, 0x7f];
    let error = Header::parse(huge, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("2147483647"), "{error}");
}

#[test]
fn depth_and_memory_are_limited() {
    let nest = |depth: usize| message(&format!("{}0000 00000000", "0000 01000000".repeat(depth)));
    assert!(decode(&nest(31)).is_ok());
    let error = decode(&nest(32)).unwrap_err();
    let expected = "at byte 200: the depth of values is 33, at most 32 are allowed";
    assert_eq!(error.to_string(), expected);
    let limits = Limits {
        memory_bytes: 799,
        ..Limits::default()
    };
    let longs = message(&format!("0700 64000000 {}", "00".repeat(800)));
    let error = decode_message(&longs, &limits).unwrap_err();
    assert_eq!((error.offset, error.is_short()), (10, false), "{error}");
    let limits = Limits {
        memory_bytes: 800,
        ..limits
    };
    assert!(decode_message(&longs, &limits).is_ok());
}

#[test]
fn packing_gives_the_bytes_of_the_reference() {
    assert_eq!(compress(PLAIN).unwrap(), PACKED);
    assert_eq!(decompress(PACKED, &Limits::default()).unwrap(), PLAIN);
    assert_eq!(decode(PACKED).unwrap(), decode(PLAIN).unwrap());
    assert_eq!(compress(&PLAIN[..1_000]), None);
    // Announced as more than 193 bytes can hold: refused before memory is taken.
    let mut bomb = PACKED.to_vec();
    bomb[8..12].copy_from_slice(&0x03ff_ffff_u32.to_le_bytes());
    let error = decompress(&bomb, &Limits::default()).unwrap_err();
    assert_eq!(error.offset, 8, "{error}");
    let limits = Limits {
        message_bytes: 6_357,
        ..Limits::default()
    };
    assert_eq!(decompress(PACKED, &limits).unwrap_err().offset, 8);
}

#[test]
fn greetings_are_told_from_their_bytes() {
    let parse = |bytes: &[u8]| Credentials::parse(bytes).map(|found| found.unwrap());
    let new = parse(b"u:p:q\x06\0rest").unwrap();
    assert_eq!((new.user.as_str(), new.password.as_str()), ("u", "p:q"));
    assert_eq!((new.capability, new.accept(), new.bytes), (Some(6), 3, 7));
    assert_eq!(parse(b"u:p\x01\0").unwrap().accept(), 1);
    let old = parse(b"u:p\0").unwrap();
    assert_eq!(
        (old.capability, old.accept(), old.password.as_str()),
        (None, 0, "p")
    );
    assert_eq!(parse(b"\x03\0").unwrap().user, "");
    assert_eq!(Credentials::parse(b"u:p\x03"), Ok(None));
    assert!(Credentials::parse(&[b'a'; CREDENTIAL_BYTES_MAX]).is_err());
    assert!(Credentials::parse(b"\xff:p\x03\0").is_err());
    assert!(!format!("{new:?}").contains("p:q"));
    assert_eq!(parse(&greet("u", "p")).unwrap().accept(), 3);
}

fn symbols() -> impl Strategy<Value = Symbols> {
    prop::collection::vec("[a-z.]{0,5}", 0..6).prop_map(|texts| texts.iter().collect())
}

fn items() -> impl Strategy<Value = Items> {
    use prop::collection::vec;
    let numbers = prop_oneof![
        vec(any::<bool>(), 0..6).prop_map(Items::Bool),
        vec(any::<[u8; 16]>(), 0..3).prop_map(Items::Guid),
        vec(any::<u8>(), 0..6).prop_map(Items::Byte),
        vec(any::<i16>(), 0..6).prop_map(Items::Short),
        vec(any::<i32>(), 0..6).prop_map(Items::Int),
        vec(any::<i64>(), 0..6).prop_map(Items::Long),
        vec(any::<f32>(), 0..6).prop_map(Items::Real),
        vec(any::<f64>(), 0..6).prop_map(Items::Float),
        vec(any::<u8>(), 0..6).prop_map(Items::Char),
    ];
    let times = prop_oneof![
        vec(any::<i64>(), 0..6).prop_map(Items::Timestamp),
        vec(any::<i32>(), 0..6).prop_map(Items::Month),
        vec(any::<i32>(), 0..6).prop_map(Items::Date),
        vec(any::<f64>(), 0..6).prop_map(Items::Datetime),
        vec(any::<i64>(), 0..6).prop_map(Items::Timespan),
        vec(any::<i32>(), 0..6).prop_map(Items::Minute),
        vec(any::<i32>(), 0..6).prop_map(Items::Second),
        vec(any::<i32>(), 0..6).prop_map(Items::Time),
    ];
    prop_oneof![numbers, times, symbols().prop_map(Items::Symbol)]
}

fn atom() -> impl Strategy<Value = Atom> {
    prop_oneof![
        any::<bool>().prop_map(Atom::Bool),
        any::<[u8; 16]>().prop_map(Atom::Guid),
        any::<i16>().prop_map(Atom::Short),
        any::<i32>().prop_map(Atom::Second),
        any::<i64>().prop_map(Atom::Timespan),
        any::<f32>().prop_map(Atom::Real),
        any::<f64>().prop_map(Atom::Datetime),
        any::<u8>().prop_map(Atom::Char),
        "[a-z]{0,9}".prop_map(|text| Atom::Symbol(Symbol::new(text))),
    ]
}

fn attr() -> impl Strategy<Value = Attr> {
    (0..5_u8).prop_map(|code| Attr::from_code(code).unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    let plain = (attr(), items()).prop_map(|(attr, items)| Value::List(List { attr, items }));
    let leaf = prop_oneof![
        4 => plain,
        4 => atom().prop_map(Value::Atom),
        1 => Just(Value::NOTHING),
        1 => any::<u8>().prop_map(|number| Value::Primitive(Arity::Ternary, number)),
        1 => "[a-z]{0,9}".prop_map(Value::error),
        1 => ("[a-z]{0,3}", any::<Vec<u8>>()).prop_map(|(context, text)| Value::Lambda {
            context: Symbol::new(context),
            text,
        }),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        let mixed = prop::collection::vec(inner.clone(), 0..6);
        let columns = (prop::collection::vec(inner.clone(), 0..4), 0..4_usize);
        prop_oneof![
            (attr(), mixed).prop_map(|(attr, values)| Value::List(List {
                attr,
                items: Items::Mixed(values),
            })),
            (inner.clone(), inner, any::<bool>()).prop_map(|(keys, values, sorted)| {
                let one = |value| Value::mixed(vec![value]);
                dict(sorted, one(keys), one(values))
            }),
            (columns, attr()).prop_map(|((cells, rows), attr)| {
                let column = |cell: &Value| List::from(Items::Mixed(vec![cell.clone(); rows]));
                let names = (0..cells.len()).map(|n| format!("c{n}")).collect();
                let columns = cells.iter().map(column).collect();
                let table = Table::new(names, columns).unwrap();
                Value::Table(Box::new(table.with_attr(attr)))
            }),
        ]
    })
}

/// A message that was good once.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let places = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let cut = any::<prop::sample::Index>();
    (value(), any::<bool>(), places, cut, any::<bool>()).prop_map(
        |(value, big, places, cut, cuts)| {
            let order = if big {
                ByteOrder::Big
            } else {
                ByteOrder::Little
            };
            let mut bytes = encode_message(order, MessageKind::Sync, &value).unwrap();
            for (place, byte) in places {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_both_orders(value in value()) {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = encode_message(order, MessageKind::Response, &value).unwrap();
            let read = decode(&bytes).unwrap();
            // NaN is not equal to itself, its bytes are.
            let again = encode_message(read.order, read.kind, &read.value).unwrap();
            prop_assert_eq!(again, bytes);
            prop_assert_eq!(format!("{:?}", read.value), format!("{value:?}"));
        }
    }

    #[test]
    fn a_beginning_of_a_message_is_short(value in value(), cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        encode_value(&value, ByteOrder::Little, &mut bytes).unwrap();
        let cut = bytes.get(..cut.index(bytes.len())).unwrap();
        let error = decode_value(cut, 0, ByteOrder::Little, &Limits::default()).unwrap_err();
        prop_assert!(error.is_short(), "{}", error);
    }

    #[test]
    fn damaged_messages_are_read_or_refused(bytes in damaged()) {
        if let Ok(read) = decode(&bytes) {
            encode_message(read.order, read.kind, &read.value).unwrap();
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), start in 0..9_usize) {
        let _ = decode(&bytes);
        let _ = Credentials::parse(&bytes);
        let _ = decode_value(&bytes, start, ByteOrder::Big, &Limits::default());
    }

    #[test]
    fn what_is_packed_is_unpacked(
        parts in prop::collection::vec((any::<[u8; 3]>(), 1..400_usize), 1..40),
        change: prop::sample::Index,
        byte: u8,
    ) {
        let text: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
        let value = list(Items::Char(text));
        let plain = encode_message(ByteOrder::Big, MessageKind::Async, &value).unwrap();
        if let Some(mut packed) = compress(&plain) {
            prop_assert!(packed.len() <= plain.len() / 2);
            prop_assert_eq!(decompress(&packed, &Limits::default()).unwrap(), plain);
            let at = change.index(packed.len());
            packed[at] = byte;
            let _ = decode(&packed);
        }
    }
}
