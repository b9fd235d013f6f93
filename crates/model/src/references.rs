//! Which entities a document refers to by name, and how a rename rewrites them (`behaviour.md` 18.1).
//!
//! Text refers by name; an id in a name's place is accepted and becomes the name when it is saved ([`names_for_ids`]). Values that hold an
//! expression refer to nothing. A name beside a templated setting is still a reference: it keeps its entity from being deleted (6.3).

use crate::Place;
use crate::catalog::Catalog;
use crate::node::{Node, Segment};
use crate::path::{DocumentKind, DocumentPath};
use crate::steps::{StepNode, key_segment, list, steps};
use crate::{EntityId, node};

/// What a name refers to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReferenceKind {
    /// An application.
    Application,
    /// A cloud provider.
    CloudProvider,
    /// An artifact server.
    ArtifactServer,
    /// A service of the application.
    Service,
    /// An artifact source of a service.
    ArtifactSource,
    /// An environment of the application.
    Environment,
    /// An infrastructure definition of an environment.
    InfrastructureDefinition,
    /// A workflow of the application.
    Workflow,
    /// A pipeline of the application.
    Pipeline,
    /// A provisioner of the application.
    Provisioner,
}

impl ReferenceKind {
    /// The noun for messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::CloudProvider => "cloud provider",
            Self::ArtifactServer => "artifact server",
            Self::Service => "service",
            Self::ArtifactSource => "artifact source",
            Self::Environment => "environment",
            Self::InfrastructureDefinition => "infrastructure definition",
            Self::Workflow => "workflow",
            Self::Pipeline => "pipeline",
            Self::Provisioner => "infrastructure provisioner",
        }
    }

    /// The kind of entity that documents of this kind are, if anything refers to them.
    #[must_use]
    pub fn of(kind: DocumentKind) -> Option<Self> {
        Some(match kind {
            DocumentKind::Application => Self::Application,
            DocumentKind::CloudProvider => Self::CloudProvider,
            DocumentKind::ArtifactServer => Self::ArtifactServer,
            DocumentKind::Service => Self::Service,
            DocumentKind::ArtifactSource => Self::ArtifactSource,
            DocumentKind::Environment => Self::Environment,
            DocumentKind::InfrastructureDefinition | DocumentKind::ServiceInfrastructure => {
                Self::InfrastructureDefinition
            }
            DocumentKind::Workflow => Self::Workflow,
            DocumentKind::Pipeline => Self::Pipeline,
            DocumentKind::Provisioner => Self::Provisioner,
            _ => return None,
        })
    }
}

/// One name in a document that stands for an entity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameReference {
    /// What it stands for.
    pub kind: ReferenceKind,
    /// The application it is looked up in; `None` for entities of the account.
    pub application: Option<String>,
    /// The environment of an infrastructure definition, the service of an artifact source; `None` when the text does not say.
    pub owner: Option<String>,
    /// For an infrastructure definition whose environment is not said: the workflow whose `envName` says it.
    pub through_workflow: Option<String>,
    /// The name, or an id.
    pub name: String,
    /// The way to the text.
    pub way: Vec<Segment>,
    /// Which item of a comma-separated text, from 0; `None` for the whole text.
    pub part: Option<usize>,
    /// Whether the setting is templated, so that the name is only what was chosen last.
    pub templated: bool,
    /// Where it stands.
    pub place: Place,
}

/// An entity by its names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    /// What it is.
    pub kind: ReferenceKind,
    /// Its application, if it has one.
    pub application: Option<String>,
    /// The environment of an infrastructure definition, the service of an artifact source.
    pub owner: Option<String>,
    /// Its name.
    pub name: String,
}

impl Target {
    /// What a document's path makes it, if anything can refer to it.
    #[must_use]
    pub fn of(path: &DocumentPath) -> Option<Self> {
        let kind = ReferenceKind::of(path.kind)?;
        let owned = matches!(kind, ReferenceKind::ArtifactSource | ReferenceKind::InfrastructureDefinition);
        Some(Self {
            kind,
            application: path.application.clone().filter(|_| kind != ReferenceKind::Application),
            owner: path.owner.clone().filter(|_| owned),
            name: path.name.clone(),
        })
    }
}

