//! An execution as it is now: its stages, their elements, their legs.

use manifold_model::wait::WaitReason;
use manifold_model::{Millis, Problem, Status, code};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};

/// Legs asked for at once: the longest page of a list (`wire.md` 1.6).
const PAGE: u32 = 1_000;
/// Legs that are told one by one while an execution runs; more are counted only.
const LIVE: u32 = 200;
/// Legs that one pipeline execution shows at most.
const LEGS: u32 = 10_000;

/// What is asked of a leg.
const LEG: &str = "fragment leg on WorkflowExecution { id workflowName innerStatus createdAt startedAt endedAt stepsDone stepsTotal doing \
    rollback leg infrastructure { name } environment { name } services { name } failure { class code message hint } \
    waits { step since reason detail } }";
const EXECUTION: &str = "query($id: String!, $limit: Int!) { execution(executionId: $id) { __typename id seq innerStatus createdAt startedAt \
    endedAt notes doing application { id name } failure { class code message hint } waits { step since reason detail } \
    ... on WorkflowExecution { ...leg } \
    ... on PipelineExecution { pipelineName resumedFrom resumedBy \
      pipelineStageExecutions { pipelineStepName pipelineStageName pipelineStageElementId status \
        ... on WorkflowStageExecution { workflowExecutionId infrastructureName skipReason failure { class code message hint } } } \
      memberExecutions(limit: $limit) { pageInfo { hasMore } nodes { ...leg } } } } }";
const MEMBERS: &str = "query($id: String!, $limit: Int!, $offset: Int!) { execution(executionId: $id) { ... on PipelineExecution { \
    memberExecutions(limit: $limit, offset: $offset) { pageInfo { hasMore } nodes { ...leg } } } } }";

/// How much of an execution is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// What a screen shows while it runs.
    Live,
    /// All its legs.
    All,
}

/// An execution. `-o json` prints it just so.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Id.
    pub id: String,
    /// `PIPELINE` or `WORKFLOW`.
    pub kind: &'static str,
    /// Application.
    pub application: String,
    /// Id of the application.
    pub application_id: String,
    /// Pipeline or workflow.
    pub name: String,
    /// Inner status.
    pub status: String,
    /// When it was queued, milliseconds since 1970.
    pub created_at: Millis,
    /// When it began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Notes.
    pub notes: String,
    /// What it is doing.
    pub doing: Option<String>,
    /// Why it did not end well.
    pub failure: Option<FailureInfo>,
    /// What it waits for.
    pub waits: Vec<Wait>,
    /// The run that it resumed.
    pub resumed_from: Option<String>,
    /// The run that resumed it.
    pub resumed_by: Option<String>,
    /// Stages in order; a workflow execution has one.
    pub stages: Vec<Stage>,
    /// Sequence number of its last event.
    pub seq: u64,
}

impl Run {
    /// Whether nothing will happen any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }

    /// Whether it ended well.
    #[must_use]
    pub fn is_good(&self) -> bool {
        Status::parse(&self.status).is_some_and(Status::is_good)
    }

    /// Its legs, stage by stage.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.stages.iter().flat_map(|stage| &stage.elements).flat_map(|element| &element.legs)
    }
}

/// Whether a status is a last one.
#[must_use]
pub fn is_final(status: &str) -> bool {
    Status::parse(status).is_some_and(Status::is_final)
}

/// A stage.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Name.
    pub name: String,
    /// Elements, run in parallel.
    pub elements: Vec<Element>,
}

/// An element of a stage: one workflow on one or many infrastructures.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Element {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Status while it has no legs.
    pub status: String,
    /// Why it was not run.
    pub skip_reason: Option<String>,
    /// Why it had no legs.
    pub failure: Option<FailureInfo>,
    /// Its legs.
    pub legs: Vec<Leg>,
}

/// One workflow execution of a fan-out.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leg {
    /// Id of its workflow execution.
    pub id: String,
    /// Infrastructure, when its workflow has one.
    pub infrastructure: Option<String>,
    /// Environment.
    pub environment: Option<String>,
    /// Workflow.
    pub workflow: String,
    /// Services.
    pub services: Vec<String>,
    /// Inner status.
    pub status: String,
    /// When it began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Steps that ended.
    pub steps_done: u64,
    /// Steps in the plan.
    pub steps_total: u64,
    /// What it is doing.
    pub doing: Option<String>,
    /// What it waits for.
    pub waits: Vec<Wait>,
    /// Why it did not end well.
    pub failure: Option<FailureInfo>,
    /// How its rollback went: `ROLLED_BACK`, `NOT_ROLLED_BACK`, `ROLLBACK_FAILED`.
    pub rollback: Option<String>,
}

impl Leg {
    /// How people call it: by its infrastructure, else by its workflow.
    #[must_use]
    pub fn label(&self) -> &str {
        self.infrastructure.as_deref().unwrap_or(&self.workflow)
    }

    /// Whether nothing will happen any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }
}

