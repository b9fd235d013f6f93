//! Where references get their values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::value::Value;

/// What is known of a root.
#[derive(Clone, PartialEq, Debug)]
pub enum Lookup {
    /// Its value.
    Found(Value),
    /// Nobody knows it.
    Missing,
    /// Only the delegate can know it, and will.
    Late,
}

/// Values by root, the first component of a reference: `workflow`, `infra`, `instance`. Fields, indexes and methods are walked
/// by the evaluator.
pub trait Scope {
    /// The value of a root.
    fn lookup(&self, root: &str) -> Lookup;

    /// A call of a functor that only this scope has, such as `configFile.getAsString("f")`. `functor` is everything before the
    /// method, with dots. `None` when there is no such functor; an error is a sentence without a full stop.
    fn call(&self, functor: &str, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let _ = (functor, method, args);
        None
    }

    /// Whether text found under this root may hold `${…}` that is rendered again. That is so for configuration, where a variable's
    /// value may be an expression; never for what comes from outside (outputs, HTTP answers, artifacts, payloads), because whoever
    /// wrote that text could then read secrets.
    fn expands(&self, root: &str) -> bool {
        matches!(
            root,
            "workflow"
                | "pipeline"
                | "serviceVariable"
                | "environmentVariable"
                | "infra"
                | "service"
                | "env"
                | "app"
                | "account"
        )
    }
}

/// No values at all.
pub struct Nothing;

impl Scope for Nothing {
    fn lookup(&self, _root: &str) -> Lookup {
        Lookup::Missing
    }
}

/// Longest dotted path of a known value; longer ones are not produced by [`crate::capture`].
const MAX_COMPONENTS: usize = 32;

struct Known {
    roots: BTreeMap<String, Value>,
    facts: BTreeSet<String>,
}

impl Scope for Known {
    fn lookup(&self, root: &str) -> Lookup {
        self.roots.get(root).cloned().map_or(Lookup::Missing, Lookup::Found)
    }

    fn expands(&self, root: &str) -> bool {
        !self.facts.contains(root) && Nothing.expands(root)
    }
}

/// The scope in which a delegate evaluates a [hole](manifold_model::Hole::Expression): the values that travelled with it and what
/// the delegate found out itself, both by dotted path. A fact replaces a known value of the same path. Facts are never rendered again.
pub fn known_scope(known: &BTreeMap<String, Json>, facts: &BTreeMap<String, Json>) -> impl Scope + use<> {
    let mut tree = Map::new();
    for (path, value) in known.iter().chain(facts) {
        insert(&mut tree, path, value);
    }
    let roots = tree.iter().map(|(root, value)| (root.clone(), Value::from_json(value))).collect();
    let facts = facts.keys().filter_map(|path| path.split('.').next()).map(str::to_owned).collect();
    Known { roots, facts }
}

/// Puts a value at a dotted path, merging maps; something else in the way gives way.
fn insert(tree: &mut Map<String, Json>, path: &str, value: &Json) {
    let mut components: Vec<&str> = path.splitn(MAX_COMPONENTS, '.').collect();
    let Some(last) = components.pop() else { return };
    let mut level = tree;
    for component in components {
        let entry = level.entry(component).or_insert_with(|| Json::Object(Map::new()));
        if !entry.is_object() {
            *entry = Json::Object(Map::new());
        }
        let Json::Object(inner) = entry else { return };
        level = inner;
    }
    match (level.get_mut(last), value) {
        (Some(Json::Object(old)), Json::Object(new)) => {
            for (key, value) in new {
                old.insert(key.clone(), value.clone());
            }
        }
        _ => {
            level.insert(last.to_owned(), value.clone());
        }
    }
}
