//! Typed views of documents: tolerant of both generations of trees (`yaml-vocabulary.md`), exact about what is wrong and where.

mod environment;
mod pipeline;
pub(crate) mod properties;
mod reader;
mod service;
mod types;
mod vocabulary;
mod workflow;

use std::collections::BTreeMap;

pub(crate) use environment::newer_item_type;
pub(crate) use reader::is_nothing;
pub use reader::secret_name;
pub use service::{LOCAL, ManifestSource};

use crate::document::Document;
use crate::entity::{
    Application, ArtifactSource, ConfigFile, Connector, Environment, InfrastructureDefinition, Pipeline,
    Service, ServiceCommand, Workflow,
};
use crate::newer;
use crate::node::Node;
use crate::path::DocumentKind;
use crate::{Problem, code};
use reader::Reader;

/// The typed view of one document. Ids of what it lies under are empty; [`crate::assemble`] fills them.
#[derive(Clone, PartialEq, Debug)]
pub enum View {
    /// Defaults of the account.
    AccountDefaults(BTreeMap<String, String>),
    /// An application, without its defaults.
    Application(Application),
    /// Defaults of an application.
    ApplicationDefaults(BTreeMap<String, String>),
    /// A service, without what lies below it.
    Service(Service),
    /// An artifact source.
    ArtifactSource(ArtifactSource),
    /// A service command.
    Command(ServiceCommand),
    /// A config file of a service, or an override of one in an environment.
    ConfigFile(ConfigFile),
    /// Where the manifests of a service come from.
    ManifestSource(ManifestSource),
    /// An environment, without its config files.
    Environment(Environment),
    /// An infrastructure definition, or the service infrastructure of an old tree read as one.
    Infrastructure(InfrastructureDefinition),
    /// A cloud provider.
    CloudProvider(Connector),
    /// An artifact server.
    ArtifactServer(Connector),
    /// A workflow.
    Workflow(Box<Workflow>),
    /// A pipeline.
    Pipeline(Box<Pipeline>),
    /// A document that is kept and given back and that nothing acts on.
    Kept,
}

/// What reading a document's view brought.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// The view, unless something is wrong.
    pub view: Option<View>,
    /// Why there is none.
    pub errors: Vec<Problem>,
    /// What keeps it from being saved; a stored document that has it is used all the same.
    pub refusals: Vec<Problem>,
    /// What its author should know.
    pub warnings: Vec<Problem>,
}

/// Reads the view of a document.
#[must_use]
pub fn read(document: &Document) -> Reading {
    let mut reader = Reader::new(&document.path.path);
    let view = if check_type(&mut reader, document) { view(&mut reader, document) } else { None };
    let view = view.filter(|_| reader.errors.is_empty());
    Reading { view, errors: reader.errors, refusals: reader.refusals, warnings: reader.warnings }
}

fn view(reader: &mut Reader<'_>, document: &Document) -> Option<View> {
    let Document { id, path, root } = document;
    Some(match path.kind {
        DocumentKind::AccountDefaults => View::AccountDefaults(environment::defaults(reader, root)?),
        DocumentKind::Application => View::Application(environment::application(reader, id, path, root)?),
        DocumentKind::ApplicationDefaults => View::ApplicationDefaults(environment::defaults(reader, root)?),
        DocumentKind::Service => View::Service(service::service(reader, id, path, root)?),
        DocumentKind::ArtifactSource => View::ArtifactSource(service::source(reader, id, path, root)?),
        DocumentKind::Command => View::Command(service::command(reader, path, root)?),
        DocumentKind::ConfigFile | DocumentKind::ConfigFileOverride => {
            View::ConfigFile(service::config_file(reader, id, path, root)?)
        }
        DocumentKind::Manifest => View::ManifestSource(service::manifest_source(reader, root)?),
        DocumentKind::Environment => View::Environment(environment::environment(reader, id, path, root)?),
        DocumentKind::InfrastructureDefinition => {
            View::Infrastructure(environment::infrastructure(reader, id, path, root)?)
        }
        DocumentKind::ServiceInfrastructure => {
            let mut newer = root.clone();
            newer::definition(&mut newer);
            View::Infrastructure(environment::infrastructure(reader, id, path, &newer)?)
        }
        DocumentKind::CloudProvider => View::CloudProvider(environment::connector(reader, id, path, root)?),
        DocumentKind::ArtifactServer => View::ArtifactServer(environment::connector(reader, id, path, root)?),
        DocumentKind::Workflow => View::Workflow(Box::new(workflow::workflow(reader, id, path, root)?)),
        DocumentKind::Pipeline => View::Pipeline(Box::new(pipeline::pipeline(reader, id, path, root)?)),
        kind => {
            let known = types::kept(kind, document.type_name());
            if let (Some(known), Some(mapping)) = (known, root.as_mapping()) {
                reader.known(mapping, kind.noun(), known);
            }
            View::Kept
        }
    })
}

