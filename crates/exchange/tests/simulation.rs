//! A simulated session: the same for the same seed, and believable in the large.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use tapewatch_exchange::{
    CancelReason, Event, EventKind, Instrument, Phase, Scenario, Simulation, Tape,
};
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

/// What a session looks like in the large.
#[derive(Default)]
struct Large {
    looks: i64,
    spreads: BTreeMap<i64, i64>,
    /// Lots at the first ten prices of bids.
    depth: [i64; 10],
    lives: Vec<i64>,
    sizes: Vec<i64>,
    /// Events of the first, a middle and the last quarter of an hour.
    quarters: [usize; 3],
    owners: BTreeSet<u32>,
}

impl Large {
    fn look(&mut self, simulation: &Simulation) {
        let market = simulation.exchange().market(Instrument(0)).unwrap();
        let book = market.book();
        let best = |side| {
            book.best_price(side)
                .map(|price| price.units() / 10_000_000)
        };
        if let (Phase::Continuous, Some(bid), Some(ask)) =
            (market.phase(), best(Side::Buy), best(Side::Sell))
        {
            self.looks += 1;
            *self.spreads.entry(ask - bid).or_default() += 1;
            for (at, level) in self.depth.iter_mut().zip(book.levels(Side::Buy)) {
                *at += (level.quantity.units() / 1_000_000_000) as i64;
            }
        }
    }

    fn read(&mut self, tape: &[(Time, Event)], opens: i64) {
        let mut born = BTreeMap::new();
        let minute = 60_000_000_000;
        for (time, event) in tape {
            let time = time.nanos();
            for (at, from) in [0, 52, 105].into_iter().enumerate() {
                let from = opens + from * minute;
                self.quarters[at] += usize::from((from..from + 15 * minute).contains(&time));
            }
            match event.kind {
                EventKind::Accepted(new) => {
                    born.insert(new.order, time);
                    self.owners.insert(new.owner);
                    self.sizes.push(new.quantity.units() / 100_000_000);
                }
                EventKind::Cancelled {
                    order,
                    reason: CancelReason::Requested,
                    ..
                } => {
                    self.lives.push(time - born[&order]);
                }
                _ => {}
            }
        }
    }
}

fn part(values: &mut [i64], thousandths: usize) -> i64 {
    values.sort_unstable();
    values[values.len() * thousandths / 1_000]
}

#[test]
fn a_session_is_believable() {
    let mut large = Large::default();
    let mut tape = Vec::new();
    for seed in 1..=3 {
        let calm = Scenario {
            news: 0,
            ..scenario(seed, 1, 120)
        };
        let of_seed = run(calm, |simulation| large.look(simulation));
        large.read(&of_seed, calm.start.nanos() + 300_000_000_000);
        tape.extend(of_seed);
    }
    let new = count(&tape, |kind| matches!(kind, EventKind::Accepted(_)));
    let cancelled = large.lives.len();
    let executed = count(&tape, |kind| matches!(kind, EventKind::Executed { .. }));
    let refused = count(&tape, |kind| matches!(kind, EventKind::Refused { .. }));
    let auctions = count(&tape, |kind| matches!(kind, EventKind::Uncrossed { .. }));
    let depth = large.depth.map(|lots| lots / large.looks);
    println!("new {new}, cancelled {cancelled}, executed {executed}, refused {refused}");
    println!("depth {depth:?}, spreads {:?}", large.spreads);
    assert_eq!(auctions, 6, "one at each open and one at each close");
    assert!(refused * 100 < new, "few are refused: {refused} of {new}");
    let ratio = cancelled * 100 / new;
    assert!(
        (75..98).contains(&ratio),
        "most are cancelled: {ratio} in a hundred"
    );
    assert!(executed * 20 > new, "some trade: {executed} of {new}");
    let narrow: i64 = large.spreads.range(1..=3).map(|(_, looks)| looks).sum();
    assert!(
        narrow * 100 > 95 * large.looks,
        "the spread is one to three ticks"
    );
    assert!(large.spreads[&2] * 20 > large.looks, "and not always one");
    let hump = depth[1..5].iter().max().unwrap();
    assert!(
        depth[0] < *hump && depth[9] < *hump && depth[9] > 20,
        "{depth:?}"
    );
    let lives = [10, 100, 500, 900].map(|at| part(&mut large.lives, at) / 1_000_000);
    assert!(
        lives[0] < 3 && lives[1] < 1_000 && lives[3] > 20_000,
        "milliseconds {lives:?}"
    );
    let sizes = [500, 999].map(|at| part(&mut large.sizes, at));
    assert!(
        sizes[1] > 15 * sizes[0],
        "sizes have a heavy tail: {sizes:?}"
    );
    assert!(large.owners.len() >= 60, "{} trade", large.owners.len());
    let [first, middle, last] = large.quarters;
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
            .starts_with("60000 instruments of 94 agents")
    );
}
