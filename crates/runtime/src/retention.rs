//! Forgets what is older than anybody wants to keep: executions that ended, with their journals and logs, and before that their logs alone.
//! Deployment history, the newest success on each target and the catalog stay (`design.md` 4.10). All servers may do it at once.

use std::sync::Arc;
use std::time::Duration;

use manifold_model::Millis;
use manifold_store::{Comparison, Condition, ExecutionFilter, Order, TimeColumn};

use crate::Shared;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(600);
/// Executions of one transaction: their journals go with it, and nobody is to wait for that longer than 100 ms.
const BATCH: u32 = 50;
/// Pause between two transactions, so that deployments come first.
const BREATH: Duration = Duration::from_millis(200);
/// Executions of one page whose logs are removed.
const PAGE: u32 = 500;

/// How long things are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Executions that ended.
    pub executions: Duration,
    /// Their logs.
    pub logs: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Retention {
    fn default() -> Self {
        Self { executions: DAY * 180, logs: DAY * 90 }
    }
}

/// Forgets until the shutdown.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        if let Err(error) = forget(&shared).await {
            shared.meters.failed(&error);
            tracing::error!(error = &error as &dyn std::error::Error, "cannot forget what is old");
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn forget(shared: &Shared) -> manifold_store::Result<()> {
    let now = shared.store.now().await?;
    remove_logs(shared, before(now, shared.config.retention.logs)).await?;
    let mut forgotten = 0;
    loop {
        let gone =
            shared.store.prune_executions(before(now, shared.config.retention.executions), BATCH).await?;
        if gone.is_empty() {
            break;
        }
        forgotten += gone.len();
        for execution in &gone {
            remove(shared, execution).await;
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            () = tokio::time::sleep(BREATH) => {}
        }
    }
    if forgotten > 0 {
        tracing::info!(executions = forgotten, "old executions are forgotten");
    }
    Ok(())
}

/// Removes the logs of executions that ended before a time. What has been done is remembered by this node, whose logs they are.
async fn remove_logs(shared: &Shared, until: Millis) -> manifold_store::Result<()> {
    let name = format!("retention/logs/{}", shared.config.node);
    let done = shared.store.setting(&name).await?;
    let done: Millis = done.and_then(|text| text.parse().ok()).unwrap_or(0);
    if until <= done {
        return Ok(());
    }
    let filter = ExecutionFilter {
        conditions: vec![
            Condition::Time(TimeColumn::Ended, Comparison::After, done - 1),
            Condition::Time(TimeColumn::Ended, Comparison::Before, until),
        ],
        include_indirect: true,
        include_superseded: true,
    };
    let mut offset = 0;
    loop {
        let page = shared.store.executions(&filter, Order::Newest, offset, PAGE).await?;
        for row in &page.items {
            remove(shared, &row.id).await;
        }
        offset += page.items.len() as u64;
        if page.items.is_empty() || offset >= page.total {
            break;
        }
        if shared.shutdown.is_cancelled() {
            return Ok(());
        }
    }
    shared.store.put_setting(&name, &until.to_string(), false).await?;
    Ok(())
}

/// A log that cannot be removed is no reason to keep the others.
async fn remove(shared: &Shared, execution: &manifold_model::ExecutionId) {
    if let Err(error) = shared.logs.remove(execution).await {
        tracing::warn!(%execution, error = &error as &dyn std::error::Error, "cannot remove a log");
    }
}

fn before(now: Millis, kept: Duration) -> Millis {
    now.saturating_sub(Millis::try_from(kept.as_millis()).unwrap_or(Millis::MAX)).max(0)
}
