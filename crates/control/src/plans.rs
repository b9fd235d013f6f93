//! Frozen plans by digest; a plan never changes, so a few decoded ones are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use manifold_model::plan::Plan;
use manifold_model::{PlanDigest, Problem, code};

use crate::{Control, Error, Result};

/// Decoded plans that are kept; one of 10,000 legs takes a few megabytes.
const KEPT: usize = 32;

/// The plans used last, newest at the back.
#[derive(Debug, Default)]
pub(crate) struct PlanCache(Mutex<VecDeque<(PlanDigest, Arc<Plan>)>>);

impl PlanCache {
    fn get(&self, digest: &PlanDigest) -> Option<Arc<Plan>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|(known, _)| known == digest)?;
        let found = kept.remove(index)?;
        let plan = Arc::clone(&found.1);
        kept.push_back(found);
        Some(plan)
    }

    pub(crate) fn put(&self, digest: PlanDigest, plan: Arc<Plan>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().all(|(known, _)| *known != digest) {
            kept.push_back((digest, plan));
        }
        while kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

impl Control {
    /// A frozen plan.
    ///
    /// # Errors
    /// When it is not there or was written by a newer version.
    pub async fn plan(&self, digest: &PlanDigest) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plans.get(digest) {
            return Ok(plan);
        }
        let bytes = self
            .store
            .plan(digest)
            .await?
            .ok_or_else(|| Error::not_found(format!("plan {digest} does not exist")))?;
        let plan: Plan = serde_json::from_slice(&bytes).map_err(|error| {
            tracing::error!(%digest, %error, "a stored plan cannot be read");
            Error::unavailable(Problem::new(
                code!("PLAN_UNREADABLE"),
                "the frozen plan of this execution cannot be read",
            ))
        })?;
        let plan = Arc::new(plan);
        self.plans.put(digest.clone(), Arc::clone(&plan));
        Ok(plan)
    }
}
