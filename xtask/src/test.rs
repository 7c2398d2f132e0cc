//! `cargo xtask test`: every check and every test, in the order in which a failure is cheapest.

use std::path::Path;
use std::time::Duration;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::server::Server;
use crate::steps::Steps;
use crate::workspace::{Workspace, write};
use crate::{codegen, demo, deploy, prepare, process, readme, tidy, ui};

/// One step; `slow` ones are left out by `--fast`.
struct Step {
    title: &'static str,
    slow: bool,
    run: fn(&Workspace) -> Outcome<()>,
}

const STEPS: &[Step] = &[
    Step {
        title: "prepare",
        slow: true,
        run: prepare::everything,
    },
    Step {
        title: "fmt",
        slow: false,
        run: fmt,
    },
    Step {
        title: "deny",
        slow: false,
        run: deny,
    },
    Step {
        title: "tidy",
        slow: false,
        run: tidy::check,
    },
    Step {
        title: "ui",
        slow: true,
        run: web_application,
    },
    Step {
        title: "clippy",
        slow: false,
        run: clippy,
    },
    Step {
        title: "build",
        slow: false,
        run: build,
    },
    Step {
        title: "codegen",
        slow: false,
        run: codegen::check,
    },
    Step {
        title: "chart",
        slow: true,
        run: deploy::chart::check,
    },
    Step {
        title: "cargo test",
        slow: false,
        run: cargo_test,
    },
    Step {
        title: "browser",
        slow: true,
        run: browser,
    },
    Step {
        title: "readme",
        slow: true,
        run: readme::check,
    },
    Step {
        title: "demo",
        slow: true,
        run: demo::smoke,
    },
    Step {
        title: "image",
        slow: true,
        run: deploy::image::check,
    },
];

/// Runs the steps and prints the table, also after a failure.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let fast = args.flag("--fast");
    args.finish()?;
    let workspace = Workspace::find()?;
    let chosen: Vec<&Step> = STEPS.iter().filter(|step| !(fast && step.slow)).collect();
    let mut steps = Steps::new(chosen.len());
    let mut outcome = Ok(());
    for step in chosen {
        outcome = steps.run(step.title, || (step.run)(&workspace));
        if outcome.is_err() {
            break;
        }
    }
    print!("\n{}", steps.summary());
    outcome
}

fn fmt(workspace: &Workspace) -> Outcome<()> {
    process::run(process::cargo(&workspace.root).args(["fmt", "--all", "--check"]))
        .map_err(|failure| Failure::new(format!("{failure}; run `cargo fmt --all`")))
}

fn deny(workspace: &Workspace) -> Outcome<()> {
    let Some(program) = prepare::cargo_deny(workspace) else {
        println!("left out: cargo-deny is not installed; `cargo xtask test` installs it");
        return Ok(());
    };
    process::run(process::program_in(program, &workspace.root).args([
        "--workspace",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn web_application(workspace: &Workspace) -> Outcome<()> {
    ui::packages(workspace)?;
    for script in ["lint", "test", "build"] {
        ui::npm(workspace, &["run", script])?;
    }
    Ok(())
}

fn clippy(workspace: &Workspace) -> Outcome<()> {
    needs_bundle(workspace)?;
    process::run(process::cargo(&workspace.root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Binaries and tests in one go: built apart, their dependencies would differ in features and compile twice.
fn build(workspace: &Workspace) -> Outcome<()> {
    needs_bundle(workspace)?;
    process::run(process::cargo(&workspace.root).args(["build", "--workspace", "--all-targets"]))
}

fn cargo_test(workspace: &Workspace) -> Outcome<()> {
    let mut command = process::cargo(&workspace.root);
    command.args(["test", "--workspace"]);
    if workspace.python().is_file() {
        command.env("TAPEWATCH_PYTHON", workspace.python());
    }
    process::run(&mut command)
}

fn browser(workspace: &Workspace) -> Outcome<()> {
    let data = workspace.scratch("browser-test")?;
    let screenshots = workspace.scratch("screenshots")?;
    let market = data.join("market");
    demo::simulate(workspace, &market)?;
    write(&data.join("tapewatch.toml"), SUPPRESSED)?;
    let server = up(workspace, &data)?;
    process::run(
        process::program_in("node", &workspace.root)
            .args(["ui/test/browser.mjs", "--url", &server.url(), "--market"])
            .arg(market.join("orders.csv"))
            .arg("--out")
            .arg(&screenshots),
    )?;
    println!("screenshots in {}", screenshots.display());
    server.stop()
}

/// What the page's test expects to be suppressed.
const SUPPRESSED: &str = r#"[[detectors.suppress]]
trader = "QuotingDesk"
until = "2030-01-01T00:00:00Z"
reason = "quoting obligation"
"#;

/// The dev binary's `tapewatch up` on a free port, with all detectors and the market's tables.
fn up(workspace: &Workspace, data: &Path) -> Outcome<Server> {
    let mut command = process::program_in(workspace.dev_binary(), data);
    command
        .args(["up", "--listen", "127.0.0.1:0", "--detector", "all"])
        .arg("--data")
        .arg(data.join("data"))
        .arg("--reference")
        .arg(data.join("market").join("reference.json"));
    Server::start(&mut command, Duration::from_secs(60))
}

/// Refuses to go on without the page, which the binary embeds.
pub(crate) fn needs_bundle(workspace: &Workspace) -> Outcome<()> {
    if ui::is_built(workspace) {
        return Ok(());
    }
    Err(Failure::new(
        "ui/dist is missing, and the binary embeds it; run `cargo xtask demo` or `npm ci && npm run build` in ui/ once",
    ))
}
