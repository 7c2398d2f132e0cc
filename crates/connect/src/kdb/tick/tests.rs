//! Requests and rows in the forms that clients send.

use proptest::prelude::*;
use tapewatch_model::{Date, OrderBatch, Price};

use super::*;
use crate::kdb::qsql::Shape;
use crate::kdb::value::{Atom, Items, List, Symbols, Table, Value};
use crate::kdb::wire::{ByteOrder, Limits, MessageKind, decode_message, encode_message};

/// 2015-04-17T12:00:20, as q counts.
const NOON: i64 = 482_587_220_000_000_000;

fn symbols(texts: &[&str]) -> Value {
    Value::List(Items::Symbol(texts.iter().collect()).into())
}

fn text(text: &str) -> Value {
    Value::text(text)
}

fn call(name: Value, arguments: Vec<Value>) -> Result<Request, Refused> {
    Request::parse(Value::mixed([vec![name], arguments].concat()))
}

/// Two rows in columns, the second with another side.
fn two() -> Vec<Value> {
    vec![
        Value::List(Items::Timestamp(vec![NOON, NOON + 1]).into()),
        symbols(&["SNDL", "ABC"]),
        symbols(&["cancelled", "new"]),
        Value::mixed(vec![text("SpoofingTrader"), text("T")]),
        symbols(&["S", "B"]),
        Value::mixed(vec![text("SPG-Oid13"), Value::mixed(vec![])]),
        Value::List(Items::Float(vec![1.23, -0.1]).into()),
        Value::List(Items::Float(vec![1_300.0, 0.000_000_01]).into()),
    ]
}

fn read(data: Value) -> (Vec<String>, Vec<String>) {
    let rows = OrderRows::of(data).unwrap();
    let mut orders = OrderBatch::default();
    let mut refused = Vec::new();
    for index in 0..rows.len() {
        if let Err(error) = rows.push(index, &mut orders) {
            let letter = rows.refuse(index, "kdb", index as u64 + 1, &error);
            refused.push(format!(
                "{} {}: {}",
                letter.line, letter.column, letter.reason
            ));
        }
    }
    let show = |(_, row): (u64, tapewatch_model::RowRef<'_>)| {
        format!(
            "{} {} {} {} {} {} {} {}",
            row.time,
            row.sym,
            row.event_type,
            row.trader,
            row.side,
            row.order_id,
            row.price,
            row.quantity
        )
    };
    (orders.rows().map(show).collect(), refused)
}

#[test]
fn updates_come_in_many_forms() {
    let expected = [
        "2015-04-17T12:00:20.000000000Z SNDL cancelled SpoofingTrader S SPG-Oid13 1.23 1300",
        "2015-04-17T12:00:20.000000001Z ABC new T B  -0.1 0.00000001",
    ];
    let columns = Value::mixed(two());
    let lists = two().into_iter().map(|value| match value {
        Value::List(list) => list,
        other => panic!("{other:?}"),
    });
    let mut lists: Vec<List> = lists.collect();
    let mut names: Vec<&str> = super::columns(ORDER)
        .unwrap()
        .iter()
        .map(|(name, _)| *name)
        .collect();
    // On disk the symbols come first.
    lists.swap(0, 1);
    names.swap(0, 1);
    let table = Table::new(names.iter().collect(), lists).unwrap();
    // Python lists of anything become general lists of atoms.
    let general = two().into_iter().map(|column| match column {
        Value::List(list) => Value::mixed((0..2).map(|at| list.items.get(at).unwrap()).collect()),
        other => other,
    });
    let general = Value::mixed(general.collect());
    for data in [columns, Value::Table(Box::new(table)), general] {
        for name in [".u.upd", "upd"] {
            for name in [Value::symbol(name), text(name)] {
                for table in [Value::symbol(ORDER), text(ORDER)] {
                    let request = call(name.clone(), vec![table, data.clone()]);
                    let Ok(Request::Update(update)) = request else {
                        panic!("{request:?}")
                    };
                    assert_eq!(update.table, ORDER);
                    assert_eq!(
                        read(update.data),
                        (expected.iter().map(|s| s.to_string()).collect(), vec![])
                    );
                }
            }
        }
    }
    // One row, its numbers whole, its times as a datetime of q, sides as characters.
    let row = Value::mixed(vec![
        Value::Atom(Atom::Datetime(NOON as f64 / 86_400e9)),
        Value::symbol("SNDL"),
        text("cancelled"),
        Value::symbol("T"),
        Value::Atom(Atom::Char(b'S')),
        text("7"),
        Value::Atom(Atom::Long(2)),
        Value::Atom(Atom::Int(5)),
    ]);
    let one = vec!["2015-04-17T12:00:20.000000000Z SNDL cancelled T S 7 2 5".to_owned()];
    assert_eq!(read(row), (one, vec![]));
}

