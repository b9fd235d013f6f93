//! Resource constraints: account-wide counts of permits that steps take and hold (`behaviour.md` 8.2).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plan::StepKey;
use crate::{ConstraintId, ExecutionId, Millis};

/// The step type.
pub const RESOURCE_CONSTRAINT: &str = "RESOURCE_CONSTRAINT";

/// Most permits of one constraint. Every request adds up what is held, so this bounds what a request costs.
pub const CAPACITY_LIMIT: u32 = 1_000;

/// Longest unit after rendering, characters.
pub const UNIT_LIMIT: usize = 1_024;

/// A constraint of the account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ConstraintRecord {
    /// Id; never changes.
    pub id: ConstraintId,
    /// Name, unique in the account.
    pub name: String,
    /// Permits at once per unit, 1 to [`CAPACITY_LIMIT`].
    pub capacity: u32,
    /// Who gets permits that come free.
    pub strategy: ConstraintStrategy,
    /// When it was made.
    pub created_at: Millis,
}

/// Who gets permits that come free.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConstraintStrategy {
    /// The first in the queue; who does not fit makes all behind it wait.
    #[default]
    Fifo,
    /// The first in the queue that fits.
    Asap,
}

impl ConstraintStrategy {
    /// As people and the store write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "FIFO",
            Self::Asap => "ASAP",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Fifo, Self::Asap].into_iter().find(|one| one.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// How long permits are held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HoldingScope {
    /// Until the workflow execution has ended, its rollback included.
    #[default]
    Workflow,
    /// Until the phase has ended well or has been rolled back.
    Phase,
    /// Until the pipeline execution has ended; of a workflow started alone until that has ended.
    Pipeline,
}

impl HoldingScope {
    /// As YAML and the store write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Workflow => "WORKFLOW",
            Self::Phase => "PHASE",
            Self::Pipeline => "PIPELINE",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Workflow, Self::Phase, Self::Pipeline]
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// What a step asks for; an execution has at most one request per step.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PermitRequest {
    /// Step that asks.
    pub step: StepKey,
    /// Its name.
    pub step_name: String,
    /// Its attempt: an answer to an earlier one means nothing to a later one.
    pub attempt: u32,
    /// Constraint.
    pub constraint: ConstraintId,
    /// Name of the constraint as of the plan.
    pub name: String,
    /// Unit, rendered; empty: account-wide. Each unit has the whole capacity and a queue of its own.
    pub unit: String,
    /// Permits, from 1.
    pub permits: u32,
    /// How long they are held.
    pub scope: HoldingScope,
}

/// Why a request was neither granted nor queued.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "why", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum PermitRefusal {
    /// The constraint has been deleted.
    Gone {},
    /// It could never be granted.
    OverCapacity {
        /// What the constraint has.
        capacity: u32,
    },
    /// Too many wait already.
    QueueFull {
        /// How many may.
        limit: u32,
    },
}

/// Who holds permits, as a wait shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PermitHolder {
    /// Execution whose step took them.
    pub execution: ExecutionId,
    /// How many.
    pub permits: u32,
}

/// What the properties of a step say about permits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PermitsWanted<'p> {
    /// A literal number.
    Literal(u32),
    /// An expression.
    Expression(&'p str),
    /// Something else.
    Invalid(String),
}

/// Reads `permits`: a whole number from 1, an expression, or nothing, which is 1.
#[must_use]
pub fn permits_wanted(properties: &Map<String, Value>) -> PermitsWanted<'_> {
    let number = |text: &str| match text.parse::<u32>() {
        Ok(number @ 1..) => PermitsWanted::Literal(number),
        _ => PermitsWanted::Invalid(text.to_owned()),
    };
    match properties.get("permits") {
        None | Some(Value::Null) => PermitsWanted::Literal(1),
        Some(Value::String(text)) => match text.trim() {
            "" => PermitsWanted::Literal(1),
            text if text.contains("${") => PermitsWanted::Expression(text),
            text => number(text),
        },
        Some(other) => number(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn permits_are_a_number_an_expression_or_one() {
        let wanted = |value: Value| {
            let properties = json!({ "permits": value });
            let properties = properties.as_object().unwrap();
            match permits_wanted(properties) {
                PermitsWanted::Literal(number) => number.to_string(),
                PermitsWanted::Expression(text) => text.to_owned(),
                PermitsWanted::Invalid(text) => format!("invalid {text}"),
            }
        };
        assert_eq!(wanted(json!(null)), "1");
        assert_eq!(wanted(json!(" ")), "1");
        assert_eq!(wanted(json!(3)), "3");
        assert_eq!(wanted(json!(" 3 ")), "3");
        assert_eq!(wanted(json!("${workflow.variables.n}")), "${workflow.variables.n}");
        for bad in [json!(0), json!(-1), json!(1.5), json!("two"), json!(true), json!(4_294_967_296_u64)] {
            assert!(wanted(bad.clone()).starts_with("invalid"), "{bad}");
        }
        assert_eq!(permits_wanted(&Map::new()), PermitsWanted::Literal(1));
    }

    #[test]
    fn names_are_read_back() {
        for one in [ConstraintStrategy::Fifo, ConstraintStrategy::Asap] {
            assert_eq!(ConstraintStrategy::parse(one.name()), Some(one));
        }
        for one in [HoldingScope::Workflow, HoldingScope::Phase, HoldingScope::Pipeline] {
            assert_eq!(HoldingScope::parse(one.name()), Some(one));
        }
        assert_eq!(HoldingScope::parse(" phase "), Some(HoldingScope::Phase));
        assert_eq!(ConstraintStrategy::parse("LIFO"), None);
    }
}
