//! How good each detector is, and what it costs: `cargo xtask bench detectors`.
//!
//! Simulated days with labelled abuse go through all detectors at their defaults. Days of the tuning
//! seeds may be looked at when a default is chosen; those of the test seeds are not, and the page is
//! made of them. `--first 21` begins with another seed of the set; `--verbose DETECTOR,DETECTOR` runs
//! these only and says each of their alerts and misses.
//!
//! Invariant: same arguments, same table, times aside.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cost;
mod day;
mod page;
mod plots;
mod score;

use std::path::{Path, PathBuf};

use tapewatch_exchange::Plan;

use crate::day::{Days, config};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Seeds that defaults may be tuned on.
const TUNING: std::ops::RangeInclusive<u64> = 1..=60;
/// Seeds that no default was chosen with.
const TEST: std::ops::RangeInclusive<u64> = 1_001..=1_020;

struct Args {
    tuning: bool,
    first: usize,
    days: usize,
    plan: String,
    page: Option<PathBuf>,
    real: Option<PathBuf>,
    verbose: Vec<String>,
    costs_only: bool,
}

fn args() -> Outcome<Args> {
    let mut args = Args {
        tuning: false,
        first: 1,
        days: 20,
        plan: "all=2,near:all=1,intensity=medium".to_owned(),
        page: None,
        real: None,
        verbose: Vec::new(),
        costs_only: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let mut value = || given.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--tuning" => args.tuning = true,
            "--costs-only" => args.costs_only = true,
            "--first" => args.first = value()?.parse()?,
            "--days" => args.days = value()?.parse()?,
            "--plan" => args.plan = value()?,
            "--page" => args.page = Some(value()?.into()),
            "--real" => args.real = Some(value()?.into()),
            "--verbose" => args.verbose = value()?.split(',').map(str::to_owned).collect(),
            other => return Err(format!("{other}: unknown").into()),
        }
    }
    Ok(args)
}

fn main() -> Outcome<()> {
    let args = args()?;
    let seeds = if args.tuning { TUNING } else { TEST };
    let seeds = seeds.skip(args.first.saturating_sub(1));
    let seeds: Vec<u64> = seeds.take(args.days).collect();
    let plan = Plan::parse(&args.plan)?;
    let days = Days::simulate(&seeds, plan)?;
    eprintln!(
        "{} days, {} rows, {} labels",
        seeds.len(),
        days.rows(),
        days.labels()
    );
    let mut config = config(&days)?;
    if args.costs_only {
        print!("{}", cost::measure(&days, &config)?);
        return Ok(());
    }
    if !args.verbose.is_empty() {
        config.only(&args.verbose)?;
        let found = days.detect(&config)?;
        let mut scores = score::scores(&days, &found, &args.verbose);
        scores.retain(|score| args.verbose.iter().any(|named| named == score.detector));
        print!("{}", page::quality(&scores));
        return Ok(());
    }
    let found = days.detect(&config)?;
    let scores = score::scores(&days, &found, &[]);
    // The same days without anything played: what is found there is false.
    let honest = Days::simulate(&seeds, Plan::default())?;
    let quiet = score::per_million(honest.rows(), &honest.detect(&config)?);
    let real = args.real.as_deref().map(real_tape).transpose()?;
    let costs = cost::measure(&days, &config)?;
    let page = page::Page {
        tuning: args.tuning,
        plan: &args.plan,
        days: &days,
        scores: &scores,
        quiet: &quiet,
        real: real.as_ref(),
        costs: &costs,
    };
    let text = page.text();
    match &args.page {
        Some(path) => {
            std::fs::write(path, &text)?;
            let dir = path.parent().unwrap_or(Path::new("."));
            plots::write(&dir.join("images"), &scores, &costs)?;
        }
        None => println!("{text}"),
    }
    Ok(())
}

/// Alerts per million events of a real day.
fn real_tape(path: &Path) -> Outcome<score::PerMillion> {
    use tapewatch_connect::DbnOrders;
    use tapewatch_detect::{DetectConfig, Engine, Shard};
    use tapewatch_model::{OrderBatch, OrderSource as _};
    let mut source = DbnOrders::open(path)?;
    let mut config = DetectConfig::default();
    config.all()?;
    let mut engine = Engine::new(&config, Shard::WHOLE)?;
    let (mut orders, mut letters, mut hits) = (OrderBatch::default(), Vec::new(), Vec::new());
    let mut rows = 0;
    while source.next_batch(8_192, &mut orders, &mut letters)? {
        rows += orders.len() as u64;
        engine.apply(&orders, &mut hits);
    }
    Ok(score::per_million(rows, &hits))
}
