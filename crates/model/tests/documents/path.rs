use manifold_model::path::{DocumentKind, DocumentPath};
use proptest::prelude::*;

#[track_caller]
fn is(path: &str, kind: DocumentKind, application: Option<&str>, owner: Option<&str>, name: &str) {
    let found = DocumentPath::parse(path).unwrap();
    assert_eq!(found.kind, kind);
    assert_eq!(found.application.as_deref(), application);
    assert_eq!(found.owner.as_deref(), owner);
    assert_eq!(found.name, name);
}

#[test]
fn every_place_of_the_tree_is_known() {
    use DocumentKind as K;
    is("Setup/Defaults.yaml", K::AccountDefaults, None, None, "Defaults");
    is("Setup/Tags.yaml", K::Tags, None, None, "Tags");
    is("Setup/Cloud Providers/dc (1): #2.yaml", K::CloudProvider, None, None, "dc (1): #2");
    is("Setup/Artifact Servers/nexus.io.yaml", K::ArtifactServer, None, None, "nexus.io");
    is("Setup/Source Repo Providers/g.yaml", K::SourceRepoProvider, None, None, "g");
    is("Setup/Collaboration Providers/g.yaml", K::CollaborationProvider, None, None, "g");
    is("Setup/Verification Providers/g.yaml", K::VerificationProvider, None, None, "g");
    is("Setup/Notification Groups/g.yaml", K::NotificationGroup, None, None, "g");
    is("Setup/Governance/Deployment Governance.yaml", K::Governance, None, None, "Deployment Governance");
    is("Setup/Template Library/Acme/Folder/Sub/t.yaml", K::Template, None, None, "t");
    let app = Some("A b");
    let below = |rest: &str| format!("Setup/Applications/A b/{rest}");
    is(&below("Index.yaml"), K::Application, app, None, "A b");
    is(&below("Defaults.yaml"), K::ApplicationDefaults, app, None, "Defaults");
    is(&below("Workflows/w.yaml"), K::Workflow, app, None, "w");
    is(&below("Pipelines/p.yaml"), K::Pipeline, app, None, "p");
    is(&below("Triggers/t.yaml"), K::Trigger, app, None, "t");
    is(&below("Infrastructure Provisioners/t.yaml"), K::Provisioner, app, None, "t");
    is(&below("Provisioners/t.yaml"), K::Provisioner, app, None, "t");
    is(&below("Template Library/A b/t.yaml"), K::Template, app, None, "t");
    let svc = Some("s");
    is(&below("Services/s/Index.yaml"), K::Service, app, svc, "s");
    is(&below("Services/s/Artifact Servers/a.yaml"), K::ArtifactSource, app, svc, "a");
    is(&below("Services/s/Commands/Install.yaml"), K::Command, app, svc, "Install");
    is(&below("Services/s/Config Files/app.properties.yaml"), K::ConfigFile, app, svc, "app.properties");
    is(&below("Services/s/Config Files/app.properties"), K::File, app, svc, "app.properties");
    is(&below("Services/s/Deployment Specifications/ECS.yaml"), K::DeploymentSpecification, app, svc, "ECS");
    is(&below("Services/s/Manifests/Index.yaml"), K::Manifest, app, svc, "Manifests");
    is(&below("Services/s/Manifests/Files/templates/d.yaml"), K::File, app, svc, "d.yaml");
    is(&below("Services/s/Manifests/Files/x.yml"), K::File, app, svc, "x.yml");
    is(&below("Services/s/Values/Index.yaml"), K::ServiceOverride, app, svc, "Values");
    is(&below("Services/s/Values/values.yaml"), K::File, app, svc, "values.yaml");
    let env = Some("prod");
    let below = |rest: &str| format!("Setup/Applications/A b/Environments/prod/{rest}");
    is(&below("Index.yaml"), K::Environment, app, env, "prod");
    is(&below("Infrastructure Definitions/eu.yaml"), K::InfrastructureDefinition, app, env, "eu");
    is(&below("Service Infrastructure/a (b).yaml"), K::ServiceInfrastructure, app, env, "a (b)");
    is(&below("Config Files/x.conf.yaml"), K::ConfigFileOverride, app, env, "x.conf");
    is(&below("Config Files/Services/s/x.conf.yaml"), K::ConfigFileOverride, app, env, "x.conf");
    is(&below("Config Files/x.conf"), K::File, app, env, "x.conf");
    is(&below("Service Verification/x.yaml"), K::ServiceVerification, app, env, "x");
    for folder in ["Values", "PCF Overrides", "Helm Chart Overrides", "OC Params", "Kustomize Patches"] {
        is(&below(&format!("{folder}/Index.yaml")), K::EnvironmentOverride, app, env, folder);
        is(&below(&format!("{folder}/Services/s/Index.yaml")), K::EnvironmentOverride, app, env, "s");
        is(&below(&format!("{folder}/values.yaml")), K::File, app, env, "values.yaml");
    }
}

