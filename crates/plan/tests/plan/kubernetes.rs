//! Starts on clusters: manifests, values, ways in, names.

use manifold_model::entity::ValuesOverride;
use manifold_model::kubernetes::kind;
use manifold_model::plan::Plan;
use manifold_model::problem::Problem;
use manifold_model::request::ExecutionType;
use manifold_plan::artifact_needs;
use serde_json::{Value, json};

use crate::world::*;

fn start(world: &World, infrastructures: &str) -> Result<Plan, Vec<Problem>> {
    world.ship(&[name("infrastructure", infrastructures)])
}

#[test]
fn manifests_are_pinned_with_their_spans() {
    let mut world = World::on_kubernetes();
    world.manifest(
        "a/job.yaml",
        "# harness.io/skip-file-for-deploy\nname: {{ .Values.x }}${a:-${env.name}} ${ open",
    );
    world.files.insert("values".into(), b"image: ${service.name}-${infra.name}\n".to_vec());
    world.files.insert("own".into(), b"own: 1\n".to_vec());
    world.edit_service(|service| {
        service.values = vec!["values".into()];
        service.manifest_skip_versioning = true;
    });
    world.edit_environment("prod", |environment| {
        environment.values = vec![
            ValuesOverride { service_name: None, document: "own".into() },
            ValuesOverride { service_name: Some("other".into()), document: "not there".into() },
        ];
    });
    let plan = start(&world, "east,west").unwrap();
    let manifests = plan.services[0].manifests.clone().unwrap();
    let files: Vec<(&str, Vec<&str>)> = manifests
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.spans.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        files,
        [
            ("a/job.yaml", vec!["${a:-${env.name}}"]),
            ("config.yaml", vec!["${serviceVariable.color}"]),
            ("web.yaml", vec!["${service.name}"]),
        ]
    );
    assert_eq!(manifests.values[0].spans, ["${service.name}", "${infra.name}"]);
    assert!(manifests.skip_versioning && !manifests.templated);
    assert_eq!(plan.environments[0].values.len(), 1);
    assert_eq!(plan.environments[0].values[0].file.document, "own");
    assert!(plan.workflows[0].phases[0].sections[0].steps[0].capabilities.is_empty());
}

#[test]
fn steps_that_render_go_templates_need_helm() {
    let rollout = || step("Rollout", kind::ROLLOUT, json!({}));
    let apply = |properties: Value| step("Apply", kind::APPLY, properties);
    let delete = |resources: &str| step("Delete", kind::DELETE, json!({"resources": resources}));
    for (file, step, helm) in [
        ("web.yaml", rollout(), true),
        ("job.yaml", rollout(), false),
        ("web.yaml", step("R", kind::ROLLOUT, json!({"inheritManifests": true})), false),
        ("web.yaml", apply(json!({"filePaths": "config.yaml"})), false),
        ("web.yaml", apply(json!({"filePaths": "config.yaml, web.yaml"})), true),
        ("web.yaml", apply(json!({"filePaths": "${workflow.variables.file}"})), true),
        ("web.yaml", apply(json!({"filePaths": "web.yaml", "skipRendering": true})), false),
        ("job.yaml", apply(json!({"filePaths": "job.yaml"})), true),
        ("web.yaml", delete("web.yaml"), true),
        ("web.yaml", step("Delete", kind::DELETE, json!({"filePaths": "web.yaml"})), true),
        ("web.yaml", delete("Deployment/web"), false),
        ("web.yaml", step("Undo", kind::ROLLOUT_ROLLBACK, json!({})), false),
    ] {
        let mut world = World::on_kubernetes();
        let skipped = if file == "job.yaml" { "# harness.io/skip-file-for-deploy\n" } else { "" };
        world.manifest(file, &format!("{skipped}kind: {{{{ .Values.kind }}}}\n"));
        let title = format!("{file} {step:?}");
        let name = step.name.clone();
        world.steps(vec![step]);
        if helm {
            let problems = refused(start(&world, "east"), &[("CAPABILITY_NOT_OFFERED", &name)]);
            assert!(problems[0].message.contains(&format!("service cart, whose manifest {file}")), "{title}");
        }
        world.capabilities.insert("helm".into());
        let plan = start(&world, "east").unwrap();
        let capabilities = &plan.workflows[0].phases[0].sections[0].steps[0].capabilities;
        assert_eq!(capabilities.len(), usize::from(helm), "{title}");
    }
}

