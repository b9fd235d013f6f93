//! Values for expressions in a workflow execution (`behaviour.md` 12.2, 12.3). Roots are built when asked for and kept for the rendering.

use std::cell::RefCell;
use std::collections::BTreeMap;

use manifold_expression::{Lookup, Scope, Value};
use manifold_model::artifact::Artifact;
use manifold_model::entity::{ValueType, Variable};
use manifold_model::event::{PublishedValue, ResolvedPhase, Scope as OutputScope};
use manifold_model::plan::{Plan, SourcePlan, StepPlan, Subject};
use manifold_model::task::OutputValue;
use manifold_model::{ExecutionId, Millis};

use crate::calendar;
use crate::kubernetes;
use crate::place::{Map, Part};
use crate::state::State;

/// Roots that only the response of an HTTP step has.
const RESPONSE: [&str; 3] = ["httpResponseCode", "httpResponseBody", "httpResponseMethod"];

/// A path on the host that service commands use: environment variable, the application default that sets it, and what it is without one.
pub(crate) struct WingsPath {
    pub variable: &'static str,
    pub default_name: &'static str,
    pub fallback: &'static str,
}

/// FirstGen's three paths.
pub(crate) const WINGS_PATHS: [WingsPath; 3] = [
    WingsPath {
        variable: "WINGS_RUNTIME_PATH",
        default_name: "RUNTIME_PATH",
        fallback: "$HOME/${app.name}/${service.name}/${env.name}/runtime",
    },
    WingsPath {
        variable: "WINGS_STAGING_PATH",
        default_name: "STAGING_PATH",
        fallback: "$HOME/${app.name}/${service.name}/${env.name}/staging/${timestampId}",
    },
    WingsPath {
        variable: "WINGS_BACKUP_PATH",
        default_name: "BACKUP_PATH",
        fallback: "$HOME/${app.name}/${service.name}/${env.name}/backup/${timestampId}",
    },
];

/// The scope of a part of a leg, of a step in it, of a host on which it runs.
pub(crate) struct LegScope<'a> {
    pub map: Map<'a>,
    pub state: &'a State,
    pub id: &'a ExecutionId,
    pub part: Part,
    pub step: Option<&'a StepPlan>,
    pub host: Option<&'a str>,
    /// The infrastructure of the part while it is being resolved.
    resolving: Option<&'a ResolvedPhase>,
    /// Roots looked up so far.
    known: RefCell<BTreeMap<String, Lookup>>,
}

