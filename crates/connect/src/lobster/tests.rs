//! Tests of the LOBSTER feed, on lines written after LOBSTER's description.

use proptest::collection::vec;
use proptest::prelude::*;
use tapewatch_model::{EventType, Order, Time};

use super::*;

const NAME: &str = "dir_x/AAPL_2012-06-21_34200000_57600000_message_10.csv";

struct All {
    orders: Vec<Order>,
    letters: Vec<DeadLetter>,
}

fn drain<R: Read>(source: &mut LobsterOrders<R>, rows_max: usize) -> All {
    let (mut all, mut letters) = (Vec::new(), Vec::new());
    let mut orders = OrderBatch::default();
    loop {
        let before = all.len() + letters.len();
        let more = source
            .next_batch(rows_max, &mut orders, &mut letters)
            .unwrap();
        all.extend((0..orders.len()).filter_map(|at| orders.order(at)));
        let count = all.len() + letters.len() - before;
        assert!(count <= rows_max);
        assert_eq!(more, count > 0);
        if !more {
            return All {
                orders: all,
                letters,
            };
        }
    }
}

fn read(text: &[u8]) -> All {
    let options = LobsterOptions::default();
    let mut source = LobsterOrders::new(text, NAME, text.len() as u64, &options).unwrap();
    let all = drain(&mut source, 3);
    assert_eq!(source.progress().done, text.len() as u64);
    all
}

fn rows(text: &str) -> Vec<String> {
    let all = read(text.as_bytes());
    assert!(all.letters.is_empty(), "{:?}", all.letters);
    let row = |order: &Order| {
        format!(
            "{} {} {} {} {} {} [{}]",
            order.seq,
            order.event_type,
            order.side,
            order.order_id,
            order.quantity,
            order.price,
            order.flags
        )
    };
    all.orders.iter().map(row).collect()
}

#[test]
fn the_life_of_an_order() {
    let text = "\
34200.004241176,1,16113575,18,5853300,1
34200.1,2,16113575,5,5853300,1
34200.2,4,16113575,3,5853300,1
34200.3,2,16113575,4,5853300,1
34200.4,3,16113575,6,5853300,1
";
    assert_eq!(
        rows(text),
        [
            "1 new B 16113575 18 585.33 [anonymous]",
            "2 amended B 16113575 13 585.33 [anonymous]",
            "3 filled B 16113575 3 585.33 [passive anonymous]",
            "4 amended B 16113575 6 585.33 [anonymous]",
            "5 cancelled B 16113575 6 585.33 [anonymous]",
        ]
    );
}

#[test]
fn orders_from_before_the_file_and_hidden_ones() {
    let text = "34200.1,3,7,10,5853300,-1\r\n\r\n34200.1,4,8,1,5853300,-1\n34201,5,0,100,5853250,1\n34202,5,9,1,5853250,1";
    assert_eq!(
        rows(text),
        [
            "1 cancelled S 7 10 585.33 [anonymous]",
            "2 filled S 8 1 585.33 [passive anonymous]",
            "3 filled B  100 585.325 [passive anonymous]",
            "4 filled B 9 1 585.325 [passive anonymous]",
        ]
    );
}

