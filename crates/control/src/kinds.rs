//! Kinds of steps that can be played now.

use std::collections::BTreeSet;

use manifold_model::kind::KindSpec;

/// Who knows which kinds the connected delegates and the engine offer.
pub trait KindsOnOffer: Send + Sync + 'static {
    /// All kinds on offer, each name once.
    fn kinds(&self) -> Vec<KindSpec>;

    /// What connected delegates have beside kinds (`helm`).
    fn capabilities(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// A list that never changes.
impl KindsOnOffer for Vec<KindSpec> {
    fn kinds(&self) -> Vec<KindSpec> {
        self.clone()
    }
}

impl crate::Control {
    /// Kinds of steps that can be played now.
    #[must_use]
    pub fn kinds(&self) -> Vec<KindSpec> {
        self.kinds.kinds()
    }
}
