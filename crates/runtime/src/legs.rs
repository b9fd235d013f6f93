//! Creating the legs of a stage element: rows, first events, seats at barriers; and naming those that are still open.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use manifold_engine::Leg;
use manifold_model::event::{EventKind, LegPlace};
use manifold_model::execution::{ExecutionRow, Named};
use manifold_model::plan::{ElementPlan, FleetPlan, PhaseInfrastructure, Plan, WorkflowPlan};
use manifold_model::request::{Cause, ExecutionType};
use manifold_model::{EntityId, ExecutionId};
use manifold_store::{BarrierSeat, NewExecution, barrier_scope, leg_id, numbered};

use crate::advance::Turn;
use crate::run::Run;

/// The step type of barriers.
const BARRIER: &str = "BARRIER";

/// Rows and first events of these legs, and, with the first legs of an element, the seats of all its legs at its barriers: participants are
/// fixed before any leg can arrive (`behaviour.md` 8.3).
pub fn create(
    turn: &Turn<'_>,
    run: &Run,
    release_numbers: &mut HashMap<EntityId, u64>,
    (stage, element): (u32, u32),
    ordinals: Range<u32>,
) -> (Vec<NewExecution>, Vec<BarrierSeat>) {
    let Some(planned) = turn.plan.element(stage, element) else { return (Vec::new(), Vec::new()) };
    let Some(fleet) = &planned.fleet else { return (Vec::new(), Vec::new()) };
    let Some(workflow) = turn.plan.workflows.get(fleet.workflow as usize) else {
        return (Vec::new(), Vec::new());
    };
    let first = ordinals.start == 0;
    let release_no = release_numbers.entry(workflow.id.clone()).or_insert(1);
    let legs = ordinals
        .map(|leg| {
            let new =
                new_leg(turn, run, (planned, fleet, workflow), LegPlace { stage, element, leg }, *release_no);
            *release_no += 1;
            new
        })
        .collect();
    let seats = if first { seats(turn, planned, fleet, workflow, (stage, element)) } else { Vec::new() };
    (legs, seats)
}

fn new_leg(
    turn: &Turn<'_>,
    run: &Run,
    (element, fleet, workflow): (&ElementPlan, &FleetPlan, &WorkflowPlan),
    place: LegPlace,
    release_no: u64,
) -> NewExecution {
    let (outputs, started_by, original) = match run {
        Run::Pipeline(run) => (run.outputs().clone(), run.cause().cloned(), run.original().cloned()),
        Run::Leg(_) => Default::default(),
    };
    let cause = Cause::Pipeline { execution: turn.row.id.clone() };
    let started = EventKind::WorkflowStarted {
        plan: turn.row.plan.clone(),
        place,
        parent: Some(turn.row.id.clone()),
        original,
        // `${deploymentTriggeredBy}` names who started the pipeline; the row says that the leg runs along with it.
        cause: started_by.unwrap_or_else(|| cause.clone()),
        outputs,
        release_no,
    };
    let id = leg_id(&turn.row.id, &element.id, place);
    let events = numbered(0, turn.now, vec![started]);
    let mut leg = Leg::new(Arc::clone(turn.plan), id.clone());
    events.iter().for_each(|event| leg.fold(event));
    let row = ExecutionRow {
        id,
        kind: ExecutionType::Workflow,
        application: turn.row.application.clone(),
        entity: Named { id: workflow.id.clone(), name: workflow.name.clone() },
        plan: turn.row.plan.clone(),
        parent: Some(turn.row.id.clone()),
        element: Some(element.id.clone()),
        place: Some(place),
        environment: environment(turn.plan, fleet),
        infrastructure: infrastructure(turn.plan, fleet, place.leg),
        services: services(turn.plan, fleet),
        cause,
        notes: String::new(),
        resumed_from: None,
        resumed_by: None,
        created_at: turn.now,
        state: leg.row(),
    };
    NewExecution { row, plan: None, events, idempotency: None }
}

/// Environment of a fleet.
pub fn environment(plan: &Plan, fleet: &FleetPlan) -> Option<Named> {
    let environment = plan.environments.get(fleet.environment? as usize)?;
    Some(Named { id: environment.id.clone(), name: environment.name.clone() })
}

/// The one infrastructure of a leg (S26).
pub fn infrastructure(plan: &Plan, fleet: &FleetPlan, leg: u32) -> Option<Named> {
    let own = fleet.legs.get(leg as usize)?.infrastructure;
    let fixed = fleet.phases.iter().find_map(|phase| match phase.infrastructure {
        PhaseInfrastructure::Fixed(index) => Some(index),
        _ => None,
    });
    let infrastructure = plan.infrastructures.get(own.or(fixed)? as usize)?;
    Some(Named { id: infrastructure.id.clone(), name: infrastructure.name.clone() })
}

/// Services of a fleet, each once.
pub fn services(plan: &Plan, fleet: &FleetPlan) -> Vec<Named> {
    let mut seen = BTreeSet::new();
    fleet
        .phases
        .iter()
        .filter_map(|phase| phase.service)
        .filter(|index| seen.insert(*index))
        .filter_map(|index| plan.services.get(index as usize))
        .map(|service| Named { id: service.id.clone(), name: service.name.clone() })
        .collect()
}

fn seats(
    turn: &Turn<'_>,
    element: &ElementPlan,
    fleet: &FleetPlan,
    workflow: &WorkflowPlan,
    (stage, index): (u32, u32),
) -> Vec<BarrierSeat> {
    let sections = workflow
        .pre_deployment
        .iter()
        .chain(workflow.phases.iter().flat_map(|phase| &phase.sections))
        .chain(&workflow.post_deployment);
    let identifiers: BTreeSet<&str> = sections
        .flat_map(|section| &section.steps)
        .filter(|step| step.kind.as_str() == BARRIER)
        .filter_map(|step| step.properties.get("identifier").and_then(serde_json::Value::as_str))
        .collect();
    let scope = barrier_scope(&turn.row.id, stage);
    let legs = u32::try_from(fleet.legs.len()).unwrap_or(u32::MAX);
    let seat = |identifier: &str, leg| BarrierSeat {
        scope: scope.clone(),
        identifier: identifier.to_owned(),
        execution: leg_id(&turn.row.id, &element.id, LegPlace { stage, element: index, leg }),
    };
    identifiers
        .iter()
        .flat_map(|identifier| (0..legs).map(move |leg| (identifier, leg)))
        .map(|(i, leg)| seat(i, leg))
        .collect()
}

/// Legs of the stage that have been created and have not ended, those of this very transaction included.
pub fn open(turn: &Turn<'_>, run: &Run, created_now: &[NewExecution]) -> Vec<ExecutionId> {
    let Run::Pipeline(run) = run else { return Vec::new() };
    let now: BTreeSet<&ExecutionId> = created_now.iter().map(|leg| &leg.row.id).collect();
    let mut open: Vec<ExecutionId> = now.iter().map(|id| (*id).clone()).collect();
    for stage in run.view().stages {
        for element in stage.elements {
            let ended: BTreeSet<u32> = element.ended.iter().map(|end| end.leg).collect();
            for leg in (0..element.created).filter(|leg| !ended.contains(leg)) {
                let place = LegPlace { stage: stage.stage, element: element.element, leg };
                let id = leg_id(&turn.row.id, &element.id, place);
                if !now.contains(&id) {
                    open.push(id);
                }
            }
        }
    }
    open
}
