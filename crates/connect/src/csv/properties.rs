//! Properties of the CSV feed over random files: nothing panics, nothing is lost, the ways to cut
//! bytes into rows agree.

use proptest::collection::vec;
use proptest::prelude::*;
use tapewatch_model::{EventType, Flags, Price, Quantity, Side, Time};

use super::tests::{All, GOOD, HEADER, Pieces, drain, read};
use super::*;

/// Bytes that look like CSV to various degrees.
fn near_csv(quotes: bool) -> impl Strategy<Value = Vec<u8>> {
    let mut pieces = vec![
        "\n",
        "\r\n",
        "\r",
        ",",
        ",,,,,,,",
        " ",
        "\0",
        "x",
        "\u{e9}",
        "1",
        "2024-01-05",
        "B",
    ];
    pieces.extend([
        GOOD,
        GOOD,
        GOOD,
        "2024-01-05,A,new,T,B,1,1,1",
        "2024-01-05,A,new,T,X,1,1,1\r\n",
    ]);
    if quotes {
        pieces.extend([
            "\"",
            "\"",
            "\"\"",
            "\",\"",
            "\"\n",
            "\u{feff}",
            "\"2024-01-05\",\"A,\nB\",new,\"\"\"T\",B,\"1\",1,1\n",
        ]);
    }
    let piece = prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..9).prop_map(move |mut bytes| {
            bytes.retain(|byte| quotes || *byte != b'"');
            bytes
        }),
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// The rows of `bytes` as csv-core reads them in one piece, and whether the last one is closed.
fn rows_by_csv_core(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv_core::ReaderBuilder::new()
        .terminator(csv_core::Terminator::Any(b'\n'))
        .build();
    // One byte alone, so that a byte order mark is not dropped.
    let (mut rest, mut rows) = (bytes, Vec::new());
    let (mut text, mut ends) = (vec![0; bytes.len() + 1], vec![0; bytes.len() + 2]);
    let (mut filled, mut fields) = (0, 0);
    loop {
        let input = &rest[..rest.len().min(1)];
        let (result, read, written, ended) =
            reader.read_record(input, &mut text[filled..], &mut ends[fields..]);
        rest = &rest[read..];
        (filled, fields) = (filled + written, fields + ended);
        match result {
            csv_core::ReadRecordResult::Record => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let row = starts
                    .zip(&ends[..fields])
                    .map(|(start, end)| text[start..*end].to_vec());
                rows.push(row.collect());
                (filled, fields) = (0, 0);
            }
            csv_core::ReadRecordResult::End => return rows,
            _ => {}
        }
    }
}