impl NameReference {
    /// Whether this means that entity. `environment_of` says the environment of a workflow, by application and name.
    #[must_use]
    pub fn means(&self, target: &Target, environment_of: &dyn Fn(&str, &str) -> Option<String>) -> bool {
        if self.kind != target.kind || self.name != target.name || self.application != target.application {
            return false;
        }
        if target.owner.is_none() {
            return true;
        }
        // A reference that does not say the owner may mean any.
        self.owner_name(environment_of).is_none_or(|owner| Some(owner) == target.owner)
    }

    /// The environment or service that the name is looked up in, as far as known.
    #[must_use]
    pub fn owner_name(&self, environment_of: &dyn Fn(&str, &str) -> Option<String>) -> Option<String> {
        self.owner
            .clone()
            .or_else(|| environment_of(self.application.as_deref()?, self.through_workflow.as_deref()?))
    }

    /// The id of what the name stands for, if the catalog has it under that name. An infrastructure definition whose environment nobody says is found
    /// when exactly one environment of the application has it.
    #[must_use]
    pub fn resolve(&self, catalog: &Catalog) -> Option<EntityId> {
        let names = &catalog.names;
        let application = || names.applications.get(self.application.as_deref()?).cloned();
        let of_application = || Some((application()?, self.name.clone()));
        match self.kind {
            ReferenceKind::Application => names.applications.get(&self.name).cloned(),
            ReferenceKind::CloudProvider => names.cloud_providers.get(&self.name).cloned(),
            ReferenceKind::ArtifactServer => names.artifact_servers.get(&self.name).cloned(),
            ReferenceKind::Service => names.services.get(&of_application()?).cloned(),
            ReferenceKind::Environment => names.environments.get(&of_application()?).cloned(),
            ReferenceKind::Workflow => names.workflows.get(&of_application()?).cloned(),
            ReferenceKind::Pipeline => names.pipelines.get(&of_application()?).cloned(),
            // The catalog has no view of provisioners.
            ReferenceKind::Provisioner => None,
            ReferenceKind::ArtifactSource => {
                let service = catalog.service_named(&application()?, self.owner.as_deref()?)?;
                service.sources.iter().find(|source| source.name == self.name).map(|source| source.id.clone())
            }
            ReferenceKind::InfrastructureDefinition => self.resolve_infrastructure(catalog, &application()?),
        }
    }

    fn resolve_infrastructure(&self, catalog: &Catalog, application: &EntityId) -> Option<EntityId> {
        let through =
            |_: &str, workflow: &str| catalog.workflow_named(application, workflow)?.environment_name.clone();
        if let Some(environment) = self.owner_name(&through) {
            let environment = catalog.environment_named(application, &environment)?;
            return Some(catalog.infrastructure_named(&environment.id, &self.name)?.id.clone());
        }
        let mut found = catalog
            .infrastructures
            .values()
            .filter(|definition| definition.application == *application && definition.name == self.name);
        let first = found.next()?;
        found.next().is_none().then(|| first.id.clone())
    }
}

/// The service that the path of a document or file names: overrides of an environment for one service lie in a folder of its name.
#[must_use]
pub fn of_path(path: &DocumentPath) -> Option<NameReference> {
    let name = path.overridden_service()?;
    Some(NameReference {
        kind: ReferenceKind::Service,
        application: path.application.clone(),
        owner: None,
        through_workflow: None,
        name: name.to_owned(),
        way: Vec::new(),
        part: None,
        templated: false,
        place: Place { path: path.path.clone(), line: 1, column: 1 },
    })
}

