use std::sync::Arc;

use manifold_model::assemble::CatalogBuilder;

use crate::tree::{catalog, id, rows, shop, told, tree};

const APP: &str = "Setup/Applications/Shop";

#[test]
fn the_shop_becomes_a_catalog() {
    let (catalog, problems) = catalog(&shop());
    assert_eq!(problems, vec![]);
    assert_eq!((catalog.revision, &*catalog.account), (1, "acc"));
    let application = catalog.application_named("Shop").unwrap();
    assert_eq!(application.defaults.len(), 3);
    let service = catalog.service_named(&application.id, "cart").unwrap();
    assert_eq!(service.application, application.id);
    let commands: Vec<&str> = service.commands.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(commands, ["Install", "Start", "Stop"]);
    let install = &service.commands[0];
    assert_eq!(install.units.len(), 6);
    assert_eq!(
        (install.units[2].kind.as_str(), &install.units[2].properties["source"]),
        ("SCP", &"ARTIFACTS".into())
    );
    assert_eq!(service.sources[0].name, "builds");
    assert_eq!(service.sources[0].kind, "CUSTOM");
    let file = &service.config_files[0];
    assert_eq!(file.content_path, format!("{APP}/Services/cart/Config Files/app.properties"));
    assert_eq!(file.target_path, "conf/app.properties");
    let environment = catalog.environment_named(&application.id, "prod").unwrap();
    for name in ["eu", "us", "ap"] {
        let infrastructure = catalog.infrastructure_named(&environment.id, name).unwrap();
        assert_eq!(infrastructure.environment, environment.id);
        assert_eq!(infrastructure.item_type, "PHYSICAL_DATA_CENTER_SSH");
    }
    let workflow = catalog.workflow_named(&application.id, "roll-cart").unwrap();
    assert_eq!(workflow.phases[0].sections.len(), 6);
    assert_eq!(workflow.pre_deployment.as_ref().unwrap().steps.len(), 1);
    assert!(catalog.pipeline_named(&application.id, "ship").is_some());
    assert!(catalog.cloud_provider_named("data centre").is_some());
}

#[test]
fn only_what_changed_is_made_anew() {
    let files = shop();
    let mut builder = CatalogBuilder::new("acc");
    let (first, _) = builder.apply(1, rows(&files, 1), &[]);
    let service = id(&format!("{APP}/Services/cart/Index.yaml"));
    let workflow = id(&format!("{APP}/Workflows/roll-cart.yaml"));

    let command: Vec<_> = files.iter().filter(|(path, _)| path.ends_with("/Stop.yaml")).cloned().collect();
    let (second, problems) = builder.apply(2, rows(&command, 2), &[]);
    assert_eq!(problems, vec![]);
    assert_eq!(second.revision, 2);
    assert!(!Arc::ptr_eq(&first.services[&service], &second.services[&service]));
    assert!(Arc::ptr_eq(&first.workflows[&workflow], &second.workflows[&workflow]));

    // The same rows again change nothing.
    let (third, _) =
        builder.apply(3, rows(&files, 1).into_iter().filter(|row| !row.path.ends_with("/Stop.yaml")), &[]);
    assert!(Arc::ptr_eq(&second.services[&service], &third.services[&service]));

    let (fourth, _) = builder.apply(4, [], &[id(&format!("{APP}/Services/cart/Commands/Stop.yaml"))]);
    assert_eq!(fourth.services[&service].commands.len(), 2);
    assert!(Arc::ptr_eq(&third.workflows[&workflow], &fourth.workflows[&workflow]));
}

