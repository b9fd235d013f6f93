//! Named scopes of the account, and which delegates they limit (`behaviour.md` 19: fields of one scope AND, several scopes OR).
//!
//! Scopes are only ever added, so they lie in numbered settings: whoever adds one walks to the first free number and has seen every name.

use manifold_model::delegate::{Scope, Scopes};
use manifold_model::{DelegateId, EntityId, KeyId, Problem, code};
use manifold_store::{DelegateRow, StoreError};
use serde::{Deserialize, Serialize};

use crate::authorise::{Action, Resource, authorise};
use crate::delegates::{check_name, unknown};
use crate::{Actor, Control, Error, Result};

/// Scopes of the account.
const MOST_SCOPES: u32 = 100;
/// Values of one condition of a scope.
const MOST_VALUES: usize = 1_000;

/// A named scope of the account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NamedScope {
    /// Id.
    pub id: String,
    /// It, with its name.
    pub scope: Scope,
}

/// Which named scopes a delegate has, by name or id; `None` leaves them as they are.
#[derive(Clone, Default, Debug)]
pub struct ScopeChange {
    /// It is used only for what lies in one of these; none: for everything.
    pub limited_to: Option<Vec<String>>,
    /// It is used for nothing that lies in one of these.
    pub excluded: Option<Vec<String>>,
}

