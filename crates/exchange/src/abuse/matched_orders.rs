//! Matched orders: two who seem strangers enter opposite orders of one price and size at one moment, again
//! and again.
//!
//! Invariant: what is labelled met often enough within half an hour.

use crate::script::{Cast, Desk, MILLI, MINUTE, Meeting, When};

pub(crate) const CAST: Cast = Cast::Strangers(2);
pub(crate) const WHEN: When = When::Any(30 * MINUTE);

/// What the detector's defaults ask for: how often in half an hour, and how soon after each other.
const TIMES: i64 = 3;
const APART: i64 = 250 * MILLI;
const WITHIN: i64 = 28 * MINUTE;

pub(crate) async fn play(desk: Desk) {
    let (begun, times) = (desk.now(), desk.over(TIMES));
    let one_way = desk.chance(50).then(|| desk.side());
    let (mut orders, mut from, mut done) = (Vec::new(), begun, 0);
    while done < times && desk.since(begun) < WITHIN {
        let lots = desk.size(10).max(5);
        let first = desk.between(0, 1) as usize;
        let side = one_way.unwrap_or_else(|| desk.side());
        let meeting = Meeting {
            waits: first,
            comes: 1 - first,
            // One way: the first always buys, or always sells.
            side: if first == 0 { side } else { side.opposite() },
            lots,
            taken: lots
                + if lots >= 40 && desk.chance(50) {
                    lots / 25
                } else {
                    0
                },
            delay: desk.between(2 * MILLI, desk.under(APART).min(APART * 9 / 10)),
        };
        let patience = WITHIN - desk.since(begun);
        let Some((began, met)) = desk.meet(meeting, patience.max(1)).await else {
            break;
        };
        if desk.inside(&met) >= lots {
            from = if done == 0 { began } else { from };
            orders.extend(met);
            done += 1;
        }
        let gap = WITHIN / (times + 1);
        desk.wait(desk.between(gap / 3, gap)).await;
    }
    let carried_out = done >= times.min(TIMES) && done > 1;
    let how = format!("times={done} one_way={}", one_way.is_some());
    desk.label(carried_out, from, &orders, &how);
}
