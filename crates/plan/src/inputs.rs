//! The inputs that a pipeline or workflow asks for (`behaviour.md` 4.1, 4.2, 9.4).

use std::collections::HashMap;

use manifold_model::catalog::Catalog;
use manifold_model::request::{ExecutionType, VariableInput};
use manifold_model::{EntityId, Problem, code};

use crate::complaints::Complaints;
use crate::course::{Binding, Course, Run};
use crate::entities;
use crate::given::Given;
use crate::roles::Role;
use crate::settings::Declared;

/// One input, as `pipelineVariables` and `workflowVariables` give it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputVariable {
    /// Name: the stage's expression, or the workflow variable of a workflow alone.
    pub name: String,
    /// Type as the API prints it: `Environment`, `Service`, `Infrastructure definition`, `Text`, ….
    pub kind: String,
    /// Description of the first workflow variable that takes it.
    pub description: String,
    /// Whether a start without it is refused.
    pub required: bool,
    /// Whether its value may not be changed at start.
    pub fixed: bool,
    /// Value when none is given.
    pub default_value: Option<String>,
    /// Values that may be given; empty: any.
    pub allowed_values: Vec<String>,
    /// Whether several infrastructures may be given.
    pub allow_multiple_values: bool,
    /// Why not, when not.
    pub why_single: Vec<String>,
    /// Stages that take it, in order; empty for a workflow alone.
    pub used_in_stages: Vec<String>,
    /// The environment in which an infrastructure is to be chosen, as far as it is known.
    pub environment: Option<EntityId>,
}

/// The inputs of a pipeline or workflow in order of first use: one per distinct expression, stages set to Skip always not counted.
/// `given`: values so far, which may decide the environment.
///
/// # Errors
/// When there is no such pipeline or workflow.
pub fn inputs(
    catalog: &Catalog,
    entity: &EntityId,
    kind: ExecutionType,
    given: &[VariableInput],
) -> Result<Vec<InputVariable>, Vec<Problem>> {
    let course = course(catalog, entity, kind)?;
    let given = Given::of(given);
    Ok(Inputs::of(&course).list.iter().map(|input| described(catalog, &course, input, &given)).collect())
}

/// The course for a question: what is wrong with it is told at start.
pub(crate) fn course(
    catalog: &Catalog,
    entity: &EntityId,
    kind: ExecutionType,
) -> Result<Course, Vec<Problem>> {
    Course::of(catalog, entity, kind, &mut Complaints::default()).ok_or_else(|| vec![unknown(entity, kind)])
}

/// The refusal of a pipeline or workflow that does not exist.
pub(crate) fn unknown(entity: &EntityId, kind: ExecutionType) -> Problem {
    let what = match kind {
        ExecutionType::Pipeline => "pipeline",
        ExecutionType::Workflow => "workflow",
    };
    Problem::new(code!("ENTITY_UNKNOWN"), format!("the {what} does not exist"))
        .item(entity.as_str())
        .hint(format!("check the id, and that it is the id of a {what} of this application"))
}

/// An input and the workflow variables that take it.
pub(crate) struct Input<'c> {
    pub(crate) name: &'c str,
    pub(crate) uses: Vec<(&'c Run, &'c Declared)>,
}

/// All inputs of a course.
pub(crate) struct Inputs<'c> {
    pub(crate) list: Vec<Input<'c>>,
}

impl<'c> Inputs<'c> {
    pub(crate) fn of(course: &'c Course) -> Self {
        let mut list: Vec<Input<'c>> = Vec::new();
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        for run in course.runs() {
            for (binding, variable) in run.bindings.iter().zip(&run.settings.variables) {
                let Binding::Input(name) = binding else { continue };
                let index = *by_name.entry(name.as_str()).or_insert_with(|| {
                    list.push(Input { name, uses: Vec::new() });
                    list.len() - 1
                });
                if let Some(input) = list.get_mut(index) {
                    input.uses.push((run, variable));
                }
            }
        }
        Self { list }
    }

