//! Small plans.

use std::collections::BTreeMap;

use manifold_model::artifact::Artifact;
use manifold_model::entity::{
    EnvironmentType, FailureStrategy, RepairAction, SkipStrategy, StageSkip, ValueType, Variable,
    VariableOverride, WorkflowType,
};
use manifold_model::kind::{Class, KindName, Player};
use manifold_model::plan::*;
use manifold_model::{ElementId, EntityId, FailureClass};
use serde_json::{Value, json};

/// A step of a kind; the key is set by [`workflow`].
pub fn step(name: &str, kind: &str, player: Player, properties: Value) -> StepPlan {
    StepPlan {
        key: 0,
        name: name.to_owned(),
        kind: KindName::from(kind),
        task_kind: KindName::from(kind),
        class: Class::Unsafe,
        player,
        properties: properties.as_object().unwrap().clone(),
        timeout_ms: 60_000,
        deploys: false,
        needs_artifact: false,
        capabilities: Vec::new(),
    }
}

/// A step of one task.
pub fn noop(name: &str) -> StepPlan {
    step(name, "NOOP", Player::Delegate, json!({}))
}

/// A step of one task that deploys something.
pub fn deploy(name: &str) -> StepPlan {
    StepPlan { deploys: true, ..noop(name) }
}

/// A script on every host.
pub fn on_hosts(name: &str, script: &str) -> StepPlan {
    let mut step =
        step(name, "SHELL_SCRIPT", Player::Instances, json!({"scriptString": script, "scriptType": "BASH"}));
    step.task_kind = KindName::from("SHELL_SCRIPT_ON_HOST");
    step.deploys = true;
    step
}

pub fn nodes(properties: Value) -> StepPlan {
    step("Select Nodes", "DC_NODE_SELECT", Player::Engine, properties)
}

pub fn barrier(name: &str, identifier: &str) -> StepPlan {
    step(name, "BARRIER", Player::Engine, json!({"identifier": identifier, "timeoutMillis": 60_000}))
}

/// A step that takes permits, with more properties.
pub fn guard(name: &str, more: Value) -> StepPlan {
    let mut properties = json!({ "resourceConstraintName": "licences", "resourceConstraintId": "c" });
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step(name, "RESOURCE_CONSTRAINT", Player::Engine, properties)
}

/// A section.
pub fn section(name: &str, steps: Vec<StepPlan>) -> SectionPlan {
    SectionPlan {
        name: name.to_owned(),
        kind: "K8S_PHASE_STEP".to_owned(),
        parallel: false,
        steps,
        skips: Vec::new(),
        strategies: Vec::new(),
        rolls_back: None,
        wait_seconds: 0,
    }
}

/// A rollback section.
pub fn undo(name: &str, of: &str, steps: Vec<StepPlan>) -> SectionPlan {
    SectionPlan { rolls_back: Some(of.to_owned()), ..section(name, steps) }
}

pub fn skip(steps: &[&str], assertion: &str) -> SkipStrategy {
    SkipStrategy {
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        assertion: assertion.to_owned(),
    }
}

pub fn phase(name: &str, sections: Vec<SectionPlan>, rollback: Vec<SectionPlan>) -> PhasePlan {
    PhasePlan {
        name: name.to_owned(),
        rollback_name: Some(format!("Rollback {name}")),
        deployment_type: Some("SSH".to_owned()),
        overrides: Vec::new(),
        sections,
        rollback,
    }
}

pub fn strategy(action: RepairAction) -> FailureStrategy {
    FailureStrategy {
        failure_types: Vec::new(),
        action,
        phase_scope: false,
        specific_steps: Vec::new(),
        retry_count: 0,
        retry_intervals: Vec::new(),
        action_after_retry: None,
        intervention_timeout_ms: None,
        action_after_timeout: None,
    }
}

pub fn only(action: RepairAction, class: FailureClass) -> FailureStrategy {
    FailureStrategy { failure_types: vec![class], ..strategy(action) }
}

pub fn retry(count: u32, intervals: &[u64], after: Option<RepairAction>) -> FailureStrategy {
    FailureStrategy {
        retry_count: count,
        retry_intervals: intervals.to_vec(),
        action_after_retry: after,
        ..strategy(RepairAction::Retry)
    }
}

/// A workflow with these phases; steps are numbered from 1 in the order of the plan.
pub fn workflow(phases: Vec<PhasePlan>, strategies: Vec<FailureStrategy>) -> WorkflowPlan {
    WorkflowPlan {
        id: EntityId::from("workflow"),
        name: "Deploy".to_owned(),
        description: "deploys".to_owned(),
        kind: WorkflowType::Canary,
        locks: false,
        pre_deployment: None,
        phases,
        post_deployment: None,
        strategies,
    }
}

fn number(workflow: &mut WorkflowPlan) {
    let mut key = 0;
    let mut sections: Vec<&mut SectionPlan> = workflow.pre_deployment.iter_mut().collect();
    for phase in &mut workflow.phases {
        sections.extend(phase.sections.iter_mut().chain(&mut phase.rollback));
    }
    sections.extend(workflow.post_deployment.iter_mut());
    for step in sections.into_iter().flat_map(|section| &mut section.steps) {
        key += 1;
        step.key = key;
    }
}

