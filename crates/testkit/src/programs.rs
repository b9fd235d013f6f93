//! Where the programs are that play the real parts: `cargo xtask parts` builds or fetches what the machine does not have.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Folder with programs of a Kubernetes control plane that is looked into first, as Kubernetes' own test environments do.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Exit code of `timeout` when the time is over.
const OVER: i32 = 124;

/// The folder of the programs that `cargo xtask parts` has built or fetched.
#[must_use]
pub fn bin() -> PathBuf {
    target().join("testkit/bin")
}

/// `PATH` with [`bin`] in front: for a product under test that looks for `helm` or `kubectl` itself.
///
/// # Errors
/// A folder has a colon in its name.
pub fn path() -> Result<OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin()).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).context("a folder that PATH cannot name")
}

/// A program: of `KUBEBUILDER_ASSETS`, else of [`bin`], else of `PATH`.
///
/// # Errors
/// It is nowhere.
pub fn program(name: &str) -> Result<PathBuf> {
    let assets = std::env::var_os(ASSETS).map(PathBuf::from);
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let mut folders =
        assets.into_iter().chain(std::iter::once(bin())).chain(std::env::split_paths(&inherited));
    folders
        .find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
        .with_context(|| format!("there is no {name}: run `cargo xtask parts`"))
}

/// The folder of the build, as cargo is told.
pub(crate) fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), |target| root.join(target))
}

/// Runs a program to its end, at most so long; what it says.
///
/// # Errors
/// It fails, with its standard error, or the time is over.
pub(crate) fn run(command: &Command, input: Option<&str>, deadline: Duration) -> Result<String> {
    let mut bounded = Command::new("timeout");
    bounded.args(["-k", "2", &format!("{}", deadline.as_secs_f32())]).arg(command.get_program());
    bounded.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = bounded
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {command:?}"))?;
    // Whole before the output is read: no program here talks before it has read all.
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        match stdin.write_all(input.as_bytes()) {
            // It has ended already, and says below why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.with_context(|| format!("write to {command:?}"))?,
        }
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() != Some(OVER), "not in {deadline:?}: {command:?}: {said}");
    ensure!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} says something that is no text"))
}
