//! Requests that are too much, malformed or not allowed.

use std::time::{Duration, Instant};

use manifold_testkit::server::{Server, string};
use reqwest::Method;
use serde_json::{Value, json};

use super::serves;
use crate::scene::Scene;
use crate::shared;

/// How long refusing may take on a machine that does other things too.
const AT_ONCE: Duration = Duration::from_secs(20);

async fn post(server: &Server, kind: &str, body: Vec<u8>) -> (u16, Value) {
    let begun = Instant::now();
    let request = server.request(Method::POST, "/api/graphql").header("content-type", kind).body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let answer = answer.json().await.unwrap_or_default();
    assert!(begun.elapsed() < AT_ONCE, "an answer took {:?}", begun.elapsed());
    (status, answer)
}

fn query(text: &str) -> Vec<u8> {
    json!({ "query": text }).to_string().into_bytes()
}

/// Fragments that spread the next one twice each.
fn nested_fragments(levels: usize) -> String {
    let mut text = String::from("{ ...F0 }");
    for level in 0..levels {
        text += &format!(" fragment F{level} on Query {{ ...F{0} ...F{0} }}", level + 1);
    }
    text + &format!(" fragment F{levels} on Query {{ serverInfo {{ version }} }}")
}

/// Fragments that all spread each other.
fn mutual_fragments(count: usize) -> String {
    let mut text = String::from("{ ...F0 }");
    for one in 0..count {
        let others: String =
            (0..count).filter(|other| *other != one).map(|other| format!("...F{other} ")).collect();
        text += &format!(" fragment F{one} on Query {{ {others} }}");
    }
    text
}

#[test]
fn graphql_bombs_are_refused_at_once() {
    shared::run(async {
        let server = shared::server().await?;
        let aliases = |count: usize| {
            let fields: String =
                (0..count).map(|number| format!("a{number}: serverInfo {{ version }} ")).collect();
            format!("{{ {fields} }}")
        };
        let deep = format!("{{ {} }}", "applications(limit: 1) { nodes { ".repeat(5_000));
        let cases = [
            ("fragments nested 22 levels", nested_fragments(22)),
            ("30 mutual fragments", mutual_fragments(30)),
            ("a fragment that spreads itself", "{ ...F } fragment F on Query { ...F }".to_owned()),
            ("brackets", "{".repeat(500_000)),
            ("lists", format!("{{ a(x: {}) }}", "[".repeat(500_000))),
            ("deep fields", deep),
            ("20,000 aliases", aliases(20_000)),
            ("a text of 9 MB", format!("{{ serverInfo {{ version }} }} # {}", "x".repeat(9 << 20))),
            ("control characters", "{ \u{1}\u{2} }".to_owned()),
        ];
        for (name, text) in cases {
            let (status, answer) = post(&server, "application/json", query(&text)).await;
            assert_eq!(status, 200, "{name}");
            let code = string(&answer, "/errors/0/extensions/code").unwrap_or_default();
            assert!(code.starts_with("QUERY_"), "{name}: {}", answer["errors"]);
            assert!(!string(&answer, "/errors/0/message")?.is_empty());
            assert!(answer.get("responseMessages").is_none(), "{name}");
        }
        serves(&server).await;
        Ok(())
    });
}

#[test]
fn huge_and_malformed_bodies_are_refused() {
    shared::run(async {
        let server = shared::server().await?;
        let (status, answer) = post(&server, "application/json", vec![b'x'; (10 << 20) + 1]).await;
        assert_eq!((status, &answer["errors"][0]["extensions"]["code"]), (413, &json!("BODY_TOO_LARGE")));
        let huge = json!({ "query": "query($n: String!) { applicationByName(name: $n) { id } }",
            "variables": { "n": "x".repeat(9 << 20) } });
        let (status, answer) = post(&server, "application/json", huge.to_string().into_bytes()).await;
        assert_eq!(status, 200);
        assert!(string(&answer, "/errors/0/message")?.len() < 10_000, "an error repeats a huge value");
        let deep = format!("{{\"query\": \"{{ a }}\", \"variables\": {{\"x\": {}", "[".repeat(100_000));
        let bodies: [(&str, Vec<u8>); 8] = [
            ("nothing", Vec::new()),
            ("half a JSON", b"{\"query\": \"{ serverInfo".to_vec()),
            ("a list", b"[1, 2]".to_vec()),
            ("no query", b"{\"variables\": {}}".to_vec()),
            ("variables that are none", b"{\"query\": \"{ a }\", \"variables\": 7}".to_vec()),
            ("a query that is none", b"{\"query\": {\"a\": 1}}".to_vec()),
            ("no UTF-8", b"{\"query\": \"\xff\xfe\"}".to_vec()),
            ("deep variables", deep.into_bytes()),
        ];
        for (name, body) in bodies {
            for kind in ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"] {
                let (status, answer) = post(&server, kind, body.clone()).await;
                assert_eq!(status, 200, "{name} as {kind}: {answer}");
                assert!(!string(&answer, "/errors/0/message")?.is_empty(), "{name} as {kind}: {answer}");
            }
        }
        let (status, answer) = post(&server, "multipart/form-data", b"no parts".to_vec()).await;
        assert_eq!(status, 200, "{answer}");
        assert!(!string(&answer, "/errors/0/message")?.is_empty());
        let (_, answer) = post(&server, "text/plain", b"{ serverInfo { version } }".to_vec()).await;
        assert!(string(&answer, "/data/serverInfo/version").is_ok(), "{answer}");
        serves(&server).await;
        Ok(())
    });
}

