//! Applications, environments, infrastructure definitions and connectors (`behaviour.md` 5.1, 5.3, 5.4).

use std::collections::BTreeMap;

use super::reader::{Reader, rest};
use super::{types, vocabulary};
use crate::entity::{
    Application, Connector, Environment, EnvironmentType, InfrastructureDefinition, VariableOverride,
};
use crate::node::Node;
use crate::path::DocumentPath;
use crate::{EntityId, code};

/// `Applications/<app>/Index.yaml`; defaults are a document of their own.
pub(crate) fn application(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<Application> {
    let mapping = reader.mapping(root, "application")?;
    reader.known(mapping, "application", vocabulary::APPLICATION);
    Some(Application {
        id: id.clone(),
        name: path.name.clone(),
        description: reader.text_or_empty(mapping, "description"),
        defaults: BTreeMap::new(),
        tags: reader.tags(mapping),
    })
}

/// `Defaults.yaml` of the account or of an application.
pub(crate) fn defaults(reader: &mut Reader<'_>, root: &Node) -> Option<BTreeMap<String, String>> {
    let mapping = reader.mapping(root, "defaults")?;
    reader.known(mapping, "defaults", &["defaults"]);
    for item in reader.list(mapping, "defaults") {
        if let Some(name) = item.get("name").and_then(Node::as_scalar) {
            reader.variable_name(&name.text, item);
        }
    }
    Some(reader.pairs(mapping, "defaults"))
}

/// `Environments/<env>/Index.yaml`.
pub(crate) fn environment(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<Environment> {
    let mapping = reader.mapping(root, "environment")?;
    reader.known(mapping, "environment", vocabulary::ENVIRONMENT);
    let mut overrides = Vec::new();
    for item in reader.list(mapping, "variableOverrides") {
        let Some(variable) = reader.mapping(item, "variableOverrides") else { continue };
        reader.known(variable, "variable override", vocabulary::VARIABLE);
        overrides.push(VariableOverride {
            variable: reader.variable(variable, item),
            service_name: reader.filled(variable, "serviceName"),
        });
    }
    Some(Environment {
        id: id.clone(),
        application: EntityId::from(""),
        name: path.name.clone(),
        description: reader.text_or_empty(mapping, "description"),
        environment_type: reader
            .choice(mapping, "environmentType", environment_type, "PROD or NON_PROD")
            .unwrap_or(EnvironmentType::NonProd),
        overrides,
        config_files: Vec::new(),
        values: Vec::new(),
        tags: reader.tags(mapping),
    })
}

fn environment_type(word: &str) -> Option<EnvironmentType> {
    match word {
        "PROD" => Some(EnvironmentType::Prod),
        "NON_PROD" => Some(EnvironmentType::NonProd),
        _ => None,
    }
}

/// `Environments/<env>/Infrastructure Definitions/<name>.yaml`.
pub(crate) fn infrastructure(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<InfrastructureDefinition> {
    let mapping = reader.mapping(root, "infrastructure definition")?;
    reader.known(mapping, "infrastructure definition", vocabulary::INFRASTRUCTURE);
    let list = mapping.get("infrastructure").unwrap_or(root);
    let item = match list.as_sequence() {
        Some([item]) => item,
        // One mapping without its list is meant as well as it can be.
        None if !std::ptr::eq(list, root) && list.as_mapping().is_some() => list,
        _ => {
            let message = "an infrastructure definition has exactly one item under `infrastructure`";
            reader.error(code!("DOCUMENT_VALUE"), message, list);
            return None;
        }
    };
    let inner = reader.mapping(item, "infrastructure")?;
    let item_type = reader.needed(inner, "type", item, "infrastructure item");
    if let Some(known) = types::infrastructure_item(&item_type) {
        reader.known(inner, "infrastructure item", known);
    }
    Some(InfrastructureDefinition {
        id: id.clone(),
        application: EntityId::from(""),
        environment: EntityId::from(""),
        name: path.name.clone(),
        cloud_provider_type: reader.text_or_empty(mapping, "cloudProviderType"),
        deployment_type: reader
            .needed(mapping, "deploymentType", root, "infrastructure definition")
            .to_uppercase(),
        scoped_services: reader.texts(mapping, "scopedServices"),
        item_type: newer_item_type(&item_type).to_owned(),
        cloud_provider_name: reader.filled(inner, "cloudProviderName"),
        properties: rest(inner, &["type", "cloudProviderName"]),
        provisioner: reader.filled(mapping, "provisioner"),
    })
}

/// Old trees said `GCP_KUBERNETES` where newer ones say `KUBERNETES_GCP`.
pub(crate) fn newer_item_type(item_type: &str) -> &str {
    match item_type {
        "GCP_KUBERNETES" => "KUBERNETES_GCP",
        "PCF" => "PCF_PCF",
        other => other,
    }
}

/// A cloud provider or an artifact server.
pub(crate) fn connector(
    reader: &mut Reader<'_>,
    id: &EntityId,
    path: &DocumentPath,
    root: &Node,
) -> Option<Connector> {
    let mapping = reader.mapping(root, path.kind.noun())?;
    let kind = reader.needed(mapping, "type", root, path.kind.noun());
    if let Some(known) = types::connector(&kind) {
        reader.known(mapping, path.kind.noun(), known);
    }
    Some(Connector {
        id: id.clone(),
        name: path.name.clone(),
        kind,
        properties: rest(mapping, &["harnessApiVersion", "type"]),
    })
}
