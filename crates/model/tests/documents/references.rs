use manifold_model::EntityId;
use manifold_model::document::Document;
use manifold_model::path::DocumentPath;
use manifold_model::references::{
    NameReference, ReferenceKind, Target, name_of_id, names_for_ids, references, rename,
};

use crate::tree::{catalog, id, shop};

const APP: &str = "Setup/Applications/Shop";

fn document(path: &str, text: &str) -> Document {
    let path = DocumentPath::parse(path).unwrap();
    Document::parse(EntityId::from("x"), path, text.as_bytes()).unwrap()
}

fn of_shop(path: &str) -> Document {
    let path = format!("{APP}/{path}");
    let (_, bytes) = shop().into_iter().find(|(known, _)| *known == path).unwrap();
    document(&path, std::str::from_utf8(&bytes).unwrap())
}

fn found(document: &Document) -> Vec<NameReference> {
    references(&document.path, &document.root)
}

#[test]
fn a_workflow_names_what_it_deploys_and_where() {
    let document = of_shop("Workflows/roll-cart.yaml");
    let seen: Vec<(ReferenceKind, String, bool)> =
        found(&document).into_iter().map(|found| (found.kind, found.name, found.templated)).collect();
    let phase = [
        (ReferenceKind::Service, "cart".to_owned(), false),
        (ReferenceKind::CloudProvider, "data centre".to_owned(), true),
        (ReferenceKind::InfrastructureDefinition, "eu".to_owned(), true),
    ];
    let mut expected = vec![(ReferenceKind::Environment, "prod".to_owned(), false)];
    expected.extend(phase.clone());
    expected.extend(phase);
    assert_eq!(seen, expected);
    let infrastructure = &found(&document)[3];
    assert_eq!(infrastructure.owner.as_deref(), Some("prod"));
    assert_eq!(infrastructure.place.line, 24);
}

#[test]
fn all_names_of_the_shop_resolve() {
    let (catalog, _) = catalog(&shop());
    for (path, bytes) in shop() {
        let Ok(path) = DocumentPath::parse(&path) else { continue };
        if path.is_file() {
            continue;
        }
        let document = Document::parse(EntityId::from("x"), path, &bytes).unwrap();
        for reference in found(&document) {
            assert!(reference.resolve(&catalog).is_some(), "{reference:?}");
        }
    }
}

#[test]
fn a_stage_value_is_looked_up_in_its_workflows_environment() {
    let document = of_shop("Pipelines/ship.yaml");
    let infrastructure: Vec<NameReference> = found(&document)
        .into_iter()
        .filter(|found| found.kind == ReferenceKind::InfrastructureDefinition)
        .collect();
    assert_eq!(infrastructure.len(), 1, "an expression refers to nothing");
    assert_eq!(infrastructure[0].through_workflow.as_deref(), Some("roll-cart"));
    let (catalog, _) = catalog(&shop());
    let wanted = id(&format!("{APP}/Environments/prod/Infrastructure Definitions/eu.yaml"));
    assert_eq!(infrastructure[0].resolve(&catalog), Some(wanted));
}

const TRIGGER: &str = "harnessApiVersion: '1.0'
type: TRIGGER
artifactSelections:
- type: ARTIFACT_SOURCE
  artifactStreamName: builds
  serviceName: cart
executionName: roll-cart
executionType: Workflow
triggerCondition:
- type: NEW_ARTIFACT
  artifactStreamName: builds
  serviceName: cart
workflowVariables:
- name: infrastructure
  entityType: INFRASTRUCTURE_DEFINITION
  value: eu, us
";

#[test]
fn a_rename_rewrites_names_and_items_of_lists() {
    let mut trigger = document(&format!("{APP}/Triggers/t.yaml"), TRIGGER);
    let environment_of = |_: &str, workflow: &str| (workflow == "roll-cart").then(|| "prod".to_owned());
    let target = |path: &str| Target::of(&DocumentPath::parse(&format!("{APP}/{path}")).unwrap()).unwrap();
    let infrastructure = target("Environments/prod/Infrastructure Definitions/us.yaml");
    assert_eq!(rename(&trigger.path, &mut trigger.root, &infrastructure, "usa", &environment_of), 1);
    let elsewhere = target("Environments/test/Infrastructure Definitions/eu.yaml");
    assert_eq!(rename(&trigger.path, &mut trigger.root, &elsewhere, "no", &environment_of), 0);
    assert_eq!(
        rename(&trigger.path, &mut trigger.root, &target("Services/cart/Index.yaml"), "007", &environment_of),
        2
    );
    let source = target("Services/007/Artifact Servers/builds.yaml");
    assert_eq!(rename(&trigger.path, &mut trigger.root, &source, "nightly", &environment_of), 2);
    assert_eq!(
        rename(
            &trigger.path,
            &mut trigger.root,
            &target("Workflows/roll-cart.yaml"),
            "roll",
            &environment_of
        ),
        1
    );
    let expected = TRIGGER
        .replace("roll-cart", "roll")
        .replace("serviceName: cart", "serviceName: '007'")
        .replace("builds", "nightly")
        .replace("eu, us", "eu, usa");
    assert_eq!(trigger.canonical(), expected);
}

#[test]
fn ids_become_names() {
    let (catalog, _) = catalog(&shop());
    let text = format!(
        "harnessApiVersion: '1.0'\ntype: PIPELINE\npipelineStages:\n- type: ENV_STATE\n  name: a\n  workflowName: '{}'\n  workflowVariables:\n  - name: infrastructure\n    entityType: INFRASTRUCTURE_DEFINITION\n    value: '{},us'\n",
        id(&format!("{APP}/Workflows/roll-cart.yaml")),
        id(&format!("{APP}/Environments/prod/Infrastructure Definitions/eu.yaml")),
    );
    let mut pipeline = document(&format!("{APP}/Pipelines/p.yaml"), &text);
    let count =
        names_for_ids(&pipeline.path, &mut pipeline.root, &|reference| name_of_id(&catalog, reference));
    assert_eq!(count, 2);
    let printed = pipeline.canonical();
    assert!(printed.contains("workflowName: roll-cart\n") && printed.contains("value: eu,us\n"), "{printed}");
}
