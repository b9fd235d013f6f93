//! How a workflow execution ends: locks, permits and barriers given back, history written, the parent told.

use std::collections::BTreeSet;

use manifold_model::event::{EventKind, LegEnd, RollbackMark};
use manifold_model::{Failure, FailureClass, Status, code};

use crate::advance::{Command, Deployed};
use crate::decide::Decider;
use crate::place::Part;
use crate::rollback::because;
use crate::scope::display_name;
use crate::state::{Lock, STOP_GRACE_MS, STOP_TIMER};

impl Decider<'_> {
    /// Ends the execution.
    pub(crate) fn finish(&mut self, status: Status, failure: Option<Failure>) {
        self.end_open_phases(status);
        self.write_history(status);
        let outputs = self.state.pipeline_outputs();
        let asked_lock = self.state.lock != Lock::NotAsked;
        self.emit(EventKind::Finished { status, failure: failure.clone() });
        if asked_lock {
            self.commands.push(Command::Unlock);
        }
        self.commands.push(Command::LeaveConstraints);
        self.commands.push(Command::LeaveBarriers { well: status.is_good() });
        let Some(start) = self.state.start.as_ref().filter(|start| start.parent.is_some()) else { return };
        self.commands.push(Command::Complete(LegEnd {
            execution: self.id.clone(),
            place: start.place,
            element: self.map.element.id.clone(),
            status,
            failure,
            outputs,
        }));
    }

    /// Ends phases that are open.
    pub(crate) fn end_open_phases(&mut self, status: Status) {
        let open: Vec<(u32, bool)> = self
            .state
            .phases
            .iter()
            .filter(|(_, state)| state.ended.is_none())
            .map(|(key, _)| *key)
            .collect();
        for (phase, rollback) in open {
            self.emit(EventKind::PhaseEnded { phase, rollback, status });
        }
    }

    /// A line of history for every mapping on which a step that deploys began.
    fn write_history(&mut self, status: Status) {
        let Some(start) = &self.state.start else { return };
        let mut written = BTreeSet::new();
        let mut lines = Vec::new();
        for (phase, resolved) in (0..).zip(self.state.targets.as_deref().unwrap_or_default()) {
            let began = self.deployed_in(Part::Phase(phase)) || self.deployed_in(Part::Rollback(phase));
            let mapping = resolved.as_ref().and_then(|resolved| resolved.mapping.as_ref()).filter(|_| began);
            let places = self.map.service(Some(phase)).zip(self.map.infrastructure(Some(phase)));
            let Some((mapping, (service, infrastructure))) = mapping.zip(places) else { continue };
            if !written.insert(mapping) {
                continue;
            }
            lines.push(Command::Deployed(Deployed {
                mapping: mapping.clone(),
                service: service.id.clone(),
                infrastructure: infrastructure.id.clone(),
                artifact: service.artifact.clone(),
                status,
                release_no: start.release_no,
                display_name: display_name(&self.map.workflow.name, start.at),
            }));
        }
        self.commands.append(&mut lines);
    }

    /// Waits for running tasks to stop; `None` while it does, else how many did not stop in time.
    fn stopped(&self, asked_at: i64) -> Option<usize> {
        let silent = self.state.open.len();
        let until = asked_at.saturating_add(STOP_GRACE_MS);
        (silent == 0 || self.is_due(until, STOP_TIMER)).then_some(silent)
    }

    /// An abort: waits for running tasks with a deadline, then ends ABORTED without rollback.
    pub(crate) fn stop_for_abort(&mut self) {
        let Some(asked) = self.state.abort.clone() else { return };
        let Some(silent) = self.stopped(asked.at) else { return };
        let mut message = format!("aborted by {}{}", asked.by, because(&asked.reason));
        if silent > 0 {
            message.push_str(&format!(
                "; {silent} tasks did not stop within {} s and may still run",
                STOP_GRACE_MS / 1000
            ));
        }
        self.stop_attempts(&message);
        if self.state.rollback.as_ref().is_some_and(|rollback| rollback.mark.is_none()) {
            self.emit(EventKind::RollbackEnded { mark: RollbackMark::RollbackFailed });
        }
        let code = if silent > 0 { code!("ABORTED_WITH_TASKS_RUNNING") } else { code!("ABORTED_ON_REQUEST") };
        self.finish(Status::Aborted, Some(Failure::new(FailureClass::Application, code, message)));
    }

    /// A rollback request: waits for running tasks with a deadline, then rolls back.
    pub(crate) fn stop_for_rollback(&mut self) {
        let Some(asked) = self.state.rollback_asked.clone() else { return };
        let Some(silent) = self.stopped(asked.at) else { return };
        let mut why = format!("asked for by {}{}", asked.by, because(&asked.reason));
        if silent > 0 {
            why.push_str(&format!("; {silent} tasks did not stop within {} s", STOP_GRACE_MS / 1000));
        }
        self.stop_attempts(&why);
        self.start_rollback(None, false, why);
    }
}
