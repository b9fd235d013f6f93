//! Inputs and outputs as the documentation gives them (`behaviour.md` 12, 6.5), and the rules of the language around them.

use std::collections::BTreeMap;

use manifold_expression::{Lookup, Mode, Scope, Value, condition, evaluate, render};
use manifold_model::{Hole, Piece};
use serde_json::json;

/// A leg's scope as the server has it.
pub(crate) struct Leg(BTreeMap<String, Value>);

impl Scope for Leg {
    fn lookup(&self, root: &str) -> Lookup {
        match root {
            "instance" | "httpResponseCode" | "httpResponseBody" => Lookup::Late,
            _ => self.0.get(root).cloned().map_or(Lookup::Missing, Lookup::Found),
        }
    }

    fn call(&self, functor: &str, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (functor, method, args) {
            ("configFile", "getAsString", [Value::Str(name)]) if &**name == "app.conf" => {
                Some(Ok("port=80".into()))
            }
            ("configFile", "getAsString", _) => Some(Err("there is no such config file".to_owned())),
            ("artifact.metadata", "getSHA", []) => Some(Ok("sha256:ab".into())),
            _ => None,
        }
    }
}

pub(crate) fn leg() -> Leg {
    let roots = json!({
        "app": {"name": "Shop", "defaults": {"RUNTIME_PATH": "$HOME/${app.name}/${env.name}"}},
        "service": {"name": "cart"},
        "env": {"name": "QA", "environmentType": "NON_PROD"},
        "infra": {"name": "eu-west", "kubernetes": {"namespace": "cart-qa"}, "custom": {"vars": {"count": 3, "zones": ["a", "b"]}}},
        "workflow": {
            "displayName": "Deploy cart 24-11",
            "releaseNo": "12",
            "pipelineDeploymentUuid": null,
            "variables": {
                "infra": "eu-west", "count": "3", "flag": "true", "empty": "", "word": "hello",
                "a": "${workflow.variables.b}", "b": "${workflow.variables.a}",
                "target": "${infra.name}-${service.name}", "password": "${secrets.getValue(\"db\")}",
                "url": "http://${instance.hostName}:8080/${env.name}", "dsn": "user:${secrets.getValue(\"db\")}@host",
                "missing": "${nobody.knows}", "quoted": "say \"hi\""
            }
        },
        "artifact": {
            "buildNo": "2.1.7", "fileName": "todolist-v10.war", "metadata": {"image": "library/nginx:1.25", "tag": "1.25"},
            "label": {"owner": "me"}
        },
        "serviceVariable": {"port": 8080, "ratio": 2.5, "text": "a,b,,c,,"},
        "context": {"build": {"commit": "${secrets.getValue(\"db\")}", "ref": "refs/heads/main"}},
        "body": {"text": "{\"data\":{\"attributes\":{\"name\":\"lamp\"},\"items\":[{\"id\":1},{\"id\":2}]}}"},
        "doc": {"xml": "<bookstore><book lang='en'><title>One</title></book><book><title>Two &amp; a half</title></book></bookstore>"},
        "tags": [{"key": "Name", "value": "web"}]
    });
    Leg(roots
        .as_object()
        .unwrap()
        .iter()
        .map(|(root, value)| (root.clone(), Value::from_json(value)))
        .collect())
}

fn keep(text: &str) -> String {
    render(text, &leg(), Mode::Keep).unwrap().rendered.masked()
}

