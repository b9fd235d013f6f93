//! Start: request → frozen plan → first event, or every reason why not and nothing at all (`behaviour.md` 4, 16.3).

use std::sync::Arc;

use manifold_model::artifact::{Artifact, COLLECTED};
use manifold_model::crash;
use manifold_model::entity::{ArtifactSource, Service};
use manifold_model::event::{EventKind, LegPlace, Published};
use manifold_model::execution::{ExecutionRow, Named, RowState};
use manifold_model::plan::{PhaseInfrastructure, Plan, Subject};
use manifold_model::request::{ArtifactInput, ExecutionType, StartRequest};
use manifold_model::{ArtifactId, ExecutionId, PlanDigest, Problem, code};
use manifold_plan::Facts;
use manifold_store::{NewExecution, numbered};

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result, Snapshot};

/// Longest `clientMutationId` that is used as an idempotency key, characters.
const LONGEST_MUTATION: usize = 256;

/// What a start brought.
#[derive(Clone, PartialEq, Debug)]
pub struct Started {
    /// The execution.
    pub execution: ExecutionId,
    /// What the starter should know.
    pub warnings: Vec<Problem>,
}

impl Control {
    /// Starts a workflow or a pipeline. The same request with the same `mutation` by the same actor starts only once.
    ///
    /// # Errors
    /// Every reason why not; nothing was created then.
    pub async fn start(
        &self,
        actor: &Actor,
        request: StartRequest,
        mutation: Option<&str>,
    ) -> Result<Started> {
        authorise(actor, Action::Execute, Resource::Application(&request.application))?;
        self.check_request(&request, mutation)?;
        let snapshot = self.snapshot().await?;
        if !snapshot.catalog.applications.contains_key(&request.application) {
            return Err(crate::applications::no_application());
        }
        let artifacts = self.known_artifacts(&snapshot, &request).await?;
        let plan = self.planned(&snapshot, &request, artifacts).await?;
        let warnings = plan.warnings.clone();
        let idempotency = mutation
            .filter(|mutation| !mutation.is_empty())
            .map(|mutation| format!("start/{}/{mutation}/{}", actor.id(), digest_of(&request)));
        let (digest, bytes, plan) = freeze(plan).await?;
        let new = self.new_execution(actor, &request, &plan, digest.clone(), bytes, idempotency).await?;
        let journal = crash::journal(new.events.iter().map(|event| &event.kind));
        let execution = self.store.create_execution(new).await?;
        journal.written();
        self.plans.put(digest, plan);
        Ok(Started { execution, warnings })
    }

