//! The values given in a request.

use std::collections::{HashMap, HashSet};

use manifold_expression as expression;
use manifold_model::catalog::Catalog;
use manifold_model::request::{ExecutionType, ValueKind, VariableInput};
use manifold_model::{Problem, code};

use crate::complaints::Complaints;
use crate::course::{Binding, Course};
use crate::roles::Role;

/// Given values by name. An empty value counts as not given.
pub(crate) struct Given<'a>(HashMap<&'a str, &'a VariableInput>);

impl<'a> Given<'a> {
    pub(crate) fn of(variables: &'a [VariableInput]) -> Self {
        let mut map = HashMap::with_capacity(variables.len());
        for variable in variables {
            map.entry(variable.name.as_str()).or_insert(variable);
        }
        Self(map)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a VariableInput> {
        self.0.get(name).copied().filter(|given| !given.value.trim().is_empty())
    }
}

/// Complains about what was given twice, and about what nothing takes: a literal stage value cannot be changed at start (S18), a name that
/// nothing uses gets a warning.
pub(crate) fn check(
    catalog: &Catalog,
    variables: &[VariableInput],
    course: &Course,
    complaints: &mut Complaints,
) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for given in variables {
        let count = seen.entry(given.name.as_str()).or_default();
        *count += 1;
        if *count == 2 {
            complaints.refuse(
                Problem::new(
                    code!("VARIABLE_DUPLICATE"),
                    format!("the variable {} is given twice", given.name),
                )
                .item(given.name.clone())
                .hint("give each variable once; several infrastructures are one value, separated by commas"),
            );
        }
        let taken = course.runs().any(|run| {
            run.bindings.iter().any(|one| matches!(one, Binding::Input(name) if *name == given.name))
        });
        if *count == 1 && !taken {
            unused(catalog, given, course, complaints);
        }
    }
}

fn unused(catalog: &Catalog, given: &VariableInput, course: &Course, complaints: &mut Complaints) {
    let mut literal = false;
    for run in course.runs() {
        let Some((index, variable)) = run.settings.variable(&given.name) else { continue };
        let Some(Binding::Stage(value)) = run.bindings.get(index) else { continue };
        literal = true;
        let several = variable.role.is_resolved() && given.value.contains(',');
        if several && variable.role == Role::Infrastructure {
            complaints.refuse(
                Problem::new(
                    code!("MULTIPLE_INFRASTRUCTURES"),
                    format!(
                        "{} cannot take several infrastructures in {}: the stage's value is the literal {value}",
                        given.name, run.title
                    ),
                )
                .item(given.name.clone())
                .hint(format!("give the stage an expression such as ${{{}}} instead of the literal", given.name)),
            );
        } else if several {
            complaints.refuse(single(&given.name, &variable.role));
        } else {
            complaints.warn(
                Problem::new(
                    code!("STAGE_VALUE_LITERAL"),
                    format!(
                        "the value of {} was not used in {}: the stage has the literal {value}",
                        given.name, run.title
                    ),
                )
                .item(given.name.clone()),
            );
        }
    }
    if !literal && names_infrastructures(catalog, given, course) {
        complaints.refuse(
            Problem::new(
                code!("MULTIPLE_INFRASTRUCTURES"),
                format!("several infrastructures are given for {}, which nothing takes", given.name),
            )
            .item(given.name.clone())
            .hint("template the infrastructure in the workflow, and give its variable an expression in the stage"),
        );
    } else if !literal {
        let what = match course.kind {
            ExecutionType::Pipeline => "no stage of the pipeline",
            ExecutionType::Workflow => "nothing in the workflow",
        };
        complaints.warn(
            Problem::new(
                code!("VARIABLE_UNUSED"),
                format!("the variable {} was given, but {what} takes it", given.name),
            )
            .item(given.name.clone()),
        );
    }
}

/// Whether a value is a list with an infrastructure definition of the application in it. Such a start means several infrastructures, and
/// going on with another one would deploy where nobody meant to (S03).
fn names_infrastructures(catalog: &Catalog, given: &VariableInput, course: &Course) -> bool {
    if !given.value.contains(',') {
        return false;
    }
    let items: HashSet<&str> = given.value.split(',').map(str::trim).collect();
    catalog
        .infrastructures
        .values()
        .filter(|definition| definition.application == course.application)
        .any(|definition| items.contains(definition.name.as_str()) || items.contains(definition.id.as_str()))
}

/// The refusal of several values where one is taken (S14, section 4.2).
pub(crate) fn single(variable: &str, role: &Role) -> Problem {
    Problem::new(
        code!("VALUE_SINGLE"),
        format!("the variable {variable} takes exactly one {}, never several", role.noun()),
    )
    .item(variable)
}

/// A list of names or ids, split at commas, blanks around items trimmed (D4); empty items and duplicates (D5) are refused by position
/// and name.
pub(crate) fn items<'v>(given: &'v VariableInput, complaints: &mut Complaints) -> Vec<&'v str> {
    let mut list: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    for (position, item) in given.value.split(',').map(str::trim).enumerate() {
        if item.is_empty() {
            complaints.refuse(
                Problem::new(
                    code!("LIST_ITEM_EMPTY"),
                    format!("item {} of the variable {} is empty", position + 1, given.name),
                )
                .item(given.name.clone())
                .hint("remove the comma that has nothing on one side"),
            );
        } else if seen.insert(item) {
            list.push(item);
        } else {
            complaints.refuse(duplicate(&given.name, item));
        }
    }
    list
}

/// The refusal of an item that is there twice (D5).
pub(crate) fn duplicate(variable: &str, item: &str) -> Problem {
    Problem::new(code!("INFRASTRUCTURE_DUPLICATE"), format!("the variable {variable} names {item} twice"))
        .item(item)
        .hint("name each infrastructure definition once")
}

/// Whether a value asks to be decided at run time: `${name}` under type EXPRESSION (`wire.md` 3.1).
pub(crate) fn is_runtime_input(given: &VariableInput) -> bool {
    given.kind == ValueKind::Expression && expression::whole_variable(&given.value).is_some()
}
