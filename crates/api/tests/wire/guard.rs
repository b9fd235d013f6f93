//! Queries that cost too much, and the introspection that clients send.

use serde_json::json;

use super::Server;

#[tokio::test]
async fn bombs_are_refused() {
    let server = Server::start().await;
    let mut nested = String::from("{...F0}");
    for level in 0..25 {
        nested += &format!(" fragment F{level} on Query {{ ...F{0} ...F{0} }}", level + 1);
    }
    nested += " fragment F25 on Query { serverInfo {version} }";
    let aliases: String = (0..20_000).map(|n| format!("a{n}: serverInfo {{version}} ")).collect();
    let deep = format!("{}{}", "{applications(limit:1){nodes".repeat(30), "}".repeat(60));
    let wide = "{executions(limit:1000){nodes{... on PipelineExecution{memberExecutions(limit:1000){nodes{id status}}}}}}";
    for (query, code) in [
        (nested.as_str(), "QUERY_TOO_LARGE"),
        (&format!("{{{aliases}}}"), "QUERY_TOO_LARGE"),
        (&deep, "QUERY_TOO_LARGE"),
        (&"{a".repeat(100_000), "QUERY_TOO_LARGE"),
        (wide, "QUERY_INVALID"),
    ] {
        let error = server.error(query, json!({})).await;
        assert_eq!(error["extensions"]["code"], code, "{error}");
    }
}

#[tokio::test]
async fn the_standard_introspection_query_passes() {
    let server = Server::start().await;
    let data = server.data(INTROSPECTION, json!({})).await;
    let types = data["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|one| one["name"] == "PipelineExecution"));
}

const INTROSPECTION: &str = "query IntrospectionQuery {
  __schema {
    description
    queryType { name kind }
    mutationType { name kind }
    subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description specifiedByURL
  fields(includeDeprecated: true) {
    name description
    args(includeDeprecated: true) { ...InputValue }
    type { ...TypeRef }
    isDeprecated deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type {
  kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}";
