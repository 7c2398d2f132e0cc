//! `order_history` and `book`.

use std::collections::BTreeMap;

use tapewatch_exchange::{Scenario, Simulation, Tape};
use tapewatch_model::{Date, EventType, Flags, Price, Quantity, Side, Time, TimeSpan};
use tapewatch_store::Store;

use crate::common::{batch, lines, open, order};
use crate::{SECOND, START, event, failure, store_of};

#[tokio::test]
async fn an_order_tells_its_life() {
    use EventType::{Amended, Cancelled, Filled, New};
    let dir = tempfile::tempdir().unwrap();
    let of =
        |seq, kind, id, pieces| event(seq, seq as i64 * SECOND, kind, Side::Buy, id, 10, pieces);
    let mut elsewhere = of(4, New, "A", 7);
    elsewhere.sym = "XYZ".to_owned();
    let mut tomorrow = of(12, Filled, "A", 5);
    tomorrow.time = tapewatch_model::Time::from_nanos(START + 86_400 * SECOND);
    let rows = [
        of(1, New, "A", 100),
        of(2, New, "B", 50),
        of(3, Filled, "A", 30),
        elsewhere,
        of(5, Amended, "A", 40),
        of(6, Filled, "A", 15),
        of(7, Cancelled, "A", 25),
        of(8, Filled, "B", 50),
        of(9, Filled, "C", 5),
        of(10, New, "it's", 5),
        tomorrow,
    ];
    let store = store_of(dir.path(), &rows).await;
    for _ in 0..2 {
        let life = "SELECT seq, open_quantity AS o, filled_quantity AS f, state FROM order_history";
        assert_eq!(
            lines(
                &store,
                &format!("{life}('A', '2024-01-05') WHERE sym = 'ABC'")
            )
            .await,
            "seq,o,f,state\n1,100,0,new\n3,70,30,partially_filled\n5,40,30,partially_filled\n\
             6,25,45,partially_filled\n7,0,45,cancelled\n"
        );
        for (call, expected) in [
            ("('B')", "2,50,0,new\n8,0,50,filled\n"),
            ("('C')", "9,,5,\n"),
            ("('it''s')", "10,5,0,new\n"),
            ("('nobody')", ""),
            ("('A', DATE '2024-01-06')", "12,,5,\n"),
            ("('A', '2024-01-06', '2024-01-09')", "12,,5,\n"),
            (
                "('A', '2024-01-05', '2024-01-06') h WHERE h.seq > 6",
                "7,0,45,cancelled\n12,0,50,cancelled\n",
            ),
            (
                "((SELECT max(order_id) FROM orders WHERE order_id < 'C'))",
                "2,50,0,new\n8,0,50,filled\n",
            ),
        ] {
            let found = lines(&store, &format!("{life}{call}")).await;
            assert_eq!(found, format!("seq,o,f,state\n{expected}"), "{call}");
        }
        store.end_of_day(100).await.unwrap();
    }
    for (call, part) in [
        ("()", "order_history takes"),
        ("('A', 1, 2, 3)", "order_history takes"),
        ("('A', 'yesterday')", "yesterday"),
        ("(foo)", "there is no column foo"),
    ] {
        let message = failure(&store, &format!("SELECT * FROM order_history{call}")).await;
        assert!(message.contains(part), "{call}: {message}");
    }
}

#[tokio::test]
async fn only_the_day_and_the_instrument_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for day in 0..3 {
        let rows: Vec<_> = (1..=50).map(|n| order(day * 50 + n, day as i64)).collect();
        store.append_orders(batch(&rows));
        store.end_of_day(day * 50 + 50).await.unwrap();
    }
    for sql in [
        "SELECT * FROM order_history('OID00000060', '2024-01-06') WHERE sym = 'SYM4'",
        "SELECT * FROM book('SYM4', '2024-01-06T12:00:00')",
    ] {
        let plan = lines(&store, &format!("EXPLAIN FORMAT INDENT {sql}")).await;
        assert!(plan.contains("date=2024-01-06"), "{plan}");
        assert!(
            !plan.contains("date=2024-01-05") && !plan.contains("date=2024-01-07"),
            "{plan}"
        );
        let by_codes = plan.contains("tests=[Texts(Sym, [") && plan.contains("SYM4");
        let by_engine = plan.contains("= SYM4") && plan.contains("predicate=");
        assert!(by_codes || by_engine, "{plan}");
    }
}

