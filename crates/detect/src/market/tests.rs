//! Rows in, the book and what they mean out.
#![allow(clippy::unwrap_used)]

use super::*;

fn row(kind: EventType, side: Side, price: i64, quantity: i64, id: &str) -> Incoming {
    Incoming {
        seq: 1,
        time: 1,
        kind,
        side,
        price,
        quantity,
        display: 0,
        flags: Flags::NONE,
        trader: 7,
        owner: 8,
        order: OrderName::of(id.as_bytes()),
        exec: 0,
    }
}

fn best(market: &Market) -> (i64, i64) {
    let best = |side| market.book().best_price(side).map_or(0, Price::units);
    (best(Side::Buy), best(Side::Sell))
}

#[test]
fn an_order_that_may_trade_at_once_stands_aside_until_it_is_clear() {
    let mut market = Market::default();
    market.take(&row(EventType::New, Side::Sell, 101, 5, "s"));
    market.take(&row(EventType::New, Side::Buy, 99, 5, "b"));
    assert_eq!((best(&market), market.mid2()), ((99, 101), Some(200)));
    market.take(&row(EventType::New, Side::Buy, 101, 8, "x"));
    assert_eq!(best(&market), (99, 101), "it has not rested");
    let seen = market.take(&Incoming {
        exec: 1,
        ..row(EventType::Filled, Side::Buy, 101, 5, "x")
    });
    assert_eq!((seen.aggressor, seen.trade), (Some(Side::Buy), None));
    let seen = market.take(&Incoming {
        exec: 1,
        ..row(EventType::Filled, Side::Sell, 101, 5, "s")
    });
    let trade = seen.trade.unwrap();
    assert_eq!(trade.buy.order.unwrap().leaves, 8);
    assert_eq!(trade.party(Side::Sell).order.unwrap().leaves, 5);
    assert_eq!(market.prints().between(0, 9).volume, 5, "once");
    market.take(&row(EventType::New, Side::Sell, 104, 1, "s2"));
    assert_eq!(best(&market), (101, 104), "the rest of it rests");
    assert_eq!(market.depth(Side::Buy, 1), 3);
}

#[test]
fn amendments_keep_or_lose_their_place_and_icebergs_show_their_next_part() {
    let mut market = Market::default();
    market.take(&Incoming {
        display: 10,
        ..row(EventType::New, Side::Buy, 99, 30, "ice")
    });
    market.take(&row(EventType::New, Side::Buy, 99, 4, "b"));
    assert_eq!(market.depth(Side::Buy, 5), 14);
    market.take(&row(EventType::Filled, Side::Buy, 99, 10, "ice"));
    let first = |market: &Market| market.book().first(Side::Buy).unwrap();
    assert_eq!(
        first(&market).quantity.units(),
        4,
        "the iceberg is behind it now"
    );
    assert_eq!(market.depth(Side::Buy, 5), 14);
    let seen = market.take(&row(EventType::Amended, Side::Buy, 99, 3, "b"));
    assert_eq!(seen.order.unwrap().leaves, 4);
    assert_eq!(first(&market).quantity.units(), 3, "less keeps its place");
    market.take(&row(EventType::Amended, Side::Buy, 99, 6, "b"));
    assert_eq!(first(&market).quantity.units(), 10, "more loses it");
    market.take(&row(EventType::Cancelled, Side::Buy, 99, 6, "b"));
    let seen = market.take(&row(EventType::Cancelled, Side::Buy, 99, 6, "b"));
    assert_eq!(seen.order, None, "it is gone");
    assert_eq!(market.depth(Side::Buy, 5), 10);
}

#[test]
fn what_does_not_rest_never_does_and_auctions_cross() {
    let mut market = Market::default();
    market.take(&Incoming {
        flags: Flags::IOC,
        ..row(EventType::New, Side::Buy, 99, 30, "ioc")
    });
    market.take(&row(EventType::New, Side::Sell, 101, 1, "s"));
    assert_eq!(best(&market), (0, 101));
    let call = |row: Incoming| Incoming {
        flags: Flags::AUCTION,
        ..row
    };
    market.take(&call(row(EventType::New, Side::Buy, 105, 1, "b")));
    assert_eq!((best(&market), market.mid2()), ((105, 101), None));
    assert!(!market.is_calm());
}

#[test]
fn a_saved_market_goes_on_as_it_was() {
    let mut market = Market::default();
    market.take(&Incoming {
        display: 10,
        ..row(EventType::New, Side::Buy, 99, 30, "ice")
    });
    market.take(&row(EventType::New, Side::Sell, 101, 5, "s"));
    market.take(&row(EventType::Filled, Side::Buy, 99, 4, "ice"));
    market.take(&Incoming {
        exec: 9,
        ..row(EventType::Filled, Side::Buy, 101, 5, "x")
    });
    let bytes = postcard::to_stdvec(&market.save()).unwrap();
    let mut loaded = Market::load(postcard::from_bytes(&bytes).unwrap());
    let next = Incoming {
        exec: 9,
        ..row(EventType::Filled, Side::Sell, 101, 5, "s")
    };
    assert_eq!(loaded.take(&next).trade, market.take(&next).trade);
    assert!(market.take(&next).trade.is_none());
    assert_eq!(loaded.depth(Side::Buy, 3), market.depth(Side::Buy, 3));
    assert_eq!(loaded.depth(Side::Buy, 3), 6);
}