    fn check_request(&self, request: &StartRequest, mutation: Option<&str>) -> Result<()> {
        let mut problems = Vec::new();
        if request.notes.chars().count() > self.limits.notes_chars {
            problems.push(Problem::new(
                code!("VALUE_TOO_LONG"),
                format!("the notes have more than {} characters", self.limits.notes_chars),
            ));
        }
        if mutation.is_some_and(|mutation| mutation.chars().count() > LONGEST_MUTATION) {
            problems.push(Problem::new(
                code!("VALUE_TOO_LONG"),
                format!("clientMutationId has more than {LONGEST_MUTATION} characters"),
            ));
        }
        if request.specific_hosts.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::new(
                code!("INPUT_MISSING"),
                "targetToSpecificHosts is set, but specificHosts names none",
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Refused { problems }) }
    }

    /// The artifacts that the request names, collected now when they are not known yet.
    async fn known_artifacts(&self, snapshot: &Snapshot, request: &StartRequest) -> Result<Vec<Artifact>> {
        let mut known = Vec::new();
        let mut problems = Vec::new();
        for input in &request.services {
            match &input.artifact {
                ArtifactInput::Id { artifact } => {
                    known.extend(self.store.artifact(&ArtifactId::from(artifact.as_str())).await?);
                }
                ArtifactInput::BuildNumber { source_name, build_no } => {
                    let Some(service) = service_of(snapshot, request, &input.service) else { continue };
                    let Some(source) = source_of(&service, source_name.as_deref()) else { continue };
                    match self.build(snapshot, &service, source, build_no).await {
                        Ok(artifact) => known.extend(artifact),
                        Err(Error::Refused { problems: more }) => problems.extend(more),
                        Err(Error::Unavailable { problem }) => problems.push(*problem),
                        Err(other) => return Err(other),
                    }
                }
            }
        }
        if problems.is_empty() { Ok(known) } else { Err(Error::Refused { problems }) }
    }

    /// A build of a source; sources that can be listed are listed when it is not known.
    async fn build(
        &self,
        snapshot: &Snapshot,
        service: &Service,
        source: &ArtifactSource,
        build_no: &str,
    ) -> Result<Option<Artifact>> {
        let id = Artifact::id_of(&source.id, build_no.trim());
        if let Some(artifact) = self.store.artifact(&id).await? {
            return Ok(Some(artifact));
        }
        if !COLLECTED.contains(&source.kind.as_str()) {
            return Ok(None);
        }
        self.collect(&snapshot.catalog, service, source).await?;
        Ok(self.store.artifact(&id).await?)
    }

    /// Plans on a thread of its own: 10,000 legs take a while.
    async fn planned(
        &self,
        snapshot: &Arc<Snapshot>,
        request: &StartRequest,
        artifacts: Vec<Artifact>,
    ) -> Result<Plan> {
        let (kinds, capabilities) = (self.kinds.kinds(), self.kinds.capabilities());
        let secrets = self.secret_names().await?;
        let constraints = self.store.constraints().await?;
        let (max_legs, now) = (self.limits.infrastructures_per_stage as usize, self.now());
        let lock_queue_limit = self.limits.lock_queue as usize;
        let (snapshot, request) = (Arc::clone(snapshot), request.clone());
        let planned = tokio::task::spawn_blocking(move || {
            let facts = Facts {
                artifacts: &artifacts,
                files: &*snapshot,
                capabilities: Some(&capabilities),
                secrets: Some(&secrets),
                constraints: Some(&constraints),
                max_legs,
                lock_queue_limit,
                now,
                ..Facts::new(&kinds)
            };
            manifold_plan::plan(&request, &snapshot.catalog, &facts)
        })
        .await;
        match planned {
            Ok(planned) => planned.map_err(|problems| Error::Refused { problems }),
            Err(error) => {
                tracing::error!(%error, "planning broke off");
                Err(Error::unavailable(Problem::new(
                    code!("PLANNING_BROKE_OFF"),
                    "the planning of this start broke off",
                )))
            }
        }
    }

    async fn new_execution(
        &self,
        actor: &Actor,
        request: &StartRequest,
        plan: &Plan,
        digest: PlanDigest,
        bytes: Arc<[u8]>,
        idempotency: Option<String>,
    ) -> Result<NewExecution> {
        let now = self.now();
        let place = LegPlace { stage: 0, element: 0, leg: 0 };
        let alone = request.kind == ExecutionType::Workflow;
        let first = if alone {
            EventKind::WorkflowStarted {
                plan: digest.clone(),
                place,
                parent: None,
                original: None,
                cause: actor.cause(),
                outputs: Published::new(),
                release_no: self.store.next_release_no(&request.entity).await?,
            }
        } else {
            EventKind::PipelineStarted {
                plan: digest.clone(),
                cause: actor.cause(),
                notes: request.notes.clone(),
                resume: None,
            }
        };
        let named = |index: Option<u32>| {
            let found = plan.infrastructures.get(index? as usize)?;
            Some(Named { id: found.id.clone(), name: found.name.clone() })
        };
        let fleet = plan.element(0, 0).and_then(|element| element.fleet.as_ref()).filter(|_| alone);
        let row = ExecutionRow {
            id: ExecutionId::random(),
            kind: request.kind,
            application: Named { id: plan.application.id.clone(), name: plan.application.name.clone() },
            entity: subject(&plan.subject),
            plan: digest,
            parent: None,
            element: None,
            place: alone.then_some(place),
            environment: fleet
                .and_then(|fleet| plan.environments.get(fleet.environment? as usize))
                .map(|found| Named { id: found.id.clone(), name: found.name.clone() }),
            infrastructure: fleet.and_then(|fleet| {
                let of_leg = fleet.legs.first().and_then(|leg| leg.infrastructure);
                named(of_leg.or_else(|| {
                    fleet.phases.iter().find_map(|phase| match phase.infrastructure {
                        PhaseInfrastructure::Fixed(index) => Some(index),
                        _ => None,
                    })
                }))
            }),
            services: plan
                .services
                .iter()
                .map(|service| Named { id: service.id.clone(), name: service.name.clone() })
                .collect(),
            cause: actor.cause(),
            notes: request.notes.clone(),
            resumed_from: None,
            resumed_by: None,
            created_at: now,
            state: RowState {
                seq: 1,
                steps_total: if alone { steps_of(plan) } else { 0 },
                ..RowState::default()
            },
        };
        Ok(NewExecution { row, plan: Some(bytes), events: numbered(0, now, vec![first]), idempotency })
    }
}

fn service_of(snapshot: &Snapshot, request: &StartRequest, name: &str) -> Option<Arc<Service>> {
    let catalog = &snapshot.catalog;
    catalog
        .service_named(&request.application, name)
        .or_else(|| {
            catalog.services.get(&name.into()).filter(|service| service.application == request.application)
        })
        .cloned()
}

fn source_of<'s>(service: &'s Service, name: Option<&str>) -> Option<&'s ArtifactSource> {
    match (name, service.sources.as_slice()) {
        (Some(name), sources) => sources.iter().find(|source| source.name == name.trim()),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

fn subject(subject: &Subject) -> Named {
    match subject {
        Subject::Pipeline { id, name, .. } | Subject::Workflow { id, name } => {
            Named { id: id.clone(), name: name.clone() }
        }
    }
}

/// Steps of the one workflow, rollback not counted.
fn steps_of(plan: &Plan) -> u32 {
    let count = plan.workflows.first().map_or(0, |workflow| {
        workflow
            .pre_deployment
            .iter()
            .chain(workflow.phases.iter().flat_map(|phase| &phase.sections))
            .chain(&workflow.post_deployment)
            .map(|section| section.steps.len())
            .sum()
    });
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The plan as bytes with their digest.
async fn freeze(plan: Plan) -> Result<(PlanDigest, Arc<[u8]>, Arc<Plan>)> {
    let frozen = tokio::task::spawn_blocking(move || {
        let bytes = serde_json::to_vec(&plan)?;
        Ok::<_, serde_json::Error>((PlanDigest::of(&bytes), bytes, plan))
    })
    .await;
    match frozen {
        Ok(Ok((digest, bytes, plan))) => Ok((digest, bytes.into(), Arc::new(plan))),
        Ok(Err(error)) => Err(cannot_freeze(&error)),
        Err(error) => Err(cannot_freeze(&error)),
    }
}

fn cannot_freeze(error: &dyn std::error::Error) -> Error {
    tracing::error!(%error, "a plan cannot be written down");
    Error::unavailable(Problem::new(
        code!("PLANNING_BROKE_OFF"),
        "the plan of this start cannot be written down",
    ))
}

/// Tells requests apart that a client sent with one mutation id.
fn digest_of(request: &StartRequest) -> String {
    let bytes = serde_json::to_vec(request).unwrap_or_default();
    PlanDigest::of(&bytes).to_string()
}
