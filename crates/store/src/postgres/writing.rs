//! What a call sees while it writes.

use manifold_model::{ExecutionId, Millis};

use super::db::Db;
use super::guards::{self, Guard};
use crate::{Hint, Result};

/// A transaction in the making.
pub(super) struct Writing<'c> {
    /// The connection, inside the transaction.
    pub(super) db: Db<'c>,
    now: Millis,
    hints: Vec<Hint>,
}

impl<'c> Writing<'c> {
    pub(super) fn new(db: Db<'c>, now: Millis) -> Self {
        Self { db, now, hints: Vec::new() }
    }

    /// The time by the database's clock when the transaction began.
    pub(super) fn now(&self) -> Millis {
        self.now
    }

    /// Broadcasts a hint after COMMIT.
    pub(super) fn hint(&mut self, hint: Hint) {
        self.hints.push(hint);
    }

    /// Hints that an execution has something to look at.
    pub(super) fn hint_inbox(&mut self, execution: &str) {
        self.hints.push(Hint::Inbox(ExecutionId::from(execution)));
    }

    /// Waits for guards and holds them until the transaction ends; see [`guards::hold`].
    pub(super) async fn hold(&self, held: &[Guard<'_>]) -> Result<()> {
        guards::hold(&self.db, held).await
    }

    /// How many hints there are, for [`Writing::forget_since`].
    pub(super) fn mark(&self) -> usize {
        self.hints.len()
    }

    /// Forgets hints of what was undone.
    pub(super) fn forget_since(&mut self, mark: usize) {
        self.hints.truncate(mark);
    }

    /// Hints so far.
    pub(super) fn into_hints(self) -> Vec<Hint> {
        self.hints
    }
}