impl Control {
    /// Adds a named scope.
    ///
    /// # Errors
    /// When its name is bad or taken, it has no condition, it names what is not there, or there are too many.
    pub async fn add_delegate_scope(&self, actor: &Actor, scope: Scope) -> Result<NamedScope> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        check_name(&scope.name, "a delegate scope").map_err(|problem| Error::refused(*problem))?;
        self.check_conditions(&scope).await?;
        let new = NamedScope { id: KeyId::random().to_string(), scope };
        let text = serde_json::to_string(&new).map_err(unreadable)?;
        for number in 1..=MOST_SCOPES {
            let there = match self.store.setting(&key(number)).await? {
                Some(there) => there,
                None => self.store.put_setting(&key(number), &text, true).await?,
            };
            let there: NamedScope = serde_json::from_str(&there).map_err(unreadable)?;
            if there.id == new.id {
                tracing::info!(actor = actor.id(), scope = new.scope.name, "a delegate scope was added");
                return Ok(new);
            }
            if there.scope.name == new.scope.name {
                return Err(StoreError::Exists(format!("the delegate scope {}", new.scope.name)).into());
            }
        }
        Err(Error::refused(
            Problem::new(
                code!("DELEGATE_SCOPES_TOO_MANY"),
                format!("there are {MOST_SCOPES} delegate scopes already"),
            )
            .hint("use one of them: a scope may limit any number of delegates"),
        ))
    }

    /// All named scopes, oldest first.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn delegate_scopes(&self, actor: &Actor) -> Result<Vec<NamedScope>> {
        authorise(actor, Action::Read, Resource::Account)?;
        let mut scopes = Vec::new();
        for number in 1..=MOST_SCOPES {
            let Some(text) = self.store.setting(&key(number)).await? else { break };
            scopes.push(serde_json::from_str(&text).map_err(unreadable)?);
        }
        Ok(scopes)
    }

    /// Says what a delegate may be used for.
    ///
    /// # Errors
    /// When there is no such delegate or scope.
    pub async fn limit_delegate(
        &self,
        actor: &Actor,
        id: &DelegateId,
        change: ScopeChange,
    ) -> Result<DelegateRow> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        let row = self.delegate(actor, id).await?;
        let known = self.delegate_scopes(actor).await?;
        let mut scopes = row.scopes;
        if let Some(names) = change.limited_to {
            scopes.limited_to = chosen(&known, &names)?;
        }
        if let Some(names) = change.excluded {
            scopes.excluded = chosen(&known, &names)?;
        }
        self.set_scopes(actor, id, scopes).await
    }

    /// Uses a delegate for what lies in one of all named scopes of the account.
    ///
    /// # Errors
    /// When there is no such delegate, or there are no scopes.
    pub async fn limit_delegate_to_all_scopes(&self, actor: &Actor, id: &DelegateId) -> Result<DelegateRow> {
        authorise(actor, Action::ManageDelegates, Resource::Account)?;
        let row = self.delegate(actor, id).await?;
        let known = self.delegate_scopes(actor).await?;
        if known.is_empty() {
            return Err(Error::refused(
                Problem::new(code!("DELEGATE_SCOPE_UNKNOWN"), "the account has no delegate scopes")
                    .hint("add one first"),
            ));
        }
        let limited_to = known.into_iter().map(|named| named.scope).collect();
        self.set_scopes(actor, id, Scopes { limited_to, ..row.scopes }).await
    }

    async fn set_scopes(&self, actor: &Actor, id: &DelegateId, scopes: Scopes) -> Result<DelegateRow> {
        self.store.set_delegate_scopes(id, scopes).await.map_err(|error| match error {
            StoreError::Missing(_) => unknown(id),
            other => other.into(),
        })?;
        tracing::info!(actor = actor.id(), delegate = %id, "a delegate's scopes were set");
        self.delegate(actor, id).await
    }

    /// Everything that a scope names must be there, and it must say something.
    async fn check_conditions(&self, scope: &Scope) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let catalog = &snapshot.catalog;
        let mut problems = Vec::new();
        let mut check = |what: &str, ids: &[EntityId], known: &dyn Fn(&EntityId) -> bool| {
            if ids.len() > MOST_VALUES {
                let message = format!("a scope names at most {MOST_VALUES} of each");
                problems.push(Problem::new(code!("REQUEST_REFUSED"), message).item(what));
                return;
            }
            for id in ids.iter().filter(|id| !known(id)) {
                let message = format!("there is no {what} with this id");
                problems.push(Problem::new(code!("ENTITY_UNKNOWN"), message).item(id.as_str()));
            }
        };
        check("application", &scope.applications, &|id| catalog.applications.contains_key(id));
        check("environment", &scope.environments, &|id| catalog.environments.contains_key(id));
        check("service", &scope.services, &|id| catalog.services.contains_key(id));
        check("infrastructure definition", &scope.infrastructures, &|id| {
            catalog.infrastructures.contains_key(id)
        });
        if *scope == (Scope { name: scope.name.clone(), ..Scope::default() }) {
            problems.push(Problem::new(code!("INPUT_MISSING"), "the scope has no condition").hint(
                "name applications, environments, their types, services or infrastructure definitions",
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Refused { problems }) }
    }
}

/// The scopes that are named, by name or id.
fn chosen(known: &[NamedScope], names: &[String]) -> Result<Vec<Scope>> {
    let mut scopes: Vec<Scope> = Vec::new();
    let mut problems = Vec::new();
    for name in names.iter().take(MOST_VALUES) {
        match known.iter().find(|named| named.scope.name == *name || named.id == *name) {
            Some(named) if scopes.contains(&named.scope) => {}
            Some(named) => scopes.push(named.scope.clone()),
            None => problems.push(
                Problem::new(
                    code!("DELEGATE_SCOPE_UNKNOWN"),
                    "there is no delegate scope with this name or id",
                )
                .item(name.chars().take(256).collect::<String>())
                .hint("add it first, or name one of those that are there"),
            ),
        }
    }
    if problems.is_empty() { Ok(scopes) } else { Err(Error::Refused { problems }) }
}

fn key(number: u32) -> String {
    format!("delegate-scope/{number}")
}

fn unreadable(error: serde_json::Error) -> Error {
    tracing::error!(error = &error as &dyn std::error::Error, "a delegate scope cannot be read or written");
    Error::Store(StoreError::Broken { action: "read a delegate scope", cause: Box::new(error) })
}
