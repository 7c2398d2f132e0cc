//! How much abuse, and how much that looks like it, is played in a session.
//!
//! Invariant: a plan says how often each pattern is tried in each instrument; what was carried out is
//! in the labels.

use crate::pattern::{Abuse, NearMiss, Pattern};

/// The most of one pattern in an instrument.
pub(crate) const COUNT_MAX: u16 = 200;

/// How far a pattern goes beyond what the detectors' defaults ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Intensity {
    /// 0.6 to 1.3 times: on either side.
    Low,
    /// 1.1 to 3 times.
    #[default]
    Medium,
    /// 2 to 6 times.
    High,
}

impl Intensity {
    /// From how many to how many hundredths.
    pub(crate) const fn hundredths(self) -> (i64, i64) {
        match self {
            Self::Low => (60, 130),
            Self::Medium => (110, 300),
            Self::High => (200, 600),
        }
    }

    /// The word in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How often each pattern is tried in each instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    counts: [u16; Pattern::COUNT],
    /// How far the abuses go.
    pub intensity: Intensity,
}

/// Why a text is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No number, or too large a one.
    #[error(
        "`{0}` in the plan is not NAME=COUNT with a count of 0 to {COUNT_MAX}, such as spoofing=5"
    )]
    Count(String),
    /// An unknown abuse.
    #[error("`{0}` is no abuse that is known: {known}, all, intensity", known = names(Abuse::ALL.iter().map(|abuse| abuse.name())))]
    Abuse(String),
    /// An unknown near miss.
    #[error("`near:{0}` is no near miss that is known: {known}, all", known = names(NearMiss::ALL.iter().map(|miss| miss.name())))]
    NearMiss(String),
    /// An unknown intensity.
    #[error("`{0}` is no intensity that is known: low, medium, high")]
    Intensity(String),
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl Plan {
    /// Reads `spoofing=5,layering=3,near:arbitrage=2`; the names are those of [`Abuse`] and
    /// [`NearMiss`], `all` and `near:all` are each of them, `intensity=high` sets how far abuses go.
    /// Later parts win; an empty text is an empty plan.
    ///
    /// # Errors
    /// [`PlanError`], which names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let wrong = || PlanError::Count(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            if name == "intensity" {
                let all = [Intensity::Low, Intensity::Medium, Intensity::High];
                let named = all.into_iter().find(|known| known.name() == value);
                plan.intensity = named.ok_or_else(|| PlanError::Intensity(value.to_owned()))?;
                continue;
            }
            let count = value.parse().ok().filter(|count| *count <= COUNT_MAX);
            let count = count.ok_or_else(wrong)?;
            for pattern in patterns(name)? {
                plan.set(pattern, count);
            }
        }
        Ok(plan)
    }

    /// Tries a pattern so often in each instrument; at most 200 times.
    pub fn set(&mut self, pattern: Pattern, count: u16) {
        if let Some(at) = self.counts.get_mut(pattern.number()) {
            *at = count.min(COUNT_MAX);
        }
    }

    /// How often a pattern is tried in each instrument.
    #[must_use]
    pub fn count(&self, pattern: Pattern) -> u16 {
        self.counts.get(pattern.number()).copied().unwrap_or(0)
    }

    /// How many are tried in an instrument.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }
}

/// The patterns that a name in a plan means.
fn patterns(name: &str) -> Result<Vec<Pattern>, PlanError> {
    let near = name.strip_prefix("near:");
    let wanted = near.unwrap_or(name);
    let known = |pattern: &Pattern| match (pattern, near) {
        (Pattern::Abuse(abuse), None) => wanted == "all" || wanted == abuse.name(),
        (Pattern::NearMiss(miss), Some(_)) => wanted == "all" || wanted == miss.name(),
        _ => false,
    };
    let patterns: Vec<Pattern> = Pattern::all().filter(known).collect();
    match (patterns.is_empty(), near) {
        (false, _) => Ok(patterns),
        (true, None) => Err(PlanError::Abuse(name.to_owned())),
        (true, Some(near)) => Err(PlanError::NearMiss(near.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read() {
        let plan = Plan::parse("spoofing=5, near:arbitrage=2,intensity=high").unwrap();
        assert_eq!(plan.count(Pattern::Abuse(Abuse::Spoofing)), 5);
        assert_eq!(plan.count(Pattern::NearMiss(NearMiss::Arbitrage)), 2);
        assert_eq!((plan.total(), plan.intensity), (7, Intensity::High));
        assert_eq!(
            Plan::parse("all=1,near:all=1,spoofing=0").unwrap().total(),
            26
        );
        assert_eq!(Plan::parse("").unwrap(), Plan::default());
    }

    #[test]
    fn what_is_no_plan_is_named() {
        let error = |text| Plan::parse(text).unwrap_err().to_string();
        assert!(
            error("spoof=1")
                .starts_with("`spoof` is no abuse that is known: spoofing, bait_and_switch, ")
        );
        assert!(
            error("near:x=1").starts_with("`near:x` is no near miss that is known: quote_pull, ")
        );
        assert!(error("spoofing=201").contains("`spoofing=201`"));
        assert!(error("spoofing").contains("`spoofing`"));
        assert!(error("intensity=x").contains("low, medium, high"));
    }
}
