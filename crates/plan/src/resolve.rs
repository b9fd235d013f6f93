//! From given values to entities, for one run (`behaviour.md` 4): environment, services, infrastructures, legs.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::{Environment, InfrastructureDefinition, Service, WorkflowType};
use manifold_model::request::ExecutionType;
use manifold_model::{Place, Problem, code};

use crate::complaints::{AtMaybe, Complaints, place};
use crate::course::{Binding, Course, Run};
use crate::facts::Facts;
use crate::given::Given;
use crate::inputs::Inputs;
use crate::settings::Setting;
use crate::values::{self, Chosen};

/// What is asked, for every run alike.
pub(crate) struct Question<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) course: &'a Course,
    pub(crate) inputs: &'a Inputs<'a>,
    pub(crate) given: &'a Given<'a>,
}

/// The entities of one run.
pub(crate) struct Resolved {
    pub(crate) environment: Option<Arc<Environment>>,
    /// Per phase.
    pub(crate) services: Vec<Option<Arc<Service>>>,
    /// Per phase; `None` when the phase runs on the leg's infrastructure, or on none.
    pub(crate) fixed: Vec<Option<Arc<InfrastructureDefinition>>>,
    /// The variable that differs per leg.
    pub(crate) fan_out: Option<String>,
    /// Infrastructure of each leg; a leg without one is a Build workflow's.
    pub(crate) legs: Vec<Option<Arc<InfrastructureDefinition>>>,
    /// Workflow variables common to all legs, entities by name (D13).
    pub(crate) variables: BTreeMap<String, String>,
}

/// What is known of a run's entities.
pub(crate) struct Entities {
    pub(crate) environment: Option<Arc<Environment>>,
    /// Per phase.
    pub(crate) services: Vec<Option<Arc<Service>>>,
    /// All of it, or `None` when something in it is refused so that no fleet can be made of it.
    pub(crate) resolved: Option<Resolved>,
}

/// Resolves a run as far as it can be.
pub(crate) fn resolve(question: &Question<'_>, run: &Run, complaints: &mut Complaints) -> Entities {
    let resolver = Resolver { question, run };
    resolver.check_values(complaints);
    let environment = resolver.environment(complaints);
    let services = resolver.services(complaints);
    let resolved = if run.workflow.kind == WorkflowType::Build {
        Some(Resolved {
            environment: None,
            fixed: vec![None; services.len()],
            services: services.clone(),
            fan_out: None,
            legs: vec![None],
            variables: resolver.texts(),
        })
    } else {
        let environment = environment.clone();
        environment.and_then(|environment| resolver.fleet(environment, services.clone(), complaints))
    };
    Entities { environment, services, resolved }
}

pub(crate) struct Resolver<'q, 'a> {
    pub(crate) question: &'q Question<'a>,
    pub(crate) run: &'q Run,
}

