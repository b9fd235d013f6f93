//! Typed views of configuration documents (`behaviour.md` 3, 5-9, 18). A view is parsed once per (id, revision); the text stays the truth and
//! unknown keys stay in the text. References are by name, as in the text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{EntityId, FailureClass};

/// A tag on an entity.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Tag {
    /// Key.
    pub name: String,
    /// Value, maybe empty.
    pub value: String,
}

/// Whether a value is text or a reference to a secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueType {
    /// Plain text, maybe with expressions.
    Text,
    /// Reference to a secret: `<manager>:<name>` or a bare name.
    EncryptedText,
}

/// A named value of a service or an override of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Value; for [`ValueType::EncryptedText`] the secret's name without the manager prefix.
    pub value: String,
    /// Type.
    pub value_type: ValueType,
}

/// `Applications/<name>/Index.yaml` and `Defaults.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Application {
    /// Id.
    pub id: EntityId,
    /// Name, unique per account.
    pub name: String,
    /// Description, maybe empty.
    pub description: String,
    /// `${app.defaults.X}`.
    pub defaults: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// `Services/<name>/Index.yaml` with its commands, sources and files.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Service {
    /// Id.
    pub id: EntityId,
    /// Application.
    pub application: EntityId,
    /// Name, unique in the application.
    pub name: String,
    /// Description.
    pub description: String,
    /// `deploymentType`; old documents leave it out, then it follows from the artifact type as FirstGen had it (SSH; DOCKER: KUBERNETES).
    pub deployment_type: String,
    /// `artifactType`.
    pub artifact_type: String,
    /// `configVariables`.
    pub variables: Vec<Variable>,
    /// Artifact sources.
    pub sources: Vec<ArtifactSource>,
    /// Service commands.
    pub commands: Vec<ServiceCommand>,
    /// Config files.
    pub config_files: Vec<ConfigFile>,
    /// `storeType` of `Manifests/Index.yaml` (`Local`, `Remote`, `HelmChartRepo`, …); `None` without that document.
    #[serde(default)]
    pub manifest_store: Option<String>,
    /// `skipVersioningForAllK8sObjects` of `Manifests/Index.yaml`.
    #[serde(default)]
    pub manifest_skip_versioning: bool,
    /// Files below `Manifests/Files`, by path, without `values.yaml` directly there and without hidden ones.
    #[serde(default)]
    pub manifests: Vec<ManifestFile>,
    /// Catalog paths of the service's values files, low to high precedence: `Manifests/Files/values.yaml`, then `Values/values.yaml`.
    #[serde(default)]
    pub values: Vec<String>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// A file below `Services/<svc>/Manifests/Files`: text, rendered when it is deployed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ManifestFile {
    /// Catalog path of the file document.
    pub document: String,
    /// Path below `Manifests/Files`, with `/` between folders.
    pub path: String,
}

/// `Services/<svc>/Artifact Servers/<name>.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ArtifactSource {
    /// Id.
    pub id: EntityId,
    /// Name, unique in the service.
    pub name: String,
    /// `type`: DOCKER, CUSTOM, SFTP, HTTP, ….
    pub kind: String,
    /// `serverName`, if any.
    pub server_name: Option<String>,
    /// All other keys.
    pub properties: Map<String, Value>,
}

/// `Services/<svc>/Commands/<name>.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ServiceCommand {
    /// Name, as `COMMAND` steps and units call it.
    pub name: String,
    /// `type`: INSTALL, START, STOP, ENABLE, DISABLE, RESIZE, OTHER.
    pub kind: String,
    /// Units in order.
    pub units: Vec<CommandUnit>,
}

/// One unit of a service command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CommandUnit {
    /// Name.
    pub name: String,
    /// `commandUnitType`: EXEC, SCP, COPY_CONFIGS, DOWNLOAD_ARTIFACT, SETUP_ENV, PROCESS_CHECK_RUNNING, …, COMMAND.
    pub kind: String,
    /// All other keys (`command`, `workingDirectory`, `destinationDirectoryPath`, …).
    pub properties: Map<String, Value>,
}

