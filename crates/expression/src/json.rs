//! `json.…`: a part of JSONPath that needs no backtracking: `$`, `.field`, `['field']`, `[n]`, `[*]` and `.*`.

use std::sync::Arc;

use crate::error::Class;
use crate::limits::{MAX_LIST, MAX_VALUE};
use crate::operator::Refusal;
use crate::value::Value;

fn failed<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err((Class::Failed, message.into()))
}

/// The value at a path. A path with `*` gives a list.
pub(crate) fn select(path: &str, source: &Value) -> Result<Value, Refusal> {
    let steps = steps(path)?;
    let many = steps.contains(&Step::All);
    let mut found = vec![document(source)?];
    for step in &steps {
        let mut next = Vec::new();
        for value in &found {
            step.apply(value, &mut next);
            if next.len() > MAX_LIST {
                return Err((
                    Class::Limit,
                    format!("the JSON path `{path}` selects more than {MAX_LIST} values"),
                ));
            }
        }
        found = next;
    }
    if many {
        return Ok(Value::List(Arc::new(found)));
    }
    found.into_iter().next().map_or_else(|| failed(format!("the JSON has nothing at `{path}`")), Ok)
}

/// As [`select`], but always a list.
pub(crate) fn list(path: &str, source: &Value) -> Result<Value, Refusal> {
    match select(path, source)? {
        list @ Value::List(_) => Ok(list),
        other => failed(format!("at `{path}` the JSON has {}, not a list", other.sort())),
    }
}

/// The whole document.
pub(crate) fn object(source: &Value) -> Result<Value, Refusal> {
    document(source)
}

/// JSON text parsed; a list or a map is one already.
fn document(source: &Value) -> Result<Value, Refusal> {
    match source {
        Value::Str(text) if text.len() > MAX_VALUE => {
            Err((Class::Limit, format!("the JSON is larger than {} KB", MAX_VALUE / 1024)))
        }
        Value::Str(text) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(json) => Ok(Value::from_json(&json)),
            Err(error) => failed(format!("the text is not JSON: {error}")),
        },
        Value::List(_) | Value::Map(_) => Ok(source.clone()),
        other => failed(format!("expected JSON, found {}", other.sort())),
    }
}

#[derive(PartialEq, Eq, Debug)]
enum Step {
    Field(String),
    Item(i64),
    All,
}

impl Step {
    fn apply(&self, value: &Value, out: &mut Vec<Value>) {
        match (self, value) {
            (Self::Field(name), Value::Map(entries)) => out.extend(entries.get(name).cloned()),
            (Self::Item(at), Value::List(items)) => {
                // Negative positions count from the end.
                let at = if *at < 0 { at.saturating_add_unsigned(items.len() as u64) } else { *at };
                out.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
            }
            (Self::All, Value::List(items)) => out.extend(items.iter().cloned()),
            (Self::All, Value::Map(entries)) => out.extend(entries.values().cloned()),
            _ => {}
        }
    }
}

fn steps(path: &str) -> Result<Vec<Step>, Refusal> {
    let wrong = |what: &str| Err((Class::Failed, format!("the JSON path `{path}` {what}")));
    let mut steps = Vec::new();
    let mut rest = path.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut first = !path.trim().starts_with('$');
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let Some((step, tail)) = bracket(tail) else {
                return wrong("has brackets with something else than a number, a quoted name or `*`");
            };
            steps.push(step);
            rest = tail;
        } else {
            let tail = match rest.strip_prefix('.') {
                Some(tail) => tail,
                None if first => rest,
                None => return wrong("lacks a dot"),
            };
            let length = tail.find(['.', '[']).unwrap_or(tail.len());
            let (name, tail) =
                (tail.get(..length).unwrap_or_default(), tail.get(length..).unwrap_or_default());
            match name {
                "" => return wrong("has an empty name; `..` is not supported"),
                "*" => steps.push(Step::All),
                name => steps.push(Step::Field(name.to_owned())),
            }
            rest = tail;
        }
        first = false;
    }
    Ok(steps)
}

/// What stands in brackets, and what follows them.
fn bracket(tail: &str) -> Option<(Step, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = tail.strip_prefix(quote) {
            let (name, tail) = quoted.split_once(quote)?;
            return Some((Step::Field(name.to_owned()), tail.strip_prefix(']')?));
        }
    }
    let (inside, tail) = tail.split_once(']')?;
    let step = match inside.trim() {
        "*" => Step::All,
        number => Step::Item(number.parse().ok()?),
    };
    Some((step, tail))
}