impl Resolver<'_, '_> {
    pub(crate) fn chosen(&self, index: usize) -> Option<Chosen<'_>> {
        values::chosen(self.run, index, self.question.given)
    }

    pub(crate) fn workflow_place(&self) -> Option<Place> {
        let workflow = &self.run.workflow;
        place(self.question.catalog, &workflow.application, "Workflows", &workflow.name, 0)
    }

    pub(crate) fn incomplete(&self, message: String) -> Problem {
        Problem::new(code!("WORKFLOW_INCOMPLETE"), message)
            .item(self.run.workflow.name.clone())
            .at_maybe(self.workflow_place())
    }

    /// Infrastructures, legs, and the common variables.
    fn fleet(
        &self,
        environment: Arc<Environment>,
        services: Vec<Option<Arc<Service>>>,
        complaints: &mut Complaints,
    ) -> Option<Resolved> {
        let mut variables = self.texts();
        let mut fixed = Vec::with_capacity(self.run.settings.phases.len());
        let mut complete = self.check_phases(complaints);
        let mut lists: BTreeMap<&str, Vec<Arc<InfrastructureDefinition>>> = BTreeMap::new();
        let fan_out = self.fan_out();
        for (phase, service) in self.run.settings.phases.iter().zip(&services) {
            let found: Vec<Arc<InfrastructureDefinition>> = match &phase.infrastructure {
                Setting::Missing => {
                    complete &= may_be_bare(self.run.workflow.kind);
                    fixed.push(None);
                    continue;
                }
                Setting::Fixed(name) => self
                    .fixed_infrastructure(&phase.name, name, &environment, complaints)
                    .into_iter()
                    .collect(),
                Setting::Variable(name) => lists
                    .entry(name)
                    .or_insert_with(|| self.infrastructures(name, &environment, complaints))
                    .clone(),
            };
            complete &= !found.is_empty();
            for _ in &found {
                self.check_permission(&environment, complaints);
            }
            for definition in &found {
                self.check_infrastructure(definition, service.as_deref(), &environment, complaints);
            }
            fixed.push(if fan_out.is_some() { None } else { found.into_iter().next() });
        }
        self.name_entities(&environment, &services, &lists, fan_out, &mut variables);
        let legs = match fan_out.and_then(|name| lists.remove(name)) {
            Some(list) => list.into_iter().map(Some).collect(),
            None => vec![fixed.iter().flatten().next().cloned()],
        };
        let fan_out = fan_out.map(str::to_owned);
        let services_known = services.iter().all(Option::is_some) || may_be_bare(self.run.workflow.kind);
        (complete && services_known).then_some(Resolved {
            environment: Some(environment),
            services,
            fixed,
            fan_out,
            legs,
            variables,
        })
    }

    /// Permission, asked per leg (D2), so that a later rule about single infrastructures has its place.
    fn check_permission(&self, environment: &Environment, complaints: &mut Complaints) {
        if !(self.question.facts.may_deploy)(&environment.id) {
            complaints.refuse(
                Problem::new(
                    code!("DEPLOYMENT_NOT_ALLOWED"),
                    format!(
                        "User does not have \"Deployment: execute\" permission in the environment {}",
                        environment.name
                    ),
                )
                .item(environment.name.clone()),
            );
        }
    }

    /// Complaints about phases that say too little (`behaviour.md` 9.2).
    fn check_phases(&self, complaints: &mut Complaints) -> bool {
        let workflow = &self.run.workflow;
        if may_be_bare(workflow.kind) {
            return true;
        }
        if workflow.phases.is_empty() {
            complaints.refuse(self.incomplete(format!("the workflow {} has no phase", workflow.name)));
        }
        for phase in &self.run.settings.phases {
            if phase.infrastructure == Setting::Missing {
                complaints.refuse(self.incomplete(format!(
                    "phase {} of the workflow {} has no infrastructure definition",
                    phase.name, workflow.name
                )));
            }
        }
        !workflow.phases.is_empty()
    }

    /// The fan-out variable: one variable in all phases whose value the stage leaves open.
    fn fan_out(&self) -> Option<&str> {
        let name = self.run.settings.fan_out().ok()?;
        let (index, _) = self.run.settings.variable(name)?;
        let open = matches!(self.run.bindings.get(index), Some(Binding::Input(_)));
        (open && self.question.course.kind == ExecutionType::Pipeline).then_some(name)
    }

    /// Entity variables as names (D13); the fan-out variable is each leg's own (D12).
    fn name_entities(
        &self,
        environment: &Environment,
        services: &[Option<Arc<Service>>],
        lists: &BTreeMap<&str, Vec<Arc<InfrastructureDefinition>>>,
        fan_out: Option<&str>,
        variables: &mut BTreeMap<String, String>,
    ) {
        if let Setting::Variable(name) = &self.run.settings.environment {
            variables.insert(name.clone(), environment.name.clone());
        }
        for (phase, service) in self.run.settings.phases.iter().zip(services) {
            if let (Setting::Variable(name), Some(service)) = (&phase.service, service) {
                variables.insert(name.clone(), service.name.clone());
            }
        }
        for (name, list) in lists {
            if let (false, Some(definition)) = (fan_out == Some(*name), list.first()) {
                variables.insert((*name).to_owned(), definition.name.clone());
            }
        }
    }
}

/// Whether phases of this type need neither service nor infrastructure (`behaviour.md` 6.1).
pub(crate) fn may_be_bare(kind: WorkflowType) -> bool {
    matches!(kind, WorkflowType::Build | WorkflowType::Custom)
}
