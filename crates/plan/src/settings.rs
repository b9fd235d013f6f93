//! A workflow's templated settings and its variables (`behaviour.md` 6.3, 6.4).

use manifold_expression as expression;
use manifold_model::entity::{Phase, TemplateExpression, Workflow, WorkflowType, WorkflowVariable};

use crate::roles::Role;

/// A setting of a workflow or phase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Setting {
    /// A name.
    Fixed(String),
    /// The workflow variable that decides.
    Variable(String),
    /// Nothing.
    Missing,
}

/// The settings of one phase.
#[derive(Clone, Debug)]
pub(crate) struct PhaseSettings {
    /// Phase name.
    pub(crate) name: String,
    /// Service.
    pub(crate) service: Setting,
    /// `artifactType` of a templated service: only services of this type may be chosen (SSH).
    pub(crate) artifact_type: Option<String>,
    /// Infrastructure definition.
    pub(crate) infrastructure: Setting,
}

/// A variable of a workflow.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// A second role that does not go with the first.
    pub(crate) conflict: Option<Role>,
    pub(crate) description: String,
    pub(crate) required: bool,
    pub(crate) fixed: bool,
    pub(crate) default: Option<String>,
    pub(crate) allowed: Vec<String>,
}

/// All settings of a workflow.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) environment: Setting,
    pub(crate) phases: Vec<PhaseSettings>,
    /// Declared variables in order, then those that only settings use.
    pub(crate) variables: Vec<Declared>,
}

impl Settings {
    pub(crate) fn of(workflow: &Workflow) -> Self {
        let environment = if workflow.kind == WorkflowType::Build {
            Setting::Missing
        } else {
            setting(&[&workflow.template_expressions], &["envId"], workflow.environment_name.as_deref(), &[])
        };
        let phases: Vec<PhaseSettings> =
            workflow.phases.iter().map(|phase| phase_settings(workflow, phase)).collect();
        let variables = declared(workflow, &environment, &phases);
        Self { environment, phases, variables }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<(usize, &Declared)> {
        self.variables.iter().enumerate().find(|(_, variable)| variable.name == name)
    }

    /// The one variable that every phase takes its infrastructure from (D1), or why several infrastructures cannot be taken.
    pub(crate) fn fan_out(&self) -> Result<&str, Vec<String>> {
        let mut names: Vec<&str> = Vec::new();
        let mut fixed = false;
        for phase in &self.phases {
            match &phase.infrastructure {
                Setting::Variable(name) if !names.contains(&name.as_str()) => names.push(name),
                Setting::Variable(_) => {}
                Setting::Fixed(_) | Setting::Missing => fixed = true,
            }
        }
        match names.as_slice() {
            [name] if !fixed => Ok(name),
            [] => Err(vec!["the workflow's infrastructure is not templated".to_owned()]),
            _ => Err(vec![format!(
                "phases take their infrastructure from different places: {}",
                self.phases.iter().map(described).collect::<Vec<_>>().join(", ")
            )]),
        }
    }
}

fn described(phase: &PhaseSettings) -> String {
    match &phase.infrastructure {
        Setting::Variable(name) => format!("phase {} uses ${{{name}}}", phase.name),
        Setting::Fixed(name) => format!("phase {} is fixed to {name}", phase.name),
        Setting::Missing => format!("phase {} has none", phase.name),
    }
}

/// Phase templates win over the workflow's, which single-phase types repeat; in types with several phases the workflow's count only where a
/// phase says nothing (`behaviour.md` 18.3).
fn phase_settings(workflow: &Workflow, phase: &Phase) -> PhaseSettings {
    let own: &[TemplateExpression] = &phase.template_expressions;
    let whole: &[TemplateExpression] = &workflow.template_expressions;
    let several = matches!(workflow.kind, WorkflowType::Canary | WorkflowType::MultiService);
    let (first, last): (Vec<&[TemplateExpression]>, &[TemplateExpression]) =
        if several { (vec![own], whole) } else { (vec![own, whole], &[]) };
    let artifact_type = [own, whole]
        .iter()
        .filter_map(|list| list.iter().find(|one| one.field_name == "serviceId"))
        .find_map(|one| one.metadata.get("artifactType").cloned());
    let infrastructure = ["infraDefinitionId", "infraMappingId"];
    PhaseSettings {
        name: phase.name.clone(),
        service: setting(&first, &["serviceId"], phase.service_name.as_deref(), last),
        artifact_type,
        infrastructure: setting(&first, &infrastructure, phase.infrastructure_name.as_deref(), last),
    }
}

fn templated(list: &[TemplateExpression], fields: &[&str]) -> Option<Setting> {
    let found = list.iter().find(|one| fields.contains(&one.field_name.as_str()))?;
    variable_of(&found.expression).map(|name| Setting::Variable(name.to_owned()))
}

/// `${name}` and `${workflow.variables.name}`.
fn variable_of(text: &str) -> Option<&str> {
    expression::whole_variable(text)
}

fn setting(
    first: &[&[TemplateExpression]],
    fields: &[&str],
    written: Option<&str>,
    last: &[TemplateExpression],
) -> Setting {
    if let Some(setting) = first.iter().find_map(|list| templated(list, fields)) {
        return setting;
    }
    match written.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => match variable_of(text) {
            Some(name) => Setting::Variable(name.to_owned()),
            None => Setting::Fixed(text.to_owned()),
        },
        None => templated(last, fields).unwrap_or(Setting::Missing),
    }
}

fn declared(workflow: &Workflow, environment: &Setting, phases: &[PhaseSettings]) -> Vec<Declared> {
    let mut uses: Vec<(String, Role)> = Vec::new();
    let mut used = |setting: &Setting, role: Role| {
        if let Setting::Variable(name) = setting {
            uses.push((name.clone(), role));
        }
    };
    used(environment, Role::Environment);
    for phase in phases {
        used(&phase.service, Role::Service);
        used(&phase.infrastructure, Role::Infrastructure);
    }
    let mut variables: Vec<Declared> =
        workflow.variables.iter().map(|variable| from_document(workflow, variable)).collect();
    for (name, role) in uses {
        match variables.iter_mut().find(|variable| variable.name == name) {
            None => variables.push(Declared {
                name,
                role,
                conflict: None,
                description: String::new(),
                required: true,
                fixed: false,
                default: None,
                allowed: Vec::new(),
            }),
            Some(variable) if variable.role == role => {}
            Some(variable) if variable.role.is_resolved() => variable.conflict = Some(role),
            Some(variable) => {
                variable.role = role;
                variable.required = true;
            }
        }
    }
    variables
}

/// A declared variable, its role by the metadata of any template expression that names it.
fn from_document(workflow: &Workflow, variable: &WorkflowVariable) -> Declared {
    let all = workflow
        .template_expressions
        .iter()
        .chain(workflow.phases.iter().flat_map(|phase| &phase.template_expressions));
    let other = all
        .filter(|one| variable_of(&one.expression) == Some(variable.name.as_str()))
        .filter_map(|one| one.metadata.get("entityType"))
        .map(|entity_type| Role::of_entity_type(entity_type))
        .find(|role| !role.is_resolved());
    Declared {
        name: variable.name.clone(),
        role: other.unwrap_or_else(|| Role::of_type(variable.kind)),
        conflict: None,
        description: variable.description.clone(),
        required: variable.mandatory,
        fixed: variable.fixed,
        default: variable.value.clone().filter(|value| !value.is_empty()),
        allowed: variable.allowed_values.clone(),
    }
}
