//! What was found beside what was played.
//!
//! Invariant: an alert is of a label when it is of its instrument and rests on one of its orders, or
//! is of one of its traders while it was played. It is true when one such label is of an abuse of the
//! detector's own kind, of others when one is of another kind, and else false. A label is found when
//! a true alert is of it.

use std::collections::{BTreeMap, BTreeSet};

use tapewatch_detect::detectors;
use tapewatch_model::Hit;

use crate::day::{Days, Truth};

/// How an alert came about.
struct Alert {
    detector: &'static str,
    sym: String,
    trader: String,
    first: i64,
    last: i64,
    /// Instrument and id of the orders that it rests on.
    orders: BTreeSet<(u32, u64)>,
    text: String,
}

/// How good a detector is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Score {
    pub(crate) detector: &'static str,
    pub(crate) injected: u64,
    pub(crate) found: u64,
    /// Alerts that are true, false, of other kinds of abuse, and of near misses.
    pub(crate) hits: u64,
    pub(crate) wrong: u64,
    pub(crate) other: u64,
    pub(crate) near: u64,
    /// Near misses that were played, and those that were flagged.
    pub(crate) near_misses: u64,
    pub(crate) near_flagged: u64,
    /// From the beginning of a pattern to its alert, in nanoseconds, ascending.
    pub(crate) delays: Vec<i64>,
}

impl Score {
    pub(crate) fn recall(&self) -> Option<f64> {
        (self.injected > 0).then(|| self.found as f64 / self.injected as f64)
    }

    pub(crate) fn precision(&self) -> Option<f64> {
        let all = self.hits + self.wrong;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }

    pub(crate) fn f1(&self) -> Option<f64> {
        let (recall, precision) = (self.recall()?, self.precision()?);
        Some(2.0 * recall * precision / (recall + precision).max(1e-9))
    }

    /// So many hundredths of the delays are no longer than this, in seconds.
    pub(crate) fn delay(&self, hundredths: usize) -> Option<f64> {
        let at = self.delays.len().saturating_sub(1) * hundredths / 100;
        self.delays.get(at).map(|delay| *delay as f64 / 1e9)
    }
}

/// Alerts of each detector per million events.
pub(crate) struct PerMillion {
    pub(crate) rows: u64,
    pub(crate) alerts: BTreeMap<&'static str, u64>,
}

pub(crate) fn per_million(rows: u64, hits: &[Hit]) -> PerMillion {
    let ids: BTreeSet<_> = hits
        .iter()
        .map(|hit| (hit.detector, hit.alert_id))
        .collect();
    let mut alerts = BTreeMap::new();
    for (detector, _) in ids {
        *alerts.entry(detector).or_default() += 1;
    }
    PerMillion { rows, alerts }
}

pub(crate) fn scores(days: &Days, hits: &[Hit], verbose: Option<&str>) -> Vec<Score> {
    let alerts = alerts(days, hits);
    let mut scores = Vec::new();
    for info in detectors() {
        let of_kind = |truth: &&Truth| truth.kind == info.id;
        let played = days.truth.iter().filter(of_kind);
        let mut score = Score {
            detector: info.id,
            ..Score::default()
        };
        let mut first: BTreeMap<usize, i64> = BTreeMap::new();
        let mut flagged: BTreeSet<usize> = BTreeSet::new();
        for alert in alerts.iter().filter(|alert| alert.detector == info.id) {
            let labels: Vec<usize> = labels_of(alert, &days.truth);
            let true_ones = labels.iter().filter(|&&at| is_abuse(days, at, info.id));
            let mut is_true = false;
            for at in true_ones {
                is_true = true;
                first
                    .entry(*at)
                    .and_modify(|time| *time = (*time).min(alert.first))
                    .or_insert(alert.first);
            }
            let misses: Vec<usize> = labels
                .iter()
                .copied()
                .filter(|&at| days.truth[at].near_miss.is_some())
                .collect();
            flagged.extend(misses.iter().filter(|&&at| days.truth[at].kind == info.id));
            if is_true {
                score.hits += 1;
            } else if labels.iter().any(|&at| days.truth[at].near_miss.is_none()) {
                score.other += 1;
            } else {
                score.wrong += 1;
                score.near += u64::from(!misses.is_empty());
                if verbose == Some(info.id) {
                    println!("false: {}", alert.text);
                }
            }
        }
        for (at, truth) in days
            .truth
            .iter()
            .enumerate()
            .filter(|(_, truth)| truth.kind == info.id)
        {
            if truth.near_miss.is_none() && !first.contains_key(&at) && verbose == Some(info.id) {
                println!(
                    "missed: {} {:?} {} {}",
                    truth.sym,
                    truth.traders,
                    tapewatch_model::Time::from_nanos(truth.from),
                    truth.variation
                );
            }
        }
        score.injected = played
            .clone()
            .filter(|truth| truth.near_miss.is_none())
            .count() as u64;
        score.near_misses = played.filter(|truth| truth.near_miss.is_some()).count() as u64;
        score.near_flagged = flagged.len() as u64;
        score.found = first.len() as u64;
        score.delays = first
            .iter()
            .map(|(at, time)| time - days.truth[*at].from)
            .collect();
        score.delays.sort_unstable();
        scores.push(score);
    }
    scores
}

fn is_abuse(days: &Days, at: usize, kind: &str) -> bool {
    let truth = &days.truth[at];
    truth.kind == kind && truth.near_miss.is_none()
}

/// The labels that an alert is of.
fn labels_of(alert: &Alert, truth: &[Truth]) -> Vec<usize> {
    let sym: u32 = alert
        .sym
        .strip_prefix("SIM")
        .and_then(|sym| sym.parse().ok())
        .unwrap_or(0);
    let of = |truth: &Truth| {
        let rests = || {
            let mut ids = truth.orders.iter().filter_map(|id| id.parse().ok());
            ids.any(|id| alert.orders.contains(&(sym, id)))
        };
        let meanwhile = truth.traders.contains(&alert.trader)
            && alert.last >= truth.from
            && alert.first <= truth.to;
        // Order ids come again on other days.
        let same_day = alert.first - truth.from < 86_400_000_000_000 && truth.from <= alert.last;
        truth.sym == alert.sym && same_day && (meanwhile || rests())
    };
    let all = truth.iter().enumerate();
    all.filter(|(_, truth)| of(truth))
        .map(|(at, _)| at)
        .collect()
}

fn alerts(days: &Days, hits: &[Hit]) -> Vec<Alert> {
    let mut alerts: BTreeMap<(&str, [u8; 16]), Alert> = BTreeMap::new();
    for hit in hits {
        let time = hit.order.time.nanos();
        let orders = hit.evidence.iter().filter_map(|seq| days.order_of(*seq));
        let alert = alerts
            .entry((hit.detector, *hit.alert_id.bytes()))
            .or_insert_with(|| Alert {
                detector: hit.detector,
                sym: hit.order.sym.clone(),
                trader: hit.order.trader.clone(),
                first: time,
                last: time,
                orders: BTreeSet::new(),
                text: format!("{} {}", hit.order.time, hit.text),
            });
        alert.last = alert.last.max(time);
        alert.orders.extend(orders);
    }
    alerts.into_values().collect()
}
