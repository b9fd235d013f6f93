//! Attempts of steps: how one begins, how its tasks are handed out and gathered, how it ends.

use std::collections::BTreeMap;

use manifold_model::constraint::RESOURCE_CONSTRAINT;
use manifold_model::event::{EventKind, Publication, Scope as OutputScope, TaskIntent};
use manifold_model::kind::Player;
use manifold_model::plan::StepKey;
use manifold_model::task::{OutputValue, Task, TaskStep};
use manifold_model::{Failure, FailureClass, Status, code};

use crate::advance::Command;
use crate::command::artifact_missing;
use crate::decide::Decider;
use crate::hosts;
use crate::instances::{HOSTS_IN_FLIGHT, is_on_hosts};
use crate::kinds::{ARTIFACT_CHECK, BARRIER, NODE_SELECT};
use crate::kubernetes;
use crate::place::{Part, Spot};
use crate::render::{Made, payload, text};
use crate::state::{Settled, TaskVerdict, intervention_timer, retry_timer};

impl<'a> Decider<'a> {
    /// Begins the first attempt of a step, or skips it.
    pub(crate) fn begin(&mut self, spot: Spot<'a>) {
        if spot.part.is_rollback()
            && spot.step.needs_artifact
            && self.map.artifact(self.state, spot.part).is_none()
        {
            let reason = "there is no artifact of an earlier successful deployment on this target".to_owned();
            self.emit(EventKind::StepSkipped { step: spot.step.key, reason });
            return;
        }
        if let Some(reason) = kubernetes::nothing_to_undo(&self.scope(spot.part, Some(spot.step), None)) {
            self.emit(EventKind::StepSkipped { step: spot.step.key, reason });
            return;
        }
        self.begin_attempt(spot, 1);
    }

    fn begin_attempt(&mut self, spot: Spot<'a>, attempt: u32) {
        match self.skip_reason(spot) {
            Ok(None) => {}
            Ok(Some(reason)) => {
                self.emit(EventKind::StepSkipped { step: spot.step.key, reason });
                return;
            }
            Err(failure) => {
                self.start_step(spot.step.key, attempt, BTreeMap::new());
                self.end_attempt(spot, attempt, Err(failure));
                return;
            }
        }
        match spot.step.player {
            Player::Engine => self.play(spot, attempt),
            _ if is_on_hosts(spot.step) => self.issue_first(spot, attempt),
            Player::Delegate | Player::Instances => self.issue_one(spot, attempt),
        }
    }

    pub(crate) fn start_step(&mut self, step: StepKey, attempt: u32, values: BTreeMap<String, String>) {
        self.emit(EventKind::StepStarted { step, attempt, values });
    }

    /// Kinds that the engine plays itself.
    fn play(&mut self, spot: Spot<'a>, attempt: u32) {
        let step = spot.step;
        if step.task_kind.as_str() == RESOURCE_CONSTRAINT {
            return self.ask_permits(spot, attempt);
        }
        self.start_step(step.key, attempt, BTreeMap::new());
        match step.task_kind.as_str() {
            ARTIFACT_CHECK => {
                let result = self.check_artifacts();
                self.end_attempt(spot, attempt, result);
            }
            NODE_SELECT => {
                let result = self.select_hosts(spot);
                self.end_attempt(spot, attempt, result);
            }
            BARRIER => self.arrive(spot),
            other => {
                let message = format!("steps of kind {other} are not known to this server");
                let failure = Failure::new(FailureClass::Application, code!("STEP_KIND_UNKNOWN"), message)
                    .hint("remove the step, or run a version that knows the kind");
                self.end_attempt(spot, attempt, Err(failure));
            }
        }
    }

    /// Every service whose steps need an artifact must have one.
    fn check_artifacts(&self) -> Result<(), Failure> {
        let lacking = self
            .map
            .steps()
            .filter(|spot| spot.step.needs_artifact && !spot.part.is_rollback())
            .filter_map(|spot| self.map.service(spot.part.phase()))
            .find(|service| service.artifact.is_none());
        lacking.map_or(Ok(()), |service| Err(artifact_missing(&service.name)))
    }

    fn select_hosts(&mut self, spot: Spot<'_>) -> Result<(), Failure> {
        let Some(phase) = spot.part.phase() else {
            return Err(hosts::no_hosts("hosts can only be selected in a phase".to_owned()));
        };
        let choice = hosts::select(self.state, phase, &self.map.fleet.phases, &spot.step.properties)?;
        self.emit(EventKind::HostsSelected {
            step: spot.step.key,
            phase,
            hosts: choice.hosts,
            exclude_from_future: choice.exclude_from_future,
        });
        Ok(())
    }

