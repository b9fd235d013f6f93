//! Runs all tests and closes with one line that counts them: cargo itself says it once per test binary.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::tree;

/// Programs that tests start: the clusters, and the client. Not `cargo test --examples`, which builds test binaries of them and not themselves.
const EXAMPLES: [&str; 5] = ["build", "--release", "--workspace", "--locked", "--examples"];
/// What cargo is told; documentation has no tests.
const TESTS: [&str; 8] =
    ["test", "--release", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
/// The example of the test kit that starts the clusters, and the variable that tells the tests where they are.
const CLUSTERS: &str = "release/examples/clusters";
const DESCRIPTIONS: &str = "MANIFOLD_TEST_CLUSTERS";

/// Runs them; an error when one failed or none ran.
pub fn run() -> Result<()> {
    cargo(&EXAMPLES)?;
    // Built before the clusters run: they would wait for minutes.
    cargo(&[TESTS.as_slice(), &["--no-run"]].concat())?;
    let clusters = Clusters::start()?;
    let mut child = Command::new("cargo")
        .args(TESTS)
        .env(DESCRIPTIONS, &clusters.file)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run cargo {}", TESTS.join(" ")))?;
    let output = child.stdout.take().context("cargo has no output")?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for line in BufReader::new(output).lines() {
        let line = line.context("read what cargo says")?;
        println!("{line}");
        if line.starts_with("test result:") {
            passed += count(&line, " passed");
            failed += count(&line, " failed");
            skipped += count(&line, " ignored");
        }
    }
    let status = child.wait().context("wait for cargo")?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if !status.success() || failed > 0 || passed == 0 {
        bail!("the tests did not all pass");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let status = Command::new("cargo").args(arguments).status().context("run cargo")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// The Kubernetes clusters that all test binaries share.
struct Clusters {
    child: Child,
    /// Held open: they say more than is read.
    _output: BufReader<ChildStdout>,
    /// What describes them.
    file: String,
}

impl Clusters {
    fn start() -> Result<Self> {
        let program = tree::target()?.join(CLUSTERS);
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", program.display()))?;
        let mut output = BufReader::new(child.stdout.take().context("the clusters have no output")?);
        let mut file = String::new();
        output.read_line(&mut file).context("read where the clusters are")?;
        let clusters = Self { child, _output: output, file: file.trim().to_owned() };
        ensure!(!clusters.file.is_empty(), "the clusters do not start");
        Ok(clusters)
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        // They end when their input does.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the clusters may still run: {error}");
        }
    }
}

/// The number before a word of a summary line.
fn count(line: &str, word: &str) -> u64 {
    line.split(word)
        .next()
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn a_summary_is_read() {
        let line = "test result: FAILED. 31 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.56s";
        assert_eq!((count(line, " passed"), count(line, " failed"), count(line, " ignored")), (31, 1, 2));
        assert_eq!(count("nothing", " passed"), 0);
    }
}
