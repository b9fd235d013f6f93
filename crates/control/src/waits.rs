//! What an execution waits for, told as of now: places in a queue and arrivals at a barrier change without the execution writing anything.

use manifold_model::execution::ExecutionRow;
use manifold_model::wait::{Wait, WaitReason};

use crate::{Control, Result};

impl Control {
    /// The waits of an execution, with the lock's holder and place, the barrier's arrivals, and who holds the permits, as they are now.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn waits_of(&self, row: &ExecutionRow) -> Result<Vec<Wait>> {
        let mut waits = row.state.waits.clone();
        for wait in &mut waits {
            match &mut wait.reason {
                WaitReason::Lock { holder, place, .. } => {
                    // Place 0 is the holder itself, whose row is about to say so.
                    if let Some((held_by, at @ 1..)) = self.store.lock_place(&row.id).await? {
                        (*holder, *place) = (held_by, Some(at));
                    }
                }
                WaitReason::Barrier { identifier, arrived, of, .. } => {
                    if let Some((there, all)) = self.store.barrier(&row.id, identifier).await? {
                        (*arrived, *of) = (there, all);
                    }
                }
                WaitReason::Constraint { free, holders, place, .. } => {
                    let Some(step) = wait.step else { continue };
                    // Place 0 holds them: its row is about to say so.
                    if let Some(stands) = self.store.permit_place(&row.id, step).await?
                        && stands.place > 0
                    {
                        (*free, *place) = (Some(stands.free), Some(stands.place));
                        *holders = stands.holders;
                    }
                }
                _ => {}
            }
        }
        Ok(waits)
    }
}
