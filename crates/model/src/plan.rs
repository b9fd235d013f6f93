//! The frozen plan: everything an execution needs, resolved against one catalog revision. Serialised once, stored under its digest, never
//! changed. Tables are shared by index so that 10,000 legs cost 10,000 small rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::artifact::Artifact;
use crate::entity::{
    ConfigFile, EnvironmentType, FailureStrategy, ServiceCommand, SkipStrategy, Variable, VariableOverride,
    WorkflowType,
};
use crate::kind::{Class, KindName, Player};
use crate::request::VariableInput;
use crate::{ElementId, EntityId, Problem};

/// Number of a step inside its workflow plan, rollback steps included; unique in the workflow.
pub type StepKey = u32;

/// Newest plan format that this build writes.
pub const PLAN_VERSION: u32 = 1;

/// A frozen plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`PLAN_VERSION`] of the writer.
    pub version: u32,
    /// Account id.
    pub account: String,
    /// `${account.defaults.X}`.
    pub account_defaults: BTreeMap<String, String>,
    /// Revision everything was resolved against.
    pub catalog_revision: u64,
    /// Application.
    pub application: ApplicationPlan,
    /// What was started.
    pub subject: Subject,
    /// Inputs as given.
    pub inputs: Vec<VariableInput>,
    /// Stages in order; a workflow alone is one stage with one element with one leg.
    pub stages: Vec<StagePlan>,
    /// Workflows used.
    pub workflows: Vec<WorkflowPlan>,
    /// Services used.
    pub services: Vec<ServicePlan>,
    /// Environments used.
    pub environments: Vec<EnvironmentPlan>,
    /// Infrastructure definitions used.
    pub infrastructures: Vec<InfrastructurePlan>,
    /// What the starter should know, without refusing.
    pub warnings: Vec<Problem>,
    /// `specificHosts`, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specific_hosts: Option<Vec<String>>,
}

/// The application as of the plan.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ApplicationPlan {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Defaults.
    pub defaults: BTreeMap<String, String>,
}

/// What was started.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Subject {
    /// A pipeline.
    Pipeline {
        /// Id.
        id: EntityId,
        /// Name.
        name: String,
        /// Description.
        description: String,
    },
    /// A workflow alone.
    Workflow {
        /// Id.
        id: EntityId,
        /// Name.
        name: String,
    },
}

/// One stage: elements that run in parallel.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StagePlan {
    /// `STAGE n` or the given name.
    pub name: String,
    /// Elements.
    pub elements: Vec<ElementPlan>,
}

/// One element of a stage.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ElementPlan {
    /// Id, the same in every execution of the pipeline: derived from pipeline id, element name and position.
    pub id: ElementId,
    /// Step name.
    pub name: String,
    /// When it is skipped.
    pub skip: crate::entity::StageSkip,
    /// The legs it starts; `None` for a stage set to Skip always, whose workflow is not planned.
    pub fleet: Option<FleetPlan>,
}

/// All legs of one element.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct FleetPlan {
    /// Index into [`Plan::workflows`].
    pub workflow: u32,
    /// Index into [`Plan::environments`]; Build workflows have none.
    pub environment: Option<u32>,
    /// The variable that differs per leg (D12), when the stage's value is an expression that may hold several.
    pub fan_out: Option<String>,
    /// Workflow variables common to all legs: text, or NAMES of entities (D13); secrets never.
    pub variables: BTreeMap<String, String>,
    /// Per phase of the workflow: service and infrastructure.
    pub phases: Vec<PhaseBinding>,
    /// Legs in the order asked for.
    pub legs: Vec<LegPlan>,
    /// How the fleet is rolled out.
    #[serde(default)]
    pub policy: FleetPolicy,
}

/// What a phase deploys, and where.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PhaseBinding {
    /// Index into [`Plan::services`].
    pub service: Option<u32>,
    /// Infrastructure.
    pub infrastructure: PhaseInfrastructure,
}

/// Where a phase runs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PhaseInfrastructure {
    /// None (Build).
    None,
    /// The leg's.
    Leg,
    /// This index into [`Plan::infrastructures`].
    Fixed(u32),
}

/// One leg.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LegPlan {
    /// Index into [`Plan::infrastructures`] of the leg's infrastructure (the fan-out value, or the first phase's).
    pub infrastructure: Option<u32>,
}

/// Rollout of a fleet (`design.md` 8). The default is FirstGen's: everything at once, no leg stops another.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct FleetPolicy {
    /// Legs that may run at once; `None`: all.
    pub max_parallel: Option<u32>,
}

/// A workflow, its template settings resolved away.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowPlan {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Type.
    pub kind: WorkflowType,
    /// Whether each leg takes the infrastructure lock.
    pub locks: bool,
    /// Pre-deployment steps.
    pub pre_deployment: Option<SectionPlan>,
    /// Phases.
    pub phases: Vec<PhasePlan>,
    /// Post-deployment steps.
    pub post_deployment: Option<SectionPlan>,
    /// Workflow-level failure strategies in order.
    pub strategies: Vec<FailureStrategy>,
}

