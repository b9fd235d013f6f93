//! What this version keeps and gives back and does not act on: said by `manifold lint`, with the place (`yaml-vocabulary.md`, first paragraph).

use std::collections::{BTreeMap, BTreeSet};

use crate::artifact::COLLECTED;
use crate::document::Document;
use crate::entity::RUNNABLE_UNITS;
use crate::kind::KindSpec;
use crate::name::shown;
use crate::node::{Entry, Mapping, Node};
use crate::path::DocumentKind;
use crate::steps::{list, steps};
use crate::view::{LOCAL, is_nothing, properties};
use crate::{Code, Place, Problem, code};

/// What a build of Manifold can run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Offer {
    /// Kinds of steps with the properties that they know.
    pub steps: BTreeMap<String, BTreeSet<String>>,
    /// Types of infrastructure items that some kind of step acts on.
    pub infrastructures: BTreeSet<String>,
}

impl Offer {
    /// What these kinds amount to.
    #[must_use]
    pub fn of(kinds: &[KindSpec]) -> Self {
        let mut offer = Self::default();
        for kind in kinds {
            let properties = kind.properties.iter().map(|property| property.name.clone());
            offer.steps.entry(kind.name.to_string()).or_default().extend(properties);
            offer.infrastructures.extend(kind.infrastructure_types.iter().cloned());
        }
        offer
    }

    /// Whether some kind of step acts on infrastructures with a cloud provider of this type.
    fn uses_provider(&self, kind: &str) -> bool {
        self.infrastructures.iter().any(|item| match kind {
            "KUBERNETES_CLUSTER" => item == "DIRECT_KUBERNETES",
            "GCP" => item.ends_with("_GCP"),
            other => item.starts_with(other),
        })
    }
}

/// Artifact servers that hold what no source reads: charts, and builds of servers that are not asked.
const UNREAD_SERVERS: [&str; 6] =
    ["AMAZON_S3_HELM_REPO", "BAMBOO", "GCS_HELM_REPO", "GIT", "HTTP_HELM_REPO", "JENKINS"];

/// Keys that nothing acts on when they say something, by what has them, with what is missing.
const KEYS: [(DocumentKind, &str, &str); 14] = [
    (DocumentKind::Application, "isGitSyncEnabled", "configuration is not read from Git"),
    (DocumentKind::CloudProvider, "usageRestrictions", "every application may use it"),
    (DocumentKind::ArtifactServer, "usageRestrictions", "every application may use it"),
    (DocumentKind::Service, "configMapYaml", "no ConfigMap is made of it"),
    (DocumentKind::Service, "deploymentTypeTemplateUri", "there are no deployments by a template"),
    (DocumentKind::Service, "artifactFromManifest", "charts are not artifacts"),
    (DocumentKind::Environment, "configMapYaml", "no ConfigMap is made of it"),
    (DocumentKind::Environment, "configMapYamlByServiceTemplateName", "no ConfigMap is made of it"),
    (DocumentKind::InfrastructureDefinition, "provisioner", "a deployment to it is refused"),
    (
        DocumentKind::InfrastructureDefinition,
        "deploymentTypeTemplateUri",
        "there are no deployments by a template",
    ),
    (DocumentKind::Command, "templateUri", "the command is not made from its template; its own units count"),
    (DocumentKind::Workflow, "notificationRules", "nobody is told"),
    (DocumentKind::Workflow, "rollbackProvisioners", "provisioners do not run"),
    (
        DocumentKind::Pipeline,
        "rollbackPreviousStages",
        "earlier stages stay as they are when a later one fails",
    ),
];

/// What is kept in a document and not run.
#[must_use]
pub(crate) fn told(document: &Document, offer: &Offer) -> Vec<Problem> {
    let mut teller = Teller { path: &document.path.path, offer, found: Vec::new() };
    let Some(root) = document.root.as_mapping() else { return Vec::new() };
    let kind = document.path.kind;
    for (_, key, why) in KEYS.iter().filter(|(known, _, _)| *known == kind) {
        teller.key(root, key, why);
    }
    let type_name = document.type_name();
    match kind {
        DocumentKind::Workflow => teller.steps(&document.root),
        DocumentKind::Pipeline => teller.stages(&document.root),
        DocumentKind::InfrastructureDefinition => teller.infrastructure(&document.root),
        DocumentKind::Command => teller.units(&document.root),
        DocumentKind::CloudProvider if !offer.uses_provider(type_name) => {
            teller.type_of(
                root,
                &format!("no kind of step acts on cloud providers of type {}", shown(type_name)),
            );
        }
        DocumentKind::ArtifactServer if UNREAD_SERVERS.contains(&type_name) => {
            teller.type_of(root, &format!("no artifact source reads servers of type {}", shown(type_name)));
        }
        DocumentKind::ArtifactSource if !COLLECTED.contains(&type_name) => {
            let message = format!(
                "builds of sources of type {} are not listed; a start takes any that is named",
                shown(type_name)
            );
            teller.type_of(root, &message);
        }
        DocumentKind::Manifest | DocumentKind::ServiceOverride | DocumentKind::EnvironmentOverride => {
            teller.store(root);
        }
        _ => {}
    }
    teller.found
}

struct Teller<'d> {
    path: &'d str,
    offer: &'d Offer,
    found: Vec<Problem>,
}

