//! The Kubernetes control plane, built from the pinned Go modules of `tests/testkit/go`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::is_asset;
use super::stamp::Stamp;
use crate::tree;

/// A module: its folder, its programs with their packages, and what the linker writes into them.
pub struct Module {
    name: &'static str,
    programs: &'static [(&'static str, &'static str)],
    versions: &'static str,
}

const MODULES: &[Module] = &[
    Module { name: "etcd", programs: &[("etcd", "go.etcd.io/etcd/server/v3")], versions: "" },
    Module {
        name: "kubernetes",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ],
        versions: "-X k8s.io/component-base/version.gitVersion=v1.34.4 \
                   -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
    },
    Module { name: "kwok", programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")], versions: "" },
];
/// The Debian package that brings Go.
const PACKAGE: &str = "golang-go";
/// The first Go that fetches the Go that a module asks for.
const OLDEST: (u32, u32) = (1, 21);
/// Packages that are compiled at the same time: more would need more memory than small machines have.
const PARALLEL: &str = "2";

/// The modules that are not built yet, or not from what the repository says now.
pub fn to_build(bin: &Path) -> Result<Vec<&'static Module>> {
    let mut modules = Vec::new();
    for module in MODULES {
        let wanted: Vec<&str> = module.wanted().map(|(program, _)| program).collect();
        if !wanted.is_empty() && !module.stamp(bin)?.holds(bin, &wanted) {
            modules.push(module);
        }
    }
    Ok(modules)
}

/// Builds modules.
pub fn build(modules: &[&Module], bin: &Path) -> Result<()> {
    for module in modules {
        let begin = Instant::now();
        println!("parts: building {} with go (kubernetes takes minutes; once)", module.name);
        for (program, package) in module.wanted() {
            let status = Command::new("go")
                .current_dir(module.folder()?)
                // The pinned sums are what is built, whatever repository this folder lies in.
                .env("GOFLAGS", "-mod=readonly -buildvcs=false")
                // No C compiler takes part, so that it does not matter whether there is one.
                .env("CGO_ENABLED", "0")
                .args(["build", "-p", PARALLEL, "-trimpath", "-ldflags"])
                .arg(format!("-s -w {}", module.versions))
                .arg("-o")
                .arg(bin.join(program))
                .arg(package)
                .status()
                .context("run go")?;
            if !status.success() {
                bail!("go build {package} failed in {}", module.folder()?.display());
            }
        }
        module.stamp(bin)?.write()?;
        println!("parts: {} is built, {} s", module.name, begin.elapsed().as_secs());
    }
    Ok(())
}

/// The package that brings a Go that can build them.
pub fn package() -> Result<&'static str> {
    let output = Command::new("apt-cache").args(["policy", PACKAGE]).output();
    let policy =
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match candidate(&policy) {
        Some(version) if version >= OLDEST => Ok(PACKAGE),
        _ => bail!(
            "the tests build a Kubernetes control plane and need Go {}.{} or newer on PATH, which no package of this \
             system brings: see go.dev/doc/install. Or name a folder with etcd, kube-apiserver, \
             kube-controller-manager, kube-scheduler and kwok in KUBEBUILDER_ASSETS",
            OLDEST.0,
            OLDEST.1
        ),
    }
}

/// Major and minor version that would be installed: `2:1.24~2` is 1.24.
fn candidate(policy: &str) -> Option<(u32, u32)> {
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    let version = line.rsplit(':').next()?.trim();
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Module {
    fn folder(&self) -> Result<PathBuf> {
        Ok(tree::root()?.join("tests/testkit/go").join(self.name))
    }

    /// What nobody has given.
    fn wanted(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.programs.iter().copied().filter(|(program, _)| !is_asset(program))
    }

    fn stamp(&self, bin: &Path) -> Result<Stamp> {
        let folder = self.folder()?;
        let files = [folder.join("go.mod"), folder.join("go.sum")];
        Stamp::new(bin, self.name, &files, &[self.versions])
    }
}

#[cfg(test)]
mod tests {
    use super::candidate;

    #[test]
    fn the_version_of_a_package_is_read() {
        let policy = "golang-go:\n  Installed: (none)\n  Candidate: 2:1.24~2\n  Version table:\n";
        assert_eq!(candidate(policy), Some((1, 24)));
        assert_eq!(candidate("golang-go:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }
}
