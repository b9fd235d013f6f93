//! What `startExecution` takes (`wire.md` 3.1).

use async_graphql::{Enum, InputObject};
use manifold_control::model::request::{
    ArtifactInput, ExecutionType as Kind, ServiceInput as Service, StartRequest, ValueKind,
    VariableInput as Variable,
};
use manifold_control::model::{EntityId, Problem, code};

/// Workflow or pipeline.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ExecutionType {
    Pipeline,
    Workflow,
}

impl From<ExecutionType> for Kind {
    fn from(kind: ExecutionType) -> Self {
        match kind {
            ExecutionType::Pipeline => Self::Pipeline,
            ExecutionType::Workflow => Self::Workflow,
        }
    }
}

/// How a value is to be read.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum VariableValueType {
    /// Ids of entities, comma-separated where several are allowed.
    Id,
    /// Names of entities, or text.
    Name,
    /// An expression, decided at run time.
    Expression,
}

/// A value.
#[derive(InputObject, Clone, Debug)]
pub struct VariableValue {
    /// How it is to be read.
    #[graphql(name = "type")]
    pub kind: VariableValueType,
    /// It.
    pub value: String,
}

/// A variable with its value.
#[derive(InputObject, Clone, Debug)]
pub struct VariableInput {
    /// Name.
    pub name: String,
    /// Value.
    pub variable_value: VariableValue,
}

impl From<VariableInput> for Variable {
    fn from(input: VariableInput) -> Self {
        let kind = match input.variable_value.kind {
            VariableValueType::Id => ValueKind::Id,
            VariableValueType::Name => ValueKind::Name,
            VariableValueType::Expression => ValueKind::Expression,
        };
        Self { name: input.name, kind, value: input.variable_value.value }
    }
}

/// Variables as the use cases take them.
#[must_use]
pub fn variables(inputs: Option<Vec<Option<VariableInput>>>) -> Vec<Variable> {
    inputs.into_iter().flatten().flatten().map(Variable::from).collect()
}

/// How an artifact is named.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ArtifactInputType {
    ArtifactId,
    BuildNumber,
    ParameterizedArtifactSource,
}

/// By id.
#[derive(InputObject, Clone, Debug)]
pub struct ArtifactIdInput {
    /// Id.
    pub artifact_id: String,
}

/// By build number.
#[derive(InputObject, Clone, Debug)]
pub struct BuildNumberInput {
    /// Source; may be left out when the service has one.
    pub artifact_source_name: Option<String>,
    /// Build number.
    pub build_number: String,
}

/// A parameter of a parameterised source.
#[derive(InputObject, Clone, Debug)]
pub struct ParameterValueInput {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// By build number of a parameterised source.
#[derive(InputObject, Clone, Debug)]
pub struct ParameterizedArtifactSourceInput {
    /// Source.
    pub artifact_source_name: String,
    /// Build number.
    pub build_number: String,
    /// Parameters.
    pub parameter_value_inputs: Option<Vec<Option<ParameterValueInput>>>,
}

/// Which artifact.
#[derive(InputObject, Clone, Debug)]
pub struct ArtifactValueInput {
    /// How it is named.
    pub value_type: ArtifactInputType,
    /// By id.
    pub artifact_id: Option<ArtifactIdInput>,
    /// By build number.
    pub build_number: Option<BuildNumberInput>,
    /// By build number of a parameterised source.
    pub parameterized_artifact_source: Option<ParameterizedArtifactSourceInput>,
}

/// How a manifest is named.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ManifestInputType {
    HelmChartId,
    VersionNumber,
}

/// By version.
#[derive(InputObject, Clone, Debug)]
pub struct VersionNumberInput {
    /// Manifest.
    pub app_manifest_name: Option<String>,
    /// Version.
    pub version_number: String,
}

/// Which manifest.
#[derive(InputObject, Clone, Debug)]
pub struct ManifestValueInput {
    /// How it is named.
    pub value_type: ManifestInputType,
    /// By id.
    pub helm_chart_id: Option<String>,
    /// By version.
    pub version_number: Option<VersionNumberInput>,
}

