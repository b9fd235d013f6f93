//! Which services need an artifact, and which artifact each gets (`behaviour.md` 16.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::artifact::Artifact;
use manifold_model::catalog::Catalog;
use manifold_model::entity::{ArtifactSource, Environment, Service, Step};
use manifold_model::request::{ArtifactInput, ExecutionType, ServiceInput, VariableInput};
use manifold_model::{ArtifactId, EntityId, Problem, code};

use crate::commands;
use crate::complaints::Complaints;
use crate::course::{Course, Run};
use crate::entities;
use crate::facts::Facts;
use crate::given::Given;
use crate::inputs;
use crate::kinds::Kinds;
use crate::manifests::Shelf;
use crate::steps;
use crate::values;

/// The services that need an artifact given the values so far, in order of first use (`executionInputs`, `wire.md` 3.2). A service that a
/// variable still has to name is left out.
///
/// # Errors
/// When there is no such pipeline or workflow.
pub fn artifact_needs(
    catalog: &Catalog,
    facts: &Facts<'_>,
    entity: &EntityId,
    kind: ExecutionType,
    given: &[VariableInput],
) -> Result<Vec<Arc<Service>>, Vec<Problem>> {
    let course = inputs::course(catalog, entity, kind)?;
    let given = Given::of(given);
    let mut needed: Vec<Arc<Service>> = Vec::new();
    let mut look = Look {
        kinds: Kinds::of(facts.kinds),
        shelf: Shelf::new(facts),
        // What is wrong is said at the start.
        unsaid: Complaints::default(),
    };
    for run in course.runs() {
        let services = entities::services_so_far(catalog, &course, run, &given);
        let environment = entities::environment_so_far(catalog, &course, run, &given);
        let environment = environment.and_then(|id| catalog.environments.get(&id));
        for (index, service) in services.into_iter().enumerate() {
            let Some(service) = service else { continue };
            let known = needed.iter().any(|other| other.id == service.id);
            if !known && look.phase_needs(run, index, &service, environment.map(Arc::as_ref)) {
                needed.push(service);
            }
        }
    }
    Ok(needed)
}

/// Looks for what needs an artifact.
struct Look<'q> {
    kinds: Kinds<'q>,
    shelf: Shelf<'q>,
    unsaid: Complaints,
}

impl Look<'_> {
    /// Whether a step of a phase or of its rollback needs the artifact of the service.
    fn phase_needs(
        &mut self,
        run: &Run,
        index: usize,
        service: &Service,
        environment: Option<&Environment>,
    ) -> bool {
        let (rollbacks, _) = steps::rollbacks(&run.workflow);
        let phase = run.workflow.phases.get(index);
        let rollback = rollbacks.get(index).copied().flatten();
        phase
            .into_iter()
            .chain(rollback)
            .flat_map(|phase| &phase.sections)
            .flat_map(|section| &section.steps)
            .any(|step| self.step_needs(step, service, environment))
    }

    fn step_needs(&mut self, step: &Step, service: &Service, environment: Option<&Environment>) -> bool {
        let command =
            (step.kind == "COMMAND").then(|| steps::text(&step.properties, "commandName")).flatten();
        command.is_some_and(|command| commands::look(service, command).0)
            || step.properties.values().any(commands::value_mentions_artifact)
            || self.manifests_need(step, service, environment)
    }

    fn manifests_need(&mut self, step: &Step, service: &Service, environment: Option<&Environment>) -> bool {
        let reads = self.kinds.get(&step.kind).is_some_and(|spec| steps::reads_manifests(step, spec));
        if !reads {
            return false;
        }
        self.shelf.manifests(service, &mut self.unsaid).needs_artifact
            || environment
                .is_some_and(|environment| self.shelf.values(environment, service, &mut self.unsaid))
    }
}

/// Chooses the artifact of every service of the plan. `needing`: services that need one, by id, with where it is needed.
pub(crate) fn choose(
    catalog: &Catalog,
    facts: &Facts<'_>,
    course: &Course,
    requested: &[ServiceInput],
    needing: &BTreeMap<EntityId, (Arc<Service>, String)>,
    complaints: &mut Complaints,
) -> BTreeMap<EntityId, Artifact> {
    let mut chosen = BTreeMap::new();
    let mut asked = std::collections::BTreeSet::new();
    for input in requested {
        let found = catalog
            .service_named(&course.application, &input.service)
            .or_else(|| catalog.services.get(&EntityId::from(input.service.as_str())))
            .filter(|service| service.application == course.application);
        let Some(service) = found else {
            complaints.refuse(
                Problem::new(
                    code!("SERVICE_UNKNOWN"),
                    format!("an artifact is given for the service {}, which does not exist", input.service),
                )
                .item(input.service.clone()),
            );
            continue;
        };
        if !asked.insert(service.id.clone()) {
            complaints.refuse(
                Problem::new(
                    code!("ARTIFACT_DUPLICATE"),
                    format!("two artifacts are given for the service {}", service.name),
                )
                .item(service.name.clone())
                .hint("give one artifact for each service"),
            );
            continue;
        }
        match resolve_artifact(facts, service, &input.artifact) {
            Ok(artifact) => {
                chosen.insert(service.id.clone(), artifact);
            }
            Err(problem) => complaints.refuse(problem.item(service.name.clone())),
        }
    }
    for (id, (service, place)) in needing {
        if !asked.contains(id) {
            complaints.refuse(
                Problem::new(
                    code!("ARTIFACT_MISSING"),
                    format!("the service {} needs an artifact, and none is given", service.name),
                )
                .item(service.name.clone())
                .detail(format!("needed by {place}"))
                .hint("give a build number or an artifact id for the service"),
            );
        }
    }
    chosen
}

