//! What is measured in turns, and the bars that the medians have to meet.
//!
//! Invariant: a case is named once; a bar compares with a case of the same run.

use super::spread::{Cost, Spread};

/// What a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// `tapewatch replay`.
    Replay,
    /// `tapewatch sql --file`: all columns in memory, then a query.
    Recent,
    /// `tapewatch backtest` over the prepared history.
    Backtest { grid: bool },
    /// DuckDB or Polars.
    Peer(&'static str),
}

/// How many times another case's median has to be the case's own, at least.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) text: &'static str,
    of: fn(&Cost) -> f64,
    than: &'static str,
    times: f64,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) work: Work,
    /// The file's extension; a backtest reads the history and compares with peers on this file.
    pub(super) format: &'static str,
    pub(super) threads: u32,
    pub(super) bars: &'static [Bar],
}

const fn cpu_below(text: &'static str, than: &'static str, times: f64) -> Bar {
    Bar {
        text,
        of: |cost| cost.cpu_seconds,
        than,
        times,
    }
}

const fn wall_below(text: &'static str, than: &'static str, times: f64) -> Bar {
    Bar {
        text,
        of: |cost| cost.seconds,
        than,
        times,
    }
}

/// A case on one thread.
const fn own(name: &'static str, work: Work, format: &'static str, bars: &'static [Bar]) -> Case {
    Case {
        name,
        work,
        format,
        threads: 1,
        bars,
    }
}

const fn peer(name: &'static str, engine: &'static str, format: &'static str) -> Case {
    own(name, Work::Peer(engine), format, &[])
}

const DUCKDB_CSV: &str = "DuckDB, CSV";
const POLARS_CSV: &str = "Polars, CSV";
const DUCKDB_PARQUET: &str = "DuckDB, Parquet";
const POLARS_PARQUET: &str = "Polars, Parquet";
const ONE_SET: &str = "backtest of one set, own history";

/// All cases, in the order of their turns.
pub(super) const CASES: &[Case] = &[
    own(
        "CSV to alerts, all columns in memory",
        Work::Recent,
        "csv",
        &[
            cpu_below("2.5 × less CPU than DuckDB", DUCKDB_CSV, 2.5),
            cpu_below("2 × less than Polars", POLARS_CSV, 2.0),
        ],
    ),
    own(
        "replay of CSV",
        Work::Replay,
        "csv",
        &[cpu_below("5 × less CPU than DuckDB", DUCKDB_CSV, 5.0)],
    ),
    own(
        "replay of Parquet",
        Work::Replay,
        "parquet",
        &[
            cpu_below("4 × less CPU than DuckDB", DUCKDB_PARQUET, 4.0),
            cpu_below("3 × less than Polars", POLARS_PARQUET, 3.0),
        ],
    ),
    own(
        ONE_SET,
        Work::Backtest { grid: false },
        "parquet",
        &[cpu_below("10 × less CPU than DuckDB", DUCKDB_PARQUET, 10.0)],
    ),
    Case {
        threads: 2,
        ..own(
            "backtest of one set, 2 threads",
            Work::Backtest { grid: false },
            "parquet",
            &[wall_below("1.7 × as fast as 1 thread", ONE_SET, 1.7)],
        )
    },
    own(
        "backtest of 49 sets in one pass",
        Work::Backtest { grid: true },
        "parquet",
        &[wall_below("at most 5 × the time of one set", ONE_SET, 0.2)],
    ),
    peer(DUCKDB_CSV, "duckdb", "csv"),
    peer(POLARS_CSV, "polars", "csv"),
    peer(DUCKDB_PARQUET, "duckdb", "parquet"),
    peer(POLARS_PARQUET, "polars", "parquet"),
];

/// The costs of a case's runs.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) case: &'static Case,
    pub(super) costs: Vec<Cost>,
}

impl Series {
    pub(super) fn median(&self, of: fn(&Cost) -> f64) -> Option<f64> {
        Spread::of(&self.costs, of).map(|spread| spread.median)
    }

    /// How many times the CPU time of this one the peer takes on the same file; many sets of
    /// parameters at once are nothing that a peer does.
    pub(super) fn ratio_to(&self, engine: &str, all: &[Self]) -> Option<f64> {
        if matches!(
            self.case.work,
            Work::Peer(_) | Work::Backtest { grid: true }
        ) {
            return None;
        }
        let peer = all.iter().find(|series| {
            matches!(series.case.work, Work::Peer(name) if name == engine)
                && series.case.format == self.case.format
        })?;
        let cpu = |series: &Self| series.median(|cost| cost.cpu_seconds);
        Some(cpu(peer)? / cpu(self)?)
    }

    /// Whether all bars are met; nothing when there is none.
    pub(super) fn met(&self, all: &[Self]) -> Option<bool> {
        let met = |bar: &Bar| {
            let other = all.iter().find(|series| series.case.name == bar.than)?;
            Some(other.median(bar.of)? / self.median(bar.of)? >= bar.times)
        };
        let bars: Option<Vec<bool>> = self.case.bars.iter().map(met).collect();
        bars.filter(|bars| !bars.is_empty())
            .map(|bars| bars.into_iter().all(|met| met))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each case with so many seconds, of wall and of CPU time.
    fn all(seconds: impl Fn(&Case) -> f64) -> Vec<Series> {
        let series = |case: &'static Case| Series {
            case,
            costs: vec![Cost {
                seconds: seconds(case),
                cpu_seconds: seconds(case),
                peak_rss_mb: 1.0,
            }],
        };
        CASES.iter().map(series).collect()
    }

    #[test]
    fn every_bar_names_a_case() {
        for series in all(|_| 1.0) {
            let bars = !series.case.bars.is_empty();
            assert_eq!(series.met(&all(|_| 1.0)).is_some(), bars, "{series:?}");
        }
    }

    #[test]
    fn a_bar_is_met_from_its_ratio_on() {
        let replay = |seconds: f64| {
            let all = all(|case| match case.work {
                Work::Replay => seconds,
                Work::Peer("polars") => 3.0,
                _ => 4.0,
            });
            let parquet = all
                .iter()
                .find(|series| series.case.name == "replay of Parquet");
            parquet.map(|series| (series.met(&all), series.ratio_to("duckdb", &all)))
        };
        assert_eq!(replay(1.0), Some((Some(true), Some(4.0))));
        assert_eq!(replay(2.0), Some((Some(false), Some(2.0))));
    }

    #[test]
    fn more_sets_may_take_longer() {
        let met = |seconds: f64| {
            let grid = Work::Backtest { grid: true };
            let all = all(|case| if case.work == grid { seconds } else { 1.0 });
            let series = all.iter().find(|series| series.case.work == grid);
            series.map(|series| (series.met(&all), series.ratio_to("duckdb", &all)))
        };
        assert_eq!(met(5.0), Some((Some(true), None)));
        assert_eq!(met(5.1), Some((Some(false), None)));
    }
}