/// What a service gets.
#[derive(InputObject, Clone, Debug)]
pub struct ServiceInput {
    /// Service.
    pub name: String,
    /// Artifact.
    pub artifact_value_input: Option<ArtifactValueInput>,
    /// Manifest.
    pub manifest_value_input: Option<ManifestValueInput>,
}

impl ServiceInput {
    fn read(self) -> Result<Option<Service>, Problem> {
        let missing = |part: &str| {
            Problem::new(code!("INPUT_MISSING"), format!("{part} is missing for service {:?}", self.name))
                .item(part)
        };
        if self.manifest_value_input.is_some() {
            return Err(Problem::new(
                code!("INPUT_UNSUPPORTED"),
                format!("manifest versions cannot be chosen yet, service {:?} names one", self.name),
            ));
        }
        let Some(value) = self.artifact_value_input else { return Ok(None) };
        let artifact = match value.value_type {
            ArtifactInputType::ArtifactId => {
                let id = value.artifact_id.ok_or_else(|| missing("artifactId"))?;
                ArtifactInput::Id { artifact: id.artifact_id }
            }
            ArtifactInputType::BuildNumber => {
                let build = value.build_number.ok_or_else(|| missing("buildNumber"))?;
                ArtifactInput::BuildNumber {
                    source_name: build.artifact_source_name.filter(|name| !name.trim().is_empty()),
                    build_no: build.build_number,
                }
            }
            ArtifactInputType::ParameterizedArtifactSource => {
                return Err(Problem::new(
                    code!("INPUT_UNSUPPORTED"),
                    format!(
                        "parameterised artifact sources cannot be used yet, service {:?} names one",
                        self.name
                    ),
                ));
            }
        };
        Ok(Some(Service { service: self.name, artifact }))
    }
}

/// What is to be started, and with what.
#[derive(InputObject, Clone, Debug)]
pub struct StartExecutionInput {
    /// Application.
    pub application_id: String,
    /// Workflow or pipeline.
    pub entity_id: String,
    /// Which of the two.
    pub execution_type: ExecutionType,
    /// Variables.
    pub variable_inputs: Option<Vec<Option<VariableInput>>>,
    /// Artifacts.
    pub service_inputs: Option<Vec<Option<ServiceInput>>>,
    /// Notes.
    pub notes: Option<String>,
    /// Leave out hosts that have this artifact already.
    pub exclude_hosts_with_same_artifact: Option<bool>,
    /// Only the hosts named.
    pub target_to_specific_hosts: Option<bool>,
    /// Those hosts.
    pub specific_hosts: Option<Vec<Option<String>>>,
    /// Take defaults for runtime inputs.
    pub continue_with_default_values: Option<bool>,
    /// Echoed; the same request with the same one starts only once.
    pub client_mutation_id: Option<String>,
}

impl StartExecutionInput {
    /// As the use case takes it.
    ///
    /// # Errors
    /// Everything in it that cannot be understood.
    pub fn request(self) -> Result<StartRequest, Vec<Problem>> {
        let mut services = Vec::new();
        let mut problems = Vec::new();
        for input in self.service_inputs.into_iter().flatten().flatten() {
            match input.read() {
                Ok(service) => services.extend(service),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let hosts = self.specific_hosts.into_iter().flatten().flatten().collect();
        Ok(StartRequest {
            application: EntityId::from(self.application_id),
            entity: EntityId::from(self.entity_id),
            kind: self.execution_type.into(),
            variables: variables(self.variable_inputs),
            services,
            notes: self.notes.unwrap_or_default(),
            specific_hosts: self.target_to_specific_hosts.unwrap_or(false).then_some(hosts),
            exclude_hosts_with_same_artifact: self.exclude_hosts_with_same_artifact.unwrap_or(false),
            continue_with_default_values: self.continue_with_default_values.unwrap_or(false),
        })
    }
}
