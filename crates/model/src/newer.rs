//! Trees of the older generation, read and written as the newer (`yaml-vocabulary.md`, "Two generations"; docs/decisions 0017).
//!
//! A Service Infrastructure becomes the infrastructure definition of its name, its item of the same kind, scoped to its service. Every other key
//! comes along into the item, under its newer name where it has one. Phases that name it by `infraMappingName` name the definition, and the section
//! `PROVISION_NODE` is called what it is called now. `notificationGroups` stay: they name documents of their own, not user groups.

use crate::node::{Content, Entry, Mapping, Node, Scalar};
use crate::path::{DocumentKind, DocumentPath};
use crate::steps::list;
use crate::view::is_nothing;

/// Old key of any kind of Service Infrastructure → its name in an infrastructure item.
const NEWER_KEYS: [(&str, &str); 7] = [
    ("computeProviderName", "cloudProviderName"),
    ("connection", "hostConnectionAttrsName"),
    ("cluster", "clusterName"),
    ("role", "iamRole"),
    ("winRmConnectionAttributes", "winRmConnectionAttributesName"),
    ("autoScalingGroup", "autoScalingGroupName"),
    ("provisionInstances", "useAutoScalingGroup"),
];

/// `connectionType` of old SSH hosts on AWS is one of these, or the name of a credential.
const ADDRESSES: [&str; 4] = ["PRIVATE_DNS", "PUBLIC_DNS", "PRIVATE_IP", "PUBLIC_IP"];

/// Where the infrastructure definition lies that a Service Infrastructure becomes; `None` for any other document.
#[must_use]
pub(crate) fn path(path: &DocumentPath) -> Option<DocumentPath> {
    if path.kind != DocumentKind::ServiceInfrastructure {
        return None;
    }
    let (application, environment) = (path.application.as_deref()?, path.owner.as_deref()?);
    let kind = DocumentKind::InfrastructureDefinition;
    let newer = DocumentPath::of_owned(kind, application, environment, &path.name)?;
    Some(DocumentPath { path: newer, kind, ..path.clone() })
}

/// Makes a Service Infrastructure an infrastructure definition. False, and nothing is changed, when it does not say its kind.
pub(crate) fn definition(root: &mut Node) -> bool {
    let (line, column) = (root.line, root.column);
    let Some(old) = root.as_mapping_mut() else { return false };
    let kind = ["infraMappingType", "type"].iter().filter_map(|key| old.entry(key));
    let Some(kind) = kind.into_iter().find(|entry| !is_nothing(&entry.value)).cloned() else { return false };
    if kind.value.as_str() == Some("INFRA_DEFINITION") {
        // A definition that only lies in the old folder.
        return true;
    }
    let on_aws_hosts = kind.value.as_str() == Some("AWS_SSH");
    let mut definition = Mapping::default();
    let mut item = Mapping { entries: vec![renamed(kind, "type")] };
    definition.set("type", Node::text("INFRA_DEFINITION"));
    for entry in std::mem::take(&mut old.entries) {
        match entry.key.text.as_str() {
            "type" | "infraMappingType" => {}
            "harnessApiVersion" | "deploymentType" => definition.entries.push(entry),
            "computeProviderType" => {
                let mut entry = renamed(entry, "cloudProviderType");
                if entry.value.as_str() == Some("DIRECT") {
                    entry.value.content = Node::text("KUBERNETES_CLUSTER").content;
                }
                definition.entries.push(entry);
            }
            "serviceName" if is_nothing(&entry.value) => {}
            "serviceName" => {
                let mut entry = renamed(entry, "scopedServices");
                entry.value = around(entry.value);
                definition.entries.push(entry);
            }
            "provisionerName" => definition.entries.push(renamed(entry, "provisioner")),
            "tags" | "vpcs" if on_aws_hosts => filter(&mut item, entry),
            _ => add(&mut item, entry),
        }
    }
    let item = Node { line, column, content: Content::Mapping(item) };
    definition.set("infrastructure", around(item));
    *old = definition;
    true
}

