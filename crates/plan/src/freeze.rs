//! The plan itself.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::{Environment, Service, WorkflowType};
use manifold_model::plan::{
    ApplicationPlan, ElementPlan, FleetPlan, FleetPolicy, LegPlan, PLAN_VERSION, PhaseBinding,
    PhaseInfrastructure, Plan, StagePlan, WorkflowPlan,
};
use manifold_model::request::StartRequest;
use manifold_model::{EntityId, Problem, code};

use crate::artifacts;
use crate::collisions;
use crate::complaints::Complaints;
use crate::course::{Course, Run};
use crate::facts::Facts;
use crate::given::{self, Given};
use crate::inputs::{self, Inputs};
use crate::kinds::Kinds;
use crate::manifests::Shelf;
use crate::reach;
use crate::resolve::{self, Entities, Question, Resolved};
use crate::steps::{self, Ground, Planned};
use crate::tables::Tables;

/// Plans a start: the frozen plan, its warnings within, or every reason why not (at most a thousand of them, each once).
///
/// # Errors
/// Every reason why not, each with a stable code and the item it is about.
pub fn plan(request: &StartRequest, catalog: &Catalog, facts: &Facts<'_>) -> Result<Plan, Vec<Problem>> {
    let mut complaints = Complaints::default();
    let course = Course::of(catalog, &request.entity, request.kind, &mut complaints)
        .filter(|course| course.application == request.application)
        .ok_or_else(|| vec![inputs::unknown(&request.entity, request.kind)])?;
    let application = catalog
        .applications
        .get(&request.application)
        .ok_or_else(|| vec![inputs::unknown(&request.entity, request.kind)])?;
    if course.stages.is_empty() {
        complaints.refuse(Problem::new(code!("PIPELINE_INCOMPLETE"), "the pipeline has no stages"));
    }
    if request.exclude_hosts_with_same_artifact {
        complaints.warn(
            Problem::new(
                code!("EXCLUDE_HOSTS_IGNORED"),
                "excludeHostsWithSameArtifact has no effect yet: hosts that already have the artifact are deployed to again",
            )
            .item("excludeHostsWithSameArtifact"),
        );
    }
    let inputs = Inputs::of(&course);
    inputs.check(&course, &mut complaints);
    given::check(catalog, &request.variables, &course, &mut complaints);
    let given = Given::of(&request.variables);
    let question = Question { catalog, facts, course: &course, inputs: &inputs, given: &given };
    let mut freezer = Freezer::new(question, &mut complaints);
    let stages = freezer.stages();
    let Freezer { tables, workflows, needing, shelf, .. } = freezer;
    if let Some(hosts) = &request.specific_hosts {
        reach::check_specific_hosts(hosts, tables.infrastructures.rows(), &mut complaints);
    }
    let mut artifacts =
        artifacts::choose(catalog, facts, &course, &request.services, &needing, &mut complaints);
    let warnings = complaints.settle()?;
    Ok(Plan {
        version: PLAN_VERSION,
        account: catalog.account.to_string(),
        account_defaults: catalog.account_defaults.clone(),
        catalog_revision: catalog.revision,
        application: ApplicationPlan {
            id: application.id.clone(),
            name: application.name.clone(),
            description: application.description.clone(),
            defaults: application.defaults.clone(),
        },
        subject: course.subject.clone(),
        inputs: request.variables.clone(),
        stages,
        workflows,
        services: tables.services(catalog, &mut artifacts, &shelf),
        environments: tables.environments(&shelf),
        infrastructures: tables.infrastructures(catalog),
        warnings,
        specific_hosts: request.specific_hosts.clone(),
    })
}

/// A workflow with the services of its phases and the environment whose values count: the same three are planned once.
type Planning = (EntityId, Vec<Option<EntityId>>, Option<EntityId>);

struct Freezer<'q, 'c> {
    question: Question<'q>,
    complaints: &'c mut Complaints,
    kinds: Kinds<'q>,
    shelf: Shelf<'q>,
    tables: Tables,
    workflows: Vec<WorkflowPlan>,
    planned: HashMap<Planning, (u32, Rc<Planned>)>,
    needing: BTreeMap<EntityId, (Arc<Service>, String)>,
}

