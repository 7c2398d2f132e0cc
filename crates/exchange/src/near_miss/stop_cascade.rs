//! The price falls through the stop prices of many traders, whose sales let it fall further.
//!
//! Invariant: each of them sells once, when his stop price is reached; what rises may set off buyers
//! in the same way.

use tapewatch_model::Side;

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away, gain};

pub(crate) const CAST: Cast = Cast::Strangers(14);
pub(crate) const WHEN: When = When::Any(17 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let before = desk.view().last;
    let far = |desk: &Desk| (desk.view().last - before).abs() >= 3;
    if !desk.till(12 * MINUTE, SECOND, far).await {
        return;
    }
    let (from, last) = (desk.now(), desk.view().last);
    let side = if last < before { Side::Sell } else { Side::Buy };
    let traders = desk.accounts();
    let (mut orders, mut stop) = (Vec::new(), last);
    for who in 0..traders {
        let price = stop;
        let reached = |desk: &Desk| gain(side, price, desk.view().last) >= 0;
        if !desk.till(20 * SECOND, 20 * MILLI, reached).await {
            break;
        }
        desk.wait(desk.between(2 * MILLI, 150 * MILLI)).await;
        orders.push(desk.send(Ticket::market(side, desk.between(20, 90)).of(who)));
        // The next one's stop is there or a little further.
        stop = away(side, stop, -desk.between(0, 1));
    }
    desk.wait(SECOND).await;
    let traders = orders.len();
    let how = format!("side={side} traders={traders}");
    desk.label(traders >= 5, from, &orders, &how);
}
