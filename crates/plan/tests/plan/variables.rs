use manifold_model::entity::VariableType;
use manifold_model::request::{ValueKind, VariableInput};

use crate::world::*;

#[test]
fn s16_a_required_variable_without_value_is_refused() {
    let world = World::new();
    refused(world.roll(&[]), &[("VARIABLE_MISSING", "infrastructure")]);
    refused(world.ship(&[]), &[("VARIABLE_MISSING", "infrastructure")]);
    refused(world.ship(&[name("infrastructure", " ")]), &[("VARIABLE_MISSING", "infrastructure")]);
}

#[test]
fn a_stage_that_leaves_a_required_variable_out_is_incomplete() {
    let mut world = World::new();
    world.pipeline(vec![stage("s", "roll", &[])]);
    let problems = refused(world.ship(&[]), &[("PIPELINE_INCOMPLETE", "infrastructure")]);
    let place = problems[0].place.clone().unwrap();
    assert_eq!((place.path.as_str(), place.line), ("Setup/Applications/Shop/Pipelines/ship.yaml", 3));
}

#[test]
fn values_are_checked_against_their_declarations() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        let mut channel = variable("channel", VariableType::Text);
        channel.allowed_values = vec!["stable".into(), "beta".into()];
        channel.value = Some("stable".into());
        let mut fixed = variable("fixed", VariableType::Text);
        fixed.fixed = true;
        fixed.value = Some("same".into());
        workflow.variables.extend([channel, fixed, variable("count", VariableType::Number)]);
    });
    let given = |channel: &str, fixed: &str, count: &str| {
        world.roll(&[
            name("infrastructure", "eu"),
            name("channel", channel),
            name("fixed", fixed),
            name("count", count),
        ])
    };
    refused(
        given("nightly", "other", "many"),
        &[("VALUE_NOT_ALLOWED", "channel"), ("VALUE_NOT_A_NUMBER", "count"), ("VARIABLE_FIXED", "fixed")],
    );
    let plan = given("", "same", "3.5").unwrap();
    let fleet = plan.stages[0].elements[0].fleet.clone().unwrap();
    assert_eq!(fleet.variables["channel"], "stable");
    assert_eq!(fleet.variables["count"], "3.5");
    refused(given("beta", "same", "inf"), &[("VALUE_NOT_A_NUMBER", "count")]);
}

#[test]
fn stage_text_is_an_input_only_as_a_whole_expression() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.variables.extend(["a", "b", "c", "d"].map(|name| variable(name, VariableType::Text)));
    });
    world.pipeline(vec![stage(
        "s",
        "roll",
        &[("infrastructure", "eu"), ("a", "${tag}"), ("b", "v-${app.name}"), ("c", "${app.name}")],
    )]);
    let plan = world.ship(&[name("tag", "7,8")]).unwrap();
    let fleet = plan.stages[0].elements[0].fleet.clone().unwrap();
    let values: Vec<&str> = ["a", "b", "c", "d"].iter().map(|name| fleet.variables[*name].as_str()).collect();
    assert_eq!(values, ["7,8", "v-${app.name}", "${app.name}", ""]);
}

#[test]
fn an_entity_setting_decided_by_other_text_is_refused() {
    let mut world = World::new();
    world.pipeline(vec![stage("s", "roll", &[("infrastructure", "${app.name}-eu")])]);
    refused(world.ship(&[]), &[("STAGE_VALUE_UNSUPPORTED", "infrastructure")]);
}

#[test]
fn unknown_and_doubled_variables() {
    let world = World::new();
    let plan = world.ship(&[name("infrastructure", "eu"), name("what", "x")]).unwrap();
    assert_eq!(codes(&plan.warnings), [("VARIABLE_UNUSED".into(), "what".into())]);
    refused(
        world.ship(&[name("infrastructure", "eu"), name("infrastructure", "us")]),
        &[("VARIABLE_DUPLICATE", "infrastructure")],
    );
}

#[test]
fn a_value_left_to_run_time_is_refused() {
    let world = World::new();
    let later = VariableInput {
        name: "infrastructure".into(),
        kind: ValueKind::Expression,
        value: "${infrastructure}".into(),
    };
    refused(world.ship(&[later]), &[("RUNTIME_INPUT_UNSUPPORTED", "infrastructure")]);
}

#[test]
fn one_name_cannot_be_two_things() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.phases[0].template_expressions.push(template("serviceId", "infrastructure"))
    });
    let problems = world.ship(&[name("infrastructure", "eu")]).unwrap_err();
    assert!(
        codes(&problems).contains(&("VARIABLE_CONFLICT".into(), "infrastructure".into())),
        "{problems:?}"
    );
}

#[test]
fn a_templated_service_must_fit_the_phase() {
    let mut world = World::new();
    world.service("mail");
    world.service("blob");
    world.service("kube");
    for (service, deployment, artifact) in [("blob", "SSH", "ZIP"), ("kube", "KUBERNETES", "TAR")] {
        let mut changed = (*world.catalog.services[&id(service)]).clone();
        (changed.deployment_type, changed.artifact_type) = (deployment.into(), artifact.into());
        world.catalog.services.insert(id(service), changed.into());
    }
    world.edit_workflow(|workflow| {
        let mut service = template("serviceId", "service");
        service.metadata.insert("artifactType".into(), "TAR".into());
        workflow.phases[0].template_expressions.push(service);
    });
    let start = |service: &str| world.roll(&[name("infrastructure", "eu"), name("service", service)]);
    let plan = start("mail").unwrap();
    assert_eq!(plan.services[0].name, "mail");
    refused(start("blob"), &[("SERVICE_WRONG_TYPE", "blob")]);
    refused(start("kube"), &[("INFRASTRUCTURE_WRONG_TYPE", "eu"), ("SERVICE_WRONG_TYPE", "kube")]);
    refused(start("none"), &[("SERVICE_UNKNOWN", "none")]);
    refused(start("mail,cart"), &[("VALUE_SINGLE", "service")]);
}
