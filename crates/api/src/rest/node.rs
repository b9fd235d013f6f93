//! A node of the configuration tree as clients read it (`wire.md` 4.2).

use manifold_control::model::path::DocumentKind;
use manifold_control::tree::{Item, TreeNode};
use serde_json::{Value, json};

/// The node with everything in it.
#[must_use]
pub fn node(account: &str, tree: &TreeNode) -> Value {
    let (kind, uuid, class, rest) = match &tree.item {
        Item::Folder => ("folder", None, "Folder", "folders"),
        Item::Document { id, kind, .. } => {
            let (class, rest) = names(*kind);
            ("yaml", Some(id), class, rest)
        }
        Item::File { id } => ("file", Some(id), "ManifestFile", "manifest-files"),
    };
    json!({
        "accountId": account,
        "type": kind,
        "name": tree.name,
        "className": class,
        "shortClassName": class,
        "restName": rest,
        "directoryPath": {"path": tree.path},
        "children": tree.children.iter().map(|child| node(account, child)).collect::<Vec<Value>>(),
        "defaultToClosed": false,
        "appId": tree.application,
        "yamlGitConfig": null,
        "uuid": uuid,
        "yamlVersionType": null,
        "settingVariableType": null,
    })
}

/// Class and `restName`: usually the lower-case class + `s`.
fn names(kind: DocumentKind) -> (&'static str, &'static str) {
    match kind {
        DocumentKind::AccountDefaults | DocumentKind::ApplicationDefaults => ("Defaults", "defaults"),
        DocumentKind::Tags => ("HarnessTag", "tags"),
        DocumentKind::Application => ("Application", "applications"),
        DocumentKind::Service => ("Service", "services"),
        DocumentKind::ArtifactSource => ("ArtifactStream", "artifact-streams"),
        DocumentKind::Command => ("ServiceCommand", "service-commands"),
        DocumentKind::ConfigFile | DocumentKind::ConfigFileOverride => ("ConfigFile", "configs"),
        DocumentKind::DeploymentSpecification => ("DeploymentSpecification", "deploymentspecifications"),
        DocumentKind::Manifest | DocumentKind::ServiceOverride | DocumentKind::EnvironmentOverride => {
            ("ApplicationManifest", "application-manifests")
        }
        DocumentKind::Environment => ("Environment", "environments"),
        DocumentKind::InfrastructureDefinition => ("InfrastructureDefinition", "infrastructuredefinitions"),
        DocumentKind::ServiceInfrastructure => ("InfrastructureMapping", "infrastructuremappings"),
        DocumentKind::ServiceVerification => ("CVConfiguration", "cvconfigurations"),
        DocumentKind::Workflow => ("Workflow", "workflows"),
        DocumentKind::Pipeline => ("Pipeline", "pipelines"),
        DocumentKind::Trigger => ("Trigger", "triggers"),
        DocumentKind::Provisioner => ("InfrastructureProvisioner", "infrastructureprovisioners"),
        DocumentKind::Template => ("Template", "templates"),
        DocumentKind::Governance => ("GovernanceConfig", "compliance-config"),
        DocumentKind::NotificationGroup => ("NotificationGroup", "notification-groups"),
        DocumentKind::File => ("ManifestFile", "manifest-files"),
        DocumentKind::CloudProvider
        | DocumentKind::ArtifactServer
        | DocumentKind::SourceRepoProvider
        | DocumentKind::CollaborationProvider
        | DocumentKind::VerificationProvider
        | DocumentKind::Ids => ("SettingAttribute", "settings"),
    }
}