/// All names in a document that stand for entities, those in its path among them.
#[must_use]
pub fn references(path: &DocumentPath, root: &Node) -> Vec<NameReference> {
    let mut finder = Finder { path, found: of_path(path).into_iter().collect() };
    let top = StepNode { node: root, way: Vec::new() };
    match path.kind {
        DocumentKind::InfrastructureDefinition => finder.infrastructure(&top),
        DocumentKind::ServiceInfrastructure => {
            finder.name(&top, "computeProviderName", ReferenceKind::CloudProvider);
            finder.name(&top, "serviceName", ReferenceKind::Service);
        }
        DocumentKind::ArtifactSource => {
            let kind = root.get("type").and_then(Node::as_str).unwrap_or_default();
            finder.name(&top, "serverName", server_kind(kind));
        }
        DocumentKind::CloudProvider | DocumentKind::ArtifactServer => finder.connector(&top),
        DocumentKind::Environment => {
            finder.each(&top, "variableOverrides", |finder, item| {
                finder.name(item, "serviceName", ReferenceKind::Service);
            });
        }
        DocumentKind::ConfigFileOverride | DocumentKind::ServiceVerification => {
            finder.name(&top, "serviceName", ReferenceKind::Service);
        }
        DocumentKind::Workflow => finder.workflow(&top),
        DocumentKind::Pipeline => {
            finder.each(&top, "pipelineStages", |finder, stage| {
                finder.name(stage, "workflowName", ReferenceKind::Workflow);
                let workflow =
                    stage.node.get("workflowName").and_then(Node::as_str).filter(|name| is_literal(name));
                finder.variables(stage, workflow);
            });
        }
        DocumentKind::Trigger => finder.trigger(&top),
        _ => {}
    }
    finder.found
}

/// Artifact sources of these types name a cloud provider as their server, others an artifact server.
fn server_kind(source: &str) -> ReferenceKind {
    match source {
        "ECR" | "GCR" | "ACR" | "AMAZON_S3" | "AMI" | "GCS" | "AZURE_MACHINE_IMAGE" => {
            ReferenceKind::CloudProvider
        }
        _ => ReferenceKind::ArtifactServer,
    }
}

fn is_literal(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains("${")
}

struct Finder<'a> {
    path: &'a DocumentPath,
    found: Vec<NameReference>,
}

