//! What a task wants of a delegate beside its kind, as a column of both homes: equal needs are equal text, so that they stand together.

use manifold_model::task::Task;

use crate::{ClaimOffer, Result};

/// Selectors and capabilities wanted, as sorted JSON; empty for a task that any delegate may take.
pub(crate) fn of(task: &Task) -> Result<String> {
    if task.selectors.is_empty() && task.capabilities.is_empty() {
        return Ok(String::new());
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        names
    };
    Ok(serde_json::to_string(&(sorted(&task.selectors), sorted(&task.capabilities)))?)
}

/// Whether a claimer has all that a task wants.
pub(crate) fn met_by(offer: &ClaimOffer, needs: &str) -> Result<bool> {
    if needs.is_empty() {
        return Ok(true);
    }
    let (selectors, capabilities): (Vec<String>, Vec<String>) = serde_json::from_str(needs)?;
    Ok(selectors.iter().all(|wanted| offer.selectors.contains(wanted))
        && capabilities.iter().all(|wanted| offer.capabilities.contains(wanted)))
}
