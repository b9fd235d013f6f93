//! Delegates as the account knows them: what they say of themselves, whether they may work, what they may be used for (`behaviour.md` 19).

use serde::{Deserialize, Serialize};

use crate::EntityId;
use crate::kind::KindSpec;

/// Whether a delegate may work.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DelegateStatus {
    /// It gets tasks.
    Enabled,
    /// Somebody has to approve it first.
    WaitingForApproval,
    /// It is not let in any more.
    Deleted,
}

impl DelegateStatus {
    /// As clients and the store write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::WaitingForApproval => "WAITING_FOR_APPROVAL",
            Self::Deleted => "DELETED",
        }
    }
}

/// How a delegate was installed, as FirstGen names it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DelegateType {
    /// A program on a machine.
    #[default]
    ShellScript,
    /// A pod.
    Kubernetes,
    /// A pod of a Helm chart.
    HelmDelegate,
    /// A container.
    Docker,
    /// A task of ECS.
    Ecs,
}

/// What a delegate says of itself when it connects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Announced {
    /// How it was installed.
    pub kind: DelegateType,
    /// Version of the program.
    pub program: String,
    /// Host name.
    pub host: String,
    /// Private address.
    pub address: String,
    /// Words of whoever started it.
    pub description: String,
    /// Selectors, its name and host among them.
    pub selectors: Vec<String>,
    /// Capabilities (`helm`).
    pub capabilities: Vec<String>,
    /// Kinds that it plays.
    pub kinds: Vec<KindSpec>,
}

/// A part of the account: all fields that are not empty must match.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    /// Name.
    pub name: String,
    /// Applications.
    pub applications: Vec<EntityId>,
    /// `PROD`, `NON_PROD`.
    pub environment_types: Vec<String>,
    /// Environments.
    pub environments: Vec<EntityId>,
    /// Services.
    pub services: Vec<EntityId>,
    /// Infrastructure definitions.
    pub infrastructures: Vec<EntityId>,
}

/// What a delegate may be used for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Scopes {
    /// Only what lies in one of these; empty: everything.
    pub limited_to: Vec<Scope>,
    /// Nothing that lies in one of these.
    pub excluded: Vec<Scope>,
}

/// Where a task belongs, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskScope {
    /// Application.
    pub application: Option<EntityId>,
    /// `PROD` or `NON_PROD`.
    pub environment_type: Option<String>,
    /// Environment.
    pub environment: Option<EntityId>,
    /// Services.
    pub services: Vec<EntityId>,
    /// Infrastructure definition.
    pub infrastructure: Option<EntityId>,
}

impl Scope {
    /// Whether a task lies in it.
    #[must_use]
    pub fn holds(&self, task: &TaskScope) -> bool {
        let one_of = |wanted: &[EntityId], is: &Option<EntityId>| {
            wanted.is_empty() || is.as_ref().is_some_and(|is| wanted.contains(is))
        };
        one_of(&self.applications, &task.application)
            && one_of(&self.environments, &task.environment)
            && one_of(&self.infrastructures, &task.infrastructure)
            && (self.services.is_empty()
                || task.services.iter().any(|service| self.services.contains(service)))
            && (self.environment_types.is_empty()
                || task.environment_type.as_ref().is_some_and(|is| self.environment_types.contains(is)))
    }
}

impl Scopes {
    /// Whether a delegate with these may take a task.
    #[must_use]
    pub fn admit(&self, task: &TaskScope) -> bool {
        (self.limited_to.is_empty() || self.limited_to.iter().any(|scope| scope.holds(task)))
            && !self.excluded.iter().any(|scope| scope.holds(task))
    }

    /// Whether they let everything through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.limited_to.is_empty() && self.excluded.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(application: &str, environment_types: &[&str]) -> Scope {
        Scope {
            applications: vec![EntityId::from(application)],
            environment_types: environment_types.iter().map(|&one| one.to_owned()).collect(),
            ..Scope::default()
        }
    }

    #[test]
    fn fields_are_and_scopes_are_or() {
        let task = |application: &str, kind: &str| TaskScope {
            application: Some(EntityId::from(application)),
            environment_type: Some(kind.to_owned()),
            ..TaskScope::default()
        };
        let scopes = Scopes { limited_to: vec![scope("a", &["PROD"]), scope("b", &[])], excluded: vec![] };
        assert!(scopes.admit(&task("a", "PROD")) && scopes.admit(&task("b", "NON_PROD")));
        assert!(!scopes.admit(&task("a", "NON_PROD")) && !scopes.admit(&TaskScope::default()));
        let scopes = Scopes { limited_to: vec![], excluded: vec![scope("a", &["PROD"])] };
        assert!(!scopes.admit(&task("a", "PROD")) && scopes.admit(&task("a", "NON_PROD")));
        assert!(scopes.admit(&TaskScope::default()) && Scopes::default().is_open());
    }
}
