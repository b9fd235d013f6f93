//! Which hosts a step acts on (`behaviour.md` 23, SSH).

use std::borrow::Cow;
use std::collections::BTreeSet;

use manifold_model::event::ResolvedPhase;
use manifold_model::plan::{PhaseBinding, PhasePlan, StepPlan};
use manifold_model::target::host_names;
use manifold_model::{Failure, FailureClass, code};
use serde_json::{Map, Value};

use crate::kinds::NODE_SELECT;
use crate::state::State;

/// Hosts of each phase's resolved infrastructure in their order, without repeats, narrowed to `specificHosts` of the start request.
pub(crate) fn of_targets(phases: &[Option<ResolvedPhase>], narrowed: Option<&[String]>) -> Vec<Vec<String>> {
    let of_one = |phase: &Option<ResolvedPhase>| {
        let Some(phase) = phase else { return Vec::new() };
        let mut seen = BTreeSet::new();
        host_names(&phase.properties)
            .into_iter()
            .filter(|host| narrowed.is_none_or(|only| only.contains(host)))
            .filter(|host| seen.insert(host.clone()))
            .collect()
    };
    phases.iter().map(of_one).collect()
}

/// Hosts that steps of a phase act on: what its node selections chose, or all hosts of the infrastructure when it has none. A rollback
/// phase acts on what its phase had chosen; when the selection was not reached, nothing was touched.
pub(crate) fn of_phase<'s>(
    state: &'s State,
    phase: u32,
    plan: &PhasePlan,
    rollback: bool,
) -> Cow<'s, [String]> {
    let mut selections = state.selections.iter().filter(|selection| selection.phase == phase);
    let Some(first) = selections.next() else {
        if rollback && plan.sections.iter().flat_map(|section| &section.steps).any(is_selection) {
            return Cow::Borrowed(&[]);
        }
        return Cow::Borrowed(state.hosts.get(phase as usize).map(Vec::as_slice).unwrap_or_default());
    };
    let mut chosen = Cow::Borrowed(first.hosts.as_slice());
    for host in selections.flat_map(|selection| &selection.hosts) {
        if !chosen.contains(host) {
            chosen.to_mut().push(host.clone());
        }
    }
    chosen
}

fn is_selection(step: &StepPlan) -> bool {
    step.task_kind.as_str() == NODE_SELECT
}

/// What a `DC_NODE_SELECT` step chooses.
pub(crate) struct Choice {
    pub hosts: Vec<String>,
    pub exclude_from_future: bool,
}

/// Chooses hosts for a phase. Counts and percentages are cumulative: they say how many hosts of the infrastructure are chosen after this
/// phase, those of earlier phases of the same service and infrastructure included.
pub(crate) fn select(
    state: &State,
    phase: u32,
    bindings: &[PhaseBinding],
    properties: &Map<String, Value>,
) -> Result<Choice, Failure> {
    let all = state.hosts.get(phase as usize).map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return Err(no_hosts("the infrastructure of this phase has no hosts".to_owned()));
    }
    let exclude_from_future = flag(properties, "excludeSelectedHostsFromFuturePhases").unwrap_or(true);
    if flag(properties, "specificHosts").unwrap_or(false) {
        let hosts = specific(all, properties)?;
        return Ok(Choice { hosts, exclude_from_future });
    }
    let binding = bindings.get(phase as usize);
    let taken: BTreeSet<&String> = state
        .selections
        .iter()
        .filter(|selection| selection.exclude_from_future)
        .filter(|selection| bindings.get(selection.phase as usize) == binding)
        .flat_map(|selection| &selection.hosts)
        .collect();
    let wanted = wanted(all.len(), properties)?;
    let more = wanted.saturating_sub(taken.len());
    let hosts: Vec<String> = all.iter().filter(|host| !taken.contains(host)).take(more).cloned().collect();
    if hosts.is_empty() {
        return Err(no_hosts(format!(
            "the selection asks for {wanted} of {} hosts in all, and earlier phases have chosen {} of them",
            all.len(),
            taken.len()
        )));
    }
    Ok(Choice { hosts, exclude_from_future })
}

fn specific(all: &[String], properties: &Map<String, Value>) -> Result<Vec<String>, Failure> {
    let named = host_names(properties);
    if named.is_empty() {
        return Err(no_hosts("`specificHosts` is set, but `hostNames` names no host".to_owned()));
    }
    if let Some(unknown) = named.iter().find(|host| !all.contains(host)) {
        return Err(no_hosts(format!("host `{unknown}` is not a host of the infrastructure of this phase")));
    }
    let mut seen = BTreeSet::new();
    Ok(named.into_iter().filter(|host| seen.insert(host.clone())).collect())
}

