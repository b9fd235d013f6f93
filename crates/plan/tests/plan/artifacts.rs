use std::collections::BTreeMap;

use manifold_model::artifact::Artifact;
use manifold_model::entity::{ArtifactSource, CommandUnit, ServiceCommand};
use manifold_model::plan::Plan;
use manifold_model::problem::Problem;
use manifold_model::request::{ArtifactInput, ExecutionType, ServiceInput};
use manifold_plan::artifact_needs;
use serde_json::{Map, json};

use crate::world::*;

fn source(name: &str, kind: &str) -> ArtifactSource {
    ArtifactSource {
        id: id(name),
        name: name.into(),
        kind: kind.into(),
        server_name: None,
        properties: map(json!({"imageName": "acme/cart"})),
    }
}

/// A world whose command copies the artifact.
fn world() -> World {
    let mut world = World::new();
    world.steps(vec![step("install", "COMMAND", json!({"commandName": "Install"}))]);
    world.edit_service(|service| {
        let unit = |name: &str, kind: &str| CommandUnit {
            name: name.into(),
            kind: kind.into(),
            properties: Map::new(),
        };
        service.commands = vec![
            ServiceCommand {
                name: "Install".into(),
                kind: "INSTALL".into(),
                units: vec![unit("Copy", "COMMAND")],
            },
            ServiceCommand { name: "Copy".into(), kind: "OTHER".into(), units: vec![unit("copy", "SCP")] },
        ];
        service.sources = vec![source("builds", "CUSTOM")];
    });
    world.artifacts.push(Artifact {
        id: Artifact::id_of(&id("builds"), "7"),
        source: id("builds"),
        source_name: "builds".into(),
        source_kind: "CUSTOM".into(),
        build_no: "7".into(),
        metadata: BTreeMap::new(),
        collected_at: 1,
    });
    world
}

fn build(source: Option<&str>, build_no: &str) -> ArtifactInput {
    ArtifactInput::BuildNumber { source_name: source.map(str::to_owned), build_no: build_no.into() }
}

fn start(world: &World, artifacts: &[(&str, ArtifactInput)]) -> Result<Plan, Vec<Problem>> {
    let mut request = world.request(ExecutionType::Pipeline, &[name("infrastructure", "eu")]);
    request.services = artifacts
        .iter()
        .map(|(service, artifact)| ServiceInput { service: (*service).into(), artifact: artifact.clone() })
        .collect();
    world.plan(&request)
}

#[test]
fn a_service_whose_steps_copy_the_artifact_needs_one() {
    let world = world();
    refused(start(&world, &[]), &[("ARTIFACT_MISSING", "cart")]);
    let needs = world
        .with_facts(|facts| artifact_needs(&world.catalog, facts, &id("ship"), ExecutionType::Pipeline, &[]))
        .unwrap();
    assert_eq!(needs.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["cart"]);
    for artifact in [
        build(None, "7"),
        build(Some("builds"), " 7 "),
        ArtifactInput::Id { artifact: world.artifacts[0].id.to_string() },
    ] {
        let plan = start(&world, &[("cart", artifact)]).unwrap();
        assert_eq!(plan.services[0].artifact.as_ref().unwrap().build_no, "7");
        assert!(plan.workflows[0].phases[0].sections[0].steps[0].needs_artifact);
    }
}

#[test]
fn an_expression_needs_an_artifact_and_a_nested_one_does_not() {
    let needs = |script: &str| {
        let mut world = World::new();
        world.steps(vec![step("say", "SHELL_SCRIPT", json!({"scriptString": script}))]);
        world
            .with_facts(|facts| {
                artifact_needs(&world.catalog, facts, &id("roll"), ExecutionType::Workflow, &[])
            })
            .unwrap()
            .len()
    };
    assert_eq!(needs("echo ${artifact.buildNo}"), 1);
    assert_eq!(needs("echo ${artifact${\".metadata.image\"}}"), 0);
    assert_eq!(needs("echo artifact.buildNo ${artifacts.x}"), 0);
}

#[test]
fn what_cannot_be_found_is_named() {
    let mut world = world();
    refused(start(&world, &[("cart", build(None, "8"))]), &[("ARTIFACT_UNKNOWN", "cart")]);
    refused(start(&world, &[("cart", build(Some("x"), "7"))]), &[("ARTIFACT_SOURCE_UNKNOWN", "cart")]);
    refused(
        start(&world, &[("cart", ArtifactInput::Id { artifact: "none".into() })]),
        &[("ARTIFACT_UNKNOWN", "cart")],
    );
    refused(
        start(
            &world,
            &[("mail", build(None, "7")), ("cart", build(None, "7")), ("id-cart", build(None, "7"))],
        ),
        &[("ARTIFACT_DUPLICATE", "cart"), ("SERVICE_UNKNOWN", "mail")],
    );
    world.edit_service(|service| service.sources.push(source("image", "DOCKER")));
    refused(start(&world, &[("cart", build(None, "7"))]), &[("ARTIFACT_SOURCE_UNKNOWN", "cart")]);
    let plan = start(&world, &[("cart", build(Some("image"), "v9"))]).unwrap();
    assert_eq!(plan.services[0].artifact.as_ref().unwrap().metadata["image"], "acme/cart:v9");
}
