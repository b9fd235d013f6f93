//! Rolling back: phases newest first, each section only when the section that it undoes began (`behaviour.md` 7.2).

use manifold_model::entity::RepairAction;
use manifold_model::event::{EventKind, RollbackMark};
use manifold_model::plan::SectionPlan;
use manifold_model::{Failure, FailureClass, Status, code};

use crate::decide::{Decider, Pass};
use crate::place::Part;
use crate::state::{Rollback, Settled};

impl<'a> Decider<'a> {
    /// Begins the rollback of one phase or of all that began; without anything to roll back the execution ends at once.
    pub(crate) fn start_rollback(&mut self, phase: Option<u32>, deployed_only: bool, why: String) {
        let rollback = Rollback { phase, deployed_only, at: self.now, mark: None };
        if self.phases_to_roll_back(&rollback).is_empty() {
            self.finish_failed();
            return;
        }
        self.end_open_phases(Status::Failed);
        self.emit(EventKind::RollbackStarted { phase, deployed_only, why });
        self.roll_back();
    }

    /// Phases that a rollback takes, newest first.
    fn phases_to_roll_back(&self, rollback: &Rollback) -> Vec<u32> {
        let mut phases: Vec<u32> =
            self.state.phases.keys().filter(|(_, back)| !back).map(|(phase, _)| *phase).collect();
        phases.retain(|phase| rollback.phase.is_none_or(|only| only == *phase));
        phases.retain(|phase| !rollback.deployed_only || self.deployed_in(Part::Phase(*phase)));
        phases.reverse();
        phases
    }

    /// Goes on with a rollback.
    pub(crate) fn roll_back(&mut self) {
        let Some(rollback) = self.state.rollback.clone() else { return };
        for phase in self.phases_to_roll_back(&rollback) {
            match self.state.phases.get(&(phase, true)) {
                Some(state) if state.ended.is_some() => continue,
                Some(_) => {}
                None if self.state.paused.is_some() => return,
                None => self.emit(EventKind::PhaseStarted { phase, rollback: true }),
            }
            let pass = self.roll_back_phase(phase);
            if self.is_aborted_by_strategy() {
                self.abort_rollback();
                return;
            }
            let status = match pass {
                Pass::Pending => return,
                Pass::Done => Status::Success,
                Pass::Failed => Status::Failed,
            };
            self.emit(EventKind::PhaseEnded { phase, rollback: true, status });
            self.free_permits_of_phase(phase);
        }
        let mark = self.mark(&rollback);
        self.emit(EventKind::RollbackEnded { mark });
        self.finish_failed();
    }

    fn roll_back_phase(&mut self, phase: u32) -> Pass {
        let map = self.map;
        for section in map.sections(Part::Rollback(phase)) {
            if !self.undoes_something(phase, section) {
                continue;
            }
            let pass = self.section(Part::Rollback(phase), section);
            if pass != Pass::Done {
                return pass;
            }
        }
        Pass::Done
    }

    /// Whether the section that this one undoes began. One without steps began when the phase went past it.
    fn undoes_something(&self, phase: u32, section: &SectionPlan) -> bool {
        let Some(undone) = &section.rolls_back else { return true };
        let sections = self.map.sections(Part::Phase(phase));
        let Some(place) = sections.iter().position(|section| section.name == *undone) else { return true };
        let began = |section: &SectionPlan| {
            let looked_at = |key| self.state.steps.get(key).is_some_and(|state| state.began());
            section.steps.iter().any(|step| looked_at(&step.key))
        };
        let Some(section) = sections.get(place) else { return true };
        if !section.steps.is_empty() {
            return began(section);
        }
        let ended_well = self
            .state
            .phases
            .get(&(phase, false))
            .is_some_and(|state| matches!(state.ended, Some((_, Status::Success))));
        ended_well || sections.iter().skip(place + 1).any(began)
    }

    /// How it went: a failed step outweighs one that was skipped for want of an artifact.
    fn mark(&self, rollback: &Rollback) -> RollbackMark {
        let mut ran = false;
        let mut skipped = false;
        for phase in self.phases_to_roll_back(rollback) {
            let failed =
                |state: &crate::state::PhaseState| !matches!(state.ended, Some((_, Status::Success)));
            if self.state.phases.get(&(phase, true)).is_none_or(failed) {
                return RollbackMark::RollbackFailed;
            }
            for step in self.map.sections(Part::Rollback(phase)).iter().flat_map(|section| &section.steps) {
                match self.state.steps.get(&step.key) {
                    Some(state) if state.began() => ran = true,
                    Some(state) => {
                        skipped |= step.needs_artifact && matches!(state.settled, Some(Settled::Skipped(_)));
                    }
                    None => {}
                }
            }
        }
        if ran && !skipped { RollbackMark::RolledBack } else { RollbackMark::NotRolledBack }
    }

    /// Whether a strategy or an answer in the rollback said to abort.
    fn is_aborted_by_strategy(&self) -> bool {
        let action = self.state.verdict.as_ref().and_then(|verdict| verdict.action);
        action == Some(RepairAction::AbortWorkflowExecution)
    }

    fn abort_rollback(&mut self) {
        if !self.state.open.is_empty() {
            return;
        }
        self.stop_attempts("the rollback was aborted");
        self.emit(EventKind::RollbackEnded { mark: RollbackMark::RollbackFailed });
        let failure = self.state.verdict.as_ref().and_then(|verdict| self.failure_of(verdict.step));
        self.finish(Status::Aborted, failure);
    }

    /// Ends FAILED, with what made it fail.
    pub(crate) fn finish_failed(&mut self) {
        let failure = match (&self.state.rollback_asked, &self.state.verdict) {
            (Some(asked), _) => {
                let message = format!("rolled back on request by {}{}", asked.by, because(&asked.reason));
                Some(Failure::new(FailureClass::Application, code!("ROLLED_BACK_ON_REQUEST"), message))
            }
            (None, Some(verdict)) => self.failure_of(verdict.step),
            (None, None) => None,
        };
        self.finish(Status::Failed, failure);
    }
}

/// A reason as the end of a sentence.
pub(crate) fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}
