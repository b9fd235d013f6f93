//! A YAML document as a tree that keeps where everything stood and what every scalar looked like.

use serde_json::{Map, Number, Value};

/// One node with its position: line and column from 1.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, from 1; 0 for nodes that were made, not read.
    pub line: u32,
    /// Column in characters, from 1; 0 for nodes that were made, not read.
    pub column: u32,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Null, a boolean, a number or text.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in order.
    Mapping(Mapping),
}

/// Types of scalars by the YAML 1.2 core schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScalarKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Another number.
    Float,
    /// Text.
    String,
}

/// A scalar. For anything but text, `text` is the source as written, so that `1.50`, `0x1F` and `~` print as they came.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The value of a string, the source text of anything else.
    pub text: String,
    /// Type.
    pub kind: ScalarKind,
    /// Whether it was written in quotes or as a block; printing looks at it only for words that YAML 1.1 and 1.2 read differently.
    pub quoted: bool,
}

/// Two scalars are equal when they read the same, however they were quoted.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.kind == other.kind
    }
}

/// Two nodes are equal when their content is, wherever they stood.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

/// A mapping in document order; keys are scalars and stand once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    /// Entries in order.
    pub entries: Vec<Entry>,
}

/// One key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Scalar,
    /// Line of the key, from 1; 0 when made.
    pub line: u32,
    /// Column of the key, from 1; 0 when made.
    pub column: u32,
    /// The value.
    pub value: Node,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}

/// One step of the way from the root to a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Segment {
    /// Into a mapping by key.
    Key(String),
    /// Into a list by place, from 0.
    Index(usize),
}

impl Node {
    /// A string node without a position.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { line: 0, column: 0, content: Content::Scalar(Scalar::string(text)) }
    }

    /// A node without a position.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { line: 0, column: 0, content }
    }

    /// The scalar, if it is one.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a string node.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.kind == ScalarKind::String).map(|scalar| scalar.text.as_str())
    }

    /// The entries, if it is a mapping.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.content {
            Content::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The entries, to change.
    pub fn as_mapping_mut(&mut self) -> Option<&mut Mapping> {
        match &mut self.content {
            Content::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.content {
            Content::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.kind == ScalarKind::Null)
    }

    /// The value of a key, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.get(key)
    }

    /// The node at the end of a way.
    #[must_use]
    pub fn at(&self, way: &[Segment]) -> Option<&Node> {
        way.iter().try_fold(self, |node, segment| match (segment, &node.content) {
            (Segment::Key(key), Content::Mapping(mapping)) => mapping.get(key),
            (Segment::Index(index), Content::Sequence(items)) => items.get(*index),
            _ => None,
        })
    }

    /// The node at the end of a way, to change.
    pub fn at_mut(&mut self, way: &[Segment]) -> Option<&mut Node> {
        way.iter().try_fold(self, |node, segment| match (segment, &mut node.content) {
            (Segment::Key(key), Content::Mapping(mapping)) => mapping.get_mut(key),
            (Segment::Index(index), Content::Sequence(items)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// What kind of thing it is, for messages.
    #[must_use]
    pub fn described(&self) -> &'static str {
        match &self.content {
            Content::Sequence(_) => "a list",
            Content::Mapping(_) => "a mapping",
            Content::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool => "a boolean",
                ScalarKind::Int | ScalarKind::Float => "a number",
                ScalarKind::String => "text",
            },
        }
    }

    /// The same as JSON. Numbers that JSON cannot hold become text.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(scalar) => scalar.to_json(),
            Content::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Mapping(mapping) => Value::Object(mapping.to_json()),
        }
    }
}

