//! What is prepared on the server is evaluated on a delegate.

use std::collections::BTreeMap;

use manifold_expression::{Lookup, Mode, Scope, Value, capture, condition, evaluate, known_scope, render};
use manifold_model::{Hole, Piece};
use serde_json::{Value as Json, json};

use crate::table::leg;

type Values = BTreeMap<String, Json>;

fn facts(entries: &[(&str, Json)]) -> Values {
    entries.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect()
}

fn captured(text: &str) -> (String, Values) {
    match capture(text, &leg()).map_err(|error| error.problem(text)) {
        Ok(Hole::Expression { text, known }) => (text, known),
        other => panic!("{text}: {other:?}"),
    }
}

fn holds(text: &str, found: &[(&str, Json)]) -> bool {
    let (text, known) = captured(text);
    condition(&text, &known_scope(&known, &facts(found))).unwrap()
}

#[test]
fn an_assertion_of_a_request() {
    let text = "${httpResponseCode}==200 && ${json.select('status', httpResponseBody)} == ${env.name}";
    let answer = [("httpResponseCode", json!(200)), ("httpResponseBody", json!("{\"status\":\"QA\"}"))];
    assert!(holds(text, &answer));
    assert!(!holds(
        text,
        &[("httpResponseCode", json!(500)), ("httpResponseBody", json!("{\"status\":\"QA\"}"))]
    ));
    assert_eq!(captured(text).1, facts(&[("env.name", json!("QA"))]));
    assert!(holds("\"${httpResponseCode}\" == \"200\"", &answer));
}

#[test]
fn known_values_are_rendered_before_they_travel() {
    let (_, known) = captured("${workflow.variables.target} == ${instance.name}");
    assert_eq!(known, facts(&[("workflow.variables.target", json!("eu-west-cart"))]));
    let text = "${workflow.variables.url} == 'http://h1:8080/QA'";
    let (_, known) = captured(text);
    assert_eq!(known.keys().collect::<Vec<_>>(), ["env.name", "workflow.variables.url"]);
    assert!(holds(text, &[("instance.hostName", json!("h1"))]));
}

#[test]
fn what_cannot_travel() {
    let table = [
        ("${instance.name} == ${secrets.getValue('db')}", "EXPRESSION_SECRET"),
        ("${instance.name} == ${workflow.variables.password}", "EXPRESSION_SECRET"),
        ("${instance.name} == ${workflow.variables.dsn}", "EXPRESSION_SECRET"),
        ("${instance.name} == ${nobody.knows}", "EXPRESSION_UNRESOLVED"),
        ("${instance.name} == ${configFile.getAsString('app.conf')}", "EXPRESSION_FAILED"),
        ("${artifact${instance.name}} == 'x'", "EXPRESSION_LATE"),
        ("${instance.name} == ${workflow.variables.a}", "EXPRESSION_LOOP"),
        ("${instance.name} ==", "EXPRESSION_SYNTAX"),
    ];
    for (text, code) in table {
        let error = capture(text, &leg()).expect_err(text);
        assert_eq!(&*error.code.0, code, "{text}: {error}");
    }
}

#[test]
fn a_variable_may_hold_secrets_and_late_values_in_its_text() {
    let rendering =
        render("x ${workflow.variables.url} ${workflow.variables.dsn}", &leg(), Mode::Strict).unwrap();
    let text = |text: &str| Piece::Text(text.to_owned());
    let expected = [
        text("x http://"),
        Piece::Hole(Hole::Expression { text: "instance.hostName".to_owned(), known: BTreeMap::new() }),
        text(":8080/QA user:"),
        Piece::Hole(Hole::Secret { name: "db".to_owned() }),
        text("@host"),
    ];
    assert_eq!(rendering.rendered.0, expected);
    assert_eq!(rendering.values["workflow.variables.dsn"], "user:******@host");
}

#[test]
fn facts_are_never_rendered_again() {
    let found = facts(&[
        ("httpResponseBody", json!("${secrets.getValue(\"db\")}")),
        ("workflow.variables.x", json!("${a}")),
    ]);
    let scope = known_scope(&BTreeMap::new(), &found);
    assert_eq!(evaluate("httpResponseBody", &scope), Ok("${secrets.getValue(\"db\")}".into()));
    assert_eq!(evaluate("workflow.variables.x", &scope), Ok("${a}".into()));
}

#[test]
fn facts_and_known_values_share_roots() {
    let known = facts(&[
        ("instance.name", json!("old")),
        ("instance.host", json!({"ip": "10.0.0.1"})),
        ("a.b", json!(1)),
    ]);
    let found = facts(&[
        ("instance.name", json!("new")),
        ("instance.host.hostName", json!("h1")),
        ("a", json!("gone")),
    ]);
    let scope = known_scope(&known, &found);
    assert_eq!(
        evaluate("instance.name + instance.host.ip + instance.host.hostName", &scope),
        Ok("new10.0.0.1h1".into())
    );
    assert_eq!(scope.lookup("a"), Lookup::Found("gone".into()));
    assert_eq!(scope.lookup("b"), Lookup::Missing);
}

#[test]
fn a_map_that_travels_loses_its_secrets() {
    struct Outputs;
    impl Scope for Outputs {
        fn lookup(&self, root: &str) -> Lookup {
            match root {
                "context" => Lookup::Found(Value::map([
                    ("open", Value::from("x")),
                    ("hidden", Value::Secret("s".into())),
                ])),
                _ => Lookup::Late,
            }
        }
    }
    let Ok(Hole::Expression { known, .. }) = capture("context['open'] == instance.name", &Outputs) else {
        panic!("a hole")
    };
    assert_eq!(known, facts(&[("context", json!({"open": "x"}))]));
}