/// Why something failed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureInfo {
    /// Class.
    pub class: String,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Why something is not being done right now.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wait {
    /// Step that waits.
    pub step: Option<i64>,
    /// Since when.
    pub since: Millis,
    /// For what.
    pub reason: String,
    /// All that is known of it.
    pub detail: Value,
}

impl Wait {
    /// The reason as the model has it; `None` for one that this release does not know.
    #[must_use]
    pub fn parsed(&self) -> Option<WaitReason> {
        serde_json::from_value(self.detail.clone()).ok()
    }
}

/// Asks for an execution.
///
/// # Errors
/// When there is none, or the server cannot be asked.
pub async fn fetch(client: &Client, id: &str, depth: Depth) -> Result<Run, ClientError> {
    let limit = if depth == Depth::Live { LIVE } else { PAGE };
    let query = format!("{EXECUTION} {LEG}");
    let execution = match client.graphql(&query, json!({ "id": id, "limit": limit })).await {
        Ok(mut data) => data.get_mut("execution").map(Value::take).unwrap_or_default(),
        Err(error) if error.is_not_found() => Value::Null,
        Err(error) => return Err(error),
    };
    if execution.is_null() {
        let problem = Problem::new(code!("EXECUTION_UNKNOWN"), format!("there is no execution {id:?}"))
            .hint("`manifold execution list` shows what there is");
        return Err(ClientError::refused(problem));
    }
    let answer: Answer = read(client, execution)?;
    let mut members = answer.members();
    let mut more = depth == Depth::All && answer.has_more();
    while more && (members.len() as u32) < LEGS {
        let variables = json!({ "id": id, "limit": PAGE, "offset": members.len() });
        let mut data = client.graphql(&format!("{MEMBERS} {LEG}"), variables).await?;
        let page = data.pointer_mut("/execution/memberExecutions").map(Value::take).unwrap_or_default();
        let page: Members = read(client, page)?;
        more = page.page_info.has_more && !page.nodes.is_empty();
        members.extend(page.nodes);
    }
    Ok(answer.run(members))
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(client: &Client, value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value).map_err(|error| ClientError::Misunderstood {
        url: client.url().to_owned(),
        detail: error.to_string(),
    })
}

#[derive(Deserialize, Clone, Default)]
struct Name {
    #[serde(default)]
    id: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_more: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Members {
    page_info: PageInfo,
    nodes: Vec<Member>,
}

/// A workflow execution as the API gives it.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
struct Member {
    id: String,
    workflow_name: String,
    inner_status: String,
    started_at: Option<Millis>,
    ended_at: Option<Millis>,
    steps_done: u64,
    steps_total: u64,
    doing: Option<String>,
    rollback: Option<String>,
    infrastructure: Option<Name>,
    environment: Option<Name>,
    services: Vec<Name>,
    failure: Option<FailureInfo>,
    waits: Vec<Wait>,
}

impl From<Member> for Leg {
    fn from(member: Member) -> Self {
        Self {
            id: member.id,
            infrastructure: member.infrastructure.map(|named| named.name),
            environment: member.environment.map(|named| named.name),
            workflow: member.workflow_name,
            services: member.services.into_iter().map(|named| named.name).collect(),
            status: member.inner_status,
            started_at: member.started_at,
            ended_at: member.ended_at,
            steps_done: member.steps_done,
            steps_total: member.steps_total,
            doing: member.doing,
            waits: member.waits,
            failure: member.failure,
            rollback: member.rollback,
        }
    }
}

/// A row of `pipelineStageExecutions`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StageRow {
    pipeline_step_name: String,
    pipeline_stage_name: String,
    pipeline_stage_element_id: String,
    status: String,
    workflow_execution_id: Option<String>,
    infrastructure_name: Option<String>,
    skip_reason: Option<String>,
    failure: Option<FailureInfo>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    #[serde(rename = "__typename")]
    typename: String,
    id: String,
    seq: u64,
    inner_status: String,
    created_at: Millis,
    started_at: Option<Millis>,
    ended_at: Option<Millis>,
    notes: Option<String>,
    doing: Option<String>,
    application: Option<Name>,
    failure: Option<FailureInfo>,
    waits: Vec<Wait>,
    pipeline_name: Option<String>,
    resumed_from: Option<String>,
    resumed_by: Option<String>,
    pipeline_stage_executions: Vec<StageRow>,
    member_executions: Option<Members>,
    // What only a workflow execution has.
    workflow_name: String,
    steps_done: u64,
    steps_total: u64,
    rollback: Option<String>,
    infrastructure: Option<Name>,
    environment: Option<Name>,
    services: Vec<Name>,
}

impl Answer {
    fn members(&self) -> Vec<Member> {
        self.member_executions.as_ref().map(|members| members.nodes.clone()).unwrap_or_default()
    }

    fn has_more(&self) -> bool {
        self.member_executions.as_ref().is_some_and(|members| members.page_info.has_more)
    }