/// Types of units that can run on a host. `COMMAND` calls another command of the service besides.
pub const RUNNABLE_UNITS: [&str; 11] = [
    "EXEC",
    "SETUP_ENV",
    "DOWNLOAD_ARTIFACT",
    "DOCKER_START",
    "DOCKER_STOP",
    "PROCESS_CHECK_RUNNING",
    "PROCESS_CHECK_STOPPED",
    "PORT_CHECK_CLEARED",
    "PORT_CHECK_LISTENING",
    "SCP",
    "COPY_CONFIGS",
];

/// A config file or an override of one; the content is the file document beside it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ConfigFile {
    /// Id of the document.
    pub id: EntityId,
    /// `fileName`.
    pub name: String,
    /// `targetFilePath`, relative.
    pub target_path: String,
    /// `encrypted`: the content is a secret.
    pub encrypted: bool,
    /// Path of the file document with the content.
    pub content_path: String,
    /// For an override of one service: its name.
    pub service_name: Option<String>,
}

/// Production or not.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EnvironmentType {
    /// Production.
    Prod,
    /// Non-production.
    NonProd,
}

impl EnvironmentType {
    /// `PROD` or `NON_PROD`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prod => "PROD",
            Self::NonProd => "NON_PROD",
        }
    }
}

/// `Environments/<name>/Index.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Environment {
    /// Id.
    pub id: EntityId,
    /// Application.
    pub application: EntityId,
    /// Name, unique in the application.
    pub name: String,
    /// Description.
    pub description: String,
    /// Type.
    pub environment_type: EnvironmentType,
    /// `variableOverrides`.
    pub overrides: Vec<VariableOverride>,
    /// Config file overrides.
    pub config_files: Vec<ConfigFile>,
    /// Values files, low to high precedence: the one for all services, then those for one service each, by its name.
    #[serde(default)]
    pub values: Vec<ValuesOverride>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// `Environments/<env>/Values/values.yaml`, or `Environments/<env>/Values/Services/<svc>/values.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ValuesOverride {
    /// The service; `None` means all.
    pub service_name: Option<String>,
    /// Catalog path of the file document.
    pub document: String,
}

/// An override of a service variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct VariableOverride {
    /// Variable.
    pub variable: Variable,
    /// The service; `None` means all.
    pub service_name: Option<String>,
}

/// `Environments/<env>/Infrastructure Definitions/<name>.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct InfrastructureDefinition {
    /// Id.
    pub id: EntityId,
    /// Application.
    pub application: EntityId,
    /// Environment.
    pub environment: EntityId,
    /// Name, unique in the environment.
    pub name: String,
    /// `cloudProviderType`.
    pub cloud_provider_type: String,
    /// `deploymentType`.
    pub deployment_type: String,
    /// `scopedServices`: names; empty means every service of the deployment type.
    pub scoped_services: Vec<String>,
    /// Type of the one infrastructure item, e.g. `PHYSICAL_DATA_CENTER_SSH`.
    pub item_type: String,
    /// `cloudProviderName` of the item.
    pub cloud_provider_name: Option<String>,
    /// All other keys of the item, expressions not resolved.
    pub properties: Map<String, Value>,
    /// `provisioner`, if mapped to one.
    pub provisioner: Option<String>,
}

/// An account-level connector: a cloud provider or an artifact server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Connector {
    /// Id.
    pub id: EntityId,
    /// Name.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// All keys; references to secrets as in the text.
    pub properties: Map<String, Value>,
}

/// Workflow types (`behaviour.md` 6.1).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkflowType {
    /// One phase, any platform.
    Basic,
    /// Several phases on one service.
    Canary,
    /// One phase.
    Rolling,
    /// One phase.
    BlueGreen,
    /// Several phases, several services.
    MultiService,
    /// No environment, service or rollback.
    Build,
    /// Free form.
    Custom,
}

