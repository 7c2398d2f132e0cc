//! Rows of a session tell what a surveillance feed would: executions, capacities, phases, crosses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tapewatch_exchange::{EventKind, Phase, Plan, Scenario, Simulation, Tape};
use tapewatch_model::{EventType, Flags, TimeSpan};

#[test]
fn rows_say_what_the_market_knows() {
    let scenario = Scenario {
        seed: 11,
        trading: TimeSpan::from_secs(7_200),
        plan: Plan::parse("near:halt_cancel=1,near:declared_cross=2").unwrap(),
        ..Scenario::default()
    };
    let mut simulation = Simulation::new(scenario).unwrap();
    let mut tape = Tape::new(simulation.accounts().clone());
    let (mut events, mut executions, mut crosses) = (Vec::new(), 0, 0);
    let mut halts = Vec::new();
    while let Some(time) = simulation.next(&mut events) {
        for event in events.drain(..) {
            tape.push(time, &event).unwrap();
            executions += usize::from(matches!(event.kind, EventKind::Executed { .. }));
            crosses += usize::from(matches!(event.kind, EventKind::Crossed(_)));
            if event.kind == EventKind::PhaseBegan(Phase::Halted) {
                halts.push(time);
            }
        }
    }
    let rows = tape.take();
    let mut of_execution: BTreeMap<String, Vec<Flags>> = BTreeMap::new();
    let mut of_kind: BTreeMap<String, usize> = BTreeMap::new();
    for (_, row) in rows.rows() {
        let flags = row.details.flags;
        assert!(row.details.account.starts_with('A') && row.trader.starts_with('T'));
        assert!(flags.has(Flags::PRINCIPAL) != flags.has(Flags::AGENCY));
        assert_eq!(
            row.event_type == EventType::Filled,
            !row.details.exec_id.is_empty()
        );
        if row.event_type == EventType::Filled {
            of_execution
                .entry(row.details.exec_id.to_owned())
                .or_default()
                .push(flags);
        }
        for word in flags.to_string().split(' ') {
            *of_kind
                .entry(format!("{word} {}", row.event_type))
                .or_default() += 1;
        }
        *of_kind.entry("shown new".to_owned()).or_default() +=
            usize::from(row.details.display.is_some());
    }
    assert_eq!((of_execution.len(), crosses), (executions + crosses, 2));
    for (name, flags) in &of_execution {
        let has = |flag| flags.iter().filter(|flags| flags.has(flag)).count();
        assert_eq!(flags.len(), 2, "{name} has two sides");
        let continuous = has(Flags::AGGRESSOR) == 1 && has(Flags::PASSIVE) == 1;
        let both = has(Flags::AUCTION) == 2 || has(Flags::CROSS) == 2;
        assert!(continuous != both, "{name}: {flags:?}");
    }
    assert_eq!(halts.len(), 1);
    println!("{of_kind:?}");
    for kind in [
        "ioc new",
        "post_only new",
        "agency filled",
        "auction filled",
        "auction new",
        "halt new",
        "halt cancelled",
        "unfilled cancelled",
        "expired cancelled",
        "self_match cancelled",
        "cross new",
        "cross filled",
        "shown new",
    ] {
        assert!(of_kind.get(kind).is_some_and(|rows| *rows > 0), "{kind}");
    }
}

#[test]
fn linked_accounts_are_told() {
    let simulation = Simulation::new(Scenario::default()).unwrap();
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (_, owner) in simulation.accounts().linked() {
        *owners.entry(owner).or_default() += 1;
    }
    let mut sizes: Vec<usize> = owners.into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 2, 3]);
}