#[test]
fn a_rename_and_a_swap_keep_their_ids() {
    let workflow = b"harnessApiVersion: '1.0'\ntype: BUILD\ndescription: one\n".to_vec();
    let other = b"harnessApiVersion: '1.0'\ntype: BUILD\ndescription: two\n".to_vec();
    let files = vec![
        (format!("{APP}/Index.yaml"), b"harnessApiVersion: '1.0'\ntype: APPLICATION\n".to_vec()),
        (format!("{APP}/Workflows/a.yaml"), workflow.clone()),
        (format!("{APP}/Workflows/b.yaml"), other.clone()),
    ];
    let mut builder = CatalogBuilder::new("acc");
    builder.apply(1, rows(&files, 1), &[]);
    let swapped =
        vec![(format!("{APP}/Workflows/a.yaml"), other), (format!("{APP}/Workflows/b.yaml"), workflow)];
    let mut changed = rows(&swapped, 2);
    changed[0].id = id(&format!("{APP}/Workflows/b.yaml"));
    changed[1].id = id(&format!("{APP}/Workflows/a.yaml"));
    let (catalog, problems) = builder.apply(2, changed, &[]);
    assert_eq!(problems, vec![]);
    assert_eq!(catalog.workflows.len(), 2);
    let a = &catalog.workflows[&id(&format!("{APP}/Workflows/a.yaml"))];
    assert_eq!((a.name.as_str(), a.description.as_str()), ("b", "one"));
}