impl Finder<'_> {
    /// The reference that a key holds, if it holds a literal name.
    fn reference(&self, at: &StepNode<'_>, key: &str, kind: ReferenceKind) -> Option<NameReference> {
        let node = at.node.get(key)?;
        let mut way = at.way.clone();
        way.push(key_segment(key));
        self.reference_at(node, way, kind)
    }

    fn reference_at(&self, node: &Node, way: Vec<Segment>, kind: ReferenceKind) -> Option<NameReference> {
        let scalar = node.as_scalar().filter(|scalar| scalar.kind != node::ScalarKind::Null)?;
        if !is_literal(&scalar.text) {
            return None;
        }
        let of_account = matches!(
            kind,
            ReferenceKind::Application | ReferenceKind::CloudProvider | ReferenceKind::ArtifactServer
        );
        Some(NameReference {
            kind,
            application: self.path.application.clone().filter(|_| !of_account),
            owner: None,
            through_workflow: None,
            name: scalar.text.clone(),
            way,
            part: None,
            templated: false,
            place: Place { path: self.path.path.clone(), line: node.line.max(1), column: node.column.max(1) },
        })
    }

    fn name(&mut self, at: &StepNode<'_>, key: &str, kind: ReferenceKind) {
        self.found.extend(self.reference(at, key, kind));
    }

    fn each<'n>(&mut self, at: &StepNode<'n>, key: &str, mut with: impl FnMut(&mut Self, &StepNode<'n>)) {
        list(at.node, &at.way, key, &mut |item| with(self, &item));
    }

    fn names(&mut self, at: &StepNode<'_>, key: &str, kind: ReferenceKind) {
        self.each(at, key, |finder, item| {
            let reference = finder.reference_at(item.node, item.way.clone(), kind);
            finder.found.extend(reference);
        });
    }

    fn infrastructure(&mut self, top: &StepNode<'_>) {
        self.each(top, "infrastructure", |finder, item| {
            finder.name(item, "cloudProviderName", ReferenceKind::CloudProvider);
            finder.name(item, "spotinstCloudProviderName", ReferenceKind::CloudProvider);
        });
        self.names(top, "scopedServices", ReferenceKind::Service);
        self.name(top, "provisioner", ReferenceKind::Provisioner);
    }

    fn connector(&mut self, top: &StepNode<'_>) {
        self.name(top, "cloudProvider", ReferenceKind::CloudProvider);
        let Some(restrictions) = top.node.get("usageRestrictions") else { return };
        let at = StepNode { node: restrictions, way: vec![key_segment("usageRestrictions")] };
        self.each(&at, "appEnvRestrictions", |finder, item| {
            let Some(filter) = item.node.get("appFilter") else { return };
            let mut way = item.way.clone();
            way.push(key_segment("appFilter"));
            finder.names(&StepNode { node: filter, way }, "entityNames", ReferenceKind::Application);
        });
    }

    fn workflow(&mut self, top: &StepNode<'_>) {
        let above = templated_fields(top.node);
        let environment = top.node.get("envName").and_then(Node::as_str).filter(|name| is_literal(name));
        let reference = self.reference(top, "envName", ReferenceKind::Environment);
        self.found.extend(reference.map(|found| templated(found, &above, "envId")));
        for key in ["phases", "rollbackPhases"] {
            self.each(top, key, |finder, phase| {
                let mut fields = templated_fields(phase.node);
                fields.extend(above.iter().copied());
                finder.phase(phase, &fields, environment);
            });
        }
        for step in steps(top.node) {
            if step.kind() == Some("ARTIFACT_COLLECTION")
                && let Some(properties) = step.node.get("properties")
            {
                let mut way = step.way.clone();
                way.push(key_segment("properties"));
                self.artifact(&StepNode { node: properties, way });
            }
        }
    }

    fn phase(&mut self, phase: &StepNode<'_>, fields: &[&str], environment: Option<&str>) {
        let service = self.reference(phase, "serviceName", ReferenceKind::Service);
        self.found.extend(service.map(|found| templated(found, fields, "serviceId")));
        let provider = self.reference(phase, "computeProviderName", ReferenceKind::CloudProvider);
        self.found.extend(provider.map(|found| templated(found, fields, "infraDefinitionId")));
        for (key, field) in
            [("infraDefinitionName", "infraDefinitionId"), ("infraMappingName", "infraMappingId")]
        {
            let found = self.reference(phase, key, ReferenceKind::InfrastructureDefinition);
            self.found.extend(found.map(|mut found| {
                found.owner = environment.map(str::to_owned);
                templated(found, fields, field)
            }));
        }
    }

    /// A service and an artifact source of it.
    fn artifact(&mut self, at: &StepNode<'_>) {
        self.name(at, "serviceName", ReferenceKind::Service);
        let service = at.node.get("serviceName").and_then(Node::as_str).filter(|name| is_literal(name));
        if let (Some(service), Some(mut found)) =
            (service, self.reference(at, "artifactStreamName", ReferenceKind::ArtifactSource))
        {
            found.owner = Some(service.to_owned());
            self.found.push(found);
        }
    }

    fn trigger(&mut self, top: &StepNode<'_>) {
        let of_workflow = top.node.get("executionType").and_then(Node::as_str) == Some("Workflow");
        let kind = if of_workflow { ReferenceKind::Workflow } else { ReferenceKind::Pipeline };
        self.name(top, "executionName", kind);
        for key in ["triggerCondition", "artifactSelections", "manifestSelections"] {
            self.each(top, key, |finder, item| {
                finder.artifact(item);
                finder.name(item, "pipelineName", ReferenceKind::Pipeline);
                finder.name(item, "workflowName", ReferenceKind::Workflow);
            });
        }
        let name = top.node.get("executionName").and_then(Node::as_str).filter(|_| of_workflow);
        self.variables(top, name);
    }

    /// Values of entity variables of a pipeline stage or a trigger; several names are separated by commas.
    fn variables(&mut self, at: &StepNode<'_>, workflow: Option<&str>) {
        let mut environment = None;
        list(at.node, &at.way, "workflowVariables", &mut |item| {
            if item.node.get("entityType").and_then(Node::as_str) == Some("ENVIRONMENT") {
                environment = item.node.get("value").and_then(Node::as_str);
            }
        });
        self.each(at, "workflowVariables", |finder, item| {
            let kind = match item.node.get("entityType").and_then(Node::as_str) {
                Some("SERVICE") => ReferenceKind::Service,
                Some("ENVIRONMENT") => ReferenceKind::Environment,
                Some("INFRASTRUCTURE_DEFINITION") => ReferenceKind::InfrastructureDefinition,
                _ => return,
            };
            let Some(mut whole) = finder.reference(item, "value", kind) else { return };
            if kind != ReferenceKind::InfrastructureDefinition {
                finder.found.push(whole);
                return;
            }
            match environment {
                // An expression says the environment: only the start can tell.
                Some(name) if is_literal(name) => whole.owner = Some(name.to_owned()),
                Some(_) => {}
                None => whole.through_workflow = workflow.map(str::to_owned),
            }
            for (part, name) in whole.name.split(',').enumerate().filter(|(_, name)| !name.trim().is_empty())
            {
                let part = whole.name.contains(',').then_some(part);
                finder.found.push(NameReference { name: name.trim().to_owned(), part, ..whole.clone() });
            }
        });
    }
}

