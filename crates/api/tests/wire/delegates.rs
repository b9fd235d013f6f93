//! Delegates, their scopes and tokens (`wire.md` 2.10, 6).

use manifold_control::delegates::{Admission, Applicant};
use manifold_control::model::delegate::{Announced, DelegateType};
use serde_json::{Value, json};

use super::{ACCOUNT, Server};

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// As the Go SDK asks.
const LIST: &str = "query($f: [DelegateFilter], $limit: Int!, $offset: Int) { delegateList(filters: $f, limit: $limit, offset: $offset) {
    nodes { ip hostName delegateName uuid accountId delegateProfileId delegateType description lastHeartBeat polllingModeEnabled status version }
    pageInfo { limit offset total hasMore } } }";
const APPROVE: &str = "mutation($i: DelegateApproveRejectInput!) { delegateApproveReject(input: $i) {
    clientMutationId delegate { uuid status } } }";

async fn token(server: &Server, approval: Value) -> String {
    let query = "mutation($a: Boolean) { createDelegateToken(input: {name: \"west\", approvalRequired: $a}) { value delegateToken { id name approvalRequired revokedAt } } }";
    let data = server.data(query, json!({"a": approval})).await;
    data["createDelegateToken"]["value"].as_str().unwrap().to_owned()
}

async fn join(server: &Server, id: &str, token: &str) -> Admission {
    let announced = Announced {
        kind: DelegateType::Kubernetes,
        program: "1.0".to_owned(),
        host: "host-1".to_owned(),
        address: "10.0.0.1".to_owned(),
        description: "in the west".to_owned(),
        selectors: vec![id.to_owned(), "west".to_owned()],
        capabilities: vec!["helm".to_owned()],
        kinds: super::kinds(),
    };
    let token = Some(token.to_owned());
    let applicant = Applicant { id: id.into(), name: id.to_owned(), key: KEY.to_owned(), token, announced };
    server.control.admit_delegate(applicant).await.unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["delegateList"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["uuid"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_list_is_what_clients_decode() {
    let server = Server::start().await;
    let empty = server.data(LIST, json!({"limit": 10})).await;
    assert_eq!(empty["delegateList"]["nodes"], json!([]));
    let token = token(&server, json!(null)).await;
    for id in ["one", "two", "three"] {
        assert_eq!(join(&server, id, &token).await, Admission::Admitted);
    }
    let page = server.data(LIST, json!({"f": null, "limit": 2, "offset": 1})).await;
    assert_eq!(names(&page), ["two", "three"]);
    assert_eq!(
        page["delegateList"]["pageInfo"],
        json!({"limit": 2, "offset": 1, "total": 3, "hasMore": false})
    );
    let node = &page["delegateList"]["nodes"][0];
    let heard = node["lastHeartBeat"].as_str().unwrap();
    assert!(heard.parse::<i64>().unwrap() > 0, "a Long is digits in quotes");
    let mut rest = node.clone();
    rest.as_object_mut().unwrap().remove("lastHeartBeat");
    assert_eq!(
        rest,
        json!({"ip": "10.0.0.1", "hostName": "host-1", "delegateName": "two", "uuid": "two", "accountId": ACCOUNT,
            "delegateProfileId": null, "delegateType": "KUBERNETES", "description": "in the west",
            "polllingModeEnabled": false, "status": "ENABLED", "version": "1.0"})
    );
    // A single filter where a list is declared, and enumerated values as strings (R13).
    let filter = json!({"accountId": ACCOUNT, "delegateName": "one", "delegateStatus": "ENABLED", "delegateType": "KUBERNETES"});
    assert_eq!(names(&server.data(LIST, json!({"f": filter, "limit": 10})).await), ["one"]);
    for (key, value) in [("delegateName", "On"), ("delegateStatus", "DELETED"), ("delegateType", "DOCKER")] {
        let filter = json!([{"accountId": ACCOUNT, key: value}]);
        assert!(names(&server.data(LIST, json!({"f": filter, "limit": 10})).await).is_empty(), "{key}");
    }
    let foreign = server.error(LIST, json!({"f": [{"accountId": "another"}], "limit": 10})).await;
    assert!(foreign["message"].as_str().unwrap().contains("User not authorized"), "{foreign}");
    server.error(LIST, json!({"f": [{"delegateName": "one"}], "limit": 10})).await;
    server.error(LIST, json!({"f": [{"accountId": ACCOUNT, "delegateStatus": "GONE"}], "limit": 10})).await;
    server.error(LIST, json!({"limit": 1001})).await;
    server.error(LIST, json!({"limit": 10, "offset": -1})).await;

    let more = "{ delegateList(limit: 1) { nodes { lastHeartbeat connections { disconnected version } disconnected
        includeScopes { name } excludeScopes { name } tags supportedTasks selectors capabilities node embedded tokenId joinedAt } } }";
    let data = server.data(more, json!({})).await;
    let node = &data["delegateList"]["nodes"][0];
    assert!(node["lastHeartbeat"].is_i64() && node["joinedAt"].is_i64() && node["tokenId"].is_string());
    assert_eq!((&node["connections"], &node["disconnected"]), (&json!([]), &json!(true)));
    assert_eq!((&node["includeScopes"], &node["excludeScopes"]), (&json!([]), &json!([])));
    assert_eq!(
        (&node["tags"], &node["supportedTasks"]),
        (&json!(["one", "west"]), &json!(["SHELL_SCRIPT", "HTTP"]))
    );
    assert_eq!(
        (&node["capabilities"], &node["node"], &node["embedded"]),
        (&json!(["helm"]), &json!(null), &json!(false))
    );
}

