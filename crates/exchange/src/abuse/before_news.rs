//! Trading before news: one who hardly trades builds a position on the side that gains, and closes it when
//! all know.
//!
//! Invariant: the position is there before the news, and what is labelled made a profit.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When, gain};

pub(crate) const CAST: Cast = Cast::Quietest;
pub(crate) const WHEN: When = When::BeforeNews(30 * MINUTE);

/// A usual position of one who hardly trades, in lots, and how many times it the detector's defaults
/// ask for.
const USUAL: i64 = 900;
const TIMES: i64 = 3;

pub(crate) async fn play(desk: Desk) {
    let Some((news, side)) = desk.news() else {
        return;
    };
    desk.wait(desk.between(5 * SECOND, 10 * MINUTE)).await;
    let (from, lots) = (desk.now(), desk.over(USUAL * TIMES));
    let until = |desk: &Desk| -desk.since(news);
    let pieces = desk.between(20, 40);
    let last = desk.between(MINUTE, 3 * MINUTE);
    let gap = (until(&desk) - last) / (pieces + 2);
    let mut bought = Vec::new();
    while desk.filled(&bought) < lots && until(&desk) > last {
        let view = desk.view();
        let clip = (lots - desk.filled(&bought)).min(lots / pieces + 1);
        let patient = desk.chance(40);
        let price = if patient {
            view.price(side)
        } else {
            view.price(side.opposite())
        };
        let order = desk.send(Ticket {
            day: patient,
            ..Ticket::take(side, clip, price)
        });
        bought.push(order);
        desk.wait(desk.between(gap / 3, gap)).await;
        desk.cancel(&[order]);
    }
    desk.settled(&bought, SECOND).await;
    let own = desk.filled(&bought);
    desk.until(news).await;
    desk.wait(desk.between(20 * SECOND, 6 * MINUTE)).await;
    let within = desk.left().clamp(SECOND, 8 * MINUTE);
    let sold = desk.trade(0, side.opposite(), own, within).await;
    let closed = desk.filled(&sold);
    let profit = gain(
        side,
        desk.paid(&bought) * closed,
        desk.paid(&sold) * own.max(1),
    ) / own.max(1);
    let orders = [bought, sold].concat();
    let how = format!("side={side} lots={own} closed={closed} profit_ticks_lots={profit}");
    desk.label(own * 2 >= lots && profit > 0, from, &orders, &how);
}
