//! Service commands, checked at plan time: every unit can run, every nested command exists, none calls itself (`yaml-vocabulary.md` 5).

use manifold_expression as expression;
use manifold_model::entity::{CommandUnit, RUNNABLE_UNITS, Service};
use manifold_model::{Problem, code};
use serde_json::Value;

/// Units of one command, nested ones counted each time they are called.
const MAX_UNITS: usize = 500;

/// Commands inside each other.
const MAX_NESTING: usize = 10;

/// The unit that calls another command of the service by its own name.
const CALL: &str = "COMMAND";

/// A look through one command.
pub(crate) struct Look<'s> {
    service: &'s Service,
    path: Vec<&'s str>,
    units: usize,
    needs_artifact: bool,
    problems: Vec<Problem>,
}

/// Looks through a command of a service: whether it needs the artifact, and what is wrong with it.
pub(crate) fn look(service: &Service, command: &str) -> (bool, Vec<Problem>) {
    let mut look = Look { service, path: Vec::new(), units: 0, needs_artifact: false, problems: Vec::new() };
    look.command(command);
    if look.units > MAX_UNITS {
        look.problems.push(
            Problem::new(
                code!("COMMAND_TOO_LARGE"),
                format!(
                    "the command {command} of the service {} has more than {MAX_UNITS} units, nested ones included",
                    service.name
                ),
            )
            .item(command),
        );
    }
    // Configuration variables become environment variables of every script (`behaviour.md` 5.2).
    let by_variable = service.variables.iter().any(|variable| mentions_artifact(&variable.value));
    (look.needs_artifact || by_variable, look.problems)
}

impl<'s> Look<'s> {
    fn command(&mut self, name: &str) {
        let Some(command) = self.service.commands.iter().find(|command| command.name == name) else {
            self.problems.push(
                Problem::new(
                    code!("COMMAND_UNKNOWN"),
                    format!("the service {} has no command {name}", self.service.name),
                )
                .item(name)
                .hint("add the command to the service, or name one that it has"),
            );
            return;
        };
        if self.path.contains(&command.name.as_str()) {
            let path: Vec<&str> = self.path.iter().copied().chain([command.name.as_str()]).collect();
            self.problems.push(
                Problem::new(
                    code!("COMMAND_CYCLE"),
                    format!("the command {name} of the service {} calls itself", self.service.name),
                )
                .item(name)
                .detail(path.join(" → ")),
            );
            return;
        }
        if self.path.len() >= MAX_NESTING {
            self.units = MAX_UNITS + 1;
            return;
        }
        self.path.push(&command.name);
        for unit in &command.units {
            if self.units > MAX_UNITS {
                break;
            }
            self.unit(&command.name, unit);
        }
        self.path.pop();
    }

    fn unit(&mut self, command: &str, unit: &'s CommandUnit) {
        self.units += 1;
        let kind = unit.kind.as_str();
        if kind == CALL {
            self.command(&unit.name);
            return;
        }
        let source = unit.properties.get("source").and_then(Value::as_str).unwrap_or("ARTIFACTS");
        if !RUNNABLE_UNITS.contains(&kind) || (kind == "SCP" && source != "ARTIFACTS") {
            let what = if kind == "SCP" { format!("SCP of {source}") } else { kind.to_owned() };
            self.problems.push(
                Problem::new(
                    code!("COMMAND_UNIT_UNSUPPORTED"),
                    format!(
                        "the unit {} of the command {command} of the service {} is of the type {what}, which cannot run yet",
                        unit.name, self.service.name
                    ),
                )
                .item(unit.name.clone()),
            );
        }
        self.needs_artifact |= matches!(kind, "SCP" | "DOWNLOAD_ARTIFACT")
            || unit.properties.values().any(value_mentions_artifact);
    }
}

/// Whether a text refers to the artifact, so that one must be chosen at start (`behaviour.md` 12.1). `${artifact${…}}` does not.
pub(crate) fn mentions_artifact(text: &str) -> bool {
    mentions(text, "artifact")
}

/// As [`mentions_artifact`], for all texts in a value.
pub(crate) fn value_mentions_artifact(value: &Value) -> bool {
    match value {
        Value::String(text) => mentions_artifact(text),
        Value::Array(items) => items.iter().any(value_mentions_artifact),
        Value::Object(map) => map.values().any(value_mentions_artifact),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a text refers to something below a root such as `instance`.
pub(crate) fn mentions(text: &str, root: &str) -> bool {
    text.contains(root)
        && expression::references(text)
            .iter()
            .any(|reference| reference.strip_prefix(root).is_some_and(|rest| rest.starts_with('.')))
}