impl Teller<'_> {
    fn at(&self, line: u32, column: u32) -> Place {
        Place { path: self.path.to_owned(), line: line.max(1), column: column.max(1) }
    }

    fn tell(&mut self, code: Code, message: String, item: &str, node: &Node) {
        let problem = Problem::new(code, message).item(shown(item)).at(self.at(node.line, node.column));
        self.found.push(problem);
    }

    /// A key that says something.
    fn key(&mut self, mapping: &Mapping, key: &str, why: &str) {
        if let Some(entry) = mapping.entry(key).filter(|entry| says_something(&entry.value)) {
            self.entry(entry, why);
        }
    }

    fn entry(&mut self, entry: &Entry, why: &str) {
        let key = shown(&entry.key.text);
        let problem =
            Problem::new(code!("KEY_NOT_USED"), format!("nothing acts on the key `{key}` yet; it is kept"))
                .item(key)
                .detail(why)
                .at(self.at(entry.line, entry.column));
        self.found.push(problem);
    }

    /// The document's own type.
    fn type_of(&mut self, root: &Mapping, message: &str) {
        let Some(node) = root.get("type") else { return };
        let name = node.as_str().unwrap_or_default();
        self.tell(code!("TYPE_NOT_RUN"), format!("{message}; it is kept"), name, node);
    }

    /// Steps that nobody can run, for which a start is refused; properties that nobody knows.
    fn steps(&mut self, root: &Node) {
        for step in steps(root) {
            let Some(kind) = step.kind() else { continue };
            if !self.offer.steps.contains_key(kind) {
                let message = format!("no driver runs steps of type {}; the step is kept", shown(kind));
                let name = step.node.get("name").and_then(Node::as_str).unwrap_or(kind);
                let problem = Problem::new(code!("STEP_NOT_RUN"), message)
                    .item(shown(name))
                    .hint("a deployment of this workflow is refused while it has the step")
                    .at(self.at(step.node.line, step.node.column));
                self.found.push(problem);
            }
            if let Some(mapping) = step.node.as_mapping() {
                self.key(
                    mapping,
                    "templateUri",
                    "the step is not made from its template; its own properties count",
                );
            }
            self.properties(kind, step.node);
        }
    }

    fn properties(&mut self, kind: &str, step: &Node) {
        let (listed, offered) = (properties::step(kind), self.offer.steps.get(kind));
        let Some(mapping) = step.get("properties").and_then(Node::as_mapping) else { return };
        if listed.is_none() && offered.is_none() {
            return;
        }
        for entry in &mapping.entries {
            let key = entry.key.text.as_str();
            let known = listed.is_some_and(|keys| keys.contains(&key))
                || offered.is_some_and(|keys| keys.contains(key))
                || properties::OF_ANY_STEP.contains(&key);
            if known {
                continue;
            }
            let message = format!("the property `{}` of {kind} steps is unknown; it is kept", shown(key));
            let at = self.at(entry.line, entry.column);
            self.found.push(Problem::new(code!("DOCUMENT_KEY_UNKNOWN"), message).item(shown(key)).at(at));
        }
    }

    fn stages(&mut self, root: &Node) {
        list(root, &[], "pipelineStages", &mut |stage| {
            let Some(mapping) = stage.node.as_mapping() else { return };
            if stage.kind() == Some("APPROVAL") {
                let name = stage.node.get("name").and_then(Node::as_str).unwrap_or("APPROVAL");
                let message = "approvals are not asked for yet; the stage is kept".to_owned();
                self.tell(code!("TYPE_NOT_RUN"), message, name, stage.node);
            }
            self.key(mapping, "runtimeInputs", "a start asks for everything");
        });
    }

    fn infrastructure(&mut self, root: &Node) {
        list(root, &[], "infrastructure", &mut |item| {
            let kind = item.kind().unwrap_or_default();
            let newer = crate::view::newer_item_type(kind);
            if let Some(node) = item.node.get("type").filter(|_| !self.offer.infrastructures.contains(newer))
            {
                let message =
                    format!("no kind of step acts on infrastructures of type {}; it is kept", shown(kind));
                self.tell(code!("TYPE_NOT_RUN"), message, kind, node);
            }
        });
    }

    fn units(&mut self, root: &Node) {
        list(root, &[], "commandUnits", &mut |unit| {
            let Some(mapping) = unit.node.as_mapping() else { return };
            let kind = mapping.get("commandUnitType").and_then(Node::as_str).unwrap_or_default();
            let source = mapping.get("source").and_then(Node::as_str).filter(|_| kind == "SCP");
            let wrong = match source {
                Some(source) if source != "ARTIFACTS" => Some(format!("SCP of {}", shown(source))),
                _ => (kind != "COMMAND" && !RUNNABLE_UNITS.contains(&kind)).then(|| shown(kind)),
            };
            if let Some(kind) = wrong {
                let name = mapping.get("name").and_then(Node::as_str).unwrap_or(&kind);
                let message = format!("no driver runs units of type {kind}; the unit is kept");
                self.tell(code!("TYPE_NOT_RUN"), message, name, unit.node);
            }
            self.key(mapping, "templateUri", "the unit calls the service's own command of its name");
        });
    }

    /// Manifests and values come from files of the tree only.
    fn store(&mut self, root: &Mapping) {
        let other = |node: &Node| node.as_str().is_some_and(|store| store != LOCAL);
        if let Some(entry) =
            root.entry("storeType").filter(|entry| other(&entry.value) && !is_nothing(&entry.value))
        {
            self.entry(entry, "only files of the tree itself (Local) are read");
        }
    }
}

/// Whether a value is more than nothing, an empty list or mapping, or `false`.
fn says_something(node: &Node) -> bool {
    let empty = node.as_sequence().is_some_and(<[Node]>::is_empty)
        || node.as_mapping().is_some_and(|mapping| mapping.entries.is_empty())
        || node.as_scalar().is_some_and(|scalar| scalar.text.eq_ignore_ascii_case("false"));
    !empty && !is_nothing(node)
}