#[test]
fn updates_of_another_shape_are_refused_whole() {
    let change = |at: usize, value: Value| {
        let mut columns = two();
        columns[at] = value;
        OrderRows::of(Value::mixed(columns))
            .unwrap_err()
            .to_string()
    };
    let longs = || Value::List(Items::Long(vec![1, 2]).into());
    for (found, error) in [
        (
            change(0, longs()),
            "type: column time cannot become Timestamp",
        ),
        (change(1, longs()), "type: column sym cannot become Symbol"),
        (
            change(6, symbols(&["a", "b"])),
            "type: column price cannot become Float",
        ),
        (
            change(
                6,
                Value::mixed(vec![Value::Atom(Atom::Float(1.0)), text("x")]),
            ),
            "type: column price cannot become Float",
        ),
        (
            change(1, symbols(&["a"])),
            "length: column sym has 1 rows, the first has 2",
        ),
        (
            change(7, Value::Atom(Atom::Float(1.0))),
            "type: column quantity is no list",
        ),
        (
            OrderRows::of(Value::mixed(vec![])).unwrap_err().to_string(),
            "length: 0 columns, the table has 8",
        ),
        (
            OrderRows::of(longs()).unwrap_err().to_string(),
            "type: wanted a table",
        ),
    ] {
        assert!(found.starts_with(error), "{found}");
    }
    let table = Table::new(
        ["time"].iter().collect(),
        vec![Items::Timestamp(vec![]).into()],
    );
    let error = OrderRows::of(Value::Table(Box::new(table.unwrap()))).unwrap_err();
    assert_eq!(
        error.reply(),
        Value::error("mismatch: there is no column sym")
    );
}

#[test]
fn rows_that_say_nothing_are_refused_alone() {
    let mut columns = two();
    columns[0] = Value::List(Items::Timestamp(vec![i64::MIN, i64::MAX - 1]).into());
    let (_, refused) = read(Value::mixed(columns));
    assert_eq!(
        refused,
        [
            "1 time: is null",
            "2 time: time out of range 1677-09-21 to 2262-04-11"
        ]
    );
    let mut columns = two();
    columns[6] = Value::List(Items::Float(vec![f64::NAN, 0.1 + 0.2]).into());
    let (_, refused) = read(Value::mixed(columns));
    assert_eq!(
        refused,
        ["1 price: is null", "2 price: has more than 9 decimals"]
    );
    let mut columns = two();
    columns[7] = Value::List(Items::Float(vec![f64::INFINITY, -1.0]).into());
    let (_, refused) = read(Value::mixed(columns));
    assert_eq!(
        refused,
        ["1 quantity: is not a number", "2 quantity: is negative"]
    );
    let mut columns = two();
    columns[1] = symbols(&["", "A"]);
    columns[4] = symbols(&["S", "X"]);
    let (rows, refused) = read(Value::mixed(columns));
    assert_eq!((rows.len(), refused.len()), (0, 2));
    assert_eq!(refused[1], "2 side: unknown side \"X\" (B or S)");
    let mut columns = two();
    columns[6] = Value::List(Items::Real(vec![1.23, f32::MAX]).into());
    let (rows, refused) = read(Value::mixed(columns));
    assert!(rows[0].contains(" 1.23 "), "{rows:?}");
    assert_eq!(refused, ["2 price: is out of range"]);
}

