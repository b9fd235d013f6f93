//! `manifold delegate`: tokens, approvals, scopes.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::ask;
use crate::server::Server;

fn delegate(id: &str, name: &str, node: Value) -> Value {
    json!({ "uuid": id, "delegateName": name, "status": "ENABLED", "hostName": "h1", "version": "1.0", "node": node,
        "selectors": ["west", "helm"] })
}

/// A server with two delegates of one name and one more.
fn server() -> Server {
    Server::start(|query, variables| {
        let page =
            |nodes: Value| json!({ "data": { "all": { "pageInfo": { "hasMore": false }, "nodes": nodes } } });
        if query.contains("createDelegateToken") {
            json!({ "data": { "done": { "value": "mfd.secret", "delegateToken": { "id": "t1", "name": variables["input"]["name"] } } } })
        } else if query.contains("revokeDelegateToken") {
            json!({ "data": { "done": { "delegateToken": { "id": "t1", "name": "west", "revokedAt": 5 } } } })
        } else if query.contains("delegateTokens(") {
            page(
                json!([{ "id": "t1", "name": "west", "approvalRequired": true, "revokedAt": null }, { "id": "t2", "name": "old", "revokedAt": 5 }]),
            )
        } else if query.contains("viewer") {
            json!({ "data": { "viewer": { "accountId": "acc" } } })
        } else if query.contains("delegateList(") && variables["filters"].is_null() {
            page(json!([
                delegate("d1", "twin", json!("n1")),
                delegate("d2", "twin", json!(null)),
                delegate("-d3", "one", json!("n1"))
            ]))
        } else if query.contains("delegateList(") {
            page(json!([delegate("gone", "gone", json!(null))]))
        } else if query.contains("delegateApproveReject") {
            json!({ "data": { "done": { "delegate": { "uuid": "-d3", "delegateName": "one", "status": "ENABLED" } } } })
        } else if query.contains("deleteDelegate") {
            json!({ "data": { "deleteDelegate": { "clientMutationId": null } } })
        } else if query.contains("addDelegegateScope") {
            json!({ "data": { "done": { "delegateScope": { "name": "prod", "uuid": "s1" } } } })
        } else if query.contains("delegateScopeList(") {
            page(
                json!([{ "name": "prod", "uuid": "s1", "environmentTypes": ["PROD"], "applications": ["a1", "a2"] }]),
            )
        } else {
            assert!(query.contains("attachScopeToDelegate"), "{query}");
            json!({ "data": { "done": { "delegate": { "uuid": "-d3", "delegateName": "one" } } } })
        }
    })
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let server = server();
    let done = ask(&server, &["delegate", "token", "create", "west"]);
    assert_eq!((done.code, done.out.as_str()), (0, "mfd.secret\n"), "{}", done.err);
    assert_eq!(
        server.variables("createDelegateToken")["input"],
        json!({ "name": "west", "approvalRequired": false })
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let path = file.to_str().unwrap();
    let arguments =
        ["delegate", "token", "create", "west", "--approval-required", "--token-file", path, "-o", "json"];
    let done = ask(&server, &arguments);
    assert_eq!(done.json(), json!({ "id": "t1", "name": "west", "tokenFile": path }), "{}", done.err);
    assert!(!done.out.contains("mfd.") && !done.err.contains("mfd."));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mfd.secret\n");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.variables("createDelegateToken")["input"]["approvalRequired"], true);
    let made = server.requests().len();
    assert_eq!(ask(&server, &arguments).code, 2, "a file that is there stays");
    assert_eq!(server.requests().len(), made, "nothing was asked for");

    let listed = ask(&server, &["delegate", "token", "list"]);
    let rows: Vec<Vec<&str>> =
        listed.out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["west", "good", "required", "t1"], ["old", "revoked", "no", "t2"]]);
    let done = ask(&server, &["delegate", "token", "revoke", "west"]);
    assert!(done.code == 0 && done.out.is_empty() && done.err.contains("west is revoked"), "{}", done.err);
    assert_eq!(server.variables("revokeDelegateToken")["token"], "west");
}

#[test]
fn delegates_are_found_by_id_or_a_name_of_their_own() {
    let server = server();
    let listed = ask(&server, &["delegate", "list"]);
    assert!(listed.out.contains("to n1") && listed.out.contains("west helm"), "{}", listed.out);
    let gone = ask(&server, &["delegate", "list", "--status", "deleted", "-o", "json"]).json();
    assert_eq!(gone["delegates"][0]["uuid"], "gone");
    let done = ask(&server, &["delegate", "approve", "one"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let input = json!({ "accountId": "acc", "delegateId": "-d3", "delegateApproval": "ACTIVATE" });
    assert_eq!(server.variables("delegateApproveReject")["input"], input);
    assert_eq!(ask(&server, &["delegate", "reject", "-d3"]).code, 0);
    assert_eq!(server.variables("delegateApproveReject")["input"]["delegateApproval"], "REJECT");
    let done = ask(&server, &["delegate", "delete", "d1", "-o", "json"]);
    assert_eq!(done.json(), json!({ "id": "d1", "name": "twin" }));
    for unclear in ["twin", "nobody"] {
        let done = ask(&server, &["delegate", "delete", unclear]);
        assert_eq!(done.code, 3, "{}", done.err);
        assert!(done.err.contains("[DELEGATE_UNKNOWN]") && done.err.contains("hint:"), "{}", done.err);
    }
}

#[test]
fn scopes_are_added_and_attached() {
    let server = server();
    let add = [
        "delegate",
        "scope",
        "add",
        "prod",
        "--environment-type",
        "non-prod",
        "--application",
        "a1",
        "--application",
        "-a2",
    ];
    let done = ask(&server, &add);
    assert_eq!((done.code, done.out.as_str()), (0, "s1\n"), "{}", done.err);
    let input = server.variables("addDelegegateScope")["input"].clone();
    assert_eq!(input["application"], json!({ "operator": "IN", "values": ["a1", "-a2"] }));
    assert_eq!((&input["environmentTypes"], &input["service"]), (&json!(["NON_PROD"]), &json!(null)));
    assert!(ask(&server, &["delegate", "scope", "list"]).out.contains("a1 a2"));
    assert_eq!(ask(&server, &["delegate", "scope", "attach", "one", "--include", "prod"]).code, 0);
    let input = server.variables("attachScopeToDelegate")["input"].clone();
    assert_eq!(input["includeScopes"], json!({ "operator": "IN", "values": ["prod"] }));
    assert_eq!(input["excludeScopes"], json!(null), "what is not given stays");
    assert_eq!(ask(&server, &["delegate", "scope", "attach", "one", "--clear"]).code, 0);
    let input = server.variables("attachScopeToDelegate")["input"].clone();
    assert_eq!(
        (&input["includeScopes"]["values"], &input["excludeScopes"]["values"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(ask(&server, &["delegate", "scope", "attach", "one"]).code, 2);
}
