//! Values that may be chosen for a variable (`ui.md` X3), services that need an artifact (`wire.md` 3.2), the server itself.

use async_graphql::{Enum, InputObject, SimpleObject};

use super::service::Service;

/// Which values to show.
#[derive(InputObject, Clone, Default, Debug)]
pub struct OptionFilter {
    /// Part of the name, without regard to case.
    pub name: Option<String>,
    /// Only those that can be chosen.
    pub selectable: Option<bool>,
}

/// Order of values.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OptionSort {
    /// By name.
    #[default]
    Name,
    /// By name, backwards.
    NameDescending,
}

/// A value that may be chosen, or is shown with the reason why not.
#[derive(SimpleObject, Clone, Debug)]
pub struct VariableOption {
    /// Id of the entity; the value itself for text.
    pub id: String,
    /// Name.
    pub name: String,
    /// Whether it can be chosen.
    pub selectable: bool,
    /// Why not.
    pub blocked: Vec<String>,
    /// What to know before choosing it.
    pub marks: Vec<String>,
}

/// A page of values.
#[derive(SimpleObject, Clone, Debug)]
pub struct VariableOptionPage {
    /// Type of the variable, as `Variable.type`.
    pub kind: String,
    /// Whether several may be chosen.
    pub multiple: bool,
    /// Why not.
    pub why_single: Vec<String>,
    /// Environment whose infrastructure definitions these are.
    pub environment_id: Option<String>,
    /// How many there are.
    pub total: i64,
    /// How many pass the filter.
    pub matching: i64,
    /// How many of all can be chosen.
    pub selectable: i64,
    /// The page.
    pub nodes: Vec<VariableOption>,
}

/// A service that needs a manifest: none yet.
#[derive(SimpleObject, Clone, Debug)]
pub struct ServiceManifestInput {
    /// Service.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// What a start still needs.
#[derive(SimpleObject, Clone, Debug)]
pub struct ExecutionInputs {
    /// Services that need an artifact.
    pub service_inputs: Vec<Service>,
    /// Services that need a manifest version.
    pub service_manifest_inputs: Vec<ServiceManifestInput>,
}

/// A limit of the server.
#[derive(SimpleObject, Clone, Debug)]
pub struct LimitInfo {
    /// Name.
    pub name: String,
    /// Value.
    pub value: i64,
}

/// The server.
#[derive(SimpleObject, Clone, Debug)]
pub struct ServerInfo {
    /// Version.
    pub version: String,
    /// Account.
    pub account_id: String,
    /// Catalog revision.
    pub catalog_revision: i64,
    /// Step kinds that can be played now.
    pub kinds: Vec<String>,
    /// Limits.
    pub limits: Vec<LimitInfo>,
}

/// Who asks.
#[derive(SimpleObject, Clone, Debug)]
pub struct Viewer {
    /// Id of the key.
    pub id: String,
    /// Name of the key.
    pub name: String,
    /// Account.
    pub account_id: String,
}