impl WorkflowType {
    /// As in YAML and in the API's `OrchestrationWorkflowType`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "BASIC",
            Self::Canary => "CANARY",
            Self::Rolling => "ROLLING",
            Self::BlueGreen => "BLUE_GREEN",
            Self::MultiService => "MULTI_SERVICE",
            Self::Build => "BUILD",
            Self::Custom => "CUSTOM",
        }
    }
}

/// `Workflows/<name>.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Workflow {
    /// Id.
    pub id: EntityId,
    /// Application.
    pub application: EntityId,
    /// Name, unique in the application.
    pub name: String,
    /// Description.
    pub description: String,
    /// Type.
    pub kind: WorkflowType,
    /// `envName`.
    pub environment_name: Option<String>,
    /// `concurrencyStrategy: INFRA`.
    pub locks_infrastructure: bool,
    /// Templated settings of the workflow as a whole.
    pub template_expressions: Vec<TemplateExpression>,
    /// `templatized`.
    pub templatized: bool,
    /// `userVariables`.
    pub variables: Vec<WorkflowVariable>,
    /// Pre-deployment steps, as one section.
    pub pre_deployment: Option<Section>,
    /// Phases in order.
    pub phases: Vec<Phase>,
    /// Post-deployment steps, as one section.
    pub post_deployment: Option<Section>,
    /// Rollback phases as written.
    pub rollback_phases: Vec<Phase>,
    /// Workflow-level strategies, in order.
    pub failure_strategies: Vec<FailureStrategy>,
    /// `notificationRules`, as written.
    pub notification_rules: Vec<Value>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// A setting replaced by an expression (`behaviour.md` 6.3).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TemplateExpression {
    /// `serviceId`, `infraDefinitionId`, `envId`, ….
    pub field_name: String,
    /// The expression, `${name}`.
    pub expression: String,
    /// `metadata` name → value (`entityType`, `relatedField`, `artifactType`).
    pub metadata: BTreeMap<String, String>,
}

/// Types of workflow variables.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VariableType {
    /// An entity: service, environment, infrastructure definition, ….
    Entity,
    /// Text.
    Text,
    /// An e-mail address.
    Email,
    /// A number.
    Number,
}

/// A workflow variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct WorkflowVariable {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: VariableType,
    /// Description.
    pub description: String,
    /// Required.
    pub mandatory: bool,
    /// May not be changed at deploy.
    pub fixed: bool,
    /// Default value.
    pub value: Option<String>,
    /// `allowedValues`, split at commas; empty means any.
    pub allowed_values: Vec<String>,
}

/// A phase or rollback phase.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Phase {
    /// Name.
    pub name: String,
    /// `type`; Build phases have none.
    pub deployment_type: Option<String>,
    /// `serviceName`.
    pub service_name: Option<String>,
    /// `infraDefinitionName`, or `infraMappingName` of old trees.
    pub infrastructure_name: Option<String>,
    /// Sections in order.
    pub sections: Vec<Section>,
    /// Templated settings of the phase.
    pub template_expressions: Vec<TemplateExpression>,
    /// `phaseNameForRollback` of a rollback phase.
    pub rolls_back: Option<String>,
    /// `variableOverrides` (Service Variable Overrides of the phase).
    pub overrides: Vec<Variable>,
}

/// A phase step.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Section {
    /// `type`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// `stepsInParallel`.
    pub parallel: bool,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// `stepSkipStrategies`.
    pub skips: Vec<SkipStrategy>,
    /// Section-level failure strategies, in order.
    pub failure_strategies: Vec<FailureStrategy>,
    /// `phaseStepNameForRollback`.
    pub rolls_back: Option<String>,
    /// `waitInterval`, seconds before the section begins.
    pub wait_seconds: u64,
}

/// A step.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Step {
    /// Name.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// `properties`.
    pub properties: Map<String, Value>,
    /// Line of the step in its document, from 1; 0 when unknown.
    pub line: u32,
}

/// Skip condition of steps (`behaviour.md` 6.5).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SkipStrategy {
    /// Names of the steps; empty means all of the section.
    pub steps: Vec<String>,
    /// TRUE skips.
    pub assertion: String,
}

