//! Tasks on clusters (`behaviour.md` 22): the cluster of a phase, the manifests of its service with what stands for their expressions, what is
//! done; and what such tasks have said so far.

use std::collections::BTreeMap;

use manifold_expression::{Value, references};
use manifold_model::cluster;
use manifold_model::kubernetes::{
    ClusterTarget, DeleteResources, HELM, Instances, KubernetesAction, KubernetesTask, Manifests, TextFile,
    is_dns_label, kind, list, output as output_name,
};
use manifold_model::plan::{FilePlan, ManifestsPlan, StepPlan};
use manifold_model::task::{FileSource, OutputValue, TaskResult};
use manifold_model::{Failure, FailureClass, Hole, Millis, Piece, Rendered, code};
use serde_json::{Map as Json, Value as JsonValue};

use crate::hosts::flag;
use crate::place::Spot;
use crate::render::{Renderer, infrastructure_properties, text};
use crate::scope::{LegScope, output};
use crate::state::{Attempt, TaskState};
use crate::targets::{NAMESPACE, RELEASE_NAME};

/// Settings of steps that may name what an earlier step said.
const NAMING: [&str; 4] = ["resources", "service1", "service2", "workload"];

/// Whether steps of a kind act on a cluster.
pub(crate) fn is_kind(task_kind: &str) -> bool {
    kind::ALL.contains(&task_kind)
}

/// Whether a part is a phase that deploys to a cluster.
pub(crate) fn is_on_cluster(scope: &LegScope<'_>) -> bool {
    let phase = scope.part.phase();
    phase.is_some() && scope.map.infrastructure(phase).is_some_and(|found| found.item_type == cluster::ITEM)
}

/// Where a phase acts.
pub(crate) struct Place {
    pub target: ClusterTarget,
    pub namespace: String,
    /// Selectors that its cloud provider asks for.
    pub selectors: Vec<String>,
}

/// The task of a step with the selectors that the cloud provider asks for.
pub(crate) fn task(
    step: &StepPlan,
    renderer: &mut Renderer<'_>,
) -> Result<(KubernetesTask, Vec<String>), Failure> {
    let Place { target, namespace, selectors } = place(renderer)?;
    let properties = infrastructure_properties(renderer.scope);
    let release = properties.and_then(|properties| text(properties, RELEASE_NAME)).unwrap_or_default();
    check_name("the name of the release", release)?;
    let release = release.to_owned();
    let action = action(step, renderer)?;
    let manifests = if reads_manifests(&action) { manifests(step, renderer)? } else { Manifests::default() };
    Ok((KubernetesTask { cluster: target, namespace, release, manifests, action }, selectors))
}

/// The cluster of the phase with its namespace.
pub(crate) fn place(renderer: &mut Renderer<'_>) -> Result<Place, Failure> {
    let scope = renderer.scope;
    let found = scope.map.infrastructure(scope.part.phase()).zip(infrastructure_properties(scope));
    let Some((infrastructure, properties)) = found else {
        return Err(incomplete("the step acts on a cluster, and its place has no infrastructure".to_owned()));
    };
    let namespace = text(properties, NAMESPACE).map(str::trim).unwrap_or_default();
    if namespace.is_empty() {
        let name = &infrastructure.name;
        return Err(incomplete(format!("the infrastructure definition `{name}` has no namespace")));
    }
    check_name("the namespace", namespace)?;
    let provider = &infrastructure.cloud_provider_properties;
    let access = cluster::access(provider, properties).map_err(|fault| {
        let of = infrastructure.cloud_provider.as_deref().unwrap_or(&infrastructure.name);
        let message = format!("nobody can sign in to the cluster of `{of}`: {fault}");
        Failure::new(FailureClass::Authentication, code!("CLOUD_PROVIDER_INCOMPLETE"), message)
            .hint("complete the cloud provider and start again")
    })?;
    let mut selectors = Vec::new();
    for selector in cluster::selectors(provider, &access) {
        selectors.push(renderer.known("a delegate selector of the cloud provider", &selector)?);
    }
    let name = infrastructure.cloud_provider.clone().unwrap_or_else(|| infrastructure.name.clone());
    let target = ClusterTarget { name, access };
    Ok(Place { target, namespace: namespace.to_owned(), selectors })
}

