//! What each kind of order does, by example. An order's number is also its owner's, unless said.
#![allow(clippy::unwrap_used)]

mod support;

use support::story::{Story, buy, fok, iceberg, ioc, market, sell};
use support::{pieces, price, rules};
use tapewatch_exchange::{
    Command, Cross, EventKind, Exchange, Instrument, NewOrder, Phase, Refusal, Rules, SelfMatch,
};
use tapewatch_model::{OrderKey, Price, Quantity, Side};

#[test]
fn a_limit_order_takes_the_best_price_then_the_oldest_and_rests() {
    let mut story = Story::trading(&[sell(1, 10, 102), sell(2, 10, 101), sell(3, 10, 101)]);
    assert_eq!(
        story.new_order(buy(9, 35, 102)),
        [
            "9 accepted",
            "9 buys 10 at 1.01 from 2",
            "9 buys 10 at 1.01 from 3",
            "9 buys 10 at 1.02 from 1",
            "9 rests 5 at 1.02",
        ]
    );
}

#[test]
fn a_market_order_takes_any_price_and_never_rests() {
    let mut story = Story::trading(&[buy(1, 10, 100), buy(2, 10, 3)]);
    assert_eq!(
        story.new_order(market(sell(9, 30, 0))),
        [
            "9 accepted",
            "9 sells 10 at 1 to 1",
            "9 sells 10 at 0.03 to 2",
            "9 cancelled with 10: Unfilled",
        ]
    );
}

#[test]
fn immediate_or_cancel_takes_what_there_is() {
    let mut story = Story::trading(&[sell(1, 10, 100), sell(2, 10, 101)]);
    assert_eq!(
        story.new_order(ioc(buy(9, 15, 100))),
        [
            "9 accepted",
            "9 buys 10 at 1 from 1",
            "9 cancelled with 5: Unfilled"
        ]
    );
}

#[test]
fn fill_or_kill_takes_all_or_nothing() {
    let mut story = Story::trading(&[sell(1, 10, 100), iceberg(sell(2, 10, 101), 1)]);
    assert_eq!(
        story.new_order(fok(buy(8, 21, 101))),
        ["8 accepted", "8 cancelled with 21: FillOrKill"]
    );
    let told = story.new_order(fok(buy(9, 20, 101)));
    let bought = told.iter().filter(|told| told.starts_with("9 buys"));
    assert_eq!(bought.count(), 11, "hidden parts count");
}

#[test]
fn post_only_rests_or_is_refused() {
    let post_only = |new| NewOrder {
        post_only: true,
        ..new
    };
    let mut story = Story::trading(&[sell(1, 10, 101)]);
    assert_eq!(
        story.new_order(post_only(buy(8, 5, 101))),
        ["8 refused: WouldTrade"]
    );
    assert_eq!(
        story.new_order(post_only(buy(9, 5, 100))),
        ["9 accepted", "9 rests 5 at 1"]
    );
    assert_eq!(story.amend(9, 5, 101), ["9 refused: WouldTrade"]);
    assert_eq!(
        story.amend(9, 5, 99),
        ["9 amended to 5", "9 rests 5 at 0.99"]
    );
}

#[test]
fn an_iceberg_goes_to_the_back_with_each_part_that_it_shows() {
    let mut story = Story::trading(&[iceberg(sell(1, 25, 100), 10), sell(2, 10, 100)]);
    assert_eq!(
        story.new_order(buy(9, 32, 100)),
        [
            "9 accepted",
            "9 buys 10 at 1 from 1",
            "1 rests 10 at 1",
            "9 buys 10 at 1 from 2",
            "9 buys 10 at 1 from 1",
            "1 rests 5 at 1",
            "9 buys 2 at 1 from 1",
        ]
    );
    let rest = story.market().resting(OrderKey(1)).unwrap();
    assert_eq!(
        (rest.displayed, rest.leaves, rest.traded),
        (pieces(3), pieces(3), pieces(22))
    );
}

#[test]
fn an_iceberg_that_comes_in_trades_whole_and_shows_a_part_of_the_rest() {
    let mut story = Story::trading(&[sell(1, 30, 100)]);
    assert_eq!(
        story.new_order(iceberg(buy(9, 100, 100), 20)),
        ["9 accepted", "9 buys 30 at 1 from 1", "9 rests 20 at 1"]
    );
}

