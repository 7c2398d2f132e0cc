//! Figures of what was measured.

use crate::fold::{LEVELS, Measured, PARTS};

/// A figure that both markets have: what it is, and how it is written.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&Measured) -> f64,
    pub(crate) digits: usize,
}

const fn figure(name: &'static str, digits: usize, value: fn(&Measured) -> f64) -> Figure {
    Figure {
        name,
        value,
        digits,
    }
}

/// The figures of the table, in its order.
pub(crate) const FIGURES: &[Figure] = &[
    figure("messages a second", 1, |it| messages(it) / it.seconds),
    figure("of 100 messages: new", 1, |it| share(it, it.new)),
    figure("of 100 messages: amended", 1, |it| share(it, it.amended)),
    figure("of 100 messages: cancelled", 1, |it| {
        share(it, it.cancelled)
    }),
    figure("of 100 messages: trades", 1, |it| share(it, it.trades)),
    figure("cancels for each order that was filled", 1, |it| {
        it.cancelled as f64 / it.lives_filled.len() as f64
    }),
    figure("messages for each trade", 1, |it| {
        messages(it) / it.trades as f64
    }),
    figure("orders filled by a trade, mean", 2, |it| {
        it.fills as f64 / it.trades as f64
    }),
    figure("spread in ticks, mean", 2, |it| mean(&it.spreads)),
    figure("share of seconds at 1 tick, %", 1, |it| at_spread(it, 1.0)),
    figure("share of seconds at 2 ticks, %", 1, |it| at_spread(it, 2.0)),
    figure("share of seconds at 3 ticks or more, %", 1, |it| {
        100.0 - at_spread(it, 1.0) - at_spread(it, 2.0)
    }),
    figure("depth of the best level, in mean new orders", 1, |it| {
        level(it, 0)
    }),
    figure("depth of level 5, in mean new orders", 1, |it| level(it, 4)),
    figure("depth of level 10, in mean new orders", 1, |it| {
        level(it, 9)
    }),
    figure("life of cancelled orders, 10th percentile, s", 4, |it| {
        quantile(&it.lives_cancelled, 0.1)
    }),
    figure("life of cancelled orders, median, s", 3, |it| {
        quantile(&it.lives_cancelled, 0.5)
    }),
    figure("life of cancelled orders, 90th percentile, s", 1, |it| {
        quantile(&it.lives_cancelled, 0.9)
    }),
    figure("cancelled within 10 ms, % of new", 1, |it| {
        let short = it.lives_cancelled.iter().filter(|life| **life < 0.01);
        100.0 * short.count() as f64 / it.new as f64
    }),
    figure("life of filled orders, median, s", 3, |it| {
        quantile(&it.lives_filled, 0.5)
    }),
    figure("open at the end, % of new", 1, |it| {
        100.0 * it.open as f64 / it.new as f64
    }),
    figure("between messages, median, ms", 3, |it| {
        1e3 * quantile(&it.gaps, 0.5)
    }),
    figure("between messages, 99th percentile, ms", 0, |it| {
        1e3 * quantile(&it.gaps, 0.99)
    }),
    figure("between messages, deviation by mean", 2, |it| {
        variance(&it.gaps).sqrt() / mean(&it.gaps)
    }),
    figure("size of new orders, mean", 1, |it| mean(&it.sizes)),
    figure("size of new orders, median by mean", 2, |it| {
        quantile(&it.sizes, 0.5) / mean(&it.sizes)
    }),
    figure("size of new orders, 99th percentile by mean", 1, |it| {
        quantile(&it.sizes, 0.99) / mean(&it.sizes)
    }),
    figure("size of new orders, 99.9th percentile by mean", 1, |it| {
        quantile(&it.sizes, 0.999) / mean(&it.sizes)
    }),
    figure("size of trades, mean by mean new order", 2, |it| {
        mean(&it.trade_sizes) / mean(&it.sizes)
    }),
    figure("size of trades, 99th percentile by mean", 1, |it| {
        quantile(&it.trade_sizes, 0.99) / mean(&it.trade_sizes)
    }),
    figure("return of a second, deviation in ticks", 3, |it| {
        variance(&returns(it)).sqrt()
    }),
    figure("seconds without a return, %", 1, |it| {
        let returns = returns(it);
        let still = returns.iter().filter(|value| **value == 0.0).count();
        100.0 * still as f64 / returns.len() as f64
    }),
    figure("return of a second, kurtosis", 1, |it| {
        kurtosis(&returns(it))
    }),
    figure("return of a minute, kurtosis", 1, |it| {
        kurtosis(&returns_over(it, 60))
    }),
    figure("returns, autocorrelation at 1 s", 3, |it| {
        autocorrelation(&returns(it), 1)
    }),
    figure("squared returns, autocorrelation at 1 s", 3, |it| {
        autocorrelation(&squared(it), 1)
    }),
    figure("squared returns, autocorrelation at 10 s", 3, |it| {
        autocorrelation(&squared(it), 10)
    }),
    figure("squared returns, autocorrelation at 60 s", 3, |it| {
        autocorrelation(&squared(it), 60)
    }),
    figure("activity of the first eighth, by the mean", 2, |it| {
        activity(it, 0..PARTS / 8)
    }),
    figure("activity of the middle eighth, by the mean", 2, |it| {
        activity(it, PARTS * 7 / 16..PARTS * 9 / 16)
    }),
    figure("activity of the last eighth, by the mean", 2, |it| {
        activity(it, PARTS * 7 / 8..PARTS)
    }),
];

