//! From given values to entities, for one run: environment, services and infrastructures, every one checked (`behaviour.md` 4.3, 4.4, 24.2).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::entity::{Environment, InfrastructureDefinition, Service, WorkflowType};
use manifold_model::request::{ExecutionType, ValueKind, VariableInput};
use manifold_model::{EntityId, Place, Problem, code};

use crate::complaints::{AtMaybe, Complaints, place};
use crate::course::{Binding, Course, Run};
use crate::facts::Facts;
use crate::given::{self, Given};
use crate::inputs::Inputs;
use crate::roles::Role;
use crate::settings::{Declared, Setting};

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

/// A variable's value and where it comes from.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    text: &'a str,
    /// Set when the value was given at start, so that it may be a list or hold ids.
    given: Option<&'a VariableInput>,
    /// Name for messages: the input's, or the workflow variable's.
    name: &'a str,
    /// Whether the stage wrote it.
    stage: bool,
}

fn chosen<'a>(run: &'a Run, index: usize, given: &Given<'a>) -> Option<Chosen<'a>> {
    let declared = run.settings.variables.get(index)?;
    let default = |name: &'a str| {
        let text = declared.default.as_deref()?;
        Some(Chosen { text, given: None, name, stage: false })
    };
    match run.bindings.get(index)? {
        Binding::Input(name) => match given.get(name) {
            Some(input) => Some(Chosen { text: &input.value, given: Some(input), name, stage: false }),
            None => default(name),
        },
        Binding::Stage(text) => Some(Chosen { text, given: None, name: &declared.name, stage: true }),
        Binding::Default => default(&declared.name),
    }
}

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