/// Refuses what Kubernetes would not take as the name of a namespace or a release.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    if is_dns_label(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let message = format!("{what} is {shown:?}, which Kubernetes does not take as a name");
    Err(Failure::new(FailureClass::Application, code!("KUBERNETES_NAME_INVALID"), message)
        .hint("use at most 63 of a-z, 0-9 and -, with a letter or digit at both ends"))
}

fn incomplete(message: String) -> Failure {
    Failure::new(FailureClass::Application, code!("INFRASTRUCTURE_INCOMPLETE"), message)
        .hint("complete the infrastructure definition and start again")
}

fn reads_manifests(action: &KubernetesAction) -> bool {
    match action {
        KubernetesAction::Rollout { .. }
        | KubernetesAction::Canary { .. }
        | KubernetesAction::BlueGreen { .. }
        | KubernetesAction::Apply { .. }
        | KubernetesAction::Delete { resources: DeleteResources::Files { .. } } => true,
        KubernetesAction::RollbackRollout {}
        | KubernetesAction::Swap { .. }
        | KubernetesAction::Scale { .. }
        | KubernetesAction::Delete { .. } => false,
    }
}

fn action(step: &StepPlan, renderer: &mut Renderer<'_>) -> Result<KubernetesAction, Failure> {
    let properties = &step.properties;
    let is_set = |key: &str| flag(properties, key) == Some(true);
    let (skip_dry_run, export) = (is_set("skipDryRun"), is_set("exportManifests"));
    Ok(match step.task_kind.as_str() {
        kind::ROLLOUT => KubernetesAction::Rollout { skip_dry_run, export },
        kind::ROLLOUT_ROLLBACK => KubernetesAction::RollbackRollout {},
        kind::CANARY => {
            let instances = instances(properties, renderer)?.unwrap_or(Instances::Count(1));
            KubernetesAction::Canary { instances, skip_dry_run, export }
        }
        kind::BLUE_GREEN => KubernetesAction::BlueGreen { skip_dry_run, export },
        kind::SWAP => KubernetesAction::Swap {
            service1: needed(properties, "service1", renderer)?,
            service2: needed(properties, "service2", renderer)?,
            undo: renderer.scope.part.is_rollback(),
        },
        kind::APPLY => KubernetesAction::Apply {
            files: files(&needed(properties, "filePaths", renderer)?)?,
            skip_dry_run,
            skip_steady_state: is_set("skipSteadyStateCheck"),
            skip_rendering: is_set("skipRendering"),
        },
        kind::SCALE => KubernetesAction::Scale {
            workload: needed(properties, "workload", renderer)?,
            instances: instances(properties, renderer)?.ok_or_else(|| missing("instances"))?,
            skip_steady_state: is_set("skipSteadyStateCheck"),
        },
        kind::DELETE => {
            if let Some(paths) = setting(properties, "filePaths", renderer)? {
                let resources = DeleteResources::Files { files: files(&paths)? };
                return Ok(KubernetesAction::Delete { resources });
            }
            let resources = needed(properties, "resources", renderer)?;
            let namespaces = is_set("deleteNamespacesForRelease");
            let resources = DeleteResources::parse(&resources, namespaces).ok_or_else(|| {
                invalid(format!(
                    "`resources` is {resources:?}, which names neither objects alone nor files alone"
                ))
            })?;
            KubernetesAction::Delete { resources }
        }
        other => return Err(invalid(format!("{other} is no kind of step on a cluster"))),
    })
}

fn files(paths: &str) -> Result<Vec<String>, Failure> {
    let files = list(paths);
    if files.is_empty() { Err(missing("filePaths")) } else { Ok(files) }
}

/// `instances` with `instanceUnitType`.
fn instances(
    properties: &Json<String, JsonValue>,
    renderer: &mut Renderer<'_>,
) -> Result<Option<Instances>, Failure> {
    let Some(number) = setting(properties, "instances", renderer)? else { return Ok(None) };
    let unit = setting(properties, "instanceUnitType", renderer)?.unwrap_or_default().to_ascii_uppercase();
    let count: u32 = number.parse().map_err(|_| {
        invalid(format!("`instances` is {number:?}, and a whole number of instances is needed"))
    })?;
    match unit.as_str() {
        "" | "COUNT" => Ok(Some(Instances::Count(count))),
        "PERCENTAGE" => Ok(Some(Instances::Percentage(count))),
        _ => Err(invalid(format!("`instanceUnitType` is {unit:?}, and COUNT or PERCENTAGE is needed"))),
    }
}

