//! The functors that need nothing but their arguments: `regex`, `json`, `xml`, `aws.tags`, `secrets`.

use crate::error::Class;
use crate::operator::Refusal;
use crate::value::Value;
use crate::{json, pattern, xml};

/// The functor that names secrets.
pub(crate) const SECRETS: &str = "secrets";

/// Whether a path before a method is a functor.
pub(crate) fn is_functor(path: &str) -> bool {
    matches!(path, "regex" | "json" | "xml" | "aws.tags" | SECRETS)
}

/// Steps a call is charged beside reading its arguments.
pub(crate) fn steps(path: &str, args: &[Value]) -> usize {
    match (path, args) {
        ("regex", [Value::Str(regex), .., text]) => pattern::steps(regex, text.weight()),
        _ => 1,
    }
}

/// Calls a functor.
pub(crate) fn call(path: &str, method: &str, args: &[Value]) -> Result<Value, Refusal> {
    match (path, method, args) {
        (SECRETS, "getValue", [Value::Str(name)]) => Ok(Value::Secret(name.clone())),
        ("regex", "extract", [Value::Str(regex), text]) => {
            let text = text.display();
            let found = pattern::compile(regex)?.find(&text).map(|found| found.as_str().to_owned());
            Ok(found.unwrap_or_default().into())
        }
        ("regex", "match", [Value::Str(regex), text]) => {
            Ok(pattern::compile(regex)?.is_match(&text.display()).into())
        }
        ("regex", "replace", [Value::Str(regex), Value::Str(new), text]) => {
            pattern::replace(&text.display(), &pattern::compile(regex)?, new, true).map(Value::from)
        }
        ("json", "select", [Value::Str(path), source]) => json::select(path, source),
        ("json", "list", [Value::Str(path), source]) => json::list(path, source),
        ("json", "object", [source]) => json::object(source),
        ("json", "format", [value]) => Ok(value.to_json().to_string().into()),
        ("xml", "select", [Value::Str(path), Value::Str(source)]) => xml::select(path, source),
        ("aws.tags", "find", [tags, Value::Str(key)]) => tag(tags, key),
        _ => Err((
            Class::Failed,
            format!("there is no `{path}.{method}` that takes {} arguments like these", args.len()),
        )),
    }
}

/// The value of a tag in a list of `{key, value}`, or `null`.
fn tag(tags: &Value, key: &str) -> Result<Value, Refusal> {
    let field = |tag: &Value, names: [&str; 2]| match tag {
        Value::Map(entries) => names.iter().find_map(|name| entries.get(*name)).cloned(),
        _ => None,
    };
    match tags {
        Value::List(items) => Ok(items
            .iter()
            .find(|item| field(item, ["key", "Key"]).is_some_and(|found| found.as_str() == Some(key)))
            .and_then(|item| field(item, ["value", "Value"]))
            .unwrap_or_default()),
        Value::Map(entries) => Ok(entries.get(key).cloned().unwrap_or_default()),
        other => Err((Class::Failed, format!("tags are a list, not {}", other.sort()))),
    }
}
