//! Reads known keys of a document: tolerant where real trees are (null, `''`, quoted numbers), exact about where something is wrong.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::vocabulary;
use crate::entity::{Tag, ValueType, Variable};
use crate::name::{check_publish_name, check_variable_name, is_tidy_name};
use crate::node::{Entry, Mapping, Node, ScalarKind};
use crate::{Place, Problem, code};

/// Collects what is wrong with one document.
pub(crate) struct Reader<'a> {
    path: &'a str,
    /// What keeps the document from being used.
    pub(crate) errors: Vec<Problem>,
    /// What keeps the document from being saved; one that is stored already is used all the same.
    pub(crate) refusals: Vec<Problem>,
    /// What its author should know.
    pub(crate) warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: &'a str) -> Self {
        Self { path, errors: Vec::new(), refusals: Vec::new(), warnings: Vec::new() }
    }

    pub(crate) fn place(&self, node: &Node) -> Place {
        Place { path: self.path.to_owned(), line: node.line.max(1), column: node.column.max(1) }
    }

    fn key_place(&self, entry: &Entry) -> Place {
        Place { path: self.path.to_owned(), line: entry.line.max(1), column: entry.column.max(1) }
    }

    fn wrong(&mut self, key: &str, node: &Node, wanted: &str) {
        let message = format!("`{key}` must be {wanted}, not {}", node.described());
        let problem = Problem::new(code!("DOCUMENT_VALUE"), message).item(key).at(self.place(node));
        self.errors.push(problem);
    }

    /// The mapping that a node must be.
    pub(crate) fn mapping<'n>(&mut self, node: &'n Node, noun: &str) -> Option<&'n Mapping> {
        let mapping = node.as_mapping();
        if mapping.is_none() {
            self.wrong(noun, node, "a mapping");
        }
        mapping
    }

    /// The mapping under a key; `None` when it is absent, null or `''`.
    pub(crate) fn inner<'n>(&mut self, mapping: &'n Mapping, key: &str) -> Option<&'n Mapping> {
        let node = mapping.get(key).filter(|node| !is_nothing(node))?;
        self.mapping(node, key)
    }

    /// A scalar's text; `None` when absent or null.
    pub(crate) fn text(&mut self, mapping: &Mapping, key: &str) -> Option<String> {
        let node = mapping.get(key)?;
        match node.as_scalar() {
            Some(scalar) if scalar.kind == ScalarKind::Null => None,
            Some(scalar) => Some(scalar.text.clone()),
            None => {
                self.wrong(key, node, "text");
                None
            }
        }
    }

    /// A scalar's text, or nothing.
    pub(crate) fn text_or_empty(&mut self, mapping: &Mapping, key: &str) -> String {
        self.text(mapping, key).unwrap_or_default()
    }

    /// A scalar's text; `None` when absent, null or empty.
    pub(crate) fn filled(&mut self, mapping: &Mapping, key: &str) -> Option<String> {
        self.text(mapping, key).filter(|text| !text.trim().is_empty())
    }

    /// A scalar's text that must be there; the node says where it is missed.
    pub(crate) fn needed(&mut self, mapping: &Mapping, key: &str, node: &Node, noun: &str) -> String {
        let before = self.errors.len();
        let text = self.filled(mapping, key);
        if text.is_none() && self.errors.len() == before {
            let message = format!("the {noun} has no `{key}`");
            let problem = Problem::new(code!("DOCUMENT_KEY_MISSING"), message).item(key).at(self.place(node));
            self.errors.push(problem);
        }
        text.unwrap_or_default()
    }

    /// A boolean, maybe quoted; false when absent.
    pub(crate) fn flag(&mut self, mapping: &Mapping, key: &str) -> bool {
        let Some(node) = mapping.get(key).filter(|node| !is_nothing(node)) else { return false };
        match node.as_scalar().map(|scalar| scalar.text.to_ascii_lowercase()).as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => {
                self.wrong(key, node, "true or false");
                false
            }
        }
    }

    /// A whole number that is not negative, maybe quoted.
    pub(crate) fn count(&mut self, mapping: &Mapping, key: &str) -> Option<u64> {
        let node = mapping.get(key).filter(|node| !is_nothing(node))?;
        let number = count(node);
        if number.is_none() {
            self.wrong(key, node, "a whole number, zero or more");
        }
        number
    }

    /// A list; nothing when absent, null or `''`.
    pub(crate) fn list<'n>(&mut self, mapping: &'n Mapping, key: &str) -> &'n [Node] {
        let Some(node) = mapping.get(key).filter(|node| !is_nothing(node)) else { return &[] };
        node.as_sequence().unwrap_or_else(|| {
            self.wrong(key, node, "a list");
            &[]
        })
    }

    /// A list of texts; one text alone counts as a list of one.
    pub(crate) fn texts(&mut self, mapping: &Mapping, key: &str) -> Vec<String> {
        let Some(node) = mapping.get(key).filter(|node| !is_nothing(node)) else { return Vec::new() };
        if let Some(scalar) = node.as_scalar() {
            return vec![scalar.text.clone()];
        }
        let mut texts = Vec::new();
        for item in self.list(mapping, key) {
            match item.as_scalar() {
                Some(scalar) if scalar.kind == ScalarKind::Null => {}
                Some(scalar) => texts.push(scalar.text.clone()),
                None => self.wrong(key, item, "a list of texts"),
            }
        }
        texts
    }

    /// A list of whole numbers, maybe quoted.
    pub(crate) fn counts(&mut self, mapping: &Mapping, key: &str) -> Vec<u64> {
        let mut counts = Vec::new();
        for item in self.list(mapping, key) {
            match count(item) {
                Some(number) => counts.push(number),
                None => self.wrong(key, item, "a list of whole numbers"),
            }
        }
        counts
    }

    /// A word out of a fixed set; `None` when absent or empty, a problem when nobody knows it.
    pub(crate) fn choice<T>(
        &mut self,
        mapping: &Mapping,
        key: &str,
        read: impl Fn(&str) -> Option<T>,
        words: &str,
    ) -> Option<T> {
        let text = self.filled(mapping, key)?;
        let found = read(&text);
        if let (None, Some(node)) = (&found, mapping.get(key)) {
            self.unknown_word(key, &text, node, words);
        }
        found
    }

    pub(crate) fn unknown_word(&mut self, key: &str, word: &str, node: &Node, words: &str) {
        let message = format!("`{key}` is {}, which is unknown", crate::name::shown(word));
        let hint = format!("it may be {words}");
        let problem =
            Problem::new(code!("DOCUMENT_VALUE"), message).item(key).hint(hint).at(self.place(node));
        self.errors.push(problem);
    }

    /// An error at a node.
    pub(crate) fn error(&mut self, code: crate::Code, message: impl Into<String>, node: &Node) {
        let problem = Problem::new(code, message).at(self.place(node));
        self.errors.push(problem);
    }

    /// A warning at a node.
    pub(crate) fn warn(&mut self, problem: Problem, node: &Node) {
        let place = self.place(node);
        self.warnings.push(problem.at(place));
    }

    /// Reports the keys of a mapping that are not among the known ones. They stay in the text.
    pub(crate) fn known(&mut self, mapping: &Mapping, noun: &str, known: &[&str]) {
        for entry in &mapping.entries {
            let key = entry.key.text.as_str();
            if known.contains(&key) || matches!(key, "harnessApiVersion" | "type") {
                self.known_inside(key, &entry.value);
                continue;
            }
            let message =
                format!("the key `{}` of the {noun} is unknown; it is kept", crate::name::shown(key));
            let problem = Problem::new(code!("DOCUMENT_KEY_UNKNOWN"), message)
                .item(crate::name::shown(key))
                .at(self.key_place(entry));
            self.warnings.push(problem);
        }
    }

    /// Reports unknown keys of what stands under a known one.
    fn known_inside(&mut self, key: &str, node: &Node) {
        let Some(known) = vocabulary::inner(key) else { return };
        let alone = node.as_mapping().into_iter();
        for mapping in alone.chain(node.as_sequence().into_iter().flatten().filter_map(Node::as_mapping)) {
            self.known(mapping, &format!("`{key}`"), known);
        }
    }

    /// A refusal when a variable may not be called so.
    pub(crate) fn variable_name(&mut self, name: &str, node: &Node) {
        if let Err(problem) = check_variable_name(name) {
            let place = self.place(node);
            self.refusals.push(problem.at(place));
        }
    }

    /// A refusal when a step may not publish its outputs under the name that a key says.
    pub(crate) fn publish_name(&mut self, mapping: &Mapping, key: &str) {
        let Some(node) = mapping.get(key).filter(|node| !is_nothing(node)) else { return };
        if let Some(Err(problem)) = node.as_scalar().map(|scalar| check_publish_name(scalar.text.trim())) {
            let place = self.place(node);
            self.refusals.push(problem.at(place));
        }
    }

    /// A warning when the name of a workflow, phase or step holds more than letters, digits, blanks, `-` and `_`.
    pub(crate) fn tidy_name(&mut self, noun: &str, name: &str, node: &Node) {
        if !is_tidy_name(name) {
            let message = format!("the name of the {noun} holds more than letters, digits, blanks, - and _");
            let problem = Problem::new(code!("NAME_LETTERS"), message).item(crate::name::shown(name));
            self.warn(problem, node);
        }
    }

    /// `tags`: a mapping, a list of `{name, value}`, or a list of names.
    pub(crate) fn tags(&mut self, mapping: &Mapping) -> Vec<Tag> {
        let Some(node) = mapping.get("tags").filter(|node| !is_nothing(node)) else { return Vec::new() };
        if let Some(pairs) = node.as_mapping() {
            let tag = |entry: &Entry| Tag { name: entry.key.text.clone(), value: scalar_text(&entry.value) };
            return pairs.entries.iter().map(tag).collect();
        }
        let mut tags = Vec::new();
        for item in self.list(mapping, "tags") {
            if let Some(pair) = item.as_mapping() {
                let name = self.filled(pair, "name").or_else(|| self.filled(pair, "key"));
                let value = self.text_or_empty(pair, "value");
                tags.extend(name.map(|name| Tag { name, value }));
            } else {
                tags.push(Tag { name: scalar_text(item), value: String::new() });
            }
        }
        tags
    }

    /// A list of `{name, value}`, as defaults and `metadata` have it.
    pub(crate) fn pairs(&mut self, mapping: &Mapping, key: &str) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        for item in self.list(mapping, key) {
            let Some(pair) = self.mapping(item, key) else { continue };
            let name = self.needed(pair, "name", item, "pair");
            let value = self.text_or_empty(pair, "value");
            pairs.insert(name, value);
        }
        pairs
    }

    /// A `{name, value, valueType}`.
    pub(crate) fn variable(&mut self, mapping: &Mapping, node: &Node) -> Variable {
        let name = self.needed(mapping, "name", node, "variable");
        if !name.is_empty() {
            self.variable_name(&name, node);
        }
        let value = self.text_or_empty(mapping, "value");
        let value_type = self
            .choice(mapping, "valueType", value_type, "TEXT or ENCRYPTED_TEXT")
            .unwrap_or(ValueType::Text);
        let value = match value_type {
            ValueType::Text => value,
            ValueType::EncryptedText => secret_name(&value).to_owned(),
        };
        Variable { name, value, value_type }
    }
}

