//! Labelled patterns: they are in the events, and nothing else is labelled.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/naive_patterns.rs"]
mod naive_patterns;
#[path = "support/session.rs"]
mod session;

use std::collections::{BTreeMap, BTreeSet};

use session::Session;
use tapewatch_exchange::{Abuse, Label, NearMiss, Pattern, Plan, Scenario};
use tapewatch_model::OrderKey;

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
    for seed in 1..=3 {
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
