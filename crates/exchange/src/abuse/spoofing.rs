//! Spoofing: large orders on one side, cancelled one after another, that make a small order on the other
//! side trade better.
//!
//! Invariant: the large orders stay away from the best price and are cancelled before they trade, as
//! far as the market lets them.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(MINUTE);

/// What the detector counts: quantity and number of cancels in its lookback.
const QUANTITY: i64 = 4_000;
const COUNT: i64 = 4;
const WITHIN: i64 = 20 * SECOND;

pub(crate) async fn play(desk: Desk) {
    let from = desk.now();
    let (side, total) = (desk.side(), desk.over(QUANTITY));
    let count = desk.over(COUNT).clamp(COUNT, 12);
    let genuine = desk.send(Ticket::rest(
        side.opposite(),
        desk.size(5),
        desk.view().price(side.opposite()),
    ));
    let (mut orders, mut left) = (vec![genuine], total);
    let mut live = Vec::new();
    for number in 0..count {
        let lots = if number + 1 == count {
            left
        } else {
            (total / count) * desk.between(70, 130) / 100
        };
        left -= lots;
        let away = desk.between(2, 6);
        let ticks = desk.view().price(side)
            + if side == tapewatch_model::Side::Buy {
                -away
            } else {
                away
            };
        let large = desk.send(Ticket::rest(side, lots, ticks));
        orders.push(large);
        live.push(large);
        let pause = WITHIN / count;
        desk.till(desk.between(pause / 3, pause), 300 * MILLI, |desk| {
            desk.filled(&[large]) > 0
        })
        .await;
        // Sometimes the next one comes before this one goes.
        if number + 1 == count || desk.chance(60) {
            desk.cancel(&live);
            live.clear();
            desk.wait(desk.between(5 * MILLI, 200 * MILLI)).await;
        }
    }
    desk.cancel(&orders);
    desk.settled(&orders, 5 * SECOND).await;
    let (sent, filled) = (total, desk.filled(orders.get(1..).unwrap_or_default()));
    if filled * 2 < sent {
        let bait = desk.filled(&[genuine]);
        desk.label(
            from,
            &orders,
            format!("side={side} count={count} lots={sent} filled={filled} genuine_filled={bait}"),
        );
    }
}