    pub(crate) fn attempt_number(&self, step: StepKey) -> u32 {
        self.state.steps.get(&step).and_then(|state| state.last()).map_or(1, |last| last.number)
    }

    fn issue_one(&mut self, spot: Spot<'a>, attempt: u32) {
        let made = payload(spot.step, &self.scope(spot.part, Some(spot.step), None));
        match made {
            Err(failure) => {
                self.start_step(spot.step.key, attempt, BTreeMap::new());
                self.end_attempt(spot, attempt, Err(failure));
            }
            Ok(mut made) => {
                let values = std::mem::take(&mut made.values);
                self.start_step(spot.step.key, attempt, values);
                self.issue(spot, attempt, vec![(None, made)]);
            }
        }
    }

    fn issue_first(&mut self, spot: Spot<'a>, attempt: u32) {
        let made = self.next_hosts(spot, 0).and_then(|hosts| {
            if hosts.is_empty() {
                let message = format!("step `{}` has no host to run on", spot.step.name);
                return Err(hosts::no_hosts(message));
            }
            self.made(spot, &hosts)
        });
        match made {
            Err(failure) => {
                self.start_step(spot.step.key, attempt, BTreeMap::new());
                self.end_attempt(spot, attempt, Err(failure));
            }
            Ok(mut made) => {
                let values = made.first_mut().map(|(_, first)| std::mem::take(&mut first.values));
                self.start_step(spot.step.key, attempt, values.unwrap_or_default());
                self.issue(spot, attempt, made);
            }
        }
    }

    fn made(&self, spot: Spot<'_>, hosts: &[String]) -> Result<Vec<(Option<String>, Made)>, Failure> {
        let made = |host: &String| {
            let made = payload(spot.step, &self.scope(spot.part, Some(spot.step), Some(host)))?;
            Ok((Some(host.clone()), made))
        };
        hosts.iter().map(made).collect()
    }

    fn issue(&mut self, spot: Spot<'a>, attempt: u32, made: Vec<(Option<String>, Made)>) {
        let step = spot.step;
        let mut tasks = Vec::with_capacity(made.len());
        for (instance, made) in made {
            let host = instance.as_deref();
            let task = Task {
                id: Task::id_of(self.id, step.key, attempt, host),
                kind: step.task_kind.clone(),
                class: step.class,
                attempt,
                log: Task::log_of(self.id, step.key, attempt, host),
                timeout_ms: step.timeout_ms,
                selectors: made.selectors,
                capabilities: step.capabilities.clone(),
                payload: made.payload,
                step: Some(TaskStep {
                    execution: self.id.clone(),
                    step: step.key,
                    name: step.name.clone(),
                    instance: instance.clone(),
                }),
            };
            tasks.push(TaskIntent { task: task.id.clone(), instance });
            self.commands.push(Command::Issue(Box::new(task)));
        }
        self.emit(EventKind::TasksIssued { step: step.key, attempt, tasks });
    }

    /// Goes on with a step that has begun.
    pub(crate) fn follow(&mut self, spot: Spot<'a>) {
        let key = spot.step.key;
        let Some(state) = self.state.steps.get(&key) else { return };
        let Some(last) = state.last() else { return };
        let attempt = last.number;
        if last.ended.is_some() {
            self.follow_repair(spot, attempt);
            return;
        }
        if state.barrier.is_some() {
            self.follow_barrier(spot, attempt);
            return;
        }
        if state.permits.is_some() {
            self.follow_permits(spot, attempt);
            return;
        }
        self.follow_tasks(spot, attempt);
    }

    fn follow_repair(&mut self, spot: Spot<'a>, attempt: u32) {
        let key = spot.step.key;
        let Some(state) = self.state.steps.get(&key) else { return };
        if let Some(retry) = state.retry.clone() {
            if self.is_due(retry.due, &retry_timer(key, retry.attempt)) && !self.may_not_begin() {
                self.begin_attempt(spot, retry.attempt);
            }
        } else if let Some(question) = state.intervention.clone() {
            if self.is_due(question.until, &intervention_timer(key, question.attempt)) {
                self.emit(EventKind::InterventionAnswered {
                    step: key,
                    attempt,
                    answer: question.after_timeout,
                    by: "timeout".to_owned(),
                });
                if self.state.steps.get(&key).is_some_and(|state| state.retry.is_some()) {
                    self.follow_repair(spot, attempt);
                }
            }
        } else if state.repair.is_none() && !self.is_closing() {
            self.choose_strategy(spot);
        }
    }

