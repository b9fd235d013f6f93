//! The kinds on offer, as the use cases ask for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use manifold_control::KindsOnOffer;
use manifold_model::kind::KindSpec;

use crate::Delegates;

/// The kinds on offer now: those the engine plays and those of connected delegates.
pub struct Offer(pub Arc<Delegates>);

impl KindsOnOffer for Offer {
    fn kinds(&self) -> Vec<KindSpec> {
        let mut kinds = manifold_engine::kinds();
        for kind in self.0.kinds() {
            if !kinds.iter().any(|known| known.name == kind.name) {
                kinds.push(kind);
            }
        }
        kinds
    }

    fn capabilities(&self) -> BTreeSet<String> {
        self.0.capabilities()
    }
}
