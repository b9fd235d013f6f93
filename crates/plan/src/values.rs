//! The values of a run's variables, and whether each may be what it is (`behaviour.md` 6.4).

use std::collections::BTreeMap;

use manifold_model::request::{ValueKind, VariableInput};
use manifold_model::{Problem, code};

use crate::complaints::{AtMaybe, Complaints};
use crate::course::{Binding, Run};
use crate::given::{self, Given};
use crate::resolve::Resolver;
use crate::roles::Role;
use crate::settings::Declared;

/// A variable's value and where it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'a> {
    pub(crate) text: &'a str,
    /// Set when the value was given at start, so that it may be a list or hold ids.
    pub(crate) given: Option<&'a VariableInput>,
    /// Name for messages: the input's, or the workflow variable's.
    pub(crate) name: &'a str,
    /// Whether the stage wrote it.
    pub(crate) stage: bool,
}

pub(crate) fn chosen<'a>(run: &'a Run, index: usize, given: &Given<'a>) -> Option<Chosen<'a>> {
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

impl<'a> Chosen<'a> {
    /// Whether the value is to be decided at run time.
    fn is_for_run_time(&self, declared: &Declared) -> bool {
        self.given.is_some_and(|given| {
            given::is_runtime_input(given)
                || (given.kind == ValueKind::Expression && declared.role.is_resolved())
        })
    }

    /// The value of a fixed variable that this one would change.
    fn changes<'d>(&self, declared: &'d Declared) -> Option<&'d str> {
        let written = self.given.is_some() || self.stage;
        let default = declared.default.as_deref().filter(|_| declared.fixed && written)?;
        (default != self.text).then_some(default)
    }

    /// The items that are not among the allowed values; ids of entities are not compared with names.
    fn not_allowed(&self, declared: &Declared) -> Vec<&'a str> {
        let by_id =
            declared.role.is_resolved() && self.given.is_some_and(|given| given.kind == ValueKind::Id);
        if declared.allowed.is_empty() || by_id {
            return Vec::new();
        }
        let list = declared.role == Role::Infrastructure && self.given.is_some();
        let values: Vec<&str> =
            if list { self.text.split(',').map(str::trim).collect() } else { vec![self.text] };
        values.into_iter().filter(|value| !declared.allowed.iter().any(|allowed| allowed == value)).collect()
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

impl Resolver<'_, '_> {
    /// Values against their declarations (`behaviour.md` 6.4).
    pub(crate) fn check_values(&self, complaints: &mut Complaints) {
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
        let mut refuse = |problem: Problem| {
            let place = self.run.place.clone().filter(|_| chosen.stage);
            complaints.refuse(problem.item(chosen.name).at_maybe(place));
        };
        if chosen.is_for_run_time(declared) {
            let message = format!(
                "{} is to be decided at run time in {}, which cannot be done yet",
                chosen.name, self.run.title
            );
            refuse(
                Problem::new(code!("RUNTIME_INPUT_UNSUPPORTED"), message)
                    .hint("give it a value by NAME or ID"),
            );
            return;
        }
        if let Some(default) = chosen.changes(declared) {
            let message = format!(
                "the variable {} of the workflow {} is fixed and cannot be changed",
                declared.name, self.run.workflow.name
            );
            refuse(
                Problem::new(code!("VARIABLE_FIXED"), message)
                    .hint(format!("leave it out; its value is {default}")),
            );
        }
        // What an expression gives is known at run time only.
        if chosen.text.contains("${") {
            return;
        }
        if declared.role == Role::Number && !is_number(chosen.text) {
            refuse(Problem::new(
                code!("VALUE_NOT_A_NUMBER"),
                format!("the variable {} takes a number, not {:?}", chosen.name, shortened(chosen.text)),
            ));
        }
        for value in chosen.not_allowed(declared) {
            let message =
                format!("the variable {} does not allow the value {:?}", chosen.name, shortened(value));
            refuse(
                Problem::new(code!("VALUE_NOT_ALLOWED"), message)
                    .hint(format!("allowed are {}", declared.allowed.join(", "))),
            );
        }
    }

    /// Values of the variables that are not entities.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (index, declared) in self.run.settings.variables.iter().enumerate() {
            if !declared.role.is_resolved() {
                let text = self.chosen(index).map(|chosen| chosen.text.to_owned()).unwrap_or_default();
                texts.insert(declared.name.clone(), text);
            }
        }
        texts
    }
}

/// A text for a message.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}
