use std::collections::BTreeSet;

use manifold_model::import::{ImportCheck, PreparedDocument, check, check_one, lint};
use manifold_model::unused::Offer;

use crate::tree::{clean, shop, sources, told, tree};

fn offer() -> Offer {
    let kinds = ["DC_NODE_SELECT", "COMMAND", "HTTP", "ARTIFACT_CHECK", "SHELL_SCRIPT", "BARRIER"];
    Offer {
        steps: kinds.map(|kind| (kind.to_owned(), BTreeSet::new())).into(),
        infrastructures: ["PHYSICAL_DATA_CENTER_SSH".to_owned()].into(),
    }
}

/// What is kept in the shop and not run.
fn notifications() -> String {
    "KEY_NOT_USED Setup/Applications/Shop/Workflows/roll-cart.yaml:11".to_owned()
}

fn of<'c>(check: &'c ImportCheck, path: &str) -> &'c PreparedDocument {
    check.documents.iter().find(|document| document.path.path == path).unwrap()
}

#[test]
fn the_shop_is_clean_and_canonical_already() {
    let files = shop();
    assert!(files.len() > 14);
    let check = lint(&sources(&files), Some(&offer()));
    assert_eq!((told(&check.errors), told(&check.warnings)), (vec![], vec![notifications()]));
    for (path, bytes) in &files {
        let prepared = of(&check, path);
        assert_eq!(String::from_utf8_lossy(&prepared.body), String::from_utf8_lossy(bytes), "{path}");
    }
    assert!(of(&check, "Setup/Applications/Shop/Services/cart/Config Files/app.properties").is_file);
}

#[test]
fn a_tree_given_from_inside_setup_is_the_same() {
    let files: Vec<(String, Vec<u8>)> = shop()
        .into_iter()
        .map(|(path, bytes)| (path.strip_prefix("Setup/").unwrap().to_owned(), bytes))
        .collect();
    let check = lint(&sources(&files), None);
    clean(&check);
    assert!(check.documents.iter().all(|document| document.path.path.starts_with("Setup/")));
}

#[test]
fn what_is_kept_and_not_run_is_told_with_its_place() {
    let mut files = shop();
    files.extend(tree(&[
        ("Setup/Applications/Shop/Triggers/t.yaml", "harnessApiVersion: '1.0'\ntype: TRIGGER\nexecutionType: Pipeline\nexecutionName: ship\n"),
        (
            "Setup/Applications/Shop/Workflows/odd.yaml",
            "harnessApiVersion: '1.0' # yes\ntype: BUILD\nphases:\n- name: Phase 1\n  phaseSteps:\n  - type: COLLECT_ARTIFACT\n    name: Collect\n    steps:\n    - type: JENKINS\n      name: a.b\n      colour: red\n    stepsInParallel: false\nshape: round\n",
        ),
        ("README.md", "hello"),
        (".git/config", "x"),
    ]));
    let check = lint(&sources(&files), Some(&offer()));
    assert_eq!(told(&check.errors), Vec::<String>::new());
    let odd = "Setup/Applications/Shop/Workflows/odd.yaml";
    let mut expected = vec![
        notifications(),
        "IMPORT_PASSED_OVER .git/config:1".to_owned(),
        "IMPORT_PASSED_OVER README.md:1".to_owned(),
        "DOCUMENT_NOT_USED Setup/Applications/Shop/Triggers/t.yaml:1".to_owned(),
        format!("COMMENTS_DROPPED {odd}:1"),
        format!("NAME_LETTERS {odd}:9"),
        format!("STEP_NOT_RUN {odd}:9"),
        format!("DOCUMENT_KEY_UNKNOWN {odd}:11"),
        format!("DOCUMENT_KEY_UNKNOWN {odd}:13"),
    ];
    expected.sort();
    let mut found = told(&check.warnings);
    found.sort();
    assert_eq!(found, expected);
    let text = String::from_utf8(of(&check, odd).body.to_vec()).unwrap();
    assert!(text.contains("      colour: red\n") && text.contains("\nshape: round\n"), "{text}");
    assert!(!text.contains("# yes"));
}