/// A map of text entries.
fn texts<'t>(entries: impl IntoIterator<Item = (&'t String, &'t String)>) -> Value {
    Value::map(entries.into_iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// The value of a variable: text, or a secret by name.
fn variable(variable: &Variable) -> Value {
    match variable.value_type {
        ValueType::Text => Value::from(variable.value.as_str()),
        ValueType::EncryptedText => Value::Secret(variable.value.as_str().into()),
    }
}

/// The value of an output: text, or the secret that keeps it.
pub(crate) fn output(output: &OutputValue) -> Value {
    match &output.sealed {
        Some(sealed) => Value::Secret(sealed.as_str().into()),
        None => Value::from(output.value.as_str()),
    }
}

fn outputs(values: &BTreeMap<String, OutputValue>) -> Value {
    Value::map(values.iter().map(|(name, value)| (name.as_str(), output(value))))
}

/// What stands under a publish name.
pub(crate) fn published(value: &PublishedValue) -> Value {
    match value {
        PublishedValue::Values(values) => outputs(values),
        PublishedValue::PerInfrastructure(legs) => {
            Value::map(legs.iter().map(|(infrastructure, values)| (infrastructure.as_str(), outputs(values))))
        }
    }
}

/// `${account.*}`.
pub(crate) fn account(plan: &Plan) -> Value {
    Value::map([("defaults", texts(&plan.account_defaults))])
}

/// `${app.*}`.
pub(crate) fn application(plan: &Plan) -> Value {
    Value::map([
        ("name", Value::from(plan.application.name.as_str())),
        ("description", Value::from(plan.application.description.as_str())),
        ("accountId", Value::from(plan.account.as_str())),
        ("defaults", texts(&plan.application.defaults)),
    ])
}

/// `${pipeline.*}`; nothing outside a pipeline.
pub(crate) fn pipeline(plan: &Plan) -> Option<Value> {
    match &plan.subject {
        Subject::Pipeline { name, description, .. } => Some(Value::map([
            ("name", Value::from(name.as_str())),
            ("description", Value::from(description.as_str())),
        ])),
        Subject::Workflow { .. } => None,
    }
}

/// `${workflow.displayName}`: the name and when the execution was queued, in UTC.
pub(crate) fn display_name(name: &str, at: Millis) -> String {
    format!("{name} - {}", calendar::timestamp(at))
}

impl<'a> LegScope<'a> {
    pub(crate) fn new(
        map: Map<'a>,
        state: &'a State,
        id: &'a ExecutionId,
        part: Part,
        step: Option<&'a StepPlan>,
        host: Option<&'a str>,
    ) -> Self {
        Self { map, state, id, part, step, host, resolving: None, known: RefCell::new(BTreeMap::new()) }
    }

    /// The same, with an infrastructure that is being resolved.
    pub(crate) fn resolving(self, resolved: &'a ResolvedPhase) -> Self {
        Self { resolving: Some(resolved), known: RefCell::new(BTreeMap::new()), ..self }
    }

    /// The infrastructure of the part as resolved so far.
    pub(crate) fn resolved(&self) -> Option<&'a ResolvedPhase> {
        let phase = self.part.phase().unwrap_or_default();
        let of_state = || self.state.targets.as_ref()?.get(phase as usize)?.as_ref();
        self.resolving.or_else(of_state)
    }

    fn root(&self, root: &str) -> Lookup {
        let found = match root {
            "account" => Some(account(self.map.plan)),
            "app" => Some(application(self.map.plan)),
            "service" => self.service(),
            "serviceVariable" => Some(Value::from(self.service_variables())),
            "environmentVariable" => Some(Value::from(self.environment_variables())),
            "env" => self.environment(),
            "infra" => self.infrastructure(),
            "workflow" => self.workflow(),
            "pipeline" => pipeline(self.map.plan),
            "deploymentTriggeredBy" => self.state.start.as_ref().map(|start| Value::from(start.cause.name())),
            "deploymentUrl" => Some(Value::from(format!("/executions/{}", self.id))),
            "timestampId" => self.state.start.as_ref().map(|start| Value::from(start.at.to_string())),
            "currentStep" => self.step.map(|step| {
                Value::map([
                    ("name", Value::from(step.name.as_str())),
                    ("type", Value::from(step.kind.as_str())),
                ])
            }),
            "artifact" => self.artifact(),
            "artifacts" => self.artifacts(),
            "rollbackArtifact" => Some(self.rollback_artifact()),
            "context" => Some(Value::from(self.context())),
            "k8s" => Some(kubernetes::outputs(self)),
            "k8sResources" => Some(kubernetes::resources(self)),
            "instance" => self.host.map(instance),
            "host" => self.host.map(host_value),
            late if RESPONSE.contains(&late) && self.is_http() => return Lookup::Late,
            bare => self.bare(bare),
        };
        found.map_or(Lookup::Missing, Lookup::Found)
    }

    fn is_http(&self) -> bool {
        self.step.is_some_and(|step| step.task_kind.as_str() == "HTTP")
    }

    fn service(&self) -> Option<Value> {
        let service = self.map.service(self.part.phase())?;
        Some(Value::map([
            ("name", Value::from(service.name.as_str())),
            ("description", Value::from(service.description.as_str())),
        ]))
    }

    /// Service variables by name, low to high: service, environment for all services, environment for this service, phase.
    pub(crate) fn service_variables(&self) -> BTreeMap<String, Value> {
        let mut values = BTreeMap::new();
        let Some(service) = self.map.service(self.part.phase()) else { return values };
        let mut put = |one: &Variable| {
            values.insert(one.name.clone(), variable(one));
        };
        service.variables.iter().for_each(&mut put);
        if let Some(environment) = self.map.environment() {
            let general = environment.overrides.iter().filter(|one| one.service_name.is_none());
            general.for_each(|one| put(&one.variable));
            let own =
                environment.overrides.iter().filter(|one| one.service_name.as_ref() == Some(&service.name));
            own.for_each(|one| put(&one.variable));
        }
        if let Some(phase) = self.part.phase().and_then(|phase| self.map.phase(phase)) {
            phase.overrides.iter().for_each(put);
        }
        values
    }

    fn environment_variables(&self) -> BTreeMap<String, Value> {
        let Some(environment) = self.map.environment() else { return BTreeMap::new() };
        environment
            .overrides
            .iter()
            .filter(|one| one.service_name.is_none())
            .map(|one| (one.variable.name.clone(), variable(&one.variable)))
            .collect()
    }

    fn environment(&self) -> Option<Value> {
        let environment = self.map.environment()?;
        Some(Value::map([
            ("name", Value::from(environment.name.as_str())),
            ("description", Value::from(environment.description.as_str())),
            ("environmentType", Value::from(environment.environment_type.name())),
            ("accountId", Value::from(self.map.plan.account.as_str())),
            ("keywords", Value::from("")),
        ]))
    }

    fn infrastructure(&self) -> Option<Value> {
        let infrastructure = self.map.infrastructure(self.part.phase())?;
        let resolved = self.resolved();
        let properties = resolved.map_or(&infrastructure.properties, |resolved| &resolved.properties);
        let property = |key: &str| properties.get(key).map_or(Value::Null, Value::from_json);
        let mapping = resolved
            .and_then(|resolved| resolved.mapping.as_ref())
            .map(|mapping| calendar::uuid_of(&mapping.0));
        let short = mapping.as_ref().map(|id| id.chars().take(7).collect::<String>());
        let kubernetes =
            Value::map([("namespace", property("namespace")), ("infraId", Value::from(mapping))]);
        let helm = Value::map([("releaseName", property("releaseName")), ("shortId", Value::from(short))]);
        let provider = Value::map([("name", Value::from(infrastructure.cloud_provider.as_deref()))]);
        Some(Value::map([
            ("name", Value::from(infrastructure.name.as_str())),
            ("cloudProvider", provider),
            ("kubernetes", kubernetes),
            ("helm", helm),
            ("custom", Value::map([("vars", custom_variables(properties))])),
        ]))
    }

    fn workflow(&self) -> Option<Value> {
        let start = self.state.start.as_ref()?;
        let workflow = self.map.workflow;
        let last_good = self.map.last_good(self.state, self.part.phase());
        let parent = start.parent.as_ref().map(ExecutionId::as_str);
        Some(Value::map([
            ("displayName", Value::from(display_name(&workflow.name, start.at))),
            ("name", Value::from(workflow.name.as_str())),
            ("description", Value::from(workflow.description.as_str())),
            ("releaseNo", count(start.release_no)),
            ("lastGoodReleaseNo", last_good.map_or(Value::Null, |last| count(last.release_no))),
            (
                "lastGoodDeploymentDisplayName",
                last_good.map_or(Value::Null, |last| Value::from(last.display_name.as_str())),
            ),
            ("pipelineDeploymentUuid", Value::from(parent)),
            ("pipelineResumeUuid", Value::from(start.original.as_ref().map(ExecutionId::as_str))),
            ("startTs", Value::from(start.at)),
            ("variables", Value::from(self.variables())),
        ]))
    }

    /// Workflow variables; the fan-out variable is the name of the leg's infrastructure (D12, D13).
    fn variables(&self) -> BTreeMap<String, Value> {
        let fleet = self.map.fleet;
        let mut values: BTreeMap<String, Value> =
            fleet.variables.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        if let (Some(name), Some(infrastructure)) = (&fleet.fan_out, self.map.infrastructure(None)) {
            values.insert(name.clone(), Value::from(infrastructure.name.as_str()));
        }
        values
    }

    fn artifact(&self) -> Option<Value> {
        let artifact = self.map.artifact(self.state, self.part)?;
        Some(self.artifact_value(artifact))
    }

    fn artifact_value(&self, artifact: &Artifact) -> Value {
        let service = self.map.service(self.part.phase()).map(|service| service.id.as_str().to_owned());
        artifact_value(artifact, self.map.source(self.part.phase(), artifact), service)
    }

    /// `${artifacts.<source name>.*}`.
    fn artifacts(&self) -> Option<Value> {
        let artifact = self.map.artifact(self.state, self.part)?;
        Some(Value::map([(artifact.source_name.as_str(), self.artifact_value(artifact))]))
    }

    fn rollback_artifact(&self) -> Value {
        self.map
            .last_good(self.state, self.part.phase())
            .and_then(|last| last.artifact.as_ref())
            .map_or(Value::Null, |artifact| self.artifact_value(artifact))
    }

    /// Everything published that is visible here: by earlier stages, then by this execution in order; later ones win.
    fn context(&self) -> BTreeMap<String, Value> {
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        if let Some(start) = &self.state.start {
            values.extend(start.outputs.iter().map(|(name, value)| (name.clone(), published(value))));
        }
        for one in &self.state.published {
            let visible = one.publication.scope != OutputScope::Phase || one.phase == self.part.phase();
            if visible {
                values.insert(one.publication.name.clone(), outputs(&one.publication.values));
            }
        }
        values
    }

    fn is_published(&self, name: &str) -> bool {
        self.state.start.as_ref().is_some_and(|start| start.outputs.contains_key(name))
            || self.state.published.iter().any(|one| one.publication.name == name)
    }

    /// A name that stands alone: a variable of the step's template, a path that commands use, something published, or a workflow variable.
    fn bare(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.template_variable(name) {
            return Some(Value::from(value));
        }
        if let Some(path) = WINGS_PATHS.iter().find(|path| path.variable == name) {
            return Some(Value::from(self.path_text(path)));
        }
        if self.is_published(name)
            && let Some(value) = self.context().remove(name)
        {
            return Some(value);
        }
        self.is_variable(name).then(|| self.variables().remove(name)).flatten()
    }

    /// The value of a variable of the step's template.
    fn template_variable(&self, name: &str) -> Option<&'a str> {
        let variables = self.step?.properties.get("templateVariables")?.as_array()?;
        let named =
            |variable: &&serde_json::Value| variable.get("name").and_then(|name| name.as_str()) == Some(name);
        variables.iter().find(named)?.get("value")?.as_str()
    }

    /// The text of a path that commands use, expressions not resolved.
    pub(crate) fn path_text(&self, path: &WingsPath) -> &'a str {
        let plan = self.map.plan;
        let set = plan.application.defaults.get(path.default_name);
        set.or_else(|| plan.account_defaults.get(path.default_name)).map_or(path.fallback, String::as_str)
    }

    fn is_configured(&self, name: &str) -> bool {
        self.template_variable(name).is_some()
            || WINGS_PATHS.iter().any(|path| path.variable == name)
            || (self.is_variable(name) && !self.is_published(name))
    }

    fn is_variable(&self, name: &str) -> bool {
        self.map.fleet.variables.contains_key(name) || self.map.fleet.fan_out.as_deref() == Some(name)
    }
}

