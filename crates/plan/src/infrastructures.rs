//! The infrastructures of a run: lists, and every item of them checked (`behaviour.md` 4.3, 4.4, 24.2).

use std::collections::HashSet;
use std::sync::Arc;

use manifold_model::entity::{Environment, InfrastructureDefinition, Service};
use manifold_model::request::ValueKind;
use manifold_model::{EntityId, Problem, code};

use crate::complaints::Complaints;
use crate::given;
use crate::inputs;
use crate::resolve::Resolver;
use crate::roles::Role;
use crate::values::Chosen;

impl Resolver<'_, '_> {
    pub(crate) fn fixed_infrastructure(
        &self,
        phase: &str,
        name: &str,
        environment: &Environment,
        complaints: &mut Complaints,
    ) -> Option<Arc<InfrastructureDefinition>> {
        let found = self.question.catalog.infrastructure_named(&environment.id, name).cloned();
        if found.is_none() {
            complaints.refuse(self.incomplete(format!(
                "phase {phase} of the workflow {} names the infrastructure definition {name}, which the environment {} does not have",
                self.run.workflow.name, environment.name
            )));
        }
        found
    }

    /// The infrastructures that a variable names, in the order given.
    pub(crate) fn infrastructures(
        &self,
        variable: &str,
        environment: &Environment,
        complaints: &mut Complaints,
    ) -> Vec<Arc<InfrastructureDefinition>> {
        let Some((index, _)) = self.run.settings.variable(variable) else { return Vec::new() };
        let Some(chosen) = self.chosen(index) else { return Vec::new() };
        if !self.is_name(&Role::Infrastructure, &chosen, complaints) {
            return Vec::new();
        }
        let Some(given) = chosen.given else {
            let name = chosen.text.trim();
            let found = self.question.catalog.infrastructure_named(&environment.id, name).cloned();
            if found.is_none() {
                complaints.refuse(self.unknown(chosen.name, name, false, environment));
            }
            return found.into_iter().collect();
        };
        let items = given::items(given, complaints);
        self.check_count(&chosen, &items, complaints);
        let by_id = given.kind == ValueKind::Id;
        let mut seen = HashSet::new();
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let found = if by_id {
                self.question.catalog.infrastructures.get(&EntityId::from(item))
            } else {
                self.question.catalog.infrastructure_named(&environment.id, item)
            };
            match found.filter(|found| found.environment == environment.id) {
                Some(found) if seen.insert(found.id.clone()) => list.push(Arc::clone(found)),
                Some(found) => complaints.refuse(given::duplicate(chosen.name, &found.name)),
                None => complaints.refuse(self.unknown(chosen.name, item, by_id, environment)),
            }
        }
        list
    }

    /// Several only where the preconditions of `behaviour.md` 4 hold (S07, S08, S17), and not too many (D6).
    pub(crate) fn check_count(&self, chosen: &Chosen<'_>, items: &[&str], complaints: &mut Complaints) {
        if items.len() > 1 {
            let course = self.question.course;
            let input = self.question.inputs.list.iter().find(|input| input.name == chosen.name);
            let why = input
                .map(|input| inputs::why_single(course, input, &Role::Infrastructure))
                .unwrap_or_default();
            if !why.is_empty() {
                complaints.refuse(
                    Problem::new(
                        code!("MULTIPLE_INFRASTRUCTURES"),
                        format!("the variable {} takes one infrastructure: {}", chosen.name, why.join("; ")),
                    )
                    .item(chosen.name)
                    .hint("give one value, or use one variable for the infrastructure of every phase and start a pipeline"),
                );
            }
        }
        let limit = self.question.facts.max_legs;
        if items.len() > limit {
            complaints.refuse(
                Problem::new(
                    code!("TOO_MANY_LEGS"),
                    format!(
                        "the variable {} names {} infrastructures, and {limit} are allowed",
                        chosen.name,
                        items.len()
                    ),
                )
                .item(chosen.name)
                .hint("start it in several parts"),
            );
        }
    }

    /// Why an infrastructure was not found (S12, S13, S31, D4).
    pub(crate) fn unknown(
        &self,
        variable: &str,
        item: &str,
        by_id: bool,
        environment: &Environment,
    ) -> Problem {
        let catalog = self.question.catalog;
        let detail = format!("variable {variable} of {}", self.run.title);
        let elsewhere = if by_id {
            catalog.infrastructures.get(&EntityId::from(item)).map(|found| &found.environment)
        } else {
            catalog
                .environments
                .values()
                .filter(|other| other.application == environment.application && other.id != environment.id)
                .filter(|other| catalog.infrastructure_named(&other.id, item).is_some())
                .min_by(|a, b| a.name.cmp(&b.name))
                .map(|other| &other.id)
        };
        if let Some(other) = elsewhere.and_then(|id| catalog.environments.get(id)) {
            return Problem::new(
                code!("INFRASTRUCTURE_OTHER_ENVIRONMENT"),
                format!(
                    "the infrastructure definition {item} belongs to the environment {}, not to {}",
                    other.name, environment.name
                ),
            )
            .item(item)
            .detail(detail)
            .hint("all infrastructure definitions of one deployment must be in its one environment");
        }
        let what = if by_id { "id" } else { "name" };
        let problem = Problem::new(
            code!("INFRASTRUCTURE_UNKNOWN"),
            format!(
                "the environment {} has no infrastructure definition with the {what} {item}",
                environment.name
            ),
        )
        .item(item)
        .detail(detail);
        if by_id && catalog.infrastructure_named(&environment.id, item).is_some() {
            return problem.hint("it is a name; give the whole list with type NAME");
        }
        if !by_id && catalog.infrastructures.contains_key(&EntityId::from(item)) {
            return problem.hint("it is an id; give the whole list with type ID");
        }
        problem.hint("check the spelling; a name that holds a comma can only be given by its id")
    }

    /// Deployment type and scope against the phase's service (`behaviour.md` 4.4, 5.4).
    pub(crate) fn check_infrastructure(
        &self,
        definition: &InfrastructureDefinition,
        service: Option<&Service>,
        environment: &Environment,
        complaints: &mut Complaints,
    ) {
        let Some(service) = service else { return };
        if !definition.deployment_type.eq_ignore_ascii_case(&service.deployment_type) {
            complaints.refuse(
                Problem::new(
                    code!("INFRASTRUCTURE_WRONG_TYPE"),
                    format!(
                        "the infrastructure definition {} has the deployment type {}, and the service {} is deployed as {}",
                        definition.name, definition.deployment_type, service.name, service.deployment_type
                    ),
                )
                .item(definition.name.clone())
                .detail(format!("environment {}", environment.name)),
            );
        }
        if !admits(definition, service) {
            complaints.refuse(
                Problem::new(
                    code!("INFRASTRUCTURE_OUT_OF_SCOPE"),
                    format!(
                        "the infrastructure definition {} is scoped to other services than {}",
                        definition.name, service.name
                    ),
                )
                .item(definition.name.clone())
                .detail(format!("it is scoped to {}", definition.scoped_services.join(", ")))
                .hint("choose another one, or add the service to its scope"),
            );
        }
    }
}

/// Whether a definition's scope admits a service (`behaviour.md` 5.4).
pub(crate) fn admits(definition: &InfrastructureDefinition, service: &Service) -> bool {
    definition.scoped_services.is_empty() || definition.scoped_services.contains(&service.name)
}
