//! Round trips: what one sells the other he buys back from him, and nothing has changed but the volume.
//!
//! Invariant: the one whose trips they are ends where he began, nearly all of it with the other.

use crate::script::{Cast, Desk, MILLI, MINUTE, Meeting, SECOND, When};

pub(crate) const CAST: Cast = Cast::Pair;
pub(crate) const WHEN: When = When::Any(12 * MINUTE);

/// What the detector's defaults ask for in ten minutes: lots bought and lots sold.
const LOTS: i64 = 20;
const WITHIN: i64 = 9 * MINUTE;

pub(crate) async fn play(desk: Desk) {
    desk.wait(5 * SECOND).await;
    let (begun, wanted) = (desk.now(), desk.over(LOTS) + 4);
    let first = desk.side();
    let (mut trips, mut met) = (Vec::new(), Vec::new());
    // Lots that the other has of his.
    let mut out = 0;
    let (mut gone, mut back) = (0, 0);
    let mut from = begun;
    while desk.since(begun) < WITHIN && (gone < wanted || out > 0) {
        let returns = out > 0 && (gone >= wanted || desk.chance(50));
        let side = if returns { first.opposite() } else { first };
        let lots = if returns {
            out
        } else {
            desk.between(wanted / 2, wanted).max(4)
        };
        let own_waits = desk.chance(50);
        let meeting = Meeting {
            waits: usize::from(!own_waits),
            comes: usize::from(own_waits),
            side: if own_waits { side } else { side.opposite() },
            lots,
            taken: lots,
            delay: desk.between(260 * MILLI, 700 * MILLI),
        };
        let patience = WITHIN - desk.since(begun);
        let Some((began, orders)) = desk.meet(meeting, patience.max(1)).await else {
            break;
        };
        let [waited, came] = orders;
        let own = if own_waits { waited } else { came };
        let (traded, inside) = (desk.filled(&[own]), desk.inside(&[own]));
        if inside > 0 && met.is_empty() {
            from = began;
        }
        met.extend(orders);
        trips.push((traded, inside));
        if returns {
            (out, back) = (out - traded, back + traded);
        } else {
            (out, gone) = (out + traded, gone + traded);
        }
        desk.wait(desk.between(SECOND, 20 * SECOND)).await;
    }
    let inside: i64 = trips.iter().map(|(_, inside)| inside).sum();
    let gross = gone + back;
    let flat = gross > 0 && back > 0 && out.abs() * 20 <= gross;
    let how = format!(
        "trips={} gone={gone} back={back} inside={inside}",
        trips.len()
    );
    desk.label(flat && inside * 10 >= gross * 8, from, &met, &how);
}
