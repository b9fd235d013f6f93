//! Kinds of steps and tasks. Each driver exports its specs, a delegate announces them in its first frame, the plan freezes the class
//! per step; a Workflow with a kind that nobody offers is refused at start (`design.md` 2).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Name of a kind: a step `type` of the YAML, or the internal kind of a task (`SHELL_SCRIPT_ON_HOST`, `COLLECT_ARTIFACTS`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct KindName(pub Arc<str>);

impl KindName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for KindName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be done with a task that started and has no outcome.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    /// Twice is as good as once: do it again.
    Idempotent,
    /// Look, then decide.
    Probeable,
    /// Ask a person.
    Unsafe,
}

/// Who plays the steps of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Player {
    /// The engine itself (barrier, artifact check, lock, node selection).
    Engine,
    /// One task on a delegate.
    Delegate,
    /// One task per selected instance (host).
    Instances,
}

/// Where a step of a kind may stand.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stand {
    /// Pre-deployment steps.
    PreDeployment,
    /// A phase.
    Phase,
    /// A rollback phase.
    Rollback,
    /// Post-deployment steps.
    PostDeployment,
    /// A phase of a Build workflow.
    Build,
}

/// All places.
pub const ANYWHERE: [Stand; 5] =
    [Stand::PreDeployment, Stand::Phase, Stand::Rollback, Stand::PostDeployment, Stand::Build];

/// A property of a kind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PropertySpec {
    /// Key in the step's `properties`.
    pub name: String,
    /// Whether the step cannot run without it.
    pub required: bool,
    /// Whether an expression that cannot be resolved is an error (a setting) or stays as it is (a script) (`behaviour.md` 12.1).
    pub strict: bool,
}

/// What a kind is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct KindSpec {
    /// Name.
    pub name: KindName,
    /// Class of its tasks, unless `class_by` says otherwise.
    pub class: Class,
    /// Class by the value of a property (HTTP: by `method`), compared without regard to case; first match wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_by: Vec<ClassRule>,
    /// The kind that rolls it back, if a kind does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_by: Option<KindName>,
    /// Who plays it.
    pub player: Player,
    /// Where it may stand.
    pub stands: Vec<Stand>,
    /// Its properties; keys not listed are kept and ignored.
    pub properties: Vec<PropertySpec>,
    /// What a delegate must have (`helm`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether it touches the infrastructure, so that the infrastructure's type needs a driver.
    pub touches_infrastructure: bool,
    /// Infrastructure item types (`PHYSICAL_DATA_CENTER_SSH`, …) on which it can act; empty: any, or none needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub infrastructure_types: Vec<String>,
    /// Whether it acts with the service's manifests: they must be there, and Go templates among them need the capability `helm`.
    #[serde(default)]
    pub reads_manifests: bool,
    /// Whether END_EXECUTION counts it as a step that deployed something and so must be rolled back (D18).
    pub deploys: bool,
    /// Only with `--enable-test-kinds`.
    #[serde(default)]
    pub test_only: bool,
}

/// One line of [`KindSpec::class_by`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ClassRule {
    /// Property looked at.
    pub property: String,
    /// Value that makes the rule apply.
    pub value: String,
    /// Class then.
    pub class: Class,
}

impl KindSpec {
    /// The class of a step with these properties.
    #[must_use]
    pub fn class_of(&self, properties: &serde_json::Map<String, serde_json::Value>) -> Class {
        self.class_by
            .iter()
            .find(|rule| {
                properties
                    .get(&rule.property)
                    .and_then(serde_json::Value::as_str)
                    .is_some_and(|value| value.trim().eq_ignore_ascii_case(&rule.value))
            })
            .map_or(self.class, |rule| rule.class)
    }
}