#[test]
fn errors_name_file_and_line() {
    let app = ("Setup/Applications/A/Index.yaml", "harnessApiVersion: '1.0'\ntype: APPLICATION\n");
    let files = tree(&[
        app,
        ("Setup/Applications/A/Workflows/a.yaml", "harnessApiVersion: '1.0'\ntype: PIPELINE\n"),
        ("Setup/Applications/A/Workflows/b.yaml", "harnessApiVersion: '1.0'\n"),
        (
            "Setup/Applications/A/Workflows/c.yaml",
            "harnessApiVersion: '1.0'\ntype: BASIC\nphases: 3\ntemplatized: maybe\n",
        ),
        ("Setup/Applications/A/Workflows/d.yaml", "harnessApiVersion: '1.0'\ntype: BASIC\n  x: y\n"),
        ("Setup/Applications/A/Workflows/e.yml", "harnessApiVersion: '1.0'\ntype: BASIC\n"),
        (
            "Setup/Applications/A/Workflows/f.yaml",
            "harnessApiVersion: '1.0'\ntype: BASIC\nfailureStrategies:\n- repairActionCode: DANCE\n  failureTypes:\n  - APPLICATION_ERROR\n  - TIRED\nuserVariables:\n- name: a-b\n  type: TEXT\n- name: or\n  type: TEXT\n",
        ),
        ("Setup/Applications/A/Workflows/g.yaml", "- a\n"),
        ("Setup/Applications/A/Nowhere/g.yaml", "a: 1\n"),
        ("Setup/Applications/A/../x.yaml", "a: 1\n"),
        (
            "Setup/Applications/A/Environments/e/Index.yaml",
            "harnessApiVersion: '1.0'\ntype: ENVIRONMENT\nenvironmentType: MAYBE\n",
        ),
        (
            "Setup/Applications/A/Environments/e/Infrastructure Definitions/i.yaml",
            "harnessApiVersion: '1.0'\ntype: INFRA_DEFINITION\ninfrastructure: []\ndeploymentType: SSH\n",
        ),
        (
            "Setup/Applications/A/Pipelines/p.yaml",
            "harnessApiVersion: '1.0'\ntype: PIPELINE\npipelineStages:\n- type: ENV_STATE\n  name: x\n- type: DANCE\n  name: y\n",
        ),
    ]);
    let check = check(&sources(&files), None);
    let base = "Setup/Applications/A";
    let mut expected = vec![
        format!("DOCUMENT_TYPE {base}/Workflows/a.yaml:2"),
        format!("DOCUMENT_TYPE {base}/Workflows/b.yaml:1"),
        format!("DOCUMENT_VALUE {base}/Workflows/c.yaml:3"),
        format!("DOCUMENT_VALUE {base}/Workflows/c.yaml:4"),
        format!("YAML_SYNTAX {base}/Workflows/d.yaml:3"),
        format!("PATH_EXTENSION {base}/Workflows/e.yml:1"),
        format!("DOCUMENT_VALUE {base}/Workflows/f.yaml:4"),
        format!("DOCUMENT_VALUE {base}/Workflows/f.yaml:7"),
        format!("NAME_ILLEGAL {base}/Workflows/f.yaml:9"),
        format!("NAME_RESERVED {base}/Workflows/f.yaml:11"),
        format!("DOCUMENT_TYPE {base}/Workflows/g.yaml:1"),
        format!("PATH_UNKNOWN {base}/Nowhere/g.yaml:1"),
        format!("PATH_INVALID {base}/../x.yaml:1"),
        format!("DOCUMENT_VALUE {base}/Environments/e/Index.yaml:3"),
        format!("DOCUMENT_VALUE {base}/Environments/e/Infrastructure Definitions/i.yaml:3"),
        format!("DOCUMENT_KEY_MISSING {base}/Pipelines/p.yaml:4"),
        format!("DOCUMENT_VALUE {base}/Pipelines/p.yaml:6"),
    ];
    expected.sort();
    let mut found = told(&check.errors);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(check.documents.len(), 1);
}

#[test]
fn names_that_nothing_has_are_errors_of_a_lint() {
    let mut files = shop();
    files.retain(|(path, _)| !path.contains("Cloud Providers") && !path.ends_with("/eu.yaml"));
    let workflow = |name: &str| format!("Setup/Applications/Shop/{name}");
    for (path, bytes) in &mut files {
        if *path == workflow("Pipelines/ship.yaml") {
            *bytes = String::from_utf8_lossy(bytes)
                .replacen("workflowName: roll-cart", "workflowName: nobody", 1)
                .into_bytes();
        }
    }
    let check = lint(&sources(&files), None);
    // The phase's own `eu` is templated and only warned of; without its workflow the stage's environment is unknown, so any `eu` would do.
    assert_eq!(
        told(&check.errors),
        vec![
            "REFERENCE_UNKNOWN Setup/Applications/Shop/Pipelines/ship.yaml:11".to_owned(),
            "REFERENCE_UNKNOWN Setup/Applications/Shop/Pipelines/ship.yaml:15".to_owned(),
        ]
    );
    let warned = told(&check.warnings);
    assert!(warned.iter().all(|text| text.starts_with("REFERENCE_UNKNOWN")), "{warned:?}");
    assert_eq!(warned.len(), 2 + 2 + 2, "{warned:?}");
}