#[test]
fn manifests_that_cannot_be_deployed_are_refused() {
    let mut world = World::on_kubernetes();
    world.edit_service(|service| service.manifest_store = Some("HelmChartRepo".into()));
    let problems = refused(start(&world, "east"), &[("MANIFESTS_UNSUPPORTED", "cart")]);
    assert!(problems[0].message.contains("HelmChartRepo"));
    world.edit_service(|service| {
        service.manifest_store = Some("Local".into());
        service.manifests.clear();
    });
    refused(start(&world, "east"), &[("MANIFESTS_MISSING", "cart")]);
    world.steps(vec![step("Delete", kind::DELETE, json!({"resources": "*"}))]);
    assert!(start(&world, "east").is_ok(), "what names no file needs no manifests");

    let mut world = World::on_kubernetes();
    world.files.insert("Setup/Manifests/Files/web.yaml".into(), b"\xff".to_vec());
    world.files.remove("Setup/Manifests/Files/config.yaml");
    let problems = refused(
        start(&world, "east"),
        &[
            ("FILE_NOT_TEXT", "Setup/Manifests/Files/web.yaml"),
            ("FILE_MISSING", "Setup/Manifests/Files/config.yaml"),
        ],
    );
    assert!(problems.iter().all(|problem| problem.message.contains("service cart")));
    let many: String = (0..5_001).map(|number| format!("${{workflow.variables.v{number}}}\n")).collect();
    let mut world = World::on_kubernetes();
    world.manifest("web.yaml", &many);
    refused(start(&world, "east"), &[("MANIFEST_TOO_LARGE", "cart")]);
    let mut world = World::on_kubernetes();
    world.manifest("web.yaml", &" ".repeat(16 * 1024 * 1024 + 1));
    refused(start(&world, "east"), &[("MANIFEST_TOO_LARGE", "Setup/Manifests/Files/web.yaml")]);
}

#[test]
fn manifests_and_values_that_mention_the_artifact_ask_for_one() {
    let asked = |world: &World| {
        let needs = world
            .with_facts(|facts| {
                artifact_needs(&world.catalog, facts, &id("ship"), ExecutionType::Pipeline, &[])
            })
            .unwrap();
        let refused = start(world, "east").is_err_and(|problems| codes(&problems)[0].0 == "ARTIFACT_MISSING");
        assert_eq!(!needs.is_empty(), refused);
        refused
    };
    assert!(!asked(&World::on_kubernetes()));
    for text in ["${artifact.metadata.image}", "${artifacts.images.buildNo}", "${serviceVariable.color}"] {
        let mut world = World::on_kubernetes();
        world.manifest("web.yaml", text);
        world.edit_service(|service| {
            service.variables = vec![manifold_model::entity::Variable {
                name: "color".into(),
                value: "${artifact.buildNo}".into(),
                value_type: manifold_model::entity::ValueType::Text,
            }];
        });
        assert!(asked(&world), "{text}");
    }
    for (service_name, expected) in [(None, true), (Some("cart"), true), (Some("mail"), false)] {
        let mut world = World::on_kubernetes();
        world.files.insert("own".into(), b"image: ${artifact.metadata.image}\n".to_vec());
        world.edit_environment("prod", |environment| {
            let service_name = service_name.map(str::to_owned);
            environment.values = vec![ValuesOverride { service_name, document: "own".into() }];
        });
        assert_eq!(asked(&world), expected, "{service_name:?}");
    }
    let mut world = World::on_kubernetes();
    world.manifest("web.yaml", "${rollbackArtifact.buildNo} ${artifact${\".metadata.image\"}}");
    assert!(!asked(&world));
}