#[tokio::test]
async fn the_book_is_as_it_was() {
    use EventType::{Amended, Cancelled, Filled, New};
    use Side::{Buy, Sell};
    let dir = tempfile::tempdir().unwrap();
    let of = |seq, kind, side, id, price, pieces| {
        event(seq, seq as i64 * SECOND, kind, side, id, price, pieces)
    };
    let mut market = of(8, New, Buy, "M", 0, 500);
    market.flags = Flags::MARKET;
    let mut iceberg = of(10, New, Sell, "I", 12, 100);
    iceberg.display = Some(Quantity::from_whole(10).unwrap());
    let mut other = of(11, New, Buy, "X", 99, 1);
    other.sym = "XYZ".to_owned();
    let rows = [
        of(1, New, Buy, "A", 9, 100),
        of(2, New, Buy, "B", 10, 20),
        of(3, New, Buy, "C", 10, 30),
        of(4, New, Sell, "D", 11, 40),
        of(5, Filled, Buy, "B", 10, 20),
        of(6, Amended, Buy, "C", 10, 25),
        of(7, Cancelled, Buy, "A", 9, 100),
        market,
        of(9, Amended, Buy, "nobody", 10, 25),
        iceberg,
        other,
        of(12, Filled, Sell, "I", 12, 4),
        of(13, Filled, Sell, "I", 12, 6),
        of(14, Filled, Sell, "D", 11, 39),
    ];
    let store = store_of(dir.path(), &rows).await;
    for _ in 0..2 {
        for (arguments, expected) in [
            ("'2024-01-05T00:00:00.9'", ""),
            (
                "'2024-01-05T00:00:04'",
                "B,1,10,50,2\nB,2,9,100,1\nS,1,11,40,1\n",
            ),
            ("'2024-01-05T00:00:04', 1", "B,1,10,50,2\nS,1,11,40,1\n"),
            (
                "TIMESTAMP '2024-01-05T00:00:07'",
                "B,1,10,25,1\nS,1,11,40,1\n",
            ),
            (
                "'2024-01-05 00:00:10'",
                "B,1,10,25,1\nS,1,11,40,1\nS,2,12,10,1\n",
            ),
            (
                "'2024-01-05T00:00:12Z'",
                "B,1,10,25,1\nS,1,11,40,1\nS,2,12,6,1\n",
            ),
            (
                "'2024-01-05T01:00:14+01:00'",
                "B,1,10,25,1\nS,1,11,1,1\nS,2,12,10,1\n",
            ),
            ("'2024-01-06'", ""),
            (
                "'2024-01-06', 9, '2024-01-05'",
                "B,1,10,25,1\nS,1,11,1,1\nS,2,12,10,1\n",
            ),
            (
                "'2024-01-05T23:00', NULL, '2024-01-05T00:00:08'",
                "S,1,12,10,1\n",
            ),
        ] {
            let found = lines(&store, &format!("SELECT * FROM book('ABC', {arguments})")).await;
            let expected = format!("side,level,price,quantity,orders\n{expected}");
            assert_eq!(found, expected, "{arguments}");
        }
        let quotes = "SELECT seq, sym, bid, bid_quantity, ask, ask_quantity FROM quotes";
        let (abc, xyz) = (
            "1,ABC,9,100,,\n2,ABC,10,20,,\n3,ABC,10,50,,\n4,ABC,10,50,11,40\n5,ABC,10,30,11,40\n\
             6,ABC,10,25,11,40\n14,ABC,10,25,11,1\n",
            "11,XYZ,99,1,,\n",
        );
        for (wanted, expected) in [
            ("ORDER BY sym, seq", format!("{abc}{xyz}")),
            ("WHERE sym = 'XYZ'", xyz.to_owned()),
            (
                "WHERE sym = 'ABC' AND date = '2024-01-05' ORDER BY seq",
                abc.to_owned(),
            ),
            (
                "WHERE time > '2024-01-05T00:00:05' AND bid > 10 OR seq = 14 ORDER BY seq",
                format!("{xyz}14,ABC,10,25,11,1\n"),
            ),
            ("WHERE time < '2024-01-05'", String::new()),
            ("WHERE TIMESTAMP '2024-01-06' <= time", String::new()),
        ] {
            let found = lines(&store, &format!("{quotes} {wanted}")).await;
            let expected = format!("seq,sym,bid,bid_quantity,ask,ask_quantity\n{expected}");
            assert_eq!(found, expected, "{wanted}");
        }
        // The prices that were there when something was traded.
        let found = lines(
            &store,
            "SELECT seq, bid, ask FROM asof_join('executions', 'quotes', 'sym', 'time') ORDER BY seq",
        );
        assert_eq!(
            found.await,
            "seq,bid,ask\n5,10,11\n12,10,11\n13,10,11\n14,10,11\n"
        );
        store.end_of_day(100).await.unwrap();
    }
    let best = "SELECT max(price) FILTER (WHERE side = 'B') AS bid, min(price) FILTER (WHERE side = 'S') \
                AS ask, count(*) AS n FROM book('ABC', '2024-01-05T00:00:04')";
    assert_eq!(lines(&store, best).await, "bid,ask,n\n10,11,3\n");
    for (call, part) in [
        ("()", "book takes"),
        ("('ABC')", "book takes"),
        ("('ABC', 'noon')", "book takes"),
        ("('ABC', '2024-01-05', 0)", "no number of levels"),
        ("('ABC', '2024-01-05', -1)", "no number of levels"),
        ("('ABC', '2024-01-05', 1, '2024-01-06')", "is after"),
        ("('ABC', '294000-01-01T00:00:00')", "book takes"),
    ] {
        let message = failure(&store, &format!("SELECT * FROM book{call}")).await;
        assert!(message.contains(part), "{call}: {message}");
    }
    assert_eq!(Date::parse(b"2024-01-05").unwrap().start().nanos(), START);
}

