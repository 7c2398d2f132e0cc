//! The page of results.

use std::fmt::Write as _;

use crate::cost::Costs;
use crate::day::Days;
use crate::score::{PerMillion, Score};

/// What is aimed at.
const PRECISION: f64 = 0.90;
const RECALL: f64 = 0.95;

/// What there is to write.
pub(crate) struct Page<'a> {
    pub(crate) tuning: bool,
    pub(crate) plan: &'a str,
    pub(crate) days: &'a Days,
    pub(crate) scores: &'a [Score],
    pub(crate) quiet: &'a PerMillion,
    pub(crate) real: Option<&'a PerMillion>,
    pub(crate) costs: &'a Costs,
}

fn share(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.2}"))
}

/// As [`share`], bold where it falls short of the aim.
fn aimed(value: Option<f64>, aim: f64) -> String {
    match value.is_none_or(|value| value < aim) {
        true => format!("**{}**", share(value)),
        false => share(value),
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| match value {
        value if value < 10.0 => format!("{value:.1} s"),
        value if value < 600.0 => format!("{value:.0} s"),
        value => format!("{:.0} min", value / 60.0),
    })
}

/// What was found of what was played.
pub(crate) fn quality(scores: &[Score]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "## Found and missed\n\nAn alert is true when it rests on an order of a pattern of its kind, or is of the pattern's trader \
         while it was played; alerts on patterns of another kind, or of another day, are counted apart and in neither precision nor recall. A near miss is flagged \
         when an alert rests on it that is not true. A day opens where the one before closed; insiders begin on the seventh. \
         The aim is a precision of {PRECISION} and a recall of {RECALL}: what falls short is bold. A detector without near misses of its own has a dash.\n\n\
         | detector | injected | found | missed | true alerts | false | of other kinds | precision | recall | F1 | time to detect, median | p90 | near misses | flagged |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for score in scores {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            score.detector,
            score.injected,
            score.found,
            score.injected - score.found,
            score.hits,
            score.wrong,
            score.other,
            aimed(score.precision(), PRECISION),
            aimed(score.recall(), RECALL),
            share(score.f1()),
            seconds(score.delay(50)),
            seconds(score.delay(90)),
            if score.near_misses == 0 {
                "–".to_owned()
            } else {
                score.near_misses.to_string()
            },
            if score.near_misses == 0 {
                "–".to_owned()
            } else {
                score.near_flagged.to_string()
            }
        );
    }
    out.push_str("\n![Precision and recall](images/detectors-quality.svg)\n\n![Time to detect](images/detectors-delay.svg)\n\n");
    out
}

/// Whether it finds something in a source that tells no more than every one.
fn needs_nothing(id: &str) -> bool {
    let mut infos = tapewatch_detect::detectors();
    infos.any(|info| info.id == id && info.needs.is_empty())
}

impl Page<'_> {
    pub(crate) fn text(&self) -> String {
        let mut out = String::from("# How good the detectors are\n\n");
        let seeds = (self.days.seeds.first(), self.days.seeds.last());
        let (first, last) = (seeds.0.copied().unwrap_or(0), seeds.1.copied().unwrap_or(0));
        let which = if self.tuning { "tuning" } else { "test" };
        // A string takes all that is written to it.
        let _ = writeln!(
            out,
            "Made by `cargo xtask bench detectors`: {} simulated days of two instruments ({which} seeds {first} to {last}), \
             {} events, plan `{}`, all detectors at their defaults in one engine, day after day; market makers, a client group of the tables, are exempt from `order_to_trade` by a profile.\n",
            self.days.seeds.len(),
            self.days.rows(),
            self.plan
        );
        out.push_str(&quality(self.scores));
        self.rates(&mut out);
        self.cost(&mut out);
        out
    }

    fn rates(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "## Where nothing was played\n\nAlerts per million events: the same seeds without a plan ({} events){}.\n",
            self.quiet.rows,
            self.real.map_or(String::new(), |real| format!(
                ", and a real quiet day, CME E-mini S&P 500 futures, 25 December 2023 ({} events; it names no traders, so what needs them is off)",
                real.rows
            ))
        );
        let real = if self.real.is_some() {
            " real day |"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "| detector | simulated |{real}\n|---|---:|{}",
            if self.real.is_some() { "---:|" } else { "" }
        );
        let rate = |of: &PerMillion, id: &str| {
            let alerts = of.alerts.get(id).copied().unwrap_or(0);
            format!("{:.1}", alerts as f64 * 1e6 / of.rows.max(1) as f64)
        };
        for score in self.scores {
            let real = self.real.map(|real| match needs_nothing(score.detector) {
                true => format!(" {} |", rate(real, score.detector)),
                false => " off |".to_owned(),
            });
            let _ = writeln!(
                out,
                "| `{}` | {} |{}",
                score.detector,
                rate(self.quiet, score.detector),
                real.unwrap_or_default()
            );
        }
        out.push('\n');
    }

    fn cost(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "## What they cost\n\nAll together: {:.2} million events a second on one core. The market that they share (books, orders, prints) takes {:.0} ns an event; \
             each detector beside it (what is below zero is noise):\n\n\
             | detector | ns an event | entities | bytes an entity |\n|---|---:|---:|---:|",
            self.costs.all_rate / 1e6,
            self.costs.market
        );
        for cost in &self.costs.each {
            let _ = writeln!(
                out,
                "| `{}` | {:.0} | {} | {:.0} |",
                cost.detector, cost.nanos, cost.entities, cost.bytes
            );
        }
        out.push_str("\n![Cost](images/detectors-cost.svg)\n");
    }
}
