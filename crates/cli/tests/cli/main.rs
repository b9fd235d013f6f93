//! The commands as a user runs them, against a small server that answers like the real one: exit codes, what is printed where, and what is sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod delegates;
mod server;
mod steer;
mod trees;
mod watching;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use server::Server;

/// What a command did.
pub struct Done {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// Starts the client with nothing of this process's environment.
pub fn command(environment: &[(&str, &str)], arguments: &[&str]) -> Child {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().parent().unwrap().join("examples/client");
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo builds the example `client` with the tests")
}

/// Runs the client to its end.
pub fn client(environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Done {
    let mut child = command(environment, arguments);
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the client against a server.
pub fn ask(server: &Server, arguments: &[&str]) -> Done {
    client(
        &[("MANIFOLD_URL", &server.url), ("MANIFOLD_API_KEY", "key"), ("MANIFOLD_ACCOUNT_ID", "acc")],
        arguments,
        "",
    )
}

#[test]
fn bad_usage_is_2() {
    let server = Server::start(|_, _| json!({}));
    for arguments in [
        ["deploy", "Shop", "ship", "--var", "infrastructure"].as_slice(),
        &["deploy", "Shop", "ship", "--var", "a=1", "--var", "a=2"],
        &["execution", "list", "--limit", "1001"],
        &["execution", "answer", "id", "--step", "1"],
        &["execution", "answer", "id", "--step", "1", "--action", "DANCE"],
        &["secret", "create", "x", "--user", "u"],
        &["import", "/absent"],
        &["nothing"],
    ] {
        let done = ask(&server, arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
    }
    let done = client(&[("MANIFOLD_URL", &server.url)], &["execution", "list"], "");
    assert_eq!(done.code, 2);
    assert!(done.err.contains("MANIFOLD_API_KEY"), "{}", done.err);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn an_unreachable_server_is_4() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let done = client(
        &[("MANIFOLD_URL", &url), ("MANIFOLD_API_KEY", "key")],
        &["execution", "list", "-o", "json"],
        "",
    );
    assert_eq!(done.code, 4);
    assert!(done.err.contains(&format!("cannot reach {url}")), "{}", done.err);
    assert_eq!(done.json()["error"]["kind"], "UNREACHABLE");
}

#[test]
fn an_answer_that_makes_no_sense_is_70() {
    let server = Server::start(|_, _| json!({}));
    assert_eq!(ask(&server, &["execution", "list"]).code, 70);
    let server = Server::start(|_, _| json!({ "errors": [{ "message": "Unknown field" }] }));
    let done = ask(&server, &["execution", "list"]);
    assert_eq!(done.code, 70);
    assert!(done.err.contains("Unknown field"), "{}", done.err);
}

#[test]
fn a_wrong_key_is_refused() {
    let server = Server::start(|_, _| json!({}));
    let done =
        client(&[("MANIFOLD_URL", &server.url), ("MANIFOLD_API_KEY", "wrong")], &["execution", "list"], "");
    assert_eq!(done.code, 3);
    assert!(done.err.contains("[INVALID_TOKEN]") && done.err.contains("hint:"), "{}", done.err);
    assert!(!done.err.contains("wrong"), "a key is never printed: {}", done.err);
}

#[test]
fn the_key_comes_from_a_file_or_a_profile() {
    let server = Server::start(
        |_, _| json!({ "data": { "executions": { "nodes": [], "pageInfo": { "hasMore": false } } } }),
    );
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "key\n").unwrap();
    let key = key.to_str().unwrap();
    let done = client(&[], &["execution", "list", "--url", &server.url, "--api-key-file", key], "");
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", "there are no executions\n"));

    let config = folder.path().join("manifold");
    std::fs::create_dir(&config).unwrap();
    let text = format!("[profiles.test]\nurl = {:?}\napi_key_file = {key:?}\n", server.url);
    std::fs::write(config.join("config.toml"), &text).unwrap();
    let home = folder.path().to_str().unwrap();
    let list = ["execution", "list", "--profile", "test"];
    assert_eq!(client(&[("XDG_CONFIG_HOME", home)], &list, "").code, 0);
    let done = client(&[("XDG_CONFIG_HOME", home)], &["execution", "list", "--profile", "other"], "");
    assert_eq!(done.code, 2);
    std::fs::write(config.join("config.toml"), format!("{text}colour = 1\n")).unwrap();
    let done = client(&[("XDG_CONFIG_HOME", home)], &list, "");
    assert_eq!(done.code, 2);
    assert!(done.err.contains("line 4") && done.err.contains("colour"), "{}", done.err);
}

#[test]
fn codes_are_explained() {
    let done = client(&[], &["explain", "tree_missing"], "");
    assert_eq!(done.code, 0);
    assert!(done.out.starts_with("# TREE_MISSING\n"), "{}", done.out);
    let done = client(&[], &["explain", "TREE_MISING", "-o", "json"], "");
    assert_eq!(done.code, 3);
    assert!(done.err.contains("did you mean TREE_MISSING"), "{}", done.err);
    assert_eq!(done.json()["error"]["problems"][0]["code"], "CODE_UNKNOWN");
}

#[test]
fn shells_are_served() {
    let done = client(&[], &["completion", "bash"], "");
    assert!(done.code == 0 && done.out.contains("_manifold"), "{}", done.err);
    let done = client(&[], &["man"], "");
    assert!(done.code == 0 && done.out.contains(".TH manifold"), "{}", done.err);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(client(&[], &["man", "--dir", folder.path().to_str().unwrap()], "").code, 0);
    assert!(folder.path().join("manifold-deploy.1").exists());
}
