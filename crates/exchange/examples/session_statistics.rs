//! Prints what a simulated session looks like in the large: `session_statistics [SEED] [MINUTES] [PLAN]`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::{BTreeMap, VecDeque};

use tapewatch_exchange::{CancelReason, EventKind, Instrument, Phase, Plan, Scenario, Simulation};
use tapewatch_model::{OrderKey, Side, TimeSpan};

fn quantiles(name: &str, values: &mut Vec<i64>) {
    values.sort_unstable();
    let at = |part: usize| values.get(values.len() * part / 1000).copied().unwrap_or(0);
    println!(
        "{name}: n {} p1 {} p10 {} p25 {} p50 {} p75 {} p90 {} p99 {} p999 {} max {}",
        values.len(),
        at(10),
        at(100),
        at(250),
        at(500),
        at(750),
        at(900),
        at(990),
        at(999),
        values.last().copied().unwrap_or(0)
    );
}

#[derive(Default)]
struct Window {
    items: VecDeque<(i64, i64)>,
    sum: i64,
    max_sum: i64,
    max_count: usize,
    over: usize,
}

impl Window {
    fn push(&mut self, time: i64, value: i64, span: i64) {
        self.items.push_back((time, value));
        self.sum += value;
        while self
            .items
            .front()
            .is_some_and(|(first, _)| time - first > span)
        {
            self.sum -= self.items.pop_front().unwrap().1;
        }
        self.max_sum = self.max_sum.max(self.sum);
        self.max_count = self.max_count.max(self.items.len());
        self.over += usize::from(self.sum > 4_000 && self.items.len() > 3);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, none: i64| args.get(at).map_or(none, |text| text.parse().unwrap());
    let plan = Plan::parse(args.get(3).map_or("", String::as_str)).unwrap();
    let scenario = Scenario {
        seed: number(1, 1) as u64,
        trading: TimeSpan::from_secs(number(2, 390) * 60),
        plan,
        ..Scenario::default()
    };
    let begun = std::time::Instant::now();
    let mut simulation = Simulation::new(scenario).unwrap();
    let mut tape = Vec::new();
    let mut events = Vec::new();
    let (mut spreads, mut depth, mut sizes_at) =
        (BTreeMap::<i64, usize>::new(), [0_i64; 10], 0_i64);
    let (mut mids, mut next_look) = (Vec::new(), 0);
    let mut per_second = BTreeMap::<i64, i64>::new();
    while let Some(time) = simulation.next(&mut events) {
        *per_second.entry(time.nanos() / 1_000_000_000).or_default() += events.len() as i64;
        tape.extend(events.drain(..).map(|event| (time, event)));
        if time.nanos() < next_look {
            continue;
        }
        next_look = time.nanos() + 1_000_000_000;
        let market = simulation.exchange().market(Instrument(0)).unwrap();
        if market.phase() != Phase::Continuous {
            continue;
        }
        let ticks = |side| {
            market
                .book()
                .best_price(side)
                .map(|price| price.units() / 10_000_000)
        };
        if let (Some(bid), Some(ask)) = (ticks(Side::Buy), ticks(Side::Sell)) {
            *spreads.entry(ask - bid).or_default() += 1;
            mids.push(bid + ask);
            sizes_at += 1;
            for (level, at) in market.book().levels(Side::Buy).zip(&mut depth) {
                *at += (level.quantity.units() / 1_000_000_000) as i64;
            }
        }
    }
    let took = begun.elapsed();
    let mut new = BTreeMap::<OrderKey, (i64, i64)>::new();
    let (mut lives, mut sizes, mut filled_sizes) = (Vec::new(), Vec::new(), Vec::new());
    let mut windows = BTreeMap::<(u32, Side), Window>::new();
    let mut messages = BTreeMap::<u32, Window>::new();
    let mut trades = BTreeMap::<u32, Window>::new();
    let mut otr = Vec::new();
    let mut self_trades = 0;
    let mut by_taker = BTreeMap::<u32, (i64, i64)>::new();
    let (mut counts, mut rows) = (BTreeMap::<&str, usize>::new(), 0);
    let five = 300_000_000_000;
    for (time, event) in &tape {
        let now = time.nanos();
        let mut message = |owner: u32, lots: i64| {
            let window = messages.entry(owner).or_default();
            window.push(now, 1, five);
            let _ = lots;
            let traded = trades.entry(owner).or_default();
            while traded
                .items
                .front()
                .is_some_and(|(first, _)| now - first > five)
            {
                traded.items.pop_front();
            }
            if window.items.len() >= 200 {
                otr.push((window.items.len() / traded.items.len().max(1)) as i64);
            }
        };
        let kind = match event.kind {
            EventKind::Accepted(order) => {
                message(order.owner, 0);
                let lots = order.quantity.units() / 100_000_000;
                new.insert(order.order, (now, lots));
                sizes.push(lots);
                rows += 1;
                "new"
            }
            EventKind::Cancelled {
                order,
                owner,
                side,
                leaves,
                reason,
                ..
            } => {
                rows += 1;
                if reason == CancelReason::Requested {
                    message(owner, 0);
                    let (since, _) = new[&order];
                    lives.push((now - since) / 1_000);
                    let lots = leaves.units() / 100_000_000;
                    windows
                        .entry((owner, side))
                        .or_default()
                        .push(now, lots, 25_000_000_000);
                    "cancelled"
                } else {
                    "ended"
                }
            }
            EventKind::Executed {
                buy,
                sell,
                aggressor,
                quantity,
                ..
            } => {
                rows += 2;
                if let Some(side) = aggressor {
                    let party = if side == Side::Buy { buy } else { sell };
                    let at = by_taker.entry(party.owner).or_default();
                    at.0 += 1;
                    at.1 += quantity.units() / 100_000_000;
                }
                filled_sizes.push(quantity.units() / 100_000_000);
                for party in [buy, sell] {
                    trades.entry(party.owner).or_default().push(now, 1, five);
                }
                let owner = |code| simulation.accounts().get(code).unwrap().owner;
                self_trades += usize::from(owner(buy.owner) == owner(sell.owner));
                "executed"
            }
            EventKind::Amended { owner, .. } => {
                message(owner, 0);
                rows += 1;
                "amended"
            }
            EventKind::Refused { .. } => "refused",
            EventKind::Crossed(_) => "crossed",
            _ => "other",
        };
        *counts.entry(kind).or_default() += 1;
    }
    let speed = tape.len() as f64 / took.as_secs_f64();
    println!(
        "{rows} rows, {} events in {took:.2?}: {speed:.0} events/s",
        tape.len()
    );
    println!(
        "{counts:?}; cancels/new {:.3}; self trades {self_trades}",
        counts["cancelled"] as f64 / counts["new"] as f64
    );
    let all: usize = spreads.values().sum();
    let shares: Vec<String> = spreads
        .iter()
        .filter(|(_, n)| **n * 200 > all)
        .map(|(s, n)| format!("{s}: {:.1}%", 100.0 * *n as f64 / all as f64))
        .collect();
    println!("spread {}", shares.join(", "));
    println!("depth {:?}", depth.map(|lots| lots / sizes_at.max(1)));
    quantiles("life of cancelled, us", &mut lives);
    quantiles("order size", &mut sizes);
    quantiles("execution size", &mut filled_sizes);
    quantiles("orders per trade of 200+ in 5 min", &mut otr);
    let mut rates: Vec<i64> = per_second.into_values().collect();
    quantiles("events a second", &mut rates);
    let mut per_window: Vec<i64> = windows.values().map(|window| window.max_sum).collect();
    quantiles(
        "largest cancelled lots in 25 s by trader and side",
        &mut per_window,
    );
    println!(
        "cancels over spoofing's thresholds: {}",
        windows.values().map(|window| window.over).sum::<usize>()
    );
    let most = |windows: &BTreeMap<(u32, Side), Window>| {
        let mut all: Vec<(i64, u32)> = windows
            .iter()
            .map(|(key, window)| (window.max_sum, key.0))
            .collect();
        all.sort_unstable();
        all.reverse();
        all.truncate(12);
        all
    };
    println!("most cancelled by account {:?}", most(&windows));
    let returns = |span: usize| {
        let changes: Vec<f64> = mids
            .windows(span + 1)
            .map(|w| (w[span] - w[0]) as f64 / 2.0)
            .filter(|change| change.abs() < 60.0)
            .collect();
        let mean = changes.iter().sum::<f64>() / changes.len() as f64;
        let variance =
            changes.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / changes.len() as f64;
        let fourth = changes.iter().map(|c| (c - mean).powi(4)).sum::<f64>() / changes.len() as f64;
        (variance.sqrt(), fourth / variance.powi(2))
    };
    println!(
        "sd (kurtosis) of middle in ticks: 1 s {:.2?}, 10 s {:.2?}, 60 s {:.2?}, 300 s {:.2?}",
        returns(1),
        returns(10),
        returns(60),
        returns(300)
    );
    println!(
        "first, last middle {} {}; news {:?}",
        mids[0],
        mids[mids.len() - 1],
        simulation.news()
    );
    println!(
        "lowest, highest {:?} {:?}",
        mids.iter().min(),
        mids.iter().max()
    );
    println!("executions and lots by taker: {by_taker:?}");
    println!("{} labels", simulation.labels().len());
    println!("{} attempts", simulation.attempts().len());
    for label in simulation.labels() {
        println!(
            "{}",
            label
                .csv_line(simulation.accounts())
                .chars()
                .take(400)
                .collect::<String>()
        );
    }
}
