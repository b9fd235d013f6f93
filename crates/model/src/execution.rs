//! Executions as lists show them: one row per execution, written in the transaction of the events it sums up.

use serde::{Deserialize, Serialize};

use crate::event::{LegPlace, RollbackMark};
use crate::request::{Cause, ExecutionType};
use crate::wait::Wait;
use crate::{ElementId, EntityId, ExecutionId, Failure, Millis, PlanDigest, Status};

/// A name with its id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Named {
    /// Id.
    pub id: EntityId,
    /// Name at the time.
    pub name: String,
}

/// One execution as lists show it. The fixed part is set when it is created.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionRow {
    /// Id.
    pub id: ExecutionId,
    /// Pipeline or workflow.
    pub kind: ExecutionType,
    /// Application.
    pub application: Named,
    /// Pipeline or workflow entity.
    pub entity: Named,
    /// Plan.
    pub plan: PlanDigest,
    /// Parent pipeline execution, for legs.
    pub parent: Option<ExecutionId>,
    /// Element, for legs.
    pub element: Option<ElementId>,
    /// Place in the plan, for workflow executions.
    pub place: Option<LegPlace>,
    /// Environment, for workflow executions.
    pub environment: Option<Named>,
    /// Infrastructure, for workflow executions: exactly one in a leg (S26).
    pub infrastructure: Option<Named>,
    /// Services.
    pub services: Vec<Named>,
    /// Who or what caused it.
    pub cause: Cause,
    /// Notes.
    pub notes: String,
    /// For a resumed pipeline: the run it resumes.
    pub resumed_from: Option<ExecutionId>,
    /// The run that resumed this one; lists show only the newest of a chain.
    pub resumed_by: Option<ExecutionId>,
    /// When it was queued.
    pub created_at: Millis,
    /// The part that changes.
    #[serde(flatten)]
    pub state: RowState,
}

/// The part of a row that changes with events.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct RowState {
    /// Inner status.
    pub status: Status,
    /// When it began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// What it waits for; empty when it does not wait.
    pub waits: Vec<Wait>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How its rollback went.
    pub rollback: Option<RollbackMark>,
    /// Steps ended.
    pub steps_done: u32,
    /// Steps in the plan, rollback not counted.
    pub steps_total: u32,
    /// What it is doing: name of the current step or stage.
    pub doing: Option<String>,
    /// Sequence number of the last event.
    pub seq: u64,
}