#[track_caller]
fn refused(path: &str, code: &str) {
    let problem = DocumentPath::parse(path).expect_err("must be refused");
    assert_eq!(problem.code.0, code, "{path:?}: {problem}");
}

#[test]
fn unsafe_and_foreign_paths_are_refused() {
    for path in
        ["", "/", "/Setup/Defaults.yaml", "Setup//Defaults.yaml", "Setup/../etc/passwd", "Setup/./Tags.yaml"]
    {
        refused(path, "PATH_INVALID");
    }
    refused("Setup/Applications/a\u{0}b/Index.yaml", "PATH_INVALID");
    refused("Setup/Applications/a\nb/Index.yaml", "PATH_INVALID");
    refused("Setup/Applications/a\\b/Index.yaml", "PATH_INVALID");
    refused(&format!("Setup/Applications/{}/Index.yaml", "n".repeat(300)), "PATH_INVALID");
    refused(&format!("Setup/Applications/a/Services/s/Manifests/{}", "n/".repeat(600)), "PATH_INVALID");
    refused("README.md", "PATH_UNKNOWN");
    refused("Setup/Other.yaml", "PATH_UNKNOWN");
    refused("Setup/Applications/a/Workflows/deep/w.yaml", "PATH_UNKNOWN");
    refused("Setup/Applications/a/Workflows", "PATH_UNKNOWN");
    refused("Setup/Applications/a/Workflows/w.yml", "PATH_EXTENSION");
    refused("Setup/Applications/a/Index.yml", "PATH_EXTENSION");
    refused("Setup/Applications/a/Workflows/w.json", "PATH_EXTENSION");
    refused("Setup/Applications/a/Workflows/.yaml", "PATH_EXTENSION");
}

#[test]
fn paths_are_made_from_names() {
    let kinds =
        [DocumentKind::Service, DocumentKind::Environment, DocumentKind::Workflow, DocumentKind::Pipeline];
    for kind in kinds {
        let path = DocumentPath::of_part(kind, "A", "n").unwrap();
        is(&path, kind, Some("A"), DocumentPath::parse(&path).unwrap().owner.as_deref(), "n");
    }
    for kind in
        [DocumentKind::ArtifactSource, DocumentKind::ConfigFile, DocumentKind::InfrastructureDefinition]
    {
        is(&DocumentPath::of_owned(kind, "A", "o", "n").unwrap(), kind, Some("A"), Some("o"), "n");
    }
    let path = DocumentPath::of_account(DocumentKind::CloudProvider, "n").unwrap();
    is(&path, DocumentKind::CloudProvider, None, None, "n");
}

#[test]
fn a_rename_moves_the_document_or_its_folder() {
    let service = DocumentPath::parse("Setup/Applications/A/Services/s/Index.yaml").unwrap();
    assert_eq!(service.folder(), Some("Setup/Applications/A/Services/s/"));
    assert_eq!(service.renamed("t").as_deref(), Some("Setup/Applications/A/Services/t/Index.yaml"));
    let workflow = DocumentPath::parse("Setup/Applications/A/Workflows/w.x.yaml").unwrap();
    assert_eq!(workflow.folder(), None);
    assert_eq!(workflow.renamed("v").as_deref(), Some("Setup/Applications/A/Workflows/v.yaml"));
}

proptest! {
    #[test]
    fn never_panics(path in "[ -~/.é\u{0}\n]{0,60}") {
        let _ = DocumentPath::parse(&path);
        let _ = DocumentPath::parse(&format!("Setup/Applications/{path}"));
    }
}

#[test]
fn overrides_name_their_service_by_a_folder() {
    let base = "Setup/Applications/A/Environments/e";
    for (below, service) in [
        ("Values/Services/cart (1)/values.yaml", Some("cart (1)")),
        ("Values/Services/cart/Index.yaml", Some("cart")),
        ("Config Files/Services/cart/a.conf", Some("cart")),
        ("PCF Overrides/Services/cart/Index.yaml", Some("cart")),
        ("Values/values.yaml", None),
        ("Values/Services/values.yaml", None),
        ("Values/Other/cart/values.yaml", None),
        ("Infrastructure Definitions/Services.yaml", None),
    ] {
        let path = DocumentPath::parse(&format!("{base}/{below}")).unwrap();
        assert_eq!(path.overridden_service(), service, "{below}");
        let renamed = service.map(|service| format!("{base}/{}", below.replacen(service, "new", 1)));
        assert_eq!(path.for_service("new"), renamed, "{below}");
    }
    let of_service =
        DocumentPath::parse("Setup/Applications/A/Services/Services/Values/Services/x/y").unwrap();
    assert_eq!(of_service.overridden_service(), None);
    for (below, used) in [("Values/Index.yaml", true), ("OC Params/Index.yaml", false), ("Index.yaml", true)]
    {
        assert_eq!(DocumentPath::parse(&format!("{base}/{below}")).unwrap().is_used(), used, "{below}");
    }
}