fn resolve_artifact(
    facts: &Facts<'_>,
    service: &Service,
    input: &ArtifactInput,
) -> Result<Artifact, Box<Problem>> {
    match input {
        ArtifactInput::Id { artifact } => {
            let unknown = |message: String| {
                let problem = Problem::new(code!("ARTIFACT_UNKNOWN"), message);
                Box::new(problem.hint("list the artifacts of the service, or give a build number"))
            };
            let found = facts.artifacts.by_id(&ArtifactId::from(artifact.as_str())).ok_or_else(|| {
                unknown(format!("the artifact {artifact} for the service {} does not exist", service.name))
            })?;
            if service.sources.iter().any(|source| source.id == found.source) {
                Ok(found)
            } else {
                Err(unknown(format!(
                    "the artifact {artifact} is of no source of the service {}",
                    service.name
                )))
            }
        }
        ArtifactInput::BuildNumber { source_name, build_no } => {
            let source = find_source(service, source_name.as_deref())?;
            let build_no = build_no.trim();
            facts
                .artifacts
                .by_build(&source.id, build_no)
                .or_else(|| image(facts, source, build_no))
                .ok_or_else(|| {
                    let message = format!(
                        "the artifact source {} of the service {} has no build {:?}",
                        source.name,
                        service.name,
                        values::shortened(build_no)
                    );
                    let problem = Problem::new(code!("ARTIFACT_UNKNOWN"), message);
                    Box::new(problem.hint("check the build number; the source lists the builds that it has"))
                })
        }
    }
}

fn find_source<'s>(service: &'s Service, name: Option<&str>) -> Result<&'s ArtifactSource, Box<Problem>> {
    let unknown = |message: String| {
        let names: Vec<&str> = service.sources.iter().map(|source| source.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "add an artifact source to the service".to_owned(),
            names => format!("its sources are {}", names.join(", ")),
        };
        Box::new(Problem::new(code!("ARTIFACT_SOURCE_UNKNOWN"), message).hint(hint))
    };
    match (name.map(str::trim).filter(|name| !name.is_empty()), service.sources.as_slice()) {
        (Some(name), sources) => sources
            .iter()
            .find(|source| source.name == name)
            .ok_or_else(|| unknown(format!("the service {} has no artifact source {name}", service.name))),
        (None, [only]) => Ok(only),
        (None, []) => Err(unknown(format!("the service {} has no artifact source", service.name))),
        (None, _) => Err(unknown(format!(
            "the service {} has several artifact sources, and the request names none",
            service.name
        ))),
    }
}

/// The artifact of an image tag, whose existence nothing has checked; `None` for sources of other kinds.
fn image(facts: &Facts<'_>, source: &ArtifactSource, tag: &str) -> Option<Artifact> {
    let docker_format = source.properties.get("useDockerFormat").is_some_and(|value| value == true);
    let is_image = matches!(source.kind.as_str(), "DOCKER" | "ECR" | "GCR" | "ACR")
        || (source.kind == "ARTIFACTORY" && docker_format);
    if !is_image || tag.is_empty() {
        return None;
    }
    let name = ["imageName", "dockerImageName", "repositoryName"]
        .iter()
        .find_map(|key| steps::text(&source.properties, key))
        .unwrap_or_default();
    let registry = steps::text(&source.properties, "registryHostName").map(|host| format!("{host}/"));
    let metadata = BTreeMap::from([
        ("image".to_owned(), format!("{}{name}:{tag}", registry.unwrap_or_default())),
        ("tag".to_owned(), tag.to_owned()),
    ]);
    Some(Artifact {
        id: Artifact::id_of(&source.id, tag),
        source: source.id.clone(),
        source_name: source.name.clone(),
        source_kind: source.kind.clone(),
        build_no: tag.to_owned(),
        metadata,
        collected_at: facts.now,
    })
}