/// Fields that `templateExpressions` of a node replace.
fn templated_fields(node: &Node) -> Vec<&str> {
    let items = node.get("templateExpressions").and_then(Node::as_sequence).unwrap_or_default();
    items.iter().filter_map(|item| item.get("fieldName").and_then(Node::as_str)).collect()
}

fn templated(mut reference: NameReference, fields: &[&str], field: &str) -> NameReference {
    // Both generations' names of the infrastructure field count for either key.
    let same = |known: &&str| *known == field || (known.starts_with("infra") && field.starts_with("infra"));
    reference.templated = fields.iter().any(same);
    reference
}

/// Writes another name where a reference stands. False when the text is no longer what the reference says.
pub fn rewrite(root: &mut Node, reference: &NameReference, name: &str) -> bool {
    let Some(node) = root.at_mut(&reference.way) else { return false };
    let Some(text) = node.as_scalar().map(|scalar| scalar.text.clone()) else { return false };
    let new = match reference.part {
        None if text == reference.name => name.to_owned(),
        Some(part) => match replaced(&text, part, &reference.name, name) {
            Some(new) => new,
            None => return false,
        },
        None => return false,
    };
    node.content = Node::text(new).content;
    true
}

/// The text with one comma-separated item replaced, blanks around it kept.
fn replaced(text: &str, part: usize, old: &str, new: &str) -> Option<String> {
    let mut items: Vec<String> = text.split(',').map(str::to_owned).collect();
    let item = items.get_mut(part).filter(|item| item.trim() == old)?;
    *item = item.replacen(old, new, 1);
    Some(items.join(","))
}

/// Rewrites every reference in a document that means an entity. Returns how many there were.
pub fn rename(
    path: &DocumentPath,
    root: &mut Node,
    target: &Target,
    name: &str,
    environment_of: &dyn Fn(&str, &str) -> Option<String>,
) -> usize {
    replace(path, root, &|reference| reference.means(target, environment_of).then(|| name.to_owned()))
}

/// Writes names where ids stand (`behaviour.md` 18.1). `name_of` says the name of the entity whose id stands in the reference's place, if it is an
/// id. Returns how many there were.
pub fn names_for_ids(
    path: &DocumentPath,
    root: &mut Node,
    name_of: &dyn Fn(&NameReference) -> Option<String>,
) -> usize {
    replace(path, root, name_of)
}

/// The name of the entity that has a reference's text as its id, when it is of the kind that belongs there.
#[must_use]
pub fn name_of_id(catalog: &Catalog, reference: &NameReference) -> Option<String> {
    let id = EntityId::from(reference.name.as_str());
    Some(match reference.kind {
        ReferenceKind::Application => catalog.applications.get(&id)?.name.clone(),
        ReferenceKind::CloudProvider => catalog.cloud_providers.get(&id)?.name.clone(),
        ReferenceKind::ArtifactServer => catalog.artifact_servers.get(&id)?.name.clone(),
        ReferenceKind::Service => catalog.services.get(&id)?.name.clone(),
        ReferenceKind::Environment => catalog.environments.get(&id)?.name.clone(),
        ReferenceKind::InfrastructureDefinition => catalog.infrastructures.get(&id)?.name.clone(),
        ReferenceKind::Workflow => catalog.workflows.get(&id)?.name.clone(),
        ReferenceKind::Pipeline => catalog.pipelines.get(&id)?.name.clone(),
        ReferenceKind::ArtifactSource => {
            let sources = catalog.services.values().flat_map(|service| &service.sources);
            sources.into_iter().find(|source| source.id == id)?.name.clone()
        }
        ReferenceKind::Provisioner => return None,
    })
}

fn replace(
    path: &DocumentPath,
    root: &mut Node,
    new_name: &dyn Fn(&NameReference) -> Option<String>,
) -> usize {
    let mut count = 0;
    for reference in references(path, root) {
        if let Some(name) = new_name(&reference)
            && rewrite(root, &reference, &name)
        {
            count += 1;
        }
    }
    count
}
