//! Legs: executions created by the append of their parent, so that a crash makes either all of a batch or none.

use super::writing::Writing;
use super::{executions, misuse};
use crate::{Append, NewExecution, Result};

/// Legs one append may create (`design.md` 4.3).
const LEGS_AN_APPEND: usize = 500;

/// Refuses an append whose legs are too many, of another parent, or have no place.
pub(super) fn check(append: &Append) -> Result<()> {
    if append.legs.len() > LEGS_AN_APPEND {
        let why = format!("{} legs in one append; at most {LEGS_AN_APPEND}", append.legs.len());
        return Err(misuse("create legs", why));
    }
    for leg in &append.legs {
        let row = &leg.row;
        if row.parent != append.execution {
            return Err(misuse("create legs", format!("leg {} names another parent", row.id)));
        }
        if row.parent.is_none() || row.element.is_none() || row.place.is_none() {
            return Err(misuse("create legs", format!("leg {} has no element or place", row.id)));
        }
    }
    Ok(())
}

/// Creates legs; one that is there by (parent, element, ordinal) stays as it is.
pub(super) async fn create(writing: &mut Writing<'_>, append: &Append) -> Result<()> {
    if append.legs.is_empty() {
        return Ok(());
    }
    let legs: Vec<&NewExecution> = append.legs.iter().collect();
    executions::insert(writing, &legs).await.map(drop)
}
