//! Front running: a broker buys for himself before he sends a client's large buy order, and sells into what
//! it does to the price.
//!
//! Invariant: the broker's trade comes before the client's first fill, and is closed after it.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away, gain};

pub(crate) const CAST: Cast = Cast::Broker;
pub(crate) const WHEN: When = When::Any(10 * MINUTE);

/// What the detector's defaults ask for: how many times a typical order the client's is; how long before
/// it the broker may trade.
const TIMES: i64 = 10;
const BEFORE: i64 = 60 * SECOND;
/// A typical order of the broker and his clients, in lots.
const TYPICAL: i64 = 20;
/// The broker's own account and the client's, by their places.
const HOUSE: usize = 0;
const CLIENT: usize = 1;

pub(crate) async fn play(desk: Desk) {
    let (from, side) = (desk.now(), desk.side());
    let client_lots = TYPICAL * desk.over(TIMES);
    let lots = (client_lots * desk.between(10, 30) / 100).max(5);
    let ahead = desk.trade(HOUSE, side, lots, desk.under(BEFORE) / 2).await;
    let own = desk.filled(&ahead);
    if own == 0 {
        return;
    }
    desk.wait(desk.between(200 * MILLI, desk.under(BEFORE) / 4))
        .await;
    // The client's order: all at once, or waiting for those who come.
    let view = desk.view();
    let takes = desk.chance(70);
    let price = if takes {
        away(side, view.price(side.opposite()), -desk.between(3, 8))
    } else {
        away(side, view.price(side.opposite()), -desk.between(0, 1))
    };
    let client = desk.send(Ticket::rest(side, client_lots, price).of(CLIENT));
    desk.fill(&[client], MINUTE).await;
    desk.wait(desk.between(SECOND, 20 * SECOND)).await;
    let gains = |desk: &Desk| {
        let cost = desk.paid(&ahead);
        gain(side, cost, desk.view().price(side) * own) > 0
    };
    desk.till(desk.between(10 * SECOND, 2 * MINUTE), SECOND / 2, gains)
        .await;
    let out = desk.trade(HOUSE, side.opposite(), own, MINUTE).await;
    desk.wait(SECOND).await;
    desk.cancel(&[client]);
    desk.settled(&[client], SECOND).await;
    let (filled, closed) = (desk.filled(&[client]), desk.filled(&out));
    let profit = gain(side, desk.paid(&ahead) * closed, desk.paid(&out) * own) / own;
    let orders = [ahead, vec![client], out].concat();
    let how = format!(
        "side={side} ahead={own} client={client_lots} closed={closed} profit_ticks_lots={profit}"
    );
    desk.label(filled > 0 && closed > 0, from, &orders, &how);
}
