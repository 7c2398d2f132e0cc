//! `cargo xtask image`: the image's recipe, linted, and its last stage followed without a container engine.
//!
//! The binary is built as the recipe builds it, but in the dev profile. It goes into an empty root with what the recipe
//! copies, and runs there as the recipe's user, the root read-only, only the recipe's volumes writable.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::recipe::{Copy, Recipe};
use super::tools;
use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::server::Server;
use crate::workspace::{Workspace, read};
use crate::{prepare, process, test};

const DOCKERFILE: &str = "deploy/image/Dockerfile";
/// What makes the binary static; the recipe must say the same.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=debuginfo";
/// Mounts the image and becomes its program.
const RUN: &str = "xtask/run-image.sh";

/// Checks everything, also on a machine that ran no test yet.
pub(crate) fn run(args: Args) -> Outcome<()> {
    args.finish()?;
    let workspace = Workspace::find()?;
    prepare::python(&workspace)?;
    check(&workspace)
}

/// Lints the recipe and follows it.
pub(crate) fn check(workspace: &Workspace) -> Outcome<()> {
    let hadolint = tools(workspace)?.hadolint;
    process::run(process::program_in(hadolint, &workspace.root).arg(DOCKERFILE))?;
    let text = read(&workspace.root.join(DOCKERFILE))?;
    let in_place = |failure| Failure::new(format!("{DOCKERFILE}: {failure}"));
    if !text.contains(FLAGS) {
        return Err(in_place(Failure::new(format!(
            "it must build with `{FLAGS}`"
        ))));
    }
    let recipe = Recipe::of(&text).map_err(in_place)?;
    if !may_mount() {
        println!(
            "NOT RUN: following the recipe takes mounts and a change of user, which only root may do here"
        );
        return Ok(());
    }
    build(workspace)?;
    let image = Image::assemble(workspace, recipe)?;
    image.runs(workspace)
}

/// Whether this process can make a namespace with mounts of its own.
fn may_mount() -> bool {
    prepare::is_root()
        && process::answer(Command::new("unshare").args(["--mount", "true"])).is_some()
}

/// Only the last crate is compiled and linked again: what is below it is the same for both kinds of binary.
fn build(workspace: &Workspace) -> Outcome<()> {
    test::needs_bundle(workspace)?;
    process::run(
        process::cargo(&workspace.root)
            .args([
                "rustc",
                "--package",
                "tapewatch-server",
                "--bin",
                "tapewatch",
                "--",
            ])
            .args(FLAGS.split(' ')),
    )
}

/// An image as a directory.
struct Image {
    recipe: Recipe,
    root: PathBuf,
    /// What is mounted at the volumes, under their paths.
    volumes: PathBuf,
}

impl Image {
    fn assemble(workspace: &Workspace, recipe: Recipe) -> Outcome<Self> {
        let scratch = workspace.scratch("image")?;
        let image = Self {
            recipe,
            root: scratch.join("root"),
            volumes: scratch.join("volumes"),
        };
        for copy in &image.recipe.copies {
            image.copy(workspace, copy)?;
        }
        for volume in &image.recipe.volumes {
            let directory = below(&image.volumes, volume);
            create(&directory)?;
            std::os::unix::fs::chown(&directory, Some(image.user()?), Some(image.user()?))
                .map_err(|error| Failure::io("give away", &directory, &error))?;
        }
        Ok(image)
    }

    /// One COPY, as the engine does it: a directory's contents, or a file.
    fn copy(&self, workspace: &Workspace, copy: &Copy) -> Outcome<()> {
        let destination = below(&self.root, &copy.destination);
        let source = match (copy.built, copy.source.as_str()) {
            (true, "/out/tapewatch") => workspace.dev_binary(),
            (true, "/out/empty") => return create(&destination),
            // The builder's certificates are this machine's.
            (true, path) => PathBuf::from(path),
            (false, path) => workspace.root.join(path),
        };
        if source.is_dir() {
            create(&destination)?;
            let contents = source.join(".");
            return process::run(
                Command::new("cp")
                    .arg("-rL")
                    .args([&contents, &destination]),
            );
        }
        create(destination.parent().unwrap_or(&self.root))?;
        std::fs::copy(&source, &destination)
            .map_err(|error| Failure::io("copy", &source, &error))?;
        Ok(())
    }

    /// The number of the recipe's user, who is not root.
    fn user(&self) -> Outcome<u32> {
        let number = self.recipe.user.split(':').next().unwrap_or_default();
        match number.parse() {
            Ok(user) if user > 0 => Ok(user),
            _ => Err(Failure::new(format!(
                "{DOCKERFILE}: `USER {}` is not the number of an unprivileged user",
                self.recipe.user
            ))),
        }
    }

