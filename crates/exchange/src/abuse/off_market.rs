//! Off-market prices and fat fingers: a price far from the market, or a size that cannot be meant.
//!
//! Invariant: what is labelled reached the market; a price is labelled only where the order is that far
//! from the middle when it is sent.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(MINUTE);

/// What the detector's defaults ask for: a price so many basis points off, or so many standard deviations
/// of a minute; so many times the median size.
const BASIS_POINTS: i64 = 50;
const SIGMAS: i64 = 5;
const TIMES: i64 = 500;
/// The median size of an order, in lots.
const MEDIAN: i64 = 14;

pub(crate) async fn play(desk: Desk) {
    desk.till(MINUTE / 2, SECOND, |desk| desk.view().continuous)
        .await;
    let (from, side, view) = (desk.now(), desk.side(), desk.view());
    let price = view.price(side.opposite());
    let far = (view.last * BASIS_POINTS / 10_000).max(view.sigmas(SIGMAS, 60));
    let (kind, ticket) = match desk.between(0, 2) {
        // Through the whole book.
        0 => (
            "price_through",
            Ticket::take(side, desk.size(40), away(side, price, -desk.over(far) - 2)),
        ),
        // Through it with enough to sweep it.
        1 => {
            let lots = view.depth_of(side.opposite()) + desk.size(300);
            (
                "price_sweep",
                Ticket::take(side, lots, away(side, price, -desk.over(far) - 2)),
            )
        }
        _ => (
            "size",
            Ticket::rest(side, desk.over(TIMES * MEDIAN), away(side, price, -2)),
        ),
    };
    let order = desk.send(ticket);
    desk.settled(&[order], desk.between(500 * MILLI, 3 * SECOND))
        .await;
    desk.cancel(&[order]);
    desk.settled(&[order], SECOND).await;
    let (lots, filled) = (ticket.lots, desk.filled(&[order]));
    let how = format!("side={side} kind={kind} lots={lots} filled={filled} far={far}");
    desk.label(true, from, &[order], &how);
}
