//! What is deployed in a run: one plan from the seed, with steps of every class, failure strategies, locks, permits, a barrier.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::constraint::{ConstraintRecord, ConstraintStrategy};
use manifold_model::entity::{FailureStrategy, RepairAction, StageSkip, WorkflowType};
use manifold_model::event::EventKind;
use manifold_model::execution::{ExecutionRow, Named, RowState};
use manifold_model::kind::{Class, KindName, Player};
use manifold_model::plan::*;
use manifold_model::request::{Cause, ExecutionType};
use manifold_model::{ConstraintId, ElementId, EntityId, ExecutionId, PlanDigest};
use manifold_store::{NewExecution, numbered};
use serde_json::{Map, Value, json};

use crate::chance::Chance;
use crate::clock::BEGIN;

/// Longest that one attempt of a step may take, milliseconds.
const STEP_TIMEOUT_MS: u64 = 90_000;
/// Longest wait at a barrier or for permits, milliseconds.
const WAIT_TIMEOUT_MS: u64 = 60_000;
/// The resource constraint.
const CONSTRAINT: &str = "licences";

/// The plan of a seed.
pub(crate) fn plan(chance: &Chance) -> Plan {
    let legs = u32::try_from(chance.within(1..9)).unwrap_or(1);
    let stages = chance.within(1..3);
    let targets = u32::try_from(chance.within(1..u64::from(legs) + 1)).unwrap_or(1);
    let mut workflow = workflow(chance);
    number(&mut workflow);
    let phases = workflow.phases.len();
    Plan {
        version: PLAN_VERSION,
        account: "account".to_owned(),
        account_defaults: BTreeMap::new(),
        catalog_revision: 1,
        application: ApplicationPlan {
            id: EntityId::from("application"),
            name: "Shop".to_owned(),
            description: String::new(),
            defaults: BTreeMap::new(),
        },
        subject: Subject::Pipeline {
            id: EntityId::from("pipeline"),
            name: "Everywhere".to_owned(),
            description: String::new(),
        },
        inputs: Vec::new(),
        stages: (0..stages)
            .map(|stage| StagePlan {
                name: format!("STAGE {stage}"),
                elements: vec![element(stage, legs, phases)],
            })
            .collect(),
        workflows: vec![workflow],
        services: vec![service()],
        environments: Vec::new(),
        // Fewer targets than infrastructures: then legs wait for each other's locks.
        infrastructures: (0..legs).map(|leg| infrastructure(leg, leg % targets)).collect(),
        warnings: Vec::new(),
        specific_hosts: None,
    }
}

fn workflow(chance: &Chance) -> WorkflowPlan {
    let barrier = chance.percent(25);
    let phases = (0..chance.within(1..3)).map(|index| phase(chance, index, barrier && index == 0)).collect();
    WorkflowPlan {
        id: EntityId::from("workflow"),
        name: "Deploy".to_owned(),
        description: String::new(),
        kind: WorkflowType::Canary,
        locks: chance.percent(50),
        pre_deployment: chance.percent(30).then(|| section(chance, "Before", false)),
        phases,
        post_deployment: chance.percent(20).then(|| section(chance, "After", false)),
        strategies: (0..chance.within(0..3)).map(|_| strategy(chance)).collect(),
    }
}

fn phase(chance: &Chance, index: u64, barrier: bool) -> PhasePlan {
    PhasePlan {
        name: format!("Phase {index}"),
        rollback_name: Some(format!("Rollback {index}")),
        deployment_type: Some("SSH".to_owned()),
        overrides: Vec::new(),
        sections: vec![section(chance, "Deploy", barrier)],
        rollback: vec![SectionPlan {
            rolls_back: Some("Deploy".to_owned()),
            strategies: Vec::new(),
            ..section(chance, "Undo", false)
        }],
    }
}

fn section(chance: &Chance, name: &str, barrier: bool) -> SectionPlan {
    let mut steps: Vec<StepPlan> = (0..chance.within(1..4)).map(|_| step(chance)).collect();
    if barrier {
        steps.insert(chance.below(steps.len() + 1), gate());
    }
    SectionPlan {
        name: name.to_owned(),
        kind: "DEPLOY_SERVICE".to_owned(),
        parallel: !barrier && chance.percent(30),
        steps,
        skips: Vec::new(),
        strategies: if chance.percent(40) { vec![strategy(chance)] } else { Vec::new() },
        rolls_back: None,
        wait_seconds: if chance.percent(15) { chance.within(1..6) } else { 0 },
    }
}

fn step(chance: &Chance) -> StepPlan {
    match chance.within(0..10) {
        0..=2 => task("idempotent", "NOOP", Class::Idempotent, json!({})),
        3..=5 => task("probe-able", "NOOP", Class::Probeable, json!({})),
        6..=7 => task("unsafe", "NOOP", Class::Unsafe, json!({})),
        8 => {
            let script = json!({"scriptString": "true", "scriptType": "BASH", "executeOnDelegate": true});
            task("on the delegate", "SHELL_SCRIPT", Class::Probeable, script)
        }
        _ => permits(chance),
    }
}

fn permits(chance: &Chance) -> StepPlan {
    let scopes = ["WORKFLOW", "PHASE", "PIPELINE"];
    let scope = chance.one_of(&scopes).copied().unwrap_or("WORKFLOW");
    let properties = json!({
        "resourceConstraintName": CONSTRAINT,
        "resourceConstraintId": CONSTRAINT,
        "holdingScope": scope,
    });
    StepPlan {
        player: Player::Engine,
        timeout_ms: WAIT_TIMEOUT_MS,
        deploys: false,
        ..task("permits", "RESOURCE_CONSTRAINT", Class::Idempotent, properties)
    }
}

