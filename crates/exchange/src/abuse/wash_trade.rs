//! Wash trades: one owner buys from himself, by one account or by several that are linked.
//!
//! Invariant: what is labelled traded within the desk.

use crate::script::{Cast, Desk, MILLI, MINUTE, Meeting, When};

pub(crate) const CAST: Cast = Cast::Linked;
pub(crate) const WHEN: When = When::Any(12 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let repeats = desk.over(2).clamp(1, 6);
    let accounts = if desk.chance(35) {
        1
    } else {
        desk.accounts() as i64
    };
    let (mut from, mut orders) = (desk.now(), Vec::new());
    for _ in 0..repeats {
        let waits = desk.between(0, accounts - 1);
        let lots = desk.size(12);
        let meeting = Meeting {
            waits: waits as usize,
            comes: ((waits + 1) % accounts) as usize,
            side: desk.side(),
            lots,
            // Sometimes only a part of it.
            taken: if desk.chance(70) {
                lots
            } else {
                lots * desk.between(40, 90) / 100
            },
            delay: desk.between(MILLI, 40 * MILLI),
        };
        let Some((began, met)) = desk.meet(meeting, 2 * MINUTE).await else {
            continue;
        };
        if desk.inside(&met) > 0 {
            from = if orders.is_empty() { began } else { from };
            orders.extend(met);
        }
        desk.wait(desk.between(500 * MILLI, MINUTE)).await;
    }
    let lots = desk.inside(&orders) / 2;
    let how = format!("accounts={accounts} times={} lots={lots}", orders.len() / 2);
    desk.label(lots > 0, from, &orders, &how);
}