/// Actions of failure strategies (`behaviour.md` 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RepairAction {
    /// Ask somebody.
    ManualIntervention,
    /// Roll everything back.
    RollbackWorkflow,
    /// Roll the failing phase back.
    RollbackPhase,
    /// Provisioners after phases.
    RollbackProvisionerAfterPhases,
    /// Count as passed.
    Ignore,
    /// Repeat the step.
    Retry,
    /// FAILED, with rollback of what deployed something.
    EndExecution,
    /// ABORTED, nothing rolled back.
    AbortWorkflowExecution,
    /// Only as an answer or action after timeout: count as succeeded.
    MarkAsSuccess,
}

impl RepairAction {
    /// As in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ManualIntervention => "MANUAL_INTERVENTION",
            Self::RollbackWorkflow => "ROLLBACK_WORKFLOW",
            Self::RollbackPhase => "ROLLBACK_PHASE",
            Self::RollbackProvisionerAfterPhases => "ROLLBACK_PROVISIONER_AFTER_PHASES",
            Self::Ignore => "IGNORE",
            Self::Retry => "RETRY",
            Self::EndExecution => "END_EXECUTION",
            Self::AbortWorkflowExecution => "ABORT_WORKFLOW_EXECUTION",
            Self::MarkAsSuccess => "MARK_AS_SUCCESS",
        }
    }
}

/// A failure strategy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct FailureStrategy {
    /// Failure types it applies to; empty means all.
    pub failure_types: Vec<FailureClass>,
    /// Action.
    pub action: RepairAction,
    /// Workflow level: whether the scope is `WORKFLOW_PHASE`.
    pub phase_scope: bool,
    /// Section level: steps it applies to; empty means all.
    pub specific_steps: Vec<String>,
    /// Retries.
    pub retry_count: u32,
    /// Seconds before each retry; the last repeats.
    pub retry_intervals: Vec<u64>,
    /// After the last retry.
    pub action_after_retry: Option<RepairAction>,
    /// Manual intervention: milliseconds until `action_after_timeout`.
    pub intervention_timeout_ms: Option<u64>,
    /// Manual intervention: what then.
    pub action_after_timeout: Option<RepairAction>,
}

/// `Pipelines/<name>.yaml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Pipeline {
    /// Id.
    pub id: EntityId,
    /// Application.
    pub application: EntityId,
    /// Name, unique in the application.
    pub name: String,
    /// Description.
    pub description: String,
    /// Elements in order; `parallel` puts an element into the stage of the one before.
    pub elements: Vec<PipelineElement>,
    /// `rollbackPreviousStages`.
    pub rollback_previous_stages: bool,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// One element of a pipeline.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PipelineElement {
    /// `ENV_STATE` or `APPROVAL`.
    pub kind: String,
    /// Step name.
    pub name: String,
    /// In the stage of the element before.
    pub parallel: bool,
    /// `stageName`; stages without one are numbered `STAGE n`.
    pub stage_name: Option<String>,
    /// `workflowName`.
    pub workflow_name: Option<String>,
    /// `workflowVariables`: name → value as written.
    pub variables: Vec<StageVariable>,
    /// When it is skipped.
    pub skip: StageSkip,
    /// `runtimeInputs.runtimeInputVariables`.
    pub runtime_inputs: Vec<String>,
    /// `properties` and `runtimeInputs`, as written.
    pub properties: Map<String, Value>,
    /// Line of the element in its document, from 1; 0 when unknown.
    pub line: u32,
}

/// A value that a stage gives to a workflow variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct StageVariable {
    /// Name of the workflow variable.
    pub name: String,
    /// `entityType`: SERVICE, ENVIRONMENT, INFRASTRUCTURE_DEFINITION, …; `None` for text.
    pub entity_type: Option<String>,
    /// Value or expression.
    pub value: String,
}

/// Skip condition of a stage element (`behaviour.md` 9.6).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StageSkip {
    /// Never.
    Never,
    /// Always.
    Always,
    /// When the expression is true.
    When(String),
}
