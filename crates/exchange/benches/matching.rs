//! How many order events a second one core matches, over a book of a thousand prices: new orders,
//! cancels, amends and executions, made before they are timed; and how many changes a second a book
//! takes that is rebuilt from the events; and how many events a second agents make.
//!
//! Invariant: the same commands in every run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod flow;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use flow::Flow;
use tapewatch_exchange::{Event, EventKind, Exchange, Scenario, Simulation};
use tapewatch_model::{Book, BookOrder, OrderKey, Price, Priority, Quantity, Side, Time, TimeSpan};

const COMMANDS: usize = 2_000_000;
const RESTING: usize = 50_000;

/// A change as a feed of single orders tells it.
enum Change {
    Add(BookOrder),
    Fill(OrderKey, Quantity),
    Modify(OrderKey, Price, Quantity),
    Delete(OrderKey),
}

/// The book at the start, and the changes that the commands make to it.
fn changes(flow: &Flow) -> (Book, Vec<Change>) {
    let mut exchange = flow.exchange.clone();
    let mut book = Book::with_limit(1 << 20);
    for side in [Side::Buy, Side::Sell] {
        let market = exchange.market(flow.instrument).unwrap();
        for order in market.book().orders(side) {
            let (key, price, quantity, extra) = (order.key, order.price, order.quantity, ());
            book.add(BookOrder {
                key,
                side,
                price,
                quantity,
                extra,
            })
            .unwrap();
        }
    }
    let mut changes = Vec::new();
    let mut events = Vec::new();
    for command in &flow.commands {
        events.clear();
        exchange.submit(flow.instrument, *command, &mut events);
        for event in &events {
            changes.extend(match event.kind {
                EventKind::Rested {
                    order,
                    side,
                    price: Some(price),
                    quantity,
                } => Some(Change::Add(BookOrder {
                    key: order,
                    side,
                    price,
                    quantity,
                    extra: (),
                })),
                EventKind::Executed {
                    buy,
                    sell,
                    aggressor,
                    quantity,
                    ..
                } => Some(match aggressor {
                    Some(Side::Buy) => Change::Fill(sell.order, quantity),
                    _ => Change::Fill(buy.order, quantity),
                }),
                EventKind::Amended {
                    order,
                    price: Some(price),
                    displayed,
                    priority: Priority::Kept,
                    ..
                } => Some(Change::Modify(order, price, displayed)),
                EventKind::Amended { order, .. } | EventKind::Cancelled { order, .. } => {
                    Some(Change::Delete(order))
                }
                _ => None,
            });
        }
    }
    (book, changes)
}

/// An hour of two instruments.
fn session() -> Vec<Event> {
    let mut simulation = Simulation::new(Scenario {
        seed: 1,
        start: Time::from_nanos(0),
        call: TimeSpan::from_secs(300),
        trading: TimeSpan::from_secs(3_600),
        instruments: 2,
        ..Scenario::default()
    })
    .unwrap();
    let mut events = Vec::new();
    while simulation.next(&mut events).is_some() {}
    events
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let flow = Flow::generated(RESTING, COMMANDS);
    let book = flow.exchange.market(flow.instrument).unwrap().book();
    let levels = [Side::Buy, Side::Sell].map(|side| book.levels(side).count());
    println!(
        "{} orders at {levels:?} prices; new, cancel, amend, take: {:?}; {} executions",
        book.len(),
        flow.mix,
        flow.executions
    );
    let (book, changes) = changes(&flow);
    let mut group = criterion.benchmark_group("exchange");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(flow.commands.len() as u64));
    group.bench_function("matching", |bencher| {
        let setup = || (flow.exchange.clone(), Vec::with_capacity(1_024));
        let apply = |(mut exchange, mut events): (Exchange, Vec<Event>)| {
            for command in &flow.commands {
                exchange.submit(flow.instrument, *command, &mut events);
                black_box(&events);
                events.clear();
            }
            (exchange, events)
        };
        bencher.iter_batched(setup, apply, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(changes.len() as u64));
    group.bench_function("rebuilding", |bencher| {
        let apply = |mut book: Book| {
            for change in &changes {
                match change {
                    Change::Add(order) => drop(black_box(book.add(*order))),
                    Change::Fill(key, quantity) => {
                        if let Some(order) = book.get_mut(*key) {
                            order.reduce(*quantity);
                        }
                    }
                    Change::Modify(key, price, quantity) => {
                        black_box(book.modify(*key, *price, *quantity));
                    }
                    Change::Delete(key) => drop(black_box(book.remove(*key))),
                }
            }
            book
        };
        bencher.iter_batched(|| book.clone(), apply, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(session().len() as u64));
    group.bench_function("session", |bencher| bencher.iter(|| black_box(session())));
    group.finish();
    criterion.final_summary();
}
