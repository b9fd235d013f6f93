//! Methods of values, named as Java's. Positions count characters.

use crate::error::Class;
use crate::limits::{MAX_LIST, MAX_VALUE};
use crate::operator::{self, Refusal};
use crate::pattern;
use crate::value::Value;

fn failed<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err((Class::Failed, message.into()))
}

/// Whether a method compiles a regular expression.
pub(crate) fn uses_pattern(method: &str) -> bool {
    matches!(method, "split" | "replaceAll" | "replaceFirst" | "matches")
}

/// Calls a method.
pub(crate) fn call(target: &Value, method: &str, args: &[Value]) -> Result<Value, Refusal> {
    let known = match (target, method, args) {
        (Value::Null, ..) => return failed(format!("null has no method `{method}`")),
        (_, "equals", [other]) => Some(Ok((target == other).into())),
        (_, "toString", []) => Some(Ok(target.display().into())),
        (Value::Str(text), ..) => of_text(text, method, args),
        (Value::List(items), ..) => of_list(items, method, args),
        (Value::Map(entries), ..) => of_map(entries, method, args),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let count = args.len();
        let plural = if count == 1 { "" } else { "s" };
        failed(format!("{} has no method `{method}` with {count} argument{plural} like these", target.sort()))
    })
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Refusal>> {
    Some(match (method, args) {
        ("toLowerCase", []) => Ok(text.to_lowercase().into()),
        ("toUpperCase", []) => Ok(text.to_uppercase().into()),
        // Java's `trim` removes everything up to the blank, not Unicode's white space.
        ("trim", []) => Ok(text.trim_matches(|c: char| c <= ' ').into()),
        ("strip", []) => Ok(text.trim().into()),
        ("length", []) => Ok(text.chars().count().into()),
        ("isEmpty", []) => Ok(text.is_empty().into()),
        ("isBlank", []) => Ok(text.trim().is_empty().into()),
        ("contains", [Value::Str(part)]) => Ok(text.contains(&**part).into()),
        ("startsWith", [Value::Str(part)]) => Ok(text.starts_with(&**part).into()),
        ("endsWith", [Value::Str(part)]) => Ok(text.ends_with(&**part).into()),
        ("equalsIgnoreCase", [Value::Str(other)]) => Ok((text.to_lowercase() == other.to_lowercase()).into()),
        ("equalsIgnoreCase", [_]) => Ok(false.into()),
        ("compareTo", [Value::Str(other)]) => Ok(Value::Int(text.cmp(other) as i64)),
        ("concat", [Value::Str(other)]) => Ok(format!("{text}{other}").into()),
        ("charAt", [Value::Int(at)]) => substring(text, *at, Some(at.saturating_add(1))),
        ("substring", [Value::Int(from)]) => substring(text, *from, None),
        ("substring", [Value::Int(from), Value::Int(to)]) => substring(text, *from, Some(*to)),
        ("indexOf", [Value::Str(part)]) => Ok(position(text, text.find(&**part))),
        ("indexOf", [Value::Str(part), Value::Int(from)]) => Ok(index_of_from(text, part, *from)),
        ("lastIndexOf", [Value::Str(part)]) => Ok(position(text, text.rfind(&**part))),
        ("replace", [Value::Str(old), Value::Str(new)]) => replace(text, old, new),
        ("replaceAll", [Value::Str(regex), Value::Str(new)]) => replace_pattern(text, regex, new, true),
        ("replaceFirst", [Value::Str(regex), Value::Str(new)]) => replace_pattern(text, regex, new, false),
        ("matches", [Value::Str(regex)]) => {
            pattern::compile_whole(regex).map(|regex| regex.is_match(text).into())
        }
        ("split", [Value::Str(regex)]) => split(text, regex, 0),
        ("split", [Value::Str(regex), Value::Int(limit)]) => split(text, regex, *limit),
        _ => return None,
    })
}

/// Characters `from..to`, as Java's `substring`.
fn substring(text: &str, from: i64, to: Option<i64>) -> Result<Value, Refusal> {
    let length = text.chars().count();
    let end = to.map_or(Ok(length), usize::try_from);
    match (usize::try_from(from), end) {
        (Ok(from), Ok(to)) if from <= to && to <= length => {
            Ok(text.chars().skip(from).take(to - from).collect::<String>().into())
        }
        _ => failed(format!(
            "the text has {length} characters, there is no part from {from} to {}",
            to.unwrap_or(length as i64)
        )),
    }
}

/// A byte position as a position in characters; -1 for none.
fn position(text: &str, byte: Option<usize>) -> Value {
    byte.and_then(|byte| text.get(..byte)).map_or(Value::Int(-1), |before| before.chars().count().into())
}

