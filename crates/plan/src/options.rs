//! The values that may be chosen for a variable (`behaviour.md` 5.4, S15).

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::{InfrastructureDefinition, Service};
use manifold_model::request::{ExecutionType, VariableInput};
use manifold_model::{EntityId, Problem, code};

use crate::collisions::{self, Known};
use crate::course::{Course, Run};
use crate::entities;
use crate::facts::Facts;
use crate::given::Given;
use crate::infrastructures;
use crate::inputs::{self, Input, Inputs};
use crate::roles::Role;
use crate::settings::Setting;

/// What may be chosen for a variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Type as the API prints it.
    pub kind: String,
    /// Whether several may be chosen.
    pub multiple: bool,
    /// Why not, when not.
    pub why_single: Vec<String>,
    /// The environment whose infrastructure definitions these are.
    pub environment: Option<EntityId>,
    /// Candidates by name; for text the allowed values.
    pub candidates: Vec<Candidate>,
}

/// One value that may be chosen, or is shown with the reason why it may not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Id of the entity; the value itself for text.
    pub id: String,
    /// Name.
    pub name: String,
    /// Why it cannot be chosen; empty: it can.
    pub blocked: Vec<String>,
    /// What to know before choosing it.
    pub marks: Vec<String>,
}

impl Candidate {
    /// Whether it can be chosen.
    #[must_use]
    pub fn selectable(&self) -> bool {
        self.blocked.is_empty()
    }
}

/// The candidates for a variable, given the values so far: exactly the infrastructure definitions of the environment that have the
/// service's deployment type (out of scope: shown, blocked, with the reason; equal targets: marked), the services that fit the phases, the
/// environments, or the allowed values.
///
/// # Errors
/// When there is no such pipeline, workflow or variable.
pub fn options(
    catalog: &Catalog,
    facts: &Facts<'_>,
    entity: &EntityId,
    kind: ExecutionType,
    variable: &str,
    given: &[VariableInput],
) -> Result<Options, Vec<Problem>> {
    let course = inputs::course(catalog, entity, kind)?;
    let given = Given::of(given);
    let inputs = Inputs::of(&course);
    let input = inputs.list.iter().find(|input| input.name == variable).ok_or_else(|| {
        let message = format!("there is no variable {variable} to choose a value for");
        vec![Problem::new(code!("VARIABLE_UNUSED"), message).item(variable)]
    })?;
    let role = input.uses.first().map_or(Role::Text, |(_, declared)| declared.role.clone());
    let why_single = inputs::why_single(&course, input, &role);
    let asking = Asking { catalog, facts, course: &course, given: &given, input };
    let (environment, mut candidates) = match role {
        Role::Environment => (None, asking.environments()),
        Role::Service => (None, asking.services()),
        Role::Infrastructure => asking.infrastructures(),
        _ => (None, asking.allowed()),
    };
    candidates.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok(Options { kind: role.printed(), multiple: why_single.is_empty(), why_single, environment, candidates })
}

struct Asking<'q> {
    catalog: &'q Catalog,
    facts: &'q Facts<'q>,
    course: &'q Course,
    given: &'q Given<'q>,
    input: &'q Input<'q>,
}

