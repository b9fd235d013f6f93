//! Data on standard output, talk on standard error, colour only for people.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use manifold_model::Problem;
use serde::Serialize;
use serde_json::json;

use crate::error::Error;

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts: one JSON document, or one per line for what has no end.
    Json,
}

/// Whether colours are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paint(pub bool);

/// Colours, by meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Ended well.
    Good,
    /// Did not.
    Bad,
    /// Waits, or needs a look.
    Warn,
    /// Goes on.
    Busy,
    /// Beside the point.
    Faint,
}

impl Paint {
    /// For standard output.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && allowed())
    }

    /// For standard error.
    #[must_use]
    pub fn of_stderr() -> Self {
        Self(std::io::stderr().is_terminal() && allowed())
    }

    /// The text in its colour.
    #[must_use]
    pub fn text(self, tone: Tone, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Busy => "36",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// `NO_COLOR` (any value but none) and terminals that know no colours say no.
fn allowed() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    !no_color && !dumb
}

/// Prints a line of data.
///
/// # Errors
/// When standard output is closed or full.
pub fn out(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).map_err(Error::Output)?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n").map_err(Error::Output)?;
    }
    stdout.flush().map_err(Error::Output)
}

/// Prints a JSON document.
///
/// # Errors
/// When standard output is closed or full.
pub fn out_json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Output(error.into()))?;
    out(&text)
}

/// Prints a JSON document on one line.
///
/// # Errors
/// When standard output is closed or full.
pub fn out_line(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::Output(error.into()))?;
    out(&text)
}

/// Columns of the terminal on standard output; `None` when it is none.
#[must_use]
pub fn columns() -> Option<u16> {
    console::Term::stdout().size_checked().map(|(_, columns)| columns)
}

/// Says something to the person who looks.
pub fn say(text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says a problem in all its parts: message, detail, hint, code.
pub fn say_problem(label: &str, problem: &Problem, paint: Paint) {
    say(&problem_text(label, problem, paint));
}

/// A problem in all its parts.
#[must_use]
pub fn problem_text(label: &str, problem: &Problem, paint: Paint) -> String {
    let tone = if label == "warning" { Tone::Warn } else { Tone::Bad };
    let place = problem
        .place
        .as_ref()
        .map(|place| format!("{}:{}:{}: ", place.path, place.line, place.column))
        .unwrap_or_default();
    let mut text = format!(
        "{place}{} {} {}",
        paint.text(tone, &format!("{label}:")),
        problem.message,
        paint.text(Tone::Faint, &format!("[{}]", problem.code))
    );
    if let Some(item) = problem.item.as_ref().filter(|item| !problem.message.contains(item.as_str())) {
        text = format!("{text}\n  item: {item}");
    }
    if let Some(detail) = &problem.detail {
        text = format!("{text}\n  detail: {detail}");
    }
    if let Some(hint) = &problem.hint {
        text = format!("{text}\n  hint: {hint}");
    }
    text
}

/// Says why a command failed; as JSON also on standard output.
pub fn failed(error: &Error, output: Output) {
    if matches!(error, Error::Output(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe) {
        return;
    }
    let paint = Paint::of_stderr();
    match error.problems() {
        [] => say(&format!("{} {error}", paint.text(Tone::Bad, "error:"))),
        problems => problems.iter().for_each(|problem| say_problem("error", problem, paint)),
    }
    if output == Output::Json && !matches!(error, Error::Output(_)) {
        let body = json!({ "error": {
            "kind": error.kind(), "message": error.to_string(), "problems": error.problems() } });
        if let Err(error) = out_json(&body) {
            say(&error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use manifold_model::code;

    use super::*;

    #[test]
    fn a_problem_is_told_whole() {
        let problem = Problem::new(code!("REQUEST_REFUSED"), "no").item("eu").detail("d").hint("h");
        let text = problem_text("error", &problem, Paint(false));
        assert_eq!(text, "error: no [REQUEST_REFUSED]\n  item: eu\n  detail: d\n  hint: h");
        assert!(problem_text("error", &problem, Paint(true)).contains("\x1b[31merror:\x1b[0m"));
    }
}