#[test]
fn a_tree_without_its_application_is_told() {
    let files: Vec<_> = shop().into_iter().filter(|(path, _)| !path.ends_with("/Index.yaml")).collect();
    let check = check(&sources(&files), None);
    let missing: Vec<&str> = check.missing_parents.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        missing,
        vec![
            "Setup/Applications/Shop/Environments/prod/Index.yaml",
            "Setup/Applications/Shop/Index.yaml",
            "Setup/Applications/Shop/Services/cart/Index.yaml",
        ]
    );
    assert!(check.missing_parents.iter().all(|(_, problem)| problem.code.0 == "DOCUMENT_ORPHAN"));
}

#[test]
fn ids_come_from_the_document_or_from_the_list() {
    let app = "harnessApiVersion: '1.0'\ntype: APPLICATION\nid: -app_1\n";
    let ids = "harnessApiVersion: '1.0'\ntype: IDS\nids:\n  Setup/Applications/B/Index.yaml: bbb\n  Applications/A/Defaults.yaml: ddd\n";
    let defaults = "harnessApiVersion: '1.0'\ntype: APPLICATION_DEFAULTS\n";
    let files = tree(&[
        ("Setup/Applications/A/Index.yaml", app),
        ("Setup/Applications/A/Defaults.yaml", defaults),
        ("Setup/Applications/B/Index.yaml", "harnessApiVersion: '1.0'\ntype: APPLICATION\n"),
        ("Setup/ids.yaml", ids),
    ]);
    let found = lint(&sources(&files), None);
    clean(&found);
    let id = |path: &str| of(&found, path).id.clone().map(|id| id.to_string());
    assert_eq!(id("Setup/Applications/A/Index.yaml").as_deref(), Some("-app_1"));
    assert_eq!(id("Setup/Applications/B/Index.yaml").as_deref(), Some("bbb"));
    assert_eq!(id("Setup/Applications/A/Defaults.yaml").as_deref(), Some("ddd"));
    let text = String::from_utf8(of(&found, "Setup/Applications/A/Index.yaml").body.to_vec()).unwrap();
    assert_eq!(text, "harnessApiVersion: '1.0'\ntype: APPLICATION\n");
    assert_eq!(found.documents.len(), 3);

    let bad = tree(&[
        ("Setup/Applications/A/Index.yaml", app),
        ("Setup/Applications/B/Index.yaml", app),
        ("Setup/Applications/C/Index.yaml", "harnessApiVersion: '1.0'\ntype: APPLICATION\nid: 'a b'\n"),
        (
            "Setup/ids.yaml",
            "type: IDS\nids:\n  Setup/Applications/A/Index.yaml: other\n  Setup/Nowhere.yaml: x\n",
        ),
    ]);
    let found = check(&sources(&bad), None);
    assert_eq!(told(&found.errors).len(), 4, "{:#?}", found.errors);
    assert!(found.errors.iter().all(|problem| problem.code.0 == "IMPORT_IDS"));
}

#[test]
fn one_document_alone_keeps_its_unknown_id() {
    let path = "Setup/Applications/A/Index.yaml";
    let check = check_one(path, b"type: APPLICATION\nharnessApiVersion: \"1.0\"\nid: x\n", None);
    assert!(check.errors.is_empty());
    assert_eq!(told(&check.warnings), vec![format!("DOCUMENT_KEY_UNKNOWN {path}:3")]);
    assert_eq!(&*check.documents[0].body, b"harnessApiVersion: '1.0'\ntype: APPLICATION\nid: x\n");
    assert_eq!(told(&check_one("Setup/ids.yaml", b"type: IDS\n", None).errors), vec!["PATH_UNKNOWN"]);
    assert_eq!(told(&check_one("etc/passwd", b"", None).errors), vec!["PATH_UNKNOWN"]);
}

