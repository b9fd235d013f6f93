//! What a step of type `RESOURCE_CONSTRAINT` says, checked against the constraints of the account (`behaviour.md` 8.2).

use manifold_model::constraint::{ConstraintRecord, HoldingScope, PermitsWanted, permits_wanted};
use manifold_model::{Code, code};
use serde_json::{Map, Value};

use crate::steps::text;

/// The only mode that is acted on: permits come on top of those that the execution holds.
const ACCUMULATE: &str = "ACCUMULATE";

/// Why a step cannot run.
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) what: String,
    pub(crate) hint: &'static str,
}

/// What a step means.
#[derive(Default)]
pub(crate) struct Resolved<'a> {
    /// Its constraint; `None` when it has none, or none is known.
    pub(crate) constraint: Option<&'a ConstraintRecord>,
    /// Why it cannot run.
    pub(crate) faults: Vec<Fault>,
    /// An `acquireMode` that is kept but not acted on.
    pub(crate) ignored_mode: Option<String>,
}

/// Looks at the properties of a step. A name counts before an id: ids in a tree from elsewhere mean nothing here.
pub(crate) fn resolve<'a>(
    constraints: Option<&'a [ConstraintRecord]>,
    properties: &Map<String, Value>,
) -> Resolved<'a> {
    let mut resolved = Resolved::default();
    let (name, id) = (text(properties, "resourceConstraintName"), text(properties, "resourceConstraintId"));
    let mut fault = |code, what, hint| resolved.faults.push(Fault { code, what, hint });
    match (name.or(id), constraints) {
        (None, _) => fault(
            code!("STEP_PROPERTY_MISSING"),
            "names no resource constraint, without which it cannot run".to_owned(),
            "give the property resourceConstraintName a value",
        ),
        (Some(_), None) => {}
        (Some(named), Some(constraints)) => {
            resolved.constraint = constraints.iter().find(|one| match name {
                Some(name) => one.name == name,
                None => one.id.as_str() == named,
            });
            if resolved.constraint.is_none() {
                fault(
                    code!("CONSTRAINT_UNKNOWN"),
                    format!("names the resource constraint {named}, which does not exist"),
                    "create the resource constraint, or name one that exists",
                );
            }
        }
    }
    let mut fault = |code, what, hint| resolved.faults.push(Fault { code, what, hint });
    match (permits_wanted(properties), resolved.constraint) {
        (PermitsWanted::Invalid(text), _) => fault(
            code!("CONSTRAINT_PERMITS"),
            format!("asks for {text} permits, and that must be a whole number from 1, or an expression"),
            "give the property permits a whole number",
        ),
        (PermitsWanted::Literal(permits), Some(constraint)) if permits > constraint.capacity => fault(
            code!("CONSTRAINT_PERMITS"),
            format!(
                "asks for {permits} permits of the resource constraint {}, which has {}",
                constraint.name, constraint.capacity
            ),
            "ask for fewer permits, or raise the capacity of the constraint",
        ),
        _ => {}
    }
    if let Some(scope) = text(properties, "holdingScope").filter(|scope| HoldingScope::parse(scope).is_none())
    {
        fault(
            code!("CONSTRAINT_SCOPE"),
            format!("has the holdingScope {scope}, which is none of WORKFLOW, PHASE, PIPELINE"),
            "give the property holdingScope one of these values, or take it out",
        );
    }
    resolved.ignored_mode = text(properties, "acquireMode")
        .filter(|mode| !mode.eq_ignore_ascii_case(ACCUMULATE))
        .map(str::to_owned);
    resolved
}
