use manifold_model::entity::{CommandUnit, Phase, ServiceCommand, StageSkip};
use manifold_model::kind::{Class, Player};
use serde_json::json;

use crate::world::*;

fn unit(name: &str, kind: &str) -> CommandUnit {
    CommandUnit { name: name.into(), kind: kind.into(), properties: map(json!({"command": "true"})) }
}

fn command(name: &str, units: Vec<CommandUnit>) -> ServiceCommand {
    ServiceCommand { name: name.into(), kind: "OTHER".into(), units }
}

fn rollback(rolls_back: Option<&str>, step_kind: &str) -> Phase {
    Phase {
        name: "Undo".into(),
        rolls_back: rolls_back.map(str::to_owned),
        sections: vec![section(vec![step("undo", step_kind, json!({"scriptString": "x"}))])],
        ..phase("Undo", "infrastructure")
    }
}

#[test]
fn a_kind_that_nobody_offers_is_refused_rollback_included_but_not_when_skipped_always() {
    let mut world = World::new();
    world.steps(vec![step("roll out", "K8S_DEPLOYMENT_ROLLING", json!({}))]);
    world.edit_workflow(|workflow| workflow.rollback_phases = vec![rollback(Some("One"), "K8S_DELETE")]);
    let problems = refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[("STEP_KIND_NOT_OFFERED", "roll out"), ("STEP_KIND_NOT_OFFERED", "undo")],
    );
    assert_eq!(
        problems[0].message,
        "step roll out of phase One of the workflow roll is of the type K8S_DEPLOYMENT_ROLLING, which nothing here can run"
    );
    let place = problems[0].place.clone().unwrap();
    assert_eq!((place.path.as_str(), place.line), ("Setup/Applications/Shop/Workflows/roll.yaml", 7));
    let mut skipped = stage("s", "roll", &[]);
    skipped.skip = StageSkip::Always;
    world.pipeline(vec![skipped]);
    assert!(world.ship(&[]).is_ok());
}

#[test]
fn steps_are_refused_where_they_may_not_stand_and_without_what_they_need() {
    let mut world = World::new();
    world.steps(vec![
        step("get", "HTTP", json!({"url": "  "})),
        step("late", "HTTP", json!({"url": "u", "timeoutMillis": "soon"})),
    ]);
    world.edit_workflow(|workflow| {
        workflow.pre_deployment =
            Some(section(vec![step("early", "COMMAND", json!({"commandName": "Install"}))]));
    });
    refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[("KIND_MISPLACED", "early"), ("STEP_PROPERTY_MISSING", "get"), ("STEP_TIMEOUT_INVALID", "late")],
    );
}

#[test]
fn class_and_timeout_follow_the_properties() {
    let mut world = World::new();
    world.steps(vec![
        step("get", "HTTP", json!({"url": "u", "method": "get", "timeoutMillis": "5000"})),
        step("post", "HTTP", json!({"url": "u", "method": "POST", "stateTimeoutInMinutes": 2})),
        step("long", "HTTP", json!({"url": "u", "timeoutMillis": u64::MAX})),
        step("none", "HTTP", json!({"url": "u", "timeoutMillis": null})),
    ]);
    let plan = world.ship(&[name("infrastructure", "eu")]).unwrap();
    let steps = &plan.workflows[0].phases[0].sections[0].steps;
    let got: Vec<(Class, u64)> = steps.iter().map(|step| (step.class, step.timeout_ms)).collect();
    let expected = [
        (Class::Idempotent, 5_000),
        (Class::Unsafe, 120_000),
        (Class::Unsafe, 86_400_000),
        (Class::Unsafe, 600_000),
    ];
    assert_eq!(got, expected);
    let keys: Vec<u32> = steps.iter().map(|step| step.key).collect();
    assert_eq!(keys, [1, 2, 3, 4]);
}