#[tokio::test]
async fn approving_and_deleting() {
    let server = Server::start().await;
    let token = token(&server, json!(true)).await;
    for id in ["one", "two"] {
        assert_eq!(join(&server, id, &token).await, Admission::Waiting);
    }
    let input = |id: &str, approval: &str| json!({"i": {"accountId": ACCOUNT, "delegateId": id, "delegateApproval": approval, "clientMutationId": "m"}});
    let done = server.data(APPROVE, input("one", "ACTIVATE")).await;
    assert_eq!(
        done["delegateApproveReject"],
        json!({"clientMutationId": "m", "delegate": {"uuid": "one", "status": "ENABLED"}})
    );
    let done = server.data(APPROVE, input("two", "REJECT")).await;
    assert_eq!(done["delegateApproveReject"]["delegate"]["status"], "DELETED");
    assert_eq!(
        names(&server.data(LIST, json!({"limit": 10})).await),
        ["one"],
        "deleted ones are out of sight"
    );
    let filter = json!([{"accountId": ACCOUNT, "delegateStatus": "DELETED"}]);
    assert_eq!(names(&server.data(LIST, json!({"f": filter, "limit": 10})).await), ["two"]);
    let late = server.error(APPROVE, input("one", "REJECT")).await;
    assert_eq!(late["extensions"]["code"], "DELEGATE_NOT_WAITING");
    let nobody = server.error(APPROVE, input("", "ACTIVATE")).await;
    assert!(nobody["message"].as_str().unwrap().contains("does not exist"), "{nobody}");
    let mut foreign = input("one", "ACTIVATE");
    foreign["i"]["accountId"] = json!("another");
    let foreign = server.error(APPROVE, foreign).await;
    assert!(foreign["message"].as_str().unwrap().contains("User not authorized"), "{foreign}");

    let delete = "mutation($a: String!, $d: String!) { deleteDelegate(input: {accountId: $a, delegateId: $d, clientMutationId: \"m\"}) { clientMutationId } }";
    server.error(delete, json!({"a": "another", "d": "one"})).await;
    server.error(delete, json!({"a": ACCOUNT, "d": "nobody"})).await;
    let done = server.data(delete, json!({"a": ACCOUNT, "d": "one"})).await;
    assert_eq!(done["deleteDelegate"], json!({"clientMutationId": "m"}));
    assert!(names(&server.data(LIST, json!({"limit": 10})).await).is_empty());
}

