//! Delegates, their scopes and tokens (`wire.md` 2.10, 6), in FirstGen's shapes; node, selectors, capabilities and tokens are ours.

use async_graphql::{Enum, InputObject, Object, SimpleObject};
use manifold_control::Error;
use manifold_control::delegate_scopes::NamedScope;
use manifold_control::delegate_tokens::DelegateTokenRow;
use manifold_control::delegates::{DelegateRow, is_embedded};
use manifold_control::model::delegate::{DelegateStatus as Status, DelegateType as Type, Scope};
use manifold_control::model::{EntityId, Problem, code};

use super::filter::{EnvironmentType, IdFilter, IdOperator};
use super::scalar::{DateTime, Long};

/// Whether a delegate may work.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DelegateStatus {
    Deleted,
    Enabled,
    WaitingForApproval,
}

impl From<DelegateStatus> for Status {
    fn from(status: DelegateStatus) -> Self {
        match status {
            DelegateStatus::Deleted => Self::Deleted,
            DelegateStatus::Enabled => Self::Enabled,
            DelegateStatus::WaitingForApproval => Self::WaitingForApproval,
        }
    }
}

/// How a delegate was installed.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DelegateType {
    Docker,
    Ecs,
    HelmDelegate,
    Kubernetes,
    ShellScript,
}

impl From<DelegateType> for Type {
    fn from(kind: DelegateType) -> Self {
        match kind {
            DelegateType::Docker => Self::Docker,
            DelegateType::Ecs => Self::Ecs,
            DelegateType::HelmDelegate => Self::HelmDelegate,
            DelegateType::Kubernetes => Self::Kubernetes,
            DelegateType::ShellScript => Self::ShellScript,
        }
    }
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Docker => "DOCKER",
        Type::Ecs => "ECS",
        Type::HelmDelegate => "HELM_DELEGATE",
        Type::Kubernetes => "KUBERNETES",
        Type::ShellScript => "SHELL_SCRIPT",
    }
}

/// A connection of a delegate.
#[derive(SimpleObject, Clone, Debug)]
pub struct DelegateConnection {
    /// Whether it is gone.
    pub disconnected: Option<bool>,
    /// Version of the program.
    pub version: Option<String>,
}

/// What a delegate may be used for: all conditions must hold.
#[derive(SimpleObject, Clone, Debug)]
pub struct DelegateScope {
    /// Name.
    pub name: Option<String>,
    /// Id.
    #[graphql(deprecation = "Use scope name.")]
    pub uuid: Option<String>,
    /// Ids of applications.
    pub applications: Option<Vec<Option<String>>>,
    /// Types of environments.
    pub environment_types: Option<Vec<Option<EnvironmentType>>>,
    /// Ids of environments.
    pub environments: Option<Vec<Option<String>>>,
    /// Ids of services.
    pub services: Option<Vec<Option<String>>>,
    /// Ids of infrastructure definitions.
    pub infrastructure_definitions: Option<Vec<Option<String>>>,
    /// Groups of tasks; always empty: scopes limit places, selectors limit tasks.
    pub task_types: Option<Vec<Option<String>>>,
}

impl DelegateScope {
    fn of(scope: Scope, id: Option<String>) -> Self {
        let ids = |ids: Vec<EntityId>| Some(ids.into_iter().map(|id| Some(id.to_string())).collect());
        let types = scope
            .environment_types
            .iter()
            .map(|kind| Some(if kind == "PROD" { EnvironmentType::Prod } else { EnvironmentType::NonProd }));
        Self {
            environment_types: Some(types.collect()),
            name: Some(scope.name),
            uuid: id,
            applications: ids(scope.applications),
            environments: ids(scope.environments),
            services: ids(scope.services),
            infrastructure_definitions: ids(scope.infrastructures),
            task_types: Some(Vec::new()),
        }
    }
}

impl From<NamedScope> for DelegateScope {
    fn from(named: NamedScope) -> Self {
        Self::of(named.scope, Some(named.id))
    }
}

/// A delegate: the program that touches infrastructure.
#[derive(Clone, Debug)]
pub struct Delegate {
    pub(crate) row: DelegateRow,
    pub(crate) account: String,
}

/// A delegate: the program that touches infrastructure.
#[Object]
impl Delegate {
    /// Id.
    async fn uuid(&self) -> Option<&str> {
        Some(self.row.id.as_str())
    }

    /// Account.
    async fn account_id(&self) -> Option<&str> {
        Some(&self.account)
    }

    /// Name.
    async fn delegate_name(&self) -> Option<&str> {
        Some(&self.row.name)
    }

    /// Always null: there are no profiles.
    async fn delegate_profile_id(&self) -> Option<String> {
        None
    }

    /// How it was installed.
    async fn delegate_type(&self) -> Option<&str> {
        Some(type_name(self.row.announced.kind))
    }