    fn run(self, members: Vec<Member>) -> Run {
        let is_pipeline = self.typename == "PipelineExecution";
        let stages =
            if is_pipeline { stages(&self.pipeline_stage_executions, members) } else { vec![self.alone()] };
        let application = self.application.unwrap_or_default();
        Run {
            id: self.id,
            kind: if is_pipeline { "PIPELINE" } else { "WORKFLOW" },
            application: application.name,
            application_id: application.id,
            name: if is_pipeline { self.pipeline_name.unwrap_or_default() } else { self.workflow_name },
            status: self.inner_status,
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            notes: self.notes.unwrap_or_default(),
            doing: self.doing,
            failure: self.failure,
            waits: self.waits,
            resumed_from: self.resumed_from,
            resumed_by: self.resumed_by,
            stages,
            seq: self.seq,
        }
    }

    /// A workflow execution as the one leg of the one stage.
    fn alone(&self) -> Stage {
        let member = Member {
            id: self.id.clone(),
            workflow_name: self.workflow_name.clone(),
            inner_status: self.inner_status.clone(),
            started_at: self.started_at,
            ended_at: self.ended_at,
            steps_done: self.steps_done,
            steps_total: self.steps_total,
            doing: self.doing.clone(),
            rollback: self.rollback.clone(),
            infrastructure: self.infrastructure.clone(),
            environment: self.environment.clone(),
            services: self.services.clone(),
            failure: self.failure.clone(),
            waits: self.waits.clone(),
        };
        let element = Element {
            name: self.workflow_name.clone(),
            status: self.inner_status.clone(),
            legs: vec![member.into()],
            ..Element::default()
        };
        Stage { name: String::new(), elements: vec![element] }
    }
}

/// Rows of the same stage and element together; details of the legs where they came along.
fn stages(rows: &[StageRow], members: Vec<Member>) -> Vec<Stage> {
    let mut members: std::collections::HashMap<String, Member> =
        members.into_iter().map(|member| (member.id.clone(), member)).collect();
    let mut stages: Vec<Stage> = Vec::new();
    for row in rows {
        if stages.last().is_none_or(|stage| stage.name != row.pipeline_stage_name) {
            stages.push(Stage { name: row.pipeline_stage_name.clone(), elements: Vec::new() });
        }
        let Some(stage) = stages.last_mut() else { continue };
        if stage.elements.last().is_none_or(|element| element.id != row.pipeline_stage_element_id) {
            stage.elements.push(Element {
                id: row.pipeline_stage_element_id.clone(),
                name: row.pipeline_step_name.clone(),
                status: row.status.clone(),
                skip_reason: row.skip_reason.clone(),
                ..Element::default()
            });
        }
        let Some(element) = stage.elements.last_mut() else { continue };
        match &row.workflow_execution_id {
            Some(id) => element.legs.push(match members.remove(id) {
                Some(member) => member.into(),
                None => Leg {
                    id: id.clone(),
                    infrastructure: row.infrastructure_name.clone(),
                    workflow: row.pipeline_step_name.clone(),
                    status: row.status.clone(),
                    failure: row.failure.clone(),
                    ..Leg::default()
                },
            }),
            None => element.failure = row.failure.clone(),
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn rows_become_stages_with_legs() {
        let answer: Answer = serde_json::from_value(json!({
            "__typename": "PipelineExecution", "id": "p", "seq": 9, "innerStatus": "RUNNING", "createdAt": 1, "pipelineName": "ship",
            "application": { "id": "a", "name": "Shop" },
            "pipelineStageExecutions": [
                { "pipelineStepName": "regions", "pipelineStageName": "STAGE 1", "pipelineStageElementId": "e", "status": "RUNNING",
                  "workflowExecutionId": "1", "infrastructureName": "eu" },
                { "pipelineStepName": "regions", "pipelineStageName": "STAGE 1", "pipelineStageElementId": "e", "status": "RUNNING",
                  "workflowExecutionId": "2", "infrastructureName": "us" },
                { "pipelineStepName": "after", "pipelineStageName": "STAGE 2", "pipelineStageElementId": "f", "status": "QUEUED" } ],
            "memberExecutions": { "pageInfo": { "hasMore": false }, "nodes": [
                { "id": "1", "workflowName": "roll", "innerStatus": "WAITING", "stepsDone": 2, "stepsTotal": 5,
                  "infrastructure": { "name": "eu" }, "services": [{ "name": "cart" }],
                  "waits": [{ "since": 5, "reason": "DELAY", "detail": { "for": "DELAY", "due": 9 } }] } ] },
        }))
        .unwrap();
        let members = answer.members();
        let run = answer.run(members);
        assert_eq!(run.stages.len(), 2);
        let legs: Vec<&Leg> = run.legs().collect();
        assert_eq!((legs[0].label(), legs[0].status.as_str(), legs[0].steps_done), ("eu", "WAITING", 2));
        assert_eq!((legs[1].label(), legs[1].status.as_str()), ("us", "RUNNING"));
        assert_eq!(run.stages[1].elements[0].status, "QUEUED");
        assert_eq!(legs[0].waits[0].parsed(), Some(WaitReason::Delay { due: 9 }));
    }
}
