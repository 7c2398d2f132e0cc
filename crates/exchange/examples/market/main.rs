//! The simulated market beside a real one: `cargo xtask bench market`, which runs
//! `cargo run --release -p tapewatch-exchange --example market REAL_FILE PAGE`.
//!
//! Invariant: the same file and the same simulation give the same page and plots.

mod fold;
mod plots;
mod statistics;

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use fold::{Fold, Measured};
use statistics::FIGURES;
use tapewatch_connect::DbnOrders;
use tapewatch_exchange::{Scenario, Simulation, Tape};
use tapewatch_model::{OrderBatch, OrderSource, Time};

/// The page's text; the figures and the plots come where the names in braces are.
const TEMPLATE: &str = include_str!("page.md");
/// A quarter of a point: the tick of the real instrument.
const REAL_TICK: i64 = 250_000_000;
const SIMULATED_TICK: i64 = 10_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(file), Some(page)) = (words.next(), words.next()) else {
        return Err("usage: market REAL_FILE PAGE".into());
    };
    let page = Path::new(&page);
    let real = real(Path::new(&file))?;
    let simulated = simulated()?;
    let table = table(&real, &simulated);
    print!("{table}");
    let images = page
        .parent()
        .unwrap_or(Path::new("."))
        .join("images/market");
    let plots = plots::write(&images, &[("real", &real), ("simulated", &simulated)])?;
    let mut pictures = String::new();
    for (file, title) in plots {
        writeln!(pictures, "![{title}](images/market/{file})\n")?;
    }
    let text = TEMPLATE
        .replace("{figures}", table.trim_end())
        .replace("{plots}", pictures.trim_end());
    std::fs::write(page, text)?;
    Ok(())
}

/// The hour after the opening auction of the real day.
fn real(file: &Path) -> Result<Measured, Box<dyn Error>> {
    let from = Time::parse(b"2023-12-25T23:00:00")?;
    let to = Time::parse(b"2023-12-26T00:00:00")?;
    let mut fold = Fold::new(from, to, REAL_TICK);
    let mut source = DbnOrders::open(file)?;
    let (mut orders, mut refused) = (OrderBatch::default(), Vec::new());
    while source.next_batch(65_536, &mut orders, &mut refused)? {
        orders.rows().for_each(|(_, row)| fold.row(&row));
    }
    Ok(fold.end())
}

/// Continuous trading of one simulated session.
fn simulated() -> Result<Measured, Box<dyn Error>> {
    // The real hour had no news.
    let scenario = Scenario {
        news: 0,
        ..Scenario::default()
    };
    let from = scenario.start.saturating_add(scenario.call);
    let to = from.saturating_add(scenario.trading);
    let mut fold = Fold::new(from, to, SIMULATED_TICK);
    let mut simulation = Simulation::new(scenario)?;
    let (mut tape, mut events) = (Tape::default(), Vec::new());
    while let Some(time) = simulation.next(&mut events) {
        for event in events.drain(..) {
            tape.push(time, &event)?;
        }
        tape.take().rows().for_each(|(_, row)| fold.row(&row));
    }
    Ok(fold.end())
}

fn table(real: &Measured, simulated: &Measured) -> String {
    let mut table = String::from("| measure | real | simulated |\n|---|---|---|\n");
    for figure in FIGURES {
        let digits = figure.digits;
        let [real, simulated] = [real, simulated].map(|it| (figure.value)(it));
        // A string takes all that is written to it.
        let _ = writeln!(
            table,
            "| {} | {real:.digits$} | {simulated:.digits$} |",
            figure.name
        );
    }
    table
}
