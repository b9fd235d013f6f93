use manifold_model::entity::{CommandUnit, ServiceCommand};
use serde_json::json;

use crate::world::*;

fn twins() -> World {
    let mut world = World::new();
    world.infrastructure("prod", "twin", "e2,e1");
    world
}

fn run_on_hosts(world: &mut World) {
    world.steps(vec![step("start", "COMMAND", json!({"commandName": "Start"}))]);
    world.edit_service(|service| {
        let unit = CommandUnit { name: "run".into(), kind: "EXEC".into(), properties: Default::default() };
        service.commands =
            vec![ServiceCommand { name: "Start".into(), kind: "START".into(), units: vec![unit] }];
    });
}

#[test]
fn d25_two_definitions_on_one_target_get_a_warning() {
    let plan = twins().ship(&[name("infrastructure", "eu,twin,us")]).unwrap();
    assert_eq!(codes(&plan.warnings), [("TARGET_SHARED".into(), "eu, twin".into())]);
}

#[test]
fn d25_a_barrier_on_one_target_could_only_time_out() {
    let mut world = twins();
    world.steps(vec![step("wait", "BARRIER", json!({"identifier": "all"}))]);
    let both = [name("infrastructure", "eu,twin")];
    refused(world.ship(&both), &[("TARGET_SHARED_BARRIER", "eu, twin")]);
    world.edit_workflow(|workflow| workflow.locks_infrastructure = false);
    assert!(world.ship(&both).is_ok(), "without lock nobody waits for another");
}

#[test]
fn more_legs_on_one_target_than_its_lock_takes() {
    let mut world = World::new();
    let names: Vec<String> = (0..22).map(|number| format!("t{number}")).collect();
    for name in &names {
        world.infrastructure("prod", name, "same");
    }
    let given = |count: usize| [name("infrastructure", &names[..count].join(","))];
    assert!(world.ship(&given(21)).is_ok());
    let problems = world.ship(&given(22)).unwrap_err();
    assert_eq!(problems[0].code.to_string(), "TARGET_QUEUE_FULL");
}

#[test]
fn expressions_that_are_known_tell_targets_apart() {
    let mut world = World::new();
    for name in ["x", "y"] {
        world.infrastructure("prod", name, "${infra.name}.example");
    }
    for name in ["v", "w"] {
        world.infrastructure("prod", name, "${workflow.variables.infrastructure}.net");
    }
    for name in ["p", "q"] {
        world.infrastructure("prod", name, "${serviceVariable.host}");
    }
    let plan = world.ship(&[name("infrastructure", "x,y,v,w,p,q")]).unwrap();
    assert_eq!(codes(&plan.warnings), [("TARGET_SHARED".into(), "p, q".into())]);
}

#[test]
fn overlapping_hosts_and_a_shared_runtime_path_get_a_warning() {
    let mut world = World::new();
    world.infrastructure("prod", "part", "e2,e3");
    run_on_hosts(&mut world);
    let both = [name("infrastructure", "eu,part")];
    let plan = world.ship(&both).unwrap();
    assert_eq!(codes(&plan.warnings), [("HOSTS_OVERLAP".into(), "eu, part".into())]);
    let mut application = (*world.catalog.applications[&id("Shop")]).clone();
    application.defaults.insert("RUNTIME_PATH".into(), "$HOME/${app.name}".into());
    world.catalog.applications.insert(id("Shop"), application.into());
    let plan = world.ship(&both).unwrap();
    assert_eq!(
        codes(&plan.warnings),
        [("HOSTS_OVERLAP".into(), "eu, part".into()), ("RUNTIME_PATH_SHARED".into(), "RUNTIME_PATH".into())]
    );
}
