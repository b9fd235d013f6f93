//! Tasks that wait in the store and that no connected delegate may take: why they wait is said, and at the end of `delegate_wait` they fail, or a
//! person is asked when somebody may have begun them (`behaviour.md` 19).

use manifold_model::kind::Class;
use manifold_model::task::{Outcome, TaskResult};
use manifold_model::{ExecutionId, Failure, FailureClass, Millis, code};
use manifold_store::{InboxItem, TaskRow};

use crate::advance::Untaken;
use crate::worker::Message;
use crate::{Shared, scope};

/// How long a task waits before somebody asks why, milliseconds: whoever issued it has said so already in most cases.
const UNEXPLAINED_MS: Millis = 2_000;
/// Waiting tasks that one sweep looks at. The oldest come first, and those that somebody may take do not stay.
const LOOKED_AT: u32 = 100;
/// Tasks whose wait is over that one sweep ends.
const ENDED_AT_ONCE: u32 = 1_000;
/// Tasks said to be untaken of which one sweep looks whether they are still.
const LOOKED_AT_AGAIN: usize = 50;

/// Looks at tasks that wait.
///
/// # Errors
/// The store cannot be read or written.
pub async fn sweep(shared: &Shared) -> manifold_store::Result<()> {
    for (task, execution) in shared.delegates.some_untaken(LOOKED_AT_AGAIN) {
        // The dispatcher of another server may have handed it over.
        let waits = shared.store.task(&task).await?.is_some_and(|row| row.lease.is_none());
        if !waits && shared.delegates.was_untaken(&task) {
            shared.workers.send(&execution, Message::Taken(execution.clone(), task));
        }
    }
    let wait = shared.delegate_wait_ms();
    for row in shared.store.waiting_tasks(shared.now().saturating_sub(wait), ENDED_AT_ONCE).await? {
        look(shared, row).await?;
    }
    let before = shared.now().saturating_sub(UNEXPLAINED_MS.min(wait));
    for row in shared.store.waiting_tasks(before, LOOKED_AT).await? {
        look(shared, row).await?;
    }
    Ok(())
}

/// Ends the wait of a task, or says why it lasts.
async fn look(shared: &Shared, row: TaskRow) -> manifold_store::Result<()> {
    let Some(execution) = row.execution.clone().filter(|id| shared.membership.owns(id)) else {
        return Ok(());
    };
    let Some(detail) = why_it_waits(shared, &row, &execution).await else { return Ok(()) };
    let until = deadline(shared, &row);
    if until <= shared.now() {
        return end(shared, row, execution).await;
    }
    explain(shared, row, execution, detail, until);
    Ok(())
}

/// When the wait of a task ends: what is kept for a delegate waits for it in any case.
fn deadline(shared: &Shared, row: &TaskRow) -> Millis {
    row.queued_at.saturating_add(shared.delegate_wait_ms()).max(row.reserved_until.unwrap_or_default())
}

/// Why nobody may take a task now; `None` when somebody may, or that cannot be found out.
async fn why_it_waits(shared: &Shared, row: &TaskRow, execution: &ExecutionId) -> Option<String> {
    let reserved = row.reserved_until.is_some_and(|until| until > shared.now());
    if let Some(holder) = row.held_by.as_ref().filter(|_| reserved) {
        let name = shared.delegates.name_of(holder);
        return (!shared.delegates.is_connected(holder)).then(|| {
            format!("it was handed to delegate {name}, which is gone; only there can be seen whether it runs")
        });
    }
    let scope = if shared.delegates.all_open() {
        Default::default()
    } else {
        scope::find(shared, Some(execution))
            .await
            .inspect_err(|error| {
                let task = &row.task.id;
                tracing::error!(%task, error = error as &dyn std::error::Error, "cannot see where a task belongs");
            })
            .ok()?
    };
    (shared.delegates.eligible(&row.task, &scope, &[]) == 0).then(|| shared.delegates.why_nobody(&row.task))
}

/// Says in the execution's row why the task waits.
fn explain(shared: &Shared, row: TaskRow, execution: ExecutionId, detail: String, until: Millis) {
    let untaken = Untaken { task: row.task.id, selectors: row.task.selectors, detail, until };
    shared.delegates.is_untaken(&untaken.task, &execution);
    shared.workers.send(&execution, Message::Untaken(execution.clone(), untaken));
}

/// The wait is over.
async fn end(shared: &Shared, row: TaskRow, execution: ExecutionId) -> manifold_store::Result<()> {
    shared.delegates.was_untaken(&row.task.id);
    let outcome = match &row.held_by {
        Some(holder) if row.deliveries > 0 && row.task.class != Class::Idempotent => {
            let name = shared.delegates.name_of(holder);
            let seen = format!(
                "it was handed to delegate {name}, and no delegate is connected that may look whether it ran"
            );
            Outcome::of(TaskResult::Unknown { seen })
        }
        _ => Outcome::failed(no_delegate(shared, &row)),
    };
    let item = InboxItem::TaskEnded { task: row.task.id, outcome };
    shared.store.send(&execution, item).await
}

fn no_delegate(shared: &Shared, row: &TaskRow) -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("NO_ELIGIBLE_DELEGATE"),
        format!(
            "no eligible delegate took the task within {} s: kind {}, selectors [{}]",
            shared.config.delegate_wait.as_secs(),
            row.task.kind,
            row.task.selectors.join(", ")
        ),
    )
    .hint("connect a delegate that offers this kind, has all these selectors and may be used for it")
}
