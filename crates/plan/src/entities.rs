//! The environment and the services of a run.

use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::{Environment, Phase, Service, WorkflowType};
use manifold_model::request::ValueKind;
use manifold_model::{EntityId, Problem, code};

use crate::complaints::{AtMaybe, Complaints};
use crate::course::{Course, Run};
use crate::given::{self, Given};
use crate::resolve::{Resolver, may_be_bare};
use crate::roles::Role;
use crate::settings::{PhaseSettings, Setting};
use crate::values::{Chosen, chosen, shortened};

/// The environment of a run as far as it is known.
pub(crate) fn environment_so_far(
    catalog: &Catalog,
    course: &Course,
    run: &Run,
    given: &Given<'_>,
) -> Option<EntityId> {
    let named = |name: &str| catalog.environment_named(&course.application, name.trim());
    let found = match &run.settings.environment {
        Setting::Missing => None,
        Setting::Fixed(name) => named(name),
        Setting::Variable(name) => {
            let (index, _) = run.settings.variable(name)?;
            let chosen = chosen(run, index, given)?;
            match chosen.given.map(|input| input.kind) {
                Some(ValueKind::Id) => catalog.environments.get(&EntityId::from(chosen.text.trim())),
                _ => named(chosen.text),
            }
        }
    };
    found.filter(|environment| environment.application == course.application).map(|found| found.id.clone())
}

/// The services of a run's phases as far as they are known.
pub(crate) fn services_so_far(
    catalog: &Catalog,
    course: &Course,
    run: &Run,
    given: &Given<'_>,
) -> Vec<Option<Arc<Service>>> {
    let named = |name: &str| catalog.service_named(&course.application, name.trim());
    let one = |setting: &Setting| match setting {
        Setting::Missing => None,
        Setting::Fixed(name) => named(name).cloned(),
        Setting::Variable(name) => {
            let (index, _) = run.settings.variable(name)?;
            let chosen = chosen(run, index, given)?;
            match chosen.given.map(|input| input.kind) {
                Some(ValueKind::Id) => catalog
                    .services
                    .get(&EntityId::from(chosen.text.trim()))
                    .filter(|service| service.application == course.application)
                    .cloned(),
                _ => named(chosen.text).cloned(),
            }
        }
    };
    run.settings.phases.iter().map(|phase| one(&phase.service)).collect()
}

impl Resolver<'_, '_> {
    pub(crate) fn environment(&self, complaints: &mut Complaints) -> Option<Arc<Environment>> {
        let catalog = self.question.catalog;
        let application = &self.question.course.application;
        let by_name = |name: &str| catalog.environment_named(application, name).cloned();
        match &self.run.settings.environment {
            Setting::Missing if self.run.workflow.kind == WorkflowType::Build => None,
            Setting::Missing => {
                complaints.refuse(
                    self.incomplete(format!("the workflow {} has no environment", self.run.workflow.name)),
                );
                None
            }
            Setting::Fixed(name) => {
                let found = by_name(name);
                if found.is_none() {
                    complaints.refuse(self.incomplete(format!(
                        "the workflow {} names the environment {name}, which does not exist",
                        self.run.workflow.name
                    )));
                }
                found
            }
            Setting::Variable(variable) => {
                let by_id = |id: &EntityId| {
                    catalog.environments.get(id).filter(|found| &found.application == application).cloned()
                };
                self.one(variable, &Role::Environment, by_name, by_id, complaints)
            }
        }
    }

    pub(crate) fn services(&self, complaints: &mut Complaints) -> Vec<Option<Arc<Service>>> {
        let phases = self.run.settings.phases.iter().zip(&self.run.workflow.phases);
        phases
            .map(|(settings, phase)| {
                let service = self.service(&settings.service, &phase.name, complaints)?;
                self.check_service(settings, phase, &service, complaints);
                Some(service)
            })
            .collect()
    }