    /// Starts it, asks it, stops it, and looks at what was written.
    fn runs(&self, workspace: &Workspace) -> Outcome<()> {
        // Where a container runtime puts its devices.
        create(&self.root.join("dev"))?;
        let before = listing(&self.root)?;
        let mut command = process::program_in("unshare", &self.root);
        command
            .args(["--mount", "--propagation", "private", "sh"])
            .arg(workspace.root.join(RUN))
            .args([&self.root])
            .arg(&self.recipe.user)
            .arg(&self.volumes)
            .arg(self.recipe.volumes.len().to_string())
            .args(&self.recipe.volumes)
            .args(&self.recipe.command);
        let server = Server::start(&mut command, Duration::from_secs(60))?;
        self.is_confined(server.id())?;
        for (path, words) in [("/healthz", ""), ("/", "<!doctype html")] {
            let (status, body) = server.get(path)?;
            if status != 200 || !body.to_ascii_lowercase().contains(words) {
                return Err(Failure::new(format!("GET {path} answers {status}: {body}")));
            }
        }
        server.stop()?;
        if listing(&self.root)? != before {
            return Err(Failure::new("something was written to the read-only root"));
        }
        self.wrote_only_data()
    }

    /// What the kernel says of the process: no root, no capability, none to be had, a root that cannot be written.
    fn is_confined(&self, id: u32) -> Outcome<()> {
        let proc = Path::new("/proc").join(id.to_string());
        let status = read(&proc.join("status"))?;
        let user = self.user()?;
        for wanted in [
            format!("Uid:\t{user}\t{user}\t{user}\t{user}"),
            format!("Gid:\t{user}\t{user}\t{user}\t{user}"),
            "CapPrm:\t0000000000000000".to_owned(),
            "CapEff:\t0000000000000000".to_owned(),
            "NoNewPrivs:\t1".to_owned(),
        ] {
            if !status.lines().any(|line| line == wanted) {
                return Err(Failure::new(format!(
                    "the process is not `{wanted}`: {status}"
                )));
            }
        }
        let mounts = read(&proc.join("mountinfo"))?;
        // Fields: id, parent, device, root, mount point, options.
        let mut writable = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let point = fields.next()?;
            fields.next()?.starts_with("rw").then_some(point)
        });
        let known = |point: &str| self.recipe.volumes.iter().any(|volume| volume == point);
        match writable.find(|point| !known(point)) {
            Some(point) => Err(Failure::new(format!(
                "{point} can be written; it is no volume"
            ))),
            None => Ok(()),
        }
    }

    /// The data directory has a journal of that user; no other volume has anything.
    fn wrote_only_data(&self) -> Outcome<()> {
        let mut written = 0;
        for (path, _) in listing(&self.volumes)? {
            let metadata = path
                .metadata()
                .map_err(|error| Failure::io("look at", &path, &error))?;
            if metadata.is_dir() {
                continue;
            }
            let owner = metadata.uid();
            if !path.starts_with(self.volumes.join("var/lib/tapewatch")) || owner != self.user()? {
                let path = path.display();
                return Err(Failure::new(format!("{path} was written, by user {owner}")));
            }
            written += usize::from(path.extension().is_some_and(|end| end == "seg"));
        }
        if written == 0 {
            return Err(Failure::new(
                "no segment of a journal is in the data directory",
            ));
        }
        println!(
            "it runs as user {} on a read-only root, and wrote only its data",
            self.recipe.user
        );
        Ok(())
    }
}

/// A path of the image below a directory of this machine.
fn below(directory: &Path, path: &str) -> PathBuf {
    directory.join(path.trim_start_matches('/'))
}

fn create(directory: &Path) -> Outcome<()> {
    std::fs::create_dir_all(directory).map_err(|error| Failure::io("create", directory, &error))
}

/// Everything below a directory, and when it last changed.
fn listing(directory: &Path) -> Outcome<BTreeMap<PathBuf, SystemTime>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        let doing = |error: &std::io::Error| Failure::io("look at", &next, error);
        let metadata = next.symlink_metadata().map_err(|error| doing(&error))?;
        if metadata.is_dir() {
            for entry in next.read_dir().map_err(|error| doing(&error))? {
                left.push(entry.map_err(|error| doing(&error))?.path());
            }
        }
        let changed = metadata.modified().map_err(|error| doing(&error))?;
        found.insert(next, changed);
    }
    Ok(found)
}
