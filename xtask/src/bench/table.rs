//! The table of a benchmark: least, median and greatest time of each engine, and the ratio to the first.

use super::Cost;

/// All runs of one engine.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) engine: &'static str,
    pub(super) costs: Vec<Cost>,
}

impl Series {
    pub(super) fn new(engine: &'static str) -> Self {
        Self {
            engine,
            costs: Vec::new(),
        }
    }
}

/// Least, median and greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

fn spread(costs: &[Cost], measure: impl Fn(&Cost) -> f64) -> Option<Spread> {
    let mut values: Vec<f64> = costs.iter().map(measure).collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().saturating_sub(1) / 2)?;
    Some(Spread {
        least: *values.first()?,
        median: f64::midpoint(*lower, *upper),
        greatest: *values.last()?,
    })
}

/// One line per engine; the ratio says how many times the first engine's median it takes.
pub(super) fn table(rows: u64, all: &[Series]) -> String {
    let mut text = format!(
        "{:<10} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>7}\n",
        "engine", "min s", "median s", "max s", "Mrows/s", "CPU s", "MiB", "ratio"
    );
    let first = all
        .first()
        .and_then(|series| spread(&series.costs, |cost| cost.seconds));
    for series in all {
        let wall = spread(&series.costs, |cost| cost.seconds);
        let cpu = spread(&series.costs, |cost| cost.cpu_seconds);
        let memory = spread(&series.costs, |cost| cost.peak_rss_mb);
        let (Some(wall), Some(cpu), Some(memory), Some(first)) = (wall, cpu, memory, first) else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "for show only")]
        let speed = rows as f64 / wall.median / 1e6;
        text.push_str(&format!(
            "{:<10} {:>8.3} {:>8.3} {:>8.3} {speed:>10.2} {:>8.2} {:>8.0} {:>7.2}\n",
            series.engine,
            wall.least,
            wall.median,
            wall.greatest,
            cpu.median,
            memory.greatest,
            wall.median / first.median
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(seconds: &[f64]) -> Vec<Cost> {
        let all = seconds.iter();
        all.map(|seconds| Cost {
            seconds: *seconds,
            cpu_seconds: *seconds,
            peak_rss_mb: 100.0,
        })
        .collect()
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let of = |seconds: &[f64]| spread(&costs(seconds), |cost| cost.seconds);
        assert_eq!(
            of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                least: 1.0,
                median: 2.0,
                greatest: 3.0
            })
        );
        assert_eq!(
            of(&[4.0, 1.0]),
            Some(Spread {
                least: 1.0,
                median: 2.5,
                greatest: 4.0
            })
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_ratio_is_to_the_first_engine() {
        let all = [
            Series {
                engine: "tapewatch",
                costs: costs(&[2.0, 2.0, 2.0]),
            },
            Series {
                engine: "duckdb",
                costs: costs(&[5.0]),
            },
        ];
        let text = table(10_000_000, &all);
        assert!(
            text.contains(
                "tapewatch     2.000    2.000    2.000       5.00     2.00      100    1.00"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "duckdb        5.000    5.000    5.000       2.00     5.00      100    2.50"
            ),
            "{text}"
        );
    }
}