fn gate() -> StepPlan {
    StepPlan {
        player: Player::Engine,
        deploys: false,
        ..task(
            "gate",
            "BARRIER",
            Class::Idempotent,
            json!({"identifier": "all", "timeoutMillis": WAIT_TIMEOUT_MS}),
        )
    }
}

fn task(name: &str, kind: &str, class: Class, properties: Value) -> StepPlan {
    StepPlan {
        key: 0,
        name: name.to_owned(),
        kind: KindName::from(kind),
        task_kind: KindName::from(kind),
        class,
        player: Player::Delegate,
        properties: properties.as_object().cloned().unwrap_or_default(),
        timeout_ms: STEP_TIMEOUT_MS,
        deploys: true,
        needs_artifact: false,
        capabilities: Vec::new(),
    }
}

fn strategy(chance: &Chance) -> FailureStrategy {
    let actions = [
        RepairAction::Retry,
        RepairAction::Retry,
        RepairAction::Ignore,
        RepairAction::ManualIntervention,
        RepairAction::RollbackWorkflow,
        RepairAction::RollbackPhase,
        RepairAction::EndExecution,
        RepairAction::AbortWorkflowExecution,
    ];
    let action = || chance.one_of(&actions).copied().unwrap_or(RepairAction::Ignore);
    FailureStrategy {
        failure_types: Vec::new(),
        action: action(),
        phase_scope: chance.percent(20),
        specific_steps: Vec::new(),
        retry_count: u32::try_from(chance.within(0..4)).unwrap_or(0),
        retry_intervals: vec![1, 3],
        action_after_retry: chance.percent(70).then(action),
        intervention_timeout_ms: Some(20_000),
        action_after_timeout: Some(RepairAction::RollbackWorkflow),
    }
}

fn number(workflow: &mut WorkflowPlan) {
    let mut sections: Vec<&mut SectionPlan> = workflow.pre_deployment.iter_mut().collect();
    for phase in &mut workflow.phases {
        sections.extend(phase.sections.iter_mut().chain(&mut phase.rollback));
    }
    sections.extend(workflow.post_deployment.iter_mut());
    for (step, key) in sections.into_iter().flat_map(|section| &mut section.steps).zip(1..) {
        step.key = key;
    }
}

fn element(stage: u64, legs: u32, phases: usize) -> ElementPlan {
    let binding = PhaseBinding { service: Some(0), infrastructure: PhaseInfrastructure::Leg };
    let name = format!("deploy {stage}");
    ElementPlan {
        id: ElementId::derived(&["element", &name]),
        name,
        skip: StageSkip::Never,
        fleet: Some(FleetPlan {
            workflow: 0,
            environment: None,
            fan_out: None,
            variables: BTreeMap::new(),
            phases: vec![binding; phases],
            legs: (0..legs).map(|leg| LegPlan { infrastructure: Some(leg) }).collect(),
            policy: FleetPolicy::default(),
        }),
    }
}

fn service() -> ServicePlan {
    ServicePlan {
        id: EntityId::from("service"),
        name: "cart".to_owned(),
        description: String::new(),
        deployment_type: "SSH".to_owned(),
        artifact_type: "TAR".to_owned(),
        variables: Vec::new(),
        commands: Vec::new(),
        config_files: Vec::new(),
        artifact: None,
        sources: Vec::new(),
        manifests: None,
    }
}

fn infrastructure(index: u32, target: u32) -> InfrastructurePlan {
    InfrastructurePlan {
        id: EntityId::derived(&["infrastructure", &index.to_string()]),
        name: format!("infra{index}"),
        cloud_provider_type: "PHYSICAL_DATA_CENTER".to_owned(),
        deployment_type: "SSH".to_owned(),
        item_type: "PHYSICAL_DATA_CENTER_SSH".to_owned(),
        properties: json!({"hostNames": [format!("host{target}")]}).as_object().cloned().unwrap_or_default(),
        cloud_provider: Some("center".to_owned()),
        cloud_provider_properties: Map::new(),
    }
}

/// The resource constraint that steps take permits of.
pub(crate) fn constraint(chance: &Chance) -> ConstraintRecord {
    ConstraintRecord {
        id: ConstraintId::from(CONSTRAINT),
        name: CONSTRAINT.to_owned(),
        capacity: u32::try_from(chance.within(1..4)).unwrap_or(1),
        strategy: if chance.percent(50) { ConstraintStrategy::Fifo } else { ConstraintStrategy::Asap },
        created_at: BEGIN,
    }
}

/// A run of the pipeline.
pub(crate) fn execution(plan: &Plan, number: usize) -> anyhow::Result<NewExecution> {
    let bytes: Arc<[u8]> = serde_json::to_vec(plan)?.into();
    let digest = PlanDigest::of(&bytes);
    let cause = Cause::ApiKey { id: "key".to_owned(), name: "sim".to_owned() };
    let first = EventKind::PipelineStarted {
        plan: digest.clone(),
        cause: cause.clone(),
        notes: String::new(),
        resume: None,
    };
    let row = ExecutionRow {
        id: ExecutionId::derived(&["pipeline", &number.to_string()]),
        kind: ExecutionType::Pipeline,
        application: Named { id: plan.application.id.clone(), name: plan.application.name.clone() },
        entity: Named { id: EntityId::from("pipeline"), name: "Everywhere".to_owned() },
        plan: digest,
        parent: None,
        element: None,
        place: None,
        environment: None,
        infrastructure: None,
        services: Vec::new(),
        cause,
        notes: String::new(),
        resumed_from: None,
        resumed_by: None,
        created_at: BEGIN,
        state: RowState { seq: 1, ..RowState::default() },
    };
    Ok(NewExecution { row, plan: Some(bytes), events: numbered(0, BEGIN, vec![first]), idempotency: None })
}