#[test]
fn texts_and_calls_are_understood() {
    let subscription = |tables: Option<&[&str]>, syms: &[&str]| Subscription {
        tables: tables.map(|names| names.iter().map(|name| name.to_string()).collect()),
        syms: match syms {
            [] => Syms::All,
            syms => Syms::Some(syms.iter().map(|sym| sym.to_string()).collect()),
        },
    };
    let parse = |query: &str| Request::parse(text(query)).unwrap();
    for query in [
        "(.u.sub[`;`];.u `i`L)",
        "(.u.sub[`;`];`.u `i`L)",
        " ( .u.sub[` ; `] ; .u `i`L ) ;",
    ] {
        assert_eq!(
            parse(query),
            Request::SubscribeFrom(subscription(None, &[])),
            "{query}"
        );
    }
    assert_eq!(
        parse(".u.sub[`order;`a`b]"),
        Request::Subscribe(subscription(Some(&["order"]), &["a", "b"]))
    );
    assert_eq!(
        parse(".u.sub[`t;`]"),
        Request::Subscribe(subscription(Some(&["t"]), &[]))
    );
    for (query, request) in [
        (".u `i`L", Request::Position),
        ("cols order", Request::Columns("order".to_owned())),
        ("cols `order", Request::Columns("order".to_owned())),
        ("tables[]", Request::Tables),
        (
            "count orderAlerts",
            Request::Count("orderAlerts".to_owned()),
        ),
        ("meta order", Request::Meta("order".to_owned())),
        ("2+2", Request::Health),
        (
            ".fd.h\"if[`orderCache in key `.spoofing;delete from `.spoofing.orderCache]\"; .fd.addDataToQueue[2;`order;spoofingData];",
            Request::PushSample,
        ),
    ] {
        assert_eq!(parse(query), request, "{query}");
    }
    let Request::Query(query) = parse("update alertID:1+til count i from orderAlerts") else {
        panic!()
    };
    assert_eq!(query.shape, Shape::Table);
    assert!(matches!(
        Request::parse(Value::symbol("order")),
        Ok(Request::Query(_))
    ));

    // Calls, the arguments as symbols and as texts, or all symbols in one list.
    let all = Ok(Request::Subscribe(subscription(None, &[])));
    assert_eq!(Request::parse(symbols(&[".u.sub", "", ""])), all);
    assert_eq!(call(text(".u.sub"), vec![text(""), Value::NOTHING]), all);
    assert_eq!(
        call(
            Value::symbol(".u.sub"),
            vec![symbols(&["order", "orderAlerts"]), symbols(&["A"])]
        ),
        Ok(Request::Subscribe(subscription(
            Some(&["order", "orderAlerts"]),
            &["A"]
        )))
    );
    assert_eq!(
        call(Value::symbol(".u"), vec![symbols(&["i", "L"])]),
        Ok(Request::Position)
    );
    let day = Date::parse(b"2021.08.19").unwrap();
    let Value::List(end) = end_of_day(day) else {
        panic!()
    };
    assert_eq!(Request::parse(Value::List(end)), Ok(Request::EndOfDay(day)));
}

#[test]
fn everything_else_is_nyi() {
    for query in [
        "system \"rm -rf x\"",
        "\\ls",
        "{x}",
        "exit 0",
        "hopen `:x",
        "value \"1\"",
        "",
        " ",
        "2+3",
        ".u.sub[`;{x}]",
        ".u.upd[`order;()]",
        "cols order lj x",
        "delete from `order",
        "a:1",
        "é",
        "count",
    ] {
        let refused = Request::parse(text(query)).unwrap_err();
        assert_eq!(refused.reply(), Value::error("nyi"), "{query}");
    }
    let refused = Request::parse(text("select from order where price>max price")).unwrap_err();
    assert!(refused.to_string().starts_with("nyi: "), "{refused}");
    let long = "1".repeat(20_000);
    assert!(Request::parse(text(&long)).is_err());
    for value in [
        Value::NOTHING,
        Value::Atom(Atom::Long(1)),
        Value::mixed(vec![]),
        Value::mixed(vec![Value::symbol("exit"), Value::Atom(Atom::Long(0))]),
        Value::Lambda {
            context: Default::default(),
            text: b"{x}".to_vec(),
        },
        Value::mixed(vec![Value::Lambda {
            context: Default::default(),
            text: b"{x}".to_vec(),
        }]),
    ] {
        assert_eq!(Request::parse(value), Err(Refused::NotUnderstood));
    }
    assert!(matches!(
        call(Value::symbol("upd"), vec![]),
        Err(Refused::Arguments(_))
    ));
}