#[tokio::test]
async fn scopes_are_added_and_attached() {
    let server = Server::shop().await;
    let (application, ..) = server.ids().await;
    let token = token(&server, json!(false)).await;
    join(&server, "one", &token).await;
    let add = "mutation($i: AddDelegateScopeInput!) { addDelegegateScope(input: $i) { clientMutationId message
        delegateScope { uuid name applications environmentTypes environments services infrastructureDefinitions taskTypes } } }";
    let input = |more: Value| {
        let mut input = json!({"accountId": ACCOUNT, "name": "prod"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"i": input})
    };
    let attach_all = format!(
        "mutation {{ attachAllScopesToDelegate(input: {{accountId: \"{ACCOUNT}\", delegateId: \"one\"}}) {{ message }} }}"
    );
    assert_eq!(server.error(&attach_all, json!({})).await["extensions"]["code"], "DELEGATE_SCOPE_UNKNOWN");
    let application = json!({"operator": "EQUALS", "values": application});
    for (bad, code) in [
        (json!({}), "INPUT_MISSING"),
        (json!({"environmentTypes": []}), "INPUT_MISSING"),
        (json!({"name": "a b", "environmentTypes": ["PROD"]}), "NAME_INVALID"),
        (json!({"application": {"operator": "IN", "values": ["none"]}}), "ENTITY_UNKNOWN"),
        (json!({"application": {"operator": "LIKE", "values": ["s"]}}), "INPUT_UNSUPPORTED"),
        (json!({"environmentTypes": ["PROD"], "taskGroup": "JIRA"}), "INPUT_UNSUPPORTED"),
    ] {
        assert_eq!(server.error(add, input(bad.clone())).await["extensions"]["code"], code, "{bad}");
    }
    let data = server.data(add, input(json!({"application": application, "environmentTypes": "PROD"}))).await;
    let scope = &data["addDelegegateScope"]["delegateScope"];
    assert_eq!(
        (&scope["environmentTypes"], &scope["applications"]),
        (&json!(["PROD"]), &json!([application["values"]]))
    );
    assert_eq!((&scope["services"], &scope["taskTypes"]), (&json!([]), &json!([])));
    let twice = server.error(add, input(json!({"environmentTypes": ["NON_PROD"]}))).await;
    assert_eq!(twice["extensions"]["code"], "NAME_TAKEN");

    let list = "query($f: [DelegateScopeFilter]) { delegateScopeList(filters: $f, limit: 10) { nodes { name uuid } pageInfo { total } } }";
    let listed = server.data(list, json!({})).await;
    assert_eq!(listed["delegateScopeList"]["nodes"], json!([{"name": "prod", "uuid": scope["uuid"]}]));
    let other = server.data(list, json!({"f": {"accountId": ACCOUNT, "scopeName": "other"}})).await;
    assert_eq!(other["delegateScopeList"]["pageInfo"]["total"], 0);
    server.error(list, json!({"f": [{"accountId": "another"}]})).await;

    let attach = "mutation($i: AttachScopeToDelegateInput!) { attachScopeToDelegate(input: $i) { message delegate { includeScopes { name } excludeScopes { name } } } }";
    let with = |more: Value| {
        let mut input = json!({"accountId": ACCOUNT, "delegateId": "one"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"i": input})
    };
    let unknown =
        server.error(attach, with(json!({"includeScopes": {"operator": "IN", "values": ["nothing"]}}))).await;
    assert_eq!(unknown["extensions"]["code"], "DELEGATE_SCOPE_UNKNOWN");
    let by_id = with(json!({"excludeScopes": {"operator": "EQUALS", "values": [scope["uuid"]]}}));
    let data = server.data(attach, by_id).await;
    let expected = json!({"includeScopes": [], "excludeScopes": [{"name": "prod"}]});
    assert_eq!(data["attachScopeToDelegate"]["delegate"], expected);
    let data = server.data(attach, with(json!({}))).await;
    assert_eq!(data["attachScopeToDelegate"]["delegate"], expected, "what is not given stays");
    let data = server.data(attach, with(json!({"excludeScopes": {"operator": "IN", "values": []}}))).await;
    assert_eq!(data["attachScopeToDelegate"]["delegate"]["excludeScopes"], json!([]));
    server.data(&attach_all, json!({})).await;
    let rows = manifold_store::Store::delegates(&*server.store).await.unwrap();
    assert_eq!(rows[0].scopes.limited_to.len(), 1);
}

#[tokio::test]
async fn a_token_is_told_once() {
    let server = Server::start().await;
    let text = token(&server, json!(null)).await;
    assert!(text.starts_with("mfd."));
    let query = "{ delegateTokens(limit: 10) { nodes { id name approvalRequired createdAt revokedAt } pageInfo { total } } }";
    let listed = server.data(query, json!({})).await;
    let node = &listed["delegateTokens"]["nodes"][0];
    assert_eq!((&node["approvalRequired"], &node["revokedAt"]), (&json!(false), &json!(null)));
    let revoke = "mutation($t: String!) { revokeDelegateToken(input: {delegateTokenId: $t}) { delegateToken { revokedAt } } }";
    let done = server.data(revoke, json!({"t": node["id"]})).await;
    assert!(done["revokeDelegateToken"]["delegateToken"]["revokedAt"].is_i64());
    let nothing = server.error(revoke, json!({"t": "north"})).await;
    assert!(nothing["message"].as_str().unwrap().contains("does not exist"), "{nothing}");
}
