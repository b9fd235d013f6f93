//! Bombs end as errors, soon.

use std::collections::BTreeMap;

use manifold_expression::limits::{MAX_DEPTH, MAX_STEPS, MAX_TEXT, MAX_VALUE};
use manifold_expression::{
    Lookup, Mode, Nothing, Scope, Value, condition, evaluate, references, render, scan,
};

struct Variables(BTreeMap<String, Value>);

impl Scope for Variables {
    fn lookup(&self, root: &str) -> Lookup {
        match root {
            "workflow" => Lookup::Found(Value::map([("variables", Value::from(self.0.clone()))])),
            _ => Lookup::Missing,
        }
    }
}

fn variables(entries: impl IntoIterator<Item = (String, String)>) -> Variables {
    Variables(entries.into_iter().map(|(name, value)| (name, Value::from(value))).collect())
}

fn code(text: &str, scope: &dyn Scope) -> String {
    render(text, scope, Mode::Keep).expect_err("a limit")[0].code.to_string()
}

#[test]
fn values_that_double() {
    let next = |n: usize| format!("${{workflow.variables.v{0}}}${{workflow.variables.v{0}}}", n + 1);
    let scope = variables((0..40).map(|n| (format!("v{n}"), next(n))));
    assert_eq!(code("${workflow.variables.v0}", &scope), "EXPRESSION_LOOP");
    let wide = "${workflow.variables.v1}".repeat(2_000);
    let large = "x".repeat(10_000);
    let scope = variables([("v0".to_owned(), wide), ("v1".to_owned(), large)]);
    assert_eq!(code("${workflow.variables.v0}", &scope), "EXPRESSION_LIMIT");
}

#[test]
fn a_variable_that_is_itself() {
    let scope = variables([("x".to_owned(), "a${workflow.variables.x}".to_owned())]);
    assert_eq!(code("${workflow.variables.x}", &scope), "EXPRESSION_LOOP");
    assert_eq!(code("${workflow.variables.x.trim()}", &scope), "EXPRESSION_LOOP");
    let deep = format!("${{{}workflow.variables.x{}}}", "(1 + ".repeat(20), ")".repeat(20));
    let scope = variables([("x".to_owned(), deep)]);
    assert_eq!(code("${workflow.variables.x}", &scope), "EXPRESSION_LIMIT");
}

#[test]
fn depth_and_length() {
    for bomb in [
        "(".repeat(10_000),
        "!".repeat(10_000),
        "[".repeat(10_000),
        "a[".repeat(5_000),
        "1+".repeat(5_000) + "1",
    ] {
        assert!(evaluate(&bomb, &Nothing).is_err());
        assert!(condition(&bomb, &Nothing).is_err());
        assert!(render(&format!("${{{bomb}}}"), &Nothing, Mode::Keep).is_ok(), "foreign text stays");
    }
    let chain = vec!["1 == 1"; MAX_DEPTH - 4].join(" && ");
    assert_eq!(condition(&chain, &Nothing), Ok(true));
    let opened = "${".repeat(100_000);
    assert_eq!(render(&opened, &Nothing, Mode::Keep).map(|r| r.rendered.known()), Ok(Some(opened.clone())));
    assert!(references(&opened).is_empty());
    let nested = format!("{}{}", "${".repeat(10_000), "}".repeat(10_000));
    assert!(scan(&nested).len() > 1);
    assert!(render(&nested, &Nothing, Mode::Keep).is_ok());
    assert!(render(&"x".repeat(MAX_TEXT + 1), &Nothing, Mode::Keep).is_err());
}

#[test]
fn large_values() {
    let scope = variables([
        ("big".to_owned(), "x".repeat(MAX_VALUE)),
        ("over".to_owned(), "x".repeat(MAX_VALUE + 1)),
    ]);
    assert!(render("${workflow.variables.big}", &scope, Mode::Strict).is_ok());
    assert_eq!(code("${workflow.variables.over}", &scope), "EXPRESSION_LIMIT");
    assert_eq!(code("${workflow.variables.big + 'x'}", &scope), "EXPRESSION_LIMIT");
    assert_eq!(
        code("${workflow.variables.big.replace('x', workflow.variables.big)}", &scope),
        "EXPRESSION_LIMIT"
    );
    assert_eq!(code("${workflow.variables.big.replaceAll('', 'xx')}", &scope), "EXPRESSION_LIMIT");
    assert_eq!(code("${workflow.variables.big.split('')}", &scope), "EXPRESSION_LIMIT");
}

#[test]
fn work_is_bounded() {
    let scope = variables([("big".to_owned(), "x".repeat(MAX_VALUE))]);
    let many = "${workflow.variables.big.contains('y')}".repeat(MAX_STEPS / (MAX_VALUE / 64));
    assert_eq!(code(&many, &scope), "EXPRESSION_LIMIT");
    let patterns = "${workflow.variables.big.matches('(x?){50}y')}".repeat(10);
    assert_eq!(code(&patterns, &scope), "EXPRESSION_LIMIT");
    assert_eq!(code("${regex.match('((a{100}){100}){100}', 'a')}", &scope), "EXPRESSION_LIMIT");
    let quadratic = format!("xml.select('//b//b//b', '{}{}')", "<b>".repeat(60), "</b>".repeat(60));
    assert!(evaluate(&quadratic, &Nothing).is_ok());
    assert_eq!(
        evaluate(&format!("xml.select('//b', '{}')", "<b>".repeat(100)), &Nothing)
            .map_err(|error| error.code.to_string()),
        Err("EXPRESSION_LIMIT".to_owned())
    );
}
