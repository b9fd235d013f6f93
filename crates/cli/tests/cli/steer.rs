//! execution list, requests, answers, logs; secrets.

use serde_json::{Value, json};

use crate::server::Server;
use crate::{ask, client};

/// A server with one workflow execution that has run one step on one host.
fn server() -> Server {
    Server::start(|query, _| {
        let done =
            json!({ "data": { "done": { "execution": { "id": "-leg", "innerStatus": "ABORTING" } } } });
        if query.contains("done:") {
            done
        } else if query.contains("steps {") {
            json!({ "data": { "execution": { "steps": [{ "step": 7, "name": "Start carts", "tasks": [
                { "attempt": 2, "instance": "h1", "logId": "L1", "endedAt": 5 } ] }] } } })
        } else if query.contains("executions(") {
            json!({ "data": { "executions": { "pageInfo": { "total": 3, "hasMore": true }, "nodes": [
                { "id": "-leg", "innerStatus": "SUCCESS", "createdAt": 0, "startedAt": 0, "endedAt": 3_723_000, "notes": "",
                  "application": { "name": "Shop" }, "pipelineName": "ship" } ] } } })
        } else if query.contains("applicationByName") {
            json!({ "data": { "found": { "id": "app" } } })
        } else if query.contains("executionId: $id") {
            json!({ "data": { "execution": { "__typename": "WorkflowExecution", "id": "-leg", "seq": 1, "innerStatus": "SUCCESS", "createdAt": 0,
                "workflowName": "roll", "application": { "id": "app", "name": "Shop" }, "infrastructure": { "name": "eu" } } } })
        } else if query.contains("createSecret") {
            json!({ "data": { "createSecret": { "secret": { "id": "s1" } } } })
        } else {
            assert_eq!(query, "GET /api/executions/-leg/logs/L1?from=0&accountId=acc");
            json!(
                "{\"n\":1,\"at\":5,\"unit\":\"\",\"text\":\"hello\"}\n{\"n\":2,\"at\":6,\"unit\":\"\",\"text\":\"there\"}"
            )
        }
    })
}

