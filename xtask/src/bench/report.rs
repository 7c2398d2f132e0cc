//! bench/RESULTS.md: the machine, the versions, and one table of all that was measured.
//!
//! Invariant: what was not measured shows as a dash.

use std::process::Command;

use super::cases::Series;
use super::spread::Spread;
use crate::process;
use crate::workspace::Workspace;

const HEADER: &str = "| case | CPU s | least–greatest | wall s | peak MiB | ÷ DuckDB | ÷ Polars | found | bar | met |\n\
                      |---|--:|--:|--:|--:|--:|--:|---|---|---|\n";

/// One line of the table.
#[derive(Debug, Default)]
pub(super) struct Row {
    name: String,
    cpu: Option<Spread>,
    wall: Option<f64>,
    memory: Option<f64>,
    ratios: [Option<f64>; 2],
    found: Option<String>,
    bar: Option<String>,
    met: Option<bool>,
}

impl Row {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn wall(self, seconds: f64) -> Self {
        Self {
            wall: Some(seconds),
            ..self
        }
    }

    pub(super) fn cpu(self, seconds: f64) -> Self {
        let once = Spread {
            least: seconds,
            median: seconds,
            greatest: seconds,
        };
        Self {
            cpu: Some(once),
            ..self
        }
    }

    pub(super) fn memory(self, mib: f64) -> Self {
        Self {
            memory: Some(mib),
            ..self
        }
    }

    pub(super) fn found(self, text: String) -> Self {
        Self {
            found: Some(text),
            ..self
        }
    }

    pub(super) fn bar(self, text: &str, met: bool) -> Self {
        Self {
            bar: Some(text.to_owned()),
            met: Some(met),
            ..self
        }
    }

    /// The line of a case, beside those that it is compared with.
    pub(super) fn of(series: &Series, all: &[Series]) -> Self {
        let bars: Vec<&str> = series.case.bars.iter().map(|bar| bar.text).collect();
        let memory = Spread::of(&series.costs, |cost| cost.peak_rss_mb);
        Self {
            name: series.case.name.to_owned(),
            cpu: Spread::of(&series.costs, |cost| cost.cpu_seconds),
            wall: series.median(|cost| cost.seconds),
            memory: memory.map(|spread| spread.greatest),
            ratios: ["duckdb", "polars"].map(|peer| series.ratio_to(peer, all)),
            found: None,
            bar: (!bars.is_empty()).then(|| bars.join("; ")),
            met: series.met(all),
        }
    }

    fn line(&self) -> String {
        let seconds = |value: f64| format!("{value:.3}");
        let ratio = |value: f64| format!("{value:.2}");
        let cells = [
            Some(self.name.clone()),
            self.cpu.map(|cpu| seconds(cpu.median)),
            self.cpu
                .map(|cpu| format!("{:.3}–{:.3}", cpu.least, cpu.greatest)),
            self.wall.map(seconds),
            self.memory.map(|mib| format!("{mib:.0}")),
            self.ratios.first().copied().flatten().map(ratio),
            self.ratios.last().copied().flatten().map(ratio),
            self.found.clone(),
            self.bar.clone(),
            self.met
                .map(|met| if met { "yes" } else { "**no**" }.to_owned()),
        ];
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
        format!("| {} |\n", cells.join(" | "))
    }
}

/// The whole page.
pub(super) fn page(workspace: &Workspace, what: &str, rows: &[Row]) -> String {
    let lines: String = rows.iter().map(Row::line).collect();
    format!(
        "# Results\n\n{}{what}\n\nCPU and wall seconds are medians, peak memory is the greatest of all runs; \
         ÷ says how many times the CPU time the peer takes on the same file.\n\n{HEADER}{lines}",
        setting(workspace)
    )
}

/// Machine, versions and date.
pub(super) fn setting(workspace: &Workspace) -> String {
    let said = |program: &str, arguments: &[&str]| {
        let mut command = process::program_in(program, &workspace.root);
        process::answer(command.args(arguments)).unwrap_or_else(|| "unknown".to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = in_file("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib >> 20);
    let script = "import duckdb, polars, sys; \
                  print(f'DuckDB {duckdb.__version__}, Polars {polars.__version__}, Python {sys.version.split()[0]}')";
    let mut python = Command::new(workspace.python());
    let peers = process::answer(python.args(["-c", script])).unwrap_or_default();
    format!(
        "- Machine: {}, {cores} cores, {memory} GiB, {}\n- Versions: Tapewatch {}, {}, {peers}\n- Date: {}\n",
        in_file("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        said("uname", &["-sr"]),
        said("git", &["describe", "--always", "--dirty"]),
        said("rustc", &["--version"]),
        said("date", &["-u", "+%F"]),
    )
}

/// What follows `key:` in a file of the kernel's.
fn in_file(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_shows_as_a_dash() {
        let row = Row::new("restart").wall(1.5).bar("2 s or less", true);
        assert_eq!(
            row.line(),
            "| restart | – | – | 1.500 | – | – | – | – | 2 s or less | yes |\n"
        );
        let row = Row::new("live")
            .cpu(2.0)
            .memory(99.6)
            .found("fast".to_owned());
        let row = row.bar("faster", false);
        assert_eq!(
            row.line(),
            "| live | 2.000 | 2.000–2.000 | – | 100 | – | – | fast | faster | **no** |\n"
        );
    }

    #[test]
    fn all_lines_have_the_header_s_columns() {
        let columns = |text: &str| text.matches('|').count();
        let header = HEADER.lines().next().map(columns);
        assert_eq!(header, Some(columns(&Row::new("x").line())));
    }
}
