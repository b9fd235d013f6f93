//! Expressions over facts that only the delegate has.

use std::collections::BTreeMap;

use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;

/// The value of an expression hole as text.
pub(crate) fn text(
    text: &str,
    known: &BTreeMap<String, Value>,
    facts: &BTreeMap<String, Value>,
) -> Result<String, Failure> {
    match known.get(text).or_else(|| facts.get(text)) {
        Some(Value::String(value)) => Ok(value.clone()),
        Some(value) => Ok(value.to_string()),
        None => Err(Failure::new(
            FailureClass::Application,
            code!("EXPRESSION_UNRESOLVED"),
            format!("${{{text}}} cannot be resolved on the delegate"),
        )),
    }
}
