//! The auction's rule, one part of it an example; the rule stands in src/auction.rs.
#![allow(clippy::unwrap_used)]

mod support;

use support::price;
use support::story::{Story, buy, iceberg, ioc, market, sell};
use tapewatch_exchange::{NewOrder, Phase};
use tapewatch_model::Decimal;

fn call(reference: Option<i64>, orders: &[NewOrder]) -> Story {
    Story::of(Phase::OpeningCall, reference, orders)
}

/// Price, volume and surplus of what the auction would come to.
fn indicative(story: &Story) -> Option<(String, String, String)> {
    let clearing = story.market().indicative()?;
    Some((
        clearing.price.to_string(),
        clearing.volume.to_string(),
        clearing.surplus.to_string(),
    ))
}

fn three(price: &str, volume: &str, surplus: &str) -> Option<(String, String, String)> {
    Some((price.to_owned(), volume.to_owned(), surplus.to_owned()))
}

#[test]
fn the_price_is_that_at_which_most_trades() {
    let orders = [
        buy(1, 100, 103),
        buy(2, 200, 101),
        sell(3, 50, 99),
        sell(4, 150, 101),
        sell(5, 100, 102),
    ];
    let mut story = call(Some(99), &orders);
    // At 1.01 200 trade, at 1.02 and 1.03 100, at 0.99 50.
    assert_eq!(indicative(&story), three("1.01", "200", "100"));
    assert_eq!(
        story.begin(Phase::Continuous),
        [
            "auction of 200 at 1.01",
            "1 and 3 trade 50 at 1.01",
            "1 and 4 trade 50 at 1.01",
            "2 and 4 trade 100 at 1.01",
            "Continuous",
        ]
    );
    assert_eq!(story.market().reference(), Some(price(101)));
}

#[test]
fn of_equal_volumes_the_least_surplus() {
    // 100 trade at each price; at 1.01 50 buyers are left over, at 1.02 none.
    let story = call(
        Some(101),
        &[buy(1, 100, 102), buy(2, 50, 101), sell(3, 100, 101)],
    );
    assert_eq!(indicative(&story), three("1.02", "100", "0"));
}

#[test]
fn of_equal_surpluses_the_closest_to_the_reference_price() {
    for (reference, chosen) in [(90, "0.99"), (100, "1"), (101, "1.01"), (110, "1.02")] {
        let story = call(Some(reference), &[buy(1, 100, 102), sell(2, 100, 99)]);
        assert_eq!(indicative(&story), three(chosen, "100", "0"), "{reference}");
    }
}

#[test]
fn without_a_reference_price_the_side_left_over_decides() {
    let story = call(None, &[buy(1, 150, 102), sell(2, 100, 99)]);
    assert_eq!(indicative(&story), three("1.02", "100", "50"));
    let story = call(None, &[buy(1, 100, 102), sell(2, 150, 99)]);
    assert_eq!(indicative(&story), three("0.99", "100", "-50"));
    let story = call(None, &[buy(1, 100, 102), sell(2, 100, 99)]);
    assert_eq!(indicative(&story), three("0.99", "100", "0"));
}

#[test]
fn orders_at_any_price_trade_first_and_do_not_outlive_the_auction() {
    let mut story = call(
        Some(100),
        &[buy(1, 10, 105), market(buy(2, 30, 0)), sell(3, 25, 101)],
    );
    assert_eq!(
        story.begin(Phase::Continuous),
        [
            "auction of 25 at 1.01",
            "2 and 3 trade 25 at 1.01",
            "2 cancelled with 5: AuctionOver",
            "Continuous",
        ]
    );
}

#[test]
fn orders_at_any_price_alone_trade_at_the_reference_price() {
    let orders = [market(buy(1, 10, 0)), market(sell(2, 10, 0))];
    assert_eq!(indicative(&call(Some(100), &orders)), three("1", "10", "0"));
    let mut story = call(None, &orders);
    assert_eq!(
        story.begin(Phase::Closed),
        [
            "1 cancelled with 10: AuctionOver",
            "2 cancelled with 10: AuctionOver",
            "Closed"
        ]
    );
}

#[test]
fn an_iceberg_trades_whole_and_keeps_its_place() {
    let orders = [
        iceberg(sell(1, 100, 100), 10),
        sell(2, 50, 100),
        buy(3, 60, 100),
        buy(4, 35, 100),
    ];
    let mut story = call(None, &orders);
    assert_eq!(
        story.begin(Phase::Continuous),
        [
            "auction of 95 at 1",
            "3 and 1 trade 60 at 1",
            "4 and 1 trade 35 at 1",
            "Continuous",
        ]
    );
    assert_eq!(
        story.new_order(ioc(buy(9, 6, 100))),
        ["9 accepted", "9 buys 5 at 1 from 1", "9 buys 1 at 1 from 2"]
    );
}

#[test]
fn a_call_collects_and_the_closing_auction_ends_the_day() {
    let mut story = Story::trading(&[buy(1, 10, 100), sell(2, 10, 101)]);
    assert_eq!(story.begin(Phase::ClosingCall), ["ClosingCall"]);
    assert_eq!(
        story.new_order(ioc(buy(3, 5, 101))),
        ["3 refused: CallPhase"]
    );
    assert_eq!(
        story.new_order(buy(4, 15, 101)),
        ["4 accepted", "4 rests 15 at 1.01"]
    );
    assert!(story.market().book().is_crossed());
    assert_eq!(
        story.begin(Phase::Closed),
        [
            "auction of 10 at 1.01",
            "4 and 2 trade 10 at 1.01",
            "4 cancelled with 5: Expired",
            "1 cancelled with 10: Expired",
            "Closed",
        ]
    );
    assert_eq!(story.begin(Phase::Closed), Vec::<String>::new());
}

#[test]
fn where_nothing_crosses_nothing_trades() {
    let mut story = call(Some(100), &[buy(1, 10, 99), sell(2, 10, 100)]);
    assert_eq!(
        story.market().indicative().map(|c| c.volume),
        None::<Decimal>
    );
    assert_eq!(story.begin(Phase::Continuous), ["Continuous"]);
}
