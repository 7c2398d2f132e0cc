//! `cargo xtask bench wire`: what the role `journal` in a process of its own carries, beside a bare pipe.
//!
//! Invariant: both are measured in turns by the same binary; the page says ratios of one run.

use std::fmt::Write as _;

use serde_json::Value;

use super::report;
use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::{Workspace, write};

const PAGE: &str = "bench/WIRE.md";
const SIZES: [u32; 4] = [1, 10, 100, 1_000];
const RUNS: u32 = 3;
const SECONDS: u32 = 5;
/// The bar: at least so much of the bare pipe.
const OF_BARE: f64 = 0.5;

/// Measures and writes the page; `--binary` measures one that is built already.
pub(super) fn run(mut args: Args) -> Outcome<()> {
    let binary = args.option("--binary")?;
    args.finish()?;
    let workspace = Workspace::find()?;
    let binary = match binary {
        Some(binary) => binary.into(),
        None => {
            let build = ["build", "--release", "--package", "tapewatch-server"];
            process::run(process::cargo(&workspace.root).args(build))?;
            workspace.target.join("release/tapewatch")
        }
    };
    let mut page = format!(
        "# What the wire carries\n\nMade by `cargo xtask bench wire`. Publisher, role `journal` and subscriber are three \
         processes over loopback TCP, fsync policy `interval`, up to 64 messages on the way; the subscriber checks every \
         frame and counts rows. The bare pipe is three processes too, which copy the same bytes and write nothing to a \
         disk. Medians of {RUNS} runs of {SECONDS} s in turns; each run's ratio is of that run.\n\n{}\n\
         | rows a message | bare, rows/s | rows/s | of the bare pipe | least–greatest | bar |\n|--:|--:|--:|--:|---|---|\n",
        report::setting(&workspace)
    );
    for rows in SIZES {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let mut command = process::program_in(&binary, &workspace.root);
            command.args(["measure", "wire", "--rows", &rows.to_string()]);
            command.args(["--seconds", &SECONDS.to_string()]);
            let text = process::stdout_of(&mut command)?;
            println!("{}", text.trim());
            runs.push(Run::read(&text)?);
        }
        line(&mut page, rows, &mut runs);
    }
    print!("\n{page}");
    write(&workspace.root.join(PAGE), &page)
}

struct Run {
    bare: f64,
    carried: f64,
    ratio: f64,
}

impl Run {
    fn read(text: &str) -> Outcome<Self> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| Failure::new(format!("`{text}` is no measurement: {error}")))?;
        let number = |name: &str| json.get(name).and_then(Value::as_f64);
        let read = || {
            Some(Self {
                bare: number("bare_rows_per_second")?,
                carried: number("rows_per_second")?,
                ratio: number("of_bare")?,
            })
        };
        read().ok_or_else(|| Failure::new(format!("`{text}` lacks a number")))
    }
}

fn line(page: &mut String, rows: u32, runs: &mut [Run]) {
    runs.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let (Some(least), Some(median), Some(most)) =
        (runs.first(), runs.get(runs.len() / 2), runs.last())
    else {
        return;
    };
    let met = if median.ratio >= OF_BARE {
        "met"
    } else {
        "missed"
    };
    // A string takes all that is written to it.
    let _ = writeln!(
        page,
        "| {rows} | {:.2} M | {:.2} M | {:.2} | {:.2}–{:.2} | {OF_BARE}: {met} |",
        median.bare / 1e6,
        median.carried / 1e6,
        median.ratio,
        least.ratio,
        most.ratio,
    );
}