#[test]
fn what_cannot_be_used_is_left_out_and_told() {
    let mut files = shop();
    files.retain(|(path, _)| !path.ends_with("prod/Index.yaml"));
    files.extend(tree(&[
        ("Setup/Applications/Shop/Workflows/broken.yaml", "type: BASIC\nphases: 1\n"),
        ("Setup/Applications/Shop/Workflows/worse.yaml", "a: ["),
        ("Setup/Applications/None/Workflows/w.yaml", "harnessApiVersion: '1.0'\ntype: BUILD\n"),
        ("Setup/Applications/Shop/Services/none/Commands/X.yaml", "harnessApiVersion: '1.0'\ntype: OTHER\n"),
    ]));
    let (catalog, problems) = catalog(&files);
    let mut found = told(&problems);
    found.sort();
    let infrastructure = |name: &str| {
        format!("DOCUMENT_ORPHAN {APP}/Environments/prod/Infrastructure Definitions/{name}.yaml:1")
    };
    let mut expected = vec![
        "DOCUMENT_ORPHAN Setup/Applications/None/Workflows/w.yaml:1".to_owned(),
        infrastructure("ap"),
        infrastructure("eu"),
        infrastructure("us"),
        format!("DOCUMENT_ORPHAN {APP}/Services/none/Commands/X.yaml:1"),
        format!("DOCUMENT_VALUE {APP}/Workflows/broken.yaml:2"),
        format!("YAML_SYNTAX {APP}/Workflows/worse.yaml:2"),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(catalog.workflows.len(), 1);
    assert!(catalog.infrastructures.is_empty());
}

#[test]
fn old_infrastructure_yields_to_a_definition_of_its_name() {
    let mut files = shop();
    let old =
        "harnessApiVersion: '1.0'\ntype: PHYSICAL_DATA_CENTER_SSH\ndeploymentType: SSH\nserviceName: cart\n";
    files.extend(tree(&[
        ("Setup/Applications/Shop/Environments/prod/Service Infrastructure/eu.yaml", old),
        ("Setup/Applications/Shop/Environments/prod/Service Infrastructure/lab (a).yaml", old),
    ]));
    let (catalog, problems) = catalog(&files);
    assert_eq!(
        told(&problems),
        vec![format!("NAME_TAKEN {APP}/Environments/prod/Service Infrastructure/eu.yaml:1")]
    );
    let environment = id(&format!("{APP}/Environments/prod/Index.yaml"));
    assert_eq!(catalog.infrastructure_named(&environment, "lab (a)").unwrap().scoped_services, ["cart"]);
    let eu = catalog.infrastructure_named(&environment, "eu").unwrap();
    assert_eq!(eu.cloud_provider_name.as_deref(), Some("data centre"));
}

#[test]
fn a_config_file_content_that_comes_later_is_found() {
    let base = "Setup/Applications/A/Services/s";
    let mut files = tree(&[
        ("Setup/Applications/A/Index.yaml", "harnessApiVersion: '1.0'\ntype: APPLICATION\n"),
        (&format!("{base}/Index.yaml"), "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: WAR\n"),
        (
            &format!("{base}/Config Files/one.yaml"),
            "harnessApiVersion: '1.0'\ntype: CONFIG_FILE\nfileName: app.properties\ntargetFilePath: x\n",
        ),
    ]);
    let mut builder = CatalogBuilder::new("acc");
    let service = id(&format!("{base}/Index.yaml"));
    let (first, _) = builder.apply(1, rows(&files, 1), &[]);
    assert_eq!(first.services[&service].config_files[0].content_path, format!("{base}/Config Files/one"));
    files = tree(&[(&format!("{base}/Config Files/app.properties"), "x=1")]);
    let (second, _) = builder.apply(2, rows(&files, 2), &[]);
    assert_eq!(
        second.services[&service].config_files[0].content_path,
        format!("{base}/Config Files/app.properties")
    );
}

#[test]
fn manifests_and_values_belong_to_their_service_and_environment() {
    let (service, environment) =
        (format!("{APP}/Services/cart/Index.yaml"), format!("{APP}/Environments/prod/Index.yaml"));
    let mut builder = CatalogBuilder::new("acc");
    let (first, _) = builder.apply(1, rows(&shop(), 1), &[]);
    let before = &first.services[&id(&service)];
    assert_eq!((before.manifest_store.as_deref(), before.manifest_skip_versioning), (None, false));

    let index = "harnessApiVersion: '1.0'\ntype: APPLICATION_MANIFEST\nstoreType: Local\n";
    let manifests = format!("{APP}/Services/cart/Manifests");
    let overrides = format!("{APP}/Environments/prod/Values");
    let files = tree(&[
        (&format!("{manifests}/Index.yaml"), &format!("{index}skipVersioningForAllK8sObjects: true\n")),
        (&format!("{manifests}/Files/templates/web.yaml"), "{{ not: yaml"),
        (&format!("{manifests}/Files/values.yaml"), "a: 1"),
        (&format!("{APP}/Services/cart/Values/values.yaml"), "a: 2"),
        (&format!("{overrides}/Index.yaml"), index),
        (&format!("{overrides}/values.yaml"), "a: 3"),
        (&format!("{overrides}/Services/cart/values.yaml"), "a: 4"),
    ]);
    let (second, problems) = builder.apply(2, rows(&files, 2), &[]);
    assert_eq!(problems, vec![]);
    let cart = &second.services[&id(&service)];
    assert_eq!((cart.manifest_store.as_deref(), cart.manifest_skip_versioning), (Some("Local"), true));
    assert_eq!(cart.manifests.len(), 1);
    assert_eq!(cart.manifests[0].path, "templates/web.yaml");
    assert_eq!(cart.manifests[0].document, format!("{manifests}/Files/templates/web.yaml"));
    let values =
        [format!("{manifests}/Files/values.yaml"), format!("{APP}/Services/cart/Values/values.yaml")];
    assert_eq!(cart.values, values);
    let values: Vec<_> = second.environments[&id(&environment)]
        .values
        .iter()
        .map(|one| (one.service_name.as_deref(), one.document.as_str()))
        .collect();
    let of_cart = format!("{overrides}/Services/cart/values.yaml");
    assert_eq!(
        values,
        [(None, format!("{overrides}/values.yaml").as_str()), (Some("cart"), of_cart.as_str())]
    );

    let gone = id(&format!("{manifests}/Files/templates/web.yaml"));
    let (third, _) = builder.apply(3, [], &[gone]);
    assert_eq!(third.services[&id(&service)].manifests, []);
}