/// Messages in all: what a market-by-order feed tells of orders that wait, and trades.
pub(crate) fn messages(it: &Measured) -> f64 {
    (it.new + it.amended + it.cancelled + it.trades) as f64
}

fn share(it: &Measured, count: u64) -> f64 {
    100.0 * count as f64 / messages(it)
}

/// Seconds at this spread, in hundredths of all.
pub(crate) fn at_spread(it: &Measured, ticks: f64) -> f64 {
    let at = it.spreads.iter().filter(|spread| **spread == ticks).count();
    100.0 * at as f64 / it.spreads.len() as f64
}

/// Depth of each level, in mean new orders.
pub(crate) fn depth(it: &Measured) -> [f64; LEVELS] {
    let size = mean(&it.sizes);
    it.depth.map(|depth| depth / size)
}

fn level(it: &Measured, at: usize) -> f64 {
    depth(it).get(at).copied().unwrap_or(f64::NAN)
}

fn activity(it: &Measured, parts: std::ops::Range<usize>) -> f64 {
    mean(it.activity.get(parts).unwrap_or_default()) / mean(&it.activity)
}

/// Changes of the middle price from second to second, in ticks.
pub(crate) fn returns(it: &Measured) -> Vec<f64> {
    returns_over(it, 1)
}

fn returns_over(it: &Measured, seconds: usize) -> Vec<f64> {
    let mids: Vec<f64> = it.mids.iter().step_by(seconds).copied().collect();
    mids.windows(2)
        .filter_map(|pair| Some(pair.last()? - pair.first()?))
        .collect()
}

/// The squares of the returns.
pub(crate) fn squared(it: &Measured) -> Vec<f64> {
    returns(it).iter().map(|value| value * value).collect()
}

/// The mean; no number of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn moment(values: &[f64], power: i32) -> f64 {
    let mean = mean(values);
    let sum: f64 = values.iter().map(|value| (value - mean).powi(power)).sum();
    sum / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    moment(values, 2)
}

/// 3 for a normal distribution.
fn kurtosis(values: &[f64]) -> f64 {
    moment(values, 4) / moment(values, 2).powi(2)
}

/// Correlation of values with those `lag` later.
pub(crate) fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let mean = mean(values);
    let later = values.iter().skip(lag);
    let pairs = values.iter().zip(later);
    let sum: f64 = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum();
    sum / values.len() as f64 / variance(values)
}

/// The value below which a part of all is.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (part * sorted.len() as f64) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// For each bound the share of values at or above it, from the last bound that all are above to the
/// last that one is above; bounds are ten to a decade.
pub(crate) fn survival(values: &[f64], scale: f64) -> Vec<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().map(|value| value / scale).collect();
    sorted.sort_by(f64::total_cmp);
    let all = sorted.len() as f64;
    let bounds = (-70..=60).map(|tenth| 10_f64.powf(f64::from(tenth) / 10.0));
    let survivals = bounds.map(|bound| {
        let below = sorted.partition_point(|value| *value < bound);
        (bound, (all - below as f64) / all)
    });
    let some: Vec<(f64, f64)> = survivals.filter(|(_, share)| *share > 0.0).collect();
    let first = some.partition_point(|(_, share)| *share >= 1.0);
    some.into_iter().skip(first.saturating_sub(1)).collect()
}
