//! Parameter sets: every combination of the values that `--set` names.
//!
//! Invariant: the sets are numbered from 0, the last `--set` varies fastest; every set is a valid
//! configuration.

use std::collections::BTreeSet;

use tapewatch_detect::DetectConfig;
use tapewatch_model::{Price, TimeSpan};

use crate::cli::BacktestArgs;
use crate::failure::Failure;

/// Most sets in one pass.
const SETS_MAX: usize = 10_000;

/// The sets, and what they differ in.
pub(crate) struct Grid {
    /// `detector.parameter` that have several values.
    names: Vec<String>,
    /// The values of `names`, a row a set.
    values: Vec<Vec<String>>,
    sets: Vec<DetectConfig>,
    /// Parameters that have their values.
    given: BTreeSet<String>,
}

impl Grid {
    /// What the command line says.
    pub(crate) fn read(args: &BacktestArgs) -> Result<Self, Failure> {
        let mut grid = Self {
            names: Vec::new(),
            values: vec![Vec::new()],
            sets: vec![args.detect.config()?],
            given: BTreeSet::new(),
        };
        for assignment in &args.set {
            grid.cross(assignment)?;
        }
        Ok(grid)
    }

    /// Crosses the sets so far with the values of one assignment.
    fn cross(&mut self, assignment: &str) -> Result<(), Failure> {
        let usage = |reason: String| Failure::usage(format!("--set {assignment}: {reason}"));
        let (name, text) = assignment
            .split_once('=')
            .ok_or_else(|| usage("expected detector.parameter=values".to_owned()))?;
        let name = name.trim();
        if !self.given.insert(name.to_owned()) {
            let reason = format!("{name} has its values already: name them all in one --set");
            return Err(usage(reason));
        }
        let values = values(text.trim()).map_err(usage)?;
        if self.sets.len().saturating_mul(values.len()) > SETS_MAX {
            return Err(usage(format!("that makes more than {SETS_MAX} sets")));
        }
        let (mut sets, mut rows) = (Vec::new(), Vec::new());
        for (set, row) in self.sets.iter().zip(&self.values) {
            for value in &values {
                let mut set = set.clone();
                set.set(&format!("{name}={value}"))
                    .map_err(|error| usage(error.to_string()))?;
                sets.push(set);
                let mut row = row.clone();
                if values.len() > 1 {
                    row.push(value.clone());
                }
                rows.push(row);
            }
        }
        if values.len() > 1 {
            self.names.push(name.to_owned());
        }
        (self.sets, self.values) = (sets, rows);
        Ok(())
    }

    /// The sets.
    pub(crate) fn sets(&self) -> &[DetectConfig] {
        &self.sets
    }

    /// What the sets differ in.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The values of [`Self::names`] in a set.
    pub(crate) fn values(&self, set: usize) -> &[String] {
        self.values.get(set).map(Vec::as_slice).unwrap_or_default()
    }
}

/// `4000`, `3,5,9`, `2000..8000:1000` or `10s..60s:10s`, both ends included.
fn values(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            None => all.push(part.trim().to_owned()),
            Some((from, rest)) => all.extend(range(from.trim(), rest.trim())?),
        }
    }
    Ok(all)
}

fn range(from: &str, rest: &str) -> Result<Vec<String>, String> {
    let (to, step) = rest
        .split_once(':')
        .ok_or("a range needs a step, as 2000..8000:1000")?;
    let texts = [from, to.trim(), step.trim()];
    let numbers = texts.map(|text| Price::parse(text.as_bytes()).map(Price::units));
    if let [Ok(from), Ok(to), Ok(step)] = numbers {
        let text = |units| Price::from_units(units).to_string();
        return steps(from, to, step).map(|all| all.into_iter().map(text).collect());
    }
    let spans = texts.map(|text| TimeSpan::parse(text).map(|span| span.nanos()));
    if let [Ok(from), Ok(to), Ok(step)] = spans {
        let text = |nanos| TimeSpan::from_nanos(nanos).to_string();
        return steps(from, to, step).map(|all| all.into_iter().map(text).collect());
    }
    Err("a range is of numbers, as 2000..8000:1000, or of time spans, as 10s..60s:10s".to_owned())
}

fn steps(from: i64, to: i64, step: i64) -> Result<Vec<i64>, String> {
    if step <= 0 || from > to {
        return Err("a range goes up, by a step of more than 0".to_owned());
    }
    let span = to.saturating_sub(from) / step;
    if usize::try_from(span).map_or(true, |span| span >= SETS_MAX) {
        return Err(format!("the range has more than {SETS_MAX} values"));
    }
    Ok((0..=span).map(|index| from + index * step).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lists_and_ranges() {
        for (text, expected) in [
            ("4000", vec!["4000"]),
            ("3, 5,9", vec!["3", "5", "9"]),
            ("2000..4000:1000", vec!["2000", "3000", "4000"]),
            ("0.5..1.2:0.5", vec!["0.5", "1"]),
            ("10s..30s:10s,1m", vec!["10s", "20s", "30s", "1m"]),
            ("seq", vec!["seq"]),
        ] {
            assert_eq!(values(text).unwrap(), expected, "{text}");
        }
        for text in ["1..2", "2..1:1", "1..2:0", "1..5s:1", "0..1000000000:0.001"] {
            assert!(values(text).is_err(), "{text}");
        }
    }
}