#[test]
fn files_are_bytes_and_config_contents_may_end_in_yaml() {
    let document = "harnessApiVersion: '1.0'\ntype: CONFIG_FILE\nencrypted: false\nfileName: app.yaml\ntargetFilePath: app.yaml\n";
    let base = "Setup/Applications/A/Services/s";
    let files = tree(&[
        ("Setup/Applications/A/Index.yaml", "harnessApiVersion: '1.0'\ntype: APPLICATION\n"),
        (&format!("{base}/Index.yaml"), "harnessApiVersion: '1.0'\ntype: SERVICE\nartifactType: WAR\n"),
        (&format!("{base}/Config Files/app.yaml"), "{{ not yaml"),
        (&format!("{base}/Config Files/app.yaml.yaml"), document),
        (&format!("{base}/Manifests/Files/templates/x.yaml"), "{{ .Values }}: : :\n\t"),
        (
            &format!("{base}/Manifests/Index.yaml"),
            "harnessApiVersion: '1.0'\ntype: APPLICATION_MANIFEST\nstoreType: Local\n",
        ),
        (&format!("{base}/Values/values.yaml"), "{{"),
    ]);
    let check = lint(&sources(&files), None);
    clean(&check);
    assert_eq!(&*of(&check, &format!("{base}/Config Files/app.yaml")).body, b"{{ not yaml");
    assert!(of(&check, &format!("{base}/Config Files/app.yaml")).is_file);
    assert!(!of(&check, &format!("{base}/Config Files/app.yaml.yaml")).is_file);
}

#[test]
fn limits_hold() {
    let big = vec![b'x'; (16 << 20) + 1];
    let files = vec![("Setup/Applications/A/Services/s/Manifests/Files/x".to_owned(), big)];
    assert_eq!(check(&sources(&files), None).errors[0].code.0, "IMPORT_LIMIT");
    let many: Vec<_> = (0..50_001).map(|n| (format!("f{n}"), Vec::new())).collect();
    assert_eq!(told(&check(&sources(&many), None).errors), vec!["IMPORT_LIMIT"]);
    let long = format!("Setup/Applications/{}/Index.yaml", "n".repeat(300));
    let files = tree(&[(&long, "type: APPLICATION\n")]);
    assert_eq!(check(&sources(&files), None).errors[0].code.0, "PATH_INVALID");
    let comma = tree(&[("Setup/Cloud Providers/a,b.yaml", "harnessApiVersion: '1.0'\ntype: AWS\n")]);
    let found = check(&sources(&comma), None);
    assert!(found.errors.is_empty());
    assert_eq!(told(&found.warnings), vec!["NAME_COMMA Setup/Cloud Providers/a,b.yaml:1"]);
}

#[test]
fn importing_an_export_changes_nothing() {
    let first = check(&sources(&shop()), None);
    let files: Vec<(String, Vec<u8>)> =
        first.documents.iter().map(|document| (document.path.path.clone(), document.body.to_vec())).collect();
    let second = check(&sources(&files), None);
    assert_eq!(first, second);
}

const APP: &str = "Setup/Applications/Shop";

fn old(kind: &str, provider: &str, keys: &str) -> String {
    format!(
        "harnessApiVersion: '1.0'\ntype: {kind}\ncomputeProviderName: far away\ncomputeProviderType: {provider}\ndeploymentType: SSH\ninfraMappingType: {kind}\nserviceName: cart\n{keys}"
    )
}