#[test]
fn a_bad_key_is_a_401_in_the_shape_that_clients_read() {
    shared::run(async {
        let server = shared::server().await?;
        let client = reqwest::Client::new();
        let calls = [
            (Method::POST, "/api/graphql"),
            (Method::POST, "/gateway/api/graphql"),
            (Method::GET, "/api/setup-as-code/yaml/directory"),
            (Method::POST, "/api/setup-as-code/yaml/upsert-entities"),
            (Method::GET, "/api/external/v1/executions/x/status"),
            (Method::PUT, "/api/executions/x"),
            (Method::GET, "/api/executions/x/events"),
        ];
        for (method, path) in calls {
            for key in [None, Some(""), Some("wrong"), Some("x".repeat(4_000).leak() as &str)] {
                let mut request = client.request(method.clone(), format!("{}{path}", server.url));
                if let Some(key) = key {
                    request = request.header("x-api-key", key);
                }
                let answer = request.body("{}").send().await?;
                assert_eq!(answer.status().as_u16(), 401, "{method} {path}");
                let answer: Value = answer.json().await?;
                let message = &answer["responseMessages"][0];
                let said = (&message["code"], &message["level"], &message["message"]);
                assert_eq!(said, (&json!("INVALID_TOKEN"), &json!("ERROR"), &json!("Token is not valid.")));
            }
        }
        Ok(())
    });
}

#[test]
fn names_that_cannot_be_are_refused_and_odd_ones_work() {
    shared::run(async {
        let server = shared::server().await?;
        let create =
            "mutation($n: String!) { createApplication(input: { name: $n }) { application { id name } } }";
        let long = "n".repeat(300);
        for name in
            ["", " ", "a/b", "a\\b", "..", ".", "a,b", "a\nb", "a\u{7}b", "a\u{202e}b", " a", "a ", &long]
        {
            let answer = server.graphql(create, json!({ "n": name })).await?;
            let code = string(&answer, "/errors/0/extensions/code").unwrap_or_default();
            assert!(code.starts_with("NAME_"), "{name:?}: {answer}");
        }
        for name in ["Größe (neu): v1.0 – “x”", "日本語", "a'b\"c", "100%", "-x", "{{x}}", "${x}"]
        {
            let answer = server.graphql(create, json!({ "n": name })).await?;
            assert_eq!(string(&answer, "/data/createApplication/application/name")?, name, "{answer}");
            let again = server.graphql(create, json!({ "n": name })).await?;
            assert_eq!(string(&again, "/errors/0/extensions/code")?, "NAME_TAKEN", "{again}");
        }
        Ok(())
    });
}

#[test]
fn odd_names_in_a_selection_are_refused_by_item() {
    shared::run(async {
        let server = shared::server().await?;
        let flow = crate::scene::Flow::default().steps(&[crate::scene::script("x", "true")]);
        let scene = Scene::new("Odd Selection").nowhere(2).workflow("wf", &flow).pipeline("pipe", "wf");
        scene.import(&server).await?;
        let long = "x".repeat(300);
        for on in ["i0,i0", "i0,,i1", "", ",", "i0,../i1", "i0,a\u{1}b", &format!("i0,{long}"), "i0;i1", "I0"]
        {
            let message = crate::scene::refusal(&server, "Odd Selection", "pipe", on).await?;
            assert!(!message.is_empty(), "{on:?} was started");
        }
        let many: Vec<String> = (0..10_001).map(|number| format!("n{number}")).collect();
        let message = crate::scene::refusal(&server, "Odd Selection", "pipe", &many.join(",")).await?;
        assert!(
            message.contains("10000") || message.contains("10,000"),
            "{}",
            &message[..message.len().min(400)]
        );
        Ok(())
    });
}
