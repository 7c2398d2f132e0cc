//! The hot path does not allocate: a market that has once held what it will hold takes new orders,
//! cancels, amends and executions without an allocation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../benches/flow/mod.rs"]
mod flow;

use flow::Flow;
use tapewatch_exchange::{Event, Phase};

#[test]
fn a_market_in_its_stride_allocates_nothing() {
    let mut flow = Flow::generated(2_000, 60_000);
    let mut events: Vec<Event> = Vec::new();
    let mut run = |exchange: &mut tapewatch_exchange::Exchange| {
        for command in &flow.commands {
            events.clear();
            exchange.submit(flow.instrument, *command, &mut events);
        }
    };
    run(&mut flow.exchange);

    // The next session begins with the orders with which this one began.
    let mut refill = Vec::new();
    flow.exchange.begin_all(Phase::Closed, &mut refill);
    flow.exchange.begin_all(Phase::Continuous, &mut refill);
    for order in &flow.opening {
        flow.exchange.submit(flow.instrument, *order, &mut refill);
    }
    let again = flow.exchange.market(flow.instrument).unwrap();
    assert_eq!(again.book().len(), flow.opening.len());
    let count = allocation_counter::measure(|| run(&mut flow.exchange)).count_total;
    assert_eq!(count, 0);
}
