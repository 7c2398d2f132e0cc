//! Labelled patterns: they are in the events, and nothing else is labelled.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/naive_patterns.rs"]
mod naive_patterns;
#[path = "support/session.rs"]
mod session;

use std::collections::{BTreeMap, BTreeSet};

use session::Session;
use tapewatch_exchange::{Abuse, Label, NearMiss, Pattern, Plan, Scenario};
use tapewatch_model::{OrderKey, TimeSpan};

fn played(seed: u64, plan: &str) -> Session {
    Session::run(Scenario {
        seed,
        plan: Plan::parse(plan).unwrap(),
        ..Scenario::default()
    })
}

/// At medium intensity nearly all that is labelled exceeds the detectors' defaults, and every kind is
/// carried out.
#[test]
fn events_show_what_is_labelled() {
    let mut found: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for seed in 1..=2 {
        let session = played(seed, "all=3");
        for label in &session.labels {
            let shown = naive_patterns::shows(&session, label);
            if !shown {
                println!(
                    "{seed} {}",
                    label
                        .csv_line(&session.accounts)
                        .chars()
                        .take(120)
                        .collect::<String>()
                );
                println!("    {}", label.variation);
            }
            let of = found.entry(label.pattern.kind().name()).or_default();
            of[0] += usize::from(shown);
            of[1] += 1;
        }
    }
    println!("{found:?}");
    for abuse in Abuse::ALL {
        let [shown, labelled] = found[abuse.name()];
        assert!(labelled >= 2, "{} is carried out", abuse.name());
        assert!(
            shown * 10 >= labelled * 9,
            "{}: {shown} of {labelled}",
            abuse.name()
        );
    }
}

#[test]
fn labels_name_orders_that_are_in_the_events() {
    let session = played(4, "all=1,near:all=1");
    let orders = session.orders();
    let stops = session.tape.last().unwrap().0;
    let mut seen: BTreeSet<OrderKey> = BTreeSet::new();
    for label in session.labels.iter().chain(&session.attempts) {
        assert!(label.from <= label.to && label.to <= stops, "{label:?}");
        assert!(!label.orders.is_empty() && !label.accounts.is_empty());
        for order in &label.orders {
            assert!(orders.contains(order), "{} of {}", order, label.pattern);
            assert!(seen.insert(*order), "{order} has one label");
        }
        let columns = Label::CSV_HEADER.split(',').count();
        let line = label.csv_line(&session.accounts);
        assert_eq!(line.split(',').count(), columns, "{line}");
    }
    assert!(session.labels.is_sorted_by_key(|label| label.from));
    assert!(session.labels.len() >= 20, "{}", session.labels.len());
}

#[test]
fn what_is_played_is_a_function_of_the_scenario() {
    let (one, other) = (played(5, "all=1"), played(5, "all=1"));
    assert!(one.tape == other.tape && one.labels == other.labels && !one.labels.is_empty());
}

#[test]
fn nothing_is_labelled_where_nothing_is_played() {
    let honest = played(6, "");
    assert!(honest.labels.is_empty() && honest.attempts.is_empty());

    // Until the first of them begins, who plays patterns changes nothing.
    let played = played(6, "all=1,near:all=1");
    let first = [&played.labels, &played.attempts]
        .into_iter()
        .flatten()
        .map(|label| label.from)
        .min();
    let before = |session: &Session| {
        let end = session
            .tape
            .partition_point(|(time, _)| Some(*time) < first);
        session.tape[..end].to_vec()
    };
    let (before, after) = (before(&honest), before(&played));
    assert!(before.len() > 1_000 && before == after);
}

/// Nobody who is honest cancels, or sends, as those who are labelled do.
#[test]
fn honest_traders_stay_below_the_defaults() {
    let session = Session::run(Scenario {
        seed: 7,
        trading: TimeSpan::from_secs(7_200),
        ..Scenario::default()
    });
    let accounts = session.accounts.len() as u32;
    let (mut ratios, mut windows) = (0, 0);
    for account in 0..accounts {
        let own = session.of(&[account], i64::MIN, i64::MAX);
        assert!(!naive_patterns::spoofing(&own), "A{account} spoofs");
        assert!(!naive_patterns::fleeting(&own), "A{account} is fleeting");
        assert!(
            !naive_patterns::stuffing(&session, &own),
            "A{account} stuffs"
        );
        for first in own.iter().step_by(50) {
            let end = first.time + 5 * session::MINUTE;
            let window = session.of(&[account], first.time, end);
            let messages = window.iter().filter(|row| row.is_message()).count();
            let fills = window.iter().filter(|row| row.traded() > 0).count();
            windows += 1;
            ratios += usize::from(messages >= 200 && messages >= 101 * fills.max(1));
        }
    }
    assert!(
        ratios * 100 < windows,
        "{ratios} of {windows} windows have hardly a trade"
    );
}

/// What looks like abuse is carried out, and is not what it looks like.
#[test]
fn near_misses_are_played_and_are_none() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in [8, 9] {
        let session = played(seed, "near:all=2");
        for label in &session.labels {
            let Pattern::NearMiss(miss) = label.pattern else {
                panic!("an abuse that nobody asked for: {label:?}");
            };
            *seen.entry(miss.name()).or_default() += 1;
            let as_abuse = Label {
                pattern: Pattern::Abuse(miss.resembles()),
                ..label.clone()
            };
            let left_alone = [
                NearMiss::DeclaredCross,
                NearMiss::Hedger,
                NearMiss::StopCascade,
            ];
            if !left_alone.contains(&miss) {
                assert!(
                    !naive_patterns::shows(&session, &as_abuse),
                    "{}",
                    label.csv_line(&session.accounts)
                );
            }
        }
    }
    println!("{seen:?}");
    assert_eq!(seen.len(), NearMiss::ALL.len(), "{seen:?}");
}
