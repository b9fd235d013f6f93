//! import, export, lint.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::server::Server;
use crate::{ask, client};

fn tree(folder: &Path, extra: &str) {
    let application = folder.join("Setup/Applications/Shop");
    fs::create_dir_all(application.join(".git")).unwrap();
    fs::write(application.join(".git/HEAD"), "x").unwrap();
    fs::write(
        application.join("Index.yaml"),
        format!("harnessApiVersion: '1.0'\ntype: APPLICATION\ndescription: ''\n{extra}"),
    )
    .unwrap();
}

#[test]
fn a_tree_is_sent_as_an_archive() {
    let server = Server::start(|line, _| {
        assert!(line.starts_with("POST /api/setup-as-code/yaml/upsert-entities?accountId=acc"), "{line}");
        json!({ "metaData": {}, "responseMessages": [], "resource": { "responseStatus": "SUCCESS", "revision": 4, "filesStatus": [
            { "yamlFilePath": "Setup/Applications/Shop/Index.yaml", "status": "SUCCESS", "change": "CREATED", "problems": [
                { "code": "COMMENTS_DROPPED", "message": "the document has comments" } ] } ] } })
    });
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), "");
    let done = ask(&server, &["import", folder.path().to_str().unwrap()]);
    assert_eq!((done.code, done.out.as_str()), (0, "1 documents written, 0 unchanged\n"), "{}", done.err);
    assert!(done.err.contains("passed over") && done.err.contains(".git (hidden)"), "{}", done.err);
    assert!(done.err.contains("warning: the document has comments [COMMENTS_DROPPED]"), "{}", done.err);
    let body = server.requests()[0].body.clone();
    let text = String::from_utf8_lossy(&body);
    assert!(
        text.contains("name=\"file\"")
            && text.contains("Setup/Applications/Shop/Index.yaml")
            && !text.contains(".git")
    );

    let done = ask(&server, &["import", folder.path().join("Setup").to_str().unwrap(), "-o", "json"]);
    assert_eq!(done.json()["written"], 1);
    assert_eq!(done.json()["revision"], 4);
}

#[test]
fn a_refused_tree_is_3_and_every_complaint_is_told() {
    let server = Server::start(|_, _| {
        let place = json!({ "path": "Setup/Applications/Shop/Index.yaml", "line": 3, "column": 1 });
        json!({ "responseMessages": [], "resource": { "responseStatus": "FAILED", "errorMessage": "two", "filesStatus": [
            { "yamlFilePath": "Setup/Applications/Shop/Index.yaml", "status": "FAILED", "problems": [
                { "code": "A", "message": "first", "hint": "mend it", "place": place },
                { "code": "B", "message": "second", "place": place } ] } ] } })
    });
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), "");
    let done = ask(&server, &["import", folder.path().to_str().unwrap(), "-o", "json"]);
    assert_eq!(done.code, 3);
    assert!(
        done.err.contains("Setup/Applications/Shop/Index.yaml:3:1: error: first [A]\n  hint: mend it"),
        "{}",
        done.err
    );
    assert_eq!(done.json()["error"]["problems"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_export_is_written() {
    let files = vec![("Setup/Applications/Shop/Index.yaml".to_owned(), b"type: APPLICATION\n".to_vec())];
    let archive = Value::from(manifold_cli::archive::pack(&files).unwrap());
    let server = Server::start(move |line, _| {
        assert!(line.starts_with("GET /api/setup-as-code/export"), "{line}");
        archive.clone()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fs::create_dir_all(folder.path().join("Setup")).unwrap();
    fs::write(folder.path().join("Setup/old.yaml"), "x").unwrap();
    let done = ask(&server, &["export", path]);
    assert_eq!((done.code, done.out.as_str()), (0, "1 files written, 0 unchanged\n"), "{}", done.err);
    assert!(done.err.contains("Setup/old.yaml"), "{}", done.err);
    assert_eq!(manifold_cli::tree::scan(folder.path()).unwrap().files[0], files[0]);
    let done = ask(&server, &["export", path, "-o", "json"]);
    assert_eq!(
        done.json(),
        json!({ "files": 1, "written": 0, "unchanged": 1, "notInExport": ["Setup/old.yaml"] })
    );
}

#[test]
fn lint_names_file_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), "");
    let path = folder.path().to_str().unwrap();
    let done = client(&[], &["lint", path], "");
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    tree(folder.path(), "tags: [\n");
    let done = client(&[], &["lint", path], "");
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(
        done.out.contains("Setup/Applications/Shop/Index.yaml:5:1: error: ")
            || done.out.contains("Index.yaml:4:"),
        "{}",
        done.out
    );
    let done = client(&[], &["lint", path, "-o", "json"], "");
    assert_eq!(done.code, 3);
    assert_eq!(done.json()["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(done.json()["errors"][0]["place"]["path"], "Setup/Applications/Shop/Index.yaml");
    let done = client(&[], &["lint", "/"], "");
    assert_eq!(done.code, 3);
    assert!(done.err.contains("[TREE_MISSING]"), "{}", done.err);
}
