//! What somebody asks for: starts, and requests to running executions.

use serde::{Deserialize, Serialize};

use crate::entity::RepairAction;
use crate::plan::StepKey;
use crate::{EntityId, ExecutionId};

/// Workflow or pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecutionType {
    /// A workflow alone (or a leg).
    Workflow,
    /// A pipeline.
    Pipeline,
}

/// How a variable's value is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueKind {
    /// Names of entities (comma-separated where several are allowed), or plain text.
    Name,
    /// Ids of entities, comma-separated where several are allowed.
    Id,
    /// An expression, decided at run time.
    Expression,
}

/// A variable given at start.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct VariableInput {
    /// Name of the pipeline or workflow input.
    pub name: String,
    /// How to read it.
    pub kind: ValueKind,
    /// Value.
    pub value: String,
}

/// Which artifact a service gets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInput {
    /// Service name (an id is accepted too).
    pub service: String,
    /// The build.
    pub artifact: ArtifactInput,
}

/// How the build is named.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ArtifactInput {
    /// A collected artifact.
    Id {
        /// Its id.
        artifact: String,
    },
    /// A build number of a source.
    BuildNumber {
        /// Name of the source; may be left out when the service has one.
        source_name: Option<String>,
        /// Build number.
        build_no: String,
    },
}

/// Who or what caused an execution.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "by", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Cause {
    /// An API key.
    ApiKey {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A user.
    User {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// E-mail.
        email: String,
    },
    /// A pipeline execution (legs).
    Pipeline {
        /// The parent.
        execution: ExecutionId,
    },
}

impl Cause {
    /// For people: `${deploymentTriggeredBy}`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ApiKey { name, .. } | Self::User { name, .. } => name,
            Self::Pipeline { execution } => execution.as_str(),
        }
    }
}

/// A start request, as `plan` takes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StartRequest {
    /// Application.
    pub application: EntityId,
    /// Workflow or pipeline.
    pub entity: EntityId,
    /// Which of the two.
    pub kind: ExecutionType,
    /// Variables.
    pub variables: Vec<VariableInput>,
    /// Artifacts by service.
    pub services: Vec<ServiceInput>,
    /// Notes.
    pub notes: String,
    /// `targetToSpecificHosts` with `specificHosts`: only these hosts of each infrastructure.
    pub specific_hosts: Option<Vec<String>>,
    /// `excludeHostsWithSameArtifact`.
    pub exclude_hosts_with_same_artifact: bool,
    /// `continueWithDefaultValues`.
    pub continue_with_default_values: bool,
}

/// A request to a running execution.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What.
    pub action: Action,
    /// Who, for people.
    pub by: String,
    /// Why, maybe empty.
    pub reason: String,
}

/// What is asked of a running execution.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "action", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Action {
    /// Stop without rollback.
    Abort,
    /// Start nothing new.
    Pause,
    /// End a pause.
    Continue,
    /// Stop and run the rollback phases (workflow executions).
    Rollback,
    /// Answer a manual intervention.
    AnswerIntervention {
        /// The step.
        step: StepKey,
        /// The answer; RETRY, IGNORE, MARK_AS_SUCCESS, END_EXECUTION, ABORT_WORKFLOW_EXECUTION, ROLLBACK_WORKFLOW, ….
        answer: RepairAction,
    },
    /// Answer whether an unsafe task ran.
    AnswerUnknownOutcome {
        /// The step.
        step: StepKey,
        /// The host, when the task had one.
        instance: Option<String>,
        /// It ran (`true`: counts as succeeded) or it did not (`false`: run it).
        ran: bool,
    },
}