    pub(crate) fn service(
        &self,
        setting: &Setting,
        phase: &str,
        complaints: &mut Complaints,
    ) -> Option<Arc<Service>> {
        let catalog = self.question.catalog;
        let application = &self.question.course.application;
        let by_name = |name: &str| catalog.service_named(application, name).cloned();
        match setting {
            Setting::Missing => {
                if !may_be_bare(self.run.workflow.kind) {
                    complaints.refuse(self.incomplete(format!(
                        "phase {phase} of the workflow {} has no service",
                        self.run.workflow.name
                    )));
                }
                None
            }
            Setting::Fixed(name) => {
                let found = by_name(name);
                if found.is_none() {
                    complaints.refuse(self.incomplete(format!(
                        "phase {phase} of the workflow {} names the service {name}, which does not exist",
                        self.run.workflow.name
                    )));
                }
                found
            }
            Setting::Variable(variable) => {
                let by_id = |id: &EntityId| {
                    catalog.services.get(id).filter(|found| &found.application == application).cloned()
                };
                self.one(variable, &Role::Service, by_name, by_id, complaints)
            }
        }
    }

    /// A service must have the phase's deployment type, and where the template says so its artifact type (`behaviour.md` 6.3).
    pub(crate) fn check_service(
        &self,
        settings: &PhaseSettings,
        phase: &Phase,
        service: &Service,
        complaints: &mut Complaints,
    ) {
        let mut refuse = |message: String| {
            complaints.refuse(
                Problem::new(code!("SERVICE_WRONG_TYPE"), message)
                    .item(service.name.clone())
                    .at_maybe(self.workflow_place()),
            );
        };
        if let Some(wanted) = &phase.deployment_type
            && !wanted.eq_ignore_ascii_case(&service.deployment_type)
        {
            refuse(format!(
                "the service {} has the deployment type {}, and phase {} deploys {wanted}",
                service.name, service.deployment_type, phase.name
            ));
        }
        if let (Setting::Variable(_), Some(wanted)) = (&settings.service, &settings.artifact_type)
            && service.deployment_type == "SSH"
            && !wanted.eq_ignore_ascii_case(&service.artifact_type)
        {
            refuse(format!(
                "the service {} has the artifact type {}, and phase {} deploys {wanted}",
                service.name, service.artifact_type, phase.name
            ));
        }
    }

    /// The one entity that a variable names.
    pub(crate) fn one<T>(
        &self,
        variable: &str,
        role: &Role,
        by_name: impl Fn(&str) -> Option<Arc<T>>,
        by_id: impl Fn(&EntityId) -> Option<Arc<T>>,
        complaints: &mut Complaints,
    ) -> Option<Arc<T>> {
        let (index, _) = self.run.settings.variable(variable)?;
        let chosen = self.chosen(index)?;
        let text = chosen.text.trim();
        if !self.is_name(role, &chosen, complaints) {
            return None;
        }
        if chosen.given.is_some() && text.contains(',') {
            complaints.refuse(given::single(chosen.name, role));
            return None;
        }
        let by_id_asked = chosen.given.is_some_and(|given| given.kind == ValueKind::Id);
        let found = if by_id_asked { by_id(&EntityId::from(text)) } else { by_name(text) };
        if found.is_none() {
            let hint = match by_id_asked {
                true if by_name(text).is_some() => Some("it is a name; give it with type NAME"),
                false if by_id(&EntityId::from(text)).is_some() => Some("it is an id; give it with type ID"),
                _ => None,
            };
            let what = if by_id_asked { "id" } else { "name" };
            let message = format!("the application has no {} with the {what} {text}", role.noun());
            let code = match role {
                Role::Environment => code!("ENVIRONMENT_UNKNOWN"),
                _ => code!("SERVICE_UNKNOWN"),
            };
            let mut problem = Problem::new(code, message)
                .item(text)
                .detail(format!("variable {} of {}", chosen.name, self.run.title));
            problem.hint = hint.map(str::to_owned);
            complaints.refuse(problem);
        }
        found
    }

    /// Whether a value of an entity can be resolved at start. What cannot be is refused here or was by `check_value`.
    pub(crate) fn is_name(&self, role: &Role, chosen: &Chosen<'_>, complaints: &mut Complaints) -> bool {
        if chosen.given.is_some_and(|given| given.kind == ValueKind::Expression) {
            return false;
        }
        if chosen.given.is_none() && chosen.text.contains("${") {
            complaints.refuse(
                Problem::new(
                    code!("STAGE_VALUE_UNSUPPORTED"),
                    format!(
                        "{} decides the {} {} by the text {:?}",
                        self.run.title,
                        role.noun(),
                        chosen.name,
                        shortened(chosen.text)
                    ),
                )
                .item(chosen.name)
                .hint("use a name, or one expression such as ${name} as the whole value")
                .at_maybe(self.run.place.clone()),
            );
            return false;
        }
        true
    }
}