#[test]
fn texts() {
    let table = [
        ("plain", "plain"),
        ("${app.name}/${service.name}/${env.name}", "Shop/cart/QA"),
        ("# ${env.name} in a comment", "# QA in a comment"),
        ("${ infra.name }", "eu-west"),
        ("${infra.custom.vars.count}", "3"),
        ("${serviceVariable.port}", "8080"),
        ("${serviceVariable.ratio}", "2.5"),
        ("${workflow.pipelineDeploymentUuid}", "null"),
        ("${infra.custom.vars.zones}", r#"["a","b"]"#),
        ("${infra.custom.vars.zones[1]}", "b"),
        ("${infra.custom.vars['count']}", "3"),
        // The shell's own.
        (
            "${a:-b} ${HOME} ${#x[@]} ${x%%.*} ${1} ${x:=y} $${z} ${!x} ${x/a/b} ${} ${",
            "${a:-b} ${HOME} ${#x[@]} ${x%%.*} ${1} ${x:=y} $${z} ${!x} ${x/a/b} ${} ${",
        ),
        ("${BASE:-${env.name}}/bin", "${BASE:-QA}/bin"),
        ("${a:-it's} ${env.name} isn't", "${a:-it's} QA isn't"),
        ("awk '{print $1}' ${env.name}", "awk '{print $1}' QA"),
        ("${workflow.variables.nope} ${env.name}", "${workflow.variables.nope} QA"),
        ("$${env.name}", "$QA"),
        // Nested delimiters.
        (r#"${artifact${".metadata.image"}}"#, "library/nginx:1.25"),
        ("${context${\".build.ref\"}}", "refs/heads/main"),
        ("${serviceVariable.${'port'}}", "8080"),
        // Java's methods.
        ("${artifact.metadata.image.split(':')[0]}", "library/nginx"),
        ("${context.build.ref.split('/')[2]}-catalog", "main-catalog"),
        ("${artifact.buildNo.replaceAll('\\.', '-')}", "2-1-7"),
        ("${artifact.buildNo.replace('.', '_')}", "2_1_7"),
        ("${infra.name.toUpperCase()}", "EU-WEST"),
        ("${infra.name.substring(0,2)}", "eu"),
        ("${infra.name.indexOf('-')}", "2"),
        ("${serviceVariable.text.split(',').size()}", "4"),
        ("${artifact.label.get(\"owner\")}", "me"),
        ("${artifact.label.get('nobody')}", "null"),
        ("${artifact.metadata.getSHA()}", "sha256:ab"),
        ("${configFile.getAsString(\"app.conf\")}", "port=80"),
        // Functors.
        ("${regex.extract(\"v[0-9]+\", artifact.fileName)}", "v10"),
        ("${regex.replace('v([0-9]+)', 'w$1', artifact.fileName)}", "todolist-w10.war"),
        ("${json.select(\"data.attributes.name\", body.text)}", "lamp"),
        ("${json.select(\"$.data.items[*].id\", body.text)}", "[1,2]"),
        ("${json.object(body.text).data.attributes.name}", "lamp"),
        ("${json.list(\"data.items\", body.text).get(1).id}", "2"),
        ("${xml.select(\"/bookstore/book[1]/title\", doc.xml)}", "One"),
        ("${xml.select(\"//book[2]/title/text()\", doc.xml)}", "Two & a half"),
        ("${xml.select(\"/bookstore/book/@lang\", doc.xml)}", "en"),
        ("${aws.tags.find(tags, \"Name\")}", "web"),
        // Values that hold expressions.
        ("${workflow.variables.target}", "eu-west-cart"),
        ("${workflow.variables.target.toUpperCase()}", "EU-WEST-CART"),
        ("${app.defaults.RUNTIME_PATH}", "$HOME/Shop/QA"),
        ("${workflow.variables.missing}", "${nobody.knows}"),
        ("${workflow.variables.password}", "******"),
        ("${workflow.variables.dsn}", "user:******@host"),
        ("${workflow.variables.url}", "http://${instance.hostName}:8080/QA"),
        // Whoever writes an output must not be able to read a secret with it.
        ("${context.build.commit}", "${secrets.getValue(\"db\")}"),
        ("p=${secrets.getValue(\"db\")};", "p=******;"),
        ("${instance.hostName}", "${instance.hostName}"),
        ("${1 + env.name}", "1QA"),
        ("${env.name + '-' + 1.5}", "QA-1.5"),
        (
            "${serviceVariable.port + 1} ${7 / serviceVariable.ratio} ${serviceVariable.port div 3}",
            "8081 2.8 2693",
        ),
        ("${'a}b' + env.name}", "a}bQA"),
        ("${\"in ${env.name}\"}", "in QA"),
    ];
    for (text, expected) in table {
        assert_eq!(keep(text), expected, "{text}");
    }
}

#[test]
fn conditions() {
    let table = [
        ("${infra.name} == 'eu-west'", true),
        ("${infra.name} == \"us\"", false),
        ("infra.name != 'us'", true),
        ("\"${env.name}\" == \"QA\"", true),
        ("'${env.name}-${service.name}' == 'QA-cart'", true),
        ("\"${workflow.variables.quoted}\" == 'say \"hi\"'", true),
        ("${workflow.variables.flag}", true),
        ("!${workflow.variables.flag}", false),
        ("${workflow.variables.flag} == true", true),
        ("not ${workflow.variables.flag}", false),
        ("${workflow.variables.count}==3 && ${infra.name} =~ \"eu.*\"", true),
        ("${infra.name} =~ \"eu\"", false),
        ("${infra.name} !~ 'us.*'", true),
        ("${infra.name} =^ 'eu'", true),
        ("${infra.name} !^ 'eu'", false),
        ("${infra.name} =$ 'west'", true),
        ("${infra.name} !$ 'west'", false),
        ("${workflow.variables.count} gt 2 and ${workflow.variables.count} le 3", true),
        ("${workflow.variables.count} lt 3 or ${env.name} eq 'QA'", true),
        ("1 < 2 && 2 >= 2 && 3 ne 4", true),
        ("'10' < '9'", true),
        ("10 < 9", false),
        ("1.0 == 1 && '1.0' == 1.0", true),
        ("empty(${workflow.variables.empty})", true),
        ("empty(workflow.variables.nope)", true),
        ("!empty(${env.name})", true),
        ("size(${env.name}) == 2", true),
        ("size(infra.custom.vars.zones) == 2", true),
        ("${infra.name}.contains('west')", true),
        ("${env.name.equalsIgnoreCase('qa')}", true),
        ("${workflow.pipelineDeploymentUuid} == null", true),
        ("${env.name} == null", false),
        ("${env.name} =~ ['PROD', 'QA']", true),
        (
            "(${env.name} == 'PROD' || ${env.name} == 'QA') && ${workflow.variables.target} == 'eu-west-cart'",
            true,
        ),
        ("true || ${nobody.knows}", true),
        ("${7 % 4} == 3 && -3 + 5 == 2 && 7 mod 4 == 3", true),
        ("${artifact${\".metadata.tag\"}} == '1.25'", true),
        ("  ${env.name} == 'QA'\n", true),
    ];
    for (text, expected) in table {
        assert_eq!(
            condition(text, &leg()).map_err(|error| error.problem(text).to_string()),
            Ok(expected),
            "{text}"
        );
    }
}

#[test]
fn refused_conditions() {
    let table = [
        ("${env.name}", "EXPRESSION_NOT_BOOLEAN", "${env.name}"),
        ("${env.name} == QA", "EXPRESSION_UNRESOLVED", "QA"),
        ("${nobody.knows} == 1", "EXPRESSION_UNRESOLVED", "nobody"),
        ("${env.name} == 'QA' ? true : false", "EXPRESSION_SYNTAX", "?"),
        ("${env.name} = 'QA'", "EXPRESSION_SYNTAX", "="),
        ("${env.name} == 'QA", "EXPRESSION_SYNTAX", "'QA"),
        ("", "EXPRESSION_SYNTAX", ""),
        ("${env.name == 'QA'", "EXPRESSION_SYNTAX", "${"),
        ("${secrets.getValue('db')} == 'x'", "EXPRESSION_SECRET", "${secrets.getValue('db')}"),
        ("\"${workflow.variables.password}\" == 'x'", "EXPRESSION_SECRET", "workflow.variables.password"),
        ("secrets.getValue('db')", "EXPRESSION_SECRET", "secrets.getValue('db')"),
        ("${httpResponseCode} == 200", "EXPRESSION_LATE", "${httpResponseCode}"),
        ("${env.name} =~ '(?=x)'", "EXPRESSION_PATTERN", "${env.name} =~ '(?=x)'"),
        ("${env.name} =~ '(a)\\1'", "EXPRESSION_PATTERN", "${env.name} =~ '(a)\\1'"),
        ("${env.name} =~ 'a*+'", "EXPRESSION_PATTERN", "${env.name} =~ 'a*+'"),
        ("${env.name} =~ '[a'", "EXPRESSION_PATTERN", "${env.name} =~ '[a'"),
        ("${env.name} < 3", "EXPRESSION_FAILED", "${env.name} < 3"),
        ("${workflow.variables.a} == 'x'", "EXPRESSION_LOOP", "${workflow.variables.a}"),
        ("1 / 0 == 1", "EXPRESSION_FAILED", "1 / 0"),
        ("${env.name.foo('x')} == 1", "EXPRESSION_FAILED", "${env.name.foo('x')}"),
        ("foo(1)", "EXPRESSION_SYNTAX", "foo"),
        ("${configFile.getAsString('x')} == 1", "EXPRESSION_FAILED", "${configFile.getAsString('x')}"),
    ];
    for (text, code, place) in table {
        let error = condition(text, &leg()).expect_err(text);
        assert_eq!((&*error.code.0, &text[error.span.clone()]), (code, place), "{text}: {error}");
    }
}

#[test]
fn strict_settings_fail_with_the_place() {
    let table = [
        ("x-${nobody.knows}", "EXPRESSION_UNRESOLVED", "nobody"),
        ("${a:-b}", "EXPRESSION_SYNTAX", ":"),
        ("${env.name", "EXPRESSION_SYNTAX", "${env.name"),
        ("é ${workflow.pipelineDeploymentUuid}", "EXPRESSION_UNRESOLVED", "workflow.pipelineDeploymentUuid"),
        ("${infra.nme}", "EXPRESSION_UNRESOLVED", "infra.nme"),
        ("${artifact${'.nope'}.x}", "EXPRESSION_UNRESOLVED", "artifact${'.nope'}"),
        ("${workflow.variables.missing}", "EXPRESSION_UNRESOLVED", "workflow.variables.missing"),
        ("${workflow.variables.a}", "EXPRESSION_LOOP", "workflow.variables.a"),
        ("${env.name} ${env.name + }", "EXPRESSION_SYNTAX", ""),
    ];
    for (text, code, place) in table {
        let errors = render(text, &leg(), Mode::Strict).expect_err(text);
        assert_eq!(errors.len(), 1, "{text}");
        assert_eq!(
            (&*errors[0].code.0, &text[errors[0].span.clone()]),
            (code, place),
            "{text}: {}",
            errors[0]
        );
    }
}

#[test]
fn every_error_of_a_setting_is_reported() {
    let errors = render("${x.a} ${env.name} ${y.b}", &leg(), Mode::Strict).expect_err("both");
    assert_eq!(errors.len(), 2);
}

#[test]
fn loops_and_limits_are_errors_in_scripts_too() {
    let error = |text: &str| render(text, &leg(), Mode::Keep).expect_err(text).remove(0);
    assert!(error("${workflow.variables.a}").message.contains("expression loop"));
    assert_eq!(&*error("${regex.extract('(?<=a)b', env.name)}").code.0, "EXPRESSION_PATTERN");
    assert_eq!(&*error("${secrets.getValue('db').length()}").code.0, "EXPRESSION_SECRET");
    assert_eq!(&*error("${'a' + instance.name + secrets.getValue('db')}").code.0, "EXPRESSION_SECRET");
}

#[test]
fn what_only_the_delegate_knows_travels_as_a_hole() {
    let text = "curl ${workflow.variables.infra == instance.zone && serviceVariable.port > 1}";
    let rendering = render(text, &leg(), Mode::Strict).unwrap();
    let known = BTreeMap::from([
        ("workflow.variables.infra".to_owned(), json!("eu-west")),
        ("serviceVariable.port".to_owned(), json!(8080)),
    ]);
    let hole = Hole::Expression {
        text: "workflow.variables.infra == instance.zone && serviceVariable.port > 1".to_owned(),
        known,
    };
    assert_eq!(rendering.rendered.0, [Piece::Text("curl ".to_owned()), Piece::Hole(hole)]);
}

#[test]
fn values_are_recorded_for_the_execution_context() {
    let rendering =
        render("${env.name} ${secrets.getValue('a')} ${HOME} ${instance.x}", &leg(), Mode::Keep).unwrap();
    let expected = [("env.name", "QA"), ("secrets.getValue('a')", "******")];
    assert_eq!(rendering.values, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert!(rendering.kept.is_empty());
    let rendering = render("${workflow.variables.nope}", &leg(), Mode::Keep).unwrap();
    assert_eq!(rendering.kept.len(), 1);
}

#[test]
fn a_whole_expression_gives_a_typed_value() {
    assert_eq!(evaluate("infra.custom.vars.count + 1", &leg()), Ok(Value::Int(4)));
    assert_eq!(evaluate("secrets.getValue('db')", &leg()), Ok(Value::Secret("db".into())));
    assert_eq!(evaluate("workflow.variables.password", &leg()), Ok(Value::Secret("db".into())));
    assert_eq!(evaluate("serviceVariable.text.split(',', 2)", &leg()), Ok(Value::from(vec!["a", "b,,c,,"])));
}
