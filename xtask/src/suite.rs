//! Runs all tests and closes with one line that counts them: cargo itself says it once per test binary.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What cargo is told; documentation has no tests. Examples are built too: the client's tests start one.
const ARGUMENTS: [&str; 9] = [
    "test",
    "--release",
    "--workspace",
    "--locked",
    "--no-fail-fast",
    "--lib",
    "--bins",
    "--examples",
    "--tests",
];

/// Runs them; an error when one failed or none ran.
pub fn run() -> Result<()> {
    let mut child = Command::new("cargo")
        .args(ARGUMENTS)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run cargo {}", ARGUMENTS.join(" ")))?;
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
