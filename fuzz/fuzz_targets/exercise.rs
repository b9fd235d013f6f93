//! What is tried with one input; the ordinary tests run it over the committed corpus as well.

use std::collections::BTreeMap;

use manifold_expression::{
    ExpressionError, Lookup, Mode, Scope, Segment, Value, capture, condition, condition_references, evaluate,
    known_scope, references, render, scan, whole_variable,
};
use serde_json::json;

/// A scope in which the input itself is a variable too, so that it is rendered again, perhaps in a loop.
struct World<'t>(&'t str);

impl Scope for World<'_> {
    fn lookup(&self, root: &str) -> Lookup {
        Lookup::Found(match root {
            "a" => Value::from_json(
                &json!({"b": {"c": [1, "2", 3.5, null, true], "d": "text"}, "n": null, "i": 7}),
            ),
            "workflow" => Value::map([(
                "variables",
                Value::map([("x", Value::from(self.0)), ("y", "${a.b.d}".into())]),
            )]),
            "s" => Value::Secret("name".into()),
            "body" => self.0.into(),
            "instance" => return Lookup::Late,
            _ => return Lookup::Missing,
        })
    }
}

fn inside(text: &str, error: &ExpressionError) {
    assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{error:?} of {text:?}");
    assert!(!error.message.is_empty());
    let _ = error.problem(text);
}

/// Everything the crate does with a text.
pub fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let world = World(text);
    let mut covered = 0;
    for segment in scan(text) {
        let (Segment::Text(range) | Segment::Open(range) | Segment::Span { outer: range, .. }) = segment;
        assert_eq!(range.start, covered);
        covered = range.end;
    }
    assert_eq!(covered, text.len());
    for mode in [Mode::Keep, Mode::Strict] {
        match render(text, &world, mode) {
            Ok(rendering) => rendering.kept.iter().for_each(|error| inside(text, error)),
            Err(errors) => {
                assert!(!errors.is_empty());
                errors.iter().for_each(|error| inside(text, error));
            }
        }
    }
    if let Err(error) = condition(text, &world) {
        inside(text, &error);
    }
    if let Err(error) = evaluate(text, &world) {
        inside(text, &error);
    }
    match capture(text, &world) {
        Err(error) => inside(text, &error),
        Ok(hole) => {
            if let Some((text, known)) = parts(&hole) {
                let facts = BTreeMap::from([("instance.name".to_owned(), json!("web-1"))]);
                let _ = condition(text, &known_scope(known, &facts));
            }
        }
    }
    let _ = references(text);
    let _ = condition_references(text);
    let _ = whole_variable(text);
}

type Known = BTreeMap<String, serde_json::Value>;

fn parts(hole: &manifold_expression::Hole) -> Option<(&str, &Known)> {
    match hole {
        manifold_expression::Hole::Expression { text, known } => Some((text, known)),
        manifold_expression::Hole::Secret { .. } => None,
    }
}
