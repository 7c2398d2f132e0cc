//! An arbitrageur waits with two orders of which only one is to trade: when one does, the other goes. In two
//! instruments where there are two, else on the two sides of one.
//!
//! Invariant: both orders are alike in size.

use tapewatch_model::Side;

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(13 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let begun = desk.now();
    let (mut orders, mut done) = (Vec::new(), 0);
    let place = usize::from(desk.other_view().is_some());
    let times = desk.between(2, 6);
    while done < times && desk.since(begun) < 12 * MINUTE {
        let lots = desk.between(80, 300);
        let other = desk.other_view().unwrap_or_else(|| desk.view());
        let bid = Ticket::rest(Side::Buy, lots, desk.view().bid);
        let ask = Ticket {
            place,
            ..Ticket::rest(Side::Sell, lots, other.ask)
        };
        let legs = [desk.send(bid), desk.send(ask)];
        orders.extend(legs);
        let traded = desk.fill(&legs, desk.between(20 * SECOND, MINUTE)).await;
        desk.wait(desk.between(MILLI, 30 * MILLI)).await;
        desk.cancel(&legs);
        desk.settled(&legs, SECOND).await;
        done += i64::from(traded);
        let [bought, sold] = legs.map(|leg| desk.filled(&[leg]));
        // What is left open is closed in the market where it is.
        for (side, lots, place) in [(Side::Sell, bought, 0), (Side::Buy, sold, place)] {
            if lots > 0 {
                let view = desk
                    .other_view()
                    .filter(|_| place == 1)
                    .unwrap_or_else(|| desk.view());
                let price = away(side, view.price(side.opposite()), -2);
                let hedge = Ticket {
                    place,
                    ..Ticket::take(side, lots, price)
                };
                orders.push(desk.send(hedge));
            }
        }
        desk.wait(desk.between(2 * SECOND, 30 * SECOND)).await;
    }
    let how = format!("times={done} instruments={}", place + 1);
    desk.label(done > 0, begun, &orders, &how);
}