#[test]
fn time_and_instrument_come_from_the_name_or_the_options() {
    let line = b"34200.000000001,1,1,1,1,1".as_slice();
    let first = |name: &str, options: &LobsterOptions| {
        let mut source = LobsterOrders::new(line, name, 0, options)?;
        let order = drain(&mut source, 10).orders.remove(0);
        Ok::<_, SourceError>((order.sym, order.time))
    };
    let time = |text: &str| Time::parse(text.as_bytes()).unwrap();
    let nine_thirty = time("2012-06-21T13:30:00.000000001");
    let none = LobsterOptions::default();
    assert_eq!(first(NAME, &none), Ok(("AAPL".to_owned(), nine_thirty)));
    let options = LobsterOptions {
        sym: Some("X".to_owned()),
        date: Some(Date::parse(b"2024-01-05").unwrap()),
        utc_offset: None,
    };
    let winter = time("2024-01-05T14:30:00.000000001");
    assert_eq!(first("x.csv", &options), Ok(("X".to_owned(), winter)));
    let utc = LobsterOptions {
        utc_offset: Some(TimeSpan::ZERO),
        ..options
    };
    let same = time("2024-01-05T09:30:00.000000001");
    assert_eq!(first(NAME, &utc), Ok(("X".to_owned(), same)));
    let error = first("some_message_1.csv", &none).unwrap_err().to_string();
    assert!(error.contains("tell it with --sym"), "{error}");
    let sym_alone = LobsterOptions {
        sym: Some("X".to_owned()),
        ..none
    };
    let error = first("x.csv", &sym_alone).unwrap_err().to_string();
    assert!(error.contains("tell it with --date"), "{error}");
}

#[test]
fn every_bad_line_is_refused_with_its_place_and_reason() {
    let long = "1".repeat(5_000);
    let text = format!(
        "34200,1,1,10,100,1\n\
         34200,1,1,10,100,1\n\
         34200,2,2,1,100,1\n\
         34200,2,1,10,100,1\n\
         34200,6,-1,1,100,-1\n\
         34200,7,0,0,-1,-1\n\
         34200,8,1,1,100,1\n\
         34200,1,x,1,100,1\n\
         34200,1,0,1,100,1\n\
         34200,1,2,0,100,1\n\
         34200,1,2,1,1e9,1\n\
         34200,1,2,1,100,0\n\
         86400,1,2,1,100,1\n\
         {long}\n\
         34200,1,2,1,100\n\
         34200,1,2,1,100,1,MPID\n\
         34200,1,2,1,100,1\n"
    );
    let all = read(text.as_bytes());
    let seqs: Vec<u64> = all.orders.iter().map(|order| order.seq).collect();
    assert_eq!(seqs, [1, 17]);
    let refused: Vec<_> = all
        .letters
        .iter()
        .map(|letter| (letter.line, letter.column.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            (2, "order_id"),
            (3, "quantity"),
            (4, "quantity"),
            (5, "event_type"),
            (6, "event_type"),
            (7, "event_type"),
            (8, "order_id"),
            (9, "order_id"),
            (10, "quantity"),
            (11, "price"),
            (12, "side"),
            (13, "time"),
            (14, "row"),
            (15, "row"),
            (16, "row"),
        ]
    );
    assert!(all.letters[3].reason.contains("cross trade"));
    assert!(all.letters[12].reason.contains("longer than"));
}

fn near_lobster() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec![
        "34200.1,1,1,10,100,1\n",
        "34200.1,2,1,3,100,1\n",
        "34200.1,4,1,3,100,1\n",
        "34200.1,3,1,4,100,1\n",
        "34200.1,5,0,3,100,-1\n",
        ",",
        "-1",
        "\n",
        "\r\n",
        "9223372036854775807",
        "34200,1,",
        "é",
    ];
    let piece = prop_oneof![
        6 => proptest::sample::select(pieces).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..9),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn each_line_comes_out_once(text in near_lobster(), rows_max in 1_usize..5) {
        let options = LobsterOptions::default();
        let mut source = LobsterOrders::new(text.as_slice(), NAME, 0, &options).unwrap();
        let all = drain(&mut source, rows_max);
        let lines = text.split(|&byte| byte == b'\n');
        let blank = |line: &&[u8]| line.is_empty() || *line == b"\r";
        prop_assert_eq!(all.orders.len() + all.letters.len(), lines.filter(|line| !blank(line)).count());
        // What is open is never negative: no amendment is to nothing.
        let amended = all.orders.iter().filter(|order| order.event_type == EventType::Amended);
        for order in amended {
            prop_assert!(order.quantity.units() > 0);
        }
    }
}
