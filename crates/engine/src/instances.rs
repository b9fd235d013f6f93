//! The hosts on which an attempt of a step runs, in the order in which their tasks are handed out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use manifold_expression::references;
use manifold_model::Failure;
use manifold_model::kind::Player;
use manifold_model::plan::StepPlan;

use crate::decide::Decider;
use crate::hosts;
use crate::place::Spot;
use crate::render::{Renderer, text};
use crate::state::TaskVerdict;

/// Most hosts of one step that are worked on at once in one leg.
pub const HOSTS_IN_FLIGHT: usize = 50;

impl Decider<'_> {
    /// Hosts of this attempt that come after those issued already, as many as may be in flight. Hosts on which an earlier attempt succeeded
    /// are not among them.
    pub(crate) fn next_hosts(&self, spot: Spot<'_>, in_flight: usize) -> Result<Vec<String>, Failure> {
        let all = self.all_hosts(spot)?;
        let room = HOSTS_IN_FLIGHT.saturating_sub(in_flight);
        let Some(state) = self.state.steps.get(&spot.step.key) else {
            return Ok(all.iter().take(room).cloned().collect());
        };
        let current = state.last().filter(|last| last.ended.is_none() && self.is_current(spot));
        let issued = current.map_or(0, |last| last.tasks.len());
        let earlier = state.attempts.len() - usize::from(current.is_some());
        if earlier == 0 {
            return Ok(all.iter().skip(issued).take(room).cloned().collect());
        }
        let done: BTreeSet<&str> = state
            .attempts
            .iter()
            .take(earlier)
            .flat_map(|attempt| &attempt.tasks)
            .filter(|task| task.verdict() == TaskVerdict::Succeeded)
            .filter_map(|task| task.instance.as_deref())
            .collect();
        let left = all.iter().filter(|host| !done.contains(host.as_str()));
        Ok(left.skip(issued).take(room).cloned().collect())
    }

    /// Whether the last attempt of the step still runs, rather than having been given up because a person said that a task did not run.
    pub(crate) fn is_current(&self, spot: Spot<'_>) -> bool {
        let last = self.state.steps.get(&spot.step.key).and_then(|state| state.last());
        last.is_some_and(|last| {
            last.open > 0 || !last.tasks.iter().any(|task| task.verdict() == TaskVerdict::DidNotRun)
        })
    }

    /// Hosts on which a step acts: the one that its `host` names, or those of its phase.
    fn all_hosts(&self, spot: Spot<'_>) -> Result<Cow<'_, [String]>, Failure> {
        let named = text(&spot.step.properties, "host").map(str::trim).filter(|host| !host.is_empty());
        if let Some(host) = named.filter(|host| !names_the_instance(host)) {
            let scope = self.scope(spot.part, Some(spot.step), None);
            let mut renderer = Renderer { scope: &scope, values: BTreeMap::new() };
            return Ok(Cow::Owned(vec![renderer.known("the host", host)?]));
        }
        let Some(phase) = spot.part.phase() else { return Ok(Cow::Owned(Vec::new())) };
        let Some(plan) = self.map.phase(phase) else { return Ok(Cow::Owned(Vec::new())) };
        Ok(hosts::of_phase(self.state, phase, plan, spot.part.is_rollback()))
    }
}

/// Whether a step has a task per host: all hosts of its phase, or the one that it names.
pub(crate) fn is_on_hosts(step: &StepPlan) -> bool {
    step.player == Player::Instances || step.task_kind.as_str() == "SHELL_SCRIPT_ON_HOST"
}

/// Whether a text refers to the host on which a step runs.
fn names_the_instance(text: &str) -> bool {
    references(text).iter().any(|reference| matches!(reference.split('.').next(), Some("instance" | "host")))
}