pub fn artifact(build: &str) -> Artifact {
    Artifact {
        id: manifold_model::ArtifactId::from(build),
        source: EntityId::from("source"),
        source_name: "builds".to_owned(),
        source_kind: "HTTP".to_owned(),
        build_no: build.to_owned(),
        metadata: BTreeMap::from([("fileName".to_owned(), format!("cart-{build}.tar"))]),
        collected_at: 0,
    }
}

fn variable(name: &str, value: &str) -> Variable {
    Variable { name: name.to_owned(), value: value.to_owned(), value_type: ValueType::Text }
}

pub fn service() -> ServicePlan {
    ServicePlan {
        id: EntityId::from("service"),
        name: "cart".to_owned(),
        description: String::new(),
        deployment_type: "SSH".to_owned(),
        artifact_type: "TAR".to_owned(),
        variables: vec![
            variable("color", "blue"),
            variable("region", "${infra.name}-region"),
            Variable {
                name: "token".to_owned(),
                value: "api-token".to_owned(),
                value_type: ValueType::EncryptedText,
            },
        ],
        commands: Vec::new(),
        manifests: None,
        config_files: Vec::new(),
        artifact: Some(artifact("2.0")),
        sources: vec![SourcePlan {
            id: EntityId::from("source"),
            name: "builds".to_owned(),
            kind: "HTTP".to_owned(),
            properties: serde_json::Map::new(),
            server_kind: None,
            server: serde_json::Map::new(),
        }],
    }
}

pub fn infrastructure(name: &str, hosts: &[&str]) -> InfrastructurePlan {
    InfrastructurePlan {
        id: EntityId::from(name),
        name: name.to_owned(),
        cloud_provider_type: "PHYSICAL_DATA_CENTER".to_owned(),
        deployment_type: "SSH".to_owned(),
        item_type: "PHYSICAL_DATA_CENTER_SSH".to_owned(),
        properties:
            json!({"hostNames": hosts, "hostConnectionAttrsName": "deployer", "hostKeys": ["SHA256:abc"]})
                .as_object()
                .unwrap()
                .clone(),
        cloud_provider: Some("center".to_owned()),
        cloud_provider_properties: serde_json::Map::new(),
    }
}

pub fn environment() -> EnvironmentPlan {
    EnvironmentPlan {
        id: EntityId::from("environment"),
        name: "prod".to_owned(),
        description: String::new(),
        environment_type: EnvironmentType::Prod,
        overrides: vec![
            VariableOverride { variable: variable("color", "green"), service_name: None },
            VariableOverride { variable: variable("color", "red"), service_name: Some("cart".to_owned()) },
        ],
        values: Vec::new(),
        config_files: Vec::new(),
    }
}

pub fn element(name: &str, legs: u32, phases: usize) -> ElementPlan {
    let binding = PhaseBinding { service: Some(0), infrastructure: PhaseInfrastructure::Leg };
    ElementPlan {
        id: ElementId::from(name),
        name: name.to_owned(),
        skip: StageSkip::Never,
        fleet: Some(FleetPlan {
            workflow: 0,
            environment: Some(0),
            fan_out: Some("infra_variable".to_owned()),
            variables: BTreeMap::from([
                ("size".to_owned(), "${app.name}-small".to_owned()),
                ("infra_variable".to_owned(), "east,west".to_owned()),
            ]),
            phases: vec![binding; phases],
            legs: (0..legs).map(|leg| LegPlan { infrastructure: Some(leg) }).collect(),
            policy: FleetPolicy::default(),
        }),
    }
}

/// A plan of stages of elements over one workflow.
pub fn plan_of(
    mut workflow: WorkflowPlan,
    stages: Vec<StagePlan>,
    infrastructures: Vec<InfrastructurePlan>,
) -> Plan {
    number(&mut workflow);
    Plan {
        version: PLAN_VERSION,
        account: "account".to_owned(),
        account_defaults: BTreeMap::new(),
        catalog_revision: 7,
        application: ApplicationPlan {
            id: EntityId::from("application"),
            name: "Shop".to_owned(),
            description: String::new(),
            defaults: BTreeMap::from([("RUNTIME_PATH".to_owned(), "/opt/${service.name}".to_owned())]),
        },
        subject: Subject::Pipeline {
            id: EntityId::from("pipeline"),
            name: "Everywhere".to_owned(),
            description: String::new(),
        },
        inputs: Vec::new(),
        stages,
        workflows: vec![workflow],
        services: vec![service()],
        environments: vec![environment()],
        infrastructures,
        warnings: Vec::new(),
        specific_hosts: None,
    }
}

/// One stage, one element, one leg on four hosts.
pub fn plan(workflow: WorkflowPlan) -> Plan {
    let phases = workflow.phases.len();
    let stage = StagePlan { name: "STAGE 1".to_owned(), elements: vec![element("deploy", 1, phases)] };
    plan_of(workflow, vec![stage], vec![infrastructure("east", &["a", "b", "c", "d"])])
}