/// A list of one, where that one stood.
fn around(node: Node) -> Node {
    Node { line: node.line, column: node.column, content: Content::Sequence(vec![node]) }
}

fn renamed(mut entry: Entry, key: &str) -> Entry {
    entry.key = Scalar::plain(key);
    entry
}

/// A key of the item under its newer name, or under its own when the newer is taken.
fn add(item: &mut Mapping, entry: Entry) {
    let old = entry.key.text.as_str();
    let newer = match old {
        "connectionType" if entry.value.as_str().is_some_and(|word| ADDRESSES.contains(&word)) => {
            Some("hostConnectionType")
        }
        "connectionType" => Some("hostConnectionAttrsName"),
        _ => NEWER_KEYS.iter().find(|(known, _)| *known == old).map(|(_, newer)| *newer),
    };
    let entry = match newer.filter(|newer| item.get(newer).is_none()) {
        Some(newer) => renamed(entry, newer),
        None => entry,
    };
    item.entries.push(entry);
}

/// Which instances are meant stands in a mapping of its own now.
fn filter(item: &mut Mapping, entry: Entry) {
    let key = if entry.key.text == "vpcs" { "vpcIds" } else { "tags" };
    let entry = renamed(entry, key);
    match item.get_mut("awsInstanceFilter").and_then(Node::as_mapping_mut) {
        Some(filter) => filter.entries.push(entry),
        None => {
            let (line, column) = (entry.line, entry.column);
            let content = Content::Mapping(Mapping { entries: vec![entry] });
            item.set("awsInstanceFilter", Node { line, column, content });
        }
    }
}

/// Writes the older keys of a workflow as the newer. Gives line and column of the first, when there are any.
pub(crate) fn workflow(root: &mut Node) -> Option<(u32, u32)> {
    let mut ways = vec![Vec::new()];
    for key in ["phases", "rollbackPhases"] {
        list(root, &[], key, &mut |phase| {
            ways.push(phase.way.clone());
            list(phase.node, &phase.way, "phaseSteps", &mut |section| ways.push(section.way));
        });
    }
    let mut first: Option<(u32, u32)> = None;
    for way in ways {
        let Some(mapping) = root.at_mut(&way).and_then(Node::as_mapping_mut) else { continue };
        let found = [infrastructure_name(mapping), section_type(mapping), templated_field(mapping)];
        first = first.into_iter().chain(found.into_iter().flatten()).min();
    }
    first
}

/// `infraMappingName` of a phase, unless it names a definition besides.
fn infrastructure_name(phase: &mut Mapping) -> Option<(u32, u32)> {
    if phase.get("infraDefinitionName").is_some_and(|name| !is_nothing(name)) {
        return None;
    }
    phase.get("infraMappingName")?;
    phase.remove("infraDefinitionName");
    let entry = phase.entries.iter_mut().find(|entry| entry.key.text == "infraMappingName")?;
    entry.key = Scalar::plain("infraDefinitionName");
    Some((entry.line, entry.column))
}

fn section_type(section: &mut Mapping) -> Option<(u32, u32)> {
    let node = section.get_mut("type").filter(|node| node.as_str() == Some("PROVISION_NODE"))?;
    node.content = Node::text("INFRASTRUCTURE_NODE").content;
    Some((node.line, node.column))
}

/// The field that stands for the infrastructure in `templateExpressions`.
fn templated_field(mapping: &mut Mapping) -> Option<(u32, u32)> {
    let Content::Sequence(items) = &mut mapping.get_mut("templateExpressions")?.content else { return None };
    let mut first = None;
    for item in items {
        let Some(field) = item.as_mapping_mut().and_then(|item| item.get_mut("fieldName")) else { continue };
        if field.as_str() == Some("infraMappingId") {
            field.content = Node::text("infraDefinitionId").content;
            first = first.or(Some((field.line, field.column)));
        }
    }
    first
}