impl Asking<'_> {
    fn environments(&self) -> Vec<Candidate> {
        self.catalog
            .environments
            .values()
            .filter(|one| one.application == self.course.application)
            .map(|one| Candidate {
                id: one.id.to_string(),
                name: one.name.clone(),
                blocked: self.permission(&one.id, &one.name),
                marks: Vec::new(),
            })
            .collect()
    }

    fn permission(&self, id: &EntityId, name: &str) -> Vec<String> {
        if (self.facts.may_deploy)(id) {
            return Vec::new();
        }
        vec![format!("no permission to execute in the environment {name}")]
    }

    /// Services of the deployment type of every phase that takes this variable, and of the artifact type where the template says so.
    fn services(&self) -> Vec<Candidate> {
        let fits = |service: &Service| {
            self.uses().all(|(run, variable)| {
                run.settings.phases.iter().zip(&run.workflow.phases).all(|(settings, phase)| {
                    if settings.service != Setting::Variable(variable.to_owned()) {
                        return true;
                    }
                    let kind = phase.deployment_type.as_deref();
                    let artifact =
                        settings.artifact_type.as_deref().filter(|_| service.deployment_type == "SSH");
                    kind.is_none_or(|kind| kind.eq_ignore_ascii_case(&service.deployment_type))
                        && artifact.is_none_or(|kind| kind.eq_ignore_ascii_case(&service.artifact_type))
                })
            })
        };
        self.catalog
            .services
            .values()
            .filter(|one| one.application == self.course.application && fits(one))
            .map(|one| Candidate {
                id: one.id.to_string(),
                name: one.name.clone(),
                blocked: Vec::new(),
                marks: Vec::new(),
            })
            .collect()
    }

    /// Runs that take the variable, with the workflow variable's name.
    fn uses(&self) -> impl Iterator<Item = (&Run, &str)> {
        self.input.uses.iter().map(|(run, declared)| (*run, declared.name.as_str()))
    }

    fn infrastructures(&self) -> (Option<EntityId>, Vec<Candidate>) {
        let environment = self
            .uses()
            .find_map(|(run, _)| entities::environment_so_far(self.catalog, self.course, run, self.given));
        let Some(environment) = environment.and_then(|id| self.catalog.environments.get(&id)) else {
            return (None, Vec::new());
        };
        let services = self.services_of_phases();
        let mut definitions: Vec<&Arc<InfrastructureDefinition>> = self
            .catalog
            .infrastructures
            .values()
            .filter(|one| one.environment == environment.id)
            .filter(|one| {
                services
                    .iter()
                    .all(|service| one.deployment_type.eq_ignore_ascii_case(&service.deployment_type))
            })
            .collect();
        definitions.sort_by(|a, b| a.name.cmp(&b.name));
        let twins = twins(&definitions);
        let permission = self.permission(&environment.id, &environment.name);
        let candidates = definitions
            .iter()
            .zip(twins)
            .map(|(one, twins)| {
                let mut blocked = permission.clone();
                blocked.extend(services.iter().filter(|service| !infrastructures::admits(one, service)).map(
                    |service| {
                        format!(
                            "it is scoped to {}, not to the service {}",
                            one.scoped_services.join(", "),
                            service.name
                        )
                    },
                ));
                let mut marks: Vec<String> =
                    twins.into_iter().map(|names| format!("same target as {names}")).collect();
                if one.name.contains(',') {
                    marks.push("its name holds a comma, so it can only be given by its id".to_owned());
                }
                Candidate { id: one.id.to_string(), name: one.name.clone(), blocked, marks }
            })
            .collect();
        (Some(environment.id.clone()), candidates)
    }

    /// Known services of the phases that take the variable, each once.
    fn services_of_phases(&self) -> Vec<Arc<Service>> {
        let mut services: BTreeMap<EntityId, Arc<Service>> = BTreeMap::new();
        for (run, variable) in self.uses() {
            let known = entities::services_so_far(self.catalog, self.course, run, self.given);
            for (phase, service) in run.settings.phases.iter().zip(known) {
                if let (true, Some(service)) =
                    (phase.infrastructure == Setting::Variable(variable.to_owned()), service)
                {
                    services.insert(service.id.clone(), service);
                }
            }
        }
        services.into_values().collect()
    }

    fn allowed(&self) -> Vec<Candidate> {
        let allowed = self.input.uses.iter().map(|(_, one)| &one.allowed).find(|allowed| !allowed.is_empty());
        let value = |value: &String| Candidate {
            id: value.clone(),
            name: value.clone(),
            blocked: Vec::new(),
            marks: Vec::new(),
        };
        allowed.into_iter().flatten().map(value).collect()
    }
}

/// Per definition the names of the others on the same target.
fn twins(definitions: &[&Arc<InfrastructureDefinition>]) -> Vec<Option<String>> {
    let mut twins: Vec<Option<String>> = vec![None; definitions.len()];
    for group in collisions::groups(definitions, Known::of_definition) {
        if group.legs.len() < 2 {
            continue;
        }
        for leg in &group.legs {
            // A few names are enough: a group may hold thousands.
            let others = group.legs.iter().filter(|other| *other != leg).take(4);
            let names = others.filter_map(|other| definitions.get(*other)).map(|one| one.name.clone());
            if let Some(slot) = twins.get_mut(*leg) {
                *slot = Some(collisions::shown(names));
            }
        }
    }
    twins
}
