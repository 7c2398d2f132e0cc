//! What was found beside what was played.
//!
//! Invariant: an alert is of a label when it is of its instrument and rests on one of its orders, or
//! is of one of its traders while it was played. It is true when one such label is of an abuse of the
//! detector's own kind; of others when one is of another kind, or of a pattern that was tried and came
//! to nothing; and else false. A label is found when a true alert of its day is of it; a near miss is
//! flagged when an alert that is not true is of it.

use std::collections::{BTreeMap, BTreeSet};

use tapewatch_detect::detectors;
use tapewatch_model::{Hit, Time};

use crate::day::{Days, OrderOf, Truth};

/// How an alert came about.
struct Alert {
    detector: &'static str,
    sym: String,
    trader: String,
    first: i64,
    last: i64,
    /// The orders that it rests on.
    orders: BTreeSet<OrderOf>,
    text: String,
}

impl Alert {
    /// Whether it came on the day of a label.
    fn is_of_the_day(&self, days: &Days, at: usize) -> bool {
        let date = |time: i64| Time::from_nanos(time).date();
        let began = days.truth.get(at).map(|truth| date(truth.from));
        began == Some(date(self.first))
    }
}

/// How good a detector is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Score {
    pub(crate) detector: &'static str,
    pub(crate) injected: u64,
    pub(crate) found: u64,
    /// Alerts that are true, false, and of other patterns.
    pub(crate) hits: u64,
    pub(crate) wrong: u64,
    pub(crate) other: u64,
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

/// The scores of all detectors; says each alert and each miss of those named.
pub(crate) fn scores(days: &Days, hits: &[Hit], verbose: &[String]) -> Vec<Score> {
    let alerts = alerts(days, hits);
    let of = |info: &tapewatch_detect::DetectorInfo| {
        let alerts = alerts.iter().filter(|alert| alert.detector == info.id);
        score(
            info.id,
            alerts,
            days,
            verbose.iter().any(|named| named == info.id),
        )
    };
    detectors().map(of).collect()
}

fn score<'a>(
    id: &'static str,
    alerts: impl Iterator<Item = &'a Alert>,
    days: &Days,
    verbose: bool,
) -> Score {
    let mut score = Score {
        detector: id,
        ..Score::default()
    };
    let mut first: BTreeMap<usize, i64> = BTreeMap::new();
    let mut flagged: BTreeSet<usize> = BTreeSet::new();
    for alert in alerts {
        let labels = labels_of(alert, &days.truth);
        let abuse = |at: &usize| {
            days.truth
                .get(*at)
                .is_some_and(|truth| truth.near_miss.is_none())
        };
        let own = |at: &usize| days.truth.get(*at).is_some_and(|truth| truth.kind == id);
        let found: Vec<usize> = labels
            .iter()
            .copied()
            .filter(|at| own(at) && abuse(at) && alert.is_of_the_day(days, *at))
            .collect();
        for at in &found {
            let time = first.entry(*at).or_insert(alert.first);
            *time = (*time).min(alert.first);
        }
        if found.is_empty() {
            flagged.extend(labels.iter().filter(|at| own(at) && !abuse(at)));
        }
        let word = if !found.is_empty() {
            score.hits += 1;
            "true"
        } else if labels.iter().any(abuse) || !labels_of(alert, &days.attempts).is_empty() {
            score.other += 1;
            "other"
        } else {
            score.wrong += 1;
            "false"
        };
        if verbose {
            println!("{word}: {}", alert.text);
        }
    }
    for (at, truth) in days
        .truth
        .iter()
        .enumerate()
        .filter(|(_, truth)| truth.kind == id)
    {
        let abuse = truth.near_miss.is_none();
        score.injected += u64::from(abuse);
        score.near_misses += u64::from(!abuse);
        if verbose && abuse && !first.contains_key(&at) {
            let (from, traders) = (Time::from_nanos(truth.from), truth.traders.join(" "));
            println!("missed: {} {traders} {from} {}", truth.sym, truth.variation);
        }
    }
    score.near_flagged = flagged.len() as u64;
    score.found = first.len() as u64;
    let began = |at: &usize| days.truth.get(*at).map(|truth| truth.from);
    let delays = first
        .iter()
        .filter_map(|(at, time)| Some(time - began(at)?));
    score.delays = delays.collect();
    score.delays.sort_unstable();
    score
}

/// The labels that an alert is of.
fn labels_of(alert: &Alert, truth: &[Truth]) -> Vec<usize> {
    let sym = alert.sym.strip_prefix("SIM");
    let sym: u16 = sym.and_then(|sym| sym.parse().ok()).unwrap_or(0);
    let of = |truth: &Truth| {
        let rests = || {
            let mut ids = truth.orders.iter().filter_map(|id| id.parse().ok());
            ids.any(|id| alert.orders.contains(&(truth.day, sym, id)))
        };
        let meanwhile = truth.traders.contains(&alert.trader)
            && alert.last >= truth.from
            && alert.first <= truth.to;
        truth.sym == alert.sym && truth.from <= alert.last && (meanwhile || rests())
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
        let key = (hit.detector, *hit.alert_id.bytes());
        let alert = alerts.entry(key).or_insert_with(|| Alert {
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
