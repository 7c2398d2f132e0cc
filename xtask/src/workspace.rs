//! Where things are: the checkout, the build directory and what is kept in it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::process;

/// The checkout and its build directory.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The root of the checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever the environment or a configuration puts it.
    pub(crate) target: PathBuf,
    /// What `cargo metadata` says of the workspace's own packages.
    pub(crate) metadata: Value,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Outcome<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .ok_or_else(|| Failure::new("xtask's own directory has no parent"))?
            .to_owned();
        let output = process::stdout_of(process::cargo(&root).args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?;
        let metadata: Value = serde_json::from_str(&output)
            .map_err(|error| Failure::new(format!("cargo metadata is not JSON: {error}")))?;
        let target = metadata
            .get("target_directory")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::new("cargo metadata names no target_directory"))?
            .into();
        Ok(Self {
            root,
            target,
            metadata,
        })
    }

    /// The version that all packages share.
    pub(crate) fn version(&self) -> Outcome<&str> {
        self.metadata
            .pointer("/packages/0/version")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::new("cargo metadata names no version"))
    }

    /// The directory of the dev profile's binaries.
    pub(crate) fn dev_bin(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// The dev profile's `tapewatch`.
    pub(crate) fn dev_binary(&self) -> PathBuf {
        self.dev_bin().join(binary_name())
    }

    /// The release profile's `tapewatch`.
    pub(crate) fn release_binary(&self) -> PathBuf {
        self.target.join("release").join(binary_name())
    }

    /// The Python environment of the tests and benchmarks.
    pub(crate) fn venv(&self) -> PathBuf {
        self.target.join("test-venv")
    }

    /// The interpreter of that environment.
    pub(crate) fn python(&self) -> PathBuf {
        self.venv().join("bin").join("python")
    }

    /// The web application's sources.
    pub(crate) fn ui(&self) -> PathBuf {
        self.root.join("ui")
    }

    /// An empty directory `target/NAME`; what was there is deleted.
    pub(crate) fn scratch(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.target.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| Failure::io("delete", &path, &error))?;
        }
        std::fs::create_dir_all(&path).map_err(|error| Failure::io("create", &path, &error))?;
        Ok(path)
    }
}

fn binary_name() -> String {
    format!("tapewatch{}", std::env::consts::EXE_SUFFIX)
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Outcome<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Failure::io("create", parent, &error))?;
    }
    std::fs::write(path, contents).map_err(|error| Failure::io("write", path, &error))
}

/// Whether `path` holds exactly `contents`.
pub(crate) fn holds(path: &Path, contents: &[u8]) -> bool {
    std::fs::read(path).is_ok_and(|found| found == contents)
}
