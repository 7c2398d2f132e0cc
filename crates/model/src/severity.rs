//! How grave a hit is: a number from 0 to 100 that follows from its measures alone.
//!
//! Invariant: a function of measures and thresholds, the same live, in a replay and in SQL. A measure
//! at its threshold scores 25, at twice 50, at four times 75, at eight times and beyond 100, straight
//! lines between; the severity is the mean of all measures that have a threshold and reach it.

use std::fmt;

use crate::hit::Measure;

/// From 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Severity(u8);

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Below 40: up to about 1.6 times the thresholds.
    Low,
    /// From 40.
    Medium,
    /// From 60: about 2.8 times.
    High,
    /// From 80: about five times.
    Critical,
}

impl Severity {
    /// That of a hit with these measures; each is a value and its threshold in the same units.
    #[must_use]
    pub fn of(measures: impl IntoIterator<Item = (i128, i128)>) -> Self {
        let scores = measures
            .into_iter()
            .filter_map(|(value, threshold)| score(value, threshold));
        let (sum, count) = scores.fold((0_u32, 0_u32), |(sum, count), score| {
            (sum + score, count + 1)
        });
        Self(sum.checked_div(count).unwrap_or(0) as u8)
    }

    /// That of a hit with these measures.
    #[must_use]
    pub fn of_measures(measures: &[Measure]) -> Self {
        let pair = |measure: &Measure| (measure.value.units(), measure.threshold.units());
        Self::of(measures.iter().map(pair))
    }

    /// The number.
    #[must_use]
    pub const fn score(self) -> u8 {
        self.0
    }

    /// In a word.
    #[must_use]
    pub const fn grade(self) -> Grade {
        match self.0 {
            0..=39 => Grade::Low,
            40..=59 => Grade::Medium,
            60..=79 => Grade::High,
            _ => Grade::Critical,
        }
    }
}

impl Grade {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// 25 for each doubling and one more; `None` of a measure that its threshold says nothing about.
fn score(value: i128, threshold: i128) -> Option<u32> {
    if threshold <= 0 || value < threshold {
        return None;
    }
    let mut base = threshold;
    let mut score = 25;
    while score < 100 {
        let twice = base.saturating_mul(2);
        if value < twice {
            let part = (value - base).saturating_mul(25) / base;
            return Some(score + part as u32);
        }
        base = twice;
        score += 25;
    }
    Some(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(measures: &[(i128, i128)]) -> u8 {
        Severity::of(measures.iter().copied()).score()
    }

    #[test]
    fn twice_the_threshold_is_one_step_more() {
        for (value, expected) in [
            (99, 0),
            (100, 25),
            (150, 37),
            (200, 50),
            (300, 62),
            (400, 75),
        ] {
            assert_eq!(of(&[(value, 100)]), expected, "{value}");
        }
        assert_eq!(of(&[(799, 100)]), 99);
        assert_eq!(of(&[(i128::MAX, 1)]), 100);
        assert_eq!(of(&[(200, 100), (100, 100), (5, 0), (1, 100)]), 37);
        assert_eq!(of(&[]), 0);
        let grades = [0, 39, 40, 60, 80, 100].map(|score| Severity(score).grade().name());
        assert_eq!(
            grades,
            ["low", "low", "medium", "high", "critical", "critical"]
        );
    }
}
