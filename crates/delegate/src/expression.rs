//! Expressions over facts that only the delegate has (`behaviour.md` 12.2): `${instance.*}`, `${httpResponseCode}`, ….

use std::collections::BTreeMap;

use manifold_expression::{ExpressionError, evaluate, known_scope};
use manifold_model::{Failure, FailureClass, Hole, Piece, Rendered, code};
use serde_json::Value;

type Values = BTreeMap<String, Value>;

/// The value of an expression hole as text.
pub(crate) fn text(text: &str, known: &Values, facts: &Values) -> Result<String, Failure> {
    let value = evaluate(text, &known_scope(known, facts)).map_err(|error| failure(text, error))?;
    Ok(value.display())
}

/// Whether a condition holds: one hole that holds the whole condition, or a text with holes as operands.
pub(crate) fn condition(condition: &Rendered, facts: &Values) -> Result<bool, Failure> {
    let mut source = String::new();
    let mut all_known = Values::new();
    for piece in &condition.0 {
        match piece {
            Piece::Text(text) => source.push_str(text),
            Piece::Hole(Hole::Expression { text, known }) => {
                all_known.extend(known.clone());
                if condition.0.len() == 1 {
                    source.push_str(text);
                } else {
                    source.push_str("${");
                    source.push_str(text);
                    source.push('}');
                }
            }
            Piece::Hole(Hole::Secret { name }) => return Err(secret(name)),
        }
    }
    let scope = known_scope(&all_known, facts);
    manifold_expression::condition(&source, &scope).map_err(|error| failure(&source, error))
}

fn secret(name: &str) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("EXPRESSION_SECRET"),
        format!("the secret {name:?} stands in a condition, where it must not"),
    )
    .hint("secrets can only be put into texts")
}

fn failure(source: &str, error: ExpressionError) -> Failure {
    let mut failure = Failure::new(
        FailureClass::Application,
        error.code.clone(),
        format!("the expression {source:?} has no value: {error}"),
    );
    failure.hint = error.hint;
    failure
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use serde_json::json;

    use super::*;

    fn hole(text: &str) -> Piece {
        let known = BTreeMap::from([("workflow.variables.want".to_owned(), json!("ok"))]);
        Piece::Hole(Hole::Expression { text: text.to_owned(), known })
    }

    fn facts(status: u16) -> Values {
        BTreeMap::from([
            ("httpResponseCode".to_owned(), json!(status)),
            ("httpResponseBody".to_owned(), json!("{\"state\":\"ok\"}")),
        ])
    }

    #[test]
    fn a_condition_is_one_hole_or_a_text_with_holes() {
        let whole = Rendered(vec![hole(
            "httpResponseCode == 200 && httpResponseBody.contains(workflow.variables.want)",
        )]);
        assert_eq!(condition(&whole, &facts(200)), Ok(true));
        assert_eq!(condition(&whole, &facts(201)), Ok(false));
        let text = Rendered(vec![hole("httpResponseCode"), Piece::Text("==200".to_owned())]);
        assert_eq!(condition(&text, &facts(200)), Ok(true));
        assert_eq!(condition(&Rendered::text("false"), &facts(200)), Ok(false));
    }

    #[test]
    fn what_is_not_known_and_secrets_are_refused() {
        let unknown = Rendered(vec![hole("nobody == 1")]);
        assert!(condition(&unknown, &facts(200)).unwrap_err().message.contains("nobody"));
        let secret = Rendered(vec![Piece::Hole(Hole::Secret { name: "db".to_owned() })]);
        assert!(condition(&secret, &facts(200)).is_err());
    }

    #[test]
    fn an_expression_over_the_answer_is_text() {
        let none = BTreeMap::new();
        assert_eq!(text("json.select(\"state\", httpResponseBody)", &none, &facts(200)).unwrap(), "ok");
        assert_eq!(text("httpResponseCode", &none, &facts(200)).unwrap(), "200");
    }
}
