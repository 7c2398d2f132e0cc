//! What runs cost, and the spread of several.

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_rss_mb: f64,
}

/// Least, median and greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) greatest: f64,
}

impl Spread {
    /// Of one measure of all runs; nothing when there was no run.
    pub(super) fn of(costs: &[Cost], measure: fn(&Cost) -> f64) -> Option<Self> {
        Self::of_values(costs.iter().map(measure).collect())
    }

    /// Of values; nothing when there is none.
    pub(super) fn of_values(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let upper = values.get(values.len() / 2)?;
        let lower = values.get(values.len().saturating_sub(1) / 2)?;
        Some(Self {
            least: *values.first()?,
            median: f64::midpoint(*lower, *upper),
            greatest: *values.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let of = |seconds: &[f64]| {
            let cost = |seconds: &f64| Cost {
                seconds: *seconds,
                cpu_seconds: 0.0,
                peak_rss_mb: 0.0,
            };
            let costs: Vec<Cost> = seconds.iter().map(cost).collect();
            Spread::of(&costs, |cost| cost.seconds)
        };
        let spread = |least, median, greatest| {
            Some(Spread {
                least,
                median,
                greatest,
            })
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), spread(1.0, 2.0, 3.0));
        assert_eq!(of(&[4.0, 1.0]), spread(1.0, 2.5, 4.0));
        assert_eq!(of(&[]), None);
    }
}