fn value_type(word: &str) -> Option<ValueType> {
    match word {
        "TEXT" => Some(ValueType::Text),
        "ENCRYPTED_TEXT" => Some(ValueType::EncryptedText),
        _ => None,
    }
}

/// The name in a reference to a secret: without the one prefix that says which kind of manager holds it (`wire.md` 4.4). A URL
/// (`hashicorpvault://…`) is a reference as a whole.
#[must_use]
pub fn secret_name(reference: &str) -> &str {
    match reference.split_once(':') {
        Some((prefix, name))
            if !prefix.is_empty()
                && !name.is_empty()
                && !name.starts_with("//")
                && prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) =>
        {
            name
        }
        _ => reference,
    }
}

/// Null or an empty text: what real trees write for nothing.
pub(crate) fn is_nothing(node: &Node) -> bool {
    node.as_scalar().is_some_and(|scalar| scalar.kind == ScalarKind::Null || scalar.text.is_empty())
}

fn scalar_text(node: &Node) -> String {
    node.as_scalar()
        .filter(|scalar| scalar.kind != ScalarKind::Null)
        .map(|scalar| scalar.text.clone())
        .unwrap_or_default()
}

fn count(node: &Node) -> Option<u64> {
    let scalar = node.as_scalar()?;
    scalar.as_i64().and_then(|number| u64::try_from(number).ok()).or_else(|| scalar.text.trim().parse().ok())
}

/// All keys but these, as JSON.
pub(crate) fn rest(mapping: &Mapping, but: &[&str]) -> Map<String, Value> {
    let mut map = mapping.to_json();
    map.retain(|key, _| !but.contains(&key.as_str()));
    map
}
