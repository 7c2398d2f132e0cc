//! Tests of the CSV feed: the reference file, each kind of bad row, quotes, limits.

use std::io::{self, Read};

use tapewatch_model::{EventType, Flags, Price, Quantity, Side};

use super::*;

pub(super) const HEADER: &str = "time,sym,event_type,trader,side,order_id,price,quantity\n";
pub(super) const GOOD: &str =
    "2024-01-05 08:00:00.000000123,ABC,cancelled,Trader1,B,OID1,33.62,200\n";

/// Gives its bytes out in pieces of the given lengths, over and over.
pub(super) struct Pieces<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) lengths: &'a [usize],
    pub(super) next: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths[self.next % self.lengths.len()];
        self.next += 1;
        let count = length.min(self.bytes.len()).min(to.len());
        to[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

/// Everything a source gives: rows with their numbers, dead letters.
#[derive(Debug, PartialEq, Default)]
pub(super) struct All {
    pub(super) orders: Vec<tapewatch_model::Order>,
    pub(super) letters: Vec<DeadLetter>,
}

pub(super) fn drain<R: Read>(source: &mut CsvOrders<R>, batches: &[usize]) -> All {
    let mut all = All::default();
    let mut orders = OrderBatch::default();
    for rows_max in batches.iter().cycle() {
        let before = all.orders.len() + all.letters.len();
        let more = source
            .next_batch(*rows_max, &mut orders, &mut all.letters)
            .unwrap();
        all.orders
            .extend((0..orders.len()).filter_map(|at| orders.order(at)));
        let count = all.orders.len() + all.letters.len() - before;
        assert_eq!(more, count > 0);
        assert!(count <= *rows_max);
        if !more {
            break;
        }
    }
    let more = source.next_batch(1, &mut orders, &mut all.letters);
    assert_eq!((more, orders.len()), (Ok(false), 0));
    all
}

pub(super) fn read(bytes: &[u8]) -> All {
    let mut source = CsvOrders::new(bytes, "a.csv", bytes.len() as u64).unwrap();
    let all = drain(&mut source, &[1_000]);
    let done = bytes.len() as u64;
    assert_eq!(
        source.progress(),
        Progress {
            done,
            total: done,
            passed_over: 0
        }
    );
    all
}

/// Line, column and reason of the dead letters of a file with the usual header.
fn refusals(rows: &[u8]) -> Vec<(u64, String, String)> {
    let all = read(&[HEADER.as_bytes(), rows].concat());
    let letters = all.letters.into_iter();
    letters
        .map(|letter| (letter.line, letter.column, letter.reason))
        .collect()
}

fn header_error(text: &[u8]) -> String {
    CsvOrders::new(text, "a.csv", 0).unwrap_err().to_string()
}

#[test]
fn reads_the_reference_file() {
    let path = "../../tests/data/spoofingData.csv";
    let mut source = CsvOrders::open(Path::new(path)).unwrap();
    let all = drain(&mut source, &[3]);
    assert_eq!((all.orders.len(), all.letters), (10, vec![]));
    assert_eq!(source.progress().done, source.progress().total);
    let last = all.orders.last().unwrap();
    assert_eq!(last.seq, 10);
    assert_eq!(last.time, "2015-04-17T12:00:20".parse().unwrap());
    assert_eq!(
        (last.event_type, last.side),
        (EventType::Cancelled, Side::Sell)
    );
    assert_eq!(
        (&*last.sym, &*last.trader, &*last.order_id),
        ("SNDL", "SpoofingTrader", "SPG-Oid13")
    );
    assert_eq!(
        (last.price, last.quantity),
        ("1.23".parse().unwrap(), "1300".parse().unwrap())
    );
    let sum: i64 = all.orders.iter().map(|order| order.quantity.units()).sum();
    assert_eq!(sum, 13_200 * 100_000_000);
}

#[test]
fn each_kind_of_bad_row_says_what_is_wrong() {
    let base = ["2024-01-05T08:00:00", "ABC", "new", "T", "B", "1", "1", "1"];
    let with = |at: usize, value: &[u8]| {
        let mut fields: Vec<&[u8]> = base.iter().map(|text| text.as_bytes()).collect();
        fields[at] = value;
        fields.join(&b',')
    };
    let long = "x".repeat(129);
    for (row, column, reason) in [
        (
            with(0, b"yesterday"),
            "time",
            "not a time: expected a form like 2015-04-17T12:00:05.000000000 (T, D or a space; up to 9 decimals; Z or +hh:mm allowed): \"yesterday\"",
        ),
        (
            with(0, b"9999-01-01T00:00:00"),
            "time",
            "time out of range 1677-09-21 to 2262-04-11: \"9999-01-01T00:00:00\"",
        ),
        (with(0, b""), "time", "is empty"),
        (with(1, b""), "sym", "is empty"),
        (with(1, b"A\xffC"), "sym", "is not UTF-8"),
        (
            with(2, b"expired"),
            "event_type",
            "unknown event type \"expired\" (new, amended, cancelled or filled)",
        ),
        (with(2, b""), "event_type", "is empty"),
        (with(3, b"\xc3"), "trader", "is not UTF-8"),
        (with(4, b"X"), "side", "unknown side \"X\" (B or S)"),
        (with(4, b" B"), "side", "unknown side \" B\" (B or S)"),
        (with(5, b"\x80"), "order_id", "is not UTF-8"),
        (
            with(5, long.as_bytes()),
            "order_id",
            "has 129 bytes, at most 128 are allowed",
        ),
        (with(6, b"12x"), "price", "is not a number: \"12x\""),
        (
            with(6, b"1.0000000001"),
            "price",
            "has more than 9 decimals: \"1.0000000001\"",
        ),
        (with(7, b"-5"), "quantity", "is negative: \"-5\""),
        (
            with(7, b"99999999999999"),
            "quantity",
            "is out of range: \"99999999999999\"",
        ),
        (b"a,b,c,d,e,f,g".to_vec(), "row", "has 7 fields, 8 expected"),
        (with(7, b"1,"), "row", "has 9 fields, 8 expected"),
        (b" ".to_vec(), "row", "has 1 field, 8 expected"),
    ] {
        let rows = [GOOD.as_bytes(), b"\r\n", &row, b"\r\n", GOOD.as_bytes()].concat();
        let all = read(&[HEADER.as_bytes(), &rows].concat());
        let raw = String::from_utf8_lossy(&row).into_owned();
        let letter = DeadLetter::new("a.csv", 4, column, reason, raw.as_bytes());
        assert_eq!(all.letters, [letter]);
        let seqs: Vec<u64> = all.orders.iter().map(|order| order.seq).collect();
        assert_eq!(seqs, [1, 3], "the refused row keeps its number");
    }
    // Texts may hold NUL and anything else that is UTF-8; an order may have no id.
    let all = read(&[HEADER.as_bytes(), &with(1, b"A\0\rB"), b"\n", &with(5, b"")].concat());
    assert_eq!((all.orders.len(), &*all.orders[0].sym), (2, "A\0\rB"));
}

#[test]
fn a_long_value_is_cut_in_the_reason() {
    let row = format!("2024-01-05T08:00:00,A,new,T,B,1,{},1\n", "9".repeat(100));
    let (_, _, reason) = refusals(row.as_bytes()).remove(0);
    assert_eq!(reason, format!("is out of range: \"{}\"…", "9".repeat(64)));
}

#[test]
fn columns_are_found_by_name() {
    let header = "\u{feff}Qty, PX ,venue,Event Type,ClOrdID,Symbol,\"SIDE\",trader,TIME\r\n";
    let row = "5,1.5,\u{e9},F,7,ABC,buy,T,2024-01-05\r\n";
    // What is not a column of the schema is not even checked.
    let rows = [
        header.as_bytes(),
        row.as_bytes(),
        b"5,1.5,\xff,0,7,ABC,S,T,2024-01-05T10:00",
    ]
    .concat();
    let all = read(&rows);
    assert_eq!(all.letters, []);
    assert_eq!(all.orders[0].price, Price::parse(b"1.5").unwrap());
    assert_eq!(all.orders[0].quantity, Quantity::parse(b"5").unwrap());
    assert_eq!(
        (&*all.orders[0].order_id, all.orders[1].event_type),
        ("7", EventType::New)
    );
}

#[test]
fn a_header_that_does_not_fit_is_an_error() {
    let names =
        "name the columns time, sym, event_type, trader, side, order_id, price and quantity";
    for (text, message) in [
        ("", "a.csv: is empty: its first line must name the columns time, sym, event_type, trader, side, order_id, price and quantity".to_owned()),
        ("\r\n\n", "a.csv: is empty: its first line must name the columns time, sym, event_type, trader, side, order_id, price and quantity".to_owned()),
        ("time;sym\n", format!("a.csv: columns time, sym, event_type, trader, side, order_id, price, quantity not found in the header \"time;sym\": {names} there (any order, separated by commas)")),
        (&HEADER.replace("side,", ""), format!("a.csv: column side not found in the header \"time,sym,event_type,trader,order_id,price,quantity\": {names} there (any order, separated by commas)")),
        (&HEADER.replace("side", "side,Symbol"), "a.csv: columns 2 and 6 (\"sym\" and \"Symbol\") both mean sym: rename or remove one of them".to_owned()),
        ("\"time\n", "a.csv: the header (line 1) a quote on this line is not closed".to_owned()),
    ] {
        assert_eq!(header_error(text.as_bytes()), message);
    }
    let long = "x".repeat(70_000);
    assert!(
        header_error(long.as_bytes()).contains("the header (line 1) row longer than 65536 bytes")
    );
    let error = CsvOrders::open(Path::new("/no/such.csv")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/no/such.csv: cannot be opened: ")
    );
    assert_eq!(read(HEADER.as_bytes()), All::default());
}

#[test]
fn optional_columns_are_read_where_they_are() {
    let header = "flags,time,sym,event_type,trader,side,order_id,price,quantity,DisplayQty,Account,Exec ID\n";
    let rows = "ioc  aggressor,2024-01-05,A,F,T,B,1,1.5,5,2,ACC,E1\n\
                market,2024-01-05,A,0,T,B,1,,5,,,\n\
                anonymous,2024-01-05,A,0,,B,1,1,5,0,,\n\
                ,2024-01-05,A,0,T,B,1,1,5,,,\n";
    let all = read(&[header, rows].concat().into_bytes());
    assert_eq!(all.letters, []);
    let first = &all.orders[0];
    assert_eq!((&*first.account, &*first.exec_id), ("ACC", "E1"));
    assert_eq!(first.display, Some(Quantity::parse(b"2").unwrap()));
    assert_eq!(first.flags, Flags::IOC.with(Flags::AGGRESSOR));
    let market = &all.orders[1];
    assert_eq!(
        (market.flags, market.price),
        (Flags::MARKET, Price::default())
    );
    let anonymous = &all.orders[2];
    assert_eq!(
        (&*anonymous.trader, anonymous.display),
        ("", Some(Quantity::default()))
    );
    let none = &all.orders[3];
    assert_eq!(
        (&*none.account, none.display, none.flags),
        ("", None, Flags::NONE)
    );

    let long = "x".repeat(129);
    for (row, column, reason) in [
        (
            "fast,2024-01-05,A,0,T,B,1,1,5,,,",
            "flags",
            "unknown flag \"fast\"",
        ),
        ("ioc,2024-01-05,A,0,T,B,1,,5,,,", "price", "is empty"),
        ("market,2024-01-05,A,F,T,B,1,,5,,,", "price", "is empty"),
        (",2024-01-05,A,0,,B,1,1,5,,,", "trader", "is empty"),
        (
            ",2024-01-05,A,0,T,B,1,1,5,-1,,",
            "display_quantity",
            "is negative: \"-1\"",
        ),
        (
            &format!(",2024-01-05,A,0,T,B,1,1,5,,{long},"),
            "account",
            "has 129 bytes",
        ),
        (
            &format!(",2024-01-05,A,0,T,B,1,1,5,,,{long}"),
            "exec_id",
            "has 129 bytes",
        ),
    ] {
        let all = read(format!("{header}{row}\n{rows}").as_bytes());
        let [letter] = &*all.letters else {
            panic!("{row}: {:?}", all.letters)
        };
        assert_eq!((&*letter.column, all.orders.len()), (column, 4));
        assert!(
            letter.reason.starts_with(reason),
            "{row}: {}",
            letter.reason
        );
    }
    assert_eq!(
        header_error(HEADER.replace("side", "side,flags,Flags").as_bytes()),
        "a.csv: columns 6 and 7 (\"flags\" and \"Flags\") both mean flags: rename or remove one of them"
    );
}

#[test]
fn the_documentation_tells_every_flag() {
    let page = std::fs::read_to_string("../../docs/use/feeding.md").unwrap();
    for (word, means) in Flags::words() {
        let line = format!("| `{word}` | {means} |\n");
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn a_stray_quote_costs_its_own_line_only() {
    let stray = "2024-01-05,A,new,\"T,S,o1,1,1\n2024-01-05,A,new,\"T,S,o2,1,1\n";
    let all = read(&[HEADER, stray, GOOD].concat().into_bytes());
    assert_eq!((all.orders.len(), all.letters.len()), (1, 2));
    assert!(
        all.letters[0].reason.contains("not closed"),
        "{:?}",
        all.letters
    );
    let behind = "2024-01-05,A,new,\"T\"x,S,o1,1,1\n";
    let all = read(&[HEADER, behind, GOOD].concat().into_bytes());
    assert_eq!((all.orders.len(), all.letters.len()), (1, 1));
    assert!(
        all.letters[0].reason.contains("behind a closing quote"),
        "{:?}",
        all.letters
    );
}

#[test]
fn quotes_hold_commas_and_quotes() {
    let rows = "2024-01-05,\"A,\"\"B\"\"C\",new,\"T\",\"B\",\"\",1,\"1\"\r\n2024-01-05,a\"b,new,T,B,1,1,1\n\n\"x\n";
    let all = read(&[HEADER, rows, GOOD].concat().into_bytes());
    assert_eq!(all.orders[0].sym, "A,\"B\"C");
    assert_eq!(
        all.orders[1].sym, "a\"b",
        "a quote within a field that does not begin with one"
    );
    // The third row, on line 5, is never closed: it costs its own line only.
    let letter = DeadLetter::new(
        "a.csv",
        5,
        "row",
        "a quote on this line is not closed",
        b"\"x",
    );
    assert_eq!(all.letters, [letter]);
    assert_eq!(all.orders[2].seq, 4);
    let bom = "\u{feff}\"2024-01-05\",A,new,T,B,1,1,1\n";
    assert!(
        refusals(bom.as_bytes())[0].2.contains("\\u{feff}"),
        "a mark within the file is data"
    );
    let last = "2024-01-05,A,new,T,B,1,1,\"1\"\r";
    assert_eq!(read(&[HEADER, last].concat().into_bytes()).orders.len(), 1);
}

#[test]
fn a_stray_quote_costs_one_row() {
    let rows = format!("2024-01-05,\"A,new,T,B,1,1,1\n{}", GOOD.repeat(2_000));
    let all = read(&[HEADER, &rows].concat().into_bytes());
    let reason = "row longer than 65536 bytes: a quote on this line is not closed";
    assert_eq!(
        all.letters,
        [DeadLetter::new(
            "a.csv",
            2,
            "row",
            reason,
            b"2024-01-05,\"A,new,T,B,1,1,1"
        )]
    );
    assert_eq!((all.orders.len(), all.orders[0].seq), (2_000, 2));
}

#[test]
fn rows_are_limited_to_the_byte() {
    // A column that is not known makes the row as long as it is wanted.
    let header = format!("note,{HEADER}");
    for end in ["\n", "\r\n", ""] {
        for quoted in [false, true] {
            for (length, fits) in [
                (ROW_BYTES_MAX, true),
                (ROW_BYTES_MAX + 1, false),
                (300_000, false),
                (3_000_000, false),
            ] {
                let quote = if quoted { "\"" } else { "" };
                let rest = format!("{quote},{}", GOOD.trim_end());
                let note = "n".repeat(length - rest.len() - quote.len());
                let row = format!("{quote}{note}{rest}{end}");
                let after = if end.is_empty() { "" } else { GOOD };
                let after = if after.is_empty() {
                    String::new()
                } else {
                    format!(",{after}")
                };
                let text = [&*header, &row, &after].concat();
                for lengths in [&[usize::MAX][..], &[4_099]] {
                    let pieces = Pieces {
                        bytes: text.as_bytes(),
                        lengths,
                        next: 0,
                    };
                    let mut source = CsvOrders::new(pieces, "a.csv", 0).unwrap();
                    let all = drain(&mut source, &[10]);
                    let refused = usize::from(!fits);
                    assert_eq!(all.letters.len(), refused, "{length} {end:?} {quoted}");
                    assert_eq!(all.orders.len(), 1 - refused + usize::from(!end.is_empty()));
                    let long = all.letters.iter().all(|letter| {
                        letter.reason.starts_with("row longer than 65536 bytes") && letter.line == 2
                    });
                    assert!(long);
                }
            }
        }
    }
}

struct Failing<'a>(&'a [u8], bool);

impl Read for Failing<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match self.0.read(to)? {
            0 => Err(io::Error::other("pulled out")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_failing_reader_is_told_with_its_place_and_loses_no_row() {
    let text = [HEADER, GOOD, "bad\n", "2024-01"].concat();
    for rows_max in [1, 2, 10] {
        let mut source = CsvOrders::new(Failing(text.as_bytes(), false), "a.csv", 0).unwrap();
        let (mut orders, mut letters, mut count) = (OrderBatch::default(), Vec::new(), 0);
        let error = loop {
            match source.next_batch(rows_max, &mut orders, &mut letters) {
                Ok(more) => assert!(more),
                Err(error) => break error,
            }
            count += orders.len();
        };
        assert_eq!((count, letters.len()), (1, 1));
        let at = text.len();
        let message =
            format!("a.csv: cannot be read at byte {at}: pulled out; the rows before it were read");
        assert_eq!(error.to_string(), message);
        assert_eq!(source.next_batch(1, &mut orders, &mut letters), Err(error));
        assert_eq!((orders.len(), letters.len()), (0, 1));
    }
    let error = CsvOrders::open(Path::new("/")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/: cannot be read at byte 0: "),
        "{error}"
    );
}
