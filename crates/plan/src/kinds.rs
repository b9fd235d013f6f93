//! The kinds on offer, by name.

use std::collections::HashMap;

use manifold_model::kind::KindSpec;

/// The kinds on offer, by name.
pub(crate) struct Kinds<'a>(HashMap<&'a str, &'a KindSpec>);

impl<'a> Kinds<'a> {
    pub(crate) fn of(specs: &'a [KindSpec]) -> Self {
        let mut kinds = HashMap::with_capacity(specs.len());
        for spec in specs {
            kinds.entry(spec.name.as_str()).or_insert(spec);
        }
        Self(kinds)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a KindSpec> {
        self.0.get(name).copied()
    }
}
