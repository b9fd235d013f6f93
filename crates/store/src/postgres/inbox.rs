//! What came for an execution from outside: inbox items, and the completions of its legs.

use super::to_json;
use super::writing::Writing;
use crate::{InboxItem, Result};

/// Puts an item for the execution with this number.
pub(super) async fn put(writing: &mut Writing<'_>, execution: i64, id: &str, item: &InboxItem) -> Result<()> {
    if !matches!(item, InboxItem::Completions {}) {
        writing
            .db
            .run("INSERT INTO inbox (execution, item) VALUES ($1, $2)", &[&execution, &to_json(item)?])
            .await?;
    }
    writing.hint_inbox(id);
    Ok(())
}