/// How many hosts are to be chosen in all; percentages round up and mean at least one.
fn wanted(all: usize, properties: &Map<String, Value>) -> Result<usize, Failure> {
    let Some(count) = number(properties, "instanceCount") else {
        return match properties.get("instanceCount") {
            None | Some(Value::Null) => Ok(all),
            Some(other) => Err(no_hosts(format!("`instanceCount` is {other}, which is not a whole number"))),
        };
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let percentage = properties
        .get("instanceUnitType")
        .and_then(Value::as_str)
        .is_some_and(|unit| unit.eq_ignore_ascii_case("PERCENTAGE"));
    if percentage {
        Ok((all.saturating_mul(count.min(100))).div_ceil(100).max(1))
    } else {
        Ok(count.min(all))
    }
}

/// A whole number, given as one or as text.
pub(crate) fn number(properties: &Map<String, Value>, key: &str) -> Option<u64> {
    match properties.get(key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A flag, given as one or as text.
pub(crate) fn flag(properties: &Map<String, Value>, key: &str) -> Option<bool> {
    match properties.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// There is no host to act on.
pub(crate) fn no_hosts(message: String) -> Failure {
    Failure::new(FailureClass::Application, code!("NO_HOSTS"), message)
        .hint("check the hosts of the infrastructure definition and the node selection of the phase")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use manifold_model::plan::PhaseInfrastructure;
    use serde_json::json;

    use super::*;
    use crate::state::Selection;

    fn state(hosts: &[&str]) -> State {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        State { hosts: vec![hosts.clone(), hosts], ..State::default() }
    }

    fn choose(state: &State, phase: u32, properties: Value) -> Result<Vec<String>, String> {
        let binding = PhaseBinding { service: Some(0), infrastructure: PhaseInfrastructure::Leg };
        let properties = properties.as_object().unwrap();
        select(state, phase, &[binding.clone(), binding], properties)
            .map(|choice| choice.hosts)
            .map_err(|failure| failure.message)
    }

    #[test]
    fn percentages_and_counts_add_up_over_phases() {
        for (unit, first, second) in [("PERCENTAGE", 25, 50), ("COUNT", 1, 2)] {
            let mut state = state(&["a", "b", "c", "d"]);
            let chosen =
                choose(&state, 0, json!({"instanceCount": first, "instanceUnitType": unit})).unwrap();
            assert_eq!(chosen, ["a"]);
            state.selections.push(Selection { step: 1, phase: 0, hosts: chosen, exclude_from_future: true });
            let chosen =
                choose(&state, 1, json!({"instanceCount": second.to_string(), "instanceUnitType": unit}));
            assert_eq!(chosen.unwrap(), ["b"]);
            let again = choose(&state, 1, json!({"instanceCount": first, "instanceUnitType": unit}));
            assert!(again.unwrap_err().contains("earlier phases have chosen 1"));
        }
    }

    #[test]
    fn a_small_percentage_is_one_host_and_no_count_is_all() {
        let state = state(&["a", "b", "c"]);
        let one = choose(&state, 0, json!({"instanceCount": 1, "instanceUnitType": "PERCENTAGE"}));
        assert_eq!(one.unwrap(), ["a"]);
        assert_eq!(choose(&state, 0, json!({})).unwrap().len(), 3);
        assert!(choose(&state, 0, json!({"instanceCount": "two"})).is_err());
    }

    #[test]
    fn hosts_that_may_be_chosen_again_are() {
        let mut state = state(&["a", "b"]);
        let hosts = vec!["a".to_owned()];
        state.selections.push(Selection { step: 1, phase: 0, hosts, exclude_from_future: false });
        assert_eq!(choose(&state, 1, json!({"instanceCount": 1})).unwrap(), ["a"]);
    }

    #[test]
    fn specific_hosts_must_be_hosts_of_the_infrastructure() {
        let state = state(&["a", "b"]);
        assert_eq!(choose(&state, 0, json!({"specificHosts": true, "hostNames": "b"})).unwrap(), ["b"]);
        assert!(choose(&state, 0, json!({"specificHosts": true, "hostNames": ["z"]})).is_err());
    }
}