/// Roots under which text is configuration.
const CONFIGURATION: [&str; 9] = [
    "workflow",
    "pipeline",
    "serviceVariable",
    "environmentVariable",
    "infra",
    "service",
    "env",
    "app",
    "account",
];

impl Scope for LegScope<'_> {
    fn lookup(&self, root: &str) -> Lookup {
        if let Some(known) = self.known.borrow().get(root) {
            return known.clone();
        }
        let lookup = self.root(root);
        self.known.borrow_mut().insert(root.to_owned(), lookup.clone());
        lookup
    }

    fn expands(&self, root: &str) -> bool {
        CONFIGURATION.contains(&root) || self.is_configured(root)
    }
}

/// A count; one beyond 63 bits does not occur.
fn count(count: u64) -> Value {
    Value::from(i64::try_from(count).unwrap_or(i64::MAX))
}

/// `${instance.*}` on a host.
fn instance(host: &str) -> Value {
    Value::map([
        ("name", Value::from(name_of(host))),
        ("hostName", Value::from(name_of(host))),
        ("host", host_value(host)),
    ])
}

/// `${host.*}`, `${instance.host.*}`.
fn host_value(host: &str) -> Value {
    let name = name_of(host);
    Value::map([("hostName", Value::from(name)), ("ip", Value::from(name)), ("publicDns", Value::from(name))])
}