fn needed(
    properties: &Json<String, JsonValue>,
    key: &str,
    renderer: &mut Renderer<'_>,
) -> Result<String, Failure> {
    setting(properties, key, renderer)?.ok_or_else(|| missing(key))
}

/// A setting as text, its expressions resolved; `None` when it is absent or blank.
fn setting(
    properties: &Json<String, JsonValue>,
    key: &str,
    renderer: &mut Renderer<'_>,
) -> Result<Option<String>, Failure> {
    let text = match properties.get(key) {
        Some(JsonValue::String(text)) => renderer.known(&format!("`{key}`"), text)?,
        Some(JsonValue::Number(number)) => number.to_string(),
        _ => return Ok(None),
    };
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn missing(key: &str) -> Failure {
    invalid(format!("the step has no `{key}`"))
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureClass::Application, code!("STEP_SETTING_INVALID"), message)
        .hint("correct the step in the workflow")
}

/// What the step deploys: the service's files with what stands for their expressions, or what an earlier step exported.
fn manifests(step: &StepPlan, renderer: &mut Renderer<'_>) -> Result<Manifests, Failure> {
    let scope = renderer.scope;
    let service = scope.map.service(scope.part.phase());
    let plan = service.and_then(|service| service.manifests.as_ref());
    let skip_versioning = plan.is_some_and(|plan| plan.skip_versioning);
    if flag(&step.properties, "inheritManifests") == Some(true) {
        let inherited = Some(inherited(step, scope)?);
        return Ok(Manifests { inherited, skip_versioning, ..Manifests::default() });
    }
    let Some((service, plan)) = service.zip(plan) else {
        let message = format!("the plan has no manifests for step `{}`", step.name);
        return Err(Failure::new(FailureClass::Application, code!("MANIFESTS_MISSING"), message)
            .hint("add manifests to the service and start again"));
    };
    let values = values(scope, plan, &service.name);
    let inline_values = match text(&step.properties, "inlineOverride").filter(|text| !text.trim().is_empty())
    {
        Some(values) => Some(renderer.script("`inlineOverride`", values)?),
        None => None,
    };
    let revision = scope.map.plan.catalog_revision;
    Ok(Manifests {
        spans: spans(plan.files.iter().chain(values.iter().copied()), renderer)?,
        files: plan.files.iter().map(|file| text_file(file, revision)).collect(),
        values: values.into_iter().map(|file| text_file(file, revision)).collect(),
        inline_values,
        // The plan has looked for templates among the files that this step reads.
        templated: step.capabilities.iter().any(|one| one == HELM),
        skip_versioning,
        inherited: None,
    })
}

/// Values files, low precedence first (`behaviour.md` 12.3): the service's, the environment's for all services, its own for this one.
fn values<'p>(scope: &LegScope<'p>, plan: &'p ManifestsPlan, service: &str) -> Vec<&'p FilePlan> {
    let of_environment =
        scope.map.environment().map(|environment| environment.values.as_slice()).unwrap_or_default();
    let general = of_environment.iter().filter(|one| one.service_name.is_none());
    let own = of_environment.iter().filter(|one| one.service_name.as_deref() == Some(service));
    plan.values.iter().chain(general.chain(own).map(|one| &one.file)).collect()
}

fn text_file(file: &FilePlan, revision: u64) -> TextFile {
    let source = FileSource::Document { path: file.document.clone(), revision };
    TextFile { path: file.path.clone(), source }
}

/// What stands for the spans of files; spans that stay as they are have no entry.
fn spans<'p>(
    files: impl Iterator<Item = &'p FilePlan>,
    renderer: &mut Renderer<'_>,
) -> Result<BTreeMap<String, Rendered>, Failure> {
    let mut made = BTreeMap::new();
    for file in files {
        for span in file.spans.iter().filter(|span| !span.is_empty()) {
            if made.contains_key(span) {
                continue;
            }
            let rendered = renderer.script(&format!("an expression in the file {}", file.path), span)?;
            made.insert(span.clone(), rendered);
        }
    }
    made.retain(|span, rendered| !matches!(rendered.0.as_slice(), [Piece::Text(text)] if text == span));
    Ok(made)
}