#[test]
fn less_keeps_the_place_and_comes_out_of_the_hidden_part_first() {
    let mut story = Story::trading(&[iceberg(sell(1, 25, 100), 10), sell(2, 10, 100)]);
    assert_eq!(story.amend(1, 12, 0), ["1 amended to 12 in its place"]);
    let shown = |story: &Story| story.market().resting(OrderKey(1)).unwrap().displayed;
    assert_eq!(shown(&story), pieces(10));
    assert_eq!(story.amend(1, 4, 100), ["1 amended to 4 in its place"]);
    assert_eq!(shown(&story), pieces(4));
    assert_eq!(
        story.new_order(ioc(buy(9, 5, 100))),
        ["9 accepted", "9 buys 4 at 1 from 1", "9 buys 1 at 1 from 2"]
    );
}

#[test]
fn more_or_another_price_comes_in_anew() {
    let mut story = Story::trading(&[sell(1, 10, 100), sell(2, 10, 100), buy(3, 10, 98)]);
    assert_eq!(
        story.amend(1, 11, 0),
        ["1 amended to 11", "1 rests 11 at 1"]
    );
    assert_eq!(
        story.amend(3, 15, 100),
        [
            "3 amended to 15",
            "3 buys 10 at 1 from 2",
            "3 buys 5 at 1 from 1"
        ]
    );
    // A quantity means all of the order, with the 5 that have traded.
    assert_eq!(story.amend(1, 5, 0), ["1 refused: Filled"]);
    assert_eq!(story.amend(1, 6, 0), ["1 amended to 1 in its place"]);
}

