//! Multi-document YAML → objects. Manifests are what people wrote: every complaint says file, document, line and column, nothing panics.
//! Scalars are read as `kubectl` reads them: `0644` is octal, `yes` and `on` are booleans, merge keys hold.

use std::panic::{AssertUnwindSafe, catch_unwind};

use manifold_model::{Failure, FailureClass, code};
use serde_json::{Number, Value};
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter};

use crate::object::{Object, is_name};

/// Bytes of one object as JSON. The API takes 1.5 MiB with all that it adds.
pub const OBJECT_LIMIT: usize = 1 << 20;

/// Lists and mappings within each other: the deepest schemas of custom resources reach about 45, and the stack of a thread bears twice as many.
const DEPTH: usize = 64;

/// Parser events of one document, aliases unfolded; an object of 1 MiB has at most half as many.
const EVENTS: usize = 1_000_000;

/// Lists in lists of objects.
const LIST_DEPTH: usize = 4;

/// One document of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// Its text, the `---` before it included.
    pub text: &'a str,
}

/// The objects of a file in the order of the text; lists unfolded, empty documents dropped.
///
/// # Errors
/// The first complaint: not YAML, not an object, no kind or name, an annotation that is not text.
pub fn parse(file: &str, text: &str) -> Result<Vec<Object>, Failure> {
    let mut objects = Vec::new();
    for document in documents(text) {
        objects.extend(parse_document(file, &document)?);
    }
    Ok(objects)
}

/// The documents of a text, without the empty ones.
#[must_use]
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut start, mut start_line, mut at, mut number) = (0, 1, 0, 0);
    let mut add = |from: usize, to: usize, line: usize| {
        let piece = text.get(from..to).unwrap_or_default();
        if !is_empty(piece) {
            number += 1;
            found.push(Document { number, line, text: piece });
        }
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line, "---") {
            add(start, at, start_line);
            (start, start_line) = (at, index + 1);
        } else if is_marker(line, "...") {
            add(start, at, start_line);
            (start, start_line) = (at + line.len(), index + 2);
        }
        at += line.len();
    }
    add(start, text.len(), start_line);
    found
}

/// Whether a line is a marker between documents. YAML allows them nowhere else at the beginning of a line, not even in block scalars.
fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Nothing but comments, directives and markers.
fn is_empty(piece: &str) -> bool {
    piece.lines().enumerate().all(|(index, line)| {
        let line = if index == 0 { line.strip_prefix("---").unwrap_or(line) } else { line };
        let bare = line.trim();
        bare.is_empty() || bare.starts_with('#') || line.starts_with('%')
    })
}

/// The objects of one document.
///
/// # Errors
/// As [`parse`].
pub fn parse_document(file: &str, document: &Document<'_>) -> Result<Vec<Object>, Failure> {
    let at = Position { file, document };
    let value = read(document.text).map_err(|error| at.yaml(&error))?;
    let mut objects = Vec::new();
    unfold(&at, value, 0, &mut objects)?;
    Ok(objects)
}

/// A text of values: one mapping, or nothing.
///
/// # Errors
/// Not YAML, several documents, or no mapping.
pub fn parse_mapping(file: &str, text: &str) -> Result<serde_json::Map<String, Value>, Failure> {
    let found = documents(text);
    let document = match found.as_slice() {
        [] => return Ok(serde_json::Map::new()),
        [one] => one,
        [_, second, ..] => {
            return Err(Position { file, document: second }.complaint(
                1,
                1,
                "values are one document, this is another",
            ));
        }
    };
    let at = Position { file, document };
    match read(document.text).map_err(|error| at.yaml(&error))? {
        Value::Null => Ok(serde_json::Map::new()),
        Value::Object(map) => Ok(map),
        other => {
            Err(at.complaint(1, 1, &format!("values are a mapping of keys, this is {}", name_of(&other))))
        }
    }
}

/// Why a text could not be read; line and column count from 1 in that text.
struct Unreadable {
    line: usize,
    column: usize,
    message: String,
}

/// Advice of the parser that nobody who writes manifests can follow.
const FOR_PROGRAMMERS: &str = ", set DuplicateKeyPolicy in Options if acceptable";