#[test]
fn a_service_infrastructure_becomes_an_infrastructure_definition() {
    let folder = format!("{APP}/Environments/prod/Service Infrastructure");
    let mut files = shop();
    files.extend(tree(&[
        (
            &format!("{folder}/lab (a): 1.yaml"),
            &old(
                "PHYSICAL_DATA_CENTER_SSH",
                "PHYSICAL_DATA_CENTER",
                "connection: key\nhostNames:\n    - a\n    - b\n",
            ),
        ),
        (
            &format!("{folder}/k8s.yaml"),
            &old(
                "DIRECT_KUBERNETES",
                "DIRECT",
                "masterUrl: https://k.test\nnamespace: n\npassword: ''\nusername: null\n",
            ),
        ),
        (
            &format!("{folder}/aws.yaml"),
            &old(
                "AWS_SSH",
                "AWS",
                "connectionType: key\nregion: r\ntags:\n- key: role\n  value: web\nodd: 1\n",
            ),
        ),
    ]));
    let check = check(&sources(&files), None);
    assert_eq!(check.errors, vec![]);
    let newer = format!("{APP}/Environments/prod/Infrastructure Definitions");
    let body = |name: &str| {
        let path = format!("{newer}/{name}.yaml");
        let found = check.documents.iter().find(|document| document.path.path == path).unwrap();
        assert_eq!(found.came_as, format!("{folder}/{name}.yaml"));
        String::from_utf8(found.body.to_vec()).unwrap()
    };
    let head = |provider: &str| {
        format!(
            "harnessApiVersion: '1.0'\ntype: INFRA_DEFINITION\ncloudProviderType: {provider}\ndeploymentType: SSH\ninfrastructure:\n"
        )
    };
    let scoped = "scopedServices:\n- cart\n";
    assert_eq!(
        body("lab (a): 1"),
        format!(
            "{}- type: PHYSICAL_DATA_CENTER_SSH\n  cloudProviderName: far away\n  hostConnectionAttrsName: key\n  hostNames:\n  - a\n  - b\n{scoped}",
            head("PHYSICAL_DATA_CENTER")
        )
    );
    assert_eq!(
        body("k8s"),
        format!(
            "{}- type: DIRECT_KUBERNETES\n  cloudProviderName: far away\n  masterUrl: https://k.test\n  namespace: n\n  password: ''\n  username: null\n{scoped}",
            head("KUBERNETES_CLUSTER")
        )
    );
    assert_eq!(
        body("aws"),
        format!(
            "{}- type: AWS_SSH\n  awsInstanceFilter:\n    tags:\n    - key: role\n      value: web\n  cloudProviderName: far away\n  hostConnectionAttrsName: key\n  odd: 1\n  region: r\n{scoped}",
            head("AWS")
        )
    );
    let warnings = told(&check.warnings);
    assert!(warnings.contains(&format!("SERVICE_INFRASTRUCTURE {folder}/k8s.yaml:1")), "{warnings:?}");
    let places: Vec<&str> = check.unresolved.iter().map(|reference| reference.place.path.as_str()).collect();
    assert_eq!(
        places,
        [format!("{folder}/aws.yaml"), format!("{folder}/k8s.yaml"), format!("{folder}/lab (a): 1.yaml")]
    );
}

#[test]
fn a_service_infrastructure_does_not_take_the_name_of_a_definition() {
    let path = format!("{APP}/Environments/prod/Service Infrastructure/eu.yaml");
    let mut files = shop();
    files.extend(tree(&[(
        &path,
        &old("PHYSICAL_DATA_CENTER_SSH", "PHYSICAL_DATA_CENTER", "connection: key\n"),
    )]));
    assert_eq!(told(&check(&sources(&files), None).errors), vec![format!("NAME_TAKEN {path}:1")]);

    // What became of it, written over the old tree, is no clash.
    let racks = format!("{APP}/Environments/prod/Service Infrastructure/racks.yaml");
    let mut files = shop();
    let text = old("PHYSICAL_DATA_CENTER_SSH", "PHYSICAL_DATA_CENTER", "connection: key\n");
    files.extend(tree(&[(&racks, &text)]));
    let first = check(&sources(&files), None);
    let newer = first.documents.iter().find(|document| document.came_as == racks).unwrap();
    files.push((newer.path.path.clone(), newer.body.to_vec()));
    let second = check(&sources(&files), None);
    assert_eq!(second.errors, vec![]);
    assert_eq!(second.documents.len(), first.documents.len());
}

#[test]
fn older_keys_of_a_workflow_are_written_newer() {
    let path = format!("{APP}/Workflows/old.yaml");
    let text = "harnessApiVersion: '1.0'
type: BASIC
envName: prod
phases:
    - type: SSH
      computeProviderName: data centre
      infraMappingName: eu
      name: Phase 1
      phaseSteps:
        - type: PROVISION_NODE
          name: Prepare
          stepsInParallel: false
      serviceName: cart
      templateExpressions:
        - expression: ${where}
          fieldName: infraMappingId
templatized: true
";
    let check = check_one(&path, text.as_bytes(), None);
    assert_eq!(told(&check.warnings), vec![format!("WRITTEN_NEWER {path}:7")]);
    let newer = "harnessApiVersion: '1.0'
type: BASIC
envName: prod
phases:
- type: SSH
  name: Phase 1
  computeProviderName: data centre
  infraDefinitionName: eu
  phaseSteps:
  - type: INFRASTRUCTURE_NODE
    name: Prepare
    stepsInParallel: false
  serviceName: cart
  templateExpressions:
  - expression: ${where}
    fieldName: infraDefinitionId
templatized: true
";
    assert_eq!(std::str::from_utf8(&check.documents[0].body).unwrap(), newer);
    let again = check_one(&path, newer.as_bytes(), None);
    assert_eq!((again.warnings, &again.documents[0].body), (vec![], &check.documents[0].body));
}
