//! Services with their artifact sources, commands and config files (`behaviour.md` 5.2).

use super::reader::{Reader, rest};
use super::{properties, types, vocabulary};
use crate::EntityId;
use crate::entity::{ArtifactSource, CommandUnit, ConfigFile, Service, ServiceCommand};
use crate::node::Node;
use crate::path::DocumentPath;

/// `Services/<svc>/Index.yaml`; sources, commands and files are documents of their own and stay empty here.
pub(crate) fn service(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<Service> {
    let mapping = reader.mapping(root, "service")?;
    reader.known(mapping, "service", vocabulary::SERVICE);
    let artifact_type = reader.filled(mapping, "artifactType").unwrap_or_else(|| "OTHER".to_owned());
    let deployment_type = reader
        .filled(mapping, "deploymentType")
        .map_or_else(|| default_deployment_type(&artifact_type).to_owned(), |text| text.to_uppercase());
    let mut variables = Vec::new();
    for item in reader.list(mapping, "configVariables") {
        let Some(variable) = reader.mapping(item, "configVariables") else { continue };
        reader.known(variable, "variable", vocabulary::VARIABLE);
        variables.push(reader.variable(variable, item));
    }
    Some(Service {
        id: id.clone(),
        application: EntityId::from(""),
        name: path.name.clone(),
        description: reader.text_or_empty(mapping, "description"),
        deployment_type,
        artifact_type,
        variables,
        sources: Vec::new(),
        commands: Vec::new(),
        config_files: Vec::new(),
        manifest_store: None,
        manifest_skip_versioning: false,
        manifests: Vec::new(),
        values: Vec::new(),
        tags: reader.tags(mapping),
    })
}

/// What FirstGen took for documents that do not say it: they are older than the key.
fn default_deployment_type(artifact_type: &str) -> &'static str {
    match artifact_type {
        "DOCKER" => "KUBERNETES",
        "AMI" => "AMI",
        "AWS_LAMBDA" => "AWS_LAMBDA",
        "AWS_CODEDEPLOY" => "AWS_CODEDEPLOY",
        "PCF" => "PCF",
        "IIS" | "IIS_APP" | "IIS_VirtualDirectory" => "WINRM",
        _ => "SSH",
    }
}

/// `Services/<svc>/Artifact Servers/<name>.yaml`.
pub(crate) fn source(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<ArtifactSource> {
    let mapping = reader.mapping(root, "artifact source")?;
    let kind = reader.needed(mapping, "type", root, "artifact source");
    if let Some(known) = types::artifact_source(&kind) {
        reader.known(mapping, "artifact source", known);
    }
    Some(ArtifactSource {
        id: id.clone(),
        name: path.name.clone(),
        kind,
        server_name: reader.filled(mapping, "serverName"),
        properties: rest(mapping, &["harnessApiVersion", "type", "serverName"]),
    })
}

/// `Services/<svc>/Commands/<name>.yaml`.
pub(crate) fn command(reader: &mut Reader<'_>, path: &DocumentPath, root: &Node) -> Option<ServiceCommand> {
    let mapping = reader.mapping(root, "service command")?;
    reader.known(mapping, "service command", vocabulary::COMMAND);
    let mut units = Vec::new();
    for item in reader.list(mapping, "commandUnits") {
        let Some(unit) = reader.mapping(item, "commandUnits") else { continue };
        let kind = reader.needed(unit, "commandUnitType", item, "command unit");
        if let Some(known) = properties::command_unit(&kind) {
            let shared = ["commandUnitType", "deploymentType", "name", "variables"];
            let known: Vec<&str> = known.iter().copied().chain(shared).collect();
            reader.known(unit, "command unit", &known);
        }
        let name = reader.filled(unit, "name").unwrap_or_else(|| kind.clone());
        units.push(CommandUnit { name, kind, properties: rest(unit, &["name", "commandUnitType"]) });
    }
    Some(ServiceCommand {
        name: path.name.clone(),
        kind: reader.needed(mapping, "type", root, "service command"),
        units,
    })
}

/// What `Services/<svc>/Manifests/Index.yaml` says of where the manifests of a service come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestSource {
    /// `storeType`; [`LOCAL`] when the document does not say it.
    pub store: String,
    /// `skipVersioningForAllK8sObjects`.
    pub skip_versioning: bool,
}

/// `storeType` of manifests and values whose files lie in the tree itself.
pub const LOCAL: &str = "Local";

/// `Services/<svc>/Manifests/Index.yaml`.
pub(crate) fn manifest_source(reader: &mut Reader<'_>, root: &Node) -> Option<ManifestSource> {
    let mapping = reader.mapping(root, "manifest")?;
    reader.known(mapping, "manifest", vocabulary::MANIFEST);
    Some(ManifestSource {
        store: reader.filled(mapping, "storeType").unwrap_or_else(|| LOCAL.to_owned()),
        skip_versioning: reader.flag(mapping, "skipVersioningForAllK8sObjects"),
    })
}

/// A config file, of a service or as an override in an environment. The content lies beside the document, under its name without `.yaml`.
pub(crate) fn config_file(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<ConfigFile> {
    let mapping = reader.mapping(root, "config file")?;
    reader.known(mapping, "config file", vocabulary::CONFIG_FILE);
    let name = reader.filled(mapping, "fileName").unwrap_or_else(|| path.name.clone());
    Some(ConfigFile {
        id: id.clone(),
        target_path: reader.filled(mapping, "targetFilePath").unwrap_or_else(|| name.clone()),
        name,
        encrypted: reader.flag(mapping, "encrypted"),
        content_path: path.path.strip_suffix(".yaml").unwrap_or(&path.path).to_owned(),
        service_name: reader.filled(mapping, "serviceName").or_else(|| service_of(path)),
    })
}

/// `Config Files/Services/<svc>/<file>.yaml` names the service by its folder.
fn service_of(path: &DocumentPath) -> Option<String> {
    let (_, below) = path.path.rsplit_once("/Config Files/Services/")?;
    below.split_once('/').map(|(service, _)| service.to_owned())
}
