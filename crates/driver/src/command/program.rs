//! The wrapper programs: POSIX shell text, their arguments and standard input. No secret is in text or arguments.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use manifold_model::TaskId;
use zeroize::Zeroizing;

use super::text::{around, quote};
use super::{Attempt, CommandSpec, Language, OUTPUT_LIMIT, VARIABLES_LIMIT};

static RUN: LazyLock<String> = LazyLock::new(|| without_comments(include_str!("run.sh")));
static PROBE: LazyLock<String> = LazyLock::new(|| without_comments(include_str!("probe.sh")));
static CANCEL: LazyLock<String> = LazyLock::new(|| without_comments(include_str!("cancel.sh")));

/// Comments are for readers of the source; every exec would carry them to the host.
fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// A program for a POSIX shell.
#[derive(Clone)]
pub struct Program {
    /// The program's text.
    pub text: String,
    /// Its arguments, from `$1`.
    pub arguments: Vec<String>,
    /// Its standard input.
    pub stdin: Zeroizing<Vec<u8>>,
    /// Begins each line of its report.
    pub nonce: String,
}

impl Program {
    /// Any program.
    pub fn new(text: impl Into<String>, arguments: Vec<String>) -> Self {
        Self { text: text.into(), arguments, stdin: Zeroizing::new(Vec::new()), nonce: String::new() }
    }

    /// Starts a unit or attaches to it, and follows it from an offset of its output.
    #[must_use]
    pub fn run(spec: &CommandSpec, offset: u64) -> Self {
        let settings = &spec.attempt.settings;
        let nonce = TaskId::random().to_string();
        let hours = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() / 3600);
        let arguments = vec![
            settings.root.clone(),
            spec.attempt.folder.clone(),
            spec.unit.clone(),
            nonce.clone(),
            offset.to_string(),
            (OUTPUT_LIMIT / 512).to_string(),
            hours.to_string(),
            match spec.language {
                Language::Bash => "bash sh",
                Language::Posix => "sh",
            }
            .to_owned(),
            u8::from(spec.last).to_string(),
            (VARIABLES_LIMIT + 1).to_string(),
            (settings.keep.as_secs() / 60).to_string(),
            (settings.room / 1024).to_string(),
        ];
        let stdin = around(spec, &nonce);
        Self { text: RUN.clone(), arguments, stdin, nonce }
    }

    /// Looks at units.
    #[must_use]
    pub fn probe(attempt: &Attempt, units: &[String]) -> Self {
        let mut arguments = vec![attempt.settings.root.clone(), attempt.folder.clone()];
        arguments.extend_from_slice(units);
        Self::new(PROBE.clone(), arguments)
    }

    /// Stops a unit.
    #[must_use]
    pub fn cancel(attempt: &Attempt, unit: &str) -> Self {
        let tenths = attempt.settings.grace.as_millis() / 100;
        Self::new(
            CANCEL.clone(),
            vec![attempt.settings.root.clone(), attempt.folder.clone(), unit.to_owned(), tenths.to_string()],
        )
    }

    /// As one line for the login shell of a host, whichever that is.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("exec /bin/sh -c {} manifold", quote(&self.text));
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&quote(argument));
        }
        line
    }
}
