//! A simulated session: the same for the same seed, and believable in the large.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tapewatch_exchange::{Event, EventKind, Instrument, Phase, Scenario, Simulation, Tape};
use tapewatch_model::{EventType, Side, Time, TimeSpan};

fn scenario(seed: u64, instruments: u32, minutes: i64) -> Scenario {
    Scenario {
        seed,
        start: Time::parse(b"2024-01-05T08:55:00Z").unwrap(),
        call: TimeSpan::from_secs(300),
        trading: TimeSpan::from_secs(minutes * 60),
        instruments,
        ..Scenario::default()
    }
}

/// All that happens, and how the first instrument's book is at each wake in continuous trading.
fn run(scenario: Scenario, mut look: impl FnMut(&Simulation)) -> Vec<(Time, Event)> {
    let mut simulation = Simulation::new(scenario).unwrap();
    let mut tape = Vec::new();
    let mut events = Vec::new();
    while let Some(time) = simulation.next(&mut events) {
        tape.extend(events.drain(..).map(|event| (time, event)));
        look(&simulation);
    }
    tape
}

fn count(tape: &[(Time, Event)], is: impl Fn(&EventKind) -> bool) -> usize {
    tape.iter().filter(|(_, event)| is(&event.kind)).count()
}

#[test]
fn the_same_seed_gives_the_same_tape() {
    let tape = run(scenario(7, 2, 10), |_| {});
    assert!(tape == run(scenario(7, 2, 10), |_| {}));
    assert!(tape != run(scenario(8, 2, 10), |_| {}));
    assert!(tape.is_sorted_by_key(|(time, _)| *time));
}

#[test]
fn instruments_do_not_depend_on_how_many_there_are() {
    let of_first = |instruments| {
        let mut tape = run(scenario(7, instruments, 10), |_| {});
        tape.retain(|(_, event)| event.instrument == Instrument(0));
        tape
    };
    assert!(of_first(1) == of_first(3));
}

#[test]
fn a_session_is_believable() {
    let (mut looks, mut spreads, mut depth) = (0_i64, 0, 0);
    let calm = Scenario {
        news: 0,
        ..scenario(1, 1, 120)
    };
    let tape = run(calm, |simulation| {
        let market = simulation.exchange().market(Instrument(0)).unwrap();
        let book = market.book();
        let best = |side| {
            book.best_price(side)
                .map(|price| price.units() / 10_000_000)
        };
        let (bid, ask) = (best(Side::Buy), best(Side::Sell));
        if market.phase() == Phase::Continuous
            && let (Some(bid), Some(ask)) = (bid, ask)
        {
            looks += 1;
            spreads += ask - bid;
            depth += book.levels(Side::Buy).count() as i64;
        }
    });
    let new = count(&tape, |kind| matches!(kind, EventKind::Accepted(_)));
    let cancelled = count(&tape, |kind| matches!(kind, EventKind::Cancelled { .. }));
    let amended = count(&tape, |kind| matches!(kind, EventKind::Amended { .. }));
    let executed = count(&tape, |kind| matches!(kind, EventKind::Executed { .. }));
    let refused = count(&tape, |kind| matches!(kind, EventKind::Refused { .. }));
    let auctions = count(&tape, |kind| matches!(kind, EventKind::Uncrossed { .. }));
    println!(
        "new {new}, cancelled {cancelled}, amended {amended}, executed {executed}, refused {refused}, \
         spread {:.2} ticks, {:.1} levels a side",
        spreads as f64 / looks as f64,
        depth as f64 / looks as f64
    );
    assert_eq!(auctions, 2, "one at the open and one at the close");
    assert!(
        executed * 20 > new,
        "some orders trade: {executed} of {new}"
    );
    assert!(
        cancelled * 10 > new * 2,
        "many are cancelled: {cancelled} of {new}"
    );
    assert!(refused * 10 < new, "few are refused: {refused} of {new}");
    assert!(
        (looks..12 * looks).contains(&spreads),
        "the spread is a few ticks"
    );
    assert!(depth > 5 * looks, "the book has depth");

    // The first and the last quarter of an hour beside the middle.
    let opens = scenario(1, 1, 120).start.nanos() + 300_000_000_000;
    let quarter = |from: i64| {
        let minute = 60_000_000_000;
        let from = opens + from * minute;
        let within = |time: Time| (from..from + 15 * minute).contains(&time.nanos());
        tape.iter().filter(|(time, _)| within(*time)).count()
    };
    let (first, middle, last) = (quarter(0), quarter(52), quarter(105));
    assert!(
        first * 2 > middle * 3 && last * 2 > middle * 3,
        "{first}, {middle}, {last}"
    );
}

/// By the rows alone, each order ends: filled, cancelled, or at the close.
#[test]
fn rows_tell_the_life_of_every_order() {
    let mut tape = Tape::default();
    for (time, event) in run(scenario(3, 2, 10), |_| {}) {
        tape.push(time, &event).unwrap();
    }
    let rows = tape.take();
    assert!(tape.rows().is_empty());
    let mut leaves: BTreeMap<(String, String), i64> = BTreeMap::new();
    for (_, row) in rows.rows() {
        let order = (row.sym.to_owned(), row.order_id.to_owned());
        let quantity = row.quantity.units();
        match row.event_type {
            EventType::New => assert_eq!(leaves.insert(order, quantity), None),
            EventType::Filled => *leaves.get_mut(&order).unwrap() -= quantity,
            EventType::Amended => *leaves.get_mut(&order).unwrap() = quantity,
            EventType::Cancelled => assert_eq!(leaves.insert(order, 0), Some(quantity)),
        }
    }
    assert!(leaves.len() > 1_000);
    assert!(leaves.values().all(|&leaves| leaves == 0));
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let none = Scenario {
        trading: TimeSpan::ZERO,
        ..scenario(1, 1, 1)
    };
    assert!(Simulation::new(none).is_err());
    let error = Simulation::new(scenario(1, 60_000, 1)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("60000 instruments of 93 agents")
    );
}
