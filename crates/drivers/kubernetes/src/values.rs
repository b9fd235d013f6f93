//! Values for templates: files and the step's own, merged by key, low to high (`behaviour.md` 12.3, 22).

use manifold_driver::Resolver;
use manifold_model::kubernetes::Manifests;
use manifold_model::{Failure, FailureClass, code};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::parse::parse_mapping;

/// Bytes of all values together.
pub const VALUES_LIMIT: usize = 1 << 20;

/// Merged values.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Values {
    /// The values.
    pub values: Map<String, Value>,
    /// Whether a secret is among them.
    pub secret: bool,
}

/// Reads and merges the values of manifests.
///
/// # Errors
/// A file cannot be had, is no mapping, or all are too large.
pub async fn values(manifests: &Manifests, resolver: &dyn Resolver) -> Result<Values, Failure> {
    let mut merged = Values::default();
    let mut size = 0;
    for file in &manifests.values {
        let filled = resolver.text_file(&file.source, &manifests.spans).await?;
        add(&mut merged, &mut size, &file.path, &filled)?;
    }
    if let Some(inline) = &manifests.inline_values {
        let filled = resolver.render(inline, &BTreeMap::new()).await?;
        add(&mut merged, &mut size, "the values of the step", &filled)?;
    }
    without_nulls(&mut merged.values);
    Ok(merged)
}

fn add(
    merged: &mut Values,
    size: &mut usize,
    name: &str,
    filled: &manifold_driver::Filled,
) -> Result<(), Failure> {
    *size += filled.text.len();
    if *size > VALUES_LIMIT {
        let message =
            format!("with {name} the values have {size} bytes, {VALUES_LIMIT} are allowed together");
        return Err(Failure::new(FailureClass::Application, code!("K8S_MANIFESTS_TOO_LARGE"), message)
            .hint("put large texts into manifest files"));
    }
    merged.secret |= filled.secret;
    merge(&mut merged.values, parse_mapping(name, &filled.text)?);
    Ok(())
}

/// Mappings are merged key by key; everything else of `over` replaces what is there. As Helm has it, a null takes away the key that a lower
/// file gave.
pub fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Takes the keys that are null away.
fn without_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    for value in map.values_mut() {
        if let Value::Object(inner) = value {
            without_nulls(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn merged(texts: &[&str]) -> Value {
        let mut values = Values::default();
        for text in texts {
            let filled = manifold_driver::Filled { text: (*text).to_owned(), secret: false };
            add(&mut values, &mut 0, "values.yaml", &filled).unwrap();
        }
        without_nulls(&mut values.values);
        Value::Object(values.values)
    }

    #[test]
    fn higher_files_win_key_by_key() {
        let service = "replicas: 1\nimage: {name: web, tag: a}\nports: [1, 2]\ngone: {a: 1}\nflat: {a: 1}\n";
        let environment = "image: {tag: b}\nports: [3]\ngone: null\nflat: 3\n";
        assert_eq!(
            merged(&[service, environment, "", "image: {pull: {}}\nnew: {x: null, y: 1}\n"]),
            json!({"replicas": 1, "image": {"name": "web", "tag": "b", "pull": {}}, "ports": [3], "flat": 3, "new": {"y": 1}})
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused_with_its_place() {
        let filled = |text: &str| manifold_driver::Filled { text: text.to_owned(), secret: false };
        let refused = |text: &str| {
            add(&mut Values::default(), &mut 0, "values.yaml", &filled(text)).unwrap_err().message
        };
        assert_eq!(
            refused("- a\n"),
            "values.yaml, document 1, line 1, column 1: values are a mapping of keys, this is a list"
        );
        assert!(refused("a: 1\n---\nb: 2\n").contains("document 2, line 2"));
        assert!(refused(&format!("a: {}", "x".repeat(VALUES_LIMIT))).contains("1048576 are allowed"));
    }
}
