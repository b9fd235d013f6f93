//! Somebody who looks at the screen: answers what is asked, lets go on what is paused, and wants a reason for everything that waits.

use std::sync::Arc;
use std::time::Duration;

use manifold_model::ExecutionId;
use manifold_model::execution::ExecutionRow;
use manifold_model::request::{Action, Request};
use manifold_model::wait::WaitReason;
use manifold_store::{InboxItem, Result, Store};

use crate::Sim;
use crate::trace::note;

/// How often somebody looks.
const LOOK: Duration = Duration::from_secs(1);
/// Questions of a hundred that are answered at a look.
const ANSWERED: u64 = 30;

/// Looks until the run ends.
pub(crate) async fn watch(sim: Arc<Sim>) {
    let store = sim.open();
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = look(&sim, &store).await {
            note!(sim, "nobody can look: {error}");
        }
    }
}

async fn look(sim: &Sim, store: &dyn Store) -> Result<()> {
    for id in store.unfinished().await? {
        let Some(row) = store.execution(&id).await? else { continue };
        // A run that was just created and that no server has looked at yet says QUEUED alone; servers may all be down then.
        let is_new = row.state.seq <= 1;
        if row.state.waits.is_empty() && !is_new {
            let detail = format!("{id} is {} at {}", row.state.status.name(), row.state.seq);
            sim.trace.broken("nothing waits without a reason", detail);
        }
        if let Some(action) = answer(sim, &id, &row)
            && sim.chance.percent(ANSWERED)
        {
            note!(sim, "a person says {action:?} to {id}");
            let request = Request { action, by: "a person".to_owned(), reason: String::new() };
            store.send(&id, InboxItem::Request { request }).await?;
        }
    }
    Ok(())
}

/// What there is to say to an execution.
fn answer(sim: &Sim, id: &ExecutionId, row: &ExecutionRow) -> Option<Action> {
    for wait in &row.state.waits {
        match (&wait.reason, wait.step) {
            (WaitReason::Paused { .. }, _) => return Some(Action::Continue),
            (WaitReason::Intervention { options, .. }, Some(step)) => {
                let answer = *sim.chance.one_of(options)?;
                return Some(Action::AnswerIntervention { step, answer });
            }
            (WaitReason::UnknownOutcome { instance, .. }, Some(step)) => {
                // The truth: the person has looked.
                let task = sim.checks.task_of(id, step)?;
                let ran = sim.world.times(&task) > 0;
                return Some(Action::AnswerUnknownOutcome { step, instance: instance.clone(), ran });
            }
            _ => {}
        }
    }
    None
}