#[test]
fn a_script_runs_on_the_delegate_a_host_or_every_instance() {
    let mut world = World::new();
    let script = |name: &str, properties: serde_json::Value| {
        let mut properties = map(properties);
        properties.entry("scriptString").or_insert_with(|| json!("true"));
        step(name, "SHELL_SCRIPT", properties.into())
    };
    world.steps(vec![
        script("delegate", json!({"executeOnDelegate": true, "host": "h"})),
        script("bare", json!({})),
        script("host", json!({"executeOnDelegate": "false", "host": "h", "sshKeyRefName": "key"})),
        script("each", json!({"executeOnDelegate": false, "host": "${instance.hostName}"})),
        script("told", json!({"executeOnDelegate": false, "scriptString": "echo ${instance.name}"})),
    ]);
    let plan = world.ship(&[name("infrastructure", "eu")]).unwrap();
    let got: Vec<(String, Player)> = plan.workflows[0].phases[0].sections[0]
        .steps
        .iter()
        .map(|step| (step.task_kind.to_string(), step.player))
        .collect();
    let on_host = "SHELL_SCRIPT_ON_HOST".to_owned();
    assert_eq!(
        got,
        [
            ("SHELL_SCRIPT".into(), Player::Delegate),
            ("SHELL_SCRIPT".into(), Player::Delegate),
            (on_host.clone(), Player::Delegate),
            (on_host.clone(), Player::Instances),
            (on_host, Player::Instances),
        ]
    );
    world.steps(vec![
        script("nowhere", json!({"executeOnDelegate": false})),
        script("keyless", json!({"host": "h", "sshKeyRefName": "lost"})),
        script("windows", json!({"host": "h", "connectionType": "WINRM"})),
    ]);
    refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[
            ("CREDENTIAL_UNKNOWN", "keyless"),
            ("STEP_PROPERTY_MISSING", "nowhere"),
            ("STEP_UNSUPPORTED", "windows"),
        ],
    );
}

#[test]
fn a_command_must_exist_with_all_it_calls_and_not_call_itself() {
    let mut world = World::new();
    world.steps(vec![
        step("a", "COMMAND", json!({"commandName": "Install"})),
        step("b", "COMMAND", json!({"commandName": "Loop"})),
        step("c", "COMMAND", json!({"commandName": "Gone"})),
        step("d", "COMMAND", json!({"commandName": "Odd"})),
        step("e", "COMMAND", json!({"commandName": "Bomb0"})),
    ]);
    world.edit_service(|service| {
        service.commands = vec![
            command("Install", vec![unit("run", "EXEC"), unit("Start", "COMMAND")]),
            command("Start", vec![unit("run", "EXEC")]),
            command("Loop", vec![unit("Back", "COMMAND")]),
            command("Back", vec![unit("Loop", "COMMAND")]),
            command("Odd", vec![unit("deploy", "CODE_DEPLOY"), unit("Lost", "COMMAND")]),
        ];
        for level in 0..20 {
            let next = format!("Bomb{}", level + 1);
            service
                .commands
                .push(command(&format!("Bomb{level}"), vec![unit(&next, "COMMAND"), unit(&next, "COMMAND")]));
        }
        service.commands.push(command("Bomb20", vec![]));
    });
    refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[
            ("COMMAND_CYCLE", "Loop"),
            ("COMMAND_TOO_LARGE", "Bomb0"),
            ("COMMAND_UNIT_UNSUPPORTED", "deploy"),
            ("COMMAND_UNKNOWN", "Gone"),
            ("COMMAND_UNKNOWN", "Lost"),
        ],
    );
}