#[test]
fn self_match_prevention_does_what_the_incoming_order_says() {
    for (instruction, told) in [
        (SelfMatch::Allow, "9 buys 10 at 1 from 1"),
        (SelfMatch::CancelResting, "1 cancelled with 10: SelfMatch"),
        (SelfMatch::CancelIncoming, "9 cancelled with 15: SelfMatch"),
        (SelfMatch::CancelBoth, "1 cancelled with 10: SelfMatch"),
    ] {
        let mut story = Story::trading(&[sell(1, 10, 100), sell(2, 10, 100)]);
        let incoming = NewOrder {
            owner: 1,
            self_match: instruction,
            ..buy(9, 15, 100)
        };
        let events = story.new_order(incoming);
        assert_eq!(events.get(1).unwrap(), told);
        let last = match instruction {
            SelfMatch::Allow => "9 buys 5 at 1 from 2",
            SelfMatch::CancelResting => "9 buys 10 at 1 from 2",
            SelfMatch::CancelIncoming | SelfMatch::CancelBoth => "9 cancelled with 15: SelfMatch",
        };
        assert!(events.iter().any(|told| told == last), "{events:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let mut story = Story::trading(&[sell(1, 10, 101)]);
    let off_tick = NewOrder {
        order_type: tapewatch_exchange::OrderType::Limit(tapewatch_model::Price::from_units(1)),
        ..buy(9, 1, 0)
    };
    assert_eq!(story.new_order(off_tick), ["9 refused: Tick"]);
    assert_eq!(story.new_order(buy(9, 0, 100)), ["9 refused: Lot"]);
    assert_eq!(
        story.new_order(buy(1, 1, 100)),
        ["1 refused: DuplicateOrder"]
    );
    assert_eq!(
        story.new_order(iceberg(ioc(buy(9, 5, 100)), 1)),
        ["9 refused: NotResting"]
    );
    assert_eq!(
        story.new_order(iceberg(buy(9, 101, 100), 1)),
        ["9 refused: Display"]
    );
    assert_eq!(story.cancel(9), ["9 refused: UnknownOrder"]);
    assert_eq!(story.amend(9, 1, 0), ["9 refused: UnknownOrder"]);
    assert_eq!(
        story.begin(Phase::Closed),
        ["1 cancelled with 10: Expired", "Closed"]
    );
    assert_eq!(story.cancel(1), ["1 refused: Closed"]);
}

#[test]
fn a_market_holds_so_many_orders_and_no_more() {
    let mut exchange = Exchange::default();
    let instrument = exchange.list(rules(None, 1)).unwrap();
    let mut events = Vec::new();
    exchange.begin_all(Phase::Continuous, &mut events);
    for (new, reason) in [
        (sell(1, 10, 100), None),
        (sell(2, 10, 100), Some(Refusal::Full)),
        (ioc(buy(3, 10, 100)), None),
        (sell(4, 10, 100), None),
    ] {
        events.clear();
        exchange.submit(instrument, Command::New(new), &mut events);
        let refused = events.iter().find_map(|event| match event.kind {
            EventKind::Refused { reason, .. } => Some(reason),
            _ => None,
        });
        assert_eq!(refused, reason, "{new:?}");
    }
}

#[test]
fn markets_do_not_touch_each_other() {
    let mut exchange = Exchange::default();
    let one = exchange.list(rules(None, 10)).unwrap();
    let other = exchange.list(rules(None, 10)).unwrap();
    let mut events = Vec::new();
    exchange.begin_all(Phase::OpeningCall, &mut events);
    exchange.begin(one, Phase::Continuous, &mut events).unwrap();
    exchange.submit(one, Command::New(sell(1, 10, 100)), &mut events);
    exchange.submit(other, Command::New(buy(1, 10, 100)), &mut events);
    let best = |instrument, side| {
        let market = exchange.market(instrument).unwrap();
        market.book().best_price(side)
    };
    assert_eq!(best(one, Side::Sell), Some(price(100)));
    assert_eq!(best(one, Side::Buy), None);
    assert_eq!(best(other, Side::Buy), Some(price(100)));
    assert_eq!(exchange.market(other).unwrap().phase(), Phase::OpeningCall);

    events.clear();
    let nowhere = Instrument(7);
    exchange.submit(nowhere, Command::Cancel(OrderKey(1)), &mut events);
    let refused = EventKind::Refused {
        order: OrderKey(1),
        reason: Refusal::UnknownInstrument,
    };
    assert_eq!(events.first().unwrap().kind, refused);
    assert!(exchange.begin(nowhere, Phase::Closed, &mut events).is_err());
}

#[test]
fn a_cross_is_declared_at_the_best_prices_or_between_them() {
    let rules = Rules::new(
        Price::from_units(10_000_000),
        Quantity::from_whole(1).unwrap(),
        None,
        16,
    );
    let mut exchange = Exchange::default();
    let one = exchange.list(rules.unwrap()).unwrap();
    let mut events = Vec::new();
    let cross = |ticks: i64| {
        Command::Cross(Cross {
            buy: OrderKey(8),
            buyer: 1,
            sell: OrderKey(9),
            seller: 2,
            price: Price::from_units(ticks * 10_000_000),
            quantity: Quantity::from_whole(5).unwrap(),
        })
    };
    let mut last = |exchange: &mut Exchange, command| {
        exchange.submit(one, command, &mut events);
        events.last().unwrap().kind
    };
    let refused = |reason| EventKind::Refused {
        order: OrderKey(8),
        reason,
    };
    exchange
        .begin(one, Phase::OpeningCall, &mut Vec::new())
        .unwrap();
    assert_eq!(last(&mut exchange, cross(100)), refused(Refusal::CallPhase));
    exchange
        .begin(one, Phase::Continuous, &mut Vec::new())
        .unwrap();
    let limit = |order, side, ticks: i64| {
        let (quantity, price) = (
            Quantity::from_whole(5).unwrap(),
            Price::from_units(ticks * 10_000_000),
        );
        Command::New(NewOrder::limit(OrderKey(order), 3, side, quantity, price))
    };
    last(&mut exchange, limit(1, Side::Buy, 99));
    last(&mut exchange, limit(2, Side::Sell, 101));
    assert_eq!(last(&mut exchange, cross(98)), refused(Refusal::CrossPrice));
    assert_eq!(
        last(&mut exchange, cross(102)),
        refused(Refusal::CrossPrice)
    );
    for ticks in 99..=101 {
        assert!(matches!(
            last(&mut exchange, cross(ticks)),
            EventKind::Crossed(_)
        ));
    }
    assert_eq!(
        exchange.market(one).unwrap().book().len(),
        2,
        "no order has traded with it"
    );
}