/// The host without a port. An IPv6 address with a port stands in brackets; without one its colons are its own.
fn name_of(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inner.0;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `infraVariables` of a CUSTOM infrastructure: a list of names and values, or a map.
fn custom_variables(properties: &serde_json::Map<String, serde_json::Value>) -> Value {
    match properties.get("infraVariables") {
        Some(serde_json::Value::Array(items)) => Value::map(items.iter().filter_map(|item| {
            Some((item.get("name")?.as_str()?.to_owned(), Value::from_json(item.get("value")?)))
        })),
        Some(map @ serde_json::Value::Object(_)) => Value::from_json(map),
        _ => Value::map::<String, Value>([]),
    }
}

/// `${artifact.*}`.
fn artifact_value(artifact: &Artifact, source: Option<&SourcePlan>, service: Option<String>) -> Value {
    let metadata = |key: &str| artifact.metadata.get(key).map(String::as_str);
    let property = |keys: &[&str]| {
        let source = source?;
        keys.iter().find_map(|key| {
            source
                .properties
                .get(*key)
                .or_else(|| source.server.get(*key))
                .and_then(serde_json::Value::as_str)
        })
    };
    let display = format!("{}_{}", artifact.source_name, artifact.build_no);
    let repository = metadata("repositoryName").or_else(|| property(&["imageName", "repositoryName"]));
    let registry = metadata("registryUrl").or_else(|| property(&["dockerRegistryUrl", "registryUrl", "url"]));
    let file_name = metadata("fileName").map(str::to_owned).or_else(|| {
        let path = metadata("path").or_else(|| metadata("artifactPath")).or_else(|| metadata("url"))?;
        path.rsplit('/').next().map(str::to_owned)
    });
    let origin = Value::map([
        ("registryUrl", Value::from(registry)),
        ("repositoryName", Value::from(repository)),
        ("username", Value::from(property(&["username", "userName"]))),
        ("dockerconfig", Value::Null),
    ]);
    let labels = artifact
        .metadata
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("label.")?, value.as_str())));
    Value::map([
        ("displayName", Value::from(display.as_str())),
        ("buildFullDisplayName", Value::from(metadata("buildFullDisplayName").unwrap_or(&display))),
        ("description", Value::from(metadata("description").unwrap_or_default())),
        ("buildNo", Value::from(artifact.build_no.as_str())),
        ("revision", Value::from(metadata("revision").unwrap_or(&artifact.build_no))),
        ("fileName", Value::from(file_name)),
        ("label", Value::map(labels)),
        ("metadata", texts(&artifact.metadata)),
        ("source", origin),
        ("bucketName", Value::from(metadata("bucketName"))),
        ("key", Value::from(metadata("key"))),
        ("url", Value::from(metadata("url"))),
        ("artifactPath", Value::from(metadata("artifactPath").or_else(|| metadata("path")))),
        ("ArtifactPath", Value::from(metadata("artifactPath").or_else(|| metadata("path")))),
        ("serviceIds", Value::from(service.into_iter().collect::<Vec<_>>())),
    ])
}