    /// Words of whoever started it.
    async fn description(&self) -> Option<&str> {
        Some(&self.row.announced.description)
    }

    /// Host name.
    async fn host_name(&self) -> Option<&str> {
        Some(&self.row.announced.host)
    }

    /// Private address.
    async fn ip(&self) -> Option<&str> {
        Some(&self.row.announced.address)
    }

    /// When it was heard of last.
    #[graphql(deprecation = "Use lastHeartbeat.")]
    async fn last_heart_beat(&self) -> Option<Long> {
        Some(Long(self.row.seen))
    }

    /// When it was heard of last.
    async fn last_heartbeat(&self) -> Option<DateTime> {
        Some(DateTime(self.row.seen))
    }

    /// Always false: delegates hear of tasks at once.
    #[graphql(name = "polllingModeEnabled")]
    async fn polling_mode_enabled(&self) -> Option<bool> {
        Some(false)
    }

    /// Whether it may work.
    async fn status(&self) -> Option<&str> {
        Some(self.row.status.as_str())
    }

    /// Version of the program.
    async fn version(&self) -> Option<&str> {
        Some(&self.row.announced.program)
    }

    /// Its connection, when it has one.
    async fn connections(&self) -> Option<Vec<Option<DelegateConnection>>> {
        let version = Some(self.row.announced.program.clone());
        let one = self.row.connection.as_ref();
        Some(
            one.map(|_| Some(DelegateConnection { disconnected: Some(false), version }))
                .into_iter()
                .collect(),
        )
    }

    /// Whether it has no connection.
    async fn disconnected(&self) -> Option<bool> {
        Some(self.row.connection.is_none())
    }

    /// It is used only for what lies in one of these; none: for everything.
    async fn include_scopes(&self) -> Option<Vec<Option<DelegateScope>>> {
        Some(
            self.row
                .scopes
                .limited_to
                .iter()
                .map(|scope| Some(DelegateScope::of(scope.clone(), None)))
                .collect(),
        )
    }

    /// It is used for nothing that lies in one of these.
    async fn exclude_scopes(&self) -> Option<Vec<Option<DelegateScope>>> {
        Some(
            self.row
                .scopes
                .excluded
                .iter()
                .map(|scope| Some(DelegateScope::of(scope.clone(), None)))
                .collect(),
        )
    }

    /// Selectors: its name and host among them.
    async fn tags(&self) -> Option<Vec<Option<&str>>> {
        Some(self.row.announced.selectors.iter().map(|word| Some(word.as_str())).collect())
    }

    /// Kinds of tasks that it plays.
    async fn supported_tasks(&self) -> Option<Vec<Option<&str>>> {
        Some(self.row.announced.kinds.iter().map(|kind| Some(kind.name.as_str())).collect())
    }

    /// Selectors: its name and host among them.
    async fn selectors(&self) -> &[String] {
        &self.row.announced.selectors
    }

    /// What it has beside its kinds (`helm`).
    async fn capabilities(&self) -> &[String] {
        &self.row.announced.capabilities
    }

    /// Node id of the server that it is connected to; null when it is not connected.
    async fn node(&self) -> Option<&str> {
        self.row.connection.as_ref().map(|(_, node)| node.as_str())
    }

    /// Whether it runs inside a server.
    async fn embedded(&self) -> bool {
        is_embedded(&self.row)
    }

    /// Id of the token with which it joined; null for the one inside a server.
    async fn token_id(&self) -> Option<&str> {
        Some(self.row.token.as_str()).filter(|token| !token.is_empty())
    }

    /// When it joined.
    async fn joined_at(&self) -> DateTime {
        DateTime(self.row.created_at)
    }
}

/// A token with which delegates join; its text is told once, when it is made.
#[derive(SimpleObject, Clone, Debug)]
pub struct DelegateToken {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Whether somebody has to approve each delegate that joins with it.
    pub approval_required: bool,
    /// When it was made.
    pub created_at: DateTime,
    /// When it was revoked; null while it is good.
    pub revoked_at: Option<DateTime>,
}

impl From<DelegateTokenRow> for DelegateToken {
    fn from(row: DelegateTokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            approval_required: row.approval_required,
            created_at: DateTime(row.created_at),
            revoked_at: row.revoked_at.map(DateTime),
        }
    }
}

/// Which delegates; all conditions must hold.
#[derive(InputObject, Clone, Debug)]
pub struct DelegateFilter {
    /// Account.
    pub account_id: String,
    /// Name.
    pub delegate_name: Option<String>,
    /// Status; deleted ones are listed only when this asks for them.
    pub delegate_status: Option<DelegateStatus>,
    /// How it was installed.
    pub delegate_type: Option<DelegateType>,
}