/// Reads one document within the budget.
fn read(text: &str) -> Result<Value, Unreadable> {
    // The scanner takes a NUL for the end of its input and would silently drop the rest.
    if let Some(at) = text.find('\0') {
        let before = text.get(..at).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = "the text holds a NUL character".to_owned();
        return Err(Unreadable { line: before.matches('\n').count() + 1, column, message });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_events: EVENTS,
            max_nodes: EVENTS,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: EVENTS / 10 },
        legacy_octal_numbers: true,
        strict_booleans: false,
        with_snippet: false,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::Reject,
    };
    // The parser is somebody else's code: should it panic on some input, that input is refused and the delegate lives.
    let read = catch_unwind(AssertUnwindSafe(|| serde_saphyr::from_str_with_options::<Value>(text, options)));
    match read {
        Ok(Ok(mut value)) => {
            whole_numbers(&mut value);
            Ok(value)
        }
        Ok(Err(error)) => {
            let (line, column) =
                error.location().map_or((1, 1), |place| (count(place.line()), count(place.column())));
            let message = DefaultMessageFormatter.format_message(error.without_snippet());
            let message = message.replace(FOR_PROGRAMMERS, "");
            Err(Unreadable { line: line.max(1), column: column.max(1), message })
        }
        Err(_) => {
            Err(Unreadable { line: 1, column: 1, message: "the text cannot be read as YAML".to_owned() })
        }
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `1e3` and `3.0` become 1000 and 3, as `kubectl` sends them: the API takes no fractions for whole numbers.
fn whole_numbers(value: &mut Value) {
    /// Up to here every whole number is exact in a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let Some(float) = number.as_f64() else { return };
            if float.fract() == 0.0 && float.abs() < EXACT {
                // Whole and below 2^53: the conversion is exact.
                #[allow(clippy::cast_possible_truncation)]
                let whole = float as i64;
                *number = Number::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Where in the manifests.
struct Position<'a> {
    file: &'a str,
    document: &'a Document<'a>,
}

impl Position<'_> {
    fn yaml(&self, error: &Unreadable) -> Failure {
        self.complaint(error.line, error.column, &error.message)
    }

    /// A complaint about a line of the document, from 1.
    fn complaint(&self, line: usize, column: usize, what: &str) -> Failure {
        let line = self.document.line + line - 1;
        Failure::new(
            FailureClass::Application,
            code!("K8S_MANIFEST_INVALID"),
            format!("{}, document {}, line {line}, column {column}: {what}", self.file, self.document.number),
        )
    }

    /// A complaint about the first line that has this key, else about the document.
    fn at_key(&self, key: &str, what: &str) -> Failure {
        let mut lines = self.document.text.lines().enumerate();
        let found = lines.find_map(|(index, line)| Some((index + 1, column_of(key, line)?)));
        let (line, column) = found.unwrap_or((1, 1));
        self.complaint(line, column, what)
    }
}

/// The column at which a line has a key.
fn column_of(key: &str, line: &str) -> Option<usize> {
    line.match_indices(key).find_map(|(at, _)| {
        let (before, from) = line.split_at(at);
        let begins = before.chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !".-_/".contains(c));
        let ends = from.strip_prefix(key)?.trim_start_matches(['"', '\'']).trim_start().starts_with(':');
        (begins && ends).then(|| before.chars().count() + 1)
    })
}

/// Adds a value's objects: itself, or those of a list.
fn unfold(at: &Position<'_>, value: Value, depth: usize, objects: &mut Vec<Object>) -> Result<(), Failure> {
    if value.is_null() {
        return Ok(());
    }
    let Value::Object(mut map) = value else {
        let what = format!("an object begins with apiVersion and kind, this is {}", name_of(&value));
        return Err(at.complaint(1, 1, &what));
    };
    let is_list = map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if let (true, Some(Value::Array(items))) = (is_list, map.get_mut("items")) {
        if depth >= LIST_DEPTH {
            return Err(at.complaint(1, 1, "lists of lists of objects are nested too deeply"));
        }
        for item in std::mem::take(items) {
            unfold(at, item, depth + 1, objects)?;
        }
        return Ok(());
    }
    let object = Object(Value::Object(map));
    check(at, &object)?;
    objects.push(object);
    Ok(())
}

fn check(at: &Position<'_>, object: &Object) -> Result<(), Failure> {
    if object.kind().is_empty() || object.api_version().is_empty() {
        let missing = if object.kind().is_empty() { "kind" } else { "apiVersion" };
        return Err(at.at_key(missing, &format!("the object has no {missing}")));
    }
    let kind = object.kind();
    if !is_type(kind, false) || !is_type(object.api_version(), true) {
        let what = format!("{kind:?} of {:?} is not the kind of an object", object.api_version());
        return Err(at.at_key("kind", &what));
    }
    if object.name().is_empty() {
        return Err(at.at_key("kind", &format!("the {kind} has no metadata.name")));
    }
    if !is_name(object.name()) {
        let what = format!("{:?} is not a name that an object can have", object.name());
        return Err(at.at_key("name", &what));
    }
    if object.at(&["metadata", "namespace"]).is_some_and(|value| !namespace_is_fine(value)) {
        return Err(
            at.at_key("namespace", &format!("the namespace of {kind}/{} is not a name", object.name()))
        );
    }
    texts_only(at, object, "annotations")?;
    texts_only(at, object, "labels")?;
    let size = serde_json::to_vec(&object.0).map_or(usize::MAX, |json| json.len());
    if size > OBJECT_LIMIT {
        let what = format!("{kind}/{} has {size} bytes, {OBJECT_LIMIT} are allowed", object.name());
        return Err(at.at_key("kind", &what).hint("split it into several objects"));
    }
    Ok(())
}

/// Whether a text can stand as kind or `apiVersion` in an API path.
fn is_type(text: &str, with_group: bool) -> bool {
    text.split('/').count() <= if with_group { 2 } else { 1 }
        && text.split('/').all(|part| {
            !matches!(part, "" | "." | "..")
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        })
}

fn namespace_is_fine(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.is_empty() || is_name(text))
}