impl<'q, 'c> Freezer<'q, 'c> {
    fn new(question: Question<'q>, complaints: &'c mut Complaints) -> Self {
        let kinds = Kinds::of(question.facts.kinds);
        let shelf = Shelf::new(question.facts);
        Self {
            question,
            complaints,
            kinds,
            shelf,
            tables: Tables::new(),
            workflows: Vec::new(),
            planned: HashMap::new(),
            needing: BTreeMap::new(),
        }
    }

    fn stages(&mut self) -> Vec<StagePlan> {
        let course = self.question.course;
        let mut stages = Vec::with_capacity(course.stages.len());
        for stage in &course.stages {
            let mut elements = Vec::with_capacity(stage.elements.len());
            for element in &stage.elements {
                let fleet = element.run.as_ref().and_then(|run| self.fleet(run));
                elements.push(ElementPlan {
                    id: element.id.clone(),
                    name: element.name.clone(),
                    skip: element.skip.clone(),
                    fleet,
                });
            }
            stages.push(StagePlan { name: stage.name.clone(), elements });
        }
        stages
    }

    fn fleet(&mut self, run: &Run) -> Option<FleetPlan> {
        let Entities { environment, services, resolved } =
            resolve::resolve(&self.question, run, self.complaints);
        // Steps are looked at even when the entities are refused: every reason at once.
        let (workflow, planned) = self.steps(run, environment.as_deref(), &services);
        self.note_artifacts(run, &services, &planned);
        let resolved = resolved?;
        let Question { catalog, facts, .. } = self.question;
        reach::check(catalog, facts, run, &resolved, &planned, self.complaints);
        collisions::check(catalog, facts, run, &resolved, &planned, self.complaints);
        Some(self.freeze(workflow, run, resolved))
    }

    fn steps(
        &mut self,
        run: &Run,
        environment: Option<&Environment>,
        services: &[Option<Arc<Service>>],
    ) -> (u32, Rc<Planned>) {
        let environment = environment.filter(|environment| !environment.values.is_empty());
        let key: Planning = (
            run.workflow.id.clone(),
            services.iter().map(|service| service.as_ref().map(|service| service.id.clone())).collect(),
            environment.map(|environment| environment.id.clone()),
        );
        if let Some((index, planned)) = self.planned.get(&key) {
            return (*index, Rc::clone(planned));
        }
        let Question { catalog, facts, .. } = self.question;
        let ground = Ground { catalog, facts, kinds: &self.kinds, environment };
        let planned =
            Rc::new(steps::plan_steps(ground, &run.workflow, services, &mut self.shelf, self.complaints));
        let index = u32::try_from(self.workflows.len()).unwrap_or(u32::MAX);
        self.workflows.push(planned.workflow.clone());
        self.planned.insert(key, (index, Rc::clone(&planned)));
        (index, planned)
    }

    fn note_artifacts(&mut self, run: &Run, services: &[Option<Arc<Service>>], planned: &Planned) {
        for (needs, service) in planned.needs.iter().zip(services) {
            if let (true, Some(service)) = (needs.artifact, service) {
                self.needing
                    .entry(service.id.clone())
                    .or_insert_with(|| (Arc::clone(service), run.title.clone()));
            }
        }
    }

    fn freeze(&mut self, workflow: u32, run: &Run, resolved: Resolved) -> FleetPlan {
        let environment = resolved
            .environment
            .as_ref()
            .map(|environment| self.tables.environments.index(&environment.id, environment));
        let bare = run.workflow.kind == WorkflowType::Build;
        let mut phases = Vec::with_capacity(resolved.services.len());
        for (service, fixed) in resolved.services.iter().zip(&resolved.fixed) {
            let service = service.as_ref().map(|service| self.tables.services.index(&service.id, service));
            let infrastructure = match fixed {
                Some(definition) => {
                    PhaseInfrastructure::Fixed(self.tables.infrastructures.index(&definition.id, definition))
                }
                None if resolved.fan_out.is_some() && !bare => PhaseInfrastructure::Leg,
                None => PhaseInfrastructure::None,
            };
            phases.push(PhaseBinding { service, infrastructure });
        }
        let legs = resolved
            .legs
            .iter()
            .map(|leg| LegPlan {
                infrastructure: leg
                    .as_ref()
                    .map(|definition| self.tables.infrastructures.index(&definition.id, definition)),
            })
            .collect();
        FleetPlan {
            workflow,
            environment,
            fan_out: resolved.fan_out,
            variables: resolved.variables,
            phases,
            legs,
            policy: FleetPolicy::default(),
        }
    }
}