/// A phase with its rollback.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PhasePlan {
    /// Name.
    pub name: String,
    /// Name of the rollback phase.
    pub rollback_name: Option<String>,
    /// Deployment type.
    pub deployment_type: Option<String>,
    /// Service Variable Overrides of the phase.
    pub overrides: Vec<Variable>,
    /// Sections.
    pub sections: Vec<SectionPlan>,
    /// Sections of its rollback phase, empty when it has none.
    pub rollback: Vec<SectionPlan>,
}

/// A phase step.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SectionPlan {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: String,
    /// Steps at once instead of one after another.
    pub parallel: bool,
    /// Steps.
    pub steps: Vec<StepPlan>,
    /// Skip conditions.
    pub skips: Vec<SkipStrategy>,
    /// Section-level failure strategies in order.
    pub strategies: Vec<FailureStrategy>,
    /// In a rollback phase: name of the section that it undoes (`phaseStepNameForRollback`).
    pub rolls_back: Option<String>,
    /// Seconds to wait before it begins.
    pub wait_seconds: u64,
}

/// A step, its kind resolved.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StepPlan {
    /// Unique in the workflow.
    pub key: StepKey,
    /// Name.
    pub name: String,
    /// Step type, as in YAML.
    pub kind: KindName,
    /// Kind of its tasks: the step type, or what it resolves to (`SHELL_SCRIPT` on a host: `SHELL_SCRIPT_ON_HOST`).
    pub task_kind: KindName,
    /// Frozen class.
    pub class: Class,
    /// Who plays it.
    pub player: Player,
    /// Properties with expressions.
    pub properties: Map<String, Value>,
    /// Deadline of one attempt, milliseconds.
    pub timeout_ms: u64,
    /// Whether END_EXECUTION counts it as having deployed something (D18).
    pub deploys: bool,
    /// Whether it needs the service's artifact.
    pub needs_artifact: bool,
    /// What a delegate must have for it beside the kind (`helm`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// A service as of the plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ServicePlan {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Deployment type.
    pub deployment_type: String,
    /// Artifact type.
    pub artifact_type: String,
    /// Config variables.
    pub variables: Vec<Variable>,
    /// Commands.
    pub commands: Vec<ServiceCommand>,
    /// Config files.
    pub config_files: Vec<ConfigFile>,
    /// The artifact to deploy, when one is needed.
    pub artifact: Option<Artifact>,
    /// Where artifacts of each source come from, by source name (rollback may need another source than `artifact`).
    pub sources: Vec<SourcePlan>,
    /// Manifests, when a step acts with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<ManifestsPlan>,
}

/// The manifests of a service as of the plan. Their content stays in the catalog, pinned by the plan's revision.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct ManifestsPlan {
    /// Manifest files, sorted by path.
    pub files: Vec<FilePlan>,
    /// The service's own values files, low precedence first.
    pub values: Vec<FilePlan>,
    /// `skipVersioningForAllK8sObjects`.
    pub skip_versioning: bool,
    /// Whether a file that is deployed is a Go template (`{{`).
    pub templated: bool,
}

/// A text file whose `${…}` spans have been found.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct FilePlan {
    /// Path of the file document in the catalog.
    pub document: String,
    /// Path as people name it: below `Manifests/Files`, or as `document`.
    pub path: String,
    /// Its outermost `${…}` spans as written, each once.
    pub spans: Vec<String>,
}

/// A values file of an environment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ValuesPlan {
    /// The service that it is for; all services when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The file.
    pub file: FilePlan,
}

/// An artifact source with its server.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SourcePlan {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// Type.
    pub kind: String,
    /// Keys of the source.
    pub properties: Map<String, Value>,
    /// Type of the artifact server.
    pub server_kind: Option<String>,
    /// Keys of the artifact server; secrets as references.
    pub server: Map<String, Value>,
}

/// An environment as of the plan.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentPlan {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Type.
    pub environment_type: EnvironmentType,
    /// Overrides.
    pub overrides: Vec<VariableOverride>,
    /// Config file overrides.
    pub config_files: Vec<ConfigFile>,
    /// Values files for manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValuesPlan>,
}

/// An infrastructure definition as of the plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct InfrastructurePlan {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// Cloud provider type.
    pub cloud_provider_type: String,
    /// Deployment type.
    pub deployment_type: String,
    /// Type of the infrastructure item.
    pub item_type: String,
    /// Keys of the item, expressions not resolved.
    pub properties: Map<String, Value>,
    /// Cloud provider name.
    pub cloud_provider: Option<String>,
    /// Keys of the cloud provider.
    pub cloud_provider_properties: Map<String, Value>,
}

impl Plan {
    /// The element at a place, if the place exists.
    #[must_use]
    pub fn element(&self, stage: u32, element: u32) -> Option<&ElementPlan> {
        self.stages.get(stage as usize)?.elements.get(element as usize)
    }

    /// Number of legs of all stages.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.stages
            .iter()
            .flat_map(|stage| &stage.elements)
            .filter_map(|element| element.fleet.as_ref())
            .map(|fleet| fleet.legs.len())
            .sum()
    }
}