#[test]
fn a_definition_with_its_own_api_server_needs_no_cloud_provider() {
    let mut world = World::new();
    world.edit_infrastructure("us", |one| {
        one.item_type = "AWS_SSH".into();
        one.cloud_provider_name = Some("gone".into());
    });
    world.steps(vec![step("a", "COMMAND", json!({"commandName": "Start"}))]);
    world.edit_service(|service| service.commands = vec![command("Start", vec![unit("run", "EXEC")])]);
    let us = [name("infrastructure", "us")];
    let unsupported = ("INFRASTRUCTURE_TYPE_UNSUPPORTED", "us");
    refused(world.ship(&us), &[("CLOUD_PROVIDER_UNKNOWN", "us"), unsupported]);
    world.edit_infrastructure("us", |one| {
        one.properties.insert("masterUrl".into(), "https://k8s.test".into());
    });
    refused(world.ship(&us), &[unsupported]);
}

#[test]
fn an_infrastructure_without_driver_is_refused_only_when_a_step_touches_it() {
    let mut world = World::new();
    world.edit_infrastructure("us", |one| one.item_type = "AWS_SSH".into());
    let both = [name("infrastructure", "eu,us")];
    assert!(world.ship(&both).is_ok());
    world.steps(vec![step("a", "COMMAND", json!({"commandName": "Start"}))]);
    world.edit_service(|service| service.commands = vec![command("Start", vec![unit("run", "EXEC")])]);
    refused(world.ship(&both), &[("INFRASTRUCTURE_TYPE_UNSUPPORTED", "us")]);
    world.edit_infrastructure("eu", |one| {
        one.properties = map(json!({"hostNames": [], "hostConnectionAttrsName": "lost"}))
    });
    world.edit_infrastructure("us", |one| {
        one.item_type = "PHYSICAL_DATA_CENTER_SSH".into();
        one.properties = map(json!({"hostNames": ["h"]}));
    });
    refused(
        world.ship(&both),
        &[
            ("CREDENTIAL_UNKNOWN", "eu"),
            ("INFRASTRUCTURE_INCOMPLETE", "eu"),
            ("INFRASTRUCTURE_INCOMPLETE", "us"),
        ],
    );
}

#[test]
fn a_resource_constraint_is_looked_up_by_name_before_id() {
    let mut world = World::new();
    let guard = |name: &str, properties| step(name, "RESOURCE_CONSTRAINT", properties);
    world.steps(vec![
        guard("by name", json!({"resourceConstraintName": "licences", "permits": 3, "timeoutMillis": 5_000})),
        guard("by id", json!({"resourceConstraintId": "c1", "permits": "${workflow.variables.n}"})),
        guard("foreign id", json!({"resourceConstraintName": "licences", "resourceConstraintId": "xyz"})),
        guard(
            "mode",
            json!({"resourceConstraintName": "licences", "acquireMode": "ENSURE", "holdingScope": "phase"}),
        ),
    ]);
    let plan = world.ship(&[name("infrastructure", "eu")]).unwrap();
    let steps = &plan.workflows[0].phases[0].sections[0].steps;
    for step in steps {
        assert_eq!(step.properties["resourceConstraintId"], "c1", "{}", step.name);
        assert_eq!(step.properties["resourceConstraintName"], "licences");
    }
    assert_eq!((steps[0].timeout_ms, steps[1].timeout_ms), (5_000, 600_000));
    let warnings: Vec<_> = plan
        .warnings
        .iter()
        .map(|one| (one.code.to_string(), one.item.clone().unwrap_or_default()))
        .collect();
    assert_eq!(warnings, [("CONSTRAINT_ACQUIRE_MODE".to_owned(), "mode".to_owned())]);
    assert_eq!(steps[3].properties["acquireMode"], "ENSURE", "kept");
}