/// The book of the market that matched, and the one that is rebuilt from what it told.
#[tokio::test]
async fn the_book_is_that_of_the_market() {
    let scenario = Scenario {
        seed: 5,
        trading: TimeSpan::from_secs(1_800),
        ..Scenario::default()
    };
    let mut simulation = Simulation::new(scenario).unwrap();
    let mut tape = Tape::new(simulation.accounts().clone());
    let (mut events, mut books) = (Vec::new(), BTreeMap::new());
    let mut hidden = 0;
    while let Some(time) = simulation.next(&mut events) {
        if events.is_empty() {
            continue;
        }
        for event in events.drain(..) {
            tape.push(time, &event).unwrap();
        }
        let market = simulation.exchange().markets().next().unwrap();
        let book = market.book();
        let mut text = String::new();
        for side in [Side::Buy, Side::Sell] {
            for (level, number) in book.levels(side).zip(1..=20) {
                let price = level.price.to_string();
                let (quantity, orders) = (level.quantity, level.orders);
                text += &format!("{},{number},{price},{quantity},{orders}\n", side.name());
            }
        }
        books.insert(time, text);
    }
    let mut rows = tape.take();
    let numbers = (1..=rows.len() as u64).collect();
    assert!(rows.number_with(numbers));
    for (_, row) in rows.rows() {
        hidden += usize::from(row.details.display.is_some());
    }
    assert!(rows.len() > 5_000 && hidden > 10, "{} {hidden}", rows.len());
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.append_orders(rows);
    let step = books.len() / 24;
    for (time, book) in books.iter().skip(3).step_by(step) {
        let sql = format!("SELECT * FROM book('SIM0', '{time}', 20)");
        let found = lines(&store, &sql).await;
        assert_eq!(
            found,
            format!("side,level,price,quantity,orders\n{book}"),
            "{time}"
        );
    }
    quotes_are_the_best(&store, &books).await;
}

/// The last quote at each of these times is the best of the book then, unless that is crossed.
async fn quotes_are_the_best(store: &Store, books: &BTreeMap<Time, String>) {
    let quotes = "SELECT time, bid, bid_quantity, ask, ask_quantity FROM quotes WHERE sym = 'SIM0' ORDER BY seq";
    let quotes = lines(store, quotes).await;
    let mut quotes = quotes.lines().skip(1).map(|line| {
        let (time, best) = line.split_once(',').unwrap();
        (Time::parse(time.as_bytes()).unwrap(), best)
    });
    let (mut next, mut now, mut count, mut crossed) = (quotes.next(), ",,,", 0, 0);
    for (time, book) in books {
        while let Some((_, best)) = next.filter(|(at, _)| at <= time) {
            assert_ne!(best, now, "{time}");
            (next, now, count) = (quotes.next(), best, count + 1);
        }
        let best = |side: &str| {
            let level = book
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{side},1,")));
            let (price, rest) = level?.split_once(',')?;
            Some(format!("{price},{}", rest.split_once(',')?.0))
        };
        let nothing = || ",".to_owned();
        let expected = [best("B"), best("S")].map(|best| best.unwrap_or_else(nothing));
        let [bid, ask] = expected.each_ref().map(|best| {
            let price = best.split(',').next().unwrap_or_default();
            Price::parse(price.as_bytes()).ok()
        });
        // In an auction both sides wait at prices that would trade.
        if bid.zip(ask).is_some_and(|(bid, ask)| bid >= ask) {
            crossed += 1;
        } else {
            assert_eq!(now, expected.join(","), "{time}");
        }
    }
    assert!(next.is_none() && count > 1_000, "{count}");
    assert!(crossed > 0 && crossed < books.len() / 10, "{crossed}");
}