fn index_of_from(text: &str, part: &str, from: i64) -> Value {
    let skipped = usize::try_from(from).unwrap_or(0);
    let start = text.char_indices().nth(skipped).map_or(text.len(), |(byte, _)| byte);
    let found = text.get(start..).and_then(|rest| rest.find(part));
    position(text, found.map(|byte| start + byte))
}

fn replace(text: &str, old: &str, new: &str) -> Result<Value, Refusal> {
    let count = text.matches(old).count();
    if text.len().saturating_add(count.saturating_mul(new.len())) > MAX_VALUE.saturating_mul(2) {
        return Err((Class::Limit, format!("the replaced text is longer than {} KB", MAX_VALUE / 1024)));
    }
    Ok(text.replace(old, new).into())
}

fn replace_pattern(text: &str, regex: &str, new: &str, all: bool) -> Result<Value, Refusal> {
    let regex = pattern::compile(regex)?;
    pattern::replace(text, &regex, new, all).map(Value::from)
}

/// Java's `split`: a match without width at the start gives no empty part; with limit 0 empty parts at the end are dropped.
fn split(text: &str, regex: &str, limit: i64) -> Result<Value, Refusal> {
    let regex = pattern::compile(regex)?;
    let most = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    let mut from = 0;
    for found in regex.find_iter(text) {
        if parts.len() + 1 >= most {
            break;
        }
        if parts.len() >= MAX_LIST {
            return Err((Class::Limit, format!("splitting gives more than {MAX_LIST} parts")));
        }
        if found.end() == 0 || (found.is_empty() && found.start() == text.len()) {
            continue;
        }
        parts.push(text.get(from..found.start()).unwrap_or_default());
        from = found.end();
    }
    parts.push(text.get(from..).unwrap_or_default());
    if limit == 0 {
        while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
    }
    Ok(Value::from(parts))
}

fn of_list(items: &[Value], method: &str, args: &[Value]) -> Option<Result<Value, Refusal>> {
    Some(match (method, args) {
        ("size" | "length", []) => Ok(items.len().into()),
        ("isEmpty", []) => Ok(items.is_empty().into()),
        ("get", [at @ Value::Int(_)]) => item(items, at),
        ("contains", [wanted]) => Ok(items.contains(wanted).into()),
        ("indexOf", [wanted]) => {
            Ok(items.iter().position(|item| item == wanted).map_or(Value::Int(-1), Value::from))
        }
        _ => return None,
    })
}

fn of_map(
    entries: &std::collections::BTreeMap<String, Value>,
    method: &str,
    args: &[Value],
) -> Option<Result<Value, Refusal>> {
    Some(match (method, args) {
        ("size", []) => Ok(entries.len().into()),
        ("isEmpty", []) => Ok(entries.is_empty().into()),
        ("get", [Value::Str(key)]) => Ok(entries.get(&**key).cloned().unwrap_or_default()),
        ("getOrDefault", [Value::Str(key), other]) => Ok(entries.get(&**key).unwrap_or(other).clone()),
        ("containsKey", [Value::Str(key)]) => Ok(entries.contains_key(&**key).into()),
        _ => return None,
    })
}

fn item(items: &[Value], at: &Value) -> Result<Value, Refusal> {
    let found = match at {
        Value::Int(at) => usize::try_from(*at).ok().and_then(|at| items.get(at)),
        _ => None,
    };
    found.cloned().map_or_else(
        || failed(format!("the list has {} items, there is no item {}", items.len(), at.display())),
        Ok,
    )
}

/// `value[index]` when it is not a name in a map.
pub(crate) fn index(value: &Value, index: &Value) -> Result<Value, Refusal> {
    match (value, index) {
        (Value::List(items), Value::Int(_)) => item(items, index),
        (Value::List(items), Value::Str(text)) => match text.parse() {
            Ok(at) => item(items, &Value::Int(at)),
            Err(_) => failed("a list is indexed by numbers"),
        },
        (Value::Map(entries), Value::Int(at)) => match entries.get(&at.to_string()) {
            Some(found) => Ok(found.clone()),
            None => Err((Class::Unresolved, format!("the map has no `{at}`"))),
        },
        (Value::Str(text), Value::Int(at)) => substring(text, *at, Some(at.saturating_add(1))),
        _ => failed(format!("{} cannot be indexed by {}", value.sort(), index.sort())),
    }
}

/// `size(x)`.
pub(crate) fn size(value: &Value) -> Result<usize, Refusal> {
    match value {
        Value::Null => Ok(0),
        Value::Str(text) => Ok(text.chars().count()),
        Value::List(items) => Ok(items.len()),
        Value::Map(entries) => Ok(entries.len()),
        other => failed(format!("{} has no size", other.sort())),
    }
}

/// `empty(x)`: null, nothing in it, or zero.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Int(_) | Value::Float(_) => operator::equal(value, &Value::Int(0)),
        Value::Bool(value) => !value,
        Value::Secret(_) => false,
        other => size(other) == Ok(0),
    }
}
