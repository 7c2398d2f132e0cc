//! Bait and switch: a large order on one side, a small one on the other; when the small one has traded
//! the large one goes.
//!
//! Invariant: what is labelled had a fill of the small order, then the end of nearly all of the large
//! one, of which hardly anything traded.

use tapewatch_model::{OrderKey, Side};

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(4 * MINUTE);

/// What the detector's defaults ask for: the bait's share of the five best levels in hundredths, how
/// many times the genuine quantity it is, and how soon it goes.
const SHARE: i64 = 20;
const TIMES: i64 = 5;
const GONE_WITHIN: i64 = 2 * SECOND;
/// How long the fill may take.
const FILL_WITHIN: i64 = 7 * SECOND;
/// What the trader may have in the market besides.
const BESIDES: i64 = 30;
const TRIES: usize = 5;

pub(crate) async fn play(desk: Desk) {
    lure(desk, 1, 2, 800 * MILLI).await;
}

/// Plays it with so many prices, and so many nanoseconds to place them in.
pub(super) async fn lure(desk: Desk, fewest: i64, most: i64, placing: i64) {
    let side = desk.side();
    for _ in 0..TRIES {
        if attempt(&desk, side, desk.between(fewest, most), placing).await {
            return;
        }
        desk.wait(desk.between(5 * SECOND, 25 * SECOND)).await;
    }
}

async fn attempt(desk: &Desk, side: Side, levels: i64, placing: i64) -> bool {
    let (from, view) = (desk.now(), desk.view());
    if !view.continuous || desk.left() < MINUTE {
        return false;
    }
    let lots = desk.between(8, 30);
    let share = desk.over(SHARE).min(75);
    let by_share = view.depth_of(side) * share / (100 - share);
    let bait = by_share.max((lots + BESIDES) * desk.over(TIMES));
    let price = view.price(side.opposite());
    let genuine = desk.send(Ticket::rest(side.opposite(), lots, price));
    let baits = place(desk, side, bait, levels, placing).await;
    let nearest = away(side, view.price(side), 0);
    let waits = desk.between(FILL_WITHIN / 2, FILL_WITHIN);
    let at_risk = |desk: &Desk| {
        let best = desk.view().price(side);
        desk.filled(&baits) > 0 || away(side, best, 0) == away(side, nearest, levels + 1)
    };
    let done = |desk: &Desk| desk.filled(&[genuine]) > 0 || at_risk(desk);
    desk.till(waits, 100 * MILLI, done).await;
    let mut orders = vec![genuine];
    if desk.filled(&orders) == 0 && !at_risk(desk) {
        // Nobody came: it takes what there is, which the bait has made no worse.
        desk.cancel(&[genuine]);
        let across = desk.view().price(side);
        orders.push(desk.send(Ticket::take(side.opposite(), lots, across)));
        desk.fill(&orders, SECOND).await;
    }
    desk.wait(desk.between(3 * MILLI, desk.under(GONE_WITHIN) * 8 / 10))
        .await;
    desk.cancel(&baits);
    desk.cancel(&orders);
    desk.settled(&baits, SECOND).await;
    let (traded, lost) = (desk.filled(&orders), desk.filled(&baits));
    let carried_out = traded > 0 && lost * 20 <= bait;
    let crossed = orders.len() > 1;
    orders.extend(baits);
    let how = format!(
        "side={side} levels={levels} bait={bait} share={share} genuine={lots} filled={traded} crossed={crossed}"
    );
    desk.label(carried_out, from, &orders, &how);
    carried_out
}

/// Places the bait behind the best price.
async fn place(desk: &Desk, side: Side, lots: i64, levels: i64, placing: i64) -> Vec<OrderKey> {
    let mut baits = Vec::new();
    let first = desk.between(1, 2);
    for level in 0..levels {
        let price = away(side, desk.view().price(side), first + level);
        baits.push(desk.send(Ticket::rest(side, lots / levels + 1, price)));
        desk.wait(desk.between(MILLI, placing / levels)).await;
    }
    baits
}