    /// Complaints that need no values: roles that do not go together (an input is one thing), and a second environment expression
    /// (D24).
    pub(crate) fn check(&self, course: &Course, complaints: &mut Complaints) {
        let mut environments: Vec<&str> = Vec::new();
        for input in &self.list {
            let Some((_, first)) = input.uses.first() else { continue };
            let other = input.uses.iter().find_map(|(run, variable)| {
                let second = Some(&variable.role).filter(|role| !goes_with(&first.role, role));
                variable.conflict.as_ref().or(second).map(|role| (run, role))
            });
            if let Some((run, role)) = other {
                complaints.refuse(
                    Problem::new(
                        code!("VARIABLE_CONFLICT"),
                        format!(
                            "the variable {} is used as {} and as {} ({})",
                            input.name,
                            first.role.printed(),
                            role.printed(),
                            run.title
                        ),
                    )
                    .item(input.name)
                    .hint("use a variable of its own for each"),
                );
            }
            if first.role == Role::Environment {
                environments.push(input.name);
            }
        }
        if environments.len() > 1 && course.kind == ExecutionType::Pipeline {
            complaints.refuse(
                Problem::new(
                    code!("ENVIRONMENT_EXPRESSIONS"),
                    format!(
                        "the pipeline has {} environment expressions ({}), and one is allowed",
                        environments.len(),
                        environments.join(", ")
                    ),
                )
                .item(environments.join(", "))
                .hint("use the same expression in every stage, or literal environments"),
            );
        }
    }
}

/// Text, numbers and addresses go with each other, since each use checks the value; entities only with their like.
fn goes_with(first: &Role, second: &Role) -> bool {
    first == second || (!first.is_resolved() && !second.is_resolved())
}

fn described(catalog: &Catalog, course: &Course, input: &Input<'_>, given: &Given<'_>) -> InputVariable {
    let role = input.uses.first().map_or(Role::Text, |(_, variable)| variable.role.clone());
    let why_single = why_single(course, input, &role);
    let environment = match role {
        Role::Infrastructure => {
            input.uses.iter().find_map(|(run, _)| entities::environment_so_far(catalog, course, run, given))
        }
        _ => None,
    };
    let first = |pick: fn(&Declared) -> Option<String>| input.uses.iter().find_map(|(_, one)| pick(one));
    let mut stages: Vec<String> = Vec::new();
    if course.kind == ExecutionType::Pipeline {
        for (run, _) in &input.uses {
            if !stages.contains(&run.title) {
                stages.push(run.title.clone());
            }
        }
    }
    InputVariable {
        name: input.name.to_owned(),
        kind: role.printed(),
        description: first(|one| Some(one.description.clone()).filter(|text| !text.is_empty()))
            .unwrap_or_default(),
        required: input.uses.iter().any(|(_, one)| one.required),
        fixed: input.uses.iter().any(|(_, one)| one.fixed),
        default_value: first(|one| one.default.clone()),
        allowed_values: input
            .uses
            .iter()
            .map(|(_, one)| &one.allowed)
            .find(|allowed| !allowed.is_empty())
            .cloned()
            .unwrap_or_default(),
        allow_multiple_values: why_single.is_empty(),
        why_single,
        used_in_stages: stages,
        environment,
    }
}

/// Why an input takes one value only; empty when several infrastructures may be given (preconditions of `behaviour.md` 4).
pub(crate) fn why_single(course: &Course, input: &Input<'_>, role: &Role) -> Vec<String> {
    if *role != Role::Infrastructure {
        return vec![format!("a variable of type {} takes one value", role.printed())];
    }
    let mut reasons = Vec::new();
    if course.kind == ExecutionType::Workflow {
        reasons.push(
            "a workflow started alone deploys to one infrastructure; start it by a pipeline".to_owned(),
        );
    }
    for (run, _) in &input.uses {
        if let Err(why) = run.settings.fan_out() {
            reasons.extend(why.into_iter().map(|why| format!("{}: {why}", run.title)));
        }
    }
    reasons.dedup();
    reasons
}