#[test]
fn executions_are_listed() {
    let server = server();
    let done =
        ask(&server, &["execution", "list", "--application", "Shop", "--status", "success", "--limit", "1"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let row: Vec<&str> = done.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["-leg", "Shop", "ship", "✓", "SUCCESS", "1970-01-01", "00:00:00", "1:02:03"]);
    assert!(done.err.contains("1 of 3; --offset 1 goes on"), "{}", done.err);
    let filters = server.variables("executions(")["filters"].clone();
    assert_eq!(filters[0], json!({ "application": { "operator": "EQUALS", "values": ["app"] } }));
    assert_eq!(filters[1], json!({ "status": { "operator": "IN", "values": ["SUCCESS"] } }));
    let listed = ask(&server, &["execution", "list", "-o", "json"]).json();
    assert_eq!(listed["total"], 3);
    assert_eq!(listed["executions"][0]["pipeline"], "ship");
    assert_eq!(listed["executions"][0]["status"], "SUCCESS");
}

#[test]
fn ids_may_begin_with_a_dash() {
    let server = server();
    for arguments in [
        ["execution", "abort", "-leg", "--reason", "why"].as_slice(),
        &["execution", "abort", "--reason", "why", "-leg"],
        &["execution", "abort", "--reason", "why", "--", "-leg"],
    ] {
        let done = ask(&server, arguments);
        assert_eq!((done.code, done.out.as_str()), (0, "-leg  ■ ABORTING\n"), "{}", done.err);
        assert_eq!(
            server.variables("abortExecution")["input"],
            json!({ "executionId": "-leg", "reason": "why" })
        );
    }
    for arguments in
        [["execution", "pause", "-o", "json", "-leg"], ["execution", "pause", "-leg", "-o", "json"]]
    {
        let done = ask(&server, &arguments);
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(done.json(), json!({ "id": "-leg", "status": "ABORTING" }));
    }
}

#[test]
fn answers_are_sent() {
    let server = server();
    let done = ask(
        &server,
        &["execution", "answer", "-leg", "--step", "Start carts", "--action", "MARK_AS_SUCCESS"],
    );
    assert_eq!(done.code, 0, "{}", done.err);
    let input = server.variables("answerIntervention")["input"].clone();
    assert_eq!(
        input,
        json!({ "executionId": "-leg", "step": 7, "answer": "MARK_AS_SUCCESS", "reason": null })
    );
    let done =
        ask(&server, &["execution", "answer", "-leg", "--step", "7", "--ran", "no", "--instance", "h1"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let input = server.variables("answerUnknownOutcome")["input"].clone();
    assert_eq!(
        input,
        json!({ "executionId": "-leg", "step": 7, "instance": "h1", "ran": false, "reason": null })
    );
    let done = ask(&server, &["execution", "answer", "-leg", "--step", "nowhere", "--ran", "yes"]);
    assert_eq!(done.code, 3);
}

#[test]
fn logs_are_printed() {
    let server = server();
    let done = ask(&server, &["execution", "logs", "-leg", "--follow"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "[h1 Start carts #2] hello\n[h1 Start carts #2] there\n"),
        "{}",
        done.err
    );
    let done = ask(&server, &["execution", "logs", "-leg", "--step", "7", "-o", "json"]);
    let first: Value = serde_json::from_str(done.out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["text"].as_str(), first["step"].as_str(), first["instance"].as_str()),
        (Some("hello"), Some("Start carts"), Some("h1"))
    );
    assert_eq!(ask(&server, &["execution", "logs", "-leg", "--step", "8"]).code, 3);
}

#[test]
fn secret_values_come_by_standard_input_or_from_files() {
    let server = server();
    let environment = [("MANIFOLD_URL", server.url.as_str()), ("MANIFOLD_API_KEY", "key")];
    let done = client(&environment, &["secret", "create", "token"], "hush\n");
    assert_eq!((done.code, done.out.as_str()), (0, "s1\n"), "{}", done.err);
    assert!(!done.err.contains("hush"));
    let input = server.variables("createSecret")["input"].clone();
    assert_eq!(
        input,
        json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": { "name": "token", "value": "hush" } })
    );
    assert_eq!(client(&environment, &["secret", "create", "token"], "").code, 2);

    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("id");
    std::fs::write(&key, "PRIVATE\n").unwrap();
    let key = key.to_str().unwrap();
    let arguments = [
        "secret",
        "create",
        "fleet",
        "--type",
        "ssh-credential",
        "--user",
        "deploy",
        "--port",
        "2222",
        "--key-file",
        key,
    ];
    let done = client(&environment, &arguments, "");
    assert_eq!(done.code, 0, "{}", done.err);
    let credential = server.variables("createSecret")["input"]["sshCredential"]["sshAuthentication"].clone();
    assert_eq!((credential["userName"].as_str(), credential["port"].as_u64()), (Some("deploy"), Some(2222)));
    assert_eq!(credential["sshAuthenticationMethod"]["inlineSSHKey"]["sshKeySecretFileId"], "s1");
}

#[test]
fn a_log_that_breaks_off_is_told() {
    let server = Server::start(|query, _| {
        if query.contains("steps {") {
            json!({ "data": { "execution": { "steps": [{ "step": 7, "name": "s", "tasks": [
                { "attempt": 1, "instance": null, "logId": "L1", "endedAt": 5 } ] }] } } })
        } else if query.contains("executionId: $id") {
            json!({ "data": { "execution": { "__typename": "WorkflowExecution", "id": "leg", "innerStatus": "SUCCESS", "createdAt": 0 } } })
        } else {
            json!(
                "{\"n\":1,\"text\":\"hello\"}\n{\"error\":\"the log is damaged\",\"code\":\"LOG_UNREADABLE\"}\n"
            )
        }
    });
    let done = ask(&server, &["execution", "logs", "leg"]);
    assert_eq!((done.code, done.out.as_str()), (3, "[s] hello\n"), "{}", done.err);
    assert!(done.err.contains("the log is damaged [LOG_UNREADABLE]"), "{}", done.err);
}