#[test]
fn clusters_that_cannot_be_reached_are_refused() {
    for (kind, properties, expected) in [
        ("KUBERNETES_CLUSTER", json!({"useKubernetesDelegate": true}), None),
        (
            "KUBERNETES_CLUSTER",
            json!({"masterUrl": "u", "authType": "OIDC"}),
            Some("CLOUD_PROVIDER_INCOMPLETE"),
        ),
        ("KUBERNETES_CLUSTER", json!({"masterUrl": "u"}), Some("CLOUD_PROVIDER_INCOMPLETE")),
        ("KUBERNETES_CLUSTER", json!({}), Some("CLOUD_PROVIDER_INCOMPLETE")),
        (
            "KUBERNETES_CLUSTER",
            json!({"masterUrl": "u", "serviceAccountToken": "none"}),
            Some("SECRET_MISSING"),
        ),
        ("GCP", json!({}), Some("CLOUD_PROVIDER_WRONG_TYPE")),
    ] {
        let mut world = World::on_kubernetes();
        world.cloud_provider("east", kind, properties.clone());
        match expected {
            Some(code) => drop(refused(start(&world, "east"), &[(code, "east")])),
            None => assert!(start(&world, "east").is_ok(), "{properties}"),
        }
    }
    let mut world = World::on_kubernetes();
    world.catalog.cloud_providers.remove(&id("east"));
    world.catalog.index();
    refused(start(&world, "east"), &[("CLOUD_PROVIDER_UNKNOWN", "east")]);
    world.edit_infrastructure("east", |one| one.cloud_provider_name = None);
    refused(start(&world, "east"), &[("CLOUD_PROVIDER_INCOMPLETE", "east")]);
    world.edit_infrastructure("east", |one| one.item_type = "GCP_KUBERNETES".into());
    refused(start(&world, "east"), &[("INFRASTRUCTURE_TYPE_UNSUPPORTED", "east")]);
}

#[test]
fn namespaces_and_release_names_are_names_of_kubernetes() {
    for (properties, expected) in [
        (json!({}), Some("INFRASTRUCTURE_INCOMPLETE")),
        (json!({"namespace": " "}), Some("INFRASTRUCTURE_INCOMPLETE")),
        (json!({"namespace": "Shop"}), Some("KUBERNETES_NAME_INVALID")),
        (json!({"namespace": "shop", "releaseName": "a_b"}), Some("KUBERNETES_NAME_INVALID")),
        (json!({"namespace": "${infra.name}", "releaseName": "release-${infra.kubernetes.infraId}"}), None),
    ] {
        let mut world = World::on_kubernetes();
        world.edit_infrastructure("east", |one| one.properties = map(properties.clone()));
        match expected {
            Some(code) => drop(refused(start(&world, "east"), &[(code, "east")])),
            None => assert!(start(&world, "east").is_ok(), "{properties}"),
        }
    }
}

#[test]
fn two_releases_of_one_name_in_one_namespace_are_refused() {
    for (first, second, shared) in [
        (None, None, None),
        (Some("web"), Some("web"), Some("web")),
        (Some("web-${env.name}"), Some("web-prod"), Some("web-prod")),
        (Some("${infra.name}"), Some("${infra.name}"), None),
        (
            Some("${infra.kubernetes.namespace}"),
            Some("${infra.kubernetes.namespace}"),
            Some("${infra.kubernetes.namespace}"),
        ),
        (Some("r-${infra.kubernetes.infraId}"), Some("r-${infra.kubernetes.infraId}"), None),
        (Some("r-${infra.helm.shortId}"), Some("r-${infra.helm.shortId}"), None),
        (Some("${serviceVariable.x}"), Some("${serviceVariable.x}"), Some("${serviceVariable.x}")),
    ] {
        let mut world = World::on_kubernetes();
        for (definition, release) in [("east", first), ("west", second)] {
            world.edit_infrastructure(definition, |one| {
                one.cloud_provider_name = Some("east".into());
                if let Some(release) = release {
                    one.properties.insert("releaseName".into(), release.into());
                }
            });
        }
        match shared {
            None => assert!(start(&world, "east,west").is_ok(), "{first:?}"),
            Some(release) => {
                let problems = refused(start(&world, "east,west"), &[("RELEASE_NAME_SHARED", "east, west")]);
                assert!(problems[0].message.contains(release));
            }
        }
    }
}
