//! Databases on disk: the real one, and damage.

use std::fs;
use std::path::{Path, PathBuf};

use tapewatch_model::{OrderBatch, OrderSource};

use super::*;
use crate::kdb::KdbOrders;
use crate::kdb::value::{Atom, Items};

fn real() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kdb/tplogs/sym")
}

/// A copy that can be damaged.
fn copy() -> tempfile::TempDir {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for (name, path) in entries(from).unwrap() {
            if path.is_dir() {
                all(&path, &to.join(name));
            } else {
                fs::write(to.join(name), fs::read(path).unwrap()).unwrap();
            }
        }
    }
    let copy = tempfile::tempdir().unwrap();
    all(&real(), copy.path());
    copy
}

fn alerts(directory: &Path) -> Result<Table, SourceError> {
    let mut hdb = Hdb::open(directory, Limits::default())?;
    let day = hdb.days().next().unwrap();
    let mut table = hdb.table(day, "orderAlerts")?;
    table.read(0, 10)
}

#[test]
fn the_real_day_is_read() {
    let mut hdb = Hdb::open(&real(), Limits::default()).unwrap();
    let days: Vec<String> = hdb.days().map(|day| day.to_string()).collect();
    assert_eq!(days, ["2021-08-19"]);
    let day = hdb.days().next().unwrap();
    assert_eq!(hdb.tables(day).unwrap(), ["order", "orderAlerts"]);
    assert_eq!(hdb.table(day, "order").unwrap().rows(), 0);
    let table = alerts(&real()).unwrap();
    assert_eq!((table.names().len(), table.rows()), (14, 1));
    let cell = |name: &str| {
        let mut names = table.names().iter();
        let at = names.position(|other| other == name.as_bytes());
        table.columns()[at.unwrap()].items.get(0).unwrap()
    };
    assert_eq!(cell("sym"), Value::symbol("SNDL"));
    assert_eq!(cell("alertName"), Value::symbol("spoofing"));
    assert_eq!(cell("side"), Value::symbol("S"));
    assert_eq!(cell("trader"), Value::text("SpoofingTrader"));
    assert_eq!(cell("orderID"), Value::text("SPG-Oid13"));
    assert_eq!(cell("totalCancelQty"), Value::Atom(Atom::Float(4_600.0)));
    let lookback = Atom::Timespan(25_000_000_000);
    assert_eq!(cell("lookbackInterval"), Value::Atom(lookback));
}

#[test]
fn the_real_day_imports() {
    let mut source = KdbOrders::open_hdb(&real()).unwrap();
    let (mut orders, mut refused) = (OrderBatch::default(), Vec::new());
    assert_eq!(source.next_batch(100, &mut orders, &mut refused), Ok(true));
    let [alert] = source.take_alerts().try_into().unwrap();
    assert_eq!((orders.len(), refused.len()), (0, 0));
    assert_eq!(
        alert.order.time.to_string(),
        "2015-04-17T12:00:20.000000000Z"
    );
    assert_eq!(alert.order.price.to_string(), "1.23");
    assert_eq!(source.next_batch(100, &mut orders, &mut refused), Ok(false));
}

type Damage = fn(&mut Vec<u8>);
const DAMAGES: [(&str, Damage, &str); 14] = [
    (
        "price",
        |bytes| bytes.truncate(16),
        "price: ends at byte 16 with 0 rows, other columns have 1",
    ),
    (
        "price",
        |bytes| bytes.truncate(20),
        "price: ends at byte 20 within its values, which have 8 bytes each",
    ),
    (
        "price",
        |bytes| bytes.truncate(10),
        "price: ends at byte 10 within its head",
    ),
    (
        "price",
        |bytes| bytes[2] = 3,
        "price: is of type 3 at byte 2, which is not understood",
    ),
    ("price", |bytes| bytes[0] = 7, "which is no column"),
    (
        "time",
        |bytes| *bytes = b"kxzipped....".to_vec(),
        "time: is packed by kdb+",
    ),
    (
        "side",
        |bytes| bytes[4_096] = 4,
        "side: points at byte 4096 to number 4 of the 4 in sym",
    ),
    (
        "side",
        |bytes| bytes[4_103] = 0x80,
        "side: points at byte 4096 to number -92233",
    ),
    (
        "side",
        |bytes| bytes[16] = b'/',
        "side: names the symbols \"/ym\" at byte 16, which is no file name",
    ),
    (
        "side",
        |bytes| bytes[4_082] = 99,
        "side: is of type 99 at byte 4082",
    ),
    (
        "sym",
        |bytes| bytes[4_088] = 200,
        "sym: ends at byte 4192 within its values",
    ),
    (
        "trader",
        |bytes| bytes[4_096] = 99,
        "trader: points at byte 4096 to byte 4195 of its texts, which have 4112",
    ),
    (
        "trader#",
        |bytes| bytes[4_097] = 200,
        "trader: points at byte 4096 to byte 4096 of its texts, which have 4112",
    ),
    (
        ".d",
        |bytes| bytes.truncate(160),
        ".d: ends at byte 160 within a symbol",
    ),
];

#[test]
fn damage_is_named_with_file_and_byte() {
    let day = |copy: &Path| copy.join("2021.08.19/orderAlerts");
    for (file, damage, error) in DAMAGES {
        let copy = copy();
        let path = day(copy.path()).join(file);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let found = alerts(copy.path()).unwrap_err().to_string();
        assert!(found.contains(error), "{file}: {found}");
    }
    let copy = copy();
    fs::remove_file(day(copy.path()).join("side")).unwrap();
    let error = alerts(copy.path()).unwrap_err().to_string();
    assert!(error.contains("side: cannot be opened"), "{error}");
    // A file of the first version of the reference, where a folder was meant.
    fs::write(copy.path().join("hdb"), "\\l .").unwrap();
    let error = Hdb::open(&copy.path().join("hdb"), Limits::default()).unwrap_err();
    assert!(error.to_string().contains("wanted a folder"), "{error}");
    assert!(Hdb::open(&copy.path().join("2021.08.19"), Limits::default()).is_err());
}

#[test]
fn columns_of_many_rows_are_read_in_parts() {
    let copy = copy();
    let table = copy.path().join("2021.08.19/t");
    fs::create_dir(&table).unwrap();
    fs::write(table.join(".d"), b"\xff\x01\x0b\0\0\0\0\0a\0s\0").unwrap();
    let mut longs = b"\xfe\x20\x07\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let side = fs::read(copy.path().join("2021.08.19/orderAlerts/side")).unwrap();
    let mut symbols = side[..4_096].to_vec();
    for row in 0..1_000_i64 {
        longs.extend(row.to_le_bytes());
        symbols.extend((row % 4).to_le_bytes());
    }
    fs::write(table.join("a"), longs).unwrap();
    fs::write(table.join("s"), symbols).unwrap();
    let mut hdb = Hdb::open(copy.path(), Limits::default()).unwrap();
    let day = hdb.days().next().unwrap();
    let mut table = hdb.table(day, "t").unwrap();
    assert_eq!(table.rows(), 1_000);
    let part = table.read(997, 10).unwrap();
    assert_eq!(part.columns()[0].items, Items::Long(vec![997, 998, 999]));
    let last = part.columns()[1].items.get(0);
    assert_eq!(last, Some(Value::symbol("cancelled")));
}
