//! Legs: executions created by the append of their parent, so that a crash makes either all of a batch or none.

use rusqlite::params;

use super::writer::Writing;
use super::{executions, misuse};
use crate::{Append, NewExecution, Result};

/// Legs one append may create (`design.md` 4.3).
const LEGS_AN_APPEND: usize = 500;

/// Creates legs; one that is there by (parent, element, ordinal) stays as it is.
pub(super) fn create(writing: &mut Writing<'_>, append: &Append) -> Result<()> {
    if append.legs.len() > LEGS_AN_APPEND {
        return Err(misuse(
            "create legs",
            format!("{} legs in one append; at most {LEGS_AN_APPEND}", append.legs.len()),
        ));
    }
    for leg in &append.legs {
        if leg.row.parent != append.execution {
            return Err(misuse("create legs", format!("leg {} names another parent", leg.row.id)));
        }
        if !is_there(writing, leg)? {
            executions::insert(writing, leg)?;
        }
    }
    Ok(())
}

fn is_there(writing: &Writing<'_>, leg: &NewExecution) -> Result<bool> {
    let row = &leg.row;
    let (Some(parent), Some(element), Some(place)) = (&row.parent, &row.element, row.place) else {
        return Err(misuse("create legs", format!("leg {} has no element or place", row.id)));
    };
    Ok(writing
        .sql("SELECT 1 FROM executions WHERE parent = ?1 AND element = ?2 AND leg = ?3")?
        .exists(params![parent.as_str(), element.as_str(), place.leg])?)
}