/// The `type` that documents of a kind must have; empty where there are many.
fn expected_types(kind: DocumentKind) -> &'static [&'static str] {
    match kind {
        DocumentKind::AccountDefaults => &["ACCOUNT_DEFAULTS"],
        DocumentKind::Tags => &["TAG"],
        DocumentKind::Ids => &["IDS"],
        DocumentKind::NotificationGroup => &["NOTIFICATION_GROUP"],
        DocumentKind::Governance => &["GOVERNANCE_CONFIG"],
        DocumentKind::Application => &["APPLICATION"],
        DocumentKind::ApplicationDefaults => &["APPLICATION_DEFAULTS"],
        DocumentKind::Service => &["SERVICE"],
        DocumentKind::ConfigFile => &["CONFIG_FILE"],
        DocumentKind::ConfigFileOverride => &["CONFIG_FILE_OVERRIDE"],
        DocumentKind::Environment => &["ENVIRONMENT"],
        DocumentKind::InfrastructureDefinition => &["INFRA_DEFINITION"],
        DocumentKind::Workflow => {
            &["BASIC", "CANARY", "ROLLING", "BLUE_GREEN", "MULTI_SERVICE", "BUILD", "CUSTOM"]
        }
        DocumentKind::Pipeline => &["PIPELINE"],
        DocumentKind::Trigger => &["TRIGGER"],
        _ => &[],
    }
}

/// Checks that the root is a mapping with the `type` that its path asks for, and warns of a missing version.
fn check_type(reader: &mut Reader<'_>, document: &Document) -> bool {
    let Document { path, root, .. } = document;
    let noun = path.kind.noun();
    let Some(mapping) = root.as_mapping() else {
        let message = format!("the document is {}, not the mapping that a {noun} is", root.described());
        reader.error(code!("DOCUMENT_TYPE"), message, root);
        return false;
    };
    if mapping.get("harnessApiVersion").is_none() {
        let message = "the document does not say `harnessApiVersion: '1.0'`";
        reader.warn(Problem::new(code!("DOCUMENT_VERSION_MISSING"), message), root);
    }
    let Some(node) = mapping.get("type").filter(|node| !reader::is_nothing(node)) else {
        let message = format!("the document has no `type`; its path makes it a {noun}");
        reader.error(code!("DOCUMENT_TYPE"), message, root);
        return false;
    };
    let expected = expected_types(path.kind);
    let found = node.as_scalar().map(|scalar| scalar.text.as_str());
    if found.is_some_and(|found| expected.is_empty() || expected.contains(&found)) {
        return true;
    }
    let found = found.map_or_else(|| node.described().to_owned(), crate::name::shown);
    let message = if expected.is_empty() {
        format!("`type` is {found}, not the text that it must be")
    } else {
        format!(
            "`type` is {found}, but the path makes it a {noun}, whose `type` is {}",
            expected.join(" or ")
        )
    };
    reader.error(code!("DOCUMENT_TYPE"), message, node);
    false
}

/// The text of a scalar under a key of the root, for index rows.
#[must_use]
pub fn root_text<'n>(root: &'n Node, key: &str) -> Option<&'n str> {
    root.get(key)?.as_scalar().map(|scalar| scalar.text.as_str())
}