/// Annotations and labels are texts: `"true"`, not `true`.
fn texts_only(at: &Position<'_>, object: &Object, which: &str) -> Result<(), Failure> {
    let Some(value) = object.at(&["metadata", which]) else { return Ok(()) };
    let named = format!("{}/{}", object.kind(), object.name());
    let map = match value {
        Value::Null => return Ok(()),
        Value::Object(map) => map,
        other => {
            let what = format!("metadata.{which} of {named} is a mapping, this is {}", name_of(other));
            return Err(at.at_key(which, &what));
        }
    };
    for (key, value) in map {
        if !value.is_string() && !value.is_null() {
            let what = format!("{key} in metadata.{which} of {named} is {}, not text", name_of(value));
            let hint = match value {
                Value::Bool(_) | Value::Number(_) => format!("write it in quotes: {key}: \"{value}\""),
                _ => format!("values of {which} are texts"),
            };
            return Err(at.at_key(key, &what).hint(hint));
        }
    }
    Ok(())
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TWO: &str = "# the web\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata: {mode: 0644, n: 1e3, on: yes, t: \"yes\"}\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: d}}\n";

    fn message(text: &str) -> String {
        let failure = parse("x.yaml", text).unwrap_err();
        format!("{} | {}", failure.message, failure.hint.unwrap_or_default())
    }

    #[test]
    fn documents_and_lists_become_objects() {
        let objects = parse("x.yaml", TWO).unwrap();
        let names: Vec<String> = objects.iter().map(|object| object.resource().to_string()).collect();
        assert_eq!(names, ["ConfigMap/a", "Secret/b", "d/Deployment/c"]);
        assert_eq!(objects[0].0["data"], json!({"mode": 420, "n": 1000, "on": true, "t": "yes"}));
    }

    #[test]
    fn markers_separate_documents() {
        let lines = |text| documents(text).iter().map(|one| (one.number, one.line)).collect::<Vec<_>>();
        assert_eq!(lines("a: 1\n---\nb: 2\n...\n---\nc: 3\n"), [(1, 1), (2, 2), (3, 5)]);
        assert_eq!(lines("%YAML 1.2\n--- # x\na: 1\n----\n"), [(1, 2)]);
        assert_eq!(lines("\u{feff}--- {a: 1}\r\n---\r\n"), [(1, 1)]);
        assert!(lines("").is_empty() && lines("---\n---\n#\n").is_empty());
    }

    #[test]
    fn complaints_say_where() {
        let text = "a: 1\n---\n";
        assert!(message(text).starts_with("x.yaml, document 1, line 1, column 1: the object has no kind"));
        let broken = format!("{TWO}---\nkind: x\n  y: [\n");
        assert!(message(&broken).starts_with("x.yaml, document 3, line 1"), "{}", message(&broken));
        let twice = "kind: A\nkind: B\n";
        assert!(message(twice).contains("line 2, column 1: duplicate"), "{}", message(twice));
        assert!(!message(twice).contains("Options"), "{}", message(twice));
        let flag = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    harness.io/primary-service: true\n";
        assert_eq!(
            message(flag),
            "x.yaml, document 1, line 6, column 5: harness.io/primary-service in metadata.annotations of Service/a is a boolean, not \
             text | write it in quotes: harness.io/primary-service: \"true\""
        );
        for (text, part) in [
            ("3", "this is a number"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "the Pod has no metadata.name"),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {name: ../a}\n",
                "line 3, column 12: \"../a\" is not a name",
            ),
            ("apiVersion: ../v1\nkind: Pod\nmetadata: {name: a}\n", "is not the kind of an object"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nx: .nan\n", "line 4"),
        ] {
            assert!(message(text).contains(part), "{}", message(text));
        }
    }

    #[test]
    fn bombs_end_at_the_budget() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(parse("x.yaml", &bomb).is_err());
        assert!(parse("x.yaml", &"[".repeat(100_000)).is_err());
        assert!(parse("x.yaml", &"- ".repeat(100_000)).is_err());
        let deep = format!("a: {}1{}", "{b: ".repeat(DEPTH - 4), "}".repeat(DEPTH - 4));
        assert!(message(&deep).contains("no kind"), "{}", message(&deep));
    }

    #[test]
    fn a_large_object_is_taken_and_a_larger_refused() {
        let object = |bytes: usize| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  x: {}\n",
                "y".repeat(bytes)
            )
        };
        assert_eq!(parse("x.yaml", &object(900 << 10)).unwrap().len(), 1);
        assert!(message(&object(1 << 20)).contains("bytes, 1048576 are allowed"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-a-z0-9:{}\\[\\],&*!|>%#'\" \n~.\0é]{0,200}") {
            let _ = parse("x.yaml", &text);
            let _ = parse_mapping("x.yaml", &text);
        }

        #[test]
        fn documents_cover_the_lines_in_order(text in "(---|\\.\\.\\.|a: 1|#|\n|\r\n| ){0,40}") {
            let mut last = 0;
            for document in documents(&text) {
                prop_assert!(document.line > last);
                last = document.line;
            }
        }
    }
}
