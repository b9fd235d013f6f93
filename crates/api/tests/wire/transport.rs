//! Request forms, envelopes, authentication (`wire.md` 1).

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::{KEY, Server, post};

#[tokio::test]
async fn every_request_form_is_understood_below_both_prefixes() {
    let server = Server::shop().await;
    let forms = [
        ("application/json", r#"{"query":"{applications(limit:5){nodes{name}}}"}"#),
        (
            "application/json",
            r#"{"query":"{applications(limit:5){nodes{name}}}","variables":null,"operationName":null}"#,
        ),
        (
            "application/json",
            r#"{"operationName":"Get","query":"{applications(limit:5){nodes{name}}}","variables":{}}"#,
        ),
        ("application/json; charset=utf-8", "{\"query\":\"{\n applications(limit:5)\n{nodes{name}}}\"}"),
        ("text/plain", "{applications(limit:5){nodes{name}}}"),
        ("application/json", "{applications(limit: 5, offset: 0. filters: []) {nodes{name name}}}"),
        ("application/json", "query A($l: Int!) { applications(limit: $l) {nodes{name}} }"),
    ];
    for (kind, body) in forms {
        for path in ["/api/graphql", "/gateway/api/graphql?accountId=x"] {
            let (status, answer) = server.json(post(path, kind, body)).await;
            assert_eq!(status, StatusCode::OK);
            if body.contains("$l") {
                assert_eq!(answer["errors"][0]["extensions"]["code"], "QUERY_INVALID", "{answer}");
            } else {
                assert_eq!(
                    answer,
                    json!({"data": {"applications": {"nodes": [{"name": "shop"}]}}}),
                    "{body}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_bad_key_is_told_as_clients_read_it() {
    let server = Server::start().await;
    let body = "{applications(limit:1){nodes{id}}}";
    let requests = [
        Request::post("/api/graphql").body(Body::from(body)).unwrap(),
        Request::post("/api/graphql").header("x-api-key", "no").body(Body::from(body)).unwrap(),
        Request::get("/api/setup-as-code/yaml/directory").body(Body::empty()).unwrap(),
        Request::get("/api/external/v1/executions/x/status").body(Body::empty()).unwrap(),
    ];
    for request in requests {
        let (status, answer) = server.json(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let message = &answer["responseMessages"][0];
        assert_eq!(
            *message,
            json!({"code": "INVALID_TOKEN", "level": "ERROR", "message": "Token is not valid."})
        );
    }
    let bearer = Request::post("/api/graphql").header("authorization", format!("Bearer {KEY}"));
    let (status, _) = server.json(bearer.body(Body::from(body)).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn errors_are_answers_with_a_message_and_a_code() {
    let server = Server::shop().await;
    let phrases = [
        ("{application(applicationId: \"no\") {id}}", "User not authorized"),
        ("{execution(executionId: \"no\") {id}}", "execution does not exist"),
        ("{execution(executionId: \"no\") {id}}", "Execution does not exist or access is denied"),
        ("{secret(secretId: \"no\", secretType: ENCRYPTED_TEXT) {id}}", "No secret exists"),
        ("{secretByName(name: \"no\", secretType: SSH_CREDENTIAL) {id}}", "No secret exists"),
        ("{cloudProvider(cloudProviderId: \"no\") {id}}", "Cloud Provider does not exist"),
        ("{cloudProviderByName(name: \"no\") {id}}", "Cloud Provider does not exist"),
        ("{secretManagerByName(name: \"no\") {id}}", "does not exist"),
        ("{service(serviceId: \"no\") {id}}", "does not exist"),
    ];
    for (query, phrase) in phrases {
        let error = server.error(query, json!({})).await;
        assert!(error["message"].as_str().unwrap().contains(phrase), "{query}: {error}");
        assert!(error["extensions"]["code"].is_string(), "{error}");
        assert!(error["extensions"]["problems"][0]["message"].is_string(), "{error}");
    }
    for query in ["{nothing}", "{applications {nodes{id}}}", "{applications(limit: 1001) {nodes{id}}}", "{"] {
        let error = server.error(query, json!({})).await;
        assert!(error["extensions"]["code"].is_string(), "{error}");
    }
}

#[tokio::test]
async fn lists_and_enums_are_coerced() {
    let server = Server::shop().await;
    let query = "query($f: [EnvironmentFilter]) { environments(filters: $f, limit: 10) {nodes{name}} }";
    let one = json!({"f": {"environmentType": {"operator": "EQUALS", "values": "PROD"}}});
    assert_eq!(server.data(query, one).await["environments"]["nodes"], json!([{"name": "prod"}]));
    let literal = "{environments(filters: {environmentType: {operator: EQUALS, values: NON_PROD}}, limit: 10) {nodes{name}}}";
    assert_eq!(server.data(literal, json!({})).await["environments"]["nodes"], json!([{"name": "test"}]));
}

#[tokio::test]
async fn large_bodies_are_refused_as_graphql_errors() {
    let server = Server::start().await;
    let body = format!("{{\"query\": \"{{a}}\", \"x\": \"{}\"}}", "x".repeat(11 << 20));
    let (status, answer) = server.json(post("/api/graphql", "application/json", body)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BODY_TOO_LARGE");
}

#[tokio::test]
async fn health_and_metrics_need_no_key() {
    let server = Server::start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let (status, body) = server.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(!body.is_empty());
    }
    let (_, body) = server.send(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("manifold_http_requests_total{") && text.contains("\nother 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
}