#[test]
fn answers_are_those_of_the_reference() {
    let subscribed = |names: &[&str], all| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        subscribed(&names, all)
    };
    let answer = subscribed(&["order"], false);
    let bytes = encode_message(ByteOrder::Little, MessageKind::Response, &answer).unwrap();
    // (symbol; table), the column sym with g#, no rows; texts are general lists.
    let hex: String = bytes
        .iter()
        .skip(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        hex.starts_with("000002000000f56f72646572006200630b00080000007469"),
        "{hex}"
    );
    assert!(hex.ends_with(
        "000008000000\
         0c00000000000b04000000000b00000000000000000000000b0000000000000000000000090000000000090000000000"
    ), "{hex}");
    let Value::List(pairs) = subscribed(&[ORDER, ORDER_ALERTS], true) else {
        panic!()
    };
    assert_eq!(pairs.items.len(), 2);
    assert_eq!(subscribed(&["x"], false), Value::error("x"));
    assert_eq!(subscribed(&[ORDER], true).count(), 1);
    assert_eq!(meta(ORDER).unwrap().count(), 8);
    assert_eq!(cols(ORDER_ALERTS).unwrap().count(), 14);
    assert_eq!((meta("x"), cols("x")), (None, None));
    assert_eq!(tables().count(), 2);
    let Value::List(log) = no_log() else { panic!() };
    // What q's subscriber looks at before it replays: `null first`.
    assert_eq!(log.items.get(0), Some(Value::Atom(Atom::Long(i64::MIN))));
    assert_eq!(log.items.get(1), Some(Value::symbol(":")));
}

#[test]
fn subscribers_get_their_symbols_alone() {
    let rows = OrderRows::of(Value::mixed(two())).unwrap();
    let mut orders = OrderBatch::default();
    rows.push(0, &mut orders).unwrap();
    rows.push(1, &mut orders).unwrap();
    let some = |sym: &str| order_table(&orders, &Syms::Some([sym.to_owned()].into())).unwrap();
    assert_eq!(some("ABC").rows(), 1);
    assert_eq!(publish(ORDER, some("XYZ")), None);
    let all = order_table(&orders, &Syms::All).unwrap();
    let message = publish(ORDER, all.clone()).unwrap();
    let bytes = encode_message(ByteOrder::Little, MessageKind::Async, &message).unwrap();
    assert_eq!(
        &bytes[8..31],
        b"\0\0\x03\0\0\0\xf5upd\0\xf5order\0\x62\0\x63\x0b\0"
    );
    // What was published is what was taken.
    let again = decode_message(&bytes, &Limits::default()).unwrap().value;
    let Ok(Request::Update(update)) = Request::parse(again) else {
        panic!()
    };
    assert_eq!(read(update.data), read(columns_of(all)));
}

proptest! {
    #[test]
    fn a_price_goes_out_and_comes_back(units in -2_251_799_813_685_248_i64..2_251_799_813_685_248) {
        let mut columns = two();
        let price = Price::from_units(units);
        let float: f64 = price.to_string().parse().unwrap();
        columns[6] = Value::List(Items::Float(vec![float, units as f64 / 1e9]).into());
        let (rows, refused) = read(Value::mixed(columns));
        prop_assert!(refused.is_empty(), "{:?}", refused);
        prop_assert!(rows[0].contains(&format!(" {price} ")), "{} {:?}", price, rows);
        prop_assert!(rows[1].contains(&format!(" {price} ")), "{} {:?}", price, rows);
    }

    #[test]
    fn a_time_goes_out_and_comes_back(nanos in -8_276_640_000_000_000_000_i64..) {
        let time = tapewatch_model::Time::from_nanos(nanos);
        prop_assert_eq!(from_timestamp(to_timestamp(time)), Ok(time));
    }

    #[test]
    fn any_float_is_exact_or_refused(bits: u64) {
        let float = f64::from_bits(bits);
        let mut columns = two();
        columns[6] = Value::List(Items::Float(vec![float, 1.0]).into());
        let rows = OrderRows::of(Value::mixed(columns)).unwrap();
        let mut orders = OrderBatch::default();
        if rows.push(0, &mut orders).is_ok() {
            let back: f64 = orders.prices()[0].to_string().parse().unwrap();
            prop_assert_eq!(back, float);
        }
    }

    #[test]
    fn any_request_is_understood_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Request::parse(Value::text(&bytes));
        let names: Symbols = bytes.chunks(5).collect();
        let _ = Request::parse(Value::List(Items::Symbol(names).into()));
    }
}