    fn follow_tasks(&mut self, spot: Spot<'a>, attempt: u32) {
        let Some(last) = self.state.steps.get(&spot.step.key).and_then(|state| state.last()) else { return };
        let open = last.open as usize;
        let unanswered = last.tasks.iter().any(|task| matches!(task.verdict(), TaskVerdict::Unknown(_)));
        if is_on_hosts(spot.step) && open < HOSTS_IN_FLIGHT {
            match self.next_hosts_of_current(spot, open) {
                Ok(made) if !made.is_empty() => {
                    self.issue(spot, attempt, made);
                    return;
                }
                Ok(_) => {}
                Err(failure) if open == 0 && !unanswered => {
                    self.end_attempt(spot, attempt, Err(failure));
                    return;
                }
                // Said again, and acted on, when the tasks in flight have ended.
                Err(_) => {}
            }
        }
        if open == 0 && !unanswered {
            self.gather(spot, attempt);
        }
    }

    fn next_hosts_of_current(
        &self,
        spot: Spot<'_>,
        open: usize,
    ) -> Result<Vec<(Option<String>, Made)>, Failure> {
        if !self.is_current(spot) {
            return Ok(Vec::new());
        }
        let hosts = self.next_hosts(spot, open)?;
        self.made(spot, &hosts)
    }

    /// All tasks of an attempt have ended: what does that make the attempt?
    fn gather(&mut self, spot: Spot<'a>, attempt: u32) {
        let Some(last) = self.state.steps.get(&spot.step.key).and_then(|state| state.last()) else { return };
        let mut failed: Vec<(Option<&str>, Failure)> = Vec::new();
        let mut did_not_run = false;
        for task in &last.tasks {
            match task.verdict() {
                TaskVerdict::Failed(failure) => failed.push((task.instance.as_deref(), failure.clone())),
                TaskVerdict::Cancelled => {
                    let failure = Failure::new(
                        FailureClass::Application,
                        code!("TASK_CANCELLED"),
                        "the task was cancelled",
                    );
                    failed.push((task.instance.as_deref(), failure));
                }
                TaskVerdict::DidNotRun => did_not_run = true,
                TaskVerdict::Open | TaskVerdict::Unknown(_) | TaskVerdict::Succeeded => {}
            }
        }
        match sum_up(failed, last.tasks.len()) {
            Some(failure) => self.end_attempt(spot, attempt, Err(failure)),
            None if did_not_run => {
                if self.is_closing() {
                    self.give_up(spot.step.key, attempt, "not run again: another step failed");
                } else if !self.may_not_begin() {
                    self.begin_attempt(spot, attempt + 1);
                }
            }
            None => self.end_attempt(spot, attempt, Ok(())),
        }
    }

    /// Ends an attempt; a failed one meets its failure strategy.
    pub(crate) fn end_attempt(&mut self, spot: Spot<'a>, attempt: u32, result: Result<(), Failure>) {
        let step = spot.step.key;
        match result {
            Ok(()) => {
                let published = self.publication(spot);
                self.emit(EventKind::StepEnded {
                    step,
                    attempt,
                    status: Status::Success,
                    failure: None,
                    published,
                });
            }
            Err(failure) => {
                self.withdraw_permits(step);
                self.emit(EventKind::StepEnded {
                    step,
                    attempt,
                    status: Status::Failed,
                    failure: Some(failure),
                    published: None,
                });
                self.follow_repair(spot, attempt);
            }
        }
    }

