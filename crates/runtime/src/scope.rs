//! Where a task belongs: what the scopes of delegates are compared with (`behaviour.md` 19).

use manifold_model::ExecutionId;
use manifold_model::delegate::TaskScope;
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::Plan;

use crate::Shared;

/// The scope of an execution's tasks.
pub fn of(row: &ExecutionRow, plan: &Plan) -> TaskScope {
    let environment = row.environment.as_ref().map(|named| named.id.clone());
    let planned = plan.environments.iter().find(|planned| Some(&planned.id) == environment.as_ref());
    TaskScope {
        application: Some(row.application.id.clone()),
        environment_type: planned.map(|planned| planned.environment_type.name().to_owned()),
        environment,
        services: row.services.iter().map(|named| named.id.clone()).collect(),
        infrastructure: row.infrastructure.as_ref().map(|named| named.id.clone()),
    }
}

/// The scope of the tasks of an execution that this server may not hold; nothing is known of a task without one.
///
/// # Errors
/// The store cannot be read, or the plan.
pub async fn find(shared: &Shared, execution: Option<&ExecutionId>) -> manifold_control::Result<TaskScope> {
    let Some(execution) = execution else { return Ok(TaskScope::default()) };
    let Some(row) = shared.store.execution(execution).await? else { return Ok(TaskScope::default()) };
    let plan = shared.control.plan(&row.plan).await?;
    Ok(of(&row, &plan))
}
