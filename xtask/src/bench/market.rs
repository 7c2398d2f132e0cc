//! `cargo xtask bench market`: the simulated market beside a real one.
//!
//! Invariant: nothing is written without the real file, which is no part of the repository.

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::Workspace;

/// Where the real file is, seen from the checkout, unless it is told.
const REAL: &str = "../shared/data/real/esh4-glbx-mdp3-20231225.mbo.dbn.zst";
const PAGE: &str = "docs/use/simulated-market.md";

/// Writes the page and its plots.
pub(super) fn run(mut args: Args) -> Outcome<()> {
    let real = args.option("--real")?;
    args.finish()?;
    let workspace = Workspace::find()?;
    let real = workspace.root.join(real.as_deref().unwrap_or(REAL));
    if !real.is_file() {
        return Err(Failure::new(format!(
            "{} is not there; tell with --real where the market-by-order file of ESH4, 2023-12-25, is",
            real.display()
        )));
    }
    let example = ["--package", "tapewatch-exchange", "--example", "market"];
    process::run(
        process::cargo(&workspace.root)
            .args(["run", "--release"])
            .args(example)
            .arg("--")
            .args([real, workspace.root.join(PAGE)]),
    )
}
