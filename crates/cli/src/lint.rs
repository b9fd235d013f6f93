//! `manifold lint`: checks a tree without a server. Every complaint with file, line and column.

use std::collections::HashMap;
use std::path::Path;

use manifold_model::Problem;
use manifold_model::import::{self, SourceFile};
use manifold_model::unused::Offer;
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity,
};
use serde_json::json;

use crate::error::Error;
use crate::print::{Output, Paint, columns, out, out_json, problem_text, say};
use crate::{exit, tree};

/// Complaints with an excerpt of the document; the others are told without.
const EXCERPTS: usize = 50;

/// Runs it; exit code 3 when something is wrong, 0 when there are warnings at most.
pub fn run(folder: &Path, offer: &Offer, output: Output) -> Result<u8, Error> {
    let files = tree::read(folder)?;
    let sources: Vec<SourceFile<'_>> = files.iter().map(|(path, bytes)| SourceFile { path, bytes }).collect();
    let check = import::lint(&sources, Some(offer));
    match output {
        Output::Json => out_json(&json!({
            "files": files.len(), "errors": check.errors, "warnings": check.warnings }))?,
        Output::Text => {
            let texts: HashMap<&str, &[u8]> =
                files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
            tell(&texts, "error", &check.errors)?;
            tell(&texts, "warning", &check.warnings)?;
            let (errors, warnings) = (check.errors.len(), check.warnings.len());
            say(&format!("{} files, {errors} errors, {warnings} warnings", files.len()));
        }
    }
    Ok(if check.errors.is_empty() { 0 } else { exit::REFUSED })
}

fn tell(texts: &HashMap<&str, &[u8]>, label: &str, problems: &[Problem]) -> Result<(), Error> {
    let paint = Paint::of_stdout();
    let on_terminal = columns().is_some();
    for (index, problem) in problems.iter().enumerate() {
        let drawn =
            if on_terminal && index < EXCERPTS { excerpt(texts, label, problem, paint) } else { None };
        out(&drawn.unwrap_or_else(|| problem_text(label, problem, paint)))?;
    }
    Ok(())
}

/// The complaint with the lines that it is about; `None` when it is about no place in a text.
fn excerpt(texts: &HashMap<&str, &[u8]>, label: &str, problem: &Problem, paint: Paint) -> Option<String> {
    let place = problem.place.as_ref()?;
    let text = std::str::from_utf8(texts.get(place.path.as_str())?).ok()?;
    let offset = offset(text, place.line, place.column)?;
    let severity = if label == "warning" { Severity::Warning } else { Severity::Error };
    let mut diagnostic = MietteDiagnostic::new(problem.message.clone())
        .with_code(problem.code.to_string())
        .with_severity(severity)
        .with_label(LabeledSpan::new(problem.detail.clone(), offset, 1));
    if let Some(hint) = &problem.hint {
        diagnostic = diagnostic.with_help(hint.clone());
    }
    let theme = if paint.0 { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let report = Report::new(diagnostic).with_source_code(NamedSource::new(
        format!("{}:{}:{}", place.path, place.line, place.column),
        text.to_owned(),
    ));
    let mut drawn = String::new();
    GraphicalReportHandler::new_themed(theme).render_report(&mut drawn, report.as_ref()).ok()?;
    Some(format!("{}:{}:{}: {label}\n{drawn}", place.path, place.line, place.column))
}

/// Byte offset of a line and a column, both from 1, columns in characters.
fn offset(text: &str, line: u32, column: u32) -> Option<usize> {
    let mut start = 0;
    for (number, content) in (1..).zip(text.split_inclusive('\n')) {
        if number == line {
            let skipped = usize::try_from(column).ok()?.saturating_sub(1);
            let within = content.char_indices().nth(skipped).map_or(content.trim_end().len(), |(at, _)| at);
            return Some(start + within);
        }
        start += content.len();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use manifold_model::{Place, code};

    use super::*;

    #[test]
    fn a_place_is_found() {
        let text = "ä: 1\nbc: ü\n";
        assert_eq!(offset(text, 1, 2), Some(2));
        assert_eq!(offset(text, 2, 5), Some(10));
        assert_eq!(offset(text, 2, 99), Some(12));
        assert_eq!(offset(text, 9, 1), None);
    }

    #[test]
    fn a_complaint_is_drawn_with_its_lines() {
        let texts = HashMap::from([("Setup/a.yaml", b"type: X\nkey: y\n".as_slice())]);
        let problem = Problem::new(code!("REQUEST_REFUSED"), "no such type")
            .hint("write another")
            .at(Place { path: "Setup/a.yaml".to_owned(), line: 1, column: 7 });
        let drawn = excerpt(&texts, "error", &problem, Paint(false)).unwrap();
        assert!(drawn.starts_with("Setup/a.yaml:1:7: error\n"), "{drawn}");
        for part in ["no such type", "type: X", "write another", "REQUEST_REFUSED"] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
    }
}