impl Scalar {
    /// A string.
    #[must_use]
    pub fn string(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: ScalarKind::String, quoted: false }
    }

    /// A plain scalar, typed by the core schema.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind: plain_kind(&text), text, quoted: false }
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind == ScalarKind::Bool).then(|| self.text.eq_ignore_ascii_case("true"))
    }

    /// The whole number, if it is one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if self.kind != ScalarKind::Int {
            return None;
        }
        if let Some(digits) = self.text.strip_prefix("0x") {
            i64::from_str_radix(digits, 16).ok()
        } else if let Some(digits) = self.text.strip_prefix("0o") {
            i64::from_str_radix(digits, 8).ok()
        } else {
            self.text.parse().ok()
        }
    }

    fn to_json(&self) -> Value {
        let number = match self.kind {
            ScalarKind::Null => return Value::Null,
            ScalarKind::Bool => return Value::Bool(self.as_bool().unwrap_or_default()),
            ScalarKind::Int => self.as_i64().map(Number::from),
            ScalarKind::Float => self.text.parse().ok().and_then(Number::from_f64),
            ScalarKind::String => None,
        };
        number.map_or_else(|| Value::String(self.text.clone()), Value::Number)
    }
}

impl Mapping {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value of a key, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key.text == key).map(|entry| &mut entry.value)
    }

    /// A key with its value.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.text == key)
    }

    /// Sets a key: in its place when it is there, else at the end.
    pub fn set(&mut self, key: &str, value: Node) {
        if let Some(old) = self.get_mut(key) {
            *old = value;
        } else {
            self.entries.push(Entry { key: Scalar::plain(key), line: 0, column: 0, value });
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let place = self.entries.iter().position(|entry| entry.key.text == key)?;
        Some(self.entries.remove(place).value)
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        self.entries.iter().map(|entry| (entry.key.text.clone(), entry.value.to_json())).collect()
    }
}

/// The type of a plain scalar by the YAML 1.2 core schema (chapter 10.3.2).
#[must_use]
pub fn plain_kind(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
        _ if is_int(text) => ScalarKind::Int,
        _ if is_float(text) => ScalarKind::Float,
        _ => ScalarKind::String,
    }
}

fn is_int(text: &str) -> bool {
    let all = |digits: &str, good: fn(&char) -> bool| {
        !digits.is_empty() && digits.chars().all(|digit| good(&digit))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, char::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |digit| matches!(digit, '0'..='7'));
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), char::is_ascii_digit)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.chars().all(|digit| digit.is_ascii_digit());
    let good_mantissa = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let good_exponent = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    good_mantissa && good_exponent && (mantissa.contains('.') || exponent.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn plain_scalars_are_typed_by_the_core_schema() {
        for (text, kind) in [
            ("", ScalarKind::Null),
            ("~", ScalarKind::Null),
            ("null", ScalarKind::Null),
            ("nULL", ScalarKind::String),
            ("true", ScalarKind::Bool),
            ("False", ScalarKind::Bool),
            ("yes", ScalarKind::String),
            ("on", ScalarKind::String),
            ("0", ScalarKind::Int),
            ("-12", ScalarKind::Int),
            ("010", ScalarKind::Int),
            ("0o17", ScalarKind::Int),
            ("0x1F", ScalarKind::Int),
            ("0x", ScalarKind::String),
            ("1_000", ScalarKind::String),
            ("1.0", ScalarKind::Float),
            ("1.", ScalarKind::Float),
            (".5", ScalarKind::Float),
            (".", ScalarKind::String),
            ("1e3", ScalarKind::Float),
            ("e3", ScalarKind::String),
            ("1e", ScalarKind::String),
            ("-.inf", ScalarKind::Float),
            (".nan", ScalarKind::Float),
            ("-.nan", ScalarKind::String),
            ("1.2.3", ScalarKind::String),
            ("12:30", ScalarKind::String),
        ] {
            assert_eq!(plain_kind(text), kind, "{text:?}");
        }
    }

    #[test]
    fn numbers_become_json_when_json_can_hold_them() {
        assert_eq!(Scalar::plain("0x1F").to_json(), serde_json::json!(31));
        assert_eq!(Scalar::plain("1.5").to_json(), serde_json::json!(1.5));
        assert_eq!(Scalar::plain(".inf").to_json(), serde_json::json!(".inf"));
        assert_eq!(
            Scalar::plain("99999999999999999999").to_json(),
            serde_json::json!("99999999999999999999")
        );
    }
}
