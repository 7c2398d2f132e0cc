//! Pinging: small orders that do not wait feel for what is there, then a large one follows.
//!
//! Invariant: what is labelled had a probe that traded, and the large order.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(MINUTE);

/// What the detector's defaults ask for: probes in five seconds, their size in hundredths of the best
/// level, and how many times their size the order is that follows within two.
const PROBES: i64 = 10;
const SHARE: i64 = 5;
const TIMES: i64 = 10;
const FOLLOWS_WITHIN: i64 = 2 * SECOND;

pub(crate) async fn play(desk: Desk) {
    let side = desk.side();
    // Against a thin level a probe would be a bite.
    let thick = |desk: &Desk| desk.view().best_of(side.opposite()) >= 60;
    desk.till(MINUTE / 2, 100 * MILLI, thick).await;
    let (from, count) = (desk.now(), desk.over(PROBES) + 1);
    let gap = 4 * SECOND / count;
    let mut probes = Vec::new();
    let mut largest = 1;
    for number in 0..count {
        let bearable = |desk: &Desk| desk.view().best_of(side.opposite()) >= 25;
        desk.till(gap, 10 * MILLI, bearable).await;
        let view = desk.view();
        let most = desk
            .under(view.best_of(side.opposite()) * SHARE / 100)
            .clamp(1, 8);
        let lots = desk.between((most / 2).max(1), most);
        largest = largest.max(lots);
        // The last two reach the other side; of the others some do.
        let reach = number + 2 >= count || desk.chance(30);
        let price = view.price(side.opposite());
        let price = if reach { price } else { away(side, price, 1) };
        probes.push(desk.send(Ticket::take(side, lots, price)));
        desk.wait(desk.between(gap / 3, gap)).await;
    }
    desk.settled(&probes, SECOND).await;
    desk.wait(desk.between(20 * MILLI, desk.under(FOLLOWS_WITHIN) / 2))
        .await;
    let lots = largest * desk.over(TIMES);
    let across = away(
        side,
        desk.view().price(side.opposite()),
        -desk.between(0, 2),
    );
    let rests = desk.chance(30);
    let ticket = Ticket {
        day: rests,
        ..Ticket::take(side, lots, across)
    };
    let follow = desk.send(ticket);
    desk.settled(&[follow], 2 * SECOND).await;
    desk.cancel(&[follow]);
    let hits = desk.traded(&probes);
    probes.push(follow);
    let how = format!("side={side} probes={count} hits={hits} follow={lots} rests={rests}");
    desk.label(hits > 0, from, &probes, &how);
}
