//! The one developer tool, `cargo xtask COMMAND`: it owns what the README, CI and CONTRIBUTING.md call.

mod args;
mod bench;
mod codegen;
mod demo;
mod deploy;
mod failure;
mod prepare;
mod process;
mod readme;
mod scaffold;
mod server;
mod shell_fences;
mod steps;
mod test;
mod tidy;
mod ui;
mod workspace;

use std::process::ExitCode;

use args::Args;
use failure::{Failure, Outcome};

/// One command: its name, what follows the name, what it does, and the function that does it.
struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: fn(Args) -> Outcome<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        usage: "[--market] [--port N] [--data DIR]",
        about: "build the UI and the binary, start everything in one process, print the address\n\
                --market    all detectors over a simulated market with abuse, which plays in a minute\n\
                --port N    listen on 127.0.0.1:N (0 picks a free port; default: the binary's own)\n\
                --data DIR  where the journal and the tables live (default: tapewatch-data/demo; kept)",
        run: demo::run,
    },
    Command {
        name: "test",
        usage: "[--fast]",
        about: "install what the tests need, then run every check and every test\n\
                --fast      leave out prepare, ui, browser, readme, demo, chart and image",
        run: test::run,
    },
    Command {
        name: "ci",
        usage: "[--fast]",
        about: "the same as test",
        run: test::run,
    },
    Command {
        name: "bench",
        usage: "[market | detectors | sql | wire] [--rows N] [--runs N] [--live-seconds N] [--real FILE]",
        about: "side by side with DuckDB and Polars on the same file; writes bench/RESULTS.md\n\
                market            instead, the simulated market beside a real one; writes docs/use/simulated-market.md\n\
                detectors         instead, how good each detector is; writes bench/DETECTORS.md (--tuning: prints\n\
                                  it for the seeds that defaults are tuned on)\n\
                sql               instead, queries over recent and history; writes bench/SQL.md\n\
                wire              instead, what the role journal carries between processes; writes bench/WIRE.md\n\
                --real FILE       with market and detectors: the real one's market-by-order file\n\
                --rows N          rows of the generated file (default: 10000000)\n\
                --runs N          runs of each, interleaved (default: 5)\n\
                --live-seconds N  how long the live path is measured (default: 60)",
        run: bench::run,
    },
    Command {
        name: "tidy",
        usage: "",
        about: "the house checks that no other tool makes",
        run: tidy::run,
    },
    Command {
        name: "codegen",
        usage: "[--check]",
        about: "write docs/reference/ from the binary\n\
                --check     write nothing; fail if a page differs from what the binary says",
        run: codegen::run,
    },
    Command {
        name: "chart",
        usage: "[--write]",
        about: "lint and render the Helm chart for every values file, and judge every object\n\
                --write     write deploy/helm/goldens/ from what it renders",
        run: deploy::chart::run,
    },
    Command {
        name: "image",
        usage: "",
        about: "lint the image's recipe, follow it without an engine, and run the outcome on a read-only root",
        run: deploy::image::run,
    },
    Command {
        name: "new",
        usage: "detector|connector NAME",
        about: "write the files of a new detector or connector and register it",
        run: scaffold::run,
    },
    Command {
        name: "help",
        usage: "",
        about: "this text",
        run: help,
    },
];

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        eprint!("{}", help_text());
        return Err(Failure::usage("no command given"));
    };
    if name == "--help" || name == "-h" {
        return help(Args::default());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(Failure::usage(format!(
            "there is no command `{name}`; the commands are: {}",
            command_names().collect::<Vec<_>>().join(", ")
        )));
    };
    let mut args = Args::new(words.collect());
    if args.flag("--help") || args.flag("-h") {
        print!("{}", command_text(command));
        return Ok(());
    }
    (command.run)(args)
}

/// The names of all commands, in the order in which help shows them.
pub(crate) fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

fn help(args: Args) -> Outcome<()> {
    args.finish()?;
    print!("{}", help_text());
    Ok(())
}

fn help_text() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n");
    for command in COMMANDS {
        text.push('\n');
        text.push_str(&command_text(command));
    }
    text.push_str("\nexit codes: 0 done, 1 a step or check failed, 2 wrong usage\n");
    text
}

fn command_text(command: &Command) -> String {
    let head = format!("cargo xtask {} {}", command.name, command.usage);
    let about = command.about.replace('\n', "\n    ");
    format!("{}\n    {about}\n", head.trim_end())
}