/// Resolves a run; `None` when something in it is refused so that no fleet can be made of it.
pub(crate) fn resolve(question: &Question<'_>, run: &Run, complaints: &mut Complaints) -> Option<Resolved> {
    let resolver = Resolver { question, run };
    resolver.check_values(complaints);
    let environment = resolver.environment(complaints);
    let services = resolver.services(complaints);
    if run.workflow.kind == WorkflowType::Build {
        let variables = resolver.texts();
        return Some(Resolved {
            environment: None,
            fixed: vec![None; services.len()],
            services,
            fan_out: None,
            legs: vec![None],
            variables,
        });
    }
    let environment = environment?;
    if !(question.facts.may_deploy)(&environment.id) {
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
    resolver.fleet(environment, services, complaints)
}

struct Resolver<'q, 'a> {
    question: &'q Question<'a>,
    run: &'q Run,
}

impl Resolver<'_, '_> {
    fn chosen(&self, index: usize) -> Option<Chosen<'_>> {
        chosen(self.run, index, self.question.given)
    }

    fn workflow_place(&self) -> Option<Place> {
        let workflow = &self.run.workflow;
        place(self.question.catalog, &workflow.application, "Workflows", &workflow.name, 0)
    }

    /// Values against their declarations (`behaviour.md` 6.4).
    fn check_values(&self, complaints: &mut Complaints) {
        for (index, declared) in self.run.settings.variables.iter().enumerate() {
            match self.chosen(index) {
                None if declared.required => self.missing(index, declared, complaints),
                None => {}
                Some(chosen) => self.check_value(declared, &chosen, complaints),
            }
        }
    }

    fn missing(&self, index: usize, declared: &Declared, complaints: &mut Complaints) {
        let problem = match self.run.bindings.get(index) {
            Some(Binding::Input(name)) => Problem::new(
                code!("VARIABLE_MISSING"),
                format!("the required variable {name} ({}) has no value", declared.role.printed()),
            )
            .item(name.clone())
            .detail(format!("needed by {}", self.run.title))
            .hint("give it a value at start"),
            _ => Problem::new(
                code!("PIPELINE_INCOMPLETE"),
                format!(
                    "{} gives no value to the required variable {} of the workflow {}",
                    self.run.title, declared.name, self.run.workflow.name
                ),
            )
            .item(declared.name.clone())
            .hint("give it a value or an expression in the stage, and save the pipeline"),
        };
        complaints.refuse(problem.at_maybe(self.run.place.clone()));
    }

    fn check_value(&self, declared: &Declared, chosen: &Chosen<'_>, complaints: &mut Complaints) {
        let name = chosen.name;
        let mut refuse = |problem: Problem| {
            let place = self.run.place.clone().filter(|_| chosen.stage);
            complaints.refuse(problem.item(name).at_maybe(place));
        };
        if chosen.given.is_some_and(|given| {
            given::is_runtime_input(given)
                || (given.kind == ValueKind::Expression && declared.role.is_resolved())
        }) {
            refuse(
                Problem::new(
                    code!("RUNTIME_INPUT_UNSUPPORTED"),
                    format!(
                        "{name} is to be decided at run time in {}, which cannot be done yet",
                        self.run.title
                    ),
                )
                .hint("give it a value by NAME or ID"),
            );
            return;
        }
        let changes = (chosen.given.is_some() || chosen.stage)
            && declared.default.as_deref().is_some_and(|default| default != chosen.text);
        if declared.fixed && changes {
            refuse(
                Problem::new(
                    code!("VARIABLE_FIXED"),
                    format!(
                        "the variable {} of the workflow {} is fixed and cannot be changed",
                        declared.name, self.run.workflow.name
                    ),
                )
                .hint(format!(
                    "leave it out; its value is {}",
                    declared.default.as_deref().unwrap_or_default()
                )),
            );
        }
        if chosen.text.contains("${") {
            return;
        }
        if declared.role == Role::Number && chosen.text.trim().parse::<f64>().map_or(true, |n| !n.is_finite())
        {
            refuse(Problem::new(
                code!("VALUE_NOT_A_NUMBER"),
                format!("the variable {name} takes a number, not {:?}", shortened(chosen.text)),
            ));
        }
        let by_id = chosen.given.is_some_and(|given| given.kind == ValueKind::Id);
        if !declared.allowed.is_empty() && !by_id {
            for value in self.values(declared, chosen) {
                if !declared.allowed.iter().any(|allowed| allowed == value) {
                    refuse(
                        Problem::new(
                            code!("VALUE_NOT_ALLOWED"),
                            format!("the variable {name} does not allow the value {:?}", shortened(value)),
                        )
                        .hint(format!("allowed are {}", declared.allowed.join(", "))),
                    );
                }
            }
        }
    }

    fn values<'t>(&self, declared: &Declared, chosen: &Chosen<'t>) -> Vec<&'t str> {
        match chosen.given {
            Some(_) if declared.role == Role::Infrastructure => {
                chosen.text.split(',').map(str::trim).collect()
            }
            _ => vec![chosen.text],
        }
    }

    /// Values of the variables that are not entities.
    fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (index, declared) in self.run.settings.variables.iter().enumerate() {
            if !declared.role.is_resolved() {
                let text = self.chosen(index).map(|chosen| chosen.text.to_owned()).unwrap_or_default();
                texts.insert(declared.name.clone(), text);
            }
        }
        texts
    }

    fn incomplete(&self, message: String) -> Problem {
        Problem::new(code!("WORKFLOW_INCOMPLETE"), message)
            .item(self.run.workflow.name.clone())
            .at_maybe(self.workflow_place())
    }

    fn environment(&self, complaints: &mut Complaints) -> Option<Arc<Environment>> {
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

    fn services(&self, complaints: &mut Complaints) -> Vec<Option<Arc<Service>>> {
        let phases = self.run.settings.phases.iter().zip(&self.run.workflow.phases);
        phases
            .map(|(settings, phase)| {
                let service = self.service(&settings.service, &phase.name, complaints)?;
                self.check_service(settings, phase, &service, complaints);
                Some(service)
            })
            .collect()
    }

    fn service(&self, setting: &Setting, phase: &str, complaints: &mut Complaints) -> Option<Arc<Service>> {
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
    fn check_service(
        &self,
        settings: &crate::settings::PhaseSettings,
        phase: &manifold_model::entity::Phase,
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
    fn one<T>(
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
    fn is_name(&self, role: &Role, chosen: &Chosen<'_>, complaints: &mut Complaints) -> bool {
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

    fn fixed_infrastructure(
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
    fn infrastructures(
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
    fn check_count(&self, chosen: &Chosen<'_>, items: &[&str], complaints: &mut Complaints) {
        if items.len() > 1 {
            let course = self.question.course;
            let input = self.question.inputs.list.iter().find(|input| input.name == chosen.name);
            let why = input
                .map(|input| crate::inputs::why_single(course, input, &Role::Infrastructure))
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
    fn unknown(&self, variable: &str, item: &str, by_id: bool, environment: &Environment) -> Problem {
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
    fn check_infrastructure(
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

/// Whether a definition's scope admits a service (`behaviour.md` 5.4).
pub(crate) fn admits(definition: &InfrastructureDefinition, service: &Service) -> bool {
    definition.scoped_services.is_empty() || definition.scoped_services.contains(&service.name)
}

/// A text for a message.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}
