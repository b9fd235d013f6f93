//! `manifold import`: writes a tree to the server, as a whole or not at all.

use manifold_model::{Code, Place, Problem};
use serde::Serialize;
use serde_json::Value;

use crate::archive;
use crate::client::Client;
use crate::error::Error;

/// Where trees are sent.
const PATH: &str = "/api/setup-as-code/yaml/upsert-entities";

/// What came of an import.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// Documents that are new or changed.
    pub written: usize,
    /// Documents that were there, just so.
    pub unchanged: usize,
    /// What is wrong; when there is any, nothing was written.
    pub problems: Vec<Problem>,
    /// What the author should know.
    pub warnings: Vec<Problem>,
    /// Catalog revision afterwards, when the server says it.
    pub revision: Option<u64>,
}

/// Writes a tree to the server. Files that the tree does not have stay there.
///
/// # Errors
/// When it is refused ([`crate::client::ClientError::Refused`] with every problem) or the server cannot be reached.
pub async fn import(client: &Client, files: Vec<(String, Vec<u8>)>) -> Result<Report, Error> {
    let archive = archive::pack(&files)?;
    let resource = client.upload(PATH, "file", "setup.zip", archive).await?;
    let report = read(&resource);
    if report.problems.is_empty() {
        return Ok(report);
    }
    Err(crate::client::ClientError::Refused { problems: report.problems }.into())
}

/// Reads `resource` of the answer: `responseStatus`, `errorMessage`, `filesStatus[{yamlFilePath status errorMssg problems}]` (`wire.md` 4.2).
fn read(resource: &Value) -> Report {
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut report =
        Report { revision: resource.get("revision").and_then(Value::as_u64), ..Report::default() };
    let refused = text(resource, "responseStatus") == "FAILED";
    let files = resource.get("filesStatus").or_else(|| resource.get("files")).and_then(Value::as_array);
    for file in files.into_iter().flatten() {
        let listed = problems(file);
        match text(file, "status").as_str() {
            "FAILED" if listed.is_empty() => report.problems.push(unlisted(file, &text(file, "errorMssg"))),
            "FAILED" => report.problems.extend(listed),
            "SKIPPED" => report.warnings.extend(listed),
            _ => {
                if text(file, "change") == "UNCHANGED" {
                    report.unchanged += 1
                } else {
                    report.written += 1
                }
                report.warnings.extend(listed);
            }
        }
    }
    let list = if refused { &mut report.problems } else { &mut report.warnings };
    list.extend(problems(resource));
    if refused && report.problems.is_empty() {
        report.problems.push(unlisted(resource, &text(resource, "errorMessage")));
    }
    report
}

fn problems(value: &Value) -> Vec<Problem> {
    let listed = value.get("problems").cloned();
    listed.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default()
}

/// A complaint that comes as text only.
fn unlisted(value: &Value, message: &str) -> Problem {
    let message = if message.is_empty() { "the server refused" } else { message };
    let problem = Problem::new(Code("REQUEST_REFUSED".into()), message);
    match value.get("yamlFilePath").and_then(Value::as_str) {
        Some(path) => problem.at(Place { path: path.to_owned(), line: 1, column: 1 }),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_counted() {
        let report = read(&json!({ "responseStatus": "SUCCESS", "revision": 7, "filesStatus": [
            { "yamlFilePath": "Setup/a.yaml", "status": "SUCCESS", "change": "CREATED" },
            { "yamlFilePath": "Setup/b.yaml", "status": "SUCCESS", "change": "UNCHANGED",
              "problems": [{ "code": "COMMENTS_DROPPED", "message": "m" }] } ] }));
        assert_eq!((report.written, report.unchanged, report.revision), (1, 1, Some(7)));
        assert_eq!((report.problems.len(), report.warnings.len()), (0, 1));
    }

    #[test]
    fn a_refusal_names_every_file() {
        let report = read(&json!({ "responseStatus": "FAILED", "errorMessage": "e", "filesStatus": [
            { "yamlFilePath": "Setup/a.yaml", "status": "FAILED", "problems": [
                { "code": "YAML_SYNTAX", "message": "m", "place": { "path": "Setup/a.yaml", "line": 2, "column": 3 } } ] },
            { "yamlFilePath": "Setup/b.yaml", "status": "FAILED", "errorMssg": "t" },
            { "yamlFilePath": "Setup/c.yaml", "status": "SKIPPED" } ] }));
        assert_eq!(report.written, 0);
        assert_eq!(report.problems.len(), 2);
        assert_eq!(report.problems[0].place.as_ref().unwrap().line, 2);
        assert_eq!(report.problems[1].message, "t");
    }
}