#[test]
fn a_resource_constraint_that_cannot_be_taken_is_refused() {
    let mut world = World::new();
    let guard = |name: &str, more: serde_json::Value| {
        let mut properties = json!({"resourceConstraintName": "licences"});
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step(name, "RESOURCE_CONSTRAINT", properties)
    };
    world.steps(vec![
        guard("unknown", json!({"resourceConstraintName": "gone"})),
        guard("unknown id", json!({"resourceConstraintName": "", "resourceConstraintId": "c2"})),
        guard("none", json!({"resourceConstraintName": null})),
        guard("too many", json!({"permits": 4})),
        guard("zero", json!({"permits": 0})),
        guard("half", json!({"permits": "1.5"})),
        guard("scope", json!({"holdingScope": "FOREVER"})),
    ]);
    refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[
            ("CONSTRAINT_UNKNOWN", "unknown"),
            ("CONSTRAINT_UNKNOWN", "unknown id"),
            ("STEP_PROPERTY_MISSING", "none"),
            ("CONSTRAINT_PERMITS", "too many"),
            ("CONSTRAINT_PERMITS", "zero"),
            ("CONSTRAINT_PERMITS", "half"),
            ("CONSTRAINT_SCOPE", "scope"),
        ],
    );
}

#[test]
fn a_barrier_identifier_is_literal_and_unique() {
    let mut world = World::new();
    world.steps(vec![
        step("a", "BARRIER", json!({"identifier": "x"})),
        step("b", "BARRIER", json!({"identifier": "x"})),
        step("c", "BARRIER", json!({"identifier": "${app.name}"})),
        step("d", "BARRIER", json!({})),
    ]);
    refused(
        world.ship(&[name("infrastructure", "eu")]),
        &[("BARRIER_IDENTIFIER", "b"), ("BARRIER_IDENTIFIER", "c"), ("STEP_PROPERTY_MISSING", "d")],
    );
}

#[test]
fn rollback_phases_find_their_phase_by_name_or_by_order() {
    let mut world = World::new();
    world.edit_workflow(|workflow| {
        workflow.phases.push(phase("Two", "infrastructure"));
        workflow.rollback_phases =
            vec![rollback(Some("Two"), "SHELL_SCRIPT"), rollback(Some("Three"), "SHELL_SCRIPT")];
        workflow.rollback_phases.push(Phase { name: "Plain".into(), ..rollback(None, "SHELL_SCRIPT") });
    });
    let plan = world.ship(&[name("infrastructure", "eu")]).unwrap();
    let names: Vec<Option<&str>> =
        plan.workflows[0].phases.iter().map(|phase| phase.rollback_name.as_deref()).collect();
    assert_eq!(names, [Some("Plain"), Some("Undo")]);
    assert_eq!(codes(&plan.warnings), [("ROLLBACK_PHASE_UNMATCHED".into(), "Undo".into())]);
    let mut keys: Vec<u32> = plan.workflows[0]
        .phases
        .iter()
        .flat_map(|phase| phase.sections.iter().chain(&phase.rollback))
        .flat_map(|section| &section.steps)
        .map(|step| step.key)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

#[test]
fn every_reason_is_told_at_once() {
    let mut world = World::new();
    world.steps(vec![
        step("a", "COMMAND", json!({"commandName": "Gone"})),
        step("b", "NOPE", json!({})),
        step("c", "HTTP", json!({"url": "${artifact.url}"})),
    ]);
    refused(
        world.ship(&[name("infrastructure", "eu,nowhere")]),
        &[
            ("ARTIFACT_MISSING", "cart"),
            ("COMMAND_UNKNOWN", "Gone"),
            ("INFRASTRUCTURE_UNKNOWN", "nowhere"),
            ("STEP_KIND_NOT_OFFERED", "b"),
        ],
    );
}

#[test]
fn specific_hosts_must_be_somebodys() {
    let world = World::new();
    let mut request =
        world.request(manifold_model::request::ExecutionType::Pipeline, &[name("infrastructure", "eu,us")]);
    request.specific_hosts = Some(vec!["e1".into(), "a1".into()]);
    refused(world.plan(&request), &[("SPECIFIC_HOST_UNKNOWN", "a1")]);
    request.specific_hosts = Some(vec!["e1".into(), "u1".into()]);
    assert_eq!(world.plan(&request).unwrap().specific_hosts, request.specific_hosts);
    request.specific_hosts = Some(vec![]);
    refused(world.plan(&request), &[("SPECIFIC_HOST_UNKNOWN", "specificHosts")]);
}