impl DelegateFilter {
    pub(crate) fn admits(&self, row: &DelegateRow) -> bool {
        self.delegate_name.as_ref().is_none_or(|name| *name == row.name)
            && self.delegate_status.is_none_or(|status| Status::from(status) == row.status)
            && self.delegate_type.is_none_or(|kind| Type::from(kind) == row.announced.kind)
    }
}

/// Which scopes.
#[derive(InputObject, Clone, Debug)]
pub struct DelegateScopeFilter {
    /// Account.
    pub account_id: String,
    /// Name.
    pub scope_name: Option<String>,
}

/// What becomes of a delegate that waits for its approval.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum DelegateApproval {
    /// It works.
    Activate,
    /// It is sent away.
    Reject,
}

/// A delegate that waits for its approval.
#[derive(InputObject, Clone, Debug)]
pub struct DelegateApproveRejectInput {
    /// Account.
    pub account_id: String,
    /// Delegate.
    pub delegate_id: String,
    /// What becomes of it.
    pub delegate_approval: DelegateApproval,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A delegate to delete.
#[derive(InputObject, Clone, Debug)]
pub struct DeleteDelegateInput {
    /// Account.
    pub account_id: String,
    /// Delegate.
    pub delegate_id: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A new scope; ids of entities.
#[derive(InputObject, Clone, Debug)]
pub struct AddDelegateScopeInput {
    /// Account.
    pub account_id: String,
    /// Name.
    pub name: String,
    /// Applications, EQUALS or IN.
    pub application: Option<IdFilter>,
    /// Environments, EQUALS or IN.
    pub environment: Option<IdFilter>,
    /// Types of environments.
    pub environment_types: Option<Vec<Option<EnvironmentType>>>,
    /// Infrastructure definitions, EQUALS or IN.
    pub infrastructure_definition: Option<IdFilter>,
    /// Services, EQUALS or IN.
    pub service: Option<IdFilter>,
    /// Refused: use selectors of delegates instead.
    pub task_group: Option<String>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

impl AddDelegateScopeInput {
    pub(crate) fn scope(&self) -> Result<Scope, Error> {
        if self.task_group.is_some() {
            return Err(Error::refused(
                Problem::new(code!("INPUT_UNSUPPORTED"), "scopes do not limit groups of tasks")
                    .item("taskGroup")
                    .hint("give the delegate a selector, and name the selector in the step or the cloud provider"),
            ));
        }
        let mut environment_types: Vec<String> = Vec::new();
        for kind in self.environment_types.iter().flatten().flatten() {
            let name = if *kind == EnvironmentType::Prod { "PROD" } else { "NON_PROD" };
            if !environment_types.iter().any(|there| there == name) {
                environment_types.push(name.to_owned());
            }
        }
        Ok(Scope {
            name: self.name.clone(),
            applications: ids("application", self.application.as_ref())?,
            environment_types,
            environments: ids("environment", self.environment.as_ref())?,
            services: ids("service", self.service.as_ref())?,
            infrastructures: ids("infrastructureDefinition", self.infrastructure_definition.as_ref())?,
        })
    }
}

/// Which scopes a delegate has, by name or id; a list replaces what was there, an absent one leaves it.
#[derive(InputObject, Clone, Debug)]
pub struct AttachScopeToDelegateInput {
    /// Account.
    pub account_id: String,
    /// Delegate.
    pub delegate_id: String,
    /// It is used only for what lies in one of these, EQUALS or IN.
    pub include_scopes: Option<IdFilter>,
    /// It is used for nothing that lies in one of these, EQUALS or IN.
    pub exclude_scopes: Option<IdFilter>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A delegate that is used for all named scopes of the account.
#[derive(InputObject, Clone, Debug)]
pub struct AttachAllScopesToDelegateInput {
    /// Account.
    pub account_id: String,
    /// Delegate.
    pub delegate_id: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A new token with which delegates join.
#[derive(InputObject, Clone, Debug)]
pub struct CreateDelegateTokenInput {
    /// Name.
    pub name: String,
    /// Whether somebody has to approve each delegate that joins with it; no when absent.
    pub approval_required: Option<bool>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// A token to revoke.
#[derive(InputObject, Clone, Debug)]
pub struct RevokeDelegateTokenInput {
    /// Its id or name.
    pub delegate_token_id: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

/// The values of a condition that names things one by one.
pub(crate) fn listed(what: &str, filter: Option<&IdFilter>) -> Result<Option<Vec<String>>, Error> {
    let Some(filter) = filter else { return Ok(None) };
    if !matches!(filter.operator, IdOperator::Equals | IdOperator::In) {
        return Err(Error::refused(
            Problem::new(code!("INPUT_UNSUPPORTED"), "only EQUALS and IN name something here").item(what),
        ));
    }
    Ok(Some(filter.values()))
}

fn ids(what: &str, filter: Option<&IdFilter>) -> Result<Vec<EntityId>, Error> {
    Ok(listed(what, filter)?.unwrap_or_default().into_iter().map(EntityId::from).collect())
}
