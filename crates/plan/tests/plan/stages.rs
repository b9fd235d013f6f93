use manifold_model::entity::{StageSkip, WorkflowType};
use manifold_model::plan::PhaseInfrastructure;
use manifold_model::request::ExecutionType;

use crate::world::*;

#[test]
fn approvals_runtime_inputs_and_unknown_stages_are_refused_by_name() {
    let mut world = World::new();
    let mut approval = stage("go", "", &[]);
    approval.kind = "APPROVAL".into();
    let mut asking = stage("ask", "roll", &[("infrastructure", "${infra}")]);
    asking.runtime_inputs = vec!["infrastructure".into()];
    let mut odd = stage("odd", "roll", &[]);
    odd.kind = "LOOP".into();
    let none = stage("none", "missing", &[]);
    world.pipeline(vec![approval.clone(), asking, odd, none]);
    refused(
        world.ship(&[name("infra", "eu")]),
        &[
            ("APPROVAL_UNSUPPORTED", "go"),
            ("PIPELINE_INCOMPLETE", "none"),
            ("RUNTIME_INPUT_UNSUPPORTED", "ask"),
            ("STAGE_KIND_UNKNOWN", "odd"),
        ],
    );
    approval.skip = StageSkip::Always;
    world.pipeline(vec![approval, stage("on", "roll", &[("infrastructure", "eu")])]);
    assert!(world.ship(&[]).is_ok());
    world.pipeline(vec![]);
    refused(world.ship(&[]), &[("PIPELINE_INCOMPLETE", "")]);
}

#[test]
fn parallel_elements_share_a_stage() {
    let mut world = World::new();
    let mut beside = stage("b", "roll", &[("infrastructure", "us")]);
    beside.parallel = true;
    world.pipeline(vec![
        stage("a", "roll", &[("infrastructure", "eu")]),
        beside,
        stage("c", "roll", &[("infrastructure", "ap")]),
    ]);
    let plan = world.ship(&[]).unwrap();
    assert_eq!(plan.stages.iter().map(|stage| stage.elements.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(plan.infrastructures.len(), 3);
}

#[test]
fn incomplete_workflows_are_refused() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.environment_name = None;
        workflow.phases[0].service_name = None;
    });
    refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[("WORKFLOW_INCOMPLETE", "roll"), ("WORKFLOW_INCOMPLETE", "roll")],
    );
    world.edit_workflow(|workflow| {
        workflow.environment_name = Some("prod".into());
        workflow.phases[0].service_name = Some("gone".into());
        workflow.phases[0].template_expressions.clear();
        workflow.phases[0].infrastructure_name = Some("gone".into());
    });
    world.pipeline(vec![stage("s", "roll", &[])]);
    world.edit_workflow(|workflow| workflow.variables.clear());
    let problems = world.ship(&[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn a_build_workflow_has_no_environment_no_service_and_no_lock() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.kind = WorkflowType::Build;
        workflow.environment_name = None;
        workflow.variables.clear();
        let phase = &mut workflow.phases[0];
        (phase.deployment_type, phase.service_name, phase.infrastructure_name) = (None, None, None);
        phase.template_expressions.clear();
    });
    let plan = world.roll(&[]).unwrap();
    let fleet = plan.stages[0].elements[0].fleet.clone().unwrap();
    assert_eq!((fleet.environment, fleet.legs.len(), plan.workflows[0].locks), (None, 1, false));
    assert_eq!(fleet.phases[0].infrastructure, PhaseInfrastructure::None);
}

#[test]
fn an_entity_of_another_application_or_kind_is_unknown() {
    let world = World::new();
    let mut request = world.request(ExecutionType::Pipeline, &[]);
    request.application = id("Other");
    refused(world.plan(&request), &[("ENTITY_UNKNOWN", "id-ship")]);
    let mut request = world.request(ExecutionType::Workflow, &[]);
    request.entity = id("ship");
    refused(world.plan(&request), &[("ENTITY_UNKNOWN", "id-ship")]);
}
