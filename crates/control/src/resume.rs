//! Resume a pipeline that did not end well, from a stage on (`behaviour.md` 9.7, `wire.md` 3.6).

use std::collections::BTreeMap;

use manifold_model::crash;
use manifold_model::event::{EventKind, LegEnd, Published, PublishedValue, Resume};
use manifold_model::execution::{ExecutionRow, RowState};
use manifold_model::plan::Plan;
use manifold_model::request::ExecutionType;
use manifold_model::{ExecutionId, Problem, Status, code};
use manifold_store::{NewExecution, numbered};

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// What is known of the stages of a run so far.
#[derive(Debug, Default)]
struct Past {
    original: Option<ExecutionId>,
    statuses: BTreeMap<u32, Status>,
    legs: Vec<LegEnd>,
    outputs: Published,
    resumed_outputs: Published,
}

impl Control {
    /// Starts a new run of the same plan that goes on from the stage with this name; the stages before keep their results.
    ///
    /// # Errors
    /// When the run is no pipeline's, has not ended, ended well, or the stage is unknown or was never reached.
    pub async fn resume(
        &self,
        actor: &Actor,
        id: &ExecutionId,
        stage_name: &str,
        mutation: Option<&str>,
    ) -> Result<ExecutionId> {
        let row = self.row(id).await?;
        authorise(actor, Action::Execute, Resource::Application(&row.application.id))?;
        resumable(&row)?;
        let plan = self.plan(&row.plan).await?;
        let stage = stage_named(&plan, stage_name)?;
        let past = self.past(&row, &plan, stage).await?;
        if (0..stage).any(|earlier| !past.statuses.get(&earlier).is_some_and(|status| status.is_good())) {
            return Err(Error::refused(
                Problem::new(
                    code!("STAGE_NOT_REACHED"),
                    format!("{stage_name} was not reached; resume from a stage that ran"),
                )
                .item(stage_name),
            ));
        }
        let resume = Resume {
            from: row.id.clone(),
            original: past.original.unwrap_or_else(|| row.id.clone()),
            stage,
            statuses: (0..stage).filter_map(|earlier| past.statuses.get(&earlier).copied()).collect(),
            legs: past.legs,
            outputs: past.outputs,
        };
        let now = self.now();
        let first = EventKind::PipelineStarted {
            plan: row.plan.clone(),
            cause: actor.cause(),
            notes: row.notes.clone(),
            resume: Some(resume),
        };
        let new = ExecutionRow {
            id: ExecutionId::random(),
            cause: actor.cause(),
            resumed_from: Some(row.id.clone()),
            resumed_by: None,
            created_at: now,
            state: RowState { seq: 1, ..RowState::default() },
            ..row
        };
        let new = NewExecution {
            row: new,
            plan: None,
            events: numbered(0, now, vec![first]),
            idempotency: mutation.map(|mutation| format!("resume/{}/{id}/{stage}/{mutation}", actor.id())),
        };
        let journal = crash::journal(new.events.iter().map(|event| &event.kind));
        let execution = self.store.resume_execution(id, new).await?;
        journal.written();
        Ok(execution)
    }

    /// Folds what the stages before `stage` brought, over this run and those it resumed.
    async fn past(&self, row: &ExecutionRow, plan: &Plan, stage: u32) -> Result<Past> {
        let mut past = Past::default();
        let mut after = 0;
        loop {
            let events = self.store.events(&row.id, after, EVENTS_AT_ONCE).await?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for event in events {
                match event.kind {
                    EventKind::PipelineStarted { resume: Some(resume), .. } => {
                        past.original = Some(resume.original);
                        past.statuses.extend((0..).zip(resume.statuses));
                        past.legs.extend(resume.legs.into_iter().filter(|leg| leg.place.stage < stage));
                        past.resumed_outputs = resume.outputs;
                    }
                    EventKind::StageEnded { stage, status } => {
                        past.statuses.insert(stage, status);
                    }
                    EventKind::LegsEnded { ends } => {
                        past.legs.extend(ends.into_iter().filter(|leg| leg.place.stage < stage));
                    }
                    _ => {}
                }
            }
        }
        past.outputs = std::mem::take(&mut past.resumed_outputs);
        for leg in &past.legs {
            publish(plan, leg, &mut past.outputs);
        }
        Ok(past)
    }
}

/// Events read at once.
const EVENTS_AT_ONCE: u32 = 1_000;

fn resumable(row: &ExecutionRow) -> Result<()> {
    let status = row.state.status;
    let problem = if row.kind != ExecutionType::Pipeline {
        Problem::new(code!("NOT_A_PIPELINE_EXECUTION"), "only pipeline executions can be resumed")
    } else if !matches!(status, Status::Failed | Status::Aborted | Status::Expired | Status::Rejected) {
        Problem::new(
            code!("NOT_RESUMABLE"),
            format!(
                "only FAILED, ABORTED, EXPIRED and REJECTED pipelines can be resumed, this one is {}",
                status.name()
            ),
        )
    } else if let Some(newer) = &row.resumed_by {
        Problem::new(code!("RESUMED_ALREADY"), "this run was resumed already")
            .detail(format!("by {newer}"))
            .hint("resume the newest run of the chain")
    } else {
        return Ok(());
    };
    Err(Error::refused(problem.item(row.id.as_str())))
}

fn stage_named(plan: &Plan, name: &str) -> Result<u32> {
    let wanted = name.trim();
    (0..)
        .zip(&plan.stages)
        .find(|(_, stage)| {
            stage.name == wanted || stage.elements.iter().any(|element| element.name == wanted)
        })
        .map(|(index, _)| index)
        .ok_or_else(|| {
            let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
            Error::refused(
                Problem::new(code!("STAGE_UNKNOWN"), format!("the pipeline has no stage {wanted:?}"))
                    .item(wanted)
                    .detail(format!("its stages are {}", names.join(", "))),
            )
        })
}

/// Adds what a leg published at PIPELINE scope: as it is for a single leg, by infrastructure name for a fleet (D11).
fn publish(plan: &Plan, leg: &LegEnd, outputs: &mut Published) {
    let fleet = plan.element(leg.place.stage, leg.place.element).and_then(|element| element.fleet.as_ref());
    let name = fleet
        .filter(|fleet| fleet.fan_out.is_some())
        .and_then(|fleet| fleet.legs.get(leg.place.leg as usize)?.infrastructure)
        .and_then(|index| plan.infrastructures.get(index as usize))
        .map(|infrastructure| infrastructure.name.clone());
    for (publisher, values) in &leg.outputs {
        match &name {
            None => {
                outputs.insert(publisher.clone(), PublishedValue::Values(values.clone()));
            }
            Some(infrastructure) => {
                let slot = outputs
                    .entry(publisher.clone())
                    .or_insert_with(|| PublishedValue::PerInfrastructure(BTreeMap::new()));
                if !matches!(slot, PublishedValue::PerInfrastructure(_)) {
                    *slot = PublishedValue::PerInfrastructure(BTreeMap::new());
                }
                if let PublishedValue::PerInfrastructure(legs) = slot {
                    legs.insert(infrastructure.clone(), values.clone());
                }
            }
        }
    }
}
