//! `cargo xtask bench detectors`: how good each detector is on simulated days, and what it costs.
//!
//! Invariant: the page is of the test seeds; with `--tuning` a table of the tuning seeds is printed and
//! nothing is written.

use crate::args::Args;
use crate::failure::Outcome;
use crate::process;
use crate::workspace::Workspace;

/// Where a real file is, seen from the checkout, unless it is told; it is no part of the repository.
const REAL: &str = "../shared/data/real/esh4-glbx-mdp3-20231225.mbo.dbn.zst";
const PAGE: &str = "bench/DETECTORS.md";

/// Simulates, detects, and writes the page and its plots.
pub(super) fn run(mut args: Args) -> Outcome<()> {
    let real = args.option("--real")?;
    let tuning = args.flag("--tuning");
    args.finish()?;
    let workspace = Workspace::find()?;
    let real = workspace.root.join(real.as_deref().unwrap_or(REAL));
    let mut command = process::cargo(&workspace.root);
    command.args(["run", "--release", "--package", "tapewatch-detect"]);
    command.args(["--example", "detectors", "--"]);
    if real.is_file() {
        command.arg("--real").arg(real);
    }
    if tuning {
        command.arg("--tuning");
    } else {
        command.arg("--page").arg(workspace.root.join(PAGE));
    }
    process::run(&mut command)
}