/// The manifests that the last step of the same type in the same phase exported.
fn inherited(step: &StepPlan, scope: &LegScope<'_>) -> Result<Rendered, Failure> {
    let same = |spot: &Spot<'_>| spot.step.kind == step.kind && spot.part.phase() == scope.part.phase();
    let manifests = said(scope, same).remove(output_name::MANIFESTS).ok_or_else(|| {
        let message = format!(
            "step `{}` deploys what an earlier step exported, and no step of its type in its phase has exported manifests",
            step.name
        );
        Failure::new(FailureClass::Application, code!("MANIFESTS_NOT_EXPORTED"), message)
            .hint("put a step of the same type with Export Manifest before it in the same phase")
    })?;
    Ok(match &manifests.sealed {
        Some(name) => Rendered(vec![Piece::Hole(Hole::Secret { name: name.clone() })]),
        None => Rendered::text(manifests.value.as_str()),
    })
}

/// Tasks of steps on clusters that have ended, in the order in which they did.
fn ended<'s>(
    scope: &LegScope<'s>,
    counts: impl Fn(&Spot<'s>) -> bool,
) -> Vec<(Millis, &'s BTreeMap<String, OutputValue>)> {
    let mut found: Vec<(Millis, &BTreeMap<String, OutputValue>)> = Vec::new();
    for spot in scope.map.steps().filter(|spot| is_kind(spot.step.task_kind.as_str()) && counts(spot)) {
        let outcomes = tasks(scope, &spot).filter_map(|task| task.outcome.as_ref());
        found.extend(outcomes.map(|(at, outcome)| (*at, &outcome.outputs)));
    }
    found.sort_by_key(|(at, _)| *at);
    found
}

fn tasks<'s>(scope: &LegScope<'s>, spot: &Spot<'_>) -> impl Iterator<Item = &'s TaskState> + use<'s> {
    let attempts: &'s [Attempt] = match scope.state.steps.get(&spot.step.key) {
        Some(state) => &state.attempts,
        None => &[],
    };
    attempts.iter().flat_map(|attempt| &attempt.tasks)
}

/// What tasks on clusters said, failed ones included: what they made is there all the same. Later ones win.
fn said<'s>(scope: &LegScope<'s>, counts: impl Fn(&Spot<'s>) -> bool) -> BTreeMap<&'s str, &'s OutputValue> {
    let outputs = ended(scope, counts).into_iter().flat_map(|(_, outputs)| outputs);
    outputs.map(|(name, value)| (name.as_str(), value)).collect()
}

/// `${k8s.*}`.
pub(crate) fn outputs(scope: &LegScope<'_>) -> Value {
    let said = said(scope, |_| true);
    let shown = said.into_iter().filter(|(name, _)| *name != output_name::MANIFESTS);
    Value::map(shown.map(|(name, value)| (name, output(value))))
}

/// `${k8sResources.*}`: what was exported last in the same phase.
pub(crate) fn resources(scope: &LegScope<'_>) -> Value {
    let said = said(scope, |spot| spot.part.phase() == scope.part.phase());
    let exported = said.get_key_value(output_name::MANIFESTS);
    Value::map(exported.map(|(name, value)| (*name, output(value))))
}

/// Why a step of a rollback has nothing to do: it names what only a step says that has made nothing (`${k8s.canaryWorkload}` where the canary
/// never came to the cluster).
pub(crate) fn nothing_to_undo(scope: &LegScope<'_>) -> Option<String> {
    let step = scope.step.filter(|step| scope.part.is_rollback() && is_kind(step.task_kind.as_str()))?;
    let named = NAMING.iter().filter_map(|key| text(&step.properties, key)).flat_map(references);
    let said = said(scope, |_| true);
    for reference in named {
        let Some(name) = reference.strip_prefix("k8s.") else { continue };
        if !said.contains_key(name) && made_nothing(scope, name) {
            return Some(format!("nothing to undo: no step has said `{reference}`"));
        }
    }
    None
}

/// Whether no step made what has this output: none that says it was handed out, or each ended without having said it.
fn made_nothing(scope: &LegScope<'_>, name: &str) -> bool {
    let says = match name {
        output_name::CANARY_WORKLOAD => kind::CANARY,
        output_name::PRIMARY_SERVICE | output_name::STAGE_SERVICE => kind::BLUE_GREEN,
        _ => return false,
    };
    let known = |task: &TaskState| {
        task.outcome
            .as_ref()
            .is_some_and(|(_, outcome)| !matches!(outcome.result, TaskResult::Unknown { .. }))
            || task.ran == Some(false)
    };
    scope
        .map
        .steps()
        .filter(|spot| spot.step.task_kind.as_str() == says)
        .all(|spot| tasks(scope, &spot).all(known))
}