    /// What a step that succeeded publishes: the outputs of its tasks, attempts that were repeated in part included.
    fn publication(&self, spot: Spot<'_>) -> Option<Publication> {
        let properties = &spot.step.properties;
        let name = text(properties, "sweepingOutputName").map(str::trim).filter(|name| !name.is_empty())?;
        if hosts::flag(properties, "publishAsVar") == Some(false) {
            return None;
        }
        let scope = match text(properties, "sweepingOutputScope").unwrap_or_default() {
            "PIPELINE" => OutputScope::Pipeline,
            "PHASE" => OutputScope::Phase,
            _ => OutputScope::Workflow,
        };
        let mut values: BTreeMap<String, OutputValue> = BTreeMap::new();
        let state = self.state.steps.get(&spot.step.key)?;
        for task in state.attempts.iter().flat_map(|attempt| &attempt.tasks) {
            if let (TaskVerdict::Succeeded, Some((_, outcome))) = (task.verdict(), &task.outcome) {
                values.extend(outcome.outputs.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        Some(Publication { name: name.to_owned(), scope, values })
    }

    /// Lets what is in flight come to its end while nothing new may begin.
    pub(crate) fn follow_in_flight(&mut self) {
        let keys: Vec<StepKey> = self
            .state
            .steps
            .iter()
            .filter(|(_, state)| state.settled.is_none())
            .filter(|(_, state)| state.last().is_some_and(|last| last.ended.is_none()))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(spot) = self.map.step(key) {
                self.follow(spot);
            }
        }
        self.lose_the_rest();
    }

    /// Settles steps that failed but whose failure no longer matters, because another step's has decided.
    fn lose_the_rest(&mut self) {
        if self.state.verdict.is_none() || self.state.rollback.is_some() {
            return;
        }
        let undecided: Vec<(StepKey, u32)> = self
            .state
            .steps
            .iter()
            .filter(|(_, state)| state.settled.is_none())
            .filter_map(|(key, state)| {
                let last = state.last()?;
                matches!(last.ended, Some((_, Status::Failed, _))).then_some((*key, last.number))
            })
            .collect();
        for (step, attempt) in undecided {
            let why = "another step of the section had failed before".to_owned();
            self.emit(EventKind::StrategyMissing { step, attempt, why });
        }
    }

    /// Whether a step of a part deployed something, or may have.
    pub(crate) fn deployed_in(&self, part: Part) -> bool {
        self.map
            .sections(part)
            .iter()
            .flat_map(|section| &section.steps)
            .filter(|step| step.deploys)
            .any(|step| self.state.steps.get(&step.key).is_some_and(|state| state.handed_out()))
    }

    /// Ends attempts that run, because the execution stops.
    pub(crate) fn stop_attempts(&mut self, why: &str) {
        let running: Vec<(StepKey, u32)> = self
            .state
            .steps
            .iter()
            .filter(|(_, state)| !matches!(state.settled, Some(Settled::Succeeded)))
            .filter_map(|(key, state)| {
                let last = state.last()?;
                last.ended.is_none().then_some((*key, last.number))
            })
            .collect();
        for (step, attempt) in running {
            self.give_up(step, attempt, why);
        }
    }

    pub(crate) fn give_up(&mut self, step: StepKey, attempt: u32, why: &str) {
        let failure = Failure::new(FailureClass::Application, code!("STEP_ABANDONED"), why);
        self.withdraw_permits(step);
        self.emit(EventKind::StepEnded {
            step,
            attempt,
            status: Status::Aborted,
            failure: Some(failure),
            published: None,
        });
    }
}

/// One failure of many: the first, saying how many there were.
fn sum_up(failed: Vec<(Option<&str>, Failure)>, tasks: usize) -> Option<Failure> {
    let count = failed.len();
    let (instance, first) = failed.into_iter().next()?;
    let Some(instance) = instance else { return Some(first) };
    // Most messages of drivers name the host already.
    let message = if first.message.contains(instance) {
        first.message
    } else {
        format!("{instance}: {}", first.message)
    };
    let message = if count > 1 { format!("{count} of {tasks} hosts failed; {message}") } else { message };
    Some(Failure { message, ..first })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_first_host_that_failed_is_named_once() {
        let failed =
            |message: &str| Failure::new(FailureClass::Application, code!("COMMAND_FAILED"), message);
        let said = |failed, tasks| sum_up(failed, tasks).unwrap().message;
        let (named, bare) = (failed("it exited with code 1 on host h1"), failed("no answer"));
        assert_eq!(said(vec![(Some("h1"), named.clone())], 3), "it exited with code 1 on host h1");
        assert_eq!(said(vec![(Some("h1"), bare.clone())], 3), "h1: no answer");
        let both = vec![(Some("h1"), named), (Some("h2"), bare)];
        assert_eq!(said(both, 3), "2 of 3 hosts failed; it exited with code 1 on host h1");
        assert!(sum_up(Vec::new(), 3).is_none());
    }
}