/// The rows as the framing cuts them, until one is refused.
fn rows_by_framing(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, bool) {
    let (mut framer, mut rest, mut rows) = (Framer::default(), bytes, Vec::new());
    loop {
        match framer.next(rest, true) {
            Step::Blank { bytes } => rest = &rest[bytes..],
            Step::Record(record) => {
                rows.push(framer.fields(rest).iter().map(<[u8]>::to_vec).collect());
                rest = &rest[record.bytes..];
            }
            Step::Refused { .. } => return (rows, false),
            Step::End => return (rows, true),
            Step::More => panic!("the data had ended"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_bytes_are_orders_or_dead_letters(bytes in vec(any::<u8>(), 0..400), with_header in any::<bool>()) {
        let header = if with_header { HEADER } else { "" };
        let bytes = [header.as_bytes(), &bytes].concat();
        if let Ok(mut source) = CsvOrders::new(&*bytes, "a.csv", 0) {
            drain(&mut source, &[7]);
        }
    }

    #[test]
    fn every_line_without_quotes_is_one_row(bytes in near_csv(false)) {
        let all = read(&[HEADER.as_bytes(), &bytes].concat());
        let filled = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !matches!(line, [] | [b'\r']));
        let lines: Vec<u64> = filled.map(|(at, _)| at as u64 + 2).collect();
        prop_assert_eq!(all.orders.len() + all.letters.len(), lines.len());
        // Numbers count the rows, lines the lines.
        let mut rows: Vec<u64> = all.orders.iter().map(|order| order.seq).collect();
        for letter in &all.letters {
            rows.push(lines.iter().position(|line| *line == letter.line).unwrap() as u64 + 1);
        }
        rows.sort_unstable();
        prop_assert_eq!(rows, (1..=lines.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn pieces_and_batches_change_nothing(
        bytes in near_csv(true),
        lengths in vec(1_usize..90, 1..6),
        batches in vec(1_usize..9, 1..4),
    ) {
        let bytes = [HEADER.as_bytes(), &bytes].concat();
        let whole = read(&bytes);
        let pieces = Pieces { bytes: &bytes, lengths: &lengths, next: 0 };
        let mut source = CsvOrders::new(pieces, "a.csv", 0).unwrap();
        prop_assert_eq!(drain(&mut source, &batches), whole);
    }

    #[test]
    fn framing_agrees_with_csv_core(bytes in near_csv(false)) {
        // Line ends are made LF, which is what csv-core is set to; CRLF is tested elsewhere.
        let text: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\r').collect();
        let (found, closed) = rows_by_framing(&text);
        let expected = rows_by_csv_core(&text);
        if closed {
            prop_assert_eq!(found, expected);
        } else {
            prop_assert_eq!(found.len() + 1, expected.len(), "the last row is the one that is not closed");
            prop_assert_eq!(&found[..], &expected[..found.len()]);
        }
    }

    #[test]
    fn quoting_every_field_and_crlf_change_nothing(bytes in near_csv(false)) {
        let text: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\r').collect();
        let plain = rows_by_framing(&text);
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let quoted: Vec<u8> = lines
            .flat_map(|line| [&b"\""[..], &line.split(|byte| *byte == b',').collect::<Vec<_>>().join(&b"\",\""[..]), b"\"\r\n"].concat())
            .collect();
        prop_assert_eq!(rows_by_framing(&quoted), plain);
    }

    #[test]
    fn written_orders_are_read_back(
        rows in vec(
            (
                (any::<i64>(), "[^\\x00\r\n]{1,12}", 1_u8..5, "[ -~]{1,20}", any::<bool>(), "[a-z\",]{0,12}", -i64::MAX.., 0_i64..),
                ("[ -~]{0,9}", "[a-z\",]{0,9}", proptest::option::of(0_i64..), 0_u32..1 << Flags::words().len()),
            ),
            0..20,
        ),
        with_details in any::<bool>(),
        quote_all in any::<bool>(),
    ) {
        let field = |text: &str| match text {
            _ if quote_all || text.contains(['"', ',', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
            _ => text.to_owned(),
        };
        let mut text = HEADER.to_owned();
        if with_details {
            text = text.replace('\n', ",account,exec_id,display_quantity,flags\n");
        }
        let mut expected = Vec::new();
        for (at, (row, details)) in rows.into_iter().enumerate() {
            let (time, sym, event, trader, buy, order_id, price, quantity) = row;
            let (account, exec_id, display, flags) = if with_details { details } else { Default::default() };
            let order = tapewatch_model::Order {
                seq: at as u64 + 1,
                time: Time::from_nanos(time),
                sym,
                event_type: EventType::from_number(event).unwrap(),
                trader,
                side: if buy { Side::Buy } else { Side::Sell },
                order_id,
                price: Price::from_units(price),
                quantity: Quantity::from_units(quantity).unwrap(),
                account,
                exec_id,
                display: display.map(|units| Quantity::from_units(units).unwrap()),
                flags: Flags::from_bits(flags).unwrap(),
            };
            let mut fields = vec![
                order.time.to_string(), order.sym.clone(), order.event_type.to_string(), order.trader.clone(),
                order.side.to_string(), order.order_id.clone(), order.price.to_string(), order.quantity.to_string(),
            ];
            if with_details {
                let display = order.display.map(|display| display.to_string());
                fields.extend([order.account.clone(), order.exec_id.clone(), display.unwrap_or_default(), order.flags.to_string()]);
            }
            let fields: Vec<_> = fields.iter().map(|value| field(value)).collect();
            text.push_str(&fields.join(","));
            text.push('\n');
            expected.push(order);
        }
        prop_assert_eq!(read(text.as_bytes()), All { orders: expected, letters: vec![] });
    }
}
